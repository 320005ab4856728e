use super::*;

#[test]
fn what_is_in_a_directory_that_is_lost_goes_with_it() {
    let disk = disk();
    disk.lose_directories_whole();
    let (dir, file) = (Path::new("/new/inner"), Path::new("/new/inner/file"));
    disk.create_dir_all(dir).unwrap();
    disk.create(file).unwrap().sync_data().unwrap();
    disk.sync_dir(dir).unwrap();
    disk.sync_dir(Path::new("/new")).unwrap();
    let fork = disk.fork();
    // Nobody has synced the name of /new itself: it may survive or not.
    disk.lose_power(&mut |_| 0);
    assert!(disk.exists(file).unwrap());
    fork.lose_power(&mut |below| below - 1);
    assert!(!fork.exists(Path::new("/new")).unwrap());
    assert!(!fork.exists(dir).unwrap() && !fork.exists(file).unwrap());
    fork.check();
}

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/d")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn drop_all(_: u64) -> u64 {
    0
}

#[test]
fn what_was_synced_survives_and_only_that() {
    let disk = disk();
    let path = Path::new("/d/f");
    let file = disk.create(path).unwrap();
    file.write_at(0, b"kept").unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_at(4, b"lost").unwrap();
    assert_eq!(disk.read_small(path).unwrap().unwrap(), b"keptlost");
    disk.lose_power(&mut drop_all);
    assert_eq!(disk.read_small(path).unwrap().unwrap(), b"kept");
    assert!(file.write_at(0, b"x").is_err());
}

#[test]
fn a_name_needs_a_sync_of_its_directory() {
    let disk = disk();
    let file = disk.create(Path::new("/d/f")).unwrap();
    file.sync_data().unwrap();
    // pick(2) == 1: the name change does not survive.
    disk.lose_power(&mut |n| n - 1);
    assert!(!disk.exists(Path::new("/d/f")).unwrap());
}

#[test]
fn a_file_that_goes_to_another_directory_has_one_of_its_names_after_a_crash() {
    for (synced, choice) in [("", 0), ("", 1), ("/d", 1), ("/e", 1)] {
        let disk = disk();
        disk.create_dir_all(Path::new("/e")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.create(Path::new("/d/f")).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.rename(Path::new("/d/f"), Path::new("/e/f")).unwrap();
        if !synced.is_empty() {
            disk.sync_dir(Path::new(synced)).unwrap();
        }
        disk.lose_power(&mut |n| choice % n);
        let moved = !synced.is_empty() || choice == 0;
        assert_eq!(disk.exists(Path::new("/e/f")).unwrap(), moved, "{synced} {choice}");
        assert_eq!(disk.exists(Path::new("/d/f")).unwrap(), !moved, "{synced} {choice}");
    }
}

#[test]
fn a_machine_that_stops_changes_nothing_more() {
    let disk = disk();
    let file = disk.create(Path::new("/d/f")).unwrap();
    disk.stop_after(Some(2));
    file.write_at(0, b"a").unwrap();
    file.sync_data().unwrap();
    assert!(disk.has_stopped());
    assert!(file.write_at(1, b"b").is_err());
    assert!(disk.sync_dir(Path::new("/d")).is_err());
    disk.lose_power(&mut drop_all);
    assert!(!disk.has_stopped());
}

#[test]
fn a_small_file_is_old_or_new_at_every_crash() {
    for choice in 0..2 {
        let disk = disk();
        let path = Path::new("/d/n");
        disk.write_small(path, b"1").unwrap();
        let temporary = disk.create(Path::new("/d/n.tmp")).unwrap();
        temporary.write_at(0, b"2").unwrap();
        temporary.sync_data().unwrap();
        disk.rename(Path::new("/d/n.tmp"), path).unwrap();
        disk.lose_power(&mut |n| choice % n);
        let read = disk.read_small(path).unwrap().unwrap();
        assert_eq!(read, if choice == 0 { b"2" } else { b"1" });
    }
}

#[test]
fn a_torn_write_leaves_a_prefix() {
    let disk = disk();
    let file = disk.create(Path::new("/d/f")).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_at(0, b"abcdefghij").unwrap();
    disk.lose_power(&mut |n| if n == 3 { 2 } else { n / 2 });
    assert_eq!(disk.read_small(Path::new("/d/f")).unwrap().unwrap(), b"abcde");
}

#[test]
fn a_failed_sync_loses_the_data_even_if_the_next_succeeds() {
    let disk = disk();
    let file = disk.create(Path::new("/d/f")).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_at(0, b"abc").unwrap();
    disk.fail_syncs(1);
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    disk.lose_power(&mut drop_all);
    assert_eq!(disk.read_small(Path::new("/d/f")).unwrap().unwrap(), b"");
}

#[test]
fn locks_end_with_the_process() {
    let disk = disk();
    let lock = disk.lock(Path::new("/d/in_use.lock"), "1").unwrap();
    assert!(lock.is_some());
    assert!(disk.lock(Path::new("/d/in_use.lock"), "2").unwrap().is_none());
    disk.crash_process();
    let second = disk.lock(Path::new("/d/in_use.lock"), "2").unwrap();
    assert!(second.is_some());
    drop(lock);
    assert!(disk.lock(Path::new("/d/in_use.lock"), "3").unwrap().is_none());
}

use super::*;
use crate::image_files::{ImageWriter, digest_of, md5_of, read_md5};
use hathi_storage::SimDisk;
use std::io::Write;

const HOLDER: &str = "1@here";

fn info() -> NamespaceInfo {
    NamespaceInfo {
        layout_version: LayoutVersion::NAMENODE_CURRENT,
        namespace_id: 7,
        cluster_id: "CID-a".to_owned(),
        ..NamespaceInfo::default()
    }
}

fn roots() -> Roots {
    Roots {
        images: vec!["/a/name".into(), "/b/name".into()],
        edits: vec!["/a/name".into()],
    }
}

/// Two formatted directories, and an image of nothing.
fn formatted() -> SimDisk {
    let disk = SimDisk::new();
    disk.lose_directories_whole();
    for root in roots().images {
        hathi_storage::make_dirs(&disk, &root).unwrap();
        let dir = StorageDirectory::new(disk.clone(), root);
        dir.format(&VersionFile::new(NodeType::NameNode, &info()), true)
            .unwrap();
    }
    save(&open(&disk), 0).unwrap();
    disk.crash_process();
    disk
}

fn open(disk: &SimDisk) -> NameDirs<SimDisk> {
    NameDirs::open(disk.clone(), &roots(), HOLDER, true).unwrap()
}

/// Saves and publishes an image, as the shell does.
fn save(dirs: &NameDirs<SimDisk>, txid: u64) -> Result<(), Failure> {
    let image = Unpublished::of(dirs.disk().clone(), &dirs.images_dirs(), TxId(txid));
    let content = format!("everything up to {txid}");
    let mut writer = ImageWriter::create(dirs.disk(), image.paths());
    let written = writer.write_all(content.as_bytes()).and_then(|()| writer.finish());
    written.map_err(|error| Failure {
        path: PathBuf::new(),
        error,
    })?;
    let md5 = md5_of(content.as_bytes());
    dirs.publish_image(&image, &md5)?;
    dirs.write_seen_txid(TxId(txid));
    Ok(())
}

/// The transactions of all images, each of which must be whole.
fn whole_images(dirs: &NameDirs<SimDisk>) -> Vec<u64> {
    let images = dirs.images();
    for image in &images {
        let expected = read_md5(dirs.disk(), &image.path).unwrap();
        assert_eq!(digest_of(dirs.disk(), &image.path).unwrap(), expected, "{image:?}");
    }
    images.iter().map(|image| image.txid.0).collect()
}

#[test]
fn a_power_cut_at_any_step_leaves_whole_images_and_those_that_the_edits_lead_on_from() {
    let disk = formatted();
    let (mut old, mut new) = (0, 0);
    for steps in 0.. {
        let cut = disk.fork();
        let dirs = open(&cut);
        dirs.note_verified(TxId(0));
        cut.stop_after(Some(steps));
        // A third image makes the first one superfluous.
        let saved = save(&dirs, 5).is_ok() && save(&dirs, 9).is_ok();
        let edits_from = dirs.purge_images(2, 0).map_or(TxId(0), |purged| purged.edits_from);
        let is_done = saved && !cut.has_stopped();
        drop(dirs);
        for seed in 0..16_u64 {
            let fork = cut.fork();
            let mut turn = seed;
            fork.lose_power(&mut |below| {
                turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (turn >> 33) % below
            });
            let dirs = open(&fork);
            let found = whole_images(&dirs);
            let newest = *found.first().expect("there is an image");
            assert!(newest + 1 >= edits_from.0, "{found:?}, and edits from {edits_from}");
            assert!(dirs.max_seen_txid().0 <= 9);
            match newest {
                0 => old += 1,
                _ => new += 1,
            }
            save(&dirs, 20).unwrap();
            assert_eq!(whole_images(&open_again(&fork, dirs))[..2], [20, 20]);
        }
        if is_done {
            assert!(old > 100 && new > 100, "{old} {new}");
            return;
        }
    }
}

fn open_again(disk: &SimDisk, dirs: NameDirs<SimDisk>) -> NameDirs<SimDisk> {
    drop(dirs);
    disk.crash_process();
    open(disk)
}

#[test]
fn only_images_that_are_known_to_be_whole_make_others_superfluous() {
    let disk = formatted();
    let dirs = open(&disk);
    for txid in [3, 5] {
        save(&dirs, txid).unwrap();
    }
    let dirs = open_again(&disk, dirs);
    let purge = || dirs.purge_images(1, 0).unwrap().edits_from;
    assert_eq!(purge(), TxId(1), "this process has read none of them");
    let loaded = dirs.load_newest(|image| Ok(image.txid), |_, _| {}).unwrap();
    assert_eq!(loaded.1, TxId(5));
    assert_eq!(purge(), TxId(1), "two images are to stay");
    save(&dirs, 9).unwrap();
    assert_eq!(purge(), TxId(6));
    assert_eq!(whole_images(&dirs), [9, 9, 5, 5]);
    assert_eq!(dirs.purge_images(1, 4).unwrap().edits_from, TxId(2));
}

#[test]
fn a_directory_that_takes_no_image_is_used_no_more_until_it_is_restored() {
    let disk = formatted();
    let dirs = open(&disk);
    disk.fail_syncs(1);
    save(&dirs, 5).unwrap();
    let a = PathBuf::from("/a/name/current");
    assert_eq!(dirs.failed().into_keys().collect::<Vec<_>>(), std::slice::from_ref(&a));
    assert_eq!(whole_images(&dirs), [5, 0]);
    assert!(!dirs.restore_failed_storage("false"));
    assert!(dirs.attempt_restore(HOLDER).is_empty() && dirs.failed().len() == 1);
    assert!(dirs.restore_failed_storage("true"));
    assert!(dirs.attempt_restore(HOLDER)[0].1.is_ok() && dirs.failed().is_empty());
    assert!(dirs.begin_restoring_edits() && !dirs.begin_restoring_edits());
    assert_eq!(whole_images(&dirs), [5, 0, 0]);
    assert_eq!(dirs.fail(&a, "it is gone"), 1);
}

#[test]
fn when_no_directory_takes_an_image_none_is_dropped() {
    let disk = formatted();
    let dirs = open(&disk);
    disk.set_full(true);
    save(&dirs, 5).unwrap_err();
    assert!(dirs.failed().is_empty());
    disk.set_full(false);
    save(&dirs, 5).unwrap();
    assert_eq!(whole_images(&dirs), [5, 5, 0, 0]);
}

#[test]
fn a_directory_that_was_replaced_is_formatted_and_one_of_another_namespace_is_refused() {
    let disk = formatted();
    disk.remove_dir_all(Path::new("/b/name")).unwrap();
    let refused = NameDirs::open(disk.clone(), &roots(), HOLDER, false).unwrap_err();
    assert!(refused.to_string().contains("does not exist"), "{refused}");
    disk.crash_process();
    disk.create_dir_all(Path::new("/b/name")).unwrap();
    let dirs = open(&disk);
    assert_eq!(whole_images(&dirs), [0]);
    save(&dirs, 5).unwrap();
    assert_eq!(whole_images(&dirs), [5, 5, 0]);

    let version = Path::new("/b/name/current/VERSION");
    let text = String::from_utf8(disk.read_small(version).unwrap().unwrap()).unwrap();
    disk.write_small(version, text.replace("CID-a", "CID-b").as_bytes())
        .unwrap();
    disk.crash_process();
    let refused = NameDirs::open(disk, &roots(), HOLDER, false).unwrap_err();
    let says = "clusterID is CID-b and not CID-a, as in the other name directories";
    assert!(refused.to_string().contains(says), "{refused}");
}

#[test]
fn what_an_image_left_unfinished_is_gone_after_the_next_start() {
    let disk = formatted();
    let dirs = open(&disk);
    let unfinished = Unpublished::of(disk.clone(), &dirs.images_dirs(), TxId(5));
    ImageWriter::create(&disk, unfinished.paths()).finish().unwrap();
    let paths = unfinished.paths().to_vec();
    // The process ends without a chance to remove it.
    disk.stop_after(Some(0));
    drop(unfinished);
    disk.stop_after(None);
    assert!(disk.exists(&paths[0]).unwrap());
    drop(open_again(&disk, dirs));
    assert!(paths.iter().all(|path| !disk.exists(path).unwrap()));
}

#[test]
fn only_the_layout_that_is_written_here_is_served() {
    let check = |layout| check_layout(Path::new("/name"), LayoutVersion(layout)).map_err(|error| error.to_string());
    assert_eq!(check(-67), Ok(()));
    let newer = check(-99).unwrap_err();
    assert!(
        newer.contains("/name") && newer.contains("-99") && newer.contains("newer software"),
        "{newer}"
    );
    let older = check(-63).unwrap_err();
    assert!(
        older.contains("/name") && older.contains("-63") && older.contains("-upgrade"),
        "{older}"
    );
}

fn open_for_upgrade(disk: &SimDisk) -> Result<NameDirs<SimDisk>, NameDirsError> {
    let opening = Opening {
        restore: true,
        layouts: LayoutVersion::NAMENODE_READ,
        with_previous: true,
    };
    NameDirs::open_for(disk.clone(), &roots(), HOLDER, &opening)
}

#[test]
fn an_upgrade_that_is_cut_off_anywhere_can_be_rolled_back_and_loses_no_image() {
    let disk = formatted();
    let newer = NamespaceInfo { ctime: 7, ..info() };
    let mut seen = BTreeSet::new();
    for steps in 0.. {
        let cut = disk.fork();
        let dirs = open_for_upgrade(&cut).unwrap();
        assert!(!dirs.has_previous().unwrap());
        cut.stop_after(Some(steps));
        let done = dirs.pre_upgrade(TxId(5)).is_ok() && save(&dirs, 5).is_ok() && dirs.upgrade(&newer).is_ok();
        cut.stop_after(None);
        cut.crash_process();
        drop(dirs);
        match open_for_upgrade(&cut) {
            // Undone or completed as a whole.
            Ok(dirs) => {
                let upgraded = dirs.info.ctime == 7;
                assert_eq!(dirs.has_previous().unwrap(), upgraded, "{steps}");
                assert_eq!(whole_images(&dirs), if upgraded { [5, 5] } else { [0, 0] }, "{steps}");
                seen.insert(if upgraded { "completed" } else { "undone" });
                cut.crash_process();
            }
            // One of them is undone, the other one completed.
            Err(error) => {
                assert!(error.to_string().contains("cTime"), "{steps}: {error}");
                seen.insert("between");
                cut.crash_process();
            }
        }
        let rolled_back = NameDirs::roll_back(&cut, &roots(), HOLDER).unwrap();
        cut.crash_process();
        let dirs = open_for_upgrade(&cut).unwrap();
        assert_eq!(
            (dirs.info.ctime, whole_images(&dirs)),
            (0, vec![0, 0]),
            "{steps}: {rolled_back}"
        );
        if done {
            break;
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn a_finalized_upgrade_has_no_way_back_and_an_older_layout_is_opened_to_upgrade_it_alone() {
    let disk = formatted();
    let version = |dir: &str| PathBuf::from(dir).join("current/VERSION");
    for dir in roots().images {
        let path = version(&dir.display().to_string());
        let text = String::from_utf8(disk.read_small(&path).unwrap().unwrap()).unwrap();
        let older = text.replace("layoutVersion=-67", "layoutVersion=-63");
        disk.write_small(&path, older.as_bytes()).unwrap();
    }
    let refused = NameDirs::open(disk.clone(), &roots(), HOLDER, false)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("-63") && refused.contains("-upgrade"), "{refused}");
    disk.crash_process();
    let dirs = open_for_upgrade(&disk).unwrap();
    dirs.pre_upgrade(TxId(5)).unwrap();
    save(&dirs, 5).unwrap();
    dirs.upgrade(&NamespaceInfo { ctime: 7, ..info() }).unwrap();
    disk.crash_process();
    // Who wrote the layout -63 has to take it back.
    let refused = NameDirs::roll_back(&disk, &roots(), HOLDER).unwrap_err().to_string();
    assert!(refused.contains("-63"), "{refused}");
    disk.crash_process();
    let dirs = open_for_upgrade(&disk).unwrap();
    dirs.finalize_upgrade().unwrap();
    assert!(!dirs.has_previous().unwrap());
    disk.crash_process();
    assert_eq!(NameDirs::roll_back(&disk, &roots(), HOLDER).unwrap(), 0);
    disk.crash_process();
    assert_eq!(open(&disk).info.ctime, 7);
}

#[test]
fn a_directory_that_can_be_rolled_back_is_refused() {
    let disk = formatted();
    disk.create_dir_all(Path::new("/a/name/previous")).unwrap();
    let refused = NameDirs::open(disk, &roots(), HOLDER, false).unwrap_err().to_string();
    assert!(
        refused.contains("-finalizeUpgrade") && refused.contains("-rollback"),
        "{refused}"
    );
}

#[test]
fn what_differs_is_named() {
    let ours = info();
    let theirs = NamespaceInfo {
        cluster_id: "CID-b".to_owned(),
        ..ours.clone()
    };
    assert_eq!(difference(&ours, &ours), None);
    assert_eq!(difference(&ours, &theirs).unwrap(), "clusterID is CID-b and not CID-a");
}

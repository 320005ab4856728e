//! New contents for several storage directories at once (`-format`, `-bootstrapStandby`, `-importCheckpoint`). After a
//! crash at any step either all of them have their old content, or all of them have the new one.
//!
//! 1. Each directory gets a `current.new` with all its files, VERSION last ([`StorageDirectory::begin_new`],
//!    [`StorageDirectory::finish_new`]). The old content does not change.
//! 2. When all are complete, they take their places one after the other ([`place_all`]). The first one decides: if one
//!    has taken its place, [`settle`] continues after a crash; otherwise nothing has happened.
//!
//! Invariants:
//! * if a `current` has the mark of a birth, every other directory has the same mark in `current` or in a complete
//!   `current.new`;
//! * each mark is used once, so the rest of an older birth is never taken for a part of a newer one.

use crate::directory::{StorageDirectory, StorageError, VersionFile};
use crate::disk::Disk;

/// The property of VERSION that marks directories which were made together. Hadoop ignores it.
const MARK: &str = "hathiBirth";

/// Marks a VERSION as one of several that are made together.
pub fn mark(version: &mut VersionFile, birth: &str) {
    debug_assert!(!birth.is_empty(), "a mark tells one birth from the others");
    version.set(MARK, birth);
}

/// The mark of a VERSION, if it has one.
#[must_use]
pub fn mark_of(version: &VersionFile) -> Option<&str> {
    version.get(MARK)
}

/// Puts all new contents in their places. They must be complete.
///
/// # Errors
/// When the disk fails. Then [`settle`] continues.
pub fn place_all<D: Disk>(dirs: &[StorageDirectory<D>]) -> Result<(), StorageError> {
    debug_assert!(
        // A disk that fails tells nothing.
        dirs.iter()
            .all(|dir| dir.finished_new().map_or(true, |new| new.is_some())),
        "all are whole before the first one takes its place"
    );
    dirs.iter().try_for_each(StorageDirectory::place_new)?;
    debug_assert!(
        dirs.iter()
            .all(|dir| dir.finished_new().map_or(true, |new| new.is_none())),
        "all have taken their places"
    );
    Ok(())
}

/// Completes a birth that a crash has interrupted after the first directory had taken its place. To be called when no
/// other transition is under way in any of the directories.
///
/// # Errors
/// When the disk fails.
pub fn settle<D: Disk>(dirs: &[StorageDirectory<D>]) -> Result<(), StorageError> {
    let birth = |version: Option<VersionFile>| version.and_then(|version| mark_of(&version).map(str::to_owned));
    let mut born = Vec::new();
    for dir in dirs {
        born.extend(birth(dir.read_version()?));
    }
    for dir in dirs {
        if birth(dir.finished_new()?).is_some_and(|new| born.contains(&new)) {
            dir.place_new()?;
        }
    }
    debug_assert!(
        dirs.iter().all(|dir| dir
            .finished_new()
            .ok()
            .and_then(birth)
            .is_none_or(|new| !born.contains(&new))),
        "no part of a birth that has begun to take its places is left"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NodeType, SimDisk, StorageState};
    use hathi_formats::ids::{LayoutVersion, NamespaceInfo};

    const ROOTS: [&str; 3] = ["/a/name", "/b/name", "/b/edits"];

    fn dirs(disk: &SimDisk) -> Vec<StorageDirectory<SimDisk>> {
        let dir = |root| StorageDirectory::new(disk.clone(), root);
        ROOTS.into_iter().map(dir).collect()
    }

    fn version(namespace_id: u32) -> VersionFile {
        let info = NamespaceInfo {
            layout_version: LayoutVersion(-67),
            namespace_id,
            cluster_id: "CID-a".to_owned(),
            ..NamespaceInfo::default()
        };
        VersionFile::new(NodeType::NameNode, &info)
    }

    fn bear(dirs: &[StorageDirectory<SimDisk>], namespace_id: u32) -> Result<(), StorageError> {
        let mut version = version(namespace_id);
        mark(&mut version, &format!("birth of {namespace_id}"));
        for dir in dirs {
            let image = dir.begin_new()?.join("fsimage");
            let written = dir.disk().write_small(&image, namespace_id.to_string().as_bytes());
            written.map_err(|source| StorageError::Io { path: image, source })?;
        }
        for dir in dirs {
            dir.finish_new(&version)?;
        }
        place_all(dirs)
    }

    /// State that a start finds: the namespace of each formatted directory, whose files must all exist.
    fn found(dirs: &[StorageDirectory<SimDisk>]) -> Vec<Option<u32>> {
        for dir in dirs {
            let state = dir.analyze().unwrap();
            dir.recover(state).unwrap();
        }
        settle(dirs).unwrap();
        let namespace = |dir: &StorageDirectory<SimDisk>| {
            let version = dir.read_version().unwrap()?;
            let id = version.namespace_info(dir.root()).unwrap().namespace_id;
            let image = dir.disk().read_small(&dir.current().join("fsimage")).unwrap();
            assert_eq!(
                image,
                Some(id.to_string().into_bytes()),
                "{} is not whole",
                dir.root().display()
            );
            Some(id)
        };
        dirs.iter().map(namespace).collect()
    }

    /// Stops the machine at every step, and decides in several ways which pending changes are lost.
    fn cut_everywhere(before: Option<u32>) {
        let disk = SimDisk::new();
        disk.lose_directories_whole();
        if let Some(before) = before {
            bear(&dirs(&disk), before).unwrap();
        }
        let old = vec![before; ROOTS.len()];
        let new = vec![Some(9); ROOTS.len()];
        let (mut kept, mut replaced) = (0, 0);
        for steps in 0.. {
            let cut = disk.fork();
            cut.stop_after(Some(steps));
            let done = bear(&dirs(&cut), 9).is_ok() && !cut.has_stopped();
            for seed in 0..8_u64 {
                let fork = cut.fork();
                let mut turn = seed;
                fork.lose_power(&mut |below| {
                    turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (if seed == 0 { 0 } else { turn >> 33 }) % below
                });
                let found = found(&dirs(&fork));
                assert!(found == old || found == new, "after {steps} steps: {found:?}");
                if found == old {
                    kept += 1;
                    // No question is asked about data that does not exist.
                    let has_data = |dir: &StorageDirectory<SimDisk>| dir.has_some_data().unwrap();
                    assert!(before.is_some() || !dirs(&fork).iter().any(has_data));
                } else {
                    replaced += 1;
                }
                bear(&dirs(&fork), 10).unwrap();
                assert_eq!(self::found(&dirs(&fork)), vec![Some(10); ROOTS.len()]);
            }
            if done {
                assert!(kept > 100 && replaced > 20, "{kept} {replaced}");
                return;
            }
        }
    }

    #[test]
    fn a_power_cut_at_any_step_leaves_all_directories_empty_or_all_whole() {
        cut_everywhere(None);
    }

    #[test]
    fn a_power_cut_at_any_step_leaves_all_directories_as_they_were_or_all_new() {
        cut_everywhere(Some(3));
    }

    #[test]
    fn what_is_left_of_an_older_birth_does_not_take_a_place() {
        let disk = SimDisk::new();
        let dirs = dirs(&disk);
        bear(&dirs, 3).unwrap();
        let mut other = version(3);
        mark(&mut other, "another birth of the same namespace");
        dirs[1].begin_new().unwrap();
        dirs[1].finish_new(&other).unwrap();
        assert_eq!(found(&dirs), vec![Some(3); ROOTS.len()]);
        assert!(dirs[1].finished_new().unwrap().is_some());
        dirs[1].discard_new().unwrap();
        assert_eq!(dirs[1].finished_new().unwrap(), None);
        assert_eq!(dirs[1].analyze().unwrap(), StorageState::Normal);
    }

    #[test]
    fn a_format_of_one_directory_is_cut_nowhere_in_the_middle() {
        let disk = SimDisk::new();
        disk.lose_directories_whole();
        let dir = |disk: &SimDisk| StorageDirectory::new(disk.clone(), "/journal");
        let format = |disk: &SimDisk, id: u32, force| dir(disk).format_with(&version(id), force, &[("epoch", b"1\n")]);
        for steps in 0.. {
            let cut = disk.fork();
            cut.stop_after(Some(steps));
            let done = format(&cut, 1, false).is_ok() && !cut.has_stopped();
            cut.lose_power(&mut |_| 0);
            let dir = dir(&cut);
            if dir.read_version().unwrap().is_some() {
                assert!(cut.read_small(&dir.current().join("epoch")).unwrap().is_some());
                assert!(matches!(format(&cut, 2, false), Err(StorageError::NotEmpty { .. })));
            } else {
                format(&cut, 2, false).unwrap();
            }
            if done {
                return;
            }
        }
    }
}

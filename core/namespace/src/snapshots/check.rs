//! What must hold of the snapshots between any two ops.

use std::collections::BTreeSet;

use super::{Entry, PRESENT, SnapshotsPart};
use crate::namespace::Namespace;
use crate::store::slab::{NONE, Slot};
use crate::tree::inode::flag;
use crate::view::View;

impl Namespace {
    /// Panics when an invariant of the snapshots does not hold.
    pub(crate) fn check_snapshots(&self) {
        let parts = &self.snapshots;
        let mut marked = 0;
        for (slot, rec) in self.tree.iter().filter(|(_, rec)| rec.is_dir()) {
            let root = parts.roots().get(&rec.id().0);
            let is_marked = rec.has(flag::MULTI_OR_SNAPSHOTTABLE);
            assert_eq!(
                is_marked.then_some(slot),
                root.map(|root| root.slot),
                "inode {}: snapshottable",
                rec.id()
            );
            marked += usize::from(is_marked);
        }
        assert_eq!(marked, parts.roots().len(), "snapshottable directories found and kept");
        let mut ids: BTreeSet<u32> = BTreeSet::new();
        for root in parts.roots().values() {
            let mut names: Vec<&str> = root.snapshots.iter().map(|snapshot| &*snapshot.name).collect();
            names.sort_unstable();
            assert!(
                names.windows(2).all(|pair| pair[0] != pair[1]),
                "two snapshots have one name"
            );
            assert!(
                root.snapshots.windows(2).all(|pair| pair[0].id < pair[1].id),
                "snapshots are in the order of their numbers"
            );
            ids.extend(root.snapshots.iter().map(|snapshot| snapshot.id));
        }
        assert_eq!(ids.len(), parts.count(), "snapshots found and counted");
        assert!(
            ids.last().is_none_or(|last| *last < self.counters.snapshot_counter),
            "the number of a snapshot would be given out once more"
        );
        if parts.keeps_nothing() {
            assert_eq!(parts.diff_count(), 0, "diffs without snapshots");
            assert_eq!(parts.names.live(), 0, "former names without snapshots");
            assert_eq!(self.tree.gone().count(), 0, "inodes that are gone without snapshots");
        }
        let mut gone: BTreeSet<Slot> = BTreeSet::new();
        let mut former: BTreeSet<Slot> = BTreeSet::new();
        for slot in parts.with_diffs() {
            self.check_diffs(slot, &ids, &mut gone, &mut former);
        }
        for slot in self.tree.gone() {
            let is_listed = gone.contains(&slot);
            assert_eq!(
                is_listed,
                !self.tree.is_orphan(slot),
                "inode {}: gone",
                self.rec(slot).id()
            );
            assert!(is_listed || parts.has_moved(slot), "an orphan that nothing shows");
        }
        let listed: usize = parts.moved.iter().map(|(_, names)| names.len()).sum();
        assert_eq!(former.len(), listed, "former names found and kept");
        assert_eq!(former.len(), parts.names.live(), "former names found and live");
        parts.dirs.check();
        parts.files.check();
        parts.moved.check();
        parts.names.check();
    }

    fn check_diffs(&self, slot: Slot, ids: &BTreeSet<u32>, gone: &mut BTreeSet<Slot>, former: &mut BTreeSet<Slot>) {
        let id = self.rec(slot).id();
        let ending = self.snapshots.ending;
        let dirs = self.snapshots.dir_diffs(slot).iter().map(|diff| diff.snapshot);
        let files = self.snapshots.file_diffs(slot).iter().map(|diff| diff.snapshot);
        let all: Vec<u32> = dirs.chain(files).collect();
        assert!(
            all.windows(2).all(|pair| pair[0] < pair[1]),
            "inode {id}: diffs out of order"
        );
        for snapshot in &all {
            if ending == Some(*snapshot) {
                continue;
            }
            assert!(ids.contains(snapshot), "inode {id}: a diff of no snapshot");
            assert_eq!(
                self.shown_by(slot, *snapshot),
                Some(*snapshot),
                "inode {id}: a diff that nothing shows"
            );
            let indexed = self.snapshots.by_snapshot.get(snapshot);
            assert!(
                indexed.is_some_and(|slots| slots.contains(&slot)),
                "inode {id}: a diff is not found"
            );
        }
        let last = self.shown_by(slot, PRESENT);
        assert!(
            last >= all.iter().copied().filter(|id| ending != Some(*id)).max(),
            "inode {id}: a diff after the last snapshot that shows it"
        );
        for diff in self.snapshots.dir_diffs(slot) {
            for entry in &diff.deleted {
                match *entry {
                    Entry::Inode(child) => {
                        assert_eq!(self.tree.last_shown(child), Some(diff.snapshot), "a child that went");
                        assert_eq!(self.rec(child).parent(), slot, "a child that went elsewhere");
                        assert!(gone.insert(child), "a child went twice");
                    }
                    Entry::Former(name) => {
                        let place = self.snapshots.former(name);
                        assert!(place.inode != NONE && place.dir == slot, "a former name of nothing");
                        assert_eq!(place.last, diff.snapshot, "a former name of another snapshot");
                        assert!(former.insert(name), "a former name went twice");
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use hathi_formats::editlog::{EditOp, RenameOption, RpcIds};

    use super::*;
    use crate::tests::{BS, Fixture, ROOT};

    /// A snapshot that shows a file which is deleted, one that has moved, and a mode that was changed.
    fn whole() -> Namespace {
        let mut fix = Fixture::new();
        fix.mkdirs(ROOT, "/dir").unwrap();
        for file in ["/dir/gone", "/dir/moved", "/dir/stays"] {
            fix.file(file, &[BS, 7]).unwrap();
        }
        let snapshot_root = "/dir".to_owned();
        fix.op(&EditOp::AllowSnapshot {
            snapshot_root: snapshot_root.clone(),
        });
        fix.op(&EditOp::CreateSnapshot {
            snapshot_root,
            snapshot_name: "s".to_owned(),
            mtime: 1,
            rpc_ids: RpcIds::NONE,
        });
        fix.op(&EditOp::Delete {
            path: "/dir/gone".to_owned(),
            time: 2,
            rpc_ids: RpcIds::NONE,
        });
        fix.op(&EditOp::Rename {
            src: "/dir/moved".to_owned(),
            dst: "/elsewhere".to_owned(),
            time: 3,
            options: vec![RenameOption::None],
            rpc_ids: RpcIds::NONE,
        });
        fix.op(&EditOp::SetPermissions {
            src: "/dir/stays".to_owned(),
            mode: 0o600,
        });
        fix.ns.check();
        fix.ns
    }

    fn gone(ns: &Namespace) -> Slot {
        ns.tree.gone().next().unwrap()
    }

    type Break = (&'static str, fn(&mut Namespace));

    const BREAKS: [Break; 8] = [
        ("snapshots found and counted", |ns| ns.snapshots.count += 1),
        ("would be given out once more", |ns| ns.counters.snapshot_counter = 0),
        ("a diff of no snapshot", |ns| {
            let root = ns.resolve("/dir").unwrap().last_slot().unwrap();
            let diff = ns.snapshots.dir_diffs(root)[0].clone();
            ns.snapshots
                .push_dir_diff(root, super::super::DirDiff { snapshot: 1, ..diff });
        }),
        ("a diff is not found", |ns| ns.snapshots.by_snapshot.clear()),
        ("a child that went", |ns| {
            let gone = gone(ns);
            ns.tree.set_gone(gone, 4);
        }),
        ("a former name of another snapshot", |ns| ns.snapshots.set_last(0, 4)),
        ("snapshottable directories found and kept", |ns| {
            ns.snapshots.set_root(4711, 0, true)
        }),
        ("the digest that was kept", |ns| {
            let stays = ns.resolve("/dir/stays").unwrap().last_slot().unwrap();
            ns.snapshots.file_diffs_mut(stays)[0].length = 1;
        }),
    ];

    #[test]
    fn whatever_a_bug_may_break_in_snapshots_is_found() {
        for (number, (found, broken)) in BREAKS.iter().enumerate() {
            let mut ns = whole();
            broken(&mut ns);
            let panic = catch_unwind(AssertUnwindSafe(|| ns.check())).expect_err(found);
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|&said| said.to_owned()));
            let is_found = said.as_ref().is_some_and(|said| said.contains(found));
            assert!(is_found, "{number}: {found} was to be found: {said:?}");
        }
    }
}

//! Content summaries (`ContentSummaryComputationContext`).

use hathi_formats::exceptions as ex;
use hathi_formats::ids::InodeId;

use crate::namespace::Namespace;
use crate::path::{DirOp, InodesInPath, refuse};
use crate::permission::{Permissions, action};
use crate::snapshots::past::Past;
use crate::snapshots::{Entry, PRESENT, SnapshotId, SnapshotsPart};
use crate::store::slab::Slot;
use crate::types::{Caller, ContentSummary, Refused};
use crate::usage::type_space;
use crate::view::View;
use crate::walk::{Seen, TreeWalk, Walks};

/// A content summary under way. It may continue after the lock was released.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SummaryWalk {
    /// The numbers counted so far.
    pub summary: ContentSummary,
    tree: TreeWalk,
    /// As of which snapshot it counts.
    snapshot: Option<SnapshotId>,
    gone: Gone,
}

/// What only snapshots show of the directories of a summary. It is counted after the present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Gone {
    counted: ContentSummary,
    /// Still to be counted, each as of a snapshot.
    todo: Vec<(InodeId, SnapshotId)>,
    /// The walk through the last directory that was there, and as of when.
    tree: TreeWalk,
    snapshot: SnapshotId,
}

/// What a view counts.
pub(crate) trait Counts: View {
    /// `inherited` is the storage policy of a file without one of its own.
    fn count_into(&self, slot: Slot, inherited: u8, summary: &mut ContentSummary) {
        summary.file_count += 1;
        let rec = self.rec(slot);
        if rec.is_file() {
            let (charged, times) = self.space_of(slot);
            summary.length += self.file_length(slot);
            summary.space_consumed += charged.saturating_mul(i64::from(times)).max(0) as u64;
            let policy = match rec.storage_policy {
                0 => inherited,
                own => own,
            };
            let types = type_space(policy, times, charged);
            for (sum, bytes) in summary.types_consumed.iter_mut().zip(types) {
                *sum = sum.saturating_add(bytes);
            }
        }
    }

    /// Continues a summary with up to `max_inodes` inodes. Returns true when it is complete. `enter` says whether a
    /// directory may be looked into.
    fn summarize(
        &self,
        tree: &mut TreeWalk,
        max_inodes: usize,
        summary: &mut ContentSummary,
        mut enter: impl FnMut(Slot) -> Result<(), Refused>,
    ) -> Result<bool, Refused> {
        let mut policy_of = None;
        self.walk_step(tree, max_inodes, &mut |seen| {
            match seen {
                Seen::Directory { dir, .. } => {
                    enter(dir)?;
                    summary.directory_count += 1;
                }
                Seen::Child { child, .. } if self.rec(child).is_dir() => {}
                Seen::Child { dir, child } => {
                    let policy = match policy_of {
                        Some((known, policy)) if known == dir => policy,
                        _ => self.effective_policy(dir),
                    };
                    policy_of = Some((dir, policy));
                    self.count_into(child, policy, summary);
                }
            }
            Ok(true)
        })
    }

    /// Starts a summary.
    fn begin(&self, slot: Slot) -> SummaryWalk {
        let mut walk = SummaryWalk {
            snapshot: self.snapshot(),
            ..SummaryWalk::default()
        };
        if self.rec(slot).is_dir() {
            walk.tree = TreeWalk::of(self.rec(slot).id());
        } else {
            self.count_into(slot, self.effective_policy(slot), &mut walk.summary);
        }
        (walk.summary.ns_quota, walk.summary.ds_quota) = self.quota_limits(slot);
        walk
    }
}

impl<V: View> Counts for V {}

impl Namespace {
    /// Starts `getContentSummary`; FileNotFoundException if absent.
    pub fn content_summary(
        &self,
        caller: &Caller<'_>,
        iip: &InodesInPath<'_>,
        _src: &str,
    ) -> Result<SummaryWalk, Refused> {
        self.check_traverse_for(caller, iip, DirOp::ReadLink)?;
        let Some(slot) = iip.last_slot() else {
            return Err(refuse(
                ex::FILE_NOT_FOUND,
                format!("File does not exist: {}", iip.path()),
            ));
        };
        Ok(match self.past(iip) {
            None => self.begin(slot),
            Some(past) => past.begin(slot),
        })
    }

    /// Continues a summary with up to `max_inodes` inodes. Returns true when it is complete. The lock may be released
    /// between two calls: inodes that are deleted meanwhile are left out, inodes that are added may or may not be
    /// counted, and of a snapshot that is deleted meanwhile nothing more is.
    pub fn content_summary_step(
        &self,
        caller: &Caller<'_>,
        walk: &mut SummaryWalk,
        max_inodes: usize,
    ) -> Result<bool, Refused> {
        let checked = self.config.permissions_enabled && !caller.superuser;
        let SummaryWalk {
            summary,
            tree,
            snapshot,
            gone,
        } = walk;
        if let Some(snapshot) = *snapshot {
            if !self.snapshots.exists(snapshot) {
                return Ok(true);
            }
            let past = Past::new(self, snapshot);
            return past.summarize(tree, max_inodes, summary, |dir| match checked {
                true => past.require(caller, dir, action::READ_EXECUTE, || past.path_of_slot(dir)),
                false => Ok(()),
            });
        }
        let is_whole = self.summarize(tree, max_inodes, summary, |dir| {
            if checked {
                self.require(caller, dir, action::READ_EXECUTE, || self.path_of_slot(dir))?;
            }
            self.find_gone(dir, &mut gone.todo);
            Ok(())
        })?;
        if !is_whole || !self.count_gone(gone, max_inodes)? {
            return Ok(false);
        }
        summary.add_gone(&std::mem::take(&mut gone.counted));
        Ok(true)
    }

    /// What snapshots show of a directory and that is gone from it: what was deleted, as it was last, and what was moved,
    /// as it was last there (`DirectoryWithSnapshotFeature.computeContentSummary4Snapshot`).
    fn find_gone(&self, dir: Slot, todo: &mut Vec<(InodeId, SnapshotId)>) {
        let deleted = self.snapshots.dir_diffs(dir).iter().flat_map(|diff| &diff.deleted);
        todo.extend(deleted.map(|entry| match *entry {
            Entry::Inode(slot) => (self.rec(slot).id(), PRESENT),
            Entry::Former(name) => {
                let former = self.snapshots.former(name);
                (self.rec(former.inode).id(), former.last)
            }
        }));
    }

    /// Counts up to `max_inodes` of what is gone. True when nothing is left. Nobody's rights are checked, as in Hadoop.
    fn count_gone(&self, gone: &mut Gone, max_inodes: usize) -> Result<bool, Refused> {
        let Gone {
            counted,
            todo,
            tree,
            snapshot,
        } = gone;
        for _ in 0..max_inodes.max(1) {
            if !tree.is_done() {
                let past = Past::new(self, *snapshot);
                let is_whole = past.summarize(tree, max_inodes, counted, |dir| {
                    if *snapshot == PRESENT {
                        self.find_gone(dir, todo);
                    }
                    Ok(())
                })?;
                return Ok(is_whole && todo.is_empty());
            }
            let Some((inode, at)) = todo.pop() else { return Ok(true) };
            let past = Past::new(self, at);
            match past.slot(inode) {
                Some(slot) if self.rec(slot).is_dir() => {
                    *tree = TreeWalk::of(inode);
                    *snapshot = at;
                }
                Some(slot) => past.count_into(slot, past.effective_policy(slot), counted),
                None => {}
            }
        }
        Ok(false)
    }
}

impl ContentSummary {
    fn add_gone(&mut self, gone: &ContentSummary) {
        self.length += gone.length;
        self.file_count += gone.file_count;
        self.directory_count += gone.directory_count;
        self.space_consumed += gone.space_consumed;
        self.snapshot_length += gone.length;
        self.snapshot_file_count += gone.file_count;
        self.snapshot_directory_count += gone.directory_count;
        self.snapshot_space_consumed += gone.space_consumed;
        for (sum, bytes) in self.types_consumed.iter_mut().zip(gone.types_consumed) {
            *sum = sum.saturating_add(bytes);
        }
    }
}

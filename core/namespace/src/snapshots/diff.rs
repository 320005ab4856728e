//! What differs between two moments of a directory: two snapshots, or a snapshot and the present
//! (`SnapshotDiffListingInfo`).
//!
//! Only inodes that have changed are looked at: those with a diff of a snapshot from the earlier moment on, and before the
//! later one. They come in pages, in the order of the snapshots and of the inodes' ids, which is the same on every
//! NameNode, so a page can follow one of another NameNode. A page looks at a limited number of inodes, and may be empty
//! though it is not the last one. Hadoop walks through the whole directory in the order of the paths; who puts a report
//! together sorts it anyway.
//!
//! What is told about an inode, as Hadoop does:
//! - Paths are those of the earlier moment, from the directory of the report on. An inode is told of only if neither it
//!   nor a directory above it left the directory of the report, because what left is told as deleted as a whole.
//! - A child that is elsewhere in the directory of the report at the later moment is told as deleted with that path, and
//!   where it is then as created. Together they are a rename.

use std::collections::BTreeMap;

use hathi_formats::exceptions as ex;
use hathi_formats::ids::InodeId;

use super::as_of::AsOf;
use super::{DirDiff, PRESENT, SnapshotId, SnapshotRoot};
use crate::namespace::Namespace;
use crate::path::{DirOp, refuse};
use crate::permission::{Permissions, action};
use crate::store::slab::{NONE, Slot};
use crate::tree::inode::flag;
use crate::types::{Caller, Refused};
use crate::view::View;

/// Inodes that one page looks at.
const PAGE_INODES: usize = 4096;

/// A question for a page of differences.
#[derive(Clone, Copy, Debug)]
pub struct DiffQuestion<'a> {
    /// The directory of the report.
    pub path: &'a str,
    /// Name of a snapshot; empty for the present.
    pub from: &'a str,
    /// Name of a snapshot; empty for the present.
    pub to: &'a str,
    /// Where the page before ended.
    pub cursor: Option<DiffCursor>,
    /// Entries of a page. One more may come with the last one.
    pub limit: usize,
}

/// Where a page ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiffCursor {
    snapshot: SnapshotId,
    inode: u64,
    /// Position in the lists of a directory. `None`: nothing was told of the inode.
    position: Option<usize>,
}

impl DiffCursor {
    /// As clients carry it: in Hadoop a path and an index.
    #[must_use]
    pub fn to_wire(self) -> (String, i32) {
        let position = self.position.and_then(|position| i32::try_from(position).ok());
        (format!("{}/{}", self.snapshot, self.inode), position.unwrap_or(-1))
    }

    /// The cursor that a client carried. `None` for what no page ended with.
    #[must_use]
    pub fn from_wire(path: &str, index: i32) -> Option<DiffCursor> {
        let (snapshot, inode) = path.split_once('/')?;
        Some(DiffCursor {
            snapshot: snapshot.parse().ok()?,
            inode: inode.parse().ok()?,
            position: usize::try_from(index).ok(),
        })
    }
}

/// One entry (`SnapshotDiffReportListing.DiffReportListingEntry`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffEntry {
    /// The directory that the entry is about, or the modified inode itself.
    pub dir: InodeId,
    /// The inode.
    pub inode: InodeId,
    /// From the directory of the report on, without a slash in front; empty for the directory itself.
    pub path: Vec<u8>,
    /// Modified: it is a directory. Created and deleted: it is part of a rename.
    pub is_reference: bool,
    /// Of a deleted one: where it is at the later moment.
    pub target: Option<Vec<u8>>,
}

/// A page of differences (`SnapshotDiffReportListing`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiffPage {
    /// What changed and is still there.
    pub modified: Vec<DiffEntry>,
    /// What is there at the later moment alone.
    pub created: Vec<DiffEntry>,
    /// What is there at the earlier moment alone.
    pub deleted: Vec<DiffEntry>,
    /// Whether the question names the earlier moment first.
    pub is_from_earlier: bool,
    /// Where the next page begins. `None`: this was the last one.
    pub next: Option<DiffCursor>,
}

impl DiffPage {
    fn len(&self) -> usize {
        self.modified.len() + self.created.len() + self.deleted.len()
    }
}

/// A page that is being filled.
struct Pages<'n, 'a> {
    ns: &'n Namespace,
    caller: Caller<'a>,
    /// The directory of the report.
    scope: Slot,
    earlier: SnapshotId,
    later: SnapshotId,
    limit: usize,
    page: DiffPage,
    /// Paths of directories at the earlier moment; `None` for those of which nothing is told.
    paths: BTreeMap<Slot, Option<Vec<u8>>>,
}

impl Namespace {
    /// A page of the differences between two moments of a directory (`getSnapshotDiffReportListing`).
    ///
    /// # Errors
    /// FileNotFound, PathIsNotDirectory; AccessControl, unless all directories that the page tells of can be read;
    /// Snapshot, for a directory without snapshots and for unknown ones.
    pub fn snapshot_diff(&self, caller: &Caller<'_>, question: &DiffQuestion<'_>) -> Result<DiffPage, Refused> {
        let iip = self.resolve_for(caller, question.path, DirOp::Read)?;
        self.check_path_access(caller, &iip, action::READ)?;
        let scope = self.snapshot_dir(&iip)?;
        let root = match self.config.diff_of_descendants {
            true => self.snapshot_root_above(scope).ok_or_else(|| {
                let path = iip.path();
                refuse(
                    ex::SNAPSHOT,
                    format!("The path {path} is neither snapshottable nor under a snapshot root!"),
                )
            })?,
            false => self.snapshot_root_at(&iip)?,
        };
        let from = self.snapshot_named(root, question.from)?;
        let to = self.snapshot_named(root, question.to)?;
        if from == to {
            return Ok(DiffPage::default());
        }
        let mut pages = Pages {
            ns: self,
            caller: *caller,
            scope,
            earlier: from.min(to),
            later: from.max(to),
            limit: question.limit.max(1),
            page: DiffPage {
                is_from_earlier: from < to,
                ..DiffPage::default()
            },
            paths: BTreeMap::new(),
        };
        pages.paths.insert(scope, Some(Vec::new()));
        pages.fill(question.cursor)?;
        Ok(pages.page)
    }

    /// The snapshottable directory that is, or is above, this directory.
    fn snapshot_root_above(&self, dir: Slot) -> Option<&SnapshotRoot> {
        self.live_snapshot_roots().find(|root| self.is_below(dir, root.slot))
    }

    /// `DirectorySnapshottableFeature.getSnapshotByName`.
    fn snapshot_named(&self, root: &SnapshotRoot, name: &str) -> Result<SnapshotId, Refused> {
        if name.is_empty() {
            return Ok(PRESENT);
        }
        let found = root.named(name).map(|snapshot| snapshot.id);
        found.ok_or_else(|| {
            let path = self.path_of_slot(root.slot);
            refuse(
                ex::SNAPSHOT,
                format!("Cannot find the snapshot of directory {path} with name {name}"),
            )
        })
    }

    /// Whether a moment shows the inode at all.
    fn is_shown_at(&self, slot: Slot, moment: SnapshotId) -> bool {
        match moment {
            PRESENT => self.tree.is_attached(slot),
            snapshot => self.shown_by(slot, snapshot) == Some(snapshot),
        }
    }

    /// The name of an inode at a moment that shows it.
    fn name_at(&self, slot: Slot, moment: SnapshotId) -> &[u8] {
        match self.place_at(slot, moment) {
            Some(place) => &place.name,
            None => self.name_of(slot),
        }
    }

    /// The path of an inode from a directory on, at a moment. `None` if it was not below it then.
    fn path_below(&self, slot: Slot, dir: Slot, moment: SnapshotId) -> Option<Vec<u8>> {
        if !self.is_shown_at(slot, moment) {
            return None;
        }
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = slot;
        while at != dir {
            if at == self.root() || at == NONE {
                return None;
            }
            names.push(self.name_at(at, moment));
            at = self.parent_at(at, moment);
        }
        names.reverse();
        Some(names.join(&b'/'))
    }

    /// Whether attributes differ (`metadataEquals` of `INodeFileAttributes` and `INodeDirectoryAttributes`). Times do not
    /// count.
    fn attributes_differ(&self, slot: Slot, earlier: SnapshotId, later: SnapshotId) -> bool {
        // What was never kept is as it was.
        let Some(was) = self.kept_at(slot, earlier) else {
            return false;
        };
        let rec = self.rec(slot);
        let (is, acl, xattrs, quota) = match self.kept_at(slot, later) {
            Some(kept) => (
                &kept.rec,
                kept.acl.as_ref(),
                kept.xattrs.as_ref(),
                kept.quota.as_ref().map(|quota| (quota.ns, quota.ds, &quota.types)),
            ),
            None => (
                rec,
                self.attributes.acl(slot).filter(|_| rec.has(flag::ACL)),
                self.attributes.xattrs_shared(slot).filter(|_| rec.has(flag::XATTR)),
                self.quota(slot).map(|quota| (quota.ns, quota.ds, &quota.types)),
            ),
        };
        let of_file =
            rec.is_file() && (was.rec.redundancy() != is.redundancy() || was.rec.block_size() != is.block_size());
        of_file
            || was.rec.perm() != is.perm()
            || was.rec.storage_policy != is.storage_policy
            || was.acl.as_ref() != acl
            || was.xattrs.as_ref() != xattrs
            || was.quota.as_ref().map(|quota| (quota.ns, quota.ds, &quota.types)) != quota
    }

    /// Whether a file differs (`FileWithSnapshotFeature.changedBetweenSnapshots`). Unlike Hadoop's, one that was cut and
    /// grew to the same length is told, too.
    fn file_differs(&self, file: Slot, earlier: SnapshotId, later: SnapshotId) -> bool {
        self.length_at(file, earlier) != self.length_at(file, later)
            || self.blocks_at(file, earlier) != self.blocks_at(file, later)
            || self.attributes_differ(file, earlier, later)
    }

    /// The diffs of a directory from one moment to another.
    fn dir_diffs_between(&self, dir: Slot, earlier: SnapshotId, later: SnapshotId) -> &[DirDiff] {
        let diffs = self.dir_diffs_from(dir, earlier);
        &diffs[..diffs.partition_point(|diff| diff.snapshot < later)]
    }

    /// The child of this name at both moments, if it is not the same.
    fn child_differs(
        &self,
        dir: Slot,
        name: &[u8],
        earlier: SnapshotId,
        later: SnapshotId,
    ) -> Option<(Option<Slot>, Option<Slot>)> {
        let child = |moment| self.entry_at(dir, name, moment).map(|entry| self.inode_of(entry));
        let (was, is) = (child(earlier), child(later));
        (was != is).then_some((was, is))
    }
}

impl<'n> Pages<'n, '_> {
    /// Fills the page from where the last one ended.
    fn fill(&mut self, cursor: Option<DiffCursor>) -> Result<(), Refused> {
        let ns = self.ns;
        let first = cursor.map_or(self.earlier, |cursor| cursor.snapshot.max(self.earlier));
        if first >= self.later {
            return Ok(());
        }
        let mut left = PAGE_INODES;
        for (&snapshot, slots) in ns.snapshots.by_snapshot.range(first..self.later) {
            let cursor = cursor.filter(|cursor| cursor.snapshot == snapshot);
            let from = cursor.map_or(0, |cursor| cursor.inode);
            let ids = slots.iter().map(|slot| (ns.rec(*slot).id().0, *slot));
            let mut due: Vec<(u64, Slot)> = ids.filter(|(id, _)| *id >= from).collect();
            // One more than are looked at says where the next page begins.
            if due.len() > left {
                due.select_nth_unstable(left);
                due.truncate(left + 1);
            }
            due.sort_unstable();
            for (inode, slot) in due {
                let at = DiffCursor {
                    snapshot,
                    inode,
                    position: cursor.filter(|cursor| cursor.inode == inode).and_then(|at| at.position),
                };
                if left == 0 || self.page.len() >= self.limit {
                    self.page.next = Some(at);
                    return Ok(());
                }
                left -= 1;
                self.tell(slot, at)?;
                if self.page.next.is_some() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Tells how an inode differs, if this is its first diff after the earlier moment.
    fn tell(&mut self, slot: Slot, at: DiffCursor) -> Result<(), Refused> {
        let (ns, earlier, later) = (self.ns, self.earlier, self.later);
        let is_dir = ns.rec(slot).is_dir();
        let first = match is_dir {
            true => ns.dir_diffs_from(slot, earlier).first().map(|diff| diff.snapshot),
            false => ns.file_diffs_from(slot, earlier).first().map(|diff| diff.snapshot),
        };
        if first != Some(at.snapshot) || !ns.is_shown_at(slot, earlier) {
            return Ok(());
        }
        let Some(path) = self.path(slot)? else { return Ok(()) };
        let differs = match is_dir {
            true => ns.attributes_differ(slot, earlier, later) || self.children_differ(slot),
            false => ns.file_differs(slot, earlier, later),
        };
        if !differs {
            return Ok(());
        }
        if at.position.is_none() {
            let inode = ns.rec(slot).id();
            self.page.modified.push(DiffEntry {
                dir: inode,
                inode,
                path: path.clone(),
                is_reference: is_dir,
                target: None,
            });
        }
        if is_dir {
            self.tell_children(slot, &path, at)?;
        }
        Ok(())
    }

    /// The names in the lists of a directory, in the order of the diffs, and where each is. A name may come twice.
    fn names(&self, dir: Slot) -> impl Iterator<Item = &'n [u8]> {
        let ns = self.ns;
        let diffs = ns.dir_diffs_between(dir, self.earlier, self.later).iter();
        let entries = diffs.flat_map(|diff| diff.created.iter().chain(&diff.deleted));
        entries.map(|entry| ns.name_of_entry(*entry))
    }

    fn children_differ(&self, dir: Slot) -> bool {
        let mut names = self.names(dir);
        names.any(|name| self.ns.child_differs(dir, name, self.earlier, self.later).is_some())
    }

    /// Whether a name was in a list before this position.
    fn came_before(&self, dir: Slot, name: &[u8], position: usize) -> bool {
        let ns = self.ns;
        let mut start = 0;
        for diff in ns.dir_diffs_between(dir, self.earlier, self.later) {
            for list in [&diff.created, &diff.deleted] {
                if start >= position {
                    return false;
                }
                let at = list.partition_point(|entry| ns.name_of_entry(*entry) < name);
                let is_there = list.get(at).is_some_and(|entry| ns.name_of_entry(*entry) == name);
                if is_there && start + at < position {
                    return true;
                }
                start += list.len();
            }
        }
        false
    }

    /// Tells of the children that came and went.
    fn tell_children(&mut self, dir: Slot, path: &[u8], at: DiffCursor) -> Result<(), Refused> {
        let (ns, earlier, later) = (self.ns, self.earlier, self.later);
        let begin = at.position.unwrap_or(0);
        let names: Vec<(usize, &[u8])> = self.names(dir).enumerate().skip(begin).take(self.limit + 1).collect();
        let id = ns.rec(dir).id();
        let is_last = names.len() <= self.limit;
        let mut end = begin + names.len();
        for (position, name) in names {
            if self.page.len() >= self.limit {
                end = position;
                break;
            }
            if self.came_before(dir, name, position) {
                continue;
            }
            let Some((was, is)) = ns.child_differs(dir, name, earlier, later) else {
                continue;
            };
            let mut child = path.to_vec();
            if !child.is_empty() {
                child.push(b'/');
            }
            child.extend_from_slice(name);
            let entry = |slot: Slot, is_reference, target| DiffEntry {
                dir: id,
                inode: ns.rec(slot).id(),
                path: child.clone(),
                is_reference,
                target,
            };
            if let Some(slot) = is {
                let was_told = ns.is_shown_at(slot, earlier) && self.was_told(slot)?;
                self.page.created.push(entry(slot, was_told, None));
            }
            if let Some(slot) = was {
                let target = ns.path_below(slot, self.scope, later);
                self.page.deleted.push(entry(slot, target.is_some(), target));
            }
        }
        if !is_last || end < self.names(dir).count() {
            self.page.next = Some(DiffCursor {
                position: Some(end),
                ..at
            });
        }
        Ok(())
    }

    /// Whether an inode of the earlier moment is told as moved from where it was.
    fn was_told(&mut self, slot: Slot) -> Result<bool, Refused> {
        let dir = self.ns.parent_at(slot, self.earlier);
        Ok(dir != NONE && self.path(dir)?.is_some())
    }

    /// The path of an inode at the earlier moment. `None`: it, or a directory above it, was not in the directory of the
    /// report at one of the moments.
    fn path(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, Refused> {
        let ns = self.ns;
        let mut above = Vec::new();
        let mut at = slot;
        let mut path = loop {
            if let Some(known) = self.paths.get(&at) {
                break known.clone();
            }
            if at == ns.root() || at == NONE {
                break None;
            }
            above.push(at);
            at = ns.parent_at(at, self.earlier);
        };
        while let Some(at) = above.pop() {
            path = match path {
                Some(mut path) if ns.path_below(at, self.scope, self.later).is_some() => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(ns.name_at(at, self.earlier));
                    Some(path)
                }
                _ => None,
            };
            if ns.rec(at).is_dir() {
                if path.is_some() {
                    self.check_readable(at)?;
                }
                self.paths.insert(at, path.clone());
            }
        }
        Ok(path)
    }

    /// Both moments of a directory are readable. Hadoop refuses the report if any directory is not, whether the report
    /// tells of it or not.
    fn check_readable(&self, dir: Slot) -> Result<(), Refused> {
        let ns = self.ns;
        for moment in [self.earlier, self.later] {
            let granted = match ns.kept_at(dir, moment) {
                Some(kept) => ns.grants(&self.caller, &kept.rec, kept.acl.as_deref(), action::READ),
                None => ns.has_permission(&self.caller, dir, action::READ),
            };
            let checked = ns.config.permissions_enabled && !self.caller.superuser;
            if checked && !granted {
                return Err(refuse(
                    ex::ACCESS_CONTROL,
                    format!(
                        "Permission denied: user={}, access=READ, inode=\"{}\":{}",
                        self.caller.user,
                        ns.path_of_slot(dir),
                        ns.describe(dir)
                    ),
                ));
            }
        }
        Ok(())
    }
}

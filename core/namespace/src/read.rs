//! Reads of clients.
//!
//! Mirrors `FSDirStatAndListingOp` and the reading halves of the other `FSDir*Op`. A path that names a snapshot is read
//! as of it ([`Past`]).

use std::ops::{Bound, ControlFlow};

use hathi_formats::exceptions as ex;
use hathi_formats::ids::{Block, BlockId, InodeId};
use hathi_formats::proto::hdfs::{CacheDirectiveInfoProto, CachePoolInfoProto};

use crate::namespace::Namespace;
use crate::ops::Unreadable;
use crate::path::{DOT_SNAPSHOT, DirOp, InodesInPath, is_exact_reserved, refuse};
use crate::permission::action;
use crate::snapshots::SnapshotsPart;
use crate::snapshots::as_of::AsOf;
use crate::snapshots::past::Past;
use crate::status::Statuses;
use crate::store::slab::Slot;
use crate::striping::{BlockLayout, Stripes};
use crate::types::{Caller, FileBlock, FileStatus, InodeKind, OpenFile, Plan, QuotaUsage, Refused};
use crate::usage::STORAGE_TYPES;
use crate::view::View;

/// Where the snapshots of the root are. This path is there even while none may be taken: Hadoop's root is snapshottable
/// with room for none.
const ROOTS_SNAPSHOTS: &str = "/.snapshot";

/// A page of `listOpenFiles` under way ([`Namespace::open_files_step`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFilesWalk {
    /// The last file that was looked at.
    after: InodeId,
    /// Files of the page so far.
    pub found: Vec<OpenFile>,
}

impl OpenFilesWalk {
    /// The page behind this file.
    #[must_use]
    pub fn after(file: InodeId) -> OpenFilesWalk {
        OpenFilesWalk {
            after: file,
            found: Vec::new(),
        }
    }
}

impl Namespace {
    /// `getFileInfo`: None if absent. Checks traverse; a symlink at the end is an `UnresolvedPathException`.
    pub fn file_info(&self, caller: &Caller<'_>, iip: &InodesInPath<'_>) -> Result<Option<FileStatus<'_>>, Refused> {
        self.check_traverse_for(caller, iip, DirOp::Read)?;
        Ok(self.status_at(iip))
    }

    /// `getFileLinkInfo`: like [`Self::file_info`], but a symlink at the end shows itself.
    pub fn file_link_info(
        &self,
        caller: &Caller<'_>,
        iip: &InodesInPath<'_>,
    ) -> Result<Option<FileStatus<'_>>, Refused> {
        self.check_traverse_for(caller, iip, DirOp::ReadLink)?;
        Ok(self.status_at(iip))
    }

    /// The status of what is at the end of a path, as of the snapshot that it names.
    #[must_use]
    pub fn status_at(&self, iip: &InodesInPath<'_>) -> Option<FileStatus<'_>> {
        if iip.dir_of_snapshots().is_some() {
            return Some(FileStatus::DOT_SNAPSHOT);
        }
        let Some(slot) = iip.last_slot() else {
            return match iip.as_str() {
                "/.reserved" => Some(FileStatus::DOT_RESERVED),
                ROOTS_SNAPSHOTS => Some(FileStatus::DOT_SNAPSHOT),
                _ => None,
            };
        };
        let status = match self.past(iip) {
            None => self.status_of(slot, None),
            Some(past) => past.status(slot),
        };
        Some(status.without_key_if(iip.raw))
    }

    /// Status of an inode, without checks.
    #[must_use]
    pub fn status(&self, inode: InodeId) -> Option<FileStatus<'_>> {
        self.slot(inode).map(|slot| self.status_of(slot, None))
    }

    /// The file at the end of a path, or Hadoop's refusal (`INodeFile.valueOf`).
    pub(crate) fn file_slot(&self, slot: Option<Slot>, path: &str) -> Result<Slot, Refused> {
        match slot {
            None => Err(refuse(ex::FILE_NOT_FOUND, format!("File does not exist: {path}"))),
            Some(slot) if !self.rec(slot).is_file() => {
                Err(refuse(ex::FILE_NOT_FOUND, format!("Path is not a file: {path}")))
            }
            Some(slot) => Ok(slot),
        }
    }

    /// `FSDirectory.resolveLastINode`.
    pub(crate) fn existing_slot(&self, iip: &InodesInPath<'_>) -> Result<Slot, Refused> {
        iip.last_slot()
            .ok_or_else(|| refuse(ex::FILE_NOT_FOUND, format!("cannot find {}", iip.path())))
    }

    /// Checks of `getBlockLocations`: that the path is a file, and read permission. Gives its status.
    pub fn open_for_read(
        &self,
        caller: &Caller<'_>,
        iip: &InodesInPath<'_>,
        src: &str,
    ) -> Result<FileStatus<'_>, Refused> {
        self.check_traverse_for(caller, iip, DirOp::Read)?;
        let slot = self.file_slot(iip.last_slot(), src)?;
        self.check_path_access(caller, iip, action::READ)?;
        match self.past(iip) {
            None => {
                self.check_unreadable_by_superuser(caller, slot)?;
                Ok(self.status_of(slot, None).without_key_if(iip.raw))
            }
            Some(past) => {
                past.check_unreadable_by_superuser(caller, slot)?;
                Ok(past.status(slot).without_key_if(iip.raw))
            }
        }
    }

    /// The blocks of a file in order. Empty for anything else.
    pub fn blocks_of(&self, file: InodeId) -> impl Iterator<Item = FileBlock> + '_ {
        self.file_blocks_of(self.slot(file).map_or(&[][..], |slot| self.block_slots(slot)))
    }

    /// The blocks of the file that a status is of, as of its snapshot.
    pub fn blocks_shown(&self, status: &FileStatus<'_>) -> impl Iterator<Item = FileBlock> + '_ {
        let slots = match status.snapshot {
            None => self.slot(status.id).map(|slot| self.block_slots(slot)),
            Some(snapshot) => self.tree.find(status.id).map(|slot| self.blocks_at(slot, snapshot)),
        };
        self.file_blocks_of(slots.unwrap_or(&[]))
    }

    /// All blocks of a file, those included that only snapshots show, even if the file is gone.
    #[must_use]
    pub fn all_blocks_of(&self, file: InodeId) -> Vec<BlockId> {
        let Some(slot) = self.tree.find(file) else {
            return Vec::new();
        };
        let past = self.blocks_of_past(slot);
        let all = self.block_slots(slot).iter().chain(&past);
        all.map(|block| self.block_rec(*block).id()).collect()
    }

    fn file_blocks_of<'n>(&'n self, slots: &'n [Slot]) -> impl Iterator<Item = FileBlock> + 'n {
        let mut offset = 0;
        slots.iter().map(move |slot| {
            let rec = self.files.get(*slot);
            let block = FileBlock {
                block: rec.block(),
                offset,
                under_construction: rec.is_open(),
            };
            offset += rec.len();
            block
        })
    }

    /// Whether this read should be noted as an access (`TIMES` op); see [`Namespace::plan_access_time`].
    #[must_use]
    pub fn wants_access_time(&self, file: InodeId, now_ms: u64) -> bool {
        let precision = self.config.access_time_precision_ms;
        precision != 0
            && self
                .slot(file)
                .is_some_and(|slot| now_ms > self.rec(slot).atime().saturating_add(precision))
    }

    /// The op that notes an access at `now_ms`.
    #[must_use]
    pub fn plan_access_time(&self, file: InodeId, now_ms: u64) -> Plan<()> {
        match self.path_of(file) {
            Some(path) => Plan::one(
                hathi_formats::editlog::EditOp::Times {
                    path,
                    mtime: -1,
                    atime: now_ms as i64,
                },
                (),
            ),
            None => Plan::nothing(()),
        }
    }

    /// `getListing`: calls `visit` for up to `limit` children behind `start_after` in byte order, and returns how many
    /// more there are. A file lists itself with an empty name. `None`: the path does not exist. `visit` may stop
    /// earlier; the child at which it stops counts as visited.
    pub fn list(
        &self,
        caller: &Caller<'_>,
        iip: &InodesInPath<'_>,
        start_after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(FileStatus<'_>) -> ControlFlow<()>,
    ) -> Result<Option<usize>, Refused> {
        self.check_traverse_for(caller, iip, DirOp::Read)?;
        let Some(dir) = iip.last_slot() else {
            if is_exact_reserved(iip.as_str()) {
                let below = FileStatus::below_reserved(&self.config.supergroup).into_iter();
                let _ = below.filter(|status| status.name > start_after).try_for_each(visit);
                return Ok(Some(0));
            }
            return self.list_snapshots(iip, start_after, limit, visit);
        };
        let past = self.past(iip);
        let mut raw_visit = |status: FileStatus<'_>| visit(status.without_key_if(iip.raw));
        if !self.rec(dir).is_dir() {
            let _ = raw_visit(match past {
                None => self.status_of(dir, None),
                Some(past) => past.status(dir),
            });
            return Ok(Some(0));
        }
        self.check_path_access(caller, iip, action::READ_EXECUTE)?;
        // A full path, usually by inode id, may stand for the name (`FSDirStatAndListingOp.getListingInt`).
        let owned;
        let mut after = start_after;
        if start_after.starts_with(b"/") {
            let path = String::from_utf8_lossy(start_after).into_owned();
            owned = self.resolve(&path)?.name().to_owned();
            after = owned.as_bytes();
        }
        Ok(Some(match past {
            None => self.list_children(dir, after, limit, &mut raw_visit),
            Some(past) => past.list_children(dir, after, limit, &mut raw_visit),
        }))
    }

    /// The listing of a path at which no inode is: the snapshots of a directory by name, if the path ends with
    /// `.snapshot` (`FSDirStatAndListingOp.getSnapshotsListing`).
    fn list_snapshots(
        &self,
        iip: &InodesInPath<'_>,
        after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(FileStatus<'_>) -> ControlFlow<()>,
    ) -> Result<Option<usize>, Refused> {
        if iip.name() != DOT_SNAPSHOT {
            return Ok(None);
        }
        let Some(root) = iip.dir_of_snapshots().and_then(|dir| self.snapshot_root(dir)) else {
            let dir = iip.prefix(iip.depth - 1);
            return Err(match iip.parent_slot() {
                None => refuse(ex::FILE_NOT_FOUND, format!("Directory does not exist: {dir}")),
                Some(_) if iip.as_str() == ROOTS_SNAPSHOTS => return Ok(Some(0)),
                Some(_) => refuse(
                    ex::SNAPSHOT,
                    format!("Directory is not a snapshottable directory: {dir}"),
                ),
            });
        };
        let mut behind: Vec<_> = root.snapshots.iter().filter(|of| of.name.as_bytes() > after).collect();
        behind.sort_unstable_by(|one, other| one.name.as_bytes().cmp(other.name.as_bytes()));
        let mut shown = 0;
        for snapshot in behind.iter().take(limit) {
            shown += 1;
            let status = FileStatus {
                name: snapshot.name.as_bytes(),
                // So Hadoop has it.
                children: self.child_count(root.slot) as u32,
                storage_policy: 0,
                ..Past::new(self, snapshot.id).status(root.slot)
            };
            if visit(status).is_break() {
                break;
            }
        }
        Ok(Some(behind.len() - shown))
    }

    /// `getQuotaUsage` where a quota is set; None: fall back to a content summary.
    pub fn quota_usage(
        &self,
        caller: &Caller<'_>,
        iip: &InodesInPath<'_>,
        _src: &str,
    ) -> Result<Option<QuotaUsage>, Refused> {
        self.check_traverse_for(caller, iip, DirOp::ReadLink)?;
        let Some(slot) = iip.last_slot() else {
            return Err(refuse(
                ex::FILE_NOT_FOUND,
                format!("File/Directory does not exist: {}", iip.path()),
            ));
        };
        if iip.snapshot().is_some() {
            // What was used then is not kept.
            return Ok(None);
        }
        Ok(self.quota(slot).map(|quota| QuotaUsage {
            file_and_directory_count: quota.used_ns.max(0) as u64,
            space_consumed: quota.used_ds.max(0) as u64,
            ns_quota: quota.ns,
            ds_quota: quota.ds,
            types_consumed: match slot == self.root() && !self.attributes.root_counts_types() {
                true => [0; STORAGE_TYPES],
                false => quota.used_types,
            },
        }))
    }

    /// Quotas by storage type of the directory at the end of a path: (Java ordinal, bytes).
    #[must_use]
    pub fn type_quotas(&self, iip: &InodesInPath<'_>) -> Vec<(i32, i64)> {
        match (iip.last_slot(), self.past(iip)) {
            (None, _) => Vec::new(),
            (Some(slot), None) => self.type_limits(slot),
            (Some(slot), Some(past)) => past.type_limits(slot),
        }
    }

    /// `getPreferredBlockSize`.
    pub fn preferred_block_size(
        &self,
        caller: &Caller<'_>,
        iip: &InodesInPath<'_>,
        _src: &str,
    ) -> Result<u64, Refused> {
        self.check_traverse_for(caller, iip, DirOp::ReadLink)?;
        let slot = self.file_slot(iip.last_slot(), &iip.path())?;
        Ok(self.rec(slot).block_size())
    }

    /// `isFileClosed`.
    pub fn is_file_closed(&self, caller: &Caller<'_>, iip: &InodesInPath<'_>, src: &str) -> Result<bool, Refused> {
        self.check_traverse_for(caller, iip, DirOp::Read)?;
        let slot = self.file_slot(iip.last_slot(), src)?;
        Ok(!self.rec(slot).is_open())
    }

    /// `getLinkTarget`.
    pub fn link_target(&self, caller: &Caller<'_>, iip: &InodesInPath<'_>, src: &str) -> Result<String, Refused> {
        self.check_traverse_for(caller, iip, DirOp::ReadLink)?;
        let Some(slot) = iip.last_slot() else {
            let class = match iip.dir_of_snapshots() {
                None => return Err(refuse(ex::FILE_NOT_FOUND, format!("File does not exist: {src}"))),
                Some(_) => ex::IO,
            };
            return Err(refuse(class, format!("{src} is not a symbolic link")));
        };
        match self.attributes.link(slot) {
            Some(target) if self.rec(slot).is_symlink() => Ok(String::from_utf8_lossy(target).into_owned()),
            _ => Err(refuse(ex::IO, format!("{src} is not a symbolic link"))),
        }
    }

    /// `getStoragePolicy`: id in force; 0 = the default of the cluster.
    pub fn storage_policy(&self, caller: &Caller<'_>, iip: &InodesInPath<'_>, _src: &str) -> Result<u8, Refused> {
        self.check_traverse_for(caller, iip, DirOp::ReadLink)?;
        self.check_path_access(caller, iip, action::READ)?;
        match iip.last_slot() {
            Some(slot) => Ok(match self.past(iip) {
                None => self.effective_policy(slot),
                Some(past) => past.effective_policy(slot),
            }),
            None => Err(refuse(
                ex::FILE_NOT_FOUND,
                format!("File/Directory does not exist: {}", iip.path()),
            )),
        }
    }

    /// Continues a page of `listOpenFiles` below `path` with up to `max_files` open files. Returns `None` while the
    /// page is not complete, and then whether there are more than the `page` wanted files in it. The caller's rights are not
    /// checked. The lock may be released between two calls: files that are opened or closed meanwhile may or may not be
    /// in the page.
    pub fn open_files_step(
        &self,
        walk: &mut OpenFilesWalk,
        path: &str,
        page: usize,
        max_files: usize,
        is_wanted: &dyn Fn(InodeId) -> bool,
    ) -> Option<bool> {
        let mut ids = self.writers.leases().files_after(walk.after);
        for id in ids.by_ref().take(max_files.max(1)) {
            walk.after = id;
            let Some(slot) = self.slot(walk.after) else { continue };
            let Some(open) = self.writers.get(slot) else { continue };
            let full = self.path_of_slot(slot);
            let top = path.trim_end_matches('/');
            let is_there = full
                .strip_prefix(top)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            if !is_there || !is_wanted(id) {
                continue;
            }
            if walk.found.len() == page {
                return Some(true);
            }
            walk.found.push(OpenFile {
                id: walk.after,
                path: full,
                client_name: open.client_name.to_string(),
                client_machine: open.client_machine.to_string(),
            });
        }
        ids.next().is_none().then_some(false)
    }

    /// The block as the edits know it, and its file, which may be one that only snapshots show. `None` if it belongs to no
    /// file.
    #[must_use]
    pub fn block(&self, id: BlockId) -> Option<(Block, InodeId)> {
        let slot = self.files.find(id)?;
        let rec = self.files.get(slot);
        (!self.tree.is_cut_off(rec.file())).then(|| (rec.block(), self.rec(rec.file()).id()))
    }

    /// Whether the edits say that the block is still being written.
    #[must_use]
    pub fn is_block_under_construction(&self, id: BlockId) -> bool {
        self.files.find(id).is_some_and(|slot| self.files.get(slot).is_open())
    }

    /// Replicas that the blocks of a file should have, for itself and for its snapshots; None for anything else.
    #[must_use]
    pub fn replication(&self, file: InodeId) -> Option<u16> {
        let slot = self.tree.find(file)?;
        self.rec(slot).is_file().then(|| self.wanted_replication(slot))
    }

    /// The storage policy in force for a file, even if only snapshots show it; 0 = unspecified.
    #[must_use]
    pub fn policy_of(&self, file: InodeId) -> u8 {
        self.tree.find(file).map_or(0, |slot| self.effective_policy(slot))
    }

    /// Calls `visit(block, file, redundancy, under_construction)` for every block of every file: fills a block manager
    /// after an image load.
    pub fn for_each_block(&self, visit: &mut dyn FnMut(Block, InodeId, BlockLayout, bool)) {
        for rec in self.files.iter() {
            let file = self.rec(rec.file());
            visit(rec.block(), file.id(), self.wanted_layout(rec.file()), rec.is_open());
        }
    }

    /// Kind of an inode.
    #[must_use]
    pub fn kind(&self, inode: InodeId) -> Option<InodeKind> {
        self.slot(inode).map(|slot| self.rec(slot).kind())
    }

    /// The snapshottable directories, by id.
    pub fn snapshottable_dirs(&self) -> impl Iterator<Item = InodeId> + '_ {
        let all = self.snapshots.roots().keys().map(|id| InodeId(*id));
        all.filter(|id| self.slot(*id).is_some())
    }

    /// The cache pools whose names come after this one, in their order.
    pub fn cache_pools_after(&self, name: &str) -> impl Iterator<Item = &CachePoolInfoProto> + '_ {
        let after = (Bound::Excluded(name.to_owned()), Bound::Unbounded);
        self.carried.cache().pools.range(after).map(|(_, pool)| pool)
    }

    /// A cache pool.
    #[must_use]
    pub fn cache_pool(&self, name: &str) -> Option<&CachePoolInfoProto> {
        self.carried.cache().pools.get(name)
    }

    /// The cache directives with higher ids, in the order of their ids.
    pub fn cache_directives_after(&self, id: i64) -> impl Iterator<Item = &CacheDirectiveInfoProto> + '_ {
        let after = (Bound::Excluded(id), Bound::Unbounded);
        self.carried
            .cache()
            .directives
            .range(after)
            .map(|(_, directive)| directive)
    }
}

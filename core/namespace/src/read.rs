//! Reads of clients.
//!
//! Mirrors `FSDirStatAndListingOp`, `ContentSummaryComputationContext` and the reading halves of the other `FSDir*Op`.

use std::ops::{Bound, ControlFlow};

use hathi_formats::exceptions as ex;
use hathi_formats::ids::{Block, BlockId, InodeId};
use hathi_formats::proto::hdfs::{CacheDirectiveInfoProto, CachePoolInfoProto, ErasureCodingPolicyProto};

use crate::namespace::Namespace;
use crate::path::{DirOp, InodesInPath, refuse};
use crate::permission::{Permissions, action};
use crate::snapshots::SnapshotsPart;
use crate::store::slab::Slot;
use crate::tree::inode::flag;
use crate::types::{Caller, ContentSummary, FileBlock, FileStatus, InodeKind, OpenFile, Plan, QuotaUsage, Refused};
use crate::usage::{STORAGE_TYPES, type_space};
use crate::view::View;
use crate::walk::{Seen, TreeWalk, Walks};

/// A content summary under way. It may continue after the lock was released.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SummaryWalk {
    /// The numbers counted so far.
    pub summary: ContentSummary,
    tree: TreeWalk,
}

impl SummaryWalk {
    /// A summary of a directory and everything below it.
    pub(crate) fn below(dir: InodeId) -> SummaryWalk {
        SummaryWalk {
            summary: ContentSummary::default(),
            tree: TreeWalk::of(dir),
        }
    }
}

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

/// What a view shows of its inodes.
pub(crate) trait Statuses: View {
    /// `parent_policy`: the policy in force in the parent, if known.
    fn status_of(&self, slot: Slot, parent_policy: Option<u8>) -> FileStatus<'_> {
        let rec = self.rec(slot);
        let perm = rec.perm();
        let (file, dir) = (rec.is_file(), rec.is_dir());
        FileStatus {
            id: rec.id(),
            kind: rec.kind(),
            name: &[],
            length: if file { self.file_length(slot) } else { 0 },
            mode: perm.mode(),
            owner: self.attributes().user(perm),
            group: self.attributes().group(perm),
            mtime_ms: rec.mtime(),
            atime_ms: if dir { 0 } else { rec.atime() },
            replication: if file { rec.replication } else { 0 },
            block_size: if file { rec.block_size() } else { 0 },
            children: if dir { self.child_count(slot) as u32 } else { 0 },
            symlink: match rec.is_symlink() {
                true => self.attributes().link(slot),
                false => None,
            },
            storage_policy: match rec.storage_policy {
                _ if rec.is_symlink() => 0,
                0 => parent_policy.unwrap_or_else(|| self.effective_policy(rec.parent())),
                own => own,
            },
            has_acl: rec.has(flag::ACL),
            under_construction: rec.is_open(),
            snapshottable: dir && rec.has(flag::MULTI_OR_SNAPSHOTTABLE),
        }
    }

    /// `inherited` is the storage policy of a file without one of its own.
    fn count_into(&self, slot: Slot, inherited: u8, summary: &mut ContentSummary) {
        summary.file_count += 1;
        let rec = self.rec(slot);
        if rec.is_file() {
            let charged = self.charged_length(slot);
            summary.length += self.file_length(slot);
            summary.space_consumed += charged.saturating_mul(i64::from(rec.replication)).max(0) as u64;
            let policy = match rec.storage_policy {
                0 => inherited,
                own => own,
            };
            let types = type_space(policy, rec.replication, charged);
            for (sum, bytes) in summary.types_consumed.iter_mut().zip(types) {
                *sum = sum.saturating_add(bytes);
            }
        }
    }

    /// Calls `visit` for up to `limit` children of a directory behind the name `after`, and returns how many more there
    /// are. `visit` may stop earlier; the child at which it stops counts as visited.
    fn list_children<'v>(
        &'v self,
        dir: Slot,
        after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(FileStatus<'v>) -> ControlFlow<()>,
    ) -> usize {
        let policy = self.effective_policy(dir);
        let (count, children) = self.children_after(dir, after);
        let mut shown = 0;
        for child in children.take(limit) {
            shown += 1;
            let mut status = self.status_of(child, Some(policy));
            status.name = self.name_of(child);
            if visit(status).is_break() {
                break;
            }
        }
        count - shown
    }

    /// Continues a summary with up to `max_inodes` inodes. Returns true when it is complete. `enter` says whether a
    /// directory may be looked into.
    fn summarize(
        &self,
        walk: &mut SummaryWalk,
        max_inodes: usize,
        enter: impl Fn(Slot) -> Result<(), Refused>,
    ) -> Result<bool, Refused> {
        let SummaryWalk { summary, tree } = walk;
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
}

impl<V: View> Statuses for V {}

impl Namespace {
    /// `getFileInfo`: None if absent. Checks traverse; a symlink at the end is an `UnresolvedPathException`.
    pub fn file_info(&self, caller: &Caller<'_>, iip: &InodesInPath<'_>) -> Result<Option<FileStatus<'_>>, Refused> {
        self.check_traverse_for(caller, iip, DirOp::Read)?;
        Ok(iip.last_slot().map(|slot| self.status_of(slot, None)))
    }

    /// `getFileLinkInfo`: like [`Self::file_info`], but a symlink at the end shows itself.
    pub fn file_link_info(
        &self,
        caller: &Caller<'_>,
        iip: &InodesInPath<'_>,
    ) -> Result<Option<FileStatus<'_>>, Refused> {
        self.check_traverse_for(caller, iip, DirOp::ReadLink)?;
        Ok(iip.last_slot().map(|slot| self.status_of(slot, None)))
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
        self.check_unreadable_by_superuser(caller, slot)?;
        Ok(self.status_of(slot, None))
    }

    /// The blocks of a file in order. Empty for anything else.
    pub fn blocks_of(&self, file: InodeId) -> impl Iterator<Item = FileBlock> + '_ {
        let mut offset = 0;
        let slots = self.slot(file).map_or(&[][..], |slot| self.block_slots(slot));
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
        let Some(dir) = iip.last_slot() else { return Ok(None) };
        if !self.rec(dir).is_dir() {
            let _ = visit(self.status_of(dir, None));
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
        Ok(Some(self.list_children(dir, after, limit, visit)))
    }

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
        let mut walk = SummaryWalk::default();
        if self.rec(slot).is_dir() {
            walk = SummaryWalk::below(self.rec(slot).id());
        } else {
            self.count_into(slot, self.effective_policy(slot), &mut walk.summary);
        }
        (walk.summary.ns_quota, walk.summary.ds_quota) = self.quota_limits(slot);
        Ok(walk)
    }

    /// Continues a summary with up to `max_inodes` inodes. Returns true when it is complete. The lock may be released
    /// between two calls: inodes that are deleted meanwhile are left out, inodes that are added may or may not be
    /// counted.
    pub fn content_summary_step(
        &self,
        caller: &Caller<'_>,
        walk: &mut SummaryWalk,
        max_inodes: usize,
    ) -> Result<bool, Refused> {
        let checked = self.config.permissions_enabled && !caller.superuser;
        self.summarize(walk, max_inodes, |dir| match checked {
            true => self.require(caller, dir, action::READ_EXECUTE, || self.path_of_slot(dir)),
            false => Ok(()),
        })
    }

    pub(crate) fn quota_limits(&self, slot: Slot) -> (i64, i64) {
        self.quota(slot).map_or((-1, -1), |quota| (quota.ns, quota.ds))
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
                format!("File does not exist: {}", iip.path()),
            ));
        };
        Ok(self.quota(slot).map(|quota| QuotaUsage {
            file_and_directory_count: quota.used_ns.max(0) as u64,
            space_consumed: quota.used_ds.max(0) as u64,
            ns_quota: quota.ns,
            ds_quota: quota.ds,
            types_consumed: match quota.types.is_empty() {
                true => [0; STORAGE_TYPES],
                false => quota.used_types,
            },
        }))
    }

    /// Quotas by storage type of a directory: (Java ordinal, bytes).
    #[must_use]
    pub fn type_quotas(&self, dir: InodeId) -> Vec<(i32, i64)> {
        let Some(slot) = self.slot(dir) else { return Vec::new() };
        let quota = self.quota(slot);
        quota.map_or_else(Vec::new, |quota| quota.types.iter().map(|(t, q)| (*t, *q)).collect())
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
            return Err(refuse(ex::FILE_NOT_FOUND, format!("File does not exist: {src}")));
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
            Some(slot) => Ok(self.effective_policy(slot)),
            None => Err(refuse(
                ex::FILE_NOT_FOUND,
                format!("File/Directory does not exist: {}", iip.path()),
            )),
        }
    }

    /// Continues a page of `listOpenFiles` below `path` with up to `max_files` open files. Returns `None` while the
    /// page is not complete, and then whether there are more than the `page` files in it. The caller's rights are not
    /// checked. The lock may be released between two calls: files that are opened or closed meanwhile may or may not be
    /// in the page.
    pub fn open_files_step(&self, walk: &mut OpenFilesWalk, path: &str, page: usize, max_files: usize) -> Option<bool> {
        let mut ids = self.writers.leases().files_after(walk.after);
        for id in ids.by_ref().take(max_files.max(1)) {
            walk.after = id;
            let Some(slot) = self.slot(walk.after) else { continue };
            let Some(open) = self.writers.get(slot) else { continue };
            let full = self.path_of_slot(slot);
            if !full.starts_with(path) {
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

    /// Replication of a file; None for anything else.
    #[must_use]
    pub fn replication(&self, file: InodeId) -> Option<u16> {
        let slot = self.slot(file)?;
        self.rec(slot).is_file().then(|| self.rec(slot).replication)
    }

    /// Calls `visit(block, file, replication, under_construction)` for every block of every file: fills a block manager
    /// after an image load.
    pub fn for_each_block(&self, visit: &mut dyn FnMut(Block, InodeId, u16, bool)) {
        for rec in self.files.iter() {
            let file = self.rec(rec.file());
            visit(rec.block(), file.id(), file.replication, rec.is_open());
        }
    }

    /// Kind of an inode.
    #[must_use]
    pub fn kind(&self, inode: InodeId) -> Option<InodeKind> {
        self.slot(inode).map(|slot| self.rec(slot).kind())
    }

    /// The refusal of every call about snapshots, which do not exist here yet.
    #[must_use]
    pub fn snapshots_refused(&self) -> Refused {
        refuse(
            ex::UNSUPPORTED_OPERATION,
            "Snapshots are not supported by this NameNode",
        )
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

    /// The erasure coding policies by name. Of those that every cluster has, only id and state are known.
    pub fn erasure_coding_policies(&self) -> impl Iterator<Item = &ErasureCodingPolicyProto> + '_ {
        self.carried.erasure_coding().policies.values()
    }
}

//! The face of the namespace.

use std::ops::ControlFlow;

use hathi_formats::editlog::EditOp;
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};
use smallvec::SmallVec;

use crate::config::Config;
use crate::types::*;

/// The durable state.
#[derive(Debug)]
pub struct Namespace {
    /// Limits and switches.
    pub config: Config,
}

/// A resolved path (`INodesInPath`): the inodes that exist along it, root first.
#[derive(Clone, Debug)]
pub struct InodesInPath {
    /// Ids of the existing inodes along the path, root first. A reply about this path shows all of them
    /// (see [`Effects::touched`]); about a missing path also the child list of the last one ([`Effects::parents`]).
    pub ids: SmallVec<[InodeId; 12]>,
    /// Number of components of the path, the root included.
    pub depth: usize,
}

impl InodesInPath {
    /// Whether the whole path exists.
    pub fn exists(&self) -> bool {
        self.ids.len() == self.depth
    }
    /// The inode at the end of the path, if it exists.
    pub fn last(&self) -> Option<InodeId> {
        unimplemented!()
    }
    /// The deepest existing inode.
    pub fn deepest(&self) -> InodeId {
        unimplemented!()
    }
    /// The full path (with `/.reserved/.inodes` resolved).
    pub fn path(&self) -> String {
        unimplemented!()
    }
}

impl Namespace {
    /// An empty namespace with a root directory (`hdfs namenode -format`).
    pub fn new(config: Config) -> Self {
        Namespace { config }
    }

    // ---- state ----
    /// Last transaction applied.
    pub fn last_applied_txid(&self) -> u64 {
        unimplemented!()
    }
    /// Inodes, the root included.
    pub fn inode_count(&self) -> u64 {
        unimplemented!()
    }
    /// Blocks of files.
    pub fn block_count(&self) -> u64 {
        unimplemented!()
    }
    /// Complete blocks of files (safe mode total).
    pub fn complete_block_count(&self) -> u64 {
        unimplemented!()
    }
    /// Files under construction.
    pub fn open_file_count(&self) -> usize {
        unimplemented!()
    }
    /// The stamp above which a DataNode's report is "from the future". On a standby stamps handed out without a block
    /// yet (SET_GENSTAMP_V2) do not count.
    pub fn generation_stamp(&self) -> GenerationStamp {
        unimplemented!()
    }
    /// The last block id handed out.
    pub fn last_block_id(&self) -> BlockId {
        unimplemented!()
    }
    /// Becoming active: handed-out stamps count from now on (`applyImpendingGenerationStamp`), and all leases are
    /// renewed at `mono_ms`.
    pub fn start_active(&mut self, mono_ms: u64) {
        let _ = mono_ms;
        unimplemented!()
    }
    /// Leaving the active state.
    pub fn stop_active(&mut self) {
        unimplemented!()
    }
    /// Whole-state hash: equal for equal states, however they came about.
    pub fn digest(&self) -> u64 {
        unimplemented!()
    }
    /// Walks everything and reports what does not hold; for tests and the simulator.
    pub fn check(&self) -> Result<(), String> {
        unimplemented!()
    }

    // ---- change ----
    /// Applies one op: the only way the state changes.
    pub fn apply(&mut self, txid: u64, op: &EditOp) -> Result<Effects, ApplyError> {
        let _ = (txid, op);
        unimplemented!()
    }
    /// Frees up to `max_inodes` inodes of detached subtrees and hands out their blocks. Not part of the durable state: when it runs changes
    /// nothing anyone can read.
    pub fn reclaim(&mut self, max_inodes: usize) -> Reclaimed {
        let _ = max_inodes;
        unimplemented!()
    }

    // ---- paths and permissions ----
    /// Resolves a path; error for an invalid one, or one that passes through a file
    /// (`ParentNotDirectoryException`) only where Hadoop says so.
    pub fn resolve(&self, src: &str) -> Result<InodesInPath, Refused> {
        let _ = src;
        unimplemented!()
    }
    /// The full path of an inode.
    pub fn path_of(&self, inode: InodeId) -> Option<String> {
        let _ = inode;
        unimplemented!()
    }
    /// `x` on every ancestor.
    pub fn check_traverse(&self, caller: &Caller<'_>, iip: &InodesInPath) -> Result<(), Refused> {
        let _ = (caller, iip);
        unimplemented!()
    }
    /// `AccessControlException` unless superuser, as `FSNamesystem.checkSuperuserPrivilege`.
    pub fn check_superuser(&self, caller: &Caller<'_>) -> Result<(), Refused> {
        let _ = caller;
        unimplemented!()
    }
    /// `checkAccess` RPC: `mode` is rwx bits.
    pub fn check_access(&self, caller: &Caller<'_>, iip: &InodesInPath, mode: u8) -> Result<(), Refused> {
        let _ = (caller, iip, mode);
        unimplemented!()
    }

    // ---- reads ----
    /// `getFileInfo` (and `getFileLinkInfo`): None if absent. Checks traverse.
    pub fn file_info(&self, caller: &Caller<'_>, iip: &InodesInPath) -> Result<Option<FileStatus<'_>>, Refused> {
        let _ = (caller, iip);
        unimplemented!()
    }
    /// Status of an inode, without checks.
    pub fn status(&self, inode: InodeId) -> Option<FileStatus<'_>> {
        let _ = inode;
        unimplemented!()
    }
    /// Checks of `getBlockLocations`: read permission, and that the path is a file. Gives its status.
    pub fn open_for_read(&self, caller: &Caller<'_>, iip: &InodesInPath, src: &str) -> Result<FileStatus<'_>, Refused> {
        let _ = (caller, iip, src);
        unimplemented!()
    }
    /// The blocks of a file in order. Empty for anything else.
    pub fn blocks_of(&self, file: InodeId) -> impl Iterator<Item = FileBlock> + '_ {
        let _ = file;
        std::iter::empty()
    }
    /// Whether reading now should be noted as an access (`TIMES` op): see [`Namespace::plan_access_time`].
    pub fn wants_access_time(&self, file: InodeId, now_ms: u64) -> bool {
        let _ = (file, now_ms);
        unimplemented!()
    }
    /// The op that notes an access at `now_ms`.
    pub fn plan_access_time(&self, file: InodeId, now_ms: u64) -> Plan<()> {
        let _ = (file, now_ms);
        unimplemented!()
    }
    /// `getListing`: calls `visit` for up to `limit` children in byte order after `start_after` and returns how many
    /// more there are. A file lists itself (empty name). None: the path is absent. `visit` may stop earlier.
    pub fn list(
        &self,
        caller: &Caller<'_>,
        iip: &InodesInPath,
        start_after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(FileStatus<'_>) -> ControlFlow<()>,
    ) -> Result<Option<usize>, Refused> {
        let _ = (caller, iip, start_after, limit, visit);
        unimplemented!()
    }
    /// Starts `getContentSummary`; FileNotFoundException if absent.
    pub fn content_summary(&self, caller: &Caller<'_>, iip: &InodesInPath, src: &str) -> Result<SummaryWalk, Refused> {
        let _ = (caller, iip, src);
        unimplemented!()
    }
    /// Goes on with a summary for up to `max_inodes` inodes; true when complete. The lock may be given away between slices.
    pub fn content_summary_step(&self, caller: &Caller<'_>, walk: &mut SummaryWalk, max_inodes: usize) -> Result<bool, Refused> {
        let _ = (caller, walk, max_inodes);
        unimplemented!()
    }
    /// `getQuotaUsage` where a quota is set; None: fall back to a content summary.
    pub fn quota_usage(&self, caller: &Caller<'_>, iip: &InodesInPath, src: &str) -> Result<Option<QuotaUsage>, Refused> {
        let _ = (caller, iip, src);
        unimplemented!()
    }
    /// `getPreferredBlockSize`.
    pub fn preferred_block_size(&self, caller: &Caller<'_>, iip: &InodesInPath, src: &str) -> Result<u64, Refused> {
        let _ = (caller, iip, src);
        unimplemented!()
    }
    /// `isFileClosed`.
    pub fn is_file_closed(&self, caller: &Caller<'_>, iip: &InodesInPath, src: &str) -> Result<bool, Refused> {
        let _ = (caller, iip, src);
        unimplemented!()
    }
    /// `getLinkTarget`.
    pub fn link_target(&self, caller: &Caller<'_>, iip: &InodesInPath, src: &str) -> Result<String, Refused> {
        let _ = (caller, iip, src);
        unimplemented!()
    }
    /// `getStoragePolicy`: id in force; 0 = the default of the cluster.
    pub fn storage_policy(&self, caller: &Caller<'_>, iip: &InodesInPath, src: &str) -> Result<u8, Refused> {
        let _ = (caller, iip, src);
        unimplemented!()
    }
    /// `getAclStatus`: the entries as `AclStatusProto` carries them (without the three base entries).
    pub fn acl_status(&self, caller: &Caller<'_>, iip: &InodesInPath, src: &str) -> Result<(FileStatus<'_>, Vec<AclEntry>), Refused> {
        let _ = (caller, iip, src);
        unimplemented!()
    }
    /// `getXAttrs` (all the caller may see if `names` is empty).
    pub fn xattrs(&self, caller: &Caller<'_>, iip: &InodesInPath, src: &str, names: &[XAttr]) -> Result<Vec<XAttr>, Refused> {
        let _ = (caller, iip, src, names);
        unimplemented!()
    }
    /// `listXAttrs`: names only.
    pub fn list_xattrs(&self, caller: &Caller<'_>, iip: &InodesInPath, src: &str) -> Result<Vec<XAttr>, Refused> {
        let _ = (caller, iip, src);
        unimplemented!()
    }
    /// `listOpenFiles` after inode `prev`, below `path`: at most `max`, and whether there are more. No check of the caller.
    pub fn open_files(&self, prev: InodeId, path: &str, max: usize) -> (Vec<OpenFile>, bool) {
        let _ = (prev, path, max);
        unimplemented!()
    }
    /// Whether the block belongs to a file, and to which.
    pub fn block(&self, id: BlockId) -> Option<(Block, InodeId)> {
        let _ = id;
        unimplemented!()
    }
    /// Whether the edits say that the block is still being written.
    pub fn is_block_under_construction(&self, id: BlockId) -> bool {
        let _ = id;
        unimplemented!()
    }
    /// Calls `visit(block, file, replication, under_construction)` for every block of every file: fills a block manager
    /// after an image load.
    pub fn for_each_block(&self, visit: &mut dyn FnMut(Block, InodeId, u16, bool)) {
        let _ = visit;
        unimplemented!()
    }

    // ---- plans: namespace ----
    /// `mkdirs`. The reply is the RPC's boolean.
    pub fn plan_mkdirs(&self, ctx: &Ctx<'_>, src: &str, mode: u16, unmasked: Option<u16>, create_parent: bool) -> Result<Plan<bool>, Refused> {
        let _ = (ctx, src, mode, unmasked, create_parent);
        unimplemented!()
    }
    /// `create`.
    pub fn plan_create(&self, ctx: &Ctx<'_>, req: &CreateRequest<'_>, blocks: &dyn BlockView) -> Result<Plan<CreateOutcome>, Refused> {
        let _ = (ctx, req, blocks);
        unimplemented!()
    }
    /// `append`.
    pub fn plan_append(&self, ctx: &Ctx<'_>, src: &str, client_name: &str, new_block: bool, blocks: &dyn BlockView) -> Result<Plan<AppendOutcome>, Refused> {
        let _ = (ctx, src, client_name, new_block, blocks);
        unimplemented!()
    }
    /// First half of `addBlock`: validates. `file` 0 = unknown (resolve `src`). `previous`: the client's last block.
    pub fn check_add_block(&self, ctx: &Ctx<'_>, src: &str, file: InodeId, client_name: &str, previous: Option<Block>, blocks: &dyn BlockView) -> Result<AddBlockCheck, Refused> {
        let _ = (ctx, src, file, client_name, previous, blocks);
        unimplemented!()
    }
    /// Second half of `addBlock`: allocates id and stamp (ALLOCATE_BLOCK_ID, SET_GENSTAMP_V2, ADD_BLOCK).
    pub fn plan_add_block(&self, ctx: &Ctx<'_>, file: InodeId, client_name: &str, previous: Option<Block>) -> Result<Plan<AddedBlock>, Refused> {
        let _ = (ctx, file, client_name, previous);
        unimplemented!()
    }
    /// Checks of `getAdditionalDatanode`: gives the file's status.
    pub fn check_additional_datanode(&self, src: &str, file: InodeId, client_name: &str) -> Result<FileStatus<'_>, Refused> {
        let _ = (src, file, client_name);
        unimplemented!()
    }
    /// `abandonBlock`.
    pub fn plan_abandon_block(&self, ctx: &Ctx<'_>, block: Block, src: &str, file: InodeId, client_name: &str) -> Result<Plan<()>, Refused> {
        let _ = (ctx, block, src, file, client_name);
        unimplemented!()
    }
    /// `complete`.
    pub fn plan_complete(&self, ctx: &Ctx<'_>, src: &str, file: InodeId, client_name: &str, last: Option<Block>, blocks: &dyn BlockView) -> Result<Plan<Completed>, Refused> {
        let _ = (ctx, src, file, client_name, last, blocks);
        unimplemented!()
    }
    /// `fsync`: `last_block_length` -1 = unknown.
    pub fn plan_fsync(&self, ctx: &Ctx<'_>, src: &str, file: InodeId, client_name: &str, last_block_length: i64) -> Result<Plan<()>, Refused> {
        let _ = (ctx, src, file, client_name, last_block_length);
        unimplemented!()
    }
    /// `updateBlockForPipeline`: the block with its new stamp.
    pub fn plan_update_block_for_pipeline(&self, ctx: &Ctx<'_>, block: Block, client_name: &str) -> Result<Plan<Block>, Refused> {
        let _ = (ctx, block, client_name);
        unimplemented!()
    }
    /// `updatePipeline`.
    pub fn plan_update_pipeline(&self, ctx: &Ctx<'_>, client_name: &str, old: Block, new: Block) -> Result<Plan<InodeId>, Refused> {
        let _ = (ctx, client_name, old, new);
        unimplemented!()
    }
    /// `rename`: the RPC's boolean.
    pub fn plan_rename(&self, ctx: &Ctx<'_>, src: &str, dst: &str) -> Result<Plan<bool>, Refused> {
        let _ = (ctx, src, dst);
        unimplemented!()
    }
    /// `rename2`.
    pub fn plan_rename2(&self, ctx: &Ctx<'_>, src: &str, dst: &str, options: RenameOptions) -> Result<Plan<()>, Refused> {
        let _ = (ctx, src, dst, options);
        unimplemented!()
    }
    /// `delete`.
    pub fn plan_delete(&self, ctx: &Ctx<'_>, src: &str, recursive: bool) -> Result<Plan<Deleted>, Refused> {
        let _ = (ctx, src, recursive);
        unimplemented!()
    }
    /// `concat`.
    pub fn plan_concat(&self, ctx: &Ctx<'_>, target: &str, sources: &[String]) -> Result<Plan<()>, Refused> {
        let _ = (ctx, target, sources);
        unimplemented!()
    }
    /// `truncate`.
    pub fn plan_truncate(&self, ctx: &Ctx<'_>, src: &str, new_length: u64, client_name: &str, blocks: &dyn BlockView) -> Result<Plan<Truncated>, Refused> {
        let _ = (ctx, src, new_length, client_name, blocks);
        unimplemented!()
    }
    /// `createSymlink`: refused unless enabled.
    pub fn plan_create_symlink(&self, ctx: &Ctx<'_>, target: &str, link: &str, mode: u16, create_parent: bool) -> Result<Plan<()>, Refused> {
        let _ = (ctx, target, link, mode, create_parent);
        unimplemented!()
    }

    // ---- plans: attributes ----
    /// `setPermission`.
    pub fn plan_set_permission(&self, ctx: &Ctx<'_>, src: &str, mode: u16) -> Result<Plan<()>, Refused> {
        let _ = (ctx, src, mode);
        unimplemented!()
    }
    /// `setOwner`; None = unchanged.
    pub fn plan_set_owner(&self, ctx: &Ctx<'_>, src: &str, user: Option<&str>, group: Option<&str>) -> Result<Plan<()>, Refused> {
        let _ = (ctx, src, user, group);
        unimplemented!()
    }
    /// `setTimes`; -1 = unchanged.
    pub fn plan_set_times(&self, ctx: &Ctx<'_>, src: &str, mtime_ms: i64, atime_ms: i64) -> Result<Plan<()>, Refused> {
        let _ = (ctx, src, mtime_ms, atime_ms);
        unimplemented!()
    }
    /// `setReplication`: false when not a file.
    pub fn plan_set_replication(&self, ctx: &Ctx<'_>, src: &str, replication: u16) -> Result<Plan<bool>, Refused> {
        let _ = (ctx, src, replication);
        unimplemented!()
    }
    /// `setQuota`; see [`quota`]; `storage_type` is the protobuf number of a type quota.
    pub fn plan_set_quota(&self, ctx: &Ctx<'_>, src: &str, ns_quota: i64, ds_quota: i64, storage_type: Option<i32>) -> Result<Plan<()>, Refused> {
        let _ = (ctx, src, ns_quota, ds_quota, storage_type);
        unimplemented!()
    }
    /// `setStoragePolicy` / `unsetStoragePolicy` (None).
    pub fn plan_set_storage_policy(&self, ctx: &Ctx<'_>, src: &str, policy: Option<&str>) -> Result<Plan<()>, Refused> {
        let _ = (ctx, src, policy);
        unimplemented!()
    }
    /// `modifyAclEntries`.
    pub fn plan_modify_acl(&self, ctx: &Ctx<'_>, src: &str, spec: &[AclEntry]) -> Result<Plan<()>, Refused> {
        let _ = (ctx, src, spec);
        unimplemented!()
    }
    /// `removeAclEntries`.
    pub fn plan_remove_acl_entries(&self, ctx: &Ctx<'_>, src: &str, spec: &[AclEntry]) -> Result<Plan<()>, Refused> {
        let _ = (ctx, src, spec);
        unimplemented!()
    }
    /// `removeDefaultAcl`.
    pub fn plan_remove_default_acl(&self, ctx: &Ctx<'_>, src: &str) -> Result<Plan<()>, Refused> {
        let _ = (ctx, src);
        unimplemented!()
    }
    /// `removeAcl`.
    pub fn plan_remove_acl(&self, ctx: &Ctx<'_>, src: &str) -> Result<Plan<()>, Refused> {
        let _ = (ctx, src);
        unimplemented!()
    }
    /// `setAcl`.
    pub fn plan_set_acl(&self, ctx: &Ctx<'_>, src: &str, spec: &[AclEntry]) -> Result<Plan<()>, Refused> {
        let _ = (ctx, src, spec);
        unimplemented!()
    }
    /// `setXAttr`; `create`/`replace` are the flags.
    pub fn plan_set_xattr(&self, ctx: &Ctx<'_>, src: &str, xattr: &XAttr, create: bool, replace: bool) -> Result<Plan<()>, Refused> {
        let _ = (ctx, src, xattr, create, replace);
        unimplemented!()
    }
    /// `removeXAttr`.
    pub fn plan_remove_xattr(&self, ctx: &Ctx<'_>, src: &str, xattr: &XAttr) -> Result<Plan<()>, Refused> {
        let _ = (ctx, src, xattr);
        unimplemented!()
    }

    // ---- leases ----
    /// `renewLease`: soft state.
    pub fn renew_lease(&mut self, client_name: &str, mono_ms: u64) {
        let _ = (client_name, mono_ms);
        unimplemented!()
    }
    /// Files whose holder has not renewed for the hard limit, at most `max`.
    pub fn expired_leases(&self, mono_ms: u64, max: usize) -> Vec<(String, InodeId)> {
        let _ = (mono_ms, max);
        unimplemented!()
    }
    /// Holder of the lease of an open file.
    pub fn lease_holder(&self, file: InodeId) -> Option<&str> {
        let _ = file;
        unimplemented!()
    }
    /// `recoverLease` RPC; reply: true if the file is closed by the ops (or was), with what to recover otherwise.
    pub fn plan_recover_lease(&self, ctx: &Ctx<'_>, src: &str, client_name: &str, nn_holder: &str, blocks: &dyn BlockView) -> Result<Plan<LeaseRecovery>, Refused> {
        let _ = (ctx, src, client_name, nn_holder, blocks);
        unimplemented!()
    }
    /// `internalReleaseLease` for an expired lease (monitor): `nn_holder` takes it over if blocks need recovery.
    pub fn plan_release_lease(&self, now_ms: u64, file: InodeId, nn_holder: &str, blocks: &dyn BlockView) -> Result<Plan<LeaseRecovery>, Refused> {
        let _ = (now_ms, file, nn_holder, blocks);
        unimplemented!()
    }
    /// `commitBlockSynchronization`: the file and its last block as it will be (None: dropped, or the file is gone).
    pub fn plan_commit_block_synchronization(&self, now_ms: u64, sync: &BlockSynchronization, blocks: &dyn BlockView) -> Result<Plan<Option<(InodeId, Block)>>, Refused> {
        let _ = (now_ms, sync, blocks);
        unimplemented!()
    }

    // ---- snapshots: refused for now (UnsupportedOperationException) ----
    /// `allowSnapshot`, `disallowSnapshot`, `createSnapshot`, `deleteSnapshot`, `renameSnapshot` and their reads: not
    /// here yet.
    pub fn snapshots_refused(&self) -> Refused {
        Refused::new(
            hathi_formats::exceptions::UNSUPPORTED_OPERATION,
            "Snapshots are not supported by this NameNode",
        )
    }
}

/// A content summary under way: may be continued after the lock was given away.
#[derive(Clone, Debug, Default)]
pub struct SummaryWalk {
    /// What was counted so far.
    pub summary: ContentSummary,
}

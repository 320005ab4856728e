//! The public values of the namespace: who calls, what a plan decided, what a read shows.

pub use hathi_formats::editlog::{AclEntry, AclEntryScope, AclEntryType, RpcIds, XAttr, XAttrNamespace};

use hathi_formats::editlog::EditOp;
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};
use hathi_formats::striping::BlockLayout;
use smallvec::SmallVec;
use std::sync::Arc;

use crate::zone_map::Zone;

use crate::erasure_coding::policy::Policy;

/// What a client is told when a call is refused.
pub type Refused = RemoteException;

/// Who makes a call (`UserGroupInformation` with its groups resolved).
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Short user name.
    pub user: &'a str,
    /// The groups of the user.
    pub groups: &'a [String],
    /// Whether the user is the process's own user or in `dfs.permissions.superusergroup`.
    pub superuser: bool,
}

/// Everything of a call that is not its arguments. Time comes from outside: this crate has no clock.
#[derive(Clone, Copy, Debug)]
pub struct Ctx<'a> {
    /// Who calls.
    pub caller: Caller<'a>,
    /// Wall clock, ms since 1970 (`Time.now()`): goes into modification times.
    pub now_ms: u64,
    /// Any monotonic clock in ms: used for leases only.
    pub mono_ms: u64,
    /// The call, for the retry cache.
    pub rpc_ids: RpcIds,
    /// Host name or address of the client, kept with files under construction.
    pub client_machine: &'a str,
}

/// A validated change: the ops to apply and log, in this order and without anything between, and what the reply needs.
/// No ops: nothing changes, and the reply shows only state that is already there.
#[derive(Clone, Debug)]
pub struct Plan<R> {
    /// Ops in order. Apply each with its own txid.
    pub ops: SmallVec<[EditOp; 3]>,
    /// What the reply needs.
    pub reply: R,
}

impl<R> Plan<R> {
    /// A plan that changes nothing.
    pub fn nothing(reply: R) -> Self {
        Plan {
            ops: SmallVec::new(),
            reply,
        }
    }

    /// A plan of one op.
    pub fn one(op: EditOp, reply: R) -> Self {
        let mut ops = SmallVec::new();
        ops.push(op);
        Plan { ops, reply }
    }
}

/// What is known of the DataNodes that may hold a replica of a block whose writer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holders {
    /// DataNodes that hold it can be asked, and enough is known of the others.
    Known,
    /// A DataNode that may hold it has not said so yet, or those that do cannot be asked now.
    Awaited,
    /// No DataNode has a replica.
    Nobody,
}

/// What the plans must know of the replicas; implemented by the namesystem over the block manager.
///
/// All of it is soft state of one active. A plan may rely on it only where the answer of a NameNode that has just
/// started, which knows nothing, leads to waiting or to a recovery by DataNodes, never to a loss.
pub trait BlockView {
    /// Whether the block is COMPLETE: its length is final and at least `dfs.namenode.replication.min` replicas of it
    /// were reported, or the edits say that they were. Once complete it stays so, even when replicas are lost. May be
    /// true before the edits say so, when `complete` answered false and a report came then. Forgotten: DataNodes agree
    /// on the length again.
    fn is_complete(&self, block: BlockId) -> bool;
    /// Whether the block is COMPLETE, or has the minimum of replicas now. Forgotten: the writer is told to ask again.
    fn is_min_replicated(&self, block: BlockId) -> bool;
    /// Whether as many live replicas are known as the file's replication asks (`isSufficientlyReplicated`: at least
    /// min(replication, live nodes)). Used by append. Forgotten: the append is refused.
    fn is_sufficiently_replicated(&self, block: BlockId) -> bool;
    /// Who may hold it. Forgotten: [`Holders::Awaited`].
    fn holders(&self, block: BlockId) -> Holders;
    /// Whether DataNodes were asked to agree on it (`BlockUCState.UNDER_RECOVERY`), even if that attempt has failed.
    /// Forgotten: the lease was given to another before, so that the old writer is refused for that.
    fn is_under_recovery(&self, block: BlockId) -> bool;
    /// Whether block recovery is under way, and with which recovery id. Forgotten: the result is refused and another
    /// recovery begun, with a higher id.
    fn recovery_id(&self, block: BlockId) -> Option<GenerationStamp>;
    /// The final length, of a block that the client has committed or that is complete (`BlockUCState.COMMITTED`). The
    /// edits don't have it while `complete` answered false. Forgotten: DataNodes agree on the length again, and all of
    /// them have it so, for the client had the last acknowledgement.
    fn committed_length(&self, block: BlockId) -> Option<u64>;
    /// The length of a block under construction of which every known replica is finalized with this length and the
    /// block's stamp, and of which there are at least `dfs.namenode.replication.min`. Forgotten: not yet.
    fn finalized_length(&self, block: BlockId) -> Option<u64>;
}

/// What a change does beyond the namespace itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A new last block of a file under construction.
    BlockAdded {
        /// The block as it stands.
        block: Block,
        /// Its file.
        file: InodeId,
        /// What it needs on DataNodes: of replicas as many as the file wants, for itself and for its snapshots.
        layout: BlockLayout,
    },
    /// Length or generation stamp of a block changed.
    BlockUpdated {
        /// The block as it stands now.
        block: Block,
        /// Its file.
        file: InodeId,
        /// The stamp before.
        old_generation_stamp: GenerationStamp,
    },
    /// By the edits the block has its final length (the active may still wait for replicas).
    BlockCompleted {
        /// The block as it stands now.
        block: Block,
        /// Its file.
        file: InodeId,
    },
    /// A finished block is under construction again (append, truncate).
    BlockReopened {
        /// The block as it stands now.
        block: Block,
        /// Its file.
        file: InodeId,
    },
    /// The block belongs to no file any more: its replicas can go.
    BlockRemoved {
        /// The block as it stood.
        block: Block,
    },
    /// The file wants another number of replicas; see [`crate::Namespace::blocks_of`].
    ReplicationChanged {
        /// The file.
        file: InodeId,
        /// Before.
        old: u16,
        /// After.
        new: u16,
    },
    /// The blocks of other files became the end of a file (concat).
    BlocksMoved {
        /// The file that has the blocks now.
        target: InodeId,
        /// Number of replicas that it wants, for itself and for its snapshots.
        replication: u16,
    },
    /// A rolling upgrade started (time in ms) or was finalized (None).
    RollingUpgrade {
        /// When it started.
        started_ms: Option<u64>,
    },
}

/// What applying one op did, for the block manager and the reply gate.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// In order.
    pub effects: SmallVec<[Effect; 4]>,
    /// Inodes whose attributes, content or place changed. A read that shows or passes through one of them shows this op.
    pub touched: SmallVec<[InodeId; 4]>,
    /// Directories whose child list (and modification time) changed. A read that lists one of them, shows its status,
    /// or says that a name is absent from it, shows this op; one that only passes through it does not.
    pub parents: SmallVec<[InodeId; 2]>,
    /// A subtree was detached: call [`crate::Namespace::reclaim`] in slices until it returns `done`.
    pub reclaim: bool,
}

/// A slice of the blocks freed by [`crate::Namespace::reclaim`].
#[derive(Clone, Debug, Default)]
pub struct Reclaimed {
    /// Blocks that belong to no file any more.
    pub blocks: Vec<Block>,
    /// What else has changed: replications, when a snapshot has ended.
    pub effects: Vec<Effect>,
    /// Inodes freed in this slice.
    pub inodes: usize,
    /// Nothing is left to free.
    pub done: bool,
}

/// Why an op cannot be applied. For a standby and at start this is fatal (`FSEditLogLoader`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The op names a feature that is not here.
    #[error("op {op} at txid {txid} is not supported: {what}")]
    Unsupported {
        /// Name of the op, as in Hadoop.
        op: &'static str,
        /// Its transaction.
        txid: u64,
        /// What about it.
        what: String,
    },
    /// The op does not fit the state: the log or the image is damaged.
    #[error("op {op} at txid {txid} does not fit the namespace: {why}")]
    Inconsistent {
        /// Name of the op, as in Hadoop.
        op: &'static str,
        /// Its transaction.
        txid: u64,
        /// Why.
        why: String,
    },
    /// An earlier op failed to apply, see [`crate::Namespace::is_broken`].
    #[error("op {op} at txid {txid} comes after one that failed to apply")]
    Broken {
        /// Name of the op, as in Hadoop.
        op: &'static str,
        /// Its transaction.
        txid: u64,
    },
}

/// Kind of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InodeKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// What `HdfsFileStatusProto` needs, borrowed from the namespace.
#[derive(Clone, Debug)]
pub struct FileStatus<'a> {
    /// The inode.
    pub id: InodeId,
    /// Its kind.
    pub kind: InodeKind,
    /// Last component of the path; empty for the root and for the status of the very path asked.
    pub name: &'a [u8],
    /// Length in bytes (sum of the blocks as the edits know them); 0 for directories.
    pub length: u64,
    /// Mode: nine bits and the sticky bit.
    pub mode: u16,
    /// Owner.
    pub owner: &'a str,
    /// Group.
    pub group: &'a str,
    /// Modification time in ms.
    pub mtime_ms: u64,
    /// Access time in ms. That of a directory is 0, unless it was set since its image was loaded.
    pub atime_ms: u64,
    /// Replication; 1 for striped files, 0 for directories.
    pub replication: u16,
    /// Preferred block size in bytes; 0 for directories.
    pub block_size: u64,
    /// Number of children; 0 for files.
    pub children: u32,
    /// Target of a symlink.
    pub symlink: Option<&'a [u8]>,
    /// Storage policy in force (inherited if unset here); 0 = unspecified.
    pub storage_policy: u8,
    /// Whether there is an ACL.
    pub has_acl: bool,
    /// Whether the file is open for write.
    pub under_construction: bool,
    /// Whether snapshots may be taken of this directory.
    pub snapshottable: bool,
    /// The snapshot that shows all this; `None` for the present.
    pub snapshot: Option<u32>,
    /// The erasure coding policy in force; `None` for replication.
    pub erasure_coding: Option<&'a Policy>,
    /// The encryption zone that it is in.
    pub zone: Option<Arc<Zone>>,
    /// Of a file in a zone: its key, encrypted (`PerFileEncryptionInfoProto`).
    pub file_key: Option<&'a [u8]>,
}

impl FileStatus<'_> {
    /// The status of `.snapshot` in a snapshottable directory, where no inode is (`FSDirectory.DOT_SNAPSHOT_DIR_STATUS`).
    pub(crate) const DOT_SNAPSHOT: FileStatus<'static> = FileStatus {
        // -1, as of every status without an inode.
        id: InodeId(u64::MAX),
        kind: InodeKind::Directory,
        name: &[],
        length: 0,
        mode: 0o777,
        owner: "",
        group: "",
        mtime_ms: 0,
        atime_ms: 0,
        replication: 0,
        block_size: 0,
        children: 0,
        symlink: None,
        storage_policy: 0,
        has_acl: false,
        under_construction: false,
        snapshottable: false,
        snapshot: None,
        erasure_coding: None,
        zone: None,
        file_key: None,
    };

    /// The status of `/.reserved`, which is no inode (`FSDirectory.DOT_RESERVED_STATUS`).
    pub(crate) const DOT_RESERVED: FileStatus<'static> = FileStatus {
        mode: 0o1770,
        ..FileStatus::DOT_SNAPSHOT
    };

    /// What `/.reserved` lists (`FSDirectory.createReservedStatuses`).
    pub(crate) fn below_reserved(supergroup: &str) -> [FileStatus<'_>; 2] {
        [".inodes", "raw"].map(|name| FileStatus {
            name: name.as_bytes(),
            mode: 0o770,
            group: supergroup,
            ..FileStatus::DOT_SNAPSHOT
        })
    }
}

/// One block of a file in a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileBlock {
    /// The block as the edits know it.
    pub block: Block,
    /// Offset of its first byte in the file.
    pub offset: u64,
    /// Whether the edits say that it is still being written (only the last block of an open file).
    pub under_construction: bool,
}

/// `ContentSummaryProto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentSummary {
    /// Sum of file lengths.
    pub length: u64,
    /// Files (and symlinks).
    pub file_count: u64,
    /// Directories, the root of the summary included.
    pub directory_count: u64,
    /// Length times replication.
    pub space_consumed: u64,
    /// Namespace quota, -1 for none.
    pub ns_quota: i64,
    /// Storage space quota, -1 for none.
    pub ds_quota: i64,
    /// Bytes by storage type (Java's ordinal), where the policies put them.
    pub types_consumed: [i64; 6],
    /// What of `length` only snapshots show, as files that are gone or were elsewhere.
    pub snapshot_length: u64,
    /// The same of `file_count`.
    pub snapshot_file_count: u64,
    /// The same of `directory_count`.
    pub snapshot_directory_count: u64,
    /// The same of `space_consumed`.
    pub snapshot_space_consumed: u64,
}

/// `QuotaUsageProto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaUsage {
    /// Inodes in the subtree.
    pub file_and_directory_count: u64,
    /// Length times replication.
    pub space_consumed: u64,
    /// Namespace quota, -1 for none.
    pub ns_quota: i64,
    /// Storage space quota, -1 for none.
    pub ds_quota: i64,
    /// Bytes by storage type (Java's ordinal); of the root only if it has a quota by type, else 0.
    pub types_consumed: [i64; 6],
}

/// An open file (`OpenFileEntry`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// The file.
    pub id: InodeId,
    /// Its path.
    pub path: String,
    /// Lease holder.
    pub client_name: String,
    /// Where the holder runs.
    pub client_machine: String,
}

/// What `create` asks for.
#[derive(Clone, Debug)]
pub struct CreateRequest<'a> {
    /// Path.
    pub src: &'a str,
    /// Masked mode.
    pub mode: u16,
    /// Mode before the client's umask (`unmasked`), for directories' default ACLs.
    pub unmasked: Option<u16>,
    /// Lease holder.
    pub client_name: &'a str,
    /// `CreateFlag.CREATE`.
    pub create: bool,
    /// `CreateFlag.OVERWRITE`.
    pub overwrite: bool,
    /// Make missing parents.
    pub create_parent: bool,
    /// Replication (already defaulted when the client sent 0 is not a Hadoop rule: it is checked as sent).
    pub replication: u16,
    /// Preferred block size in bytes.
    pub block_size: u64,
    /// `CreateFlag.LAZY_PERSIST`.
    pub lazy_persist: bool,
    /// Name of the storage policy asked for; empty for none.
    pub storage_policy: &'a str,
    /// Name of the erasure coding policy asked for; empty for none.
    pub ec_policy: &'a str,
    /// `CreateFlag.SHOULD_REPLICATE`: whatever the policy of the directory.
    pub should_replicate: bool,
}

/// Options of `rename2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RenameOptions {
    /// `Options.Rename.OVERWRITE`.
    pub overwrite: bool,
    /// `Options.Rename.TO_TRASH`.
    pub to_trash: bool,
}

/// What `create` found or needs done first.
#[derive(Clone, Debug)]
pub enum CreateOutcome {
    /// The plan's ops create the file with this id. Read its status after apply.
    Created(InodeId),
    /// The path is open by a dead writer: recover its lease first (plan has no ops), then answer
    /// `RecoveryInProgressException` or retry. See [`crate::Namespace::plan_recover_lease`].
    LeaseRecovery(LeaseRecovery),
    /// Nothing is planned: the file is in an encryption zone, and no key for it is at hand that is encrypted with the key of
    /// this name.
    NeedsKey(String),
}

/// What `append` found or needs done first.
#[derive(Clone, Debug)]
pub enum AppendOutcome {
    /// The file is open; the last block (if it is partial) is to be continued with a stamp the client will ask for.
    Opened {
        /// The file.
        file: InodeId,
        /// The partial last block to append to; None when the next write starts a new block.
        last: Option<Block>,
    },
    /// As in [`CreateOutcome::LeaseRecovery`].
    LeaseRecovery(LeaseRecovery),
}

/// What add_block validated or found.
#[derive(Clone, Debug)]
pub enum AddBlockCheck {
    /// Choose targets, then call [`crate::Namespace::plan_add_block`].
    Allocate {
        /// The file.
        file: InodeId,
        /// What the block will need on DataNodes.
        layout: BlockLayout,
        /// Its preferred block size in bytes; of a striped file the size of each internal block.
        block_size: u64,
        /// Storage policy in force, 0 = unspecified.
        storage_policy: u8,
        /// Machine of the writer, from its create or append.
        client_machine: String,
    },
    /// A retried call: the last block is the one to give again (empty, nobody wrote to it).
    Retry {
        /// The file.
        file: InodeId,
        /// The last block.
        last: Block,
        /// Offset of the block in the file.
        offset: u64,
    },
}

/// What add_block decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddedBlock {
    /// The file.
    pub file: InodeId,
    /// The new block, length 0.
    pub block: Block,
    /// Its offset in the file.
    pub offset: u64,
    /// The block before it with the length the client committed: the block manager commits it.
    pub committed: Option<Block>,
}

/// What complete decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// The file.
    pub file: InodeId,
    /// False: ask again later (blocks lack replicas).
    pub done: bool,
    /// The last block with the length the client committed, to be committed in the block manager even if not `done`.
    pub committed: Option<Block>,
}

/// How a lease on a file is to be ended (`FSNamesystem.internalReleaseLease`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseRecovery {
    /// The ops of the plan close the file.
    Closed {
        /// The file.
        file: InodeId,
    },
    /// The last block must be recovered by DataNodes: the ops of the plan reassign the lease and take a stamp.
    RecoverBlock {
        /// The file.
        file: InodeId,
        /// The block to recover.
        block: Block,
        /// The recovery id.
        recovery_id: GenerationStamp,
    },
    /// Recovery is under way already.
    InProgress {
        /// The file.
        file: InodeId,
    },
    /// Recovery begins as soon as the DataNodes that may hold the last block have said so.
    AwaitReports {
        /// The file.
        file: InodeId,
    },
    /// Cannot be decided yet: committed blocks lack replicas. Message as in Hadoop.
    Wait {
        /// The file.
        file: InodeId,
        /// What a client is told (`AlreadyBeingCreatedException`).
        message: String,
    },
}

/// What is known of a snapshot (`SnapshotStatus`).
#[derive(Clone, Debug)]
pub struct SnapshotStatus<'a> {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: &'a str,
    /// It was deleted, and goes when it is the oldest of its directory.
    pub is_deleted: bool,
    /// The directory as the snapshot shows it.
    pub status: FileStatus<'a>,
}

/// What delete comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The answer of the RPC.
    Answer(bool),
    /// Nothing is planned: it is too much to see at once whether the caller may delete what is below this directory
    /// ([`crate::Namespace::watch_access`]).
    WalkFirst(InodeId),
}

/// What the last block of a truncated file is to become (`BlockUnderConstructionFeature.truncateBlock`). It follows from
/// the edits and stands until `commitBlockSynchronization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncateTarget {
    /// Length of the last block afterwards, bytes.
    pub length: u64,
    /// Copy on truncate: the block whose replicas DataNodes copy from. None: they cut the block itself.
    pub source: Option<Block>,
}

/// What truncate decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truncated {
    /// Done: the new length is on a block boundary (or equal to the length).
    Done,
    /// The last block must be shortened by DataNodes with this recovery id.
    RecoverBlock {
        /// The file.
        file: InodeId,
        /// The last block; `num_bytes` is the length it shall have.
        block: Block,
        /// The recovery id.
        recovery_id: GenerationStamp,
    },
    /// DataNodes are about to do just this, because of an earlier call.
    UnderWay,
    /// As in [`CreateOutcome::LeaseRecovery`].
    LeaseRecovery(LeaseRecovery),
}

/// A DataNode's answer to block recovery (`commitBlockSynchronization`).
#[derive(Clone, Copy, Debug)]
pub struct BlockSynchronization {
    /// The block with the stamp before the recovery.
    pub block: Block,
    /// The recovery id.
    pub new_generation_stamp: GenerationStamp,
    /// Length after the recovery.
    pub new_length: u64,
    /// Close the file.
    pub close_file: bool,
    /// Drop the block: no replica held data.
    pub delete_block: bool,
}

/// Quotas as `setQuota` speaks of them.
pub mod quota {
    /// Leave as it is (`HdfsConstants.QUOTA_DONT_SET`).
    pub const DONT_SET: i64 = i64::MAX;
    /// No quota (`HdfsConstants.QUOTA_RESET`).
    pub const RESET: i64 = -1;
}

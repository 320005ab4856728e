//! The operations of the edit log as values that own their data (`FSEditLogOp` and its subclasses).

use crate::ids::{Block, BlockId, GenerationStamp, InodeId};

/// The RPC call that an op answers (`FSEditLogOp.rpcClientId`, `rpcCallId`). A replay fills the retry cache with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RpcIds {
    /// The client id, or `None` when the op came from no retryable call.
    pub client_id: Option<[u8; 16]>,
    /// The call id; [`RpcIds::INVALID_CALL_ID`] when there is none.
    pub call_id: i32,
}

impl RpcIds {
    /// `RpcConstants.INVALID_CALL_ID`.
    pub const INVALID_CALL_ID: i32 = -2;
    /// No call: an empty client id and call id -2.
    pub const NONE: RpcIds = RpcIds {
        client_id: None,
        call_id: RpcIds::INVALID_CALL_ID,
    };

    /// The ids of a call.
    #[must_use]
    pub const fn new(client_id: [u8; 16], call_id: i32) -> Self {
        RpcIds {
            client_id: Some(client_id),
            call_id,
        }
    }

    /// Both ids, if they name a call for the retry cache (`FSEditLogOp.hasRpcIds`).
    #[must_use]
    pub fn get(&self) -> Option<([u8; 16], i32)> {
        match self.client_id {
            Some(id) if self.call_id != RpcIds::INVALID_CALL_ID => Some((id, self.call_id)),
            _ => None,
        }
    }
}

impl Default for RpcIds {
    fn default() -> Self {
        RpcIds::NONE
    }
}

/// Owner, group and mode (`PermissionStatus`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PermissionStatus {
    /// Owner.
    pub user: String,
    /// Group.
    pub group: String,
    /// Nine permission bits and the sticky bit (01000).
    pub mode: u16,
}

/// Subject of an ACL entry (`AclEntryType`). The discriminants are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AclEntryType {
    /// The owner, or a named user.
    User = 0,
    /// The owning group, or a named group.
    Group = 1,
    /// The upper bound for named users and all groups.
    Mask = 2,
    /// Everybody else.
    Other = 3,
}

impl AclEntryType {
    /// From the low two bits of `value`.
    #[must_use]
    pub const fn from_bits(value: u32) -> AclEntryType {
        match value & 3 {
            0 => AclEntryType::User,
            1 => AclEntryType::Group,
            2 => AclEntryType::Mask,
            _ => AclEntryType::Other,
        }
    }

    /// Java's name of the constant.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            AclEntryType::User => "USER",
            AclEntryType::Group => "GROUP",
            AclEntryType::Mask => "MASK",
            AclEntryType::Other => "OTHER",
        }
    }
}

/// Scope of an ACL entry (`AclEntryScope`). The discriminants are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AclEntryScope {
    /// For the inode itself.
    Access = 0,
    /// For children created in the directory.
    Default = 1,
}

impl AclEntryScope {
    /// Java's name of the constant.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            AclEntryScope::Access => "ACCESS",
            AclEntryScope::Default => "DEFAULT",
        }
    }
}

/// The text of three permission bits (`FsAction.SYMBOL`), for example `rw-`.
#[must_use]
pub const fn fs_action_symbol(bits: u8) -> &'static str {
    match bits & 7 {
        0 => "---",
        1 => "--x",
        2 => "-w-",
        3 => "-wx",
        4 => "r--",
        5 => "r-x",
        6 => "rw-",
        _ => "rwx",
    }
}

/// One ACL entry (`AclEntry`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclEntry {
    /// Access or default.
    pub scope: AclEntryScope,
    /// User, group, mask or other.
    pub entry_type: AclEntryType,
    /// The named user or group.
    pub name: Option<String>,
    /// Permission bits, 0 to 7.
    pub permission: u8,
}

/// An extended attribute (`XAttr`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct XAttr {
    /// The namespace.
    pub namespace: XAttrNamespace,
    /// The name without its namespace prefix.
    pub name: String,
    /// The value; `None` when absent, as in a removal.
    pub value: Option<Vec<u8>>,
}

/// Namespace of an extended attribute (`XAttr.NameSpace`). The discriminants are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum XAttrNamespace {
    /// `user.`
    User = 0,
    /// `trusted.`
    Trusted = 1,
    /// `security.`
    Security = 2,
    /// `system.`
    System = 3,
    /// `raw.`
    Raw = 4,
}

impl XAttrNamespace {
    /// From the number in a message or a packed name.
    #[must_use]
    pub const fn from_number(number: i32) -> Option<XAttrNamespace> {
        Some(match number {
            0 => XAttrNamespace::User,
            1 => XAttrNamespace::Trusted,
            2 => XAttrNamespace::Security,
            3 => XAttrNamespace::System,
            4 => XAttrNamespace::Raw,
            _ => return None,
        })
    }

    /// Java's name of the constant.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            XAttrNamespace::User => "USER",
            XAttrNamespace::Trusted => "TRUSTED",
            XAttrNamespace::Security => "SECURITY",
            XAttrNamespace::System => "SYSTEM",
            XAttrNamespace::Raw => "RAW",
        }
    }
}

/// `OP_ADD`: a file is created (or, in the old form, reopened for append).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddOp {
    /// The new file's inode id.
    pub inode_id: InodeId,
    /// Absolute path.
    pub path: String,
    /// Replication factor. A striped file has whatever its writer put there (0).
    pub replication: i16,
    /// Modification time in ms.
    pub mtime: i64,
    /// Access time in ms.
    pub atime: i64,
    /// Preferred block size in bytes.
    pub block_size: i64,
    /// Blocks; empty for a new file.
    pub blocks: Vec<Block>,
    /// Owner, group and mode.
    pub permissions: PermissionStatus,
    /// ACL entries inherited from the parent's default ACL.
    pub acl_entries: Vec<AclEntry>,
    /// Extended attributes, for example of encryption.
    pub xattrs: Vec<XAttr>,
    /// The client that holds the lease.
    pub client_name: String,
    /// Its address.
    pub client_machine: String,
    /// Whether an existing file is deleted first.
    pub overwrite: bool,
    /// Storage policy; 0 is unspecified.
    pub storage_policy_id: u8,
    /// Erasure coding policy; 0 is replication.
    pub erasure_coding_policy_id: u8,
    /// The call that created the file.
    pub rpc_ids: RpcIds,
}

/// `OP_CLOSE`: a file is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseOp {
    /// Java's writer leaves it 0: the file is found by its path.
    pub inode_id: InodeId,
    /// Absolute path.
    pub path: String,
    /// Replication factor.
    pub replication: i16,
    /// Modification time in ms.
    pub mtime: i64,
    /// Access time in ms.
    pub atime: i64,
    /// Preferred block size in bytes.
    pub block_size: i64,
    /// All blocks with their final sizes.
    pub blocks: Vec<Block>,
    /// Owner, group and mode.
    pub permissions: PermissionStatus,
}

/// The body of `OP_ADD_CACHE_DIRECTIVE` and `OP_MODIFY_CACHE_DIRECTIVE` (`CacheDirectiveInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheDirectiveInfo {
    /// The directive's id.
    pub id: i64,
    /// Path to cache.
    pub path: Option<String>,
    /// Number of copies.
    pub replication: Option<i16>,
    /// The pool it belongs to.
    pub pool: Option<String>,
    /// Absolute expiry in ms.
    pub expiration: Option<i64>,
}

/// The body of `OP_ADD_CACHE_POOL` and `OP_MODIFY_CACHE_POOL` (`CachePoolInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachePoolInfo {
    /// The pool's name.
    pub pool_name: String,
    /// Owner.
    pub owner_name: Option<String>,
    /// Group.
    pub group_name: Option<String>,
    /// Permission bits.
    pub mode: Option<u16>,
    /// Bytes that may be cached.
    pub limit: Option<i64>,
    /// Longest relative expiry in ms.
    pub max_relative_expiry: Option<i64>,
    /// Replication of directives that name none.
    pub default_replication: Option<i16>,
}

/// `DelegationTokenIdentifier`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DelegationTokenIdentifier {
    /// The user that the token stands for.
    pub owner: String,
    /// The user that may renew it.
    pub renewer: String,
    /// The real user behind a proxy user.
    pub real_user: String,
    /// Issue date in ms.
    pub issue_date: i64,
    /// Latest expiry in ms.
    pub max_date: i64,
    /// Sequence number.
    pub sequence_number: i32,
    /// Id of the key that it is signed with.
    pub master_key_id: i32,
}

/// `DelegationKey`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DelegationKey {
    /// Key id.
    pub key_id: i32,
    /// Expiry in ms.
    pub expiry_date: i64,
    /// Key bytes; `None` when the writer had none.
    pub key: Option<Vec<u8>>,
}

/// Options of a rename (`Options.Rename`) as `OP_RENAME` carries them. The discriminants are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RenameOption {
    /// No option.
    None = 0,
    /// Replace an existing destination.
    Overwrite = 1,
    /// A move to the trash.
    ToTrash = 2,
}

impl RenameOption {
    /// From its byte.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<RenameOption> {
        Some(match code {
            0 => RenameOption::None,
            1 => RenameOption::Overwrite,
            2 => RenameOption::ToTrash,
            _ => return None,
        })
    }

    /// Java's name of the constant.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RenameOption::None => "NONE",
            RenameOption::Overwrite => "OVERWRITE",
            RenameOption::ToTrash => "TO_TRASH",
        }
    }
}

/// An operation of the edit log. Field units follow the wire: times in ms, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "fields are named as in Hadoop and in the format's description"
)]
pub enum EditOp {
    /// A file is created.
    Add(AddOp),
    /// `rename` without options; `rpc_ids` feed the retry cache.
    RenameOld {
        src: String,
        dst: String,
        time: i64,
        rpc_ids: RpcIds,
    },
    /// A path is deleted with all below it.
    Delete {
        path: String,
        time: i64,
        rpc_ids: RpcIds,
    },
    /// One directory is made.
    Mkdir {
        inode_id: InodeId,
        path: String,
        time: i64,
        permissions: PermissionStatus,
        acl_entries: Vec<AclEntry>,
        xattrs: Vec<XAttr>,
    },
    SetReplication {
        path: String,
        replication: i16,
    },
    SetPermissions {
        src: String,
        mode: u16,
    },
    /// `None` leaves the owner or group as it is.
    SetOwner {
        src: String,
        user: Option<String>,
        group: Option<String>,
    },
    /// A file is complete.
    Close(CloseOp),
    /// Legacy stamp for random block ids.
    SetGenstampV1 {
        genstamp: GenerationStamp,
    },
    /// Obsolete, only read.
    SetNsQuota {
        src: String,
        ns_quota: i64,
    },
    /// Obsolete, only read.
    ClearNsQuota {
        src: String,
    },
    /// An `atime` of -1 leaves the access time as it is.
    Times {
        path: String,
        mtime: i64,
        atime: i64,
    },
    SetQuota {
        src: String,
        ns_quota: i64,
        ds_quota: i64,
    },
    /// `rename2`.
    Rename {
        src: String,
        dst: String,
        time: i64,
        options: Vec<RenameOption>,
        rpc_ids: RpcIds,
    },
    ConcatDelete {
        target: String,
        sources: Vec<String>,
        time: i64,
        rpc_ids: RpcIds,
    },
    Symlink {
        inode_id: InodeId,
        path: String,
        target: String,
        mtime: i64,
        atime: i64,
        permissions: PermissionStatus,
        rpc_ids: RpcIds,
    },
    GetDelegationToken {
        token: DelegationTokenIdentifier,
        expiry_time: i64,
    },
    RenewDelegationToken {
        token: DelegationTokenIdentifier,
        expiry_time: i64,
    },
    CancelDelegationToken {
        token: DelegationTokenIdentifier,
    },
    UpdateMasterKey {
        key: DelegationKey,
    },
    ReassignLease {
        lease_holder: String,
        path: String,
        new_holder: String,
    },
    /// The last op of a segment that was closed in order.
    EndLogSegment,
    /// The first op of every segment.
    StartLogSegment,
    UpdateBlocks {
        path: String,
        blocks: Vec<Block>,
        rpc_ids: RpcIds,
    },
    /// `mtime` is 0 when the layout has none.
    CreateSnapshot {
        snapshot_root: String,
        snapshot_name: String,
        mtime: i64,
        rpc_ids: RpcIds,
    },
    DeleteSnapshot {
        snapshot_root: String,
        snapshot_name: String,
        mtime: i64,
        rpc_ids: RpcIds,
    },
    RenameSnapshot {
        snapshot_root: String,
        snapshot_old_name: String,
        snapshot_new_name: String,
        mtime: i64,
        rpc_ids: RpcIds,
    },
    AllowSnapshot {
        snapshot_root: String,
    },
    DisallowSnapshot {
        snapshot_root: String,
    },
    SetGenstampV2 {
        genstamp: GenerationStamp,
    },
    /// A negative id is that of a striped block group.
    AllocateBlockId {
        block_id: BlockId,
    },
    AddBlock {
        path: String,
        penultimate: Option<Block>,
        last: Block,
        rpc_ids: RpcIds,
    },
    AddCacheDirective {
        directive: CacheDirectiveInfo,
        rpc_ids: RpcIds,
    },
    RemoveCacheDirective {
        id: i64,
        rpc_ids: RpcIds,
    },
    AddCachePool {
        pool: CachePoolInfo,
        rpc_ids: RpcIds,
    },
    ModifyCachePool {
        pool: CachePoolInfo,
        rpc_ids: RpcIds,
    },
    RemoveCachePool {
        pool_name: String,
        rpc_ids: RpcIds,
    },
    ModifyCacheDirective {
        directive: CacheDirectiveInfo,
        rpc_ids: RpcIds,
    },
    /// The whole ACL after the change.
    SetAcl {
        src: String,
        entries: Vec<AclEntry>,
    },
    RollingUpgradeStart {
        time: i64,
    },
    RollingUpgradeFinalize {
        time: i64,
    },
    SetXAttr {
        src: String,
        xattrs: Vec<XAttr>,
        rpc_ids: RpcIds,
    },
    RemoveXAttr {
        src: String,
        xattrs: Vec<XAttr>,
        rpc_ids: RpcIds,
    },
    /// Policy 0 removes the policy.
    SetStoragePolicy {
        path: String,
        policy_id: u8,
    },
    Truncate {
        src: String,
        client_name: String,
        client_machine: String,
        new_length: i64,
        time: i64,
        truncate_block: Option<Block>,
    },
    Append {
        path: String,
        client_name: String,
        client_machine: String,
        new_block: bool,
        rpc_ids: RpcIds,
    },
    /// `storage_type` is the Java ordinal: RAM_DISK 0, SSD 1, DISK 2, ARCHIVE 3, PROVIDED 4, NVDIMM 5.
    SetQuotaByStorageType {
        src: String,
        storage_type: i32,
        ds_quota: i64,
    },
    AddErasureCodingPolicy {
        codec: String,
        data_units: i32,
        parity_units: i32,
        cell_size: i32,
        extra_options: Vec<(String, String)>,
        rpc_ids: RpcIds,
    },
    EnableErasureCodingPolicy {
        policy_name: String,
        rpc_ids: RpcIds,
    },
    DisableErasureCodingPolicy {
        policy_name: String,
        rpc_ids: RpcIds,
    },
    RemoveErasureCodingPolicy {
        policy_name: String,
        rpc_ids: RpcIds,
    },
}

/// The byte that starts an op (`FSEditLogOpCodes`), known or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpCode(pub u8);

macro_rules! opcodes {
    ($($constant:ident = $code:literal $name:literal;)*) => {
        #[allow(missing_docs, reason = "named as in Hadoop")]
        impl OpCode {
            $(pub const $constant: OpCode = OpCode($code);)*

            /// Hadoop's name, for example `OP_ADD`; `None` for codes without one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some($name),)*
                    _ => None,
                }
            }

            /// From Hadoop's name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<OpCode> {
                match name {
                    $($name => Some(OpCode($code)),)*
                    _ => None,
                }
            }

            /// Every code with a name, in order of the code.
            pub const ALL: &'static [OpCode] = &[$(OpCode($code)),*];
        }
    };
}

opcodes! {
    ADD = 0 "OP_ADD";
    RENAME_OLD = 1 "OP_RENAME_OLD";
    DELETE = 2 "OP_DELETE";
    MKDIR = 3 "OP_MKDIR";
    SET_REPLICATION = 4 "OP_SET_REPLICATION";
    DATANODE_ADD = 5 "OP_DATANODE_ADD";
    DATANODE_REMOVE = 6 "OP_DATANODE_REMOVE";
    SET_PERMISSIONS = 7 "OP_SET_PERMISSIONS";
    SET_OWNER = 8 "OP_SET_OWNER";
    CLOSE = 9 "OP_CLOSE";
    SET_GENSTAMP_V1 = 10 "OP_SET_GENSTAMP_V1";
    SET_NS_QUOTA = 11 "OP_SET_NS_QUOTA";
    CLEAR_NS_QUOTA = 12 "OP_CLEAR_NS_QUOTA";
    TIMES = 13 "OP_TIMES";
    SET_QUOTA = 14 "OP_SET_QUOTA";
    RENAME = 15 "OP_RENAME";
    CONCAT_DELETE = 16 "OP_CONCAT_DELETE";
    SYMLINK = 17 "OP_SYMLINK";
    GET_DELEGATION_TOKEN = 18 "OP_GET_DELEGATION_TOKEN";
    RENEW_DELEGATION_TOKEN = 19 "OP_RENEW_DELEGATION_TOKEN";
    CANCEL_DELEGATION_TOKEN = 20 "OP_CANCEL_DELEGATION_TOKEN";
    UPDATE_MASTER_KEY = 21 "OP_UPDATE_MASTER_KEY";
    REASSIGN_LEASE = 22 "OP_REASSIGN_LEASE";
    END_LOG_SEGMENT = 23 "OP_END_LOG_SEGMENT";
    START_LOG_SEGMENT = 24 "OP_START_LOG_SEGMENT";
    UPDATE_BLOCKS = 25 "OP_UPDATE_BLOCKS";
    CREATE_SNAPSHOT = 26 "OP_CREATE_SNAPSHOT";
    DELETE_SNAPSHOT = 27 "OP_DELETE_SNAPSHOT";
    RENAME_SNAPSHOT = 28 "OP_RENAME_SNAPSHOT";
    ALLOW_SNAPSHOT = 29 "OP_ALLOW_SNAPSHOT";
    DISALLOW_SNAPSHOT = 30 "OP_DISALLOW_SNAPSHOT";
    SET_GENSTAMP_V2 = 31 "OP_SET_GENSTAMP_V2";
    ALLOCATE_BLOCK_ID = 32 "OP_ALLOCATE_BLOCK_ID";
    ADD_BLOCK = 33 "OP_ADD_BLOCK";
    ADD_CACHE_DIRECTIVE = 34 "OP_ADD_CACHE_DIRECTIVE";
    REMOVE_CACHE_DIRECTIVE = 35 "OP_REMOVE_CACHE_DIRECTIVE";
    ADD_CACHE_POOL = 36 "OP_ADD_CACHE_POOL";
    MODIFY_CACHE_POOL = 37 "OP_MODIFY_CACHE_POOL";
    REMOVE_CACHE_POOL = 38 "OP_REMOVE_CACHE_POOL";
    MODIFY_CACHE_DIRECTIVE = 39 "OP_MODIFY_CACHE_DIRECTIVE";
    SET_ACL = 40 "OP_SET_ACL";
    ROLLING_UPGRADE_START = 41 "OP_ROLLING_UPGRADE_START";
    ROLLING_UPGRADE_FINALIZE = 42 "OP_ROLLING_UPGRADE_FINALIZE";
    SET_XATTR = 43 "OP_SET_XATTR";
    REMOVE_XATTR = 44 "OP_REMOVE_XATTR";
    SET_STORAGE_POLICY = 45 "OP_SET_STORAGE_POLICY";
    TRUNCATE = 46 "OP_TRUNCATE";
    APPEND = 47 "OP_APPEND";
    SET_QUOTA_BY_STORAGETYPE = 48 "OP_SET_QUOTA_BY_STORAGETYPE";
    ADD_ERASURE_CODING_POLICY = 49 "OP_ADD_ERASURE_CODING_POLICY";
    ENABLE_ERASURE_CODING_POLICY = 50 "OP_ENABLE_ERASURE_CODING_POLICY";
    DISABLE_ERASURE_CODING_POLICY = 51 "OP_DISABLE_ERASURE_CODING_POLICY";
    REMOVE_ERASURE_CODING_POLICY = 52 "OP_REMOVE_ERASURE_CODING_POLICY";
    INVALID = 255 "OP_INVALID";
}

impl EditOp {
    /// The op's code.
    #[must_use]
    pub const fn code(&self) -> OpCode {
        match self {
            EditOp::Add(_) => OpCode::ADD,
            EditOp::RenameOld { .. } => OpCode::RENAME_OLD,
            EditOp::Delete { .. } => OpCode::DELETE,
            EditOp::Mkdir { .. } => OpCode::MKDIR,
            EditOp::SetReplication { .. } => OpCode::SET_REPLICATION,
            EditOp::SetPermissions { .. } => OpCode::SET_PERMISSIONS,
            EditOp::SetOwner { .. } => OpCode::SET_OWNER,
            EditOp::Close(_) => OpCode::CLOSE,
            EditOp::SetGenstampV1 { .. } => OpCode::SET_GENSTAMP_V1,
            EditOp::SetNsQuota { .. } => OpCode::SET_NS_QUOTA,
            EditOp::ClearNsQuota { .. } => OpCode::CLEAR_NS_QUOTA,
            EditOp::Times { .. } => OpCode::TIMES,
            EditOp::SetQuota { .. } => OpCode::SET_QUOTA,
            EditOp::Rename { .. } => OpCode::RENAME,
            EditOp::ConcatDelete { .. } => OpCode::CONCAT_DELETE,
            EditOp::Symlink { .. } => OpCode::SYMLINK,
            EditOp::GetDelegationToken { .. } => OpCode::GET_DELEGATION_TOKEN,
            EditOp::RenewDelegationToken { .. } => OpCode::RENEW_DELEGATION_TOKEN,
            EditOp::CancelDelegationToken { .. } => OpCode::CANCEL_DELEGATION_TOKEN,
            EditOp::UpdateMasterKey { .. } => OpCode::UPDATE_MASTER_KEY,
            EditOp::ReassignLease { .. } => OpCode::REASSIGN_LEASE,
            EditOp::EndLogSegment => OpCode::END_LOG_SEGMENT,
            EditOp::StartLogSegment => OpCode::START_LOG_SEGMENT,
            EditOp::UpdateBlocks { .. } => OpCode::UPDATE_BLOCKS,
            EditOp::CreateSnapshot { .. } => OpCode::CREATE_SNAPSHOT,
            EditOp::DeleteSnapshot { .. } => OpCode::DELETE_SNAPSHOT,
            EditOp::RenameSnapshot { .. } => OpCode::RENAME_SNAPSHOT,
            EditOp::AllowSnapshot { .. } => OpCode::ALLOW_SNAPSHOT,
            EditOp::DisallowSnapshot { .. } => OpCode::DISALLOW_SNAPSHOT,
            EditOp::SetGenstampV2 { .. } => OpCode::SET_GENSTAMP_V2,
            EditOp::AllocateBlockId { .. } => OpCode::ALLOCATE_BLOCK_ID,
            EditOp::AddBlock { .. } => OpCode::ADD_BLOCK,
            EditOp::AddCacheDirective { .. } => OpCode::ADD_CACHE_DIRECTIVE,
            EditOp::RemoveCacheDirective { .. } => OpCode::REMOVE_CACHE_DIRECTIVE,
            EditOp::AddCachePool { .. } => OpCode::ADD_CACHE_POOL,
            EditOp::ModifyCachePool { .. } => OpCode::MODIFY_CACHE_POOL,
            EditOp::RemoveCachePool { .. } => OpCode::REMOVE_CACHE_POOL,
            EditOp::ModifyCacheDirective { .. } => OpCode::MODIFY_CACHE_DIRECTIVE,
            EditOp::SetAcl { .. } => OpCode::SET_ACL,
            EditOp::RollingUpgradeStart { .. } => OpCode::ROLLING_UPGRADE_START,
            EditOp::RollingUpgradeFinalize { .. } => OpCode::ROLLING_UPGRADE_FINALIZE,
            EditOp::SetXAttr { .. } => OpCode::SET_XATTR,
            EditOp::RemoveXAttr { .. } => OpCode::REMOVE_XATTR,
            EditOp::SetStoragePolicy { .. } => OpCode::SET_STORAGE_POLICY,
            EditOp::Truncate { .. } => OpCode::TRUNCATE,
            EditOp::Append { .. } => OpCode::APPEND,
            EditOp::SetQuotaByStorageType { .. } => OpCode::SET_QUOTA_BY_STORAGETYPE,
            EditOp::AddErasureCodingPolicy { .. } => OpCode::ADD_ERASURE_CODING_POLICY,
            EditOp::EnableErasureCodingPolicy { .. } => OpCode::ENABLE_ERASURE_CODING_POLICY,
            EditOp::DisableErasureCodingPolicy { .. } => OpCode::DISABLE_ERASURE_CODING_POLICY,
            EditOp::RemoveErasureCodingPolicy { .. } => OpCode::REMOVE_ERASURE_CODING_POLICY,
        }
    }

    /// The call that the op answers, for ops that fill the retry cache at a replay. `OP_ADD_BLOCK` has ids but does
    /// not, so it is not among them.
    #[must_use]
    pub const fn rpc_ids(&self) -> Option<&RpcIds> {
        match self {
            EditOp::Add(AddOp { rpc_ids, .. })
            | EditOp::RenameOld { rpc_ids, .. }
            | EditOp::Delete { rpc_ids, .. }
            | EditOp::Rename { rpc_ids, .. }
            | EditOp::ConcatDelete { rpc_ids, .. }
            | EditOp::Symlink { rpc_ids, .. }
            | EditOp::UpdateBlocks { rpc_ids, .. }
            | EditOp::CreateSnapshot { rpc_ids, .. }
            | EditOp::DeleteSnapshot { rpc_ids, .. }
            | EditOp::RenameSnapshot { rpc_ids, .. }
            | EditOp::AddCacheDirective { rpc_ids, .. }
            | EditOp::RemoveCacheDirective { rpc_ids, .. }
            | EditOp::AddCachePool { rpc_ids, .. }
            | EditOp::ModifyCachePool { rpc_ids, .. }
            | EditOp::RemoveCachePool { rpc_ids, .. }
            | EditOp::ModifyCacheDirective { rpc_ids, .. }
            | EditOp::SetXAttr { rpc_ids, .. }
            | EditOp::RemoveXAttr { rpc_ids, .. }
            | EditOp::Append { rpc_ids, .. }
            | EditOp::AddErasureCodingPolicy { rpc_ids, .. }
            | EditOp::EnableErasureCodingPolicy { rpc_ids, .. }
            | EditOp::DisableErasureCodingPolicy { rpc_ids, .. }
            | EditOp::RemoveErasureCodingPolicy { rpc_ids, .. } => Some(rpc_ids),
            _ => None,
        }
    }
}

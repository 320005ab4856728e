//! Every op with its fields, said once. What an op is in memory, in a log and in the viewer's XML follows from here.
//!
//! A field is `name: type as kind = "XML" [place]`. The kind ([`Field`], or [`Pair`] for two fields) is the type where
//! none is said. Without a name in XML, the kind has elements of its own. A [`Place`] is said for fields that the
//! viewer does not print in the order of the body.

use std::fmt::{self, Write};

use super::field::{
    CallNotRetried, ErasureCodingPolicy, Field, NameOrNothing, Pair, Parsed, Place, SnapshotTime, Text, TimeTwice,
    VInt, VLong,
};
use super::kinds::{AclMessage, BlocksOfClosed, CompactBlock, CompactBlocks, KeyBytes, LastBlocks, XAttrMessage};
#[cfg(test)]
use super::source::Source;
use super::values::{AclEntry, RenameOption, RpcIds, XAttr};
use super::wire::{DecodeError, Encoded, Input, Output};
use super::xml::XmlWriter;
use crate::ids::{Block, BlockId, GenerationStamp, InodeId, TxId};
use crate::xml_tree::Node;

/// The kind of a field: the one that is said, or the type.
macro_rules! kind {
    ([$type:ty]) => {
        $type
    };
    ([$($type:tt)+] $kind:ty) => {
        $kind
    };
}

macro_rules! place {
    () => {
        Place::Usual
    };
    (first) => {
        Place::First
    };
    (later) => {
        Place::Later
    };
    (never) => {
        Place::Never
    };
}

/// What is made of XML: nothing of a field that is not printed.
macro_rules! parsed {
    ([never] $parsed:expr) => {
        Default::default()
    };
    ([$($place:ident)?] $parsed:expr) => {
        $parsed?
    };
}

/// A struct whose fields stand one behind another. It is a kind of field itself. `in` is the element around its fields.
macro_rules! record {
    ($(#[$meta:meta])* pub struct $record:ident $(in $element:literal)? {
        $($(#[$doc:meta])* $name:ident: $type:ty $(as $kind:ty)? $(= $xml:literal)? $([$place:ident])?,)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $record {
            $($(#[$doc])* pub $name: $type,)+
        }

        impl Field for $record {
            type Value = $record;

            fn put(record: &$record, out: &mut Output<'_>) -> Encoded {
                $(<kind!([$type] $($kind)?)>::put(&record.$name, out)?;)+
                Ok(())
            }

            fn read(input: &mut Input<'_>) -> Result<$record, DecodeError> {
                Ok($record { $($name: <kind!([$type] $($kind)?)>::read(input)?,)+ })
            }

            fn print<W: Write>(record: &$record, _: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
                $(xml.open($element)?;)?
                for place in Place::PRINTED {
                    $(if place == place!($($place)?) {
                        <kind!([$type] $($kind)?)>::print(&record.$name, concat!($($xml)?), xml)?;
                    })+
                }
                $(xml.close($element)?;)?
                Ok(())
            }

            fn parse(node: &mut Node, _: &str) -> Parsed<$record> {
                $(
                    let missing = concat!("<", $element, "> is missing");
                    let mut element = node.take($element).ok_or_else(|| node.error(missing))?;
                    let node = &mut element;
                )?
                let record = $record {
                    $($name: parsed!([$($place)?] <kind!([$type] $($kind)?)>::parse(node, concat!($($xml)?))),)+
                };
                $(
                    let _ = $element;
                    node.done()?;
                )?
                Ok(record)
            }

            fn retried_call(record: &$record) -> Option<&RpcIds> {
                None$(.or(<kind!([$type] $($kind)?)>::retried_call(&record.$name)))+
            }

            #[cfg(test)]
            fn any(source: &mut Source) -> $record {
                $record { $($name: <kind!([$type] $($kind)?)>::any(source),)+ }
            }
        }
    };
}

/// A struct whose first field is always there, and then bits that tell which of the others are.
macro_rules! flagged_record {
    ($(#[$meta:meta])* pub struct $record:ident {
        $(#[$first_doc:meta])* $first:ident: $first_type:ty = $first_xml:literal,
        $($(#[$doc:meta])* $name:ident: Option<$type:ty> = $xml:literal,)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $record {
            $(#[$first_doc])* pub $first: $first_type,
            $($(#[$doc])* pub $name: Option<$type>,)+
        }

        impl Field for $record {
            type Value = $record;

            fn put(record: &$record, out: &mut Output<'_>) -> Encoded {
                <$first_type>::put(&record.$first, out)?;
                let present = [$(record.$name.is_some()),+];
                out.i32(present.iter().rev().fold(0, |flags, is_some| flags << 1 | i32::from(*is_some)))?;
                $(record.$name.as_ref().map_or(Ok(()), |value| <$type>::put(value, out))?;)+
                Ok(())
            }

            fn read(input: &mut Input<'_>) -> Result<$record, DecodeError> {
                let $first = <$first_type>::read(input)?;
                let mut flags = input.i32()? as u32;
                let mut flag = || {
                    let is_set = flags & 1 != 0;
                    flags >>= 1;
                    is_set
                };
                let record = $record {
                    $first,
                    $($name: if flag() { Some(<$type>::read(input)?) } else { None },)+
                };
                match flags {
                    0 => Ok(record),
                    _ => Err(input.error(concat!(stringify!($record), " with unknown flags"))),
                }
            }

            fn print<W: Write>(record: &$record, _: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
                <$first_type>::print(&record.$first, $first_xml, xml)?;
                $(record.$name.as_ref().map_or(Ok(()), |value| <$type>::print(value, $xml, xml))?;)+
                Ok(())
            }

            fn parse(node: &mut Node, _: &str) -> Parsed<$record> {
                Ok($record {
                    $first: <$first_type as Field>::parse(node, $first_xml)?,
                    $($name: if node.has($xml) { Some(<$type as Field>::parse(node, $xml)?) } else { None },)+
                })
            }

            #[cfg(test)]
            fn any(source: &mut Source) -> $record {
                $record {
                    $first: <$first_type>::any(source),
                    $($name: source.some(<$type>::any),)+
                }
            }
        }
    };
}

/// The byte that starts an op (`FSEditLogOpCodes`), known or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpCode(pub u8);

/// The codes, each with its op if one still has it: `CODE = byte => Variant { fields }` or `Variant(name: record)`.
/// `LENGTH` stands behind ops for which Java prints an element with the number of fields, which has been 0 since fields
/// are not counted.
macro_rules! ops {
    ($($constant:ident = $code:literal $(=> $(#[$doc:meta])* $op:ident
        $(($record:ident: $record_type:ty))?
        $({$($(#[$field_doc:meta])* $($name:ident: $type:ty)|+ $(as $kind:ty)? $(= $xml:literal)? $([$place:ident])?),+ $(,)?})?
        $($length:ident)?)?;)*) => {
        /// An operation of the edit log. Field units follow the wire: times in ms, sizes in bytes.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "fields are named as in Hadoop and in the format's description")]
        pub enum EditOp {
            $($($(#[$doc])* $op $(($record_type))? $({$($(#[$field_doc])* $($name: $type),+),+})?,)?)*
        }

        #[allow(missing_docs, reason = "named as in Hadoop")]
        impl OpCode {
            $(pub const $constant: OpCode = OpCode($code);)*

            /// Every code with a name, in order of the code.
            pub const ALL: &'static [OpCode] = &[$(OpCode($code)),*];

            /// Hadoop's name, for example `OP_ADD`; `None` for codes without one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(concat!("OP_", stringify!($constant))),)*
                    _ => None,
                }
            }
        }

        #[allow(unused_parens, unused_variables, reason = "a group of fields may be one field, and some ops have none")]
        impl EditOp {
            /// The op's code.
            #[must_use]
            pub const fn code(&self) -> OpCode {
                match self {
                    $($(EditOp::$op { .. } => OpCode::$constant,)?)*
                }
            }

            /// The call that the op answers, for ops that fill the retry cache at a replay. `OP_ADD_BLOCK` has ids but
            /// does not, so it is not among them.
            #[must_use]
            pub fn rpc_ids(&self) -> Option<&RpcIds> {
                match self {
                    $($(EditOp::$op $(($record))? $({$($($name),+),+})? => {
                        None $(.or(<$record_type>::retried_call($record)))?
                            $($(.or(<kind!([$($type)+] $($kind)?)>::retried_call($($name),+)))+)?
                    })?)*
                }
            }

            /// Appends the body.
            pub(super) fn put(&self, out: &mut Output<'_>) -> Encoded {
                match self {
                    $($(EditOp::$op $(($record))? $({$($($name),+),+})? => {
                        $(<$record_type>::put($record, out)?;)?
                        $($(<kind!([$($type)+] $($kind)?)>::put($($name,)+ out)?;)+)?
                    })?)*
                }
                Ok(())
            }

            /// Reads the body of an op with this code.
            pub(super) fn read(code: OpCode, input: &mut Input<'_>) -> Result<EditOp, DecodeError> {
                Ok(match code {
                    $($(OpCode::$constant => {
                        $(let $record = <$record_type>::read(input)?;)?
                        $($(let ($($name),+) = <kind!([$($type)+] $($kind)?)>::read(input)?;)+)?
                        EditOp::$op $(($record))? $({$($($name),+),+})?
                    })?)*
                    OpCode(code) => return Err(input.error(format!("opcode {code} has no meaning"))),
                })
            }

            /// Prints the fields.
            fn print<W: Write>(&self, xml: &mut XmlWriter<W>) -> fmt::Result {
                match self {
                    $($(EditOp::$op $(($record))? $({$($($name),+),+})? => {
                        $(xml.leaf(stringify!($length), 0)?;)?
                        $(<$record_type>::print($record, "", xml)?;)?
                        $(for place in Place::PRINTED {
                            $(if place == place!($($place)?) {
                                <kind!([$($type)+] $($kind)?)>::print($($name,)+ concat!($($xml)?), xml)?;
                            })+
                        })?
                    })?)*
                }
                Ok(())
            }

            /// Takes the fields of an op with this code out of its elements.
            pub(super) fn parse(code: OpCode, node: &mut Node) -> Parsed<EditOp> {
                Ok(match code {
                    $($(OpCode::$constant => {
                        $(node.take(stringify!($length));)?
                        $(let $record = <$record_type as Field>::parse(node, "")?;)?
                        $($(let ($($name),+) = parsed!([$($place)?]
                            <kind!([$($type)+] $($kind)?)>::parse(node, concat!($($xml)?)));)+)?
                        EditOp::$op $(($record))? $({$($($name),+),+})?
                    })?)*
                    OpCode(code) => return Err(node.error(format_args!("opcode {code} has no meaning"))),
                })
            }

            /// An op with this code, and any values. `None` for codes that no op has.
            #[cfg(test)]
            pub(super) fn any(code: OpCode, source: &mut Source) -> Option<EditOp> {
                Some(match code {
                    $($(OpCode::$constant => {
                        $(let $record = <$record_type>::any(source);)?
                        $($(let ($($name),+) = <kind!([$($type)+] $($kind)?)>::any(source);)+)?
                        EditOp::$op $(($record))? $({$($($name),+),+})?
                    })?)*
                    _ => return None,
                })
            }
        }
    };
}

impl<W: Write> XmlWriter<W> {
    /// Writes one op.
    pub fn op(&mut self, txid: TxId, op: &EditOp) -> fmt::Result {
        self.open("RECORD")?;
        self.leaf("OPCODE", op.code().name().unwrap_or("OP_INVALID"))?;
        self.open("DATA")?;
        self.leaf("TXID", txid)?;
        op.print(self)?;
        self.close("DATA")?;
        self.close("RECORD")
    }
}

record! {
    /// Owner, group and mode (`PermissionStatus`).
    #[derive(Hash)]
    pub struct PermissionStatus in "PERMISSION_STATUS" {
        /// Owner.
        user: String as Text = "USERNAME",
        /// Group.
        group: String as Text = "GROUPNAME",
        /// Nine permission bits and the sticky bit (01000).
        mode: u16 = "MODE",
    }
}

record! {
    /// `OP_ADD`: a file is created (or, in the old form, reopened for append).
    pub struct AddOp {
        /// The new file's inode id.
        inode_id: InodeId = "INODEID",
        /// Absolute path.
        path: String = "PATH",
        /// Replication factor. A striped file has whatever its writer put there (0).
        replication: i16 = "REPLICATION",
        /// Modification time in ms.
        mtime: i64 = "MTIME",
        /// Access time in ms.
        atime: i64 = "ATIME",
        /// Preferred block size in bytes.
        block_size: i64 = "BLOCKSIZE",
        /// Blocks; empty for a new file.
        blocks: Vec<Block> [later],
        /// Owner, group and mode.
        permissions: PermissionStatus [later],
        /// ACL entries inherited from the parent's default ACL.
        acl_entries: Vec<AclEntry> [later],
        /// Extended attributes, for example of encryption.
        xattrs: Vec<XAttr> [never],
        /// The client that holds the lease.
        client_name: String = "CLIENT_NAME",
        /// Its address.
        client_machine: String = "CLIENT_MACHINE",
        /// Whether an existing file is deleted first.
        overwrite: bool = "OVERWRITE",
        /// Storage policy; 0 is unspecified.
        storage_policy_id: u8 [never],
        /// Erasure coding policy; 0 is replication.
        erasure_coding_policy_id: u8 as ErasureCodingPolicy = "ERASURE_CODING_POLICY_ID" [later],
        /// The call that created the file.
        rpc_ids: RpcIds [later],
    }
}

record! {
    /// `OP_CLOSE`: a file is complete.
    pub struct CloseOp {
        /// Java's writer leaves it 0: the file is found by its path.
        inode_id: InodeId = "INODEID",
        /// Absolute path.
        path: String = "PATH",
        /// Replication factor.
        replication: i16 = "REPLICATION",
        /// Modification time in ms.
        mtime: i64 = "MTIME",
        /// Access time in ms.
        atime: i64 = "ATIME",
        /// Preferred block size in bytes.
        block_size: i64 = "BLOCKSIZE",
        /// All blocks with their final sizes.
        blocks: Vec<Block> as BlocksOfClosed,
        /// Owner, group and mode.
        permissions: PermissionStatus,
    }
}

flagged_record! {
    /// The body of `OP_ADD_CACHE_DIRECTIVE` and `OP_MODIFY_CACHE_DIRECTIVE` (`CacheDirectiveInfo`).
    pub struct CacheDirectiveInfo {
        /// The directive's id.
        id: i64 = "ID",
        /// Path to cache.
        path: Option<String> = "PATH",
        /// Number of copies.
        replication: Option<i16> = "REPLICATION",
        /// The pool it belongs to.
        pool: Option<String> = "POOL",
        /// Absolute expiry in ms.
        expiration: Option<i64> = "EXPIRATION",
    }
}

flagged_record! {
    /// The body of `OP_ADD_CACHE_POOL` and `OP_MODIFY_CACHE_POOL` (`CachePoolInfo`).
    pub struct CachePoolInfo {
        /// The pool's name.
        pool_name: String = "POOLNAME",
        /// Owner.
        owner_name: Option<String> = "OWNERNAME",
        /// Group.
        group_name: Option<String> = "GROUPNAME",
        /// Permission bits.
        mode: Option<u16> = "MODE",
        /// Bytes that may be cached.
        limit: Option<i64> = "LIMIT",
        /// Longest relative expiry in ms.
        max_relative_expiry: Option<i64> = "MAXRELATIVEEXPIRY",
        /// Replication of directives that name none.
        default_replication: Option<i16> = "DEFAULTREPLICATION",
    }
}

record! {
    /// `DelegationTokenIdentifier`.
    pub struct DelegationTokenIdentifier {
        /// The user that the token stands for.
        owner: String as Text = "OWNER",
        /// The user that may renew it.
        renewer: String as Text = "RENEWER",
        /// The real user behind a proxy user.
        real_user: String as Text = "REALUSER",
        /// Issue date in ms.
        issue_date: i64 as VLong = "ISSUE_DATE",
        /// Latest expiry in ms.
        max_date: i64 as VLong = "MAX_DATE",
        /// Sequence number.
        sequence_number: i32 as VInt = "SEQUENCE_NUMBER" [first],
        /// Id of the key that it is signed with.
        master_key_id: i32 as VInt = "MASTER_KEY_ID",
    }
}

/// A delegation token behind its version.
pub(super) enum Token {}

impl Token {
    /// `AbstractDelegationTokenIdentifier.VERSION`.
    const VERSION: u8 = 0;
}

impl Field for Token {
    type Value = DelegationTokenIdentifier;

    fn put(token: &DelegationTokenIdentifier, out: &mut Output<'_>) -> Encoded {
        out.u8(Token::VERSION)?;
        DelegationTokenIdentifier::put(token, out)
    }

    fn read(input: &mut Input<'_>) -> Result<DelegationTokenIdentifier, DecodeError> {
        match input.u8()? {
            Token::VERSION => DelegationTokenIdentifier::read(input),
            version => Err(input.error(format!("delegation token of version {version}"))),
        }
    }

    fn print<W: Write>(token: &DelegationTokenIdentifier, _: &str, xml: &mut XmlWriter<W>) -> fmt::Result {
        xml.open("DELEGATION_TOKEN_IDENTIFIER")?;
        xml.leaf("KIND", "HDFS_DELEGATION_TOKEN")?;
        DelegationTokenIdentifier::print(token, "", xml)?;
        xml.close("DELEGATION_TOKEN_IDENTIFIER")
    }

    fn parse(node: &mut Node, _: &str) -> Parsed<DelegationTokenIdentifier> {
        let mut token = node
            .take("DELEGATION_TOKEN_IDENTIFIER")
            .ok_or_else(|| node.error("<DELEGATION_TOKEN_IDENTIFIER> is missing"))?;
        let kind = token.require_text("KIND")?;
        if kind != "HDFS_DELEGATION_TOKEN" {
            return Err(token.error(format_args!("{kind} is no kind of a NameNode's token")));
        }
        let identifier = <DelegationTokenIdentifier as Field>::parse(&mut token, "")?;
        token.done()?;
        Ok(identifier)
    }

    #[cfg(test)]
    fn any(source: &mut Source) -> DelegationTokenIdentifier {
        DelegationTokenIdentifier::any(source)
    }
}

record! {
    /// `DelegationKey`.
    pub struct DelegationKey in "DELEGATION_KEY" {
        /// Key id.
        key_id: i32 as VInt = "KEY_ID",
        /// Expiry in ms.
        expiry_date: i64 as VLong = "EXPIRY_DATE",
        /// Key bytes; `None` when the writer had none.
        key: Option<Vec<u8>> as KeyBytes = "KEY",
    }
}

ops! {
    ADD = 0 =>
        /// A file is created.
        Add(add: AddOp) LENGTH;
    RENAME_OLD = 1 =>
        /// `rename` without options; `rpc_ids` feed the retry cache.
        RenameOld { src: String = "SRC", dst: String = "DST", time: i64 = "TIMESTAMP", rpc_ids: RpcIds } LENGTH;
    DELETE = 2 =>
        /// A path is deleted with all below it.
        Delete { path: String = "PATH", time: i64 = "TIMESTAMP", rpc_ids: RpcIds } LENGTH;
    MKDIR = 3 =>
        /// One directory is made.
        Mkdir {
            inode_id: InodeId = "INODEID", path: String = "PATH", time: i64 as TimeTwice = "TIMESTAMP",
            permissions: PermissionStatus, acl_entries: Vec<AclEntry>, xattrs: Vec<XAttr>,
        } LENGTH;
    SET_REPLICATION = 4 => SetReplication { path: String = "PATH", replication: i16 = "REPLICATION" };
    DATANODE_ADD = 5;
    DATANODE_REMOVE = 6;
    SET_PERMISSIONS = 7 => SetPermissions { src: String = "SRC", mode: u16 = "MODE" };
    SET_OWNER = 8 =>
        /// `None` leaves the owner or group as it is.
        SetOwner {
            src: String = "SRC", user: Option<String> as NameOrNothing = "USERNAME",
            group: Option<String> as NameOrNothing = "GROUPNAME",
        };
    CLOSE = 9 =>
        /// A file is complete.
        Close(close: CloseOp) LENGTH;
    SET_GENSTAMP_V1 = 10 =>
        /// Legacy stamp for random block ids.
        SetGenstampV1 { genstamp: GenerationStamp = "GENSTAMP" };
    SET_NS_QUOTA = 11 =>
        /// Obsolete, only read.
        SetNsQuota { src: String = "SRC", ns_quota: i64 = "NSQUOTA" };
    CLEAR_NS_QUOTA = 12 =>
        /// Obsolete, only read.
        ClearNsQuota { src: String = "SRC" };
    TIMES = 13 =>
        /// An `atime` of -1 leaves the access time as it is.
        Times { path: String = "PATH", mtime: i64 = "MTIME", atime: i64 = "ATIME" } LENGTH;
    SET_QUOTA = 14 => SetQuota { src: String = "SRC", ns_quota: i64 = "NSQUOTA", ds_quota: i64 = "DSQUOTA" };
    RENAME = 15 =>
        /// `rename2`.
        Rename {
            src: String = "SRC", dst: String = "DST", time: i64 = "TIMESTAMP",
            options: Vec<RenameOption> = "OPTIONS", rpc_ids: RpcIds,
        } LENGTH;
    CONCAT_DELETE = 16 => ConcatDelete {
        target: String = "TRG", sources: Vec<String> = "SOURCES" [later], time: i64 = "TIMESTAMP",
        rpc_ids: RpcIds [later],
    } LENGTH;
    SYMLINK = 17 => Symlink {
        inode_id: InodeId = "INODEID", path: String = "PATH", target: String = "VALUE", mtime: i64 = "MTIME",
        atime: i64 = "ATIME", permissions: PermissionStatus, rpc_ids: RpcIds,
    } LENGTH;
    GET_DELEGATION_TOKEN = 18 => GetDelegationToken {
        token: DelegationTokenIdentifier as Token, expiry_time: i64 = "EXPIRY_TIME",
    };
    RENEW_DELEGATION_TOKEN = 19 => RenewDelegationToken {
        token: DelegationTokenIdentifier as Token, expiry_time: i64 = "EXPIRY_TIME",
    };
    CANCEL_DELEGATION_TOKEN = 20 => CancelDelegationToken { token: DelegationTokenIdentifier as Token };
    UPDATE_MASTER_KEY = 21 => UpdateMasterKey { key: DelegationKey };
    REASSIGN_LEASE = 22 => ReassignLease {
        lease_holder: String = "LEASEHOLDER", path: String = "PATH", new_holder: String = "NEWHOLDER",
    };
    END_LOG_SEGMENT = 23 =>
        /// The last op of a segment that was closed in order.
        EndLogSegment;
    START_LOG_SEGMENT = 24 =>
        /// The first op of every segment.
        StartLogSegment;
    UPDATE_BLOCKS = 25 => UpdateBlocks { path: String = "PATH", blocks: Vec<Block> as CompactBlocks, rpc_ids: RpcIds };
    CREATE_SNAPSHOT = 26 =>
        /// `mtime` is 0 when the layout has none.
        CreateSnapshot {
            snapshot_root: String = "SNAPSHOTROOT", snapshot_name: String = "SNAPSHOTNAME",
            mtime: i64 as SnapshotTime = "MTIME", rpc_ids: RpcIds,
        };
    DELETE_SNAPSHOT = 27 => DeleteSnapshot {
        snapshot_root: String = "SNAPSHOTROOT", snapshot_name: String = "SNAPSHOTNAME",
        mtime: i64 as SnapshotTime = "MTIME", rpc_ids: RpcIds,
    };
    RENAME_SNAPSHOT = 28 => RenameSnapshot {
        snapshot_root: String = "SNAPSHOTROOT", snapshot_old_name: String = "SNAPSHOTOLDNAME",
        snapshot_new_name: String = "SNAPSHOTNEWNAME", mtime: i64 as SnapshotTime = "MTIME", rpc_ids: RpcIds,
    };
    ALLOW_SNAPSHOT = 29 => AllowSnapshot { snapshot_root: String = "SNAPSHOTROOT" };
    DISALLOW_SNAPSHOT = 30 => DisallowSnapshot { snapshot_root: String = "SNAPSHOTROOT" };
    SET_GENSTAMP_V2 = 31 => SetGenstampV2 { genstamp: GenerationStamp = "GENSTAMPV2" };
    ALLOCATE_BLOCK_ID = 32 =>
        /// A negative id is that of a striped block group.
        AllocateBlockId { block_id: BlockId = "BLOCK_ID" };
    ADD_BLOCK = 33 => AddBlock {
        path: String = "PATH", penultimate: Option<Block> | last: Block as LastBlocks,
        rpc_ids: RpcIds as CallNotRetried,
    };
    ADD_CACHE_DIRECTIVE = 34 => AddCacheDirective { directive: CacheDirectiveInfo, rpc_ids: RpcIds };
    REMOVE_CACHE_DIRECTIVE = 35 => RemoveCacheDirective { id: i64 = "ID", rpc_ids: RpcIds };
    ADD_CACHE_POOL = 36 => AddCachePool { pool: CachePoolInfo, rpc_ids: RpcIds };
    MODIFY_CACHE_POOL = 37 => ModifyCachePool { pool: CachePoolInfo, rpc_ids: RpcIds };
    REMOVE_CACHE_POOL = 38 => RemoveCachePool { pool_name: String = "POOLNAME", rpc_ids: RpcIds };
    MODIFY_CACHE_DIRECTIVE = 39 => ModifyCacheDirective { directive: CacheDirectiveInfo, rpc_ids: RpcIds };
    SET_ACL = 40 =>
        /// The whole ACL after the change.
        SetAcl { src: String | entries: Vec<AclEntry> as AclMessage = "SRC" };
    ROLLING_UPGRADE_START = 41 => RollingUpgradeStart { time: i64 = "STARTTIME" };
    ROLLING_UPGRADE_FINALIZE = 42 => RollingUpgradeFinalize { time: i64 = "FINALIZETIME" };
    SET_XATTR = 43 => SetXAttr { src: String | xattrs: Vec<XAttr> as XAttrMessage = "SRC", rpc_ids: RpcIds };
    REMOVE_XATTR = 44 => RemoveXAttr { src: String | xattrs: Vec<XAttr> as XAttrMessage = "SRC", rpc_ids: RpcIds };
    SET_STORAGE_POLICY = 45 =>
        /// Policy 0 removes the policy.
        SetStoragePolicy { path: String = "PATH", policy_id: u8 = "POLICYID" };
    TRUNCATE = 46 => Truncate {
        src: String = "SRC", client_name: String = "CLIENTNAME", client_machine: String = "CLIENTMACHINE",
        new_length: i64 = "NEWLENGTH", time: i64 = "TIMESTAMP", truncate_block: Option<Block> as CompactBlock,
    };
    APPEND = 47 => Append {
        path: String = "PATH", client_name: String = "CLIENT_NAME", client_machine: String = "CLIENT_MACHINE",
        new_block: bool = "NEWBLOCK", rpc_ids: RpcIds,
    };
    SET_QUOTA_BY_STORAGETYPE = 48 =>
        /// `storage_type` is the Java ordinal: RAM_DISK 0, SSD 1, DISK 2, ARCHIVE 3, PROVIDED 4, NVDIMM 5.
        SetQuotaByStorageType { src: String = "SRC", storage_type: i32 = "STORAGETYPE", ds_quota: i64 = "DSQUOTA" };
    ADD_ERASURE_CODING_POLICY = 49 => AddErasureCodingPolicy {
        codec: String = "CODEC", data_units: i32 = "DATAUNITS", parity_units: i32 = "PARITYUNITS",
        cell_size: i32 = "CELLSIZE", extra_options: Vec<(String, String)> = "EXTRAOPTIONS", rpc_ids: RpcIds,
    };
    ENABLE_ERASURE_CODING_POLICY = 50 => EnableErasureCodingPolicy {
        policy_name: String = "POLICYNAME", rpc_ids: RpcIds,
    };
    DISABLE_ERASURE_CODING_POLICY = 51 => DisableErasureCodingPolicy {
        policy_name: String = "POLICYNAME", rpc_ids: RpcIds,
    };
    REMOVE_ERASURE_CODING_POLICY = 52 => RemoveErasureCodingPolicy {
        policy_name: String = "POLICYNAME", rpc_ids: RpcIds,
    };
    INVALID = 255;
}

//! Bytes into ops.

use prost::Message as _;

use super::encode::{ERASURE_CODING, SNAPSHOT_MODIFICATION_TIME};
use super::frame::Frame;
use super::op::{
    AclEntry, AclEntryScope, AclEntryType, AddOp, CacheDirectiveInfo, CachePoolInfo, CloseOp, DelegationKey,
    DelegationTokenIdentifier, EditOp, OpCode, PermissionStatus, RenameOption, RpcIds, XAttr, XAttrNamespace,
};
use super::wire::{DecodeError, Input};
use crate::ids::{Block, BlockId, GenerationStamp, InodeId, LayoutVersion};
use crate::proto::hdfs as pb;

/// The oldest layout whose op bodies are decoded: the minimum of `NameNodeLayoutVersion` for a rolling downgrade.
pub const OLDEST_LAYOUT: LayoutVersion = LayoutVersion(-61);

/// Decodes the op of a frame. Offsets in errors count from the start of the body.
pub fn decode_frame(frame: &Frame<'_>, layout: LayoutVersion) -> Result<EditOp, DecodeError> {
    decode_body(frame.code, frame.body, layout)
}

/// Decodes an op's body as written by a NameNode of layout -61 to -67. Bytes left over are an error.
pub fn decode_body(code: OpCode, body: &[u8], layout: LayoutVersion) -> Result<EditOp, DecodeError> {
    let mut input = Input::new(body);
    if layout < LayoutVersion::NAMENODE_CURRENT || layout > OLDEST_LAYOUT {
        return Err(input.error(format!("layout {layout} is not between {OLDEST_LAYOUT} and -67")));
    }
    let op = read_op(code, &mut input, layout).map_err(|error| DecodeError {
        problem: format!("{}: {}", code.name().unwrap_or("unknown op"), error.problem),
        ..error
    })?;
    match input.remaining() {
        0 => Ok(op),
        left => Err(input.error(format!("{left} bytes left over after {:?}", op.code()))),
    }
}

fn read_op(code: OpCode, input: &mut Input<'_>, layout: LayoutVersion) -> Result<EditOp, DecodeError> {
    Ok(match code {
        OpCode::ADD => EditOp::Add(read_add(input, layout)?),
        OpCode::RENAME_OLD => EditOp::RenameOld {
            src: input.str()?,
            dst: input.str()?,
            time: input.i64()?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::DELETE => EditOp::Delete {
            path: input.str()?,
            time: input.i64()?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::MKDIR => read_mkdir(input)?,
        OpCode::SET_REPLICATION => EditOp::SetReplication {
            path: input.str()?,
            replication: input.i16()?,
        },
        OpCode::SET_PERMISSIONS => EditOp::SetPermissions {
            src: input.str()?,
            mode: input.u16()?,
        },
        OpCode::SET_OWNER => EditOp::SetOwner {
            src: input.str()?,
            user: non_empty(input.str()?),
            group: non_empty(input.str()?),
        },
        OpCode::CLOSE => EditOp::Close(read_close(input)?),
        OpCode::SET_GENSTAMP_V1 => EditOp::SetGenstampV1 {
            genstamp: GenerationStamp(input.unsigned("generation stamp")?),
        },
        OpCode::SET_NS_QUOTA => EditOp::SetNsQuota {
            src: input.str()?,
            ns_quota: input.i64()?,
        },
        OpCode::CLEAR_NS_QUOTA => EditOp::ClearNsQuota { src: input.str()? },
        OpCode::TIMES => EditOp::Times {
            path: input.str()?,
            mtime: input.i64()?,
            atime: input.i64()?,
        },
        OpCode::SET_QUOTA => EditOp::SetQuota {
            src: input.str()?,
            ns_quota: input.i64()?,
            ds_quota: input.i64()?,
        },
        OpCode::RENAME => EditOp::Rename {
            src: input.str()?,
            dst: input.str()?,
            time: input.i64()?,
            options: read_rename_options(input)?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::CONCAT_DELETE => EditOp::ConcatDelete {
            target: input.str()?,
            sources: read_strs(input)?,
            time: input.i64()?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::SYMLINK => EditOp::Symlink {
            inode_id: read_inode_id(input)?,
            path: input.str()?,
            target: input.str()?,
            mtime: input.i64()?,
            atime: input.i64()?,
            permissions: read_permissions(input)?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::GET_DELEGATION_TOKEN => EditOp::GetDelegationToken {
            token: read_token(input)?,
            expiry_time: input.i64()?,
        },
        OpCode::RENEW_DELEGATION_TOKEN => EditOp::RenewDelegationToken {
            token: read_token(input)?,
            expiry_time: input.i64()?,
        },
        OpCode::CANCEL_DELEGATION_TOKEN => EditOp::CancelDelegationToken {
            token: read_token(input)?,
        },
        OpCode::UPDATE_MASTER_KEY => EditOp::UpdateMasterKey { key: read_key(input)? },
        OpCode::REASSIGN_LEASE => EditOp::ReassignLease {
            lease_holder: input.str()?,
            path: input.str()?,
            new_holder: input.str()?,
        },
        OpCode::END_LOG_SEGMENT => EditOp::EndLogSegment,
        OpCode::START_LOG_SEGMENT => EditOp::StartLogSegment,
        OpCode::UPDATE_BLOCKS => EditOp::UpdateBlocks {
            path: input.str()?,
            blocks: read_compact_blocks(input)?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::CREATE_SNAPSHOT => EditOp::CreateSnapshot {
            snapshot_root: input.str()?,
            snapshot_name: input.str()?,
            mtime: read_snapshot_time(input, layout)?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::DELETE_SNAPSHOT => EditOp::DeleteSnapshot {
            snapshot_root: input.str()?,
            snapshot_name: input.str()?,
            mtime: read_snapshot_time(input, layout)?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::RENAME_SNAPSHOT => EditOp::RenameSnapshot {
            snapshot_root: input.str()?,
            snapshot_old_name: input.str()?,
            snapshot_new_name: input.str()?,
            mtime: read_snapshot_time(input, layout)?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::ALLOW_SNAPSHOT => EditOp::AllowSnapshot {
            snapshot_root: input.str()?,
        },
        OpCode::DISALLOW_SNAPSHOT => EditOp::DisallowSnapshot {
            snapshot_root: input.str()?,
        },
        OpCode::SET_GENSTAMP_V2 => EditOp::SetGenstampV2 {
            genstamp: GenerationStamp(input.unsigned("generation stamp")?),
        },
        OpCode::ALLOCATE_BLOCK_ID => EditOp::AllocateBlockId {
            block_id: BlockId(input.i64()?),
        },
        OpCode::ADD_BLOCK => read_add_block(input)?,
        OpCode::ADD_CACHE_DIRECTIVE => EditOp::AddCacheDirective {
            directive: read_cache_directive(input)?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::REMOVE_CACHE_DIRECTIVE => EditOp::RemoveCacheDirective {
            id: input.i64()?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::ADD_CACHE_POOL => EditOp::AddCachePool {
            pool: read_cache_pool(input)?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::MODIFY_CACHE_POOL => EditOp::ModifyCachePool {
            pool: read_cache_pool(input)?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::REMOVE_CACHE_POOL => EditOp::RemoveCachePool {
            pool_name: input.str()?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::MODIFY_CACHE_DIRECTIVE => EditOp::ModifyCacheDirective {
            directive: read_cache_directive(input)?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::SET_ACL => read_set_acl(input)?,
        OpCode::ROLLING_UPGRADE_START => EditOp::RollingUpgradeStart { time: input.i64()? },
        OpCode::ROLLING_UPGRADE_FINALIZE => EditOp::RollingUpgradeFinalize { time: input.i64()? },
        OpCode::SET_XATTR => {
            let (src, xattrs) = read_xattrs(input)?;
            let rpc_ids = read_rpc_ids(input)?;
            EditOp::SetXAttr { src, xattrs, rpc_ids }
        }
        OpCode::REMOVE_XATTR => {
            let (src, xattrs) = read_xattrs(input)?;
            let rpc_ids = read_rpc_ids(input)?;
            EditOp::RemoveXAttr { src, xattrs, rpc_ids }
        }
        OpCode::SET_STORAGE_POLICY => EditOp::SetStoragePolicy {
            path: input.str()?,
            policy_id: input.u8()?,
        },
        OpCode::TRUNCATE => read_truncate(input)?,
        OpCode::APPEND => EditOp::Append {
            path: input.str()?,
            client_name: input.str()?,
            client_machine: input.str()?,
            new_block: input.bool()?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::SET_QUOTA_BY_STORAGETYPE => EditOp::SetQuotaByStorageType {
            src: input.str()?,
            storage_type: input.i32()?,
            ds_quota: input.i64()?,
        },
        OpCode::ADD_ERASURE_CODING_POLICY => EditOp::AddErasureCodingPolicy {
            codec: input.str()?,
            data_units: input.i32()?,
            parity_units: input.i32()?,
            cell_size: input.i32()?,
            extra_options: read_str_pairs(input)?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::ENABLE_ERASURE_CODING_POLICY => EditOp::EnableErasureCodingPolicy {
            policy_name: input.str()?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::DISABLE_ERASURE_CODING_POLICY => EditOp::DisableErasureCodingPolicy {
            policy_name: input.str()?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode::REMOVE_ERASURE_CODING_POLICY => EditOp::RemoveErasureCodingPolicy {
            policy_name: input.str()?,
            rpc_ids: read_rpc_ids(input)?,
        },
        OpCode(code) => return Err(input.error(format!("opcode {code} has no meaning"))),
    })
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn read_inode_id(input: &mut Input<'_>) -> Result<InodeId, DecodeError> {
    Ok(InodeId(input.unsigned("inode id")?))
}

fn read_add(input: &mut Input<'_>, layout: LayoutVersion) -> Result<AddOp, DecodeError> {
    Ok(AddOp {
        inode_id: read_inode_id(input)?,
        path: input.str()?,
        replication: input.i16()?,
        mtime: input.i64()?,
        atime: input.i64()?,
        block_size: input.i64()?,
        blocks: read_blocks(input)?,
        permissions: read_permissions(input)?,
        acl_entries: read_acl(input)?,
        xattrs: read_xattrs(input)?.1,
        client_name: input.str()?,
        client_machine: input.str()?,
        overwrite: input.bool()?,
        storage_policy_id: input.u8()?,
        erasure_coding_policy_id: if layout <= ERASURE_CODING { input.u8()? } else { 0 },
        rpc_ids: read_rpc_ids(input)?,
    })
}

fn read_close(input: &mut Input<'_>) -> Result<CloseOp, DecodeError> {
    Ok(CloseOp {
        inode_id: read_inode_id(input)?,
        path: input.str()?,
        replication: input.i16()?,
        mtime: input.i64()?,
        atime: input.i64()?,
        block_size: input.i64()?,
        blocks: read_blocks(input)?,
        permissions: read_permissions(input)?,
    })
}

fn read_mkdir(input: &mut Input<'_>) -> Result<EditOp, DecodeError> {
    let inode_id = read_inode_id(input)?;
    let path = input.str()?;
    let time = input.i64()?;
    // The writer repeats the time where a file has its access time. Readers ignore it.
    input.i64()?;
    Ok(EditOp::Mkdir {
        inode_id,
        path,
        time,
        permissions: read_permissions(input)?,
        acl_entries: read_acl(input)?,
        xattrs: read_xattrs(input)?.1,
    })
}

fn read_add_block(input: &mut Input<'_>) -> Result<EditOp, DecodeError> {
    let path = input.str()?;
    let blocks = read_compact_blocks(input)?;
    let rpc_ids = read_rpc_ids(input)?;
    let (penultimate, last) = match blocks.as_slice() {
        [last] => (None, *last),
        [penultimate, last] => (Some(*penultimate), *last),
        _ => return Err(input.error(format!("{} blocks instead of one or two", blocks.len()))),
    };
    Ok(EditOp::AddBlock {
        path,
        penultimate,
        last,
        rpc_ids,
    })
}

fn read_truncate(input: &mut Input<'_>) -> Result<EditOp, DecodeError> {
    let src = input.str()?;
    let client_name = input.str()?;
    let client_machine = input.str()?;
    let new_length = input.i64()?;
    let time = input.i64()?;
    let blocks = read_compact_blocks(input)?;
    let truncate_block = match blocks.as_slice() {
        [] => None,
        [block] => Some(*block),
        _ => return Err(input.error(format!("{} blocks instead of at most one", blocks.len()))),
    };
    Ok(EditOp::Truncate {
        src,
        client_name,
        client_machine,
        new_length,
        time,
        truncate_block,
    })
}

fn read_snapshot_time(input: &mut Input<'_>, layout: LayoutVersion) -> Result<i64, DecodeError> {
    if layout <= SNAPSHOT_MODIFICATION_TIME {
        input.i64()
    } else {
        Ok(0)
    }
}

fn read_rpc_ids(input: &mut Input<'_>) -> Result<RpcIds, DecodeError> {
    let client_id = match input.u16()? {
        0 => None,
        16 => {
            let mut id = [0; 16];
            id.copy_from_slice(input.take(16)?);
            Some(id)
        }
        len => return Err(input.error(format!("client id of {len} bytes"))),
    };
    Ok(RpcIds {
        client_id,
        call_id: input.i32()?,
    })
}

fn read_permissions(input: &mut Input<'_>) -> Result<PermissionStatus, DecodeError> {
    Ok(PermissionStatus {
        user: input.text()?,
        group: input.text()?,
        mode: input.u16()?,
    })
}

fn read_strs(input: &mut Input<'_>) -> Result<Vec<String>, DecodeError> {
    let count = i64::from(input.i32()?);
    let count = input.count(count, 2)?;
    (0..count).map(|_| input.str()).collect()
}

fn read_str_pairs(input: &mut Input<'_>) -> Result<Vec<(String, String)>, DecodeError> {
    let count = i64::from(input.i32()?);
    let count = input.count(count, 4)?;
    (0..count).map(|_| Ok((input.str()?, input.str()?))).collect()
}

fn read_rename_options(input: &mut Input<'_>) -> Result<Vec<RenameOption>, DecodeError> {
    let count = i64::from(input.i32()?);
    let count = input.count(count, 1)?;
    (0..count)
        .map(|_| {
            let code = input.u8()?;
            RenameOption::from_code(code).ok_or_else(|| input.error(format!("rename option {code}")))
        })
        .collect()
}

fn read_blocks(input: &mut Input<'_>) -> Result<Vec<Block>, DecodeError> {
    let count = i64::from(input.i32()?);
    let count = input.count(count, 24)?;
    (0..count)
        .map(|_| {
            Ok(Block {
                id: BlockId(input.i64()?),
                num_bytes: input.unsigned("block size")?,
                generation_stamp: GenerationStamp(input.unsigned("generation stamp")?),
            })
        })
        .collect()
}

fn read_compact_blocks(input: &mut Input<'_>) -> Result<Vec<Block>, DecodeError> {
    let count = i64::from(input.vint()?);
    let count = input.count(count, 10)?;
    let (mut num_bytes, mut stamp) = (0_i64, 0_i64);
    let mut blocks = Vec::with_capacity(count);
    for _ in 0..count {
        let id = BlockId(input.i64()?);
        num_bytes = num_bytes.wrapping_add(input.vlong()?);
        stamp = stamp.wrapping_add(input.vlong()?);
        let (Ok(num_bytes), Ok(stamp)) = (u64::try_from(num_bytes), u64::try_from(stamp)) else {
            return Err(input.error(format!("block {id} of negative size or generation stamp")));
        };
        blocks.push(Block {
            id,
            num_bytes,
            generation_stamp: GenerationStamp(stamp),
        });
    }
    Ok(blocks)
}

fn read_acl(input: &mut Input<'_>) -> Result<Vec<AclEntry>, DecodeError> {
    let count = i64::from(input.i32()?);
    let count = input.count(count, 1)?;
    (0..count)
        .map(|_| {
            let bits = input.u8()?;
            Ok(AclEntry {
                scope: scope(i32::from(bits >> 5 & 1)),
                entry_type: AclEntryType::from_bits(u32::from(bits >> 3)),
                name: if bits & 1 << 6 != 0 { Some(input.str()?) } else { None },
                permission: bits & 7,
            })
        })
        .collect()
}

fn scope(number: i32) -> AclEntryScope {
    if number == 0 {
        AclEntryScope::Access
    } else {
        AclEntryScope::Default
    }
}

/// A delimited `XAttrEditLogProto`: its path (empty if absent) and attributes.
fn read_xattrs(input: &mut Input<'_>) -> Result<(String, Vec<XAttr>), DecodeError> {
    let bytes = input.delimited()?;
    if bytes.is_empty() {
        return Ok((String::new(), Vec::new()));
    }
    let message = pb::XAttrEditLogProto::decode(bytes).map_err(|error| input.error(error.to_string()))?;
    let mut xattrs = Vec::with_capacity(message.x_attrs.len());
    for xattr in message.x_attrs {
        let Some(namespace) = XAttrNamespace::from_number(xattr.namespace) else {
            return Err(input.error(format!("extended attribute namespace {}", xattr.namespace)));
        };
        xattrs.push(XAttr {
            namespace,
            name: xattr.name,
            value: xattr.value.map(|value| value.to_vec()),
        });
    }
    Ok((message.src.unwrap_or_default(), xattrs))
}

fn read_set_acl(input: &mut Input<'_>) -> Result<EditOp, DecodeError> {
    let bytes = input.delimited()?;
    let message = pb::AclEditLogProto::decode(bytes).map_err(|error| input.error(error.to_string()))?;
    let mut entries = Vec::with_capacity(message.entries.len());
    for entry in message.entries {
        let (Ok(entry_type @ 0..=3), Ok(permission @ 0..=7), 0..=1) =
            (u8::try_from(entry.r#type), u8::try_from(entry.permissions), entry.scope)
        else {
            return Err(input.error("ACL entry with unknown numbers"));
        };
        entries.push(AclEntry {
            scope: scope(entry.scope),
            entry_type: AclEntryType::from_bits(u32::from(entry_type)),
            name: entry.name,
            permission,
        });
    }
    Ok(EditOp::SetAcl {
        src: message.src,
        entries,
    })
}

fn read_cache_directive(input: &mut Input<'_>) -> Result<CacheDirectiveInfo, DecodeError> {
    let id = input.i64()?;
    let flags = input.i32()?;
    if flags & !0xF != 0 {
        return Err(input.error(format!("cache directive with unknown flags {flags:#x}")));
    }
    Ok(CacheDirectiveInfo {
        id,
        path: if flags & 1 != 0 { Some(input.str()?) } else { None },
        replication: if flags & 2 != 0 { Some(input.i16()?) } else { None },
        pool: if flags & 4 != 0 { Some(input.str()?) } else { None },
        expiration: if flags & 8 != 0 { Some(input.i64()?) } else { None },
    })
}

fn read_cache_pool(input: &mut Input<'_>) -> Result<CachePoolInfo, DecodeError> {
    let pool_name = input.str()?;
    let flags = input.i32()?;
    if flags & !0x3F != 0 {
        return Err(input.error(format!("cache pool with unknown flags {flags:#x}")));
    }
    Ok(CachePoolInfo {
        pool_name,
        owner_name: if flags & 1 != 0 { Some(input.str()?) } else { None },
        group_name: if flags & 2 != 0 { Some(input.str()?) } else { None },
        mode: if flags & 4 != 0 { Some(input.u16()?) } else { None },
        limit: if flags & 8 != 0 { Some(input.i64()?) } else { None },
        max_relative_expiry: if flags & 16 != 0 { Some(input.i64()?) } else { None },
        default_replication: if flags & 32 != 0 { Some(input.i16()?) } else { None },
    })
}

fn read_token(input: &mut Input<'_>) -> Result<DelegationTokenIdentifier, DecodeError> {
    let version = input.u8()?;
    if version != 0 {
        return Err(input.error(format!("delegation token of version {version}")));
    }
    Ok(DelegationTokenIdentifier {
        owner: input.text()?,
        renewer: input.text()?,
        real_user: input.text()?,
        issue_date: input.vlong()?,
        max_date: input.vlong()?,
        sequence_number: input.vint()?,
        master_key_id: input.vint()?,
    })
}

fn read_key(input: &mut Input<'_>) -> Result<DelegationKey, DecodeError> {
    let key_id = input.vint()?;
    let expiry_date = input.vlong()?;
    let len = input.vint()?;
    let key = if len == -1 {
        None
    } else {
        let len = input.count(i64::from(len), 1)?;
        Some(input.take(len)?.to_vec())
    };
    Ok(DelegationKey {
        key_id,
        expiry_date,
        key,
    })
}

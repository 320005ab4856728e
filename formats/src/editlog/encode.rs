//! Ops into bytes.

use prost::Message as _;

use super::decode::decode_frame;
use super::frame::Frames;
use super::op::{
    AclEntry, AddOp, CacheDirectiveInfo, CachePoolInfo, CloseOp, DelegationKey, DelegationTokenIdentifier, EditOp,
    PermissionStatus, RpcIds, XAttr,
};
use super::wire::{
    EncodeError, MAX_TEXT_BYTES, check_str, check_unsigned, put_bool, put_i16, put_i32, put_i64, put_len, put_str,
    put_text, put_u16, put_unsigned, put_varint, put_vlong, varint_len,
};
use crate::ids::{Block, InodeId, LayoutVersion, TxId};
use crate::proto::hdfs as pb;

/// Result of the encoder of a part of an op.
type Encoded = Result<(), EncodeError>;

/// Length of the checksum at a frame's end.
const CRC_LEN: usize = 4;

/// `NameNodeLayoutVersion.Feature.ERASURE_CODING`.
pub(super) const ERASURE_CODING: LayoutVersion = LayoutVersion(-64);
/// `NameNodeLayoutVersion.Feature.SNAPSHOT_MODIFICATION_TIME`.
pub(super) const SNAPSHOT_MODIFICATION_TIME: LayoutVersion = LayoutVersion(-66);

/// The largest op that is written, in bytes of its frame. Every reader and JournalNode refuses ops above
/// [`MAX_OP_SIZE_BYTES`](super::MAX_OP_SIZE_BYTES). This limit is lower, because an operator may have set Java's
/// `dfs.namenode.max.op.size` somewhat below its default of 50 MiB.
pub const MAX_WRITTEN_OP_BYTES: usize = 40 * 1024 * 1024;

/// The most blocks that a file may have so that all ops about it can be written. `OP_CLOSE` has 24 bytes for each
/// block, a user, a group, and a path and some numbers within 128 KiB.
pub const MAX_WRITTEN_BLOCKS: usize = (MAX_WRITTEN_OP_BYTES - 2 * MAX_TEXT_BYTES - 128 * 1024) / 24;

/// Appends one framed op in the current layout, so that decoding it gives exactly this op.
///
/// An op that the format can't hold exactly is refused, and `out` is as before. (Java's writer cuts long strings off:
/// the op that is read is then about a different path.)
///
/// For every op that a running workload writes, nothing is allocated but what `out` needs to grow (the rare
/// `OP_SET_ACL` builds a message).
pub fn encode(out: &mut Vec<u8>, txid: TxId, op: &EditOp) -> Result<(), EncodeError> {
    encode_for_layout(out, txid, op, LayoutVersion::NAMENODE_CURRENT)
}

/// As [`encode`], in the layout of a log. During a rolling upgrade that is an older layout than ours.
pub fn encode_for_layout(out: &mut Vec<u8>, txid: TxId, op: &EditOp, layout: LayoutVersion) -> Result<(), EncodeError> {
    let start = out.len();
    let encoded = put_frame(out, txid, op, layout).and_then(|()| check_read_back(out, start, op, layout));
    if encoded.is_err() {
        out.truncate(start);
    }
    encoded
}

/// Texts longer than this come from no well-meaning client. They are so rare that their ops are read back before they
/// are logged.
const TEXT_READ_BACK_BYTES: usize = 4096;
/// Length of a block in an op, in bytes. Long lists of blocks are usual.
const BLOCK_BYTES: usize = 24;

/// Reads back an op with long texts, and in debug builds every op: an op that can't be read stops every NameNode for
/// good. The encoder should guarantee this anyway.
fn check_read_back(out: &[u8], start: usize, op: &EditOp, layout: LayoutVersion) -> Encoded {
    let bytes = out.get(start..).unwrap_or_default();
    let blocks = match op {
        EditOp::Add(add) => add.blocks.len(),
        EditOp::Close(close) => close.blocks.len(),
        EditOp::UpdateBlocks { blocks, .. } => blocks.len(),
        _ => 0,
    };
    let has_long_texts = bytes.len().saturating_sub(blocks.saturating_mul(BLOCK_BYTES)) > TEXT_READ_BACK_BYTES;
    // In an older layout some ops have fewer fields.
    if layout != LayoutVersion::NAMENODE_CURRENT || !(has_long_texts || cfg!(debug_assertions)) {
        return Ok(());
    }
    let read = Frames::new(bytes, 0)
        .next_frame()
        .ok()
        .flatten()
        .and_then(|frame| decode_frame(&frame, layout).ok());
    if read.as_ref() == Some(op) {
        return Ok(());
    }
    Err(EncodeError::Inexact("this op so that it is read back as the same"))
}

fn put_frame(out: &mut Vec<u8>, txid: TxId, op: &EditOp, layout: LayoutVersion) -> Encoded {
    let start = out.len();
    out.push(op.code().0);
    put_i32(out, 0);
    put_unsigned(out, "transaction id", txid.0)?;
    put_body(out, op, layout)?;
    let frame = out.get_mut(start..).unwrap_or_default();
    let len_bytes = frame.len();
    if len_bytes.saturating_add(CRC_LEN) > MAX_WRITTEN_OP_BYTES {
        return Err(EncodeError::OpTooLong { len_bytes });
    }
    // The opcode does not count.
    let len = i32::try_from(len_bytes.saturating_sub(1)).unwrap_or(i32::MAX);
    if let Some(place) = frame.get_mut(1..5) {
        place.copy_from_slice(&len.to_be_bytes());
    }
    let crc = crc32fast::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_be_bytes());
    Ok(())
}

fn put_body(out: &mut Vec<u8>, op: &EditOp, layout: LayoutVersion) -> Encoded {
    match op {
        EditOp::Add(add) => put_add(out, add, layout)?,
        EditOp::Close(close) => put_close(out, close)?,
        EditOp::RenameOld {
            src,
            dst,
            time,
            rpc_ids,
        } => {
            put_str(out, src)?;
            put_str(out, dst)?;
            put_i64(out, *time);
            put_rpc_ids(out, rpc_ids);
        }
        EditOp::Delete { path, time, rpc_ids } => {
            put_str(out, path)?;
            put_i64(out, *time);
            put_rpc_ids(out, rpc_ids);
        }
        EditOp::Mkdir {
            inode_id,
            path,
            time,
            permissions,
            acl_entries,
            xattrs,
        } => {
            put_unsigned(out, "inode id", inode_id.0)?;
            put_str(out, path)?;
            put_i64(out, *time);
            // The second time is where a file has its access time.
            put_i64(out, *time);
            put_permissions(out, permissions)?;
            put_acl(out, acl_entries)?;
            put_xattrs(out, None, xattrs)?;
        }
        EditOp::SetReplication { path, replication } => {
            put_str(out, path)?;
            put_i16(out, *replication);
        }
        EditOp::SetPermissions { src, mode } => {
            put_str(out, src)?;
            put_u16(out, *mode);
        }
        EditOp::SetOwner { src, user, group } => {
            put_str(out, src)?;
            put_name_or_nothing(out, user.as_deref())?;
            put_name_or_nothing(out, group.as_deref())?;
        }
        EditOp::SetGenstampV1 { genstamp } | EditOp::SetGenstampV2 { genstamp } => {
            put_unsigned(out, "generation stamp", genstamp.0)?
        }
        EditOp::SetNsQuota { src, ns_quota } => {
            put_str(out, src)?;
            put_i64(out, *ns_quota);
        }
        EditOp::ClearNsQuota { src } => put_str(out, src)?,
        EditOp::Times { path, mtime, atime } => {
            put_str(out, path)?;
            put_i64(out, *mtime);
            put_i64(out, *atime);
        }
        EditOp::SetQuota {
            src,
            ns_quota,
            ds_quota,
        } => {
            put_str(out, src)?;
            put_i64(out, *ns_quota);
            put_i64(out, *ds_quota);
        }
        EditOp::Rename {
            src,
            dst,
            time,
            options,
            rpc_ids,
        } => {
            put_str(out, src)?;
            put_str(out, dst)?;
            put_i64(out, *time);
            put_len(out, options.len())?;
            out.extend(options.iter().map(|option| *option as u8));
            put_rpc_ids(out, rpc_ids);
        }
        EditOp::ConcatDelete {
            target,
            sources,
            time,
            rpc_ids,
        } => {
            put_str(out, target)?;
            put_len(out, sources.len())?;
            for source in sources {
                put_str(out, source)?;
            }
            put_i64(out, *time);
            put_rpc_ids(out, rpc_ids);
        }
        EditOp::Symlink {
            inode_id,
            path,
            target,
            mtime,
            atime,
            permissions,
            rpc_ids,
        } => {
            put_unsigned(out, "inode id", inode_id.0)?;
            put_str(out, path)?;
            put_str(out, target)?;
            put_i64(out, *mtime);
            put_i64(out, *atime);
            put_permissions(out, permissions)?;
            put_rpc_ids(out, rpc_ids);
        }
        EditOp::GetDelegationToken { token, expiry_time } | EditOp::RenewDelegationToken { token, expiry_time } => {
            put_token(out, token)?;
            put_i64(out, *expiry_time);
        }
        EditOp::CancelDelegationToken { token } => put_token(out, token)?,
        EditOp::UpdateMasterKey { key } => put_key(out, key)?,
        EditOp::ReassignLease {
            lease_holder,
            path,
            new_holder,
        } => {
            put_str(out, lease_holder)?;
            put_str(out, path)?;
            put_str(out, new_holder)?;
        }
        EditOp::EndLogSegment | EditOp::StartLogSegment => {}
        EditOp::UpdateBlocks { path, blocks, rpc_ids } => {
            put_str(out, path)?;
            put_compact_blocks(out, blocks)?;
            put_rpc_ids(out, rpc_ids);
        }
        EditOp::CreateSnapshot {
            snapshot_root,
            snapshot_name,
            mtime,
            rpc_ids,
        }
        | EditOp::DeleteSnapshot {
            snapshot_root,
            snapshot_name,
            mtime,
            rpc_ids,
        } => {
            put_str(out, snapshot_root)?;
            put_str(out, snapshot_name)?;
            put_snapshot_time(out, *mtime, layout)?;
            put_rpc_ids(out, rpc_ids);
        }
        EditOp::RenameSnapshot {
            snapshot_root,
            snapshot_old_name,
            snapshot_new_name,
            mtime,
            rpc_ids,
        } => {
            put_str(out, snapshot_root)?;
            put_str(out, snapshot_old_name)?;
            put_str(out, snapshot_new_name)?;
            put_snapshot_time(out, *mtime, layout)?;
            put_rpc_ids(out, rpc_ids);
        }
        EditOp::AllowSnapshot { snapshot_root } | EditOp::DisallowSnapshot { snapshot_root } => {
            put_str(out, snapshot_root)?;
        }
        EditOp::AllocateBlockId { block_id } => put_i64(out, block_id.0),
        EditOp::AddBlock {
            path,
            penultimate,
            last,
            rpc_ids,
        } => {
            put_str(out, path)?;
            match penultimate {
                Some(penultimate) => put_compact_blocks(out, &[*penultimate, *last])?,
                None => put_compact_blocks(out, &[*last])?,
            }
            put_rpc_ids(out, rpc_ids);
        }
        EditOp::AddCacheDirective { directive, rpc_ids } | EditOp::ModifyCacheDirective { directive, rpc_ids } => {
            put_cache_directive(out, directive)?;
            put_rpc_ids(out, rpc_ids);
        }
        EditOp::RemoveCacheDirective { id, rpc_ids } => {
            put_i64(out, *id);
            put_rpc_ids(out, rpc_ids);
        }
        EditOp::AddCachePool { pool, rpc_ids } | EditOp::ModifyCachePool { pool, rpc_ids } => {
            put_cache_pool(out, pool)?;
            put_rpc_ids(out, rpc_ids);
        }
        EditOp::RemoveCachePool {
            pool_name: name,
            rpc_ids,
        }
        | EditOp::EnableErasureCodingPolicy {
            policy_name: name,
            rpc_ids,
        }
        | EditOp::DisableErasureCodingPolicy {
            policy_name: name,
            rpc_ids,
        }
        | EditOp::RemoveErasureCodingPolicy {
            policy_name: name,
            rpc_ids,
        } => {
            put_str(out, name)?;
            put_rpc_ids(out, rpc_ids);
        }
        EditOp::SetAcl { src, entries } => put_set_acl(out, src, entries)?,
        EditOp::RollingUpgradeStart { time } | EditOp::RollingUpgradeFinalize { time } => put_i64(out, *time),
        EditOp::SetXAttr { src, xattrs, rpc_ids } | EditOp::RemoveXAttr { src, xattrs, rpc_ids } => {
            put_xattrs(out, Some(src), xattrs)?;
            put_rpc_ids(out, rpc_ids);
        }
        EditOp::SetStoragePolicy { path, policy_id } => {
            put_str(out, path)?;
            out.push(*policy_id);
        }
        EditOp::Truncate {
            src,
            client_name,
            client_machine,
            new_length,
            time,
            truncate_block,
        } => {
            put_str(out, src)?;
            put_str(out, client_name)?;
            put_str(out, client_machine)?;
            put_i64(out, *new_length);
            put_i64(out, *time);
            put_compact_blocks(out, truncate_block.as_slice())?;
        }
        EditOp::Append {
            path,
            client_name,
            client_machine,
            new_block,
            rpc_ids,
        } => {
            put_str(out, path)?;
            put_str(out, client_name)?;
            put_str(out, client_machine)?;
            put_bool(out, *new_block);
            put_rpc_ids(out, rpc_ids);
        }
        EditOp::SetQuotaByStorageType {
            src,
            storage_type,
            ds_quota,
        } => {
            put_str(out, src)?;
            put_i32(out, *storage_type);
            put_i64(out, *ds_quota);
        }
        EditOp::AddErasureCodingPolicy {
            codec,
            data_units,
            parity_units,
            cell_size,
            extra_options,
            rpc_ids,
        } => {
            put_str(out, codec)?;
            put_i32(out, *data_units);
            put_i32(out, *parity_units);
            put_i32(out, *cell_size);
            put_len(out, extra_options.len())?;
            for (key, value) in extra_options {
                put_str(out, key)?;
                put_str(out, value)?;
            }
            put_rpc_ids(out, rpc_ids);
        }
    }
    Ok(())
}

fn put_add(out: &mut Vec<u8>, add: &AddOp, layout: LayoutVersion) -> Encoded {
    put_file(
        out,
        add.inode_id,
        &add.path,
        add.replication,
        [add.mtime, add.atime, add.block_size],
        &add.blocks,
        &add.permissions,
    )?;
    put_acl(out, &add.acl_entries)?;
    put_xattrs(out, None, &add.xattrs)?;
    put_str(out, &add.client_name)?;
    put_str(out, &add.client_machine)?;
    put_bool(out, add.overwrite);
    out.push(add.storage_policy_id);
    if layout <= ERASURE_CODING {
        out.push(add.erasure_coding_policy_id);
    } else if add.erasure_coding_policy_id != 0 {
        return Err(EncodeError::Inexact(
            "an erasure coding policy in a layout without them",
        ));
    }
    put_rpc_ids(out, &add.rpc_ids);
    Ok(())
}

fn put_close(out: &mut Vec<u8>, close: &CloseOp) -> Encoded {
    put_file(
        out,
        close.inode_id,
        &close.path,
        close.replication,
        [close.mtime, close.atime, close.block_size],
        &close.blocks,
        &close.permissions,
    )?;
    Ok(())
}

/// The part that `OP_ADD` and `OP_CLOSE` share; `longs` are mtime, atime and block size.
fn put_file(
    out: &mut Vec<u8>,
    inode_id: InodeId,
    path: &str,
    replication: i16,
    longs: [i64; 3],
    blocks: &[Block],
    permissions: &PermissionStatus,
) -> Encoded {
    put_unsigned(out, "inode id", inode_id.0)?;
    put_str(out, path)?;
    put_i16(out, replication);
    for long in longs {
        put_i64(out, long);
    }
    put_len(out, blocks.len())?;
    for block in blocks {
        put_i64(out, block.id.0);
        put_unsigned(out, "block size", block.num_bytes)?;
        put_unsigned(out, "generation stamp", block.generation_stamp.0)?;
    }
    put_permissions(out, permissions)?;
    Ok(())
}

fn put_snapshot_time(out: &mut Vec<u8>, mtime: i64, layout: LayoutVersion) -> Encoded {
    if layout <= SNAPSHOT_MODIFICATION_TIME {
        put_i64(out, mtime);
    } else if mtime != 0 {
        return Err(EncodeError::Inexact("the time of a snapshot in a layout without it"));
    }
    Ok(())
}

/// A name, or the empty string for none.
fn put_name_or_nothing(out: &mut Vec<u8>, name: Option<&str>) -> Encoded {
    if name == Some("") {
        return Err(EncodeError::Inexact("an empty name, which is read as none"));
    }
    put_str(out, name.unwrap_or_default())
}

fn put_rpc_ids(out: &mut Vec<u8>, ids: &RpcIds) {
    match &ids.client_id {
        Some(id) => {
            put_u16(out, 16);
            out.extend_from_slice(id);
        }
        None => put_u16(out, 0),
    }
    put_i32(out, ids.call_id);
}

fn put_permissions(out: &mut Vec<u8>, permissions: &PermissionStatus) -> Encoded {
    put_text(out, &permissions.user)?;
    put_text(out, &permissions.group)?;
    put_u16(out, permissions.mode);
    Ok(())
}

fn put_acl(out: &mut Vec<u8>, entries: &[AclEntry]) -> Encoded {
    put_len(out, entries.len())?;
    for entry in entries {
        let bits = permission_bits(entry)? | ((entry.entry_type as u8) << 3) | ((entry.scope as u8) << 5);
        match &entry.name {
            Some(name) => {
                out.push(bits | 1 << 6);
                put_str(out, name)?;
            }
            None => out.push(bits),
        }
    }
    Ok(())
}

fn permission_bits(entry: &AclEntry) -> Result<u8, EncodeError> {
    match entry.permission {
        bits @ 0..=7 => Ok(bits),
        _ => Err(EncodeError::Inexact("more than three permission bits of an ACL entry")),
    }
}

/// Length of a tag, a length and `len` bytes.
fn field_len(len: usize) -> usize {
    len.saturating_add(varint_len(len as u64)).saturating_add(1)
}

fn xattr_len(xattr: &XAttr) -> usize {
    let value = xattr.value.as_ref().map_or(0, |value| field_len(value.len()));
    field_len(xattr.name.len()).saturating_add(value).saturating_add(2)
}

/// A delimited `XAttrEditLogProto`, written by hand because every `OP_ADD` and `OP_MKDIR` holds one.
fn put_xattrs(out: &mut Vec<u8>, src: Option<&str>, xattrs: &[XAttr]) -> Encoded {
    let src_len = src.map_or(0, |src| field_len(src.len()));
    let fields = xattrs.iter().map(|xattr| field_len(xattr_len(xattr)));
    let len = fields.fold(src_len, usize::saturating_add);
    put_varint(out, len as u64);
    let put_bytes = |out: &mut Vec<u8>, tag: u8, bytes: &[u8]| {
        out.push(tag);
        put_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    };
    if let Some(src) = src {
        put_bytes(out, 0x0A, src.as_bytes());
    }
    for xattr in xattrs {
        out.push(0x12);
        put_varint(out, xattr_len(xattr) as u64);
        out.extend_from_slice(&[0x08, xattr.namespace as u8]);
        put_bytes(out, 0x12, xattr.name.as_bytes());
        if let Some(value) = &xattr.value {
            put_bytes(out, 0x1A, value);
        }
    }
    Ok(())
}

fn put_set_acl(out: &mut Vec<u8>, src: &str, entries: &[AclEntry]) -> Encoded {
    let message = pb::AclEditLogProto {
        src: src.to_owned(),
        entries: entries
            .iter()
            .map(|entry| {
                // This message could hold the name, but the `OP_ADD` of a file that inherits the entry could not.
                check_str(entry.name.as_deref().unwrap_or_default())?;
                Ok(pb::AclEntryProto {
                    r#type: entry.entry_type as i32,
                    scope: entry.scope as i32,
                    permissions: i32::from(permission_bits(entry)?),
                    name: entry.name.clone(),
                })
            })
            .collect::<Result<_, EncodeError>>()?,
    };
    out.extend_from_slice(&message.encode_length_delimited_to_vec());
    Ok(())
}

fn put_compact_blocks(out: &mut Vec<u8>, blocks: &[Block]) -> Encoded {
    put_vlong(out, blocks.len() as i64);
    let mut previous = Block::default();
    for block in blocks {
        check_unsigned("block size", block.num_bytes)?;
        check_unsigned("generation stamp", block.generation_stamp.0)?;
        put_i64(out, block.id.0);
        put_vlong(out, block.num_bytes.wrapping_sub(previous.num_bytes) as i64);
        let stamps = (block.generation_stamp.0, previous.generation_stamp.0);
        put_vlong(out, stamps.0.wrapping_sub(stamps.1) as i64);
        previous = *block;
    }
    Ok(())
}

fn put_cache_directive(out: &mut Vec<u8>, directive: &CacheDirectiveInfo) -> Encoded {
    put_i64(out, directive.id);
    let flags = i32::from(directive.path.is_some())
        | i32::from(directive.replication.is_some()) << 1
        | i32::from(directive.pool.is_some()) << 2
        | i32::from(directive.expiration.is_some()) << 3;
    put_i32(out, flags);
    if let Some(path) = &directive.path {
        put_str(out, path)?;
    }
    if let Some(replication) = directive.replication {
        put_i16(out, replication);
    }
    if let Some(pool) = &directive.pool {
        put_str(out, pool)?;
    }
    if let Some(expiration) = directive.expiration {
        put_i64(out, expiration);
    }
    Ok(())
}

fn put_cache_pool(out: &mut Vec<u8>, pool: &CachePoolInfo) -> Encoded {
    put_str(out, &pool.pool_name)?;
    let flags = i32::from(pool.owner_name.is_some())
        | i32::from(pool.group_name.is_some()) << 1
        | i32::from(pool.mode.is_some()) << 2
        | i32::from(pool.limit.is_some()) << 3
        | i32::from(pool.max_relative_expiry.is_some()) << 4
        | i32::from(pool.default_replication.is_some()) << 5;
    put_i32(out, flags);
    if let Some(owner) = &pool.owner_name {
        put_str(out, owner)?;
    }
    if let Some(group) = &pool.group_name {
        put_str(out, group)?;
    }
    if let Some(mode) = pool.mode {
        put_u16(out, mode);
    }
    if let Some(limit) = pool.limit {
        put_i64(out, limit);
    }
    if let Some(expiry) = pool.max_relative_expiry {
        put_i64(out, expiry);
    }
    if let Some(replication) = pool.default_replication {
        put_i16(out, replication);
    }
    Ok(())
}

fn put_token(out: &mut Vec<u8>, token: &DelegationTokenIdentifier) -> Encoded {
    // AbstractDelegationTokenIdentifier.VERSION
    out.push(0);
    put_text(out, &token.owner)?;
    put_text(out, &token.renewer)?;
    put_text(out, &token.real_user)?;
    put_vlong(out, token.issue_date);
    put_vlong(out, token.max_date);
    put_vlong(out, i64::from(token.sequence_number));
    put_vlong(out, i64::from(token.master_key_id));
    Ok(())
}

fn put_key(out: &mut Vec<u8>, key: &DelegationKey) -> Encoded {
    put_vlong(out, i64::from(key.key_id));
    put_vlong(out, key.expiry_date);
    match &key.key {
        Some(bytes) => {
            put_vlong(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => put_vlong(out, -1),
    }
    Ok(())
}

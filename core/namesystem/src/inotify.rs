//! What the followers of a namespace are told of its edits (`getEditsFromTxid`; Hadoop's `InotifyFSEditLogOpTranslator`
//! and `NameNodeRpcServer.getEventBatchList`).
//!
//! Invariants of an answer:
//! - It has no event of a transaction above the last one that a quorum has.
//! - Behind its first transaction it leaves none out.
//! - It ends with the transaction whose events fill it, so its size is bounded by one transaction more than its limits.

use crate::tailer::TailError;
use hathi_formats::editlog::{
    AclEntry, EditOp, FrameError, Frames, PermissionStatus, SEGMENT_HEADER_LEN, SegmentHeader, XAttr, decode_frame,
};
use hathi_formats::ids::TxId;
use hathi_formats::proto::hdfs::{
    AclEntryProto, AppendEventProto, CloseEventProto, CreateEventProto, EventBatchProto, EventProto, EventType,
    EventsListProto, FsPermissionProto, GetEditsFromTxidResponseProto, INodeType, MetadataUpdateEventProto,
    MetadataUpdateType, RenameEventProto, TruncateEventProto, UnlinkEventProto, XAttrProto,
};
use prost::Message;

/// Encoded events from which an answer is full, in bytes. An answer must stay below `ipc.maximum.response.length` (128
/// MiB), and so below what the largest op adds (50 MiB).
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The length of a file that `OP_CONCAT_DELETE` leaves, which the op does not tell.
const UNKNOWN_LENGTH: i64 = -1;

/// An answer to `getEditsFromTxid` that is being made.
#[derive(Debug)]
pub struct Events {
    /// The next transaction that is wanted.
    next: TxId,
    synced: TxId,
    events_max: usize,
    first: Option<TxId>,
    last: Option<TxId>,
    batches: Vec<EventBatchProto>,
    events: usize,
    bytes: usize,
}

impl Events {
    /// From `since` on, of edits of which a quorum has everything up to `synced`.
    #[must_use]
    pub fn new(since: TxId, synced: TxId, events_max: usize) -> Events {
        Events {
            next: since,
            synced,
            events_max: events_max.max(1),
            first: None,
            last: None,
            batches: Vec::new(),
            events: 0,
            bytes: 0,
        }
    }

    /// The next transaction that the answer needs. `None` when it is full, or has all that is durable.
    #[must_use]
    pub fn next(&self) -> Option<TxId> {
        let full = self.events >= self.events_max || self.bytes >= ANSWER_BYTES_MAX;
        (!full && self.next <= self.synced).then_some(self.next)
    }

    /// The transaction behind the last one of the answer, whether it has room for it or not. `None` of an empty answer.
    #[must_use]
    pub fn next_behind(&self) -> Option<TxId> {
        self.last.map(TxId::next)
    }

    /// Whether the answer may begin with a later transaction than was asked for, because the one that was asked for is
    /// gone. The client then throws `MissingEventsException`.
    #[must_use]
    pub fn may_begin_later(&self) -> bool {
        self.first.is_none()
    }

    /// Adds the events of a segment's file, or of a part of it with a header, up to `limit`. `place` is the offset of a
    /// frame at or before the next transaction (0: the first frame), and is moved to the first frame that was not read.
    ///
    /// # Errors
    /// The bytes are no edits, or are damaged before any of them is of use.
    pub fn read(&mut self, edits: &[u8], limit: TxId, place: &mut usize) -> Result<(), TailError> {
        let header = SegmentHeader::decode(edits).map_err(|error| TailError::Header(error.to_string()))?;
        let (limit, before) = (limit.min(self.synced), self.last);
        let start = (*place).max(SEGMENT_HEADER_LEN);
        let mut frames = Frames::new(edits.get(start..).unwrap_or_default(), start as u64);
        while self.next().is_some_and(|next| next <= limit) {
            let frame = match frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return self.unless_of_use(before, error),
            };
            if frame.txid > limit || (frame.txid > self.next && !self.may_begin_later()) {
                break;
            }
            if frame.txid >= self.next {
                let op = decode_frame(&frame, header.layout_version).map_err(|source| TailError::Decode {
                    txid: frame.txid,
                    source,
                })?;
                self.add(frame.txid, &op);
            }
            *place = usize::try_from(frames.good_until()).unwrap_or(usize::MAX);
        }
        Ok(())
    }

    /// Damage behind what was read is for the next call.
    fn unless_of_use(&self, before: Option<TxId>, error: FrameError) -> Result<(), TailError> {
        if self.last > before { Ok(()) } else { Err(error.into()) }
    }

    fn add(&mut self, txid: TxId, op: &EditOp) {
        debug_assert!(txid <= self.synced, "nobody is told of what may be lost");
        debug_assert!(txid >= self.next, "nobody is told twice");
        debug_assert!(
            self.last.is_none_or(|last| txid == last.next()),
            "an answer has no hole"
        );
        self.first = self.first.or(Some(txid));
        self.last = Some(txid);
        self.next = txid.next();
        let events = events_of(op);
        if events.is_empty() {
            return;
        }
        self.events += events.len();
        let batch = EventBatchProto {
            txid: signed(txid),
            events,
        };
        self.bytes += batch.encoded_len();
        self.batches.push(batch);
    }

    /// The answer. Without a transaction its first and last ones are -1, and the client asks again later.
    #[must_use]
    pub fn answer(self) -> GetEditsFromTxidResponseProto {
        debug_assert_eq!(
            self.first.is_some(),
            self.last.is_some(),
            "an answer ends where it began or later"
        );
        debug_assert!(self.last <= Some(self.synced), "nobody is told of what may be lost");
        GetEditsFromTxidResponseProto {
            events_list: EventsListProto {
                events: Vec::new(),
                first_txid: self.first.map_or(-1, signed),
                last_txid: self.last.map_or(-1, signed),
                sync_txid: signed(self.synced),
                batch: self.batches,
            },
        }
    }
}

fn signed(txid: TxId) -> i64 {
    i64::try_from(txid.0).unwrap_or(i64::MAX)
}

fn event(kind: EventType, contents: &impl Message) -> EventProto {
    EventProto {
        r#type: kind.into(),
        contents: contents.encode_to_vec().into(),
    }
}

/// The events of an op, in their order. None for ops that are about blocks, leases or the log itself, and for those of
/// snapshots, quotas, policies, tokens and caches.
#[must_use]
pub fn events_of(op: &EditOp) -> Vec<EventProto> {
    match op {
        EditOp::Add(add) if !add.blocks.is_empty() => vec![append(&add.path, false)],
        EditOp::Add(add) => vec![event(
            EventType::EventCreate,
            &CreateEventProto {
                replication: Some(i32::from(add.replication)),
                overwrite: Some(add.overwrite),
                default_block_size: Some(add.block_size),
                erasure_coded: Some(add.erasure_coding_policy_id != 0),
                ..created(INodeType::ITypeFile, &add.path, add.atime, &add.permissions)
            },
        )],
        EditOp::Mkdir {
            path,
            time,
            permissions,
            ..
        } => vec![event(
            EventType::EventCreate,
            &created(INodeType::ITypeDirectory, path, *time, permissions),
        )],
        EditOp::Symlink {
            path,
            target,
            atime,
            permissions,
            ..
        } => vec![event(
            EventType::EventCreate,
            &CreateEventProto {
                symlink_target: Some(target.clone()),
                ..created(INodeType::ITypeSymlink, path, *atime, permissions)
            },
        )],
        EditOp::Close(close) => {
            let length = close.blocks.iter().map(|block| block.num_bytes);
            let length = length.fold(0_u64, u64::wrapping_add).cast_signed();
            vec![closed(&close.path, length, close.mtime)]
        }
        EditOp::Append { path, new_block, .. } => vec![append(path, *new_block)],
        EditOp::ConcatDelete {
            target, sources, time, ..
        } => {
            let gone = sources.iter().map(|source| unlinked(source, *time));
            std::iter::once(append(target, false))
                .chain(gone)
                .chain([closed(target, UNKNOWN_LENGTH, *time)])
                .collect()
        }
        EditOp::Truncate {
            src, new_length, time, ..
        } => vec![event(
            EventType::EventTruncate,
            &TruncateEventProto {
                path: src.clone(),
                file_size: *new_length,
                timestamp: *time,
            },
        )],
        EditOp::RenameOld { src, dst, time, .. } | EditOp::Rename { src, dst, time, .. } => vec![event(
            EventType::EventRename,
            &RenameEventProto {
                src_path: src.clone(),
                dest_path: dst.clone(),
                timestamp: *time,
            },
        )],
        EditOp::Delete { path, time, .. } => vec![unlinked(path, *time)],
        EditOp::SetReplication { .. }
        | EditOp::SetPermissions { .. }
        | EditOp::SetOwner { .. }
        | EditOp::Times { .. }
        | EditOp::SetAcl { .. }
        | EditOp::SetXAttr { .. }
        | EditOp::RemoveXAttr { .. } => metadata(op)
            .map(|update| event(EventType::EventMetadata, &update))
            .into_iter()
            .collect(),
        EditOp::SetGenstampV1 { .. }
        | EditOp::SetNsQuota { .. }
        | EditOp::ClearNsQuota { .. }
        | EditOp::SetQuota { .. }
        | EditOp::GetDelegationToken { .. }
        | EditOp::RenewDelegationToken { .. }
        | EditOp::CancelDelegationToken { .. }
        | EditOp::UpdateMasterKey { .. }
        | EditOp::ReassignLease { .. }
        | EditOp::EndLogSegment
        | EditOp::StartLogSegment
        | EditOp::UpdateBlocks { .. }
        | EditOp::CreateSnapshot { .. }
        | EditOp::DeleteSnapshot { .. }
        | EditOp::RenameSnapshot { .. }
        | EditOp::AllowSnapshot { .. }
        | EditOp::DisallowSnapshot { .. }
        | EditOp::SetGenstampV2 { .. }
        | EditOp::AllocateBlockId { .. }
        | EditOp::AddBlock { .. }
        | EditOp::AddCacheDirective { .. }
        | EditOp::RemoveCacheDirective { .. }
        | EditOp::AddCachePool { .. }
        | EditOp::ModifyCachePool { .. }
        | EditOp::RemoveCachePool { .. }
        | EditOp::ModifyCacheDirective { .. }
        | EditOp::RollingUpgradeStart { .. }
        | EditOp::RollingUpgradeFinalize { .. }
        | EditOp::SetStoragePolicy { .. }
        | EditOp::SetQuotaByStorageType { .. }
        | EditOp::AddErasureCodingPolicy { .. }
        | EditOp::EnableErasureCodingPolicy { .. }
        | EditOp::DisableErasureCodingPolicy { .. }
        | EditOp::RemoveErasureCodingPolicy { .. } => Vec::new(),
    }
}

/// An event of something new. What a file, a directory or a link has besides is the caller's; Java's builder has 0, false
/// and "" for the rest, and sends them.
fn created(kind: INodeType, path: &str, ctime: i64, permissions: &PermissionStatus) -> CreateEventProto {
    CreateEventProto {
        r#type: kind.into(),
        path: path.to_owned(),
        ctime,
        owner_name: permissions.user.clone(),
        group_name: permissions.group.clone(),
        perms: FsPermissionProto {
            perm: u32::from(permissions.mode),
        },
        replication: Some(0),
        symlink_target: Some(String::new()),
        overwrite: Some(false),
        default_block_size: Some(0),
        erasure_coded: None,
    }
}

fn append(path: &str, new_block: bool) -> EventProto {
    let contents = AppendEventProto {
        path: path.to_owned(),
        new_block: Some(new_block),
    };
    event(EventType::EventAppend, &contents)
}

fn closed(path: &str, file_size: i64, timestamp: i64) -> EventProto {
    let contents = CloseEventProto {
        path: path.to_owned(),
        file_size,
        timestamp,
    };
    event(EventType::EventClose, &contents)
}

fn unlinked(path: &str, timestamp: i64) -> EventProto {
    let contents = UnlinkEventProto {
        path: path.to_owned(),
        timestamp,
    };
    event(EventType::EventUnlink, &contents)
}

/// A change of attributes. Java sends 0, "" and no entries for what the op does not change.
fn metadata(op: &EditOp) -> Option<MetadataUpdateEventProto> {
    let update = |kind: MetadataUpdateType, path: &str| MetadataUpdateEventProto {
        path: path.to_owned(),
        r#type: kind.into(),
        mtime: Some(0),
        atime: Some(0),
        replication: Some(0),
        owner_name: Some(String::new()),
        group_name: Some(String::new()),
        perms: None,
        acls: Vec::new(),
        x_attrs: Vec::new(),
        x_attrs_removed: Some(false),
    };
    let xattrs_of = |path: &str, xattrs: &[XAttr], removed: bool| MetadataUpdateEventProto {
        x_attrs: xattrs.iter().map(xattr).collect(),
        x_attrs_removed: Some(removed),
        ..update(MetadataUpdateType::MetaTypeXattrs, path)
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller's match names every op")]
    match op {
        EditOp::SetReplication { path, replication } => Some(MetadataUpdateEventProto {
            replication: Some(i32::from(*replication)),
            ..update(MetadataUpdateType::MetaTypeReplication, path)
        }),
        EditOp::SetPermissions { src, mode } => Some(MetadataUpdateEventProto {
            perms: Some(FsPermissionProto { perm: u32::from(*mode) }),
            ..update(MetadataUpdateType::MetaTypePerms, src)
        }),
        EditOp::SetOwner { src, user, group } => Some(MetadataUpdateEventProto {
            owner_name: Some(user.clone().unwrap_or_default()),
            group_name: Some(group.clone().unwrap_or_default()),
            ..update(MetadataUpdateType::MetaTypeOwner, src)
        }),
        EditOp::Times { path, mtime, atime } => Some(MetadataUpdateEventProto {
            mtime: Some(*mtime),
            atime: Some(*atime),
            ..update(MetadataUpdateType::MetaTypeTimes, path)
        }),
        EditOp::SetAcl { src, entries } => Some(MetadataUpdateEventProto {
            acls: entries.iter().map(acl_entry).collect(),
            ..update(MetadataUpdateType::MetaTypeAcls, src)
        }),
        EditOp::SetXAttr { src, xattrs, .. } => Some(xattrs_of(src, xattrs, false)),
        EditOp::RemoveXAttr { src, xattrs, .. } => Some(xattrs_of(src, xattrs, true)),
        _ => None,
    }
}

fn acl_entry(entry: &AclEntry) -> AclEntryProto {
    AclEntryProto {
        r#type: entry.entry_type as i32,
        scope: entry.scope as i32,
        permissions: i32::from(entry.permission),
        name: entry.name.clone(),
    }
}

fn xattr(xattr: &XAttr) -> XAttrProto {
    XAttrProto {
        namespace: xattr.namespace as i32,
        name: xattr.name.clone(),
        value: xattr.value.clone().map(Into::into),
    }
}

#[cfg(test)]
mod tests;

//! Every op with hostile strings and numbers. An op decodes to exactly what was encoded, or is refused.

use proptest::prelude::*;

use super::*;
use crate::ids::{Block, BlockId, GenerationStamp, InodeId, LayoutVersion, TxId};

/// Makes ops from a number. The same number makes the same op.
struct Source {
    state: u64,
    /// Whether strings and numbers may be beyond what the format holds.
    hostile: bool,
}

impl Source {
    /// xorshift64*
    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn bool(&mut self) -> bool {
        self.below(2) == 1
    }

    fn u8(&mut self) -> u8 {
        self.next() as u8
    }

    fn i16(&mut self) -> i16 {
        let any = self.next() as i16;
        self.pick(&[i16::MIN, -1, 0, 1, 3, i16::MAX, any])
    }

    fn i32(&mut self) -> i32 {
        let any = self.next() as i32;
        self.pick(&[i32::MIN, RpcIds::INVALID_CALL_ID, 0, 1, i32::MAX, any])
    }

    fn i64(&mut self) -> i64 {
        let any = self.next() as i64;
        self.pick(&[
            i64::MIN,
            i64::MIN + 1,
            -1,
            0,
            1,
            127,
            128,
            i64::MAX - 1,
            i64::MAX,
            any,
            any >> 20,
        ])
    }

    fn u64(&mut self) -> u64 {
        if self.hostile && self.below(4) == 0 {
            return self.pick(&[i64::MAX as u64 + 1, u64::MAX - 1, u64::MAX]);
        }
        let any = self.next() >> 1;
        self.pick(&[0, 1, 1001, 1 << 30, 1 << 48, i64::MAX as u64, any, any >> 20])
    }

    /// A string that `put_str` writes; a hostile one may be a little too long.
    fn str(&mut self) -> String {
        self.string(MAX_STRING_UNITS)
    }

    fn text(&mut self) -> String {
        // All of these lengths fit a text, so a hostile text needs no other.
        self.string(MAX_STRING_UNITS)
    }

    fn string(&mut self, units: usize) -> String {
        const CHARS: [char; 10] = ['/', 'x', '\0', '\u{7F}', '\u{80}', 'é', '\u{7FF}', '\u{800}', '€', '😀'];
        match self.below(16) {
            0 => String::new(),
            1 => "/.reserved/.inodes/16385/..".to_owned(),
            2 => "a\0b".to_owned(),
            3 => "\u{D7FF}\u{E000}\u{FFFD}\u{FFFF}\u{10000}\u{10FFFF}".to_owned(),
            4 => {
                let char = self.pick(&CHARS);
                let longest = units / char.len_utf16();
                let more = if self.hostile { self.below(3) } else { 0 };
                char.to_string().repeat(longest - 1 + self.below(2) + more)
            }
            _ => (0..self.below(12)).map(|_| self.pick(&CHARS)).collect(),
        }
    }

    fn some<T>(&mut self, make: fn(&mut Source) -> T) -> Option<T> {
        self.bool().then(|| make(self))
    }

    fn list<T>(&mut self, make: fn(&mut Source) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| make(self)).collect()
    }

    /// `None`, or a name; a hostile one may be empty, which the format can't say.
    fn name(&mut self) -> Option<String> {
        let name = self.some(Source::str);
        if self.hostile {
            name
        } else {
            name.filter(|name| !name.is_empty())
        }
    }

    fn inode(&mut self) -> InodeId {
        InodeId(self.u64())
    }

    fn stamp(&mut self) -> GenerationStamp {
        GenerationStamp(self.u64())
    }

    fn block(&mut self) -> Block {
        Block {
            id: BlockId(self.i64()),
            num_bytes: self.u64(),
            generation_stamp: self.stamp(),
        }
    }

    fn rpc_ids(&mut self) -> RpcIds {
        RpcIds {
            client_id: self.some(|s| [s.u8(); 16]),
            call_id: self.i32(),
        }
    }

    fn permissions(&mut self) -> PermissionStatus {
        PermissionStatus {
            user: self.text(),
            group: self.text(),
            mode: self.next() as u16,
        }
    }

    fn acl_entry(&mut self) -> AclEntry {
        AclEntry {
            scope: self.pick(&[AclEntryScope::Access, AclEntryScope::Default]),
            entry_type: AclEntryType::from_bits(self.next() as u32),
            name: self.some(Source::str),
            permission: if self.hostile {
                self.pick(&[0, 7, 8, 255])
            } else {
                self.u8() & 7
            },
        }
    }

    fn xattr(&mut self) -> XAttr {
        let bytes = |s: &mut Source| (0..s.below(300)).map(|_| s.u8()).collect();
        XAttr {
            namespace: XAttrNamespace::from_number(self.below(5) as i32).unwrap(),
            name: self.str(),
            value: self.bool().then(|| bytes(self)),
        }
    }

    fn directive(&mut self) -> CacheDirectiveInfo {
        CacheDirectiveInfo {
            id: self.i64(),
            path: self.some(Source::str),
            replication: self.some(Source::i16),
            pool: self.some(Source::str),
            expiration: self.some(Source::i64),
        }
    }

    fn pool(&mut self) -> CachePoolInfo {
        CachePoolInfo {
            pool_name: self.str(),
            owner_name: self.some(Source::str),
            group_name: self.some(Source::str),
            mode: self.some(|s| s.next() as u16),
            limit: self.some(Source::i64),
            max_relative_expiry: self.some(Source::i64),
            default_replication: self.some(Source::i16),
        }
    }

    fn token(&mut self) -> DelegationTokenIdentifier {
        DelegationTokenIdentifier {
            owner: self.text(),
            renewer: self.text(),
            real_user: self.text(),
            issue_date: self.i64(),
            max_date: self.i64(),
            sequence_number: self.i32(),
            master_key_id: self.i32(),
        }
    }

    fn add(&mut self) -> AddOp {
        AddOp {
            inode_id: self.inode(),
            path: self.str(),
            replication: self.i16(),
            mtime: self.i64(),
            atime: self.i64(),
            block_size: self.i64(),
            blocks: self.list(Source::block),
            permissions: self.permissions(),
            acl_entries: self.list(Source::acl_entry),
            xattrs: self.list(Source::xattr),
            client_name: self.str(),
            client_machine: self.str(),
            overwrite: self.bool(),
            storage_policy_id: self.u8(),
            erasure_coding_policy_id: self.u8(),
            rpc_ids: self.rpc_ids(),
        }
    }

    fn close(&mut self) -> CloseOp {
        CloseOp {
            inode_id: self.inode(),
            path: self.str(),
            replication: self.i16(),
            mtime: self.i64(),
            atime: self.i64(),
            block_size: self.i64(),
            blocks: self.list(Source::block),
            permissions: self.permissions(),
        }
    }

    /// An op about names and attributes. `None` for other codes.
    fn tree_op(&mut self, code: OpCode) -> Option<EditOp> {
        let s = self;
        Some(match code {
            OpCode::ADD => EditOp::Add(s.add()),
            OpCode::CLOSE => EditOp::Close(s.close()),
            OpCode::RENAME_OLD => EditOp::RenameOld {
                src: s.str(),
                dst: s.str(),
                time: s.i64(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::DELETE => EditOp::Delete {
                path: s.str(),
                time: s.i64(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::MKDIR => EditOp::Mkdir {
                inode_id: s.inode(),
                path: s.str(),
                time: s.i64(),
                permissions: s.permissions(),
                acl_entries: s.list(Source::acl_entry),
                xattrs: s.list(Source::xattr),
            },
            OpCode::SET_REPLICATION => EditOp::SetReplication {
                path: s.str(),
                replication: s.i16(),
            },
            OpCode::SET_PERMISSIONS => EditOp::SetPermissions {
                src: s.str(),
                mode: s.next() as u16,
            },
            OpCode::SET_OWNER => EditOp::SetOwner {
                src: s.str(),
                user: s.name(),
                group: s.name(),
            },
            OpCode::SET_NS_QUOTA => EditOp::SetNsQuota {
                src: s.str(),
                ns_quota: s.i64(),
            },
            OpCode::CLEAR_NS_QUOTA => EditOp::ClearNsQuota { src: s.str() },
            OpCode::TIMES => EditOp::Times {
                path: s.str(),
                mtime: s.i64(),
                atime: s.i64(),
            },
            OpCode::SET_QUOTA => EditOp::SetQuota {
                src: s.str(),
                ns_quota: s.i64(),
                ds_quota: s.i64(),
            },
            OpCode::RENAME => EditOp::Rename {
                src: s.str(),
                dst: s.str(),
                time: s.i64(),
                options: s.list(|s| s.pick(&[RenameOption::None, RenameOption::Overwrite, RenameOption::ToTrash])),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::CONCAT_DELETE => EditOp::ConcatDelete {
                target: s.str(),
                sources: s.list(Source::str),
                time: s.i64(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::SYMLINK => EditOp::Symlink {
                inode_id: s.inode(),
                path: s.str(),
                target: s.str(),
                mtime: s.i64(),
                atime: s.i64(),
                permissions: s.permissions(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::SET_ACL => EditOp::SetAcl {
                src: s.str(),
                entries: s.list(Source::acl_entry),
            },
            OpCode::SET_XATTR => EditOp::SetXAttr {
                src: s.str(),
                xattrs: s.list(Source::xattr),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::REMOVE_XATTR => EditOp::RemoveXAttr {
                src: s.str(),
                xattrs: s.list(Source::xattr),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::SET_STORAGE_POLICY => EditOp::SetStoragePolicy {
                path: s.str(),
                policy_id: s.u8(),
            },
            OpCode::SET_QUOTA_BY_STORAGETYPE => EditOp::SetQuotaByStorageType {
                src: s.str(),
                storage_type: s.i32(),
                ds_quota: s.i64(),
            },
            OpCode::REASSIGN_LEASE => EditOp::ReassignLease {
                lease_holder: s.str(),
                path: s.str(),
                new_holder: s.str(),
            },
            OpCode::UPDATE_BLOCKS => EditOp::UpdateBlocks {
                path: s.str(),
                blocks: s.list(Source::block),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::ADD_BLOCK => EditOp::AddBlock {
                path: s.str(),
                penultimate: s.some(Source::block),
                last: s.block(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::TRUNCATE => EditOp::Truncate {
                src: s.str(),
                client_name: s.str(),
                client_machine: s.str(),
                new_length: s.i64(),
                time: s.i64(),
                truncate_block: s.some(Source::block),
            },
            OpCode::APPEND => EditOp::Append {
                path: s.str(),
                client_name: s.str(),
                client_machine: s.str(),
                new_block: s.bool(),
                rpc_ids: s.rpc_ids(),
            },
            _ => return None,
        })
    }

    /// One of the other ops. `None` for codes that no op has.
    fn other_op(&mut self, code: OpCode) -> Option<EditOp> {
        let s = self;
        Some(match code {
            OpCode::SET_GENSTAMP_V1 => EditOp::SetGenstampV1 { genstamp: s.stamp() },
            OpCode::SET_GENSTAMP_V2 => EditOp::SetGenstampV2 { genstamp: s.stamp() },
            OpCode::ALLOCATE_BLOCK_ID => EditOp::AllocateBlockId {
                block_id: BlockId(s.i64()),
            },
            OpCode::START_LOG_SEGMENT => EditOp::StartLogSegment,
            OpCode::END_LOG_SEGMENT => EditOp::EndLogSegment,
            OpCode::GET_DELEGATION_TOKEN => EditOp::GetDelegationToken {
                token: s.token(),
                expiry_time: s.i64(),
            },
            OpCode::RENEW_DELEGATION_TOKEN => EditOp::RenewDelegationToken {
                token: s.token(),
                expiry_time: s.i64(),
            },
            OpCode::CANCEL_DELEGATION_TOKEN => EditOp::CancelDelegationToken { token: s.token() },
            OpCode::UPDATE_MASTER_KEY => EditOp::UpdateMasterKey {
                key: DelegationKey {
                    key_id: s.i32(),
                    expiry_date: s.i64(),
                    key: s.some(|s| s.list(Source::u8)),
                },
            },
            OpCode::CREATE_SNAPSHOT => EditOp::CreateSnapshot {
                snapshot_root: s.str(),
                snapshot_name: s.str(),
                mtime: s.i64(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::DELETE_SNAPSHOT => EditOp::DeleteSnapshot {
                snapshot_root: s.str(),
                snapshot_name: s.str(),
                mtime: s.i64(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::RENAME_SNAPSHOT => EditOp::RenameSnapshot {
                snapshot_root: s.str(),
                snapshot_old_name: s.str(),
                snapshot_new_name: s.str(),
                mtime: s.i64(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::ALLOW_SNAPSHOT => EditOp::AllowSnapshot { snapshot_root: s.str() },
            OpCode::DISALLOW_SNAPSHOT => EditOp::DisallowSnapshot { snapshot_root: s.str() },
            OpCode::ADD_CACHE_DIRECTIVE => EditOp::AddCacheDirective {
                directive: s.directive(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::MODIFY_CACHE_DIRECTIVE => EditOp::ModifyCacheDirective {
                directive: s.directive(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::REMOVE_CACHE_DIRECTIVE => EditOp::RemoveCacheDirective {
                id: s.i64(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::ADD_CACHE_POOL => EditOp::AddCachePool {
                pool: s.pool(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::MODIFY_CACHE_POOL => EditOp::ModifyCachePool {
                pool: s.pool(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::REMOVE_CACHE_POOL => EditOp::RemoveCachePool {
                pool_name: s.str(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::ROLLING_UPGRADE_START => EditOp::RollingUpgradeStart { time: s.i64() },
            OpCode::ROLLING_UPGRADE_FINALIZE => EditOp::RollingUpgradeFinalize { time: s.i64() },
            OpCode::ADD_ERASURE_CODING_POLICY => EditOp::AddErasureCodingPolicy {
                codec: s.str(),
                data_units: s.i32(),
                parity_units: s.i32(),
                cell_size: s.i32(),
                extra_options: s.list(|s| (s.str(), s.str())),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::ENABLE_ERASURE_CODING_POLICY => EditOp::EnableErasureCodingPolicy {
                policy_name: s.str(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::DISABLE_ERASURE_CODING_POLICY => EditOp::DisableErasureCodingPolicy {
                policy_name: s.str(),
                rpc_ids: s.rpc_ids(),
            },
            OpCode::REMOVE_ERASURE_CODING_POLICY => EditOp::RemoveErasureCodingPolicy {
                policy_name: s.str(),
                rpc_ids: s.rpc_ids(),
            },
            _ => return None,
        })
    }

    fn op(&mut self, code: OpCode) -> Option<EditOp> {
        self.tree_op(code).or_else(|| self.other_op(code))
    }
}

/// Codes in Hadoop's table that no op has any more.
const WITHOUT_OP: [OpCode; 3] = [OpCode::DATANODE_ADD, OpCode::DATANODE_REMOVE, OpCode::INVALID];

/// Encodes an op behind other bytes, decodes it and compares. Returns whether the op was encoded.
fn comes_back_or_is_refused(op: &EditOp, txid: TxId) -> Result<bool, TestCaseError> {
    let before = b"what was there".to_vec();
    let mut out = before.clone();
    if encode(&mut out, txid, op).is_err() {
        prop_assert_eq!(&out, &before, "a refused op leaves nothing behind");
        return Ok(false);
    }
    prop_assert!(out.starts_with(&before));
    let bytes = &out[before.len()..];
    prop_assert!(bytes.len() <= MAX_WRITTEN_OP_BYTES);
    let mut frames = Frames::new(bytes, 0).starting_at(txid);
    let frame = frames.next_frame().unwrap().unwrap();
    prop_assert_eq!(frame.bytes.len(), bytes.len());
    let decoded = decode_frame(&frame, LayoutVersion::NAMENODE_CURRENT);
    prop_assert!(decoded.as_ref() == Ok(op), "{:?} came back as {:?}", op, decoded);
    Ok(true)
}

proptest! {
    #[test]
    fn safety_n1_every_op_decodes_to_what_was_encoded_or_is_refused(seed in 1..u64::MAX, hostile: bool) {
        let mut source = Source { state: seed, hostile };
        for code in OpCode::ALL {
            let Some(op) = source.op(*code) else {
                prop_assert!(WITHOUT_OP.contains(code), "{:?}", code);
                continue;
            };
            prop_assert_eq!(op.code(), *code);
            let txid = if hostile { TxId(source.u64()) } else { TxId(1) };
            let encoded = comes_back_or_is_refused(&op, txid)?;
            prop_assert!(encoded || hostile, "{:?} was refused", op);
        }
    }
}

#[test]
fn safety_n14_an_op_beyond_what_readers_take_is_refused() {
    let close = |blocks: usize| {
        EditOp::Close(CloseOp {
            path: "/f".repeat(MAX_STRING_UNITS / 2),
            blocks: vec![Block::default(); blocks],
            permissions: PermissionStatus {
                user: "u".repeat(MAX_TEXT_BYTES),
                group: "g".repeat(MAX_TEXT_BYTES),
                mode: 0,
            },
            ..CloseOp::default()
        })
    };
    let mut out = Vec::new();
    encode(&mut out, TxId(1), &close(MAX_WRITTEN_BLOCKS)).unwrap();
    assert!(out.len() < MAX_OP_SIZE_BYTES);
    assert!(Frames::new(&out, 0).next().unwrap().is_ok());
    out.clear();
    let refused = encode(&mut out, TxId(1), &close(MAX_WRITTEN_OP_BYTES / 24));
    assert!(matches!(refused, Err(EncodeError::OpTooLong { .. })));
    assert!(out.is_empty());
}

#[test]
fn safety_n9_an_empty_owner_is_refused_because_it_would_be_read_as_none() {
    let op = EditOp::SetOwner {
        src: "/f".to_owned(),
        user: Some(String::new()),
        group: None,
    };
    assert!(matches!(
        encode(&mut Vec::new(), TxId(1), &op),
        Err(EncodeError::Inexact(_))
    ));
}

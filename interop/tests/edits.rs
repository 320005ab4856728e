//! Edits as hostile as they get, through Hadoop's own reader and writer (`hdfs oev`).

use anyhow::{Result, ensure};
use hathi_formats::editlog::{
    AclEntry, AclEntryScope, AclEntryType, AddOp, CloseOp, EditOp, MAX_STRING_UNITS, PermissionStatus, RenameOption,
    RpcIds, SegmentHeader, XAttr, XAttrNamespace, encode,
};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId, TxId};
use hathi_interop::Hadoop;

/// Ops with the longest strings of these characters that are written, and with numbers at their edges.
fn hostile(of: char) -> Vec<EditOp> {
    let longest = || of.to_string().repeat(MAX_STRING_UNITS / of.len_utf16());
    let permissions = PermissionStatus {
        user: longest(),
        group: String::new(),
        mode: 0o1777,
    };
    let rpc_ids = RpcIds::new([0xFF; 16], i32::MIN);
    let block = |id, num_bytes, stamp| Block {
        id: BlockId(id),
        num_bytes,
        generation_stamp: GenerationStamp(stamp),
    };
    let blocks = vec![
        block(i64::MAX, 0, i64::MAX as u64),
        block(i64::MIN, i64::MAX as u64, 0),
        block(1, 1, 1),
    ];
    let named = |scope| AclEntry {
        scope,
        entry_type: AclEntryType::User,
        name: Some(longest()),
        permission: 7,
    };
    vec![
        EditOp::Mkdir {
            inode_id: InodeId(i64::MAX as u64),
            path: longest(),
            time: i64::MIN,
            permissions: permissions.clone(),
            acl_entries: vec![named(AclEntryScope::Access), named(AclEntryScope::Default)],
            xattrs: Vec::new(),
        },
        EditOp::Add(AddOp {
            path: longest(),
            replication: i16::MIN,
            mtime: i64::MAX,
            block_size: -1,
            permissions: permissions.clone(),
            client_name: longest(),
            rpc_ids,
            ..AddOp::default()
        }),
        EditOp::UpdateBlocks {
            path: longest(),
            blocks: blocks.clone(),
            rpc_ids,
        },
        EditOp::Close(CloseOp {
            path: longest(),
            blocks,
            permissions,
            ..CloseOp::default()
        }),
        EditOp::RenameOld {
            src: longest(),
            dst: longest(),
            time: i64::MAX,
            rpc_ids,
        },
        EditOp::Rename {
            src: longest(),
            dst: String::new(),
            time: 0,
            options: vec![RenameOption::Overwrite, RenameOption::ToTrash],
            rpc_ids: RpcIds::NONE,
        },
        EditOp::Delete {
            path: longest(),
            time: -1,
            rpc_ids,
        },
        EditOp::SetOwner {
            src: longest(),
            user: Some(longest()),
            group: None,
        },
        EditOp::ReassignLease {
            lease_holder: longest(),
            path: longest(),
            new_holder: longest(),
        },
        EditOp::Times {
            path: longest(),
            mtime: i64::MIN,
            atime: i64::MAX,
        },
        EditOp::SetAcl {
            src: longest(),
            entries: vec![named(AclEntryScope::Access)],
        },
        EditOp::SetXAttr {
            src: longest(),
            xattrs: vec![XAttr {
                namespace: XAttrNamespace::Raw,
                name: longest(),
                value: Some(vec![0, 0x80, 0xFF]),
            }],
            rpc_ids,
        },
    ]
}

#[test]
fn safety_n1_hadoop_reads_hostile_edits_and_writes_them_as_they_were() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let mut edits = SegmentHeader::CURRENT.encode().to_vec();
    let mut txid = TxId(1);
    encode(&mut edits, txid, &EditOp::StartLogSegment)?;
    // Not NUL: Hadoop reads it, but its tool loses it between its XML and the binary edits.
    for of in ['/', '\u{7F}', 'é', '€', '\u{FFFF}', '😀'] {
        for op in hostile(of) {
            txid = txid.next();
            encode(&mut edits, txid, &op)?;
        }
    }
    // Hadoop's tool makes binary edits of XML alone.
    let file = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (ours, xml, theirs) = (file("edits"), file("edits.xml"), file("edits.again"));
    std::fs::write(&ours, &edits)?;
    hadoop.run_ok(dir.path(), "oev", &["-p", "xml", "-i", &ours, "-o", &xml])?;
    hadoop.run_ok(dir.path(), "oev", &["-p", "binary", "-i", &xml, "-o", &theirs])?;
    let written = std::fs::read(&theirs)?;
    ensure!(
        written.starts_with(&edits),
        "Hadoop read something else, from byte {:?} on",
        written.iter().zip(&edits).position(|(theirs, ours)| theirs != ours)
    );
    ensure!(
        written[edits.len()..].iter().all(|byte| *byte == 0xFF),
        "Hadoop read more"
    );
    Ok(())
}

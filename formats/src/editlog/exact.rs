//! Every op with hostile strings and numbers. An op decodes to exactly what was encoded, or is refused.

use proptest::prelude::*;

use super::source::Source;
use super::*;
use crate::ids::{Block, LayoutVersion, TxId};

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
            let Some(op) = EditOp::any(*code, &mut source) else {
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

proptest! {
    #[test]
    fn every_op_printed_as_xml_reads_as_itself(seed in 1..u64::MAX) {
        let mut source = Source { state: seed, hostile: false };
        for code in OpCode::ALL {
            let Some(op) = EditOp::any(*code, &mut source) else { continue };
            let mut xml = XmlWriter::new(String::new(), LayoutVersion::NAMENODE_CURRENT).unwrap();
            xml.op(TxId(7), &op).unwrap();
            let xml = xml.finish().unwrap();
            let read = EditsXml::new(xml.as_bytes()).unwrap().next_op();
            let printed = match op {
                // Hadoop's viewer does not print these.
                EditOp::Add(add) => EditOp::Add(AddOp { xattrs: Vec::new(), storage_policy_id: 0, ..add }),
                op => op,
            };
            prop_assert_eq!(read.unwrap(), Some((TxId(7), printed)), "{}", xml);
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

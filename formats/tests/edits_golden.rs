//! A log written by Hadoop that has every op. It decodes, encodes to the same bytes, and prints as Hadoop's own viewer
//! prints it.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of a test, where clippy does not see that they are"
)]

use std::collections::BTreeSet;

use hathi_formats::editlog::{
    EditOp, EditsXml, FrameError, Frames, OpCode, SEGMENT_HEADER_LEN, ScanEnd, SegmentHeader, XmlWriter, decode_frame,
    encode,
};
use hathi_formats::ids::{LayoutVersion, TxId};
use proptest::prelude::*;

const EDITS: &[u8] = include_bytes!("data/editsStored");
const XML: &str = include_str!("data/editsStored.xml");

fn body() -> Frames<'static> {
    Frames::new(&EDITS[SEGMENT_HEADER_LEN..], SEGMENT_HEADER_LEN as u64).starting_at(TxId(1))
}

fn ops() -> Vec<(TxId, EditOp)> {
    body()
        .map(|frame| {
            let frame = frame.unwrap();
            (frame.txid, decode_frame(&frame, LayoutVersion(-67)).unwrap())
        })
        .collect()
}

#[test]
fn every_op_encodes_to_the_bytes_it_was_decoded_from() {
    assert_eq!(SegmentHeader::decode(EDITS), Ok(SegmentHeader::CURRENT));
    for frame in body() {
        let frame = frame.unwrap();
        let op = decode_frame(&frame, LayoutVersion(-67)).unwrap();
        let mut out = Vec::new();
        encode(&mut out, frame.txid, &op).unwrap();
        assert_eq!(out, frame.bytes, "{op:?}");
    }
}

#[test]
fn the_scan_ends_at_the_end() {
    let mut frames = body();
    let mut count = 0;
    while let Some(frame) = frames.next_frame().unwrap() {
        count += 1;
        assert_eq!(frame.txid, TxId(count));
    }
    assert_eq!(count, 121);
    assert_eq!(frames.end(), Some(ScanEnd::Eof));
    assert_eq!(frames.good_until(), EDITS.len() as u64);
}

#[test]
fn nearly_every_op_is_in_it() {
    let seen: BTreeSet<OpCode> = ops().iter().map(|(_, op)| op.code()).collect();
    let missing: Vec<_> = OpCode::ALL
        .iter()
        .filter(|code| !seen.contains(code))
        .filter_map(|code| code.name())
        .collect();
    let absent = [
        "OP_DATANODE_ADD",
        "OP_DATANODE_REMOVE",
        "OP_SET_GENSTAMP_V1",
        "OP_SET_NS_QUOTA",
        "OP_CLEAR_NS_QUOTA",
        // Tokens need security, which the writing cluster did not have.
        "OP_GET_DELEGATION_TOKEN",
        "OP_RENEW_DELEGATION_TOKEN",
        "OP_CANCEL_DELEGATION_TOKEN",
        "OP_INVALID",
    ];
    assert_eq!(missing, absent);
}

#[test]
fn prints_as_hadoop_prints_it() {
    let mut writer = XmlWriter::new(String::new(), LayoutVersion(-67)).unwrap();
    for (txid, op) in ops() {
        writer.op(txid, &op).unwrap();
    }
    let text = writer.finish().unwrap();
    for (ours, theirs) in text.lines().zip(XML.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(text.lines().count(), XML.lines().count());
}

/// Fields that Hadoop's viewer does not print.
fn as_printed(mut op: EditOp) -> EditOp {
    if let EditOp::Add(add) = &mut op {
        add.xattrs.clear();
        add.storage_policy_id = 0;
    }
    op
}

#[test]
fn the_xml_of_hadoop_reads_as_the_ops_it_was_made_of() {
    let mut edits = EditsXml::new(XML.as_bytes()).unwrap();
    assert_eq!(edits.layout(), LayoutVersion(-67));
    for (txid, op) in ops() {
        assert_eq!(edits.next_op().unwrap(), Some((txid, as_printed(op))));
    }
    assert_eq!(edits.next_op().unwrap(), None);
}

#[test]
fn xml_with_an_element_more_or_less_is_refused() {
    for (from, to, problem) in [
        ("<INODEID>", "<INODE>1</INODE><INODEID>", "<INODE> is not known here"),
        ("<OPCODE>OP_MKDIR", "<OPCODE>OP_MKDIRS", "OP_MKDIRS is no opcode"),
        ("<MODE>493</MODE>", "", "<MODE> is missing"),
        ("<BLOCK_ID>", "<BLOCK_ID>x", "not a number"),
        ("<TXID>3</TXID>", "", "<TXID> is missing"),
    ] {
        let bad = XML.replacen(from, to, 1);
        assert_ne!(bad, XML, "{from}");
        let mut edits = EditsXml::new(bad.as_bytes()).unwrap();
        let error = loop {
            match edits.next_op() {
                Ok(op) => assert!(op.is_some(), "{from}"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains(problem), "{error} is not about {problem}");
    }
}

#[test]
fn a_log_cut_off_anywhere_is_torn_where_its_last_op_begins() {
    let data = &EDITS[SEGMENT_HEADER_LEN..];
    for len in 0..data.len() {
        let mut frames = Frames::new(&data[..len], 0);
        loop {
            match frames.next_frame() {
                Ok(Some(_)) => {}
                Ok(None) => break assert_eq!(frames.good_until(), len as u64),
                Err(error) => {
                    assert!(matches!(error, FrameError::Truncated { .. }), "{len}: {error}");
                    assert_eq!(error.offset(), frames.good_until());
                    break assert!(frames.is_torn_tail());
                }
            }
        }
    }
}

#[test]
fn a_damaged_op_in_the_middle_is_no_torn_tail() {
    let mut data = EDITS[SEGMENT_HEADER_LEN..].to_vec();
    let third = body().nth(2).unwrap().unwrap();
    let at = usize::try_from(third.offset).unwrap() - SEGMENT_HEADER_LEN;
    data[at + 14] ^= 1;
    let mut frames = Frames::new(&data, 0);
    assert!(frames.next_frame().unwrap().is_some());
    assert!(frames.next_frame().unwrap().is_some());
    assert!(matches!(frames.next_frame(), Err(FrameError::BadChecksum { .. })));
    assert!(!frames.is_torn_tail());
    // The damaged op is the last one before padding, so it is a torn tail.
    data.truncate(at + third.bytes.len());
    data.extend([0xFF; 100]);
    let mut frames = Frames::new(&data, 0);
    while let Ok(Some(_)) = frames.next_frame() {}
    assert!(frames.is_torn_tail());
}

#[test]
fn padding_ends_a_log_and_nothing_else_may_follow_it() {
    let mut data = EDITS[SEGMENT_HEADER_LEN..].to_vec();
    let len = data.len();
    data.extend([0xFF; 1000]);
    data.extend([0; 1000]);
    let mut frames = Frames::new(&data, 0);
    while frames.next_frame().unwrap().is_some() {}
    assert_eq!(frames.end(), Some(ScanEnd::Padding));
    assert_eq!(frames.good_until(), len as u64);
    data.push(7);
    let mut frames = Frames::new(&data, 0);
    assert_eq!(
        frames.find_map(Result::err),
        Some(FrameError::DataAfterEnd {
            offset: data.len() as u64 - 1
        })
    );
}

#[test]
fn unknown_opcodes_are_scanned_but_not_decoded() {
    let mut out = Vec::new();
    encode(&mut out, TxId(5), &EditOp::StartLogSegment).unwrap();
    out[0] = 99;
    let crc_at = out.len() - 4;
    let crc = crc32(&out[..crc_at]);
    out[crc_at..].copy_from_slice(&crc.to_be_bytes());
    let frame = Frames::new(&out, 0).next().unwrap().unwrap();
    assert_eq!((frame.code, frame.txid), (OpCode(99), TxId(5)));
    assert!(decode_frame(&frame, LayoutVersion(-67)).is_err());
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xEDB8_8320 }
        })
    })
}

proptest! {
    #[test]
    fn flipped_bytes_are_errors_and_no_panic(at in 0..EDITS.len() - SEGMENT_HEADER_LEN, with in 1..=255_u8) {
        let mut data = EDITS[SEGMENT_HEADER_LEN..].to_vec();
        data[at] ^= with;
        let mut frames = Frames::new(&data, 0);
        let end = loop {
            match frames.next_frame() {
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        prop_assert!(end.is_err());
    }

    #[test]
    fn bodies_with_flipped_bytes_decode_or_fail(op in 0..121_usize, at: prop::sample::Index, with in 1..=255_u8) {
        let frame = body().nth(op).unwrap().unwrap();
        let mut bytes = frame.body.to_vec();
        if bytes.is_empty() {
            return Ok(());
        }
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        if let Ok(op) = hathi_formats::editlog::decode_body(frame.code, &bytes, LayoutVersion(-67)) {
            // An op that decodes must encode, and decode to the same op again.
            let mut out = Vec::new();
            encode(&mut out, TxId(1), &op).unwrap();
            let again = Frames::new(&out, 0).next().unwrap().unwrap();
            prop_assert_eq!(decode_frame(&again, LayoutVersion(-67)).unwrap(), op);
        }
    }

    #[test]
    fn noise_is_no_panic(code: u8, bytes: Vec<u8>, layout in -67..=-61) {
        let _ = hathi_formats::editlog::decode_body(OpCode(code), &bytes, LayoutVersion(layout));
        let mut frames = Frames::new(&bytes, 0);
        while let Ok(Some(_)) = frames.next_frame() {}
        let _ = frames.is_torn_tail();
    }
}

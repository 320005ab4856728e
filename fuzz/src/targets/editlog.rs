//! Edit logs: ops, frames, whole segments, and their replay by a standby.

use bytes::Bytes;
use hathi_formats::editlog::{
    EditsXml, Frames, MIN_OP_SIZE_BYTES, OLDEST_LAYOUT, OpCode, SEGMENT_HEADER_LEN, SegmentFile, SegmentHeader,
    XmlWriter, decode_body, decode_frame, encode,
};
use hathi_formats::ids::{LayoutVersion, TxId};
use hathi_journal::segments::SegmentName;
use hathi_namesystem::history::EditsSource;
use hathi_namesystem::tailer::Edits;

use super::{PLAIN, calls, samples_of, text};
use crate::{Memory, Target};

/// A log by Hadoop with every op.
const STORED: &[u8] = include_bytes!("../../../formats/tests/data/editsStored");
/// Length of sample segments, in bytes. Longer ones test nothing more.
const SEGMENT_BYTES: usize = 1200;

pub fn targets() -> Vec<Target> {
    let target = |name, samples, run, memory| Target {
        name,
        samples,
        run,
        memory,
    };
    vec![
        target("edit_op", op_samples, op, PLAIN),
        target("edit_segment", segment_samples, segment, PLAIN),
        target(
            "edit_segment_resealed",
            segment_samples,
            |bytes| segment(&resealed(bytes)),
            PLAIN,
        ),
        target("edits_from_xml", xml_samples, from_xml, calls::NAMESYSTEM),
        target("edit_replay", segment_samples, replay, calls::NAMESYSTEM),
        target("segment_file_name", name_samples, file_name, PLAIN),
    ]
}

/// Opcode and body of every op of the sample.
fn op_samples() -> Vec<Vec<u8>> {
    let mut frames = Frames::new(&STORED[SEGMENT_HEADER_LEN..], 0);
    let mut samples = Vec::new();
    while let Ok(Some(frame)) = frames.next_frame() {
        samples.push([&[frame.code.0], frame.body].concat());
    }
    samples.sort();
    samples.dedup();
    samples
}

fn op(input: &[u8]) {
    let Some((code, body)) = input.split_first() else {
        return;
    };
    for layout in [OLDEST_LAYOUT, LayoutVersion(-65), LayoutVersion::NAMENODE_CURRENT] {
        let Ok(op) = decode_body(OpCode(*code), body, layout) else {
            continue;
        };
        let mut xml = XmlWriter::new(String::new(), layout).expect("a string takes everything");
        xml.op(TxId(1), &op).expect("a string takes everything");
        let mut frame = Vec::new();
        // An op that only an old layout can express is refused, and so is one that is too long.
        if encode(&mut frame, TxId(7), &op).is_err() {
            assert!(frame.is_empty(), "a refused op leaves nothing");
            continue;
        }
        let read = Frames::new(&frame, 0)
            .next_frame()
            .expect("its own frame is good")
            .expect("there is one");
        assert_eq!(read.txid, TxId(7));
        assert_eq!(decode_frame(&read, LayoutVersion::NAMENODE_CURRENT).as_ref(), Ok(&op));
    }
}

/// Parts of the sample's XML by Hadoop, each a document with some ops.
fn xml_samples() -> Vec<Vec<u8>> {
    const XML: &str = include_str!("../../../formats/tests/data/editsStored.xml");
    let head = "<?xml version=\"1.0\"?><EDITS><EDITS_VERSION>-67</EDITS_VERSION>";
    let records: Vec<&str> = XML.split_inclusive("</RECORD>").collect();
    let of = |records: &[&str]| {
        let text: String = records
            .iter()
            .filter_map(|record| record.find("<RECORD>").map(|at| &record[at..]))
            .collect();
        format!("{head}{text}</EDITS>").into_bytes()
    };
    records.chunks(8).map(of).collect()
}

/// Ops that are read can be written, or are refused, and print as what is read again.
fn from_xml(input: &[u8]) {
    let Ok(mut edits) = EditsXml::new(input) else { return };
    while let Ok(Some((txid, op))) = edits.next_op() {
        let mut frame = Vec::new();
        if encode(&mut frame, txid, &op).is_err() {
            continue;
        }
        let mut xml = XmlWriter::new(String::new(), LayoutVersion::NAMENODE_CURRENT).expect("a string takes all");
        xml.op(txid, &op).expect("a string takes all");
        let xml = xml.finish().expect("a string takes all");
        let again = EditsXml::new(xml.as_bytes()).expect("its own XML").next_op();
        assert_eq!(again.expect("its own XML"), Some((txid, op)));
    }
}

/// Short segments made of the sample. Each has different ops.
pub fn segment_samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    let mut frames = Frames::new(&STORED[SEGMENT_HEADER_LEN..], 0);
    let mut segment = SegmentHeader::CURRENT.encode().to_vec();
    while let Ok(Some(frame)) = frames.next_frame() {
        segment.extend_from_slice(frame.bytes);
        if segment.len() > SEGMENT_BYTES {
            segment.extend_from_slice(&[0xFF; 40]);
            samples.push(std::mem::replace(
                &mut segment,
                SegmentHeader::CURRENT.encode().to_vec(),
            ));
        }
    }
    samples.push(segment);
    samples
}

fn segment(bytes: &[u8]) {
    let Ok(header) = SegmentHeader::decode(bytes) else {
        return;
    };
    if header.layout_version == LayoutVersion::NAMENODE_CURRENT {
        assert_eq!(SegmentHeader::CURRENT.encode(), bytes[..SEGMENT_HEADER_LEN]);
    }
    let data = &bytes[SEGMENT_HEADER_LEN..];
    let mut frames = Frames::new(data, SEGMENT_HEADER_LEN as u64);
    let mut last: Option<TxId> = None;
    let mut steps = 0;
    loop {
        let before = frames.good_until();
        match frames.next_frame() {
            Ok(Some(frame)) => {
                steps += 1;
                assert!(steps * MIN_OP_SIZE_BYTES <= data.len(), "more frames than fit");
                let (sealed, crc) = frame.bytes.split_at(frame.bytes.len() - 4);
                assert_eq!(
                    crc32fast::hash(sealed).to_be_bytes(),
                    crc,
                    "a frame whose checksum is wrong"
                );
                assert!(
                    last.is_none_or(|last| last.0.checked_add(1) == Some(frame.txid.0)),
                    "out of order"
                );
                last = Some(frame.txid);
                assert_eq!(frame.offset, before);
                // The target `edit_op` checks the decoded op.
                let _ = decode_frame(&frame, header.layout_version);
            }
            Ok(None) => {
                assert!(frames.end().is_some());
                break;
            }
            Err(error) => {
                assert!(error.offset() <= bytes.len() as u64, "an error beyond the end: {error}");
                let _ = frames.is_torn_tail();
                assert_eq!(frames.next_frame(), Err(error), "asked again it says something else");
                break;
            }
        }
    }
    // The good part stays good when the rest is cut off.
    let good = usize::try_from(frames.good_until()).expect("within the bytes");
    let mut again = Frames::new(&bytes[SEGMENT_HEADER_LEN..good], SEGMENT_HEADER_LEN as u64);
    while again.next_frame().expect("it was good").is_some() {}
    assert_eq!(again.good_until(), frames.good_until());
}

/// The same segment with right checksums and, mostly, right numbers, so that the bodies of the frames are decoded too.
pub fn resealed(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    let (mut at, mut txid) = (SEGMENT_HEADER_LEN, None);
    while let Some(rest) = sealed
        .get_mut(at..)
        .filter(|rest| rest.len() >= MIN_OP_SIZE_BYTES && rest[0] != 0xFF)
    {
        let said = rest[1..5]
            .iter()
            .fold(0_usize, |len, byte| len << 8 | usize::from(*byte))
            + 5;
        let len = if (MIN_OP_SIZE_BYTES..=rest.len()).contains(&said) {
            said
        } else {
            rest.len()
        };
        rest[1..5].copy_from_slice(&u32::try_from(len - 5).unwrap_or(0).to_be_bytes());
        let number = txid.unwrap_or_else(|| {
            rest[5..13]
                .iter()
                .fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        });
        rest[5..13].copy_from_slice(&number.to_be_bytes());
        txid = Some(number.wrapping_add(1));
        let crc = crc32fast::hash(&rest[..len - 4]);
        rest[len - 4..len].copy_from_slice(&crc.to_be_bytes());
        at += len;
    }
    sealed
}

/// A standby applies it. It may refuse, and then it knows that its namespace can't be used any more. It does not break.
fn replay(input: &[u8]) {
    let mut sealed = resealed(input);
    // The first transaction gets the number 1, so that it is applied.
    if let Some(first) = sealed.get_mut(SEGMENT_HEADER_LEN + 5..SEGMENT_HEADER_LEN + 13) {
        first.copy_from_slice(&1_u64.to_be_bytes());
        sealed = resealed(&sealed);
    }
    let mut ns = calls::standby(TxId(0));
    let Ok(mut edits) = Edits::new(Bytes::from(sealed), TxId(i64::MAX as u64), EditsSource::Finalized) else {
        return;
    };
    while let Ok(true) = edits.apply(&mut ns, 16, 1000) {}
    ns.check();
}

fn name_samples() -> Vec<Vec<u8>> {
    samples_of(&[
        "edits_0000000000000000001-0000000000000000042",
        "edits_inprogress_0000000000000000043",
        "edits_inprogress_0000000000000000043.epoch=7",
        "edits_0000000000000000001-0000000000000000042.trash",
    ])
}

fn file_name(input: &[u8]) {
    let name = text(input);
    if let Some(file) = SegmentFile::parse(&name) {
        assert_eq!(SegmentFile::parse(&file.to_string()).as_ref(), Some(&file));
        assert!(
            i64::try_from(file.first().0).is_ok(),
            "{file} is none that Java could have made"
        );
    }
    if let Some(segment) = SegmentName::parse(&name) {
        assert_eq!(SegmentName::parse(&segment.file_name()).as_ref(), Some(&segment));
        assert!(
            i64::try_from(segment.end.unwrap_or(segment.start).0).is_ok(),
            "{segment:?}"
        );
    }
}

/// Memory of targets that read segments among other things.
pub const SEGMENT_MEMORY: Memory = Memory {
    // A scan reads a megabyte at a time, and may hold more than one buffer.
    fixed: 12 << 20,
    per_byte: 64,
};

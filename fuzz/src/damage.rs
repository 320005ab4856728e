//! Files of a NameNode in which some bytes were changed, as a bad disk or cable changes them. The original is known, so
//! more can be said than of any bytes ([`targets`](crate::targets)):
//!
//! * An op of a log that is read is the op that was written, and a log that is read to its end has all of its ops: every op
//!   has a checksum.
//! * An image has one MD5 for the whole file, beside it, and no other checksum. So its decoder is tried without it: the
//!   image is refused with the place, or it is loaded, passes all checks, and is saved and loaded as itself. Where its
//!   digest is the original's, it also prints as the original, but for the namespace's id and the last transaction. Where
//!   it is not, a value was changed into another one that may be, and the MD5 says so.
//! * Neither takes more memory than its length allows.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use hathi_formats::editlog::{EditOp, Frames, SEGMENT_HEADER_LEN, SegmentHeader, decode_frame};
use hathi_formats::fsimage::{Image, write_xml};
use hathi_formats::ids::TxId;
use hathi_nameserver::image_files::md5_of;
use hathi_namespace::image::load;
use hathi_namespace::{Namespace, NamespaceConfig};

use crate::random::Random;
use crate::targets::{editlog, image};
use crate::{Memory, allocations};

/// Most places of a file that are changed.
const PLACES_MAX: usize = 4;
/// Longest time for one file. A file of some kilobytes takes a millisecond.
const ENDLESS: Duration = Duration::from_secs(60);

/// What became of the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Refused with an error.
    pub refused: u64,
    /// Read as the original.
    pub same: u64,
    /// Images that hold other values than the original, which their MD5 tells.
    pub other_values: u64,
    /// The most memory that one file took, in bytes.
    pub peak_bytes: usize,
}

impl Report {
    /// Files in all.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.refused + self.same + self.other_values
    }
}

/// What one file was read as.
enum Read {
    Refused(String),
    Same,
    OtherValues,
}

/// Changes some bytes. At least one differs then.
fn damaged(original: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=random.below(PLACES_MAX) {
        let at = random.below(bytes.len());
        let byte = match random.below(4) {
            0 => bytes[at] ^ 1 << random.below(8),
            1 => random.pick(&[0, 1, 0x7F, 0x80, 0xFE, 0xFF]),
            // A byte of another place, as when a block of the disk is misplaced.
            2 => original[random.below(original.len())],
            _ => random.any() as u8,
        };
        bytes[at] = byte;
    }
    if bytes == original {
        let at = random.below(bytes.len());
        bytes[at] ^= 0x10;
    }
    bytes
}

/// Reads changed copies of images and logs, half of each.
///
/// # Panics
/// When one is read as what it is not, takes too much memory or too long, or a decoder panics.
#[must_use]
pub fn run(seed: u64, files: u64) -> (Report, Report) {
    let (mut images, mut logs) = (Report::default(), Report::default());
    for number in 0..files {
        let mut random = Random::new(seed).and(b"damage").and(&number.to_le_bytes());
        let named = format!("file {number} of seed {seed}");
        if number % 2 == 0 {
            let samples = image_originals();
            let original = &samples[random.below(samples.len())];
            let bytes = damaged(&original.bytes, &mut random);
            one(&mut images, &named, bytes.len(), image::NAMESPACE, || {
                read_image(original, &bytes)
            });
        } else {
            let samples = log_originals();
            let original = &samples[random.below(samples.len())];
            let bytes = damaged(&original.0, &mut random);
            one(&mut logs, &named, bytes.len(), image::NAMESPACE, || {
                read_log(&original.1, &bytes)
            });
        }
    }
    (images, logs)
}

fn one(report: &mut Report, named: &str, len: usize, memory: Memory, read: impl FnOnce() -> Read) {
    allocations::label(named);
    let began = Instant::now();
    let (read, peak) = allocations::measure(read);
    assert!(began.elapsed() < ENDLESS, "{named} took {:?}", began.elapsed());
    assert!(peak <= memory.limit(len), "{named} took {peak} bytes for its {len}");
    report.peak_bytes = report.peak_bytes.max(peak);
    match read {
        Read::Refused(error) => {
            assert!(!error.is_empty(), "{named} is refused without a word");
            report.refused += 1;
        }
        Read::Same => report.same += 1,
        Read::OtherValues => report.other_values += 1,
    }
}

/// An image and what it is read as.
struct ImageOriginal {
    bytes: Vec<u8>,
    digest: u64,
    xml: Vec<u8>,
    md5: [u8; 16],
}

fn image_originals() -> &'static [ImageOriginal] {
    static ORIGINALS: OnceLock<Vec<ImageOriginal>> = OnceLock::new();
    ORIGINALS.get_or_init(|| {
        let original = |bytes: Vec<u8>| {
            // One of the samples has a feature that is refused.
            let namespace = loaded(&bytes).ok()?;
            Some(ImageOriginal {
                digest: namespace.digest(),
                xml: saved_xml(&namespace),
                md5: md5_of(&bytes),
                bytes,
            })
        };
        let originals: Vec<_> = image::image_samples().into_iter().filter_map(original).collect();
        let with_everything = originals.iter().filter(|original| {
            let xml = String::from_utf8_lossy(&original.xml);
            ["<dirDiff>", "<pool>", "<token>"].iter().all(|part| xml.contains(part))
        });
        assert!(
            with_everything.count() > 0 && originals.len() > 2,
            "too little is tried"
        );
        originals
    })
}

fn loaded(bytes: &[u8]) -> Result<Namespace, String> {
    let image = Image::open(bytes).map_err(|error| error.to_string())?;
    load(NamespaceConfig::default(), &image).map_err(|error| error.to_string())
}

/// The XML of the image that a namespace is saved as.
fn saved_xml(namespace: &Namespace) -> Vec<u8> {
    let saved = image::save(namespace);
    let mut xml = Vec::new();
    let image = Image::open(&saved[..]).expect("what was saved opens");
    write_xml(&image, "", &mut xml).expect("what was saved prints");
    xml
}

/// The first line that differs.
fn differs(original: &[u8], xml: &[u8]) -> Option<String> {
    let (original, xml) = (String::from_utf8_lossy(original), String::from_utf8_lossy(xml));
    let mut lines = original.lines().zip(xml.lines());
    let differ = lines.find(|(original, line)| original != line);
    let told = differ.map(|(original, line)| format!("{original} became {line}"));
    told.or_else(|| (original != xml).then(|| "one ends early".to_owned()))
}

fn read_image(original: &ImageOriginal, bytes: &[u8]) -> Read {
    assert_ne!(md5_of(bytes), original.md5, "the MD5 does not tell");
    let namespace = match loaded(bytes) {
        Ok(namespace) => namespace,
        Err(error) => return Read::Refused(error),
    };
    namespace.check();
    if namespace.digest() == original.digest {
        // The digest leaves out which namespace it is and the last transaction.
        return match differs(&original.xml, &saved_xml(&namespace)) {
            None => Read::Same,
            Some(line) => {
                assert!(line.starts_with("<NameSection>"), "the digest does not tell: {line}");
                Read::OtherValues
            }
        };
    }
    let again = loaded(&image::save(&namespace)).expect("what was saved loads");
    assert_eq!(again.digest(), namespace.digest());
    Read::OtherValues
}

type Ops = Vec<(TxId, EditOp)>;

fn log_originals() -> &'static [(Vec<u8>, Ops)] {
    static ORIGINALS: OnceLock<Vec<(Vec<u8>, Ops)>> = OnceLock::new();
    ORIGINALS.get_or_init(|| {
        let original = |bytes: Vec<u8>| {
            let ops = read_ops(&bytes).1;
            assert!(!ops.is_empty(), "a sample has ops");
            (bytes, ops)
        };
        editlog::segment_samples().into_iter().map(original).collect()
    })
}

/// The ops up to the end or the first error, which is returned too.
fn read_ops(bytes: &[u8]) -> (Option<String>, Ops) {
    let mut ops = Vec::new();
    let header = match SegmentHeader::decode(bytes) {
        Ok(header) => header,
        Err(error) => return (Some(error.to_string()), ops),
    };
    let mut frames = Frames::new(
        bytes.get(SEGMENT_HEADER_LEN..).unwrap_or_default(),
        SEGMENT_HEADER_LEN as u64,
    );
    loop {
        match frames.next_frame() {
            Ok(None) => return (None, ops),
            Err(error) => return (Some(error.to_string()), ops),
            Ok(Some(frame)) => match decode_frame(&frame, header.layout_version) {
                Ok(op) => ops.push((frame.txid, op)),
                Err(error) => return (Some(error.to_string()), ops),
            },
        }
    }
}

fn read_log(original: &Ops, bytes: &[u8]) -> Read {
    let (error, ops) = read_ops(bytes);
    assert!(original.starts_with(&ops), "an op was read that was not written");
    match error {
        Some(error) => Read::Refused(error),
        None => {
            assert_eq!(ops.len(), original.len(), "ops are lost without an error");
            Read::Same
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The harness would see a reader that skips a damaged op, one that takes it, and an image of other values.
    #[test]
    fn silence_is_found() {
        let (bytes, ops) = &log_originals()[0];
        let fewer = ops[..ops.len() - 1].to_vec();
        let more = [&ops[..], &ops[..1]].concat();
        for wrong in [&fewer, &more] {
            let silent = std::panic::catch_unwind(|| read_log(wrong, bytes));
            assert!(silent.is_err());
        }
        let image = &image_originals()[0];
        let other = ImageOriginal {
            bytes: image.bytes.clone(),
            digest: image.digest,
            xml: Vec::new(),
            md5: [0; 16],
        };
        assert!(std::panic::catch_unwind(|| read_image(&other, &other.bytes)).is_err());
        assert!(std::panic::catch_unwind(|| read_image(image, &image.bytes)).is_err());
    }
}

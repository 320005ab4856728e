//! An image saved by Hadoop. It prints as Hadoop's own viewer prints it, and our writer writes the same file again.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of a test, where clippy does not see that they are"
)]

use hathi_formats::fsimage::{
    DirEntryRef, Hashed, Image, ImageWriter, InodeRef, SectionName, encode_directory_entry, image_from_xml,
    parse_md5_file, write_xml,
};
use hathi_formats::ids::LayoutVersion;
use proptest::prelude::*;

const IMAGE: &[u8] = include_bytes!("data/fsimage_0000000000000000073");
const MD5: &str = include_str!("data/fsimage_0000000000000000073.md5");
const XML: &str = include_str!("data/fsimage_0000000000000000073.xml");

/// Revision that Hadoop 3.5.0's viewer prints.
const REVISION: &str = "dbcc7cd797100e6b32cd84f85b53a5193a5f9af0";

#[test]
fn prints_as_hadoop_prints_it() {
    let image = Image::open(IMAGE).unwrap();
    let mut out = Vec::new();
    write_xml(&image, REVISION, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    for (ours, theirs) in text.lines().zip(XML.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(text, XML);
}

/// The XML of an image.
fn xml_of(image: &[u8]) -> String {
    let image = Image::open(image).unwrap();
    let mut out = Vec::new();
    write_xml(&image, REVISION, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn an_image_made_of_xml_prints_as_that_xml() {
    let (image, summary) = image_from_xml(XML.as_bytes(), Vec::new()).unwrap();
    assert_eq!(summary.len_bytes, image.len() as u64);
    let text = xml_of(&image);
    for (ours, theirs) in text.lines().zip(XML.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(text, XML);
}

/// The XML does not tell the kinds of references apart, and prints a copy of a file where there is none.
#[test]
fn an_image_made_of_xml_has_the_references_and_the_diffs_of_the_first() {
    use hathi_formats::proto::fsimage::i_node_reference_section::INodeReference;
    let (made, _) = image_from_xml(XML.as_bytes(), Vec::new()).unwrap();
    let references = |image: &[u8]| {
        let image = Image::open(image).unwrap();
        let mut messages = image.messages(image.section(SectionName::InodeReference).unwrap());
        let mut references = Vec::new();
        while let Some(reference) = messages.next_message::<INodeReference>().unwrap() {
            references.push(reference);
        }
        references
    };
    assert_eq!(references(&made), references(IMAGE));
    assert!(!references(IMAGE).is_empty());
    let messages = |image: &[u8]| {
        let image = Image::open(image).unwrap();
        let mut messages = image.messages(image.section(SectionName::SnapshotDiff).unwrap());
        let mut count = 0;
        while messages.next_bytes().unwrap().is_some() {
            count += 1;
        }
        count
    };
    assert_eq!(messages(&made), messages(IMAGE));
}

#[test]
fn xml_that_is_incomplete_or_of_another_layout_makes_no_image() {
    let without = |section: &str| {
        let (before, rest) = XML.split_once(&format!("<{section}>")).unwrap();
        let (_, after) = rest.split_once(&format!("</{section}>")).unwrap();
        format!("{before}{after}")
    };
    let cut = |len: usize| XML.chars().take(len).collect::<String>();
    for (bad, problem) in [
        (
            without("CacheManagerSection"),
            "without including section CacheManagerSection",
        ),
        (without("version"), "too old"),
        (
            XML.replace("-67</layoutVersion>", "-66</layoutVersion>"),
            "Layout version mismatch",
        ),
        (
            XML.replace("<mtime>", "<mtimes>").replace("</mtime>", "</mtimes>"),
            "<mtimes> is not known here",
        ),
        (XML.replace("<numInodes>", "<numInodes>1"), "<inode> is missing"),
        (
            XML.replace("<type>FILE</type>", "<type>DIR</type>"),
            "unknown <type> tag DIR",
        ),
        (XML.replace("<SnapshotSection>", "<SnapshotSection>text"), "text"),
        (cut(3000), "end"),
        (cut(XML.chars().count() - 20), "end"),
    ] {
        let error = image_from_xml(bad.as_bytes(), Vec::new()).unwrap_err().to_string();
        assert!(error.contains(problem), "{error} is not about {problem}");
    }
}

#[test]
fn written_again_it_is_the_same_file() {
    let image = Image::open(IMAGE).unwrap();
    let mut sections = image.sections().to_vec();
    sections.sort_by_key(|section| (section.offset, section.len_bytes));
    let mut writer = ImageWriter::new(Hashed::new(Vec::new()), None).unwrap();
    for section in sections {
        writer.begin(section.name);
        let mut messages = image.messages(section);
        let mut first = true;
        while let Some(bytes) = messages.next_bytes().unwrap() {
            match section.name {
                SectionName::Inode if !first => {
                    let inode = InodeRef::decode(bytes).unwrap();
                    let blocks: Vec<_> = inode.blocks.clone().collect();
                    inode.encode(&blocks, writer.buffer());
                }
                SectionName::InodeDir => {
                    let entry = DirEntryRef::decode(bytes).unwrap();
                    let references: Vec<u32> = entry.ref_children.map(|index| index.unwrap() as u32).collect();
                    let children = entry.children.map(Result::unwrap);
                    encode_directory_entry(entry.parent, children, &references, writer.buffer());
                }
                _ => {
                    let mut len = bytes.len();
                    while len >= 0x80 {
                        writer.buffer().push(len as u8 | 0x80);
                        len >>= 7;
                    }
                    writer.buffer().push(len as u8);
                    writer.buffer().extend_from_slice(bytes);
                }
            }
            writer.flush_if_full().unwrap();
            first = false;
        }
        writer.end();
    }
    let (written, len_bytes) = writer.finish(LayoutVersion(-67)).unwrap();
    let (bytes, md5) = written.finish();
    assert!(bytes == IMAGE, "the files differ");
    assert_eq!(len_bytes, IMAGE.len() as u64);
    assert_eq!(md5, parse_md5_file(MD5, "fsimage_0000000000000000073").unwrap());
    assert!(parse_md5_file(MD5, "fsimage_0000000000000000074").is_err());
}

proptest! {
    #[test]
    fn flipped_bytes_are_no_panic(at in 0..IMAGE.len(), with in 1..=255_u8) {
        let mut bytes = IMAGE.to_vec();
        bytes[at] ^= with;
        if let Ok(image) = Image::open(&bytes[..]) {
            let _ = write_xml(&image, "", std::io::sink());
            if let Some(section) = image.section(SectionName::Inode) {
                let mut messages = image.messages(section);
                while let Ok(Some(message)) = messages.next_bytes() {
                    if let Ok(inode) = InodeRef::decode(message) {
                        let _ = inode.blocks.count();
                    }
                }
            }
        }
    }

    #[test]
    fn images_cut_off_are_errors(len in 0..IMAGE.len()) {
        prop_assert!(Image::open(&IMAGE[..len]).is_err());
    }
}

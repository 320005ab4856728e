//! Images: the index, every section, whole files through the loader and through the verifier of uploads.

use std::sync::OnceLock;

use hathi_formats::fsimage::{
    AclBits, DirEntryRef, Image, ImageWriter, InodeRef, SectionName, SerialKind, XAttrNameBits, encode_directory_entry,
    format_md5_file, image_from_xml, parse_md5_file, write_xml,
};
use hathi_formats::ids::{Block, LayoutVersion};
use hathi_namespace::generator::{Shape, fill};
use hathi_namespace::image::{load, verify};
use hathi_namespace::{Namespace, NamespaceConfig};

use super::{PLAIN, samples_of, text};
use crate::{Memory, Target};

/// An image by Hadoop.
const STORED: &[u8] = include_bytes!("../../../formats/tests/data/fsimage_0000000000000000073");
/// The XML of it by Hadoop.
const STORED_XML: &str = include_str!("../../../formats/tests/data/fsimage_0000000000000000073.xml");

/// A namespace has its pages from the beginning. A short inode has records in several of them.
pub(crate) const NAMESPACE: Memory = Memory {
    fixed: 8 << 20,
    per_byte: 400,
};

pub fn targets() -> Vec<Target> {
    let target = |name, samples, run, memory| Target {
        name,
        samples,
        run,
        memory,
    };
    vec![
        target("fsimage", image_samples, whole, NAMESPACE),
        target("fsimage_section", section_samples, section, NAMESPACE),
        target("fsimage_index", image_samples, index, PLAIN),
        target("fsimage_xml", image_samples, xml, NAMESPACE),
        target("fsimage_from_xml", xml_samples, from_xml, NAMESPACE),
        target("fsimage_inode", inode_samples, inode, PLAIN),
        target("fsimage_directory_entry", directory_samples, directory_entry, PLAIN),
        target(
            "fsimage_packed_numbers",
            || vec![vec![0; 8], vec![0xFF; 8]],
            packed,
            PLAIN,
        ),
        target("md5_file", md5_samples, md5_file, PLAIN),
    ]
}

pub(crate) fn save(namespace: &Namespace) -> Vec<u8> {
    let saved = namespace
        .freeze()
        .save(Vec::new(), LayoutVersion::NAMENODE_CURRENT, &|| false);
    saved.expect("memory takes everything").0
}

pub(crate) fn image_samples() -> Vec<Vec<u8>> {
    static SAMPLES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SAMPLES.get_or_init(make_images).clone()
}

/// An image with some files and blocks, an empty one, and Hadoop's image, which has one of everything.
fn make_images() -> Vec<Vec<u8>> {
    let mut namespace = Namespace::new(NamespaceConfig::default());
    let shape = Shape {
        files: 3,
        files_per_directory: 2,
        ..Shape::default()
    };
    fill(&mut namespace, &shape, &mut |_, _, _| {}).expect("an empty namespace takes files");
    let mut samples = vec![save(&namespace), save(&Namespace::new(NamespaceConfig::default()))];
    samples.push(STORED.to_vec());
    samples.push(with_a_token());
    samples
}

/// Hadoop's image with a delegation token, and without the erasure coding policy of a directory, made of its XML.
fn with_a_token() -> Vec<u8> {
    let coded = "<xattrs><xattr><ns>SYSTEM</ns><name>hdfs.erasurecoding.policy</name>";
    let (before, rest) = STORED_XML.split_once(coded).expect("a directory has a policy");
    let (_, after) = rest.split_once("</xattrs>").expect("the XML is whole");
    let plain = format!("{before}{after}");
    let token = "<token><version>0</version><owner>one</owner><renewer>two</renewer><realUser></realUser>\
                 <issueDate>2026-11-21T03:40:49.745</issueDate><maxDate>2026-11-28T03:40:49.745</maxDate>\
                 <sequenceNumber>1</sequenceNumber><masterKeyId>1</masterKeyId>\
                 <expiryDate>2026-11-22T03:40:49.745</expiryDate></token></SecretManagerSection>";
    let xml = plain
        .replace("<numTokens>0<", "<numTokens>1<")
        .replace("</SecretManagerSection>", token);
    image_from_xml(xml.as_bytes(), Vec::new())
        .expect("the XML is complete")
        .0
}

/// XML makes an image that prints as the XML, or none.
fn from_xml(input: &[u8]) {
    let Ok((image, _)) = image_from_xml(input, Vec::new()) else {
        return;
    };
    let image = Image::open(&image[..]).expect("what was made opens");
    let mut xml = Vec::new();
    write_xml(&image, "", &mut xml).expect("what was made prints");
    let (again, _) = image_from_xml(&xml[..], Vec::new()).expect("what was printed makes an image");
    let again_image = Image::open(&again[..]).expect("what was made opens");
    let mut twice = Vec::new();
    write_xml(&again_image, "", &mut twice).expect("what was made prints");
    assert!(xml == twice, "printed twice it is another");
}

fn xml_samples() -> Vec<Vec<u8>> {
    vec![STORED_XML.as_bytes().to_vec()]
}

/// Loader and verifier agree on the image. An image that loads passes all checks, has as many inodes as it says, and is
/// the same when it is saved again.
fn whole(bytes: &[u8]) {
    let Ok(image) = Image::open(bytes) else {
        return;
    };
    let verified = verify(NamespaceConfig::default(), &image);
    let loaded = load(NamespaceConfig::default(), &image);
    let namespace = match (loaded, verified) {
        (Ok(namespace), Ok(verified)) => {
            assert_eq!(namespace.last_applied_txid(), verified.txid);
            assert_eq!(namespace.digest(), verified.digest);
            assert_eq!(namespace.digest_origin(), verified.origin);
            namespace
        }
        (Err(_), Err(_)) => return,
        (Ok(_), Err(error)) => panic!("it loads, and is refused as an upload: {error}"),
        (Err(error), Ok(_)) => panic!("it is taken as an upload, and does not load: {error}"),
    };
    namespace.check();
    let saved = save(&namespace);
    let image = Image::open(&saved[..]).expect("what was saved opens");
    let again = load(NamespaceConfig::default(), &image).expect("what was saved loads");
    assert_eq!(again.digest(), namespace.digest());
}

/// Sections that are replaced.
const SECTIONS: [SectionName; 11] = [
    SectionName::NsInfo,
    SectionName::StringTable,
    SectionName::ErasureCoding,
    SectionName::Inode,
    SectionName::InodeReference,
    SectionName::Snapshot,
    SectionName::InodeDir,
    SectionName::FilesUnderConstruction,
    SectionName::SnapshotDiff,
    SectionName::SecretManager,
    SectionName::CacheManager,
];

/// The sections of the sample images.
fn sections_of_samples() -> &'static [Vec<(SectionName, Vec<u8>)>] {
    static SECTIONS_OF: OnceLock<Vec<Vec<(SectionName, Vec<u8>)>>> = OnceLock::new();
    SECTIONS_OF.get_or_init(|| {
        let of_image = |image: &Vec<u8>| {
            let opened = Image::open(&image[..]).expect("a sample is good");
            let content = |name| {
                let section = opened.section(name)?;
                let from = usize::try_from(section.offset).ok()?;
                let len = usize::try_from(section.len_bytes).ok()?;
                Some((name, image.get(from..from + len)?.to_vec()))
            };
            SECTIONS.into_iter().filter_map(content).collect()
        };
        make_images().iter().map(of_image).collect()
    })
}

/// Number of the image, number of the section, and the section's content.
fn section_samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for (image, sections) in (0_u8..).zip(sections_of_samples()) {
        for (section, (_, content)) in (0_u8..).zip(sections) {
            samples.push([&[image, section], &content[..]].concat());
        }
    }
    samples
}

/// An image in which only this section may be bad.
fn section(input: &[u8]) {
    let Some(([image, replaced], content)) = input.split_first_chunk::<2>() else {
        return;
    };
    let images = sections_of_samples();
    let sections = &images[usize::from(*image) % images.len()];
    let replaced = usize::from(*replaced) % sections.len();
    let mut writer = ImageWriter::new(Vec::new(), None).expect("memory takes everything");
    for (place, (name, own)) in sections.iter().enumerate() {
        writer.begin(*name);
        writer
            .write(if place == replaced { content } else { own })
            .expect("memory takes everything");
        writer.end();
    }
    let (bytes, _) = writer
        .finish(LayoutVersion::NAMENODE_CURRENT)
        .expect("memory takes everything");
    whole(&bytes);
}

/// Reads the summary. Every section that it names can be read, and its messages end.
fn index(bytes: &[u8]) {
    let Ok(image) = Image::open(bytes) else {
        return;
    };
    let _ = image.layout_version();
    for name in SectionName::ALL {
        for part in image.parts(name) {
            assert!(part.offset.saturating_add(part.len_bytes) <= bytes.len() as u64);
            let mut messages = image.messages(part);
            let mut steps = 0;
            // An error ends them as well.
            while let Ok(Some(_)) = messages.next_bytes() {
                steps += 1;
                // Compressed content may be a thousand times as long.
                assert!(steps <= 1100 * bytes.len(), "more messages than bytes");
            }
        }
    }
}

fn xml(bytes: &[u8]) {
    if let Ok(image) = Image::open(bytes) {
        let _ = write_xml(&image, "revision", Vec::new());
    }
}

/// The messages of a section of the samples.
fn messages_of(name: SectionName) -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for image in make_images() {
        let opened = Image::open(&image[..]).expect("a sample is good");
        let Some(section) = opened.section(name) else {
            continue;
        };
        let mut messages = opened.messages(section);
        while let Ok(Some(message)) = messages.next_bytes() {
            samples.push(message.to_vec());
        }
    }
    samples
}

fn inode_samples() -> Vec<Vec<u8>> {
    messages_of(SectionName::Inode)
}

fn inode(message: &[u8]) {
    let Ok(inode) = InodeRef::decode(message) else {
        return;
    };
    let blocks: Vec<Block> = inode.blocks.clone().collect();
    let mut encoded = Vec::new();
    inode.encode(&blocks, &mut encoded);
    let mut rest = &encoded[..];
    let len = prost::encoding::decode_varint(&mut rest).expect("its own length is good");
    assert_eq!(len, rest.len() as u64);
    let again = InodeRef::decode(rest).expect("what was encoded decodes");
    assert_eq!(again.blocks.clone().collect::<Vec<_>>(), blocks);
    let mut twice = Vec::new();
    again.encode(&blocks, &mut twice);
    assert_eq!(encoded, twice);
}

fn directory_samples() -> Vec<Vec<u8>> {
    messages_of(SectionName::InodeDir)
}

fn directory_entry(message: &[u8]) {
    let Ok(entry) = DirEntryRef::decode(message) else {
        return;
    };
    let children: Result<Vec<u64>, _> = entry.children.clone().collect();
    let references: Result<Vec<u32>, _> = entry
        .ref_children
        .clone()
        .map(|index| index.map(|n| n as u32))
        .collect();
    let (Ok(children), Ok(references)) = (children, references) else {
        return;
    };
    let mut encoded = Vec::new();
    encode_directory_entry(entry.parent, children.iter().copied(), &references, &mut encoded);
    let mut rest = &encoded[..];
    prost::encoding::decode_varint(&mut rest).expect("its own length is good");
    let again = DirEntryRef::decode(rest).expect("what was encoded decodes");
    assert_eq!(again.parent, entry.parent);
    assert_eq!(again.children.collect::<Result<Vec<u64>, _>>().as_ref(), Ok(&children));
    assert_eq!(again.ref_children.count(), references.len());
}

/// ACL entries, names of attributes and ids of strings, each packed into a number.
fn packed(input: &[u8]) {
    for number in input.chunks_exact(4) {
        let packed = number.iter().fold(0_u32, |packed, byte| packed << 8 | u32::from(*byte));
        let acl = AclBits::unpack(packed);
        assert_eq!(AclBits::unpack(acl.pack()), acl);
        if let Some(name) = XAttrNameBits::unpack(packed) {
            assert_eq!(XAttrNameBits::unpack(name.pack()), Some(name));
        }
        for mask_bits in [0, 3, 31, 32, packed % 64, u32::MAX] {
            let _ = SerialKind::split(packed, mask_bits);
        }
    }
}

const FILE_NAME: &str = "fsimage_0000000000000000001";

fn md5_samples() -> Vec<Vec<u8>> {
    samples_of(&[&format_md5_file(&[0xA5; 16], FILE_NAME)])
}

fn md5_file(input: &[u8]) {
    if let Ok(md5) = parse_md5_file(&text(input), FILE_NAME) {
        assert_eq!(parse_md5_file(&format_md5_file(&md5, FILE_NAME), FILE_NAME), Ok(md5));
    }
}

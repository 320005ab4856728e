//! An image made of the XML of Hadoop's offline image viewer (`OfflineImageReconstructor`).
//!
//! The file is read a record at a time, so an image of any size needs the memory of its largest directory. Some of what
//! Java's writer leaves out of the XML is concluded from the rest:
//! - The last id of a striped block is the highest in any file.
//! - A reference with a name is one that a rename left behind (`WithName`). One without is the place where the inode is
//!   now (`DstReference`). Java's own tool makes all of them the second kind.
//! - The copy of a file in a difference is none when nothing is set in it.

mod diffs;
mod inode;
mod small;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Write};

use super::{
    Hashed, ImageSummary, ImageWriter, ON_DISK_VERSION, STRING_KIND_SHIFT, STRING_TABLE_MASK_BITS, SectionName,
    SerialKind,
};
use crate::ids::LayoutVersion;
use crate::proto::fsimage as pb;
use crate::xml_tree::{Node, XmlError, XmlInput};

/// Most strings of one kind: their serials have 24 bits in inodes.
const STRINGS_MAX: u32 = (1 << 24) - 1;

/// Why no image can be made.
#[derive(Debug, thiserror::Error)]
pub enum FromXmlError {
    /// The XML can't be read, or says something that no image can hold.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// The image could not be written.
    #[error("cannot write the image")]
    Write(#[from] io::Error),
}

type Result<T = ()> = std::result::Result<T, FromXmlError>;

/// Sections that every XML must have (the others are only there when they have content), by their elements.
const NEEDED: [&str; 8] = [
    "NameSection",
    "INodeSection",
    "INodeReferenceSection",
    "SnapshotSection",
    "INodeDirectorySection",
    "FileUnderConstructionSection",
    "SecretManagerSection",
    "CacheManagerSection",
];

/// Strings that have got serials, of each kind.
#[derive(Debug, Default)]
struct Strings {
    serials: BTreeMap<(SerialKind, String), u32>,
    next: BTreeMap<SerialKind, u32>,
}

impl Strings {
    fn serial(&mut self, kind: SerialKind, text: &str) -> Option<u32> {
        if let Some(serial) = self.serials.get(&(kind, text.to_owned())) {
            return Some(*serial);
        }
        let next = self.next.entry(kind).or_insert(0);
        if *next >= STRINGS_MAX {
            return None;
        }
        *next = next.saturating_add(1);
        self.serials.insert((kind, text.to_owned()), *next);
        Some(*next)
    }
}

/// Makes an image of XML and returns what was written, and the writer, flushed but not synced.
///
/// # Errors
/// When the XML is of another layout than ours, incomplete or wrong, or the image can't be written.
pub fn image_from_xml<R: BufRead, W: Write>(source: R, out: W) -> Result<(W, ImageSummary)> {
    let mut maker = Maker {
        xml: XmlInput::new(source),
        out: ImageWriter::new(Hashed::new(out), None)?,
        strings: Strings::default(),
        name_section: None,
        last_striped_block: None,
    };
    maker.xml.expect("fsimage")?;
    maker.version()?;
    let mut seen = BTreeSet::new();
    while let Some(name) = maker.xml.open()? {
        if !seen.insert(name.clone()) {
            return Err(maker.xml.error(format!("<{name}> is there twice")).into());
        }
        maker.section(&name)?;
    }
    if let Some(missing) = NEEDED.iter().find(|name| !seen.contains(**name)) {
        let problem = format!("FSImage XML ended prematurely, without including section {missing}");
        return Err(maker.xml.error(problem).into());
    }
    maker.string_table()?;
    maker.name_section()?;
    let (out, len_bytes) = maker.out.finish(LayoutVersion::NAMENODE_CURRENT)?;
    let (out, md5) = out.finish();
    Ok((out, ImageSummary { len_bytes, md5 }))
}

struct Maker<R: BufRead, W: Write> {
    xml: XmlInput<R>,
    out: ImageWriter<W>,
    strings: Strings,
    /// Written last, because the highest striped block is only known then.
    name_section: Option<pb::NameSystemSection>,
    last_striped_block: Option<i64>,
}

impl<R: BufRead, W: Write> Maker<R, W> {
    /// Versions of the file. An image of another layout may have other sections, so only ours is taken, as in Hadoop.
    fn version(&mut self) -> Result {
        if self.xml.open()?.as_deref() != Some("version") {
            let problem = "No <version> section found at the top of the fsimage XML.  This XML file is too old to be \
                           processed by oiv.";
            return Err(self.xml.error(problem).into());
        }
        let mut version = self.xml.record("version")?;
        let on_disk: u32 = version.require_number("onDiskVersion")?;
        let layout: i32 = version.require_number("layoutVersion")?;
        version.take("oivRevision");
        version.done()?;
        if on_disk != ON_DISK_VERSION || layout != LayoutVersion::NAMENODE_CURRENT.0 {
            let current = LayoutVersion::NAMENODE_CURRENT;
            let problem = format!(
                "Layout version mismatch.  This oiv tool handles layout version {current}, but the XML file has \
                 <layoutVersion> {layout} and <onDiskVersion> {on_disk}"
            );
            return Err(self.xml.error(problem).into());
        }
        Ok(())
    }

    fn section(&mut self, name: &str) -> Result {
        let section = match name {
            "NameSection" => return self.read_name_section(),
            "ErasureCodingSection" => SectionName::ErasureCoding,
            "INodeSection" => SectionName::Inode,
            "INodeReferenceSection" => SectionName::InodeReference,
            "SnapshotSection" => SectionName::Snapshot,
            "INodeDirectorySection" => SectionName::InodeDir,
            "FileUnderConstructionSection" => SectionName::FilesUnderConstruction,
            "SnapshotDiffSection" => SectionName::SnapshotDiff,
            "SecretManagerSection" => SectionName::SecretManager,
            "CacheManagerSection" => SectionName::CacheManager,
            _ => return Err(self.xml.error(format!("unknown section <{name}>")).into()),
        };
        self.out.begin(section);
        match name {
            "ErasureCodingSection" => self.erasure_coding()?,
            "INodeSection" => self.inodes()?,
            "INodeReferenceSection" => self.references()?,
            "SnapshotSection" => self.snapshots()?,
            "INodeDirectorySection" => self.directories()?,
            "FileUnderConstructionSection" => self.files_under_construction()?,
            "SnapshotDiffSection" => self.snapshot_diffs()?,
            "SecretManagerSection" => self.secrets()?,
            _ => self.cache()?,
        }
        self.out.end();
        Ok(())
    }

    fn read_name_section(&mut self) -> Result {
        let mut node = self.xml.record("NameSection")?;
        let id: i32 = node.require_number("namespaceId")?;
        self.name_section = Some(pb::NameSystemSection {
            namespace_id: Some(id.cast_unsigned()),
            genstamp_v1: long(&mut node, "genstampV1")?,
            genstamp_v2: long(&mut node, "genstampV2")?,
            genstamp_v1_limit: long(&mut node, "genstampV1Limit")?,
            last_allocated_block_id: long(&mut node, "lastAllocatedBlockId")?,
            transaction_id: long(&mut node, "txid")?,
            rolling_upgrade_start_time: long(&mut node, "rollingUpgradeStartTime")?,
            last_allocated_striped_block_id: long(&mut node, "lastAllocatedStripedBlockId")?,
            digest_origin: None,
        });
        Ok(node.done()?)
    }

    fn name_section(&mut self) -> Result {
        let mut section = self.name_section.take().unwrap_or_default();
        if section.last_allocated_striped_block_id.is_none() {
            section.last_allocated_striped_block_id = self.last_striped_block.map(i64::cast_unsigned);
        }
        self.out.begin(SectionName::NsInfo);
        self.out.message(&section)?;
        self.out.end();
        Ok(())
    }

    fn string_table(&mut self) -> Result {
        let mut entries: Vec<(u32, String)> = std::mem::take(&mut self.strings.serials)
            .into_iter()
            .map(|((kind, text), serial)| (serial | (kind as u32) << STRING_KIND_SHIFT, text))
            .collect();
        entries.sort();
        self.out.begin(SectionName::StringTable);
        self.out.message(&pb::StringTableSection {
            num_entry: Some(u32::try_from(entries.len()).unwrap_or(u32::MAX)),
            mask_bits: Some(STRING_TABLE_MASK_BITS),
        })?;
        for (id, text) in entries {
            self.out.message(&pb::string_table_section::Entry {
                id: Some(id),
                str: Some(text),
            })?;
        }
        self.out.end();
        Ok(())
    }

    /// Children of the open section with this name, one by one, to the section's end.
    fn next_record(&mut self, name: &str) -> Result<Option<Node>> {
        match self.xml.open()? {
            None => Ok(None),
            Some(found) if found == name => Ok(Some(self.xml.record(name)?)),
            Some(found) => Err(self.xml.error(format!("<{found}> instead of <{name}>")).into()),
        }
    }

    /// The next child of the open section, which must be there.
    fn require_record(&mut self, name: &str) -> Result<Node> {
        self.xml.expect(name)?;
        Ok(self.xml.record(name)?)
    }
}

/// A number that Java prints with a sign and the image holds without.
fn long(node: &mut Node, name: &str) -> std::result::Result<Option<u64>, XmlError> {
    Ok(node.take_number::<i64>(name)?.map(i64::cast_unsigned))
}

/// As [`long`], of 32 bits.
fn int(node: &mut Node, name: &str) -> std::result::Result<Option<u32>, XmlError> {
    Ok(node.take_number::<i32>(name)?.map(i32::cast_unsigned))
}

fn require_int(node: &mut Node, name: &str) -> std::result::Result<u32, XmlError> {
    node.require_number::<i32>(name).map(i32::cast_unsigned)
}

/// The numbers of children.
fn longs(node: &mut Node, name: &str) -> std::result::Result<Vec<u64>, XmlError> {
    let all = node.take_all(name);
    all.iter()
        .map(|child| child.number::<i64>().map(i64::cast_unsigned))
        .collect()
}

/// As [`longs`], of 32 bits.
fn ints(node: &mut Node, name: &str) -> std::result::Result<Vec<u32>, XmlError> {
    let all = node.take_all(name);
    all.iter()
        .map(|child| child.number::<i32>().map(i32::cast_unsigned))
        .collect()
}

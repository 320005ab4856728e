//! The fsimage: sections of delimited messages between a magic and a summary (`FSImageFormatProtobuf`), and the small
//! text files beside it.
//!
//! ```text
//! "HDFSIMG1" | section | section | ... | delimited FileSummary | i32 length of the delimited summary
//! ```
//! Sections are written in one order and loaded in another, because the targets of references are collected while the
//! referring sections are written. The order of [`SectionName`] is that of loading.

mod bits;
mod codec;
mod dates;
mod from_xml;
mod inode;
mod reader;
mod side_files;
mod writer;
mod xml;

pub use bits::{AclBits, SerialKind, XAttrNameBits};
pub use codec::ImageCodec;
pub(crate) use dates::civil_from_days;
pub use from_xml::{FromXmlError, image_from_xml};
pub use inode::{
    BlockRefs, DirEntryRef, InodeKind, InodeRef, encode_directory_entry, permission_bits, permission_parts,
};
pub use reader::{Image, ImageError, MessageReader, ReadAt, Section};
pub use side_files::{MD5_SUFFIX, format_md5_file, parse_md5_file};
pub use writer::{Hashed, ImageSummary, ImageWriter};
pub use xml::{DumpError, StringTable, write_xml};

/// The first eight bytes.
pub const MAGIC: &[u8; 8] = b"HDFSIMG1";
/// `FileSummary.ondiskVersion`
pub const ON_DISK_VERSION: u32 = 1;
/// `StringTableSection.maskBits` as Hadoop writes it since layout -65: an id is `serial | kind << 29`.
pub const STRING_TABLE_MASK_BITS: u32 = 3;
/// Where the kind of a string starts in its id.
pub const STRING_KIND_SHIFT: u32 = 29;

/// Sections in the order of loading (`FSImageFormatProtobuf.SectionName`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SectionName {
    /// Ids and counters.
    NsInfo,
    /// Users, groups, xattr names.
    StringTable,
    /// Unused.
    ExtendedAcl,
    /// Erasure coding policies.
    ErasureCoding,
    /// Inodes, in any order.
    Inode,
    /// A part of [`SectionName::Inode`]; the first one starts with the section's header.
    InodeSub,
    /// References that renames out of snapshots leave behind.
    InodeReference,
    /// A part of the references.
    InodeReferenceSub,
    /// Snapshots.
    Snapshot,
    /// The children of each directory.
    InodeDir,
    /// A part of [`SectionName::InodeDir`].
    InodeDirSub,
    /// Files that have a writer.
    FilesUnderConstruction,
    /// Differences to snapshots.
    SnapshotDiff,
    /// A part of the differences.
    SnapshotDiffSub,
    /// Delegation tokens.
    SecretManager,
    /// Cache pools and directives.
    CacheManager,
}

impl SectionName {
    /// Every name.
    pub const ALL: [SectionName; 16] = [
        SectionName::NsInfo,
        SectionName::StringTable,
        SectionName::ExtendedAcl,
        SectionName::ErasureCoding,
        SectionName::Inode,
        SectionName::InodeSub,
        SectionName::InodeReference,
        SectionName::InodeReferenceSub,
        SectionName::Snapshot,
        SectionName::InodeDir,
        SectionName::InodeDirSub,
        SectionName::FilesUnderConstruction,
        SectionName::SnapshotDiff,
        SectionName::SnapshotDiffSub,
        SectionName::SecretManager,
        SectionName::CacheManager,
    ];

    /// As the summary names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SectionName::NsInfo => "NS_INFO",
            SectionName::StringTable => "STRING_TABLE",
            SectionName::ExtendedAcl => "EXTENDED_ACL",
            SectionName::ErasureCoding => "ERASURE_CODING",
            SectionName::Inode => "INODE",
            SectionName::InodeSub => "INODE_SUB",
            SectionName::InodeReference => "INODE_REFERENCE",
            SectionName::InodeReferenceSub => "INODE_REFERENCE_SUB",
            SectionName::Snapshot => "SNAPSHOT",
            SectionName::InodeDir => "INODE_DIR",
            SectionName::InodeDirSub => "INODE_DIR_SUB",
            SectionName::FilesUnderConstruction => "FILES_UNDERCONSTRUCTION",
            SectionName::SnapshotDiff => "SNAPSHOT_DIFF",
            SectionName::SnapshotDiffSub => "SNAPSHOT_DIFF_SUB",
            SectionName::SecretManager => "SECRET_MANAGER",
            SectionName::CacheManager => "CACHE_MANAGER",
        }
    }

    /// From the summary's name.
    #[must_use]
    pub fn parse(name: &str) -> Option<SectionName> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    /// The name of this section's parts, if it may have parts.
    #[must_use]
    pub fn sub(self) -> Option<SectionName> {
        match self {
            SectionName::Inode => Some(SectionName::InodeSub),
            SectionName::InodeReference => Some(SectionName::InodeReferenceSub),
            SectionName::InodeDir => Some(SectionName::InodeDirSub),
            SectionName::SnapshotDiff => Some(SectionName::SnapshotDiffSub),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;

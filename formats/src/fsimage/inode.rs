//! The two kinds of messages that an image holds by the million, decoded without allocation and encoded in place.

use super::ImageError;
use crate::ids::{Block, BlockId, GenerationStamp};
use crate::wire::{
    Field, Fields, MalformedMessage, PackedVarints, put_bytes, put_delimited, put_fixed64, put_nested, put_number,
    put_varint,
};

/// Kind of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InodeKind {
    /// `INodeFile`
    File,
    /// `INodeDirectory`
    Directory,
    /// `INodeSymlink`
    Symlink,
}

/// An inode in the image's section, borrowed from its bytes. Fields that its kind does not have keep their defaults.
/// Rare features stay encoded, for prost.
#[derive(Clone, Debug)]
pub struct InodeRef<'a> {
    /// Its kind.
    pub kind: InodeKind,
    /// Inode id.
    pub id: u64,
    /// Last component of its path; empty for the root.
    pub name: &'a [u8],
    /// Modification time in ms.
    pub modification_time: u64,
    /// Access time in ms. 0 for directories.
    pub access_time: u64,
    /// `mode | group serial << 16 | user serial << 40`; see [`permission_parts`].
    pub permission: u64,
    /// Replication factor of a file. 0 for a striped file.
    pub replication: u32,
    /// Preferred block size of a file, in bytes.
    pub preferred_block_size: u64,
    /// Blocks of a file.
    pub blocks: BlockRefs<'a>,
    /// Encoded `FileUnderConstructionFeature`.
    pub under_construction: Option<&'a [u8]>,
    /// Encoded `AclFeatureProto`.
    pub acl: Option<&'a [u8]>,
    /// Encoded `XAttrFeatureProto`.
    pub xattrs: Option<&'a [u8]>,
    /// Storage policy. 0 is inherited.
    pub storage_policy_id: u32,
    /// Whether the file is striped.
    pub striped: bool,
    /// Erasure coding policy of a striped file.
    pub erasure_coding_policy_id: u32,
    /// Quota of names of a directory. `u64::MAX` is none.
    pub ns_quota: u64,
    /// Space quota of a directory, in bytes. `u64::MAX` is none.
    pub ds_quota: u64,
    /// Encoded `QuotaByStorageTypeFeatureProto`.
    pub type_quotas: Option<&'a [u8]>,
    /// Target of a symlink.
    pub target: &'a [u8],
}

impl<'a> InodeRef<'a> {
    /// An inode with nothing but kind and id, to be filled in and encoded.
    #[must_use]
    pub fn new(kind: InodeKind, id: u64) -> Self {
        InodeRef {
            kind,
            id,
            name: &[],
            modification_time: 0,
            access_time: 0,
            permission: 0,
            replication: 0,
            preferred_block_size: 0,
            blocks: BlockRefs { rest: Fields::new(&[]) },
            under_construction: None,
            acl: None,
            xattrs: None,
            storage_policy_id: 0,
            striped: false,
            erasure_coding_policy_id: 0,
            ns_quota: u64::MAX,
            ds_quota: u64::MAX,
            type_quotas: None,
            target: &[],
        }
    }

    /// Decodes an `INode` message.
    ///
    /// # Errors
    /// When it is malformed, or lacks a field that every inode has.
    pub fn decode(message: &'a [u8]) -> Result<Self, MalformedMessage> {
        let mut inode = InodeRef::new(InodeKind::File, 0);
        let (mut kind, mut body) = (None, None);
        for field in Fields::new(message) {
            match field? {
                (1, Field::Number(value)) => {
                    kind = Some(match value {
                        1 => InodeKind::File,
                        2 => InodeKind::Directory,
                        3 => InodeKind::Symlink,
                        _ => return Err(MalformedMessage),
                    });
                }
                (2, Field::Number(value)) => inode.id = value,
                (3, Field::Bytes(bytes)) => inode.name = bytes,
                (4..=6, Field::Bytes(_)) if body.is_some() => return Err(MalformedMessage),
                (4, Field::Bytes(bytes)) => {
                    body = Some(InodeKind::File);
                    inode.file(bytes)?;
                }
                (5, Field::Bytes(bytes)) => {
                    body = Some(InodeKind::Directory);
                    inode.directory(bytes)?;
                }
                (6, Field::Bytes(bytes)) => {
                    body = Some(InodeKind::Symlink);
                    inode.symlink(bytes)?;
                }
                _ => {}
            }
        }
        inode.kind = kind.ok_or(MalformedMessage)?;
        // A message with the kind of a directory and the body of a file is damaged.
        if inode.id == 0 || body.is_some_and(|body| body != inode.kind) {
            Err(MalformedMessage)
        } else {
            Ok(inode)
        }
    }

    fn file(&mut self, message: &'a [u8]) -> Result<(), MalformedMessage> {
        self.blocks = BlockRefs {
            rest: Fields::new(message),
        };
        for field in Fields::new(message) {
            match field? {
                (1, Field::Number(value)) => self.replication = narrow(value)?,
                (2, Field::Number(value)) => self.modification_time = value,
                (3, Field::Number(value)) => self.access_time = value,
                (4, Field::Number(value)) => self.preferred_block_size = value,
                (5, Field::Fixed(value)) => self.permission = value,
                (6, Field::Bytes(bytes)) => {
                    decode_block(bytes)?;
                }
                (7, Field::Bytes(bytes)) => self.under_construction = Some(bytes),
                (8, Field::Bytes(bytes)) => self.acl = Some(bytes),
                (9, Field::Bytes(bytes)) => self.xattrs = Some(bytes),
                (10, Field::Number(value)) => self.storage_policy_id = narrow(value)?,
                (11, Field::Number(value)) => self.striped = value == 1,
                (12, Field::Number(value)) => self.erasure_coding_policy_id = narrow(value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn directory(&mut self, message: &'a [u8]) -> Result<(), MalformedMessage> {
        for field in Fields::new(message) {
            match field? {
                (1, Field::Number(value)) => self.modification_time = value,
                (2, Field::Number(value)) => self.ns_quota = value,
                (3, Field::Number(value)) => self.ds_quota = value,
                (4, Field::Fixed(value)) => self.permission = value,
                (5, Field::Bytes(bytes)) => self.acl = Some(bytes),
                (6, Field::Bytes(bytes)) => self.xattrs = Some(bytes),
                (7, Field::Bytes(bytes)) => self.type_quotas = Some(bytes),
                _ => {}
            }
        }
        Ok(())
    }

    fn symlink(&mut self, message: &'a [u8]) -> Result<(), MalformedMessage> {
        for field in Fields::new(message) {
            match field? {
                (1, Field::Fixed(value)) => self.permission = value,
                (2, Field::Bytes(bytes)) => self.target = bytes,
                (3, Field::Number(value)) => self.modification_time = value,
                (4, Field::Number(value)) => self.access_time = value,
                _ => {}
            }
        }
        Ok(())
    }

    /// Appends this inode as a delimited message; `blocks` are the file's.
    pub fn encode(&self, blocks: &[Block], out: &mut Vec<u8>) {
        put_delimited(out, |out| {
            let kind = match self.kind {
                InodeKind::File => 1,
                InodeKind::Directory => 2,
                InodeKind::Symlink => 3,
            };
            put_number(out, 1, kind);
            put_number(out, 2, self.id);
            // The root's name is empty, but the field is there, as in Hadoop.
            put_bytes(out, 3, self.name);
            match self.kind {
                InodeKind::File => put_nested(out, 4, |out| self.encode_file(blocks, out)),
                InodeKind::Directory => put_nested(out, 5, |out| self.encode_directory(out)),
                InodeKind::Symlink => put_nested(out, 6, |out| {
                    put_fixed64(out, 1, self.permission);
                    put_bytes(out, 2, self.target);
                    put_number(out, 3, self.modification_time);
                    put_number(out, 4, self.access_time);
                }),
            }
        });
    }

    fn encode_file(&self, blocks: &[Block], out: &mut Vec<u8>) {
        if !self.striped {
            put_number(out, 1, u64::from(self.replication));
        }
        put_number(out, 2, self.modification_time);
        put_number(out, 3, self.access_time);
        put_number(out, 4, self.preferred_block_size);
        put_fixed64(out, 5, self.permission);
        for block in blocks {
            put_nested(out, 6, |out| {
                put_number(out, 1, block.id.0.cast_unsigned());
                put_number(out, 2, block.generation_stamp.0);
                put_number(out, 3, block.num_bytes);
            });
        }
        for (number, feature) in [(7, self.under_construction), (8, self.acl), (9, self.xattrs)] {
            if let Some(feature) = feature {
                put_bytes(out, number, feature);
            }
        }
        put_number(out, 10, u64::from(self.storage_policy_id));
        put_number(out, 11, u64::from(self.striped));
        if self.striped {
            put_number(out, 12, u64::from(self.erasure_coding_policy_id));
        }
    }

    fn encode_directory(&self, out: &mut Vec<u8>) {
        put_number(out, 1, self.modification_time);
        put_number(out, 2, self.ns_quota);
        put_number(out, 3, self.ds_quota);
        put_fixed64(out, 4, self.permission);
        for (number, feature) in [(5, self.acl), (6, self.xattrs), (7, self.type_quotas)] {
            if let Some(feature) = feature {
                put_bytes(out, number, feature);
            }
        }
    }
}

fn narrow(value: u64) -> Result<u32, MalformedMessage> {
    u32::try_from(value).map_err(|_| MalformedMessage)
}

/// The blocks of a file, decoded one by one.
#[derive(Clone, Debug)]
pub struct BlockRefs<'a> {
    rest: Fields<'a>,
}

impl Iterator for BlockRefs<'_> {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        // Errors were found when the inode was decoded, so none is left here.
        self.rest.by_ref().find_map(|field| match field {
            Ok((6, Field::Bytes(bytes))) => decode_block(bytes).ok(),
            _ => None,
        })
    }
}

fn decode_block(message: &[u8]) -> Result<Block, MalformedMessage> {
    let mut block = Block::default();
    for field in Fields::new(message) {
        match field? {
            (1, Field::Number(value)) => block.id = BlockId(value.cast_signed()),
            (2, Field::Number(value)) => block.generation_stamp = GenerationStamp(value),
            (3, Field::Number(value)) => block.num_bytes = value,
            _ => {}
        }
    }
    Ok(block)
}

/// A `DirEntry`: the children of one directory.
#[derive(Clone, Debug)]
pub struct DirEntryRef<'a> {
    /// The directory's inode id.
    pub parent: u64,
    /// Inode ids in byte-wise order of their names.
    pub children: PackedVarints<'a>,
    /// Positions in the list of references, for inodes that were renamed out of snapshots.
    pub ref_children: PackedVarints<'a>,
}

impl<'a> DirEntryRef<'a> {
    /// Decodes a `DirEntry` message whose lists are packed, as Hadoop writes them.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(message: &'a [u8]) -> Result<Self, MalformedMessage> {
        let mut entry = DirEntryRef {
            parent: 0,
            children: PackedVarints::new(&[]),
            ref_children: PackedVarints::new(&[]),
        };
        for field in Fields::new(message) {
            match field? {
                (1, Field::Number(value)) => entry.parent = value,
                (2, Field::Bytes(rest)) => entry.children = PackedVarints::new(rest),
                (3, Field::Bytes(rest)) => entry.ref_children = PackedVarints::new(rest),
                (2 | 3, Field::Number(_) | Field::Fixed(_)) => return Err(MalformedMessage),
                _ => {}
            }
        }
        if entry.parent == 0 {
            Err(MalformedMessage)
        } else {
            Ok(entry)
        }
    }
}

/// Appends a `DirEntry` as a delimited message. `references` are positions in the list of references.
pub fn encode_directory_entry(parent: u64, children: impl Iterator<Item = u64>, references: &[u32], out: &mut Vec<u8>) {
    let put_list = |out: &mut Vec<u8>, number: u64, numbers: &mut dyn Iterator<Item = u64>| {
        put_nested(out, number, |out| numbers.for_each(|child| put_varint(out, child)));
    };
    put_delimited(out, |out| {
        put_number(out, 1, parent);
        let mut children = children.peekable();
        if children.peek().is_some() {
            put_list(out, 2, &mut children);
        }
        if !references.is_empty() {
            put_list(out, 3, &mut references.iter().map(|index| u64::from(*index)));
        }
    });
}

/// Packs mode, group and user serial as `INode.permission` has them.
#[must_use]
pub fn permission_bits(user: u32, group: u32, mode: u16) -> u64 {
    u64::from(user) << 40 | (u64::from(group) & 0xFF_FFFF) << 16 | u64::from(mode)
}

/// User serial, group serial and mode of `INode.permission`.
#[must_use]
pub fn permission_parts(permission: u64) -> (u32, u32, u16) {
    (
        (permission >> 40) as u32,
        (permission >> 16 & 0xFF_FFFF) as u32,
        (permission & 0xFFFF) as u16,
    )
}

impl From<MalformedMessage> for ImageError {
    fn from(error: MalformedMessage) -> Self {
        ImageError::malformed(0, error.to_string())
    }
}

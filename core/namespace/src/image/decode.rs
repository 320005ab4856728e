//! Decoding the inodes of an image, which belong to no namespace yet: on several threads, if the caller has them.

use std::borrow::Cow;
use std::sync::Arc;

use hathi_formats::editlog::{AclEntry, AclEntryType, XAttr, XAttrNamespace};
use hathi_formats::fsimage::{
    AclBits, Image, ImageError, InodeKind, InodeRef, ReadAt, SectionName, SerialKind, StringTable, XAttrNameBits,
};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};
use hathi_formats::proto::fsimage as pb;
use prost::Message;

use super::{POLICY_XATTR, bad};
use crate::attributes::{Attributes, Quota};
use crate::digest::terms;
use crate::erasure_coding::policy::ErasureCodingPolicyId;
use crate::files::block::{BlockRec, MAX_GENERATION_STAMP};
use crate::files::check_id;
use crate::snapshots::{Kept, KeptQuota};
use crate::store::names::MAX_NAME_LEN;
use crate::store::slab::NONE;
use crate::tree::inode::{InodeRec, MAX_48, Perm, flag};
use crate::types::quota;
use crate::unsupported::Feature;

/// A serial up to this number is accepted in every image; a higher one only up to the length of the string table in
/// bytes.
const SERIALS_ALWAYS: u64 = 1 << 16;

/// Maps serials of an image to those of the namespace.
#[derive(Debug, Default)]
pub(super) struct Serials {
    users: Vec<u32>,
    groups: Vec<u32>,
    table: StringTable,
    /// The newest stamp of any block. The next one that is handed out is above it.
    newest_stamp: u64,
    /// What the digest takes for users and groups, by the namespace's serials.
    user_terms: Vec<u64>,
    group_terms: Vec<u64>,
}

/// Inodes that were read but belong to no namespace yet.
#[derive(Debug, Default)]
pub struct DecodedInodes {
    pub(super) inodes: Vec<DecodedInode>,
    pub(super) names: Vec<u8>,
    pub(super) blocks: Vec<BlockRec>,
    pub(super) rare: Vec<(usize, Rare)>,
    /// Their part of the digest, without their parents: added up where they are decoded, on several threads.
    pub(super) sum: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct DecodedInode {
    pub(super) rec: InodeRec,
    /// Bytes of [`DecodedInodes::names`].
    pub(super) name_len: usize,
    /// Number of [`DecodedInodes::blocks`].
    pub(super) blocks: usize,
}

/// State that few inodes have.
#[derive(Debug)]
pub(super) enum Rare {
    /// Client, its machine, and whether its lease was taken from it.
    Open(String, String, bool),
    /// The last block must get this length. If it is a copy, also the block that it is copied from.
    Truncation(u64, Option<Block>),
    Acl(Vec<AclEntry>),
    XAttrs(Vec<XAttr>),
    Quota(Quota),
    Target(Vec<u8>),
    Unsupported(Feature),
}

/// Reads the inodes of one part of an image, a batch at a time.
pub struct InodeDecoder<'a, F: ReadAt + ?Sized> {
    pub(super) messages: hathi_formats::fsimage::MessageReader<'a, F>,
    pub(super) serials: Arc<Serials>,
    pub(super) skip_header: bool,
}

/// Inodes per batch: some hundred kilobytes, and some hundred microseconds.
const BATCH: usize = 2048;

impl Serials {
    /// Reads the string table, and gives the namespace its users and groups.
    pub(super) fn load<F: ReadAt + ?Sized>(
        image: &Image<'_, F>,
        attributes: &mut Attributes,
        newest_stamp: u64,
    ) -> Result<Serials, ImageError> {
        let table = StringTable::load(image)?;
        let mut serials = Serials {
            users: vec![0],
            groups: vec![0],
            table,
            newest_stamp,
            user_terms: Vec::new(),
            group_terms: Vec::new(),
        };
        if let Some(section) = image.section(SectionName::StringTable) {
            let mut messages = image.messages(section);
            let header: pb::StringTableSection = messages.require()?;
            for _ in 0..header.num_entry() {
                let entry: pb::string_table_section::Entry = messages.require()?;
                let Some((kind, serial)) = SerialKind::split(entry.id(), header.mask_bits()) else {
                    return Err(bad("a string's id is out of range"));
                };
                // Serials are handed out in sequence, so none is above their number.
                let room = section.len_bytes.max(SERIALS_ALWAYS);
                if serial > 0xff_ffff || u64::from(serial) > room {
                    return Err(bad("a string's serial is out of range"));
                }
                let put = |map: &mut Vec<u32>, own: u32| {
                    let at = serial as usize;
                    if map.len() <= at {
                        map.resize(at + 1, 0);
                    }
                    map[at] = own;
                };
                if matches!(kind, None | Some(SerialKind::User)) {
                    let own = attributes.intern_user(entry.str());
                    put(&mut serials.users, own);
                }
                if matches!(kind, None | Some(SerialKind::Group)) {
                    let own = attributes.intern_group(entry.str());
                    put(&mut serials.groups, own);
                }
            }
        }
        serials.user_terms = attributes.users().terms().to_vec();
        serials.group_terms = attributes.groups().terms().to_vec();
        Ok(serials)
    }

    fn user(&self, serial: u32) -> Result<u32, String> {
        self.mapped(&self.users, SerialKind::User, serial)
    }

    fn group(&self, serial: u32) -> Result<u32, String> {
        self.mapped(&self.groups, SerialKind::Group, serial)
    }

    /// The namespace's serial of a name; 0 stands for none and for the empty name. A serial that is in no string table
    /// would give the inode to another user, so it is refused.
    fn mapped(&self, map: &[u32], kind: SerialKind, serial: u32) -> Result<u32, String> {
        match map.get(serial as usize) {
            Some(own) if *own != 0 || serial == 0 => Ok(*own),
            _ if self.table.get(kind, serial).is_some() => Ok(0),
            _ => Err(format!("the string table has no {kind:?} {serial}")),
        }
    }
}

impl<F: ReadAt + ?Sized> InodeDecoder<'_, F> {
    /// The next inodes; `None` at the end of the part.
    pub fn next_batch(&mut self) -> Result<Option<DecodedInodes>, ImageError> {
        let mut out = DecodedInodes::default();
        out.inodes.reserve(BATCH);
        while out.inodes.len() < BATCH {
            let offset = self.messages.offset();
            let Some(bytes) = self.messages.next_bytes()? else {
                break;
            };
            if std::mem::take(&mut self.skip_header) {
                continue;
            }
            let added = InodeRef::decode(bytes)
                .map_err(|error| error.to_string())
                .and_then(|inode| out.push(&inode, &self.serials));
            if let Err(problem) = added {
                return Err(ImageError::Malformed {
                    offset,
                    problem: format!("section INODE: {problem}"),
                });
            }
        }
        Ok((!out.inodes.is_empty()).then_some(out))
    }
}

impl DecodedInodes {
    /// Number of inodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inodes.len()
    }

    /// Whether there are no inodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inodes.is_empty()
    }

    fn push(&mut self, inode: &InodeRef<'_>, serials: &Serials) -> Result<(), String> {
        if inode.id > MAX_48 {
            return Err(format!("inode id {} is too large", inode.id));
        }
        // Names are UTF-8, because ops name paths as text. A name of an old log or a foreign tool that is not UTF-8
        // could be named by no op, so it gets one that can be named. The id in it keeps two such names apart.
        let name = match std::str::from_utf8(inode.name) {
            Ok(_) => Cow::Borrowed(inode.name),
            Err(_) => {
                let shown = String::from_utf8_lossy(inode.name);
                Cow::Owned(format!("{shown}.{}", inode.id).into_bytes())
            }
        };
        if name.len() > MAX_NAME_LEN {
            return Err(format!("the name of inode {} is too long", inode.id));
        }
        let perm = Perm(inode.permission);
        let perm = Perm::new(serials.user(perm.user())?, serials.group(perm.group())?, perm.mode());
        let kind = match inode.kind {
            InodeKind::File => flag::FILE,
            InodeKind::Directory => flag::DIRECTORY,
            InodeKind::Symlink => flag::SYMLINK,
        };
        let mut rec = InodeRec::new(InodeId(inode.id), kind, perm, inode.modification_time);
        let first = self.blocks.len();
        let at = self.inodes.len();
        if inode.kind == InodeKind::File {
            rec.set_atime(inode.access_time);
            if inode.striped {
                let policy = u8::try_from(inode.erasure_coding_policy_id);
                rec.set_striped(ErasureCodingPolicyId(
                    policy.map_err(|_| "erasure coding policy out of range")?,
                ));
            } else {
                let replication = i16::try_from(inode.replication)
                    .ok()
                    .and_then(|number| u16::try_from(number).ok());
                rec.set_replication(replication.ok_or("replication out of range")?);
            }
            rec.set_block_size(inode.preferred_block_size);
            rec.storage_policy = inode.storage_policy_id as u8;
            for block in inode.blocks.clone() {
                check_block(&rec, &block, serials)?;
                self.blocks.push(BlockRec::new(block, NONE, false));
            }
            if let Some(bytes) = inode.under_construction {
                let uc = pb::i_node_section::FileUnderConstructionFeature::decode(bytes)
                    .map_err(|error| error.to_string())?;
                // Only the last block of an open file is still being written, and not even that one after an append
                // that begins a new block. Hadoop's images can't say so, and Hadoop takes that block for open.
                if !uc.last_block_complete()
                    && let Some(last) = self.blocks.get_mut(first..).and_then(<[BlockRec]>::last_mut)
                {
                    *last = BlockRec::new(last.block(), NONE, true);
                }
                let truncation = decode_truncation(&rec, &uc, serials)?;
                let reassigned = uc.lease_reassigned();
                self.rare.push((
                    at,
                    Rare::Open(
                        uc.client_name.unwrap_or_default(),
                        uc.client_machine.unwrap_or_default(),
                        reassigned,
                    ),
                ));
                self.rare.extend(truncation.map(|truncation| (at, truncation)));
            }
        } else {
            if inode.kind == InodeKind::Symlink {
                rec.set_atime(inode.access_time);
                self.rare.push((at, Rare::Target(inode.target.to_vec())));
            } else if let Some(quota) = decode_quota(inode)? {
                self.rare.push((at, Rare::Quota(quota)));
            }
        }
        if let Some(bytes) = inode.acl {
            let acl = decode_acl(bytes, serials)?;
            if !acl.is_empty() {
                self.rare.push((at, Rare::Acl(acl)));
            }
        }
        if let Some(bytes) = inode.xattrs {
            let mut xattrs = decode_xattrs(bytes, serials)?;
            let unsupported = xattrs.iter().find_map(Feature::of_xattr);
            self.rare
                .extend(unsupported.map(|feature| (at, Rare::Unsupported(feature))));
            if inode.kind == InodeKind::Directory {
                let is_policy = |x: &XAttr| x.namespace == XAttrNamespace::System && x.name == POLICY_XATTR;
                if let Some(policy) = xattrs.iter().find(|x| is_policy(x)) {
                    rec.storage_policy = policy.value.as_ref().and_then(|v| v.first()).copied().unwrap_or(0);
                }
                xattrs.retain(|x| !is_policy(x));
            }
            if !xattrs.is_empty() {
                self.rare.push((at, Rare::XAttrs(xattrs)));
            }
        }
        self.count(&rec, &name, first, serials);
        self.names.extend_from_slice(&name);
        self.inodes.push(DecodedInode {
            rec,
            name_len: name.len(),
            blocks: self.blocks.len() - first,
        });
        Ok(())
    }

    /// Adds the terms of an inode that is about to be added, of its blocks from `first` on and of what is rare.
    fn count(&mut self, rec: &InodeRec, name: &[u8], first: usize, serials: &Serials) {
        let term = |terms: &[u64], serial: u32| terms.get(serial as usize).copied().unwrap_or_default();
        let user = term(&serials.user_terms, rec.perm().user());
        let group = term(&serials.group_terms, rec.perm().group());
        let mut sum = self.sum.wrapping_add(terms::inode(rec, name, user, group));
        let mut add = |term: u64| sum = sum.wrapping_add(term);
        for (index, block) in self.blocks.iter().skip(first).enumerate() {
            add(terms::block(block));
            add(terms::place(rec.id(), index, block));
        }
        let at = self.inodes.len();
        let rare = self.rare.iter().rev().take_while(|(of, _)| *of == at);
        rare.for_each(|(_, rare)| add(rare.terms(rec.id())));
        self.sum = sum;
    }
}

/// What an inode was, from a message with its attributes.
pub(super) fn kept(inode: &InodeRef<'_>, serials: &Serials) -> Result<Kept, String> {
    let mut decoded = DecodedInodes::default();
    decoded.push(inode, serials)?;
    let (mut acl, mut xattrs, mut quota) = (None, None, None);
    for (_, rare) in decoded.rare {
        match rare {
            Rare::Acl(found) => acl = Some(Arc::from(found)),
            Rare::XAttrs(found) => xattrs = Some(Arc::from(found)),
            Rare::Quota(found) => {
                quota = Some(KeptQuota {
                    ns: found.ns,
                    ds: found.ds,
                    types: found.types,
                });
            }
            Rare::Unsupported(feature) => {
                return Err(feature.refused_at(&format!("inode {} in a snapshot", inode.id)));
            }
            // No attributes.
            Rare::Open(..) | Rare::Truncation(..) | Rare::Target(_) => {}
        }
    }
    let decoded = decoded.inodes.first().ok_or("no inode was decoded")?;
    Ok(Kept::new(&decoded.rec, acl, xattrs, quota))
}

impl Rare {
    /// What the digest counts for it.
    fn terms(&self, inode: InodeId) -> u64 {
        match self {
            Rare::Open(client_name, client_machine, reassigned) => {
                terms::open(inode, client_name, client_machine, *reassigned)
            }
            Rare::Truncation(length, source) => {
                let block = source.map_or(0, |block| terms::block(&BlockRec::new(block, NONE, false)));
                terms::truncation(inode, *length, source.as_ref()).wrapping_add(block)
            }
            Rare::Acl(acl) => terms::acl(inode, acl),
            Rare::XAttrs(xattrs) => terms::xattrs(inode, xattrs),
            Rare::Quota(quota) => terms::quota(inode, quota.ns, quota.ds, &quota.types),
            Rare::Target(target) => terms::link(inode, target),
            // No image with it is taken.
            Rare::Unsupported(_) => 0,
        }
    }
}

pub(super) fn check_block(of: &InodeRec, block: &Block, serials: &Serials) -> Result<(), String> {
    let file = of.id();
    check_id(of, block.id).map_err(|problem| format!("file {file}: {problem}"))?;
    if block.num_bytes > MAX_48 || block.generation_stamp.0 > MAX_GENERATION_STAMP {
        return Err(format!("block {} of file {file} is out of range", block.id));
    }
    if block.generation_stamp.0 > serials.newest_stamp {
        return Err(format!(
            "block {} of file {file} has the generation stamp {}, and the newest one is {}",
            block.id, block.generation_stamp, serials.newest_stamp
        ));
    }
    Ok(())
}

fn decode_truncation(
    file: &InodeRec,
    uc: &pb::i_node_section::FileUnderConstructionFeature,
    serials: &Serials,
) -> Result<Option<Rare>, String> {
    let Some(length) = uc.truncate_length else {
        return Ok(None);
    };
    if file.is_striped() {
        return Err(format!("file {} is striped, and can't be cut", file.id()));
    }
    let source = uc.truncate_source.as_ref().map(|source| Block {
        id: BlockId(source.block_id as i64),
        num_bytes: source.num_bytes(),
        generation_stamp: GenerationStamp(source.gen_stamp),
    });
    if let Some(source) = &source {
        check_block(file, source, serials)?;
    }
    Ok(Some(Rare::Truncation(length, source)))
}

/// Every number below zero stands for no quota: `DirectoryWithQuotaFeature` checks none of them. Nobody can set one but -1, so
/// -1 is what is kept. The same goes for the largest number of names, which limits nothing, but for the root, which always
/// has it.
fn decode_quota(inode: &InodeRef<'_>) -> Result<Option<Quota>, String> {
    let ns = match inode.ns_quota as i64 {
        quota::DONT_SET if inode.id != InodeId::ROOT.0 => quota::RESET,
        ns => ns.max(quota::RESET),
    };
    let mut found = Quota {
        ns,
        ds: (inode.ds_quota as i64).max(quota::RESET),
        types: Default::default(),
        used_types: Default::default(),
        used_ns: 0,
        used_ds: 0,
    };
    if let Some(bytes) = inode.type_quotas {
        let types = pb::i_node_section::QuotaByStorageTypeFeatureProto::decode(bytes).map_err(|e| e.to_string())?;
        for entry in types.quotas.iter().filter(|entry| entry.quota as i64 >= 0) {
            if let Some(ordinal) = crate::ops::storage_type_ordinal(entry.storage_type) {
                found.types.insert(ordinal, entry.quota as i64);
            }
        }
    }
    Ok((found.ns >= 0 || found.ds >= 0 || !found.types.is_empty()).then_some(found))
}

fn decode_acl(bytes: &[u8], serials: &Serials) -> Result<Vec<AclEntry>, String> {
    let acl = pb::i_node_section::AclFeatureProto::decode(bytes).map_err(|error| error.to_string())?;
    acl.entries
        .iter()
        .map(|packed| {
            let bits = AclBits::unpack(*packed);
            let kind = match bits.entry_type {
                AclEntryType::User => SerialKind::User,
                _ => SerialKind::Group,
            };
            // Otherwise the entry of another user would become that of the owner or group.
            let name = match serials.table.get(kind, bits.name) {
                _ if bits.name == 0 => None,
                _ if matches!(bits.entry_type, AclEntryType::Mask | AclEntryType::Other) => {
                    return Err("an entry of an ACL for everybody has a name".to_owned());
                }
                Some(name) if !name.is_empty() => Some(name.to_owned()),
                _ => return Err(format!("the string table has no name {} of an ACL", bits.name)),
            };
            Ok(AclEntry {
                scope: bits.scope,
                entry_type: bits.entry_type,
                name,
                permission: bits.permission,
            })
        })
        .collect()
}

fn decode_xattrs(bytes: &[u8], serials: &Serials) -> Result<Vec<XAttr>, String> {
    let feature = pb::i_node_section::XAttrFeatureProto::decode(bytes).map_err(|error| error.to_string())?;
    feature
        .x_attrs
        .into_iter()
        .map(|compact| {
            let bits = XAttrNameBits::unpack(compact.name).ok_or("unknown namespace of an attribute")?;
            let name = serials
                .table
                .get(SerialKind::XAttr, bits.name)
                .ok_or("an attribute's name is missing")?;
            Ok(XAttr {
                namespace: bits.namespace,
                name: name.to_owned(),
                value: Some(compact.value.map_or_else(Vec::new, |value| value.to_vec())),
            })
        })
        .collect()
}

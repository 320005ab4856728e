//! Reading an image.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use hathi_formats::editlog::{AclEntry, AclEntryType, DelegationKey, DelegationTokenIdentifier, XAttr, XAttrNamespace};
use hathi_formats::fsimage::{
    AclBits, DirEntryRef, Image, ImageError, InodeKind, InodeRef, ReadAt, Section, SectionName, SerialKind,
    StringTable, XAttrNameBits,
};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId, LayoutVersion};
use hathi_formats::proto::fsimage as pb;
use hathi_formats::proto::hdfs::{CacheDirectiveInfoProto, CachePoolInfoProto};
use prost::Message;

use super::POLICY_XATTR;
use crate::config::Config;
use crate::digest::{self, terms};
use crate::feature::Quota;
use crate::namespace::Namespace;
use crate::store::children::{ChildIndex, ChildList};
use crate::store::inode::{BlockRec, InodeRec, MAX_48, MAX_GENERATION_STAMP, Perm, flag};
use crate::store::names::{MAX_NAME_LEN, utf16_len};
use crate::store::slab::{NONE, Slot};
use crate::truncation::Truncation;
use crate::unsupported::Feature;
use crate::usage::Usage;

/// A serial up to this number is accepted in every image; a higher one only up to the length of the string table in
/// bytes.
const SERIALS_ALWAYS: u64 = 1 << 16;
/// Largest number of links between a directory and the root. More of them are a circle.
const MAX_DEPTH: usize = 1 << 20;

/// Loads a whole image on the calling thread.
pub fn load<F: ReadAt + ?Sized>(config: Config, image: &Image<'_, F>) -> Result<Namespace, ImageError> {
    let mut loader = ImageLoader::new(config, image)?;
    for part in image.parts(SectionName::Inode) {
        let mut decoder = loader.decoder(image, part);
        while let Some(decoded) = decoder.next_batch()? {
            loader.add_inodes(decoded)?;
        }
    }
    loader.add_directories(image)?;
    loader.finish(image)
}

/// Maps serials of an image to those of the namespace.
#[derive(Debug, Default)]
struct Serials {
    users: Vec<u32>,
    groups: Vec<u32>,
    table: StringTable,
    /// The newest stamp of any block. The next one that is handed out is above it.
    newest_stamp: u64,
    /// What the digest takes for users and groups, by the namespace's serials.
    user_terms: Vec<u64>,
    group_terms: Vec<u64>,
}

/// What [`ImageLoader::read_rest`] finds.
pub(super) struct Rest {
    pub(super) txid: u64,
    pub(super) namespace_id: u32,
    /// Of the whole image.
    pub(super) digest: u64,
    /// See [`Namespace::digest_origin`].
    pub(super) origin: u64,
}

/// Builds a namespace from the parts of an image. The parts may be decoded on other threads ([`ImageLoader::decoder`])
/// and added in any order; directories follow after all inodes.
#[derive(Debug)]
pub struct ImageLoader {
    ns: Namespace,
    serials: Arc<Serials>,
    expected: u64,
    /// The inode with the lowest id that has an unsupported feature.
    unsupported: Option<(InodeId, Slot, Feature)>,
    /// Whether a directory names children by reference, which only snapshots do.
    has_references: bool,
    /// See [`Namespace::digest_origin`]. An image of Hadoop's has none.
    origin: Option<u64>,
}

/// Inodes that were read but belong to no namespace yet.
#[derive(Debug, Default)]
pub struct DecodedInodes {
    /// `data` is the number of blocks, `name` the length of the name.
    pub(super) recs: Vec<InodeRec>,
    pub(super) names: Vec<u8>,
    pub(super) blocks: Vec<BlockRec>,
    pub(super) rare: Vec<(usize, Rare)>,
    /// Their part of the digest, without their parents: added up where they are decoded, on several threads.
    pub(super) sum: u64,
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
    messages: hathi_formats::fsimage::MessageReader<'a, F>,
    serials: Arc<Serials>,
    skip_header: bool,
}

/// Inodes per batch: some hundred kilobytes.
const BATCH: usize = 8192;

pub(super) fn bad(problem: impl Into<String>) -> ImageError {
    ImageError::Malformed {
        offset: 0,
        problem: problem.into(),
    }
}

impl Serials {
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
        out.recs.reserve(BATCH);
        while out.recs.len() < BATCH {
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
        Ok((!out.recs.is_empty()).then_some(out))
    }
}

impl DecodedInodes {
    /// Number of inodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.recs.len()
    }

    /// Whether there are no inodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.recs.is_empty()
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
        let mut rec = InodeRec::new(
            InodeId(inode.id),
            kind,
            name.len() as u32,
            perm,
            inode.modification_time,
        );
        let at = self.recs.len();
        if inode.kind == InodeKind::File {
            if inode.striped {
                self.rare.push((at, Rare::Unsupported(Feature::ErasureCodedFile)));
            }
            rec.set_atime(inode.access_time);
            rec.replication = u16::try_from(inode.replication).map_err(|_| "replication out of range")?;
            rec.set_block_size(inode.preferred_block_size);
            rec.storage_policy = inode.storage_policy_id as u8;
            let first = self.blocks.len();
            // Block groups have ids of their own, which no block has.
            for block in inode.blocks.clone().filter(|_| !inode.striped) {
                check_block(inode.id, &block, serials)?;
                self.blocks.push(BlockRec::new(block, NONE, false));
            }
            rec.data = (self.blocks.len() - first) as u32;
            if let Some(bytes) = inode.under_construction {
                let uc = pb::i_node_section::FileUnderConstructionFeature::decode(bytes)
                    .map_err(|error| error.to_string())?;
                // Only the last block of an open file is still being written, and not even that one after an append
                // that begins a new block. Hadoop's images can't say so, and Hadoop takes that block for open.
                if rec.data > 0
                    && !uc.last_block_complete()
                    && let Some(last) = self.blocks.last_mut()
                {
                    last.set_open(true);
                }
                let truncation = decode_truncation(inode.id, &uc, serials)?;
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
            rec.data = 0;
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
        self.count(&rec, &name, serials);
        self.names.extend_from_slice(&name);
        self.recs.push(rec);
        Ok(())
    }

    /// Adds the terms of an inode that is about to be added, of its blocks and of what is rare.
    fn count(&mut self, rec: &InodeRec, name: &[u8], serials: &Serials) {
        let term = |terms: &[u64], serial: u32| terms.get(serial as usize).copied().unwrap_or_default();
        let user = term(&serials.user_terms, rec.perm().user());
        let group = term(&serials.group_terms, rec.perm().group());
        let mut sum = self.sum.wrapping_add(terms::inode(rec, name, user, group));
        let mut add = |term: u64| sum = sum.wrapping_add(term);
        if rec.is_file() {
            let own = self.blocks.iter().rev().take(rec.data as usize).rev();
            for (index, block) in own.enumerate() {
                add(terms::block(block));
                add(terms::place(rec.id(), index, block));
            }
        }
        let at = self.recs.len();
        let rare = self.rare.iter().rev().take_while(|(of, _)| *of == at);
        rare.for_each(|(_, rare)| add(rare.terms(rec.id())));
        self.sum = sum;
    }
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

fn check_block(file: u64, block: &Block, serials: &Serials) -> Result<(), String> {
    if block.num_bytes > MAX_48 || block.generation_stamp.0 > MAX_GENERATION_STAMP || block.id.0 < 0 {
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
    file: u64,
    uc: &pb::i_node_section::FileUnderConstructionFeature,
    serials: &Serials,
) -> Result<Option<Rare>, String> {
    let Some(length) = uc.truncate_length else {
        return Ok(None);
    };
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

fn decode_quota(inode: &InodeRef<'_>) -> Result<Option<Quota>, String> {
    let mut quota = Quota {
        ns: inode.ns_quota as i64,
        ds: inode.ds_quota as i64,
        types: Default::default(),
        used_types: Default::default(),
        used_ns: 0,
        used_ds: 0,
    };
    if let Some(bytes) = inode.type_quotas {
        let types = pb::i_node_section::QuotaByStorageTypeFeatureProto::decode(bytes).map_err(|e| e.to_string())?;
        for entry in types.quotas {
            if let Some(ordinal) = crate::ops::storage_type_ordinal(entry.storage_type) {
                quota.types.insert(ordinal, entry.quota as i64);
            }
        }
    }
    Ok((quota.ns >= 0 || quota.ds >= 0 || !quota.types.is_empty()).then_some(quota))
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
                Some(name) => Some(name.to_owned()),
                None => return Err(format!("the string table has no name {} of an ACL", bits.name)),
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

impl ImageLoader {
    /// Reads the counters and the strings.
    pub fn new<F: ReadAt + ?Sized>(config: Config, image: &Image<'_, F>) -> Result<Self, ImageError> {
        let layout = image.layout_version();
        if layout != LayoutVersion::NAMENODE_CURRENT {
            return Err(ImageError::Unsupported(format!(
                "the image is of layout version {layout}, and {} is expected. Let Hadoop 3.5's NameNode load and save it",
                LayoutVersion::NAMENODE_CURRENT
            )));
        }
        let mut ns = Namespace::without_root(config);
        let info = image
            .section(SectionName::NsInfo)
            .ok_or_else(|| bad("section NS_INFO is missing"))?;
        let info: pb::NameSystemSection = image.messages(info).require()?;
        let c = &mut ns.counters;
        c.genstamp_v1 = info.genstamp_v1();
        c.genstamp_v1_limit = info.genstamp_v1_limit();
        c.genstamp = info.genstamp_v2().max(c.genstamp);
        c.impending_genstamp = c.genstamp;
        c.block_id = (info.last_allocated_block_id() as i64).max(c.block_id);
        c.striped_block_id = info
            .last_allocated_striped_block_id
            .map_or(c.striped_block_id, |id| id as i64);
        c.txid = info.transaction_id();
        c.rolling_upgrade_start = info.rolling_upgrade_start_time();
        ns.namespace_id = info.namespace_id();

        let table = StringTable::load(image)?;
        let mut serials = Serials {
            users: vec![0],
            groups: vec![0],
            table,
            newest_stamp: ns.counters.genstamp,
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
                    let own = ns.users.intern(entry.str());
                    put(&mut serials.users, own);
                }
                if matches!(kind, None | Some(SerialKind::Group)) {
                    let own = ns.groups.intern(entry.str());
                    put(&mut serials.groups, own);
                }
            }
        }
        serials.user_terms = ns.users.terms().to_vec();
        serials.group_terms = ns.groups.terms().to_vec();
        let section = image
            .section(SectionName::Inode)
            .ok_or_else(|| bad("section INODE is missing"))?;
        let header: pb::INodeSection = image.messages(section).require()?;
        ns.counters.inode_id = ns.counters.inode_id.max(header.last_inode_id());
        Ok(ImageLoader {
            ns,
            serials: Arc::new(serials),
            expected: header.num_inodes(),
            unsupported: None,
            has_references: false,
            origin: info.digest_origin,
        })
    }

    /// Reads all sections except those of inodes, whose highest id and sum are given, and drops them.
    pub(super) fn read_rest<F: ReadAt + ?Sized>(
        mut self,
        image: &Image<'_, F>,
        (last_inode, mut sum): (u64, u64),
        is_directory: impl Fn(u64) -> bool,
    ) -> Result<Rest, ImageError> {
        let counters = &mut self.ns.counters;
        counters.inode_id = counters.inode_id.max(last_inode);
        if let Some(section) = image.section(SectionName::Snapshot)
            && let Some(header) = image.messages(section).next_message::<pb::SnapshotSection>()?
        {
            if let Some(id) = header.snapshottable_dir.iter().find(|id| !is_directory(**id)) {
                return Err(bad(format!("snapshottable directory {id} does not exist")));
            }
            if header.num_snapshots() > 0 {
                let place = format!("{} snapshots", header.num_snapshots());
                return Err(ImageError::Unsupported(Feature::Snapshots.refused_at(&place)));
            }
            counters.snapshot_counter = header.snapshot_counter();
            let dirs: BTreeSet<u64> = header.snapshottable_dir.iter().copied().collect();
            for id in dirs {
                sum = sum.wrapping_add(terms::snapshottable(InodeId(id)));
            }
        }
        check_no_snapshot_records(image)?;
        let ns = &mut self.ns;
        load_carried(ns, image)?;
        let carried = digest::carried_terms(&ns.secrets, &ns.cache, &ns.erasure_coding);
        let digest = sum.wrapping_add(carried).wrapping_add(digest::counters(&ns.counters));
        Ok(Rest {
            txid: ns.counters.txid,
            namespace_id: ns.namespace_id,
            digest,
            origin: self.origin.unwrap_or_else(|| digest::foreign(digest)),
        })
    }

    /// Number of inodes that the image announces.
    #[must_use]
    pub fn expected_inodes(&self) -> u64 {
        self.expected
    }

    /// A reader of one of `image.parts(SectionName::Inode)`; may move to another thread.
    #[must_use]
    pub fn decoder<'a, F: ReadAt + ?Sized>(&self, image: &Image<'a, F>, part: Section) -> InodeDecoder<'a, F> {
        let first = image
            .section(SectionName::Inode)
            .is_some_and(|whole| whole.offset == part.offset);
        InodeDecoder {
            messages: image.messages(part),
            serials: self.serials.clone(),
            skip_header: first,
        }
    }

    /// Adds decoded inodes.
    pub fn add_inodes(&mut self, decoded: DecodedInodes) -> Result<(), ImageError> {
        let ns = &mut self.ns;
        ns.sum.add(decoded.sum);
        let (mut name_at, mut block_at) = (0, 0);
        let mut rare = decoded.rare.into_iter().peekable();
        for (n, mut rec) in decoded.recs.into_iter().enumerate() {
            let id = rec.id();
            let name_len = rec.name as usize;
            let blocks = rec.data as usize;
            rec.name = ns.names.insert(&decoded.names[name_at..name_at + name_len]);
            rec.data = NONE;
            name_at += name_len;
            let slot = ns.inodes.insert(rec);
            if ns.inode_ids.insert(id.0, slot).is_some() {
                return Err(bad(format!("inode id {id} appears twice")));
            }
            ns.counters.inode_id = ns.counters.inode_id.max(id.0);
            if id == InodeId::ROOT {
                ns.root = slot;
            }
            if blocks > 0 {
                let mut slots = Vec::new();
                for block in &decoded.blocks[block_at..block_at + blocks] {
                    let mut block = *block;
                    block.file = slot;
                    ns.open_blocks += usize::from(block.is_open());
                    let block_slot = ns.blocks.insert(block);
                    if ns.block_ids.insert(block.id().0 as u64, block_slot).is_some() {
                        return Err(bad(format!("block {} appears twice", block.id())));
                    }
                    if blocks > 1 {
                        slots.push(block_slot);
                    } else {
                        ns.inodes.get_mut(slot).data = block_slot;
                    }
                }
                if blocks > 1 {
                    let list = ns.block_lists.insert(slots);
                    let rec = ns.inodes.get_mut(slot);
                    rec.set(flag::MULTI_OR_SNAPSHOTTABLE, true);
                    rec.data = list;
                }
                block_at += blocks;
            }
            while rare.peek().is_some_and(|(at, _)| *at == n) {
                match rare.next() {
                    None => {}
                    Some((_, Rare::Unsupported(feature))) => {
                        let lowest = self.unsupported.filter(|(lowest, ..)| *lowest <= id);
                        self.unsupported = lowest.or(Some((id, slot, feature)));
                    }
                    Some((_, feature)) => add_rare(ns, slot, feature)?,
                }
            }
        }
        Ok(())
    }

    /// Reads the children of all directories.
    pub fn add_directories<F: ReadAt + ?Sized>(&mut self, image: &Image<'_, F>) -> Result<(), ImageError> {
        let ns = &mut self.ns;
        if ns.root == NONE || !ns.rec(ns.root).is_dir() {
            return Err(bad("the root directory is missing"));
        }
        ns.index.reserve(ns.inodes.live(), |_| 0);
        let Some(section) = image.section(SectionName::InodeDir) else {
            return Ok(());
        };
        let mut messages = image.messages(section);
        let mut children: Vec<Slot> = Vec::new();
        loop {
            let offset = messages.offset();
            let Some(bytes) = messages.next_bytes()? else { break };
            self.has_references |=
                add_directory(ns, bytes, &mut children).map_err(|problem| ImageError::Malformed {
                    offset,
                    problem: format!("section INODE_DIR: {problem}"),
                })?;
        }
        Ok(())
    }

    /// Reads the other sections, then checks and counts everything.
    pub fn finish<F: ReadAt + ?Sized>(mut self, image: &Image<'_, F>) -> Result<Namespace, ImageError> {
        let ns = &mut self.ns;
        if ns.root == NONE || ns.inodes.live() as u64 != self.expected {
            return Err(bad(format!(
                "{} inodes found instead of {}",
                ns.inodes.live(),
                self.expected
            )));
        }
        load_snapshots(ns, image, self.has_references)?;
        if let Some((_, slot, feature)) = self.unsupported {
            return Err(ImageError::Unsupported(feature.refused_at(&place(ns, slot))));
        }
        load_carried(ns, image)?;
        check_tree(ns)?;
        for slot in 0..ns.inodes.used() {
            let rec = *ns.rec(slot);
            if rec.is_live() {
                let space = match rec.is_file() {
                    true => ns.file_usage(slot),
                    false => Usage::default(),
                };
                // A directory counts itself as well.
                let from = if rec.is_dir() { slot } else { rec.parent };
                ns.charge(from, space.and_inodes(1));
                if rec.is_dir() {
                    ns.raise_longest_below(slot);
                }
            }
        }
        ns.loaded(self.origin);
        Ok(self.ns)
    }
}

fn add_rare(ns: &mut Namespace, slot: Slot, feature: Rare) -> Result<(), ImageError> {
    match feature {
        Rare::Open(client_name, client_machine, reassigned) => {
            ns.open_file(slot, &client_name, &client_machine);
            if reassigned {
                ns.note_reassigned(slot);
            }
        }
        Rare::Truncation(length, source) => return add_truncation(ns, slot, length, source),
        Rare::Acl(acl) => ns.set_acl_feature(slot, acl),
        Rare::XAttrs(xattrs) => ns.set_xattrs(slot, xattrs),
        Rare::Quota(quota) if slot == ns.root => {
            ns.type_quotas += usize::from(!quota.types.is_empty());
            ns.root_quota = quota;
        }
        Rare::Quota(quota) => {
            ns.type_quotas += usize::from(!quota.types.is_empty());
            ns.quotas.insert(slot, quota);
            ns.inodes.get_mut(slot).set(flag::OPEN_OR_QUOTA, true);
        }
        Rare::Target(target) => {
            ns.links.insert(slot, Arc::from(target));
        }
        Rare::Unsupported(feature) => return Err(ImageError::Unsupported(feature.refused_at(&place(ns, slot)))),
    }
    Ok(())
}

/// Path of an inode, also in an image that turns out to be damaged.
fn place(ns: &Namespace, slot: Slot) -> String {
    let mut at = slot;
    for _ in 0..MAX_DEPTH {
        if at == ns.root {
            return ns.path_of_slot(slot);
        }
        if at == NONE {
            break;
        }
        at = ns.rec(at).parent;
    }
    format!("inode {}", ns.rec(slot).id())
}

fn add_truncation(ns: &mut Namespace, file: Slot, length: u64, source: Option<Block>) -> Result<(), ImageError> {
    let id = ns.rec(file).id();
    let last = ns.block_slots(file).last().map(|last| *ns.blocks.get(*last));
    if last.is_none_or(|last| !last.is_open() || last.len() < length) {
        return Err(bad(format!("file {id} has no block to be cut to {length}")));
    }
    let source = match source {
        None => None,
        Some(block) => {
            let slot = ns.blocks.insert(BlockRec::new(block, file, false));
            if ns.block_ids.insert(block.id.0 as u64, slot).is_some() {
                return Err(bad(format!("block {} appears twice", block.id)));
            }
            Some(slot)
        }
    };
    ns.begin_truncation(file, Truncation { length, source });
    Ok(())
}

/// Adds the children of one directory to it. Returns whether it has others by reference.
fn add_directory(ns: &mut Namespace, bytes: &[u8], children: &mut Vec<Slot>) -> Result<bool, String> {
    let entry = DirEntryRef::decode(bytes).map_err(|error| error.to_string())?;
    let has_references = entry.ref_children.clone().next().is_some();
    let parent = ns
        .inode_ids
        .get(entry.parent)
        .filter(|slot| ns.rec(*slot).is_dir())
        .ok_or_else(|| format!("{} is not a directory", entry.parent))?;
    if ns.rec(parent).data != NONE {
        return Err(format!("directory {} appears twice", entry.parent));
    }
    children.clear();
    let mut longest = 0;
    let Namespace {
        inodes,
        inode_ids,
        names,
        index,
        lists,
        root,
        sum,
        ..
    } = ns;
    let state = index.state();
    for id in entry.children {
        let id = id.map_err(|error| error.to_string())?;
        let slot = inode_ids.get(id).ok_or_else(|| format!("child {id} does not exist"))?;
        let rec = inodes.get_mut(slot);
        if rec.parent != NONE || slot == *root {
            return Err(format!("inode {id} has two parents"));
        }
        rec.parent = parent;
        sum.add(terms::parent(rec.id(), InodeId(entry.parent)));
        let name = names.get(rec.name);
        if name.is_empty() {
            return Err(format!("child {id} has no name"));
        }
        longest = longest.max(1 + utf16_len(name));
        let hash = ChildIndex::hash_with(&state, parent, name);
        index.insert(hash, slot, |other| {
            let rec = inodes.get(*other);
            ChildIndex::hash_with(&state, rec.parent, names.get(rec.name))
        });
        children.push(slot);
    }
    if children.is_empty() {
        return Ok(has_references);
    }
    let name = |slot: &Slot| names.get(inodes.get(*slot).name);
    if !children.is_sorted_by(|a, b| name(a) < name(b)) {
        // Old writers sorted in another order. Two equal names are damage.
        children.sort_by(|a, b| name(a).cmp(name(b)));
        if let Some(pair) = children.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
            return Err(format!(
                "inode {} and another have the same name",
                inodes.get(pair[0]).id()
            ));
        }
    }
    let list = lists.insert(ChildList::from_sorted(children));
    let rec = inodes.get_mut(parent);
    rec.data = list;
    rec.set_longest_below(longest);
    Ok(has_references)
}

/// Checks that every inode is below the root, without circles.
fn check_tree(ns: &Namespace) -> Result<(), ImageError> {
    let mut known = vec![false; ns.inodes.used() as usize];
    known[ns.root as usize] = true;
    let mut way = Vec::new();
    for slot in 0..ns.inodes.used() {
        let rec = ns.rec(slot);
        if !rec.is_live() {
            continue;
        }
        let mut at = slot;
        way.clear();
        while !known[at as usize] {
            let parent = ns.rec(at).parent;
            if parent == NONE {
                return Err(ImageError::Unsupported(format!(
                    "inode {} is in no directory (inodes that live only in snapshots are not supported)",
                    ns.rec(at).id()
                )));
            }
            if way.len() > MAX_DEPTH {
                return Err(bad(format!("inode {} is below itself", rec.id())));
            }
            way.push(at);
            at = parent;
        }
        for on_the_way in &way {
            known[*on_the_way as usize] = true;
        }
    }
    Ok(())
}

/// Number of directories that a refusal names.
const NAMED_MAX: usize = 5;

fn load_snapshots<F: ReadAt + ?Sized>(
    ns: &mut Namespace,
    image: &Image<'_, F>,
    has_references: bool,
) -> Result<(), ImageError> {
    let refused = |place: String| Err(ImageError::Unsupported(Feature::Snapshots.refused_at(&place)));
    if let Some(section) = image.section(SectionName::Snapshot)
        && let Some(header) = image.messages(section).next_message::<pb::SnapshotSection>()?
    {
        let mut dirs = Vec::new();
        for id in &header.snapshottable_dir {
            let slot = ns.inode_ids.get(*id).filter(|slot| ns.rec(*slot).is_dir());
            dirs.push(slot.ok_or_else(|| bad(format!("snapshottable directory {id} does not exist")))?);
        }
        if header.num_snapshots() > 0 {
            let mut named: Vec<String> = dirs.iter().take(NAMED_MAX).map(|slot| place(ns, *slot)).collect();
            if dirs.len() > named.len() {
                named.push("others".to_owned());
            }
            return refused(format!(
                "{} snapshots, of the snapshottable directories {}",
                header.num_snapshots(),
                named.join(", ")
            ));
        }
        ns.counters.snapshot_counter = header.snapshot_counter();
        for slot in dirs {
            let id = ns.rec(slot).id().0;
            ns.inodes.get_mut(slot).set(flag::MULTI_OR_SNAPSHOTTABLE, true);
            if ns.snapshottable.insert(id) {
                ns.sum.add(terms::snapshottable(InodeId(id)));
            }
        }
    }
    check_no_snapshot_records(image)?;
    if has_references {
        return refused("section INODE_DIR".to_owned());
    }
    Ok(())
}

fn check_no_snapshot_records<F: ReadAt + ?Sized>(image: &Image<'_, F>) -> Result<(), ImageError> {
    for name in [SectionName::InodeReference, SectionName::SnapshotDiff] {
        if let Some(section) = image.section(name)
            && image.messages(section).next_bytes()?.is_some()
        {
            let place = format!("section {}", name.as_str());
            return Err(ImageError::Unsupported(Feature::Snapshots.refused_at(&place)));
        }
    }
    Ok(())
}

/// Loads the state that is kept for other NameNodes.
fn load_carried<F: ReadAt + ?Sized>(ns: &mut Namespace, image: &Image<'_, F>) -> Result<(), ImageError> {
    load_secrets(ns, image)?;
    load_cache(ns, image)?;
    if let Some(section) = image.section(SectionName::ErasureCoding)
        && let Some(policies) = image.messages(section).next_message::<pb::ErasureCodingSection>()?
    {
        for policy in policies.policies {
            ns.erasure_coding.insert(policy);
        }
    }
    Ok(())
}

fn load_secrets<F: ReadAt + ?Sized>(ns: &mut Namespace, image: &Image<'_, F>) -> Result<(), ImageError> {
    let Some(section) = image.section(SectionName::SecretManager) else {
        return Ok(());
    };
    let mut messages = image.messages(section);
    let Some(header) = messages.next_message::<pb::SecretManagerSection>()? else {
        return Ok(());
    };
    ns.secrets.current_key_id = header.current_id() as i32;
    ns.secrets.sequence_number = header.token_sequence_number() as i32;
    for _ in 0..header.num_keys() {
        let key: pb::secret_manager_section::DelegationKey = messages.require()?;
        let key_id = key.id() as i32;
        let key = DelegationKey {
            key_id,
            expiry_date: key.expiry_date() as i64,
            key: key.key.map(|k| k.to_vec()),
        };
        ns.secrets.keys.insert(key_id, key);
    }
    for _ in 0..header.num_tokens() {
        let token: pb::secret_manager_section::PersistToken = messages.require()?;
        let expiry = token.expiry_date() as i64;
        let identifier = DelegationTokenIdentifier {
            issue_date: token.issue_date() as i64,
            max_date: token.max_date() as i64,
            sequence_number: token.sequence_number() as i32,
            master_key_id: token.master_key_id() as i32,
            owner: token.owner.unwrap_or_default(),
            renewer: token.renewer.unwrap_or_default(),
            real_user: token.real_user.unwrap_or_default(),
        };
        ns.secrets
            .tokens
            .insert(identifier.sequence_number, (identifier, expiry));
    }
    Ok(())
}

fn load_cache<F: ReadAt + ?Sized>(ns: &mut Namespace, image: &Image<'_, F>) -> Result<(), ImageError> {
    let Some(section) = image.section(SectionName::CacheManager) else {
        return Ok(());
    };
    let mut messages = image.messages(section);
    let Some(header) = messages.next_message::<pb::CacheManagerSection>()? else {
        return Ok(());
    };
    // No image is saved with an id below 1.
    ns.cache.next_directive_id = (header.next_directive_id as i64).max(1);
    for _ in 0..header.num_pools {
        let pool: CachePoolInfoProto = messages.require()?;
        ns.cache.pools.insert(pool.pool_name.clone().unwrap_or_default(), pool);
    }
    for _ in 0..header.num_directives {
        let directive: CacheDirectiveInfoProto = messages.require()?;
        ns.cache.directives.insert(directive.id(), directive);
    }
    Ok(())
}

//! Reading an image: a namespace from its sections, each of which may be damaged.

mod snapshots;

use std::collections::BTreeSet;
use std::sync::Arc;

use hathi_formats::fsimage::{DirEntryRef, Image, ImageError, ReadAt, Section, SectionName};
use hathi_formats::ids::{Block, InodeId, LayoutVersion};
use hathi_formats::proto::fsimage as pb;

use super::bad;
use super::decode::{DecodedInodes, InodeDecoder, Rare, Serials};
use crate::config::NamespaceConfig;
use crate::digest::{self, Terms as _, terms};
use crate::erasure_coding::policy::ErasureCodingPolicyId;
use crate::namespace::Namespace;
use crate::store::slab::{NONE, Slot};
use crate::striping::Stripes as _;
use crate::unsupported::Feature;
use crate::view::View;
use crate::writers::truncation::Truncation;
use snapshots::References;
pub(super) use snapshots::has_any as has_snapshots;

/// Loads a whole image on the calling thread.
pub fn load<F: ReadAt + ?Sized>(config: NamespaceConfig, image: &Image<'_, F>) -> Result<Namespace, ImageError> {
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
    /// What directories and diffs name by its position.
    references: References,
    /// See [`Namespace::digest_origin`]. An image of Hadoop's has none.
    origin: Option<u64>,
    /// Striped files name these.
    policies: BTreeSet<ErasureCodingPolicyId>,
}

impl ImageLoader {
    /// Reads the counters and the strings.
    pub fn new<F: ReadAt + ?Sized>(config: NamespaceConfig, image: &Image<'_, F>) -> Result<Self, ImageError> {
        let layout = image.layout_version();
        if !LayoutVersion::NAMENODE_READ.contains(&layout) {
            return Err(ImageError::Unsupported(format!(
                "the image is of layout version {layout}, and those from {} to {} are read",
                LayoutVersion::NAMENODE_READ.end(),
                LayoutVersion::NAMENODE_READ.start()
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

        let serials = Serials::load(image, &mut ns.attributes, ns.counters.genstamp)?;
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
            references: References::default(),
            origin: info.digest_origin,
            policies: BTreeSet::new(),
        })
    }

    /// Reads all sections except those of inodes, whose highest id and sum are given, and drops them. The image has no
    /// snapshots.
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
            counters.snapshot_counter = header.snapshot_counter();
            let dirs: BTreeSet<u64> = header.snapshottable_dir.iter().copied().collect();
            for id in dirs {
                sum = sum.wrapping_add(terms::snapshottable(InodeId(id)));
            }
        }
        self.add_policies(image)?;
        let ns = &mut self.ns;
        let digest = sum
            .wrapping_add(ns.carried.terms())
            .wrapping_add(digest::counters(&ns.counters));
        Ok(Rest {
            txid: ns.counters.txid,
            namespace_id: ns.namespace_id,
            digest,
            origin: self.origin.unwrap_or_else(|| digest::foreign(digest)),
        })
    }

    /// Striped files name this policy.
    pub(super) fn note_policy(&mut self, policy: ErasureCodingPolicyId) {
        self.policies.insert(policy);
    }

    /// Reads what is carried, and checks that striped files have policies of it.
    fn add_policies<F: ReadAt + ?Sized>(&mut self, image: &Image<'_, F>) -> Result<(), ImageError> {
        self.ns.carried.load(image)?;
        let unknown = |policy: &&ErasureCodingPolicyId| self.ns.striping_by(**policy).is_none();
        match self.policies.iter().find(unknown) {
            None => Ok(()),
            Some(unknown) => Err(bad(format!(
                "a striped file has the erasure coding policy {}, which does not exist",
                unknown.0
            ))),
        }
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
        for (n, inode) in decoded.inodes.into_iter().enumerate() {
            let id = inode.rec.id();
            self.policies.extend(inode.rec.erasure_coding_policy());
            let name = &decoded.names[name_at..name_at + inode.name_len];
            let blocks = &decoded.blocks[block_at..block_at + inode.blocks];
            name_at += inode.name_len;
            block_at += inode.blocks;
            let slot = ns.tree.add_loaded(inode.rec, name).map_err(bad)?;
            ns.counters.inode_id = ns.counters.inode_id.max(id.0);
            ns.files.add_loaded(&mut ns.tree, slot, blocks).map_err(bad)?;
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
        if ns.root() == NONE || !ns.rec(ns.root()).is_dir() {
            return Err(bad("the root directory is missing"));
        }
        self.references = References::load(ns, image)?;
        let Some(section) = image.section(SectionName::InodeDir) else {
            return Ok(());
        };
        let mut messages = image.messages(section);
        let mut children: Vec<Slot> = Vec::new();
        loop {
            let offset = messages.offset();
            let Some(bytes) = messages.next_bytes()? else { break };
            let added = add_directory(ns, bytes, &mut self.references, &mut children);
            added.map_err(|problem| ImageError::Malformed {
                offset,
                problem: format!("section INODE_DIR: {problem}"),
            })?;
        }
        Ok(())
    }

    /// Reads the other sections, then checks and counts everything.
    pub fn finish<F: ReadAt + ?Sized>(mut self, image: &Image<'_, F>) -> Result<Namespace, ImageError> {
        if self.ns.root() == NONE || self.ns.inode_count() != self.expected {
            return Err(bad(format!(
                "{} inodes found instead of {}",
                self.ns.inode_count(),
                self.expected
            )));
        }
        if let Some((_, slot, feature)) = self.unsupported {
            return Err(ImageError::Unsupported(feature.refused_at(&place(&self.ns, slot))));
        }
        self.add_snapshots(image)?;
        self.add_policies(image)?;
        let ns = &mut self.ns;
        close_unattached(ns);
        ns.count_usage();
        snapshots::trim_unattached(ns);
        ns.tree.raise_all_longest_below();
        ns.loaded(self.origin);
        Ok(self.ns)
    }
}

/// Nobody writes what only snapshots show. Hadoop's images name the last writer.
fn close_unattached(ns: &mut Namespace) {
    let open = ns.writers.files().slots();
    let unattached: Vec<Slot> = open.filter(|slot| !ns.tree.is_attached(*slot)).collect();
    for slot in unattached {
        ns.sum.subtract(ns.inode_terms(slot));
        let truncation = ns.writers.end_truncation(ns.tree.rec(slot).id());
        ns.writers.close(&mut ns.tree, slot);
        ns.sum.add(ns.inode_terms(slot));
        let source = truncation.and_then(|truncation| truncation.source);
        ns.free_unshown(slot, source.as_slice(), &mut Vec::new());
    }
}

fn add_rare(ns: &mut Namespace, slot: Slot, feature: Rare) -> Result<(), ImageError> {
    match feature {
        Rare::Open(client_name, client_machine, reassigned) => {
            ns.open_file(slot, &client_name, &client_machine);
            if reassigned {
                ns.writers.note_reassigned(&ns.tree, slot);
            }
        }
        Rare::Truncation(length, source) => return add_truncation(ns, slot, length, source),
        Rare::Acl(acl) => ns.attributes.set_acl(&mut ns.tree, slot, acl),
        Rare::XAttrs(xattrs) => ns.attributes.set_xattrs(&mut ns.tree, slot, xattrs),
        Rare::Quota(quota) => ns.attributes.set_loaded_quota(&mut ns.tree, slot, quota),
        Rare::Target(target) => ns.attributes.set_link(slot, &target),
        Rare::Unsupported(feature) => return Err(ImageError::Unsupported(feature.refused_at(&place(ns, slot)))),
    }
    Ok(())
}

/// Path of an inode, also in an image that turns out to be damaged.
fn place(ns: &Namespace, slot: Slot) -> String {
    match ns.tree.is_below_root(slot) {
        true => ns.path_of_slot(slot),
        false => format!("inode {}", ns.rec(slot).id()),
    }
}

fn add_truncation(ns: &mut Namespace, file: Slot, length: u64, source: Option<Block>) -> Result<(), ImageError> {
    let id = ns.rec(file).id();
    let last = ns.block_slots(file).last().map(|last| ns.files.get(*last));
    if last.is_none_or(|last| !last.is_open() || last.len() < length) {
        return Err(bad(format!("file {id} has no block to be cut to {length}")));
    }
    let source = source.map(|block| ns.files.add_loaded_block(block, file, false));
    let source = source.transpose().map_err(bad)?;
    ns.begin_truncation(file, Truncation { length, source });
    Ok(())
}

/// Adds the children of one directory to it.
fn add_directory(
    ns: &mut Namespace,
    bytes: &[u8],
    references: &mut References,
    children: &mut Vec<Slot>,
) -> Result<(), String> {
    let entry = DirEntryRef::decode(bytes).map_err(|error| error.to_string())?;
    let mut referred = Vec::new();
    for index in entry.ref_children {
        let index = index.map_err(|error| error.to_string())?;
        referred.push(ns.rec(references.take_child(index)?).id().0);
    }
    let (sum, parent) = (&mut ns.sum, InodeId(entry.parent));
    let all = entry.children.chain(referred.into_iter().map(Ok));
    ns.tree.add_children(parent, all, children, |child| {
        sum.add(terms::parent(child, parent));
    })
}

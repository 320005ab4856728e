//! Writing an image.

mod encode;
mod snapshots;

use std::io::{self, Write};

use hathi_formats::fsimage::{Hashed, ImageSummary, ImageWriter, SectionName, encode_directory_entry};
use hathi_formats::ids::{Block, InodeId, LayoutVersion};
use hathi_formats::proto::fsimage as pb;
use hathi_formats::proto::hdfs::BlockProto;
use prost::Message;

use crate::attributes::Attributes;
use crate::carried::Carried;
use crate::config::{ImageOptions, NamespaceConfig};
use crate::erasure_coding::ErasureCoding;
use crate::files::FrozenFiles;
use crate::namespace::{Counters, Namespace};
use crate::snapshots::{FrozenSnapshots, SnapshotsPart};
use crate::store::slab::{NONE, Slot};
use crate::tree::FrozenTree;
use crate::tree::inode::{InodeRec, flag};
use crate::view::View;
use crate::writers::{Open, OpenFiles};
use encode::{Features, Named};
use snapshots::References;

/// Number of inodes between two looks at the cancel flag.
const CANCEL_EVERY: u32 = 4096;

/// The namespace at one moment: the frozen parts, and what only the whole knows. It can be saved on another thread while
/// the namespace goes on.
#[derive(Debug)]
pub struct Frozen {
    config: NamespaceConfig,
    namespace_id: u32,
    counters: Counters,
    tree: FrozenTree,
    files: FrozenFiles,
    open_files: OpenFiles,
    attributes: Attributes,
    snapshots: FrozenSnapshots,
    carried: Carried,
    /// Whether the namespace was broken when this view was taken.
    broken: bool,
    /// An image without it is one that Hadoop made.
    pub(crate) digest_origin: Option<u64>,
}

/// Why an image was not written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The file can't be written.
    #[error("can't write the image: {0}")]
    Io(#[from] io::Error),
    /// The caller asked to stop.
    #[error("saving the image was cancelled")]
    Cancelled,
    /// An op had failed to apply, so the state is that of no log ([`Namespace::is_broken`]).
    #[error("the namespace is broken by an op that failed to apply: no image is made of it")]
    Broken,
}

impl Namespace {
    /// A view of everything as it is now. It costs some microseconds per million inodes. As long as the view exists,
    /// pages are copied before they change. [`Namespace::finish_snapshots`] comes before it.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        debug_assert!(
            self.snapshots.ending().is_none(),
            "what only a deleted snapshot showed is in no image"
        );
        let Namespace {
            config,
            namespace_id,
            counters,
            tree,
            files,
            writers,
            attributes,
            snapshots,
            carried,
            broken,
            origin,
            // Soft state and the marks of the digest are in no image, and no op is under way.
            active: _,
            watch: _,
            adjusted_replications: _,
            sum: _,
            freeing: _,
            by_the_way: _,
            changing: _,
        } = self;
        Frozen {
            config: config.clone(),
            namespace_id: *namespace_id,
            counters: counters.clone(),
            tree: tree.freeze(),
            files: files.freeze(),
            open_files: writers.freeze(),
            attributes: attributes.clone(),
            snapshots: snapshots.freeze(),
            carried: carried.clone(),
            broken: *broken,
            digest_origin: Some(*origin),
        }
    }
}

impl View for Frozen {
    type Tree = FrozenTree;
    type Files = FrozenFiles;
    type Snapshots = FrozenSnapshots;

    #[inline]
    fn tree(&self) -> &FrozenTree {
        &self.tree
    }

    #[inline]
    fn files(&self) -> &FrozenFiles {
        &self.files
    }

    fn snapshots(&self) -> &FrozenSnapshots {
        &self.snapshots
    }

    fn erasure_coding(&self) -> &ErasureCoding {
        self.carried.erasure_coding()
    }

    fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    fn open_files(&self) -> &OpenFiles {
        &self.open_files
    }

    fn config(&self) -> &NamespaceConfig {
        &self.config
    }

    /// Looks at every inode, because the map of ids is not in shared pages. Only paths by id and walks ask for it.
    fn slot(&self, id: InodeId) -> Option<Slot> {
        let found = self.tree.iter().find(|(_, rec)| rec.id() == id);
        found.map(|(slot, _)| slot).filter(|slot| self.is_attached(*slot))
    }
}

/// Inodes that later sections name. Only written inodes are among them, because an inode that waits to be freed is in
/// no section.
#[derive(Default)]
struct Listed {
    /// Open files.
    open: Vec<Slot>,
    /// Ids of snapshottable directories.
    snapshottable: Vec<u64>,
}

impl ImageOptions {
    /// Number of entries in a part of a section, for parts of `inodes` inodes.
    fn per_part(&self, inodes: usize) -> usize {
        if inodes >= self.parts_from_inodes {
            inodes.div_ceil(self.parts.max(1)).max(1)
        } else {
            usize::MAX
        }
    }
}

/// One bit per slot.
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, slot: Slot) {
        self.0[slot as usize / 64] |= 1 << (slot % 64);
    }
    fn get(&self, slot: Slot) -> bool {
        self.0
            .get(slot as usize / 64)
            .is_some_and(|word| word >> (slot % 64) & 1 != 0)
    }
}

impl Frozen {
    /// The image will hold everything up to this transaction.
    #[must_use]
    pub fn txid(&self) -> u64 {
        self.counters.txid
    }

    /// Writes the image. `cancelled` is called now and then. The caller syncs and renames the file.
    pub fn save<W: Write>(
        &self,
        out: W,
        layout: LayoutVersion,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(W, ImageSummary), SaveError> {
        let (out, len_bytes) = self.write(Hashed::new(out), layout, cancelled)?;
        let (out, md5) = out.finish();
        Ok((out, ImageSummary { len_bytes, md5 }))
    }

    /// As [`Frozen::save`], but the caller computes the MD5. Answers the length in bytes.
    ///
    /// # Errors
    /// As [`Frozen::save`].
    pub fn write<W: Write>(
        &self,
        out: W,
        layout: LayoutVersion,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(W, u64), SaveError> {
        if self.broken {
            return Err(SaveError::Broken);
        }
        let mut w = ImageWriter::new(out, self.config.image.codec)?;
        let mut named = Named::new(&self.attributes);
        let mut references = References::default();
        self.save_info(&mut w)?;
        self.carried.erasure_coding().save(&mut w)?;
        let skip = self.detached_slots();
        let Listed { open, snapshottable } = self.save_inodes(&mut w, &skip, &mut named, cancelled)?;
        self.save_directories(&mut w, &skip, &mut references, cancelled)?;
        w.begin(SectionName::FilesUnderConstruction);
        for slot in open {
            w.message(&pb::files_under_construction_section::FileUnderConstructionEntry {
                inode_id: Some(self.rec(slot).id().0),
                full_path: Some(self.path_of_slot(slot)),
            })?;
        }
        w.end();
        self.save_snapshots(&mut w, snapshottable, &mut named)?;
        if !self.snapshots.is_none() {
            self.save_diffs(&mut w, &skip, &mut references, &mut named, cancelled)?;
        }
        self.save_references(&mut w, references)?;
        self.carried.save_secrets(&mut w)?;
        self.carried.save_cache(&mut w)?;
        named.save(&mut w)?;
        Ok(w.finish(layout)?)
    }

    fn save_info<W: Write>(&self, w: &mut ImageWriter<W>) -> io::Result<()> {
        let c = &self.counters;
        w.begin(SectionName::NsInfo);
        w.message(&pb::NameSystemSection {
            namespace_id: Some(self.namespace_id),
            genstamp_v1: Some(c.genstamp_v1),
            genstamp_v2: Some(c.newest_stamp().0),
            genstamp_v1_limit: Some(c.genstamp_v1_limit),
            last_allocated_block_id: Some(c.block_id as u64),
            transaction_id: Some(c.txid),
            rolling_upgrade_start_time: (c.rolling_upgrade_start != 0).then_some(c.rolling_upgrade_start),
            last_allocated_striped_block_id: Some(c.striped_block_id as u64),
            digest_origin: self.digest_origin,
        })?;
        w.end();
        Ok(())
    }

    /// Whether the inode hangs below the root, and was not deleted.
    fn is_attached(&self, slot: Slot) -> bool {
        let mut at = slot;
        while at != self.root() {
            let rec = self.rec(at);
            if rec.has(flag::DETACHED) || rec.parent() == NONE || self.tree.is_gone(at) {
                return false;
            }
            at = rec.parent();
        }
        true
    }

    /// The slots of deleted inodes that are not freed. They are no part of the state, except what a former place shows: an
    /// image has it without a place, as it will be when the rest is freed.
    fn detached_slots(&self) -> (Bits, usize) {
        let mut stack: Vec<Slot> = self.tree.waiting().collect();
        if stack.is_empty() {
            return (Bits(Vec::new()), 0);
        }
        let mut bits = Bits(vec![0; self.tree.used() as usize / 64 + 1]);
        let mut count = 0;
        while let Some(slot) = stack.pop() {
            bits.set(slot);
            count += 1;
            stack.extend(self.children(slot).filter(|child| !self.snapshots.has_moved(*child)));
        }
        (bits, count)
    }

    fn save_inodes<W: Write>(
        &self,
        w: &mut ImageWriter<W>,
        (skip, skipped): &(Bits, usize),
        named: &mut Named,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Listed, SaveError> {
        let count = self.tree.live() - skipped;
        let per_part = self.config.image.per_part(count);
        w.begin(SectionName::Inode);
        w.message(&pb::INodeSection {
            last_inode_id: Some(self.counters.inode_id),
            num_inodes: Some(count as u64),
        })?;
        let mut listed = Listed::default();
        let mut blocks: Vec<Block> = Vec::new();
        let mut written = 0usize;
        for slot in 0..self.tree.used() {
            if slot % CANCEL_EVERY == 0 && cancelled() {
                return Err(SaveError::Cancelled);
            }
            let rec = self.rec(slot);
            if !rec.is_live() || skip.get(slot) {
                continue;
            }
            if rec.is_open() && self.is_attached(slot) {
                listed.open.push(slot);
            }
            if rec.is_dir() && rec.has(flag::MULTI_OR_SNAPSHOTTABLE) {
                listed.snapshottable.push(rec.id().0);
            }
            self.save_inode(slot, rec, &mut blocks, named, w.buffer());
            w.flush_if_full()?;
            written += 1;
            if written.is_multiple_of(per_part) {
                w.sub_section();
            }
        }
        w.end();
        listed.snapshottable.sort_unstable();
        Ok(listed)
    }

    fn save_inode(&self, slot: Slot, rec: &InodeRec, blocks: &mut Vec<Block>, named: &mut Named, out: &mut Vec<u8>) {
        blocks.clear();
        let slots = self.block_slots(slot).iter();
        blocks.extend(slots.map(|block| self.block_rec(*block).block()));
        let mut features = Features {
            acl: self
                .attributes
                .acl(slot)
                .filter(|_| rec.has(flag::ACL))
                .map(|acl| &acl[..]),
            blocks,
            ..Features::default()
        };
        if rec.has(flag::XATTR) {
            features.xattrs = self.attributes.xattrs(slot);
        }
        if rec.is_file() {
            features.under_construction = self.under_construction(slot, rec);
        } else if rec.is_dir() {
            features.quota = self.quota(slot).map(|quota| (quota.ns, quota.ds, &quota.types));
        } else {
            features.target = self.attributes.link(slot).unwrap_or_default();
        }
        named.encode_inode(rec, self.name_of(slot), &features, out);
    }

    /// Encoded, of a file that has a writer. A file that only snapshots show has none, but its last block may be one that
    /// nobody has finished: an image says so by a writer without a name.
    fn under_construction(&self, file: Slot, rec: &InodeRec) -> Option<Vec<u8>> {
        let open = self.open_files.get(file).filter(|_| rec.is_open());
        if let Some(open) = open.filter(|_| self.is_attached(file)) {
            return Some(self.written_by(file, open).encode_to_vec());
        }
        let last = self.block_slots(file).last()?;
        self.block_rec(*last).is_open().then(|| {
            pb::i_node_section::FileUnderConstructionFeature {
                client_name: Some(String::new()),
                client_machine: Some(String::new()),
                ..Default::default()
            }
            .encode_to_vec()
        })
    }

    fn written_by(&self, file: Slot, open: &Open) -> pb::i_node_section::FileUnderConstructionFeature {
        let id = self.rec(file).id();
        let truncation = self.open_files.truncation(id);
        let source = truncation.and_then(|truncation| truncation.source);
        let last = self.block_slots(file).last();
        let complete = last.is_some_and(|last| !self.block_rec(*last).is_open());
        pb::i_node_section::FileUnderConstructionFeature {
            client_name: Some(open.client_name.to_string()),
            client_machine: Some(open.client_machine.to_string()),
            last_block_complete: complete.then_some(true),
            lease_reassigned: self.open_files.is_reassigned(id).then_some(true),
            truncate_length: truncation.map(|truncation| truncation.length),
            truncate_source: source.map(|slot| {
                let block = self.block_rec(slot).block();
                BlockProto {
                    block_id: block.id.0 as u64,
                    gen_stamp: block.generation_stamp.0,
                    num_bytes: Some(block.num_bytes),
                }
            }),
        }
    }

    fn save_directories<W: Write>(
        &self,
        w: &mut ImageWriter<W>,
        (skip, skipped): &(Bits, usize),
        references: &mut References,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), SaveError> {
        let count = self.tree.live() - skipped;
        let per_part = self.config.image.per_part(count);
        let mut referred: Vec<u32> = Vec::new();
        w.begin(SectionName::InodeDir);
        let mut written = 0usize;
        for slot in 0..self.tree.used() {
            if slot % CANCEL_EVERY == 0 && cancelled() {
                return Err(SaveError::Cancelled);
            }
            let rec = self.rec(slot);
            if !rec.is_dir() || skip.get(slot) || self.child_count(slot) == 0 {
                continue;
            }
            let has_moved = |child: &Slot| self.snapshots.has_moved(*child);
            referred.clear();
            if self.snapshots.has_former_names() {
                let moved = self.children(slot).filter(has_moved);
                referred.extend(moved.map(|child| references.put_place(child)));
            }
            let children = self
                .children(slot)
                .filter(|child| referred.is_empty() || !has_moved(child));
            let children = children.map(|child| self.rec(child).id().0);
            encode_directory_entry(rec.id().0, children, &referred, w.buffer());
            w.flush_if_full()?;
            written += self.child_count(slot);
            if written >= per_part {
                written = 0;
                w.sub_section();
            }
        }
        w.end();
        Ok(())
    }
}

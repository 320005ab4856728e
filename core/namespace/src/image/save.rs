//! Writing an image.

use std::collections::BTreeMap;
use std::io::{self, Write};

use hathi_formats::editlog::{AclEntry, AclEntryType, XAttr};
use hathi_formats::fsimage::{
    AclBits, ImageSummary, ImageWriter, InodeKind, InodeRef, STRING_TABLE_MASK_BITS, SectionName, SerialKind,
    XAttrNameBits, encode_directory_entry,
};
use hathi_formats::ids::{Block, InodeId, LayoutVersion};
use hathi_formats::proto::fsimage as pb;
use hathi_formats::proto::hdfs::BlockProto;
use prost::Message;

use super::policy_xattr;
use crate::attributes::{Attributes, Quota};
use crate::carried::Carried;
use crate::config::{ImageOptions, NamespaceConfig};
use crate::files::FrozenFiles;
use crate::namespace::{Counters, Namespace};
use crate::snapshots::FrozenSnapshots;
use crate::store::slab::Slot;
use crate::store::strings::Strings;
use crate::tree::FrozenTree;
use crate::tree::inode::{InodeRec, flag};
use crate::view::View;
use crate::writers::{Open, OpenFiles};

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
            freed: _,
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
        found.map(|(slot, _)| slot).filter(|slot| !self.waits(*slot))
    }
}

/// Serials of the names of extended attributes, which are given while the inodes are written.
#[derive(Default)]
struct XAttrNames {
    serials: BTreeMap<String, u32>,
}

impl XAttrNames {
    fn serial(&mut self, name: &str) -> u32 {
        if let Some(serial) = self.serials.get(name) {
            return *serial;
        }
        let serial = self.serials.len() as u32 + 1;
        self.serials.insert(name.to_owned(), serial);
        serial
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
        if self.broken {
            return Err(SaveError::Broken);
        }
        let mut w = ImageWriter::new(out, self.config.image.codec)?;
        let mut names = XAttrNames::default();
        // Strings that only ACLs name get their serials after those of owners and groups.
        let mut users = self.attributes.users().clone();
        let mut groups = self.attributes.groups().clone();
        self.save_info(&mut w)?;
        self.carried.save_policies(&mut w)?;
        let skip = self.detached_slots();
        let Listed { open, snapshottable } =
            self.save_inodes(&mut w, &skip, &mut names, &mut users, &mut groups, cancelled)?;
        self.save_directories(&mut w, &skip, cancelled)?;
        w.begin(SectionName::FilesUnderConstruction);
        for slot in open {
            w.message(&pb::files_under_construction_section::FileUnderConstructionEntry {
                inode_id: Some(self.rec(slot).id().0),
                full_path: Some(self.path_of_slot(slot)),
            })?;
        }
        w.end();
        w.begin(SectionName::Snapshot);
        w.message(&pb::SnapshotSection {
            snapshot_counter: Some(self.counters.snapshot_counter),
            snapshottable_dir: snapshottable,
            num_snapshots: Some(0),
        })?;
        w.end();
        w.begin(SectionName::InodeReference);
        w.end();
        self.carried.save_secrets(&mut w)?;
        self.carried.save_cache(&mut w)?;
        save_strings(&mut w, &users, &groups, &names)?;
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

    /// Whether the inode was deleted, and waited to be freed.
    fn waits(&self, slot: Slot) -> bool {
        let mut at = slot;
        while at != self.root() && !self.rec(at).has(flag::DETACHED) {
            at = self.rec(at).parent();
        }
        at != self.root()
    }

    /// The slots of deleted inodes that are not freed. They are no part of the state.
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
            stack.extend(self.children(slot));
        }
        (bits, count)
    }

    fn save_inodes<W: Write>(
        &self,
        w: &mut ImageWriter<W>,
        (skip, skipped): &(Bits, usize),
        names: &mut XAttrNames,
        users: &mut Strings,
        groups: &mut Strings,
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
            if rec.is_open() {
                listed.open.push(slot);
            }
            if rec.is_dir() && rec.has(flag::MULTI_OR_SNAPSHOTTABLE) {
                listed.snapshottable.push(rec.id().0);
            }
            self.save_inode(slot, rec, &mut blocks, names, users, groups, w.buffer());
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

    fn save_inode(
        &self,
        slot: Slot,
        rec: &InodeRec,
        blocks: &mut Vec<Block>,
        names: &mut XAttrNames,
        users: &mut Strings,
        groups: &mut Strings,
        out: &mut Vec<u8>,
    ) {
        blocks.clear();
        let acl = self
            .attributes
            .acl(slot)
            .filter(|_| rec.has(flag::ACL))
            .map(|acl| encode_acl(acl, users, groups));
        let mut xattrs: Option<Vec<u8>> = None;
        let policy_in_xattr = rec.is_dir() && rec.storage_policy != 0;
        if rec.has(flag::XATTR) || policy_in_xattr {
            let own = self.attributes.xattrs(slot);
            let policy = policy_in_xattr.then(|| policy_xattr(rec.storage_policy));
            xattrs = Some(encode_xattrs(own.iter().chain(policy.iter()), names));
        }
        let mut inode = InodeRef::new(InodeKind::File, rec.id().0);
        inode.name = self.name_of(slot);
        inode.modification_time = rec.mtime();
        inode.permission = rec.perm().0;
        inode.acl = acl.as_deref();
        inode.xattrs = xattrs.as_deref();
        if rec.is_file() {
            let uc = self
                .open_files
                .get(slot)
                .filter(|_| rec.is_open())
                .map(|open| self.under_construction(slot, open).encode_to_vec());
            inode.access_time = rec.atime();
            inode.replication = u32::from(rec.replication);
            inode.preferred_block_size = rec.block_size();
            inode.storage_policy_id = u32::from(rec.storage_policy);
            inode.under_construction = uc.as_deref();
            let slots = self.block_slots(slot).iter();
            blocks.extend(slots.map(|block| self.block_rec(*block).block()));
            inode.encode(blocks, out);
        } else if rec.is_dir() {
            let quota = self.quota(slot);
            let types = quota.filter(|quota| !quota.types.is_empty()).map(encode_type_quotas);
            inode.kind = InodeKind::Directory;
            inode.ns_quota = quota.map_or(-1, |quota| quota.ns) as u64;
            inode.ds_quota = quota.map_or(-1, |quota| quota.ds) as u64;
            inode.type_quotas = types.as_deref();
            inode.encode(&[], out);
        } else {
            inode.kind = InodeKind::Symlink;
            inode.access_time = rec.atime();
            inode.target = self.attributes.link(slot).unwrap_or_default();
            inode.encode(&[], out);
        }
    }

    fn under_construction(&self, file: Slot, open: &Open) -> pb::i_node_section::FileUnderConstructionFeature {
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
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), SaveError> {
        let count = self.tree.live() - skipped;
        let per_part = self.config.image.per_part(count);
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
            let children = self.children(slot).map(|child| self.rec(child).id().0);
            encode_directory_entry(rec.id().0, children, w.buffer());
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

fn save_strings<W: Write>(
    w: &mut ImageWriter<W>,
    users: &Strings,
    groups: &Strings,
    names: &XAttrNames,
) -> io::Result<()> {
    let users = users.iter().map(|(serial, name)| (SerialKind::User, serial, name));
    let groups = groups.iter().map(|(serial, name)| (SerialKind::Group, serial, name));
    let xattrs = names
        .serials
        .iter()
        .map(|(name, serial)| (SerialKind::XAttr, *serial, name.as_str()));
    let all: Vec<(SerialKind, u32, &str)> = users.chain(groups).chain(xattrs).collect();
    w.begin(SectionName::StringTable);
    w.message(&pb::StringTableSection {
        num_entry: Some(all.len() as u32),
        mask_bits: Some(STRING_TABLE_MASK_BITS),
    })?;
    for (kind, serial, name) in all {
        w.message(&pb::string_table_section::Entry {
            id: Some(kind.table_id(serial)),
            str: Some(name.to_owned()),
        })?;
    }
    w.end();
    Ok(())
}

fn encode_acl(acl: &[AclEntry], users: &mut Strings, groups: &mut Strings) -> Vec<u8> {
    let entries = acl
        .iter()
        .map(|entry| {
            let name = match (&entry.name, entry.entry_type) {
                (Some(name), AclEntryType::User) => users.intern(name),
                (Some(name), AclEntryType::Group) => groups.intern(name),
                _ => 0,
            };
            AclBits {
                scope: entry.scope,
                entry_type: entry.entry_type,
                permission: entry.permission,
                name,
            }
            .pack()
        })
        .collect();
    pb::i_node_section::AclFeatureProto { entries }.encode_to_vec()
}

fn encode_xattrs<'a>(xattrs: impl Iterator<Item = &'a XAttr>, names: &mut XAttrNames) -> Vec<u8> {
    let x_attrs = xattrs
        .map(|xattr| pb::i_node_section::XAttrCompactProto {
            name: XAttrNameBits {
                namespace: xattr.namespace,
                name: names.serial(&xattr.name),
            }
            .pack(),
            value: xattr.value.clone().map(Into::into),
        })
        .collect();
    pb::i_node_section::XAttrFeatureProto { x_attrs }.encode_to_vec()
}

fn encode_type_quotas(quota: &Quota) -> Vec<u8> {
    let quotas = quota
        .types
        .iter()
        .filter_map(|(ordinal, bytes)| {
            Some(pb::i_node_section::QuotaByStorageTypeEntryProto {
                storage_type: crate::ops::storage_type_number(*ordinal)?,
                quota: *bytes as u64,
            })
        })
        .collect();
    pb::i_node_section::QuotaByStorageTypeFeatureProto { quotas }.encode_to_vec()
}

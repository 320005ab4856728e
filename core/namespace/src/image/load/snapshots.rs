//! Reading snapshots, diffs, and the references to inodes that have moved (`FSImageFormatPBSnapshot.Loader`).
//!
//! Everything is checked that the namespace takes for granted afterwards: what a damaged image says must neither lead in a
//! circle nor to an inode that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hathi_formats::fsimage::{Image, ImageError, InodeRef, MessageReader, ReadAt, SectionName};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};
use hathi_formats::proto::fsimage as pb;
use hathi_formats::proto::hdfs::BlockProto;
use pb::i_node_section::{INode, i_node};
use pb::snapshot_diff_section::{CreatedListEntry, DiffEntry, DirectoryDiff, FileDiff as FileDiffProto, diff_entry};
use prost::Message;

use super::super::decode::{self, Serials};
use super::{ImageLoader, bad};
use crate::digest::terms;
use crate::namespace::Namespace;
use crate::snapshots::as_of::AsOf;
use crate::snapshots::{
    DirDiff, Entry, FileDiff, FormerName, Kept, PRESENT, SNAPSHOT_LIMIT, Snapshot, SnapshotId, SnapshotsPart,
};
use crate::store::names::MAX_NAME_LEN;
use crate::store::slab::{NONE, Slot};
use crate::tree::MAX_DEPTH;
use crate::view::View;

/// Section INODE_REFERENCE: what other sections name by its position. Each reference is used once.
#[derive(Debug, Default)]
pub(super) struct References(Vec<Option<Reference>>);

#[derive(Debug)]
struct Reference {
    inode: Slot,
    /// Of a former name. Without it the inode itself is at the place.
    name: Option<Box<[u8]>>,
}

impl References {
    pub(super) fn load<F: ReadAt + ?Sized>(ns: &Namespace, image: &Image<'_, F>) -> Result<References, ImageError> {
        let mut references = References::default();
        let Some(section) = image.section(SectionName::InodeReference) else {
            return Ok(references);
        };
        let mut messages = image.messages(section);
        while let Some(reference) = messages.next_message::<pb::i_node_reference_section::INodeReference>()? {
            let found = Reference::of(ns, &reference);
            let found = found.map_err(|problem| messages.malformed(problem))?;
            references.0.push(Some(found));
        }
        Ok(references)
    }

    fn take(&mut self, index: u64) -> Result<Reference, String> {
        let found = usize::try_from(index).ok().and_then(|index| self.0.get_mut(index));
        let found = found.ok_or_else(|| format!("there is no reference {index}"))?;
        found.take().ok_or_else(|| format!("reference {index} is used twice"))
    }

    /// The inode of a reference that is no former name.
    pub(super) fn take_child(&mut self, index: u64) -> Result<Slot, String> {
        let reference = self.take(index)?;
        match reference.name {
            None => Ok(reference.inode),
            Some(_) => Err(format!("reference {index} is a former name, and a child has none")),
        }
    }

    fn check_used(&self) -> Result<(), ImageError> {
        match self.0.iter().position(Option::is_some) {
            None => Ok(()),
            Some(unused) => Err(bad(format!("reference {unused} is used nowhere"))),
        }
    }
}

impl Reference {
    fn of(ns: &Namespace, message: &pb::i_node_reference_section::INodeReference) -> Result<Reference, String> {
        let id = message.referred_id();
        let inode = ns.tree.find(InodeId(id)).filter(|slot| *slot != ns.root());
        let inode = inode.ok_or_else(|| format!("there is no inode {id} to be referred to"))?;
        let name = match message.dst_snapshot_id {
            Some(_) => None,
            None => Some(name_of(message.name())?.into()),
        };
        Ok(Reference { inode, name })
    }
}

/// A name of a child.
fn name_of(bytes: &[u8]) -> Result<&[u8], String> {
    match std::str::from_utf8(bytes) {
        Ok(name) if !name.is_empty() && name.len() <= MAX_NAME_LEN => Ok(bytes),
        _ => Err(format!("{:?} is no name of an inode", String::from_utf8_lossy(bytes))),
    }
}

/// Whether the image has anything of snapshots, besides snapshottable directories.
pub(in super::super) fn has_any<F: ReadAt + ?Sized>(image: &Image<'_, F>) -> Result<bool, ImageError> {
    for name in [SectionName::InodeReference, SectionName::SnapshotDiff] {
        if let Some(section) = image.section(name)
            && image.messages(section).next_bytes()?.is_some()
        {
            return Ok(true);
        }
    }
    let Some(section) = image.section(SectionName::Snapshot) else {
        return Ok(false);
    };
    let header = image.messages(section).next_message::<pb::SnapshotSection>()?;
    Ok(header.is_some_and(|header| header.num_snapshots() > 0))
}

/// What the snapshots show of their directories, by number.
type Roots = BTreeMap<SnapshotId, (Slot, Arc<Kept>)>;

impl ImageLoader {
    /// Reads the sections of snapshots. Afterwards every inode has its place, and what is kept of the past is known.
    pub(super) fn add_snapshots<F: ReadAt + ?Sized>(&mut self, image: &Image<'_, F>) -> Result<(), ImageError> {
        let roots = self.add_roots(image)?;
        if let Some(section) = image.section(SectionName::SnapshotDiff) {
            let mut messages = image.messages(section);
            while let Some(entry) = messages.next_message::<DiffEntry>()? {
                self.add_diffs(&entry, &mut messages, &roots)?;
            }
        }
        self.references.check_used()?;
        let ns = &mut self.ns;
        add_orphans(ns)?;
        ns.tree.check_loaded()?;
        ns.snapshots
            .sort_former_names()
            .map_err(|inode| bad(format!("inode {} was at two places at a time", ns.tree.rec(inode).id())))?;
        check_shown(ns)?;
        ns.sum.add(ns.snapshot_terms());
        Ok(())
    }

    fn add_roots<F: ReadAt + ?Sized>(&mut self, image: &Image<'_, F>) -> Result<Roots, ImageError> {
        let mut roots = Roots::new();
        let Some(section) = image.section(SectionName::Snapshot) else {
            return Ok(roots);
        };
        let mut messages = image.messages(section);
        let Some(header) = messages.next_message::<pb::SnapshotSection>()? else {
            return Ok(roots);
        };
        let ns = &mut self.ns;
        ns.counters.snapshot_counter = header.snapshot_counter();
        for id in &header.snapshottable_dir {
            let slot = ns.tree.find(InodeId(*id)).filter(|slot| ns.rec(*slot).is_dir());
            let slot = slot.ok_or_else(|| bad(format!("snapshottable directory {id} does not exist")))?;
            if ns.snapshot_root(slot).is_none() {
                ns.set_snapshottable(slot, true);
                ns.sum.add(terms::snapshottable(InodeId(*id)));
            }
        }
        let mut found: BTreeMap<Slot, Vec<Snapshot>> = BTreeMap::new();
        for _ in 0..header.num_snapshots() {
            let message: pb::snapshot_section::Snapshot = messages.require()?;
            let added = add_root(ns, &self.serials, message, &mut roots, &mut found);
            added.map_err(|problem| messages.malformed(problem))?;
        }
        for (slot, mut snapshots) in found {
            snapshots.sort_unstable_by_key(|snapshot| snapshot.id);
            let names: BTreeSet<&str> = snapshots.iter().map(|snapshot| &*snapshot.name).collect();
            if names.len() < snapshots.len() || snapshots.len() > SNAPSHOT_LIMIT {
                let (id, count) = (ns.rec(slot).id(), snapshots.len());
                return Err(bad(format!(
                    "directory {id} has {count} snapshots, and {} names of them",
                    names.len()
                )));
            }
            let id = ns.rec(slot).id().0;
            snapshots
                .into_iter()
                .for_each(|snapshot| ns.snapshots.add(id, snapshot));
        }
        Ok(roots)
    }

    /// Adds the diffs of one inode, of which the newest comes first.
    fn add_diffs<F: ReadAt + ?Sized>(
        &mut self,
        entry: &DiffEntry,
        messages: &mut MessageReader<'_, F>,
        roots: &Roots,
    ) -> Result<(), ImageError> {
        let id = InodeId(entry.inode_id());
        let is_dir = entry.r#type() == diff_entry::Type::Directorydiff;
        let slot = self.ns.tree.find(id).filter(|slot| {
            let rec = self.ns.rec(*slot);
            rec.is_dir() == is_dir && rec.is_file() != is_dir
        });
        let slot = slot.ok_or_else(|| messages.malformed(format!("inode {id} is not what has such diffs")))?;
        if !self.ns.snapshots.dir_diffs(slot).is_empty() || !self.ns.snapshots.file_diffs(slot).is_empty() {
            return Err(messages.malformed(format!("the diffs of inode {id} come twice")));
        }
        let mut later = PRESENT;
        let (mut dirs, mut files) = (Vec::new(), Vec::new());
        for _ in 0..entry.num_of_diff() {
            let snapshot = if is_dir {
                let message: DirectoryDiff = messages.require()?;
                let mut created = Vec::new();
                for _ in 0..message.created_list_size() {
                    created.push(messages.require::<CreatedListEntry>()?.name.unwrap_or_default());
                }
                let diff = self.dir_diff(slot, message, &created, &dirs, roots);
                dirs.push(diff.map_err(|problem| messages.malformed(problem))?);
                dirs.last().map(|diff| diff.snapshot)
            } else {
                let message: FileDiffProto = messages.require()?;
                let diff = self.file_diff(slot, message);
                files.push(diff.map_err(|problem| messages.malformed(problem))?);
                files.last().map(|diff| diff.snapshot)
            };
            let snapshot = snapshot.unwrap_or(PRESENT);
            if snapshot >= later || !roots.contains_key(&snapshot) {
                let problem = format!("a diff of inode {id} is of no snapshot, or out of order: {snapshot}");
                return Err(messages.malformed(problem));
            }
            later = snapshot;
        }
        let parts = &mut self.ns.snapshots;
        dirs.into_iter().rev().for_each(|diff| parts.push_dir_diff(slot, diff));
        files
            .into_iter()
            .rev()
            .for_each(|diff| parts.push_file_diff(slot, diff));
        Ok(())
    }

    /// The next older diff of a directory; `later` has those that came before, the newest first.
    fn dir_diff(
        &mut self,
        dir: Slot,
        mut message: DirectoryDiff,
        created: &[prost::bytes::Bytes],
        later: &[DirDiff],
        roots: &Roots,
    ) -> Result<DirDiff, String> {
        let snapshot = message.snapshot_id();
        let kept = match (message.is_snapshot_root(), message.snapshot_copy.take()) {
            (true, _) => match roots.get(&snapshot) {
                Some((root, kept)) if *root == dir => Some(kept.clone()),
                _ => return Err(format!("snapshot {snapshot} is not of this directory")),
            },
            (false, Some(copy)) => {
                let inode = INode {
                    r#type: i_node::Type::Directory.into(),
                    directory: Some(copy),
                    ..INode::default()
                };
                Some(Arc::new(kept_of(&self.ns, dir, inode, &self.serials)?))
            }
            (false, None) => None,
        };
        let mut diff = DirDiff {
            snapshot,
            kept,
            children: message.children_size(),
            created: Vec::with_capacity(created.len()),
            deleted: Vec::new(),
        };
        for name in created {
            let entry = self.shown_later(dir, name_of(name)?, later);
            diff.created.push(entry.ok_or_else(|| no_child("comes", name))?);
        }
        self.sort_entries(&mut diff.created)?;
        for id in message.deleted_i_node {
            let inode = self.ns.tree.find(InodeId(id));
            let inode = inode.ok_or_else(|| format!("inode {id} went, and does not exist"))?;
            diff.deleted.push(self.add_gone(inode, dir, snapshot)?);
        }
        for index in message.deleted_i_node_ref {
            let Reference { inode, name } = self.references.take(u64::from(index))?;
            diff.deleted.push(match name {
                None => self.add_gone(inode, dir, snapshot)?,
                Some(name) => Entry::Former(self.ns.snapshots.add_former(FormerName {
                    inode,
                    dir,
                    name,
                    last: snapshot,
                })),
            });
        }
        self.sort_entries(&mut diff.deleted)?;
        for entry in &diff.deleted {
            let name = self.ns.name_of_entry(*entry);
            if let Some(other) = self.shown_later(dir, name, later)
                && !self.ns.find_in(&diff.created, other)
            {
                return Err(no_child("goes, and is there", name));
            }
        }
        Ok(diff)
    }

    /// The child of this name after the snapshot of the diff that is being read.
    fn shown_later(&self, dir: Slot, name: &[u8], later: &[DirDiff]) -> Option<Entry> {
        for diff in later.iter().rev() {
            if let Some(entry) = self.ns.entry_named(&diff.deleted, name) {
                return Some(entry);
            }
            if self.ns.entry_named(&diff.created, name).is_some() {
                return None;
            }
        }
        self.ns.child(dir, name).map(Entry::Inode)
    }

    fn sort_entries(&self, list: &mut [Entry]) -> Result<(), String> {
        let name = |entry: &Entry| self.ns.name_of_entry(*entry);
        list.sort_by(|a, b| name(a).cmp(name(b)));
        match list.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
            None => Ok(()),
            Some(pair) => Err(no_child("comes or goes twice", name(&pair[0]))),
        }
    }

    /// An inode hung in a directory until after a snapshot.
    fn add_gone(&mut self, inode: Slot, dir: Slot, last: SnapshotId) -> Result<Entry, String> {
        let ns = &mut self.ns;
        let id = ns.rec(inode).id();
        ns.tree.add_gone(inode, dir, last)?;
        ns.sum.add(terms::parent(id, ns.rec(dir).id()));
        Ok(Entry::Inode(inode))
    }

    fn file_diff(&mut self, file: Slot, message: FileDiffProto) -> Result<FileDiff, String> {
        let kept = match message.snapshot_copy.clone() {
            None => None,
            Some(copy) => {
                let inode = INode {
                    r#type: i_node::Type::File.into(),
                    file: Some(copy),
                    ..INode::default()
                };
                Some(Arc::new(kept_of(&self.ns, file, inode, &self.serials)?))
            }
        };
        let mut blocks: Vec<Slot> = Vec::new();
        for block in &message.blocks {
            let block = self.past_block(file, block)?;
            if blocks.contains(&block) {
                return Err(format!("block {} is in one list twice", self.ns.files.get(block).id()));
            }
            blocks.push(block);
        }
        Ok(FileDiff {
            snapshot: message.snapshot_id(),
            kept,
            length: message.file_size(),
            blocks: (!blocks.is_empty()).then(|| Arc::from(blocks)),
        })
    }

    /// A block that a file had: one that it still has, or one that only snapshots show.
    fn past_block(&mut self, file: Slot, message: &BlockProto) -> Result<Slot, String> {
        let block = Block {
            id: BlockId(message.block_id as i64),
            num_bytes: message.num_bytes(),
            generation_stamp: GenerationStamp(message.gen_stamp),
        };
        let ns = &mut self.ns;
        if let Some(known) = ns.files.find(block.id) {
            return match ns.files.get(known).file() == file {
                true => Ok(known),
                false => Err(format!("block {} is of two files", block.id)),
            };
        }
        decode::check_block(ns.rec(file), &block, &self.serials)?;
        let slot = ns.files.add_loaded_block(block, file, false)?;
        ns.sum.add(terms::block(ns.files.get(slot)));
        Ok(slot)
    }
}

fn no_child(what: &str, name: &[u8]) -> String {
    format!("a child named {:?} {what}", String::from_utf8_lossy(name))
}

fn add_root(
    ns: &Namespace,
    serials: &Serials,
    message: pb::snapshot_section::Snapshot,
    roots: &mut Roots,
    found: &mut BTreeMap<Slot, Vec<Snapshot>>,
) -> Result<(), String> {
    let id = message.snapshot_id();
    let inode = message.root.unwrap_or_default();
    let slot = ns.tree.find(InodeId(inode.id));
    let slot = slot.filter(|slot| ns.snapshot_root(*slot).is_some());
    let slot = slot.ok_or_else(|| format!("inode {} has a snapshot, and is not snapshottable", inode.id))?;
    let name = std::str::from_utf8(inode.name()).map_err(|_| "a snapshot's name is no text")?;
    let name: Arc<str> = Arc::from(name);
    if id >= ns.counters.snapshot_counter || id >= PRESENT || name.is_empty() {
        return Err(format!("there can't be a snapshot {id} {name:?}"));
    }
    let kept = kept_of(ns, slot, inode, serials)?;
    if roots.insert(id, (slot, Arc::new(kept))).is_some() {
        return Err(format!("there are two snapshots {id}"));
    }
    found.entry(slot).or_default().push(Snapshot { id, name });
    Ok(())
}

/// What an inode was, from a message with its attributes.
fn kept_of(ns: &Namespace, slot: Slot, mut inode: INode, serials: &Serials) -> Result<Kept, String> {
    inode.id = ns.rec(slot).id().0;
    let bytes = inode.encode_to_vec();
    let inode = InodeRef::decode(&bytes).map_err(|error| error.to_string())?;
    let kept = decode::kept(&inode, serials)?;
    match kept.rec.kind_bits() == ns.rec(slot).kind_bits() {
        true => Ok(kept),
        false => Err(format!("inode {} was of another kind", inode.id)),
    }
}

/// Inodes that hang nowhere are shown by former places.
fn add_orphans(ns: &mut Namespace) -> Result<(), ImageError> {
    let all = ns.tree.iter();
    let nowhere = all.filter(|(slot, rec)| rec.parent() == NONE && *slot != ns.root());
    let nowhere: Vec<Slot> = nowhere.map(|(slot, _)| slot).collect();
    for slot in nowhere {
        if !ns.snapshots.has_moved(slot) {
            let id = ns.rec(slot).id();
            return Err(bad(format!("inode {id} is in no directory, and no snapshot shows it")));
        }
        ns.tree.make_orphan(slot);
    }
    Ok(())
}

/// Checks that each diff is of a snapshot that shows its inode, and that nobody who looks for the snapshots of an inode goes
/// in circles.
fn check_shown(ns: &Namespace) -> Result<(), ImageError> {
    for slot in ns.tree.gone().filter(|slot| !ns.tree.is_orphan(*slot)) {
        let former = ns.snapshots.former_names(slot).last();
        let former = former.map(|name| ns.snapshots.former(*name).last);
        if former >= ns.tree.last_shown(slot) {
            return Err(bad(format!("inode {} was at two places at a time", ns.rec(slot).id())));
        }
    }
    for root in ns.snapshots.roots().values() {
        for snapshot in &root.snapshots {
            let diffs = ns.snapshots.dir_diffs(root.slot);
            let of = diffs.iter().find(|diff| diff.snapshot == snapshot.id);
            if of.is_none_or(|diff| diff.kept.is_none()) {
                let id = ns.rec(root.slot).id();
                return Err(bad(format!(
                    "snapshot {} has no copy of its directory, inode {id}",
                    snapshot.id
                )));
            }
        }
    }
    for slot in ns.snapshots.with_diffs() {
        let dirs = ns.snapshots.dir_diffs(slot).iter().map(|diff| diff.snapshot);
        let files = ns.snapshots.file_diffs(slot).iter().map(|diff| diff.snapshot);
        for snapshot in dirs.chain(files) {
            if !is_shown(ns, slot, snapshot) {
                let id = ns.rec(slot).id();
                return Err(bad(format!(
                    "inode {id} has a diff of snapshot {snapshot}, which does not show it"
                )));
            }
        }
    }
    Ok(())
}

/// Whether a snapshot shows an inode: by the places in which it and the directories above it were then.
fn is_shown(ns: &Namespace, slot: Slot, snapshot: SnapshotId) -> bool {
    let (mut at, mut is_found) = (slot, false);
    for _ in 0..MAX_DEPTH {
        let root = ns.snapshot_root(at);
        is_found |= root.is_some_and(|root| root.last_until(snapshot) == Some(snapshot));
        if at == ns.root() {
            return is_found;
        }
        let mut former = ns.snapshots.former_names(at).iter().copied();
        let former = former.find(|name| snapshot <= ns.snapshots.former(*name).last);
        let (dir, entry) = match former {
            Some(name) => (ns.snapshots.former(name).dir, Entry::Former(name)),
            None if ns.tree.last_shown(at).is_some_and(|last| last < snapshot) => return false,
            None => (ns.rec(at).parent(), Entry::Inode(at)),
        };
        let mut later = ns.dir_diffs_from(dir, snapshot).iter();
        if dir == NONE || (!is_found && later.any(|diff| ns.find_in(&diff.created, entry))) {
            return false;
        }
        at = dir;
    }
    false
}

/// What only snapshots show is not written, and what came after them ends. The image of a namespace that had not freed
/// everything says more.
pub(super) fn trim_unattached(ns: &mut Namespace) {
    let gone: Vec<Slot> = ns.tree.gone().filter(|slot| ns.tree.is_orphan(*slot)).collect();
    let mut freed = Vec::new();
    for slot in gone {
        if ns.tree.is_orphan(slot) {
            ns.trim(slot, &mut freed);
        }
    }
    ns.reclaim_all(&mut freed);
    ns.end_changes();
}

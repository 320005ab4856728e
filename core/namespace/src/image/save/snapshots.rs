//! Writing snapshots, diffs, and the references to inodes that have moved (`FSImageFormatPBSnapshot.Saver`).
//!
//! Hadoop keeps a reference (`INodeReference.DstReference`) at the place of an inode that another place has shown. Here the
//! inode itself is there, and a reference is what an image calls it.

use std::io::{self, Write};

use hathi_formats::fsimage::{ImageWriter, SectionName};
use hathi_formats::ids::Block;
use hathi_formats::proto::fsimage as pb;
use hathi_formats::proto::hdfs::BlockProto;
use hathi_formats::wire::{put_bytes, put_delimited, put_number};
use pb::snapshot_diff_section::{CreatedListEntry, DiffEntry, DirectoryDiff, FileDiff as FileDiffProto, diff_entry};
use prost::Message;

use super::encode::{Features, Named};
use super::{Bits, CANCEL_EVERY, Frozen, SaveError};
use crate::snapshots::as_of::AsOf;
use crate::snapshots::{DirDiff, Entry, FileDiff, Kept, PRESENT, Snapshot, SnapshotId, SnapshotsPart};
use crate::store::slab::Slot;
use crate::view::View;

/// What is named by its position in section INODE_REFERENCE. It is collected while the sections before it are written.
#[derive(Default)]
pub(super) struct References(Vec<Reference>);

enum Reference {
    /// An inode at the place that it has, or had last (`DstReference`).
    Place(Slot),
    /// A former name (`WithName`).
    Former(Slot),
}

impl References {
    /// The position of a new reference to an inode at its place.
    pub(super) fn put_place(&mut self, inode: Slot) -> u32 {
        self.add(Reference::Place(inode))
    }

    fn add(&mut self, reference: Reference) -> u32 {
        self.0.push(reference);
        self.0.len() as u32 - 1
    }
}

impl Frozen {
    pub(super) fn save_snapshots<W: Write>(
        &self,
        w: &mut ImageWriter<W>,
        snapshottable: Vec<u64>,
        named: &mut Named,
    ) -> io::Result<()> {
        let roots: Vec<_> = snapshottable
            .iter()
            .filter_map(|id| self.snapshots.roots().get(id))
            .collect();
        w.begin(SectionName::Snapshot);
        w.message(&pb::SnapshotSection {
            snapshot_counter: Some(self.counters.snapshot_counter),
            num_snapshots: Some(roots.iter().map(|root| root.snapshots.len() as u32).sum()),
            snapshottable_dir: snapshottable,
        })?;
        for root in roots {
            // Hadoop takes them for sorted.
            let mut snapshots: Vec<&Snapshot> = root.snapshots.iter().collect();
            snapshots.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            for snapshot in snapshots {
                let inode = self.encode_root(root.slot, snapshot, named);
                put_delimited(w.buffer(), |out| {
                    put_number(out, 1, u64::from(snapshot.id));
                    put_bytes(out, 2, &inode);
                });
                w.flush_if_full()?;
            }
        }
        w.end();
        Ok(())
    }

    /// A snapshottable directory as the snapshot shows it, named like the snapshot.
    fn encode_root(&self, dir: Slot, snapshot: &Snapshot, named: &mut Named) -> Vec<u8> {
        let name = snapshot.name.as_bytes();
        match self.kept_at(dir, snapshot.id) {
            Some(kept) => encode_kept(kept, name, named),
            None => {
                let features = Features {
                    acl: self.attributes.acl(dir).map(|acl| &acl[..]),
                    xattrs: self.attributes.xattrs(dir),
                    quota: self.quota(dir).map(|quota| (quota.ns, quota.ds, &quota.types)),
                    ..Features::default()
                };
                without_length(|out| named.encode_inode(self.rec(dir), name, &features, out))
            }
        }
    }

    pub(super) fn save_diffs<W: Write>(
        &self,
        w: &mut ImageWriter<W>,
        (skip, _): &(Bits, usize),
        references: &mut References,
        named: &mut Named,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), SaveError> {
        let mut slots: Vec<Slot> = self.snapshots.with_diffs().filter(|slot| !skip.get(*slot)).collect();
        slots.sort_unstable();
        let per_part = self.config.image.per_part(slots.len());
        w.begin(SectionName::SnapshotDiff);
        for (n, slot) in slots.into_iter().enumerate() {
            if (n as u32).is_multiple_of(CANCEL_EVERY) && cancelled() {
                return Err(SaveError::Cancelled);
            }
            let (dirs, files) = (self.snapshots.dir_diffs(slot), self.snapshots.file_diffs(slot));
            let kind = match self.rec(slot).is_dir() {
                true => diff_entry::Type::Directorydiff,
                false => diff_entry::Type::Filediff,
            };
            w.message(&DiffEntry {
                r#type: kind.into(),
                inode_id: Some(self.rec(slot).id().0),
                num_of_diff: Some((dirs.len() + files.len()) as u32),
            })?;
            // The newest first: a reader finds what came in what went later.
            for diff in dirs.iter().rev() {
                self.save_dir_diff(w, slot, diff, references, named)?;
            }
            for diff in files.iter().rev() {
                self.save_file_diff(w, slot, diff, named)?;
            }
            if (n + 1).is_multiple_of(per_part) {
                w.sub_section();
            }
        }
        w.end();
        Ok(())
    }

    fn save_dir_diff<W: Write>(
        &self,
        w: &mut ImageWriter<W>,
        dir: Slot,
        diff: &DirDiff,
        references: &mut References,
        named: &mut Named,
    ) -> io::Result<()> {
        let root = self.snapshots.roots().get(&self.rec(dir).id().0);
        let is_root = root.is_some_and(|root| root.last_until(diff.snapshot) == Some(diff.snapshot));
        let mut message = DirectoryDiff {
            snapshot_id: Some(diff.snapshot),
            children_size: Some(diff.children),
            is_snapshot_root: Some(is_root),
            created_list_size: Some(diff.created.len() as u32),
            ..DirectoryDiff::default()
        };
        if let Some(kept) = diff.kept.as_deref().filter(|_| !is_root) {
            message.name = Some(self.name_at(dir, diff.snapshot).to_vec().into());
            message.snapshot_copy = decode_inode(&encode_kept(kept, b"", named)).directory;
        }
        for entry in &diff.deleted {
            match *entry {
                Entry::Inode(inode) if !self.snapshots.has_moved(inode) => {
                    message.deleted_i_node.push(self.rec(inode).id().0);
                }
                Entry::Inode(inode) => message.deleted_i_node_ref.push(references.put_place(inode)),
                Entry::Former(name) => message.deleted_i_node_ref.push(references.add(Reference::Former(name))),
            }
        }
        w.message(&message)?;
        for entry in &diff.created {
            w.message(&CreatedListEntry {
                name: Some(self.name_of_entry(*entry).to_vec().into()),
            })?;
        }
        Ok(())
    }

    fn save_file_diff<W: Write>(
        &self,
        w: &mut ImageWriter<W>,
        file: Slot,
        diff: &FileDiff,
        named: &mut Named,
    ) -> io::Result<()> {
        let mut message = FileDiffProto {
            snapshot_id: Some(diff.snapshot),
            file_size: Some(diff.length),
            ..FileDiffProto::default()
        };
        if let Some(kept) = diff.kept.as_deref() {
            message.name = Some(self.name_at(file, diff.snapshot).to_vec().into());
            message.snapshot_copy = decode_inode(&encode_kept(kept, b"", named)).file;
        }
        let blocks = diff.blocks.iter().flat_map(|blocks| blocks.iter());
        let blocks = blocks.map(|block| block_proto(self.block_rec(*block).block()));
        message.blocks.extend(blocks);
        w.message(&message)
    }

    fn name_at(&self, slot: Slot, snapshot: SnapshotId) -> &[u8] {
        match self.place_at(slot, snapshot) {
            Some(place) => &place.name,
            None => self.name_of(slot),
        }
    }

    /// Writes what the sections before have named by its position.
    pub(super) fn save_references<W: Write>(&self, w: &mut ImageWriter<W>, references: References) -> io::Result<()> {
        w.begin(SectionName::InodeReference);
        for reference in references.0 {
            let message = match reference {
                Reference::Place(inode) => pb::i_node_reference_section::INodeReference {
                    referred_id: Some(self.rec(inode).id().0),
                    dst_snapshot_id: Some(self.came_after(self.rec(inode).parent(), inode).unwrap_or(PRESENT)),
                    ..Default::default()
                },
                Reference::Former(name) => {
                    let former = self.snapshots.former(name);
                    pb::i_node_reference_section::INodeReference {
                        referred_id: Some(self.rec(former.inode).id().0),
                        name: Some(former.name.to_vec().into()),
                        last_snapshot_id: Some(former.last),
                        ..Default::default()
                    }
                }
            };
            w.message(&message)?;
        }
        w.end();
        Ok(())
    }

    /// The last snapshot that shows a directory and is older than the coming of this child.
    fn came_after(&self, dir: Slot, child: Slot) -> Option<SnapshotId> {
        let diffs = self.snapshots.dir_diffs(dir).iter().rev();
        let mut came = diffs.filter(|diff| self.find_in(&diff.created, Entry::Inode(child)));
        came.next().map(|diff| diff.snapshot)
    }
}

fn encode_kept(kept: &Kept, name: &[u8], named: &mut Named) -> Vec<u8> {
    let quota = kept.quota.as_ref();
    let features = Features {
        acl: kept.acl.as_deref(),
        xattrs: kept.xattrs.as_deref().unwrap_or_default(),
        quota: quota.map(|quota| (quota.ns, quota.ds, &quota.types)),
        ..Features::default()
    };
    without_length(|out| named.encode_inode(&kept.rec, name, &features, out))
}

/// A delimited message without its length.
fn without_length(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    let mut rest = &out[..];
    let length = prost::encoding::decode_varint(&mut rest);
    debug_assert_eq!(length.ok(), Some(rest.len() as u64), "one message was encoded");
    rest.to_vec()
}

fn decode_inode(message: &[u8]) -> pb::i_node_section::INode {
    let inode = pb::i_node_section::INode::decode(message);
    debug_assert!(inode.is_ok(), "it was just encoded");
    inode.unwrap_or_default()
}

fn block_proto(block: Block) -> BlockProto {
    BlockProto {
        block_id: block.id.0 as u64,
        gen_stamp: block.generation_stamp.0,
        num_bytes: Some(block.num_bytes),
    }
}

//! Snapshots of the XML, their differences, and the references that renames left behind.

use std::io::{BufRead, Write};

use super::inode::blocks;
use super::{Maker, Result, int, ints, long, longs, require_int};
use crate::proto::fsimage as pb;
use crate::proto::fsimage::snapshot_diff_section::{self as section, DiffEntry, diff_entry};
use crate::xml_tree::Node;

impl<R: BufRead, W: Write> Maker<R, W> {
    pub(super) fn references(&mut self) -> Result {
        while let Some(mut node) = self.next_record("ref")? {
            let name = node.take_text("name").filter(|name| !name.is_empty());
            let referred_id = long(&mut node, "referredId")?;
            let (dst, last) = (int(&mut node, "dstSnapshotId")?, int(&mut node, "lastSnapshotId")?);
            node.done()?;
            let is_named = name.is_some();
            self.out.message(&pb::i_node_reference_section::INodeReference {
                referred_id,
                name: name.map(|name| name.into_bytes().into()),
                dst_snapshot_id: dst.filter(|_| !is_named),
                last_snapshot_id: last.filter(|_| is_named),
            })?;
        }
        Ok(())
    }

    pub(super) fn snapshots(&mut self) -> Result {
        let mut head = self.xml.until("SnapshotSection", &["snapshot"])?;
        let num_snapshots: u32 = head.require_number("numSnapshots")?;
        let mut snapshottable_dir = Vec::new();
        for mut dirs in head.take_all("snapshottableDir") {
            snapshottable_dir.extend(longs(&mut dirs, "dir")?);
            dirs.done()?;
        }
        let header = pb::SnapshotSection {
            snapshot_counter: Some(require_int(&mut head, "snapshotCounter")?),
            snapshottable_dir,
            num_snapshots: Some(num_snapshots),
        };
        head.done()?;
        self.out.message(&header)?;
        for _ in 0..num_snapshots {
            let mut node = self.require_record("snapshot")?;
            let snapshot_id = Some(require_int(&mut node, "id")?);
            let mut root = node.take("root").ok_or_else(|| node.error("<root> is missing"))?;
            node.done()?;
            let root = Some(self.inode(&mut root)?);
            self.out
                .message(&pb::snapshot_section::Snapshot { snapshot_id, root })?;
        }
        Ok(self.xml.close()?)
    }

    pub(super) fn snapshot_diffs(&mut self) -> Result {
        while let Some(name) = self.xml.open()? {
            let (kind, element) = match name.as_str() {
                "fileDiffEntry" => (diff_entry::Type::Filediff, "fileDiff"),
                "dirDiffEntry" => (diff_entry::Type::Directorydiff, "dirDiff"),
                other => {
                    let problem = format!("SnapshotDiffSection contained unexpected tag {other}");
                    return Err(self.xml.error(problem).into());
                }
            };
            let mut head = self.xml.until(&name, &[element])?;
            let count: u32 = head.require_number("count")?;
            let entry = DiffEntry {
                r#type: kind.into(),
                inode_id: Some(head.require_number::<i64>("inodeId")?.cast_unsigned()),
                num_of_diff: Some(count),
            };
            head.done()?;
            self.out.message(&entry)?;
            for _ in 0..count {
                let mut node = self.require_record(element)?;
                match kind {
                    diff_entry::Type::Filediff => self.file_diff(&mut node)?,
                    diff_entry::Type::Directorydiff => self.directory_diff(&mut node)?,
                }
                node.done()?;
            }
            self.xml.close()?;
        }
        Ok(())
    }

    fn file_diff(&mut self, node: &mut Node) -> Result {
        let snapshot_copy = match node.take("snapshotCopy") {
            Some(copy) if is_no_copy(&copy) => None,
            Some(mut copy) => {
                let file = self.file(&mut copy)?;
                copy.done()?;
                Some(file)
            }
            None => None,
        };
        let diff = section::FileDiff {
            snapshot_id: int(node, "snapshotId")?,
            file_size: long(node, "size")?,
            name: node
                .take_text("name")
                .filter(|name| !name.is_empty())
                .map(|name| name.into_bytes().into()),
            snapshot_copy,
            blocks: blocks(node)?,
        };
        Ok(self.out.message(&diff)?)
    }

    fn directory_diff(&mut self, node: &mut Node) -> Result {
        let snapshot_copy = match node.take("snapshotCopy") {
            Some(mut copy) => {
                let directory = self.directory(&mut copy)?;
                copy.done()?;
                Some(directory)
            }
            None => None,
        };
        let created = node.take_all("created");
        let created_size: u32 = node.require_number("createdListSize")?;
        if u32::try_from(created.len()) != Ok(created_size) {
            let problem = format!(
                "<createdListSize> was {created_size}, but there were {} <created> entries.",
                created.len()
            );
            return Err(node.error(problem).into());
        }
        let diff = section::DirectoryDiff {
            snapshot_id: int(node, "snapshotId")?,
            children_size: Some(require_int(node, "childrenSize")?),
            is_snapshot_root: Some(node.take("isSnapshotRoot").is_some()),
            name: node.take_text("name").map(|name| name.into_bytes().into()),
            snapshot_copy,
            created_list_size: Some(created_size),
            deleted_i_node: longs(node, "deletedInode")?,
            deleted_i_node_ref: ints(node, "deletedInoderef")?,
        };
        self.out.message(&diff)?;
        for mut entry in created {
            let name = entry.require_text("name")?;
            entry.done()?;
            self.out.message(&section::CreatedListEntry {
                name: Some(name.into_bytes().into()),
            })?;
        }
        Ok(())
    }
}

/// Whether nothing is set in a file's copy, which Java prints when there is none.
fn is_no_copy(copy: &Node) -> bool {
    let mut copy = copy.clone();
    let zero = |text: Option<String>| text.as_deref() == Some("0");
    zero(copy.take_text("replication"))
        && zero(copy.take_text("mtime"))
        && zero(copy.take_text("atime"))
        && zero(copy.take_text("preferredBlockSize"))
        && copy
            .take_text("permission")
            .is_some_and(|text| text.starts_with("null:null:"))
        && copy.done().is_ok()
}

//! Inodes that directories name and the image does not have (`PBImageCorruptionDetector`).

use super::Options;
use super::tree::{Tree, field, for_each_directory, for_each_inode, references, referred, tell_ignored};
use anyhow::Result;
use hathi_formats::fsimage::Image;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write;

const COLUMNS: [&str; 8] = [
    "CorruptionType",
    "Id",
    "IsSnapshot",
    "ParentPath",
    "ParentId",
    "Name",
    "NodeType",
    "CorruptChildren",
];

/// What is wrong with one inode.
#[derive(Clone, Copy, Debug, Default)]
struct Corruption {
    is_missing: bool,
    missing_children: u64,
}

impl Corruption {
    fn kind(self) -> &'static str {
        match (self.is_missing, self.missing_children > 0) {
            (true, true) => "CorruptNodeWithMissingChild",
            (true, false) => "CorruptNode",
            (false, _) => "MissingChild",
        }
    }
}

/// Prints a line for each inode that is missing or has missing children.
pub(super) fn write(image: &Image<'_, File>, options: &Options, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "{}", COLUMNS.join(&options.delimiter))?;
    let references = references(image)?;
    let mut known = HashSet::new();
    for_each_inode(image, |inode| {
        known.insert(inode.id);
        Ok(())
    })?;
    let mut found: BTreeMap<u64, Corruption> = BTreeMap::new();
    for_each_directory(image, |entry| {
        let parent = entry.parent();
        if !known.contains(&parent) {
            found.entry(parent).or_default().is_missing = true;
        }
        let mut missing = 0;
        for child in entry.children.iter().filter(|child| !known.contains(child)) {
            found.entry(*child).or_default().is_missing = true;
            missing += 1;
        }
        if missing > 0 {
            found.entry(parent).or_default().missing_children = missing;
        }
        entry
            .ref_children
            .iter()
            .try_for_each(|index| referred(&references, *index).map(|_| ()))
    })?;
    let tree = Tree::load(image)?;
    let node_type = |id: u64| match (known.contains(&id), references.contains(&id)) {
        (true, _) => "Node",
        (false, true) => "Ref",
        (false, false) => "Unknown",
    };
    let line = |id: u64, corruption: Corruption, in_snapshot: bool, path: &str, name: &str| {
        let parent = tree
            .parent(id)
            .map_or_else(|| "Missing".to_owned(), |id| id.to_string());
        [
            corruption.kind(),
            &id.to_string(),
            &in_snapshot.to_string(),
            &field(path),
            &parent,
            &field(name),
            node_type(id),
            &corruption.missing_children.to_string(),
        ]
        .join(&options.delimiter)
    };
    let mut ignored = 0;
    for_each_inode(image, |inode| {
        let Some(path) = tree.parent_path(inode.id) else {
            ignored += 1;
            return Ok(());
        };
        if let Some(corruption) = found.remove(&inode.id) {
            let name = String::from_utf8_lossy(inode.name);
            writeln!(out, "{}", line(inode.id, corruption, false, &path, &name))?;
        }
        Ok(())
    })?;
    tell_ignored(ignored);
    // Those that have no place in the image's tree.
    for (id, corruption) in found {
        let name = tree.name(id).unwrap_or_default();
        writeln!(out, "{}", line(id, corruption, true, "", name))?;
    }
    Ok(())
}

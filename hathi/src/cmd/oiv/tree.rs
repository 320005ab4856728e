//! Paths of the inodes of an image. Snapshots are left out, as in Hadoop's viewer.

use anyhow::{Context, Result};
use hathi_formats::fsimage::{Image, InodeKind, InodeRef, SectionName, StringTable};
use hathi_formats::proto::fsimage::INodeSection;
use hathi_formats::proto::fsimage::i_node_directory_section::DirEntry;
use hathi_formats::proto::fsimage::i_node_reference_section::INodeReference;
use std::collections::HashMap;
use std::fs::File;

/// The root's inode id.
pub(super) const ROOT: u64 = hathi_formats::ids::InodeId::ROOT.0;
/// Most components of a path. A longer chain is a circle in a damaged image.
const DEPTH_MAX: usize = 1 << 16;

/// Calls `each` for every inode of an image, in its order.
pub(super) fn for_each_inode(image: &Image<'_, File>, mut each: impl FnMut(&InodeRef<'_>) -> Result<()>) -> Result<()> {
    let section = image.section(SectionName::Inode).context("the image has no inodes")?;
    let mut messages = image.messages(section);
    let header: INodeSection = messages.require()?;
    for number in 0..header.num_inodes() {
        let bytes = messages
            .next_bytes()?
            .with_context(|| format!("section INODE has {number} inodes instead of {}", header.num_inodes()))?;
        let inode = InodeRef::decode(bytes).with_context(|| format!("section INODE: inode {number} is damaged"))?;
        each(&inode)?;
    }
    Ok(())
}

/// The inodes that references name, by position.
pub(super) fn references(image: &Image<'_, File>) -> Result<Vec<u64>> {
    let mut referred = Vec::new();
    if let Some(section) = image.section(SectionName::InodeReference) {
        let mut messages = image.messages(section);
        while let Some(reference) = messages.next_message::<INodeReference>()? {
            referred.push(reference.referred_id());
        }
    }
    Ok(referred)
}

/// Calls `each` for every directory with its children and the positions of its references.
pub(super) fn for_each_directory(image: &Image<'_, File>, mut each: impl FnMut(DirEntry) -> Result<()>) -> Result<()> {
    if let Some(section) = image.section(SectionName::InodeDir) {
        let mut messages = image.messages(section);
        while let Some(entry) = messages.next_message::<DirEntry>()? {
            each(entry)?;
        }
    }
    Ok(())
}

/// The inode of a reference.
pub(super) fn referred(references: &[u64], index: u32) -> Result<u64> {
    references.get(index as usize).copied().with_context(|| {
        format!(
            "section INODE_DIR names reference {index}, and there are {}",
            references.len()
        )
    })
}

/// Parents of inodes and names of directories: 16 bytes for each inode, and the names of directories.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Child and parent, sorted by child.
    parents: Vec<(u64, u64)>,
    names: HashMap<u64, Box<str>>,
}

impl Tree {
    /// Reads the directories of an image.
    pub(super) fn load(image: &Image<'_, File>) -> Result<Tree> {
        let mut tree = Tree::default();
        let references = references(image)?;
        for_each_directory(image, |entry| {
            let parent = entry.parent();
            tree.parents.extend(entry.children.iter().map(|child| (*child, parent)));
            for index in &entry.ref_children {
                tree.parents.push((referred(&references, *index)?, parent));
            }
            Ok(())
        })?;
        tree.parents.sort_unstable();
        for_each_inode(image, |inode| {
            if inode.kind == InodeKind::Directory {
                tree.names.insert(inode.id, String::from_utf8_lossy(inode.name).into());
            }
            Ok(())
        })?;
        Ok(tree)
    }

    /// The directory of an inode. `None` for the root, and for what only snapshots have.
    pub(super) fn parent(&self, id: u64) -> Option<u64> {
        let at = self.parents.binary_search_by_key(&id, |(child, _)| *child).ok()?;
        self.parents.get(at).map(|(_, parent)| *parent)
    }

    /// The name of a directory.
    pub(super) fn name(&self, id: u64) -> Option<&str> {
        self.names.get(&id).map(AsRef::as_ref)
    }

    /// The path of a directory. `None` if it exists only in snapshots, or one of those above it is missing.
    fn directory(&self, id: u64) -> Option<String> {
        let mut components = Vec::new();
        let mut at = id;
        while at != ROOT {
            components.push(self.name(at)?);
            at = self.parent(at)?;
            if components.len() > DEPTH_MAX {
                return None;
            }
        }
        self.name(ROOT)?;
        components.reverse();
        Some(format!("/{}", components.join("/")))
    }

    /// The path of an inode's directory; the root is in itself. `None` as in [`Tree::directory`].
    pub(super) fn parent_path(&self, id: u64) -> Option<String> {
        if id == ROOT {
            return Some("/".to_owned());
        }
        self.directory(self.parent(id)?)
    }
}

/// A name in a directory.
pub(super) fn join(directory: &str, name: &str) -> String {
    match (directory, name) {
        (directory, "") => directory.to_owned(),
        ("/", name) => format!("/{name}"),
        (directory, name) => format!("{directory}/{name}"),
    }
}

/// A field of a table (`PBImageTextWriter.append`): in quotes when it has a comma, a quote or an end of a line in it. Ends of
/// lines are replaced, so that a line stays one.
pub(super) fn field(text: &str) -> String {
    let quoted = if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    };
    if quoted.contains("\r\n") {
        return quoted.replace("\r\n", "%x0D%x0A");
    }
    quoted.replace('\n', "%x0A")
}

/// Says how many inodes have no path, as Hadoop's viewer does.
pub(super) fn tell_ignored(ignored: u64) {
    if ignored > 0 {
        eprintln!("Ignored {ignored} nodes, including {ignored} in snapshots.");
    }
}

/// Names of a user and a group by the permissions of an inode.
pub(super) fn owner(strings: &StringTable, permission: u64) -> (&str, &str, u16) {
    use hathi_formats::fsimage::{SerialKind, permission_parts};
    let (user, group, mode) = permission_parts(permission);
    let name = |kind, serial| strings.get(kind, serial).unwrap_or_default();
    (name(SerialKind::User, user), name(SerialKind::Group, group), mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_as_hadoop_quotes_them() {
        for (text, wanted) in [
            ("/plain path", "/plain path"),
            ("a,b", "\"a,b\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("line\nbreak\rreturn", "\"line%x0Abreak\rreturn\""),
            ("both\r\nends\n", "\"both%x0D%x0Aends\n\""),
        ] {
            assert_eq!(field(text), wanted);
        }
    }
}

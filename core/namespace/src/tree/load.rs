//! The tree of an image, which is checked while it is built: an image may be damaged.

use hathi_formats::fsimage::ImageError;
use hathi_formats::ids::InodeId;

use super::inode::InodeRec;
use super::{SnapshotId, Tree, key_of};
use crate::store::names::utf16_len;
use crate::store::slab::{NONE, Slot};

/// Largest number of links between a directory and the root. More of them are a circle.
pub(crate) const MAX_DEPTH: usize = 1 << 20;

impl Tree {
    /// Adds an inode that hangs nowhere yet.
    ///
    /// # Errors
    /// There is one with this id.
    pub(crate) fn add_loaded(&mut self, mut rec: InodeRec, name: &[u8]) -> Result<Slot, String> {
        let id = rec.id();
        rec.name = self.names.insert(name);
        let slot = self.inodes.insert(rec);
        if self.ids.insert(id.0, slot).is_some() {
            return Err(format!("inode id {id} appears twice"));
        }
        if id == InodeId::ROOT {
            self.root = slot;
        }
        Ok(slot)
    }

    /// Hangs inodes in the directory `parent`, and calls `linked` for each. `slots` is memory to be used again.
    ///
    /// # Errors
    /// An inode is none, hangs in a directory already, or has the name of another.
    pub(crate) fn add_children<E: ToString>(
        &mut self,
        parent: InodeId,
        children: impl Iterator<Item = Result<u64, E>>,
        slots: &mut Vec<Slot>,
        mut linked: impl FnMut(InodeId),
    ) -> Result<(), String> {
        let dir = self
            .find(parent)
            .filter(|slot| self.rec(*slot).is_dir())
            .ok_or_else(|| format!("{parent} is not a directory"))?;
        if self.rec(dir).data != NONE {
            return Err(format!("directory {parent} appears twice"));
        }
        slots.clear();
        let mut longest = 0;
        let Tree {
            inodes,
            ids,
            names,
            children: lists,
            root,
            ..
        } = self;
        for id in children {
            let id = id.map_err(|error| error.to_string())?;
            let slot = ids.get(id).ok_or_else(|| format!("child {id} does not exist"))?;
            let rec = inodes.get_mut(slot);
            if rec.parent != NONE || slot == *root {
                return Err(format!("inode {id} has two parents"));
            }
            rec.parent = dir;
            linked(rec.id());
            let name = names.get(rec.name);
            if name.is_empty() {
                return Err(format!("child {id} has no name"));
            }
            longest = longest.max(1 + utf16_len(name));
            slots.push(slot);
        }
        if slots.is_empty() {
            return Ok(());
        }
        let name = |slot: &Slot| names.get(inodes.get(*slot).name);
        if !slots.is_sorted_by(|a, b| name(a) < name(b)) {
            // Old writers sorted in another order. Two equal names are damage.
            slots.sort_by(|a, b| name(a).cmp(name(b)));
            if let Some(pair) = slots.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
                return Err(format!(
                    "inode {} and another have the same name",
                    inodes.get(pair[0]).id()
                ));
            }
        }
        let list = lists.insert_sorted(slots, |slot| key_of(inodes, names, slot));
        let rec = inodes.get_mut(dir);
        rec.data = list;
        rec.set_longest_below(longest);
        Ok(())
    }

    /// An inode was in a directory, and this is the last snapshot that shows it there.
    ///
    /// # Errors
    /// It hangs in a directory, or was in another one.
    pub(crate) fn add_gone(&mut self, slot: Slot, dir: Slot, last: SnapshotId) -> Result<(), String> {
        let rec = self.inodes.get_mut(slot);
        if rec.parent != NONE || slot == self.root {
            return Err(format!("inode {} has two parents", rec.id()));
        }
        if self.names.get(rec.name).is_empty() {
            return Err(format!("inode {} has no name", rec.id()));
        }
        rec.parent = dir;
        self.set_gone(slot, last);
        Ok(())
    }

    /// Checks that every inode is below the root or has no place, without circles. What a snapshot shows is below the
    /// directory in which it was.
    pub(crate) fn check_loaded(&self) -> Result<(), ImageError> {
        let mut known = vec![false; self.inodes.used() as usize];
        known[self.root as usize] = true;
        let mut way = Vec::new();
        for (slot, rec) in self.iter() {
            let mut at = slot;
            way.clear();
            while !known[at as usize] {
                let parent = self.rec(at).parent;
                if parent == NONE && self.is_orphan(at) {
                    known[at as usize] = true;
                    break;
                }
                if parent == NONE {
                    return Err(ImageError::Malformed {
                        offset: 0,
                        problem: format!("inode {} is in no directory", self.rec(at).id()),
                    });
                }
                if way.len() > MAX_DEPTH {
                    return Err(ImageError::Malformed {
                        offset: 0,
                        problem: format!("inode {} is below itself", rec.id()),
                    });
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

    /// Makes all directories know how long the paths below them are.
    pub(crate) fn raise_all_longest_below(&mut self) {
        for slot in 0..self.inodes.used() {
            if self.rec(slot).is_dir() {
                self.raise_longest_below(slot);
            }
        }
    }

    /// Whether the inode is known to hang below the root, also in an image that turns out to be damaged.
    pub(crate) fn is_below_root(&self, slot: Slot) -> bool {
        let mut at = slot;
        for _ in 0..MAX_DEPTH {
            if at == self.root {
                return true;
            }
            if at == NONE {
                return false;
            }
            at = self.rec(at).parent;
        }
        false
    }
}

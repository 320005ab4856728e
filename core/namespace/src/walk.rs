//! Walks through a tree during which the lock may be released.

use hathi_formats::ids::InodeId;

use crate::store::slab::Slot;
use crate::types::Refused;
use crate::view::View;

/// Position of a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TreeWalk {
    /// Directories that are still to be visited, the next one last.
    todo: Vec<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    dir: InodeId,
    /// The child behind which the walk goes on. `None` while the directory itself was not visited.
    after: Option<Vec<u8>>,
    /// Whether the directories below it are visited, too.
    is_deep: bool,
}

impl TreeWalk {
    /// A walk through a directory and everything below it.
    pub(crate) fn of(dir: InodeId) -> TreeWalk {
        let mut walk = TreeWalk::default();
        walk.add(dir, true);
        walk
    }

    pub(crate) fn add(&mut self, dir: InodeId, is_deep: bool) {
        let after = None;
        self.todo.push(Place { dir, after, is_deep });
    }

    pub(crate) fn is_done(&self) -> bool {
        self.todo.is_empty()
    }
}

/// What a walk visits.
pub(crate) enum Seen {
    /// A directory, before its children. They are visited if the answer is true. `is_deep`: those of the directories
    /// below are, too.
    Directory { dir: Slot, is_deep: bool },
    /// A child. The answer does not matter.
    Child { dir: Slot, child: Slot },
}

/// Walks through the tree of a view.
pub(crate) trait Walks: View {
    /// Continues a walk with up to `max_inodes` inodes. Returns true at its end. Inodes that are deleted meanwhile are
    /// left out, inodes that are added may or may not be visited.
    fn walk_step(
        &self,
        walk: &mut TreeWalk,
        max_inodes: usize,
        see: &mut dyn FnMut(Seen) -> Result<bool, Refused>,
    ) -> Result<bool, Refused> {
        let mut budget = max_inodes.max(1);
        while let Some(place) = walk.todo.pop() {
            if budget == 0 {
                walk.todo.push(place);
                return Ok(false);
            }
            let Place {
                dir: id,
                after,
                is_deep,
            } = place;
            let Some(dir) = self.slot(id).filter(|slot| self.rec(*slot).is_dir()) else {
                continue;
            };
            if after.is_none() {
                budget -= 1;
                if !see(Seen::Directory { dir, is_deep })? {
                    continue;
                }
            }
            let from = after.as_deref().unwrap_or(b"");
            let (count, children) = self.children_after(dir, from);
            let mut deeper = TreeWalk::default();
            let (mut visited, mut last) = (0, None);
            for child in children.take(budget) {
                (visited, last) = (visited + 1, Some(child));
                see(Seen::Child { dir, child })?;
                if is_deep && self.rec(child).is_dir() {
                    deeper.add(self.rec(child).id(), true);
                }
            }
            budget -= visited;
            // The walk comes back to this directory unless its last child was visited.
            let after = match last {
                _ if visited == count => None,
                Some(child) => Some(self.name_of(child).to_vec()),
                None => Some(from.to_vec()),
            };
            if after.is_some() {
                walk.todo.push(Place {
                    dir: id,
                    after,
                    is_deep,
                });
            }
            walk.todo.append(&mut deeper.todo);
        }
        Ok(walk.is_done())
    }
}

impl<V: View> Walks for V {}

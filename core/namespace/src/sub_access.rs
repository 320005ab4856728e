//! Whether a caller may delete what is below a directory (`FSPermissionChecker.checkSubAccess`).
//!
//! Hadoop looks through the whole subtree under its write lock. Here that is done with what is small ([`AT_ONCE`]). What is
//! large is looked through in slices under the read lock, before its deletion is planned, and the namespace notes meanwhile
//! what changes below it ([`Namespace::watch_access`]). What was noted is looked at under the write lock, in which the
//! deletion is planned: so that the answer is true of the whole subtree at that moment, as Hadoop's is.

use hathi_formats::ids::InodeId;

use crate::namespace::Namespace;
use crate::permission::{Permissions, STICKY, action};
use crate::store::slab::Slot;
use crate::types::{Caller, Refused};
use crate::view::View;
use crate::walk::{Seen, TreeWalk, Walks};
use crate::watch::{CHANGES_MAX, Change, Watched};

/// Inodes that are looked at under the write lock: a quarter of a millisecond.
pub(crate) const AT_ONCE: usize = 2000;
/// A subtree that is looked through: may be continued after the lock was given away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubAccessWalk {
    root: InodeId,
    number: u64,
    /// Still to be looked at, before the rest.
    changes: Vec<Change>,
    tree: TreeWalk,
    refused: Option<Refused>,
}

impl SubAccessWalk {
    /// The directory that is looked through.
    #[must_use]
    pub fn root(&self) -> InodeId {
        self.root
    }

    fn new(root: InodeId, number: u64) -> SubAccessWalk {
        SubAccessWalk {
            root,
            number,
            changes: Vec::new(),
            tree: TreeWalk::of(root),
            refused: None,
        }
    }

    fn is_done(&self) -> bool {
        self.refused.is_some() || (self.changes.is_empty() && self.tree.is_done())
    }
}

impl Namespace {
    /// Begins to look through a directory, and to note what changes below it. Only one is watched: the walk through another
    /// one has to begin anew.
    #[must_use]
    pub fn watch_access(&mut self, dir: InodeId) -> SubAccessWalk {
        self.watch.begun += 1;
        let number = self.watch.begun;
        self.watch.watched = self.slot(dir).map(|root| Watched {
            root,
            number,
            changes: Vec::new(),
            lost: false,
        });
        SubAccessWalk::new(dir, number)
    }

    /// Nothing is noted any more for this walk.
    pub fn unwatch_access(&mut self, walk: &SubAccessWalk) {
        self.watch.watched.take_if(|watched| watched.number == walk.number);
    }

    /// Goes on with a walk for up to `max` inodes; true when there is nothing more to look at.
    pub fn sub_access_step(&self, caller: &Caller<'_>, walk: &mut SubAccessWalk, max: usize) -> bool {
        if walk.refused.is_none()
            && let Err(refused) = self.look_through(caller, walk, max)
        {
            walk.refused = Some(refused);
        }
        walk.is_done()
    }

    /// Looks at what has changed since the walk began, or since the last time: to be called under the lock under which the
    /// deletion is planned. True while the walk is of use.
    pub fn catch_up_access(&mut self, caller: &Caller<'_>, walk: &mut SubAccessWalk) -> bool {
        let watched = self.watch.watched.as_mut();
        let Some(watched) = watched.filter(|watched| watched.number == walk.number && !watched.lost) else {
            return false;
        };
        walk.changes.append(&mut watched.changes);
        self.sub_access_step(caller, walk, AT_ONCE);
        true
    }

    /// Whether it is known that the caller may delete what is below `top`; false if it has to be looked through first. A walk
    /// counts only if it was just [caught up with](Namespace::catch_up_access).
    pub(crate) fn check_sub_access(
        &self,
        caller: &Caller<'_>,
        top: Slot,
        walk: Option<&SubAccessWalk>,
    ) -> Result<bool, Refused> {
        if caller.superuser || !self.config.permissions_enabled || !self.rec(top).is_dir() {
            return Ok(true);
        }
        let root = self.rec(top).id();
        let at_once;
        let walk = match walk.filter(|walk| walk.root == root && self.is_current(walk)) {
            Some(walk) => walk,
            None => {
                let mut walk = SubAccessWalk::new(root, 0);
                self.sub_access_step(caller, &mut walk, AT_ONCE);
                at_once = walk;
                &at_once
            }
        };
        match &walk.refused {
            Some(refused) => Err(refused.clone()),
            None => Ok(walk.is_done()),
        }
    }

    /// The same for all that is below `top`, at once however much it is: of a rename into the trash.
    pub(crate) fn check_all_sub_access(&self, caller: &Caller<'_>, top: Slot) -> Result<(), Refused> {
        if caller.superuser || !self.config.permissions_enabled || !self.rec(top).is_dir() {
            return Ok(());
        }
        let mut walk = SubAccessWalk::new(self.rec(top).id(), 0);
        self.sub_access_step(caller, &mut walk, usize::MAX);
        walk.refused.map_or(Ok(()), Err)
    }

    fn is_current(&self, walk: &SubAccessWalk) -> bool {
        let watched = self.watch.watched.as_ref();
        watched.is_some_and(|watched| watched.number == walk.number && !watched.lost && watched.changes.is_empty())
    }

    fn look_through(&self, caller: &Caller<'_>, walk: &mut SubAccessWalk, max: usize) -> Result<(), Refused> {
        let Some(root) = self.slot(walk.root) else {
            // Who plans the deletion hears of it.
            return Ok(());
        };
        let mut left = max.max(1);
        while left > 0
            && let Some(change) = walk.changes.pop()
        {
            left -= 1;
            self.look_at_change(caller, root, change, &mut walk.tree)?;
        }
        if left == 0 {
            return Ok(());
        }
        self.walk_step(&mut walk.tree, left, &mut |seen| match seen {
            Seen::Directory { dir, is_deep } => {
                // What was moved elsewhere meanwhile is not deleted.
                if !self.is_below(dir, root) || self.child_count(dir) == 0 {
                    return Ok(false);
                }
                self.require(caller, dir, action::ALL, || self.path_of_slot(dir))?;
                Ok(is_deep || self.rec(dir).perm().mode() & STICKY != 0)
            }
            Seen::Child { dir, child } => match self.check_sticky_child(caller, dir, child) {
                Err(refused) if self.is_below(dir, root) => Err(refused),
                Err(_) | Ok(()) => Ok(true),
            },
        })?;
        Ok(())
    }

    /// What is new below the root, or has another owner, mode or ACL than before.
    fn look_at_change(
        &self,
        caller: &Caller<'_>,
        root: Slot,
        change: Change,
        tree: &mut TreeWalk,
    ) -> Result<(), Refused> {
        let Some(slot) = self.slot(change.inode).filter(|slot| self.is_below(*slot, root)) else {
            return Ok(());
        };
        if slot != root {
            let parent = self.rec(slot).parent();
            // It may have been empty, of which nothing is required.
            self.require(caller, parent, action::ALL, || self.path_of_slot(parent))?;
            self.check_sticky_child(caller, parent, slot)?;
        }
        if self.rec(slot).is_dir() {
            tree.add(change.inode, change.is_new);
        }
        Ok(())
    }

    fn check_sticky_child(&self, caller: &Caller<'_>, dir: Slot, child: Slot) -> Result<(), Refused> {
        self.check_sticky(caller, dir, child, || {
            (self.path_of_slot(child), self.path_of_slot(dir))
        })
    }

    /// An inode has another owner, mode or ACL.
    #[inline]
    pub(crate) fn note_access(&mut self, slot: Slot) {
        if self.watch.watched.is_some() {
            self.note_change(slot, false);
        }
    }

    /// An inode hangs in a directory where it did not.
    #[inline]
    pub(crate) fn note_linked(&mut self, parent: Slot, child: Slot) {
        if self.watch.watched.is_none() {
            return;
        }
        let is_only = self.child_count(parent) == 1;
        let is_sticky = self.rec(parent).perm().mode() & STICKY != 0;
        // Of other files nothing is required.
        if is_only || is_sticky || self.rec(child).is_dir() {
            self.note_change(child, true);
        }
    }

    #[cold]
    fn note_change(&mut self, slot: Slot, is_new: bool) {
        let Some(mut watched) = self.watch.watched.take() else {
            return;
        };
        // Where the root itself hangs is seen when its path is resolved again.
        let is_moved_root = is_new && slot == watched.root;
        if !watched.lost && !is_moved_root && self.is_below(slot, watched.root) {
            let inode = self.rec(slot).id();
            watched.changes.push(Change { inode, is_new });
            if watched.changes.len() > CHANGES_MAX {
                watched.changes = Vec::new();
                watched.lost = true;
            }
        }
        self.watch.watched = Some(watched);
    }
}

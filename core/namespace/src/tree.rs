//! The tree: the inodes, their names, and which of them hangs in which directory.
//!
//! Invariants ([`Tree::check`]):
//! - each live inode is known by its id, and it hangs below the root, or below the root of a subtree that was cut off;
//! - each inode but these roots is in its parent's child list, and nothing else is in it;
//! - the children of a directory are in the byte order of their names, and no two of them have the same name;
//! - a directory knows a bound of the longest path below it;
//! - no two names share bytes;
//! - what is gone from its directory is in no child list, and a snapshot shows it;
//! - subtrees that were cut off wait in the order in which they were cut off, and their parents are still there;
//! - the remembered directory is the one that its path leads to.
//!
//! Only this module changes where an inode hangs, its name and its child list. The other parts keep what they know of
//! an inode beside it, by its slot, and mark the record with [`Tree::set_flag`].
//!
//! Mirrors `FSDirectory` and `INodeMap`.

pub(crate) mod inode;
mod load;

pub(crate) use load::MAX_DEPTH;

use std::collections::VecDeque;

use hathi_formats::ids::InodeId;

use crate::store::children::{ChildList, Children, Key};
use crate::store::id_map::IdMap;
use crate::store::names::{FrozenNames, Names, utf16_len};
use crate::store::side::Side;
use crate::store::slab::{FrozenSlab, NONE, Slab, Slot};
use inode::{InodeRec, Perm, flag};

/// The number of a snapshot. A larger one was taken later.
pub(crate) type SnapshotId = u32;

static NO_CHILDREN: ChildList = ChildList::Empty;

/// See the module.
#[derive(Debug)]
pub(crate) struct Tree {
    inodes: Slab<InodeRec, 12>,
    ids: IdMap,
    names: Names,
    children: Children,
    root: Slot,
    /// What waits to be freed, by [`Lane`], oldest first. It is freed in this order, so that a parent outlives what was cut
    /// off below it.
    detached: [VecDeque<Waiting>; 2],
    /// How many of each lane, after the first, were cut off while the first was being freed.
    cut_within: [usize; 2],
    /// Inodes that left their directory for ever and that a snapshot shows, with the last such snapshot at this place. One
    /// without a parent is shown at former places only.
    gone: Side<SnapshotId>,
    /// The directory of the last op, by its path, because consecutive ops are often about one file. It is forgotten
    /// whenever a path may lead elsewhere.
    last_dir: Option<(String, Slot)>,
}

/// What waits to be freed, by what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Deleted subtrees.
    Deleted,
    /// What only deleted snapshots showed.
    Snapshots,
}

/// What waits to be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The root of a deleted subtree.
    Subtree(Slot),
    /// What only a deleted snapshot showed.
    Snapshot(SnapshotId),
}

/// The tree at one moment.
#[derive(Debug)]
pub(crate) struct FrozenTree {
    inodes: FrozenSlab<InodeRec, 12>,
    names: FrozenNames,
    lists: FrozenSlab<ChildList, 6>,
    live: usize,
    root: Slot,
    detached: Vec<Slot>,
    gone: Side<SnapshotId>,
}

/// What a [view](crate::view) asks of its inodes, names and children.
pub(crate) trait TreePart {
    /// The root directory.
    fn root(&self) -> Slot;

    /// The record of an inode.
    fn rec(&self, slot: Slot) -> &InodeRec;

    /// The name of an inode; empty for the root.
    fn name_of(&self, slot: Slot) -> &[u8];

    /// A child by its name.
    fn child(&self, dir: Slot, name: &[u8]) -> Option<Slot>;

    /// The children of a directory; none of anything else.
    fn children(&self, dir: Slot) -> &ChildList;
}

impl Tree {
    /// A tree without any inode, even without a root.
    pub(crate) fn new(hash_seed: u64) -> Tree {
        Tree {
            inodes: Slab::new(),
            ids: IdMap::new(),
            names: Names::default(),
            children: Children::new(hash_seed),
            root: NONE,
            detached: Default::default(),
            cut_within: [0; 2],
            gone: Side::new(),
            last_dir: None,
        }
    }

    /// Makes the root directory of a tree that has none.
    pub(crate) fn insert_root(&mut self, perm: Perm) {
        debug_assert!(self.root == NONE, "a tree has one root");
        self.root = self.insert(InodeId::ROOT, flag::DIRECTORY, b"", perm, 0);
    }

    /// The root directory; [`NONE`] in a tree without one.
    #[inline]
    pub(crate) fn root(&self) -> Slot {
        self.root
    }

    /// Number of inodes, those that wait to be freed included.
    pub(crate) fn live(&self) -> usize {
        self.inodes.live()
    }

    /// One past the highest slot.
    pub(crate) fn used(&self) -> u32 {
        self.inodes.used()
    }

    #[inline]
    pub(crate) fn rec(&self, slot: Slot) -> &InodeRec {
        self.inodes.get(slot)
    }

    /// The record, for its values to be changed.
    #[inline]
    pub(crate) fn rec_mut(&mut self, slot: Slot) -> &mut InodeRec {
        self.inodes.get_mut(slot)
    }

    /// Marks what another part knows of an inode.
    #[inline]
    pub(crate) fn set_flag(&mut self, slot: Slot, bit: u8, on: bool) {
        self.inodes.get_mut(slot).set(bit, on);
    }

    /// Notes in a file's record where its blocks are: `data` is the only block, the list of several, or [`NONE`].
    pub(crate) fn set_blocks(&mut self, file: Slot, is_list: bool, data: Slot) {
        let rec = self.inodes.get_mut(file);
        debug_assert!(rec.is_file(), "only files have blocks");
        rec.set(flag::MULTI_OR_SNAPSHOTTABLE, is_list);
        rec.data = data;
    }

    #[inline]
    pub(crate) fn name_of(&self, slot: Slot) -> &[u8] {
        self.names.get(self.inodes.get(slot).name)
    }

    /// All inodes, those that wait to be freed included, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &InodeRec)> {
        let all = (0..self.inodes.used()).map(|slot| (slot, self.inodes.get(slot)));
        all.filter(|(_, rec)| rec.is_live())
    }

    /// The inode of an id, even if it waits to be freed.
    pub(crate) fn find(&self, id: InodeId) -> Option<Slot> {
        self.ids.get(id.0)
    }

    /// The attached inode of an id.
    pub(crate) fn attached(&self, id: InodeId) -> Option<Slot> {
        self.find(id).filter(|slot| self.is_attached(*slot))
    }

    #[inline]
    pub(crate) fn child(&self, parent: Slot, name: &[u8]) -> Option<Slot> {
        let rec = self.rec(parent);
        if !rec.is_dir() || rec.data == NONE {
            return None;
        }
        let key_of = |slot| key_of(&self.inodes, &self.names, slot);
        self.children.find(rec.data, (parent, name), key_of)
    }

    /// The children of a directory; none of anything else.
    pub(crate) fn children(&self, dir: Slot) -> &ChildList {
        let rec = self.rec(dir);
        if rec.is_dir() && rec.data != NONE {
            self.children.list(rec.data)
        } else {
            &NO_CHILDREN
        }
    }

    /// Whether the inode hangs below the root, and was not deleted.
    pub(crate) fn is_attached(&self, slot: Slot) -> bool {
        if !self.has_waiting() && self.gone.len() == 0 {
            return true;
        }
        let mut at = slot;
        while at != self.root {
            let rec = self.rec(at);
            if rec.has(flag::DETACHED) || rec.parent == NONE || self.gone.get(at).is_some() {
                return false;
            }
            at = rec.parent;
        }
        true
    }

    /// Whether the inode is in a subtree that was cut off and is not freed.
    pub(crate) fn is_cut_off(&self, slot: Slot) -> bool {
        let mut at = slot;
        while at != NONE && !self.rec(at).has(flag::DETACHED) {
            at = self.rec(at).parent;
        }
        at != NONE
    }

    // ---- changes ----

    /// A new inode that hangs nowhere yet.
    pub(crate) fn insert(&mut self, id: InodeId, kind: u8, name: &[u8], perm: Perm, mtime: u64) -> Slot {
        let mut rec = InodeRec::new(id, kind, perm, mtime);
        rec.name = self.names.insert(name);
        let slot = self.inodes.insert(rec);
        let before = self.ids.insert(id.0, slot);
        debug_assert!(before.is_none(), "the caller has seen that the id is free");
        slot
    }

    /// Hangs an inode below a directory that has no such child.
    pub(crate) fn link(&mut self, parent: Slot, child: Slot) {
        debug_assert!(self.rec(parent).is_dir(), "only directories have children");
        debug_assert!(parent != child, "nothing is below itself");
        debug_assert!(
            self.child(parent, self.name_of(child)).is_none(),
            "the caller has seen that the name is free"
        );
        self.inodes.get_mut(child).parent = parent;
        let Tree {
            inodes,
            names,
            children,
            ..
        } = self;
        let key_of = |slot| key_of(inodes, names, slot);
        let list = children.insert(inodes.get(parent).data, child, key_of);
        self.inodes.get_mut(parent).data = list;
        self.raise_longest_below(child);
    }

    /// Makes the directories above an inode know how long the paths through it are. It ends at the first one that knows
    /// already: nearly always the parent.
    fn raise_longest_below(&mut self, child: Slot) {
        let mut at = child;
        let mut longest = self.rec(at).longest_below();
        while at != self.root && self.rec(at).parent != NONE {
            longest = longest.saturating_add(1 + utf16_len(self.name_of(at)));
            at = self.rec(at).parent;
            if self.rec(at).longest_below() >= longest {
                return;
            }
            self.inodes.get_mut(at).set_longest_below(longest);
        }
    }

    /// Takes an inode out of its directory. Its record keeps pointing to the parent.
    pub(crate) fn unlink(&mut self, child: Slot) {
        let Tree {
            inodes,
            names,
            children,
            last_dir,
            ..
        } = self;
        let rec = *inodes.get(child);
        if rec.is_dir() {
            *last_dir = None;
        }
        let list = inodes.get(rec.parent).data;
        debug_assert!(list != NONE, "what hangs in a directory is in its list");
        if list != NONE {
            let key_of = |slot| key_of(inodes, names, slot);
            let list = children.remove(list, child, key_of);
            inodes.get_mut(rec.parent).data = list;
        }
    }

    /// Gives another name to an inode that hangs nowhere.
    pub(crate) fn rename(&mut self, slot: Slot, name: &[u8]) {
        if self.name_of(slot) != name {
            self.names.remove(self.rec(slot).name);
            self.inodes.get_mut(slot).name = self.names.insert(name);
        }
    }

    /// Frees an inode that hangs nowhere and has no children.
    pub(crate) fn remove(&mut self, slot: Slot) {
        debug_assert!(slot != self.root, "the root stays");
        debug_assert_eq!(self.children(slot).len(), 0, "its children would hang nowhere");
        let rec = *self.rec(slot);
        debug_assert!(rec.is_live(), "an inode is freed once");
        self.names.remove(rec.name);
        let known = self.ids.remove(rec.id().0);
        debug_assert_eq!(known, Some(slot), "an inode is known by its id");
        self.inodes.remove(slot);
    }

    // ---- what waits to be freed ----

    /// Cuts off an inode with everything below it. The caller frees it, or [leaves it to wait](Tree::leave_waiting).
    pub(crate) fn cut_off(&mut self, slot: Slot) {
        debug_assert!(slot != self.root, "the root stays");
        debug_assert!(!self.rec(slot).has(flag::DETACHED), "it is cut off once");
        self.unlink(slot);
        self.set_flag(slot, flag::DETACHED, true);
    }

    /// A subtree that was just cut off is freed after those that wait already: an older one may name a directory of it
    /// as the one it is still charged to.
    pub(crate) fn leave_waiting(&mut self, lane: Lane, waiting: Waiting) {
        self.detached[lane as usize].push_back(waiting);
    }

    /// A subtree that was cut off while the first of a lane is being freed belongs to that one: it is freed right after it.
    pub(crate) fn leave_waiting_within(&mut self, lane: Lane, slot: Slot) {
        let queue = &mut self.detached[lane as usize];
        self.cut_within[lane as usize] += 1;
        let at = self.cut_within[lane as usize].min(queue.len());
        queue.insert(at, Waiting::Subtree(slot));
    }

    /// The roots of subtrees that wait to be freed.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = Slot> + '_ {
        self.detached.iter().flatten().filter_map(|waiting| match waiting {
            Waiting::Subtree(slot) => Some(*slot),
            Waiting::Snapshot(_) => None,
        })
    }

    /// Number of all that waits in a lane.
    #[inline]
    pub(crate) fn waiting_in(&self, lane: Lane) -> usize {
        self.detached[lane as usize].len()
    }

    /// The first that waits. What snapshots showed comes first, because a directory that is deleted later may be the one
    /// that it is charged to.
    pub(crate) fn first_waiting(&self) -> Option<(Lane, Waiting)> {
        let first = |lane: Lane| Some((lane, *self.detached[lane as usize].front()?));
        first(Lane::Snapshots).or_else(|| first(Lane::Deleted))
    }

    #[inline]
    pub(crate) fn has_waiting(&self) -> bool {
        self.detached.iter().any(|queue| !queue.is_empty())
    }

    /// Takes the last child out of a directory that waits to be freed.
    pub(crate) fn pop_child(&mut self, dir: Slot) {
        let Tree {
            inodes,
            names,
            children,
            ..
        } = self;
        let list = inodes.get(dir).data;
        if list != NONE {
            let list = children.pop(list, |slot| key_of(inodes, names, slot));
            inodes.get_mut(dir).data = list;
        }
    }

    /// The first that waited in a lane is freed.
    pub(crate) fn first_is_freed(&mut self, lane: Lane) {
        let first = self.detached[lane as usize].pop_front();
        self.cut_within[lane as usize] = 0;
        let is_freed = match first {
            Some(Waiting::Subtree(slot)) => !self.rec(slot).is_live(),
            Some(Waiting::Snapshot(_)) => true,
            None => false,
        };
        debug_assert!(is_freed, "a subtree waits until it is freed");
    }

    // ---- inodes that only snapshots show ----

    /// The last snapshot that shows an inode at the place from which it is gone; `None` of one that is not gone.
    #[inline]
    pub(crate) fn last_shown(&self, slot: Slot) -> Option<SnapshotId> {
        if self.gone.len() == 0 {
            return None;
        }
        self.gone.get(slot).copied()
    }

    /// Whether the inode has no place any more.
    pub(crate) fn is_orphan(&self, slot: Slot) -> bool {
        slot != self.root && self.rec(slot).parent == NONE && self.last_shown(slot).is_some()
    }

    /// An inode is gone from its directory, and this is the last snapshot that shows it there.
    pub(crate) fn set_gone(&mut self, slot: Slot, last: SnapshotId) {
        debug_assert!(slot != self.root, "the root stays");
        self.gone.insert(slot, last);
    }

    /// No snapshot shows an inode at the place from which it is gone.
    pub(crate) fn make_orphan(&mut self, slot: Slot) {
        debug_assert!(slot != self.root, "the root stays");
        self.gone.insert(slot, 0);
        self.inodes.get_mut(slot).parent = NONE;
    }

    /// Cuts off an inode that is gone, with everything below it.
    pub(crate) fn cut_off_gone(&mut self, slot: Slot) {
        let was = self.gone.remove(slot);
        debug_assert!(was.is_some(), "it hangs in its directory");
        self.set_flag(slot, flag::DETACHED, true);
    }

    /// The inodes that are gone, in no order.
    pub(crate) fn gone(&self) -> impl Iterator<Item = Slot> + '_ {
        self.gone.iter().map(|(slot, _)| slot)
    }

    // ---- the directory of the last op ----

    /// The directory, if it was the last one that was [remembered](Tree::remember_dir).
    #[inline]
    pub(crate) fn remembered_dir(&self, path: &str) -> Option<Slot> {
        let (known, dir) = self.last_dir.as_ref()?;
        (known == path).then_some(*dir)
    }

    pub(crate) fn remember_dir(&mut self, path: &str, dir: Slot) {
        self.last_dir = Some((path.to_owned(), dir));
    }

    // ---- whole ----

    pub(crate) fn freeze(&self) -> FrozenTree {
        // What only finds inodes is not frozen: it is not in shared pages.
        let Tree {
            inodes,
            ids: _,
            names,
            children,
            root,
            detached: _,
            cut_within: _,
            gone,
            last_dir: _,
        } = self;
        FrozenTree {
            inodes: inodes.freeze(),
            names: names.freeze(),
            lists: children.freeze(),
            live: inodes.live(),
            root: *root,
            detached: self.waiting().collect(),
            gone: gone.clone(),
        }
    }

    /// Panics when an invariant of the module does not hold.
    pub(crate) fn check(&self) {
        let root = self.rec(self.root);
        assert!(
            root.id() == InodeId::ROOT && root.is_dir() && root.parent == NONE,
            "a tree has one root"
        );
        let mut stack: Vec<Slot> = self.waiting().collect();
        for &cut in &stack {
            let rec = self.rec(cut);
            assert!(rec.has(flag::DETACHED), "what was cut off is marked as such");
            assert!(
                rec.parent == NONE || self.rec(rec.parent).is_live(),
                "a directory is freed after what was cut off below it, which is charged to it"
            );
        }
        stack.push(self.root);
        stack.extend(self.gone());
        let (mut names, mut lists, mut cut) = (Vec::new(), Vec::new(), 0);
        while let Some(slot) = stack.pop() {
            self.check_inode(slot);
            let rec = self.rec(slot);
            names.push(rec.name);
            lists.extend((rec.is_dir() && rec.data != NONE).then_some(rec.data));
            cut += usize::from(rec.has(flag::DETACHED));
            stack.extend(self.children(slot).iter());
        }
        assert_eq!(names.len(), self.inodes.live(), "inodes found and kept");
        assert_eq!(names.len(), self.ids.len(), "inodes found and known by id");
        assert_eq!(cut, self.waiting().count(), "subtrees that were cut off, and wait");
        self.names.check(names.into_iter());
        self.inodes.check();
        self.children
            .check(&lists, |slot| key_of(&self.inodes, &self.names, slot));
        self.ids.check();
        self.check_last_dir();
    }

    /// Record, place and children of one inode.
    fn check_inode(&self, slot: Slot) {
        let rec = self.rec(slot);
        let id = rec.id();
        assert!(
            rec.is_live() && self.find(id) == Some(slot),
            "inode {id}: its id does not lead to it"
        );
        let is_top = slot == self.root || rec.has(flag::DETACHED);
        assert!(
            is_top || self.gone.get(slot).is_some() || self.child(rec.parent, self.name_of(slot)) == Some(slot),
            "inode {id}: not in the index"
        );
        let list = self.children(slot);
        let mut previous: Option<&[u8]> = None;
        for child in list.iter() {
            let child_rec = self.rec(child);
            assert_eq!(
                child_rec.parent,
                slot,
                "inode {id}: child {} has another parent",
                child_rec.id()
            );
            let name = self.name_of(child);
            assert!(
                rec.longest_below() >= (1 + utf16_len(name)).saturating_add(child_rec.longest_below()),
                "inode {id}: a path below is longer than it knows"
            );
            assert!(
                previous.is_none_or(|previous| previous < name),
                "inode {id}: children out of order"
            );
            previous = Some(name);
        }
    }

    fn check_last_dir(&self) {
        let Some((path, dir)) = &self.last_dir else { return };
        let mut names = path.split('/').filter(|name| !name.is_empty());
        let found = names.try_fold(self.root, |at, name| self.child(at, name.as_bytes()));
        assert_eq!(found, Some(*dir), "{path} leads elsewhere than remembered");
        assert!(self.rec(*dir).is_dir(), "{path} is remembered as a directory");
    }
}

/// Where an inode hangs, or hung last, and its name.
fn key_of<'a>(inodes: &Slab<InodeRec, 12>, names: &'a Names, slot: Slot) -> Key<'a> {
    let rec = inodes.get(slot);
    (rec.parent, names.get(rec.name))
}

impl TreePart for Tree {
    #[inline]
    fn root(&self) -> Slot {
        self.root
    }

    #[inline]
    fn rec(&self, slot: Slot) -> &InodeRec {
        Tree::rec(self, slot)
    }

    #[inline]
    fn name_of(&self, slot: Slot) -> &[u8] {
        Tree::name_of(self, slot)
    }

    #[inline]
    fn child(&self, dir: Slot, name: &[u8]) -> Option<Slot> {
        Tree::child(self, dir, name)
    }

    #[inline]
    fn children(&self, dir: Slot) -> &ChildList {
        Tree::children(self, dir)
    }
}

impl FrozenTree {
    /// Number of inodes, those that wait to be freed included.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// One past the highest slot.
    pub(crate) fn used(&self) -> u32 {
        self.inodes.used()
    }

    /// All inodes, those that waited to be freed included, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &InodeRec)> {
        let all = (0..self.inodes.used()).map(|slot| (slot, self.inodes.get(slot)));
        all.filter(|(_, rec)| rec.is_live())
    }

    /// Whether the inode is gone from its directory.
    pub(crate) fn is_gone(&self, slot: Slot) -> bool {
        self.gone.len() > 0 && self.gone.get(slot).is_some()
    }

    /// The roots of subtrees that waited to be freed.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = Slot> + '_ {
        self.detached.iter().copied()
    }
}

impl TreePart for FrozenTree {
    fn root(&self) -> Slot {
        self.root
    }

    #[inline]
    fn rec(&self, slot: Slot) -> &InodeRec {
        self.inodes.get(slot)
    }

    #[inline]
    fn name_of(&self, slot: Slot) -> &[u8] {
        self.names.get(self.inodes.get(slot).name)
    }

    /// Looks in the list of the directory: the index of large directories is not in shared pages.
    fn child(&self, dir: Slot, name: &[u8]) -> Option<Slot> {
        self.children(dir).find(|slot| self.name_of(slot).cmp(name))
    }

    fn children(&self, dir: Slot) -> &ChildList {
        let rec = self.rec(dir);
        if rec.is_dir() && rec.data != NONE {
            self.lists.get(rec.data)
        } else {
            &NO_CHILDREN
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::checked::{Break, check_finds, slot};

    const BREAKS: [(&str, Break); 5] = [
        ("has another parent", |ns| {
            let (closed, below) = (slot(ns, "/dir/closed"), slot(ns, "/dir/below"));
            ns.tree.inodes.get_mut(closed).parent = below;
        }),
        ("inodes found and kept", |ns| {
            let closed = slot(ns, "/dir/closed");
            ns.tree.unlink(closed);
        }),
        ("of names share bytes", |ns| {
            let name = ns.tree.rec(slot(ns, "/dir/closed")).name;
            ns.tree.names.remove(name);
        }),
        ("its id does not lead to it", |ns| {
            let id = ns.tree.rec(slot(ns, "/dir/open")).id();
            ns.tree.ids.insert(id.0, slot(ns, "/dir/closed"));
        }),
        ("leads elsewhere than remembered", |ns| {
            let dir = slot(ns, "/dir");
            ns.tree.remember_dir("/dir/below", dir);
        }),
    ];

    #[test]
    fn whatever_a_bug_may_break_in_the_tree_is_found() {
        check_finds(&BREAKS);
    }
}

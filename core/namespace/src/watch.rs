//! The directory below which changes are noted while somebody looks through it: see `sub_access`.

use hathi_formats::ids::InodeId;

use crate::store::slab::Slot;

/// Changes that are noted during one walk, in less than two megabytes. With more of them the walk begins anew.
pub(crate) const CHANGES_MAX: usize = 100_000;

/// An inode below the watched directory that may now be refused where it was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) inode: InodeId,
    /// It is new there, with all that is below it.
    pub(crate) is_new: bool,
}

/// The directory that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) root: Slot,
    /// Of the walk for which it is watched.
    pub(crate) number: u64,
    pub(crate) changes: Vec<Change>,
    /// There were more of them.
    pub(crate) lost: bool,
}

/// The one watch of a namespace, if there is one. It is not part of the state: a walk whose watch is gone begins anew, and
/// nobody else asks for it.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Walks that were begun.
    pub(crate) begun: u64,
    pub(crate) watched: Option<Watched>,
}

impl Watch {
    pub(crate) fn check(&self) {
        if let Some(watched) = &self.watched {
            assert!(watched.changes.len() <= CHANGES_MAX, "what is noted has a bound");
            assert!(watched.number <= self.begun, "a watch is of a walk that was begun");
        }
    }
}

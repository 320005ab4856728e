//! What is true of the simulated disk between any two calls: what is read, what is durable and what waits for a sync fit
//! together.

use super::{Inode, InodeNumber, NameChange, Node, SimDisk, State, apply_write, directory_of};

impl SimDisk {
    /// Checks that what is read, what is durable and what waits for a sync fit together. Slow.
    ///
    /// # Panics
    /// When they do not.
    pub fn check(&self) {
        self.state().check();
    }
}

impl Inode {
    /// Panics when what is read is not what is durable and what waits for a sync.
    fn check(&self, number: InodeNumber) {
        if self.strayed {
            return;
        }
        let mut synced = self.durable.clone();
        for write in &self.pending {
            apply_write(&mut synced, write);
        }
        assert!(
            synced == self.live,
            "a sync of file {number} would leave something else than is read"
        );
    }
}

impl State {
    /// Panics where the two halves of the disk do not fit together.
    pub(super) fn check(&self) {
        let pending = self.pending.iter().filter_map(|(_, change)| match change {
            NameChange::Put(_, node) | NameChange::Move(_, _, node) => Some(node),
            NameChange::Remove(_) | NameChange::Rename(..) => None,
        });
        for node in self.live.values().chain(self.durable.values()).chain(pending) {
            if let Node::File(number) = node {
                assert!(
                    self.inodes.contains_key(number),
                    "a name leads to file {number}, which is gone"
                );
            }
        }
        for (number, inode) in &self.inodes {
            assert!(
                *number < self.next_inode,
                "the number of file {number} is given out once more"
            );
            inode.check(*number);
        }
        for path in self.live.keys() {
            assert!(
                !self.whole_directories
                    || directory_of(path).is_none_or(|dir| self.live.get(dir) == Some(&Node::Directory)),
                "{} is in no directory",
                path.display()
            );
        }
        assert!(
            self.locks.values().all(|life| *life == self.life),
            "a lock is held by a process that is dead"
        );
    }
}

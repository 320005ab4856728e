//! Messages that a standby can't judge yet (`PendingDataNodeMessages`), in their order per block.
//!
//! Blocks are walked in the order of their ids, so that the same reports lead to the same commands.
//!
//! Invariants: a block that is listed has a message; `count` is the number of messages.

use crate::types::{ReportedReplica, StorageIndex};
use hathi_formats::ids::BlockId;
use std::collections::{BTreeMap, VecDeque};

/// A message about a block that a standby can't judge yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) storage: StorageIndex,
    /// The replica, with the block as the DataNode names it.
    pub(crate) replica: ReportedReplica,
    /// Whether the replica was deleted. Then its state means nothing.
    pub(crate) deleted: bool,
}

/// Messages from the future, in their order per block.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    blocks: BTreeMap<BlockId, VecDeque<Message>>,
    count: usize,
}

impl Messages {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn push(&mut self, message: Message) {
        let queue = self.blocks.entry(message.replica.block.id).or_default();
        // DataNodes repeat themselves in reports after a registration. The same message twice in a row means the same.
        if queue.back() != Some(&message) {
            queue.push_back(message);
            self.count = self.count.saturating_add(1);
        }
    }

    pub(crate) fn take(&mut self, id: BlockId) -> VecDeque<Message> {
        let queue = self.blocks.remove(&id).unwrap_or_default();
        debug_assert!(queue.len() <= self.count, "every message is counted");
        self.count = self.count.saturating_sub(queue.len());
        queue
    }

    pub(crate) fn holds(&self, id: BlockId) -> bool {
        self.blocks.contains_key(&id)
    }

    /// Forgets all messages of a node's storages.
    pub(crate) fn remove_node(&mut self, on_node: impl Fn(StorageIndex) -> bool) {
        self.blocks.retain(|_, queue| {
            queue.retain(|message| !on_node(message.storage));
            !queue.is_empty()
        });
        self.count = self.blocks.values().map(VecDeque::len).sum();
    }

    /// Forgets the messages of a node's storages about a block, because a newer one has come.
    pub(crate) fn remove_older(&mut self, id: BlockId, on_node: impl Fn(StorageIndex) -> bool) {
        if let Some(queue) = self.blocks.get_mut(&id) {
            let before = queue.len();
            queue.retain(|message| !on_node(message.storage));
            let removed = before.saturating_sub(queue.len());
            debug_assert!(removed <= self.count, "every message is counted");
            self.count = self.count.saturating_sub(removed);
            if queue.is_empty() {
                self.blocks.remove(&id);
            }
        }
    }

    /// Panics when the count, which bounds the messages, is wrong, or messages are filed under another block.
    pub(crate) fn check(&self) {
        let mut count = 0;
        for (id, queue) in &self.blocks {
            assert!(!queue.is_empty(), "block {id} is listed without a message");
            for message in queue {
                assert_eq!(message.replica.block.id, *id, "a message stands at another block");
            }
            count = usize::saturating_add(count, queue.len());
        }
        assert_eq!(count, self.count, "messages counted and there");
    }

    pub(crate) fn first(&self) -> Option<BlockId> {
        self.blocks.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ReplicaState;
    use hathi_formats::ids::{Block, GenerationStamp};

    #[test]
    fn messages_keep_their_order_and_count() {
        let id = BlockId(5);
        let mut messages = Messages::default();
        let message = |storage, stamp, deleted| Message {
            storage: StorageIndex(storage),
            replica: ReportedReplica {
                block: Block {
                    id,
                    num_bytes: 1,
                    generation_stamp: GenerationStamp(stamp),
                },
                state: ReplicaState::Finalized,
            },
            deleted,
        };
        messages.push(message(1, 7, false));
        messages.push(message(1, 7, false));
        messages.push(message(2, 7, false));
        messages.push(message(1, 7, true));
        assert_eq!(messages.len(), 3);
        messages.check();
        messages.remove_older(id, |storage| storage == StorageIndex(2));
        messages.check();
        let taken = messages.take(id);
        assert_eq!(taken.iter().map(|one| one.deleted).collect::<Vec<_>>(), [false, true]);
        assert!(messages.is_empty() && !messages.holds(id));
        messages.push(message(1, 7, false));
        messages.remove_node(|storage| storage == StorageIndex(1));
        messages.check();
        assert_eq!((messages.len(), messages.first()), (0, None));
    }
}

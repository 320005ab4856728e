//! Joins a loaded namespace with the other parts of a namesystem: the block manager learns every block of the image.

use crate::life::Life;
use crate::namesystem::Namesystem;
use hathi_blockmanager::{BlockManager, BlockState, NewBlock};
use hathi_formats::ids::TxId;
use hathi_namespace::Namespace;

pub use crate::namesystem::NamesystemParts;

/// A namesystem around a namespace that holds everything up to `txid` and nothing after it. It begins in this life.
#[must_use]
pub fn assemble(parts: NamesystemParts, namespace: Namespace, txid: TxId, life: Life) -> Namesystem {
    debug_assert!(
        namespace.last_applied_txid() <= txid.0,
        "a namespace holds what its image is said to cover"
    );
    let mut blockmanager = BlockManager::new(parts.blockmanager.clone());
    namespace.for_each_block(&mut |block, inode, layout, under_construction| {
        let state = if under_construction {
            BlockState::UnderConstruction
        } else {
            BlockState::Complete
        };
        blockmanager.add_block(NewBlock {
            block,
            inode,
            layout,
            state,
        });
    });
    blockmanager.set_generation_stamp(namespace.generation_stamp());
    debug_assert_eq!(
        blockmanager.counts().complete_blocks,
        namespace.complete_block_count(),
        "safe mode waits for the blocks that the edits say are complete"
    );
    Namesystem::join(parts, namespace, blockmanager, txid, life)
}

//! Joins a loaded namespace with the other parts of a namesystem: the block manager learns every block of the image.

use crate::edit_log::EditLog;
use crate::history::History;
use crate::life::Life;
use crate::monitor::Recoveries;
use crate::namesystem::{Namesystem, NamesystemConfig};
use crate::passed_on::LatestCalls;
use crate::reply_gate::InFlight;
use crate::retry_cache::{RetryCache, RetryCacheOptions};
use crate::role::Role;
use hathi_blockmanager::{BlockManager, BlockManagerConfig, BlockState, NewBlock};
use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_namespace::Namespace;

/// The parts of a namesystem besides its namespace.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Typed configuration.
    pub config: NamesystemConfig,
    /// Configuration of the block manager.
    pub blockmanager: BlockManagerConfig,
    /// Configuration of the retry cache.
    pub retry_cache: RetryCacheOptions,
    /// Identity of the namespace.
    pub info: NamespaceInfo,
}

/// A namesystem around a namespace that holds everything up to `txid` and nothing after it. It begins in this life.
#[must_use]
pub fn assemble(parts: Parts, namespace: Namespace, txid: TxId, life: Life) -> Namesystem {
    debug_assert!(
        namespace.last_applied_txid() <= txid.0,
        "a namespace holds what its image is said to cover"
    );
    let mut blockmanager = BlockManager::new(parts.blockmanager);
    namespace.for_each_block(&mut |block, inode, replication, under_construction| {
        let state = if under_construction {
            BlockState::UnderConstruction
        } else {
            BlockState::Complete
        };
        blockmanager.add_block(NewBlock {
            block,
            inode,
            replication,
            state,
        });
    });
    blockmanager.set_generation_stamp(namespace.generation_stamp());
    debug_assert_eq!(
        blockmanager.counts().complete_blocks,
        namespace.complete_block_count(),
        "safe mode waits for the blocks that the edits say are complete"
    );
    Namesystem {
        reclaim_pending: namespace.has_detached(),
        namespace,
        blockmanager,
        edit_log: EditLog::new(life, txid),
        retry_cache: RetryCache::new(parts.retry_cache),
        history: History::new(txid),
        latest_calls: LatestCalls::default(),
        role: Role::Initializing,
        config: parts.config,
        info: parts.info,
        in_flight: InFlight::default(),
        most_recent_checkpoint: txid,
        most_recent_checkpoint_ms: 0,
        last_transition_ms: 0,
        recoveries: Recoveries::default(),
        rolling_upgrade_finalized: false,
    }
}

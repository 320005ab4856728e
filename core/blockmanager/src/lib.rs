//! The block manager: soft state, a function of what DataNodes report.
//!
//! For each block it knows the file (an inode id, no name), length, stamp, state and the places of its replicas.
//! Everything else about files is in the namespace, which this crate never names: the caller tells what an edit did
//! (block added, committed, completed, removed, replication changed).
//!
//! Each part owns its state; `manager` joins them, and knows how.
//!
//! Deterministic: time comes in as [`Now`], randomness from the seed in the configuration.
//!
//! Mirrors Hadoop's `server.blockmanagement` package.

mod block_map;
mod caching;
mod construction;
mod corrupt;
mod datanodes;
mod manager;
pub mod mutant;
mod placement;
mod redundancy;
mod reports;
mod rng;
mod safemode;
mod types;

pub use construction::TruncateRecovery;
pub use datanodes::{AdminState, DEFAULT_RACK, Datanode, HeartbeatStats, Storage, StorageReport};
pub use manager::{BlockManager, Counts, GroupCounts, HolderKnowledge, finalize_command, register_command};
pub use mutant::Mutant;
pub use placement::{PlacementRequest, PolicyTypes, STORAGE_TYPES_ANY};
pub use reports::{BlockReport, ReportProgress};
pub use rng::Rng;
pub use safemode::SafeModeStatus;
pub use types::{
    BlockInfo, BlockLayout, BlockManagerConfig, BlockManagerError, BlockState, DatanodeIndex, IncrementalNotice,
    NewBlock, Now, NumberReplicas, OpeningCall, ReplicaState, ReportedReplica, StorageIndex, Striping,
};

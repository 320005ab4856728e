//! The block manager: soft state, a function of what DataNodes report.
//!
//! For each block it knows the file (an inode id, no name), length, stamp, state and the places of its replicas.
//! Everything else about files is in the namespace, which this crate never names: the caller tells what an edit did
//! (block added, committed, completed, removed, replication changed).
//!
//! Deterministic: time comes in as [`Now`], randomness from the seed in the configuration.
//!
//! Mirrors Hadoop's `server.blockmanagement` package.

mod balancer;
mod blocks;
mod check;
mod commands;
mod construction;
mod corrupt;
mod datanodes;
mod holders;
mod hosts;
mod idset;
mod leases;
mod located;
mod manager;
mod metasave;
pub mod mutant;
mod orders;
mod placement;
mod queues;
mod redundancy;
mod reports;
mod rng;
mod safemode;
#[cfg(test)]
mod tests;
mod types;

pub use commands::{finalize_command, register_command};
pub use construction::TruncateRecovery;
pub use datanodes::{AdminState, DEFAULT_RACK, Datanode, HeartbeatStats, Storage, StorageReport};
pub use holders::Holders;
pub use manager::{BlockManager, Counts};
pub use mutant::Mutant;
pub use placement::{PlacementRequest, PolicyTypes, STORAGE_TYPES_ANY};
pub use reports::{BlockReport, ReportProgress, ReportedReplicas};
pub use rng::Rng;
pub use safemode::{SafeMode, SafeModeStatus};
pub use types::{
    BlockInfo, BlockManagerConfig, BlockManagerError, BlockState, DatanodeIndex, IncrementalNotice, NewBlock, Now,
    NumberReplicas, ReplicaState, ReportedReplica, StorageIndex,
};

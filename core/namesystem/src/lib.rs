//! The deciding part of the NameNode: the namespace (from the edits), the block manager (from the reports) and the edit
//! log, joined.
//!
//! Deterministic: no clock, no sockets, no threads. The shell in `node/namenode` holds one [`Namesystem`] in a
//! read-write lock, looks up the handler of an RPC in [`calls`], runs it, and does what the [`Reply`] says.

pub mod caching;
pub mod calls;
mod check;
pub mod checkpoint;
mod coded_blocks;
pub mod context;
pub mod divergence;
pub mod edit_log;
pub mod fsck;
pub mod history;
pub mod inotify;
pub mod keys;
pub mod life;
pub mod loader;
pub mod monitor;
pub mod namenode_protocol;
pub mod namesystem;
pub mod passed_on;
pub mod positions;
pub mod reencryption;
pub mod reply_gate;
pub mod retry_cache;
pub mod role;
mod satisfier;
pub mod save_namespace;
pub mod secrets;
pub mod snapshot_upkeep;
pub mod standby_health;
pub mod tailer;
pub mod upgrade;
mod webhdfs;

pub use context::{CallContext, Deferred, MethodHandler, Reply, Reported};
pub use life::{Generation, Life};
pub use namesystem::{CachingConfig, Namesystem, NamesystemConfig, check_caching};
pub use positions::BeyondSent;
pub use role::{HaState, OperationCategory, Role, Standing};
pub use satisfier::SatisfierConfig;

//! The failover controller beside a NameNode: sockets, processes and timers around `hathi_failover`.
//!
//! It holds no rule of its own: every decision is the [`hathi_failover::Controller`]'s.

mod journalnodes;
mod local;
mod namenode;
mod run;
mod server;

pub use run::{ZkfcConfig, run};

//! The failover controller beside a NameNode: sockets, processes and timers around `hathi_failover`.
//!
//! It holds no rule of its own: every decision is the [`hathi_failover::AutomaticFailover`]'s.

mod connect;
mod fence;
pub mod fencing;
mod graceful;
mod journalnodes;
mod local;
mod namenode;
mod run;
mod server;
pub mod status;
mod zookeeper;

pub use run::{Election, Times, ZkfcConfig, run};
pub use zookeeper::format::Formatter;
pub use zookeeper::{Auth, ZooKeeperConfig, parse_acls, parse_auths};

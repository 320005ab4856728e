//! The JournalNode process (`org.apache.hadoop.hdfs.qjournal.server.JournalNode`): sockets, threads and files around
//! the journal's core, [`hathi_journal::Acceptor`]. Decides nothing of the protocol.
//!
//! Threads:
//! * the RPC reactor decodes calls and queues them for their journal; it answers by itself only what is in memory;
//! * each journal has a thread that owns its disk: it takes whatever is queued, and one sync then answers for all of it;
//! * one thread serves HTTP (segments, `/jmx`), and the main thread fetches from peers: for recovery, to fill gaps, and
//!   to take part again with an empty directory.

mod health;
pub mod http;
mod journal;
mod journals;
mod metrics;
mod node;
mod peer;
mod peers;
mod rpc;

pub use journals::JournalNodeError;
pub use node::{JournalNode, run};

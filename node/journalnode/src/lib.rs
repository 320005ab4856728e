//! The JournalNode process (`org.apache.hadoop.hdfs.qjournal.server.JournalNode`): sockets, threads and files around
//! the journal's core, [`hathi_journal::Acceptor`]. It decides nothing about the protocol.
//!
//! Threads:
//! * the RPC reactor decodes calls and queues them for their journal. It answers by itself only from memory;
//! * each journal has a thread that owns its disk. The thread takes everything in the queue, and answers all of it
//!   after one sync;
//! * one thread serves HTTP (segments, `/jmx`). The main thread fetches from peers: for recoveries, to fill gaps, and
//!   to take part again after the directory was lost.

pub mod exposition;
mod health;
pub mod http;
mod journal;
mod journals;
mod metrics;
mod node;
mod peer;
mod peers;
mod room;
mod rpc;

pub use journals::JournalNodeError;
pub use node::{JournalNode, run};

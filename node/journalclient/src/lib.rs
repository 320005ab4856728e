//! The client of the JournalNodes, for everybody who calls them: NameNodes, failover controllers, JournalNodes among
//! themselves, and commands.
//!
//! * [`RemoteJournalNode`] is one JournalNode, and [`JournalNodeClient`] a connection to it. Requests and answers are the
//!   typed ones of [`hathi_journal`].
//! * [`JournalNodes`] are all JournalNodes of a journal. They follow changes of the membership.
//! * [`Readers`] keeps a connection to each of them, for callers whose calls need no order.
//!
//! Invariant: an index means the same JournalNode for ever, also when that JournalNode is no member any more.
//!
//! Knows nothing of epochs, segments and leases: callers decide what to send, and what an answer means.

mod client;
mod journalnodes;
mod readers;

pub use client::{JournalNodeClient, RemoteJournalNode, member_addresses};
pub use journalnodes::JournalNodes;
pub use readers::Readers;

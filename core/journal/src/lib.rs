//! The quorum journal: the JournalNode's side, the NameNode's side, and what readers need.
//!
//! * [`messages`], [`errors`]: what the two sides say to each other.
//! * [`acceptor`]: the JournalNode's journal (`qjournal.server.Journal`).
//! * [`writer`]: the NameNode's quorum writer (`qjournal.client.QuorumJournalManager`).
//! * [`group_commit`]: how many edits go together.
//! * [`choose`]: which copy of a segment wins a recovery (`SegmentRecoveryComparator`).
//! * [`segments`], [`edits_cache`]: the files of a journal, and its recent edits in memory.
//! * [`directory`]: the other kind of journal, in a directory that all NameNodes can reach, or in several of one NameNode.
//! * [`lease`]: the read lease, both ends; [`membership`]: which JournalNodes there are.
//!
//! Everything here is deterministic: time comes in as an argument, disks through `hathi_storage::Disk`.

pub mod acceptor;
pub mod choose;
pub mod directory;
pub mod edits_cache;
pub mod errors;
mod frames;
pub mod group_commit;
pub mod lease;
pub mod membership;
pub mod messages;
pub mod mutant;
pub mod segments;
pub mod survey;
pub mod writer;

pub use acceptor::{Acceptor, AcceptorOptions, Handled};
pub use errors::JournalError;
pub use membership::Membership;
pub use messages::{Answer, Micros, Request};
pub use writer::{Lag, QuorumWriter, WriterAction, WriterConfig};

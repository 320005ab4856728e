//! The JournalNodes of a journal, once they are no longer those of the configuration.
//!
//! A writer writes a membership in its epoch, and every JournalNode that receives it keeps it. The newest one is valid.
//! A journal whose JournalNodes were never changed has no membership; then the configuration is valid, as in Hadoop.
//!
//! Why no two writers can work with different JournalNodes (the argument of Raft's changes of one server at a time):
//! * a writer needs the promises of a majority of a membership, and no JournalNode of that majority knows a newer
//!   membership;
//! * before it changes anything, the writer writes the membership that it found once more, in its own epoch, to a
//!   majority. A half-done change of an earlier writer is older from then on. A writer that tries to finish that change
//!   meets the newer membership;
//! * a change adds or removes one JournalNode, so every majority before the change shares a JournalNode with every
//!   majority after it;
//! * a change is done, and the next may begin, when a majority before and a majority after it keep the membership *and*
//!   have all committed transactions, among them one of the newest segment. So what a later recovery needs is never on
//!   the old JournalNodes only.

pub use hathi_formats::qjournal::{MEMBERS_MAX, Membership};

/// Fewest JournalNodes that a removal may leave. A single one could lose acknowledged edits together with its disk.
pub const MEMBERS_MIN: usize = 2;

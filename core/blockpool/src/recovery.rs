//! Block recovery (`BlockRecoveryWorker`): a NameNode orders one DataNode, the primary, to bring
//! all replicas of a block to one length and one generation stamp.
//!
//! ```text
//! order ── Init ──> every DataNode that the order names, one after the other
//!             │ all have answered, or failed
//!          plan_recovery ── nothing can be done now ──────────────────────────────> End(Err)
//!             │      └───── no replica holds anything ──> Commit (delete) ─┐
//!          Update ──> every DataNode that takes part                       │
//!             │ at least one has the length ──────────> Commit (length) ───┴──────> End(Ok)
//!             └ none has: if the NameNode knows of no good replica, Update once more, over rot; else End(Err)
//! ```
//!
//! * [`primary`]: the primary's part, a machine of one question at a time. The caller asks, and brings the answer back.
//! * [`plan`]: which replicas decide, and on which length.
//! * [`group`]: what is different for a block group, of which each DataNode has an internal block of its own.
//! * [`participant`]: what a DataNode does with its replica when a primary asks.
//!
//! Invariants:
//! * no replica is changed before every DataNode that the order names has answered or failed;
//! * a group has its length when as many internal blocks have their part as hold all bytes;
//! * whoever is named to the NameNode has taken exactly the length and stamp that the NameNode is told;
//! * the NameNode is told one result at most.

pub mod group;
pub mod participant;
pub mod plan;
pub mod primary;

#[cfg(test)]
mod tests;

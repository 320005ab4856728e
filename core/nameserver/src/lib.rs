//! The NameNode as a state machine around its namesystem: events come in, steps and actions go out.
//!
//! Deterministic: no clock, no sockets, no threads, and disks only behind their trait. The shell in `node/namenode` performs what it is told to, and says how
//! that ended.

pub mod admission;
pub mod checkpoints;
pub mod comparing;
pub mod directory_claim;
pub mod directory_writer;
pub mod edit_log_driver;
pub mod following;
pub mod handovers;
pub mod health;
pub mod image_files;
pub mod journal_namespaces;
pub mod lag;
pub mod lease_watch;
pub mod membership;
pub mod monitors;
pub mod name_dirs;
pub mod offered_images;
pub mod past_edits;
pub mod proving;
pub mod racks;
pub mod reading;
pub mod replies;
pub mod resources;
pub mod role_changes;
pub mod secondary;
pub mod serving;
pub mod standby_calls;
pub mod unreported_blocks;

#[cfg(test)]
mod tests;

//! The NameNode process: sockets, threads, files. What is decided is decided in `hathi_namesystem` and
//! `hathi_nameserver`. [`state`] puts the parts together: each owns its state, and each task has the few that it needs.
//!
//! Threads: the RPC reactor(s), on the first of which the edit log task lives too; one for everything in the background
//! (roles, tailing, monitors); the web server; one for local edits, one for a shared directory, one for large block reports; and short-lived
//! ones for images.

pub mod admin;
pub mod audit;
pub mod background;
pub mod block_reports;
pub mod bootstrap;
pub mod callers;
pub mod checkpoint;
pub mod clock;
pub mod corrupt;
pub mod debug_hooks;
pub mod deferred;
pub mod directory_log;
pub mod divergence;
pub mod failovers;
pub mod format;
mod former_lease;
pub mod ha;
mod hand_over;
pub mod health;
pub mod hosts;
pub mod identity;
pub mod image_pipeline;
mod image_place;
pub mod image_transfer;
pub mod image_upload;
pub mod inotify;
pub mod journalnodes;
pub mod keys;
pub mod lease_proof;
pub mod lease_watchers;
pub mod load;
pub mod local_edits;
pub mod log;
mod low_priority;
pub mod manifest;
pub mod members;
pub mod metasave;
pub mod observed;
pub mod offline;
pub mod origin;
pub mod pass_on;
pub mod passes;
pub mod peer_addresses;
pub mod prove;
pub mod reconfiguration;
pub mod recover;
pub mod repair;
pub mod replies;
pub mod resources;
pub mod rolling_rollback;
pub mod rpc;
pub mod run;
pub mod secondary;
pub mod serving;
pub mod settings;
pub mod shared_edits;
pub mod shared_log;
pub mod split;
pub mod standby_calls;
pub mod startup;
pub mod state;
pub mod storage;
mod synced_file;
pub mod tail;
#[cfg(test)]
mod testing;
pub mod topology;
pub mod unpublished;
pub mod unreported;
pub mod upgrade;
pub mod web;

// `testing` also belongs to the tests of hathi-namenode-http, and names this crate as they do.
#[cfg(test)]
extern crate self as hathi_namenode;

pub use format::FormatOptions;
pub use settings::Settings;

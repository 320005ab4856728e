//! The namespace: the durable state of a NameNode, a function of its edits.
//!
//! A call is *planned* ([`Namespace::plan_create`] and its like validate and decide every id, time and stamp) into ops;
//! [`Namespace::apply`] is the only way to change anything, for the active right after the plan and for a standby or a
//! restart from the log. Reads take `&self`.

pub mod config;
pub mod types;

mod skeleton;

pub use config::Config;
pub use skeleton::*;
pub use types::*;

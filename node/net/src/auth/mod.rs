//! Who may do what at a server, under SIMPLE authentication: whoever calls is who he says he is, but not everybody may
//! call everything, from everywhere, or in somebody else's name.
//!
//! [`Authorizer`] decides once for each connection (`ServiceAuthorizationManager`, `ProxyUsers`), [`Administrators`] for
//! single calls, and both ask [`Groups`] for the groups of a user.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod acl;
mod admins;
mod authorizer;
mod groups;
mod policy;
mod proxy;

pub use acl::{AccessControlList, Machines};
pub use admins::Administrators;
pub(crate) use authorizer::{Asked, Decision, Waiting, check_length, without_rules};
pub use authorizer::{Authorizer, Protocols, VOUCHED_PREFIX};
pub use groups::{Groups, GroupsOptions, Identity, Lookup};

/// Longest name of a user, as UTF-8. Hadoop has no limit; Linux allows 32 bytes and directory services 256, a principal
/// of Kerberos adds host and realm.
pub const USER_MAX_BYTES: usize = 1024;

//! What a caller may do at a server, under SIMPLE authentication. Callers are believed to be the user that they name.
//! But not everybody may make every call, from every host, or in the name of another user.
//!
//! [`Authorizer`] decides once for each connection (`ServiceAuthorizationManager`, `ProxyUsers`), [`Administrators`]
//! for single calls. Both ask [`Groups`] for the groups of a user.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod acl;
mod admins;
mod authorizer;
mod groups;
mod policy;
mod proxy;

pub use acl::{AccessControlList, Machines};
pub use admins::Administrators;
pub(crate) use authorizer::{Asked, Decision, PendingDecision, check_length, without_rules};
pub use authorizer::{Authorizer, Protocols, VOUCHED_PREFIX};
pub use groups::{Groups, GroupsOptions, Identity, Lookup};

/// Longest name of a user, in bytes of UTF-8. Hadoop has no limit. Linux allows 32 bytes and directory services 256. A
/// Kerberos principal adds host and realm.
pub const USER_MAX_BYTES: usize = 1024;

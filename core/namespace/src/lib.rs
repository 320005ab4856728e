//! The namespace: the durable state of a NameNode, a function of its edits.
//!
//! A call is *planned* into ops: [`Namespace::plan_create`] and the other plans validate it and decide every id, time
//! and stamp. [`Namespace::apply`] is the only way to change anything, for the active right after the plan, and for a
//! standby or a restart from the log. Reads take `&self`.
//!
//! Memory is arrays, not objects: 48 bytes for an inode, 24 for a block, names in an arena, children in a hash of
//! (parent, name) for look-up and in sorted runs for listings. State that few inodes have is kept beside them (see
//! `store`). There are no locks and no clock.

mod acl;
mod apply;
mod attributes;
mod carried;
mod check;
mod coded;
pub mod config;
mod digest;
mod erasure_coding;
mod files;
mod freeing;
pub mod generator;
pub mod image;
mod namespace;
mod open_files;
mod ops;
mod path;
mod permission;
mod quotas;
mod read;
mod snapshots;
mod status;
mod store;
mod striping;
mod sub_access;
mod summary;
#[cfg(test)]
mod tests;
mod tree;
pub mod types;
mod unsupported;
mod usage;
mod view;
mod walk;
mod watch;
mod writers;
mod zone_map;
mod zone_view;
mod zones;

pub use config::NamespaceConfig;
pub use digest::marks::{Attestation, Comparison, MARK_EVERY_TXNS, MARKS_TOLD, Mark};
pub use digest::terms::DIGEST_VERSION;
pub use erasure_coding::policy::{ErasureCodingPolicyId, Policy, PolicyState};
pub use erasure_coding::{CODECS, PolicyConfig};
pub use namespace::Namespace;
pub use ops::{
    AddedPolicy, CACHE_NEVER_EXPIRES_MS, CacheDemand, CachedFiles, NAMENODE_LEASE_HOLDER, PoolDemand, RecoverLeaseOp,
    STORAGE_POLICIES, cache_path, snapshot_path, storage_type_number, storage_type_ordinal,
};
pub use path::{InodesInPath, MAX_PATH_DEPTH, MAX_PATH_LENGTH, is_valid_name};
pub use read::OpenFilesWalk;
pub use snapshots::diff::{DiffCursor, DiffEntry, DiffPage, DiffQuestion};
pub use striping::{BlockLayout, Striping};
pub use sub_access::SubAccessWalk;
pub use summary::SummaryWalk;
pub use types::*;
pub use zones::{Crypto, EncryptedKey, FileKeys, KeyOfFile, ReencryptionWalk, Zone, ZoneAt, ZonePage};

//! One file per group of verbs: what is checked and decided before an op exists.

mod attr;
mod block;
mod cache;
mod create;
mod erasure_coding;
mod lease;
mod remove;
mod rename;
mod satisfy;
mod snapshot;
mod striped;
pub(crate) mod xattr;

pub use attr::{STORAGE_POLICIES, storage_type_number, storage_type_ordinal};
pub use cache::{CACHE_NEVER_EXPIRES_MS, CacheDemand, CachedFiles, PoolDemand, cache_path};
pub use erasure_coding::AddedPolicy;
pub use lease::{NAMENODE_LEASE_HOLDER, RecoverLeaseOp};
pub use snapshot::snapshot_path;
pub(crate) use xattr::{Unreadable, merged as merged_xattrs, same as same_xattr};

//! State that few inodes have (ACLs, extended attributes, quotas, the writers of open files), and state that the
//! namespace only carries, so that logs and images stay complete (delegation tokens, cache pools, erasure coding
//! policies).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::usage::{TypeSpace, Usage};
use hathi_formats::editlog::{AclEntry, DelegationKey, DelegationTokenIdentifier, XAttr};
use hathi_formats::proto::hdfs::{CacheDirectiveInfoProto, CachePoolInfoProto, ErasureCodingPolicyProto};

/// `AclFeature`: the entries that the mode does not express (named entries and the group's), followed by the default
/// entries.
pub(crate) type AclFeature = Arc<[AclEntry]>;
/// `XAttrFeature`.
pub(crate) type XAttrs = Arc<[XAttr]>;

/// `DirectoryWithQuotaFeature`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Namespace quota, -1 = none.
    pub(crate) ns: i64,
    /// Storage space quota in bytes, -1 = none.
    pub(crate) ds: i64,
    /// Quotas by storage type (Java ordinal), bytes.
    pub(crate) types: BTreeMap<i32, i64>,
    /// Bytes in the subtree by storage type, as its policies place them; kept up to date while there is a quota by type.
    pub(crate) used_types: TypeSpace,
    /// Inodes in the subtree, the directory itself included.
    pub(crate) used_ns: i64,
    /// Bytes times replication in the subtree.
    pub(crate) used_ds: i64,
}

impl Quota {
    /// Adds a change to the usage.
    pub(crate) fn charge(&mut self, change: &Usage) {
        self.used_ns += change.ns;
        debug_assert!(self.used_ns >= 0, "no more inodes go than were counted");
        self.used_ds += change.ds;
        if !self.types.is_empty() {
            for (used, change) in self.used_types.iter_mut().zip(change.types) {
                *used += change;
            }
        }
    }
}

/// `FileUnderConstructionFeature`.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) client_name: Arc<str>,
    pub(crate) client_machine: Arc<str>,
}

/// The state of `DelegationTokenSecretManager` that the edits carry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    pub(crate) current_key_id: i32,
    pub(crate) sequence_number: i32,
    pub(crate) keys: BTreeMap<i32, DelegationKey>,
    /// By sequence number: the identifier and its expiry in ms.
    pub(crate) tokens: BTreeMap<i32, (DelegationTokenIdentifier, i64)>,
}

/// The state of `CacheManager`.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    pub(crate) next_directive_id: i64,
    pub(crate) pools: BTreeMap<String, CachePoolInfoProto>,
    pub(crate) directives: BTreeMap<i64, CacheDirectiveInfoProto>,
}

impl Default for Cache {
    fn default() -> Self {
        Cache {
            next_directive_id: 1,
            pools: BTreeMap::new(),
            directives: BTreeMap::new(),
        }
    }
}

/// The state of `ErasureCodingPolicyManager`: policies as the image keeps them, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct ErasureCoding {
    pub(crate) policies: BTreeMap<String, ErasureCodingPolicyProto>,
}

//! What subtrees use: inodes, bytes, and bytes by storage type (`QuotaCounts`).

use std::ops::{AddAssign, Neg, Sub};

/// Storage types, by Java's ordinal (`StorageType`).
pub(crate) const STORAGE_TYPES: usize = 6;
/// Bytes by storage type.
pub(crate) type TypeSpace = [i64; STORAGE_TYPES];

pub(crate) const RAM_DISK: usize = 0;
const SSD: usize = 1;
const DISK: usize = 2;
const ARCHIVE: usize = 3;
const PROVIDED: usize = 4;
const NVDIMM: usize = 5;

/// Storage types of the first replica and of all others under a policy (`BlockStoragePolicySuite`). RAM disks have no
/// quota (`StorageType.supportTypeQuota`): LAZY_PERSIST counts as DISK, where its replicas end up. 0 is the default
/// policy, HOT.
fn types_of_policy(policy: u8) -> (usize, usize) {
    match policy {
        14 => (NVDIMM, NVDIMM),
        12 => (SSD, SSD),
        10 => (SSD, DISK),
        5 => (DISK, ARCHIVE),
        2 => (ARCHIVE, ARCHIVE),
        1 => (PROVIDED, DISK),
        _ => (DISK, DISK),
    }
}

/// Space by storage type of `replication` replicas with `bytes` each (`BlockStoragePolicy.chooseStorageTypes`).
pub(crate) fn type_space(policy: u8, replication: u16, bytes: i64) -> TypeSpace {
    let mut space = [0; STORAGE_TYPES];
    if replication > 0 {
        let (first, others) = types_of_policy(policy);
        space[first] += bytes;
        space[others] += bytes.saturating_mul(i64::from(replication) - 1);
    }
    space
}

/// Usage of a subtree, or the change of it (`QuotaCounts`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Inodes.
    pub(crate) ns: i64,
    /// Bytes times replication.
    pub(crate) ds: i64,
    /// Space by storage type. All 0 while no directory has a quota, so that nobody pays for it.
    pub(crate) types: TypeSpace,
}

impl Usage {
    /// Inodes only.
    pub(crate) fn inodes(ns: i64) -> Usage {
        Usage { ns, ..Usage::default() }
    }

    /// This usage with `ns` more inodes.
    pub(crate) fn and_inodes(self, ns: i64) -> Usage {
        Usage {
            ns: self.ns + ns,
            ..self
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.ns += other.ns;
        self.ds = self.ds.saturating_add(other.ds);
        for (own, other) in self.types.iter_mut().zip(other.types) {
            *own = own.saturating_add(other);
        }
    }
}

impl Neg for Usage {
    type Output = Usage;

    fn neg(self) -> Usage {
        Usage {
            ns: -self.ns,
            ds: -self.ds,
            types: self.types.map(|bytes| -bytes),
        }
    }
}

impl Sub for Usage {
    type Output = Usage;

    fn sub(mut self, other: Usage) -> Usage {
        self += -other;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_count_where_their_policy_puts_them() {
        let of = |policy, replication| type_space(policy, replication, 10);
        assert_eq!(of(0, 3), [0, 0, 30, 0, 0, 0]);
        assert_eq!(of(10, 3), [0, 10, 20, 0, 0, 0]);
        assert_eq!(of(10, 1), [0, 10, 0, 0, 0, 0]);
        assert_eq!(of(5, 2), [0, 0, 10, 10, 0, 0]);
        assert_eq!(of(2, 2), [0, 0, 0, 20, 0, 0]);
        assert_eq!(of(15, 1), [0, 0, 10, 0, 0, 0], "memory is not counted");
        assert_eq!(of(7, 0), [0; 6]);
    }
}

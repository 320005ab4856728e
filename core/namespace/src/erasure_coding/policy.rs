//! One erasure coding policy (`ErasureCodingPolicy`, `ErasureCodingPolicyInfo`, `SystemErasureCodingPolicies`).

/// Number of a policy in inodes, edits and images (`ErasureCodingPolicy.getId`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErasureCodingPolicyId(pub u8);

impl ErasureCodingPolicyId {
    /// No erasure coding: files are replicated (`ErasureCodeConstants.REPLICATION_POLICY_ID`).
    pub const REPLICATION: ErasureCodingPolicyId = ErasureCodingPolicyId(0);
    /// The first id of policies that users add (`ErasureCodeConstants.USER_DEFINED_POLICY_START_ID`).
    pub const FIRST_USER_DEFINED: ErasureCodingPolicyId = ErasureCodingPolicyId(64);
    /// The last id (`ErasureCodeConstants.MAX_POLICY_ID`).
    pub const LAST: ErasureCodingPolicyId = ErasureCodingPolicyId(127);

    /// Whether every cluster has this policy (`ErasureCodingPolicy.isSystemPolicy`).
    #[must_use]
    pub fn is_built_in(self) -> bool {
        self < Self::FIRST_USER_DEFINED
    }
}

/// `ErasureCodingPolicyState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// It can't be set on directories nor asked for by writers.
    Disabled,
    /// It can be used.
    Enabled,
    /// Its user removed it. Files that were written with it are still read.
    Removed,
}

/// An erasure coding policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its number. It is never given to another policy.
    pub id: ErasureCodingPolicyId,
    /// Codec, units and cell size, such as `RS-6-3-1024k`.
    pub name: String,
    /// Codec (`rs`, `rs-legacy`, `xor`).
    pub codec: String,
    /// Number of data blocks of a block group.
    pub data_units: u8,
    /// Number of parity blocks of a block group.
    pub parity_units: u8,
    /// Bytes that go to one block before the next one gets some.
    pub cell_size: u32,
    /// Whether it can be used.
    pub state: PolicyState,
    /// Options of the codec that only it knows, by name.
    pub options: Vec<(String, String)>,
}

/// Bytes of a cell of the policies that every cluster has.
const BUILT_IN_CELL_SIZE: u32 = 1024 * 1024;

/// The policies that every cluster has: id, codec, data units and parity units.
const BUILT_IN: [(u8, &str, u8, u8); 5] = [
    (1, "rs", 6, 3),
    (2, "rs", 3, 2),
    (3, "rs-legacy", 6, 3),
    (4, "xor", 2, 1),
    (5, "rs", 10, 4),
];

impl Policy {
    /// The policies that every cluster has, all disabled.
    pub fn built_in() -> impl Iterator<Item = Policy> {
        BUILT_IN.into_iter().map(|(id, codec, data_units, parity_units)| Policy {
            id: ErasureCodingPolicyId(id),
            name: policy_name(codec, data_units, parity_units, BUILT_IN_CELL_SIZE),
            codec: codec.to_owned(),
            data_units,
            parity_units,
            cell_size: BUILT_IN_CELL_SIZE,
            state: PolicyState::Disabled,
            options: Vec::new(),
        })
    }
}

/// `ErasureCodingPolicy.composePolicyName`.
pub(crate) fn policy_name(codec: &str, data_units: u8, parity_units: u8, cell_size: u32) -> String {
    format!(
        "{}-{data_units}-{parity_units}-{}k",
        codec.to_uppercase(),
        cell_size / 1024
    )
}

//! Erasure coding policies: those of the cluster, and which one is in force where.
//!
//! Invariants ([`ErasureCoding::check`]):
//! - a policy is found by its id, and no two have the same name;
//! - the policies that every cluster has are there.
//!
//! Ids only grow, and are durable with their policies. The policy of a directory is an extended attribute that names it,
//! and each change tells the digest what it may change.
//!
//! Mirrors `ErasureCodingPolicyManager` and the reading half of `FSDirErasureCodingOp`.

mod image;
pub mod policy;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use hathi_formats::editlog::{XAttr, XAttrNamespace};
use hathi_formats::erasure_coding::{DIRECTORY_XATTR, REPLICATION, SYSTEM_POLICIES, xattr_value};
use prost::Message;

use crate::digest::terms::{Fact, Term};
use policy::{ErasureCodingPolicyId, Policy, PolicyState};

/// What the configuration says about policies. [`PolicyConfig::default`] is Hadoop's default for each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// `dfs.namenode.ec.system.default.policy`: a policy that is enabled when the NameNode starts, and that a call to set
    /// a policy without naming one means. Empty: none.
    pub default_policy: String,
    /// `dfs.namenode.ec.policies.max.cellsize` in bytes.
    pub max_cell_size: u32,
    /// `dfs.namenode.ec.userdefined.policy.allowed`.
    pub user_defined_allowed: bool,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        PolicyConfig {
            default_policy: "RS-6-3-1024k".to_owned(),
            max_cell_size: 4 << 20,
            user_defined_allowed: true,
        }
    }
}

impl PolicyConfig {
    /// Refuses a default policy that does not exist. It has to be one that every cluster has
    /// (`ErasureCodingPolicyManager.enableDefaultPolicy`).
    pub fn check(&self) -> Result<(), String> {
        let names: Vec<_> = SYSTEM_POLICIES.iter().map(|policy| policy.name).collect();
        if self.default_policy.is_empty() || names.contains(&&*self.default_policy) {
            return Ok(());
        }
        Err(format!(
            "EC policy '{}' specified at dfs.namenode.ec.system.default.policy is not a valid policy. \
             Please choose from list of available policies: [{}]",
            self.default_policy,
            names.join(", ")
        ))
    }
}

/// The codecs, with the coders of each in the order in which they are tried (`CodecRegistry`).
pub const CODECS: [(&str, &str); 3] = [
    ("rs", "rs_native, rs_java"),
    ("rs-legacy", "rs-legacy_java"),
    ("xor", "xor_native, xor_java"),
];

/// Most blocks of a block group (`HdfsServerConstants.MAX_BLOCKS_IN_GROUP`).
const UNITS_MAX: u32 = 16;

/// The policies of a cluster. A clone is a frozen view.
#[derive(Clone, Debug)]
pub(crate) struct ErasureCoding {
    policies: BTreeMap<ErasureCodingPolicyId, Policy>,
    /// Whether an edit disabled the default policy since the NameNode started. Images do not say so: as in Hadoop, a
    /// NameNode that loads one has the default policy enabled. It decides only what is allowed to be planned.
    default_disabled: bool,
}

impl Default for ErasureCoding {
    fn default() -> Self {
        ErasureCoding {
            policies: Policy::system().map(|policy| (policy.id, policy)).collect(),
            default_disabled: false,
        }
    }
}

impl ErasureCoding {
    /// The policy with this id, whatever its state.
    pub(crate) fn with_id(&self, id: ErasureCodingPolicyId) -> Option<&Policy> {
        self.policies.get(&id)
    }

    /// The policy with this name, whatever its state. There are some ten.
    pub(crate) fn named(&self, name: &str) -> Option<&Policy> {
        self.policies.values().find(|policy| policy.name == name)
    }

    /// All policies in the order of their names, as Hadoop lists them.
    pub(crate) fn by_name(&self) -> impl Iterator<Item = &Policy> {
        let mut all: Vec<&Policy> = self.policies.values().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all.into_iter()
    }

    /// The state that counts: the default policy is enabled, and a policy that this NameNode can't use is not.
    pub(crate) fn state(&self, policy: &Policy, config: &PolicyConfig) -> PolicyState {
        match policy.state {
            PolicyState::Enabled if unusable(policy, config).is_some() => PolicyState::Disabled,
            PolicyState::Disabled if policy.name == config.default_policy && !self.default_disabled => {
                PolicyState::Enabled
            }
            state => state,
        }
    }

    /// The policy that an equal one would not be added beside: it has the same name, or codes alike.
    pub(crate) fn equal_to(&self, new: &Policy) -> Option<&Policy> {
        self.by_name()
            .find(|policy| policy.name == new.name || policy.codes_like(new))
    }

    /// The id of the next new policy. `None` when all have been given out.
    pub(crate) fn next_id(&self) -> Option<ErasureCodingPolicyId> {
        let last = self.policies.last_key_value().map_or(0, |(id, _)| id.0);
        let next = last.saturating_add(1).max(ErasureCodingPolicyId::FIRST_USER_DEFINED.0);
        debug_assert!(
            self.with_id(ErasureCodingPolicyId(next)).is_none() || next == u8::MAX,
            "ids grow"
        );
        Some(ErasureCodingPolicyId(next)).filter(|next| *next <= ErasureCodingPolicyId::LAST)
    }

    // ---- changes by ops ----

    /// OP_ADD_ERASURE_CODING_POLICY, which does not say the id. As in Hadoop, the op of a policy that exists already
    /// changes nothing.
    pub(crate) fn add(
        &mut self,
        codec: &str,
        (data_units, parity_units): (i32, i32),
        cell_size: i32,
        options: &[(String, String)],
    ) -> Result<(), String> {
        let id = self.next_id();
        let policy = Policy::of_parts(
            id.unwrap_or(ErasureCodingPolicyId::LAST),
            codec,
            (i64::from(data_units), i64::from(parity_units)),
            i64::from(cell_size),
            options,
        )?;
        if self.equal_to(&policy).is_some() {
            return Ok(());
        }
        if id.is_none() {
            return Err("all ids of erasure coding policies have been given out".to_owned());
        }
        self.policies.insert(policy.id, policy);
        Ok(())
    }

    /// The ops that enable, disable and remove a policy.
    pub(crate) fn set_state(&mut self, name: &str, state: PolicyState, config: &PolicyConfig) -> Result<(), String> {
        let policy = self.policies.values_mut().find(|policy| policy.name == name);
        let policy = policy.ok_or_else(|| format!("there is no erasure coding policy {name}"))?;
        policy.state = state;
        if name == config.default_policy {
            self.default_disabled = state != PolicyState::Enabled;
        }
        Ok(())
    }

    // ---- whole ----

    /// What the digest counts.
    pub(crate) fn terms(&self) -> u64 {
        let terms = self.policies.values().map(|policy| {
            let bytes = policy.to_wire_with(policy.state).encode_to_vec();
            Term::of(Fact::Policy).bytes(policy.name.as_bytes()).bytes(&bytes).end()
        });
        terms.fold(0, u64::wrapping_add)
    }

    /// Panics when an invariant of the module does not hold.
    pub(crate) fn check(&self) {
        for (id, policy) in &self.policies {
            assert_eq!(*id, policy.id, "an erasure coding policy is found by its id");
        }
        let names: Vec<&str> = self.by_name().map(|policy| &*policy.name).collect();
        assert!(
            names.windows(2).all(|pair| pair[0] != pair[1]),
            "no two erasure coding policies have the same name"
        );
        for policy in Policy::system() {
            assert!(self.with_id(policy.id).is_some(), "policy {} is missing", policy.name);
        }
    }
}

/// Why this NameNode can't use a policy for new files (`ErasureCodingPolicyManager.addPolicy`, `loadPolicy`).
pub(crate) fn unusable(policy: &Policy, config: &PolicyConfig) -> Option<String> {
    if !CODECS.iter().any(|(codec, _)| *codec == policy.codec) {
        return Some(format!("Codec name {} is not supported", policy.codec));
    }
    if policy.units() > UNITS_MAX {
        return Some(format!(
            "Number of data and parity blocks in an EC group {} should not exceed maximum {UNITS_MAX}",
            policy.units()
        ));
    }
    (policy.cell_size > config.max_cell_size).then(|| {
        format!(
            "Cell size {} should not exceed maximum {} bytes",
            policy.cell_size, config.max_cell_size
        )
    })
}

/// The attribute of a directory that names its policy.
pub(crate) fn policy_xattr(name: &str) -> XAttr {
    XAttr {
        namespace: XAttrNamespace::System,
        name: DIRECTORY_XATTR.to_owned(),
        value: Some(xattr_value(name)),
    }
}

pub(crate) fn is_policy_xattr(xattr: &XAttr) -> bool {
    xattr.namespace == XAttrNamespace::System && xattr.name == DIRECTORY_XATTR
}

/// Whether a name stands for no erasure coding.
pub(crate) fn is_replication(name: &str) -> bool {
    name.eq_ignore_ascii_case(REPLICATION)
}

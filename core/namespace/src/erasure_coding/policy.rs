//! One erasure coding policy (`ErasureCodingPolicy`, `ErasureCodingPolicyInfo`).

use std::collections::BTreeMap;

use hathi_formats::erasure_coding::{SYSTEM_CELL_SIZE, SYSTEM_POLICIES, policy_name};
use hathi_formats::proto::hdfs::{
    EcSchemaOptionEntryProto, EcSchemaProto, ErasureCodingPolicyProto, ErasureCodingPolicyState,
};

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
    pub fn is_system(self) -> bool {
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
    /// An administrator removed it. Files that were written with it are still read.
    Removed,
}

impl PolicyState {
    fn to_wire(self) -> i32 {
        let state = match self {
            PolicyState::Disabled => ErasureCodingPolicyState::Disabled,
            PolicyState::Enabled => ErasureCodingPolicyState::Enabled,
            PolicyState::Removed => ErasureCodingPolicyState::Removed,
        };
        state as i32
    }

    fn from_wire(state: ErasureCodingPolicyState) -> PolicyState {
        match state {
            ErasureCodingPolicyState::Disabled => PolicyState::Disabled,
            ErasureCodingPolicyState::Enabled => PolicyState::Enabled,
            ErasureCodingPolicyState::Removed => PolicyState::Removed,
        }
    }
}

/// Cells are whole multiples of so many bytes.
const CELL_UNIT_BYTES: u32 = 1024;

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
    /// Whether it can be used, by the edits.
    pub state: PolicyState,
    /// Options of the codec that only it knows, in the order of their names.
    pub options: Vec<(String, String)>,
}

/// The size of a cell, or why none has it.
pub(crate) fn check_cell_size(bytes: i64) -> Result<u32, &'static str> {
    match u32::try_from(i32::try_from(bytes).unwrap_or(0)) {
        Err(_) | Ok(0) => Err("cellSize must be positive"),
        Ok(bytes) if bytes % CELL_UNIT_BYTES != 0 => Err("cellSize must be 1024 aligned"),
        Ok(bytes) => Ok(bytes),
    }
}

impl Policy {
    /// The policies that every cluster has, all disabled (`SystemErasureCodingPolicies`).
    pub(crate) fn system() -> impl Iterator<Item = Policy> {
        SYSTEM_POLICIES.into_iter().map(|policy| Policy {
            id: ErasureCodingPolicyId(policy.id),
            name: policy.name.to_owned(),
            codec: policy.codec.to_owned(),
            data_units: policy.data_units,
            parity_units: policy.parity_units,
            cell_size: SYSTEM_CELL_SIZE,
            state: PolicyState::Disabled,
            options: Vec::new(),
        })
    }

    /// A disabled policy of these parts, or what no policy can have (`ErasureCodingPolicy`, `ECSchema`).
    pub(crate) fn of_parts(
        id: ErasureCodingPolicyId,
        codec: &str,
        (data_units, parity_units): (i64, i64),
        cell_size: i64,
        options: &[(String, String)],
    ) -> Result<Policy, String> {
        let cell_size = check_cell_size(cell_size)?;
        let units = |number: i64, what: &str| {
            let number = u8::try_from(number).ok().filter(|number| *number > 0);
            number.ok_or_else(|| format!("the number of {what} units must be 1 to {}", u8::MAX))
        };
        let (data_units, parity_units) = (units(data_units, "data")?, units(parity_units, "parity")?);
        if codec.is_empty() {
            return Err("the codec has no name".to_owned());
        }
        // The last one of a name counts, as in a map.
        let options: BTreeMap<String, String> = options.iter().cloned().collect();
        Ok(Policy {
            id,
            name: policy_name(codec, u32::from(data_units), u32::from(parity_units), cell_size),
            codec: codec.to_owned(),
            data_units,
            parity_units,
            cell_size,
            state: PolicyState::Disabled,
            options: options.into_iter().collect(),
        })
    }

    /// A policy as an image has it. Of the policies that every cluster has only id and state count, as in Hadoop.
    pub(crate) fn from_image(message: &ErasureCodingPolicyProto) -> Result<Policy, String> {
        let id = u8::try_from(message.id).ok().map(ErasureCodingPolicyId);
        let id = id.filter(|id| (ErasureCodingPolicyId(1)..=ErasureCodingPolicyId::LAST).contains(id));
        let id = id.ok_or_else(|| format!("erasure coding policy {} has no such number", message.id))?;
        let state = PolicyState::from_wire(message.state());
        if let Some(system) = Policy::system().find(|policy| policy.id == id) {
            return Ok(Policy { state, ..system });
        }
        let schema = message.schema.as_ref();
        let schema = schema.ok_or_else(|| format!("erasure coding policy {} has no schema", message.id))?;
        let options: Vec<_> = (schema.options.iter())
            .map(|option| (option.key.clone(), option.value.clone()))
            .collect();
        let policy = Policy::of_parts(
            id,
            &schema.codec_name,
            (i64::from(schema.data_units), i64::from(schema.parity_units)),
            i64::from(message.cell_size()),
            &options,
        );
        let policy = policy.map_err(|problem| format!("erasure coding policy {}: {problem}", message.id))?;
        let name = message.name.clone().unwrap_or(policy.name);
        Ok(Policy { name, state, ..policy })
    }

    /// Without the state: the form of statuses and answers, which have only the ids of policies that every cluster has
    /// (`PBHelperClient.convertErasureCodingPolicy`).
    #[must_use]
    pub fn to_wire(&self) -> ErasureCodingPolicyProto {
        let id = u32::from(self.id.0);
        if self.id.is_system() {
            return ErasureCodingPolicyProto {
                id,
                ..Default::default()
            };
        }
        let option = |(key, value): &(String, String)| EcSchemaOptionEntryProto {
            key: key.clone(),
            value: value.clone(),
        };
        ErasureCodingPolicyProto {
            name: Some(self.name.clone()),
            schema: Some(EcSchemaProto {
                codec_name: self.codec.clone(),
                data_units: u32::from(self.data_units),
                parity_units: u32::from(self.parity_units),
                options: self.options.iter().map(option).collect(),
            }),
            cell_size: Some(self.cell_size),
            id,
            state: None,
        }
    }

    /// With this state: the form of images and of the list of all policies.
    pub(crate) fn to_wire_with(&self, state: PolicyState) -> ErasureCodingPolicyProto {
        ErasureCodingPolicyProto {
            state: Some(state.to_wire()),
            ..self.to_wire()
        }
    }

    /// Whether both make the same of the same bytes (`ECSchema.equals`, and the size of cells).
    pub(crate) fn codes_like(&self, other: &Policy) -> bool {
        let parts = |policy: &Policy| (policy.data_units, policy.parity_units, policy.cell_size);
        parts(self) == parts(other) && self.codec == other.codec && self.options == other.options
    }

    /// Number of blocks of a block group.
    #[must_use]
    pub fn units(&self) -> u32 {
        u32::from(self.data_units) + u32::from(self.parity_units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(codec: &str, units: (i64, i64), cell_size: i64, options: &[(String, String)]) -> Result<Policy, String> {
        Policy::of_parts(ErasureCodingPolicyId(64), codec, units, cell_size, options)
    }

    #[test]
    fn a_policy_of_impossible_parts_is_refused() {
        for (codec, units, cell_size, why) in [
            ("rs", (0, 2), 1024, "data units"),
            ("rs", (2, 0), 1024, "parity units"),
            ("rs", (-1, i64::MAX), 1024, "data units"),
            ("rs", (i64::from(u32::MAX), 1), 1024, "data units"),
            ("rs", (6, 256), 1024, "parity units"),
            ("rs", (6, 3), 0, "must be positive"),
            ("rs", (6, 3), -1024, "must be positive"),
            ("rs", (6, 3), 1 << 31, "must be positive"),
            ("rs", (6, 3), 1500, "1024 aligned"),
            ("", (6, 3), 1024, "no name"),
        ] {
            let refused = parts(codec, units, cell_size, &[]).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        assert_eq!(parts("rs", (12, 4), 64 << 10, &[]).unwrap().name, "RS-12-4-64k");
    }

    #[test]
    fn the_last_option_of_a_name_counts() {
        let option = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let policy = parts(
            "rs",
            (2, 1),
            1024,
            &[option("b", "1"), option("a", "1"), option("b", "2")],
        )
        .unwrap();
        assert_eq!(policy.options, [option("a", "1"), option("b", "2")]);
    }

    #[test]
    fn an_image_has_a_policy_as_it_was() {
        let own = Policy {
            state: PolicyState::Removed,
            ..parts("xor", (4, 1), 64 << 10, &[("a".to_owned(), "b".to_owned())]).unwrap()
        };
        for policy in Policy::system().chain([own]) {
            let message = policy.to_wire_with(policy.state);
            assert_eq!(message.name.is_none(), policy.id.is_system());
            assert_eq!(Policy::from_image(&message), Ok(policy));
        }
        for (id, problem) in [
            (0, "no such number"),
            (128, "no such number"),
            (70, "no schema"),
            (6, "no schema"),
        ] {
            let message = ErasureCodingPolicyProto {
                id,
                ..Default::default()
            };
            let refused = Policy::from_image(&message).unwrap_err();
            assert!(refused.contains(problem), "{refused}");
        }
    }
}

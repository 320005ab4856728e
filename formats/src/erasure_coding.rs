//! Erasure coding policies in messages, edits and images (`ErasureCodingPolicy`, `ECSchema`).

use crate::proto::hdfs::{EcSchemaProto, ErasureCodingPolicyProto, ErasureCodingPolicyState};

/// A policy that every Hadoop has (`SystemErasureCodingPolicies`). Messages, edits and images have only its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemPolicy {
    /// Its number.
    pub id: u8,
    /// Its name.
    pub name: &'static str,
    /// Its codec.
    pub codec: &'static str,
    /// Number of data blocks in a block group.
    pub data_units: u8,
    /// Number of parity blocks in a block group.
    pub parity_units: u8,
}

const fn system(id: u8, name: &'static str, codec: &'static str, data_units: u8, parity_units: u8) -> SystemPolicy {
    SystemPolicy {
        id,
        name,
        codec,
        data_units,
        parity_units,
    }
}

/// The policies that every Hadoop has, by id.
pub const SYSTEM_POLICIES: [SystemPolicy; 5] = [
    system(1, "RS-6-3-1024k", "rs", 6, 3),
    system(2, "RS-3-2-1024k", "rs", 3, 2),
    system(3, "RS-LEGACY-6-3-1024k", "rs-legacy", 6, 3),
    system(4, "XOR-2-1-1024k", "xor", 2, 1),
    system(5, "RS-10-4-1024k", "rs", 10, 4),
];
/// Bytes of a cell of each of them.
pub const SYSTEM_CELL_SIZE: u32 = 1 << 20;

/// Name of the policy that stands for replication (`ErasureCodeConstants.REPLICATION_POLICY_NAME`). Case does not
/// matter.
pub const REPLICATION: &str = "replication";

/// `SystemErasureCodingPolicies.REPLICATION_POLICY`
const REPLICATION_POLICY: SystemPolicy = system(0, REPLICATION, REPLICATION, 1, 2);

/// `HdfsServerConstants.XATTR_ERASURECODING_POLICY`, without its namespace, which is `system`.
pub const DIRECTORY_XATTR: &str = "hdfs.erasurecoding.policy";

/// The name of a policy of these parts (`ErasureCodingPolicy.composePolicyName`).
#[must_use]
pub fn policy_name(codec: &str, data_units: u32, parity_units: u32, cell_size: u32) -> String {
    let codec = codec.to_uppercase();
    format!("{codec}-{data_units}-{parity_units}-{}k", cell_size / 1024)
}

impl SystemPolicy {
    /// The policy with this id.
    #[must_use]
    pub fn with_id(id: u32) -> Option<SystemPolicy> {
        let all = SYSTEM_POLICIES.into_iter().chain([REPLICATION_POLICY]);
        all.into_iter().find(|policy| u32::from(policy.id) == id)
    }

    /// The policy in a message that says all of it.
    fn whole(self, state: Option<i32>) -> ErasureCodingPolicyProto {
        ErasureCodingPolicyProto {
            name: Some(self.name.to_owned()),
            schema: Some(EcSchemaProto {
                codec_name: self.codec.to_owned(),
                data_units: u32::from(self.data_units),
                parity_units: u32::from(self.parity_units),
                options: Vec::new(),
            }),
            cell_size: Some(SYSTEM_CELL_SIZE),
            id: u32::from(self.id),
            state,
        }
    }
}

/// A policy with its name, schema and cell size, which messages leave out of policies that every Hadoop has
/// (`PBHelperClient.convertErasureCodingPolicy`).
#[must_use]
pub fn whole(policy: &ErasureCodingPolicyProto) -> ErasureCodingPolicyProto {
    match SystemPolicy::with_id(policy.id) {
        Some(system) => system.whole(policy.state),
        None => policy.clone(),
    }
}

/// Name of a state (`ErasureCodingPolicyState`).
#[must_use]
pub fn state_name(policy: &ErasureCodingPolicyProto) -> &'static str {
    match policy.state() {
        ErasureCodingPolicyState::Disabled => "DISABLED",
        ErasureCodingPolicyState::Enabled => "ENABLED",
        ErasureCodingPolicyState::Removed => "REMOVED",
    }
}

/// `ErasureCodingPolicy.toString`
#[must_use]
pub fn describe(policy: &ErasureCodingPolicyProto) -> String {
    let policy = whole(policy);
    let schema = policy.schema.as_ref();
    let mut text = format!(
        "Codec={}, numDataUnits={}, numParityUnits={}",
        schema.map_or("", |schema| &schema.codec_name),
        schema.map_or(0, |schema| schema.data_units),
        schema.map_or(0, |schema| schema.parity_units),
    );
    for option in schema.iter().flat_map(|schema| &schema.options) {
        text.push_str(&format!(", {}={}", option.key, option.value));
    }
    format!(
        "ErasureCodingPolicy=[Name={}, Schema=[ECSchema=[{text}]], CellSize={}, Id={}]",
        policy.name(),
        policy.cell_size(),
        // An id is a byte in Java.
        policy.id as i8,
    )
}

/// The value of [`DIRECTORY_XATTR`] that names a policy (`WritableUtils.writeString`).
#[must_use]
pub fn xattr_value(name: &str) -> Vec<u8> {
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], name.as_bytes()].concat()
}

/// The name of the policy in a value of [`DIRECTORY_XATTR`] (`WritableUtils.readString`). `None` if it is none.
#[must_use]
pub fn xattr_name(value: &[u8]) -> Option<&str> {
    let (length, rest) = value.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    std::str::from_utf8(rest.get(..length)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::hdfs::EcSchemaOptionEntryProto;

    #[test]
    fn the_names_of_the_policies_that_every_hadoop_has_are_made_of_their_parts() {
        for policy in SYSTEM_POLICIES {
            let (data, parity) = (u32::from(policy.data_units), u32::from(policy.parity_units));
            assert_eq!(policy_name(policy.codec, data, parity, SYSTEM_CELL_SIZE), policy.name);
        }
    }

    #[test]
    fn a_policy_is_described_as_hadoop_describes_it() {
        let short = ErasureCodingPolicyProto {
            id: 1,
            ..Default::default()
        };
        assert_eq!(
            describe(&short),
            "ErasureCodingPolicy=[Name=RS-6-3-1024k, Schema=[ECSchema=[Codec=rs, numDataUnits=6, numParityUnits=3]], \
             CellSize=1048576, Id=1]"
        );
        let own = ErasureCodingPolicyProto {
            name: Some("XOR-4-1-64k".to_owned()),
            schema: Some(EcSchemaProto {
                codec_name: "xor".to_owned(),
                data_units: 4,
                parity_units: 1,
                options: vec![EcSchemaOptionEntryProto {
                    key: "a".to_owned(),
                    value: "b".to_owned(),
                }],
            }),
            cell_size: Some(65536),
            id: 64,
            state: None,
        };
        assert_eq!(
            describe(&own),
            "ErasureCodingPolicy=[Name=XOR-4-1-64k, Schema=[ECSchema=[Codec=xor, numDataUnits=4, numParityUnits=1, a=b]], \
             CellSize=65536, Id=64]"
        );
    }

    #[test]
    fn the_attribute_of_a_directory_names_a_policy() {
        let value = xattr_value("RS-6-3-1024k");
        assert_eq!(value, b"\0\0\0\x0cRS-6-3-1024k");
        assert_eq!(xattr_name(&value), Some("RS-6-3-1024k"));
        for damaged in [
            &b""[..],
            b"\0\0\0",
            b"\0\0\0\x02x",
            b"\xff\xff\xff\xff",
            b"\0\0\0\x01\xff",
        ] {
            assert_eq!(xattr_name(damaged), None, "{damaged:?}");
        }
    }
}

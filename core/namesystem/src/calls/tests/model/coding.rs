//! Erasure coding policies of the cluster and of directories.

use super::tree::{Node, REPLICATION, Striped};
use super::world::{Classes, World, agree};
use super::*;
use hathi_formats::erasure_coding::whole;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PolicyState {
    Disabled,
    Enabled,
    Removed,
}

/// The policies that are used, with data units, parity units and length of a cell. The last one is made by a user.
const POLICIES: [(&str, u64, u64, u64); 3] = [
    ("XOR-2-1-1024k", 2, 1, 1 << 20),
    ("RS-3-2-1024k", 3, 2, 1 << 20),
    (OF_USER, 2, 2, 64 << 10),
];
const OF_USER: &str = "RS-2-2-64k";

/// What every cluster has.
pub(super) fn at_first() -> BTreeMap<&'static str, PolicyState> {
    let disabled = ["RS-10-4-1024k", "RS-3-2-1024k", "RS-LEGACY-6-3-1024k", "XOR-2-1-1024k"];
    let mut all: BTreeMap<_, _> = disabled.map(|name| (name, PolicyState::Disabled)).into();
    all.insert("RS-6-3-1024k", PolicyState::Enabled);
    all
}

pub(super) fn striped(policy: &str) -> Striped {
    let found = POLICIES.iter().find(|(name, ..)| *name == policy);
    let (_, data_units, parity_units, cell) = *found.expect("a policy that is used");
    Striped {
        policy: policy.to_owned(),
        data_units,
        parity_units,
        cell,
    }
}

fn of_user() -> AddErasureCodingPoliciesRequestProto {
    let (_, data_units, parity_units, cell) = POLICIES[2];
    let policy = ErasureCodingPolicyProto {
        name: Some(String::new()),
        schema: Some(EcSchemaProto {
            codec_name: "rs".to_owned(),
            data_units: data_units as u32,
            parity_units: parity_units as u32,
            options: Vec::new(),
        }),
        cell_size: Some(cell as u32),
        id: u32::MAX,
        state: None,
    };
    AddErasureCodingPoliciesRequestProto {
        ec_policies: vec![policy],
    }
}

impl World {
    /// One of the policies that are used.
    pub(super) fn policy(&mut self) -> &'static str {
        POLICIES[self.random.usize(..POLICIES.len())].0
    }

    /// Whether somebody may ask for a policy by name.
    pub(super) fn may_be_asked_for(&self, policy: &str) -> bool {
        policy == REPLICATION || self.policies.get(policy) == Some(&PolicyState::Enabled)
    }

    pub(super) fn change_coding_policies(&mut self) {
        let name = self.policy();
        let is_known: Result<(), Classes> = match self.policies.contains_key(name) {
            true => Ok(()),
            false => Err(&[exceptions::HADOOP_ILLEGAL_ARGUMENT]),
        };
        let ec_policy_name = name.to_owned();
        let state = self.policies.get(name).copied();
        match self.random.u8(..8) {
            0 => {
                let answer = self.call(&of_user());
                agree(("addErasureCodingPolicies", OF_USER), &answer, Ok(()));
                assert!(
                    answer.unwrap().responses[0].succeed,
                    "{OF_USER} is added, or there already"
                );
                self.policies.entry(OF_USER).or_insert(PolicyState::Disabled);
            }
            1 => {
                let request = RemoveErasureCodingPolicyRequestProto { ec_policy_name };
                let answer = self.call(&request);
                let may = is_known.and(if name == OF_USER { Ok(()) } else { Err(&[][..]) });
                agree(&request, &answer, may);
                if answer.is_ok() {
                    self.policies.insert(name, PolicyState::Removed);
                }
            }
            2 => {
                let request = DisableErasureCodingPolicyRequestProto { ec_policy_name };
                let answer = self.call(&request);
                agree(&request, &answer, is_known);
                if state == Some(PolicyState::Enabled) {
                    self.policies.insert(name, PolicyState::Disabled);
                }
            }
            _ => {
                let request = EnableErasureCodingPolicyRequestProto { ec_policy_name };
                let answer = self.call(&request);
                agree(&request, &answer, is_known);
                if answer.is_ok() {
                    self.policies.insert(name, PolicyState::Enabled);
                }
            }
        }
    }

    pub(super) fn set_coding_policy(&mut self) {
        let path = self.dir_path();
        let there = match self.root.find(&path) {
            Ok(node) if node.file().is_some() => Err(&[exceptions::IO][..]),
            _ => self.there(&path),
        };
        if self.random.u8(..4) == 0 {
            let request = UnsetErasureCodingPolicyRequestProto { src: path.clone() };
            let has = self.root.find(&path).is_ok_and(|node| node.coding.is_some());
            let answer = self.call(&request);
            let fits = if has {
                Ok(())
            } else {
                Err(&[exceptions::NO_EC_POLICY_SET][..])
            };
            agree(&request, &answer, there.and(fits));
            if answer.is_ok() {
                self.root.find_mut(&path).expect("a directory").coding = None;
            }
            return;
        }
        let name = if self.random.u8(..5) == 0 {
            REPLICATION
        } else {
            self.policy()
        };
        let request = SetErasureCodingPolicyRequestProto {
            src: path.clone(),
            ec_policy_name: Some(name.to_owned()),
        };
        let expected = match self.may_be_asked_for(name) {
            true => there,
            false => Err(&[exceptions::HADOOP_ILLEGAL_ARGUMENT][..]),
        };
        let answer = self.call(&request);
        agree(&request, &answer, expected);
        if answer.is_ok() {
            self.root.find_mut(&path).expect("a directory").coding = Some(name.to_owned());
        }
    }

    pub(super) fn compare_policies(&mut self) {
        let listed = self.read(&GetErasureCodingPoliciesRequestProto {}).ec_policies;
        let states = listed.iter().map(|policy| {
            let state = match policy.state() {
                ErasureCodingPolicyState::Disabled => PolicyState::Disabled,
                ErasureCodingPolicyState::Enabled => PolicyState::Enabled,
                ErasureCodingPolicyState::Removed => PolicyState::Removed,
            };
            (whole(policy).name().to_owned(), state)
        });
        let expected = self.policies.iter().map(|(name, state)| ((*name).to_owned(), *state));
        assert_eq!(states.collect::<BTreeMap<_, _>>(), expected.collect(), "policies");
    }
}

/// The policy that a status shows: a file's, or the one that counts in a directory. `above` counts if none of `way` has one.
pub(super) fn shown(node: &Node, way: &[&Node], above: Option<&str>) -> Option<String> {
    if let Some(file) = node.file() {
        return file.striped.as_ref().map(|striped| striped.policy.clone());
    }
    let nearest = way.iter().rev().find_map(|node| node.coding.as_deref());
    nearest.or(above).filter(|name| *name != REPLICATION).map(str::to_owned)
}

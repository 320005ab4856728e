//! The storage policies that every cluster has (`BlockStoragePolicySuite.createDefaultSuite`).

use super::border::{Answer, Outcome};
use super::{caller, no_safe_mode, shown_path};
use crate::Namesystem;
use crate::context::CallContext;
use hathi_blockmanager::PolicyTypes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::StorageTypeProto::{self, Archive, Disk, Nvdimm, Provided, RamDisk, Ssd};
use hathi_formats::proto::hdfs::{
    BlockStoragePolicyProto, GetStoragePoliciesRequestProto, GetStoragePoliciesResponseProto,
    GetStoragePolicyRequestProto, GetStoragePolicyResponseProto, SetStoragePolicyRequestProto,
    SetStoragePolicyResponseProto, StorageTypesProto, UnsetStoragePolicyRequestProto, UnsetStoragePolicyResponseProto,
};

/// A storage policy (`BlockStoragePolicy`).
pub(super) struct Policy {
    /// Id in inodes and edits.
    pub id: u8,
    /// Name for users.
    pub name: &'static str,
    /// Storage type of each replica. The last one repeats.
    pub creation: &'static [StorageTypeProto],
    /// Types that are taken instead when a file is written.
    pub creation_fallback: &'static [StorageTypeProto],
    /// Types that are taken instead when a replica is made later.
    pub replication_fallback: &'static [StorageTypeProto],
}

/// `LAZY_PERSIST`, which `CreateFlag.LAZY_PERSIST` asks for.
const LAZY_PERSIST: u8 = 15;
/// Id of the policy of inodes that name none.
const HOT: u8 = 7;

/// All policies, in the order of their ids, as `getStoragePolicies` lists them.
static SUITE: [Policy; 8] = [
    Policy {
        id: 1,
        name: "PROVIDED",
        creation: &[Provided, Disk],
        creation_fallback: &[Provided, Disk],
        replication_fallback: &[Provided, Disk],
    },
    Policy {
        id: 2,
        name: "COLD",
        creation: &[Archive],
        creation_fallback: &[],
        replication_fallback: &[],
    },
    Policy {
        id: 5,
        name: "WARM",
        creation: &[Disk, Archive],
        creation_fallback: &[Disk, Archive],
        replication_fallback: &[Disk, Archive],
    },
    Policy {
        id: HOT,
        name: "HOT",
        creation: &[Disk],
        creation_fallback: &[],
        replication_fallback: &[Archive],
    },
    Policy {
        id: 10,
        name: "ONE_SSD",
        creation: &[Ssd, Disk],
        creation_fallback: &[Ssd, Disk],
        replication_fallback: &[Ssd, Disk],
    },
    Policy {
        id: 12,
        name: "ALL_SSD",
        creation: &[Ssd],
        creation_fallback: &[Disk],
        replication_fallback: &[Disk],
    },
    Policy {
        id: 14,
        name: "ALL_NVDIMM",
        creation: &[Nvdimm],
        creation_fallback: &[Disk],
        replication_fallback: &[Disk],
    },
    Policy {
        id: LAZY_PERSIST,
        name: "LAZY_PERSIST",
        creation: &[RamDisk, Disk],
        creation_fallback: &[Disk],
        replication_fallback: &[Disk],
    },
];

/// The policy with this id. `None` when it does not exist. 0 stands for the default policy.
pub(super) fn by_id(id: u8) -> Option<&'static Policy> {
    let id = if id == 0 { HOT } else { id };
    SUITE.iter().find(|policy| policy.id == id)
}

/// The storage types that the policy with this id wants for replicas that are made later.
pub(crate) fn policy_types(id: u8) -> PolicyTypes {
    by_id(id).map_or_else(PolicyTypes::default, |policy| PolicyTypes {
        creation: policy.creation,
        fallback: policy.replication_fallback,
    })
}

/// The policy with this name. Case does not matter.
fn by_name(name: &str) -> Option<&'static Policy> {
    SUITE.iter().find(|policy| policy.name.eq_ignore_ascii_case(name))
}

fn types(of: &[StorageTypeProto]) -> Option<StorageTypesProto> {
    (!of.is_empty()).then(|| StorageTypesProto {
        storage_types: of.iter().map(|&kind| kind as i32).collect(),
    })
}

fn message(policy: &Policy) -> BlockStoragePolicyProto {
    BlockStoragePolicyProto {
        policy_id: u32::from(policy.id),
        name: policy.name.to_owned(),
        creation_policy: types(policy.creation).unwrap_or_default(),
        creation_fallback_policy: types(policy.creation_fallback),
        replication_fallback_policy: types(policy.replication_fallback),
    }
}

/// `getStoragePolicies`
pub fn get_storage_policies(
    _: &Namesystem,
    _: &CallContext,
    _: GetStoragePoliciesRequestProto,
) -> Outcome<GetStoragePoliciesResponseProto> {
    Ok(Answer::new(
        GetStoragePoliciesResponseProto {
            policies: SUITE.iter().map(message).collect(),
        },
        None,
    ))
}

/// `getStoragePolicy`
pub fn get_storage_policy(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetStoragePolicyRequestProto,
) -> Outcome<GetStoragePolicyResponseProto> {
    let iip = ns.namespace().resolve(&request.path)?;
    let id = ns.namespace().storage_policy(&caller(ctx), &iip, &request.path)?;
    let policy = by_id(id).or_else(|| by_id(0)).map(message).unwrap_or_default();
    Ok(Answer::new(
        GetStoragePolicyResponseProto { storage_policy: policy },
        shown_path(ns, &iip),
    ))
}

/// `setStoragePolicy`
pub fn set_storage_policy(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: SetStoragePolicyRequestProto,
) -> Outcome<SetStoragePolicyResponseProto> {
    check_enabled(ns, "set storage policy")?;
    no_safe_mode(ns, || format!("Cannot set storage policy for {}", request.src))?;
    let policy = by_name(&request.policy_name).ok_or_else(|| {
        RemoteException::new(
            exceptions::HADOOP_ILLEGAL_ARGUMENT,
            format!("Cannot find a block policy with the name {}", request.policy_name),
        )
    })?;
    set(ns, ctx, &request.src, Some(policy.name))
}

/// `unsetStoragePolicy`
pub fn unset_storage_policy(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: UnsetStoragePolicyRequestProto,
) -> Outcome<UnsetStoragePolicyResponseProto> {
    check_enabled(ns, "unset storage policy")?;
    no_safe_mode(ns, || format!("Cannot unset storage policy for {}", request.src))?;
    set(ns, ctx, &request.src, None)
}

fn set<R: Default>(ns: &mut Namesystem, ctx: &CallContext, src: &str, policy: Option<&str>) -> Outcome<R> {
    let machine = super::ClientMachine::default();
    let plan = ns
        .namespace()
        .plan_set_storage_policy(&super::plan_context(ctx, &machine), src, policy)?;
    super::commit_void(ns, plan)
}

fn check_enabled(ns: &Namesystem, operation: &str) -> Result<(), RemoteException> {
    if ns.namespace().config.storage_policy_enabled {
        return Ok(());
    }
    Err(super::io(format!(
        "Failed to {operation} since dfs.storage.policy.enabled is set to false."
    )))
}

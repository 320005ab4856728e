//! Erasure coding policies (`FSNamesystem`, `FSDirErasureCodingOp`).

use super::border::{Answer, Once, Outcome};
use super::{ClientMachine, caller, commit, commit_void_once, no_safe_mode, plan_context, shown_path};
use crate::Namesystem;
use crate::context::CallContext;
use hathi_formats::exceptions::RemoteException;
use hathi_formats::proto::hdfs::{
    AddErasureCodingPoliciesRequestProto, AddErasureCodingPoliciesResponseProto, AddErasureCodingPolicyResponseProto,
    CodecProto, DisableErasureCodingPolicyRequestProto, DisableErasureCodingPolicyResponseProto,
    EcTopologyVerifierResultProto, EnableErasureCodingPolicyRequestProto, EnableErasureCodingPolicyResponseProto,
    GetEcTopologyResultForPoliciesRequestProto, GetEcTopologyResultForPoliciesResponseProto,
    GetErasureCodingCodecsRequestProto, GetErasureCodingCodecsResponseProto, GetErasureCodingPoliciesRequestProto,
    GetErasureCodingPoliciesResponseProto, GetErasureCodingPolicyRequestProto, GetErasureCodingPolicyResponseProto,
    RemoveErasureCodingPolicyRequestProto, RemoveErasureCodingPolicyResponseProto, SetErasureCodingPolicyRequestProto,
    SetErasureCodingPolicyResponseProto, UnsetErasureCodingPolicyRequestProto, UnsetErasureCodingPolicyResponseProto,
};
use hathi_namespace::{CODECS, Policy};
use std::collections::BTreeSet;

// --- the policies of the cluster ---

/// `getErasureCodingPolicies`
pub fn get_policies(
    ns: &Namesystem,
    _: &CallContext,
    _: GetErasureCodingPoliciesRequestProto,
) -> Outcome<GetErasureCodingPoliciesResponseProto> {
    let ec_policies = ns.namespace().erasure_coding_policies().collect();
    Ok(Answer::new(
        GetErasureCodingPoliciesResponseProto { ec_policies },
        ns.shown_everything(),
    ))
}

/// `getErasureCodingCodecs`
pub fn get_codecs(
    _: &Namesystem,
    _: &CallContext,
    _: GetErasureCodingCodecsRequestProto,
) -> Outcome<GetErasureCodingCodecsResponseProto> {
    let codec = CODECS.map(|(codec, coders)| CodecProto {
        codec: codec.to_owned(),
        coders: coders.to_owned(),
    });
    let codec = codec.to_vec();
    Ok(Answer::new(GetErasureCodingCodecsResponseProto { codec }, None))
}

/// `addErasureCodingPolicies`
pub fn add_policies(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: AddErasureCodingPoliciesRequestProto,
) -> Result<Once<AddErasureCodingPoliciesResponseProto>, RemoteException> {
    ctx.check_superuser_for(ns, "addErasureCodingPolicies")?;
    no_safe_mode(ns, || "Cannot add erasure coding policy".to_owned())?;
    let machine = ClientMachine::default();
    let plan = (ns.namespace()).plan_add_erasure_coding_policies(&plan_context(ctx, &machine), &request.ec_policies)?;
    let (added, after) = commit(ns, plan)?;
    let responses = added.into_iter().map(|added| AddErasureCodingPolicyResponseProto {
        policy: added.policy,
        succeed: added.refused.is_none(),
        error_msg: added.refused,
    });
    let responses = responses.collect();
    Ok(Once {
        answer: Answer::new(AddErasureCodingPoliciesResponseProto { responses }, after),
        keep: true,
    })
}

/// `removeErasureCodingPolicy`
pub fn remove_policy(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: RemoveErasureCodingPolicyRequestProto,
) -> Result<Once<RemoveErasureCodingPolicyResponseProto>, RemoteException> {
    let name = &request.ec_policy_name;
    ctx.check_superuser_for(ns, "removeErasureCodingPolicy")?;
    no_safe_mode(ns, || format!("Cannot remove erasure coding policy {name}"))?;
    let machine = ClientMachine::default();
    let plan = (ns.namespace()).plan_remove_erasure_coding_policy(&plan_context(ctx, &machine), name)?;
    commit_void_once(ns, plan)
}

/// `enableErasureCodingPolicy`
pub fn enable_policy(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: EnableErasureCodingPolicyRequestProto,
) -> Result<Once<EnableErasureCodingPolicyResponseProto>, RemoteException> {
    let name = &request.ec_policy_name;
    ctx.check_superuser_for(ns, "enableErasureCodingPolicy")?;
    no_safe_mode(ns, || format!("Cannot enable erasure coding policy {name}"))?;
    let machine = ClientMachine::default();
    let plan = (ns.namespace()).plan_enable_erasure_coding_policy(&plan_context(ctx, &machine), name)?;
    commit_void_once(ns, plan)
}

/// `disableErasureCodingPolicy`
pub fn disable_policy(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: DisableErasureCodingPolicyRequestProto,
) -> Result<Once<DisableErasureCodingPolicyResponseProto>, RemoteException> {
    let name = &request.ec_policy_name;
    ctx.check_superuser_for(ns, "disableErasureCodingPolicy")?;
    no_safe_mode(ns, || format!("Cannot disable erasure coding policy {name}"))?;
    let machine = ClientMachine::default();
    let plan = (ns.namespace()).plan_disable_erasure_coding_policy(&plan_context(ctx, &machine), name)?;
    commit_void_once(ns, plan)
}

/// `getECTopologyResultForPolicies`
pub fn get_topology_result(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetEcTopologyResultForPoliciesRequestProto,
) -> Outcome<GetEcTopologyResultForPoliciesResponseProto> {
    ctx.check_superuser_for(ns, "getECTopologyResultForPolicies")?;
    let (is_supported, result_message) = topology_result(ns, &request.policies)?;
    let response = EcTopologyVerifierResultProto {
        result_message,
        is_supported,
    };
    Ok(Answer::new(
        GetEcTopologyResultForPoliciesResponseProto { response },
        ns.shown_everything(),
    ))
}

/// Whether the DataNodes and racks are enough for these policies, or for all enabled ones if none is named, and why.
/// Refuses policies that do not exist.
pub fn topology_result(ns: &Namesystem, policies: &[String]) -> Result<(bool, String), RemoteException> {
    let nodes = || ns.blockmanager().datanodes().map(|(_, node)| node);
    // Hadoop counts dead DataNodes as well, and racks on which somebody lives.
    let racks: BTreeSet<_> = nodes().filter(|node| node.alive).map(|node| &node.location).collect();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    ns.namespace()
        .verify_erasure_coding_topology(count(nodes().count()), count(racks.len()), policies)
}

// --- the policies of directories ---

/// `setErasureCodingPolicy`
pub fn set_policy(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: SetErasureCodingPolicyRequestProto,
) -> Result<Once<SetErasureCodingPolicyResponseProto>, RemoteException> {
    no_safe_mode(ns, || format!("Cannot set erasure coding policy on {}", request.src))?;
    let machine = ClientMachine::default();
    let plan = ns.namespace().plan_set_erasure_coding_policy(
        &plan_context(ctx, &machine),
        &request.src,
        request.ec_policy_name.as_deref(),
    )?;
    commit_void_once(ns, plan)
}

/// `unsetErasureCodingPolicy`
pub fn unset_policy(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: UnsetErasureCodingPolicyRequestProto,
) -> Result<Once<UnsetErasureCodingPolicyResponseProto>, RemoteException> {
    no_safe_mode(ns, || format!("Cannot unset erasure coding policy on {}", request.src))?;
    let machine = ClientMachine::default();
    let plan = (ns.namespace()).plan_unset_erasure_coding_policy(&plan_context(ctx, &machine), &request.src)?;
    commit_void_once(ns, plan)
}

/// `getErasureCodingPolicy`: null where files are replicated.
pub fn get_policy(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetErasureCodingPolicyRequestProto,
) -> Outcome<GetErasureCodingPolicyResponseProto> {
    let iip = ns.namespace().resolve(&request.src)?;
    let policy = (ns.namespace()).erasure_coding_policy_at(&caller(ctx), &iip, &request.src)?;
    Ok(Answer::new(
        GetErasureCodingPolicyResponseProto {
            ec_policy: policy.map(Policy::to_wire),
        },
        // The id of a policy that users added stands in another edit than the directory's.
        shown_path(ns, &iip).max(policy.and_then(|_| ns.shown_everything())),
    ))
}

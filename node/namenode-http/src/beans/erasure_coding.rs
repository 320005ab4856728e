//! What is told of erasure coding.

use hathi_namesystem::Namesystem;
use hathi_namesystem::calls::erasure_coding::topology_result;
use hathi_net::http::jmx::Bean;
use serde_json::json;

/// The names of the policies that can be used (`ErasureCodingPolicyManager.getEnabledPoliciesMetric`).
pub(super) fn enabled(ns: &Namesystem) -> String {
    let policies = ns.namespace().enabled_erasure_coding_policies();
    let names: Vec<_> = policies.map(|policy| &*policy.name).collect();
    names.join(", ")
}

/// `NameNodeInfo.VerifyECWithTopologyResult`: whether there are enough DataNodes and racks for the enabled policies.
pub(super) fn topology(ns: &Namesystem) -> String {
    let (is_supported, message) = topology_result(ns, &[]).unwrap_or_else(|refused| (false, refused.message));
    json!({ "isSupported": is_supported.to_string(), "resultMessage": message }).to_string()
}

/// `ECBlockGroupsMBean`
pub(super) fn bean(ns: &Namesystem) -> Bean {
    Bean::new(
        "NameNode",
        "ECBlockGroupsState",
        "org.apache.hadoop.hdfs.server.namenode.FSNamesystem",
        json!({
            "LowRedundancyECBlockGroups": 0,
            "CorruptECBlockGroups": 0,
            "MissingECBlockGroups": 0,
            "BytesInFutureECBlockGroups": 0,
            "PendingDeletionECBlocks": 0,
            "TotalECBlockGroups": 0,
            "EnabledEcPolicies": enabled(ns),
        }),
    )
}

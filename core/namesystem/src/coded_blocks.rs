//! Policies of block groups, of which the block manager knows only the numbers.

use hathi_formats::proto::datanode::DatanodeCommandProto;
use hathi_formats::proto::hdfs::ErasureCodingPolicyProto;
use hathi_formats::striping::Striping;
use hathi_namespace::{ErasureCodingPolicyId, Namespace};

/// The name of a policy.
pub(crate) fn policy_name(ns: &Namespace, striping: Striping) -> &str {
    let policy = ns.erasure_coding_policy(ErasureCodingPolicyId(striping.policy));
    debug_assert!(policy.is_some(), "no file is taken in whose policy is not known");
    policy.map_or("", |policy| &policy.name)
}

/// Adds to commands what the block manager does not know of policies: names, codecs and their options.
pub(crate) fn complete_policies(ns: &Namespace, commands: &mut [DatanodeCommandProto]) {
    let complete = |policy: &mut ErasureCodingPolicyProto| {
        debug_assert!(policy.id > 0, "block groups have a policy");
        let id = u8::try_from(policy.id).unwrap_or(0);
        if let Some(known) = ns.erasure_coding_policy(ErasureCodingPolicyId(id)) {
            *policy = known.to_wire();
        }
    };
    for command in commands {
        if let Some(recovery) = &mut command.recovery_cmd {
            let policies = recovery.blocks.iter_mut().filter_map(|block| block.ec_policy.as_mut());
            policies.for_each(complete);
        }
        if let Some(coding) = &mut command.blk_ec_reconstruction_cmd {
            let infos = coding.block_ec_reconstructioninfo.iter_mut();
            infos.for_each(|info| complete(&mut info.ec_policy));
        }
    }
}

//! Changes of policies, and which policy a call means (`FSDirErasureCodingOp`, `ErasureCodingPolicyManager`).

use hathi_formats::editlog::EditOp;
use hathi_formats::erasure_coding::SystemPolicy;
use hathi_formats::exceptions as ex;
use hathi_formats::proto::hdfs::ErasureCodingPolicyProto;
use smallvec::SmallVec;

use crate::coded::Coded;
use crate::erasure_coding::policy::{ErasureCodingPolicyId, Policy, PolicyState, check_cell_size};
use crate::erasure_coding::{CODECS, ErasureCoding, is_replication, policy_xattr, unusable};
use crate::namespace::Namespace;
use crate::path::{DirOp, InodesInPath, is_exact_reserved, refuse};
use crate::permission::action;
use crate::store::slab::Slot;
use crate::types::{Caller, Ctx, Plan, Refused};
use crate::view::View;

/// Most bytes of the options of a new policy. No codec has options, and Hadoop has no limit.
const OPTIONS_MAX_BYTES: usize = 4096;

/// What became of a policy that was to be added (`AddErasureCodingPolicyResponse`).
#[derive(Clone, Debug, PartialEq)]
pub struct AddedPolicy {
    /// The policy that exists now, or the refused one as it was sent.
    pub policy: ErasureCodingPolicyProto,
    /// Why it was not added.
    pub refused: Option<String>,
}

fn illegal(message: impl Into<String>) -> Refused {
    refuse(ex::HADOOP_ILLEGAL_ARGUMENT, message)
}

/// The policy that a message means. The outer error is of the whole call, the inner one of this policy.
fn sent(message: &ErasureCodingPolicyProto) -> Result<Result<Policy, String>, Refused> {
    let malformed = |why: &str| refuse(ex::ILLEGAL_ARGUMENT, why);
    if let Some(system) = SystemPolicy::with_id(message.id)
        && let Some(policy) = Policy::system().find(|policy| policy.id.0 == system.id)
    {
        return Ok(Ok(policy));
    }
    let missing = |what: &str| malformed(&format!("Missing {what} field in ErasureCodingPolicy proto"));
    message.name.as_ref().ok_or_else(|| missing("name"))?;
    let schema = message.schema.as_ref().ok_or_else(|| missing("schema"))?;
    let cell_size = i64::from(message.cell_size.ok_or_else(|| missing("cellsize"))? as i32);
    check_cell_size(cell_size).map_err(malformed)?;
    if !CODECS.iter().any(|(codec, _)| *codec == schema.codec_name) {
        return Ok(Err(format!("Codec name {} is not supported", schema.codec_name)));
    }
    let bytes = schema
        .options
        .iter()
        .map(|option| option.key.len() + option.value.len());
    if bytes.sum::<usize>() > OPTIONS_MAX_BYTES {
        return Ok(Err(format!("The options have more than {OPTIONS_MAX_BYTES} bytes")));
    }
    let options: Vec<_> = (schema.options.iter())
        .map(|option| (option.key.clone(), option.value.clone()))
        .collect();
    Ok(Policy::of_parts(
        ErasureCodingPolicyId::LAST,
        &schema.codec_name,
        (
            i64::from(schema.data_units as i32),
            i64::from(schema.parity_units as i32),
        ),
        cell_size,
        &options,
    ))
}

impl Namespace {
    /// `addErasureCodingPolicies`: what became of each, in order. Nothing is logged of policies that exist already.
    pub fn plan_add_erasure_coding_policies(
        &self,
        ctx: &Ctx<'_>,
        messages: &[ErasureCodingPolicyProto],
    ) -> Result<Plan<Vec<AddedPolicy>>, Refused> {
        let policies: Vec<_> = messages.iter().map(sent).collect::<Result<_, _>>()?;
        let mut then = self.carried.erasure_coding().clone();
        let (mut ops, mut reply) = (SmallVec::new(), Vec::new());
        for (message, policy) in messages.iter().zip(policies) {
            let planned = policy.and_then(|policy| self.plan_add_policy(ctx, &mut then, &policy));
            reply.push(match planned {
                Ok((policy, op)) => {
                    ops.extend(op);
                    let refused = None;
                    AddedPolicy { policy, refused }
                }
                Err(why) => AddedPolicy {
                    policy: message.clone(),
                    refused: Some(why),
                },
            });
        }
        Ok(Plan { ops, reply })
    }

    /// Adds a policy to those that there will be, if it can be added.
    fn plan_add_policy(
        &self,
        ctx: &Ctx<'_>,
        then: &mut ErasureCoding,
        policy: &Policy,
    ) -> Result<(ErasureCodingPolicyProto, Option<EditOp>), String> {
        let config = &self.config.erasure_coding;
        if !config.user_defined_allowed {
            return Err("Addition of user defined erasure coding policy is disabled.".to_owned());
        }
        if let Some(why) = unusable(policy, config) {
            return Err(why);
        }
        if let Some(known) = then.equal_to(policy) {
            return Ok((known.to_wire(), None));
        }
        if then.next_id().is_none() {
            return Err(format!(
                "Adding erasure coding policy failed because the number of policies stored in the system already \
                 reached the threshold, which is {}",
                ErasureCodingPolicyId::LAST.0
            ));
        }
        let units = (i32::from(policy.data_units), i32::from(policy.parity_units));
        let cell_size = policy.cell_size as i32;
        then.add(&policy.codec, units, cell_size, &policy.options)?;
        let added = then
            .named(&policy.name)
            .map_or_else(|| policy.to_wire(), Policy::to_wire);
        let op = EditOp::AddErasureCodingPolicy {
            codec: policy.codec.clone(),
            data_units: units.0,
            parity_units: units.1,
            cell_size,
            extra_options: policy.options.clone(),
            rpc_ids: ctx.rpc_ids,
        };
        Ok((added, Some(op)))
    }

    fn known_policy(&self, name: &str) -> Result<&Policy, Refused> {
        let policy = self.carried.erasure_coding().named(name);
        policy.ok_or_else(|| illegal(format!("The policy name {name} does not exist")))
    }

    /// `enableErasureCodingPolicy`. The default policy is enabled without an edit, and an edit enables it for NameNodes
    /// with another default.
    pub fn plan_enable_erasure_coding_policy(&self, ctx: &Ctx<'_>, name: &str) -> Result<Plan<()>, Refused> {
        let policy = self.known_policy(name)?;
        if let Some(why) = unusable(policy, &self.config.erasure_coding) {
            return Err(illegal(why));
        }
        if policy.state == PolicyState::Enabled {
            return Ok(Plan::nothing(()));
        }
        let op = EditOp::EnableErasureCodingPolicy {
            policy_name: name.to_owned(),
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    /// `disableErasureCodingPolicy`. Directories keep a policy that is disabled, and files are written with it.
    pub fn plan_disable_erasure_coding_policy(&self, ctx: &Ctx<'_>, name: &str) -> Result<Plan<()>, Refused> {
        let policy = self.known_policy(name)?;
        let state = self.carried.erasure_coding().state(policy, &self.config.erasure_coding);
        if ![state, policy.state].contains(&PolicyState::Enabled) {
            return Ok(Plan::nothing(()));
        }
        let op = EditOp::DisableErasureCodingPolicy {
            policy_name: name.to_owned(),
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    /// `removeErasureCodingPolicy`
    pub fn plan_remove_erasure_coding_policy(&self, ctx: &Ctx<'_>, name: &str) -> Result<Plan<()>, Refused> {
        let policy = self.known_policy(name)?;
        if policy.id.is_system() {
            return Err(illegal(format!(
                "System erasure coding policy {name} cannot be removed"
            )));
        }
        if policy.state == PolicyState::Removed {
            return Ok(Plan::nothing(()));
        }
        let op = EditOp::RemoveErasureCodingPolicy {
            policy_name: name.to_owned(),
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    /// The policy that a caller may ask for by this name. `None` stands for replication.
    fn enabled_policy(&self, name: &str) -> Result<Option<&Policy>, Refused> {
        let mut enabled = self.enabled_erasure_coding_policies();
        match enabled.find(|policy| policy.name == name) {
            Some(policy) => Ok(Some(policy)),
            None if is_replication(name) => Ok(None),
            None => {
                let names: Vec<_> = self.enabled_erasure_coding_policies().map(|p| &*p.name).collect();
                Err(illegal(format!(
                    "Policy '{name}' does not match any enabled erasure coding policies: [{}]. \
                     An erasure coding policy can be enabled by enableErasureCodingPolicy API.",
                    names.join(", ")
                )))
            }
        }
    }

    /// The directory at the end of a path whose policy is to change. `what` is in the refusal of a file.
    fn dir_for_policy<'s>(
        &self,
        caller: &Caller<'_>,
        src: &'s str,
        what: &str,
    ) -> Result<(InodesInPath<'s>, Slot), Refused> {
        let iip = self.resolve_for(caller, src, DirOp::WriteLink)?;
        self.check_path_access(caller, &iip, action::WRITE)?;
        let Some(slot) = iip.last_slot() else {
            return Err(refuse(ex::FILE_NOT_FOUND, format!("Path not found: {}", iip.path())));
        };
        if !self.rec(slot).is_dir() {
            return Err(refuse(ex::IO, format!("{what} a file {}", iip.path())));
        }
        Ok((iip, slot))
    }

    /// `setErasureCodingPolicy`. Without a name it means the default policy.
    pub fn plan_set_erasure_coding_policy(
        &self,
        ctx: &Ctx<'_>,
        src: &str,
        name: Option<&str>,
    ) -> Result<Plan<()>, Refused> {
        let policy = self.enabled_policy(name.unwrap_or(&self.config.erasure_coding.default_policy))?;
        let name = policy.map_or(hathi_formats::erasure_coding::REPLICATION, |policy| &policy.name);
        let (iip, _) = self.dir_for_policy(&ctx.caller, src, "Attempt to set an erasure coding policy for")?;
        let op = EditOp::SetXAttr {
            src: iip.path(),
            xattrs: vec![policy_xattr(name)],
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    /// `unsetErasureCodingPolicy`: `NoECPolicySetException` when the directory itself has none.
    pub fn plan_unset_erasure_coding_policy(&self, ctx: &Ctx<'_>, src: &str) -> Result<Plan<()>, Refused> {
        let (iip, slot) = self.dir_for_policy(&ctx.caller, src, "Cannot unset an erasure coding policy on")?;
        let Some(xattr) = self.own_policy_xattr(slot) else {
            return Err(refuse(
                ex::NO_EC_POLICY_SET,
                format!("No erasure coding policy explicitly set on {}", iip.path()),
            ));
        };
        let op = EditOp::RemoveXAttr {
            src: iip.path(),
            xattrs: vec![xattr.clone()],
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    /// How a file that is made in this directory is kept: replicated (`None`), or striped by this policy. A writer may
    /// ask for a policy, or for replication (`CreateFlag.SHOULD_REPLICATE`).
    pub(crate) fn erasure_coding_policy_for_new_file(
        &self,
        dir: Slot,
        should_replicate: bool,
        asked: &str,
    ) -> Result<Option<&Policy>, Refused> {
        match (should_replicate, asked) {
            (true, _) => Ok(None),
            // Files are written with the policy of their directory even if it is disabled or removed now.
            (false, "") => Ok(self.erasure_coding_of(dir)),
            (false, name) => self.enabled_policy(name),
        }
    }

    /// `getErasureCodingPolicy`: `None` stands for replication.
    pub fn erasure_coding_policy_at(
        &self,
        caller: &Caller<'_>,
        iip: &InodesInPath<'_>,
        src: &str,
    ) -> Result<Option<&Policy>, Refused> {
        if is_exact_reserved(src) {
            return Ok(None);
        }
        self.check_traverse_for(caller, iip, DirOp::Read)?;
        self.check_path_access(caller, iip, action::READ)?;
        if iip.dir_of_snapshots().is_some() {
            return Ok(None);
        }
        let Some(slot) = iip.last_slot() else {
            return Err(refuse(ex::FILE_NOT_FOUND, format!("Path not found: {src}")));
        };
        Ok(match self.past(iip) {
            None => self.erasure_coding_of(slot),
            Some(past) => past
                .erasure_coding_of(slot)
                .and_then(|policy| self.erasure_coding_policy(policy.id)),
        })
    }

    /// Whether so many DataNodes on so many racks are enough for these policies, or for all enabled ones if none is
    /// named, with the reason (`ECTopologyVerifier`).
    pub fn verify_erasure_coding_topology(
        &self,
        datanodes: u32,
        racks: u32,
        names: &[String],
    ) -> Result<(bool, String), Refused> {
        // Name, data units and parity units. Replication counts as one block with two more.
        let mut policies: Vec<(&str, u32, u32)> = Vec::new();
        let parts = |policy: &Policy| (policy.units(), u32::from(policy.parity_units));
        if names.is_empty() {
            policies.extend(self.enabled_erasure_coding_policies().map(|policy| {
                let (units, parity) = parts(policy);
                (&*policy.name, units, parity)
            }));
        }
        for name in names {
            policies.push(match self.carried.erasure_coding().named(name) {
                Some(policy) => (&*policy.name, parts(policy).0, parts(policy).1),
                None if is_replication(name) => (hathi_formats::erasure_coding::REPLICATION, 3, 2),
                None => {
                    return Err(illegal(format!(
                        "The given erasure coding policy {name} does not exist."
                    )));
                }
            });
        }
        Ok(verify_topology(datanodes, racks, &policies))
    }
}

/// See [`Namespace::verify_erasure_coding_topology`]. Of each policy the name, the units, and how many of them are parity.
fn verify_topology(datanodes: u32, racks: u32, policies: &[(&str, u32, u32)]) -> (bool, String) {
    let least_nodes = policies.iter().map(|(_, units, _)| *units).max().unwrap_or(0);
    // No rack may have more blocks of a group than can be made again.
    let least_racks = policies
        .iter()
        .map(|(_, units, parity)| units.div_ceil((*parity).max(1)));
    let least_racks = least_racks.max().unwrap_or(0);
    if policies.is_empty() {
        return (true, "No erasure coding policy is given.".to_owned());
    }
    let names: Vec<_> = policies.iter().map(|(name, ..)| *name).collect();
    let names = names.join(", ");
    if datanodes < least_nodes {
        let text = format!(
            "{least_nodes} DataNodes are required for the erasure coding policies: {names}. \
             The number of DataNodes is only {datanodes}."
        );
        return (false, text);
    }
    if racks < least_racks {
        let text = format!(
            "{least_racks} racks are required for the erasure coding policies: {names}. \
             The number of racks is only {racks}."
        );
        return (false, text);
    }
    (true, format!("The cluster setup can support EC policies: {names}"))
}

impl Namespace {
    /// The policy with this id, whatever its state.
    #[must_use]
    pub fn erasure_coding_policy(&self, id: ErasureCodingPolicyId) -> Option<&Policy> {
        self.carried.erasure_coding().with_id(id)
    }

    /// All policies with their states, in the order of their names (`getErasureCodingPolicies`).
    pub fn erasure_coding_policies(&self) -> impl Iterator<Item = ErasureCodingPolicyProto> + '_ {
        let all = self.carried.erasure_coding();
        let state = |policy: &Policy| all.state(policy, &self.config.erasure_coding);
        all.by_name().map(move |policy| policy.to_wire_with(state(policy)))
    }

    /// The policies that can be used, in the order of their names.
    pub fn enabled_erasure_coding_policies(&self) -> impl Iterator<Item = &Policy> + '_ {
        let all = self.carried.erasure_coding();
        let config = &self.config.erasure_coding;
        all.by_name()
            .filter(move |policy| all.state(policy, config) == PolicyState::Enabled)
    }

    /// `ContentSummary.getErasureCodingPolicy` of a path, as of the snapshot that it names.
    #[must_use]
    pub fn erasure_coding_text(&self, iip: &InodesInPath<'_>) -> String {
        match (iip.last_slot(), self.past(iip)) {
            (None, _) => String::new(),
            (Some(slot), None) => self.erasure_coding_text_of(slot).to_owned(),
            (Some(slot), Some(past)) => past.erasure_coding_text_of(slot).to_owned(),
        }
    }
}

//! What the storage policy satisfier is to do (`satisfyStoragePolicy`, `getNextSPSPath`). It is a process of its own, as in
//! Hadoop since 3.3: it takes the inodes one by one, and removes the mark of each when its blocks are where they belong.

use super::border::{Answer, Once, Outcome};
use super::{ClientMachine, commit, io, no_safe_mode, plan_context};
use crate::context::CallContext;
use crate::{Namesystem, Role};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::InodeId;
use hathi_formats::proto::hdfs::{SatisfyStoragePolicyRequestProto, SatisfyStoragePolicyResponseProto};
use hathi_formats::proto::namenode::{GetNextSpsPathRequestProto, GetNextSpsPathResponseProto};
use std::collections::VecDeque;

/// `dfs.storage.policy.satisfier.*`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SatisfierConfig {
    /// Whether `mode` is `external`; otherwise it is `none`.
    pub external: bool,
    /// `max.outstanding.paths`
    pub paths_max: usize,
}

impl Default for SatisfierConfig {
    fn default() -> Self {
        SatisfierConfig {
            external: false,
            paths_max: 10_000,
        }
    }
}

/// The inodes that no satisfier has taken yet (`StoragePolicySatisfyManager`). It may be lost with the role: a new active
/// finds all marks in its namespace, those included that a satisfier is at.
#[derive(Debug, Default)]
pub(crate) struct Unsatisfied(VecDeque<InodeId>);

impl Unsatisfied {
    /// Of a new active.
    pub(crate) fn of(marked: Vec<InodeId>) -> Unsatisfied {
        Unsatisfied(marked.into())
    }
}

impl Namesystem {
    /// Number of marked inodes that no satisfier has taken yet (`PendingSPSPaths`).
    #[must_use]
    pub fn pending_satisfier_paths(&self) -> usize {
        self.unsatisfied.0.len()
    }
}

/// `satisfyStoragePolicy`
pub fn satisfy_storage_policy(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: SatisfyStoragePolicyRequestProto,
) -> Result<Once<SatisfyStoragePolicyResponseProto>, RemoteException> {
    no_safe_mode(ns, || format!("Cannot satisfy storage policy for {}", request.src))?;
    let SatisfierConfig { external, paths_max } = ns.config.satisfier;
    if !external {
        return Err(RemoteException::new(
            exceptions::UNSUPPORTED_OPERATION,
            "Cannot request to satisfy storage policy when storage policy satisfier feature has been disabled by admin. \
             Seek for an admin help to enable it or use Mover tool.",
        ));
    }
    if ns.unsatisfied.0.len() >= paths_max {
        return Err(io(format!(
            "Outstanding satisfier queue limit: {paths_max} exceeded, try later!"
        )));
    }
    let machine = ClientMachine::of(ctx);
    let plan = ns
        .namespace()
        .plan_satisfy_storage_policy(&plan_context(ctx, &machine), &request.src)?;
    let (marked, after) = commit(ns, plan)?;
    ns.unsatisfied.0.extend(marked);
    Ok(Once {
        answer: Answer::new(SatisfyStoragePolicyResponseProto {}, after),
        keep: true,
    })
}

/// `getNextSPSPath`: the inode that a satisfier looks at next. It is told once.
pub(crate) fn get_next_sps_path(
    ns: &mut Namesystem,
    ctx: &CallContext,
    _: GetNextSpsPathRequestProto,
) -> Outcome<GetNextSpsPathResponseProto> {
    ctx.check_superuser()?;
    if ns.role() != Role::Active {
        return Err(RemoteException::new(
            exceptions::STANDBY,
            "Not supported by Standby Namenode.",
        ));
    }
    if !ns.config.satisfier.external {
        return Err(io(
            "SPS service mode is NONE, so external SPS service is not allowed to fetch the path Ids",
        ));
    }
    let sps_path = ns.unsatisfied.0.pop_front().map(|inode| inode.0);
    Ok(Answer::new(
        GetNextSpsPathResponseProto { sps_path },
        ns.shown_everything(),
    ))
}

//! What the storage policy satisfier is to do (`satisfyStoragePolicy`, `getNextSPSPath`). It is a process of its own, as in
//! Hadoop since 3.3: it takes the inodes one by one, and removes the mark of each when its blocks are where they belong.

use super::border::{Answer, Once};
use super::{ClientMachine, commit, io, no_safe_mode, plan_context};
use crate::Namesystem;
use crate::context::CallContext;
use crate::satisfier::SatisfierConfig;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::{SatisfyStoragePolicyRequestProto, SatisfyStoragePolicyResponseProto};

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

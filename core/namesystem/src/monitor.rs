//! What the active does by itself about leases of files (Hadoop's `LeaseManager.Monitor`).

use crate::Namesystem;
use crate::calls::begin_recovery;
use crate::calls::internal_lease_holder;
use crate::context::CallContext;
use hathi_blockmanager::Now;
use smallvec::SmallVec;
use std::sync::Arc;

/// Files looked at in one round, so that the lock is held for a short while only.
const FILES_MAX: usize = 200;

/// Releases the leases of writers that have not renewed them for the hard limit; answers how many files were looked at.
pub fn check_leases(ns: &mut Namesystem, now: Now) -> usize {
    if ns.is_broken() || ns.blockmanager.in_safe_mode() || !ns.edit_log.is_open_for_write() {
        return 0;
    }
    let expired = ns.namespace.expired_leases(now.monotonic_ms, FILES_MAX);
    let ctx = CallContext {
        user: Arc::from(ns.config.superuser.as_str()),
        groups: Arc::from([]),
        superuser: true,
        client_ip: None,
        client_id: SmallVec::new(),
        call_id: -2,
        retry_count: 0,
        passed_on: None,
        now_ms: now.wall_ms,
        mono_ms: now.monotonic_ms,
    };
    let holder = internal_lease_holder(now.wall_ms);
    let count = expired.len();
    for (_, file) in expired {
        // A file that cannot be released now (a committed block lacks replicas) is found again in the next round.
        let Ok(plan) = ns
            .namespace
            .plan_release_lease(now.wall_ms, file, &holder, &ns.replicas())
        else {
            continue;
        };
        if ns.commit(&plan.ops).is_ok() {
            let _ = begin_recovery(ns, &ctx, &plan.reply);
        }
    }
    count
}

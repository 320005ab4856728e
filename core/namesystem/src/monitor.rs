//! What the active does by itself about the leases of files (Hadoop's `LeaseManager.Monitor`), and about recoveries of
//! last blocks that somebody has asked for.
//!
//! Hadoop begins a block recovery when it is asked, and after a failure waits for the next call or for the hard limit.
//! Here a recovery begins as soon as the DataNodes that may hold the block have reported, and again when an attempt has
//! expired.

use crate::calls::{begin_recovery, internal_lease_holder, policy_types};
use crate::context::CallContext;
use crate::{Namesystem, Role};
use hathi_blockmanager::Now;
use hathi_formats::ids::{InodeId, TxId};
use hathi_namespace::Namespace;
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// Number of files that one round looks at, so that it holds the lock for a short time only.
const FILES_MAX: usize = 200;
/// Number of remembered files: each takes 8 bytes and a look per round. A file beyond this number is found when its
/// lease passes the hard limit, or when its recovery is asked for once more.
const RECOVERIES_MAX: usize = 100_000;

/// Files whose last block must be recovered, and how far the rounds are. This is soft state: a new active finds the
/// files in its namespace, which knows truncated files and files whose lease was taken from the writer.
#[derive(Debug, Default)]
pub struct Recoveries {
    files: BTreeSet<u64>,
    /// The last one of `files` that a round has looked at.
    turn: u64,
    /// The last file with an expired lease that a round has looked at.
    expired_turn: u64,
}

impl Recoveries {
    /// The recoveries that a new active finds in its namespace.
    pub(crate) fn of(namespace: &Namespace) -> Recoveries {
        Recoveries {
            files: namespace
                .truncations()
                .chain(namespace.reassigned_leases())
                .map(|file| file.0)
                .take(RECOVERIES_MAX)
                .collect(),
            ..Recoveries::default()
        }
    }

    pub(crate) fn insert(&mut self, file: InodeId) {
        if self.files.len() < RECOVERIES_MAX {
            self.files.insert(file.0);
        }
    }

    pub(crate) fn remove(&mut self, file: InodeId) {
        self.files.remove(&file.0);
    }

    /// Panics when more files are remembered than allowed.
    pub(crate) fn check(&self) {
        assert!(self.files.len() <= RECOVERIES_MAX, "{} recoveries", self.files.len());
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The files of the next round.
    fn next_round(&mut self) -> Vec<InodeId> {
        let after = (Bound::Excluded(self.turn), Bound::Unbounded);
        let round: Vec<InodeId> = self
            .files
            .range(after)
            .chain(self.files.range(..=self.turn))
            .take(FILES_MAX)
            .map(|file| InodeId(*file))
            .collect();
        self.turn = round.last().map_or(0, |file| file.0);
        debug_assert!(round.len() <= self.files.len(), "no file has two turns in a round");
        round
    }
}

/// One round of the redundancy monitor. The storage policy of each file says where its replicas may go. Returns whether
/// there is more to do at once.
pub fn check_redundancy(ns: &mut Namesystem, now: Now, max_blocks: usize) -> bool {
    let (namespace, blockmanager) = ns.namespace_and_blockmanager();
    let policy = |file| policy_types(namespace.policy_of(file));
    blockmanager.redundancy_tick_by_policy(now, max_blocks, &policy)
}

/// Goes on with recoveries, and releases the leases of writers that have not renewed them for the hard limit. Returns
/// how many files it has looked at. Each round looks at other files than the one before, so that files that can't be
/// released do not hold up the others.
pub fn check_leases(ns: &mut Namesystem, now: Now) -> usize {
    if !may_release(ns) {
        return 0;
    }
    // Leases that are taken over in this round begin now.
    ns.namespace().note_time(now.monotonic_ms);
    resume_recoveries(ns, now);
    let after = InodeId(ns.recoveries.expired_turn);
    let expired = ns.namespace().expired_leases(now.monotonic_ms, after, FILES_MAX);
    debug_assert!(expired.len() <= FILES_MAX, "nobody waits longer for the lock");
    ns.recoveries.expired_turn = expired.last().map_or(0, |file| file.0);
    let holder = internal_lease_holder(ns.last_transition_ms);
    for &file in &expired {
        release(ns, now, file, Some(&holder));
    }
    expired.len()
}

/// Begins recoveries that waited for reports, or whose last attempt has expired. To be called after a full report.
/// Returns the last logged transaction, if there is one.
pub fn resume_recoveries(ns: &mut Namesystem, now: Now) -> Option<TxId> {
    if ns.recoveries.is_empty() || !may_release(ns) {
        return None;
    }
    ns.blockmanager_mut().note_time(now);
    let before = ns.edit_log().applied();
    for file in ns.recoveries.next_round() {
        release(ns, now, file, None);
    }
    let applied = ns.edit_log().applied();
    (applied != before).then_some(applied)
}

/// Whether this NameNode may change its namespace by itself.
pub(crate) fn may_release(ns: &Namesystem) -> bool {
    // One that has lost the journal still has an open log while it steps down, of which nothing leaves any more.
    ns.role() == Role::Active
        && !ns.is_broken()
        && !ns.blockmanager().in_safe_mode()
        && ns.edit_log().is_open_for_write()
}

/// The NameNode itself as a caller.
pub(crate) fn own_context(ns: &Namesystem, now: Now) -> CallContext {
    CallContext {
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
    }
}

fn release(ns: &mut Namesystem, now: Now, file: InodeId, new_holder: Option<&str>) {
    let ctx = own_context(ns, now);
    let plan = ns
        .namespace()
        .plan_release_lease(now.wall_ms, file, new_holder, &ns.replicas());
    match plan {
        Ok(plan) => {
            if ns.commit(&plan.ops).is_ok() {
                // "Wait" is an error only to a client.
                let _ = begin_recovery(ns, &ctx, &plan.reply);
            }
        }
        // A file with an expired lease gets another turn later.
        Err(_) => ns.recoveries.remove(file),
    }
}

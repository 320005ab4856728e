//! What an active does for snapshots by itself: it makes trash roots, and deletes snapshots that were marked
//! (`FSNamesystem.checkAndProvisionSnapshotTrashRoots`, `SnapshotDeletionGc`).

use crate::Namesystem;
use crate::calls::{ClientMachine, plan_context};
use crate::monitor::{may_release, own_context};
use hathi_blockmanager::Now;

/// `FSNamesystem.SHARED_TRASH_PERMISSION`: everybody has a trash there, and nobody another's.
const TRASH_MODE: u16 = 0o1777;

/// Whether trash roots are looked for: once after each change of the role, when safe mode is over.
#[must_use]
pub fn needs_trash_roots(ns: &Namesystem) -> bool {
    ns.namespace().config.snapshot_trash_roots
        && ns.trash_roots_made_ms != Some(ns.last_transition_ms)
        && may_release(ns)
}

/// Makes the trash root of each snapshottable directory that has none, and gives their paths. One that can't be made is
/// left out.
pub fn make_trash_roots(ns: &mut Namesystem, now: Now) -> Vec<String> {
    if !needs_trash_roots(ns) {
        return Vec::new();
    }
    ns.trash_roots_made_ms = Some(ns.last_transition_ms);
    let (ctx, machine) = (own_context(ns, now), ClientMachine::default());
    let mut made = Vec::new();
    for dir in ns.namespace().snapshottable_without_trash() {
        let path = format!("{}/.Trash", dir.trim_end_matches('/'));
        let plan = ns
            .namespace()
            .plan_mkdirs(&plan_context(&ctx, &machine), &path, TRASH_MODE, None, false);
        if plan.is_ok_and(|plan| ns.commit(&plan.ops).is_ok()) {
            made.push(path);
        }
    }
    debug_assert!(!needs_trash_roots(ns), "they are looked for once");
    made
}

/// Whether a snapshot that was marked can be deleted.
#[must_use]
pub fn has_snapshot_to_collect(ns: &Namesystem) -> bool {
    may_release(ns) && ns.namespace().plan_collect_snapshot(0).is_some()
}

/// Deletes a snapshot that was marked and is the oldest of its directory now, and gives its path.
pub fn collect_snapshot(ns: &mut Namesystem, now: Now) -> Option<String> {
    if !may_release(ns) {
        return None;
    }
    let plan = ns.namespace().plan_collect_snapshot(now.wall_ms)?;
    debug_assert_eq!(plan.ops.len(), 1, "one in each round");
    ns.commit(&plan.ops).ok()?;
    Some(plan.reply)
}

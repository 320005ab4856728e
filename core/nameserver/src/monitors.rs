//! When which periodic work of a NameNode is due (the monitor threads of Hadoop's `FSNamesystem`, `HeartbeatManager`,
//! `LeaseManager` and `BlockManager`).
//!
//! Invariant: a kind of work comes at most once in its period, and only in roles in which it has something to do. What
//! was not due for its role comes at once when the role has changed.

use hathi_namesystem::Role;

/// Period in ms in which calls that wait are looked at.
pub const TICK_MS: u64 = 50;
/// Shortest time in ms between two checks of heartbeats (`HeartbeatManager`).
const HEARTBEAT_CHECK_MS: u64 = 5000;
/// `dfs.namenode.lease-recheck-interval-ms`.
const LEASE_CHECK_MS: u64 = 2000;
/// Period in ms in which the last transaction is noted, so that edits can be kept by their age.
const EDITS_NOTED_MS: u64 = 60_000;
/// Period in ms in which the keys of delegation tokens are looked at (`ExpiredTokenRemover`: 5 s at most). It is short,
/// because a new active issues no tokens before it has one.
const SECRETS_MS: u64 = 500;
/// `dfs.namenode.redundancy.interval.seconds`, in ms.
const REDUNDANCY_MS: u64 = 3000;
/// Period in ms in which is looked whether a scan of cache directives is due.
const CACHING_MS: u64 = 1000;
/// Period in ms in which is looked whether safe mode is over, after which trash roots are made.
const TRASH_ROOTS_MS: u64 = 1000;

/// A kind of periodic work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Calls that wait at a standby, or for the report of a block, are looked at.
    ReviewCalls,
    /// DataNodes that are silent are found.
    CheckHeartbeats,
    /// Blocks with too few replicas are found.
    CheckRedundancy,
    /// The last transaction is noted.
    NoteEdits,
    /// Files of writers that are silent are closed.
    CheckLeases,
    /// Cache directives are looked at (`CacheReplicationMonitor`).
    CheckCaching,
    /// Keys of delegation tokens are made, and tokens that have expired are removed.
    KeepSecrets,
    /// A segment that is long enough is ended (`NameNodeEditLogRoller`).
    CheckSegment,
    /// Snapshottable directories get their trash roots (`FSNamesystem.checkAndProvisionSnapshotTrashRoots`).
    MakeTrashRoots,
    /// A snapshot that was marked as deleted goes (`SnapshotDeletionGc`).
    CollectSnapshots,
}

/// In which roles a kind of work is done.
#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    HasNamespace,
    Active,
}

impl When {
    fn includes(self, role: Role) -> bool {
        match self {
            When::Always => true,
            When::HasNamespace => has_namespace(role),
            When::Active => role == Role::Active,
        }
    }
}

/// Whether there is a namespace to work on in this role. Otherwise what was begun is of a namespace that is dropped.
#[must_use]
pub fn has_namespace(role: Role) -> bool {
    match role {
        Role::Standby | Role::BecomingActive | Role::Active => true,
        Role::Initializing | Role::SteppingDown => false,
    }
}

#[derive(Clone, Copy, Debug)]
struct Row {
    work: Work,
    when: When,
    every_ms: u64,
    due_ms: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Monitors {
    rows: [Row; 10],
}

impl Monitors {
    /// Everything is due at once. `segment_check_ms` is `dfs.namenode.edit.log.autoroll.check.interval.ms`, and
    /// `snapshot_gc_ms` is `dfs.namenode.snapshot.deletion.ordered.gc.period.ms`.
    #[must_use]
    pub fn new(segment_check_ms: u64, snapshot_gc_ms: u64) -> Monitors {
        let row = |work, when, every_ms| Row {
            work,
            when,
            every_ms,
            due_ms: 0,
        };
        Monitors {
            rows: [
                row(Work::ReviewCalls, When::Always, TICK_MS),
                row(Work::CheckHeartbeats, When::HasNamespace, HEARTBEAT_CHECK_MS),
                row(Work::CheckRedundancy, When::Active, REDUNDANCY_MS),
                row(Work::NoteEdits, When::HasNamespace, EDITS_NOTED_MS),
                row(Work::CheckLeases, When::Active, LEASE_CHECK_MS),
                row(Work::CheckCaching, When::Active, CACHING_MS),
                row(Work::KeepSecrets, When::Active, SECRETS_MS),
                row(Work::CheckSegment, When::Active, segment_check_ms),
                row(Work::MakeTrashRoots, When::Active, TRASH_ROOTS_MS),
                row(Work::CollectSnapshots, When::Active, snapshot_gc_ms),
            ],
        }
    }

    /// What is due now in this role. The shell does all of it.
    pub fn due(&mut self, role: Role, now_ms: u64) -> Vec<Work> {
        let mut due = Vec::new();
        for row in &mut self.rows {
            if row.when.includes(role) && now_ms >= row.due_ms {
                row.due_ms = now_ms.saturating_add(row.every_ms);
                debug_assert!(
                    row.every_ms == 0 || row.due_ms > now_ms,
                    "work is due once in its period"
                );
                due.push(row.work);
            }
        }
        debug_assert!(
            has_namespace(role) || due.iter().all(|work| *work == Work::ReviewCalls),
            "there is no namespace to work on"
        );
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_work_comes_once_in_its_period() {
        let mut monitors = Monitors::new(300_000, 100_000);
        let mut times = [0; 10];
        let kinds = monitors.rows.map(|row| row.work);
        for now_ms in 0..600_000 {
            for work in monitors.due(Role::Active, now_ms) {
                times[kinds.iter().position(|kind| *kind == work).unwrap()] += 1;
            }
        }
        assert_eq!(times, [12_000, 120, 200, 10, 300, 600, 1200, 2, 600, 6]);
    }

    #[test]
    fn only_an_active_checks_leases_redundancy_and_its_segment() {
        let mut monitors = Monitors::new(300_000, 100_000);
        assert_eq!(monitors.due(Role::Initializing, 0), [Work::ReviewCalls]);
        assert_eq!(monitors.due(Role::SteppingDown, TICK_MS), [Work::ReviewCalls]);
        assert_eq!(
            monitors.due(Role::Standby, TICK_MS),
            [Work::CheckHeartbeats, Work::NoteEdits]
        );
        assert_eq!(monitors.due(Role::BecomingActive, TICK_MS), []);
        let at_once = [
            Work::CheckRedundancy,
            Work::CheckLeases,
            Work::CheckCaching,
            Work::KeepSecrets,
            Work::CheckSegment,
            Work::MakeTrashRoots,
            Work::CollectSnapshots,
        ];
        assert_eq!(monitors.due(Role::Active, TICK_MS), at_once);
    }

    #[test]
    fn after_a_long_pause_nothing_is_done_twice() {
        let mut monitors = Monitors::new(1000, 1000);
        monitors.due(Role::Active, 0);
        assert_eq!(monitors.due(Role::Active, 10_000_000).len(), 10);
        assert_eq!(monitors.due(Role::Active, 10_000_000), []);
    }
}

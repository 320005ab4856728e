//! In what rhythm a standby follows the journal, and what follows when it can't (Hadoop's `EditLogTailer.doWork`).

use crate::reading::Progress;
use hathi_namesystem::Role;
use hathi_namesystem::standby_health::Aspect;

/// Pause in ms after a step that brought something. Under load each batch is news, and a call for each would cost the
/// JournalNodes and the standby more than the edits themselves.
const PAUSE_MS: u64 = 20;
/// Longest pause in ms of a standby whose journal does not let it wait for news.
const PAUSE_MAX_MS: u64 = 1000;
/// Pause in ms after a failure.
const RETRY_MS: u64 = 500;
/// How often a standby proves what it has applied, in ms. Small against the time between two checkpoints, and three small
/// calls.
const PROVE_EVERY_MS: u64 = 1000;

/// How a step of following has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Well. `waits`: the journal let it wait for news.
    Well {
        /// What it brought.
        progress: Progress,
        /// Whether it has waited.
        waits: bool,
    },
    /// The next edits are in no journal any more.
    Purged,
    /// The namespace here is not what the journal holds, or can't become it.
    Unusable,
    /// Edits can't be read.
    Unreadable,
    /// The journal can't be reached.
    Unreachable,
}

/// What follows from the end of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Pause in ms before the next step.
    pub pause_ms: u64,
    /// What is not well with this NameNode because of it.
    pub unwell: Option<Aspect>,
    /// Whether the namespace has to be loaded anew, as soon as that may be tried.
    pub loads: bool,
}

/// Whether a NameNode regularly asks the active to end its segment (`EditLogTailer.triggerActiveLogRoll`): a standby that
/// sees only finalized segments, or can prove only those. That is the case with Java JournalNodes without in-progress
/// tailing, and with a shared directory. `knows_epochs`: the journal tells what proves a history while a segment is open.
#[must_use]
pub fn needs_rolls(role: Role, knows_epochs: bool) -> bool {
    role == Role::Standby && !knows_epochs
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Following {
    period_ms: u64,
    prove_at_ms: u64,
}

impl Following {
    /// With `dfs.ha.tail-edits.period` in ms. Nothing is proven yet.
    #[must_use]
    pub fn new(period_ms: u64) -> Following {
        Following {
            period_ms: period_ms.clamp(PAUSE_MS, PAUSE_MAX_MS),
            prove_at_ms: 0,
        }
    }

    /// Whether what was applied is proven before the next step.
    #[must_use]
    pub fn proves(&self, now_ms: u64) -> bool {
        now_ms >= self.prove_at_ms
    }

    /// A proof has ended well.
    pub fn proven(&mut self, now_ms: u64) {
        self.prove_at_ms = now_ms + PROVE_EVERY_MS;
    }

    /// What follows from the end of a step.
    #[must_use]
    pub fn after(&self, ended: Ended) -> Next {
        debug_assert!(self.period_ms >= PAUSE_MS, "a standby does not spin");
        let (pause_ms, unwell, loads) = match ended {
            Ended::Well {
                progress: Progress::Some,
                ..
            } => (PAUSE_MS, None, false),
            Ended::Well {
                progress: Progress::Nothing,
                waits: true,
            } => (0, None, false),
            Ended::Well {
                progress: Progress::Nothing,
                waits: false,
            } => (self.period_ms, None, false),
            // They may turn up yet, with a JournalNode that comes back.
            Ended::Purged => (RETRY_MS, Some(Aspect::Reading), true),
            Ended::Unusable => (RETRY_MS, Some(Aspect::Loading), true),
            Ended::Unreadable => (RETRY_MS, Some(Aspect::Reading), false),
            // Other NameNodes do not reach it either, or this one is not elected.
            Ended::Unreachable => (RETRY_MS, None, false),
        };
        debug_assert!(unwell.is_some() || !loads, "only who is not well loads anew");
        Next {
            pause_ms,
            unwell,
            loads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(ended: Ended) -> Next {
        Following::new(60_000).after(ended)
    }

    #[test]
    fn a_standby_asks_at_once_only_where_it_has_waited() {
        let pause = |progress, waits| after(Ended::Well { progress, waits }).pause_ms;
        assert_eq!(pause(Progress::Nothing, true), 0);
        assert_eq!(pause(Progress::Some, true), PAUSE_MS);
        assert_eq!(pause(Progress::Some, false), PAUSE_MS);
        assert_eq!(pause(Progress::Nothing, false), PAUSE_MAX_MS);
        let eager = Following::new(0);
        let nothing = Ended::Well {
            progress: Progress::Nothing,
            waits: false,
        };
        assert_eq!(eager.after(nothing).pause_ms, PAUSE_MS, "it does not spin");
    }

    #[test]
    fn only_a_standby_that_can_not_prove_an_open_segment_has_it_ended() {
        assert!(needs_rolls(Role::Standby, false));
        assert!(!needs_rolls(Role::Standby, true));
        assert!(!needs_rolls(Role::Active, false) && !needs_rolls(Role::Initializing, false));
    }

    #[test]
    fn only_what_a_load_may_mend_leads_to_one() {
        let next = |ended| (after(ended).unwell, after(ended).loads);
        assert_eq!(next(Ended::Unusable), (Some(Aspect::Loading), true));
        assert_eq!(next(Ended::Purged), (Some(Aspect::Reading), true));
        assert_eq!(next(Ended::Unreadable), (Some(Aspect::Reading), false));
        assert_eq!(next(Ended::Unreachable), (None, false));
        assert!(after(Ended::Unreachable).pause_ms > 0);
    }

    #[test]
    fn what_was_applied_is_proven_at_first_and_then_once_a_second() {
        let mut following = Following::new(0);
        assert!(following.proves(0));
        following.proven(5);
        assert!(!following.proves(5 + PROVE_EVERY_MS - 1));
        assert!(following.proves(5 + PROVE_EVERY_MS));
    }
}

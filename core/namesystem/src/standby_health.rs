//! Problems of a NameNode that does not serve, as its operator (log, `/jmx`) and its controller (`monitorHealth`) are
//! told. Hadoop's standby ends its process instead.
//!
//! Invariants: the problem of an aspect stays until that aspect works again. A lasting problem is logged when it begins
//! or changes, and then once in [`LOG_EVERY_MS`]. After a load that failed like the one before, the next one is not
//! tried at once.

use crate::divergence::Divergence;
use std::collections::BTreeMap;

/// Time between two log lines about the same problem.
pub const LOG_EVERY_MS: u64 = 60_000;
/// Pause after a failure.
const RETRY_MS: u64 = 500;
/// Pause after the same failure once more. A load takes memory and time, and the journal hardly changes meanwhile.
const RETRY_SAME_MS: u64 = 30_000;

/// Number of failed reads in a row that make a NameNode unhealthy.
const READING_FAILURES: u32 = 3;

/// An aspect of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// The image and the edits become a namespace.
    Loading,
    /// The next edits can be read.
    Reading,
    /// The applied transactions are the journal's.
    History,
}

impl Aspect {
    /// The name in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Aspect::Loading => "loading",
            Aspect::Reading => "reading",
            Aspect::History => "history",
        }
    }
}

#[derive(Clone, Debug)]
struct Problem {
    what: String,
    times: u32,
    logged_ms: u64,
}

/// Health of a NameNode that does not serve; see the module.
#[derive(Clone, Debug, Default)]
pub struct StandbyHealth {
    problems: BTreeMap<Aspect, Problem>,
    /// When a problem last led to a load.
    loaded_ms: Option<u64>,
    /// Whether the namespace is the active's.
    pub divergence: Divergence,
}

impl StandbyHealth {
    /// Notes a failure. Returns whether it should be logged.
    pub fn failed(&mut self, aspect: Aspect, what: String, now_ms: u64) -> bool {
        match self.problems.get_mut(&aspect) {
            Some(known) if known.what == what => {
                debug_assert!(known.logged_ms <= now_ms, "the monotonic clock does not go back");
                known.times = known.times.saturating_add(1);
                let due = now_ms >= known.logged_ms.saturating_add(LOG_EVERY_MS);
                if due {
                    known.logged_ms = now_ms;
                }
                due
            }
            _ => {
                let problem = Problem {
                    what,
                    times: 1,
                    logged_ms: now_ms,
                };
                self.problems.insert(aspect, problem);
                true
            }
        }
    }

    /// The aspect works.
    pub fn well(&mut self, aspect: Aspect) {
        self.problems.remove(&aspect);
    }

    /// How long to wait before the next attempt.
    #[must_use]
    pub fn retry_ms(&self, aspect: Aspect) -> u64 {
        match self.problems.get(&aspect) {
            Some(problem) if problem.times > 1 => RETRY_SAME_MS,
            _ => RETRY_MS,
        }
    }

    /// Whether a standby that found that it must load anew may do so now. It does not load again and again when that
    /// does not help.
    pub fn may_load(&mut self, now_ms: u64) -> bool {
        let may = self
            .loaded_ms
            .is_none_or(|at| now_ms >= at.saturating_add(RETRY_SAME_MS));
        if may {
            self.loaded_ms = Some(now_ms);
        }
        may
    }

    /// The reason why this NameNode is not healthy; `None` when it is healthy.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        let lasts = |(aspect, problem): &(&Aspect, &Problem)| {
            // One damaged answer is no problem, because another JournalNode's may be whole.
            **aspect != Aspect::Reading || problem.times >= READING_FAILURES
        };
        let mut lasting = self.problems.iter().filter(lasts);
        let lasting = lasting.next().map(|(_, problem)| problem.what.as_str());
        lasting.or_else(|| self.divergence.difference().map(|known| known.what.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safety_n4_a_load_that_does_not_help_is_not_repeated_at_once() {
        let mut health = StandbyHealth::default();
        assert!(health.may_load(1000));
        assert!(!health.may_load(1500));
        health.well(Aspect::Loading);
        assert!(
            !health.may_load(999 + RETRY_SAME_MS),
            "it loaded well, and found the same"
        );
        assert!(health.may_load(1000 + RETRY_SAME_MS));
    }

    #[test]
    fn a_single_answer_that_can_not_be_read_is_no_illness() {
        let mut health = StandbyHealth::default();
        for times in 1..=READING_FAILURES {
            assert_eq!(health.problem(), None, "{times}");
            health.failed(Aspect::Reading, "damaged".to_owned(), 0);
        }
        assert!(health.problem().is_some());
    }

    fn failed(health: &mut StandbyHealth, what: &str, now_ms: u64) -> bool {
        health.failed(Aspect::Loading, what.to_owned(), now_ms)
    }

    #[test]
    fn safety_n3_a_replay_that_fails_again_is_said_once_and_not_tried_at_once() {
        let mut health = StandbyHealth::default();
        assert!(failed(&mut health, "transaction 7 does not apply", 1000));
        assert_eq!(health.retry_ms(Aspect::Loading), RETRY_MS);
        assert!(!failed(&mut health, "transaction 7 does not apply", 2000));
        assert_eq!(health.retry_ms(Aspect::Loading), RETRY_SAME_MS);
        assert!(failed(&mut health, "transaction 7 does not apply", 1000 + LOG_EVERY_MS));
        assert!(failed(&mut health, "transaction 9 does not apply", 1001 + LOG_EVERY_MS));
        assert_eq!(health.problem(), Some("transaction 9 does not apply"));
        health.well(Aspect::Reading);
        assert!(health.problem().is_some(), "that something else works is no answer");
        health.well(Aspect::Loading);
        assert_eq!(health.problem(), None);
    }
}

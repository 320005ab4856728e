//! Whether a NameNode is well, as its failover controller is told (`HAServiceProtocol.monitorHealth`,
//! `NameNode.monitorHealth`), and whether it is ready, as `/health/ready` is told.
//!
//! Invariants: the first check that fails is the answer, and nothing behind it is looked at: to ask for room may take as
//! long as a disk hangs, and the namespace's lock is not free where a thread stands still. What is ready serves calls:
//! only an active with its lease and a standby that follows are.

use hathi_namesystem::Role;

/// A standby that lags longer than this is not ready, in ms.
const LAG_MAX_MS: u64 = 10_000;

/// What the checks look at.
pub trait HealthSource {
    /// What is known to be wrong while this NameNode does not serve.
    fn problem(&self) -> Option<String>;
    /// The role.
    fn role(&self) -> Role;
    /// Whether a test wants this NameNode to call itself unhealthy.
    fn is_unhealthy_by_hook(&self) -> bool;
    /// Whether every thread that serves calls has lately done so.
    fn serves(&self) -> bool;
    /// Whether an edit was applied by half.
    fn is_broken(&self) -> bool;
    /// Which volumes are too short of room ([`crate::resources::problem`]).
    fn shortage(&self) -> Option<String>;
    /// Whether safe mode is on.
    fn in_safe_mode(&self) -> bool;
}

/// Why a NameNode is not well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unhealthy {
    /// What is known to be wrong while this NameNode does not serve.
    #[error("{0}")]
    Problem(String),
    /// A test wants it.
    #[error("A debug hook wants this NameNode to be unhealthy")]
    ByHook,
    /// It would lose its lease at once.
    #[error("A thread that serves calls stands still")]
    StandsStill,
    /// An edit was applied by half.
    #[error("An edit failed to apply; the namespace is loaded anew")]
    Broken,
    /// Volumes are short of room.
    #[error("{0}")]
    NoRoom(String),
    /// `dfs.ha.nn.not-become-active-in-safemode`
    #[error("The NameNode is configured to report UNHEALTHY to ZKFC in Safemode.")]
    SafeMode,
}

/// Checks one thing after the other. `not_active_in_safe_mode`: whether safe mode counts as unhealthy.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(source: &impl HealthSource, not_active_in_safe_mode: bool) -> Result<(), Unhealthy> {
    // Also while it loads, because the load may fail for this very reason.
    if let Some(problem) = source.problem() {
        return Err(Unhealthy::Problem(problem));
    }
    if source.role() == Role::Initializing {
        return Ok(());
    }
    if source.is_unhealthy_by_hook() {
        return Err(Unhealthy::ByHook);
    }
    if !source.serves() {
        return Err(Unhealthy::StandsStill);
    }
    if source.is_broken() {
        return Err(Unhealthy::Broken);
    }
    if let Some(shortage) = source.shortage() {
        return Err(Unhealthy::NoRoom(shortage));
    }
    if not_active_in_safe_mode && source.in_safe_mode() {
        return Err(Unhealthy::SafeMode);
    }
    Ok(())
}

/// What it depends on whether a NameNode is ready.
#[derive(Clone, Copy, Debug)]
pub struct Readiness<'a> {
    /// Its role.
    pub role: Role,
    /// What is known to be wrong.
    pub problem: Option<&'a str>,
    /// Whether its read lease lasts.
    pub is_lease_held: bool,
    /// How far it is behind the journal, ms.
    pub lag_ms: u64,
}

impl Readiness<'_> {
    /// Why the NameNode is not ready. Empty: it is ready.
    #[must_use]
    pub fn reasons_against(&self) -> Vec<String> {
        let mut reasons: Vec<String> = self.problem.iter().map(|problem| (*problem).to_owned()).collect();
        match self.role {
            Role::Initializing => reasons.push("the namespace is being loaded".to_owned()),
            Role::BecomingActive => reasons.push("this NameNode is becoming active".to_owned()),
            Role::SteppingDown => reasons.push("this NameNode is stepping down".to_owned()),
            Role::Active if !self.is_lease_held => reasons.push("the read lease is not held".to_owned()),
            Role::Active => {}
            Role::Standby if self.lag_ms > LAG_MAX_MS => {
                reasons.push(format!("this standby is {} ms behind the journal", self.lag_ms));
            }
            Role::Standby => {}
        }
        debug_assert!(
            !reasons.is_empty() || matches!(self.role, Role::Active | Role::Standby),
            "only these roles serve calls"
        );
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// What is wrong, by name, and what was looked at.
    struct Source {
        wrong: Vec<&'static str>,
        role: Role,
        looked: RefCell<Vec<&'static str>>,
    }

    impl Source {
        fn of(wrong: &[&'static str], role: Role) -> Source {
            Source {
                wrong: wrong.to_vec(),
                role,
                looked: RefCell::default(),
            }
        }

        fn has(&self, what: &'static str) -> bool {
            self.looked.borrow_mut().push(what);
            self.wrong.contains(&what)
        }
    }

    impl HealthSource for Source {
        fn problem(&self) -> Option<String> {
            self.has("problem").then(|| "no image".to_owned())
        }
        fn role(&self) -> Role {
            self.role
        }
        fn is_unhealthy_by_hook(&self) -> bool {
            self.has("told")
        }
        fn serves(&self) -> bool {
            !self.has("stands still")
        }
        fn is_broken(&self) -> bool {
            self.has("broken")
        }
        fn shortage(&self) -> Option<String> {
            self.has("no room").then(|| "a is full".to_owned())
        }
        fn in_safe_mode(&self) -> bool {
            self.has("safe mode")
        }
    }

    const ALL: [&str; 6] = ["problem", "told", "stands still", "broken", "no room", "safe mode"];

    #[test]
    fn the_first_thing_that_is_wrong_is_told_and_nothing_behind_it_is_looked_at() {
        let told = [
            Unhealthy::Problem("no image".to_owned()),
            Unhealthy::ByHook,
            Unhealthy::StandsStill,
            Unhealthy::Broken,
            Unhealthy::NoRoom("a is full".to_owned()),
            Unhealthy::SafeMode,
        ];
        for (place, told) in told.into_iter().enumerate() {
            let source = Source::of(&ALL[place..], Role::Active);
            assert_eq!(check(&source, true), Err(told));
            assert_eq!(*source.looked.borrow(), ALL[..=place]);
        }
        let well = Source::of(&[], Role::Standby);
        assert_eq!(check(&well, true), Ok(()));
        assert_eq!(*well.looked.borrow(), ALL);
    }

    #[test]
    fn safe_mode_is_unhealthy_only_where_it_is_configured_so() {
        assert_eq!(check(&Source::of(&["safe mode"], Role::Active), false), Ok(()));
    }

    #[test]
    fn while_it_loads_only_a_known_problem_is_unhealthy() {
        let loading = Source::of(&ALL[1..], Role::Initializing);
        assert_eq!(check(&loading, true), Ok(()));
        assert_eq!(*loading.looked.borrow(), ["problem"]);
        assert!(check(&Source::of(&ALL, Role::Initializing), true).is_err());
    }

    #[test]
    fn ready_is_an_active_with_its_lease_and_a_standby_that_follows() {
        for (role, is_lease_held, lag_ms, ready) in [
            (Role::Active, true, u64::MAX, true),
            (Role::Active, false, 0, false),
            (Role::Standby, false, LAG_MAX_MS, true),
            (Role::Standby, false, LAG_MAX_MS + 1, false),
            (Role::Initializing, true, 0, false),
            (Role::BecomingActive, true, 0, false),
            (Role::SteppingDown, true, 0, false),
        ] {
            let mut readiness = Readiness {
                role,
                problem: None,
                is_lease_held,
                lag_ms,
            };
            assert_eq!(readiness.reasons_against().is_empty(), ready, "{readiness:?}");
            readiness.problem = Some("no image");
            let reasons = readiness.reasons_against();
            assert_eq!(reasons.len(), 1 + usize::from(!ready), "{reasons:?}");
            assert_eq!(reasons[0], "no image");
        }
    }
}

//! Changes of the role, one after the other: loading, following, becoming active, stepping down (Hadoop's
//! `NameNode.NameNodeHAContext`, `ActiveState`, `StandbyState` and `FSNamesystem.startActiveServices`).
//!
//! The order of the steps is the safety argument of a failover:
//!
//! 1. nothing is tailed any more, so that only this machine changes the namespace;
//! 2. this NameNode is the writer, of an epoch that a majority has promised, and the journal is recovered;
//! 3. every edit of the recovered journal is applied;
//! 4. the edits applied before are proven to be those that the journal holds;
//! 5. only then the role becomes active, in a life of its own, in which replies may wait;
//! 6. the caller is answered when the first transaction of that life is durable.
//!
//! Invariants: one step is under way at a time; the gate is open exactly while the role is active or stepping down; a
//! namespace that has changes without a quorum, or an op that failed, is loaded anew before it has another role; nobody
//! becomes active whose namespace is known to differ from the active's.
//!
//! Hadoop's NameNode ends its process where this one drops its namespace and loads it again.

mod activation;
mod loading;
mod messages;
mod stepping_down;

pub use messages::{Action, Event, News, Orders, Place, Problem, ProblemKind, Step};

use activation::{Activation, Attempt};
use hathi_formats::exceptions::RemoteException;
use hathi_namesystem::Role;
use loading::Loading;

/// What the configuration says.
#[derive(Clone, Copy, Debug)]
pub struct RoleChangesConfig {
    /// There is no other NameNode, and no standby: this one is active as soon as it has loaded.
    pub is_single: bool,
    /// `dfs.ha.nn.not-become-active-in-safemode`
    pub not_active_in_safe_mode: bool,
    /// Length of the JournalNodes' read lease.
    pub lease_ms: u32,
}

/// What comes after the lease was given back.
#[derive(Debug)]
enum Then {
    Load,
    Follow,
}

#[derive(Debug)]
enum Phase<D> {
    /// Nothing is under way.
    Rest,
    Loading(Loading),
    Activating(Activation, Attempt<D>),
    /// The last segment is being finished.
    Finishing(D),
    Resigning(Then, Option<(D, Result<(), RemoteException>)>),
}

/// See the module.
#[derive(Debug)]
pub struct RoleChanges<D> {
    config: RoleChangesConfig,
    phase: Phase<D>,
    load_began_ms: u64,
}

impl<D> RoleChanges<D> {
    /// Nothing has begun.
    #[must_use]
    pub fn new(config: RoleChangesConfig) -> Self {
        RoleChanges {
            config,
            phase: Phase::Rest,
            load_began_ms: 0,
        }
    }

    /// Whether the next event is the end of a step.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !matches!(self.phase, Phase::Rest)
    }

    /// An event. Ends of steps come exactly after their steps, all other events while no step is under way.
    pub fn on<R>(&mut self, event: Event<D>, place: &mut Place<'_, R>) -> Orders<R, D> {
        let mut actions = Vec::new();
        let step = match (std::mem::replace(&mut self.phase, Phase::Rest), event) {
            (Phase::Rest, event) => self.leave_rest(event, place, &mut actions),
            (Phase::Loading(loading), event) => self.load(loading, event, place, &mut actions),
            (Phase::Activating(activation, attempt), event) => {
                self.activate(activation, attempt, event, place, &mut actions)
            }
            (Phase::Finishing(by), event) => {
                if let Event::Failed(problem) = event {
                    actions.push(Action::Tell(News::NotFinished(problem.what)));
                }
                self.leave("asked to become standby", Some(by), place, &mut actions)
            }
            (Phase::Resigning(then, answer), _) => {
                actions.extend(answer.map(|(by, result)| Action::Answer(by, result)));
                match then {
                    Then::Load => self.begin_loading(),
                    Then::Follow => {
                        actions.push(Action::Follow);
                        None
                    }
                }
            }
        };
        debug_assert_eq!(step.is_some(), self.is_busy(), "a step is under way, or none is");
        debug_assert!(
            place.gate.is_empty() || matches!(place.ns.role(), Role::Active | Role::SteppingDown),
            "replies wait for an active only"
        );
        Orders { actions, step }
    }

    fn leave_rest<R>(
        &mut self,
        event: Event<D>,
        place: &mut Place<'_, R>,
        actions: &mut Vec<Action<R, D>>,
    ) -> Option<Step> {
        match event {
            Event::Started => self.begin_loading(),
            // It was said of the namespace that was followed then. An active has proven its own since.
            Event::Unusable if place.ns.role() == Role::Standby => self.begin_loading(),
            Event::Unusable => None,
            Event::Asked {
                to_active: true,
                is_patient,
                by,
            } => self.begin_activation(is_patient, by, place, actions),
            Event::Asked { by, .. } => self.begin_finishing(by, place, actions),
            Event::WriterLost(reason) => {
                actions.push(Action::Tell(News::WriterLost(reason.clone())));
                if self.config.is_single {
                    // Nobody else can serve, so it ends with what is wrong, as Hadoop's does.
                    actions.push(Action::End);
                    return None;
                }
                // It may be news of a writer that has resigned since.
                if place.ns.role() != Role::Active {
                    return None;
                }
                if let Err(error) = place.ns.begin_stepping_down() {
                    debug_assert!(false, "an active can step down: {error}");
                    return None;
                }
                self.leave(&reason, None, place, actions)
            }
            Event::Done | Event::Loaded(_) | Event::Recovered { .. } | Event::Failed(_) => {
                debug_assert!(false, "a step has ended that was not under way");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;

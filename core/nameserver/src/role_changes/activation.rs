//! A standby becomes active.

use super::loading::unhealthy;
use super::messages::{Action, Event, News, Place, Problem, ProblemKind, Step};
use super::{Phase, RoleChanges, Then};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{Epoch, TxId};
use hathi_namesystem::{Life, Role};

/// Before another try while somebody else's read lease runs out.
pub(super) const LEASE_RETRY_MS: u64 = 50;

/// A change to active.
#[derive(Debug)]
pub(super) struct Attempt<D> {
    /// Who asked; nobody did where there is no other NameNode.
    by: Option<D>,
    is_patient: bool,
    started_us: u64,
    /// When a lease that is held is not waited for any more.
    give_up_ms: u64,
    epoch: Epoch,
    last: Option<TxId>,
    recovered_us: u64,
}

/// The step of an activation that is under way.
#[derive(Debug)]
pub(super) enum Activation {
    Stop,
    Recover,
    LeasePause,
    CatchUp,
    Prove,
    FirstEdit(TxId),
}

impl<D> RoleChanges<D> {
    pub(super) fn attempt<R>(&self, is_patient: bool, by: Option<D>, place: &Place<'_, R>) -> Attempt<D> {
        Attempt {
            by,
            is_patient,
            started_us: place.now_us,
            give_up_ms: place.now.monotonic_ms + 2 * u64::from(self.config.lease_ms),
            epoch: Epoch(0),
            last: None,
            recovered_us: 0,
        }
    }

    fn go_on(&mut self, activation: Activation, attempt: Attempt<D>, step: Step) -> Option<Step> {
        self.phase = Phase::Activating(activation, attempt);
        Some(step)
    }

    pub(super) fn begin_activation<R>(
        &mut self,
        is_patient: bool,
        by: D,
        place: &mut Place<'_, R>,
        actions: &mut Vec<Action<R, D>>,
    ) -> Option<Step> {
        let refusal = match place.ns.role() {
            Role::Active => {
                actions.push(Action::Answer(by, Ok(())));
                return None;
            }
            Role::Standby if let Some(known) = place.health.divergence.difference() => Some(known.what.clone()),
            Role::Standby if self.config.not_active_in_safe_mode && place.ns.blockmanager().in_safe_mode() => {
                Some("NameNode still not leave safemode".to_owned())
            }
            Role::Standby => place.ns.begin_activation().err().map(|error| error.to_string()),
            role => Some(format!("cannot become active while {role:?}")),
        };
        if let Some(why) = refusal {
            actions.push(Action::Answer(
                by,
                Err(RemoteException::new(exceptions::SERVICE_FAILED, why)),
            ));
            return None;
        }
        actions.push(Action::CancelCheckpoint);
        let attempt = self.attempt(is_patient, Some(by), place);
        self.go_on(Activation::Stop, attempt, Step::StopTailing)
    }

    pub(super) fn recover(&mut self, attempt: Attempt<D>) -> Option<Step> {
        self.go_on(Activation::Recover, attempt, Step::Recover)
    }

    pub(super) fn activate<R>(
        &mut self,
        activation: Activation,
        mut attempt: Attempt<D>,
        event: Event<D>,
        place: &mut Place<'_, R>,
        actions: &mut Vec<Action<R, D>>,
    ) -> Option<Step> {
        match (activation, event) {
            (Activation::Stop, Event::Done) | (Activation::LeasePause, _) => self.recover(attempt),
            (Activation::Recover, Event::Failed(problem))
                if problem.kind == ProblemKind::LeaseHeld
                    && attempt.is_patient
                    && place.now.monotonic_ms < attempt.give_up_ms =>
            {
                self.go_on(Activation::LeasePause, attempt, Step::Pause(LEASE_RETRY_MS))
            }
            (Activation::Recover, Event::Recovered { epoch, last }) => {
                attempt.recovered_us = place.now_us;
                (attempt.epoch, attempt.last) = (epoch, last);
                actions.push(Action::Tell(News::Recovered {
                    epoch,
                    took_us: attempt.recovered_us.saturating_sub(attempt.started_us),
                }));
                match last {
                    Some(last) if last > place.ns.edit_log().applied() => {
                        self.go_on(Activation::CatchUp, attempt, Step::CatchUpTo(last))
                    }
                    last => self.go_on(Activation::Prove, attempt, Step::ProveBeforeActive(epoch, last)),
                }
            }
            (Activation::CatchUp, Event::Done) => {
                let (epoch, last) = (attempt.epoch, attempt.last);
                self.go_on(Activation::Prove, attempt, Step::ProveBeforeActive(epoch, last))
            }
            (Activation::Prove, Event::Done) => match self.open(&attempt, place) {
                Ok((first, life)) => {
                    actions.extend([Action::Ship(life), Action::ServeKeptCalls]);
                    self.go_on(Activation::FirstEdit(first), attempt, Step::AwaitSynced(first))
                }
                Err(what) => self.not_active(attempt, Problem::passing(what), place, actions),
            },
            (Activation::FirstEdit(first), Event::Done) => {
                actions.push(Action::Tell(News::Active {
                    epoch: attempt.epoch,
                    first,
                    recovery_us: attempt.recovered_us.saturating_sub(attempt.started_us),
                    took_us: place.now_us.saturating_sub(attempt.started_us),
                }));
                actions.extend(attempt.by.map(|by| Action::Answer(by, Ok(()))));
                None
            }
            (_, Event::Failed(problem)) => self.not_active(attempt, problem, place, actions),
            (_, _) => {
                debug_assert!(false, "a step of an activation has ended with what another one gives");
                let problem = Problem::passing("a step ended with what another one gives".to_owned());
                self.not_active(attempt, problem, place, actions)
            }
        }
    }

    /// The role becomes active; answers the first transaction of the new life.
    fn open<R>(&self, attempt: &Attempt<D>, place: &mut Place<'_, R>) -> Result<(TxId, Life), String> {
        let applied = place.ns.edit_log().applied();
        // Found while this change was under way.
        if let Some(known) = place.health.divergence.difference() {
            return Err(known.what.clone());
        }
        if self.config.is_single && applied < place.max_seen_txid {
            return Err(format!(
                "Gap in transactions. Expected to be able to read up until at least txid {} but unable to find any edit logs \
                 containing txid {}",
                place.max_seen_txid,
                applied.next()
            ));
        }
        debug_assert!(
            attempt.last.is_none_or(|last| last <= applied),
            "an active has applied all that was recovered"
        );
        let first = place.ns.start_active(place.now).map_err(|error| error.to_string())?;
        if place.another_was_active {
            place.ns.take_over_blocks();
        }
        let life = place.ns.life().clone();
        place.gate.open(life.clone());
        Ok((first, life))
    }

    fn not_active<R>(
        &mut self,
        attempt: Attempt<D>,
        problem: Problem,
        place: &mut Place<'_, R>,
        actions: &mut Vec<Action<R, D>>,
    ) -> Option<Step> {
        let (kind, what) = (problem.kind, problem.what.clone());
        actions.push(Action::Tell(News::NotActive(what.clone())));
        let Some(by) = attempt.by else {
            // The only NameNode.
            actions.push(Action::End);
            return None;
        };
        let failed = RemoteException::new(exceptions::SERVICE_FAILED, format!("Failed to become active: {what}"));
        let answer = Some((by, Err(failed)));
        let then = if place.ns.role() == Role::Active {
            // The writer was lost before its first transaction was durable.
            if let Err(error) = place.ns.begin_stepping_down() {
                debug_assert!(false, "an active can step down: {error}");
            }
            self.close(&what, place, actions)
        } else if kind.needs_load() {
            unhealthy(problem, place, actions);
            Then::Load
        } else {
            match place.ns.become_standby() {
                Ok(()) => Then::Follow,
                Err(_) => Then::Load,
            }
        };
        self.phase = Phase::Resigning(then, answer);
        Some(Step::Resign)
    }
}

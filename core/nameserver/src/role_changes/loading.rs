//! Image and edits become a namespace.

use super::messages::{Action, Event, News, Place, Problem, ProblemKind, Step};
use super::{Phase, RoleChanges};
use hathi_namesystem::standby_health::Aspect;

/// Before another try to read a journal that can't be read.
pub(super) const READ_RETRY_MS: u64 = 500;

/// The step of a load that is under way.
#[derive(Debug)]
pub(super) enum Loading {
    Stop,
    Read,
    ProveImage,
    CatchUp,
    ReadAgain,
    ProveEdits,
    FetchImage,
    Pause,
}

impl<D> RoleChanges<D> {
    fn enter(&mut self, loading: Loading, step: Step) -> Option<Step> {
        self.phase = Phase::Loading(loading);
        Some(step)
    }

    pub(super) fn begin_loading(&mut self) -> Option<Step> {
        self.enter(Loading::Stop, Step::StopTailing)
    }

    pub(super) fn load<R>(
        &mut self,
        loading: Loading,
        event: Event<D>,
        place: &mut Place<'_, R>,
        actions: &mut Vec<Action<R, D>>,
    ) -> Option<Step> {
        match (loading, event) {
            (Loading::Stop, _) => {
                self.load_began_ms = place.now.monotonic_ms;
                let life = place.ns.begin_loading();
                self.enter(Loading::Read, Step::Load(life))
            }
            (Loading::Read, Event::Loaded(mut fresh)) => {
                std::mem::swap(place.ns, &mut fresh);
                place.ns.inherit(&mut fresh);
                actions.push(Action::Discard(fresh));
                // Asked before anything is read: what is read while one writer stays alone needs no other proof.
                self.enter(Loading::ProveImage, Step::Prove)
            }
            (Loading::ProveImage, Event::Done) | (Loading::ReadAgain, _) => self.enter(Loading::CatchUp, Step::CatchUp),
            (Loading::CatchUp, Event::Done) => self.enter(Loading::ProveEdits, Step::Prove),
            (Loading::CatchUp, Event::Failed(problem)) if !problem.kind.needs_load() && !self.config.is_single => {
                actions.push(Action::Tell(News::CannotRead(problem.what)));
                self.enter(Loading::ReadAgain, Step::Pause(READ_RETRY_MS))
            }
            (Loading::ProveEdits, Event::Done) => self.loaded(place, actions),
            (Loading::FetchImage, Event::Done) | (Loading::Pause, _) => self.begin_loading(),
            (Loading::FetchImage, Event::Failed(problem)) => {
                actions.push(Action::Tell(News::NoNewerImage(problem.what)));
                self.pause_before_loading(place)
            }
            (_, Event::Failed(problem)) => self.load_failed(problem, place, actions),
            (_, _) => {
                debug_assert!(false, "a step of loading has ended with what another one gives");
                self.begin_loading()
            }
        }
    }

    fn loaded<R>(&mut self, place: &mut Place<'_, R>, actions: &mut Vec<Action<R, D>>) -> Option<Step> {
        // The block manager is new as well.
        place.ns.activate_safe_mode(place.now);
        actions.push(Action::Tell(News::Loaded {
            applied: place.ns.edit_log().applied(),
            took_ms: place.now.monotonic_ms.saturating_sub(self.load_began_ms),
        }));
        place.health.well(Aspect::Loading);
        place.health.divergence.on_loaded();
        if self.config.is_single {
            let attempt = self.attempt(true, None, place);
            return self.recover(attempt);
        }
        if let Err(error) = place.ns.become_standby() {
            debug_assert!(false, "who has loaded is a standby: {error}");
        }
        actions.push(Action::Follow);
        None
    }

    fn load_failed<R>(
        &mut self,
        problem: Problem,
        place: &mut Place<'_, R>,
        actions: &mut Vec<Action<R, D>>,
    ) -> Option<Step> {
        if self.config.is_single {
            // Nobody else can serve, so it ends with what is wrong, as Hadoop's does.
            actions.push(Action::End);
            return None;
        }
        let kind = problem.kind;
        unhealthy(problem, place, actions);
        match kind {
            ProblemKind::Hopeless => {
                actions.push(Action::End);
                None
            }
            ProblemKind::Purged { oldest } => self.enter(Loading::FetchImage, Step::FetchImage(oldest)),
            ProblemKind::Passing | ProblemKind::Unusable | ProblemKind::LeaseHeld => self.pause_before_loading(place),
        }
    }

    fn pause_before_loading<R>(&mut self, place: &Place<'_, R>) -> Option<Step> {
        self.enter(Loading::Pause, Step::Pause(place.health.retry_ms(Aspect::Loading)))
    }
}

/// The namespace can't be loaded.
pub(super) fn unhealthy<R, D>(problem: Problem, place: &mut Place<'_, R>, actions: &mut Vec<Action<R, D>>) {
    let cause = problem.cause;
    if place
        .health
        .failed(Aspect::Loading, cause.clone(), place.now.monotonic_ms)
    {
        actions.push(Action::Tell(News::Unhealthy(Aspect::Loading, cause)));
    }
}

//! The failover controller's decisions (Hadoop: `ZKFailoverController`, `HealthMonitor`).
//!
//! ```text
//!             lease free, NameNode healthy and standby, not banned, own turn
//!   watching ───────────────────────────────────────────────► BecomeActive ── refused ─► back off
//!      │ own NameNode's process is gone ─► ReleaseLease (at once, so that others need not wait for its end)
//!      │ own NameNode is active and says that it is not well ─► BecomeStandby (it gives its lease back by that)
//!      │ another holds the lease while own NameNode calls itself active ─► BecomeStandby ── silent ─► Kill
//!      └ another holds the lease while own NameNode, last known as active, is silent ─► Kill (frees clients that hang on
//!        its connections)
//! ```
//!
//! Invariants:
//! - `BecomeActive` is never asked while one such request is under way, nor while a ban (`cedeActive`) lasts, nor of a
//!   NameNode that is not well.
//! - `Kill` is asked only when another instance holds the lease, so that no sole server is ever killed, and only of a
//!   NameNode that may think that it is active: a standby that is slow to answer (a checkpoint, a busy machine) costs
//!   nothing, and its restart would cost its warm namespace.
//! - `ReleaseLease` names an instance that is truly gone, by the kernel's word; the JournalNodes ignore it unless that one
//!   is the holder.
//!
//! A NameNode that is active and silent keeps its lease only as long as it renews it, which it does only while its own
//! calls are served: nothing needs to be decided here.

use hathi_journal::survey::{LeaseAnswer, QuorumLease};

use crate::elector::LeaseSurvey;

/// One incarnation of a NameNode process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// `<namenode id>@<instance id>`, as it appears as the holder of a lease.
    pub holder: String,
    /// Process id on this machine.
    pub pid: u32,
}

/// HA state as the NameNode reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// Still starting.
    Initializing,
    /// Serving.
    Active,
    /// Tailing.
    Standby,
    /// Tailing and serving reads; never elected.
    Observer,
}

/// What the health monitor knows of the local NameNode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing known yet, or its process is gone.
    Down,
    /// Answers, and is well.
    Healthy {
        /// Which process.
        instance: Instance,
        /// In which state.
        state: ServiceState,
        /// Last transaction applied.
        last_applied_txid: u64,
        /// Clients would meet safe mode if it became active: whoever would not goes first.
        safe_mode: bool,
    },
    /// Answers that it is not well (`HealthCheckFailedException`).
    Unhealthy {
        /// Which process.
        instance: Instance,
        /// In which state.
        state: ServiceState,
    },
    /// Its process lives but does not answer.
    NotResponding,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// An answer of a JournalNode, or `None` when it can't be reached.
    Lease {
        /// Index of the JournalNode.
        journalnode: usize,
        /// Its answer.
        view: Option<LeaseAnswer>,
    },
    /// The JournalNodes were changed: these indices count.
    JournalNodes(Vec<usize>),
    /// A result of the health monitor.
    Health(Health),
    /// The process of this instance has ended: all its threads are gone and its sockets closed.
    ProcessEnded(Instance),
    /// The answer to [`Action::BecomeActive`].
    BecameActive(Result<(), ()>),
    /// The answer to [`Action::BecomeStandby`].
    BecameStandby(Result<(), ()>),
    /// `cedeActive`: stay out of the election for so long. 0 or less ends the ban.
    Cede {
        /// Milliseconds.
        millis: i64,
    },
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `HAServiceProtocol.transitionToActive` on the local NameNode.
    BecomeActive,
    /// `HAServiceProtocol.transitionToStandby` on the local NameNode.
    BecomeStandby,
    /// Tell all JournalNodes that this holder is gone.
    ReleaseLease(String),
    /// SIGKILL this process.
    Kill(Instance),
}

/// Times in milliseconds.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// JournalNodes of the shared edits.
    pub journalnodes: usize,
    /// This NameNode's place among those of its nameservice.
    pub rank: u32,
    /// All of them, in the order of the configuration. Turns go round from the last holder of the lease on, as Hadoop's
    /// clients go round when they lose it: they ask the right one first, and it does not wait for the one that died.
    pub namenode_ids: Vec<String>,
    /// How much longer each turn waits.
    pub rank_delay_ms: u64,
    /// First wait after a refused try; doubles up to 16 times that.
    pub backoff_ms: u64,
    /// How long a deposed NameNode may stay silent before it is killed.
    pub kill_after_ms: u64,
}

/// The deciding state.
#[derive(Debug)]
pub struct Controller {
    config: ControllerConfig,
    survey: LeaseSurvey,
    health: Health,
    /// The last instance seen, kept while it does not answer.
    instance: Option<Instance>,
    /// Whether that instance may think that it is active: it said so, or was asked to be, and has not denied it since.
    may_be_active: bool,
    /// Place of the NameNode that held the lease last.
    last_place: Option<u32>,
    free_since_ms: Option<u64>,
    deposed_since_ms: Option<u64>,
    transition_under_way: bool,
    failures: u32,
    retry_at_ms: u64,
    step_down_again_at_ms: u64,
    banned_until_ms: u64,
}

impl Controller {
    /// A controller that knows nothing yet.
    #[must_use]
    pub fn new(config: ControllerConfig) -> Self {
        Controller {
            survey: LeaseSurvey::new(config.journalnodes),
            config,
            health: Health::Down,
            instance: None,
            may_be_active: false,
            last_place: None,
            free_since_ms: None,
            deposed_since_ms: None,
            transition_under_way: false,
            failures: 0,
            retry_at_ms: 0,
            step_down_again_at_ms: 0,
            banned_until_ms: 0,
        }
    }

    /// What the quorum says of the lease now.
    #[must_use]
    pub fn lease(&self) -> QuorumLease {
        self.survey.lease()
    }

    /// What is known of the local NameNode.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Whether time alone may change a decision soon, so that [`Event::Tick`] must come every few milliseconds.
    #[must_use]
    pub fn needs_ticks(&self) -> bool {
        self.deposed_since_ms.is_some() || self.survey.lease() == QuorumLease::Free
    }

    /// Takes an event at a monotonic time in ms and says what to do.
    pub fn on(&mut self, event: Event, now_ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Lease { journalnode, view } => self.survey.update(journalnode, view),
            Event::JournalNodes(members) => self.survey.set_members(&members),
            Event::Health(health) => {
                if let Health::Healthy { instance, state, .. } | Health::Unhealthy { instance, state } = &health {
                    // A probe may have been answered before the transition that is under way.
                    let asked = self.may_be_active && self.transition_under_way;
                    self.may_be_active = *state == ServiceState::Active || asked;
                    self.instance = Some(instance.clone());
                }
                self.health = health;
            }
            Event::ProcessEnded(instance) => {
                actions.push(Action::ReleaseLease(instance.holder.clone()));
                if self.instance.as_ref() == Some(&instance) {
                    self.instance = None;
                    self.may_be_active = false;
                    self.health = Health::Down;
                    self.transition_under_way = false;
                    self.failures = 0;
                    self.retry_at_ms = 0;
                }
            }
            Event::BecameActive(result) => {
                self.transition_under_way = false;
                match result {
                    Ok(()) => {
                        self.failures = 0;
                        self.set_state(ServiceState::Active);
                    }
                    Err(()) => {
                        let factor = 1 << self.failures.min(4);
                        self.failures += 1;
                        // Turns keep two losers of a duel from meeting again in the same step.
                        self.retry_at_ms = now_ms
                            + self.config.backoff_ms * factor
                            + u64::from(self.turn()) * self.config.rank_delay_ms;
                    }
                }
            }
            Event::BecameStandby(result) => {
                self.transition_under_way = false;
                match result {
                    Ok(()) => self.set_state(ServiceState::Standby),
                    Err(()) => self.step_down_again_at_ms = now_ms + self.config.backoff_ms,
                }
            }
            Event::Cede { millis } => {
                self.banned_until_ms = match u64::try_from(millis) {
                    Ok(millis) => now_ms + millis,
                    Err(_) => 0,
                };
            }
            Event::Tick => {}
        }
        self.decide(now_ms, &mut actions);
        if cfg!(debug_assertions) {
            self.check();
            self.check_actions(&actions, now_ms);
        }
        actions
    }

    /// What must hold between events.
    pub fn check(&self) {
        self.survey.check();
        let lease = self.survey.lease();
        assert_eq!(self.free_since_ms.is_some(), lease == QuorumLease::Free);
        assert!(self.deposed_since_ms.is_none() || matches!(lease, QuorumLease::Held { .. }));
        assert!(
            self.deposed_since_ms.is_none() || self.may_be_active,
            "a NameNode that is not active is being deposed"
        );
        assert!(
            !self.transition_under_way || self.may_be_active,
            "a transition of a NameNode that can't be active"
        );
        let known = match &self.health {
            Health::Healthy { instance, state, .. } | Health::Unhealthy { instance, state } => {
                assert!(*state != ServiceState::Active || self.may_be_active);
                self.instance.as_ref() == Some(instance)
            }
            Health::Down | Health::NotResponding => true,
        };
        assert!(known, "the health of another instance is known");
        assert!(self.instance.is_some() || !self.may_be_active, "nobody may be active");
    }

    /// The promises of the module's header.
    fn check_actions(&self, actions: &[Action], now_ms: u64) {
        let transitions = actions
            .iter()
            .filter(|action| !matches!(action, Action::ReleaseLease(_)));
        assert!(transitions.count() <= 1, "{actions:?}");
        for action in actions {
            match action {
                Action::BecomeActive => {
                    assert_eq!(self.survey.lease(), QuorumLease::Free);
                    assert!(now_ms >= self.banned_until_ms, "banned");
                    assert!(matches!(self.health, Health::Healthy { .. }), "not well");
                }
                Action::BecomeStandby => assert!(matches!(self.survey.lease(), QuorumLease::Held { .. })),
                Action::Kill(killed) => {
                    let QuorumLease::Held { holder, .. } = self.survey.lease() else {
                        panic!("the sole server is killed");
                    };
                    assert_ne!(holder, killed.holder, "who serves is killed");
                }
                Action::ReleaseLease(_) => {}
            }
        }
    }

    /// What an answered transition says is newer than the last probe.
    fn set_state(&mut self, new: ServiceState) {
        if let Health::Healthy { state, .. } | Health::Unhealthy { state, .. } = &mut self.health {
            *state = new;
            self.may_be_active |= new == ServiceState::Active;
        }
    }

    fn decide(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        match self.survey.lease() {
            // A writer of Hadoop is at work, or was: whether it lives only its own controller knows, or a person.
            QuorumLease::Unknown | QuorumLease::Written { .. } => {
                self.free_since_ms = None;
                self.deposed_since_ms = None;
            }
            QuorumLease::Free => {
                self.deposed_since_ms = None;
                let since = *self.free_since_ms.get_or_insert(now_ms);
                if self.may_try(now_ms, since) {
                    self.transition_under_way = true;
                    self.may_be_active = true;
                    actions.push(Action::BecomeActive);
                }
            }
            QuorumLease::Held { holder, .. } => {
                self.free_since_ms = None;
                let id = holder.split('@').next().unwrap_or_default();
                let place = self.config.namenode_ids.iter().position(|known| known == id);
                self.last_place = place.and_then(|place| u32::try_from(place).ok());
                let own = self.instance.as_ref().map(|instance| &instance.holder);
                if own == Some(&holder) {
                    self.deposed_since_ms = None;
                    self.quit_when_unhealthy(now_ms, actions);
                } else {
                    self.deposed(now_ms, actions);
                }
            }
        }
    }

    fn may_try(&self, now_ms: u64, free_since_ms: u64) -> bool {
        let Health::Healthy { state, .. } = &self.health else {
            return false;
        };
        // An active whose lease just ran out tries too: it may renew, and nothing is lost by asking.
        *state == ServiceState::Standby
            && !self.transition_under_way
            && now_ms >= self.retry_at_ms
            && now_ms >= self.banned_until_ms
            && now_ms >= free_since_ms + u64::from(self.turn()) * self.config.rank_delay_ms
    }

    /// How many others go first.
    fn turn(&self) -> u32 {
        let count = u32::try_from(self.config.namenode_ids.len()).unwrap_or(0);
        let turn = match self.last_place {
            Some(last) if self.config.rank < count => (self.config.rank + count - last - 1) % count,
            _ => self.config.rank,
        };
        match self.health {
            Health::Healthy { safe_mode: true, .. } => turn + count,
            _ => turn,
        }
    }

    /// The own NameNode holds the lease: it steps down when it is not well (`ZKFailoverController.recheckElectability`
    /// quits the election then), whether another is ready or not, as nobody knows for how long it can still write.
    fn quit_when_unhealthy(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let unwell = matches!(
            self.health,
            Health::Unhealthy {
                state: ServiceState::Active,
                ..
            }
        );
        if unwell && !self.transition_under_way && now_ms >= self.step_down_again_at_ms {
            self.transition_under_way = true;
            actions.push(Action::BecomeStandby);
        }
    }

    /// Another instance holds the lease.
    fn deposed(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let silent = match &self.health {
            Health::Healthy { state, .. } => {
                if *state != ServiceState::Active {
                    self.deposed_since_ms = None;
                    return;
                }
                false
            }
            Health::Unhealthy {
                state: ServiceState::Active,
                ..
            } => false,
            Health::Down | Health::Unhealthy { .. } => {
                self.deposed_since_ms = None;
                return;
            }
            Health::NotResponding if self.may_be_active => true,
            Health::NotResponding => {
                self.deposed_since_ms = None;
                return;
            }
        };
        let since = *self.deposed_since_ms.get_or_insert(now_ms);
        if now_ms >= since + self.config.kill_after_ms {
            if let Some(instance) = self.instance.take() {
                self.health = Health::Down;
                self.may_be_active = false;
                self.deposed_since_ms = None;
                self.transition_under_way = false;
                actions.push(Action::Kill(instance));
            }
        } else if !silent && !self.transition_under_way {
            self.transition_under_way = true;
            actions.push(Action::BecomeStandby);
        }
    }
}

#[cfg(test)]
mod tests;

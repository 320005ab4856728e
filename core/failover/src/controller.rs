//! The failover controller's decisions (Hadoop: `ZKFailoverController`, `HealthMonitor`).
//!
//! ```text
//!             elected, NameNode healthy, not banned
//!   watching ───────────────────────────────────────────────► BecomeActive ── refused ─► the elector backs off
//!      │ own NameNode's process is gone ─► ReleaseLease (at once, so that others need not wait for its end)
//!      │ own NameNode is active and says that it is not well ─► BecomeStandby (it gives its lease back by that)
//!      │ another holds the lease while own NameNode calls itself active ─► BecomeStandby ── silent ─► Kill
//!      ├ own NameNode falls ill, is silent for too long or is gone ─► the elector leaves the election
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
//! - `ReleaseLease` names an instance that the kernel says is gone. The JournalNodes ignore it unless this instance is
//!   the holder.
//! - When a process is gone, the elector gives up the election only after the lease was given back, or could not be
//!   given back within [`RELEASE_LIMIT_MS`]. A NameNode of Hadoop that is elected while the lease still runs is refused
//!   by the JournalNodes, and ends its process.
//!
//! A NameNode that is active and silent keeps its lease only while it renews it, and it renews it only while it serves
//! calls. So nothing needs to be decided here.

use hathi_journal::survey::{LeaseAnswer, QuorumLease};

use crate::LeaseSurvey;
use crate::elector::{
    Duty, ElectionCandidate, ElectionEvent, ElectionStanding, Elector, ElectorMessage, ElectorRequest, Former,
};
use crate::health_monitor::{HealthMonitor, HealthState, Probe};

/// How long the election waits for a dead NameNode's lease to be given back. By then every living JournalNode has
/// answered. A JournalNode that has not may keep the lease until it runs out.
pub const RELEASE_LIMIT_MS: u64 = 500;

/// One process of a NameNode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// `<namenode id>@<instance id>`, the name of the holder of a lease.
    pub holder: String,
    /// Process id on this machine.
    pub pid: u32,
}

/// HA state that the NameNode reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// The NameNode is starting.
    Initializing,
    /// The NameNode serves.
    Active,
    /// The NameNode follows the journal.
    Standby,
    /// The NameNode follows the journal and serves reads. It is never elected.
    Observer,
}

impl ServiceState {
    /// Hadoop's name (`HAServiceState`).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ServiceState::Initializing => "initializing",
            ServiceState::Active => "active",
            ServiceState::Standby => "standby",
            ServiceState::Observer => "observer",
        }
    }
}

/// What the health monitor knows of the local NameNode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing is known, or the process is gone.
    Down,
    /// The NameNode answers that it is well.
    Healthy {
        /// The process that answered.
        instance: Instance,
        /// HA state that it reported.
        state: ServiceState,
        /// Last transaction that it has applied.
        last_applied_txid: u64,
        /// Whether clients would meet safe mode if it became active. A NameNode without safe mode is elected before it.
        safe_mode: bool,
    },
    /// The NameNode answers that it is not well (`HealthCheckFailedException`).
    Unhealthy {
        /// The process that answered.
        instance: Instance,
        /// HA state that it reported.
        state: ServiceState,
    },
    /// The process lives but does not answer.
    NotResponding,
}

/// Something that has happened.
#[derive(Clone, Debug)]
pub enum ControllerEvent {
    /// An answer of a JournalNode, or `None` when it can't be reached.
    Lease {
        /// Index of the JournalNode.
        journalnode: usize,
        /// Its answer.
        view: Option<LeaseAnswer>,
    },
    /// The membership of the JournalNodes was changed. These indices are the members.
    JournalNodes(Vec<usize>),
    /// A result of the health monitor.
    Health(Health),
    /// The process of this instance has ended: no thread of it will do anything again. Its memory may still be in use, and
    /// its sockets open.
    ProcessEnded(Instance),
    /// The answer to [`ControllerAction::ReleaseLease`]: a majority of the JournalNodes has released it, or that can't be done.
    LeaseReleased(String),
    /// The health monitor has ended.
    HealthMonitorFailed,
    /// This controller ends.
    Quit,
    /// The answer to [`ControllerAction::BecomeActive`].
    BecameActive(Result<(), ()>),
    /// The answer to [`ControllerAction::BecomeStandby`].
    BecameStandby(Result<(), ()>),
    /// `cedeActive`: stay out of the election for this time. 0 or less ends the ban.
    Cede {
        /// Milliseconds.
        millis: i64,
    },
    /// What the service says that the elector relies on.
    Elector(ElectorMessage),
    /// The answer to [`ControllerAction::Fence`].
    Fenced(Fenced),
    /// Time has passed.
    Tick,
}

/// Result of a fencing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// The NameNode itself says that it is a standby.
    Heard,
    /// A fencing method says that the NameNode with this id has stopped. The NameNode itself does not say so.
    Unheard(String),
    /// Nobody says so: the NameNode may still be active.
    Failed,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControllerAction {
    /// `HAServiceProtocol.transitionToActive` on the local NameNode.
    BecomeActive,
    /// `HAServiceProtocol.transitionToStandby` on the local NameNode.
    BecomeStandby,
    /// Tell all JournalNodes that this holder's process is gone.
    ReleaseLease(String),
    /// SIGKILL this process.
    Kill(Instance),
    /// Make sure that this NameNode is not active.
    Fence(Former),
    /// Ask the service that the elector relies on.
    Elector(ElectorRequest),
    /// End the process with this message.
    GiveUp(String),
}

/// Times in milliseconds.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// Number of JournalNodes of the shared edits; 0 when the edits are in a directory.
    pub journalnodes: usize,
    /// First pause after a refused step down.
    pub backoff_ms: u64,
    /// How long a NameNode may be silent before it counts as not responding (`ha.health-monitor.rpc-timeout.ms`).
    pub silence_ms: u64,
    /// How long a NameNode that lost the lease may stay silent before it is killed.
    pub kill_after_ms: u64,
}

/// State of the failover controller.
#[derive(Debug)]
pub struct AutomaticFailover {
    config: ControllerConfig,
    elector: Box<dyn Elector>,
    survey: LeaseSurvey,
    health: Health,
    monitor: HealthMonitor,
    /// The last instance that answered. It is kept while it does not answer.
    instance: Option<Instance>,
    /// Whether that instance may believe that it is active: it said so, or was asked to become active, and has not
    /// denied it since.
    may_be_active: bool,
    standby_probes: u32,
    /// A holder whose process is gone, and until when the release of its lease is waited for.
    releasing: Option<(String, u64)>,
    /// The controller decides nothing any more.
    quit: bool,
    /// Id of the NameNode that was fenced last, if only a fencing method says so.
    unheard: Option<String>,
    /// Whether that NameNode still renews its lease, so that the local NameNode could not be promoted.
    split: bool,
    deposed_since_ms: Option<u64>,
    transition_under_way: bool,
    /// Whether the local NameNode must step down, because it was asked to cede or another NameNode was elected.
    demote: bool,
    /// Whether its last step down failed.
    step_down_failed: bool,
    step_down_again_at_ms: u64,
    banned_until_ms: u64,
}

impl AutomaticFailover {
    /// A controller that knows nothing yet.
    #[must_use]
    pub fn new(config: ControllerConfig, elector: Box<dyn Elector>) -> Self {
        AutomaticFailover {
            elector,
            survey: LeaseSurvey::new(config.journalnodes),
            monitor: HealthMonitor::new(config.silence_ms),
            config,
            health: Health::Down,
            instance: None,
            may_be_active: false,
            standby_probes: 0,
            releasing: None,
            quit: false,
            unheard: None,
            split: false,
            deposed_since_ms: None,
            transition_under_way: false,
            demote: false,
            step_down_failed: false,
            step_down_again_at_ms: 0,
            banned_until_ms: 0,
        }
    }

    /// The read lease by the answers of a quorum.
    #[must_use]
    pub fn lease(&self) -> QuorumLease {
        self.survey.lease()
    }

    /// The last known health of the local NameNode.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The health of the local NameNode after the rules of the health monitor.
    #[must_use]
    pub fn health_state(&self) -> HealthState {
        self.monitor.state()
    }

    /// Whether the local NameNode may believe that it is active: it said so, or was asked to become active, and has not
    /// denied it since.
    #[must_use]
    pub fn may_be_active(&self) -> bool {
        self.may_be_active
    }

    /// Id of a NameNode that a fencing method claims to have fenced and that still renews its lease. It serves its
    /// clients, and no other NameNode can be promoted beside it.
    #[must_use]
    pub fn split(&self) -> Option<&str> {
        self.unheard.as_deref().filter(|_| self.split)
    }

    /// Whether the passing of time may soon change a decision. Then [`ControllerEvent::Tick`] must come every few milliseconds.
    #[must_use]
    pub fn needs_ticks(&self) -> bool {
        self.deposed_since_ms.is_some()
            || self.monitor.needs_ticks()
            || self.releasing.is_some()
            || self.demote
            || self.elector.needs_ticks()
    }

    /// Takes an event at this monotonic time in ms, and returns what to do.
    pub fn on(&mut self, event: ControllerEvent, now_ms: u64) -> Vec<ControllerAction> {
        let mut actions = Vec::new();
        if self.quit {
            return actions;
        }
        let mut duties = Vec::new();
        match event {
            ControllerEvent::Lease { journalnode, view } => self.survey.update(journalnode, view),
            ControllerEvent::JournalNodes(members) => self.survey.set_members(&members),
            ControllerEvent::Health(health) => self.probed(health, now_ms),
            ControllerEvent::ProcessEnded(instance) => {
                actions.push(ControllerAction::ReleaseLease(instance.holder.clone()));
                if self.instance.as_ref() == Some(&instance) {
                    self.releasing = Some((instance.holder, now_ms.saturating_add(RELEASE_LIMIT_MS)));
                    self.forget_process();
                    duties = self.elector.on(ElectionEvent::ProcessEnded, now_ms);
                }
            }
            ControllerEvent::LeaseReleased(holder) => {
                if self
                    .releasing
                    .as_ref()
                    .is_some_and(|(releasing, _)| *releasing == holder)
                {
                    self.releasing = None;
                }
            }
            ControllerEvent::HealthMonitorFailed => {
                self.monitor.failed();
                actions.push(ControllerAction::GiveUp("Health monitor failed!".to_owned()));
            }
            ControllerEvent::Quit => {
                self.quit = true;
                let duties = self.elector.on(ElectionEvent::Quit, now_ms);
                self.take(duties, &mut actions);
                return actions;
            }
            ControllerEvent::BecameActive(result) => {
                self.transition_under_way = false;
                match result {
                    Ok(()) => {
                        self.set_state(ServiceState::Active);
                        self.forget_fenced();
                    }
                    // If that NameNode had stopped, its lease would have run out by now.
                    Err(()) => self.split = self.unheard.is_some() && self.unheard == self.rival(),
                }
                duties = self.elector.on(ElectionEvent::Promoted(result.is_ok()), now_ms);
            }
            ControllerEvent::BecameStandby(result) => {
                self.transition_under_way = false;
                self.step_down_failed = result.is_err();
                match result {
                    Ok(()) => {
                        self.set_state(ServiceState::Standby);
                        self.may_be_active = false;
                    }
                    Err(()) => self.step_down_again_at_ms = now_ms + self.config.backoff_ms,
                }
            }
            ControllerEvent::Cede { millis } => {
                let banned_ms = u64::try_from(millis).unwrap_or(0);
                self.banned_until_ms = if banned_ms > 0 {
                    now_ms.saturating_add(banned_ms)
                } else {
                    0
                };
                self.demote |= banned_ms > 0 && self.may_be_active;
            }
            ControllerEvent::Elector(told) => duties = self.elector.on(ElectionEvent::Told(told), now_ms),
            ControllerEvent::Fenced(how) => {
                let done = how != Fenced::Failed;
                let unheard = match how {
                    Fenced::Unheard(id) => Some(id),
                    Fenced::Heard | Fenced::Failed => None,
                };
                self.split &= unheard == self.unheard;
                self.unheard = unheard;
                duties = self.elector.on(ElectionEvent::Fenced(done), now_ms);
            }
            ControllerEvent::Tick => {}
        }
        self.take(duties, &mut actions);
        self.decide(now_ms, &mut actions);
        if cfg!(debug_assertions) {
            self.check();
            self.check_actions(&actions, now_ms);
        }
        actions
    }

    fn probed(&mut self, health: Health, now_ms: u64) {
        if let Health::Healthy { instance, state, .. } | Health::Unhealthy { instance, state } = &health {
            // The probe may have been answered before the transition that is under way.
            let asked = self.may_be_active && self.transition_under_way;
            self.may_be_active = *state == ServiceState::Active || asked;
            self.instance = Some(instance.clone());
            self.standby_probes = match state {
                ServiceState::Standby if !self.transition_under_way => self.standby_probes.saturating_add(1),
                _ => 0,
            };
        }
        let probe = match &health {
            Health::Down => Probe::Unreachable,
            Health::Healthy { .. } => Probe::Well,
            Health::Unhealthy { .. } => Probe::NotWell,
            Health::NotResponding => Probe::Silent,
        };
        self.monitor.probed(probe, now_ms);
        self.health = health;
    }

    /// The kernel says that the process is gone, or about to be gone.
    fn forget_process(&mut self) {
        self.instance = None;
        self.health = Health::Down;
        self.may_be_active = false;
        self.monitor.process_ended();
        self.transition_under_way = false;
    }

    fn forget_fenced(&mut self) {
        self.unheard = None;
        self.split = false;
    }

    /// Id of another NameNode that holds the lease.
    fn rival(&self) -> Option<String> {
        let QuorumLease::Held { holder, .. } = self.survey.lease() else {
            return None;
        };
        let id = |holder: &str| holder.split('@').next().unwrap_or_default().to_owned();
        let own = self.instance.as_ref().map(|instance| id(&instance.holder));
        Some(id(&holder)).filter(|holding| Some(holding) != own.as_ref())
    }

    fn take(&mut self, duties: Vec<Duty>, actions: &mut Vec<ControllerAction>) {
        for duty in duties {
            match duty {
                Duty::Promote => {
                    self.demote = false;
                    self.transition_under_way = true;
                    self.may_be_active = true;
                    self.standby_probes = 0;
                    actions.push(ControllerAction::BecomeActive);
                }
                Duty::Demote => {
                    self.demote = self.may_be_active;
                    // It may be the NameNode that is elected now. If it is another one, that is found out again.
                    self.forget_fenced();
                }
                Duty::Fence(former) => actions.push(ControllerAction::Fence(former)),
                Duty::Ask(request) => actions.push(ControllerAction::Elector(request)),
                Duty::GiveUp(why) => actions.push(ControllerAction::GiveUp(why)),
            }
        }
    }

    /// Asserts the invariants that hold between events.
    pub fn check(&self) {
        self.survey.check();
        let lease = self.survey.lease();
        assert!(self.deposed_since_ms.is_none() || matches!(lease, QuorumLease::Held { .. }));
        assert!(
            self.deposed_since_ms.is_none() || self.may_be_active,
            "a NameNode that is not active is being deposed"
        );
        assert!(
            !self.transition_under_way || self.may_be_active,
            "a transition of a NameNode that can't be active"
        );
        assert!(
            !self.split || self.unheard.is_some(),
            "nobody was fenced who could go on"
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

    /// Asserts the invariants of the module about actions.
    fn check_actions(&self, actions: &[ControllerAction], now_ms: u64) {
        let changes = |action: &&ControllerAction| {
            matches!(
                action,
                ControllerAction::BecomeActive | ControllerAction::BecomeStandby | ControllerAction::Kill(_)
            )
        };
        assert!(actions.iter().filter(changes).count() <= 1, "{actions:?}");
        for action in actions {
            match action {
                ControllerAction::BecomeActive => {
                    assert!(now_ms >= self.banned_until_ms, "banned");
                    assert!(matches!(self.health, Health::Healthy { .. }), "not well");
                    assert_eq!(self.monitor.state(), HealthState::Healthy, "not well for long enough");
                    assert!(self.releasing.is_none(), "a lease is being given back");
                }
                ControllerAction::BecomeStandby => assert!(self.may_be_active, "a standby steps down"),
                ControllerAction::Kill(killed) => {
                    let QuorumLease::Held { holder, .. } = self.survey.lease() else {
                        panic!("the sole server is killed");
                    };
                    assert_ne!(holder, killed.holder, "who serves is killed");
                }
                ControllerAction::ReleaseLease(_)
                | ControllerAction::Fence(_)
                | ControllerAction::Elector(_)
                | ControllerAction::GiveUp(_) => {}
            }
        }
    }

    /// The result of a transition is newer than the last probe.
    fn set_state(&mut self, new: ServiceState) {
        if let Health::Healthy { state, .. } | Health::Unhealthy { state, .. } = &mut self.health {
            *state = new;
            self.may_be_active |= new == ServiceState::Active;
        }
    }

    fn decide(&mut self, now_ms: u64, actions: &mut Vec<ControllerAction>) {
        let lease = self.survey.lease();
        self.split &= self.unheard == self.rival();
        self.monitor
            .pass(lease == QuorumLease::Free && self.may_be_active, now_ms);
        match &lease {
            QuorumLease::Held { holder, .. } => {
                let own = self.instance.as_ref().map(|instance| &instance.holder);
                if own == Some(holder) {
                    self.deposed_since_ms = None;
                    self.quit_when_unhealthy(now_ms, actions);
                } else {
                    self.deposed(now_ms, actions);
                }
            }
            QuorumLease::Unknown | QuorumLease::Free | QuorumLease::Written { .. } => self.deposed_since_ms = None,
        }
        self.demote &= self.may_be_active;
        if self.demote {
            self.step_down(now_ms, actions);
        }
        if self.releasing.as_ref().is_some_and(|(_, until_ms)| now_ms < *until_ms) {
            return;
        }
        self.releasing = None;
        let candidate = self.candidate(lease, now_ms);
        let duties = self.elector.on(ElectionEvent::Candidate(&candidate), now_ms);
        self.take(duties, actions);
    }

    fn candidate(&self, lease: QuorumLease, now_ms: u64) -> ElectionCandidate {
        let banned = now_ms < self.banned_until_ms;
        let well = self.monitor.state() == HealthState::Healthy;
        let standing = match &self.health {
            // It is asked to step down first, so that it need not be fenced.
            Health::Healthy { .. } if well && banned && self.demote && !self.step_down_failed => {
                ElectionStanding::Stands
            }
            Health::Healthy {
                state: ServiceState::Active | ServiceState::Standby,
                ..
            } if well && !banned => ElectionStanding::Stands,
            Health::NotResponding if well => ElectionStanding::Stands,
            _ => ElectionStanding::Out {
                needs_fencing: self.may_be_active,
            },
        };
        let is_standby = matches!(
            self.health,
            Health::Healthy {
                state: ServiceState::Standby,
                ..
            }
        );
        ElectionCandidate {
            standing,
            is_standby,
            standby_probes: self.standby_probes,
            in_transition: self.transition_under_way,
            safe_mode: matches!(self.health, Health::Healthy { safe_mode: true, .. }),
            rival: self.rival(),
            lease,
        }
    }

    /// Makes the local NameNode step down when it holds the lease and is not well
    /// (`ZKFailoverController.recheckElectability` quits the election then). Whether another one is ready does not
    /// matter, because nobody knows for how long it can still write.
    fn quit_when_unhealthy(&mut self, now_ms: u64, actions: &mut Vec<ControllerAction>) {
        let unwell = matches!(
            self.health,
            Health::Unhealthy {
                state: ServiceState::Active,
                ..
            }
        );
        if unwell {
            self.step_down(now_ms, actions);
        }
    }

    fn step_down(&mut self, now_ms: u64, actions: &mut Vec<ControllerAction>) {
        if !self.transition_under_way && now_ms >= self.step_down_again_at_ms {
            self.transition_under_way = true;
            actions.push(ControllerAction::BecomeStandby);
        }
    }

    /// Handles that another instance holds the lease.
    fn deposed(&mut self, now_ms: u64, actions: &mut Vec<ControllerAction>) {
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
            if let Some(instance) = self.instance.clone() {
                self.forget_process();
                self.deposed_since_ms = None;
                actions.push(ControllerAction::Kill(instance));
            }
        } else if !silent {
            self.step_down(now_ms, actions);
        }
    }
}

#[cfg(test)]
mod tests;

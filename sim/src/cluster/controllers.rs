//! The failover controllers: what `node/zkfc` does for the core. Each runs on the machine of its NameNode, watches the lease
//! at every JournalNode, and probes its NameNode.

use super::delivery::Single;
use super::knobs::Knobs;
use super::mutants::ClusterMutant;
use super::shell::Asker;
use super::{Event, World};
use crate::knobs::Micros;
use hathi_failover::{
    AutomaticFailover, ControllerAction as Action, ControllerConfig, ControllerEvent as Told, Health, Instance,
    JournalElector, LeaseAnswer, ServiceState,
};
use hathi_journal::Request;
use hathi_journal::lease::LeaseProof;
use hathi_journal::messages::Answer;
use hathi_journal::writer::CallError;
use hathi_namesystem::Role;
use std::collections::BTreeMap;

/// Between two probes.
const PROBE_EVERY: Micros = 100_000;
/// A NameNode that is silent for this long does not respond to a probe.
const SILENT: Micros = 500_000;
/// How long a JournalNode holds a question while its answer is unchanged.
const WATCH_MS: u32 = 1_000;
/// Pause before an unreachable JournalNode is asked again.
const WATCH_RETRY: Micros = 100_000;
const TICK: Micros = 10_000;
const RANK_DELAY_MS: u64 = 40;
const BACKOFF_MS: u64 = 50;
const KILL_AFTER_MS: u64 = 300;
/// Proofs that are kept.
const PROOFS_MAX: usize = 8;

/// What happens at a controller.
#[derive(Debug)]
pub(super) enum ControllerStep {
    /// It probes its NameNode.
    Probe,
    /// The end of a probe that began in this life of the NameNode.
    Probed(Health),
    /// It asks a JournalNode for the lease.
    Watch(usize),
    /// It is told something.
    Told(Told),
    /// Time has passed.
    Tick,
    /// The process starts.
    Start,
}

/// The controller beside a NameNode.
#[derive(Debug)]
pub(super) struct Controlled {
    index: usize,
    /// Number of starts.
    life: u64,
    controller: Option<AutomaticFailover>,
    config: ControllerConfig,
    namenodes: usize,
    watched: Option<Instance>,
    /// By JournalNode: counter of the lease that was seen there last.
    known: Vec<Option<u64>>,
    proofs: BTreeMap<String, LeaseProof>,
    /// How many JournalNodes have given this holder's lease back, and how many have ended the question.
    releases: BTreeMap<String, (usize, usize)>,
    /// The role that its NameNode was asked for, and has not answered.
    transition: Option<bool>,
    tick_is_due: bool,
}

impl Controlled {
    pub(super) fn new(index: usize, knobs: &Knobs) -> Self {
        Controlled {
            index,
            life: 0,
            controller: None,
            config: ControllerConfig {
                journalnodes: knobs.journalnodes,
                backoff_ms: BACKOFF_MS,
                silence_ms: knobs.silence_ms,
                kill_after_ms: KILL_AFTER_MS,
            },
            namenodes: knobs.namenodes,
            watched: None,
            known: vec![None; knobs.journalnodes],
            proofs: BTreeMap::new(),
            releases: BTreeMap::new(),
            transition: None,
            tick_is_due: false,
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.controller.is_some()
    }
}

impl World {
    pub(super) fn start_controller(&mut self, nn: usize) {
        let here = &mut self.controllers[nn];
        if here.controller.is_some() {
            return;
        }
        here.life += 1;
        let ids = (0..here.namenodes).map(|nn| format!("nn{nn}")).collect();
        let elector = JournalElector::new(here.index as u32, ids, RANK_DELAY_MS, BACKOFF_MS);
        here.controller = Some(AutomaticFailover::new(here.config.clone(), Box::new(elector)));
        here.watched = None;
        here.known.fill(None);
        here.proofs.clear();
        here.releases.clear();
        here.transition = None;
        here.tick_is_due = false;
        self.say(format_args!("controller {nn} starts"));
        let life = self.controllers[nn].life;
        for jn in 0..self.jns.len() {
            self.send_to_controller(nn, life, 1_000, ControllerStep::Watch(jn));
        }
        self.send_to_controller(nn, life, 2_000, ControllerStep::Probe);
    }

    pub(super) fn kill_controller(&mut self, nn: usize) {
        self.say(format_args!("controller {nn} dies"));
        self.controllers[nn].controller = None;
        let back = self.rng.u64(5_000..500_000);
        let life = self.controllers[nn].life;
        self.send_to_controller(nn, life, back, ControllerStep::Start);
    }

    fn send_to_controller(&mut self, nn: usize, life: u64, after: Micros, event: ControllerStep) {
        self.after(after, Event::Controller { nn, life, event });
    }

    pub(super) fn controller_event(&mut self, nn: usize, life: u64, event: ControllerStep) {
        let here = &mut self.controllers[nn];
        if here.life != life {
            return;
        }
        if let ControllerStep::Start = event {
            return self.start_controller(nn);
        }
        if here.controller.is_none() {
            return;
        }
        match event {
            ControllerStep::Start => {}
            ControllerStep::Probe => self.probe(nn, life),
            ControllerStep::Probed(health) => self.probed(nn, life, health),
            ControllerStep::Watch(jn) => {
                let request = Request::WatchLease {
                    known_counter: self.controllers[nn].known[jn],
                    wait_ms: WATCH_MS,
                };
                let timeout = u64::from(WATCH_MS) * 1_000 + SILENT;
                self.ask(Single::Watch(nn, life, jn), jn, request, timeout);
            }
            ControllerStep::Told(told) => self.tell(nn, told),
            ControllerStep::Tick => {
                self.controllers[nn].tick_is_due = false;
                self.tell(nn, Told::Tick);
            }
        }
    }

    // ---- what it sees

    fn probe(&mut self, nn: usize, life: u64) {
        let namenode = &self.nns[nn];
        if namenode.shell.is_some() && namenode.paused_until > self.now {
            let left = namenode.paused_until - self.now;
            // It answers late, or too late.
            let (after, event) = match left < SILENT {
                true => (left, ControllerStep::Probe),
                false => (SILENT, ControllerStep::Probed(Health::NotResponding)),
            };
            return self.send_to_controller(nn, life, after, event);
        }
        let health = match &namenode.shell {
            None if self.controllers[nn].watched.is_some() => Health::NotResponding,
            None => Health::Down,
            Some(shell) => shell.look(|process| {
                let instance = Instance {
                    holder: namenode.holder(),
                    pid: namenode.life as u32,
                };
                let state = match process.ns.role() {
                    Role::Initializing => ServiceState::Initializing,
                    Role::Active => ServiceState::Active,
                    Role::Standby | Role::BecomingActive | Role::SteppingDown => ServiceState::Standby,
                };
                match process.health.problem() {
                    Some(_) => Health::Unhealthy { instance, state },
                    None => Health::Healthy {
                        instance,
                        state,
                        last_applied_txid: process.ns.edit_log().applied().0,
                        safe_mode: process.ns.blockmanager().in_safe_mode(),
                    },
                }
            }),
        };
        let after = self.around(1_000);
        self.send_to_controller(nn, life, after, ControllerStep::Probed(health));
    }

    fn probed(&mut self, nn: usize, life: u64, health: Health) {
        if let Health::Healthy { instance, .. } | Health::Unhealthy { instance, .. } = &health
            && self.controllers[nn].watched.as_ref() != Some(instance)
        {
            let proof = self.nns[nn].proof();
            if self.nns[nn].holder() != instance.holder || self.nns[nn].shell.is_none() {
                // The process that answered is gone: it can't be watched any more.
                return self.send_to_controller(nn, life, PROBE_EVERY, ControllerStep::Probe);
            }
            let here = &mut self.controllers[nn];
            here.watched = Some(instance.clone());
            if here.proofs.len() >= PROOFS_MAX {
                here.proofs.pop_first();
            }
            here.proofs.insert(instance.holder.clone(), proof);
        }
        let watched = self.controllers[nn].watched.clone();
        if health == Health::NotResponding
            && self.is(ClusterMutant::ReleaseOfSilent)
            && let Some(instance) = watched
        {
            self.tell(nn, Told::ProcessEnded(instance));
        }
        self.tell(nn, Told::Health(health));
        self.send_to_controller(nn, life, PROBE_EVERY, ControllerStep::Probe);
    }

    pub(super) fn lease_watched(&mut self, nn: usize, life: u64, jn: usize, result: Result<Answer, CallError>) {
        if self.controllers[nn].life != life || self.controllers[nn].controller.is_none() {
            return;
        }
        let (view, known, pause) = match result {
            Ok(Answer::LeaseState(state)) => (Some(LeaseAnswer::of(&state)), Some(state.change_counter), 0),
            _ => (None, None, WATCH_RETRY),
        };
        self.controllers[nn].known[jn] = known;
        self.tell(nn, Told::Lease { journalnode: jn, view });
        self.send_to_controller(nn, life, pause, ControllerStep::Watch(jn));
    }

    /// The kernel tells the controller that its NameNode's process is gone.
    pub(super) fn process_ended(&mut self, nn: usize) {
        let holder = self.nns[nn].holder();
        let here = &mut self.controllers[nn];
        let life = here.life;
        if here.transition.take().is_some_and(|to_active| to_active) {
            let failed = ControllerStep::Told(Told::BecameActive(Err(())));
            self.send_to_controller(nn, life, 1_500, failed);
        }
        let here = &mut self.controllers[nn];
        if let Some(instance) = here.watched.take_if(|instance| instance.holder == holder) {
            let soon = self.rng.u64(100..5_000);
            self.send_to_controller(nn, life, soon, ControllerStep::Told(Told::ProcessEnded(instance)));
        }
    }

    pub(super) fn role_answered(&mut self, nn: usize, by: Asker, done: bool) {
        let Asker::Controller(life) = by else { return };
        if self.controllers[nn].life != life {
            return;
        }
        let Some(to_active) = self.controllers[nn].transition.take() else {
            return;
        };
        let result = if done { Ok(()) } else { Err(()) };
        let told = match to_active {
            true => Told::BecameActive(result),
            false => Told::BecameStandby(result),
        };
        self.send_to_controller(nn, life, 500, ControllerStep::Told(told));
    }

    pub(super) fn lease_released(&mut self, nn: usize, life: u64, holder: String, done: bool) {
        let majority = self.jns.len() / 2 + 1;
        let count = self.jns.len();
        let here = &mut self.controllers[nn];
        if here.life != life {
            return;
        }
        let Some((given_back, ended)) = here.releases.get_mut(&holder) else {
            return;
        };
        *ended += 1;
        *given_back += usize::from(done);
        if *given_back >= majority || *ended == count {
            here.releases.remove(&holder);
            self.send_to_controller(nn, life, 10, ControllerStep::Told(Told::LeaseReleased(holder)));
        }
    }

    /// Keeps its NameNode out of the election for so long, or ends that.
    pub(super) fn cede(&mut self, nn: usize, millis: i64) {
        let life = self.controllers[nn].life;
        let arrival = self.around(self.knobs.delay);
        self.send_to_controller(nn, life, arrival, ControllerStep::Told(Told::Cede { millis }));
    }

    // ---- what it does

    fn tell(&mut self, nn: usize, told: Told) {
        let now_ms = 1_000 + self.now / 1_000;
        let here = &mut self.controllers[nn];
        let life = here.life;
        let Some(controller) = &mut here.controller else { return };
        let actions = controller.on(told, now_ms);
        controller.check();
        if controller.needs_ticks() && !std::mem::replace(&mut here.tick_is_due, true) {
            self.send_to_controller(nn, life, TICK, ControllerStep::Tick);
        }
        for action in actions {
            self.say(format_args!("controller {nn}: {action:?}"));
            self.controller_acts(nn, life, action);
        }
    }

    fn controller_acts(&mut self, nn: usize, life: u64, action: Action) {
        match action {
            Action::BecomeActive | Action::BecomeStandby => {
                let to_active = action == Action::BecomeActive;
                self.mark(if to_active { "promoted" } else { "demoted" });
                self.controllers[nn].transition = Some(to_active);
                let by = Asker::Controller(life);
                let arrival = self.around(500);
                self.after(arrival, Event::Ask { nn, to_active, by });
            }
            Action::ReleaseLease(holder) => {
                let Some(proof) = self.controllers[nn].proofs.remove(&holder) else {
                    return self.tell(nn, Told::LeaseReleased(holder));
                };
                self.mark("lease given back for a dead process");
                self.controllers[nn].releases.insert(holder.clone(), (0, 0));
                for jn in 0..self.jns.len() {
                    let request = Request::ReleaseLease {
                        holder: holder.as_str().into(),
                        proof,
                        up_to: None,
                    };
                    self.ask(Single::Release(nn, life, holder.clone()), jn, request, SILENT);
                }
            }
            Action::Kill(instance) => {
                if self.nns[nn].holder() == instance.holder && self.nns[nn].shell.is_some() {
                    self.mark("killed by its controller");
                    self.kill_namenode(nn);
                }
            }
            Action::Fence(_) | Action::Elector(_) | Action::GiveUp(_) => {
                self.check(Err(format!("the journal's elector asks for {action:?}")));
            }
        }
    }
}

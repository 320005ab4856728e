//! The NameNodes' machines: their processes, and what these ask of the world.

use super::calls::{Call, Caller};
use super::delivery::{Ended, LONGEST_FETCH, Single};
use super::images::SentImage;
use super::knobs::Knobs;
use super::mutants::{ClusterMutant, Planted};
use super::serve;
use super::settings::Settings;
use super::shell::{Asker, Out, Parked, Shell};
use super::tasks::Tasks;
use super::{Event, Heard, World, checkpoints, monitors, roles, standby_calls};
use crate::journalnode::Clock;
use crate::knobs::Micros;
use crate::network::{JournalConnection, Node};
use fastrand::Rng;
use hathi_formats::ids::TxId;
use hathi_journal::lease::LeaseProof;
use hathi_journal::mutant::{Mutant, Mutation};
use hathi_journal::writer::WriterTimeouts;
use hathi_nameserver::edit_log_driver::{QuorumLog, QuorumLogConfig};
use hathi_nameserver::replies::Made;
use hathi_namesystem::save_namespace::Canceler;
use hathi_storage::SimDisk;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The machine of a NameNode.
#[derive(Debug)]
pub(super) struct NameNode {
    pub(super) index: usize,
    /// Number of starts.
    pub(super) life: u64,
    /// The process, while it lives.
    pub(super) shell: Option<Shell>,
    tasks: Tasks,
    /// It stands still until then.
    pub(super) paused_until: Micros,
    pub(super) clock: Clock,
    /// Its name directories are on it.
    pub(super) disk: SimDisk,
    pub(super) connections: Vec<JournalConnection>,
    wake_at: Option<Micros>,
    log_is_due: bool,
    /// The edits that its present writer has sent.
    pub(super) sent: BTreeMap<u64, Vec<u8>>,
    /// Epoch in which it last became active.
    pub(super) epoch: u64,
}

impl NameNode {
    /// A machine with formatted directories.
    pub(super) fn new(index: usize, clock: Clock, knobs: &Knobs, disk: SimDisk) -> Self {
        NameNode {
            index,
            life: 0,
            shell: None,
            tasks: Tasks::default(),
            paused_until: 0,
            clock,
            disk,
            connections: vec![JournalConnection::default(); knobs.journalnodes],
            wake_at: None,
            log_is_due: false,
            sent: BTreeMap::new(),
            epoch: 0,
        }
    }

    /// Its name at the JournalNodes.
    pub(super) fn holder(&self) -> String {
        format!("nn{}@{}", self.index, self.life)
    }

    /// Its proof of the lease.
    pub(super) fn proof(&self) -> LeaseProof {
        LeaseProof(u128::from(self.life) << 8 | (self.index as u128 + 1))
    }

    /// Nothing waits in it that nobody is there for.
    pub(super) fn check(&self) {
        if let Some(shell) = &self.shell {
            shell.look(|process| process.ns.check());
        }
    }
}

impl World {
    pub(super) fn start_namenode(&mut self, nn: usize) {
        if self.nns[nn].shell.is_some() {
            return;
        }
        self.nns[nn].life += 1;
        let Some(dirs) = self.open_name_dirs(nn) else {
            return;
        };
        let here = &mut self.nns[nn];
        let settings = Settings {
            index: nn,
            namenodes: self.knobs.namenodes,
            journalnodes: self.knobs.journalnodes,
            holder: here.holder(),
            proof: here.proof(),
            knobs: self.knobs.clone(),
            planted: self.planted,
            waiting: self.waiting.clone(),
        };
        let log = QuorumLog::new(QuorumLogConfig {
            holder: Arc::from(settings.holder.as_str()),
            proof: settings.proof,
            lease_ms: self.knobs.lease_ms,
            journal_id: "ns".to_owned(),
            timeouts: timeouts(self.knobs.lease_ms),
            recent_limit_bytes: self.knobs.recent_limit_bytes,
            mutation: match self.planted {
                Planted(Some(ClusterMutant::NotRecovered)) => Mutation::planted(Some(Mutant::SkipRecovery)),
                Planted(_) => Mutation::default(),
            },
        });
        let shell = Shell::new(settings, dirs, log, Rng::with_seed(self.rng.u64(..)));
        here.tasks = Tasks::default();
        here.tasks.spawn(roles::change_roles(shell.clone()));
        here.tasks.spawn(roles::follow(shell.clone()));
        here.tasks.spawn(checkpoints::make(shell.clone()));
        here.tasks.spawn(checkpoints::tend(shell.clone()));
        here.tasks.spawn(roll(shell.clone()));
        here.tasks.spawn(standby_calls::count_turns(shell.clone()));
        here.tasks.spawn(standby_calls::settle_all(shell.clone()));
        for jn in 0..self.knobs.journalnodes {
            here.tasks.spawn(standby_calls::watch(shell.clone(), jn));
        }
        if self.knobs.datanodes {
            here.tasks.spawn(monitors::run(shell.clone()));
        }
        here.shell = Some(shell);
        here.wake_at = None;
        here.log_is_due = false;
        here.paused_until = 0;
        here.sent.clear();
        for connection in &mut here.connections {
            *connection = JournalConnection {
                id: connection.id + 1,
                ..JournalConnection::default()
            };
        }
        let life = here.life;
        self.say(format_args!("NameNode {nn} starts"));
        self.in_process(nn, life, |_| {});
    }

    /// Its process ends, from one moment to the next.
    pub(super) fn kill_namenode(&mut self, nn: usize) {
        let Some(shell) = self.nns[nn].shell.take() else {
            return;
        };
        self.say(format_args!("NameNode {nn} dies"));
        let here = &mut self.nns[nn];
        // What the process would do when its values are dropped, it does not do when it is killed.
        here.disk.stop_after(Some(0));
        drop(shell);
        here.tasks = Tasks::default();
        here.disk.stop_after(None);
        here.disk.crash_process();
        here.paused_until = 0;
        for connection in &mut here.connections {
            connection.id += 1;
            connection.outstanding.clear();
        }
        self.process_ended(nn);
        self.namenode_left_datanodes(nn);
        self.namenode_left_peers(nn);
        for client in 0..self.clients.len() {
            self.client_connection_breaks(client, nn);
        }
        let back = self.rng.u64(5_000..500_000);
        self.after(back, Event::StartNameNode(nn));
    }

    /// Does something in a process, lets its tasks go on, and does what it asks for.
    pub(super) fn in_process(&mut self, nn: usize, life: u64, act: impl FnOnce(&Shell)) {
        let here = &mut self.nns[nn];
        let Some(shell) = here.shell.clone().filter(|_| here.life == life) else {
            return;
        };
        shell.set_time(here.clock.at(self.now), self.now);
        act(&shell);
        here.tasks.poll();
        while shell.take_changed() {
            here.tasks.poll();
        }
        let out = shell.take_out();
        if self.has_stopped(nn) {
            return;
        }
        for out in out {
            if self.nns[nn].life == life && self.nns[nn].shell.is_some() {
                self.comes_out(nn, out);
            }
        }
        self.schedule_wake(nn, &shell);
    }

    fn schedule_wake(&mut self, nn: usize, shell: &Shell) {
        let here = &mut self.nns[nn];
        let of_log = shell.look(|process| process.log.wake_at());
        let Some(local) = shell.next_timer().into_iter().chain(of_log).min() else {
            return;
        };
        let at = here.clock.when(local).max(self.now + 1);
        if here.wake_at.is_none_or(|known| at < known) {
            here.wake_at = Some(at);
            let nn_life = here.life;
            self.at(at, Event::Wake { nn, nn_life });
        }
    }

    pub(super) fn wake(&mut self, nn: usize, life: u64) {
        if self.nns[nn].life == life {
            self.nns[nn].wake_at = None;
        }
        self.in_process(nn, life, |shell| {
            if shell
                .look(|process| process.log.wake_at())
                .is_some_and(|at| at <= shell.us())
            {
                shell.with_log(|log, now, actions| log.tick(now, actions));
            }
        });
    }

    pub(super) fn look_at_log(&mut self, nn: usize, life: u64) {
        if self.nns[nn].life == life {
            self.nns[nn].log_is_due = false;
        }
        self.in_process(nn, life, |shell| shell.with_log(|_, _, _| {}));
    }

    pub(super) fn call_arrives(&mut self, nn: usize, call: &Call) {
        if self.nns[nn].shell.is_none() {
            return self.caller_connection_breaks(call.from, nn);
        }
        let (life, caller) = (self.nns[nn].life, call.from);
        self.say(format_args!("{} of {caller:?} at NameNode {nn}", call.method));
        self.in_process(nn, life, |shell| serve::serve(shell, call));
    }

    pub(super) fn hand_over(&mut self, nn: usize, life: u64, (reply, made): (Parked, Made)) {
        self.in_process(nn, life, |shell| serve::answer(shell, reply, made));
    }

    pub(super) fn asked_for_role(&mut self, nn: usize, to_active: bool, by: Asker) {
        if self.nns[nn].shell.is_none() {
            return self.role_answered(nn, by, false);
        }
        let life = self.nns[nn].life;
        self.say(format_args!(
            "NameNode {nn} is asked by {by:?} for the active role: {to_active}"
        ));
        let is_patient = by == Asker::Administrator;
        self.in_process(nn, life, |shell| {
            shell.with(|process| process.asked.push_back((to_active, is_patient, by)));
        });
    }

    fn send_image(&mut self, from: usize, to: usize, image: SentImage) {
        let passes = self.passes(Node::NameNode(from), Node::NameNode(to));
        let offered = self.around(self.knobs.delay);
        let mut takes = self.around(10 * self.knobs.delay);
        let txid = image.txid;
        let mut came = Some(image);
        if !self.healed && self.one_in(8) && self.fault("slow upload") {
            takes += self.rng.u64(0..1_500_000);
        }
        if !self.healed && self.one_in(12) {
            if self.rng.bool() {
                if self.fault("upload interrupted") {
                    came = None;
                }
            } else if self.fault("torn upload")
                && let Some(image) = &mut came
            {
                let length = self.rng.usize(0..image.bytes.len());
                image.bytes.truncate(length);
            }
        }
        if passes {
            let offer = Event::Offer {
                nn: to,
                txid,
                takes,
                came,
            };
            self.after(offered, offer);
        }
    }

    pub(super) fn image_offered(&mut self, nn: usize, txid: u64, takes: Micros, came: Option<SentImage>) {
        let nn_life = self.nns[nn].life;
        let mut place = None;
        self.in_process(nn, nn_life, |shell| place = checkpoints::offered(shell, txid));
        if let Some(place) = place {
            let image = Event::Image {
                nn,
                nn_life,
                place,
                came,
            };
            self.after(takes, image);
        }
    }

    pub(super) fn image_arrives(&mut self, (nn, life): (usize, u64), place: &Canceler, came: Option<SentImage>) {
        self.in_process(nn, life, |shell| checkpoints::received(shell, place, came));
    }

    fn comes_out(&mut self, nn: usize, out: Out) {
        let life = self.nns[nn].life;
        let waits = (nn, life);
        match out {
            Out::Ask {
                jn,
                request,
                timeout,
                done,
            } => self.ask(Single::task(waits, done, Ended::answer), jn, request, timeout),
            Out::Download {
                jn,
                start: TxId(start),
                in_progress,
                done,
            } => {
                let event = |call| Event::Download {
                    call,
                    jn,
                    start,
                    in_progress,
                };
                let single = Single::task(waits, done, Ended::file);
                self.ask_machine(single, Node::JournalNode(jn), LONGEST_FETCH, event);
            }
            Out::FetchImage { from, done } => {
                let event = |call| Event::WantImage { call, nn: from };
                let single = Single::task(waits, done, Ended::image);
                self.ask_machine(single, Node::NameNode(from), LONGEST_FETCH, event);
            }
            Out::AskState { to, done } => {
                let event = |call| Event::WantState { call, nn: to };
                let single = Single::task(waits, done, Ended::state);
                self.ask_machine(single, Node::NameNode(to), LONGEST_FETCH, event);
            }
            Out::SendImage { to, image } => self.send_image(nn, to, image),
            Out::Send {
                attempt,
                jn,
                call,
                request,
                timeout,
            } => self.send(nn, jn, World::numbered(attempt, call), request, timeout),
            Out::Reply(reply) => self.reply_leaves(nn, reply),
            Out::PassBack(to, result, remembers_from) => {
                self.answer_client(nn, to, Heard::Answer(result, remembers_from), 0);
            }
            Out::AskClock { to, done } => {
                let single = Single::task(waits, done, Ended::clock).over_connection(to);
                self.ask_for_clock(single, to);
            }
            Out::PassOn { to, call, done } => {
                let single = Single::task(waits, done, Ended::passed).over_connection(to);
                self.pass_on(single, to, *call);
            }
            Out::BeganForOther(caller) => self.began_for_other(nn, caller),
            Out::Refuse(to, exception) => self.answer_client(nn, to, Heard::Answer(Err(exception), 0), 0),
            Out::Reset(to) => self.answer_client(nn, to, Heard::Broken, 0),
            Out::Later(later, reply) => {
                let nn_life = life;
                self.after(later, Event::HandOver { nn, nn_life, reply });
            }
            Out::WakeLog => {
                if !std::mem::replace(&mut self.nns[nn].log_is_due, true) {
                    let soon = self.rng.u64(10..400);
                    self.after(soon, Event::Log { nn, nn_life: life });
                }
            }
            Out::Answered(by, done) => self.role_answered(nn, by, done),
            Out::Shipped(edits) => self.shipped(nn, &edits),
            Out::Synced(epoch, txid) => self.synced(nn, epoch.0, txid.0),
            Out::Recovered(epoch, last) => self.recovered(nn, epoch.0, last.map(|last| last.0)),
            Out::Reelected(epoch) => self.reelected(nn, epoch.0),
            Out::Active(applied, digest) => self.becomes_active(nn, applied, digest),
            Out::Image(news) => self.image_news(nn, news),
            Out::End(_) => {
                self.mark("a process ended itself");
                self.kill_namenode(nn);
            }
            Out::Mark(what) => {
                self.say(format_args!("NameNode {nn}:"));
                self.mark(what);
            }
        }
    }

    /// The lease was looked at, and now the reply is sent. The process may stand still in between.
    fn reply_leaves(&mut self, nn: usize, reply: Parked) {
        let verdict = self.truth.service.answers(nn, self.nns[nn].epoch);
        self.check(verdict);
        let mut later = 0;
        if !self.healed && self.one_in(60) && self.fault("paused before a reply left") {
            later = self.rng.u64(0..3_000 * u64::from(self.knobs.lease_ms));
            self.pause_namenode(nn, later);
        }
        let remembers_from = self.nns[nn]
            .shell
            .as_ref()
            .map_or(0, |shell| shell.look(|process| process.remembers_from));
        self.answer_client(nn, reply.to, Heard::Answer(reply.result, remembers_from), later);
    }

    fn caller_connection_breaks(&mut self, caller: Caller, nn: usize) {
        match caller {
            Caller::Client { client, .. } => self.client_connection_breaks(client, nn),
            // It hears of the death of the process.
            Caller::DataNode { .. } => {}
            Caller::NameNode { call } => self.passed_on_answered(nn, call, Heard::Broken),
        }
    }

    fn answer_client(&mut self, nn: usize, to: Caller, heard: Heard, later: Micros) {
        let (client, attempt) = match to {
            Caller::Client { client, attempt } => (client, attempt),
            Caller::DataNode { node, number } => return self.heartbeat_answered(nn, (node, number), heard),
            Caller::NameNode { call } => return self.passed_on_answered(nn, call, heard),
        };
        if !self.passes(Node::NameNode(nn), Node::Client(client)) {
            return;
        }
        let mut arrival = later + self.around(self.knobs.delay);
        if !self.healed && self.one_in(self.knobs.loss_one_in) {
            if self.rng.bool() && self.fault("lost answer") {
                return;
            }
            if self.fault("late answer") {
                arrival += self.rng.u64(0..2_000_000);
            }
        }
        let event = Event::Client { client, attempt, heard };
        self.after(arrival, event);
    }

    /// Its process stands still.
    pub(super) fn pause_namenode(&mut self, nn: usize, length: Micros) {
        let until = self.now + length;
        self.nns[nn].paused_until = self.nns[nn].paused_until.max(until);
        if self.is(ClusterMutant::LeaseClockStands) {
            self.nns[nn].clock.stand(self.now, until);
        }
    }
}

/// Shorter than in a real process, so that faults happen in between.
fn timeouts(lease_ms: u32) -> WriterTimeouts {
    let timeout = 1_500_000;
    WriterTimeouts {
        start_segment: timeout,
        prepare_recovery: timeout,
        accept_recovery: timeout,
        finalize_segment: timeout,
        get_journal_state: timeout,
        new_epoch: timeout,
        write_txns: timeout,
        reelect_after: 20_000 + 500 * u64::from(lease_ms),
    }
}

/// Ends segments now and then, as the monitor of an active's own edits and standbys do.
async fn roll(shell: Shell) {
    loop {
        shell.sleep_up_to(2 * shell.settings().knobs.roll_every).await;
        let wall_ms = shell.now().wall_ms;
        let rolled = shell
            .with(|process| process.ns.edit_log().is_open_for_write() && process.ns.roll_edit_log(wall_ms).is_ok());
        if rolled {
            shell.mark("rolled");
            shell.with_log(|_, _, _| {});
        }
    }
}

//! A JournalNode: a disk, a clock, and an acceptor while the process lives. It does for the acceptor what the shell
//! does.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hathi_formats::exceptions::{self, RemoteException};
use hathi_journal::acceptor::{Download, SyncJob};
use hathi_journal::messages::Answer;
use hathi_journal::mutant::{Mutant, Mutation};
use hathi_journal::writer::CallError;
use hathi_journal::{Acceptor, AcceptorOptions, Handled, Request};
use hathi_storage::SimDisk;
use hathi_storage::sim_disk::SimFile;

use crate::network::Message;

/// Longest lease that a simulated JournalNode grants.
pub const MAX_LEASE_MS: u32 = 1_000;

/// Address of a JournalNode.
pub fn address(index: usize) -> String {
    format!("jn{index}:8485")
}

/// A clock that runs a little fast or slow, and may stop and jump forward.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Deviation of its rate in parts per million.
    pub drift_ppm: i64,
    /// The time that it showed at `since`.
    pub offset: u64,
    /// The true time at which it last changed its rate, jumped, or stood still.
    pub since: u64,
    /// It stands still until this true time.
    pub stands_until: u64,
}

impl Clock {
    /// A clock that shows `offset` at time 0.
    pub fn new(drift_ppm: i64, offset: u64) -> Self {
        Clock {
            drift_ppm,
            offset,
            since: 0,
            stands_until: 0,
        }
    }

    /// The time that it shows at a true time.
    pub fn at(self, now: u64) -> u64 {
        let passed = now.saturating_sub(self.since.max(self.stands_until)) as i128;
        let gained = passed * i128::from(self.drift_ppm) / 1_000_000;
        self.offset + (passed + gained) as u64
    }

    /// The true time at which it will show at least `local`, at its present rate.
    pub fn when(self, local: u64) -> u64 {
        let shown = i128::from(local.saturating_sub(self.offset));
        let passed = (shown * 1_000_000 / i128::from(1_000_000 + self.drift_ppm)) as u64;
        let mut now = self.since.max(self.stands_until) + passed;
        while self.at(now) < local {
            now += 1;
        }
        now
    }

    /// Makes it jump forward, and run at another rate.
    pub fn change(&mut self, now: u64, forward: u64, drift_ppm: i64) {
        self.offset = self.at(now) + forward;
        self.since = now;
        self.drift_ppm = drift_ppm;
    }

    /// Makes it stand still until then.
    pub fn stand(&mut self, now: u64, until: u64) {
        self.change(now, 0, self.drift_ppm);
        self.stands_until = self.stands_until.max(until);
    }
}

/// Answers that wait for a sync.
#[derive(Debug, Default)]
pub struct Waiting {
    answers: Vec<(Message, Answer)>,
}

/// Work of the world for a JournalNode.
#[derive(Debug)]
pub enum Effect {
    /// Send an answer.
    Answer(Box<Message>, Result<Answer, CallError>),
    /// Call `sync_done` when the time of a sync has passed.
    Sync,
    /// Fetch a segment, then call `fetched`.
    Fetch(Box<Message>, Download),
}

/// One JournalNode.
#[derive(Debug)]
pub struct JournalNode {
    /// Index of the JournalNode.
    pub index: usize,
    /// The disk, which survives the process.
    pub disk: SimDisk,
    /// The acceptor, while the process lives.
    pub acceptor: Option<Acceptor<SimDisk>>,
    /// Number of starts.
    pub life: u64,
    /// Its clock.
    pub clock: Clock,
    /// Whether it behaves as Java's.
    pub java: bool,
    /// Factor by which its syncs take longer.
    pub slowness: u64,
    /// Longest lease that it grants, as configured at its next start.
    pub max_lease_ms: u32,
    /// Whether its disk was emptied in this run.
    pub wiped: bool,
    /// Whether a bit of its disk was flipped in this run.
    pub damaged: bool,
    /// The segments with a flipped bit, by their first transaction.
    pub flipped: BTreeSet<u64>,
    waiting: Waiting,
    /// Calls of nobody in this world that wait for something, and until when.
    parked: Vec<(Request, u64)>,
    /// Calls that wait for something, and until when, on its clock.
    parked_calls: Vec<(Message, u64)>,
    syncing: Option<(SyncJob<SimFile>, Waiting)>,
    mutation: Mutation,
}

fn remote(error: hathi_journal::JournalError) -> CallError {
    CallError::Remote(RemoteException::from(error))
}

impl JournalNode {
    /// A JournalNode that is down, with an empty disk.
    pub fn new(index: usize, clock: Clock, java: bool, mutant: Option<Mutant>) -> Self {
        let disk = SimDisk::new();
        disk.lose_directories_whole();
        JournalNode {
            index,
            disk,
            acceptor: None,
            life: 0,
            clock,
            java,
            slowness: 1,
            max_lease_ms: MAX_LEASE_MS,
            wiped: false,
            damaged: false,
            flipped: BTreeSet::new(),
            waiting: Waiting::default(),
            parked: Vec::new(),
            parked_calls: Vec::new(),
            syncing: None,
            mutation: Mutation::planted(mutant),
        }
    }

    /// Directory of the journal on every disk.
    pub fn root() -> PathBuf {
        PathBuf::from("/journal/ns")
    }

    /// Starts the process.
    pub fn start(&mut self, now: u64) -> Result<(), String> {
        let mut options = AcceptorOptions::new("ns");
        options.preallocate_bytes = 2048;
        options.max_lease_ms = self.max_lease_ms;
        options.cache_bytes = 10_000;
        options.mutation = self.mutation;
        options.from_url = Some(format!("http://unknown:{}", 8000 + self.index));
        let opened = Acceptor::open(self.disk.clone(), Self::root(), options, self.clock.at(now));
        let acceptor = opened.map_err(|error| format!("JournalNode {} does not start: {error}", self.index))?;
        self.acceptor = Some(acceptor);
        self.life += 1;
        Ok(())
    }

    /// Ends the process. The caller decides what happens to the disk.
    pub fn stop(&mut self) {
        self.acceptor = None;
        self.waiting = Waiting::default();
        self.parked.clear();
        self.parked_calls.clear();
        self.syncing = None;
    }

    /// Takes a request of somebody who is not in this world and hears no answer; whether it waits.
    pub fn request_of_nobody(&mut self, request: &Request, now: u64) -> bool {
        let local = self.clock.at(now);
        self.try_parked(local);
        let Some(acceptor) = &mut self.acceptor else {
            return false;
        };
        let Handled::Park { until } = acceptor.handle(request, local) else {
            return false;
        };
        self.parked.push((request.clone(), until));
        true
    }

    /// Those who wait come before whoever comes now.
    fn try_parked(&mut self, local: u64) {
        let Some(acceptor) = &mut self.acceptor else {
            return;
        };
        for (request, until) in std::mem::take(&mut self.parked) {
            if let Handled::Park { until } = acceptor.handle_parked(&request, until, local) {
                self.parked.push((request, until));
            }
        }
    }

    /// Takes a request that has arrived.
    pub fn request(&mut self, mut message: Message, now: u64) -> Vec<Effect> {
        let local = self.clock.at(now);
        self.try_parked(local);
        let java = self.java;
        let Some(acceptor) = &mut self.acceptor else {
            return Vec::new();
        };
        if java {
            forget_extensions(&mut message.request);
            follow_any_call(acceptor, &message.request, local);
            if matches!(message.request, Request::ResumeSegment { .. }) {
                let unknown = RemoteException::new(exceptions::RPC_NO_SUCH_PROTOCOL, "unknown protocol");
                return vec![Effect::Answer(Box::new(message), Err(CallError::Remote(unknown)))];
            }
        }
        let handled = acceptor.handle(&message.request, local);
        let mut effects = Vec::new();
        match handled {
            Handled::Now(result) => effects.push(Effect::Answer(Box::new(message), result.map_err(remote))),
            Handled::AfterSync(answer) => {
                self.waiting.answers.push((message, answer));
                effects.extend(self.begin_sync());
            }
            Handled::Download(download) => effects.push(Effect::Fetch(Box::new(message), download)),
            Handled::Park { until } => self.parked_calls.push((message, until)),
        }
        effects.extend(self.try_parked_calls(local));
        effects
    }

    /// Answers the calls that waited, if they need not wait any more.
    fn try_parked_calls(&mut self, local: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(acceptor) = &mut self.acceptor else {
            return effects;
        };
        for (message, until) in std::mem::take(&mut self.parked_calls) {
            match acceptor.handle_parked(&message.request, until, local) {
                Handled::Now(result) => effects.push(Effect::Answer(Box::new(message), result.map_err(remote))),
                Handled::AfterSync(_) | Handled::Download(_) => {}
                Handled::Park { until } => self.parked_calls.push((message, until)),
            }
        }
        effects
    }

    /// The true time at which [`JournalNode::wake`] has to be called, if calls wait here.
    pub fn wake_at(&self) -> Option<u64> {
        let waits = self.parked_calls.iter().map(|(_, until)| *until).min()?;
        let lease = self.acceptor.as_ref().and_then(Acceptor::wake_at);
        Some(self.clock.when(lease.map_or(waits, |lease| lease.min(waits))))
    }

    /// Time has passed.
    pub fn wake(&mut self, now: u64) -> Vec<Effect> {
        let local = self.clock.at(now);
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.tick(local);
        }
        self.try_parked_calls(local)
    }

    /// Starts a sync for the waiting answers, unless one is under way.
    fn begin_sync(&mut self) -> Vec<Effect> {
        let Some(acceptor) = &mut self.acceptor else {
            return Vec::new();
        };
        if self.syncing.is_some() || self.waiting.answers.is_empty() {
            return Vec::new();
        }
        match acceptor.begin_sync() {
            Ok(Some(job)) => {
                self.syncing = Some((job, std::mem::take(&mut self.waiting)));
                vec![Effect::Sync]
            }
            // Something else has synced them meanwhile.
            Ok(None) => release(std::mem::take(&mut self.waiting), Ok(())),
            Err(error) => release(std::mem::take(&mut self.waiting), Err(remote(error))),
        }
    }

    /// The sync under way has ended.
    pub fn sync_done(&mut self) -> Vec<Effect> {
        let (Some(acceptor), Some((job, waiting))) = (&mut self.acceptor, self.syncing.take()) else {
            return Vec::new();
        };
        let result = job.run();
        let ended = acceptor.end_sync(job, result).map_err(remote);
        let mut effects = release(waiting, ended);
        effects.extend(self.begin_sync());
        effects
    }

    /// A segment was fetched into its place, or could not be.
    pub fn fetched(
        &mut self,
        message: Message,
        download: Download,
        result: Result<(), String>,
        now: u64,
    ) -> Vec<Effect> {
        let local = self.clock.at(now);
        let Some(acceptor) = &mut self.acceptor else {
            return Vec::new();
        };
        let answer = acceptor.downloaded(download, result, local).map_err(remote);
        vec![Effect::Answer(Box::new(message), answer)]
    }

    /// Whether any lease runs here.
    pub fn lease_runs(&self, now: u64) -> bool {
        let local = self.clock.at(now);
        let state = self
            .acceptor
            .as_ref()
            .and_then(|acceptor| acceptor.lease_state(local).ok());
        state.is_some_and(|state| state.remaining_ms > 0)
    }
}

fn release(waiting: Waiting, ended: Result<(), CallError>) -> Vec<Effect> {
    let answers = waiting.answers.into_iter();
    answers
        .map(|(message, answer)| {
            let result = ended.clone().map(|()| answer);
            Effect::Answer(Box::new(message), result)
        })
        .collect()
}

/// A Java JournalNode promises the epoch of any call that is higher than its promise.
fn follow_any_call(acceptor: &mut Acceptor<SimDisk>, request: &Request, local: u64) {
    if let Some(info) = request.info()
        && acceptor.promised_epoch().is_some_and(|promised| promised < info.epoch)
    {
        let promise = Request::NewEpoch {
            ns_info: crate::namenode::namespace_info(),
            epoch: info.epoch,
            lease: None,
            established: true,
        };
        let _ = acceptor.handle(&promise, local);
    }
}

/// Removes the fields that a Java JournalNode does not read.
fn forget_extensions(request: &mut Request) {
    match request {
        Request::NewEpoch { lease, established, .. } => {
            *lease = None;
            *established = false;
        }
        Request::AcceptRecovery { info, chosen_epoch, .. } => {
            info.lease = None;
            *chosen_epoch = None;
        }
        Request::StartLogSegment { info, .. }
        | Request::Journal { info, .. }
        | Request::Heartbeat { info }
        | Request::FinalizeLogSegment { info, .. }
        | Request::PurgeLogsOlderThan { info, .. }
        | Request::PrepareRecovery { info, .. }
        | Request::ResumeSegment { info, .. } => info.lease = None,
        _ => {}
    }
}

//! One journal: its queue, the thread that owns its disk, and what may be read without waiting for either.
//!
//! A writer's connection moves to that thread with its first edits: the thread reads them from the socket, hands them to
//! the acceptor, syncs once for all that came with one read, and answers, with no hand-over to another thread between.
//! Whatever else changes the journal goes through the queue, in the order in which it came. The acceptor's lock is not
//! held during a sync, so that a slow disk delays only who waits for it: leases and recent edits are answered meanwhile,
//! on the reactor itself. A failed sync is final: the acceptor refuses everything from then on.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use hathi_formats::exceptions::{IO, RETRIABLE, RemoteException};
use hathi_formats::ids::{Epoch, NamespaceInfo, TxId};
use hathi_journal::acceptor::Download;
use hathi_journal::segments::SegmentName;
use hathi_journal::{Acceptor, AcceptorOptions, Answer, Handled, JournalError, Membership, Micros, Request};
use hathi_net::clock::BootClock;
use hathi_net::ipc::Responder;
use hathi_storage::OsDisk;
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::metrics::{Figures, JournalMetrics};

/// Queued calls above which more are refused.
const MAX_QUEUED: usize = 10_000;
/// Queued bytes of edits above which more are refused.
const MAX_QUEUED_BYTES: usize = 256 << 20;
/// Calls that wait for something to happen (lease watchers, tailers) above which more are refused.
const MAX_PARKED: usize = 10_000;
/// Pause between attempts to open a journal that cannot be opened.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

thread_local! {
    /// The journal of this thread, while calls of one socket read are being handled on it.
    static TURN: RefCell<Option<Arc<Journal>>> = const { RefCell::new(None) };
}

/// Ends what the calls of one socket read began on a journal's own thread: one sync for all of them, then the answers.
pub fn end_turn() {
    if let Some(journal) = TURN.take() {
        journal.finish();
        // What is left to do comes after the answers.
        journal.queued.notify_one();
    }
}

/// Who waits for an answer.
#[derive(Debug)]
pub enum ReplyTo {
    /// An RPC, with its method's name.
    Rpc(Responder, &'static str),
    /// A task of this process.
    Here(oneshot::Sender<Result<Answer, RemoteException>>),
}

impl ReplyTo {
    pub fn send(self, answer: Result<Answer, RemoteException>) {
        match self {
            ReplyTo::Rpc(responder, method) => match answer {
                Ok(answer) => responder.ok_encoded(&answer.encode(method)),
                Err(exception) => responder.error(&exception),
            },
            // Nobody may be waiting any more.
            ReplyTo::Here(waiting) => drop(waiting.send(answer)),
        }
    }

    /// Whether nobody waits any more.
    fn is_closed(&self) -> bool {
        match self {
            ReplyTo::Rpc(responder, _) => responder.is_closed(),
            ReplyTo::Here(waiting) => waiting.is_closed(),
        }
    }
}

/// A segment that the acceptor wants, on its way to who fetches it.
#[derive(Debug)]
pub struct Fetch {
    pub journal: Arc<Journal>,
    pub download: Download,
    pub reply: ReplyTo,
}

enum Job {
    Call(Request, ReplyTo),
    Downloaded(Download, Result<(), String>, ReplyTo),
    FormatJoining(NamespaceInfo, Epoch, Option<Membership>, ReplyTo),
    /// A finalized segment fetched from a peer.
    Adopt(PathBuf, TxId, TxId, ReplyTo),
    /// A finalized segment that is damaged.
    Quarantine(TxId, TxId, ReplyTo),
    /// What the peers have promised, when it is not known here.
    RecoverPromise(Epoch, ReplyTo),
}

impl Job {
    fn into_reply(self) -> ReplyTo {
        match self {
            Job::Call(_, reply)
            | Job::Downloaded(.., reply)
            | Job::FormatJoining(.., reply)
            | Job::Adopt(.., reply)
            | Job::Quarantine(.., reply)
            | Job::RecoverPromise(_, reply) => reply,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Job::Call(Request::Journal { records, .. }, _) => records.len(),
            _ => 0,
        }
    }
}

#[derive(Default)]
struct Queue {
    /// With the moment in which each came.
    jobs: VecDeque<(Micros, Job)>,
    bytes: usize,
    stop: bool,
}

struct Parked {
    request: Request,
    reply: ReplyTo,
    until: Micros,
}

impl Parked {
    /// Whoever asked for a promise has gone away. Others are not looked at: what they get is lost, and nothing else.
    fn is_gone(&self) -> bool {
        matches!(self.request, Request::NewEpoch { .. }) && self.reply.is_closed()
    }
}

struct Inner {
    acceptor: Option<Acceptor<OsDisk>>,
    open_error: Option<(Instant, RemoteException)>,
    parked: Vec<Parked>,
    /// The acceptor's version when parked calls were last tried.
    parked_version: u64,
    /// Answers that wait for a sync that has not begun.
    after_sync: Vec<(Answer, ReplyTo)>,
    /// When the thread wakes by itself.
    wakes_at: Option<Micros>,
}

impl Inner {
    /// When the first parked call's time is over, or the acceptor wants to be called.
    fn wake_at(&self) -> Option<Micros> {
        let parked = self.parked.iter().map(|parked| parked.until).min();
        let wanted = self.acceptor.as_ref().and_then(Acceptor::wake_at);
        parked.into_iter().chain(wanted).min()
    }
}

/// A journal of this JournalNode.
pub struct Journal {
    root: PathBuf,
    options: AcceptorOptions,
    clock: BootClock,
    queue: Mutex<Queue>,
    queued: Notify,
    /// Where the segment ends that was finalized last.
    finalized_end: AtomicU64,
    /// A segment was opened that does not follow the one finalized last.
    gap: Notify,
    /// Taken by the journal's thread for each batch, but not while it syncs one; by the reactor only when it is free.
    inner: Mutex<Inner>,
    /// Calls that came while it was taken, and that what is in memory answers.
    waiting_for_lock: Mutex<Vec<(Request, ReplyTo)>>,
    metrics: JournalMetrics,
    fetches: mpsc::UnboundedSender<Fetch>,
    /// Where the thread's tasks run.
    runtime: Handle,
    thread: Mutex<Option<JoinHandle<()>>>,
    thread_id: OnceLock<ThreadId>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Starts the thread of a journal, which opens it. `clock` is the acceptor's.
    pub fn start(
        root: PathBuf,
        options: AcceptorOptions,
        clock: BootClock,
        fetches: mpsc::UnboundedSender<Fetch>,
    ) -> std::io::Result<Arc<Journal>> {
        let name = format!("journal-{}", options.journal_id);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let journal = Arc::new(Journal {
            root,
            options,
            clock,
            queue: Mutex::default(),
            waiting_for_lock: Mutex::default(),
            queued: Notify::new(),
            finalized_end: AtomicU64::new(0),
            gap: Notify::new(),
            inner: Mutex::new(Inner {
                acceptor: None,
                open_error: None,
                parked: Vec::new(),
                parked_version: 0,
                after_sync: Vec::new(),
                wakes_at: None,
            }),
            metrics: JournalMetrics::new(),
            fetches,
            runtime: runtime.handle().clone(),
            thread: Mutex::new(None),
            thread_id: OnceLock::new(),
        });
        let running = journal.clone();
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || running.run(&runtime))?;
        *journal.thread.lock() = Some(thread);
        Ok(journal)
    }

    /// The journal's id.
    pub fn id(&self) -> &str {
        &self.options.journal_id
    }

    /// The directory of the journal.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Ends the thread after what is queued.
    pub fn stop(&self) {
        self.queue.lock().stop = true;
        self.queued.notify_one();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(journal = self.id(), "the journal's thread panicked");
        }
    }

    fn now(&self) -> Micros {
        self.clock.us()
    }

    fn on_own_thread(&self) -> bool {
        self.thread_id.get() == Some(&std::thread::current().id())
    }

    /// Takes a call, on the reactor or on this journal's own thread.
    pub fn call(self: &Arc<Self>, request: Request, reply: ReplyTo) {
        if self.on_own_thread() {
            if self.queue.lock().jobs.is_empty() {
                self.work(&mut self.inner.lock(), Job::Call(request, reply));
            } else {
                // It may not overtake what came before it.
                self.push(Job::Call(request, reply));
            }
            TURN.set(Some(self.clone()));
            return;
        }
        // What is in memory waits for the lock at most, never in the queue: a sync may be under way there, on a disk that
        // stands still.
        if matches!(
            request,
            Request::GetJournaledEdits { .. } | Request::WatchLease { .. } | Request::GetJournalState
        ) {
            match self.inner.try_lock() {
                Some(inner) => self.answer_from_memory(inner, [(request, reply)]),
                None => self.answer_when_free(request, reply),
            }
            return;
        }
        if matches!(request, Request::Journal { .. })
            && let ReplyTo::Rpc(responder, _) = &reply
        {
            responder.move_to(&self.runtime);
        }
        self.push(Job::Call(request, reply));
    }

    /// One thread waits for the lock, however many calls do.
    fn answer_when_free(self: &Arc<Self>, request: Request, reply: ReplyTo) {
        let mut waiting = self.waiting_for_lock.lock();
        if waiting.len() >= MAX_PARKED {
            return reply.send(Err(RemoteException::new(
                RETRIABLE,
                "too many calls wait for this journal",
            )));
        }
        waiting.push((request, reply));
        if waiting.len() == 1 {
            let journal = self.clone();
            drop(tokio::task::spawn_blocking(move || {
                let inner = journal.inner.lock();
                let waiting = std::mem::take(&mut *journal.waiting_for_lock.lock());
                journal.answer_from_memory(inner, waiting);
            }));
        }
    }

    fn answer_from_memory(
        self: &Arc<Self>,
        mut inner: MutexGuard<'_, Inner>,
        calls: impl IntoIterator<Item = (Request, ReplyTo)>,
    ) {
        let now = self.now();
        for (request, reply) in calls {
            if inner.acceptor.is_some() {
                self.handle(&mut inner, request, reply, now);
            } else {
                // The journal's thread opens it first.
                self.push(Job::Call(request, reply));
            }
        }
        let earlier = match (inner.wake_at(), inner.wakes_at) {
            (Some(at), Some(wakes_at)) => at < wakes_at,
            (at, _) => at.is_some(),
        };
        if earlier || !inner.after_sync.is_empty() {
            drop(inner);
            self.queued.notify_one();
        }
    }

    /// [`Journal::call`] for a task of this process.
    pub async fn ask(self: &Arc<Self>, request: Request) -> Result<Answer, RemoteException> {
        self.wait_for(|reply| Job::Call(request, reply)).await
    }

    /// Formats a journal that lost its directory, keeping it out of votes until a writer has caught it up.
    pub async fn format_joining(
        &self,
        info: NamespaceInfo,
        promise: Epoch,
        membership: Option<Membership>,
    ) -> Result<Answer, RemoteException> {
        self.wait_for(|reply| Job::FormatJoining(info, promise, membership, reply))
            .await
    }

    /// Returns when segments may be missing here that peers have.
    pub async fn may_lack_segments(&self) {
        self.gap.notified().await;
    }

    /// Takes a finalized segment over from a file that was fetched; false when it is not wanted (any more).
    pub async fn adopt(&self, from: PathBuf, start: TxId, end: TxId) -> Result<bool, RemoteException> {
        let answer = self.wait_for(|reply| Job::Adopt(from, start, end, reply)).await?;
        Ok(answer == Answer::IsFormatted(true))
    }

    /// Puts a finalized segment aside if it is damaged; whether it was.
    pub async fn quarantine(&self, start: TxId, end: TxId) -> Result<bool, RemoteException> {
        let answer = self.wait_for(|reply| Job::Quarantine(start, end, reply)).await?;
        Ok(answer == Answer::IsFormatted(true))
    }

    /// Whether this JournalNode does not know what it has promised.
    pub fn needs_promise(&self) -> bool {
        self.with_acceptor(Acceptor::needs_promise).unwrap_or(false)
    }

    /// Takes over what the peers have promised.
    pub async fn recover_promise(&self, promise: Epoch) -> Result<(), RemoteException> {
        self.wait_for(|reply| Job::RecoverPromise(promise, reply))
            .await
            .map(drop)
    }

    /// What is counted here, beside the acceptor.
    pub(crate) fn metrics(&self) -> &JournalMetrics {
        &self.metrics
    }

    /// The numbers of this journal as a bean's attributes.
    pub fn attributes(&self) -> Result<serde_json::Value, RemoteException> {
        Ok(self.metrics.attributes(self.id(), &self.figures()?))
    }

    async fn wait_for(&self, job: impl FnOnce(ReplyTo) -> Job) -> Result<Answer, RemoteException> {
        let (reply, answered) = oneshot::channel();
        self.push(job(ReplyTo::Here(reply)));
        answered
            .await
            .unwrap_or_else(|_| Err(RemoteException::new(IO, "the journal was stopped")))
    }

    /// The segment of a recovery was fetched, or could not be.
    pub fn downloaded(&self, download: Download, result: Result<(), String>, reply: ReplyTo) {
        self.push(Job::Downloaded(download, result, reply));
    }

    fn push(&self, job: Job) {
        let refused = {
            let mut queue = self.queue.lock();
            let bytes = job.bytes();
            if queue.stop || queue.jobs.len() >= MAX_QUEUED || queue.bytes + bytes > MAX_QUEUED_BYTES {
                Some(job)
            } else {
                queue.bytes += bytes;
                queue.jobs.push_back((self.now(), job));
                None
            }
        };
        self.queued.notify_one();
        if let Some(job) = refused {
            job.into_reply().send(Err(RemoteException::new(
                RETRIABLE,
                "too many calls are queued for this journal",
            )));
        }
    }

    /// Something of the acceptor, opening the journal if need be. May wait for the disk.
    pub fn with_acceptor<T>(&self, look: impl FnOnce(&Acceptor<OsDisk>) -> T) -> Result<T, RemoteException> {
        self.with_acceptor_mut(|acceptor| look(acceptor))
    }

    /// [`Journal::with_acceptor`] for what may complete something on the disk.
    pub fn with_acceptor_mut<T>(&self, act: impl FnOnce(&mut Acceptor<OsDisk>) -> T) -> Result<T, RemoteException> {
        let mut inner = self.inner.lock();
        self.open(&mut inner)?;
        let acceptor = inner
            .acceptor
            .as_mut()
            .ok_or_else(|| RemoteException::new(IO, "the journal is not open"))?;
        Ok(act(acceptor))
    }

    /// The numbers of now. May wait for the disk.
    pub fn figures(&self) -> Result<Figures, RemoteException> {
        let now = self.now();
        let segments = self.segment_sizes();
        self.with_acceptor(|acceptor| Figures {
            counters: acceptor.counters(),
            gauges: acceptor.gauges(),
            // Not formatted: nothing was promised.
            lease: acceptor.lease_state(now).unwrap_or_default(),
            failure: acceptor.failure().map(str::to_owned),
            doubt: acceptor.doubt().map(str::to_owned),
            promise_lost: acceptor.needs_promise(),
            segments,
        })
    }

    /// How many segments there are, and how many bytes they have, without the lock.
    fn segment_sizes(&self) -> (u64, u64) {
        let current = self.root.join("current");
        let entries = std::fs::read_dir(current).into_iter().flatten().flatten();
        let segments = entries.filter(|entry| SegmentName::parse(&entry.file_name().to_string_lossy()).is_some());
        let sizes = segments.filter_map(|entry| Some(entry.metadata().ok()?.len()));
        sizes.fold((0, 0), |(count, bytes), len| (count + 1, bytes + len))
    }

    fn open(&self, inner: &mut Inner) -> Result<(), RemoteException> {
        if inner.acceptor.is_some() {
            return Ok(());
        }
        if let Some((when, error)) = &inner.open_error
            && when.elapsed() < REOPEN_PAUSE
        {
            return Err(error.clone());
        }
        match Acceptor::open(OsDisk, self.root.clone(), self.options.clone(), self.now()) {
            Ok(acceptor) => {
                tracing::info!(
                    journal = self.id(),
                    dir = %self.root.display(),
                    formatted = acceptor.is_formatted(),
                    "journal opened"
                );
                if let Some(why) = acceptor.doubt() {
                    tracing::error!(
                        journal = self.id(),
                        why,
                        "this journal does not vote until a writer has brought it up to date"
                    );
                }
                if acceptor.counters().files_repaired > 0 {
                    tracing::error!(
                        journal = self.id(),
                        "damaged or lost small files were put back from their copies"
                    );
                }
                inner.acceptor = Some(acceptor);
                inner.open_error = None;
                Ok(())
            }
            Err(error) => {
                tracing::error!(journal = self.id(), %error, "cannot open the journal");
                let error = RemoteException::from(error);
                inner.open_error = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// The journal's thread.
    fn run(self: Arc<Self>, runtime: &Runtime) {
        // Set once, here.
        let _ = self.thread_id.set(std::thread::current().id());
        let opened = self.open(&mut self.inner.lock());
        // Said already, and said again to each caller.
        drop(opened);
        runtime.block_on(self.serve_queue());
        let mut inner = self.inner.lock();
        // Without the acceptor the lock file is free for the next process.
        inner.acceptor = None;
        inner.parked.clear();
    }

    /// Does what is queued, and what is due, until the end.
    async fn serve_queue(self: &Arc<Self>) {
        let mut jobs = VecDeque::new();
        loop {
            let stop = {
                let mut queue = self.queue.lock();
                std::mem::swap(&mut queue.jobs, &mut jobs);
                queue.bytes = 0;
                queue.stop
            };
            if !jobs.is_empty() {
                let mut inner = self.inner.lock();
                for (came, job) in jobs.drain(..) {
                    if matches!(job, Job::Call(Request::Journal { .. }, _)) {
                        self.metrics
                            .steps
                            .queue_wait
                            .add_micros(self.now().saturating_sub(came));
                    }
                    self.work(&mut inner, job);
                }
            }
            self.finish();
            if stop {
                return;
            }
            self.maintain();
            let wakes_at = {
                let mut inner = self.inner.lock();
                inner.wakes_at = inner.wake_at();
                inner.wakes_at
            };
            match wakes_at {
                None => self.queued.notified().await,
                Some(at) => {
                    let left = Duration::from_micros(at.saturating_sub(self.now()));
                    let _ = tokio::time::timeout(left, self.queued.notified()).await;
                }
            }
        }
    }

    /// After calls were handled: whose time has come, and one sync for all that wait for it.
    fn finish(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        let now = self.now();
        if let Some(acceptor) = &mut inner.acceptor
            && acceptor.wake_at().is_some_and(|at| at <= now)
        {
            acceptor.tick(now);
        }
        self.try_parked(&mut inner);
        drop(inner);
        while self.sync() {}
    }

    fn work(self: &Arc<Self>, inner: &mut Inner, job: Job) {
        if let Err(error) = self.open(inner) {
            return job.into_reply().send(Err(error));
        }
        let now = self.now();
        match job {
            Job::Call(request, reply) => self.handle(inner, request, reply, now),
            Job::Downloaded(download, result, reply) => {
                let Some(acceptor) = &mut inner.acceptor else {
                    return;
                };
                let request = download.request.clone();
                let answer = acceptor.downloaded(download, result, now);
                if answer.is_ok() {
                    self.note(&request);
                }
                self.answer(answer, reply);
            }
            Job::FormatJoining(info, promise, membership, reply) => {
                let Some(acceptor) = &mut inner.acceptor else {
                    return;
                };
                let formatted = acceptor.format_joining(&info, promise, membership.as_ref(), now);
                let formatted = formatted.map(|()| Answer::Done);
                self.answer(formatted, reply);
            }
            Job::Adopt(from, start, end, reply) => {
                let Some(acceptor) = &mut inner.acceptor else {
                    return;
                };
                let adopted = acceptor.adopt_segment(&from, start, end).map(Answer::IsFormatted);
                self.answer(adopted, reply);
            }
            Job::Quarantine(start, end, reply) => {
                let Some(acceptor) = &mut inner.acceptor else {
                    return;
                };
                let quarantined = acceptor.quarantine(start, end).map(Answer::IsFormatted);
                self.answer(quarantined, reply);
            }
            Job::RecoverPromise(promise, reply) => {
                let Some(acceptor) = &mut inner.acceptor else {
                    return;
                };
                let known = acceptor.recover_promise(promise).map(|()| Answer::Done);
                self.answer(known, reply);
            }
        }
    }

    fn handle(self: &Arc<Self>, inner: &mut Inner, request: Request, reply: ReplyTo, now: Micros) {
        let Some(acceptor) = &mut inner.acceptor else {
            return;
        };
        let handled = acceptor.handle(&request, now);
        if let (Request::NewEpoch { epoch, .. }, Handled::Park { .. }) = (&request, &handled) {
            tracing::info!(
                journal = self.id(),
                epoch = epoch.0,
                "newEpoch waits for the end of another writer's read lease"
            );
        }
        self.done(inner, handled, request, reply, now);
    }

    /// Passes on what became of a request at `now`.
    fn done(self: &Arc<Self>, inner: &mut Inner, handled: Handled, request: Request, reply: ReplyTo, now: Micros) {
        match handled {
            Handled::Now(answer) => {
                if answer.is_ok() {
                    self.note(&request);
                }
                self.answer(answer, reply);
            }
            Handled::AfterSync(answer) => {
                self.note(&request);
                self.metrics.steps.write.add_micros(self.now().saturating_sub(now));
                inner.after_sync.push((answer, reply));
            }
            Handled::Download(download) => {
                let fetch = Fetch {
                    journal: self.clone(),
                    download,
                    reply,
                };
                // Gone only when the process ends.
                drop(self.fetches.send(fetch));
            }
            Handled::Park { until } => {
                if inner.parked.len() >= MAX_PARKED {
                    reply.send(Err(RemoteException::new(
                        RETRIABLE,
                        "too many calls wait for this journal",
                    )));
                } else {
                    inner.parked.push(Parked { request, reply, until });
                }
            }
        }
    }

    /// Logs what changes who may write, and notes when edits came.
    fn note(&self, request: &Request) {
        match request {
            Request::Journal { .. } => self.metrics.wrote(),
            Request::NewEpoch { epoch, .. } => {
                tracing::info!(journal = self.id(), epoch = epoch.0, "promised");
            }
            Request::StartLogSegment { info, txid, .. } => {
                if self.finalized_end.load(Ordering::Relaxed) + 1 != txid.0 {
                    self.gap.notify_one();
                }
                tracing::info!(
                    journal = self.id(),
                    epoch = info.epoch.0,
                    txid = txid.0,
                    "segment opened"
                );
            }
            Request::FinalizeLogSegment { start, end, .. } => {
                self.finalized_end.store(end.0, Ordering::Relaxed);
                tracing::info!(journal = self.id(), start = start.0, end = end.0, "segment finalized");
            }
            Request::AcceptRecovery { info, state, .. } => {
                let (epoch, start, end) = (info.epoch.0, state.start.0, state.end.0);
                tracing::info!(journal = self.id(), epoch, start, end, "recovery accepted");
            }
            Request::Format { ns_info, .. } => {
                tracing::info!(journal = self.id(), cluster = %ns_info.cluster_id, "formatted");
            }
            Request::DiscardSegments { start } => {
                tracing::info!(journal = self.id(), start = start.0, "segments discarded");
            }
            Request::ReleaseLease { holder, .. } => {
                tracing::info!(journal = self.id(), %holder, "read lease released")
            }
            _ => {}
        }
    }

    fn answer(&self, answer: Result<Answer, JournalError>, reply: ReplyTo) {
        reply.send(answer.map_err(|error| {
            tracing::debug!(journal = self.id(), %error, "refused");
            RemoteException::from(error)
        }));
    }

    /// Tries parked calls again: all of them when something happened, else those whose time is over.
    fn try_parked(self: &Arc<Self>, inner: &mut Inner) {
        loop {
            let now = self.now();
            let Some(version) = inner.acceptor.as_ref().map(Acceptor::version) else {
                return;
            };
            let changed = version != inner.parked_version;
            inner.parked_version = version;
            if inner.parked.is_empty() || (!changed && inner.parked.iter().all(|parked| parked.until > now)) {
                return;
            }
            for parked in std::mem::take(&mut inner.parked) {
                if parked.until > now && !changed {
                    inner.parked.push(parked);
                    continue;
                }
                let Some(acceptor) = inner.acceptor.as_mut().filter(|_| !parked.is_gone()) else {
                    continue;
                };
                let handled = acceptor.handle_parked(&parked.request, parked.until, now);
                self.done(inner, handled, parked.request, parked.reply, now);
            }
        }
    }

    /// Syncs once for all that waits, without the lock, and answers. Whether there may be more.
    fn sync(self: &Arc<Self>) -> bool {
        let (job, answers) = {
            let mut inner = self.inner.lock();
            if inner.after_sync.is_empty() {
                return false;
            }
            let job = inner.acceptor.as_mut().map_or(Ok(None), Acceptor::begin_sync);
            (job, std::mem::take(&mut inner.after_sync))
        };
        let result = match job {
            // Another sync, that of closing the segment, has covered it.
            Ok(None) => Ok(()),
            Err(error) => Err(error),
            Ok(Some(job)) => {
                let begun = Instant::now();
                let synced = job.run();
                let took = begun.elapsed();
                if self.metrics.synced(took) {
                    let took_ms = took.as_millis();
                    tracing::warn!(
                        journal = self.id(),
                        took_ms,
                        "a sync was slow: look at this JournalNode's disk"
                    );
                }
                let mut inner = self.inner.lock();
                match &mut inner.acceptor {
                    Some(acceptor) => acceptor.end_sync(job, synced),
                    None => Ok(()),
                }
            }
        };
        if let Err(error) = &result {
            tracing::error!(journal = self.id(), %error, "a sync failed: this journal takes no more edits until what was written was written anew");
        }
        let failure = result.err().map(|error| RemoteException::from(&error));
        let begun = Instant::now();
        for (answer, reply) in answers {
            reply.send(failure.clone().map_or(Ok(answer), Err));
        }
        self.metrics.steps.answer.add(begun.elapsed());
        let mut inner = self.inner.lock();
        self.try_parked(&mut inner);
        !inner.after_sync.is_empty()
    }

    /// Prepares for the next edits while none wait.
    fn maintain(&self) {
        if !self.queue.lock().jobs.is_empty() {
            return;
        }
        let mut inner = self.inner.lock();
        if let Some(Err(error)) = inner.acceptor.as_mut().map(Acceptor::maintain) {
            tracing::error!(journal = self.id(), %error, "cannot prepare the open segment");
        }
    }
}

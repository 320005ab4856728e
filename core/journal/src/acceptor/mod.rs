//! The JournalNode's journal.
use std::io;
use std::path::PathBuf;
use hathi_formats::ids::{Epoch, NamespaceInfo, TxId};
use hathi_storage::Disk;
use crate::errors::JournalError;
use crate::messages::{Answer, Micros, Request, LeaseState};

/// How a journal is run.
#[derive(Clone, Debug)]
pub struct AcceptorOptions {
    /// The journal id.
    pub journal_id: String,
    /// Port of the HTTP server, for answers.
    pub http_port: u16,
    /// `http(s)://host:port` of the HTTP server, for answers.
    pub from_url: Option<String>,
    /// `pid@host`, for `in_use.lock`.
    pub lock_holder: String,
    /// Bytes of recent edits kept in memory; 0 = getJournaledEdits is refused.
    pub cache_bytes: usize,
    /// The longest lease granted, in milliseconds.
    pub max_lease_ms: u32,
    /// Permission bits of the journal's directory.
    pub directory_mode: u32,
}

/// What became of a request.
#[derive(Debug)]
pub enum Handled {
    /// The answer may leave at once.
    Now(Result<Answer, JournalError>),
    /// The answer may leave after a sync that begins after this call succeeded; if it fails, answer its error.
    AfterSync(Answer),
    /// A segment must be fetched first; then call [`Acceptor::downloaded`].
    Download(Download),
    /// Nothing to answer yet: call `handle` again with the same request when [`Acceptor::version`] changed,
    /// and at this moment at the latest with its `wait_ms` set to 0.
    Park {
        /// The latest moment.
        until: Micros,
    },
}

/// A segment that acceptRecovery wants fetched.
#[derive(Debug)]
pub struct Download {
    /// Where from.
    pub url: String,
    /// Into which file (create, write, sync).
    pub to: PathBuf,
    /// The request that wants it.
    pub request: Request,
}

/// A sync of the open segment, to be run outside of the acceptor.
#[derive(Debug)]
pub struct SyncJob<D: Disk> {
    _d: std::marker::PhantomData<D>,
}
impl<D: Disk> SyncJob<D> {
    /// Runs it; blocks.
    pub fn run(&self) -> io::Result<()> { unimplemented!() }
}

/// The journal.
#[derive(Debug)]
pub struct Acceptor<D: Disk> { _disk: D }

impl<D: Disk> Acceptor<D> {
    /// Opens (locks, recovers, scans) the journal in a directory.
    pub fn open(_disk: D, _root: PathBuf, _options: AcceptorOptions, _now: Micros) -> Result<Self, JournalError> { unimplemented!() }
    /// Takes one request.
    pub fn handle(&mut self, _request: &Request, _now: Micros) -> Handled { unimplemented!() }
    /// Whether there are answers waiting for a sync: what must be synced, if anything.
    pub fn begin_sync(&mut self) -> Option<SyncJob<D>> { unimplemented!() }
    /// Takes the result of a sync. On an error the journal is failed for good.
    pub fn end_sync(&mut self, _job: SyncJob<D>, _result: io::Result<()>) -> Result<(), JournalError> { unimplemented!() }
    /// begin, run, end.
    pub fn sync(&mut self) -> Result<(), JournalError> { unimplemented!() }
    /// Fills the open segment ahead; to be called when nothing waits for an answer.
    pub fn maintain(&mut self) -> Result<(), JournalError> { unimplemented!() }
    /// The fetched segment is there (synced), or could not be fetched.
    pub fn downloaded(&mut self, _download: Download, _result: Result<(), String>, _now: Micros) -> Result<Answer, JournalError> { unimplemented!() }
    /// Changes whenever a parked request could be answered.
    pub fn version(&self) -> u64 { unimplemented!() }
    /// When [`Acceptor::tick`] should be called next (a lease ends).
    pub fn wake_at(&self) -> Option<Micros> { unimplemented!() }
    /// Time passes.
    pub fn tick(&mut self, _now: Micros) { unimplemented!() }
    /// Formats a journal that lost its disk: keeps out of votes until a writer caught it up.
    pub fn format_joining(&mut self, _info: &NamespaceInfo, _promise: Epoch) -> Result<(), JournalError> { unimplemented!() }
    /// Whether it waits to be caught up.
    pub fn is_joining(&self) -> bool { unimplemented!() }
    /// Whether it is formatted.
    pub fn is_formatted(&self) -> bool { unimplemented!() }
    /// Of the storage; `None` when not formatted.
    pub fn namespace_info(&self) -> Option<&NamespaceInfo> { unimplemented!() }
    /// The file of a segment, for `/getJournal`.
    pub fn segment_path(&self, _start: TxId, _in_progress_ok: bool) -> Result<Option<PathBuf>, JournalError> { unimplemented!() }
    /// The state of promise and lease.
    pub fn lease_state(&self, _now: Micros) -> LeaseState { unimplemented!() }
}

//! The JournalNode's journal (`org.apache.hadoop.hdfs.qjournal.server.Journal`): promises, fences, appends, recovers.
//!
//! One [`Acceptor`] owns one journal's directory. Requests come in by [`Acceptor::handle`], with the time. What it
//! returns says when the answer may leave. Appending does not sync: the shell handles all waiting batches, runs one
//! sync for them ([`Acceptor::begin_sync`] / [`Acceptor::end_sync`], or [`Acceptor::sync`]), then lets the answers go.
//! All rarer requests sync before they return.
//!
//! Invariants
//! * the promised epoch only grows, and is on disk before anything is answered or done in its name;
//! * a batch is appended only for the writer of the promised epoch that opened the segment, without gaps, and after
//!   every frame was checked;
//! * no answer says that a transaction is written before it is durable. A segment that is not open holds only durable
//!   transactions;
//! * no reader gets an edit that is not durable here. A reader that takes this JournalNode's edits for final (Java's
//!   standbys) gets none that a recovery may still replace ([`read`]);
//! * a recovery's decision (paxos record) is on disk after the segment it decides on, and before the answer;
//! * a copy of a segment is finalized in place only when it is known to come from the epoch that vouches for it;
//! * the committed txid only grows, with two exceptions. `discardSegments` lowers it. And when a new epoch begins, it
//!   falls back to the last transaction here: the new writer tells it anew, and a claim of somebody who was no writer
//!   ends with the epoch in which it was made;
//! * after a sync has failed, for whatever reason, nothing is acknowledged any more (`JournalError::Failed`) until the
//!   unsynced bytes were written anew. The next process does that or, when the disk was only full, this one;
//! * a file that differs from what was written is noticed, and costs this JournalNode its vote where the difference
//!   might matter ([`health`]);
//! * an acceptor that lost its disk (`joining`) takes part in no recovery before a writer has brought it up to what is
//!   committed;
//! * while a read lease runs, only its holder gets a promise ([`crate::lease`]). Hadoop's NameNode, which asks once,
//!   waits for the end of the lease. All others are refused;
//! * only `newEpoch` gets a promise, and no promise is so high that no other could follow. In an epoch in which a lease
//!   was granted, only the holder with its proof is served ([`Acceptor::check_request`] is the one place). Hadoop's
//!   writers are an exception, because they do not repeat a `newEpoch` that a JournalNode has missed: their next
//!   segment counts as one.
//!
//! Durable: everything under `current/`, as Hadoop lays it out, and our own files there. `lease-epoch`: a read lease of
//! this epoch may be held. `hathi-joining`: present while joining. `hathi-disk-failed`: a sync has failed, and segments
//! in progress must be written again before they count.
//!
//! Where this is stricter than Hadoop, [`recovery`] says why (copies of equal length from other epochs).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hathi_formats::ids::{Epoch, INVALID_TXID_WIRE, NamespaceInfo, TxId};
use hathi_storage::{
    BestEffortLong, CheckedRecord, Disk, DiskFile, DurableLong, NodeType, StorageDirectory, StorageState, VersionFile,
};

use crate::edits_cache::EditsCache;
use crate::errors::JournalError;
use crate::lease::{LeaseGrants, LeaseMarker};
use crate::membership::Membership;
use crate::messages::{Answer, Micros, Request};
use crate::mutant::{Mutant, Mutation};
use crate::segments::{
    PREALLOCATE_BYTES, PageCache, SegmentName, SegmentScan, SegmentWriter, Segments, is_full, sync_result,
};

mod check;
mod health;
mod leases;
mod membership;
#[cfg(any(test, feature = "mutants"))]
mod model;
mod promises;
mod read;
mod recovery;
mod upgrade;
mod write;

pub use health::damaged_small_files;
use health::{Doubt, WRITTEN};
pub use leases::MAX_WAITING_EPOCHS;
pub use promises::MAX_EPOCH_JUMP;
pub use read::ReadableSegment;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod own_lease;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod waiting;

const LAST_PROMISED_EPOCH: &str = "last-promised-epoch";
const LAST_WRITER_EPOCH: &str = "last-writer-epoch";
const COMMITTED_TXID: &str = "committed-txid";
const LEASE_EPOCH: &str = "lease-epoch";
const JOINING: &str = "hathi-joining";
/// The membership, once it was changed.
const MEMBERSHIP: &str = "hathi-membership";
const PAXOS: &str = "paxos";
/// Present from a failed sync until the segments in progress were written and synced once more.
const DISK_FAILED: &str = "hathi-disk-failed";
/// How long after the end of a segment a writer of Hadoop may take to open the next one:
/// `dfs.qjournal.start-segment.timeout.ms`, 20 s, with a margin.
const ROLL_MICROS: Micros = 30_000_000;
/// Pause between attempts to go on after a sync failed for want of space.
const RETRY_PAUSE_MICROS: Micros = 1_000_000;

/// Settings of a journal.
#[derive(Clone, Debug)]
pub struct AcceptorOptions {
    /// The journal id.
    pub journal_id: String,
    /// Port of the HTTP server, which answers name.
    pub http_port: u16,
    /// `http(s)://host:port` of the HTTP server, which answers name.
    pub from_url: Option<String>,
    /// `pid@host`, written into `in_use.lock`.
    pub lock_holder: String,
    /// Bytes of recent edits kept in memory. With 0, `getJournaledEdits` is refused.
    pub cache_bytes: usize,
    /// The longest lease granted, in milliseconds.
    pub max_lease_ms: u32,
    /// Permission bits of the journal's directory (`dfs.journalnode.edits.dir.perm`).
    pub directory_mode: u32,
    /// How far an open segment is filled ahead with padding, in bytes.
    pub preallocate_bytes: u64,
    /// A planted bug, for the simulator.
    pub mutation: Mutation,
}

impl AcceptorOptions {
    /// The defaults for a journal.
    #[must_use]
    pub fn new(journal_id: impl Into<String>) -> Self {
        AcceptorOptions {
            journal_id: journal_id.into(),
            http_port: 8480,
            from_url: None,
            lock_holder: String::new(),
            cache_bytes: 64 << 20,
            max_lease_ms: 2000,
            directory_mode: 0o700,
            preallocate_bytes: PREALLOCATE_BYTES,
            mutation: Mutation::default(),
        }
    }
}

/// Result of a request.
#[derive(Debug)]
pub enum Handled {
    /// The answer may leave at once.
    Now(JournalResult<Answer>),
    /// The answer may leave after a sync that begins after this call has succeeded. When the sync fails, its error
    /// leaves instead.
    AfterSync(Answer),
    /// A segment must be fetched first. Then [`Acceptor::downloaded`] is to be called.
    Download(Download),
    /// There is no answer yet. [`Acceptor::handle_parked`] is to be called with the same request when
    /// [`Acceptor::version`] has changed, and at `until` at the latest.
    Park {
        /// From this time on the request waits no more.
        until: Micros,
    },
}

/// A segment that `acceptRecovery` wants fetched.
#[derive(Clone, Debug)]
pub struct Download {
    /// URL to fetch it from.
    pub url: String,
    /// File to create, write and sync. The directory need not be synced.
    pub to: PathBuf,
    /// The `acceptRecovery` that wants it.
    pub request: Request,
}

/// A sync of the open segment that may run outside of the acceptor.
#[derive(Debug)]
pub struct SyncJob<F> {
    file: Arc<F>,
    /// The transaction after the last one that is written when the sync begins. All before it are durable when the sync
    /// ends.
    next: TxId,
    /// Length of the file up to there, in bytes.
    len: u64,
}

impl<F: DiskFile> SyncJob<F> {
    /// Runs the sync, and blocks. A sync that failed must not be repeated.
    pub fn run(&self) -> io::Result<()> {
        sync_result(self.file.sync_data())
    }
}

/// What a journal has counted since it was opened (`JournalMetrics`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalCounters {
    /// Batches appended.
    pub batches_written: u64,
    /// Transactions appended.
    pub txns_written: u64,
    /// Bytes appended.
    pub bytes_written: u64,
    /// Batches appended that were known to be committed already.
    pub batches_written_while_lagging: u64,
    /// Transactions answered to `getJournaledEdits`.
    pub txns_served_via_rpc: u64,
    /// Bytes answered to `getJournaledEdits`.
    pub bytes_served_via_rpc: u64,
    /// Answers to `getJournaledEdits` without edits.
    pub rpc_empty_responses: u64,
    /// Requests for edits that are no longer in memory.
    pub rpc_cache_misses: u64,
    /// Segments taken over from peers.
    pub num_edit_logs_synced: u64,
    /// Segments put aside because they were damaged.
    pub segments_damaged: u64,
    /// Small files put back from their copies.
    pub files_repaired: u64,
}

/// The numbers of a journal (`JournalMetrics`' gauges).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalGauges {
    /// The promised epoch.
    pub last_promised_epoch: Epoch,
    /// The epoch in which a segment was last opened.
    pub last_writer_epoch: Epoch,
    /// The highest transaction here.
    pub last_written: TxId,
    /// The highest transaction known to be committed.
    pub committed: Option<TxId>,
    /// How many committed transactions are missing here.
    pub current_lag_txns: u64,
}

/// State that only a formatted journal has.
#[derive(Clone, Debug)]
struct FormattedJournal<D: Disk> {
    info: NamespaceInfo,
    segments: Segments<D>,
    promised: DurableLong<D>,
    writer_epoch: DurableLong<D>,
    committed: BestEffortLong<D>,
    /// The highest serial of the promised epoch.
    serial: Option<u64>,
    open: Option<SegmentWriter<D::File>>,
    /// The segment last opened by this process, and the epoch that opened it. The segment's content is that epoch's.
    written_by: Option<(TxId, Epoch)>,
    highest: TxId,
    /// The in-progress segment that was last scanned or closed and not touched since, with its content. So a large
    /// segment is not read again at every step of a recovery.
    settled: Option<(TxId, SegmentScan)>,
    /// Whether reads may show bytes that a sync can't write any more.
    page_cache: PageCache,
    /// Last transaction of the segment that this process finalized last with the cache's content.
    finalized_to: TxId,
    /// All transactions before this one in the open segment are durable.
    synced_next: TxId,
    /// Length of the open segment's file up to there, in bytes.
    synced_len: u64,
    /// The last open segment could not be closed. Transactions from `synced_next` on may be on no disk.
    unclosed: bool,
    /// A request of the promised epoch asked for a read lease, so the writer is ours, and tells within milliseconds
    /// what is committed. A restart loses this. Then no edits can be served from memory either.
    tells_commits: bool,
    /// Until when a writer that asks for no leases counts as at work although no segment is open: it is rolling.
    rolls_until: Micros,
    cache: Option<EditsCache>,
    lease: LeaseGrants,
    /// What this JournalNode does not know of its own promises and writes. Without a doubt it votes.
    doubt: Option<Doubt>,
    written: CheckedRecord<D>,
    /// Last transaction that was synced here.
    durable_to: TxId,
    /// The finalized segment that was last read without finding damage.
    verified: Option<TxId>,
    membership: Option<Membership>,
}

/// The journal of a JournalNode.
#[derive(Debug)]
pub struct Acceptor<D: Disk> {
    options: AcceptorOptions,
    storage: StorageDirectory<D>,
    journal: Option<FormattedJournal<D>>,
    failed: Option<String>,
    /// When a journal that failed because the disk was full is opened anew.
    retry_at: Option<Micros>,
    /// A sync has failed, whether or not its mark could be written.
    suspect: bool,
    version: u64,
    /// For each `newEpoch` that waits for the end of a lease, until when it waits. Callers that went away stay in the
    /// list until then.
    waiting_epochs: Vec<Micros>,
    counters: JournalCounters,
}

type JournalResult<T> = Result<T, JournalError>;

/// Value in the file of the committed txid that says "none".
const NO_TXID: i64 = INVALID_TXID_WIRE as i64;

impl<D: Disk> FormattedJournal<D> {
    fn promised(&self) -> Epoch {
        Epoch(self.promised.get())
    }

    fn writer_epoch(&self) -> Epoch {
        Epoch(self.writer_epoch.get())
    }

    fn committed(&self) -> Option<TxId> {
        u64::try_from(self.committed.get()).ok().map(TxId)
    }

    /// The last transaction that is durable here.
    fn synced_to(&self) -> TxId {
        if self.open.is_some() || self.unclosed {
            return TxId(self.synced_next.0.saturating_sub(1)).min(self.highest);
        }
        self.highest
    }

    /// The last transaction whose copy in memory was written by the present writer, or was decided by a recovery.
    ///
    /// A copy that an earlier writer left here alone does not count: another transaction may be committed under its
    /// number.
    fn trusted_to(&self) -> TxId {
        match self.written_by {
            Some((_, epoch)) if epoch == self.promised() => self.highest,
            _ => self.finalized_to,
        }
    }
}

impl<D: Disk> Acceptor<D> {
    /// Opens the journal in a directory: takes its lock, completes or undoes half-done transitions, scans the segments.
    /// A directory that is missing or not formatted is no error.
    pub fn open(disk: D, root: PathBuf, options: AcceptorOptions, now: Micros) -> JournalResult<Self> {
        let mut storage = StorageDirectory::new(disk, root);
        let mut state = storage.analyze()?;
        if state != StorageState::NonExistent {
            storage.lock(&options.lock_holder)?;
            storage.recover(state)?;
            state = storage.analyze()?;
        }
        if state == StorageState::NotFormatted && health::restore_version(&storage)? {
            state = storage.analyze()?;
        }
        let mut acceptor = Acceptor {
            options,
            storage,
            journal: None,
            failed: None,
            retry_at: None,
            suspect: false,
            version: 0,
            waiting_epochs: Vec::new(),
            counters: JournalCounters::default(),
        };
        if state == StorageState::Normal {
            acceptor.load(now)?;
        }
        Ok(acceptor)
    }

    /// Reads the files in `current`.
    fn load(&mut self, now: Micros) -> JournalResult<()> {
        self.check_small_files()?;
        let current = self.storage.current();
        let disk = self.storage.disk().clone();
        let version = self.storage.read_version()?.unwrap_or_default();
        let info = version.namespace_info(&current)?;
        let reading = |path: &Path| {
            let what = format!("reading {}", path.display());
            move |source| JournalError::Io { what, source }
        };
        let long = |name: &str| {
            let path = current.join(name);
            let error = reading(&path);
            DurableLong::open(disk.clone(), path, 0).map_err(error)
        };
        let promised = long(LAST_PROMISED_EPOCH)?;
        let writer_epoch = long(LAST_WRITER_EPOCH)?;
        let committed = BestEffortLong::open(disk.clone(), current.join(COMMITTED_TXID), NO_TXID)
            .map_err(reading(&current.join(COMMITTED_TXID)))?;
        let marker = disk
            .read_small(&current.join(LEASE_EPOCH))
            .map_err(reading(&current.join(LEASE_EPOCH)))?
            .map(|data| LeaseMarker::parse(&String::from_utf8_lossy(&data), Epoch(promised.get())));
        let mut marker = marker.filter(|_| !self.mutated(Mutant::ForgetLeaseAtRestart));
        if let Some(marker) = &mut marker
            && self.mutated(Mutant::WaitConfiguredLease)
        {
            marker.ms = Some(self.options.max_lease_ms);
        }
        let doubt = self.read_doubt()?;
        if let Some(marker) = marker.as_mut().filter(|marker| marker.epoch.0 > promised.get())
            && !doubt.as_ref().is_some_and(|doubt| doubt.promise)
        {
            // A crash came before the holder was promised that epoch, so the lease belongs to the promised epoch. This
            // is best effort, because the next start would find the same. A later epoch's writer must not count as one
            // that asks for leases.
            marker.epoch = Epoch(promised.get());
            let _ = disk.write_small(&current.join(LEASE_EPOCH), marker.to_text().as_bytes());
        }
        let written =
            CheckedRecord::open(disk.clone(), current.join(WRITTEN)).map_err(reading(&current.join(WRITTEN)))?;
        let failed_marker = current.join(DISK_FAILED);
        let marked = disk.exists(&failed_marker).map_err(reading(&current))?;
        let suspect = (marked || self.suspect) && !self.mutated(Mutant::TrustMemory);
        let mut segments = Segments::new(disk, current);
        segments.preallocate_bytes = self.options.preallocate_bytes;
        let lease = LeaseGrants::at_start(self.options.max_lease_ms, marker, Epoch(promised.get()), now);
        let cache = (self.options.cache_bytes > 0).then(|| EditsCache::new(self.options.cache_bytes));
        self.journal = Some(FormattedJournal {
            info,
            segments,
            promised,
            writer_epoch,
            committed,
            serial: None,
            open: None,
            written_by: None,
            highest: TxId(0),
            settled: None,
            finalized_to: TxId(0),
            page_cache: if suspect {
                PageCache::Suspect
            } else {
                PageCache::Trusted
            },
            synced_next: TxId(0),
            synced_len: 0,
            unclosed: false,
            tells_commits: false,
            rolls_until: 0,
            cache,
            lease,
            doubt,
            written,
            durable_to: TxId(0),
            verified: None,
            membership: self.read_membership()?,
        });
        self.take_record();
        if suspect {
            self.write_suspects_again(&failed_marker)?;
        }
        let highest = self.scan_highest()?.map_or(TxId(0), |(_, last)| last);
        self.formatted_mut()?.highest = highest;
        self.check_highest(highest)?;
        self.copy_small_files();
        self.version += 1;
        Ok(())
    }

    /// Writes and syncs all segments in progress anew, because a sync failed earlier.
    fn write_suspects_again(&mut self, marker: &Path) -> JournalResult<()> {
        for name in self.list()? {
            self.last_of(&name)?;
        }
        let disk = self.storage.disk().clone();
        let removed = disk.exists(marker).and_then(|marked| match marked {
            true => disk.remove_file(marker),
            false => Ok(()),
        });
        let removed = removed.and_then(|()| disk.sync_dir(&self.storage.current()));
        self.disk_result("removing the mark of a failed disk", removed)?;
        self.suspect = false;
        self.formatted_mut()?.page_cache = PageCache::Trusted;
        Ok(())
    }

    fn mutated(&self, mutant: Mutant) -> bool {
        self.options.mutation.is(mutant)
    }

    /// The newest segment that has a transaction, and its last transaction. Empty segments on the way are put aside.
    fn scan_highest(&mut self) -> JournalResult<Option<(SegmentName, TxId)>> {
        let names = self.list()?;
        for name in names.into_iter().rev() {
            if let Some(last) = self.last_of(&name)? {
                return Ok(Some((name, last)));
            }
        }
        Ok(None)
    }

    /// The last transaction of a segment that is not open. A segment without any is put aside as `.empty`.
    fn last_of(&mut self, name: &SegmentName) -> JournalResult<Option<TxId>> {
        if name.end.is_some() {
            return Ok(name.end);
        }
        let Some(scan) = self.settle(name.start)? else {
            return Ok(None);
        };
        let last = scan.last;
        if last.is_none() {
            self.formatted_mut()?.settled = None;
            let aside = self.formatted()?.segments.put_aside(name, "empty");
            self.disk_result("putting an empty segment aside", aside)?;
        }
        Ok(last)
    }

    /// Content of an in-progress segment that is not open. All of it is durable. `None` when the segment was damaged.
    fn settle(&mut self, start: TxId) -> JournalResult<Option<SegmentScan>> {
        let journal = self.formatted()?;
        debug_assert!(journal.open.as_ref().is_none_or(|open| open.start() != start));
        if let Some((_, known)) = journal.settled.as_ref().filter(|(known, _)| *known == start) {
            return Ok(Some(known.clone()));
        }
        let name = SegmentName::in_progress(start);
        let path = journal.segments.path(&name);
        let settled = journal
            .segments
            .settle_unless_damaged(&path, start, journal.page_cache, journal.durable_to);
        match self.disk_result("scanning an in-progress segment", settled)? {
            Ok(scan) => {
                self.formatted_mut()?.settled = Some((start, scan.clone()));
                Ok(Some(scan))
            }
            Err(damage) => {
                self.lose_segment(&name, &damage, false)?;
                Ok(None)
            }
        }
    }

    fn list(&mut self) -> JournalResult<Vec<SegmentName>> {
        let listed = self.formatted()?.segments.list();
        self.disk_result("listing segments", listed)
    }

    fn find(&mut self, start: TxId) -> JournalResult<Option<SegmentName>> {
        let found = self.formatted()?.segments.find(start);
        self.disk_result("looking for a segment", found)
    }

    /// Passes a result of the disk on. An error that could be a sync's fails the journal for good: bytes written since
    /// the last good sync may be lost, and a later sync would not report it.
    fn disk_result<T>(&mut self, what: &str, result: io::Result<T>) -> JournalResult<T> {
        result.map_err(|source| {
            let harmless = matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::AlreadyExists
                    | io::ErrorKind::InvalidData
                    | io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
                    | io::ErrorKind::PermissionDenied
            );
            if !harmless && self.failed.is_none() {
                self.failed = Some(format!("{what}: {source}"));
                self.suspect = true;
                self.retry_at = is_full(&source).then_some(0);
                // The mark is for the next process. When it can't be written either, only a restart of the machine
                // shows what is on the disk.
                let marker = self.storage.current().join(DISK_FAILED);
                let _ = self.storage.disk().write_small(&marker, b"\n");
            }
            JournalError::Io {
                what: what.to_owned(),
                source,
            }
        })
    }

    fn journal_id(&self) -> String {
        self.options.journal_id.clone()
    }

    fn out_of_sync(&self, what: impl Into<String>) -> JournalError {
        JournalError::OutOfSync {
            what: what.into(),
            journal: self.journal_id(),
        }
    }

    fn illegal_argument(&self, what: impl Into<String>) -> JournalError {
        JournalError::IllegalArgument {
            what: what.into(),
            journal: self.journal_id(),
        }
    }

    fn illegal_state(&self, what: impl Into<String>) -> JournalError {
        JournalError::IllegalState {
            what: what.into(),
            journal: self.journal_id(),
        }
    }

    fn assertion(&self, what: impl Into<String>) -> JournalError {
        JournalError::Assertion {
            what: what.into(),
            journal: self.journal_id(),
        }
    }

    fn refused(&self, what: impl Into<String>) -> JournalError {
        JournalError::Refused {
            what: what.into(),
            journal: self.journal_id(),
        }
    }

    fn not_formatted(&self) -> JournalError {
        JournalError::NotFormatted {
            path: self.storage.root().display().to_string(),
            journal: self.journal_id(),
        }
    }

    fn formatted(&self) -> JournalResult<&FormattedJournal<D>> {
        self.journal.as_ref().ok_or_else(|| self.not_formatted())
    }

    fn formatted_mut(&mut self) -> JournalResult<&mut FormattedJournal<D>> {
        if self.journal.is_none() {
            return Err(self.not_formatted());
        }
        self.journal.as_mut().ok_or(JournalError::NotFormatted {
            path: String::new(),
            journal: String::new(),
        })
    }

    fn check_not_failed(&self) -> JournalResult<()> {
        match &self.failed {
            None => Ok(()),
            Some(what) => Err(JournalError::Failed {
                what: what.clone(),
                journal: self.journal_id(),
            }),
        }
    }

    /// Handles one request, from anybody, at `now`.
    pub fn handle(&mut self, request: &Request, now: Micros) -> Handled {
        self.handle_at(request, None, now)
    }

    /// Handles a request again that was parked. It may be parked once more, but at `until` it is answered.
    ///
    /// The caller must still wait for the answer: a promise in the name of a caller that is gone would only keep out
    /// the next one that asks for the same epoch.
    pub fn handle_parked(&mut self, request: &Request, until: Micros, now: Micros) -> Handled {
        self.handle_at(request, Some(until), now)
    }

    fn handle_at(&mut self, request: &Request, parked: Option<Micros>, now: Micros) -> Handled {
        self.tick(now);
        let handled = self.dispatch(request, parked, now);
        self.debug_check();
        handled
    }

    /// `parked` is the time until which the request was parked, if it was.
    fn dispatch(&mut self, request: &Request, parked: Option<Micros>, now: Micros) -> Handled {
        let answer = match request {
            Request::Journal {
                info,
                segment,
                first,
                count,
                records,
            } => return self.journal(info, *segment, *first, *count, records, now),
            Request::AcceptRecovery { .. } => {
                return match self.accept_recovery(request, now) {
                    Ok(handled) => handled,
                    Err(error) => Handled::Now(Err(error)),
                };
            }
            Request::GetJournaledEdits {
                since,
                max_txns,
                wait_ms,
                committed_only,
            } => {
                let until = parked.unwrap_or(now + Micros::from(*wait_ms) * 1000);
                return self.get_journaled_edits(*since, *max_txns, until, *committed_only, now);
            }
            Request::WatchLease { known_counter, wait_ms } => {
                let until = parked.unwrap_or(now + Micros::from(*wait_ms) * 1000);
                return self.watch_lease(*known_counter, until, now);
            }
            Request::Heartbeat { info } => self.heartbeat(info, now),
            Request::StartLogSegment {
                info,
                txid,
                layout_version,
            } => self.start_log_segment(info, *txid, *layout_version, now),
            Request::FinalizeLogSegment { info, start, end } => self.finalize_log_segment(info, *start, *end, now),
            Request::PurgeLogsOlderThan { info, min_to_keep } => self.purge_logs_older_than(info, *min_to_keep, now),
            Request::ResumeSegment { info, segment } => self.resume_segment(info, *segment, now),
            Request::SetMembership { info, membership } => self.set_membership(info, membership, now),
            Request::JoinJournal { info, ns_info } => self.join_journal(info, ns_info, now),
            Request::GetJournalState => self.get_journal_state(),
            Request::NewEpoch {
                ns_info,
                epoch,
                lease,
                established,
            } => {
                let answer = self.new_epoch(ns_info, *epoch, lease.as_ref(), *established, now);
                let asks_once = lease.is_none() && !established;
                return if asks_once {
                    self.wait_for_lease(answer, parked, now)
                } else {
                    Handled::Now(answer)
                };
            }
            Request::PrepareRecovery { info, segment } => self.prepare_recovery(info, *segment, now),
            Request::GetEditLogManifest {
                since, in_progress_ok, ..
            } => self.get_edit_log_manifest(*since, *in_progress_ok),
            Request::ReleaseLease { holder, proof, up_to } => self.release_lease(holder, *proof, *up_to),
            Request::IsFormatted => Ok(Answer::IsFormatted(self.is_formatted())),
            Request::Format { ns_info, force } => self.format(ns_info, *force, now),
            Request::GetJournalCTime => self.formatted().map(|journal| Answer::CTime(journal.info.ctime)),
            Request::GetStorageInfo => self
                .formatted()
                .map(|journal| Answer::StorageInfo(journal.info.clone())),
            Request::DoPreUpgrade => self.do_pre_upgrade(),
            Request::DoUpgrade { storage } => self.do_upgrade(storage),
            Request::DoFinalize => self.do_finalize(),
            Request::CanRollBack {
                target_layout_version, ..
            } => self.can_roll_back(*target_layout_version),
            Request::DoRollback => self.do_rollback(now),
            Request::DiscardSegments { start } => self.discard_segments(*start),
        };
        Handled::Now(answer)
    }

    /// A number that grows whenever a parked request could be answered.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Time at which [`Acceptor::tick`] should be called at the latest.
    #[must_use]
    pub fn wake_at(&self) -> Option<Micros> {
        self.journal.as_ref().and_then(|journal| journal.lease.ends_at())
    }

    /// Time passes: a lease may have ended.
    pub fn tick(&mut self, now: Micros) {
        if let Some(journal) = &mut self.journal
            && journal.lease.tick(now)
        {
            self.version += 1;
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.open_again(now);
        }
    }

    /// Opens the journal anew after a sync failed because the disk was full, which may be over. As after a restart of
    /// the process, segments in progress are written anew before they count.
    fn open_again(&mut self, now: Micros) {
        let before = (self.journal.take(), self.failed.take());
        self.retry_at = None;
        if let Err(error) = self.load(now) {
            self.journal = before.0;
            self.failed = before.1.or(Some(error.to_string()));
            self.retry_at = Some(now + RETRY_PAUSE_MICROS);
        }
    }

    /// Formats a journal that lost its disk. It promises the highest epoch that its peers had promised, and keeps out
    /// of recoveries until a writer has brought it up to date.
    ///
    /// The caller must have asked at least a majority (of all JournalNodes) of the *others* for their promise, and
    /// gives the highest. So any epoch that this JournalNode helped into office is among the answers, and so is any
    /// membership it kept.
    pub fn format_joining(
        &mut self,
        info: &NamespaceInfo,
        promise: Epoch,
        membership: Option<&Membership>,
        now: Micros,
    ) -> JournalResult<()> {
        if self.journal.is_some() {
            return Err(self.illegal_state("the journal is formatted"));
        }
        let version = VersionFile::new(NodeType::JournalNode, info);
        let promise = format!("{promise}\n");
        let membership = membership.map(Membership::to_text);
        let mut files: Vec<(&str, &[u8])> = vec![(JOINING, b"\n"), (LAST_PROMISED_EPOCH, promise.as_bytes())];
        files.extend(membership.as_ref().map(|text| (MEMBERSHIP, text.as_bytes())));
        self.storage.format_with(&version, false, &files)?;
        self.after_format(now)
    }

    /// Whether this JournalNode lost its disk and is not up to date yet.
    #[must_use]
    pub fn is_joining(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.doubt.is_some())
    }

    /// Whether the storage is formatted.
    #[must_use]
    pub fn is_formatted(&self) -> bool {
        self.journal.is_some()
    }

    /// The error that failed the journal, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Namespace of the storage. `None` when it is not formatted.
    #[must_use]
    pub fn namespace_info(&self) -> Option<&NamespaceInfo> {
        self.journal.as_ref().map(|journal| &journal.info)
    }

    /// The disk and the directory of the journal.
    #[must_use]
    pub fn storage(&self) -> &StorageDirectory<D> {
        &self.storage
    }

    /// The promised epoch. `None` when the journal is not formatted.
    #[must_use]
    pub fn promised_epoch(&self) -> Option<Epoch> {
        self.journal.as_ref().map(FormattedJournal::promised)
    }

    /// Counters since the start.
    #[must_use]
    pub fn counters(&self) -> JournalCounters {
        self.counters
    }

    /// Present values of the gauges.
    #[must_use]
    pub fn gauges(&self) -> JournalGauges {
        let Some(journal) = &self.journal else {
            return JournalGauges::default();
        };
        let committed = journal.committed();
        JournalGauges {
            last_promised_epoch: journal.promised(),
            last_writer_epoch: journal.writer_epoch(),
            last_written: journal.highest,
            committed,
            current_lag_txns: committed.map_or(0, |committed| committed.0.saturating_sub(journal.highest.0)),
        }
    }
}

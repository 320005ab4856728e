//! The writer's calls: open a segment, append, finalize, purge.

use std::io;

use bytes::Bytes;
use hathi_formats::editlog::SegmentFile;
use hathi_formats::ids::{LayoutVersion, TxId};
use hathi_storage::Disk;

use super::{Acceptor, Handled, JOINING, JournalResult, PAXOS, ROLL_MICROS, SyncJob};
use crate::errors::JournalError;
use crate::frames;
use crate::messages::{Answer, Micros, RequestInfo};
use crate::mutant::Mutant;
use crate::segments::SegmentName;

impl<D: Disk> Acceptor<D> {
    /// Closes the open segment, durably. It stays in progress (`Journal.abortCurSegment`).
    pub(super) fn close_open_segment(&mut self) -> JournalResult<()> {
        if let Some(open) = self.formatted_mut()?.open.take() {
            let (start, next) = (open.start(), open.next());
            self.formatted_mut()?.unclosed = true;
            let scan = self.disk_result("closing the open segment", open.close())?;
            let journal = self.formatted_mut()?;
            journal.unclosed = false;
            journal.synced_next = next;
            if next > start {
                journal.durable_to = journal.durable_to.max(TxId(next.0 - 1));
            }
            journal.settled = Some((start, scan));
            self.flush_committed();
        }
        Ok(())
    }

    /// Writes Hadoop's file of the committed txid. This is best effort, as in Hadoop.
    fn flush_committed(&mut self) {
        self.note_written();
        if let Some(journal) = &mut self.journal {
            let _ = journal.committed.flush();
        }
    }

    fn check_write_request(&mut self, info: &RequestInfo, now: Micros) -> JournalResult<()> {
        self.check_request(info, now)?;
        let writer = self.formatted()?.writer_epoch();
        if info.epoch != writer && !self.mutated(Mutant::AcceptOldEpoch) {
            return Err(JournalError::NotTheWriter {
                epoch: info.epoch,
                writer,
                journal: self.journal_id(),
            });
        }
        Ok(())
    }

    /// `Journal.journal`: appends a batch. The answer leaves after the next sync.
    pub(super) fn journal(
        &mut self,
        info: &RequestInfo,
        segment: TxId,
        first: TxId,
        count: u32,
        records: &Bytes,
        now: Micros,
    ) -> Handled {
        match self.append(info, segment, first, count, records, now) {
            Ok(answer) if count == 0 || self.mutated(Mutant::SkipJournalSync) => Handled::Now(Ok(answer)),
            Ok(answer) => Handled::AfterSync(answer),
            Err(error) => Handled::Now(Err(error)),
        }
    }

    fn append(
        &mut self,
        info: &RequestInfo,
        segment: TxId,
        first: TxId,
        count: u32,
        records: &Bytes,
        now: Micros,
    ) -> JournalResult<Answer> {
        self.check_write_request(info, now)?;
        let lease_granted_ms = self.grant_if_current(info, now)?;
        if count == 0 {
            return Ok(Answer::Lease { lease_granted_ms });
        }
        let Some(open) = &self.formatted()?.open else {
            return Err(self.out_of_sync("Can't write, no segment open"));
        };
        if open.start() != segment {
            let current = open.start();
            self.close_open_segment()?;
            return Err(self.out_of_sync(format!(
                "Writer out of sync: it thinks it is writing segment {segment} but current segment is {current}"
            )));
        }
        if open.next() != first {
            let expected = open.next();
            return Err(self.out_of_sync(format!("Can't write txid {first} expecting nextTxId={expected}")));
        }
        if let Err(what) = frames::check_batch(records, first, count) {
            return Err(JournalError::DamagedBatch {
                first,
                what,
                journal: self.journal_id(),
            });
        }
        let journal = self.formatted_mut()?;
        let Some(open) = &mut journal.open else {
            return Err(self.out_of_sync("Can't write, no segment open"));
        };
        let layout_version = open.layout_version();
        if let Err(error) = open.append(records, count) {
            // How much of the batch is in the file is unknown, so nothing may be written behind it.
            let failed = self.disk_result("appending to the open segment", Err(error));
            self.close_open_segment()?;
            return failed;
        }
        let last = TxId(first.0 + u64::from(count) - 1);
        if let Some(cache) = &mut journal.cache {
            cache.store(layout_version, first, count, records);
        }
        journal.highest = journal.highest.max(last);
        let lagging = journal.committed().is_some_and(|committed| last <= committed);
        self.counters.batches_written += 1;
        self.counters.batches_written_while_lagging += u64::from(lagging);
        self.counters.txns_written += u64::from(count);
        self.counters.bytes_written += records.len() as u64;
        Ok(Answer::Lease { lease_granted_ms })
    }

    /// Grants a lease only in the promised epoch.
    pub(super) fn grant_if_current(&mut self, info: &RequestInfo, now: Micros) -> JournalResult<Option<u32>> {
        if info.epoch == self.formatted()?.promised() {
            self.grant(info.epoch, info.lease.as_ref(), now)
        } else {
            Ok(None)
        }
    }

    /// The sync that waiting answers need before they may leave, if any.
    pub fn begin_sync(&mut self) -> JournalResult<Option<SyncJob<D::File>>> {
        self.check_not_failed()?;
        let Some(open) = self.journal.as_mut().and_then(|journal| journal.open.as_mut()) else {
            return Ok(None);
        };
        if !open.is_dirty() {
            return Ok(None);
        }
        let (next, len) = (open.next(), open.position());
        let file = open.begin_sync();
        Ok(Some(SyncJob { file, next, len }))
    }

    /// Takes the result of a sync. When the sync failed, the journal has failed for good.
    pub fn end_sync(&mut self, job: SyncJob<D::File>, result: io::Result<()>) -> JournalResult<()> {
        self.disk_result("syncing the open segment", result)?;
        self.check_not_failed()?;
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        // The sync must be of the same file: a segment of the same start may have been opened anew meanwhile.
        if journal.open.as_ref().is_some_and(|open| open.writes_to(&job.file)) {
            journal.synced_next = journal.synced_next.max(job.next);
            journal.synced_len = journal.synced_len.max(job.len);
            // Readers may have these edits now.
            self.version += 1;
        }
        self.end_joining_if_complete()
    }

    /// Runs [`Acceptor::begin_sync`], the sync, and [`Acceptor::end_sync`].
    pub fn sync(&mut self) -> JournalResult<()> {
        match self.begin_sync()? {
            Some(job) => {
                let result = job.run();
                self.end_sync(job, result)
            }
            None => Ok(()),
        }
    }

    /// Fills the open segment ahead. To be called while no answer waits.
    pub fn maintain(&mut self) -> JournalResult<()> {
        let filled = match self.journal.as_mut().and_then(|journal| journal.open.as_mut()) {
            Some(open) => open.fill_ahead(),
            None => Ok(()),
        };
        self.disk_result("filling the open segment ahead", filled)
    }

    /// Ends the joining state, with a vote again from now on, once a live writer has brought every committed
    /// transaction here.
    fn end_joining_if_complete(&mut self) -> JournalResult<()> {
        let voteless =
            |journal: &&super::FormattedJournal<D>| journal.doubt.as_ref().is_some_and(|doubt| !doubt.promise);
        let Some(journal) = self.journal.as_ref().filter(voteless) else {
            return Ok(());
        };
        let committed = journal.committed().unwrap_or_default();
        // At least one transaction of the open segment must be here. A recovery ignores an empty segment and goes back
        // to the one before, and this JournalNode may have lost what it acknowledged of that one.
        let begun = journal
            .open
            .as_ref()
            .is_some_and(|open| journal.synced_next > open.start());
        if !begun || journal.synced_next.0 <= committed.0 {
            return Ok(());
        }
        let current = self.storage.current();
        let disk = self.storage.disk().clone();
        let removed = disk
            .remove_file(&current.join(JOINING))
            .and_then(|()| disk.sync_dir(&current));
        self.disk_result("ending the joining state", removed)?;
        self.formatted_mut()?.doubt = None;
        self.version += 1;
        Ok(())
    }

    /// `Journal.heartbeat`.
    pub(super) fn heartbeat(&mut self, info: &RequestInfo, now: Micros) -> JournalResult<Answer> {
        self.check_request(info, now)?;
        self.flush_committed();
        let lease_granted_ms = self.grant_if_current(info, now)?;
        Ok(Answer::Lease { lease_granted_ms })
    }

    /// `Journal.startLogSegment`.
    pub(super) fn start_log_segment(
        &mut self,
        info: &RequestInfo,
        txid: TxId,
        layout_version: Option<LayoutVersion>,
        now: Micros,
    ) -> JournalResult<Answer> {
        self.follow_hadoop_writer(info, now)?;
        self.check_request(info, now)?;
        // The writer may have lost its connection and come back.
        self.close_open_segment()?;
        if txid.0 == 0 {
            return Err(self.illegal_argument("a segment cannot begin at txid 0"));
        }
        let mut abandoned = None;
        if let Some(existing) = self.find(txid)? {
            if existing.end.is_some() {
                return Err(self.illegal_state(format!("Already have a finalized segment beginning at {txid}")));
            }
            // A writer that died right after opening a segment may have left exactly one transaction. It was on no
            // majority, or the recovery before this call would have found and finalized it. But a transaction of this
            // very epoch may be acknowledged: its writer has to resume.
            let same_writer = self.formatted()?.writer_epoch() == info.epoch;
            match self.last_of(&existing)? {
                Some(last) if last > txid || same_writer => {
                    return Err(self.illegal_state(format!(
                        "The log file of segment {txid} seems to contain valid transactions up to {last}"
                    )));
                }
                last => abandoned = last.map(|_| existing),
            }
        }
        if self.formatted()?.durable_to >= txid {
            // A recovery may have cut a longer segment and not brought the result here. All of that segment is
            // abandoned.
            self.forget_durable(TxId(txid.0 - 1))?;
        }
        if let Some(existing) = abandoned {
            let journal = self.formatted_mut()?;
            journal.settled = None;
            // Readers must not see this transaction once the next writer has told us what is committed.
            if let Some(cache) = &mut journal.cache {
                cache.clear();
            }
            // It is removed before the writer epoch says that the segment here was written in the new epoch.
            let segments = self.formatted()?.segments.clone();
            let removed = segments.remove(&existing).and_then(|()| segments.sync_dir());
            self.disk_result("removing the start of an abandoned segment", removed)?;
        }
        let journal = self.formatted_mut()?;
        let changes = journal.writer_epoch() != info.epoch;
        let persisted = journal.writer_epoch.set(info.epoch.0);
        self.disk_result("persisting the writer epoch", persisted)?;
        if changes {
            self.copy_small_files();
        }
        self.flush_committed();
        // A writer that starts this segment has given up any recovery of it.
        self.remove_paxos_record(txid)?;
        let layout_version = layout_version.unwrap_or(LayoutVersion::NAMENODE_CURRENT);
        let created = self.formatted()?.segments.create(txid, layout_version);
        let open = self.disk_result("creating a segment", created)?;
        let journal = self.formatted_mut()?;
        journal.synced_len = open.position();
        journal.open = Some(open);
        journal.unclosed = false;
        journal.settled = None;
        if let Some(cache) = &mut journal.cache
            && journal.finalized_to.next() != txid
        {
            // The edits in the cache were never decided on here.
            cache.clear();
        }
        journal.written_by = Some((txid, info.epoch));
        if info.lease.is_none() {
            journal.lease.wake_watchers();
        }
        journal.synced_next = txid;
        journal.highest = journal.highest.max(TxId(txid.0 - 1));
        self.version += 1;
        self.end_joining_if_complete()?;
        let lease_granted_ms = self.grant_if_current(info, now)?;
        Ok(Answer::Lease { lease_granted_ms })
    }

    /// Reopens the segment that this writer had open here, after a restart of the JournalNode or of the connection
    /// (Hathi's own).
    ///
    /// Only a segment that this very epoch started is reopened: then the file holds a beginning of what its writer
    /// wrote.
    pub(super) fn resume_segment(&mut self, info: &RequestInfo, segment: TxId, now: Micros) -> JournalResult<Answer> {
        self.check_write_request(info, now)?;
        let is_open = self
            .formatted()?
            .open
            .as_ref()
            .is_some_and(|open| open.start() == segment);
        if !is_open {
            self.close_open_segment()?;
            if self.find(segment)? != Some(SegmentName::in_progress(segment)) {
                return Err(self.out_of_sync(format!("there is no segment in progress at {segment}")));
            }
            let Some(scan) = self.settle(segment)? else {
                return Err(self.out_of_sync(format!("segment {segment} is damaged")));
            };
            let reopened = self.formatted()?.segments.reopen(segment, &scan);
            let open = self.disk_result("reopening a segment", reopened)?;
            let journal = self.formatted_mut()?;
            journal.settled = None;
            journal.synced_next = open.next();
            journal.synced_len = open.position();
            journal.unclosed = false;
            journal.highest = journal.highest.max(TxId(open.next().0.saturating_sub(1)));
            journal.open = Some(open);
            journal.written_by = Some((segment, info.epoch));
        }
        // The answer tells what is durable here, not only what is written.
        self.sync()?;
        self.end_joining_if_complete()?;
        self.version += 1;
        let lease_granted_ms = self.grant_if_current(info, now)?;
        let next = self.formatted()?.synced_next;
        Ok(Answer::Resumed { next, lease_granted_ms })
    }

    /// `Journal.finalizeLogSegment`.
    ///
    /// Stricter than Hadoop for a segment that is not open for this writer. Its content must be known to be this
    /// epoch's, because a copy of the right length may be a different writer's.
    pub(super) fn finalize_log_segment(
        &mut self,
        info: &RequestInfo,
        start: TxId,
        end: TxId,
        now: Micros,
    ) -> JournalResult<Answer> {
        self.check_request(info, now)?;
        if end < start {
            return Err(self.illegal_argument(format!("segment {start} cannot end at {end}")));
        }
        let journal = self.formatted()?;
        let open = journal.open.as_ref().filter(|open| open.start() == start);
        let open_next = open.map(|open| open.next());
        // A segment that an earlier writer opened may still be open, if the present writer could not open its own here.
        let own = journal.written_by == Some((start, info.epoch));
        if open_next.is_some() {
            self.close_open_segment()?;
        }
        if let Some(next) = open_next.filter(|_| own) {
            if next != end.next() {
                return Err(self.out_of_sync(format!(
                    "Trying to finalize in-progress log segment {start} to end at txid {end} but only written up to txid {}",
                    next.0 - 1
                )));
            }
            let finalized = self.formatted()?.segments.finalize(start, end);
            self.disk_result("finalizing a segment", finalized)?;
        } else {
            match self.find(start)? {
                None => {
                    return Err(self.out_of_sync(format!("No log file to finalize at transaction ID {start}")));
                }
                Some(SegmentName { end: Some(found), .. }) if found == end => {}
                Some(SegmentName { end: Some(found), .. }) => {
                    return Err(self.illegal_argument(format!(
                        "Trying to re-finalize already finalized log {start}-{found} with different endTxId {end}"
                    )));
                }
                Some(name) => {
                    let last = self.last_of(&name)?;
                    if last != Some(end) {
                        return Err(self.out_of_sync(format!(
                            "Trying to finalize in-progress log segment {start} to end at txid {end} but log on disk only contains up to txid {}",
                            last.unwrap_or_default()
                        )));
                    }
                    if !self.vouched_for_by(start, end, info.epoch)? && !self.mutated(Mutant::FinalizeAnyContent) {
                        return Err(self.out_of_sync(format!(
                            "the copy of segment {start} here is not known to be written or accepted in epoch {}",
                            info.epoch
                        )));
                    }
                    let finalized = self.formatted()?.segments.finalize(start, end);
                    self.disk_result("finalizing a segment", finalized)?;
                }
            }
        }
        let journal = self.formatted_mut()?;
        journal.settled = None;
        journal.finalized_to = end;
        if own && !journal.lease.was_asked() {
            journal.rolls_until = now + ROLL_MICROS;
        }
        self.flush_committed();
        // A finalized segment is never decided on again.
        self.remove_paxos_record(start)?;
        self.version += 1;
        Ok(Answer::Done)
    }

    /// `Journal.purgeLogsOlderThan`, `JNStorage.purgeDataOlderThan`.
    pub(super) fn purge_logs_older_than(
        &mut self,
        info: &RequestInfo,
        min_to_keep: TxId,
        now: Micros,
    ) -> JournalResult<Answer> {
        self.check_request(info, now)?;
        let open = self.formatted()?.open.as_ref().map(|open| open.start());
        let straddling = self.mutated(Mutant::PurgeStraddling);
        if (TxId(1)..min_to_keep).contains(&self.formatted()?.durable_to) {
            // The whole segment may go, and nothing newer is here. So less than the durable transactions remains,
            // without a loss.
            self.forget_durable(TxId(0))?;
        }
        for name in self.list()? {
            if name.start >= min_to_keep || (Some(name.start) == open && name.end.is_none()) {
                continue;
            }
            // The end of a segment in progress is checked as well. Hadoop removes such a segment whatever it holds. But
            // when another JournalNode loses its disk, transactions to keep may be nowhere else.
            let last = self.last_of(&name)?;
            if last.is_some_and(|last| last < min_to_keep || straddling) {
                let journal = self.formatted_mut()?;
                journal.settled = None;
                let removed = journal.segments.remove(&name);
                self.disk_result("purging a segment", removed)?;
            }
        }
        let (current, disk) = (self.storage.current(), self.storage.disk().clone());
        let listed = disk.list(&current);
        for entry in self.disk_result("listing what was put aside", listed)? {
            // `.empty`, `.corrupt`, `.trash`, `.stale`, `.epoch=5`
            let old = match SegmentFile::parse(&entry.name) {
                Some(SegmentFile::Aside { first, last, .. }) => last.unwrap_or(first) < min_to_keep,
                Some(SegmentFile::Finalized { .. } | SegmentFile::InProgress { .. }) | None => false,
            };
            if old {
                let removed = disk.remove_file(&current.join(&entry.name));
                self.disk_result("purging what was put aside", removed)?;
            }
        }
        let paxos = current.join(PAXOS);
        let entries = match disk.list(&paxos) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => self.disk_result("listing recovery records", listed)?,
        };
        for entry in entries {
            if entry.name.parse().is_ok_and(|start: u64| start < min_to_keep.0) {
                let removed = disk.remove_file(&paxos.join(&entry.name));
                self.disk_result("purging a recovery record", removed)?;
            }
        }
        Ok(Answer::Done)
    }
}

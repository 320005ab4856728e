//! Promises, and the checks that every call of a writer passes.

use hathi_formats::ids::Epoch;
use hathi_storage::Disk;

use super::{Acceptor, JournalResult};
use crate::errors::JournalError;
use crate::lease::LeaseMarker;
use crate::messages::{Micros, RequestInfo};
use crate::mutant::Mutant;

/// How far above the last promise a promised epoch may be. A proposer asks for the highest epoch that it knows plus
/// one, and a JournalNode may have missed some elections, but never this many. Somebody who raises epochs on purpose
/// would have to do so 2^32 times before none is left.
pub const MAX_EPOCH_JUMP: u64 = 1 << 32;
/// The same limit for a segment of a Hadoop writer whose `newEpoch` was missed here.
const MAX_MISSED_EPOCHS: u64 = 1_000;
/// How far the serial of a call may be above the last serial, and a committed transaction above the last transaction
/// here. A JournalNode that was away, or is new, may have missed everything, but no cluster comes near this number in
/// its life.
const MAX_COUNTER_JUMP: u64 = 1 << 48;

impl<D: Disk> Acceptor<D> {
    /// Persists a higher promise and starts its serials anew (`Journal.updateLastPromisedEpoch`). The lease ends with
    /// it, unless the promise is for the holder itself ([`Acceptor::keep_lease`]).
    pub(super) fn promise(&mut self, epoch: Epoch, kept: Option<LeaseMarker>) -> JournalResult<()> {
        let durable = !self.mutated(Mutant::SkipPromiseSync);
        let journal = self.formatted_mut()?;
        debug_assert!(epoch >= journal.promised());
        if durable {
            let persisted = journal.promised.set(epoch.0);
            self.disk_result("persisting the promised epoch", persisted)?;
        } else {
            journal.promised.set_in_memory(epoch.0);
        }
        let journal = self.formatted_mut()?;
        journal.serial = None;
        journal.tells_commits = false;
        journal.rolls_until = 0;
        match kept {
            Some(marker) => journal.lease.promised_to_holder(marker),
            None => journal.lease.promised(epoch),
        }
        if journal.committed() > Some(journal.highest) {
            journal
                .committed
                .set_in_memory(i64::try_from(journal.highest.0).unwrap_or(i64::MAX));
        }
        self.note_written();
        if durable {
            self.copy_small_files();
        }
        self.version += 1;
        Ok(())
    }

    /// Checks every call of a writer, in Hadoop's order (`Journal.checkRequest`).
    pub(super) fn check_request(&mut self, info: &RequestInfo, now: Micros) -> JournalResult<()> {
        self.check_not_failed()?;
        self.check_promise_known()?;
        let promised = self.formatted()?.promised();
        if info.epoch < promised && !self.mutated(Mutant::AcceptOldEpoch) {
            return Err(JournalError::Fenced {
                epoch: info.epoch,
                promised,
                journal: self.journal_id(),
            });
        }
        if info.epoch > promised && self.mutated(Mutant::RaiseByAnyCall) {
            self.check_lease(info.lease.as_ref(), now)?;
            self.promise(info.epoch, None)?;
        }
        self.check_promised_to(info)?;
        if info.epoch == self.formatted()?.promised() {
            self.claim_epoch(info.lease.as_ref())?;
        }
        self.check_counters(info)?;
        let journal = self.formatted_mut()?;
        if let Some(highest) = journal.serial
            && info.serial <= highest
            && info.epoch >= promised
        {
            let serial = info.serial;
            return Err(self.out_of_sync(format!(
                "IPC serial {serial} was not higher than prior highest IPC serial {highest}"
            )));
        }
        journal.serial = Some(info.serial);
        // A caller that has the promise but has not begun to write has recovered nothing, and may be anybody.
        let told = info
            .committed
            .filter(|_| journal.lease.was_asked_by(info.lease.as_ref()) || info.epoch == journal.writer_epoch());
        if let Some(committed) = told {
            let known = journal.committed();
            if known.is_some_and(|known| committed < known) {
                return Err(self.illegal_argument(format!(
                    "client trying to move committed txid backward from {} to {committed}",
                    known.unwrap_or_default()
                )));
            }
            if known != Some(committed) {
                let value = i64::try_from(committed.0).unwrap_or(i64::MAX);
                // This is best effort: a restarted JournalNode learns the value again from the next request. Our own
                // record is written with every batch, Hadoop's file only with rarer requests.
                journal.committed.set_in_memory(value);
                self.version += 1;
            }
        }
        self.note_written();
        Ok(())
    }

    /// Refuses a caller that was not promised its epoch here. A writer that missed this JournalNode in its election
    /// asks again by itself ([`crate::Request::NewEpoch`]). In an epoch with a lease nobody but the holder is served.
    fn check_promised_to(&self, info: &RequestInfo) -> JournalResult<()> {
        let journal = self.formatted()?;
        let promised = journal.promised();
        let stranger = info.epoch == promised && !journal.lease.admits(info.lease.as_ref());
        if info.epoch > promised || (stranger && !self.mutated(Mutant::RaiseByAnyCall)) {
            return Err(JournalError::NotPromised {
                epoch: info.epoch,
                promised,
                journal: self.journal_id(),
            });
        }
        Ok(())
    }

    /// Refuses numbers that would leave no room for later ones: serials and committed txids can only grow.
    fn check_counters(&self, info: &RequestInfo) -> JournalResult<()> {
        let journal = self.formatted()?;
        let serials = journal.serial.unwrap_or(0).saturating_add(MAX_COUNTER_JUMP);
        if info.serial > serials {
            return Err(self.illegal_argument(format!("IPC serial {} is absurd", info.serial)));
        }
        let known = journal.committed().max(Some(journal.highest)).unwrap_or_default();
        if let Some(committed) = info
            .committed
            .filter(|it| it.0 > known.0.saturating_add(MAX_COUNTER_JUMP))
        {
            return Err(self.illegal_argument(format!("committed txid {committed} is absurd")));
        }
        Ok(())
    }

    /// Follows a writer of Hadoop that got its majority without this JournalNode. It never repeats `newEpoch`, so its
    /// next segment counts as one (in Hadoop any call would).
    pub(super) fn follow_hadoop_writer(&mut self, info: &RequestInfo, now: Micros) -> JournalResult<()> {
        self.check_not_failed()?;
        self.check_promise_known()?;
        let promised = self.formatted()?.promised();
        let missed = info.epoch.0.saturating_sub(promised.0);
        if info.lease.is_none() && (1..=MAX_MISSED_EPOCHS).contains(&missed) {
            self.check_lease(None, now)?;
            self.promise(info.epoch, None)?;
        }
        Ok(())
    }
}

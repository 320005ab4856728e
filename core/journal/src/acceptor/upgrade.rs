//! Format, upgrade, rollback, discard: what an administrator does to all JournalNodes at once.

use hathi_formats::ids::{Epoch, LayoutVersion, NamespaceInfo, TxId};
use hathi_storage::{Disk, NodeType, StorageError, VersionFile};

use super::{Acceptor, COMMITTED_TXID, JournalResult, LAST_PROMISED_EPOCH, LAST_WRITER_EPOCH, MEMBERSHIP, PAXOS};
use crate::errors::JournalError;
use crate::membership::Membership;
use crate::messages::{Answer, Micros};

impl<D: Disk> Acceptor<D> {
    /// `Journal.format`. A JournalNode that has already joined its peers, which the same format reached first, is
    /// formatted all the same: no writer has been in office since, so it can't have lost anything.
    pub(super) fn format(&mut self, ns_info: &NamespaceInfo, force: bool, now: Micros) -> JournalResult<Answer> {
        if ns_info.namespace_id == 0 {
            return Err(self.illegal_argument("can't format with uninitialized namespace info"));
        }
        let joined = self.journal.as_ref().is_some_and(|journal| {
            journal.doubt.is_some() && journal.info == *ns_info && journal.promised() == Epoch(0)
        });
        let untouched = joined && self.list()?.is_empty();
        if self.is_formatted() && !force && !untouched {
            let path = self.storage.current();
            return Err(StorageError::NotEmpty { path }.into());
        }
        if let Some(journal) = &mut self.journal {
            journal.committed.close();
            journal.written.close();
            journal.open = None;
        }
        let version = VersionFile::new(NodeType::JournalNode, ns_info);
        self.storage.format_with(&version, force || untouched, &[])?;
        self.after_format(now)?;
        Ok(Answer::Done)
    }

    /// Makes directories and permissions of a fresh `current`, takes the lock, and loads the journal.
    pub(super) fn after_format(&mut self, now: Micros) -> JournalResult<()> {
        self.storage.lock_again(&self.options.lock_holder)?;
        let disk = self.storage.disk().clone();
        let current = self.storage.current();
        let made = disk
            .create_dir_all(&current.join(PAXOS))
            .and_then(|()| disk.sync_dir(&current))
            .and_then(|()| disk.set_mode(self.storage.root(), self.options.directory_mode));
        made.map_err(|source| JournalError::Io {
            what: "formatting".to_owned(),
            source,
        })?;
        self.journal = None;
        // The earlier failure belonged to the files that the format has removed.
        self.failed = None;
        self.load(now)
    }

    fn close_for_renames(&mut self) -> JournalResult<()> {
        self.close_open_segment()?;
        let journal = self.formatted_mut()?;
        journal.committed.close();
        journal.written.close();
        Ok(())
    }

    /// `Journal.doPreUpgrade`.
    pub(super) fn do_pre_upgrade(&mut self) -> JournalResult<Answer> {
        self.close_for_renames()?;
        self.storage.pre_upgrade()?;
        Ok(Answer::Done)
    }

    /// `Journal.doUpgrade`.
    pub(super) fn do_upgrade(&mut self, target: &NamespaceInfo) -> JournalResult<Answer> {
        let journal = self.formatted_mut()?;
        journal.info.ctime = target.ctime;
        journal.info.layout_version = target.layout_version;
        let version = VersionFile::new(NodeType::JournalNode, &journal.info);
        let promised = format!("{}\n", journal.promised.get());
        let writer = format!("{}\n", journal.writer_epoch.get());
        let committed = journal.committed.get().to_be_bytes();
        let membership = journal.membership.as_ref().map(Membership::to_text);
        // The epochs are copied before `previous` exists: a half-done upgrade is undone whole.
        let current = self.storage.current();
        let disk = self.storage.disk().clone();
        let copied = disk
            .create_dir_all(&current.join(PAXOS))
            .and_then(|()| disk.write_small(&current.join(LAST_PROMISED_EPOCH), promised.as_bytes()))
            .and_then(|()| disk.write_small(&current.join(LAST_WRITER_EPOCH), writer.as_bytes()))
            .and_then(|()| disk.write_small(&current.join(COMMITTED_TXID), &committed))
            .and_then(|()| match &membership {
                Some(text) => disk.write_small(&current.join(MEMBERSHIP), text.as_bytes()),
                None => Ok(()),
            });
        self.disk_result("copying the epochs into the upgraded directory", copied)?;
        self.storage.upgrade(&version)?;
        self.note_written();
        self.copy_small_files();
        Ok(Answer::Done)
    }

    /// `Journal.doFinalize`.
    pub(super) fn do_finalize(&mut self) -> JournalResult<Answer> {
        self.formatted()?;
        self.storage.finalize()?;
        Ok(Answer::Done)
    }

    /// `Journal.canRollBack`.
    pub(super) fn can_roll_back(&mut self, target: LayoutVersion) -> JournalResult<Answer> {
        Ok(Answer::CanRollBack(self.storage.can_roll_back(target)?))
    }

    /// `Journal.doRollback`.
    pub(super) fn do_rollback(&mut self, now: Micros) -> JournalResult<Answer> {
        self.close_for_renames()?;
        let membership = self.formatted()?.membership.clone();
        self.storage.roll_back()?;
        self.journal = None;
        self.load(now)?;
        // The membership is not rolled back with the rest.
        if let Some(membership) = membership.filter(|it| it.is_newer_than(self.membership())) {
            self.keep_membership(&membership)?;
        }
        Ok(Answer::Done)
    }

    /// `Journal.discardSegments`. It is the only call that moves the committed txid back.
    pub(super) fn discard_segments(&mut self, start: TxId) -> JournalResult<Answer> {
        self.close_open_segment()?;
        let names = self.list()?;
        let spanning = names
            .iter()
            .find(|name| name.start < start && name.end.is_some_and(|end| end >= start));
        if let Some(name) = spanning {
            return Err(self.illegal_state(format!("{} spans txid {start}", name.file_name())));
        }
        let committed = i64::try_from(start.0).unwrap_or(i64::MAX) - 1;
        let journal = self.formatted_mut()?;
        journal.settled = None;
        journal.committed.set_in_memory(committed);
        self.forget_durable(TxId(start.0.saturating_sub(1)))?;
        for name in names.iter().filter(|name| name.start >= start) {
            let aside = self.formatted()?.segments.put_aside(name, "trash");
            self.disk_result("putting a discarded segment aside", aside)?;
        }
        let journal = self.formatted_mut()?;
        let set = journal.committed.set(committed);
        self.disk_result("lowering the committed txid", set)?;
        let highest = self.scan_highest()?.map_or(TxId(0), |(_, last)| last);
        let journal = self.formatted_mut()?;
        journal.highest = highest;
        journal.written_by = None;
        if let Some(cache) = &mut journal.cache {
            cache.clear();
        }
        self.version += 1;
        Ok(Answer::Done)
    }
}

//! Whether the disk still has what was put there. Files rot, get lost, or come back from a backup.
//!
//! Three files of ours stand beside Hadoop's:
//! * `hathi-copies`: copies, with a checksum, of the small files that have none in Hadoop's format ([`Copies`]). A
//!   small file that changed in place or is gone is restored from it. It also shows when the directory itself is a
//!   copy.
//! * `hathi-written`: promise, committed txid and the last transaction known to be durable, with a checksum. It is
//!   written in place with every batch. Hadoop's `committed-txid` has no checksum and is kept only for Hadoop.
//! * `hathi-promise-lost`: present while this JournalNode does not know what it has promised.
//!
//! Invariants:
//! * a transaction that was durable is never cut off an in-progress segment. A segment that is damaged before its
//!   durable end is put aside whole (`.corrupt`). If it is the newest one, this JournalNode keeps out of recoveries
//!   (`joining`) until a writer has brought it up to date;
//! * a JournalNode that does not know its promise serves no epoch and grants no lease;
//! * `durable_to` is a transaction that was synced here, or 0. This holds also after a recovery has put a shorter
//!   segment in place.

use std::io;
use std::path::Path;

use hathi_formats::ids::{Epoch, TxId};
use hathi_storage::durable_long::read_text_long;
use hathi_storage::{Copies, CopyState, Disk, StorageDirectory};

use super::{Acceptor, JOINING, JournalResult, LAST_PROMISED_EPOCH, LAST_WRITER_EPOCH, MEMBERSHIP};
use crate::errors::JournalError;
use crate::mutant::Mutant;
use crate::segments::SegmentName;

const COPIES: &str = "hathi-copies";
/// Record of promise, committed txid and last durable transaction.
pub(super) const WRITTEN: &str = "hathi-written";
/// File that is present while the promise is not known.
pub(super) const PROMISE_LOST: &str = "hathi-promise-lost";
const VERSION: &str = "VERSION";
/// Small files that have a copy in [`COPIES`].
const COPIED: [&str; 4] = [VERSION, LAST_PROMISED_EPOCH, LAST_WRITER_EPOCH, MEMBERSHIP];

/// What an acceptor does not know of its own past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Doubt {
    /// Whether even the promise is not known.
    pub(super) promise: bool,
    /// Reason, for operators.
    pub(super) why: String,
}

/// Restores VERSION when only its copy is left, and returns whether it did. Without VERSION the directory would count
/// as empty.
pub(super) fn restore_version<D: Disk>(storage: &StorageDirectory<D>) -> JournalResult<bool> {
    let (disk, current) = (storage.disk(), storage.current());
    let failed = |source| JournalError::Io {
        what: format!("restoring {}", storage.version_path().display()),
        source,
    };
    if disk.exists(&storage.version_path()).map_err(failed)? || !disk.exists(&current).map_err(failed)? {
        return Ok(false);
    }
    match Copies::read(disk, &current.join(COPIES)).map_err(failed)? {
        Some(copies) if copies.has(VERSION) => {
            copies.restore(disk, &current, VERSION).map_err(failed)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Names of the small files in a journal's `current` that differ from their copies, and that no other program has
/// replaced.
pub fn damaged_small_files<D: Disk>(disk: &D, current: &Path) -> io::Result<Vec<&'static str>> {
    let copies = Copies::read(disk, &current.join(COPIES))?.unwrap_or_default();
    let mut damaged = Vec::new();
    for name in COPIED {
        if matches!(
            copies.compare(disk, current, name)?,
            CopyState::Damaged | CopyState::Missing
        ) {
            damaged.push(name);
        }
    }
    Ok(damaged)
}

impl<D: Disk> Acceptor<D> {
    /// Compares the small files with their copies before they are read, and restores those that are damaged or gone. If
    /// the promise or the writer epoch can't be known any more, a mark on disk says so.
    pub(super) fn check_small_files(&mut self) -> JournalResult<()> {
        let (disk, current) = (self.storage.disk().clone(), self.storage.current());
        let failed = |source| JournalError::Io {
            what: format!("checking {}", current.display()),
            source,
        };
        let copies = Copies::read(&disk, &current.join(COPIES))
            .map_err(failed)?
            .unwrap_or_default();
        let mut copied = Vec::new();
        for name in COPIED {
            match copies.compare(&disk, &current, name).map_err(failed)? {
                CopyState::Same | CopyState::Replaced => {}
                CopyState::Copied => copied.push(name),
                CopyState::Damaged | CopyState::Missing => {
                    self.counters.files_repaired += 1;
                    copies.restore(&disk, &current, name).map_err(failed)?;
                }
            }
        }
        let epoch = |name: &str| read_text_long(&disk, &current.join(name));
        // Whether the file is damaged and has no copy.
        let unreadable = |name: &str| epoch(name).is_err_and(|error| error.kind() == io::ErrorKind::InvalidData);
        let mut doubt = None;
        let whole =
            copied.contains(&VERSION) && (copied.contains(&LAST_PROMISED_EPOCH) || !copies.has(LAST_PROMISED_EPOCH));
        if whole {
            doubt = Some(Doubt {
                promise: true,
                why: "the directory is a copy, as from a backup: what was promised and written since is not known"
                    .into(),
            });
        }
        for (name, promise) in [(LAST_WRITER_EPOCH, false), (LAST_PROMISED_EPOCH, true)] {
            if unreadable(name) {
                let path = current.join(name);
                let aside = current.join(format!("{name}.corrupt"));
                disk.rename(&path, &aside).map_err(failed)?;
                doubt = Some(Doubt {
                    promise,
                    why: format!("{name} is damaged, and there is no copy of it"),
                });
            }
        }
        let writer = epoch(LAST_WRITER_EPOCH).map_err(failed)?.unwrap_or_default();
        let promised = epoch(LAST_PROMISED_EPOCH).map_err(failed)?.unwrap_or_default();
        // This mutant makes the acceptor forget its promise, and must not be repaired here.
        let planted = self.mutated(Mutant::SkipPromiseSync);
        if writer > promised && !planted && doubt.as_ref().is_none_or(|doubt| !doubt.promise) {
            // A writer that opened a segment here had been promised its epoch before.
            disk.write_small(&current.join(LAST_PROMISED_EPOCH), format!("{writer}\n").as_bytes())
                .map_err(failed)?;
            doubt = Some(Doubt {
                promise: true,
                why: format!("a writer of epoch {writer} was here, but the promise on disk is {promised}"),
            });
        }
        match doubt {
            Some(doubt) => self.mark_doubt(&doubt),
            None => Ok(()),
        }
    }

    /// Marks the doubt on disk. This comes before any step that would hide its reason.
    fn mark_doubt(&mut self, doubt: &Doubt) -> JournalResult<()> {
        let (disk, current) = (self.storage.disk().clone(), self.storage.current());
        let why = format!("{}\n", doubt.why);
        let mut marked = disk.write_small(&current.join(JOINING), why.as_bytes());
        if doubt.promise && marked.is_ok() {
            marked = disk.write_small(&current.join(PROMISE_LOST), why.as_bytes());
        }
        self.disk_result("marking that this JournalNode may not vote", marked)
    }

    /// Reads the marks that [`Acceptor::check_small_files`] or an earlier process has left.
    pub(super) fn read_doubt(&self) -> JournalResult<Option<Doubt>> {
        let current = self.storage.current();
        let read = |name: &str| {
            let path = current.join(name);
            self.storage
                .disk()
                .read_small(&path)
                .map_err(|source| JournalError::Io {
                    what: format!("reading {}", path.display()),
                    source,
                })
        };
        let (joining, promise) = (read(JOINING)?, read(PROMISE_LOST)?);
        let promise_lost = promise.is_some();
        Ok(joining.or(promise).map(|why| Doubt {
            promise: promise_lost,
            why: match String::from_utf8_lossy(&why).trim() {
                "" => "it lost its storage".to_owned(),
                why => why.to_owned(),
            },
        }))
    }

    /// Copies the small files again if the copies are not up to date. When this fails, the old copies stay: they only
    /// know less.
    pub(super) fn copy_small_files(&self) {
        let (disk, current) = (self.storage.disk(), self.storage.current());
        let path = current.join(COPIES);
        if let Ok(now) = Copies::take(disk, &current, &COPIED)
            && !Copies::read(disk, &path).is_ok_and(|old| old.as_ref() == Some(&now))
        {
            let _ = now.write(disk, &path);
        }
    }

    /// Takes this JournalNode out of recoveries: transactions that were durable here are missing.
    pub(super) fn begin_joining(&mut self, why: &str) -> JournalResult<()> {
        self.mark_doubt(&Doubt {
            promise: false,
            why: why.to_owned(),
        })?;
        let journal = self.formatted_mut()?;
        let promise = journal.doubt.as_ref().is_some_and(|doubt| doubt.promise);
        journal.doubt = Some(Doubt {
            promise,
            why: why.to_owned(),
        });
        self.forget_durable(TxId(0))?;
        self.version += 1;
        Ok(())
    }

    /// Refuses a call that depends on the promise while the promise is not known.
    pub(super) fn check_promise_known(&self) -> JournalResult<()> {
        match self.formatted()?.doubt.as_ref().filter(|doubt| doubt.promise) {
            None => Ok(()),
            Some(doubt) => Err(JournalError::PromiseLost {
                why: doubt.why.clone(),
                journal: self.journal_id(),
            }),
        }
    }

    /// Takes over the promise that the peers reported, and ends the doubt about this JournalNode's own. So many peers
    /// were asked that any epoch promised here was promised by one of them too. This JournalNode still votes only after
    /// a writer has brought it up to date.
    pub fn recover_promise(&mut self, promise: Epoch) -> JournalResult<()> {
        self.check_not_failed()?;
        if self.check_promise_known().is_ok() {
            return Ok(());
        }
        if promise > self.formatted()?.promised() {
            self.promise(promise, None)?;
        }
        let (disk, current) = (self.storage.disk().clone(), self.storage.current());
        let removed = disk.remove_file(&current.join(PROMISE_LOST));
        let removed = removed.and_then(|()| disk.sync_dir(&current));
        self.disk_result("taking the peers' promise over", removed)?;
        if let Some(doubt) = &mut self.formatted_mut()?.doubt {
            doubt.promise = false;
        }
        self.version += 1;
        Ok(())
    }

    /// Whether this JournalNode waits for [`Acceptor::recover_promise`].
    #[must_use]
    pub fn needs_promise(&self) -> bool {
        self.journal.is_some() && self.check_promise_known().is_err()
    }

    /// Why this JournalNode does not vote, if it does not.
    #[must_use]
    pub fn doubt(&self) -> Option<&str> {
        let doubt = self.journal.as_ref()?.doubt.as_ref()?;
        Some(&doubt.why)
    }

    /// Records what is committed and what is durable here. This is best effort: a stale record only tells less.
    pub(super) fn note_written(&mut self) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        if let Some(open) = &journal.open
            && journal.synced_next > open.start()
        {
            journal.durable_to = journal.durable_to.max(TxId(journal.synced_next.0 - 1));
        }
        let committed = journal.committed().unwrap_or_default();
        let values = [journal.promised().0, committed.0, journal.durable_to.0];
        let _ = journal.written.set(values);
    }

    /// Lowers the durable transaction to `up_to`, because a shorter segment is about to be put in place rightly. The
    /// record is on disk when this returns.
    pub(super) fn forget_durable(&mut self, up_to: TxId) -> JournalResult<()> {
        let journal = self.formatted_mut()?;
        let durable_to = journal.durable_to.min(up_to);
        let committed = journal.committed().unwrap_or_default();
        let values = [journal.promised().0, committed.0, durable_to.0];
        let written = journal.written.set(values).and_then(|()| journal.written.sync());
        self.disk_result("recording what is durable", written)?;
        // Memory changes only after the disk: when the disk is full, the same call can be tried again.
        self.formatted_mut()?.durable_to = durable_to;
        Ok(())
    }

    /// Puts aside, whole, a segment that is damaged before its durable end.
    pub(super) fn lose_segment(&mut self, name: &SegmentName, what: &str, in_recovery: bool) -> JournalResult<()> {
        let newest = self.list()?.last().map(|name| name.start);
        if in_recovery || newest == Some(name.start) {
            self.begin_joining(&format!("{} is damaged: {what}", name.file_name()))?;
        }
        let aside = self.formatted()?.segments.put_aside(name, "corrupt");
        self.disk_result("putting a damaged segment aside", aside)?;
        let journal = self.formatted_mut()?;
        journal.settled = None;
        journal.verified = None;
        self.counters.segments_damaged += 1;
        self.version += 1;
        Ok(())
    }

    /// Reads a finalized segment. Returns what is wrong with it, if anything.
    pub(super) fn damage_of(&mut self, name: &SegmentName, end: TxId) -> JournalResult<Option<String>> {
        let journal = self.formatted()?;
        if journal.verified == Some(name.start) {
            return Ok(None);
        }
        let scanned = journal.segments.scan_file(&journal.segments.path(name), name.start);
        let scan = self.disk_result("checking a finalized segment", scanned)?;
        let damage = crate::segments::damage(&scan, end);
        if damage.is_none() {
            self.formatted_mut()?.verified = Some(name.start);
        }
        Ok(damage)
    }

    /// Checks once more a finalized segment that a reader of all segments found damaged, and puts it aside so that a
    /// peer's copy can take its place. Returns whether it was put aside.
    pub fn quarantine(&mut self, start: TxId, end: TxId) -> JournalResult<bool> {
        self.check_not_failed()?;
        let name = SegmentName::finalized(start, end);
        if self.find(start)?.as_ref() != Some(&name) {
            return Ok(false);
        }
        self.formatted_mut()?.verified = None;
        let Some(damage) = self.damage_of(&name, end)? else {
            return Ok(false);
        };
        self.lose_segment(&name, &damage, false)?;
        Ok(true)
    }

    /// Compares the highest transaction found on disk with the one that was durable. If it is lower, a file is gone or
    /// was cut, which is damage too.
    pub(super) fn check_highest(&mut self, highest: TxId) -> JournalResult<()> {
        let durable_to = self.formatted()?.durable_to;
        if highest >= durable_to || self.formatted()?.doubt.is_some() {
            return Ok(());
        }
        self.begin_joining(&format!(
            "transactions up to {durable_to} were durable here, found are those up to {highest}"
        ))
    }

    /// Takes over our own record of the committed txid, if it was written under the present promise. It replaces
    /// Hadoop's.
    pub(super) fn take_record(&mut self) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        let promised = journal.promised().0;
        let Some([_, committed, durable_to]) = journal.written.get().filter(|[promise, ..]| *promise == promised)
        else {
            return;
        };
        journal.durable_to = TxId(durable_to);
        if let Ok(committed) = i64::try_from(committed)
            && committed > 0
        {
            journal.committed.set_in_memory(committed);
        }
    }
}

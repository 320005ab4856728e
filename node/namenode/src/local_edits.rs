//! The copy of the edits that Hadoop keeps in `dfs.namenode.edits.dir` beside the quorum's.
//!
//! Not required, and so never waited for: a thread of its own writes and syncs it. A directory that fails, or falls too
//! far behind, is left alone until the next segment; the shared log is the one that counts. Only where the operator asks for
//! it (`dfs.namenode.edits.dir.required`, `.minimum`) does the NameNode end without them.

use hathi_formats::editlog::SegmentFile;
use hathi_formats::ids::{LayoutVersion, TxId};
use hathi_journal::directory::MustHave;
use hathi_namesystem::edit_log::LogItem;
use hathi_storage::{Disk as _, OsDisk};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Edits waiting for a slow directory before the rest of the segment is given up.
const BEHIND_BYTES_MAX: usize = 64 << 20;
/// How long edits gather before they are written: waking a thread costs more than writing.
const GATHER: Duration = Duration::from_millis(10);
/// How often what was written is synced.
const SYNC_EVERY: Duration = Duration::from_secs(1);

enum Work {
    Item(LogItem),
    Abandon,
    Purge(TxId),
    Flush(mpsc::Sender<()>),
}

/// Why the NameNode must not go on, if it must not.
fn must_end(must_have: &MustHave, dirs: &[Dir]) -> Option<String> {
    let failed = |dir: &&Dir| dir.failed;
    if let Some(dir) = dirs
        .iter()
        .filter(failed)
        .find(|dir| must_have.required.contains(&dir.current))
    {
        let dir = dir.current.display();
        return Some(format!(
            "the edits in {dir} are lost, which dfs.namenode.edits.dir.required names"
        ));
    }
    let good = dirs.len() - dirs.iter().filter(failed).count();
    (good < must_have.minimum).then(|| {
        format!(
            "{good} of {} directories of local edits are left: dfs.namenode.edits.dir.minimum is {}",
            dirs.len(),
            must_have.minimum
        )
    })
}

/// The way to the writing thread.
#[derive(Clone)]
pub struct LocalEdits {
    work: Option<mpsc::Sender<Work>>,
    behind: Arc<AtomicUsize>,
}

impl LocalEdits {
    /// Starts the thread for these `current` directories. `lost` is told, once, that the NameNode must end.
    pub fn start(
        dirs: Vec<PathBuf>,
        must_have: MustHave,
        lost: impl FnOnce(String) + Send + 'static,
    ) -> io::Result<LocalEdits> {
        let behind = Arc::new(AtomicUsize::new(0));
        if dirs.is_empty() {
            return Ok(LocalEdits { work: None, behind });
        }
        // bound: [`BEHIND_BYTES_MAX`] of edits; beginnings and ends of segments and purges come one by one from the edit log.
        let (sender, receiver) = mpsc::channel();
        let counter = behind.clone();
        std::thread::Builder::new()
            .name("local-edits".to_owned())
            .spawn(move || {
                let mut dirs: Vec<Dir> = dirs.into_iter().map(Dir::new).collect();
                run(&mut dirs, &receiver, &counter, &must_have, lost);
            })?;
        Ok(LocalEdits {
            work: Some(sender),
            behind,
        })
    }

    /// Hands over what the journals got.
    pub fn push(&self, item: LogItem) {
        if let LogItem::Edits { bytes, .. } = &item {
            if self.behind.load(Ordering::Relaxed) > BEHIND_BYTES_MAX {
                // A hole: the next item no longer fits, and the segment is given up there.
                return;
            }
            self.behind.fetch_add(bytes.len(), Ordering::Relaxed);
        }
        self.send(Work::Item(item));
    }

    /// The open segment will not be continued by this NameNode: it stays as it is, in progress.
    pub fn abandon(&self) {
        self.send(Work::Abandon);
    }

    /// Deletes segments that end before a transaction.
    pub fn purge(&self, min_to_keep: TxId) {
        self.send(Work::Purge(min_to_keep));
    }

    /// Waits until everything handed over is written and synced: before an orderly end, as `-initializeSharedEdits` and
    /// others take this copy for whole.
    pub fn flush(&self, timeout: Duration) {
        // bound: one answer.
        let (done, flushed) = mpsc::channel();
        self.send(Work::Flush(done));
        if self.work.is_some() && flushed.recv_timeout(timeout).is_err() {
            tracing::warn!("the local edits may lack the last transactions");
        }
    }

    fn send(&self, work: Work) {
        if let Some(sender) = &self.work {
            // The thread ends only with the process.
            let _ = sender.send(work);
        }
    }
}

fn run(
    dirs: &mut [Dir],
    receiver: &mpsc::Receiver<Work>,
    behind: &AtomicUsize,
    must_have: &MustHave,
    lost: impl FnOnce(String),
) {
    let mut lost = Some(lost);
    let mut last_sync = Instant::now();
    loop {
        let work = match receiver.recv_timeout(SYNC_EVERY) {
            Ok(work) => Some(work),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
        if let Some(work) = work {
            std::thread::sleep(GATHER);
            for work in std::iter::once(work).chain(receiver.try_iter()) {
                if let Work::Item(LogItem::Edits { bytes, .. }) = &work {
                    behind.fetch_sub(bytes.len(), Ordering::Relaxed);
                }
                for dir in dirs.iter_mut() {
                    dir.work(&work);
                }
                if let Work::Flush(done) = work {
                    // Who asked may have gone.
                    let _ = done.send(());
                }
            }
        }
        if last_sync.elapsed() >= SYNC_EVERY {
            for dir in dirs.iter_mut() {
                dir.sync();
            }
            last_sync = Instant::now();
        }
        if let Some(reason) = must_end(must_have, dirs)
            && let Some(lost) = lost.take()
        {
            lost(reason);
        }
    }
}

struct Segment {
    file: File,
    first: TxId,
    next: TxId,
    dirty: bool,
}

struct Dir {
    current: PathBuf,
    segment: Option<Segment>,
    /// Since the last segment that was begun, something could not be written.
    failed: bool,
}

impl Dir {
    fn new(current: PathBuf) -> Dir {
        Dir {
            current,
            segment: None,
            failed: false,
        }
    }

    fn work(&mut self, work: &Work) {
        let result = match work {
            Work::Item(LogItem::StartSegment(txid)) => self.start(*txid),
            Work::Item(LogItem::Edits {
                segment,
                first,
                count,
                bytes,
            }) => self.append(*segment, *first, *count, bytes),
            Work::Item(LogItem::FinalizeSegment { first, last }) => self.finalize(*first, *last),
            Work::Abandon => {
                self.sync();
                self.segment = None;
                Ok(())
            }
            Work::Purge(min_to_keep) => purge(&self.current, *min_to_keep),
            Work::Flush(_) => {
                self.sync();
                Ok(())
            }
        };
        if let Err(error) = result {
            self.give_up(&error);
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        tracing::warn!(dir = %self.current.display(), %error, "local edits are given up until the next segment");
        self.segment = None;
        self.failed = true;
    }

    fn start(&mut self, txid: TxId) -> io::Result<()> {
        let mut file = File::create(self.current.join(format!("edits_inprogress_{:019}", txid.0)))?;
        file.write_all(&LayoutVersion::NAMENODE_CURRENT.0.to_be_bytes())?;
        // No feature flags.
        file.write_all(&0_i32.to_be_bytes())?;
        self.segment = Some(Segment {
            file,
            first: txid,
            next: txid,
            dirty: true,
        });
        OsDisk.write_small(&self.current.join("seen_txid"), format!("{}\n", txid.0).as_bytes())?;
        self.failed = false;
        Ok(())
    }

    fn append(&mut self, segment: TxId, first: TxId, count: u32, bytes: &[u8]) -> io::Result<()> {
        let Some(open) = &mut self.segment else { return Ok(()) };
        if open.first != segment || open.next != first {
            return Err(io::Error::other(format!(
                "next transaction is {}, got {first}",
                open.next
            )));
        }
        open.file.write_all(bytes)?;
        open.next = TxId(first.0 + u64::from(count));
        open.dirty = true;
        Ok(())
    }

    fn finalize(&mut self, first: TxId, last: TxId) -> io::Result<()> {
        let Some(open) = self.segment.take() else { return Ok(()) };
        if open.first != first || open.next != last.next() {
            return Err(io::Error::other(format!(
                "segment {first} ends before {}, not with {last}",
                open.next
            )));
        }
        open.file.sync_data()?;
        std::fs::rename(
            self.current.join(format!("edits_inprogress_{:019}", first.0)),
            self.current.join(format!("edits_{:019}-{:019}", first.0, last.0)),
        )
    }

    fn sync(&mut self) {
        if let Some(open) = &mut self.segment
            && open.dirty
        {
            open.dirty = false;
            if let Err(error) = open.file.sync_data() {
                self.give_up(&error);
            }
        }
    }
}

fn purge(current: &Path, min_to_keep: TxId) -> io::Result<()> {
    for entry in std::fs::read_dir(current)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(SegmentFile::Finalized { last, .. }) = name.to_str().and_then(SegmentFile::parse)
            && last < min_to_keep
        {
            match std::fs::remove_file(entry.path()) {
                // The retention of images may purge as well.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_segment_is_written_and_named_as_hadoop_does() {
        let dir = tempfile::tempdir().unwrap();
        let mut local = Dir::new(dir.path().to_owned());
        let edits = |first, count, bytes: &'static [u8]| {
            Work::Item(LogItem::Edits {
                segment: TxId(5),
                first: TxId(first),
                count,
                bytes: Bytes::from_static(bytes),
            })
        };
        local.work(&Work::Item(LogItem::StartSegment(TxId(5))));
        local.work(&edits(5, 2, b"ab"));
        local.work(&edits(7, 1, b"c"));
        local.work(&Work::Item(LogItem::FinalizeSegment {
            first: TxId(5),
            last: TxId(7),
        }));
        let name = dir.path().join("edits_0000000000000000005-0000000000000000007");
        assert_eq!(std::fs::read(&name).unwrap(), b"\xff\xff\xff\xbd\0\0\0\0abc");
        assert_eq!(std::fs::read(dir.path().join("seen_txid")).unwrap(), b"5\n");
        local.work(&Work::Purge(TxId(7)));
        assert!(name.exists());
        // Only looks like a segment.
        let other = dir.path().join("edits_of_monday-1");
        std::fs::write(&other, b"").unwrap();
        local.work(&Work::Purge(TxId(8)));
        assert!(!name.exists());
        assert!(other.exists());
    }

    #[test]
    fn the_namenode_ends_when_it_loses_edits_that_it_must_have() {
        let lost_with = |required: &[&str], minimum, dirs_there: &[&str]| {
            let root = tempfile::tempdir().unwrap();
            for dir in dirs_there {
                std::fs::create_dir(root.path().join(dir)).unwrap();
            }
            let path = |dir: &&str| root.path().join(dir);
            let must_have = MustHave {
                required: required.iter().map(path).collect(),
                minimum,
            };
            let (told, lost) = mpsc::channel();
            let local = LocalEdits::start(["a", "b"].iter().map(path).collect(), must_have, move |reason| {
                told.send(reason).unwrap();
            });
            let local = local.unwrap();
            local.push(LogItem::StartSegment(TxId(1)));
            local.flush(Duration::from_secs(20));
            drop(local);
            // The thread has ended when the channel has.
            lost.recv().ok()
        };
        assert_eq!(lost_with(&["a"], 0, &["a"]), None);
        assert!(lost_with(&["b"], 0, &["a"]).unwrap().contains("edits.dir.required"));
        assert_eq!(lost_with(&[], 1, &["a"]), None);
        assert!(lost_with(&[], 2, &["a"]).unwrap().contains("edits.dir.minimum"));
        assert_eq!(lost_with(&[], 0, &[]), None);
    }

    #[test]
    fn a_hole_ends_the_copy() {
        let dir = tempfile::tempdir().unwrap();
        let mut local = Dir::new(dir.path().to_owned());
        local.work(&Work::Item(LogItem::StartSegment(TxId(1))));
        let hole = LogItem::Edits {
            segment: TxId(1),
            first: TxId(3),
            count: 1,
            bytes: Bytes::from_static(b"x"),
        };
        local.work(&Work::Item(hole));
        assert!(local.segment.is_none());
        local.work(&Work::Item(LogItem::FinalizeSegment {
            first: TxId(1),
            last: TxId(3),
        }));
        assert!(dir.path().join("edits_inprogress_0000000000000000001").exists());
    }
}

//! A journal in a directory with Hadoop's layout. There are two kinds. A shared directory
//! (`dfs.namenode.shared.edits.dir` with `file://`) can be reached by all NameNodes of a nameservice, and a claim
//! beside the segments says who writes. An own directory belongs to one NameNode, which has locked it; [`JournalSet`]
//! writes to several of these.
//!
//! Invariants, on a file system where opening a file by name sees every rename that was done before:
//! * [`DirectoryJournal::sync`] of a shared directory succeeds only if the claim is still this writer's after
//!   everything was made durable. A NameNode that claims the directory later also scans it later, so it finds
//!   everything that was acknowledged;
//! * `seen_txid` names only segments whose first transaction is durable. Hadoop's NameNode would refuse to start
//!   otherwise;
//! * each segment file is created by one writer, and no other writer ever empties it;
//! * a damaged segment that has transactions behind the damage is never cut off. A person has to decide.
//!
//! Durable: `edits_*`, `seen_txid` and VERSION as in Hadoop, and the claim `hathi-writer`, which is replaced by a
//! rename. Mirrors `FileJournalManager`, where only fencing keeps a second writer out.

mod journal_set;

pub use journal_set::{Dropped, JournalSet, MustHave};

use std::io;
use std::path::{Path, PathBuf};

use hathi_formats::editlog::{Frames, SegmentFile};
use hathi_formats::ids::{LayoutVersion, NamespaceInfo, TxId};
use hathi_storage::{Disk, DiskFile, NodeType, StorageDirectory, StorageError, VersionFile};

use crate::frames::frame_len;
use crate::segments::{HEADER_LEN_BYTES, PageCache, SegmentName, SegmentWriter, Segments};

/// File of the claim in `current`.
const CLAIM: &str = "hathi-writer";
/// The byte with which an open segment is filled ahead.
const PADDING: u8 = 0xFF;
/// Size of a sector. A disk writes a sector completely or not at all.
const SECTOR_BYTES: u64 = 512;
/// Length of a record's opcode (one byte) and length (four bytes).
const LENGTH_END: usize = 5;
/// Largest part of a file that is searched behind a damaged place.
const TAIL_BYTES_MAX: u64 = 256 << 20;

/// Why a directory did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The state of the directory, or its disk, did not allow it.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The disk reported an error.
    #[error("edits directory {path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// There is no VERSION: the directory was never formatted, or is not mounted.
    #[error(
        "edits directory {path} is not formatted: is it mounted? \
         (a new one is made by hdfs namenode -initializeSharedEdits)"
    )]
    NotFormatted {
        /// The directory.
        path: PathBuf,
    },
    /// The directory belongs to another namespace.
    #[error("edits directory {path} belongs to namespace {found}, not to {expected}")]
    OtherNamespace {
        /// The directory.
        path: PathBuf,
        /// Namespace, cluster and block pool of the directory.
        found: String,
        /// Those of this NameNode.
        expected: String,
    },
    /// Another NameNode has claimed the directory.
    #[error("edits directory {path} was taken over by {by}")]
    Fenced {
        /// The directory.
        path: PathBuf,
        /// Holder of the newer claim.
        by: String,
    },
    /// Transactions stand behind a damaged place.
    #[error(
        "segment {name} of edits directory {path} is damaged: {what}, and transactions follow. \
         To give them up, cut the file there"
    )]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// The file.
        name: String,
        /// Position and kind of the damage.
        what: String,
    },
    /// The operation does not fit the state of the directory.
    #[error("edits directory {path}: {what}")]
    OutOfOrder {
        /// The directory.
        path: PathBuf,
        /// Description of what does not fit.
        what: String,
    },
}

impl DirectoryError {
    /// Whether the disk is full. Then the same operation may be repeated.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self, DirectoryError::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge))
    }
}

type DirectoryResult<T> = Result<T, DirectoryError>;

/// The claim of a writer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    /// Grows with every claim.
    epoch: u64,
    /// `<namenode id>@<instance>`.
    holder: String,
    /// Milliseconds after its last look at the claim during which the holder may answer reads.
    lease_ms: u32,
    /// Whether the holder has said that it answers nothing any more.
    released: bool,
}

impl Claim {
    fn parse(data: &[u8]) -> Option<Claim> {
        let text = VersionFile::parse(&String::from_utf8_lossy(data));
        Some(Claim {
            epoch: text.get("epoch")?.parse().ok()?,
            holder: text.get("holder")?.to_owned(),
            lease_ms: text.get("leaseMs")?.parse().ok()?,
            released: text.get("released")? == "true",
        })
    }

    fn to_text(&self) -> String {
        let mut text = VersionFile::default();
        text.set("epoch", &self.epoch.to_string());
        text.set("holder", &self.holder);
        text.set("leaseMs", &self.lease_ms.to_string());
        text.set("released", if self.released { "true" } else { "false" });
        text.to_text()
    }
}

/// A directory of edits that is read.
#[derive(Clone, Debug)]
pub struct SharedDirectory<D> {
    disk: D,
    root: PathBuf,
    segments: Segments<D>,
}

impl<D: Disk> SharedDirectory<D> {
    /// Names a directory, without looking at it.
    pub fn new(disk: D, root: &Path) -> Self {
        SharedDirectory {
            segments: Segments::new(disk.clone(), root.join("current")),
            root: root.to_owned(),
            disk,
        }
    }

    fn io<T>(&self, result: io::Result<T>) -> DirectoryResult<T> {
        result.map_err(|source| DirectoryError::Io {
            path: self.root.clone(),
            source,
        })
    }

    /// Whether it holds anything that a format would destroy.
    pub fn has_some_data(&self) -> DirectoryResult<bool> {
        let current = self.segments.dir();
        Ok(self.io(self.disk.exists(current))? && !self.io(self.disk.list(current))?.is_empty())
    }

    /// Empties the directory and formats it for this namespace. Without `force` it refuses a directory that holds
    /// something. Hadoop never locks a shared directory, so neither does this.
    pub fn format(&self, info: &NamespaceInfo, force: bool) -> DirectoryResult<()> {
        let version = VersionFile::new(NodeType::NameNode, info);
        let dir = StorageDirectory::new(self.disk.clone(), &self.root);
        Ok(dir.format_with(&version, force, &[("seen_txid", b"0\n")])?)
    }

    /// Refuses a directory that is not formatted, or belongs to another namespace.
    pub fn check_namespace(&self, expected: &NamespaceInfo) -> DirectoryResult<()> {
        let dir = StorageDirectory::new(self.disk.clone(), &self.root);
        let Some(version) = dir.read_version()? else {
            return Err(DirectoryError::NotFormatted {
                path: self.root.clone(),
            });
        };
        let found = version.namespace_info(&dir.version_path())?;
        let name = |info: &NamespaceInfo| {
            format!(
                "{} of cluster {} (pool {}, ctime {})",
                info.namespace_id, info.cluster_id, info.block_pool_id, info.ctime
            )
        };
        if name(&found) != name(expected) {
            return Err(DirectoryError::OtherNamespace {
                path: self.root.clone(),
                found: name(&found),
                expected: name(expected),
            });
        }
        Ok(())
    }

    /// Path and last transaction of the longest finalized segment that holds `txid`.
    pub fn finalized(&self, txid: TxId) -> DirectoryResult<Option<(PathBuf, TxId)>> {
        let names = self.io(self.segments.list())?;
        let holding = names.into_iter().filter_map(|name| {
            let end = name.end.filter(|end| name.start <= txid && txid <= *end)?;
            Some((end, self.segments.path(&name)))
        });
        Ok(holding.max().map(|(end, path)| (path, end)))
    }

    /// The segment in which a reader finds `txid`: the longest finalized one, or else `open`, the one that this
    /// process writes. Another one in progress may be given up by who recovers it. Where none has it, the next segment,
    /// because what was before it is purged. `None` when nothing follows.
    pub fn holding(&self, txid: TxId, open: Option<TxId>) -> DirectoryResult<Option<SegmentName>> {
        let names = self.io(self.segments.list())?;
        let readable = |name: &&SegmentName| match name.end {
            Some(end) => end >= txid,
            None => open == Some(name.start),
        };
        let best = names.iter().filter(readable).min_by_key(|name| {
            let first = name.start.max(txid);
            (first, name.end.is_none(), std::cmp::Reverse(name.end))
        });
        Ok(best.cloned())
    }

    /// The file of a segment.
    pub fn path_of(&self, name: &SegmentName) -> PathBuf {
        self.segments.path(name)
    }

    /// First and last transaction of each segment. A segment in progress has no end.
    pub fn ranges(&self) -> DirectoryResult<Vec<(TxId, TxId)>> {
        let names = self.io(self.segments.list())?.into_iter();
        Ok(names
            .map(|name| (name.start, name.end.unwrap_or(TxId(u64::MAX))))
            .collect())
    }

    /// The last transaction of the unbroken sequence that begins with `first`. Segments in progress count as far as
    /// they are whole. `None` when `first` itself is missing.
    pub fn last_from(&self, first: TxId) -> DirectoryResult<Option<TxId>> {
        let mut last = None;
        for name in self.io(self.segments.list())? {
            let next = last.map_or(first, TxId::next);
            let end = match name.end {
                Some(end) => Some(end),
                None => {
                    self.io(self.segments.scan_file(&self.segments.path(&name), name.start))?
                        .last
                }
            };
            if name.start <= next && end.is_some_and(|end| end >= next) {
                last = end;
            }
        }
        Ok(last)
    }

    fn read_claim(&self) -> DirectoryResult<Option<Claim>> {
        let path = self.segments.dir().join(CLAIM);
        let Some(data) = self.io(self.disk.read_small(&path))? else {
            return Ok(None);
        };
        Claim::parse(&data).map(Some).ok_or_else(|| DirectoryError::OutOfOrder {
            path: self.root.clone(),
            what: format!("{CLAIM} is damaged; it may be removed while no NameNode writes"),
        })
    }

    fn write_claim(&self, claim: &Claim) -> DirectoryResult<()> {
        let dir = self.segments.dir();
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name: String = claim.holder.chars().map(plain).collect();
        // Two NameNodes that claim at once must not write into the same file, so each has a name of its own.
        let temporary = dir.join(format!("{CLAIM}.{name}.tmp"));
        let write = || {
            let file = self.disk.create(&temporary)?;
            file.write_at(0, claim.to_text().as_bytes())?;
            file.sync_data()?;
            self.disk.rename(&temporary, &dir.join(CLAIM))?;
            self.disk.sync_dir(dir)
        };
        self.io(write())
    }

    /// Makes this NameNode the writer. From now on no earlier writer acknowledges anything, but it may still answer
    /// reads for the returned number of milliseconds.
    pub fn claim(
        self,
        expected: &NamespaceInfo,
        holder: &str,
        lease_ms: u32,
    ) -> DirectoryResult<(DirectoryJournal<D>, u32)> {
        self.check_namespace(expected)?;
        let before = self.read_claim()?;
        let claim = Claim {
            epoch: before.as_ref().map_or(0, |before| before.epoch) + 1,
            holder: holder.to_owned(),
            lease_ms,
            released: false,
        };
        self.write_claim(&claim)?;
        let journal = DirectoryJournal {
            directory: self,
            claim: Some(claim),
            writer: None,
            unseen: None,
            suspect: false,
        };
        // Two NameNodes may have claimed at once. The one whose rename came last has the claim.
        journal.check()?;
        let wait_ms = before
            .filter(|before| !before.released)
            .map_or(0, |before| before.lease_ms);
        Ok((journal, wait_ms))
    }

    /// Makes this NameNode the writer of its own directory, whose `in_use.lock` the caller holds.
    pub fn own(self, expected: &NamespaceInfo) -> DirectoryResult<DirectoryJournal<D>> {
        self.check_namespace(expected)?;
        Ok(DirectoryJournal {
            directory: self,
            claim: None,
            writer: None,
            unseen: None,
            suspect: false,
        })
    }
}

/// A directory of edits that is written.
#[derive(Debug)]
pub struct DirectoryJournal<D: Disk> {
    directory: SharedDirectory<D>,
    /// Only of a shared directory.
    claim: Option<Claim>,
    writer: Option<SegmentWriter<D::File>>,
    /// The open segment, as long as `seen_txid` does not name it. It may be lost at any moment: then `seen_txid` names
    /// an earlier segment, and a NameNode that loads demands fewer edits than it could.
    unseen: Option<TxId>,
    /// A sync has failed, so nothing more can be made durable through this writer.
    suspect: bool,
}

impl<D: Disk> DirectoryJournal<D> {
    /// Number of claims so far, with this one; 0 for an own directory.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.claim.as_ref().map_or(0, |claim| claim.epoch)
    }

    /// Fails when the shared directory is no longer claimed by this writer.
    pub fn check(&self) -> DirectoryResult<()> {
        let Some(claim) = &self.claim else { return Ok(()) };
        let by = match self.directory.read_claim()? {
            Some(found) if found == *claim => return Ok(()),
            Some(found) => format!("{} (epoch {})", found.holder, found.epoch),
            None => "somebody who removed the claim".to_owned(),
        };
        Err(DirectoryError::Fenced {
            path: self.directory.root.clone(),
            by,
        })
    }

    fn out_of_order<T>(&self, what: String) -> DirectoryResult<T> {
        Err(DirectoryError::OutOfOrder {
            path: self.directory.root.clone(),
            what,
        })
    }

    /// Finalizes the segments that earlier writers left open, as far as they are whole. Returns the last transaction of
    /// the journal (`FileJournalManager.recoverUnfinalizedSegments`).
    pub fn recover(&mut self) -> DirectoryResult<Option<TxId>> {
        let segments = self.directory.segments.clone();
        let mut last = None;
        for name in self.directory.io(segments.list())? {
            let end = match name.end {
                Some(end) => Some(end),
                None => self.recover_segment(&segments, &name)?,
            };
            last = last.max(end);
        }
        Ok(last)
    }

    fn recover_segment(&self, segments: &Segments<D>, name: &SegmentName) -> DirectoryResult<Option<TxId>> {
        let path = segments.path(name);
        let found = self.directory.io(segments.scan_file(&path, name.start))?;
        if let Some(what) = &found.torn {
            let next = found.last.map_or(name.start, TxId::next);
            if !self.is_torn_tail(&path, found.data_len.max(HEADER_LEN_BYTES), next)? {
                return Err(DirectoryError::Damaged {
                    path: self.directory.root.clone(),
                    name: name.file_name(),
                    what: what.clone(),
                });
            }
        }
        self.check()?;
        let Some(last) = found.last else {
            let suffix = if found.torn.is_some() { "corrupt" } else { "empty" };
            self.directory.io(segments.put_aside(name, suffix))?;
            return Ok(None);
        };
        // Written once more: the earlier writer may have met a failed sync. Then what a read returns may be in no place
        // but the kernel's cache.
        self.directory.io(segments.settle(name.start, PageCache::Suspect))?;
        self.directory.io(segments.finalize(name.start, last))?;
        Ok(Some(last))
    }

    fn is_torn_tail(&self, path: &Path, from: u64, next: TxId) -> DirectoryResult<bool> {
        let read = || {
            let file = self.directory.disk.open_read(path)?;
            let len = file.len()?.saturating_sub(from).min(TAIL_BYTES_MAX);
            let mut rest = vec![0; usize::try_from(len).unwrap_or(0)];
            let mut filled = 0;
            while filled < rest.len() {
                match file.read_at(from + filled as u64, &mut rest[filled..])? {
                    0 => break,
                    n => filled += n,
                }
            }
            Ok(rest)
        };
        let rest = self.directory.io(read())?;
        let whole = Frames::new(&rest, from).starting_at(next).next_whole();
        Ok(whole.is_none_or(|whole| was_never_written(&rest[..whole], from)))
    }

    /// Opens a segment, durably.
    pub fn start_segment(&mut self, txid: TxId, layout_version: LayoutVersion) -> DirectoryResult<()> {
        if let Some(open) = &self.writer {
            return self.out_of_order(format!("segment {} is open", open.start()));
        }
        self.check()?;
        let segments = &self.directory.segments;
        let name = SegmentName::in_progress(txid);
        let writer = match segments.create_new(txid, layout_version) {
            // The file is left from this writer's own attempt that a full disk ended, or from a writer that has lost
            // the claim.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.check()?;
                self.directory.io(segments.put_aside(&name, "stale"))?;
                segments.create_new(txid, layout_version)
            }
            made => made,
        };
        self.writer = Some(self.directory.io(writer)?);
        self.unseen = Some(txid);
        Ok(())
    }

    /// Writes the start of the open segment to `seen_txid` once its first transaction is durable. A failure does not
    /// matter to the writer.
    fn note_seen(&mut self) {
        let begun = self.writer.as_ref().filter(|open| open.next() > open.start());
        if let Some(txid) = self.unseen
            && begun.is_some()
        {
            let seen = self.directory.segments.dir().join("seen_txid");
            let noted = self
                .directory
                .disk
                .write_small(&seen, format!("{}\n", txid.0).as_bytes());
            if noted.is_ok() {
                self.unseen = None;
            }
        }
    }

    /// Appends `count` encoded transactions to the open segment. They are durable after the next
    /// [`DirectoryJournal::sync`].
    pub fn append(&mut self, segment: TxId, first: TxId, count: u32, records: &[u8]) -> DirectoryResult<()> {
        match &mut self.writer {
            Some(open) if open.start() == segment && open.next() == first => {
                let appended = open.append(records, count);
                self.directory.io(appended)
            }
            Some(open) => {
                let what = format!(
                    "transaction {first} of segment {segment} where {} of segment {} is next",
                    open.next(),
                    open.start()
                );
                self.out_of_order(what)
            }
            None => self.out_of_order(format!("no segment is open for transaction {first}")),
        }
    }

    /// Makes everything durable, and then checks that no other NameNode has claimed the directory.
    pub fn sync(&mut self) -> DirectoryResult<()> {
        if self.suspect {
            return self.out_of_order("a sync has failed".to_owned());
        }
        if let Some(open) = &mut self.writer {
            let synced = open.sync();
            self.suspect = synced.is_err();
            self.directory.io(synced)?;
        }
        if self.unseen.is_some() {
            self.note_seen();
        }
        self.check()
    }

    /// Gives the open segment its final name.
    pub fn finalize_segment(&mut self, first: TxId, last: TxId) -> DirectoryResult<()> {
        self.sync()?;
        match self.writer.take() {
            Some(open) if open.start() == first && open.next() == last.next() => {
                self.directory.io(open.close())?;
                self.check()?;
                self.directory.io(self.directory.segments.finalize(first, last))
            }
            _ => self.out_of_order(format!("segment {first} to {last} is not what is open")),
        }
    }

    /// Deletes segments that end before `min_to_keep`, and those that were put aside.
    pub fn purge(&self, min_to_keep: TxId) -> DirectoryResult<()> {
        self.check()?;
        let disk = &self.directory.disk;
        let dir = self.directory.segments.dir();
        for entry in self.directory.io(disk.list(dir))? {
            let old = match SegmentFile::parse(&entry.name) {
                Some(SegmentFile::Finalized { last, .. }) => last < min_to_keep,
                Some(SegmentFile::Aside { first, last, .. }) => last.unwrap_or(first) < min_to_keep,
                Some(SegmentFile::InProgress { .. }) | None => false,
            };
            if old {
                self.directory.io(disk.remove_file(&dir.join(&entry.name)))?;
            }
        }
        Ok(())
    }

    /// Tells the next writer that this one answers nothing any more, so that it need not wait.
    pub fn release(self) -> DirectoryResult<()> {
        self.check()?;
        let Some(mut claim) = self.claim else { return Ok(()) };
        claim.released = true;
        self.directory.write_claim(&claim)
    }
}

/// Whether a damaged place was never written completely. `from` is the position of `damaged` in its file. It is so when
/// a sector holds padding where a transaction should begin, because no transaction begins with the padding byte. The
/// padding was durable before the transactions were written, and a disk loses no sector that was synced. So this sector
/// was lost when the machine stopped, and what stands behind it was never synced either.
///
/// A sector within the first record proves nothing: an extended attribute may hold the same bytes.
fn was_never_written(damaged: &[u8], from: u64) -> bool {
    let record_len = frame_len(damaged).unwrap_or(usize::MAX);
    let (mut begin, mut end) = (0, (SECTOR_BYTES - from % SECTOR_BYTES) as usize);
    while let Some(sector) = damaged.get(begin..end) {
        let lacks_the_length = begin < LENGTH_END;
        if sector.iter().all(|byte| *byte == PADDING) && (lacks_the_length || end > record_len) {
            return true;
        }
        (begin, end) = (end, end + SECTOR_BYTES as usize);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::tests::frame;
    use hathi_storage::SimDisk;

    pub(super) const LAYOUT: LayoutVersion = LayoutVersion::NAMENODE_CURRENT;

    pub(super) fn info() -> NamespaceInfo {
        NamespaceInfo {
            layout_version: LAYOUT,
            namespace_id: 7,
            cluster_id: "CID-a".to_owned(),
            ctime: 0,
            block_pool_id: "BP-1".to_owned(),
        }
    }

    fn formatted() -> SimDisk {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("/shared")).unwrap();
        directory(&disk).format(&info(), true).unwrap();
        disk
    }

    fn directory(disk: &SimDisk) -> SharedDirectory<SimDisk> {
        let mut directory = SharedDirectory::new(disk.clone(), Path::new("/shared"));
        directory.segments.preallocate_bytes = 1024;
        directory
    }

    fn claim(disk: &SimDisk, holder: &str) -> DirectoryJournal<SimDisk> {
        directory(disk).claim(&info(), holder, 1000).unwrap().0
    }

    fn write(
        journal: &mut DirectoryJournal<SimDisk>,
        segment: u64,
        txids: std::ops::RangeInclusive<u64>,
    ) -> DirectoryResult<()> {
        for txid in txids {
            journal.append(TxId(segment), TxId(txid), 1, &frame(txid, 30))?;
        }
        Ok(())
    }

    fn names(disk: &SimDisk) -> Vec<String> {
        let entries = disk.list(Path::new("/shared/current")).unwrap();
        let names = entries.into_iter().map(|entry| entry.name);
        names.filter(|name| name.starts_with("edits")).collect()
    }

    #[test]
    fn a_reader_of_the_past_finds_final_segments_and_only_the_open_one_of_its_own_writer() {
        let disk = formatted();
        let mut first = claim(&disk, "nn1@a");
        for (from, to) in [(4, 6), (7, 9)] {
            first.start_segment(TxId(from), LAYOUT).unwrap();
            write(&mut first, from, from..=to).unwrap();
            first.finalize_segment(TxId(from), TxId(to)).unwrap();
        }
        first.start_segment(TxId(10), LAYOUT).unwrap();
        let directory = directory(&disk);
        let found = |txid: u64, open: Option<u64>| directory.holding(TxId(txid), open.map(TxId)).unwrap();
        assert_eq!(found(8, Some(10)), Some(SegmentName::finalized(TxId(7), TxId(9))));
        assert_eq!(found(12, Some(10)), Some(SegmentName::in_progress(TxId(10))));
        assert_eq!(found(12, None), None, "who recovers it may give it up");
        assert_eq!(found(12, Some(11)), None, "another writer's");
        let oldest = found(1, Some(10));
        assert_eq!(
            oldest,
            Some(SegmentName::finalized(TxId(4), TxId(6))),
            "what was before is purged"
        );
    }

    #[test]
    fn what_one_left_open_the_next_makes_final_and_the_first_is_told() {
        let disk = formatted();
        let mut first = claim(&disk, "nn1@a");
        assert_eq!(first.recover().unwrap(), None);
        first.start_segment(TxId(1), LAYOUT).unwrap();
        write(&mut first, 1, 1..=3).unwrap();
        first.sync().unwrap();
        write(&mut first, 1, 4..=4).unwrap();

        let mut second = claim(&disk, "nn2@b");
        assert_eq!(second.epoch(), 2);
        // It was not acknowledged, but it is there.
        assert_eq!(second.recover().unwrap(), Some(TxId(4)));
        assert_eq!(names(&disk), ["edits_0000000000000000001-0000000000000000004"]);
        assert!(matches!(first.sync(), Err(DirectoryError::Fenced { .. })));
        assert!(matches!(
            first.start_segment(TxId(5), LAYOUT),
            Err(DirectoryError::OutOfOrder { .. })
        ));
        assert!(matches!(first.purge(TxId(9)), Err(DirectoryError::Fenced { .. })));
        second.start_segment(TxId(5), LAYOUT).unwrap();
        write(&mut second, 5, 5..=6).unwrap();
        second.finalize_segment(TxId(5), TxId(6)).unwrap();
        let (_, end) = directory(&disk).finalized(TxId(6)).unwrap().unwrap();
        assert_eq!(end, TxId(6));
        assert_eq!(directory(&disk).last_from(TxId(2)).unwrap(), Some(TxId(6)));
        assert_eq!(directory(&disk).last_from(TxId(7)).unwrap(), None);
        second.purge(TxId(5)).unwrap();
        assert_eq!(names(&disk), ["edits_0000000000000000005-0000000000000000006"]);
    }

    #[test]
    fn a_lease_is_waited_for_unless_it_was_given_back() {
        let disk = formatted();
        let (first, wait) = directory(&disk).claim(&info(), "nn1@a", 700).unwrap();
        assert_eq!(wait, 0);
        let (second, wait) = directory(&disk).claim(&info(), "nn2@b", 1000).unwrap();
        assert_eq!(wait, 700);
        assert!(first.release().is_err(), "it is not the first one's to give back");
        second.release().unwrap();
        assert_eq!(directory(&disk).claim(&info(), "nn1@a", 700).unwrap().1, 0);
    }

    /// The loser of two claims was about to open the segment that the winner has opened meanwhile.
    #[test]
    fn a_late_writer_empties_nobodys_segment() {
        let disk = formatted();
        let mut late = claim(&disk, "nn1@a");
        let claim_of_late = late.claim.clone();
        let mut winner = claim(&disk, "nn2@b");
        winner.start_segment(TxId(1), LAYOUT).unwrap();
        write(&mut winner, 1, 1..=2).unwrap();
        winner.sync().unwrap();
        // The loser has checked the claim before the winner's.
        late.directory.segments.create_new(TxId(1), LAYOUT).unwrap_err();
        assert!(late.start_segment(TxId(1), LAYOUT).is_err());
        assert_eq!(directory(&disk).last_from(TxId(1)).unwrap(), Some(TxId(2)));
        // A segment that the loser has opened does not hinder anybody.
        winner.finalize_segment(TxId(1), TxId(2)).unwrap();
        late.directory.segments.create_new(TxId(3), LAYOUT).unwrap();
        winner.start_segment(TxId(3), LAYOUT).unwrap();
        assert!(names(&disk).contains(&"edits_inprogress_0000000000000000003.stale".to_owned()));
        assert_ne!(claim_of_late, winner.claim);
    }

    #[test]
    fn a_torn_tail_is_cut_and_damage_in_the_middle_is_not() {
        let path = Path::new("/shared/current/edits_inprogress_0000000000000000001");
        let left = |change: &dyn Fn(&SimDisk)| {
            let disk = formatted();
            let mut journal = claim(&disk, "nn1@a");
            journal.start_segment(TxId(1), LAYOUT).unwrap();
            write(&mut journal, 1, 1..=3).unwrap();
            journal.sync().unwrap();
            change(&disk);
            let recovered = claim(&disk, "nn2@b").recover();
            (recovered, names(&disk))
        };
        let len = frame(1, 30).len() as u64;
        let (recovered, names) = left(&|disk| {
            disk.open(path)
                .unwrap()
                .write_at(8 + 3 * len, &frame(4, 30)[..20])
                .unwrap();
        });
        assert_eq!(recovered.unwrap(), Some(TxId(3)));
        assert_eq!(names, ["edits_0000000000000000001-0000000000000000003"]);

        let (recovered, names) = left(&|disk| disk.flip_bit(path, 8 + len + 20, 3).unwrap());
        assert!(
            matches!(recovered, Err(DirectoryError::Damaged { .. })),
            "{recovered:?}"
        );
        assert_eq!(names, ["edits_inprogress_0000000000000000001"]);

        // Damage of the very last transaction cannot be told from a torn write.
        let (recovered, _) = left(&|disk| disk.flip_bit(path, 8 + 2 * len + 20, 3).unwrap());
        assert_eq!(recovered.unwrap(), Some(TxId(2)));

        // The machine stopped when the disk had done only the second of two writes that were not synced.
        let (recovered, names) = left(&|disk| {
            let file = disk.open(path).unwrap();
            let end = 8 + 3 * len;
            let large = 512 + 2 * len;
            file.write_at(end + large, &frame(5, 30)).unwrap();
            file.write_at(end, &vec![0xFF; large as usize]).unwrap();
        });
        assert_eq!(recovered.unwrap(), Some(TxId(3)));
        assert_eq!(names, ["edits_0000000000000000001-0000000000000000003"]);

        let (recovered, names) = left(&|disk| disk.open(path).unwrap().set_len(8).unwrap());
        assert_eq!(recovered.unwrap(), None);
        assert_eq!(names, ["edits_inprogress_0000000000000000001.empty"]);
    }

    #[test]
    fn an_extended_attribute_that_looks_like_padding_does_not_prove_that_a_record_was_never_written() {
        let path = Path::new("/shared/current/edits_inprogress_0000000000000000001");
        let mut attribute = frame(1, 2000);
        attribute[13..2013].fill(PADDING);
        let crc = crc32fast::hash(&attribute[..2013]);
        attribute[2013..].copy_from_slice(&crc.to_be_bytes());
        // Damage in the body, in the length and in the opcode.
        for rotten in [20, 2, 3, 0] {
            let disk = formatted();
            let mut journal = claim(&disk, "nn1@a");
            journal.start_segment(TxId(1), LAYOUT).unwrap();
            let records = [attribute.clone(), frame(2, 30)].concat();
            journal.append(TxId(1), TxId(1), 2, &records).unwrap();
            journal.sync().unwrap();
            disk.flip_bit(path, 8 + rotten, 6).unwrap();
            let recovered = claim(&disk, "nn2@b").recover();
            assert!(
                matches!(recovered, Err(DirectoryError::Damaged { .. })),
                "{rotten}: {recovered:?}"
            );
        }
    }

    #[test]
    fn a_full_disk_refuses_and_the_same_is_taken_when_there_is_room() {
        let disk = formatted();
        let mut journal = claim(&disk, "nn1@a");
        journal.start_segment(TxId(1), LAYOUT).unwrap();
        write(&mut journal, 1, 1..=2).unwrap();
        journal.sync().unwrap();
        let large = frame(3, 5000);
        disk.set_full(true);
        let refused = journal.append(TxId(1), TxId(3), 1, &large).unwrap_err();
        assert!(refused.is_full(), "{refused}");
        disk.set_full(false);
        journal.append(TxId(1), TxId(3), 1, &large).unwrap();
        journal.finalize_segment(TxId(1), TxId(3)).unwrap();
        disk.set_full(true);
        assert!(journal.start_segment(TxId(4), LAYOUT).unwrap_err().is_full());
        disk.set_full(false);
        journal.start_segment(TxId(4), LAYOUT).unwrap();
        assert_eq!(directory(&disk).last_from(TxId(1)).unwrap(), Some(TxId(3)));
    }

    #[test]
    fn a_failed_sync_is_final_for_the_writer_and_harmless_for_the_next() {
        let disk = formatted();
        let mut journal = claim(&disk, "nn1@a");
        journal.start_segment(TxId(1), LAYOUT).unwrap();
        write(&mut journal, 1, 1..=2).unwrap();
        disk.fail_syncs(1);
        assert!(journal.sync().is_err());
        assert!(journal.sync().is_err(), "what was not written once may never be");
        let mut next = claim(&disk, "nn2@b");
        let last = next.recover().unwrap();
        disk.lose_power(&mut |_| 0);
        assert_eq!(directory(&disk).last_from(TxId(1)).unwrap(), last);
    }

    #[test]
    fn another_namespace_is_refused() {
        let disk = formatted();
        let mut other = info();
        other.cluster_id = "CID-b".to_owned();
        let error = directory(&disk).claim(&other, "nn1@a", 0).unwrap_err();
        assert!(error.to_string().contains("CID-a"), "{error}");
        disk.remove_file(Path::new("/shared/current/VERSION")).unwrap();
        assert!(matches!(
            directory(&disk).claim(&info(), "nn1@a", 0),
            Err(DirectoryError::NotFormatted { .. })
        ));
    }
}

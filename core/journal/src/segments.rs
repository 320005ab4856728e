//! The segment files of a directory: their names, and how a segment is scanned, written and finalized.
//!
//! Invariants:
//! * a [`SegmentWriter`] knows the end of its last whole frame. Behind it there is only padding (0xFF), so that an
//!   unfinished write can be told from damage;
//! * after [`SegmentWriter::close`] or [`Segments::settle`] everything in the file is durable, and nothing follows the
//!   last whole frame;
//! * frames are checked (length, txid, CRC) on the way in and on every scan.
//!
//! Mirrors the file side of `FileJournalManager`, `EditLogFileOutputStream` and `EditLogFileInputStream.scanEditLog`.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hathi_formats::editlog::SegmentFile;
use hathi_formats::ids::{LayoutVersion, TxId};
use hathi_storage::{Disk, DiskFile};

use crate::frames::{self, FrameCheck};

/// Length of the header before the first frame: layout version and flags.
pub const HEADER_LEN_BYTES: u64 = 8;
/// An open segment is filled with 0xFF this far ahead (`EditLogFileOutputStream.MIN_PREALLOCATION_LENGTH`).
pub const PREALLOCATE_BYTES: u64 = 1 << 20;
/// Padding is written in pieces of this array. A megabyte that is allocated each time would cost a page fault per page.
static PADDING: [u8; 64 << 10] = [0xFF; 64 << 10];
/// Layout versions count down from -1 and are never this low. A header with a lower one is damaged.
const OLDEST_IMPLAUSIBLE_LAYOUT: i32 = -1000;
/// Size of a read while a segment is scanned.
const SCAN_CHUNK_BYTES: usize = 1 << 20;

/// A segment file, as its name describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// First transaction.
    pub start: TxId,
    /// Last transaction. Absent: the segment is in progress.
    pub end: Option<TxId>,
}

impl SegmentName {
    /// The name of a segment in progress.
    #[must_use]
    pub fn in_progress(start: TxId) -> Self {
        SegmentName { start, end: None }
    }

    /// The name of a finalized segment.
    #[must_use]
    pub fn finalized(start: TxId, end: TxId) -> Self {
        SegmentName { start, end: Some(end) }
    }

    /// Parses a file name. `None` when it names no segment, or one that was put aside.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match SegmentFile::parse(name)? {
            SegmentFile::InProgress { first } => Some(SegmentName::in_progress(first)),
            SegmentFile::Finalized { first, last } if first <= last => Some(SegmentName::finalized(first, last)),
            SegmentFile::Finalized { .. } | SegmentFile::Aside { .. } => None,
        }
    }

    /// The file name.
    #[must_use]
    pub fn file_name(&self) -> String {
        let first = self.start;
        match self.end {
            None => SegmentFile::InProgress { first }.to_string(),
            Some(last) => SegmentFile::Finalized { first, last }.to_string(),
        }
    }
}

/// What a scan of a segment file found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentScan {
    /// Layout version of the header. Absent when there is no header.
    pub layout_version: Option<LayoutVersion>,
    /// The last whole transaction. Absent when there is none.
    pub last: Option<TxId>,
    /// Bytes up to the end of the last whole frame.
    pub data_len: u64,
    /// Position and description of what follows the last whole frame, if it is not padding.
    pub torn: Option<String>,
}

/// Whether a sync makes durable what a read of the file returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageCache {
    /// A sync makes it durable.
    Trusted,
    /// A sync has failed since the machine started. The kernel may return data that it counts as clean and never writes
    /// again. So the data must be written once more before a sync counts.
    Suspect,
}

/// A failed sync. Whatever its kind, everything since the last successful sync may be lost for good.
#[derive(Debug, thiserror::Error)]
#[error("a sync failed: {0}")]
struct SyncError(#[source] io::Error);

/// Marks an error as that of a failed sync.
pub fn sync_result(result: io::Result<()>) -> io::Result<()> {
    result.map_err(|error| io::Error::other(SyncError(error)))
}

/// Whether a sync failed because the disk is full.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    let sync = error.get_ref().and_then(|inner| inner.downcast_ref::<SyncError>());
    sync.is_some_and(|sync| matches!(sync.0.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

/// Describes what is wrong with a finalized segment, if anything.
#[must_use]
pub fn damage(scan: &SegmentScan, end: TxId) -> Option<String> {
    match (&scan.torn, scan.last) {
        (Some(torn), _) => Some(torn.clone()),
        (None, Some(last)) if last == end => None,
        (None, Some(last)) => Some(format!("it ends with transaction {last}, at offset {}", scan.data_len)),
        (None, None) => Some("it has no transactions".to_owned()),
    }
}

/// Writes the content of a file once more, in place.
fn rewrite<F: DiskFile>(file: &F, len: u64) -> io::Result<()> {
    let mut offset = 0;
    let mut buffer = vec![0; SCAN_CHUNK_BYTES];
    while offset < len {
        let want = usize::try_from(len - offset).unwrap_or(usize::MAX).min(buffer.len());
        let filled = read_full(file, offset, &mut buffer[..want])?;
        if filled == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        file.write_at(offset, &buffer[..filled])?;
        offset += filled as u64;
    }
    Ok(())
}

/// Reads a segment from its beginning and checks every frame, up to the first one that is not whole.
pub fn scan<F: DiskFile>(file: &F, start: TxId) -> io::Result<SegmentScan> {
    let mut header = [0; HEADER_LEN_BYTES as usize];
    let mut found = SegmentScan {
        layout_version: None,
        last: None,
        data_len: 0,
        torn: None,
    };
    if read_full(file, 0, &mut header)? < header.len() {
        return Ok(found);
    }
    let plausible = |layout: &LayoutVersion| (OLDEST_IMPLAUSIBLE_LAYOUT..0).contains(&layout.0);
    let Some(layout_version) = frames::parse_header(&header).filter(plausible) else {
        found.torn = Some("no header at offset 0".to_owned());
        return Ok(found);
    };
    found.layout_version = Some(layout_version);
    found.data_len = HEADER_LEN_BYTES;
    let mut expected = start;
    let mut buffer = Vec::new();
    let mut want = SCAN_CHUNK_BYTES;
    loop {
        buffer.resize(want, 0);
        let filled = read_full(file, found.data_len, &mut buffer)?;
        let at_end = filled < want;
        let mut used = 0;
        let missing = loop {
            match frames::check_frame(&buffer[used..filled], expected) {
                FrameCheck::Whole(len) => {
                    used += len;
                    found.data_len += len as u64;
                    found.last = Some(expected);
                    expected = expected.next();
                }
                FrameCheck::End => return Ok(found),
                FrameCheck::NeedMore(total) => break total,
                FrameCheck::Bad(what) => {
                    found.torn = Some(format!("{what} at offset {}", found.data_len));
                    return Ok(found);
                }
            }
        };
        if at_end {
            if used < filled {
                found.torn = Some(format!("half a frame at offset {}", found.data_len));
            }
            return Ok(found);
        }
        // The frame is larger than the buffer: read all of it.
        want = SCAN_CHUNK_BYTES.max(missing);
    }
}

fn read_full<F: DiskFile>(file: &F, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(offset + filled as u64, &mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// An open segment.
#[derive(Clone, Debug)]
pub struct SegmentWriter<F> {
    file: Arc<F>,
    start: TxId,
    next: TxId,
    position: u64,
    filled: u64,
    layout_version: LayoutVersion,
    preallocate_bytes: u64,
    dirty: bool,
}

impl<F: DiskFile> SegmentWriter<F> {
    /// First transaction of the segment.
    #[must_use]
    pub fn start(&self) -> TxId {
        self.start
    }

    /// The next transaction to be written.
    #[must_use]
    pub fn next(&self) -> TxId {
        self.next
    }

    /// Layout version of the header.
    #[must_use]
    pub fn layout_version(&self) -> LayoutVersion {
        self.layout_version
    }

    /// Whether anything was written since the last sync.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Bytes up to the end of the last frame.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether this writer writes to `file`.
    #[must_use]
    pub fn writes_to(&self, file: &Arc<F>) -> bool {
        Arc::ptr_eq(&self.file, file)
    }

    /// The file, for a caller that syncs it. Whatever is written from now on counts as not synced.
    pub fn begin_sync(&mut self) -> Arc<F> {
        self.dirty = false;
        Arc::clone(&self.file)
    }

    /// Appends `count` checked frames that begin at [`SegmentWriter::next`], without a sync.
    pub fn append(&mut self, records: &[u8], count: u32) -> io::Result<()> {
        let end = self.position + records.len() as u64;
        // One byte more than needed, so that a reader always finds the padding.
        while self.filled < end + 1 {
            self.fill()?;
        }
        self.dirty = true;
        self.file.write_at(self.position, records)?;
        self.position = end;
        self.next = TxId(self.next.0 + u64::from(count));
        Ok(())
    }

    /// Writes padding ahead when less than half of the usual amount is left.
    pub fn fill_ahead(&mut self) -> io::Result<()> {
        if self.filled < self.position + self.preallocate_bytes / 2 {
            let from = self.filled;
            self.fill()?;
            self.file.start_writeback(from, self.filled - from)?;
        }
        Ok(())
    }

    fn fill(&mut self) -> io::Result<()> {
        let end = self.filled + self.preallocate_bytes;
        self.dirty = true;
        while self.filled < end {
            let length = (end - self.filled).min(PADDING.len() as u64);
            self.file.write_at(self.filled, &PADDING[..length as usize])?;
            self.filled += length;
        }
        Ok(())
    }

    /// Syncs everything written so far.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.dirty {
            sync_result(self.file.sync_data())?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Cuts the padding off and syncs the file. Returns what a scan would find now.
    pub fn close(self) -> io::Result<SegmentScan> {
        sync_result(self.file.set_len(self.position).and_then(|()| self.file.sync_data()))?;
        Ok(SegmentScan {
            layout_version: Some(self.layout_version),
            last: (self.next > self.start).then(|| TxId(self.next.0 - 1)),
            data_len: self.position,
            torn: None,
        })
    }
}

/// The segments of one directory.
#[derive(Clone, Debug)]
pub struct Segments<D> {
    disk: D,
    dir: PathBuf,
    /// An open segment is filled this far ahead.
    pub preallocate_bytes: u64,
}

impl<D: Disk> Segments<D> {
    /// The segments of `dir`.
    pub fn new(disk: D, dir: PathBuf) -> Self {
        Segments {
            disk,
            dir,
            preallocate_bytes: PREALLOCATE_BYTES,
        }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of a segment.
    #[must_use]
    pub fn path(&self, name: &SegmentName) -> PathBuf {
        self.dir.join(name.file_name())
    }

    /// All segments, sorted by their first transaction.
    pub fn list(&self) -> io::Result<Vec<SegmentName>> {
        let entries = self.disk.list(&self.dir)?;
        let files = entries.iter().filter(|entry| !entry.is_dir);
        let mut names: Vec<_> = files.filter_map(|entry| SegmentName::parse(&entry.name)).collect();
        // A crash in `adopt` may leave a copy in progress beside a finalized one with the same start.
        let finalized: BTreeSet<TxId> = names
            .iter()
            .filter(|name| name.end.is_some())
            .map(|name| name.start)
            .collect();
        names.retain(|name| name.end.is_some() || !finalized.contains(&name.start));
        names.sort();
        Ok(names)
    }

    /// The segment that begins at `start` (`FileJournalManager.getLogFile`).
    pub fn find(&self, start: TxId) -> io::Result<Option<SegmentName>> {
        let mut found = self.list()?.into_iter().filter(|name| name.start == start);
        match (found.next(), found.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "more than one log segment in {} starting at txid {start}",
                    self.dir.display()
                ),
            )),
        }
    }

    /// Creates a segment with its header, durably.
    pub fn create(&self, start: TxId, layout_version: LayoutVersion) -> io::Result<SegmentWriter<D::File>> {
        let path = self.path(&SegmentName::in_progress(start));
        self.begin(self.disk.create(&path)?, start, layout_version)
    }

    /// [`Segments::create`], but fails with `AlreadyExists` if there is an open segment with this start. Where two
    /// NameNodes may write, the later one must not empty the file of the earlier one.
    pub fn create_new(&self, start: TxId, layout_version: LayoutVersion) -> io::Result<SegmentWriter<D::File>> {
        let path = self.path(&SegmentName::in_progress(start));
        self.begin(self.disk.create_new(&path)?, start, layout_version)
    }

    fn begin(&self, file: D::File, start: TxId, layout_version: LayoutVersion) -> io::Result<SegmentWriter<D::File>> {
        let mut writer = SegmentWriter {
            file: Arc::new(file),
            start,
            next: start,
            position: 0,
            filled: 0,
            layout_version,
            preallocate_bytes: self.preallocate_bytes,
            dirty: true,
        };
        writer.fill()?;
        writer.file.write_at(0, &frames::header(layout_version))?;
        writer.position = HEADER_LEN_BYTES;
        writer.sync()?;
        self.disk.sync_dir(&self.dir)?;
        Ok(writer)
    }

    /// Opens a segment in progress to append to it. `scan` is what [`Segments::settle`] found.
    pub fn reopen(&self, start: TxId, scan: &SegmentScan) -> io::Result<SegmentWriter<D::File>> {
        let path = self.path(&SegmentName::in_progress(start));
        let Some(layout_version) = scan.layout_version else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} has no header", path.display()),
            ));
        };
        let file = self.disk.open(&path)?;
        Ok(SegmentWriter {
            file: Arc::new(file),
            start,
            next: scan.last.map_or(start, TxId::next),
            position: scan.data_len,
            filled: scan.data_len,
            layout_version,
            preallocate_bytes: self.preallocate_bytes,
            dirty: false,
        })
    }

    /// Scans a file whose first transaction is `start`, without changing it.
    pub fn scan_file(&self, path: &Path, start: TxId) -> io::Result<SegmentScan> {
        scan(&self.disk.open_read(path)?, start)
    }

    /// Scans an open segment that nobody writes, cuts off what follows its last whole frame, and makes the rest
    /// durable. After a crash of the process alone, the rest may have been in memory only.
    pub fn settle(&self, start: TxId, page_cache: PageCache) -> io::Result<SegmentScan> {
        self.settle_file(&self.path(&SegmentName::in_progress(start)), start, page_cache)
    }

    /// [`Segments::settle`] for a file with another name.
    pub fn settle_file(&self, path: &Path, start: TxId, page_cache: PageCache) -> io::Result<SegmentScan> {
        let settled = self.settle_unless_damaged(path, start, page_cache, TxId(0))?;
        settled.map_err(|damage| io::Error::new(io::ErrorKind::InvalidData, damage))
    }

    /// [`Segments::settle_file`], but cuts nothing off when the file is damaged before `durable_to`. Then it returns
    /// what is wrong.
    pub fn settle_unless_damaged(
        &self,
        path: &Path,
        start: TxId,
        page_cache: PageCache,
        durable_to: TxId,
    ) -> io::Result<Result<SegmentScan, String>> {
        let file = self.disk.open(path)?;
        let found = scan(&file, start)?;
        if let Some(torn) = &found.torn
            && found.last.map_or(start, TxId::next) <= durable_to
        {
            return Ok(Err(torn.clone()));
        }
        if file.len()? != found.data_len {
            file.set_len(found.data_len)?;
        }
        if page_cache == PageCache::Suspect {
            rewrite(&file, found.data_len)?;
        }
        sync_result(file.sync_data())?;
        Ok(Ok(found))
    }

    /// Replaces an in-progress copy with this start, if there is one, by a finalized segment. The segment was fetched
    /// from a peer into `from`, and is synced there.
    pub fn adopt(&self, from: &Path, start: TxId, end: TxId) -> io::Result<()> {
        self.disk
            .rename(from, &self.path(&SegmentName::finalized(start, end)))?;
        self.disk.sync_dir(&self.dir)?;
        let stale = SegmentName::in_progress(start);
        if self.disk.exists(&self.path(&stale))? {
            self.put_aside(&stale, "stale")?;
        }
        Ok(())
    }

    /// Renames a segment in progress to its final name, durably.
    pub fn finalize(&self, start: TxId, end: TxId) -> io::Result<()> {
        let from = self.path(&SegmentName::in_progress(start));
        let to = self.path(&SegmentName::finalized(start, end));
        if self.disk.exists(&to)? {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} is there already", to.display()),
            ));
        }
        self.disk.rename(&from, &to)?;
        self.disk.sync_dir(&self.dir)
    }

    /// Renames a segment with one of the suffixes `.empty`, `.corrupt`, `.trash` and `.stale`.
    pub fn put_aside(&self, name: &SegmentName, suffix: &str) -> io::Result<()> {
        let from = self.path(name);
        let to = self.dir.join(format!("{}.{suffix}", name.file_name()));
        self.disk.rename(&from, &to)?;
        self.disk.sync_dir(&self.dir)
    }

    /// Deletes a segment. The deletion is durable after the next sync of the directory.
    pub fn remove(&self, name: &SegmentName) -> io::Result<()> {
        self.disk.remove_file(&self.path(name))
    }

    /// Makes changes of names durable.
    pub fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::tests::frame;
    use hathi_storage::SimDisk;

    fn segments() -> (SimDisk, Segments<SimDisk>) {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("/current")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let mut segments = Segments::new(disk.clone(), PathBuf::from("/current"));
        segments.preallocate_bytes = 1024;
        (disk, segments)
    }

    #[test]
    fn names_are_hadoops() {
        let check = |name: &str, expected: Option<SegmentName>| {
            assert_eq!(SegmentName::parse(name), expected, "{name}");
            if let Some(parsed) = expected {
                assert_eq!(parsed.file_name(), name);
            }
        };
        check(
            "edits_inprogress_0000000000000000007",
            Some(SegmentName::in_progress(TxId(7))),
        );
        check(
            "edits_0000000000000000001-0000000000000000006",
            Some(SegmentName::finalized(TxId(1), TxId(6))),
        );
        check("edits_inprogress_0000000000000000007.epoch=3", None);
        check("edits_inprogress_0000000000000000007.empty", None);
        check("edits_0000000000000000006-0000000000000000001", None);
        check("edits_inprogress_", None);
        check("fsimage_0000000000000000001", None);
        check("edits_99999999999999999999-99999999999999999999", None);
        // Transaction ids are signed 64-bit numbers in Java.
        check(
            "edits_inprogress_9223372036854775807",
            Some(SegmentName::in_progress(TxId(i64::MAX as u64))),
        );
        check("edits_inprogress_9223372036854775808", None);
        check("edits_0000000000000000001-9223372036854775808", None);
    }

    #[test]
    fn a_segment_is_padded_while_open_and_cut_when_closed() {
        let (disk, segments) = segments();
        let mut writer = segments.create(TxId(5), LayoutVersion(-67)).unwrap();
        let path = segments.path(&SegmentName::in_progress(TxId(5)));
        let ops = [frame(5, 100), frame(6, 900)].concat();
        writer.append(&ops, 2).unwrap();
        assert_eq!(writer.next(), TxId(7));
        let raw = disk.read_small(&path).unwrap().unwrap();
        assert_eq!(raw.len(), 2048);
        assert!(raw[8 + ops.len()..].iter().all(|byte| *byte == 0xFF));
        let found = segments.scan_file(&path, TxId(5)).unwrap();
        assert_eq!((found.last, found.torn), (Some(TxId(6)), None));
        writer.close().unwrap();
        assert_eq!(disk.read_small(&path).unwrap().unwrap().len(), 8 + ops.len());
        segments.finalize(TxId(5), TxId(6)).unwrap();
        assert_eq!(segments.list().unwrap(), [SegmentName::finalized(TxId(5), TxId(6))]);
    }

    #[test]
    fn a_scan_stops_at_the_first_frame_that_is_not_whole() {
        let (disk, segments) = segments();
        let mut writer = segments.create(TxId(1), LayoutVersion(-67)).unwrap();
        let first = frame(1, 30);
        writer.append(&first, 1).unwrap();
        writer.append(&frame(2, 30), 1).unwrap();
        writer.append(&frame(3, 30), 1).unwrap();
        writer.sync().unwrap();
        let path = segments.path(&SegmentName::in_progress(TxId(1)));
        disk.flip_bit(&path, 8 + first.len() as u64 + 20, 3).unwrap();
        let found = segments.settle(TxId(1), PageCache::Trusted).unwrap();
        assert_eq!(found.last, Some(TxId(1)));
        assert!(found.torn.is_some());
        assert_eq!(disk.read_small(&path).unwrap().unwrap().len(), 8 + first.len());
        let again = segments.settle(TxId(1), PageCache::Trusted).unwrap();
        assert_eq!((again.last, &again.torn), (Some(TxId(1)), &None));
        let mut writer = segments.reopen(TxId(1), &again).unwrap();
        assert_eq!(writer.next(), TxId(2));
        writer.append(&frame(2, 10), 1).unwrap();
        assert_eq!(segments.scan_file(&path, TxId(1)).unwrap().last, Some(TxId(2)));
    }
}

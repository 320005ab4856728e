//! One journal in several directories (Hadoop's `JournalSet`): every transaction is in each of them that is in use.
//!
//! Invariants:
//! * an operation has succeeded only when every directory in use has carried it out. A directory that fails is dropped,
//!   unless the journal must have it;
//! * after [`JournalSet::recover`] every directory in use holds all edits behind the image. So whichever of them fails
//!   next, the others have everything that was ever shown;
//! * a dropped directory has nothing that the others lack. It is written again only from the start of a segment on,
//!   after the segment that it left open was put aside.
//!
//! An operation that failed for want of space may be repeated as it is. A directory that has carried it out does not do
//! so twice.

use super::{DirectoryError, DirectoryJournal, DirectoryResult, PADDING, SharedDirectory};
use crate::segments::{SegmentName, damage};
use hathi_formats::ids::{LayoutVersion, NamespaceInfo, TxId};
use hathi_storage::{Disk, DiskFile};
use std::path::{Path, PathBuf};

/// Size of a read while a segment is copied, or searched from its end.
const CHUNK_BYTES: usize = 1 << 20;
/// Suffix of an unfinished copy. A name with it is no name of a segment.
const COPY_SUFFIX: &str = ".copy";

/// The directories that a NameNode can't go on without (`JournalSet`, `NameNodeResourcePolicy`).
#[derive(Clone, Debug, Default)]
pub struct MustHave {
    /// `dfs.namenode.edits.dir.required`: each of these `current` directories.
    pub required: Vec<PathBuf>,
    /// `dfs.namenode.edits.dir.minimum`: at least this many of all directories.
    pub minimum: usize,
}

/// A directory that is not written to any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The directory.
    pub path: PathBuf,
    /// Description of the failure.
    pub reason: String,
}

#[derive(Debug)]
struct Member<D: Disk> {
    directory: SharedDirectory<D>,
    required: bool,
    /// `None` while the directory is dropped.
    journal: Option<DirectoryJournal<D>>,
    /// Whether this directory has carried out the operation under way.
    done: bool,
}

/// A journal in several directories; see the module.
#[derive(Debug)]
pub struct JournalSet<D: Disk> {
    members: Vec<Member<D>>,
    minimum: usize,
    dropped: Vec<Dropped>,
}

impl<D: Disk> JournalSet<D> {
    /// A set of one shared directory, without which nothing goes on.
    pub fn shared(journal: DirectoryJournal<D>) -> Self {
        let member = Member {
            directory: journal.directory.clone(),
            required: true,
            journal: Some(journal),
            done: false,
        };
        JournalSet {
            members: vec![member],
            minimum: 1,
            dropped: Vec::new(),
        }
    }

    /// A set of directories whose locks the caller holds.
    pub fn own(
        directories: Vec<SharedDirectory<D>>,
        info: &NamespaceInfo,
        must_have: &MustHave,
    ) -> DirectoryResult<Self> {
        let mut set = JournalSet {
            members: Vec::new(),
            minimum: must_have.minimum.max(1),
            dropped: Vec::new(),
        };
        for directory in directories {
            set.members.push(Member {
                directory: directory.clone(),
                required: must_have.required.contains(&directory.root.join("current")),
                journal: Some(directory.own(info)?),
                done: false,
            });
        }
        Ok(set)
    }

    /// Number of claims of the shared directory so far.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.in_use().map(DirectoryJournal::epoch).max().unwrap_or(0)
    }

    /// The directories that were dropped since the last call.
    pub fn take_dropped(&mut self) -> Vec<Dropped> {
        std::mem::take(&mut self.dropped)
    }

    fn in_use(&self) -> impl Iterator<Item = &DirectoryJournal<D>> {
        self.members.iter().filter_map(|member| member.journal.as_ref())
    }

    fn drop_member(&mut self, index: usize, error: DirectoryError) -> DirectoryResult<()> {
        let left = self.in_use().count().saturating_sub(1);
        let member = &mut self.members[index];
        if member.required || left < self.minimum {
            return Err(error);
        }
        member.journal = None;
        self.dropped.push(Dropped {
            path: member.directory.root.clone(),
            reason: error.to_string(),
        });
        Ok(())
    }

    fn each(&mut self, mut order: impl FnMut(&mut DirectoryJournal<D>) -> DirectoryResult<()>) -> DirectoryResult<()> {
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            let Some(journal) = member.journal.as_mut().filter(|_| !member.done) else {
                continue;
            };
            match order(journal) {
                Ok(()) => member.done = true,
                Err(error) => self.drop_member(index, error)?,
            }
        }
        for member in &mut self.members {
            member.done = false;
        }
        Ok(())
    }

    /// Recovers every directory ([`DirectoryJournal::recover`]), and copies the segments behind `image` to each
    /// directory that lacks them. Returns the last transaction.
    pub fn recover(&mut self, image: TxId) -> DirectoryResult<Option<TxId>> {
        let mut damaged = Vec::new();
        for index in 0..self.members.len() {
            let Some(journal) = &mut self.members[index].journal else {
                continue;
            };
            match journal.recover() {
                Ok(_) => {}
                // Another directory may have all of it. That is known once the others are recovered.
                Err(error @ DirectoryError::Damaged { .. }) => damaged.push((index, error)),
                Err(error) => self.drop_member(index, error)?,
            }
        }
        for (index, error) in damaged {
            self.replace_damaged(index, error)?;
        }
        self.complete(image)?;
        let mut last = None;
        for journal in self.in_use() {
            let names = journal.directory.io(journal.directory.segments.list())?;
            last = last.max(names.iter().filter_map(|name| name.end).max());
        }
        Ok(last)
    }

    /// Puts a damaged open segment aside and recovers the rest, if another directory has all transactions of that
    /// segment.
    fn replace_damaged(&mut self, index: usize, mut error: DirectoryError) -> DirectoryResult<()> {
        loop {
            let DirectoryError::Damaged { name, .. } = &error else {
                return self.drop_member(index, error);
            };
            let Some(name) = SegmentName::parse(name) else {
                return Err(error);
            };
            let Some(journal) = &self.members[index].journal else {
                return Ok(());
            };
            let directory = &journal.directory;
            let len = directory.io(data_len(&directory.disk, &directory.segments.path(&name)))?;
            let others = (0..self.members.len()).filter(|other| *other != index);
            let covered = others
                .filter_map(|other| self.members[other].journal.as_ref())
                .any(|other| covers(&other.directory, &name, len));
            if !covered {
                return Err(error);
            }
            directory.io(directory.segments.put_aside(&name, "corrupt"))?;
            let Some(journal) = &mut self.members[index].journal else {
                return Ok(());
            };
            match journal.recover() {
                Ok(_) => return Ok(()),
                Err(next) => error = next,
            }
        }
    }

    /// Gives every directory the segments behind `image` that it lacks.
    fn complete(&mut self, image: TxId) -> DirectoryResult<()> {
        if self.members.len() < 2 {
            return Ok(());
        }
        let mut next = image.next();
        while let Some((source, name)) = self.longest_whole(next)? {
            for index in 0..self.members.len() {
                let Some(journal) = &self.members[index].journal else {
                    continue;
                };
                if let Err(error) = copy(&source, &journal.directory, &name) {
                    let error = DirectoryError::Io {
                        path: journal.directory.root.clone(),
                        source: error,
                    };
                    self.drop_member(index, error)?;
                }
            }
            next = name.end.map_or(next, TxId::next);
        }
        Ok(())
    }

    /// The finalized segment that holds `txid` and goes furthest. If some directory lacks it, the copy must be whole.
    fn longest_whole(&self, txid: TxId) -> DirectoryResult<Option<(SharedDirectory<D>, SegmentName)>> {
        let mut found = Vec::new();
        for journal in self.in_use() {
            let directory = &journal.directory;
            let names = directory.io(directory.segments.list())?.into_iter();
            let holding = names.filter(|name| name.start <= txid && name.end.is_some_and(|end| end >= txid));
            found.extend(holding.map(|name| (name, directory.clone())));
        }
        found.sort_by_key(|(name, _)| std::cmp::Reverse((name.end, name.start)));
        let everywhere = |name: &SegmentName| found.iter().filter(|(other, _)| other == name).count();
        for (name, directory) in &found {
            let Some(end) = name.end else { continue };
            if everywhere(name) == self.in_use().count() {
                return Ok(Some((directory.clone(), name.clone())));
            }
            let path = directory.segments.path(name);
            let scan = directory.io(directory.segments.scan_file(&path, name.start))?;
            if damage(&scan, end).is_none() {
                return Ok(Some((directory.clone(), name.clone())));
            }
        }
        // A damaged segment is refused when it is loaded.
        Ok(None)
    }

    /// Opens a segment in every directory. With `restore`, dropped directories are tried again.
    pub fn start_segment(
        &mut self,
        txid: TxId,
        layout: LayoutVersion,
        info: &NamespaceInfo,
        restore: bool,
    ) -> DirectoryResult<()> {
        self.each(|journal| journal.start_segment(txid, layout))?;
        if restore {
            for member in self.members.iter_mut().filter(|member| member.journal.is_none()) {
                let directory = member.directory.clone();
                // On an error it stays dropped until the next attempt.
                member.journal = begin_again(directory, txid, layout, info).ok();
            }
        }
        Ok(())
    }

    /// Appends to the open segment ([`DirectoryJournal::append`]).
    pub fn append(&mut self, segment: TxId, first: TxId, count: u32, records: &[u8]) -> DirectoryResult<()> {
        self.each(|journal| journal.append(segment, first, count, records))
    }

    /// Makes everything durable in every directory in use ([`DirectoryJournal::sync`]).
    pub fn sync(&mut self) -> DirectoryResult<()> {
        // Needed between two attempts of an operation as well, so `done` does not count here.
        for index in 0..self.members.len() {
            if let Some(journal) = &mut self.members[index].journal
                && let Err(error) = journal.sync()
            {
                self.drop_member(index, error)?;
            }
        }
        Ok(())
    }

    /// Gives the open segment its final name in every directory in use.
    pub fn finalize_segment(&mut self, first: TxId, last: TxId) -> DirectoryResult<()> {
        self.each(|journal| journal.finalize_segment(first, last))
    }

    /// Deletes segments that end before `min_to_keep`.
    pub fn purge(&self, min_to_keep: TxId) -> DirectoryResult<()> {
        self.in_use().try_for_each(|journal| journal.purge(min_to_keep))
    }

    /// Tells the next writer that this one answers nothing any more.
    pub fn release(self) -> DirectoryResult<()> {
        let mut journals = self.members.into_iter().filter_map(|member| member.journal);
        journals.try_for_each(DirectoryJournal::release)
    }
}

/// Starts to write a dropped directory. All other directories have finished the segment that it has left open.
fn begin_again<D: Disk>(
    directory: SharedDirectory<D>,
    txid: TxId,
    layout: LayoutVersion,
    info: &NamespaceInfo,
) -> DirectoryResult<DirectoryJournal<D>> {
    let mut journal = directory.own(info)?;
    let segments = &journal.directory.segments;
    for name in journal.directory.io(segments.list())? {
        if name.end.is_none() {
            journal.directory.io(segments.put_aside(&name, "stale"))?;
        }
    }
    journal.start_segment(txid, layout)?;
    Ok(journal)
}

/// Whether `other` has all transactions that another directory has in its open segment `name`, whose length is `len`.
/// One writer writes the same bytes to all directories, and opens a segment only after the one before is finalized. So
/// a directory with a later segment was in use while the other one was not.
/// later one was in use when the other was not.
fn covers<D: Disk>(other: &SharedDirectory<D>, name: &SegmentName, len: u64) -> bool {
    let Ok(names) = other.segments.list() else { return false };
    names.iter().any(|found| {
        let longer = || data_len(&other.disk, &other.segments.path(found)).is_ok_and(|found| found >= len);
        found.start > name.start || (found.start == name.start && found.end.is_some() && longer())
    })
}

/// Length of a file without the padding at its end.
fn data_len<D: Disk>(disk: &D, path: &Path) -> std::io::Result<u64> {
    let file = disk.open_read(path)?;
    let mut end = file.len()?;
    let mut chunk = vec![0; CHUNK_BYTES];
    while end > 0 {
        let begin = end.saturating_sub(CHUNK_BYTES as u64);
        let part = &mut chunk[..(end - begin) as usize];
        let mut filled = 0;
        while filled < part.len() {
            match file.read_at(begin + filled as u64, &mut part[filled..])? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        match part.iter().rposition(|byte| *byte != PADDING) {
            Some(place) => return Ok(begin + place as u64 + 1),
            None => end = begin,
        }
    }
    Ok(0)
}

/// Copies a finalized segment durably, unless it is there. Shorter segments with the same start are then removed.
fn copy<D: Disk>(from: &SharedDirectory<D>, to: &SharedDirectory<D>, name: &SegmentName) -> std::io::Result<()> {
    let (source, target) = (from.segments.path(name), to.segments.path(name));
    if source == target || to.disk.exists(&target)? {
        return Ok(());
    }
    let incomplete = to.segments.dir().join(name.file_name() + COPY_SUFFIX);
    let (source, copy) = (from.disk.open_read(&source)?, to.disk.create(&incomplete)?);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    loop {
        match source.read_at(offset, &mut chunk)? {
            0 => break,
            read => {
                copy.write_at(offset, &chunk[..read])?;
                offset += read as u64;
            }
        }
    }
    copy.sync_data()?;
    to.disk.rename(&incomplete, &target)?;
    for other in to.segments.list()? {
        if other.start == name.start && other.end < name.end {
            to.disk.remove_file(&to.segments.path(&other))?;
        }
    }
    to.disk.sync_dir(to.segments.dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::{LAYOUT, info};
    use crate::frames::tests::frame;
    use hathi_storage::SimDisk;

    /// A disk for each directory, because they fail one by one.
    fn formatted(count: usize) -> Vec<SimDisk> {
        let disks: Vec<SimDisk> = (0..count).map(|_| SimDisk::new()).collect();
        for (index, disk) in disks.iter().enumerate() {
            disk.set_sector(512);
            disk.create_dir_all(&root(index)).unwrap();
            directory(disk, index).format(&info(), true).unwrap();
        }
        disks
    }

    fn root(index: usize) -> PathBuf {
        PathBuf::from(format!("/edits{index}"))
    }

    fn directory(disk: &SimDisk, index: usize) -> SharedDirectory<SimDisk> {
        let mut directory = SharedDirectory::new(disk.clone(), &root(index));
        directory.segments.preallocate_bytes = 1024;
        directory
    }

    fn open(disks: &[SimDisk], must_have: &MustHave) -> JournalSet<SimDisk> {
        let directories = (0..).zip(disks).map(|(index, disk)| directory(disk, index));
        JournalSet::own(directories.collect(), &info(), must_have).unwrap()
    }

    fn start(set: &mut JournalSet<SimDisk>, txid: u64, restore: bool) -> DirectoryResult<()> {
        set.start_segment(TxId(txid), LAYOUT, &info(), restore)
    }

    fn append(
        set: &mut JournalSet<SimDisk>,
        segment: u64,
        txids: std::ops::RangeInclusive<u64>,
    ) -> DirectoryResult<()> {
        for txid in txids {
            set.append(TxId(segment), TxId(txid), 1, &frame(txid, 30))?;
        }
        Ok(())
    }

    fn names(disk: &SimDisk, index: usize) -> Vec<String> {
        let entries = disk.list(&root(index).join("current")).unwrap();
        let names = entries.into_iter().map(|entry| entry.name);
        names.filter(|name| name.starts_with("edits")).collect()
    }

    fn seen(disk: &SimDisk, index: usize) -> String {
        let seen = disk.read_small(&root(index).join("current/seen_txid")).unwrap();
        String::from_utf8(seen.unwrap()).unwrap()
    }

    #[test]
    fn a_directory_that_fails_is_dropped_and_gets_what_it_lacks_at_the_next_start() {
        let disks = formatted(2);
        let mut set = open(&disks, &MustHave::default());
        assert_eq!(set.recover(TxId(0)).unwrap(), None);
        start(&mut set, 1, false).unwrap();
        append(&mut set, 1, 1..=3).unwrap();
        set.sync().unwrap();
        append(&mut set, 1, 4..=5).unwrap();
        disks[0].fail_syncs(1);
        set.sync().unwrap();
        let dropped = set.take_dropped();
        assert_eq!(dropped.len(), 1);
        assert_eq!(dropped[0].path, root(0));
        append(&mut set, 1, 6..=7).unwrap();
        set.finalize_segment(TxId(1), TxId(7)).unwrap();
        start(&mut set, 8, false).unwrap();
        append(&mut set, 8, 8..=9).unwrap();
        set.sync().unwrap();
        drop(set);
        for disk in &disks {
            disk.lose_power(&mut |_| 0);
        }
        let mut set = open(&disks, &MustHave::default());
        assert_eq!(set.recover(TxId(0)).unwrap(), Some(TxId(9)));
        let both = [
            "edits_0000000000000000001-0000000000000000007",
            "edits_0000000000000000008-0000000000000000009",
        ];
        for (index, disk) in disks.iter().enumerate() {
            let mut names = names(disk, index);
            names.retain(|name| !name.contains("empty"));
            assert_eq!(names, both, "in directory {index}");
        }
    }

    /// Edits that only one directory had were served from it, and lost when that directory failed next.
    #[test]
    fn what_one_directory_alone_has_of_the_end_is_in_all_before_it_is_served() {
        let disks = formatted(2);
        let mut set = open(&disks, &MustHave::default());
        start(&mut set, 1, false).unwrap();
        append(&mut set, 1, 1..=3).unwrap();
        set.sync().unwrap();
        // The process ends between two writes.
        set.members[1]
            .journal
            .as_mut()
            .unwrap()
            .append(TxId(1), TxId(4), 1, &frame(4, 30))
            .unwrap();
        drop(set);
        let mut set = open(&disks, &MustHave::default());
        assert_eq!(set.recover(TxId(0)).unwrap(), Some(TxId(4)));
        for (index, disk) in disks.iter().enumerate() {
            assert_eq!(names(disk, index), ["edits_0000000000000000001-0000000000000000004"]);
        }
    }

    #[test]
    fn nothing_goes_on_without_a_required_directory_or_below_the_minimum() {
        let lost_with = |required: &[usize], minimum, failing: usize| {
            let disks = formatted(2);
            let must_have = MustHave {
                required: required.iter().map(|index| root(*index).join("current")).collect(),
                minimum,
            };
            let mut set = open(&disks, &must_have);
            start(&mut set, 1, false).unwrap();
            append(&mut set, 1, 1..=1).unwrap();
            disks[failing].fail_syncs(1);
            set.sync().is_err()
        };
        assert!(!lost_with(&[], 0, 0));
        assert!(!lost_with(&[0], 1, 1));
        assert!(lost_with(&[1], 1, 1));
        assert!(lost_with(&[], 2, 0));
        let disks = formatted(1);
        let mut set = open(&disks, &MustHave::default());
        start(&mut set, 1, false).unwrap();
        append(&mut set, 1, 1..=1).unwrap();
        disks[0].fail_syncs(1);
        assert!(set.sync().is_err(), "the last one is never dropped");
    }

    #[test]
    fn a_dropped_directory_comes_back_with_a_segment_when_that_is_wanted() {
        let disks = formatted(2);
        let mut set = open(&disks, &MustHave::default());
        start(&mut set, 1, false).unwrap();
        append(&mut set, 1, 1..=2).unwrap();
        disks[1].fail_syncs(1);
        set.sync().unwrap();
        set.finalize_segment(TxId(1), TxId(2)).unwrap();
        start(&mut set, 3, false).unwrap();
        append(&mut set, 3, 3..=3).unwrap();
        set.finalize_segment(TxId(3), TxId(3)).unwrap();
        assert_eq!(names(&disks[1], 1), ["edits_inprogress_0000000000000000001"]);
        start(&mut set, 4, true).unwrap();
        append(&mut set, 4, 4..=5).unwrap();
        set.finalize_segment(TxId(4), TxId(5)).unwrap();
        assert_eq!(
            names(&disks[1], 1),
            [
                "edits_0000000000000000004-0000000000000000005",
                "edits_inprogress_0000000000000000001.stale"
            ]
        );
    }

    #[test]
    fn a_damaged_copy_is_replaced_by_a_whole_one_and_otherwise_nothing_is_cut() {
        let left = |dropped_at: Option<u64>| {
            let disks = formatted(2);
            let mut set = open(&disks, &MustHave::default());
            start(&mut set, 1, false).unwrap();
            for txid in 1..=5 {
                if dropped_at == Some(txid) {
                    set.members[1].journal = None;
                }
                append(&mut set, 1, txid..=txid).unwrap();
            }
            set.sync().unwrap();
            let len = frame(1, 30).len() as u64;
            let path = root(0).join("current/edits_inprogress_0000000000000000001");
            disks[0].flip_bit(&path, 8 + len + 20, 3).unwrap();
            let recovered = open(&disks, &MustHave::default()).recover(TxId(0));
            (recovered, names(&disks[0], 0))
        };
        let (recovered, names) = left(None);
        assert_eq!(recovered.unwrap(), Some(TxId(5)));
        assert_eq!(
            names,
            [
                "edits_0000000000000000001-0000000000000000005",
                "edits_inprogress_0000000000000000001.corrupt"
            ]
        );
        // The other directory stopped before the end.
        let (recovered, names) = left(Some(4));
        assert!(
            matches!(recovered, Err(DirectoryError::Damaged { .. })),
            "{recovered:?}"
        );
        assert_eq!(names, ["edits_inprogress_0000000000000000001"]);
    }

    #[test]
    fn a_full_directory_that_is_needed_takes_the_same_order_again() {
        let disks = formatted(2);
        let must_have = MustHave {
            required: vec![root(1).join("current")],
            minimum: 1,
        };
        let mut set = open(&disks, &must_have);
        start(&mut set, 1, false).unwrap();
        append(&mut set, 1, 1..=1).unwrap();
        set.sync().unwrap();
        disks[1].set_full(true);
        let large = frame(2, 5000);
        let refused = set.append(TxId(1), TxId(2), 1, &large).unwrap_err();
        assert!(refused.is_full(), "{refused}");
        set.sync().unwrap();
        disks[1].set_full(false);
        set.append(TxId(1), TxId(2), 1, &large).unwrap();
        append(&mut set, 1, 3..=3).unwrap();
        set.finalize_segment(TxId(1), TxId(3)).unwrap();
        assert_eq!(set.take_dropped(), []);
        for (index, disk) in disks.iter().enumerate() {
            assert_eq!(names(disk, index), ["edits_0000000000000000001-0000000000000000003"]);
        }
    }

    /// Hadoop's NameNode refuses to start when it finds no edits up to what `seen_txid` says.
    #[test]
    fn seen_txid_names_a_segment_when_its_first_transaction_is_durable() {
        let disks = formatted(1);
        let mut set = open(&disks, &MustHave::default());
        start(&mut set, 1, false).unwrap();
        assert_eq!(seen(&disks[0], 0), "0\n");
        set.sync().unwrap();
        assert_eq!(seen(&disks[0], 0), "0\n");
        append(&mut set, 1, 1..=1).unwrap();
        set.sync().unwrap();
        assert_eq!(seen(&disks[0], 0), "1\n");
    }

    /// Directories fail and machines lose power at random moments. The next writer finds everything that was synced.
    #[test]
    fn whatever_was_synced_is_recovered() {
        for seed in 0..300_u64 {
            let mut chance = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut next = |below: u64| {
                chance = chance
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (chance >> 33) % below
            };
            let disks = formatted(2);
            let mut synced = 0;
            let mut failed = false;
            for _ in 0..3 {
                let mut set = open(&disks, &MustHave::default());
                let last = set.recover(TxId(0)).unwrap().map_or(0, |last| last.0);
                assert!(last >= synced, "seed {seed}: {last} of {synced}");
                let (mut segment, mut txid) = (last + 1, last);
                start(&mut set, segment, false).unwrap();
                for _ in 0..next(60) {
                    match next(8) {
                        0 if !failed => {
                            failed = true;
                            disks[next(2) as usize].fail_syncs(1);
                        }
                        1 if txid >= segment => {
                            set.finalize_segment(TxId(segment), TxId(txid)).unwrap();
                            (segment, synced) = (txid + 1, txid);
                            start(&mut set, segment, next(2) == 0).unwrap();
                        }
                        2 | 3 => {
                            set.sync().unwrap();
                            synced = txid;
                        }
                        _ => {
                            txid += 1;
                            append(&mut set, segment, txid..=txid).unwrap();
                        }
                    }
                }
                drop(set);
                for disk in &disks {
                    // A failure that was planned for later than the end of one run must not hit the next run.
                    disk.fail_syncs(0);
                    disk.lose_power(&mut |below| next(below.max(1)));
                }
                failed = false;
            }
        }
    }
}

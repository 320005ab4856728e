//! A disk in memory that forgets what was not synced, and fails on demand.
//!
//! Every file has a live half (what reads see) and a durable half (what a power failure leaves); every directory has
//! live and durable names. Writes and name changes stay pending until a sync of the file or directory. At
//! [`SimDisk::lose_power`] each pending write survives, vanishes or is torn, and of the pending name changes of each
//! directory a prefix survives. [`SimDisk::crash_process`] only takes the open files and locks away.
//! [`SimDisk::stop_after`] ends the machine in the middle of what is under way.
//!
//! Invariants: what was synced survives everything but [`SimDisk::flip_bit`] and [`SimDisk::wipe`];
//! a file handle from before a crash is dead.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{DirEntry, Disk, DiskFile};

mod check;

type InodeNumber = u64;

/// Writes up to this length are never torn, because a disk writes a sector completely or not at all.
const ATOMIC_WRITE_BYTES: u64 = 8;

#[derive(Clone, Debug)]
enum Pending {
    Write { offset: u64, data: Vec<u8> },
    SetLen(u64),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// A sync failed or a bit flipped, so a part of what reads return will never be durable.
    strayed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(InodeNumber),
    Directory,
}

#[derive(Clone, Debug)]
enum NameChange {
    Put(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
    /// A file goes to another directory.
    Move(PathBuf, PathBuf, Node),
}

impl NameChange {
    /// The second directory that it changes.
    fn leaves(&self) -> Option<&Path> {
        match self {
            NameChange::Move(from, ..) => from.parent(),
            NameChange::Put(..) | NameChange::Remove(_) | NameChange::Rename(..) => None,
        }
    }
}

type Names = BTreeMap<PathBuf, Node>;

#[derive(Clone, Debug, Default)]
struct State {
    inodes: BTreeMap<InodeNumber, Inode>,
    next_inode: InodeNumber,
    live: Names,
    durable: Names,
    pending: Vec<(PathBuf, NameChange)>,
    locks: BTreeMap<PathBuf, u64>,
    /// Number of crashes. Handles of an older life are dead.
    life: u64,
    failing_syncs: u32,
    failing_kind: Option<io::ErrorKind>,
    lying: bool,
    /// Number of changes so far, and number of changes that are possible before the machine stops.
    changes: u64,
    steps: Option<u64>,
    /// A torn write ends at a multiple of this position in the file. `None`: anywhere.
    sector: Option<u64>,
    /// See [`SimDisk::lose_directories_whole`].
    whole_directories: bool,
    /// Bytes that can still be written. A write that exceeds them is cut short.
    space: Option<u64>,
    full: bool,
    syncs: u64,
    lists: u64,
    /// Number of pending writes that power failures took, and number of those of which a part is left.
    lost: u64,
    torn: u64,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

/// A file of the [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: InodeNumber,
    life: u64,
}

/// A lock of the [`SimDisk`].
#[derive(Debug)]
pub struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    life: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.locks.get(&self.path) == Some(&self.life) {
            state.locks.remove(&self.path);
        }
    }
}

fn error(kind: io::ErrorKind, path: &Path) -> io::Error {
    io::Error::new(kind, path.display().to_string())
}

fn apply_write(data: &mut Vec<u8>, write: &Pending) {
    match write {
        Pending::Write { offset, data: written } => {
            let offset = *offset as usize;
            let end = offset + written.len();
            if data.len() < end {
                data.resize(end, 0);
            }
            data[offset..end].copy_from_slice(written);
        }
        Pending::SetLen(len) => data.resize(*len as usize, 0),
    }
}

fn apply_name(names: &mut Names, change: &NameChange) {
    match change {
        NameChange::Put(path, node) => {
            names.insert(path.clone(), *node);
        }
        NameChange::Move(from, to, node) => {
            names.remove(from);
            names.insert(to.clone(), *node);
        }
        NameChange::Remove(path) => names.retain(|name, _| !name.starts_with(path)),
        NameChange::Rename(from, to) => {
            names.retain(|name, _| !name.starts_with(to));
            let moved: Vec<PathBuf> = names.keys().filter(|name| name.starts_with(from)).cloned().collect();
            for old in moved {
                if let (Some(node), Ok(rest)) = (names.remove(&old), old.strip_prefix(from)) {
                    let new = if rest.as_os_str().is_empty() {
                        to.clone()
                    } else {
                        to.join(rest)
                    };
                    names.insert(new, node);
                }
            }
        }
    }
}

/// The directory that a name is in, unless that is the top of the disk, which is always there.
fn directory_of(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| parent.parent().is_some())
}

/// Everything in a lost directory is lost with it.
fn drop_unreachable(names: &mut Names) {
    // A directory comes before its content.
    for (path, node) in std::mem::take(names) {
        if directory_of(&path).is_none_or(|dir| names.get(dir) == Some(&Node::Directory)) {
            names.insert(path, node);
        }
    }
}

impl State {
    fn change(&mut self, dir: Option<&Path>, change: NameChange) {
        debug_assert!(
            match &change {
                NameChange::Put(path, _) | NameChange::Remove(path) => path.parent() == dir,
                NameChange::Rename(_, to) | NameChange::Move(_, to, _) => to.parent() == dir,
            },
            "a sync of the directory makes its names durable: {change:?}"
        );
        apply_name(&mut self.live, &change);
        self.pending.push((dir.unwrap_or(Path::new("")).to_owned(), change));
    }

    /// Called before each change. After the machine has stopped no change is made.
    fn step(&mut self) -> io::Result<()> {
        match &mut self.steps {
            Some(0) => return Err(io::Error::other("the machine has stopped")),
            Some(left) => *left -= 1,
            None => {}
        }
        self.changes += 1;
        Ok(())
    }

    fn file(&self, path: &Path) -> io::Result<InodeNumber> {
        match self.live.get(path) {
            Some(Node::File(inode)) => Ok(*inode),
            Some(Node::Directory) => Err(error(io::ErrorKind::IsADirectory, path)),
            None => Err(error(io::ErrorKind::NotFound, path)),
        }
    }

    fn collect_garbage(&mut self) {
        let named = |names: &Names, inode: InodeNumber| names.values().any(|node| *node == Node::File(inode));
        let (live, durable) = (&self.live, &self.durable);
        self.inodes
            .retain(|inode, _| named(live, *inode) || named(durable, *inode));
    }
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process dies and the machine lives: pending data stays, open files and locks are gone.
    pub fn crash_process(&self) {
        let mut state = self.state();
        state.life += 1;
        state.locks.clear();
    }

    /// The machine dies. `pick(n)` returns a number below `n`, and decides which pending changes survive.
    pub fn lose_power(&self, pick: &mut dyn FnMut(u64) -> u64) {
        let mut state = self.state();
        state.life += 1;
        state.locks.clear();
        state.failing_syncs = 0;
        state.steps = None;
        let state = &mut *state;
        let sector = state.sector;
        for inode in state.inodes.values_mut() {
            // Sectors whose later state was lost, so that an older one survives.
            let mut lost: BTreeSet<u64> = BTreeSet::new();
            for write in std::mem::take(&mut inode.pending) {
                match (pick(3), write) {
                    (0, Pending::SetLen(_)) | (2.., Pending::SetLen(_)) => state.lost += 1,
                    (1, write @ Pending::SetLen(_)) => apply_write(&mut inode.durable, &write),
                    (choice, Pending::Write { offset, mut data }) => {
                        let len = data.len() as u64;
                        let mut kept = match (choice, sector) {
                            (0, _) => 0,
                            (1, _) => len,
                            // A number is within one sector, so it is written completely or not at all.
                            (_, None) if len <= ATOMIC_WRITE_BYTES => len * pick(2),
                            (_, None) => pick(len + 1),
                            (_, Some(sector)) => {
                                let first = offset / sector;
                                let sectors = (offset + len).div_ceil(sector) - first;
                                let whole = pick(sectors + 1);
                                ((first + whole) * sector).saturating_sub(offset).min(len)
                            }
                        };
                        debug_assert!(kept <= len, "no more survives than was written");
                        if let Some(sector) = sector {
                            // A write to a sector includes the earlier writes to it.
                            let last = (offset + len).div_ceil(sector);
                            if let Some(gone) = lost.range(offset / sector..last).next() {
                                kept = kept.min((gone * sector).saturating_sub(offset));
                            }
                            debug_assert!(
                                kept == 0 || kept == len || (offset + kept).is_multiple_of(sector),
                                "a sector is written whole or not at all"
                            );
                            if kept < len {
                                lost.extend((offset + kept) / sector..last);
                            }
                        }
                        data.truncate(kept as usize);
                        if data.is_empty() {
                            state.lost += 1;
                            continue;
                        }
                        state.torn += u64::from(kept < len);
                        apply_write(&mut inode.durable, &Pending::Write { offset, data });
                    }
                }
            }
            inode.live.clone_from(&inode.durable);
            inode.strayed = false;
        }
        // Of the changes of each directory a prefix survives, as in a journaling file system.
        let mut kept: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for (dir, change) in std::mem::take(&mut state.pending) {
            let dirs = [Some(dir), change.leaves().map(Path::to_owned)];
            let may = dirs.iter().flatten().all(|dir| kept.get(dir) != Some(&false));
            let keep = may && pick(2) == 0;
            for dir in dirs.into_iter().flatten() {
                kept.insert(dir, keep);
            }
            if keep {
                apply_name(&mut state.durable, &change);
            }
        }
        if state.whole_directories {
            drop_unreachable(&mut state.durable);
        }
        state.live = state.durable.clone();
        state.collect_garbage();
        debug_assert!(
            state.pending.is_empty() && state.inodes.values().all(|inode| inode.pending.is_empty()),
            "nothing is on its way to a disk without power"
        );
        if cfg!(debug_assertions) {
            state.check();
        }
    }

    /// The next `count` syncs of files fail, and the data that they should have written will never be durable.
    pub fn fail_syncs(&self, count: u32) {
        self.fail_syncs_with(count, io::ErrorKind::Other);
    }

    /// [`SimDisk::fail_syncs`] with an error of this kind.
    pub fn fail_syncs_with(&self, count: u32, kind: io::ErrorKind) {
        let mut state = self.state();
        state.failing_syncs = count;
        state.failing_kind = Some(kind);
    }

    /// With `true`, syncs of files and directories succeed without doing anything, as if the caller had forgotten them.
    pub fn lie_about_syncs(&self, lie: bool) {
        self.state().lying = lie;
    }

    /// Only this many bytes can still be written. A write that exceeds them ends short, with an error.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.state().space = bytes;
    }

    /// With `true`, writes fail for lack of space.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// Whether writes fail for lack of space.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.state().full
    }

    /// The machine stops after this many more changes: every further one fails until [`SimDisk::lose_power`]. `None`:
    /// it does not stop.
    pub fn stop_after(&self, changes: Option<u64>) {
        self.state().steps = changes;
    }

    /// Number of changes so far: writes, names and syncs.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Whether the machine has stopped.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.state().steps == Some(0)
    }

    /// Sets the size of a sector. The disk writes a sector completely or not at all, and with the state that it has at
    /// that time. So of several writes to one sector a first part survives. Without a sector size writes are torn at
    /// any byte.
    pub fn set_sector(&self, bytes: u64) {
        self.state().sector = Some(bytes.max(1));
    }

    /// From now on the content of a directory is lost with the directory's own name, as on a real disk. The caller has
    /// to make the given directories durable.
    pub fn lose_directories_whole(&self) {
        self.state().whole_directories = true;
    }

    /// Flips a bit of a file, in both halves.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.file(path)?;
        if let Some(inode) = state.inodes.get_mut(&inode) {
            inode.strayed = true;
            for half in [&mut inode.live, &mut inode.durable] {
                if let Some(byte) = half.get_mut(byte as usize) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
        Ok(())
    }

    /// Replaces the disk by an empty one. To be called while no process runs.
    pub fn wipe(&self) {
        let mut state = self.state();
        let life = state.life + 1;
        *state = State {
            life,
            ..State::default()
        };
    }

    /// Number of pending writes that power failures took so far, and number of those of which a part is left.
    #[must_use]
    pub fn losses(&self) -> (u64, u64) {
        let state = self.state();
        (state.lost, state.torn)
    }

    /// The content of a file after a power failure that takes everything it can. `None` when even the name would be
    /// gone.
    #[must_use]
    pub fn durable(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        match state.durable.get(path)? {
            Node::File(inode) => state.inodes.get(inode).map(|inode| inode.durable.clone()),
            Node::Directory => None,
        }
    }

    /// Another disk with the same content.
    #[must_use]
    pub fn fork(&self) -> Self {
        SimDisk(Arc::new(Mutex::new(self.state().clone())))
    }

    /// The file of a handle on the disk that this one was forked from ([`SimFile::number`]).
    #[must_use]
    pub fn file(&self, (inode, life): (u64, u64)) -> SimFile {
        SimFile {
            disk: self.clone(),
            inode,
            life,
        }
    }

    /// Drops files without a name, and hashes everything that later reads and crashes could show. It assumes that a
    /// crash takes either everything that was not synced, or nothing.
    pub fn settle_and_hash(&self, hasher: &mut impl Hasher) {
        let mut state = self.state();
        let state = &mut *state;
        let mut named: BTreeSet<InodeNumber> = BTreeSet::new();
        let pending = state.pending.iter().filter_map(|(_, change)| match change {
            NameChange::Put(_, node) | NameChange::Move(_, _, node) => Some(node),
            NameChange::Remove(_) | NameChange::Rename(..) => None,
        });
        for node in state.live.values().chain(state.durable.values()).chain(pending) {
            if let Node::File(inode) = node {
                named.insert(*inode);
            }
        }
        state.inodes.retain(|inode, _| named.contains(inode));
        // Inode numbers depend on the history, so the content is hashed in their place.
        for names in [&state.live, &state.durable] {
            names.len().hash(hasher);
            for (path, node) in names {
                path.as_os_str().hash(hasher);
                if let Node::File(inode) = node
                    && let Some(inode) = state.inodes.get(inode)
                {
                    (&inode.live, &inode.durable).hash(hasher);
                }
            }
        }
    }

    /// Number of successful syncs of files so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Number of directories that were listed so far. A directory that was listed twice counts twice.
    #[must_use]
    pub fn lists(&self) -> u64 {
        self.state().lists
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        let mut state = self.state();
        state.step()?;
        if state.full || state.space == Some(0) {
            return Err(error(io::ErrorKind::StorageFull, path));
        }
        if let Some(parent) = path.parent() {
            let known = parent.as_os_str().is_empty() || state.live.get(parent) == Some(&Node::Directory);
            if !known {
                return Err(error(io::ErrorKind::NotFound, parent));
            }
        }
        let inode = match state.live.get(path) {
            Some(Node::File(inode)) => {
                let inode = *inode;
                if let Some(content) = state.inodes.get_mut(&inode) {
                    content.live.clear();
                    content.pending.push(Pending::SetLen(0));
                }
                inode
            }
            Some(Node::Directory) => return Err(error(io::ErrorKind::IsADirectory, path)),
            None => {
                let inode = state.next_inode;
                state.next_inode += 1;
                state.inodes.insert(inode, Inode::default());
                state.change(path.parent(), NameChange::Put(path.to_owned(), Node::File(inode)));
                inode
            }
        };
        let life = state.life;
        drop(state);
        Ok(SimFile {
            disk: self.clone(),
            inode,
            life,
        })
    }

    fn create_new(&self, path: &Path) -> io::Result<SimFile> {
        if self.exists(path)? {
            return Err(error(io::ErrorKind::AlreadyExists, path));
        }
        self.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        let state = self.state();
        let inode = state.file(path)?;
        let life = state.life;
        drop(state);
        Ok(SimFile {
            disk: self.clone(),
            inode,
            life,
        })
    }

    fn open_read(&self, path: &Path) -> io::Result<SimFile> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if !state.live.contains_key(from) {
            return Err(error(io::ErrorKind::NotFound, from));
        }
        if let Some(parent) = to.parent()
            && !parent.as_os_str().is_empty()
            && state.live.get(parent) != Some(&Node::Directory)
        {
            return Err(error(io::ErrorKind::NotFound, parent));
        }
        match state.live.get(from) {
            Some(node @ Node::File(_)) if from.parent() != to.parent() => {
                let node = *node;
                state.change(to.parent(), NameChange::Move(from.to_owned(), to.to_owned(), node));
            }
            _ => state.change(to.parent(), NameChange::Rename(from.to_owned(), to.to_owned())),
        }
        Ok(())
    }

    fn hard_link(&self, existing: &Path, new: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let inode = state.file(existing)?;
        if state.live.contains_key(new) {
            return Err(error(io::ErrorKind::AlreadyExists, new));
        }
        state.change(new.parent(), NameChange::Put(new.to_owned(), Node::File(inode)));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.file(path)?;
        state.change(path.parent(), NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if !state.live.contains_key(path) {
            return Err(error(io::ErrorKind::NotFound, path));
        }
        // Who makes a lock file of the same name anew has another file, which nobody has locked.
        state.locks.retain(|lock, _| !lock.starts_with(path));
        state.change(path.parent(), NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let mut missing: Vec<PathBuf> = path
            .ancestors()
            .filter(|dir| !dir.as_os_str().is_empty() && !state.live.contains_key(*dir))
            .map(Path::to_owned)
            .collect();
        missing.reverse();
        if missing.is_empty() {
            return Ok(());
        }
        state.step()?;
        for dir in missing {
            state.change(dir.parent(), NameChange::Put(dir.clone(), Node::Directory));
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut state = self.state();
        state.lists = state.lists.saturating_add(1);
        if state.live.get(dir) != Some(&Node::Directory) {
            return Err(error(io::ErrorKind::NotFound, dir));
        }
        let mut entries = Vec::new();
        for (path, node) in state.live.range(dir.to_owned()..) {
            if !path.starts_with(dir) {
                break;
            }
            if path.parent() == Some(dir)
                && let Some(name) = path.file_name().and_then(|name| name.to_str())
            {
                entries.push(DirEntry {
                    name: name.to_owned(),
                    is_dir: *node == Node::Directory,
                });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.state().live.contains_key(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if state.lying {
            return Ok(());
        }
        let pending = std::mem::take(&mut state.pending);
        for (changed, change) in pending {
            if changed != dir && change.leaves() != Some(dir) {
                state.pending.push((changed, change));
                continue;
            }
            if let NameChange::Move(from, to, _) = &change {
                // The move is on disk now, so older changes of these names do not matter any more: the one that gave the
                // file its old name, and those of its new name.
                state.pending.retain(|(_, earlier)| match earlier {
                    NameChange::Put(path, _) => path != from && path != to,
                    NameChange::Remove(path) => path != to,
                    NameChange::Rename(..) | NameChange::Move(..) => true,
                });
            }
            apply_name(&mut state.durable, &change);
        }
        debug_assert!(
            state
                .pending
                .iter()
                .all(|(changed, change)| changed != dir && change.leaves() != Some(dir)),
            "no name of a directory that was synced can be lost"
        );
        Ok(())
    }

    fn lock(&self, path: &Path, _holder: &str) -> io::Result<Option<SimLock>> {
        let mut state = self.state();
        if state.locks.contains_key(path) {
            return Ok(None);
        }
        let life = state.life;
        state.locks.insert(path.to_owned(), life);
        drop(state);
        Ok(Some(SimLock {
            disk: self.clone(),
            path: path.to_owned(),
            life,
        }))
    }

    fn set_mode(&self, _path: &Path, _mode: u32) -> io::Result<()> {
        Ok(())
    }

    fn file_id(&self, path: &Path) -> io::Result<Option<u128>> {
        Ok(self.state().file(path).ok().map(u128::from))
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        self.open(path)?.len()
    }

    fn link_count(&self, path: &Path) -> io::Result<u64> {
        let state = self.state();
        let file = Node::File(state.file(path)?);
        Ok(state.live.values().filter(|node| **node == file).count() as u64)
    }
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut State, InodeNumber) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        if state.life != self.life {
            return Err(io::Error::other("the process that opened this file is dead"));
        }
        act(&mut state, self.inode)
    }

    fn inode<T>(&self, act: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        self.with(|state, inode| match state.inodes.get_mut(&inode) {
            Some(inode) => Ok(act(inode)),
            None => Err(io::Error::other("the file is gone")),
        })
    }

    fn write(&self, write: Pending) -> io::Result<()> {
        self.with(|state, _| state.step())?;
        let full = self.with(|state, _| Ok(state.full))?;
        let shrinks = match &write {
            Pending::SetLen(len) => *len <= self.len()?,
            Pending::Write { .. } => false,
        };
        if full && !shrinks {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let mut write = write;
        let mut cut = false;
        if let Pending::Write { data, .. } = &mut write {
            self.with(|state, _| {
                if let Some(space) = &mut state.space {
                    let fits = (data.len() as u64).min(*space);
                    cut = fits < data.len() as u64;
                    data.truncate(fits as usize);
                    *space -= fits;
                }
                Ok(())
            })?;
        }
        self.inode(|inode| {
            apply_write(&mut inode.live, &write);
            inode.pending.push(write);
        })?;
        if cut {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }
}

impl SimFile {
    /// Identifies the file on this disk and its forks ([`SimDisk::file`]).
    #[must_use]
    pub fn number(&self) -> (u64, u64) {
        (self.inode, self.life)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.inode(|inode| {
            let rest = inode.live.get(offset as usize..).unwrap_or_default();
            let n = rest.len().min(buf.len());
            buf[..n].copy_from_slice(&rest[..n]);
            n
        })
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(Pending::Write {
            offset,
            data: data.to_vec(),
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let syncs = self.with(|state, _| {
            state.step()?;
            if state.lying {
                return Ok(None);
            }
            let fails = state.failing_syncs > 0;
            state.failing_syncs = state.failing_syncs.saturating_sub(1);
            state.syncs += u64::from(!fails);
            Ok(Some((fails, state.failing_kind.unwrap_or(io::ErrorKind::Other))))
        })?;
        let Some((fails, kind)) = syncs else { return Ok(()) };
        self.inode(|inode| {
            let pending = std::mem::take(&mut inode.pending);
            if fails {
                // As on Linux: the pages count as clean now, and no later sync writes them.
                inode.strayed = true;
                return Err(io::Error::new(kind, "injected sync failure"));
            }
            for write in &pending {
                apply_write(&mut inode.durable, write);
            }
            debug_assert!(
                inode.strayed || inode.durable == inode.live,
                "what was synced is what is read"
            );
            Ok(())
        })?
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write(Pending::SetLen(len))
    }

    fn len(&self) -> io::Result<u64> {
        self.inode(|inode| inode.live.len() as u64)
    }
}

#[cfg(test)]
mod tests;

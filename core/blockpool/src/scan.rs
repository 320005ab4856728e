//! Finds a pool's replicas on a volume at start (`BlockPoolSlice.addToReplicasMap`). It finishes transitions that a
//! crash left half done ([`crate::steps`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_storage::Disk;

use crate::chunks::validate_tail;
use crate::files::{
    PoolDirs, ReplicaFiles, block_file_name, is_unfinished, missing_is_fine, parse_block_file_name,
    parse_meta_file_name,
};
use crate::replica::{Folder, Location, Replica, ReplicaState, VolumeId};

/// What a scan found.
#[derive(Debug, Default)]
pub struct FoundReplicas {
    /// The replicas: FINALIZED, and RWR cut to what their checksums cover.
    pub replicas: Vec<Replica>,
    /// Unexpected files, and what was done with each.
    pub oddities: Vec<(PathBuf, String)>,
}

/// A scan of one pool on one volume.
#[derive(Debug)]
pub struct Scan<'a, D> {
    disk: &'a D,
    dirs: &'a PoolDirs,
    volume: VolumeId,
    /// Blocks of which `rbw`, which is looked at first, has a meta file and no block file.
    alone_in_rbw: BTreeSet<BlockId>,
    found: FoundReplicas,
}

/// Content of one directory.
#[derive(Debug, Default)]
struct Listing {
    blocks: Vec<BlockId>,
    /// The stamps of each block's meta files.
    metas: BTreeMap<BlockId, Vec<GenerationStamp>>,
    subdirs: Vec<PathBuf>,
    unfinished: Vec<PathBuf>,
}

impl<'a, D: Disk> Scan<'a, D> {
    /// A scan of one volume's directories.
    #[must_use]
    pub fn new(disk: &'a D, dirs: &'a PoolDirs, volume: VolumeId) -> Self {
        Scan {
            disk,
            dirs,
            volume,
            alone_in_rbw: BTreeSet::new(),
            found: FoundReplicas::default(),
        }
    }

    /// All replicas.
    pub fn all(mut self) -> io::Result<FoundReplicas> {
        self.dir(Folder::Rbw, &self.dirs.folder(Folder::Rbw))?;
        let mut pending = vec![self.dirs.folder(Folder::Finalized)];
        while let Some(dir) = pending.pop() {
            pending.extend(self.dir(Folder::Finalized, &dir)?);
        }
        Ok(self.found)
    }

    /// The replica of one block, whose place is unknown after a failed transition.
    pub fn one(mut self, id: BlockId) -> io::Result<FoundReplicas> {
        for folder in [Folder::Rbw, Folder::Finalized] {
            let dir = self.dirs.dir_of(folder, id);
            if !self.disk.exists(&dir)? {
                continue;
            }
            let stamps = self.list(&dir)?.metas.remove(&id).unwrap_or_default();
            if self.disk.exists(&dir.join(block_file_name(id)))? {
                self.block(folder, &dir, id, stamps)?;
            } else if folder == Folder::Rbw && !stamps.is_empty() {
                self.alone_in_rbw.insert(id);
            }
        }
        Ok(self.found)
    }

    fn list(&self, dir: &Path) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for entry in self.disk.list(dir)? {
            if let Some((id, gs)) = parse_meta_file_name(&entry.name) {
                listing.metas.entry(id).or_default().push(gs);
            } else if let Some(id) = parse_block_file_name(&entry.name) {
                listing.blocks.push(id);
            } else if entry.is_dir {
                listing.subdirs.push(dir.join(entry.name));
            } else if is_unfinished(&entry.name) {
                listing.unfinished.push(dir.join(entry.name));
            }
        }
        Ok(listing)
    }

    /// Scans one directory. Returns its subdirectories.
    fn dir(&mut self, folder: Folder, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut listing = self.list(dir)?;
        for path in listing.unfinished {
            missing_is_fine(self.disk.remove_file(&path))?;
        }
        for id in listing.blocks {
            let stamps = listing.metas.remove(&id).unwrap_or_default();
            self.block(folder, dir, id, stamps)?;
        }
        if folder == Folder::Rbw {
            self.alone_in_rbw.extend(listing.metas.keys());
        }
        Ok(listing.subdirs)
    }

    fn block(&mut self, folder: Folder, dir: &Path, id: BlockId, mut stamps: Vec<GenerationStamp>) -> io::Result<()> {
        let path = dir.join(block_file_name(id));
        // A meta file beside the block file may be an older one, whose removal a loss of power took back: the one that
        // belongs to the block file is then still where a move has begun.
        if stamps.is_empty() || folder == Folder::Rbw || self.alone_in_rbw.contains(&id) {
            let newest = stamps.iter().max().copied();
            stamps.extend(self.adopt_meta(folder, dir, id, newest)?);
        }
        stamps.sort_unstable();
        let Some(gs) = stamps.pop() else {
            self.odd(path, "block file without meta file is ignored");
            return Ok(());
        };
        let at = Location {
            volume: self.volume,
            folder,
            block_id: id,
            generation_stamp: gs,
        };
        let files = self.dirs.files(at);
        if files.dir != dir {
            self.odd(path, "misplaced block file is ignored");
            return Ok(());
        }
        let (state, num_bytes) = match folder {
            // Two meta files: a crash cut a truncation short, and it is finished here.
            Folder::Finalized if !stamps.is_empty() => (ReplicaState::Finalized, self.validate(&files)),
            Folder::Finalized => (ReplicaState::Finalized, self.disk.file_len(&files.data)?),
            Folder::Rbw | Folder::Tmp => (ReplicaState::Rwr, self.validate(&files)),
        };
        for older in stamps {
            let meta = self.dirs.files(Location {
                generation_stamp: older,
                ..at
            });
            missing_is_fine(self.disk.remove_file(&meta.meta))?;
            self.odd(meta.meta, "meta file of an older stamp is removed");
        }
        let block = Block {
            id,
            num_bytes,
            generation_stamp: gs,
        };
        self.found.replicas.push(Replica::at_rest(block, state, self.volume));
        Ok(())
    }

    fn odd(&mut self, path: PathBuf, what: &str) {
        self.found.oddities.push((path, what.to_owned()));
    }

    /// Length of the part with right checksums. A file that can't be read counts as empty.
    fn validate(&mut self, files: &ReplicaFiles) -> u64 {
        validate_tail(self.disk, files).unwrap_or_else(|error| {
            let what = format!("replica cannot be validated, taken as empty: {error}");
            self.odd(files.data.clone(), &what);
            0
        })
    }

    /// Brings the meta file along that a crash between the two renames of a move has left at the block file's old
    /// place. It is newer than what may be there of an earlier time.
    fn adopt_meta(
        &mut self,
        folder: Folder,
        dir: &Path,
        id: BlockId,
        newest: Option<GenerationStamp>,
    ) -> io::Result<Vec<GenerationStamp>> {
        let other = match folder {
            Folder::Finalized => Folder::Rbw,
            Folder::Rbw | Folder::Tmp => Folder::Finalized,
        };
        let other = self.dirs.dir_of(other, id);
        if !self.disk.exists(&other)? || self.disk.exists(&other.join(block_file_name(id)))? {
            return Ok(Vec::new());
        }
        let mut stamps = self.list(&other)?.metas.remove(&id).unwrap_or_default();
        stamps.retain(|gs| Some(*gs) > newest);
        for gs in &stamps {
            let name = crate::files::meta_file_name(id, *gs);
            self.disk.rename(&other.join(&name), &dir.join(&name))?;
            self.odd(dir.join(&name), "meta file joins its block file");
        }
        Ok(stamps)
    }
}

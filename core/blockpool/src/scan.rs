//! Finds a pool's replicas on a volume at start (`BlockPoolSlice.addToReplicasMap`). It finishes transitions that a
//! crash left half done ([`crate::steps`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_storage::{Disk, DiskFile};

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

/// A scan of one pool on one volume. It lists each directory once, because a directory may hold many blocks.
#[derive(Debug)]
pub struct Scan<'a, D> {
    disk: &'a D,
    dirs: &'a PoolDirs,
    volume: VolumeId,
    found: FoundReplicas,
}

/// Content of `rbw`.
#[derive(Debug, Default)]
struct InRbw {
    /// Blocks, with the stamps of their meta files, by the directory of `finalized` that they belong to.
    blocks: BTreeMap<PathBuf, BTreeMap<BlockId, Vec<GenerationStamp>>>,
    /// Meta files without a block file.
    metas_alone: BTreeMap<BlockId, Vec<GenerationStamp>>,
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
            found: FoundReplicas::default(),
        }
    }

    /// All replicas.
    pub fn all(mut self) -> io::Result<FoundReplicas> {
        let listing = self.list(&self.dirs.folder(Folder::Rbw))?;
        self.remove_unfinished(&listing)?;
        let mut rbw = self.in_rbw(listing);
        let mut pending = vec![self.dirs.folder(Folder::Finalized)];
        while let Some(dir) = pending.pop() {
            let mut listing = self.list(&dir)?;
            self.remove_unfinished(&listing)?;
            pending.append(&mut listing.subdirs);
            self.dir(&dir, listing, &mut rbw)?;
        }
        // Nothing of these blocks was ever in `finalized`.
        for dir in rbw.blocks.keys().cloned().collect::<Vec<_>>() {
            self.dir(&dir, Listing::default(), &mut rbw)?;
        }
        Ok(self.found)
    }

    /// The replica of one block, whose place is unknown after a failed transition.
    pub fn one(mut self, id: BlockId) -> io::Result<FoundReplicas> {
        let listing = self.list_of(id, Folder::Rbw)?;
        let mut rbw = self.in_rbw(listing);
        let listing = self.list_of(id, Folder::Finalized)?;
        self.dir(&self.dirs.dir_of(Folder::Finalized, id), listing, &mut rbw)?;
        Ok(self.found)
    }

    /// What a folder has of one block.
    fn list_of(&self, id: BlockId, folder: Folder) -> io::Result<Listing> {
        let dir = self.dirs.dir_of(folder, id);
        if !self.disk.exists(&dir)? {
            return Ok(Listing::default());
        }
        let mut all = self.list(&dir)?;
        all.blocks.retain(|block| *block == id);
        all.metas.retain(|block, _| *block == id);
        Ok(Listing {
            blocks: all.blocks,
            metas: all.metas,
            ..Listing::default()
        })
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

    fn remove_unfinished(&self, listing: &Listing) -> io::Result<()> {
        for path in &listing.unfinished {
            missing_is_fine(self.disk.remove_file(path))?;
        }
        Ok(())
    }

    fn in_rbw(&self, listing: Listing) -> InRbw {
        let mut rbw = InRbw::default();
        let mut metas = listing.metas;
        for id in listing.blocks {
            let stamps = metas.remove(&id).unwrap_or_default();
            let dir = self.dirs.dir_of(Folder::Finalized, id);
            rbw.blocks.entry(dir).or_default().insert(id, stamps);
        }
        rbw.metas_alone = metas;
        rbw
    }

    /// The blocks of one directory of `finalized`, and those of `rbw` that will once be there.
    ///
    /// A crash between the two renames of a move has left the meta file at the block file's old place. It joins its
    /// block file if it is newer than the meta file beside the block file. That one may be older: a loss of power may
    /// have taken its removal back.
    fn dir(&mut self, dir: &Path, listing: Listing, rbw: &mut InRbw) -> io::Result<()> {
        let Listing { blocks, mut metas, .. } = listing;
        let finalized: BTreeSet<BlockId> = blocks.iter().copied().collect();
        let from_rbw = self.dirs.folder(Folder::Rbw);
        for (id, mut stamps) in rbw.blocks.remove(dir).unwrap_or_default() {
            if !finalized.contains(&id) {
                let elsewhere = metas.remove(&id).unwrap_or_default();
                self.adopt_metas(id, &mut stamps, elsewhere, (dir, &from_rbw))?;
            }
            self.block(Folder::Rbw, &from_rbw, id, stamps)?;
        }
        for id in blocks {
            let mut stamps = metas.remove(&id).unwrap_or_default();
            let elsewhere = rbw.metas_alone.remove(&id).unwrap_or_default();
            self.adopt_metas(id, &mut stamps, elsewhere, (&from_rbw, dir))?;
            self.block(Folder::Finalized, dir, id, stamps)?;
        }
        Ok(())
    }

    fn block(&mut self, folder: Folder, dir: &Path, id: BlockId, mut stamps: Vec<GenerationStamp>) -> io::Result<()> {
        let path = dir.join(block_file_name(id));
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
            // Two meta files: a crash cut a truncation short, and it is finished here. The cut is durable before the older
            // meta file goes: without that one, nothing tells the next start that there is something to finish.
            Folder::Finalized if !stamps.is_empty() => {
                let num_bytes = self.validate(&files);
                self.disk.open(&files.data)?.sync_data()?;
                (ReplicaState::Finalized, num_bytes)
            }
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

    /// Moves those of the meta files `elsewhere` to the block file that are newer than `stamps`.
    fn adopt_metas(
        &mut self,
        id: BlockId,
        stamps: &mut Vec<GenerationStamp>,
        elsewhere: Vec<GenerationStamp>,
        (from, to): (&Path, &Path),
    ) -> io::Result<()> {
        let newest = stamps.iter().max().copied();
        for gs in elsewhere.into_iter().filter(|gs| Some(*gs) > newest) {
            let name = crate::files::meta_file_name(id, gs);
            self.disk.rename(&from.join(&name), &to.join(&name))?;
            self.odd(to.join(&name), "meta file joins its block file");
            stamps.push(gs);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

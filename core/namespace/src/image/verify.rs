//! Checks that an image is whole, without loading it. A received image must pass this check before it is kept.
//!
//! Each inode takes some twenty bytes during the check, a fifth of its size in a namespace. So an active can check an
//! image as large as its own. An image with snapshots is loaded to be checked, and takes as much as its namespace.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hathi_formats::fsimage::{DirEntryRef, Image, ImageError, ReadAt, SectionName};
use hathi_formats::ids::InodeId;

use super::bad;
use super::decode::Rare;
use super::load::{self, ImageLoader, has_snapshots};
use crate::config::NamespaceConfig;
use crate::digest::terms;

/// What a whole image says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The image holds everything up to this transaction.
    pub txid: u64,
    /// `namespaceID`.
    pub namespace_id: u32,
    /// Inodes.
    pub inodes: u64,
    /// Of the namespace that a load of it gives.
    pub digest: u64,
    /// The [`digest_origin`](crate::Namespace::digest_origin) of that namespace.
    pub origin: u64,
}

/// No parent is known yet.
const NONE: u32 = u32::MAX;

/// Reads an image to its end, as a load does: every message of every section. Each inode must be in one directory and
/// below the root, no directory may have a name twice, and no block may appear twice.
///
/// # Errors
/// The first thing that a load would refuse.
pub fn verify<F: ReadAt + ?Sized>(config: NamespaceConfig, image: &Image<'_, F>) -> Result<Verified, ImageError> {
    if has_snapshots(image)? {
        return verify_by_load(config, image);
    }
    let mut inodes = Inodes {
        hasher: FixedState::with_seed(config.hash_seed),
        known: Vec::new(),
        blocks: Vec::new(),
        names: Vec::new(),
        sum: 0,
    };
    let mut loader = ImageLoader::new(config, image)?;
    for part in image.parts(SectionName::Inode) {
        let mut decoder = loader.decoder(image, part);
        while let Some(decoded) = decoder.next_batch()? {
            inodes.add(&decoded)?;
            let striped = decoded.inodes.iter();
            let policies = striped.filter_map(|inode| inode.rec.erasure_coding_policy());
            policies.for_each(|policy| loader.note_policy(policy));
        }
    }
    if inodes.known.len() as u64 != loader.expected_inodes() {
        return Err(bad(format!(
            "{} inodes found instead of {}",
            inodes.known.len(),
            loader.expected_inodes()
        )));
    }
    inodes.sort()?;
    if let Some(section) = image.section(SectionName::InodeDir) {
        let mut messages = image.messages(section);
        while let Some(bytes) = messages.next_bytes()? {
            let entry = DirEntryRef::decode(bytes).map_err(|error| bad(format!("section INODE_DIR: {error}")))?;
            inodes.add_directory(entry)?;
        }
    }
    inodes.check_tree()?;
    let last = inodes.known.last().map_or(0, |inode| inode.id);
    let rest = loader.read_rest(image, (last, inodes.sum), |id| inodes.directory(id).is_some())?;
    Ok(Verified {
        txid: rest.txid,
        namespace_id: rest.namespace_id,
        inodes: inodes.known.len() as u64,
        digest: rest.digest,
        origin: rest.origin,
    })
}

/// What snapshots show hangs together in more ways than a tree does. Only a load follows them all.
fn verify_by_load<F: ReadAt + ?Sized>(config: NamespaceConfig, image: &Image<'_, F>) -> Result<Verified, ImageError> {
    let ns = load::load(config, image)?;
    Ok(Verified {
        txid: ns.last_applied_txid(),
        namespace_id: ns.namespace_id(),
        inodes: ns.inode_count(),
        digest: ns.digest(),
        origin: ns.digest_origin(),
    })
}

struct Inode {
    id: u64,
    /// Hash of its name with the seed of this process.
    name: u64,
    parent: u32,
    is_dir: bool,
    /// Whether its children were listed already.
    is_listed: bool,
}

struct Inodes {
    hasher: FixedState,
    known: Vec<Inode>,
    blocks: Vec<i64>,
    /// Names in the directory that is being checked.
    names: Vec<u64>,
    /// Their part of the digest.
    sum: u64,
}

impl Inodes {
    fn add(&mut self, decoded: &super::DecodedInodes) -> Result<(), ImageError> {
        self.sum = self.sum.wrapping_add(decoded.sum);
        let mut name_at = 0;
        for inode in &decoded.inodes {
            let (rec, len) = (&inode.rec, inode.name_len);
            let mut hasher = self.hasher.build_hasher();
            hasher.write(&decoded.names[name_at..name_at + len]);
            name_at += len;
            self.known.push(Inode {
                id: rec.id().0,
                // 0 means that there is no name.
                name: if len == 0 { 0 } else { hasher.finish() | 1 },
                parent: NONE,
                is_dir: rec.is_dir(),
                is_listed: false,
            });
        }
        self.blocks.extend(decoded.blocks.iter().map(|block| block.id().0));
        for (at, rare) in &decoded.rare {
            if let Rare::Unsupported(feature) = rare {
                let place = format!("inode {}", decoded.inodes[*at].rec.id());
                return Err(ImageError::Unsupported(feature.refused_at(&place)));
            }
        }
        Ok(())
    }

    fn sort(&mut self) -> Result<(), ImageError> {
        self.known.sort_unstable_by_key(|inode| inode.id);
        if let Some(pair) = self.known.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(bad(format!("inode id {} appears twice", pair[0].id)));
        }
        self.blocks.sort_unstable();
        if let Some(pair) = self.blocks.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(bad(format!("block {} appears twice", pair[0])));
        }
        self.blocks = Vec::new();
        Ok(())
    }

    fn find(&self, id: u64) -> Option<usize> {
        self.known.binary_search_by_key(&id, |inode| inode.id).ok()
    }

    fn directory(&self, id: u64) -> Option<usize> {
        self.find(id).filter(|at| self.known[*at].is_dir)
    }

    fn add_directory(&mut self, entry: DirEntryRef<'_>) -> Result<(), ImageError> {
        let parent = self.directory(entry.parent);
        let parent = parent.ok_or_else(|| bad(format!("{} is not a directory", entry.parent)))?;
        if self.known[parent].is_listed {
            return Err(bad(format!("directory {} appears twice", entry.parent)));
        }
        self.names.clear();
        for id in entry.children {
            let id = id.map_err(|error| bad(error.to_string()))?;
            let at = self.find(id).ok_or_else(|| bad(format!("child {id} does not exist")))?;
            let child = &mut self.known[at];
            if child.parent != NONE || id == InodeId::ROOT.0 {
                return Err(bad(format!("inode {id} has two parents")));
            }
            if child.name == 0 {
                return Err(bad(format!("child {id} has no name")));
            }
            let term = terms::parent(InodeId(id), InodeId(entry.parent));
            self.sum = self.sum.wrapping_add(term);
            child.parent = u32::try_from(parent).map_err(|_| bad("too many inodes"))?;
            self.names.push(child.name);
        }
        self.known[parent].is_listed = !self.names.is_empty();
        self.names.sort_unstable();
        if self.names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(bad(format!(
                "two children of directory {} have the same name",
                entry.parent
            )));
        }
        Ok(())
    }

    /// Checks that every inode is below the root, without circles.
    fn check_tree(&self) -> Result<(), ImageError> {
        let root = self.directory(InodeId::ROOT.0);
        let root = root.ok_or_else(|| bad("the root directory is missing"))?;
        let mut below_root = vec![false; self.known.len()];
        below_root[root] = true;
        let mut way = Vec::new();
        for start in 0..self.known.len() {
            let mut at = start;
            while !below_root[at] {
                let parent = self.known[at].parent;
                // A circle is longer than the number of inodes.
                if parent == NONE || way.len() > self.known.len() {
                    return Err(bad(format!("inode {} is not below the root", self.known[start].id)));
                }
                way.push(at);
                at = parent as usize;
            }
            for on_the_way in way.drain(..) {
                below_root[on_the_way] = true;
            }
        }
        Ok(())
    }
}

//! A namespace that is too simple to be wrong: nodes that own their children, and snapshots that are copies of everything.

use std::collections::{BTreeMap, BTreeSet};

/// Size of the blocks of all files, and of the internal blocks of their groups.
pub(super) const BLOCK: u64 = 1 << 20;
/// What a directory has instead of the name of an erasure coding policy when its files are replicated.
pub(super) const REPLICATION: &str = "REPLICATION";

/// What directories and files have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Tells one node from another in copies.
    pub(super) id: u64,
    pub(super) owner: String,
    pub(super) mode: u32,
    /// The permission of the user `bob`, and that of the group, which the mode does not show then.
    pub(super) acl: Option<(u32, u32)>,
    pub(super) xattrs: BTreeMap<String, u8>,
    /// Its own storage policy; 0: none.
    pub(super) policy: u32,
    /// A directory's own erasure coding policy, or that its files are replicated.
    pub(super) coding: Option<String>,
    pub(super) mtime: u64,
    pub(super) atime: u64,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dir(Dir),
    File(File),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dir {
    pub(super) children: BTreeMap<String, Node>,
    /// Of names, and of bytes.
    pub(super) quota: Option<(u64, u64)>,
    /// By numbers of storage types. They are never reached.
    pub(super) type_quotas: BTreeMap<i32, u64>,
    /// When it is the root of an encryption zone.
    pub(super) zone: Option<Zone>,
    /// By name, when it is snapshottable.
    pub(super) snapshots: Option<BTreeMap<String, Node>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone {
    /// As the namesystem numbers it.
    pub(super) inode: u64,
    pub(super) reencryption: Option<Asked>,
}

/// The last re-encryption of a zone that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The version that keys are to have.
    pub(super) version: u32,
    pub(super) submitted: u64,
    pub(super) is_running: bool,
    pub(super) is_cancelled: bool,
}

impl Zone {
    pub(super) fn is_reencrypted(&self) -> bool {
        self.reencryption.as_ref().is_some_and(|asked| asked.is_running)
    }
}

/// What tells the encrypted key of one file from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileKey {
    pub(super) number: u32,
    pub(super) version: u32,
}

/// How the groups of a striped file are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Striped {
    pub(super) policy: String,
    pub(super) data_units: u64,
    pub(super) parity_units: u64,
    pub(super) cell: u64,
}

impl Striped {
    /// Bytes of an internal block: cells go to the data units one by one, and parity is as long as the first of them.
    pub(super) fn unit(&self, group: u64, index: u64) -> u64 {
        let (cells, rest) = (group / self.cell, group % self.cell);
        let place = if index < self.data_units { index } else { 0 };
        let mine = (0..cells).filter(|cell| cell % self.data_units == place).count() as u64;
        let has_rest = cells % self.data_units == place;
        mine * self.cell + if has_rest { rest } else { 0 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) replication: u32,
    pub(super) striped: Option<Striped>,
    /// Lengths of the blocks.
    pub(super) blocks: Vec<u64>,
    pub(super) is_open: bool,
    pub(super) key: Option<FileKey>,
}

impl File {
    /// Most bytes of one block.
    pub(super) fn full_block(&self) -> u64 {
        BLOCK * self.striped.as_ref().map_or(1, |striped| striped.data_units)
    }

    /// Bytes on DataNodes for a block.
    pub(super) fn space(&self, block: u64) -> u64 {
        match &self.striped {
            None => block * u64::from(self.replication),
            Some(striped) => {
                let units = striped.data_units + striped.parity_units;
                (0..units).map(|index| striped.unit(block, index)).sum()
            }
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.blocks.iter().sum()
    }
}

/// Why there is nothing at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nothing {
    Missing,
    /// A file is above it.
    BelowFile,
}

/// Names above each other, without the root's.
pub(super) fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty()).collect()
}

/// The path of the parent, and the name.
pub(super) fn split(path: &str) -> (&str, &str) {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    (parent, name)
}

pub(super) fn is_below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

impl Node {
    pub(super) fn new(id: u64, owner: &str, mode: u32, kind: Kind) -> Node {
        Node {
            id,
            owner: owner.to_owned(),
            mode,
            acl: None,
            xattrs: BTreeMap::new(),
            policy: 0,
            coding: None,
            mtime: 0,
            atime: 0,
            kind,
        }
    }

    pub(super) fn dir(&self) -> Option<&Dir> {
        match &self.kind {
            Kind::Dir(dir) => Some(dir),
            Kind::File(_) => None,
        }
    }

    pub(super) fn dir_mut(&mut self) -> Option<&mut Dir> {
        match &mut self.kind {
            Kind::Dir(dir) => Some(dir),
            Kind::File(_) => None,
        }
    }

    pub(super) fn zone(&self) -> Option<&Zone> {
        self.dir()?.zone.as_ref()
    }

    pub(super) fn file(&self) -> Option<&File> {
        match &self.kind {
            Kind::File(file) => Some(file),
            Kind::Dir(_) => None,
        }
    }

    pub(super) fn file_mut(&mut self) -> Option<&mut File> {
        match &mut self.kind {
            Kind::File(file) => Some(file),
            Kind::Dir(_) => None,
        }
    }

    pub(super) fn find(&self, path: &str) -> Result<&Node, Nothing> {
        let mut at = self;
        for part in parts(path) {
            let dir = at.dir().ok_or(Nothing::BelowFile)?;
            at = dir.children.get(part).ok_or(Nothing::Missing)?;
        }
        Ok(at)
    }

    pub(super) fn find_mut(&mut self, path: &str) -> Option<&mut Node> {
        let mut at = self;
        for part in parts(path) {
            at = at.dir_mut()?.children.get_mut(part)?;
        }
        Some(at)
    }

    pub(super) fn is_dir_at(&self, path: &str) -> bool {
        self.find(path).is_ok_and(|node| node.dir().is_some())
    }

    /// Itself and everything below it.
    pub(super) fn all(&self) -> Vec<&Node> {
        let mut all = vec![self];
        let mut next = 0;
        while let Some(node) = all.get(next).copied() {
            all.extend(node.dir().into_iter().flat_map(|dir| dir.children.values()));
            next += 1;
        }
        all
    }

    /// What a quota counts: names, and bytes with all replicas.
    pub(super) fn usage(&self) -> (u64, u64) {
        let all = self.all();
        let files = all.iter().filter_map(|node| node.file());
        let bytes = files.flat_map(|file| file.blocks.iter().map(|block| file.space(*block)));
        (all.len() as u64, bytes.sum())
    }

    /// Whether it, or something below it, has snapshots.
    pub(super) fn holds_snapshots(&self) -> bool {
        let snapshots = |node: &Node| node.dir()?.snapshots.as_ref().map(|all| !all.is_empty());
        self.all().into_iter().any(|node| snapshots(node).unwrap_or(false))
    }

    /// Whether something of it, or above it on the way from the root, matters for quotas.
    pub(super) fn holds_quotas(&self) -> bool {
        let has = |node: &&Node| node.dir().is_some_and(|dir| dir.quota.is_some());
        self.all().iter().any(has)
    }

    pub(super) fn holds_snapshottable(&self) -> bool {
        let is = |node: &&Node| node.dir().is_some_and(|dir| dir.snapshots.is_some());
        self.all().iter().any(is)
    }

    /// The ids of everything that a snapshot shows.
    pub(super) fn shown_by_snapshots(&self) -> BTreeSet<u64> {
        let all = self.all().into_iter().filter_map(|node| node.dir()?.snapshots.as_ref());
        all.flat_map(BTreeMap::values)
            .flat_map(|copy| copy.all())
            .map(|node| node.id)
            .collect()
    }

    /// Whether a directory on the way to a path, or the path's, fits.
    pub(super) fn any_on_the_way(&self, path: &str, fits: impl Fn(&Dir) -> bool) -> bool {
        let mut at = self;
        if at.dir().is_some_and(&fits) {
            return true;
        }
        for part in parts(path) {
            let Some(next) = at.dir().and_then(|dir| dir.children.get(part)) else {
                return false;
            };
            at = next;
            if at.dir().is_some_and(&fits) {
                return true;
            }
        }
        false
    }

    /// The storage policy that counts at a path.
    pub(super) fn policy_at(&self, path: &str) -> u32 {
        let (mut at, mut policy) = (self, self.policy);
        for part in parts(path) {
            let Some(next) = at.dir().and_then(|dir| dir.children.get(part)) else {
                return policy;
            };
            at = next;
            if at.policy != 0 {
                policy = at.policy;
            }
        }
        policy
    }

    /// The nodes from here to a path, as far as they are there.
    pub(super) fn way(&self, path: &str) -> Vec<&Node> {
        let mut way = vec![self];
        for part in parts(path) {
            let dir = way.last().and_then(|node| node.dir());
            let Some(next) = dir.and_then(|dir| dir.children.get(part)) else {
                break;
            };
            way.push(next);
        }
        way
    }

    /// The erasure coding policy of new files at a path, if none is asked for.
    pub(super) fn coding_at(&self, path: &str) -> Option<&str> {
        let nearest = self.way(path).into_iter().rev().find_map(|node| node.coding.as_deref());
        nearest.filter(|name| *name != REPLICATION)
    }

    /// The zone in which a path is.
    pub(super) fn zone_at(&self, path: &str) -> Option<&Zone> {
        let way = self.way(path).into_iter().rev();
        way.filter_map(Node::dir).find_map(|dir| dir.zone.as_ref())
    }

    /// All zones, with their paths.
    pub(super) fn zones(&self) -> Vec<(String, &Zone)> {
        let mut found = Vec::new();
        let mut stack = vec![(String::new(), self)];
        while let Some((path, node)) = stack.pop() {
            let Some(dir) = node.dir() else { continue };
            found.extend(dir.zone.as_ref().map(|zone| (path.clone(), zone)));
            stack.extend(
                dir.children
                    .iter()
                    .map(|(name, child)| (format!("{path}/{name}"), child)),
            );
        }
        found.sort_by_key(|(_, zone)| zone.inode);
        found
    }

    /// The files whose keys are encrypted with the key of the zone of which this is the root, and not of one in it.
    pub(super) fn files_of_zone(&self) -> Vec<&File> {
        let mut found = Vec::new();
        let mut stack = vec![self];
        while let Some(node) = stack.pop() {
            found.extend(node.file());
            let children = node.dir().into_iter().flat_map(|dir| dir.children.values());
            stack.extend(children.filter(|child| child.dir().is_none_or(|dir| dir.zone.is_none())));
        }
        found
    }

    /// The file with this key, below here.
    pub(super) fn file_with_key(&mut self, number: u32) -> Option<&mut File> {
        match &mut self.kind {
            Kind::File(file) => file.key.is_some_and(|key| key.number == number).then_some(file),
            Kind::Dir(dir) => dir.children.values_mut().find_map(|child| child.file_with_key(number)),
        }
    }

    /// A copy for a snapshot.
    pub(super) fn copied(&self) -> Node {
        let mut copy = self.clone();
        if let Some(dir) = copy.dir_mut() {
            dir.snapshots = None;
        }
        copy
    }

    /// Whether so many more names and bytes fit into all quotas above a path whose directories are there.
    pub(super) fn has_room(&self, path: &str, names: u64, bytes: u64) -> bool {
        let all_parts = parts(path);
        let mut at = Some(self);
        for depth in 0..=all_parts.len() {
            let Some(node) = at else { break };
            if let Some((name_limit, byte_limit)) = node.dir().and_then(|dir| dir.quota) {
                let (used, used_bytes) = node.usage();
                let over = |limit: u64, used: u64, more: u64| more > 0 && used + more > limit;
                if over(name_limit, used, names) || over(byte_limit, used_bytes, bytes) {
                    return false;
                }
            }
            at = all_parts
                .get(depth)
                .and_then(|part| node.dir().and_then(|dir| dir.children.get(*part)));
        }
        true
    }
}

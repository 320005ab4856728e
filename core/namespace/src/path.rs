//! Paths: resolving them to inodes, and what Hadoop refuses about them.
//!
//! Mirrors `INodesInPath`, `FSDirectory.resolvePath`, `FSDirectory.resolveComponents` and `DFSUtil.isValidName`.

use std::borrow::Cow;

use hathi_formats::exceptions as ex;
use hathi_formats::ids::InodeId;
use smallvec::SmallVec;

use crate::namespace::Namespace;
use crate::snapshots::as_of::AsOf;
use crate::snapshots::{PRESENT, SnapshotId, SnapshotRoot, SnapshotsPart};
use crate::store::slab::{NONE, Slot};
use crate::tree::inode::flag;
use crate::types::Refused;
use crate::view::View;

/// `HdfsServerConstants.MAX_PATH_LENGTH`, in characters.
pub const MAX_PATH_LENGTH: usize = 8000;
/// The name below a directory that leads to its snapshots (`HdfsConstants.DOT_SNAPSHOT_DIR`).
pub(crate) const DOT_SNAPSHOT: &str = ".snapshot";
/// `HdfsServerConstants.MAX_PATH_DEPTH`.
pub const MAX_PATH_DEPTH: usize = 1000;

/// A resolved path (`INodesInPath`): the inodes that exist along it, root first.
#[derive(Clone, Debug)]
pub struct InodesInPath<'s> {
    path: Cow<'s, str>,
    /// Where each component is in `path`, without the root.
    components: SmallVec<[(u32, u32); 12]>,
    pub(crate) slots: SmallVec<[Slot; 12]>,
    /// Ids of the existing inodes along the path, root first. A reply about this path shows all of them (see
    /// [`crate::Effects::touched`]). A reply about a missing path also shows the child list of the last one
    /// ([`crate::Effects::parents`]).
    pub ids: SmallVec<[InodeId; 12]>,
    /// Number of components of the path, the root included.
    pub depth: usize,
    /// Whether the path is below `/.reserved/raw`.
    pub(crate) raw: bool,
    /// The component that is `.snapshot` of a snapshottable directory; 0 if there is none. The components behind it are
    /// as of a snapshot. It and the snapshot's name have the directory's inode.
    dot_snapshot: usize,
    /// The snapshot that the path names. If it names none that exists: the newest one of the directory, whose attributes
    /// are checked then, or the present.
    snapshot: SnapshotId,
}

impl InodesInPath<'_> {
    /// Whether the whole path exists.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.slots.len() == self.depth
    }

    /// The inode at the end of the path, if it exists.
    #[must_use]
    pub fn last(&self) -> Option<InodeId> {
        self.exists().then(|| self.deepest())
    }

    /// The deepest existing inode.
    #[must_use]
    pub fn deepest(&self) -> InodeId {
        self.ids.last().copied().unwrap_or(InodeId::ROOT)
    }

    /// The full path (with `/.reserved/.inodes` resolved).
    #[must_use]
    pub fn path(&self) -> String {
        self.prefix(self.depth)
    }

    /// The resolved path. Below `/.reserved/.inodes` it differs from the client's.
    pub(crate) fn as_str(&self) -> &str {
        &self.path
    }

    /// The last component; empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.depth == 1 {
            ""
        } else {
            self.component(self.depth - 1)
        }
    }

    /// Component `n`; 0 is the root.
    pub(crate) fn component(&self, n: usize) -> &str {
        match n {
            0 => "",
            _ => {
                let (start, end) = self.components[n - 1];
                &self.path[start as usize..end as usize]
            }
        }
    }

    /// The path of the first `len` components.
    pub(crate) fn prefix(&self, len: usize) -> String {
        if len <= 1 {
            return "/".to_owned();
        }
        let mut out = String::with_capacity(self.path.len());
        for n in 1..len {
            out.push('/');
            out.push_str(self.component(n));
        }
        out
    }

    /// The snapshot as of which the path is resolved (`INodesInPath.getPathSnapshotId`).
    #[inline]
    pub(crate) fn snapshot(&self) -> Option<SnapshotId> {
        (self.dot_snapshot != 0).then_some(self.snapshot)
    }

    /// The directory whose snapshots are at the end of the path (`INodesInPath.isDotSnapshotDir`). No inode is there.
    pub(crate) fn dir_of_snapshots(&self) -> Option<Slot> {
        let is_last = self.dot_snapshot != 0 && self.dot_snapshot == self.depth - 1;
        is_last.then(|| self.slots.last().copied()).flatten()
    }

    /// `SnapshotAccessControlException` below `.snapshot`.
    pub(crate) fn check_is_present(&self) -> Result<(), Refused> {
        match self.dot_snapshot {
            0 => Ok(()),
            _ => Err(refuse(
                ex::SNAPSHOT_ACCESS_CONTROL,
                "Modification on a read-only snapshot is disallowed",
            )),
        }
    }

    pub(crate) fn last_slot(&self) -> Option<Slot> {
        self.exists().then(|| self.slots[self.depth - 1])
    }

    /// The slot of component `n`, if it exists.
    pub(crate) fn at(&self, n: usize) -> Option<Slot> {
        self.slots.get(n).copied()
    }

    /// The slot of the parent, if it exists.
    pub(crate) fn parent_slot(&self) -> Option<Slot> {
        if self.depth < 2 { None } else { self.at(self.depth - 2) }
    }
}

/// How a path is going to be used (`FSDirectory.DirOp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DirOp {
    Read,
    ReadLink,
    Write,
    WriteLink,
    Create,
    CreateLink,
}

/// `DFSUtil.isValidName`.
#[must_use]
pub fn is_valid_name(src: &str) -> bool {
    if !src.starts_with('/') {
        return false;
    }
    let mut parts = src.split('/').enumerate().peekable();
    let reserved = src.starts_with("/.reserved/.inodes/");
    while let Some((n, part)) = parts.next() {
        // `..` may stand right behind an inode id, where a client asks for the parent (NFS). With more behind it, it
        // would be taken for a name.
        if part == "." || part.contains(':') || (part == ".." && !(reserved && n == 4 && parts.peek().is_none())) {
            return false;
        }
        if part.is_empty() && n != 0 && parts.peek().is_some() {
            return false;
        }
    }
    true
}

/// Whether a path is `/.reserved` or below it (`FSDirectory.isReservedName`). A name that only begins so, as in
/// `/.reservedX`, is legal. Plans and [`Namespace::apply`] both call this function, so every planned op applies.
pub(crate) fn is_reserved(src: &str) -> bool {
    src.strip_prefix("/.reserved")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `FSDirectory.isExactReservedName`.
pub(crate) fn is_exact_reserved(src: &str) -> bool {
    src == "/.reserved"
}

pub(crate) fn is_reserved_raw(src: &str) -> bool {
    src == "/.reserved/raw" || src.starts_with("/.reserved/raw/")
}

pub(crate) fn is_reserved_inodes(src: &str) -> bool {
    src == "/.reserved/.inodes" || src.starts_with("/.reserved/.inodes/")
}

pub(crate) fn refuse(class: ex::ExceptionClass, message: impl Into<String>) -> Refused {
    Refused::new(class, message)
}

/// From paths to the inodes of a view.
pub(crate) trait Paths: View {
    /// Resolves a path as far as it exists. Refuses strings that are no path, and unknown ids below
    /// `/.reserved/.inodes`.
    fn resolve<'s>(&self, src: &'s str) -> Result<InodesInPath<'s>, Refused> {
        if !src.starts_with('/') {
            return Err(refuse(
                ex::ASSERTION,
                format!("Absolute path required, but got '{src}'"),
            ));
        }
        if src.len() > u32::MAX as usize / 2 {
            return Err(refuse(ex::INVALID_PATH, "Path is too long"));
        }
        if is_reserved(src) {
            return self.resolve_reserved(src);
        }
        Ok(self.walk(Cow::Borrowed(src), false))
    }

    fn resolve_reserved<'s>(&self, src: &'s str) -> Result<InodesInPath<'s>, Refused> {
        if let Some(rest) = src.strip_prefix("/.reserved/.inodes/") {
            let (id, rest) = rest.split_once('/').map_or((rest, ""), |(id, rest)| (id, rest));
            let Ok(number) = id.parse::<u64>() else {
                return Err(refuse(ex::FILE_NOT_FOUND, format!("Invalid inode path: {src}")));
            };
            let Some(slot) = self.slot(InodeId(number)) else {
                return Err(refuse(
                    ex::FILE_NOT_FOUND,
                    format!("File for given inode path does not exist: {src}"),
                ));
            };
            if rest.starts_with("../") {
                // Hadoop answers with the parent and forgets the rest, which no caller wants.
                return Err(refuse(ex::INVALID_PATH, format!("Invalid path name {src}")));
            }
            let mut path = match rest {
                ".." if self.rec(slot).parent() != NONE => self.path_of_slot(self.rec(slot).parent()),
                _ => self.path_of_slot(slot),
            };
            if !rest.is_empty() && rest != ".." {
                if path != "/" {
                    path.push('/');
                }
                path.push_str(rest);
            }
            return Ok(self.walk(Cow::Owned(path), false));
        }
        if is_reserved_raw(src) {
            let rest = &src["/.reserved/raw".len()..];
            if is_exact_reserved(rest) {
                return Ok(self.walk(Cow::Borrowed(src), false));
            }
            return Ok(self.walk(Cow::Borrowed(if rest.is_empty() { "/" } else { rest }), true));
        }
        Ok(self.walk(Cow::Borrowed(src), false))
    }

    fn walk<'s>(&self, path: Cow<'s, str>, raw: bool) -> InodesInPath<'s> {
        let mut out = InodesInPath {
            path: Cow::Borrowed(""),
            components: SmallVec::new(),
            slots: SmallVec::new(),
            ids: SmallVec::new(),
            depth: 1,
            raw,
            dot_snapshot: 0,
            snapshot: PRESENT,
        };
        out.slots.push(self.root());
        out.ids.push(InodeId::ROOT);
        let bytes = path.as_bytes();
        let mut at = Some(self.root());
        let mut start = 1;
        while start <= bytes.len() {
            let end = bytes[start..]
                .iter()
                .position(|b| *b == b'/')
                .map_or(bytes.len(), |n| start + n);
            if end > start {
                let name = &bytes[start..end];
                if name[0] == b'.'
                    && name == DOT_SNAPSHOT.as_bytes()
                    && let Some(dir) = at
                    && let Some(root) = self.root_of_snapshots(dir)
                {
                    self.walk_past(&mut out, bytes, start, (dir, root));
                    break;
                }
                out.components.push((start as u32, end as u32));
                out.depth += 1;
                at = at.and_then(|parent| self.child(parent, name));
                if let Some(slot) = at {
                    out.slots.push(slot);
                    out.ids.push(self.rec(slot).id());
                }
            }
            start = end + 1;
        }
        out.path = path;
        out
    }

    /// The rest of a path from `.snapshot` on: the name of a snapshot, and names as of it. `.snapshot` and the snapshot
    /// stand for the directory that has them, but at the end of a path `.snapshot` is no inode.
    #[cold]
    fn walk_past(&self, out: &mut InodesInPath<'_>, bytes: &[u8], start: usize, (dir, root): (Slot, &SnapshotRoot)) {
        out.dot_snapshot = out.depth;
        out.snapshot = root.newest().map_or(PRESENT, |newest| newest.id);
        let (mut at, mut start) = (Some(dir), start);
        for name in bytes[start..].split(|byte| *byte == b'/') {
            let end = start + name.len();
            if !name.is_empty() {
                out.components.push((start as u32, end as u32));
                at = match out.depth - out.dot_snapshot {
                    0 => at,
                    1 => at.filter(|_| {
                        let named = std::str::from_utf8(name).ok().and_then(|name| root.named(name));
                        out.snapshot = named.map_or(out.snapshot, |snapshot| snapshot.id);
                        named.is_some()
                    }),
                    _ => at.and_then(|dir| Some(self.inode_of(self.entry_at(dir, name, out.snapshot)?))),
                };
                out.depth += 1;
                if let Some(slot) = at {
                    out.slots.push(slot);
                    out.ids.push(self.rec(slot).id());
                }
            }
            start = end + 1;
        }
        if out.depth == out.dot_snapshot + 1 {
            out.slots.pop();
            out.ids.pop();
        }
    }

    /// The snapshots of a directory, if it is snapshottable.
    fn root_of_snapshots(&self, dir: Slot) -> Option<&SnapshotRoot> {
        let rec = self.rec(dir);
        let is_root = rec.is_dir() && rec.has(flag::MULTI_OR_SNAPSHOTTABLE);
        is_root.then(|| self.snapshots().roots().get(&rec.id().0)).flatten()
    }
}

impl<V: View> Paths for V {}

impl Namespace {
    /// Resolves a path as far as it exists. Refuses strings that are no path, and unknown ids below
    /// `/.reserved/.inodes`.
    pub fn resolve<'s>(&self, src: &'s str) -> Result<InodesInPath<'s>, Refused> {
        Paths::resolve(self, src)
    }

    /// The full path of an inode.
    #[must_use]
    pub fn path_of(&self, inode: InodeId) -> Option<String> {
        self.slot(inode).map(|slot| self.path_of_slot(slot))
    }

    /// `FSDirectory.verifyParentDir`.
    pub(crate) fn verify_parent_dir(&self, iip: &InodesInPath<'_>) -> Result<(), Refused> {
        if iip.depth > 2 {
            let parent = iip.prefix(iip.depth - 1);
            match iip.parent_slot() {
                None => {
                    return Err(refuse(
                        ex::FILE_NOT_FOUND,
                        format!("Parent directory doesn't exist: {parent}"),
                    ));
                }
                Some(slot) if !self.rec(slot).is_dir() => {
                    return Err(refuse(
                        ex::PARENT_NOT_DIRECTORY,
                        format!("Parent path is not a directory: {parent}"),
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Checks of a new child (`addLastINode`): reserved names, length of the name, room in the directory.
    pub(crate) fn verify_new_child(&self, parent: Option<Slot>, parent_path: &str, name: &str) -> Result<(), Refused> {
        if parent == Some(self.root()) && name == ".reserved" {
            return Err(refuse(
                ex::HADOOP_ILLEGAL_ARGUMENT,
                format!(
                    "File name \"{name}\" is reserved and cannot be created. If this is during upgrade change the \
                     name of the existing file or directory to another name before upgrading to the new release."
                ),
            ));
        }
        self.verify_component_length(parent_path, name)?;
        if let Some(parent) = parent {
            self.verify_room(parent, parent_path)?;
        }
        if name == ".snapshot" {
            return Err(refuse(ex::HADOOP_ILLEGAL_ARGUMENT, "\".snapshot\" is a reserved name."));
        }
        Ok(())
    }

    pub(crate) fn verify_component_length(&self, parent_path: &str, name: &str) -> Result<(), Refused> {
        let max = match self.config.max_component_len_bytes {
            0 => crate::store::names::MAX_NAME_LEN,
            max => max.min(crate::store::names::MAX_NAME_LEN),
        };
        if name.len() > max {
            return Err(refuse(
                ex::PATH_COMPONENT_TOO_LONG,
                format!(
                    "The maximum path component name limit of {name} in directory {parent_path} is exceeded: limit={max} length={}",
                    name.len()
                ),
            ));
        }
        Ok(())
    }

    pub(crate) fn verify_room(&self, parent: Slot, parent_path: &str) -> Result<(), Refused> {
        let (count, max) = (self.child_count(parent), self.config.max_directory_items);
        if count >= max {
            return Err(refuse(
                ex::MAX_DIRECTORY_ITEMS_EXCEEDED,
                format!("The directory item limit of {parent_path} is exceeded: limit={max} items={count}"),
            ));
        }
        Ok(())
    }

    /// Length and depth of a path that is to be created (`NameNodeRpcServer.checkPathLength`).
    #[must_use]
    pub fn is_path_length_ok(src: &str) -> bool {
        src.chars().count() <= MAX_PATH_LENGTH
            && src.split('/').filter(|part| !part.is_empty()).count() <= MAX_PATH_DEPTH
    }
}

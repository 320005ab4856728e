//! A storage directory of a daemon (`org.apache.hadoop.hdfs.server.common.Storage.StorageDirectory`).
//!
//! ```text
//! <root>/in_use.lock
//! <root>/current/VERSION ...        what is served
//! <root>/previous/...               what can be rolled back to
//! <root>/{previous,removed,finalized,lastcheckpoint}.tmp    a transition that was under way
//! <root>/current.new/...            what will be served, while it is made
//! ```
//! Every transition is a row of renames that [`StorageDirectory::analyze`] can recognize half-done and
//! [`StorageDirectory::recover`] completes or takes back. A format is one, too: `current.new` is made whole first
//! ([`crate::birth`]).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use hathi_formats::ids::{LayoutVersion, NamespaceInfo};

use crate::disk::Disk;

/// What went wrong with a storage directory.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The disk said so.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// `InconsistentFSStateException`: the directory is in no state that a crash could leave.
    #[error("Directory {path} is in an inconsistent state: {what}")]
    Inconsistent {
        /// Where.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// The disk did not let the lock be taken.
    #[error("cannot lock {path}: {source}")]
    CannotLock {
        /// The file of the lock.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// Another process uses the directory.
    #[error("Cannot lock storage {path}. The directory is already locked")]
    Locked {
        /// Where.
        path: PathBuf,
    },
    /// It would have to be formatted by force.
    #[error("Can't format the storage directory because the current directory is not empty: {path}")]
    NotEmpty {
        /// Where.
        path: PathBuf,
    },
}

type StorageResult<T> = Result<T, StorageError>;

/// In which state a storage directory was found (`Storage.StorageState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageState {
    /// The root is not there.
    NonExistent,
    /// There is no VERSION.
    NotFormatted,
    /// An upgrade only has to be renamed into place.
    CompleteUpgrade,
    /// An upgrade has to be taken back.
    RecoverUpgrade,
    /// The removal of `previous` was under way.
    CompleteFinalize,
    /// A rollback only has to be cleaned up.
    CompleteRollback,
    /// A rollback has to be taken back.
    RecoverRollback,
    /// An old style checkpoint has to be completed.
    CompleteCheckpoint,
    /// An old style checkpoint has to be taken back.
    RecoverCheckpoint,
    /// Formatted and whole.
    Normal,
}

/// `storageType` of VERSION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeType {
    /// `NAME_NODE`
    NameNode,
    /// `DATA_NODE`
    DataNode,
    /// `JOURNAL_NODE`
    JournalNode,
}

impl NodeType {
    /// The word in VERSION.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NodeType::NameNode => "NAME_NODE",
            NodeType::DataNode => "DATA_NODE",
            NodeType::JournalNode => "JOURNAL_NODE",
        }
    }
}

/// The properties of a VERSION file, all of them kept, also those we have no name for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionFile {
    properties: BTreeMap<String, String>,
}

impl VersionFile {
    /// What a NameNode or JournalNode writes.
    #[must_use]
    pub fn new(node_type: NodeType, info: &NamespaceInfo) -> Self {
        let mut version = VersionFile::default();
        version.set("storageType", node_type.as_str());
        version.set_namespace_info(info);
        if node_type == NodeType::NameNode {
            version.set("blockpoolID", &info.block_pool_id);
        }
        version
    }

    /// A property.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }

    /// Sets a property.
    pub fn set(&mut self, key: &str, value: &str) {
        self.properties.insert(key.to_owned(), value.to_owned());
    }

    /// Takes layout version, namespace, cluster and ctime from `info`.
    pub fn set_namespace_info(&mut self, info: &NamespaceInfo) {
        self.set("namespaceID", &info.namespace_id.to_string());
        self.set("clusterID", &info.cluster_id);
        self.set("cTime", &info.ctime.to_string());
        self.set("layoutVersion", &info.layout_version.to_string());
    }

    /// Layout version, namespace, cluster, ctime and (of a NameNode) block pool.
    pub fn namespace_info(&self, path: &Path) -> StorageResult<NamespaceInfo> {
        Ok(NamespaceInfo {
            layout_version: LayoutVersion(self.number(path, "layoutVersion")?),
            // Java's int may be negative in the file; the wire has it as uint32.
            namespace_id: self.number::<i64>(path, "namespaceID")? as u32,
            cluster_id: self.get("clusterID").unwrap_or_default().to_owned(),
            ctime: self.number(path, "cTime")?,
            block_pool_id: self.get("blockpoolID").unwrap_or_default().to_owned(),
        })
    }

    fn number<T: std::str::FromStr>(&self, path: &Path, key: &str) -> StorageResult<T> {
        self.get(key)
            .and_then(|value| value.trim().parse().ok())
            .ok_or_else(|| StorageError::Inconsistent {
                path: path.to_owned(),
                what: format!("file VERSION has {key} missing or not a number"),
            })
    }

    /// From the text of `java.util.Properties`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut version = VersionFile::default();
        for line in text.lines() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (key, value) = split_property(line);
            version.properties.insert(key, value);
        }
        version
    }

    /// As text of `java.util.Properties`, without the comment that holds Java's date.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.properties {
            put_escaped(&mut text, key, true);
            text.push('=');
            put_escaped(&mut text, value, false);
            text.push('\n');
        }
        text
    }
}

/// As `Properties.store` writes it: Java reads the file as ISO 8859-1, so what is not ASCII is spelled out. In a value a
/// blank needs an escape only at the beginning.
fn put_escaped(text: &mut String, part: &str, is_key: bool) {
    for (at, c) in part.chars().enumerate() {
        match c {
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\u{C}' => text.push_str("\\f"),
            ' ' if !is_key && at > 0 => text.push(c),
            ' ' | ':' | '=' | '#' | '!' | '\\' => text.extend(['\\', c]),
            '!'..='~' => text.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04X}"));
                }
            }
        }
    }
}

/// Key and value of a line: the key ends at the first blank, `=` or `:` that is not escaped.
fn split_property(line: &str) -> (String, String) {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\u{C}');
    let mut is_escaped = false;
    let end = line.find(|c: char| {
        let ends = !is_escaped && (blank(c) || matches!(c, '=' | ':'));
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    let (key, rest) = line.split_at_checked(end.unwrap_or(line.len())).unwrap_or((line, ""));
    let rest = rest.trim_start_matches(blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(blank);
    (unescaped(key), unescaped(value))
}

fn unescaped(text: &str) -> String {
    // Characters beyond the BMP are spelled as two surrogates.
    let mut units = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let c = match c {
            '\\' => match rest.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{C}',
                Some('u') => {
                    let spelled = rest.as_str().split_at_checked(4);
                    let unit = spelled.and_then(|(digits, after)| Some((hexadecimal(digits)?, after)));
                    if let Some((unit, after)) = unit {
                        units.push(unit);
                        rest = after.chars();
                        continue;
                    }
                    'u'
                }
                Some(other) => other,
                None => break,
            },
            c => c,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16_lossy(&units)
}

fn hexadecimal(digits: &str) -> Option<u16> {
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| all_digits)
}

/// One storage directory on a disk.
#[derive(Clone, Debug)]
pub struct StorageDirectory<D: Disk> {
    disk: D,
    root: PathBuf,
    lock: Option<D::Lock>,
}

impl<D: Disk> StorageDirectory<D> {
    /// Names a directory; does nothing yet.
    pub fn new(disk: D, root: impl Into<PathBuf>) -> Self {
        StorageDirectory {
            disk,
            root: root.into(),
            lock: None,
        }
    }

    /// The disk it is on.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `current`
    #[must_use]
    pub fn current(&self) -> PathBuf {
        self.root.join("current")
    }

    /// `previous`
    #[must_use]
    pub fn previous(&self) -> PathBuf {
        self.root.join("previous")
    }

    /// `current/VERSION`
    #[must_use]
    pub fn version_path(&self) -> PathBuf {
        self.current().join("VERSION")
    }

    fn tmp(&self, what: &str) -> PathBuf {
        self.root.join(format!("{what}.tmp"))
    }

    fn has(&self, path: &Path) -> StorageResult<bool> {
        self.disk.exists(path).map_err(at(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> StorageResult<()> {
        debug_assert!(
            from.parent() == Some(&self.root) && to.parent() == Some(&self.root),
            "a sync of the root makes both names durable"
        );
        self.disk.rename(from, to).map_err(at(from))?;
        self.disk.sync_dir(&self.root).map_err(at(&self.root))
    }

    fn remove(&self, path: &Path) -> StorageResult<()> {
        if self.has(path)? {
            self.disk.remove_dir_all(path).map_err(at(path))?;
            self.disk.sync_dir(&self.root).map_err(at(&self.root))?;
        }
        Ok(())
    }

    fn make(&self, path: &Path) -> StorageResult<()> {
        make_dirs(&self.disk, path).map_err(at(path))
    }

    /// Takes `in_use.lock`; `holder` is `pid@host`.
    pub fn lock(&mut self, holder: &str) -> StorageResult<()> {
        debug_assert!(self.lock.is_none(), "who has the lock does not ask for it");
        let path = self.root.join("in_use.lock");
        let lock = self.disk.lock(&path, holder);
        match lock.map_err(|source| StorageError::CannotLock { path, source })? {
            Some(lock) => {
                self.lock = Some(lock);
                Ok(())
            }
            None => Err(StorageError::Locked {
                path: self.root.clone(),
            }),
        }
    }

    /// Takes `in_use.lock` unless it is held by us already.
    pub fn lock_again(&mut self, holder: &str) -> StorageResult<()> {
        if self.lock.is_none() { self.lock(holder) } else { Ok(()) }
    }

    /// Lets go of `in_use.lock`.
    pub fn unlock(&mut self) {
        self.lock = None;
    }

    /// Finds out in which state the directory is (`StorageDirectory.analyzeStorage`); changes nothing.
    pub fn analyze(&self) -> StorageResult<StorageState> {
        if !self.has(&self.root)? {
            return Ok(StorageState::NonExistent);
        }
        let inconsistent = |what: &str| StorageError::Inconsistent {
            path: self.root.clone(),
            what: what.to_owned(),
        };
        let current = self.has(&self.version_path())?;
        let previous = self.has(&self.previous())?;
        let previous_tmp = self.has(&self.tmp("previous"))?;
        let removed_tmp = self.has(&self.tmp("removed"))?;
        let finalized_tmp = self.has(&self.tmp("finalized"))?;
        let checkpoint_tmp = self.has(&self.tmp("lastcheckpoint"))?;
        let transitions = [previous_tmp, removed_tmp, finalized_tmp, checkpoint_tmp];
        match transitions.iter().filter(|found| **found).count() {
            0 if current => return Ok(StorageState::Normal),
            0 if previous => {
                return Err(inconsistent("version file in current directory is missing"));
            }
            0 => return Ok(StorageState::NotFormatted),
            1 => {}
            _ => return Err(inconsistent("too many temporary directories")),
        }
        if checkpoint_tmp {
            return Ok(if current {
                StorageState::CompleteCheckpoint
            } else {
                StorageState::RecoverCheckpoint
            });
        }
        if finalized_tmp {
            if previous {
                return Err(inconsistent("previous and finalized.tmp cannot exist together"));
            }
            return Ok(StorageState::CompleteFinalize);
        }
        if previous_tmp {
            if previous {
                return Err(inconsistent("previous and previous.tmp cannot exist together"));
            }
            return Ok(if current {
                StorageState::CompleteUpgrade
            } else {
                StorageState::RecoverUpgrade
            });
        }
        match (current, previous) {
            (true, false) => Ok(StorageState::CompleteRollback),
            (false, true) => Ok(StorageState::RecoverRollback),
            _ => Err(inconsistent(
                "exactly one of current and previous must exist beside removed.tmp",
            )),
        }
    }

    /// Completes or takes back a transition that [`StorageDirectory::analyze`] found half-done
    /// (`StorageDirectory.doRecover`).
    pub fn recover(&self, state: StorageState) -> StorageResult<()> {
        self.complete(state)?;
        debug_assert!(
            match self.analyze() {
                Ok(now) => matches!(
                    now,
                    StorageState::NonExistent | StorageState::NotFormatted | StorageState::Normal
                ),
                // A disk that fails says nothing.
                Err(error) => matches!(error, StorageError::Io { .. }),
            },
            "nothing is under way after a recovery of {state:?}"
        );
        Ok(())
    }

    fn complete(&self, state: StorageState) -> StorageResult<()> {
        match state {
            StorageState::CompleteUpgrade => self.rename(&self.tmp("previous"), &self.previous()),
            StorageState::RecoverUpgrade => {
                self.remove(&self.current())?;
                self.rename(&self.tmp("previous"), &self.current())
            }
            StorageState::CompleteRollback => self.remove(&self.tmp("removed")),
            StorageState::RecoverRollback => self.rename(&self.tmp("removed"), &self.current()),
            StorageState::CompleteFinalize => self.remove(&self.tmp("finalized")),
            StorageState::CompleteCheckpoint => {
                let checkpoint = self.root.join("previous.checkpoint");
                self.remove(&checkpoint)?;
                self.rename(&self.tmp("lastcheckpoint"), &checkpoint)
            }
            StorageState::RecoverCheckpoint => {
                self.remove(&self.current())?;
                self.rename(&self.tmp("lastcheckpoint"), &self.current())
            }
            StorageState::NonExistent | StorageState::NotFormatted | StorageState::Normal => Ok(()),
        }
    }

    /// Reads VERSION; `None` when there is none.
    pub fn read_version(&self) -> StorageResult<Option<VersionFile>> {
        self.read_version_of(&self.current())
    }

    /// Reads the VERSION of `current`, `previous` or another directory of this storage.
    pub fn read_version_of(&self, dir: &Path) -> StorageResult<Option<VersionFile>> {
        let path = dir.join("VERSION");
        let Some(data) = self.disk.read_small(&path).map_err(at(&path))? else {
            return Ok(None);
        };
        Ok(Some(VersionFile::parse(&String::from_utf8_lossy(&data))))
    }

    /// Replaces VERSION, durably.
    pub fn write_version(&self, version: &VersionFile) -> StorageResult<()> {
        let path = self.version_path();
        let text = version.to_text();
        debug_assert_eq!(&VersionFile::parse(&text), version, "VERSION is read back as it is");
        self.disk.write_small(&path, text.as_bytes()).map_err(at(&path))
    }

    /// Replaces `current` by an empty one with this VERSION, at once: a crash leaves what there was, or the new one.
    /// Without `force` a `current` that holds something is refused.
    pub fn format(&self, version: &VersionFile, force: bool) -> StorageResult<()> {
        self.format_with(version, force, &[])
    }

    /// [`StorageDirectory::format`] with small files beside VERSION.
    pub fn format_with(&self, version: &VersionFile, force: bool, files: &[(&str, &[u8])]) -> StorageResult<()> {
        debug_assert!(
            files.iter().all(|(name, _)| *name != "VERSION"),
            "a directory counts as formatted when it is whole"
        );
        if !force && self.has_some_data()? {
            return Err(StorageError::NotEmpty { path: self.current() });
        }
        let new = self.begin_new()?;
        for (name, data) in files {
            let path = new.join(name);
            self.disk.write_small(&path, data).map_err(at(&path))?;
        }
        self.finish_new(version)?;
        self.place_new()
    }

    /// Whether there is something that a format would destroy (`StorageDirectory.hasSomeData`). What a format was about to
    /// replace when it ended counts.
    pub fn has_some_data(&self) -> StorageResult<bool> {
        for path in [self.current(), self.tmp("lastcheckpoint")] {
            if self.has(&path)? && !self.disk.list(&path).map_err(at(&path))?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `current.new`, where a new `current` is made.
    #[must_use]
    pub fn new_current(&self) -> PathBuf {
        self.root.join("current.new")
    }

    /// Makes `current.new`, empty. One that was left by a format that did not end is removed.
    pub fn begin_new(&self) -> StorageResult<PathBuf> {
        self.make(&self.root)?;
        // A format that ended while it put a new directory in its place is taken back.
        if self.has(&self.tmp("lastcheckpoint"))?
            && let Ok(state) = self.analyze()
        {
            self.recover(state)?;
        }
        self.discard_new()?;
        let new = self.new_current();
        self.make(&new)?;
        Ok(new)
    }

    /// Nothing more is written to `current.new`. VERSION comes last: with it the directory is whole.
    pub fn finish_new(&self, version: &VersionFile) -> StorageResult<()> {
        let new = self.new_current();
        // Names of files that were not written by `write_small`.
        self.disk.sync_dir(&new).map_err(at(&new))?;
        let path = new.join("VERSION");
        self.disk
            .write_small(&path, version.to_text().as_bytes())
            .map_err(at(&path))
    }

    /// The VERSION of a `current.new` that is whole.
    pub fn finished_new(&self) -> StorageResult<Option<VersionFile>> {
        self.read_version_of(&self.new_current())
    }

    /// Removes `current.new`, if there is one. It counts as unfinished from the first step on.
    pub fn discard_new(&self) -> StorageResult<()> {
        let new = self.new_current();
        let version = new.join("VERSION");
        if self.has(&version)? {
            self.disk.remove_file(&version).map_err(at(&version))?;
            self.disk.sync_dir(&new).map_err(at(&new))?;
        }
        self.remove(&new)
    }

    /// Puts a `current.new` that is whole in the place of `current`. Until the second rename a recovery, also Hadoop's, takes
    /// it back; from then on `current` is the new one.
    pub fn place_new(&self) -> StorageResult<()> {
        debug_assert!(
            !matches!(self.finished_new(), Ok(None)),
            "what is not whole takes no place"
        );
        let (current, old) = (self.current(), self.tmp("lastcheckpoint"));
        let replaces = self.has(&current)?;
        if replaces {
            self.remove(&old)?;
            self.rename(&current, &old)?;
        }
        self.rename(&self.new_current(), &current)?;
        if replaces {
            // A recovery completes the removal of this one, and keeps the other.
            let removed = self.tmp("removed");
            if !self.has(&self.previous())? && !self.has(&removed)? {
                self.rename(&old, &removed)?;
                return self.remove(&removed);
            }
            return self.remove(&old);
        }
        Ok(())
    }

    /// First half of an upgrade (`NNUpgradeUtil.doPreUpgrade`): `current` becomes `previous.tmp`, and the files whose
    /// names begin with `edits` get a second name in the new `current`.
    pub fn pre_upgrade(&self) -> StorageResult<()> {
        if self.has(&self.previous())? {
            return Err(StorageError::Inconsistent {
                path: self.root.clone(),
                what: "previous fs state should not exist during upgrade. Finalize or rollback first".to_owned(),
            });
        }
        let (current, previous_tmp) = (self.current(), self.tmp("previous"));
        self.rename(&current, &previous_tmp)?;
        self.make(&current)?;
        for entry in self.disk.list(&previous_tmp).map_err(at(&previous_tmp))? {
            if entry.name.starts_with("edits") && !entry.is_dir {
                let (from, to) = (previous_tmp.join(&entry.name), current.join(&entry.name));
                self.disk.hard_link(&from, &to).map_err(at(&from))?;
            }
        }
        self.disk.sync_dir(&current).map_err(at(&current))
    }

    /// Second half of an upgrade (`NNUpgradeUtil.doUpgrade`): VERSION, then `previous.tmp` becomes `previous`.
    pub fn upgrade(&self, version: &VersionFile) -> StorageResult<()> {
        self.write_version(version)?;
        self.rename(&self.tmp("previous"), &self.previous())
    }

    /// Removes `previous` (`NNUpgradeUtil.doFinalize`); nothing to do without one.
    pub fn finalize(&self) -> StorageResult<()> {
        if !self.has(&self.previous())? {
            return Ok(());
        }
        self.rename(&self.previous(), &self.tmp("finalized"))?;
        self.remove(&self.tmp("finalized"))
    }

    /// Whether `previous` is there and of the layout version wanted (`NNUpgradeUtil.canRollBack`).
    pub fn can_roll_back(&self, target: LayoutVersion) -> StorageResult<bool> {
        let previous = self.previous();
        if !self.has(&previous)? {
            return Ok(false);
        }
        let info = match self.read_version_of(&previous)? {
            Some(version) => version.namespace_info(&previous)?,
            None => NamespaceInfo::default(),
        };
        if info.layout_version != target {
            return Err(StorageError::Inconsistent {
                path: previous,
                what: format!(
                    "cannot rollback to storage version {} using this version, which uses storage version {target}",
                    info.layout_version
                ),
            });
        }
        Ok(true)
    }

    /// Puts `previous` back in place of `current` (`NNUpgradeUtil.doRollBack`); nothing to do without one.
    pub fn roll_back(&self) -> StorageResult<()> {
        if !self.has(&self.previous())? {
            return Ok(());
        }
        self.rename(&self.current(), &self.tmp("removed"))?;
        self.rename(&self.previous(), &self.current())?;
        self.remove(&self.tmp("removed"))
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StorageError + use<> {
    let path = path.to_owned();
    move |source| StorageError::Io { path, source }
}

/// Makes a directory and what is missing above it. A name is there after a power cut only when the directory that holds it
/// was synced, so that is done for each one made.
///
/// # Errors
/// As [`Disk::create_dir_all`] and [`Disk::sync_dir`].
pub fn make_dirs<D: Disk>(disk: &D, path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    for dir in path.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
        if disk.exists(dir)? {
            break;
        }
        missing.push(dir);
    }
    disk.create_dir_all(path)?;
    let holders = missing.into_iter().filter_map(Path::parent);
    holders
        .filter(|holder| !holder.as_os_str().is_empty())
        .try_for_each(|holder| disk.sync_dir(holder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::OsDisk;

    fn info() -> NamespaceInfo {
        NamespaceInfo {
            layout_version: LayoutVersion(-67),
            namespace_id: 1_234_567,
            cluster_id: "CID-1:2".to_owned(),
            ctime: 0,
            block_pool_id: "BP-1".to_owned(),
        }
    }

    fn formatted() -> (tempfile::TempDir, StorageDirectory<OsDisk>) {
        let root = tempfile::tempdir().unwrap();
        let dir = StorageDirectory::new(OsDisk, root.path().join("ns"));
        assert_eq!(dir.analyze().unwrap(), StorageState::NonExistent);
        dir.format(&VersionFile::new(NodeType::JournalNode, &info()), false)
            .unwrap();
        (root, dir)
    }

    #[test]
    fn version_is_java_properties() {
        let text = "#Sat Nov 21 03:00:00 UTC 2026\nnamespaceID=7\nclusterID=CID-a\\:b\ncTime=0\nstorageType=NAME_NODE\nblockpoolID = BP-1\nlayoutVersion=-67\n";
        let version = VersionFile::parse(text);
        assert_eq!(version.get("clusterID"), Some("CID-a:b"));
        assert_eq!(version.get("blockpoolID"), Some("BP-1"));
        assert_eq!(VersionFile::parse(&version.to_text()), version);
        let parsed = version.namespace_info(Path::new("x")).unwrap();
        assert_eq!((parsed.namespace_id, parsed.layout_version.0), (7, -67));
    }

    #[test]
    fn a_property_with_anything_in_key_and_value_comes_back_and_is_ascii_as_javas() {
        let mut version = VersionFile::default();
        version.set("a key\\u0041=:#! \t", " a value \\ \n\r\u{C}\t= :");
        version.set("clusterID", "CID-é😀");
        let text = version.to_text();
        assert!(text.is_ascii() && text.lines().count() == 2, "{text}");
        assert!(text.contains("clusterID=CID-\\u00E9\\uD83D\\uDE00\n"), "{text}");
        assert_eq!(VersionFile::parse(&text), version);
        let javas = VersionFile::parse("clusterID : CID-\\u00e9\ncTime\t0\nempty\nbroken=\\u00\n");
        assert_eq!(javas.get("clusterID"), Some("CID-é"));
        assert_eq!((javas.get("cTime"), javas.get("empty")), (Some("0"), Some("")));
        assert_eq!(javas.get("broken"), Some("u00"));
    }

    #[test]
    fn format_is_refused_on_something_unless_forced() {
        let (_root, dir) = formatted();
        let version = VersionFile::new(NodeType::JournalNode, &info());
        assert_eq!(dir.analyze().unwrap(), StorageState::Normal);
        assert!(matches!(
            dir.format(&version, false),
            Err(StorageError::NotEmpty { .. })
        ));
        dir.format(&version, true).unwrap();
        let read = dir.read_version().unwrap().unwrap();
        assert_eq!(read.namespace_info(dir.root()).unwrap().cluster_id, "CID-1:2");
        assert_eq!(read.get("storageType"), Some("JOURNAL_NODE"));
    }

    #[test]
    fn upgrade_finalize_and_roll_back_follow_the_renames() {
        let (_root, dir) = formatted();
        std::fs::write(dir.current().join("edits_1"), b"x").unwrap();
        std::fs::write(dir.current().join("committed-txid"), b"x").unwrap();
        dir.pre_upgrade().unwrap();
        assert_eq!(dir.analyze().unwrap(), StorageState::RecoverUpgrade);
        dir.recover(StorageState::RecoverUpgrade).unwrap();
        assert_eq!(dir.analyze().unwrap(), StorageState::Normal);
        assert!(dir.current().join("committed-txid").exists());

        dir.pre_upgrade().unwrap();
        assert!(dir.current().join("edits_1").exists());
        assert!(!dir.current().join("committed-txid").exists());
        let mut newer = info();
        newer.ctime = 5;
        dir.upgrade(&VersionFile::new(NodeType::JournalNode, &newer)).unwrap();
        assert_eq!(dir.analyze().unwrap(), StorageState::Normal);
        assert!(dir.can_roll_back(LayoutVersion(-67)).unwrap());
        assert!(dir.can_roll_back(LayoutVersion(-66)).is_err());
        dir.roll_back().unwrap();
        assert_eq!(
            dir.read_version()
                .unwrap()
                .unwrap()
                .namespace_info(dir.root())
                .unwrap()
                .ctime,
            0
        );
        assert!(!dir.can_roll_back(LayoutVersion(-67)).unwrap());
        dir.finalize().unwrap();
    }

    #[test]
    fn one_process_holds_a_directory() {
        let (_root, mut dir) = formatted();
        dir.lock("1@a").unwrap();
        let mut other = StorageDirectory::new(OsDisk, dir.root());
        assert!(matches!(other.lock("2@a"), Err(StorageError::Locked { .. })));
        dir.unlock();
        other.lock("2@a").unwrap();
    }

    #[test]
    fn a_formatted_directory_is_there_after_a_power_cut_with_all_that_was_made_above_it() {
        let disk = crate::SimDisk::new();
        disk.lose_directories_whole();
        let dir = StorageDirectory::new(disk.clone(), "/journals/of/ns");
        let version = VersionFile::new(NodeType::JournalNode, &info());
        dir.format_with(&version, false, &[]).unwrap();
        disk.lose_power(&mut |_| 0);
        assert_eq!(dir.analyze().unwrap(), StorageState::Normal);
    }
}

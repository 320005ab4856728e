//! A model of the tree as it was after each transaction of the journal: what an answer may show.
//!
//! It knows nothing of the production's namespace. It is made of the ops that a quorum has, in the order of their
//! transactions.

use hathi_formats::editlog::{EditOp, RenameOption};
use std::collections::BTreeMap;

/// What an answer tells of an inode. The modification time of a directory is not compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its inode id.
    pub id: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Permission bits.
    pub mode: u16,
    /// Modification time of a file.
    pub mtime: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// What each path named after which transaction.
    versions: BTreeMap<String, Vec<(u64, Option<Node>)>>,
    /// The transactions of each call that is served once.
    calls: BTreeMap<([u8; 16], i32), Vec<u64>>,
    /// When each file was closed.
    closed: BTreeMap<u64, u64>,
    last: u64,
}

impl Tree {
    /// The last transaction.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// What a path named after a transaction.
    pub fn at(&self, path: &str, txid: u64) -> Option<&Node> {
        let versions = self.versions.get(path)?;
        let behind = versions.partition_point(|(since, _)| *since <= txid);
        versions.get(behind.checked_sub(1)?)?.1.as_ref()
    }

    /// Whether a path named something after a transaction.
    pub fn exists(&self, path: &str, txid: u64) -> bool {
        path == "/" || self.at(path, txid).is_some()
    }

    /// Names and inode ids in a directory after a transaction; of a file its own id without a name; `None`: no such path.
    pub fn list(&self, path: &str, txid: u64) -> Option<BTreeMap<String, u64>> {
        if path != "/" {
            let node = self.at(path, txid)?;
            if !node.is_dir {
                return Some(BTreeMap::from([(String::new(), node.id)]));
            }
        }
        let prefix = directory(path);
        let below = self
            .versions
            .range(prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(&prefix));
        let children = below.filter_map(|(child, _)| {
            let name = child.get(prefix.len()..)?;
            let node = self.at(child, txid).filter(|_| !name.contains('/'))?;
            Some((name.to_owned(), node.id))
        });
        Some(children.collect())
    }

    /// The transactions between `from` and `to` after which something about these paths, or what is below and above
    /// them, may have become another: `from` itself, and each later one that changed it.
    pub fn moments(&self, paths: &[&str], from: u64, to: u64) -> Vec<u64> {
        let concerns = |name: &str| {
            paths
                .iter()
                .any(|path| name.starts_with(*path) || path.starts_with(&directory(name)))
        };
        let mut moments = vec![from];
        for (_, versions) in self.versions.iter().filter(|(name, _)| concerns(name)) {
            let since = versions.partition_point(|(since, _)| *since <= from);
            let later = versions.iter().skip(since).map(|(since, _)| *since);
            moments.extend(later.take_while(|since| *since <= to));
        }
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    /// The transactions of a call that is served once.
    pub fn transactions_of(&self, client_id: [u8; 16], call_id: i32) -> &[u64] {
        self.calls.get(&(client_id, call_id)).map_or(&[], Vec::as_slice)
    }

    /// The transaction with which a file was closed.
    pub fn closed(&self, file: u64) -> Option<u64> {
        self.closed.get(&file).copied()
    }

    fn put(&mut self, path: &str, node: Option<Node>) {
        let txid = self.last;
        self.versions.entry(path.to_owned()).or_default().push((txid, node));
    }

    fn change(&mut self, path: &str, change: impl FnOnce(&mut Node)) {
        if path == "/" {
            return;
        }
        if let Some(mut node) = self.at(path, self.last).cloned() {
            change(&mut node);
            self.put(path, Some(node));
        }
    }

    /// A path and everything below it, now.
    fn subtree(&self, path: &str) -> Vec<(String, Node)> {
        let prefix = directory(path);
        let below = self
            .versions
            .range(prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(&prefix));
        let own = self.versions.get_key_value(path).into_iter();
        own.chain(below)
            .filter_map(|(name, _)| Some((name.clone(), self.at(name, self.last)?.clone())))
            .collect()
    }

    fn remove(&mut self, path: &str) {
        for (name, _) in self.subtree(path) {
            self.put(&name, None);
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        for (name, node) in self.subtree(from) {
            self.put(&name, None);
            let rest = name.get(from.len()..).unwrap_or_default();
            self.put(&format!("{to}{rest}"), Some(node));
        }
    }

    /// The next transaction.
    pub fn apply(&mut self, txid: u64, op: &EditOp) {
        self.last = txid;
        let ids = op.rpc_ids().and_then(|ids| ids.get());
        if let Some(call) = ids {
            self.calls.entry(call).or_default().push(txid);
        }
        match op {
            EditOp::Mkdir {
                inode_id,
                path,
                permissions,
                ..
            } => {
                let node = Node {
                    id: inode_id.0,
                    is_dir: true,
                    mode: permissions.mode,
                    mtime: 0,
                };
                self.put(path, Some(node));
            }
            EditOp::Add(add) => {
                let node = Node {
                    id: add.inode_id.0,
                    is_dir: false,
                    mode: add.permissions.mode,
                    mtime: add.mtime as u64,
                };
                self.put(&add.path, Some(node));
            }
            EditOp::Close(close) => {
                if let Some(node) = self.at(&close.path, txid) {
                    self.closed.insert(node.id, txid);
                }
                self.change(&close.path, |node| node.mtime = close.mtime as u64);
            }
            EditOp::Delete { path, .. } => self.remove(path),
            EditOp::Rename { src, dst, options, .. } => {
                if options.contains(&RenameOption::Overwrite) {
                    self.remove(dst);
                }
                self.rename(src, dst);
            }
            EditOp::RenameOld { src, dst, .. } => self.rename(src, dst),
            EditOp::SetPermissions { src, mode } => self.change(src, |node| node.mode = *mode),
            EditOp::Times { path, mtime, .. } => {
                let mtime = *mtime;
                self.change(path, |node| {
                    if !node.is_dir && mtime >= 0 {
                        node.mtime = mtime as u64;
                    }
                });
            }
            _ => {}
        }
    }
}

/// The beginning of the paths in a directory.
fn directory(path: &str) -> String {
    match path {
        "/" => "/".to_owned(),
        path => format!("{path}/"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use hathi_formats::editlog::{AddOp, PermissionStatus, RpcIds};
    use hathi_formats::ids::InodeId;

    pub(crate) fn mkdir(id: u64, path: &str) -> EditOp {
        EditOp::Mkdir {
            inode_id: InodeId(id),
            path: path.to_owned(),
            time: 1,
            permissions: PermissionStatus {
                mode: 0o755,
                ..PermissionStatus::default()
            },
            acl_entries: Vec::new(),
            xattrs: Vec::new(),
        }
    }

    pub(crate) fn create(id: u64, path: &str, call_id: i32) -> EditOp {
        EditOp::Add(AddOp {
            inode_id: InodeId(id),
            path: path.to_owned(),
            rpc_ids: RpcIds::new([1; 16], call_id),
            ..AddOp::default()
        })
    }

    #[test]
    fn each_state_can_be_asked_for() {
        let mut tree = Tree::default();
        tree.apply(1, &mkdir(10, "/a"));
        tree.apply(2, &create(11, "/a/f", 5));
        tree.apply(
            3,
            &EditOp::Rename {
                src: "/a".to_owned(),
                dst: "/b".to_owned(),
                time: 0,
                options: Vec::new(),
                rpc_ids: RpcIds::new([1; 16], 6),
            },
        );
        tree.apply(
            4,
            &EditOp::Delete {
                path: "/b/f".to_owned(),
                time: 0,
                rpc_ids: RpcIds::NONE,
            },
        );
        let list = |path, txid| tree.list(path, txid).map(|list| list.into_keys().collect::<Vec<_>>());
        assert!(!tree.exists("/a", 0) && tree.exists("/a", 2) && !tree.exists("/a", 3));
        assert_eq!(list("/", 1), Some(vec!["a".to_owned()]));
        assert_eq!(list("/b", 3), Some(vec!["f".to_owned()]));
        assert_eq!(list("/b", 4), Some(Vec::new()));
        assert_eq!(list("/a", 3), None);
        assert_eq!(tree.at("/b/f", 3).map(|node| node.id), Some(11));
        assert_eq!(tree.transactions_of([1; 16], 6), [3]);
        assert_eq!(tree.moments(&["/b"], 1, 4), [1, 3, 4]);
        assert_eq!(tree.moments(&["/b/f"], 3, 4), [3, 4]);
    }
}

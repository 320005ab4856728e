//! Snapshots.

use super::tree::{Node, split};
use super::world::{Classes, World, agree};
use super::*;
use std::collections::BTreeMap;

impl World {
    pub(super) fn allow_snapshots(&mut self) {
        let path = self.dir_path();
        if self.random.u8(..4) == 0 {
            let request = DisallowSnapshotRequestProto {
                snapshot_root: path.clone(),
            };
            let has = self.root.find(&path).ok().and_then(Node::dir);
            let has = has.map(|dir| dir.snapshots.as_ref().is_some_and(|all| !all.is_empty()));
            let expected: Result<(), Classes> = match has {
                Some(false) => Ok(()),
                Some(true) => Err(&[exceptions::SNAPSHOT]),
                None => Err(&[]),
            };
            let answer = self.call(&request);
            agree(&request, &answer, expected);
            if let (Ok(_), Some(dir)) = (answer, self.root.find_mut(&path).and_then(Node::dir_mut)) {
                dir.snapshots = None;
            }
            return;
        }
        let near = self.root.any_on_the_way(&path, |dir| dir.quota.is_some());
        if near || self.root.find(&path).is_ok_and(Node::holds_quotas) {
            return;
        }
        let request = AllowSnapshotRequestProto {
            snapshot_root: path.clone(),
        };
        let above = self.root.any_on_the_way(split(&path).0, |dir| dir.snapshots.is_some());
        let below = self.root.find(&path).ok().and_then(Node::dir).is_some_and(|dir| {
            let mut children = dir.children.values();
            children.any(Node::holds_snapshottable)
        });
        let is_dir = self.root.is_dir_at(&path);
        let is_already = self.root.find(&path).ok().and_then(Node::dir);
        let is_already = is_already.is_some_and(|dir| dir.snapshots.is_some());
        let answer = self.call(&request);
        let fits = is_dir && (is_already || (!above && !below));
        agree(&request, &answer, if fits { Ok(()) } else { Err(&[]) });
        if let (Ok(_), Some(dir)) = (answer, self.root.find_mut(&path).and_then(Node::dir_mut)) {
            dir.snapshots.get_or_insert_default();
        }
    }

    /// The path of a snapshottable directory, or of another one.
    pub(super) fn snapshottable(&mut self) -> String {
        let mut found = Vec::new();
        let mut stack = vec![(String::new(), &self.root)];
        while let Some((path, node)) = stack.pop() {
            let Some(dir) = node.dir() else { continue };
            if dir.snapshots.is_some() {
                found.push(path.clone());
            }
            stack.extend(
                dir.children
                    .iter()
                    .map(|(name, child)| (format!("{path}/{name}"), child)),
            );
        }
        if found.is_empty() || self.random.u8(..10) == 0 {
            return self.dir_path();
        }
        found.swap_remove(self.random.usize(..found.len()))
    }

    pub(super) fn snapshots_of(&mut self, path: &str) -> Option<&mut BTreeMap<String, Node>> {
        self.root.find_mut(path)?.dir_mut()?.snapshots.as_mut()
    }

    pub(super) fn create_snapshot(&mut self) {
        let path = self.snapshottable();
        let name = format!("s{}", self.random.u8(..5));
        // The length of a file that is being written is that of the present until it is closed.
        let open = |node: &&Node| node.file().is_some_and(|file| file.is_open);
        if self.root.find(&path).is_ok_and(|node| node.all().iter().any(open)) {
            return;
        }
        let request = CreateSnapshotRequestProto {
            snapshot_root: path.clone(),
            snapshot_name: Some(name.clone()),
        };
        let fits = self.snapshots_of(&path).is_some_and(|all| !all.contains_key(&name));
        let answer = self.call(&request);
        agree(&request, &answer, if fits { Ok(()) } else { Err(&[]) });
        if answer.is_ok() {
            let now = self.now_ms;
            let node = self.root.find_mut(&path).expect("a directory");
            node.mtime = now;
            let copy = node.copied();
            self.snapshots_of(&path).expect("snapshottable").insert(name, copy);
        }
    }

    pub(super) fn rename_snapshot(&mut self) {
        let path = self.snapshottable();
        let (old, new) = (format!("s{}", self.random.u8(..5)), format!("s{}", self.random.u8(..5)));
        let request = RenameSnapshotRequestProto {
            snapshot_root: path.clone(),
            snapshot_old_name: old.clone(),
            snapshot_new_name: new.clone(),
        };
        let all = self.snapshots_of(&path);
        let fits = all.is_some_and(|all| all.contains_key(&old) && (old == new || !all.contains_key(&new)));
        let answer = self.call(&request);
        agree(&request, &answer, if fits { Ok(()) } else { Err(&[]) });
        if answer.is_ok() {
            let now = self.now_ms;
            self.root.find_mut(&path).expect("a directory").mtime = now;
            let all = self.snapshots_of(&path).expect("snapshottable");
            let copy = all.remove(&old).expect("a snapshot");
            all.insert(new, copy);
        }
    }

    pub(super) fn delete_snapshot(&mut self) {
        let path = self.snapshottable();
        let name = format!("s{}", self.random.u8(..5));
        let request = DeleteSnapshotRequestProto {
            snapshot_root: path.clone(),
            snapshot_name: name.clone(),
        };
        let fits = self.snapshots_of(&path).is_some_and(|all| all.contains_key(&name));
        let answer = self.call(&request);
        agree(&request, &answer, if fits { Ok(()) } else { Err(&[]) });
        if answer.is_ok() {
            let now = self.now_ms;
            self.root.find_mut(&path).expect("a directory").mtime = now;
            self.snapshots_of(&path).expect("snapshottable").remove(&name);
        }
    }
}

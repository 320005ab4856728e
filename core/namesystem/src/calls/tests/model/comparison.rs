//! What can be read, compared with the naive namespace.

use super::tree::{Dir, Kind, Node};
use super::world::World;
use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

impl World {
    /// Everything that can be read is as the naive namespace has it.
    pub(super) fn compare(&mut self) {
        self.active.check();
        if self.root.holds_quotas() {
            self.reclaim_all();
        }
        let mut roots = vec![(String::new(), self.root.clone(), true)];
        let mut stack = vec![(String::new(), self.root.clone())];
        while let Some((path, node)) = stack.pop() {
            let Some(dir) = node.dir() else { continue };
            for (name, copy) in dir.snapshots.iter().flatten() {
                roots.push((format!("{path}/.snapshot/{name}"), copy.clone(), false));
            }
            stack.extend(
                dir.children
                    .iter()
                    .map(|(name, child)| (format!("{path}/{name}"), child.clone())),
            );
        }
        for (top, root, is_present) in roots {
            let mut stack = vec![(top.clone(), &root)];
            while let Some((path, node)) = stack.pop() {
                self.compare_node(&path, node, is_present);
                if let Some(dir) = node.dir() {
                    stack.extend(
                        dir.children
                            .iter()
                            .map(|(name, child)| (format!("{path}/{name}"), child)),
                    );
                }
            }
        }
    }

    fn read<R: Request + Debug>(&mut self, request: &R) -> R::Response {
        call(&mut self.active, &hdfs(), request).unwrap_or_else(|refusal| panic!("{request:?}: {refusal:?}"))
    }

    fn compare_node(&mut self, path: &str, node: &Node, is_present: bool) {
        let path = if path.is_empty() { "/" } else { path };
        let status = self.read(&file_info(path)).fs;
        let status = status.unwrap_or_else(|| panic!("{path} is not there"));
        if path != "/" {
            // A snapshot keeps no access time of a directory.
            let keeps_atime = is_present || node.dir().is_none();
            let atime = if keeps_atime { node.atime } else { 0 };
            let shown = (
                status.owner.clone(),
                status.permission.perm & 0o7777,
                status.modification_time,
                status.access_time,
            );
            let known = (node.owner.clone(), node.mode, node.mtime, atime);
            assert_eq!(shown, known, "owner, mode and times of {path}");
        }
        if is_present {
            assert_eq!(
                status.storage_policy,
                Some(self.root.policy_at(path)),
                "policy of {path}"
            );
        }
        let attributes = self.read(&GetXAttrsRequestProto {
            src: path.to_owned(),
            x_attrs: Vec::new(),
        });
        let values = attributes.x_attrs.iter();
        let values = values.map(|attr| (attr.name.clone(), attr.value().first().copied().unwrap_or_default()));
        assert_eq!(values.collect::<BTreeMap<_, _>>(), node.xattrs, "attributes of {path}");
        let acl = self.read(&GetAclStatusRequestProto { src: path.to_owned() }).result;
        let permissions: Vec<u32> = acl.entries.iter().map(|entry| entry.permissions as u32).collect();
        let expected: Vec<u32> = node.acl.iter().flat_map(|(bob, group)| [*bob, *group]).collect();
        assert_eq!(permissions, expected, "ACL of {path}: {:?}", acl.entries);
        match &node.kind {
            Kind::File(file) => {
                assert_eq!(status.length, file.blocks.iter().sum::<u64>(), "length of {path}");
                assert_eq!(status.block_replication(), file.replication, "replication of {path}");
                let located = self.read(&GetBlockLocationsRequestProto {
                    src: path.to_owned(),
                    offset: 0,
                    length: u64::MAX / 2,
                });
                let located = located.locations.expect("locations");
                let lengths: Vec<u64> = located.blocks.iter().map(|block| block.b.num_bytes()).collect();
                assert_eq!(lengths, file.blocks, "blocks of {path}");
            }
            Kind::Dir(dir) => self.compare_dir(path, dir, &status),
        }
    }

    fn compare_dir(&mut self, path: &str, dir: &Dir, status: &HdfsFileStatusProto) {
        assert_eq!(status.children_num(), dir.children.len() as i32, "children of {path}");
        let listing = self.read(&GetListingRequestProto {
            src: path.to_owned(),
            start_after: Bytes::new(),
            need_location: false,
        });
        let listing = listing.dir_list.expect("a directory").partial_listing;
        let names: Vec<String> = listing
            .iter()
            .map(|status| String::from_utf8_lossy(&status.path).into_owned())
            .collect();
        assert!(names.iter().eq(dir.children.keys()), "{names:?} in {path}");
        if let Some((names, bytes)) = dir.quota {
            let usage = self.read(&GetQuotaUsageRequestProto { path: path.to_owned() }).usage;
            let expected = self.root.find(path).map(Node::usage).unwrap_or_default();
            assert_eq!((usage.quota, usage.space_quota), (names, bytes), "quotas of {path}");
            let used = (usage.file_and_directory_count, usage.space_consumed);
            assert_eq!(used, expected, "usage of {path}");
        }
    }

    /// Frees everything that was deleted: only what the naive namespace has is left.
    pub(super) fn finish(&mut self) {
        self.reclaim_all();
        let mut known: BTreeSet<u64> = self.root.all().iter().map(|node| node.id).collect();
        known.extend(self.root.shown_by_snapshots());
        assert_eq!(self.active.namespace().inode_count(), known.len() as u64);
        self.active.check();
        self.standby.check();
        assert_eq!(
            self.active.namespace().digest(),
            self.standby.namespace().digest(),
            "at the end"
        );
    }
}

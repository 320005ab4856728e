//! What can be read, compared with the naive namespace.

use super::coding::shown;
use super::tree::{Dir, Kind, Node, split};
use super::world::World;
use super::zones::key_of;
use super::*;
use hathi_formats::editlog::{EditOp, SegmentHeader, encode};
use hathi_formats::erasure_coding::whole;
use hathi_formats::fsimage::Image;
use hathi_namespace::NamespaceConfig;
use hathi_namespace::image::load;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::Path;

impl World {
    /// Everything that can be read is as the naive namespace has it.
    pub(super) fn compare(&mut self) {
        self.active.check();
        if self.root.holds_quotas() {
            self.reclaim_all();
        }
        self.compare_policies();
        self.compare_zones();
        self.compare_caching();
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
            // Above a snapshot is the present.
            let dir = top.split_once("/.snapshot/").map_or("/", |(dir, _)| split(dir).0);
            let above = self.root.coding_at(dir).filter(|_| !is_present).map(str::to_owned);
            let mut stack = vec![(top.clone(), vec![&root])];
            while let Some((path, way)) = stack.pop() {
                let node = way[way.len() - 1];
                let policy = shown(node, &way, above.as_deref());
                self.compare_node(&path, node, is_present, policy);
                if let Some(dir) = node.dir() {
                    stack.extend(dir.children.iter().map(|(name, child)| {
                        let way = way.iter().copied().chain([child]).collect();
                        (format!("{path}/{name}"), way)
                    }));
                }
            }
        }
    }

    pub(super) fn read<R: Request + Debug>(&mut self, request: &R) -> R::Response {
        let ctx = CallContext {
            now_ms: self.now_ms,
            ..hdfs()
        };
        call(&mut self.active, &ctx, request).unwrap_or_else(|refusal| panic!("{request:?}: {refusal:?}"))
    }

    /// `policy`: the erasure coding policy that counts there.
    fn compare_node(&mut self, path: &str, node: &Node, is_present: bool, policy: Option<String>) {
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
        let shown = status.ec_policy.as_ref().map(|policy| whole(policy).name().to_owned());
        assert_eq!(shown, policy, "erasure coding policy of {path}");
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
                assert_eq!(status.length, file.length(), "length of {path}");
                let key = status.file_encryption_info.as_ref().map(key_of);
                assert_eq!(key, file.key, "key of {path}");
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
        if !dir.type_quotas.is_empty() {
            let usage = self.read(&GetQuotaUsageRequestProto { path: path.to_owned() }).usage;
            let infos = usage.type_quota_infos.iter().flat_map(|infos| &infos.type_quota_info);
            let quotas = infos.map(|info| (i32::from(info.r#type()), info.quota));
            let quotas: BTreeMap<_, _> = quotas.filter(|(_, quota)| *quota != u64::MAX).collect();
            assert_eq!(quotas, dir.type_quotas, "quotas by type of {path}");
        }
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
        self.check_image();
        assert_eq!(
            self.active.namespace().digest(),
            self.standby.namespace().digest(),
            "at the end"
        );
    }

    /// The image of the namespace has all of it.
    fn check_image(&self) {
        let image = self.image();
        let image = Image::open(&image[..]).unwrap();
        let loaded = load(NamespaceConfig::default(), &image).unwrap();
        loaded.check();
        assert_eq!(loaded.digest(), self.active.namespace().digest(), "of the image");
    }

    fn image(&self) -> Vec<u8> {
        let frozen = self.active.namespace().freeze();
        let saved = frozen.save(Vec::new(), LayoutVersion::NAMENODE_CURRENT, &|| false);
        saved.unwrap().0
    }

    /// The image, and the edits from the first one on, as files.
    pub(super) fn keep(&self, dir: &Path, seed: u64) -> std::io::Result<()> {
        let mut edits = SegmentHeader::CURRENT.encode().to_vec();
        encode(&mut edits, TxId(1), &EditOp::StartLogSegment).expect("a short op");
        edits.extend_from_slice(&self.log);
        std::fs::write(dir.join(format!("random-{seed}.image")), self.image())?;
        std::fs::write(dir.join(format!("random-{seed}.edits")), edits)
    }
}

//! Random calls with snapshots, against copies of the whole tree: a snapshot is what was there when it was taken.

use std::collections::BTreeMap;

use hathi_formats::editlog::RenameOption;

use super::replay::catch_up;
use super::*;
use crate::snapshots::as_of::AsOf;
use crate::snapshots::{PRESENT, SnapshotId, SnapshotsPart};
use crate::store::slab::Slot;
use crate::view::View as _;

/// What a client sees of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Dir {
        id: u64,
        mode: u16,
        policy: u8,
        xattr: Option<u8>,
        quota: Option<String>,
    },
    /// With replication, length and the ids of the blocks.
    File {
        id: u64,
        mode: u16,
        policy: u8,
        xattr: Option<u8>,
        replication: u16,
        length: u64,
        blocks: Vec<i64>,
    },
}

impl Node {
    /// Policies, extended attributes and quotas are not in a status.
    fn forget_attributes(&mut self) {
        if let Node::Dir { quota, .. } = self {
            *quota = None;
        }
        let (Node::Dir { policy, xattr, .. } | Node::File { policy, xattr, .. }) = self;
        (*policy, *xattr) = (0, None);
    }
}

/// Everything below a directory, by the path from it on.
pub(super) type Copied = BTreeMap<String, Node>;

pub(super) struct World {
    pub(super) fix: Fixture,
    /// Snapshots, by directory and name: the number, and what was there.
    pub(super) taken: BTreeMap<(String, String), (SnapshotId, Copied)>,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

impl World {
    pub(super) fn new() -> World {
        let config = NamespaceConfig {
            snapshot_diffs_at_once: 1,
            ..NamespaceConfig::default()
        };
        World {
            fix: Fixture::with(config),
            taken: BTreeMap::new(),
        }
    }

    pub(super) fn slot(&self, path: &str) -> Option<Slot> {
        self.fix.ns.resolve(path).ok()?.last_slot()
    }

    fn node(ns: &Namespace, slot: Slot, snapshot: SnapshotId) -> Node {
        let kept = ns.kept_at(slot, snapshot);
        let rec = kept.map_or(*ns.rec(slot), |kept| kept.rec);
        let xattrs = match kept {
            Some(kept) => kept.xattrs.as_deref().unwrap_or_default(),
            None => ns.attributes.xattrs(slot),
        };
        let xattr = xattrs.first().and_then(|xattr| xattr.value.as_ref()?.first().copied());
        let policy = rec.storage_policy;
        let (id, mode) = (rec.id().0, rec.perm().mode());
        if rec.is_dir() {
            let limits = |ns: i64, ds: i64, types: &BTreeMap<i32, i64>| format!("{ns} {ds} {types:?}");
            let quota = match kept {
                Some(kept) => kept.quota.as_ref().map(|of| limits(of.ns, of.ds, &of.types)),
                None => ns.quota(slot).map(|of| limits(of.ns, of.ds, &of.types)),
            };
            return Node::Dir {
                id,
                mode,
                policy,
                xattr,
                quota,
            };
        }
        let blocks = match snapshot {
            PRESENT => ns.block_slots(slot).to_vec(),
            _ => ns.blocks_at(slot, snapshot).to_vec(),
        };
        Node::File {
            id,
            mode,
            policy,
            xattr,
            replication: rec.replication(),
            length: ns.length_at(slot, snapshot),
            blocks: blocks.iter().map(|block| ns.block_rec(*block).id().0).collect(),
        }
    }

    /// What is below a directory, as a snapshot or the present shows it.
    pub(super) fn copy(&self, dir: Slot, snapshot: SnapshotId) -> Copied {
        Self::copy_of(&self.fix.ns, dir, snapshot)
    }

    fn copy_of(ns: &Namespace, dir: Slot, snapshot: SnapshotId) -> Copied {
        let mut out = Copied::new();
        out.insert(String::new(), Self::node(ns, dir, snapshot));
        let mut stack = vec![(String::new(), dir)];
        while let Some((path, at)) = stack.pop() {
            for entry in ns.entries_at(at, snapshot) {
                let name = String::from_utf8_lossy(ns.name_of_entry(entry)).into_owned();
                let slot = ns.inode_of(entry);
                assert_eq!(ns.entry_at(at, name.as_bytes(), snapshot), Some(entry));
                assert_eq!(ns.parent_at(slot, snapshot), at, "the place of an inode");
                let path = format!("{path}/{name}");
                out.insert(path.clone(), Self::node(ns, slot, snapshot));
                if ns.rec(slot).is_dir() {
                    stack.push((path, slot));
                }
            }
        }
        out
    }

    /// The same as a client sees it who reads paths, page by page.
    fn read(&self, top: &str) -> Copied {
        let ns = &self.fix.ns;
        let mut out = Copied::new();
        let mut stack = vec![String::new()];
        while let Some(path) = stack.pop() {
            let full = format!("{top}{path}");
            let status = self.fix.stat(&full);
            let status = status.unwrap_or_else(|| panic!("{full} is not there"));
            let (id, mode) = (status.id.0, status.mode);
            if status.kind == InodeKind::File {
                let blocks = ns.blocks_shown(&status).map(|of| of.block.id.0).collect();
                let (replication, length) = (status.replication, status.length);
                out.insert(
                    path,
                    Node::File {
                        id,
                        mode,
                        policy: 0,
                        xattr: None,
                        replication,
                        length,
                        blocks,
                    },
                );
                continue;
            }
            let names = self.fix.names(&full);
            assert_eq!(names.len(), status.children as usize, "children of {full}");
            assert!(names.is_sorted(), "{names:?} in {full}");
            stack.extend(names.iter().map(|name| format!("{path}/{name}")));
            out.insert(
                path,
                Node::Dir {
                    id,
                    mode,
                    policy: 0,
                    xattr: None,
                    quota: None,
                },
            );
        }
        out
    }

    /// A summary counts what is there.
    fn check_summary(&self, path: &str, shown: &Copied) {
        let ns = &self.fix.ns;
        let iip = ns.resolve(path).unwrap();
        let mut walk = ns.content_summary(&ROOT, &iip, path).unwrap();
        while !ns.content_summary_step(&ROOT, &mut walk, 3).unwrap() {}
        let files = shown.values().filter_map(|node| match node {
            Node::File { length, .. } => Some(*length),
            Node::Dir { .. } => None,
        });
        let (count, length) = (files.clone().count(), files.sum());
        let dirs = shown.len() - count;
        let sum = walk.summary;
        assert_eq!(
            (sum.file_count, sum.directory_count, sum.length),
            (count as u64, dirs as u64, length),
            "{path}"
        );
    }

    fn root_above(&self, path: &str) -> bool {
        let roots: Vec<String> = self.taken.keys().map(|(root, _)| root.clone()).collect();
        roots
            .iter()
            .any(|root| root == path || root.starts_with(&format!("{path}/")))
    }

    /// Applies an op as a log would have it.
    fn op(&mut self, op: EditOp) {
        if std::env::var("HATHI_TRACE").is_ok() {
            eprintln!("{op:?}");
        }
        self.fix.op(&op);
        self.fix.now_ms += 1;
    }

    pub(super) fn step(&mut self, random: &mut fastrand::Rng) {
        let now = self.fix.now_ms as i64;
        let path = |random: &mut fastrand::Rng| {
            let depth = random.usize(1..4);
            let parts: Vec<&str> = (0..depth).map(|_| NAMES[random.usize(..3)]).collect();
            format!("/{}", parts.join("/"))
        };
        let (one, two) = (path(random), path(random));
        match random.usize(..31) {
            0..=3 => drop(self.fix.mkdirs(ROOT, &one)),
            4..=8 => {
                if self.slot(&one).is_none() && self.fix.create(ROOT, &one, false).is_ok() {
                    let id = self.fix.ns.resolve(&one).ok().and_then(|iip| iip.last());
                    let lengths: Vec<u64> = (0..random.usize(..3)).map(|_| random.u64(1..=BS)).collect();
                    if let Some(id) = id
                        && random.u8(..6) > 0
                    {
                        self.fix.write(&one, id, None, &lengths);
                    }
                }
            }
            9..=11 => {
                if self.slot(&one).is_some() && !self.root_above(&one) {
                    self.op(EditOp::Delete {
                        path: one,
                        time: now,
                        rpc_ids: RpcIds::NONE,
                    });
                }
            }
            12..=15 => {
                let below = two.starts_with(&format!("{one}/")) || one.starts_with(&format!("{two}/")) || one == two;
                let parent = two.rsplit_once('/').map_or("", |(parent, _)| parent);
                let fits = match (self.slot(&one), self.slot(&two)) {
                    (Some(src), Some(dst)) => {
                        self.fix.ns.rec(src).is_dir() == self.fix.ns.rec(dst).is_dir()
                            && self.fix.ns.child_count(dst) == 0
                    }
                    (Some(_), None) => true,
                    _ => false,
                };
                let into_dir = match parent {
                    "" => true,
                    parent => self.slot(parent).is_some_and(|slot| self.fix.ns.rec(slot).is_dir()),
                };
                if fits && into_dir && !below && !self.root_above(&one) && !self.root_above(&two) {
                    self.op(EditOp::Rename {
                        src: one,
                        dst: two,
                        time: now,
                        options: vec![RenameOption::Overwrite],
                        rpc_ids: RpcIds::NONE,
                    });
                }
            }
            16 => {
                if self.slot(&one).is_some() {
                    self.op(EditOp::SetPermissions {
                        src: one,
                        mode: random.u16(..0o777),
                    });
                }
            }
            17 => {
                if self.slot(&one).is_some() {
                    self.op(EditOp::SetReplication {
                        path: one,
                        replication: random.i16(1..5),
                    });
                }
            }
            18..=19 => self.truncate(&one, random),
            20 => {
                let file = self.slot(&one).filter(|slot| self.fix.ns.rec(*slot).is_file());
                if file.is_some_and(|slot| !self.fix.ns.rec(slot).is_open()) {
                    self.op(EditOp::Append {
                        path: one.clone(),
                        client_name: "client".to_owned(),
                        client_machine: "host".to_owned(),
                        new_block: true,
                        rpc_ids: RpcIds::NONE,
                    });
                    let id = self.fix.ns.resolve(&one).ok().and_then(|iip| iip.last());
                    if let Some(id) = id {
                        let last = self
                            .slot(&one)
                            .and_then(|slot| self.fix.ns.file_blocks(slot).last().copied());
                        self.fix.write(&one, id, last, &[random.u64(1..=BS)]);
                    }
                }
            }
            21..=23 => self.take(&one, random),
            24..=26 => self.drop_one(random),
            27 => self.attribute(one, random),
            28 => self.op(EditOp::EndLogSegment),
            29 => self.concat(&one, random),
            _ => drop(self.fix.reclaim(random.usize(1..4))),
        }
    }

    /// Changes a quota, a policy or an extended attribute.
    fn attribute(&mut self, path: String, random: &mut fastrand::Rng) {
        let Some(slot) = self.slot(&path) else { return };
        let is_dir = self.fix.ns.rec(slot).is_dir();
        let op = match random.u8(..4) {
            0 if is_dir => EditOp::SetQuota {
                src: path,
                ns_quota: [-1, 1000][random.usize(..2)],
                ds_quota: [-1, 1 << 40][random.usize(..2)],
            },
            1 if is_dir => EditOp::SetQuotaByStorageType {
                src: path,
                storage_type: [1, 2][random.usize(..2)],
                ds_quota: [-1, 1 << 40][random.usize(..2)],
            },
            2 => EditOp::SetStoragePolicy {
                path,
                policy_id: [2, 7, 12][random.usize(..3)],
            },
            _ => EditOp::SetXAttr {
                src: path,
                xattrs: vec![XAttr {
                    namespace: XAttrNamespace::User,
                    name: "x".to_owned(),
                    value: Some(vec![random.u8(..)]),
                }],
                rpc_ids: RpcIds::NONE,
            },
        };
        self.op(op);
    }

    /// The files beside a file, those that no snapshot shows, become its end.
    fn concat(&mut self, target: &str, random: &mut fastrand::Rng) {
        let Some((dir, _)) = target.rsplit_once('/') else {
            return;
        };
        let ns = &self.fix.ns;
        let is_whole = |path: &str| {
            let slot = self
                .slot(path)
                .filter(|slot| ns.rec(*slot).is_file() && !ns.rec(*slot).is_open());
            slot.is_some_and(|slot| !ns.block_slots(slot).is_empty())
        };
        let others = NAMES.iter().map(|name| format!("{dir}/{name}"));
        let others = others.filter(|path| path != target && is_whole(path));
        let unshown = |path: &String| self.slot(path).is_some_and(|slot| ns.shown_by(slot, PRESENT).is_none());
        let sources: Vec<String> = others.filter(unshown).take(random.usize(1..3)).collect();
        if is_whole(target) && !sources.is_empty() {
            let time = self.fix.now_ms as i64;
            self.op(EditOp::ConcatDelete {
                target: target.to_owned(),
                sources,
                time,
                rpc_ids: RpcIds::NONE,
            });
        }
    }

    fn truncate(&mut self, path: &str, random: &mut fastrand::Rng) {
        let Some(slot) = self.slot(path).filter(|slot| self.fix.ns.rec(*slot).is_file()) else {
            return;
        };
        let lengths: Vec<u64> = self
            .fix
            .ns
            .block_slots(slot)
            .iter()
            .map(|b| self.fix.ns.block_rec(*b).len())
            .collect();
        if self.fix.ns.rec(slot).is_open() || lengths.is_empty() {
            return;
        }
        let keep = random.usize(..lengths.len());
        self.op(EditOp::Truncate {
            src: path.to_owned(),
            client_name: "client".to_owned(),
            client_machine: "host".to_owned(),
            new_length: lengths[..keep].iter().sum::<u64>() as i64,
            time: self.fix.now_ms as i64,
            truncate_block: None,
        });
    }

    fn take(&mut self, path: &str, random: &mut fastrand::Rng) {
        let Some(slot) = self.slot(path).filter(|slot| self.fix.ns.rec(*slot).is_dir()) else {
            return;
        };
        let is_root = self
            .fix
            .ns
            .snapshots
            .roots()
            .contains_key(&self.fix.ns.rec(slot).id().0);
        // Snapshottable directories are not below each other.
        let above = self.fix.ns.snapshots.roots().values();
        let nested = above.filter(|root| root.slot != slot && self.fix.ns.tree.is_attached(root.slot));
        let mut nested = nested.map(|root| root.slot);
        if nested.any(|root| self.fix.ns.is_below(slot, root) || self.fix.ns.is_below(root, slot)) {
            return;
        }
        if !is_root {
            self.op(EditOp::AllowSnapshot {
                snapshot_root: path.to_owned(),
            });
        }
        let name = format!("s{}", random.u8(..6));
        if self.taken.contains_key(&(path.to_owned(), name.clone())) {
            return;
        }
        let id = self.fix.ns.counters.snapshot_counter;
        let mut copied = self.copy(slot, PRESENT);
        // The length of a file that is being written is that of the present until it is closed.
        copied.retain(|_, node| !matches!(node, Node::File { id, .. } if self.is_open(*id)));
        self.taken.insert((path.to_owned(), name.clone()), (id, copied));
        self.op(EditOp::CreateSnapshot {
            snapshot_root: path.to_owned(),
            snapshot_name: name,
            mtime: self.fix.now_ms as i64,
            rpc_ids: RpcIds::NONE,
        });
    }

    fn is_open(&self, id: u64) -> bool {
        self.fix
            .ns
            .slot(InodeId(id))
            .is_some_and(|slot| self.fix.ns.rec(slot).is_open())
    }

    fn drop_one(&mut self, random: &mut fastrand::Rng) {
        let Some(at) = self.taken.len().checked_sub(1).map(|last| random.usize(..=last)) else {
            return;
        };
        let Some((root, name)) = self.taken.keys().nth(at).cloned() else {
            return;
        };
        self.taken.remove(&(root.clone(), name.clone()));
        self.op(EditOp::DeleteSnapshot {
            snapshot_root: root.clone(),
            snapshot_name: name,
            mtime: self.fix.now_ms as i64,
            rpc_ids: RpcIds::NONE,
        });
        if !self.root_above(&root) && random.bool() {
            self.op(EditOp::DisallowSnapshot { snapshot_root: root });
        }
    }

    /// Every snapshot shows what was there, and everything else is free.
    fn check(&self) {
        self.check_of(&self.fix.ns);
        for ((root, name), (id, _)) in &self.taken {
            let path = format!("{root}/.snapshot/{name}");
            let Some(slot) = self.slot(root) else {
                panic!("{root} is gone")
            };
            let mut shown = self.copy(slot, *id);
            self.check_summary(&path, &shown);
            shown.values_mut().for_each(Node::forget_attributes);
            assert_eq!(self.read(&path), shown, "{path}");
        }
    }

    fn check_of(&self, ns: &Namespace) {
        ns.check();
        for ((root, name), (id, copied)) in &self.taken {
            let Some(slot) = ns.resolve(root).ok().and_then(|iip| iip.last_slot()) else {
                panic!("{root} is gone")
            };
            let mut shown = Self::copy_of(ns, slot, *id);
            // Files that were open then.
            shown.retain(|path, node| copied.contains_key(path) || !matches!(node, Node::File { .. }));
            assert_eq!(&shown, copied, "{root}/.snapshot/{name}");
        }
    }

    /// What an image of now gives.
    fn loaded(&self) -> Namespace {
        let loaded = self.fix.loaded();
        self.check_of(&loaded);
        if !self.fix.ns.has_detached() {
            assert_eq!(loaded.digest(), self.fix.ns.digest(), "the image differs");
        }
        loaded
    }
}

/// Names the seed when a run panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

fn run(seed: u64, steps: usize) {
    let _named = Seed(seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new();
    let mut loaded: Vec<Namespace> = Vec::new();
    let mut frozen = None;
    let moments = [steps / 3, steps * 2 / 3, steps - 1];
    for step in 0..steps {
        world.step(&mut random);
        let check = std::panic::AssertUnwindSafe(|| {
            world.check();
            if moments.contains(&step) {
                let finished = world.fix.ns.finish_snapshots();
                world.fix.note(&finished);
                loaded.push(world.loaded());
            }
            if step == moments[0] {
                frozen = Some((world.fix.ns.freeze(), world.fix.image()));
            }
        });
        if let Err(panic) = std::panic::catch_unwind(check) {
            eprintln!("seed {seed}, step {step}");
            std::panic::resume_unwind(panic);
        }
    }
    // Without snapshots nothing of them is left.
    while !world.taken.is_empty() {
        world.drop_one(&mut random);
        world.check();
    }
    while !world.fix.reclaim(100) {}
    world.check();
    if let Some((frozen, image)) = frozen {
        let (later, _) = frozen
            .save(Vec::new(), LayoutVersion::NAMENODE_CURRENT, &|| false)
            .unwrap();
        assert!(later == image, "seed {seed}: a view changed with the namespace");
    }
    for mut loaded in loaded {
        catch_up(&mut loaded, &world.fix.log);
        while !loaded.reclaim(3).done {}
        loaded.check();
        assert_eq!(
            loaded.digest(),
            world.fix.ns.digest(),
            "seed {seed}: an image, and what came after it"
        );
    }
    compare_marks(&world.fix, &mut random);
    let mut replica = world.fix.replayed();
    replica.check();
    while !replica.reclaim(1).done {}
    replica.check();
    assert_eq!(world.fix.ns.digest(), replica.digest(), "seed {seed}: a replay");
}

/// A replica that frees what was deleted at another pace has the same digest after each segment.
fn compare_marks(fix: &Fixture, random: &mut fastrand::Rng) {
    let mut replica = Namespace::new(fix.ns.config.clone());
    let mut frames = Frames::new(&fix.log, 0);
    while let Some(frame) = frames.next_frame().unwrap() {
        let op = decode_frame(&frame, LayoutVersion::NAMENODE_CURRENT).unwrap();
        replica.apply(frame.txid.0, &op).unwrap();
        if random.u8(..3) == 0 {
            replica.reclaim(random.usize(1..5));
        }
    }
    while !replica.reclaim(1).done {}
    for txid in 1..=fix.ns.last_applied_txid() {
        // None is made while a snapshot ends.
        if let (Some(other), Some(own)) = (replica.digest_mark(txid), fix.ns.digest_mark(txid)) {
            assert_eq!(other, own, "the digest after {txid}");
        }
    }
}

#[test]
fn a_snapshot_shows_what_was_there() {
    let range = std::env::var("HATHI_SNAPSHOT_SEEDS").ok();
    let range = range.and_then(|range| {
        let (from, to) = range.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    for seed in range.unwrap_or(0..150) {
        run(seed, 120);
    }
}

#[test]
fn a_directory_that_moved_below_its_own_former_child_is_shown_where_it_was() {
    let mut world = World::new();
    world.fix.mkdirs(ROOT, "/a/b/c").unwrap();
    world.take("/a", &mut fastrand::Rng::with_seed(0));
    for (src, dst) in [("/a/b/c", "/a/c"), ("/a/b", "/a/c/b")] {
        let plan = world.fix.ns.plan_rename(&world.fix.ctx(ROOT), src, dst).unwrap();
        assert!(world.fix.commit(plan));
        world.check();
    }
}

#[test]
fn a_snapshot_ends_that_showed_a_directory_above_what_it_is_below_now() {
    let mut world = World::new();
    world.fix.mkdirs(ROOT, "/a/b/c").unwrap();
    world.fix.mkdirs(ROOT, "/other").unwrap();
    let mut random = fastrand::Rng::with_seed(0);
    world.take("/other", &mut random);
    world.take("/a", &mut random);
    for (src, dst) in [("/a/b/c", "/a/c"), ("/a/b", "/a/c/b")] {
        let plan = world.fix.ns.plan_rename(&world.fix.ctx(ROOT), src, dst).unwrap();
        assert!(world.fix.commit(plan));
    }
    let name = world.taken.keys().find(|(root, _)| root == "/a").unwrap().1.clone();
    world.taken.retain(|(root, _), _| root != "/a");
    world.op(EditOp::DeleteSnapshot {
        snapshot_root: "/a".to_owned(),
        snapshot_name: name,
        mtime: 1,
        rpc_ids: RpcIds::NONE,
    });
    world.check();
    while !world.fix.reclaim(1) {
        world.check();
    }
    world.check();
}

#[test]
fn a_snapshot_of_a_directory_changes_nothing_in_those_that_show_it_elsewhere() {
    let mut world = World::new();
    world.fix.mkdirs(ROOT, "/a/d/e").unwrap();
    let mut random = fastrand::Rng::with_seed(0);
    world.take("/a", &mut random);
    let name = world.taken.keys().next().unwrap().1.clone();
    let shown = format!("/a/.snapshot/{name}/d/e");
    let before = world.fix.stat(&shown).unwrap().mtime_ms;
    let plan = world.fix.ns.plan_rename(&world.fix.ctx(ROOT), "/a/d", "/d").unwrap();
    assert!(world.fix.commit(plan));
    world.fix.now_ms += 1000;
    world.take("/d/e", &mut random);
    assert_ne!(world.fix.stat("/d/e").unwrap().mtime_ms, before);
    assert_eq!(world.fix.stat(&shown).unwrap().mtime_ms, before);
    world.check();
}

/// An image of snapshots that show much of what has changed.
fn image_with_snapshots(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new();
    for _ in 0..120 {
        world.step(&mut random);
    }
    world.fix.ns.finish_snapshots();
    world.fix.image()
}

#[test]
fn a_damaged_image_with_snapshots_is_refused_or_gives_a_whole_namespace() {
    let mut random = fastrand::Rng::with_seed(1);
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..12 {
        let whole = image_with_snapshots(seed);
        let offsets: Vec<(u64, u64)> = Image::open(&whole[..])
            .unwrap()
            .sections()
            .iter()
            .map(|section| (section.offset, section.len_bytes))
            .collect();
        for _ in 0..150 {
            let mut bytes = whole.clone();
            for _ in 0..random.usize(1..3) {
                let (offset, len) = offsets[random.usize(..offsets.len())];
                if len > 0 {
                    let at = (offset + random.u64(..len)) as usize;
                    bytes[at] = match random.u8(..3) {
                        0 => random.u8(..),
                        1 => bytes[at] ^ 1 << random.u8(..8),
                        _ => bytes[at].wrapping_add(1),
                    };
                }
            }
            let Ok(image) = Image::open(&bytes[..]) else { continue };
            match image::load(NamespaceConfig::default(), &image) {
                Err(_) => refused += 1,
                Ok(mut ns) => {
                    taken += 1;
                    ns.check();
                    delete_all_snapshots(&mut ns);
                    while !ns.reclaim(1000).done {}
                    ns.check();
                }
            }
        }
    }
    assert!(refused > 100 && taken > 100, "{refused} refused and {taken} taken");
}

/// A snapshot that is deleted looks at everything that it shows.
fn delete_all_snapshots(ns: &mut Namespace) {
    let all: Vec<(Slot, String)> = ns
        .snapshots
        .roots()
        .values()
        .flat_map(|root| {
            root.snapshots
                .iter()
                .map(|snapshot| (root.slot, snapshot.name.to_string()))
        })
        .collect();
    for (root, name) in all {
        if !ns.tree.is_attached(root) {
            continue;
        }
        let op = EditOp::DeleteSnapshot {
            snapshot_root: ns.path_of_slot(root),
            snapshot_name: name,
            mtime: 1,
            rpc_ids: RpcIds::NONE,
        };
        // A damaged name may be one that no path has.
        let _ = ns.apply(ns.last_applied_txid() + 1, &op);
        if ns.is_broken() {
            return;
        }
        ns.check();
    }
}

//! Differences between two moments, against two full copies.

use std::collections::{BTreeMap, BTreeSet};

use super::snapshots::{Copied, Node, World};
use super::*;
use crate::snapshots::{PRESENT, SnapshotId, SnapshotsPart};
use crate::store::slab::Slot;
use crate::view::View as _;

impl Node {
    fn id(&self) -> u64 {
        match self {
            Node::Dir { id, .. } | Node::File { id, .. } => *id,
        }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A directory at one moment.
struct Moment {
    nodes: Copied,
    paths: BTreeMap<u64, String>,
}

impl Moment {
    /// What is below a directory that this copy shows, or nothing.
    fn below(all: &Copied, dir: u64) -> Option<Moment> {
        let (base, _) = all.iter().find(|(_, node)| node.id() == dir)?;
        let mut nodes = Copied::new();
        for (path, node) in all {
            if let Some(rest) = path.strip_prefix(base.as_str())
                && (rest.is_empty() || rest.starts_with('/'))
            {
                nodes.insert(rest.to_owned(), node.clone());
            }
        }
        let paths = nodes.iter().map(|(path, node)| (node.id(), path.clone())).collect();
        Some(Moment { nodes, paths })
    }

    fn children(&self, dir: u64) -> BTreeMap<&str, u64> {
        let Some(base) = self.paths.get(&dir) else {
            return BTreeMap::new();
        };
        let below = self
            .nodes
            .iter()
            .filter(|(path, _)| !path.is_empty() && parent(path) == base);
        below.map(|(path, node)| (&path[base.len() + 1..], node.id())).collect()
    }
}

/// Kind, path from the directory on, target, whether it is part of a rename.
type Told = BTreeSet<(char, String, Option<String>, bool)>;

fn naive(was: &Moment, is: &Moment) -> Told {
    let mut told = Told::new();
    let stayed = |path: &str| {
        let mut at = path;
        loop {
            if !is.paths.contains_key(&was.nodes[at].id()) {
                return false;
            }
            if at.is_empty() {
                return true;
            }
            at = parent(at);
        }
    };
    let relative = |path: &str| path.trim_start_matches('/').to_owned();
    for (path, node) in was.nodes.iter().filter(|(path, _)| stayed(path)) {
        let id = node.id();
        let (before, after) = (was.children(id), is.children(id));
        let now = &is.nodes[&is.paths[&id]];
        if node == now && before == after {
            continue;
        }
        told.insert(('M', relative(path), None, matches!(node, Node::Dir { .. })));
        let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
        for name in names {
            let (old, new) = (before.get(name), after.get(name));
            if old == new {
                continue;
            }
            let child = relative(&format!("{path}/{name}"));
            if let Some(new) = new {
                let moved = was.paths.get(new).is_some_and(|from| stayed(parent(from)));
                told.insert(('+', child.clone(), None, moved));
            }
            if let Some(old) = old {
                let target = is.paths.get(old).map(|path| relative(path));
                told.insert(('-', child, target.clone(), target.is_some()));
            }
        }
    }
    told
}

/// All pages.
fn told(world: &World, path: &str, from: &str, to: &str, limit: usize) -> Told {
    let mut told = Told::new();
    let mut cursor = None;
    loop {
        let question = DiffQuestion {
            path,
            from,
            to,
            cursor,
            limit,
        };
        let page = world.fix.ns.snapshot_diff(&ROOT, &question).unwrap();
        for (kind, entries) in [('M', page.modified), ('+', page.created), ('-', page.deleted)] {
            for entry in entries {
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                let entry = (kind, text(entry.path), entry.target.map(text), entry.is_reference);
                assert!(told.insert(entry.clone()), "{entry:?} is told twice");
            }
        }
        let Some(next) = page.next else { return told };
        let (place, index) = next.to_wire();
        cursor = DiffCursor::from_wire(&place, index);
        assert_eq!(cursor, Some(next));
    }
}

fn check(world: &World, root: &str, random: &mut fastrand::Rng) -> usize {
    let ns = &world.fix.ns;
    let slot = world.slot(root).unwrap();
    let of_root = ns.snapshots.roots()[&ns.rec(slot).id().0].snapshots.iter();
    let mut moments: Vec<(SnapshotId, String)> = of_root.map(|s| (s.id, s.name.to_string())).collect();
    moments.push((PRESENT, String::new()));
    let mut dirs: Vec<Slot> = vec![slot];
    dirs.extend((0..ns.tree.used()).filter(|slot| ns.rec(*slot).is_live() && ns.rec(*slot).is_dir()));
    dirs.retain(|dir| ns.tree.is_attached(*dir) && ns.is_below(*dir, slot));
    let mut entries = 0;
    for (n, (was, from)) in moments.iter().enumerate() {
        for (is, to) in &moments[n + 1..] {
            let dir = dirs[random.usize(..dirs.len())];
            let id = ns.rec(dir).id().0;
            let both = (
                Moment::below(&world.copy(slot, *was), id),
                Moment::below(&world.copy(slot, *is), id),
            );
            let (Some(before), Some(after)) = both else { continue };
            let expected = naive(&before, &after);
            let path = ns.path_of_slot(dir);
            let found = told(world, &path, from, to, random.usize(1..8));
            assert_eq!(found, expected, "{path} from {from:?} to {to:?}");
            assert_eq!(told(world, &path, to, from, 1000), expected, "the other way");
            entries += found.len();
        }
    }
    entries
}

#[test]
fn a_report_is_what_differs_between_two_copies() {
    let mut entries = 0;
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new();
        for step in 0..150 {
            world.step(&mut random);
            if step % 5 == 0 {
                let mut roots: Vec<String> = world.taken.keys().map(|(root, _)| root.clone()).collect();
                roots.dedup();
                for root in roots {
                    entries += check(&world, &root, &mut random);
                }
            }
        }
    }
    assert!(entries > 1000, "{entries}");
}

#[test]
fn a_report_is_for_those_who_may_read_the_directories() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d/secret").unwrap();
    fix.op(&EditOp::AllowSnapshot {
        snapshot_root: "/d".to_owned(),
    });
    let plan = fix
        .ns
        .plan_create_snapshot(&fix.ctx(ROOT), "/d", "s", &String::new)
        .unwrap();
    fix.commit(plan);
    fix.mkdirs(ROOT, "/d/open").unwrap();
    fix.mkdirs(ROOT, "/d/secret/x").unwrap();
    let question = DiffQuestion {
        path: "/d",
        from: "s",
        to: "",
        cursor: None,
        limit: 10,
    };
    let page = fix.ns.snapshot_diff(&ALICE, &question).unwrap();
    assert_eq!((page.modified.len(), page.created.len()), (2, 2));
    fix.op(&EditOp::SetPermissions {
        src: "/d/secret".to_owned(),
        mode: 0o711,
    });
    let refused = fix.ns.snapshot_diff(&ALICE, &question).unwrap_err();
    assert_eq!(
        refused.message,
        "Permission denied: user=alice, access=READ, inode=\"/d/secret\":hdfs:supergroup:drwx--x--x"
    );
    assert_eq!(fix.ns.snapshot_diff(&ROOT, &question).unwrap().modified.len(), 2);
}

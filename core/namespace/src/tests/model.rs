//! Random calls against a tree of paths that is too simple to be wrong.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Dir,
    /// Block lengths.
    File(Vec<u64>),
}

type Tree = BTreeMap<String, Node>;

fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

fn is_below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

fn has_children(tree: &Tree, dir: &str) -> bool {
    tree.keys().any(|path| is_below(path, dir))
}

/// Whether everything above the path is a directory or missing.
fn no_file_above(tree: &Tree, path: &str) -> bool {
    let mut at = parent(path);
    while at != "/" {
        if matches!(tree.get(at), Some(Node::File(_))) {
            return false;
        }
        at = parent(at);
    }
    true
}

fn make_parents(tree: &mut Tree, path: &str) {
    let mut at = parent(path).to_owned();
    while at != "/" {
        tree.entry(at.clone()).or_insert(Node::Dir);
        at = parent(&at).to_owned();
    }
}

fn dir_exists(tree: &Tree, dir: &str) -> bool {
    dir == "/" || tree.get(dir) == Some(&Node::Dir)
}

fn take_subtree(tree: &mut Tree, top: &str) -> Vec<(String, Node)> {
    let keys: Vec<String> = tree
        .keys()
        .filter(|path| *path == top || is_below(path, top))
        .cloned()
        .collect();
    keys.into_iter()
        .filter_map(|key| tree.remove(&key).map(|node| (key[top.len()..].to_owned(), node)))
        .collect()
}

#[derive(Clone, Debug)]
enum Call {
    Mkdirs(String),
    Create(String, bool, Vec<u64>),
    Append(String, u64),
    Truncate(String, usize),
    Delete(String, bool),
    Rename(String, String),
    Rename2(String, String, bool),
    Concat(String, String),
    SetReplication(String, u16),
    SetMode(String, u16),
    SetQuota(String, i64, i64),
    SetPolicy(String, bool),
    Reclaim(usize),
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![Just("a"), Just("b"), Just("c"), Just("dir-with-a-longer-name")],
        1..4,
    )
    .prop_map(|parts| format!("/{}", parts.join("/")))
}

fn call() -> impl Strategy<Value = Call> {
    let lengths = proptest::collection::vec(1..=BS, 0..3);
    prop_oneof![
        3 => path().prop_map(Call::Mkdirs),
        6 => (path(), any::<bool>(), lengths).prop_map(|(path, over, blocks)| Call::Create(path, over, blocks)),
        2 => (path(), 1..=BS).prop_map(|(path, len)| Call::Append(path, len)),
        1 => (path(), 0usize..3).prop_map(|(path, blocks)| Call::Truncate(path, blocks)),
        3 => (path(), any::<bool>()).prop_map(|(path, recursive)| Call::Delete(path, recursive)),
        3 => (path(), path()).prop_map(|(src, dst)| Call::Rename(src, dst)),
        3 => (path(), path(), any::<bool>()).prop_map(|(src, dst, over)| Call::Rename2(src, dst, over)),
        1 => (path(), path()).prop_map(|(target, src)| Call::Concat(target, src)),
        1 => (path(), 1u16..5).prop_map(|(path, n)| Call::SetReplication(path, n)),
        1 => (path(), 0u16..0o2000).prop_map(|(path, mode)| Call::SetMode(path, mode)),
        1 => (path(), prop_oneof![Just(-1), Just(1000)], prop_oneof![Just(-1), Just(1 << 40)])
            .prop_map(|(path, ns, ds)| Call::SetQuota(path, ns, ds)),
        1 => (path(), any::<bool>()).prop_map(|(path, set)| Call::SetPolicy(path, set)),
        2 => (1usize..4).prop_map(Call::Reclaim),
    ]
}

/// Makes a call in both worlds; the outcomes must agree.
fn step(fix: &mut Fixture, tree: &mut Tree, call: &Call) {
    match call {
        Call::Mkdirs(path) => {
            let ok = no_file_above(tree, path) && !matches!(tree.get(path), Some(Node::File(_)));
            assert_eq!(fix.mkdirs(ROOT, path).unwrap_or(false), ok, "{call:?}");
            if ok {
                make_parents(tree, path);
                tree.insert(path.clone(), Node::Dir);
            }
        }
        Call::Create(path, overwrite, blocks) => {
            let free = match tree.get(path) {
                None => true,
                Some(Node::File(_)) => *overwrite,
                Some(Node::Dir) => false,
            };
            let made = fix.create(ROOT, path, *overwrite);
            assert_eq!(made.is_ok(), free && no_file_above(tree, path), "{call:?}: {made:?}");
            if let Ok(id) = made {
                fix.write(path, id, None, blocks);
                make_parents(tree, path);
                tree.insert(path.clone(), Node::File(blocks.clone()));
            }
        }
        Call::Append(path, len) => append(fix, tree, path, *len),
        Call::Truncate(path, blocks) => {
            let Some(Node::File(lens)) = tree.get_mut(path) else {
                return;
            };
            if *blocks < lens.len() {
                let new_length = lens[..*blocks].iter().sum();
                let plan = fix
                    .ns
                    .plan_truncate(&fix.ctx(ROOT), path, new_length, "client", &fix.view)
                    .unwrap();
                assert_eq!(fix.commit(plan), Truncated::Done);
                lens.truncate(*blocks);
            }
        }
        Call::Delete(path, recursive) => {
            let ok = tree.contains_key(path) && (*recursive || !has_children(tree, path));
            assert_eq!(fix.delete(ROOT, path, *recursive).unwrap_or(false), ok, "{call:?}");
            if ok {
                take_subtree(tree, path);
            }
        }
        Call::Rename(src, dst) => {
            let name = &src[src.rfind('/').unwrap()..];
            let full = if dir_exists(tree, dst) {
                format!("{dst}{name}")
            } else {
                dst.clone()
            };
            let moved = tree.contains_key(src)
                && *src != full
                && !is_below(&full, src)
                && !tree.contains_key(&full)
                && dir_exists(tree, parent(&full));
            let plan = fix.ns.plan_rename(&fix.ctx(ROOT), src, dst);
            let answer = plan.is_ok_and(|plan| fix.commit(plan));
            assert_eq!(answer, moved || (tree.contains_key(src) && *src == full), "{call:?}");
            if moved {
                for (rest, node) in take_subtree(tree, src) {
                    tree.insert(format!("{full}{rest}"), node);
                }
            }
        }
        Call::Rename2(src, dst, overwrite) => {
            let is_dir = |path: &str| tree.get(path) == Some(&Node::Dir);
            let replaceable =
                !tree.contains_key(dst) || (*overwrite && is_dir(src) == is_dir(dst) && !has_children(tree, dst));
            let ok = tree.contains_key(src)
                && src != dst
                && !is_below(dst, src)
                && replaceable
                && dir_exists(tree, parent(dst));
            let options = RenameOptions {
                overwrite: *overwrite,
                to_trash: false,
            };
            let plan = fix.ns.plan_rename2(&fix.ctx(ROOT), src, dst, options);
            assert_eq!(plan.is_ok(), ok, "{call:?}: {plan:?}");
            if let Ok(plan) = plan {
                fix.commit(plan);
                tree.remove(dst);
                for (rest, node) in take_subtree(tree, src) {
                    tree.insert(format!("{dst}{rest}"), node);
                }
            }
        }
        Call::Concat(target, src) => {
            let ok = match (tree.get(target), tree.get(src)) {
                (Some(Node::File(_)), Some(Node::File(blocks))) => {
                    target != src && parent(target) == parent(src) && !blocks.is_empty()
                }
                _ => false,
            };
            let plan = fix.ns.plan_concat(&fix.ctx(ROOT), target, std::slice::from_ref(src));
            assert_eq!(plan.is_ok(), ok, "{call:?}: {plan:?}");
            if let Ok(plan) = plan {
                fix.commit(plan);
                if let Some(Node::File(more)) = tree.remove(src)
                    && let Some(Node::File(blocks)) = tree.get_mut(target)
                {
                    blocks.extend(more);
                }
            }
        }
        Call::SetReplication(path, n) => {
            if let Ok(plan) = fix.ns.plan_set_replication(&fix.ctx(ROOT), path, *n) {
                let is_file = matches!(tree.get(path), Some(Node::File(_)));
                assert_eq!(fix.commit(plan), is_file);
            }
        }
        Call::SetMode(path, mode) => {
            let plan = fix.ns.plan_set_permission(&fix.ctx(ROOT), path, *mode);
            assert_eq!(plan.is_ok(), tree.contains_key(path));
            plan.map(|plan| fix.commit(plan)).unwrap_or(());
        }
        Call::SetQuota(path, ns, ds) => {
            let plan = fix.ns.plan_set_quota(&fix.ctx(ROOT), path, *ns, *ds, None);
            assert_eq!(plan.is_ok(), tree.get(path) == Some(&Node::Dir));
            plan.map(|plan| fix.commit(plan)).unwrap_or(());
        }
        Call::SetPolicy(path, set) => {
            let policy = set.then_some("COLD");
            let plan = fix.ns.plan_set_storage_policy(&fix.ctx(ROOT), path, policy);
            assert_eq!(plan.is_ok(), tree.contains_key(path));
            plan.map(|plan| fix.commit(plan)).unwrap_or(());
        }
        Call::Reclaim(max) => {
            fix.reclaim(*max);
        }
    }
}

fn append(fix: &mut Fixture, tree: &mut Tree, path: &str, len: u64) {
    let plan = fix.ns.plan_append(&fix.ctx(ROOT), path, "client", false, &fix.view);
    assert_eq!(plan.is_ok(), matches!(tree.get(path), Some(Node::File(_))));
    let Ok(plan) = plan else { return };
    let AppendOutcome::Opened { file, last } = fix.commit(plan) else {
        panic!("recovery")
    };
    let Some(Node::File(blocks)) = tree.get_mut(path) else {
        return;
    };
    match last {
        // The partial block grows, with a stamp the client asks for.
        Some(block) => {
            let plan = fix.ns.plan_update_block_for_pipeline(block, "client").unwrap();
            let with_stamp = fix.commit(plan);
            let plan = fix
                .ns
                .plan_update_pipeline(&fix.ctx(ROOT), "client", block, with_stamp)
                .unwrap();
            fix.commit(plan);
            let grown = Block {
                num_bytes: len.max(block.num_bytes),
                ..with_stamp
            };
            assert!(fix.complete(path, file, Some(grown)).unwrap());
            *blocks.last_mut().unwrap() = grown.num_bytes;
        }
        None => {
            let plan = fix.ns.plan_add_block(file, "client", None).unwrap();
            let block = fix.commit(plan).block;
            assert!(
                fix.complete(
                    path,
                    file,
                    Some(Block {
                        num_bytes: len,
                        ..block
                    })
                )
                .unwrap()
            );
            blocks.push(len);
        }
    }
}

/// Everything that can be read agrees.
fn compare(fix: &Fixture, tree: &Tree) {
    let mut expected: BTreeMap<&str, Vec<&str>> = BTreeMap::from([("/", Vec::new())]);
    for (path, node) in tree {
        let status = fix.stat(path).unwrap_or_else(|| panic!("{path} is missing"));
        expected
            .entry(parent(path))
            .or_default()
            .push(path.rsplit('/').next().unwrap());
        match node {
            Node::Dir => {
                assert_eq!(status.kind, InodeKind::Directory);
                expected.entry(path).or_default();
            }
            Node::File(blocks) => {
                assert_eq!(status.length, blocks.iter().sum::<u64>());
                let found: Vec<u64> = fix.ns.blocks_of(status.id).map(|b| b.block.num_bytes).collect();
                assert_eq!(&found, blocks, "{path}");
            }
        }
        assert_eq!(fix.ns.path_of(status.id).as_deref(), Some(path.as_str()));
    }
    for (dir, mut names) in expected {
        names.sort_unstable();
        assert_eq!(fix.names(dir), names, "listing of {dir}");
    }
    let iip = fix.ns.resolve("/").unwrap();
    let mut walk = fix.ns.content_summary(&ROOT, &iip, "/").unwrap();
    while !fix.ns.content_summary_step(&ROOT, &mut walk, 2).unwrap() {}
    let files = tree.values().filter(|node| matches!(node, Node::File(_))).count() as u64;
    assert_eq!(walk.summary.file_count, files);
    assert_eq!(walk.summary.directory_count, 1 + tree.len() as u64 - files);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn agrees_with_a_naive_tree_and_with_replay(calls in proptest::collection::vec(call(), 1..120)) {
        let mut fix = Fixture::new();
        let mut tree = Tree::new();
        for call in &calls {
            step(&mut fix, &mut tree, call);
            fix.ns.check();
        }
        compare(&fix, &tree);
        fix.check();
        while !fix.reclaim(1) {}
        fix.check();
        let blocks: usize = tree.values().map(|node| match node { Node::File(b) => b.len(), Node::Dir => 0 }).sum();
        prop_assert_eq!(fix.ns.block_count(), blocks as u64);
        prop_assert_eq!(fix.ns.inode_count(), 1 + tree.len() as u64);
    }
}

#[test]
fn a_large_tree_is_freed_in_slices_while_life_goes_on() {
    let mut fix = Fixture::new();
    for n in 0..300 {
        fix.file(&format!("/big/d{}/f{n}", n % 7), &[5, 6]).unwrap();
    }
    fix.mkdirs(ROOT, "/q").unwrap();
    fix.removed.clear();
    let before = fix.ns.freeze();
    assert!(fix.delete(ROOT, "/big", true).unwrap());
    assert!(fix.stat("/big").is_none());
    assert!(fix.removed.len() < 600);
    // The name is free at once, and what waits is in no image.
    fix.file("/big/d1/f1", &[7]).unwrap();
    fix.check();
    let mut slices = 0;
    while !fix.reclaim(10) {
        slices += 1;
        fix.check();
    }
    assert!(slices > 10);
    assert_eq!(fix.removed.len(), 600);
    assert_eq!(fix.ns.block_count(), 1);
    // A view from before still has everything.
    let (bytes, _) = before
        .save(Vec::new(), LayoutVersion::NAMENODE_CURRENT, &|| false)
        .unwrap();
    let old = image::load(NamespaceConfig::default(), &Image::open(&bytes[..]).unwrap()).unwrap();
    old.check();
    assert_eq!(old.block_count(), 600);
}

#[test]
fn a_directory_of_thousands_lists_in_order_and_survives_an_image() {
    let mut fix = Fixture::new();
    for n in 0..3000u32 {
        fix.mkdirs(ROOT, &format!("/huge/{:08x}", n.wrapping_mul(0x9e37_79b9)))
            .unwrap();
    }
    let names = fix.names("/huge");
    assert_eq!(names.len(), 3000);
    assert!(names.is_sorted());
    fix.check();
}

#[test]
fn saving_can_be_cancelled() {
    let fix = Fixture::new();
    let result = fix
        .ns
        .freeze()
        .save(Vec::new(), LayoutVersion::NAMENODE_CURRENT, &|| true);
    assert!(matches!(result, Err(image::SaveError::Cancelled)));
}

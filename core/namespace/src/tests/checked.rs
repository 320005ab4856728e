//! That `check` finds a namespace in which something is broken: each time one thing that a bug could break.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::store::slab::Slot;

/// A closed file of two blocks, one that is being written, and a directory.
fn whole() -> Namespace {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/dir/below").unwrap();
    fix.file("/dir/closed", &[BS, 7]).unwrap();
    let open = fix.create(ROOT, "/dir/open", false).unwrap();
    fix.add_block(open, None).unwrap();
    fix.ns.check();
    fix.ns
}

fn slot(ns: &Namespace, path: &str) -> Slot {
    ns.resolve(path).unwrap().last_slot().unwrap()
}

fn first_block(ns: &Namespace, path: &str) -> Slot {
    ns.block_slots(slot(ns, path))[0]
}

const DIGEST: &str = "the digest that was kept";

type Break = fn(&mut Namespace);

const BREAKS: [(&str, Break); 19] = [
    ("would be given out once more", |ns| ns.counters.inode_id -= 1),
    ("the stamp of block", |ns| {
        ns.counters.genstamp = 1000;
        ns.counters.impending_genstamp = 1000;
    }),
    ("is not found by its id", |ns| {
        let id = ns.blocks.get(first_block(ns, "/dir/closed")).id();
        ns.block_ids.remove(id.0 as u64);
    }),
    ("is another file's", |ns| {
        let (block, open) = (first_block(ns, "/dir/closed"), slot(ns, "/dir/open"));
        ns.blocks.get_mut(block).file = open;
    }),
    ("is open but not last of an open file", |ns| {
        let block = first_block(ns, "/dir/closed");
        ns.set_block_open(block, true);
    }),
    ("open blocks found and counted", |ns| ns.open_blocks += 1),
    ("has another parent", |ns| {
        let (closed, below) = (slot(ns, "/dir/closed"), slot(ns, "/dir/below"));
        ns.inodes.get_mut(closed).parent = below;
    }),
    ("usage kept and counted", |ns| {
        let closed = slot(ns, "/dir/closed");
        ns.unlink(closed);
    }),
    ("of names share bytes", |ns| {
        let name = ns.rec(slot(ns, "/dir/closed")).name;
        ns.names.remove(name);
    }),
    ("blocks found and kept", |ns| {
        let file = slot(ns, "/dir/closed");
        let spare = ns.blocks.insert(*ns.blocks.get(first_block(ns, "/dir/closed")));
        assert!(!ns.block_slots(file).contains(&spare));
        ns.blocks.remove(spare);
        ns.blocks.remove(spare);
    }),
    ("usage kept and counted", |ns| ns.root_quota.used_ds += 1),
    ("usage kept and counted", |ns| ns.root_quota.used_ns += 1),
    ("is leased to who does not write it", |ns| {
        ns.leases.add("client", InodeId(4711), 0);
    }),
    ("files that are leased, and those that are open", |ns| {
        let id = ns.rec(slot(ns, "/dir/open")).id();
        ns.leases.remove("client", id);
    }),
    ("at a time that has not come", |ns| ns.leases.renew_all(u64::MAX)),
    (DIGEST, |ns| {
        let closed = slot(ns, "/dir/closed");
        ns.inodes.get_mut(closed).set_mtime(4711);
    }),
    (DIGEST, |ns| {
        let block = first_block(ns, "/dir/closed");
        ns.blocks.get_mut(block).set_generation_stamp(GenerationStamp(1));
    }),
    (DIGEST, |ns| ns.cache.next_directive_id += 1),
    ("and those that marks wait for", |ns| ns.sum.cut_off()),
];

#[test]
fn whatever_a_bug_may_break_is_found() {
    for (number, (found, broken)) in BREAKS.into_iter().enumerate() {
        let mut ns = whole();
        broken(&mut ns);
        let panic = catch_unwind(AssertUnwindSafe(|| ns.check())).expect_err(found);
        let said = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|&said| said.to_owned()));
        assert!(
            said.as_ref().is_some_and(|said| said.contains(found)),
            "{number}: {found} was to be found: {said:?}"
        );
    }
}

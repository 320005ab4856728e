//! That `check` finds a namespace in which something is broken: each time one thing that a bug could break.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::store::slab::Slot;
use crate::usage::Usage;
use crate::view::View;

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

pub(crate) fn slot(ns: &Namespace, path: &str) -> Slot {
    ns.resolve(path).unwrap().last_slot().unwrap()
}

pub(crate) fn first_block(ns: &Namespace, path: &str) -> Slot {
    ns.block_slots(slot(ns, path))[0]
}

pub(crate) const DIGEST: &str = "the digest that was kept";

/// Breaks one thing in a namespace.
pub(crate) type Break = fn(&mut Namespace);

/// What breaks of the whole; each part has breaks of its own.
const BREAKS: [(&str, Break); 5] = [
    ("would be given out once more", |ns| ns.counters.inode_id -= 1),
    ("the stamp of block", |ns| {
        ns.counters.genstamp = 1000;
        ns.counters.impending_genstamp = 1000;
    }),
    (DIGEST, |ns| {
        let closed = slot(ns, "/dir/closed");
        ns.tree.rec_mut(closed).set_mtime(4711);
    }),
    ("and those that marks wait for", |ns| ns.sum.cut_off()),
    ("usage kept and counted", |ns| {
        let dir = slot(ns, "/dir");
        ns.charge(dir, Usage::inodes(1));
    }),
];

#[test]
fn whatever_a_bug_may_break_of_the_whole_is_found() {
    check_finds(&BREAKS);
}

/// Panics unless `check` finds each of these, in a namespace that is whole otherwise.
pub(crate) fn check_finds(breaks: &[(&str, Break)]) {
    for (number, (found, broken)) in breaks.iter().enumerate() {
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

//! That `check` finds a namesystem in which something is broken: each time one thing that a bug could break.

use super::*;
use crate::reply_gate::Shown;
use hathi_formats::ids::InodeId;
use std::panic::{AssertUnwindSafe, catch_unwind};

type Break = fn(&mut Namesystem);

const BREAKS: [(&str, Break); 7] = [
    ("an answer shows", |ns| {
        let key = CallKey::new(&[9; 16], 1).unwrap();
        let beyond = ns.edit_log().applied().next();
        ns.remember_answer(key, beyond, b"", NOW.monotonic_ms);
    }),
    ("a transaction is in flight that was not applied", |ns| {
        let beyond = ns.edit_log().applied().next();
        ns.in_flight.mark(Shown::Inode(InodeId::ROOT), beyond);
    }),
    ("the namespace is ahead of its log", |ns| {
        let beyond = ns.edit_log().applied().next();
        ns.break_namespace(|namespace| namespace.set_last_applied_txid(beyond.0));
    }),
    ("is not known to the block manager", |ns| {
        let last = ns.namespace().last_block_id();
        ns.blockmanager_mut().remove_block(last);
    }),
    ("the stamps that an active gives out count", |ns| {
        ns.break_namespace(Namespace::stop_active)
    }),
    ("only the active has a log to write to", |ns| {
        ns.break_role(Role::Standby)
    }),
    ("what was deleted is freed some time", |ns| {
        for number in 0..200 {
            call(ns, &hdfs(), &mkdirs(&format!("/large/{number}"))).unwrap();
        }
        call(ns, &hdfs(), &delete("/large", true)).unwrap();
        assert!(ns.reclaim_pending, "a large directory is not freed at once");
        ns.reclaim_pending = false;
    }),
];

#[test]
fn whatever_a_bug_may_break_is_found() {
    for (found, broken) in BREAKS {
        let mut ns = active();
        datanodes(&mut ns, 3);
        call(&mut ns, &hdfs(), &create("/f")).unwrap();
        call(&mut ns, &hdfs(), &add_block("/f", None)).unwrap();
        ns.check();
        broken(&mut ns);
        let panic = catch_unwind(AssertUnwindSafe(|| ns.check())).expect_err(found);
        let said = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|&said| said.to_owned()));
        assert!(
            said.as_ref().is_some_and(|said| said.contains(found)),
            "{found} was to be found: {said:?}"
        );
    }
}

//! That a frozen view answers all reads as the namespace did when it was taken.

use std::ops::ControlFlow;

use super::*;
use crate::digest::Terms as _;
use crate::image::Frozen;
use crate::path::Paths as _;
use crate::permission::{Permissions as _, action};
use crate::quotas::Usages as _;
use crate::status::Statuses as _;
use crate::summary::Counts as _;
use crate::view::View;
use crate::walk::TreeWalk;

/// What the reads of a view say of everything below the root.
fn reads<V: View>(view: &V) -> Vec<String> {
    let mut out = Vec::new();
    let mut dirs = vec![view.root()];
    while let Some(dir) = dirs.pop() {
        let path = view.path_of_slot(dir);
        out.push(format!(
            "{path} {:?} {:?} {:?} {}",
            view.quota(dir),
            view.subtree_usage(dir),
            view.resolve(&path).unwrap().last(),
            view.has_permission(&ALICE, dir, action::ALL)
        ));
        // Three at a time, as clients list.
        let mut after = Vec::new();
        loop {
            let mut last = Vec::new();
            let more = view.list_children(dir, &after, 3, &mut |status| {
                last = status.name.to_vec();
                out.push(format!("{status:?}"));
                ControlFlow::Continue(())
            });
            after = last;
            if more == 0 {
                break;
            }
        }
        dirs.extend(view.children(dir).filter(|child| view.rec(*child).is_dir()));
    }
    let (mut walk, mut summary) = (TreeWalk::of(InodeId::ROOT), ContentSummary::default());
    while !view.summarize(&mut walk, 3, &mut summary, |_| Ok(())).unwrap() {}
    out.push(format!("{summary:?}"));
    out
}

fn filled() -> Fixture {
    let mut fix = Fixture::new();
    for n in 0..70 {
        fix.file(&format!("/waits/f{n}"), &[1]).unwrap();
    }
    fix.file("/d/several", &[BS, BS, 7]).unwrap();
    for n in 0..7 {
        fix.file(&format!("/d/f{n}"), &[n]).unwrap();
    }
    let open = fix.create(ROOT, "/d/open", false).unwrap();
    fix.add_block(open, None).unwrap();
    fix.mkdirs(ALICE, "/d").unwrap();
    let plan = fix.ns.plan_set_quota(&fix.ctx(ROOT), "/d", 100, 1 << 40, None).unwrap();
    fix.commit(plan);
    let plan = fix
        .ns
        .plan_set_storage_policy(&fix.ctx(ROOT), "/d", Some("COLD"))
        .unwrap();
    fix.commit(plan);
    assert!(fix.delete(ROOT, "/waits", true).unwrap());
    assert!(fix.ns.has_detached());
    fix
}

#[test]
fn a_frozen_view_reads_as_the_namespace_did() {
    let mut fix = filled();
    let frozen: Frozen = fix.ns.freeze();
    let (then, terms) = (reads(&fix.ns), fix.ns.terms_below([fix.ns.root()]));
    let file = fix.stat("/d/several").unwrap().id;

    while !fix.reclaim(10) {}
    assert!(fix.delete(ROOT, "/d/several", false).unwrap());
    fix.mkdirs(ROOT, "/new/dir").unwrap();
    for (src, dst) in [("/d/f1", "/d/renamed"), ("/d", "/new/d")] {
        let plan = fix.ns.plan_rename(&fix.ctx(ROOT), src, dst).unwrap();
        assert!(fix.commit(plan));
    }
    let plan = fix.ns.plan_set_permission(&fix.ctx(ROOT), "/new/d", 0o700).unwrap();
    fix.commit(plan);
    fix.check();

    assert_ne!(reads(&fix.ns), then);
    assert_eq!(reads(&frozen), then);
    assert_eq!(frozen.terms_below([frozen.root()]), terms);
    let slot = frozen.slot(file).unwrap();
    assert_eq!(
        (frozen.path_of_slot(slot), frozen.file_length(slot)),
        ("/d/several".to_owned(), 2 * BS + 7)
    );
    assert_eq!(fix.ns.slot(file), None);
}

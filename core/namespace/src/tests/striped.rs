//! Striped files: the ids of their blocks, what they cost, what can't be done with them, and images and logs with them.

use hathi_formats::editlog::{AddOp, PermissionStatus};
use hathi_formats::exceptions;
use hathi_formats::fsimage::ImageError;

use super::*;
use crate::erasure_coding::policy::ErasureCodingPolicyId;
use crate::files;
use crate::view::View as _;

/// XOR-2-1-1024k.
pub(super) const XOR: u8 = 4;
const CELL: u64 = 1 << 20;

/// The op that creates a striped file, as Hadoop's NameNode logs it.
pub(super) fn add_op(fix: &Fixture, path: &str, policy: u8) -> AddOp {
    AddOp {
        inode_id: InodeId(fix.ns.last_inode_id().0 + 1),
        path: path.to_owned(),
        replication: 1,
        mtime: fix.now_ms as i64,
        atime: fix.now_ms as i64,
        block_size: 4 * CELL as i64,
        blocks: Vec::new(),
        permissions: PermissionStatus {
            user: "hdfs".to_owned(),
            group: "supergroup".to_owned(),
            mode: 0o644,
        },
        acl_entries: Vec::new(),
        xattrs: Vec::new(),
        client_name: "client".to_owned(),
        client_machine: "host".to_owned(),
        overwrite: false,
        storage_policy_id: 0,
        erasure_coding_policy_id: policy,
        rpc_ids: RpcIds::NONE,
    }
}

fn create(fix: &mut Fixture, path: &str) -> InodeId {
    let op = add_op(fix, path, XOR);
    let id = op.inode_id;
    fix.op(&EditOp::Add(op));
    id
}

/// A closed striped file with groups of these lengths.
fn striped(fix: &mut Fixture, path: &str, groups: &[u64]) -> InodeId {
    let id = create(fix, path);
    fix.write(path, id, None, groups);
    id
}

fn ids(fix: &Fixture, path: &str) -> Vec<i64> {
    let id = fix.stat(path).unwrap().id;
    fix.ns.blocks_of(id).map(|of| of.block.id.0).collect()
}

fn used(fix: &Fixture, path: &str) -> u64 {
    let iip = fix.ns.resolve(path).unwrap();
    fix.ns.quota_usage(&ROOT, &iip, path).unwrap().unwrap().space_consumed
}

#[test]
fn groups_have_ids_of_their_own_in_steps_of_sixteen() {
    let mut fix = Fixture::new();
    let before = fix.ns.last_block_id();
    striped(&mut fix, "/f", &[8 * CELL, 5]);
    fix.file("/replicated", &[7]).unwrap();
    striped(&mut fix, "/g", &[1]);
    assert_eq!(ids(&fix, "/f"), [i64::MIN + 16, i64::MIN + 32]);
    assert_eq!(ids(&fix, "/g"), [i64::MIN + 48]);
    assert_eq!(ids(&fix, "/replicated"), [before.0 + 1]);
    let status = fix.stat("/f").unwrap();
    assert_eq!(
        (status.length, status.replication, status.block_size),
        (8 * CELL + 5, 1, 4 * CELL)
    );
    let striping = fix.ns.striping_of_file(status.id).unwrap();
    assert_eq!((striping.policy, striping.units()), (XOR, 3));
    fix.check();
    // The one that loads the image goes on behind the last group.
    let mut loaded = fix.loaded();
    loaded.start_active(1);
    assert_eq!(loaded.next_group().unwrap().id, BlockId(i64::MIN + 64));
}

#[test]
fn a_group_costs_what_its_internal_blocks_take() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d").unwrap();
    let limit = 24 * CELL + 4;
    let plan = fix
        .ns
        .plan_set_quota(&fix.ctx(ROOT), "/d", quota::DONT_SET, limit as i64, None);
    fix.commit(plan.unwrap());
    let id = create(&mut fix, "/d/f");
    let block = fix.add_block(id, None).unwrap();
    assert_eq!(
        used(&fix, "/d"),
        12 * CELL,
        "three internal blocks that may become full"
    );
    fix.check();
    let last = Block { num_bytes: 1, ..block };
    assert!(fix.complete("/d/f", id, Some(last)).unwrap());
    assert_eq!(used(&fix, "/d"), 2, "one byte and its parity");
    // Closing by the next block counts as well.
    let id = create(&mut fix, "/d/g");
    let first = fix.add_block(id, None).unwrap();
    let first = Block { num_bytes: 2, ..first };
    fix.add_block(id, Some(first)).unwrap();
    assert_eq!(used(&fix, "/d"), 2 + 4 + 12 * CELL);
    fix.check();
    let refused = create(&mut fix, "/d/h");
    let refused = fix.add_block(refused, None).unwrap_err();
    assert!(refused.is(exceptions::DS_QUOTA_EXCEEDED), "{refused}");
    let iip = fix.ns.resolve("/d/f").unwrap();
    let walk = fix.ns.content_summary(&ROOT, &iip, "/d/f").unwrap();
    assert_eq!((walk.summary.length, walk.summary.space_consumed), (1, 2));
    fix.check();
}

#[test]
fn what_needs_replicas_is_refused_as_hadoop_refuses_it() {
    let mut fix = Fixture::new();
    striped(&mut fix, "/f", &[5]);
    striped(&mut fix, "/g", &[6]);
    fix.file("/replicated", &[7]).unwrap();
    let ctx = fix.ctx(ROOT);
    let (ns, view) = (&fix.ns, &fix.view);
    let refused = ns.plan_append(&ctx, "/f", "client", false, view).unwrap_err();
    assert!(refused.is(exceptions::UNSUPPORTED_OPERATION), "{refused}");
    assert!(
        refused
            .message
            .starts_with("Append on EC file without new block is not supported. Use NEW_BLOCK")
    );
    let refused = ns.plan_truncate(&ctx, "/f", 1, "client", view).unwrap_err();
    assert!(refused.is(exceptions::UNSUPPORTED_OPERATION), "{refused}");
    assert_eq!(refused.message, "Cannot truncate file with striped block /f");
    let plan = ns.plan_set_replication(&ctx, "/f", 2).unwrap();
    assert!(!plan.reply && plan.ops.is_empty());
    let refused = ns.plan_concat(&ctx, "/f", &["/replicated".to_owned()]).unwrap_err();
    assert!(refused.is(exceptions::HADOOP_ILLEGAL_ARGUMENT), "{refused}");
    assert_eq!(
        refused.message,
        "Source file /replicated and target file /f have different erasure coding policy"
    );
    let plan = ns.plan_concat(&ctx, "/f", &["/g".to_owned()]).unwrap();
    fix.commit(plan);
    assert_eq!(ids(&fix, "/f"), [i64::MIN + 16, i64::MIN + 32]);
    fix.check();
    // A new group goes behind the last one, which stays as it is.
    let ctx = fix.ctx(ROOT);
    let plan = fix.ns.plan_append(&ctx, "/f", "client", true, &fix.view).unwrap();
    fix.commit(plan);
    let id = fix.stat("/f").unwrap().id;
    let refused = fix.ns.check_additional_datanode("/f", id, "client").unwrap_err();
    assert!(refused.is(exceptions::UNSUPPORTED_OPERATION), "{refused}");
    let last = fix.ns.blocks_of(id).last().map(|of| of.block);
    fix.write("/f", id, last, &[9]);
    assert_eq!(fix.stat("/f").unwrap().length, 5 + 6 + 9);
    fix.check();
}

#[test]
fn snapshots_show_striped_files_as_they_were() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d").unwrap();
    striped(&mut fix, "/d/f", &[8 * CELL, 5]);
    fix.op(&EditOp::AllowSnapshot {
        snapshot_root: "/d".to_owned(),
    });
    let plan = fix.ns.plan_create_snapshot(&fix.ctx(ROOT), "/d", "s", &String::new);
    fix.commit(plan.unwrap());
    let ctx = fix.ctx(ROOT);
    let plan = fix.ns.plan_append(&ctx, "/d/f", "client", true, &fix.view).unwrap();
    fix.commit(plan);
    let id = fix.stat("/d/f").unwrap().id;
    let last = fix.ns.blocks_of(id).last().map(|of| of.block);
    fix.write("/d/f", id, last, &[9]);
    fix.check();
    assert_eq!(fix.stat("/d/.snapshot/s/f").unwrap().length, 8 * CELL + 5);
    fix.delete(ROOT, "/d/f", false).unwrap();
    fix.reclaim(100);
    let status = fix.stat("/d/.snapshot/s/f").unwrap();
    assert_eq!((status.length, status.replication), (8 * CELL + 5, 1));
    assert_eq!(fix.ns.blocks_shown(&status).count(), 2);
    fix.check();
}

fn refusal(ns: &mut Namespace, op: EditOp) -> String {
    let txid = ns.last_applied_txid() + 1;
    ns.apply(txid, &op).unwrap_err().to_string()
}

#[test]
fn ops_with_blocks_of_the_other_kind_do_not_fit() {
    let mut fix = Fixture::new();
    create(&mut fix, "/f");
    fix.create(ROOT, "/replicated", false).unwrap();
    let block = |id| Block {
        id: BlockId(id),
        num_bytes: 0,
        generation_stamp: GenerationStamp(1001),
    };
    let group = i64::MIN + 16;
    for (path, id, why) in [
        ("/f", 1 << 31, "is no block group, and its file is striped"),
        ("/f", group + 1, "one of its internal blocks"),
        ("/replicated", group, "of a file that is not striped"),
    ] {
        let add = EditOp::AddBlock {
            path: path.to_owned(),
            penultimate: None,
            last: block(id),
            rpc_ids: RpcIds::NONE,
        };
        let update = EditOp::UpdateBlocks {
            path: path.to_owned(),
            blocks: vec![block(id)],
            rpc_ids: RpcIds::NONE,
        };
        for op in [add, update] {
            let said = refusal(&mut fix.replayed(), op);
            assert!(said.contains(why), "{said}");
        }
    }
    let said = refusal(&mut fix.replayed(), EditOp::Add(add_op(&fix, "/g", 77)));
    assert!(said.contains("/g has the erasure coding policy 77"), "{said}");
}

#[test]
fn an_image_with_a_policy_or_a_block_that_can_not_be_is_refused() {
    let mut fix = Fixture::new();
    striped(&mut fix, "/f", &[5]);
    let slot = fix.ns.resolve("/f").unwrap().last_slot().unwrap();
    let refused = |fix: &Fixture, why: &str| {
        let bytes = fix.image();
        let open = || Image::open(&bytes[..]).unwrap();
        let verified = image::verify(NamespaceConfig::default(), &open()).map(|_| ());
        for found in [verified, image::load(NamespaceConfig::default(), &open()).map(|_| ())] {
            match found {
                Err(ImageError::Malformed { problem, .. }) => assert!(problem.contains(why), "{problem}"),
                other => panic!("{why}: {other:?}"),
            }
        }
    };
    fix.ns.tree.rec_mut(slot).set_striped(ErasureCodingPolicyId(77));
    refused(&fix, "the erasure coding policy 77, which does not exist");
    fix.ns.tree.rec_mut(slot).set_striped(ErasureCodingPolicyId(XOR));
    let block = fix.ns.block_slots(slot)[0];
    let mut sum = fix.ns.sum.clone();
    fix.ns.files.change(&mut sum, block, |rec| {
        let internal = Block {
            id: rec.id().internal(1),
            ..rec.block()
        };
        *rec = files::block::BlockRec::new(internal, rec.file(), false);
    });
    refused(&fix, "one of its internal blocks");
}

//! A namesystem in which an op failed half applied is of no use any more, to nobody and in no role.

use super::*;
use crate::calls::handler;
use hathi_formats::editlog::{EditOp, RenameOption, RpcIds};
use hathi_formats::protocols::{DatanodeLifelineMethod, DatanodeMethod, Method, NamenodeMethod};

/// Replaces `/a/b` by `/a`: the destination is gone before it is found to be below the source.
fn fails_half_applied() -> EditOp {
    EditOp::Rename {
        src: "/a".to_owned(),
        dst: "/a/b".to_owned(),
        time: 1,
        options: vec![RenameOption::Overwrite],
        rpc_ids: RpcIds::NONE,
    }
}

fn refuses_every_call(ns: &mut Namesystem) {
    let clients = M::ALL.iter().map(|method| Method::Client(*method));
    let datanodes = DatanodeMethod::ALL.iter().map(|method| Method::Datanode(*method));
    let lifeline = [DatanodeLifelineMethod::SendLifeline.into()];
    let namenodes = [
        NamenodeMethod::GetTransactionId,
        NamenodeMethod::GetMostRecentCheckpointTxId,
        NamenodeMethod::GetMostRecentNameNodeFileTxId,
        NamenodeMethod::RollEditLog,
        NamenodeMethod::GetEditLogManifest,
        NamenodeMethod::GetBlocks,
    ];
    let served = clients
        .chain(datanodes.filter(|method| *method != DatanodeMethod::VersionRequest.into()))
        .chain(lifeline)
        .chain(namenodes.map(Method::from));
    for (name, handler) in served.map(|method| (method.name(), handler(method).unwrap())) {
        let reply = handler.run(ns, &hdfs(), &Bytes::new());
        let refused = reply.result.expect_err(name);
        assert!(refused.is(exceptions::STANDBY), "{name}: {refused:?}");
        assert!(reply.deferred.is_none(), "{name}");
    }
}

fn makes_no_image(ns: &Namesystem) {
    let saved = ns
        .namespace()
        .freeze()
        .save(Vec::new(), LayoutVersion::NAMENODE_CURRENT, &|| false);
    assert!(matches!(saved, Err(hathi_namespace::image::SaveError::Broken)));
}

#[test]
fn safety_n3_an_op_that_fails_half_applied_ends_the_use_of_the_namespace_for_good() {
    let mut ns = active();
    call(&mut ns, &hdfs(), &mkdirs("/a/b")).unwrap();
    let logged = ns.edit_log().applied();
    assert!(!ns.is_broken());

    let refused = ns.commit(&[fails_half_applied()]).unwrap_err();
    assert!(refused.is(exceptions::STANDBY), "{refused:?}");
    assert!(ns.is_broken());
    assert_eq!(
        ns.edit_log().applied(),
        logged,
        "an op that did not apply is not logged"
    );

    refuses_every_call(&mut ns);
    assert!(
        ns.commit(&[EditOp::Delete {
            path: "/a".to_owned(),
            time: 1,
            rpc_ids: RpcIds::NONE
        }])
        .is_err()
    );
    assert_eq!(crate::monitor::check_leases(&mut ns, NOW), 0);
    makes_no_image(&ns);

    // The edits before it are good and become durable, and no later role is served from this state.
    let mut other = standby();
    replay(&mut ns, &mut other);
    assert_eq!(other.edit_log().applied(), logged);
    ns.begin_stepping_down().unwrap();
    assert!(ns.end_stepping_down(NOW.wall_ms).is_err());
    refuses_every_call(&mut ns);
}

#[test]
fn safety_n3_a_standby_whose_replay_fails_answers_nothing_and_becomes_nothing() {
    let mut from = active();
    call(&mut from, &hdfs(), &mkdirs("/a/b")).unwrap();
    let mut ns = standby();
    replay(&mut from, &mut ns);
    let next = ns.edit_log().applied().next();
    assert!(ns.replay(next, &fails_half_applied(), 1).is_err());
    assert!(ns.is_broken());

    let good = EditOp::SetPermissions {
        src: "/a".to_owned(),
        mode: 0o700,
    };
    assert!(ns.replay(next, &good, 1).is_err(), "nothing is replayed on it any more");
    makes_no_image(&ns);
    ns.begin_activation().unwrap();
    assert!(ns.start_active(NOW).is_err());
    assert_ne!(ns.role(), Role::Active);
    ns.config.allow_stale_reads = true;
    refuses_every_call(&mut ns);
}

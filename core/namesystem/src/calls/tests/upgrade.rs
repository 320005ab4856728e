//! An upgrade that is not finalized: DataNodes keep what they need to go back.

use super::datanode::{dn, heartbeat, registration, report};
use super::*;
use crate::calls::rolling_upgrade::start_after_image;
use crate::calls::serve;
use crate::save_namespace::Canceler;
use crate::upgrade::RollbackImages;
use hathi_formats::editlog::EditOp;
use hathi_formats::fsimage::Image;
use hathi_formats::proto::datanode::datanode_command_proto::Type as CommandType;
use hathi_formats::proto::datanode::*;
use hathi_formats::proto::namenode::{IsRollingUpgradeRequestProto, IsRollingUpgradeResponseProto};
use hathi_formats::protocols::NamenodeMethod;

fn asks(action: RollingUpgradeActionProto) -> RollingUpgradeRequestProto {
    RollingUpgradeRequestProto { action: action as i32 }
}

fn registered() -> Namesystem {
    let mut ns = active();
    let request = RegisterDatanodeRequestProto {
        registration: registration(0),
    };
    dn::<RegisterDatanodeResponseProto>(&mut ns, 0, "registerDatanode", &request).unwrap();
    dn::<HeartbeatResponseProto>(&mut ns, 0, "sendHeartbeat", &heartbeat(0)).unwrap();
    ns
}

fn begin(ns: &mut Namesystem) {
    ns.commit(&[EditOp::RollingUpgradeStart { time: 77 }]).unwrap();
    sync(ns);
}

fn command(ns: &mut Namesystem) -> Option<CommandType> {
    let answer: BlockReportResponseProto = dn(ns, 0, "blockReport", &report(0, [])).unwrap();
    answer.cmd.map(|command| command.cmd_type())
}

fn status(ns: &mut Namesystem) -> (Option<bool>, Option<bool>) {
    let answer: HeartbeatResponseProto = dn(ns, 0, "sendHeartbeat", &heartbeat(0)).unwrap();
    let finalized = |status: Option<RollingUpgradeStatusProto>| status.map(|status| status.finalized());
    (
        finalized(answer.rolling_upgrade_status),
        finalized(answer.rolling_upgrade_status_v2),
    )
}

#[test]
fn nobody_is_told_to_finalize_while_a_rolling_upgrade_is_under_way() {
    let mut ns = registered();
    assert_eq!(command(&mut ns), Some(CommandType::FinalizeCommand));
    begin(&mut ns);
    assert_eq!(command(&mut ns), None);
    ns.commit(&[EditOp::RollingUpgradeFinalize { time: 99 }]).unwrap();
    sync(&mut ns);
    assert_eq!(command(&mut ns), Some(CommandType::FinalizeCommand));
}

#[test]
fn datanodes_keep_what_is_deleted_until_the_rolling_upgrade_is_finalized() {
    let mut ns = registered();
    assert_eq!(status(&mut ns), (None, None));
    begin(&mut ns);
    assert_eq!(status(&mut ns), (Some(false), Some(false)));
    let request = RollingUpgradeRequestProto {
        action: RollingUpgradeActionProto::Finalize as i32,
    };
    let finalized = call(&mut ns, &hdfs(), &request).unwrap();
    let info = finalized.rolling_upgrade_info.unwrap();
    assert_eq!((info.start_time, info.finalize_time), (77, NOW.wall_ms));
    assert!(info.status.finalized());
    sync(&mut ns);
    // Old DataNodes know the first field only, and take its absence for the end.
    assert_eq!(status(&mut ns), (None, Some(true)));
}

#[test]
fn an_upgrade_under_way_is_told_to_who_asks() {
    let mut ns = registered();
    begin(&mut ns);
    let query = RollingUpgradeRequestProto {
        action: RollingUpgradeActionProto::Query as i32,
    };
    let found = call(&mut ns, &hdfs(), &query).unwrap();
    assert_eq!(found.rolling_upgrade_info.unwrap().start_time, 77);
    let finalized = call(&mut ns, &hdfs(), &UpgradeStatusRequestProto {}).unwrap();
    assert!(!finalized.upgrade_finalized);
    let applied = ns.edit_log().applied();
    let again = call(&mut ns, &hdfs(), &asks(RollingUpgradeActionProto::Start)).unwrap();
    assert_eq!(again.rolling_upgrade_info.unwrap().start_time, 77, "it is begun once");
    assert_eq!(ns.edit_log().applied(), applied);
    let request = IsRollingUpgradeRequestProto {};
    let answer: IsRollingUpgradeResponseProto =
        serve(&mut ns, &hdfs(), NamenodeMethod::IsRollingUpgrade, &request).unwrap();
    assert!(answer.is_rolling_upgrade);
}

// --- the image to which it can be rolled back

fn of_a_pair(mut ns: Namesystem) -> Namesystem {
    ns.config.ha_enabled = true;
    ns
}

/// The last transaction of the rollback image that is to be made, and whether it has this directory.
fn rollback_image(ns: &Namesystem, path: &str) -> (TxId, bool) {
    assert_eq!(ns.rollback_images(), RollbackImages::Save);
    let (frozen, context) = ns.begin_rollback_image(Canceler::default()).unwrap();
    let (bytes, _) = frozen
        .save(Vec::new(), LayoutVersion::NAMENODE_CURRENT, &|| false)
        .unwrap();
    let image = Image::open(&bytes[..]).unwrap();
    let loaded = hathi_namespace::image::load(hathi_namespace::NamespaceConfig::default(), &image).unwrap();
    assert_eq!(loaded.last_applied_txid(), context.txid().0);
    (context.txid(), loaded.resolve(path).unwrap().exists())
}

#[test]
fn active_and_standby_come_to_the_same_rollback_image_however_far_they_are() {
    let (mut ns, mut other) = (of_a_pair(active()), of_a_pair(standby()));
    call(&mut ns, &hdfs(), &mkdirs("/before")).unwrap();
    let begun = call(&mut ns, &hdfs(), &asks(RollingUpgradeActionProto::Start)).unwrap();
    let info = begun.rolling_upgrade_info.unwrap();
    assert_eq!((info.start_time, info.created_rollback_images), (NOW.wall_ms, false));
    call(&mut ns, &hdfs(), &mkdirs("/after")).unwrap();
    let end = rollback_image(&ns, "/before").0;
    assert_eq!(rollback_image(&ns, "/before"), (end, true));
    assert_eq!(rollback_image(&ns, "/after"), (end, false), "it holds what came later");
    assert_eq!(
        ns.edit_log().segment(),
        Some(end.next()),
        "the segment ends where the image does"
    );

    replay(&mut ns, &mut other);
    assert!(other.edit_log().applied() > end);
    assert_eq!(rollback_image(&other, "/before"), (end, true));
    assert_eq!(rollback_image(&other, "/after"), (end, false));

    for ns in [&mut ns, &mut other] {
        assert!(ns.awaits_rollback_image());
        assert!(!ns.rolling_upgrade_info().unwrap().created_rollback_images);
        ns.note_rollback_image(Some(end));
        assert!(!ns.awaits_rollback_image());
        assert!(ns.rolling_upgrade_info().unwrap().created_rollback_images);
        assert_eq!(ns.rollback_images(), RollbackImages::Stay);
    }
}

#[test]
fn a_recovery_that_ended_the_segment_is_the_end_of_the_rollback_image() {
    let mut ns = of_a_pair(standby());
    let start = EditOp::RollingUpgradeStart { time: 77 };
    ns.replay(TxId(2), &start, 1).unwrap();
    assert_eq!(
        ns.rollback_images(),
        RollbackImages::Stay,
        "the end of the segment may follow"
    );
    assert!(ns.begin_rollback_image(Canceler::default()).is_none());
    assert!(ns.awaits_rollback_image(), "no other image is made before");
    ns.replay(TxId(3), &EditOp::StartLogSegment, 1).unwrap();
    assert_eq!(rollback_image(&ns, "/").0, TxId(2));

    let mut with_image = of_a_pair(standby());
    with_image.note_rollback_image(Some(TxId(3)));
    with_image.replay(TxId(2), &start, 1).unwrap();
    with_image.replay(TxId(3), &EditOp::EndLogSegment, 1).unwrap();
    assert_eq!(with_image.rollback_images(), RollbackImages::Stay, "it is there");
}

#[test]
fn rollback_images_become_usual_ones_when_the_end_of_the_upgrade_is_durable() {
    let mut ns = of_a_pair(registered());
    call(&mut ns, &hdfs(), &asks(RollingUpgradeActionProto::Start)).unwrap();
    let end = rollback_image(&ns, "/").0;
    ns.note_rollback_image(Some(end));
    sync(&mut ns);
    call(&mut ns, &hdfs(), &asks(RollingUpgradeActionProto::Finalize)).unwrap();
    assert_eq!(ns.rollback_images(), RollbackImages::Stay, "it may be lost");
    sync(&mut ns);
    let RollbackImages::Finalize(finalized) = ns.rollback_images() else {
        panic!("{:?}", ns.rollback_images());
    };
    assert!(finalized > end);
    ns.note_rollback_image(None);
    assert_eq!(ns.rollback_images(), RollbackImages::Stay);
    let none = call(&mut ns, &hdfs(), &asks(RollingUpgradeActionProto::Query)).unwrap();
    assert_eq!(none.rolling_upgrade_info, None);
}

#[test]
fn the_only_namenode_saves_its_rollback_image_in_safe_mode_and_leaves_it_then() {
    let mut ns = active();
    ns.config.ha_enabled = false;
    let start = asks(RollingUpgradeActionProto::Start);
    let refused = call(&mut ns, &hdfs(), &start).unwrap_err();
    assert_eq!(
        refused.message,
        "Safe mode should be turned ON in order to create namespace image."
    );
    ns.enter_safe_mode();
    let reply = handler(M::RollingUpgrade.into())
        .unwrap()
        .run(&mut ns, &hdfs(), &body(&start));
    assert_eq!(reply.deferred, Some(Deferred::StartRollingUpgrade));
    assert!(ns.rolling_upgrade_info().is_none(), "the image comes first");
    let image = ns.edit_log().applied();
    let begun = start_after_image(&mut ns, image, NOW).unwrap();
    assert!(begun.response.rolling_upgrade_info.unwrap().created_rollback_images);
    assert_eq!(begun.after, Some(ns.edit_log().applied()));
    assert!(!ns.blockmanager().in_safe_mode());
    assert_eq!(ns.rollback_images(), RollbackImages::Stay);
}

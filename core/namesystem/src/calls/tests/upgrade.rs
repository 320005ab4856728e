//! An upgrade that is not finalized: DataNodes keep what they need to go back.

use super::datanode::{dn, heartbeat, registration, report};
use super::*;
use crate::calls::serve;
use hathi_formats::editlog::EditOp;
use hathi_formats::proto::datanode::datanode_command_proto::Type as CommandType;
use hathi_formats::proto::datanode::*;
use hathi_formats::proto::namenode::{IsRollingUpgradeRequestProto, IsRollingUpgradeResponseProto};
use hathi_formats::protocols::NamenodeMethod;

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
    let start = RollingUpgradeRequestProto {
        action: RollingUpgradeActionProto::Start as i32,
    };
    let refused = call(&mut ns, &hdfs(), &start).unwrap_err();
    assert!(refused.is(exceptions::UNSUPPORTED_OPERATION), "{refused}");
    let request = IsRollingUpgradeRequestProto {};
    let answer: IsRollingUpgradeResponseProto =
        serve(&mut ns, &hdfs(), NamenodeMethod::IsRollingUpgrade, &request).unwrap();
    assert!(answer.is_rolling_upgrade);
}

//! What DataNodes say and get told.

use super::*;
use crate::calls::{BlockReportWork, lookup};
use hathi_formats::proto::datanode::datanode_command_proto::Type as CommandType;
use hathi_formats::proto::datanode::received_deleted_block_info_proto::BlockStatus;
use hathi_formats::proto::datanode::*;
use hathi_formats::proto::datanode::{ReportBadBlocksRequestProto, ReportBadBlocksResponseProto};
use hathi_formats::proto::datanodelifeline::LifelineResponseProto;
use hathi_formats::proto::hdfs::nnha_status_heartbeat_proto::State;
use hathi_formats::protocols::{DATANODE_LIFELINE_PROTOCOL, DATANODE_PROTOCOL};

pub(super) fn from(node: u32) -> CallContext {
    CallContext {
        client_ip: Some(format!("10.0.1.{node}").parse().unwrap()),
        ..hdfs()
    }
}

pub(super) fn raw_dn(ns: &mut Namesystem, ctx: &CallContext, method: &str, request: &impl Message) -> Reply {
    let protocol = if method == "sendLifeline" {
        &DATANODE_LIFELINE_PROTOCOL
    } else {
        &DATANODE_PROTOCOL
    };
    let handler = lookup(protocol.name, method).unwrap_or_else(|| panic!("no {method}"));
    handler.run(ns, ctx, &body(request))
}

pub(super) fn dn<M: Message + Default>(
    ns: &mut Namesystem,
    node: u32,
    method: &str,
    request: &impl Message,
) -> Result<M, RemoteException> {
    raw_dn(ns, &from(node), method, request)
        .result
        .map(|body| M::decode(body).unwrap())
}

pub(super) fn registration(node: u32) -> DatanodeRegistrationProto {
    DatanodeRegistrationProto {
        datanode_id: DatanodeIdProto {
            ip_addr: format!("10.0.1.{node}"),
            host_name: format!("dn{node}"),
            datanode_uuid: format!("uuid-{node}"),
            xfer_port: 9866,
            info_port: 9864,
            ipc_port: 9867,
            info_secure_port: None,
        },
        storage_info: StorageInfoProto::default(),
        keys: ExportedBlockKeysProto::default(),
        software_version: "3.4.1".to_owned(),
    }
}

pub(super) fn heartbeat(node: u32) -> HeartbeatRequestProto {
    HeartbeatRequestProto {
        registration: registration(node),
        reports: vec![StorageReportProto {
            storage_uuid: format!("DS-{node}"),
            capacity: Some(1 << 40),
            remaining: Some(1 << 40),
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(super) use hathi_formats::wire::put_varint;

pub(super) fn report(node: u32, blocks: impl IntoIterator<Item = (u64, u64, u64)>) -> BlockReportRequestProto {
    let (mut bytes, mut count) = (Vec::new(), 0);
    for (id, length, stamp) in blocks {
        for value in [id << 1, length, stamp, 0] {
            put_varint(&mut bytes, value);
        }
        count += 1;
    }
    BlockReportRequestProto {
        registration: registration(node),
        block_pool_id: POOL.to_owned(),
        reports: vec![StorageBlockReportProto {
            storage: DatanodeStorageProto {
                storage_uuid: format!("DS-{node}"),
                ..Default::default()
            },
            blocks: Vec::new(),
            number_of_blocks: Some(count),
            blocks_buffers: vec![bytes.into()],
        }],
        context: Some(BlockReportContextProto {
            total_rpcs: 1,
            cur_rpc: 0,
            id: 1,
            lease_id: Some(0),
        }),
    }
}

pub(super) fn notices(node: u32, block: BlockProto, status: BlockStatus) -> BlockReceivedAndDeletedRequestProto {
    BlockReceivedAndDeletedRequestProto {
        registration: registration(node),
        block_pool_id: POOL.to_owned(),
        blocks: vec![StorageReceivedDeletedBlocksProto {
            storage_uuid: format!("DS-{node}"),
            blocks: vec![ReceivedDeletedBlockInfoProto {
                block,
                delete_hint: Some(String::new()),
                status: status as i32,
            }],
            storage: None,
        }],
    }
}

pub(super) fn register(ns: &mut Namesystem, node: u32) {
    let request = RegisterDatanodeRequestProto {
        registration: registration(node),
    };
    dn::<RegisterDatanodeResponseProto>(ns, node, "registerDatanode", &request).unwrap();
    dn::<HeartbeatResponseProto>(ns, node, "sendHeartbeat", &heartbeat(node)).unwrap();
}

/// A file of one block on node 0, closed.
fn one_block(ns: &mut Namesystem) -> ExtendedBlockProto {
    let request = CreateRequestProto {
        replication: 1,
        ..create("/f")
    };
    call(ns, &hdfs(), &request).unwrap();
    let added = call(ns, &hdfs(), &add_block("/f", None)).unwrap();
    let block = of_length(&added.block.b, 100);
    let told = BlockProto {
        block_id: block.block_id,
        gen_stamp: block.generation_stamp,
        num_bytes: Some(100),
    };
    let told = notices(0, told, BlockStatus::Received);
    dn::<BlockReceivedAndDeletedResponseProto>(ns, 0, "blockReceivedAndDeleted", &told).unwrap();
    let done = call(ns, &hdfs(), &complete("/f", Some(block.clone()))).unwrap();
    assert!(done.result);
    block
}

#[test]
fn a_report_names_the_blocks_that_a_complete_may_wait_for() {
    let mut ns = active();
    register(&mut ns, 0);
    let block = one_block(&mut ns);
    let told = BlockProto {
        block_id: block.block_id,
        gen_stamp: block.generation_stamp,
        num_bytes: Some(100),
    };
    for (status, reported) in [
        (BlockStatus::Receiving, vec![]),
        (BlockStatus::Received, vec![BlockId(block.block_id as i64)]),
        (BlockStatus::Deleted, vec![]),
    ] {
        let told = notices(0, told, status);
        let reply = raw_dn(&mut ns, &from(0), "blockReceivedAndDeleted", &told);
        assert_eq!(reply.reported, Reported::Blocks(reported), "{status:?}");
    }
    // A report that was refused has changed nothing.
    let told = notices(7, told, BlockStatus::Received);
    let reply = raw_dn(&mut ns, &from(7), "blockReceivedAndDeleted", &told);
    assert!(reply.result.is_err());
    assert_eq!(reply.reported, Reported::Nothing);
}

#[test]
fn versions_carry_the_state_as_datanodes_number_it() {
    let mut ns = active();
    let answer: VersionResponseProto = dn(&mut ns, 0, "versionRequest", &VersionRequestProto {}).unwrap();
    assert_eq!((answer.info.state(), answer.info.capabilities()), (State::Active, 1));
    let mut ns = new_namesystem();
    let answer: VersionResponseProto = dn(&mut ns, 0, "versionRequest", &VersionRequestProto {}).unwrap();
    assert_eq!(answer.info.state(), State::Standby);
}

#[test]
fn a_node_registers_when_told_to() {
    let mut ns = active();
    let answer: HeartbeatResponseProto = dn(&mut ns, 0, "sendHeartbeat", &heartbeat(0)).unwrap();
    assert_eq!(answer.cmds.len(), 1);
    assert_eq!(answer.cmds[0].cmd_type, CommandType::RegisterCommand as i32);
    let request = RegisterDatanodeRequestProto {
        registration: DatanodeRegistrationProto {
            datanode_id: DatanodeIdProto {
                ip_addr: "0.0.0.0".to_owned(),
                ..registration(0).datanode_id
            },
            ..registration(0)
        },
    };
    let answer: RegisterDatanodeResponseProto = dn(&mut ns, 0, "registerDatanode", &request).unwrap();
    assert_eq!(
        answer.registration.datanode_id.ip_addr, "10.0.1.0",
        "the address is the peer's"
    );
    assert!(!answer.registration.keys.is_block_token_enabled);
    let asking = HeartbeatRequestProto {
        request_full_block_report_lease: Some(true),
        ..heartbeat(0)
    };
    let answer: HeartbeatResponseProto = dn(&mut ns, 0, "sendHeartbeat", &asking).unwrap();
    assert!(answer.cmds.is_empty());
    assert_eq!(answer.ha_status.state(), State::Active);
    assert_ne!(answer.full_block_report_lease_id(), 0);
    let live = GetDatanodeReportRequestProto {
        r#type: DatanodeReportTypeProto::Live as i32,
    };
    let live = call(&mut ns, &hdfs(), &live).unwrap();
    assert_eq!((live.di.len(), live.di[0].capacity()), (1, 1 << 40));
    // Somebody else at another address may not speak for it.
    let error = dn::<HeartbeatResponseProto>(
        &mut ns,
        0,
        "sendHeartbeat",
        &HeartbeatRequestProto {
            registration: request.registration,
            ..heartbeat(0)
        },
    )
    .unwrap_err();
    assert!(error.is(exceptions::UNREGISTERED_NODE), "{error}");
}

#[test]
fn strangers_and_old_versions_are_refused() {
    let mut ns = active();
    register(&mut ns, 0);
    let mut stranger = heartbeat(0);
    stranger.registration.storage_info.cluster_id = "CID-other".to_owned();
    let error = dn::<HeartbeatResponseProto>(&mut ns, 0, "sendHeartbeat", &stranger).unwrap_err();
    assert!(error.is(exceptions::UNREGISTERED_NODE), "{error}");
    for (version, ctime, refused) in [
        ("2.0.5", 0, true),
        ("2.1.0-beta", 0, false),
        ("3.4.1", 5, true),
        ("3.5.0", 5, false),
    ] {
        let mut registration = registration(1);
        registration.software_version = version.to_owned();
        registration.storage_info.c_time = ctime;
        let request = RegisterDatanodeRequestProto { registration };
        let answer = dn::<RegisterDatanodeResponseProto>(&mut ns, 1, "registerDatanode", &request);
        assert_eq!(answer.is_err(), refused, "{version} {ctime}");
    }
    ns.set_hosts(["dn7".to_owned()], []);
    let error = dn::<HeartbeatResponseProto>(&mut ns, 0, "sendHeartbeat", &heartbeat(0)).unwrap_err();
    assert!(error.is(exceptions::DISALLOWED_DATANODE), "{error}");
}

#[test]
fn commands_of_an_active_wait_for_the_edits_behind_them() {
    let mut ns = active();
    register(&mut ns, 0);
    one_block(&mut ns);
    sync(&mut ns);
    let quiet = raw_dn(&mut ns, &from(0), "sendHeartbeat", &heartbeat(0));
    assert_eq!(quiet.after, None);
    let gone = call(&mut ns, &hdfs(), &delete("/f", false)).unwrap();
    assert!(gone.result);
    while ns.reclaim(10) {}
    let reply = raw_dn(&mut ns, &from(0), "sendHeartbeat", &heartbeat(0));
    assert_eq!(
        reply.after,
        Some(ns.edit_log().applied()),
        "the deletion is not durable yet"
    );
    let answer = HeartbeatResponseProto::decode(reply.result.unwrap()).unwrap();
    assert_eq!(answer.cmds[0].blk_cmd.as_ref().unwrap().action, 2);
    assert_eq!(answer.ha_status.txid, ns.edit_log().applied().0);
}

#[test]
fn a_standby_gives_no_commands() {
    let mut ns = new_namesystem();
    register(&mut ns, 0);
    let stray = BlockProto {
        block_id: 7,
        gen_stamp: 1,
        num_bytes: Some(1),
    };
    let told = notices(0, stray, BlockStatus::Received);
    dn::<BlockReceivedAndDeletedResponseProto>(&mut ns, 0, "blockReceivedAndDeleted", &told).unwrap();
    let reply = raw_dn(&mut ns, &from(0), "sendHeartbeat", &heartbeat(0));
    assert_eq!(reply.after, None);
    let answer = HeartbeatResponseProto::decode(reply.result.unwrap()).unwrap();
    assert!(answer.cmds.is_empty());
    assert_eq!(answer.ha_status.state(), State::Standby);
}

#[test]
fn a_full_report_replaces_what_was_known() {
    let mut ns = active();
    register(&mut ns, 0);
    let block = one_block(&mut ns);
    let id = BlockId(block.block_id as i64);
    let answer: BlockReportResponseProto = dn(&mut ns, 0, "blockReport", &report(0, [])).unwrap();
    assert_eq!(answer.cmd.unwrap().cmd_type, CommandType::FinalizeCommand as i32);
    assert_eq!(ns.blockmanager().count_replicas(id).live, 0);
    let known = [(block.block_id, 100, block.generation_stamp)];
    dn::<BlockReportResponseProto>(&mut ns, 0, "blockReport", &report(0, known)).unwrap();
    assert_eq!(ns.blockmanager().count_replicas(id).live, 1);
    let mut late = report(0, known);
    late.context.as_mut().unwrap().lease_id = Some(77);
    let error = dn::<BlockReportResponseProto>(&mut ns, 0, "blockReport", &late).unwrap_err();
    assert!(error.is(exceptions::INVALID_BLOCK_REPORT_LEASE), "{error}");
    let unknown: BlockReportResponseProto = dn(&mut ns, 1, "blockReport", &report(1, [])).unwrap();
    assert_eq!(unknown.cmd.unwrap().cmd_type, CommandType::RegisterCommand as i32);
    let told = notices(1, BlockProto::default(), BlockStatus::Deleted);
    let error = dn::<BlockReceivedAndDeletedResponseProto>(&mut ns, 1, "blockReceivedAndDeleted", &told).unwrap_err();
    assert!(error.is(exceptions::IO), "{error}");
}

#[test]
fn datanodes_that_nobody_knows_can_register_up_to_a_limit_only() {
    let mut ns = active();
    let mut register = |node: u32| {
        let mut request = RegisterDatanodeRequestProto {
            registration: registration(node),
        };
        // Each has an address of its own, so that none takes another one's place.
        let [_, b, c, d] = node.to_be_bytes();
        request.registration.datanode_id.ip_addr = format!("10.{b}.{c}.{d}");
        let ctx = CallContext {
            client_ip: None,
            ..hdfs()
        };
        raw_dn(&mut ns, &ctx, "registerDatanode", &request).result
    };
    let refused = (0..40_000).find_map(|node| register(node).err());
    assert!(refused.is_some_and(|refused| refused.is(exceptions::DISALLOWED_DATANODE)));
    register(0).expect("who is known may come again");
}

#[test]
fn numbers_that_no_disk_has_are_added_up_without_an_overflow() {
    let mut ns = active();
    for node in 0..2 {
        register(&mut ns, node);
        let mut request = heartbeat(node);
        for storage in 0..3 {
            request.reports.push(StorageReportProto {
                storage_uuid: format!("DS-{node}-{storage}"),
                capacity: Some(u64::MAX),
                dfs_used: Some(u64::MAX),
                remaining: Some(u64::MAX),
                block_pool_used: Some(u64::MAX),
                non_dfs_used: Some(u64::MAX),
                ..Default::default()
            });
        }
        let _: HeartbeatResponseProto = dn(&mut ns, node, "sendHeartbeat", &request).unwrap();
    }
    let counts = ns.blockmanager().counts();
    assert_eq!((counts.capacity, counts.remaining), (u64::MAX, u64::MAX));
    let request = GetDatanodeReportRequestProto {
        r#type: DatanodeReportTypeProto::All as i32,
    };
    let report = call(&mut ns, &hdfs(), &request).unwrap();
    assert!(report.di.iter().all(|node| node.capacity == Some(u64::MAX)));
}

#[test]
fn a_large_report_is_left_to_the_shell_in_slices() {
    let mut ns = active();
    register(&mut ns, 0);
    let block = one_block(&mut ns);
    let strays = (0..20_000u64).map(|at| (1 << 40 | at, 1, 900));
    let request = report(0, strays.chain([(block.block_id, 100, block.generation_stamp)]));
    let step_all = |ns: &mut Namesystem, mut work: BlockReportWork| {
        for steps in 1.. {
            if let Some(reply) = work.step(ns, 1000, NOW) {
                return (steps, BlockReportResponseProto::decode(reply.result.unwrap()).unwrap());
            }
        }
        unreachable!()
    };
    let reply = raw_dn(&mut ns, &from(0), "blockReport", &request);
    let Some(Deferred::BlockReport(work)) = reply.deferred else {
        panic!("answered at once")
    };
    let (steps, answer) = step_all(&mut ns, *work);
    assert!(steps > 20, "{steps} slices");
    assert_eq!(answer.cmd.unwrap().cmd_type, CommandType::FinalizeCommand as i32);
    assert_eq!(ns.blockmanager().counts().pending_deletion, 20_000);
    // A change of role in the middle makes the node begin anew.
    let reply = raw_dn(&mut ns, &from(0), "blockReport", &request);
    let Some(Deferred::BlockReport(work)) = reply.deferred else {
        panic!("answered at once")
    };
    ns.begin_stepping_down().unwrap();
    let (steps, answer) = step_all(&mut ns, *work);
    assert_eq!(
        (steps, answer.cmd.unwrap().cmd_type),
        (1, CommandType::RegisterCommand as i32)
    );
}

#[test]
fn datanodes_agree_on_the_last_block_of_an_abandoned_file() {
    let mut ns = active();
    for node in 0..2 {
        register(&mut ns, node);
    }
    let request = CreateRequestProto {
        replication: 2,
        ..create("/f")
    };
    call(&mut ns, &hdfs(), &request).unwrap();
    let added = call(&mut ns, &hdfs(), &add_block("/f", None)).unwrap();
    let block = added.block.b;
    for node in 0..2 {
        let told = BlockProto {
            block_id: block.block_id,
            gen_stamp: block.generation_stamp,
            num_bytes: Some(0),
        };
        let told = notices(node, told, BlockStatus::Receiving);
        dn::<BlockReceivedAndDeletedResponseProto>(&mut ns, node, "blockReceivedAndDeleted", &told).unwrap();
    }
    let recover = RecoverLeaseRequestProto {
        src: "/f".to_owned(),
        client_name: "DFSClient_2".to_owned(),
    };
    let done = call(&mut ns, &hdfs(), &recover).unwrap();
    assert!(!done.result);
    let orders: Vec<_> = (0..2)
        .flat_map(|node| {
            dn::<HeartbeatResponseProto>(&mut ns, node, "sendHeartbeat", &heartbeat(node))
                .unwrap()
                .cmds
        })
        .collect();
    assert_eq!(orders.len(), 1, "one primary");
    let order = orders[0].recovery_cmd.as_ref().unwrap().blocks[0].clone();
    assert_eq!(order.block.locs.len(), 2);
    let agreed = CommitBlockSynchronizationRequestProto {
        block: order.block.b.clone(),
        new_gen_stamp: order.new_gen_stamp,
        new_length: 33,
        close_file: true,
        delete_block: false,
        new_taragets: vec![registration(1).datanode_id],
        new_target_storages: vec!["DS-1".to_owned()],
    };
    let wrong = CommitBlockSynchronizationRequestProto {
        new_gen_stamp: order.new_gen_stamp + 5,
        ..agreed.clone()
    };
    type Answer = CommitBlockSynchronizationResponseProto;
    let error = dn::<Answer>(&mut ns, 0, "commitBlockSynchronization", &wrong).unwrap_err();
    assert!(error.message.contains("does not match current recovery id"), "{error}");
    let reply = raw_dn(&mut ns, &from(0), "commitBlockSynchronization", &agreed);
    assert_eq!(reply.after, Some(ns.edit_log().applied()));
    reply.result.unwrap();
    dn::<Answer>(&mut ns, 0, "commitBlockSynchronization", &agreed).unwrap();
    let asked = GetBlockLocationsRequestProto {
        src: "/f".to_owned(),
        offset: 0,
        length: 100,
    };
    let found = call(&mut ns, &hdfs(), &asked).unwrap();
    let found = found.locations.unwrap();
    assert_eq!((found.file_length, found.under_construction), (33, false));
    assert_eq!(found.blocks[0].b.generation_stamp, order.new_gen_stamp);
    assert_eq!(found.blocks[0].storage_i_ds, ["DS-1"]);
    ns.blockmanager().check();
}

fn located_on(block: ExtendedBlockProto, node: u32) -> LocatedBlockProto {
    LocatedBlockProto {
        b: block,
        locs: vec![DatanodeInfoProto {
            id: registration(node).datanode_id,
            ..Default::default()
        }],
        storage_i_ds: vec![format!("DS-{node}")],
        ..Default::default()
    }
}

#[test]
fn safety_10_a_standby_takes_reports_of_bad_replicas_and_keeps_them_when_it_becomes_active() {
    let (mut first, mut second) = (active(), standby());
    for ns in [&mut first, &mut second] {
        register(ns, 0);
    }
    let block = one_block(&mut first);
    replay(&mut first, &mut second);
    let known = [(block.block_id, 100, block.generation_stamp)];
    dn::<BlockReportResponseProto>(&mut second, 0, "blockReport", &report(0, known)).unwrap();
    // A client tells the active, and what the active is to pass on is what a standby takes.
    let said = hathi_formats::proto::hdfs::ReportBadBlocksRequestProto {
        blocks: vec![located_on(block.clone(), 0)],
    };
    let told = reply(&mut first, &hdfs(), &said);
    let Some(Deferred::TellCorrupt(blocks)) = told.deferred else {
        panic!("the other NameNodes are not told")
    };
    let again = reply(&mut first, &hdfs(), &said);
    assert!(again.deferred.is_none(), "no news");
    let passed_on = ReportBadBlocksRequestProto { blocks };
    dn::<ReportBadBlocksResponseProto>(&mut second, 0, "reportBadBlocks", &passed_on).unwrap();
    second.begin_activation().unwrap();
    second.start_active(NOW).unwrap();
    second.leave_safe_mode(true, NOW);
    dn::<HeartbeatResponseProto>(&mut second, 0, "sendHeartbeat", &heartbeat(0)).unwrap();
    dn::<BlockReportResponseProto>(&mut second, 0, "blockReport", &report(0, known)).unwrap();
    let counts = second.blockmanager().count_replicas(BlockId(block.block_id as i64));
    assert_eq!((counts.live, counts.corrupt), (0, 1));
}

#[test]
fn safety_05_who_is_active_again_asks_for_a_registration_first() {
    let mut ns = active();
    register(&mut ns, 0);
    let commands = |ns: &mut Namesystem| {
        let answer: HeartbeatResponseProto = dn(ns, 0, "sendHeartbeat", &heartbeat(0)).unwrap();
        answer.cmds.iter().map(|command| command.cmd_type()).collect::<Vec<_>>()
    };
    assert!(commands(&mut ns).is_empty());
    sync(&mut ns);
    ns.begin_stepping_down().unwrap();
    ns.end_stepping_down(0).unwrap();
    ns.begin_activation().unwrap();
    ns.start_active(NOW).unwrap();
    // The node may not have heard of the standby in between, and may have orders left from before.
    assert_eq!(commands(&mut ns), [CommandType::RegisterCommand]);
    assert_eq!(commands(&mut ns), [CommandType::RegisterCommand]);
    register(&mut ns, 0);
    assert!(commands(&mut ns).is_empty());
}

#[test]
fn bad_replicas_errors_and_lifelines() {
    let mut ns = active();
    for node in 0..2 {
        register(&mut ns, node);
    }
    let request = LifelineResponseProto {};
    let alive: LifelineResponseProto = dn(&mut ns, 0, "sendLifeline", &heartbeat(0)).unwrap();
    assert_eq!(alive, request);
    let error = ErrorReportRequestProto {
        registartion: registration(1),
        error_code: 3,
        msg: "disks".to_owned(),
    };
    dn::<ErrorReportResponseProto>(&mut ns, 1, "errorReport", &error).unwrap();
    assert_eq!(ns.blockmanager().counts().dead_datanodes, 1);
    let block = one_block(&mut ns);
    let bad = ReportBadBlocksRequestProto {
        blocks: vec![located_on(block, 0)],
    };
    dn::<ReportBadBlocksResponseProto>(&mut ns, 0, "reportBadBlocks", &bad).unwrap();
    assert_eq!(ns.blockmanager().counts().corrupt, 1);
    let cached = CacheReportRequestProto {
        registration: registration(0),
        block_pool_id: POOL.to_owned(),
        blocks: vec![],
    };
    let none: CacheReportResponseProto = dn(&mut ns, 0, "cacheReport", &cached).unwrap();
    assert_eq!(none.cmd, None);
}

#[test]
fn what_is_no_datanodes_is_not_kept() {
    let mut ns = active();
    for long in 0..3 {
        let mut request = RegisterDatanodeRequestProto {
            registration: registration(0),
        };
        let identity = &mut request.registration;
        let text = [
            &mut identity.datanode_id.datanode_uuid,
            &mut identity.datanode_id.host_name,
            &mut identity.software_version,
        ];
        *text.into_iter().nth(long).unwrap() = "9".repeat(2000);
        let refused = dn::<RegisterDatanodeResponseProto>(&mut ns, 0, "registerDatanode", &request).unwrap_err();
        assert!(refused.is(exceptions::DISALLOWED_DATANODE), "{refused}");
    }
    register(&mut ns, 0);
    let mut told = heartbeat(0);
    let one = told.reports[0].clone();
    told.reports = vec![one; 20_000];
    let refused = dn::<HeartbeatResponseProto>(&mut ns, 0, "sendHeartbeat", &told).unwrap_err();
    assert!(refused.is(exceptions::IO), "{refused}");
}

#[test]
fn the_balancers_bandwidth_reaches_every_datanode_with_its_next_heartbeat() {
    let mut ns = active();
    register(&mut ns, 0);
    let request = SetBalancerBandwidthRequestProto { bandwidth: 5 << 20 };
    call(&mut ns, &hdfs(), &request).unwrap();
    let answer: HeartbeatResponseProto = dn(&mut ns, 0, "sendHeartbeat", &heartbeat(0)).unwrap();
    let told: Vec<u64> = answer
        .cmds
        .iter()
        .filter_map(|command| Some(command.balancer_cmd.as_ref()?.bandwidth))
        .collect();
    assert_eq!(told, [5 << 20]);
    let answer: HeartbeatResponseProto = dn(&mut ns, 0, "sendHeartbeat", &heartbeat(0)).unwrap();
    assert!(answer.cmds.is_empty(), "it is told once");
}

use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::hdfs::{
    BlockProto, DatanodeIdProto, DatanodeInfoProto, ErasureCodingPolicyProto, ExtendedBlockProto,
    InitReplicaRecoveryResponseProto, LocatedBlockProto, RecoveringBlockProto, ReplicaStateProto,
    UpdateReplicaUnderRecoveryRequestProto,
};

use super::participant::{init_response, recovered_id};
use super::plan::RecoveryPlan;
use super::primary::{BlockRecovery, RecoveredBlock, RecoveryAction, RecoveryError, RecoveryEvent};
use crate::chunks::Mismatch;
use crate::replica::{Replica, ReplicaState, VolumeId};
use crate::replicas::ReplicaMap;
use ReplicaState::{Finalized, Rbw, Rwr, Temporary};

const ID: u64 = 7;
const STAMP: u64 = 5;
const RECOVERY: u64 = 9;

/// An order to recover the block on so many DataNodes, with a logged length of 0.
fn order(datanodes: usize) -> RecoveringBlockProto {
    let location = |index: usize| DatanodeInfoProto {
        id: datanode(index),
        ..DatanodeInfoProto::default()
    };
    RecoveringBlockProto {
        new_gen_stamp: RECOVERY,
        block: LocatedBlockProto {
            b: ExtendedBlockProto {
                pool_id: "BP-1".to_owned(),
                block_id: ID,
                generation_stamp: STAMP,
                num_bytes: Some(0),
            },
            locs: (0..datanodes).map(location).collect(),
            ..LocatedBlockProto::default()
        },
        ..RecoveringBlockProto::default()
    }
}

fn truncation(datanodes: usize, block_id: u64, to: u64) -> RecoveringBlockProto {
    RecoveringBlockProto {
        truncate_block: Some(BlockProto {
            block_id,
            gen_stamp: RECOVERY,
            num_bytes: Some(to),
        }),
        ..order(datanodes)
    }
}

fn datanode(index: usize) -> DatanodeIdProto {
    DatanodeIdProto {
        datanode_uuid: index.to_string(),
        ..DatanodeIdProto::default()
    }
}

fn replica(state: ReplicaState, num_bytes: u64) -> RecoveryEvent {
    with_stamp(state, num_bytes, STAMP)
}

fn with_stamp(state: ReplicaState, num_bytes: u64, stamp: u64) -> RecoveryEvent {
    let block = Block {
        id: BlockId(ID.cast_signed()),
        num_bytes,
        generation_stamp: GenerationStamp(stamp),
    };
    RecoveryEvent::Initialized(init_response(Some(&Replica::at_rest(block, state, VolumeId(0)))))
}

fn no_replica() -> RecoveryEvent {
    RecoveryEvent::Initialized(init_response(None))
}

fn updated() -> RecoveryEvent {
    RecoveryEvent::Updated {
        storage_id: "DS".to_owned(),
    }
}

fn refused(text: &str) -> RecoveryEvent {
    RecoveryEvent::Refused(RemoteException::new(exceptions::IO, text))
}

fn silent() -> RecoveryEvent {
    RecoveryEvent::NoAnswer("timed out".to_owned())
}

/// The action in few words.
fn told(action: &RecoveryAction) -> String {
    match action {
        RecoveryAction::Init { datanode } => format!("init {datanode}"),
        RecoveryAction::Update { datanode, request } => {
            assert_eq!((request.recovery_id, request.block.block_id), (RECOVERY, ID));
            let mut text = format!(
                "update {datanode}: {} of {} bytes, stamp {}",
                request.new_length,
                request.block.num_bytes(),
                request.block.generation_stamp
            );
            if request.new_block_id != Some(ID) {
                text += &format!(", as block {}", request.new_block_id());
            }
            if request.mismatch_stays() {
                text += ", over rot";
            }
            text
        }
        RecoveryAction::Commit(result) => {
            assert_eq!((result.block.block_id, result.block.generation_stamp), (ID, STAMP));
            assert_eq!(result.new_gen_stamp, RECOVERY);
            assert!(result.close_file, "the file is closed, or stays so");
            let on: Vec<&str> = result.new_taragets.iter().map(|id| id.datanode_uuid.as_str()).collect();
            match result.delete_block {
                true => format!("delete, length {}, on {on:?}", result.new_length),
                false => format!("commit {} bytes on {}", result.new_length, on.join(" ")),
            }
        }
        RecoveryAction::End(Ok(recovered)) => format!(
            "done: block {}, {} bytes, stamp {}",
            recovered.block.id, recovered.block.num_bytes, recovered.block.generation_stamp
        ),
        RecoveryAction::End(Err(error)) => format!("given up: {error}"),
    }
}

/// Plays a recovery: each event is the answer to the action above it.
fn check(order: RecoveringBlockProto, events: &[RecoveryEvent], expected: &[&str]) -> BlockRecovery {
    let mut recovery = BlockRecovery::new(order);
    let mut actions = vec![told(recovery.action())];
    for event in events {
        actions.push(told(recovery.on(event.clone())));
    }
    assert_eq!(actions, expected, "{events:?}");
    recovery
}

/// The actions after the last of the DataNodes has answered.
fn check_decision(answers: &[RecoveryEvent], expected: &str) {
    let mut recovery = BlockRecovery::new(order(answers.len()));
    for answer in answers {
        recovery.on(answer.clone());
    }
    assert_eq!(told(recovery.action()), expected, "{answers:?}");
}

#[test]
fn the_primary_asks_all_lets_those_with_the_best_state_take_the_length_and_tells_the_namenode() {
    check(
        order(3),
        &[
            replica(Rbw, 10),
            replica(Rwr, 4),
            replica(Rbw, 8),
            updated(),
            updated(),
            RecoveryEvent::Committed,
        ],
        &[
            "init 0",
            "init 1",
            "init 2",
            "update 0: 8 of 10 bytes, stamp 5",
            "update 2: 8 of 8 bytes, stamp 5",
            "commit 8 bytes on 0 2",
            "done: block 7, 8 bytes, stamp 9",
        ],
    );
}

#[test]
fn complete_replicas_decide_and_those_being_written_take_part_if_they_are_as_long() {
    check_decision(
        &[replica(Rbw, 12), replica(Finalized, 10), replica(Rbw, 10)],
        "update 1: 10 of 10 bytes, stamp 5",
    );
    check(
        order(3),
        &[
            replica(Rbw, 10),
            replica(Finalized, 10),
            replica(Rwr, 10),
            updated(),
            updated(),
        ],
        &[
            "init 0",
            "init 1",
            "init 2",
            "update 0: 10 of 10 bytes, stamp 5",
            "update 1: 10 of 10 bytes, stamp 5",
            "commit 10 bytes on 0 1",
        ],
    );
}

#[test]
fn replicas_that_wait_for_recovery_decide_only_alone_and_by_the_shortest() {
    check(
        order(2),
        &[replica(Rwr, 10), with_stamp(Rwr, 4, 6), updated(), updated()],
        &[
            "init 0",
            "init 1",
            "update 0: 4 of 10 bytes, stamp 5",
            "update 1: 4 of 4 bytes, stamp 6",
            "commit 4 bytes on 0 1",
        ],
    );
}

#[test]
fn a_block_of_which_nobody_has_a_byte_is_deleted() {
    for answers in [[no_replica(), no_replica()], [replica(Rbw, 0), no_replica()]] {
        let [first, second] = answers;
        check(
            order(2),
            &[first, second, RecoveryEvent::Committed],
            &[
                "init 0",
                "init 1",
                "delete, length 0, on []",
                "done: block 7, 0 bytes, stamp 9",
            ],
        );
    }
    // A replica with bytes that is a copy under way is no replica, and yet no reason to delete the block.
    check_decision(
        &[replica(Temporary, 7)],
        "given up: Found 1 replica(s) but none is in RWR or better state",
    );
}

#[test]
fn when_no_datanode_answers_nothing_is_told_to_the_namenode() {
    let given_up = "given up: All datanodes failed";
    check_decision(&[silent(), refused("No space left on device")], given_up);
    check_decision(&[], given_up);
    // It has a replica, and does not say which.
    let found = RecoveryEvent::Initialized(InitReplicaRecoveryResponseProto {
        replica_found: true,
        ..InitReplicaRecoveryResponseProto::default()
    });
    check_decision(&[found], given_up);
    let mut unknown_state = init_response(Some(&Replica::at_rest(
        Block {
            id: BlockId(7),
            num_bytes: 3,
            generation_stamp: GenerationStamp(STAMP),
        },
        Finalized,
        VolumeId(0),
    )));
    unknown_state.state = Some(17);
    assert!(ReplicaStateProto::try_from(17).is_err());
    check_decision(&[RecoveryEvent::Initialized(unknown_state)], given_up);
}

#[test]
fn a_dead_datanode_is_awaited_only_where_it_may_have_more() {
    check_decision(&[silent(), replica(Rbw, 9)], "update 1: 9 of 9 bytes, stamp 5");
    check_decision(
        &[silent(), replica(Rwr, 9)],
        "given up: 1 datanode(s) did not answer, and may hold bytes that the others lack",
    );
    check_decision(
        &[no_replica(), refused("interrupted")],
        "given up: 1 datanode(s) did not answer, and may hold bytes that the others lack",
    );
}

#[test]
fn a_replica_of_an_older_stamp_is_none() {
    let older = "replica.getGenerationStamp() < block.getGenerationStamp(), block=blk_7_5, replica=...";
    check_decision(&[refused(older), no_replica()], "delete, length 0, on []");
    check_decision(&[refused(older), replica(Rwr, 4)], "update 1: 4 of 4 bytes, stamp 5");
    check_decision(
        &[with_stamp(Rbw, 8, 4), replica(Rwr, 4)],
        "update 1: 4 of 4 bytes, stamp 5",
    );
}

#[test]
fn a_newer_recovery_ends_this_one_at_once() {
    let newer = RemoteException::new(
        exceptions::RECOVERY_IN_PROGRESS,
        "rur.getRecoveryID() >= recoveryId = 9",
    );
    let recovery = check(
        order(3),
        &[replica(Rbw, 10), RecoveryEvent::Refused(newer.clone())],
        &[
            "init 0",
            "init 1",
            "given up: a newer recovery is under way: org.apache.hadoop.hdfs.protocol.RecoveryInProgressException: rur.getRecoveryID() >= recoveryId = 9",
        ],
    );
    assert_eq!(
        *recovery.action(),
        RecoveryAction::End(Err(RecoveryError::Newer(newer)))
    );
    assert_eq!(recovery.plan(), None);
}

#[test]
fn who_does_not_take_the_length_is_not_named_to_the_namenode() {
    let answers = [replica(Rbw, 10), replica(Rbw, 10), replica(Rbw, 10)];
    let play = |updates: [RecoveryEvent; 3]| {
        let mut recovery = BlockRecovery::new(order(3));
        for event in answers.iter().chain(&updates) {
            recovery.on(event.clone());
        }
        told(recovery.action())
    };
    let changed = || refused("rur.getRecoveryID() != recoveryId = 9");
    assert_eq!(play([silent(), updated(), changed()]), "commit 10 bytes on 1");
    assert_eq!(play([updated(), changed(), updated()]), "commit 10 bytes on 0 2");
    assert_eq!(
        play([silent(), changed(), silent()]),
        "given up: Cannot recover blk_7, all datanodes failed"
    );
}

#[test]
fn a_truncation_cuts_to_its_target_and_may_leave_the_old_block_as_it_was() {
    check(
        truncation(3, ID, 30),
        &[
            replica(Finalized, 100),
            with_stamp(Finalized, 30, 6),
            replica(Finalized, 20),
            updated(),
            updated(),
            RecoveryEvent::Committed,
        ],
        &[
            "init 0",
            "init 1",
            "init 2",
            "update 0: 30 of 100 bytes, stamp 5",
            "update 1: 30 of 30 bytes, stamp 6",
            "commit 30 bytes on 0 1",
            "done: block 7, 30 bytes, stamp 9",
        ],
    );
    // A snapshot has the old block.
    check(
        truncation(1, 8, 30),
        &[replica(Finalized, 100), updated(), RecoveryEvent::Committed],
        &[
            "init 0",
            "update 0: 30 of 100 bytes, stamp 5, as block 8",
            "commit 30 bytes on 0",
            "done: block 8, 30 bytes, stamp 9",
        ],
    );
}

#[test]
fn rot_is_cut_over_only_if_the_namenode_knows_of_no_good_replica_and_nobody_has_one() {
    let rotten = || refused("Checksum error");
    let corrupt = |order: RecoveringBlockProto| RecoveringBlockProto {
        block: LocatedBlockProto {
            corrupt: true,
            ..order.block
        },
        ..order
    };
    let answers = [replica(Finalized, 100), replica(Finalized, 100)];
    let play = |order: RecoveringBlockProto, updates: &[RecoveryEvent]| {
        let mut recovery = BlockRecovery::new(order);
        for event in answers.iter().chain(updates) {
            recovery.on(event.clone());
        }
        recovery
    };
    let refusals = [rotten(), rotten()];
    let good_known = play(truncation(2, ID, 30), &refusals);
    assert_eq!(
        told(good_known.action()),
        "given up: Cannot recover blk_7, all datanodes failed"
    );
    let one_good = play(corrupt(truncation(2, ID, 30)), &[rotten(), updated()]);
    assert_eq!(told(one_good.action()), "commit 30 bytes on 1");
    assert!(!one_good.is_over_rot());

    let mut none_good = play(corrupt(truncation(2, ID, 30)), &refusals);
    assert_eq!(told(none_good.action()), "update 0: 30 of 100 bytes, stamp 5, over rot");
    none_good.on(silent());
    none_good.on(updated());
    assert_eq!(told(none_good.action()), "commit 30 bytes on 1");
    let end = none_good.on(RecoveryEvent::Committed);
    let recovered = RecoveredBlock {
        block: Block {
            id: BlockId(7),
            num_bytes: 30,
            generation_stamp: GenerationStamp(RECOVERY),
        },
        bad_on: vec![datanode(1)],
    };
    assert_eq!(*end, RecoveryAction::End(Ok(recovered)));

    let mut all_silent = play(corrupt(truncation(2, ID, 30)), &refusals);
    all_silent.on(silent());
    assert_eq!(
        told(all_silent.on(silent())),
        "given up: Cannot recover blk_7, all datanodes failed"
    );
}

#[test]
fn a_result_that_the_namenode_has_not_taken_is_not_repeated() {
    let until_result = [replica(Rbw, 10), updated()];
    let play = |event: RecoveryEvent| {
        let mut recovery = BlockRecovery::new(order(1));
        for event in until_result.iter().chain([&event]) {
            recovery.on(event.clone());
        }
        told(recovery.action())
    };
    assert_eq!(
        play(refused("The recovery id 9 does not match current recovery id 12")),
        "given up: the NameNode refuses the result: java.io.IOException: The recovery id 9 does not match current recovery id 12"
    );
    assert_eq!(
        play(silent()),
        "given up: the NameNode did not answer to the result: timed out"
    );
}

#[test]
fn an_answer_to_another_question_changes_nothing() {
    check(
        order(2),
        &[
            updated(),
            RecoveryEvent::Committed,
            replica(Rbw, 10),
            silent(),
            replica(Rbw, 3),
            updated(),
            updated(),
            RecoveryEvent::Committed,
            silent(),
            refused("too late"),
        ],
        &[
            "init 0",
            "init 0",
            "init 0",
            "init 1",
            "update 0: 10 of 10 bytes, stamp 5",
            "update 0: 10 of 10 bytes, stamp 5",
            "commit 10 bytes on 0",
            "commit 10 bytes on 0",
            "done: block 7, 10 bytes, stamp 9",
            "done: block 7, 10 bytes, stamp 9",
            "done: block 7, 10 bytes, stamp 9",
        ],
    );
}

#[test]
fn an_order_for_a_group_that_contradicts_itself_is_refused_before_anybody_is_asked() {
    let striped = RecoveringBlockProto {
        ec_policy: Some(ErasureCodingPolicyProto::default()),
        ..order(2)
    };
    let given_up = "given up: the order to recover a block group contradicts itself";
    check(striped, &[], &[given_up]);
}

/// Every course of a recovery by three DataNodes, with these answers, and each update carried out, refused or silent.
#[test]
fn in_every_course_nothing_is_lost_and_the_namenode_is_told_the_truth() {
    let answers = [
        silent(),
        no_replica(),
        replica(Finalized, 10),
        replica(Finalized, 12),
        replica(Rbw, 0),
        replica(Rbw, 10),
        replica(Rbw, 14),
        replica(Rwr, 6),
        replica(Rwr, 12),
        with_stamp(Rbw, 20, STAMP - 1),
    ];
    let mut courses = 0;
    for first in &answers {
        for second in &answers {
            for third in &answers {
                for outcomes in 0..8 {
                    course([first, second, third], outcomes);
                    courses += 1;
                }
            }
        }
    }
    assert_eq!(courses, 8000);
}

/// Bit i of `outcomes`: DataNode i carries its update out.
fn course(answers: [&RecoveryEvent; 3], outcomes: u8) {
    let mut recovery = BlockRecovery::new(order(3));
    let mut changed = Vec::new();
    let mut asked = 0;
    let mut results = 0;
    for _ in 0..10 {
        let event = match recovery.action().clone() {
            RecoveryAction::Init { datanode } => {
                assert_eq!(datanode, asked, "each is asked once, in order");
                asked += 1;
                answers[datanode].clone()
            }
            RecoveryAction::Update { datanode, .. } if outcomes & (1 << datanode) == 0 => silent(),
            RecoveryAction::Update { datanode, request } => {
                assert!(!changed.contains(&datanode), "each is changed once");
                let RecoveryEvent::Initialized(response) = answers[datanode] else {
                    panic!("{datanode} did not answer, and is to change its replica");
                };
                let had = response.block.as_ref().unwrap();
                assert!(had.num_bytes() >= request.new_length, "no replica can be made longer");
                assert!(had.gen_stamp >= STAMP);
                changed.push(datanode);
                updated()
            }
            RecoveryAction::Commit(result) => {
                results += 1;
                let on: Vec<usize> = result
                    .new_taragets
                    .iter()
                    .map(|id| id.datanode_uuid.parse().unwrap())
                    .collect();
                assert_eq!(on, changed, "those have the length, and no others");
                let had_bytes = |event: &&&RecoveryEvent| {
                    let RecoveryEvent::Initialized(response) = event else {
                        return false;
                    };
                    let block = response.block.as_ref();
                    block.is_some_and(|block| block.num_bytes() > 0 && block.gen_stamp >= STAMP)
                };
                assert_eq!(
                    result.delete_block,
                    answers.iter().filter(had_bytes).count() == 0,
                    "a block of which bytes are left is not deleted"
                );
                RecoveryEvent::Committed
            }
            RecoveryAction::End(end) => {
                assert_eq!(end.is_ok(), results == 1, "a recovery has one result");
                let deletes = recovery.plan() == Some(&RecoveryPlan::Delete);
                assert_eq!(end.is_ok(), deletes || !changed.is_empty());
                return;
            }
        };
        recovery.on(event);
    }
    panic!("the recovery goes on and on: {answers:?}");
}

#[test]
fn a_datanode_changes_its_replica_as_the_primary_asks() {
    let mut map = ReplicaMap::new();
    let block = Block {
        id: BlockId(ID.cast_signed()),
        num_bytes: 100,
        generation_stamp: GenerationStamp(STAMP),
    };
    assert_eq!(map.init_replica_recovery(&order(1), None).unwrap(), None);
    map.add_found(Replica::at_rest(block, Finalized, VolumeId(0)));
    let aside = map.init_replica_recovery(&order(1), None).unwrap().unwrap();
    map.commit(aside);
    let response = init_response(map.get(block.id));
    assert_eq!(
        response.state(),
        ReplicaStateProto::Finalized,
        "the state before the recovery"
    );
    let mut recovery = BlockRecovery::new(truncation(1, ID, 30));
    let RecoveryAction::Update { request, .. } = recovery.on(RecoveryEvent::Initialized(response)).clone() else {
        panic!("no replica is to be changed");
    };
    let cut = map.update_replica_under_recovery(&request).unwrap();
    assert_eq!((cut.extra, cut.mismatch), (None, Mismatch::Refused));
    assert_eq!(
        cut.replica.unwrap().block(),
        Block {
            num_bytes: 30,
            generation_stamp: GenerationStamp(RECOVERY),
            ..block
        }
    );

    let copy = |new_block_id, mismatch_stays| UpdateReplicaUnderRecoveryRequestProto {
        new_block_id,
        mismatch_stays,
        ..request.clone()
    };
    for same in [None, Some(0), Some(ID)] {
        assert_eq!(recovered_id(&copy(same, None)), block.id, "{same:?}");
        let planned = map.update_replica_under_recovery(&copy(same, None)).unwrap();
        assert_eq!(planned.extra, None, "{same:?}");
    }
    let copied = map.update_replica_under_recovery(&copy(Some(8), Some(true))).unwrap();
    assert_eq!(recovered_id(&copy(Some(8), None)), BlockId(8));
    assert_eq!(copied.replica.unwrap().block(), block, "the old block stays as it was");
    assert_eq!(copied.extra.unwrap().num_bytes, 30);
    assert_eq!(copied.mismatch, Mismatch::Kept);
}

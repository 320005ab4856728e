//! Answers made of encoded edits.

use super::*;
use hathi_formats::editlog::{AddOp, PermissionStatus, RpcIds, encode};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};

fn deleted(path: &str) -> EditOp {
    EditOp::Delete {
        path: path.to_owned(),
        time: 5,
        rpc_ids: RpcIds::NONE,
    }
}

fn quiet() -> EditOp {
    EditOp::SetQuota {
        src: "/q".to_owned(),
        ns_quota: 1,
        ds_quota: 1,
    }
}

/// A file of a segment: these ops from `first` on.
fn segment(first: u64, ops: &[EditOp]) -> Vec<u8> {
    let mut bytes = SegmentHeader::CURRENT.encode().to_vec();
    for (txid, op) in (first..).zip(ops) {
        encode(&mut bytes, TxId(txid), op).unwrap();
    }
    bytes
}

fn txids(answer: &GetEditsFromTxidResponseProto) -> Vec<i64> {
    answer.events_list.batch.iter().map(|batch| batch.txid).collect()
}

fn bounds(answer: &GetEditsFromTxidResponseProto) -> (i64, i64, i64) {
    let list = &answer.events_list;
    (list.first_txid, list.last_txid, list.sync_txid)
}

fn read(events: &mut Events, edits: &[u8], limit: u64) {
    events.read(edits, TxId(limit), &mut 0).unwrap();
}

#[test]
fn nothing_above_what_a_quorum_has_is_told_and_nothing_is_left_out() {
    let ops = [deleted("/a"), quiet(), deleted("/b"), deleted("/c")];
    let edits = segment(10, &ops);
    let mut events = Events::new(TxId(10), TxId(12), 1000);
    read(&mut events, &edits, 13);
    assert_eq!(events.next(), None);
    let answer = events.answer();
    assert_eq!((txids(&answer), bounds(&answer)), (vec![10, 12], (10, 12, 12)));

    let mut events = Events::new(TxId(11), TxId(13), 1000);
    read(&mut events, &edits, 11);
    assert_eq!(events.next(), Some(TxId(12)), "the limit of the source holds as well");
    read(&mut events, &segment(13, &ops), 20);
    assert_eq!(events.next(), Some(TxId(12)), "a hole is not jumped over");
    let answer = events.answer();
    assert_eq!((txids(&answer), bounds(&answer)), (vec![], (11, 11, 13)));
}

#[test]
fn an_answer_ends_with_the_transaction_that_fills_it() {
    let ops: Vec<EditOp> = (0..10).map(|number| deleted(&format!("/{number}"))).collect();
    let edits = segment(1, &ops);
    let mut place = 0;
    let mut told = Vec::new();
    for since in [1, 4, 7, 10] {
        let mut events = Events::new(TxId(since), TxId(10), 3);
        events.read(&edits, TxId(10), &mut place).unwrap();
        assert_eq!(events.next(), None);
        told.extend(txids(&events.answer()));
    }
    assert_eq!(told, (1..=10).collect::<Vec<_>>());
    assert_eq!(
        place,
        edits.len(),
        "a follower does not read from the beginning each time"
    );
}

#[test]
fn what_is_purged_is_seen_by_the_first_transaction_of_the_answer() {
    let edits = segment(20, &[deleted("/a"), deleted("/b")]);
    let mut events = Events::new(TxId(3), TxId(21), 1000);
    assert!(events.may_begin_later());
    read(&mut events, &edits, 21);
    let answer = events.answer();
    assert_eq!((txids(&answer), bounds(&answer)), (vec![20, 21], (20, 21, 21)));
    assert_eq!(
        bounds(&Events::new(TxId(22), TxId(21), 1000).answer()),
        (-1, -1, 21),
        "the client asks again later"
    );
}

#[test]
fn damage_is_an_error_only_where_it_is_in_the_way() {
    let mut edits = segment(1, &[deleted("/a"), deleted("/b")]);
    let last = edits.len() - 1;
    edits[last] ^= 1;
    let mut events = Events::new(TxId(1), TxId(2), 1000);
    let mut place = 0;
    events.read(&edits, TxId(2), &mut place).unwrap();
    assert_eq!(events.next(), Some(TxId(2)));
    assert!(events.read(&edits, TxId(2), &mut place).is_err());
    assert!(events.read(b"", TxId(2), &mut 0).is_err());
    assert_eq!(txids(&events.answer()), [1]);
}

#[test]
fn a_concat_is_an_append_the_ends_of_its_sources_and_a_close_of_unknown_length() {
    let op = EditOp::ConcatDelete {
        target: "/t".to_owned(),
        sources: vec!["/a".to_owned(), "/b".to_owned()],
        time: 9,
        rpc_ids: RpcIds::NONE,
    };
    let events = events_of(&op);
    let kinds: Vec<EventType> = events.iter().map(EventProto::r#type).collect();
    let (unlink, close) = (EventType::EventUnlink, EventType::EventClose);
    assert_eq!(kinds, [EventType::EventAppend, unlink, unlink, close]);
    let close = CloseEventProto::decode(events[3].contents.clone()).unwrap();
    assert_eq!((close.path.as_str(), close.file_size, close.timestamp), ("/t", -1, 9));
}

#[test]
fn a_new_file_has_its_access_time_and_one_with_blocks_is_reopened() {
    let mut add = AddOp {
        path: "/f".to_owned(),
        replication: 3,
        mtime: 4,
        atime: 5,
        block_size: 128,
        permissions: PermissionStatus {
            user: "u".to_owned(),
            group: "g".to_owned(),
            mode: 0o1644,
        },
        overwrite: true,
        ..AddOp::default()
    };
    let events = events_of(&EditOp::Add(add.clone()));
    let create = CreateEventProto::decode(events[0].contents.clone()).unwrap();
    assert_eq!((create.ctime, create.perms.perm, create.replication()), (5, 0o1644, 3));
    assert_eq!((create.overwrite(), create.default_block_size()), (true, 128));
    assert_eq!(create.erasure_coded, Some(false));
    add.blocks = vec![Block {
        id: BlockId(1),
        num_bytes: 7,
        generation_stamp: GenerationStamp(1000),
    }];
    assert_eq!(events_of(&EditOp::Add(add))[0].r#type(), EventType::EventAppend);
}

//! How a reader handles DataNodes that know less than others, or have bad bytes.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Asked, DataNode, NameNode, Script, block, complete, located, locations, open};
use hathi_client::ClientError;
use hathi_formats::exceptions::{ExceptionClass, IO, REPLICA_NOT_FOUND};
use hathi_formats::proto::hdfs::{LocatedBlocksProto, ReportBadBlocksRequestProto, ReportBadBlocksResponseProto};
use prost::Message;

fn namenode(file: LocatedBlocksProto) -> NameNode {
    NameNode::start(move |method, _| match method {
        "getBlockLocations" => locations(&file),
        "reportBadBlocks" => Ok(ReportBadBlocksResponseProto {}.encode_to_vec()),
        other => panic!("{other}"),
    })
}

fn knows(name: &str, visible: Result<i64, ExceptionClass>) -> DataNode {
    DataNode::start(
        name,
        Script {
            data: vec![7; 100],
            visible: Some(visible),
            ..Script::default()
        },
    )
}

fn holds(name: &str, corrupt_reads: usize) -> DataNode {
    DataNode::start(
        name,
        Script {
            data: vec![7; 100],
            corrupt_reads,
            ..Script::default()
        },
    )
}

/// The DataNodes that were reported to the NameNode.
fn reported(namenode: &NameNode) -> Vec<String> {
    let requests = namenode.requests::<ReportBadBlocksRequestProto>("reportBadBlocks");
    let blocks = requests.iter().flat_map(|request| &request.blocks);
    blocks
        .flat_map(|block| block.locs.iter().map(|node| node.id.datanode_uuid.clone()))
        .collect()
}

#[tokio::test]
async fn safety_d6_a_datanode_that_does_not_know_the_length_is_passed_over() {
    let (restarted, other) = (knows("restarted", Ok(-1)), knows("other", Ok(100)));
    let namenode = namenode(open(located(block(1, 0), &[&restarted, &other])));
    let mut reader = namenode.client().open("/f").await.unwrap();
    assert_eq!(reader.len(), 100);
    assert_eq!(reader.read_to_end().await.unwrap(), [7; 100]);
}

#[tokio::test]
async fn safety_d6_a_length_that_nobody_knows_is_an_error_and_not_zero() {
    for visible in [Ok(-1), Err(IO), Err(REPLICA_NOT_FOUND)] {
        // A DataNode without a replica says nothing about the silent one's.
        let (first, second) = (knows("first", visible), knows("second", Ok(-1)));
        let namenode = namenode(open(located(block(1, 0), &[&first, &second])));
        let error = namenode.client().open("/f").await.unwrap_err();
        assert!(matches!(error, ClientError::UnknownLength { block: 1, .. }), "{error}");
    }
}

#[tokio::test]
async fn safety_d6_no_replica_anywhere_is_an_empty_block_unless_the_namenode_knows_better() {
    let nodes = [
        knows("first", Err(REPLICA_NOT_FOUND)),
        knows("second", Err(REPLICA_NOT_FOUND)),
    ];
    let nodes: Vec<&DataNode> = nodes.iter().collect();
    let empty = namenode(open(located(block(1, 0), &nodes)));
    assert_eq!(empty.client().open("/f").await.unwrap().len(), 0);
    let flushed = namenode(open(located(block(1, 100), &nodes)));
    let error = flushed.client().open("/f").await.unwrap_err();
    assert!(matches!(error, ClientError::UnknownLength { .. }), "{error}");
}

#[tokio::test]
async fn safety_d20_a_datanode_with_fewer_bytes_than_were_logged_is_passed_over() {
    let script = Script {
        data: vec![7; 40],
        visible: Some(Ok(40)),
        ..Script::default()
    };
    let (short, other) = (DataNode::start("short", script), knows("other", Ok(100)));
    let namenode = namenode(open(located(block(1, 60), &[&short, &other])));
    let mut reader = namenode.client().open("/f").await.unwrap();
    assert_eq!(reader.len(), 100);
    assert_eq!(reader.read_to_end().await.unwrap(), [7; 100]);
}

#[tokio::test]
async fn safety_d20_logged_bytes_that_nobody_has_are_an_error_and_not_left_out() {
    let (short, shorter) = (knows("short", Ok(59)), knows("shorter", Ok(40)));
    let namenode = namenode(open(located(block(1, 60), &[&short, &shorter])));
    let error = namenode.client().open("/f").await.unwrap_err();
    assert!(matches!(error, ClientError::UnknownLength { block: 1, .. }), "{error}");
    assert!(
        error.to_string().contains("40 of the 60 bytes that were logged"),
        "{error}"
    );
}

/// A DataNode has carried out a truncate that the NameNode does not know of yet.
#[tokio::test]
async fn safety_d20_a_length_below_the_logged_one_counts_when_the_namenode_has_heard_of_it() {
    let datanode = knows("truncated", Ok(40));
    let before = open(located(block(1, 100), &[&datanode]));
    let after = complete(located(block(1, 40), &[&datanode]));
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let namenode = NameNode::start(move |_, _| {
        let first = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        locations(if first { &before } else { &after })
    });
    assert_eq!(namenode.client().open("/f").await.unwrap().len(), 40);
}

#[tokio::test]
async fn safety_d6_a_block_without_known_datanodes_is_asked_for_again() {
    let datanode = knows("late", Ok(100));
    let unknown = open(located(block(1, 0), &[]));
    let file = open(located(block(1, 0), &[&datanode]));
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let namenode = NameNode::start(move |_, _| {
        let first = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        locations(if first { &unknown } else { &file })
    });
    assert_eq!(namenode.client().open("/f").await.unwrap().len(), 100);

    let namenode = self::namenode(open(located(block(1, 0), &[])));
    let error = namenode.client().open("/f").await.unwrap_err();
    assert!(matches!(error, ClientError::UnknownLength { .. }), "{error}");
}

#[tokio::test]
async fn safety_d11_a_corrupt_replica_is_reported_once() {
    let (bad, good) = (holds("bad", usize::MAX), holds("good", 0));
    let namenode = namenode(complete(located(block(1, 100), &[&bad, &good])));
    let mut reader = namenode.client().open("/f").await.unwrap();
    assert_eq!(reader.read_to_end().await.unwrap(), [7; 100]);
    assert_eq!(reported(&namenode), ["bad"]);
    assert_eq!(bad.asked(), [Asked::Read, Asked::Read], "the second time to be sure");
    reader.seek(50);
    assert_eq!(reader.read_to_end().await.unwrap(), [7; 50]);
    assert_eq!(reported(&namenode), ["bad"]);
    let request = &namenode.requests::<ReportBadBlocksRequestProto>("reportBadBlocks")[0].blocks[0];
    assert_eq!(request.b, block(1, 100));
    assert_eq!(request.storage_i_ds, ["DS-bad"]);
}

#[tokio::test]
async fn whoever_ignores_checksums_gets_the_bytes_as_they_are_and_accuses_nobody() {
    let bad = holds("bad", usize::MAX);
    let namenode = namenode(complete(located(block(1, 100), &[&bad])));
    let mut reader = namenode.client().open("/f").await.unwrap();
    reader.ignore_checksums();
    let bytes = reader.read_to_end().await.unwrap();
    assert_eq!((bytes.len(), &bytes[1..]), (100, &[7; 99][..]));
    assert_ne!(bytes[0], 7, "that one is rotten");
    assert!(reported(&namenode).is_empty());
    assert_eq!(bad.asked(), [Asked::Read]);
}

#[tokio::test]
async fn safety_d11_what_is_right_the_second_time_is_not_reported() {
    let (changing, other) = (holds("changing", 1), holds("other", 0));
    let namenode = namenode(complete(located(block(1, 100), &[&changing, &other])));
    let mut reader = namenode.client().open("/f").await.unwrap();
    assert_eq!(reader.read_to_end().await.unwrap(), [7; 100]);
    assert!(reported(&namenode).is_empty());
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn safety_d11_a_reader_to_whom_all_replicas_look_corrupt_accuses_none_but_an_only_one() {
    let (first, second) = (holds("first", usize::MAX), holds("second", usize::MAX));
    let both = namenode(complete(located(block(1, 100), &[&first, &second])));
    let mut reader = both.client().open("/f").await.unwrap();
    reader.read_to_end().await.unwrap_err();
    assert!(reported(&both).is_empty());

    let only = namenode(complete(located(block(1, 100), &[&first])));
    let mut reader = only.client().open("/f").await.unwrap();
    reader.read_to_end().await.unwrap_err();
    assert_eq!(reported(&only), ["first"]);
}

#[tokio::test]
async fn safety_d11_a_block_that_is_written_is_not_reported() {
    let corrupt = || Script {
        data: vec![7; 100],
        corrupt_reads: usize::MAX,
        visible: Some(Ok(100)),
        ..Script::default()
    };
    let (first, second) = (DataNode::start("first", corrupt()), knows("second", Ok(100)));
    let namenode = namenode(open(located(block(1, 0), &[&first, &second])));
    let mut reader = namenode.client().open("/f").await.unwrap();
    assert_eq!(reader.read_to_end().await.unwrap(), [7; 100]);
    assert!(reported(&namenode).is_empty());
}

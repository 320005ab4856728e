//! The requests of a writer to NameNode and DataNodes when a pipeline breaks, and when it syncs.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Asked, DataNode, NameNode, Script, block, located};
use hathi_client::CreateOptions;
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hathi_formats::proto::hdfs::{
    AddBlockRequestProto, AddBlockResponseProto, AppendRequestProto, AppendResponseProto, CompleteResponseProto,
    CreateRequestProto, CreateResponseProto, DatanodeInfoProto, ExtendedBlockProto, FsyncRequestProto,
    FsyncResponseProto, GetAdditionalDatanodeRequestProto, GetAdditionalDatanodeResponseProto,
    GetFileInfoResponseProto, HdfsFileStatusProto, LocatedBlockProto, MkdirsRequestProto, MkdirsResponseProto,
    UpdateBlockForPipelineResponseProto, UpdatePipelineRequestProto, UpdatePipelineResponseProto,
};
use prost::Message;
use std::sync::atomic::{AtomicU64, Ordering};

const BLOCK_SIZE: u64 = 1 << 20;

/// A NameNode that gives every block to `nodes`, and answers `getAdditionalDatanode` with `additional`.
fn namenode(nodes: &[&DataNode], additional: LocatedBlockProto) -> NameNode {
    let replication = u32::try_from(nodes.len()).unwrap();
    let blocks = located(block(0, 0), nodes);
    let (next_block, next_stamp) = (AtomicU64::new(1), AtomicU64::new(1002));
    NameNode::start(move |method, body| {
        Ok(match method {
            "create" => CreateResponseProto {
                fs: Some(HdfsFileStatusProto {
                    blocksize: Some(BLOCK_SIZE),
                    block_replication: Some(replication),
                    file_id: Some(16_386),
                    ..HdfsFileStatusProto::default()
                }),
            }
            .encode_to_vec(),
            "addBlock" => {
                AddBlockRequestProto::decode(body.clone()).unwrap();
                let b = block(next_block.fetch_add(1, Ordering::Relaxed), 0);
                let block = LocatedBlockProto { b, ..blocks.clone() };
                AddBlockResponseProto { block }.encode_to_vec()
            }
            "updateBlockForPipeline" => {
                let mut block = blocks.clone();
                block.b = ExtendedBlockProto {
                    generation_stamp: next_stamp.fetch_add(1, Ordering::Relaxed),
                    ..common::block(1, 0)
                };
                UpdateBlockForPipelineResponseProto { block }.encode_to_vec()
            }
            "getAdditionalDatanode" => GetAdditionalDatanodeResponseProto {
                block: additional.clone(),
            }
            .encode_to_vec(),
            "updatePipeline" => UpdatePipelineResponseProto {}.encode_to_vec(),
            "fsync" => FsyncResponseProto {}.encode_to_vec(),
            "complete" => CompleteResponseProto { result: true }.encode_to_vec(),
            other => panic!("{other}"),
        })
    })
}

#[tokio::test]
async fn a_new_file_and_directory_say_their_permissions_before_and_after_the_umask() {
    let namenode = NameNode::start(|method, _| {
        Ok(match method {
            "create" => CreateResponseProto {
                fs: Some(HdfsFileStatusProto::default()),
            }
            .encode_to_vec(),
            _ => MkdirsResponseProto { result: true }.encode_to_vec(),
        })
    });
    let fs = namenode.client();
    fs.create("/f", &CreateOptions::default()).await.unwrap();
    fs.mkdirs("/d", 0o777, true).await.unwrap();
    let created = namenode.requests::<CreateRequestProto>("create").remove(0);
    let made = namenode.requests::<MkdirsRequestProto>("mkdirs").remove(0);
    for (masked, unmasked, both) in [
        (created.masked, created.unmasked, [0o644, 0o666]),
        (made.masked, made.unmasked, [0o755, 0o777]),
    ] {
        assert_eq!([masked.perm, unmasked.unwrap().perm], both);
    }
}

#[tokio::test]
async fn an_append_to_a_new_block_leaves_the_last_one_as_it_is() {
    let node = healthy("node");
    let (last, next) = (located(block(1, 100), &[&node]), located(block(2, 0), &[&node]));
    let namenode = NameNode::start(move |method, _| {
        Ok(match method {
            "getFileInfo" => GetFileInfoResponseProto {
                fs: Some(HdfsFileStatusProto::default()),
            }
            .encode_to_vec(),
            "append" => AppendResponseProto {
                block: Some(last.clone()),
                stat: Some(HdfsFileStatusProto {
                    blocksize: Some(BLOCK_SIZE),
                    block_replication: Some(1),
                    file_id: Some(16_386),
                    length: 100,
                    ..HdfsFileStatusProto::default()
                }),
            }
            .encode_to_vec(),
            "addBlock" => AddBlockResponseProto { block: next.clone() }.encode_to_vec(),
            "complete" => CompleteResponseProto { result: true }.encode_to_vec(),
            other => panic!("{other}"),
        })
    });
    let mut file = namenode.client().append_new_block("/f").await.unwrap();
    file.write(&[2; 100]).await.unwrap();
    file.close().await.unwrap();
    let append = namenode.requests::<AppendRequestProto>("append").remove(0);
    assert_eq!(append.flag, Some(4 | 32), "APPEND and NEW_BLOCK");
    let added = namenode.requests::<AddBlockRequestProto>("addBlock").remove(0);
    assert_eq!(added.previous, Some(block(1, 100)));
    assert!(
        !node
            .asked()
            .iter()
            .any(|asked| matches!(asked, Asked::Write(Stage::PipelineSetupAppend, ..))),
        "{:?}",
        node.asked()
    );
}

fn healthy(name: &str) -> DataNode {
    DataNode::start(name, Script::default())
}

fn breaks_after(name: &str, packets: usize) -> DataNode {
    let script = Script {
        break_after: Some(packets),
        ..Script::default()
    };
    DataNode::start(name, script)
}

fn uuids(nodes: &[DatanodeInfoProto]) -> Vec<&str> {
    nodes.iter().map(|node| node.id.datanode_uuid.as_str()).collect()
}

/// Writes 100 bytes that are flushed, then 100 that meet a broken pipeline, and closes.
async fn write_through_a_failure(namenode: &NameNode) -> UpdatePipelineRequestProto {
    let options = CreateOptions::default();
    let mut file = namenode.client().create("/f", &options).await.unwrap();
    file.write(&[1; 100]).await.unwrap();
    file.flush(false).await.unwrap();
    file.write(&[2; 100]).await.unwrap();
    file.flush(false).await.unwrap();
    file.close().await.unwrap();
    let mut updates = namenode.requests::<UpdatePipelineRequestProto>("updatePipeline");
    assert_eq!(updates.len(), 1);
    updates.remove(0)
}

#[tokio::test]
async fn a_new_datanode_joins_those_that_are_left_however_the_namenode_answers() {
    // Some NameNodes return the new DataNode alone. Hadoop's return it with the others. Here it is also in front of
    // them.
    for answer in [&["new"][..], &["second", "third", "new"], &["new", "third", "second"]] {
        let (first, second, third) = (breaks_after("first", 1), healthy("second"), healthy("third"));
        let new = healthy("new");
        let named: Vec<&DataNode> = answer
            .iter()
            .map(|name| match *name {
                "second" => &second,
                "third" => &third,
                _ => &new,
            })
            .collect();
        let namenode = namenode(&[&first, &second, &third], located(block(1, 100), &named));
        let update = write_through_a_failure(&namenode).await;
        let ids: Vec<&str> = update.new_nodes.iter().map(|id| id.datanode_uuid.as_str()).collect();
        assert_eq!(ids, ["second", "third", "new"], "{answer:?}");
        assert_eq!(update.storage_i_ds, ["DS-second", "DS-third", "DS-new"], "{answer:?}");
        let copy = Asked::Transfer(vec!["new".to_owned()]);
        let asked = [second.asked(), third.asked()].concat();
        assert_eq!(asked.iter().filter(|asked| **asked == copy).count(), 1, "{answer:?}");
        let setup = Asked::Write(Stage::PipelineSetupStreamingRecovery, 1002, 2);
        assert!(second.asked().contains(&setup), "{answer:?}: {:?}", second.asked());
        let request = &namenode.requests::<GetAdditionalDatanodeRequestProto>("getAdditionalDatanode")[0];
        assert_eq!(uuids(&request.existings), ["second", "third"]);
        assert_eq!(uuids(&request.excludes), ["first"]);
    }
}

#[tokio::test]
async fn safety_d14_the_namenode_hears_of_acknowledged_bytes_only() {
    let (first, second) = (breaks_after("first", 1), healthy("second"));
    let namenode = namenode(&[&first, &second], LocatedBlockProto::default());
    let update = write_through_a_failure(&namenode).await;
    assert_eq!(update.new_block.num_bytes(), 100, "200 were sent, and 100 acknowledged");
    assert_eq!(update.old_block.num_bytes(), 100);
}

#[tokio::test]
async fn the_first_flush_tells_the_namenode_how_much_is_safe() {
    let datanode = healthy("only");
    let namenode = namenode(&[&datanode], LocatedBlockProto::default());
    let mut file = namenode.client().create("/f", &CreateOptions::default()).await.unwrap();
    file.write(&[1; 100]).await.unwrap();
    file.flush(false).await.unwrap();
    file.write(&[1; 100]).await.unwrap();
    file.flush(false).await.unwrap();
    let told = namenode.requests::<FsyncRequestProto>("fsync");
    let lengths: Vec<i64> = told.iter().map(|request| request.last_block_length()).collect();
    assert_eq!(lengths, [100]);
}

#[tokio::test]
async fn safety_d14_a_sync_covers_the_blocks_that_have_ended() {
    let nodes = [healthy("first"), healthy("second")];
    let namenode = namenode(&[&nodes[0], &nodes[1]], LocatedBlockProto::default());
    let mut file = namenode.client().create("/f", &CreateOptions::default()).await.unwrap();
    let block = vec![1; usize::try_from(BLOCK_SIZE).unwrap()];
    file.write(&block).await.unwrap();
    file.write(&[2; 100]).await.unwrap();
    let synced = Asked::Write(Stage::PipelineCloseRecovery, 1001, 0);
    for node in &nodes {
        assert!(!node.asked().contains(&synced));
    }
    file.flush(true).await.unwrap();
    for node in &nodes {
        assert!(node.asked().contains(&synced), "{:?}", node.asked());
    }
    assert!(nodes[0].asked().contains(&Asked::Packet(0, 100, true, false)));

    // From now on blocks are synced as they end, and none is synced twice.
    file.write(&block).await.unwrap();
    file.flush(true).await.unwrap();
    file.close().await.unwrap();
    let asked = nodes[0].asked();
    assert_eq!(asked.iter().filter(|asked| **asked == synced).count(), 1);
    assert!(
        asked.contains(&Asked::Packet(BLOCK_SIZE, 0, true, true)),
        "the second block's end"
    );
}

//! A writer that closes its file before the DataNode's report of the last block has come.

use anyhow::{Context, Result};
use hathi_conf::Configuration;
use hathi_formats::proto::datanode::received_deleted_block_info_proto::BlockStatus;
use hathi_formats::proto::datanode::{
    BlockReceivedAndDeletedRequestProto, BlockReceivedAndDeletedResponseProto, DatanodeRegistrationProto,
    ReceivedDeletedBlockInfoProto, StorageReceivedDeletedBlocksProto,
};
use hathi_formats::proto::hdfs::{
    AddBlockRequestProto, AddBlockResponseProto, BlockProto, CompleteRequestProto, CompleteResponseProto,
    CreateRequestProto, CreateResponseProto, ExtendedBlockProto, FsPermissionProto, LocatedBlockProto,
};
use hathi_formats::proto::hdfs::{VersionRequestProto, VersionResponseProto};
use hathi_interop::{Cluster, ClusterOptions, wait_for};
use hathi_net::ipc::protocols::{CLIENT_PROTOCOL, DATANODE_PROTOCOL};
use hathi_net::ipc::{ClientOptions, PendingCall, RpcClient, connect_to};
use std::time::Duration;

const WRITER: &str = "DFSClient_NONMAPREDUCE_1_1";
const LENGTH: u64 = 10;

/// A file that is being written, and its only block.
async fn open(client: &RpcClient, path: &str) -> Result<LocatedBlockProto> {
    let create = CreateRequestProto {
        src: path.to_owned(),
        masked: FsPermissionProto { perm: 0o644 },
        client_name: WRITER.to_owned(),
        create_flag: 1,
        create_parent: true,
        replication: 1,
        block_size: 1 << 20,
        ..CreateRequestProto::default()
    };
    let _: CreateResponseProto = client.call("create", &create).await?;
    let add_block = AddBlockRequestProto {
        src: path.to_owned(),
        client_name: WRITER.to_owned(),
        ..AddBlockRequestProto::default()
    };
    let added: AddBlockResponseProto = client.call("addBlock", &add_block).await?;
    Ok(added.block)
}

/// Sent at once.
fn complete(client: &RpcClient, path: &str, block: &LocatedBlockProto) -> PendingCall<CompleteResponseProto> {
    let request = CompleteRequestProto {
        src: path.to_owned(),
        client_name: WRITER.to_owned(),
        last: Some(ExtendedBlockProto {
            num_bytes: Some(LENGTH),
            ..block.b.clone()
        }),
        file_id: None,
    };
    client.call("complete", &request)
}

/// What the block's DataNode says when it has it.
async fn report(client: &RpcClient, block: &LocatedBlockProto) -> Result<()> {
    let datanode = client.with_protocol(&DATANODE_PROTOCOL);
    let version: VersionResponseProto = datanode.call("versionRequest", &VersionRequestProto {}).await?;
    let report = BlockReceivedAndDeletedRequestProto {
        registration: DatanodeRegistrationProto {
            datanode_id: block.locs[0].id.clone(),
            storage_info: version.info.storage_info,
            software_version: "3.5.0".to_owned(),
            ..DatanodeRegistrationProto::default()
        },
        block_pool_id: block.b.pool_id.clone(),
        blocks: vec![StorageReceivedDeletedBlocksProto {
            storage_uuid: block.storage_i_ds[0].clone(),
            blocks: vec![ReceivedDeletedBlockInfoProto {
                block: BlockProto {
                    block_id: block.b.block_id,
                    gen_stamp: block.b.generation_stamp,
                    num_bytes: Some(LENGTH),
                },
                status: BlockStatus::Received as i32,
                delete_hint: None,
            }],
            storage: None,
        }],
    };
    let _: BlockReceivedAndDeletedResponseProto = datanode.call("blockReceivedAndDeleted", &report).await?;
    Ok(())
}

#[tokio::test]
async fn its_call_waits_for_the_report() -> Result<()> {
    let options = ClusterOptions {
        datanodes: 1,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(env!("CARGO_BIN_EXE_hathi"), options)?;
    cluster.hathi_ok("dfs", &["-chmod", "777", "/"])?;
    let active = wait_for("one active", Duration::from_secs(20), || cluster.active());
    let key = format!("dfs.namenode.rpc-address.hathi.nn{active}");
    let address = Configuration::load(&cluster.conf())?.get(&key).context(key)?;
    let client = connect_to(&address, &CLIENT_PROTOCOL, &ClientOptions::new("writer")).await?;

    let block = open(&client, "/file").await?;
    // On one connection, so that the report comes after the writer's call in any case.
    let done = complete(&client, "/file", &block);
    report(&client, &block).await?;
    assert!(done.await?.result);

    let block = open(&client, "/unreported").await?;
    assert!(!complete(&client, "/unreported", &block).await?.result);
    Ok(())
}

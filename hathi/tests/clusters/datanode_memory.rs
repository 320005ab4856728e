//! What a DataNode holds in memory for whoever calls it or writes to it.

use anyhow::{Context, Result};
use hathi_conf::Configuration;
use hathi_formats::datatransfer::{Op, PacketHeader, PipelineAck, read_delimited, write_op};
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hathi_formats::proto::hdfs::{
    BaseHeaderProto, BlockOpResponseProto, ChecksumProto, ChecksumTypeProto, ClientOperationHeaderProto,
    ExtendedBlockProto, GetReplicaVisibleLengthRequestProto, GetReplicaVisibleLengthResponseProto, OpWriteBlockProto,
    Status,
};
use hathi_interop::{Cluster, ClusterOptions, Role, wait_for};
use hathi_net::ipc::protocols::CLIENT_DATANODE_PROTOCOL;
use hathi_net::ipc::{ClientOptions, RpcError, connect_to};
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

/// How long anything that must happen may take, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls at once; a DataNode with a thread for each came to 188 threads, and 90 MiB.
const CALLS: usize = 600;
/// Those that serve calls, and those of the DataNode itself.
const THREADS_MAX: usize = 32 + 16;

/// Connections at the same time, for each of which the DataNode opens six files: no more than fit below the usual limit.
const CONNECTIONS: u64 = 150;
/// For one that has asked to write, and said no more: stack, heap and buffers of its thread, about 110 KiB. It was 260.
const CONNECTION_KIB_MAX: u64 = 170;
/// What may be left once all of them are gone: replicas, and what the allocator has not given back. It was as much as they had held.
const LEFT_KIB_MAX: u64 = 32 << 10;

struct DataNode {
    proc: String,
    transfer: String,
    ipc: String,
    pool_id: String,
}

impl DataNode {
    fn of(cluster: &Cluster) -> Result<DataNode> {
        let conf = Configuration::load(&cluster.daemon_conf(Role::DataNode, 0))?;
        let address = |key: &str| {
            let value = conf.get(key).with_context(|| key.to_owned());
            value.map(|value| {
                if value.contains(':') {
                    value
                } else {
                    format!("127.0.0.1:{value}")
                }
            })
        };
        let pool_id = || {
            let storage = cluster.data_dir(Role::DataNode, 0).join("current");
            let mut names = std::fs::read_dir(storage).ok()?.flatten();
            names.find_map(|entry| Some(entry.file_name().into_string().ok()?).filter(|name| name.starts_with("BP-")))
        };
        Ok(DataNode {
            proc: format!("/proc/{}", cluster.pid(Role::DataNode, 0)?.as_raw_nonzero()),
            transfer: address("dfs.datanode.address")?,
            ipc: address("dfs.datanode.ipc.address")?,
            pool_id: wait_for("a block pool", PATIENCE, pool_id),
        })
    }

    fn threads(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("{}/task", self.proc))?.count())
    }

    /// Memory that belongs to no file.
    fn holds_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("{}/status", self.proc))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let number = line
            .and_then(|line| line.split_whitespace().next())
            .context("no RssAnon")?;
        Ok(number.parse()?)
    }

    fn block(&self, block_id: u64) -> ExtendedBlockProto {
        ExtendedBlockProto {
            pool_id: self.pool_id.clone(),
            block_id,
            generation_stamp: 1001,
            num_bytes: Some(0),
        }
    }

    /// Begins to write a block of which no NameNode knows; the DataNode has agreed when this returns.
    fn begin_to_write(&self, block_id: u64) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.transfer)?;
        let request = OpWriteBlockProto {
            header: ClientOperationHeaderProto {
                base_header: BaseHeaderProto {
                    block: self.block(block_id),
                    token: None,
                    trace_info: None,
                },
                client_name: "a-client".to_owned(),
            },
            stage: Stage::PipelineSetupCreate as i32,
            pipeline_size: 1,
            latest_generation_stamp: 1001,
            requested_checksum: ChecksumProto {
                r#type: ChecksumTypeProto::ChecksumCrc32c as i32,
                bytes_per_checksum: 512,
            },
            ..OpWriteBlockProto::default()
        };
        write_op(&mut stream, Op::WriteBlock, &request)?;
        let answer: BlockOpResponseProto = read_delimited(&mut stream)?;
        anyhow::ensure!(answer.status == Status::Success as i32, "{answer:?}");
        Ok(stream)
    }
}

/// Sends a packet without checksums; it is on disk when this returns.
fn send_packet(stream: &mut TcpStream, data_len: usize) -> Result<()> {
    let header = PacketHeader {
        data_len: u32::try_from(data_len)?,
        ..PacketHeader::default()
    };
    let mut packet = Vec::new();
    header.encode_into(0, &mut packet);
    packet.resize(packet.len() + data_len, 0);
    stream.write_all(&packet)?;
    anyhow::ensure!(PipelineAck::read(stream)?.is_success(), "not acknowledged");
    Ok(())
}

/// A hostile peer made DataNodes grow by 190 MiB: with a thread for each call of a burst, with full buffers for connections
/// that had sent nothing, and with the heaps of threads that had ended.
#[test]
fn a_datanode_holds_little_for_each_caller_and_nothing_for_those_that_are_gone() -> Result<()> {
    // Each write is promised the room of a block; there may be less than that many of the usual size.
    let cluster = Cluster::start_with(
        env!("CARGO_BIN_EXE_hathi"),
        ClusterOptions {
            namenodes: 1,
            journalnodes: 1,
            datanodes: 1,
        },
        &["dfs.blocksize=1048576"],
    )?;
    let datanode = DataNode::of(&cluster)?;
    let before = datanode.holds_kib()?;

    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(call_in_a_burst(&datanode))?;
    // Those that have served stay for some seconds.
    let threads = datanode.threads()?;
    assert!(threads <= THREADS_MAX, "{CALLS} calls at once took {threads} threads");

    let first = datanode.begin_to_write(1 << 40)?;
    let without = datanode.holds_kib()?;
    let mut streams = (1..=CONNECTIONS)
        .map(|number| datanode.begin_to_write((1 << 40) + number))
        .collect::<Result<Vec<_>>>()
        .with_context(|| cluster.logs())?;
    let each = datanode.holds_kib()?.saturating_sub(without) / CONNECTIONS;
    assert!(each <= CONNECTION_KIB_MAX, "{each} KiB for each connection that waits");

    for stream in &mut streams {
        send_packet(stream, 512 << 10)?;
    }
    drop((streams, first));
    wait_for("the memory of connections that have ended", PATIENCE, || {
        let holds = datanode.holds_kib().ok()?;
        (holds <= before + LEFT_KIB_MAX).then_some(())
    });
    Ok(())
}

async fn call_in_a_burst(datanode: &DataNode) -> Result<()> {
    let client = connect_to(
        &datanode.ipc,
        &CLIENT_DATANODE_PROTOCOL,
        &ClientOptions::new("a-client"),
    )
    .await?;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..CALLS as u64 {
        let (client, block) = (client.clone(), datanode.block((1 << 41) + number));
        calls.spawn(async move {
            let request = GetReplicaVisibleLengthRequestProto { block };
            client
                .call::<_, GetReplicaVisibleLengthResponseProto>("getReplicaVisibleLength", &request)
                .await
        });
    }
    while let Some(answer) = calls.join_next().await {
        let answer = answer?;
        // Such a replica is not there, and each call is told so.
        anyhow::ensure!(matches!(answer, Err(RpcError::Remote(_))), "{answer:?}");
    }
    Ok(())
}

//! A NameNode and DataNodes that answer as a test scripts, and record the requests.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part, and all of it is for tests"
)]

use bytes::Bytes;
use hathi_client::FileSystem;
use hathi_conf::{Configuration, Environment};
use hathi_formats::datatransfer::{
    DataChecksum, OpRequest, PacketBuffer, PacketHeader, PipelineAck, read_delimited, read_request, write_delimited,
};
use hathi_formats::exceptions::{self, ExceptionClass, RemoteException};
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hathi_formats::proto::hdfs::{
    BlockOpResponseProto, ClientReadStatusProto, DatanodeIdProto, DatanodeInfoProto, ExtendedBlockProto,
    GetBlockLocationsResponseProto, GetReplicaVisibleLengthResponseProto, LocatedBlockProto, LocatedBlocksProto,
    OpReadBlockProto, OpWriteBlockProto, ReadOpChecksumInfoProto, Status, StorageTypeProto,
};
use hathi_net::ipc::protocols::{CLIENT_DATANODE_PROTOCOL, CLIENT_PROTOCOL};
use hathi_net::ipc::{Protocol, Responder, RpcCall, RpcHandler, RpcServer, ServerOptions};
use prost::Message;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

type Answer = Result<Vec<u8>, RemoteException>;

/// Answers every call with the result of the closure.
struct Scripted<F> {
    protocol: &'static Protocol,
    answer: F,
}

impl<F: Fn(&str, &Bytes) -> Answer + Send + Sync + 'static> RpcHandler for Scripted<F> {
    fn protocols(&self) -> Vec<&'static Protocol> {
        vec![self.protocol]
    }

    fn call(&self, call: RpcCall, reply: Responder) {
        match (self.answer)(call.method.name(), &call.body) {
            Ok(body) => reply.ok_encoded(&body),
            Err(exception) => reply.error(&exception),
        }
    }
}

fn serve(protocol: &'static Protocol, answer: impl Fn(&str, &Bytes) -> Answer + Send + Sync + 'static) -> RpcServer {
    let handler = Arc::new(Scripted { protocol, answer });
    RpcServer::bind("127.0.0.1:0".parse().unwrap(), handler, ServerOptions::default()).unwrap()
}

/// A NameNode that records every call.
pub struct NameNode {
    server: RpcServer,
    calls: Arc<Mutex<Vec<(String, Bytes)>>>,
}

impl NameNode {
    pub fn start(answer: impl Fn(&str, &Bytes) -> Answer + Send + Sync + 'static) -> NameNode {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let log = calls.clone();
        let server = serve(&CLIENT_PROTOCOL, move |method, body| {
            log.lock().unwrap().push((method.to_owned(), body.clone()));
            answer(method, body)
        });
        NameNode { server, calls }
    }

    pub fn client(&self) -> FileSystem {
        let mut conf = Configuration::new(Environment::default());
        conf.set("dfs.client.retry.interval-ms.get-last-block-length", "1");
        FileSystem::new(&conf, &self.server.local_addr().to_string(), "reader").unwrap()
    }

    /// The requests of one method.
    pub fn requests<M: Message + Default>(&self, method: &str) -> Vec<M> {
        let calls = self.calls.lock().unwrap();
        let of_method = calls.iter().filter(|(name, _)| name == method);
        of_method.map(|(_, body)| M::decode(body.clone()).unwrap()).collect()
    }
}

/// Behaviour of a DataNode.
#[derive(Default)]
pub struct Script {
    /// The replica's bytes.
    pub data: Vec<u8>,
    /// Number of first reads that get data which does not match the checksums.
    pub corrupt_reads: usize,
    /// Answer of `getReplicaVisibleLength`. An error is the exception's class.
    pub visible: Option<Result<i64, ExceptionClass>>,
    /// Number of packets that are acknowledged. The next packet ends the connection, once.
    pub break_after: Option<usize>,
}

/// A request that a DataNode got.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    Read,
    /// Stage, generation stamp, and number of DataNodes further down the pipeline.
    Write(Stage, u64, usize),
    /// Offset, length, sync, last.
    Packet(u64, u32, bool, bool),
    /// UUIDs of the targets.
    Transfer(Vec<String>),
}

/// A DataNode.
pub struct DataNode {
    ipc: RpcServer,
    port: u16,
    uuid: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl DataNode {
    pub fn start(name: &str, script: Script) -> DataNode {
        let visible = script.visible;
        let ipc = serve(&CLIENT_DATANODE_PROTOCOL, move |_, _| match visible {
            Some(Ok(length)) => Ok(GetReplicaVisibleLengthResponseProto {
                length: length.cast_unsigned(),
            }
            .encode_to_vec()),
            Some(Err(class)) => Err(RemoteException::new(class, "as scripted")),
            None => Err(RemoteException::new(exceptions::IO, "not scripted")),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, log) = (Arc::new(Mutex::new(script)), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, log) = (script.clone(), log.clone());
                // A client that disconnects midway does not matter to the test.
                std::thread::spawn(move || drop(transfer(stream, &script, &log)));
            }
        });
        DataNode {
            ipc,
            port,
            uuid: name.to_owned(),
            asked,
        }
    }

    pub fn info(&self) -> DatanodeInfoProto {
        DatanodeInfoProto {
            id: DatanodeIdProto {
                ip_addr: "127.0.0.1".to_owned(),
                host_name: "127.0.0.1".to_owned(),
                datanode_uuid: self.uuid.clone(),
                xfer_port: u32::from(self.port),
                ipc_port: u32::from(self.ipc.local_addr().port()),
                ..DatanodeIdProto::default()
            },
            ..DatanodeInfoProto::default()
        }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn transfer(mut stream: TcpStream, script: &Mutex<Script>, log: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
    let Some(request) = read_request(&mut stream)? else {
        return Ok(());
    };
    match request {
        OpRequest::ReadBlock(request) => {
            log.lock().unwrap().push(Asked::Read);
            read_block(&mut stream, &request, script)
        }
        OpRequest::WriteBlock(request) => write_block(stream, &request, script, log),
        OpRequest::TransferBlock(request) => {
            let targets = request.targets.iter().map(|node| node.id.datanode_uuid.clone());
            log.lock().unwrap().push(Asked::Transfer(targets.collect()));
            write_delimited(&mut stream, &success())
        }
        other => panic!("{other:?}"),
    }
}

fn success() -> BlockOpResponseProto {
    BlockOpResponseProto {
        status: Status::Success.into(),
        ..BlockOpResponseProto::default()
    }
}

/// Sends one packet with everything from the start of the offset's chunk on, and the packet that ends the block.
fn read_block(stream: &mut TcpStream, request: &OpReadBlockProto, script: &Mutex<Script>) -> std::io::Result<()> {
    let checksum = DataChecksum::DEFAULT;
    let (mut data, corrupt) = {
        let mut script = script.lock().unwrap();
        let corrupt = script.corrupt_reads > 0;
        script.corrupt_reads = script.corrupt_reads.saturating_sub(1);
        (script.data.clone(), corrupt)
    };
    let start = request.offset / 512 * 512;
    let mut answer = success();
    answer.read_op_checksum_info = Some(ReadOpChecksumInfoProto {
        checksum: checksum.to_proto(),
        chunk_offset: start,
    });
    write_delimited(stream, &answer)?;
    data.drain(..usize::try_from(start).unwrap());
    let mut checksums = Vec::new();
    checksum.compute_into(&data, &mut checksums);
    if corrupt {
        data[0] ^= 1;
    }
    let header = |seqno, offset: u64, len: usize| PacketHeader {
        offset_in_block: offset,
        seqno,
        last_packet_in_block: len == 0,
        data_len: u32::try_from(len).unwrap(),
        sync_block: false,
    };
    let mut bytes = Vec::new();
    header(0, start, data.len()).encode_into(checksums.len(), &mut bytes);
    bytes.extend_from_slice(&checksums);
    bytes.extend_from_slice(&data);
    header(1, start + data.len() as u64, 0).encode_into(0, &mut bytes);
    stream.write_all(&bytes)?;
    // The client reports on the checksums, or has disconnected.
    read_delimited::<ClientReadStatusProto>(stream).map(drop)
}

/// Takes packets and acknowledges them for the whole pipeline.
fn write_block(
    mut stream: TcpStream,
    request: &OpWriteBlockProto,
    script: &Mutex<Script>,
    log: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let (stage, stamp) = (request.stage(), request.latest_generation_stamp);
    log.lock()
        .unwrap()
        .push(Asked::Write(stage, stamp, request.targets.len()));
    write_delimited(&mut stream, &success())?;
    if stage == Stage::PipelineCloseRecovery {
        return Ok(());
    }
    let mut packet = PacketBuffer::default();
    for number in 0.. {
        let header = *packet.read_from(&mut stream)?;
        let mut script = script.lock().unwrap();
        if script.break_after == Some(number) {
            script.break_after = None;
            return Ok(());
        }
        log.lock().unwrap().push(Asked::Packet(
            header.offset_in_block,
            header.data_len,
            header.sync_block,
            header.last_packet_in_block,
        ));
        let ack = PipelineAck {
            seqno: header.seqno,
            replies: vec![PipelineAck::plain(Status::Success); 1 + request.targets.len()],
            downstream_ack_time_nanos: 0,
        };
        ack.write(&mut stream)?;
        if header.last_packet_in_block {
            return Ok(());
        }
    }
    Ok(())
}

pub fn block(id: u64, len: u64) -> ExtendedBlockProto {
    ExtendedBlockProto {
        pool_id: "BP-1".to_owned(),
        block_id: id,
        generation_stamp: 1001,
        num_bytes: Some(len),
    }
}

pub fn located(block: ExtendedBlockProto, nodes: &[&DataNode]) -> LocatedBlockProto {
    LocatedBlockProto {
        b: block,
        locs: nodes.iter().map(|node| node.info()).collect(),
        storage_types: vec![StorageTypeProto::Disk.into(); nodes.len()],
        storage_i_ds: nodes.iter().map(|node| format!("DS-{}", node.uuid)).collect(),
        ..LocatedBlockProto::default()
    }
}

/// A file of one complete block.
pub fn complete(block: LocatedBlockProto) -> LocatedBlocksProto {
    LocatedBlocksProto {
        file_length: block.b.num_bytes(),
        under_construction: false,
        last_block: Some(block.clone()),
        blocks: vec![block],
        is_last_block_complete: true,
        ..LocatedBlocksProto::default()
    }
}

/// A file whose only block is being written.
pub fn open(block: LocatedBlockProto) -> LocatedBlocksProto {
    LocatedBlocksProto {
        file_length: 0,
        under_construction: true,
        last_block: Some(block),
        is_last_block_complete: false,
        ..LocatedBlocksProto::default()
    }
}

pub fn locations(file: &LocatedBlocksProto) -> Answer {
    Ok(GetBlockLocationsResponseProto {
        locations: Some(file.clone()),
    }
    .encode_to_vec())
}

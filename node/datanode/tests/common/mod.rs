//! DataNodes in this process, and a tiny client that speaks data transfer to them.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part, and all of it is for tests"
)]

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use hathi_conf::{Configuration, Environment};
use hathi_datanode::dataset::Dataset;
use hathi_datanode::pool::Pool;
use hathi_datanode::{DataNode, DataNodeConf, Ports, xceiver};
use hathi_formats::datatransfer::{
    DataChecksum, Op, PacketBuffer, PacketHeader, PipelineAck, read_delimited, write_delimited, write_op,
};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, LayoutVersion, NamespaceInfo};
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hathi_formats::proto::hdfs::{
    BaseHeaderProto, BlockChecksumOptionsProto, BlockChecksumTypeProto, BlockOpResponseProto,
    ClientOperationHeaderProto, ClientReadStatusProto, DatanodeInfoProto, ExtendedBlockProto, LocatedBlockProto,
    OpBlockChecksumProto, OpReadBlockProto, OpReplaceBlockProto, OpTransferBlockProto, OpWriteBlockProto,
    RecoveringBlockProto, Status, StorageTypeProto,
};

pub const POOL: &str = "BP-1-127.0.0.1-1";

pub fn namespace() -> NamespaceInfo {
    NamespaceInfo {
        layout_version: LayoutVersion::NAMENODE_CURRENT,
        namespace_id: 7,
        cluster_id: "CID-test".to_owned(),
        ctime: 0,
        block_pool_id: POOL.to_owned(),
    }
}

pub fn conf(dirs: &[&Path]) -> DataNodeConf {
    let mut conf = Configuration::new(Environment::default());
    let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    conf.set("dfs.datanode.data.dir", dirs.join(","));
    conf.set("dfs.namenode.rpc-address", "127.0.0.1:1");
    conf.set("dfs.blocksize", "1048576");
    conf.set("dfs.datanode.hostname", "localhost");
    for key in [
        "dfs.datanode.address",
        "dfs.datanode.http.address",
        "dfs.datanode.ipc.address",
    ] {
        conf.set(key, "127.0.0.1:0");
    }
    DataNodeConf::from_configuration(&conf, "tester").unwrap()
}

/// A DataNode that serves data transfer and reports to nobody.
pub fn datanode(dirs: &[&Path]) -> Arc<DataNode> {
    datanode_with(conf(dirs))
}

pub fn datanode_with(conf: DataNodeConf) -> Arc<DataNode> {
    let dataset = Dataset::open(&conf).unwrap();
    let listener = TcpListener::bind(conf.xfer_address).unwrap();
    let ports = Ports {
        xfer: listener.local_addr().unwrap().port(),
        ..Ports::default()
    };
    let node = DataNode::new(conf, dataset, ports);
    node.dataset.open_pool(&namespace()).unwrap();
    xceiver::serve(node.clone(), listener).unwrap();
    node
}

pub fn pool(node: &DataNode) -> Arc<Pool> {
    node.dataset.pool(POOL).unwrap()
}

pub fn info(node: &DataNode) -> DatanodeInfoProto {
    node.own_info()
}

pub fn block(id: i64, gs: u64, num_bytes: u64) -> Block {
    Block {
        id: BlockId(id),
        num_bytes,
        generation_stamp: GenerationStamp(gs),
    }
}

pub fn extended(block: Block) -> ExtendedBlockProto {
    ExtendedBlockProto {
        pool_id: POOL.to_owned(),
        block_id: block.id.0 as u64,
        generation_stamp: block.generation_stamp.0,
        num_bytes: Some(block.num_bytes),
    }
}

/// The order to recover a block.
pub fn recovering(block: Block, recovery_id: u64) -> RecoveringBlockProto {
    RecoveringBlockProto {
        new_gen_stamp: recovery_id,
        block: LocatedBlockProto {
            b: extended(Block { num_bytes: 0, ..block }),
            ..LocatedBlockProto::default()
        },
        ..RecoveringBlockProto::default()
    }
}

pub fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

pub fn header(block: Block, client: &str) -> ClientOperationHeaderProto {
    ClientOperationHeaderProto {
        base_header: BaseHeaderProto {
            block: extended(block),
            token: None,
            trace_info: None,
        },
        client_name: client.to_owned(),
    }
}

fn connect(node: &DataNode) -> TcpStream {
    TcpStream::connect(("127.0.0.1", node.ports.xfer)).unwrap()
}

/// A client's end of a pipeline.
pub struct Writer {
    pub stream: TcpStream,
    pub reader: BufReader<TcpStream>,
    pub seqno: i64,
    pub offset: u64,
}

pub struct Setup {
    pub block: Block,
    pub stage: Stage,
    pub new_gs: u64,
    pub min_bytes: u64,
    pub max_bytes: u64,
}

impl Setup {
    pub fn create(block: Block) -> Setup {
        Setup {
            block,
            stage: Stage::PipelineSetupCreate,
            new_gs: 0,
            min_bytes: 0,
            max_bytes: 0,
        }
    }
}

impl Writer {
    /// Sets a pipeline up. `Err` is the answer of a DataNode that refuses.
    pub fn open(nodes: &[&Arc<DataNode>], setup: &Setup) -> Result<Writer, Option<Box<BlockOpResponseProto>>> {
        let mut stream = connect(nodes[0]);
        let rest = nodes[1..].iter().map(|node| info(node)).collect::<Vec<_>>();
        let disk = StorageTypeProto::Disk as i32;
        let request = OpWriteBlockProto {
            header: header(setup.block, "client"),
            target_storage_types: vec![disk; rest.len()],
            targets: rest,
            source: None,
            stage: setup.stage as i32,
            pipeline_size: nodes.len() as u32,
            min_bytes_rcvd: setup.min_bytes,
            max_bytes_rcvd: setup.max_bytes,
            latest_generation_stamp: setup.new_gs,
            requested_checksum: DataChecksum::DEFAULT.to_proto(),
            caching_strategy: None,
            storage_type: Some(disk),
            allow_lazy_persist: None,
            pinning: None,
            target_pinnings: vec![],
            storage_id: None,
            target_storage_ids: vec![],
        };
        write_op(&mut stream, Op::WriteBlock, &request).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        match read_delimited::<BlockOpResponseProto>(&mut reader) {
            Ok(answer) if answer.status() == Status::Success => Ok(Writer {
                stream,
                reader,
                seqno: 0,
                offset: setup.min_bytes,
            }),
            Ok(answer) => Err(Some(Box::new(answer))),
            Err(_) => Err(None),
        }
    }

    /// Sends one packet of data with right checksums.
    pub fn send(&mut self, data: &[u8]) {
        let mut sums = Vec::new();
        DataChecksum::DEFAULT.compute_into(data, &mut sums);
        self.send_with(data, &sums, false, false);
    }

    pub fn send_with(&mut self, data: &[u8], sums: &[u8], last: bool, sync: bool) {
        let packet = PacketHeader {
            offset_in_block: self.offset,
            seqno: self.seqno,
            last_packet_in_block: last,
            data_len: data.len() as u32,
            sync_block: sync,
        };
        let mut out = Vec::new();
        packet.encode_into(sums.len(), &mut out);
        out.extend_from_slice(sums);
        out.extend_from_slice(data);
        self.stream.write_all(&out).unwrap();
        self.seqno += 1;
        self.offset += data.len() as u64;
    }

    pub fn ack(&mut self) -> std::io::Result<PipelineAck> {
        PipelineAck::read(&mut self.reader)
    }

    /// Sends data in packets of `size` and waits for all acknowledgements.
    pub fn write(&mut self, data: &[u8], size: usize) {
        let first = self.seqno;
        for piece in data.chunks(size) {
            self.send(piece);
        }
        for seqno in first..self.seqno {
            let ack = self.ack().unwrap();
            assert!(ack.is_success(), "{ack:?}");
            assert_eq!(ack.seqno, seqno);
        }
    }

    /// Sends the last packet and waits for its acknowledgement.
    pub fn close(mut self, sync: bool) -> PipelineAck {
        self.send_with(&[], &[], true, sync);
        self.ack().unwrap()
    }

    /// Waits until the DataNode has closed the connection.
    pub fn wait_closed(mut self) {
        let mut rest = Vec::new();
        let _ = self.reader.read_to_end(&mut rest);
    }
}

/// Reads a range with checksums. Returns its data.
pub fn read(node: &DataNode, block: Block, offset: u64, len: u64) -> Result<Vec<u8>, String> {
    let mut stream = connect(node);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    read_on(&mut stream, &mut reader, block, offset, len)
}

/// As [`read`], on a connection that is kept.
pub fn read_on(
    stream: &mut TcpStream,
    reader: &mut BufReader<TcpStream>,
    block: Block,
    offset: u64,
    len: u64,
) -> Result<Vec<u8>, String> {
    let request = OpReadBlockProto {
        header: header(block, "client"),
        offset,
        len,
        send_checksums: Some(true),
        caching_strategy: None,
    };
    write_op(stream, Op::ReadBlock, &request).unwrap();
    let answer: BlockOpResponseProto = read_delimited(reader).map_err(|error| error.to_string())?;
    if answer.status() != Status::Success {
        return Err(answer.message.unwrap_or_default());
    }
    let info = answer.read_op_checksum_info.unwrap();
    let checksum = DataChecksum::from_proto(&info.checksum).unwrap();
    assert!(info.chunk_offset <= offset);
    let mut packet = PacketBuffer::default();
    let mut data = Vec::new();
    let mut seqno = -1;
    loop {
        let header = *packet.read_from(reader).map_err(|error| error.to_string())?;
        assert!(header.follows(seqno), "{header:?} after {seqno}");
        seqno = header.seqno;
        checksum
            .verify(packet.data(), packet.checksums())
            .map_err(|error| error.to_string())?;
        assert_eq!(header.offset_in_block, info.chunk_offset + data.len() as u64);
        data.extend_from_slice(packet.data());
        if header.last_packet_in_block {
            break;
        }
    }
    let status = ClientReadStatusProto {
        status: Status::ChecksumOk as i32,
    };
    write_delimited(stream, &status).unwrap();
    let skip = (offset - info.chunk_offset) as usize;
    Ok(data[skip..skip + len as usize].to_vec())
}

pub fn block_checksum(node: &DataNode, block: Block, kind: BlockChecksumTypeProto) -> Vec<u8> {
    let mut stream = connect(node);
    let request = OpBlockChecksumProto {
        header: header(block, "").base_header,
        block_checksum_options: Some(BlockChecksumOptionsProto {
            block_checksum_type: Some(kind as i32),
            stripe_length: None,
        }),
    };
    write_op(&mut stream, Op::BlockChecksum, &request).unwrap();
    let answer: BlockOpResponseProto = read_delimited(&mut BufReader::new(stream)).unwrap();
    assert_eq!(answer.status(), Status::Success);
    answer.checksum_response.unwrap().block_checksum.to_vec()
}

/// Asks a DataNode to copy its replica to another one.
pub fn transfer(from: &DataNode, block: Block, to: &DataNode) -> Status {
    let mut stream = connect(from);
    let request = OpTransferBlockProto {
        header: header(block, "client"),
        targets: vec![info(to)],
        target_storage_types: vec![StorageTypeProto::Disk as i32],
        target_storage_ids: vec![],
    };
    write_op(&mut stream, Op::TransferBlock, &request).unwrap();
    read_delimited::<BlockOpResponseProto>(&mut BufReader::new(stream)).map_or(Status::Error, |answer| answer.status())
}

/// Asks a DataNode to fetch a replica from another one, as the balancer does.
pub fn replace(on: &DataNode, block: Block, from: &DataNode, kind: StorageTypeProto) -> BlockOpResponseProto {
    let mut stream = connect(on);
    let request = OpReplaceBlockProto {
        header: header(block, "").base_header,
        del_hint: "hint".to_owned(),
        source: info(from),
        storage_type: Some(kind as i32),
        storage_id: None,
    };
    write_op(&mut stream, Op::ReplaceBlock, &request).unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let answer: BlockOpResponseProto = read_delimited(&mut reader).unwrap();
        if answer.status() != Status::InProgress {
            return answer;
        }
    }
}

/// Writes a whole block of stamp 1001 to one DataNode.
pub fn put(node: &Arc<DataNode>, id: i64, data: &[u8]) {
    let mut writer = Writer::open(&[node], &Setup::create(block(id, 1001, 0))).unwrap();
    writer.write(data, 64 * 512);
    assert!(writer.close(false).is_success());
}

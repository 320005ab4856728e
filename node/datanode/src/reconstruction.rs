//! Internal blocks of striped files that are made from others (`ErasureCodingWorker`, `StripedBlockReconstructor`).
//!
//! `hathi_coding::Reconstruction` decides what is read, and what is made of it. Here it is read, coded and written: one
//! thread for each order, with one buffer for each source and target. All sources send at once into the buffers of their
//! sockets, so a thread that reads them in turn does not wait for each.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hathi_blockpool::recovery::participant::block_of;
use hathi_coding::reconstruction::{Piece, Source, Target};
use hathi_coding::{OrderError, Reconstruction, Transform};
use hathi_formats::datatransfer::{ChecksumMismatch, DataChecksum, Op, PacketHeader, write_op};
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hathi_formats::proto::hdfs::{BlockEcReconstructionInfoProto, CachingStrategyProto, OpWriteBlockProto};
use hathi_transfer::{PipelineNodes, ReplicaStream, packets, requests};

use crate::node::DataNode;
use crate::reconstructions::TooMany;

/// Data bytes of a packet to a target.
const PACKET_DATA_BYTES: usize = 64 << 10;

/// Takes an order. It is carried out when a thread is free.
pub fn submit(node: &Arc<DataNode>, order: BlockEcReconstructionInfoProto) {
    let xmits = node.conf.reconstruction.xmits(&order);
    let group = order.block.block_id.cast_signed();
    // A thread may be done with it at any time from then on.
    node.xmits.fetch_add(xmits, Ordering::AcqRel);
    let needs_thread = match node.reconstructions.push(order, node.conf.reconstruction.threads) {
        Ok(needs_thread) => needs_thread,
        Err(TooMany) => {
            node.xmits.fetch_sub(xmits, Ordering::AcqRel);
            tracing::warn!(group, "too many internal blocks are to be made");
            return;
        }
    };
    if !needs_thread {
        return;
    }
    let worker = node.clone();
    let spawned = std::thread::Builder::new()
        .name("reconstruct".to_owned())
        .spawn(move || carry_out_all(&worker));
    if let Err(error) = spawned {
        // The order waits for the thread of another one.
        node.reconstructions.thread_ended();
        tracing::warn!(%error, "cannot start a thread to make internal blocks");
    }
}

fn carry_out_all(node: &Arc<DataNode>) {
    while let Some(order) = node.reconstructions.take_next() {
        let metrics = &node.reconstructions.metrics;
        let group = order.block.block_id.cast_signed();
        if let Err(error) = carry_out(node, &order) {
            metrics.failed_tasks.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(group, %error, "internal blocks were not made");
        }
        metrics.tasks.fetch_add(1, Ordering::Relaxed);
        node.xmits
            .fetch_sub(node.conf.reconstruction.xmits(&order), Ordering::AcqRel);
    }
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Order(#[from] OrderError),
    #[error("no target could be written")]
    Targets,
    #[error("{0}")]
    Coding(&'static str),
    #[error("this DataNode is stopping")]
    Stopping,
}

/// Makes one internal block of an order, and gives its bytes away in pieces of whole chunks for as long as they are wanted.
/// Returns the checksums of the sources.
pub(crate) fn make(
    node: &Arc<DataNode>,
    order: &BlockEcReconstructionInfoProto,
    index: u8,
    mut take: impl FnMut(&DataChecksum, &[u8]) -> bool,
) -> Result<DataChecksum, Failure> {
    let mut sources = Sources::of_order(node, order)?;
    let checksum = sources.checksum()?;
    let at = sources.plan.targets().iter().position(|target| target.index == index);
    let at = at.ok_or(Failure::Order(OrderError::Lists))?;
    let mut offset = 0;
    while let Some(piece) = sources.plan.piece(offset, buffer_bytes(node, &checksum)) {
        let made = sources.make(piece)?;
        let has = sources.plan.bytes_of(piece, index);
        let bytes = made.get(at).and_then(|made| made.get(..has)).unwrap_or_default();
        if node.is_stopping() {
            return Err(Failure::Stopping);
        }
        if !take(&checksum, bytes) {
            break;
        }
        offset += piece.length as u64;
    }
    Ok(checksum)
}

/// What is read of each source at once: whole chunks.
fn buffer_bytes(node: &DataNode, checksum: &DataChecksum) -> usize {
    let chunk = checksum.bytes_per_checksum() as usize;
    node.conf.reconstruction.buffer_bytes.max(1).next_multiple_of(chunk)
}

fn carry_out(node: &Arc<DataNode>, order: &BlockEcReconstructionInfoProto) -> Result<(), Failure> {
    let mut sources = Sources::of_order(node, order)?;
    let checksum = sources.checksum()?;
    let buffer_bytes = buffer_bytes(node, &checksum);
    let mut targets: Vec<Writing<'_>> = sources
        .plan
        .targets()
        .iter()
        .filter_map(|target| Writing::open(node, order, &sources.plan, *target, checksum))
        .collect();
    let mut offset = 0;
    while let Some(piece) = sources.plan.piece(offset, buffer_bytes) {
        if node.is_stopping() {
            return Err(Failure::Stopping);
        }
        let made = sources.make(piece)?;
        let plan = &sources.plan;
        let of_target = |target: &Target| plan.targets().iter().position(|other| other == target);
        targets.retain_mut(|writing| {
            let made = of_target(&writing.target).and_then(|at| made.get(at));
            let has = plan.bytes_of(piece, writing.target.index);
            writing.go_on(made.and_then(|made| made.get(..has)).unwrap_or_default())
        });
        if targets.is_empty() {
            return Err(Failure::Targets);
        }
        offset += piece.length as u64;
    }
    targets.retain_mut(Writing::finish);
    let wanted = sources.plan.targets().len();
    tracing::info!(group = %sources.plan.group(), written = targets.len(), wanted, "internal blocks made");
    match targets.is_empty() {
        true => Err(Failure::Targets),
        false => Ok(()),
    }
}

/// What is read.
struct Sources<'a> {
    node: &'a Arc<DataNode>,
    order: &'a BlockEcReconstructionInfoProto,
    plan: Reconstruction,
    /// Those that are read, by their place in the order.
    streams: BTreeMap<usize, ReplicaStream>,
    /// Of the sources that are read now.
    transform: Option<Transform>,
}

impl<'a> Sources<'a> {
    fn of_order(node: &'a Arc<DataNode>, order: &'a BlockEcReconstructionInfoProto) -> Result<Sources<'a>, OrderError> {
        Ok(Sources {
            node,
            order,
            plan: Reconstruction::of_order(order)?,
            streams: BTreeMap::new(),
            transform: None,
        })
    }

    /// The checksums of the first source that can be read, which the targets get.
    fn checksum(&mut self) -> Result<DataChecksum, Failure> {
        loop {
            let Some(source) = self.plan.reading().first().copied() else {
                return Err(Failure::Coding("no source has bytes"));
            };
            match self.stream(source, 0) {
                Ok(stream) => return Ok(stream.checksum()),
                Err(error) => self.on_failure(source, &error)?,
            }
        }
    }

    /// Reads a piece of each source, and makes that of each target.
    fn make(&mut self, piece: Piece) -> Result<Vec<Vec<u8>>, Failure> {
        let mut read: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        // A source that fails is replaced, and its replacement may fail.
        while let Some(source) = self.plan.reading().iter().find(|source| !read.contains_key(&source.at)) {
            let source = *source;
            match self.read(source, piece) {
                Ok(bytes) => {
                    read.insert(source.at, bytes);
                }
                Err(error) => self.on_failure(source, &error)?,
            }
        }
        let zeros = vec![0; if self.plan.blanks() > 0 { piece.length } else { 0 }];
        let of_sources = self.plan.reading().iter().filter_map(|source| read.get(&source.at));
        let mut inputs: Vec<&[u8]> = of_sources.map(Vec::as_slice).collect();
        inputs.extend((0..self.plan.blanks()).map(|_| zeros.as_slice()));
        let began = Instant::now();
        if self.transform.is_none() {
            self.transform = self.plan.transform();
        }
        let transform = self.transform.as_ref();
        let made = transform.and_then(|transform| transform.applied(&inputs).ok());
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let metrics = &self.node.reconstructions.metrics;
        metrics.decoding_nanos.fetch_add(nanos, Ordering::Relaxed);
        made.ok_or(Failure::Coding("the sources can't be decoded"))
    }

    fn read(&mut self, source: Source, piece: Piece) -> io::Result<Vec<u8>> {
        let has = self.plan.bytes_of(piece, source.index);
        let mut bytes = vec![0; piece.length];
        let wanted = bytes.get_mut(..has).unwrap_or_default();
        if has > 0 {
            self.stream(source, piece.offset)?.read_exact(wanted)?;
        }
        if let Some(throttle) = self.node.reconstructions.reads() {
            throttle.take(has as u64);
        }
        let metrics = &self.node.reconstructions.metrics;
        metrics.bytes_read.fetch_add(has as u64, Ordering::Relaxed);
        let datanode = self.order.source_dn_infos.datanodes.get(source.at);
        if datanode.is_none_or(|datanode| datanode.id.datanode_uuid != self.node.dataset.datanode_uuid()) {
            metrics.remote_bytes_read.fetch_add(has as u64, Ordering::Relaxed);
        }
        Ok(bytes)
    }

    /// The stream of a source, whose next byte is the one at this offset.
    fn stream(&mut self, source: Source, offset: u64) -> io::Result<&mut ReplicaStream> {
        if !self.streams.contains_key(&source.at) {
            let stream = self.open(source, offset)?;
            self.streams.insert(source.at, stream);
        }
        let stream = self.streams.get_mut(&source.at);
        let stream = stream.filter(|stream| stream.position() == offset);
        stream.ok_or_else(|| io::Error::other("the source is somewhere else"))
    }

    fn open(&self, source: Source, offset: u64) -> io::Result<ReplicaStream> {
        let datanode = self.order.source_dn_infos.datanodes.get(source.at);
        let datanode = datanode.ok_or_else(|| io::Error::other("the order does not name it"))?;
        let stream = self
            .node
            .connect_xfer(&datanode.id, self.node.conf.reconstruction.read_timeout)?;
        let block = self.plan.internal(source.index);
        let length = self.plan.length(source.index).saturating_sub(offset);
        ReplicaStream::open(stream, &block, offset, length, self.node.conf.max_packet_bytes)
    }

    /// Lets another source take the place of one that failed, and tells the NameNode of bytes that do not match their
    /// checksums.
    fn on_failure(&mut self, source: Source, error: &io::Error) -> Result<(), Failure> {
        let block = self.plan.internal(source.index);
        let datanode = self.order.source_dn_infos.datanodes.get(source.at);
        let address = datanode.map(|datanode| datanode.id.xfer_address());
        tracing::warn!(block = block.block_id.cast_signed(), source = address, %error, "cannot read an internal block");
        let mismatch = error.get_ref().is_some_and(|source| source.is::<ChecksumMismatch>());
        if mismatch
            && let Some(datanode) = datanode
            && let Ok(pool) = self.node.dataset.pool(&block.pool_id)
        {
            self.node.report_remote_bad_block(&pool, block_of(&block), datanode);
        }
        self.streams.remove(&source.at);
        self.transform = None;
        Ok(self.plan.failed(source)?)
    }
}

/// An internal block on its way to its DataNode.
struct Writing<'a> {
    node: &'a DataNode,
    target: Target,
    stream: TcpStream,
    checksum: DataChecksum,
    offset: u64,
    seqno: i64,
}

impl<'a> Writing<'a> {
    /// Connects to a target as for a copy of a replica. `None` if it can't be.
    fn open(
        node: &'a Arc<DataNode>,
        order: &BlockEcReconstructionInfoProto,
        plan: &Reconstruction,
        target: Target,
        checksum: DataChecksum,
    ) -> Option<Writing<'a>> {
        let info = order.target_dn_infos.datanodes.get(target.at)?;
        let nodes = PipelineNodes {
            infos: vec![info.clone()],
            storage_types: order
                .target_storage_types
                .storage_types
                .get(target.at)
                .copied()
                .into_iter()
                .collect(),
            storage_ids: order
                .target_storage_uuids
                .storage_uuids
                .get(target.at)
                .cloned()
                .into_iter()
                .collect(),
        };
        let opened = (|| {
            let mut stream = node.connect_xfer(&info.id, node.conf.socket_timeout)?;
            let header = requests::header(&plan.internal(target.index), None, "");
            let request = OpWriteBlockProto {
                source: Some(node.own_info()),
                caching_strategy: Some(CachingStrategyProto {
                    drop_behind: Some(true),
                    readahead: None,
                }),
                ..requests::write_block(header, &nodes, Stage::PipelineSetupCreate, &checksum)
            };
            write_op(&mut stream, Op::WriteBlock, &request)?;
            io::Result::Ok(stream)
        })();
        match opened {
            Ok(stream) => Some(Writing {
                node,
                target,
                stream,
                checksum,
                offset: 0,
                seqno: 0,
            }),
            Err(error) => {
                tracing::warn!(target = info.id.xfer_address(), %error, "cannot write an internal block");
                None
            }
        }
    }

    /// Sends more bytes. False when this target has failed.
    fn go_on(&mut self, bytes: &[u8]) -> bool {
        let chunk = self.checksum.bytes_per_checksum() as usize;
        let packet_len = (PACKET_DATA_BYTES / chunk).max(1) * chunk;
        bytes.chunks(packet_len).all(|data| {
            let header = PacketHeader {
                offset_in_block: self.offset,
                seqno: self.seqno,
                data_len: u32::try_from(data.len()).unwrap_or(u32::MAX),
                ..PacketHeader::default()
            };
            self.offset += data.len() as u64;
            if let Some(throttle) = self.node.reconstructions.writes() {
                throttle.take(data.len() as u64);
            }
            let metrics = &self.node.reconstructions.metrics;
            metrics.bytes_written.fetch_add(data.len() as u64, Ordering::Relaxed);
            self.send(header, data)
        })
    }

    /// Sends the packet that ends the block. The DataNode reports it.
    fn finish(&mut self) -> bool {
        self.send(packets::last_header(self.offset, self.seqno), &[])
    }

    fn send(&mut self, header: PacketHeader, data: &[u8]) -> bool {
        self.seqno += 1;
        let sent = self.stream.write_all(&packets::encode(header, &self.checksum, data));
        if let Err(error) = &sent {
            tracing::warn!(index = self.target.index, %error, "cannot write an internal block");
        }
        sent.is_ok()
    }
}

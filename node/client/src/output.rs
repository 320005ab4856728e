//! Writing a file: packets into a pipeline, which is repaired when a DataNode fails (Hadoop: `DFSOutputStream`,
//! `DataStreamer`).
//!
//! ```text
//! write ─► packet ─► (no pipeline: addBlock, connect) ─► send ─► unacknowledged ─► acknowledged
//!                                    any failure ─► recover: drop the bad DataNode, find another, new generation
//!                                                   stamp, connect again, send all unacknowledged again
//! block full or close ─► wait for every packet ─► last packet ─► wait ─► next addBlock or complete
//! ```
//!
//! Invariants:
//! - packets stay in `unacknowledged`, in order, until every DataNode has them;
//! - the NameNode learns a block's new generation stamp only after all DataNodes of the new pipeline have it, and no
//!   length beyond the bytes that all of them have acknowledged;
//! - a `flush` with sync covers the whole file. So blocks that ended without a sync stay in `unsynced`.

mod striped;

use crate::ClientError;
use crate::crypto::FileCipher;
use crate::filesystem::FileSystem;
use hathi_formats::datatransfer::{DataChecksum, PacketHeader};
use hathi_formats::exceptions::NOT_REPLICATED_YET;
use hathi_formats::proto::common::TokenProto;
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage;
use hathi_formats::proto::hdfs::{self, DatanodeInfoProto, ExtendedBlockProto, LocatedBlockProto};
use hathi_net::ipc::Idempotence;
use hathi_transfer::{Pipeline, PipelineError, PipelineNodes, PipelineSetup, packets, transfer};
use std::collections::VecDeque;
use std::time::Duration;
use striped::Striped;

/// Bytes of a packet's data (`dfs.client-write-packet-size`).
const PACKET_LEN: usize = 64 << 10;
/// Most unacknowledged packets before the writer waits (`dfs.client.write.max-packets-in-flight`).
const UNACKNOWLEDGED_MAX: usize = 80;
/// New blocks that are tried when no pipeline can be set up (`dfs.client.block.write.retries`).
const NEW_BLOCK_RETRIES: u32 = 3;
/// Most recoveries in a row without an acknowledged packet between them.
const RECOVERIES_MAX: u32 = 5;
/// First pause while the NameNode waits for replicas. It doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long DataNodes may take to report a block before `complete` gives up.
const COMPLETE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Packet {
    header: PacketHeader,
    bytes: Vec<u8>,
}

/// A file that is being written. It must be closed. Dropping it leaves the file to lease recovery.
#[derive(Debug)]
pub struct FileWriter {
    fs: FileSystem,
    path: String,
    file_id: u64,
    block_size: u64,
    replication: u32,
    checksum: DataChecksum,
    /// Data of the next packet. The next field is its offset in the block.
    data: Vec<u8>,
    data_offset: u64,
    /// Size of the next packet when it starts inside a chunk: it only completes that chunk.
    first_packet_len: Option<usize>,
    block: Option<OpenBlock>,
    /// The block before the open one. The NameNode commits it with the next call.
    previous: Option<ExtendedBlockProto>,
    /// Blocks that ended before the first sync was asked for. After it, blocks are synced as they end.
    unsynced: Vec<EndedBlock>,
    syncs: bool,
    excluded: Vec<DatanodeInfoProto>,
    failed: Option<String>,
    closed: bool,
    /// Of a file in an encryption zone. What is in `data` is encrypted already.
    cipher: Option<FileCipher>,
    /// Offset in the file of the next byte that is written.
    position: u64,
    /// Of a file that is written under an erasure coding policy. What concerns single blocks is not used then.
    striped: Option<Striped>,
}

/// A block that every DataNode of its pipeline has finalized.
#[derive(Debug)]
struct EndedBlock {
    block: ExtendedBlockProto,
    token: TokenProto,
    nodes: PipelineNodes,
}

#[derive(Debug)]
struct OpenBlock {
    block: ExtendedBlockProto,
    token: TokenProto,
    nodes: PipelineNodes,
    pipeline: Option<Pipeline>,
    next_seqno: i64,
    unacknowledged: VecDeque<Packet>,
    /// Bytes that every DataNode has acknowledged.
    acknowledged_len: u64,
    sent_len: u64,
    recoveries: u32,
    closing: bool,
    /// Whether some of the block must be readable already (`hflush`, append). Then losing DataNodes is worse.
    flushed: bool,
}

impl FileWriter {
    pub(crate) fn new(fs: FileSystem, path: &str, status: &hdfs::HdfsFileStatusProto) -> Self {
        let block_size = status.blocksize();
        FileWriter {
            checksum: fs.options().checksum,
            fs,
            path: path.to_owned(),
            file_id: status.file_id(),
            block_size,
            replication: status.block_replication(),
            data: Vec::new(),
            data_offset: 0,
            first_packet_len: None,
            block: None,
            previous: None,
            unsynced: Vec::new(),
            syncs: false,
            excluded: Vec::new(),
            failed: None,
            closed: false,
            cipher: None,
            position: status.length,
            striped: None,
        }
    }

    /// Writes block groups, if the file has an erasure coding policy.
    pub(crate) fn stripe(&mut self, status: &hdfs::HdfsFileStatusProto) -> Result<(), ClientError> {
        if let Some(policy) = &status.ec_policy {
            self.striped = Striped::of(policy, &self.checksum);
            if self.striped.is_none() {
                return Err(ClientError::Striped {
                    path: self.path.clone(),
                    what: "write it: its codec is not known, or its cells are not made of whole chunks",
                });
            }
        }
        Ok(())
    }

    /// Encrypts what is written from now on, if the file is to be encrypted.
    pub(crate) async fn encrypt(&mut self, status: &hdfs::HdfsFileStatusProto) -> Result<(), ClientError> {
        if let Some(info) = &status.file_encryption_info {
            self.cipher = Some(self.fs.cipher(&self.path, info).await?);
        }
        Ok(())
    }

    /// Continues the last block of an existing file.
    pub(crate) async fn append_to(&mut self, located: LocatedBlockProto) -> Result<(), ClientError> {
        let len = located.b.num_bytes();
        let chunk = u64::from(self.checksum.bytes_per_checksum());
        let partial = len % chunk;
        self.data_offset = len;
        self.first_packet_len = (partial > 0).then(|| usize::try_from(chunk - partial).unwrap_or(PACKET_LEN));
        let mut block = OpenBlock::new(located);
        block.flushed = true;
        block.acknowledged_len = len;
        block.sent_len = len;
        self.block = Some(block);
        self.recover(BlockConstructionStage::PipelineSetupAppend, None).await
    }

    /// Begins a new block behind `last`, which is full already.
    pub(crate) fn follow(&mut self, last: ExtendedBlockProto) {
        self.previous = Some(last);
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// When no DataNode is left to write to, or the NameNode refuses.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), ClientError> {
        self.check()?;
        if self.striped.is_some() {
            let encrypted = self.cipher.as_mut().map(|cipher| {
                let mut encrypted = bytes.to_vec();
                cipher.apply(self.position, &mut encrypted);
                encrypted
            });
            self.position += bytes.len() as u64;
            let result = self.write_striped(encrypted.as_deref().unwrap_or(bytes)).await;
            return self.remember(result);
        }
        while !bytes.is_empty() {
            let room = self.packet_len() - self.data.len();
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            let from = self.data.len();
            self.data.extend_from_slice(now);
            if let (Some(cipher), Some(new)) = (&mut self.cipher, self.data.get_mut(from..)) {
                cipher.apply(self.position, new);
            }
            self.position += now.len() as u64;
            bytes = rest;
            if self.data.len() == self.packet_len() {
                let result = self.send_data(false).await;
                self.remember(result)?;
            }
        }
        Ok(())
    }

    /// Returns once every DataNode has everything that was written so far. With `sync` it is on their disks, earlier
    /// blocks included. (Hadoop's `hsync` leaves earlier blocks to the operating system unless the file was created
    /// with `SYNC_BLOCK`.)
    ///
    /// Of a striped file nothing is readable before its end, as in Hadoop: its last stripe has no parity yet. So this does
    /// nothing then.
    ///
    /// # Errors
    /// As [`FileWriter::write`], and when no DataNode of an earlier block can sync it.
    pub async fn flush(&mut self, sync: bool) -> Result<(), ClientError> {
        self.check()?;
        if self.striped.is_some() {
            return Ok(());
        }
        let result = self.flush_inner(sync).await;
        self.remember(result)
    }

    /// Writes the rest and completes the file.
    ///
    /// # Errors
    /// As [`FileWriter::write`], and when the DataNodes do not report the last block in time.
    pub async fn close(&mut self) -> Result<(), ClientError> {
        if self.closed {
            return Ok(());
        }
        self.check()?;
        let result = self.close_inner().await;
        self.fs.end_write(self.file_id);
        self.remember(result)?;
        self.closed = true;
        Ok(())
    }

    fn check(&self) -> Result<(), ClientError> {
        match &self.failed {
            Some(failure) => Err(ClientError::Poisoned(failure.clone())),
            None => Ok(()),
        }
    }

    fn remember<T>(&mut self, result: Result<T, ClientError>) -> Result<T, ClientError> {
        if let Err(error) = &result {
            self.failed = Some(error.to_string());
            self.fs.end_write(self.file_id);
        }
        result
    }

    /// Data bytes of a full packet: whole chunks, and no more than fit the block.
    fn packet_len(&self) -> usize {
        if let Some(len) = self.first_packet_len {
            return len;
        }
        let chunk = self.checksum.bytes_per_checksum() as usize;
        let chunks = (PACKET_LEN - 33) / (chunk + self.checksum.checksum_size());
        let left = usize::try_from(self.block_size - self.data_offset).unwrap_or(usize::MAX);
        (chunks.max(1) * chunk).min(left)
    }

    async fn flush_inner(&mut self, sync: bool) -> Result<(), ClientError> {
        self.syncs |= sync;
        let kept = self.data.len();
        if kept > 0 || sync && self.block.is_some() {
            let start = self.data_offset;
            let partial = self.partial_chunk();
            self.send_data(sync).await?;
            // The last chunk is not full. The next packet repeats it, with a checksum over all of it.
            if !partial.is_empty() {
                self.data_offset = start + (kept - partial.len()) as u64;
                self.data = partial;
                self.first_packet_len = None;
            }
        }
        self.wait_for_acks(0).await?;
        if sync {
            self.sync_ended_blocks().await?;
        }
        if let Some(block) = &mut self.block
            && !block.flushed
        {
            block.flushed = true;
            let len = block.acknowledged_len;
            self.fsync_metadata(len).await?;
        }
        Ok(())
    }

    /// Makes the DataNodes sync the blocks that ended without a sync.
    ///
    /// No operation of data transfer syncs a finalized replica as such. The operation that repairs the end of a
    /// pipeline does so on our DataNodes, and changes nothing else if the stamp stays the same. As in a pipeline,
    /// DataNodes that are gone are left out as long as one is there.
    async fn sync_ended_blocks(&mut self) -> Result<(), ClientError> {
        while let Some(ended) = self.unsynced.last() {
            let len = ended.block.num_bytes();
            let mut synced = false;
            for node in ended.nodes.each() {
                let setup = PipelineSetup {
                    stage: BlockConstructionStage::PipelineCloseRecovery,
                    block: &ended.block,
                    token: &ended.token,
                    generation_stamp: ended.block.generation_stamp,
                    min_bytes_received: len,
                    max_bytes_received: len,
                };
                match Pipeline::open(&self.fs.options().client_name, &node, &self.checksum, setup).await {
                    Ok(_) => synced = true,
                    Err(error) => tracing::warn!(path = self.path, nodes = node.names(), %error, "can't sync a block"),
                }
            }
            if !synced {
                return Err(ClientError::AllDataNodesBad {
                    nodes: ended.nodes.names(),
                });
            }
            self.unsynced.pop();
        }
        Ok(())
    }

    /// The bytes at the end that do not fill a chunk.
    fn partial_chunk(&self) -> Vec<u8> {
        let chunk = self.checksum.bytes_per_checksum() as usize;
        if self.first_packet_len.is_some() {
            // The data begins inside a chunk that the DataNodes complete themselves, so it can't be repeated.
            return Vec::new();
        }
        let whole = self.data.len() / chunk * chunk;
        self.data.get(whole..).unwrap_or_default().to_vec()
    }

    /// Logs the block at the NameNode, with its length at the first flush. So readers find it, and lease recovery does
    /// not take a block that no DataNode has reported yet for an empty one.
    async fn fsync_metadata(&mut self, len: u64) -> Result<(), ClientError> {
        let request = hdfs::FsyncRequestProto {
            src: self.path.clone(),
            client: self.fs.options().client_name.clone(),
            last_block_length: Some(len.cast_signed()),
            file_id: Some(self.file_id),
        };
        let _: hdfs::FsyncResponseProto = self.fs.call("fsync", &request, Idempotence::Idempotent).await?;
        Ok(())
    }

    async fn close_inner(&mut self) -> Result<(), ClientError> {
        if self.striped.is_some() {
            self.close_striped().await?;
            return self.complete().await;
        }
        let repeated = self.data_offset + self.data.len() as u64;
        let everything_sent = self.block.as_ref().is_some_and(|block| block.sent_len == repeated);
        if !self.data.is_empty() && !everything_sent {
            self.send_data(false).await?;
        }
        self.data.clear();
        self.end_block().await?;
        self.complete().await
    }

    async fn complete(&mut self) -> Result<(), ClientError> {
        let request = hdfs::CompleteRequestProto {
            src: self.path.clone(),
            client_name: self.fs.options().client_name.clone(),
            last: self.previous.clone(),
            file_id: Some(self.file_id),
        };
        let mut pause = PAUSE_MIN;
        let complete = async {
            loop {
                let answer: hdfs::CompleteResponseProto =
                    self.fs.call("complete", &request, Idempotence::Idempotent).await?;
                if answer.result {
                    return Ok(());
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        };
        match tokio::time::timeout(COMPLETE_TIMEOUT, complete).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::Poisoned(format!(
                "Unable to close file because the last block of {} does not have enough number of replicas.",
                self.path
            ))),
        }
    }

    /// Sends the collected data as one packet. If that fills the block, it ends the block.
    async fn send_data(&mut self, sync: bool) -> Result<(), ClientError> {
        if self.block.is_none() {
            self.add_block().await?;
        }
        let data = std::mem::take(&mut self.data);
        let header = PacketHeader {
            offset_in_block: self.data_offset,
            seqno: 0,
            last_packet_in_block: false,
            data_len: u32::try_from(data.len()).unwrap_or(u32::MAX),
            sync_block: sync,
        };
        self.data_offset += data.len() as u64;
        let chunk = u64::from(self.checksum.bytes_per_checksum());
        let partial = self.data_offset % chunk;
        self.first_packet_len = (partial > 0).then(|| usize::try_from(chunk - partial).unwrap_or(PACKET_LEN));
        if !data.is_empty() || sync {
            self.send(header, &data).await?;
        }
        self.data = data;
        self.data.clear();
        if self.data_offset == self.block_size {
            self.end_block().await?;
        }
        Ok(())
    }

    /// Sends one packet and keeps it until it is acknowledged.
    async fn send(&mut self, mut header: PacketHeader, data: &[u8]) -> Result<(), ClientError> {
        self.wait_for_acks(UNACKNOWLEDGED_MAX - 1).await?;
        let Some(block) = &mut self.block else {
            return Err(ClientError::Poisoned("no open block".to_owned()));
        };
        header.seqno = block.next_seqno;
        block.next_seqno += 1;
        let bytes = packets::encode(header, &self.checksum, data);
        block.sent_len = block.sent_len.max(header.offset_in_block + u64::from(header.data_len));
        block.unacknowledged.push_back(Packet { header, bytes });
        let sent = block.send_last().await;
        match sent {
            Ok(()) => Ok(()),
            Err(error) => self.recover(BlockConstructionStage::DataStreaming, Some(error)).await,
        }
    }

    /// Waits until at most `left` packets are unacknowledged.
    async fn wait_for_acks(&mut self, left: usize) -> Result<(), ClientError> {
        loop {
            let Some(block) = &mut self.block else { return Ok(()) };
            match block.take_acks(left).await {
                Ok(()) => return Ok(()),
                Err(error) => self.recover(BlockConstructionStage::DataStreaming, Some(error)).await?,
            }
        }
    }

    /// Sends the packet that ends the block and waits until all DataNodes have finalized it.
    async fn end_block(&mut self) -> Result<(), ClientError> {
        if self.block.is_none() {
            return Ok(());
        }
        self.wait_for_acks(0).await?;
        if let Some(block) = &mut self.block {
            block.closing = true;
            let header = PacketHeader {
                sync_block: self.syncs,
                ..packets::last_header(block.sent_len, 0)
            };
            self.send(header, &[]).await?;
            self.wait_for_acks(0).await?;
        }
        if let Some(block) = self.block.take() {
            let mut last = block.block;
            last.num_bytes = Some(block.sent_len);
            if !self.syncs {
                self.unsynced.push(EndedBlock {
                    block: last.clone(),
                    token: block.token,
                    nodes: block.nodes,
                });
            }
            self.previous = Some(last);
        }
        self.data_offset = 0;
        self.first_packet_len = None;
        Ok(())
    }

    /// Asks for a block and connects its DataNodes. A DataNode that can't be reached is excluded from the next attempt.
    async fn add_block(&mut self) -> Result<(), ClientError> {
        let mut retries = 0;
        loop {
            let located = self.allocate().await?;
            let mut block = OpenBlock::new(located);
            let setup = PipelineSetup {
                stage: BlockConstructionStage::PipelineSetupCreate,
                block: &block.block,
                token: &block.token,
                generation_stamp: block.block.generation_stamp,
                min_bytes_received: 0,
                max_bytes_received: 0,
            };
            match Pipeline::open(&self.fs.options().client_name, &block.nodes, &self.checksum, setup).await {
                Ok(pipeline) => {
                    block.pipeline = Some(pipeline);
                    self.block = Some(block);
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(path = self.path, nodes = block.nodes.names(), %error, "can't set up a pipeline");
                    let request = hdfs::AbandonBlockRequestProto {
                        b: block.block.clone(),
                        src: self.path.clone(),
                        holder: self.fs.options().client_name.clone(),
                        file_id: Some(self.file_id),
                    };
                    let _: hdfs::AbandonBlockResponseProto =
                        self.fs.call("abandonBlock", &request, Idempotence::Idempotent).await?;
                    if let Some(bad) = error.bad.filter(|bad| *bad < block.nodes.len()) {
                        self.excluded.push(block.nodes.remove(bad));
                    }
                    retries += 1;
                    if retries > NEW_BLOCK_RETRIES {
                        return Err(ClientError::AllDataNodesBad {
                            nodes: block.nodes.names(),
                        });
                    }
                }
            }
        }
    }

    async fn allocate(&mut self) -> Result<LocatedBlockProto, ClientError> {
        let request = hdfs::AddBlockRequestProto {
            src: self.path.clone(),
            client_name: self.fs.options().client_name.clone(),
            previous: self.previous.clone(),
            exclude_nodes: self.excluded.clone(),
            file_id: Some(self.file_id),
            favored_nodes: Vec::new(),
            flags: Vec::new(),
        };
        let mut pause = PAUSE_MIN;
        loop {
            let answer: Result<hdfs::AddBlockResponseProto, ClientError> =
                self.fs.call("addBlock", &request, Idempotence::Idempotent).await;
            match answer {
                Ok(answer) => return Ok(answer.block),
                Err(error) if error.is_remote(NOT_REPLICATED_YET) && pause < PAUSE_MAX * 8 => {
                    tokio::time::sleep(pause.min(PAUSE_MAX)).await;
                    pause *= 2;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Repairs the pipeline of the open block after a failure, or sets one up for an append.
    async fn recover(
        &mut self,
        stage: BlockConstructionStage,
        mut failure: Option<PipelineError>,
    ) -> Result<(), ClientError> {
        let append = stage == BlockConstructionStage::PipelineSetupAppend;
        loop {
            let Some(block) = &mut self.block else { return Ok(()) };
            if let Some(error) = failure.take() {
                tracing::warn!(path = self.path, nodes = block.nodes.names(), %error, "repairing the pipeline");
                block.pipeline = None;
                block.recoveries += 1;
                let bad = error.bad.unwrap_or(0).min(block.nodes.len().saturating_sub(1));
                if block.nodes.len() <= 1 || block.recoveries > RECOVERIES_MAX {
                    return Err(ClientError::AllDataNodesBad {
                        nodes: block.nodes.names(),
                    });
                }
                self.excluded.push(block.nodes.remove(bad));
                self.replace_lost().await;
            }
            let Some(block) = &mut self.block else { return Ok(()) };
            let request = hdfs::UpdateBlockForPipelineRequestProto {
                block: block.block.clone(),
                client_name: self.fs.options().client_name.clone(),
            };
            let updated: hdfs::UpdateBlockForPipelineResponseProto = self
                .fs
                .call("updateBlockForPipeline", &request, Idempotence::Idempotent)
                .await?;
            block.token = updated.block.block_token;
            let generation_stamp = updated.block.b.generation_stamp;
            let mut old = block.block.clone();
            old.num_bytes = Some(block.acknowledged_len);
            let stage = match (append, block.closing) {
                (true, _) if block.recoveries == 0 => BlockConstructionStage::PipelineSetupAppend,
                (true, _) => BlockConstructionStage::PipelineSetupAppendRecovery,
                (false, true) => BlockConstructionStage::PipelineCloseRecovery,
                (false, false) => BlockConstructionStage::PipelineSetupStreamingRecovery,
            };
            let setup = PipelineSetup {
                stage,
                block: &old,
                token: &block.token,
                generation_stamp,
                min_bytes_received: block.acknowledged_len,
                max_bytes_received: block.sent_len,
            };
            match Pipeline::open(&self.fs.options().client_name, &block.nodes, &self.checksum, setup).await {
                Ok(pipeline) => block.pipeline = Some(pipeline),
                Err(error) => {
                    failure = Some(error);
                    continue;
                }
            }
            let mut new = block.block.clone();
            new.generation_stamp = generation_stamp;
            // Bytes beyond the acknowledged length may never arrive, and the NameNode relies on this length.
            new.num_bytes = Some(block.acknowledged_len);
            let request = hdfs::UpdatePipelineRequestProto {
                client_name: self.fs.options().client_name.clone(),
                old_block: old,
                new_block: new,
                new_nodes: block.nodes.infos.iter().map(|node| node.id.clone()).collect(),
                storage_i_ds: block.nodes.storage_ids.clone(),
            };
            let _: hdfs::UpdatePipelineResponseProto = self
                .fs
                .call("updatePipeline", &request, Idempotence::AtMostOnce)
                .await?;
            block.block.generation_stamp = generation_stamp;
            if block.closing {
                // The DataNodes finalized the block when they took the new stamp.
                block.unacknowledged.clear();
                return Ok(());
            }
            match block.send_all_again().await {
                Ok(()) => return Ok(()),
                Err(error) => failure = Some(error),
            }
        }
    }

    /// Replaces a lost DataNode, if so many are lost that it matters (`ReplaceDatanodeOnFailure.Policy.DEFAULT`, best
    /// effort).
    async fn replace_lost(&mut self) {
        let replication = self.replication as usize;
        let Some(block) = &self.block else { return };
        let left = block.nodes.len();
        let needed = replication >= 3 && left < replication && (left <= replication / 2 || block.flushed);
        if !needed || block.closing {
            return;
        }
        if let Err(error) = self.add_datanode().await {
            tracing::warn!(path = self.path, %error, "going on with fewer DataNodes");
        }
    }

    async fn add_datanode(&mut self) -> Result<(), ClientError> {
        let Some(block) = &mut self.block else { return Ok(()) };
        let request = hdfs::GetAdditionalDatanodeRequestProto {
            src: self.path.clone(),
            blk: block.block.clone(),
            existings: block.nodes.infos.clone(),
            excludes: self.excluded.clone(),
            num_additional_nodes: 1,
            client_name: self.fs.options().client_name.clone(),
            existing_storage_uuids: block.nodes.storage_ids.clone(),
            file_id: Some(self.file_id),
        };
        let answer: hdfs::GetAdditionalDatanodeResponseProto = self
            .fs
            .call("getAdditionalDatanode", &request, Idempotence::Idempotent)
            .await?;
        let answered = PipelineNodes {
            infos: answer.block.locs,
            storage_types: answer.block.storage_types,
            storage_ids: answer.block.storage_i_ds,
        };
        let (Some(added), Some(source)) = (block.nodes.added_by(&answered), block.nodes.infos.last().cloned()) else {
            return Ok(());
        };
        if block.acknowledged_len > 0 || !block.unacknowledged.is_empty() {
            let mut copied = block.block.clone();
            copied.num_bytes = Some(block.acknowledged_len);
            transfer(
                &self.fs.options().client_name,
                &source,
                &added,
                &copied,
                &answer.block.block_token,
            )
            .await
            .map_err(|error| ClientError::of_datanode("can't copy the replica from", &source, error))?;
        }
        block.nodes.append(added);
        Ok(())
    }
}

impl OpenBlock {
    fn new(located: LocatedBlockProto) -> Self {
        OpenBlock {
            block: located.b,
            token: located.block_token,
            nodes: PipelineNodes {
                infos: located.locs,
                storage_types: located.storage_types,
                storage_ids: located.storage_i_ds,
            },
            pipeline: None,
            next_seqno: 0,
            unacknowledged: VecDeque::new(),
            acknowledged_len: 0,
            sent_len: 0,
            recoveries: 0,
            closing: false,
            flushed: false,
        }
    }

    async fn send_last(&mut self) -> Result<(), PipelineError> {
        if let (Some(pipeline), Some(packet)) = (&mut self.pipeline, self.unacknowledged.back()) {
            pipeline.send(&packet.bytes).await?;
        }
        Ok(())
    }

    async fn send_all_again(&mut self) -> Result<(), PipelineError> {
        if let Some(pipeline) = &mut self.pipeline {
            for packet in &self.unacknowledged {
                pipeline.send(&packet.bytes).await?;
            }
        }
        Ok(())
    }

    /// Takes the acknowledgements that are there. Waits for more while more than `left` packets are unacknowledged.
    async fn take_acks(&mut self, left: usize) -> Result<(), PipelineError> {
        let Some(pipeline) = &mut self.pipeline else {
            return Ok(());
        };
        loop {
            if self.closing && self.unacknowledged.is_empty() {
                // The DataNodes close the connection after the last acknowledgement, which is no failure.
                return Ok(());
            }
            let seqno = if self.unacknowledged.len() > left {
                pipeline.ack().await?
            } else if let Some(ack) = pipeline.ack_now() {
                ack?
            } else {
                return Ok(());
            };
            // Acknowledgements of heartbeats, and out-of-band notices, belong to no packet.
            if self
                .unacknowledged
                .front()
                .is_some_and(|packet| packet.header.seqno == seqno)
                && let Some(packet) = self.unacknowledged.pop_front()
            {
                let end = packet.header.offset_in_block + u64::from(packet.header.data_len);
                self.acknowledged_len = self.acknowledged_len.max(end);
                self.recoveries = 0;
            }
        }
    }
}

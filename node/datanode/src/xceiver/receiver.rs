//! Writing packets into a replica (`BlockReceiver` without its threads and sockets).

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hathi_blockpool::chunks::read_header;
use hathi_blockpool::{
    ChunkWriter, NoticeKind, PacketData, Replica, ReplicaError, ReplicaFiles, ReplicaMap, Transition, WriteError,
};
use hathi_formats::datatransfer::{BlockMetadataHeader, DataChecksum, PacketBuffer};
use hathi_formats::ids::{Block, GenerationStamp};
use hathi_formats::proto::hdfs::StorageTypeProto;
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hathi_storage::os::OsFile;
use hathi_storage::{Disk, DiskFile, OsDisk};

use super::{XceiverError, XceiverResult};
use crate::dataset::WriterControl;
use crate::node::DataNode;
use crate::pool::{Pool, PoolError};
use crate::volume::Volume;

/// The request of a writer.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// The block in the client's request.
    pub block: Block,
    /// Stage of the pipeline's set-up.
    pub stage: Stage,
    /// Whether a client writes. Otherwise a DataNode replicates.
    pub is_client: bool,
    /// The new stamp of the replica. 0 leaves the stamp.
    pub new_gs: u64,
    /// Bytes that the client knows to be acknowledged.
    pub min_bytes: u64,
    /// Most bytes that the client has sent.
    pub max_bytes: u64,
    /// Storage type.
    pub storage_type: StorageTypeProto,
    /// Kind and chunk size of the checksums in the packets.
    pub checksum: DataChecksum,
}

impl WriteRequest {
    /// Whether this is the copy of a replica for a pipeline under recovery.
    #[must_use]
    pub fn is_transfer(&self) -> bool {
        matches!(self.stage, Stage::TransferRbw | Stage::TransferFinalized)
    }
}

/// A replica that is open for writing. Dropping it releases the replica, which stays as it is.
#[derive(Debug)]
pub struct ReplicaWriter {
    node: Arc<DataNode>,
    /// The pool.
    pub pool: Arc<Pool>,
    /// The volume.
    pub volume: Arc<Volume>,
    /// The block with the present stamp of the replica.
    pub block: Block,
    control: Arc<WriterControl>,
    chunks: ChunkWriter<OsFile>,
    files: ReplicaFiles,
    client_checksum: DataChecksum,
    reserved: u64,
    names_synced: bool,
    sync_on_close: bool,
}

impl ReplicaWriter {
    /// Creates the replica or takes over an existing one, depending on the stage.
    pub fn open(node: &Arc<DataNode>, pool: Arc<Pool>, request: &WriteRequest) -> XceiverResult<ReplicaWriter> {
        let control = node.dataset.new_writer();
        let opened = Self::open_with(node, pool, request, control.clone());
        if opened.is_err() {
            node.dataset.end_writer(control.id);
        }
        opened
    }

    fn open_with(
        node: &Arc<DataNode>,
        pool: Arc<Pool>,
        request: &WriteRequest,
        control: Arc<WriterControl>,
    ) -> XceiverResult<ReplicaWriter> {
        let mut block = request.block;
        let writer = control.id;
        let new_gs = GenerationStamp(request.new_gs);
        let (min, max) = (request.min_bytes, request.max_bytes);
        let is_copy = !request.is_client || request.is_transfer();
        let creates = is_copy || request.stage == Stage::PipelineSetupCreate;
        let mut reserved = 0;
        let mut chosen = None;
        if creates {
            reserved = if block.num_bytes == 0 {
                node.conf.block_size
            } else {
                block.num_bytes
            };
            chosen = Some(node.dataset.choose_volume(request.storage_type, reserved)?);
        }
        if request.new_gs != 0 && !is_copy {
            block.generation_stamp = new_gs;
        }
        let dataset = &node.dataset;
        type Plan<'a> = Box<dyn FnMut(&ReplicaMap) -> Result<Option<Transition>, ReplicaError> + 'a>;
        let plan: Plan<'_> = match (&chosen, request.stage) {
            (Some(volume), _) if is_copy => {
                let (id, transfer) = (volume.id, request.is_transfer());
                Box::new(move |map| map.create_temporary(block, transfer, id, writer, reserved).map(Some))
            }
            (Some(volume), _) => {
                let (id, replaces) = (volume.id, request.new_gs != 0);
                Box::new(move |map| map.create_rbw(block, replaces, id, writer, reserved).map(Some))
            }
            (None, Stage::PipelineSetupAppend) => {
                Box::new(|map| map.append(request.block, new_gs, min, writer).map(Some))
            }
            (None, Stage::PipelineSetupAppendRecovery) => {
                Box::new(|map| map.recover_append(request.block, new_gs, min, writer).map(Some))
            }
            (None, Stage::PipelineSetupStreamingRecovery) => {
                let pool = &pool;
                Box::new(move |map| {
                    let data_len = map
                        .get(request.block.id)
                        .and_then(|replica| pool.files(replica))
                        .and_then(|files| OsDisk.file_len(&files.data).ok())
                        .unwrap_or(0);
                    map.recover_rbw(request.block, new_gs, min, max, data_len, writer)
                        .map(Some)
                })
            }
            (None, stage) => {
                return Err(XceiverError::Protocol(format!(
                    "Unsupported stage {stage:?} while receiving block blk_{}",
                    block.id
                )));
            }
        };
        let changed = dataset.transition(&pool, block.id, plan)?;
        let Some((_, Some(replica))) = changed else {
            return Err(XceiverError::Protocol("the replica did not come to be".to_owned()));
        };
        let opened = Self::open_files(node, pool.clone(), request, control, &replica, creates, reserved);
        if opened.is_err() {
            // A copy that can't even begin must not block the next attempt.
            let abandoned = pool.transition(replica.block_id, |map| {
                Ok(map.abandon_temporary(replica.block_id, writer))
            });
            if let Err(error) = abandoned {
                tracing::warn!(block = %replica.block_id, %error, "a failed copy could not be removed");
            }
            pool.release_writer(replica.block_id, writer);
        }
        let opened = opened?;
        if request.is_client && !is_copy && request.stage != Stage::PipelineSetupStreamingRecovery {
            node.notify(
                pool.id(),
                opened.block,
                NoticeKind::Receiving,
                &opened.volume.storage_id,
                "",
            );
        }
        Ok(opened)
    }

    fn open_files(
        node: &Arc<DataNode>,
        pool: Arc<Pool>,
        request: &WriteRequest,
        control: Arc<WriterControl>,
        replica: &Replica,
        creates: bool,
        reserved: u64,
    ) -> XceiverResult<ReplicaWriter> {
        let id = replica.volume;
        let disk = |source: io::Error| PoolError::Disk { volume: id, source };
        let (Some(volume), Some(files)) = (node.dataset.volume(id).cloned(), pool.files(replica)) else {
            return Err(PoolError::NoPool(pool.id().to_owned()).into());
        };
        let data = OsDisk.open(&files.data).map_err(disk)?;
        let meta = OsDisk.open(&files.meta).map_err(disk)?;
        let disk_checksum = if creates || meta.is_empty().map_err(disk)? {
            let header = BlockMetadataHeader::new(request.checksum);
            meta.write_at(0, &header.encode()).map_err(disk)?;
            request.checksum
        } else {
            read_header(&meta).map_err(disk)?.checksum
        };
        let on_disk = replica.bytes_on_disk();
        let lengths = (data.len().map_err(disk)?, meta.len().map_err(disk)?);
        if lengths.0 < on_disk || lengths.1 < BlockMetadataHeader::new(disk_checksum).meta_len(on_disk) {
            return Err(XceiverError::Pool(
                ReplicaError::Invalid(format!(
                    "Corrupted block: {}, block file length {}, meta file length {}",
                    replica.describe(),
                    lengths.0,
                    lengths.1
                ))
                .into(),
            ));
        }
        volume.reserve(reserved);
        Ok(ReplicaWriter {
            node: node.clone(),
            pool,
            volume,
            block: Block {
                num_bytes: replica.num_bytes,
                ..replica.block()
            },
            control,
            chunks: ChunkWriter::new(
                data,
                meta,
                disk_checksum,
                on_disk,
                replica.progress.as_ref().and_then(|progress| progress.last_checksum),
            ),
            files,
            client_checksum: request.checksum,
            reserved,
            names_synced: false,
            // A copy that a DataNode makes may replace one that was synced and is then deleted.
            sync_on_close: node.conf.sync_on_close || !request.is_client || request.is_transfer(),
        })
    }

    /// The writer, for threads that want to stop it.
    #[must_use]
    pub fn control(&self) -> &Arc<WriterControl> {
        &self.control
    }

    /// Whether the replica's checksums differ in kind from the client's, so that they are computed here.
    #[must_use]
    pub fn translates(&self) -> bool {
        self.client_checksum != self.chunks.checksum()
    }

    fn disk(&self, source: io::Error) -> XceiverError {
        XceiverError::Pool(PoolError::Disk {
            volume: self.volume.id,
            source,
        })
    }

    /// Checks a packet's offset in the block and the size of its checksums.
    pub fn check_header(&self, packet: &PacketBuffer) -> XceiverResult<()> {
        let header = packet.header();
        let on_disk = self.chunks.on_disk();
        if header.offset_in_block > on_disk {
            return Err(XceiverError::Protocol(format!(
                "Received an out-of-sequence packet for blk_{} at offset {}. Expecting packet starting at {}",
                self.block.id, header.offset_in_block, on_disk
            )));
        }
        let expected = self.client_checksum.checksum_len(header.data_len as usize);
        let received = packet.checksums().len();
        if header.data_len > 0 && received != expected && received != 0 {
            return Err(XceiverError::Protocol(format!(
                "Invalid checksum length: received length is {received} but expected length is {expected}"
            )));
        }
        Ok(())
    }

    /// Checks a packet's data against its checksums.
    pub fn verify(&self, packet: &PacketBuffer) -> XceiverResult<()> {
        if packet.checksums().is_empty() {
            return Ok(());
        }
        self.client_checksum
            .verify(packet.data(), packet.checksums())
            .map_err(|mismatch| {
                XceiverError::Checksum(format!(
                    "Unexpected checksum mismatch while writing blk_{}_{} at offset {}: {mismatch}",
                    self.block.id,
                    self.block.generation_stamp,
                    packet.header().offset_in_block
                ))
            })
    }

    /// Writes a packet's data and checksums. `acked` says that no DataNode is further down the pipeline, so that
    /// written bytes count as acknowledged.
    pub fn write(&mut self, packet: &PacketBuffer, acked: bool) -> XceiverResult<()> {
        let header = *packet.header();
        let end = header.offset_in_block + u64::from(header.data_len);
        let fresh = end > self.chunks.on_disk();
        let data = PacketData {
            offset: header.offset_in_block,
            data: packet.data(),
            sums: packet.checksums(),
            checksum: self.client_checksum,
        };
        self.chunks.write(data).map_err(|error| self.refused(error))?;
        if fresh {
            let bytes = &self.node.metrics.bytes_written;
            bytes.fetch_add(header.data_len.into(), Ordering::Relaxed);
        }
        if header.sync_block {
            self.sync()?;
        }
        let (on_disk, last_checksum) = (self.chunks.on_disk(), self.chunks.last_checksum());
        let owned = self
            .pool
            .progress(self.block.id, self.control.id, |received, progress| {
                *received = on_disk.max(*received);
                progress.bytes_on_disk = on_disk;
                progress.last_checksum = last_checksum;
                if acked {
                    progress.bytes_acked = progress.bytes_acked.max(end);
                }
            });
        if owned { Ok(()) } else { Err(XceiverError::Stopped) }
    }

    fn refused(&self, error: WriteError) -> XceiverError {
        match error {
            WriteError::Disk(source) => self.disk(source),
            WriteError::Corrupt => XceiverError::Pool(PoolError::Corrupt(error.to_string())),
            WriteError::Packet(text) => XceiverError::Checksum(format!(
                "Unexpected checksum mismatch while writing blk_{}_{}: {text}",
                self.block.id, self.block.generation_stamp
            )),
            WriteError::Protocol(text) => XceiverError::Protocol(format!("blk_{}: {text}", self.block.id)),
        }
    }

    /// Syncs everything written so far (`hsync`).
    pub fn sync(&mut self) -> XceiverResult<()> {
        let mut result = self.chunks.sync();
        if result.is_ok() && !self.names_synced {
            result = OsDisk.sync_dir(&self.files.dir);
            self.names_synced = result.is_ok();
        }
        result.map_err(|error| self.disk(error))
    }

    /// Every DataNode further down the pipeline has the first `end` bytes.
    pub fn acked(&self, end: u64) {
        let _ = self.pool.progress(self.block.id, self.control.id, |_, progress| {
            progress.bytes_acked = progress.bytes_acked.max(end.min(progress.bytes_on_disk));
        });
    }

    /// Completes the replica, after the last packet. If a sync of the replica was ever answered, the rest and the new
    /// name are synced too. `synced` says that the client asked for a sync with the last packet.
    pub fn finalize(&mut self, synced: bool) -> XceiverResult<Block> {
        let durable = synced || self.sync_on_close || self.chunks.has_promised();
        if durable && !synced {
            self.chunks.sync().map_err(|error| self.disk(error))?;
        }
        let block = Block {
            num_bytes: self.chunks.on_disk(),
            ..self.block
        };
        self.node.dataset.transition(&self.pool, block.id, |map| {
            if map.get(block.id).and_then(Replica::writer) != Some(self.control.id) {
                return Err(ReplicaError::Invalid("the replica has another writer".to_owned()));
            }
            map.finalize(block, durable)
        })?;
        self.node.metrics.blocks_written.fetch_add(1, Ordering::Relaxed);
        Ok(block)
    }

    /// Turns the copy for a pipeline under recovery into a part of that pipeline.
    pub fn convert_to_rbw(&mut self, visible: u64) -> XceiverResult<()> {
        let block = Block {
            num_bytes: visible,
            ..self.block
        };
        self.chunks.sync().map_err(|error| self.disk(error))?;
        self.pool
            .transition(block.id, |map| map.convert_temporary_to_rbw(block).map(Some))?;
        Ok(())
    }

    /// Tells the NameNodes that the replica is complete.
    pub fn notify_received(&self, block: Block, delete_hint: &str) {
        self.node.notify(
            self.pool.id(),
            block,
            NoticeKind::Received,
            &self.volume.storage_id,
            delete_hint,
        );
    }

    /// Drops a failed copy. Replicas that clients write stay, for recovery.
    pub fn abandon_copy(&self) {
        let (id, writer) = (self.block.id, self.control.id);
        let result = self.pool.transition(id, |map| Ok(map.abandon_temporary(id, writer)));
        if let Err(error) = result {
            tracing::warn!(block = %id, %error, "a failed copy could not be removed");
        }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.chunks.on_disk()
    }

    /// Whether nothing is written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for ReplicaWriter {
    fn drop(&mut self) {
        self.volume.release(self.reserved);
        self.pool.release_writer(self.block.id, self.control.id);
        self.node.dataset.end_writer(self.control.id);
    }
}

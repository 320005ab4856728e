//! Reading a file: block after block, from the nearest good replica (Hadoop: `DFSInputStream`).

use crate::crypto::FileCipher;
use crate::filesystem::FileSystem;
use crate::striped::{self, Part, Reading};
use crate::{ClientError, FileSystemOptions};
use hathi_coding::Coder;
use hathi_conf::host_and_port;
use hathi_formats::datatransfer::ChecksumMismatch;
use hathi_formats::exceptions::REPLICA_NOT_FOUND;
use hathi_formats::proto::hdfs::{self, DatanodeInfoProto, LocatedBlockProto, LocatedBlocksProto};
use hathi_formats::striping::Striping;
use hathi_net::ipc::protocols::CLIENT_DATANODE_PROTOCOL;
use hathi_net::ipc::{ClientOptions, Idempotence, RpcError};
use hathi_transfer::BlockReader;
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

/// How often the NameNode is asked for other replicas before a block counts as missing
/// (`dfs.client.max.block.acquire.failures`).
const ACQUIRE_FAILURES_MAX: u32 = 3;
/// Pause before the NameNode is asked again.
const ACQUIRE_PAUSE: Duration = Duration::from_millis(500);
/// Bytes of a file whose block locations are asked for at once (`dfs.client.read.prefetch.size`: ten blocks).
const PREFETCH_LEN: u64 = 10 * (128 << 20);

/// An open file. Reads are sequential from a position that can be moved.
#[derive(Debug)]
pub struct FileReader {
    fs: FileSystem,
    path: String,
    length: u64,
    position: u64,
    located: LocatedBlocksProto,
    block: Option<BlockReader>,
    /// How a striped file lies, and what decodes it if its codec is known.
    striping: Option<(Striping, Option<Coder>)>,
    /// Of a striped file: what was decoded last, if the last read needed it.
    decoded: Vec<u8>,
    /// Of a striped file: UUIDs of DataNodes that could not be read from. Decoding is faster than to try them for each cell.
    dead: BTreeSet<String>,
    /// Whether checksums are verified.
    verified: bool,
    /// Corrupt replicas that were reported to the NameNode: id of the block and UUID of the DataNode.
    reported: BTreeSet<(u64, String)>,
    /// Of a file in an encryption zone.
    cipher: Option<FileCipher>,
    /// The packet that was read last, decrypted.
    plain: Vec<u8>,
}

/// What happened to the replicas of a block during one read.
#[derive(Debug, Default)]
struct Tried {
    failures: u32,
    /// UUIDs of DataNodes that are not asked again in this read.
    bad: Vec<String>,
    /// UUIDs of DataNodes whose bytes did not match their checksums once.
    doubted: Vec<String>,
    /// Replicas that did not match at a second reading either.
    corrupt: Vec<(LocatedBlockProto, DatanodeInfoProto)>,
}

impl Tried {
    /// Records a failed read, and whether it proves that the replica is corrupt.
    ///
    /// A replica that is being appended to may show bytes and checksums of two different moments, and the network may
    /// change bytes. So a replica counts as corrupt only when it is wrong twice.
    fn note(&mut self, block: &LocatedBlockProto, node: DatanodeInfoProto, source: &io::Error) {
        let mismatch = source.get_ref().is_some_and(|source| source.is::<ChecksumMismatch>());
        let uuid = &node.id.datanode_uuid;
        if mismatch && !self.doubted.contains(uuid) {
            self.doubted.push(uuid.clone());
            return;
        }
        self.bad.push(uuid.clone());
        if mismatch {
            self.corrupt.push((block.clone(), node));
        }
    }
}

impl FileReader {
    pub(crate) async fn open(fs: FileSystem, path: &str) -> Result<FileReader, ClientError> {
        let mut located = fs.block_locations(path, 0, PREFETCH_LEN).await?;
        let mut retries = fs.options().last_block_retries;
        // Bytes that were acknowledged to the writer are readable, but only the DataNodes know how many these are.
        let in_last = loop {
            // Nothing of a block group can be read while it is written (`DFSStripedInputStream`).
            let Some(last) = unfinished_block(&located).filter(|_| located.ec_policy.is_none()) else {
                break 0;
            };
            let untold = match visible_length(fs.options(), path, last).await {
                Ok(length) => break length,
                Err(untold) => untold,
            };
            if retries == 0 || !untold.may_change {
                return Err(ClientError::UnknownLength {
                    block: last.b.block_id.cast_signed(),
                    path: path.to_owned(),
                    last: untold.reason,
                });
            }
            retries -= 1;
            tokio::time::sleep(fs.options().last_block_pause).await;
            located = fs.block_locations(path, 0, PREFETCH_LEN).await?;
        };
        let cipher = match &located.file_encryption_info {
            Some(info) => Some(fs.cipher(path, info).await?),
            None => None,
        };
        let striping = match &located.ec_policy {
            None => None,
            Some(policy) => match Striping::of_policy(policy) {
                Some(striping) => Some((striping, Coder::of_policy(policy).map(|(coder, _)| coder))),
                None => {
                    return Err(ClientError::Striped {
                        path: path.to_owned(),
                        what: "read what was written under its policy",
                    });
                }
            },
        };
        Ok(FileReader {
            striping,
            decoded: Vec::new(),
            dead: BTreeSet::new(),
            cipher,
            plain: Vec::new(),
            fs,
            path: path.to_owned(),
            length: located.file_length + in_last,
            position: 0,
            located,
            block: None,
            verified: true,
            reported: BTreeSet::new(),
        })
    }

    /// Length in bytes at the time when it was opened.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Takes bytes from here on as the DataNodes have them, even if they do not match their checksums
    /// (`FileSystem.setVerifyChecksum`).
    pub fn ignore_checksums(&mut self) {
        self.verified = false;
        self.block = None;
    }

    /// Moves the position.
    pub fn seek(&mut self, position: u64) {
        if position != self.position {
            self.block = None;
            self.position = position;
        }
    }

    /// The next bytes, at most one packet's. Empty at the end of the file.
    ///
    /// # Errors
    /// When no replica of a block can be read.
    pub async fn next(&mut self) -> Result<&[u8], ClientError> {
        if self.position >= self.length {
            return Ok(&[]);
        }
        let mut tried = Tried::default();
        let read = self.read_packet(&mut tried).await;
        self.report(&tried, read.is_ok()).await;
        read?;
        let read = match self.decoded.as_slice() {
            [] => self.block.as_ref().map_or(&[][..], BlockReader::bytes),
            decoded => decoded,
        };
        let Some(cipher) = &mut self.cipher else {
            return Ok(read);
        };
        self.plain.clear();
        self.plain.extend_from_slice(read);
        cipher.apply(self.position - read.len() as u64, &mut self.plain);
        Ok(&self.plain)
    }

    /// All bytes from the position to the end of the file, for files that fit into memory.
    ///
    /// # Errors
    /// As [`FileReader::next`].
    pub async fn read_to_end(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        loop {
            let next = self.next().await?;
            if next.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(next);
        }
    }

    /// Reads the next packet with wanted bytes, from any replica that has it.
    async fn read_packet(&mut self, tried: &mut Tried) -> Result<(), ClientError> {
        self.decoded.clear();
        loop {
            if self.block.is_none() {
                self.open_block(tried).await?;
            }
            if !self.decoded.is_empty() {
                self.position += self.decoded.len() as u64;
                return Ok(());
            }
            let Some(block) = &mut self.block else { continue };
            match block.next().await {
                Ok(0) => self.block = None,
                Ok(len) => {
                    self.position += len as u64;
                    return Ok(());
                }
                Err(source) => {
                    let node = block.node().clone();
                    tracing::warn!(path = self.path, datanode = node.id.xfer_address(), %source, "reading again");
                    if self.striping.is_some() && source.kind() != io::ErrorKind::InvalidData {
                        self.dead.insert(node.id.datanode_uuid.clone());
                    }
                    tried.note(block.located(), node, &source);
                    self.block = None;
                }
            }
        }
    }

    /// Reports corrupt replicas to the NameNode, each once (`DFSInputStream.reportCheckSumFailure`).
    ///
    /// When no replica could be read, the fault may lie with this client or its network, so nothing is reported unless
    /// there is only one replica. A block under construction is never reported: its last chunk changes while it is
    /// read.
    async fn report(&mut self, tried: &Tried, read: bool) {
        for (block, node) in &tried.corrupt {
            let key = (block.b.block_id, node.id.datanode_uuid.clone());
            let unfinished = unfinished_block(&self.located).is_some_and(|last| last.b.block_id == block.b.block_id);
            if unfinished || !(read || block.locs.len() == 1) || !self.reported.insert(key) {
                continue;
            }
            let mut bad = block.clone();
            let index = bad.locs.iter().position(|other| other == node);
            bad.locs = vec![node.clone()];
            bad.storage_types.clear();
            bad.is_cached.clear();
            bad.storage_i_ds = index
                .and_then(|index| block.storage_i_ds.get(index).cloned())
                .into_iter()
                .collect();
            let request = hdfs::ReportBadBlocksRequestProto { blocks: vec![bad] };
            let told: Result<hdfs::ReportBadBlocksResponseProto, ClientError> =
                self.fs.call("reportBadBlocks", &request, Idempotence::Idempotent).await;
            if let Err(error) = told {
                // The next reader will report it again. This reader has its bytes.
                tracing::warn!(path = self.path, %error, "can't report a corrupt replica");
            }
        }
    }

    /// Connects to a replica of the block at the position that is not known to be bad. If an internal block has none, its
    /// bytes are decoded instead.
    async fn open_block(&mut self, tried: &mut Tried) -> Result<(), ClientError> {
        let mut last_error = "no DataNode holds it".to_owned();
        loop {
            let Some(found) = self.block_at_position().await? else {
                return Err(ClientError::MissingBlock {
                    block: 0,
                    path: self.path.clone(),
                    last: format!("the file has no block at offset {}", self.position),
                });
            };
            let in_block = self.position - found.offset;
            let end = (found.offset + self.block_len(&found)).min(self.length);
            let part = match &self.striping {
                None => Part::whole(&found, in_block, end - self.position),
                Some((striping, _)) => striped::part(&found, *striping, in_block, end - self.position),
            };
            let (block, in_block, len) = (&part.block, part.offset, part.len);
            for node in &block.locs {
                let uuid = &node.id.datanode_uuid;
                if tried.bad.contains(uuid) || self.dead.contains(uuid) {
                    continue;
                }
                let client_name = &self.fs.options().client_name;
                match BlockReader::open(client_name, block, node, in_block, len).await {
                    Ok(mut reader) => {
                        if !self.verified {
                            reader.ignore_checksums();
                        }
                        self.block = Some(reader);
                        return Ok(());
                    }
                    Err(source) => {
                        let error = ClientError::of_datanode("can't read from", node, source);
                        tracing::warn!(path = self.path, %error, "trying another replica");
                        last_error = error.to_string();
                        tried.bad.push(uuid.clone());
                        if self.striping.is_some() {
                            self.dead.insert(uuid.clone());
                        }
                    }
                }
            }
            if let Some((striping, Some(coder))) = &self.striping {
                let reading = Reading {
                    client_name: self.fs.options().client_name.clone(),
                    verified: self.verified,
                    passed_over: &self.dead | &tried.bad.iter().cloned().collect(),
                };
                match striped::decode(&found, *striping, coder, &part, &reading).await {
                    Ok(decoded) => {
                        self.decoded = decoded;
                        return Ok(());
                    }
                    Err(error) => last_error = format!("{last_error}; {error}"),
                }
                // They may be back.
                self.dead.clear();
            }
            let block_id = part.block.b.block_id.cast_signed();
            tried.failures += 1;
            if tried.failures >= ACQUIRE_FAILURES_MAX {
                return Err(ClientError::MissingBlock {
                    block: block_id,
                    path: self.path.clone(),
                    last: last_error,
                });
            }
            tokio::time::sleep(ACQUIRE_PAUSE).await;
            tried.bad.clear();
            self.located = self.fs.block_locations(&self.path, self.position, PREFETCH_LEN).await?;
        }
    }

    /// Readable length of a block. For a block under construction the NameNode's length is too small.
    fn block_len(&self, block: &LocatedBlockProto) -> u64 {
        let last = self.located.last_block.as_ref();
        if !self.located.is_last_block_complete && last.is_some_and(|last| last.b.block_id == block.b.block_id) {
            self.length.saturating_sub(block.offset)
        } else {
            block.b.num_bytes()
        }
    }

    async fn block_at_position(&mut self) -> Result<Option<LocatedBlockProto>, ClientError> {
        for attempt in 0..2 {
            let last = self.located.last_block.iter();
            let found = self
                .located
                .blocks
                .iter()
                .chain(last)
                .find(|block| block.offset <= self.position && self.position < block.offset + self.block_len(block))
                .cloned();
            if found.is_some() || attempt == 1 {
                return Ok(found);
            }
            self.located = self.fs.block_locations(&self.path, self.position, PREFETCH_LEN).await?;
        }
        Ok(None)
    }
}

/// The file's last block while it is being written.
fn unfinished_block(located: &LocatedBlocksProto) -> Option<&LocatedBlockProto> {
    let open = located.under_construction && !located.is_last_block_complete;
    located.last_block.as_ref().filter(|_| open)
}

/// Why the length of a block under construction is not known.
struct Untold {
    reason: String,
    /// Whether the NameNode may soon give a different answer about the block.
    may_change: bool,
}

/// Length of a block under construction, from the first DataNode that knows it (`DFSInputStream.readBlockLength`).
///
/// When every DataNode says that it has no replica, nothing was acknowledged yet. Otherwise the length is unknown until
/// a DataNode tells it: taking it for 0 would silently leave out bytes that were flushed.
///
/// For the same reason a DataNode with fewer bytes than the NameNode has logged is passed over. A loss of power took
/// some of its replica, or a pipeline left it behind. Hadoop shows the bytes that it has. If no DataNode has more, a
/// truncate may have been carried out that the NameNode has not heard of yet. So the NameNode is asked again.
async fn visible_length(options: &FileSystemOptions, path: &str, block: &LocatedBlockProto) -> Result<u64, Untold> {
    if block.locs.is_empty() {
        return Err(Untold {
            reason: "the NameNode knows none of its DataNodes".to_owned(),
            may_change: true,
        });
    }
    let logged = block.b.num_bytes();
    let mut without_replica = 0;
    let mut short = None;
    let mut last = "no DataNode told it".to_owned();
    for node in &block.locs {
        let result: Result<hdfs::GetReplicaVisibleLengthResponseProto, RpcError> = async {
            let address = host_and_port(&node.id.ip_addr, node.id.ipc_port);
            let mut rpc = ClientOptions::new(&options.user);
            rpc.connect_timeout = Duration::from_secs(5);
            rpc.call_timeout = Duration::from_secs(10);
            let client = hathi_net::ipc::connect_to(&address, &CLIENT_DATANODE_PROTOCOL, &rpc).await?;
            let request = hdfs::GetReplicaVisibleLengthRequestProto { block: block.b.clone() };
            client.call("getReplicaVisibleLength", &request).await
        }
        .await;
        match result {
            // A DataNode that was restarted answers -1: it does not know how many bytes were acknowledged.
            Ok(answer) if answer.length.cast_signed() < 0 => {
                last = format!("{} waits for the block's recovery", node.id.xfer_address());
            }
            Ok(answer) if answer.length < logged => {
                let (has, node) = (answer.length, node.id.xfer_address());
                short = Some(format!("{node} has {has} of the {logged} bytes that were logged"));
            }
            Ok(answer) => return Ok(answer.length),
            Err(error) => {
                without_replica += usize::from(error.is_remote(REPLICA_NOT_FOUND));
                last = error.to_string();
            }
        }
        tracing::debug!(path, last, short, "no visible length");
    }
    if without_replica == block.locs.len() && logged == 0 {
        return Ok(0);
    }
    Err(Untold {
        may_change: short.is_some(),
        reason: short.unwrap_or(last),
    })
}

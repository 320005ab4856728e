//! One replica: its state, its lengths, where its files are.

pub use hathi_formats::block_list::ReplicaState;
use hathi_formats::exceptions::{self, ExceptionClass};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};

/// Index of a volume in the DataNode's list. It is never given to another volume while the process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId(pub u16);

/// A thread that writes a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriterId(pub u64);

/// Which directory of a block pool holds a replica's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Folder {
    /// `current/finalized/subdirD1/subdirD2`.
    Finalized,
    /// `current/rbw`.
    Rbw,
    /// `tmp`.
    Tmp,
}

/// The two files of a replica: block file and meta file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The volume.
    pub volume: VolumeId,
    /// The directory.
    pub folder: Folder,
    /// Names both files.
    pub block_id: BlockId,
    /// Is part of the meta file's name.
    pub generation_stamp: GenerationStamp,
}

/// What must happen to files before a transition counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAction {
    /// Create both files. Files of an earlier attempt at the same place are replaced.
    Create(Location),
    /// Rename both files.
    Move {
        /// Present place.
        from: Location,
        /// New place.
        to: Location,
    },
    /// Cut the block file, make the meta file of what is left, and rename both.
    Truncate {
        /// Present place.
        from: Location,
        /// New place.
        to: Location,
        /// The new length in bytes.
        length: u64,
    },
    /// Copy the first bytes into new files (truncate with a new block id, move to another volume).
    Copy {
        /// Source.
        from: Location,
        /// Place of the new files.
        to: Location,
        /// Bytes to copy.
        length: u64,
    },
    /// Delete both files.
    Delete(Location),
}

/// The lengths of a replica in the hands of a writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteProgress {
    /// Bytes in the block file that have their checksum in the meta file.
    pub bytes_on_disk: u64,
    /// Bytes that all DataNodes further down the pipeline have too. Readers may see these.
    pub bytes_acked: u64,
    /// The checksum of the last, short chunk at `bytes_on_disk`; the one in the meta file may already be a later one.
    pub last_checksum: Option<[u8; 4]>,
    /// The writer. `None` once it has ended.
    pub writer: Option<WriterId>,
    /// Bytes reserved on the volume for the rest of the block.
    pub reserved_bytes: u64,
}

/// A replica (`ReplicaInfo` and its subclasses).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The block.
    pub block_id: BlockId,
    /// Its generation stamp.
    pub generation_stamp: GenerationStamp,
    /// Length in bytes (`getNumBytes`).
    pub num_bytes: u64,
    /// The state.
    pub state: ReplicaState,
    /// The volume that holds it.
    pub volume: VolumeId,
    /// Set for RBW and TEMPORARY replicas, and for RUR replicas that were one of these.
    pub progress: Option<Box<WriteProgress>>,
    /// Set for RUR replicas: recovery id and the state before the recovery.
    pub recovery: Option<(GenerationStamp, ReplicaState)>,
}

impl Replica {
    /// A replica that nobody writes: FINALIZED or RWR.
    #[must_use]
    pub fn at_rest(block: Block, state: ReplicaState, volume: VolumeId) -> Replica {
        Replica {
            block_id: block.id,
            generation_stamp: block.generation_stamp,
            num_bytes: block.num_bytes,
            state,
            volume,
            progress: None,
            recovery: None,
        }
    }

    /// The block as the replica has it.
    #[must_use]
    pub fn block(&self) -> Block {
        Block {
            id: self.block_id,
            num_bytes: self.num_bytes,
            generation_stamp: self.generation_stamp,
        }
    }

    /// The state before recovery, or the state.
    #[must_use]
    pub fn original_state(&self) -> ReplicaState {
        self.recovery.map_or(self.state, |(_, original)| original)
    }

    /// Bytes that have been written (`getBytesOnDisk`).
    #[must_use]
    pub fn bytes_on_disk(&self) -> u64 {
        self.progress
            .as_ref()
            .map_or(self.num_bytes, |progress| progress.bytes_on_disk)
    }

    /// Bytes that readers may see. `None` when they may see nothing (`getVisibleLength` is -1).
    #[must_use]
    pub fn visible_length(&self) -> Option<u64> {
        match self.original_state() {
            ReplicaState::Finalized => Some(self.num_bytes),
            ReplicaState::Rbw => Some(
                self.progress
                    .as_ref()
                    .map_or(self.num_bytes, |progress| progress.bytes_acked),
            ),
            ReplicaState::Rwr | ReplicaState::Rur | ReplicaState::Temporary => None,
        }
    }

    /// The writer, if there is one.
    #[must_use]
    pub fn writer(&self) -> Option<WriterId> {
        self.progress.as_ref().and_then(|progress| progress.writer)
    }

    /// Place of the files.
    #[must_use]
    pub fn location(&self) -> Location {
        Location {
            volume: self.volume,
            folder: match self.original_state() {
                ReplicaState::Finalized => Folder::Finalized,
                ReplicaState::Rbw | ReplicaState::Rwr | ReplicaState::Rur => Folder::Rbw,
                ReplicaState::Temporary => Folder::Tmp,
            },
            block_id: self.block_id,
            generation_stamp: self.generation_stamp,
        }
    }

    /// The replica as logs and exceptions name it.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "{}, blk_{}_{}, {} getNumBytes() = {} getBytesOnDisk() = {} getVisibleLength() = {}",
            self.original_state().name(),
            self.block_id,
            self.generation_stamp,
            self.state.name(),
            self.num_bytes,
            self.bytes_on_disk(),
            self.visible_length()
                .map_or(-1, |length| i64::try_from(length).unwrap_or(i64::MAX)),
        )
    }

    /// Asserts the replica's invariants.
    pub fn check(&self) {
        match self.state {
            ReplicaState::Finalized | ReplicaState::Rwr => {
                assert!(self.progress.is_none(), "only replicas in a pipeline have progress");
                assert!(self.recovery.is_none(), "what is recovered says so");
                assert_eq!(
                    self.writer(),
                    None,
                    "nobody writes to what is complete or waits for recovery"
                );
            }
            ReplicaState::Rbw | ReplicaState::Temporary => {
                assert!(self.progress.is_some(), "a replica in a pipeline has progress");
                assert!(self.recovery.is_none(), "what is recovered says so");
            }
            ReplicaState::Rur => {
                let (id, original) = self.recovery.expect("a replica under recovery has a recovery id");
                assert!(id > self.generation_stamp, "a recovery id is above the stamp");
                assert_ne!(original, ReplicaState::Rur, "recovery does not nest");
                assert_eq!(self.writer(), None, "recovery stops the writer first");
            }
        }
        if let Some(progress) = &self.progress {
            assert!(
                progress.bytes_acked <= progress.bytes_on_disk,
                "acked bytes are on disk"
            );
            assert!(progress.bytes_on_disk <= self.num_bytes, "bytes on disk were received");
        }
    }
}

/// Why a transition is refused. The texts name Hadoop's checks; [`ReplicaError::class`] is the exception that travels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaError {
    /// There is no such replica, or its state or stamp does not fit the request.
    #[error("{0}")]
    NotFound(String),
    /// There is a replica where none may be.
    #[error("{0}")]
    AlreadyExists(String),
    /// A different recovery, at least as new, is under way.
    #[error("{0}")]
    RecoveryInProgress(String),
    /// Anything else that contradicts the request.
    #[error("{0}")]
    Invalid(String),
    /// The claim under which this was ordered is over.
    #[error("the NameNode that ordered it is not obeyed any more, or counts anew")]
    OrderEnded,
    /// Not final: this writer must be stopped, then the same request may be tried again.
    #[error("replica is being written by writer {}", .0.0)]
    StopWriterFirst(WriterId),
}

impl ReplicaError {
    /// The Java exception class.
    #[must_use]
    pub const fn class(&self) -> ExceptionClass {
        match self {
            ReplicaError::NotFound(_) => exceptions::REPLICA_NOT_FOUND,
            ReplicaError::AlreadyExists(_) => exceptions::REPLICA_ALREADY_EXISTS,
            ReplicaError::RecoveryInProgress(_) => exceptions::RECOVERY_IN_PROGRESS,
            ReplicaError::Invalid(_) | ReplicaError::OrderEnded | ReplicaError::StopWriterFirst(_) => exceptions::IO,
        }
    }
}

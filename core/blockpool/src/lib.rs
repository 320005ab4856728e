//! What a DataNode decides, apart from its disks and sockets.
//!
//! * [`replica`] and [`replicas`]: the states of replicas (FINALIZED, RBW, RWR, RUR, TEMPORARY) and every transition
//!   between them as a plan: what must happen to the files, and the replica that results.
//! * [`files`], [`steps`], [`scan`], [`chunks`], [`chunk_writer`]: what transitions and packets do to files, step by
//!   step, and what a start finds afterwards. They work on any [`Disk`](hathi_storage::Disk).
//! * [`recovery`]: block recovery, of the primary DataNode and of those that take part.
//! * [`offer_service`]: which NameNode of a nameservice is obeyed.
//! * [`incremental`], [`report`], [`schedule`]: what NameNodes are told, and when.
//!
//! Invariants:
//! * a block has at most one replica in a pool, and the replica's files are where its state says;
//! * a generation stamp never decreases, and a length decreases only by recovery;
//! * at most one writer owns a replica, and only RBW and TEMPORARY replicas have one;
//! * what was acknowledged is on disk: acked bytes never exceed bytes on disk;
//! * a stamp that was answered, and every byte whose sync was answered, survive a loss of power at any step.
//!
//! Knows nothing of clocks and sockets. Mirrors Hadoop's `fsdataset.impl.{FsDatasetImpl,ReplicaMap}`,
//! `BlockRecoveryWorker`, `BPOfferService`, `IncrementalBlockReportManager` and `BPServiceActor.Scheduler`.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod chunk_writer;
pub mod chunks;
pub mod files;
pub mod incremental;
pub mod offer_service;
pub mod recovery;
pub mod replica;
pub mod replicas;
pub mod report;
pub mod scan;
pub mod schedule;
pub mod steps;

pub use chunk_writer::{ChunkWriter, PacketData, WriteError};
pub use chunks::Mismatch;
pub use files::{PoolDirs, ReplicaFiles};
pub use incremental::{IncrementalReports, NoticeKind, ReceivedDeleted};
pub use offer_service::{ActorId, Claim, ClaimId, HaState, OfferService};
pub use recovery::plan::{RecoveryAnswer, RecoveryPlan, plan_recovery};
pub use recovery::primary::{BlockRecovery, RecoveredBlock, RecoveryAction, RecoveryError, RecoveryEvent};
pub use replica::{FileAction, Folder, Location, Replica, ReplicaError, ReplicaState, VolumeId, WriterId};
pub use replicas::{Durable, ReplicaMap, Transition};
pub use report::BlockReportBuilder;
pub use scan::Scan;
pub use schedule::Schedule;
pub use steps::{StepError, Steps};

//! The requests and answers of `QJournalProtocol`, `InterQJournalProtocol` and Hathi's own additions, as typed values.
//!
//! A [`Request`] is sent to one journal of one JournalNode. Which journal that is stands in the [`Envelope`].

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::membership::Membership;
use crate::ids::{Epoch, LayoutVersion, NamespaceInfo, TxId};

/// The journal that a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Journal id of the shared edits URI.
    pub journal_id: String,
    /// The nameservice. A JournalNode finds its peers by it.
    pub name_service_id: Option<String>,
}

/// A random number that a process draws once, and sends only to JournalNodes with its requests for a lease. Its
/// failover controller reads it from the process itself. 0 means "none" and proves nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaseProof(pub u128);

impl fmt::Debug for LeaseProof {
    /// Never shows the number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_some() {
            "LeaseProof(..)"
        } else {
            "LeaseProof(none)"
        })
    }
}

impl LeaseProof {
    /// Whether there is a proof.
    #[must_use]
    pub fn is_some(self) -> bool {
        self.0 != 0
    }

    /// Whether the process that shows this proof is the one that showed `other`.
    #[must_use]
    pub fn proves(self, other: LeaseProof) -> bool {
        self.is_some() && self == other
    }

    /// The proof as 32 hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        format!("{:032x}", self.0)
    }

    /// Reads what [`LeaseProof::to_hex`] wrote.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = digits.then(|| u128::from_str_radix(text, 16).ok())??;
        Some(LeaseProof(value)).filter(|proof| proof.is_some())
    }
}

/// A writer's wish for a read lease, sent with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Length in milliseconds. The holder counts it from when it sent the request.
    pub ms: u32,
    /// `<namenode id>@<instance id>`, which is no secret.
    pub holder: Arc<str>,
    /// Secret of the holder.
    pub proof: LeaseProof,
}

/// What every call of a writer carries (`org.apache.hadoop.hdfs.qjournal.protocol.RequestInfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// The writer's epoch.
    pub epoch: Epoch,
    /// Grows with every call of this epoch to this JournalNode.
    pub serial: u64,
    /// Highest transaction that the writer knows to be on a majority.
    pub committed: Option<TxId>,
    /// Hathi: the read lease that the writer wants.
    pub lease: Option<LeaseRequest>,
}

/// Which transactions a segment holds, and whether it can still grow (`SegmentStateProto`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentState {
    /// First transaction; names the segment.
    pub start: TxId,
    /// Last transaction, inclusive.
    pub end: TxId,
    /// Whether the segment can still grow.
    pub in_progress: bool,
}

/// A JournalNode's answer about one segment to a writer that recovers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrepareRecoveryAnswer {
    /// The segment as it is on disk, or as an earlier recovery made this JournalNode accept it. Absent when it has no
    /// transaction.
    pub segment: Option<SegmentState>,
    /// Epoch of the recovery in which this JournalNode accepted its copy. Absent for finalized segments.
    pub accepted_in_epoch: Option<Epoch>,
    /// The epoch of the last `startLogSegment` here.
    pub last_writer_epoch: Epoch,
    /// The highest transaction this JournalNode knows to be committed.
    pub last_committed: Option<TxId>,
}

/// A segment in a manifest (`RemoteEditLog`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestSegment {
    /// First transaction.
    pub start: TxId,
    /// Last transaction, inclusive. Of a segment in progress it is the last written one, absent when there is none.
    pub end: Option<TxId>,
    /// Whether the segment can still grow.
    pub in_progress: bool,
}

/// The segments of one JournalNode (`RemoteEditLogManifest`), and where to read them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Sorted by start.
    pub segments: Vec<ManifestSegment>,
    /// The highest transaction this JournalNode knows to be committed.
    pub committed: Option<TxId>,
    /// Port of the HTTP server, when `from_url` is absent.
    pub http_port: u16,
    /// `http(s)://host:port` of the HTTP server. Only scheme and port are used; the host is the configured one.
    pub from_url: Option<String>,
}

/// What a JournalNode knows of the read lease of a journal (`LeaseStateProto`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseState {
    /// The promised epoch.
    pub promised_epoch: Epoch,
    /// The epoch of the last `startLogSegment`.
    pub writer_epoch: Epoch,
    /// Holder of the lease that was granted in the promised epoch.
    pub holder: Option<Arc<str>>,
    /// Milliseconds until another NameNode's `newEpoch` would be admitted; 0 if it would be admitted now.
    pub remaining_ms: u64,
    /// A number that grows with every change that a watcher may wait for.
    pub change_counter: u64,
    /// The highest transaction written here.
    pub highest: TxId,
    /// The highest transaction known to be committed.
    pub committed: Option<TxId>,
    /// Newest membership that this JournalNode received. Absent when the JournalNodes were never changed.
    pub membership: Option<Membership>,
    /// The writer of the promised epoch has a segment open here and asks for no leases, as Hadoop's writers do.
    pub written_without_lease: bool,
}

/// A call to a JournalNode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Whether the journal's storage is formatted.
    IsFormatted,
    /// Empties and formats the journal.
    Format {
        /// What to write into VERSION.
        ns_info: NamespaceInfo,
        /// Format even if the directory holds something.
        force: bool,
    },
    /// Ask for the promised epoch, and where segments can be read.
    GetJournalState,
    /// Promise not to serve lower epochs any more.
    NewEpoch {
        /// Must be the namespace of the journal.
        ns_info: NamespaceInfo,
        /// Must be higher than every promised epoch.
        epoch: Epoch,
        /// Hathi: the read lease asked for.
        lease: Option<LeaseRequest>,
        /// Hathi: a majority has promised this epoch to the caller already. The call is no vote; it tells a JournalNode
        /// that missed the election. So the epoch may equal the promised one.
        established: bool,
    },
    /// Open a segment for writing.
    StartLogSegment {
        /// What every call of a writer carries.
        info: RequestInfo,
        /// Its first transaction.
        txid: TxId,
        /// Layout version of the edit log. Absent: the JournalNode's own.
        layout_version: Option<LayoutVersion>,
    },
    /// Append edits to the open segment.
    Journal {
        /// What every call of a writer carries.
        info: RequestInfo,
        /// The open segment.
        segment: TxId,
        /// First transaction of the batch.
        first: TxId,
        /// Number of edits; 0 only tells the committed transaction.
        count: u32,
        /// The framed ops, as they stand in the file.
        records: Bytes,
    },
    /// Carries epoch, commit and lease.
    Heartbeat {
        /// What every call of a writer carries.
        info: RequestInfo,
    },
    /// Close a segment for good.
    FinalizeLogSegment {
        /// What every call of a writer carries.
        info: RequestInfo,
        /// First transaction.
        start: TxId,
        /// Last transaction, inclusive.
        end: TxId,
    },
    /// Delete segments that end before a transaction.
    PurgeLogsOlderThan {
        /// What every call of a writer carries.
        info: RequestInfo,
        /// The lowest transaction still needed.
        min_to_keep: TxId,
    },
    /// First phase of the recovery of a segment.
    PrepareRecovery {
        /// What every call of a writer carries.
        info: RequestInfo,
        /// The segment.
        segment: TxId,
    },
    /// Second phase of the recovery of a segment.
    AcceptRecovery {
        /// What every call of a writer carries.
        info: RequestInfo,
        /// The chosen copy.
        state: SegmentState,
        /// URL from which a copy can be read.
        from_url: String,
        /// Hathi: the epoch that the chosen copy comes from. Absent when the copy is finalized, or a Java writer asks.
        chosen_epoch: Option<Epoch>,
    },
    /// Ask for the list of segments.
    GetEditLogManifest {
        /// Lowest transaction of interest.
        since: TxId,
        /// List segments in progress, too.
        in_progress_ok: bool,
        /// Whether another JournalNode asks (`InterQJournalProtocol.getEditLogManifestFromJournal`).
        from_journal: bool,
    },
    /// Ask for recent edits that are in memory.
    GetJournaledEdits {
        /// First transaction.
        since: TxId,
        /// Largest number of transactions.
        max_txns: u32,
        /// Hathi: milliseconds to wait for the first transaction.
        wait_ms: u32,
        /// Hathi: only edits that are known to be committed.
        committed_only: bool,
    },
    /// Ask for the `cTime` of the storage.
    GetJournalCTime,
    /// Rename `current` to `previous.tmp`.
    DoPreUpgrade,
    /// Rename `previous.tmp` to `previous`.
    DoUpgrade {
        /// New layout version and `cTime`.
        storage: NamespaceInfo,
    },
    /// Remove `previous`.
    DoFinalize,
    /// Ask whether `previous` can become `current` again.
    CanRollBack {
        /// The NameNode's current storage.
        storage: NamespaceInfo,
        /// The NameNode's previous storage.
        previous: NamespaceInfo,
        /// Layout version that `previous` must have.
        target_layout_version: LayoutVersion,
    },
    /// Make `previous` the `current` directory again.
    DoRollback,
    /// Put aside all segments from a transaction on (rollback of a rolling upgrade).
    DiscardSegments {
        /// First transaction to discard.
        start: TxId,
    },
    /// Ask for the journal's storage information (`InterQJournalProtocol`, Hadoop 3.5).
    GetStorageInfo,
    /// Hathi: ask for the lease, now or when it changes.
    WatchLease {
        /// Counter of the state that the caller knows. Absent: answer at once.
        known_counter: Option<u64>,
        /// Milliseconds to wait for a change.
        wait_ms: u32,
    },
    /// Hathi: give the lease of this holder back.
    ReleaseLease {
        /// Holder of the lease.
        holder: Arc<str>,
        /// The proof that came with the requests for the lease. The name alone gives nothing back.
        proof: LeaseProof,
        /// Highest epoch whose lease is given back. The same holder may have been granted a lease of a later epoch
        /// before this call arrives. `None` when the holder's process is gone for good.
        up_to: Option<Epoch>,
    },
    /// Hathi: open the in-progress segment again that this writer had open here.
    ResumeSegment {
        /// What every call of a writer carries.
        info: RequestInfo,
        /// The segment.
        segment: TxId,
    },
    /// Hathi: the JournalNodes of the journal from now on.
    SetMembership {
        /// What every call of a writer carries.
        info: RequestInfo,
        /// The membership, written in the writer's epoch.
        membership: Membership,
    },
    /// Hathi: format an empty JournalNode as one that is joining, so that it can be caught up before it is added.
    JoinJournal {
        /// What every call of a writer carries.
        info: RequestInfo,
        /// What to write into VERSION.
        ns_info: NamespaceInfo,
    },
}

/// A JournalNode's answer that is no exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The request was carried out.
    Done,
    /// Answer to `isFormatted`.
    IsFormatted(bool),
    /// Answer to `getJournalState`.
    JournalState {
        /// The promised epoch.
        promised_epoch: Epoch,
        /// Port of the HTTP server.
        http_port: u16,
        /// `http(s)://host:port`.
        from_url: Option<String>,
        /// Hathi: newest membership that this JournalNode received.
        membership: Option<Membership>,
    },
    /// Answer to `newEpoch`.
    NewEpoch {
        /// First transaction of the newest segment that has a transaction.
        last_segment: Option<TxId>,
        /// Hathi: length of the granted read lease; 0 means none. When the field is present the JournalNode is ours.
        lease_granted_ms: Option<u32>,
        /// Hathi: newest membership that this JournalNode received.
        membership: Option<Membership>,
    },
    /// Answer to `journal`, `heartbeat`, `startLogSegment` and `setMembership`.
    Lease {
        /// Hathi: length of the granted read lease in milliseconds, counted from when the request was sent.
        lease_granted_ms: Option<u32>,
    },
    /// Answer to `prepareRecovery`.
    PrepareRecovery(PrepareRecoveryAnswer),
    /// Answer to `getEditLogManifest`.
    Manifest(Manifest),
    /// Answer to `getJournaledEdits`.
    JournaledEdits {
        /// Number of transactions.
        count: u32,
        /// The edit log header and the ops. Absent when there is no transaction.
        edit_log: Option<Bytes>,
        /// Hathi: the highest transaction known to be committed.
        committed: Option<TxId>,
    },
    /// Answer to `getJournalCTime`.
    CTime(i64),
    /// Answer to `canRollBack`.
    CanRollBack(bool),
    /// Answer to `getStorageInfo`.
    StorageInfo(NamespaceInfo),
    /// Hathi: answer to `watchLease`.
    LeaseState(LeaseState),
    /// Hathi: answer to `releaseLease`: whether this holder had the lease.
    Released(bool),
    /// Hathi: answer to `resumeSegment`.
    Resumed {
        /// The next transaction that this JournalNode needs.
        next: TxId,
        /// The read lease granted.
        lease_granted_ms: Option<u32>,
    },
}

impl Request {
    /// The Java interface that declares the method.
    #[must_use]
    pub fn protocol(&self) -> &'static str {
        match self {
            Request::WatchLease { .. }
            | Request::ReleaseLease { .. }
            | Request::ResumeSegment { .. }
            | Request::SetMembership { .. }
            | Request::JoinJournal { .. } => JOURNAL_EXTENSION_PROTOCOL,
            Request::GetStorageInfo | Request::GetEditLogManifest { from_journal: true, .. } => INTER_QJOURNAL_PROTOCOL,
            _ => QJOURNAL_PROTOCOL,
        }
    }

    /// The method's name on the wire.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Request::IsFormatted => "isFormatted",
            Request::Format { .. } => "format",
            Request::GetJournalState => "getJournalState",
            Request::NewEpoch { .. } => "newEpoch",
            Request::StartLogSegment { .. } => "startLogSegment",
            Request::Journal { .. } => "journal",
            Request::Heartbeat { .. } => "heartbeat",
            Request::FinalizeLogSegment { .. } => "finalizeLogSegment",
            Request::PurgeLogsOlderThan { .. } => "purgeLogs",
            Request::PrepareRecovery { .. } => "prepareRecovery",
            Request::AcceptRecovery { .. } => "acceptRecovery",
            Request::GetEditLogManifest {
                from_journal: false, ..
            } => "getEditLogManifest",
            Request::GetEditLogManifest { from_journal: true, .. } => "getEditLogManifestFromJournal",
            Request::GetJournaledEdits { .. } => "getJournaledEdits",
            Request::GetJournalCTime => "getJournalCTime",
            Request::DoPreUpgrade => "doPreUpgrade",
            Request::DoUpgrade { .. } => "doUpgrade",
            Request::DoFinalize => "doFinalize",
            Request::CanRollBack { .. } => "canRollBack",
            Request::DoRollback => "doRollback",
            Request::DiscardSegments { .. } => "discardSegments",
            Request::GetStorageInfo => "getStorageInfo",
            Request::WatchLease { .. } => "watchLease",
            Request::ReleaseLease { .. } => "releaseLease",
            Request::ResumeSegment { .. } => "resumeSegment",
            Request::SetMembership { .. } => "setMembership",
            Request::JoinJournal { .. } => "joinJournal",
        }
    }

    /// What a call of a writer carries; `None` for other calls.
    #[must_use]
    pub fn info(&self) -> Option<&RequestInfo> {
        match self {
            Request::StartLogSegment { info, .. }
            | Request::Journal { info, .. }
            | Request::Heartbeat { info }
            | Request::FinalizeLogSegment { info, .. }
            | Request::PurgeLogsOlderThan { info, .. }
            | Request::PrepareRecovery { info, .. }
            | Request::AcceptRecovery { info, .. }
            | Request::ResumeSegment { info, .. }
            | Request::SetMembership { info, .. }
            | Request::JoinJournal { info, .. } => Some(info),
            _ => None,
        }
    }
}

/// `org.apache.hadoop.hdfs.qjournal.protocol.QJournalProtocol`.
pub const QJOURNAL_PROTOCOL: &str = "org.apache.hadoop.hdfs.qjournal.protocol.QJournalProtocol";
/// `org.apache.hadoop.hdfs.qjournal.protocol.InterQJournalProtocol`.
pub const INTER_QJOURNAL_PROTOCOL: &str = "org.apache.hadoop.hdfs.qjournal.protocol.InterQJournalProtocol";
/// Hathi's additions; a Java JournalNode answers `RpcNoSuchProtocolException`.
pub const JOURNAL_EXTENSION_PROTOCOL: &str = "hathi.JournalExtensionProtocol";

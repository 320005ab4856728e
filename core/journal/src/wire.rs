//! [`Request`] and [`Answer`] to protobuf and back.
//!
//! Knows field names and Hadoop's conventions for absent values (-12345 for "no transaction"), and no rule.

use std::sync::Arc;

use bytes::Bytes;
use hathi_formats::ids::{Epoch, LayoutVersion, NamespaceInfo, TxId};
use hathi_formats::proto::ext::{
    JoinJournalRequestProto, LeaseStateProto, ReleaseLeaseRequestProto, ReleaseLeaseResponseProto,
    ResumeSegmentRequestProto, ResumeSegmentResponseProto, SetMembershipRequestProto, WatchLeaseRequestProto,
    WatchLeaseResponseProto,
};
use hathi_formats::proto::hdfs::{
    NamespaceInfoProto, RemoteEditLogManifestProto, RemoteEditLogProto, StorageInfoProto,
};
use hathi_formats::proto::qjournal as pb;
use prost::Message;

use crate::membership::Membership;
use crate::messages::{
    Answer, INTER_QJOURNAL_PROTOCOL, JOURNAL_EXTENSION_PROTOCOL, LeaseRequest, LeaseState, Manifest, ManifestSegment,
    PrepareRecoveryAnswer, QJOURNAL_PROTOCOL, Request, RequestInfo, SegmentState,
};

/// The Hadoop version that NamespaceInfo names, where peers only compare it for equality or show it.
const SOFTWARE_VERSION: &str = "3.5.0";

/// Which journal a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The journal id of the shared edits URI.
    pub journal_id: String,
    /// The nameservice, by which a JournalNode finds its peers.
    pub name_service_id: Option<String>,
}

/// Why bytes are no request or answer.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The bytes are no such message.
    #[error("undecodable {method}: {source}")]
    Decode {
        /// Of which method.
        method: String,
        /// Why.
        source: prost::DecodeError,
    },
    /// There is no such method.
    #[error("Unknown method {method} called on {protocol} protocol.")]
    NoSuchMethod {
        /// The protocol asked for.
        protocol: String,
        /// The method asked for.
        method: String,
    },
}

/// A namespace's identity as it travels.
#[must_use]
pub fn namespace_info_to_proto(info: &NamespaceInfo) -> NamespaceInfoProto {
    NamespaceInfoProto {
        build_version: "hathi".to_owned(),
        unused: 0,
        block_pool_id: info.block_pool_id.clone(),
        storage_info: storage_info_to_proto(info),
        software_version: SOFTWARE_VERSION.to_owned(),
        capabilities: None,
        state: None,
    }
}

/// A namespace's identity from the wire.
#[must_use]
pub fn namespace_info_from_proto(proto: NamespaceInfoProto) -> NamespaceInfo {
    NamespaceInfo {
        block_pool_id: proto.block_pool_id,
        ..storage_info_from_proto(proto.storage_info)
    }
}

fn storage_info_to_proto(info: &NamespaceInfo) -> StorageInfoProto {
    StorageInfoProto {
        layout_version: info.layout_version.0 as u32,
        namespce_id: info.namespace_id,
        cluster_id: info.cluster_id.clone(),
        c_time: info.ctime as u64,
    }
}

fn storage_info_from_proto(proto: StorageInfoProto) -> NamespaceInfo {
    NamespaceInfo {
        layout_version: LayoutVersion(proto.layout_version as i32),
        namespace_id: proto.namespce_id,
        cluster_id: proto.cluster_id,
        ctime: proto.c_time as i64,
        block_pool_id: String::new(),
    }
}

fn segment_to_proto(state: &SegmentState) -> pb::SegmentStateProto {
    pb::SegmentStateProto {
        start_tx_id: state.start.0,
        end_tx_id: state.end.0,
        is_in_progress: state.in_progress,
    }
}

fn segment_from_proto(proto: pb::SegmentStateProto) -> SegmentState {
    SegmentState {
        start: TxId(proto.start_tx_id),
        end: TxId(proto.end_tx_id),
        in_progress: proto.is_in_progress,
    }
}

fn lease_from(ms: Option<u32>, holder: Option<String>) -> Option<LeaseRequest> {
    match (ms, holder) {
        (Some(ms), Some(holder)) => Some(LeaseRequest {
            ms,
            holder: holder.into(),
        }),
        _ => None,
    }
}

impl Envelope {
    fn jid(&self) -> pb::JournalIdProto {
        pb::JournalIdProto {
            identifier: self.journal_id.clone(),
        }
    }

    fn info(&self, info: &RequestInfo) -> pb::RequestInfoProto {
        pb::RequestInfoProto {
            journal_id: self.jid(),
            epoch: info.epoch.0,
            ipc_serial_number: info.serial,
            committed_tx_id: info.committed.map(|txid| txid.0),
            name_service_id: self.name_service_id.clone(),
            lease_ms: info.lease.as_ref().map(|lease| lease.ms),
            lease_holder: info.lease.as_ref().map(|lease| lease.holder.to_string()),
        }
    }

    /// The body of a request; protocol and method are [`Request::protocol`] and [`Request::method`].
    #[must_use]
    pub fn encode(&self, request: &Request) -> Bytes {
        let jid = self.jid();
        let name_service_id = self.name_service_id.clone();
        let body = match request {
            Request::IsFormatted => pb::IsFormattedRequestProto { jid, name_service_id }.encode_to_vec(),
            Request::Format { ns_info, force } => pb::FormatRequestProto {
                jid,
                ns_info: namespace_info_to_proto(ns_info),
                name_service_id,
                force: Some(*force),
            }
            .encode_to_vec(),
            Request::GetJournalState => pb::GetJournalStateRequestProto { jid, name_service_id }.encode_to_vec(),
            Request::NewEpoch { ns_info, epoch, lease } => pb::NewEpochRequestProto {
                jid,
                ns_info: namespace_info_to_proto(ns_info),
                epoch: epoch.0,
                name_service_id,
                lease_ms: lease.as_ref().map(|lease| lease.ms),
                lease_holder: lease.as_ref().map(|lease| lease.holder.to_string()),
            }
            .encode_to_vec(),
            Request::StartLogSegment {
                info,
                txid,
                layout_version,
            } => pb::StartLogSegmentRequestProto {
                req_info: self.info(info),
                txid: txid.0,
                layout_version: layout_version.map(|version| version.0),
            }
            .encode_to_vec(),
            Request::Journal {
                info,
                segment,
                first,
                count,
                records,
            } => pb::JournalRequestProto {
                req_info: self.info(info),
                first_txn_id: first.0,
                num_txns: *count,
                records: records.clone(),
                segment_txn_id: segment.0,
                name_service_id,
            }
            .encode_to_vec(),
            Request::Heartbeat { info } => pb::HeartbeatRequestProto {
                req_info: self.info(info),
            }
            .encode_to_vec(),
            Request::FinalizeLogSegment { info, start, end } => pb::FinalizeLogSegmentRequestProto {
                req_info: self.info(info),
                start_tx_id: start.0,
                end_tx_id: end.0,
            }
            .encode_to_vec(),
            Request::PurgeLogsOlderThan { info, min_to_keep } => pb::PurgeLogsRequestProto {
                req_info: self.info(info),
                min_tx_id_to_keep: min_to_keep.0,
            }
            .encode_to_vec(),
            Request::PrepareRecovery { info, segment } => pb::PrepareRecoveryRequestProto {
                req_info: self.info(info),
                segment_tx_id: segment.0,
            }
            .encode_to_vec(),
            Request::AcceptRecovery {
                info,
                state,
                from_url,
                chosen_epoch,
            } => pb::AcceptRecoveryRequestProto {
                req_info: self.info(info),
                state_to_accept: segment_to_proto(state),
                from_url: from_url.clone(),
                chosen_epoch: chosen_epoch.map(|epoch| epoch.0),
            }
            .encode_to_vec(),
            Request::GetEditLogManifest {
                since, in_progress_ok, ..
            } => pb::GetEditLogManifestRequestProto {
                jid,
                since_tx_id: since.0,
                in_progress_ok: Some(*in_progress_ok),
                name_service_id,
            }
            .encode_to_vec(),
            Request::GetJournaledEdits {
                since,
                max_txns,
                wait_ms,
                committed_only,
            } => pb::GetJournaledEditsRequestProto {
                jid,
                since_tx_id: since.0,
                max_txns: *max_txns,
                name_service_id,
                wait_ms: (*wait_ms > 0).then_some(*wait_ms),
                committed_only: committed_only.then_some(true),
            }
            .encode_to_vec(),
            Request::GetJournalCTime => pb::GetJournalCTimeRequestProto { jid, name_service_id }.encode_to_vec(),
            Request::DoPreUpgrade => pb::DoPreUpgradeRequestProto { jid }.encode_to_vec(),
            Request::DoUpgrade { storage } => pb::DoUpgradeRequestProto {
                jid,
                s_info: storage_info_to_proto(storage),
            }
            .encode_to_vec(),
            Request::DoFinalize => pb::DoFinalizeRequestProto { jid, name_service_id }.encode_to_vec(),
            Request::CanRollBack {
                storage,
                previous,
                target_layout_version,
            } => pb::CanRollBackRequestProto {
                jid,
                storage: storage_info_to_proto(storage),
                prev_storage: storage_info_to_proto(previous),
                target_layout_version: target_layout_version.0,
                name_service_id,
            }
            .encode_to_vec(),
            Request::DoRollback => pb::DoRollbackRequestProto {
                jid,
                nameservice_id: name_service_id,
            }
            .encode_to_vec(),
            Request::DiscardSegments { start } => pb::DiscardSegmentsRequestProto {
                jid,
                start_tx_id: start.0,
                name_service_id,
            }
            .encode_to_vec(),
            Request::GetStorageInfo => pb::GetStorageInfoRequestProto { jid, name_service_id }.encode_to_vec(),
            Request::WatchLease { known_counter, wait_ms } => WatchLeaseRequestProto {
                jid,
                known_counter: *known_counter,
                wait_ms: Some(*wait_ms),
            }
            .encode_to_vec(),
            Request::ReleaseLease { holder, up_to } => ReleaseLeaseRequestProto {
                jid,
                holder: holder.to_string(),
                epoch: up_to.map(|epoch| epoch.0),
            }
            .encode_to_vec(),
            Request::ResumeSegment { info, segment } => ResumeSegmentRequestProto {
                req_info: self.info(info),
                segment_tx_id: segment.0,
            }
            .encode_to_vec(),
            Request::SetMembership { info, membership } => SetMembershipRequestProto {
                req_info: self.info(info),
                membership: membership.to_proto(),
            }
            .encode_to_vec(),
            Request::JoinJournal { info, ns_info } => JoinJournalRequestProto {
                req_info: self.info(info),
                ns_info: namespace_info_to_proto(ns_info),
            }
            .encode_to_vec(),
        };
        Bytes::from(body)
    }

    /// A request from the name of its protocol and method and its body.
    pub fn decode(protocol: &str, method: &str, body: Bytes) -> Result<(Envelope, Request), WireError> {
        let at = Decoder { method };
        let decoded = match (protocol, method) {
            (QJOURNAL_PROTOCOL, "isFormatted") => {
                let m: pb::IsFormattedRequestProto = at.decode(body)?;
                (envelope(m.jid, m.name_service_id), Request::IsFormatted)
            }
            (QJOURNAL_PROTOCOL, "format") => {
                let m: pb::FormatRequestProto = at.decode(body)?;
                let force = m.force();
                let request = Request::Format {
                    ns_info: namespace_info_from_proto(m.ns_info),
                    force,
                };
                (envelope(m.jid, m.name_service_id), request)
            }
            (QJOURNAL_PROTOCOL, "getJournalState") => {
                let m: pb::GetJournalStateRequestProto = at.decode(body)?;
                (envelope(m.jid, m.name_service_id), Request::GetJournalState)
            }
            (QJOURNAL_PROTOCOL, "newEpoch") => {
                let m: pb::NewEpochRequestProto = at.decode(body)?;
                let request = Request::NewEpoch {
                    ns_info: namespace_info_from_proto(m.ns_info),
                    epoch: Epoch(m.epoch),
                    lease: lease_from(m.lease_ms, m.lease_holder),
                };
                (envelope(m.jid, m.name_service_id), request)
            }
            (QJOURNAL_PROTOCOL, "startLogSegment") => {
                let m: pb::StartLogSegmentRequestProto = at.decode(body)?;
                let (envelope, info) = info_from(m.req_info);
                let request = Request::StartLogSegment {
                    info,
                    txid: TxId(m.txid),
                    layout_version: m.layout_version.map(LayoutVersion),
                };
                (envelope, request)
            }
            (QJOURNAL_PROTOCOL, "journal") => {
                let m: pb::JournalRequestProto = at.decode(body)?;
                let (envelope, info) = info_from(m.req_info);
                let request = Request::Journal {
                    info,
                    segment: TxId(m.segment_txn_id),
                    first: TxId(m.first_txn_id),
                    count: m.num_txns,
                    records: m.records,
                };
                (envelope, request)
            }
            (QJOURNAL_PROTOCOL, "heartbeat") => {
                let m: pb::HeartbeatRequestProto = at.decode(body)?;
                let (envelope, info) = info_from(m.req_info);
                (envelope, Request::Heartbeat { info })
            }
            (QJOURNAL_PROTOCOL, "finalizeLogSegment") => {
                let m: pb::FinalizeLogSegmentRequestProto = at.decode(body)?;
                let (envelope, info) = info_from(m.req_info);
                let request = Request::FinalizeLogSegment {
                    info,
                    start: TxId(m.start_tx_id),
                    end: TxId(m.end_tx_id),
                };
                (envelope, request)
            }
            (QJOURNAL_PROTOCOL, "purgeLogs") => {
                let m: pb::PurgeLogsRequestProto = at.decode(body)?;
                let (envelope, info) = info_from(m.req_info);
                let min_to_keep = TxId(m.min_tx_id_to_keep);
                (envelope, Request::PurgeLogsOlderThan { info, min_to_keep })
            }
            (QJOURNAL_PROTOCOL, "prepareRecovery") => {
                let m: pb::PrepareRecoveryRequestProto = at.decode(body)?;
                let (envelope, info) = info_from(m.req_info);
                let segment = TxId(m.segment_tx_id);
                (envelope, Request::PrepareRecovery { info, segment })
            }
            (QJOURNAL_PROTOCOL, "acceptRecovery") => {
                let m: pb::AcceptRecoveryRequestProto = at.decode(body)?;
                let (envelope, info) = info_from(m.req_info);
                let request = Request::AcceptRecovery {
                    info,
                    state: segment_from_proto(m.state_to_accept),
                    from_url: m.from_url,
                    chosen_epoch: m.chosen_epoch.map(Epoch),
                };
                (envelope, request)
            }
            (QJOURNAL_PROTOCOL, "getEditLogManifest") | (INTER_QJOURNAL_PROTOCOL, "getEditLogManifestFromJournal") => {
                let m: pb::GetEditLogManifestRequestProto = at.decode(body)?;
                let request = Request::GetEditLogManifest {
                    since: TxId(m.since_tx_id),
                    in_progress_ok: m.in_progress_ok(),
                    from_journal: protocol == INTER_QJOURNAL_PROTOCOL,
                };
                (envelope(m.jid, m.name_service_id), request)
            }
            (QJOURNAL_PROTOCOL, "getJournaledEdits") => {
                let m: pb::GetJournaledEditsRequestProto = at.decode(body)?;
                let request = Request::GetJournaledEdits {
                    since: TxId(m.since_tx_id),
                    max_txns: m.max_txns,
                    wait_ms: m.wait_ms(),
                    committed_only: m.committed_only(),
                };
                (envelope(m.jid, m.name_service_id), request)
            }
            (QJOURNAL_PROTOCOL, "getJournalCTime") => {
                let m: pb::GetJournalCTimeRequestProto = at.decode(body)?;
                (envelope(m.jid, m.name_service_id), Request::GetJournalCTime)
            }
            (QJOURNAL_PROTOCOL, "doPreUpgrade") => {
                let m: pb::DoPreUpgradeRequestProto = at.decode(body)?;
                (envelope(m.jid, None), Request::DoPreUpgrade)
            }
            (QJOURNAL_PROTOCOL, "doUpgrade") => {
                let m: pb::DoUpgradeRequestProto = at.decode(body)?;
                let storage = storage_info_from_proto(m.s_info);
                (envelope(m.jid, None), Request::DoUpgrade { storage })
            }
            (QJOURNAL_PROTOCOL, "doFinalize") => {
                let m: pb::DoFinalizeRequestProto = at.decode(body)?;
                (envelope(m.jid, m.name_service_id), Request::DoFinalize)
            }
            (QJOURNAL_PROTOCOL, "canRollBack") => {
                let m: pb::CanRollBackRequestProto = at.decode(body)?;
                let request = Request::CanRollBack {
                    storage: storage_info_from_proto(m.storage),
                    previous: storage_info_from_proto(m.prev_storage),
                    target_layout_version: LayoutVersion(m.target_layout_version),
                };
                (envelope(m.jid, m.name_service_id), request)
            }
            (QJOURNAL_PROTOCOL, "doRollback") => {
                let m: pb::DoRollbackRequestProto = at.decode(body)?;
                (envelope(m.jid, m.nameservice_id), Request::DoRollback)
            }
            (QJOURNAL_PROTOCOL, "discardSegments") => {
                let m: pb::DiscardSegmentsRequestProto = at.decode(body)?;
                let start = TxId(m.start_tx_id);
                (envelope(m.jid, m.name_service_id), Request::DiscardSegments { start })
            }
            (INTER_QJOURNAL_PROTOCOL, "getStorageInfo") => {
                let m: pb::GetStorageInfoRequestProto = at.decode(body)?;
                (envelope(m.jid, m.name_service_id), Request::GetStorageInfo)
            }
            (JOURNAL_EXTENSION_PROTOCOL, "watchLease") => {
                let m: WatchLeaseRequestProto = at.decode(body)?;
                let request = Request::WatchLease {
                    known_counter: m.known_counter,
                    wait_ms: m.wait_ms(),
                };
                (envelope(m.jid, None), request)
            }
            (JOURNAL_EXTENSION_PROTOCOL, "releaseLease") => {
                let m: ReleaseLeaseRequestProto = at.decode(body)?;
                let request = Request::ReleaseLease {
                    holder: m.holder.into(),
                    up_to: m.epoch.map(Epoch),
                };
                (envelope(m.jid, None), request)
            }
            (JOURNAL_EXTENSION_PROTOCOL, "resumeSegment") => {
                let m: ResumeSegmentRequestProto = at.decode(body)?;
                let (envelope, info) = info_from(m.req_info);
                let segment = TxId(m.segment_tx_id);
                (envelope, Request::ResumeSegment { info, segment })
            }
            (JOURNAL_EXTENSION_PROTOCOL, "setMembership") => {
                let m: SetMembershipRequestProto = at.decode(body)?;
                let (envelope, info) = info_from(m.req_info);
                let membership = Membership::from_proto(m.membership);
                (envelope, Request::SetMembership { info, membership })
            }
            (JOURNAL_EXTENSION_PROTOCOL, "joinJournal") => {
                let m: JoinJournalRequestProto = at.decode(body)?;
                let (envelope, info) = info_from(m.req_info);
                let ns_info = namespace_info_from_proto(m.ns_info);
                (envelope, Request::JoinJournal { info, ns_info })
            }
            _ => {
                return Err(WireError::NoSuchMethod {
                    protocol: protocol.to_owned(),
                    method: method.to_owned(),
                });
            }
        };
        Ok(decoded)
    }
}

/// Turns bytes into a message of any type.
struct Decoder<'a> {
    method: &'a str,
}

impl Decoder<'_> {
    fn decode<M: Message + Default>(&self, body: Bytes) -> Result<M, WireError> {
        M::decode(body).map_err(|source| WireError::Decode {
            method: self.method.to_owned(),
            source,
        })
    }
}

fn envelope(jid: pb::JournalIdProto, name_service_id: Option<String>) -> Envelope {
    Envelope {
        journal_id: jid.identifier,
        name_service_id,
    }
}

fn info_from(info: pb::RequestInfoProto) -> (Envelope, RequestInfo) {
    let request_info = RequestInfo {
        epoch: Epoch(info.epoch),
        serial: info.ipc_serial_number,
        committed: info.committed_tx_id.and_then(TxId::from_wire),
        lease: lease_from(info.lease_ms, info.lease_holder),
    };
    (envelope(info.journal_id, info.name_service_id), request_info)
}

impl Answer {
    /// The body of the answer to `request`'s method.
    #[must_use]
    pub fn encode(&self, method: &str) -> Bytes {
        let body = match self {
            // Hadoop's empty answers have no fields: all are the empty message.
            Answer::Done => Vec::new(),
            Answer::IsFormatted(is_formatted) => pb::IsFormattedResponseProto {
                is_formatted: *is_formatted,
            }
            .encode_to_vec(),
            Answer::JournalState {
                promised_epoch,
                http_port,
                from_url,
                membership,
            } => pb::GetJournalStateResponseProto {
                last_promised_epoch: promised_epoch.0,
                http_port: u32::from(*http_port),
                from_url: from_url.clone(),
                membership: membership.as_ref().map(Membership::to_proto),
            }
            .encode_to_vec(),
            Answer::NewEpoch {
                last_segment,
                lease_granted_ms,
                membership,
            } => pb::NewEpochResponseProto {
                last_segment_tx_id: last_segment.map(|txid| txid.0),
                lease_granted_ms: *lease_granted_ms,
                membership: membership.as_ref().map(Membership::to_proto),
            }
            .encode_to_vec(),
            // The answers that carry a lease have it in the same field.
            Answer::Lease { lease_granted_ms } => pb::JournalResponseProto {
                lease_granted_ms: *lease_granted_ms,
            }
            .encode_to_vec(),
            Answer::PrepareRecovery(answer) => pb::PrepareRecoveryResponseProto {
                segment_state: answer.segment.as_ref().map(segment_to_proto),
                accepted_in_epoch: answer.accepted_in_epoch.map(|epoch| epoch.0),
                last_writer_epoch: answer.last_writer_epoch.0,
                last_committed_tx_id: answer.last_committed.map(|txid| txid.0),
            }
            .encode_to_vec(),
            Answer::Manifest(manifest) => manifest_to_proto(manifest).encode_to_vec(),
            Answer::JournaledEdits {
                count,
                edit_log,
                committed,
            } => pb::GetJournaledEditsResponseProto {
                txn_count: *count,
                edit_log: edit_log.clone(),
                committed_tx_id: committed.map(|txid| txid.0),
            }
            .encode_to_vec(),
            Answer::CTime(ctime) => pb::GetJournalCTimeResponseProto { result_c_time: *ctime }.encode_to_vec(),
            Answer::CanRollBack(can_roll_back) => pb::CanRollBackResponseProto {
                can_roll_back: *can_roll_back,
            }
            .encode_to_vec(),
            Answer::StorageInfo(info) => storage_info_to_proto(info).encode_to_vec(),
            Answer::LeaseState(state) => WatchLeaseResponseProto {
                state: lease_state_to_proto(state),
            }
            .encode_to_vec(),
            Answer::Released(released) => ReleaseLeaseResponseProto { released: *released }.encode_to_vec(),
            Answer::Resumed { next, lease_granted_ms } => ResumeSegmentResponseProto {
                next_tx_id: next.0,
                lease_granted_ms: *lease_granted_ms,
            }
            .encode_to_vec(),
        };
        debug_assert!(Answer::decode(method, Bytes::from(body.clone())).is_ok());
        Bytes::from(body)
    }

    /// An answer from the name of the method and the body.
    pub fn decode(method: &str, body: Bytes) -> Result<Answer, WireError> {
        let at = Decoder { method };
        Ok(match method {
            "isFormatted" => {
                let m: pb::IsFormattedResponseProto = at.decode(body)?;
                Answer::IsFormatted(m.is_formatted)
            }
            "getJournalState" => {
                let m: pb::GetJournalStateResponseProto = at.decode(body)?;
                Answer::JournalState {
                    promised_epoch: Epoch(m.last_promised_epoch),
                    http_port: u16::try_from(m.http_port).unwrap_or(0),
                    from_url: m.from_url,
                    membership: m.membership.map(Membership::from_proto),
                }
            }
            "newEpoch" => {
                let m: pb::NewEpochResponseProto = at.decode(body)?;
                Answer::NewEpoch {
                    last_segment: m.last_segment_tx_id.and_then(TxId::from_wire),
                    lease_granted_ms: m.lease_granted_ms,
                    membership: m.membership.map(Membership::from_proto),
                }
            }
            "journal" | "heartbeat" | "startLogSegment" | "setMembership" => {
                let m: pb::JournalResponseProto = at.decode(body)?;
                Answer::Lease {
                    lease_granted_ms: m.lease_granted_ms,
                }
            }
            "prepareRecovery" => {
                let m: pb::PrepareRecoveryResponseProto = at.decode(body)?;
                Answer::PrepareRecovery(PrepareRecoveryAnswer {
                    segment: m.segment_state.map(segment_from_proto),
                    accepted_in_epoch: m.accepted_in_epoch.map(Epoch),
                    last_writer_epoch: Epoch(m.last_writer_epoch),
                    last_committed: m.last_committed_tx_id.and_then(TxId::from_wire),
                })
            }
            "getEditLogManifest" | "getEditLogManifestFromJournal" => {
                let m: pb::GetEditLogManifestResponseProto = at.decode(body)?;
                Answer::Manifest(manifest_from_proto(m))
            }
            "getJournaledEdits" => {
                let m: pb::GetJournaledEditsResponseProto = at.decode(body)?;
                Answer::JournaledEdits {
                    count: m.txn_count,
                    edit_log: m.edit_log,
                    committed: m.committed_tx_id.and_then(TxId::from_wire),
                }
            }
            "getJournalCTime" => {
                let m: pb::GetJournalCTimeResponseProto = at.decode(body)?;
                Answer::CTime(m.result_c_time)
            }
            "canRollBack" => {
                let m: pb::CanRollBackResponseProto = at.decode(body)?;
                Answer::CanRollBack(m.can_roll_back)
            }
            "getStorageInfo" => {
                let m: StorageInfoProto = at.decode(body)?;
                Answer::StorageInfo(storage_info_from_proto(m))
            }
            "watchLease" => {
                let m: WatchLeaseResponseProto = at.decode(body)?;
                Answer::LeaseState(lease_state_from_proto(m.state))
            }
            "releaseLease" => {
                let m: ReleaseLeaseResponseProto = at.decode(body)?;
                Answer::Released(m.released)
            }
            "resumeSegment" => {
                let m: ResumeSegmentResponseProto = at.decode(body)?;
                Answer::Resumed {
                    next: TxId(m.next_tx_id),
                    lease_granted_ms: m.lease_granted_ms,
                }
            }
            _ => Answer::Done,
        })
    }
}

fn lease_state_to_proto(state: &LeaseState) -> LeaseStateProto {
    LeaseStateProto {
        promised_epoch: state.promised_epoch.0,
        writer_epoch: state.writer_epoch.0,
        holder: state.holder.as_deref().map(str::to_owned),
        remaining_ms: state.remaining_ms,
        change_counter: state.change_counter,
        highest_tx_id: state.highest.0,
        committed_tx_id: state.committed.map(|txid| txid.0),
        membership: state.membership.as_ref().map(Membership::to_proto),
    }
}

fn lease_state_from_proto(proto: LeaseStateProto) -> LeaseState {
    LeaseState {
        promised_epoch: Epoch(proto.promised_epoch),
        writer_epoch: Epoch(proto.writer_epoch),
        holder: proto.holder.map(Arc::from),
        remaining_ms: proto.remaining_ms,
        change_counter: proto.change_counter,
        highest: TxId(proto.highest_tx_id),
        committed: proto.committed_tx_id.and_then(TxId::from_wire),
        membership: proto.membership.map(Membership::from_proto),
    }
}

fn manifest_to_proto(manifest: &Manifest) -> pb::GetEditLogManifestResponseProto {
    let logs = manifest.segments.iter().map(|segment| RemoteEditLogProto {
        start_tx_id: segment.start.0,
        end_tx_id: TxId::to_wire(segment.end),
        is_in_progress: Some(segment.in_progress),
    });
    pb::GetEditLogManifestResponseProto {
        manifest: RemoteEditLogManifestProto {
            logs: logs.collect(),
            committed_txn_id: Some(TxId::to_wire(manifest.committed)),
        },
        http_port: u32::from(manifest.http_port),
        from_url: manifest.from_url.clone(),
    }
}

fn manifest_from_proto(proto: pb::GetEditLogManifestResponseProto) -> Manifest {
    let segments = proto.manifest.logs.iter().map(|log| ManifestSegment {
        start: TxId(log.start_tx_id),
        end: TxId::from_wire(log.end_tx_id),
        in_progress: log.is_in_progress(),
    });
    Manifest {
        segments: segments.collect(),
        committed: proto.manifest.committed_txn_id.and_then(TxId::from_wire),
        http_port: u16::try_from(proto.http_port).unwrap_or(0),
        from_url: proto.from_url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> RequestInfo {
        RequestInfo {
            epoch: Epoch(7),
            serial: 9,
            committed: Some(TxId(44)),
            lease: Some(LeaseRequest {
                ms: 1000,
                holder: "nn1@x".into(),
            }),
        }
    }

    fn storage() -> NamespaceInfo {
        NamespaceInfo {
            layout_version: LayoutVersion(-67),
            namespace_id: 4_000_000_000,
            cluster_id: "CID".to_owned(),
            ctime: 3,
            block_pool_id: String::new(),
        }
    }

    fn membership() -> Membership {
        Membership {
            epoch: Epoch(3),
            version: 1,
            members: ["a:1", "b:2"].map(str::to_owned).to_vec(),
        }
    }

    fn requests() -> Vec<Request> {
        let state = SegmentState {
            start: TxId(1),
            end: TxId(8),
            in_progress: true,
        };
        vec![
            Request::IsFormatted,
            Request::Format {
                ns_info: NamespaceInfo {
                    block_pool_id: "BP".to_owned(),
                    ..storage()
                },
                force: true,
            },
            Request::GetJournalState,
            Request::NewEpoch {
                ns_info: storage(),
                epoch: Epoch(3),
                lease: info().lease,
            },
            Request::StartLogSegment {
                info: info(),
                txid: TxId(4),
                layout_version: Some(LayoutVersion(-67)),
            },
            Request::Journal {
                info: info(),
                segment: TxId(1),
                first: TxId(2),
                count: 3,
                records: Bytes::from_static(b"abc"),
            },
            Request::Heartbeat { info: info() },
            Request::FinalizeLogSegment {
                info: info(),
                start: TxId(1),
                end: TxId(2),
            },
            Request::PurgeLogsOlderThan {
                info: info(),
                min_to_keep: TxId(2),
            },
            Request::PrepareRecovery {
                info: info(),
                segment: TxId(2),
            },
            Request::AcceptRecovery {
                info: info(),
                state,
                from_url: "http://x".to_owned(),
                chosen_epoch: Some(Epoch(6)),
            },
            Request::GetEditLogManifest {
                since: TxId(5),
                in_progress_ok: true,
                from_journal: false,
            },
            Request::GetEditLogManifest {
                since: TxId(5),
                in_progress_ok: false,
                from_journal: true,
            },
            Request::GetJournaledEdits {
                since: TxId(5),
                max_txns: 6,
                wait_ms: 7,
                committed_only: true,
            },
            Request::GetJournalCTime,
            Request::DoPreUpgrade,
            Request::DoUpgrade { storage: storage() },
            Request::DoFinalize,
            Request::CanRollBack {
                storage: storage(),
                previous: storage(),
                target_layout_version: LayoutVersion(-66),
            },
            Request::DoRollback,
            Request::DiscardSegments { start: TxId(3) },
            Request::GetStorageInfo,
            Request::WatchLease {
                known_counter: Some(3),
                wait_ms: 4,
            },
            Request::ReleaseLease {
                holder: "h".into(),
                up_to: Some(Epoch(4)),
            },
            Request::ResumeSegment {
                info: info(),
                segment: TxId(3),
            },
            Request::SetMembership {
                info: info(),
                membership: membership(),
            },
            Request::JoinJournal {
                info: info(),
                ns_info: storage(),
            },
        ]
    }

    #[test]
    fn requests_travel_unchanged() {
        let envelope = Envelope {
            journal_id: "ns".to_owned(),
            name_service_id: None,
        };
        for request in requests() {
            let body = envelope.encode(&request);
            let decoded = Envelope::decode(request.protocol(), request.method(), body).unwrap();
            assert_eq!(decoded, (envelope.clone(), request));
        }
        let unknown = Envelope::decode(QJOURNAL_PROTOCOL, "watchLease", Bytes::new());
        assert!(matches!(unknown, Err(WireError::NoSuchMethod { .. })));
        let damaged = Envelope::decode(QJOURNAL_PROTOCOL, "journal", Bytes::from_static(b"\x0a\xff"));
        assert!(matches!(damaged, Err(WireError::Decode { .. })));
    }

    #[test]
    fn answers_travel_unchanged() {
        let check = |method: &str, answer: Answer| {
            assert_eq!(
                Answer::decode(method, answer.encode(method)).unwrap(),
                answer,
                "{method}"
            );
        };
        check("doFinalize", Answer::Done);
        check("isFormatted", Answer::IsFormatted(true));
        check(
            "getJournalState",
            Answer::JournalState {
                promised_epoch: Epoch(4),
                http_port: 8480,
                from_url: Some("http://x:1".to_owned()),
                membership: Some(membership()),
            },
        );
        check(
            "newEpoch",
            Answer::NewEpoch {
                last_segment: Some(TxId(1)),
                lease_granted_ms: Some(0),
                membership: Some(membership()),
            },
        );
        for method in ["journal", "heartbeat", "startLogSegment", "setMembership"] {
            check(
                method,
                Answer::Lease {
                    lease_granted_ms: Some(5),
                },
            );
        }
        check(
            "prepareRecovery",
            Answer::PrepareRecovery(PrepareRecoveryAnswer {
                segment: None,
                accepted_in_epoch: Some(Epoch(1)),
                last_writer_epoch: Epoch(2),
                last_committed: Some(TxId(3)),
            }),
        );
        let manifest = Manifest {
            segments: vec![ManifestSegment {
                start: TxId(1),
                end: None,
                in_progress: true,
            }],
            // Travels as Hadoop's -12345.
            committed: None,
            http_port: 1,
            from_url: None,
        };
        check("getEditLogManifest", Answer::Manifest(manifest.clone()));
        check("getEditLogManifestFromJournal", Answer::Manifest(manifest));
        check(
            "getJournaledEdits",
            Answer::JournaledEdits {
                count: 1,
                edit_log: Some(Bytes::from_static(b"x")),
                committed: Some(TxId(3)),
            },
        );
        check("getJournalCTime", Answer::CTime(5));
        check("canRollBack", Answer::CanRollBack(true));
        check("getStorageInfo", Answer::StorageInfo(storage()));
        check(
            "watchLease",
            Answer::LeaseState(LeaseState {
                promised_epoch: Epoch(1),
                writer_epoch: Epoch(1),
                holder: Some("h".into()),
                remaining_ms: 3,
                change_counter: 4,
                highest: TxId(5),
                committed: Some(TxId(5)),
                membership: Some(membership()),
            }),
        );
        check("releaseLease", Answer::Released(true));
        check(
            "resumeSegment",
            Answer::Resumed {
                next: TxId(3),
                lease_granted_ms: None,
            },
        );
    }
}

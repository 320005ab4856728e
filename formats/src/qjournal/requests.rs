//! Requests and the journal that they are for. They are decoded by protocol and method.
//!
//! Invariants:
//! * What [`Envelope::encode`] makes, [`Envelope::decode`] turns into the same envelope and the same request, given
//!   [`Request::protocol`] and [`Request::method`]; only `doPreUpgrade`, `doUpgrade` and Hathi's `watchLease` and
//!   `releaseLease` have no place for the nameservice.
//! * A method is known only in its own protocol. In another one it is [`WireError::NoSuchMethod`].
//! * A request for a lease has a length and a holder. If one is missing, no lease is asked for.

use bytes::Bytes;

use super::limits;
use super::membership::Membership;
use super::messages::{
    Envelope, INTER_QJOURNAL_PROTOCOL, JOURNAL_EXTENSION_PROTOCOL, LeaseProof, LeaseRequest, QJOURNAL_PROTOCOL,
    Request, RequestInfo,
};
use super::{
    WireError, bytes, decode, namespace_info_from_proto, namespace_info_to_proto, segment_from_proto, segment_to_proto,
    storage_info_from_proto, storage_info_to_proto,
};
use crate::amplification::{FIELDS_MAX, is_bounded};
use crate::ids::{Epoch, LayoutVersion, TxId};
use crate::proto::ext::{
    JoinJournalRequestProto, ReleaseLeaseRequestProto, ResumeSegmentRequestProto, SetMembershipRequestProto,
    WatchLeaseRequestProto,
};
use crate::proto::qjournal as pb;

impl Envelope {
    fn jid(&self) -> pb::JournalIdProto {
        pb::JournalIdProto {
            identifier: self.journal_id.clone(),
        }
    }

    fn info(&self, info: &RequestInfo) -> pb::RequestInfoProto {
        let lease = info.lease.as_ref();
        let (lease_ms, lease_holder) = lease_to(lease);
        let (lease_proof_high, lease_proof_low) = proof_to(lease.map(|lease| lease.proof));
        pb::RequestInfoProto {
            journal_id: self.jid(),
            epoch: info.epoch.0,
            ipc_serial_number: info.serial,
            committed_tx_id: info.committed.map(|txid| txid.0),
            name_service_id: self.name_service_id.clone(),
            lease_ms,
            lease_holder,
            lease_proof_high,
            lease_proof_low,
        }
    }

    /// The body of a request. Its protocol and method are [`Request::protocol`] and [`Request::method`].
    #[must_use]
    pub fn encode(&self, request: &Request) -> Bytes {
        let jid = self.jid();
        let name_service_id = self.name_service_id.clone();
        match request {
            Request::IsFormatted => bytes(&pb::IsFormattedRequestProto { jid, name_service_id }),
            Request::Format { ns_info, force } => bytes(&pb::FormatRequestProto {
                jid,
                ns_info: namespace_info_to_proto(ns_info),
                name_service_id,
                force: Some(*force),
            }),
            Request::GetJournalState => bytes(&pb::GetJournalStateRequestProto { jid, name_service_id }),
            Request::NewEpoch {
                ns_info,
                epoch,
                lease,
                established,
            } => {
                let lease = lease.as_ref();
                let (lease_ms, lease_holder) = lease_to(lease);
                let (lease_proof_high, lease_proof_low) = proof_to(lease.map(|lease| lease.proof));
                bytes(&pb::NewEpochRequestProto {
                    jid,
                    ns_info: namespace_info_to_proto(ns_info),
                    epoch: epoch.0,
                    name_service_id,
                    lease_ms,
                    lease_holder,
                    lease_proof_high,
                    lease_proof_low,
                    established: established.then_some(true),
                })
            }
            Request::StartLogSegment {
                info,
                txid,
                layout_version,
            } => bytes(&pb::StartLogSegmentRequestProto {
                req_info: self.info(info),
                txid: txid.0,
                layout_version: layout_version.map(|version| version.0),
            }),
            Request::Journal {
                info,
                segment,
                first,
                count,
                records,
            } => bytes(&pb::JournalRequestProto {
                req_info: self.info(info),
                first_txn_id: first.0,
                num_txns: *count,
                records: records.clone(),
                segment_txn_id: segment.0,
                name_service_id,
            }),
            Request::Heartbeat { info } => bytes(&pb::HeartbeatRequestProto {
                req_info: self.info(info),
            }),
            Request::FinalizeLogSegment { info, start, end } => bytes(&pb::FinalizeLogSegmentRequestProto {
                req_info: self.info(info),
                start_tx_id: start.0,
                end_tx_id: end.0,
            }),
            Request::PurgeLogsOlderThan { info, min_to_keep } => bytes(&pb::PurgeLogsRequestProto {
                req_info: self.info(info),
                min_tx_id_to_keep: min_to_keep.0,
            }),
            Request::PrepareRecovery { info, segment } => bytes(&pb::PrepareRecoveryRequestProto {
                req_info: self.info(info),
                segment_tx_id: segment.0,
            }),
            Request::AcceptRecovery {
                info,
                state,
                from_url,
                chosen_epoch,
            } => bytes(&pb::AcceptRecoveryRequestProto {
                req_info: self.info(info),
                state_to_accept: segment_to_proto(state),
                from_url: from_url.clone(),
                chosen_epoch: chosen_epoch.map(|epoch| epoch.0),
            }),
            Request::GetEditLogManifest {
                since, in_progress_ok, ..
            } => bytes(&pb::GetEditLogManifestRequestProto {
                jid,
                since_tx_id: since.0,
                in_progress_ok: Some(*in_progress_ok),
                name_service_id,
            }),
            Request::GetJournaledEdits {
                since,
                max_txns,
                wait_ms,
                committed_only,
            } => bytes(&pb::GetJournaledEditsRequestProto {
                jid,
                since_tx_id: since.0,
                max_txns: *max_txns,
                name_service_id,
                wait_ms: (*wait_ms > 0).then_some(*wait_ms),
                committed_only: committed_only.then_some(true),
            }),
            Request::GetJournalCTime => bytes(&pb::GetJournalCTimeRequestProto { jid, name_service_id }),
            Request::DoPreUpgrade => bytes(&pb::DoPreUpgradeRequestProto { jid }),
            Request::DoUpgrade { storage } => bytes(&pb::DoUpgradeRequestProto {
                jid,
                s_info: storage_info_to_proto(storage),
            }),
            Request::DoFinalize => bytes(&pb::DoFinalizeRequestProto { jid, name_service_id }),
            Request::CanRollBack {
                storage,
                previous,
                target_layout_version,
            } => bytes(&pb::CanRollBackRequestProto {
                jid,
                storage: storage_info_to_proto(storage),
                prev_storage: storage_info_to_proto(previous),
                target_layout_version: target_layout_version.0,
                name_service_id,
            }),
            Request::DoRollback => bytes(&pb::DoRollbackRequestProto {
                jid,
                nameservice_id: name_service_id,
            }),
            Request::DiscardSegments { start } => bytes(&pb::DiscardSegmentsRequestProto {
                jid,
                start_tx_id: start.0,
                name_service_id,
            }),
            Request::GetStorageInfo => bytes(&pb::GetStorageInfoRequestProto { jid, name_service_id }),
            Request::WatchLease { known_counter, wait_ms } => bytes(&WatchLeaseRequestProto {
                jid,
                known_counter: *known_counter,
                wait_ms: Some(*wait_ms),
            }),
            Request::ReleaseLease { holder, proof, up_to } => {
                let (proof_high, proof_low) = proof_to(Some(*proof));
                bytes(&ReleaseLeaseRequestProto {
                    jid,
                    holder: holder.to_string(),
                    epoch: up_to.map(|epoch| epoch.0),
                    proof_high,
                    proof_low,
                })
            }
            Request::ResumeSegment { info, segment } => bytes(&ResumeSegmentRequestProto {
                req_info: self.info(info),
                segment_tx_id: segment.0,
            }),
            Request::SetMembership { info, membership } => bytes(&SetMembershipRequestProto {
                req_info: self.info(info),
                membership: membership.to_proto(),
            }),
            Request::JoinJournal { info, ns_info } => bytes(&JoinJournalRequestProto {
                req_info: self.info(info),
                ns_info: namespace_info_to_proto(ns_info),
            }),
        }
    }

    /// Decodes the request of this protocol and method.
    pub fn decode(protocol: &str, method: &str, body: Bytes) -> Result<(Envelope, Request), WireError> {
        // The edits in `journal` may look like anything, and no other field of it is repeated.
        if method != "journal" && !is_bounded(&body, None) {
            return Err(WireError::BeyondLimit {
                method: method.to_owned(),
                what: format!("more than {FIELDS_MAX} fields"),
            });
        }
        let (envelope, request) = Self::decode_unchecked(protocol, method, body)?;
        limits::check(&envelope, &request).map_err(|what| WireError::BeyondLimit {
            method: method.to_owned(),
            what,
        })?;
        Ok((envelope, request))
    }

    fn decode_unchecked(protocol: &str, method: &str, body: Bytes) -> Result<(Envelope, Request), WireError> {
        let (envelope, info);
        let request = match (protocol, method) {
            (QJOURNAL_PROTOCOL, "isFormatted") => {
                let m: pb::IsFormattedRequestProto = decode(method, body)?;
                envelope = addressed(m.jid, m.name_service_id);
                Request::IsFormatted
            }
            (QJOURNAL_PROTOCOL, "format") => {
                let m: pb::FormatRequestProto = decode(method, body)?;
                let force = m.force();
                envelope = addressed(m.jid, m.name_service_id);
                Request::Format {
                    ns_info: namespace_info_from_proto(m.ns_info),
                    force,
                }
            }
            (QJOURNAL_PROTOCOL, "getJournalState") => {
                let m: pb::GetJournalStateRequestProto = decode(method, body)?;
                envelope = addressed(m.jid, m.name_service_id);
                Request::GetJournalState
            }
            (QJOURNAL_PROTOCOL, "newEpoch") => {
                let m: pb::NewEpochRequestProto = decode(method, body)?;
                let established = m.established();
                envelope = addressed(m.jid, m.name_service_id);
                let proof = proof_from(m.lease_proof_high, m.lease_proof_low);
                Request::NewEpoch {
                    ns_info: namespace_info_from_proto(m.ns_info),
                    epoch: Epoch(m.epoch),
                    lease: lease_from(m.lease_ms, m.lease_holder, proof),
                    established,
                }
            }
            (QJOURNAL_PROTOCOL, "startLogSegment") => {
                let m: pb::StartLogSegmentRequestProto = decode(method, body)?;
                (envelope, info) = info_from(m.req_info);
                Request::StartLogSegment {
                    info,
                    txid: TxId(m.txid),
                    layout_version: m.layout_version.map(LayoutVersion),
                }
            }
            (QJOURNAL_PROTOCOL, "journal") => {
                let m: pb::JournalRequestProto = decode(method, body)?;
                (envelope, info) = info_from(m.req_info);
                Request::Journal {
                    info,
                    segment: TxId(m.segment_txn_id),
                    first: TxId(m.first_txn_id),
                    count: m.num_txns,
                    records: m.records,
                }
            }
            (QJOURNAL_PROTOCOL, "heartbeat") => {
                let m: pb::HeartbeatRequestProto = decode(method, body)?;
                (envelope, info) = info_from(m.req_info);
                Request::Heartbeat { info }
            }
            (QJOURNAL_PROTOCOL, "finalizeLogSegment") => {
                let m: pb::FinalizeLogSegmentRequestProto = decode(method, body)?;
                (envelope, info) = info_from(m.req_info);
                Request::FinalizeLogSegment {
                    info,
                    start: TxId(m.start_tx_id),
                    end: TxId(m.end_tx_id),
                }
            }
            (QJOURNAL_PROTOCOL, "purgeLogs") => {
                let m: pb::PurgeLogsRequestProto = decode(method, body)?;
                (envelope, info) = info_from(m.req_info);
                let min_to_keep = TxId(m.min_tx_id_to_keep);
                Request::PurgeLogsOlderThan { info, min_to_keep }
            }
            (QJOURNAL_PROTOCOL, "prepareRecovery") => {
                let m: pb::PrepareRecoveryRequestProto = decode(method, body)?;
                (envelope, info) = info_from(m.req_info);
                let segment = TxId(m.segment_tx_id);
                Request::PrepareRecovery { info, segment }
            }
            (QJOURNAL_PROTOCOL, "acceptRecovery") => {
                let m: pb::AcceptRecoveryRequestProto = decode(method, body)?;
                (envelope, info) = info_from(m.req_info);
                Request::AcceptRecovery {
                    info,
                    state: segment_from_proto(m.state_to_accept),
                    from_url: m.from_url,
                    chosen_epoch: m.chosen_epoch.map(Epoch),
                }
            }
            (QJOURNAL_PROTOCOL, "getEditLogManifest") | (INTER_QJOURNAL_PROTOCOL, "getEditLogManifestFromJournal") => {
                let m: pb::GetEditLogManifestRequestProto = decode(method, body)?;
                let in_progress_ok = m.in_progress_ok();
                envelope = addressed(m.jid, m.name_service_id);
                Request::GetEditLogManifest {
                    since: TxId(m.since_tx_id),
                    in_progress_ok,
                    from_journal: protocol == INTER_QJOURNAL_PROTOCOL,
                }
            }
            (QJOURNAL_PROTOCOL, "getJournaledEdits") => {
                let m: pb::GetJournaledEditsRequestProto = decode(method, body)?;
                let (wait_ms, committed_only) = (m.wait_ms(), m.committed_only());
                envelope = addressed(m.jid, m.name_service_id);
                Request::GetJournaledEdits {
                    since: TxId(m.since_tx_id),
                    max_txns: m.max_txns,
                    wait_ms,
                    committed_only,
                }
            }
            (QJOURNAL_PROTOCOL, "getJournalCTime") => {
                let m: pb::GetJournalCTimeRequestProto = decode(method, body)?;
                envelope = addressed(m.jid, m.name_service_id);
                Request::GetJournalCTime
            }
            (QJOURNAL_PROTOCOL, "doPreUpgrade") => {
                let m: pb::DoPreUpgradeRequestProto = decode(method, body)?;
                envelope = addressed(m.jid, None);
                Request::DoPreUpgrade
            }
            (QJOURNAL_PROTOCOL, "doUpgrade") => {
                let m: pb::DoUpgradeRequestProto = decode(method, body)?;
                let storage = storage_info_from_proto(m.s_info);
                envelope = addressed(m.jid, None);
                Request::DoUpgrade { storage }
            }
            (QJOURNAL_PROTOCOL, "doFinalize") => {
                let m: pb::DoFinalizeRequestProto = decode(method, body)?;
                envelope = addressed(m.jid, m.name_service_id);
                Request::DoFinalize
            }
            (QJOURNAL_PROTOCOL, "canRollBack") => {
                let m: pb::CanRollBackRequestProto = decode(method, body)?;
                envelope = addressed(m.jid, m.name_service_id);
                Request::CanRollBack {
                    storage: storage_info_from_proto(m.storage),
                    previous: storage_info_from_proto(m.prev_storage),
                    target_layout_version: LayoutVersion(m.target_layout_version),
                }
            }
            (QJOURNAL_PROTOCOL, "doRollback") => {
                let m: pb::DoRollbackRequestProto = decode(method, body)?;
                envelope = addressed(m.jid, m.nameservice_id);
                Request::DoRollback
            }
            (QJOURNAL_PROTOCOL, "discardSegments") => {
                let m: pb::DiscardSegmentsRequestProto = decode(method, body)?;
                let start = TxId(m.start_tx_id);
                envelope = addressed(m.jid, m.name_service_id);
                Request::DiscardSegments { start }
            }
            (INTER_QJOURNAL_PROTOCOL, "getStorageInfo") => {
                let m: pb::GetStorageInfoRequestProto = decode(method, body)?;
                envelope = addressed(m.jid, m.name_service_id);
                Request::GetStorageInfo
            }
            (JOURNAL_EXTENSION_PROTOCOL, "watchLease") => {
                let m: WatchLeaseRequestProto = decode(method, body)?;
                let wait_ms = m.wait_ms();
                envelope = addressed(m.jid, None);
                Request::WatchLease {
                    known_counter: m.known_counter,
                    wait_ms,
                }
            }
            (JOURNAL_EXTENSION_PROTOCOL, "releaseLease") => {
                let m: ReleaseLeaseRequestProto = decode(method, body)?;
                envelope = addressed(m.jid, None);
                Request::ReleaseLease {
                    holder: m.holder.into(),
                    proof: proof_from(m.proof_high, m.proof_low),
                    up_to: m.epoch.map(Epoch),
                }
            }
            (JOURNAL_EXTENSION_PROTOCOL, "resumeSegment") => {
                let m: ResumeSegmentRequestProto = decode(method, body)?;
                (envelope, info) = info_from(m.req_info);
                let segment = TxId(m.segment_tx_id);
                Request::ResumeSegment { info, segment }
            }
            (JOURNAL_EXTENSION_PROTOCOL, "setMembership") => {
                let m: SetMembershipRequestProto = decode(method, body)?;
                (envelope, info) = info_from(m.req_info);
                let membership = Membership::from_proto(m.membership);
                Request::SetMembership { info, membership }
            }
            (JOURNAL_EXTENSION_PROTOCOL, "joinJournal") => {
                let m: JoinJournalRequestProto = decode(method, body)?;
                (envelope, info) = info_from(m.req_info);
                let ns_info = namespace_info_from_proto(m.ns_info);
                Request::JoinJournal { info, ns_info }
            }
            _ => {
                return Err(WireError::NoSuchMethod {
                    protocol: protocol.to_owned(),
                    method: method.to_owned(),
                });
            }
        };
        Ok((envelope, request))
    }
}

fn addressed(jid: pb::JournalIdProto, name_service_id: Option<String>) -> Envelope {
    Envelope {
        journal_id: jid.identifier,
        name_service_id,
    }
}

fn info_from(info: pb::RequestInfoProto) -> (Envelope, RequestInfo) {
    let proof = proof_from(info.lease_proof_high, info.lease_proof_low);
    let request_info = RequestInfo {
        epoch: Epoch(info.epoch),
        serial: info.ipc_serial_number,
        committed: info.committed_tx_id.and_then(TxId::from_wire),
        lease: lease_from(info.lease_ms, info.lease_holder, proof),
    };
    (addressed(info.journal_id, info.name_service_id), request_info)
}

fn lease_to(lease: Option<&LeaseRequest>) -> (Option<u32>, Option<String>) {
    lease.map(|lease| (lease.ms, lease.holder.to_string())).unzip()
}

fn lease_from(ms: Option<u32>, holder: Option<String>, proof: LeaseProof) -> Option<LeaseRequest> {
    let (ms, holder) = ms.zip(holder)?;
    Some(LeaseRequest {
        ms,
        holder: holder.into(),
        proof,
    })
}

/// The proof as two numbers. As bytes it would need an allocation per call.
fn proof_to(proof: Option<LeaseProof>) -> (Option<u64>, Option<u64>) {
    let proof = proof.filter(|proof| proof.is_some());
    proof.map(|proof| ((proof.0 >> 64) as u64, proof.0 as u64)).unzip()
}

fn proof_from(high: Option<u64>, low: Option<u64>) -> LeaseProof {
    let (high, low) = (high.unwrap_or(0), low.unwrap_or(0));
    LeaseProof(u128::from(high) << 64 | u128::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NamespaceInfo;
    use crate::qjournal::messages::SegmentState;
    use crate::qjournal::samples::{membership, storage};

    fn info() -> RequestInfo {
        RequestInfo {
            epoch: Epoch(7),
            serial: 9,
            committed: Some(TxId(44)),
            lease: Some(LeaseRequest {
                ms: 1000,
                holder: "nn1@x".into(),
                proof: LeaseProof(7 << 64 | 9),
            }),
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
                established: true,
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
                proof: LeaseProof(5),
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
        for request in requests() {
            let named = !matches!(
                request,
                Request::DoPreUpgrade
                    | Request::DoUpgrade { .. }
                    | Request::WatchLease { .. }
                    | Request::ReleaseLease { .. }
            );
            let envelope = Envelope {
                journal_id: "j".to_owned(),
                name_service_id: named.then(|| "ns".to_owned()),
            };
            let body = envelope.encode(&request);
            let decoded = Envelope::decode(request.protocol(), request.method(), body).unwrap();
            assert_eq!(decoded, (envelope, request));
        }
        let unknown = Envelope::decode(QJOURNAL_PROTOCOL, "watchLease", Bytes::new());
        assert!(matches!(unknown, Err(WireError::NoSuchMethod { .. })));
        let damaged = Envelope::decode(QJOURNAL_PROTOCOL, "journal", Bytes::from_static(b"\x0a\xff"));
        assert!(matches!(damaged, Err(WireError::Decode { .. })));
    }
}

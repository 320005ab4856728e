//! Bodies of answers. They are decoded by the method that was called.
//!
//! Invariants:
//! * What [`Answer::encode`] makes for the method it answers, [`Answer::decode`] turns into the same answer.
//! * No two methods of all protocols have the same name, so the method alone tells the kind of answer.
//! * An answer without content is [`Answer::Done`], whatever its body holds.
//! * "No transaction" travels as an absent field, in manifests as Hadoop's -12345; both are `None` here.

use std::sync::Arc;

use bytes::Bytes;

use super::membership::Membership;
use super::messages::{Answer, LeaseState, Manifest, ManifestSegment, PrepareRecoveryAnswer};
use super::{
    WireError, bytes, decode, segment_from_proto, segment_to_proto, storage_info_from_proto, storage_info_to_proto,
};
use crate::ids::{Epoch, TxId};
use crate::proto::ext::{
    LeaseStateProto, ReleaseLeaseResponseProto, ResumeSegmentResponseProto, WatchLeaseResponseProto,
};
use crate::proto::hdfs::{RemoteEditLogManifestProto, RemoteEditLogProto};
use crate::proto::qjournal as pb;

impl Answer {
    /// The body of the answer to this method.
    #[must_use]
    pub fn encode(&self, method: &str) -> Bytes {
        let body = match self {
            // Hadoop's empty answers have no fields: all are the empty message.
            Answer::Done => Bytes::new(),
            Answer::IsFormatted(is_formatted) => bytes(&pb::IsFormattedResponseProto {
                is_formatted: *is_formatted,
            }),
            Answer::JournalState {
                promised_epoch,
                http_port,
                from_url,
                membership,
            } => bytes(&pb::GetJournalStateResponseProto {
                last_promised_epoch: promised_epoch.0,
                http_port: u32::from(*http_port),
                from_url: from_url.clone(),
                membership: membership.as_ref().map(Membership::to_proto),
            }),
            Answer::NewEpoch {
                last_segment,
                lease_granted_ms,
                membership,
            } => bytes(&pb::NewEpochResponseProto {
                last_segment_tx_id: last_segment.map(|txid| txid.0),
                lease_granted_ms: *lease_granted_ms,
                membership: membership.as_ref().map(Membership::to_proto),
            }),
            // All answers that carry a lease have it in the same field.
            Answer::Lease { lease_granted_ms } => bytes(&pb::JournalResponseProto {
                lease_granted_ms: *lease_granted_ms,
            }),
            Answer::PrepareRecovery(answer) => bytes(&pb::PrepareRecoveryResponseProto {
                segment_state: answer.segment.as_ref().map(segment_to_proto),
                accepted_in_epoch: answer.accepted_in_epoch.map(|epoch| epoch.0),
                last_writer_epoch: answer.last_writer_epoch.0,
                last_committed_tx_id: answer.last_committed.map(|txid| txid.0),
            }),
            Answer::Manifest(manifest) => bytes(&manifest_to_proto(manifest)),
            Answer::JournaledEdits {
                count,
                edit_log,
                committed,
            } => bytes(&pb::GetJournaledEditsResponseProto {
                txn_count: *count,
                edit_log: edit_log.clone(),
                committed_tx_id: committed.map(|txid| txid.0),
            }),
            Answer::CTime(ctime) => bytes(&pb::GetJournalCTimeResponseProto { result_c_time: *ctime }),
            Answer::CanRollBack(can_roll_back) => bytes(&pb::CanRollBackResponseProto {
                can_roll_back: *can_roll_back,
            }),
            Answer::StorageInfo(info) => bytes(&storage_info_to_proto(info)),
            Answer::LeaseState(state) => bytes(&WatchLeaseResponseProto {
                state: lease_state_to_proto(state),
            }),
            Answer::Released(released) => bytes(&ReleaseLeaseResponseProto { released: *released }),
            Answer::Resumed { next, lease_granted_ms } => bytes(&ResumeSegmentResponseProto {
                next_tx_id: next.0,
                lease_granted_ms: *lease_granted_ms,
            }),
        };
        debug_assert!(Answer::decode(method, body.clone()).is_ok());
        body
    }

    /// Decodes the answer to this method.
    pub fn decode(method: &str, body: Bytes) -> Result<Answer, WireError> {
        Ok(match method {
            "isFormatted" => Answer::IsFormatted(decode::<pb::IsFormattedResponseProto>(method, body)?.is_formatted),
            "getJournalState" => {
                let m: pb::GetJournalStateResponseProto = decode(method, body)?;
                Answer::JournalState {
                    promised_epoch: Epoch(m.last_promised_epoch),
                    http_port: u16::try_from(m.http_port).unwrap_or(0),
                    from_url: m.from_url,
                    membership: m.membership.map(Membership::from_proto),
                }
            }
            "newEpoch" => {
                let m: pb::NewEpochResponseProto = decode(method, body)?;
                Answer::NewEpoch {
                    last_segment: m.last_segment_tx_id.and_then(TxId::from_wire),
                    lease_granted_ms: m.lease_granted_ms,
                    membership: m.membership.map(Membership::from_proto),
                }
            }
            "journal" | "heartbeat" | "startLogSegment" | "setMembership" => {
                let pb::JournalResponseProto { lease_granted_ms } = decode(method, body)?;
                Answer::Lease { lease_granted_ms }
            }
            "prepareRecovery" => {
                let m: pb::PrepareRecoveryResponseProto = decode(method, body)?;
                Answer::PrepareRecovery(PrepareRecoveryAnswer {
                    segment: m.segment_state.map(segment_from_proto),
                    accepted_in_epoch: m.accepted_in_epoch.map(Epoch),
                    last_writer_epoch: Epoch(m.last_writer_epoch),
                    last_committed: m.last_committed_tx_id.and_then(TxId::from_wire),
                })
            }
            "getEditLogManifest" | "getEditLogManifestFromJournal" => {
                Answer::Manifest(manifest_from_proto(decode(method, body)?))
            }
            "getJournaledEdits" => {
                let m: pb::GetJournaledEditsResponseProto = decode(method, body)?;
                Answer::JournaledEdits {
                    count: m.txn_count,
                    edit_log: m.edit_log,
                    committed: m.committed_tx_id.and_then(TxId::from_wire),
                }
            }
            "getJournalCTime" => Answer::CTime(decode::<pb::GetJournalCTimeResponseProto>(method, body)?.result_c_time),
            "canRollBack" => Answer::CanRollBack(decode::<pb::CanRollBackResponseProto>(method, body)?.can_roll_back),
            "getStorageInfo" => Answer::StorageInfo(storage_info_from_proto(decode(method, body)?)),
            "watchLease" => {
                let m: WatchLeaseResponseProto = decode(method, body)?;
                Answer::LeaseState(lease_state_from_proto(m.state))
            }
            "releaseLease" => Answer::Released(decode::<ReleaseLeaseResponseProto>(method, body)?.released),
            "resumeSegment" => {
                let m: ResumeSegmentResponseProto = decode(method, body)?;
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
        written_without_lease: state.written_without_lease.then_some(true),
    }
}

/// Reads a protobuf message.
#[must_use]
pub fn lease_state_from_proto(proto: LeaseStateProto) -> LeaseState {
    LeaseState {
        promised_epoch: Epoch(proto.promised_epoch),
        writer_epoch: Epoch(proto.writer_epoch),
        holder: proto.holder.map(Arc::from),
        remaining_ms: proto.remaining_ms,
        change_counter: proto.change_counter,
        highest: TxId(proto.highest_tx_id),
        committed: proto.committed_tx_id.and_then(TxId::from_wire),
        written_without_lease: proto.written_without_lease == Some(true),
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
    use crate::qjournal::samples::{membership, storage};

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
                written_without_lease: true,
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

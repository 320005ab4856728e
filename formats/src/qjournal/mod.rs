//! The messages of `QJournalProtocol`, `InterQJournalProtocol` and Hathi's own additions, and their way to protobuf and
//! back.
//!
//! * `messages`: the requests and answers as typed values; `membership`: the JournalNodes in them.
//! * `requests`: with the [`Envelope`] that tells which journal a request is for.
//! * `answers`: by the method that was called.
//! * `limits`: how long what comes from outside may be.
//!
//! This module knows field names and how Hadoop writes absent values. It decides nothing: the receiver knows what a
//! value means and whether it is possible.
//!
//! Invariants: bytes from outside cause no panic; they are a value or a [`WireError`]. What was encoded here decodes to
//! the same value.

use bytes::Bytes;
use prost::Message;

use crate::ids::{LayoutVersion, NamespaceInfo, SOFTWARE_VERSION, TxId};
use crate::proto::hdfs::{NamespaceInfoProto, StorageInfoProto};
use crate::proto::qjournal as pb;

mod answers;
mod limits;
mod membership;
mod messages;
mod requests;

pub use answers::lease_state_from_proto;
pub use membership::{MEMBERS_MAX, Membership};
pub use messages::*;

/// Why bytes are no request or answer.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The bytes are no message of the method's type.
    #[error("undecodable {method}: {source}")]
    Decode {
        /// Name of the method.
        method: String,
        /// Error of the decoder.
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
    /// A value is longer or larger than its limit.
    #[error("{method}: {what}")]
    BeyondLimit {
        /// Name of the method.
        method: String,
        /// Name of the value.
        what: String,
    },
}

fn bytes(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn decode<M: Message + Default>(method: &str, body: Bytes) -> Result<M, WireError> {
    M::decode(body).map_err(|source| WireError::Decode {
        method: method.to_owned(),
        source,
    })
}

fn namespace_info_to_proto(info: &NamespaceInfo) -> NamespaceInfoProto {
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

fn namespace_info_from_proto(proto: NamespaceInfoProto) -> NamespaceInfo {
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

/// Values for the tests of both directions.
#[cfg(test)]
mod samples {
    use super::*;
    use crate::ids::Epoch;

    pub(super) fn storage() -> NamespaceInfo {
        NamespaceInfo {
            layout_version: LayoutVersion(-67),
            namespace_id: 4_000_000_000,
            cluster_id: "CID".to_owned(),
            ctime: 3,
            block_pool_id: String::new(),
        }
    }

    pub(super) fn membership() -> Membership {
        Membership {
            epoch: Epoch(3),
            version: 1,
            members: ["a:1", "b:2"].map(str::to_owned).to_vec(),
        }
    }
}

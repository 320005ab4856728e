//! [`Request`](crate::Request) and [`Answer`](crate::messages::Answer) to protobuf and back.
//!
//! * `requests`: with the [`Envelope`] that tells which journal a request is for.
//! * `answers`: by the method that was called.
//!
//! Knows field names and Hadoop's conventions for absent values, and no rule: what a value means, and whether it can
//! be, is for those who get it.
//!
//! Invariants: bytes from outside never panic, they are a value or a [`WireError`]; and what was encoded here decodes to
//! the same value.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use bytes::Bytes;
use hathi_formats::ids::{LayoutVersion, NamespaceInfo, TxId};
use hathi_formats::proto::hdfs::{NamespaceInfoProto, StorageInfoProto};
use hathi_formats::proto::qjournal as pb;
use prost::Message;

use crate::messages::SegmentState;

mod answers;
mod requests;

pub use requests::Envelope;

/// The Hadoop version that NamespaceInfo names, where peers only compare it for equality or show it.
const SOFTWARE_VERSION: &str = "3.5.0";

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
    use hathi_formats::ids::Epoch;

    use super::*;
    use crate::membership::Membership;

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

//! Data transfer between clients and DataNodes, and among DataNodes: connections, requests, packets, acknowledgements
//! (Hadoop: `datatransfer.Sender`, `DataStreamer`, `BlockReaderRemote`, `DataTransfer`). The bytes of each message are in
//! [`hathi_formats::datatransfer`].
//!
//! * [`requests`], [`responses`], [`acks`] and [`packets`] build and read messages. They do no I/O, so the client's tasks
//!   and the DataNode's threads use the same ones.
//! * [`stream`] opens connections.
//! * [`Pipeline`] writes a block and [`BlockReader`] reads one, both on tokio. [`ReplicaStream`] reads one on a thread.
//! * [`PipelineNodes`]: the DataNodes of a pipeline.
//!
//! Knows nothing of files, of replicas on disk, and of what to do when a DataNode fails.

pub mod acks;
mod block_reader;
pub mod packets;
mod pipeline;
mod pipeline_nodes;
mod replica_stream;
pub mod requests;
pub mod responses;
pub mod stream;

pub use block_reader::BlockReader;
pub use pipeline::{Pipeline, PipelineError, PipelineSetup, transfer};
pub use pipeline_nodes::PipelineNodes;
pub use replica_stream::ReplicaStream;

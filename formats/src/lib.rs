//! Bytes to values and back: the whole compatibility surface of HDFS. There is no state here, and no I/O but on readers
//! and writers that the caller gives.
//!
//! Numbers from outside may have any value, and a panic ends a daemon. So no arithmetic here can overflow unseen, and
//! nothing is indexed. Where a number can't be out of range, the operation still defines a result.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod amplification;
pub mod block_list;
pub mod caching;
pub mod client_protocol;
pub mod credentials;
pub mod datatransfer;
pub mod editlog;
pub mod erasure_coding;
pub mod exceptions;
pub mod fsimage;
pub mod ha;
pub mod host_port;
pub mod ids;
pub mod kms;
pub mod limits;
pub mod proto;
pub mod protocols;
pub mod qjournal;
pub mod rpc;
pub mod snapshots;
pub mod striping;
pub mod webhdfs;
pub mod wire;
pub mod xml_tree;

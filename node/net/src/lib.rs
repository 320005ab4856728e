//! Sockets for Hadoop's protocols: RPC server and client ([`ipc`]) and HTTP ([`http`]). Knows nothing of HDFS.

pub mod histogram;
pub mod http;
pub mod ipc;

//! The messages of Hadoop's protocols, one module for each of Hadoop's protobuf packages.
//!
//! The field numbers are those of Apache Hadoop 3.5. Names of packages and messages are not on the wire.

#![allow(
    clippy::all,
    clippy::allow_attributes,
    reason = "generated from the message descriptions under proto/"
)]

/// Hadoop's `hadoop.common`: RPC headers, security, HA service and administration protocols.
pub mod common {
    include!(concat!(env!("OUT_DIR"), "/hathi.common.rs"));
}
/// Hadoop's `hadoop.hdfs`: the client, data transfer and shared HDFS messages.
pub mod hdfs {
    include!(concat!(env!("OUT_DIR"), "/hathi.hdfs.rs"));
}
impl hdfs::DatanodeIdProto {
    /// `ip:port` of its data transfer port (`DatanodeID.getXferAddr`). An IPv6 address is in brackets, because clients
    /// could not call it otherwise.
    #[must_use]
    pub fn xfer_address(&self) -> String {
        crate::host_port::host_and_port(&self.ip_addr, self.xfer_port)
    }
}
/// Hadoop's `hadoop.hdfs.datanode`: what DataNodes and NameNodes tell each other.
pub mod datanode {
    include!(concat!(env!("OUT_DIR"), "/hathi.datanode.rs"));
}
/// Hadoop's `hadoop.hdfs.datanodelifeline`.
pub mod datanodelifeline {
    include!(concat!(env!("OUT_DIR"), "/hathi.datanodelifeline.rs"));
}
/// Hadoop's `hadoop.hdfs.namenode`: what NameNodes tell each other.
pub mod namenode {
    include!(concat!(env!("OUT_DIR"), "/hathi.namenode.rs"));
}
/// Hadoop's `hadoop.hdfs.qjournal`: the quorum journal.
pub mod qjournal {
    include!(concat!(env!("OUT_DIR"), "/hathi.qjournal.rs"));
}
/// Hadoop's `hadoop.hdfs.fsimage`: the sections of an fsimage.
pub mod fsimage {
    include!(concat!(env!("OUT_DIR"), "/hathi.fsimage.rs"));
}
/// Hadoop's `hadoop.fs`.
pub mod fs {
    include!(concat!(env!("OUT_DIR"), "/hathi.fs.rs"));
}
/// Hathi's own additions between its daemons.
pub mod ext {
    include!(concat!(env!("OUT_DIR"), "/hathi.ext.rs"));
}

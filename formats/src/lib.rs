//! Bytes to values and back: the whole compatibility surface of HDFS. No I/O beyond readers and writers that are
//! handed in, no state.

pub mod amplification;
pub mod conf;
pub mod datatransfer;
pub mod editlog;
pub mod exceptions;
pub mod fsimage;
pub mod ids;
pub mod limits;
pub mod proto;

//! Bytes to values and back: the whole compatibility surface of HDFS. No I/O beyond readers and writers that are
//! handed in, no state.
//!
//! What comes from outside may say any number, and a daemon ends with its first panic: so no arithmetic here can overflow
//! unseen, and nothing is indexed. Where a number can't be out of range the operation still says what it would come to.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod amplification;
pub mod conf;
pub mod datatransfer;
pub mod editlog;
pub mod exceptions;
pub mod fsimage;
pub mod ids;
pub mod limits;
pub mod proto;

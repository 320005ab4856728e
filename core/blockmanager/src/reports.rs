//! Block reports.

use crate::types::DatanodeIndex;
use bytes::Bytes;

/// A full block report of one storage, worked through in slices.
#[derive(Debug)]
pub struct BlockReport {
    pub(crate) datanode: DatanodeIndex,
    pub(crate) buffers: Vec<Bytes>,
}

/// Where a report stands after a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportProgress {
    /// Call again.
    More,
    /// All of it is in the map.
    Done,
}

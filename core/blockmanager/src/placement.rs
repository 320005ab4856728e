//! Which DataNodes a new replica goes to (`BlockPlacementPolicyDefault`).

use crate::types::{DatanodeIndex, StorageIndex};
use hathi_formats::proto::hdfs::StorageTypeProto;

/// Any storage type.
pub const STORAGE_TYPES_ANY: &[StorageTypeProto] = &[];

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct PlacementRequest<'a> {
    /// How many more storages.
    pub count: usize,
    /// IP address or host name of the writer; a DataNode on that host comes first.
    pub writer: Option<&'a str>,
    /// Storages that have (or will have) the block already.
    pub chosen: &'a [StorageIndex],
    /// Nodes not to take.
    pub excluded: &'a [DatanodeIndex],
    /// `ip:port` or `host:port` to prefer.
    pub favored: &'a [String],
    /// Bytes a block may grow to.
    pub block_size: u64,
    /// One type per replica as the storage policy asks; the last one repeats. Empty: any type.
    pub storage_types: &'a [StorageTypeProto],
    /// Types to fall back on.
    pub fallback_types: &'a [StorageTypeProto],
    /// `NO_LOCAL_WRITE`: not on the writer's own node.
    pub avoid_local_node: bool,
    /// `NO_LOCAL_RACK`.
    pub avoid_local_rack: bool,
    /// `IGNORE_CLIENT_LOCALITY`: the writer's place does not matter.
    pub ignore_client_locality: bool,
}

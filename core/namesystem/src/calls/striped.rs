//! Block groups of striped files, in the calls of clients and DataNodes (`BlockInfoStriped`, `LocatedStripedBlock`).

use super::policies::{self, Policy};
use crate::Namesystem;
use crate::coded_blocks::policy_name;
use bytes::Bytes;
use hathi_blockmanager::{BlockManagerError, StorageIndex};
use hathi_formats::ids::{Block, BlockId};
use hathi_formats::proto::hdfs::{DatanodeIdProto, LocatedBlockProto};
use hathi_formats::striping::Striping;

/// The policies that put all internal blocks on storages of one type
/// (`ErasureCodingPolicyManager.checkStoragePolicySuitableForECStripedMode`): COLD, HOT and ALL_SSD.
const SUITABLE: [u8; 3] = [2, 7, 12];

/// The storage policy for the internal blocks of a file for which this one is in force.
pub(super) fn storage_policy(id: u8) -> Option<&'static Policy> {
    let suitable = SUITABLE.contains(&id);
    policies::by_id(if suitable { id } else { 0 })
}

/// Refuses a group for which too few DataNodes were found (`BlockManager.chooseTarget4NewBlock`).
pub(super) fn check_found(
    ns: &Namesystem,
    striping: Striping,
    found: Result<Vec<StorageIndex>, BlockManagerError>,
    excluded: usize,
) -> Result<Vec<StorageIndex>, String> {
    let needed = usize::from(striping.data_units);
    let found = match found {
        Ok(targets) if targets.len() >= needed => return Ok(targets),
        Ok(targets) => targets.len(),
        Err(BlockManagerError::NotEnoughTargets { found, .. }) => found,
        Err(other) => return Err(other.to_string()),
    };
    Err(format!(
        "could only be written to {found} of the {needed} required nodes for {}. There are {} datanode(s) running and \
         {excluded} node(s) are excluded in this operation.",
        policy_name(ns.namespace(), striping),
        ns.blockmanager().counts().live_datanodes
    ))
}

/// A block that is being written, or a block group, with these storages. Of a group they are those of its first blocks.
pub(super) fn located_new(ns: &Namesystem, block: Block, offset: u64, on: &[StorageIndex]) -> LocatedBlockProto {
    let (manager, pool) = (ns.blockmanager(), &ns.info.block_pool_id);
    if !block.id.is_striped() {
        return manager.located_block_on(pool, block, offset, on);
    }
    let on: Vec<(u8, StorageIndex)> = (0u8..).zip(on.iter().copied()).collect();
    manager.located_group_on(pool, block, offset, &on)
}

/// The indices of all internal blocks of a group, by which a client tells a group from a block.
pub(super) fn indices(ns: &Namesystem, id: BlockId) -> Option<Bytes> {
    let (_, file) = id.is_striped().then(|| ns.namespace().block(id))??;
    let striping = ns.namespace().striping_of_file(file)?;
    Some((0..striping.units()).collect())
}

/// The storages on which a block that is being written is expected: for each internal block of a group its index as well.
pub(super) fn located_expected(ns: &Namesystem, block: Block, offset: u64) -> Option<LocatedBlockProto> {
    let (manager, pool) = (ns.blockmanager(), &ns.info.block_pool_id);
    if block.id.is_striped() {
        let on = manager.expected_group(block.id);
        return (!on.is_empty()).then(|| manager.located_group_on(pool, block, offset, &on));
    }
    let on = manager.expected_locations(block.id);
    (!on.is_empty()).then(|| manager.located_block_on(pool, block, offset, &on))
}

/// The storages that a client or a DataNode names, each at its place. Where it has none of a group it names an empty one.
pub(super) fn named_storages(
    ns: &Namesystem,
    nodes: &[DatanodeIdProto],
    storages: &[String],
) -> Vec<Option<StorageIndex>> {
    let named = nodes.iter().zip(storages);
    named
        .map(|(node, storage)| ns.blockmanager().find_storage(&node.datanode_uuid, storage))
        .collect()
}

/// These DataNodes go on with a block, or with a block group, in the order of its internal blocks.
pub(super) fn set_expected(ns: &mut Namesystem, block: Block, on: &[Option<StorageIndex>]) {
    if block.id.is_striped() {
        ns.blockmanager_mut().set_expected_group(block.id, on);
    } else {
        let on: Vec<StorageIndex> = on.iter().copied().flatten().collect();
        ns.blockmanager_mut().set_expected_locations(block.id, &on);
    }
}

/// DataNodes have agreed on a block, or a block group.
pub(super) fn set_recovered(ns: &mut Namesystem, block: Block, on: &[Option<StorageIndex>]) {
    if block.id.is_striped() {
        ns.blockmanager_mut().recovered_group(block, on);
    } else {
        let on: Vec<StorageIndex> = on.iter().copied().flatten().collect();
        ns.blockmanager_mut().recovered(block, &on);
    }
}

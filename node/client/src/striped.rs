//! Reading striped files (Hadoop: `DFSStripedInputStream`), as far as it goes without decoding: each byte is read from the
//! internal block that has it. When that one can't be read, the read fails, whatever the parity blocks have.

use hathi_formats::erasure_coding::{SYSTEM_CELL_SIZE, SYSTEM_POLICIES};
use hathi_formats::ids::BlockId;
use hathi_formats::proto::hdfs::{ErasureCodingPolicyProto, LocatedBlockProto};
use hathi_formats::striping::Striping;

/// What a policy of a file says. Of the policies that every cluster has a NameNode may tell only the number. `None` if it can
/// be no policy.
pub(crate) fn striping(policy: &ErasureCodingPolicyProto) -> Option<Striping> {
    let id = u8::try_from(policy.id).ok()?;
    let striping = match (SYSTEM_POLICIES.iter().find(|known| known.id == id), &policy.schema) {
        (Some(known), _) => Striping {
            policy: id,
            data_units: known.data_units,
            parity_units: known.parity_units,
            cell_size: SYSTEM_CELL_SIZE,
        },
        (None, Some(schema)) => Striping {
            policy: id,
            data_units: u8::try_from(schema.data_units).ok()?,
            parity_units: u8::try_from(schema.parity_units).ok()?,
            cell_size: policy.cell_size?,
        },
        (None, None) => return None,
    };
    striping.is_possible().then_some(striping)
}

/// A part of a block group that is in one internal block.
#[derive(Debug)]
pub(crate) struct Part {
    /// The internal block, on the DataNodes that have it.
    pub(crate) block: LocatedBlockProto,
    /// Offset in the internal block.
    pub(crate) offset: u64,
    /// Number of bytes.
    pub(crate) len: u64,
}

/// Where the bytes of a group from an offset on are, at most `len` of them.
pub(crate) fn part(group: &LocatedBlockProto, striping: Striping, offset: u64, len: u64) -> Part {
    let place = striping.place(offset);
    let id = BlockId(group.b.block_id.cast_signed()).internal(place.index);
    let mut block = group.clone();
    block.b.block_id = id.0.cast_unsigned();
    block.b.num_bytes = Some(striping.internal_length(group.b.num_bytes(), place.index));
    block.block_indices = None;
    block.block_tokens.clear();
    let indices = group.block_indices.as_deref().unwrap_or_default();
    let is_of = |at: usize| indices.get(at) == Some(&place.index);
    if let Some(at) = (0..indices.len()).find(|at| is_of(*at))
        && let Some(token) = group.block_tokens.get(at)
    {
        block.block_token = token.clone();
    }
    retain_at(&mut block.locs, is_of);
    retain_at(&mut block.storage_i_ds, is_of);
    retain_at(&mut block.storage_types, is_of);
    retain_at(&mut block.is_cached, is_of);
    Part {
        block,
        offset: place.offset,
        len: len.min(place.contiguous),
    }
}

fn retain_at<T>(list: &mut Vec<T>, stays: impl Fn(usize) -> bool) {
    let mut at = 0;
    list.retain(|_| {
        at += 1;
        stays(at - 1)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_formats::proto::hdfs::DatanodeInfoProto;

    #[test]
    fn the_bytes_of_a_group_are_read_from_the_internal_block_that_has_them() {
        let policy = ErasureCodingPolicyProto {
            id: 4,
            ..ErasureCodingPolicyProto::default()
        };
        let striping = striping(&policy).unwrap();
        let mut group = LocatedBlockProto::default();
        group.b.block_id = (i64::MIN + 16).cast_unsigned();
        group.b.num_bytes = Some(5 << 20);
        group.block_indices = Some(vec![2, 0].into());
        for name in ["parity", "first"] {
            let mut node = DatanodeInfoProto::default();
            node.id.host_name = name.to_owned();
            group.locs.push(node);
            group.storage_i_ds.push(format!("DS-{name}"));
        }
        let at = part(&group, striping, (2 << 20) + 7, u64::MAX);
        assert_eq!(
            (at.block.b.block_id, at.block.b.num_bytes),
            (group.b.block_id, Some(3 << 20))
        );
        assert_eq!((at.offset, at.len), ((1 << 20) + 7, (1 << 20) - 7));
        assert_eq!(
            (at.block.locs[0].id.host_name.as_str(), at.block.locs.len()),
            ("first", 1)
        );
        assert_eq!(at.block.storage_i_ds, ["DS-first"]);
        // Nobody has the second one.
        let lost = part(&group, striping, 1 << 20, 5);
        assert_eq!((lost.block.b.block_id, lost.len), (group.b.block_id + 1, 5));
        assert!(lost.block.locs.is_empty());
    }

    #[test]
    fn a_policy_that_can_not_be_is_none() {
        let policy = |id, cell_size| ErasureCodingPolicyProto {
            id,
            cell_size: Some(cell_size),
            schema: Some(Default::default()),
            ..ErasureCodingPolicyProto::default()
        };
        assert_eq!(striping(&policy(64, 1024)), None);
        assert_eq!(striping(&policy(300, 1024)), None);
    }
}

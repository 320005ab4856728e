//! Reading striped files (Hadoop: `DFSStripedInputStream`): each byte from the internal block that has it, and when that one
//! can't be read, from others of the stripe.

use hathi_coding::Coder;
use hathi_formats::ids::BlockId;
use hathi_formats::proto::hdfs::{DatanodeInfoProto, LocatedBlockProto};
use hathi_formats::striping::Striping;
use hathi_transfer::BlockReader;
use std::collections::BTreeSet;
use std::io;
use tokio::task::JoinSet;

/// Most bytes that are decoded at once. As many are read of each internal block that takes part.
pub(crate) const DECODED_MAX: u64 = 1 << 20;

/// A part of a block group that is in one internal block.
#[derive(Debug)]
pub(crate) struct Part {
    /// The internal block, on the DataNodes that have it.
    pub(crate) block: LocatedBlockProto,
    /// Its index in the group.
    pub(crate) index: u8,
    /// Offset in the internal block.
    pub(crate) offset: u64,
    /// Number of bytes.
    pub(crate) len: u64,
}

impl Part {
    /// A part of a block that is not striped.
    pub(crate) fn whole(block: &LocatedBlockProto, offset: u64, len: u64) -> Part {
        Part {
            block: block.clone(),
            index: 0,
            offset,
            len,
        }
    }
}

/// Where the bytes of a group from an offset on are, at most `len` of them.
pub(crate) fn part(group: &LocatedBlockProto, striping: Striping, offset: u64, len: u64) -> Part {
    let place = striping.place(offset);
    Part {
        block: internal(group, striping, place.index),
        index: place.index,
        offset: place.offset,
        len: len.min(place.contiguous),
    }
}

/// An internal block of a group, on the DataNodes that have it.
fn internal(group: &LocatedBlockProto, striping: Striping, index: u8) -> LocatedBlockProto {
    let id = BlockId(group.b.block_id.cast_signed()).internal(index);
    let mut block = group.clone();
    block.b.block_id = id.0.cast_unsigned();
    block.b.num_bytes = Some(striping.internal_length(group.b.num_bytes(), index));
    block.block_indices = None;
    block.block_tokens.clear();
    let indices = group.block_indices.as_deref().unwrap_or_default();
    let is_of = |at: usize| indices.get(at) == Some(&index);
    if let Some(at) = (0..indices.len()).find(|at| is_of(*at))
        && let Some(token) = group.block_tokens.get(at)
    {
        block.block_token = token.clone();
    }
    retain_at(&mut block.locs, is_of);
    retain_at(&mut block.storage_i_ds, is_of);
    retain_at(&mut block.storage_types, is_of);
    retain_at(&mut block.is_cached, is_of);
    block
}

fn retain_at<T>(list: &mut Vec<T>, stays: impl Fn(usize) -> bool) {
    let mut at = 0;
    list.retain(|_| {
        at += 1;
        stays(at - 1)
    });
}

/// How internal blocks are read to decode others.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) client_name: String,
    /// Whether checksums are verified.
    pub(crate) verified: bool,
    /// UUIDs of DataNodes that are passed over.
    pub(crate) passed_over: BTreeSet<String>,
}

/// The bytes of a part whose internal block can't be read, at most [`DECODED_MAX`], from as many others as are needed.
///
/// # Errors
/// When too few can be read: the last reason.
pub(crate) async fn decode(
    group: &LocatedBlockProto,
    striping: Striping,
    coder: &Coder,
    part: &Part,
    reading: &Reading,
) -> io::Result<Vec<u8>> {
    let len = part.len.min(DECODED_MAX);
    let size = usize::try_from(len).map_err(io::Error::other)?;
    let needed = coder.data_units();
    let mut have: Vec<(u8, Vec<u8>)> = Vec::with_capacity(needed);
    let mut others: Vec<(LocatedBlockProto, u8, u64)> = Vec::new();
    for index in (0..striping.units()).filter(|index| *index != part.index) {
        let length = striping.internal_length(group.b.num_bytes(), index);
        // What a unit lacks of the others' length counts as zeros.
        match length.saturating_sub(part.offset).min(len) {
            0 if have.len() < needed => have.push((index, vec![0; size])),
            0 => {}
            has => others.push((internal(group, striping, index), index, has)),
        }
    }
    let mut others = others.into_iter();
    let mut reads = JoinSet::new();
    let mut last = io::Error::other("no DataNode holds enough of the others");
    while have.len() < needed {
        while have.len() + reads.len() < needed
            && let Some((block, index, has)) = others.next()
        {
            let (reading, offset) = (reading.clone(), part.offset);
            reads.spawn(async move { (index, read_unit(&block, offset, has, size, &reading).await) });
        }
        match reads.join_next().await {
            Some(Ok((index, Ok(bytes)))) => have.push((index, bytes)),
            Some(Ok((_, Err(error)))) => last = error,
            Some(Err(error)) => last = io::Error::other(error),
            None => {
                let text = format!("{} of {needed} internal blocks can be read: {last}", have.len());
                return Err(io::Error::other(text));
            }
        }
    }
    let indices: Vec<u8> = have.iter().map(|(index, _)| *index).collect();
    let inputs: Vec<&[u8]> = have.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let decoder = coder.decoder(&indices, &[part.index]);
    let decoded = decoder.and_then(|decoder| decoder.applied(&inputs).ok()?.pop());
    decoded.ok_or_else(|| io::Error::other("the internal blocks can't be decoded"))
}

/// `has` bytes of an internal block, and zeros behind them.
async fn read_unit(
    block: &LocatedBlockProto,
    offset: u64,
    has: u64,
    size: usize,
    reading: &Reading,
) -> io::Result<Vec<u8>> {
    let mut last = io::Error::other("no DataNode holds it");
    for node in &block.locs {
        if reading.passed_over.contains(&node.id.datanode_uuid) {
            continue;
        }
        match read_from(block, node, offset, has, size, reading).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => {
                tracing::debug!(datanode = node.id.xfer_address(), %error, "an internal block can't be read");
                last = error;
            }
        }
    }
    Err(last)
}

async fn read_from(
    block: &LocatedBlockProto,
    node: &DatanodeInfoProto,
    offset: u64,
    has: u64,
    size: usize,
    reading: &Reading,
) -> io::Result<Vec<u8>> {
    let mut reader = BlockReader::open(&reading.client_name, block, node, offset, has).await?;
    if !reading.verified {
        reader.ignore_checksums();
    }
    let mut bytes = Vec::with_capacity(size);
    while reader.next().await? > 0 {
        bytes.extend_from_slice(reader.bytes());
    }
    bytes.resize(size, 0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_formats::proto::hdfs::ErasureCodingPolicyProto;

    #[test]
    fn the_bytes_of_a_group_are_read_from_the_internal_block_that_has_them() {
        let policy = ErasureCodingPolicyProto {
            id: 4,
            ..ErasureCodingPolicyProto::default()
        };
        let striping = Striping::of_policy(&policy).unwrap();
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
}

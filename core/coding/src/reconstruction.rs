//! An order to make internal blocks of a group from others (`StripedReconstructor`, `StripedReader`, `StripedWriter`).
//!
//! ```text
//! order ─► of_order ─► needed: read these sources ─► transform ─► write to the targets ─► next piece
//!                          ▲ one fails                                                      │ none left: done
//!                          └ failed: another takes its place, or there are too few ─────────┘
//! ```
//!
//! Invariants:
//! * the sources that are read and the internal blocks without bytes are as many as there are data units, each once;
//! * a target is an internal block that should have bytes and is no source;
//! * whoever was reported as failed is not read again.

use hathi_formats::ids::{BlockId, GenerationStamp};
use hathi_formats::proto::hdfs::{BlockEcReconstructionInfoProto, ExtendedBlockProto};
use hathi_formats::striping::{MAX_UNITS, Striping};

use crate::coder::Coder;
use crate::transform::Transform;

/// Why an order is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There can be no such policy, or its codec is not known.
    #[error("no policy that can be coded")]
    Policy,
    /// The block is no group, or has no bytes.
    #[error("no block group with bytes")]
    Group,
    /// Lists that belong together have different lengths, or more elements than a group has blocks, or indices that no block
    /// of the group has.
    #[error("sources and targets do not belong to the group")]
    Lists,
    /// Less is there than holds all bytes.
    #[error("{there} of {needed} sources that are needed")]
    TooFewSources {
        /// Sources that may still be read.
        there: usize,
        /// Sources that must be read.
        needed: usize,
    },
}

/// An internal block that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its index in the group.
    pub index: u8,
    /// Its length in bytes.
    pub length: u64,
    /// The place of its DataNode, storage and storage type in the order.
    pub at: usize,
}

/// A source of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The index of its internal block in the group.
    pub index: u8,
    /// The place of its DataNode in the order.
    pub at: usize,
}

/// A piece of the internal blocks that is made at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset in each internal block, in bytes.
    pub offset: u64,
    /// Bytes of the longest target. Shorter blocks have zeros behind their end.
    pub length: usize,
}

/// An order, checked, and which of its sources are good.
#[derive(Clone, Debug)]
pub struct Reconstruction {
    group: ExtendedBlockProto,
    striping: Striping,
    coder: Coder,
    /// What is read, in no order.
    reading: Vec<Source>,
    /// What could be read instead.
    spare: Vec<Source>,
    /// Data units without bytes, which are all zeros: as many as are needed.
    blank: Vec<u8>,
    targets: Vec<Target>,
}

impl Reconstruction {
    /// Checks an order.
    ///
    /// # Errors
    /// When it can't be carried out.
    pub fn of_order(order: &BlockEcReconstructionInfoProto) -> Result<Reconstruction, OrderError> {
        let (coder, striping) = Coder::of_policy(&order.ec_policy).ok_or(OrderError::Policy)?;
        let id = BlockId(order.block.block_id.cast_signed());
        let bytes = order.block.num_bytes();
        if !id.is_striped() || id.group() != id || bytes == 0 {
            return Err(OrderError::Group);
        }
        let sources = sources(order, striping)?;
        let targets = targets(order, striping, &sources)?;
        let needed = coder.data_units();
        let mut blank: Vec<u8> = (0..striping.data_units)
            .filter(|index| !striping.has_bytes(bytes, *index))
            .collect();
        blank.truncate(needed);
        let (mut reading, mut spare): (Vec<Source>, Vec<Source>) = (Vec::new(), Vec::new());
        let to_read = needed.saturating_sub(blank.len());
        for source in sources {
            // A data unit without bytes is not read, and a second one of the same index is for when the first one fails.
            if !striping.has_bytes(bytes, source.index) {
                continue;
            }
            let is_new = reading.iter().all(|other| other.index != source.index);
            match is_new && reading.len() < to_read {
                true => reading.push(source),
                false => spare.push(source),
            }
        }
        if reading.len() < to_read {
            return Err(OrderError::TooFewSources {
                there: reading.len(),
                needed: to_read,
            });
        }
        let plan = Reconstruction {
            group: order.block.clone(),
            striping,
            coder,
            reading,
            spare,
            blank,
            targets,
        };
        plan.check();
        Ok(plan)
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> BlockId {
        BlockId(self.group.block_id.cast_signed())
    }

    /// The stamp of the group, which the internal blocks that are made get.
    #[must_use]
    pub fn generation_stamp(&self) -> GenerationStamp {
        GenerationStamp(self.group.generation_stamp)
    }

    /// The internal block with this index.
    #[must_use]
    pub fn internal(&self, index: u8) -> ExtendedBlockProto {
        ExtendedBlockProto {
            pool_id: self.group.pool_id.clone(),
            block_id: self.group().internal(index).0.cast_unsigned(),
            generation_stamp: self.group.generation_stamp,
            num_bytes: Some(self.length(index)),
        }
    }

    /// Length of the internal block with this index.
    #[must_use]
    pub fn length(&self, index: u8) -> u64 {
        self.striping.internal_length(self.group.num_bytes(), index)
    }

    /// What is made.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// What is to be read now.
    #[must_use]
    pub fn reading(&self) -> &[Source] {
        &self.reading
    }

    /// A source can't be read: another one takes its place.
    ///
    /// # Errors
    /// When there is none.
    pub fn failed(&mut self, source: Source) -> Result<(), OrderError> {
        let before = self.reading.len();
        self.reading.retain(|other| *other != source);
        self.spare.retain(|other| *other != source);
        if self.reading.len() == before {
            return Ok(());
        }
        let is_new = |spare: &Source| self.reading.iter().all(|other| other.index != spare.index);
        let Some(at) = self.spare.iter().position(is_new) else {
            return Err(OrderError::TooFewSources {
                there: self.reading.len(),
                needed: before,
            });
        };
        let next = self.spare.remove(at);
        self.reading.push(next);
        self.check();
        Ok(())
    }

    /// The piece from an offset on, of at most so many bytes. `None` behind the end of all targets.
    #[must_use]
    pub fn piece(&self, offset: u64, max_bytes: usize) -> Option<Piece> {
        let end = self.targets.iter().map(|target| target.length).max().unwrap_or(0);
        let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = left.min(max_bytes);
        (length > 0).then_some(Piece { offset, length })
    }

    /// How many bytes of a piece the internal block with this index has.
    #[must_use]
    pub fn bytes_of(&self, piece: Piece, index: u8) -> usize {
        let left = self.length(index).saturating_sub(piece.offset);
        usize::try_from(left).unwrap_or(usize::MAX).min(piece.length)
    }

    /// What makes the targets of what is read, in the order of [`Reconstruction::reading`], and then of a buffer of zeros for
    /// each of [`Reconstruction::blanks`].
    #[must_use]
    pub fn transform(&self) -> Option<Transform> {
        let read = self.reading.iter().map(|source| source.index);
        let have: Vec<u8> = read.chain(self.blank.iter().copied()).collect();
        let wanted: Vec<u8> = self.targets.iter().map(|target| target.index).collect();
        self.coder.decoder(&have, &wanted)
    }

    /// Number of units that are all zeros.
    #[must_use]
    pub fn blanks(&self) -> usize {
        self.blank.len()
    }

    /// Asserts the invariants.
    pub fn check(&self) {
        assert_eq!(
            self.reading.len().saturating_add(self.blank.len()),
            self.coder.data_units(),
            "as many units as hold all bytes"
        );
        let mut seen = [false; MAX_UNITS as usize];
        let read = self.reading.iter().map(|source| source.index);
        let made = self.targets.iter().map(|target| target.index);
        for index in read.chain(self.blank.iter().copied()).chain(made) {
            let seen = seen.get_mut(usize::from(index));
            let again = seen.map(|seen| std::mem::replace(seen, true));
            assert_eq!(again, Some(false), "unit {index} has one part");
        }
        assert!(
            self.targets.iter().all(|target| target.length > 0),
            "nothing is made that has no bytes"
        );
    }
}

fn sources(order: &BlockEcReconstructionInfoProto, striping: Striping) -> Result<Vec<Source>, OrderError> {
    let indices = &order.live_block_indices;
    let is_good = indices.len() == order.source_dn_infos.datanodes.len()
        && indices.len() <= usize::from(MAX_UNITS)
        && indices.iter().all(|index| *index < striping.units());
    if !is_good {
        return Err(OrderError::Lists);
    }
    let sources = indices.iter().enumerate();
    Ok(sources.map(|(at, index)| Source { index: *index, at }).collect())
}

/// The n-th target gets the n-th internal block that has bytes, no source, and no place in the list of those that are left
/// out (`StripedWriter.initTargetIndices`).
fn targets(
    order: &BlockEcReconstructionInfoProto,
    striping: Striping,
    sources: &[Source],
) -> Result<Vec<Target>, OrderError> {
    let count = order.target_dn_infos.datanodes.len();
    let is_good = (1..=usize::from(striping.parity_units)).contains(&count)
        && order.target_storage_uuids.storage_uuids.len() == count
        && order.target_storage_types.storage_types.len() == count;
    let left_out = order.exclude_reconstructed_indices.as_deref().unwrap_or_default();
    let is_wanted = |index: &u8| {
        striping.has_bytes(order.block.num_bytes(), *index)
            && sources.iter().all(|source| source.index != *index)
            && !left_out.contains(index)
    };
    let wanted = (0..striping.units()).filter(is_wanted);
    let targets: Vec<Target> = (0..count)
        .zip(wanted)
        .map(|(at, index)| Target {
            index,
            length: striping.internal_length(order.block.num_bytes(), index),
            at,
        })
        .collect();
    // Hadoop lets targets go without a block when fewer are missing. Here the rest is left alone, too.
    match is_good && !targets.is_empty() {
        true => Ok(targets),
        false => Err(OrderError::Lists),
    }
}

#[cfg(test)]
mod tests;

//! Erasure coding: what makes lost units of a stripe from the others, byte for byte as Hadoop's raw coders do, and which
//! bytes of which internal block a DataNode needs to make another one.
//!
//! * [`field`]: the field of 256 elements, and matrices over it;
//! * [`transform`]: a matrix applied to buffers;
//! * [`coder`]: the codecs `rs`, `rs-legacy` and `xor`, as matrices;
//! * [`reconstruction`]: an order of a NameNode (`BlockECReconstructionInfoProto`) as a plan.
//!
//! Invariants:
//! * every codec is linear and acts on each byte of the units by itself, so parts of units can be coded in any lengths;
//! * any `data_units` units of a stripe give all others;
//! * nothing from outside makes anything here panic, or take memory in proportion to a number in a message.
//!
//! Knows nothing of disks and sockets. Mirrors Hadoop's `rawcoder.{RSRawEncoder,RSRawDecoder,RSLegacyRawEncoder,
//! XORRawEncoder}`, `rawcoder.util.{GF256,RSUtil}` and `StripedReconstructor`.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod coder;
pub mod field;
pub mod reconstruction;
pub mod transform;

pub use coder::{Codec, Coder};
pub use reconstruction::{OrderError, Reconstruction, Target};
pub use transform::{Transform, UnevenBuffers};

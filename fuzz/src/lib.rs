//! Mutated bytes for every decoder of data from outside: files, frames, messages, texts.
//!
//! A [`Target`] is a function that takes any bytes and panics when a decoder breaks one of its promises:
//! * it ends without a panic, because a panic ends a daemon;
//! * the memory that it takes is bounded by the length of the input ([`Memory`], measured by [`allocations`]);
//! * a value that was decoded encodes to bytes that decode to the same value;
//! * bytes with a checksum or a count are refused, or are unchanged.
//!
//! The inputs of a target are samples (valid bytes that its own code makes), inputs that once broke it
//! (`corpus/<target>/`, kept for good), and mutations of both ([`mutate`]). A run is a function of its seed: the same
//! seed, target and number give the same bytes. `tests/mutations.rs` runs a fixed seed over all targets. `cargo xtask
//! fuzz` runs new seeds for a given time, and keeps inputs that break a target in its corpus. [`damage`] changes bytes of
//! whole files, and knows what they were.

pub mod allocations;
pub mod corpus;
pub mod damage;
pub mod mutate;
pub mod random;
pub mod run;
pub mod targets;

use crate::random::Random;

/// How much memory a decoder may take at once.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Bytes that do not depend on the input: buffers of a fixed size, tables.
    pub fixed: usize,
    /// Bytes for each byte of the input: the largest value that two bytes can stand for, and room to grow.
    pub per_byte: usize,
}

impl Memory {
    /// The limit for an input of `len` bytes.
    #[must_use]
    pub fn limit(self, len: usize) -> usize {
        self.fixed + self.per_byte * len
    }
}

/// One decoder, or several that read the same bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name, also of its folder below `corpus/`.
    pub name: &'static str,
    /// Valid inputs.
    pub samples: fn() -> Vec<Vec<u8>>,
    /// The decoder. It panics when a promise is broken.
    pub run: fn(&[u8]),
    /// The memory that it may take.
    pub memory: Memory,
}

impl Target {
    /// Mutation number `number` of a run: the same seed and number give the same bytes, as long as samples and corpus are
    /// the same.
    #[must_use]
    pub fn mutation(&self, inputs: &[Vec<u8>], seed: u64, number: u64) -> Vec<u8> {
        let mut random = Random::new(seed).and(self.name.as_bytes()).and(&number.to_le_bytes());
        mutate::mutate(&mut random, inputs)
    }
}

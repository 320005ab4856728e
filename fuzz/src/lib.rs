//! Mutated bytes for every decoder of what comes from outside: files, frames, messages, texts.
//!
//! A [`Target`] is a function that takes any bytes and panics when a decoder breaks one of its promises:
//! * it ends, without a panic: a panic ends a daemon;
//! * what it keeps in memory meanwhile is bounded by the length of the input ([`Memory`], measured by [`allocations`]);
//! * what decodes encodes to something that decodes to the same;
//! * bytes with a checksum or a count are refused, or are what they were.
//!
//! The inputs of a target are samples (valid bytes that its own code makes), what once broke it (`corpus/<target>/`, kept
//! for good), and mutations of both ([`mutate`]). A run is a function of its seed: the same seed, target and number give the
//! same bytes. `tests/mutations.rs` runs a fixed seed over all targets; `cargo xtask fuzz` runs new ones for as long as it
//! is told to, and writes what breaks a target into its corpus.

pub mod allocations;
pub mod corpus;
pub mod mutate;
pub mod random;
pub mod run;
pub mod targets;

use crate::random::Random;

/// How much a decoder may hold of its input, in bytes of memory at once.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Whatever the input is: buffers of a fixed size, tables.
    pub fixed: usize,
    /// For each byte of the input: the largest thing that two bytes can stand for, and room to grow.
    pub per_byte: usize,
}

impl Memory {
    /// For `len` bytes of input.
    #[must_use]
    pub fn limit(self, len: usize) -> usize {
        self.fixed + self.per_byte * len
    }
}

/// One decoder, or several that read the same bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Names its folder below `corpus/`.
    pub name: &'static str,
    /// Valid inputs.
    pub samples: fn() -> Vec<Vec<u8>>,
    /// Panics when a promise is broken.
    pub run: fn(&[u8]),
    /// What it may hold.
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

//! A matrix over the field, applied to buffers: the n-th byte of each output is a sum of multiples of the n-th bytes of the
//! inputs.
//!
//! No byte is looked up in a table. An output is computed from the highest bit of the factors to the lowest: what there is
//! so far is doubled, and the inputs are added whose factor has the bit. Doubling eight bytes takes a few operations on one
//! word, which the compiler makes into instructions on many. So there are seven doublings for an output, however many
//! inputs it has.

use crate::field::{Matrix, REDUCTION};

/// Words of a piece that is coded at once: as many as stay in registers.
const WORDS: usize = 16;
const PIECE_BYTES: usize = WORDS * 8;
type Piece = [u64; WORDS];

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const REDUCTIONS: u64 = LOW_BITS * REDUCTION as u64;

/// Buffers of different lengths, or not as many as the matrix has rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("buffers do not fit the code")]
pub struct UnevenBuffers;

/// The inputs that an output adds, by the bit of their factor, from the highest bit of any factor to the lowest.
type AddedByBit = Vec<Vec<usize>>;

/// What makes output buffers of input buffers.
#[derive(Clone, Debug)]
pub struct Transform {
    inputs: usize,
    outputs: Vec<AddedByBit>,
}

impl Transform {
    /// A row for each output, with a factor for each input.
    #[must_use]
    pub fn new(inputs: usize, rows: &Matrix) -> Transform {
        debug_assert!(
            rows.iter().all(|row| row.len() == inputs),
            "each row has a factor for each input"
        );
        let added = |row: &Vec<u8>| {
            let highest = row.iter().fold(0, |all, factor| all | factor);
            let bits = (0..8).rev().filter(|bit| highest >> bit != 0);
            bits.map(|bit| {
                let with_bit = row.iter().enumerate().filter(|(_, factor)| *factor >> bit & 1 != 0);
                with_bit.map(|(input, _)| input).collect()
            })
            .collect()
        };
        Transform {
            inputs,
            outputs: rows.iter().map(added).collect(),
        }
    }

    /// Number of outputs.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Computes the outputs. All buffers have one length.
    ///
    /// # Errors
    /// When they have not.
    pub fn apply(&self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<(), UnevenBuffers> {
        let length = inputs.first().map_or(0, |input| input.len());
        let is_even = inputs.iter().all(|input| input.len() == length)
            && outputs.iter().all(|output| output.len() == length)
            && inputs.len() == self.inputs
            && outputs.len() == self.outputs.len();
        if !is_even {
            return Err(UnevenBuffers);
        }
        for (output, added) in outputs.iter_mut().zip(&self.outputs) {
            let mut at = 0usize;
            for piece in output.chunks_mut(PIECE_BYTES) {
                let end = at.saturating_add(piece.len());
                let sum = sum(inputs, added, at, end);
                for (bytes, word) in piece.chunks_mut(8).zip(sum) {
                    let word = word.to_ne_bytes();
                    bytes.copy_from_slice(word.get(..bytes.len()).unwrap_or_default());
                }
                at = end;
            }
        }
        Ok(())
    }

    /// As [`Transform::apply`], into new buffers.
    ///
    /// # Errors
    /// When the inputs have different lengths, or are not as many as they should be.
    pub fn applied(&self, inputs: &[&[u8]]) -> Result<Vec<Vec<u8>>, UnevenBuffers> {
        let length = inputs.first().map_or(0, |input| input.len());
        let mut outputs = vec![vec![0; length]; self.outputs.len()];
        let mut views: Vec<&mut [u8]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        self.apply(inputs, &mut views)?;
        Ok(outputs)
    }
}

/// A piece of an output.
fn sum(inputs: &[&[u8]], added: &AddedByBit, at: usize, end: usize) -> Piece {
    let mut sum = [0; WORDS];
    for (nth, inputs_of_bit) in added.iter().enumerate() {
        if nth > 0 {
            double(&mut sum);
        }
        for input in inputs_of_bit {
            let bytes = inputs.get(*input).and_then(|input| input.get(at..end));
            add(&mut sum, bytes.unwrap_or_default());
        }
    }
    sum
}

/// Doubles each byte.
#[inline]
fn double(piece: &mut Piece) {
    for word in piece {
        let high = (*word >> 7) & LOW_BITS;
        // 0xFF in each byte whose highest bit was set.
        let mask = (high << 8).wrapping_sub(high);
        *word = ((*word << 1) & !LOW_BITS) ^ (mask & REDUCTIONS);
    }
}

/// Adds the bytes, of which there are fewer at the end of a buffer.
#[inline]
fn add(piece: &mut Piece, bytes: &[u8]) {
    if let Some(whole) = bytes.first_chunk::<PIECE_BYTES>() {
        for (word, bytes) in piece.iter_mut().zip(whole.as_chunks::<8>().0) {
            *word ^= u64::from_ne_bytes(*bytes);
        }
        return;
    }
    for (word, bytes) in piece.iter_mut().zip(bytes.chunks(8)) {
        let mut padded = [0; 8];
        for (to, byte) in padded.iter_mut().zip(bytes) {
            *to = *byte;
        }
        *word ^= u64::from_ne_bytes(padded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::product;

    #[test]
    fn each_byte_is_the_sum_of_the_products() {
        let rows = vec![
            vec![1, 2, 0x8E],
            vec![0xFF, 0, 0x1D],
            vec![1, 1, 1],
            vec![0, 0, 0],
            vec![0x80, 7, 0],
        ];
        let transform = Transform::new(3, &rows);
        assert_eq!(transform.outputs(), 5);
        for length in [0, 1, 7, 8, 9, 127, 128, 129, 300] {
            let input =
                |seed: usize| -> Vec<u8> { (0..length).map(|at| (at * 37 + seed * 101 + at / 9) as u8).collect() };
            let inputs: Vec<Vec<u8>> = (0..3).map(input).collect();
            let views: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
            let outputs = transform.applied(&views).unwrap();
            for (row, output) in rows.iter().zip(&outputs) {
                for (at, byte) in output.iter().enumerate() {
                    let wanted = (0..3).fold(0, |sum, n| sum ^ product(row[n], inputs[n][at]));
                    assert_eq!(*byte, wanted, "{row:?} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn buffers_that_do_not_fit_are_refused() {
        let transform = Transform::new(2, &vec![vec![1, 1]]);
        assert_eq!(transform.applied(&[b"ab", b"a"]), Err(UnevenBuffers));
        assert_eq!(transform.applied(&[b"ab"]), Err(UnevenBuffers));
        let (mut short, mut other) = ([0; 1], [0; 2]);
        assert_eq!(transform.apply(&[b"ab", b"cd"], &mut [&mut short]), Err(UnevenBuffers));
        assert_eq!(transform.apply(&[b"ab", b"cd"], &mut []), Err(UnevenBuffers));
        assert_eq!(transform.apply(&[b"ab", b"cd"], &mut [&mut other]), Ok(()));
        assert_eq!(other, [b'a' ^ b'c', b'b' ^ b'd']);
    }
}

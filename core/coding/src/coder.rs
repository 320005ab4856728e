//! The codecs as matrices: each parity unit is a sum of multiples of the data units.

use hathi_formats::erasure_coding::whole;
use hathi_formats::proto::hdfs::ErasureCodingPolicyProto;
use hathi_formats::striping::{MAX_UNITS, Striping};

use crate::field::{Matrix, inverse, inverted, product, row_times, twice, unit_row};
use crate::transform::Transform;

/// How parity is computed (`ErasureCodeConstants`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// `rs`: the factor of data unit j in unit i is 1 / (i ^ j), a Cauchy matrix (`RSUtil.genCauchyMatrix`).
    Rs,
    /// `rs-legacy`: the units are a polynomial that the product of all x - 2^i divides, for i below the number of parity
    /// units. Its lowest coefficients are the parity units (`RSLegacyRawEncoder`).
    RsLegacy,
    /// `xor`: the sum. There is one parity unit.
    Xor,
}

impl Codec {
    /// The codec of this name. Case matters, as in Hadoop.
    #[must_use]
    pub fn named(name: &str) -> Option<Codec> {
        match name {
            "rs" => Some(Codec::Rs),
            "rs-legacy" => Some(Codec::RsLegacy),
            "xor" => Some(Codec::Xor),
            _ => None,
        }
    }
}

/// A codec for so many units.
#[derive(Clone, Debug)]
pub struct Coder {
    data_units: usize,
    /// For each parity unit the factors of the data units.
    parity: Matrix,
}

impl Coder {
    /// `None` when there are no such units: of either kind none, more than a block group has, or several parity units of
    /// [`Codec::Xor`].
    #[must_use]
    pub fn new(codec: Codec, data_units: u8, parity_units: u8) -> Option<Coder> {
        let is_possible = data_units > 0 && parity_units > 0 && data_units.saturating_add(parity_units) <= MAX_UNITS;
        if !is_possible || (codec == Codec::Xor && parity_units > 1) {
            return None;
        }
        let (data, parity) = (usize::from(data_units), usize::from(parity_units));
        let parity = match codec {
            Codec::Rs => cauchy_rows(data_units, parity_units),
            Codec::RsLegacy => remainder_rows(data, parity),
            Codec::Xor => vec![vec![1; data]],
        };
        assert_eq!(parity.len(), usize::from(parity_units), "a row for each parity unit");
        assert!(
            parity.iter().all(|row| row.len() == data),
            "a factor for each data unit"
        );
        Some(Coder {
            data_units: data,
            parity,
        })
    }

    /// The coder of a policy, and what the policy says besides. `None` if there can be no such policy, or its codec is not
    /// known.
    #[must_use]
    pub fn of_policy(policy: &ErasureCodingPolicyProto) -> Option<(Coder, Striping)> {
        let striping = Striping::of_policy(policy)?;
        let codec = Codec::named(&whole(policy).schema?.codec_name)?;
        let coder = Coder::new(codec, striping.data_units, striping.parity_units)?;
        Some((coder, striping))
    }

    /// Number of data units.
    #[must_use]
    pub fn data_units(&self) -> usize {
        self.data_units
    }

    /// Number of units.
    #[must_use]
    pub fn units(&self) -> usize {
        self.data_units.saturating_add(self.parity.len())
    }

    /// Makes the parity units from the data units.
    #[must_use]
    pub fn encoder(&self) -> Transform {
        Transform::new(self.data_units, &self.parity)
    }

    /// Makes the units `wanted` from the units `have`, by their indices: first the data units, then the parity units.
    /// `have` are as many as there are data units, and no two are the same. `None` if this is not so.
    #[must_use]
    pub fn decoder(&self, have: &[u8], wanted: &[u8]) -> Option<Transform> {
        let rows = have.iter().map(|index| self.row(*index)).collect::<Option<Matrix>>()?;
        // With an index twice there is no inverse.
        let to_data = inverted(&rows).filter(|inverse| inverse.len() == self.data_units)?;
        let of_have = |index: &u8| Some(row_times(&self.row(*index)?, &to_data));
        let wanted = wanted.iter().map(of_have).collect::<Option<Matrix>>()?;
        Some(Transform::new(self.data_units, &wanted))
    }

    /// The factors of the data units in a unit.
    fn row(&self, index: u8) -> Option<Vec<u8>> {
        let index = usize::from(index);
        match index.checked_sub(self.data_units) {
            None => Some(unit_row(self.data_units, index)),
            Some(parity) => self.parity.get(parity).cloned(),
        }
    }
}

fn cauchy_rows(data_units: u8, parity_units: u8) -> Matrix {
    let rows = data_units..data_units.saturating_add(parity_units);
    rows.map(|unit| (0..data_units).map(|data| inverse(unit ^ data)).collect())
        .collect()
}

/// The remainders of x^(parity_units + j), for each data unit j, by the generating polynomial; a row has their n-th
/// coefficients.
fn remainder_rows(data_units: usize, parity_units: usize) -> Matrix {
    // Without its highest coefficient, which is 1. That of x^0 is the first one.
    let mut generator = vec![0; parity_units];
    let mut root = 1;
    for degree in 0..parity_units {
        // Times x - root: the highest coefficient is 1 before and after.
        let before = generator.clone();
        for at in 0..=degree {
            let below = at
                .checked_sub(1)
                .and_then(|below| before.get(below))
                .copied()
                .unwrap_or(0);
            let own = if at == degree {
                1
            } else {
                before.get(at).copied().unwrap_or(0)
            };
            if let Some(coefficient) = generator.get_mut(at) {
                *coefficient = below ^ product(own, root);
            }
        }
        root = twice(root);
    }
    // x^parity_units is what the generator is without its highest term.
    let mut remainder = generator.clone();
    let mut rows = vec![Vec::with_capacity(data_units); parity_units];
    for _ in 0..data_units {
        for (row, coefficient) in rows.iter_mut().zip(&remainder) {
            row.push(*coefficient);
        }
        let highest = remainder.pop().unwrap_or(0);
        remainder.insert(0, 0);
        for (coefficient, of_generator) in remainder.iter_mut().zip(&generator) {
            *coefficient ^= product(highest, *of_generator);
        }
    }
    rows
}

#[cfg(test)]
mod tests;

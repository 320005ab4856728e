//! GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (`GF256`, `GaloisField`), and matrices over it.

/// The polynomial without x^8: what 2 · 0x80 is.
pub const REDUCTION: u8 = 0x1D;

/// 2 · `value`.
#[must_use]
pub const fn twice(value: u8) -> u8 {
    let shifted = value << 1;
    if value & 0x80 != 0 {
        shifted ^ REDUCTION
    } else {
        shifted
    }
}

/// The product.
#[must_use]
pub const fn product(mut one: u8, mut other: u8) -> u8 {
    let mut sum = 0;
    while other != 0 {
        if other & 1 != 0 {
            sum ^= one;
        }
        one = twice(one);
        other >>= 1;
    }
    sum
}

/// The inverse, and 0 for 0 as in Hadoop's tables.
#[must_use]
pub const fn inverse(value: u8) -> u8 {
    // value^254, because value^255 is 1.
    let mut power = value;
    let mut result = 1;
    let mut exponent: u8 = 254;
    while exponent != 0 {
        if exponent & 1 != 0 {
            result = product(result, power);
        }
        power = product(power, power);
        exponent >>= 1;
    }
    result
}

/// A matrix by rows.
pub type Matrix = Vec<Vec<u8>>;

/// Adds `factor` times `row` to `to`.
fn add_row(to: &mut [u8], factor: u8, row: &[u8]) {
    for (to, value) in to.iter_mut().zip(row) {
        *to ^= product(factor, *value);
    }
}

/// `row` times a matrix.
#[must_use]
pub fn row_times(row: &[u8], matrix: &Matrix) -> Vec<u8> {
    let mut sum = vec![0; matrix.first().map_or(0, Vec::len)];
    for (factor, other) in row.iter().zip(matrix) {
        add_row(&mut sum, *factor, other);
    }
    sum
}

/// The row of the identity matrix with its one at this place.
#[must_use]
pub fn unit_row(width: usize, at: usize) -> Vec<u8> {
    (0..width).map(|column| u8::from(column == at)).collect()
}

/// The inverse of a square matrix. `None` if it has none.
#[must_use]
pub fn inverted(matrix: &Matrix) -> Option<Matrix> {
    let size = matrix.len();
    if matrix.iter().any(|row| row.len() != size) {
        return None;
    }
    let mut left = matrix.clone();
    let mut right: Matrix = (0..size).map(|at| unit_row(size, at)).collect();
    for at in 0..size {
        let has_pivot = |row: &usize| {
            left.get(*row)
                .and_then(|row| row.get(at))
                .is_some_and(|value| *value != 0)
        };
        let pivot = (at..size).find(has_pivot)?;
        left.swap(at, pivot);
        right.swap(at, pivot);
        let factor = inverse(*left.get(at)?.get(at)?);
        for row in [left.get_mut(at)?, right.get_mut(at)?] {
            row.iter_mut().for_each(|value| *value = product(*value, factor));
        }
        let (pivot_left, pivot_right) = (left.get(at)?.clone(), right.get(at)?.clone());
        for row in (0..size).filter(|row| *row != at) {
            let factor = *left.get(row)?.get(at)?;
            add_row(left.get_mut(row)?, factor, &pivot_left);
            add_row(right.get_mut(row)?, factor, &pivot_right);
        }
    }
    debug_assert!(
        left.iter().enumerate().all(|(at, row)| *row == unit_row(size, at)),
        "the matrix was reduced to the identity"
    );
    debug_assert_eq!(right.len(), size, "the inverse has as many rows");
    Some(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_one() {
        assert_eq!(product(2, 0x80), 0x1D);
        for one in 0..=255u8 {
            assert_eq!(product(one, 1), one);
            assert_eq!(product(one, 2), twice(one));
            assert_eq!(product(one, inverse(one)), u8::from(one != 0), "{one}");
            for other in [3, 29, 142, 255] {
                assert_eq!(product(one, other), product(other, one));
                assert_eq!(product(one ^ 7, other), product(one, other) ^ product(7, other));
            }
        }
        // 2 generates it: its powers are all elements but 0.
        let mut power = 1;
        let mut seen = [false; 256];
        for _ in 0..255 {
            assert!(!std::mem::replace(&mut seen[usize::from(power)], true));
            power = twice(power);
        }
        assert_eq!(power, 1);
    }

    #[test]
    fn a_matrix_times_its_inverse_is_the_identity() {
        let matrix = vec![vec![0, 1, 7], vec![3, 0, 1], vec![1, 1, 1]];
        let inverse = inverted(&matrix).unwrap();
        for (at, row) in matrix.iter().enumerate() {
            assert_eq!(row_times(row, &inverse), unit_row(3, at));
        }
        assert_eq!(inverted(&vec![vec![1, 2], vec![2, 4]]), None);
        assert_eq!(inverted(&vec![vec![1, 2]]), None);
        assert_eq!(inverted(&vec![vec![0]]), None);
    }
}

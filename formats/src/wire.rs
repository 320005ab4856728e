//! Protobuf's wire format, for messages that are read and written by the million: nothing is allocated, and what is read
//! is borrowed.
//!
//! Every length from outside is checked before it is used. Nested messages stay bytes until they are read in turn, so
//! nothing here is recursive.

use bytes::BufMut;

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message")]
pub struct MalformedMessage;

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// A number, bool or enum.
    Number(u64),
    /// A number of four or eight bytes.
    Fixed(u64),
    /// A string, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    /// The number, bool or enum.
    ///
    /// # Errors
    /// When the field is something else.
    pub const fn number(self) -> Result<u64, MalformedMessage> {
        match self {
            Field::Number(number) => Ok(number),
            _ => Err(MalformedMessage),
        }
    }

    /// The bytes of a string or message.
    ///
    /// # Errors
    /// When the field is something else.
    pub const fn bytes(self) -> Result<&'a [u8], MalformedMessage> {
        match self {
            Field::Bytes(bytes) => Ok(bytes),
            _ => Err(MalformedMessage),
        }
    }

    /// The string.
    ///
    /// # Errors
    /// When the field is something else, or not UTF-8.
    pub fn text(self) -> Result<&'a str, MalformedMessage> {
        std::str::from_utf8(self.bytes()?).map_err(|_| MalformedMessage)
    }
}

/// Iterates over the fields of a message: their numbers and values. An error is given once, and is the end.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of a message.
    #[must_use]
    pub const fn new(message: &'a [u8]) -> Self {
        Fields { rest: message }
    }

    #[inline]
    fn next_field(&mut self) -> Result<(u64, Field<'a>), MalformedMessage> {
        let key = take_varint(&mut self.rest)?;
        Ok((key >> 3, take_value(&mut self.rest, key & 7)?))
    }
}

/// Takes the value of a field of this wire type off the front.
///
/// # Errors
/// When the bytes end inside it, or it is the start or end of a group, which no message of Hadoop's has.
#[inline]
pub fn take_value<'a>(rest: &mut &'a [u8], wire_type: u64) -> Result<Field<'a>, MalformedMessage> {
    match wire_type {
        0 => Ok(Field::Number(take_varint(rest)?)),
        1 => Ok(Field::Fixed(u64::from_le_bytes(take_array(rest)?))),
        2 => Ok(Field::Bytes(take_delimited(rest)?)),
        5 => Ok(Field::Fixed(u64::from(u32::from_le_bytes(take_array(rest)?)))),
        _ => Err(MalformedMessage),
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), MalformedMessage>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.next_field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// The highest bit of each byte: all but the last byte of a varint have it.
const MORE: u64 = 0x8080_8080_8080_8080;

/// Takes a varint off the front. Like prost it refuses one of more than 64 bits.
///
/// # Errors
/// When the bytes end inside it, or it is too long.
#[inline]
pub fn take_varint(rest: &mut &[u8]) -> Result<u64, MalformedMessage> {
    let (&first, behind) = rest.split_first().ok_or(MalformedMessage)?;
    if first < 0x80 {
        *rest = behind;
        return Ok(u64::from(first));
    }
    if let Some(chunk) = rest.first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let last = !word & MORE;
        if last != 0 {
            // Lengths that vary from number to number would cost a wrong guess of the processor each. So up to eight
            // bytes are taken at one time, and their groups of seven bits are moved together pair by pair.
            let len = last.trailing_zeros() as usize / 8;
            *rest = rest.get(len..).and_then(<[u8]>::split_first).ok_or(MalformedMessage)?.1;
            let groups = word & (last ^ last.wrapping_sub(1)) & !MORE;
            let pairs = groups & 0x007F_007F_007F_007F | (groups & 0x7F00_7F00_7F00_7F00) >> 1;
            let fours = pairs & 0x0000_3FFF_0000_3FFF | (pairs & 0x3FFF_0000_3FFF_0000) >> 2;
            return Ok(fours & 0x0FFF_FFFF | (fours & 0x0FFF_FFFF_0000_0000) >> 4);
        }
    }
    take_varint_bytewise(rest)
}

fn take_varint_bytewise(rest: &mut &[u8]) -> Result<u64, MalformedMessage> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, behind) = rest.split_first().ok_or(MalformedMessage)?;
        *rest = behind;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            // The tenth byte holds the last bit.
            return if shift < 63 || byte < 2 {
                Ok(value)
            } else {
                Err(MalformedMessage)
            };
        }
    }
    Err(MalformedMessage)
}

/// Takes `len` bytes off the front.
///
/// # Errors
/// When there are fewer.
#[inline]
pub fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], MalformedMessage> {
    let (taken, behind) = rest.split_at_checked(len).ok_or(MalformedMessage)?;
    *rest = behind;
    Ok(taken)
}

#[inline]
fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], MalformedMessage> {
    let (taken, behind) = rest.split_first_chunk().ok_or(MalformedMessage)?;
    *rest = behind;
    Ok(*taken)
}

/// Takes a length and so many bytes off the front: a delimited message.
///
/// # Errors
/// When there are fewer.
#[inline]
pub fn take_delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], MalformedMessage> {
    let len = usize::try_from(take_varint(rest)?).map_err(|_| MalformedMessage)?;
    take(rest, len)
}

/// Numbers of a packed field.
#[derive(Clone, Debug)]
pub struct PackedVarints<'a> {
    rest: &'a [u8],
}

impl<'a> PackedVarints<'a> {
    /// The numbers in the bytes of a field.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        PackedVarints { rest: bytes }
    }
}

impl Iterator for PackedVarints<'_> {
    type Item = Result<u64, MalformedMessage>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let value = take_varint(&mut self.rest);
        if value.is_err() {
            self.rest = &[];
        }
        Some(value)
    }
}

/// A `sint64` from its varint.
#[must_use]
pub const fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
}

/// The varint of a `sint64`.
#[must_use]
pub const fn unzigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The encoded length of a varint.
#[must_use]
pub const fn varint_len(value: u64) -> usize {
    let bits = u64::BITS.saturating_sub((value | 1).leading_zeros());
    bits.div_ceil(7) as usize
}

/// The length of `len` bytes behind their length.
#[must_use]
pub const fn delimited_len(len: usize) -> usize {
    varint_len(len as u64).saturating_add(len)
}

/// Appends a varint.
#[inline]
pub fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Appends a field that is a number, bool or enum.
#[inline]
pub fn put_number(out: &mut impl BufMut, number: u64, value: u64) {
    put_varint(out, number << 3);
    put_varint(out, value);
}

/// Appends a field that is a number of eight bytes.
#[inline]
pub fn put_fixed64(out: &mut impl BufMut, number: u64, value: u64) {
    put_varint(out, number << 3 | 1);
    out.put_u64_le(value);
}

/// Appends the head of a field of `len` bytes, which are to follow.
#[inline]
pub fn put_head(out: &mut impl BufMut, number: u64, len: usize) {
    put_varint(out, number << 3 | 2);
    put_varint(out, len as u64);
}

/// Appends a field that is a string or bytes.
#[inline]
pub fn put_bytes(out: &mut impl BufMut, number: u64, bytes: &[u8]) {
    put_head(out, number, bytes.len());
    out.put_slice(bytes);
}

/// Appends a field that is a message.
pub fn put_nested(out: &mut Vec<u8>, number: u64, encode: impl FnOnce(&mut Vec<u8>)) {
    put_varint(out, number << 3 | 2);
    put_delimited(out, encode);
}

/// Appends a delimited message.
pub fn put_delimited(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    encode(out);
    // The length goes in front when it is known.
    let end = out.len();
    let len = end.saturating_sub(start) as u64;
    let prefix = varint_len(len);
    let message_at = start.saturating_add(prefix);
    out.resize(end.saturating_add(prefix), 0);
    out.copy_within(start..end, message_at);
    if let Some(mut place) = out.get_mut(start..message_at) {
        put_varint(&mut place, len);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        let ten = |last: u8| [&[0xFF; 9][..], &[last]].concat();
        assert_eq!(take_varint(&mut &ten(1)[..]), Ok(u64::MAX));
        for longer in [ten(2), vec![0x80; 11]] {
            assert_eq!(take_varint(&mut &longer[..]), Err(MalformedMessage));
        }
    }

    #[test]
    fn an_error_is_the_end() {
        for damaged in [&[0x0A, 2, 1][..], &[0x0B], &[0x09, 1], &[0x0D, 1], &[0x80]] {
            let fields: Vec<_> = Fields::new(damaged).collect();
            assert_eq!(fields, [Err(MalformedMessage)], "{damaged:?}");
        }
    }

    proptest! {
        #[test]
        fn varints_are_what_prost_makes_of_them(bytes: Vec<u8>, number: u64, shift in 0..64_u32) {
            let value = number >> shift;
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            put_varint(&mut ours, value);
            prost::encoding::encode_varint(value, &mut theirs);
            prop_assert_eq!(&ours, &theirs);
            prop_assert_eq!(varint_len(value), ours.len());
            ours.extend_from_slice(&bytes);
            let mut behind = &ours[..];
            prop_assert_eq!(take_varint(&mut behind), Ok(value));
            prop_assert_eq!(behind, &bytes);
            let (mut rest, mut other) = (&bytes[..], &bytes[..]);
            let read = take_varint(&mut rest).ok();
            prop_assert_eq!(read, prost::encoding::decode_varint(&mut other).ok());
            prop_assert!(read.is_none() || rest == other);
        }

        #[test]
        fn signed_numbers_come_back(value: i64) {
            prop_assert_eq!(zigzag(unzigzag(value)), value);
        }

        #[test]
        fn fields_come_back(number in 1..20_000_u64, value: u64, bytes: Vec<u8>) {
            let mut out = Vec::new();
            put_number(&mut out, number, value);
            put_fixed64(&mut out, number, value);
            put_bytes(&mut out, number, &bytes);
            put_nested(&mut out, number, |out| put_bytes(out, number, &bytes));
            let fields: Result<Vec<_>, _> = Fields::new(&out).collect();
            let mut inner = Vec::new();
            put_bytes(&mut inner, number, &bytes);
            let expected = [Field::Number(value), Field::Fixed(value), Field::Bytes(&bytes), Field::Bytes(&inner)];
            prop_assert_eq!(fields, Ok(expected.map(|field| (number, field)).to_vec()));
        }
    }
}

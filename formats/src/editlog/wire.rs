//! The primitive encodings of edit log ops: Java's `DataOutput`, `UTF8` strings, `Text` and Hadoop's varints.

use crate::ids::LayoutVersion;
use crate::wire::take_delimited;

/// An error in an op's bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {problem}")]
pub struct DecodeError {
    /// Offset into the decoded slice.
    pub offset: usize,
    /// What is wrong there.
    pub problem: String,
}

/// Why an op can't be written so that it is read back unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A path or name is too long for Java's `UTF8`, whose writer cuts it off.
    #[error("a string is longer than the {MAX_STRING_UNITS} UTF-16 units that the edit log holds")]
    StringTooLong,
    /// A user or group is too long for Java's readers of `Text`.
    #[error("a text of {len_bytes} bytes is longer than {MAX_TEXT_BYTES} bytes")]
    TextTooLong {
        /// Its length in UTF-8.
        len_bytes: usize,
    },
    /// A number is negative as Java's `long`.
    #[error("{what} {value} is too large")]
    NumberTooLarge {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A list is longer than Java's `int` can hold.
    #[error("a list of {0} elements is too long")]
    ListTooLong(usize),
    /// The format can't express this value.
    #[error("the edit log can't hold {0}")]
    Inexact(&'static str),
    /// The op as a whole is larger than readers take.
    #[error("the op of {len_bytes} bytes is longer than {MAX_WRITTEN_OP_BYTES} bytes")]
    OpTooLong {
        /// Its length without the checksum.
        len_bytes: usize,
    },
}

/// The longest string that Java's `UTF8` always writes whole, in UTF-16 units: with three bytes each it fits the length
/// field. Java cuts off longer ones with no more than a warning, even if the field could hold them. So no longer string
/// may get into a namespace that Java may have to write.
pub const MAX_STRING_UNITS: usize = 0xFFFF / 3;

/// The longest user, group or token field (`Text.DEFAULT_MAX_LEN`, which `PermissionStatus` reads with), in bytes.
pub const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// The largest op that is written, in bytes of its frame. Every reader and JournalNode refuses ops above
/// [`MAX_OP_SIZE_BYTES`](super::MAX_OP_SIZE_BYTES). This limit is lower, because an operator may have set Java's
/// `dfs.namenode.max.op.size` somewhat below its default of 50 MiB.
pub const MAX_WRITTEN_OP_BYTES: usize = 40 * 1024 * 1024;

/// Result of the encoder of a part of an op.
pub(super) type Encoded = Result<(), EncodeError>;

/// A position in a slice, from which values are read in the layout of a log.
pub(super) struct Input<'a> {
    data: &'a [u8],
    pos: usize,
    pub(super) layout: LayoutVersion,
}

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8], layout: LayoutVersion) -> Self {
        Input { data, pos: 0, layout }
    }

    pub(super) fn error(&self, problem: impl Into<String>) -> DecodeError {
        DecodeError {
            offset: self.pos,
            problem: problem.into(),
        }
    }

    pub(super) fn remaining(&self) -> usize {
        self.data.len().saturating_sub(self.pos)
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.pos.saturating_add(len);
        match self.data.get(self.pos..end) {
            Some(bytes) => {
                self.pos = end;
                Ok(bytes)
            }
            None => Err(self.error(format!("{len} bytes expected, {} left", self.remaining()))),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.u8()? != 0)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A number that Java keeps in a `long` but that is never negative.
    pub(super) fn unsigned(&mut self, what: &str) -> Result<u64, DecodeError> {
        let value = self.i64()?;
        u64::try_from(value).map_err(|_| self.error(format!("negative {what} {value}")))
    }

    /// A count of elements that take at least `min_size` bytes each.
    pub(super) fn count(&self, count: i64, min_size: usize) -> Result<usize, DecodeError> {
        match usize::try_from(count) {
            Ok(count) if count.saturating_mul(min_size) <= self.remaining() => Ok(count),
            _ => Err(self.error(format!("{count} elements cannot be in {} bytes", self.remaining()))),
        }
    }

    /// `WritableUtils.readVLong`.
    pub(super) fn vlong(&mut self) -> Result<i64, DecodeError> {
        let first = self.u8()? as i8;
        if first >= -112 {
            return Ok(i64::from(first));
        }
        let negative = first < -120;
        let base: i16 = if negative { -120 } else { -112 };
        let len = usize::from(base.abs_diff(i16::from(first)));
        let mut value: u64 = 0;
        for byte in self.take(len)? {
            value = (value << 8) | u64::from(*byte);
        }
        let value = value as i64;
        Ok(if negative { !value } else { value })
    }

    /// `WritableUtils.readVInt`.
    pub(super) fn vint(&mut self) -> Result<i32, DecodeError> {
        let value = self.vlong()?;
        i32::try_from(value).map_err(|_| self.error(format!("{value} does not fit an int")))
    }

    /// The bytes of a delimited protobuf message.
    pub(super) fn delimited(&mut self) -> Result<&'a [u8], DecodeError> {
        let mut rest = self.data.get(self.pos..).unwrap_or_default();
        let message = take_delimited(&mut rest).map_err(|error| self.error(error.to_string()))?;
        self.pos = self.data.len().saturating_sub(rest.len());
        Ok(message)
    }

    /// A string in Java's `UTF8` class: its UTF-16 units in up to three bytes each.
    pub(super) fn str(&mut self) -> Result<String, DecodeError> {
        let len = usize::from(self.u16()?);
        let start = self.pos;
        let bytes = self.take(len)?;
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Ok(text.to_owned());
        }
        decode_surrogates(bytes).ok_or_else(|| DecodeError {
            offset: start,
            problem: "string is not UTF-8".to_owned(),
        })
    }

    /// `io.Text`: real UTF-8.
    pub(super) fn text(&mut self) -> Result<String, DecodeError> {
        let len = self.vint()?;
        let len = self.count(i64::from(len), 1)?;
        let start = self.pos;
        let bytes = self.take(len)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(DecodeError {
                offset: start,
                problem: "text is not UTF-8".to_owned(),
            }),
        }
    }
}

/// Decodes UTF-8 in which a character beyond the BMP may be two surrogates of three bytes each.
fn decode_surrogates(bytes: &[u8]) -> Option<String> {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        let len = match first {
            0x00..=0x7F => 0,
            0xC0..=0xDF => 1,
            0xE0..=0xEF => 2,
            0xF0..=0xF7 => 3,
            _ => return None,
        };
        let (continuation, tail) = tail.split_at_checked(len)?;
        let mut code = u32::from(match len {
            0 => first,
            1 => first & 0x1F,
            2 => first & 0x0F,
            _ => first & 0x07,
        });
        for byte in continuation {
            if byte & 0xC0 != 0x80 {
                return None;
            }
            code = (code << 6) | u32::from(byte & 0x3F);
        }
        match u16::try_from(code) {
            Ok(unit) => units.push(unit),
            Err(_) => units.extend_from_slice(char::from_u32(code)?.encode_utf16(&mut [0; 2])),
        }
        rest = tail;
    }
    String::from_utf16(&units).ok()
}

/// Refuses a string that [`Output::str`] refuses.
pub(super) fn check_str(text: &str) -> Encoded {
    if text.len() > MAX_STRING_UNITS && text.encode_utf16().nth(MAX_STRING_UNITS).is_some() {
        return Err(EncodeError::StringTooLong);
    }
    Ok(())
}

/// Refuses a number that Java would take for a negative one.
pub(super) fn check_unsigned(what: &'static str, value: u64) -> Encoded {
    if value > i64::MAX as u64 {
        return Err(EncodeError::NumberTooLarge { what, value });
    }
    Ok(())
}

/// Where an op is written, in the layout of a log. The counterpart of [`Input`].
pub(super) struct Output<'a> {
    pub(super) bytes: &'a mut Vec<u8>,
    pub(super) layout: LayoutVersion,
}

impl Output<'_> {
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Encoded {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn u8(&mut self, value: u8) -> Encoded {
        self.bytes.push(value);
        Ok(())
    }

    pub(super) fn bool(&mut self, value: bool) -> Encoded {
        self.u8(u8::from(value))
    }

    pub(super) fn u16(&mut self, value: u16) -> Encoded {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn i16(&mut self, value: i16) -> Encoded {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn i32(&mut self, value: i32) -> Encoded {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn i64(&mut self, value: i64) -> Encoded {
        self.raw(&value.to_be_bytes())
    }

    /// A number that Java keeps in a `long` but that is never negative.
    pub(super) fn unsigned(&mut self, what: &'static str, value: u64) -> Encoded {
        check_unsigned(what, value)?;
        self.raw(&value.to_be_bytes())
    }

    /// A length as Java's `int`.
    pub(super) fn len(&mut self, len: usize) -> Encoded {
        self.i32(i32::try_from(len).map_err(|_| EncodeError::ListTooLong(len))?)
    }

    /// `WritableUtils.writeVLong`.
    pub(super) fn vlong(&mut self, value: i64) -> Encoded {
        if (-112..=127).contains(&value) {
            return self.u8(value as u8);
        }
        let (magnitude, base) = if value < 0 { (!value, -120_i8) } else { (value, -112_i8) };
        let bytes = magnitude.to_be_bytes();
        let skip = (magnitude.leading_zeros() / 8) as usize;
        let len = bytes.len().saturating_sub(skip) as i8;
        self.u8(base.wrapping_sub(len) as u8)?;
        self.raw(bytes.get(skip..).unwrap_or_default())
    }

    /// A string in Java's `UTF8` class.
    pub(super) fn str(&mut self, text: &str) -> Encoded {
        if text.len() <= MAX_STRING_UNITS && text.is_ascii() {
            self.u16(text.len() as u16)?;
            return self.raw(text.as_bytes());
        }
        let start = self.bytes.len();
        self.u16(0)?;
        for (units, unit) in text.encode_utf16().enumerate() {
            if units == MAX_STRING_UNITS {
                return Err(EncodeError::StringTooLong);
            }
            if unit <= 0x7F {
                self.bytes.push(unit as u8);
            } else if unit <= 0x7FF {
                self.raw(&[0xC0 | (unit >> 6) as u8, 0x80 | (unit & 0x3F) as u8])?;
            } else {
                self.raw(&[
                    0xE0 | (unit >> 12) as u8,
                    0x80 | ((unit >> 6) & 0x3F) as u8,
                    0x80 | (unit & 0x3F) as u8,
                ])?;
            }
        }
        let text_at = start.saturating_add(2);
        let len = self.bytes.len().saturating_sub(text_at) as u16;
        if let Some(place) = self.bytes.get_mut(start..text_at) {
            place.copy_from_slice(&len.to_be_bytes());
        }
        Ok(())
    }

    /// `io.Text`.
    pub(super) fn text(&mut self, text: &str) -> Encoded {
        if text.len() > MAX_TEXT_BYTES {
            return Err(EncodeError::TextTooLong { len_bytes: text.len() });
        }
        self.vlong(text.len() as i64)?;
        self.raw(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn input(data: &[u8]) -> Input<'_> {
        Input::new(data, LayoutVersion::NAMENODE_CURRENT)
    }

    fn output(bytes: &mut Vec<u8>) -> Output<'_> {
        let layout = LayoutVersion::NAMENODE_CURRENT;
        Output { bytes, layout }
    }

    #[test]
    fn vlong_matches_hadoop() {
        // From WritableUtils: one byte in -112..=127, then a byte of sign and count, then the magnitude.
        for (value, expected) in [
            (0, vec![0]),
            (127, vec![0x7F]),
            (-112, vec![0x90]),
            (128, vec![0x8F, 0x80]),
            (-113, vec![0x87, 0x70]),
            (256, vec![0x8E, 1, 0]),
            (i64::MAX, vec![0x88, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
            (i64::MIN, vec![0x80, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        ] {
            let mut out = Vec::new();
            output(&mut out).vlong(value).unwrap();
            assert_eq!(out, expected, "{value}");
            assert_eq!(input(&out).vlong(), Ok(value));
        }
    }

    #[test]
    fn strings_beyond_the_bmp_are_two_surrogates() {
        let mut out = Vec::new();
        output(&mut out).str("a\0é€😀").unwrap();
        assert_eq!(
            out,
            [
                0, 13, b'a', 0, 0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0xED, 0xA0, 0xBD, 0xED, 0xB8, 0x80
            ]
        );
        assert_eq!(input(&out).str().as_deref(), Ok("a\0é€😀"));
        // Other writers use four bytes.
        let four = [0, 4, 0xF0, 0x9F, 0x98, 0x80];
        assert_eq!(input(&four).str().as_deref(), Ok("😀"));
        let alone = [0, 3, 0xED, 0xA0, 0xBD];
        assert!(input(&alone).str().is_err());
    }

    #[test]
    fn safety_n1_strings_are_written_whole_or_refused() {
        for longest in [
            "x".repeat(MAX_STRING_UNITS),
            "€".repeat(MAX_STRING_UNITS),
            "x".to_owned() + &"😀".repeat(MAX_STRING_UNITS / 2),
        ] {
            let mut out = Vec::new();
            output(&mut out).str(&longest).unwrap();
            assert_eq!(input(&out).str(), Ok(longest.clone()));
            for more in ["x", "€", "😀"] {
                let longer = longest.clone() + more;
                assert_eq!(output(&mut Vec::new()).str(&longer), Err(EncodeError::StringTooLong));
            }
        }
    }

    proptest! {
        #[test]
        fn primitives_round_trip(value: i64, text: String) {
            let mut out = Vec::new();
            output(&mut out).vlong(value).unwrap();
            output(&mut out).str(&text).unwrap();
            output(&mut out).text(&text).unwrap();
            let mut read = input(&out);
            prop_assert_eq!(read.vlong(), Ok(value));
            prop_assert_eq!(read.str(), Ok(text.clone()));
            prop_assert_eq!(read.text(), Ok(text));
            prop_assert_eq!(read.remaining(), 0);
        }
    }
}

//! Bounds the memory that a message takes once it is decoded.
//!
//! An empty element of a repeated field is two bytes of a message, and hundreds of bytes once it is decoded. So a
//! message of the greatest size that `ipc.maximum.data.length` admits (128 MiB) could take many gigabytes, from anybody
//! who can reach the port. The fields of large messages are counted before they are decoded. Small messages can't hold
//! many elements.

use crate::wire::{Field, MalformedMessage, take_value, take_varint};

/// Most fields of one message, together with those of all messages in it. A decoded element takes at most some 300
/// bytes.
pub const FIELDS_MAX: usize = 1_000_000;
/// Length of the shortest field: a tag, and a length or number.
const FIELD_BYTES_MIN: usize = 2;
/// Levels of nested messages that are counted. Hadoop's requests have six.
const LEVELS_MAX: usize = 16;

/// Whether a message of any type has at most [`FIELDS_MAX`] fields.
///
/// Strings and bytes are counted as if they were messages, so a string that happens to look like a message may count
/// for too much. The bytes in the elements of `opaque`, a field of the outermost message, are not counted: they may be
/// large, and their type has no repeated fields.
#[must_use]
pub fn is_bounded(message: &[u8], opaque: Option<u64>) -> bool {
    if message.len() / FIELD_BYTES_MIN <= FIELDS_MAX {
        return true;
    }
    let mut left = Left {
        fields: FIELDS_MAX,
        // Each byte is looked at once for each level that it is on.
        bytes: message.len().saturating_mul(LEVELS_MAX),
    };
    left.count(message, 0, opaque)
}

struct Left {
    fields: usize,
    bytes: usize,
}

impl Left {
    /// Counts the fields of `rest`, until it ends or is no message any more. False when the limit is reached.
    fn count(&mut self, mut rest: &[u8], level: usize, opaque: Option<u64>) -> bool {
        let Some(bytes) = self.bytes.checked_sub(rest.len()) else {
            return false;
        };
        self.bytes = bytes;
        while !rest.is_empty() {
            let Some(fields) = self.fields.checked_sub(1) else {
                return false;
            };
            self.fields = fields;
            let Ok(key) = take_varint(&mut rest) else { return true };
            let inner = match key & 7 {
                // The start or end of a group. A decoder skips an unknown one, and goes on behind it.
                3 | 4 => continue,
                wire_type => match take_value(&mut rest, wire_type) {
                    Ok(Field::Bytes(inner)) => inner,
                    Ok(_) => continue,
                    Err(MalformedMessage) => return true,
                },
            };
            let own_fields_only = level == 1 && opaque.is_some();
            let inside = if level == 0 && opaque != Some(key >> 3) {
                None
            } else {
                opaque
            };
            if !own_fields_only && level < LEVELS_MAX && !self.count(inner, level.saturating_add(1), inside) {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    /// A length-delimited field.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut bytes);
        bytes.extend(content);
        bytes
    }

    #[test]
    fn empty_elements_are_counted_on_every_level() {
        let empty = field(1, &[]).repeat(FIELDS_MAX + 1);
        assert!(!is_bounded(&empty, None));
        let mut nested = empty;
        for number in 1..10 {
            nested = field(number, &nested);
            assert!(!is_bounded(&nested, None), "{number} levels");
        }
        // A decoder sees damage at the end of a message only after it has made all elements before it.
        nested.push(7);
        assert!(!is_bounded(&nested, None));
    }

    #[test]
    fn what_stands_behind_a_group_is_counted() {
        // Start and end of group 99, which prost skips.
        let group = [&[0x9B, 6][..], &[0x9C, 6]].concat();
        let message = [group, field(1, &[]).repeat(FIELDS_MAX + 1)].concat();
        assert!(!is_bounded(&message, None));
        assert!(!is_bounded(&field(1, &message), None));
    }

    #[test]
    fn a_long_text_is_bounded() {
        assert!(is_bounded(&field(1, "a".repeat(5 << 20).as_bytes()), None));
    }

    #[test]
    fn the_bytes_of_a_block_report_are_not_taken_for_fields() {
        use crate::proto::datanode::{BlockReportRequestProto, StorageBlockReportProto};
        let mut buffer = Vec::new();
        for id in 0..1_500_000u64 {
            for number in [1 << 30 | id, 100, 1001, 0] {
                prost::encoding::encode_varint(number, &mut buffer);
            }
        }
        let report = BlockReportRequestProto {
            reports: vec![StorageBlockReportProto {
                blocks_buffers: vec![buffer.into()],
                ..Default::default()
            }],
            ..Default::default()
        };
        let report = report.encode_to_vec();
        assert!(is_bounded(&report, Some(3)));
        // The reports themselves are counted, and so are their other fields.
        let many = field(3, &field(3, &[]).repeat(FIELDS_MAX + 1));
        assert!(!is_bounded(&many, Some(3)));
        assert!(!is_bounded(&field(3, &[]).repeat(FIELDS_MAX + 1), Some(3)));
        assert!(!is_bounded(&field(1, &field(3, &[]).repeat(FIELDS_MAX + 1)), Some(3)));
    }
}

//! Protobuf messages behind a varint length, on slices and on `std::io`.

use std::io::{self, Read, Write};

use prost::Message;

use super::DataTransferError;

/// Largest message that is read, in bytes. It is far above the size of any request, and small enough to be harmless.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Room made for a message before any of it has come. Most messages are shorter.
const FIRST_ROOM_BYTES: usize = 4096;

/// Reads a varint length from the front of `buf`: `(length, bytes it took)`, or `None` when more bytes are needed.
fn length_prefix(buf: &[u8]) -> Result<Option<(usize, usize)>, DataTransferError> {
    let mut value = 0_u64;
    for (index, byte) in buf.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F)
            .checked_shl((index as u32).saturating_mul(7))
            .unwrap_or(0);
        if byte & 0x80 == 0 {
            let length = usize::try_from(value).unwrap_or(usize::MAX);
            if length > MAX_MESSAGE_BYTES {
                return Err(DataTransferError::Length {
                    what: "message",
                    length: value,
                });
            }
            return Ok(Some((length, index.saturating_add(1))));
        }
        if index >= 4 {
            break;
        }
    }
    if buf.len() >= 5 {
        return Err(DataTransferError::Length {
            what: "message",
            length: value,
        });
    }
    Ok(None)
}

/// Decodes one delimited message from the front of `buf`: the message and the bytes it took, or `None` when `buf` does
/// not hold all of it yet.
pub fn decode_delimited<M: Message + Default>(buf: &[u8]) -> Result<Option<(M, usize)>, DataTransferError> {
    let Some((length, prefix)) = length_prefix(buf)? else {
        return Ok(None);
    };
    let end = prefix.saturating_add(length);
    match buf.get(prefix..end) {
        Some(body) => Ok(Some((M::decode(body)?, end))),
        None => Ok(None),
    }
}

/// The message behind its length.
#[must_use]
pub fn encode_delimited<M: Message>(message: &M) -> Vec<u8> {
    message.encode_length_delimited_to_vec()
}

/// Appends the message behind its length.
pub fn encode_delimited_into<M: Message>(message: &M, out: &mut Vec<u8>) {
    out.reserve(message.encoded_len().saturating_add(5));
    let mut length = message.encoded_len() as u64;
    while length >= 0x80 {
        out.push((length as u8) | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    // A Vec grows as needed, so that encoding cannot run out of room.
    message.encode_raw(out);
}

/// Reads one delimited message. The length is read byte by byte, so `reader` should be buffered.
pub fn read_delimited<M: Message + Default>(reader: &mut impl Read) -> io::Result<M> {
    let mut prefix = [0_u8; 5];
    let mut filled = 0;
    let length = loop {
        let Some(slot) = prefix.get_mut(filled..=filled) else {
            return Err(DataTransferError::Length {
                what: "message",
                length: u64::MAX,
            }
            .into());
        };
        reader.read_exact(slot)?;
        filled = filled.saturating_add(1);
        if let Some((length, _)) = length_prefix(prefix.get(..filled).unwrap_or_default())? {
            break length;
        }
    };
    let body = read_body(reader, length)?;
    M::decode(body.as_slice()).map_err(|error| DataTransferError::Message(error).into())
}

/// Reads `length` bytes, and makes room for them only as they come: the length is from outside, and may be false.
fn read_body(reader: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::with_capacity(length.min(FIRST_ROOM_BYTES));
    let read = reader.take(length as u64).read_to_end(&mut body)?;
    if read < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(body)
}

/// Writes the message behind its length in one call.
pub fn write_delimited<M: Message>(writer: &mut impl Write, message: &M) -> io::Result<()> {
    writer.write_all(&encode_delimited(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::hdfs::{BlockOpResponseProto, Status};

    fn response(message: &str) -> BlockOpResponseProto {
        BlockOpResponseProto {
            status: Status::Error as i32,
            message: Some(message.to_owned()),
            ..Default::default()
        }
    }

    #[test]
    fn a_message_round_trips_and_asks_for_more_until_it_is_whole() {
        let message = response(&"x".repeat(300));
        let bytes = encode_delimited(&message);
        let mut appended = vec![9];
        encode_delimited_into(&message, &mut appended);
        assert_eq!(&appended[1..], bytes.as_slice());
        for end in 0..bytes.len() {
            assert!(
                decode_delimited::<BlockOpResponseProto>(&bytes[..end])
                    .unwrap()
                    .is_none()
            );
        }
        let (decoded, used) = decode_delimited::<BlockOpResponseProto>(&bytes).unwrap().unwrap();
        assert_eq!((decoded, used), (message.clone(), bytes.len()));
        assert_eq!(
            read_delimited::<BlockOpResponseProto>(&mut bytes.as_slice()).unwrap(),
            message
        );
    }

    #[test]
    fn absurd_lengths_are_refused_before_anything_is_allocated() {
        for bytes in [
            [0xFF, 0xFF, 0xFF, 0xFF, 0x7F].as_slice(),
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        ] {
            assert!(decode_delimited::<BlockOpResponseProto>(bytes).is_err());
            assert!(read_delimited::<BlockOpResponseProto>(&mut { bytes }).is_err());
        }
    }
}

//! Framed ops whose content tells who wrote them, and functions that read them back.

use hathi_formats::ids::TxId;

/// A framed op with this body. No other call makes the same body.
pub fn frame(txid: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(17 + body.len());
    bytes.push(9);
    bytes.extend((12 + body.len() as u32).to_be_bytes());
    bytes.extend(txid.to_be_bytes());
    bytes.extend(body);
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_be_bytes());
    bytes
}

/// FNV-1a.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The transactions of a segment file with the hash of each, up to the first one that is not whole.
pub fn read_segment(file: &[u8], start: TxId) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut rest = file.get(8..).unwrap_or_default();
    let mut txid = start.0;
    while rest.len() >= 17 && rest[0] != 0xFF {
        let len = u32::from_be_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize + 5;
        let Some(frame) = rest.get(..len).filter(|frame| frame.len() >= 17) else {
            break;
        };
        let (covered, crc) = frame.split_at(len - 4);
        let txid_here = frame[5..13]
            .iter()
            .fold(0, |value, byte| (value << 8) | u64::from(*byte));
        if txid_here != txid || crc32fast::hash(covered).to_be_bytes() != crc {
            break;
        }
        found.push((txid, hash(frame)));
        txid += 1;
        rest = &rest[len..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_framed_is_read_back() {
        let mut file = vec![0; 8];
        file.extend(frame(7, b"a"));
        file.extend(frame(8, b"b"));
        let whole = read_segment(&file, TxId(7));
        assert_eq!(whole.len(), 2);
        assert_eq!(whole[1], (8, hash(&frame(8, b"b"))));
        file.pop();
        assert_eq!(read_segment(&file, TxId(7)).len(), 1);
        assert_eq!(read_segment(&file, TxId(6)).len(), 0);
    }
}

//! Mutates valid bytes.

use fastrand::Rng;

/// Most bytes of one input, after mutation.
pub(super) const INPUT_MAX_BYTES: usize = 2 << 20;
/// Levels of the deepest nesting. A protobuf message may have 100.
const NESTING_MAX: usize = 5000;
/// Numbers that replace lengths and counts.
const LENGTHS: [u32; 10] = [
    0,
    1,
    0x7F,
    0xFFFF,
    64 << 20,
    (64 << 20) + 1,
    128 << 20,
    i32::MAX as u32,
    1 << 31,
    u32::MAX,
];

/// Mutates bits, lengths and structure of one message or frame.
pub(super) fn bytes(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.usize(1..4) {
        once(bytes, rng);
        bytes.truncate(INPUT_MAX_BYTES);
    }
}

fn once(bytes: &mut Vec<u8>, rng: &mut Rng) {
    if bytes.is_empty() {
        bytes.extend(noise(32, rng));
        return;
    }
    let at = rng.usize(..bytes.len());
    match rng.u8(..16) {
        0..4 => flip(bytes, rng),
        4 => put(bytes, at, &[rng.choice([0, 1, 0x7F, 0x80, 0xFE, 0xFF]).unwrap_or(0)]),
        5 => put(bytes, at, &rng.choice(LENGTHS).unwrap_or(0).to_be_bytes()),
        // A varint of the greatest length. It may replace a length or a count.
        6 => insert(bytes, at, &[0xFF; 9], 1),
        7 => put(bytes, at, &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F]),
        8 => bytes.truncate(at),
        9 => drop(bytes.drain(at..rng.usize(at..=bytes.len()))),
        10 => {
            let piece = bytes.get(at..rng.usize(at..=bytes.len())).unwrap_or_default().to_vec();
            let times = rng.choice([1, 2, 100, 10_000]).unwrap_or(1);
            insert(bytes, at, &piece, times);
        }
        11 => {
            let noise = noise(200, rng);
            insert(bytes, at, &noise, 1);
        }
        12 => *bytes = nested(bytes, rng),
        // Groups inside of groups, which decoders must skip.
        13 => insert(bytes, at, &[rng.u8(1..16) << 3 | 3], rng.usize(1..NESTING_MAX)),
        // Many small fields.
        14 => insert(bytes, at, &[rng.u8(1..16) << 3 | 2, 0], rng.usize(1..50_000)),
        _ => bytes.rotate_left(at),
    }
}

fn noise(max_bytes: usize, rng: &mut Rng) -> Vec<u8> {
    (0..rng.usize(1..max_bytes)).map(|_| rng.u8(..)).collect()
}

fn flip(bytes: &mut [u8], rng: &mut Rng) {
    for _ in 0..rng.usize(1..9) {
        let at = rng.usize(..bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << rng.u8(..8);
        }
    }
}

fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    for (old, new) in bytes.iter_mut().skip(at).zip(new) {
        *old = *new;
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8], times: usize) {
    let room = INPUT_MAX_BYTES.saturating_sub(bytes.len()) / piece.len().max(1);
    let new = piece.repeat(times.min(room));
    bytes.splice(at..at, new);
}

/// Wraps the bytes into a field of a message, which is a field of a message, and so on.
fn nested(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let levels = rng.usize(2..NESTING_MAX);
    let key = rng.u8(1..16) << 3 | 2;
    // Lengths are computed from the inside out.
    let mut lengths = Vec::new();
    let mut len = bytes.len();
    for _ in 0..levels {
        let mut length = varint(len);
        length.insert(0, key);
        len += length.len();
        lengths.push(length);
    }
    let mut out: Vec<u8> = lengths.into_iter().rev().flatten().collect();
    out.extend_from_slice(bytes);
    out
}

fn varint(number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    hathi_formats::wire::put_varint(&mut out, number as u64);
    out
}

/// Mutates the order of a connection's pieces: exchanges, drops or repeats them.
pub(super) fn pieces(pieces: &mut Vec<Vec<u8>>, rng: &mut Rng) {
    if pieces.is_empty() {
        return;
    }
    let at = rng.usize(..pieces.len());
    match rng.u8(..8) {
        0 => {
            let other = rng.usize(..pieces.len());
            pieces.swap(at, other);
        }
        1 => rng.shuffle(pieces),
        2 => drop(pieces.remove(at)),
        3 => {
            let piece = pieces.get(at).cloned().unwrap_or_default();
            let room = INPUT_MAX_BYTES / piece.len().max(1);
            let times = rng.choice([1, 2, 20, 400]).unwrap_or(1).min(room);
            pieces.splice(at..at, std::iter::repeat_n(piece, times));
        }
        4 => pieces.truncate(at),
        _ => {
            if let Some(piece) = pieces.get_mut(at) {
                bytes(piece, rng);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_of_the_same() {
        let make = |seed| {
            let mut stream = vec![vec![1, 2, 3], vec![4; 100], vec![5; 20]];
            let mut rng = Rng::with_seed(seed);
            pieces(&mut stream, &mut rng);
            stream.iter_mut().for_each(|piece| bytes(piece, &mut rng));
            stream
        };
        for seed in 0..200 {
            assert_eq!(make(seed), make(seed));
        }
        assert!((0..200).any(|seed| make(seed) != make(seed + 1)));
    }

    #[test]
    fn nothing_grows_beyond_the_limit() {
        for seed in 0..2000 {
            let mut rng = Rng::with_seed(seed);
            let mut message = vec![7; 1 << 16];
            bytes(&mut message, &mut rng);
            assert!(message.len() <= INPUT_MAX_BYTES, "seed {seed}");
        }
    }

    #[test]
    fn what_is_nested_is_a_message_in_a_message() {
        let mut out = nested(b"", &mut Rng::with_seed(1));
        let key = out[0];
        let mut levels = 0;
        while !out.is_empty() {
            let mut rest = out.as_slice();
            assert_eq!(
                protox::prost::encoding::decode_varint(&mut rest).unwrap(),
                u64::from(key)
            );
            let len = protox::prost::encoding::decode_varint(&mut rest).unwrap();
            assert_eq!(len, rest.len() as u64, "level {levels}");
            out = rest.to_vec();
            levels += 1;
        }
        assert!((2..NESTING_MAX).contains(&levels));
    }
}

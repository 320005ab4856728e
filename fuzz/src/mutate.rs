//! Mutates bytes in the ways in which disks, networks, other programs and attackers do.

use crate::random::Random;

/// Longest mutation, in bytes, unless its input is longer. Bugs of decoders show in short inputs.
const LONGEST: usize = 4096;
/// Most changes in one mutation.
const CHANGES_MAX: usize = 6;
/// Numbers at which decoders break: limits of the integer types and of Hadoop, and huge counts.
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    7,
    8,
    16,
    17,
    63,
    64,
    100,
    127,
    128,
    255,
    256,
    1000,
    4095,
    4096,
    16_384,
    16_385,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x1_0000,
    1 << 20,
    1 << 24,
    (1 << 26) - 1,
    1 << 30,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFE,
    0xFFFF_FFFF,
    0x1_0000_0000,
    1 << 40,
    1 << 62,
    0x7FFF_FFFF_FFFF_FFFE,
    0x7FFF_FFFF_FFFF_FFFF,
    0x8000_0000_0000_0000,
    0xFFFF_FFFF_FFFF_CFC7,
    0xFFFF_FFFF_FFFF_FFFE,
    0xFFFF_FFFF_FFFF_FFFF,
];
/// Words with a meaning in the texts that are decoded here.
const WORDS: &[&str] = &[
    "0",
    "-1",
    "+1",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "9223372036854775807",
    "4294967296",
    "0x",
    "-0x8000000000000000",
    "1e999",
    "NaN",
    "\n",
    "\r\n",
    "\0",
    " ",
    "\t",
    "=",
    ":",
    "/",
    "//",
    "..",
    ".",
    ",",
    ";",
    "#",
    "!",
    "%",
    "%0",
    "%zz",
    "%00",
    "+",
    "&",
    "?",
    "[",
    "]",
    "::",
    "\\",
    "\\u",
    "\"",
    "<",
    ">",
    "</",
    "/>",
    "<![CDATA[",
    "<!--",
    "&amp;",
    "&#0;",
    "&#x110000;",
    "${",
    "}",
    "${user.name}",
    "${a}",
    "${env.A:-b}",
    "*",
    "é",
    "€",
    "😀",
    "\u{FEFF}",
    "blk_",
    "_",
    ".meta",
    ".tmp",
    "edits_",
    "inprogress_",
    "-",
    "/.reserved/.inodes/",
    "/.reserved/raw",
];

/// A mutation of one of the inputs, with parts of others.
#[must_use]
pub fn mutate(random: &mut Random, inputs: &[Vec<u8>]) -> Vec<u8> {
    let Some(input) = inputs.get(random.below(inputs.len())) else {
        return Vec::new();
    };
    let other = inputs.get(random.below(inputs.len())).map_or(&[][..], Vec::as_slice);
    let mut bytes = input.clone();
    let longest = LONGEST.max(bytes.len());
    let changes = 1 + random.below(CHANGES_MAX).min(random.below(CHANGES_MAX));
    for _ in 0..changes {
        change(random, &mut bytes, other);
        bytes.truncate(longest);
    }
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    match random.below(18) {
        0 | 1 => {
            let bit = 1 << random.below(8);
            let at = random.below(bytes.len());
            set(bytes, at, |byte| byte ^ bit);
        }
        2 => {
            let value = random.any() as u8;
            let at = random.below(bytes.len());
            set(bytes, at, |_| value);
        }
        3 => {
            let by = random.below(33) as u8;
            let at = random.below(bytes.len());
            set(bytes, at, |byte| byte.wrapping_add(by).wrapping_sub(16));
        }
        4 | 5 => put_number(random, bytes),
        6 | 7 => put_varint(random, bytes),
        8 => bytes.truncate(random.below(bytes.len() + 1)),
        9 => {
            let (start, end) = random.range(bytes.len());
            bytes.drain(start..end);
        }
        10 => {
            // This inserts a part once more at some place.
            let (start, end) = random.range(bytes.len());
            let part = bytes[start..end].to_vec();
            insert(random, bytes, &part);
        }
        11 => {
            // This repeats a part many times in a row.
            let (start, end) = random.range(bytes.len());
            let part = bytes[start..end].repeat(1 + random.below(64));
            let part = &part[..part.len().min(LONGEST)];
            bytes.splice(end..end, part.iter().copied());
        }
        12 => {
            let noise: Vec<u8> = (0..=random.below(16)).map(|_| random.any() as u8).collect();
            insert(random, bytes, &noise);
        }
        13 => {
            // The beginning of this input is joined with the end of another.
            bytes.truncate(random.below(bytes.len() + 1));
            bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
        14 => {
            let (start, end) = random.range(other.len());
            let part = other[start..end].to_vec();
            insert(random, bytes, &part);
        }
        15 => nest(random, bytes),
        16 => {
            let value = random.pick(&[0, 0x0A, 0x20, 0x7F, 0x80, 0xFF]);
            let (start, end) = random.range(bytes.len());
            bytes[start..end].fill(value);
        }
        _ => {
            let word = random.pick(WORDS).as_bytes();
            if random.below(2) == 0 {
                insert(random, bytes, word);
            } else {
                let (start, end) = random.range(bytes.len());
                bytes.splice(start..end, word.iter().copied());
            }
        }
    }
}

fn set(bytes: &mut [u8], at: usize, to: impl FnOnce(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = to(*byte);
    }
}

fn insert(random: &mut Random, bytes: &mut Vec<u8>, part: &[u8]) {
    let at = random.below(bytes.len() + 1);
    bytes.splice(at..at, part.iter().copied());
}

/// Overwrites some bytes with a number of one to eight bytes in either order.
fn put_number(random: &mut Random, bytes: &mut [u8]) {
    let number = random.pick(NUMBERS);
    let len = random.pick(&[1, 2, 4, 8]);
    let mut encoded = number.to_le_bytes()[..len].to_vec();
    if random.below(4) > 0 {
        encoded.reverse();
    }
    let at = random.below(bytes.len());
    for (place, byte) in bytes.iter_mut().skip(at).zip(encoded) {
        *place = byte;
    }
}

/// Replaces the varint at some place by another: a count, a length or a key.
fn put_varint(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = random.below(bytes.len());
    let len = bytes
        .iter()
        .skip(at)
        .take(10)
        .take_while(|byte| **byte & 0x80 != 0)
        .count();
    let end = (at + len + 1).min(bytes.len());
    bytes.splice(at..end, varint(random.pick(NUMBERS)));
}

fn varint(number: u64) -> Vec<u8> {
    let mut encoded = Vec::new();
    hathi_formats::wire::put_varint(&mut encoded, number);
    encoded
}

/// Wraps a part into a field of a field of a field.
fn nest(random: &mut Random, bytes: &mut Vec<u8>) {
    let (start, end) = random.range(bytes.len());
    // The key is one in use at this place, or any.
    let used = bytes.get(random.below(bytes.len())).map_or(0x0A, |byte| byte & !7 | 2);
    let key = random.pick(&[used, 0x0A, 0x12, 0x1A, 0x22]);
    let mut nested = bytes[start..end].to_vec();
    for _ in 0..1 << random.below(9) {
        if nested.len() > LONGEST {
            break;
        }
        let mut outer = vec![key];
        outer.extend(varint(nested.len() as u64));
        outer.append(&mut nested);
        nested = outer;
    }
    bytes.splice(start..end, nested);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_bytes_and_another_seed_others() {
        let inputs = [b"some bytes".to_vec(), vec![8, 1, 0x12, 3, b'a', b'b', b'c']];
        let all = |seed| -> Vec<Vec<u8>> {
            let mut random = Random::new(seed);
            (0..1000).map(|_| mutate(&mut random, &inputs)).collect()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
    }

    #[test]
    fn nothing_and_one_byte_can_be_mutated_too() {
        let mut random = Random::new(3);
        for _ in 0..10_000 {
            let _ = mutate(&mut random, &[]);
            assert!(mutate(&mut random, &[Vec::new(), vec![7]]).len() <= LONGEST);
        }
    }
}

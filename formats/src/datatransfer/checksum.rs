//! Checksums of chunks, and checksums of checksums (`DataChecksum`, `CrcComposer`, `MD5Hash`).

use crc_fast::CrcAlgorithm;
use md5::{Digest, Md5};

use super::DataTransferError;
use crate::proto::hdfs::{ChecksumProto, ChecksumTypeProto};

/// The kinds of checksum a replica may have (`DataChecksum.Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are Hadoop's")]
#[repr(u8)]
pub enum ChecksumType {
    Null = 0,
    Crc32 = 1,
    Crc32c = 2,
}

impl ChecksumType {
    /// From the number on the wire and on disk.
    #[must_use]
    pub const fn from_number(number: i32) -> Option<ChecksumType> {
        match number {
            0 => Some(ChecksumType::Null),
            1 => Some(ChecksumType::Crc32),
            2 => Some(ChecksumType::Crc32c),
            _ => None,
        }
    }

    /// Bytes of one checksum.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            ChecksumType::Null => 0,
            ChecksumType::Crc32 | ChecksumType::Crc32c => 4,
        }
    }

    /// The protobuf enum.
    #[must_use]
    pub const fn to_proto(self) -> ChecksumTypeProto {
        match self {
            ChecksumType::Null => ChecksumTypeProto::ChecksumNull,
            ChecksumType::Crc32 => ChecksumTypeProto::ChecksumCrc32,
            ChecksumType::Crc32c => ChecksumTypeProto::ChecksumCrc32c,
        }
    }

    /// The checksum of `data`; 0 for [`ChecksumType::Null`].
    #[must_use]
    pub fn checksum(self, data: &[u8]) -> u32 {
        match self {
            ChecksumType::Null => 0,
            // For each polynomial the faster of the two crates is used.
            ChecksumType::Crc32 => crc32fast::hash(data),
            ChecksumType::Crc32c => crc_fast::crc32_iscsi(data),
        }
    }

    const fn algorithm(self) -> Option<CrcAlgorithm> {
        match self {
            ChecksumType::Null => None,
            ChecksumType::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            ChecksumType::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
        }
    }

    /// The checksum of two pieces of data one after the other, from the checksums of each (`CrcUtil.compose`).
    #[must_use]
    pub fn combine(self, first: u32, second: u32, second_len_bytes: u64) -> u32 {
        match self.algorithm() {
            None => 0,
            Some(algorithm) => {
                crc_fast::checksum_combine(algorithm, first.into(), second.into(), second_len_bytes) as u32
            }
        }
    }
}

/// A chunk whose data and checksum differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("checksum error at {offset}: expected {expected:#010x}, got {actual:#010x}")]
pub struct ChecksumMismatch {
    /// Where the chunk begins, in bytes from the start of the data that was checked.
    pub offset: usize,
    /// The checksum that came with the data.
    pub expected: u32,
    /// The checksum of the data.
    pub actual: u32,
}

/// Kind and chunk size of a sequence of checksums (`DataChecksum`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DataChecksum {
    kind: ChecksumType,
    bytes_per_checksum: u32,
}

impl DataChecksum {
    /// What Hadoop writes by default: a CRC32C for each 512 bytes.
    pub const DEFAULT: DataChecksum = DataChecksum {
        kind: ChecksumType::Crc32c,
        bytes_per_checksum: 512,
    };

    /// `None` when the chunk size is 0 or does not fit a Java `int`.
    #[must_use]
    pub const fn new(kind: ChecksumType, bytes_per_checksum: u32) -> Option<DataChecksum> {
        if bytes_per_checksum == 0 || bytes_per_checksum > i32::MAX as u32 {
            return None;
        }
        Some(DataChecksum {
            kind,
            bytes_per_checksum,
        })
    }

    /// From the protobuf message.
    pub fn from_proto(proto: &ChecksumProto) -> Result<DataChecksum, DataTransferError> {
        ChecksumType::from_number(proto.r#type)
            .and_then(|kind| DataChecksum::new(kind, proto.bytes_per_checksum))
            .ok_or(DataTransferError::Checksum {
                kind: proto.r#type,
                bytes_per_checksum: proto.bytes_per_checksum,
            })
    }

    /// The protobuf message.
    #[must_use]
    pub const fn to_proto(&self) -> ChecksumProto {
        ChecksumProto {
            r#type: self.kind.to_proto() as i32,
            bytes_per_checksum: self.bytes_per_checksum,
        }
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> ChecksumType {
        self.kind
    }

    /// Bytes of data for each checksum.
    #[must_use]
    pub const fn bytes_per_checksum(&self) -> u32 {
        self.bytes_per_checksum
    }

    /// Bytes of one checksum.
    #[must_use]
    pub const fn checksum_size(&self) -> usize {
        self.kind.size()
    }

    /// Bytes of the checksums of `data_len` bytes.
    #[must_use]
    pub const fn checksum_len(&self, data_len: usize) -> usize {
        data_len
            .div_ceil(self.bytes_per_checksum as usize)
            .saturating_mul(self.kind.size())
    }

    /// Appends the checksums of the chunks of `data`. It must begin at a chunk's start.
    pub fn compute_into(&self, data: &[u8], out: &mut Vec<u8>) {
        if self.kind == ChecksumType::Null {
            return;
        }
        out.reserve(self.checksum_len(data.len()));
        for chunk in data.chunks(self.bytes_per_checksum as usize) {
            out.extend_from_slice(&self.kind.checksum(chunk).to_be_bytes());
        }
    }

    /// Writes the checksums of the chunks of `data` over `out`, which must have [`DataChecksum::checksum_len`] bytes.
    pub fn compute_over(&self, data: &[u8], out: &mut [u8]) {
        if self.kind == ChecksumType::Null {
            return;
        }
        for (chunk, sum) in data
            .chunks(self.bytes_per_checksum as usize)
            .zip(out.chunks_exact_mut(4))
        {
            sum.copy_from_slice(&self.kind.checksum(chunk).to_be_bytes());
        }
    }

    /// Checks the chunks of `data` against `checksums`. `data` must begin at a chunk's start. Missing checksums count
    /// as a mismatch.
    pub fn verify(&self, data: &[u8], checksums: &[u8]) -> Result<(), ChecksumMismatch> {
        if self.kind == ChecksumType::Null {
            return Ok(());
        }
        let mut sums = checksums.chunks_exact(4);
        for (index, chunk) in data.chunks(self.bytes_per_checksum as usize).enumerate() {
            let actual = self.kind.checksum(chunk);
            let expected = sums
                .next()
                .and_then(|sum| sum.first_chunk::<4>())
                .map(|sum| u32::from_be_bytes(*sum));
            if expected != Some(actual) {
                return Err(ChecksumMismatch {
                    offset: index.saturating_mul(self.bytes_per_checksum as usize),
                    expected: expected.unwrap_or(!actual),
                    actual,
                });
            }
        }
        Ok(())
    }
}

/// Extends checksums by a fixed number of bytes quickly: four table look-ups instead of a polynomial product.
#[derive(Clone)]
pub struct CrcShift {
    tables: Box<[[u32; 256]; 4]>,
}

impl std::fmt::Debug for CrcShift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CrcShift").finish_non_exhaustive()
    }
}

impl CrcShift {
    /// A table for appending pieces of `len_bytes`.
    #[must_use]
    pub fn new(kind: ChecksumType, len_bytes: u64) -> CrcShift {
        // Appending is linear in the first checksum, so its 32 bits determine the result.
        let basis: [u32; 32] = std::array::from_fn(|bit| kind.combine(1 << bit, 0, len_bytes));
        let mut tables = Box::new([[0_u32; 256]; 4]);
        for (table, bits) in tables.iter_mut().zip(basis.chunks_exact(8)) {
            for (byte, entry) in table.iter_mut().enumerate() {
                *entry = bits
                    .iter()
                    .enumerate()
                    .filter(|(bit, _)| byte >> bit & 1 == 1)
                    .fold(0, |sum, (_, value)| sum ^ value);
            }
        }
        CrcShift { tables }
    }

    /// The checksum of data with checksum `first` followed by a piece with checksum `second`.
    #[must_use]
    pub fn combine(&self, first: u32, second: u32) -> u32 {
        self.tables
            .iter()
            .zip(first.to_le_bytes())
            .fold(second, |sum, (table, byte)| {
                sum ^ table.get(usize::from(byte)).copied().unwrap_or(0)
            })
    }
}

/// Composes the checksum of a block from those of its chunks, one result per stripe (`CrcComposer`).
#[derive(Debug)]
pub struct CrcComposer {
    kind: ChecksumType,
    shift: CrcShift,
    shift_len: u64,
    stripe_len: u64,
    current: u32,
    position: u64,
    out: Vec<u8>,
}

impl CrcComposer {
    /// `bytes_per_crc_hint` is the usual length of a piece, in bytes. A result is written after each `stripe_len`
    /// bytes.
    #[must_use]
    pub fn new(kind: ChecksumType, bytes_per_crc_hint: u64, stripe_len: u64) -> CrcComposer {
        CrcComposer {
            kind,
            shift: CrcShift::new(kind, bytes_per_crc_hint),
            shift_len: bytes_per_crc_hint,
            stripe_len,
            current: 0,
            position: 0,
            out: Vec::new(),
        }
    }

    /// Adds a piece of `len_bytes` with the checksum `crc`. False when the piece crosses the end of a stripe.
    #[must_use]
    pub fn update(&mut self, crc: u32, len_bytes: u64) -> bool {
        self.current = if self.position == 0 {
            crc
        } else if len_bytes == self.shift_len {
            self.shift.combine(self.current, crc)
        } else {
            self.kind.combine(self.current, crc, len_bytes)
        };
        self.position = self.position.saturating_add(len_bytes);
        if self.position == self.stripe_len {
            self.flush();
        }
        self.position <= self.stripe_len
    }

    fn flush(&mut self) {
        self.out.extend_from_slice(&self.current.to_be_bytes());
        self.current = 0;
        self.position = 0;
    }

    /// The composed checksums, big-endian, one per stripe.
    #[must_use]
    pub fn digest(mut self) -> Vec<u8> {
        if self.position > 0 {
            self.flush();
        }
        self.out
    }
}

/// The MD5 of a block's checksums, which stands for the block in a file's checksum.
#[must_use]
pub fn md5_of_crcs(checksums: &[u8]) -> [u8; 16] {
    md5(&[checksums])
}

/// The MD5 of pieces one after the other.
#[must_use]
pub fn md5(pieces: &[&[u8]]) -> [u8; 16] {
    let mut digest = Md5::new();
    for piece in pieces {
        digest.update(piece);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn check_values_of_the_polynomials() {
        assert_eq!(ChecksumType::Crc32.checksum(b"123456789"), 0xCBF4_3926);
        assert_eq!(ChecksumType::Crc32c.checksum(b"123456789"), 0xE306_9283);
        assert_eq!(
            md5(&[b"a", b"bc"]),
            [
                0x90, 0x01, 0x50, 0x98, 0x3c, 0xd2, 0x4f, 0xb0, 0xd6, 0x96, 0x3f, 0x7d, 0x28, 0xe1, 0x7f, 0x72
            ]
        );
    }

    #[test]
    fn a_flipped_bit_is_found_in_its_chunk() {
        let checksum = DataChecksum::DEFAULT;
        let mut data = vec![7_u8; 1300];
        let mut sums = Vec::new();
        checksum.compute_into(&data, &mut sums);
        assert_eq!(sums.len(), checksum.checksum_len(1300));
        assert_eq!(checksum.verify(&data, &sums), Ok(()));
        data[1100] ^= 1;
        assert_eq!(checksum.verify(&data, &sums).unwrap_err().offset, 1024);
        assert_eq!(checksum.verify(&data[..1024], &sums[..7]).unwrap_err().offset, 512);
        let mut over = vec![0; sums.len()];
        checksum.compute_over(&data, &mut over);
        assert_eq!(checksum.verify(&data, &over), Ok(()));
    }

    proptest! {
        #[test]
        fn composed_checksums_equal_those_of_the_whole(
            data in proptest::collection::vec(any::<u8>(), 1..5000), chunk in 1_usize..600, kind in 1_i32..3,
        ) {
            let kind = ChecksumType::from_number(kind).unwrap();
            let mut composer = CrcComposer::new(kind, chunk as u64, u64::MAX);
            for piece in data.chunks(chunk) {
                prop_assert!(composer.update(kind.checksum(piece), piece.len() as u64));
            }
            prop_assert_eq!(composer.digest(), kind.checksum(&data).to_be_bytes().to_vec());
        }
    }

    #[test]
    fn stripes_have_their_own_checksums() {
        let kind = ChecksumType::Crc32c;
        let mut composer = CrcComposer::new(kind, 2, 4);
        for piece in [b"ab", b"cd", b"ef"] {
            assert!(composer.update(kind.checksum(piece), 2));
        }
        let expected = [kind.checksum(b"abcd").to_be_bytes(), kind.checksum(b"ef").to_be_bytes()].concat();
        assert_eq!(composer.digest(), expected);
        let mut crossing = CrcComposer::new(kind, 3, 4);
        assert!(crossing.update(1, 3));
        assert!(!crossing.update(1, 3));
    }
}

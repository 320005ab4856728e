//! The chunks of a block file and their checksums in the meta file.
//!
//! The checksum of the last, short chunk is overwritten in place when the chunk grows. Block file and meta file reach
//! the disk independently. After a crash a chunk may therefore have more bytes than its checksum covers. The older
//! bytes have not changed, so a prefix of the chunk fits its checksum, and that prefix is kept.

use std::io;

use hathi_formats::datatransfer::{BlockMetadataHeader, ChecksumType, CrcShift, META_HEADER_BYTES};
use hathi_storage::{Disk, DiskFile};

use crate::files::ReplicaFiles;

/// The longest prefix of a chunk that has this checksum.
#[must_use]
pub fn covered(kind: ChecksumType, chunk: &[u8], stored: u32) -> Option<usize> {
    if kind == ChecksumType::Null || kind.checksum(chunk) == stored {
        return Some(chunk.len());
    }
    let shift = CrcShift::new(kind, 1);
    let mut sum = 0;
    let mut longest = None;
    for (len, byte) in (1..).zip(chunk) {
        let one = kind.checksum(std::slice::from_ref(byte));
        sum = if len == 1 { one } else { shift.combine(sum, one) };
        if sum == stored {
            longest = Some(len);
        }
    }
    debug_assert!(
        longest.is_none_or(|len| chunk.get(..len).map(|bytes| kind.checksum(bytes)) == Some(stored)),
        "the prefix has the checksum"
    );
    longest
}

/// Reads exactly `buf.len()` bytes.
pub fn read_exact_at(file: &impl DiskFile, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    let mut done: usize = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(offset.saturating_add(done as u64), rest)? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            n => done = done.saturating_add(n),
        }
    }
    Ok(())
}

/// Reads the header of a meta file.
pub fn read_header(meta: &impl DiskFile) -> io::Result<BlockMetadataHeader> {
    let mut bytes = [0; META_HEADER_BYTES];
    read_exact_at(meta, 0, &mut bytes)?;
    Ok(BlockMetadataHeader::decode(&bytes)?)
}

/// The checksum that the meta file has for the chunk that holds `offset`.
pub fn stored_checksum(meta: &impl DiskFile, header: &BlockMetadataHeader, offset: u64) -> io::Result<[u8; 4]> {
    let mut sum = [0; 4];
    read_exact_at(meta, header.checksum_offset(offset), &mut sum)?;
    Ok(sum)
}

/// The checksum of the last chunk of `length` bytes if that chunk is short: what readers need while a writer overwrites it.
pub fn last_checksum<D: Disk>(disk: &D, files: &ReplicaFiles, length: u64) -> io::Result<Option<[u8; 4]>> {
    if length == 0 {
        return Ok(None);
    }
    let meta = disk.open_read(&files.meta)?;
    let header = read_header(&meta)?;
    let (start, partial) = last_chunk(length, u64::from(header.checksum.bytes_per_checksum()));
    if partial == 0 || header.checksum.kind() == ChecksumType::Null {
        return Ok(None);
    }
    stored_checksum(&meta, &header, start).map(Some)
}

/// Where the last, short chunk of `length` bytes begins, and its length: 0 when the last chunk is full.
fn last_chunk(length: u64, chunk_len: u64) -> (u64, u64) {
    debug_assert!(chunk_len > 0, "a checksum is of some bytes");
    let partial = length.checked_rem(chunk_len).unwrap_or(0);
    (length.saturating_sub(partial), partial)
}

/// What to do with a chunk that is to be cut and does not match its checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mismatch {
    /// Do not cut it: another replica may be good.
    #[default]
    Refused,
    /// Cut it, and invert every bit of the right new checksum, so that every reader still finds the chunk to be bad.
    Kept,
}

/// The meta file of the first `length` bytes of a replica, and the last checksum in it.
///
/// A new checksum for a part of a chunk is made only if the old checksum matched. Otherwise bytes that a disk has
/// spoilt would look good. If the old one does not match, this fails with `InvalidData`, or makes a checksum that is
/// certain not to match.
pub fn meta_of_prefix<D: Disk>(
    disk: &D,
    files: &ReplicaFiles,
    length: u64,
    mismatch: Mismatch,
) -> io::Result<(Vec<u8>, Option<[u8; 4]>)> {
    let data = disk.open_read(&files.data)?;
    let meta = disk.open_read(&files.meta)?;
    let data_len = data.len()?;
    if data_len < length {
        return Err(io::Error::other(format!(
            "{} has {data_len} bytes, {length} are needed",
            files.data.display()
        )));
    }
    if length == 0 && meta.len()? < META_HEADER_BYTES as u64 {
        // Nothing was written, not even the header.
        return Ok((Vec::new(), None));
    }
    let header = read_header(&meta)?;
    let mut bytes = vec![0; usize::try_from(header.meta_len(length)).map_err(io::Error::other)?];
    read_exact_at(&meta, 0, &mut bytes)?;
    let kind = header.checksum.kind();
    let chunk_len = u64::from(header.checksum.bytes_per_checksum());
    let (start, partial) = last_chunk(length, chunk_len);
    if partial == 0 || kind == ChecksumType::Null {
        return Ok((bytes, None));
    }
    let mut chunk = vec![0; data_len.saturating_sub(start).min(chunk_len) as usize];
    read_exact_at(&data, start, &mut chunk)?;
    let stored = u32::from_be_bytes(stored_checksum(&meta, &header, start)?);
    let partial = partial as usize;
    let matches = covered(kind, &chunk, stored).is_some_and(|fits| fits >= partial);
    if !matches && mismatch == Mismatch::Refused {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} does not match its checksum from {start} on", files.data.display()),
        ));
    }
    let right = kind.checksum(chunk.get(..partial).unwrap_or_default());
    let sum = if matches { right } else { !right }.to_be_bytes();
    debug_assert!(
        matches || covered(kind, chunk.get(..partial).unwrap_or_default(), u32::from_be_bytes(sum)) != Some(partial),
        "what is spoilt does not look good"
    );
    if let Some(last) = bytes.last_chunk_mut::<4>() {
        *last = sum;
    }
    Ok((bytes, Some(sum)))
}

/// Length of the part of a block file that right checksums cover. The search goes back from the end, which is what a
/// crash spoils (`BlockPoolSlice.validateIntegrityAndSetLength`). The rest is cut off. Full chunks further in front are
/// not read: a crash does no damage there, and cutting would remove good bytes as well.
pub fn validate_tail<D: Disk>(disk: &D, files: &ReplicaFiles) -> io::Result<u64> {
    let data = disk.open(&files.data)?;
    let meta = disk.open_read(&files.meta)?;
    let data_len = data.len()?;
    let meta_len = meta.len()?;
    if data_len == 0 || meta_len < META_HEADER_BYTES as u64 {
        return Ok(0);
    }
    let header = read_header(&meta)?;
    let size = header.checksum.checksum_size() as u64;
    if size == 0 {
        return Ok(data_len);
    }
    let chunk_len = u64::from(header.checksum.bytes_per_checksum());
    let sums = meta_len.saturating_sub(META_HEADER_BYTES as u64).checked_div(size);
    let mut chunks = data_len.div_ceil(chunk_len).min(sums.unwrap_or(0));
    let mut valid = 0;
    let mut bytes = Vec::new();
    while let Some(last) = chunks.checked_sub(1) {
        let start = last.saturating_mul(chunk_len);
        bytes.resize(data_len.saturating_sub(start).min(chunk_len) as usize, 0);
        read_exact_at(&data, start, &mut bytes)?;
        let stored = u32::from_be_bytes(stored_checksum(&meta, &header, start)?);
        // A chunk that was cut over rot has an inverted checksum: it keeps its length, and stays bad.
        let fits = covered(header.checksum.kind(), &bytes, stored);
        if let Some(fits) = fits.or_else(|| covered(header.checksum.kind(), &bytes, !stored)) {
            valid = start.saturating_add(fits as u64);
            break;
        }
        chunks = last;
    }
    debug_assert!(valid <= data_len, "{valid} bytes are right of {data_len}");
    if data_len > valid {
        data.set_len(valid)?;
    }
    Ok(valid)
}

/// Whether the end of a complete replica is as it was when the replica was completed: its length, the number of its
/// checksums and the last of them fit each other.
///
/// A replica that was completed without a sync may lose bytes with its machine's power, its last ones first, and keep its
/// name or its length. Chunks further in front are not read. Only a few bytes are, whatever the length.
pub fn end_is_whole<D: Disk>(disk: &D, files: &ReplicaFiles, num_bytes: u64) -> io::Result<bool> {
    let data = disk.open_read(&files.data)?;
    let meta = disk.open_read(&files.meta)?;
    let meta_len = meta.len()?;
    if num_bytes == 0 && meta_len == 0 {
        return Ok(true);
    }
    if data.len()? != num_bytes || meta_len < META_HEADER_BYTES as u64 {
        return Ok(false);
    }
    let header = read_header(&meta)?;
    let kind = header.checksum.kind();
    if meta_len != header.meta_len(num_bytes) {
        return Ok(false);
    }
    let Some(last) = num_bytes.checked_sub(1).filter(|_| kind != ChecksumType::Null) else {
        return Ok(true);
    };
    let chunk_len = u64::from(header.checksum.bytes_per_checksum());
    let (start, _) = last_chunk(last, chunk_len);
    let mut chunk = vec![0; num_bytes.saturating_sub(start).min(chunk_len) as usize];
    read_exact_at(&data, start, &mut chunk)?;
    let stored = u32::from_be_bytes(stored_checksum(&meta, &header, start)?);
    let sum = kind.checksum(&chunk);
    // A chunk that was cut over rot has an inverted checksum: it is as the truncate has left it.
    Ok(stored == sum || stored == !sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::PoolDirs;
    use crate::replica::{Folder, Location, VolumeId};
    use hathi_formats::datatransfer::DataChecksum;
    use hathi_formats::ids::{BlockId, GenerationStamp};
    use hathi_storage::SimDisk;
    use std::path::Path;

    #[test]
    fn the_end_of_a_replica_that_has_lost_bytes_is_not_whole() {
        let disk = SimDisk::new();
        let files = PoolDirs::new(Path::new("/v"), "BP").files(Location {
            volume: VolumeId(0),
            folder: Folder::Finalized,
            block_id: BlockId(1),
            generation_stamp: GenerationStamp(1001),
        });
        disk.create_dir_all(&files.dir).unwrap();
        let bytes: Vec<u8> = (0..1100_u32).map(|i| (i * 7) as u8).collect();
        let checksum = DataChecksum::DEFAULT;
        let mut sums = Vec::new();
        checksum.compute_into(&bytes, &mut sums);
        let meta = [&BlockMetadataHeader::new(checksum).encode()[..], &sums].concat();
        let whole = |data: &[u8], meta: &[u8]| {
            disk.create(&files.data).unwrap().write_at(0, data).unwrap();
            disk.create(&files.meta).unwrap().write_at(0, meta).unwrap();
            end_is_whole(&disk, &files, data.len() as u64).unwrap()
        };
        assert!(whole(&bytes, &meta));
        assert!(whole(&bytes[..1024], &meta[..META_HEADER_BYTES + 8]));
        assert!(whole(&[], &meta[..META_HEADER_BYTES]) && whole(&[], &[]));
        // Bytes, or checksums, or both are gone.
        assert!(!whole(&bytes[..1099], &meta));
        assert!(!whole(&bytes[..1024], &meta));
        assert!(!whole(&[], &meta));
        assert!(!whole(&bytes, &meta[..META_HEADER_BYTES + 8]));
        assert!(!whole(&bytes, &[]));
        assert!(!whole(&bytes[..600], &meta[..META_HEADER_BYTES + 8]));
        // The length stays, and bytes are gone.
        let mut hole = bytes.clone();
        hole[1099] ^= 1;
        assert!(!whole(&hole, &meta));
        // A truncate over rot has left it so.
        let inverted: Vec<u8> = meta[META_HEADER_BYTES + 8..].iter().map(|byte| !byte).collect();
        let over_rot = [&meta[..META_HEADER_BYTES + 8], &inverted].concat();
        assert!(whole(&bytes, &over_rot));
    }

    #[test]
    fn the_longest_prefix_that_fits_is_found() {
        for kind in [ChecksumType::Crc32, ChecksumType::Crc32c] {
            let chunk: Vec<u8> = (0..512_u32).map(|i| (i * 7) as u8).collect();
            for length in [1, 2, 100, 511, 512] {
                assert_eq!(covered(kind, &chunk, kind.checksum(&chunk[..length])), Some(length));
            }
            assert_eq!(covered(kind, &chunk, 1), None);
            assert_eq!(covered(kind, &[], kind.checksum(&[])), Some(0));
        }
        assert_eq!(covered(ChecksumType::Null, &[1, 2], 9), Some(2));
    }
}

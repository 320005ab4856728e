//! The file of checksums that `-get -crc` writes (`ChecksumFileSystem`): `.NAME.crc` beside the file.

use anyhow::{Context, Result};
use std::io::{self, Write};
use std::path::Path;

/// Bytes under one checksum (`file.bytes-per-checksum`).
const BYTES_PER_CHECKSUM: usize = 512;
/// First bytes of the file (`ChecksumFileSystem.CHECKSUM_VERSION`).
const VERSION: &[u8] = b"crc\0";

/// Passes bytes on, and computes their checksums.
pub(super) struct CrcFile<'a> {
    target: &'a mut dyn Write,
    sums: Vec<u8>,
    hasher: crc32fast::Hasher,
    in_chunk: usize,
}

impl<'a> CrcFile<'a> {
    pub(super) fn around(target: &'a mut dyn Write) -> CrcFile<'a> {
        let chunk = u32::try_from(BYTES_PER_CHECKSUM).unwrap_or_default();
        CrcFile {
            target,
            sums: [VERSION, &chunk.to_be_bytes()].concat(),
            hasher: crc32fast::Hasher::new(),
            in_chunk: 0,
        }
    }

    fn end_chunk(&mut self) {
        let hasher = std::mem::take(&mut self.hasher);
        self.sums.extend_from_slice(&hasher.finalize().to_be_bytes());
        self.in_chunk = 0;
    }

    fn end(mut self) -> Vec<u8> {
        if self.in_chunk > 0 {
            self.end_chunk();
        }
        self.sums
    }

    /// Writes the checksums of a file.
    pub(super) fn finish(self, file: &Path) -> Result<()> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let path = file.with_file_name(format!(".{name}.crc"));
        std::fs::write(&path, self.end()).with_context(|| path.display().to_string())
    }
}

impl Write for CrcFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(BYTES_PER_CHECKSUM - self.in_chunk);
        let written = self.target.write(bytes.get(..len).unwrap_or_default())?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.in_chunk += written;
        if self.in_chunk == BYTES_PER_CHECKSUM {
            self.end_chunk();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chunk_has_its_checksum() {
        let data = [7; 1100];
        let mut copied = Vec::new();
        let mut sums = CrcFile::around(&mut copied);
        sums.write_all(&data).unwrap();
        let sums = sums.end();
        let mut expected = b"crc\0\0\0\x02\0".to_vec();
        for chunk in data.chunks(512) {
            expected.extend_from_slice(&crc32fast::hash(chunk).to_be_bytes());
        }
        assert_eq!(sums, expected);
        assert_eq!(copied, data);
    }
}

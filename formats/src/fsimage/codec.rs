//! The codecs in which the sections of an image may be compressed (`dfs.image.compression.codec`, Hadoop's
//! `org.apache.hadoop.io.compress`). Each section is a stream of its own.
//!
//! zlib, gzip, bzip2 and Zstandard are the usual streams. Snappy and LZ4 come in Hadoop's blocks (`BlockCompressorStream`). A
//! block begins with the length of its content (32 bits, big endian). Compressed pieces follow, each behind its own
//! length, until their content has that length. A block of length 0 ends the stream.

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::{self, Read, Write};

/// Bytes that are compressed at once. Java's decompressors have room for 256 KiB of a piece, compressed and
/// uncompressed.
const BLOCK_LEN: usize = 128 << 10;
/// Largest block that is read, in bytes: the largest message fits.
const BLOCK_LEN_MAX: usize = 1 << 30;
/// Largest piece that is read, compressed or uncompressed, in bytes. Java makes pieces of at most 256 KiB.
const PIECE_LEN_MAX: usize = 64 << 20;
/// Level of Zstandard (`io.compression.codec.zstd.level`).
const ZSTANDARD_LEVEL: i32 = 3;
/// Most bytes that one byte of LZ4 can stand for.
const LZ4_RATIO_MAX: usize = 255;

/// A codec of an image's sections. The module says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageCodec {
    /// `DefaultCodec`, which is zlib.
    Default,
    /// `DeflateCodec`: the same under another name.
    Deflate,
    /// `GzipCodec`
    Gzip,
    /// `BZip2Codec`
    Bzip2,
    /// `SnappyCodec`
    Snappy,
    /// `Lz4Codec`
    Lz4,
    /// `ZStandardCodec`
    Zstandard,
}

/// Every codec.
const ALL: [ImageCodec; 7] = [
    ImageCodec::Default,
    ImageCodec::Deflate,
    ImageCodec::Gzip,
    ImageCodec::Bzip2,
    ImageCodec::Snappy,
    ImageCodec::Lz4,
    ImageCodec::Zstandard,
];

impl ImageCodec {
    /// By the name of Java's class, which the summary of an image and the configuration have.
    #[must_use]
    pub fn of_class(class: &str) -> Option<ImageCodec> {
        ALL.into_iter().find(|codec| codec.class() == class)
    }

    /// The name of Java's class.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            ImageCodec::Default => "org.apache.hadoop.io.compress.DefaultCodec",
            ImageCodec::Deflate => "org.apache.hadoop.io.compress.DeflateCodec",
            ImageCodec::Gzip => "org.apache.hadoop.io.compress.GzipCodec",
            ImageCodec::Bzip2 => "org.apache.hadoop.io.compress.BZip2Codec",
            ImageCodec::Snappy => "org.apache.hadoop.io.compress.SnappyCodec",
            ImageCodec::Lz4 => "org.apache.hadoop.io.compress.Lz4Codec",
            ImageCodec::Zstandard => "org.apache.hadoop.io.compress.ZStandardCodec",
        }
    }

    /// Reads a compressed stream.
    pub(super) fn decoder<'a, R: Read + Send + 'a>(self, source: R) -> Box<dyn Read + Send + 'a> {
        match self {
            ImageCodec::Default | ImageCodec::Deflate => Box::new(flate2::read::ZlibDecoder::new(source)),
            ImageCodec::Gzip => Box::new(flate2::read::MultiGzDecoder::new(source)),
            ImageCodec::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(source)),
            ImageCodec::Snappy => Box::new(BlockReader::new(source, BlockCodec::Snappy)),
            ImageCodec::Lz4 => Box::new(BlockReader::new(source, BlockCodec::Lz4)),
            // It fails only without memory for its tables.
            ImageCodec::Zstandard => match zstd::stream::read::Decoder::new(source) {
                Ok(decoder) => Box::new(decoder),
                Err(error) => Box::new(Failed(Some(error))),
            },
        }
    }

    /// An encoder for one section.
    pub(super) fn encoder(self) -> Encoder {
        match self {
            ImageCodec::Default | ImageCodec::Deflate => {
                Encoder::Zlib(ZlibEncoder::new(Vec::new(), Compression::default()))
            }
            ImageCodec::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::default())),
            ImageCodec::Bzip2 => {
                Encoder::Bzip2(bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default()))
            }
            ImageCodec::Snappy => Encoder::Blocks(BlockWriter::new(BlockCodec::Snappy)),
            ImageCodec::Lz4 => Encoder::Blocks(BlockWriter::new(BlockCodec::Lz4)),
            ImageCodec::Zstandard => {
                Encoder::Zstandard(zstd::stream::write::Encoder::new(Vec::new(), ZSTANDARD_LEVEL).map_err(Some))
            }
        }
    }
}

/// Compresses one section, and keeps the result until it is taken.
pub(super) enum Encoder {
    Zlib(ZlibEncoder<Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
    Bzip2(bzip2::write::BzEncoder<Vec<u8>>),
    Blocks(BlockWriter),
    /// Or why there is none, until that was told.
    Zstandard(Result<zstd::stream::write::Encoder<'static, Vec<u8>>, Option<io::Error>>),
}

/// A stream that could not be begun.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(told(&mut self.0))
    }
}

fn told(error: &mut Option<io::Error>) -> io::Error {
    error.take().unwrap_or_else(|| invalid("the codec failed before"))
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

impl Encoder {
    /// Compresses `data`, and appends the finished bytes to `ready`.
    pub(super) fn write(&mut self, data: &[u8], ready: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Encoder::Zlib(encoder) => {
                encoder.write_all(data)?;
                ready.append(encoder.get_mut());
            }
            Encoder::Gzip(encoder) => {
                encoder.write_all(data)?;
                ready.append(encoder.get_mut());
            }
            Encoder::Bzip2(encoder) => {
                encoder.write_all(data)?;
                ready.append(encoder.get_mut());
            }
            Encoder::Blocks(writer) => writer.write(data, ready)?,
            Encoder::Zstandard(Ok(encoder)) => {
                encoder.write_all(data)?;
                ready.append(encoder.get_mut());
            }
            Encoder::Zstandard(Err(error)) => return Err(told(error)),
        }
        Ok(())
    }

    /// Ends the stream.
    pub(super) fn finish(self, ready: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Encoder::Zlib(encoder) => ready.append(&mut encoder.finish()?),
            Encoder::Gzip(encoder) => ready.append(&mut encoder.finish()?),
            Encoder::Bzip2(encoder) => ready.append(&mut encoder.finish()?),
            Encoder::Blocks(writer) => writer.finish(ready)?,
            Encoder::Zstandard(Ok(encoder)) => ready.append(&mut encoder.finish()?),
            Encoder::Zstandard(Err(mut error)) => return Err(told(&mut error)),
        }
        Ok(())
    }
}

/// Codec of Hadoop's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockCodec {
    Snappy,
    Lz4,
}

/// Collects the content of a block.
pub(super) struct BlockWriter {
    block: BlockCodec,
    waiting: Vec<u8>,
}

impl BlockWriter {
    fn new(block: BlockCodec) -> BlockWriter {
        BlockWriter {
            block,
            waiting: Vec::with_capacity(BLOCK_LEN),
        }
    }

    fn write(&mut self, mut data: &[u8], ready: &mut Vec<u8>) -> io::Result<()> {
        while !data.is_empty() {
            let room = BLOCK_LEN.saturating_sub(self.waiting.len()).min(data.len());
            let (now, later) = data.split_at(room);
            self.waiting.extend_from_slice(now);
            data = later;
            if self.waiting.len() == BLOCK_LEN {
                self.end_block(ready)?;
            }
        }
        Ok(())
    }

    fn end_block(&mut self, ready: &mut Vec<u8>) -> io::Result<()> {
        let packed = match self.block {
            BlockCodec::Snappy => snap::raw::Encoder::new()
                .compress_vec(&self.waiting)
                .map_err(io::Error::other)?,
            BlockCodec::Lz4 => lz4_flex::block::compress(&self.waiting),
        };
        for len in [self.waiting.len(), packed.len()] {
            ready.extend_from_slice(&u32::try_from(len).map_err(io::Error::other)?.to_be_bytes());
        }
        ready.extend_from_slice(&packed);
        self.waiting.clear();
        Ok(())
    }

    fn finish(mut self, ready: &mut Vec<u8>) -> io::Result<()> {
        if self.waiting.is_empty() {
            // An empty block ends the stream for a reader, just as the end of the section does.
            ready.extend_from_slice(&0_u32.to_be_bytes());
            return Ok(());
        }
        self.end_block(ready)
    }
}

/// Reads blocks, a piece at a time.
struct BlockReader<R> {
    source: R,
    block: BlockCodec,
    /// Bytes of the block that are not unpacked yet.
    left: usize,
    piece: Vec<u8>,
    /// Bytes of the piece that have been handed out.
    taken: usize,
}

fn invalid(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}

impl<R: Read> BlockReader<R> {
    fn new(source: R, block: BlockCodec) -> Self {
        BlockReader {
            source,
            block,
            left: 0,
            piece: Vec::new(),
            taken: 0,
        }
    }

    fn length(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 4];
        self.source.read_exact(&mut bytes)?;
        Ok(usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX))
    }

    /// Unpacks the next piece; false at the end.
    fn next_piece(&mut self) -> io::Result<bool> {
        if self.left == 0 {
            self.left = match self.length() {
                Ok(len) if len > BLOCK_LEN_MAX => return Err(invalid(format!("a block of {len} bytes"))),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                Err(error) => return Err(error),
            };
            if self.left == 0 {
                return Ok(false);
            }
        }
        let len = self.length()?;
        if len > PIECE_LEN_MAX {
            return Err(invalid(format!("a piece of {len} compressed bytes")));
        }
        // The room grows with the bytes that are there.
        let mut packed = Vec::new();
        let read = (&mut self.source).take(len as u64).read_to_end(&mut packed)?;
        if read < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let limit = self.left.min(PIECE_LEN_MAX);
        self.piece = match self.block {
            BlockCodec::Snappy => {
                let holds = snap::raw::decompress_len(&packed).map_err(|error| invalid(error.to_string()))?;
                if holds > limit {
                    return Err(invalid(format!("a piece of {holds} bytes in a block of {}", self.left)));
                }
                let unpacked = snap::raw::Decoder::new().decompress_vec(&packed);
                unpacked.map_err(|error| invalid(error.to_string()))?
            }
            BlockCodec::Lz4 => {
                let room = limit.min(packed.len().saturating_mul(LZ4_RATIO_MAX));
                lz4_flex::block::decompress(&packed, room).map_err(|error| invalid(error.to_string()))?
            }
        };
        if self.piece.is_empty() {
            return Err(invalid("a piece that holds nothing"));
        }
        self.taken = 0;
        self.left = self.left.saturating_sub(self.piece.len());
        Ok(true)
    }
}

impl<R: Read> Read for BlockReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken >= self.piece.len() && !self.next_piece()? {
            return Ok(0);
        }
        let mut rest = self.piece.get(self.taken..).unwrap_or_default();
        let len = rest.read(buffer)?;
        self.taken = self.taken.saturating_add(len);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(codec: ImageCodec, data: &[u8], at_once: usize) -> Vec<u8> {
        let mut ready = Vec::new();
        let mut encoder = codec.encoder();
        for part in data.chunks(at_once) {
            encoder.write(part, &mut ready).unwrap();
        }
        encoder.finish(&mut ready).unwrap();
        ready
    }

    #[test]
    fn what_any_codec_compressed_comes_out_the_same() {
        let texts: [Vec<u8>; 4] = [
            Vec::new(),
            b"a".to_vec(),
            (0..BLOCK_LEN).map(|at| (at * at / 977) as u8).collect(),
            (0..3 * BLOCK_LEN + 5).map(|at| (at / 100) as u8).collect(),
        ];
        for codec in ALL {
            assert_eq!(ImageCodec::of_class(codec.class()), Some(codec));
            for text in &texts {
                let packed = compressed(codec, text, 70_001);
                let mut unpacked = Vec::new();
                codec.decoder(&packed[..]).read_to_end(&mut unpacked).unwrap();
                assert!(unpacked == *text, "{codec:?} of {} bytes", text.len());
            }
        }
    }

    /// Java's `BlockCompressorStream` writes data that is longer than its buffer as one block of several pieces.
    #[test]
    fn a_block_may_have_several_pieces() {
        for block in [BlockCodec::Snappy, BlockCodec::Lz4] {
            let mut stream = 7_u32.to_be_bytes().to_vec();
            for part in [&b"abcd"[..], b"efg"] {
                let packed = match block {
                    BlockCodec::Snappy => snap::raw::Encoder::new().compress_vec(part).unwrap(),
                    BlockCodec::Lz4 => lz4_flex::block::compress(part),
                };
                stream.extend_from_slice(&(packed.len() as u32).to_be_bytes());
                stream.extend_from_slice(&packed);
            }
            stream.extend_from_slice(&0_u32.to_be_bytes());
            stream.extend_from_slice(b"behind the end");
            let mut unpacked = Vec::new();
            BlockReader::new(&stream[..], block).read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, b"abcdefg");
        }
    }

    #[test]
    fn damaged_blocks_are_errors_and_take_no_more_memory_than_they_have_bytes() {
        let mut out = Vec::new();
        for block in [BlockCodec::Snappy, BlockCodec::Lz4] {
            for stream in [
                &[0xFF; 64][..],
                &[0, 0, 0, 9, 0x03, 0xFF, 0xFF, 0xFF, 1],
                &[0, 0, 0, 9, 0, 0, 0, 0],
                &[0, 0, 0, 9, 0, 0],
            ] {
                assert!(
                    BlockReader::new(stream, block).read_to_end(&mut out).is_err(),
                    "{stream:?}"
                );
            }
        }
    }
}

//! Writes an image as a stream, and computes its MD5 meanwhile or beside it.

use super::codec::Encoder;
use super::{ImageCodec, MAGIC, ON_DISK_VERSION, SectionName};
use crate::ids::LayoutVersion;
use crate::proto::fsimage::{FileSummary, file_summary};
use md5::{Digest, Md5};
use prost::Message;
use std::io::{self, Write};

/// Bytes gathered before they are written.
const BUFFER_LEN: usize = 1 << 20;

/// A file below an [`ImageWriter`] whose MD5 is computed while it is written.
#[derive(Debug)]
pub struct Hashed<W> {
    out: W,
    digest: Md5,
}

impl<W> Hashed<W> {
    /// Of a file that is empty as yet.
    pub fn new(out: W) -> Self {
        Hashed {
            out,
            digest: Md5::new(),
        }
    }

    /// The file, and the MD5 of what was written.
    pub fn finish(self) -> (W, [u8; 16]) {
        (self.out, self.digest.finalize().into())
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let len = self.out.write(data)?;
        self.digest.update(data.get(..len).unwrap_or(data));
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes the sections of an image in the order of the calls.
///
/// ```text
/// begin(section) (write | message | sub_section)* end()  ...  finish()
/// ```
#[derive(Debug)]
pub struct ImageWriter<W: Write> {
    out: W,
    codec: Option<ImageCodec>,
    /// Encoder of the open section.
    encoder: Option<Encoder>,
    /// An error of the encoder from a call that could return none.
    failed: io::Result<()>,
    /// Uncompressed bytes of the open section, and bytes that are never compressed.
    buffer: Vec<u8>,
    /// Bytes before `buffer`, as they will be in the file. Empty without a codec.
    packed: Vec<u8>,
    /// Bytes that were passed on to the file.
    flushed: u64,
    sections: Vec<file_summary::Section>,
    open: Option<OpenSection>,
}

#[derive(Debug)]
struct OpenSection {
    name: SectionName,
    start: u64,
    sub_start: u64,
    has_subs: bool,
}

/// Result of writing an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSummary {
    /// Length of the file in bytes.
    pub len_bytes: u64,
    /// MD5 of the whole file.
    pub md5: [u8; 16],
}

impl<W: Write> ImageWriter<W> {
    /// Starts an image, whose sections are compressed if a codec is given.
    ///
    /// # Errors
    /// None now. Later calls report the writer's errors.
    pub fn new(out: W, codec: Option<ImageCodec>) -> io::Result<Self> {
        let mut writer = ImageWriter {
            out,
            codec,
            encoder: None,
            failed: Ok(()),
            buffer: Vec::with_capacity(BUFFER_LEN + (64 << 10)),
            packed: Vec::new(),
            flushed: 0,
            sections: Vec::new(),
            open: None,
        };
        writer.buffer.extend_from_slice(MAGIC);
        Ok(writer)
    }

    /// Bytes written so far. While a section is compressed, bytes that wait for the encoder do not count.
    #[must_use]
    pub fn position(&self) -> u64 {
        let waiting = match self.encoder {
            None => self.buffer.len(),
            Some(_) => 0,
        };
        self.flushed
            .saturating_add(self.packed.len() as u64)
            .saturating_add(waiting as u64)
    }

    /// Starts a section.
    ///
    /// # Panics
    /// When a section is open: a bug of the caller.
    pub fn begin(&mut self, name: SectionName) {
        assert!(self.open.is_none(), "sections do not nest");
        if let Some(codec) = self.codec {
            self.packed.append(&mut self.buffer);
            self.encoder = Some(codec.encoder());
        }
        let start = self.position();
        self.open = Some(OpenSection {
            name,
            start,
            sub_start: start,
            has_subs: false,
        });
    }

    /// Writes bytes that are already delimited messages.
    ///
    /// # Errors
    /// An error of the writer below.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        self.flush_if_full()
    }

    /// The buffer that [`ImageWriter::write`] appends to, for callers that encode in place; call
    /// [`ImageWriter::flush_if_full`] after each message.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes a delimited message.
    ///
    /// # Errors
    /// An error of the writer below.
    pub fn message<M: Message>(&mut self, message: &M) -> io::Result<()> {
        crate::wire::put_varint(&mut self.buffer, message.encoded_len() as u64);
        // A Vec grows as needed, so encoding can't fail.
        message.encode_raw(&mut self.buffer);
        self.flush_if_full()
    }

    /// Ends a part of the open section here, so that readers can load the parts in parallel. A compressed section has
    /// no parts, as Hadoop's readers require.
    pub fn sub_section(&mut self) {
        if self.codec.is_some() {
            return;
        }
        let position = self.position();
        if let Some(open) = &mut self.open
            && let Some(sub) = open.name.sub()
            && position > open.sub_start
        {
            self.sections.push(entry(sub, open.sub_start, position));
            open.sub_start = position;
            open.has_subs = true;
        }
    }

    /// Ends the open section.
    pub fn end(&mut self) {
        if self.open.as_ref().is_some_and(|open| open.has_subs) {
            self.sub_section();
        }
        if let Some(mut encoder) = self.encoder.take() {
            let done = encoder.write(&self.buffer, &mut self.packed);
            self.buffer.clear();
            let done = done.and_then(|()| encoder.finish(&mut self.packed));
            self.failed = std::mem::replace(&mut self.failed, Ok(())).and(done);
        }
        let position = self.position();
        if let Some(open) = self.open.take() {
            self.sections.push(entry(open.name, open.start, position));
        }
    }

    /// Writes the summary and hands the writer back, flushed but not synced, with the length of the file in bytes.
    ///
    /// # Errors
    /// An error of the writer below.
    pub fn finish(mut self, layout_version: LayoutVersion) -> io::Result<(W, u64)> {
        let summary = FileSummary {
            ondisk_version: ON_DISK_VERSION,
            layout_version: layout_version.0.cast_unsigned(),
            codec: self.codec.map(|codec| codec.class().to_owned()),
            sections: std::mem::take(&mut self.sections),
        };
        let bytes = summary.encode_length_delimited_to_vec();
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.buffer.extend_from_slice(&bytes);
        self.buffer.extend_from_slice(&len.to_be_bytes());
        self.flush()?;
        self.out.flush()?;
        Ok((self.out, self.flushed))
    }

    /// Passes the buffer on when it is full.
    ///
    /// # Errors
    /// An error of the writer below.
    pub fn flush_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFER_LEN {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        std::mem::replace(&mut self.failed, Ok(()))?;
        if let Some(encoder) = &mut self.encoder {
            encoder.write(&self.buffer, &mut self.packed)?;
            self.buffer.clear();
        }
        for bytes in [&mut self.packed, &mut self.buffer] {
            self.out.write_all(bytes)?;
            self.flushed = self.flushed.saturating_add(bytes.len() as u64);
            bytes.clear();
        }
        Ok(())
    }
}

fn entry(name: SectionName, start: u64, end: u64) -> file_summary::Section {
    file_summary::Section {
        name: Some(name.as_str().to_owned()),
        length: Some(end.saturating_sub(start)),
        offset: Some(start),
    }
}

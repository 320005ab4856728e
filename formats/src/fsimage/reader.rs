//! Reading an image: its summary first, then any section as a stream of messages.

use super::{ImageCodec, MAGIC, ON_DISK_VERSION, SectionName};
use crate::ids::LayoutVersion;
use crate::proto::fsimage::FileSummary;
use prost::Message;
use std::io::{self, Read};

/// Longest summary that is read, in bytes.
const SUMMARY_LEN_MAX: u64 = 16 << 20;
/// Longest message that is read, in bytes. (A directory of two million children takes 10 MB.)
const MESSAGE_LEN_MAX: usize = 1 << 30;
/// Bytes read at once.
const CHUNK_LEN: usize = 1 << 20;

/// Something that can be read at any offset from several threads.
pub trait ReadAt: Sync {
    /// Fills `buffer` from `offset` on, as far as the file goes.
    ///
    /// # Errors
    /// An error of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Length in bytes.
    ///
    /// # Errors
    /// An error of the file.
    fn len_bytes(&self) -> io::Result<u64>;
}

impl ReadAt for std::fs::File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut rest = self.get(start..).unwrap_or_default();
        rest.read(buffer)
    }
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// Why an image can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file can't be read.
    #[error("can't read at offset {offset}: {source}")]
    Io {
        /// Offset in the file.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The file is no image, or is damaged.
    #[error("at offset {offset}: {problem}")]
    Malformed {
        /// Offset in the file.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// The image uses something that is not supported.
    #[error("{0}")]
    Unsupported(String),
}

impl ImageError {
    pub(crate) fn malformed(offset: u64, problem: impl Into<String>) -> Self {
        ImageError::Malformed {
            offset,
            problem: problem.into(),
        }
    }
}

/// A section or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: SectionName,
    /// Offset of the first byte.
    pub offset: u64,
    /// Length in bytes as stored.
    pub len_bytes: u64,
}

/// An image whose summary has been read.
#[derive(Debug)]
pub struct Image<'a, F: ReadAt + ?Sized> {
    file: &'a F,
    layout_version: LayoutVersion,
    codec: Option<ImageCodec>,
    sections: Vec<Section>,
}

impl<'a, F: ReadAt + ?Sized> Image<'a, F> {
    /// Reads the summary.
    ///
    /// # Errors
    /// When the file can't be read, is not an image, or uses an unknown codec or section.
    pub fn open(file: &'a F) -> Result<Self, ImageError> {
        let io_error = |offset| move |source| ImageError::Io { offset, source };
        let len = file.len_bytes().map_err(io_error(0))?;
        let mut magic = [0; 8];
        read_exact_at(file, &mut magic, 0)?;
        if &magic != MAGIC {
            return Err(ImageError::malformed(0, "not an fsimage: the magic is missing"));
        }
        if len < 12 {
            return Err(ImageError::malformed(len, "the file ends before its summary"));
        }
        let length_at = len.saturating_sub(4);
        let mut length = [0; 4];
        read_exact_at(file, &mut length, length_at)?;
        let summary_len = u64::from(u32::from_be_bytes(length));
        let start = length_at
            .checked_sub(summary_len)
            .filter(|start| *start >= MAGIC.len() as u64);
        let Some(start) = start.filter(|_| (1..=SUMMARY_LEN_MAX).contains(&summary_len)) else {
            let problem = format!("a summary of {summary_len} bytes can't be");
            return Err(ImageError::malformed(length_at, problem));
        };
        let mut bytes = vec![0; usize::try_from(summary_len).unwrap_or(0)];
        read_exact_at(file, &mut bytes, start)?;
        let summary = FileSummary::decode_length_delimited(&bytes[..])
            .map_err(|error| ImageError::malformed(start, format!("summary: {error}")))?;
        if summary.ondisk_version != ON_DISK_VERSION {
            let problem = format!("on-disk version {}", summary.ondisk_version);
            return Err(ImageError::Unsupported(problem));
        }
        let codec = match summary.codec() {
            "" => None,
            class => Some(
                ImageCodec::of_class(class)
                    .ok_or_else(|| ImageError::Unsupported(format!("compression codec {class}")))?,
            ),
        };
        let mut sections = Vec::with_capacity(summary.sections.len());
        for section in &summary.sections {
            let name = SectionName::parse(section.name())
                .ok_or_else(|| ImageError::Unsupported(format!("section {:?}", section.name())))?;
            let (offset, section_len) = (section.offset(), section.length());
            if offset.checked_add(section_len).is_none_or(|end| end > start) {
                let problem = format!(
                    "section {} of {section_len} bytes reaches beyond the summary",
                    name.as_str()
                );
                return Err(ImageError::malformed(offset, problem));
            }
            sections.push(Section {
                name,
                offset,
                len_bytes: section_len,
            });
        }
        sections.sort_by_key(|section| (section.name, section.offset));
        Ok(Image {
            file,
            layout_version: LayoutVersion(summary.layout_version.cast_signed()),
            codec,
            sections,
        })
    }

    /// The layout version that it was written in.
    #[must_use]
    pub fn layout_version(&self) -> LayoutVersion {
        self.layout_version
    }

    /// Codec of the sections. `None` when they are not compressed.
    #[must_use]
    pub fn codec(&self) -> Option<ImageCodec> {
        self.codec
    }

    /// All sections and their parts, in the order of loading.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// One whole section.
    #[must_use]
    pub fn section(&self, name: SectionName) -> Option<Section> {
        self.sections.iter().copied().find(|section| section.name == name)
    }

    /// The parts of a section, which can be read in parallel. A section without parts is its only part.
    #[must_use]
    pub fn parts(&self, name: SectionName) -> Vec<Section> {
        let Some(whole) = self.section(name) else {
            return Vec::new();
        };
        let parts: Vec<Section> = self
            .sections
            .iter()
            .copied()
            .filter(|section| Some(section.name) == name.sub())
            .collect();
        let covered = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.len_bytes));
        if covered == whole.len_bytes { parts } else { vec![whole] }
    }

    /// The messages of a section or part. A whole section that was compressed in parts is read part after part.
    #[must_use]
    pub fn messages(&self, section: Section) -> MessageReader<'a, F> {
        let ranges = if self.codec.is_some() && section.name.sub().is_some() {
            self.parts(section.name)
        } else {
            vec![section]
        };
        let mut ranges: Vec<(u64, u64)> = ranges
            .iter()
            .map(|range| (range.offset, range.offset.saturating_add(range.len_bytes)))
            .collect();
        ranges.reverse();
        let stored = ranges.iter().map(|(start, end)| end.saturating_sub(*start));
        let left = stored.fold(0_u64, u64::saturating_add);
        MessageReader {
            source: Source {
                file: self.file,
                codec: self.codec,
                ranges,
                stream: None,
            },
            name: section.name,
            left: self.codec.is_none().then_some(left),
            offset: section.offset,
            buffer: Vec::new(),
            start: 0,
        }
    }
}

fn read_exact_at<F: ReadAt + ?Sized>(file: &F, buffer: &mut [u8], offset: u64) -> Result<(), ImageError> {
    let mut done = 0_usize;
    loop {
        let rest = buffer.get_mut(done..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        let at = offset.saturating_add(done as u64);
        match file.read_at(rest, at) {
            Ok(0) => return Err(ImageError::malformed(at, "the file ends here")),
            Ok(len) => done = done.saturating_add(len),
            Err(source) => return Err(ImageError::Io { offset: at, source }),
        }
    }
}

/// The uncompressed bytes of a list of ranges.
struct Source<'a, F: ReadAt + ?Sized> {
    file: &'a F,
    codec: Option<ImageCodec>,
    /// Still to be read, last one first.
    ranges: Vec<(u64, u64)>,
    stream: Option<Box<dyn Read + Send + 'a>>,
}

struct RangeReader<'a, F: ReadAt + ?Sized> {
    file: &'a F,
    position: u64,
    end: u64,
}

impl<F: ReadAt + ?Sized> Read for RangeReader<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let want = buffer.len().min(left);
        let len = self
            .file
            .read_at(buffer.get_mut(..want).unwrap_or_default(), self.position)?;
        if len == 0 && want > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position = self.position.saturating_add(len as u64);
        Ok(len)
    }
}

impl<'a, F: ReadAt + ?Sized> Source<'a, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(stream) = &mut self.stream {
                let len = stream.read(buffer)?;
                if len > 0 {
                    return Ok(len);
                }
                self.stream = None;
            }
            let Some((position, end)) = self.ranges.pop() else {
                return Ok(0);
            };
            let range = RangeReader {
                file: self.file,
                position,
                end,
            };
            self.stream = Some(match self.codec {
                None => Box::new(range),
                Some(codec) => codec.decoder(range),
            });
        }
    }
}

/// Reads delimited messages, a chunk of the file at a time.
pub struct MessageReader<'a, F: ReadAt + ?Sized> {
    source: Source<'a, F>,
    name: SectionName,
    /// Bytes that can still come. `None` for a compressed section, where it is not known.
    left: Option<u64>,
    /// Offset of `buffer[0]` in the file. In a compressed section it counts uncompressed bytes.
    offset: u64,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that have been handed out.
    start: usize,
}

impl<F: ReadAt + ?Sized> MessageReader<'_, F> {
    /// Offset of the next message.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset.saturating_add(self.start as u64)
    }

    /// An error about the message that was read last.
    pub fn malformed(&self, problem: impl std::fmt::Display) -> ImageError {
        ImageError::malformed(
            self.offset(),
            format!("section {}, just before: {problem}", self.name.as_str()),
        )
    }

    /// The next message's bytes, or `None` at the end of the section.
    ///
    /// # Errors
    /// When the file can't be read, or the section ends inside a message.
    pub fn next_bytes(&mut self) -> Result<Option<&[u8]>, ImageError> {
        let (prefix, len) = loop {
            match parse_length(self.buffer.get(self.start..).unwrap_or_default()) {
                Parsed::Length { prefix, len } if len <= MESSAGE_LEN_MAX => break (prefix, len),
                Parsed::Incomplete => {
                    let empty = self.start == self.buffer.len();
                    if !self.fill()? {
                        if empty {
                            return Ok(None);
                        }
                        return Err(ImageError::malformed(
                            self.offset(),
                            "the section ends inside a message's length",
                        ));
                    }
                }
                Parsed::Length { .. } | Parsed::Bad => {
                    return Err(ImageError::malformed(self.offset(), "this is not a message's length"));
                }
            }
        };
        let whole = prefix.saturating_add(len);
        while self.buffer.len().saturating_sub(self.start) < whole {
            if !self.fill()? {
                return Err(ImageError::malformed(
                    self.offset(),
                    "the section ends inside a message",
                ));
            }
        }
        let from = self.start.saturating_add(prefix);
        self.start = self.start.saturating_add(whole);
        Ok(Some(self.buffer.get(from..self.start).unwrap_or_default()))
    }

    /// The next message, or `None` at the end of the section.
    ///
    /// # Errors
    /// As [`MessageReader::next_bytes`], and when the message does not parse.
    pub fn next_message<M: Message + Default>(&mut self) -> Result<Option<M>, ImageError> {
        let offset = self.offset();
        let name = self.name;
        match self.next_bytes()? {
            None => Ok(None),
            Some(bytes) => M::decode(bytes)
                .map(Some)
                .map_err(|error| ImageError::malformed(offset, format!("section {}: {error}", name.as_str()))),
        }
    }

    /// The next message, which must be there.
    ///
    /// # Errors
    /// As [`MessageReader::next_message`], and at the end of the section.
    pub fn require<M: Message + Default>(&mut self) -> Result<M, ImageError> {
        let offset = self.offset();
        self.next_message()?
            .ok_or_else(|| ImageError::malformed(offset, format!("section {} ends too early", self.name.as_str())))
    }

    fn fill(&mut self) -> Result<bool, ImageError> {
        self.buffer.drain(..self.start);
        self.offset = self.offset.saturating_add(self.start as u64);
        self.start = 0;
        let filled = self.buffer.len();
        // For a large message the steps grow, so that its bytes are not moved for each small step. The room is never
        // larger than the bytes that can come.
        let left = self
            .left
            .map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let step = CHUNK_LEN.max(filled).min(left);
        self.buffer.resize(filled.saturating_add(step), 0);
        let result = self.source.read(self.buffer.get_mut(filled..).unwrap_or_default());
        match result {
            Ok(len) => {
                self.buffer.truncate(filled.saturating_add(len));
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(len as u64);
                }
                Ok(len > 0)
            }
            Err(source) => {
                self.buffer.truncate(filled);
                Err(ImageError::Io {
                    offset: self.offset.saturating_add(filled as u64),
                    source,
                })
            }
        }
    }
}

enum Parsed {
    Length { prefix: usize, len: usize },
    Incomplete,
    Bad,
}

fn parse_length(bytes: &[u8]) -> Parsed {
    let mut value = 0_u64;
    for ((prefix, shift), byte) in (1..=5).zip((0..).step_by(7)).zip(bytes) {
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return match usize::try_from(value) {
                Ok(len) => Parsed::Length { prefix, len },
                Err(_) => Parsed::Bad,
            };
        }
    }
    if bytes.len() < 5 {
        Parsed::Incomplete
    } else {
        Parsed::Bad
    }
}

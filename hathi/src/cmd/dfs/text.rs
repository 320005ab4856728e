//! `-head`, `-tail`, `-text`, `-checksum`.

use super::{Arguments, Item, Misuse, Shell};
use crate::output::Stdout;
use anyhow::{Context, Result, bail};
use hathi_client::FileReader;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Bytes that `-head` and `-tail` show.
const SHOWN_LEN: u64 = 1024;
/// Pause between two looks of `-tail -f`.
const FOLLOW_PAUSE: Duration = Duration::from_secs(5);
/// Pieces of a compressed file that wait for the decompressor.
const PIECES_MAX: usize = 4;

/// What a file is in, by its first bytes and its name (`Display.Text.getInputStream`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Plain,
    Gzip,
    Zlib,
    Bzip2,
    /// Known to Hadoop, and not served here.
    Other(&'static str),
}

impl Format {
    fn of(first: &[u8], name: &str) -> Format {
        match first {
            [0x1f, 0x8b, ..] => return Format::Gzip,
            [b'S', b'E', b'Q', ..] => return Format::Other("a sequence file"),
            [b'O', b'b', b'j', ..] => return Format::Other("an Avro file"),
            _ => {}
        }
        match name.rsplit_once('.').map_or("", |(_, suffix)| suffix) {
            "gz" => Format::Gzip,
            "deflate" => Format::Zlib,
            "bz2" => Format::Bzip2,
            "snappy" => Format::Other("compressed with Snappy"),
            "lz4" => Format::Other("compressed with LZ4"),
            "zst" => Format::Other("compressed with Zstandard"),
            _ => Format::Plain,
        }
    }

    fn decoder(self, pieces: Pieces) -> Box<dyn Read> {
        match self {
            Format::Gzip => Box::new(flate2::read::MultiGzDecoder::new(pieces)),
            Format::Zlib => Box::new(flate2::read::ZlibDecoder::new(pieces)),
            Format::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(pieces)),
            Format::Plain | Format::Other(_) => Box::new(pieces),
        }
    }
}

/// Pieces of a file that another thread reads.
struct Pieces {
    from: Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.piece.read(into)? {
                0 => match self.from.recv() {
                    Ok(piece) => self.piece = io::Cursor::new(piece),
                    Err(_) => return Ok(0),
                },
                len => return Ok(len),
            }
        }
    }
}

async fn give(reader: &mut FileReader, to: &SyncSender<Vec<u8>>) -> Result<()> {
    loop {
        let piece = reader.next().await?.to_vec();
        // A decoder that ended early says why itself.
        if piece.is_empty() || to.send(piece).is_err() {
            return Ok(());
        }
    }
}

fn is_a_directory(item: &Item) -> anyhow::Error {
    anyhow::anyhow!("`{}': Is a directory", item.path)
}

impl Shell {
    pub(super) async fn head(&mut self, Arguments { words, .. }: Arguments) -> Result<()> {
        for item in self.expand(&words).await? {
            if let Err(error) = self.show_head(&item).await {
                self.fail(&item.path, &error);
            }
        }
        Ok(())
    }

    async fn show_head(&mut self, item: &Item) -> Result<()> {
        if item.is_dir() {
            return Err(is_a_directory(item));
        }
        let mut reader = self.fs(&item.path)?.open(&item.path.path).await?;
        let mut left = usize::try_from(SHOWN_LEN)?;
        while left > 0 {
            let bytes = reader.next().await?;
            if bytes.is_empty() {
                break;
            }
            let shown = bytes.get(..left).unwrap_or(bytes);
            Stdout.write_all(shown)?;
            left -= shown.len();
        }
        Ok(Stdout.flush()?)
    }

    pub(super) async fn tail(&mut self, Arguments { flags, words }: Arguments) -> Result<()> {
        let pause = match flags.value("s").filter(|_| flags.has("f")) {
            None => FOLLOW_PAUSE,
            Some(text) => match text.parse() {
                Ok(millis) => Duration::from_millis(millis),
                Err(_) => bail!(Misuse(format!("For input string: \"{text}\""))),
            },
        };
        for item in self.expand(&words).await? {
            if item.is_dir() {
                self.complain(&is_a_directory(&item).to_string());
                continue;
            }
            let mut from = item.status.length.saturating_sub(SHOWN_LEN);
            loop {
                from = self.show_from(&item, from).await?;
                if !flags.has("f") {
                    break;
                }
                tokio::time::sleep(pause).await;
            }
        }
        Ok(())
    }

    /// Shows a file from a position on. Returns where it ends now.
    async fn show_from(&mut self, item: &Item, from: u64) -> Result<u64> {
        let mut reader = self.fs(&item.path)?.open(&item.path.path).await?;
        let len = reader.len();
        // A file that was cut is not shown again.
        reader.seek(from.min(len));
        loop {
            let bytes = reader.next().await?;
            if bytes.is_empty() {
                Stdout.flush()?;
                return Ok(len.max(from));
            }
            Stdout.write_all(bytes)?;
        }
    }

    pub(super) async fn text(&mut self, Arguments { flags, words }: Arguments) -> Result<()> {
        // Each word's complaints come in its turn.
        for word in words.chunks(1) {
            for item in self.expand(word).await? {
                if let Err(error) = self.show_text(&item, !flags.has("ignoreCrc")).await {
                    self.fail(&item.path, &error);
                }
            }
        }
        Ok(())
    }

    async fn show_text(&mut self, item: &Item, verified: bool) -> Result<()> {
        if item.is_dir() {
            return Err(is_a_directory(item));
        }
        let mut reader = self.fs(&item.path)?.open(&item.path.path).await?;
        if !verified {
            reader.ignore_checksums();
        }
        let first = reader.next().await?.to_vec();
        let format = Format::of(&first, item.path.name());
        if let Format::Other(what) = format {
            bail!("`{}' is {what}, which is not shown as text", item.path);
        }
        let (to, from) = sync_channel(PIECES_MAX);
        let decoder = std::thread::Builder::new().name("decoder".to_owned()).spawn(move || {
            let piece = io::Cursor::new(first);
            let mut out = io::BufWriter::new(Stdout);
            io::copy(&mut format.decoder(Pieces { from, piece }), &mut out)?;
            out.flush()
        })?;
        let given = give(&mut reader, &to).await;
        drop(to);
        let shown = decoder.join().ok().context("the decoder failed")?;
        given?;
        Ok(shown?)
    }

    pub(super) async fn checksum(&mut self, Arguments { flags, words }: Arguments) -> Result<()> {
        // Each word's complaints come in its turn.
        for word in words.chunks(1) {
            for item in self.expand(word).await? {
                if item.is_dir() {
                    self.complain(&is_a_directory(&item).to_string());
                    continue;
                }
                let fs = self.fs(&item.path)?;
                match fs.checksum(&item.path.path).await {
                    Ok(sum) => {
                        let hex: String = sum.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                        let size = match flags.has("v") {
                            true => format!("\tBlockSize={}", item.status.blocksize()),
                            false => String::new(),
                        };
                        println!("{}\t{}\t{hex}{size}", item.path, sum.algorithm());
                    }
                    Err(error) => self.fail(&item.path, &error.into()),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_told_by_its_first_bytes_and_its_name() {
        for (first, name, format) in [
            (&b"\x1f\x8b\x08"[..], "x.bz2", Format::Gzip),
            (b"SEQ\x06", "x", Format::Other("a sequence file")),
            (b"SECOND", "x", Format::Plain),
            (b"BZh9", "x.bz2", Format::Bzip2),
            (b"\x78\x9c", "x.deflate", Format::Zlib),
            (b"", "x", Format::Plain),
        ] {
            assert_eq!(Format::of(first, name), format, "{name}");
        }
    }

    #[test]
    fn compressed_text_comes_out_in_pieces_and_whole() {
        let text = "so much text ".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(text.as_bytes()).unwrap();
        let bzip2 = bzip2.finish().unwrap();
        for (format, bytes) in [
            (Format::Gzip, gzip),
            (Format::Bzip2, bzip2),
            (Format::Plain, text.clone().into_bytes()),
        ] {
            let (to, from) = sync_channel(bytes.len());
            // Twice, as files that were put one after the other.
            for piece in bytes.repeat(2).chunks(100) {
                to.send(piece.to_vec()).unwrap();
            }
            drop(to);
            let piece = io::Cursor::default();
            let mut out = String::new();
            format.decoder(Pieces { from, piece }).read_to_string(&mut out).unwrap();
            assert_eq!(out, text.repeat(2), "{format:?}");
        }
    }
}

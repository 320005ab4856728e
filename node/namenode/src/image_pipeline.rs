//! Writing an image on three threads: one encodes it, one computes its MD5, and one writes and syncs the file.

use hathi_namespace::image::SaveError;
use md5::{Digest, Md5};
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Length of a buffer that goes from thread to thread.
const BUFFER_BYTES: usize = 1 << 20;
/// Full buffers that may wait for each of the two threads. While the disk syncs, the encoder gets ahead by so much.
const BUFFERS_WAITING: usize = 8;

/// What the encoder writes into.
#[derive(Debug)]
pub(crate) struct Pipe {
    buffer: Vec<u8>,
    full: SyncSender<Vec<u8>>,
    /// Buffers that were written.
    empty: Receiver<Vec<u8>>,
}

impl Write for Pipe {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let next = self.empty.try_recv().unwrap_or_default();
        let full = std::mem::replace(&mut self.buffer, next);
        // The error of the thread that ended is the one that is told.
        self.full.send(full).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Writes what `encode` makes to `out`, and answers the MD5 of it. The encoder flushes at its end, and `out` is not synced.
///
/// # Errors
/// Those of the encoder, and the first one of `out`.
pub(crate) fn write<W: Write + Send>(
    out: W,
    encode: impl FnOnce(Pipe) -> Result<(), SaveError>,
) -> Result<(W, [u8; 16]), SaveError> {
    let (full, to_digest) = sync_channel::<Vec<u8>>(BUFFERS_WAITING);
    let (digested, to_write) = sync_channel::<Vec<u8>>(BUFFERS_WAITING);
    let (written, empty) = sync_channel(2 * BUFFERS_WAITING);
    thread::scope(|scope| {
        let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
        let digest = spawn("image-md5").spawn_scoped(scope, move || {
            let mut digest = Md5::new();
            for buffer in to_digest {
                digest.update(&buffer);
                if digested.send(buffer).is_err() {
                    break;
                }
            }
            <[u8; 16]>::from(digest.finalize())
        })?;
        let writing = spawn("image-write").spawn_scoped(scope, move || -> io::Result<W> {
            let mut out = out;
            for mut buffer in to_write {
                out.write_all(&buffer)?;
                buffer.clear();
                // Without room the buffer is dropped.
                let _ = written.try_send(buffer);
            }
            Ok(out)
        })?;
        let encoded = encode(Pipe {
            buffer: Vec::new(),
            full,
            empty,
        });
        let md5 = digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let out = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (encoded, out) {
            (Err(SaveError::Io(_)) | Ok(()), Err(error)) => Err(error.into()),
            (encoded, out) => encoded.and_then(|()| Ok((out?, md5))),
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn encode(mut pipe: Pipe, bytes: &[u8]) -> Result<(), SaveError> {
        for part in bytes.chunks(300_000) {
            pipe.write_all(part)?;
        }
        Ok(pipe.flush()?)
    }

    /// Takes so many bytes, as a disk that becomes full.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let left = self.0.checked_sub(data.len());
            self.0 = left.ok_or(io::ErrorKind::StorageFull)?;
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_arrives_in_its_order_with_its_md5() {
        let bytes: Vec<u8> = (0..40_000_000_u32).map(|at| (at / 1000) as u8).collect();
        let (written, md5) = write(Vec::new(), |pipe| encode(pipe, &bytes)).unwrap();
        assert!(written == bytes, "{} of {} bytes", written.len(), bytes.len());
        assert_eq!(md5, <[u8; 16]>::from(Md5::digest(&bytes)));
    }

    #[test]
    fn the_error_is_the_disks_or_the_encoders_own() {
        let bytes = vec![7; 60_000_000];
        let failed = write(Full(5_000_000), |pipe| encode(pipe, &bytes)).map(drop);
        assert!(
            matches!(&failed, Err(SaveError::Io(error)) if error.kind() == io::ErrorKind::StorageFull),
            "{failed:?}"
        );
        let cancelled = write(Vec::new(), |_| Err(SaveError::Cancelled)).map(drop);
        assert!(matches!(cancelled, Err(SaveError::Cancelled)), "{cancelled:?}");
    }
}

//! Images on a disk: their names, their MD5 files, how one is written, and which one is loaded (Hadoop's `FSImage`,
//! `MD5FileUtils` and `FSImageTransactionalStorageInspector`).
//!
//! ```text
//! <current>/fsimage.ckpt_<txid>           an image that is being saved, or is not known to be good yet
//! <current>/fsimage.ckpt_<txid>.upload    the same, from a peer
//! <current>/fsimage_<txid>                an image
//! <current>/fsimage_<txid>.md5            its digest
//! ```
//!
//! Invariants:
//! - A file gets the name of an image when all of its bytes are durable, and its MD5 file before that.
//! - The newest image that is whole is loaded. An older one is loaded only when every copy of the newer one is damaged.
//! - An image with a feature that is not here is whole if its digest is right: an older one, and edits over it, would only
//!   hide that.

use hathi_formats::fsimage::{ImageError, MD5_SUFFIX, ReadAt, parse_md5_file};
use hathi_formats::ids::TxId;
use hathi_namespace::Namespace;
use hathi_storage::{Disk, DiskFile};
use md5::{Digest, Md5};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

const IMAGE: &str = "fsimage_";
const UNFINISHED: &str = "fsimage.ckpt_";
/// Digits of a transaction in the name of a file.
const TXID_DIGITS: usize = 19;

/// Read at a time while an image's digest is computed.
const DIGEST_CHUNK_BYTES: usize = 1 << 20;
/// Bytes that wait to be written.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes that are written before they are synced. A journal on the same disk syncs each of its batches, and the file system
/// makes that wait for what other files have written before: 4 MiB take a disk some 10 ms, an image of many files seconds.
const SYNC_EVERY_BYTES: u64 = 4 << 20;

/// `fsimage_<txid>`.
#[must_use]
pub fn image_name(txid: TxId) -> String {
    format!("{IMAGE}{:0TXID_DIGITS$}", txid.0)
}

/// The name of an image that is not complete.
#[must_use]
pub fn checkpoint_name(txid: TxId) -> String {
    format!("{UNFINISHED}{:0TXID_DIGITS$}", txid.0)
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The MD5 file of an image.
#[must_use]
pub fn md5_path(image: &Path) -> PathBuf {
    let mut path = image.as_os_str().to_owned();
    path.push(MD5_SUFFIX);
    PathBuf::from(path)
}

/// An image on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// The last transaction that it holds.
    pub txid: TxId,
    /// Where it is.
    pub path: PathBuf,
}

impl ImageFile {
    /// Whether what was read is this image: by its digest, and by the last transaction in it. The digest comes first,
    /// because damaged bytes may look like a feature that is not here.
    ///
    /// # Errors
    /// The difference, or why the image can't be decoded.
    pub fn check(
        &self,
        expected: [u8; 16],
        found: [u8; 16],
        loaded: Result<Namespace, ImageError>,
    ) -> Result<Namespace, LoadError> {
        if found != expected {
            return Err(LoadError::Corrupt {
                image: self.path.clone(),
                found: hex(&found),
                expected: hex(&expected),
            });
        }
        let namespace = loaded?;
        if namespace.last_applied_txid() != self.txid.0 {
            return Err(LoadError::OfAnotherTransaction {
                image: self.path.clone(),
                last_applied: namespace.last_applied_txid(),
            });
        }
        Ok(namespace)
    }
}

/// The images in these directories, newest first. A directory that can't be read has none.
pub fn images_in<D: Disk>(disk: &D, dirs: &[PathBuf]) -> Vec<ImageFile> {
    images_named(disk, dirs, IMAGE)
}

/// The same for images with names that begin so, and go on with a transaction.
pub(crate) fn images_named<D: Disk>(disk: &D, dirs: &[PathBuf], prefix: &str) -> Vec<ImageFile> {
    let mut images = Vec::new();
    for dir in dirs {
        for entry in disk.list(dir).unwrap_or_default() {
            let digits = entry.name.strip_prefix(prefix);
            let txid = digits
                .filter(|digits| digits.len() == TXID_DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit()))
                // Java's longs: no image is of a transaction above them.
                .and_then(|digits| digits.parse::<i64>().ok());
            if let Some(txid) = txid {
                images.push(ImageFile {
                    txid: TxId(txid.unsigned_abs()),
                    path: dir.join(&entry.name),
                });
            }
        }
    }
    images.sort_by(|a, b| b.txid.cmp(&a.txid).then_with(|| a.path.cmp(&b.path)));
    images
}

/// Removes what a process that has ended has left of images that it was saving or receiving. It may be called only before
/// this process begins to. Answers how many files there were.
pub fn remove_unfinished<D: Disk>(disk: &D, dirs: &[PathBuf]) -> usize {
    let mut removed = 0;
    for dir in dirs {
        let entries = disk.list(dir).unwrap_or_default();
        for entry in entries.iter().filter(|entry| entry.name.starts_with(UNFINISHED)) {
            // One that stays takes only space.
            removed += usize::from(disk.remove_file(&dir.join(&entry.name)).is_ok());
        }
    }
    removed
}

/// The digest in an image's MD5 file, which must name this very image.
///
/// # Errors
/// When there is no such file, it can't be read, or it is of another image.
pub fn read_md5<D: Disk>(disk: &D, image: &Path) -> Result<[u8; 16], LoadError> {
    let unreadable = |source| LoadError::Md5File {
        image: image.to_owned(),
        source,
    };
    let text = disk.read_small(&md5_path(image)).map_err(unreadable)?;
    let text = text.ok_or_else(|| unreadable(io::Error::from(io::ErrorKind::NotFound)))?;
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    parse_md5_file(&String::from_utf8_lossy(&text), &name).map_err(|problem| LoadError::Md5FileOfAnother {
        image: image.to_owned(),
        problem,
    })
}

/// The MD5 of these bytes.
#[must_use]
pub fn md5_of(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// Computes a file's MD5.
///
/// # Errors
/// When it can't be read.
pub fn digest_of<D: Disk>(disk: &D, path: &Path) -> io::Result<[u8; 16]> {
    let file = disk.open_read(path)?;
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    let mut chunk = vec![0; DIGEST_CHUNK_BYTES.min(len.max(1))];
    let mut digest = Md5::new();
    let mut offset: u64 = 0;
    loop {
        let read = file.read_at(offset, &mut chunk)?;
        match chunk.get(..read) {
            None | Some([]) => return Ok(digest.finalize().into()),
            Some(data) => digest.update(data),
        }
        offset = offset.saturating_add(read as u64);
    }
}

/// A file of a disk as an image is read from it.
#[derive(Debug)]
pub struct ImageReader<'a, F>(pub &'a F);

impl<F: DiskFile> ReadAt for ImageReader<'_, F> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(offset, buffer)
    }

    fn len_bytes(&self) -> io::Result<u64> {
        self.0.len()
    }
}

/// Why an image was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Without its digest no image is loaded.
    #[error("No MD5 file found corresponding to image file {image}")]
    Md5File {
        /// The image.
        image: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The MD5 file says nothing of this image.
    #[error("MD5 file of {image}: {problem}")]
    Md5FileOfAnother {
        /// The image.
        image: PathBuf,
        /// What it says.
        problem: String,
    },
    /// It is not what was saved.
    #[error("image file {image} is corrupt with MD5 checksum of {found} but expecting {expected}")]
    Corrupt {
        /// The image.
        image: PathBuf,
        /// Its digest.
        found: String,
        /// The digest in its MD5 file.
        expected: String,
    },
    /// Its name says otherwise.
    #[error("image file {image} holds everything up to {last_applied}")]
    OfAnotherTransaction {
        /// The image.
        image: PathBuf,
        /// The last transaction in it.
        last_applied: u64,
    },
    /// It can't be decoded.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The disk does not give it.
    #[error("cannot open {image}")]
    Unreadable {
        /// The image.
        image: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl LoadError {
    /// Whether the image is whole and needs something that is not here.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self, LoadError::Image(ImageError::Unsupported(_)))
    }

    /// Whether another try may come to another end.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            LoadError::Md5File { .. } | LoadError::Unreadable { .. } | LoadError::Image(ImageError::Io { .. })
        )
    }
}

/// Why none of the images was loaded.
#[derive(Debug, thiserror::Error)]
pub enum NotLoaded {
    /// The newest one that is whole needs something that is not here.
    #[error("cannot serve {image}")]
    Unsupported {
        /// The image.
        image: PathBuf,
        /// What it needs.
        source: LoadError,
    },
    /// A disk that does not answer now may do so later.
    #[error(transparent)]
    Passing(LoadError),
    /// There is none, or every one is damaged.
    #[error(
        "no image in the name directories is whole ({0}). Restore one, or copy the other NameNode's with \
         hdfs namenode -bootstrapStandby"
    )]
    NoneWhole(String),
}

impl NotLoaded {
    /// Whether another try can't come to another end.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        match self {
            NotLoaded::Unsupported { .. } | NotLoaded::NoneWhole(_) => true,
            NotLoaded::Passing(_) => false,
        }
    }
}

/// Loads the first of these images that is whole, newest first ([`images_in`]); an older one only when every copy of the
/// newer one is damaged. `load` reads one and checks it ([`ImageFile::check`]); `passed_over` hears of those that are damaged.
///
/// # Errors
/// See [`NotLoaded`].
pub fn load_newest<T>(
    images: Vec<ImageFile>,
    mut load: impl FnMut(&ImageFile) -> Result<T, LoadError>,
    mut passed_over: impl FnMut(&ImageFile, &LoadError),
) -> Result<(ImageFile, T), NotLoaded> {
    debug_assert!(
        images.is_sorted_by(|one, next| one.txid >= next.txid),
        "the newest image is tried first"
    );
    let mut last_error = None;
    for image in images {
        match load(&image) {
            Ok(loaded) => return Ok((image, loaded)),
            Err(source) if source.is_unsupported() => {
                let image = image.path;
                return Err(NotLoaded::Unsupported { image, source });
            }
            Err(error) => {
                passed_over(&image, &error);
                last_error = Some(error);
            }
        }
    }
    Err(match last_error {
        Some(error) if error.is_passing() => NotLoaded::Passing(error),
        Some(error) => NotLoaded::NoneWhole(error.to_string()),
        None => NotLoaded::NoneWhole("there is none".to_owned()),
    })
}

/// The files of an unfinished image. They are removed when this is dropped, unless the image was published.
#[derive(Debug)]
pub struct Unpublished<D: Disk> {
    disk: D,
    txid: TxId,
    paths: Vec<PathBuf>,
}

impl<D: Disk> Unpublished<D> {
    /// `fsimage.ckpt_<txid>` in each of these directories.
    #[must_use]
    pub fn of(disk: D, dirs: &[PathBuf], txid: TxId) -> Self {
        Self::named(disk, dirs, txid, &checkpoint_name(txid))
    }

    /// Files for an image that a peer sends. They have other names than those of an own image of the same transaction,
    /// which may be saved meanwhile.
    #[must_use]
    pub fn uploaded(disk: D, dirs: &[PathBuf], txid: TxId) -> Self {
        Self::named(disk, dirs, txid, &format!("{}.upload", checkpoint_name(txid)))
    }

    fn named(disk: D, dirs: &[PathBuf], txid: TxId, name: &str) -> Self {
        debug_assert!(name.starts_with(UNFINISHED), "a start must not take it for an image");
        let paths = dirs.iter().map(|dir| dir.join(name)).collect();
        Unpublished { disk, txid, paths }
    }

    /// The last transaction that the image holds.
    #[must_use]
    pub fn txid(&self) -> TxId {
        self.txid
    }

    /// Paths of the files.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

impl<D: Disk> Drop for Unpublished<D> {
    fn drop(&mut self) {
        for path in &self.paths {
            // A published image has another name by now.
            let _ = self.disk.remove_file(path);
        }
    }
}

/// A large file that is synced while it is written: an image.
#[derive(Debug)]
pub struct SyncedFile<F> {
    file: F,
    written: u64,
    synced: u64,
}

impl<F: DiskFile> SyncedFile<F> {
    /// An empty file.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn create<D: Disk<File = F>>(disk: &D, path: &Path) -> io::Result<Self> {
        Ok(SyncedFile {
            file: disk.create(path)?,
            written: 0,
            synced: 0,
        })
    }

    /// Makes all of it durable.
    ///
    /// # Errors
    /// When the disk says so: nothing is known about the file then.
    pub fn sync_all(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl<F: DiskFile> Write for SyncedFile<F> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        debug_assert!(self.synced <= self.written, "only what was written is synced");
        self.file.write_at(self.written, data)?;
        self.written = self.written.saturating_add(data.len() as u64);
        if self.written.saturating_sub(self.synced) >= SYNC_EVERY_BYTES {
            self.file.sync_data()?;
            self.synced = self.written;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes an image to several files, for as long as one of them can be written. A file that can't be written is removed,
/// so its image is not published.
#[derive(Debug)]
pub struct ImageWriter<D: Disk> {
    disk: D,
    files: Vec<(PathBuf, BufWriter<SyncedFile<D::File>>)>,
    given_up: Vec<(PathBuf, io::Error)>,
}

impl<D: Disk> ImageWriter<D> {
    /// Creates these files, as far as that is possible.
    #[must_use]
    pub fn create(disk: &D, paths: &[PathBuf]) -> Self {
        let mut writer = ImageWriter {
            disk: disk.clone(),
            files: Vec::new(),
            given_up: Vec::new(),
        };
        for path in paths {
            match SyncedFile::create(disk, path) {
                Ok(file) => {
                    let file = BufWriter::with_capacity(BUFFER_BYTES, file);
                    writer.files.push((path.clone(), file));
                }
                Err(error) => writer.give_up(path.clone(), error),
            }
        }
        writer
    }

    /// The files that could be written so far.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// The files that could not be written, and why.
    #[must_use]
    pub fn given_up(&self) -> &[(PathBuf, io::Error)] {
        &self.given_up
    }

    /// Makes the files durable.
    ///
    /// # Errors
    /// When none of them is.
    pub fn finish(&mut self) -> io::Result<()> {
        self.each(|file| {
            file.flush()?;
            file.get_ref().sync_all()
        })
    }

    /// Does something to each file. Fails when none is left.
    fn each(&mut self, mut what: impl FnMut(&mut BufWriter<SyncedFile<D::File>>) -> io::Result<()>) -> io::Result<()> {
        let mut failed = Vec::new();
        self.files.retain_mut(|(path, file)| match what(file) {
            Ok(()) => true,
            Err(error) => {
                failed.push((path.clone(), error));
                false
            }
        });
        for (path, error) in failed {
            self.give_up(path, error);
        }
        match (self.files.is_empty(), self.given_up.last()) {
            (false, _) => Ok(()),
            (true, Some((_, error))) => Err(io::Error::new(error.kind(), error.to_string())),
            (true, None) => Err(io::Error::other("no name directory is in use")),
        }
    }

    fn give_up(&mut self, path: PathBuf, error: io::Error) {
        // What can't be removed is seen by its digest.
        let _ = self.disk.remove_file(&path);
        self.given_up.push((path, error));
    }
}

impl<D: Disk> Write for ImageWriter<D> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.each(|file| file.write_all(data))?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.each(Write::flush)
    }
}

#[cfg(test)]
mod tests;

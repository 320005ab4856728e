//! The simulated disk as a value: handles name a file, and a step says which disk they mean.

use std::cell::RefCell;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;

use hathi_storage::{DirEntry, Disk, DiskFile, SimDisk};

thread_local! {
    static PRESENT: RefCell<SimDisk> = RefCell::new(SimDisk::new());
}

/// Every handle means this disk while `act` runs on this thread.
pub fn on<T>(disk: &SimDisk, act: impl FnOnce() -> T) -> T {
    let before = PRESENT.with(|present| present.replace(disk.clone()));
    let result = act();
    PRESENT.with(|present| present.replace(before));
    result
}

fn present() -> SimDisk {
    PRESENT.with(|present| present.borrow().clone())
}

/// Whatever disk the step is about.
#[derive(Clone, Debug)]
pub struct ModelDisk;

/// A file of it.
#[derive(Clone)]
pub struct ModelFile((u64, u64));

/// Nobody else wants it.
#[derive(Clone, Debug)]
pub struct ModelLock;

impl fmt::Debug for ModelFile {
    /// The number depends on the way here; which file it is tells its owner.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("file")
    }
}

impl Disk for ModelDisk {
    type File = ModelFile;
    type Lock = ModelLock;

    fn create(&self, path: &Path) -> io::Result<ModelFile> {
        present().create(path).map(|file| ModelFile(file.number()))
    }

    fn create_new(&self, path: &Path) -> io::Result<ModelFile> {
        present().create_new(path).map(|file| ModelFile(file.number()))
    }

    fn open(&self, path: &Path) -> io::Result<ModelFile> {
        present().open(path).map(|file| ModelFile(file.number()))
    }

    fn open_read(&self, path: &Path) -> io::Result<ModelFile> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        present().rename(from, to)
    }

    fn hard_link(&self, existing: &Path, new: &Path) -> io::Result<()> {
        present().hard_link(existing, new)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        present().remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        present().remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        present().create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        present().list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        present().exists(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        present().sync_dir(dir)
    }

    fn lock(&self, _path: &Path, _holder: &str) -> io::Result<Option<ModelLock>> {
        Ok(Some(ModelLock))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        present().set_mode(path, mode)
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        present().file_len(path)
    }

    fn link_count(&self, path: &Path) -> io::Result<u64> {
        present().link_count(path)
    }

    /// The disk's own numbers depend on the way here. Nothing rots in the model, so the content tells files apart.
    fn file_id(&self, path: &Path) -> io::Result<Option<u128>> {
        let mut hasher = DefaultHasher::new();
        self.read_small(path)?.hash(&mut hasher);
        Ok(Some(u128::from(hasher.finish())))
    }
}

impl ModelFile {
    fn on<T>(&self, act: impl FnOnce(&hathi_storage::sim_disk::SimFile) -> T) -> T {
        act(&present().file(self.0))
    }
}

impl DiskFile for ModelFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.on(|file| file.read_at(offset, buf))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.on(|file| file.write_at(offset, data))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.on(|file| file.sync_data())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.on(|file| file.set_len(len))
    }

    fn len(&self) -> io::Result<u64> {
        self.on(|file| file.len())
    }
}

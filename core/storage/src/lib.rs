//! Disks, storage directories and small durable files.
//!
//! * [`disk`]: the trait through which cores reach a disk; [`os`] is the real one (the only file in `core/` that
//!   touches `std::fs`), [`sim_disk`] one that forgets what was not synced and fails on demand.
//! * [`directory`]: VERSION, `in_use.lock`, `current` and `previous`, format, upgrade, rollback
//!   (Hadoop's `Storage.StorageDirectory`).
//! * [`birth`]: new contents for several storage directories, which take the place of the old ones all at once.
//! * [`durable_long`]: small numbers that survive a crash (Hadoop's `PersistentLongFile`, `BestEffortLongFile`).
//! * [`copies`]: copies of small files with a checksum. They tell a damaged, lost or restored file.

pub mod birth;
pub mod copies;
pub mod directory;
pub mod disk;
pub mod durable_long;
pub mod os;
pub mod sim_disk;

pub use copies::{Copies, CopyState};
pub use directory::{NodeType, StorageDirectory, StorageError, StorageState, VersionFile, make_dirs};
pub use disk::{DirEntry, Disk, DiskFile};
pub use durable_long::{BestEffortLong, CheckedRecord, DurableLong};
pub use os::OsDisk;
pub use sim_disk::SimDisk;

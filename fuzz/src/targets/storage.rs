//! Small files: VERSION, numbers, copies.

use std::path::{Path, PathBuf};

use hathi_formats::ids::{LayoutVersion, NamespaceInfo};
use hathi_storage::durable_long::read_text_long;
use hathi_storage::{
    BestEffortLong, CheckedRecord, Copies, Disk, DurableLong, NodeType, SimDisk, StorageDirectory, VersionFile,
};

use super::{PLAIN, samples_of, text};
use crate::Target;

pub fn targets() -> Vec<Target> {
    let target = |name, samples, run| Target {
        name,
        samples,
        run,
        memory: PLAIN,
    };
    vec![
        target("version_file", version_samples, version),
        target("number_file", number_samples, number),
        target("copies_file", copies_samples, copies),
    ]
}

/// A disk with a root.
pub fn empty_disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/")).expect("a new disk takes it");
    disk
}

pub fn info() -> NamespaceInfo {
    NamespaceInfo {
        layout_version: LayoutVersion::NAMENODE_CURRENT,
        namespace_id: 7,
        cluster_id: "CID-7".to_owned(),
        ctime: 0,
        block_pool_id: "BP-1-127.0.0.1-1".to_owned(),
    }
}

fn version_samples() -> Vec<Vec<u8>> {
    samples_of(&[
        include_str!("../../../core/storage/tests/data/VERSION"),
        &VersionFile::new(NodeType::JournalNode, &info()).to_text(),
        "#Comment\n! another\nkey = value \\\n more\\u0041\nempty\n",
    ])
}

fn version(input: &[u8]) {
    let version = VersionFile::parse(&text(input));
    assert_eq!(VersionFile::parse(&version.to_text()), version);
    let _ = version.namespace_info(Path::new("/VERSION"));
    let disk = empty_disk();
    let dir = StorageDirectory::new(disk.clone(), "/d");
    disk.create_dir_all(&dir.current()).expect("a new disk takes it");
    disk.write_small(&dir.version_path(), input)
        .expect("a new disk takes it");
    let _ = dir.analyze();
    let _ = dir.read_version();
    let _ = dir.can_roll_back(LayoutVersion::NAMENODE_CURRENT);
}

fn number_samples() -> Vec<Vec<u8>> {
    let disk = empty_disk();
    let path = PathBuf::from("/record");
    let mut record = CheckedRecord::open(disk.clone(), path.clone()).expect("there is none yet");
    record.set([1, 2, u64::MAX]).expect("a new disk takes it");
    let record = disk.read_small(&path).expect("it was written").unwrap_or_default();
    let mut samples = samples_of(&["0\n", "18446744073709551615\n", " 42 "]);
    samples.extend([record, i64::MIN.to_be_bytes().to_vec()]);
    samples
}

/// Epochs, `seen_txid`, `committed-txid` and our record of a JournalNode's writes.
fn number(input: &[u8]) {
    let disk = empty_disk();
    let path = PathBuf::from("/number");
    let path = || path.clone();
    disk.write_small(&path(), input).expect("a new disk takes it");
    if let Ok(mut long) = DurableLong::open(disk.clone(), path(), 7) {
        let value = long.get();
        long.force_set(value).expect("a new disk takes it");
        assert_eq!(
            read_text_long(&disk, &path()).expect("its own text is good"),
            Some(value)
        );
        disk.write_small(&path(), input).expect("a new disk takes it");
    }
    if let Ok(long) = BestEffortLong::open(disk.clone(), path(), 7) {
        assert!(input.is_empty() || input == long.get().to_be_bytes());
    }
    let record = CheckedRecord::open(disk.clone(), path()).expect("what is damaged is no error");
    if let Some(values) = record.get() {
        let mut again = CheckedRecord::open(disk.clone(), PathBuf::from("/again")).expect("there is none yet");
        again.set(values).expect("a new disk takes it");
        assert_eq!(
            disk.read_small(Path::new("/again")).expect("it was written").as_deref(),
            Some(input)
        );
    }
}

fn copies_samples() -> Vec<Vec<u8>> {
    let disk = empty_disk();
    for (name, content) in [("/a", &b"12\n"[..]), ("/b", b""), ("/c", b"\n\n")] {
        disk.write_small(Path::new(name), content).expect("a new disk takes it");
    }
    let copies = Copies::take(&disk, Path::new("/"), &["a", "b", "c"]).expect("they are there");
    copies.write(&disk, Path::new("/copies")).expect("a new disk takes it");
    vec![
        disk.read_small(Path::new("/copies"))
            .expect("it was written")
            .unwrap_or_default(),
    ]
}

/// Decodes copies as they are, and with a right checksum.
fn copies(input: &[u8]) {
    let body = input.get(..input.len().saturating_sub(9)).unwrap_or_default();
    let sealed = [body, format!("{:08x}\n", crc32fast::hash(body)).as_bytes()].concat();
    for bytes in [input, &sealed] {
        let disk = empty_disk();
        let path = Path::new("/copies");
        disk.write_small(path, bytes).expect("a new disk takes it");
        let read = Copies::read(&disk, path).expect("what is damaged is no error");
        if let Some(copies) = read {
            copies.write(&disk, path).expect("a new disk takes it");
            assert_eq!(Copies::read(&disk, path).expect("it can be read"), Some(copies));
        }
    }
}

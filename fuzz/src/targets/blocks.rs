//! A DataNode's files (names, meta files, the scan of a start) and block reports.

use std::path::Path;

use bytes::Bytes;
use hathi_blockpool::chunks::{last_checksum, meta_of_prefix};
use hathi_blockpool::files::{parse_block_file_name, parse_meta_file_name};
use hathi_blockpool::{Folder, Mismatch, PoolDirs, ReplicaMap, Scan, VolumeId};
use hathi_formats::block_list::{ReportedReplicas, to_longs};
use hathi_formats::datatransfer::{BlockMetadataHeader, ChecksumType, DataChecksum, META_HEADER_BYTES};
use hathi_formats::ids::BlockId;
use hathi_formats::proto::datanode::StorageBlockReportProto;
use hathi_storage::Disk;

use super::storage::empty_disk;
use super::{PLAIN, Parts, samples_of, text};
use crate::{Memory, Target};

/// The file system in memory has an entry for each file and directory, both live and durable.
const DISK: Memory = Memory {
    fixed: 1 << 20,
    per_byte: 512,
};
/// Most files of one input.
const FILES_MAX: usize = 16;

pub fn targets() -> Vec<Target> {
    let target = |name, samples, run, memory| Target {
        name,
        samples,
        run,
        memory,
    };
    vec![
        target("block_meta_header", meta_samples, meta, PLAIN),
        target("block_file_name", name_samples, file_name, PLAIN),
        target("block_directory", directory_samples, directory, DISK),
        target("block_report", report_samples, report, PLAIN),
    ]
}

fn header(kind: ChecksumType) -> [u8; META_HEADER_BYTES] {
    let checksum = DataChecksum::new(kind, 4).expect("four bytes are a chunk");
    BlockMetadataHeader::new(checksum).encode()
}

fn meta_samples() -> Vec<Vec<u8>> {
    [ChecksumType::Null, ChecksumType::Crc32, ChecksumType::Crc32c]
        .map(|kind| header(kind).to_vec())
        .to_vec()
}

fn meta(input: &[u8]) {
    let Some((bytes, rest)) = input.split_first_chunk::<META_HEADER_BYTES>() else {
        return;
    };
    if let Ok(header) = BlockMetadataHeader::decode(bytes) {
        assert_eq!(header.encode(), *bytes);
        let number = rest
            .iter()
            .take(8)
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        // Lengths and offsets of files are signed in Java.
        let number = number >> 1;
        assert!(header.checksum_offset(number) <= header.meta_len(number));
    }
}

fn name_samples() -> Vec<Vec<u8>> {
    samples_of(&["blk_1073741825", "blk_-7_1001.meta", "blk_1073741825_1001.meta"])
}

fn file_name(input: &[u8]) {
    let name = text(input);
    if let Some(id) = parse_block_file_name(&name) {
        assert_eq!(parse_block_file_name(&format!("blk_{id}")), Some(id));
    }
    if let Some((id, gs)) = parse_meta_file_name(&name) {
        assert_eq!(parse_meta_file_name(&format!("blk_{id}_{gs}.meta")), Some((id, gs)));
    }
}

/// Encodes a file's directory, its name and its content.
fn file(place: &str, content: &[u8]) -> Vec<u8> {
    Parts::join(&[place.as_bytes(), content])
}

fn directory_samples() -> Vec<Vec<u8>> {
    let data = b"0123456789";
    let mut meta = header(ChecksumType::Crc32c).to_vec();
    for chunk in data.chunks(4) {
        meta.extend(ChecksumType::Crc32c.checksum(chunk).to_be_bytes());
    }
    let finalized = [
        file("finalized/subdir0/subdir0/blk_7", data),
        file("finalized/subdir0/subdir0/blk_7_1001.meta", &meta),
        file("finalized/subdir0/subdir0/blk_7_1002.meta", &meta),
    ];
    let rbw = [
        file("rbw/blk_8", data),
        file("rbw/blk_8_1001.meta", &meta),
        file("rbw/blk_9.tmp", data),
        file("finalized/subdir0/subdir0/blk_8_1003.meta", &meta),
    ];
    let join = |files: &[Vec<u8>]| Parts::join(&files.iter().map(Vec::as_slice).collect::<Vec<_>>());
    vec![join(&finalized), join(&rbw), join(&[finalized.concat(), rbw.concat()])]
}

/// A start finds replicas whose bytes are there, or reports oddities. Every replica that it finds can be served.
fn directory(input: &[u8]) {
    let disk = empty_disk();
    let dirs = PoolDirs::new(Path::new("/"), "BP-1");
    for folder in [Folder::Finalized, Folder::Rbw, Folder::Tmp] {
        disk.create_dir_all(&dirs.folder(folder)).expect("a new disk takes it");
    }
    let mut parts = Parts(input);
    for _ in 0..FILES_MAX {
        let mut entry = Parts(parts.next());
        let (place, content) = (entry.next(), entry.next());
        let place = text(place);
        let path = dirs.current().join(&*place);
        // A real disk has no such names.
        let bad =
            place.is_empty() || place.contains(['\0']) || place.split('/').any(|part| matches!(part, "" | "." | ".."));
        let Some(parent) = path.parent().filter(|parent| !bad && parent.starts_with(dirs.root())) else {
            continue;
        };
        if disk.create_dir_all(parent).is_ok() {
            let _ = disk.write_small(&path, content);
        }
    }
    let Ok(found) = Scan::new(&disk, &dirs, VolumeId(0)).all() else {
        return;
    };
    let mut map = ReplicaMap::new();
    for replica in found.replicas {
        let at = replica.location();
        let files = dirs.files(at);
        let len = disk.file_len(&files.data).expect("a replica has its file");
        assert!(replica.block().num_bytes <= len, "more bytes than the file has");
        let _ = last_checksum(&disk, &files, replica.block().num_bytes);
        for mismatch in [Mismatch::Refused, Mismatch::Kept] {
            let _ = meta_of_prefix(&disk, &files, replica.block().num_bytes / 2, mismatch);
        }
        map.add_found(replica);
    }
    map.check();
    let _ = Scan::new(&disk, &dirs, VolumeId(0)).one(BlockId(7));
}

fn report_samples() -> Vec<Vec<u8>> {
    vec![vec![2, 10, 0xE9, 7, 0, 4, 0, 0xE9, 7, 2]]
}

fn report(input: &[u8]) {
    // An entry may continue in the next buffer.
    let (front, back) = input.split_at(input.len() / 2);
    let buffers = [front, back].map(Bytes::copy_from_slice);
    for count in [1, u64::MAX] {
        let _ = to_longs(count, &buffers);
        read(StorageBlockReportProto {
            number_of_blocks: Some(count),
            blocks_buffers: buffers.to_vec(),
            ..Default::default()
        });
    }
    read(StorageBlockReportProto {
        blocks: input.iter().map(|byte| u64::from(*byte)).collect(),
        ..Default::default()
    });
}

fn read(report: StorageBlockReportProto) {
    let bytes_max = report.blocks_buffers.iter().map(Bytes::len).sum::<usize>() / 4;
    let entries_max = bytes_max.max(report.blocks.len() / 3);
    let Ok(mut replicas) = ReportedReplicas::new(report) else {
        return;
    };
    let mut entries = 0;
    while let Ok(Some(_)) = replicas.next_replica() {
        entries += 1;
    }
    assert!(entries <= entries_max, "more replicas than their bytes hold");
}

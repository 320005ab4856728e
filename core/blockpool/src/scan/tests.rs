use std::collections::BTreeSet;

use hathi_formats::datatransfer::{BlockMetadataHeader, ChecksumType, DataChecksum};
use hathi_storage::SimDisk;

use super::*;

const VOLUME: VolumeId = VolumeId(0);
const CONTENT: [u8; 40] = [5; 40];

fn meta_file() -> Vec<u8> {
    let checksum = DataChecksum::new(ChecksumType::Crc32c, 16).unwrap();
    let mut bytes = BlockMetadataHeader::new(checksum).encode().to_vec();
    checksum.compute_into(&CONTENT, &mut bytes);
    bytes
}

/// Blocks that were being written, and complete ones beside them. Of every third block the move to the other folder was
/// cut short between its two files.
#[test]
fn a_start_lists_each_directory_once_however_many_blocks_were_being_written() {
    const BLOCKS: i64 = 300;
    let disk = SimDisk::new();
    let dirs = PoolDirs::new(Path::new("/v0"), "BP-1");
    let finalized = dirs.folder(Folder::Finalized);
    let mut directories = BTreeSet::from([dirs.folder(Folder::Rbw)]);
    for id in 0..BLOCKS {
        let at = |folder| {
            dirs.files(Location {
                volume: VOLUME,
                folder,
                block_id: BlockId(id),
                generation_stamp: GenerationStamp(1001),
            })
        };
        let (place, other) = match id % 2 {
            0 => (at(Folder::Rbw), at(Folder::Finalized)),
            _ => (at(Folder::Finalized), at(Folder::Rbw)),
        };
        for files in [&place, &other] {
            disk.create_dir_all(&files.dir).unwrap();
            let above = files.dir.ancestors().filter(|dir| dir.starts_with(&finalized));
            directories.extend(above.map(PathBuf::from));
        }
        let meta = if id % 3 == 0 { other.meta } else { place.meta };
        disk.write_small(&place.data, &CONTENT).unwrap();
        disk.write_small(&meta, &meta_file()).unwrap();
    }
    let lists_before = disk.lists();
    let found = Scan::new(&disk, &dirs, VOLUME).all().unwrap();
    assert!(directories.len() > 4, "{directories:?}");
    assert_eq!(disk.lists() - lists_before, directories.len() as u64);

    let mut states: BTreeMap<BlockId, ReplicaState> = BTreeMap::new();
    for replica in found.replicas {
        assert_eq!(replica.num_bytes, 40, "{replica:?}");
        states.insert(replica.block_id, replica.state);
    }
    let expected = |id: i64| match id % 2 {
        0 => ReplicaState::Rwr,
        _ => ReplicaState::Finalized,
    };
    assert_eq!(states, (0..BLOCKS).map(|id| (BlockId(id), expected(id))).collect());

    let lists_before = disk.lists();
    for id in 0..BLOCKS {
        let found = Scan::new(&disk, &dirs, VOLUME).one(BlockId(id)).unwrap();
        assert_eq!(found.replicas.first().map(|replica| replica.state), Some(expected(id)));
    }
    assert_eq!(
        disk.lists() - lists_before,
        2 * BLOCKS as u64,
        "of one block in two folders"
    );
}

//! One DataNode's replica on a simulated disk, under random histories. After every step the power is cut, or the
//! process killed.
//!
//! The rules: bytes whose sync was answered survive. A stamp that was answered is on disk. What a process had written
//! survives the end of the process. Every replica that is found can be recovered.

use std::path::PathBuf;

use hathi_formats::datatransfer::{BlockMetadataHeader, ChecksumType, DataChecksum};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_storage::SimDisk;
use hathi_storage::sim_disk::SimFile;
use proptest::prelude::*;

use super::*;
use crate::chunk_writer::{ChunkWriter, PacketData};
use crate::replica::{Replica, ReplicaError, ReplicaState, WriterId};
use crate::replicas::ReplicaMap;
use crate::scan::Scan;

const ID: BlockId = BlockId(7);
const COPY: BlockId = BlockId(8);
/// The chunk size is small, so that few bytes make many chunks, and checksums lie in several sectors.
const CHUNK: usize = 16;
const VOLUMES: u16 = 2;

fn checksum() -> DataChecksum {
    DataChecksum::new(ChecksumType::Crc32c, CHUNK as u32).unwrap()
}

/// Whether a checksum lies across two sectors, so that a disk may tear it. No rule covers that.
fn straddles(length: usize) -> bool {
    !length.is_multiple_of(CHUNK) && length / CHUNK == 126
}

/// What was answered, and so must be found after a loss of power.
#[derive(Clone, Debug, Default)]
struct Promise {
    bytes: usize,
    stamp: u64,
    /// Complete, with exactly these bytes.
    finalized: Option<usize>,
}

struct World {
    disk: SimDisk,
    dirs: BTreeMap<VolumeId, PoolDirs>,
    map: ReplicaMap,
    keep_deleted: bool,
    writer: Option<(WriterId, ChunkWriter<SimFile>)>,
    names_synced: bool,
    next_writer: u64,
    content: Vec<u8>,
    promise: Promise,
    /// While a cut is under way its length and stamp are allowed as well.
    under_way: Option<(usize, GenerationStamp)>,
    seed: u64,
}

#[derive(Clone, Debug)]
enum Op {
    Create,
    Write {
        len: usize,
        sync: bool,
    },
    /// Within the last chunk, as after an append.
    Complete {
        len: usize,
        sync: bool,
    },
    Sync,
    Close,
    Append,
    RecoverAppend,
    RecoverClose,
    RecoverStream {
        back: usize,
    },
    RecoverBlock {
        len: usize,
    },
    CopyOnTruncate {
        len: usize,
    },
    Relocate,
    Kill,
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => Just(Op::Create),
        6 => (1_usize..900, any::<bool>()).prop_map(|(len, sync)| Op::Write { len, sync }),
        4 => (1_usize..CHUNK, any::<bool>()).prop_map(|(len, sync)| Op::Complete { len, sync }),
        2 => Just(Op::Sync),
        2 => Just(Op::Close),
        3 => Just(Op::Append),
        1 => Just(Op::RecoverAppend),
        1 => Just(Op::RecoverClose),
        2 => (0_usize..40).prop_map(|back| Op::RecoverStream { back }),
        2 => (0_usize..3000).prop_map(|len| Op::RecoverBlock { len }),
        1 => (1_usize..3000).prop_map(|len| Op::CopyOnTruncate { len }),
        1 => Just(Op::Relocate),
        2 => Just(Op::Kill),
    ]
}

type Outcome<T> = Result<T, String>;

impl World {
    fn new(seed: u64) -> World {
        let disk = SimDisk::new();
        disk.set_sector(512);
        disk.lose_directories_whole();
        let mut dirs = BTreeMap::new();
        for volume in 0..VOLUMES {
            let pool = PoolDirs::new(&PathBuf::from(format!("/v{volume}")), "BP-1");
            for folder in [Folder::Finalized, Folder::Rbw, Folder::Tmp] {
                disk.create_dir_all(&pool.folder(folder)).unwrap();
                for dir in pool.folder(folder).ancestors() {
                    disk.sync_dir(dir).unwrap();
                }
            }
            dirs.insert(VolumeId(volume), pool);
        }
        World {
            disk,
            dirs,
            map: ReplicaMap::new(),
            keep_deleted: false,
            writer: None,
            names_synced: false,
            next_writer: 1,
            content: Vec::new(),
            promise: Promise::default(),
            under_way: None,
            seed,
        }
    }

    fn pick(&mut self, below: u64) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    fn block(&self) -> Block {
        self.map.get(ID).map_or(
            Block {
                id: ID,
                num_bytes: 0,
                generation_stamp: GenerationStamp(1000),
            },
            Replica::block,
        )
    }

    fn next_stamp(&self) -> GenerationStamp {
        GenerationStamp(self.block().generation_stamp.0 + 1)
    }

    fn new_writer(&mut self) -> WriterId {
        self.next_writer += 1;
        WriterId(self.next_writer)
    }

    fn stop_writer(&mut self) {
        if let Some((id, _)) = self.writer.take() {
            self.map.release_writer(ID, id);
        }
    }

    /// A transition as a DataNode carries it out. False when the plan refuses.
    fn transition(&mut self, plan: impl FnOnce(&ReplicaMap) -> Result<Transition, ReplicaError>) -> Outcome<bool> {
        let Ok(mut transition) = plan(&self.map) else {
            return Ok(false);
        };
        let steps = Steps::new(&self.disk, &self.dirs, self.keep_deleted);
        let text = |error: StepError| error.to_string();
        let last = steps.prepare(&transition).map_err(text)?;
        let rest = steps.perform(&mut transition).map_err(text)?;
        transition.know_last_checksum(last);
        self.map.commit(transition);
        steps.settle(&rest).map_err(text)?;
        Ok(true)
    }

    fn open_writer(&mut self, id: WriterId) -> Outcome<()> {
        let replica = self.map.get(ID).unwrap();
        let files = self.dirs[&replica.volume].files(replica.location());
        let open = |path: &PathBuf| self.disk.open(path).map_err(|error| error.to_string());
        let (data, meta) = (open(&files.data)?, open(&files.meta)?);
        if meta.len().map_err(|error| error.to_string())? == 0 {
            let header = BlockMetadataHeader::new(checksum()).encode();
            meta.write_at(0, &header).map_err(|error| error.to_string())?;
        }
        let known = replica.progress.as_ref().unwrap().last_checksum;
        let on_disk = replica.bytes_on_disk();
        assert!(
            on_disk.is_multiple_of(CHUNK as u64) || known.is_some(),
            "readers need the last checksum"
        );
        self.writer = Some((id, ChunkWriter::new(data, meta, checksum(), on_disk, known)));
        self.names_synced = false;
        Ok(())
    }

    fn write(&mut self, len: usize, aligned: bool, sync: bool) -> Outcome<()> {
        let on_disk = self.content.len();
        let len = if aligned { len } else { len.min(CHUNK - on_disk % CHUNK) };
        let fresh: Vec<u8> = (0..len).map(|_| self.pick(256) as u8).collect();
        let Some((id, writer)) = &mut self.writer else {
            return Ok(());
        };
        let from = if aligned { on_disk - on_disk % CHUNK } else { on_disk };
        let data = [&self.content[from..], &fresh].concat();
        let mut sums = Vec::new();
        checksum().compute_into(&data, &mut sums);
        let packet = PacketData {
            offset: from as u64,
            data: &data,
            sums: &sums,
            checksum: checksum(),
        };
        writer.write(packet).map_err(|error| error.to_string())?;
        let (on_disk, last) = (writer.on_disk(), writer.last_checksum());
        assert!(self.map.progress(ID, *id, |received, progress| {
            *received = on_disk;
            progress.bytes_on_disk = on_disk;
            progress.bytes_acked = on_disk;
            progress.last_checksum = last;
        }));
        self.content.extend_from_slice(&fresh);
        self.promise.finalized = None;
        if sync { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Outcome<()> {
        if straddles(self.content.len()) {
            return Ok(());
        }
        let Some((_, writer)) = &mut self.writer else {
            return Ok(());
        };
        writer.sync().map_err(|error| error.to_string())?;
        if !self.names_synced {
            let replica = self.map.get(ID).unwrap();
            let files = self.dirs[&replica.volume].files(replica.location());
            self.disk.sync_dir(&files.dir).map_err(|error| error.to_string())?;
            self.names_synced = true;
        }
        self.promise.bytes = self.content.len();
        self.promise.stamp = self.block().generation_stamp.0;
        Ok(())
    }

    fn promise_all(&mut self, finalized: bool) {
        self.promise = Promise {
            bytes: self.content.len(),
            stamp: self.block().generation_stamp.0,
            finalized: finalized.then_some(self.content.len()),
        };
    }

    fn run(&mut self, op: &Op) -> Outcome<()> {
        let block = self.block();
        let new_gs = self.next_stamp();
        let length = self.content.len() as u64;
        match *op {
            Op::Create => {
                let id = self.new_writer();
                let new = Block {
                    generation_stamp: GenerationStamp(1001),
                    ..block
                };
                if self.transition(|map| map.create_rbw(new, false, VolumeId(0), id, 0))? {
                    self.open_writer(id)?;
                }
            }
            Op::Write { len, sync } => self.write(len, true, sync)?,
            Op::Complete { len, sync } => self.write(len, false, sync)?,
            Op::Sync => self.sync()?,
            Op::Close => {
                if straddles(self.content.len()) {
                    return Ok(());
                }
                let Some((_, writer)) = &mut self.writer else {
                    return Ok(());
                };
                let durable = writer.has_promised();
                if durable {
                    writer.sync().map_err(|error| error.to_string())?;
                }
                self.transition(|map| map.finalize(block, durable).map(Option::unwrap))?;
                self.writer = None;
                if durable {
                    self.promise_all(true);
                }
            }
            Op::Append | Op::RecoverAppend if !straddles(self.content.len()) => {
                let id = self.new_writer();
                self.stop_writer();
                self.promise.finalized = None;
                let append = matches!(op, Op::Append);
                let planned = |map: &ReplicaMap| {
                    if append {
                        map.append(block, new_gs, length, id)
                    } else {
                        map.recover_append(block, new_gs, length, id)
                    }
                };
                if self.transition(planned)? {
                    self.promise_all(false);
                    self.open_writer(id)?;
                }
            }
            Op::RecoverClose if !straddles(self.content.len()) => {
                self.stop_writer();
                if self.transition(|map| map.recover_close(block, new_gs, length))? {
                    self.promise_all(true);
                }
            }
            Op::RecoverStream { back } if !straddles(self.content.len()) => {
                let id = self.new_writer();
                self.stop_writer();
                // Bytes that were never acknowledged are cut off. Synced bytes were acknowledged.
                let acked = self.content.len().saturating_sub(back).max(self.promise.bytes);
                let Some(replica) = self.map.get(ID).filter(|replica| replica.state == ReplicaState::Rbw) else {
                    return Ok(());
                };
                if straddles(acked) {
                    return Ok(());
                }
                let mut replica = replica.clone();
                if let Some(progress) = &mut replica.progress {
                    progress.bytes_acked = acked as u64;
                }
                self.map.forget(ID);
                self.map.restore(replica);
                self.under_way = Some((acked, new_gs));
                let acked = acked as u64;
                if self.transition(|map| map.recover_rbw(block, new_gs, acked, length, length, id))? {
                    self.under_way = None;
                    self.content.truncate(acked as usize);
                    self.promise.stamp = new_gs.0;
                    self.open_writer(id)?;
                }
                self.under_way = None;
            }
            Op::RecoverBlock { len } => {
                self.stop_writer();
                let len = len.min(self.content.len());
                if straddles(len) || !self.set_aside(new_gs)? {
                    return Ok(());
                }
                self.under_way = Some((len, new_gs));
                self.promise.finalized = None;
                if self.transition(|map| map.update_under_recovery(block, new_gs, None, len as u64))? {
                    self.content.truncate(len);
                    self.promise_all(true);
                }
                self.under_way = None;
            }
            Op::CopyOnTruncate { len } => {
                if self
                    .map
                    .get(ID)
                    .is_none_or(|replica| replica.state != ReplicaState::Finalized)
                    || self.content.is_empty()
                {
                    return Ok(());
                }
                let len = len.min(self.content.len());
                let copy_gs = self.map.get(COPY).map_or(new_gs, |copy| {
                    GenerationStamp(copy.generation_stamp.0.max(block.generation_stamp.0) + 1)
                });
                if !self.set_aside(copy_gs)? {
                    return Ok(());
                }
                if self.transition(|map| map.update_under_recovery(block, copy_gs, Some(COPY), len as u64))? {
                    self.promise_all(true);
                    self.check_copy(len);
                }
            }
            Op::Relocate => {
                let to = VolumeId(1 - self.map.get(ID).map_or(0, |replica| replica.volume.0));
                if self.transition(|map| map.relocate(block, to))? {
                    self.promise_all(true);
                }
            }
            Op::Kill => {
                self.disk.crash_process();
                self.writer = None;
                self.restart()?;
                let found = self.map.get(ID).map_or(0, |replica| replica.num_bytes);
                assert_eq!(found, length, "what was written survives the end of the process");
            }
            Op::Append | Op::RecoverAppend | Op::RecoverClose | Op::RecoverStream { .. } => {}
        }
        Ok(())
    }

    fn set_aside(&mut self, recovery: GenerationStamp) -> Outcome<bool> {
        let block = self.block();
        if self.map.get(ID).is_none() {
            return Ok(false);
        }
        self.stop_writer();
        let planned = self.map.init_recovery(block, recovery, None).ok().flatten();
        match planned {
            Some(transition) => self.transition(|_| Ok(transition)),
            None => Ok(false),
        }
    }

    fn check_copy(&self, len: usize) {
        let copy = self.map.get(COPY).unwrap();
        let files = self.dirs[&copy.volume].files(copy.location());
        assert_eq!(self.disk.durable(&files.data).unwrap(), self.content[..len]);
        let meta = self.disk.durable(&files.meta).unwrap();
        checksum().verify(&self.content[..len], &meta[7..]).unwrap();
    }

    /// Starts the DataNode anew.
    fn restart(&mut self) -> Outcome<()> {
        self.map = ReplicaMap::new();
        for (volume, dirs) in &self.dirs {
            let tmp = dirs.folder(Folder::Tmp);
            missing_is_fine(self.disk.remove_dir_all(&tmp)).map_err(|error| error.to_string())?;
            self.disk.create_dir_all(&tmp).map_err(|error| error.to_string())?;
            let found = Scan::new(&self.disk, dirs, *volume)
                .all()
                .map_err(|error| error.to_string())?;
            for replica in found.replicas {
                if let Some(FileAction::Delete(at)) = self.map.add_found(replica) {
                    Steps::new(&self.disk, &self.dirs, false)
                        .delete(at)
                        .map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(())
    }

    fn read(&self) -> (Vec<u8>, Vec<u8>) {
        let replica = self.map.get(ID).unwrap();
        let files = self.dirs[&replica.volume].files(replica.location());
        let read = |path| self.disk.read_small(path).unwrap().unwrap();
        (read(&files.data), read(&files.meta))
    }

    /// Checks after the end that everything answered is there and can be recovered.
    fn check_survivors(&mut self, end: End) {
        let kept = match end {
            End::Power => self.promise.bytes,
            End::Process => self.content.len(),
        };
        let allowed = self.under_way.map_or(kept, |(len, _)| len.min(kept));
        let Some(found) = self.map.get(ID).cloned() else {
            assert_eq!(
                (self.promise.stamp, allowed),
                (0, 0),
                "the replica is lost: {:?}",
                self.promise
            );
            return;
        };
        assert!(
            found.generation_stamp.0 >= self.promise.stamp,
            "{found:?} {:?}",
            self.promise
        );
        assert!(found.num_bytes as usize >= allowed, "{found:?} {:?}", self.promise);
        if let Some(length) = self.promise.finalized {
            assert_eq!(
                (found.state, found.num_bytes as usize),
                (ReplicaState::Finalized, length)
            );
        }
        let (data, _) = self.read();
        assert!(data.len() as u64 >= found.num_bytes);
        assert_eq!(data[..allowed], self.content[..allowed], "synced bytes are the same");
        if allowed == 0 {
            return;
        }
        if found.num_bytes as usize <= allowed {
            let (_, meta) = self.read();
            let verified = checksum().verify(&data[..found.num_bytes as usize], &meta[7..]);
            assert_eq!(verified, Ok(()), "{found:?}");
        } else if let Some((len, stamp)) = self.under_way {
            let finished = found.state != ReplicaState::Finalized
                || found.generation_stamp < stamp
                || found.num_bytes as usize == len;
            assert!(finished, "a start finishes a cut: {found:?}");
        }
        // Block recovery agrees on a length that all replicas have.
        let gs = self.next_stamp();
        assert!(self.set_aside(gs).unwrap());
        let old = Block {
            num_bytes: found.num_bytes,
            ..found.block()
        };
        let done = self.transition(|map| map.update_under_recovery(old, gs, None, allowed as u64));
        assert_eq!(done, Ok(true), "{found:?}");
        self.content.truncate(allowed);
        let (data, meta) = self.read();
        assert_eq!(data, self.content);
        assert_eq!(
            checksum().verify(&data, &meta[7..]),
            Ok(()),
            "{found:?} cut to {allowed}"
        );
    }
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// The machine loses its power: bytes that were not synced may be lost.
    Power,
    /// The process is killed, and the machine goes on: acknowledged bytes stay.
    Process,
}

/// Runs a history that ends after `cut` changes. Returns the number of all its changes.
fn run(history: &[Op], cut: u64, seed: u64, end: End) -> u64 {
    let mut world = World::new(seed);
    let before = world.disk.changes();
    world.disk.stop_after(Some(cut));
    for op in history {
        if let Err(error) = world.run(op) {
            assert!(world.disk.has_stopped(), "{op:?}: {error}");
            break;
        }
    }
    let changes = world.disk.changes() - before;
    let disk = world.disk.clone();
    match end {
        End::Power => disk.lose_power(&mut |below| world.pick(below)),
        End::Process => {
            disk.stop_after(None);
            disk.crash_process();
        }
    }
    world.writer = None;
    world.restart().unwrap();
    if matches!(end, End::Power) && world.pick(2) == 0 {
        // Once more, which takes back what the start has done and not synced.
        disk.lose_power(&mut |below| world.pick(below));
        world.restart().unwrap();
    }
    world.check_survivors(end);
    changes
}

fn run_all_cuts(history: &[Op], seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let changes = run(history, u64::MAX, seed, End::Process);
        for cut in 0..=changes {
            run(history, cut, seed, End::Process);
            run(history, cut, seed.wrapping_mul(1_000_003).wrapping_add(cut), End::Power);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn safety_d1_d3_d13_what_was_answered_survives_a_loss_of_power_at_every_step(
        history in proptest::collection::vec(ops(), 1..14), seed in any::<u64>(),
    ) {
        let history = [vec![Op::Create], history].concat();
        run_all_cuts(&history, seed..seed.saturating_add(2));
    }
}

#[test]
fn safety_d1_bytes_that_were_synced_survive_a_loss_of_power_after_append_recovery_and_close() {
    let start = [Op::Create, Op::Write { len: 100, sync: true }];
    let ends: [&[Op]; 5] = [
        &[Op::Close],
        &[Op::Close, Op::Append],
        &[Op::RecoverStream { back: 0 }],
        &[Op::RecoverClose, Op::Append, Op::RecoverAppend, Op::Close],
        &[Op::RecoverBlock { len: 100 }, Op::Append],
    ];
    for end in ends {
        run_all_cuts(&[&start, end].concat(), 0..20);
    }
}

#[test]
fn safety_d3_small_synced_records_survive_while_their_chunk_is_extended() {
    let history = [
        Op::Create,
        Op::Write { len: 10, sync: true },
        Op::Write { len: 3, sync: false },
        Op::Complete { len: 1, sync: false },
        Op::Write { len: 40, sync: true },
        Op::Kill,
    ];
    run_all_cuts(&history, 0..50);
    // The checksums lie in two sectors of the meta file.
    let long = [
        Op::Create,
        Op::Write { len: 1990, sync: true },
        Op::Write { len: 200, sync: true },
        Op::Write { len: 900, sync: false },
    ];
    run_all_cuts(&long, 0..50);
}

#[test]
fn safety_d13_a_cut_truncation_and_a_move_to_another_volume_can_be_interrupted_anywhere() {
    let start = [Op::Create, Op::Write { len: 150, sync: true }];
    let ends: [&[Op]; 4] = [
        &[Op::RecoverBlock { len: 90 }],
        &[Op::Close, Op::RecoverBlock { len: 90 }, Op::RecoverBlock { len: 20 }],
        &[Op::Write { len: 30, sync: false }, Op::RecoverStream { back: 25 }],
        &[Op::Close, Op::Relocate, Op::CopyOnTruncate { len: 70 }, Op::Relocate],
    ];
    for end in ends {
        run_all_cuts(&[&start, end].concat(), 0..20);
    }
}

#[test]
fn safety_d13_a_meta_file_that_a_loss_of_power_brings_back_does_not_stand_for_the_new_one() {
    let moves = [(Folder::Finalized, Folder::Rbw), (Folder::Rbw, Folder::Finalized)];
    for ((from, to), all) in moves.into_iter().flat_map(|way| [(way, true), (way, false)]) {
        let world = World::new(1);
        let dirs = &world.dirs[&VolumeId(0)];
        let at = |folder, stamp| {
            dirs.files(Location {
                volume: VolumeId(0),
                folder,
                block_id: ID,
                generation_stamp: GenerationStamp(stamp),
            })
        };
        let mut sums = BlockMetadataHeader::new(checksum()).encode().to_vec();
        checksum().compute_into(&[5; 40], &mut sums);
        // The block file has moved already, its meta file has not, and an old one is there again.
        let (old, moved) = (at(to, 1009), at(from, 1019));
        for (path, content) in [(&old.data, &[5; 40][..]), (&old.meta, b"old"), (&moved.meta, &sums)] {
            world.disk.create_dir_all(path.parent().unwrap()).unwrap();
            world.disk.write_small(path, content).unwrap();
        }
        let scan = Scan::new(&world.disk, dirs, VolumeId(0));
        let found = if all { scan.all() } else { scan.one(ID) }.unwrap();
        let found: Vec<_> = found.replicas.iter().map(Replica::block).collect();
        let whole = Block {
            id: ID,
            num_bytes: 40,
            generation_stamp: GenerationStamp(1019),
        };
        assert_eq!(found, [whole], "from {from:?} to {to:?}");
        assert!(!world.disk.exists(&old.meta).unwrap());
        assert_eq!(world.disk.read_small(&at(to, 1019).meta).unwrap(), Some(sums));
    }
}

#[test]
fn safety_d13_a_complete_replica_is_not_given_up_for_what_it_was_before() {
    // The replica is not synced on its first volume, and synced on its second one.
    run_all_cuts(&[Op::Create, Op::Close, Op::Relocate], 0..200);
    let long = Op::Write { len: 30, sync: false };
    run_all_cuts(&[Op::Create, long, Op::Close, Op::Relocate], 0..200);
}

#[test]
fn safety_d12_an_append_and_a_truncation_leave_the_copy_of_an_upgrade_as_it_was() {
    for op in [Op::Append, Op::RecoverBlock { len: 33 }] {
        let mut world = World::new(1);
        for op in [Op::Create, Op::Write { len: 100, sync: true }, Op::Close] {
            world.run(&op).unwrap();
        }
        let replica = world.map.get(ID).unwrap();
        let files = world.dirs[&replica.volume].files(replica.location());
        let previous = PathBuf::from("/v0/current/BP-1/previous");
        world.disk.create_dir_all(&previous).unwrap();
        let kept = [previous.join("blk_7"), previous.join("blk_7_1001.meta")];
        world.disk.hard_link(&files.data, &kept[0]).unwrap();
        world.disk.hard_link(&files.meta, &kept[1]).unwrap();
        let read = |world: &World| kept.clone().map(|path| world.disk.read_small(&path).unwrap().unwrap());
        let before = read(&world);
        world.run(&op).unwrap();
        world.run(&Op::Write { len: 50, sync: true }).unwrap();
        assert_eq!(read(&world), before, "{op:?}");
        let (data, _) = world.read();
        assert_eq!(data, world.content);
    }
}

#[test]
fn safety_d12_a_replica_that_is_replaced_during_a_rolling_upgrade_is_kept() {
    let mut world = World::new(1);
    for op in [Op::Create, Op::Write { len: 100, sync: true }, Op::Close] {
        world.run(&op).unwrap();
    }
    world.keep_deleted = true;
    let old = world.map.get(ID).unwrap().location();
    let new = Block {
        generation_stamp: GenerationStamp(1009),
        ..world.block()
    };
    assert!(
        world
            .transition(|map| map.create_rbw(new, true, VolumeId(1), WriterId(99), 0))
            .unwrap()
    );
    let trash = world.dirs[&VolumeId(0)].in_trash(old);
    assert_eq!(world.disk.read_small(&trash.data).unwrap().unwrap(), world.content);
    assert!(world.disk.exists(&trash.meta).unwrap());
}

#[test]
fn safety_d10_no_new_checksum_is_made_of_bytes_that_do_not_match_the_old_one() {
    let mut world = World::new(1);
    for op in [Op::Create, Op::Write { len: 100, sync: true }, Op::Close] {
        world.run(&op).unwrap();
    }
    let block = world.block();
    let replica = world.map.get(ID).unwrap();
    let files = world.dirs[&replica.volume].files(replica.location());
    // In the chunk from 32 to 48.
    world.disk.flip_bit(&files.data, 35, 0).unwrap();
    for (len, spoilt) in [(90, false), (40, true)] {
        let gs = GenerationStamp(world.block().generation_stamp.0.max(1010) + len);
        assert!(world.set_aside(gs).unwrap());
        let block = Block {
            num_bytes: world.map.get(ID).unwrap().num_bytes,
            ..block
        };
        let done = world.transition(|map| map.update_under_recovery(block, gs, None, len));
        assert_eq!(done.is_err(), spoilt, "{done:?}");
    }
    assert_eq!(world.map.get(ID).unwrap().num_bytes, 90, "nothing was cut");
}

#[test]
fn safety_d21_a_chunk_that_is_cut_over_rot_matches_no_checksum_afterwards_either() {
    for copies in [false, true] {
        let mut world = World::new(1);
        for op in [Op::Create, Op::Write { len: 100, sync: true }, Op::Close] {
            world.run(&op).unwrap();
        }
        let block = world.block();
        let replica = world.map.get(ID).unwrap();
        let files = world.dirs[&replica.volume].files(replica.location());
        world.disk.flip_bit(&files.data, 35, 0).unwrap();
        let gs = GenerationStamp(1010);
        assert!(world.set_aside(gs).unwrap());
        let (new_id, id) = if copies { (Some(COPY), COPY) } else { (None, ID) };
        let over_rot = |map: &ReplicaMap| {
            let planned = map.update_under_recovery(block, gs, new_id, 40);
            planned.map(|transition| transition.over(Mismatch::Kept))
        };
        assert!(world.transition(over_rot).unwrap(), "it ends");
        let replica = world.map.get(id).unwrap();
        assert_eq!((replica.num_bytes, replica.generation_stamp), (40, gs));
        let files = world.dirs[&replica.volume].files(replica.location());
        let data = world.disk.read_small(&files.data).unwrap().unwrap();
        let meta = world.disk.read_small(&files.meta).unwrap().unwrap();
        assert_eq!(data.len(), 40);
        checksum().verify(&data[..32], &meta[7..15]).unwrap();
        assert!(
            checksum().verify(&data[32..], &meta[15..]).is_err(),
            "nobody reads it as good"
        );
    }
}

#[test]
fn safety_d21_a_cut_over_rot_that_was_interrupted_keeps_its_length() {
    let mut world = World::new(1);
    for op in [Op::Create, Op::Write { len: 100, sync: true }, Op::Close] {
        world.run(&op).unwrap();
    }
    let block = world.block();
    let replica = world.map.get(ID).unwrap();
    let files = world.dirs[&replica.volume].files(replica.location());
    world.disk.flip_bit(&files.data, 35, 0).unwrap();
    assert!(world.set_aside(GenerationStamp(1010)).unwrap());
    let planned = world.map.update_under_recovery(block, GenerationStamp(1010), None, 40);
    let planned = planned.unwrap().over(Mismatch::Kept);
    let steps = Steps::new(&world.disk, &world.dirs, false);
    let _ = steps.prepare(&planned).unwrap();
    world.disk.crash_process();
    world.restart().unwrap();
    let found = world.map.get(ID).unwrap();
    assert_eq!((found.num_bytes, found.generation_stamp.0), (40, 1010));
}

#[test]
fn safety_d21_a_chunk_that_matches_gets_its_right_checksum_whatever_is_allowed() {
    let mut world = World::new(1);
    for op in [Op::Create, Op::Write { len: 100, sync: true }, Op::Close] {
        world.run(&op).unwrap();
    }
    let (block, gs) = (world.block(), GenerationStamp(1010));
    assert!(world.set_aside(gs).unwrap());
    let update = |map: &ReplicaMap| {
        let planned = map.update_under_recovery(block, gs, None, 40);
        planned.map(|transition| transition.over(Mismatch::Kept))
    };
    assert!(world.transition(update).unwrap());
    let (data, meta) = world.read();
    assert_eq!(data, world.content[..40]);
    checksum().verify(&data, &meta[7..]).unwrap();
}

#[test]
fn safety_d10_an_unverified_packet_never_changes_what_is_on_disk() {
    let mut world = World::new(1);
    for op in [Op::Create, Op::Write { len: 24, sync: false }] {
        world.run(&op).unwrap();
    }
    let content = world.content.clone();
    for aligned in [true, false] {
        let mut data = if aligned { content[16..].to_vec() } else { vec![] };
        data.extend_from_slice(&[1; 5]);
        let mut sums = Vec::new();
        checksum().compute_into(&data, &mut sums);
        data[2] ^= 1;
        let (_, writer) = world.writer.as_mut().unwrap();
        let packet = PacketData {
            offset: if aligned { 16 } else { 24 },
            data: &data,
            sums: &sums,
            checksum: checksum(),
        };
        let refused = writer.write(packet);
        assert!(matches!(refused, Err(crate::WriteError::Packet(_))), "{refused:?}");
        let (data, meta) = world.read();
        assert_eq!(data, content);
        checksum().verify(&data, &meta[7..]).unwrap();
    }
}

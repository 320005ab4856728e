//! Every transition against a model of the files, under random sequences of requests.

use super::*;
use crate::replica::{Folder, Location};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The files on the model disk: lengths by location.
#[derive(Default, Debug)]
struct ModelDisk {
    files: BTreeMap<Location, u64>,
}

impl ModelDisk {
    fn apply(&mut self, action: FileAction) {
        match action {
            FileAction::Create(at) => {
                self.files.insert(at, 0);
            }
            FileAction::Move { from, to } => {
                let length = self.files.remove(&from).expect("what is moved exists");
                assert!(self.files.insert(to, length).is_none(), "nothing is overwritten");
            }
            FileAction::Truncate { from, to, length } => {
                let file = self.files.remove(&from).expect("what is truncated exists");
                assert!(file >= length);
                assert!(self.files.insert(to, length).is_none(), "nothing is overwritten");
            }
            FileAction::Copy { from, to, length } => {
                assert!(self.files[&from] >= length);
                self.files.insert(to, length);
            }
            FileAction::Delete(at) => {
                self.files.remove(&at).expect("what is deleted exists");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Request {
    CreateRbw { gs: u64, replaces: bool },
    CreateTemporary { gs: u64, transfer: bool },
    Write { bytes: u64 },
    Ack { back: u64 },
    WriterDies,
    Append { new_gs: u64 },
    RecoverAppend { new_gs: u64 },
    RecoverClose { new_gs: u64 },
    RecoverRbw { new_gs: u64 },
    Finalize,
    Convert,
    Invalidate { gs: u64 },
    InitRecovery { id: u64 },
    Update { id: u64, len: u64, copy: bool },
    Relocate { volume: u16 },
    Restart,
}

fn requests() -> impl Strategy<Value = Request> {
    let gs = 1000_u64..1012;
    prop_oneof![
        (gs.clone(), any::<bool>()).prop_map(|(gs, replaces)| Request::CreateRbw { gs, replaces }),
        (gs.clone(), any::<bool>()).prop_map(|(gs, transfer)| Request::CreateTemporary { gs, transfer }),
        (1_u64..2000).prop_map(|bytes| Request::Write { bytes }),
        (0_u64..500).prop_map(|back| Request::Ack { back }),
        Just(Request::WriterDies),
        gs.clone().prop_map(|new_gs| Request::Append { new_gs }),
        gs.clone().prop_map(|new_gs| Request::RecoverAppend { new_gs }),
        gs.clone().prop_map(|new_gs| Request::RecoverClose { new_gs }),
        gs.clone().prop_map(|new_gs| Request::RecoverRbw { new_gs }),
        Just(Request::Finalize),
        Just(Request::Convert),
        gs.clone().prop_map(|gs| Request::Invalidate { gs }),
        gs.clone().prop_map(|id| Request::InitRecovery { id }),
        (gs, 0_u64..4000, any::<bool>()).prop_map(|(id, len, copy)| Request::Update { id, len, copy }),
        (0_u16..3).prop_map(|volume| Request::Relocate { volume }),
        Just(Request::Restart),
    ]
}

const ID: BlockId = BlockId(7);
const COPY: BlockId = BlockId(8);

fn block(gs: u64, num_bytes: u64) -> Block {
    Block {
        id: ID,
        num_bytes,
        generation_stamp: GenerationStamp(gs),
    }
}

struct World {
    map: ReplicaMap,
    disk: ModelDisk,
    next_writer: u64,
}

impl World {
    fn take(&mut self, planned: ReplicaResult<Transition>) -> bool {
        match planned {
            Ok(transition) => {
                for action in transition.actions.iter().chain(&transition.then) {
                    self.disk.apply(*action);
                }
                self.map.commit(transition);
                true
            }
            Err(_) => false,
        }
    }

    fn step(&mut self, request: &Request) {
        let writer = WriterId(self.next_writer);
        self.next_writer += 1;
        let before = self.map.get(ID).cloned();
        let length = before.as_ref().map_or(0, |replica| replica.num_bytes);
        let current = before.as_ref().map_or(block(1000, 0), Replica::block);
        match *request {
            Request::CreateRbw { gs, replaces } => {
                let planned = self.map.create_rbw(block(gs, 0), replaces, VolumeId(0), writer, 100);
                self.take(planned);
            }
            Request::CreateTemporary { gs, transfer } => {
                let planned = self
                    .map
                    .create_temporary(block(gs, 0), transfer, VolumeId(1), writer, 100);
                self.take(planned);
            }
            Request::Write { bytes } => {
                if let Some(replica) = before
                    && let Some(owner) = replica.writer()
                {
                    assert!(self.map.progress(ID, owner, |received, progress| {
                        *received += bytes;
                        progress.bytes_on_disk = *received;
                    }));
                    *self.disk.files.get_mut(&replica.location()).unwrap() += bytes;
                    assert!(!self.map.progress(ID, writer, |_, _| panic!("a stranger writes")));
                }
            }
            Request::Ack { back } => {
                if let Some(owner) = before.and_then(|replica| replica.writer()) {
                    self.map.progress(ID, owner, |_, progress| {
                        progress.bytes_acked = progress.bytes_acked.max(progress.bytes_on_disk.saturating_sub(back));
                    });
                }
            }
            Request::WriterDies => {
                if let Some(owner) = before.and_then(|replica| replica.writer()) {
                    self.map.release_writer(ID, owner);
                }
            }
            Request::Append { new_gs } => {
                let planned = self.map.append(current, GenerationStamp(new_gs), length, writer);
                self.take(planned);
            }
            Request::RecoverAppend { new_gs } => {
                let planned = self
                    .map
                    .recover_append(current, GenerationStamp(new_gs), length, writer);
                self.take(planned);
            }
            Request::RecoverClose { new_gs } => {
                let planned = self.map.recover_close(current, GenerationStamp(new_gs), length);
                self.take(planned);
            }
            Request::RecoverRbw { new_gs } => {
                let data_len = before
                    .as_ref()
                    .and_then(|replica| self.disk.files.get(&replica.location()).copied())
                    .unwrap_or(0);
                let planned = self
                    .map
                    .recover_rbw(current, GenerationStamp(new_gs), 0, u64::MAX, data_len, writer);
                if self.take(planned) {
                    let acked = before.unwrap().visible_length().unwrap();
                    assert_eq!(
                        self.map.get(ID).unwrap().num_bytes,
                        acked,
                        "all that was acked stays, no more"
                    );
                }
            }
            Request::Finalize => {
                if let Ok(Some(transition)) = self.map.finalize(current, true) {
                    self.take(Ok(transition));
                }
            }
            Request::Convert => {
                let planned = self.map.convert_temporary_to_rbw(current);
                self.take(planned);
            }
            Request::Invalidate { gs } => {
                let planned = self.map.invalidate(block(gs, 0));
                if self.take(planned) {
                    assert!(before.unwrap().generation_stamp.0 <= gs, "a newer replica stays");
                }
            }
            Request::InitRecovery { id } => {
                if let Ok(Some(transition)) = self.map.init_recovery(current, GenerationStamp(id), None) {
                    self.take(Ok(transition));
                    assert_eq!(self.map.get(ID).unwrap().num_bytes, length);
                }
            }
            Request::Update { id, len, copy } => {
                let old = Block {
                    num_bytes: before.as_ref().map_or(0, Replica::bytes_on_disk),
                    ..current
                };
                let planned = self
                    .map
                    .update_under_recovery(old, GenerationStamp(id), copy.then_some(COPY), len);
                if self.take(planned) {
                    let result = self.map.get(if copy { COPY } else { ID }).unwrap();
                    assert_eq!((result.state, result.num_bytes), (ReplicaState::Finalized, len));
                    assert_eq!(result.generation_stamp, GenerationStamp(id));
                }
            }
            Request::Relocate { volume } => {
                let planned = self.map.relocate(current, VolumeId(volume));
                self.take(planned);
            }
            Request::Restart => {
                // TEMPORARY replicas are wiped, others are found where they lie. Recoveries and writers are forgotten.
                let mut map = ReplicaMap::new();
                let mut kept = BTreeMap::new();
                for replica in self.map.iter() {
                    let at = replica.location();
                    let state = match at.folder {
                        Folder::Finalized => ReplicaState::Finalized,
                        Folder::Rbw => ReplicaState::Rwr,
                        Folder::Tmp => continue,
                    };
                    let found = Block {
                        num_bytes: self.disk.files[&at],
                        ..replica.block()
                    };
                    kept.insert(at, self.disk.files[&at]);
                    assert_eq!(map.add_found(Replica::at_rest(found, state, at.volume)), None);
                }
                self.map = map;
                self.disk.files = kept;
            }
        }
    }

    fn check(&self) {
        self.map.check();
        let named: BTreeSet<Location> = self.map.iter().map(Replica::location).collect();
        let existing: BTreeSet<Location> = self.disk.files.keys().copied().collect();
        assert_eq!(named, existing, "files are where the states say, and no others");
        for replica in self.map.iter() {
            assert!(self.disk.files[&replica.location()] >= replica.bytes_on_disk());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn files_are_always_where_the_states_say(steps in proptest::collection::vec(requests(), 1..80)) {
        let mut world = World { map: ReplicaMap::new(), disk: ModelDisk::default(), next_writer: 0 };
        for request in &steps {
            let stamp = world.map.get(ID).map(|replica| replica.generation_stamp);
            world.step(request);
            world.check();
            if let (Some(before), Some(after)) = (stamp, world.map.get(ID)) {
                prop_assert!(after.generation_stamp >= before, "a stamp never decreases");
            }
        }
    }
}

fn with_rbw() -> (ReplicaMap, WriterId) {
    let mut map = ReplicaMap::new();
    let writer = WriterId(1);
    let transition = map.create_rbw(block(1001, 0), false, VolumeId(0), writer, 0).unwrap();
    map.commit(transition);
    map.progress(ID, writer, |received, progress| {
        *received = 100;
        progress.bytes_on_disk = 100;
        progress.bytes_acked = 80;
    });
    (map, writer)
}

#[test]
fn a_writer_must_be_stopped_before_its_replica_is_taken() {
    let (mut map, writer) = with_rbw();
    let gs = GenerationStamp(1002);
    let stop = ReplicaError::StopWriterFirst(writer);
    assert_eq!(
        map.recover_rbw(block(1001, 0), gs, 0, 100, 100, WriterId(2)),
        Err(stop.clone())
    );
    assert_eq!(map.init_recovery(block(1001, 0), gs, None), Err(stop.clone()));
    assert_eq!(map.invalidate(block(1001, 0)), Err(stop));
    map.release_writer(ID, WriterId(9));
    assert_eq!(map.get(ID).unwrap().writer(), Some(writer), "only the owner lets go");
    map.release_writer(ID, writer);
    let transition = map.recover_rbw(block(1001, 0), gs, 80, 100, 100, WriterId(2)).unwrap();
    assert!(
        matches!(transition.actions[..], [FileAction::Truncate { length: 80, .. }]),
        "cut to what was acked, and renamed: {transition:?}"
    );
    map.commit(transition);
    assert_eq!(map.get(ID).unwrap().num_bytes, 80);
}

#[test]
fn recovery_refuses_lengths_outside_of_what_the_client_knows() {
    let (mut map, writer) = with_rbw();
    map.release_writer(ID, writer);
    for (min, max) in [(81, 100), (0, 99)] {
        assert!(matches!(
            map.recover_rbw(block(1001, 0), GenerationStamp(1002), min, max, 100, WriterId(2)),
            Err(ReplicaError::NotFound(_))
        ));
    }
}

#[test]
fn an_older_recovery_gives_way_to_a_newer_one() {
    let (mut map, writer) = with_rbw();
    map.release_writer(ID, writer);
    for id in [1005, 1006] {
        let transition = map
            .init_recovery(block(1001, 0), GenerationStamp(id), None)
            .unwrap()
            .unwrap();
        map.commit(transition);
    }
    assert!(matches!(
        map.init_recovery(block(1001, 0), GenerationStamp(1006), None),
        Err(ReplicaError::RecoveryInProgress(_))
    ));
    assert!(matches!(
        map.update_under_recovery(block(1001, 100), GenerationStamp(1005), None, 90),
        Err(ReplicaError::Invalid(_))
    ));
    assert_eq!(map.get(ID).unwrap().original_state(), ReplicaState::Rbw);
    let transition = map
        .update_under_recovery(block(1001, 100), GenerationStamp(1006), None, 90)
        .unwrap();
    map.commit(transition);
    let replica = map.get(ID).unwrap();
    assert_eq!((replica.num_bytes, replica.generation_stamp.0), (90, 1006));
}

#[test]
fn of_two_replicas_found_the_newer_then_longer_is_kept() {
    let mut map = ReplicaMap::new();
    let replica = |gs, len, volume| Replica::at_rest(block(gs, len), ReplicaState::Finalized, VolumeId(volume));
    assert_eq!(map.add_found(replica(1001, 10, 0)), None);
    assert_eq!(
        map.add_found(replica(1001, 9, 1)),
        Some(FileAction::Delete(replica(1001, 9, 1).location()))
    );
    assert_eq!(
        map.add_found(replica(1002, 5, 2)),
        Some(FileAction::Delete(replica(1001, 10, 0).location()))
    );
    let waiting = Replica::at_rest(block(1002, 6), ReplicaState::Rwr, VolumeId(3));
    assert_eq!(
        map.add_found(waiting.clone()),
        Some(FileAction::Delete(waiting.location()))
    );
    assert_eq!(map.get(ID).unwrap().volume, VolumeId(2));
    assert_eq!(map.remove_volume(VolumeId(2)).len(), 1);
    assert!(map.is_empty());
}

#[test]
fn safety_d14_an_append_takes_no_older_stamp_but_the_one_that_other_clients_name() {
    let mut map = ReplicaMap::new();
    let finalized = Replica::at_rest(block(1005, 100), ReplicaState::Finalized, VolumeId(0));
    assert_eq!(map.add_found(finalized), None);
    let refused = |gs: u64| {
        for planned in [
            map.append(block(1001, 100), GenerationStamp(gs), 100, WriterId(1)),
            map.append(block(1005, 100), GenerationStamp(gs), 100, WriterId(1)),
            map.recover_append(block(1005, 100), GenerationStamp(gs), 100, WriterId(1)),
        ] {
            assert!(planned.is_err(), "{gs}: {planned:?}");
        }
    };
    refused(1004);
    for gs in [1005, 1006] {
        let planned = map.append(block(1005, 100), GenerationStamp(gs), 100, WriterId(1));
        assert!(planned.is_ok(), "{gs}: {planned:?}");
    }
}

#[test]
fn safety_d4_a_copy_of_an_earlier_attempt_of_a_truncation_gives_way() {
    let mut map = ReplicaMap::new();
    let finalized = Replica::at_rest(block(1001, 100), ReplicaState::Finalized, VolumeId(0));
    assert_eq!(map.add_found(finalized), None);
    for id in [1005, 1006] {
        let id = GenerationStamp(id);
        let init = map.init_recovery(block(1001, 100), id, None).unwrap().unwrap();
        map.commit(init);
        let before = map.get(COPY).map(Replica::location);
        let update = map.update_under_recovery(block(1001, 100), id, Some(COPY), 40).unwrap();
        let deleted = update.actions.iter().find_map(|action| match action {
            FileAction::Delete(at) => Some(*at),
            _ => None,
        });
        assert_eq!(deleted, before, "the files of the copy before are no longer named");
        map.commit(update);
    }
    assert_eq!(map.get(COPY).unwrap().generation_stamp, GenerationStamp(1006));
}

#[test]
fn safety_d15_an_older_replica_gives_way_to_a_copy_of_a_newer_stamp() {
    let copied = |map: &ReplicaMap| map.create_temporary(block(1005, 10), false, VolumeId(0), WriterId(9), 0);
    for state in [ReplicaState::Rwr, ReplicaState::Finalized] {
        let mut map = ReplicaMap::new();
        map.add_found(Replica::at_rest(block(1004, 10), state, VolumeId(0)));
        let copy = copied(&map).expect("the block is complete with a newer stamp");
        assert_eq!(
            copy.actions[0],
            FileAction::Delete(map.get(ID).unwrap().location()),
            "{state:?}"
        );
        // A replica of the same stamp, or a newer one, is no worse than the copy.
        for gs in [1005, 1006] {
            let mut map = ReplicaMap::new();
            map.add_found(Replica::at_rest(block(gs, 10), state, VolumeId(0)));
            assert!(copied(&map).is_err(), "{state:?} {gs}");
        }
    }
    // A recovery is about to give the replica a newer stamp than the copy has.
    let mut map = ReplicaMap::new();
    map.add_found(Replica::at_rest(block(1004, 10), ReplicaState::Finalized, VolumeId(0)));
    let recovery = map.init_recovery(block(1004, 10), GenerationStamp(1006), None);
    map.commit(recovery.unwrap().unwrap());
    assert!(copied(&map).is_err());
    // That recovery is over. The block has the recovery id as its stamp, but this DataNode was not reached again.
    let newer = map.create_temporary(block(1006, 10), false, VolumeId(0), WriterId(9), 0);
    assert!(newer.is_ok());
}

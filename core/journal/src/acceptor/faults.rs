//! Faults of the disk, one by one. What is acknowledged stays, and a JournalNode in doubt about its own past does not
//! vote.

use std::io;
use std::path::{Path, PathBuf};

use hathi_formats::exceptions;
use hathi_formats::ids::{Epoch, TxId};
use hathi_storage::{Disk, DiskFile};

use super::tests::{Fixture, options, state};
use super::*;
use crate::lease::LeaseProof;
use crate::messages::LeaseRequest;

fn at(name: &str) -> PathBuf {
    Path::new("/ns/current").join(name)
}

const OPEN: &str = "edits_inprogress_0000000000000000001";
const FINAL: &str = "edits_0000000000000000001-0000000000000000005";
/// Bytes of one of the frames that the test fixture writes.
const FRAME_BYTES: u64 = 37;

impl Fixture {
    /// A JournalNode with five acknowledged transactions of epoch 3. All but the last are known to be committed.
    fn with_five() -> Fixture {
        let mut fixture = Fixture::formatted();
        fixture.write(3, 1, 4);
        fixture.committed = Some(TxId(4));
        let journal = fixture.journal(3, 1, 5, 1);
        fixture.ok(&journal);
        fixture
    }

    fn heartbeats(&mut self, epoch: u64) {
        let heartbeat = self.heartbeat(epoch);
        self.ok(&heartbeat);
    }

    /// A later writer asks for this JournalNode's vote.
    fn vote(&mut self, epoch: u64) -> JournalResult<Answer> {
        let request = self.new_epoch(epoch);
        self.call(&request)
    }

    fn stop(&mut self) {
        self.disk.crash_process();
    }

    fn start_again(&mut self) {
        self.acceptor = Acceptor::open(self.disk.clone(), PathBuf::from("/ns"), options(), self.now).unwrap();
    }

    /// A writer brings it up to date, and it votes again.
    fn is_healed_by_a_writer(&mut self, epoch: u64, from: u64) {
        self.committed = Some(TxId(from - 1));
        let start = self.start(epoch, from);
        self.ok(&start);
        let journal = self.journal(epoch, from, from, 1);
        self.ok(&journal);
        assert!(!self.acceptor.is_joining());
        self.restart();
        assert!(!self.acceptor.is_joining(), "{:?}", self.acceptor.doubt());
        self.vote(epoch + 1).unwrap();
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        for dir in [PathBuf::from("/ns/current"), at("paxos")] {
            for entry in self.disk.list(&dir).unwrap() {
                if !entry.is_dir {
                    let path = dir.join(entry.name);
                    let data = self.disk.read_small(&path).unwrap().unwrap();
                    files.push((path, data));
                }
            }
        }
        files
    }

    /// Replaces the directory by what a backup kept of it.
    fn restore(&mut self, files: &[(PathBuf, Vec<u8>)]) {
        self.stop();
        self.disk.remove_dir_all(Path::new("/ns/current")).unwrap();
        self.disk.create_dir_all(&at("paxos")).unwrap();
        for (path, data) in files {
            self.disk.write_small(path, data).unwrap();
        }
        self.start_again();
    }

    fn content(&self, name: &str) -> Vec<u8> {
        self.disk.read_small(&at(name)).unwrap().unwrap()
    }
}

#[test]
fn a_full_disk_takes_nothing_and_goes_on_when_there_is_space() {
    // Some of the batch fits, or nothing.
    for space in [0, 1, 40, 300, 511, 700] {
        let mut fixture = Fixture::with_five();
        fixture.disk.set_space(Some(space));
        let journal = fixture.journal(3, 1, 6, 40);
        let refused = fixture.call(&journal).unwrap_err();
        assert_eq!(refused.class(), exceptions::IO, "{space}: {refused}");
        assert_eq!(fixture.acceptor.failure(), None, "{space}");
        let again = fixture.journal(3, 1, 6, 1);
        assert_eq!(fixture.class(&again), exceptions::JOURNAL_OUT_OF_SYNC);
        let resume = Request::ResumeSegment {
            info: fixture.info(3),
            segment: TxId(1),
        };
        fixture.disk.set_space(None);
        let answer = fixture.ok(&resume);
        assert!(matches!(answer, Answer::Resumed { next: TxId(6), .. }), "{answer:?}");
        let journal = fixture.journal(3, 1, 6, 40);
        fixture.ok(&journal);
        fixture.disk.lose_power(&mut |_| 0);
        fixture.start_again();
        fixture.vote(4).unwrap();
        assert_eq!(fixture.prepare(4, 1).segment, Some(state(1, 45, true)));
    }
}

#[test]
fn a_full_disk_promises_nothing_and_still_keeps_what_it_promised() {
    let mut fixture = Fixture::with_five();
    fixture.disk.set_full(true);
    assert_eq!(fixture.vote(4).unwrap_err().class(), exceptions::IO);
    assert_eq!(fixture.acceptor.promised_epoch(), Some(Epoch(3)));
    assert_eq!(fixture.acceptor.failure(), None);
    fixture.restart();
    fixture.disk.set_full(false);
    fixture.vote(4).unwrap();
    assert_eq!(fixture.prepare(4, 1).segment, Some(state(1, 5, true)));
}

#[test]
fn a_sync_that_fails_for_want_of_space_has_failed_and_heals_when_there_is_space() {
    let mut fixture = Fixture::with_five();
    fixture.disk.fail_syncs_with(3, io::ErrorKind::StorageFull);
    let journal = fixture.journal(3, 1, 6, 1);
    fixture.call(&journal).unwrap_err();
    assert!(fixture.acceptor.failure().is_some());
    // The sync is tried again at once, and fails again.
    let journal = fixture.journal(3, 1, 7, 1);
    assert!(matches!(fixture.call(&journal), Err(JournalError::Failed { .. })));
    fixture.disk.fail_syncs(0);
    fixture.now += 1_000_000;
    // Memory shows the sixth transaction, which was never durable. By now it is durable, or it does not count.
    fixture.vote(4).unwrap();
    assert_eq!(fixture.acceptor.failure(), None);
    let end = fixture.prepare(4, 1).segment.unwrap().end;
    fixture.disk.lose_power(&mut |_| 0);
    fixture.start_again();
    assert_eq!(fixture.prepare(4, 1).segment, Some(state(1, end.0, true)));
    assert!(end >= TxId(5));
}

#[test]
fn a_failed_sync_of_another_kind_waits_for_a_new_process() {
    let mut fixture = Fixture::with_five();
    fixture.disk.fail_syncs(1);
    let journal = fixture.journal(3, 1, 6, 1);
    fixture.call(&journal).unwrap_err();
    fixture.now += 60_000_000;
    let journal = fixture.journal(3, 1, 6, 1);
    assert!(matches!(fixture.call(&journal), Err(JournalError::Failed { .. })));
    fixture.restart();
    fixture.vote(4).unwrap();
}

#[test]
fn every_bit_of_the_small_files_may_flip() {
    for name in ["VERSION", "last-promised-epoch", "last-writer-epoch"] {
        let len = Fixture::with_five().content(name).len() as u64;
        for byte in 0..len {
            let bit = (byte % 7) as u8;
            let mut fixture = Fixture::with_five();
            fixture.heartbeats(3);
            fixture.stop();
            let before = fixture.content(name);
            fixture.disk.flip_bit(&at(name), byte, bit).unwrap();
            fixture.start_again();
            assert_eq!(fixture.content(name), before, "{name}, byte {byte}");
            assert_eq!(fixture.acceptor.counters().files_repaired, 1);
            fixture.vote(3).unwrap_err();
            fixture.vote(4).unwrap();
            let answer = fixture.prepare(4, 1);
            assert_eq!(answer.last_writer_epoch, Epoch(3));
            assert_eq!(answer.segment, Some(state(1, 5, true)));
        }
    }
}

#[test]
fn every_bit_of_our_own_files_may_flip() {
    for name in ["hathi-copies", "hathi-written", "committed-txid"] {
        let mut fixture = Fixture::with_five();
        fixture.heartbeats(3);
        for byte in 0..fixture.content(name).len() as u64 {
            let mut fixture = Fixture::with_five();
            fixture.heartbeats(3);
            fixture.stop();
            fixture.disk.flip_bit(&at(name), byte, 5).unwrap();
            fixture.start_again();
            assert!(!fixture.acceptor.is_joining(), "{name}, byte {byte}");
            fixture.vote(4).unwrap();
            let answer = fixture.prepare(4, 1);
            assert_eq!(answer.segment, Some(state(1, 5, true)));
            assert_eq!(answer.last_committed, Some(TxId(4)), "{name}, byte {byte}");
        }
    }
}

#[test]
fn a_damaged_lease_marker_counts_as_a_lease() {
    let mut fixture = Fixture::formatted();
    fixture.lease = Some(LeaseRequest {
        ms: 1000,
        holder: "nn1@a".into(),
        proof: LeaseProof(1),
    });
    fixture.write(3, 1, 1);
    fixture.stop();
    fixture.disk.flip_bit(&at("lease-epoch"), 0, 2).unwrap();
    fixture.start_again();
    fixture.lease = Some(LeaseRequest {
        ms: 1000,
        holder: "nn2@b".into(),
        proof: LeaseProof(2),
    });
    assert!(matches!(fixture.vote(4), Err(JournalError::LeaseHeld { .. })));
    // For how long the lease was promised is not known either.
    fixture.now += 5 * 2_000_000 - 1;
    assert!(matches!(fixture.vote(4), Err(JournalError::LeaseHeld { .. })));
    fixture.now += 1;
    fixture.vote(4).unwrap();
}

#[test]
fn every_bit_of_a_recovery_record_may_flip() {
    let recovered = || {
        let mut fixture = Fixture::with_five();
        fixture.vote(4).unwrap();
        fixture.prepare(4, 1);
        let accept = fixture.accept(4, 1, 5, Some(3));
        fixture.ok(&accept);
        fixture.stop();
        fixture
    };
    let len = recovered().content("paxos/1").len() as u64;
    let mut refused = 0;
    for byte in 0..len {
        let mut fixture = recovered();
        fixture.disk.flip_bit(&at("paxos/1"), byte, 0).unwrap();
        fixture.start_again();
        fixture.vote(5).unwrap();
        let prepare = Request::PrepareRecovery {
            info: fixture.info(5),
            segment: TxId(1),
        };
        match fixture.call(&prepare) {
            Ok(Answer::PrepareRecovery(answer)) => {
                assert_eq!(answer.accepted_in_epoch, Some(Epoch(4)), "byte {byte}");
                assert_eq!(answer.segment, Some(state(1, 5, true)));
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => refused += 1,
        }
        // The next segment heals it.
        let start = fixture.start(5, 6);
        fixture.ok(&start);
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn damage_in_what_was_durable_is_not_cut_off_and_costs_the_vote() {
    for frame in 0..5 {
        let mut fixture = Fixture::with_five();
        fixture.heartbeats(3);
        fixture.stop();
        let before = fixture.content(OPEN);
        fixture
            .disk
            .flip_bit(&at(OPEN), 8 + frame * FRAME_BYTES + 20, 3)
            .unwrap();
        fixture.start_again();
        assert!(fixture.acceptor.is_joining(), "frame {frame}");
        assert_eq!(fixture.content(&format!("{OPEN}.corrupt")).len(), before.len());
        assert!(matches!(fixture.vote(4), Err(JournalError::Joining { .. })));
        fixture.restart();
        assert!(fixture.acceptor.is_joining());
        fixture.is_healed_by_a_writer(3, 6);
    }
    // Damage in the header.
    let mut fixture = Fixture::with_five();
    fixture.heartbeats(3);
    fixture.stop();
    fixture.disk.flip_bit(&at(OPEN), 0, 1).unwrap();
    fixture.start_again();
    assert!(fixture.acceptor.is_joining());
}

#[test]
fn damage_that_comes_while_it_runs_is_found_at_the_vote() {
    let mut fixture = Fixture::with_five();
    fixture.heartbeats(3);
    fixture.restart();
    fixture.disk.flip_bit(&at(OPEN), 8 + FRAME_BYTES + 20, 3).unwrap();
    fixture.restart();
    assert!(matches!(fixture.vote(4), Err(JournalError::Joining { .. })));
}

#[test]
fn a_segment_that_is_gone_or_shorter_is_noticed() {
    for cut in [None, Some(8), Some(8 + 2 * FRAME_BYTES), Some(8 + 2 * FRAME_BYTES + 9)] {
        let mut fixture = Fixture::with_five();
        fixture.heartbeats(3);
        fixture.stop();
        match cut {
            None => fixture.disk.remove_file(&at(OPEN)).unwrap(),
            Some(len) => fixture.disk.open(&at(OPEN)).unwrap().set_len(len).unwrap(),
        }
        fixture.start_again();
        assert!(fixture.acceptor.is_joining(), "{cut:?}");
        assert!(matches!(fixture.vote(4), Err(JournalError::Joining { .. })));
        fixture.is_healed_by_a_writer(3, 6);
    }
}

#[test]
fn a_tail_that_was_never_durable_is_cut_and_costs_nothing() {
    for survives in 0..40 {
        let mut fixture = Fixture::with_five();
        let journal = fixture.journal(3, 1, 6, 3);
        assert!(matches!(fixture.acceptor.handle(&journal, 0), Handled::AfterSync(_)));
        let mut calls = 0_u64;
        fixture.disk.lose_power(&mut |n| {
            calls += 1;
            (survives * 7 + calls * 13) % n
        });
        fixture.start_again();
        assert!(
            !fixture.acceptor.is_joining(),
            "{survives}: {:?}",
            fixture.acceptor.doubt()
        );
        fixture.vote(4).unwrap();
        assert!(fixture.prepare(4, 1).segment.unwrap().end >= TxId(5));
    }
}

#[test]
fn a_damaged_finalized_segment_does_not_win_a_recovery() {
    let mut fixture = Fixture::with_five();
    let finalize = fixture.finalize(3, 1, 5);
    fixture.ok(&finalize);
    fixture.restart();
    fixture.disk.flip_bit(&at(FINAL), 8 + 2 * FRAME_BYTES + 20, 3).unwrap();
    fixture.vote(4).unwrap();
    let prepare = Request::PrepareRecovery {
        info: fixture.info(4),
        segment: TxId(1),
    };
    assert!(matches!(fixture.call(&prepare), Err(JournalError::Joining { .. })));
    assert_eq!(fixture.names(), [format!("{FINAL}.corrupt")]);
    fixture.is_healed_by_a_writer(4, 6);
}

#[test]
fn a_damaged_old_segment_is_put_aside_and_replaced_by_a_peers() {
    let mut fixture = Fixture::with_five();
    let finalize = fixture.finalize(3, 1, 5);
    fixture.ok(&finalize);
    fixture.committed = Some(TxId(5));
    let start = fixture.start(3, 6);
    fixture.ok(&start);
    let journal = fixture.journal(3, 6, 6, 2);
    fixture.ok(&journal);
    assert!(
        !fixture.acceptor.quarantine(TxId(1), TxId(5)).unwrap(),
        "nothing is wrong"
    );
    let good = fixture.content(FINAL);
    fixture.disk.flip_bit(&at(FINAL), 100, 3).unwrap();
    assert!(fixture.acceptor.quarantine(TxId(1), TxId(5)).unwrap());
    // The damaged segment is not the newest, so this JournalNode still votes.
    assert!(!fixture.acceptor.is_joining());
    assert!(fixture.acceptor.segment_file(TxId(1), true).unwrap().is_none());
    let from = Path::new("/ns/fetched");
    fixture.disk.write_small(from, &good).unwrap();
    assert!(fixture.acceptor.adopt_segment(from, TxId(1), TxId(5)).unwrap());
    assert_eq!(fixture.content(FINAL), good);
    assert_eq!(fixture.acceptor.counters().segments_damaged, 1);
    let mut purge = |min_to_keep| {
        let info = fixture.info(3);
        fixture.ok(&Request::PurgeLogsOlderThan {
            info,
            min_to_keep: TxId(min_to_keep),
        });
        fixture.names().len()
    };
    assert_eq!(purge(5), 3);
    assert_eq!(purge(6), 1, "what was put aside goes with its transactions");
}

#[test]
fn a_directory_from_a_backup_serves_nobody_before_its_peers_told_its_promise() {
    let mut fixture = Fixture::with_five();
    fixture.heartbeats(3);
    fixture.stop();
    let backup = fixture.files();
    fixture.start_again();
    fixture.vote(7).unwrap();
    fixture.restore(&backup);
    assert!(fixture.acceptor.needs_promise());
    // It serves neither the writer that it has forgotten to be fenced, nor a later one.
    let old = fixture.heartbeat(3);
    assert!(matches!(fixture.call(&old), Err(JournalError::PromiseLost { .. })));
    assert!(matches!(fixture.vote(6), Err(JournalError::PromiseLost { .. })));
    assert!(matches!(
        fixture.call(&Request::GetJournalState),
        Err(JournalError::PromiseLost { .. })
    ));
    fixture.restart();
    assert!(fixture.acceptor.needs_promise(), "not forgotten at a restart");
    fixture.acceptor.recover_promise(Epoch(7)).unwrap();
    let old = fixture.heartbeat(3);
    assert!(crate::errors::is_fenced(&(&fixture.call(&old).unwrap_err()).into()));
    assert!(matches!(fixture.vote(8), Err(JournalError::Joining { .. })));
    fixture.serial = 100;
    fixture.is_healed_by_a_writer(7, 20);
}

#[test]
fn lost_small_files_are_put_back() {
    for name in ["VERSION", "last-promised-epoch", "last-writer-epoch"] {
        let mut fixture = Fixture::with_five();
        fixture.heartbeats(3);
        fixture.stop();
        fixture.disk.remove_file(&at(name)).unwrap();
        fixture.start_again();
        fixture.vote(3).unwrap_err();
        fixture.vote(4).unwrap();
        assert_eq!(fixture.prepare(4, 1).last_writer_epoch, Epoch(3), "{name}");
    }
    let mut fixture = Fixture::with_five();
    fixture.stop();
    fixture.disk.remove_dir_all(&at("paxos")).unwrap();
    fixture.start_again();
    fixture.vote(4).unwrap();
    let accept = fixture.accept(4, 1, 5, Some(3));
    let ops: Vec<_> = (1..6).map(|txid| crate::frames::tests::frame(txid, 20)).collect();
    fixture.fetch(&accept, &ops).unwrap();
    assert_eq!(fixture.prepare(4, 1).accepted_in_epoch, Some(Epoch(4)));
}

#[test]
fn epochs_without_a_copy_are_not_guessed() {
    for (name, promise) in [("last-promised-epoch", true), ("last-writer-epoch", false)] {
        for data in [Some(b"x7\n"), None] {
            let mut fixture = Fixture::with_five();
            fixture.stop();
            fixture.disk.remove_file(&at("hathi-copies")).unwrap();
            fixture.disk.remove_file(&at(name)).unwrap();
            if let Some(data) = data {
                fixture.disk.write_small(&at(name), data).unwrap();
            } else if !promise {
                // The directory is as if no writer had ever opened a segment in it.
                continue;
            }
            fixture.start_again();
            assert_eq!(fixture.acceptor.needs_promise(), promise, "{name}");
            assert!(fixture.acceptor.is_joining());
            fixture.acceptor.recover_promise(Epoch(3)).unwrap();
            fixture.is_healed_by_a_writer(3, 6);
        }
    }
}

#[test]
fn hadoop_may_have_had_the_directory_meanwhile() {
    let mut fixture = Fixture::with_five();
    fixture.stop();
    // Hadoop's JournalNode has written promise and writer epoch of a later epoch, and a recovery left a shorter
    // segment.
    fixture.disk.write_small(&at("last-promised-epoch"), b"9\n").unwrap();
    fixture.disk.write_small(&at("last-writer-epoch"), b"9\n").unwrap();
    fixture
        .disk
        .open(&at(OPEN))
        .unwrap()
        .set_len(8 + 4 * FRAME_BYTES)
        .unwrap();
    fixture.start_again();
    assert!(!fixture.acceptor.is_joining(), "{:?}", fixture.acceptor.doubt());
    fixture.vote(9).unwrap_err();
    fixture.vote(10).unwrap();
    let answer = fixture.prepare(10, 1);
    assert_eq!(answer.last_writer_epoch, Epoch(9));
    assert_eq!(answer.segment, Some(state(1, 4, true)));
}

#[test]
fn what_a_recovery_made_shorter_is_not_missed() {
    let mut fixture = Fixture::with_five();
    fixture.heartbeats(3);
    fixture.committed = Some(TxId(3));
    fixture.stop();
    // The committed txid goes back only for this test: it was never above 3.
    fixture.disk.remove_file(&at("hathi-written")).unwrap();
    fixture.disk.remove_file(&at("committed-txid")).unwrap();
    fixture.start_again();
    let heartbeat = fixture.heartbeat(3);
    fixture.ok(&heartbeat);
    fixture.vote(4).unwrap();
    let ops: Vec<_> = (1..4).map(|txid| crate::frames::tests::frame(txid, 20)).collect();
    let accept = fixture.accept(4, 1, 3, Some(2));
    fixture.fetch(&accept, &ops).unwrap();
    fixture.restart();
    assert!(!fixture.acceptor.is_joining(), "{:?}", fixture.acceptor.doubt());
    fixture.disk.lose_power(&mut |n| n / 2);
    fixture.start_again();
    assert!(!fixture.acceptor.is_joining(), "{:?}", fixture.acceptor.doubt());
}

#[test]
fn what_was_purged_is_not_missed() {
    let mut fixture = Fixture::with_five();
    let finalize = fixture.finalize(3, 1, 5);
    fixture.ok(&finalize);
    for space in [Some(0), Some(0), None] {
        fixture.disk.set_space(space);
        let purge = Request::PurgeLogsOlderThan {
            info: fixture.info(3),
            min_to_keep: TxId(6),
        };
        assert_eq!(fixture.call(&purge).is_ok(), space.is_none());
    }
    fixture.restart();
    assert!(!fixture.acceptor.is_joining(), "{:?}", fixture.acceptor.doubt());
}

#[test]
fn what_is_to_be_kept_stays_in_a_segment_in_progress() {
    let mut fixture = Fixture::with_five();
    fixture.restart();
    let purge = Request::PurgeLogsOlderThan {
        info: fixture.info(3),
        min_to_keep: TxId(5),
    };
    fixture.ok(&purge);
    assert_eq!(fixture.names(), ["edits_inprogress_0000000000000000001"]);
    fixture.restart();
    assert!(!fixture.acceptor.is_joining(), "{:?}", fixture.acceptor.doubt());
    let purge = Request::PurgeLogsOlderThan {
        info: fixture.info(3),
        min_to_keep: TxId(6),
    };
    fixture.ok(&purge);
    assert!(fixture.names().is_empty());
}

#[test]
fn what_the_next_writer_abandoned_is_not_missed() {
    let mut fixture = Fixture::formatted();
    fixture.write(3, 1, 5);
    fixture.vote(4).unwrap();
    fixture.committed = Some(TxId(3));
    // A recovery of the other JournalNodes decided on 1 to 3, and did not reach this one.
    let start = fixture.start(4, 4);
    fixture.ok(&start);
    let journal = fixture.journal(4, 4, 4, 1);
    fixture.ok(&journal);
    fixture.restart();
    assert!(!fixture.acceptor.is_joining(), "{:?}", fixture.acceptor.doubt());
}

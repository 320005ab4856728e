//! Faults of the disk, one by one. What is acknowledged stays, and a JournalNode in doubt about its own past does not
//! vote.

use std::io;
use std::path::{Path, PathBuf};

use hathi_formats::exceptions;
use hathi_formats::ids::{Epoch, TxId};
use hathi_storage::{Disk, DiskFile};

use super::tests::{Bench, options, state};
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

impl Bench {
    /// A JournalNode with five acknowledged transactions of epoch 3. All but the last are known to be committed.
    fn with_five() -> Bench {
        let mut bench = Bench::formatted();
        bench.write(3, 1, 4);
        bench.committed = Some(TxId(4));
        let journal = bench.journal(3, 1, 5, 1);
        bench.ok(&journal);
        bench
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
        let mut bench = Bench::with_five();
        bench.disk.set_space(Some(space));
        let journal = bench.journal(3, 1, 6, 40);
        let refused = bench.call(&journal).unwrap_err();
        assert_eq!(refused.class(), exceptions::IO, "{space}: {refused}");
        assert_eq!(bench.acceptor.failure(), None, "{space}");
        let again = bench.journal(3, 1, 6, 1);
        assert_eq!(bench.class(&again), exceptions::JOURNAL_OUT_OF_SYNC);
        let resume = Request::ResumeSegment {
            info: bench.info(3),
            segment: TxId(1),
        };
        bench.disk.set_space(None);
        let answer = bench.ok(&resume);
        assert!(matches!(answer, Answer::Resumed { next: TxId(6), .. }), "{answer:?}");
        let journal = bench.journal(3, 1, 6, 40);
        bench.ok(&journal);
        bench.disk.lose_power(&mut |_| 0);
        bench.start_again();
        bench.vote(4).unwrap();
        assert_eq!(bench.prepare(4, 1).segment, Some(state(1, 45, true)));
    }
}

#[test]
fn a_full_disk_promises_nothing_and_still_keeps_what_it_promised() {
    let mut bench = Bench::with_five();
    bench.disk.set_full(true);
    assert_eq!(bench.vote(4).unwrap_err().class(), exceptions::IO);
    assert_eq!(bench.acceptor.promised_epoch(), Some(Epoch(3)));
    assert_eq!(bench.acceptor.failure(), None);
    bench.restart();
    bench.disk.set_full(false);
    bench.vote(4).unwrap();
    assert_eq!(bench.prepare(4, 1).segment, Some(state(1, 5, true)));
}

#[test]
fn a_sync_that_fails_for_want_of_space_has_failed_and_heals_when_there_is_space() {
    let mut bench = Bench::with_five();
    bench.disk.fail_syncs_with(3, io::ErrorKind::StorageFull);
    let journal = bench.journal(3, 1, 6, 1);
    bench.call(&journal).unwrap_err();
    assert!(bench.acceptor.failure().is_some());
    // The sync is tried again at once, and fails again.
    let journal = bench.journal(3, 1, 7, 1);
    assert!(matches!(bench.call(&journal), Err(JournalError::Failed { .. })));
    bench.disk.fail_syncs(0);
    bench.now += 1_000_000;
    // Memory shows the sixth transaction, which was never durable. By now it is durable, or it does not count.
    bench.vote(4).unwrap();
    assert_eq!(bench.acceptor.failure(), None);
    let end = bench.prepare(4, 1).segment.unwrap().end;
    bench.disk.lose_power(&mut |_| 0);
    bench.start_again();
    assert_eq!(bench.prepare(4, 1).segment, Some(state(1, end.0, true)));
    assert!(end >= TxId(5));
}

#[test]
fn a_failed_sync_of_another_kind_waits_for_a_new_process() {
    let mut bench = Bench::with_five();
    bench.disk.fail_syncs(1);
    let journal = bench.journal(3, 1, 6, 1);
    bench.call(&journal).unwrap_err();
    bench.now += 60_000_000;
    let journal = bench.journal(3, 1, 6, 1);
    assert!(matches!(bench.call(&journal), Err(JournalError::Failed { .. })));
    bench.restart();
    bench.vote(4).unwrap();
}

#[test]
fn every_bit_of_the_small_files_may_flip() {
    for name in ["VERSION", "last-promised-epoch", "last-writer-epoch"] {
        let len = Bench::with_five().content(name).len() as u64;
        for byte in 0..len {
            let bit = (byte % 7) as u8;
            let mut bench = Bench::with_five();
            bench.heartbeats(3);
            bench.stop();
            let before = bench.content(name);
            bench.disk.flip_bit(&at(name), byte, bit).unwrap();
            bench.start_again();
            assert_eq!(bench.content(name), before, "{name}, byte {byte}");
            assert_eq!(bench.acceptor.counters().files_repaired, 1);
            bench.vote(3).unwrap_err();
            bench.vote(4).unwrap();
            let answer = bench.prepare(4, 1);
            assert_eq!(answer.last_writer_epoch, Epoch(3));
            assert_eq!(answer.segment, Some(state(1, 5, true)));
        }
    }
}

#[test]
fn every_bit_of_our_own_files_may_flip() {
    for name in ["hathi-copies", "hathi-written", "committed-txid"] {
        let mut bench = Bench::with_five();
        bench.heartbeats(3);
        for byte in 0..bench.content(name).len() as u64 {
            let mut bench = Bench::with_five();
            bench.heartbeats(3);
            bench.stop();
            bench.disk.flip_bit(&at(name), byte, 5).unwrap();
            bench.start_again();
            assert!(!bench.acceptor.is_joining(), "{name}, byte {byte}");
            bench.vote(4).unwrap();
            let answer = bench.prepare(4, 1);
            assert_eq!(answer.segment, Some(state(1, 5, true)));
            assert_eq!(answer.last_committed, Some(TxId(4)), "{name}, byte {byte}");
        }
    }
}

#[test]
fn a_damaged_lease_marker_counts_as_a_lease() {
    let mut bench = Bench::formatted();
    bench.lease = Some(LeaseRequest {
        ms: 1000,
        holder: "nn1@a".into(),
        proof: LeaseProof(1),
    });
    bench.write(3, 1, 1);
    bench.stop();
    bench.disk.flip_bit(&at("lease-epoch"), 0, 2).unwrap();
    bench.start_again();
    bench.lease = Some(LeaseRequest {
        ms: 1000,
        holder: "nn2@b".into(),
        proof: LeaseProof(2),
    });
    assert!(matches!(bench.vote(4), Err(JournalError::LeaseHeld { .. })));
    // For how long the lease was promised is not known either.
    bench.now += 5 * 2_000_000 - 1;
    assert!(matches!(bench.vote(4), Err(JournalError::LeaseHeld { .. })));
    bench.now += 1;
    bench.vote(4).unwrap();
}

#[test]
fn every_bit_of_a_recovery_record_may_flip() {
    let recovered = || {
        let mut bench = Bench::with_five();
        bench.vote(4).unwrap();
        bench.prepare(4, 1);
        let accept = bench.accept(4, 1, 5, Some(3));
        bench.ok(&accept);
        bench.stop();
        bench
    };
    let len = recovered().content("paxos/1").len() as u64;
    let mut refused = 0;
    for byte in 0..len {
        let mut bench = recovered();
        bench.disk.flip_bit(&at("paxos/1"), byte, 0).unwrap();
        bench.start_again();
        bench.vote(5).unwrap();
        let prepare = Request::PrepareRecovery {
            info: bench.info(5),
            segment: TxId(1),
        };
        match bench.call(&prepare) {
            Ok(Answer::PrepareRecovery(answer)) => {
                assert_eq!(answer.accepted_in_epoch, Some(Epoch(4)), "byte {byte}");
                assert_eq!(answer.segment, Some(state(1, 5, true)));
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => refused += 1,
        }
        // The next segment heals it.
        let start = bench.start(5, 6);
        bench.ok(&start);
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn damage_in_what_was_durable_is_not_cut_off_and_costs_the_vote() {
    for frame in 0..5 {
        let mut bench = Bench::with_five();
        bench.heartbeats(3);
        bench.stop();
        let before = bench.content(OPEN);
        bench.disk.flip_bit(&at(OPEN), 8 + frame * FRAME_BYTES + 20, 3).unwrap();
        bench.start_again();
        assert!(bench.acceptor.is_joining(), "frame {frame}");
        assert_eq!(bench.content(&format!("{OPEN}.corrupt")).len(), before.len());
        assert!(matches!(bench.vote(4), Err(JournalError::Joining { .. })));
        bench.restart();
        assert!(bench.acceptor.is_joining());
        bench.is_healed_by_a_writer(3, 6);
    }
    // Damage in the header.
    let mut bench = Bench::with_five();
    bench.heartbeats(3);
    bench.stop();
    bench.disk.flip_bit(&at(OPEN), 0, 1).unwrap();
    bench.start_again();
    assert!(bench.acceptor.is_joining());
}

#[test]
fn damage_that_comes_while_it_runs_is_found_at_the_vote() {
    let mut bench = Bench::with_five();
    bench.heartbeats(3);
    bench.restart();
    bench.disk.flip_bit(&at(OPEN), 8 + FRAME_BYTES + 20, 3).unwrap();
    bench.restart();
    assert!(matches!(bench.vote(4), Err(JournalError::Joining { .. })));
}

#[test]
fn a_segment_that_is_gone_or_shorter_is_noticed() {
    for cut in [None, Some(8), Some(8 + 2 * FRAME_BYTES), Some(8 + 2 * FRAME_BYTES + 9)] {
        let mut bench = Bench::with_five();
        bench.heartbeats(3);
        bench.stop();
        match cut {
            None => bench.disk.remove_file(&at(OPEN)).unwrap(),
            Some(len) => bench.disk.open(&at(OPEN)).unwrap().set_len(len).unwrap(),
        }
        bench.start_again();
        assert!(bench.acceptor.is_joining(), "{cut:?}");
        assert!(matches!(bench.vote(4), Err(JournalError::Joining { .. })));
        bench.is_healed_by_a_writer(3, 6);
    }
}

#[test]
fn a_tail_that_was_never_durable_is_cut_and_costs_nothing() {
    for survives in 0..40 {
        let mut bench = Bench::with_five();
        let journal = bench.journal(3, 1, 6, 3);
        assert!(matches!(bench.acceptor.handle(&journal, 0), Handled::AfterSync(_)));
        let mut calls = 0_u64;
        bench.disk.lose_power(&mut |n| {
            calls += 1;
            (survives * 7 + calls * 13) % n
        });
        bench.start_again();
        assert!(!bench.acceptor.is_joining(), "{survives}: {:?}", bench.acceptor.doubt());
        bench.vote(4).unwrap();
        assert!(bench.prepare(4, 1).segment.unwrap().end >= TxId(5));
    }
}

#[test]
fn a_damaged_finalized_segment_does_not_win_a_recovery() {
    let mut bench = Bench::with_five();
    let finalize = bench.finalize(3, 1, 5);
    bench.ok(&finalize);
    bench.restart();
    bench.disk.flip_bit(&at(FINAL), 8 + 2 * FRAME_BYTES + 20, 3).unwrap();
    bench.vote(4).unwrap();
    let prepare = Request::PrepareRecovery {
        info: bench.info(4),
        segment: TxId(1),
    };
    assert!(matches!(bench.call(&prepare), Err(JournalError::Joining { .. })));
    assert_eq!(bench.names(), [format!("{FINAL}.corrupt")]);
    bench.is_healed_by_a_writer(4, 6);
}

#[test]
fn a_damaged_old_segment_is_put_aside_and_replaced_by_a_peers() {
    let mut bench = Bench::with_five();
    let finalize = bench.finalize(3, 1, 5);
    bench.ok(&finalize);
    bench.committed = Some(TxId(5));
    let start = bench.start(3, 6);
    bench.ok(&start);
    let journal = bench.journal(3, 6, 6, 2);
    bench.ok(&journal);
    assert!(
        !bench.acceptor.quarantine(TxId(1), TxId(5)).unwrap(),
        "nothing is wrong"
    );
    let good = bench.content(FINAL);
    bench.disk.flip_bit(&at(FINAL), 100, 3).unwrap();
    assert!(bench.acceptor.quarantine(TxId(1), TxId(5)).unwrap());
    // The damaged segment is not the newest, so this JournalNode still votes.
    assert!(!bench.acceptor.is_joining());
    assert!(bench.acceptor.segment_file(TxId(1), true).unwrap().is_none());
    let from = Path::new("/ns/fetched");
    bench.disk.write_small(from, &good).unwrap();
    assert!(bench.acceptor.adopt_segment(from, TxId(1), TxId(5)).unwrap());
    assert_eq!(bench.content(FINAL), good);
    assert_eq!(bench.acceptor.counters().segments_damaged, 1);
    let mut purge = |min_to_keep| {
        let info = bench.info(3);
        bench.ok(&Request::PurgeLogsOlderThan {
            info,
            min_to_keep: TxId(min_to_keep),
        });
        bench.names().len()
    };
    assert_eq!(purge(5), 3);
    assert_eq!(purge(6), 1, "what was put aside goes with its transactions");
}

#[test]
fn a_directory_from_a_backup_serves_nobody_before_its_peers_told_its_promise() {
    let mut bench = Bench::with_five();
    bench.heartbeats(3);
    bench.stop();
    let backup = bench.files();
    bench.start_again();
    bench.vote(7).unwrap();
    bench.restore(&backup);
    assert!(bench.acceptor.needs_promise());
    // It serves neither the writer that it has forgotten to be fenced, nor a later one.
    let old = bench.heartbeat(3);
    assert!(matches!(bench.call(&old), Err(JournalError::PromiseLost { .. })));
    assert!(matches!(bench.vote(6), Err(JournalError::PromiseLost { .. })));
    assert!(matches!(
        bench.call(&Request::GetJournalState),
        Err(JournalError::PromiseLost { .. })
    ));
    bench.restart();
    assert!(bench.acceptor.needs_promise(), "not forgotten at a restart");
    bench.acceptor.recover_promise(Epoch(7)).unwrap();
    let old = bench.heartbeat(3);
    assert!(crate::errors::is_fenced(&(&bench.call(&old).unwrap_err()).into()));
    assert!(matches!(bench.vote(8), Err(JournalError::Joining { .. })));
    bench.serial = 100;
    bench.is_healed_by_a_writer(7, 20);
}

#[test]
fn lost_small_files_are_put_back() {
    for name in ["VERSION", "last-promised-epoch", "last-writer-epoch"] {
        let mut bench = Bench::with_five();
        bench.heartbeats(3);
        bench.stop();
        bench.disk.remove_file(&at(name)).unwrap();
        bench.start_again();
        bench.vote(3).unwrap_err();
        bench.vote(4).unwrap();
        assert_eq!(bench.prepare(4, 1).last_writer_epoch, Epoch(3), "{name}");
    }
    let mut bench = Bench::with_five();
    bench.stop();
    bench.disk.remove_dir_all(&at("paxos")).unwrap();
    bench.start_again();
    bench.vote(4).unwrap();
    let accept = bench.accept(4, 1, 5, Some(3));
    let ops: Vec<_> = (1..6).map(|txid| crate::frames::tests::frame(txid, 20)).collect();
    bench.fetch(&accept, &ops).unwrap();
    assert_eq!(bench.prepare(4, 1).accepted_in_epoch, Some(Epoch(4)));
}

#[test]
fn epochs_without_a_copy_are_not_guessed() {
    for (name, promise) in [("last-promised-epoch", true), ("last-writer-epoch", false)] {
        for data in [Some(b"x7\n"), None] {
            let mut bench = Bench::with_five();
            bench.stop();
            bench.disk.remove_file(&at("hathi-copies")).unwrap();
            bench.disk.remove_file(&at(name)).unwrap();
            if let Some(data) = data {
                bench.disk.write_small(&at(name), data).unwrap();
            } else if !promise {
                // The directory is as if no writer had ever opened a segment in it.
                continue;
            }
            bench.start_again();
            assert_eq!(bench.acceptor.needs_promise(), promise, "{name}");
            assert!(bench.acceptor.is_joining());
            bench.acceptor.recover_promise(Epoch(3)).unwrap();
            bench.is_healed_by_a_writer(3, 6);
        }
    }
}

#[test]
fn hadoop_may_have_had_the_directory_meanwhile() {
    let mut bench = Bench::with_five();
    bench.stop();
    // Hadoop's JournalNode has written promise and writer epoch of a later epoch, and a recovery left a shorter
    // segment.
    bench.disk.write_small(&at("last-promised-epoch"), b"9\n").unwrap();
    bench.disk.write_small(&at("last-writer-epoch"), b"9\n").unwrap();
    bench
        .disk
        .open(&at(OPEN))
        .unwrap()
        .set_len(8 + 4 * FRAME_BYTES)
        .unwrap();
    bench.start_again();
    assert!(!bench.acceptor.is_joining(), "{:?}", bench.acceptor.doubt());
    bench.vote(9).unwrap_err();
    bench.vote(10).unwrap();
    let answer = bench.prepare(10, 1);
    assert_eq!(answer.last_writer_epoch, Epoch(9));
    assert_eq!(answer.segment, Some(state(1, 4, true)));
}

#[test]
fn what_a_recovery_made_shorter_is_not_missed() {
    let mut bench = Bench::with_five();
    bench.heartbeats(3);
    bench.committed = Some(TxId(3));
    bench.stop();
    // The committed txid goes back only for this test: it was never above 3.
    bench.disk.remove_file(&at("hathi-written")).unwrap();
    bench.disk.remove_file(&at("committed-txid")).unwrap();
    bench.start_again();
    let heartbeat = bench.heartbeat(3);
    bench.ok(&heartbeat);
    bench.vote(4).unwrap();
    let ops: Vec<_> = (1..4).map(|txid| crate::frames::tests::frame(txid, 20)).collect();
    let accept = bench.accept(4, 1, 3, Some(2));
    bench.fetch(&accept, &ops).unwrap();
    bench.restart();
    assert!(!bench.acceptor.is_joining(), "{:?}", bench.acceptor.doubt());
    bench.disk.lose_power(&mut |n| n / 2);
    bench.start_again();
    assert!(!bench.acceptor.is_joining(), "{:?}", bench.acceptor.doubt());
}

#[test]
fn what_was_purged_is_not_missed() {
    let mut bench = Bench::with_five();
    let finalize = bench.finalize(3, 1, 5);
    bench.ok(&finalize);
    for space in [Some(0), Some(0), None] {
        bench.disk.set_space(space);
        let purge = Request::PurgeLogsOlderThan {
            info: bench.info(3),
            min_to_keep: TxId(6),
        };
        assert_eq!(bench.call(&purge).is_ok(), space.is_none());
    }
    bench.restart();
    assert!(!bench.acceptor.is_joining(), "{:?}", bench.acceptor.doubt());
}

#[test]
fn what_is_to_be_kept_stays_in_a_segment_in_progress() {
    let mut bench = Bench::with_five();
    bench.restart();
    let purge = Request::PurgeLogsOlderThan {
        info: bench.info(3),
        min_to_keep: TxId(5),
    };
    bench.ok(&purge);
    assert_eq!(bench.names(), ["edits_inprogress_0000000000000000001"]);
    bench.restart();
    assert!(!bench.acceptor.is_joining(), "{:?}", bench.acceptor.doubt());
    let purge = Request::PurgeLogsOlderThan {
        info: bench.info(3),
        min_to_keep: TxId(6),
    };
    bench.ok(&purge);
    assert!(bench.names().is_empty());
}

#[test]
fn what_the_next_writer_abandoned_is_not_missed() {
    let mut bench = Bench::formatted();
    bench.write(3, 1, 5);
    bench.vote(4).unwrap();
    bench.committed = Some(TxId(3));
    // A recovery of the other JournalNodes decided on 1 to 3, and did not reach this one.
    let start = bench.start(4, 4);
    bench.ok(&start);
    let journal = bench.journal(4, 4, 4, 1);
    bench.ok(&journal);
    bench.restart();
    assert!(!bench.acceptor.is_joining(), "{:?}", bench.acceptor.doubt());
}

//! The rules of `Journal`, one by one, on a disk in memory.

use std::path::{Path, PathBuf};

use hathi_formats::exceptions::{self, ExceptionClass};
use hathi_formats::ids::{Epoch, LayoutVersion, NamespaceInfo, TxId};
use hathi_storage::{Disk, DiskFile, SimDisk};

use super::*;
use crate::frames::tests::frame;
use crate::lease::LeaseProof;
use crate::messages::{LeaseRequest, PrepareRecoveryAnswer, RequestInfo, SegmentState};

pub(super) fn ns_info() -> NamespaceInfo {
    NamespaceInfo {
        layout_version: LayoutVersion(-67),
        namespace_id: 5,
        cluster_id: "CID".to_owned(),
        ctime: 0,
        block_pool_id: String::new(),
    }
}

pub(super) fn options() -> AcceptorOptions {
    let mut options = AcceptorOptions::new("ns");
    options.preallocate_bytes = 512;
    options.cache_bytes = 1 << 16;
    options
}

/// The proof of a holder's identity in these tests.
pub(super) fn proof(holder: &str) -> LeaseProof {
    LeaseProof(u128::from(holder.bytes().last().unwrap()))
}

/// A JournalNode under test, with a writer's serials.
pub(super) struct Bench {
    pub(super) disk: SimDisk,
    pub(super) acceptor: Acceptor<SimDisk>,
    pub(super) serial: u64,
    pub(super) now: Micros,
    pub(super) lease: Option<LeaseRequest>,
    pub(super) committed: Option<TxId>,
}

impl Bench {
    pub(super) fn unformatted() -> Bench {
        let disk = SimDisk::new();
        let acceptor = Acceptor::open(disk.clone(), PathBuf::from("/ns"), options(), 0).unwrap();
        Bench {
            disk,
            acceptor,
            serial: 0,
            now: 0,
            lease: None,
            committed: None,
        }
    }

    pub(super) fn formatted() -> Bench {
        let mut bench = Bench::unformatted();
        let request = Request::Format {
            ns_info: ns_info(),
            force: false,
        };
        bench.ok(&request);
        bench
    }

    pub(super) fn call(&mut self, request: &Request) -> JournalResult<Answer> {
        let answer = match self.acceptor.handle(request, self.now) {
            Handled::Now(answer) => answer,
            Handled::AfterSync(answer) => self.acceptor.sync().map(|()| answer),
            Handled::Download(download) => panic!("wants {download:?}"),
            Handled::Park { until } => panic!("parked until {until}"),
        };
        self.acceptor.check();
        answer
    }

    pub(super) fn ok(&mut self, request: &Request) -> Answer {
        self.call(request).unwrap()
    }

    pub(super) fn class(&mut self, request: &Request) -> ExceptionClass {
        self.call(request).expect_err("must be refused").class()
    }

    pub(super) fn info(&mut self, epoch: u64) -> RequestInfo {
        self.serial += 1;
        RequestInfo {
            epoch: Epoch(epoch),
            serial: self.serial,
            committed: self.committed,
            lease: self.lease.clone(),
        }
    }

    pub(super) fn new_epoch(&self, epoch: u64) -> Request {
        Request::NewEpoch {
            ns_info: ns_info(),
            epoch: Epoch(epoch),
            lease: self.lease.clone(),
            established: false,
        }
    }

    pub(super) fn start(&mut self, epoch: u64, txid: u64) -> Request {
        Request::StartLogSegment {
            info: self.info(epoch),
            txid: TxId(txid),
            layout_version: Some(LayoutVersion(-67)),
        }
    }

    pub(super) fn journal(&mut self, epoch: u64, segment: u64, first: u64, count: u64) -> Request {
        let records: Vec<u8> = (first..first + count).flat_map(|txid| frame(txid, 20)).collect();
        Request::Journal {
            info: self.info(epoch),
            segment: TxId(segment),
            first: TxId(first),
            count: count as u32,
            records: records.into(),
        }
    }

    pub(super) fn finalize(&mut self, epoch: u64, start: u64, end: u64) -> Request {
        Request::FinalizeLogSegment {
            info: self.info(epoch),
            start: TxId(start),
            end: TxId(end),
        }
    }

    pub(super) fn prepare(&mut self, epoch: u64, segment: u64) -> PrepareRecoveryAnswer {
        let request = Request::PrepareRecovery {
            info: self.info(epoch),
            segment: TxId(segment),
        };
        match self.ok(&request) {
            Answer::PrepareRecovery(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn accept(&mut self, epoch: u64, start: u64, end: u64, chosen: Option<u64>) -> Request {
        Request::AcceptRecovery {
            info: self.info(epoch),
            state: state(start, end, true),
            from_url: "http://other:1/getJournal".to_owned(),
            chosen_epoch: chosen.map(Epoch),
        }
    }

    /// Becomes the writer of an epoch, opens a segment and writes `count` transactions.
    pub(super) fn write(&mut self, epoch: u64, start: u64, count: u64) {
        let request = self.new_epoch(epoch);
        self.ok(&request);
        let request = self.start(epoch, start);
        self.ok(&request);
        if count > 0 {
            let request = self.journal(epoch, start, start, count);
            self.ok(&request);
        }
    }

    pub(super) fn restart(&mut self) {
        self.disk.crash_process();
        self.acceptor = Acceptor::open(self.disk.clone(), PathBuf::from("/ns"), options(), self.now).unwrap();
    }

    pub(super) fn names(&self) -> Vec<String> {
        let entries = self.disk.list(Path::new("/ns/current")).unwrap();
        let names = entries.into_iter().map(|entry| entry.name);
        names.filter(|name| name.starts_with("edits")).collect()
    }

    pub(super) fn fetch(&mut self, request: &Request, ops: &[Vec<u8>]) -> JournalResult<Answer> {
        let Handled::Download(download) = self.acceptor.handle(request, self.now) else {
            panic!("fetches nothing");
        };
        let file = self.disk.create(&download.to).unwrap();
        let mut data = frames_header();
        data.extend(ops.concat());
        file.write_at(0, &data).unwrap();
        file.sync_data().unwrap();
        self.acceptor.downloaded(download, Ok(()), self.now)
    }
}

pub(super) fn frames_header() -> Vec<u8> {
    crate::frames::header(LayoutVersion(-67)).to_vec()
}

pub(super) fn state(start: u64, end: u64, in_progress: bool) -> SegmentState {
    SegmentState {
        start: TxId(start),
        end: TxId(end),
        in_progress,
    }
}

#[test]
fn nothing_works_before_format() {
    let mut bench = Bench::unformatted();
    assert_eq!(bench.ok(&Request::IsFormatted), Answer::IsFormatted(false));
    let epoch = bench.new_epoch(1);
    assert_eq!(bench.class(&epoch), exceptions::JOURNAL_NOT_FORMATTED);
    let start = bench.start(1, 1);
    assert_eq!(bench.class(&start), exceptions::JOURNAL_NOT_FORMATTED);
    assert_eq!(
        bench.class(&Request::GetJournalState),
        exceptions::JOURNAL_NOT_FORMATTED
    );
    let mut bench = Bench::formatted();
    let again = Request::Format {
        ns_info: ns_info(),
        force: false,
    };
    assert_eq!(bench.class(&again), exceptions::IO);
}

#[test]
fn epochs_only_grow_and_survive() {
    let mut bench = Bench::formatted();
    let none = Answer::NewEpoch {
        last_segment: None,
        lease_granted_ms: None,
        membership: None,
    };
    assert_eq!(
        {
            let r = bench.new_epoch(3);
            bench.ok(&r)
        },
        none
    );
    assert_eq!(
        {
            let r = bench.new_epoch(3);
            bench.class(&r)
        },
        exceptions::IO
    );
    assert_eq!(
        {
            let r = bench.new_epoch(2);
            bench.class(&r)
        },
        exceptions::IO
    );
    bench.restart();
    assert_eq!(
        {
            let r = bench.new_epoch(3);
            bench.class(&r)
        },
        exceptions::IO
    );
    let mut foreign = bench.new_epoch(9);
    if let Request::NewEpoch { ns_info, .. } = &mut foreign {
        ns_info.cluster_id = "other".to_owned();
    }
    assert_eq!(bench.class(&foreign), exceptions::IO);
    let raw = bench
        .disk
        .read_small(Path::new("/ns/current/last-promised-epoch"))
        .unwrap();
    assert_eq!(raw.unwrap(), b"3\n");
}

impl Bench {
    /// Makes a heartbeat with the next serial.
    pub(super) fn heartbeat(&mut self, epoch: u64) -> Request {
        Request::Heartbeat { info: self.info(epoch) }
    }
}

#[test]
fn a_higher_promise_fences_the_lower_epochs() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 2);
    let promise = bench.new_epoch(5);
    bench.ok(&promise);
    let old = bench.journal(1, 1, 3, 1);
    let error = bench.call(&old).unwrap_err();
    assert!(crate::errors::is_fenced(&(&error).into()), "{error}");
    // The new writer may not write before it has opened a segment.
    let early = bench.journal(5, 1, 3, 1);
    let error = bench.call(&early).unwrap_err();
    assert!(matches!(error, JournalError::NotTheWriter { .. }), "{error}");
}

#[test]
fn serials_must_grow_and_commits_must_not_shrink() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 3);
    let again = bench.heartbeat(1);
    bench.ok(&again);
    assert_eq!(bench.class(&again), exceptions::JOURNAL_OUT_OF_SYNC);
    bench.committed = Some(TxId(3));
    let heartbeat = bench.heartbeat(1);
    bench.ok(&heartbeat);
    bench.committed = Some(TxId(2));
    let heartbeat = bench.heartbeat(1);
    assert_eq!(bench.class(&heartbeat), exceptions::ILLEGAL_ARGUMENT);
    let raw = bench.disk.read_small(Path::new("/ns/current/committed-txid")).unwrap();
    assert_eq!(raw.unwrap(), 3_u64.to_be_bytes());
}

#[test]
fn batches_must_fit_and_be_whole() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 3);
    let gap = bench.journal(1, 1, 5, 1);
    assert_eq!(bench.class(&gap), exceptions::JOURNAL_OUT_OF_SYNC);
    let repeat = bench.journal(1, 1, 3, 1);
    assert_eq!(bench.class(&repeat), exceptions::JOURNAL_OUT_OF_SYNC);
    let mut damaged = bench.journal(1, 1, 4, 2);
    if let Request::Journal { records, .. } = &mut damaged {
        let mut bytes = records.to_vec();
        bytes[30] ^= 1;
        *records = bytes.into();
    }
    assert_eq!(bench.class(&damaged), exceptions::IO);
    let good = bench.journal(1, 1, 4, 2);
    bench.ok(&good);
    // The start of a different segment closes the open one.
    let other = bench.journal(1, 4, 6, 1);
    assert_eq!(bench.class(&other), exceptions::JOURNAL_OUT_OF_SYNC);
    let late = bench.journal(1, 1, 6, 1);
    assert_eq!(bench.class(&late), exceptions::JOURNAL_OUT_OF_SYNC);
}

#[test]
fn segments_end_where_they_were_written_to() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 3);
    let wrong = bench.finalize(1, 1, 2);
    assert_eq!(bench.class(&wrong), exceptions::JOURNAL_OUT_OF_SYNC);
    let right = bench.finalize(1, 1, 3);
    bench.ok(&right);
    assert_eq!(bench.names(), ["edits_0000000000000000001-0000000000000000003"]);
    let again = bench.finalize(1, 1, 3);
    bench.ok(&again);
    let other = bench.finalize(1, 1, 4);
    assert_eq!(bench.class(&other), exceptions::ILLEGAL_ARGUMENT);
    let missing = bench.finalize(1, 4, 5);
    assert_eq!(bench.class(&missing), exceptions::JOURNAL_OUT_OF_SYNC);
    let start = bench.start(1, 1);
    assert_eq!(bench.class(&start), exceptions::ILLEGAL_STATE);
}

#[test]
fn an_abandoned_start_is_overwritten_but_nothing_longer() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 1);
    bench.write(2, 1, 3);
    assert_eq!(bench.names(), ["edits_inprogress_0000000000000000001"]);
    let request = bench.new_epoch(3);
    bench.ok(&request);
    let start = bench.start(3, 1);
    assert_eq!(bench.class(&start), exceptions::ILLEGAL_STATE);
}

#[test]
fn only_its_own_writer_resumes_a_segment() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 3);
    bench.restart();
    let closed = bench.journal(1, 1, 4, 1);
    assert_eq!(bench.class(&closed), exceptions::JOURNAL_OUT_OF_SYNC);
    let resume = Request::ResumeSegment {
        info: bench.info(1),
        segment: TxId(1),
    };
    let resumed = Answer::Resumed {
        next: TxId(4),
        lease_granted_ms: None,
    };
    assert_eq!(bench.ok(&resume), resumed);
    let more = bench.journal(1, 1, 4, 1);
    bench.ok(&more);
    bench.restart();
    let request = bench.new_epoch(2);
    bench.ok(&request);
    let foreign = Request::ResumeSegment {
        info: bench.info(2),
        segment: TxId(1),
    };
    assert_eq!(bench.class(&foreign), exceptions::IO);
}

#[test]
fn a_recovery_reports_and_finalizes() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 3);
    let last = Answer::NewEpoch {
        last_segment: Some(TxId(1)),
        lease_granted_ms: None,
        membership: None,
    };
    let request = bench.new_epoch(2);
    assert_eq!(bench.ok(&request), last);
    let prepared = bench.prepare(2, 1);
    assert_eq!(prepared.segment, Some(state(1, 3, true)));
    assert_eq!(prepared.last_writer_epoch, Epoch(1));
    assert_eq!(prepared.accepted_in_epoch, None);
    // Its own copy was written in the epoch that vouches for the chosen one.
    let accept = bench.accept(2, 1, 3, Some(1));
    bench.ok(&accept);
    let prepared = bench.prepare(2, 1);
    assert_eq!(prepared.accepted_in_epoch, Some(Epoch(2)));
    let finalize = bench.finalize(2, 1, 3);
    bench.ok(&finalize);
    let prepared = bench.prepare(2, 1);
    assert_eq!(
        (prepared.segment, prepared.accepted_in_epoch),
        (Some(state(1, 3, false)), None)
    );
    assert!(!bench.disk.exists(Path::new("/ns/current/paxos/1")).unwrap());
}

#[test]
fn equal_length_is_not_equal_content() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 3);
    let request = bench.new_epoch(3);
    bench.ok(&request);
    // The chosen copy is from a writer that this JournalNode has never heard of.
    let accept = bench.accept(3, 1, 3, Some(2));
    let theirs = [frame(1, 1), frame(2, 2), frame(3, 3)];
    bench.fetch(&accept, &theirs).unwrap();
    let file = bench
        .disk
        .read_small(Path::new("/ns/current/edits_inprogress_0000000000000000001"));
    assert_eq!(file.unwrap().unwrap(), [frames_header(), theirs.concat()].concat());
    // An epoch that had nothing accepted here can't finalize it either.
    let promise = bench.new_epoch(4);
    bench.ok(&promise);
    let finalize = bench.finalize(4, 1, 3);
    assert_eq!(bench.class(&finalize), exceptions::JOURNAL_OUT_OF_SYNC);
}

#[test]
fn what_another_writer_left_open_is_not_finalized() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 3);
    // The next writer could not open its own segment here, and knows only where that segment ends.
    let promise = bench.new_epoch(2);
    bench.ok(&promise);
    let finalize = bench.finalize(2, 1, 3);
    assert_eq!(bench.class(&finalize), exceptions::JOURNAL_OUT_OF_SYNC);
}

#[test]
fn an_abandoned_start_is_not_read_from_memory() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 1);
    bench.write(2, 1, 0);
    // Elsewhere the next writer has committed a different transaction under this number.
    bench.committed = Some(TxId(1));
    let heartbeat = bench.heartbeat(2);
    bench.ok(&heartbeat);
    let edits = Request::GetJournaledEdits {
        since: TxId(1),
        max_txns: 100,
        wait_ms: 0,
        committed_only: true,
    };
    let read = bench.call(&edits);
    assert!(
        !matches!(read, Ok(Answer::JournaledEdits { count: 1.., .. })),
        "{read:?}"
    );
}

#[test]
fn what_is_fetched_must_be_what_was_chosen() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 2);
    let request = bench.new_epoch(2);
    bench.ok(&request);
    let accept = bench.accept(2, 1, 4, Some(1));
    let short = [frame(1, 1), frame(2, 2), frame(3, 3)];
    assert!(bench.fetch(&accept, &short).is_err());
    let prepared = bench.prepare(2, 1);
    assert_eq!(prepared.segment, Some(state(1, 2, true)));
    let accept = bench.accept(2, 1, 4, Some(1));
    let Handled::Download(download) = bench.acceptor.handle(&accept, 0) else {
        panic!("fetches nothing");
    };
    // A higher epoch was promised while it was fetched.
    let request = bench.new_epoch(3);
    bench.ok(&request);
    let late = bench.acceptor.downloaded(download, Ok(()), 0);
    assert!(matches!(late, Err(JournalError::Fenced { .. })));
}

#[test]
fn a_half_done_accept_is_completed() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 2);
    let request = bench.new_epoch(2);
    bench.ok(&request);
    let accept = bench.accept(2, 1, 3, Some(1));
    let ops = [frame(1, 1), frame(2, 2), frame(3, 3)];
    bench.fetch(&accept, &ops).unwrap();
    // The crash came between the record and the rename.
    let dir = Path::new("/ns/current");
    let place = dir.join("edits_inprogress_0000000000000000001");
    bench
        .disk
        .rename(&place, &dir.join("edits_inprogress_0000000000000000001.epoch=2"))
        .unwrap();
    bench.restart();
    let prepared = bench.prepare(2, 1);
    assert_eq!(prepared.segment, Some(state(1, 3, true)));
    assert_eq!(prepared.accepted_in_epoch, Some(Epoch(2)));
}

#[test]
fn what_is_committed_is_not_replaced_by_less() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 3);
    bench.committed = Some(TxId(3));
    let heartbeat = bench.heartbeat(1);
    bench.ok(&heartbeat);
    let request = bench.new_epoch(2);
    bench.ok(&request);
    let shorter = bench.accept(2, 1, 2, Some(1));
    assert_eq!(bench.class(&shorter), exceptions::ASSERTION);
}

#[test]
fn an_answer_waits_for_its_sync_and_a_failed_sync_is_final() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 1);
    let request = bench.journal(1, 1, 2, 1);
    assert!(matches!(bench.acceptor.handle(&request, 0), Handled::AfterSync(_)));
    bench.disk.fail_syncs(1);
    assert!(bench.acceptor.sync().is_err());
    let next = bench.journal(1, 1, 3, 1);
    assert!(matches!(bench.call(&next), Err(JournalError::Failed { .. })));
    let request = bench.new_epoch(2);
    assert!(matches!(bench.call(&request), Err(JournalError::Failed { .. })));
    // After a restart the bytes that memory shows are written again before they count.
    bench.restart();
    let request = bench.new_epoch(2);
    bench.ok(&request);
    assert_eq!(bench.prepare(2, 1).segment, Some(state(1, 2, true)));
    bench.disk.lose_power(&mut |_| 0);
    bench.restart();
    assert_eq!(bench.prepare(2, 1).segment, Some(state(1, 2, true)));
}

#[test]
fn one_sync_serves_several_batches() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 1);
    let before = bench.disk.syncs();
    for first in 2..6 {
        let request = bench.journal(1, 1, first, 1);
        assert!(matches!(bench.acceptor.handle(&request, 0), Handled::AfterSync(_)));
    }
    bench.acceptor.sync().unwrap();
    bench.acceptor.sync().unwrap();
    assert_eq!(bench.disk.syncs(), before + 1);
}

#[test]
fn a_lease_keeps_other_writers_out() {
    let ask = |holder: &str| {
        Some(LeaseRequest {
            ms: 1000,
            holder: holder.into(),
            proof: proof(holder),
        })
    };
    let mut bench = Bench::formatted();
    bench.lease = ask("a");
    bench.write(1, 1, 1);
    bench.lease = ask("b");
    let other = bench.new_epoch(2);
    let error = bench.call(&other).unwrap_err();
    assert!(crate::errors::is_lease_held(&(&error).into()), "{error}");
    let adopting = bench.heartbeat(2);
    assert_eq!(bench.class(&adopting), exceptions::IO);
    // A restart waits out the longest lease.
    bench.restart();
    assert_eq!(bench.class(&other), exceptions::RETRIABLE);
    let release = Request::ReleaseLease {
        holder: "a".into(),
        proof: proof("a"),
        up_to: None,
    };
    assert_eq!(bench.ok(&release), Answer::Released(true));
    assert!(matches!(
        bench.ok(&other),
        Answer::NewEpoch {
            lease_granted_ms: Some(1000),
            ..
        }
    ));
    bench.now = 1_000_000;
    bench.lease = None;
    let java = bench.new_epoch(3);
    bench.ok(&java);
}

#[test]
fn watchers_wait_for_changes() {
    let mut bench = Bench::formatted();
    let watch = |known_counter, wait_ms| Request::WatchLease { known_counter, wait_ms };
    let Answer::LeaseState(state) = bench.ok(&watch(None, 100)) else {
        panic!("no state");
    };
    let known = Some(state.change_counter);
    let parked = bench.acceptor.handle(&watch(known, 100), 7);
    assert!(matches!(parked, Handled::Park { until: 100_007 }));
    let version = bench.acceptor.version();
    let request = bench.new_epoch(1);
    bench.ok(&request);
    assert_ne!(bench.acceptor.version(), version);
    let Answer::LeaseState(changed) = bench.ok(&watch(known, 100)) else {
        panic!("no state");
    };
    assert_eq!(changed.promised_epoch, Epoch(1));
    assert_ne!(Some(changed.change_counter), known);
}

#[test]
fn a_format_that_is_refused_leaves_the_open_segment_open() {
    let mut bench = Bench::formatted();
    let epoch = bench.new_epoch(1);
    bench.ok(&epoch);
    let start = bench.start(1, 1);
    bench.ok(&start);
    let format = Request::Format {
        ns_info: ns_info(),
        force: false,
    };
    assert_eq!(bench.class(&format), exceptions::IO);
    let journal = bench.journal(1, 1, 1, 1);
    bench.ok(&journal);
}

#[test]
fn a_format_that_comes_after_joining_its_peers_still_formats() {
    let format = Request::Format {
        ns_info: ns_info(),
        force: false,
    };
    let mut bench = Bench::unformatted();
    bench.acceptor.format_joining(&ns_info(), Epoch(0), None, 0).unwrap();
    bench.ok(&format);
    assert!(!bench.acceptor.is_joining());
    assert_eq!(bench.class(&format), exceptions::IO, "not a second time");

    // A writer was in office since the format, so promises may be lost.
    let mut bench = Bench::unformatted();
    bench.acceptor.format_joining(&ns_info(), Epoch(4), None, 0).unwrap();
    assert_eq!(bench.class(&format), exceptions::IO);
    assert!(bench.acceptor.is_joining());
}

#[test]
fn a_lost_disk_votes_again_when_it_was_caught_up() {
    let mut bench = Bench::unformatted();
    bench.acceptor.format_joining(&ns_info(), Epoch(4), None, 0).unwrap();
    let request = bench.new_epoch(5);
    assert_eq!(bench.class(&request), exceptions::RETRIABLE);
    bench.committed = Some(TxId(12));
    let start = bench.start(4, 11);
    bench.ok(&start);
    assert!(bench.acceptor.is_joining());
    let journal = bench.journal(4, 11, 11, 1);
    bench.ok(&journal);
    assert!(bench.acceptor.is_joining());
    bench.restart();
    assert!(bench.acceptor.is_joining());
    let resume = Request::ResumeSegment {
        info: bench.info(4),
        segment: TxId(11),
    };
    bench.ok(&resume);
    let journal = bench.journal(4, 11, 12, 1);
    bench.ok(&journal);
    assert!(!bench.acceptor.is_joining());
    let request = bench.new_epoch(5);
    bench.ok(&request);
}

#[test]
fn an_empty_open_segment_does_not_end_joining() {
    let mut bench = Bench::unformatted();
    bench.acceptor.format_joining(&ns_info(), Epoch(4), None, 0).unwrap();
    bench.committed = Some(TxId(10));
    let start = bench.start(4, 11);
    bench.ok(&start);
    // Every committed transaction is here. But a recovery now would look at the segment before, which is missing.
    assert!(bench.acceptor.is_joining());
    let journal = bench.journal(4, 11, 11, 1);
    bench.ok(&journal);
    assert!(!bench.acceptor.is_joining());
}

fn membership(epoch: u64, version: u64, members: &[&str]) -> Membership {
    Membership {
        epoch: Epoch(epoch),
        version,
        members: members.iter().map(|&member| member.to_owned()).collect(),
    }
}

#[test]
fn the_newest_membership_is_kept_and_told() {
    let mut bench = Bench::formatted();
    let new_epoch = bench.new_epoch(3);
    bench.ok(&new_epoch);
    let set = |bench: &mut Bench, epoch: u64, membership: Membership| Request::SetMembership {
        info: bench.info(epoch),
        membership,
    };
    let newest = membership(3, 1, &["a:1", "b:1"]);
    for known in [membership(3, 0, &["a:1"]), newest.clone(), newest.clone()] {
        let request = set(&mut bench, 3, known);
        bench.ok(&request);
    }
    for refused in [
        membership(3, 0, &["a:1"]),
        membership(3, 1, &["a:1"]),
        membership(2, 9, &["a:1"]),
        membership(3, 2, &["nobody"]),
        membership(3, 2, &[]),
    ] {
        let request = set(&mut bench, 3, refused);
        assert_eq!(bench.class(&request), exceptions::ILLEGAL_ARGUMENT);
    }
    let deposed = set(&mut bench, 2, membership(2, 1, &["a:1"]));
    assert_eq!(bench.class(&deposed), exceptions::IO);
    bench.restart();
    let state = bench.ok(&Request::GetJournalState);
    assert!(
        matches!(&state, Answer::JournalState { membership: Some(kept), .. } if *kept == newest),
        "{state:?}"
    );
    let new_epoch = bench.new_epoch(4);
    let promised = bench.ok(&new_epoch);
    assert!(matches!(&promised, Answer::NewEpoch { membership: Some(kept), .. } if *kept == newest));
    // With a damaged membership it could help a writer into office that only removed JournalNodes know.
    let file = bench.acceptor.storage().current().join("hathi-membership");
    let disk = bench.acceptor.storage().disk().clone();
    disk.write_small(&file, b"3 0\na:1\ncrc32 00000000\n").unwrap();
    let other = bench.acceptor.storage().disk().clone();
    bench.acceptor = Acceptor::open(other, PathBuf::from("/elsewhere"), options(), 0).unwrap();
    let opened = Acceptor::open(disk, PathBuf::from("/ns"), options(), 0);
    assert!(opened.is_err_and(|error| error.to_string().contains("damaged")));
}

#[test]
fn an_empty_journalnode_joins_a_writer_and_one_of_another_namespace_does_not() {
    let mut bench = Bench::unformatted();
    let join = |bench: &mut Bench, epoch: u64, ns_info: NamespaceInfo| Request::JoinJournal {
        info: bench.info(epoch),
        ns_info,
    };
    let request = join(&mut bench, 7, ns_info());
    assert_eq!(bench.ok(&request), Answer::Done);
    assert!(bench.acceptor.is_joining());
    assert_eq!(bench.acceptor.promised_epoch(), Some(Epoch(7)));
    let request = bench.new_epoch(8);
    assert_eq!(bench.class(&request), exceptions::RETRIABLE);
    let other = NamespaceInfo {
        cluster_id: "other".to_owned(),
        ..ns_info()
    };
    let request = join(&mut bench, 7, other);
    assert_eq!(bench.class(&request), exceptions::IO);
    let request = join(&mut bench, 6, ns_info());
    assert_eq!(bench.class(&request), exceptions::IO);
}

#[test]
fn a_torn_tail_is_cut_at_the_start() {
    let mut bench = Bench::formatted();
    bench.write(1, 1, 3);
    let request = bench.journal(1, 1, 4, 2);
    assert!(matches!(bench.acceptor.handle(&request, 0), Handled::AfterSync(_)));
    // Half of the batch reaches the disk.
    bench.disk.lose_power(&mut |n| if n == 3 { 2 } else { n / 2 });
    bench.restart();
    assert!(bench.acceptor.gauges().last_written.0 >= 3);
    let request = bench.new_epoch(2);
    bench.ok(&request);
    let end = bench.prepare(2, 1).segment.unwrap().end;
    assert!((3..5).contains(&end.0), "{end}");
}

#[test]
fn a_journal_is_served_by_one_process() {
    let bench = Bench::formatted();
    let second = Acceptor::open(bench.disk.clone(), PathBuf::from("/ns"), options(), 0);
    assert!(matches!(second, Err(JournalError::Storage(_))));
}

#[test]
fn upgrade_and_rollback_keep_the_epochs() {
    let mut bench = Bench::formatted();
    bench.write(3, 1, 2);
    let finalize = bench.finalize(3, 1, 2);
    bench.ok(&finalize);
    bench.ok(&Request::DoPreUpgrade);
    let mut newer = ns_info();
    newer.ctime = 77;
    bench.ok(&Request::DoUpgrade { storage: newer });
    assert_eq!(bench.ok(&Request::GetJournalCTime), Answer::CTime(77));
    bench.restart();
    assert_eq!(
        {
            let r = bench.new_epoch(3);
            bench.class(&r)
        },
        exceptions::IO
    );
    assert_eq!(bench.names(), ["edits_0000000000000000001-0000000000000000002"]);
    let can = Request::CanRollBack {
        storage: ns_info(),
        previous: ns_info(),
        target_layout_version: LayoutVersion(-67),
    };
    assert_eq!(bench.ok(&can), Answer::CanRollBack(true));
    bench.ok(&Request::DoRollback);
    assert_eq!(bench.ok(&Request::GetJournalCTime), Answer::CTime(0));
    bench.ok(&Request::DoFinalize);
}

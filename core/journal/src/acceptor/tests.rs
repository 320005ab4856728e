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
pub(super) struct Fixture {
    pub(super) disk: SimDisk,
    pub(super) acceptor: Acceptor<SimDisk>,
    pub(super) serial: u64,
    pub(super) now: Micros,
    pub(super) lease: Option<LeaseRequest>,
    pub(super) committed: Option<TxId>,
}

impl Fixture {
    pub(super) fn unformatted() -> Fixture {
        let disk = SimDisk::new();
        let acceptor = Acceptor::open(disk.clone(), PathBuf::from("/ns"), options(), 0).unwrap();
        Fixture {
            disk,
            acceptor,
            serial: 0,
            now: 0,
            lease: None,
            committed: None,
        }
    }

    pub(super) fn formatted() -> Fixture {
        let mut fixture = Fixture::unformatted();
        let request = Request::Format {
            ns_info: ns_info(),
            force: false,
        };
        fixture.ok(&request);
        fixture
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
    let mut fixture = Fixture::unformatted();
    assert_eq!(fixture.ok(&Request::IsFormatted), Answer::IsFormatted(false));
    let epoch = fixture.new_epoch(1);
    assert_eq!(fixture.class(&epoch), exceptions::JOURNAL_NOT_FORMATTED);
    let start = fixture.start(1, 1);
    assert_eq!(fixture.class(&start), exceptions::JOURNAL_NOT_FORMATTED);
    assert_eq!(
        fixture.class(&Request::GetJournalState),
        exceptions::JOURNAL_NOT_FORMATTED
    );
    let mut fixture = Fixture::formatted();
    let again = Request::Format {
        ns_info: ns_info(),
        force: false,
    };
    assert_eq!(fixture.class(&again), exceptions::IO);
}

#[test]
fn epochs_only_grow_and_survive() {
    let mut fixture = Fixture::formatted();
    let none = Answer::NewEpoch {
        last_segment: None,
        lease_granted_ms: None,
        membership: None,
    };
    assert_eq!(
        {
            let r = fixture.new_epoch(3);
            fixture.ok(&r)
        },
        none
    );
    assert_eq!(
        {
            let r = fixture.new_epoch(3);
            fixture.class(&r)
        },
        exceptions::IO
    );
    assert_eq!(
        {
            let r = fixture.new_epoch(2);
            fixture.class(&r)
        },
        exceptions::IO
    );
    fixture.restart();
    assert_eq!(
        {
            let r = fixture.new_epoch(3);
            fixture.class(&r)
        },
        exceptions::IO
    );
    let mut foreign = fixture.new_epoch(9);
    if let Request::NewEpoch { ns_info, .. } = &mut foreign {
        ns_info.cluster_id = "other".to_owned();
    }
    assert_eq!(fixture.class(&foreign), exceptions::IO);
    let raw = fixture
        .disk
        .read_small(Path::new("/ns/current/last-promised-epoch"))
        .unwrap();
    assert_eq!(raw.unwrap(), b"3\n");
}

impl Fixture {
    /// Makes a heartbeat with the next serial.
    pub(super) fn heartbeat(&mut self, epoch: u64) -> Request {
        Request::Heartbeat { info: self.info(epoch) }
    }
}

#[test]
fn a_higher_promise_fences_the_lower_epochs() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 2);
    let promise = fixture.new_epoch(5);
    fixture.ok(&promise);
    let old = fixture.journal(1, 1, 3, 1);
    let error = fixture.call(&old).unwrap_err();
    assert!(crate::errors::is_fenced(&(&error).into()), "{error}");
    // The new writer may not write before it has opened a segment.
    let early = fixture.journal(5, 1, 3, 1);
    let error = fixture.call(&early).unwrap_err();
    assert!(matches!(error, JournalError::NotTheWriter { .. }), "{error}");
}

#[test]
fn serials_must_grow_and_commits_must_not_shrink() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 3);
    let again = fixture.heartbeat(1);
    fixture.ok(&again);
    assert_eq!(fixture.class(&again), exceptions::JOURNAL_OUT_OF_SYNC);
    fixture.committed = Some(TxId(3));
    let heartbeat = fixture.heartbeat(1);
    fixture.ok(&heartbeat);
    fixture.committed = Some(TxId(2));
    let heartbeat = fixture.heartbeat(1);
    assert_eq!(fixture.class(&heartbeat), exceptions::ILLEGAL_ARGUMENT);
    let raw = fixture
        .disk
        .read_small(Path::new("/ns/current/committed-txid"))
        .unwrap();
    assert_eq!(raw.unwrap(), 3_u64.to_be_bytes());
}

#[test]
fn batches_must_fit_and_be_whole() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 3);
    let gap = fixture.journal(1, 1, 5, 1);
    assert_eq!(fixture.class(&gap), exceptions::JOURNAL_OUT_OF_SYNC);
    let repeat = fixture.journal(1, 1, 3, 1);
    assert_eq!(fixture.class(&repeat), exceptions::JOURNAL_OUT_OF_SYNC);
    let mut damaged = fixture.journal(1, 1, 4, 2);
    if let Request::Journal { records, .. } = &mut damaged {
        let mut bytes = records.to_vec();
        bytes[30] ^= 1;
        *records = bytes.into();
    }
    assert_eq!(fixture.class(&damaged), exceptions::IO);
    let good = fixture.journal(1, 1, 4, 2);
    fixture.ok(&good);
    // The start of a different segment closes the open one.
    let other = fixture.journal(1, 4, 6, 1);
    assert_eq!(fixture.class(&other), exceptions::JOURNAL_OUT_OF_SYNC);
    let late = fixture.journal(1, 1, 6, 1);
    assert_eq!(fixture.class(&late), exceptions::JOURNAL_OUT_OF_SYNC);
}

#[test]
fn segments_end_where_they_were_written_to() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 3);
    let wrong = fixture.finalize(1, 1, 2);
    assert_eq!(fixture.class(&wrong), exceptions::JOURNAL_OUT_OF_SYNC);
    let right = fixture.finalize(1, 1, 3);
    fixture.ok(&right);
    assert_eq!(fixture.names(), ["edits_0000000000000000001-0000000000000000003"]);
    let again = fixture.finalize(1, 1, 3);
    fixture.ok(&again);
    let other = fixture.finalize(1, 1, 4);
    assert_eq!(fixture.class(&other), exceptions::ILLEGAL_ARGUMENT);
    let missing = fixture.finalize(1, 4, 5);
    assert_eq!(fixture.class(&missing), exceptions::JOURNAL_OUT_OF_SYNC);
    let start = fixture.start(1, 1);
    assert_eq!(fixture.class(&start), exceptions::ILLEGAL_STATE);
}

#[test]
fn an_abandoned_start_is_overwritten_but_nothing_longer() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 1);
    fixture.write(2, 1, 3);
    assert_eq!(fixture.names(), ["edits_inprogress_0000000000000000001"]);
    let request = fixture.new_epoch(3);
    fixture.ok(&request);
    let start = fixture.start(3, 1);
    assert_eq!(fixture.class(&start), exceptions::ILLEGAL_STATE);
}

#[test]
fn only_its_own_writer_resumes_a_segment() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 3);
    fixture.restart();
    let closed = fixture.journal(1, 1, 4, 1);
    assert_eq!(fixture.class(&closed), exceptions::JOURNAL_OUT_OF_SYNC);
    let resume = Request::ResumeSegment {
        info: fixture.info(1),
        segment: TxId(1),
    };
    let resumed = Answer::Resumed {
        next: TxId(4),
        lease_granted_ms: None,
    };
    assert_eq!(fixture.ok(&resume), resumed);
    let more = fixture.journal(1, 1, 4, 1);
    fixture.ok(&more);
    fixture.restart();
    let request = fixture.new_epoch(2);
    fixture.ok(&request);
    let foreign = Request::ResumeSegment {
        info: fixture.info(2),
        segment: TxId(1),
    };
    assert_eq!(fixture.class(&foreign), exceptions::IO);
}

#[test]
fn a_recovery_reports_and_finalizes() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 3);
    let last = Answer::NewEpoch {
        last_segment: Some(TxId(1)),
        lease_granted_ms: None,
        membership: None,
    };
    let request = fixture.new_epoch(2);
    assert_eq!(fixture.ok(&request), last);
    let prepared = fixture.prepare(2, 1);
    assert_eq!(prepared.segment, Some(state(1, 3, true)));
    assert_eq!(prepared.last_writer_epoch, Epoch(1));
    assert_eq!(prepared.accepted_in_epoch, None);
    // Its own copy was written in the epoch that vouches for the chosen one.
    let accept = fixture.accept(2, 1, 3, Some(1));
    fixture.ok(&accept);
    let prepared = fixture.prepare(2, 1);
    assert_eq!(prepared.accepted_in_epoch, Some(Epoch(2)));
    let finalize = fixture.finalize(2, 1, 3);
    fixture.ok(&finalize);
    let prepared = fixture.prepare(2, 1);
    assert_eq!(
        (prepared.segment, prepared.accepted_in_epoch),
        (Some(state(1, 3, false)), None)
    );
    assert!(!fixture.disk.exists(Path::new("/ns/current/paxos/1")).unwrap());
}

#[test]
fn equal_length_is_not_equal_content() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 3);
    let request = fixture.new_epoch(3);
    fixture.ok(&request);
    // The chosen copy is from a writer that this JournalNode has never heard of.
    let accept = fixture.accept(3, 1, 3, Some(2));
    let theirs = [frame(1, 1), frame(2, 2), frame(3, 3)];
    fixture.fetch(&accept, &theirs).unwrap();
    let file = fixture
        .disk
        .read_small(Path::new("/ns/current/edits_inprogress_0000000000000000001"));
    assert_eq!(file.unwrap().unwrap(), [frames_header(), theirs.concat()].concat());
    // An epoch that had nothing accepted here can't finalize it either.
    let promise = fixture.new_epoch(4);
    fixture.ok(&promise);
    let finalize = fixture.finalize(4, 1, 3);
    assert_eq!(fixture.class(&finalize), exceptions::JOURNAL_OUT_OF_SYNC);
}

#[test]
fn what_another_writer_left_open_is_not_finalized() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 3);
    // The next writer could not open its own segment here, and knows only where that segment ends.
    let promise = fixture.new_epoch(2);
    fixture.ok(&promise);
    let finalize = fixture.finalize(2, 1, 3);
    assert_eq!(fixture.class(&finalize), exceptions::JOURNAL_OUT_OF_SYNC);
}

#[test]
fn an_abandoned_start_is_not_read_from_memory() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 1);
    fixture.write(2, 1, 0);
    // Elsewhere the next writer has committed a different transaction under this number.
    fixture.committed = Some(TxId(1));
    let heartbeat = fixture.heartbeat(2);
    fixture.ok(&heartbeat);
    let edits = Request::GetJournaledEdits {
        since: TxId(1),
        max_txns: 100,
        wait_ms: 0,
        committed_only: true,
    };
    let read = fixture.call(&edits);
    assert!(
        !matches!(read, Ok(Answer::JournaledEdits { count: 1.., .. })),
        "{read:?}"
    );
}

#[test]
fn what_is_fetched_must_be_what_was_chosen() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 2);
    let request = fixture.new_epoch(2);
    fixture.ok(&request);
    let accept = fixture.accept(2, 1, 4, Some(1));
    let short = [frame(1, 1), frame(2, 2), frame(3, 3)];
    assert!(fixture.fetch(&accept, &short).is_err());
    let prepared = fixture.prepare(2, 1);
    assert_eq!(prepared.segment, Some(state(1, 2, true)));
    let accept = fixture.accept(2, 1, 4, Some(1));
    let Handled::Download(download) = fixture.acceptor.handle(&accept, 0) else {
        panic!("fetches nothing");
    };
    // A higher epoch was promised while it was fetched.
    let request = fixture.new_epoch(3);
    fixture.ok(&request);
    let late = fixture.acceptor.downloaded(download, Ok(()), 0);
    assert!(matches!(late, Err(JournalError::Fenced { .. })));
}

#[test]
fn a_half_done_accept_is_completed() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 2);
    let request = fixture.new_epoch(2);
    fixture.ok(&request);
    let accept = fixture.accept(2, 1, 3, Some(1));
    let ops = [frame(1, 1), frame(2, 2), frame(3, 3)];
    fixture.fetch(&accept, &ops).unwrap();
    // The crash came between the record and the rename.
    let dir = Path::new("/ns/current");
    let place = dir.join("edits_inprogress_0000000000000000001");
    fixture
        .disk
        .rename(&place, &dir.join("edits_inprogress_0000000000000000001.epoch=2"))
        .unwrap();
    fixture.restart();
    let prepared = fixture.prepare(2, 1);
    assert_eq!(prepared.segment, Some(state(1, 3, true)));
    assert_eq!(prepared.accepted_in_epoch, Some(Epoch(2)));
}

#[test]
fn what_is_committed_is_not_replaced_by_less() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 3);
    fixture.committed = Some(TxId(3));
    let heartbeat = fixture.heartbeat(1);
    fixture.ok(&heartbeat);
    let request = fixture.new_epoch(2);
    fixture.ok(&request);
    let shorter = fixture.accept(2, 1, 2, Some(1));
    assert_eq!(fixture.class(&shorter), exceptions::ASSERTION);
}

#[test]
fn an_answer_waits_for_its_sync_and_a_failed_sync_is_final() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 1);
    let request = fixture.journal(1, 1, 2, 1);
    assert!(matches!(fixture.acceptor.handle(&request, 0), Handled::AfterSync(_)));
    fixture.disk.fail_syncs(1);
    assert!(fixture.acceptor.sync().is_err());
    let next = fixture.journal(1, 1, 3, 1);
    assert!(matches!(fixture.call(&next), Err(JournalError::Failed { .. })));
    let request = fixture.new_epoch(2);
    assert!(matches!(fixture.call(&request), Err(JournalError::Failed { .. })));
    // After a restart the bytes that memory shows are written again before they count.
    fixture.restart();
    let request = fixture.new_epoch(2);
    fixture.ok(&request);
    assert_eq!(fixture.prepare(2, 1).segment, Some(state(1, 2, true)));
    fixture.disk.lose_power(&mut |_| 0);
    fixture.restart();
    assert_eq!(fixture.prepare(2, 1).segment, Some(state(1, 2, true)));
}

#[test]
fn one_sync_serves_several_batches() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 1);
    let before = fixture.disk.syncs();
    for first in 2..6 {
        let request = fixture.journal(1, 1, first, 1);
        assert!(matches!(fixture.acceptor.handle(&request, 0), Handled::AfterSync(_)));
    }
    fixture.acceptor.sync().unwrap();
    fixture.acceptor.sync().unwrap();
    assert_eq!(fixture.disk.syncs(), before + 1);
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
    let mut fixture = Fixture::formatted();
    fixture.lease = ask("a");
    fixture.write(1, 1, 1);
    fixture.lease = ask("b");
    let other = fixture.new_epoch(2);
    let error = fixture.call(&other).unwrap_err();
    assert!(crate::errors::is_lease_held(&(&error).into()), "{error}");
    let adopting = fixture.heartbeat(2);
    assert_eq!(fixture.class(&adopting), exceptions::IO);
    // A restart waits out the longest lease.
    fixture.restart();
    assert_eq!(fixture.class(&other), exceptions::RETRIABLE);
    let release = Request::ReleaseLease {
        holder: "a".into(),
        proof: proof("a"),
        up_to: None,
    };
    assert_eq!(fixture.ok(&release), Answer::Released(true));
    assert!(matches!(
        fixture.ok(&other),
        Answer::NewEpoch {
            lease_granted_ms: Some(1000),
            ..
        }
    ));
    fixture.now = 1_000_000;
    fixture.lease = None;
    let java = fixture.new_epoch(3);
    fixture.ok(&java);
}

#[test]
fn watchers_wait_for_changes() {
    let mut fixture = Fixture::formatted();
    let watch = |known_counter, wait_ms| Request::WatchLease { known_counter, wait_ms };
    let Answer::LeaseState(state) = fixture.ok(&watch(None, 100)) else {
        panic!("no state");
    };
    let known = Some(state.change_counter);
    let parked = fixture.acceptor.handle(&watch(known, 100), 7);
    assert!(matches!(parked, Handled::Park { until: 100_007 }));
    let version = fixture.acceptor.version();
    let request = fixture.new_epoch(1);
    fixture.ok(&request);
    assert_ne!(fixture.acceptor.version(), version);
    let Answer::LeaseState(changed) = fixture.ok(&watch(known, 100)) else {
        panic!("no state");
    };
    assert_eq!(changed.promised_epoch, Epoch(1));
    assert_ne!(Some(changed.change_counter), known);
}

#[test]
fn a_format_that_is_refused_leaves_the_open_segment_open() {
    let mut fixture = Fixture::formatted();
    let epoch = fixture.new_epoch(1);
    fixture.ok(&epoch);
    let start = fixture.start(1, 1);
    fixture.ok(&start);
    let format = Request::Format {
        ns_info: ns_info(),
        force: false,
    };
    assert_eq!(fixture.class(&format), exceptions::IO);
    let journal = fixture.journal(1, 1, 1, 1);
    fixture.ok(&journal);
}

#[test]
fn a_format_that_comes_after_joining_its_peers_still_formats() {
    let format = Request::Format {
        ns_info: ns_info(),
        force: false,
    };
    let mut fixture = Fixture::unformatted();
    fixture.acceptor.format_joining(&ns_info(), Epoch(0), None, 0).unwrap();
    fixture.ok(&format);
    assert!(!fixture.acceptor.is_joining());
    assert_eq!(fixture.class(&format), exceptions::IO, "not a second time");

    // A writer was in office since the format, so promises may be lost.
    let mut fixture = Fixture::unformatted();
    fixture.acceptor.format_joining(&ns_info(), Epoch(4), None, 0).unwrap();
    assert_eq!(fixture.class(&format), exceptions::IO);
    assert!(fixture.acceptor.is_joining());
}

#[test]
fn a_lost_disk_votes_again_when_it_was_caught_up() {
    let mut fixture = Fixture::unformatted();
    fixture.acceptor.format_joining(&ns_info(), Epoch(4), None, 0).unwrap();
    let request = fixture.new_epoch(5);
    assert_eq!(fixture.class(&request), exceptions::RETRIABLE);
    fixture.committed = Some(TxId(12));
    let start = fixture.start(4, 11);
    fixture.ok(&start);
    assert!(fixture.acceptor.is_joining());
    let journal = fixture.journal(4, 11, 11, 1);
    fixture.ok(&journal);
    assert!(fixture.acceptor.is_joining());
    fixture.restart();
    assert!(fixture.acceptor.is_joining());
    let resume = Request::ResumeSegment {
        info: fixture.info(4),
        segment: TxId(11),
    };
    fixture.ok(&resume);
    let journal = fixture.journal(4, 11, 12, 1);
    fixture.ok(&journal);
    assert!(!fixture.acceptor.is_joining());
    let request = fixture.new_epoch(5);
    fixture.ok(&request);
}

#[test]
fn an_empty_open_segment_does_not_end_joining() {
    let mut fixture = Fixture::unformatted();
    fixture.acceptor.format_joining(&ns_info(), Epoch(4), None, 0).unwrap();
    fixture.committed = Some(TxId(10));
    let start = fixture.start(4, 11);
    fixture.ok(&start);
    // Every committed transaction is here. But a recovery now would look at the segment before, which is missing.
    assert!(fixture.acceptor.is_joining());
    let journal = fixture.journal(4, 11, 11, 1);
    fixture.ok(&journal);
    assert!(!fixture.acceptor.is_joining());
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
    let mut fixture = Fixture::formatted();
    let new_epoch = fixture.new_epoch(3);
    fixture.ok(&new_epoch);
    let set = |fixture: &mut Fixture, epoch: u64, membership: Membership| Request::SetMembership {
        info: fixture.info(epoch),
        membership,
    };
    let newest = membership(3, 1, &["a:1", "b:1"]);
    for known in [membership(3, 0, &["a:1"]), newest.clone(), newest.clone()] {
        let request = set(&mut fixture, 3, known);
        fixture.ok(&request);
    }
    for refused in [
        membership(3, 0, &["a:1"]),
        membership(3, 1, &["a:1"]),
        membership(2, 9, &["a:1"]),
        membership(3, 2, &["nobody"]),
        membership(3, 2, &[]),
    ] {
        let request = set(&mut fixture, 3, refused);
        assert_eq!(fixture.class(&request), exceptions::ILLEGAL_ARGUMENT);
    }
    let deposed = set(&mut fixture, 2, membership(2, 1, &["a:1"]));
    assert_eq!(fixture.class(&deposed), exceptions::IO);
    fixture.restart();
    let state = fixture.ok(&Request::GetJournalState);
    assert!(
        matches!(&state, Answer::JournalState { membership: Some(kept), .. } if *kept == newest),
        "{state:?}"
    );
    let new_epoch = fixture.new_epoch(4);
    let promised = fixture.ok(&new_epoch);
    assert!(matches!(&promised, Answer::NewEpoch { membership: Some(kept), .. } if *kept == newest));
    // With a damaged membership it could help a writer into office that only removed JournalNodes know.
    let file = fixture.acceptor.storage().current().join("hathi-membership");
    let disk = fixture.acceptor.storage().disk().clone();
    disk.write_small(&file, b"3 0\na:1\ncrc32 00000000\n").unwrap();
    let other = fixture.acceptor.storage().disk().clone();
    fixture.acceptor = Acceptor::open(other, PathBuf::from("/elsewhere"), options(), 0).unwrap();
    let opened = Acceptor::open(disk, PathBuf::from("/ns"), options(), 0);
    assert!(opened.is_err_and(|error| error.to_string().contains("damaged")));
}

#[test]
fn an_empty_journalnode_joins_a_writer_and_one_of_another_namespace_does_not() {
    let mut fixture = Fixture::unformatted();
    let join = |fixture: &mut Fixture, epoch: u64, ns_info: NamespaceInfo| Request::JoinJournal {
        info: fixture.info(epoch),
        ns_info,
    };
    let request = join(&mut fixture, 7, ns_info());
    assert_eq!(fixture.ok(&request), Answer::Done);
    assert!(fixture.acceptor.is_joining());
    assert_eq!(fixture.acceptor.promised_epoch(), Some(Epoch(7)));
    let request = fixture.new_epoch(8);
    assert_eq!(fixture.class(&request), exceptions::RETRIABLE);
    let other = NamespaceInfo {
        cluster_id: "other".to_owned(),
        ..ns_info()
    };
    let request = join(&mut fixture, 7, other);
    assert_eq!(fixture.class(&request), exceptions::IO);
    let request = join(&mut fixture, 6, ns_info());
    assert_eq!(fixture.class(&request), exceptions::IO);
}

#[test]
fn a_torn_tail_is_cut_at_the_start() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 3);
    let request = fixture.journal(1, 1, 4, 2);
    assert!(matches!(fixture.acceptor.handle(&request, 0), Handled::AfterSync(_)));
    // Half of the batch reaches the disk.
    fixture.disk.lose_power(&mut |n| if n == 3 { 2 } else { n / 2 });
    fixture.restart();
    assert!(fixture.acceptor.gauges().last_written.0 >= 3);
    let request = fixture.new_epoch(2);
    fixture.ok(&request);
    let end = fixture.prepare(2, 1).segment.unwrap().end;
    assert!((3..5).contains(&end.0), "{end}");
}

#[test]
fn a_journal_is_served_by_one_process() {
    let fixture = Fixture::formatted();
    let second = Acceptor::open(fixture.disk.clone(), PathBuf::from("/ns"), options(), 0);
    assert!(matches!(second, Err(JournalError::Storage(_))));
}

#[test]
fn upgrade_and_rollback_keep_the_epochs() {
    let mut fixture = Fixture::formatted();
    fixture.write(3, 1, 2);
    let finalize = fixture.finalize(3, 1, 2);
    fixture.ok(&finalize);
    fixture.ok(&Request::DoPreUpgrade);
    let mut newer = ns_info();
    newer.ctime = 77;
    fixture.ok(&Request::DoUpgrade { storage: newer });
    assert_eq!(fixture.ok(&Request::GetJournalCTime), Answer::CTime(77));
    fixture.restart();
    assert_eq!(
        {
            let r = fixture.new_epoch(3);
            fixture.class(&r)
        },
        exceptions::IO
    );
    assert_eq!(fixture.names(), ["edits_0000000000000000001-0000000000000000002"]);
    let can = Request::CanRollBack {
        storage: ns_info(),
        previous: ns_info(),
        target_layout_version: LayoutVersion(-67),
    };
    assert_eq!(fixture.ok(&can), Answer::CanRollBack(true));
    fixture.ok(&Request::DoRollback);
    assert_eq!(fixture.ok(&Request::GetJournalCTime), Answer::CTime(0));
    fixture.ok(&Request::DoFinalize);
}

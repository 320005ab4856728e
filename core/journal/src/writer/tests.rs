//! A writer against JournalNodes in the same thread, whose answers come when the test says so.

mod changes;
mod left_behind;
mod liars;
mod rejoin;

use std::collections::VecDeque;
use std::path::PathBuf;

use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{Epoch, LayoutVersion, NamespaceInfo, TxId};
use hathi_storage::{Disk, DiskFile, SimDisk};

use super::*;
use crate::acceptor::{Acceptor, AcceptorOptions, Handled};
use crate::errors::JournalError;
use crate::frames::tests::frame;

fn ns_info() -> NamespaceInfo {
    NamespaceInfo {
        layout_version: LayoutVersion(-67),
        namespace_id: 5,
        cluster_id: "CID".to_owned(),
        ctime: 0,
        block_pool_id: "BP".to_owned(),
    }
}

/// What proves a holder in these tests.
fn proof(holder: &str) -> LeaseProof {
    LeaseProof(u128::from(holder.as_bytes()[0]))
}

fn config(holder: &str) -> WriterConfig {
    WriterConfig {
        ns_info: ns_info(),
        holder: holder.into(),
        proof: proof(holder),
        asked_before: Epoch(0),
        lease_ms: 1000,
        layout_version: LayoutVersion(-67),
        members: ["a:1", "b:1", "c:1"].map(str::to_owned).to_vec(),
        membership: None,
        journal_id: "ns".to_owned(),
        timeouts: WriterTimeouts::default(),
        recent_limit_bytes: 1 << 20,
        pipeline_depth: 4,
        mutation: Mutation::default(),
    }
}

fn ops(first: u64, count: u64) -> Bytes {
    (first..first + count)
        .flat_map(|txid| frame(txid, 10))
        .collect::<Vec<u8>>()
        .into()
}

/// Which JournalNode a channel of the writer leads to.
fn jn_of(writer: &QuorumWriter, channel: usize) -> usize {
    usize::from(writer.addresses()[channel].as_bytes()[0] - b'a')
}

fn channel_of(writer: &QuorumWriter, jn: usize) -> usize {
    let known = (0..writer.addresses().len()).find(|channel| jn_of(writer, *channel) == jn);
    known.unwrap_or(usize::MAX)
}

/// JournalNodes `a`, `b` and `c`, three empty ones `d`, `e` and `f`, and what is on its way to them.
struct Cluster {
    jns: Vec<Acceptor<SimDisk>>,
    /// Calls are neither delivered nor answered.
    silent: Vec<bool>,
    /// Calls fail at once.
    down: Vec<bool>,
    java: Vec<bool>,
    refuses_segments: Vec<bool>,
    /// What it makes of its true answers.
    lies: Vec<Option<fn(Answer) -> Answer>>,
    /// Whatever epoch this one hears of last, it says that it has promised a higher one.
    outbids: Option<(usize, Epoch)>,
    held: VecDeque<(usize, CallId, Request)>,
    /// How often a writer in office has asked for a promise.
    asked_in_office: usize,
    now: Micros,
}

impl Cluster {
    fn new() -> Self {
        let jn = |i| {
            let mut options = AcceptorOptions::new("ns");
            options.preallocate_bytes = 4096;
            let mut jn = Acceptor::open(SimDisk::new(), PathBuf::from("/ns"), options, 0).unwrap();
            let format = Request::Format {
                ns_info: ns_info(),
                force: false,
            };
            if i < 3 {
                assert!(matches!(jn.handle(&format, 0), Handled::Now(Ok(_))));
            }
            jn
        };
        Cluster {
            jns: (0..6).map(jn).collect(),
            silent: vec![false; 6],
            down: vec![false; 6],
            java: vec![false; 6],
            refuses_segments: vec![false; 6],
            lies: vec![None; 6],
            outbids: None,
            held: VecDeque::new(),
            asked_in_office: 0,
            now: 0,
        }
    }

    fn deliver(&mut self, jn: usize, request: &Request) -> Result<Answer, CallError> {
        if self.down[jn] {
            return Err(CallError::Broken("connection refused".to_owned()));
        }
        if self.java[jn] && request.protocol() == crate::messages::JOURNAL_EXTENSION_PROTOCOL {
            let unknown = RemoteException::new(exceptions::RPC_NO_SUCH_PROTOCOL, "unknown");
            return Err(CallError::Remote(unknown));
        }
        if self.refuses_segments[jn] && matches!(request, Request::StartLogSegment { .. }) {
            let failed = RemoteException::new(exceptions::IO, "the disk failed");
            return Err(CallError::Remote(failed));
        }
        if let Some((liar, heard)) = &mut self.outbids
            && *liar == jn
        {
            return outbid(request, heard);
        }
        self.asked_in_office += usize::from(matches!(request, Request::NewEpoch { established: true, .. }));
        let answer = match self.jns[jn].handle(request, self.now) {
            Handled::Now(answer) => answer,
            Handled::AfterSync(answer) => self.jns[jn].sync().map(|()| answer),
            Handled::Download(download) => {
                let Request::AcceptRecovery { state, from_url, .. } = request else {
                    panic!("{request:?}");
                };
                let from = &mut self.jns[usize::from(from_url.as_bytes()[7] - b'a')];
                let file = from.segment_file(state.start, true).unwrap().unwrap();
                let data = from.storage().disk().read_small(&file.path).unwrap().unwrap();
                let to = self.jns[jn].storage().disk().create(&download.to).unwrap();
                to.write_at(0, &data).unwrap();
                to.sync_data().unwrap();
                self.jns[jn].downloaded(download, Ok(()), self.now)
            }
            other => panic!("{other:?}"),
        };
        match answer {
            Ok(Answer::NewEpoch { last_segment, .. }) if self.java[jn] => Ok(Answer::NewEpoch {
                last_segment,
                lease_granted_ms: None,
                membership: None,
            }),
            Ok(Answer::Lease { .. }) if self.java[jn] => Ok(Answer::Lease { lease_granted_ms: None }),
            Ok(answer) => Ok(self.lies[jn].map_or_else(|| answer.clone(), |lie| lie(answer.clone()))),
            Err(error) => Err(CallError::Remote((&error).into())),
        }
    }

    /// Performs actions and what follows from them; returns what is not a call.
    fn settle(&mut self, writer: &mut QuorumWriter, out: &mut Vec<WriterAction>) -> Vec<WriterAction> {
        let mut said = Vec::new();
        let mut calls = VecDeque::new();
        loop {
            for action in out.drain(..) {
                match action {
                    WriterAction::Send {
                        journalnode,
                        call,
                        request,
                        ..
                    } => calls.push_back((jn_of(writer, journalnode), call, request)),
                    other => said.push(other),
                }
            }
            let Some((jn, call, request)) = calls.pop_front() else {
                return said;
            };
            if self.silent[jn] {
                self.held.push_back((jn, call, request));
                continue;
            }
            let result = self.deliver(jn, &request);
            writer.answer(channel_of(writer, jn), call, result, self.now, out);
            writer.check();
        }
    }

    fn act(
        &mut self,
        writer: &mut QuorumWriter,
        act: impl FnOnce(&mut QuorumWriter, Micros, &mut Vec<WriterAction>),
    ) -> Vec<WriterAction> {
        let mut out = Vec::new();
        act(writer, self.now, &mut out);
        self.settle(writer, &mut out)
    }

    /// The held calls to a JournalNode are delivered.
    fn release(&mut self, writer: &mut QuorumWriter, jn: usize) -> Vec<WriterAction> {
        self.silent[jn] = false;
        let held = std::mem::take(&mut self.held);
        let mut said = Vec::new();
        for (to, call, request) in held {
            if to != jn {
                self.held.push_back((to, call, request));
                continue;
            }
            let result = self.deliver(jn, &request);
            said.extend(self.act(writer, |w, now, out| {
                w.answer(channel_of(w, jn), call, result, now, out)
            }));
        }
        said
    }

    /// A writer that has recovered and opened a segment at `txid`.
    fn writing(&mut self, holder: &str, txid: u64) -> QuorumWriter {
        let mut writer = QuorumWriter::new(config(holder));
        let said = self.act(&mut writer, |w, now, out| w.recover(now, out));
        assert!(matches!(said[..], [WriterAction::Recovered { .. }]), "{said:?}");
        let said = self.act(&mut writer, |w, now, out| w.start_segment(TxId(txid), now, out));
        assert_eq!(said, [WriterAction::SegmentStarted { txid: TxId(txid) }]);
        writer
    }

    fn journal(&mut self, writer: &mut QuorumWriter, first: u64, count: u64) -> Vec<WriterAction> {
        self.act(writer, |w, now, out| {
            w.journal(TxId(first), count as u32, ops(first, count), now, out);
        })
    }

    fn written(&self) -> Vec<u64> {
        self.jns[..3].iter().map(|jn| jn.gauges().last_written.0).collect()
    }
}

fn outbid(request: &Request, heard: &mut Epoch) -> Result<Answer, CallError> {
    let journal = "ns".to_owned();
    let error = match request {
        Request::NewEpoch { epoch, .. } => {
            *heard = *epoch;
            let promised = Epoch(heard.0 + 1);
            let epoch = *epoch;
            JournalError::EpochTooLow {
                epoch,
                promised,
                journal,
            }
        }
        _ => {
            *heard = request.info().map_or(*heard, |info| info.epoch);
            let (epoch, promised) = (*heard, Epoch(heard.0 + 1));
            if matches!(request, Request::GetJournalState) {
                return Ok(Answer::JournalState {
                    promised_epoch: promised,
                    http_port: 8480,
                    from_url: None,
                    membership: None,
                });
            }
            JournalError::Fenced {
                epoch,
                promised,
                journal,
            }
        }
    };
    Err(CallError::Remote((&error).into()))
}

fn synced(txid: u64) -> WriterAction {
    WriterAction::Synced { txid: TxId(txid) }
}

#[test]
fn writes_rolls_and_recovers() {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    assert_eq!(cluster.journal(&mut writer, 1, 3), [synced(3)]);
    let said = cluster.act(&mut writer, |w, now, out| w.finalize_segment(now, out));
    let finalized = WriterAction::SegmentFinalized {
        start: TxId(1),
        end: TxId(3),
    };
    assert_eq!(said, [finalized]);
    cluster.act(&mut writer, |w, now, out| w.start_segment(TxId(4), now, out));
    assert_eq!(cluster.journal(&mut writer, 4, 2), [synced(5)]);
    assert!(writer.lease_supported());
    cluster.now = 2_000_000;
    let mut second = QuorumWriter::new(config("b"));
    let said = cluster.act(&mut second, |w, now, out| w.recover(now, out));
    let recovered = WriterAction::Recovered {
        epoch: Epoch(2),
        last_segment: Some((TxId(4), TxId(5))),
    };
    assert_eq!(said, [recovered]);
    assert_eq!(second.committed(), Some(TxId(5)));
    let said = cluster.journal(&mut writer, 6, 1);
    assert!(matches!(said[..], [WriterAction::Fenced { .. }]), "{said:?}");
    assert!(writer.is_dead());
    assert!(cluster.journal(&mut writer, 7, 1).is_empty());
}

#[test]
fn a_higher_promise_that_is_heard_of_late_keeps_nobody_out() {
    let mut cluster = Cluster::new();
    let attempt = Request::NewEpoch {
        ns_info: ns_info(),
        epoch: Epoch(18),
        lease: None,
        established: false,
    };
    cluster.deliver(2, &attempt).unwrap();
    // The first two have answered when the third does.
    let mut writer = cluster.writing("a", 1);
    assert_eq!(writer.epoch(), Epoch(19));
    assert_eq!(cluster.journal(&mut writer, 1, 1), [synced(1)]);
    assert_eq!(cluster.written(), [1, 1, 1]);
}

#[test]
fn one_dead_journalnode_costs_nothing_and_two_stop_all() {
    let mut cluster = Cluster::new();
    cluster.down[2] = true;
    let mut writer = cluster.writing("a", 1);
    assert_eq!(cluster.journal(&mut writer, 1, 1), [synced(1)]);
    cluster.silent[1] = true;
    assert!(cluster.journal(&mut writer, 2, 1).is_empty());
    let behind: Vec<u64> = writer.lags(0).iter().map(|lag| lag.txns).collect();
    assert_eq!(behind, [0, 0, 1], "only what is committed can be missed");
    assert!(writer.unsynced_bytes() > 0);
    assert_eq!(cluster.release(&mut writer, 1), [synced(2)]);
    cluster.silent[1] = true;
    assert!(cluster.journal(&mut writer, 3, 1).is_empty());
    cluster.now += 19_000_000;
    assert!(cluster.act(&mut writer, |w, now, out| w.tick(now, out)).is_empty());
    cluster.now += 1_100_000;
    let said = cluster.act(&mut writer, |w, now, out| w.tick(now, out));
    assert!(matches!(said[..], [WriterAction::LostQuorum { .. }]), "{said:?}");
}

#[test]
fn a_returned_journalnode_is_caught_up_at_once() {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    cluster.journal(&mut writer, 1, 1);
    cluster.down[0] = true;
    for first in 2..10 {
        assert_eq!(cluster.journal(&mut writer, first, 1), [synced(first)]);
    }
    assert_eq!(cluster.written(), [1, 9, 9]);
    cluster.down[0] = false;
    cluster.now += 1_000_000;
    cluster.act(&mut writer, |w, now, out| w.tick(now, out));
    assert_eq!(cluster.written(), [9, 9, 9]);
    cluster.down[1] = true;
    assert_eq!(cluster.journal(&mut writer, 10, 1), [synced(10)]);
}

#[test]
fn what_no_buffer_has_any_more_waits_for_the_next_segment() {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    writer.recent = RecentEdits::new(100);
    cluster.journal(&mut writer, 1, 1);
    cluster.down[0] = true;
    for first in 2..10 {
        cluster.journal(&mut writer, first, 1);
    }
    cluster.down[0] = false;
    cluster.now += 1_000_000;
    cluster.act(&mut writer, |w, now, out| w.tick(now, out));
    assert_eq!(cluster.written(), [1, 9, 9]);
    cluster.act(&mut writer, |w, now, out| w.finalize_segment(now, out));
    cluster.act(&mut writer, |w, now, out| w.start_segment(TxId(10), now, out));
    assert_eq!(cluster.journal(&mut writer, 10, 1), [synced(10)]);
    assert_eq!(cluster.written(), [10, 10, 10]);
}

#[test]
fn a_java_journalnode_gets_one_call_at_a_time_and_what_waits_merges() {
    let mut cluster = Cluster::new();
    cluster.java[0] = true;
    let mut writer = cluster.writing("a", 1);
    cluster.silent[0] = true;
    cluster.silent[1] = true;
    for first in 1..7 {
        cluster.journal(&mut writer, first, 1);
    }
    let held = |cluster: &Cluster, jn| cluster.held.iter().filter(|(to, ..)| *to == jn).count();
    assert_eq!((held(&cluster, 0), held(&cluster, 1)), (1, 4));
    let said = cluster.release(&mut writer, 0);
    assert_eq!(said, [synced(1), synced(6)]);
    assert_eq!(cluster.jns[0].counters().batches_written, 2);
}

#[test]
fn a_segment_is_finalized_only_when_all_of_it_is_on_a_majority() {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    cluster.silent[1] = true;
    cluster.silent[2] = true;
    cluster.journal(&mut writer, 1, 2);
    cluster.act(&mut writer, |w, now, out| w.finalize_segment(now, out));
    let manifest = Request::GetEditLogManifest {
        since: TxId(1),
        in_progress_ok: false,
        from_journal: false,
    };
    let Ok(Answer::Manifest(segments)) = cluster.deliver(0, &manifest) else {
        panic!("no manifest");
    };
    assert_eq!(segments.segments, []);
    let said = cluster.release(&mut writer, 1);
    assert!(matches!(
        said[..],
        [WriterAction::Synced { .. }, WriterAction::SegmentFinalized { .. }]
    ));
}

#[test]
fn an_election_lost_to_a_lease_gives_back_what_it_got() {
    let mut cluster = Cluster::new();
    // One JournalNode does not know of the holder.
    cluster.down[2] = true;
    let writer = cluster.writing("a", 1);
    assert!(writer.lease_until() > 0);
    cluster.down[2] = false;
    let mut other = QuorumWriter::new(config("b"));
    let said = cluster.act(&mut other, |w, now, out| w.recover(now, out));
    assert!(
        matches!(said[..], [WriterAction::LeaseHeld { retry_at: 1_000_000 }]),
        "{said:?}"
    );
    assert_eq!(cluster.jns[2].lease_state(0).unwrap().remaining_ms, 0);
}

#[test]
fn an_idle_journalnode_hears_of_a_commit_soon_and_leases_are_renewed() {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    cluster.journal(&mut writer, 1, 1);
    assert_eq!(cluster.jns[0].gauges().committed, None);
    let at = writer.wake_at().unwrap();
    assert!(at <= 5_000, "{at}");
    cluster.now = at;
    cluster.act(&mut writer, |w, now, out| w.tick(now, out));
    assert_eq!(cluster.jns[0].gauges().committed, Some(TxId(1)));
    assert_eq!(writer.lease_until(), at + 990_000);
    let next = writer.wake_at().unwrap();
    assert!((200_000..=260_000).contains(&next), "{next}");
    cluster.now = next;
    cluster.act(&mut writer, |w, now, out| w.tick(now, out));
    assert_eq!(writer.lease_until(), next + 990_000);
}

#[test]
fn safety_08_who_does_not_serve_lets_the_lease_run_out_and_writes_on() {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    cluster.journal(&mut writer, 1, 1);
    let held_until = writer.lease_until();
    writer.renew_lease(false);
    while cluster.now < held_until {
        cluster.now = writer.wake_at().unwrap().min(held_until);
        cluster.act(&mut writer, |w, now, out| w.tick(now, out));
    }
    assert_eq!(writer.lease_until(), held_until);
    assert!(
        writer.lease_supported(),
        "not to be taken for JournalNodes without leases"
    );
    assert_eq!(writer.may_read_until(), held_until);
    assert_eq!(cluster.journal(&mut writer, 2, 1), [synced(2)]);
    assert_eq!(writer.may_read_until(), held_until);
    // It serves again, before anybody else was elected.
    writer.renew_lease(true);
    cluster.journal(&mut writer, 3, 1);
    assert_eq!(writer.lease_until(), cluster.now + 990_000);
    // Not again, and now another one comes.
    writer.renew_lease(false);
    cluster.now += 1_000_000;
    let mut second = QuorumWriter::new(config("b"));
    let said = cluster.act(&mut second, |w, now, out| w.recover(now, out));
    assert!(matches!(said[..], [WriterAction::Recovered { .. }]), "{said:?}");
    let said = cluster.journal(&mut writer, 4, 1);
    assert!(matches!(said[..], [WriterAction::Fenced { .. }]), "{said:?}");
}

#[test]
fn java_journalnodes_give_no_leases() {
    let mut cluster = Cluster::new();
    cluster.java = vec![true; 6];
    let mut writer = cluster.writing("a", 1);
    assert_eq!(cluster.journal(&mut writer, 1, 2), [synced(2)]);
    assert!(!writer.lease_supported());
    assert_eq!(writer.lease_until(), 0);
}

#[test]
fn journalnodes_may_become_javas_and_ours_again_while_we_write() {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    assert_eq!(writer.may_read_until(), writer.lease_until());
    for (java, next) in [(true, 1), (false, 11)] {
        cluster.java = vec![java; 6];
        assert_eq!(cluster.journal(&mut writer, next, 2), [synced(next + 1)]);
        assert_eq!(writer.lease_supported(), !java);
        let until = if java { Micros::MAX } else { writer.lease_until() };
        assert_eq!(writer.may_read_until(), until);
        // Nobody waits for leases that nobody gives, long after the last one.
        cluster.now += 10_000_000;
        assert_eq!(cluster.journal(&mut writer, next + 2, 8), [synced(next + 9)]);
        let reads = writer.may_read_until();
        assert!(reads > cluster.now, "{reads}");
    }
}

#[test]
fn a_url_names_the_configured_host() {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    cluster.journal(&mut writer, 1, 1);
    cluster.now = 2_000_000;
    let mut second = QuorumWriter::new(config("b"));
    cluster.silent = vec![true; 6];
    cluster.act(&mut second, |w, now, out| w.recover(now, out));
    let mut urls = Vec::new();
    while let Some((jn, call, request)) = cluster.held.pop_front() {
        if let Request::AcceptRecovery { from_url, .. } = &request {
            urls.push(from_url.clone());
        }
        let result = cluster.deliver(jn, &request);
        cluster.act(&mut second, |w, now, out| {
            w.answer(channel_of(w, jn), call, result, now, out)
        });
    }
    let expected = "http://a:8480/getJournal?jid=ns&segmentTxId=1&storageInfo=-67%3A5%3A0%3ACID&inProgressOk=true";
    assert_eq!(urls, [expected; 3]);
}

#[test]
fn one_where_the_lease_of_the_last_writer_still_runs_takes_the_segment_later() {
    let mut cluster = Cluster::new();
    let mut first = cluster.writing("a", 1);
    cluster.journal(&mut first, 1, 1);
    // c does not hear that it is given back.
    for jn in 0..2 {
        cluster
            .deliver(
                jn,
                &Request::ReleaseLease {
                    holder: "a".into(),
                    proof: proof("a"),
                    up_to: None,
                },
            )
            .unwrap();
    }
    let mut second = QuorumWriter::new(config("b"));
    let said = cluster.act(&mut second, |w, now, out| w.recover(now, out));
    assert!(matches!(said[..], [WriterAction::Recovered { .. }]), "{said:?}");
    cluster.act(&mut second, |w, now, out| w.start_segment(TxId(2), now, out));
    cluster.journal(&mut second, 2, 1);
    assert_eq!(cluster.written(), [2, 2, 1]);
    for _ in 0..100 {
        cluster.now += 20_000;
        cluster.act(&mut second, |w, now, out| w.tick(now, out));
    }
    assert_eq!(cluster.written(), [2, 2, 2]);
}

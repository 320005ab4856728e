//! A driver against three JournalNodes in the same thread. Their answers come when a test lets them.

use super::*;
use hathi_formats::editlog::EditOp;
use hathi_formats::ids::NamespaceInfo;
use hathi_journal::{Acceptor, AcceptorOptions, Handled};
use hathi_namesystem::edit_log::EditLog;
use hathi_storage::SimDisk;
use std::collections::VecDeque;
use std::path::PathBuf;

struct World {
    journalnodes: Vec<Acceptor<SimDisk>>,
    driver: QuorumLog<&'static str>,
    log: EditLog,
    on_their_way: VecDeque<(JournalCall, Request)>,
    /// What the driver wanted but sending, since a test looked last.
    done: Vec<LogAction<&'static str>>,
    now: Micros,
}

fn info() -> NamespaceInfo {
    NamespaceInfo {
        layout_version: LayoutVersion::NAMENODE_CURRENT,
        namespace_id: 5,
        cluster_id: "CID".to_owned(),
        ctime: 0,
        block_pool_id: "BP".to_owned(),
    }
}

fn journal() -> JournalToRecover {
    JournalToRecover {
        info: info(),
        members: ["a:1", "b:1", "c:1"].map(str::to_owned).to_vec(),
        membership: None,
    }
}

fn op(path: &str) -> EditOp {
    EditOp::SetReplication {
        path: path.to_owned(),
        replication: 2,
    }
}

impl World {
    fn new() -> World {
        let journalnode = |_| {
            let mut options = AcceptorOptions::new("ns");
            options.preallocate_bytes = 4096;
            let mut journalnode = Acceptor::open(SimDisk::new(), PathBuf::from("/ns"), options, 0).expect("it opens");
            let format = Request::Format {
                ns_info: info(),
                force: false,
            };
            assert!(matches!(journalnode.handle(&format, 0), Handled::Now(Ok(_))));
            journalnode
        };
        World {
            journalnodes: (0..3).map(journalnode).collect(),
            driver: QuorumLog::new(QuorumLogConfig {
                holder: "nn1@1".into(),
                proof: LeaseProof(1),
                lease_ms: 1000,
                journal_id: "ns".to_owned(),
                timeouts: WriterTimeouts::default(),
                recent_limit_bytes: 1 << 20,
                mutation: Mutation::default(),
            }),
            log: EditLog::new(Life::first(), TxId(0)),
            on_their_way: VecDeque::new(),
            done: Vec::new(),
            // Leases of JournalNodes that have just started have run out.
            now: 60_000_000,
        }
    }

    fn drive(&mut self, act: impl FnOnce(&mut QuorumLog<&'static str>, Micros, &mut Vec<LogAction<&'static str>>)) {
        let mut out = Vec::new();
        act(&mut self.driver, self.now, &mut out);
        for action in out {
            match action {
                LogAction::Send { call, request, .. } => self.on_their_way.push_back((call, request)),
                other => self.done.push(other),
            }
        }
    }

    /// What is on its way arrives, and so do the answers, until nothing more is sent.
    fn settle(&mut self) {
        while let Some((call, request)) = self.on_their_way.pop_front() {
            let journalnode = &mut self.journalnodes[call.journalnode];
            let answer = match journalnode.handle(&request, self.now) {
                Handled::Now(answer) => answer,
                Handled::AfterSync(answer) => journalnode.sync().map(|()| answer),
                _ => continue,
            };
            let answer = answer.map_err(|error| CallError::Remote(error.into()));
            self.drive(|driver, now, out| driver.answer(call, answer, now, out));
        }
    }

    fn ship(&mut self) {
        let mut out = Vec::new();
        self.driver.take(&mut self.log, self.now, &mut out);
        self.done.extend(out);
        self.drive(|driver, now, out| driver.hand_over(now, out));
    }

    /// The driver becomes the writer, and opens the log behind what was recovered.
    fn become_writer(&mut self) {
        self.drive(|driver, now, out| driver.recover(journal(), now, out));
        self.settle();
        assert!(
            self.take_done()
                .iter()
                .any(|action| matches!(action, LogAction::Recovered(_))),
            "the journal is recovered"
        );
        self.log.begin_life();
        self.log.open_for_write(0);
        self.driver.ship(self.log.life().clone());
    }

    fn log_op(&mut self, path: &str) -> TxId {
        self.log.stage(&[op(path)]).expect("it is short");
        self.log.log_staged()
    }

    fn take_done(&mut self) -> Vec<LogAction<&'static str>> {
        std::mem::take(&mut self.done)
    }

    /// Those who were told that what they waited for has come.
    fn reached(&mut self) -> Vec<&'static str> {
        let reached = |action| match action {
            LogAction::Reached(who) => Some(who),
            _ => None,
        };
        self.take_done().into_iter().filter_map(reached).collect()
    }
}

#[test]
fn an_edit_is_synced_when_a_quorum_has_it_and_whoever_waits_is_told() {
    let mut world = World::new();
    world.become_writer();
    let txid = world.log_op("/a");
    world.drive(|driver, _, out| driver.await_synced(txid, "client", out));
    world.ship();
    assert_eq!(world.reached(), [""; 0], "no quorum has it yet");
    world.settle();
    assert_eq!(world.log.synced(), txid);
    let done = world.take_done();
    assert!(done.contains(&LogAction::Reached("client")), "{done:?}");
    let synced = done.iter().find_map(|action| match action {
        LogAction::Synced(synced) => Some(synced.clone()),
        _ => None,
    });
    // The op that begins the segment is one of them.
    assert_eq!(
        synced.map(|synced| (synced.transactions, synced.batches)),
        Some((2, vec![0]))
    );
    world.drive(|driver, _, out| driver.await_synced(txid, "late", out));
    assert_eq!(world.reached(), ["late"], "it is synced already");
}

#[test]
fn nothing_is_sent_behind_a_segment_that_is_not_final() {
    let mut world = World::new();
    world.become_writer();
    world.ship();
    world.settle();
    let next = world.log.roll(0).expect("it is open");
    let end = TxId(next.0 - 1);
    world.drive(|driver, _, out| driver.await_finalized(end, "checkpoint", out));
    world.ship();
    let sent =
        |world: &World, wanted: fn(&Request) -> bool| world.on_their_way.iter().any(|(_, request)| wanted(request));
    let starts = |request: &Request| matches!(request, Request::StartLogSegment { .. });
    assert!(!sent(&world, starts), "the last segment is not final");
    world.settle();
    assert_eq!(world.reached(), ["checkpoint"]);
    world.ship();
    assert!(sent(&world, starts));
    world.settle();
    assert_eq!(world.log.synced(), next);
    // Nobody waits in vain for a NameNode that is not the writer any more.
    world.drive(|driver, _, out| driver.resign(out));
    world.drive(|driver, _, out| driver.await_finalized(end, "too late", out));
    assert_eq!(world.reached(), [""; 0]);
}

#[test]
fn who_is_no_writer_any_more_keeps_nobody_waiting() {
    let mut world = World::new();
    world.become_writer();
    world.log_op("/a");
    let txid = world.log_op("/b");
    world.drive(|driver, _, out| driver.await_synced(txid, "client", out));
    world.ship();
    // Another NameNode becomes the writer before the answers come.
    world.on_their_way.clear();
    world.drive(|driver, _, out| driver.resign(out));
    let done = world.take_done();
    assert!(!done.contains(&LogAction::Reached("client")), "{done:?}");
    assert!(matches!(done.last(), Some(LogAction::ReleaseLease(_))), "{done:?}");
    assert_eq!(world.driver.may_read_until(), 0);
    assert_eq!(world.driver.wake_at(), None);
    assert_ne!(world.log.synced(), txid);
}

/// The writer is lost while the role change is on its way to open the log, so the order to send comes too late.
#[test]
fn a_log_that_is_opened_after_the_writer_was_lost_is_not_waited_for() {
    let mut world = World::new();
    let mut opened = World::new();
    opened.become_writer();
    let life = opened.log.life().clone();
    world.drive(|driver, _, out| driver.resign(out));
    world.driver.ship(life);
    world.drive(|driver, _, out| driver.await_synced(TxId(1), "the change of role", out));
    assert!(!world.driver.may_take(), "nothing is sent");
    assert!(world.driver.shipping.drops_whoever_waits(), "it would wait for ever");
}

/// Each writer numbers its calls anew, so an answer to an earlier one names a call of this one as well.
#[test]
fn an_answer_to_an_earlier_writer_changes_nothing() {
    let mut world = World::new();
    world.drive(|driver, now, out| driver.recover(journal(), now, out));
    let late = std::mem::take(&mut world.on_their_way);
    world.drive(|driver, now, out| driver.recover(journal(), now, out));
    assert!(!late.is_empty());
    for (call, _) in late {
        let lost = Err(CallError::Broken("the connection is lost".to_owned()));
        world.drive(|driver, now, out| driver.answer(call, lost, now, out));
    }
    world.settle();
    let done = world.take_done();
    assert!(matches!(done.last(), Some(LogAction::Recovered(_))), "{done:?}");
}

#[test]
fn a_lost_quorum_is_told_once_and_ends_the_lease() {
    let mut world = World::new();
    world.become_writer();
    world.ship();
    world.settle();
    assert!(world.driver.may_read_until() > world.now);
    world.take_done();
    world.log_op("/a");
    world.ship();
    world.on_their_way.clear();
    let mut lost = 0;
    while let Some(at) = world.driver.wake_at() {
        world.now = world.now.max(at) + 1;
        world.drive(|driver, now, out| driver.tick(now, out));
        world.on_their_way.clear();
        let news = world.take_done().into_iter();
        lost += news
            .filter(|action| matches!(action, LogAction::Lost(LogError::Lost(_))))
            .count();
    }
    assert_eq!((lost, world.driver.may_read_until()), (1, 0));
}

struct BrokenLog;

impl OpenLog for BrokenLog {
    fn edit_log(&mut self) -> Option<&mut EditLog> {
        None
    }
}

#[test]
fn safety_n3_an_edit_that_fails_to_apply_ends_the_active() {
    let mut world = World::new();
    world.become_writer();
    world.drive(|driver, now, out| driver.take(&mut BrokenLog, now, out));
    let done = world.take_done();
    assert_eq!(done.last(), Some(&LogAction::Lost(LogError::Broken)));
    assert!(!world.driver.may_take());
}

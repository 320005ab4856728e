//! A driver against three JournalNodes in the same thread. Their answers come when a test lets them.

mod cluster;
mod scripts;

use super::*;
use cluster::{Cluster, journal};
use hathi_namesystem::edit_log::EditLog;
use std::collections::VecDeque;

/// One NameNode, which the tests call by its index.
const NN: usize = 0;

fn cluster() -> Cluster {
    Cluster::new(1)
}

/// The driver becomes the writer, and opens the log behind what was recovered.
fn become_writer(cluster: &mut Cluster) {
    cluster.drive(NN, |driver, now, out| driver.recover(journal(), now, out));
    cluster.settle();
    let done = cluster.take_done(NN);
    assert!(
        done.iter().any(|action| matches!(action, LogAction::Recovered(_))),
        "the journal is recovered"
    );
    cluster.open_log(NN, TxId(0));
}

/// Those who were told that what they waited for has come.
fn reached(cluster: &mut Cluster) -> Vec<&'static str> {
    let reached = |action| match action {
        LogAction::Reached(who) => Some(who),
        _ => None,
    };
    cluster.take_done(NN).into_iter().filter_map(reached).collect()
}

#[test]
fn an_edit_is_synced_when_a_quorum_has_it_and_whoever_waits_is_told() {
    let mut world = cluster();
    become_writer(&mut world);
    let txid = world.log_op(NN);
    world.drive(NN, |driver, _, out| driver.await_synced(txid, "client", out));
    world.ship(NN);
    assert_eq!(reached(&mut world), [""; 0], "no quorum has it yet");
    world.settle();
    assert_eq!(world.namenodes[NN].log.synced(), txid);
    let done = world.take_done(NN);
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
    world.drive(NN, |driver, _, out| driver.await_synced(txid, "late", out));
    assert_eq!(reached(&mut world), ["late"], "it is synced already");
}

#[test]
fn nothing_is_sent_behind_a_segment_that_is_not_final() {
    let mut world = cluster();
    become_writer(&mut world);
    world.ship(NN);
    world.settle();
    let next = world.namenodes[NN].log.roll(0).expect("it is open");
    let end = TxId(next.0 - 1);
    world.drive(NN, |driver, _, out| driver.await_finalized(end, "checkpoint", out));
    world.ship(NN);
    let sent =
        |world: &Cluster, wanted: fn(&Request) -> bool| world.on_their_way.iter().any(|(.., request)| wanted(request));
    let starts = |request: &Request| matches!(request, Request::StartLogSegment { .. });
    assert!(!sent(&world, starts), "the last segment is not final");
    world.settle();
    assert_eq!(reached(&mut world), ["checkpoint"]);
    world.ship(NN);
    assert!(sent(&world, starts));
    world.settle();
    assert_eq!(world.namenodes[NN].log.synced(), next);
    // Nobody waits in vain for a NameNode that is not the writer any more.
    world.drive(NN, |driver, _, out| driver.resign(out));
    world.drive(NN, |driver, _, out| driver.await_finalized(end, "too late", out));
    assert_eq!(reached(&mut world), [""; 0]);
}

#[test]
fn who_is_no_writer_any_more_keeps_nobody_waiting() {
    let mut world = cluster();
    become_writer(&mut world);
    world.log_op(NN);
    let txid = world.log_op(NN);
    world.drive(NN, |driver, _, out| driver.await_synced(txid, "client", out));
    world.ship(NN);
    // Another NameNode becomes the writer before the answers come.
    world.on_their_way.clear();
    world.drive(NN, |driver, _, out| driver.resign(out));
    let done = world.take_done(NN);
    assert!(!done.contains(&LogAction::Reached("client")), "{done:?}");
    assert!(matches!(done.last(), Some(LogAction::ReleaseLease(_))), "{done:?}");
    assert_eq!(world.namenodes[NN].driver.may_read_until(), 0);
    assert_eq!(world.namenodes[NN].driver.wake_at(), None);
    assert_ne!(world.namenodes[NN].log.synced(), txid);
}

/// The writer is lost while the role change is on its way to open the log, so the order to send comes too late.
#[test]
fn a_log_that_is_opened_after_the_writer_was_lost_is_not_waited_for() {
    let mut world = cluster();
    let mut opened = cluster();
    become_writer(&mut opened);
    let life = opened.namenodes[NN].log.life().clone();
    world.drive(NN, |driver, _, out| driver.resign(out));
    world.namenodes[NN].driver.ship(life);
    world.drive(NN, |driver, _, out| {
        driver.await_synced(TxId(1), "the change of role", out)
    });
    assert!(!world.namenodes[NN].driver.may_take(), "nothing is sent");
    assert!(
        world.namenodes[NN].driver.shipping.drops_whoever_waits(),
        "it would wait for ever"
    );
}

/// Each writer numbers its calls anew, so an answer to an earlier one names a call of this one as well.
#[test]
fn an_answer_to_an_earlier_writer_changes_nothing() {
    let mut world = cluster();
    world.drive(NN, |driver, now, out| driver.recover(journal(), now, out));
    let late = std::mem::take(&mut world.on_their_way);
    world.drive(NN, |driver, now, out| driver.recover(journal(), now, out));
    assert!(!late.is_empty());
    for (_, call, _) in late {
        let lost = Err(CallError::Broken("the connection is lost".to_owned()));
        world.drive(NN, |driver, now, out| driver.answer(call, lost, now, out));
    }
    world.settle();
    let done = world.take_done(NN);
    assert!(matches!(done.last(), Some(LogAction::Recovered(_))), "{done:?}");
}

/// The JournalNodes that did not refuse have granted a lease, which would keep the next writer waiting.
#[test]
fn who_is_refused_because_of_a_lease_gives_its_own_leases_back_where_they_were_granted() {
    let mut world = Cluster::new(2);
    world.drive(1, |driver, now, out| driver.recover(journal(), now, out));
    world.settle();
    world.open_log(1, TxId(0));
    world.ship(1);
    world.settle();
    world.drive(NN, |driver, now, out| driver.recover(journal(), now, out));
    let mut released = Vec::new();
    while let Some(delivered) = world.deliver() {
        let of_nn = delivered.namenode == NN && matches!(delivered.request, Request::ReleaseLease { .. });
        released.extend(of_nn.then_some(delivered.journalnode));
    }
    assert_eq!(released, [0, 1, 2]);
    assert!(
        world
            .take_done(NN)
            .contains(&LogAction::NotRecovered(LogError::LeaseHeld))
    );
    assert_eq!(
        world.namenodes[NN].driver.addresses().len(),
        3,
        "the shell knows where they are"
    );
}

#[test]
fn a_lost_quorum_is_told_once_and_ends_the_lease() {
    let mut world = cluster();
    become_writer(&mut world);
    world.ship(NN);
    world.settle();
    assert!(world.namenodes[NN].driver.may_read_until() > world.now);
    world.take_done(NN);
    world.log_op(NN);
    world.ship(NN);
    world.on_their_way.clear();
    let mut lost = 0;
    while let Some(at) = world.namenodes[NN].driver.wake_at() {
        world.now = world.now.max(at) + 1;
        world.drive(NN, |driver, now, out| driver.tick(now, out));
        world.on_their_way.clear();
        let news = world.take_done(NN).into_iter();
        lost += news
            .filter(|action| matches!(action, LogAction::Lost(LogError::Lost(_))))
            .count();
    }
    assert_eq!((lost, world.namenodes[NN].driver.may_read_until()), (1, 0));
}

/// The edit log task of directories has no timer, so an edit must leave without one also when many callers went away.
#[test]
fn without_gathering_a_single_edit_leaves_at_once_after_a_large_batch() {
    let (mut shipping, mut world) = (Shipping::<()>::default(), cluster());
    let log = &mut world.namenodes[NN].log;
    log.open_for_write(0);
    shipping.begin(log.life().clone());
    let mut sync = |count: u64, log: &mut EditLog| {
        for _ in 0..count {
            let op = hathi_formats::editlog::EditOp::SetReplication {
                path: "/a".to_owned(),
                replication: 2,
            };
            log.stage(&[op]).expect("it is short");
            log.log_staged();
        }
        shipping.take(log, 5).expect("it applies");
        while shipping.next(5).is_some() {}
        let applied = log.applied();
        let synced = shipping.on_synced(applied, 900, &mut Vec::new());
        synced.map(|synced| synced.transactions)
    };
    assert_eq!(sync(100, log), Ok(101));
    assert_eq!(sync(1, log), Ok(1), "it waits for callers that do not come");
    assert_eq!(shipping.wake_at(), None);
}

struct BrokenLog;

impl OpenLog for BrokenLog {
    fn open_log(&self) -> Option<&EditLog> {
        None
    }

    fn take_logged(&mut self) -> VecDeque<LogItem> {
        VecDeque::new()
    }
}

#[test]
fn safety_n3_an_edit_that_fails_to_apply_ends_the_active() {
    let mut world = cluster();
    become_writer(&mut world);
    world.drive(NN, |driver, now, out| driver.take(&mut BrokenLog, now, out));
    let done = world.take_done(NN);
    assert_eq!(done.last(), Some(&LogAction::Lost(LogError::Broken)));
    assert!(!world.namenodes[NN].driver.may_take());
}

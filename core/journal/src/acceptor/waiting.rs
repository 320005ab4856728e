//! Hadoop's `newEpoch` while a lease of ours runs. Hadoop's NameNode asks only once, so its call waits here.

use hathi_formats::exceptions;

use super::tests::{Bench, proof};
use super::*;
use crate::errors::is_lease_held;
use crate::messages::LeaseRequest;

/// Length of the lease that runs.
const LEASE_MICROS: Micros = 1_000_000;
/// Length of the longest lease that is granted.
const LONGEST_MICROS: Micros = 2_000_000;

/// A JournalNode on which the holder of a lease writes in epoch 1, at time 0.
fn leased() -> Bench {
    let mut bench = Bench::formatted();
    bench.lease = lease("a");
    bench.write(1, 1, 3);
    bench
}

fn lease(holder: &str) -> Option<LeaseRequest> {
    Some(LeaseRequest {
        ms: 1000,
        holder: holder.into(),
        proof: proof(holder),
    })
}

fn of_hadoop(bench: &Bench, epoch: u64) -> Request {
    let mut request = bench.new_epoch(epoch);
    if let Request::NewEpoch { lease, .. } = &mut request {
        *lease = None;
    }
    request
}

/// Asks for an epoch as Hadoop does. Returns until when the call waits.
fn waits(bench: &mut Bench, epoch: u64) -> Micros {
    let request = of_hadoop(bench, epoch);
    let handled = bench.acceptor.handle(&request, bench.now);
    bench.acceptor.check();
    match handled {
        Handled::Park { until } => until,
        other => panic!("{other:?}"),
    }
}

/// Tries a waiting call again. `None` when it waits on, no longer than before.
fn again(bench: &mut Bench, epoch: u64, until: Micros) -> Option<JournalResult<Answer>> {
    let request = of_hadoop(bench, epoch);
    let handled = bench.acceptor.handle_parked(&request, until, bench.now);
    bench.acceptor.check();
    match handled {
        Handled::Now(answer) => Some(answer),
        Handled::Park { until: next } => {
            assert_eq!(next, until, "it waits for longer than it was to");
            None
        }
        other => panic!("{other:?}"),
    }
}

fn is_refused_for_a_lease(answer: Option<JournalResult<Answer>>) -> bool {
    let error = answer.expect("it waits").expect_err("it is promised");
    is_lease_held(&(&error).into())
}

#[test]
fn it_waits_until_the_lease_has_ended_and_gets_its_promise_then() {
    let mut bench = leased();
    bench.now = 10;
    let until = waits(&mut bench, 2);
    assert_eq!(bench.acceptor.wake_at(), Some(LEASE_MICROS));
    assert!(until >= LEASE_MICROS, "it ends before the lease");
    // The holder relies on its lease to the end.
    bench.now = LEASE_MICROS - 1;
    assert!(again(&mut bench, 2, until).is_none());
    assert_eq!(bench.acceptor.promised_epoch(), Some(Epoch(1)));
    let version = bench.acceptor.version();
    bench.now = LEASE_MICROS;
    bench.acceptor.tick(bench.now);
    assert_ne!(bench.acceptor.version(), version, "it is not tried again");
    assert_eq!(
        again(&mut bench, 2, until).expect("it waits on").unwrap(),
        Answer::NewEpoch {
            last_segment: Some(TxId(1)),
            lease_granted_ms: None,
            membership: None,
        }
    );
    assert_eq!(bench.acceptor.promised_epoch(), Some(Epoch(2)));
    let old = bench.heartbeat(1);
    let error = bench.call(&old).unwrap_err();
    assert!(crate::errors::is_fenced(&(&error).into()), "{error}");
}

#[test]
fn a_lease_that_is_given_back_lets_it_pass_at_once() {
    let mut bench = leased();
    let until = waits(&mut bench, 2);
    let version = bench.acceptor.version();
    let release = Request::ReleaseLease {
        holder: "a".into(),
        proof: proof("a"),
        up_to: None,
    };
    assert_eq!(bench.ok(&release), Answer::Released(true));
    assert_ne!(bench.acceptor.version(), version, "it is not tried again");
    again(&mut bench, 2, until).expect("it waits on").unwrap();
    assert_eq!(bench.acceptor.promised_epoch(), Some(Epoch(2)));
}

#[test]
fn what_a_dead_holder_sent_before_may_be_read_while_it_waits() {
    let mut bench = leased();
    bench.now = 100_000;
    let until = waits(&mut bench, 2);
    bench.now = 200_000;
    let sent_before = bench.journal(1, 1, 4, 1);
    bench.ok(&sent_before);
    // The lease runs on. It is not cut short, and the call is not refused at the end that was known when it came.
    for now in [LEASE_MICROS, LEASE_MICROS + 199_999] {
        bench.now = now;
        assert!(again(&mut bench, 2, until).is_none());
    }
    bench.now = LEASE_MICROS + 200_000;
    again(&mut bench, 2, until).expect("it waits on").unwrap();
}

#[test]
fn a_holder_that_lives_has_it_refused_at_last() {
    let mut bench = leased();
    let until = waits(&mut bench, 2);
    assert_eq!(until, LONGEST_MICROS);
    while bench.now < until {
        assert!(again(&mut bench, 2, until).is_none());
        bench.now += LEASE_MICROS / 2;
        let heartbeat = bench.heartbeat(1);
        bench.ok(&heartbeat);
    }
    assert!(is_refused_for_a_lease(again(&mut bench, 2, until)));
    assert_eq!(bench.acceptor.promised_epoch(), Some(Epoch(1)));
    // It does not stand in the way of a later call either.
    let later = waits(&mut bench, 2);
    assert_eq!(later, until + LONGEST_MICROS);
}

#[test]
fn what_a_restart_has_to_wait_out_it_waits_for_as_well() {
    let mut bench = leased();
    // The file is damaged, so the length of the lease is not known. Ten times the length is waited out.
    let path = Path::new("/ns/current").join(LEASE_EPOCH);
    bench.disk.write_small(&path, b"damaged\n").unwrap();
    bench.restart();
    let until = waits(&mut bench, 2);
    assert_eq!(until, 10 * LEASE_MICROS);
    bench.now = until;
    again(&mut bench, 2, until).expect("it waits on").unwrap();
}

#[test]
fn only_so_many_wait_and_those_whose_time_is_over_make_room() {
    let mut bench = leased();
    let places = MAX_WAITING_EPOCHS as u64;
    let untils: Vec<Micros> = (0..places).map(|epoch| waits(&mut bench, 2 + epoch)).collect();
    let one_more = of_hadoop(&bench, 2 + places);
    assert_eq!(bench.class(&one_more), exceptions::RETRIABLE);
    // A call that is tried again takes no second place.
    for (epoch, until) in (2..).zip(&untils) {
        assert!(again(&mut bench, epoch, *until).is_none());
    }
    assert_eq!(bench.class(&one_more), exceptions::RETRIABLE);
    // Nobody waits any more for the answers of these, and nobody tells the JournalNode so.
    bench.now = LEASE_MICROS / 2;
    let heartbeat = bench.heartbeat(1);
    bench.ok(&heartbeat);
    bench.now = LONGEST_MICROS;
    let heartbeat = bench.heartbeat(1);
    bench.ok(&heartbeat);
    waits(&mut bench, 2);
}

#[test]
fn of_those_that_wait_each_gets_what_it_would_have_got_after_the_lease() {
    let mut bench = leased();
    let until = waits(&mut bench, 2);
    let same = waits(&mut bench, 2);
    let higher = waits(&mut bench, 5);
    bench.now = LEASE_MICROS;
    again(&mut bench, 2, until).expect("it waits on").unwrap();
    let error = again(&mut bench, 2, same).expect("it waits on").unwrap_err();
    assert!(matches!(error, JournalError::EpochTooLow { .. }), "{error}");
    again(&mut bench, 5, higher).expect("it waits on").unwrap();
    assert_eq!(bench.acceptor.promised_epoch(), Some(Epoch(5)));
}

#[test]
fn only_what_a_lease_keeps_out_waits_and_ours_is_told_of_it_at_once() {
    let mut bench = leased();
    let low = of_hadoop(&bench, 1);
    assert_eq!(bench.class(&low), exceptions::IO);
    let mut foreign = of_hadoop(&bench, 2);
    if let Request::NewEpoch { ns_info, .. } = &mut foreign {
        ns_info.cluster_id = "other".to_owned();
    }
    assert_eq!(bench.class(&foreign), exceptions::IO);
    bench.lease = lease("b");
    let ours = bench.new_epoch(2);
    assert_eq!(bench.class(&ours), exceptions::RETRIABLE);
    // A majority may have promised the epoch to a writer in office, and that writer asks again by itself.
    let mut established = of_hadoop(&bench, 2);
    if let Request::NewEpoch { established, .. } = &mut established {
        *established = true;
    }
    assert_eq!(bench.class(&established), exceptions::RETRIABLE);
    assert_eq!(bench.acceptor.promised_epoch(), Some(Epoch(1)));
}

//! Hadoop's `newEpoch` while a lease of ours runs. Hadoop's NameNode asks only once, so its call waits here.

use hathi_formats::exceptions;

use super::tests::{Fixture, proof};
use super::*;
use crate::errors::is_lease_held;
use crate::messages::LeaseRequest;

/// Length of the lease that runs.
const LEASE_MICROS: Micros = 1_000_000;
/// Length of the longest lease that is granted.
const LONGEST_MICROS: Micros = 2_000_000;

/// A JournalNode on which the holder of a lease writes in epoch 1, at time 0.
fn leased() -> Fixture {
    let mut fixture = Fixture::formatted();
    fixture.lease = lease("a");
    fixture.write(1, 1, 3);
    fixture
}

fn lease(holder: &str) -> Option<LeaseRequest> {
    Some(LeaseRequest {
        ms: 1000,
        holder: holder.into(),
        proof: proof(holder),
    })
}

fn of_hadoop(fixture: &Fixture, epoch: u64) -> Request {
    let mut request = fixture.new_epoch(epoch);
    if let Request::NewEpoch { lease, .. } = &mut request {
        *lease = None;
    }
    request
}

/// Asks for an epoch as Hadoop does. Returns until when the call waits.
fn waits(fixture: &mut Fixture, epoch: u64) -> Micros {
    let request = of_hadoop(fixture, epoch);
    let handled = fixture.acceptor.handle(&request, fixture.now);
    fixture.acceptor.check();
    match handled {
        Handled::Park { until } => until,
        other => panic!("{other:?}"),
    }
}

/// Tries a waiting call again. `None` when it waits on, no longer than before.
fn again(fixture: &mut Fixture, epoch: u64, until: Micros) -> Option<JournalResult<Answer>> {
    let request = of_hadoop(fixture, epoch);
    let handled = fixture.acceptor.handle_parked(&request, until, fixture.now);
    fixture.acceptor.check();
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
    let mut fixture = leased();
    fixture.now = 10;
    let until = waits(&mut fixture, 2);
    assert_eq!(fixture.acceptor.wake_at(), Some(LEASE_MICROS));
    assert!(until >= LEASE_MICROS, "it ends before the lease");
    // The holder relies on its lease to the end.
    fixture.now = LEASE_MICROS - 1;
    assert!(again(&mut fixture, 2, until).is_none());
    assert_eq!(fixture.acceptor.promised_epoch(), Some(Epoch(1)));
    let version = fixture.acceptor.version();
    fixture.now = LEASE_MICROS;
    fixture.acceptor.tick(fixture.now);
    assert_ne!(fixture.acceptor.version(), version, "it is not tried again");
    assert_eq!(
        again(&mut fixture, 2, until).expect("it waits on").unwrap(),
        Answer::NewEpoch {
            last_segment: Some(TxId(1)),
            lease_granted_ms: None,
            membership: None,
        }
    );
    assert_eq!(fixture.acceptor.promised_epoch(), Some(Epoch(2)));
    let old = fixture.heartbeat(1);
    let error = fixture.call(&old).unwrap_err();
    assert!(crate::errors::is_fenced(&(&error).into()), "{error}");
}

#[test]
fn a_lease_that_is_given_back_lets_it_pass_at_once() {
    let mut fixture = leased();
    let until = waits(&mut fixture, 2);
    let version = fixture.acceptor.version();
    let release = Request::ReleaseLease {
        holder: "a".into(),
        proof: proof("a"),
        up_to: None,
    };
    assert_eq!(fixture.ok(&release), Answer::Released(true));
    assert_ne!(fixture.acceptor.version(), version, "it is not tried again");
    again(&mut fixture, 2, until).expect("it waits on").unwrap();
    assert_eq!(fixture.acceptor.promised_epoch(), Some(Epoch(2)));
}

#[test]
fn what_a_dead_holder_sent_before_may_be_read_while_it_waits() {
    let mut fixture = leased();
    fixture.now = 100_000;
    let until = waits(&mut fixture, 2);
    fixture.now = 200_000;
    let sent_before = fixture.journal(1, 1, 4, 1);
    fixture.ok(&sent_before);
    // The lease runs on. It is not cut short, and the call is not refused at the end that was known when it came.
    for now in [LEASE_MICROS, LEASE_MICROS + 199_999] {
        fixture.now = now;
        assert!(again(&mut fixture, 2, until).is_none());
    }
    fixture.now = LEASE_MICROS + 200_000;
    again(&mut fixture, 2, until).expect("it waits on").unwrap();
}

#[test]
fn a_holder_that_lives_has_it_refused_at_last() {
    let mut fixture = leased();
    let until = waits(&mut fixture, 2);
    assert_eq!(until, LONGEST_MICROS);
    while fixture.now < until {
        assert!(again(&mut fixture, 2, until).is_none());
        fixture.now += LEASE_MICROS / 2;
        let heartbeat = fixture.heartbeat(1);
        fixture.ok(&heartbeat);
    }
    assert!(is_refused_for_a_lease(again(&mut fixture, 2, until)));
    assert_eq!(fixture.acceptor.promised_epoch(), Some(Epoch(1)));
    // It does not stand in the way of a later call either.
    let later = waits(&mut fixture, 2);
    assert_eq!(later, until + LONGEST_MICROS);
}

#[test]
fn what_a_restart_has_to_wait_out_it_waits_for_as_well() {
    let mut fixture = leased();
    // The file is damaged, so the length of the lease is not known. Ten times the length is waited out.
    let path = Path::new("/ns/current").join(LEASE_EPOCH);
    fixture.disk.write_small(&path, b"damaged\n").unwrap();
    fixture.restart();
    let until = waits(&mut fixture, 2);
    assert_eq!(until, 10 * LEASE_MICROS);
    fixture.now = until;
    again(&mut fixture, 2, until).expect("it waits on").unwrap();
}

#[test]
fn only_so_many_wait_and_those_whose_time_is_over_make_room() {
    let mut fixture = leased();
    let places = MAX_WAITING_EPOCHS as u64;
    let untils: Vec<Micros> = (0..places).map(|epoch| waits(&mut fixture, 2 + epoch)).collect();
    let one_more = of_hadoop(&fixture, 2 + places);
    assert_eq!(fixture.class(&one_more), exceptions::RETRIABLE);
    // A call that is tried again takes no second place.
    for (epoch, until) in (2..).zip(&untils) {
        assert!(again(&mut fixture, epoch, *until).is_none());
    }
    assert_eq!(fixture.class(&one_more), exceptions::RETRIABLE);
    // Nobody waits any more for the answers of these, and nobody tells the JournalNode so.
    fixture.now = LEASE_MICROS / 2;
    let heartbeat = fixture.heartbeat(1);
    fixture.ok(&heartbeat);
    fixture.now = LONGEST_MICROS;
    let heartbeat = fixture.heartbeat(1);
    fixture.ok(&heartbeat);
    waits(&mut fixture, 2);
}

#[test]
fn of_those_that_wait_each_gets_what_it_would_have_got_after_the_lease() {
    let mut fixture = leased();
    let until = waits(&mut fixture, 2);
    let same = waits(&mut fixture, 2);
    let higher = waits(&mut fixture, 5);
    fixture.now = LEASE_MICROS;
    again(&mut fixture, 2, until).expect("it waits on").unwrap();
    let error = again(&mut fixture, 2, same).expect("it waits on").unwrap_err();
    assert!(matches!(error, JournalError::EpochTooLow { .. }), "{error}");
    again(&mut fixture, 5, higher).expect("it waits on").unwrap();
    assert_eq!(fixture.acceptor.promised_epoch(), Some(Epoch(5)));
}

#[test]
fn only_what_a_lease_keeps_out_waits_and_ours_is_told_of_it_at_once() {
    let mut fixture = leased();
    let low = of_hadoop(&fixture, 1);
    assert_eq!(fixture.class(&low), exceptions::IO);
    let mut foreign = of_hadoop(&fixture, 2);
    if let Request::NewEpoch { ns_info, .. } = &mut foreign {
        ns_info.cluster_id = "other".to_owned();
    }
    assert_eq!(fixture.class(&foreign), exceptions::IO);
    fixture.lease = lease("b");
    let ours = fixture.new_epoch(2);
    assert_eq!(fixture.class(&ours), exceptions::RETRIABLE);
    // A majority may have promised the epoch to a writer in office, and that writer asks again by itself.
    let mut established = of_hadoop(&fixture, 2);
    if let Request::NewEpoch { established, .. } = &mut established {
        *established = true;
    }
    assert_eq!(fixture.class(&established), exceptions::RETRIABLE);
    assert_eq!(fixture.acceptor.promised_epoch(), Some(Epoch(1)));
}

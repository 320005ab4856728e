//! The lease of a writer that is promised a higher epoch while in office. It relies on the lease that it was granted
//! before.

use super::tests::{Fixture, proof};
use super::*;
use crate::errors::is_lease_held;
use crate::lease::LeaseMarker;
use crate::messages::LeaseRequest;

fn lease(holder: &str, ms: u32) -> Option<LeaseRequest> {
    Some(LeaseRequest {
        ms,
        holder: holder.into(),
        proof: proof(holder),
    })
}

/// Another caller that asks for this epoch has to wait.
fn keeps_others_out(fixture: &mut Fixture, epoch: u64) {
    let holder = std::mem::replace(&mut fixture.lease, lease("b", 1000));
    let other = fixture.new_epoch(epoch);
    let error = fixture.call(&other).expect_err("the lease runs");
    assert!(is_lease_held(&(&error).into()), "{error}");
    fixture.lease = holder;
}

#[test]
fn it_runs_on_when_less_or_nothing_is_asked_for_with_the_higher_epoch() {
    let mut fixture = Fixture::formatted();
    fixture.lease = lease("a", 1000);
    fixture.write(1, 1, 1);
    fixture.lease = lease("a", 0);
    fixture.now = 999_000;
    let higher = fixture.new_epoch(5);
    fixture.ok(&higher);
    keeps_others_out(&mut fixture, 6);
    fixture.restart();
    keeps_others_out(&mut fixture, 6);
    fixture.now += 1_000_000;
    fixture.lease = lease("b", 1000);
    let other = fixture.new_epoch(6);
    fixture.ok(&other);
}

#[test]
fn it_runs_on_when_the_disk_is_full_after_the_promise() {
    let mut fixture = Fixture::formatted();
    fixture.lease = lease("a", 1000);
    fixture.write(1, 1, 1);
    // The lease is longer than the one granted before. That must be on disk, and the first write fills the disk.
    fixture.lease = lease("a", 1500);
    let higher = fixture.new_epoch(2);
    fixture.disk.set_full(true);
    fixture.call(&higher).expect_err("nothing can be written");
    fixture.disk.set_full(false);
    keeps_others_out(&mut fixture, 3);
    fixture.ok(&higher);
    keeps_others_out(&mut fixture, 3);
}

#[test]
fn it_runs_on_after_a_crash_between_lease_and_promise() {
    let mut fixture = Fixture::formatted();
    fixture.lease = lease("a", 1000);
    fixture.write(1, 1, 1);
    let ahead = LeaseMarker {
        epoch: Epoch(9),
        holder: "a".into(),
        ms: Some(1000),
        proof: proof("a"),
    };
    let path = Path::new("/ns/current").join(LEASE_EPOCH);
    fixture.disk.write_small(&path, ahead.to_text().as_bytes()).unwrap();
    fixture.restart();
    assert_eq!(fixture.acceptor.promised_epoch(), Some(Epoch(1)));
    keeps_others_out(&mut fixture, 2);
    let again = fixture.new_epoch(9);
    fixture.ok(&again);
    keeps_others_out(&mut fixture, 10);
}

#[test]
fn a_marker_of_an_epoch_that_was_never_promised_makes_no_later_writer_one_that_asks_for_leases() {
    let mut fixture = Fixture::formatted();
    fixture.lease = lease("a", 1000);
    fixture.write(1, 1, 1);
    let path = Path::new("/ns/current").join(LEASE_EPOCH);
    let written = fixture.disk.read_small(&path).unwrap().unwrap();
    let mut ahead = LeaseMarker::parse(&String::from_utf8(written.clone()).unwrap(), Epoch(1));
    ahead.epoch = Epoch(9);
    fixture.disk.write_small(&path, ahead.to_text().as_bytes()).unwrap();
    fixture.restart();
    assert_eq!(fixture.disk.read_small(&path).unwrap().unwrap(), written);
}

//! The lease of a writer that is promised a higher epoch while in office. It relies on the lease that it was granted
//! before.

use super::tests::{Bench, proof};
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
fn keeps_others_out(bench: &mut Bench, epoch: u64) {
    let holder = std::mem::replace(&mut bench.lease, lease("b", 1000));
    let other = bench.new_epoch(epoch);
    let error = bench.call(&other).expect_err("the lease runs");
    assert!(is_lease_held(&(&error).into()), "{error}");
    bench.lease = holder;
}

#[test]
fn it_runs_on_when_less_or_nothing_is_asked_for_with_the_higher_epoch() {
    let mut bench = Bench::formatted();
    bench.lease = lease("a", 1000);
    bench.write(1, 1, 1);
    bench.lease = lease("a", 0);
    bench.now = 999_000;
    let higher = bench.new_epoch(5);
    bench.ok(&higher);
    keeps_others_out(&mut bench, 6);
    bench.restart();
    keeps_others_out(&mut bench, 6);
    bench.now += 1_000_000;
    bench.lease = lease("b", 1000);
    let other = bench.new_epoch(6);
    bench.ok(&other);
}

#[test]
fn it_runs_on_when_the_disk_is_full_after_the_promise() {
    let mut bench = Bench::formatted();
    bench.lease = lease("a", 1000);
    bench.write(1, 1, 1);
    // The lease is longer than the one granted before. That must be on disk, and the first write fills the disk.
    bench.lease = lease("a", 1500);
    let higher = bench.new_epoch(2);
    bench.disk.set_full(true);
    bench.call(&higher).expect_err("nothing can be written");
    bench.disk.set_full(false);
    keeps_others_out(&mut bench, 3);
    bench.ok(&higher);
    keeps_others_out(&mut bench, 3);
}

#[test]
fn it_runs_on_after_a_crash_between_lease_and_promise() {
    let mut bench = Bench::formatted();
    bench.lease = lease("a", 1000);
    bench.write(1, 1, 1);
    let ahead = LeaseMarker {
        epoch: Epoch(9),
        holder: "a".into(),
        ms: Some(1000),
        proof: proof("a"),
    };
    let path = Path::new("/ns/current").join(LEASE_EPOCH);
    bench.disk.write_small(&path, ahead.to_text().as_bytes()).unwrap();
    bench.restart();
    assert_eq!(bench.acceptor.promised_epoch(), Some(Epoch(1)));
    keeps_others_out(&mut bench, 2);
    let again = bench.new_epoch(9);
    bench.ok(&again);
    keeps_others_out(&mut bench, 10);
}

#[test]
fn a_marker_of_an_epoch_that_was_never_promised_makes_no_later_writer_one_that_asks_for_leases() {
    let mut bench = Bench::formatted();
    bench.lease = lease("a", 1000);
    bench.write(1, 1, 1);
    let path = Path::new("/ns/current").join(LEASE_EPOCH);
    let written = bench.disk.read_small(&path).unwrap().unwrap();
    let mut ahead = LeaseMarker::parse(&String::from_utf8(written.clone()).unwrap(), Epoch(1));
    ahead.epoch = Epoch(9);
    bench.disk.write_small(&path, ahead.to_text().as_bytes()).unwrap();
    bench.restart();
    assert_eq!(bench.disk.read_small(&path).unwrap().unwrap(), written);
}

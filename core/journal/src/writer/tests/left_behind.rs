//! A JournalNode that has promised itself to a candidate of an election which another one won.

use super::*;

/// `a` is in office in epoch 1, and `c` has promised epoch 2 to `b`, who has given up.
fn duel(java: [bool; 3]) -> (Cluster, QuorumWriter) {
    let mut cluster = Cluster::new();
    cluster.java[..3].copy_from_slice(&java);
    cluster.down[2] = true;
    let writer = cluster.writing("a", 1);
    cluster.down[2] = false;
    candidate(&mut cluster, "b", 2, 2).unwrap();
    (cluster, writer)
}

/// The same without leases, and the segment is final in which the writer wanted another one.
fn duel_without_leases() -> (Cluster, QuorumWriter, TxId) {
    let mut cluster = Cluster::new();
    cluster.down[2] = true;
    let mut writer = QuorumWriter::new(without_leases("a"));
    cluster.act(&mut writer, |w, now, out| w.recover(now, out));
    cluster.act(&mut writer, |w, now, out| w.start_segment(TxId(1), now, out));
    cluster.down[2] = false;
    candidate(&mut cluster, "b", 2, 2).unwrap();
    let next = until_wanted(&mut cluster, &mut writer);
    (cluster, writer, next)
}

fn without_leases(holder: &str) -> WriterConfig {
    WriterConfig {
        lease_ms: 0,
        ..config(holder)
    }
}

/// Writes until the writer wants a new segment, and finalizes the open one. Says where the next one begins.
fn until_wanted(cluster: &mut Cluster, writer: &mut QuorumWriter) -> TxId {
    while writer.wants_new_segment(cluster.now).is_none() {
        cluster.act(writer, |w, now, out| w.tick(now, out));
        let next = writer.next.0;
        cluster.journal(writer, next, 1);
        cluster.now += 50_000;
    }
    cluster.act(writer, |w, now, out| w.finalize_segment(now, out));
    writer.next
}

/// A candidate asks a JournalNode for its promise, and gives back the lease that it gets with it.
fn candidate(cluster: &mut Cluster, holder: &str, epoch: u64, jn: usize) -> Result<Answer, CallError> {
    let java = cluster.java[jn];
    let asked = LeaseRequest {
        ms: 1000,
        holder: holder.into(),
        proof: proof(holder),
    };
    let promised = cluster.deliver(
        jn,
        &Request::NewEpoch {
            ns_info: ns_info(),
            epoch: Epoch(epoch),
            lease: Some(asked).filter(|_| !java),
            established: false,
        },
    );
    if !java {
        let release = Request::ReleaseLease {
            holder: holder.into(),
            proof: proof(holder),
            up_to: None,
        };
        cluster.deliver(jn, &release)?;
    }
    promised
}

/// What a NameNode does for so long: it writes, and rolls when the writer wants it. Says what the writer said.
fn work(cluster: &mut Cluster, writer: &mut QuorumWriter, time: Micros) -> Vec<WriterAction> {
    let mut said = Vec::new();
    let end = cluster.now + time;
    while cluster.now < end && !writer.is_dead() {
        cluster.now += 50_000;
        said.extend(cluster.act(writer, |w, now, out| w.tick(now, out)));
        let next = writer.next.0;
        said.extend(cluster.journal(writer, next, 1));
        if writer.wants_new_segment(cluster.now).is_some() {
            said.extend(cluster.act(writer, |w, now, out| w.finalize_segment(now, out)));
            said.extend(cluster.act(writer, |w, now, out| w.start_segment(TxId(next + 1), now, out)));
        }
        assert_eq!(
            writer.may_read_until() > cluster.now,
            !writer.is_dead(),
            "reads are refused"
        );
        if !writer.is_dead() {
            assert_eq!(writer.committed(), Some(TxId(next)), "an edit waits");
        }
    }
    said
}

fn reelections(said: &[WriterAction]) -> Vec<u64> {
    let epochs = said.iter().filter_map(|said| match said {
        WriterAction::Reelected { epoch } => Some(epoch.0),
        _ => None,
    });
    epochs.collect()
}

#[test]
fn it_takes_part_again_while_nobody_notices() {
    for java in [
        [false; 3],
        [true; 3],
        [false, false, true],
        [false, true, false],
        [true, true, false],
    ] {
        let (mut cluster, mut writer) = duel(java);
        let said = work(&mut cluster, &mut writer, 10_000_000);
        assert_eq!(reelections(&said), [3], "java {java:?}: {said:?}");
        let last = writer.committed().unwrap().0;
        assert_eq!(cluster.written(), [last; 3], "java {java:?}");
        let promises = cluster.jns[..3].iter().map(|jn| jn.promised_epoch());
        assert!(promises.eq([Some(Epoch(3)); 3]), "java {java:?}");
    }
}

#[test]
fn one_that_is_away_or_knows_better_by_now_costs_no_reelection() {
    let (mut cluster, mut writer) = duel([false; 3]);
    cluster.journal(&mut writer, 1, 1);
    cluster.down[2] = true;
    let said = work(&mut cluster, &mut writer, 10_000_000);
    assert_eq!(reelections(&said), [0; 0]);
    // It comes back with an empty directory, which took the promise of its peers.
    let emptied = Cluster::new().jns.swap_remove(0);
    cluster.jns[2] = emptied;
    cluster.down[2] = false;
    let said = work(&mut cluster, &mut writer, 10_000_000);
    assert_eq!(reelections(&said), [0; 0]);
    let last = writer.committed().unwrap().0;
    assert_eq!(cluster.written(), [last; 3]);
}

#[test]
fn a_rival_that_wins_meanwhile_is_given_way_to() {
    // Without leases nothing keeps it out, and that it has won shows only in what it has written.
    let (mut cluster, mut writer, next) = duel_without_leases();
    cluster.silent[1] = true;
    cluster.act(&mut writer, |w, now, out| w.start_segment(next, now, out));
    assert_eq!(writer.epoch(), Epoch(3), "it is being asked for");
    let held = std::mem::take(&mut cluster.held);
    cluster.silent[1] = false;
    cluster.down[0] = true;
    let mut rival = QuorumWriter::new(without_leases("b"));
    let mut lost = Vec::new();
    rival.recover(cluster.now, &mut lost);
    let said = cluster.settle(&mut rival, &mut lost);
    assert!(
        matches!(said[..], [WriterAction::Recovered { epoch: Epoch(3), .. }]),
        "{said:?}"
    );
    cluster.act(&mut rival, |w, now, out| w.start_segment(next, now, out));
    assert_eq!(cluster.journal(&mut rival, next.0, 1), [synced(next.0)]);
    cluster.down[0] = false;
    cluster.held = held;
    let said = cluster.release(&mut writer, 1);
    assert!(matches!(said[..], [WriterAction::Fenced { .. }]), "{said:?}");
    assert_eq!(cluster.journal(&mut rival, next.0 + 1, 1), [synced(next.0 + 1)]);
}

#[test]
fn a_rival_that_has_written_and_lost_again_is_noticed() {
    let (mut cluster, mut writer, next) = duel_without_leases();
    // The rival was promised epoch 2 here as well, recovers, and writes, before we ask.
    candidate(&mut cluster, "b", 2, 1).unwrap();
    let info = |serial| RequestInfo {
        epoch: Epoch(2),
        serial,
        committed: None,
        lease: Some(LeaseRequest {
            ms: 0,
            holder: "b".into(),
            proof: proof("b"),
        }),
    };
    for jn in [1, 2] {
        let start = Request::StartLogSegment {
            info: info(1),
            txid: next,
            layout_version: None,
        };
        let journal = Request::Journal {
            info: info(2),
            segment: next,
            first: next,
            count: 1,
            records: ops(next.0, 1),
        };
        cluster.deliver(jn, &start).unwrap();
        cluster.deliver(jn, &journal).unwrap();
    }
    let said = cluster.act(&mut writer, |w, now, out| w.start_segment(next, now, out));
    assert!(matches!(said[..], [WriterAction::Fenced { .. }]), "{said:?}");
}

#[test]
fn one_that_outbids_every_epoch_gets_few_of_them() {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    cluster.outbids = Some((2, Epoch(1)));
    let said = work(&mut cluster, &mut writer, 3_600_000_000);
    let epochs = reelections(&said);
    assert!((2..=14).contains(&epochs.len()), "{epochs:?} in an hour");
    assert!(!writer.is_dead());
}

#[test]
fn an_absurd_promise_is_followed_by_nobody_and_named() {
    let mut cluster = Cluster::new();
    cluster.down[2] = true;
    let mut writer = cluster.writing("a", 1);
    cluster.down[2] = false;
    for epoch in [1 << 32, 1 << 33] {
        candidate(&mut cluster, "b", epoch, 2).unwrap();
    }
    let said = work(&mut cluster, &mut writer, 20_000_000);
    assert_eq!(reelections(&said), [0; 0]);
    let named = said
        .iter()
        .filter(|said| matches!(said, WriterAction::Distrusted { journalnode: 2, .. }));
    assert_eq!(named.count(), 1);
}

#[test]
fn a_broken_connection_in_the_middle_only_takes_another_epoch() {
    let (mut cluster, mut writer) = duel([false; 3]);
    let next = until_wanted(&mut cluster, &mut writer);
    cluster.down[1] = true;
    cluster.act(&mut writer, |w, now, out| w.start_segment(next, now, out));
    cluster.journal(&mut writer, next.0, 1);
    cluster.now += 200_000;
    cluster.act(&mut writer, |w, now, out| w.tick(now, out));
    cluster.down[1] = false;
    cluster.now += 400_000;
    let said = cluster.act(&mut writer, |w, now, out| w.tick(now, out));
    assert_eq!(reelections(&said), [4], "{said:?}");
    assert!(said.contains(&synced(next.0)), "{said:?}");
    let said = work(&mut cluster, &mut writer, 3_000_000);
    assert_eq!(reelections(&said), [0; 0]);
    assert_eq!(cluster.written(), [writer.committed().unwrap().0; 3]);
}

#[test]
fn who_does_not_serve_or_changes_the_journalnodes_waits_with_it() {
    let (mut cluster, mut writer) = duel([false; 3]);
    writer.renew_lease(false);
    cluster.journal(&mut writer, 1, 1);
    for _ in 0..100 {
        cluster.now += 50_000;
        cluster.act(&mut writer, |w, now, out| w.tick(now, out));
    }
    assert_eq!(writer.wants_new_segment(cluster.now), None);
    writer.renew_lease(true);
    let said = work(&mut cluster, &mut writer, 3_000_000);
    assert_eq!(reelections(&said), [3]);
}

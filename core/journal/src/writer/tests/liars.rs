//! One JournalNode of three says what can't be true, or has missed the election.

use super::*;

/// A cluster with five transactions in an open segment, whose writer is gone.
fn left_open() -> Cluster {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    assert_eq!(cluster.journal(&mut writer, 1, 5), [synced(5)]);
    cluster.now = 2_000_000;
    cluster
}

/// The next writer comes into office and has all five; who was left out on the way.
fn recovers(cluster: &mut Cluster, liar: usize) -> usize {
    let mut second = QuorumWriter::new(config("b"));
    let said = cluster.act(&mut second, |w, now, out| w.recover(now, out));
    let Some(WriterAction::Recovered { last_segment, .. }) = said.last() else {
        panic!("{said:?}");
    };
    assert_eq!(*last_segment, Some((TxId(1), TxId(5))), "{said:?}");
    let distrusted = said.iter().filter_map(|action| match action {
        WriterAction::Distrusted { journalnode, .. } => Some(jn_of(&second, *journalnode)),
        _ => None,
    });
    let distrusted: Vec<usize> = distrusted.collect();
    assert!(distrusted.iter().all(|jn| *jn == liar), "{said:?}");
    distrusted.len()
}

#[test]
fn an_absurd_promise_of_one_is_left_out() {
    for liar in 0..3 {
        let mut cluster = left_open();
        cluster.lies[liar] = Some(|answer| match answer {
            Answer::JournalState {
                http_port, from_url, ..
            } => Answer::JournalState {
                promised_epoch: Epoch(u64::MAX),
                http_port,
                from_url,
                membership: None,
            },
            other => other,
        });
        assert_eq!(recovers(&mut cluster, liar), 1, "{liar}");
    }
}

#[test]
fn a_segment_that_nobody_has_does_not_hide_the_last_one() {
    for liar in 0..3 {
        let mut cluster = left_open();
        cluster.lies[liar] = Some(|answer| match answer {
            Answer::NewEpoch { lease_granted_ms, .. } => Answer::NewEpoch {
                last_segment: Some(TxId(1 << 40)),
                lease_granted_ms,
                membership: None,
            },
            other => other,
        });
        recovers(&mut cluster, liar);
    }
}

#[test]
fn a_commit_that_only_one_knows_of_stops_nobody() {
    for liar in 0..3 {
        let mut cluster = left_open();
        cluster.lies[liar] = Some(|answer| match answer {
            Answer::PrepareRecovery(answer) => Answer::PrepareRecovery(PrepareRecoveryAnswer {
                last_committed: Some(TxId(1 << 40)),
                ..answer
            }),
            other => other,
        });
        recovers(&mut cluster, liar);
    }
}

#[test]
fn a_copy_that_is_longer_than_it_is_said_to_be_is_tried_once() {
    for liar in 0..3 {
        let mut cluster = left_open();
        cluster.lies[liar] = Some(|answer| match answer {
            Answer::PrepareRecovery(mut answer) => {
                if let Some(segment) = &mut answer.segment {
                    segment.end = TxId(90);
                }
                Answer::PrepareRecovery(answer)
            }
            other => other,
        });
        recovers(&mut cluster, liar);
    }
}

#[test]
fn with_two_liars_there_is_no_writer() {
    let mut cluster = left_open();
    let absurd: fn(Answer) -> Answer = |answer| match answer {
        Answer::PrepareRecovery(answer) => Answer::PrepareRecovery(PrepareRecoveryAnswer {
            last_committed: Some(TxId(1 << 40)),
            ..answer
        }),
        other => other,
    };
    cluster.lies[0] = Some(absurd);
    cluster.lies[1] = Some(absurd);
    let mut second = QuorumWriter::new(config("b"));
    let said = cluster.act(&mut second, |w, now, out| w.recover(now, out));
    assert!(matches!(said.last(), Some(WriterAction::LostQuorum { .. })), "{said:?}");
}

#[test]
fn one_that_missed_the_election_is_asked_for_its_promise_and_takes_part_again() {
    let mut cluster = Cluster::new();
    cluster.down[2] = true;
    let mut writer = cluster.writing("a", 1);
    assert_eq!(cluster.journal(&mut writer, 1, 3), [synced(3)]);
    cluster.down[2] = false;
    assert_eq!(cluster.jns[2].promised_epoch(), Some(Epoch(0)));
    for _ in 0..100 {
        cluster.now += 20_000;
        cluster.act(&mut writer, |w, now, out| w.tick(now, out));
    }
    assert_eq!(cluster.jns[2].promised_epoch(), Some(Epoch(1)));
    cluster.act(&mut writer, |w, now, out| w.finalize_segment(now, out));
    cluster.act(&mut writer, |w, now, out| w.start_segment(TxId(4), now, out));
    assert_eq!(cluster.journal(&mut writer, 4, 1), [synced(4)]);
    assert_eq!(cluster.written(), [4, 4, 4]);
}

#[test]
fn one_that_promised_our_epoch_to_a_loser_is_asked_until_his_lease_has_ended_and_not_all_the_time() {
    let mut cluster = Cluster::new();
    cluster.down[2] = true;
    let mut writer = cluster.writing("a", 1);
    assert_eq!(cluster.journal(&mut writer, 1, 3), [synced(3)]);
    cluster.down[2] = false;
    let lost = Request::NewEpoch {
        ns_info: ns_info(),
        epoch: Epoch(1),
        lease: Some(LeaseRequest {
            ms: 2000,
            holder: "b".into(),
            proof: proof("b"),
        }),
        established: false,
    };
    cluster.deliver(2, &lost).unwrap();
    let pass = |cluster: &mut Cluster, writer: &mut QuorumWriter, ms: u64| {
        for _ in 0..ms {
            cluster.now += 1_000;
            cluster.act(writer, |w, now, out| w.tick(now, out));
        }
    };
    pass(&mut cluster, &mut writer, 1900);
    assert!(
        (1..20).contains(&cluster.asked_in_office),
        "{}",
        cluster.asked_in_office
    );
    assert_eq!(cluster.written(), [3, 3, 0], "the loser's lease runs");
    pass(&mut cluster, &mut writer, 1500);
    assert_eq!(cluster.journal(&mut writer, 4, 1), [synced(4)]);
    pass(&mut cluster, &mut writer, 1500);
    assert_eq!(cluster.written(), [4, 4, 4]);
}

//! What readers get: manifests, recent edits, files.

use hathi_formats::exceptions;
use hathi_formats::ids::TxId;

use super::tests::Fixture;
use super::*;
use crate::frames::tests::frame;
use crate::lease::LeaseProof;
use crate::messages::LeaseRequest;

/// The segments in a manifest from `since` on: first and last transaction, and whether in progress.
fn manifest(fixture: &mut Fixture, since: u64, in_progress_ok: bool) -> Vec<(u64, u64, bool)> {
    let request = Request::GetEditLogManifest {
        since: TxId(since),
        in_progress_ok,
        from_journal: false,
    };
    let Answer::Manifest(manifest) = fixture.ok(&request) else {
        panic!("no manifest");
    };
    let segments = manifest.segments.iter();
    segments.map(|s| (s.start.0, s.end.unwrap().0, s.in_progress)).collect()
}

#[test]
fn manifests_purges_and_discards() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 3);
    for (start, end) in [(1, 3), (4, 6)] {
        let finalize = fixture.finalize(1, start, end);
        fixture.ok(&finalize);
        let next = fixture.start(1, end + 1);
        fixture.ok(&next);
        let journal = fixture.journal(1, end + 1, end + 1, 3);
        fixture.ok(&journal);
    }
    assert_eq!(
        manifest(&mut fixture, 2, true),
        [(1, 3, false), (4, 6, false), (7, 9, true)]
    );
    assert_eq!(manifest(&mut fixture, 4, false), [(4, 6, false)]);
    let purge = Request::PurgeLogsOlderThan {
        info: fixture.info(1),
        min_to_keep: TxId(5),
    };
    fixture.ok(&purge);
    assert_eq!(manifest(&mut fixture, 1, true), [(4, 6, false), (7, 9, true)]);
    assert_eq!(
        fixture.class(&Request::DiscardSegments { start: TxId(5) }),
        exceptions::ILLEGAL_STATE
    );
    fixture.ok(&Request::DiscardSegments { start: TxId(7) });
    assert_eq!(manifest(&mut fixture, 1, true), [(4, 6, false)]);
    assert_eq!(fixture.acceptor.gauges().committed, Some(TxId(6)));
    assert!(
        fixture
            .names()
            .contains(&"edits_inprogress_0000000000000000007.trash".to_owned())
    );
}

#[test]
fn readers_get_what_is_committed_and_vouched_for() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 4);
    let edits = |since: u64, committed_only: bool, wait_ms: u32| Request::GetJournaledEdits {
        since: TxId(since),
        max_txns: 100,
        wait_ms,
        committed_only,
    };
    let count = |answer: Answer| match answer {
        Answer::JournaledEdits { count, .. } => count,
        other => panic!("{other:?}"),
    };
    assert_eq!(count(fixture.ok(&edits(1, false, 0))), 4);
    assert_eq!(count(fixture.ok(&edits(5, false, 0))), 0);
    assert_eq!(fixture.class(&edits(6, false, 0)), exceptions::NEWER_TXID);
    assert_eq!(count(fixture.ok(&edits(1, true, 0))), 0);
    let parked = fixture.acceptor.handle(&edits(1, true, 50), 0);
    assert!(matches!(parked, Handled::Park { until: 50_000 }));
    fixture.committed = Some(TxId(3));
    let heartbeat = fixture.heartbeat(1);
    fixture.ok(&heartbeat);
    assert_eq!(count(fixture.ok(&edits(1, true, 50))), 3);
    // A later writer commits different transactions under these numbers.
    let promise = fixture.new_epoch(2);
    fixture.ok(&promise);
    fixture.committed = Some(TxId(4));
    let heartbeat = fixture.heartbeat(2);
    fixture.ok(&heartbeat);
    assert_eq!(fixture.class(&edits(1, true, 50)), exceptions::CACHE_MISS);
    assert_eq!(fixture.class(&edits(1, false, 0)), exceptions::CACHE_MISS);
}

/// Number of edits that a reader gets that does not ask for committed ones only.
fn edits_for_java(fixture: &mut Fixture, since: u64) -> u32 {
    let edits = Request::GetJournaledEdits {
        since: TxId(since),
        max_txns: 100,
        wait_ms: 0,
        committed_only: false,
    };
    match fixture.ok(&edits) {
        Answer::JournaledEdits { count, .. } => count,
        other => panic!("{other:?}"),
    }
}

#[test]
fn safety_13_no_reader_gets_an_edit_before_it_is_synced() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 2);
    let request = fixture.journal(1, 1, 3, 2);
    assert!(matches!(fixture.acceptor.handle(&request, 0), Handled::AfterSync(_)));
    assert_eq!(edits_for_java(&mut fixture, 1), 2);
    assert_eq!(edits_for_java(&mut fixture, 3), 0);
    assert_eq!(manifest(&mut fixture, 1, true), [(1, 2, true)]);
    let open = fixture.acceptor.segment_file(TxId(1), true).unwrap().unwrap();
    let before = 8 + [frame(1, 20), frame(2, 20)].concat().len() as u64;
    assert_eq!(open.len, Some(before), "over HTTP, too");
    let committed = Request::GetJournaledEdits {
        since: TxId(3),
        max_txns: 100,
        wait_ms: 50,
        committed_only: true,
    };
    // Other JournalNodes have it, and this one's disk is slow.
    fixture.committed = Some(TxId(4));
    let heartbeat = fixture.heartbeat(1);
    assert!(matches!(fixture.acceptor.handle(&heartbeat, 0), Handled::Now(Ok(_))));
    let parked = fixture.acceptor.handle(&committed, 0);
    assert!(matches!(parked, Handled::Park { .. }), "{parked:?}");
    let version = fixture.acceptor.version();
    fixture.acceptor.sync().unwrap();
    assert_ne!(fixture.acceptor.version(), version, "the sync wakes who waits");
    assert_eq!(edits_for_java(&mut fixture, 1), 4);
    let served = fixture.acceptor.handle(&committed, 0);
    assert!(matches!(
        served,
        Handled::Now(Ok(Answer::JournaledEdits { count: 2, .. }))
    ));
}

#[test]
fn safety_13_javas_readers_get_what_is_committed_when_the_writer_tells_it_at_once() {
    let mut fixture = Fixture::formatted();
    fixture.lease = Some(LeaseRequest {
        ms: 1000,
        holder: "a@1".into(),
        proof: LeaseProof(1),
    });
    fixture.write(1, 1, 4);
    assert_eq!(edits_for_java(&mut fixture, 1), 0, "it may lose to another writer's");
    assert_eq!(manifest(&mut fixture, 1, true), []);
    fixture.committed = Some(TxId(3));
    let heartbeat = fixture.heartbeat(1);
    fixture.ok(&heartbeat);
    assert_eq!(edits_for_java(&mut fixture, 1), 3);
    assert_eq!(manifest(&mut fixture, 1, true), [(1, 3, true)]);
    // A finalized segment was decided, whether or not this JournalNode has heard of the commit.
    let finalize = fixture.finalize(1, 1, 4);
    fixture.ok(&finalize);
    assert_eq!(edits_for_java(&mut fixture, 1), 4);
    // A writer of Java tells what is committed only with its next batch.
    fixture.now = 2_000_000;
    fixture.lease = None;
    fixture.committed = None;
    fixture.write(2, 5, 2);
    assert_eq!(edits_for_java(&mut fixture, 5), 2);
}

//! Proofs whose orders are carried out by hand.

use super::*;
use crate::tests::namesystem;
use bytes::Bytes;
use hathi_formats::editlog::{EditOp, SegmentHeader, encode};
use hathi_journal::messages::{LeaseState, Manifest, ManifestSegment};
use hathi_namesystem::Life;
use hathi_namesystem::tailer::Edits;

const MEMBERS: usize = 3;

/// A segment that begins with transaction 1. Another writer's edits differ.
fn segment(writer: u32, last: u64) -> Bytes {
    let mut bytes = SegmentHeader::CURRENT.encode().to_vec();
    encode(&mut bytes, TxId(1), &EditOp::StartLogSegment).unwrap();
    for txid in 2..=last {
        let op = EditOp::SetPermissions {
            src: "/".to_owned(),
            mode: if writer == 1 { 0o700 } else { 0o755 },
        };
        encode(&mut bytes, TxId(txid), &op).unwrap();
    }
    bytes.into()
}

/// A standby that has replayed an open segment of writer 1.
fn standby(last: u64) -> Namesystem {
    let mut ns = namesystem(0, Life::first());
    let mut edits = Edits::new(segment(1, last), TxId(last), EditsSource::Open).unwrap();
    while edits.apply(&mut ns, 100, 0).unwrap() {}
    assert_eq!(ns.edit_log().applied(), TxId(last));
    ns
}

fn proven(ns: &Namesystem) -> u64 {
    ns.life().proven().0
}

fn all(answer: Result<Answer, CallError>) -> Got {
    Got::Answers((0..MEMBERS).map(|index| (index, answer.clone())).collect())
}

/// Every JournalNode's journal is in this state.
fn states(promised: u64, writer: u64, highest: u64) -> Got {
    all(Ok(Answer::LeaseState(LeaseState {
        promised_epoch: Epoch(promised),
        writer_epoch: Epoch(writer),
        highest: TxId(highest),
        ..LeaseState::default()
    })))
}

fn gone() -> Result<Answer, CallError> {
    Err(CallError::Broken("connection refused".to_owned()))
}

fn in_memory(edits: Bytes, committed: u64) -> Result<Answer, CallError> {
    Ok(Answer::JournaledEdits {
        count: 1,
        edit_log: Some(edits),
        committed: Some(TxId(committed)),
    })
}

/// Two segments, of which each JournalNode has the first, and the second one an open one.
fn manifests(end: u64, in_progress: bool) -> Got {
    all(Ok(Answer::Manifest(Manifest {
        segments: vec![ManifestSegment {
            start: TxId(1),
            end: Some(TxId(end)),
            in_progress,
        }],
        committed: Some(TxId(end)),
        http_port: 8480,
        from_url: None,
    })))
}

fn asks_states(order: &Order) -> bool {
    matches!(
        order,
        Order::AskAll {
            request: Request::WatchLease { wait_ms: 0, .. },
            ..
        }
    )
}

fn asks_memory(order: &Order) -> Option<u64> {
    match order {
        Order::AskAll {
            request:
                Request::GetJournaledEdits {
                    since,
                    committed_only: true,
                    ..
                },
            ..
        } => Some(since.0),
        _ => None,
    }
}

fn asks_manifests(order: &Order) -> bool {
    matches!(
        order,
        Order::AskAll {
            request: Request::GetEditLogManifest { .. },
            ..
        }
    )
}

fn differs(order: &Order) -> bool {
    let Order::Failed(ReadError::Edits(TailError::History(error))) = order else {
        return false;
    };
    matches!(error, HistoryError::Differs { .. })
}

/// A proof, and the namesystem that it is about.
struct Prover<'a> {
    proving: Proving,
    ns: &'a mut Namesystem,
}

impl Prover<'_> {
    fn new(purpose: Purpose, ns: &mut Namesystem) -> Prover<'_> {
        Prover {
            proving: Proving::new(purpose, MEMBERS),
            ns,
        }
    }

    fn begin(&mut self) -> Order {
        self.proving.order(self.ns)
    }

    fn on(&mut self, got: Got) -> Order {
        self.proving.hear(got);
        self.proving.order(self.ns)
    }
}

/// A proof of a standby that has to compare what it has replayed, because another writer is in office.
fn comparing(ns: &mut Namesystem) -> (Prover<'_>, Order) {
    let mut prover = Prover::new(Purpose::Standby, ns);
    assert!(asks_states(&prover.begin()));
    let order = prover.on(states(2, 2, 9));
    (prover, order)
}

#[test]
fn the_epochs_of_one_writer_prove_what_it_wrote_without_reading_it_again() {
    let mut ns = namesystem(0, Life::first());
    let mut prover = Prover::new(Purpose::Standby, &mut ns);
    prover.begin();
    assert!(matches!(prover.on(states(1, 1, 0)), Order::Done));
    let mut edits = Edits::new(segment(1, 5), TxId(5), EditsSource::Open).unwrap();
    while edits.apply(&mut ns, 100, 0).unwrap() {}
    assert_eq!(proven(&ns), 0);
    let mut prover = Prover::new(Purpose::Standby, &mut ns);
    prover.begin();
    assert!(matches!(prover.on(states(1, 1, 5)), Order::Done));
    assert_eq!(proven(&ns), 5);
}

#[test]
fn under_another_writer_the_edits_are_compared_with_those_in_memory() {
    let mut ns = standby(5);
    let (mut prover, order) = comparing(&mut ns);
    assert_eq!(asks_memory(&order), Some(1));
    // A part comes first, and a JournalNode whose memory is damaged spoils nothing.
    let answers = Got::Answers(vec![
        (0, in_memory(Bytes::from(vec![1; 100]), 9)),
        (1, in_memory(segment(1, 5), 3)),
        (2, gone()),
    ]);
    let order = prover.on(answers);
    assert_eq!(asks_memory(&order), Some(4), "the rest is not committed there");
    assert!(matches!(prover.on(all(in_memory(segment(1, 9), 9))), Order::Done));
    assert_eq!(proven(&ns), 5);
}

#[test]
fn edits_that_differ_from_the_journals_end_the_proof() {
    let mut ns = standby(5);
    let (mut prover, _) = comparing(&mut ns);
    assert!(differs(&prover.on(all(in_memory(segment(2, 9), 9)))));
    assert_eq!(proven(&ns), 0);
}

#[test]
fn what_is_in_no_memory_is_compared_with_files_and_damaged_ones_are_passed_over() {
    let mut ns = standby(5);
    let (mut prover, _) = comparing(&mut ns);
    assert!(asks_manifests(&prover.on(all(gone()))));
    assert!(matches!(
        prover.on(manifests(9, false)),
        Order::Fetch(Candidate { journalnode: 0, .. })
    ));
    let order = prover.on(Got::Fetched(Err("not found".to_owned())));
    assert!(matches!(order, Order::Fetch(Candidate { journalnode: 1, .. })));
    let mut damaged = segment(1, 9).to_vec();
    damaged[20] ^= 1;
    let order = prover.on(Got::Fetched(Ok(damaged.into())));
    assert!(matches!(order, Order::Fetch(Candidate { journalnode: 2, .. })));
    assert!(matches!(prover.on(Got::Fetched(Ok(segment(1, 9)))), Order::Done));
    assert_eq!(proven(&ns), 5);
}

#[test]
fn a_final_segment_that_ends_earlier_differs_and_an_open_one_tells_nothing_yet() {
    let short = |in_progress| {
        let mut ns = standby(5);
        let (mut prover, _) = comparing(&mut ns);
        prover.on(all(gone()));
        prover.on(manifests(3, in_progress));
        let mut order = prover.on(Got::Fetched(Ok(segment(1, 3))));
        while let Order::Fetch(_) = order {
            order = prover.on(Got::Fetched(Ok(segment(1, 3))));
        }
        assert_eq!(proven(&ns), 0);
        order
    };
    assert!(differs(&short(false)));
    assert!(matches!(short(true), Order::Done), "the next proof tries again");
}

#[test]
fn a_minority_of_manifests_proves_nothing() {
    let mut ns = standby(5);
    let (mut prover, _) = comparing(&mut ns);
    prover.on(all(gone()));
    let Got::Answers(mut answers) = manifests(9, false) else {
        panic!("answers");
    };
    answers.truncate(1);
    let order = prover.on(Got::Answers(answers));
    assert!(matches!(order, Order::Failed(ReadError::Unavailable(_))), "{order:?}");
}

#[test]
fn nobody_becomes_active_whose_edits_were_not_found_equal() {
    let before = Purpose::BeforeActive(Epoch(3), Some(TxId(9)));
    let mut ns = standby(5);
    let mut prover = Prover::new(before, &mut ns);
    assert_eq!(asks_memory(&prover.begin()), Some(1));
    prover.on(all(gone()));
    let order = prover.on(manifests(0, false));
    assert!(matches!(order, Order::Failed(ReadError::Unavailable(_))), "{order:?}");

    let mut prover = Prover::new(before, &mut ns);
    prover.begin();
    let order = prover.on(all(in_memory(segment(1, 9), 9)));
    assert!(matches!(order, Order::Done), "{order:?}");
    assert_eq!(proven(&ns), 5);
}

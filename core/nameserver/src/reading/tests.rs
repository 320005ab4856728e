//! Readings whose orders are carried out by hand.

use super::*;
use bytes::Bytes;
use hathi_formats::editlog::SegmentHeader;
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::LayoutVersion;
use hathi_journal::messages::ManifestSegment;
use hathi_namesystem::namesystem::ReplayError;

const MEMBERS: [usize; 3] = [0, 1, 2];

/// A reading, and what it knows and has applied.
struct Reader {
    sources: Sources,
    applied: TxId,
    reading: Reading,
}

impl Reader {
    fn new(purpose: Purpose, applied: u64) -> Reader {
        Reader {
            sources: Sources::default(),
            applied: TxId(applied),
            reading: Reading::new(purpose, MEMBERS.to_vec()),
        }
    }

    /// The same, where all JournalNodes are of this kind.
    fn of(kind: Kind, purpose: Purpose, applied: u64) -> Reader {
        let mut reader = Reader::new(purpose, applied);
        for member in MEMBERS {
            reader.sources.learn(member, kind == Kind::Hathi);
        }
        reader
    }

    fn on(&mut self, got: Got) -> Order {
        self.reading.on(got, self.applied, &mut self.sources)
    }

    /// The edits were applied up to their limit.
    fn applies(&mut self, order: &Order) -> Order {
        let Order::Apply(edits) = order else {
            panic!("{order:?}");
        };
        self.applied = edits.limit();
        self.on(Got::Applied(Ok(Progress::Some)))
    }

    fn again(&mut self, purpose: Purpose) -> Order {
        self.reading = Reading::new(purpose, MEMBERS.to_vec());
        self.on(Got::Nothing)
    }
}

fn file() -> Bytes {
    let layout_version = LayoutVersion::NAMENODE_CURRENT;
    Bytes::copy_from_slice(&SegmentHeader { layout_version }.encode())
}

fn in_memory(count: u32, committed: Option<u64>) -> Result<Answer, CallError> {
    Ok(Answer::JournaledEdits {
        count,
        edit_log: Some(file()),
        committed: committed.map(TxId),
    })
}

fn gone() -> CallError {
    CallError::Broken("connection refused".to_owned())
}

/// A manifest of segments, each with its first and last transaction and whether it is open.
fn segments(of: &[(u64, u64, bool)], committed: Option<u64>) -> Result<Answer, CallError> {
    let segment = |&(start, end, in_progress): &(u64, u64, bool)| ManifestSegment {
        start: TxId(start),
        end: Some(TxId(end)),
        in_progress,
    };
    Ok(Answer::Manifest(Manifest {
        segments: of.iter().map(segment).collect(),
        committed: committed.map(TxId),
        http_port: 8480,
        from_url: None,
    }))
}

fn asked(order: &Order) -> usize {
    match order {
        Order::Ask { journalnode, .. } => *journalnode,
        other => panic!("{other:?}"),
    }
}

fn limit(order: &Order) -> u64 {
    match order {
        Order::Apply(edits) => edits.limit().0,
        other => panic!("{other:?}"),
    }
}

fn is_done(order: &Order, wanted: Progress) -> bool {
    matches!(order, Order::Done(progress) if *progress == wanted)
}

#[test]
fn a_standby_waits_at_one_journalnode_and_stays_with_it_while_it_has_news() {
    let mut reader = Reader::of(Kind::Hathi, Purpose::Follow, 4);
    let order = reader.on(Got::Nothing);
    assert_eq!(asked(&order), 0);
    assert!(
        matches!(
            &order,
            Order::Ask {
                request: Request::GetJournaledEdits {
                    since: TxId(5),
                    wait_ms: WAIT_MS,
                    committed_only: true,
                    ..
                },
                ..
            }
        ),
        "{order:?}"
    );
    let order = reader.on(Got::Answer(in_memory(9, Some(7))));
    assert_eq!(limit(&order), 7, "what is behind it is not committed");
    assert!(is_done(&reader.applies(&order), Progress::Some));
    let order = reader.again(Purpose::Follow);
    assert_eq!(asked(&order), 0);
    // It may be one that hears nothing any more.
    assert!(is_done(
        &reader.on(Got::Answer(in_memory(0, Some(7)))),
        Progress::Nothing
    ));
    assert_eq!(asked(&reader.again(Purpose::Follow)), 1);
}

#[test]
fn a_journalnode_that_is_gone_or_damaged_is_left_for_the_next_one() {
    let mut reader = Reader::of(Kind::Hathi, Purpose::Follow, 4);
    let first = asked(&reader.on(Got::Nothing));
    assert_eq!(asked(&reader.on(Got::Answer(Err(gone())))), first + 1);
    let damaged = Ok(Answer::JournaledEdits {
        count: 1,
        edit_log: Some(Bytes::from_static(b"no")),
        committed: Some(TxId(7)),
    });
    assert_eq!(asked(&reader.on(Got::Answer(damaged))), first + 2);
    let order = reader.on(Got::Answer(in_memory(1, Some(5))));
    assert!(is_done(&reader.applies(&order), Progress::Some));
    assert_eq!(
        asked(&reader.again(Purpose::Follow)),
        first + 2,
        "the one that answered is asked first"
    );
    // A reading that is given up at one that is gone does not begin there again.
    reader.on(Got::Answer(Err(gone())));
    assert_eq!(asked(&reader.again(Purpose::Follow)), first);
}

/// HDFS-17710: what is in the memory of Hadoop's JournalNodes may be on no disk.
#[test]
fn of_hadoops_journalnodes_only_what_a_majority_has_on_disk_is_applied() {
    let mut reader = Reader::of(Kind::Hadoop, Purpose::Follow, 4);
    let order = reader.on(Got::Nothing);
    assert!(
        matches!(
            &order,
            Order::AskAll {
                request: Request::GetEditLogManifest { .. },
                ..
            }
        ),
        "{order:?}"
    );
    let manifests = vec![
        (0, segments(&[(1, 9, true)], Some(3))),
        (1, segments(&[(1, 6, true)], None)),
        (2, segments(&[(1, 4, true)], None)),
    ];
    let order = reader.on(Got::Answers(manifests));
    assert!(matches!(
        &order,
        Order::AskAll {
            request: Request::GetJournaledEdits {
                committed_only: false,
                ..
            },
            ..
        }
    ));
    let memories = MEMBERS
        .map(|member| (member, in_memory(9 - member as u32, None)))
        .to_vec();
    let order = reader.on(Got::Answers(memories));
    assert_eq!(limit(&order), 6, "two have it on disk");
    assert!(is_done(&reader.applies(&order), Progress::Some));

    // One of three is no majority.
    let mut reader = Reader::of(Kind::Hadoop, Purpose::Follow, 6);
    reader.on(Got::Nothing);
    let manifests = vec![
        (0, segments(&[(1, 9, true)], None)),
        (1, segments(&[(1, 6, true)], None)),
    ];
    let order = reader.on(Got::Answers(manifests.clone()));
    assert!(
        matches!(
            &order,
            Order::AskAll {
                request: Request::GetEditLogManifest { .. },
                ..
            }
        ),
        "{order:?}"
    );
    assert!(is_done(&reader.on(Got::Answers(manifests)), Progress::Nothing));
}

#[test]
fn what_no_memory_holds_is_fetched_and_damaged_copies_are_passed_over() {
    let mut reader = Reader::of(Kind::Hathi, Purpose::Follow, 4);
    reader.on(Got::Nothing);
    let missed = RemoteException::new(exceptions::CACHE_MISS, "it begins at 100");
    reader.on(Got::Answer(Err(CallError::Remote(missed))));
    let manifests = vec![
        (0, segments(&[(1, 50, false)], Some(60))),
        (1, segments(&[(1, 50, false), (51, 90, true)], Some(60))),
    ];
    let order = reader.on(Got::Answers(manifests));
    let Order::Fetch(candidate) = order else {
        panic!("{order:?}")
    };
    assert_eq!(
        (candidate.limit, candidate.source()),
        (TxId(50), EditsSource::Finalized)
    );
    let order = reader.on(Got::Fetched(Err("404".to_owned())));
    assert!(matches!(order, Order::Fetch(_)), "{order:?}");
    let order = reader.on(Got::Fetched(Ok(file())));
    assert_eq!(limit(&order), 50);
    assert!(is_done(&reader.applies(&order), Progress::Some));
}

#[test]
fn an_edit_that_does_not_apply_ends_the_reading_and_a_damaged_copy_does_not() {
    let mut reader = Reader::of(Kind::Hathi, Purpose::CatchUp, 4);
    reader.on(Got::Nothing);
    let order = reader.on(Got::Answer(in_memory(1, Some(5))));
    assert_eq!(limit(&order), 5);
    let damaged = TailError::Header("cut off".to_owned());
    assert_eq!(
        asked(&reader.on(Got::Applied(Err(damaged)))),
        1,
        "another copy may be whole"
    );
    reader.on(Got::Answer(in_memory(1, Some(5))));
    let reason = hathi_namespace::ApplyError::Broken {
        op: "OP_MKDIR",
        txid: 5,
    };
    let broken = TailError::Replay(ReplayError::Apply { txid: TxId(5), reason });
    let order = reader.on(Got::Applied(Err(broken)));
    assert!(
        matches!(order, Order::Failed(ReadError::Edits(TailError::Replay(_)))),
        "{order:?}"
    );
}

#[test]
fn all_that_is_durable_is_applied_before_a_reading_without_waits_ends() {
    let mut reader = Reader::new(Purpose::CatchUp, 4);
    let mut order = reader.on(Got::Nothing);
    order = match &order {
        Order::Ask {
            request: Request::GetJournaledEdits { wait_ms: 0, .. },
            ..
        } => reader.on(Got::Answer(in_memory(3, Some(7)))),
        other => panic!("{other:?}"),
    };
    order = reader.applies(&order);
    // Another JournalNode may know more, so all are asked.
    for member in MEMBERS {
        assert_eq!(asked(&order), member);
        order = reader.on(Got::Answer(in_memory(0, Some(7))));
    }
    let manifests = MEMBERS
        .map(|member| (member, segments(&[(1, 7, true)], Some(7))))
        .to_vec();
    assert!(is_done(&reader.on(Got::Answers(manifests)), Progress::Nothing));
}

#[test]
fn after_a_recovery_everything_up_to_its_end_is_applied_or_the_reading_fails() {
    let mut reader = Reader::of(Kind::Hathi, Purpose::CatchUpTo(TxId(9)), 4);
    let order = reader.on(Got::Nothing);
    assert!(matches!(
        &order,
        Order::AskAll {
            request: Request::GetJournaledEdits {
                committed_only: true,
                ..
            },
            ..
        }
    ));
    // One hangs, and the others know different parts.
    let memories = vec![(0, in_memory(2, Some(6))), (2, in_memory(3, Some(7)))];
    let order = reader.on(Got::Answers(memories));
    assert_eq!(limit(&order), 7);
    reader.applies(&order);
    let order = reader.on(Got::Answers(Vec::new()));
    assert!(
        matches!(
            &order,
            Order::AskAll {
                request: Request::GetEditLogManifest {
                    in_progress_ok: false,
                    ..
                },
                ..
            }
        ),
        "{order:?}"
    );
    let manifests = vec![
        (0, segments(&[(1, 9, false)], None)),
        (1, segments(&[(1, 9, false)], None)),
    ];
    let order = reader.on(Got::Answers(manifests.clone()));
    assert!(matches!(order, Order::Fetch(_)));
    let order = reader.on(Got::Fetched(Ok(file())));
    assert!(is_done(&reader.applies(&order), Progress::Some));

    let mut reader = Reader::of(Kind::Hathi, Purpose::CatchUpTo(TxId(12)), 9);
    reader.on(Got::Nothing);
    reader.on(Got::Answers(Vec::new()));
    let order = reader.on(Got::Answers(manifests));
    let words = match order {
        Order::Failed(error) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(words, "transaction 10 of 12 is on no JournalNode that answers");
    // Beyond the end is another journal.
    let order = Reader::new(Purpose::CatchUpTo(TxId(3)), 4).on(Got::Nothing);
    assert!(matches!(order, Order::Failed(ReadError::Unavailable(_))), "{order:?}");
}

#[test]
fn purged_edits_are_told_from_a_minority_that_answers() {
    let mut reader = Reader::of(Kind::Hathi, Purpose::CatchUpTo(TxId(99)), 4);
    reader.on(Got::Nothing);
    reader.on(Got::Answers(Vec::new()));
    let order = reader.on(Got::Answers(vec![
        (0, segments(&[(50, 99, false)], None)),
        (1, Err(gone())),
    ]));
    assert!(matches!(order, Order::Failed(ReadError::Unavailable(_))), "{order:?}");

    let mut reader = Reader::of(Kind::Hathi, Purpose::CatchUpTo(TxId(99)), 4);
    reader.on(Got::Nothing);
    reader.on(Got::Answers(Vec::new()));
    let manifests = [0, 1]
        .map(|member| (member, segments(&[(50, 99, false)], None)))
        .to_vec();
    let order = reader.on(Got::Answers(manifests));
    assert!(
        matches!(
            order,
            Order::Failed(ReadError::Edits(TailError::Purged { oldest: TxId(50), .. }))
        ),
        "{order:?}"
    );
}

#[test]
fn finalized_segments_come_first_and_open_ones_end_at_the_commit() {
    let manifests = [
        segments(&[(1, 9, true)], Some(6)),
        segments(&[(1, 5, false), (6, 9, true)], None),
        segments(&[(1, 9, true)], Some(4)),
    ];
    let answers = manifests.into_iter().enumerate().collect();
    let manifests = of_majority(answers, 2).expect("all answer");
    let found: Vec<_> = candidates(&manifests, TxId(5))
        .iter()
        .map(|found| (found.journalnode, found.segment.in_progress, found.limit.0))
        .collect();
    assert_eq!(found, [(1, false, 5), (0, true, 6)]);
}

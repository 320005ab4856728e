//! Searches whose orders are carried out by hand.

use super::*;
use hathi_formats::exceptions::RemoteException;
use hathi_journal::messages::ManifestSegment;

const MEMBERS: [usize; 3] = [0, 1, 2];

fn in_memory(count: u32, committed: Option<u64>) -> Got {
    Got::Answer(Ok(Answer::JournaledEdits {
        count,
        edit_log: Some(bytes::Bytes::from_static(b"edits")),
        committed: committed.map(TxId),
    }))
}

fn forgotten() -> Got {
    let exception = RemoteException::new(exceptions::CACHE_MISS, "too old");
    Got::Answer(Err(CallError::Remote(exception)))
}

fn gone() -> CallError {
    CallError::Broken("connection refused".to_owned())
}

/// The manifest of a JournalNode: segments with first and last transaction and whether they are open.
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

fn answers(of: Vec<Result<Answer, CallError>>) -> Got {
    Got::Answers(of.into_iter().enumerate().collect())
}

/// A search whose JournalNodes have nothing in memory, and have these manifests.
fn in_segments(wanted: u64, may_begin_later: bool, of: Vec<Result<Answer, CallError>>) -> (Search, Order) {
    let mut search = Search::new(TxId(wanted), may_begin_later, MEMBERS.to_vec());
    let mut sources = Sources::default();
    assert!(matches!(
        search.on(Got::Begin, &mut sources),
        Order::Ask { journalnode: 0, .. }
    ));
    let order = search.on(forgotten(), &mut sources);
    assert!(
        matches!(order, Order::AskAll { .. }),
        "the others are not asked: {order:?}"
    );
    let order = search.on(answers(of), &mut sources);
    (search, order)
}

fn fetched(order: &Order) -> (usize, u64, u64) {
    match order {
        Order::Fetch(candidate) => (candidate.journalnode, candidate.segment.start.0, candidate.limit.0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_newest_edits_come_from_a_memory_as_far_as_they_are_committed() {
    let mut search = Search::new(TxId(5), true, MEMBERS.to_vec());
    let mut sources = Sources::default();
    search.on(Got::Begin, &mut sources);
    let order = search.on(Got::Answer(Err(gone())), &mut sources);
    assert!(matches!(order, Order::Ask { journalnode: 1, .. }), "{order:?}");
    let order = search.on(in_memory(9, None), &mut sources);
    assert!(
        matches!(order, Order::Ask { journalnode: 2, .. }),
        "Hadoop's tells nothing: {order:?}"
    );
    let order = search.on(in_memory(9, Some(7)), &mut sources);
    assert!(matches!(order, Order::Use { limit: TxId(7), .. }), "{order:?}");

    let mut search = Search::new(TxId(8), true, vec![2]);
    search.on(Got::Begin, &mut sources);
    let order = search.on(in_memory(9, Some(7)), &mut sources);
    assert!(
        matches!(order, Order::AskAll { .. }),
        "8 is not committed there: {order:?}"
    );
}

#[test]
fn of_an_open_segment_only_what_is_committed_is_read() {
    let open = |committed| segments(&[(1, 4, false), (5, 9, true)], committed);
    let (_, order) = in_segments(6, true, vec![open(Some(7)), open(None), Err(gone())]);
    assert_eq!(fetched(&order), (0, 5, 7));
    let (_, order) = in_segments(6, true, vec![open(None), open(Some(5)), Err(gone())]);
    assert!(
        matches!(order, Order::Nothing),
        "it is not gone, but not proven: {order:?}"
    );
    let (_, order) = in_segments(6, true, vec![open(Some(9)), Err(gone()), Err(gone())]);
    assert!(matches!(order, Order::Failed(_)), "one alone is no majority: {order:?}");
}

#[test]
fn another_copy_is_read_when_one_is_useless() {
    let one = || segments(&[(1, 9, false)], None);
    let (mut search, order) = in_segments(3, true, vec![one(), one(), Err(gone())]);
    assert_eq!(fetched(&order), (0, 1, 9));
    let mut sources = Sources::default();
    let order = search.on(Got::Useless("damaged".to_owned()), &mut sources);
    assert_eq!(fetched(&order), (1, 1, 9));
    let order = search.on(Got::Useless("damaged".to_owned()), &mut sources);
    assert!(matches!(&order, Order::Failed(why) if why == "damaged"), "{order:?}");
}

#[test]
fn what_is_purged_is_jumped_over_only_at_the_beginning_and_only_if_nobody_has_it() {
    let later = || segments(&[(10, 14, false), (15, 19, false)], Some(19));
    let (_, order) = in_segments(3, true, vec![later(), later(), Err(gone())]);
    assert_eq!(fetched(&order), (0, 10, 14));
    let (_, order) = in_segments(3, false, vec![later(), later(), Err(gone())]);
    assert!(matches!(order, Order::Nothing), "an answer has no hole: {order:?}");
    let all = segments(&[(1, 9, false), (10, 14, false)], Some(19));
    let (_, order) = in_segments(3, true, vec![later(), all, Err(gone())]);
    assert_eq!(fetched(&order), (1, 1, 9));
}

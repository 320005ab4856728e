use super::*;
use crate::edit_log::EditLog;
use hathi_formats::editlog::{EditOp, SegmentHeader, encode};

/// Transaction `txid` as this writer logs it: another one's differs.
fn op(writer: u32, txid: u64) -> EditOp {
    EditOp::SetReplication {
        path: format!("/of-writer-{writer}"),
        replication: 1 + i16::from(txid as u8 % 7),
    }
}

/// A segment of this writer from `first` on, as a file holds it.
fn segment(writer: u32, first: u64, last: u64) -> Vec<u8> {
    let mut bytes = SegmentHeader::CURRENT.encode().to_vec();
    encode(&mut bytes, TxId(first), &EditOp::StartLogSegment).unwrap();
    for txid in first + 1..=last {
        encode(&mut bytes, TxId(txid), &op(writer, txid)).unwrap();
    }
    bytes
}

/// A standby's history, with its life.
struct Standby {
    history: History,
    log: EditLog,
}

impl Standby {
    fn loaded(image: u64) -> Standby {
        Standby {
            history: History::new(TxId(image)),
            log: EditLog::new(Life::first(), TxId(image)),
        }
    }

    /// As the tailer does: what is there already is compared, what is new is applied.
    fn read(&mut self, edits: &[u8], limit: u64, source: EditsSource) -> Result<(), HistoryError> {
        let life = self.log.life().clone();
        let mut frames = Frames::new(&edits[SEGMENT_HEADER_LEN..], 0);
        let mut seen = None;
        while let Some(frame) = frames.next_frame().unwrap() {
            if frame.txid.0 > limit {
                break;
            }
            if frame.txid <= self.log.applied() {
                self.history.check_overlap(&mut seen, &frame, source, &life)?;
                continue;
            }
            self.log.set_applied(frame.txid);
            self.history.replayed(&frame, source, &life);
        }
        Ok(())
    }

    /// Two of three JournalNodes answer so.
    fn asks(&mut self, promised: u64, writer: u64, highest: u64) -> Result<Vec<Stretch>, HistoryError> {
        let state = JournalState {
            promised: Epoch(promised),
            writer: Epoch(writer),
            highest: TxId(highest),
        };
        let life = self.log.life().clone();
        self.history.judge(&[state, state], 2, self.log.applied(), &life)
    }

    fn compare(&mut self, stretch: &Stretch, journal: &[u8], limit: u64, no_more: bool) -> Result<(), HistoryError> {
        let mut comparison = StretchComparison::new(*stretch);
        comparison.read(journal, TxId(limit)).unwrap();
        let life = self.log.life().clone();
        self.history.on_compared(stretch, comparison.outcome(no_more), &life)
    }

    fn proven(&self) -> u64 {
        self.log.life().proven().0
    }
}

#[test]
fn safety_n4_a_standby_ahead_of_the_recovered_journal_loads_anew() {
    let mut standby = Standby::loaded(0);
    assert_eq!(standby.asks(1, 1, 0), Ok(Vec::new()));
    standby.read(&segment(1, 1, 10), 10, EditsSource::Open).unwrap();
    assert_eq!(standby.asks(1, 1, 10), Ok(Vec::new()));
    standby.read(&segment(1, 1, 12), 12, EditsSource::Open).unwrap();
    // All JournalNodes lose power; the next writer finds 8 transactions, and starts its segment with the ninth.
    let ahead = HistoryError::Ahead {
        applied: TxId(12),
        last: TxId(9),
    };
    assert_eq!(standby.asks(2, 2, 9), Err(ahead));
    assert!(ahead.is_fatal());
    // The same when it wants to become active itself.
    let recovered = standby.history.before_active(Epoch(2), Some(TxId(8)), TxId(12));
    assert!(matches!(recovered, Err(HistoryError::Ahead { .. })));
    let empty = standby.history.before_active(Epoch(2), None, TxId(12));
    assert!(matches!(empty, Err(HistoryError::Ahead { .. })));
}

#[test]
fn safety_n4_an_image_ahead_of_the_journal_is_not_loaded_again_and_again() {
    let mut standby = Standby::loaded(20);
    let error = standby.asks(2, 2, 9).unwrap_err();
    assert!(matches!(error, HistoryError::ImageAhead { .. }));
    assert!(!error.is_fatal());
}

#[test]
fn safety_n4_other_content_of_the_same_length_is_noticed_with_the_next_writers_epoch() {
    let mut standby = Standby::loaded(0);
    standby.read(&segment(1, 1, 6), 6, EditsSource::Finalized).unwrap();
    assert_eq!(standby.proven(), 6, "a finalized segment needs no proof");
    assert_eq!(standby.asks(1, 1, 6), Ok(Vec::new()));
    // Both writers start a segment with 7; the first one's is lost.
    standby.read(&segment(1, 7, 9), 9, EditsSource::Open).unwrap();
    let second = segment(2, 7, 12);
    // It goes on with the second one's, as it has no way to see that from the transactions alone.
    let tail = &second[..];
    let mut frames = Frames::new(&tail[SEGMENT_HEADER_LEN..], 0);
    let life = standby.log.life().clone();
    while let Some(frame) = frames.next_frame().unwrap() {
        if frame.txid > standby.log.applied() {
            standby.log.set_applied(frame.txid);
            standby.history.replayed(&frame, EditsSource::Open, &life);
        }
    }
    assert_eq!(
        standby.asks(2, 1, 12),
        Ok(Vec::new()),
        "nothing is decided before it has started its segment"
    );
    assert_eq!(standby.proven(), 6, "and no image is published meanwhile");
    let stretches = standby.asks(2, 2, 12).unwrap();
    assert_eq!(stretches.len(), 1);
    let differs = HistoryError::Differs {
        first: TxId(7),
        last: TxId(12),
    };
    assert_eq!(standby.compare(&stretches[0], &second, 12, false), Err(differs));
    assert_eq!(standby.proven(), 6);
}

#[test]
fn safety_n4_a_segment_that_ends_earlier_is_other_content() {
    let mut standby = Standby::loaded(0);
    standby.read(&segment(1, 1, 10), 10, EditsSource::Open).unwrap();
    let stretches = standby.asks(2, 2, 30).unwrap();
    let short = segment(1, 1, 8);
    assert_eq!(standby.compare(&stretches[0], &short, 8, false), Ok(()), "it may grow");
    assert!(standby.compare(&stretches[0], &short, 8, true).is_err(), "it is final");
}

#[test]
fn safety_n4_while_one_writer_goes_on_nothing_is_read_twice() {
    let mut standby = Standby::loaded(0);
    assert_eq!(standby.asks(3, 3, 0), Ok(Vec::new()));
    let segment = segment(3, 1, 50);
    for last in 1..=50 {
        standby.read(&segment, last, EditsSource::Open).unwrap();
        assert_eq!(standby.asks(3, 3, last), Ok(Vec::new()));
        assert_eq!(standby.proven(), last);
    }
    // Its successor is this NameNode: nobody wrote in between.
    assert_eq!(
        standby.history.before_active(Epoch(4), Some(TxId(50)), TxId(50)),
        Ok(Vec::new())
    );
}

#[test]
fn safety_n4_who_becomes_active_after_an_unknown_writer_compares_first() {
    let mut standby = Standby::loaded(0);
    assert_eq!(standby.asks(3, 3, 0), Ok(Vec::new()));
    standby.read(&segment(3, 1, 5), 5, EditsSource::Open).unwrap();
    let stretches = standby.history.before_active(Epoch(5), Some(TxId(5)), TxId(5)).unwrap();
    assert_eq!(stretches.len(), 1);
    let other = segment(4, 1, 5);
    assert!(standby.compare(&stretches[0], &other, 5, true).is_err());
    assert_eq!(standby.compare(&stretches[0], &segment(3, 1, 5), 5, true), Ok(()));
    assert_eq!(standby.proven(), 5);
}

/// Hadoop's JournalNodes tell no epochs.
#[test]
fn safety_n4_without_epochs_each_segment_is_compared_when_it_is_final() {
    let mut standby = Standby::loaded(0);
    let life = standby.log.life().clone();
    standby.read(&segment(1, 1, 4), 4, EditsSource::Open).unwrap();
    standby.read(&segment(1, 5, 7), 7, EditsSource::Open).unwrap();
    let closed = standby.history.judge(&[], 2, TxId(7), &life).unwrap();
    assert_eq!(closed.len(), 1, "the open one has to wait");
    assert_eq!((closed[0].first, closed[0].last), (TxId(1), TxId(4)));
    assert_eq!(standby.proven(), 0);
    standby.compare(&closed[0], &segment(1, 1, 4), 4, true).unwrap();
    assert_eq!(standby.proven(), 4);
    // Reading the rest out of the finalized file compares what it has of it.
    let error = standby.read(&segment(2, 5, 9), 9, EditsSource::Finalized).unwrap_err();
    assert!(matches!(error, HistoryError::Differs { .. }));
    standby.read(&segment(1, 5, 9), 9, EditsSource::Finalized).unwrap();
    assert_eq!(standby.proven(), 9);
}

#[test]
fn safety_n4_an_overlap_with_other_content_is_noticed_before_anything_is_applied() {
    let mut standby = Standby::loaded(0);
    standby.read(&segment(1, 1, 4), 4, EditsSource::Open).unwrap();
    assert!(standby.read(&segment(2, 1, 9), 9, EditsSource::Finalized).is_err());
    assert_eq!(standby.log.applied(), TxId(4));
    // And the same content is proven by it.
    standby.read(&segment(1, 1, 9), 9, EditsSource::Finalized).unwrap();
    assert_eq!(standby.proven(), 9);
}

#[test]
fn an_answer_of_a_minority_proves_nothing() {
    let mut standby = Standby::loaded(0);
    standby.read(&segment(1, 1, 4), 4, EditsSource::Open).unwrap();
    let life = standby.log.life().clone();
    let state = JournalState {
        promised: Epoch(1),
        writer: Epoch(1),
        highest: TxId(4),
    };
    assert_eq!(standby.history.judge(&[state], 2, TxId(4), &life), Ok(Vec::new()));
    assert_eq!(standby.proven(), 0);
}

#[test]
fn a_promise_of_a_minority_stops_no_proof() {
    let mut standby = Standby::loaded(0);
    let life = standby.log.life().clone();
    let state = |promised, writer, highest| JournalState {
        promised: Epoch(promised),
        writer: Epoch(writer),
        highest: TxId(highest),
    };
    let judge = |standby: &mut Standby, states: &[JournalState]| {
        let applied = standby.log.applied();
        standby.history.judge(states, 2, applied, &life)
    };
    let with_a_candidate = [state(1, 1, 4), state(1, 1, 4), state(2, 1, 2)];
    assert_eq!(judge(&mut standby, &with_a_candidate), Ok(Vec::new()));
    standby.read(&segment(1, 1, 4), 4, EditsSource::Open).unwrap();
    assert_eq!(judge(&mut standby, &with_a_candidate), Ok(Vec::new()));
    assert_eq!(standby.proven(), 4);
    // When a majority may have promised it, nothing is known.
    standby.read(&segment(1, 1, 5), 5, EditsSource::Open).unwrap();
    assert_eq!(judge(&mut standby, &[state(1, 1, 5), state(2, 1, 2)]), Ok(Vec::new()));
    assert_eq!(standby.proven(), 4);
}

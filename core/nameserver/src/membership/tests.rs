//! Changes whose orders are carried out by hand.

use super::*;
use hathi_journal::messages::{Manifest, ManifestSegment};

fn at(name: &str) -> HostPort {
    HostPort::parse(name, None).unwrap()
}

fn members() -> Vec<HostPort> {
    ["a:1", "b:1", "c:1"].map(at).to_vec()
}

fn add() -> MembershipChange {
    MembershipChange::new(Some("d:1"), None, members(), 0).unwrap()
}

fn remove() -> MembershipChange {
    MembershipChange::new(None, Some("a:1"), members(), 0).unwrap()
}

fn after() -> Membership {
    Membership {
        members: vec!["b:1".to_owned()],
        ..Membership::default()
    }
}

/// What JournalNodes tell of their segments.
fn told(answers: &[(&str, &[(u64, u64)])]) -> Got {
    let answers = answers.iter().map(|(name, segments)| {
        let segments = segments.iter().map(|(start, end)| ManifestSegment {
            start: TxId(*start),
            end: Some(TxId(*end)),
            in_progress: false,
        });
        let manifest = Manifest {
            http_port: 1,
            from_url: None,
            committed: None,
            segments: segments.collect(),
        };
        (at(name), Ok(Answer::Manifest(manifest)))
    });
    Got::Answers(answers.collect())
}

fn asked_of(order: &Order) -> Vec<String> {
    let Order::AskSegments {
        journalnodes, request, ..
    } = order
    else {
        panic!("{order:?}");
    };
    assert!(
        matches!(
            request,
            Request::GetEditLogManifest {
                in_progress_ok: false,
                ..
            }
        ),
        "open segments are the writer's"
    );
    journalnodes.iter().map(ToString::to_string).collect()
}

fn failed(order: Order) -> (ChangeError, bool) {
    match order {
        Order::End {
            result: Err(error),
            drops_learner,
        } => (error, drops_learner),
        other => panic!("{other:?}"),
    }
}

/// The learner has the newest segment, and everybody was asked for the older ones.
fn in_sync() -> MembershipChange {
    let mut change = add();
    assert_eq!(change.on(Got::Nothing, 0), Order::StartLearner("d:1".to_owned()));
    assert_eq!(change.on(Got::Begun(Ok(())), 1), Order::AskLearner);
    let order = change.on(Got::Learner(Learner::InSync), 2);
    assert_eq!(asked_of(&order), ["a:1", "b:1", "c:1", "d:1"]);
    change
}

const OLD: &[(u64, u64)] = &[(1, 4), (5, 9)];

#[test]
fn a_new_one_becomes_a_member_when_it_has_what_the_others_have() {
    let mut change = add();
    change.on(Got::Nothing, 0);
    change.on(Got::Begun(Ok(())), 1);
    assert_eq!(
        change.on(Got::Learner(Learner::Joining), 2),
        Order::Pause(LEARNER_PAUSE_MS)
    );
    assert_eq!(change.on(Got::Done, 52), Order::AskLearner);
    // One new segment is enough for it to begin with.
    let behind = || Got::Learner(Learner::Behind { waits: true });
    assert_eq!(change.on(behind(), 53), Order::RollEditLog);
    assert_eq!(change.on(Got::Done, 54), Order::AskLearner);
    assert_eq!(change.on(behind(), 55), Order::Pause(LEARNER_PAUSE_MS));
    assert_eq!(change.on(Got::Done, 105), Order::AskLearner);
    asked_of(&change.on(Got::Learner(Learner::InSync), 106));
    let answers = told(&[("a:1", OLD), ("b:1", &OLD[1..]), ("d:1", OLD)]);
    assert_eq!(
        change.on(answers, 107),
        Order::Change(MemberChange::Add("d:1".to_owned()))
    );
    let end = change.on(Got::Changed(Ok(after())), 108);
    let expected = Order::End {
        result: Ok(after()),
        drops_learner: false,
    };
    assert_eq!(end, expected);
}

#[test]
fn a_new_one_that_lacks_a_segment_of_any_member_is_no_member_yet() {
    let mut change = in_sync();
    let lacking = || told(&[("a:1", OLD), ("b:1", &OLD[1..]), ("d:1", &OLD[1..])]);
    assert_eq!(change.on(lacking(), 3), Order::Pause(COMPARE_PAUSE_MS));
    assert_eq!(change.on(Got::Done, 503), Order::AskLearner);
    change.on(Got::Learner(Learner::InSync), 504);
    let mute = told(&[("a:1", OLD), ("b:1", OLD), ("c:1", OLD)]);
    assert_eq!(change.on(mute, 505), Order::Pause(COMPARE_PAUSE_MS));
    change.on(Got::Done, 1005);
    change.on(Got::Learner(Learner::InSync), 1006);
    let (error, drops_learner) = failed(change.on(lacking(), GIVE_UP_AFTER_MS + 1));
    assert_eq!(
        error.to_string(),
        "d:1 lacks segment 1-4, 600 s after the change was asked for"
    );
    assert!(drops_learner);
}

#[test]
fn a_minority_does_not_tell_which_segments_there_are() {
    let mut change = in_sync();
    let answers = told(&[("a:1", OLD), ("d:1", OLD)]);
    assert_eq!(failed(change.on(answers, 3)), (ChangeError::NoMajority, true));
    let mut change = remove();
    assert_eq!(asked_of(&change.on(Got::Nothing, 0)), ["a:1", "b:1", "c:1"]);
    assert_eq!(
        failed(change.on(told(&[("b:1", OLD)]), 1)),
        (ChangeError::NoMajority, false)
    );
}

#[test]
fn a_new_one_that_does_not_follow_is_given_up() {
    let mut change = add();
    change.on(Got::Nothing, 7);
    change.on(Got::Begun(Ok(())), 8);
    assert_eq!(
        change.on(Got::Learner(Learner::Joining), GIVE_UP_AFTER_MS),
        Order::Pause(LEARNER_PAUSE_MS),
        "the time is not over"
    );
    change.on(Got::Done, GIVE_UP_AFTER_MS);
    let (error, drops_learner) = failed(change.on(Got::Learner(Learner::Joining), GIVE_UP_AFTER_MS + 1));
    assert_eq!(error, ChangeError::TooLate("d:1 does not follow".to_owned()));
    assert!(drops_learner);
}

#[test]
fn a_new_one_that_falls_behind_at_the_last_moment_is_caught_up_again() {
    let mut change = in_sync();
    change.on(told(&[("a:1", OLD), ("b:1", OLD), ("d:1", OLD)]), 3);
    let unchanged = |learner| {
        Got::Changed(Err(Unchanged {
            why: "d:1 is not caught up".to_owned(),
            learner,
        }))
    };
    let behind = Learner::Behind { waits: false };
    assert_eq!(change.on(unchanged(behind.clone()), 4), Order::RollEditLog);
    assert_eq!(change.on(Got::Done, 5), Order::AskLearner);
    asked_of(&change.on(Got::Learner(Learner::InSync), 6));
    change.on(told(&[("a:1", OLD), ("b:1", OLD), ("d:1", OLD)]), 7);
    assert_eq!(change.on(unchanged(behind), 8), Order::Pause(LEARNER_PAUSE_MS));
    change.on(Got::Done, 58);
    change.on(Got::Learner(Learner::InSync), 59);
    // It is well, so the writer has another reason.
    let order = change.on(unchanged(Learner::InSync), 60);
    assert_eq!(
        failed(order),
        (ChangeError::Refused("d:1 is not caught up".to_owned()), true)
    );
}

#[test]
fn whoever_can_not_join_is_refused_at_once_with_the_reason() {
    let mut change = add();
    change.on(Got::Nothing, 0);
    let refused = change.on(Got::Begun(Err("the read lease is not held".to_owned())), 1);
    assert_eq!(
        failed(refused),
        (ChangeError::Refused("the read lease is not held".to_owned()), true)
    );
    let mut change = add();
    change.on(Got::Nothing, 0);
    change.on(Got::Begun(Ok(())), 1);
    let (error, _) = failed(change.on(Got::Learner(Learner::Refused("it is Hadoop's".to_owned())), 2));
    assert_eq!(error.to_string(), "d:1 cannot be added: it is Hadoop's");
}

#[test]
fn without_the_writer_a_change_ends_and_its_learner_is_given_up() {
    for got in [Got::WriterLost, Got::Learner(Learner::None)] {
        let mut change = add();
        change.on(Got::Nothing, 0);
        change.on(Got::Begun(Ok(())), 1);
        assert_eq!(failed(change.on(got, 2)), (ChangeError::WriterLost, true));
    }
    let mut change = remove();
    change.on(Got::Nothing, 0);
    let all = told(&[("a:1", OLD), ("b:1", OLD), ("c:1", OLD)]);
    assert_eq!(change.on(all, 1), Order::Change(MemberChange::Remove("a:1".to_owned())));
    assert_eq!(failed(change.on(Got::WriterLost, 2)), (ChangeError::WriterLost, false));
}

#[test]
fn none_leaves_with_a_segment_that_a_majority_of_the_others_lacks() {
    let mut change = remove();
    change.on(Got::Nothing, 0);
    // The second segment is on two of three, but only on one of the two that would remain.
    let lost = || told(&[("a:1", OLD), ("b:1", OLD), ("c:1", &OLD[..1])]);
    assert_eq!(change.on(lost(), 1), Order::Pause(COMPARE_PAUSE_MS));
    assert_eq!(asked_of(&change.on(Got::Done, 501)), ["a:1", "b:1", "c:1"]);
    // The one that leaves does not answer: the others tell what there is.
    let without = told(&[("b:1", OLD), ("c:1", OLD)]);
    assert_eq!(
        change.on(without, 502),
        Order::Change(MemberChange::Remove("a:1".to_owned()))
    );

    let mut change = remove();
    change.on(Got::Nothing, 0);
    let (error, drops_learner) = failed(change.on(lost(), GIVE_UP_AFTER_MS + 1));
    assert_eq!(
        error,
        ChangeError::TooLate("segment 5-9 is not on a majority of those that would remain".to_owned())
    );
    assert!(!drops_learner);
}

#[test]
fn what_the_writer_refuses_anyway_waits_for_no_segments() {
    let two = ["a:1", "b:1"].map(at).to_vec();
    let mut change = MembershipChange::new(None, Some("a:1"), two, 0).unwrap();
    assert_eq!(
        change.on(Got::Nothing, 0),
        Order::Change(MemberChange::Remove("a:1".to_owned()))
    );
    let mut change = MembershipChange::new(None, Some("x:1"), members(), 0).unwrap();
    assert_eq!(
        change.on(Got::Nothing, 0),
        Order::Change(MemberChange::Remove("x:1".to_owned()))
    );
    let unchanged = Unchanged {
        why: "x:1 is no JournalNode of this journal".to_owned(),
        learner: Learner::None,
    };
    let (error, _) = failed(change.on(Got::Changed(Err(unchanged)), 1));
    assert_eq!(error.to_string(), "refused: x:1 is no JournalNode of this journal");
}

#[test]
fn a_request_names_one_address() {
    let new = |add, remove| MembershipChange::new(add, remove, members(), 0).err();
    assert_eq!(new(None, None), Some(ChangeError::NotOne));
    assert_eq!(new(Some("d:1"), Some("a:1")), Some(ChangeError::NotOne));
    assert!(matches!(new(Some("d:one"), None), Some(ChangeError::Address(_))));
}

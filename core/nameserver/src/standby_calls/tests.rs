//! Calls by their numbers.

use super::*;
use hathi_formats::exceptions::ExceptionClass;

const FIRST: &str = "nn1@a";
const SECOND: &str = "nn2@b";

fn held(holder: &str) -> LeaseView {
    LeaseView::HeldByOther(holder.into())
}

fn calls(view: LeaseView) -> StandbyCalls<u32> {
    let mut calls = StandbyCalls::default();
    calls.set_view(view);
    calls
}

/// A call of a client that was sent away before, and that came at 0 ms.
fn second_attempt(number: u32) -> Kept<u32> {
    Kept::new(number, true, true, 0)
}

fn keep(calls: &mut StandbyCalls<u32>, role: Role, now_ms: u64) -> Option<Option<Question<u32>>> {
    calls.keep(second_attempt(1), role, now_ms, |_| ()).ok()
}

fn waits(calls: &mut StandbyCalls<u32>, role: Role, now_ms: u64) -> bool {
    matches!(keep(calls, role, now_ms), Some(None))
}

fn asked(calls: &mut StandbyCalls<u32>) -> Question<u32> {
    keep(calls, Role::Standby, 0).flatten().expect("the active is asked")
}

fn error(class: ExceptionClass) -> Answered<()> {
    Answered::Answer(Err(RemoteException::new(class, "why")))
}

/// After this answer the call is looked at again.
fn again(calls: &mut StandbyCalls<u32>, question: Question<u32>, answered: Answered<()>) -> Kept<u32> {
    match calls.settle(question, answered) {
        Settled::Again(kept) => kept,
        settled => panic!("{settled:?}"),
    }
}

#[test]
fn while_the_namespace_is_loaded_clients_wait_or_go_elsewhere_and_daemons_ask_again() {
    let said = |answer: WhileLoading| match answer {
        WhileLoading::Keep(refused) => (true, refused.is(exceptions::STANDBY)),
        WhileLoading::Refuse(refused) => (false, refused.is(exceptions::STANDBY)),
    };
    for has_served in [false, true] {
        assert_eq!(said(while_loading(true, true, false, has_served)), (true, false));
        assert_eq!(said(while_loading(true, false, true, has_served)), (true, true));
        assert_eq!(said(while_loading(false, true, false, has_served)), (false, false));
        assert_eq!(said(while_loading(false, false, true, has_served)), (false, has_served));
        assert_eq!(said(while_loading(true, false, false, has_served)), (false, has_served));
    }
}

#[test]
fn an_active_that_is_asked_in_vain_is_not_asked_about_the_same_call_again() {
    for answered in [Answered::Failed, error(exceptions::STANDBY)] {
        let mut calls = calls(held(FIRST));
        let question = asked(&mut calls);
        assert_eq!(&*question.holder, FIRST);
        let kept = again(&mut calls, question, answered);
        // The holder is dead, and that will soon be known.
        assert!(calls.keep(kept, Role::Standby, 1, |_| ()).unwrap().is_none());
        assert!(calls.set_view(LeaseView::Free));
        assert!(calls.review(Role::Standby, 2, |_| false).questions.is_empty());
        assert!(calls.set_view(held(SECOND)));
        let reviewed = calls.review(Role::Standby, 3, |_| false);
        let holders: Vec<_> = reviewed.questions.iter().map(|question| &*question.holder).collect();
        assert_eq!(holders, [SECOND]);
    }
}

#[test]
fn a_call_waits_as_long_as_somebody_may_become_active_and_no_longer() {
    let mut free = calls(LeaseView::Free);
    assert!(waits(&mut free, Role::Standby, KEEP_MS - 1));
    assert!(!waits(&mut free, Role::Standby, KEEP_MS));
    assert!(waits(&mut free, Role::BecomingActive, 0));
    let mut other = calls(held(FIRST));
    assert!(waits(&mut other, Role::SteppingDown, 0));
    // This one takes its waiting calls as soon as it is active.
    assert!(keep(&mut free, Role::Active, 0).is_none());
    // JournalNodes without leases never tell more. Others are between two leases.
    let mut unknown = calls(LeaseView::Unknown);
    assert!(keep(&mut unknown, Role::Standby, 0).is_none());
    free.set_view(LeaseView::Unknown);
    assert!(waits(&mut free, Role::Standby, 0));
    // The only NameNode loads, however long it takes.
    let mut only = calls(LeaseView::NoOther);
    assert!(waits(&mut only, Role::Initializing, 10 * KEEP_MS));
    assert!(keep(&mut only, Role::Active, 0).is_none());
    assert_eq!(free.kept() + other.kept() + unknown.kept() + only.kept(), 5);
}

#[test]
fn waiting_calls_are_taken_once_or_sent_away_when_their_time_is_over() {
    let mut calls = calls(LeaseView::Free);
    for number in 0..3 {
        assert!(
            calls
                .keep(second_attempt(number), Role::Standby, 0, |_| ())
                .unwrap()
                .is_none()
        );
    }
    // An active takes them.
    assert!(calls.review(Role::Active, KEEP_MS, |_| false).sent_away.is_empty());
    let reviewed = calls.review(Role::Standby, KEEP_MS, |number| *number == 1);
    assert_eq!(reviewed.sent_away, [0, 2], "the client of 1 is gone");
    assert!(calls.take().is_empty());
    calls.keep(second_attempt(4), Role::Standby, 0, |_| ()).unwrap();
    assert_eq!(calls.take().len(), 1);
    assert!(calls.take().is_empty());
}

#[test]
fn only_calls_whose_client_would_sleep_are_passed_on() {
    let mut calls = calls(held(FIRST));
    let first_attempt = Kept::new(1, true, false, 0);
    let question = calls.keep(first_attempt, Role::Standby, 0, |_| ()).unwrap().unwrap();
    assert!(!question.kept.is_passed_on(), "its client finds the active by itself");
    assert!(matches!(
        calls.settle(question, Answered::<()>::Reached),
        Settled::SendAway(1)
    ));
    let first_attempt = Kept::new(1, true, false, 0);
    let question = calls.keep(first_attempt, Role::Standby, 0, |_| ()).unwrap().unwrap();
    // A connection can't be made, so its client would fare no better.
    assert!(again(&mut calls, question, Answered::Failed).is_passed_on());
    assert!(asked(&mut calls).kept.is_passed_on());
    let daemon = Kept::new(2, false, true, 0);
    assert_eq!(calls.keep(daemon, Role::Standby, 0, |_| ()).unwrap_err().call, 2);
    // One that has waited is passed on.
    calls.set_view(LeaseView::Free);
    let first_attempt = Kept::new(3, true, false, 0);
    assert!(calls.keep(first_attempt, Role::Standby, 0, |_| ()).unwrap().is_none());
    assert!(calls.take().iter().all(Kept::is_passed_on));
}

#[test]
fn each_answer_of_the_active_has_its_meaning() {
    let mut calls = calls(held(FIRST));
    let mut settle = |answered| {
        let question = asked(&mut calls);
        calls.settle(question, answered)
    };
    assert!(matches!(settle(Answered::Answer(Ok(()))), Settled::Answer(1, Ok(()))));
    let refused = settle(error(exceptions::IO));
    assert!(matches!(refused, Settled::Answer(1, Err(error)) if error.is(exceptions::IO)));
    assert!(matches!(settle(error(exceptions::CALL_IN_DOUBT)), Settled::SendAway(1)));
    // It is asked again at once, with another look at the client.
    let Settled::Again(late) = settle(error(exceptions::CALL_LATE)) else {
        panic!("it is late");
    };
    assert!(calls.keep(late, Role::Standby, 1, |_| ()).unwrap().is_some());
}

#[test]
fn when_another_becomes_active_meanwhile_that_one_is_asked() {
    let mut calls = calls(held(FIRST));
    let question = asked(&mut calls);
    assert!(calls.is_active(FIRST));
    assert!(calls.set_view(held(SECOND)) && !calls.set_view(held(SECOND)));
    assert!(!calls.is_active(FIRST) && calls.another_was_active());
    let kept = again(&mut calls, question, Answered::NotActive);
    let question = calls.keep(kept, Role::Standby, 1, |_| ()).unwrap().unwrap();
    assert_eq!(&*question.holder, SECOND);
    // The first one may come back, and is asked then, because it has refused nothing.
    calls.set_view(LeaseView::Free);
    let kept = again(&mut calls, question, Answered::NotActive);
    calls.set_view(held(SECOND));
    assert!(calls.keep(kept, Role::Standby, 2, |_| ()).unwrap().is_some());
}

#[test]
fn the_calls_that_wait_and_those_that_are_asked_about_are_limited_together() {
    let mut calls = calls(LeaseView::Free);
    for _ in 0..CALLS_MAX - 1 {
        assert!(waits(&mut calls, Role::Standby, 0));
    }
    calls.set_view(held(FIRST));
    let question = asked(&mut calls);
    assert!(keep(&mut calls, Role::Standby, 0).is_none(), "there is no room");
    assert!(matches!(
        calls.settle(question, Answered::<()>::Reached),
        Settled::SendAway(1)
    ));
    assert!(keep(&mut calls, Role::Standby, 0).is_some());
}

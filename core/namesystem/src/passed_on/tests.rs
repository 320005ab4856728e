use super::*;

const CONNECTION: u32 = 7;

fn key(client: u64, call_id: i32) -> CallKey {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&client.to_le_bytes());
    CallKey::new(&id, call_id).unwrap()
}

fn waiting(waiting_at_ms: u64, age_ms: u64) -> PassedOn {
    PassedOn {
        waiting_at_ms,
        age_ms,
        connection: CONNECTION,
    }
}

#[test]
fn safety_11_a_call_held_up_between_two_namenodes_is_late() {
    let calls = LatestCalls::default();
    let passed_on = waiting(10_000, 0);
    assert_eq!(calls.check(&key(1, 5), &passed_on, 10_000 + FRESH_MS), Ok(()));
    assert_eq!(
        calls.check(&key(1, 5), &passed_on, 10_001 + FRESH_MS),
        Err(CallDoubt::Late)
    );
    // The clock is another process's.
    assert_eq!(calls.check(&key(1, 5), &passed_on, 9_999), Err(CallDoubt::Late));
}

#[test]
fn safety_11_a_call_whose_client_was_served_elsewhere_meanwhile_is_refused() {
    for (answered, doubt) in [
        (4, Ok(())),
        (5, Err(CallDoubt::Overtaken)),
        (6, Err(CallDoubt::Overtaken)),
    ] {
        let mut calls = LatestCalls::default();
        calls.note(&key(1, answered), None, 18_000);
        // It has been at the standby for longer than that.
        assert_eq!(calls.check(&key(1, 5), &waiting(20_000, 2_500), 20_010), doubt);
        assert_eq!(calls.check(&key(2, 5), &waiting(20_000, 2_500), 20_010), Ok(()));
    }
}

#[test]
fn what_a_client_was_served_before_its_call_came_is_no_reason_to_refuse_it() {
    let mut calls = LatestCalls::default();
    // The first attempt of this call, whose answer was lost.
    calls.note(&key(1, 5), None, 18_000);
    assert_eq!(calls.check(&key(1, 5), &waiting(20_000, 1_999), 20_010), Ok(()));
    assert_eq!(
        calls.check(&key(1, 5), &waiting(20_000, 2_000), 20_010),
        Err(CallDoubt::Overtaken)
    );
}

#[test]
fn threads_of_a_client_that_come_at_once_by_several_ways_are_all_served() {
    let mut calls = LatestCalls::default();
    let here = waiting(20_000, 500);
    let there = PassedOn {
        connection: CONNECTION + 1,
        age_ms: 500 - CONCURRENT_MS + 1,
        ..here
    };
    calls.note(&key(1, 6), Some(&there), 20_001);
    assert_eq!(calls.check(&key(1, 5), &here, 20_002), Ok(()));
    let later = PassedOn {
        age_ms: 500 - CONCURRENT_MS,
        ..there
    };
    calls.note(&key(1, 6), Some(&later), 20_001);
    assert_eq!(calls.check(&key(1, 5), &here, 20_002), Err(CallDoubt::Overtaken));
}

#[test]
fn calls_of_one_connection_do_not_contradict_each_other() {
    let mut calls = LatestCalls::default();
    let first = waiting(20_000, 500);
    for call_id in [9, 3, 7] {
        assert_eq!(calls.check(&key(1, call_id), &first, 20_001), Ok(()));
        calls.note(&key(1, call_id), Some(&first), 20_001);
    }
    let other = PassedOn {
        connection: CONNECTION + 1,
        waiting_at_ms: 20_000 + CONCURRENT_MS,
        ..first
    };
    assert_eq!(calls.check(&key(1, 10), &other, 20_102), Ok(()));
    calls.note(&key(1, 10), Some(&other), 20_102);
    // The client went on over another connection, and what came over the first one counts there like a direct call.
    assert_eq!(calls.check(&key(1, 8), &first, 20_103), Err(CallDoubt::Overtaken));
    let earlier = PassedOn { age_ms: 700, ..other };
    assert_eq!(calls.check(&key(1, 9), &earlier, 20_103), Err(CallDoubt::Overtaken));
}

#[test]
fn a_client_that_was_forgotten_is_not_believed_until_its_call_is_newer() {
    let mut calls = LatestCalls::default();
    let clients = (BUCKETS * WAYS * 4) as u64;
    for client in 0..clients {
        calls.note(&key(client, 5), None, 50_000 + client);
    }
    let now = 50_000 + clients;
    let (mut forgotten, mut overtaken) = (0, 0);
    for client in 0..clients {
        match calls.check(&key(client, 5), &waiting(now, clients), now) {
            Err(CallDoubt::Forgotten) => forgotten += 1,
            Err(CallDoubt::Overtaken) => overtaken += 1,
            other => panic!("{other:?}"),
        }
        let fresh = waiting(now + 2_000_000, 0);
        assert_eq!(calls.check(&key(client, 5), &fresh, now + 2_000_000), Ok(()));
    }
    assert!(overtaken > 0 && forgotten > overtaken, "{forgotten} {overtaken}");
}

#[test]
fn safety_11_who_stood_still_takes_calls_for_as_old_as_they_may_be() {
    let mut turns = Turns::new(1_000);
    turns.turn(1_025);
    turns.turn(1_050);
    // Stopped until 9000; the task that reads the calls runs before the one that counts turns, or after it.
    assert!(turns.came_after_ms() <= 1_050);
    turns.turn(9_000);
    assert_eq!(turns.came_after_ms(), 1_050);
    turns.turn(9_025);
    assert_eq!(turns.came_after_ms(), 9_000);

    let mut calls = LatestCalls::default();
    calls.note(&key(1, 6), None, 5_000);
    let frozen = waiting(9_010, 9_010 - 1_050);
    assert_eq!(calls.check(&key(1, 5), &frozen, 9_011), Err(CallDoubt::Overtaken));
}

mod scripts;

use hathi_formats::ids::Epoch;

use super::*;
use crate::elector::{LockOwner, SessionNumber, ZooKeeperMessage, ZooKeeperRefusal, ZooKeeperRequest};
use crate::{ActiveStandbyElector, JournalElector};

fn zookeeper_says(session: SessionNumber, told: ZooKeeperMessage) -> ControllerEvent {
    ControllerEvent::Elector(ElectorMessage::ZooKeeper(session, told))
}

fn asks(session: SessionNumber, request: ZooKeeperRequest) -> ControllerAction {
    ControllerAction::Elector(ElectorRequest::ZooKeeper(session, request))
}

fn controller(rank: u32) -> AutomaticFailover {
    let namenode_ids = ["a", "b", "c"].map(str::to_owned).to_vec();
    AutomaticFailover::new(config(), Box::new(JournalElector::new(rank, namenode_ids, 20, 50)))
}

fn config() -> ControllerConfig {
    ControllerConfig {
        journalnodes: 3,
        backoff_ms: 50,
        silence_ms: 45_000,
        kill_after_ms: 300,
    }
}

fn instance(name: &str) -> Instance {
    Instance {
        holder: name.to_owned(),
        pid: 1,
    }
}

fn healthy(name: &str, state: ServiceState) -> ControllerEvent {
    healthy_in(name, state, false)
}

fn healthy_in(name: &str, state: ServiceState, safe_mode: bool) -> ControllerEvent {
    ControllerEvent::Health(Health::Healthy {
        instance: instance(name),
        state,
        last_applied_txid: 0,
        safe_mode,
    })
}

fn unhealthy(name: &str, state: ServiceState) -> ControllerEvent {
    ControllerEvent::Health(Health::Unhealthy {
        instance: instance(name),
        state,
    })
}

fn answer(epoch: u64, holder: &str, running: bool) -> LeaseAnswer {
    match running {
        true => LeaseAnswer::Held {
            epoch: Epoch(epoch),
            holder: Some(holder.to_owned()),
        },
        false => LeaseAnswer::Free,
    }
}

fn lease(controller: &mut AutomaticFailover, holder: &str, running: bool, now: u64) -> Vec<ControllerAction> {
    let mut all = Vec::new();
    for journalnode in 0..3 {
        all.extend(controller.on(
            ControllerEvent::Lease {
                journalnode,
                view: Some(answer(1, holder, running)),
            },
            now,
        ));
    }
    all
}

#[test]
fn tries_once_when_the_lease_is_free_and_backs_off_when_refused() {
    let mut c = controller(1);
    assert_eq!(c.on(healthy("b@1", ServiceState::Standby), 0), []);
    assert_eq!(lease(&mut c, "a@1", true, 10), []);
    assert_eq!(lease(&mut c, "a@1", false, 20), [ControllerAction::BecomeActive]);
    assert_eq!(c.on(ControllerEvent::Tick, 21), [], "one request at a time");
    assert_eq!(c.on(ControllerEvent::BecameActive(Err(())), 30), []);
    assert_eq!(c.on(ControllerEvent::Tick, 79), []);
    assert_eq!(c.on(ControllerEvent::Tick, 80), [ControllerAction::BecomeActive]);
    c.on(ControllerEvent::BecameActive(Err(())), 80);
    assert_eq!(c.on(ControllerEvent::Tick, 179), [], "the wait doubles");
    assert_eq!(c.on(ControllerEvent::Tick, 180), [ControllerAction::BecomeActive]);
}

#[test]
fn later_ranks_wait_their_turn() {
    let mut c = controller(2);
    c.on(healthy("c@1", ServiceState::Standby), 0);
    assert_eq!(lease(&mut c, "a@1", false, 100), []);
    assert_eq!(c.on(ControllerEvent::Tick, 139), []);
    assert_eq!(c.on(ControllerEvent::Tick, 140), [ControllerAction::BecomeActive]);
}

#[test]
fn turns_go_round_from_the_last_holder_on() {
    for (last, first, second, third) in [("a", 1, 2, 0), ("b", 2, 0, 1), ("c", 0, 1, 2)] {
        for (rank, delay) in [(first, 0), (second, 20), (third, 40)] {
            let mut c = controller(rank);
            c.on(healthy("x@1", ServiceState::Standby), 0);
            lease(&mut c, &format!("{last}@1"), true, 50);
            let at_once = lease(&mut c, &format!("{last}@1"), false, 100);
            assert_eq!(at_once.is_empty(), delay > 0, "{last} {rank}");
            if delay > 0 {
                assert_eq!(c.on(ControllerEvent::Tick, 99 + delay), []);
                assert_eq!(
                    c.on(ControllerEvent::Tick, 100 + delay),
                    [ControllerAction::BecomeActive]
                );
            }
        }
    }
}

#[test]
fn who_is_in_safe_mode_comes_after_all_others() {
    let mut c = controller(1);
    c.on(healthy_in("b@1", ServiceState::Standby, true), 0);
    lease(&mut c, "a@1", true, 50);
    assert_eq!(lease(&mut c, "a@1", false, 100), []);
    assert_eq!(c.on(ControllerEvent::Tick, 159), []);
    assert_eq!(c.on(ControllerEvent::Tick, 160), [ControllerAction::BecomeActive]);
    let mut c = controller(1);
    c.on(healthy_in("b@1", ServiceState::Standby, true), 0);
    lease(&mut c, "a@1", true, 50);
    lease(&mut c, "a@1", false, 100);
    let out = healthy_in("b@1", ServiceState::Standby, false);
    assert_eq!(c.on(out, 110), [ControllerAction::BecomeActive]);
}

#[test]
fn only_a_healthy_standby_is_elected() {
    for event in [
        healthy("b@1", ServiceState::Initializing),
        healthy("b@1", ServiceState::Observer),
        healthy("b@1", ServiceState::Active),
        unhealthy("b@1", ServiceState::Standby),
        ControllerEvent::Health(Health::NotResponding),
        ControllerEvent::Health(Health::Down),
    ] {
        let mut c = controller(0);
        c.on(event.clone(), 0);
        assert_eq!(lease(&mut c, "a@1", false, 1), [], "{event:?}");
    }
}

#[test]
fn a_dead_namenode_gives_its_lease_back_at_once() {
    let mut c = controller(1);
    c.on(healthy("a@1", ServiceState::Active), 0);
    lease(&mut c, "a@1", true, 1);
    assert_eq!(
        c.on(ControllerEvent::ProcessEnded(instance("a@1")), 5),
        [ControllerAction::ReleaseLease("a@1".to_owned())]
    );
    assert_eq!(lease(&mut c, "a@1", false, 6), [], "nobody left to elect here");
}

#[test]
fn a_deposed_active_steps_down_or_is_killed() {
    let mut c = controller(1);
    c.on(healthy("a@1", ServiceState::Active), 0);
    lease(&mut c, "a@1", true, 1);
    assert_eq!(lease(&mut c, "b@1", true, 10), [ControllerAction::BecomeStandby]);
    assert_eq!(
        c.on(ControllerEvent::BecameStandby(Ok(())), 20),
        [],
        "asked once, not until the next probe"
    );
    c.on(healthy("a@1", ServiceState::Active), 30);
    c.on(ControllerEvent::BecameStandby(Err(())), 40);
    c.on(ControllerEvent::Health(Health::NotResponding), 100);
    assert_eq!(c.on(ControllerEvent::Tick, 329), []);
    assert_eq!(
        c.on(ControllerEvent::Tick, 330),
        [ControllerAction::Kill(instance("a@1"))]
    );
    assert_eq!(c.on(ControllerEvent::Tick, 1000), []);
}

#[test]
fn safety_08_a_holder_that_is_not_well_steps_down_and_stays_out_until_it_is_well() {
    let mut c = controller(0);
    c.on(healthy("a@1", ServiceState::Active), 0);
    lease(&mut c, "a@1", true, 1);
    let unwell = unhealthy("a@1", ServiceState::Active);
    assert_eq!(c.on(unwell.clone(), 100), [ControllerAction::BecomeStandby]);
    assert_eq!(c.on(unwell.clone(), 200), [], "one request at a time");
    assert_eq!(c.on(ControllerEvent::BecameStandby(Err(())), 210), []);
    assert_eq!(c.on(unwell.clone(), 259), [], "not at once again");
    assert_eq!(c.on(unwell, 300), [ControllerAction::BecomeStandby]);
    assert_eq!(c.on(ControllerEvent::BecameStandby(Ok(())), 320), []);
    // It has given its lease back, and nobody else wants it.
    assert_eq!(lease(&mut c, "a@1", false, 330), []);
    assert_eq!(c.on(unhealthy("a@1", ServiceState::Standby), 400), []);
    assert_eq!(c.on(ControllerEvent::Tick, 60_000), []);
    assert_eq!(
        c.on(healthy("a@1", ServiceState::Standby), 60_100),
        [ControllerAction::BecomeActive],
        "well again"
    );
}

#[test]
fn safety_08_a_controller_that_starts_beside_an_unhealthy_holder_knows_it() {
    let mut c = controller(0);
    lease(&mut c, "a@1", true, 1);
    assert_eq!(
        c.on(unhealthy("a@1", ServiceState::Active), 100),
        [ControllerAction::BecomeStandby]
    );
}

#[test]
fn a_deposed_active_that_is_not_well_steps_down_too() {
    let mut c = controller(1);
    c.on(unhealthy("a@1", ServiceState::Active), 0);
    assert_eq!(lease(&mut c, "b@1", true, 10), [ControllerAction::BecomeStandby]);
}

#[test]
fn a_silent_namenode_is_not_killed_while_nobody_else_serves() {
    let mut c = controller(1);
    c.on(healthy("a@1", ServiceState::Active), 0);
    lease(&mut c, "a@1", true, 1);
    c.on(ControllerEvent::Health(Health::NotResponding), 100);
    assert_eq!(c.on(ControllerEvent::Tick, 10_000), []);
    lease(&mut c, "a@1", false, 10_001);
    assert_eq!(c.on(ControllerEvent::Tick, 20_000), []);
}

#[test]
fn a_standby_that_is_slow_to_answer_is_not_killed() {
    let mut c = controller(1);
    c.on(healthy("b@1", ServiceState::Standby), 0);
    lease(&mut c, "a@1", true, 10);
    c.on(ControllerEvent::Health(Health::NotResponding), 20);
    assert_eq!(c.on(ControllerEvent::Tick, 10_000), []);
}

#[test]
fn a_namenode_that_was_asked_to_be_active_and_fell_silent_is_killed_when_another_serves() {
    let mut c = controller(1);
    c.on(healthy("b@1", ServiceState::Standby), 0);
    lease(&mut c, "a@1", true, 5);
    assert_eq!(lease(&mut c, "a@1", false, 10), [ControllerAction::BecomeActive]);
    assert_eq!(
        c.on(healthy("b@1", ServiceState::Standby), 15),
        [],
        "a probe that was on its way"
    );
    c.on(ControllerEvent::Health(Health::NotResponding), 20);
    lease(&mut c, "c@1", true, 30);
    assert_eq!(
        c.on(ControllerEvent::Tick, 330),
        [ControllerAction::Kill(instance("b@1"))]
    );
}

#[test]
fn a_ban_keeps_out_of_the_election_until_it_ends() {
    let mut c = controller(1);
    c.on(healthy("a@1", ServiceState::Standby), 0);
    c.on(ControllerEvent::Cede { millis: 1000 }, 0);
    assert_eq!(lease(&mut c, "a@1", false, 10), []);
    assert_eq!(c.on(ControllerEvent::Tick, 999), []);
    assert_eq!(
        c.on(ControllerEvent::Cede { millis: -1 }, 999),
        [ControllerAction::BecomeActive]
    );
}

fn beside_zookeeper() -> AutomaticFailover {
    let shared_directory = ControllerConfig {
        journalnodes: 0,
        ..config()
    };
    AutomaticFailover::new(shared_directory, Box::new(ActiveStandbyElector::new(vec![1], 3)))
}

/// Its NameNode is active since 2 ms, in the session 1.
fn elected_by_zookeeper() -> AutomaticFailover {
    let mut c = beside_zookeeper();
    c.on(healthy("a@1", ServiceState::Standby), 0);
    for told in [
        ZooKeeperMessage::LockCreated(Ok(())),
        ZooKeeperMessage::Breadcrumb(Ok(None)),
        ZooKeeperMessage::BreadcrumbWritten(Ok(4)),
    ] {
        c.on(zookeeper_says(1, told), 1);
    }
    c.on(ControllerEvent::BecameActive(Ok(())), 2);
    c
}

#[test]
fn a_controller_that_is_started_again_leaves_its_own_active_alone() {
    let mut c = beside_zookeeper();
    let joins = [asks(1, ZooKeeperRequest::Open), asks(1, ZooKeeperRequest::CreateLock)];
    assert_eq!(c.on(healthy("a@1", ServiceState::Active), 0), joins);
    let look = [asks(1, ZooKeeperRequest::LookAtLock)];
    let told = |c: &mut AutomaticFailover, told| c.on(zookeeper_says(1, told), 10);
    assert_eq!(
        told(&mut c, ZooKeeperMessage::LockCreated(Err(ZooKeeperRefusal::Exists))),
        look
    );
    let names_it = ZooKeeperMessage::LockSeen(Ok(LockOwner::Other(vec![1])));
    assert_eq!(
        told(&mut c, names_it),
        [],
        "the lock of its last session keeps everybody else out"
    );
    assert_eq!(c.on(healthy("a@1", ServiceState::Active), 1000), []);
    // That session ends, and it is elected anew.
    assert_eq!(told(&mut c, ZooKeeperMessage::LockChanged), look);
    let create = [asks(1, ZooKeeperRequest::CreateLock)];
    assert_eq!(
        told(&mut c, ZooKeeperMessage::LockSeen(Err(ZooKeeperRefusal::Missing))),
        create
    );
    let read = [asks(1, ZooKeeperRequest::ReadBreadcrumb)];
    assert_eq!(told(&mut c, ZooKeeperMessage::LockCreated(Ok(()))), read);
    let write = [asks(1, ZooKeeperRequest::WriteBreadcrumb { replaces: Some(7) })];
    assert_eq!(
        told(&mut c, ZooKeeperMessage::Breadcrumb(Ok(Some((vec![1], 7))))),
        write
    );
    // Or somebody else.
    let mut c = beside_zookeeper();
    c.on(healthy("a@1", ServiceState::Active), 0);
    told(&mut c, ZooKeeperMessage::LockCreated(Err(ZooKeeperRefusal::Exists)));
    told(&mut c, ZooKeeperMessage::LockSeen(Ok(LockOwner::Other(vec![1]))));
    told(&mut c, ZooKeeperMessage::LockChanged);
    let names_another = ZooKeeperMessage::LockSeen(Ok(LockOwner::Other(vec![2])));
    assert_eq!(told(&mut c, names_another), [ControllerAction::BecomeStandby]);
}

#[test]
fn the_lease_of_a_dead_namenode_is_given_back_before_its_lock() {
    let gives_up = [
        asks(1, ZooKeeperRequest::DeleteBreadcrumb { version: 4 }),
        asks(1, ZooKeeperRequest::Close),
    ];
    let ends = |c: &mut AutomaticFailover| {
        let release = [ControllerAction::ReleaseLease("a@1".to_owned())];
        assert_eq!(c.on(ControllerEvent::ProcessEnded(instance("a@1")), 10), release);
        assert!(c.needs_ticks());
        assert_eq!(c.on(ControllerEvent::Health(Health::Down), 11), []);
        assert_eq!(
            c.on(ControllerEvent::LeaseReleased("z@1".to_owned()), 12),
            [],
            "another one's"
        );
    };
    let mut c = elected_by_zookeeper();
    ends(&mut c);
    assert_eq!(c.on(ControllerEvent::LeaseReleased("a@1".to_owned()), 13), gives_up);
    // The JournalNodes do not answer.
    let mut c = elected_by_zookeeper();
    ends(&mut c);
    assert_eq!(c.on(ControllerEvent::Tick, 9 + RELEASE_LIMIT_MS), []);
    assert_eq!(c.on(ControllerEvent::Tick, 10 + RELEASE_LIMIT_MS), gives_up);
}

#[test]
fn a_controller_that_ends_gives_the_lock_up_and_lets_its_namenode_be_fenced() {
    let mut c = elected_by_zookeeper();
    assert_eq!(c.on(ControllerEvent::Quit, 3), [asks(1, ZooKeeperRequest::Close)]);
    assert_eq!(c.on(healthy("a@1", ServiceState::Active), 4), []);
    let mut c = beside_zookeeper();
    assert_eq!(c.on(ControllerEvent::Quit, 3), [], "it had no session");
    // As it does when nobody asks its NameNode any more.
    let mut c = elected_by_zookeeper();
    let [
        ControllerAction::GiveUp(_),
        ControllerAction::Elector(ElectorRequest::ZooKeeper(1, ZooKeeperRequest::Close)),
    ] = &c.on(ControllerEvent::HealthMonitorFailed, 3)[..]
    else {
        panic!("it stays");
    };
    assert_eq!(c.health_state(), HealthState::Failed);
}

#[test]
fn lost_answers_are_asked_for_so_often_and_no_oftener() {
    let mut c = beside_zookeeper();
    c.on(healthy("a@1", ServiceState::Standby), 0);
    c.on(zookeeper_says(1, ZooKeeperMessage::LockCreated(Ok(()))), 1);
    let lost = || zookeeper_says(1, ZooKeeperMessage::Breadcrumb(Err(ZooKeeperRefusal::ConnectionLost)));
    for _ in 0..3 {
        assert_eq!(c.on(lost(), 2), [asks(1, ZooKeeperRequest::ReadBreadcrumb)]);
    }
    assert_eq!(c.on(lost(), 3), [asks(1, ZooKeeperRequest::Close)]);
    // The active is not given up.
    let mut c = elected_by_zookeeper();
    c.on(zookeeper_says(1, ZooKeeperMessage::Reconnected), 10);
    for _ in 0..10 {
        let lost = ZooKeeperMessage::LockSeen(Err(ZooKeeperRefusal::ConnectionLost));
        assert_eq!(
            c.on(zookeeper_says(1, lost), 11),
            [asks(1, ZooKeeperRequest::LookAtLock)]
        );
    }
}

#[test]
fn a_namenode_that_falls_ill_again_and_again_is_not_elected_each_time() {
    let mut c = controller(0);
    c.on(healthy("a@1", ServiceState::Standby), 0);
    let well = |c: &mut AutomaticFailover, now| c.on(healthy("a@1", ServiceState::Standby), now);
    let ill = |c: &mut AutomaticFailover, now| c.on(unhealthy("a@1", ServiceState::Standby), now);
    lease(&mut c, "b@1", true, 1);
    ill(&mut c, 10);
    well(&mut c, 20);
    ill(&mut c, 30);
    lease(&mut c, "b@1", false, 40);
    assert_eq!(well(&mut c, 100), []);
    assert_eq!(well(&mut c, 299), []);
    assert_eq!(c.on(ControllerEvent::Tick, 300), [ControllerAction::BecomeActive]);
}

/// Hears of a lock that is its own now, in this session.
fn wins_the_lock(c: &mut AutomaticFailover, session: SessionNumber, now: u64) -> Vec<ControllerAction> {
    c.on(zookeeper_says(session, ZooKeeperMessage::LockCreated(Ok(()))), now)
}

/// Hears what the breadcrumb says, and writes it; whether it is to be promoted then.
fn writes_its_breadcrumb(c: &mut AutomaticFailover, session: SessionNumber, now: u64) -> bool {
    let written = zookeeper_says(session, ZooKeeperMessage::BreadcrumbWritten(Ok(5)));
    c.on(written, now) == [ControllerAction::BecomeActive]
}

#[test]
fn a_namenode_that_was_said_to_be_fenced_and_goes_on_is_told_of_and_fenced_until_it_stops() {
    let mut c = AutomaticFailover::new(config(), Box::new(ActiveStandbyElector::new(vec![1], 3)));
    lease(&mut c, "a@1", true, 0);
    c.on(healthy("b@1", ServiceState::Standby), 1);
    let read = |version: i32, named: u8| ZooKeeperMessage::Breadcrumb(Ok(Some((vec![named], version))));
    wins_the_lock(&mut c, 1, 2);
    let fence = [ControllerAction::Fence(Former::OfBreadcrumb(vec![0]))];
    assert_eq!(c.on(zookeeper_says(1, read(4, 0)), 3), fence);
    c.on(ControllerEvent::Fenced(Fenced::Unheard("a".to_owned())), 4);
    assert_eq!(c.split(), None, "its lease may run out yet");
    assert!(writes_its_breadcrumb(&mut c, 1, 5));
    // The JournalNodes admit nobody beside the holder of the lease.
    let closes = [asks(1, ZooKeeperRequest::Close)];
    assert_eq!(c.on(ControllerEvent::BecameActive(Err(())), 2000), closes);
    assert_eq!(c.split(), Some("a"));
    c.on(healthy("b@1", ServiceState::Standby), 2100);

    // The breadcrumb names its own NameNode by now; who holds the lease is fenced all the same.
    c.on(ControllerEvent::Tick, 3000);
    wins_the_lock(&mut c, 2, 3001);
    let fence = [ControllerAction::Fence(Former::OfLease("a".to_owned()))];
    assert_eq!(c.on(zookeeper_says(2, read(5, 1)), 3002), fence);
    c.on(ControllerEvent::Fenced(Fenced::Unheard("a".to_owned())), 3003);
    assert_eq!(c.split(), Some("a"), "nothing else is known of it");
    assert!(writes_its_breadcrumb(&mut c, 2, 3004));
    c.on(ControllerEvent::BecameActive(Err(())), 5000);
    c.on(healthy("b@1", ServiceState::Standby), 5100);

    // Another one is elected, in vain, and has written its own.
    c.on(ControllerEvent::Tick, 6000);
    c.on(
        zookeeper_says(3, ZooKeeperMessage::LockCreated(Err(ZooKeeperRefusal::Exists))),
        6001,
    );
    c.on(
        zookeeper_says(3, ZooKeeperMessage::LockSeen(Ok(LockOwner::Other(vec![2])))),
        6002,
    );
    assert_eq!(c.split(), None, "the elected one may be any");
    c.on(zookeeper_says(3, ZooKeeperMessage::LockChanged), 7000);
    c.on(
        zookeeper_says(3, ZooKeeperMessage::LockSeen(Err(ZooKeeperRefusal::Missing))),
        7001,
    );
    wins_the_lock(&mut c, 3, 7002);
    let fence = [ControllerAction::Fence(Former::OfBreadcrumb(vec![2]))];
    assert_eq!(c.on(zookeeper_says(3, read(9, 2)), 7003), fence);
    let fence = [ControllerAction::Fence(Former::OfLease("a".to_owned()))];
    assert_eq!(c.on(ControllerEvent::Fenced(Fenced::Heard), 7004), fence);
    // It can be reached again.
    lease(&mut c, "a@1", false, 7005);
    let write = [asks(3, ZooKeeperRequest::WriteBreadcrumb { replaces: Some(9) })];
    assert_eq!(c.on(ControllerEvent::Fenced(Fenced::Heard), 7006), write);
    assert!(writes_its_breadcrumb(&mut c, 3, 7007));
    c.on(ControllerEvent::BecameActive(Ok(())), 7008);
    assert_eq!(c.split(), None);
}

#[test]
fn who_is_fenced_and_whose_lease_runs_out_is_no_split() {
    let mut c = AutomaticFailover::new(config(), Box::new(ActiveStandbyElector::new(vec![1], 3)));
    lease(&mut c, "a@1", true, 0);
    c.on(healthy("b@1", ServiceState::Standby), 1);
    let refused = |c: &mut AutomaticFailover, session: SessionNumber, now: u64| {
        wins_the_lock(c, session, now);
        c.on(
            zookeeper_says(session, ZooKeeperMessage::Breadcrumb(Ok(Some((vec![0], 4))))),
            now,
        );
        c.on(ControllerEvent::Fenced(Fenced::Unheard("a".to_owned())), now);
        writes_its_breadcrumb(c, session, now);
        c.on(ControllerEvent::BecameActive(Err(())), now + 100);
    };
    // It could not be promoted for another reason.
    lease(&mut c, "a@1", false, 2);
    refused(&mut c, 1, 3);
    assert_eq!(c.split(), None);
    lease(&mut c, "a@1", true, 1200);
    refused(&mut c, 2, 1201);
    assert_eq!(c.split(), Some("a"));
    lease(&mut c, "a@1", false, 1400);
    assert_eq!(c.split(), None, "it has stopped");
    assert!(!c.on(ControllerEvent::Tick, 3000).is_empty());
    wins_the_lock(&mut c, 3, 3001);
    let write = [asks(3, ZooKeeperRequest::WriteBreadcrumb { replaces: Some(5) })];
    let own = ZooKeeperMessage::Breadcrumb(Ok(Some((vec![1], 5))));
    assert_eq!(c.on(zookeeper_says(3, own), 3002), write, "nobody is left to be fenced");
}

#[test]
fn when_no_method_fences_nobody_is_promoted_and_it_is_tried_again_after_a_pause() {
    let mut c = beside_zookeeper();
    c.on(healthy("a@1", ServiceState::Standby), 0);
    for (session, now) in [(1, 10), (2, 1020), (3, 2030)] {
        wins_the_lock(&mut c, session, now);
        let named = ZooKeeperMessage::Breadcrumb(Ok(Some((vec![0], 4))));
        let fence = [ControllerAction::Fence(Former::OfBreadcrumb(vec![0]))];
        assert_eq!(c.on(zookeeper_says(session, named), now + 1), fence);
        let closes = [asks(session, ZooKeeperRequest::Close)];
        assert_eq!(c.on(ControllerEvent::Fenced(Fenced::Failed), now + 2), closes);
        assert_eq!(c.on(ControllerEvent::Tick, now + 1001), []);
        let joins = [
            asks(session + 1, ZooKeeperRequest::Open),
            asks(session + 1, ZooKeeperRequest::CreateLock),
        ];
        assert_eq!(c.on(ControllerEvent::Tick, now + 1002), joins);
    }
}

#[test]
fn a_namenode_that_falls_ill_again_and_again_joins_zookeepers_election_later_each_time() {
    let mut c = beside_zookeeper();
    c.on(healthy("a@1", ServiceState::Standby), 0);
    let mut now = 1000;
    for (session, waits_ms) in [(2, 0), (3, 200), (4, 400), (5, 800), (6, 1000), (7, 1000)] {
        let leaves = [asks(session - 1, ZooKeeperRequest::Close)];
        assert_eq!(c.on(unhealthy("a@1", ServiceState::Standby), now), leaves);
        let joins = [
            asks(session, ZooKeeperRequest::Open),
            asks(session, ZooKeeperRequest::CreateLock),
        ];
        for passed_ms in (0..waits_ms).step_by(100) {
            assert_eq!(c.on(healthy("a@1", ServiceState::Standby), now + passed_ms), []);
        }
        assert_eq!(c.on(healthy("a@1", ServiceState::Standby), now + waits_ms), joins);
        now += 5000;
    }
}

#[test]
fn who_cedes_steps_down_once_and_takes_its_breadcrumb_away() {
    let mut c = elected_by_zookeeper();
    assert_eq!(
        c.on(ControllerEvent::Cede { millis: 100 }, 3),
        [ControllerAction::BecomeStandby]
    );
    assert_eq!(c.on(healthy("a@1", ServiceState::Active), 4), []);
    assert!(c.may_be_active());
    let leaves = [
        asks(1, ZooKeeperRequest::DeleteBreadcrumb { version: 4 }),
        asks(1, ZooKeeperRequest::Close),
    ];
    assert_eq!(c.on(ControllerEvent::BecameStandby(Ok(())), 5), leaves);
    assert!(!c.may_be_active());
    assert_eq!(c.on(ControllerEvent::Tick, 6), [], "asked again before the next probe");
    // It was answered before the step down.
    assert_eq!(c.on(healthy("a@1", ServiceState::Active), 7), []);
    assert_eq!(c.on(healthy("a@1", ServiceState::Standby), 102), []);
    let joins = [asks(2, ZooKeeperRequest::Open), asks(2, ZooKeeperRequest::CreateLock)];
    assert_eq!(c.on(healthy("a@1", ServiceState::Standby), 103), joins);
}

#[test]
fn one_journalnode_alone_deposes_nobody() {
    let mut c = controller(0);
    c.on(healthy("a@1", ServiceState::Active), 0);
    lease(&mut c, "a@1", true, 1);
    for now in [10, 400, 1000] {
        let lie = ControllerEvent::Lease {
            journalnode: 1,
            view: Some(answer(u64::MAX, "x@y", true)),
        };
        assert_eq!(c.on(lie, now), [], "{now}");
    }
    // Nor does it with one that is not there.
    let lost = ControllerEvent::Lease {
        journalnode: 2,
        view: None,
    };
    assert_eq!(c.on(lost, 1100), []);
    assert_eq!(c.on(ControllerEvent::Tick, 2000), []);
}

#[test]
fn nobody_is_promoted_beside_a_writer_that_asks_for_no_leases() {
    let mut c = controller(0);
    c.on(healthy("a@1", ServiceState::Standby), 0);
    for journalnode in 0..3 {
        let written = ControllerEvent::Lease {
            journalnode,
            view: Some(LeaseAnswer::Written { epoch: Epoch(7) }),
        };
        assert_eq!(c.on(written, 10), []);
    }
    assert_eq!(c.on(ControllerEvent::Tick, 100_000), []);
    assert_eq!(c.lease(), QuorumLease::Written { epoch: 7 });
    assert_eq!(lease(&mut c, "", false, 100_100), [ControllerAction::BecomeActive]);
}

mod any_course {
    use super::*;
    use proptest::prelude::*;

    fn state() -> impl Strategy<Value = ServiceState> {
        use ServiceState::{Active, Initializing, Observer, Standby};
        proptest::sample::select(vec![Initializing, Active, Active, Standby, Standby, Observer])
    }

    fn name() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(vec!["a@1", "a@2", "b@1"])
    }

    fn event() -> impl Strategy<Value = ControllerEvent> {
        let view = prop_oneof![
            Just(None),
            Just(Some(LeaseAnswer::Free)),
            Just(Some(LeaseAnswer::Written { epoch: Epoch(1) })),
            (0u64..3, name()).prop_map(|(epoch, holder)| Some(answer(epoch, holder, true))),
        ];
        let answered = proptest::sample::select(vec![Ok(()), Err(())]);
        let own = proptest::sample::select(vec!["a@1", "a@2"]);
        prop_oneof![
            4 => (0usize..3, view).prop_map(|(journalnode, view)| ControllerEvent::Lease { journalnode, view }),
            3 => (own.clone(), state(), any::<bool>()).prop_map(|(name, state, safe)| healthy_in(name, state, safe)),
            1 => (own.clone(), state()).prop_map(|(name, state)| unhealthy(name, state)),
            1 => Just(ControllerEvent::Health(Health::Down)),
            1 => Just(ControllerEvent::Health(Health::NotResponding)),
            1 => own.clone().prop_map(|name| ControllerEvent::ProcessEnded(instance(name))),
            1 => own.prop_map(|name| ControllerEvent::LeaseReleased(name.to_owned())),
            2 => answered.clone().prop_map(ControllerEvent::BecameActive),
            2 => answered.prop_map(ControllerEvent::BecameStandby),
            1 => (-5i64..500).prop_map(|millis| ControllerEvent::Cede { millis }),
            1 => proptest::collection::vec(0usize..5, 1..5).prop_map(ControllerEvent::JournalNodes),
            3 => Just(ControllerEvent::Tick),
        ]
    }

    proptest! {
        /// Answers come late, of processes that are gone, and of JournalNodes that contradict each other: the controller's
        /// own checks of each event are what is tested.
        #[test]
        fn what_it_promises_holds_after_every_event(
            events in proptest::collection::vec((event(), 0u64..400), 1..150),
            rank in 0u32..3,
        ) {
            let mut controller = controller(rank);
            let mut now = 0;
            for (event, pause) in events {
                now += pause;
                let _ = controller.on(event, now);
            }
        }
    }
}

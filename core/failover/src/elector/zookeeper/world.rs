//! Three electors, their NameNodes, a ZooKeeper that loses answers, connections and sessions, and JournalNodes that not every
//! NameNode reaches and that promote nobody beside the holder of the lease.
//!
//! Rules:
//! * whoever is promoted while it has the lock is the only one that may be active: the one before was fenced, stepped down or
//!   is gone, or goes on although it was said to be fenced. One that has lost the lock and not heard of it is no better here
//!   than in Hadoop: the journal's epoch stops its writes, and the lease at the JournalNodes its reads;
//! * while ZooKeeper can't be reached, nobody is promoted and nobody is told to step down;
//! * lock and lease can't wait for each other: once faults end, one candidate is active, and both are its own, also when
//!   another one can win the lock and never gets the lease.

use std::collections::VecDeque;

use super::*;
use hathi_journal::survey::QuorumLease;

const CONTROLLERS: usize = 3;
const STEPS: usize = 400;
const STEP_MS: u64 = 50;
const RETRIES: u32 = 3;
const LEASE_MS: u64 = 1000;

/// The same seed is the same run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// A session of one controller.
type Session = (usize, SessionNumber);

#[derive(Default)]
struct ZooKeeper {
    alive: Vec<Session>,
    lock: Option<Session>,
    breadcrumb: Option<(Vec<u8>, i32)>,
    watching: Vec<Session>,
}

impl ZooKeeper {
    fn end(&mut self, session: Session) -> Vec<Session> {
        self.alive.retain(|other| *other != session);
        self.watching.retain(|other| *other != session);
        if self.lock != Some(session) {
            return Vec::new();
        }
        self.lock = None;
        std::mem::take(&mut self.watching)
    }

    /// Does what is asked; `None` when there is no answer.
    fn serve(&mut self, session: Session, ask: &ZooKeeperRequest) -> Option<ZooKeeperMessage> {
        let own = vec![u8::try_from(session.0).unwrap()];
        match ask {
            ZooKeeperRequest::Open | ZooKeeperRequest::Close | ZooKeeperRequest::DeleteBreadcrumb { .. } => {
                if let ZooKeeperRequest::DeleteBreadcrumb { version } = ask
                    && self.breadcrumb.as_ref().is_some_and(|(_, there)| there == version)
                {
                    assert_eq!(
                        self.breadcrumb.take().unwrap().0,
                        own,
                        "another one's breadcrumb is deleted"
                    );
                }
                None
            }
            ZooKeeperRequest::CreateLock => Some(ZooKeeperMessage::LockCreated(match self.lock {
                Some(_) => Err(ZooKeeperRefusal::Exists),
                None => {
                    self.lock = Some(session);
                    Ok(())
                }
            })),
            ZooKeeperRequest::LookAtLock => Some(ZooKeeperMessage::LockSeen(match self.lock {
                Some(owner) => {
                    self.watching.push(session);
                    Ok(match owner == session {
                        true => LockOwner::ThisSession,
                        false => LockOwner::Other(vec![u8::try_from(owner.0).unwrap()]),
                    })
                }
                None => Err(ZooKeeperRefusal::Missing),
            })),
            ZooKeeperRequest::ReadBreadcrumb => Some(ZooKeeperMessage::Breadcrumb(Ok(self.breadcrumb.clone()))),
            ZooKeeperRequest::WriteBreadcrumb { replaces } => {
                let there = self.breadcrumb.as_ref().map(|(_, version)| *version);
                Some(ZooKeeperMessage::BreadcrumbWritten(match (there, replaces) {
                    (None, None) => Ok(0),
                    (Some(there), Some(replaces)) if there == *replaces => Ok(there + 1),
                    (None, Some(_)) => Err(ZooKeeperRefusal::Missing),
                    (Some(_), None) => Err(ZooKeeperRefusal::Exists),
                    _ => Err(ZooKeeperRefusal::OtherVersion),
                }))
                .inspect(|told| {
                    if let ZooKeeperMessage::BreadcrumbWritten(Ok(version)) = told {
                        self.breadcrumb = Some((own, *version));
                    }
                })
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NameNode {
    Standby,
    Active,
    Dead,
}

struct World {
    random: Random,
    now_ms: u64,
    zookeeper: ZooKeeper,
    /// Nobody reaches it.
    outage: bool,
    electors: Vec<ActiveStandbyElector>,
    namenodes: Vec<NameNode>,
    well: Vec<bool>,
    standby_probes: Vec<u32>,
    /// Who holds the read lease, and until when.
    lease: Option<(usize, u64)>,
    /// Those that can write.
    reaches_journal: Vec<bool>,
    /// One that never reaches them again.
    cut_off: Option<usize>,
    /// Those that go on although a method says that they are fenced.
    goes_on: Vec<bool>,
    /// Those of which one has said so since they became active.
    said_fenced: Vec<bool>,
    /// Asked in this order, not yet served.
    asked: Vec<VecDeque<(SessionNumber, ZooKeeperRequest)>>,
    /// On their way to a controller.
    answers: Vec<VecDeque<Answer>>,
    /// Promoted without the lock.
    unheard: Vec<bool>,
    promotions: usize,
}

enum Answer {
    Told(SessionNumber, ZooKeeperMessage),
    Promoted(bool),
    Fenced(bool),
}

fn lost(ask: &ZooKeeperRequest) -> Option<ZooKeeperMessage> {
    let lost = || ZooKeeperRefusal::ConnectionLost;
    match ask {
        ZooKeeperRequest::Open | ZooKeeperRequest::Close | ZooKeeperRequest::DeleteBreadcrumb { .. } => None,
        ZooKeeperRequest::CreateLock => Some(ZooKeeperMessage::LockCreated(Err(lost()))),
        ZooKeeperRequest::LookAtLock => Some(ZooKeeperMessage::LockSeen(Err(lost()))),
        ZooKeeperRequest::ReadBreadcrumb => Some(ZooKeeperMessage::Breadcrumb(Err(lost()))),
        ZooKeeperRequest::WriteBreadcrumb { .. } => Some(ZooKeeperMessage::BreadcrumbWritten(Err(lost()))),
    }
}

fn elector(index: usize) -> ActiveStandbyElector {
    ActiveStandbyElector::new(vec![u8::try_from(index).unwrap()], RETRIES)
}

impl World {
    /// Its controller is killed and started again; ZooKeeper keeps its session for a while.
    fn restart_controller(&mut self, index: usize) {
        let session = self.electors[index].session;
        self.electors[index] = elector(index);
        // Sessions are counted by whoever opens them, and here two of one number must not be the same.
        self.electors[index].session = session + 1;
        self.asked[index].clear();
        self.answers[index].clear();
    }

    fn new(seed: u64) -> Self {
        World {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now_ms: 0,
            zookeeper: ZooKeeper::default(),
            outage: false,
            electors: (0..CONTROLLERS).map(elector).collect(),
            namenodes: vec![NameNode::Standby; CONTROLLERS],
            well: vec![true; CONTROLLERS],
            standby_probes: vec![0; CONTROLLERS],
            lease: None,
            reaches_journal: vec![true; CONTROLLERS],
            cut_off: seed.is_multiple_of(2).then_some(usize::try_from(seed / 2 % 3).unwrap()),
            goes_on: vec![false; CONTROLLERS],
            said_fenced: vec![false; CONTROLLERS],
            asked: vec![VecDeque::new(); CONTROLLERS],
            answers: (0..CONTROLLERS).map(|_| VecDeque::new()).collect(),
            unheard: vec![false; CONTROLLERS],
            promotions: 0,
        }
    }

    fn holder(&self) -> Option<usize> {
        self.lease
            .filter(|(_, until_ms)| self.now_ms < *until_ms)
            .map(|(holder, _)| holder)
    }

    /// It serves no more, and gives its lease back.
    fn ends(&mut self, index: usize, state: NameNode) {
        self.namenodes[index] = state;
        self.said_fenced[index] = false;
        self.lease = self.lease.filter(|(holder, _)| *holder != index);
    }

    /// Renews the lease of whoever is active and can, and takes the role of whoever has lost it.
    fn renew(&mut self) {
        for index in 0..CONTROLLERS {
            if self.namenodes[index] != NameNode::Active {
                continue;
            }
            match self.holder() {
                Some(holder) if holder == index => {
                    if self.reaches_journal[index] {
                        self.lease = Some((index, self.now_ms + LEASE_MS));
                    }
                }
                _ => self.ends(index, NameNode::Standby),
            }
        }
    }

    /// A NameNode is asked to be active; whether it is now.
    fn promote(&mut self, index: usize) -> bool {
        let admitted = self.reaches_journal[index] && self.holder().is_none_or(|holder| holder == index);
        if admitted && self.namenodes[index] != NameNode::Dead {
            self.namenodes[index] = NameNode::Active;
            self.lease = Some((index, self.now_ms + LEASE_MS));
            return true;
        }
        false
    }

    fn perform(&mut self, index: usize, duties: Vec<Duty>, faults: bool) {
        for duty in duties {
            match duty {
                Duty::Ask(ElectorRequest::ZooKeeper(session, ask)) => self.asked[index].push_back((session, ask)),
                Duty::Promote => {
                    self.promotions += 1;
                    assert!(!self.outage || faults, "somebody is promoted without ZooKeeper");
                    let own = Some((index, self.electors[index].session));
                    self.unheard[index] = self.zookeeper.lock != own;
                    for (other, state) in self.namenodes.iter().enumerate() {
                        let beside = other != index && *state == NameNode::Active && !self.said_fenced[other];
                        assert!(
                            !beside || self.unheard[index] || self.unheard[other],
                            "{other} is active beside {index}"
                        );
                    }
                    let fails = faults && self.random.one_in(5);
                    // A call that fails may have been served.
                    let served = !fails || self.random.one_in(2);
                    let promoted = served && self.promote(index);
                    let done = promoted && !fails;
                    self.standby_probes[index] = 0;
                    self.answers[index].push_back(Answer::Promoted(done));
                }
                Duty::Demote => {
                    if self.namenodes[index] == NameNode::Active {
                        assert_ne!(
                            self.zookeeper.lock.map(|(owner, _)| owner),
                            Some(index),
                            "the elected one steps down"
                        );
                        self.ends(index, NameNode::Standby);
                    }
                }
                Duty::Fence(former) => {
                    let other = match former {
                        Former::OfBreadcrumb(named) => usize::from(named[0]),
                        Former::OfLease(id) => id.parse().unwrap(),
                    };
                    assert_ne!(other, index, "it fences its own NameNode");
                    let done = !(faults && self.random.one_in(4));
                    if done && self.namenodes[other] == NameNode::Active {
                        match self.goes_on[other] {
                            true => self.said_fenced[other] = true,
                            false => self.ends(other, NameNode::Standby),
                        }
                    }
                    self.answers[index].push_back(Answer::Fenced(done));
                }
                Duty::GiveUp(why) => panic!("{why}"),
            }
        }
    }

    fn expire(&mut self, session: Session) {
        self.answers[session.0].push_back(Answer::Told(session.1, ZooKeeperMessage::Expired));
        self.end(session);
    }

    fn end(&mut self, session: Session) {
        for (watcher, number) in self.zookeeper.end(session) {
            self.answers[watcher].push_back(Answer::Told(number, ZooKeeperMessage::LockChanged));
        }
    }

    /// ZooKeeper serves one question of a controller.
    fn serve(&mut self, index: usize, faults: bool) {
        let Some((number, ask)) = self.asked[index].pop_front() else {
            return;
        };
        let session = (index, number);
        match ask {
            ZooKeeperRequest::Open => self.zookeeper.alive.push(session),
            ZooKeeperRequest::Close => self.end(session),
            _ if !self.zookeeper.alive.contains(&session) => {}
            ask => {
                let unheard = faults && self.random.one_in(8);
                let told = if unheard && self.random.one_in(2) {
                    lost(&ask)
                } else {
                    let told = self.zookeeper.serve(session, &ask);
                    if unheard { lost(&ask) } else { told }
                };
                if let Some(told) = told {
                    self.answers[index].push_back(Answer::Told(number, told));
                }
            }
        }
    }

    fn answer(&mut self, index: usize, faults: bool) {
        let Some(answer) = self.answers[index].pop_front() else {
            return;
        };
        let event = match answer {
            Answer::Told(session, told) => ElectionEvent::Told(ElectorMessage::ZooKeeper(session, told)),
            Answer::Promoted(done) => ElectionEvent::Promoted(done),
            Answer::Fenced(done) => ElectionEvent::Fenced(done),
        };
        let duties = self.electors[index].on(event, self.now_ms);
        self.perform(index, duties, faults);
    }

    fn probe(&mut self, index: usize, faults: bool) {
        let state = self.namenodes[index];
        self.standby_probes[index] = match state {
            NameNode::Standby => self.standby_probes[index] + 1,
            _ => 0,
        };
        let standing = match (state, self.well[index]) {
            (NameNode::Dead, _) => ElectionStanding::Out { needs_fencing: false },
            (state, false) => ElectionStanding::Out {
                needs_fencing: state == NameNode::Active,
            },
            (_, true) => ElectionStanding::Stands,
        };
        let promoting = self.answers[index]
            .iter()
            .any(|answer| matches!(answer, Answer::Promoted(_)));
        let candidate = ElectionCandidate {
            standing,
            is_standby: state == NameNode::Standby,
            standby_probes: self.standby_probes[index],
            in_transition: promoting,
            safe_mode: false,
            lease: QuorumLease::Unknown,
            rival: self
                .holder()
                .filter(|holder| *holder != index)
                .map(|holder| holder.to_string()),
        };
        let duties = self.electors[index].on(ElectionEvent::Candidate(&candidate), self.now_ms);
        self.perform(index, duties, faults);
    }

    fn step(&mut self, faults: bool) {
        self.now_ms += STEP_MS;
        self.renew();
        if faults {
            let index = usize::try_from(self.random.below(3)).unwrap();
            match self.random.below(70) {
                0 => self.outage = true,
                1..8 => self.outage = false,
                8 => self.ends(index, NameNode::Dead),
                9..12 if self.namenodes[index] == NameNode::Dead => self.namenodes[index] = NameNode::Standby,
                12 => self.well[index] = false,
                13..16 => self.well[index] = true,
                // Its controller was held up; only a ZooKeeper that is there ends a session.
                16 if !self.outage => {
                    if let Some(session) = self.zookeeper.alive.iter().copied().find(|session| session.0 == index) {
                        self.expire(session);
                    }
                }
                // A person moves it.
                17 if self.namenodes[index] == NameNode::Active => self.ends(index, NameNode::Standby),
                60 => self.reaches_journal[index] = false,
                61..64 => self.reaches_journal[index] = true,
                64 => self.goes_on[index] = true,
                65..68 => self.goes_on[index] = false,
                19 => self.restart_controller(index),
                18 => {
                    let number = self.electors[index].session;
                    self.answers[index].push_back(Answer::Told(number, ZooKeeperMessage::Reconnected));
                }
                _ => {}
            }
        } else {
            self.outage = false;
            self.well = vec![true; CONTROLLERS];
            self.goes_on = vec![false; CONTROLLERS];
            self.reaches_journal = (0..CONTROLLERS).map(|index| Some(index) != self.cut_off).collect();
            for namenode in &mut self.namenodes {
                if *namenode == NameNode::Dead {
                    *namenode = NameNode::Standby;
                }
            }
        }
        // Nobody keeps the session of a controller that was killed alive.
        if !self.outage && self.random.one_in(20) {
            let orphan = |session: &&Session| session.1 != self.electors[session.0].session;
            if let Some(session) = self.zookeeper.alive.iter().find(orphan).copied() {
                self.expire(session);
            }
        }
        for index in 0..CONTROLLERS {
            if !(self.outage || faults && self.random.one_in(3)) {
                self.serve(index, faults);
            }
            if !(faults && self.random.one_in(3)) {
                self.answer(index, faults);
            }
            self.probe(index, faults);
        }
    }
}

fn run(seed: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step(true);
    }
    for _ in 0..200 {
        world.step(false);
    }
    world
}

#[test]
fn one_is_active_at_a_time_and_one_is_at_the_end_with_lock_and_lease() {
    let mut promotions = 0;
    for seed in 0..2000 {
        let world = run(seed);
        promotions += world.promotions;
        let active: Vec<usize> = (0..CONTROLLERS)
            .filter(|index| world.namenodes[*index] == NameNode::Active)
            .collect();
        let stages: Vec<&Stage> = world.electors.iter().map(|elector| &elector.stage).collect();
        assert_eq!(active.len(), 1, "seed {seed}: {active:?} are active, {stages:?}");
        assert_eq!(
            world.zookeeper.lock.map(|(owner, _)| owner),
            Some(active[0]),
            "seed {seed}"
        );
        assert_eq!(world.holder(), Some(active[0]), "seed {seed}");
        assert_ne!(Some(active[0]), world.cut_off, "seed {seed}");
        let breadcrumb = world.zookeeper.breadcrumb.unwrap();
        assert_eq!(usize::from(breadcrumb.0[0]), active[0], "seed {seed}");
    }
    assert!(promotions > 10_000, "{promotions}");
}

#[test]
fn without_zookeeper_the_active_goes_on_and_nobody_else_comes() {
    for seed in 0..200 {
        let mut world = World::new(seed);
        for _ in 0..100 {
            world.step(false);
        }
        let before: Vec<NameNode> = world.namenodes.clone();
        let promotions = world.promotions;
        world.outage = true;
        for _ in 0..600 {
            world.now_ms += STEP_MS;
            world.renew();
            for index in 0..CONTROLLERS {
                world.answer(index, false);
                world.probe(index, false);
            }
        }
        assert!(
            world.namenodes == before && world.promotions == promotions,
            "seed {seed}"
        );
        for _ in 0..100 {
            world.step(false);
        }
        assert!(
            world.namenodes == before && world.promotions == promotions,
            "seed {seed}, when it came back"
        );
    }
}

mod scripts;

use super::activation::LEASE_RETRY_MS;
use super::loading::READ_RETRY_MS;
use super::*;
use crate::tests::namesystem;
use hathi_blockmanager::Now;
use hathi_formats::editlog::EditOp;
use hathi_formats::ids::{Epoch, TxId};
use hathi_namespace::Comparison;
use hathi_namesystem::reply_gate::ReplyGate;
use hathi_namesystem::standby_health::StandbyHealth;
use hathi_namesystem::{Life, Namesystem};
use proptest::prelude::*;

/// Who asks, by a number.
type Asker = u32;
/// A reply, by the transaction it waits for.
type Reply = u64;

/// A NameNode of which every step is performed by the test.
pub(super) struct Bench {
    roles: RoleChanges<Asker>,
    pub(super) ns: Namesystem,
    gate: ReplyGate<Reply>,
    pub(super) health: StandbyHealth,
    pub(super) is_lease_held: bool,
    max_seen_txid: TxId,
    pub(super) now_ms: u64,
    pub(super) actions: Vec<Action<Reply, Asker>>,
    pub(super) step: Option<Step>,
    /// Whether the step follows from the last event.
    pub(super) is_new: bool,
}

impl Bench {
    pub(super) fn new(config: RoleChangesConfig) -> Bench {
        Bench {
            roles: RoleChanges::new(config),
            ns: namesystem(0, Life::first()),
            gate: ReplyGate::default(),
            health: StandbyHealth::default(),
            is_lease_held: true,
            max_seen_txid: TxId(0),
            now_ms: 1000,
            actions: Vec::new(),
            step: None,
            is_new: false,
        }
    }

    pub(super) fn on(&mut self, event: Event<Asker>) -> Option<&Step> {
        let mut place = Place {
            ns: &mut self.ns,
            gate: &mut self.gate,
            health: &mut self.health,
            lease_held: self.is_lease_held,
            another_was_active: false,
            max_seen_txid: self.max_seen_txid,
            now: Now {
                monotonic_ms: self.now_ms,
                wall_ms: self.now_ms,
            },
            now_us: self.now_ms * 1000,
        };
        let orders = self.roles.on(event, &mut place);
        self.actions = orders.actions;
        self.step = orders.step;
        self.is_new = true;
        self.step.as_ref()
    }

    pub(super) fn fail(&mut self, kind: ProblemKind) -> Option<&Step> {
        let problem = Problem::passing("it failed".to_owned());
        self.on(Event::Failed(Problem { kind, ..problem }))
    }

    fn asked(&mut self, to_active: bool, by: Asker) -> Option<&Step> {
        self.on(Event::Asked {
            to_active,
            is_patient: false,
            by,
        })
    }

    /// Does the present step of a load as well as it can be done.
    pub(super) fn read(&mut self, applied: u64) {
        let Some(Step::Load(life)) = self.step.clone() else {
            panic!("it reads no image but does {:?}", self.step);
        };
        self.on(Event::Loaded(Box::new(namesystem(applied, life))));
    }

    /// A standby that has applied everything up to `applied`.
    fn standby(applied: u64) -> Bench {
        let mut bench = Bench::new(PAIR);
        bench.on(Event::Started);
        bench.on(Event::Done);
        bench.read(applied);
        for step in ["ProveImage", "CatchUp", "ProveEdits"] {
            assert!(bench.step.is_some(), "{step}");
            bench.on(Event::Done);
        }
        assert_eq!((bench.ns.role(), bench.step.is_none()), (Role::Standby, true));
        bench
    }

    /// An active whose first transaction is durable.
    fn active(applied: u64) -> Bench {
        let mut bench = Bench::standby(applied);
        bench.asked(true, 1);
        bench.on(Event::Done);
        bench.recovered(Some(applied));
        bench.on(Event::Done);
        bench.sync();
        bench.on(Event::Done);
        assert_eq!((bench.ns.role(), bench.step.is_none()), (Role::Active, true));
        bench
    }

    fn recovered(&mut self, last: Option<u64>) {
        assert!(matches!(self.step, Some(Step::Recover)), "{:?}", self.step);
        self.on(Event::Recovered {
            epoch: Epoch(2),
            last: last.map(TxId),
        });
    }

    /// The edits of another writer up to this one are applied.
    pub(super) fn replay(&mut self, txid: TxId) {
        let role = self.ns.role();
        self.ns = namesystem(txid.0, self.ns.life().next(txid));
        if role != Role::Initializing {
            self.ns.become_standby().unwrap();
        }
        if role == Role::BecomingActive {
            self.ns.begin_activation().unwrap();
        }
        assert_eq!(self.ns.role(), role, "who writes replays nothing");
        self.forget_orders();
    }

    /// The namespace was compared with the active's.
    pub(super) fn compared(&mut self, comparison: Comparison) {
        let divergence = &mut self.health.divergence;
        divergence.on_compared(comparison, self.now_ms, self.now_ms);
    }

    /// What happens now is no event of the changes of a role.
    pub(super) fn forget_orders(&mut self) {
        self.actions.clear();
        self.is_new = false;
    }

    /// A quorum has everything that was logged.
    pub(super) fn sync(&mut self) {
        self.ns.take_logged();
        let applied = self.ns.edit_log().applied();
        self.ns.life().acknowledge(applied).unwrap();
    }

    pub(super) fn change(&mut self) -> TxId {
        let chmod = EditOp::SetPermissions {
            src: "/".to_owned(),
            mode: 0o755,
        };
        self.ns.commit(&[chmod]).unwrap();
        self.ns.edit_log().applied()
    }

    pub(super) fn park(&mut self, after: TxId) {
        let made_in = self.ns.life().generation();
        self.gate.park(made_in, Some(after), after.0).expect("the gate is open");
    }

    fn answer(&self) -> Option<(Asker, bool)> {
        self.actions.iter().find_map(|action| match action {
            Action::Answer(by, result) => Some((*by, result.is_ok())),
            _ => None,
        })
    }

    fn sent(&self) -> Vec<Reply> {
        let sent = self.actions.iter().filter_map(|action| match action {
            Action::Send(replies) => Some(replies.clone()),
            _ => None,
        });
        sent.flatten().collect()
    }

    fn given_up(&self) -> Vec<Reply> {
        let given_up = self.actions.iter().filter_map(|action| match action {
            Action::GiveUp(replies) => Some(replies.clone()),
            _ => None,
        });
        given_up.flatten().collect()
    }

    fn follows(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Follow))
    }
}

pub(super) const PAIR: RoleChangesConfig = RoleChangesConfig {
    is_single: false,
    not_active_in_safe_mode: false,
    lease_ms: 1000,
};
pub(super) const SINGLE: RoleChangesConfig = RoleChangesConfig {
    is_single: true,
    ..PAIR
};

macro_rules! assert_step {
    ($bench:expr, $pattern:pat) => {
        assert!(matches!($bench.step, $pattern), "it does {:?}", $bench.step)
    };
}

#[test]
fn a_standby_becomes_active_only_behind_epoch_edits_and_proof() {
    let mut bench = Bench::standby(5);
    bench.asked(true, 9);
    assert_step!(bench, Some(Step::StopTailing));
    assert_eq!(bench.ns.role(), Role::BecomingActive);
    bench.on(Event::Done);
    bench.recovered(Some(7));
    assert_step!(bench, Some(Step::CatchUpTo(TxId(7))));
    assert_eq!(bench.ns.role(), Role::BecomingActive, "edits are missing");
    bench.replay(TxId(7));
    bench.on(Event::Done);
    assert_step!(bench, Some(Step::ProveBeforeActive(Epoch(2), Some(TxId(7)))));
    assert_eq!(bench.ns.role(), Role::BecomingActive, "nothing is proven");
    bench.on(Event::Done);
    assert_step!(bench, Some(Step::AwaitSynced(TxId(8))));
    assert_eq!(bench.ns.role(), Role::Active);
    assert_eq!(bench.answer(), None, "its first transaction is not durable");
    bench.sync();
    bench.on(Event::Done);
    assert_eq!(bench.answer(), Some((9, true)));
}

#[test]
fn a_lease_that_is_held_is_waited_for_by_who_insists_and_by_nobody_for_ever() {
    let mut bench = Bench::standby(5);
    bench.asked(true, 1);
    bench.on(Event::Done);
    bench.fail(ProblemKind::LeaseHeld);
    assert_step!(bench, Some(Step::Resign));
    bench.on(Event::Done);
    assert_eq!(bench.answer(), Some((1, false)));
    assert!(bench.follows() && bench.ns.role() == Role::Standby);

    bench.on(Event::Asked {
        to_active: true,
        is_patient: true,
        by: 2,
    });
    bench.on(Event::Done);
    bench.fail(ProblemKind::LeaseHeld);
    assert_step!(bench, Some(Step::Pause(LEASE_RETRY_MS)));
    bench.on(Event::Done);
    assert_step!(bench, Some(Step::Recover));
    bench.now_ms += 2001;
    bench.fail(ProblemKind::LeaseHeld);
    assert_step!(bench, Some(Step::Resign));
    bench.on(Event::Done);
    assert_eq!(bench.answer(), Some((2, false)));
}

#[test]
fn a_standby_whose_edits_are_not_the_journals_loads_anew_instead_of_becoming_active() {
    let mut bench = Bench::standby(5);
    bench.asked(true, 1);
    bench.on(Event::Done);
    bench.recovered(Some(5));
    assert_step!(bench, Some(Step::ProveBeforeActive(..)));
    bench.fail(ProblemKind::Unusable);
    assert_step!(bench, Some(Step::Resign));
    assert_ne!(bench.ns.role(), Role::Active);
    bench.on(Event::Done);
    assert_eq!(bench.answer(), Some((1, false)));
    assert_step!(bench, Some(Step::StopTailing));
    bench.on(Event::Done);
    assert_step!(bench, Some(Step::Load(_)));
    assert_eq!(bench.ns.role(), Role::Initializing);
}

#[test]
fn an_active_that_is_asked_to_step_down_finishes_its_segment_and_gives_the_lease_back() {
    let mut bench = Bench::active(5);
    let last = bench.change();
    bench.park(last);
    bench.asked(false, 3);
    assert_step!(bench, Some(Step::AwaitFinalized(..)));
    assert_eq!(bench.ns.role(), Role::SteppingDown);
    bench.sync();
    bench.on(Event::Done);
    assert_eq!(bench.sent(), [last.0], "a quorum has it, and the lease is held");
    assert!(bench.given_up().is_empty());
    assert_step!(bench, Some(Step::Resign));
    assert_eq!(bench.answer(), None, "the lease is not given back");
    bench.on(Event::Done);
    assert_eq!(bench.answer(), Some((3, true)));
    assert!(bench.follows() && bench.ns.role() == Role::Standby);
}

#[test]
fn without_the_lease_no_reply_leaves_at_the_end() {
    let mut bench = Bench::active(5);
    let last = bench.change();
    bench.park(last);
    bench.sync();
    bench.is_lease_held = false;
    bench.on(Event::WriterLost("fenced".to_owned()));
    assert!(bench.sent().is_empty());
    assert_eq!(bench.given_up(), [last.0]);
}

#[test]
fn changes_that_reached_no_quorum_are_dropped_with_their_replies() {
    let mut bench = Bench::active(5);
    let generation = bench.ns.life().generation();
    let last = bench.change();
    bench.park(last);
    let life = bench.ns.life().clone();
    bench.on(Event::WriterLost("no quorum".to_owned()));
    assert_eq!(bench.given_up(), [last.0]);
    assert!(bench.sent().is_empty() && life.has_ended());
    assert!(
        bench.gate.park(generation, Some(last), 7).is_err(),
        "the gate is closed"
    );
    bench.on(Event::Done);
    assert_step!(bench, Some(Step::StopTailing));
    bench.on(Event::Done);
    assert_step!(bench, Some(Step::Load(_)));
}

#[test]
fn a_writer_that_is_lost_before_its_first_transaction_is_durable_answers_with_a_failure() {
    let mut bench = Bench::standby(5);
    bench.asked(true, 4);
    bench.on(Event::Done);
    bench.recovered(Some(5));
    bench.on(Event::Done);
    assert_step!(bench, Some(Step::AwaitSynced(_)));
    bench.fail(ProblemKind::Passing);
    assert_step!(bench, Some(Step::Resign));
    assert_eq!(bench.ns.role(), Role::SteppingDown, "it takes no more calls");
    bench.on(Event::Done);
    assert_eq!(bench.answer(), Some((4, false)));
    // The news of the same loss comes behind it.
    assert_step!(bench, Some(Step::StopTailing));
}

#[test]
fn what_was_said_of_another_namespace_or_writer_moves_no_role() {
    let mut bench = Bench::active(5);
    bench.on(Event::Unusable);
    assert_eq!((bench.ns.role(), bench.step.is_none()), (Role::Active, true));
    let mut bench = Bench::standby(5);
    bench.on(Event::WriterLost("late".to_owned()));
    assert_eq!((bench.ns.role(), bench.step.is_none()), (Role::Standby, true));
}

#[test]
fn who_has_the_role_already_is_answered_at_once_and_who_loads_is_refused() {
    let mut bench = Bench::active(5);
    assert!(bench.asked(true, 1).is_none());
    assert_eq!(bench.answer(), Some((1, true)));
    let mut bench = Bench::standby(5);
    assert!(bench.asked(false, 2).is_none());
    assert_eq!(bench.answer(), Some((2, true)));
    drop(bench.ns.begin_loading());
    for to_active in [true, false] {
        assert!(bench.asked(to_active, 3).is_none());
        assert_eq!(bench.answer(), Some((3, false)));
    }
}

#[test]
fn a_namenode_in_safe_mode_becomes_active_unless_that_is_configured() {
    let mut bench = Bench::standby(5);
    bench.ns.enter_safe_mode();
    bench.roles.config.not_active_in_safe_mode = true;
    assert!(bench.ns.blockmanager().in_safe_mode());
    assert!(bench.asked(true, 1).is_none());
    assert_eq!(bench.answer(), Some((1, false)));
    assert_eq!(bench.ns.role(), Role::Standby);
    bench.roles.config.not_active_in_safe_mode = false;
    assert!(bench.asked(true, 1).is_some());
}

#[test]
fn a_load_that_fails_is_repeated_and_says_so_once() {
    let mut bench = Bench::new(PAIR);
    bench.on(Event::Started);
    bench.on(Event::Done);
    let mut pauses = Vec::new();
    for _ in 0..3 {
        bench.fail(ProblemKind::Unusable);
        let Some(Step::Pause(pause)) = bench.step else {
            panic!("it does {:?}", bench.step);
        };
        pauses.push((pause, bench.actions.len()));
        bench.on(Event::Done);
        bench.on(Event::Done);
        assert_step!(bench, Some(Step::Load(_)));
    }
    assert!(pauses[0].0 < pauses[1].0, "the same failure again: {pauses:?}");
    assert_eq!(pauses.iter().map(|(_, said)| said).sum::<usize>(), 1, "{pauses:?}");
    assert!(bench.health.problem().is_some());
    bench.read(5);
    for _ in 0..3 {
        bench.on(Event::Done);
    }
    assert_eq!(bench.health.problem(), None);
}

#[test]
fn edits_that_are_gone_are_replaced_by_an_image_of_a_peer() {
    let mut bench = Bench::new(PAIR);
    bench.on(Event::Started);
    bench.on(Event::Done);
    bench.read(5);
    bench.on(Event::Done);
    bench.fail(ProblemKind::Purged { oldest: TxId(90) });
    assert_step!(bench, Some(Step::FetchImage(TxId(90))));
    bench.on(Event::Done);
    assert_step!(bench, Some(Step::StopTailing));
}

#[test]
fn a_journal_that_can_not_be_read_is_asked_again_without_a_load() {
    let mut bench = Bench::new(PAIR);
    bench.on(Event::Started);
    bench.on(Event::Done);
    bench.read(5);
    bench.on(Event::Done);
    bench.fail(ProblemKind::Passing);
    assert_step!(bench, Some(Step::Pause(READ_RETRY_MS)));
    bench.on(Event::Done);
    assert_step!(bench, Some(Step::CatchUp));
}

#[test]
fn what_can_never_be_loaded_ends_the_process() {
    let mut bench = Bench::new(PAIR);
    bench.on(Event::Started);
    bench.on(Event::Done);
    assert!(bench.fail(ProblemKind::Hopeless).is_none());
    assert!(matches!(bench.actions.last(), Some(Action::End)));
}

#[test]
fn the_only_namenode_is_active_when_it_has_loaded_and_ends_with_what_is_wrong() {
    let mut bench = Bench::new(SINGLE);
    bench.on(Event::Started);
    bench.on(Event::Done);
    bench.read(5);
    for _ in 0..3 {
        bench.on(Event::Done);
    }
    bench.recovered(Some(5));
    bench.on(Event::Done);
    bench.sync();
    bench.on(Event::Done);
    assert_eq!(bench.ns.role(), Role::Active);
    bench.on(Event::WriterLost("no directory is left".to_owned()));
    assert!(matches!(bench.actions.last(), Some(Action::End)));
}

#[test]
fn the_only_namenode_does_not_serve_when_its_directories_have_seen_more() {
    let mut bench = Bench::new(SINGLE);
    bench.max_seen_txid = TxId(9);
    bench.on(Event::Started);
    bench.on(Event::Done);
    bench.read(5);
    for _ in 0..3 {
        bench.on(Event::Done);
    }
    bench.recovered(Some(5));
    assert!(bench.on(Event::Done).is_none());
    assert!(matches!(bench.actions.last(), Some(Action::End)));
    assert_eq!(bench.ns.role(), Role::Initializing);
}

/// What a test does next, by chance.
#[derive(Clone, Debug)]
enum Chance {
    Well,
    Fails(ProblemKind),
    Asked(bool, bool),
    Lost,
    Unusable,
    Change,
    Synced,
}

fn chances() -> impl Strategy<Value = Vec<Chance>> {
    let kind = prop_oneof![
        Just(ProblemKind::Passing),
        Just(ProblemKind::Unusable),
        Just(ProblemKind::Purged { oldest: TxId(3) }),
        Just(ProblemKind::LeaseHeld),
    ];
    let chance = prop_oneof![
        8 => Just(Chance::Well),
        2 => kind.prop_map(Chance::Fails),
        3 => (any::<bool>(), any::<bool>()).prop_map(|(to_active, patient)| Chance::Asked(to_active, patient)),
        1 => Just(Chance::Lost),
        1 => Just(Chance::Unusable),
        3 => Just(Chance::Change),
        3 => Just(Chance::Synced),
    ];
    proptest::collection::vec(chance, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whoever asks is answered once. A reply leaves only when a quorum has what it shows, and no reply is forgotten. An
    /// active has gone through every step of the order. What has no quorum is in no later life.
    #[test]
    fn whatever_happens_nobody_is_forgotten_and_nothing_is_shown_that_may_be_lost(chances in chances()) {
        let mut bench = Bench::new(PAIR);
        bench.on(Event::Started);
        let (mut asked, mut answered) = (0, Vec::new());
        let (mut parked, mut settled) = (Vec::new(), Vec::new());
        let mut order = Vec::new();
        for chance in chances {
            let busy = bench.roles.is_busy();
            let synced = bench.ns.life().synced();
            match chance {
                Chance::Change if bench.ns.role() == Role::Active && !bench.ns.is_broken() => {
                    let txid = bench.change();
                    bench.park(txid);
                    parked.push(txid.0);
                    continue;
                }
                Chance::Synced if matches!(bench.ns.role(), Role::Active | Role::SteppingDown) => {
                    bench.sync();
                    settled.extend(bench.gate.release());
                    continue;
                }
                Chance::Change | Chance::Synced => continue,
                Chance::Well if busy => {
                    let step = bench.step.clone();
                    match step {
                        Some(Step::Load(life)) => {
                            order.clear();
                            bench.on(Event::Loaded(Box::new(namesystem(5, life))))
                        }
                        Some(Step::Recover) => {
                            order = vec!["recovered"];
                            let last = Some(bench.ns.edit_log().applied());
                            bench.on(Event::Recovered { epoch: Epoch(2), last })
                        }
                        Some(Step::ProveBeforeActive(..)) => {
                            order.push("proven");
                            bench.on(Event::Done)
                        }
                        Some(Step::AwaitSynced(_) | Step::AwaitFinalized(..)) => {
                            bench.sync();
                            bench.on(Event::Done)
                        }
                        _ => bench.on(Event::Done),
                    };
                }
                Chance::Fails(kind) if busy => {
                    // These can't fail.
                    if matches!(bench.step, Some(Step::Pause(_) | Step::Resign | Step::StopTailing)) {
                        continue;
                    }
                    bench.fail(kind);
                }
                Chance::Asked(to_active, is_patient) if !busy => {
                    asked += 1;
                    bench.on(Event::Asked { to_active, is_patient, by: asked });
                }
                Chance::Lost if !busy => {
                    bench.on(Event::WriterLost("lost".to_owned()));
                }
                Chance::Unusable if !busy => {
                    bench.on(Event::Unusable);
                }
                _ => continue,
            }
            bench.now_ms += 10;
            for reply in bench.sent() {
                prop_assert!(reply <= synced.0.max(bench.ns.life().synced().0));
                settled.push(reply);
            }
            settled.extend(bench.given_up());
            answered.extend(bench.answer().map(|(by, _)| by));
            if bench.ns.role() == Role::Active {
                prop_assert_eq!(&order, &["recovered", "proven"]);
            }
            if bench.ns.role() == Role::Standby {
                prop_assert!(!bench.ns.edit_log().has_unsynced());
                prop_assert!(bench.gate.is_empty());
            }
        }
        settled.extend(bench.gate.close());
        settled.sort_unstable();
        parked.sort_unstable();
        prop_assert_eq!(settled, parked);
        // They are answered in the order in which they asked; the last one may still wait.
        let waits = u32::from(bench.roles.is_busy());
        prop_assert!(answered.iter().copied().eq(1..=answered.len() as u32), "{:?}", answered);
        prop_assert!(answered.len() as u32 + waits >= asked, "{} of {} are answered", answered.len(), asked);
    }
}

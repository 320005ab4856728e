//! The digest that every op keeps up to date: against a walk, between replicas that free what was deleted at their own
//! pace, and over images. [`Namespace::check`] compares it with a walk as well, so each other test of this crate that
//! checks its namespace is a test of the digest.

use proptest::prelude::*;

use super::*;

const DIRS: usize = 3;
/// More than an op frees by itself.
const FILES: usize = 70;

#[derive(Clone, Debug)]
enum Step {
    Fill(usize),
    Touch(usize, usize),
    Write(usize, usize),
    Delete(usize),
    RenameOver(usize, usize),
    Move(usize, usize),
    Reclaim(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let dir = || 0..DIRS;
    prop_oneof![
        2 => dir().prop_map(Step::Fill),
        1 => (dir(), 0..FILES).prop_map(|(dir, file)| Step::Touch(dir, file)),
        1 => (dir(), 0..FILES).prop_map(|(dir, file)| Step::Write(dir, file)),
        2 => dir().prop_map(Step::Delete),
        1 => (dir(), dir()).prop_map(|(from, to)| Step::RenameOver(from, to)),
        1 => (dir(), dir()).prop_map(|(from, to)| Step::Move(from, to)),
        3 => (1..FILES).prop_map(Step::Reclaim),
    ]
}

/// A history, with the digest that a walk found after each transaction.
#[derive(Default)]
struct Walked(Vec<Mark>);

impl Walked {
    fn note(&mut self, ns: &mut Namespace) {
        let txid = ns.last_applied_txid();
        ns.attest(0, txid);
        let digest = ns.digest();
        self.0.push(Mark { txid, digest });
    }
}

fn rename(fix: &mut Fixture, src: &str, dst: &str) -> Result<(), Refused> {
    let options = RenameOptions {
        overwrite: true,
        ..RenameOptions::default()
    };
    let plan = fix.ns.plan_rename2(&fix.ctx(ROOT), src, dst, options)?;
    fix.commit(plan);
    Ok(())
}

fn run(fix: &mut Fixture, step: &Step) {
    let dir = |n: &usize| format!("/d{n}");
    match step {
        Step::Fill(n) => {
            for file in 0..FILES {
                let _ = fix.file(&format!("{}/f{file}", dir(n)), &[]);
            }
        }
        Step::Touch(n, file) => {
            let path = format!("{}/f{file}", dir(n));
            if let Ok(plan) = fix.ns.plan_set_times(&fix.ctx(ROOT), &path, 7, 9) {
                fix.commit(plan);
            }
        }
        Step::Write(n, file) => {
            let _ = fix.file(&format!("{}/g{file}", dir(n)), &[BS, 7]);
        }
        Step::Delete(n) => {
            let _ = fix.delete(ROOT, &dir(n), true);
        }
        // Two levels of deleted directories, one of which is charged to the other.
        Step::RenameOver(from, to) => {
            let _ = rename(fix, &format!("{}/f1", dir(from)), &format!("{}/f2", dir(to)));
        }
        Step::Move(from, to) => {
            let _ = rename(fix, &dir(from), &format!("{}/moved", dir(to)));
        }
        Step::Reclaim(max) => {
            fix.reclaim(*max);
        }
    }
}

/// Reads the log as a standby that frees at most so many inodes after each op.
fn follow(log: &[u8], pace: usize) -> Namespace {
    let mut ns = Namespace::new(NamespaceConfig::default());
    for frame in Frames::new(log, 0) {
        let frame = frame.unwrap();
        let op = decode_frame(&frame, LayoutVersion::NAMENODE_CURRENT).unwrap();
        ns.apply(frame.txid.0, &op).unwrap();
        ns.attest(0, frame.txid.0);
        ns.reclaim(pace);
    }
    ns.check();
    ns
}

fn free_all(ns: &mut Namespace) {
    while !ns.reclaim(FILES / 2).done {}
    ns.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_mark_is_the_digest_of_a_walk_however_late_what_was_deleted_is_freed(
        steps in proptest::collection::vec(step(), 1..12),
        pace in 0..5usize,
    ) {
        let mut fix = Fixture::new();
        let mut walked = Walked::default();
        for n in 0..DIRS {
            run(&mut fix, &Step::Fill(n));
        }
        for step in &steps {
            run(&mut fix, step);
            fix.ns.check();
            walked.note(&mut fix.ns);
        }
        let mut other = follow(&fix.log, pace);
        free_all(&mut fix.ns);
        free_all(&mut other);
        for mark in &walked.0 {
            prop_assert_eq!(fix.ns.digest_mark(mark.txid), Some(*mark));
            if mark.txid + 1000 > other.last_applied_txid() {
                prop_assert_eq!(other.digest_mark(mark.txid), Some(*mark));
            }
        }
    }
}

#[test]
fn a_mark_is_not_known_before_what_was_cut_off_is_freed() {
    let mut fix = Fixture::new();
    run(&mut fix, &Step::Fill(0));
    run(&mut fix, &Step::Delete(0));
    assert!(fix.ns.has_detached());
    let txid = fix.ns.last_applied_txid();
    assert_eq!(fix.ns.attest(txid, txid).marks, []);
    free_all(&mut fix.ns);
    let digest = fix.ns.digest();
    assert_eq!(fix.ns.attest(txid, txid).marks, [Mark { txid, digest }]);
}

const BUGS: usize = 7;

/// What a replica with a bug takes an op for; whether that is another one.
fn mistake(op: &mut EditOp, bug: usize) -> bool {
    match (op, bug) {
        (EditOp::Mkdir { time, .. }, 0) | (EditOp::Rename { time, .. }, 1) => *time += 1,
        (EditOp::Mkdir { permissions, .. }, 2) => permissions.mode ^= 1,
        (EditOp::Add(add), 3) => add.replication += 1,
        (EditOp::Add(add), 4) => add.client_machine.push('x'),
        (EditOp::Close(close), 5) => close.atime += 1,
        (EditOp::Close(close), 6) => close.blocks[0].num_bytes -= 1,
        _ => return false,
    }
    true
}

/// A replica that makes the mistake once, and the transaction of that op.
fn misread(log: &[u8], bug: usize) -> (Namespace, u64) {
    let mut ns = Namespace::new(NamespaceConfig::default());
    let mut first = 0;
    for frame in Frames::new(log, 0) {
        let frame = frame.unwrap();
        let mut op = decode_frame(&frame, LayoutVersion::NAMENODE_CURRENT).unwrap();
        if first == 0 && mistake(&mut op, bug) {
            first = frame.txid.0;
        }
        ns.apply(frame.txid.0, &op).unwrap();
        ns.attest(0, frame.txid.0);
    }
    (ns, first)
}

#[test]
fn a_bug_in_one_replica_is_found_at_the_transaction_where_it_shows() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/a/b").unwrap();
    fix.file("/a/f", &[BS, 7]).unwrap();
    fix.file("/a/g", &[BS]).unwrap();
    rename(&mut fix, "/a/f", "/a/b/h").unwrap();
    let mut right = follow(&fix.log, 100);
    for bug in 0..BUGS {
        let (mut wrong, txid) = misread(&fix.log, bug);
        wrong.check();
        let last = right.last_applied_txid();
        let attestation = right.attest(last, last);
        assert_eq!(wrong.compare(&attestation), Comparison::Differs { txid }, "bug {bug}");
    }
    let last = right.last_applied_txid();
    let attestation = right.attest(last, last);
    let mut other = follow(&fix.log, 0);
    assert_eq!(other.compare(&attestation), Comparison::Equal { txid: last });
    other.spoil();
    other.check();
    let mut next = attestation.clone();
    next.version += 1;
    assert_eq!(
        other.compare(&next),
        Comparison::Unknown,
        "another version's digests say nothing"
    );
}

#[test]
fn the_mark_that_an_idle_active_has_is_compared_when_it_is_reached() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/a").unwrap();
    let before = fix.log.clone();
    fix.mkdirs(ROOT, "/b").unwrap();
    let last = fix.ns.last_applied_txid();
    let mut standby = Namespace::new(NamespaceConfig::default());
    let apply = |ns: &mut Namespace, log: &[u8]| {
        for frame in Frames::new(log, 0).map(Result::unwrap) {
            let op = decode_frame(&frame, LayoutVersion::NAMENODE_CURRENT).unwrap();
            if frame.txid.0 > ns.last_applied_txid() {
                ns.apply(frame.txid.0, &op).unwrap();
            }
        }
    };
    apply(&mut standby, &before);
    let attestation = fix.ns.attest(standby.last_applied_txid(), last);
    assert_eq!(standby.compare(&attestation), Comparison::Unknown);
    apply(&mut standby, &fix.log);
    assert_eq!(standby.compare(&attestation), Comparison::Equal { txid: last });
    // The end and the beginning of a segment change nothing, and an active does not apply them.
    fix.ns.set_last_applied_txid(last + 2);
    standby.apply(last + 1, &EditOp::EndLogSegment).unwrap();
    standby.apply(last + 2, &EditOp::StartLogSegment).unwrap();
    let attestation = fix.ns.attest(last + 1, last + 1);
    assert_eq!(attestation.marks.last().map(|mark| mark.txid), Some(last + 1));
    assert_eq!(standby.compare(&attestation), Comparison::Equal { txid: last + 1 });
    standby.spoil();
    let attestation = fix.ns.attest(last + 2, last + 2);
    assert_eq!(standby.compare(&attestation), Comparison::Differs { txid: last + 2 });
}

/// Otherwise a mixed cluster, or one that is being configured anew, would call its standbys wrong.
#[test]
fn what_is_explained_by_hadoops_image_or_by_the_configuration_is_no_difference() {
    let mut fix = Fixture::new();
    fix.file("/f", &[1]).unwrap();
    assert_eq!((fix.ns.digest_origin(), fix.loaded().digest_origin()), (0, 0));
    let attestation = |ns: &mut Namespace| {
        let last = ns.last_applied_txid();
        ns.attest(last, last)
    };
    let theirs = attestation(&mut fix.ns);
    let config = NamespaceConfig {
        max_replication: 2,
        ..NamespaceConfig::default()
    };
    let mut adjusting = Namespace::new(config);
    for frame in Frames::new(&fix.log, 0).map(Result::unwrap) {
        let op = decode_frame(&frame, LayoutVersion::NAMENODE_CURRENT).unwrap();
        adjusting.apply(frame.txid.0, &op).unwrap();
    }
    assert_ne!(adjusting.digest(), fix.ns.digest());
    assert_eq!(adjusting.compare(&theirs), Comparison::Unknown);
    let saved = |ns: &Namespace, by_hadoop: bool| {
        let mut frozen = ns.freeze();
        if by_hadoop {
            frozen.digest_origin = None;
        }
        let (bytes, _) = frozen
            .save(Vec::new(), LayoutVersion::NAMENODE_CURRENT, &|| false)
            .unwrap();
        image::load(NamespaceConfig::default(), &Image::open(&bytes[..]).unwrap()).unwrap()
    };
    assert_eq!(saved(&adjusting, false).digest_origin(), adjusting.digest_origin());
    // Who loads the same image of Hadoop's has the same origin, and is compared.
    let (mut one, mut other) = (saved(&fix.ns, true), saved(&fix.ns, true));
    assert_ne!(one.digest_origin(), 0);
    assert_eq!(saved(&one, false).digest_origin(), one.digest_origin());
    let txid = one.last_applied_txid();
    assert_eq!(other.compare(&attestation(&mut one)), Comparison::Equal { txid });
    one.spoil();
    let txid = txid + 1;
    for ns in [&mut one, &mut other] {
        ns.apply(txid, &EditOp::EndLogSegment).unwrap();
    }
    assert_eq!(other.compare(&attestation(&mut one)), Comparison::Differs { txid });
    other.origin = 0;
    assert_eq!(other.compare(&attestation(&mut one)), Comparison::Unknown);
}

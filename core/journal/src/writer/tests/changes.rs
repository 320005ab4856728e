//! Changes of the JournalNodes.

use super::*;
use crate::membership::Membership;
use crate::mutant::Mutant;

fn names(text: &str) -> Vec<String> {
    text.chars().map(|name| format!("{name}:1")).collect()
}

fn membership(epoch: u64, version: u64, members: &str) -> Membership {
    Membership {
        epoch: Epoch(epoch),
        version,
        members: names(members),
    }
}

impl Cluster {
    fn change(&mut self, writer: &mut QuorumWriter, change: &MemberChange) -> Result<Vec<WriterAction>, String> {
        let mut out = Vec::new();
        writer.change(change, self.now, &mut out)?;
        Ok(self.settle(writer, &mut out))
    }

    /// A learner that is caught up.
    fn learn(&mut self, writer: &mut QuorumWriter, address: &str) {
        let mut out = Vec::new();
        writer.add_learner(address, self.now, &mut out).unwrap();
        self.settle(writer, &mut out);
    }

    fn add(&mut self, writer: &mut QuorumWriter, address: &str) -> Vec<WriterAction> {
        self.learn(writer, address);
        assert_eq!(writer.learner(), Learner::InSync);
        self.change(writer, &MemberChange::Add(address.to_owned())).unwrap()
    }

    fn remove(&mut self, writer: &mut QuorumWriter, address: &str) -> Vec<WriterAction> {
        self.change(writer, &MemberChange::Remove(address.to_owned())).unwrap()
    }

    /// A writer of a configuration that was never touched, once the last one's lease is over.
    fn next(&mut self, holder: &str) -> (QuorumWriter, Vec<WriterAction>) {
        self.now += 2_000_000;
        let mut writer = QuorumWriter::new(config(holder));
        let said = self.act(&mut writer, |w, now, out| w.recover(now, out));
        (writer, said)
    }

    fn kept(&self, jn: usize) -> Option<Membership> {
        self.jns[jn].membership().cloned()
    }
}

fn changed(epoch: u64, version: u64, members: &str) -> WriterAction {
    WriterAction::MembershipChanged {
        membership: membership(epoch, version, members),
    }
}

fn recovered(said: &[WriterAction], epoch: u64, end: u64) {
    assert!(
        matches!(said, [WriterAction::Recovered { epoch: e, last_segment: Some((_, last)) }]
            if *e == Epoch(epoch) && *last == TxId(end)),
        "{said:?}"
    );
}

#[test]
fn every_journalnode_is_replaced_and_the_old_configuration_still_finds_the_way() {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    cluster.journal(&mut writer, 1, 3);
    assert_eq!(cluster.add(&mut writer, "d:1"), [changed(1, 1, "abcd")]);
    assert_eq!(cluster.remove(&mut writer, "a:1"), [changed(1, 2, "bcd")]);
    assert_eq!(cluster.journal(&mut writer, 4, 1), [synced(4)]);
    assert_eq!(cluster.add(&mut writer, "e:1"), [changed(1, 3, "bcde")]);
    assert_eq!(cluster.remove(&mut writer, "b:1"), [changed(1, 4, "cde")]);
    assert_eq!(cluster.add(&mut writer, "f:1"), [changed(1, 5, "cdef")]);
    assert_eq!(cluster.remove(&mut writer, "c:1"), [changed(1, 6, "def")]);
    assert_eq!(cluster.journal(&mut writer, 5, 1), [synced(5)]);
    let written: Vec<u64> = cluster.jns.iter().map(|jn| jn.gauges().last_written.0).collect();
    assert_eq!(written, [3, 4, 4, 5, 5, 5]);
    let (mut second, said) = cluster.next("b");
    recovered(&said, 2, 5);
    assert_eq!(second.members(), names("def"));
    cluster.act(&mut second, |w, now, out| w.start_segment(TxId(6), now, out));
    assert_eq!(cluster.journal(&mut second, 6, 1), [synced(6)]);
    // What it found is its own now.
    assert_eq!(cluster.kept(3), Some(membership(2, 0, "def")));
    assert_eq!(cluster.kept(0), Some(membership(1, 2, "bcd")));
}

#[test]
fn edits_need_both_majorities_while_a_change_is_under_way() {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    cluster.journal(&mut writer, 1, 1);
    cluster.learn(&mut writer, "d:1");
    // The answers of b, c and d to the change are not there yet.
    cluster.silent = vec![false, true, true, true, false, false];
    assert_eq!(
        cluster.change(&mut writer, &MemberChange::Add("d:1".to_owned())),
        Ok(vec![])
    );
    assert!(writer.is_changing());
    assert!(
        writer
            .change(&MemberChange::Remove("a:1".to_owned()), 0, &mut Vec::new())
            .is_err()
    );
    assert_eq!(cluster.journal(&mut writer, 2, 1), []);
    // First the membership as it was, from b; then the change, which c and d have to keep too.
    assert_eq!(cluster.release(&mut writer, 1), []);
    assert_eq!(cluster.kept(1), Some(membership(1, 1, "abcd")));
    assert!(writer.is_changing());
    let said = cluster.release(&mut writer, 3);
    assert_eq!(said, [synced(2), changed(1, 1, "abcd")]);
    assert!(!writer.is_changing());
    cluster.release(&mut writer, 2);
    // Three of four from now on.
    cluster.down[0] = true;
    cluster.down[1] = true;
    assert_eq!(cluster.journal(&mut writer, 3, 1), []);
}

#[test]
fn a_half_done_change_is_finished_by_whoever_meets_it() {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    cluster.journal(&mut writer, 1, 1);
    cluster.learn(&mut writer, "d:1");
    cluster.silent[1] = true;
    cluster.silent[2] = true;
    cluster
        .change(&mut writer, &MemberChange::Add("d:1".to_owned()))
        .unwrap();
    cluster.release(&mut writer, 1);
    cluster.silent[1] = true;
    assert_eq!(cluster.kept(3), Some(membership(1, 1, "abcd")));
    drop(writer);
    cluster.held.clear();
    cluster.silent = vec![false; 6];
    let (second, said) = cluster.next("b");
    recovered(&said, 2, 1);
    assert_eq!(second.members(), names("abcd"));
}

/// Two writers leave half-done changes of the same base, `abcd` + e and `abcd` - d. Says how a third one with a, d and e
/// fares, and a fourth with b and c: if both came into office neither would know of the other's edits (the flaw found in
/// Raft's changes of one server).
fn two_changes_from_one_base(mutant: Option<Mutant>) -> [Vec<WriterAction>; 2] {
    let mut cluster = Cluster::new();
    let mut first = cluster.writing("a", 1);
    cluster.journal(&mut first, 1, 1);
    assert_eq!(cluster.add(&mut first, "d:1"), [changed(1, 1, "abcd")]);
    cluster.learn(&mut first, "e:1");
    // abcd -> abcde reaches only a and e.
    cluster.down[1] = true;
    cluster.down[2] = true;
    cluster.down[3] = true;
    let mut out = Vec::new();
    first
        .change(&MemberChange::Add("e:1".to_owned()), cluster.now, &mut out)
        .unwrap();
    cluster.settle(&mut first, &mut out);
    assert_eq!(cluster.kept(0), Some(membership(1, 2, "abcde")));
    drop(first);
    // The second one sees b, c and d, and removes d, which does not hear of it.
    cluster.down = vec![true, false, false, false, true, false];
    cluster.now += 2_000_000;
    let mut second = QuorumWriter::new(WriterConfig {
        membership: Some(membership(1, 1, "abcd")),
        mutation: Mutation::planted(mutant),
        ..config("b")
    });
    let said = cluster.act(&mut second, |w, now, out| w.recover(now, out));
    recovered(&said, 2, 1);
    assert_eq!(second.members(), names("abcd"));
    cluster.act(&mut second, |w, now, out| w.start_segment(TxId(2), now, out));
    cluster.journal(&mut second, 2, 1);
    // It begins to remove d, of which only b hears.
    cluster.down = vec![true, false, true, true, true, false];
    cluster
        .change(&mut second, &MemberChange::Remove("d:1".to_owned()))
        .unwrap();
    assert_eq!(cluster.kept(1), Some(membership(2, 1, "abc")));
    drop(second);
    cluster.down = vec![false, true, true, false, false, false];
    cluster.now += 2_000_000;
    let mut third = QuorumWriter::new(WriterConfig {
        membership: Some(membership(1, 2, "abcde")),
        ..config("c")
    });
    let third = cluster.act(&mut third, |w, now, out| w.recover(now, out));
    cluster.down = vec![true, false, false, true, true, false];
    cluster.now += 2_000_000;
    let fourth = cluster.next("d").1;
    [third, fourth]
}

#[test]
fn a_change_made_elsewhere_meanwhile_is_met() {
    let [third, fourth] = two_changes_from_one_base(None);
    // d knows that the second writer was there, with a membership of which a, d and e are no majority.
    assert!(matches!(third[..], [WriterAction::LostQuorum { .. }]), "{third:?}");
    assert!(matches!(fourth[..], [WriterAction::Recovered { .. }]), "{fourth:?}");
    let apart = two_changes_from_one_base(Some(Mutant::ForeignMembership));
    assert!(
        apart
            .iter()
            .all(|said| matches!(said[..], [WriterAction::Recovered { .. }])),
        "{apart:?}"
    );
}

#[test]
fn what_would_be_unsafe_is_refused_with_a_reason() {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    cluster.journal(&mut writer, 1, 1);
    let refused = |cluster: &mut Cluster, writer: &mut QuorumWriter, change: MemberChange| {
        cluster.change(writer, &change).expect_err("must be refused")
    };
    let add = |name: &str| MemberChange::Add(name.to_owned());
    let remove = |name: &str| MemberChange::Remove(name.to_owned());
    assert!(refused(&mut cluster, &mut writer, add("d:1")).contains("not caught up"));
    assert!(refused(&mut cluster, &mut writer, remove("x:1")).contains("no JournalNode of this journal"));
    let mut out = Vec::new();
    assert!(writer.add_learner("b:1", 0, &mut out).is_err());
    assert!(writer.add_learner("nothing", 0, &mut out).is_err());
    // One down: removing another leaves two, of which both are needed.
    cluster.down[2] = true;
    cluster.journal(&mut writer, 2, 1);
    assert!(refused(&mut cluster, &mut writer, remove("a:1")).contains("only 1 of the 2"));
    assert_eq!(cluster.remove(&mut writer, "c:1"), [changed(1, 1, "ab")]);
    assert!(refused(&mut cluster, &mut writer, remove("b:1")).contains("only 1 would be left"));
    // One that is no JournalNode of ours, or does not answer, is not added.
    cluster.java[3] = true;
    cluster.learn(&mut writer, "d:1");
    assert!(matches!(writer.learner(), Learner::Refused(why) if why.contains("Hathi")));
    writer.drop_learner();
    cluster.down[4] = true;
    cluster.learn(&mut writer, "e:1");
    assert!(matches!(writer.learner(), Learner::Refused(_)));
    writer.drop_learner();
    assert_eq!(writer.learner(), Learner::None);
    // After the lease nobody knows whether somebody else has changed something.
    cluster.now += 5_000_000;
    assert!(
        writer
            .add_learner("f:1", cluster.now, &mut out)
            .unwrap_err()
            .contains("lease")
    );
}

#[test]
fn java_journalnodes_are_not_changed() {
    let mut cluster = Cluster::new();
    cluster.java[1] = true;
    let mut writer = cluster.writing("a", 1);
    cluster.journal(&mut writer, 1, 1);
    let why = writer.add_learner("d:1", 0, &mut Vec::new()).unwrap_err();
    assert!(why.contains("b:1") && why.contains("Hathi"), "{why}");
}

#[test]
fn one_that_was_removed_comes_back() {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    cluster.journal(&mut writer, 1, 1);
    cluster.remove(&mut writer, "c:1");
    cluster.journal(&mut writer, 2, 1);
    assert_eq!(cluster.written(), [2, 2, 1]);
    // Its copy of the open segment goes on where it ended.
    cluster.learn(&mut writer, "c:1");
    cluster.act(&mut writer, |w, now, out| w.finalize_segment(now, out));
    cluster.act(&mut writer, |w, now, out| w.start_segment(TxId(3), now, out));
    cluster.journal(&mut writer, 3, 1);
    assert_eq!(writer.learner(), Learner::InSync);
    assert_eq!(
        cluster.change(&mut writer, &MemberChange::Add("c:1".to_owned())),
        Ok(vec![changed(1, 2, "abc")])
    );
    assert_eq!(cluster.written(), [3, 3, 3]);
}

#[test]
fn the_lease_is_what_those_who_count_granted() {
    let mut cluster = Cluster::new();
    let mut writer = cluster.writing("a", 1);
    cluster.journal(&mut writer, 1, 1);
    cluster.add(&mut writer, "d:1");
    cluster.now += 100_000;
    cluster.down[3] = true;
    cluster.journal(&mut writer, 2, 1);
    assert_eq!(writer.lease_until(), 100_000 + 990_000);
    cluster.remove(&mut writer, "a:1");
    assert_eq!(writer.lease_until(), 100_000 + 990_000);
    assert_eq!(writer.members(), names("bcd"));
}

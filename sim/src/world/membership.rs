//! Changes of the membership while everything else goes on, in runs with spare JournalNodes ([`super::JournalPlan::spares`]).
//!
//! An operator adds and removes JournalNodes, one at a time, by way of the present writer. A NameNode that starts knows
//! the first configuration, or the newest membership that it has heard of. In such a run no JournalNode loses durable
//! data: the majorities change with the membership, and the budget of lost disks would have to follow them.

use hathi_journal::Membership;
use hathi_journal::writer::{Learner, MemberChange};

use super::*;
use crate::journalnode::address;

/// Smallest and largest number of JournalNodes that the operator makes.
const MEMBERS: std::ops::RangeInclusive<usize> = 2..=5;
/// Faults that lose durable data.
pub(super) const LOSSES: [&str; 4] = [
    "bit flip: finalized segment",
    "bit flip: segment in progress",
    "bit flip: small file",
    "disk lost",
];

impl World {
    /// The JournalNode that a writer's channel leads to.
    pub(super) fn journalnode_of(&self, nn: usize, channel: usize) -> usize {
        let address = self.nns[nn]
            .writer
            .as_ref()
            .and_then(|writer| writer.addresses().get(channel));
        let index = (0..self.jns.len()).find(|jn| Some(&crate::journalnode::address(*jn)) == address);
        index.unwrap_or(channel)
    }

    /// The operator asks the active writer for a change, or looks how a change is going.
    pub(super) fn operate(&mut self) {
        let pause = self.around(self.knobs.fault_every / 2);
        self.at(self.now + pause, Event::Operate);
        let active = self
            .nns
            .iter()
            .position(|nn| nn.alive && nn.epoch > 0 && nn.paused_until <= self.now);
        let (Some(nn), false) = (active, self.healed) else {
            return;
        };
        let Some(writer) = &self.nns[nn].writer else {
            return;
        };
        if writer.is_changing() {
            return;
        }
        let members = writer.members();
        let learner = writer.learner();
        let known: Vec<String> = writer.addresses().to_vec();
        let adds = members.len() < *MEMBERS.end() && (members.len() == *MEMBERS.start() || self.rng.bool());
        match learner {
            Learner::None if adds => {
                let spare: Vec<usize> = (0..self.jns.len())
                    .filter(|jn| !members.contains(&address(*jn)))
                    .collect();
                if !spare.is_empty() {
                    let new = address(spare[self.rng.usize(0..spare.len())]);
                    self.with_writer(nn, |writer, now, out| drop(writer.add_learner(&new, now, out)));
                }
            }
            Learner::None => {
                let old = members[self.rng.usize(0..members.len())].clone();
                if members.len() > *MEMBERS.start() {
                    self.begin_change(nn, &MemberChange::Remove(old));
                }
            }
            Learner::Refused(_) => self.with_writer(nn, |writer, _, _| writer.drop_learner()),
            _ if self.one_in(20) => self.with_writer(nn, |writer, _, _| writer.drop_learner()),
            _ => {
                // The change begins only for the JournalNode that is being added.
                for new in known {
                    self.begin_change(nn, &MemberChange::Add(new));
                }
            }
        }
    }

    fn begin_change(&mut self, nn: usize, change: &MemberChange) {
        let mut begun = false;
        self.with_writer(nn, |writer, now, out| begun = writer.change(change, now, out).is_ok());
        if begun {
            self.mark("change of the JournalNodes begun");
        }
    }

    /// A writer heard that its change is done.
    pub(super) fn membership_changed(&mut self, nn: usize, membership: &Membership) {
        self.mark("JournalNodes changed");
        self.nns[nn].membership = Some(membership.clone());
        self.heard_of(membership);
    }

    /// A NameNode has become the writer.
    pub(super) fn membership_found(&mut self, nn: usize) {
        let found = self.nns[nn]
            .writer
            .as_ref()
            .and_then(|writer| writer.membership().cloned());
        if let Some(found) = found {
            if found.members.len() != self.knobs.journalnodes || found.members[0] != address(0) {
                self.mark("found a changed set");
            }
            if self.nns[nn].index.is_multiple_of(2) {
                self.nns[nn].membership = Some(found.clone());
            }
            self.heard_of(&found);
        }
    }

    fn heard_of(&mut self, membership: &Membership) {
        if membership.is_newer_than(self.newest.as_ref()) {
            let all = 0..self.jns.len();
            self.members = all.filter(|jn| membership.members.contains(&address(*jn))).collect();
            self.newest = Some(membership.clone());
        }
    }
}

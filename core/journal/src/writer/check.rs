//! Invariants of a writer between calls.

use hathi_formats::ids::TxId;

use super::{MAX_TARGETS, Phase, QuorumWriter};
use crate::mutant::{Mutant, Mutation};

impl QuorumWriter {
    /// Asserts the invariants that hold between calls. Simulators call it after each event, debug builds after each
    /// answer.
    pub fn check(&self) {
        if self.phase == Phase::Dead {
            // A writer that has ended ignores everything.
            return;
        }
        let committed = self.committed.unwrap_or_default();
        let n = self.channels.len();
        assert!(
            self.votes.len() == n && self.addresses.len() == n,
            "of each JournalNode everything is kept"
        );
        self.members.check(n, self.mutated(Mutant::ForeignMembership));
        for i in self.counting() {
            assert!(
                self.channels.get(*i).is_some_and(|channel| !channel.gone),
                "one that is gone counts"
            );
        }
        for channel in &self.channels {
            channel.check(self.config.pipeline_depth);
            assert!(channel.told_committed <= self.committed, "told what is not committed");
            assert!(
                channel.next <= self.next.max(channel.segment.unwrap_or_default()),
                "sent what was not handed in"
            );
        }
        self.check_targets_order();
        self.recent.check();
        if self.phase != Phase::Ready {
            assert!(!self.is_reelecting(), "is elected anew before it is in office");
            return assert!(self.targets.is_empty(), "writes before it has recovered");
        }
        self.check_reelection();
        assert!(
            self.epoch > self.config.asked_before || self.mutated(Mutant::AskTwice),
            "an epoch asked for twice"
        );
        assert!(
            self.targets.is_empty() || committed < self.next,
            "committed what was not handed in"
        );
    }

    fn check_targets_order(&self) {
        assert!(self.targets.len() <= MAX_TARGETS);
        let (n, last) = (self.channels.len(), self.targets.len().saturating_sub(1));
        let mut before = None;
        for (index, target) in self.targets.iter().enumerate() {
            assert!(target.started.len() == n && target.finalized.len() == n && target.failures.len() == n);
            assert!(before.is_none_or(|end: TxId| end < target.start), "segments overlap");
            assert!(
                index == last || target.finalized_reported,
                "a segment begins before the last one is final"
            );
            assert!(target.end.is_some() || !target.finalized_reported);
            assert!(target.end.is_none_or(|end| end.next() >= target.start));
            before = target.end;
        }
    }

    /// [`QuorumWriter::check`] in debug builds. It is left out while a rule is broken on purpose: other checks must
    /// find that.
    pub(super) fn debug_check(&self) {
        if cfg!(debug_assertions) && self.config.mutation == Mutation::default() {
            self.check();
        }
    }
}

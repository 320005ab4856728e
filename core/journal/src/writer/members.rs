//! The voting JournalNodes, and how they change while edits are written. [`crate::membership`] says why this is safe.
//!
//! ```text
//! add_learner ─► joinJournal ─► caught up like any other, without a vote ─► change
//! change ─► setMembership (epoch, 0) = as found ─► of a majority
//!        ─► setMembership (epoch, n)             ─► of a majority of before and one of after,
//!                                                   both with all that is committed ─► MembershipChanged
//! ```

use std::collections::{BTreeMap, BTreeSet};

use hathi_formats::ids::TxId;

use super::channel::{Channel, ChannelCall, SegmentProgress};
use super::{CallError, Phase, QuorumWriter, Turn, WriterAction};
use crate::membership::{MEMBERS_MAX, MEMBERS_MIN, Membership};
use crate::messages::{Answer, Micros, Request};
use crate::mutant::Mutant;

/// Pause in microseconds before a JournalNode that did not take the membership is asked again.
const RETRY: Micros = 500_000;

/// A change of the membership by one JournalNode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// The learner with this address becomes a voting member.
    Add(String),
    /// This JournalNode is no member any more.
    Remove(String),
}

/// State of the JournalNode that is to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learner {
    /// There is no learner.
    None,
    /// The learner was asked to join.
    Joining,
    /// The learner lacks transactions of the newest segment. `waits`: it can't be caught up in this segment, only in
    /// the next one.
    Behind {
        /// Whether it needs a new segment.
        waits: bool,
    },
    /// The learner has all of the newest segment.
    InSync,
    /// The learner cannot be added.
    Refused(String),
}

/// A membership that is being written to the JournalNodes.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    record: Membership,
    kept: BTreeSet<usize>,
    retry_at: BTreeMap<usize, Micros>,
    /// All transactions up to this one must be on a majority of the future members.
    barrier: TxId,
    done: bool,
}

/// The voting JournalNodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    /// The members, as indices of channels.
    now: Vec<usize>,
    /// The future members while a change is under way. Until it is done a majority of both is needed.
    next: Option<Vec<usize>>,
    /// The newest known membership; `None` when the JournalNodes were never changed.
    record: Option<Membership>,
    spread: Option<Spread>,
    /// Whether the newest membership is of our epoch and on a majority.
    own: bool,
    waiting: Option<Vec<usize>>,
    learner: Option<usize>,
    learner_problem: Option<String>,
    /// JournalNodes that were asked in this phase of the recovery.
    asked: BTreeSet<usize>,
}

impl Members {
    /// Asserts the invariants that hold between calls, for a writer with this number of channels. `foreign`: a mutant
    /// breaks the rule that a change begins by writing the found membership anew.
    pub(super) fn check(&self, channels: usize, foreign: bool) {
        for set in std::iter::once(&self.now).chain(&self.next) {
            let distinct: BTreeSet<&usize> = set.iter().collect();
            assert!(
                !set.is_empty() && distinct.len() == set.len(),
                "a JournalNode counts twice"
            );
            assert!(set.iter().all(|i| *i < channels), "one without a channel counts");
        }
        if let Some(next) = &self.next {
            let both = next.iter().filter(|i| self.now.contains(i)).count();
            let differ = self.now.len() + next.len() - 2 * both;
            assert_eq!(differ, 1, "a change of more than one JournalNode");
            assert!(
                self.own || foreign,
                "a change before the membership found is written anew"
            );
        }
        if let (Some(spread), Some(record)) = (&self.spread, &self.record) {
            assert_eq!(&spread.record, record, "another membership is spread than is known");
        }
        assert!(
            self.learner.is_none_or(|i| !self.now.contains(&i)),
            "one that counts is to be added"
        );
    }
}

impl QuorumWriter {
    /// The `host:port` of every JournalNode ever spoken to. [`WriterAction::Send`] names them by their index.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The `host:port` of each member.
    #[must_use]
    pub fn members(&self) -> Vec<String> {
        self.names(&self.members.now)
    }

    /// The newest known membership; `None` when the JournalNodes were never changed.
    #[must_use]
    pub fn membership(&self) -> Option<&Membership> {
        self.members.record.as_ref()
    }

    fn names(&self, indices: &[usize]) -> Vec<String> {
        indices.iter().filter_map(|i| self.addresses.get(*i).cloned()).collect()
    }

    /// The members, as indices of channels.
    pub(super) fn counting(&self) -> &[usize] {
        &self.members.now
    }

    /// Whether the JournalNodes for which `yes` holds are a majority: during a change, of both sets of members.
    pub(super) fn is_quorum(&self, yes: impl Fn(usize) -> bool) -> bool {
        self.is_quorum_less(0, yes)
    }

    /// [`Self::is_quorum`] with a few JournalNodes less than a majority, for mutants.
    pub(super) fn is_quorum_less(&self, less: usize, yes: impl Fn(usize) -> bool) -> bool {
        self.sets().all(|set| {
            let count = set.iter().filter(|i| yes(**i)).count();
            count >= (set.len() / 2 + 1).saturating_sub(less)
        })
    }

    /// The highest value that a majority reaches: during a change, of both sets of members.
    pub(super) fn quorum_value<T: Ord + Copy + Default>(&self, less: usize, value: impl Fn(usize) -> T) -> T {
        let reached = self.sets().map(|set| {
            let mut values: Vec<T> = set.iter().map(|i| value(*i)).collect();
            values.sort_unstable_by(|a, b| b.cmp(a));
            let needed = (set.len() / 2 + 1).saturating_sub(less);
            needed
                .checked_sub(1)
                .and_then(|at| values.get(at).copied())
                .unwrap_or_default()
        });
        reached.min().unwrap_or_default()
    }

    fn sets(&self) -> impl Iterator<Item = &Vec<usize>> {
        std::iter::once(&self.members.now).chain(&self.members.next)
    }

    fn will_count(&self, i: usize) -> bool {
        self.sets().any(|set| set.contains(&i))
    }

    /// Index of the channel to an address. It is made if there is none.
    fn channel_of(&mut self, address: &str) -> usize {
        if let Some(i) = self.addresses.iter().position(|known| known == address) {
            if let Some(channel) = self.channels.get_mut(i).filter(|channel| channel.gone) {
                // A JournalNode takes each serial number of an epoch once only.
                let serial = channel.serial;
                *channel = Channel::new();
                channel.serial = serial;
            }
            return i;
        }
        self.addresses.push(address.to_owned());
        self.channels.push(Channel::new());
        self.votes.push(None);
        for target in &mut self.targets {
            target.started.push(false);
            target.finalized.push(false);
            target.failures.push(None);
        }
        self.channels.len() - 1
    }

    /// Begins with the members of the newest known membership, or those of the configuration.
    pub(super) fn begin_members(&mut self) {
        let addresses = match self.config.membership.clone() {
            Some(membership) => {
                let members = membership.members.clone();
                self.members.record = Some(membership);
                members
            }
            None => self.config.members.clone(),
        };
        self.members.now = addresses.iter().map(|address| self.channel_of(address)).collect();
    }

    // ---- coming into office

    /// Asks every member that was not asked in this phase.
    pub(super) fn ask_members(&mut self, op: impl Fn(usize) -> ChannelCall) {
        for i in self.members.now.clone() {
            if self.members.asked.insert(i)
                && let Some(channel) = self.channels.get_mut(i)
            {
                channel.waiting.push(op(i));
            }
        }
    }

    pub(super) fn begin_asking(&mut self) {
        self.members.asked.clear();
    }

    /// A JournalNode knows a newer membership. From now on a majority of that one is needed.
    pub(super) fn follow(&mut self, found: Option<Membership>) {
        let Some(found) = found else { return };
        if !found.is_valid()
            || !found.is_newer_than(self.members.record.as_ref())
            || self.mutated(Mutant::IgnoreMembership)
        {
            return;
        }
        let now = found.members.iter().map(|address| self.channel_of(address)).collect();
        self.members.now = now;
        self.members.record = Some(found);
        match self.phase {
            Phase::JournalStates => self.ask_members(|_| ChannelCall::GetJournalState),
            Phase::NewEpoch => {
                let epoch = self.epoch;
                self.ask_members(|_| ChannelCall::NewEpoch { epoch });
            }
            _ => {}
        }
    }

    /// The log is recovered. JournalNodes of older memberships are left, and the found membership is written in our
    /// epoch.
    pub(super) fn settle_members(&mut self) {
        for i in 0..self.channels.len() {
            if !self.members.now.contains(&i) {
                self.leave(i);
            }
        }
        self.spread_in_own_epoch();
    }

    /// Before a membership is changed it must be of the writer's own epoch, and on a majority.
    pub(super) fn spread_in_own_epoch(&mut self) {
        self.members.own = false;
        if let Some(record) = &self.members.record
            && !self.mutated(Mutant::ForeignMembership)
        {
            let members = record.members.clone();
            self.spread(0, members, TxId(0));
        }
    }

    fn leave(&mut self, i: usize) {
        if let Some(channel) = self.channels.get_mut(i) {
            channel.gone = true;
            channel.in_flight.clear();
            channel.waiting.clear();
        }
        if let Some(vote) = self.votes.get_mut(i) {
            *vote = None;
        }
    }

    // ---- changing

    /// Begins to catch up a JournalNode that is to be added. It has no vote yet.
    ///
    /// # Errors
    /// Why it can't be added, in words for people.
    pub fn add_learner(&mut self, address: &str, now: Micros, out: &mut Vec<WriterAction>) -> Result<(), String> {
        let turn = &mut Turn { now, out };
        self.check_changeable(turn.now)?;
        if self.members.learner.is_some() {
            return Err("another JournalNode is being added".to_owned());
        }
        if self.members().iter().any(|member| member == address) {
            return Err(format!("{address} is a JournalNode of this journal already"));
        }
        let probe = Membership {
            members: self.members().into_iter().chain([address.to_owned()]).collect(),
            ..Membership::default()
        };
        if !probe.is_valid() {
            return Err(format!(
                "{address} is no host:port, or there would be more than {MEMBERS_MAX}"
            ));
        }
        let i = self.channel_of(address);
        if let Some(channel) = self.channels.get_mut(i) {
            channel.waiting.push(ChannelCall::Join);
        }
        self.members.learner = Some(i);
        self.members.learner_problem = None;
        self.pump_all(turn);
        Ok(())
    }

    /// Forgets the learner, unless its change has begun.
    pub fn drop_learner(&mut self) {
        if let Some(i) = self.members.learner
            && !self.will_count(i)
            && self.members.waiting.is_none()
        {
            self.members.learner = None;
            self.leave(i);
        }
    }

    /// State of the learner.
    #[must_use]
    pub fn learner(&self) -> Learner {
        let Some(channel) = self.members.learner.and_then(|i| self.channels.get(i)) else {
            return Learner::None;
        };
        if let Some(problem) = &self.members.learner_problem {
            return Learner::Refused(problem.clone());
        }
        if channel.fenced {
            return Learner::Refused("it has promised a higher epoch".to_owned());
        }
        if channel.ours != Some(true) {
            return Learner::Joining;
        }
        let newest = self.targets.back().map(|target| target.start);
        match channel.progress {
            _ if newest.is_none() || channel.segment != newest => Learner::Behind { waits: false },
            SegmentProgress::Current | SegmentProgress::Finalized
                if newest.is_some_and(|start| channel.acked >= start) =>
            {
                Learner::InSync
            }
            SegmentProgress::GivenUp => Learner::Behind { waits: true },
            _ => Learner::Behind { waits: false },
        }
    }

    pub(super) fn join_answer(&mut self, i: usize, result: Result<Answer, CallError>) {
        if self.members.learner != Some(i) {
            return;
        }
        match result {
            Ok(_) => {
                if let Some(channel) = self.channels.get_mut(i) {
                    channel.ours = Some(true);
                }
            }
            Err(CallError::Remote(exception)) if super::is_unknown_protocol(&exception) => {
                self.members.learner_problem =
                    Some("it is no JournalNode of Hathi, which alone know changes of their set".to_owned());
            }
            Err(CallError::Remote(exception)) => self.members.learner_problem = Some(exception.to_string()),
            Err(CallError::Broken(what)) => self.members.learner_problem = Some(what),
        }
    }

    /// Whether a JournalNode may get edits. A learner may only after it has joined.
    pub(super) fn may_write(&self, i: usize) -> bool {
        self.members.learner != Some(i) || self.channels.get(i).is_some_and(|channel| channel.ours == Some(true))
    }

    fn check_changeable(&self, now: Micros) -> Result<(), String> {
        if self.phase != Phase::Ready {
            return Err("this NameNode is not the writer of the journal".to_owned());
        }
        if self.is_changing() {
            return Err("another change of the JournalNodes is under way".to_owned());
        }
        // While we hold the lease, no other NameNode can have become the writer and changed anything.
        if self.lease_supported() && self.lease_until <= now {
            return Err("the read lease is not held".to_owned());
        }
        let java = self.members.now.iter().find(|i| {
            self.channels
                .get(**i)
                .is_some_and(|channel| channel.ours == Some(false))
        });
        match java.and_then(|i| self.addresses.get(*i)) {
            Some(address) => Err(format!(
                "{address} is no JournalNode of Hathi: it does not know changes of the set; replace it first"
            )),
            None => Ok(()),
        }
    }

    /// Whether a change has begun and is not done.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.members.waiting.is_some() || self.members.next.is_some()
    }

    /// Changes the membership. This ends with `MembershipChanged`, or with the end of the writer.
    ///
    /// # Errors
    /// Why the change can't begin, in words for people. Then nothing was done.
    pub fn change(&mut self, change: &MemberChange, now: Micros, out: &mut Vec<WriterAction>) -> Result<(), String> {
        let turn = &mut Turn { now, out };
        self.check_changeable(turn.now)?;
        let next = match change {
            MemberChange::Add(address) => {
                let learner = self.members.learner.filter(|i| self.addresses.get(*i) == Some(address));
                let in_sync = self.learner() == Learner::InSync || self.mutated(Mutant::CountUnsynced);
                let Some(learner) = learner.filter(|_| in_sync) else {
                    return Err(format!("{address} is not caught up"));
                };
                let mut next = self.members.now.clone();
                next.push(learner);
                next
            }
            MemberChange::Remove(address) => {
                let mut next = self.members.now.clone();
                next.retain(|i| self.addresses.get(*i) != Some(address));
                if next.len() == self.members.now.len() {
                    return Err(format!("{address} is no JournalNode of this journal"));
                }
                if next.len() < MEMBERS_MIN {
                    return Err(format!(
                        "only {} would be left: with it everything that was acknowledged could be lost; add others first",
                        next.len()
                    ));
                }
                next
            }
        };
        let in_sync = |i: &&usize| {
            let channel = self.channels.get(**i);
            channel.is_some_and(|channel| {
                matches!(channel.progress, SegmentProgress::Current | SegmentProgress::Finalized)
            })
        };
        let (well, needed) = (next.iter().filter(in_sync).count(), next.len() / 2 + 1);
        if well < needed {
            return Err(format!(
                "only {well} of the {} JournalNodes that there would be are in sync now, and {needed} make a majority",
                next.len()
            ));
        }
        if self.members.own || self.mutated(Mutant::ForeignMembership) {
            self.propose(next);
        } else {
            self.members.waiting = Some(next);
            if self.members.spread.is_none() {
                let members = self.members();
                self.spread(0, members, TxId(0));
            }
        }
        self.pump_all(turn);
        Ok(())
    }

    fn propose(&mut self, next: Vec<usize>) {
        let known = self.members.record.as_ref().filter(|record| record.epoch == self.epoch);
        let version = known.map_or(0, |record| record.version) + 1;
        let members = self.names(&next);
        self.members.next = Some(next);
        let barrier = self.committed.unwrap_or_default();
        self.spread(version, members, barrier);
    }

    fn spread(&mut self, version: u64, members: Vec<String>, barrier: TxId) {
        let record = Membership {
            epoch: self.epoch,
            version,
            members,
        };
        self.members.record = Some(record.clone());
        self.members.spread = Some(Spread {
            record,
            kept: BTreeSet::new(),
            retry_at: BTreeMap::new(),
            barrier,
            done: false,
        });
    }

    /// When a JournalNode should be told the membership.
    pub(super) fn membership_due(&self, i: usize) -> Option<Micros> {
        let spread = self.members.spread.as_ref()?;
        let channel = self.channels.get(i)?;
        let wanted = self.will_count(i) && !spread.kept.contains(&i);
        let reachable = channel.ours != Some(false)
            && !channel.fenced
            && !matches!(channel.progress, SegmentProgress::Behind { .. });
        (wanted && reachable && !channel.gone).then(|| spread.retry_at.get(&i).copied().unwrap_or(0))
    }

    pub(super) fn membership_op(&mut self, i: usize, now: Micros) -> Option<(ChannelCall, Request)> {
        if self.membership_due(i)? > now {
            return None;
        }
        let info = self.info(self.channels.get(i)?);
        let spread = self.members.spread.as_mut()?;
        spread.retry_at.insert(i, now + RETRY);
        let membership = spread.record.clone();
        let version = membership.version;
        Some((
            ChannelCall::SetMembership { version },
            Request::SetMembership { info, membership },
        ))
    }

    pub(super) fn membership_answer(&mut self, i: usize, version: u64, result: Result<Answer, CallError>, now: Micros) {
        match result {
            Ok(_) => {
                let spread = self.members.spread.as_mut();
                if let Some(spread) = spread.filter(|spread| spread.record.version == version) {
                    spread.kept.insert(i);
                }
                if let Some(channel) = self.channels.get_mut(i) {
                    channel.ours = Some(true);
                }
            }
            Err(CallError::Remote(exception)) => {
                if super::is_unknown_protocol(&exception)
                    && let Some(channel) = self.channels.get_mut(i)
                {
                    channel.ours = Some(false);
                }
            }
            Err(CallError::Broken(_)) => self.out_of_sync(i, now),
        }
    }

    /// A JournalNode did not answer and may have lost its disk, so it may have lost the membership as well.
    pub(super) fn membership_unsure(&mut self, i: usize, now: Micros) {
        if let Some(spread) = &mut self.members.spread {
            spread.kept.remove(&i);
            spread.retry_at.insert(i, now + RETRY);
        }
    }

    /// Ends a change when enough JournalNodes keep the membership and have the transactions that they need.
    pub(super) fn check_change(&mut self, turn: &mut Turn<'_>) {
        let Some(spread) = self.members.spread.as_ref().filter(|spread| !spread.done) else {
            return;
        };
        let hasty = self.mutated(Mutant::HastyMembership);
        let kept = self.is_quorum(|i| spread.kept.contains(&i)) || (hasty && !spread.kept.is_empty());
        // A JournalNode may have the end of an older segment and lack everything before. So only the newest segment
        // counts.
        let newest = self.targets.back().map_or(TxId(u64::MAX), |target| target.start);
        let needed = spread.barrier.max(newest);
        let reached = self.quorum_value(0, |i| self.channels.get(i).map_or(TxId(0), |channel| channel.acked));
        let has_data = reached >= needed || self.members.next.is_none() || self.mutated(Mutant::CountUnsynced);
        if !kept || !has_data {
            return;
        }
        let record = spread.record.clone();
        if let Some(spread) = self.members.spread.as_mut() {
            spread.done = true;
        }
        self.members.own = true;
        match self.members.next.take() {
            None => {
                if let Some(next) = self.members.waiting.take() {
                    self.propose(next);
                }
            }
            Some(next) => {
                let before = std::mem::replace(&mut self.members.now, next);
                if self.members.learner.is_some_and(|i| self.members.now.contains(&i)) {
                    self.members.learner = None;
                }
                for i in before {
                    if !self.members.now.contains(&i) {
                        self.leave(i);
                    }
                }
                // The lease may now end earlier, because the leases of removed JournalNodes count no more.
                self.lease_until = self.lease_of_quorum();
                turn.out.push(WriterAction::MembershipChanged { membership: record });
                self.advance_commit(turn);
                self.check_targets(turn);
            }
        }
        self.pump_all(turn);
    }
}

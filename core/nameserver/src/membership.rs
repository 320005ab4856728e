//! Adding and removing a JournalNode while the cluster runs (`hathi journal add|remove`), at the active NameNode.
//!
//! The quorum writer decides whether a change of the membership is safe ([`hathi_journal::membership`]). Here are the
//! steps before it: a new JournalNode is caught up as a learner, and every finalized segment must be where it has to be.
//! Otherwise a segment could leave together with a JournalNode before there is a checkpoint of it.
//!
//! Invariants:
//! - One order is under way at a time.
//! - The writer is asked to add a JournalNode only when that one has all of the newest segment and every finalized
//!   segment that a majority of the members names.
//! - The writer is asked to remove one only when every finalized segment that a majority names is on a majority of the
//!   others. When too few others would be left, the writer refuses the change.
//! - A change ends: with a new membership, a refusal, the end of the writer, or after [`GIVE_UP_AFTER_MS`].
//! - The learner of a change that has failed is given up.

use crate::reading::{self, CALL_TIMEOUT_MS};
use hathi_formats::host_port::HostPort;
use hathi_formats::ids::TxId;
use hathi_journal::membership::MEMBERS_MIN;
use hathi_journal::writer::{CallError, Learner, MemberChange};
use hathi_journal::{Answer, Membership, Request};
use std::collections::{BTreeMap, BTreeSet};

/// How long in ms a new JournalNode may take to fetch the segments that it lacks, or the others to fetch those that only
/// the removed one has.
pub const GIVE_UP_AFTER_MS: u64 = 600_000;
/// Pause in ms before the state of the learner is asked for again.
const LEARNER_PAUSE_MS: u64 = 50;
/// Pause in ms before segments are compared again. JournalNodes fetch segments in seconds.
const COMPARE_PAUSE_MS: u64 = 500;

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The request names no JournalNode, or two.
    #[error("either a JournalNode to add or one to remove")]
    NotOne,
    /// What the request names is no `host:port`.
    #[error("{0}")]
    Address(String),
    /// The quorum writer refuses it.
    #[error("refused: {0}")]
    Refused(String),
    /// The new JournalNode can't join.
    #[error("{address} cannot be added: {why}")]
    CannotJoin {
        /// Its `host:port`.
        address: String,
        /// In words for people.
        why: String,
    },
    /// Fewer than a majority of the members answer.
    #[error("no majority of the JournalNodes tells its segments")]
    NoMajority,
    /// A condition was not fulfilled in time.
    #[error("{0}, {limit_s} s after the change was asked for", limit_s = GIVE_UP_AFTER_MS / 1000)]
    TooLate(String),
    /// This NameNode is not the writer any more.
    #[error("this NameNode stopped being the writer meanwhile; whether the change was made the next one will know")]
    WriterLost,
}

/// The quorum writer did not make the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unchanged {
    /// In words for people.
    pub why: String,
    /// State of the learner at that moment.
    pub learner: Learner,
}

/// What the shell does next. Each order but the last one is answered by [`Got`].
#[derive(Debug, PartialEq, Eq)]
pub enum Order {
    /// The writer begins to catch up a JournalNode of this `host:port`: [`Got::Begun`].
    StartLearner(String),
    /// Ask the writer for the state of the learner: [`Got::Learner`].
    AskLearner,
    /// Begin a new edit log segment: [`Got::Done`], also when that is not possible now.
    RollEditLog,
    /// Ask these JournalNodes at once: [`Got::Answers`].
    AskSegments {
        /// Which ones.
        journalnodes: Vec<HostPort>,
        /// The request.
        request: Request,
        /// Time limit in milliseconds.
        timeout_ms: u32,
    },
    /// The writer makes this change: [`Got::Changed`].
    Change(MemberChange),
    /// So many milliseconds pass: [`Got::Done`].
    Pause(u64),
    /// The change has ended.
    End {
        /// The answer to the administrator.
        result: Result<Membership, ChangeError>,
        /// Whether the writer has to give the learner up.
        drops_learner: bool,
    },
}

/// What came of the last order.
#[derive(Debug)]
pub enum Got {
    /// There was none: the change begins.
    Nothing,
    /// It is done.
    Done,
    /// Of [`Order::StartLearner`]: why the writer refuses, in words.
    Begun(Result<(), String>),
    /// Of [`Order::AskLearner`].
    Learner(Learner),
    /// Of [`Order::AskSegments`]: those that answered in time.
    Answers(Vec<(HostPort, Result<Answer, CallError>)>),
    /// Of [`Order::Change`].
    Changed(Result<Membership, Unchanged>),
    /// The writer does not answer, because this NameNode is not the writer any more.
    WriterLost,
}

/// One change; see the module.
#[derive(Debug)]
pub struct MembershipChange {
    asked: Asked,
    /// Those before the change.
    members: Vec<HostPort>,
    began_ms: u64,
    /// Whether a segment was begun for the learner.
    rolled: bool,
}

/// What an administrator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Add(HostPort),
    Remove(HostPort),
}

impl MembershipChange {
    /// A change of these members. The request names either a JournalNode to add or one to remove.
    ///
    /// # Errors
    /// The request names neither or both, or what it names is no `host:port`.
    pub fn new(
        add: Option<&str>,
        remove: Option<&str>,
        members: Vec<HostPort>,
        now_ms: u64,
    ) -> Result<MembershipChange, ChangeError> {
        let parse = |address| HostPort::parse(address, None).map_err(ChangeError::Address);
        let asked = match (add, remove) {
            (Some(address), None) => Asked::Add(parse(address)?),
            (None, Some(address)) => Asked::Remove(parse(address)?),
            (None, None) | (Some(_), Some(_)) => return Err(ChangeError::NotOne),
        };
        Ok(MembershipChange {
            asked,
            members,
            began_ms: now_ms,
            rolled: false,
        })
    }

    /// What follows from what came of the last order.
    pub fn on(&mut self, got: Got, now_ms: u64) -> Order {
        debug_assert!(now_ms >= self.began_ms, "time goes on");
        match (got, self.asked.clone()) {
            (Got::WriterLost, _) => self.fail(ChangeError::WriterLost),
            (Got::Nothing, Asked::Add(new)) => Order::StartLearner(new.to_string()),
            (Got::Nothing, Asked::Remove(old)) => match self.others(&old) {
                // The writer refuses it, and says why.
                others if others.len() == self.members.len() || others.len() < MEMBERS_MIN => {
                    Order::Change(MemberChange::Remove(old.to_string()))
                }
                _ => ask_segments(self.members.clone()),
            },
            (Got::Begun(Err(why)), _) => self.fail(ChangeError::Refused(why)),
            (Got::Begun(Ok(())) | Got::Done, Asked::Add(_)) => Order::AskLearner,
            (Got::Done | Got::Begun(Ok(())) | Got::Learner(_), Asked::Remove(_)) => ask_segments(self.members.clone()),
            (Got::Learner(learner), Asked::Add(new)) => self.on_learner(learner, &new, now_ms),
            (Got::Answers(answers), Asked::Add(new)) => self.on_segments_for(answers, &new, now_ms),
            (Got::Answers(answers), Asked::Remove(old)) => self.on_segments_without(answers, &old, now_ms),
            (Got::Changed(Ok(membership)), _) => Order::End {
                result: Ok(membership),
                drops_learner: false,
            },
            (Got::Changed(Err(unchanged)), Asked::Add(new)) if unchanged.learner != Learner::InSync => {
                // It has just fallen behind.
                self.on_learner(unchanged.learner, &new, now_ms)
            }
            (Got::Changed(Err(unchanged)), _) => self.fail(ChangeError::Refused(unchanged.why)),
        }
    }

    fn others(&self, old: &HostPort) -> Vec<&HostPort> {
        self.members.iter().filter(|member| *member != old).collect()
    }

    fn fail(&self, error: ChangeError) -> Order {
        Order::End {
            result: Err(error),
            drops_learner: matches!(self.asked, Asked::Add(_)),
        }
    }

    /// Waits, as long as there is time for it.
    fn wait(&self, pause_ms: u64, what: String, now_ms: u64) -> Order {
        if now_ms.saturating_sub(self.began_ms) > GIVE_UP_AFTER_MS {
            return self.fail(ChangeError::TooLate(what));
        }
        Order::Pause(pause_ms)
    }

    fn on_learner(&mut self, learner: Learner, new: &HostPort, now_ms: u64) -> Order {
        match learner {
            Learner::InSync => ask_segments(self.members.iter().chain([new]).cloned().collect()),
            Learner::Behind { .. } if !self.rolled => {
                // It fetches older segments from its peers, and gets everything from now on from the writer.
                self.rolled = true;
                Order::RollEditLog
            }
            Learner::Joining | Learner::Behind { .. } => {
                self.wait(LEARNER_PAUSE_MS, format!("{new} does not follow"), now_ms)
            }
            Learner::Refused(why) => {
                let address = new.to_string();
                self.fail(ChangeError::CannotJoin { address, why })
            }
            Learner::None => self.fail(ChangeError::WriterLost),
        }
    }

    fn on_segments_for(&self, answers: Answers, new: &HostPort, now_ms: u64) -> Order {
        let segments = match self.segments(answers) {
            Ok(segments) => segments,
            Err(error) => return self.fail(error),
        };
        let lacks = match segments.by_journalnode.get(new) {
            None => Some(format!("{new} does not tell its segments")),
            Some(there) => {
                let lacking = segments.of_members.difference(there).next();
                lacking.map(|(start, end)| format!("{new} lacks segment {start}-{end}"))
            }
        };
        match lacks {
            Some(what) => self.wait(COMPARE_PAUSE_MS, what, now_ms),
            None => Order::Change(MemberChange::Add(new.to_string())),
        }
    }

    fn on_segments_without(&self, answers: Answers, old: &HostPort, now_ms: u64) -> Order {
        let segments = match self.segments(answers) {
            Ok(segments) => segments,
            Err(error) => return self.fail(error),
        };
        let others = self.others(old);
        debug_assert!(others.len() >= MEMBERS_MIN, "otherwise the writer was asked at once");
        debug_assert!(others.len() < self.members.len(), "who leaves is a member");
        let copies = |segment: &Segment| {
            let there = others.iter().filter_map(|member| segments.by_journalnode.get(*member));
            there.filter(|there| there.contains(segment)).count()
        };
        let mut wanted = segments.of_members.iter();
        match wanted.find(|segment| copies(segment) < others.len() / 2 + 1) {
            Some((start, end)) => {
                let what = format!("segment {start}-{end} is not on a majority of those that would remain");
                self.wait(COMPARE_PAUSE_MS, what, now_ms)
            }
            None => Order::Change(MemberChange::Remove(old.to_string())),
        }
    }

    /// The finalized segments, if a majority of the members tells them.
    fn segments(&self, answers: Answers) -> Result<Segments, ChangeError> {
        let finalized = answers.into_iter().filter_map(|(journalnode, answer)| {
            let Ok(Answer::Manifest(manifest)) = answer else {
                return None;
            };
            let segments = manifest.segments.iter();
            let known = segments.filter_map(|segment| Some((segment.start, segment.end?)));
            Some((journalnode, known.collect::<BTreeSet<Segment>>()))
        });
        let by_journalnode: BTreeMap<HostPort, BTreeSet<Segment>> = finalized.collect();
        let told: Vec<_> = self
            .members
            .iter()
            .filter_map(|member| by_journalnode.get(member))
            .collect();
        if told.len() < self.members.len() / 2 + 1 {
            return Err(ChangeError::NoMajority);
        }
        Ok(Segments {
            of_members: told.into_iter().flatten().copied().collect(),
            by_journalnode,
        })
    }
}

type Answers = Vec<(HostPort, Result<Answer, CallError>)>;
/// First and last transaction.
type Segment = (TxId, TxId);

/// Finalized segments.
struct Segments {
    /// All that any member has.
    of_members: BTreeSet<Segment>,
    by_journalnode: BTreeMap<HostPort, BTreeSet<Segment>>,
}

fn ask_segments(journalnodes: Vec<HostPort>) -> Order {
    Order::AskSegments {
        journalnodes,
        request: reading::manifest(TxId(0), false),
        timeout_ms: CALL_TIMEOUT_MS,
    }
}

#[cfg(test)]
mod tests;

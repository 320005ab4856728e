//! Where an active finds edits of the past for those who follow the namespace (`getEditsFromTxid`; Hadoop's
//! `FSEditLog.selectInputStreams` for the client).
//!
//! The newest ones are in the memory of a JournalNode of ours, which tells what is committed. The others are in segments.
//!
//! Invariants:
//! - What is read is committed as a JournalNode of ours knows it, or finalized by a recovery or by its writer. The caller
//!   knows besides what a quorum has told it, and uses nothing above that.
//! - A later segment than the one that holds the wanted transaction is read only if a majority lacks that one.
//! - One order is under way at a time, and each JournalNode is asked once for its memory.

use crate::reading::of_majority;
use crate::reading::{CALL_TIMEOUT_MS, Candidate, MEMORY_TIMEOUT_MS, Sources, candidates, committed_edits, manifest};
use hathi_formats::exceptions;
use hathi_formats::ids::TxId;
use hathi_journal::messages::Manifest;
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Request};
use std::collections::VecDeque;

/// A JournalNode is told within this time in ms that the last edits are committed.
const COMMIT_WAIT_MS: u32 = 20;

/// What the shell does next.
#[derive(Debug)]
pub enum Order {
    /// Ask one JournalNode: [`Got::Answer`].
    Ask {
        /// Which one.
        journalnode: usize,
        /// The request.
        request: Request,
        /// Time limit in milliseconds.
        timeout_ms: u32,
    },
    /// Ask all members at once: [`Got::Answers`].
    AskAll {
        /// The request.
        request: Request,
        /// Time limit in milliseconds.
        timeout_ms: u32,
    },
    /// Fetch the file of a segment and use it up to the candidate's limit: [`Got::Useless`], or the end of this search.
    Fetch(Candidate),
    /// Use these edits up to `limit`: [`Got::Useless`], or the end of this search.
    Use {
        /// Header and ops.
        edits: bytes::Bytes,
        /// Transactions above this one are not known to be committed.
        limit: TxId,
    },
    /// There is nothing to be read now.
    Nothing,
    /// Those that would have it do not answer, or have it damaged.
    Failed(String),
}

/// What came of the last order.
#[derive(Debug)]
pub enum Got {
    /// There was none: the search begins.
    Begin,
    /// Of [`Order::Ask`].
    Answer(Result<Answer, CallError>),
    /// Of [`Order::AskAll`].
    Answers(Vec<(usize, Result<Answer, CallError>)>),
    /// Of [`Order::Fetch`] or [`Order::Use`]: the wanted transaction did not come of it, for this reason.
    Useless(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    Memory(usize),
    Manifests,
    Segments,
}

/// The search for one transaction; see the module.
#[derive(Debug)]
pub struct Search {
    wanted: TxId,
    /// Whether a later transaction is of use when the wanted one is gone.
    may_begin_later: bool,
    members: Vec<usize>,
    stage: Stage,
    rest: VecDeque<usize>,
    segments: VecDeque<Candidate>,
    problem: Option<String>,
}

impl Search {
    /// At the JournalNodes that are members now, by their indices.
    #[must_use]
    pub fn new(wanted: TxId, may_begin_later: bool, members: Vec<usize>) -> Search {
        Search {
            wanted,
            may_begin_later,
            members,
            stage: Stage::Begin,
            rest: VecDeque::new(),
            segments: VecDeque::new(),
            problem: None,
        }
    }

    /// What follows from what came of the last order.
    pub fn on(&mut self, got: Got, sources: &mut Sources) -> Order {
        debug_assert!(
            self.rest.len() <= self.members.len(),
            "each JournalNode is asked once for its memory"
        );
        match (self.stage, got) {
            (Stage::Begin, Got::Begin) => {
                self.rest = sources.order(&self.members);
                self.ask_memory()
            }
            (Stage::Memory(journalnode), Got::Answer(answer)) => self.on_memory(journalnode, answer, sources),
            (Stage::Memory(_), Got::Useless(why)) => {
                self.problem = Some(why);
                self.ask_memory()
            }
            (Stage::Manifests, Got::Answers(answers)) => self.on_manifests(answers),
            (Stage::Segments, Got::Useless(why)) => {
                self.problem = Some(why);
                self.next_segment()
            }
            (_, got) => {
                debug_assert!(false, "an order is answered by what it asks for, not by {got:?}");
                Order::Failed("an answer to no order".to_owned())
            }
        }
    }

    fn ask_memory(&mut self) -> Order {
        let Some(journalnode) = self.rest.pop_front() else {
            return self.ask_manifests();
        };
        self.stage = Stage::Memory(journalnode);
        Order::Ask {
            journalnode,
            request: committed_edits(self.wanted, COMMIT_WAIT_MS),
            timeout_ms: MEMORY_TIMEOUT_MS + COMMIT_WAIT_MS,
        }
    }

    fn on_memory(&mut self, journalnode: usize, answer: Result<Answer, CallError>, sources: &mut Sources) -> Order {
        match answer {
            Ok(Answer::JournaledEdits {
                count,
                edit_log,
                committed: Some(committed),
            }) => {
                sources.learn(journalnode, true);
                match edit_log.filter(|_| count > 0 && committed >= self.wanted) {
                    Some(edits) => Order::Use {
                        edits,
                        limit: committed,
                    },
                    None => self.ask_memory(),
                }
            }
            // Hadoop's do not tell what is committed of what they have in memory.
            Ok(Answer::JournaledEdits { .. }) => {
                sources.learn(journalnode, false);
                self.ask_memory()
            }
            // The others have forgotten it as well.
            Err(CallError::Remote(exception)) if exception.is(exceptions::CACHE_MISS) => self.ask_manifests(),
            Ok(_) | Err(_) => self.ask_memory(),
        }
    }

    fn ask_manifests(&mut self) -> Order {
        self.stage = Stage::Manifests;
        Order::AskAll {
            request: manifest(self.wanted, true),
            timeout_ms: CALL_TIMEOUT_MS,
        }
    }

    fn on_manifests(&mut self, answers: Vec<(usize, Result<Answer, CallError>)>) -> Order {
        let manifests = match of_majority(answers, self.members.len() / 2 + 1) {
            Ok(manifests) => manifests,
            Err(problem) => return Order::Failed(problem),
        };
        self.stage = Stage::Segments;
        let mut found = candidates(&manifests, self.wanted);
        if found.is_empty()
            && self.may_begin_later
            && let Some(oldest) = oldest_behind(&manifests, self.wanted)
        {
            found = candidates(&manifests, oldest);
        }
        self.segments = found.into();
        self.next_segment()
    }

    fn next_segment(&mut self) -> Order {
        match (self.segments.pop_front(), self.problem.take()) {
            (Some(candidate), problem) => {
                self.problem = problem;
                Order::Fetch(candidate)
            }
            (None, Some(problem)) => Order::Failed(problem),
            (None, None) => Order::Nothing,
        }
    }
}

/// The first transaction of the oldest segment that begins behind the wanted one. `None` when some segment holds it, even
/// if it is not known to be committed yet: then it is not gone.
fn oldest_behind(manifests: &[(usize, Manifest)], wanted: TxId) -> Option<TxId> {
    let segments = || manifests.iter().flat_map(|(_, manifest)| &manifest.segments);
    let holds = segments().any(|segment| segment.start <= wanted && segment.end.is_none_or(|end| end >= wanted));
    let behind = segments().map(|segment| segment.start).filter(|start| *start > wanted);
    behind.min().filter(|_| !holds)
}

#[cfg(test)]
mod tests;

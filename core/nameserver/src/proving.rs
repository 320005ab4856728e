//! How a standby proves that its replayed edits are those of the JournalNodes ([`hathi_namesystem::history`]): it asks them
//! for their epochs, and where these prove nothing, reads the replayed edits once more.
//!
//! Nothing may be applied while a proof is under way.
//!
//! Invariants:
//! - One order is under way at a time.
//! - A NameNode that becomes active has no stretch left that was not found equal.
//! - Edits that differ end the proof. A JournalNode that can't be read, or has damaged edits, does not as long as there is
//!   another one.

use crate::reading::{
    CALL_TIMEOUT_MS, Candidate, MEMORY_TIMEOUT_MS, ReadError, candidates, committed_edits, manifest, of_majority,
};
use hathi_formats::ids::{Epoch, TxId};
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Request};
use hathi_namesystem::Namesystem;
use hathi_namesystem::history::{Compared, EditsSource, HistoryError, JournalState, Stretch, StretchComparison};
use hathi_namesystem::tailer::TailError;
use std::collections::VecDeque;

/// What is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A standby proves what can be proven now.
    Standby,
    /// A NameNode may serve as the writer of this epoch, whose recovery left a journal that ends with this transaction.
    BeforeActive(Epoch, Option<TxId>),
}

/// What the shell does next. Each order but the last ones is answered by [`Got`].
#[derive(Debug)]
pub enum Order {
    /// Ask all members at once: [`Got::Answers`]. One that hangs must delay nobody.
    AskAll {
        /// The request.
        request: Request,
        /// Time limit in milliseconds.
        timeout_ms: u32,
    },
    /// Fetch the file of a segment: [`Got::Fetched`].
    Fetch(Candidate),
    /// The proof has ended.
    Done,
    /// It has ended without what it was for, or with edits that differ from the journal's.
    Failed(ReadError),
}

/// What came of the last order.
#[derive(Debug)]
pub enum Got {
    /// Of [`Order::AskAll`], with the indices of the JournalNodes that answered in time.
    Answers(Vec<(usize, Result<Answer, CallError>)>),
    /// Of [`Order::Fetch`]: the file, or why there is none.
    Fetched(Result<bytes::Bytes, String>),
}

/// What is known, and what is to be done next.
#[derive(Debug)]
enum Stage {
    Begin,
    /// All were asked for the states of their journals.
    AskedStates,
    Judge(Vec<JournalState>),
    NextStretch,
    AskMemory(Comparing),
    /// All were asked for edits in memory. Mostly these are the edits of about a second.
    AskedMemory(Comparing),
    AskManifests(Stretch),
    AskedManifests(Stretch),
    NextSegment(Stretch),
    Fetching(Stretch, Candidate),
    Compared(Stretch, Compared),
    Ended(Result<(), ReadError>),
}

/// A comparison under way.
#[derive(Debug)]
struct Comparing {
    stretch: Stretch,
    comparison: StretchComparison,
}

/// One proof; see the module.
#[derive(Debug)]
pub struct Proving {
    purpose: Purpose,
    /// Number of JournalNodes that make a majority.
    majority: usize,
    stage: Stage,
    /// Stretches that were not compared yet.
    stretches: VecDeque<Stretch>,
    /// Segments that were not tried yet.
    segments: VecDeque<Candidate>,
}

impl Proving {
    /// By this number of JournalNodes.
    #[must_use]
    pub fn new(purpose: Purpose, members: usize) -> Proving {
        Proving {
            purpose,
            majority: members / 2 + 1,
            stage: Stage::Begin,
            stretches: VecDeque::new(),
            segments: VecDeque::new(),
        }
    }

    /// Takes what came of the last order. It may read a whole segment, so nobody holds a lock meanwhile.
    pub fn hear(&mut self, got: Got) {
        self.stage = match (std::mem::replace(&mut self.stage, Stage::Begin), got) {
            (Stage::AskedStates, Got::Answers(answers)) => {
                Stage::Judge(answers.into_iter().filter_map(|(_, answer)| state(answer)).collect())
            }
            (Stage::AskedMemory(comparing), Got::Answers(answers)) => read_memory(comparing, answers),
            (Stage::AskedManifests(stretch), Got::Answers(answers)) => match of_majority(answers, self.majority) {
                Ok(manifests) => {
                    self.segments = candidates(&manifests, stretch.first).into();
                    Stage::NextSegment(stretch)
                }
                Err(error) => Stage::Ended(Err(ReadError::Unavailable(error))),
            },
            (Stage::Fetching(stretch, candidate), Got::Fetched(fetched)) => {
                let mut comparison = StretchComparison::new(stretch);
                let is_read = fetched.is_ok_and(|edits| comparison.read(&edits, candidate.limit).is_ok());
                match comparison.outcome(candidate.source() == EditsSource::Finalized) {
                    compared @ (Compared::Same | Compared::Differs) if is_read => Stage::Compared(stretch, compared),
                    // Another JournalNode may have more, or may have it whole.
                    Compared::Same | Compared::Differs | Compared::NotYet => Stage::NextSegment(stretch),
                }
            }
            (_, _) => {
                debug_assert!(false, "an order is answered by what it asks for");
                Stage::Ended(Err(ReadError::Unavailable("an answer to no order".to_owned())))
            }
        };
    }

    /// What is to be done next. It takes microseconds.
    pub fn order(&mut self, ns: &mut Namesystem) -> Order {
        loop {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Begin) {
                Stage::Begin => match self.purpose {
                    Purpose::Standby => {
                        self.stage = Stage::AskedStates;
                        let request = Request::WatchLease {
                            known_counter: None,
                            wait_ms: 0,
                        };
                        return ask_all(request, CALL_TIMEOUT_MS);
                    }
                    Purpose::BeforeActive(epoch, last) => self.begin(ns.unproven_before_active(epoch, last)),
                },
                Stage::Judge(states) => self.begin(ns.judge_history(&states, self.majority)),
                Stage::NextStretch => match self.stretches.pop_front() {
                    Some(stretch) => Stage::AskMemory(Comparing {
                        stretch,
                        comparison: StretchComparison::new(stretch),
                    }),
                    None => Stage::Ended(Ok(())),
                },
                Stage::AskMemory(comparing) => {
                    let request = committed_edits(comparing.comparison.next(), 0);
                    self.stage = Stage::AskedMemory(comparing);
                    return ask_all(request, MEMORY_TIMEOUT_MS);
                }
                Stage::AskManifests(stretch) => {
                    self.stage = Stage::AskedManifests(stretch);
                    return ask_all(manifest(stretch.first, true), CALL_TIMEOUT_MS);
                }
                Stage::NextSegment(stretch) => match self.segments.pop_front() {
                    Some(candidate) => {
                        self.stage = Stage::Fetching(stretch, candidate.clone());
                        return Order::Fetch(candidate);
                    }
                    None => Stage::Compared(stretch, Compared::NotYet),
                },
                Stage::Compared(stretch, compared) => self.note(&stretch, compared, ns),
                Stage::Ended(Ok(())) => {
                    debug_assert!(
                        self.purpose == Purpose::Standby || self.stretches.is_empty(),
                        "an active has no stretch left that was not found equal"
                    );
                    return Order::Done;
                }
                Stage::Ended(Err(error)) => return Order::Failed(error),
                Stage::AskedStates | Stage::AskedMemory(_) | Stage::AskedManifests(_) | Stage::Fetching(..) => {
                    debug_assert!(false, "one order is under way at a time");
                    Stage::Ended(Err(ReadError::Unavailable("two orders at once".to_owned())))
                }
            };
        }
    }

    fn begin(&mut self, stretches: Result<Vec<Stretch>, HistoryError>) -> Stage {
        match stretches {
            Ok(stretches) => {
                debug_assert!(
                    stretches.is_sorted_by(|one, next| one.last < next.first),
                    "stretches are compared in their order"
                );
                self.stretches = stretches.into();
                Stage::NextStretch
            }
            Err(error) => Stage::Ended(Err(TailError::from(error).into())),
        }
    }

    fn note(&mut self, stretch: &Stretch, compared: Compared, ns: &mut Namesystem) -> Stage {
        if let Err(error) = ns.on_history_compared(stretch, compared) {
            return Stage::Ended(Err(TailError::from(error).into()));
        }
        match (compared, self.purpose) {
            (Compared::Same, _) => Stage::NextStretch,
            // The next proof tries again.
            (Compared::NotYet | Compared::Differs, Purpose::Standby) => Stage::Ended(Ok(())),
            (Compared::NotYet | Compared::Differs, Purpose::BeforeActive(..)) => {
                let what = "what was applied can't be compared with the journal".to_owned();
                Stage::Ended(Err(ReadError::Unavailable(what)))
            }
        }
    }
}

fn read_memory(mut comparing: Comparing, answers: Vec<(usize, Result<Answer, CallError>)>) -> Stage {
    let before = comparing.comparison.next();
    for (_, answer) in answers {
        if let Ok(Answer::JournaledEdits {
            edit_log: Some(edits),
            committed: Some(committed),
            ..
        }) = answer
        {
            // What is damaged here is asked of another one, or looked for in files.
            let _ = comparing.comparison.read(&edits, committed);
        }
    }
    if comparing.comparison.is_whole() {
        return Stage::Compared(comparing.stretch, comparing.comparison.outcome(false));
    }
    if comparing.comparison.next() == before {
        return Stage::AskManifests(comparing.stretch);
    }
    Stage::AskMemory(comparing)
}

fn ask_all(request: Request, timeout_ms: u32) -> Order {
    Order::AskAll { request, timeout_ms }
}

/// The state of a JournalNode's journal. Hadoop's tell nothing.
fn state(answer: Result<Answer, CallError>) -> Option<JournalState> {
    match answer {
        Ok(Answer::LeaseState(state)) => Some(JournalState {
            promised: state.promised_epoch,
            writer: state.writer_epoch,
            highest: state.highest,
        }),
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests;

//! How a NameNode reads the edits of the JournalNodes: whom it asks, what of the answers is durable, and where it looks when
//! no memory holds them (Hadoop's `EditLogTailer` and `QuorumJournalManager.selectInputStreams`).
//!
//! JournalNodes of ours tell what is committed, so one of them is enough. Hadoop's tell what they have, so they are read
//! together, and only as far as a majority has it on disk. Segments are fetched when the edits are in no memory any more.
//!
//! Invariants:
//! - Nothing is applied above what a JournalNode of ours knows to be committed, a majority has on disk, or a recovery has
//!   finalized.
//! - One order is under way at a time.
//! - An edit that can't be applied ends the reading. A JournalNode that can't be read, or has damaged edits, does not as long
//!   as there is another one.

mod segments;

pub use segments::{Candidate, candidates, of_majority};

use hathi_formats::exceptions;
use hathi_formats::ids::TxId;
use hathi_journal::messages::Manifest;
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Request};
use hathi_namesystem::history::EditsSource;
use hathi_namesystem::tailer::{Edits, TailError, check_not_purged, durable_on_disk};
use std::collections::{BTreeMap, VecDeque};

/// `dfs.ha.tail-edits.qjm.rpc.max-txns`.
const MAX_TXNS_PER_CALL: u32 = 5000;
/// How long a JournalNode of ours may wait for the next edit, in ms.
const WAIT_MS: u32 = 1000;
/// After a recovery a JournalNode is told within this time in ms that its last edits are committed.
const COMMIT_WAIT_MS: u32 = 20;
/// Time limit in ms of a call that waits for nothing.
pub const CALL_TIMEOUT_MS: u32 = 5000;
/// Time limit in ms of a call that is answered from memory, in addition to the wait that it asks for.
pub const MEMORY_TIMEOUT_MS: u32 = 1000;

/// Whether there may be more to read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Transactions were applied.
    Some,
    /// There is nothing new that is durable.
    Nothing,
}

/// Why reading ended without what it was for.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What was read can't be applied.
    #[error(transparent)]
    Edits(#[from] TailError),
    /// JournalNodes that were needed do not answer, or do not have it.
    #[error("{0}")]
    Unavailable(String),
}

/// A JournalNode of ours, or of Hadoop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Hathi,
    Hadoop,
}

/// What is known of the JournalNodes from earlier answers.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    kinds: BTreeMap<usize, Kind>,
    /// Position of the preferred JournalNode among the members.
    preferred: usize,
}

impl Sources {
    /// Notes whether a JournalNode knows our additions to the protocol.
    pub fn learn(&mut self, journalnode: usize, knows_extensions: bool) {
        let kind = if knows_extensions { Kind::Hathi } else { Kind::Hadoop };
        self.kinds.insert(journalnode, kind);
    }

    /// Whether one of these JournalNodes is ours, so that a reading waits there until there is something new.
    #[must_use]
    pub fn waits(&self, members: &[usize]) -> bool {
        members.iter().any(|member| self.is(*member, Kind::Hathi))
    }

    /// Whether a majority of these JournalNodes is ours, and so tells epochs and what is committed.
    #[must_use]
    pub fn knows_epochs(&self, members: &[usize]) -> bool {
        let ours = members.iter().filter(|member| self.is(**member, Kind::Hathi));
        ours.count() >= majority(members)
    }

    fn is(&self, journalnode: usize, kind: Kind) -> bool {
        self.kinds.get(&journalnode) == Some(&kind)
    }

    /// The members, the preferred one first. Those of Hadoop are left out.
    pub(crate) fn order(&self, members: &[usize]) -> VecDeque<usize> {
        let mut order: VecDeque<usize> = members.iter().copied().collect();
        order.rotate_left(self.preferred % members.len().max(1));
        order.retain(|member| !self.is(*member, Kind::Hadoop));
        order
    }

    /// Lets the next reading begin at this member, or at one `behind` positions after it.
    fn prefer(&mut self, members: &[usize], journalnode: usize, behind: usize) {
        let place = members.iter().position(|member| *member == journalnode);
        self.preferred = place.unwrap_or(0) + behind;
    }
}

fn majority(members: &[usize]) -> usize {
    members.len() / 2 + 1
}

/// What is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A standby follows: it waits for durable edits, up to a second, and applies them.
    Follow,
    /// All edits that are durable now are applied.
    CatchUp,
    /// Everything up to this transaction is applied, which a recovery has finalized.
    CatchUpTo(TxId),
}

/// What the shell does next. Each order but the last ones is answered by [`Got`].
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
    /// Ask all members at once: [`Got::Answers`]. One that hangs must delay nobody.
    AskAll {
        /// The request.
        request: Request,
        /// Time limit in milliseconds.
        timeout_ms: u32,
    },
    /// Fetch the file of a segment: [`Got::Fetched`].
    Fetch(Candidate),
    /// Apply these edits, in slices: [`Got::Applied`].
    Apply(Edits),
    /// The reading has ended.
    Done(Progress),
    /// The reading has ended without what it was for.
    Failed(ReadError),
}

/// What came of the last order.
#[derive(Debug)]
pub enum Got {
    /// There was none: the reading begins.
    Nothing,
    /// Of [`Order::Ask`].
    Answer(Result<Answer, CallError>),
    /// Of [`Order::AskAll`], with the indices of the JournalNodes that answered in time.
    Answers(Vec<(usize, Result<Answer, CallError>)>),
    /// Of [`Order::Fetch`]: the file, or why there is none.
    Fetched(Result<bytes::Bytes, String>),
    /// Of [`Order::Apply`].
    Applied(Result<Progress, TailError>),
}

/// Where an outcome leads.
#[derive(Debug)]
enum Stage {
    Begin,
    /// The memory of one JournalNode, which knows what is committed.
    Memory {
        journalnode: usize,
    },
    /// The manifests of Hadoop's JournalNodes, whose memory may hold what is on no disk (HDFS-17710).
    DurableByMajority,
    /// The memory of all, as far as a majority has it on disk.
    MemoryByMajority {
        durable: TxId,
    },
    /// The memory of all of ours, after a recovery.
    MemoryAfterRecovery,
    Manifests,
    Fetching(Candidate),
}

/// One reading; see the module.
#[derive(Debug)]
pub struct Reading {
    purpose: Purpose,
    members: Vec<usize>,
    stage: Stage,
    /// JournalNodes whose memory was not asked for yet.
    rest: VecDeque<usize>,
    /// The JournalNode that has the edits in segments only, if they are looked for because of that.
    missed_by: Option<usize>,
    /// Segments that were not tried yet.
    segments: VecDeque<Candidate>,
    /// Why the last of these that was tried is not read. It does not matter if another JournalNode has what is needed.
    problem: Option<ReadError>,
}

impl Reading {
    /// Of the JournalNodes that are members now, by their indices.
    #[must_use]
    pub fn new(purpose: Purpose, members: Vec<usize>) -> Reading {
        Reading {
            purpose,
            members,
            stage: Stage::Begin,
            rest: VecDeque::new(),
            missed_by: None,
            segments: VecDeque::new(),
            problem: None,
        }
    }

    /// What follows from what came of the last order. `applied` is the last transaction of the namespace now.
    pub fn on(&mut self, got: Got, applied: TxId, sources: &mut Sources) -> Order {
        let stage = std::mem::replace(&mut self.stage, Stage::Begin);
        debug_assert!(
            self.missed_by.is_none_or(|missed| self.members.contains(&missed)),
            "segments are looked for because a member lacks them in memory"
        );
        debug_assert!(
            self.rest.len() <= self.members.len(),
            "each member is asked for its memory once"
        );
        match (stage, got) {
            (stage, Got::Applied(applying)) => self.on_applied(stage, applying, applied, sources),
            (Stage::Begin, _) => self.begin_step(applied, sources),
            (Stage::Memory { journalnode }, Got::Answer(answer)) => {
                self.on_memory(journalnode, answer, applied, sources)
            }
            (Stage::DurableByMajority, Got::Answers(answers)) => {
                let durable = self.manifests(answers).ok().and_then(|manifests| {
                    let told: Vec<_> = manifests
                        .iter()
                        .map(|(_, manifest)| segments::on_disk(manifest))
                        .collect();
                    durable_on_disk(&told, self.members.len())
                });
                match durable {
                    Some(durable) if durable > applied => {
                        self.stage = Stage::MemoryByMajority { durable };
                        ask_all(edits_in_memory(applied.next(), 0, false), CALL_TIMEOUT_MS)
                    }
                    _ => self.ask_manifests(applied),
                }
            }
            (Stage::MemoryByMajority { durable }, Got::Answers(answers)) => {
                let most = most_edits(answers).map(|(bytes, _)| bytes);
                match self.apply(most, durable, Stage::MemoryByMajority { durable }) {
                    Ok(Some(order)) => order,
                    Ok(None) | Err(_) => self.ask_manifests(applied),
                }
            }
            (Stage::MemoryAfterRecovery, Got::Answers(answers)) => {
                let most = most_edits(answers).and_then(|(bytes, committed)| Some((bytes, committed?)));
                let committed = most.as_ref().map_or(applied, |(_, committed)| *committed);
                match self.apply(most.map(|(bytes, _)| bytes), committed, Stage::MemoryAfterRecovery) {
                    Ok(Some(order)) => order,
                    Ok(None) | Err(_) => self.ask_manifests(applied),
                }
            }
            (Stage::Manifests, Got::Answers(answers)) => self.on_manifests(answers, applied, sources),
            (Stage::Fetching(candidate), Got::Fetched(fetched)) => {
                let (limit, source) = (candidate.limit, candidate.source());
                let edits = fetched
                    .map_err(ReadError::Unavailable)
                    .and_then(|bytes| Ok(Edits::new(bytes, limit, source)?));
                match edits {
                    Ok(edits) => {
                        self.stage = Stage::Fetching(candidate);
                        Order::Apply(edits)
                    }
                    Err(error) => {
                        self.problem = Some(error);
                        self.next_segment(applied, sources)
                    }
                }
            }
            (_, _) => no_such_order(),
        }
    }

    fn wait_ms(&self) -> u32 {
        if self.purpose == Purpose::Follow { WAIT_MS } else { 0 }
    }

    fn begin_step(&mut self, applied: TxId, sources: &Sources) -> Order {
        self.missed_by = None;
        if let Purpose::CatchUpTo(last) = self.purpose {
            if applied > last {
                let what = format!("applied {applied} although the journal ends with {last}");
                return Order::Failed(ReadError::Unavailable(what));
            }
            if applied == last {
                return Order::Done(Progress::Some);
            }
            // Our JournalNodes have the edits that they know to be committed in memory. In the usual case nothing else is
            // needed. A hanging one delays nobody.
            self.stage = Stage::MemoryAfterRecovery;
            return ask_all(committed_edits(applied.next(), COMMIT_WAIT_MS), MEMORY_TIMEOUT_MS);
        }
        self.rest = sources.order(&self.members);
        self.ask_memory(applied, sources)
    }

    /// Asks the next JournalNode for the edits in its memory, or looks elsewhere when all were asked.
    fn ask_memory(&mut self, applied: TxId, sources: &Sources) -> Order {
        let Some(journalnode) = self.rest.pop_front() else {
            if self.members.iter().all(|member| sources.is(*member, Kind::Hathi)) {
                return self.ask_manifests(applied);
            }
            self.stage = Stage::DurableByMajority;
            return ask_all(manifest(applied.next(), true), CALL_TIMEOUT_MS);
        };
        self.stage = Stage::Memory { journalnode };
        Order::Ask {
            journalnode,
            request: committed_edits(applied.next(), self.wait_ms()),
            timeout_ms: MEMORY_TIMEOUT_MS + self.wait_ms(),
        }
    }

    fn on_memory(
        &mut self,
        journalnode: usize,
        answer: Result<Answer, CallError>,
        applied: TxId,
        sources: &mut Sources,
    ) -> Order {
        let answered = match answer {
            Ok(Answer::JournaledEdits {
                count,
                edit_log,
                committed: Some(committed),
            }) => {
                sources.learn(journalnode, true);
                let edits = edit_log.filter(|_| count > 0);
                match self.apply(edits, committed, Stage::Memory { journalnode }) {
                    Ok(Some(order)) => return order,
                    Ok(None) => true,
                    Err(_) => false,
                }
            }
            // A JournalNode that does not tell what is committed must be read together with others.
            Ok(Answer::JournaledEdits { .. }) => true,
            Err(CallError::Remote(exception)) if exception.is(exceptions::CACHE_MISS) => {
                self.missed_by = Some(journalnode);
                return self.ask_manifests(applied);
            }
            Ok(_) | Err(_) => false,
        };
        self.after_memory(journalnode, answered, applied, sources)
    }

    /// Nothing of this JournalNode's memory was applied, because it has nothing new, or because it can't be read.
    fn after_memory(&mut self, journalnode: usize, answered: bool, applied: TxId, sources: &mut Sources) -> Order {
        let waited = answered && self.wait_ms() > 0 && sources.is(journalnode, Kind::Hathi);
        if waited || !answered {
            // This JournalNode may be one that hears nothing, so the next wait is at another one.
            sources.prefer(&self.members, journalnode, 1);
        }
        if waited {
            return Order::Done(Progress::Nothing);
        }
        // Without a wait, another JournalNode may know more.
        self.ask_memory(applied, sources)
    }

    fn ask_manifests(&mut self, applied: TxId) -> Order {
        self.stage = Stage::Manifests;
        self.problem = None;
        let in_progress = !matches!(self.purpose, Purpose::CatchUpTo(_));
        ask_all(manifest(applied.next(), in_progress), CALL_TIMEOUT_MS)
    }

    /// The manifests, if a majority tells its segments.
    fn manifests(&self, answers: Vec<(usize, Result<Answer, CallError>)>) -> Result<Vec<(usize, Manifest)>, ReadError> {
        of_majority(answers, majority(&self.members)).map_err(ReadError::Unavailable)
    }

    fn on_manifests(
        &mut self,
        answers: Vec<(usize, Result<Answer, CallError>)>,
        applied: TxId,
        sources: &mut Sources,
    ) -> Order {
        let since = applied.next();
        let found = self.manifests(answers).and_then(|manifests| {
            let segments = manifests.iter().flat_map(|(_, manifest)| &manifest.segments);
            let ranges = segments.map(|segment| (segment.start, segment.end.unwrap_or(TxId(u64::MAX))));
            check_not_purged(since, ranges)?;
            Ok(candidates(&manifests, since).into())
        });
        match found {
            Ok(found) => {
                self.segments = found;
                self.next_segment(applied, sources)
            }
            Err(error) => self.after_segments(Err(error), applied, sources),
        }
    }

    fn next_segment(&mut self, applied: TxId, sources: &mut Sources) -> Order {
        match self.segments.pop_front() {
            Some(candidate) => {
                self.stage = Stage::Fetching(candidate.clone());
                Order::Fetch(candidate)
            }
            None => {
                let result = self.problem.take().map_or(Ok(()), Err);
                self.after_segments(result, applied, sources)
            }
        }
    }

    /// No segment had anything.
    fn after_segments(&mut self, result: Result<(), ReadError>, applied: TxId, sources: &mut Sources) -> Order {
        if let Some(journalnode) = self.missed_by.take() {
            return self.after_memory(journalnode, result.is_ok(), applied, sources);
        }
        match (result, self.purpose) {
            (Err(error), _) => Order::Failed(error),
            (Ok(()), Purpose::CatchUpTo(last)) => {
                let since = applied.next();
                let what = format!("transaction {since} of {last} is on no JournalNode that answers");
                Order::Failed(ReadError::Unavailable(what))
            }
            (Ok(()), Purpose::Follow | Purpose::CatchUp) => Order::Done(Progress::Nothing),
        }
    }

    /// Applies these edits up to `limit`, if there are any.
    fn apply(&mut self, edits: Option<bytes::Bytes>, limit: TxId, stage: Stage) -> Result<Option<Order>, TailError> {
        let Some(edits) = edits else { return Ok(None) };
        let edits = Edits::new(edits, limit, EditsSource::Open)?;
        debug_assert_eq!(edits.limit(), limit, "nothing above the limit is applied");
        self.stage = stage;
        Ok(Some(Order::Apply(edits)))
    }

    fn on_applied(
        &mut self,
        stage: Stage,
        result: Result<Progress, TailError>,
        applied: TxId,
        sources: &mut Sources,
    ) -> Order {
        let problem = match result {
            Ok(Progress::Some) => {
                debug_assert!(applied > TxId(0), "something was applied");
                return self.after_progress(&stage, applied, sources);
            }
            Ok(Progress::Nothing) => None,
            Err(error) if error.is_fatal() => return Order::Failed(error.into()),
            Err(error) => Some(error.into()),
        };
        match stage {
            Stage::Memory { journalnode } => self.after_memory(journalnode, problem.is_none(), applied, sources),
            Stage::MemoryByMajority { .. } | Stage::MemoryAfterRecovery => self.ask_manifests(applied),
            Stage::Fetching(_) => {
                self.problem = problem.or(self.problem.take());
                self.next_segment(applied, sources)
            }
            Stage::Begin | Stage::DurableByMajority | Stage::Manifests => no_such_order(),
        }
    }

    fn after_progress(&mut self, stage: &Stage, applied: TxId, sources: &mut Sources) -> Order {
        let from = match stage {
            Stage::Memory { journalnode } => Some(*journalnode),
            _ => self.missed_by,
        };
        if let Some(journalnode) = from {
            sources.prefer(&self.members, journalnode, 0);
        }
        match self.purpose {
            Purpose::Follow => Order::Done(Progress::Some),
            Purpose::CatchUp | Purpose::CatchUpTo(_) => self.begin_step(applied, sources),
        }
    }
}

fn no_such_order() -> Order {
    debug_assert!(false, "an order is answered by what it asks for");
    Order::Failed(ReadError::Unavailable("an answer to no order".to_owned()))
}

fn ask_all(request: Request, timeout_ms: u32) -> Order {
    Order::AskAll { request, timeout_ms }
}

/// Asks a JournalNode of ours for edits in memory that it knows to be committed.
#[must_use]
pub fn committed_edits(since: TxId, wait_ms: u32) -> Request {
    edits_in_memory(since, wait_ms, true)
}

fn edits_in_memory(since: TxId, wait_ms: u32, committed_only: bool) -> Request {
    Request::GetJournaledEdits {
        since,
        max_txns: MAX_TXNS_PER_CALL,
        wait_ms,
        committed_only,
    }
}

/// Asks for the segments that hold this transaction or later ones.
#[must_use]
pub fn manifest(since: TxId, in_progress: bool) -> Request {
    Request::GetEditLogManifest {
        since,
        in_progress_ok: in_progress,
        from_journal: false,
    }
}

/// The longest edits among the answers, and what that JournalNode knows to be committed.
fn most_edits(answers: Vec<(usize, Result<Answer, CallError>)>) -> Option<(bytes::Bytes, Option<TxId>)> {
    let edits = answers.into_iter().filter_map(|(_, answer)| match answer {
        Ok(Answer::JournaledEdits {
            count,
            edit_log: Some(bytes),
            committed,
        }) => Some((count, bytes, committed)),
        _ => None,
    });
    edits
        .max_by_key(|(count, ..)| *count)
        .map(|(_, bytes, committed)| (bytes, committed))
}

#[cfg(test)]
mod tests;

//! Becoming the writer: epoch, then recovery of the last segment
//! (`QuorumJournalManager.recoverUnfinalizedSegments`, `recoverUnclosedSegment`).
//!
//! A minority of the JournalNodes stops no election, whatever it says, while a majority of others answers:
//! * a promise counts only if it is near those of a majority ([`MAX_EPOCH_JUMP`]). JournalNodes with promises far above
//!   are left out;
//! * a JournalNode that names a last segment which nobody has is left out, and the recovery begins again with the next
//!   epoch. By naming that segment it has concealed which older one it really has last. So only a majority of others
//!   can tell which segment is the last;
//! * a JournalNode that alone says that more is committed than any copy has is left out. If it were true, a majority
//!   would have those transactions;
//! * a JournalNode whose copy wins, but can't be fetched, is left out, and the recovery begins again with the next
//!   epoch. It can't go on in the same epoch: that copy was proposed in it already, and some may have accepted it.
//!
//! The NameNode is told of every JournalNode that is left out ([`WriterAction::Distrusted`]). The others are a majority
//! whose promises are enough by themselves, so no acknowledged transaction is lost. Nothing is done against a
//! JournalNode that denies what it has acknowledged, or forges edits with right checksums: no majority of three can
//! help against that.

use hathi_formats::ids::{Epoch, TxId};

use super::channel::ChannelCall;
use super::{CallError, Phase, QuorumWriter, Turn, Vote, WriterAction, lease_retry_at};
use crate::acceptor::MAX_EPOCH_JUMP;
use crate::choose::{ChooseError, choose, vouching_epoch};
use crate::errors::{is_not_fetched, is_outrun};
use crate::messages::{Answer, LeaseRequest, Micros, PrepareRecoveryAnswer, Request};
use crate::mutant::Mutant;

/// HTTP port of a JournalNode that does not name its own (`dfs.journalnode.http-address`).
const DEFAULT_HTTP_PORT: u16 = 8480;

impl QuorumWriter {
    /// Becomes the writer. This ends with `Recovered`, or with a final action.
    pub fn recover(&mut self, now: Micros, out: &mut Vec<WriterAction>) {
        let turn = &mut Turn { now, out };
        if self.phase == Phase::Idle {
            self.begin_phase(Phase::JournalStates, |_| ChannelCall::GetJournalState, turn);
        }
    }

    fn begin_phase(&mut self, phase: Phase, op: impl Fn(usize) -> ChannelCall, turn: &mut Turn<'_>) {
        self.phase = phase;
        self.votes.fill(None);
        self.begin_asking();
        self.ask_members(op);
        self.pump_all(turn);
    }

    pub(super) fn recovery_request(&self, i: usize, op: ChannelCall) -> Option<(ChannelCall, Request)> {
        let info = self.info(self.channels.get(i)?);
        let request = match &op {
            ChannelCall::GetJournalState => Request::GetJournalState,
            ChannelCall::NewEpoch { epoch } => self.new_epoch(*epoch, false),
            ChannelCall::Establish => self.new_epoch(self.epoch, true),
            ChannelCall::AskPromise => Request::GetJournalState,
            ChannelCall::Prepare { segment } => Request::PrepareRecovery {
                info,
                segment: *segment,
            },
            ChannelCall::Accept {
                state,
                from_url,
                chosen_epoch,
            } => Request::AcceptRecovery {
                info,
                state: *state,
                from_url: from_url.clone(),
                chosen_epoch: *chosen_epoch,
            },
            ChannelCall::FinalizeRecovered { start, end } => Request::FinalizeLogSegment {
                info,
                start: *start,
                end: *end,
            },
            ChannelCall::Purge { min_to_keep } => Request::PurgeLogsOlderThan {
                info,
                min_to_keep: *min_to_keep,
            },
            ChannelCall::Join => Request::JoinJournal {
                info,
                ns_info: self.config.ns_info.clone(),
            },
            ChannelCall::Start { .. }
            | ChannelCall::Resume { .. }
            | ChannelCall::Journal { .. }
            | ChannelCall::Finalize { .. }
            | ChannelCall::Heartbeat
            | ChannelCall::SetMembership { .. }
            | ChannelCall::Release => {
                return None;
            }
        };
        Some((op, request))
    }

    fn new_epoch(&self, epoch: Epoch, established: bool) -> Request {
        let ms = if self.renews_lease { self.config.lease_ms } else { 0 };
        Request::NewEpoch {
            ns_info: self.config.ns_info.clone(),
            epoch,
            // A lease is asked for even if its length is 0: the answer tells our JournalNodes from Java's.
            lease: Some(LeaseRequest {
                ms,
                holder: self.config.holder.clone(),
                proof: self.config.proof,
            }),
            established,
        }
    }

    pub(super) fn recovery_answer(
        &mut self,
        i: usize,
        op: &ChannelCall,
        round: u64,
        result: Result<Answer, CallError>,
        turn: &mut Turn<'_>,
    ) {
        if let (
            Some(channel),
            Ok(Answer::JournalState {
                http_port, from_url, ..
            }),
        ) = (self.channels.get_mut(i), &result)
        {
            channel.endpoint = Some(endpoint(from_url.as_deref(), *http_port));
        }
        let current = match op {
            ChannelCall::GetJournalState => Phase::JournalStates,
            ChannelCall::NewEpoch { .. } => Phase::NewEpoch,
            ChannelCall::Prepare { .. } => Phase::Prepare,
            ChannelCall::Accept { .. } => Phase::Accept,
            _ => Phase::FinalizeRecovered,
        };
        match (op, &result) {
            // A late answer. Our epoch, which is not above this promise, would keep the JournalNode out until the next
            // writer; a higher epoch does not.
            (ChannelCall::GetJournalState, Ok(Answer::JournalState { promised_epoch, .. }))
                if self.phase == Phase::NewEpoch && *promised_epoch >= self.epoch =>
            {
                let absurd = promised_epoch.0 - self.epoch.0 > MAX_EPOCH_JUMP;
                if absurd && !self.mutated(Mutant::TakeAbsurdPromise) {
                    let why = format!(
                        "it has promised epoch {promised_epoch}, the others none near {}",
                        self.epoch
                    );
                    self.distrust(i, why, turn);
                    return self.count_votes(turn);
                }
                return self.propose_epoch(*promised_epoch, turn);
            }
            // An answer to an earlier proposal with a lower epoch.
            (ChannelCall::NewEpoch { epoch }, _) if *epoch != self.epoch => return,
            (ChannelCall::Prepare { .. } | ChannelCall::Accept { .. } | ChannelCall::FinalizeRecovered { .. }, _)
                if round != self.round =>
            {
                return;
            }
            // A late answer: a majority went on without it.
            _ if current != self.phase => return,
            _ => {}
        }
        let mut found = None;
        let vote = match (op, result) {
            (
                ChannelCall::GetJournalState,
                Ok(Answer::JournalState {
                    promised_epoch,
                    membership,
                    ..
                }),
            ) => {
                found = membership;
                Vote::State(promised_epoch)
            }
            (
                ChannelCall::NewEpoch { .. },
                Ok(Answer::NewEpoch {
                    last_segment,
                    membership,
                    ..
                }),
            ) => {
                found = membership;
                Vote::Promised(last_segment)
            }
            (ChannelCall::Prepare { .. }, Ok(Answer::PrepareRecovery(answer))) => Vote::Prepared(answer),
            (ChannelCall::Accept { .. } | ChannelCall::FinalizeRecovered { .. }, Ok(_)) => Vote::Done,
            (_, Ok(_)) => Vote::Failed(CallError::Broken("an answer to something else".to_owned())),
            (_, Err(error)) => Vote::Failed(error),
        };
        if let Some(slot) = self.votes.get_mut(i) {
            *slot = Some(vote);
        }
        self.follow(found);
        self.count_votes(turn);
    }

    /// Goes on when enough have answered, or gives up when too few are left.
    fn count_votes(&mut self, turn: &mut Turn<'_>) {
        let less = usize::from(self.phase == Phase::NewEpoch && self.mutated(Mutant::EpochFromMinority));
        let distrusted = |i: usize| self.channels.get(i).is_some_and(|channel| channel.distrusted);
        let failed = |i: usize| matches!(self.votes.get(i), Some(Some(Vote::Failed(_)))) || distrusted(i);
        let voted = |i: usize| matches!(self.votes.get(i), Some(Some(_))) && !failed(i);
        if self.is_quorum_less(less, voted) {
            self.end_phase(turn);
        } else if !self.is_quorum_less(less, |i| !failed(i)) {
            self.fail_phase(turn);
        }
    }

    /// Ignores everything that this JournalNode says in this recovery.
    pub(super) fn distrust(&mut self, i: usize, why: String, turn: &mut Turn<'_>) {
        if let Some(channel) = self.channels.get_mut(i)
            && !channel.distrusted
        {
            channel.distrusted = true;
            turn.out.push(WriterAction::Distrusted { journalnode: i, why });
        }
    }

    /// The answers of JournalNodes that are not ignored.
    fn counted<'a, T: 'a>(&'a self, value: impl Fn(&Vote) -> Option<T> + 'a) -> impl Iterator<Item = (usize, T)> + 'a {
        let votes = self.votes.iter().enumerate();
        let trusted = |i: usize| self.channels.get(i).is_some_and(|channel| !channel.distrusted);
        votes.filter_map(move |(i, vote)| Some((i, value(vote.as_ref()?)?)).filter(|_| trusted(i)))
    }

    /// The highest promise that is near those of a majority, and the JournalNodes whose promises are far above it.
    /// `None` as long as no majority agrees.
    fn agreed_promise(&self) -> Option<(Epoch, Vec<(usize, Epoch)>)> {
        let state = |vote: &Vote| match vote {
            Vote::State(epoch) => Some(*epoch),
            _ => None,
        };
        let mut promises: Vec<(usize, Epoch)> = self.counted(state).collect();
        promises.sort_unstable_by_key(|(_, promised)| std::cmp::Reverse(*promised));
        let near = |i: usize, highest: Epoch| {
            let promised = promises.iter().find(|(j, _)| *j == i).map(|(_, promised)| *promised);
            promised.is_some_and(|promised| promised <= highest && highest.0 - promised.0 <= MAX_EPOCH_JUMP)
        };
        let believes_all = self.mutated(Mutant::TakeAbsurdPromise);
        let agreed = promises.iter().map(|(_, promised)| *promised);
        let agreed = agreed
            .into_iter()
            .find(|highest| believes_all || self.is_quorum(|i| near(i, *highest)))?;
        let above = promises.iter().filter(|(_, promised)| *promised > agreed);
        Some((agreed, above.copied().collect()))
    }

    fn end_phase(&mut self, turn: &mut Turn<'_>) {
        match self.phase {
            Phase::JournalStates => match self.agreed_promise() {
                Some((promised, above)) => {
                    for (i, absurd) in above {
                        let why = format!("it has promised epoch {absurd}, the others {promised} at most");
                        self.distrust(i, why, turn);
                    }
                    self.propose_epoch(promised, turn);
                }
                // An answer that is still missing may decide which of them is right.
                None if self.counting().iter().any(|i| matches!(self.votes.get(*i), Some(None))) => {}
                None => {
                    let why = "the JournalNodes' promises are so far apart that no majority agrees on one";
                    self.lose_quorum(why.to_owned(), turn);
                }
            },
            Phase::NewEpoch => {
                let last = |vote: &Vote| match vote {
                    Vote::Promised(last) => *last,
                    _ => None,
                };
                // JournalNodes of older memberships, which were asked only to find the present one, may have edits that
                // nobody else remembers. So only members count.
                let counting = self.counting();
                let last: Vec<(usize, TxId)> = self.counted(last).filter(|(i, _)| counting.contains(i)).collect();
                let highest = last.iter().map(|(_, segment)| *segment).max();
                self.named_by = last
                    .iter()
                    .filter(|(_, it)| Some(*it) == highest)
                    .map(|(i, _)| *i)
                    .collect();
                match highest {
                    Some(segment) if !self.mutated(Mutant::SkipRecovery) => {
                        self.begin_phase(Phase::Prepare, |_| ChannelCall::Prepare { segment }, turn);
                    }
                    _ => self.become_ready(turn),
                }
            }
            Phase::Prepare => self.choose_segment(turn),
            Phase::Accept => {
                let Some((start, end)) = self.recovered else {
                    return;
                };
                self.begin_phase(
                    Phase::FinalizeRecovered,
                    |_| ChannelCall::FinalizeRecovered { start, end },
                    turn,
                );
            }
            Phase::FinalizeRecovered => {
                // A majority has it, so it is committed.
                self.committed = self.recovered.map(|(_, end)| end);
                self.become_ready(turn);
            }
            Phase::Idle | Phase::Ready | Phase::Dead => {}
        }
    }

    /// Forgets all answers about segments.
    fn begin_round(&mut self) {
        self.round += 1;
        for channel in &mut self.channels {
            channel.waiting.retain(|op| {
                let of_a_segment = matches!(
                    op,
                    ChannelCall::Prepare { .. } | ChannelCall::Accept { .. } | ChannelCall::FinalizeRecovered { .. }
                );
                !of_a_segment || self.phase == Phase::Ready
            });
        }
    }

    /// A majority has nothing of the segment that was named as the last one. Either that segment never reached a
    /// majority and the JournalNode that has it is silent now, or it is an invention. In both cases the JournalNode
    /// that named it has not said which older segments it has. So it is left out.
    fn recover_without_claimants(&mut self, turn: &mut Turn<'_>) {
        for i in std::mem::take(&mut self.named_by) {
            match self.votes.get(i) {
                Some(Some(Vote::Prepared(_))) => {
                    let why = "the last segment that it names is one that it has nothing of".to_owned();
                    self.distrust(i, why, turn);
                }
                _ => {
                    if let Some(channel) = self.channels.get_mut(i) {
                        channel.distrusted = true;
                    }
                }
            }
        }
        self.propose_epoch(self.epoch, turn);
    }

    /// Proposes an epoch above the highest promised one and above every epoch that we have asked for.
    fn propose_epoch(&mut self, promised: Epoch, turn: &mut Turn<'_>) {
        let mut taken = promised.max(self.config.asked_before);
        if self.mutated(Mutant::AskTwice) {
            taken = promised;
        }
        let Some(epoch) = taken.0.checked_add(1).map(Epoch) else {
            return self.lose_quorum("a majority has promised the highest epoch there is".to_owned(), turn);
        };
        self.begin_round();
        self.epoch = epoch;
        self.recovered = None;
        self.begin_phase(Phase::NewEpoch, |_| ChannelCall::NewEpoch { epoch }, turn);
    }

    fn become_ready(&mut self, turn: &mut Turn<'_>) {
        self.phase = Phase::Ready;
        self.ready_at = turn.now;
        turn.out.push(WriterAction::Recovered {
            epoch: self.epoch,
            last_segment: self.recovered,
        });
        self.settle_members();
    }

    fn choose_segment(&mut self, turn: &mut Turn<'_>) {
        let answer = |vote: &Vote| match vote {
            Vote::Prepared(answer) => Some(*answer),
            _ => None,
        };
        let prepared: Vec<(usize, PrepareRecoveryAnswer)> = self.counted(answer).collect();
        let answers: Vec<PrepareRecoveryAnswer> = prepared.iter().map(|(_, answer)| *answer).collect();
        let chosen = match choose(&answers, self.config.mutation) {
            Ok(chosen) => chosen.and_then(|index| prepared.get(index)),
            Err(ChooseError::ShorterThanCommitted { end, .. }) if self.distrust_committed(end, &prepared, turn) => {
                return self.count_votes(turn);
            }
            Err(error) => {
                return self.lose_quorum(format!("the last segment cannot be recovered: {error}"), turn);
            }
        };
        let Some((best, state)) = chosen.and_then(|(i, answer)| Some((*i, answer.segment?))) else {
            if self.mutated(Mutant::BelieveLoneSegment) {
                return self.become_ready(turn);
            }
            return self.recover_without_claimants(turn);
        };
        let vouched = chosen.map(|(_, answer)| vouching_epoch(answer));
        let chosen_epoch = vouched.filter(|_| state.in_progress);
        let from_url = self.segment_url(best, state.start);
        self.recovered = Some((state.start, state.end));
        self.source = Some(best);
        let accept = |_| ChannelCall::Accept {
            state,
            from_url: from_url.clone(),
            chosen_epoch,
        };
        self.begin_phase(Phase::Accept, accept, turn);
    }

    /// Ignores JournalNodes that say that more is committed than the chosen copy has, if they are too few to be right:
    /// an acknowledged transaction would be on a majority. Whether enough others remain is checked elsewhere.
    fn distrust_committed(
        &mut self,
        end: TxId,
        prepared: &[(usize, PrepareRecoveryAnswer)],
        turn: &mut Turn<'_>,
    ) -> bool {
        let alone: Vec<(usize, TxId)> = prepared
            .iter()
            .filter_map(|(i, answer)| Some((*i, answer.last_committed.filter(|committed| *committed > end)?)))
            .collect();
        let distrusted = |i: usize| self.channels.get(i).is_some_and(|channel| channel.distrusted);
        let others = |i: usize| !distrusted(i) && !alone.iter().any(|(j, _)| *j == i);
        if !self.is_quorum(others) || self.mutated(Mutant::TrustLoneCommitted) {
            return false;
        }
        for (i, committed) in alone {
            let why = format!("it says that {committed} is committed, and the others have nothing behind {end}");
            self.distrust(i, why, turn);
        }
        true
    }

    /// The winning copy can't be fetched. Begins again without the JournalNode that claims to have it, if the others
    /// may still be a majority.
    fn distrust_source(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(source) = self.source.take().filter(|_| self.phase == Phase::Accept) else {
            return false;
        };
        let not_fetched = self.votes.iter().flatten().any(|vote| match vote {
            Vote::Failed(CallError::Remote(exception)) => is_not_fetched(exception),
            _ => false,
        });
        let distrusted = |i: usize| self.channels.get(i).is_some_and(|channel| channel.distrusted);
        let remain = self.is_quorum(|i| i != source && !distrusted(i));
        if !not_fetched || !remain {
            return false;
        }
        self.distrust(
            source,
            "the copy of the last segment that it says it has can't be had".to_owned(),
            turn,
        );
        self.propose_epoch(self.epoch, turn);
        true
    }

    /// URL of a segment at a JournalNode: its configured host, with the scheme and port that it named.
    fn segment_url(&self, i: usize, start: TxId) -> String {
        let endpoint = self.channels.get(i).and_then(|channel| channel.endpoint.clone());
        let (scheme, port) = endpoint.unwrap_or_else(|| ("http".to_owned(), DEFAULT_HTTP_PORT));
        let address = self.addresses().get(i).map_or("", String::as_str);
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let storage_info = percent_encode(&self.config.ns_info.to_colon_separated());
        let jid = percent_encode(&self.config.journal_id);
        format!(
            "{scheme}://{host}:{port}/getJournal?jid={jid}&segmentTxId={start}&storageInfo={storage_info}&inProgressOk=true"
        )
    }

    /// Gives back the leases that a minority has granted. They would keep every other NameNode out until they end, and
    /// of two NameNodes that try at once neither would win. We have no use for them.
    fn give_leases_back(&mut self, turn: &mut Turn<'_>) {
        if self.config.lease_ms == 0 || self.epoch == Epoch(0) {
            return;
        }
        for i in 0..self.channels.len() {
            let holder = self.config.holder.clone();
            if self.channels.get(i).is_some_and(|channel| channel.ours != Some(false)) {
                let (proof, up_to) = (self.config.proof, Some(self.epoch));
                let release = Request::ReleaseLease { holder, proof, up_to };
                self.send(i, (ChannelCall::Release, release), turn);
            }
        }
    }

    fn fail_phase(&mut self, turn: &mut Turn<'_>) {
        if self.distrust_source(turn) {
            return;
        }
        let failures = self.votes.iter().enumerate().filter_map(|(i, vote)| match vote {
            Some(Vote::Failed(error)) => Some((i, error)),
            _ => None,
        });
        let mut retry_at = None;
        let mut outrun = false;
        let mut reasons = Vec::new();
        for (i, error) in failures {
            let host = self.addresses().get(i).map_or("", String::as_str);
            match error {
                CallError::Remote(exception) => {
                    retry_at = retry_at.max(lease_retry_at(exception, turn.now));
                    outrun |= is_outrun(exception);
                    reasons.push(format!("{host}: {exception}"));
                }
                CallError::Broken(what) => reasons.push(format!("{host}: {what}")),
            }
        }
        let reason = format!("{:?}: {}", self.phase, reasons.join("; "));
        self.give_leases_back(turn);
        match retry_at {
            Some(retry_at) => self.die(WriterAction::LeaseHeld { retry_at }, turn),
            None if outrun => self.die(WriterAction::Fenced { reason }, turn),
            None => self.lose_quorum(reason, turn),
        }
    }
}

fn endpoint(from_url: Option<&str>, http_port: u16) -> (String, u16) {
    let Some((scheme, rest)) = from_url.and_then(|url| url.split_once("://")) else {
        return ("http".to_owned(), http_port);
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    (scheme.to_owned(), port.unwrap_or(http_port))
}

/// Encodes the characters that can stand in a cluster or journal id, as `URLEncoder` does.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_keep_scheme_and_port() {
        let check = |url: Option<&str>, scheme: &str, port: u16| {
            assert_eq!(endpoint(url, 8480), (scheme.to_owned(), port));
        };
        check(None, "http", 8480);
        check(Some("http://jn1:1234"), "http", 1234);
        check(Some("https://[::1]:8481/"), "https", 8481);
        check(Some("http://jn1"), "http", 8480);
        assert_eq!(percent_encode("-67:12:0:CID-a b"), "-67%3A12%3A0%3ACID-a%20b");
    }
}

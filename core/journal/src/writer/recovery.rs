//! Becoming the writer: epoch, then recovery of the last segment
//! (`QuorumJournalManager.recoverUnfinalizedSegments`, `recoverUnclosedSegment`).

use hathi_formats::ids::{Epoch, TxId};

use super::channel::Op;
use super::{Actions, CallError, Phase, QuorumWriter, Vote, WriterAction, lease_retry_at};
use crate::choose::{choose, vouching_epoch};
use crate::messages::{Answer, LeaseRequest, Micros, PrepareRecoveryAnswer, Request};
use crate::mutant::Mutant;

/// Where a JournalNode that did not say it serves its segments (`dfs.journalnode.http-address`).
const DEFAULT_HTTP_PORT: u16 = 8480;

impl QuorumWriter {
    /// Becomes the writer. Ends with `Recovered`, or with a final action.
    pub fn recover(&mut self, now: Micros, out: &mut Actions) {
        if self.phase == Phase::Idle {
            self.begin_phase(Phase::JournalStates, |_| Op::GetJournalState, now, out);
        }
    }

    fn begin_phase(&mut self, phase: Phase, op: impl Fn(usize) -> Op, now: Micros, out: &mut Actions) {
        self.phase = phase;
        self.votes.fill(None);
        self.begin_asking();
        self.ask_members(op);
        self.pump_all(now, out);
    }

    pub(super) fn recovery_request(&self, i: usize, op: Op) -> Option<(Op, Request)> {
        let info = self.info(self.channels.get(i)?);
        let request = match &op {
            Op::GetJournalState => Request::GetJournalState,
            Op::NewEpoch { epoch } => Request::NewEpoch {
                ns_info: self.config.ns_info.clone(),
                epoch: *epoch,
                // Asked for even with length 0: the answer tells ours from Java's.
                lease: Some(LeaseRequest {
                    ms: self.config.lease_ms,
                    holder: self.config.holder.clone(),
                }),
            },
            Op::Prepare { segment } => Request::PrepareRecovery {
                info,
                segment: *segment,
            },
            Op::Accept {
                state,
                from_url,
                chosen_epoch,
            } => Request::AcceptRecovery {
                info,
                state: *state,
                from_url: from_url.clone(),
                chosen_epoch: *chosen_epoch,
            },
            Op::FinalizeRecovered { start, end } => Request::FinalizeLogSegment {
                info,
                start: *start,
                end: *end,
            },
            Op::Purge { min_to_keep } => Request::PurgeLogsOlderThan {
                info,
                min_to_keep: *min_to_keep,
            },
            Op::Join => Request::JoinJournal {
                info,
                ns_info: self.config.ns_info.clone(),
            },
            Op::Start { .. }
            | Op::Resume { .. }
            | Op::Journal { .. }
            | Op::Finalize { .. }
            | Op::Heartbeat
            | Op::SetMembership { .. }
            | Op::Release => {
                return None;
            }
        };
        Some((op, request))
    }

    pub(super) fn recovery_answer(
        &mut self,
        i: usize,
        op: &Op,
        result: Result<Answer, CallError>,
        now: Micros,
        out: &mut Actions,
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
            Op::GetJournalState => Phase::JournalStates,
            Op::NewEpoch { .. } => Phase::NewEpoch,
            Op::Prepare { .. } => Phase::Prepare,
            Op::Accept { .. } => Phase::Accept,
            _ => Phase::FinalizeRecovered,
        };
        match (op, &result) {
            // Late, and our epoch would keep it out until there is another writer: a higher one does not.
            (Op::GetJournalState, Ok(Answer::JournalState { promised_epoch, .. }))
                if self.phase == Phase::NewEpoch && *promised_epoch >= self.epoch =>
            {
                return self.propose_epoch(*promised_epoch, now, out);
            }
            // Of a lower proposal of ours.
            (Op::NewEpoch { epoch }, _) if *epoch != self.epoch => return,
            // Late: a majority went on without it.
            _ if current != self.phase => return,
            _ => {}
        }
        let mut found = None;
        let vote = match (op, result) {
            (
                Op::GetJournalState,
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
                Op::NewEpoch { .. },
                Ok(Answer::NewEpoch {
                    last_segment,
                    membership,
                    ..
                }),
            ) => {
                found = membership;
                Vote::Promised(last_segment)
            }
            (Op::Prepare { .. }, Ok(Answer::PrepareRecovery(answer))) => Vote::Prepared(answer),
            (Op::Accept { .. } | Op::FinalizeRecovered { .. }, Ok(_)) => Vote::Done,
            (_, Ok(_)) => Vote::Failed(CallError::Broken("an answer to something else".to_owned())),
            (_, Err(error)) => Vote::Failed(error),
        };
        if let Some(slot) = self.votes.get_mut(i) {
            *slot = Some(vote);
        }
        self.follow(found);
        let less = usize::from(self.phase == Phase::NewEpoch && self.mutated(Mutant::EpochFromMinority));
        let failed = |i: usize| matches!(self.votes.get(i), Some(Some(Vote::Failed(_))));
        let voted = |i: usize| matches!(self.votes.get(i), Some(Some(_))) && !failed(i);
        if self.is_quorum_less(less, voted) {
            self.end_phase(now, out);
        } else if !self.is_quorum_less(less, |i| !failed(i)) {
            self.fail_phase(now, out);
        }
    }

    fn end_phase(&mut self, now: Micros, out: &mut Actions) {
        match self.phase {
            Phase::JournalStates => {
                let promised = self.votes.iter().flatten().filter_map(|vote| match vote {
                    Vote::State(epoch) => Some(*epoch),
                    _ => None,
                });
                let promised = promised.max().unwrap_or_default();
                self.propose_epoch(promised, now, out);
            }
            Phase::NewEpoch => {
                // Those who were only asked for the way may have what nobody else remembers.
                let last = self.counting().iter().filter_map(|i| match self.votes.get(*i) {
                    Some(Some(Vote::Promised(last))) => *last,
                    _ => None,
                });
                match last.max() {
                    Some(segment) if !self.mutated(Mutant::SkipRecovery) => {
                        self.begin_phase(Phase::Prepare, |_| Op::Prepare { segment }, now, out);
                    }
                    _ => self.become_ready(now, out),
                }
            }
            Phase::Prepare => self.choose_segment(now, out),
            Phase::Accept => {
                let Some((start, end)) = self.recovered else {
                    return;
                };
                self.begin_phase(
                    Phase::FinalizeRecovered,
                    |_| Op::FinalizeRecovered { start, end },
                    now,
                    out,
                );
            }
            Phase::FinalizeRecovered => {
                // A majority has it, so it is committed.
                self.committed = self.recovered.map(|(_, end)| end);
                self.become_ready(now, out);
            }
            Phase::Idle | Phase::Ready | Phase::Dead => {}
        }
    }

    /// Asks for the epoch after the highest that is promised, and that we have asked for.
    fn propose_epoch(&mut self, promised: Epoch, now: Micros, out: &mut Actions) {
        let mut taken = promised.max(self.config.asked_before);
        if self.mutated(Mutant::AskTwice) {
            taken = promised;
        }
        let epoch = Epoch(taken.0 + 1);
        self.epoch = epoch;
        self.begin_phase(Phase::NewEpoch, |_| Op::NewEpoch { epoch }, now, out);
    }

    fn become_ready(&mut self, now: Micros, out: &mut Actions) {
        self.phase = Phase::Ready;
        self.ready_at = now;
        out.push(WriterAction::Recovered {
            epoch: self.epoch,
            last_segment: self.recovered,
        });
        self.settle_members();
    }

    fn choose_segment(&mut self, now: Micros, out: &mut Actions) {
        let prepared: Vec<(usize, PrepareRecoveryAnswer)> = self
            .votes
            .iter()
            .enumerate()
            .filter_map(|(i, vote)| match vote {
                Some(Vote::Prepared(answer)) => Some((i, *answer)),
                _ => None,
            })
            .collect();
        let answers: Vec<PrepareRecoveryAnswer> = prepared.iter().map(|(_, answer)| *answer).collect();
        let chosen = match choose(&answers, self.config.mutation) {
            Ok(chosen) => chosen.and_then(|index| prepared.get(index)),
            Err(error) => {
                return self.lose_quorum(format!("the last segment cannot be recovered: {error}"), out);
            }
        };
        let Some((best, state)) = chosen.and_then(|(i, answer)| Some((*i, answer.segment?))) else {
            // It never reached a majority.
            return self.become_ready(now, out);
        };
        let vouched = chosen.map(|(_, answer)| vouching_epoch(answer));
        let chosen_epoch = vouched.filter(|_| state.in_progress);
        let from_url = self.segment_url(best, state.start);
        self.recovered = Some((state.start, state.end));
        let accept = |_| Op::Accept {
            state,
            from_url: from_url.clone(),
            chosen_epoch,
        };
        self.begin_phase(Phase::Accept, accept, now, out);
    }

    /// Where the segment can be read from a JournalNode: its configured host, with scheme and port as it said.
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

    /// A minority that promised us keeps everybody else out for as long as it granted us a lease: of two that try at
    /// once neither would win. We will not use it.
    fn give_leases_back(&mut self, now: Micros, out: &mut Actions) {
        if self.config.lease_ms == 0 || self.epoch == Epoch(0) {
            return;
        }
        for i in 0..self.channels.len() {
            let holder = self.config.holder.clone();
            if self.channels.get(i).is_some_and(|channel| channel.ours != Some(false)) {
                let up_to = Some(self.epoch);
                self.send(i, (Op::Release, Request::ReleaseLease { holder, up_to }), now, out);
            }
        }
    }

    fn fail_phase(&mut self, now: Micros, out: &mut Actions) {
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
                    retry_at = retry_at.max(lease_retry_at(exception, now));
                    outrun |= exception.message.contains("<= last promise");
                    reasons.push(format!("{host}: {exception}"));
                }
                CallError::Broken(what) => reasons.push(format!("{host}: {what}")),
            }
        }
        let reason = format!("{:?}: {}", self.phase, reasons.join("; "));
        self.give_leases_back(now, out);
        match retry_at {
            Some(retry_at) => self.die(WriterAction::LeaseHeld { retry_at }, out),
            None if outrun => self.die(WriterAction::Fenced { reason }, out),
            None => self.lose_quorum(reason, out),
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

/// As `URLEncoder` does for what can stand in a cluster or journal id.
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

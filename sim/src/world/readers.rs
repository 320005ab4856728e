//! Standbys that read the journal. A standby applies and shows every edit that it gets, so such an edit counts as
//! acknowledged.

use super::*;

impl World {
    /// Reads committed edits. A standby applies them, so they count as acknowledged.
    pub(super) fn tail(&mut self) {
        let pause = self.around(self.knobs.batch_every);
        self.at(self.now + pause, Event::Tail);
        let jn = self.rng.usize(0..self.jns.len());
        let local = self.jns[jn].clock.at(self.now);
        let request = Request::GetJournaledEdits {
            since: TxId(self.tail_from),
            max_txns: 50,
            wait_ms: 0,
            committed_only: true,
        };
        let Some(acceptor) = &mut self.jns[jn].acceptor else {
            return;
        };
        let epoch = acceptor.gauges().last_promised_epoch.0;
        let Handled::Now(answer) = acceptor.handle(&request, local) else {
            return;
        };
        match answer {
            Ok(Answer::JournaledEdits {
                edit_log: Some(log), ..
            }) => {
                self.mark("tailed");
                for (txid, content) in ops::read_segment(&log, TxId(self.tail_from)) {
                    self.tail_from = txid + 1;
                    let verdict = self.acknowledged.acknowledge(epoch, txid, content);
                    self.check(verdict);
                }
            }
            Err(JournalError::CacheMiss { .. }) => {
                // A real standby would read the files. This one continues with the oldest edit in memory.
                self.tail_from += self.rng.u64(1..30);
            }
            _ => {}
        }
    }

    /// Reads in Java's way (`QuorumJournalManager.selectRpcInputStreams`): asks all JournalNodes what they have, and
    /// takes edits that a majority has from any of them.
    pub(super) fn tail_as_java(&mut self) {
        let pause = self.knobs.batch_every / 2 + self.reader_rng.u64(0..=self.knobs.batch_every);
        self.at(self.now + pause, Event::TailAsJava);
        let since = TxId(self.java_tail_from);
        let request = Request::GetJournaledEdits {
            since,
            max_txns: 50,
            wait_ms: 0,
            committed_only: false,
        };
        let (mut answers, mut missed) = (Vec::new(), false);
        for jn in self.members.clone() {
            let local = self.jns[jn].clock.at(self.now);
            let Some(acceptor) = &mut self.jns[jn].acceptor else {
                continue;
            };
            let epoch = acceptor.gauges().last_promised_epoch.0;
            match acceptor.handle(&request, local) {
                Handled::Now(Ok(Answer::JournaledEdits { edit_log, .. })) => {
                    let edits = edit_log.map(|log| ops::read_segment(&log, since));
                    answers.push((epoch, edits.unwrap_or_default()));
                }
                Handled::Now(Err(JournalError::CacheMiss { .. })) => missed = true,
                _ => {}
            }
        }
        let told = self.knobs.lease_ms > 0 && !self.jns.iter().any(|jn| jn.java);
        let newest = answers.iter().map(|(epoch, _)| *epoch).max();
        // Java's reader can't tell which writer's edits it counts together. Unless the writer tells at once what is
        // committed, this stays as it is in Hadoop, and is left out here.
        answers.retain(|(epoch, _)| told || Some(*epoch) == newest);
        let majority = self.members.len() / 2 + 1;
        if answers.len() < majority {
            if missed {
                // A real standby would read the files. This one continues with the oldest edit in memory.
                self.java_tail_from += self.reader_rng.u64(1..30);
            }
            return;
        }
        let mut counts: Vec<usize> = answers.iter().map(|(_, edits)| edits.len()).collect();
        counts.sort_unstable();
        let had_by_majority = counts[counts.len() - majority];
        answers.retain(|(_, edits)| edits.len() >= had_by_majority);
        let (epoch, edits) = &answers[self.reader_rng.usize(0..answers.len())];
        for (txid, content) in &edits[..had_by_majority] {
            self.java_tail_from = txid + 1;
            let verdict = self.acknowledged.acknowledge(*epoch, *txid, *content);
            self.check(verdict);
        }
        if had_by_majority > 0 {
            self.mark("tailed in Java's way");
        }
    }
}

//! The writers: actions of their cores, elections, and the workload.

use super::*;

impl World {
    pub(super) fn with_writer(
        &mut self,
        nn: usize,
        act: impl FnOnce(&mut hathi_journal::QuorumWriter, Micros, &mut Vec<WriterAction>),
    ) {
        let local = self.nns[nn].clock.at(self.now);
        let mut actions = Vec::new();
        let Some(writer) = &mut self.nns[nn].writer else {
            return;
        };
        act(writer, local, &mut actions);
        let attempt = self.nns[nn].attempt;
        for action in actions {
            if self.nns[nn].attempt != attempt || self.nns[nn].writer.is_none() {
                break;
            }
            self.writer_action(nn, action);
        }
        self.schedule_tick(nn);
    }

    pub(super) fn schedule_tick(&mut self, nn: usize) {
        let here = &mut self.nns[nn];
        let Some(at) = here.writer.as_ref().and_then(|writer| writer.wake_at()) else {
            return;
        };
        let at = here.clock.when(at).max(self.now + 1);
        if here.tick_at.is_none_or(|scheduled| at < scheduled) {
            here.tick_at = Some(at);
            let tick = Event::Tick {
                nn,
                nn_life: here.life,
                attempt: here.attempt,
            };
            self.at(at, tick);
        }
    }

    pub(super) fn writer_action(&mut self, nn: usize, action: WriterAction) {
        if !matches!(action, WriterAction::Send { .. }) {
            self.trace(&(nn, &action));
        }
        match action {
            WriterAction::Send {
                journalnode,
                call,
                request,
                timeout,
            } => {
                let jn = self.journalnode_of(nn, journalnode);
                self.send(nn, jn, call, request, timeout);
            }
            WriterAction::MembershipChanged { membership } => self.membership_changed(nn, &membership),
            WriterAction::Recovered { epoch, last_segment } => self.recovered(nn, epoch, last_segment),
            WriterAction::SegmentStarted { .. } => {
                self.nns[nn].role = WriterRole::Writing;
                self.schedule_work(nn);
            }
            WriterAction::Synced { txid } => self.synced(nn, txid),
            WriterAction::SegmentFinalized { start, end } => {
                let highest = self.nns[nn].next_txid - 1;
                if end.0 != highest {
                    self.check(Err(format!("finalized at {end}, written up to {highest}")));
                }
                self.purge(nn, start.0);
                self.start_segment(nn);
            }
            WriterAction::Distrusted { .. } => self.mark("distrusted"),
            WriterAction::Reelected { epoch } => self.reelected(nn, epoch),
            WriterAction::Fenced { .. } => {
                self.mark("fenced");
                self.step_down(nn, 0);
            }
            WriterAction::LostQuorum { reason } => {
                if self.plan.liar && reason.contains("cannot be recovered") {
                    // A recovery without enough answers has another reason.
                    self.check(Err(format!("what one JournalNode says has ended a recovery: {reason}")));
                }
                self.mark("lost its quorum");
                self.step_down(nn, 0);
            }
            WriterAction::LeaseHeld { retry_at } => {
                self.mark("lease held");
                let retry = self.nns[nn].clock.when(retry_at);
                self.step_down(nn, retry);
            }
        }
    }

    /// A NameNode stops being the writer.
    pub(crate) fn step_down(&mut self, nn: usize, retry_at: Micros) {
        self.nns[nn].step_down();
        let mut pause = self.rng.u64(1_000..200_000);
        if self.plan.sharp_leases {
            pause /= 1_000;
        }
        let at = retry_at.max(self.now) + pause;
        if retry_at > 0 {
            self.at(at, Event::Elect { nn, again: false });
        }
    }

    /// The end of the finalized segments on all disks.
    pub(super) fn log_end(&self) -> u64 {
        let mut end = 0;
        for jn in &self.jns {
            for (name, _) in segment_files(jn) {
                end = end.max(name.end.map_or(0, |end| end.0));
            }
        }
        end
    }

    /// A writer in office continues in a higher epoch. Everything was finalized before, and no other NameNode may have
    /// written since.
    fn reelected(&mut self, nn: usize, epoch: Epoch) {
        self.mark("elected anew in office");
        self.check_writer_of(nn, epoch);
        let verdict = self.acknowledged.recovered(epoch.0, self.nns[nn].segment - 1);
        self.check(verdict);
        self.nns[nn].epoch = epoch.0;
    }

    /// The writer is the only one of its epoch, and nobody holds the lease of an earlier epoch.
    fn check_writer_of(&mut self, nn: usize, epoch: Epoch) {
        let attempt = self.nns[nn].attempt * 1000 + self.nns[nn].life;
        let verdict = self.epochs.became_writer(epoch.0, nn, attempt);
        self.check(verdict);
        let holders: Vec<Holder> = self
            .nns
            .iter()
            .filter(|other| other.alive && other.writer.is_some() && other.epoch > 0)
            .map(|other| Holder {
                namenode: other.index,
                epoch: other.epoch,
                remaining: other.lease_until().saturating_sub(other.clock.at(self.now)),
            })
            .collect();
        self.check(leases::became_writer(nn, epoch.0, &holders));
    }

    pub(super) fn recovered(&mut self, nn: usize, epoch: Epoch, last_segment: Option<(TxId, TxId)>) {
        self.check_writer_of(nn, epoch);
        let end = match last_segment {
            Some((_, end)) => end.0,
            None => self.log_end(),
        };
        let verdict = self.acknowledged.recovered(epoch.0, end);
        self.check(verdict);
        self.check_finalized();
        self.nns[nn].epoch = epoch.0;
        self.membership_found(nn);
        self.nns[nn].next_txid = end + 1;
        self.start_segment(nn);
    }

    pub(super) fn start_segment(&mut self, nn: usize) {
        self.nns[nn].role = WriterRole::Opening;
        let txid = TxId(self.nns[nn].next_txid);
        self.nns[nn].segment = txid.0;
        self.with_writer(nn, |writer, now, out| writer.start_segment(txid, now, out));
        if self.rng.bool() {
            // The first op need not wait for the answer.
            self.write_batch(nn, 1);
        }
    }

    pub(super) fn schedule_work(&mut self, nn: usize) {
        let pause = self.around(self.knobs.batch_every);
        let work = Event::Work {
            nn,
            nn_life: self.nns[nn].life,
            attempt: self.nns[nn].attempt,
        };
        self.at(self.now + pause, work);
    }

    pub(super) fn work(&mut self, nn: usize) {
        if self.nns[nn].role != WriterRole::Writing {
            return;
        }
        let burst = if self.one_in(5) { 6 } else { 1 };
        for _ in 0..burst {
            let count = self.rng.u64(1..=self.knobs.max_batch);
            self.write_batch(nn, count);
        }
        let local = self.nns[nn].clock.at(self.now);
        let writer = self.nns[nn].writer.as_ref();
        let wanted = writer.is_some_and(|writer| writer.wants_new_segment(local).is_some());
        if (self.one_in(self.knobs.roll_one_in) || wanted) && self.nns[nn].role == WriterRole::Writing {
            self.nns[nn].role = WriterRole::Rolling;
            self.mark("rolled");
            self.with_writer(nn, |writer, now, out| writer.finalize_segment(now, out));
        } else {
            self.schedule_work(nn);
        }
    }

    pub(super) fn write_batch(&mut self, nn: usize, count: u64) {
        let here = &mut self.nns[nn];
        if here
            .writer
            .as_ref()
            .is_none_or(|writer| writer.unsynced_bytes() > 20_000)
        {
            return;
        }
        let first = here.next_txid;
        let mut records = Vec::new();
        for txid in first..first + count {
            let padding = self.rng.usize(0..40);
            let body = format!("{}/{}/{}{}", here.index, here.life, here.epoch, " ".repeat(padding));
            let frame = ops::frame(txid, body.as_bytes());
            here.unsynced.insert(txid, ops::hash(&frame));
            records.extend(frame);
        }
        here.next_txid += count;
        self.with_writer(nn, |writer, now, out| {
            writer.journal(TxId(first), count as u32, records.into(), now, out);
        });
    }

    pub(super) fn synced(&mut self, nn: usize, txid: TxId) {
        let later = self.nns[nn].unsynced.split_off(&(txid.0 + 1));
        let synced = std::mem::replace(&mut self.nns[nn].unsynced, later);
        let epoch = self.nns[nn].epoch;
        for (txid, content) in synced {
            let verdict = self.acknowledged.acknowledge(epoch, txid, content);
            self.check(verdict);
        }
        if self.healed && self.acknowledged.count() >= self.acknowledged_at_heal + PROGRESS {
            // Every JournalNode must soon have what is acknowledged now.
            self.target.get_or_insert(txid.0);
        }
    }

    pub(super) fn elect(&mut self, nn: usize, again: bool) {
        if again {
            let later = self.now + self.rng.u64(50_000..400_000);
            self.at(later, Event::Elect { nn, again });
        }
        if !self.nns[nn].alive || self.nns[nn].writer.is_some() {
            return;
        }
        let majority = self.members.len() / 2 + 1;
        let free = self
            .members
            .iter()
            .map(|jn| &self.jns[*jn])
            .filter(|jn| jn.acceptor.is_some() && !jn.lease_runs(self.now))
            .count();
        let leased = self.knobs.lease_ms > 0 && self.jns.iter().filter(|jn| !jn.java).count() >= majority;
        let somebody_writes = self.nns.iter().any(|other| other.alive && other.writer.is_some());
        let should = if leased { free >= majority } else { !somebody_writes };
        let rude = self.one_in(4) && !should && self.fault("rude election");
        if should || rude {
            self.attempt(nn);
        }
    }

    /// A NameNode tries to become the writer.
    pub(crate) fn attempt(&mut self, nn: usize) {
        let (knobs, mutant) = (self.knobs.clone(), self.plan.mutant);
        self.nns[nn].new_writer(&knobs, mutant);
        self.with_writer(nn, |writer, now, out| writer.recover(now, out));
    }
}

//! What goes wrong: crashes with and without loss of power, pauses, partitions, slow, full, failing and lost disks,
//! rude elections, handovers.

use hathi_journal::Request;

use crate::network::Node;
use crate::world::{Event, Repair, World};

impl World {
    /// Does one bad thing.
    pub(crate) fn nemesis(&mut self) {
        match self.rng.u8(0..16) {
            0..=2 => {
                let jn = self.any_journalnode();
                let power = self.rng.bool();
                self.crash_and_restart(jn, power);
            }
            3 => {
                // All at once: what was only in memory anywhere is gone.
                let power = self.rng.bool();
                for jn in 0..self.jns.len() {
                    if !self.one_in(4) {
                        self.crash_and_restart(jn, power);
                    }
                }
            }
            4 | 5 => self.crash_namenode(),
            6 => {
                let nn = self.any_namenode();
                let longest = 3_000 * u64::from(self.knobs.lease_ms).max(100);
                self.nns[nn].paused_until = self.now + self.rng.u64(1_000..longest);
                self.marks.insert("paused");
            }
            7 | 8 => self.partition(),
            9 => {
                let jn = self.any_journalnode();
                self.jns[jn].slowness = self.rng.u64(5..100);
                let end = self.now + self.rng.u64(20_000..600_000);
                self.at(end, Event::Repair(Repair::Fast(jn)));
            }
            10 => {
                let jn = self.any_journalnode();
                self.jns[jn].disk.set_full(true);
                let end = self.now + self.rng.u64(5_000..300_000);
                self.at(end, Event::Repair(Repair::Space(jn)));
                self.marks.insert("disk full");
            }
            11 => {
                // Afterwards its memory shows what its disk has not.
                let jn = self.any_journalnode();
                self.jns[jn].disk.fail_syncs(1);
                self.marks.insert("failed sync");
                let end = self.now + self.rng.u64(5_000..100_000);
                self.at(end, Event::Repair(Repair::Fast(jn)));
            }
            12 => {
                let nn = self.any_namenode();
                if self.nns[nn].alive {
                    self.attempt(nn);
                }
            }
            13 => self.hand_over(),
            14 => self.lose_disk(),
            _ => {
                // The active dies while everything is under way, and its machine takes a JournalNode along.
                let jn = self.any_journalnode();
                self.crash_namenode();
                self.crash_and_restart(jn, true);
            }
        }
    }

    fn any_journalnode(&mut self) -> usize {
        self.rng.usize(0..self.jns.len())
    }

    fn any_namenode(&mut self) -> usize {
        let writer = self.nns.iter().position(|nn| nn.alive && nn.writer.is_some());
        match writer {
            Some(writer) if self.rng.u8(0..4) > 0 => writer,
            _ => self.rng.usize(0..self.nns.len()),
        }
    }

    /// A JournalNode's process ends, or its machine.
    pub(crate) fn crash_journalnode(&mut self, jn: usize, power: bool) {
        self.jns[jn].stop();
        if power {
            let rng = &mut self.rng;
            self.jns[jn].disk.lose_power(&mut |n| rng.u64(0..n.max(1)));
        } else {
            self.jns[jn].disk.crash_process();
        }
        self.reset_connections(jn, power);
    }

    fn crash_and_restart(&mut self, jn: usize, power: bool) {
        self.marks.insert(if power { "power lost" } else { "process crashed" });
        self.crash_journalnode(jn, power);
        let back = self.now + self.rng.u64(2_000..500_000);
        self.at(back, Event::StartJournalNode(jn));
    }

    fn crash_namenode(&mut self) {
        let nn = self.any_namenode();
        if !self.nns[nn].alive {
            return;
        }
        let holder = self.nns[nn].holder();
        self.step_down(nn, 0);
        self.nns[nn].alive = false;
        self.nns[nn].paused_until = 0;
        let back = self.now + self.rng.u64(5_000..500_000);
        self.at(back, Event::StartNameNode(nn));
        if self.rng.bool() {
            self.release(nn, &holder);
        }
    }

    /// The supervisor, or the NameNode itself, gives the lease back.
    fn release(&mut self, nn: usize, holder: &str) {
        self.marks.insert("lease given back");
        let request = Request::ReleaseLease { holder: holder.into() };
        for jn in 0..self.jns.len() {
            let passes = self.partitions.passes(Node::NameNode(nn), Node::JournalNode(jn));
            let local = self.jns[jn].clock.at(self.now);
            if let Some(acceptor) = self.jns[jn].acceptor.as_mut().filter(|_| passes) {
                let _ = acceptor.handle(&request, local);
            }
        }
    }

    fn hand_over(&mut self) {
        let Some(active) = self.nns.iter().position(|nn| nn.alive && nn.writer.is_some()) else {
            return;
        };
        let holder = self.nns[active].holder();
        self.step_down(active, 0);
        self.release(active, &holder);
        let next = (active + 1) % self.nns.len();
        if self.nns[next].alive && self.nns[next].paused_until <= self.now {
            self.marks.insert("handed over");
            self.attempt(next);
        }
    }

    fn partition(&mut self) {
        self.marks.insert("partition");
        let node = if self.rng.bool() {
            Node::NameNode(self.any_namenode())
        } else {
            Node::JournalNode(self.any_journalnode())
        };
        let end = self.now + self.rng.u64(10_000..900_000);
        let kind = self.rng.u8(0..3);
        let mut others: Vec<Node> = (0..self.jns.len()).map(Node::JournalNode).collect();
        others.extend((0..self.nns.len()).map(Node::NameNode));
        for other in others {
            if other == node || self.one_in(4) {
                continue;
            }
            if kind != 1 {
                self.partitions.block(node, other);
                self.at(end, Event::Repair(Repair::Open(node, other)));
            }
            if kind != 2 {
                self.partitions.block(other, node);
                self.at(end, Event::Repair(Repair::Open(other, node)));
            }
        }
    }

    /// One disk may be lost in a run, and only while all others live and have votes: the journal keeps every
    /// transaction on a majority, so it survives the loss of one copy, not of two.
    fn lose_disk(&mut self) {
        let jn = self.any_journalnode();
        let others_well = self.jns.iter().filter(|other| other.index != jn).all(|other| {
            other
                .acceptor
                .as_ref()
                .is_some_and(|a| !a.is_joining() && a.failure().is_none())
        });
        if !others_well || self.jns.iter().any(|jn| jn.wiped) {
            return;
        }
        self.marks.insert("disk lost");
        self.jns[jn].stop();
        self.jns[jn].disk.wipe();
        self.jns[jn].wiped = true;
        self.reset_connections(jn, false);
        let back = self.now + self.rng.u64(2_000..200_000);
        self.at(back, Event::StartJournalNode(jn));
    }

    pub(crate) fn repair(&mut self, repair: Repair) {
        match repair {
            Repair::Open(from, to) => self.partitions.open(from, to),
            Repair::Space(jn) => self.jns[jn].disk.set_full(false),
            Repair::Fast(jn) => {
                self.jns[jn].slowness = 1;
                self.jns[jn].disk.fail_syncs(0);
                let failed = self.jns[jn].acceptor.as_ref().is_some_and(|a| a.failure().is_some());
                if failed {
                    let power = self.rng.bool();
                    self.crash_and_restart(jn, power);
                }
            }
        }
    }
}

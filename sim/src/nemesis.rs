//! What goes wrong: crashes with and without loss of power, pauses, partitions, slow, full, failing, damaged and lost
//! disks, rude elections, handovers. Messages are lost, doubled and delayed where they are sent ([`crate::world`]).
//!
//! The budget of faults, beyond which the loss of data is no bug:
//! * every JournalNode may crash, lose power, be cut off, slow, full or fail its syncs, at any time and all at once;
//! * one JournalNode of a run may lose what was durable on it, by an emptied directory or flipped bits, and only while
//!   all others live, vote and have a sound disk: a transaction is on a majority, and stays so if a majority of the
//!   *others* has it;
//! * the clocks' rates differ by no more than the leases allow for; NameNodes' may jump forward, JournalNodes' may
//!   stand still;
//! * so a bit of a segment is only flipped if a majority of the others has on its disk every transaction behind it;
//! * a flip in a small file makes it unreadable: one that turns a number into another number can't be seen in
//!   Hadoop's formats.

use std::path::PathBuf;

use hathi_formats::ids::TxId;
use hathi_journal::Request;
use hathi_journal::lease::LeaseProof;
use hathi_journal::mutant::Mutant;
use hathi_journal::segments::{HEADER_LEN_BYTES, SegmentName};
use hathi_storage::Disk;

use crate::journalnode::{JournalNode, MAX_LEASE_MS};
use crate::knobs::MAX_DRIFT_PPM;
use crate::network::Node;
use crate::ops;
use crate::world::{Event, Repair, World};

/// Every kind of fault, as [`crate::Outcome::marks`] counts it and [`crate::JournalPlan::without`] leaves it out.
pub const FAULTS: [&str; 26] = [
    "active and JournalNode die",
    "all JournalNodes die",
    "bit flip: finalized segment",
    "bit flip: segment in progress",
    "bit flip: small file",
    "clock drift",
    "disk full",
    "disk lost",
    "duplicate",
    "failed sync",
    "handover",
    "lease given back",
    "lost message",
    "lost write",
    "one-way partition",
    "partition",
    "paused",
    "power lost",
    "process crashed",
    "purge",
    "reordered message",
    "rude election",
    "slow disk",
    "torn write",
    "writer attempt",
    "writer died",
];

/// What happens to clocks with [`crate::JournalPlan::wild_clocks`], counted and left out like [`FAULTS`].
pub const CLOCK_FAULTS: [&str; 5] = [
    "clock changed its rate",
    "clock jumped",
    "clock stood still",
    "longest lease changed",
    "suspended",
];

impl World {
    /// Does something to a clock that leases allow: rates differ by what [`crate::lease::DRIFT_PERCENT`] allows for,
    /// only a holder's clock jumps (it loses the lease by that), and only a JournalNode's stands still (others wait).
    ///
    /// [`crate::lease::DRIFT_PERCENT`]: hathi_journal::lease::DRIFT_PERCENT
    pub(crate) fn clock_nemesis(&mut self) {
        let (now, lease) = (self.now, 1_000 * u64::from(self.knobs.lease_ms).max(100));
        let jn = self.any_journalnode();
        let nn = self.any_namenode();
        let rate = self.rng.i64(-MAX_DRIFT_PPM..=MAX_DRIFT_PPM);
        let length = self.rng.u64(1_000..3 * lease);
        match self.rng.u8(0..8) {
            0 => {
                if self.fault("clock changed its rate") {
                    let clock = if self.rng.bool() {
                        &mut self.jns[jn].clock
                    } else {
                        &mut self.nns[nn].clock
                    };
                    clock.change(now, 0, rate);
                }
            }
            1 => {
                if self.fault("clock jumped") {
                    let clock = &mut self.nns[nn].clock;
                    clock.change(now, length, clock.drift_ppm);
                }
            }
            2 => {
                if self.fault("clock stood still") {
                    self.jns[jn].clock.stand(now, now + length);
                }
            }
            3 => {
                // One is tried first, or all get it.
                let one = self.rng.bool();
                let max_lease_ms = self.rng.u32(20..=MAX_LEASE_MS);
                if self.fault("longest lease changed") {
                    for other in (0..self.jns.len()).filter(|other| !one || *other == jn) {
                        self.jns[other].max_lease_ms = max_lease_ms;
                        // It is read at a start.
                        self.crash_journalnode(other, false);
                        self.at(now + 1_000, Event::StartJournalNode(other));
                        // Each process counts from its own start.
                        let clock = &mut self.jns[other].clock;
                        clock.change(now, length, clock.drift_ppm);
                    }
                }
            }
            _ => {
                if self.fault("suspended") {
                    self.nns[nn].paused_until = self.nns[nn].paused_until.max(now + length);
                    if self.plan.mutant == Some(Mutant::ClockStandsInSuspend) {
                        self.nns[nn].clock.stand(now, now + length);
                    }
                }
            }
        }
    }

    /// Does one bad thing.
    pub(crate) fn nemesis(&mut self) {
        match self.rng.u8(0..20) {
            0..=2 => {
                let jn = self.any_journalnode();
                self.crash_and_restart(jn);
            }
            3 => {
                // All at once: what was only in memory anywhere is gone.
                if self.fault("all JournalNodes die") {
                    let spare = self.one_in(2);
                    for jn in 0..self.jns.len() {
                        if !spare || !self.one_in(4) {
                            self.crash_and_restart(jn);
                        }
                    }
                }
            }
            4 | 5 => self.crash_namenode(),
            6 => {
                let nn = self.any_namenode();
                let longest = 3_000 * u64::from(self.knobs.lease_ms).max(100);
                let until = self.now + self.rng.u64(1_000..longest);
                if self.fault("paused") {
                    self.nns[nn].paused_until = until;
                }
            }
            7 | 8 => self.partition(),
            9 | 10 => {
                let jn = self.any_journalnode();
                let slowness = self.rng.u64(5..200);
                let end = self.now + self.rng.u64(20_000..600_000);
                if self.fault("slow disk") {
                    self.jns[jn].slowness = slowness;
                    self.at(end, Event::Repair(Repair::Fast(jn)));
                }
            }
            11 => {
                let jn = self.any_journalnode();
                let end = self.now + self.rng.u64(5_000..300_000);
                if self.fault("disk full") {
                    self.jns[jn].disk.set_full(true);
                    self.at(end, Event::Repair(Repair::Space(jn)));
                }
            }
            12 => {
                // Afterwards its memory shows what its disk has not.
                let jn = self.any_journalnode();
                let end = self.now + self.rng.u64(5_000..100_000);
                if self.fault("failed sync") {
                    self.jns[jn].disk.fail_syncs(1);
                    self.at(end, Event::Repair(Repair::Syncs(jn)));
                }
            }
            13 => {
                let nn = self.any_namenode();
                if self.nns[nn].alive && self.fault("writer attempt") {
                    self.attempt(nn);
                }
            }
            14 => self.hand_over(),
            15 => self.lose_disk(),
            16 => self.flip_bit_of_small_file(),
            17 | 18 => self.flip_bit_of_segment(),
            _ => {
                // The active dies while everything is under way, and its machine takes a JournalNode along.
                if self.fault("active and JournalNode die") {
                    let jn = self.any_journalnode();
                    self.crash_namenode();
                    self.crash_and_restart(jn);
                }
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

    fn crash_and_restart(&mut self, jn: usize) {
        let power = self.rng.bool();
        let back = self.now + self.rng.u64(2_000..500_000);
        if self.fault(if power { "power lost" } else { "process crashed" }) {
            self.crash_journalnode(jn, power);
            self.at(back, Event::StartJournalNode(jn));
        }
    }

    fn crash_namenode(&mut self) {
        let nn = self.any_namenode();
        if !self.nns[nn].alive || !self.fault("writer died") {
            return;
        }
        let holder = self.nns[nn].holder();
        let proof = self.nns[nn].proof();
        self.step_down(nn, 0);
        self.nns[nn].alive = false;
        self.nns[nn].paused_until = 0;
        let back = self.now + self.rng.u64(5_000..500_000);
        self.at(back, Event::StartNameNode(nn));
        if self.rng.bool() && self.fault("lease given back") {
            self.release(nn, &holder, proof);
        }
    }

    /// The supervisor, or the NameNode itself, gives the lease back.
    fn release(&mut self, nn: usize, holder: &str, proof: LeaseProof) {
        let request = Request::ReleaseLease {
            holder: holder.into(),
            proof,
            up_to: None,
        };
        for jn in 0..self.jns.len() {
            let passes = self.partitions.passes(Node::NameNode(nn), Node::JournalNode(jn));
            let local = self.jns[jn].clock.at(self.now);
            if let Some(acceptor) = self.jns[jn].acceptor.as_mut().filter(|_| passes) {
                let _ = acceptor.handle(&request, local);
            }
        }
    }

    pub(crate) fn hand_over(&mut self) {
        let Some(active) = self.nns.iter().position(|nn| nn.alive && nn.writer.is_some()) else {
            return;
        };
        if !self.healed && !self.fault("handover") {
            return;
        }
        let holder = self.nns[active].holder();
        let proof = self.nns[active].proof();
        self.step_down(active, 0);
        self.release(active, &holder, proof);
        let next = (active + 1) % self.nns.len();
        if self.nns[next].alive && self.nns[next].paused_until <= self.now {
            self.attempt(next);
        }
    }

    fn partition(&mut self) {
        let node = if self.rng.bool() {
            Node::NameNode(self.any_namenode())
        } else {
            Node::JournalNode(self.any_journalnode())
        };
        let end = self.now + self.rng.u64(10_000..900_000);
        let kind = self.rng.u8(0..3);
        if !self.fault(if kind == 0 { "partition" } else { "one-way partition" }) {
            return;
        }
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

    /// Whether what is durable on this JournalNode may be lost now.
    fn may_lose_disk(&self, jn: usize) -> bool {
        self.jns.iter().filter(|other| other.index != jn).all(|other| {
            let sound = !other.wiped && !other.damaged;
            let votes = |a: &hathi_journal::Acceptor<_>| !a.is_joining() && a.failure().is_none();
            sound && other.acceptor.as_ref().is_some_and(votes)
        })
    }

    fn lose_disk(&mut self) {
        let jn = self.any_journalnode();
        if !self.may_lose_disk(jn) || self.jns[jn].wiped || !self.fault("disk lost") {
            return;
        }
        self.jns[jn].stop();
        self.jns[jn].disk.wipe();
        self.jns[jn].wiped = true;
        self.reset_connections(jn, false);
        let back = self.now + self.rng.u64(2_000..200_000);
        self.at(back, Event::StartJournalNode(jn));
    }

    fn flip_bit_of_small_file(&mut self) {
        let jn = self.any_journalnode();
        let back = self.now + self.rng.u64(2_000..200_000);
        let current = JournalNode::root().join("current");
        let mut files: Vec<PathBuf> = ["last-promised-epoch", "last-writer-epoch", "lease-epoch"]
            .iter()
            .map(|name| current.join(name))
            .collect();
        let records = self.jns[jn].disk.list(&current.join("paxos")).unwrap_or_default();
        files.extend(records.iter().map(|entry| current.join("paxos").join(&entry.name)));
        let path = &files[self.rng.usize(0..files.len())];
        let len = self.jns[jn].disk.durable(path).map_or(0, |data| data.len() as u64);
        if len == 0 || !self.may_lose_disk(jn) || self.jns[jn].wiped || !self.fault("bit flip: small file") {
            return;
        }
        let byte = self.rng.u64(0..len);
        self.crash_journalnode(jn, false);
        // Bit 7 is in no text.
        let flipped = self.jns[jn].disk.flip_bit(path, byte, 7);
        self.jns[jn].damaged |= flipped.is_ok();
        self.at(back, Event::StartJournalNode(jn));
    }

    fn flip_bit_of_segment(&mut self) {
        let jn = self.any_journalnode();
        let (power, bit) = (self.rng.bool(), self.rng.u8(0..8));
        let back = self.now + self.rng.u64(2_000..200_000);
        let names = segment_names(&self.jns[jn]);
        if names.is_empty() || !self.may_lose_disk(jn) {
            return;
        }
        // The newest ones matter most.
        let name = &names[names.len() - 1 - self.rng.usize(0..names.len().min(3))];
        let what = match name.end {
            Some(_) => "bit flip: finalized segment",
            None => "bit flip: segment in progress",
        };
        let path = JournalNode::root().join("current").join(name.file_name());
        let data = self.jns[jn].disk.read_small(&path).ok().flatten().unwrap_or_default();
        let contents = ops::read_segment(&data, name.start);
        let held = contents.iter().all(|entry| self.others_have(jn, name, entry));
        // The header has no checksum in Hadoop's format: only of what follows damage can be told.
        let frames = HEADER_LEN_BYTES..data.len() as u64;
        if frames.is_empty() || !held || !self.fault(what) {
            return;
        }
        let byte = self.rng.u64(frames);
        self.crash_journalnode(jn, power);
        if self.jns[jn].disk.flip_bit(&path, byte, bit).is_ok() {
            self.jns[jn].damaged = true;
            self.jns[jn].flipped.insert(name.start.0);
        }
        self.at(back, Event::StartJournalNode(jn));
    }

    /// Whether a majority of all, without this one, has a transaction of a segment on its disks.
    fn others_have(&self, jn: usize, name: &SegmentName, entry: &(u64, u64)) -> bool {
        let has = |other: &&JournalNode| {
            segment_names(other).iter().any(|here| {
                let path = JournalNode::root().join("current").join(here.file_name());
                here.start == name.start
                    && (name.end.is_none() || here.end == name.end)
                    && (other.disk.durable(&path))
                        .is_some_and(|data| ops::read_segment(&data, TxId(here.start.0)).contains(entry))
            })
        };
        let others = self.jns.iter().filter(|other| other.index != jn);
        others.filter(has).count() > self.jns.len() / 2
    }

    pub(crate) fn repair(&mut self, repair: Repair) {
        match repair {
            Repair::Open(from, to) => self.partitions.open(from, to),
            Repair::Space(jn) => self.jns[jn].disk.set_full(false),
            Repair::Fast(jn) => self.jns[jn].slowness = 1,
            Repair::Syncs(jn) => {
                self.jns[jn].disk.fail_syncs(0);
                if self.jns[jn].acceptor.as_ref().is_some_and(|a| a.failure().is_some()) {
                    self.restart_failed(jn);
                }
            }
        }
    }

    /// A journal that failed says no more until its process starts anew.
    pub(crate) fn restart_failed(&mut self, jn: usize) {
        let power = self.rng.bool();
        let back = self.now + self.rng.u64(2_000..500_000);
        self.crash_journalnode(jn, power);
        self.at(back, Event::StartJournalNode(jn));
    }
}

/// The segments on a disk.
fn segment_names(jn: &JournalNode) -> Vec<SegmentName> {
    let entries = jn.disk.list(&JournalNode::root().join("current")).unwrap_or_default();
    let mut names: Vec<_> = entries
        .iter()
        .filter_map(|entry| SegmentName::parse(&entry.name))
        .collect();
    names.sort();
    names
}

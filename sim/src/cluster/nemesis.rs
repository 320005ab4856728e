//! What goes wrong. The budget of faults, beyond which the loss of data is no bug, is that of [`crate::nemesis`]; here one
//! JournalNode may lose its disk, and bits flip only in images ([`super::name_dirs`]).

use super::shell::Asker;
use super::{Event, World};
use crate::network::Node;
use crate::writing::DATANODES;
use hathi_namesystem::Role;

/// Every kind of fault, as [`crate::Outcome::marks`] counts it and [`super::ClusterPlan::without`] leaves it out.
pub const CLUSTER_FAULTS: [&str; 41] = [
    "DataNode killed",
    "DataNode lost its power",
    "DataNode lost its power in the middle",
    "NameNode and JournalNode die",
    "NameNode killed",
    "NameNode lost its power",
    "NameNode lost its power in the middle",
    "NameNode's disk full",
    "all JournalNodes die",
    "all NameNodes killed",
    "asked for active",
    "asked for standby",
    "clock drift",
    "controller killed",
    "copy of an image damaged",
    "disk lost",
    "duplicate",
    "graceful failover",
    "killed in a change of role",
    "late answer",
    "late call",
    "late message",
    "lost answer",
    "lost call",
    "lost message",
    "lost write",
    "machine of a writer died",
    "name directory lost",
    "newest image damaged",
    "one-way partition",
    "partition",
    "paused",
    "paused before a reply left",
    "power lost",
    "process crashed",
    "slow disk",
    "slow upload",
    "sync at a NameNode failed",
    "torn upload",
    "torn write",
    "upload interrupted",
];

/// With DataNodes, one in so many faults is the death of a writer's machine, if there is a writer.
const MACHINE_OF_WRITER_ONE_IN: u64 = 2;

/// The end of a fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Repair {
    /// A direction of the network opens.
    Open(Node, Node),
    /// A disk is fast again.
    Fast(usize),
    /// A NameNode's disk has room again.
    Room(usize),
    /// A NameNode gets a disk in the place of one that is lost.
    NameDir(usize),
}

impl World {
    /// Does one bad thing.
    pub(super) fn nemesis(&mut self) {
        if self.datanodes.is_some() && self.one_in(MACHINE_OF_WRITER_ONE_IN) && self.machine_of_writer_dies() {
            return;
        }
        match self.rng.u8(0..27) {
            0..=2 => {
                let jn = self.rng.usize(0..self.jns.len());
                self.crash_and_restart(jn);
            }
            3 => {
                if self.fault("all JournalNodes die") {
                    for jn in 0..self.jns.len() {
                        if !self.one_in(4) {
                            self.crash_and_restart(jn);
                        }
                    }
                }
            }
            4..=6 => {
                let nn = self.any_namenode();
                if self.nns[nn].shell.is_some() && self.fault("NameNode killed") {
                    self.kill_namenode(nn);
                }
            }
            7 => {
                if self.fault("all NameNodes killed") {
                    for nn in 0..self.nns.len() {
                        self.kill_namenode(nn);
                    }
                }
            }
            8 | 9 => self.kill_in_change(),
            10 | 11 => {
                let nn = self.any_namenode();
                let longest = 3_000 * u64::from(self.knobs.lease_ms);
                let length = self.rng.u64(1_000..longest);
                if self.nns[nn].shell.is_some() && self.fault("paused") {
                    self.pause_namenode(nn, length);
                }
            }
            12..=14 => self.partition(),
            15 => {
                let jn = self.rng.usize(0..self.jns.len());
                let slowness = self.rng.u64(5..200);
                let end = self.rng.u64(20_000..600_000);
                if self.fault("slow disk") {
                    self.jns[jn].slowness = slowness;
                    self.after(end, Event::Repair(Repair::Fast(jn)));
                }
            }
            16 => {
                let nn = self.rng.usize(0..self.nns.len());
                if self.controllers[nn].is_alive() && self.fault("controller killed") {
                    self.kill_controller(nn);
                }
            }
            17 | 18 => self.graceful_failover(),
            19 => {
                // An administrator takes the role without asking anybody else.
                let nn = self.rng.usize(0..self.nns.len());
                if self.fault("asked for active") {
                    let by = Asker::Administrator;
                    let to_active = true;
                    self.after(0, Event::Ask { nn, to_active, by });
                }
            }
            20 => {
                let nn = self.any_namenode();
                if self.fault("asked for standby") {
                    let by = Asker::Administrator;
                    let to_active = false;
                    self.after(0, Event::Ask { nn, to_active, by });
                }
            }
            21 => {
                let jn = self.rng.usize(0..self.jns.len());
                if self.may_lose_disk(jn) && self.fault("disk lost") {
                    self.jns[jn].stop();
                    self.jns[jn].disk.wipe();
                    self.jns[jn].wiped = true;
                    self.reset_connections(jn, false);
                    let back = self.rng.u64(2_000..200_000);
                    self.after(back, Event::StartJournalNode(jn));
                }
            }
            22..=24 => self.harm_name_dirs(),
            _ => {
                // The active dies while everything is under way, and its machine takes a JournalNode along.
                if self.fault("NameNode and JournalNode die") {
                    let jn = self.rng.usize(0..self.jns.len());
                    let nn = self.any_namenode();
                    self.kill_namenode(nn);
                    self.crash_and_restart(jn);
                }
            }
        }
    }

    /// The machines of a writer, of a DataNode of its pipeline and of the active die together. Another DataNode of the
    /// pipeline can't tell the next active what it has for a while. False when there is no such writer.
    fn machine_of_writer_dies(&mut self) -> bool {
        let Some(mut datanodes) = self.datanodes.take() else {
            return false;
        };
        let is_allowed = !self.plan.without.contains(&"machine of a writer died");
        self.introduce(&mut datanodes);
        let silent = is_allowed.then(|| datanodes.machine_of_writer_dies()).flatten();
        self.datanodes = Some(datanodes);
        self.follow_datanodes();
        let Some(silent) = silent.filter(|_| self.fault("machine of a writer died")) else {
            return false;
        };
        let end = self.now + self.rng.u64(10_000..1_500_000);
        for nn in 0..self.nns.len() {
            let (from, to) = (Node::DataNode(silent), Node::NameNode(nn));
            self.partitions.block(from, to);
            self.at(end, Event::Repair(Repair::Open(from, to)));
        }
        if let Some(active) = (0..self.nns.len()).find(|nn| self.role(*nn) == Some(Role::Active)) {
            self.kill_namenode(active);
        }
        true
    }

    fn role(&self, nn: usize) -> Option<Role> {
        let shell = self.nns[nn].shell.as_ref()?;
        Some(shell.look(|process| process.ns.role()))
    }

    /// The active most of the time.
    pub(super) fn any_namenode(&mut self) -> usize {
        let active = (0..self.nns.len()).find(|nn| self.role(*nn) == Some(Role::Active));
        match active {
            Some(active) if self.rng.u8(0..4) > 0 => active,
            _ => self.rng.usize(0..self.nns.len()),
        }
    }

    /// Kills a NameNode that changes its role right now.
    fn kill_in_change(&mut self) {
        let changing = (0..self.nns.len()).find(|nn| {
            let shell = self.nns[*nn].shell.as_ref();
            shell.is_some_and(|shell| shell.look(|process| process.roles.is_busy()))
        });
        if let Some(nn) = changing
            && self.fault("killed in a change of role")
        {
            self.kill_namenode(nn);
        }
    }

    fn crash_and_restart(&mut self, jn: usize) {
        let power = self.rng.bool();
        let back = self.rng.u64(2_000..500_000);
        if self.fault(if power { "power lost" } else { "process crashed" }) {
            self.crash_journalnode(jn, power);
            self.after(back, Event::StartJournalNode(jn));
        }
    }

    fn partition(&mut self) {
        let mut all: Vec<Node> = (0..self.jns.len()).map(Node::JournalNode).collect();
        all.extend((0..self.nns.len()).map(Node::NameNode));
        all.extend((0..self.clients.len()).map(Node::Client));
        if self.datanodes.is_some() {
            all.extend((0..DATANODES).map(Node::DataNode));
        }
        let node = match self.rng.bool() {
            true => Node::NameNode(self.any_namenode()),
            false => all[self.rng.usize(0..all.len())],
        };
        let end = self.now + self.rng.u64(10_000..1_500_000);
        let kind = self.rng.u8(0..3);
        if !self.fault(if kind == 0 { "partition" } else { "one-way partition" }) {
            return;
        }
        for other in all {
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

    pub(super) fn repair(&mut self, repair: Repair) {
        match repair {
            Repair::Open(from, to) => self.partitions.open(from, to),
            Repair::Fast(jn) => self.jns[jn].slowness = 1,
            Repair::Room(nn) => self.room_again(nn),
            Repair::NameDir(nn) => self.name_dir_replaced(nn),
        }
    }

    /// All others cede, the active one last (`ZKFailoverController.gracefulFailoverToYou`).
    fn graceful_failover(&mut self) {
        let to = self.rng.usize(0..self.nns.len());
        if !self.fault("graceful failover") {
            return;
        }
        let mut others: Vec<usize> = (0..self.nns.len()).filter(|nn| *nn != to).collect();
        others.sort_by_key(|nn| self.role(*nn) == Some(Role::Active));
        for nn in others {
            self.cede(nn, 2_000);
        }
        let end = self.rng.u64(50_000..2_000_000);
        self.after(end, Event::EndCede);
    }

    pub(super) fn end_cede(&mut self) {
        for nn in 0..self.nns.len() {
            self.cede(nn, -1);
        }
    }
}

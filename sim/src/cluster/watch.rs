//! What is true, as far as the world knows, and the rules that look at it.

use super::{Event, World};
use crate::checkers::acknowledged::Acknowledged;
use crate::checkers::epochs::Epochs;
use crate::checkers::images::Images;
use crate::checkers::replicas::Replicas;
use crate::checkers::service::Service;
use crate::checkers::tree::Tree;
use crate::ops;
use hathi_formats::editlog::{Frames, SEGMENT_HEADER_LEN, decode_frame};
use hathi_formats::ids::LayoutVersion;
use hathi_namespace::Namespace;
use hathi_namesystem::Role;
use std::collections::BTreeMap;

use super::settings::namespace_config;

/// Between two looks at the namespaces.
const LOOK_EVERY: u64 = 150_000;

/// The journal as it stays, and what follows from it.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// The tree after each transaction that is known to stay.
    pub(super) tree: Tree,
    /// The frames of these transactions.
    frames: Vec<Vec<u8>>,
    pub(super) epochs: Epochs,
    pub(super) service: Service,
    acknowledged: Acknowledged,
    pub(super) images: Images,
    replicas: Replicas,
    /// A namespace that is made of these transactions alone, and follows behind.
    reference: Option<Namespace>,
    /// Whether there are DataNodes.
    datanodes: bool,
    /// Answers to calls before this transaction may be forgotten somewhere.
    pub(super) remembered_from: u64,
    /// Calls that were answered.
    pub(super) acknowledged_calls: u64,
}

impl Truth {
    pub(super) fn new(datanodes: bool) -> Self {
        Truth {
            datanodes,
            ..Truth::default()
        }
    }

    /// The last transaction that is known to stay.
    pub(super) fn known(&self) -> u64 {
        self.tree.last()
    }

    /// The next transaction stays.
    fn learn(&mut self, frame: &[u8]) {
        for framed in Frames::new(frame, 0) {
            let framed = framed.expect("a whole frame");
            let op = decode_frame(&framed, LayoutVersion::NAMENODE_CURRENT).expect("what is logged can be read");
            self.tree.apply(framed.txid.0, &op);
        }
        self.frames.push(frame.to_vec());
    }

    /// The digest of the reference at this transaction, if it can still be made.
    fn digest_at(&mut self, txid: u64) -> Option<u64> {
        let reference = self
            .reference
            .get_or_insert_with(|| Namespace::new(namespace_config(self.datanodes)));
        if reference.last_applied_txid() > txid || txid > self.frames.len() as u64 {
            return None;
        }
        for frame in &self.frames[reference.last_applied_txid() as usize..txid as usize] {
            for framed in Frames::new(frame, 0) {
                let framed = framed.expect("a whole frame");
                let op = decode_frame(&framed, LayoutVersion::NAMENODE_CURRENT).expect("what is logged can be read");
                reference.apply(framed.txid.0, &op).expect("what is logged applies");
            }
        }
        reference.set_last_applied_txid(txid);
        Some(reference.digest())
    }
}

/// The frames of some edits, by their transactions.
fn frames(edits: &[u8]) -> BTreeMap<u64, Vec<u8>> {
    let whole = Frames::new(edits, 0).map_while(Result::ok);
    whole.map(|frame| (frame.txid.0, frame.bytes.to_vec())).collect()
}

impl World {
    /// A NameNode has sent edits to the journal.
    pub(super) fn shipped(&mut self, nn: usize, edits: &[u8]) {
        self.nns[nn].sent.extend(frames(edits));
    }

    /// The writer was told that a quorum has everything up to `txid`.
    pub(super) fn synced(&mut self, nn: usize, epoch: u64, txid: u64) {
        let later = self.nns[nn].sent.split_off(&(txid + 1));
        let synced = std::mem::replace(&mut self.nns[nn].sent, later);
        for (txid, frame) in synced {
            self.stays(epoch, txid, &frame);
        }
    }

    /// A transaction stays, as the writer of this epoch knows.
    fn stays(&mut self, epoch: u64, txid: u64, frame: &[u8]) {
        let verdict = self.truth.acknowledged.acknowledge(epoch, txid, ops::hash(frame));
        self.check(verdict);
        let known = self.truth.known();
        if txid == known + 1 {
            self.truth.learn(frame);
            self.datanodes_learn(frame);
        } else if txid > known {
            self.check(Err(format!("transaction {txid} stays, and {} is not there", known + 1)));
        }
    }

    /// A NameNode has recovered the journal.
    pub(super) fn recovered(&mut self, nn: usize, epoch: u64, last: Option<u64>) {
        self.nns[nn].sent.clear();
        self.became_writer(nn, epoch);
        let known = self.truth.known();
        let log = self.finalized_log();
        let end = last
            .or_else(|| log.last_key_value().map(|(txid, _)| *txid))
            .unwrap_or(known);
        self.say(format_args!(
            "NameNode {nn} is the writer of epoch {epoch}, behind {last:?}"
        ));
        let verdict = self.truth.acknowledged.recovered(epoch, end);
        self.check(verdict);
        for (txid, frame) in log.range(known + 1..=end.max(known)) {
            self.stays(epoch, *txid, frame);
        }
    }

    /// What no writer has told yet, but stands in a finalized segment.
    fn finalized_log(&self) -> BTreeMap<u64, Vec<u8>> {
        let segments = self.finalized(self.truth.known() + 1);
        let bodies = segments.iter().filter_map(|segment| segment.get(SEGMENT_HEADER_LEN..));
        bodies.flat_map(frames).collect()
    }

    /// The writer in office goes on in another epoch.
    pub(super) fn reelected(&mut self, nn: usize, epoch: u64) {
        self.mark("elected anew in office");
        self.became_writer(nn, epoch);
        self.nns[nn].epoch = epoch;
        self.truth.service.became_active(nn, epoch);
    }

    fn became_writer(&mut self, nn: usize, epoch: u64) {
        let life = self.nns[nn].life;
        let verdict = self.truth.epochs.became_writer(epoch, nn, life);
        self.check(verdict);
    }

    /// A NameNode begins to serve, behind this transaction.
    pub(super) fn becomes_active(&mut self, nn: usize, applied: u64, digest: u64) {
        let Some(shell) = self.nns[nn].shell.clone() else {
            return;
        };
        let epoch = shell.look(|process| process.epoch.0);
        self.nns[nn].epoch = epoch;
        self.truth.service.became_active(nn, epoch);
        self.mark("became active");
        self.compare_digest(nn, applied, digest);
    }

    /// A namespace that holds everything up to `txid`, and ops of segments behind it.
    fn compare_replica(&mut self, nn: usize, txid: u64) {
        if let Some(shell) = self.nns[nn].shell.clone() {
            self.compare_digest(nn, txid, shell.digest_at(txid));
        }
    }

    fn compare_digest(&mut self, nn: usize, txid: u64, own: u64) {
        let Some(digest) = self.truth.digest_at(txid) else {
            return;
        };
        let journal = self.truth.replicas.saw("the journal", txid, digest);
        self.check(journal);
        let verdict = self.truth.replicas.saw(&format!("NameNode {nn}"), txid, own);
        self.check(verdict);
    }

    /// Looks at all namespaces that show nothing but what stays, and whether all is well in the end.
    pub(super) fn look(&mut self) {
        self.after(LOOK_EVERY, Event::Look);
        for nn in 0..self.nns.len() {
            self.truth.remembered_from = self.truth.remembered_from.max(self.remembers_from(nn));
            if self.plan.mutant.is_none() {
                self.nns[nn].check();
            }
            let Some(shell) = &self.nns[nn].shell else { continue };
            let (role, applied) = shell.look(|process| (process.ns.role(), process.ns.edit_log().applied().0));
            if role != Role::Standby {
                continue;
            }
            if applied > self.truth.known() {
                // A writer may have died between the end of a recovery and its next word.
                for (txid, frame) in self.finalized_log() {
                    self.stays(0, txid, &frame);
                }
            }
            if applied <= self.truth.known() {
                self.compare_replica(nn, applied);
            } else {
                let known = self.truth.known();
                self.check(Err(format!(
                    "standby {nn} has applied {applied}, and nobody knows of more than {known} that it stays"
                )));
            }
        }
        self.look_at_bounds();
        if self.healed && self.unfinished().is_none() {
            self.done = true;
        }
    }

    fn remembers_from(&self, nn: usize) -> u64 {
        let shell = self.nns[nn].shell.as_ref();
        shell.map_or(0, |shell| shell.look(|process| process.remembers_from))
    }

    /// Nothing grows without bound.
    fn look_at_bounds(&mut self) {
        for nn in 0..self.nns.len() {
            let Some(shell) = &self.nns[nn].shell else { continue };
            let (waiting, remembered) = shell.look(|process| (process.gate.len(), process.ns.retry_cache().len()));
            // Each attempt of each client may wait here, as long as a change of role takes.
            if waiting > 100 {
                self.check(Err(format!("{waiting} replies wait at NameNode {nn}")));
            }
            if remembered as u64 > self.truth.known() + 1_000 {
                self.check(Err(format!("NameNode {nn} remembers {remembered} answers")));
            }
            let outstanding: usize = self.nns[nn].connections.iter().map(|end| end.outstanding.len()).sum();
            if outstanding > 200 {
                self.check(Err(format!("{outstanding} calls of NameNode {nn} are under way")));
            }
        }
        if self.singles.len() > 1_000 {
            let count = self.singles.len();
            self.check(Err(format!("{count} calls are under way")));
        }
    }

    // ---- the end

    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.say(format_args!("the faults end"));
        self.partitions.heal();
        self.heal_name_dirs();
        for jn in 0..self.jns.len() {
            self.jns[jn].slowness = 1;
            self.start_journalnode(jn);
        }
        for nn in 0..self.nns.len() {
            self.nns[nn].paused_until = 0;
            self.start_namenode(nn);
            self.start_controller(nn);
        }
        self.heal_datanodes();
    }

    /// What is not as it has to be in the end, if anything.
    pub(super) fn unfinished(&mut self) -> Option<String> {
        if let Some(client) = self.clients.iter().position(|client| !client.is_done()) {
            return Some(format!("client {client} waits: {}", self.clients[client].describe()));
        }
        let roles: Vec<_> = self
            .nns
            .iter()
            .map(|nn| {
                let shell = nn.shell.as_ref()?;
                Some(shell.look(|process| {
                    let log = &process.ns.edit_log();
                    (
                        process.ns.role(),
                        log.applied().0,
                        log.has_unsynced(),
                        process.gate.len(),
                    )
                }))
            })
            .collect();
        let mut active = roles.iter().flatten().filter(|(role, ..)| *role == Role::Active);
        let Some((_, last, false, 0)) = active.next() else {
            return Some(format!("no active, or one that is not at rest: {roles:?}"));
        };
        let caught_up = |nn: &Option<(Role, u64, bool, usize)>| match nn {
            Some((Role::Active, ..)) => true,
            Some((Role::Standby, applied, ..)) => applied == last,
            _ => false,
        };
        if active.next().is_some() || !roles.iter().all(caught_up) {
            return Some(format!("not one active and standbys that have caught up: {roles:?}"));
        }
        let last = *last;
        for nn in 0..self.nns.len() {
            self.compare_replica(nn, last);
        }
        if let Some(what) = self.unfinished_files() {
            return Some(what);
        }
        (self.truth.known() < last).then(|| format!("{last} was applied, {} is known to stay", self.truth.known()))
    }

    pub(super) fn no_progress(&mut self) {
        if let Some(what) = self.unfinished() {
            self.check(Err(format!(
                "all was healed for {} us, and {what}",
                self.knobs.patience
            )));
        }
        self.done = true;
    }
}

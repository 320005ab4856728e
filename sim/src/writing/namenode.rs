//! NameNodes that serve each call at once: the production's namesystem, and the log that all of them share.

use super::namenodes::{Answer, ClientCall, NameNodes};
use super::{DATANODES, World, WritingMutant};
use crate::namenode::namespace_info;
use bytes::Bytes;
use hathi_blockmanager::{AdminState, BlockManagerConfig, Now};
use hathi_formats::editlog::{EditOp, Frames, decode_frame};
use hathi_formats::exceptions;
use hathi_formats::ids::{LayoutVersion, TxId};
use hathi_formats::protocols::{CLIENT_PROTOCOL, DATANODE_PROTOCOL};
use hathi_namespace::Namespace;
use hathi_namesystem::calls;
use hathi_namesystem::edit_log::LogItem;
use hathi_namesystem::loader::{NamesystemParts, assemble};
use hathi_namesystem::retry_cache::RetryCacheOptions;
use hathi_namesystem::{CallContext, Deferred, Life, Namesystem, NamesystemConfig, Role, monitor};

/// Limits are short, so that runs get to see them.
const LEASE_SOFT_LIMIT_MS: u64 = 15_000;
const LEASE_HARD_LIMIT_MS: u64 = 40_000;

/// A transaction of the shared log.
pub(super) type Edit = (TxId, EditOp);

pub(super) struct NameNode {
    pub(super) up: bool,
    pub(super) ns: Namesystem,
    /// When it last heard of each DataNode, and since when it listens, monotonic ms.
    pub(super) heard_ms: [u64; DATANODES],
    pub(super) listens_since_ms: u64,
}

impl NameNode {
    /// A standby that has loaded the log: the first part of it as from an image.
    pub(super) fn new(log: &[Edit], image: TxId, seed: u64, mutant: Option<WritingMutant>, now: Now) -> NameNode {
        let parts = NamesystemParts {
            config: NamesystemConfig {
                min_block_size: 1,
                superuser: "hdfs".to_owned(),
                lease_hard_limit_ms: LEASE_HARD_LIMIT_MS,
                access_time_precision_ms: 0,
                ..NamesystemConfig::default()
            },
            blockmanager: block_manager(seed),
            retry_cache: RetryCacheOptions::default(),
            info: namespace_info(),
        };
        let mut namespace = Namespace::new(hathi_namespace::NamespaceConfig {
            min_block_size_bytes: 1,
            lease_soft_limit_ms: LEASE_SOFT_LIMIT_MS,
            lease_hard_limit_ms: LEASE_HARD_LIMIT_MS,
            access_time_precision_ms: 0,
            ..hathi_namespace::NamespaceConfig::default()
        });
        for (txid, op) in log.iter().filter(|(txid, _)| *txid <= image) {
            namespace.apply(txid.0, op).expect("the log applies");
        }
        let mut ns = assemble(parts, namespace, image, Life::first());
        ns.plant_in_blockmanager(match mutant {
            // A NameNode that judges results refuses what comes of the other bug, too, and it is asked again.
            Some(WritingMutant::ResultsUnjudged | WritingMutant::UnreachableIsAbsent) => {
                Some(hathi_blockmanager::Mutant::ResultsUnjudged)
            }
            Some(WritingMutant::ReportsNotAwaited) => Some(hathi_blockmanager::Mutant::ReportsNotAwaited),
            Some(WritingMutant::OpenBlocksMayGo) => Some(hathi_blockmanager::Mutant::OpenBlocksMayGo),
            _ => None,
        });
        let mut namenode = NameNode {
            up: true,
            ns,
            heard_ms: [0; DATANODES],
            listens_since_ms: now.monotonic_ms,
        };
        namenode.tail(log, now);
        namenode.ns.activate_safe_mode(now);
        namenode.ns.become_standby().expect("a new one becomes a standby");
        namenode
    }

    /// Applies what it has not applied yet.
    fn tail(&mut self, log: &[Edit], now: Now) {
        let applied = self.ns.edit_log().applied().0 as usize;
        for (txid, op) in log.get(applied..).unwrap_or_default() {
            let replayed = self.ns.replay(*txid, op, now.monotonic_ms);
            replayed.expect("a standby applies what was logged");
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.up && self.ns.role() == Role::Active
    }

    pub(super) fn index_of(&self, node: usize) -> Option<hathi_blockmanager::DatanodeIndex> {
        self.ns.blockmanager().find_datanode(&super::talk::uuid(node))
    }
}

fn block_manager(seed: u64) -> BlockManagerConfig {
    BlockManagerConfig {
        heartbeat_recheck_ms: 5_000,
        stale_interval_ms: 12_000,
        pending_timeout_ms: 20_000,
        excess_timeout_ms: 60_000,
        safemode_extension_ms: 0,
        consider_load: false,
        seed,
        ..BlockManagerConfig::default()
    }
}

/// All of them.
pub(super) struct Pair {
    /// Every edit. A majority of the JournalNodes has each at once: the journal has a simulator of its own.
    log: Vec<Edit>,
    pub(super) all: Vec<NameNode>,
}

impl Pair {
    pub(super) fn new(count: usize, mut seed: impl FnMut() -> u64, mutant: Option<WritingMutant>, now: Now) -> Pair {
        Pair {
            log: Vec::new(),
            all: (0..count)
                .map(|_| NameNode::new(&[], TxId(0), seed(), mutant, now))
                .collect(),
        }
    }

    fn serve(&mut self, at: usize, context: &CallContext, protocol: &str, method: &str, body: Bytes) -> Answer {
        let handler = calls::lookup(protocol, method).expect("a method of the protocol");
        let ns = &mut self.all[at].ns;
        let reply = handler.run(ns, context, &body);
        self.ship(at);
        match reply.deferred {
            Some(Deferred::TellCorrupt(_)) | None => reply.result,
            Some(other) => panic!("nothing here asks for {other:?}"),
        }
    }

    fn serve_client(&mut self, (client, call_id): (u64, u64), method: &str, body: Bytes, now: Now) -> Option<Answer> {
        let context = CallContext {
            client_id: [client.to_be_bytes(), [7; 8]].concat().into(),
            call_id: call_id as i32,
            ..context(now)
        };
        let answer = self.serve(self.active()?, &context, CLIENT_PROTOCOL.name, method, body);
        let again = |refusal: &exceptions::RemoteException| {
            refusal.is(exceptions::RETRIABLE) || refusal.is(exceptions::STANDBY)
        };
        Some(answer).filter(|answer| !answer.as_ref().is_err_and(again))
    }

    /// What a NameNode logged is durable.
    fn ship(&mut self, at: usize) {
        let ns = &mut self.all[at].ns;
        for item in ns.take_logged() {
            let LogItem::Edits { bytes, .. } = item else { continue };
            for frame in Frames::new(&bytes, 0) {
                let frame = frame.expect("a frame that was just made");
                let op = decode_frame(&frame, LayoutVersion::NAMENODE_CURRENT).expect("what is logged can be read");
                self.log.push((frame.txid, op));
            }
        }
        let applied = ns.edit_log().applied();
        if self.all[at].is_active() {
            self.all[at].ns.edit_log().on_synced(applied);
        }
    }
}

fn context(now: Now) -> CallContext {
    CallContext {
        user: "hdfs".into(),
        groups: [].into(),
        superuser: true,
        client_ip: None,
        client_id: Default::default(),
        call_id: -2,
        retry_count: 0,
        passed_on: None,
        now_ms: now.wall_ms,
        mono_ms: now.monotonic_ms,
    }
}

impl NameNodes for Pair {
    fn count(&self) -> usize {
        self.all.len()
    }

    fn reaches(&self, _: usize, at: usize) -> bool {
        self.all[at].up
    }

    fn call(&mut self, call: ClientCall, now: Now) -> Option<Answer> {
        self.serve_client((call.client, call.call_id), call.method, call.body, now)
    }

    fn was_repeated(&self, _: usize) -> bool {
        false
    }

    fn give_up(&mut self, _: usize) {}

    fn read(&mut self, method: &'static str, body: Bytes, now: Now) -> Option<Answer> {
        self.serve_client((0, 0), method, body, now)
    }

    fn tell(&mut self, node: usize, at: usize, method: &'static str, body: Bytes, now: Now) -> Answer {
        if method == "registerDatanode" {
            self.all[at].heard_ms[node] = now.monotonic_ms;
        }
        self.serve(at, &context(now), DATANODE_PROTOCOL.name, method, body)
    }

    fn heartbeat(&mut self, node: usize, at: usize, body: Bytes, now: Now) -> Option<Answer> {
        self.all[at].heard_ms[node] = now.monotonic_ms;
        Some(self.tell(node, at, "sendHeartbeat", body, now))
    }

    fn late_answer(&mut self, _: usize, _: usize) -> Option<Answer> {
        None
    }

    fn active(&self) -> Option<usize> {
        self.all.iter().position(NameNode::is_active)
    }

    fn look<T>(&self, at: usize, look: impl FnOnce(&Namesystem) -> T) -> T {
        look(&self.all[at].ns)
    }

    fn settled<T>(&self, look: impl FnOnce(&Namespace) -> T) -> Option<T> {
        Some(look(self.all[self.active()?].ns.namespace()))
    }

    fn takes_for_dead(&self, at: usize, node: usize, now: Now) -> bool {
        let since_ms = self.all[at].heard_ms[node].max(self.all[at].listens_since_ms);
        now.monotonic_ms.saturating_sub(since_ms) >= block_manager(0).heartbeat_expire_ms()
    }
}

impl World<Pair> {
    /// `to` becomes active; the other one steps down, or is killed.
    pub(super) fn take_over(&mut self, to: usize, killed: bool) {
        if !self.namenodes.all[to].up {
            return;
        }
        self.say(|| format!("NameNode {to} takes over, the other one killed: {killed}"));
        self.count("failovers");
        let mut replaces = false;
        for other in 0..self.namenodes.count() {
            if !self.namenodes.all[other].is_active() {
                continue;
            }
            replaces = true;
            if killed && other != to {
                self.stop_namenode(other);
                continue;
            }
            let wall_ms = self.now.wall_ms;
            self.namenodes.all[other]
                .ns
                .begin_stepping_down()
                .expect("it is active");
            self.namenodes.all[other].ns.close_edit_log().expect("its log is open");
            self.namenodes.ship(other);
            let ns = &mut self.namenodes.all[other].ns;
            ns.edit_log().on_synced(ns.edit_log().applied());
            ns.end_stepping_down(wall_ms).expect("it steps down");
        }
        let now = self.now;
        let namenode = &mut self.namenodes.all[to];
        namenode.tail(&self.namenodes.log, now);
        namenode.ns.begin_activation().expect("it is a standby");
        namenode.ns.start_active(now).expect("its namespace is whole");
        if replaces {
            namenode.ns.take_over_blocks();
        }
        self.namenodes.ship(to);
    }

    fn stop_namenode(&mut self, at: usize) {
        self.namenodes.all[at].up = false;
        self.namenode_died(at);
    }

    /// All its soft state is lost.
    pub(super) fn restart_namenode(&mut self, at: usize) {
        self.say(|| format!("NameNode {at} is restarted"));
        self.stop_namenode(at);
        let seed = self.rng.u64(..);
        let image = TxId(self.rng.u64(0..=self.namenodes.log.len() as u64));
        self.namenodes.all[at] = NameNode::new(&self.namenodes.log, image, seed, self.mutant, self.now);
        if self.namenodes.active().is_none() {
            self.take_over(at, false);
        }
    }

    /// What a NameNode does by itself.
    pub(super) fn tend(&mut self, at: usize) {
        let now = self.now;
        if !self.namenodes.all[at].up {
            if self.unlucky(30) {
                self.restart_namenode(at);
            }
            return;
        }
        let namenode = &mut self.namenodes.all[at];
        if !namenode.is_active() {
            namenode.tail(&self.namenodes.log, now);
        }
        let ns = &mut namenode.ns;
        while ns.heartbeat_check(now, 100) {}
        while monitor::check_redundancy(ns, now, 100) {}
        ns.check();
        monitor::check_leases(ns, now);
        while ns.reclaim(100) {}
        self.namenodes.ship(at);
        if let Some(leaving) = self.leaving {
            self.set_admin_state(at, leaving, AdminState::DecommissionInProgress);
        }
    }

    /// An administrator has seen that what is missing does not come back.
    pub(super) fn leave_safe_mode(&mut self) {
        let now = self.now;
        for at in 0..self.namenodes.all.len() {
            let namenode = &mut self.namenodes.all[at];
            if namenode.is_active() && namenode.ns.blockmanager().in_safe_mode() {
                self.count("safe modes that were left by hand");
                self.namenodes.all[at].ns.leave_safe_mode(true, now);
            }
        }
    }

    /// An administrator wants to be rid of a DataNode, or has thought better of it.
    pub(super) fn decommission(&mut self, node: usize) {
        if self.leaving.is_some() {
            return self.recommission();
        }
        self.say(|| format!("DataNode {node} is to be decommissioned"));
        self.leaving = Some(node);
        for at in 0..self.namenodes.count() {
            self.set_admin_state(at, node, AdminState::DecommissionInProgress);
        }
    }

    pub(super) fn recommission(&mut self) {
        let Some(node) = self.leaving.take() else { return };
        self.say(|| format!("DataNode {node} stays"));
        for at in 0..self.namenodes.count() {
            self.set_admin_state(at, node, AdminState::Normal);
        }
    }

    /// As the lists of hosts say; a NameNode that has finished with a node is not told again.
    fn set_admin_state(&mut self, at: usize, node: usize, state: AdminState) {
        let Some(index) = self.namenodes.all[at].index_of(node) else {
            return;
        };
        let ns = &mut self.namenodes.all[at].ns;
        let known = ns.blockmanager().datanode(index).map(|node| node.admin_state);
        if known != Some(AdminState::Decommissioned) || state == AdminState::Normal {
            ns.set_admin_state(index, state);
        }
    }
}

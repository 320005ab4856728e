//! A NameNode: the production's namesystem, its calls, and the log that all of them share.

use super::{DATANODES, NAMENODES, POOL, World, WritingMutant};
use bytes::Bytes;
use hathi_blockmanager::{AdminState, BlockManagerConfig, Now};
use hathi_formats::editlog::{EditOp, Frames, decode_frame};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{LayoutVersion, NamespaceInfo, TxId};
use hathi_formats::protocols::{CLIENT_PROTOCOL, DATANODE_PROTOCOL};
use hathi_namespace::Namespace;
use hathi_namesystem::calls;
use hathi_namesystem::edit_log::LogItem;
use hathi_namesystem::loader::{Parts, assemble};
use hathi_namesystem::retry_cache::RetryCacheOptions;
use hathi_namesystem::{CallContext, Config, Deferred, Life, Namesystem, Role, monitor};
use prost::Message;

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
        let parts = Parts {
            config: Config {
                min_block_size: 1,
                superuser: "hdfs".to_owned(),
                lease_hard_limit_ms: LEASE_HARD_LIMIT_MS,
                access_time_precision_ms: 0,
                ..Config::default()
            },
            blockmanager: block_manager(seed),
            retry_cache: RetryCacheOptions::default(),
            info: info(),
        };
        let mut namespace = Namespace::new(hathi_namespace::Config {
            min_block_size_bytes: 1,
            lease_soft_limit_ms: LEASE_SOFT_LIMIT_MS,
            lease_hard_limit_ms: LEASE_HARD_LIMIT_MS,
            access_time_precision_ms: 0,
            ..hathi_namespace::Config::default()
        });
        for (txid, op) in log.iter().filter(|(txid, _)| *txid <= image) {
            namespace.apply(txid.0, op).expect("the log applies");
        }
        let mut ns = assemble(parts, namespace, image, Life::first());
        ns.blockmanager.plant(match mutant {
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
        namenode.ns.blockmanager.activate_safe_mode(now);
        namenode
            .ns
            .role
            .change(Role::Standby)
            .expect("a new one becomes a standby");
        namenode
    }

    /// Applies what it has not applied yet.
    fn tail(&mut self, log: &[Edit], now: Now) {
        let applied = self.ns.edit_log.applied().0 as usize;
        for (txid, op) in log.get(applied..).unwrap_or_default() {
            let replayed = self.ns.replay(*txid, op, now.monotonic_ms);
            replayed.expect("a standby applies what was logged");
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.up && self.ns.role == Role::Active
    }

    pub(super) fn index_of(&self, node: usize) -> Option<hathi_blockmanager::DatanodeIndex> {
        self.ns.blockmanager.find_datanode(&super::talk::uuid(node))
    }

    /// Whether the DataNode has been silent for as long as it takes to count as dead.
    pub(super) fn takes_for_dead(&self, node: usize, now: Now) -> bool {
        let since_ms = self.heard_ms[node].max(self.listens_since_ms);
        now.monotonic_ms.saturating_sub(since_ms) >= block_manager(0).heartbeat_expire_ms()
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

pub(super) fn info() -> NamespaceInfo {
    NamespaceInfo {
        block_pool_id: POOL.to_owned(),
        ..NamespaceInfo::default()
    }
}

/// A call that may have been served without its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// No answer, or one that says to ask again, or another NameNode.
    Again,
    /// Refused.
    Refused(RemoteException),
}

impl World {
    pub(super) fn active(&self) -> Option<usize> {
        self.namenodes.iter().position(NameNode::is_active)
    }

    /// The client's call to the active.
    pub(super) fn call<M: Message + Default>(
        &mut self,
        client: u64,
        call_id: u64,
        method: &str,
        request: &impl Message,
    ) -> Result<M, CallError> {
        let answer = self.call_surely(client, call_id, method, request);
        if self.unlucky(40) {
            self.say(|| format!("the answer to {method} is lost"));
            return Err(CallError::Again);
        }
        answer
    }

    /// The same, of which the answer is not lost.
    pub(super) fn call_surely<M: Message + Default>(
        &mut self,
        client: u64,
        call_id: u64,
        method: &str,
        request: &impl Message,
    ) -> Result<M, CallError> {
        let Some(at) = self.active() else {
            return Err(CallError::Again);
        };
        let context = CallContext {
            client_id: [client.to_be_bytes(), [7; 8]].concat().into(),
            call_id: call_id as i32,
            ..self.context()
        };
        match self.serve(at, &context, CLIENT_PROTOCOL.name, method, request) {
            Ok(body) => Ok(M::decode(body).expect("an answer can be read")),
            Err(refusal) if refusal.is(exceptions::RETRIABLE) || refusal.is(exceptions::STANDBY) => {
                Err(CallError::Again)
            }
            Err(refusal) => {
                self.say(|| format!("{method} is refused: {refusal}"));
                Err(CallError::Refused(refusal))
            }
        }
    }

    /// A DataNode's call to a NameNode of any role.
    pub(super) fn call_from_datanode<M: Message + Default>(
        &mut self,
        at: usize,
        method: &str,
        request: &impl Message,
    ) -> Result<M, RemoteException> {
        let context = self.context();
        let body = self.serve(at, &context, DATANODE_PROTOCOL.name, method, request)?;
        Ok(M::decode(body).expect("an answer can be read"))
    }

    fn context(&self) -> CallContext {
        CallContext {
            user: "hdfs".into(),
            groups: [].into(),
            superuser: true,
            client_ip: None,
            client_id: Default::default(),
            call_id: -2,
            retry_count: 0,
            passed_on: None,
            now_ms: self.now.wall_ms,
            mono_ms: self.now.monotonic_ms,
        }
    }

    fn serve(
        &mut self,
        at: usize,
        context: &CallContext,
        protocol: &str,
        method: &str,
        request: &impl Message,
    ) -> Result<Bytes, RemoteException> {
        let verb = calls::lookup(protocol, method).expect("a method of the protocol");
        let body = Bytes::from(request.encode_to_vec());
        let ns = &mut self.namenodes[at].ns;
        let reply = verb.run(ns, context, &body);
        self.ship(at);
        match reply.deferred {
            Some(Deferred::TellCorrupt(_)) | None => reply.result,
            Some(other) => panic!("nothing here asks for {other:?}"),
        }
    }

    /// What a NameNode logged is durable.
    fn ship(&mut self, at: usize) {
        let ns = &mut self.namenodes[at].ns;
        for item in ns.edit_log.take() {
            let LogItem::Edits { bytes, .. } = item else { continue };
            for frame in Frames::new(&bytes, 0) {
                let frame = frame.expect("a frame that was just made");
                let op = decode_frame(&frame, LayoutVersion::NAMENODE_CURRENT).expect("what is logged can be read");
                self.log.push((frame.txid, op));
            }
        }
        let applied = ns.edit_log.applied();
        if self.namenodes[at].is_active() {
            self.namenodes[at].ns.edit_log.on_synced(applied);
        }
    }

    /// `to` becomes active; the other one steps down, or is killed.
    pub(super) fn take_over(&mut self, to: usize, killed: bool) {
        if !self.namenodes[to].up {
            return;
        }
        self.say(|| format!("NameNode {to} takes over, the other one killed: {killed}"));
        self.count("failovers");
        let mut replaces = false;
        for other in 0..NAMENODES {
            if !self.namenodes[other].is_active() {
                continue;
            }
            replaces = true;
            if killed && other != to {
                self.stop_namenode(other);
                continue;
            }
            let wall_ms = self.now.wall_ms;
            self.namenodes[other].ns.begin_stepping_down().expect("it is active");
            self.namenodes[other].ns.edit_log.close().expect("its log is open");
            self.ship(other);
            let ns = &mut self.namenodes[other].ns;
            ns.edit_log.on_synced(ns.edit_log.applied());
            ns.end_stepping_down(wall_ms).expect("it steps down");
        }
        let now = self.now;
        let namenode = &mut self.namenodes[to];
        namenode.tail(&self.log, now);
        namenode.ns.role.change(Role::BecomingActive).expect("it is a standby");
        namenode.ns.start_active(now).expect("its namespace is whole");
        if replaces {
            namenode.ns.blockmanager.take_over();
        }
        self.ship(to);
    }

    fn stop_namenode(&mut self, at: usize) {
        self.namenodes[at].up = false;
        for datanode in &mut self.datanodes {
            datanode.talks[at].broken();
        }
    }

    /// All its soft state is lost.
    pub(super) fn restart_namenode(&mut self, at: usize) {
        self.say(|| format!("NameNode {at} is restarted"));
        self.stop_namenode(at);
        let seed = self.rng.u64(..);
        let image = TxId(self.rng.u64(0..=self.log.len() as u64));
        self.namenodes[at] = NameNode::new(&self.log, image, seed, self.mutant, self.now);
        if self.active().is_none() {
            self.take_over(at, false);
        }
    }

    /// What a NameNode does by itself.
    pub(super) fn tend(&mut self, at: usize) {
        let now = self.now;
        if !self.namenodes[at].up {
            if self.unlucky(30) {
                self.restart_namenode(at);
            }
            return;
        }
        let namenode = &mut self.namenodes[at];
        if !namenode.is_active() {
            namenode.tail(&self.log, now);
        }
        let ns = &mut namenode.ns;
        while ns.blockmanager.heartbeat_check(now, 100) {}
        while ns.blockmanager.redundancy_tick(now, 100) {}
        ns.check();
        monitor::check_leases(ns, now);
        while ns.reclaim(100) {}
        self.ship(at);
        if let Some(leaving) = self.leaving {
            self.set_admin_state(at, leaving, AdminState::DecommissionInProgress);
        }
    }

    /// An administrator wants to be rid of a DataNode, or has thought better of it.
    pub(super) fn decommission(&mut self, node: usize) {
        if self.leaving.is_some() {
            return self.recommission();
        }
        self.say(|| format!("DataNode {node} is to be decommissioned"));
        self.leaving = Some(node);
        for at in 0..NAMENODES {
            self.set_admin_state(at, node, AdminState::DecommissionInProgress);
        }
    }

    pub(super) fn recommission(&mut self) {
        let Some(node) = self.leaving.take() else { return };
        self.say(|| format!("DataNode {node} stays"));
        for at in 0..NAMENODES {
            self.set_admin_state(at, node, AdminState::Normal);
        }
    }

    /// As the lists of hosts say; a NameNode that has finished with a node is not told again.
    fn set_admin_state(&mut self, at: usize, node: usize, state: AdminState) {
        let Some(index) = self.namenodes[at].index_of(node) else {
            return;
        };
        let manager = &mut self.namenodes[at].ns.blockmanager;
        let known = manager.datanode(index).map(|node| node.admin_state);
        if known != Some(AdminState::Decommissioned) || state == AdminState::Normal {
            manager.set_admin_state(index, state);
        }
    }
}

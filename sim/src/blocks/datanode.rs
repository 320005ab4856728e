//! A DataNode: which NameNode it obeys, its copies, its orders, and its conversations.

use super::namenode::stats;
use super::{BlockMutant, Copy, DATANODES, NAMENODES, POOL, Told, World, block, uuid};
use bytes::Bytes;
use hathi_blockmanager::{BlockReport, IncrementalNotice, ReportProgress};
use hathi_blockpool::{
    ActorId, BlockReportBuilder, Claim, ClaimId, HaState, IncrementalReports, NoticeKind, OfferService,
    ReceivedDeleted, Replica, ReplicaState, VolumeId,
};
use hathi_formats::proto::datanode::block_command_proto::Action;
use hathi_formats::proto::datanode::{DatanodeCommandProto, StorageBlockReportProto};
use hathi_formats::proto::hdfs::{DatanodeIdProto, DatanodeStorageProto};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Where the one call of a conversation stands.
#[derive(Default)]
pub(crate) enum Talk {
    #[default]
    Idle,
    /// A heartbeat's answer is on its way.
    Answer(Answer),
    /// A full report is on its way, then worked through.
    Report {
        lease: u64,
        unread: Option<StorageBlockReportProto>,
        begun: Option<BlockReport>,
    },
}

pub(crate) struct Answer {
    state: HaState,
    txid: i64,
    lease: u64,
    register: bool,
    commands: Vec<DatanodeCommandProto>,
    /// What the NameNode was told of corrupt copies when its orders left.
    known_bad: Told,
}

/// The conversation with one NameNode.
#[derive(Default)]
pub(crate) struct Conversation {
    pub(crate) talk: Talk,
    registered: bool,
    /// The last call had no answer, or a refusal: a heartbeat comes first.
    must_heartbeat: bool,
    lease: u64,
    wants_report: bool,
    notices: IncrementalReports,
    bad_untold: BTreeSet<i64>,
}

impl Conversation {
    pub(crate) fn broken(&mut self) {
        self.talk = Talk::Idle;
        self.must_heartbeat = true;
    }

    fn is_ready(&self) -> bool {
        matches!(self.talk, Talk::Idle) && self.registered && !self.must_heartbeat
    }
}

struct Command {
    claim: ClaimId,
    from: ActorId,
    deletions: VecDeque<i64>,
    known_bad: Told,
}

pub(crate) struct DataNode {
    pub(crate) up: bool,
    pub(crate) copies: BTreeMap<i64, Copy>,
    pub(crate) talks: [Conversation; NAMENODES],
    offer: OfferService,
    commands: VecDeque<Command>,
    begun: Option<Command>,
    transfers: Vec<(i64, usize)>,
    bad_known: BTreeSet<i64>,
}

impl DataNode {
    pub(crate) fn new() -> DataNode {
        DataNode {
            up: true,
            copies: BTreeMap::new(),
            talks: Default::default(),
            offer: OfferService::new(),
            commands: VecDeque::new(),
            begun: None,
            transfers: Vec::new(),
            bad_known: BTreeSet::new(),
        }
    }

    fn notify(&mut self, node: usize, id: i64, kind: NoticeKind) {
        for talk in &mut self.talks {
            let notice = ReceivedDeleted {
                block: block(id),
                kind,
                delete_hint: String::new(),
            };
            talk.notices.notify(&format!("DS-{node}"), notice);
        }
        if kind == NoticeKind::Deleted {
            self.bad_known.remove(&id);
        }
    }

    fn found_bad(&mut self, id: i64) {
        if self.bad_known.insert(id) {
            for talk in &mut self.talks {
                talk.bad_untold.insert(id);
            }
        }
    }

    fn report(&self, node: usize) -> StorageBlockReportProto {
        let mut builder = BlockReportBuilder::new();
        for &id in self.copies.keys() {
            builder.add(&Replica::at_rest(block(id), ReplicaState::Finalized, VolumeId(0)));
        }
        let (count, buffers): (u64, Vec<Bytes>) = builder.finish();
        StorageBlockReportProto {
            storage: storage(node),
            blocks: Vec::new(),
            number_of_blocks: Some(count),
            blocks_buffers: buffers,
        }
    }
}

fn storage(node: usize) -> DatanodeStorageProto {
    DatanodeStorageProto {
        storage_uuid: format!("DS-{node}"),
        state: None,
        storage_type: None,
    }
}

fn identity(node: usize) -> DatanodeIdProto {
    DatanodeIdProto {
        ip_addr: format!("10.0.0.{node}"),
        host_name: format!("dn{node}"),
        datanode_uuid: uuid(node),
        xfer_port: 9866,
        ..DatanodeIdProto::default()
    }
}

impl World {
    pub(super) fn kill_or_start_datanode(&mut self, node: usize) {
        let copies = std::mem::take(&mut self.datanodes[node].copies);
        let up = !self.datanodes[node].up;
        self.say(|| format!("DataNode {node} up: {up}"));
        self.datanodes[node] = DataNode {
            up,
            copies,
            ..DataNode::new()
        };
    }

    /// The NameNode sees the heartbeat; its answer is on its way.
    pub(super) fn heartbeat(&mut self, node: usize, to: usize) {
        let txid = self.term * 1000 + self.log.len() as i64;
        let (datanode, namenode) = (&mut self.datanodes[node], &mut self.namenodes[to]);
        let talk = &mut datanode.talks[to];
        if !datanode.up || !namenode.up || !matches!(talk.talk, Talk::Idle) {
            return;
        }
        if !talk.registered {
            return self.register(node, to);
        }
        let manager = &mut namenode.manager;
        let active = manager.is_active();
        let mut answer = Answer {
            state: if active { HaState::Active } else { HaState::Standby },
            txid,
            lease: 0,
            register: false,
            commands: Vec::new(),
            known_bad: Told::new(),
        };
        let asks = self.mutant != Some(BlockMutant::NoNewRegistration);
        match manager.datanode_by_uuid(&uuid(node)) {
            Ok(index) if !(asks && manager.wants_registration(index)) => {
                manager.heartbeat(index, stats(node), self.now);
                if talk.wants_report && talk.lease == 0 {
                    answer.lease = manager.request_report_lease(index, self.now);
                }
                if active {
                    manager.told_active(index);
                    answer.commands = manager.take_commands(index, POOL, self.now);
                    answer.known_bad = namenode.told.clone();
                }
            }
            _ => answer.register = true,
        }
        talk.talk = Talk::Answer(answer);
    }

    fn register(&mut self, node: usize, to: usize) {
        let now = self.now;
        let datanode = &mut self.datanodes[node];
        if self.namenodes[to]
            .manager
            .register(identity(node), "3.5.0", now)
            .is_err()
        {
            return;
        }
        datanode.offer.on_registered(ActorId(to));
        let talk = &mut datanode.talks[to];
        talk.registered = true;
        talk.wants_report = true;
        talk.lease = 0;
        talk.bad_untold.extend(&datanode.bad_known);
        self.say(|| format!("{node} registers with NameNode {to}"));
    }

    /// What is on its way arrives, or the NameNode goes on with it.
    pub(super) fn hear(&mut self, node: usize, to: usize) {
        match std::mem::take(&mut self.datanodes[node].talks[to].talk) {
            Talk::Idle => {}
            Talk::Answer(answer) => self.hear_answer(node, to, answer),
            Talk::Report { lease, unread, begun } => self.work_on_report(node, to, lease, unread, begun),
        }
    }

    fn hear_answer(&mut self, node: usize, to: usize, answer: Answer) {
        let actor = ActorId(to);
        let datanode = &mut self.datanodes[node];
        let claim = datanode.offer.on_heartbeat(actor, answer.state, answer.txid);
        let talk = &mut datanode.talks[to];
        talk.must_heartbeat = false;
        if !matches!(claim, Claim::Refused { .. }) && answer.lease != 0 {
            talk.lease = answer.lease;
        }
        talk.wants_report |= matches!(claim, Claim::Accepted { .. });
        if let Some(claim) = datanode.offer.claim_of(actor) {
            for command in answer.commands.iter().filter_map(|command| command.blk_cmd.as_ref()) {
                let ids = command.blocks.iter().map(|block| block.block_id as i64);
                if command.action() == Action::Invalidate {
                    datanode.commands.push_back(Command {
                        claim,
                        from: actor,
                        deletions: ids.collect(),
                        known_bad: answer.known_bad.clone(),
                    });
                } else {
                    for (id, targets) in ids.zip(&command.targets) {
                        let to = targets
                            .datanodes
                            .iter()
                            .filter_map(|target| target.id.datanode_uuid.strip_prefix("uuid-")?.parse().ok());
                        datanode.transfers.extend(to.map(|to| (id, to)));
                    }
                }
            }
        }
        self.say(|| {
            format!(
                "{node} hears of NameNode {to}: {:?}, {claim:?}, {} commands, register: {}",
                answer.state,
                answer.commands.len(),
                answer.register
            )
        });
        if answer.register && self.namenodes[to].up {
            self.register(node, to);
        }
    }

    pub(super) fn lose(&mut self, node: usize, to: usize) {
        if !matches!(self.datanodes[node].talks[to].talk, Talk::Idle) {
            self.say(|| format!("what is on its way between {node} and NameNode {to} is lost"));
            self.datanodes[node].talks[to].broken();
        }
    }

    pub(super) fn lifeline(&mut self, node: usize, to: usize) {
        let namenode = &mut self.namenodes[to];
        if namenode.up
            && self.datanodes[node].up
            && let Ok(index) = namenode.manager.datanode_by_uuid(&uuid(node))
        {
            namenode.manager.lifeline(index, stats(node), self.now);
        }
    }

    /// False when the NameNode can't be told anything else now.
    pub(super) fn send_notices(&mut self, node: usize, to: usize) -> bool {
        let (datanode, namenode) = (&mut self.datanodes[node], &mut self.namenodes[to]);
        let talk = &mut datanode.talks[to];
        if !datanode.up || !namenode.up || !talk.is_ready() {
            return false;
        }
        let Ok(index) = namenode.manager.datanode_by_uuid(&uuid(node)) else {
            talk.must_heartbeat = true;
            return false;
        };
        let taken = talk.notices.take(usize::MAX);
        for notice in taken.iter().flat_map(|(_, notices)| notices) {
            let kind = match notice.kind {
                NoticeKind::Receiving => IncrementalNotice::Receiving,
                NoticeKind::Received => IncrementalNotice::Received,
                NoticeKind::Deleted => IncrementalNotice::Deleted,
            };
            let storage = storage(node);
            namenode
                .manager
                .incremental_report(index, &storage, notice.block, kind, None, self.now);
        }
        if !taken.is_empty() && self.rng.u32(..8) == 0 {
            // The answer is lost: they come again.
            talk.notices.put_back(taken);
            talk.must_heartbeat = true;
            return false;
        }
        true
    }

    pub(super) fn tell_bad(&mut self, node: usize, to: usize) {
        if !self.datanodes[node].up || !self.datanodes[node].talks[to].is_ready() {
            return;
        }
        for id in self.datanodes[node].talks[to].bad_untold.clone() {
            let bad = self.datanodes[node].copies.get(&id).is_some_and(|copy| !copy.good);
            if !bad || self.told(to, id, node) {
                self.datanodes[node].talks[to].bad_untold.remove(&id);
            }
        }
    }

    pub(super) fn send_report(&mut self, node: usize, to: usize) {
        // Now and then somebody asks for one (`triggerBlockReport`), which needs no lease.
        let forced = self.rng.u32(..4) == 0;
        let talk = &self.datanodes[node].talks[to];
        let due = talk.is_ready() && (forced || (talk.wants_report && talk.lease != 0));
        if !due || !self.datanodes[node].offer.may_report_to(ActorId(to)) || !self.send_notices(node, to) {
            return;
        }
        let report = self.datanodes[node].report(node);
        let talk = &mut self.datanodes[node].talks[to];
        talk.talk = Talk::Report {
            lease: if forced { 0 } else { talk.lease },
            unread: Some(report),
            begun: None,
        };
        self.say(|| format!("{node} sends NameNode {to} all it has"));
    }

    fn work_on_report(
        &mut self,
        node: usize,
        to: usize,
        lease: u64,
        mut unread: Option<StorageBlockReportProto>,
        mut begun: Option<BlockReport>,
    ) {
        let now = self.now;
        let namenode = &mut self.namenodes[to];
        let talk = &mut self.datanodes[node].talks[to];
        let index = namenode.manager.datanode_by_uuid(&uuid(node));
        let Ok(index) = index else {
            return talk.broken();
        };
        if let Some(report) = unread.take() {
            if namenode.manager.check_report_lease(index, lease, now).is_err() {
                talk.lease = 0;
                return talk.broken();
            }
            begun = namenode.manager.begin_report(index, report).unwrap_or(None);
        }
        if let Some(report) = &mut begun
            && namenode.manager.report_slice(report, 2, now) == Ok(ReportProgress::More)
        {
            talk.talk = Talk::Report { lease, unread, begun };
            return;
        }
        namenode.manager.end_report_lease(index);
        talk.lease = 0;
        talk.wants_report = false;
        self.say(|| format!("NameNode {to} has all of {node}"));
    }

    /// Reads what is there, as the scanner does.
    pub(super) fn scan(&mut self, node: usize, id: i64) {
        let datanode = &mut self.datanodes[node];
        if datanode.up && datanode.copies.get(&id).is_some_and(|copy| !copy.good) {
            datanode.found_bad(id);
        }
    }

    /// One step of a command, or a copy.
    pub(super) fn work(&mut self, node: usize) {
        if !self.datanodes[node].up {
            return;
        }
        if self.rng.bool() && !self.datanodes[node].transfers.is_empty() {
            let (id, target) = self.datanodes[node].transfers.swap_remove(0);
            return self.copy(node, id, target);
        }
        let once = self.is(BlockMutant::AskOncePerCommand);
        let any = self.is(BlockMutant::AnyClaimOfTheNameNode);
        let datanode = &mut self.datanodes[node];
        let counts = |offer: &OfferService, command: &Command| {
            if any {
                offer.claim_of(command.from).is_some()
            } else {
                offer.holds(command.claim)
            }
        };
        let Some(mut command) = datanode.begun.take() else {
            datanode.begun = datanode
                .commands
                .pop_front()
                .filter(|command| counts(&datanode.offer, command));
            return;
        };
        if !once && !counts(&datanode.offer, &command) {
            return self.count("commands that ended with their claim");
        }
        let Some(id) = command.deletions.pop_front() else {
            return;
        };
        self.delete(node, id, &command.known_bad);
        self.datanodes[node].begun = Some(command);
    }

    /// A balancer, or an administrator with a disk, brings one more.
    pub(super) fn bring_copy(&mut self, node: usize, id: i64) {
        if let Some(from) = (0..DATANODES).find(|&at| self.datanodes[at].copies.get(&id).is_some_and(|copy| copy.good))
        {
            self.copy(from, id, node);
        }
    }

    fn copy(&mut self, node: usize, id: i64, target: usize) {
        let Some(copy) = self.datanodes[node].copies.get(&id).copied() else {
            return;
        };
        if !copy.good {
            // The target finds that it does not match its checksums.
            return self.datanodes[node].found_bad(id);
        }
        if !self.datanodes[target].up || self.datanodes[target].copies.contains_key(&id) {
            return;
        }
        let new = self.new_copy();
        self.datanodes[target].copies.insert(id, new);
        self.datanodes[target].notify(target, id, NoticeKind::Received);
        self.say(|| format!("{id} is copied from {node} to {target}"));
        self.count("copies");
    }

    fn delete(&mut self, node: usize, id: i64, known_bad: &Told) {
        let before = self.good(id);
        let Some(copy) = self.datanodes[node].copies.remove(&id) else {
            return;
        };
        self.datanodes[node].notify(node, id, NoticeKind::Deleted);
        self.say(|| format!("{id} on {node} is deleted, good: {}", copy.good));
        self.count("deletions");
        let left = self
            .datanodes
            .iter()
            .enumerate()
            .filter(|(at, datanode)| {
                datanode
                    .copies
                    .get(&id)
                    .is_some_and(|copy| copy.good || !known_bad.contains(&(id, *at, copy.number)))
            })
            .count();
        let wanted = usize::from(self.replication(id)).min(before);
        // The notices of a bad replica's deletion and of its successor may have been joined into one: to the NameNode the
        // successor is the bad one.
        let looks_bad = known_bad.range((id, node, 0)..=(id, node, u64::MAX)).next().is_some();
        if copy.good && !looks_bad && left < wanted {
            self.violate(format!(
                "{id} was deleted on {node} by order, and {left} are left of {wanted}"
            ));
        }
    }
}

//! What a DataNode and its NameNodes tell each other, and the commands that come of it.

use super::datanode::DataNode;
use super::namenodes::{Answer, NameNodes};
use super::{POOL, World, WritingMutant};
use crate::namenode::namespace_info;
use bytes::Bytes;
use hathi_blockpool::{
    ActorId, BlockReportBuilder, Claim, ClaimId, HaState, IncrementalReports, NoticeKind, ReceivedDeleted, ReplicaState,
};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::datanode::block_command_proto::Action;
use hathi_formats::proto::datanode::received_deleted_block_info_proto::BlockStatus;
use hathi_formats::proto::datanode::{
    BlockReceivedAndDeletedRequestProto, BlockReceivedAndDeletedResponseProto, BlockReportContextProto,
    BlockReportRequestProto, BlockReportResponseProto, DatanodeCommandProto, DatanodeRegistrationProto,
    HeartbeatRequestProto, HeartbeatResponseProto, ReceivedDeletedBlockInfoProto, RegisterDatanodeRequestProto,
    RegisterDatanodeResponseProto, ReportBadBlocksRequestProto, ReportBadBlocksResponseProto, StorageBlockReportProto,
    StorageReceivedDeletedBlocksProto, datanode_command_proto::Type as CommandType,
};
use hathi_formats::proto::hdfs::nnha_status_heartbeat_proto::State;
use hathi_formats::proto::hdfs::{
    BlockProto, DatanodeIdProto, DatanodeInfoProto, DatanodeStorageProto, ExtendedBlockProto, LocatedBlockProto,
    StorageInfoProto, StorageReportProto,
};
use prost::Message;
use std::collections::{BTreeMap, VecDeque};

/// Where the one call of a conversation stands.
#[derive(Default)]
pub(super) enum Call {
    #[default]
    None,
    /// The answer to a heartbeat waits until what it shows will stay.
    Waiting,
    /// A heartbeat's answer is on its way.
    Answer(Box<HeartbeatResponseProto>),
    /// A full report is on its way.
    Report(Box<BlockReportRequestProto>),
}

/// The conversation with one NameNode.
#[derive(Default)]
pub(super) struct Conversation {
    call: Call,
    registered: bool,
    /// The last call had no answer, or a refusal: a heartbeat comes first.
    must_heartbeat: bool,
    lease: u64,
    wants_report: bool,
    notices: IncrementalReports,
    bad: BTreeMap<BlockId, Block>,
}

impl Conversation {
    pub(super) fn broken(&mut self) {
        self.call = Call::None;
        self.must_heartbeat = true;
    }

    /// Nothing is on its way to the NameNode, or waits for it.
    pub(super) fn has_told_all(&self) -> bool {
        self.is_ready() && self.notices.is_empty() && !self.wants_report
    }

    /// Nor does anything that was found bad.
    pub(super) fn has_told_bad(&self) -> bool {
        self.has_told_all() && self.bad.is_empty()
    }

    fn is_ready(&self) -> bool {
        matches!(self.call, Call::None) && self.registered && !self.must_heartbeat
    }
}

/// A command to delete.
pub(super) struct Deletions {
    claim: ClaimId,
    blocks: VecDeque<Block>,
}

pub(super) fn uuid(node: usize) -> String {
    format!("uuid-{node}")
}

/// The DataNode that a NameNode means.
pub(super) fn node_of(id: &DatanodeIdProto) -> usize {
    let number = id.datanode_uuid.strip_prefix("uuid-");
    number
        .and_then(|number| number.parse().ok())
        .expect("a DataNode of this world")
}

pub(super) fn identity(node: usize) -> DatanodeIdProto {
    DatanodeIdProto {
        ip_addr: format!("10.0.0.{node}"),
        host_name: format!("dn{node}"),
        datanode_uuid: uuid(node),
        xfer_port: 9866,
        ..DatanodeIdProto::default()
    }
}

pub(super) fn storage_id(node: usize) -> String {
    format!("DS-{node}")
}

fn storage(node: usize) -> DatanodeStorageProto {
    DatanodeStorageProto {
        storage_uuid: storage_id(node),
        ..DatanodeStorageProto::default()
    }
}

fn registration(node: usize) -> DatanodeRegistrationProto {
    let info = namespace_info();
    DatanodeRegistrationProto {
        datanode_id: identity(node),
        storage_info: StorageInfoProto {
            namespce_id: info.namespace_id,
            cluster_id: info.cluster_id,
            c_time: info.ctime as u64,
            ..StorageInfoProto::default()
        },
        software_version: "3.5.0".to_owned(),
        ..DatanodeRegistrationProto::default()
    }
}

pub(super) fn block_of(block: &BlockProto) -> Block {
    Block {
        id: BlockId(block.block_id as i64),
        num_bytes: block.num_bytes(),
        generation_stamp: GenerationStamp(block.gen_stamp),
    }
}

pub(super) fn extended(block: Block) -> ExtendedBlockProto {
    ExtendedBlockProto {
        pool_id: POOL.to_owned(),
        block_id: block.id.0 as u64,
        generation_stamp: block.generation_stamp.0,
        num_bytes: Some(block.num_bytes),
    }
}

impl DataNode {
    pub(super) fn notify(&mut self, node: usize, block: Block, kind: NoticeKind) {
        if kind == NoticeKind::Deleted {
            self.bad.remove(&block.id);
        }
        for talk in &mut self.talks {
            let notice = ReceivedDeleted {
                block,
                kind,
                delete_hint: String::new(),
            };
            talk.notices.notify(&storage_id(node), notice);
        }
    }

    /// A replica here was found bad.
    pub(super) fn report_bad(&mut self, block: Block) {
        self.bad.insert(block.id, block);
        for talk in &mut self.talks {
            talk.bad.insert(block.id, block);
        }
    }

    fn report(&self, node: usize) -> StorageBlockReportProto {
        let mut builder = BlockReportBuilder::new();
        for replica in self.map.iter() {
            builder.add(replica);
        }
        let (count, blocks_buffers) = builder.finish();
        StorageBlockReportProto {
            storage: storage(node),
            blocks: Vec::new(),
            number_of_blocks: Some(count),
            blocks_buffers,
        }
    }
}

impl<N: NameNodes> World<N> {
    /// Everything that two have to tell each other.
    pub(super) fn converse(&mut self, node: usize, to: usize) {
        self.heartbeat(node, to);
        self.hear(node, to);
        self.send_notices(node, to);
        self.tell_bad(node, to);
        self.send_report(node, to);
        self.hear(node, to);
    }

    fn may_call(&self, node: usize, to: usize) -> bool {
        self.datanodes[node].up && self.namenodes.reaches(node, to)
    }

    /// The NameNode sees the heartbeat; its answer is on its way.
    pub(super) fn heartbeat(&mut self, node: usize, to: usize) {
        let talk = &self.datanodes[node].talks[to];
        if !self.may_call(node, to) || !matches!(talk.call, Call::None) {
            return;
        }
        if !talk.registered {
            return self.register(node, to);
        }
        let request = HeartbeatRequestProto {
            registration: registration(node),
            reports: vec![StorageReportProto {
                storage_uuid: storage_id(node),
                failed: Some(false),
                capacity: Some(1 << 40),
                remaining: Some(1 << 39),
                storage: Some(storage(node)),
                ..StorageReportProto::default()
            }],
            request_full_block_report_lease: Some(talk.wants_report && talk.lease == 0),
            ..HeartbeatRequestProto::default()
        };
        let body = Bytes::from(request.encode_to_vec());
        match self.namenodes.heartbeat(node, to, body, self.now) {
            Some(answer) => self.answered_heartbeat(node, to, answer),
            None => self.datanodes[node].talks[to].call = Call::Waiting,
        }
    }

    fn answered_heartbeat(&mut self, node: usize, to: usize, answer: Answer) {
        match answer {
            Ok(body) => {
                let answer = HeartbeatResponseProto::decode(body).expect("an answer can be read");
                self.datanodes[node].talks[to].call = Call::Answer(Box::new(answer));
            }
            Err(refusal) => self.say(|| format!("the heartbeat of {node} is refused: {refusal}")),
        }
    }

    fn register(&mut self, node: usize, to: usize) {
        if !self.may_call(node, to) {
            return;
        }
        let request = RegisterDatanodeRequestProto {
            registration: registration(node),
        };
        let registered: Result<RegisterDatanodeResponseProto, _> =
            self.call_from_datanode((node, to), "registerDatanode", &request);
        if let Err(refusal) = registered {
            return self.say(|| format!("the registration of {node} is refused: {refusal}"));
        }
        let datanode = &mut self.datanodes[node];
        datanode.offer.on_registered(ActorId(to));
        let talk = &mut datanode.talks[to];
        talk.registered = true;
        // The NameNode may have forgotten them.
        talk.bad.extend(&datanode.bad);
        talk.wants_report = true;
        talk.lease = 0;
        self.say(|| format!("{node} registers with NameNode {to}"));
    }

    /// What is on its way arrives.
    pub(super) fn hear(&mut self, node: usize, to: usize) {
        match std::mem::take(&mut self.datanodes[node].talks[to].call) {
            Call::None => {}
            Call::Waiting => match self.namenodes.late_answer(node, to) {
                Some(answer) => self.answered_heartbeat(node, to, answer),
                None => self.datanodes[node].talks[to].call = Call::Waiting,
            },
            Call::Answer(answer) => self.hear_answer(node, to, *answer),
            Call::Report(report) => self.deliver_report(node, to, &report),
        }
    }

    fn hear_answer(&mut self, node: usize, to: usize, answer: HeartbeatResponseProto) {
        let actor = ActorId(to);
        let state = match answer.ha_status.state() {
            State::Active => HaState::Active,
            State::Standby | State::Observer => HaState::Standby,
        };
        let datanode = &mut self.datanodes[node];
        let claim = datanode.offer.on_heartbeat(actor, state, answer.ha_status.txid as i64);
        let talk = &mut datanode.talks[to];
        talk.must_heartbeat = false;
        let lease = answer.full_block_report_lease_id.unwrap_or(0);
        if !matches!(claim, Claim::Refused { .. }) && lease != 0 {
            talk.lease = lease;
        }
        talk.wants_report |= matches!(claim, Claim::Accepted { .. });
        let commands = answer.cmds.len();
        let mut register = false;
        for command in answer.cmds {
            register |= command.cmd_type() == CommandType::RegisterCommand;
            self.take_command(node, actor, command);
        }
        if commands > 0 || !matches!(claim, Claim::Unchanged) {
            self.say(|| format!("{node} hears of NameNode {to}: {state:?}, {claim:?}, {commands} commands"));
        }
        if register {
            self.register(node, to);
        }
    }

    fn take_command(&mut self, node: usize, actor: ActorId, command: DatanodeCommandProto) {
        let Some(claim) = self.datanodes[node].offer.claim_of(actor) else {
            return;
        };
        for order in command.recovery_cmd.into_iter().flat_map(|command| command.blocks) {
            self.begin_recovery(node, actor.0, order);
        }
        let Some(command) = command.blk_cmd else { return };
        let datanode = &mut self.datanodes[node];
        let blocks = command.blocks.iter().map(block_of);
        match command.action() {
            Action::Invalidate => datanode.deletions.push_back(Deletions {
                claim,
                blocks: blocks.collect(),
            }),
            Action::Transfer => {
                for (block, targets) in blocks.zip(&command.targets) {
                    let to = targets.datanodes.iter().map(|target| node_of(&target.id));
                    datanode.transfers.extend(to.map(|to| (block, to)));
                }
            }
            Action::Shutdown => {}
        }
    }

    pub(super) fn lose(&mut self, node: usize, to: usize) {
        if !matches!(self.datanodes[node].talks[to].call, Call::None) {
            self.say(|| format!("what is on its way between {node} and NameNode {to} is lost"));
            self.datanodes[node].talks[to].broken();
        }
    }

    pub(super) fn send_notices(&mut self, node: usize, to: usize) {
        if !self.may_call(node, to) || !self.datanodes[node].talks[to].is_ready() {
            return;
        }
        let taken = self.datanodes[node].talks[to].notices.take(usize::MAX);
        if taken.is_empty() {
            return;
        }
        let blocks = taken
            .iter()
            .map(|(id, notices)| StorageReceivedDeletedBlocksProto {
                storage_uuid: id.clone(),
                blocks: notices.iter().map(notice).collect(),
                storage: Some(storage(node)),
            })
            .collect();
        let request = BlockReceivedAndDeletedRequestProto {
            registration: registration(node),
            block_pool_id: POOL.to_owned(),
            blocks,
        };
        self.say(|| format!("{node} tells NameNode {to}: {taken:?}"));
        // It may be lost on its way, and so may its answer: then it comes twice.
        let lost = self.unlucky(12);
        let answer: Result<BlockReceivedAndDeletedResponseProto, _> =
            self.call_from_datanode((node, to), "blockReceivedAndDeleted", &request);
        if lost || answer.is_err() {
            let talk = &mut self.datanodes[node].talks[to];
            talk.notices.put_back(taken);
            talk.must_heartbeat = true;
        }
    }

    fn tell_bad(&mut self, node: usize, to: usize) {
        if !self.may_call(node, to) || !self.datanodes[node].talks[to].is_ready() {
            return;
        }
        let bad = std::mem::take(&mut self.datanodes[node].talks[to].bad);
        if bad.is_empty() {
            return;
        }
        let blocks = bad.values().map(|block| LocatedBlockProto {
            b: extended(*block),
            locs: vec![DatanodeInfoProto {
                id: identity(node),
                ..DatanodeInfoProto::default()
            }],
            corrupt: true,
            ..LocatedBlockProto::default()
        });
        let request = ReportBadBlocksRequestProto {
            blocks: blocks.collect(),
        };
        self.say(|| format!("{node} tells NameNode {to} of bad replicas: {:?}", bad.values()));
        let told: Result<ReportBadBlocksResponseProto, _> =
            self.call_from_datanode((node, to), "reportBadBlocks", &request);
        if told.is_err() {
            self.datanodes[node].talks[to].bad.extend(bad);
        }
    }

    pub(super) fn send_report(&mut self, node: usize, to: usize) {
        // Now and then somebody asks for one (`triggerBlockReport`), which needs no lease.
        let forced = self.unlucky(6);
        let talk = &self.datanodes[node].talks[to];
        let due = talk.is_ready() && (forced || (talk.wants_report && talk.lease != 0));
        if !due || !self.may_call(node, to) || !self.datanodes[node].offer.may_report_to(ActorId(to)) {
            return;
        }
        self.send_notices(node, to);
        if !self.datanodes[node].talks[to].is_ready() {
            return;
        }
        let report = self.datanodes[node].report(node);
        let talk = &mut self.datanodes[node].talks[to];
        talk.call = Call::Report(Box::new(BlockReportRequestProto {
            registration: registration(node),
            block_pool_id: POOL.to_owned(),
            reports: vec![report],
            context: Some(BlockReportContextProto {
                total_rpcs: 1,
                cur_rpc: 0,
                id: 1,
                lease_id: Some(if forced { 0 } else { talk.lease }),
            }),
        }));
    }

    fn deliver_report(&mut self, node: usize, to: usize, report: &BlockReportRequestProto) {
        if !self.namenodes.reaches(node, to) {
            return self.datanodes[node].talks[to].broken();
        }
        let answer: Result<BlockReportResponseProto, _> = self.call_from_datanode((node, to), "blockReport", report);
        let lost = self.unlucky(10);
        let talk = &mut self.datanodes[node].talks[to];
        talk.lease = 0;
        match answer {
            Ok(answer) if !lost => {
                talk.wants_report = false;
                let command = answer.cmd.map(|command| command.cmd_type());
                self.say(|| format!("NameNode {to} has all of {node}"));
                if command == Some(CommandType::RegisterCommand) {
                    self.register(node, to);
                }
            }
            _ => talk.broken(),
        }
    }

    /// One step of what NameNodes have ordered: a copy, or a deletion.
    pub(super) fn work(&mut self, node: usize) {
        let datanode = &mut self.datanodes[node];
        if !datanode.up {
            return;
        }
        if let Some((block, target)) = datanode.transfers.pop() {
            return self.replicate(node, block, target);
        }
        let Some(mut command) = datanode.deletions.pop_front() else {
            return;
        };
        if !datanode.offer.holds(command.claim) {
            return;
        }
        if let Some(block) = command.blocks.pop_front() {
            datanode.deletions.push_front(command);
            self.delete(node, block);
        }
    }

    /// A copy that a NameNode wants (`DataNode.transferBlock`).
    fn replicate(&mut self, node: usize, block: Block, target: usize) {
        let replica = self.datanodes[node].map.get(block.id).cloned();
        let Some(replica) = replica.filter(|replica| replica.state == ReplicaState::Finalized) else {
            if self.is(WritingMutant::UnverifiedReports) {
                self.datanodes[node].report_bad(block);
            }
            return;
        };
        if replica.generation_stamp != block.generation_stamp {
            return;
        }
        if replica.num_bytes < block.num_bytes {
            self.say(|| format!("{node} has a replica that is too short: {}", replica.describe()));
            return self.datanodes[node].report_bad(replica.block());
        }
        self.copy(node, block, target, false);
    }

    fn delete(&mut self, node: usize, block: Block) {
        self.before_deletion(node, block);
        let Some(before) = self.datanodes[node].map.get(block.id).cloned() else {
            return;
        };
        if self
            .change(node, block.id, |map| map.invalidate(block).map(Some))
            .is_ok()
        {
            self.say(|| format!("{node} deletes {}", before.describe()));
            self.count("deletions");
            let deleted = Block {
                generation_stamp: before.generation_stamp,
                ..block
            };
            self.datanodes[node].notify(node, deleted, NoticeKind::Deleted);
        }
    }
}

fn notice(notice: &ReceivedDeleted) -> ReceivedDeletedBlockInfoProto {
    let (status, delete_hint) = match notice.kind {
        NoticeKind::Receiving => (BlockStatus::Receiving, None),
        NoticeKind::Received => (BlockStatus::Received, Some(String::new())),
        NoticeKind::Deleted => (BlockStatus::Deleted, None),
    };
    ReceivedDeletedBlockInfoProto {
        block: BlockProto {
            block_id: notice.block.id.0 as u64,
            gen_stamp: notice.block.generation_stamp.0,
            num_bytes: Some(notice.block.num_bytes),
        },
        delete_hint,
        status: status as i32,
    }
}

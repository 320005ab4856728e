//! The words of the scripts: a client with one file of one block, DataNodes named by letters, and their NameNode.

use crate::datanode::{DataNode, VOLUME, described};
use crate::namenode::{NameNode, POOL, identity, name_of, registration, storage};
use hathi_blockpool::recovery::participant::{block_of, init_response};
use hathi_blockpool::{
    BlockRecovery, NoticeKind, RecoveryAction, RecoveryError, RecoveryEvent, RecoveryPlan, Replica, ReplicaError,
    ReplicaState,
};
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::datanode::received_deleted_block_info_proto::BlockStatus;
use hathi_formats::proto::datanode::*;
use hathi_formats::proto::hdfs::*;
use std::collections::BTreeMap;

const FILE: &str = "/f";
/// `dfs.heartbeat.interval`, in ms.
const HEARTBEAT_MS: u64 = 3_000;
const WRITER: &str = "DFSClient_writer";
const SOMEBODY: &str = "DFSClient_somebody";

pub(crate) struct Story {
    namenode: NameNode,
    datanodes: BTreeMap<char, DataNode>,
    /// The block as the client has it, and the DataNodes that it writes to.
    block: ExtendedBlockProto,
    pipeline: Vec<char>,
    acknowledged: u64,
    /// The stamp that the DataNodes of a new pipeline have and the NameNode does not know yet.
    new_stamp: Option<u64>,
    /// By primary.
    recoveries: BTreeMap<char, BlockRecovery>,
    follows: Vec<String>,
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("no number: {word}"))
}

fn names(words: &[&str]) -> Vec<char> {
    let name = |word: &&str| match word.chars().collect::<Vec<_>>()[..] {
        [name @ 'A'..='Z'] => name,
        _ => panic!("no DataNode: {word}"),
    };
    words.iter().map(name).collect()
}

fn spaced(names: &[char]) -> String {
    names.iter().map(char::to_string).collect::<Vec<_>>().join(" ")
}

impl Story {
    pub(crate) fn new() -> Story {
        Story {
            namenode: NameNode::new(),
            datanodes: BTreeMap::new(),
            block: ExtendedBlockProto::default(),
            pipeline: Vec::new(),
            acknowledged: 0,
            new_stamp: None,
            recoveries: BTreeMap::new(),
            follows: Vec::new(),
        }
    }

    /// Does a step, and tells what follows.
    pub(crate) fn step(&mut self, step: &str) -> Vec<String> {
        let words: Vec<&str> = step.split_whitespace().collect();
        match &words[..] {
            ["DataNodes", nodes @ ..] => names(nodes).into_iter().for_each(|name| self.start(name)),
            ["the", "writer", "opens", "a", "block", "on", nodes @ ..] => self.open(&names(nodes)),
            ["the", "writer", "sends", bytes, "bytes"] => self.send(number(bytes)),
            [name, "has", bytes, "bytes,", acknowledged, "acknowledged"] => {
                self.write(names(&[name])[0], number(bytes), number(acknowledged));
            }
            ["the", "writer", "flushes"] => self.flush(),
            ["the", "writer", "sets", "up", "a", "new", "pipeline", "on", nodes @ ..] => self.renew(names(nodes)),
            [
                "the",
                "writer",
                "tells",
                "the",
                "NameNode",
                "of",
                "the",
                "new",
                "pipeline",
            ] => self.update_pipeline(),
            ["the", "writer", "closes", "the", "file"] => self.close(),
            [name, "loses", "the", "end", "of", "its", "replica"] => self.node(names(&[name])[0]).end_is_bad = true,
            [name, "completes", "its", "replica"] => self.finalize(names(&[name])[0]),
            ["somebody", "recovers", "the", "lease"] => self.recover_lease(),
            ["somebody", "truncates", "to", bytes, "bytes"] => self.truncate(number(bytes)),
            ["somebody", "appends", "on", nodes @ ..] => self.append(names(nodes)),
            [minutes, "minutes", "pass"] => self.pass(number(minutes) * 60_000),
            ["heartbeats"] => self.heartbeats(),
            [name, "dies"] => self.end(names(&[name])[0]),
            [name, "reports", "its", "replicas"] => self.report(names(&[name])[0]),
            [name, "starts"] => self.start(names(&[name])[0]),
            [name, "asks", "all"] => self.ask_all(names(&[name])[0]),
            [name, "decides"] => self.decide(names(&[name])[0]),
            [name, "updates", nodes @ ..] => self.update(names(&[name])[0], &names(nodes)),
            [name, "tells", "the", "NameNode", "the", "result"] => self.tell_result(names(&[name])[0]),
            [name, "recovers", "the", "block"] => self.recover(names(&[name])[0]),
            ["replicas?"] => self.tell_replicas(),
            ["file?"] => self.tell_file(),
            other => panic!("no step: {other:?}"),
        }
        std::mem::take(&mut self.follows)
    }

    fn say(&mut self, text: String) {
        self.follows.push(text);
    }

    fn node(&mut self, name: char) -> &mut DataNode {
        self.datanodes.get_mut(&name).expect("a DataNode of the story")
    }

    fn id(&self) -> BlockId {
        block_of(&self.block).id
    }

    // --- the client ---

    fn open(&mut self, on: &[char]) {
        let create = CreateRequestProto {
            src: FILE.to_owned(),
            masked: FsPermissionProto { perm: 0o644 },
            client_name: WRITER.to_owned(),
            create_flag: 1,
            create_parent: true,
            replication: on.len() as u32,
            block_size: 1 << 20,
            ..CreateRequestProto::default()
        };
        self.namenode
            .call::<CreateResponseProto>("create", &create)
            .expect("a new file");
        let add = AddBlockRequestProto {
            src: FILE.to_owned(),
            client_name: WRITER.to_owned(),
            ..AddBlockRequestProto::default()
        };
        let added: AddBlockResponseProto = self.namenode.call("addBlock", &add).expect("DataNodes for a block");
        let mut nodes: Vec<char> = added.block.locs.iter().map(|node| name_of(&node.id)).collect();
        nodes.sort_unstable();
        assert_eq!(nodes, on, "the NameNode chose others");
        self.block = added.block.b;
        self.pipeline = nodes;
        let block = block_of(&self.block);
        for name in on {
            let node = self.node(*name);
            let writer = node.new_writer();
            node.change(block.id, |map| {
                map.create_rbw(block, false, VOLUME, writer, 0).map(Some)
            })
            .expect("a new replica");
        }
        self.say(format!("stamp {}", block.generation_stamp.0));
    }

    fn send(&mut self, bytes: u64) {
        let end = self.acknowledged + bytes;
        for name in self.pipeline.clone() {
            self.write(name, end, end);
        }
        self.acknowledged = end;
    }

    fn write(&mut self, name: char, on_disk: u64, acknowledged: u64) {
        let id = self.id();
        self.node(name).write(id, on_disk, acknowledged);
    }

    fn flush(&mut self) {
        let request = FsyncRequestProto {
            src: FILE.to_owned(),
            client: WRITER.to_owned(),
            last_block_length: Some(self.acknowledged.cast_signed()),
            file_id: None,
        };
        self.namenode
            .call::<FsyncResponseProto>("fsync", &request)
            .expect("the writer has the lease");
        self.say(format!("the NameNode has logged {} bytes", self.acknowledged));
    }

    /// The DataNodes get a new stamp. The NameNode has given it, but does not take it for the block's yet.
    fn renew(&mut self, nodes: Vec<char>) {
        let append = self.new_stamp.is_none() && self.pipeline.is_empty();
        let request = UpdateBlockForPipelineRequestProto {
            block: self.block.clone(),
            client_name: WRITER.to_owned(),
        };
        let updated: Result<UpdateBlockForPipelineResponseProto, _> =
            self.namenode.call("updateBlockForPipeline", &request);
        let stamp = match updated {
            Ok(updated) => updated.block.b.generation_stamp,
            Err(refusal) => return self.refused("the NameNode", &refusal),
        };
        let (block, length) = (block_of(&self.block), self.acknowledged);
        for name in &nodes {
            let node = self.node(*name);
            let writer = node.new_writer();
            let on_disk = node.map.get(block.id).map_or(0, Replica::bytes_on_disk);
            let new = GenerationStamp(stamp);
            let changed = node.change(block.id, |map| match append {
                true => map.append(block, new, length, writer).map(Some),
                false => map.recover_rbw(block, new, length, on_disk, on_disk, writer).map(Some),
            });
            let told = match changed {
                Ok(replica) => described(&replica.expect("a replica")),
                Err(error) => error.to_string(),
            };
            self.say(format!("{name}: {told}"));
        }
        self.pipeline = nodes;
        self.new_stamp = Some(stamp);
    }

    fn update_pipeline(&mut self) {
        let stamp = self.new_stamp.take().expect("a new pipeline");
        let new = ExtendedBlockProto {
            generation_stamp: stamp,
            num_bytes: Some(self.acknowledged),
            ..self.block.clone()
        };
        let request = UpdatePipelineRequestProto {
            client_name: WRITER.to_owned(),
            old_block: self.block.clone(),
            new_block: new.clone(),
            new_nodes: self.pipeline.iter().map(|name| identity(*name)).collect(),
            storage_i_ds: self.pipeline.iter().map(|name| storage(*name).storage_uuid).collect(),
        };
        match self
            .namenode
            .call::<UpdatePipelineResponseProto>("updatePipeline", &request)
        {
            Ok(_) => {
                self.block = new;
                self.say(format!(
                    "the NameNode has the block with stamp {stamp} on {}",
                    spaced(&self.pipeline)
                ));
            }
            Err(refusal) => self.refused("the NameNode", &refusal),
        }
    }

    fn close(&mut self) {
        for name in self.pipeline.clone() {
            self.finalize(name);
        }
        let last = ExtendedBlockProto {
            num_bytes: Some(self.acknowledged),
            ..self.block.clone()
        };
        let request = CompleteRequestProto {
            src: FILE.to_owned(),
            client_name: WRITER.to_owned(),
            last: Some(last.clone()),
            file_id: None,
        };
        match self.namenode.call::<CompleteResponseProto>("complete", &request) {
            Ok(answer) => {
                self.block = last;
                self.pipeline.clear();
                self.say(format!("the file is closed: {}", answer.result));
            }
            Err(refusal) => self.refused("the NameNode", &refusal),
        }
    }

    fn finalize(&mut self, name: char) {
        let block = Block {
            num_bytes: self.acknowledged,
            generation_stamp: GenerationStamp(self.new_stamp.unwrap_or(self.block.generation_stamp)),
            ..block_of(&self.block)
        };
        let done = self.node(name).change(block.id, |map| map.finalize(block, true));
        let replica = done.expect("it has all bytes").expect("a replica");
        self.notify(name, replica.block(), NoticeKind::Received);
        self.say(format!("{name}: {}", described(&replica)));
    }

    fn recover_lease(&mut self) {
        let request = RecoverLeaseRequestProto {
            src: FILE.to_owned(),
            client_name: SOMEBODY.to_owned(),
        };
        match self
            .namenode
            .call::<RecoverLeaseResponseProto>("recoverLease", &request)
        {
            Ok(answer) => self.say(format!("the file is closed: {}", answer.result)),
            Err(refusal) => self.refused("the NameNode", &refusal),
        }
    }

    fn truncate(&mut self, to: u64) {
        let request = TruncateRequestProto {
            src: FILE.to_owned(),
            new_length: to,
            client_name: SOMEBODY.to_owned(),
        };
        match self.namenode.call::<TruncateResponseProto>("truncate", &request) {
            Ok(answer) => self.say(format!("done at once: {}", answer.result)),
            Err(refusal) => self.refused("the NameNode", &refusal),
        }
    }

    /// Opens the file for append, and sets the pipeline up.
    fn append(&mut self, nodes: Vec<char>) {
        let request = AppendRequestProto {
            src: FILE.to_owned(),
            client_name: WRITER.to_owned(),
            flag: None,
        };
        let opened: Result<AppendResponseProto, _> = self.namenode.call("append", &request);
        let located = match opened {
            Ok(opened) => opened.block.expect("the last block is not full"),
            Err(refusal) => return self.refused("the NameNode", &refusal),
        };
        self.acknowledged = located.b.num_bytes();
        self.block = located.b;
        self.pipeline.clear();
        self.new_stamp = None;
        self.renew(nodes);
        self.update_pipeline();
    }

    // --- DataNodes and their NameNode ---

    fn start(&mut self, name: char) {
        let node = self.datanodes.entry(name).or_insert_with(DataNode::new);
        node.up = true;
        let request = RegisterDatanodeRequestProto {
            registration: registration(name),
        };
        self.namenode.now.monotonic_ms += 1;
        self.namenode
            .call_from_datanode::<RegisterDatanodeResponseProto>("registerDatanode", &request)
            .expect("it may register");
        self.heartbeat(name);
        self.report(name);
    }

    fn report(&mut self, name: char) {
        let report = self.node(name).report(storage(name));
        let request = BlockReportRequestProto {
            registration: registration(name),
            block_pool_id: POOL.to_owned(),
            reports: vec![report],
            context: Some(BlockReportContextProto {
                total_rpcs: 1,
                cur_rpc: 0,
                id: 1,
                lease_id: Some(0),
            }),
        };
        self.namenode
            .call_from_datanode::<BlockReportResponseProto>("blockReport", &request)
            .expect("it may report");
    }

    fn end(&mut self, name: char) {
        self.recoveries.remove(&name);
        self.node(name).end();
    }

    fn notify(&mut self, name: char, block: Block, kind: NoticeKind) {
        let status = match kind {
            NoticeKind::Receiving => BlockStatus::Receiving,
            NoticeKind::Received => BlockStatus::Received,
            NoticeKind::Deleted => BlockStatus::Deleted,
        };
        let notice = ReceivedDeletedBlockInfoProto {
            block: BlockProto {
                block_id: block.id.0.cast_unsigned(),
                gen_stamp: block.generation_stamp.0,
                num_bytes: Some(block.num_bytes),
            },
            delete_hint: None,
            status: status.into(),
        };
        let request = BlockReceivedAndDeletedRequestProto {
            registration: registration(name),
            block_pool_id: POOL.to_owned(),
            blocks: vec![StorageReceivedDeletedBlocksProto {
                storage_uuid: storage(name).storage_uuid,
                blocks: vec![notice],
                storage: Some(storage(name)),
            }],
        };
        self.namenode
            .call_from_datanode::<BlockReceivedAndDeletedResponseProto>("blockReceivedAndDeleted", &request)
            .expect("it is registered");
    }

    fn heartbeats(&mut self) {
        let up = self.datanodes.iter().filter(|(_, node)| node.up);
        let names: Vec<char> = up.map(|(name, _)| *name).collect();
        for name in names {
            // The primary of a recovery is the DataNode that was heard of last.
            self.namenode.now.monotonic_ms += 1;
            self.heartbeat(name);
        }
    }

    fn heartbeat(&mut self, name: char) {
        let request = HeartbeatRequestProto {
            registration: registration(name),
            reports: vec![StorageReportProto {
                storage_uuid: storage(name).storage_uuid,
                capacity: Some(1 << 40),
                remaining: Some(1 << 40),
                storage: Some(storage(name)),
                ..StorageReportProto::default()
            }],
            ..HeartbeatRequestProto::default()
        };
        let answer: HeartbeatResponseProto = self
            .namenode
            .call_from_datanode("sendHeartbeat", &request)
            .expect("it is registered");
        for command in answer.cmds {
            for order in command.recovery_cmd.into_iter().flat_map(|command| command.blocks) {
                self.take_order(name, order);
            }
            for block in command.blk_cmd.into_iter().flat_map(|command| command.blocks) {
                self.say(format!(
                    "the NameNode lets {name} delete its replica with stamp {}",
                    block.gen_stamp
                ));
                let block = Block {
                    id: BlockId(block.block_id.cast_signed()),
                    num_bytes: block.num_bytes(),
                    generation_stamp: GenerationStamp(block.gen_stamp),
                };
                let deleted = self.node(name).change(block.id, |map| map.invalidate(block).map(Some));
                deleted.expect("the order is not old");
                self.notify(name, block, NoticeKind::Deleted);
            }
        }
    }

    /// Time passes, in which living DataNodes send heartbeats.
    fn pass(&mut self, mut ms: u64) {
        while ms > 0 {
            let now = ms.min(HEARTBEAT_MS);
            self.namenode.pass(now);
            self.heartbeats();
            ms -= now;
        }
    }

    // --- block recovery ---

    fn take_order(&mut self, primary: char, order: RecoveringBlockProto) {
        let recovery = BlockRecovery::new(order);
        let mut text = format!(
            "the NameNode lets {primary} recover it: recovery {}, of stamp {} on {}",
            recovery.id().0,
            recovery.block().generation_stamp.0,
            spaced(&asked(&recovery))
        );
        if let Some(truncated) = &recovery.order().truncate_block {
            text += &format!(", to {} bytes", truncated.num_bytes());
        }
        self.recoveries.insert(primary, recovery);
        self.say(text);
    }

    /// `BlockRecoveryWorker` does all of it at once.
    fn recover(&mut self, primary: char) {
        self.ask_all(primary);
        self.decide(primary);
        let chosen = self.recoveries.get(&primary).map(chosen).unwrap_or_default();
        self.update(primary, &chosen);
        self.tell_result(primary);
    }

    /// `initReplicaRecovery` at every DataNode.
    fn ask_all(&mut self, primary: char) {
        let Some(mut recovery) = self.recoveries.remove(&primary) else {
            return self.say(format!("{primary} has nothing to recover"));
        };
        while let RecoveryAction::Init { datanode } = *recovery.action() {
            let answer = self.ask(asked(&recovery)[datanode], &recovery);
            recovery.on(answer);
        }
        if let RecoveryAction::End(Err(RecoveryError::Newer(_))) = recovery.action() {
            return self.say(format!("{primary} gives recovery {} up", recovery.id().0));
        }
        self.recoveries.insert(primary, recovery);
    }

    fn ask(&mut self, name: char, recovery: &BlockRecovery) -> RecoveryEvent {
        let node = self.node(name);
        if !node.up {
            return self.unanswered(name);
        }
        let order = recovery.order();
        match node.change(recovery.block().id, |map| map.init_replica_recovery(order, None)) {
            Ok(replica) => {
                let end_is_bad = node.end_is_bad;
                self.say(match &replica {
                    None => format!("{name}: no replica"),
                    Some(replica) if end_is_bad => format!("{name}: {}, with a bad end", described(replica)),
                    Some(replica) => format!("{name}: {}", described(replica)),
                });
                RecoveryEvent::Initialized(InitReplicaRecoveryResponseProto {
                    end_is_bad: Some(end_is_bad),
                    ..init_response(replica.as_ref())
                })
            }
            Err(error) => self.refusal(name, &error),
        }
    }

    fn unanswered(&mut self, name: char) -> RecoveryEvent {
        let text = format!("{name} does not answer");
        self.say(text.clone());
        RecoveryEvent::NoAnswer(text)
    }

    fn refusal(&mut self, name: char, error: &ReplicaError) -> RecoveryEvent {
        let refusal = RemoteException::new(error.class(), error.to_string());
        self.refused(&name.to_string(), &refusal);
        RecoveryEvent::Refused(refusal)
    }

    fn decide(&mut self, primary: char) {
        let Some(recovery) = self.recoveries.get(&primary) else {
            return;
        };
        let text = match recovery.plan().expect("all have answered") {
            RecoveryPlan::Delete => format!("{primary} decides: no replica has anything, the block goes"),
            RecoveryPlan::Synchronize { new_len, .. } => {
                format!("{primary} decides: {new_len} bytes for {}", spaced(&chosen(recovery)))
            }
            RecoveryPlan::GiveUp(why) => format!("{primary} waits: {why}"),
        };
        self.say(text);
    }

    /// `updateReplicaUnderRecovery` at these DataNodes, which are the next ones.
    fn update(&mut self, primary: char, nodes: &[char]) {
        let Some(mut recovery) = self.recoveries.remove(&primary) else {
            return;
        };
        for name in nodes {
            let RecoveryAction::Update { datanode, request } = recovery.action().clone() else {
                panic!("{primary} does not update {name}: {:?}", recovery.action());
            };
            assert_eq!(asked(&recovery)[datanode], *name, "{primary} updates another one");
            recovery.on(self.update_one(*name, &request));
        }
        self.recoveries.insert(primary, recovery);
    }

    fn update_one(&mut self, name: char, request: &UpdateReplicaUnderRecoveryRequestProto) -> RecoveryEvent {
        let node = self.node(name);
        if !node.up {
            return self.unanswered(name);
        }
        let id = block_of(&request.block).id;
        match node.change(id, |map| map.update_replica_under_recovery(request).map(Some)) {
            Ok(replica) => {
                let replica = replica.expect("a recovered replica");
                assert_eq!(replica.state, ReplicaState::Finalized);
                self.notify(name, replica.block(), NoticeKind::Received);
                self.say(format!("{name}: {}", described(&replica)));
                RecoveryEvent::Updated {
                    storage_id: storage(name).storage_uuid,
                }
            }
            Err(error) => self.refusal(name, &error),
        }
    }

    /// `commitBlockSynchronization`
    fn tell_result(&mut self, primary: char) {
        let Some(recovery) = self.recoveries.remove(&primary) else {
            return;
        };
        let RecoveryAction::Commit(request) = recovery.action() else {
            return self.say(format!("{primary} has no result"));
        };
        let taken: Result<CommitBlockSynchronizationResponseProto, _> =
            self.namenode.call_from_datanode("commitBlockSynchronization", request);
        match taken {
            Ok(_) => self.tell_file(),
            Err(refusal) => self.refused("the NameNode", &refusal),
        }
    }

    // --- what there is ---

    fn refused(&mut self, by: &str, refusal: &RemoteException) {
        let class = refusal.class_name().rsplit('.').next().unwrap_or_default().to_owned();
        let text = refusal.message.lines().next().unwrap_or_default();
        self.say(format!("{by} refuses: {class}: {text}"));
    }

    fn tell_replicas(&mut self) {
        let id = self.id();
        let told: Vec<String> = self
            .datanodes
            .iter()
            .map(|(name, node)| match (node.up, node.map.get(id)) {
                (false, _) => format!("{name} is down"),
                (true, Some(replica)) => format!("{name}: {}", described(replica)),
                (true, None) => format!("{name}: no replica"),
            })
            .collect();
        self.follows.extend(told);
    }

    /// The file as the NameNode has it.
    fn tell_file(&mut self) {
        let request = GetBlockLocationsRequestProto {
            src: FILE.to_owned(),
            offset: 0,
            length: u64::MAX >> 1,
        };
        let found: GetBlockLocationsResponseProto = self
            .namenode
            .call("getBlockLocations", &request)
            .expect("the file is there");
        let found = found.locations.expect("it is a file");
        let state = match found.under_construction {
            true => "being written",
            false => "closed",
        };
        let Some(last) = found.last_block.or_else(|| found.blocks.last().cloned()) else {
            return self.say(format!("the file is {state}, without a block"));
        };
        let mut on: Vec<char> = last.locs.iter().map(|node| name_of(&node.id)).collect();
        on.sort_unstable();
        self.say(format!(
            "the file is {state}: {} bytes with stamp {} on {}",
            last.b.num_bytes(),
            last.b.generation_stamp,
            spaced(&on)
        ));
    }
}

/// The DataNodes that the order names.
fn asked(recovery: &BlockRecovery) -> Vec<char> {
    let locations = recovery.order().block.locs.iter();
    locations.map(|node| name_of(&node.id)).collect()
}

/// The DataNodes that take part in the plan.
fn chosen(recovery: &BlockRecovery) -> Vec<char> {
    let Some(RecoveryPlan::Synchronize { participants, .. }) = recovery.plan() else {
        return Vec::new();
    };
    let asked = asked(recovery);
    participants
        .iter()
        .filter_map(|index| asked.get(*index).copied())
        .collect()
}

//! The conversation with one NameNode (`BPServiceActor`): handshake, registration, heartbeats, reports.
//!
//! Each NameNode has a task of its own. A NameNode that is down or slow delays nobody else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hathi_blockpool::{Claim, HaState, NoticeKind, Schedule};
use hathi_formats::exceptions;
use hathi_formats::ids::{LayoutVersion, NamespaceInfo};
use hathi_formats::proto::datanode::datanode_command_proto::Type as CommandType;
use hathi_formats::proto::datanode::received_deleted_block_info_proto::BlockStatus;
use hathi_formats::proto::datanode::{
    BlockReceivedAndDeletedRequestProto, BlockReceivedAndDeletedResponseProto, BlockReportContextProto,
    BlockReportRequestProto, BlockReportResponseProto, CacheReportRequestProto, CacheReportResponseProto,
    DatanodeCommandProto, DatanodeRegistrationProto, ErrorReportRequestProto, ErrorReportResponseProto,
    HeartbeatRequestProto, HeartbeatResponseProto, ReceivedDeletedBlockInfoProto, RegisterDatanodeRequestProto,
    RegisterDatanodeResponseProto, ReportBadBlocksRequestProto, ReportBadBlocksResponseProto, StorageBlockReportProto,
    StorageReceivedDeletedBlocksProto, VolumeFailureSummaryProto,
};
use hathi_formats::proto::hdfs::nnha_status_heartbeat_proto::State as WireState;
use hathi_formats::proto::hdfs::{
    BlockKeyProto, BlockProto, ExportedBlockKeysProto, LocatedBlockProto, NamespaceInfoProto, StorageInfoProto,
    StorageReportProto, VersionRequestProto, VersionResponseProto,
};
use hathi_net::ipc::protocols::DATANODE_PROTOCOL;
use hathi_net::ipc::{ClientOptions, RpcClient, RpcError, connect_to};
use prost::Message;

use crate::DataNodeError;
use crate::config::SOFTWARE_VERSION;
use crate::node::DataNode;
use crate::offer::{Actor, BadReplica, Nameservice};
use crate::pool::Pool;

/// Pause between attempts to reach a NameNode. NameNodes restart fast, and an attempt is cheap.
const RETRY: Duration = Duration::from_millis(200);
/// Pause after an exception: a NameNode that refuses must not be flooded.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(1);
/// Most notices in one message.
const MAX_NOTICES: usize = 10_000;
/// Most bad blocks in one message.
const MAX_BAD_BLOCKS_SENT: usize = 1000;
/// A new active gets a full report within this many milliseconds for each replica: a million replicas within a quarter
/// of an hour.
const REPORT_SPREAD_MS_PER_REPLICA: u64 = 1;
/// `NamespaceInfo.Capability.STORAGE_BLOCK_REPORT_BUFFERS`.
const CAPABILITY_BUFFERS: u64 = 1;

/// Why a conversation pauses.
#[derive(Debug, thiserror::Error)]
enum ActorError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error("{0}")]
    Refused(String),
    /// The NameNode refuses this DataNode for good.
    #[error("{0}")]
    Final(String),
    /// The NameNode belongs to another cluster.
    #[error("{0}")]
    OtherCluster(String),
}

struct Conversation {
    node: Arc<DataNode>,
    service: Arc<Nameservice>,
    actor: Arc<Actor>,
    schedule: Schedule,
    clock: Instant,
    registration: Option<DatanodeRegistrationProto>,
    buffers: bool,
    report_id: i64,
    /// The NameNode refused reports of bad replicas. They are sent again with the next heartbeat.
    bad_waits: bool,
    /// When and with which version the NameNode was told last what is cached.
    cache_report: Option<(Instant, u64)>,
}

/// Talks to one NameNode until the DataNode stops or the NameNode refuses it for good.
pub async fn run(node: Arc<DataNode>, service: Arc<Nameservice>, actor: Arc<Actor>) {
    let clock = Instant::now();
    let schedule = Schedule::new(
        0,
        node.conf.heartbeat_interval.as_millis() as u64,
        node.conf.report_interval.as_millis() as u64,
    );
    let mut conversation = Conversation {
        schedule,
        clock,
        registration: None,
        buffers: true,
        report_id: fastrand::i64(..),
        bad_waits: false,
        cache_report: None,
        node,
        service,
        actor,
    };
    conversation.talk().await;
}

impl Conversation {
    fn now_ms(&self) -> u64 {
        self.clock.elapsed().as_millis() as u64
    }

    async fn talk(&mut self) {
        let mut complained = false;
        while !self.node.is_stopping() {
            let result = match self.connect().await {
                Ok(client) => {
                    *self.actor.client.lock() = Some(client.clone());
                    complained = false;
                    self.converse(&client).await
                }
                Err(error) => Err(error),
            };
            *self.actor.client.lock() = None;
            let is_of_other_cluster = matches!(result, Err(ActorError::OtherCluster(_)));
            self.actor
                .is_of_other_cluster
                .store(is_of_other_cluster, Ordering::Release);
            match result {
                Ok(()) => return,
                Err(ActorError::Final(text)) => return self.give_up(&text),
                Err(ActorError::OtherCluster(text)) if self.service.is_of_other_cluster() => {
                    return self.give_up(&text);
                }
                Err(ActorError::Rpc(error @ (RpcError::Connect { .. } | RpcError::Broken { .. }))) => {
                    if !complained {
                        tracing::warn!(namenode = %self.actor.address, %error, "NameNode cannot be reached");
                        complained = true;
                    }
                    tokio::time::sleep(RETRY).await;
                }
                Err(ActorError::Rpc(error)) if error.is_remote(exceptions::RETRIABLE) => {
                    // The NameNode has only just started.
                    tracing::debug!(namenode = %self.actor.address, %error, "not yet");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => {
                    tracing::warn!(namenode = %self.actor.address, %error, "conversation failed");
                    tokio::time::sleep(PAUSE_AFTER_REFUSAL.min(self.node.conf.heartbeat_interval)).await;
                }
            }
        }
    }

    fn give_up(&self, why: &str) {
        tracing::error!(namenode = %self.actor.address, "{why}: this NameNode is given up");
        self.service.offer().on_stopped(self.actor.id);
        self.node.on_refused();
    }

    async fn connect(&self) -> Result<RpcClient, ActorError> {
        let conf = &self.node.conf;
        let mut options = ClientOptions::new(&conf.superuser);
        options.connect_timeout = conf.connect_timeout;
        options.call_timeout = conf.call_timeout;
        options.max_response_bytes = conf.max_data_length;
        Ok(connect_to(&self.actor.address.to_string(), &DATANODE_PROTOCOL, &options).await?)
    }

    /// Runs the whole conversation on one connection. When the connection breaks, the registration stays valid: a
    /// NameNode that no longer knows this DataNode asks for a new one.
    async fn converse(&mut self, client: &RpcClient) -> Result<(), ActorError> {
        if self.registration.is_none() {
            self.register(client).await?;
        } else {
            let now = self.now_ms();
            self.schedule.heartbeat_now(now);
        }
        while !self.node.is_stopping() {
            match self.offer(client).await {
                Ok(()) => {}
                Err(ActorError::Rpc(RpcError::Remote(exception))) => {
                    match exception.class() {
                        Some(
                            exceptions::UNREGISTERED_NODE
                            | exceptions::DISALLOWED_DATANODE
                            | exceptions::INCORRECT_VERSION,
                        ) => {
                            return Err(ActorError::Final(exception.to_string()));
                        }
                        Some(exceptions::INVALID_BLOCK_REPORT_LEASE) => self.schedule.drop_lease(),
                        _ => {}
                    }
                    tracing::warn!(namenode = %self.actor.address, %exception, "refused");
                    let pause = if exception.is(exceptions::RETRIABLE) {
                        // The NameNode has only just started.
                        RETRY
                    } else {
                        PAUSE_AFTER_REFUSAL
                    };
                    tokio::time::sleep(pause.min(self.node.conf.heartbeat_interval)).await;
                    // The answer tells whether this DataNode has to register. A NameNode refuses reports of a DataNode
                    // that is not registered.
                    let now = self.now_ms();
                    self.schedule.heartbeat_now(now);
                }
                Err(error) => return Err(error),
            }
            let idle = Duration::from_millis(self.schedule.idle_ms(self.now_ms()));
            if !idle.is_zero() && !self.has_urgent_work() {
                tokio::select! {
                    () = tokio::time::sleep(idle) => {}
                    () = self.actor.wake.notified() => {}
                    // The NameNode may be back any moment, and then needs a report. The heartbeat fails until then.
                    () = client.closed() => {
                        let now = self.now_ms();
                        self.schedule.heartbeat_now(now);
                    }
                }
            }
        }
        Ok(())
    }

    fn has_urgent_work(&self) -> bool {
        self.actor.reports.lock().is_urgent()
            || !self.actor.errors.lock().is_empty()
            || (!self.bad_waits && !self.actor.bad.lock().is_empty())
            || self.actor.force_report.load(Ordering::Acquire)
            || self.actor.force_heartbeat.load(Ordering::Acquire)
            || (self.schedule.report_to_send().is_some() && self.service.offer().may_report_to(self.actor.id))
    }

    async fn register(&mut self, client: &RpcClient) -> Result<(), ActorError> {
        let response: VersionResponseProto = client.call("versionRequest", &VersionRequestProto {}).await?;
        let info = response.info;
        let namespace = NamespaceInfo {
            layout_version: LayoutVersion(info.storage_info.layout_version as i32),
            namespace_id: info.storage_info.namespce_id,
            cluster_id: info.storage_info.cluster_id.clone(),
            ctime: info.storage_info.c_time as i64,
            block_pool_id: info.block_pool_id.clone(),
        };
        self.check_namespace(&namespace)?;
        let pool = self.open_pool(namespace).await?;
        let claim = self.service.offer().on_handshake(self.actor.id, ha_state(&info));
        self.log_claim(claim);
        self.buffers = info.capabilities.unwrap_or(0) & CAPABILITY_BUFFERS != 0;
        let request = RegisterDatanodeRequestProto {
            registration: self.new_registration(&pool),
        };
        let response: RegisterDatanodeResponseProto = client.call("registerDatanode", &request).await?;
        self.service.offer().on_registered(self.actor.id);
        self.service.tell_bad_again(&self.actor);
        tracing::info!(namenode = %self.actor.address, pool = %pool.id(), "registered");
        self.registration = Some(response.registration);
        self.cache_report = None;
        let delay = self.node.conf.report_initial_delay.as_millis() as u64;
        let delay = if delay == 0 { 0 } else { fastrand::u64(0..delay) };
        let now = self.now_ms();
        self.schedule.on_registered(now, delay);
        Ok(())
    }

    /// Checks that all NameNodes of a nameservice have the same namespace.
    fn check_namespace(&self, namespace: &NamespaceInfo) -> Result<(), ActorError> {
        let Some(pool) = self.service.pool() else {
            return Ok(());
        };
        let mismatch = |what: &str, known: &dyn std::fmt::Display, found: &dyn std::fmt::Display| {
            Err(ActorError::Refused(format!(
                "{what} mismatch: previously connected to {what} {known} but now connected to {what} {found}"
            )))
        };
        if pool.info.block_pool_id != namespace.block_pool_id {
            return mismatch("Blockpool ID", &pool.info.block_pool_id, &namespace.block_pool_id);
        }
        if pool.info.namespace_id != namespace.namespace_id {
            return mismatch("Namespace ID", &pool.info.namespace_id, &namespace.namespace_id);
        }
        if pool.info.cluster_id != namespace.cluster_id {
            return mismatch("Cluster ID", &pool.info.cluster_id, &namespace.cluster_id);
        }
        Ok(())
    }

    async fn open_pool(&self, namespace: NamespaceInfo) -> Result<Arc<Pool>, ActorError> {
        if let Some(pool) = self.service.pool() {
            return Ok(pool);
        }
        let node = self.node.clone();
        let opened = tokio::task::spawn_blocking(move || node.dataset.open_pool(&namespace))
            .await
            .map_err(|error| ActorError::Refused(error.to_string()))?;
        let pool = opened.map_err(|error| match error {
            DataNodeError::OtherCluster(why) => ActorError::OtherCluster(why),
            error => ActorError::Refused(error.to_string()),
        })?;
        self.service.set_pool(pool.clone());
        Ok(pool)
    }

    fn new_registration(&self, pool: &Pool) -> DatanodeRegistrationProto {
        DatanodeRegistrationProto {
            datanode_id: self.node.datanode_id(),
            storage_info: StorageInfoProto {
                layout_version: LayoutVersion::DATANODE_CURRENT.0 as u32,
                namespce_id: pool.info.namespace_id,
                cluster_id: pool.info.cluster_id.clone(),
                c_time: pool.info.ctime as u64,
            },
            keys: ExportedBlockKeysProto {
                is_block_token_enabled: false,
                key_update_interval: 0,
                token_life_time: 0,
                current_key: BlockKeyProto {
                    key_id: 0,
                    expiry_date: 0,
                    key_bytes: None,
                },
                all_keys: vec![],
            },
            software_version: SOFTWARE_VERSION.to_owned(),
        }
    }

    /// Does whatever is due now.
    async fn offer(&mut self, client: &RpcClient) -> Result<(), ActorError> {
        let (Some(registration), Some(pool)) = (self.registration.clone(), self.service.pool()) else {
            return Err(ActorError::Refused("not registered".to_owned()));
        };
        let now = self.now_ms();
        let heartbeat = self.schedule.heartbeat_due(now) || self.actor.force_heartbeat.swap(false, Ordering::AcqRel);
        if heartbeat && self.heartbeat(client, &registration, &pool).await? {
            return self.register(client).await;
        }
        if heartbeat {
            self.bad_waits = false;
        }
        if self.actor.reports.lock().take_overflow() {
            // The NameNode was away for so long that notices for it were dropped.
            self.schedule.force_report();
        }
        if heartbeat || self.actor.reports.lock().is_urgent() {
            self.send_notices(client, &registration, &pool).await?;
        }
        self.send_errors(client, &registration).await?;
        self.send_bad(client).await?;
        if self.actor.force_report.swap(false, Ordering::AcqRel) {
            self.schedule.force_report();
        }
        if let Some(lease) = self.schedule.report_to_send()
            && self.service.offer().may_report_to(self.actor.id)
        {
            self.send_notices(client, &registration, &pool).await?;
            self.send_report(client, &registration, &pool, lease).await?;
            // The NameNode believes only of replicas that it knows that they are cached.
            self.cache_report = None;
        }
        self.send_cache_report(client, &registration, &pool).await
    }

    /// Sends a heartbeat. Returns true when the NameNode wants a new registration.
    async fn heartbeat(
        &mut self,
        client: &RpcClient,
        registration: &DatanodeRegistrationProto,
        pool: &Arc<Pool>,
    ) -> Result<bool, ActorError> {
        let now = self.now_ms();
        self.schedule.on_heartbeat_sent(now);
        let (node, of, wants_lease) = (self.node.clone(), pool.clone(), self.schedule.wants_lease(now));
        let registration = registration.clone();
        // This asks the file systems for their free space, which a failing disk may delay.
        let request = tokio::task::spawn_blocking(move || heartbeat_request(&node, &registration, &of, wants_lease))
            .await
            .map_err(|error| ActorError::Refused(error.to_string()))?;
        let response: HeartbeatResponseProto = client.call("sendHeartbeat", &request).await?;
        self.node.metrics.heartbeats.fetch_add(1, Ordering::Relaxed);
        let uptime = self.node.started.elapsed().as_secs() as i64;
        self.actor.last_heartbeat_s.store(uptime, Ordering::Relaxed);
        let state = match response.ha_status.state() {
            WireState::Active => HaState::Active,
            WireState::Standby => HaState::Standby,
            WireState::Observer => HaState::Observer,
        };
        *self.actor.state.lock() = Some(state);
        let claim = self
            .service
            .offer()
            .on_heartbeat(self.actor.id, state, response.ha_status.txid as i64);
        self.log_claim(claim);
        // The delay grows with the size, so that large DataNodes do not all report in the first moments after a failover.
        let delay_ms = fastrand::u64(0..=pool.len() as u64 * REPORT_SPREAD_MS_PER_REPLICA);
        let (now, lease) = (self.now_ms(), response.full_block_report_lease_id());
        self.schedule.on_heartbeat_answered(now, claim, lease, delay_ms);
        if state == HaState::Active
            && let Some(status) = response
                .rolling_upgrade_status_v2
                .or(response.rolling_upgrade_status)
                .filter(|status| status.block_pool_id == pool.id())
        {
            pool.set_keep_deleted(!status.finalized.unwrap_or(false));
        }
        let mut register = false;
        for command in response.cmds {
            register |= self.take_command(command);
        }
        Ok(register)
    }

    /// Handles a request to register itself, and returns true. Other commands are queued.
    fn take_command(&self, command: DatanodeCommandProto) -> bool {
        match command.cmd_type() {
            CommandType::RegisterCommand => {
                tracing::info!(namenode = %self.actor.address, "asked to register");
                true
            }
            CommandType::NullDatanodeCommand => false,
            _ => {
                self.service.order(self.actor.id, command);
                false
            }
        }
    }

    /// Tells the NameNode what is cached, from time to time and after each change (`BPServiceActor.cacheReport`).
    async fn send_cache_report(
        &mut self,
        client: &RpcClient,
        registration: &DatanodeRegistrationProto,
        pool: &Arc<Pool>,
    ) -> Result<(), ActorError> {
        let cache = &self.node.cache;
        if cache.capacity() == 0 {
            return Ok(());
        }
        let version = cache.version();
        let interval = self.node.conf.cache_report_interval;
        let is_known = |(at, told): &(Instant, u64)| *told == version && at.elapsed() < interval;
        if self.cache_report.as_ref().is_some_and(is_known) {
            return Ok(());
        }
        let request = CacheReportRequestProto {
            registration: registration.clone(),
            block_pool_id: pool.id().to_owned(),
            blocks: cache.report(pool.id()),
        };
        let response: CacheReportResponseProto = client.call("cacheReport", &request).await?;
        self.cache_report = Some((Instant::now(), version));
        if let Some(command) = response.cmd
            && self.take_command(command)
        {
            return self.register(client).await;
        }
        Ok(())
    }

    async fn send_notices(
        &mut self,
        client: &RpcClient,
        registration: &DatanodeRegistrationProto,
        pool: &Pool,
    ) -> Result<(), ActorError> {
        loop {
            let taken = self.actor.reports.lock().take(MAX_NOTICES);
            if taken.is_empty() {
                return Ok(());
            }
            let blocks = taken
                .iter()
                .map(|(storage, notices)| StorageReceivedDeletedBlocksProto {
                    storage_uuid: storage.clone(),
                    blocks: notices.iter().map(notice_proto).collect(),
                    storage: Some(self.node.storage_proto(storage)),
                })
                .collect();
            let request = BlockReceivedAndDeletedRequestProto {
                registration: registration.clone(),
                block_pool_id: pool.id().to_owned(),
                blocks,
            };
            let result: Result<BlockReceivedAndDeletedResponseProto, RpcError> =
                client.call("blockReceivedAndDeleted", &request).await;
            if let Err(error) = result {
                self.actor.reports.lock().put_back(taken);
                return Err(error.into());
            }
            self.node.metrics.incremental_reports.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn send_errors(
        &mut self,
        client: &RpcClient,
        registration: &DatanodeRegistrationProto,
    ) -> Result<(), ActorError> {
        loop {
            let Some((error_code, msg)) = self.actor.errors.lock().front().cloned() else {
                return Ok(());
            };
            let request = ErrorReportRequestProto {
                registartion: registration.clone(),
                error_code,
                msg,
            };
            match client.call("errorReport", &request).await {
                Ok(ErrorReportResponseProto {}) | Err(RpcError::Remote(_)) => {}
                Err(error) => return Err(error.into()),
            }
            self.actor.errors.lock().pop_front();
        }
    }

    /// Sends reports of bad replicas. Only this task removes them, and only those that the NameNode took: if a report
    /// were lost, readers would meet the replica again. A refusal does not stop the conversation.
    async fn send_bad(&mut self, client: &RpcClient) -> Result<(), ActorError> {
        if self.bad_waits {
            return Ok(());
        }
        let (replicas, blocks): (Vec<BadReplica>, Vec<LocatedBlockProto>) = {
            let bad = self.actor.bad.lock();
            bad.iter()
                .take(MAX_BAD_BLOCKS_SENT)
                .map(|(replica, block)| (replica.clone(), block.clone()))
                .unzip()
        };
        if blocks.is_empty() {
            return Ok(());
        }
        let request = ReportBadBlocksRequestProto { blocks };
        match client.call("reportBadBlocks", &request).await {
            Ok(ReportBadBlocksResponseProto {}) => {
                let mut bad = self.actor.bad.lock();
                for replica in replicas {
                    bad.remove(&replica);
                }
                Ok(())
            }
            Err(RpcError::Remote(exception)) => {
                // Hadoop's standbys refuse these reports. This NameNode may become active later.
                tracing::debug!(namenode = %self.actor.address, %exception, "reports of bad blocks wait");
                self.bad_waits = true;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn send_report(
        &mut self,
        client: &RpcClient,
        registration: &DatanodeRegistrationProto,
        pool: &Arc<Pool>,
        lease: u64,
    ) -> Result<(), ActorError> {
        let started = Instant::now();
        let buffers = self.buffers;
        let (node, of) = (self.node.clone(), pool.clone());
        let (reports, total) = tokio::task::spawn_blocking(move || storage_reports(&node, &of, buffers))
            .await
            .map_err(|error| ActorError::Refused(error.to_string()))?;
        self.report_id = self.report_id.wrapping_add(1);
        if self.report_id == 0 {
            self.report_id = 1;
        }
        let batches: Vec<Vec<StorageBlockReportProto>> = if total < self.node.conf.report_split_threshold {
            vec![reports]
        } else {
            reports.into_iter().map(|report| vec![report]).collect()
        };
        let count = batches.len() as i32;
        for (index, reports) in batches.into_iter().enumerate() {
            let request = BlockReportRequestProto {
                registration: registration.clone(),
                block_pool_id: pool.id().to_owned(),
                reports,
                context: Some(BlockReportContextProto {
                    total_rpcs: count,
                    cur_rpc: index as i32,
                    id: self.report_id,
                    lease_id: Some(lease),
                }),
            };
            if request.encoded_len() > self.node.conf.max_data_length {
                tracing::error!(
                    bytes = request.encoded_len(),
                    "block report is larger than ipc.maximum.data.length"
                );
            }
            let response: BlockReportResponseProto = client.call("blockReport", &request).await?;
            if let Some(command) = response.cmd
                && self.take_command(command)
            {
                return self.register(client).await;
            }
        }
        self.node.metrics.block_reports.fetch_add(1, Ordering::Relaxed);
        let uptime = self.node.started.elapsed().as_secs() as i64;
        self.actor.last_report_s.store(uptime, Ordering::Relaxed);
        tracing::info!(
            namenode = %self.actor.address, replicas = total, lease, ms = started.elapsed().as_millis() as u64,
            "sent a full block report"
        );
        let now = self.now_ms();
        self.schedule.on_report_sent(now, fastrand::f64());
        Ok(())
    }

    fn log_claim(&self, claim: Claim) {
        match claim {
            Claim::Unchanged => {}
            Claim::Accepted { from } => {
                tracing::info!(namenode = %self.actor.address, before = %from.map_or_else(|| "none".to_owned(), |from| from.0.to_string()), "obeying the active NameNode");
            }
            Claim::Refused { last_claim } => {
                tracing::warn!(namenode = %self.actor.address, last_claim, "claims to be active, but another one did with a higher txid");
            }
            Claim::Relinquished => {
                tracing::info!(namenode = %self.actor.address, "is active no more");
            }
        }
    }
}

fn ha_state(info: &NamespaceInfoProto) -> Option<HaState> {
    info.state.map(|_| match info.state() {
        WireState::Active => HaState::Active,
        WireState::Standby => HaState::Standby,
        WireState::Observer => HaState::Observer,
    })
}

fn notice_proto(notice: &hathi_blockpool::ReceivedDeleted) -> ReceivedDeletedBlockInfoProto {
    let (status, hint) = match notice.kind {
        NoticeKind::Receiving => (BlockStatus::Receiving, None),
        // Senders set the hint of every complete replica, even if it is empty.
        NoticeKind::Received => (BlockStatus::Received, Some(notice.delete_hint.clone())),
        NoticeKind::Deleted => (BlockStatus::Deleted, None),
    };
    ReceivedDeletedBlockInfoProto {
        block: BlockProto {
            block_id: notice.block.id.0 as u64,
            gen_stamp: notice.block.generation_stamp.0,
            num_bytes: Some(notice.block.num_bytes),
        },
        delete_hint: hint,
        status: status as i32,
    }
}

fn heartbeat_request(
    node: &DataNode,
    registration: &DatanodeRegistrationProto,
    pool: &Pool,
    wants_lease: bool,
) -> HeartbeatRequestProto {
    node.sweep_cache();
    let reports = node
        .dataset
        .volume_reports(pool.id())
        .into_iter()
        .map(|report| StorageReportProto {
            storage_uuid: report.volume.storage_id.clone(),
            failed: Some(false),
            capacity: Some(report.capacity),
            dfs_used: Some(report.used),
            remaining: Some(report.remaining),
            block_pool_used: Some(report.pool_used),
            storage: Some(node.storage_proto(&report.volume.storage_id)),
            non_dfs_used: Some(
                report
                    .capacity
                    .saturating_sub(report.used)
                    .saturating_sub(report.remaining),
            ),
            mount: None,
        })
        .collect();
    let failed = node.dataset.failed_volumes();
    let summary = (!failed.is_empty()).then(|| VolumeFailureSummaryProto {
        failed_storage_locations: failed.iter().map(|volume| volume.path.clone()).collect(),
        last_volume_failure_date: failed.iter().map(|volume| volume.at_ms).max().unwrap_or(0),
        estimated_capacity_lost_total: failed.iter().map(|volume| volume.capacity).sum(),
    });
    HeartbeatRequestProto {
        registration: registration.clone(),
        reports,
        xmits_in_progress: Some(node.xmits.load(Ordering::Relaxed) as u32),
        xceiver_count: Some(node.xceivers.load(Ordering::Relaxed) as u32),
        failed_volumes: Some(failed.len() as u32),
        cache_capacity: Some(node.cache.capacity()),
        cache_used: Some(node.cache.used()),
        volume_failure_summary: summary,
        request_full_block_report_lease: Some(wants_lease),
        slow_peers: vec![],
        slow_disks: vec![],
        codes_nothing: None,
    }
}

fn storage_reports(node: &DataNode, pool: &Pool, buffers: bool) -> (Vec<StorageBlockReportProto>, u64) {
    let volumes = node.dataset.volumes();
    let ids: Vec<_> = volumes.iter().map(|volume| volume.id).collect();
    let mut lists = pool.report(&ids);
    let mut total = 0;
    let mut reports = Vec::with_capacity(volumes.len());
    for volume in volumes {
        let (count, chunks) = lists.remove(&volume.id).unwrap_or_default().finish();
        total += count;
        let storage = node.storage_proto(&volume.storage_id);
        reports.push(if buffers {
            StorageBlockReportProto {
                storage,
                blocks: vec![],
                number_of_blocks: Some(count),
                blocks_buffers: chunks,
            }
        } else {
            StorageBlockReportProto {
                storage,
                blocks: hathi_formats::block_list::to_longs(count, &chunks),
                number_of_blocks: None,
                blocks_buffers: vec![],
            }
        });
    }
    (reports, total)
}

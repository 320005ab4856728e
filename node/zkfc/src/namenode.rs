//! The health monitor of the local NameNode (Hadoop: `HealthMonitor`), and the calls that change its state.

use crate::connect::connect_patiently;
use crate::local::Process;
use crate::run::{Times, ZkfcConfig};
use hathi_failover::{ControllerEvent, Health, Instance, ServiceState};
use hathi_formats::exceptions::{HEALTH_CHECK_FAILED, RPC_NO_SUCH_PROTOCOL};
use hathi_formats::proto::{common, ext};
use hathi_journal::lease::LeaseProof;
use hathi_net::ipc::protocols::{HA_SERVICE_PROTOCOL, SUPERVISOR_PROTOCOL};
use hathi_net::ipc::{ClientOptions, RpcClient, RpcError, connect_to};
use hathi_net::process::ProcessIdentity;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Pause between two probes of a NameNode that answers.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// Longest pause before a NameNode that is down is tried again. One of Hadoop is tried as often as configured.
const RETRY: Duration = Duration::from_millis(30);
/// A NameNode that is silent for this long is not responding. It is killed only once another one serves.
const SILENT: Duration = Duration::from_millis(500);
/// Number of proofs that are kept: of the present process, and of some whose end was not noticed.
const PROOFS_MAX: usize = 8;

/// The NameNode beside which this controller runs.
#[derive(Debug)]
pub(crate) struct LocalNameNode {
    pub(crate) address: String,
    pub(crate) user: String,
    times: Times,
    /// Whether it is one of Hadoop, as far as is known.
    of_hadoop: AtomicBool,
    process: Mutex<Option<(Instance, Arc<Process>)>>,
    /// Proofs of leases by holder, for the processes that are watched and not given up.
    proofs: Mutex<BTreeMap<String, LeaseProof>>,
    /// The NameNode that goes on although it was fenced, and the fencing method. Empty when there is none.
    split: Mutex<String>,
}

impl LocalNameNode {
    pub(crate) fn new(config: &ZkfcConfig) -> Self {
        LocalNameNode {
            address: config.namenode_address.clone(),
            user: config.user.clone(),
            times: config.times.clone(),
            of_hadoop: AtomicBool::new(false),
            process: Mutex::new(None),
            proofs: Mutex::default(),
            split: Mutex::default(),
        }
    }

    /// Tells the NameNode, with the next probe, which NameNode goes on although it was fenced. Empty: none.
    pub(crate) fn tell_split(&self, split: String) {
        *self.split.lock().unwrap_or_else(PoisonError::into_inner) = split;
    }

    fn options(&self, call_timeout: Duration) -> ClientOptions {
        let mut options = ClientOptions::new(&self.user);
        options.connect_timeout = SILENT;
        options.call_timeout = call_timeout;
        options
    }

    /// Watches the NameNode for ever.
    pub(crate) async fn monitor(self: Arc<Self>, events: mpsc::UnboundedSender<ControllerEvent>) {
        loop {
            let connected = match self.of_hadoop.load(Ordering::Relaxed) {
                true => self.connect_to_hadoops().await,
                false => connect_to(&self.address, &SUPERVISOR_PROTOCOL, &self.options(SILENT)).await,
            };
            let (result, pause) = match connected {
                Ok(client) => (
                    self.monitor_connection(client, &events).await,
                    self.times.after_disconnect,
                ),
                Err(error) => (Err(error), self.times.connect_retry),
            };
            let health = match result {
                Err(RpcError::Timeout { .. }) => Health::NotResponding,
                Err(_) if self.process_lives() => Health::NotResponding,
                _ => Health::Down,
            };
            if events.send(ControllerEvent::Health(health)).is_err() {
                return;
            }
            let longest = match self.of_hadoop.load(Ordering::Relaxed) {
                true => Duration::MAX,
                false => RETRY,
            };
            tokio::time::sleep(pause.min(longest)).await;
        }
    }

    fn process_lives(&self) -> bool {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The proof of this holder, whose process has ended.
    pub(crate) fn take_proof(&self, holder: &str) -> Option<LeaseProof> {
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.remove(holder)
    }

    /// Reads the proof of a watched process, which is known to be this instance. Returns whether the proof is known
    /// now.
    fn learn_proof(&self, instance: &Instance) -> io::Result<bool> {
        let watched = {
            let slot = self.process.lock().unwrap_or_else(PoisonError::into_inner);
            slot.as_ref().is_some_and(|(watched, _)| watched == instance)
        };
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        if !watched || proofs.contains_key(&instance.holder) {
            return Ok(watched);
        }
        let proof = Process::lease_proof(instance.pid, &instance.holder)?;
        if proofs.len() >= PROOFS_MAX {
            proofs.pop_first();
        }
        proofs.insert(instance.holder.clone(), proof);
        Ok(true)
    }

    async fn monitor_connection(
        self: &Arc<Self>,
        client: RpcClient,
        events: &mpsc::UnboundedSender<ControllerEvent>,
    ) -> Result<(), RpcError> {
        let ha_service = client.with_protocol(&HA_SERVICE_PROTOCOL);
        let mut watched: Option<Instance> = None;
        let mut checked: Option<Instant> = None;
        let mut wellness = Wellness::default();
        let mut proof_known = false;
        let mut complained = false;
        loop {
            let request = ext::GetInstanceRequestProto {
                split: Some(self.split.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            };
            let answer: ext::GetInstanceResponseProto = match client.call("getInstance", &request).await {
                Err(error) if error.is_remote(RPC_NO_SUCH_PROTOCOL) => {
                    self.of_hadoop.store(true, Ordering::Relaxed);
                    self.monitor_hadoops(events).await;
                    return Ok(());
                }
                answer => answer?,
            };
            let instance = Instance {
                holder: format!("{}@{}", answer.namenode_id, answer.instance_id),
                pid: answer.pid,
            };
            if watched.as_ref() != Some(&instance) {
                self.watch_process(&instance, identity(&answer).as_ref(), events);
                watched = Some(instance.clone());
                (proof_known, complained) = (false, false);
                // Asked once more, so that the opened process is certainly the one that answers.
                continue;
            }
            if !proof_known {
                // It listens before it draws its proof.
                match self.learn_proof(&instance) {
                    Ok(known) => proof_known = known,
                    Err(error) if !complained && error.kind() == io::ErrorKind::PermissionDenied => {
                        complained = true;
                        tracing::warn!(
                            holder = instance.holder,
                            pid = instance.pid,
                            %error,
                            "can't read the proof of the NameNode's leases, it runs as another user: when it ends, its lease has to run out"
                        );
                    }
                    Err(_) => {}
                }
            }
            if checked.is_none_or(|checked| checked.elapsed() >= self.times.health_check) {
                checked = Some(Instant::now());
                wellness.ask(&ha_service).await?;
            }
            self.of_hadoop.store(false, Ordering::Relaxed);
            let state = service_state(answer.state);
            let health = if wellness.is_well() {
                Health::Healthy {
                    instance,
                    state,
                    last_applied_txid: answer.last_applied_tx_id,
                    safe_mode: answer.safe_mode.unwrap_or(false),
                }
            } else {
                Health::Unhealthy { instance, state }
            };
            if events.send(ControllerEvent::Health(health)).is_err() {
                return Ok(());
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    /// Watches a NameNode of Hadoop, as Hadoop's controller does. Its process is unknown, so when it can't be reached
    /// it may go on, and the next elected NameNode's controller fences it.
    async fn monitor_hadoops(&self, events: &mpsc::UnboundedSender<ControllerEvent>) {
        if let Err(error) = self.ask_hadoops(events).await {
            tracing::warn!(%error, "the NameNode does not answer");
        }
    }

    /// Asks for the protocol that only our NameNodes have, and so finds out when it has become one of them.
    async fn connect_to_hadoops(&self) -> Result<RpcClient, RpcError> {
        let retries = self.times.connect_retries;
        connect_patiently(&self.address, &SUPERVISOR_PROTOCOL, &self.options(SILENT), retries).await
    }

    async fn ask_hadoops(&self, events: &mpsc::UnboundedSender<ControllerEvent>) -> Result<(), RpcError> {
        let client = connect_to(&self.address, &HA_SERVICE_PROTOCOL, &self.options(self.times.silence)).await?;
        let mut wellness = Wellness::default();
        let instance = Instance {
            holder: self.address.clone(),
            pid: 0,
        };
        loop {
            let request = common::GetServiceStatusRequestProto {};
            let status: common::GetServiceStatusResponseProto = client.call("getServiceStatus", &request).await?;
            let state = service_state(u32::try_from(status.state).unwrap_or(0));
            let instance = instance.clone();
            wellness.ask(&client).await?;
            let health = match wellness.is_well() {
                true => Health::Healthy {
                    instance,
                    state,
                    last_applied_txid: 0,
                    safe_mode: false,
                },
                false => Health::Unhealthy { instance, state },
            };
            if events.send(ControllerEvent::Health(health)).is_err() {
                return Ok(());
            }
            tokio::time::sleep(self.times.health_check).await;
        }
    }

    /// Reports the end of a process at the moment when it is truly gone. A process that is not proven to run here under
    /// its id is not watched (and never killed); then the end of the lease tells a little later.
    fn watch_process(
        self: &Arc<Self>,
        instance: &Instance,
        identity: Option<&ProcessIdentity>,
        events: &mpsc::UnboundedSender<ControllerEvent>,
    ) {
        {
            let mut slot = self.process.lock().unwrap_or_else(PoisonError::into_inner);
            if slot.as_ref().is_some_and(|(watched, _)| watched == instance) {
                return;
            }
            *slot = None;
        }
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "it does not say which process it is");
        let process = match identity.ok_or_else(unknown).and_then(Process::open) {
            Ok(process) => Arc::new(process),
            Err(error) => {
                tracing::warn!(
                    holder = instance.holder,
                    pid = instance.pid,
                    %error,
                    "can't watch the NameNode's process: when it ends, its lease has to run out"
                );
                return;
            }
        };
        tracing::info!(holder = instance.holder, pid = instance.pid, "watching the NameNode");
        self.set_process(Some((instance.clone(), process.clone())));
        let (this, instance, events) = (self.clone(), instance.clone(), events.clone());
        // A thread of its own, because the end of the runtime need not wait for it.
        std::thread::spawn(move || {
            let ended = process.wait();
            {
                let mut slot = this.process.lock().unwrap_or_else(PoisonError::into_inner);
                if slot.as_ref().is_some_and(|(watched, _)| *watched == instance) {
                    *slot = None;
                }
            }
            match ended {
                Ok(()) => {
                    tracing::warn!(
                        holder = instance.holder,
                        pid = instance.pid,
                        "the NameNode's process has ended"
                    );
                    // A closed channel means that this controller ends, too.
                    let _ = events.send(ControllerEvent::ProcessEnded(instance));
                }
                Err(error) => tracing::error!(
                    pid = instance.pid,
                    %error,
                    "can't wait for the NameNode's process any more: when it ends, its lease has to run out"
                ),
            }
        });
    }

    fn set_process(&self, process: Option<(Instance, Arc<Process>)>) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = process;
    }

    /// Kills the process of this instance, if it is still the watched one.
    pub(crate) fn kill(&self, instance: &Instance) {
        let slot = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.as_ref() {
            Some((watched, process)) if watched == instance => {
                if let Err(error) = process.kill() {
                    tracing::error!(pid = instance.pid, %error, "can't kill the NameNode");
                }
            }
            _ => tracing::warn!(
                holder = instance.holder,
                "nothing to kill: not the process that is watched"
            ),
        }
    }

    /// `HAServiceProtocol.transitionToActive` or `transitionToStandby` in this controller's name.
    pub(crate) async fn transition(&self, to: ServiceState) -> Result<(), RpcError> {
        let client = connect_to(
            &self.address,
            &HA_SERVICE_PROTOCOL,
            &self.options(self.times.new_active),
        )
        .await?;
        transition(&client, to).await
    }
}

/// The NameNode's answers about its own health.
#[derive(Debug, Default)]
struct Wellness {
    /// Why it is not well.
    problem: Option<String>,
}

impl Wellness {
    fn is_well(&self) -> bool {
        self.problem.is_none()
    }

    /// Asks for the health, and logs changes.
    ///
    /// # Errors
    /// When there is no answer, or an exception other than that it is not well. A NameNode that can't be asked is not
    /// responding.
    async fn ask(&mut self, ha_service: &RpcClient) -> Result<(), RpcError> {
        let request = common::MonitorHealthRequestProto {};
        let result: Result<common::MonitorHealthResponseProto, RpcError> =
            ha_service.call("monitorHealth", &request).await;
        let problem = match result {
            Ok(_) => None,
            Err(RpcError::Remote(exception)) if exception.is(HEALTH_CHECK_FAILED) => Some(exception.message),
            Err(error) => return Err(error),
        };
        if problem != self.problem {
            match &problem {
                Some(problem) => tracing::warn!(problem, "the NameNode says that it is not well"),
                None => tracing::info!("the NameNode says that it is well again"),
            }
            self.problem = problem;
        }
        Ok(())
    }
}

/// Orders a transition of a NameNode, in a controller's name.
pub(crate) async fn transition(client: &RpcClient, to: ServiceState) -> Result<(), RpcError> {
    let req_info = common::HaStateChangeRequestInfoProto {
        req_source: common::HaRequestSource::RequestByZkfc.into(),
    };
    if to == ServiceState::Active {
        let request = common::TransitionToActiveRequestProto { req_info };
        let _: common::TransitionToActiveResponseProto = client.call("transitionToActive", &request).await?;
    } else {
        let request = common::TransitionToStandbyRequestProto { req_info };
        let _: common::TransitionToStandbyResponseProto = client.call("transitionToStandby", &request).await?;
    }
    Ok(())
}

/// Identity of the NameNode's process; `None` when the answer is incomplete.
fn identity(answer: &ext::GetInstanceResponseProto) -> Option<ProcessIdentity> {
    Some(ProcessIdentity {
        pid: answer.pid,
        start_ticks: answer.process_start_ticks?,
        boot_id: answer.boot_id.clone()?,
        pid_namespace: answer.pid_namespace?,
    })
}

fn service_state(number: u32) -> ServiceState {
    match i32::try_from(number).map(common::HaServiceStateProto::try_from) {
        Ok(Ok(common::HaServiceStateProto::Active)) => ServiceState::Active,
        Ok(Ok(common::HaServiceStateProto::Standby)) => ServiceState::Standby,
        Ok(Ok(common::HaServiceStateProto::Observer)) => ServiceState::Observer,
        _ => ServiceState::Initializing,
    }
}

//! The protocols of administration, health and supervision. Their calls are about the process and not about the
//! namesystem.

use crate::callers::{Callers, not_known_yet};
use crate::clock::Clock;
use crate::debug_hooks::DebugHooks;
use crate::divergence::tell_digest_marks;
use crate::health::Health;
use crate::observed::Observed;
use crate::reconfiguration::Reconfiguration;
use crate::replies::Replies;
use crate::resources::volume_of;
use crate::settings::Settings;
use crate::split::SplitReport;
use hathi_conf::{ConfError, Configuration};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::common::{
    GenericRefreshRequestProto, GetGroupsForUserRequestProto, GetGroupsForUserResponseProto,
    GetServiceStatusResponseProto, HaRequestSource, HaStateChangeRequestInfoProto, MonitorHealthResponseProto,
    RefreshCallQueueResponseProto, RefreshServiceAclResponseProto, RefreshSuperUserGroupsConfigurationResponseProto,
    RefreshUserToGroupsMappingsResponseProto, TransitionToActiveRequestProto, TransitionToActiveResponseProto,
    TransitionToObserverRequestProto, TransitionToStandbyRequestProto, TransitionToStandbyResponseProto,
};
use hathi_formats::proto::ext::{
    ConfirmPassRequestRequestProto, ConfirmPassRequestResponseProto, GetInstanceRequestProto, GetInstanceResponseProto,
    RequestPassRequestProto,
};
use hathi_nameserver::serving::Serving;
use hathi_nameserver::{health, resources};
use hathi_namesystem::{HaState, Namesystem, Role};
use hathi_net::ipc::protocols::{
    ClientMethod, GenericRefreshMethod, GetUserMappingsMethod, HaServiceMethod, RefreshAuthorizationPolicyMethod,
    RefreshUserMappingsMethod, SupervisorMethod,
};
use hathi_net::ipc::{Method, Responder, RpcCall, SharesOptions};
use hathi_net::process::ProcessIdentity;
use parking_lot::RwLock;
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

/// Identity of this process, which does not change.
static PROCESS: OnceLock<Option<ProcessIdentity>> = OnceLock::new();

/// Calls that are answered before the namespace is loaded.
#[must_use]
pub fn served_while_initializing(call: &RpcCall) -> bool {
    call.method == Method::Client(ClientMethod::GetHaServiceState)
}

/// A requested change of role.
pub struct Transition {
    /// The call, for one of the roles.
    pub call: TransitionCall,
    /// Who asked, in words.
    pub asked_by: String,
    /// Whether to wait until another NameNode's read lease has ended. An administrator wants that; an elector asks
    /// again by itself.
    pub patient: bool,
}

/// A call of `HAServiceProtocol` that asks for a role, and hears how the change ended.
pub enum TransitionCall {
    /// `transitionToActive`
    ToActive(Responder),
    /// `transitionToStandby`
    ToStandby(Responder),
}

impl TransitionCall {
    /// Answers the call.
    pub fn answer(self, result: Result<(), RemoteException>) {
        match self {
            TransitionCall::ToActive(responder) => {
                responder.send(result.map(|()| TransitionToActiveResponseProto {}));
            }
            TransitionCall::ToStandby(responder) => {
                responder.send(result.map(|()| TransitionToStandbyResponseProto {}));
            }
        }
    }
}

/// Serves these protocols.
pub struct Admin {
    pub(crate) callers: Arc<Callers>,
    pub(crate) reconfiguration: Arc<Reconfiguration>,
    pub(crate) ha: HaService,
    pub(crate) supervisor: Supervisor,
    pub(crate) observed: Arc<Observed>,
}

impl Admin {
    /// Serves a call of a protocol of this module. Returns false when the method does not exist here, which the caller was
    /// told.
    pub fn call(&self, call: &RpcCall, responder: Responder) -> bool {
        match call.method {
            Method::HaService(method) => self.ha.serve(method, call, responder),
            Method::Supervisor(method) => self.supervisor.serve(method, call, responder),
            Method::RefreshUserMappings(_)
            | Method::RefreshAuthorizationPolicy(_)
            | Method::RefreshCallQueue(_)
            | Method::GenericRefresh(_) => match self.callers.check_superuser(call) {
                // Hadoop leaves them to `hadoop-policy.xml`, which allows everything to everybody unless it is filled in.
                Ok(()) if matches!(call.method, Method::RefreshCallQueue(_)) => {
                    let refreshed = self.refresh_shares();
                    responder.send(refreshed.map(|()| RefreshCallQueueResponseProto {}));
                    true
                }
                Ok(()) => administer(&self.callers, call, responder),
                Err(refused) => {
                    responder.error(&refused);
                    true
                }
            },
            Method::Reconfiguration(method) => {
                let allowed = self.callers.check_superuser(call);
                self.reconfiguration.serve(method, call, allowed, responder);
                true
            }
            Method::GetUserMappings(GetUserMappingsMethod::GetGroupsForUser) => {
                groups_of(&self.callers, call, responder)
            }
            _ => no_such_method(call, responder),
        }
    }

    /// Reads again how the users share the server (`refreshCallQueue`).
    fn refresh_shares(&self) -> Result<(), RemoteException> {
        let settings = &self.supervisor.settings;
        let failed = |error: ConfError| RemoteException::new(exceptions::IO, error.to_string());
        let conf = match settings.conf.dir() {
            Some(dir) => Configuration::load(dir).map_err(failed)?,
            None => settings.conf.clone(),
        };
        let shares = SharesOptions::of(&conf, settings.rpc_bind.port()).map_err(failed)?;
        if let Some(rpc) = self.observed.rpc.get() {
            rpc.share(shares);
        }
        Ok(())
    }
}

fn no_such_method(call: &RpcCall, responder: Responder) -> bool {
    let (method, protocol) = (call.method, call.method.protocol().name);
    responder.error(&RemoteException::new(
        exceptions::RPC_NO_SUCH_METHOD,
        format!("Unknown method {method} called on {protocol} protocol."),
    ));
    false
}

/// The supervisor's protocol: what NameNodes and failover controllers ask each other.
pub struct Supervisor {
    pub(crate) settings: Arc<Settings>,
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) callers: Arc<Callers>,
    /// The NameNode that goes on although it was fenced, as the failover controller beside this NameNode says.
    pub(crate) split: Arc<SplitReport>,
    /// Name of this process, until it ends.
    pub(crate) instance: Arc<str>,
}

impl Supervisor {
    fn serve(&self, method: SupervisorMethod, call: &RpcCall, responder: Responder) -> bool {
        match method {
            SupervisorMethod::RequestPass => match call.decode::<RequestPassRequestProto>() {
                Ok(request) => {
                    let callers = self.callers.clone();
                    tokio::spawn(async move { responder.send(callers.passes().give(&request).await) });
                }
                Err(error) => responder.error(&error),
            },
            SupervisorMethod::ConfirmPassRequest => {
                responder.send(call.decode::<ConfirmPassRequestRequestProto>().map(|request| {
                    ConfirmPassRequestResponseProto {
                        asked: self.callers.passes().has_asked(&request.nonce),
                    }
                }));
            }
            SupervisorMethod::GetDigestMarks => {
                responder.send(tell_digest_marks(&self.callers, &self.ns, call));
            }
            SupervisorMethod::GetInstance => responder.ok(&self.instance(call)),
            SupervisorMethod::ChangeJournalNodes => return no_such_method(call, responder),
        }
        true
    }

    fn instance(&self, call: &RpcCall) -> GetInstanceResponseProto {
        if let Ok(GetInstanceRequestProto { split: Some(split) }) = call.decode()
            && self.callers.check_superuser(call).is_ok()
        {
            self.split.take(&split, self.clock.ms());
        }
        let process = PROCESS.get_or_init(ProcessIdentity::own).as_ref();
        let ns = self.ns.read();
        GetInstanceResponseProto {
            process_start_ticks: process.map(|process| process.start_ticks),
            boot_id: process.map(|process| process.boot_id.clone()),
            pid_namespace: process.map(|process| process.pid_namespace),
            pid: std::process::id(),
            instance_id: self.instance.to_string(),
            nameservice_id: self.settings.nameservice_id.clone(),
            namenode_id: self.settings.namenode_id.clone(),
            state: ns.role().ha_state().to_wire() as u32,
            last_applied_tx_id: ns.edit_log().applied().0,
            safe_mode: Some(ns.blockmanager().would_be_in_safe_mode()),
            clock_ms: Some(self.clock.ms()),
        }
    }
}

/// Serves a superuser's call that changes how this process serves, or shows it.
fn administer(callers: &Callers, call: &RpcCall, responder: Responder) -> bool {
    match call.method {
        Method::RefreshUserMappings(RefreshUserMappingsMethod::RefreshUserToGroupsMappings) => {
            callers.groups().refresh();
            responder.ok(&RefreshUserToGroupsMappingsResponseProto {});
        }
        Method::RefreshUserMappings(RefreshUserMappingsMethod::RefreshSuperUserGroupsConfiguration) => {
            let refreshed = callers.authorizer().refresh_proxy_users();
            responder.send(refreshed.map(|()| RefreshSuperUserGroupsConfigurationResponseProto {}));
        }
        Method::RefreshAuthorizationPolicy(RefreshAuthorizationPolicyMethod::RefreshServiceAcl) => {
            let refreshed = callers.authorizer().refresh_service_acls();
            responder.send(refreshed.map(|()| RefreshServiceAclResponseProto {}));
        }
        Method::GenericRefresh(GenericRefreshMethod::Refresh) => match call.decode::<GenericRefreshRequestProto>() {
            // No handler is registered under any identifier (`RefreshRegistry.dispatch`).
            Ok(request) => responder.error(&RemoteException::new(
                exceptions::ILLEGAL_ARGUMENT,
                format!(
                    "Identifier '{}' does not exist in RefreshRegistry. Valid options are: ",
                    request.identifier.unwrap_or_default()
                ),
            )),
            Err(error) => responder.error(&error),
        },
        _ => return no_such_method(call, responder),
    }
    true
}

fn groups_of(callers: &Callers, call: &RpcCall, responder: Responder) -> bool {
    match call.decode::<GetGroupsForUserRequestProto>() {
        Ok(request) => {
            let groups = callers.groups().clone();
            tokio::spawn(async move {
                responder.send(match groups.resolve(&request.user).await {
                    Some(identity) => Ok(GetGroupsForUserResponseProto {
                        groups: identity.groups.to_vec(),
                    }),
                    None => Err(not_known_yet(&request.user)),
                });
            });
        }
        Err(error) => responder.error(&error),
    }
    true
}

/// `HAServiceProtocol`.
pub struct HaService {
    pub(crate) settings: Arc<Settings>,
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) replies: Arc<Replies>,
    pub(crate) callers: Arc<Callers>,
    pub(crate) health: Arc<Health>,
    pub(crate) serving: Arc<Serving>,
    /// Faults on demand, if they are allowed.
    pub(crate) debug_hooks: Arc<OnceLock<DebugHooks>>,
    /// One task carries the requested changes of role out, one after the other.
    pub(crate) transitions: mpsc::UnboundedSender<Transition>,
}

impl health::HealthSource for HaService {
    fn problem(&self) -> Option<String> {
        self.health.lock().problem().map(str::to_owned)
    }

    fn role(&self) -> Role {
        self.replies.role()
    }

    fn is_unhealthy_by_hook(&self) -> bool {
        let hooks = self.debug_hooks.get();
        hooks.is_some_and(|hooks| hooks.unhealthy(self.clock.ms()))
    }

    fn serves(&self) -> bool {
        self.serving.is_proven(self.clock.ms())
    }

    fn is_broken(&self) -> bool {
        self.ns.read().is_broken()
    }

    fn shortage(&self) -> Option<String> {
        resources::problem(&self.settings.resources.shortage(volume_of))
    }

    fn in_safe_mode(&self) -> bool {
        self.ns.read().blockmanager().in_safe_mode()
    }
}

impl HaService {
    fn serve(&self, method: HaServiceMethod, call: &RpcCall, responder: Responder) -> bool {
        match method {
            HaServiceMethod::GetServiceStatus if self.settings.is_single() => responder.error(&no_ha()),
            HaServiceMethod::GetServiceStatus => responder.ok(&self.service_status()),
            HaServiceMethod::MonitorHealth if self.settings.is_single() => {
                responder.send(
                    self.callers
                        .check_superuser(call)
                        .map(|()| MonitorHealthResponseProto {}),
                );
            }
            HaServiceMethod::MonitorHealth => match self.monitor_health(call) {
                Ok(()) => responder.ok(&MonitorHealthResponseProto {}),
                Err(error) => responder.error(&error),
            },
            HaServiceMethod::TransitionToActive => {
                let asked = call.decode::<TransitionToActiveRequestProto>().and_then(|request| {
                    self.check(call, &request.req_info)?;
                    // A controller asks again by itself: no NameNode becomes the writer before the lease has ended. Any
                    // other caller has a reason to wait for the end of the lease.
                    let by_controller = request.req_info.req_source == HaRequestSource::RequestByZkfc as i32;
                    let asked_by = asked_by(call, by_controller);
                    Ok((!by_controller || self.settings.zookeeper_elects, asked_by))
                });
                match asked {
                    Ok((patient, asked_by)) => self.transition(TransitionCall::ToActive(responder), asked_by, patient),
                    Err(error) => responder.error(&error),
                }
            }
            HaServiceMethod::TransitionToStandby => {
                let asked = call.decode::<TransitionToStandbyRequestProto>().and_then(|request| {
                    self.check(call, &request.req_info)?;
                    let by_controller = request.req_info.req_source == HaRequestSource::RequestByZkfc as i32;
                    Ok(asked_by(call, by_controller))
                });
                match asked {
                    Ok(asked_by) => self.transition(TransitionCall::ToStandby(responder), asked_by, false),
                    Err(error) => responder.error(&error),
                }
            }
            HaServiceMethod::TransitionToObserver => {
                let asked = call
                    .decode::<TransitionToObserverRequestProto>()
                    .and_then(|request| self.check(call, &request.req_info));
                responder.error(&asked.err().unwrap_or_else(|| no_observer(self.replies.role())));
            }
            HaServiceMethod::GetProtocolSignature | HaServiceMethod::GetProtocolVersion => {
                return no_such_method(call, responder);
            }
        }
        true
    }

    fn service_status(&self) -> GetServiceStatusResponseProto {
        let role = self.replies.role();
        let mut response = GetServiceStatusResponseProto {
            state: role.ha_state().to_wire(),
            ready_to_become_active: None,
            not_ready_reason: None,
        };
        if role.ha_state() == HaState::Standby {
            let tip = {
                let ns = self.ns.read();
                ns.blockmanager()
                    .in_safe_mode()
                    .then(|| ns.blockmanager().safe_mode_tip())
            };
            let difference = self
                .health
                .lock()
                .divergence
                .difference()
                .map(|known| known.what.clone());
            match difference.or(tip.map(|tip| format!("The NameNode is in safemode. {tip}"))) {
                Some(reason) => {
                    response.ready_to_become_active = Some(false);
                    response.not_ready_reason = Some(reason);
                }
                None => response.ready_to_become_active = Some(true),
            }
        } else if role == Role::Active {
            response.ready_to_become_active = Some(true);
        }
        response
    }

    fn monitor_health(&self, call: &RpcCall) -> Result<(), RemoteException> {
        self.callers.check_superuser(call)?;
        let checked = health::check(self, self.settings.not_active_in_safe_mode);
        checked.map_err(|unhealthy| RemoteException::new(exceptions::HEALTH_CHECK_FAILED, unhealthy.to_string()))
    }

    /// The checks of Hadoop's `NameNode` before a change of state: whether it has started, whether this caller may change
    /// it (`checkHaStateChange`), the superuser's privilege, and whether there is high availability.
    fn check(&self, call: &RpcCall, info: &HaStateChangeRequestInfoProto) -> Result<(), RemoteException> {
        if self.replies.role() == Role::Initializing {
            return Err(RemoteException::new(
                exceptions::RETRIABLE,
                "NameNode still not started",
            ));
        }
        check_source(&self.settings, call, info)?;
        self.callers.check_superuser(call)?;
        match self.settings.is_single() {
            true => Err(no_ha()),
            false => Ok(()),
        }
    }

    fn transition(&self, call: TransitionCall, asked_by: String, patient: bool) {
        if let Err(unsent) = self.transitions.send(Transition {
            call,
            asked_by,
            patient,
        }) {
            unsent.0.call.answer(Err(RemoteException::new(
                exceptions::SERVICE_FAILED,
                "the NameNode is stopping",
            )));
        }
    }
}

/// Who asks for a change of the role, in words.
fn asked_by(call: &RpcCall, by_controller: bool) -> String {
    let from = call.peer.ip().to_canonical();
    match by_controller {
        true => format!("the failover controller at {from}"),
        false => format!("administrator {} at {from}", call.user.user),
    }
}

fn no_ha() -> RemoteException {
    RemoteException::new(exceptions::SERVICE_FAILED, "HA for namenode is not enabled")
}

/// The answer to `NameNode.transitionToObserver`, because no standby serves reads here.
fn no_observer(role: Role) -> RemoteException {
    let from = role.ha_state();
    let mut text = format!("Cannot transition from '{}' to 'observer'", from.name());
    if from != HaState::Active {
        text.push_str(": this NameNode cannot be an observer, its standbys serve no reads");
    }
    RemoteException::new(exceptions::SERVICE_FAILED, text)
}

fn check_source(
    settings: &Settings,
    call: &RpcCall,
    info: &HaStateChangeRequestInfoProto,
) -> Result<(), RemoteException> {
    let refused = |message: &str| Err(RemoteException::new(exceptions::ACCESS_CONTROL, message));
    let auto = settings.automatic_failover;
    match HaRequestSource::try_from(info.req_source) {
        Ok(HaRequestSource::RequestByUser) if auto => {
            refused("Manual HA control for this NameNode is disallowed, because automatic HA is enabled.")
        }
        Ok(HaRequestSource::RequestByZkfc) if !auto => refused(&format!(
            "Request from ZK failover controller at {} denied since automatic HA is not enabled",
            call.peer.ip()
        )),
        Ok(HaRequestSource::RequestByUserForced) if auto => {
            tracing::warn!(peer = %call.peer, "manual HA control although automatic failover is enabled");
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(_) => refused("unknown source of the request"),
    }
}

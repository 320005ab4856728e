//! A NameNode as the target of a command (`NNHAServiceTarget`), and the calls of HAServiceProtocol to it.

use super::{Refused, words};
use hathi_conf::{Configuration, HostPort};
use hathi_formats::proto::common::{self, HaRequestSource, HaServiceStateProto};
use hathi_net::ipc::protocols::{HA_SERVICE_PROTOCOL, ZKFC_PROTOCOL};
use hathi_net::ipc::{ClientOptions, Protocol, RpcClient, RpcError, connect_to};
use hathi_zkfc::fencing;
use std::cell::Cell;
use std::fmt;
use std::time::Duration;

/// Default RPC port of Hadoop's NameNodes.
const NAMENODE_PORT: u16 = 8020;
/// Default port of Hadoop's controllers (`dfs.ha.zkfc.port`).
const CONTROLLER_PORT: u32 = 8019;

/// Identity and addresses of a NameNode.
pub(super) struct HaServiceTarget<'a> {
    conf: &'a Configuration,
    nameservice: String,
    id: String,
    address: HostPort,
    lifeline: Option<HostPort>,
    /// Whether it was called. From then on messages show its host name, as Java's do.
    called: Cell<bool>,
}

impl fmt::Display for HaServiceTarget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match &self.lifeline {
            Some(lifeline) => words::endpoint(lifeline, false),
            None => words::endpoint(&self.address, self.called.get()),
        };
        write!(f, "NameNode at {shown}")
    }
}

impl<'a> HaServiceTarget<'a> {
    /// A NameNode by its id, in this nameservice, or in the only one.
    pub(super) fn new(
        conf: &'a Configuration,
        nameservice: Option<&str>,
        id: &str,
    ) -> Result<HaServiceTarget<'a>, Refused> {
        let all = conf.nameservices();
        let nameservice = match (nameservice, all.as_slice()) {
            (Some(given), _) => given.to_owned(),
            (None, [only]) => only.clone(),
            (None, several) => {
                let mut text = "Unable to determine the name service ID.".to_owned();
                if !several.is_empty() {
                    text.push_str(&format!(
                        " This is an HA configuration with multiple name services configured. dfs.nameservices is set \
                         to [{}]. Please re-run with the -ns option.",
                        several.join(", ")
                    ));
                }
                return Err(Refused::argument(text));
            }
        };
        let address = |key: &str, port| -> Result<Option<HostPort>, Refused> {
            let text = conf.get(&format!("{key}.{nameservice}.{id}"));
            let parsed = text.map(|text| HostPort::parse(&text, port)).transpose();
            parsed.map_err(Refused::argument)
        };
        let service = match address("dfs.namenode.servicerpc-address", Some(NAMENODE_PORT))? {
            Some(address) => Some(address),
            None => address("dfs.namenode.rpc-address", Some(NAMENODE_PORT))?,
        };
        let unknown = || Refused::argument(format!("Unable to determine service address for namenode '{id}'"));
        Ok(HaServiceTarget {
            conf,
            address: service.ok_or_else(unknown)?,
            lifeline: address("dfs.namenode.lifeline.rpc-address", None)?,
            nameservice,
            id: id.to_owned(),
            called: Cell::new(false),
        })
    }

    /// Address for the calls of controllers and administrators.
    pub(super) fn address(&self) -> &HostPort {
        &self.address
    }

    /// Whether failover controllers manage its state.
    pub(super) fn is_automatic(&self) -> bool {
        let key = "dfs.ha.automatic-failover.enabled";
        let key = self.conf.scoped_key(key, Some(&self.nameservice), None);
        self.conf.get_bool(&key, false)
    }

    async fn connect(
        &self,
        address: &HostPort,
        protocol: &'static Protocol,
        timeout: Duration,
    ) -> Result<RpcClient, RpcError> {
        self.called.set(true);
        let mut options = ClientOptions::new(&crate::cmd::user_name());
        if let Ok(ms) = self.conf.get_u64("ipc.client.connect.timeout", 20_000) {
            options.connect_timeout = Duration::from_millis(ms);
        }
        options.call_timeout = timeout;
        connect_to(&address.to_string(), protocol, &options).await
    }

    /// Asks for its HA state.
    pub(super) async fn status(&self, timeout: Duration) -> Result<common::GetServiceStatusResponseProto, RpcError> {
        let client = self.connect(&self.address, &HA_SERVICE_PROTOCOL, timeout).await?;
        let request = common::GetServiceStatusRequestProto {};
        client.call("getServiceStatus", &request).await
    }

    /// Asks it to check its health.
    pub(super) async fn monitor_health(&self, timeout: Duration) -> Result<(), RpcError> {
        let client = self.connect(&self.address, &HA_SERVICE_PROTOCOL, timeout).await?;
        let request = common::MonitorHealthRequestProto {};
        let _: common::MonitorHealthResponseProto = client.call("monitorHealth", &request).await?;
        Ok(())
    }

    /// Asks it to take a role. A timeout of zero waits without end.
    pub(super) async fn transition(
        &self,
        to: HaServiceStateProto,
        source: HaRequestSource,
        timeout: Duration,
    ) -> Result<(), RpcError> {
        let req_info = common::HaStateChangeRequestInfoProto {
            req_source: source.into(),
        };
        let client = self.connect(&self.address, &HA_SERVICE_PROTOCOL, timeout).await?;
        match to {
            HaServiceStateProto::Active => {
                let request = common::TransitionToActiveRequestProto { req_info };
                let _: common::TransitionToActiveResponseProto = client.call("transitionToActive", &request).await?;
            }
            HaServiceStateProto::Observer => {
                let request = common::TransitionToObserverRequestProto { req_info };
                let _: common::TransitionToObserverResponseProto =
                    client.call("transitionToObserver", &request).await?;
            }
            HaServiceStateProto::Standby | HaServiceStateProto::Initializing => {
                let request = common::TransitionToStandbyRequestProto { req_info };
                let _: common::TransitionToStandbyResponseProto = client.call("transitionToStandby", &request).await?;
            }
        }
        Ok(())
    }

    /// Address of its failover controller.
    pub(super) fn controller(&self) -> Result<HostPort, Refused> {
        let key = "dfs.ha.zkfc.port";
        let key = self.conf.scoped_key(key, Some(&self.nameservice), Some(&self.id));
        let port = self.conf.get_u32(&key, CONTROLLER_PORT).map_err(Refused::argument)?;
        Ok(HostPort {
            host: self.address.host.clone(),
            port: u16::try_from(port).map_err(|_| Refused::argument(format!("{key}: {port} is no port")))?,
        })
    }

    /// Asks its failover controller to make it the active.
    pub(super) async fn graceful_failover(&self, controller: &HostPort, timeout: Duration) -> Result<(), RpcError> {
        let client = self.connect(controller, &ZKFC_PROTOCOL, timeout).await?;
        let request = common::GracefulFailoverRequestProto {};
        let _: common::GracefulFailoverResponseProto = client.call("gracefulFailover", &request).await?;
        Ok(())
    }

    fn fencing_key(&self) -> String {
        let key = "dfs.ha.fencing.methods";
        self.conf.scoped_key(key, Some(&self.nameservice), Some(&self.id))
    }

    fn with_fencing<T>(&self, run: impl FnOnce(&fencing::FencingTarget<'_>) -> T) -> T {
        run(&fencing::FencingTarget {
            address: &self.address.to_string(),
            nameservice: &self.nameservice,
            namenode_id: &self.id,
        })
    }

    /// Whether fencing methods are configured that can be run.
    pub(super) fn has_fencer(&self) -> bool {
        let methods = self.with_fencing(|target| fencing::count(self.conf, target));
        if let Err(problem) = &methods {
            super::log("WARN", problem);
        }
        methods.is_ok() && self.conf.is_set(&self.fencing_key())
    }

    /// Runs the fencing methods. Returns whether one of them succeeded.
    pub(super) fn fence(&self) -> bool {
        self.with_fencing(|target| fencing::fence(self.conf, target, |told| super::log("INFO", &told)))
    }
}

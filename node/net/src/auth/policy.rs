//! Service level authorization: which users may use which protocol, and from where (`hadoop-policy.xml`).

use super::acl::{AccessControlList, Admission, Admitted, Machines};
use super::authorizer::Unknown;
use crate::ipc::{Protocol, protocols};
use hathi_conf::Configuration;
use hathi_formats::exceptions::{AUTHORIZATION, RemoteException};
use std::net::IpAddr;

/// The protocols with the prefixes of their keys (`HDFSPolicyProvider`), and our own protocols, which Hadoop does not
/// know.
static SERVICES: &[(&Protocol, &str)] = &[
    (&protocols::CLIENT_PROTOCOL, "security.client.protocol"),
    (
        &protocols::CLIENT_DATANODE_PROTOCOL,
        "security.client.datanode.protocol",
    ),
    (&protocols::DATANODE_PROTOCOL, "security.datanode.protocol"),
    (&protocols::INTER_DATANODE_PROTOCOL, "security.inter.datanode.protocol"),
    (&protocols::NAMENODE_PROTOCOL, "security.namenode.protocol"),
    (&protocols::QJOURNAL_PROTOCOL, "security.qjournal.service.protocol"),
    (
        &protocols::INTER_QJOURNAL_PROTOCOL,
        "security.interqjournal.service.protocol",
    ),
    (&protocols::HA_SERVICE_PROTOCOL, "security.ha.service.protocol"),
    (&protocols::ZKFC_PROTOCOL, "security.zkfc.protocol"),
    (
        &protocols::REFRESH_AUTHORIZATION_POLICY_PROTOCOL,
        "security.refresh.policy.protocol",
    ),
    (
        &protocols::REFRESH_USER_MAPPINGS_PROTOCOL,
        "security.refresh.user.mappings.protocol",
    ),
    (
        &protocols::GET_USER_MAPPINGS_PROTOCOL,
        "security.get.user.mappings.protocol",
    ),
    (
        &protocols::REFRESH_CALL_QUEUE_PROTOCOL,
        "security.refresh.callqueue.protocol",
    ),
    (
        &protocols::GENERIC_REFRESH_PROTOCOL,
        "security.refresh.generic.protocol",
    ),
    (
        &protocols::DATANODE_LIFELINE_PROTOCOL,
        "security.datanode.lifeline.protocol",
    ),
    (
        &protocols::RECONFIGURATION_PROTOCOL,
        "security.reconfiguration.protocol",
    ),
    // The daemons that the keys above name use these between each other. So the callers allowed by those keys may use
    // these.
    (
        &protocols::JOURNAL_EXTENSION_PROTOCOL,
        "security.qjournal.service.protocol",
    ),
    (&protocols::SUPERVISOR_PROTOCOL, "security.ha.service.protocol"),
];

/// What `hadoop-policy.xml` says of each protocol (`ServiceAuthorizationManager`).
#[derive(Clone, Debug)]
pub(super) struct ServiceAcls(Vec<(&'static Protocol, Admission)>);

impl ServiceAcls {
    /// From a configuration that includes the policy's file.
    pub(super) fn of(conf: &Configuration) -> ServiceAcls {
        const DEFAULT: &str = "security.service.authorization.default";
        let read = |service: &str, suffix: &str, default: &str| {
            let of_all = || conf.raw(&format!("{DEFAULT}.{suffix}"));
            conf.raw(&format!("{service}.{suffix}"))
                .or_else(of_all)
                .unwrap_or_else(|| default.to_owned())
        };
        let services = SERVICES.iter().map(|(protocol, key)| {
            let admission = Admission {
                allowed: AccessControlList::parse(&read(key, "acl", "*")),
                blocked: AccessControlList::parse(&read(key, "acl.blocked", "")),
                hosts: Machines::parse(&read(key, "hosts", "*")),
                blocked_hosts: Machines::parse(&read(key, "hosts.blocked", "")),
            };
            (*protocol, admission)
        });
        ServiceAcls(services.collect())
    }

    /// Whether a user may use a protocol.
    pub(super) fn check(
        &self,
        protocol: &Protocol,
        user: &str,
        groups: Option<&[String]>,
        peer: IpAddr,
        may_wait: bool,
    ) -> Result<Result<(), RemoteException>, Unknown> {
        let name = protocol.name;
        let service = self.0.iter().find(|(other, _)| *other == protocol);
        let why = match service {
            None => format!("Protocol interface {name} is not known."),
            Some((_, admission)) => match admission.decide(user, groups, peer, may_wait)? {
                Admitted::Yes => return Ok(Ok(())),
                Admitted::NotThisUser => {
                    let denied = "denied by configured ACL";
                    format!("User {user} (auth:SIMPLE) is not authorized for protocol interface {name}: {denied}")
                }
                Admitted::NotFromThere => {
                    let host = peer.to_canonical();
                    format!("Host {host} is not authorized for protocol interface {name}")
                }
            },
        };
        Ok(Err(RemoteException::new(AUTHORIZATION, why)))
    }
}

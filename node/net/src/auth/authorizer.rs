//! The rights of a connection, decided when it names its user.

use super::policy::ServiceAcls;
use super::proxy::ProxyUsers;
use super::{Groups, USER_MAX_BYTES};
use crate::ipc::{Protocol, UserInfo};
use hathi_conf::{ConfError, Configuration};
use hathi_formats::exceptions::{AUTHORIZATION, RETRIABLE, RemoteException};
use parking_lot::RwLock;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

/// Name of the policy's file, beside `core-site.xml`.
const POLICY_FILE: &str = "hadoop-policy.xml";

/// Prefix of a proof in the field where a connection names a real user. No user's short name has a slash.
pub const VOUCHED_PREFIX: &str = "hathi-namenode/";

/// The decision depends on the groups of a user or the addresses of a machine, which are not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unknown;

/// The protocols of a server that a connection may use, by their indexes in the server's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols(u64);

impl Protocols {
    /// Every protocol.
    pub const ALL: Protocols = Protocols(u64::MAX);

    /// Whether the protocol at this index is among them.
    #[must_use]
    #[inline]
    pub fn contain(self, place: usize) -> bool {
        u32::try_from(place)
            .ok()
            .and_then(|place| self.0.checked_shr(place))
            .is_some_and(|rest| rest & 1 == 1)
    }
}

/// A decision that waits for groups or addresses.
pub type PendingDecision = Pin<Box<dyn Future<Output = Result<Protocols, RemoteException>> + Send>>;

/// A decision, or the wait for one.
pub(crate) enum Decision {
    Made(Result<Protocols, RemoteException>),
    Waits(PendingDecision),
}

/// The question: who wants to use which protocols, from where.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) user: Arc<UserInfo>,
    pub(crate) peer: IpAddr,
    /// The protocol that the connection named when it was opened.
    pub(crate) opened_for: Option<String>,
    /// The server's protocols, in the order of its table.
    pub(crate) protocols: Arc<[&'static Protocol]>,
}

#[derive(Clone, Debug)]
struct Rules {
    /// `hadoop.security.authorization`. If it is false, the lists of the policy have no effect.
    enabled: bool,
    services: ServiceAcls,
    proxies: ProxyUsers,
}

impl Rules {
    fn of(conf: &Configuration) -> Rules {
        Rules {
            enabled: conf.get_bool("hadoop.security.authorization", false),
            services: ServiceAcls::of(conf),
            proxies: ProxyUsers::of(conf),
        }
    }

    fn read(dir: &Path) -> Result<Rules, ConfError> {
        Ok(Rules::of(&with_policy(Configuration::load(dir)?)?))
    }

    fn decide(
        &self,
        asked: &Asked,
        groups: Option<&[String]>,
        may_wait: bool,
    ) -> Result<Result<Protocols, RemoteException>, Unknown> {
        let user = &asked.user.user;
        if let Some(real_user) = &asked.user.real_user
            && !asked.user.vouched
            && let Err(refused) = self.proxies.check(real_user, user, groups, asked.peer, may_wait)?
        {
            return Ok(Err(refused));
        }
        if !self.enabled {
            return Ok(Ok(Protocols::ALL));
        }
        let mut allowed = 0_u64;
        for (place, protocol) in asked.protocols.iter().enumerate().take(64) {
            match self.services.check(protocol, user, groups, asked.peer, may_wait)? {
                Ok(()) => allowed |= 1 << place,
                Err(refused) if asked.opened_for.as_deref() == Some(protocol.name) => return Ok(Err(refused)),
                Err(_) => {}
            }
        }
        Ok(Ok(Protocols(allowed)))
    }
}

fn with_policy(mut conf: Configuration) -> Result<Configuration, ConfError> {
    if let Some(path) = conf.dir().map(|dir| dir.join(POLICY_FILE))
        && path.exists()
    {
        conf.add_file(&path)?;
    }
    Ok(conf)
}

/// Checks whether the text that a connection gives instead of a real user's name proves that it comes from a NameNode.
type Vouch = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// The rules of a server: `hadoop.proxyuser.*`, and with `hadoop.security.authorization` those of `hadoop-policy.xml`.
///
/// Hadoop checks once for each connection whether its user may use the protocol that the connection was opened for. A
/// connection can carry other protocols as well. So here all of them are decided at the same moment, and a call of a
/// protocol that is not allowed is refused by itself.
pub struct Authorizer {
    /// Directory from which the rules are read again.
    dir: Option<PathBuf>,
    rules: RwLock<Arc<Rules>>,
    groups: Groups,
    vouch: OnceLock<Vouch>,
}

impl std::fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorizer")
            .field("rules", &self.rules.read())
            .finish_non_exhaustive()
    }
}

impl Authorizer {
    /// The rules of a configuration, and of the policy's file in the directory that it was loaded from, if any.
    pub fn of(conf: &Configuration, groups: Groups) -> Result<Authorizer, ConfError> {
        Ok(Authorizer {
            dir: conf.dir().map(Path::to_owned),
            rules: RwLock::new(Arc::new(Rules::of(&with_policy(conf.clone())?))),
            groups,
            vouch: OnceLock::new(),
        })
    }

    /// Sets the check of a NameNode's proof. If it accepts what a connection gives in place of a real user, a NameNode
    /// calls for one of its clients. To be set once.
    pub fn believe(&self, vouch: impl Fn(&str) -> bool + Send + Sync + 'static) {
        let _ = self.vouch.set(Box::new(vouch));
    }

    pub(crate) fn is_proven(&self, said: &str) -> bool {
        self.vouch.get().is_some_and(|vouch| vouch(said))
    }

    fn read(&self) -> Result<Option<Rules>, RemoteException> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let failed = |error: ConfError| RemoteException::new(hathi_formats::exceptions::IO, error.to_string());
        Rules::read(dir).map(Some).map_err(failed)
    }

    /// Reads the access lists again (`refreshServiceAcl`). They apply to connections from then on.
    ///
    /// # Errors
    /// When authorization is not enabled, or the files can't be read. Then the old lists stay.
    pub fn refresh_service_acls(&self) -> Result<(), RemoteException> {
        if !self.rules.read().enabled {
            return Err(RemoteException::new(
                AUTHORIZATION,
                "Service Level Authorization not enabled!",
            ));
        }
        if let Some(read) = self.read()? {
            let mut rules = self.rules.write();
            *rules = Arc::new(Rules {
                services: read.services,
                ..Rules::clone(&rules)
            });
        }
        Ok(())
    }

    /// Reads `hadoop.proxyuser.*` again (`refreshSuperUserGroupsConfiguration`).
    ///
    /// # Errors
    /// When the files can't be read. Then the old rules stay.
    pub fn refresh_proxy_users(&self) -> Result<(), RemoteException> {
        if let Some(read) = self.read()? {
            let mut rules = self.rules.write();
            *rules = Arc::new(Rules {
                proxies: read.proxies,
                ..Rules::clone(&rules)
            });
        }
        Ok(())
    }

    /// Whether a caller without a connection, such as the sender of an HTTP request, may use a protocol: the decision
    /// that a connection gets when it names its user.
    ///
    /// # Errors
    /// `AuthorizationException` if it may not, or may not act in the name of that user; `RetriableException` if the
    /// groups of the user are not known yet.
    pub async fn admit(
        self: &Arc<Self>,
        user: &Arc<UserInfo>,
        peer: IpAddr,
        protocol: &'static Protocol,
    ) -> Result<(), RemoteException> {
        check_length(&user.user)?;
        check_length(user.real_user.as_deref().unwrap_or_default())?;
        let decision = self.decide(Asked {
            user: user.clone(),
            peer,
            // The decision about this one protocol is a refusal, and not an empty set.
            opened_for: Some(protocol.name.to_owned()),
            protocols: [protocol].into(),
        });
        match decision {
            Decision::Made(made) => made,
            Decision::Waits(waiting) => waiting.await,
        }
        .map(|_| ())
    }

    pub(crate) fn decide(self: &Arc<Self>, asked: Asked) -> Decision {
        let rules = self.rules.read().clone();
        // Without lists nothing depends on groups, so they are not looked up.
        match rules.decide(&asked, None, false) {
            Ok(made) => Decision::Made(made),
            Err(Unknown) => Decision::Waits(Box::pin(ask(rules, self.groups.clone(), asked))),
        }
    }
}

async fn ask(rules: Arc<Rules>, groups: Groups, asked: Asked) -> Result<Protocols, RemoteException> {
    let user = asked.user.user.clone();
    let not_known = || RemoteException::new(RETRIABLE, format!("The groups of user {user} are not known yet"));
    let identity = groups.resolve(&user).await.ok_or_else(not_known)?;
    // Host names may have to be resolved, which blocks.
    let decided = tokio::task::spawn_blocking(move || rules.decide(&asked, Some(&identity.groups), true)).await;
    match decided {
        Ok(Ok(made)) => made,
        Ok(Err(Unknown)) | Err(_) => Err(not_known()),
    }
}

/// The decision without rules: a caller may only act under its own name.
pub(crate) fn without_rules(user: &UserInfo) -> Result<Protocols, RemoteException> {
    match &user.real_user {
        None => Ok(Protocols::ALL),
        Some(real_user) => Err(RemoteException::new(
            AUTHORIZATION,
            format!("User: {real_user} is not allowed to impersonate {}", user.user),
        )),
    }
}

/// Refuses names that are longer than any user's, before they are used.
pub(crate) fn check_length(name: &str) -> Result<(), RemoteException> {
    if name.len() <= USER_MAX_BYTES {
        return Ok(());
    }
    Err(RemoteException::new(
        AUTHORIZATION,
        format!("A user's name of {} bytes is longer than {USER_MAX_BYTES}", name.len()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::GroupsOptions;
    use crate::ipc::protocols;
    use hathi_conf::Environment;

    fn authorizer(keys: &[(&str, &str)]) -> Arc<Authorizer> {
        let mut conf = Configuration::new(Environment::default());
        conf.set(
            "hadoop.user.group.static.mapping.overrides",
            "alice=staff;bob=lab;carol=staff,lab;oozie=",
        );
        for (key, value) in keys {
            conf.set(key, *value);
        }
        let groups = Groups::start(GroupsOptions::of(&conf, "hdfs").unwrap());
        Arc::new(Authorizer::of(&conf, groups).unwrap())
    }

    fn asked(real_user: Option<&str>, user: &str, peer: &str) -> Asked {
        Asked {
            user: Arc::new(UserInfo {
                user: user.to_owned(),
                real_user: real_user.map(str::to_owned),
                vouched: false,
            }),
            peer: peer.parse().unwrap(),
            opened_for: Some(protocols::CLIENT_PROTOCOL.name.to_owned()),
            protocols: [&protocols::CLIENT_PROTOCOL, &protocols::DATANODE_PROTOCOL].into(),
        }
    }

    async fn decided(authorizer: &Arc<Authorizer>, asked: Asked) -> Result<Protocols, String> {
        match authorizer.decide(asked) {
            Decision::Made(made) => made,
            Decision::Waits(waiting) => waiting.await,
        }
        .map_err(|refused| {
            assert!(refused.is(AUTHORIZATION), "{refused}");
            refused.message.to_string()
        })
    }

    #[tokio::test]
    async fn nobody_acts_as_another_user_without_a_rule() {
        let authorizer = authorizer(&[
            ("hadoop.proxyuser.oozie.groups", "staff"),
            ("hadoop.proxyuser.oozie.users", "dave"),
            ("hadoop.proxyuser.oozie.hosts", "10.0.0.0/8"),
            ("hadoop.proxyuser.hue.users", "*"),
        ]);
        let ask = |real_user, user, peer| decided(&authorizer, asked(Some(real_user), user, peer));
        let refused = |real_user: &str, user: &str| format!("User: {real_user} is not allowed to impersonate {user}");
        assert_eq!(
            ask("mallory", "hdfs", "10.0.0.1").await,
            Err(refused("mallory", "hdfs"))
        );
        assert_eq!(ask("hdfs", "alice", "10.0.0.1").await, Err(refused("hdfs", "alice")));
        assert_eq!(ask("oozie", "bob", "10.0.0.1").await, Err(refused("oozie", "bob")));
        assert_eq!(ask("oozie", "alice", "10.0.0.1").await, Ok(Protocols::ALL));
        assert_eq!(ask("oozie", "dave", "10.0.0.1").await, Ok(Protocols::ALL));
        let elsewhere = "Unauthorized connection for super-user: oozie from IP 192.168.0.1";
        assert_eq!(ask("oozie", "alice", "192.168.0.1").await, Err(elsewhere.to_owned()));
        // A rule without hosts admits no host.
        let nowhere = "Unauthorized connection for super-user: hue from IP 10.0.0.1";
        assert_eq!(ask("hue", "alice", "10.0.0.1").await, Err(nowhere.to_owned()));
        assert_eq!(
            decided(&authorizer, asked(None, "bob", "10.0.0.1")).await,
            Ok(Protocols::ALL)
        );
    }

    #[tokio::test]
    async fn the_lists_of_the_policy_count_for_each_protocol() {
        let policy = [
            ("security.client.protocol.acl", " staff"),
            ("security.client.protocol.acl.blocked", "carol"),
            ("security.client.protocol.hosts.blocked", "10.0.0.66"),
            ("security.datanode.protocol.acl", "hdfs"),
        ];
        let off = authorizer(&policy);
        assert_eq!(decided(&off, asked(None, "bob", "10.0.0.66")).await, Ok(Protocols::ALL));
        let mut keys = policy.to_vec();
        keys.push(("hadoop.security.authorization", "true"));
        let on = authorizer(&keys);
        let ask = |user, peer| decided(&on, asked(None, user, peer));
        let refused = |user: &str| {
            format!(
                "User {user} (auth:SIMPLE) is not authorized for protocol interface \
                 org.apache.hadoop.hdfs.protocol.ClientProtocol: denied by configured ACL"
            )
        };
        let alice = ask("alice", "10.0.0.1").await.unwrap();
        assert!(alice.contain(0) && !alice.contain(1), "and no other protocol");
        assert_eq!(ask("bob", "10.0.0.1").await, Err(refused("bob")));
        assert_eq!(ask("carol", "10.0.0.1").await, Err(refused("carol")));
        assert_eq!(
            ask("alice", "10.0.0.66").await.unwrap_err(),
            "Host 10.0.0.66 is not authorized for protocol interface org.apache.hadoop.hdfs.protocol.ClientProtocol"
        );
    }

    #[tokio::test]
    async fn a_policy_is_read_anew_when_it_is_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, key: &str, value: &str| {
            let xml =
                format!("<configuration><property><name>{key}</name><value>{value}</value></property></configuration>");
            std::fs::write(dir.path().join(name), xml).unwrap();
        };
        write("core-site.xml", "hadoop.security.authorization", "true");
        write(POLICY_FILE, "security.client.protocol.acl", "alice");
        let conf = Configuration::load(dir.path()).unwrap();
        let groups = Groups::start(GroupsOptions::of(&conf, "hdfs").unwrap());
        let authorizer = Arc::new(Authorizer::of(&conf, groups).unwrap());
        let bob = || asked(None, "bob", "10.0.0.1");
        assert!(decided(&authorizer, bob()).await.is_err());
        write(POLICY_FILE, "security.client.protocol.acl", "alice,bob");
        assert!(decided(&authorizer, bob()).await.is_err());
        authorizer.refresh_service_acls().unwrap();
        assert!(decided(&authorizer, bob()).await.is_ok());
    }
}

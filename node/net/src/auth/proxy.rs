//! Which user may act as which other user, and from where: `hadoop.proxyuser.*` (`DefaultImpersonationProvider`).

use super::acl::{AccessControlList, Admission, Admitted, Machines};
use super::authorizer::Unknown;
use hathi_conf::Configuration;
use hathi_formats::exceptions::{AUTHORIZATION, RemoteException};
use std::collections::BTreeMap;
use std::net::IpAddr;

const PREFIX: &str = "hadoop.proxyuser.";

#[derive(Clone, Debug, Default)]
struct Rule {
    users: String,
    groups: String,
    hosts: String,
}

/// The rules, by the name of the real user.
#[derive(Clone, Debug, Default)]
pub(super) struct ProxyUsers(BTreeMap<String, Admission>);

impl ProxyUsers {
    pub(super) fn of(conf: &Configuration) -> ProxyUsers {
        let mut rules: BTreeMap<String, Rule> = BTreeMap::new();
        for (key, value, _) in conf.iter() {
            let Some((user, what)) = key.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('.')) else {
                continue;
            };
            let mut rule = rules.remove(user).unwrap_or_default();
            match what {
                "users" => rule.users = value,
                "groups" => rule.groups = value,
                "hosts" => rule.hosts = value,
                _ => {}
            }
            rules.insert(user.to_owned(), rule);
        }
        let parsed = |rule: Rule| Admission {
            allowed: AccessControlList::of(&rule.users, &rule.groups),
            hosts: Machines::parse(&rule.hosts),
            ..Admission::default()
        };
        ProxyUsers(rules.into_iter().map(|(user, rule)| (user, parsed(rule))).collect())
    }

    /// Whether `real_user` may act as `user`. `groups` are those of `user`.
    pub(super) fn check(
        &self,
        real_user: &str,
        user: &str,
        groups: Option<&[String]>,
        peer: IpAddr,
        may_wait: bool,
    ) -> Result<Result<(), RemoteException>, Unknown> {
        let decided = match self.0.get(real_user) {
            Some(rule) => rule.decide(user, groups, peer, may_wait)?,
            None => Admitted::NotThisUser,
        };
        let why = match decided {
            Admitted::Yes => return Ok(Ok(())),
            Admitted::NotThisUser => format!("User: {real_user} is not allowed to impersonate {user}"),
            Admitted::NotFromThere => {
                let ip = peer.to_canonical();
                format!("Unauthorized connection for super-user: {real_user} from IP {ip}")
            }
        };
        Ok(Err(RemoteException::new(AUTHORIZATION, why)))
    }
}

//! Who may call in whose name, and from where: `hadoop.proxyuser.*` (`DefaultImpersonationProvider`).

use super::acl::{AccessControlList, Machines};
use super::authorizer::Unknown;
use hathi_formats::conf::Configuration;
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

/// The rules by the real user's name.
#[derive(Clone, Debug, Default)]
pub(super) struct ProxyUsers(BTreeMap<String, (AccessControlList, Machines)>);

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
        let parsed = |rule: Rule| {
            (
                AccessControlList::of(&rule.users, &rule.groups),
                Machines::parse(&rule.hosts),
            )
        };
        ProxyUsers(rules.into_iter().map(|(user, rule)| (user, parsed(rule))).collect())
    }

    /// Whether `real_user` may call as `user`, whose groups these are.
    pub(super) fn check(
        &self,
        real_user: &str,
        user: &str,
        groups: Option<&[String]>,
        peer: IpAddr,
        may_wait: bool,
    ) -> Result<Result<(), RemoteException>, Unknown> {
        let refused = |message: String| Ok(Err(RemoteException::new(AUTHORIZATION, message)));
        let rule = self.0.get(real_user);
        let allowed = match rule {
            Some((acl, _)) => acl.includes(user, groups).ok_or(Unknown)?,
            None => false,
        };
        if !allowed {
            return refused(format!("User: {real_user} is not allowed to impersonate {user}"));
        }
        let from_there = match rule {
            Some((_, machines)) => machines.include(peer, may_wait).ok_or(Unknown)?,
            None => false,
        };
        if !from_there {
            return refused(format!(
                "Unauthorized connection for super-user: {real_user} from IP {}",
                peer.to_canonical()
            ));
        }
        Ok(Ok(()))
    }
}

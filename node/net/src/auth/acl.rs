//! Lists of users, groups and machines, as configurations write them.

use super::authorizer::Unknown;
use std::net::{IpAddr, ToSocketAddrs};

/// The word for everybody.
const WILDCARD: &str = "*";

fn list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Users and groups (`org.apache.hadoop.security.authorize.AccessControlList`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessControlList {
    everybody: bool,
    users: Vec<String>,
    groups: Vec<String>,
}

impl AccessControlList {
    /// Parses `user,user group,group`. The names before the first blank are users, so ` group` names no user, and an
    /// empty text names nobody. `*` on either side is everybody.
    #[must_use]
    pub fn parse(text: &str) -> AccessControlList {
        let (users, groups) = text.split_once(' ').unwrap_or((text, ""));
        AccessControlList::of(users, groups)
    }

    /// From a list of users and a list of groups.
    #[must_use]
    pub fn of(users: &str, groups: &str) -> AccessControlList {
        if users.trim() == WILDCARD || groups.trim() == WILDCARD {
            return AccessControlList {
                everybody: true,
                ..AccessControlList::default()
            };
        }
        AccessControlList {
            everybody: false,
            users: list(users),
            groups: list(groups),
        }
    }

    /// Whether a user is in the list. `None` when that depends on the user's groups, and they are not given.
    #[must_use]
    pub fn includes(&self, user: &str, groups: Option<&[String]>) -> Option<bool> {
        if self.everybody || self.users.iter().any(|listed| listed == user) {
            return Some(true);
        }
        if self.groups.is_empty() {
            return Some(false);
        }
        Some(groups?.iter().any(|group| self.groups.contains(group)))
    }
}

/// Machines by address, by network or by name (`org.apache.hadoop.util.MachineList`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machines {
    all: bool,
    addresses: Vec<IpAddr>,
    /// Address and number of significant bits.
    networks: Vec<(IpAddr, u8)>,
    names: Vec<String>,
}

impl Machines {
    /// Parses a list with commas. `*` alone is every machine. An item that is neither an address nor a network is a
    /// host name.
    #[must_use]
    pub fn parse(text: &str) -> Machines {
        let mut machines = Machines::default();
        let items = list(text);
        if let [only] = items.as_slice()
            && only == WILDCARD
        {
            machines.all = true;
            return machines;
        }
        for item in items {
            if let Ok(address) = item.parse() {
                machines.addresses.push(address);
            } else if let Some(network) = network(&item) {
                machines.networks.push(network);
            } else if item.contains('/') {
                // Hadoop's daemon does not start with such an item. Here the item admits nobody.
                tracing::warn!(network = item, "no network: an address and a number of bits");
            } else {
                machines.names.push(item);
            }
        }
        machines
    }

    /// Whether a machine is in the list. `None` when that depends on the addresses of host names. They are looked up
    /// only if `may_wait`, because that may take long.
    #[must_use]
    pub fn include(&self, address: IpAddr, may_wait: bool) -> Option<bool> {
        let address = address.to_canonical();
        let known = self.all
            || self.addresses.iter().any(|listed| listed.to_canonical() == address)
            || self.networks.iter().any(|network| contains(*network, address));
        if known || self.names.is_empty() {
            return Some(known);
        }
        may_wait.then(|| self.names.iter().any(|name| is_address_of(name, address)))
    }
}

/// The users and groups that are admitted, and the machines from which.
#[derive(Clone, Debug, Default)]
pub(super) struct Admission {
    pub(super) allowed: AccessControlList,
    pub(super) blocked: AccessControlList,
    pub(super) hosts: Machines,
    pub(super) blocked_hosts: Machines,
}

/// Whether a caller is admitted, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    Yes,
    NotThisUser,
    NotFromThere,
}

impl Admission {
    /// The user is checked first, as in Hadoop: a user who is not listed learns nothing about the machines.
    pub(super) fn decide(
        &self,
        user: &str,
        groups: Option<&[String]>,
        peer: IpAddr,
        may_wait: bool,
    ) -> Result<Admitted, Unknown> {
        let listed = |list: &AccessControlList| list.includes(user, groups).ok_or(Unknown);
        let from = |machines: &Machines| machines.include(peer, may_wait).ok_or(Unknown);
        if !listed(&self.allowed)? || listed(&self.blocked)? {
            return Ok(Admitted::NotThisUser);
        }
        if !from(&self.hosts)? || from(&self.blocked_hosts)? {
            return Ok(Admitted::NotFromThere);
        }
        Ok(Admitted::Yes)
    }
}

fn is_address_of(name: &str, address: IpAddr) -> bool {
    let found = (name, 0).to_socket_addrs();
    found.is_ok_and(|mut found| found.any(|found| found.ip().to_canonical() == address))
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.trim().parse().ok()?;
    let bits: u8 = bits.trim().parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some((address, bits))
}

fn contains((network, bits): (IpAddr, u8), address: IpAddr) -> bool {
    let same = |one: u128, other: u128, len: u32| {
        let ignored = len.saturating_sub(u32::from(bits));
        one.checked_shr(ignored).unwrap_or(0) == other.checked_shr(ignored).unwrap_or(0)
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => same(network.to_bits().into(), address.to_bits().into(), 32),
        (IpAddr::V6(network), IpAddr::V6(address)) => same(network.to_bits(), address.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_list_names_users_before_the_blank_and_groups_after_it() {
        let acl = AccessControlList::parse("alice, bob");
        assert_eq!(acl.includes("alice", None), Some(true));
        // Hadoop splits at the first blank, so the names behind it are groups.
        assert_eq!(acl.includes("bob", Some(&[])), Some(false));
        let acl = AccessControlList::parse("alice,bob staff,ops");
        assert_eq!(acl.includes("bob", None), Some(true));
        assert_eq!(acl.includes("carol", None), None);
        assert_eq!(acl.includes("carol", Some(&groups(&["lab", "ops"]))), Some(true));
        assert_eq!(acl.includes("carol", Some(&groups(&["lab"]))), Some(false));
        let acl = AccessControlList::parse(" staff");
        assert_eq!(acl.includes("staff", Some(&[])), Some(false));
        assert_eq!(acl.includes("x", Some(&groups(&["staff"]))), Some(true));
    }

    #[test]
    fn an_empty_list_is_nobody_and_a_star_is_everybody() {
        for nobody in ["", " ", "  "] {
            assert_eq!(AccessControlList::parse(nobody).includes("alice", None), Some(false));
        }
        for everybody in ["*", " * ", "* ", "alice *"] {
            assert_eq!(
                AccessControlList::parse(everybody).includes("x", None),
                Some(true),
                "{everybody}"
            );
        }
    }

    #[test]
    fn machines_are_listed_by_address_network_or_name() {
        let in_list = |list: &str, address: &str| Machines::parse(list).include(address.parse().unwrap(), false);
        assert_eq!(in_list("*", "10.0.0.1"), Some(true));
        assert_eq!(in_list("", "10.0.0.1"), Some(false));
        assert_eq!(in_list("10.0.0.1, 10.0.1.0/24", "10.0.1.77"), Some(true));
        assert_eq!(in_list("10.0.0.1, 10.0.1.0/24", "10.0.2.77"), Some(false));
        assert_eq!(in_list("10.0.0.1", "::ffff:10.0.0.1"), Some(true));
        assert_eq!(in_list("0.0.0.0/0", "10.0.0.1"), Some(true));
        assert_eq!(in_list("fe80::/16", "fe80::1"), Some(true));
        assert_eq!(in_list("10.0.0.0/33", "10.0.0.1"), Some(false));
        assert_eq!(
            in_list("localhost", "127.0.0.1"),
            None,
            "names are not looked up on a reactor"
        );
        assert_eq!(
            Machines::parse("localhost").include("127.0.0.1".parse().unwrap(), true),
            Some(true)
        );
    }
}

//! Which daemons the configuration names, and where.

use super::{Rule, Trouble, error, trouble, warning};
use crate::cmd::doctor::facts::Facts;
use hathi_conf::{HostPort, JournalUri};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Fewest JournalNodes of which one may fail.
const JOURNALNODES_MIN: usize = 3;

#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    error("namenode-without-address", "a NameNode of `dfs.ha.namenodes` has no RPC address", "Set dfs.namenode.rpc-address with the nameservice and the id as suffixes, and look for a slip in either.", namenode_without_address),
    warning("namenode-alone", "`dfs.ha.namenodes` names only one NameNode", "Add a second NameNode to dfs.ha.namenodes, or leave the key out for a NameNode without high availability.", namenode_alone),
    error("port-used-twice", "two daemons of one host have the same port", "Give one of them another port.", port_used_twice),
    error("shared-edits-missing", "a nameservice has several NameNodes and no `dfs.namenode.shared.edits.dir`", "Set dfs.namenode.shared.edits.dir to qjournal:// and the JournalNodes.", shared_edits_missing),
    error("shared-edits-differ", "the NameNodes of a nameservice have different shared edits", "Set dfs.namenode.shared.edits.dir once, without the id of a NameNode.", shared_edits_differ),
    error("journal-shared", "two nameservices use the same journal", "Give each nameservice a journal id of its own: the name after the last slash of dfs.namenode.shared.edits.dir.", journal_shared),
    warning("journalnodes-few", "there are fewer than three JournalNodes, so none may fail", "Add JournalNodes until there are three (docs/maintenance.md says how, in a running cluster too).", journalnodes_few),
    warning("journalnodes-even", "the number of JournalNodes is even, which tolerates no more failures than one less", "Add or remove one JournalNode.", journalnodes_even),
    error("journalnode-twice", "a JournalNode is listed twice", "Name each JournalNode once: a majority must be of different machines.", journalnode_twice),
    warning("journalnodes-on-one-host", "a majority of the JournalNodes is on one host of a cluster of several", "Put each JournalNode on a machine of its own.", journalnodes_on_one_host),
    error("host-unknown", "the name of a host does not resolve on this machine", "Correct the name, or add it to DNS or /etc/hosts of every machine.", host_unknown),
    error("host-is-loopback", "the name of a host leads to 127.0.0.0/8 or ::1 in a cluster of several hosts", "Remove the line of this name from /etc/hosts, so that it leads to an address that other machines reach.", host_is_loopback),
];

fn namenode_without_address(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for namenode in facts.namenodes.iter().filter(|namenode| namenode.rpc.is_none()) {
        let parts = [namenode.nameservice.as_deref(), namenode.id.as_deref()];
        let suffix: Vec<&str> = parts.into_iter().flatten().collect();
        let key = format!("dfs.namenode.rpc-address.{}", suffix.join("."));
        found.push(trouble(key, format!("{} has no address", namenode.name())));
    }
    found
}

fn namenode_alone(facts: &Facts) -> Vec<Trouble> {
    let services = facts.ha_nameservices();
    let alone = services.iter().filter(|(_, namenodes)| namenodes.len() == 1);
    alone
        .map(|(nameservice, _)| {
            let key = format!("dfs.ha.namenodes.{nameservice}");
            trouble(
                facts.setting(&key),
                format!("{nameservice} has one NameNode, so nobody can take over from it"),
            )
        })
        .collect()
}

/// Every address at which a daemon listens, with its owner.
fn listeners(facts: &Facts) -> Vec<(HostPort, String)> {
    let mut all = Vec::new();
    for namenode in &facts.namenodes {
        let name = namenode.name();
        let mut add = |address: &Option<HostPort>, of: &str| {
            all.extend(
                address
                    .iter()
                    .map(|address| (address.clone(), format!("{of} of {name}"))),
            );
        };
        add(&namenode.rpc, "RPC");
        add(&namenode.http, "web");
        add(&namenode.controller, "controller");
        for (key, address) in &namenode.others {
            add(&Some(address.clone()), key);
        }
    }
    let mut journalnodes: Vec<HostPort> = facts.journals().into_iter().flat_map(|(members, _)| members).collect();
    journalnodes.sort_by_key(ToString::to_string);
    journalnodes.dedup();
    all.extend(
        journalnodes
            .into_iter()
            .map(|address| (address, "a JournalNode".to_owned())),
    );
    // A DataNode listens everywhere, so its ports are compared with each other only.
    for key in [
        "dfs.datanode.address",
        "dfs.datanode.ipc.address",
        "dfs.datanode.http.address",
    ] {
        if let Ok(Some(HostPort { port, .. })) = facts.conf.address(key, None) {
            let host = "a DataNode".to_owned();
            all.push((HostPort { host, port }, key.to_owned()));
        }
    }
    all.retain(|(address, _)| address.port != 0);
    all
}

fn port_used_twice(facts: &Facts) -> Vec<Trouble> {
    let mut owners: BTreeMap<(String, u16), Vec<String>> = BTreeMap::new();
    for (address, owner) in listeners(facts) {
        owners
            .entry((host_of(facts, &address.host), address.port))
            .or_default()
            .push(owner);
    }
    let twice = owners.into_iter().filter(|(_, owners)| owners.len() > 1);
    twice
        .map(|((host, port), owners)| {
            trouble(
                format!("port {port} of {host}"),
                format!("it is used by {}", owners.join(" and by ")),
            )
        })
        .collect()
}

/// A host by its first address, so that two names of one host are equal.
fn host_of(facts: &Facts, name: &str) -> String {
    let addresses = facts.hosts.get(name);
    let first = addresses.and_then(|addresses| addresses.iter().min());
    first.map_or_else(|| name.to_owned(), IpAddr::to_string)
}

fn shared_edits_missing(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for (nameservice, namenodes) in facts.ha_nameservices() {
        if namenodes.len() > 1 && namenodes.iter().all(|namenode| namenode.journal.is_none()) {
            let what = format!("the NameNodes of {nameservice} have no edits in common");
            found.push(trouble("dfs.namenode.shared.edits.dir", what));
        }
    }
    found
}

fn shared_edits_differ(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for (nameservice, namenodes) in facts.ha_nameservices() {
        let journals: BTreeSet<String> = namenodes
            .iter()
            .filter_map(|namenode| namenode.journal.as_ref())
            .map(set_of)
            .collect();
        if journals.len() > 1 {
            let list: Vec<String> = journals.into_iter().collect();
            let what = format!(
                "the NameNodes of {nameservice} write and read different edits: {}",
                list.join(" and ")
            );
            found.push(trouble("dfs.namenode.shared.edits.dir", what));
        }
    }
    found
}

/// A journal as text, whatever the order of its members.
fn set_of(journal: &JournalUri) -> String {
    match journal {
        JournalUri::File(_) => journal.to_string(),
        JournalUri::Quorum {
            journal_nodes,
            journal_id,
        } => {
            let mut members: Vec<String> = journal_nodes.iter().map(ToString::to_string).collect();
            members.sort();
            format!("qjournal://{}/{journal_id}", members.join(";"))
        }
    }
}

fn journal_shared(facts: &Facts) -> Vec<Trouble> {
    let mut users: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for namenode in &facts.namenodes {
        if let (Some(nameservice), Some(journal)) = (&namenode.nameservice, &namenode.journal) {
            users.entry(set_of(journal)).or_default().insert(nameservice);
        }
    }
    let shared = users.into_iter().filter(|(_, services)| services.len() > 1);
    shared
        .map(|(journal, services)| {
            let services: Vec<&str> = services.into_iter().collect();
            trouble(
                journal,
                format!("{} would mix their edits in it", services.join(" and ")),
            )
        })
        .collect()
}

fn journalnodes_few(facts: &Facts) -> Vec<Trouble> {
    let journals = facts.journals().into_iter();
    journals
        .filter(|(members, _)| members.len() < JOURNALNODES_MIN)
        .map(|(members, journal)| {
            let what = format!(
                "journal {journal} has {} JournalNodes and stops when one of them does",
                members.len()
            );
            trouble("dfs.namenode.shared.edits.dir", what)
        })
        .collect()
}

fn journalnodes_even(facts: &Facts) -> Vec<Trouble> {
    let journals = facts.journals().into_iter();
    journals
        .filter(|(members, _)| members.len() >= JOURNALNODES_MIN && members.len() % 2 == 0)
        .map(|(members, journal)| {
            let (all, may_fail) = (members.len(), (members.len() - 1) / 2);
            let what = format!(
                "journal {journal} has {all} JournalNodes, of which {may_fail} may fail, as of {}",
                all - 1
            );
            trouble("dfs.namenode.shared.edits.dir", what)
        })
        .collect()
}

fn journalnode_twice(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for (members, journal) in facts.journals() {
        let mut seen = BTreeSet::new();
        for member in members {
            if !seen.insert((host_of(facts, &member.host), member.port)) {
                let what = format!("{member} is listed twice for journal {journal}");
                found.push(trouble("dfs.namenode.shared.edits.dir", what));
            }
        }
    }
    found
}

fn journalnodes_on_one_host(facts: &Facts) -> Vec<Trouble> {
    if hosts(facts).len() < 2 {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (members, journal) in facts.journals() {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for member in &members {
            *counts.entry(host_of(facts, &member.host)).or_default() += 1;
        }
        let majority = counts
            .into_iter()
            .filter(|(_, count)| *count > 1 && *count > members.len() / 2);
        found.extend(majority.map(|(host, count)| {
            let what = format!(
                "{count} of {} JournalNodes of {journal} are on {host} and fail together",
                members.len()
            );
            trouble("dfs.namenode.shared.edits.dir", what)
        }));
    }
    found
}

/// The hosts of NameNodes and JournalNodes, by their names.
fn hosts(facts: &Facts) -> BTreeSet<String> {
    let namenodes = facts.namenodes.iter().filter_map(|namenode| namenode.rpc.clone());
    let journalnodes = facts.journals().into_iter().flat_map(|(members, _)| members);
    namenodes.chain(journalnodes).map(|address| address.host).collect()
}

fn host_unknown(facts: &Facts) -> Vec<Trouble> {
    // Of `fs.defaultFS` there is a finding of its own.
    let named = hosts(facts);
    let unknown = facts
        .hosts
        .iter()
        .filter(|(name, addresses)| addresses.is_empty() && named.contains(*name));
    unknown
        .map(|(name, _)| trouble(name, "the name does not resolve on this machine"))
        .collect()
}

fn host_is_loopback(facts: &Facts) -> Vec<Trouble> {
    if hosts(facts).len() < 2 {
        return Vec::new();
    }
    let is_loopback = |addresses: &Vec<IpAddr>| addresses.iter().any(IpAddr::is_loopback);
    if facts
        .hosts
        .values()
        .filter(|addresses| !addresses.is_empty())
        .all(is_loopback)
    {
        // Everything is on this machine.
        return Vec::new();
    }
    let wrong = facts.hosts.iter().filter(|(_, addresses)| is_loopback(addresses));
    wrong
        .map(|(name, addresses)| {
            let list: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            let what = format!(
                "the name leads to {}, where no other machine reaches it",
                list.join(", ")
            );
            trouble(name, what)
        })
        .collect()
}

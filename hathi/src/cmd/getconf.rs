//! `hathi getconf`: values of the configuration, for scripts (`GetConf`).

use super::invocation::Invocation;
use super::table::{Grammar, Row, find};
use anyhow::{Result, bail};
use hathi_conf::{Configuration, HostPort, JournalUri};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::ExitCode;

/// Exit code for a return value of -1 of Hadoop's tool.
const FAILED: u8 = 255;
/// Default of `dfs.namenode.secondary.http-address`.
const SECONDARY_PORT: u16 = 9868;
const JOURNALNODE_PORT: u16 = 8485;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    NameNodes,
    SecondaryNameNodes,
    BackupNodes,
    JournalNodes,
    /// The value of this key.
    Key(&'static str),
    RpcAddresses,
    NamedKey,
}

const fn row(name: &'static str, verb: Verb, arguments: &'static str, help: &'static str) -> Row<Verb> {
    let words = if arguments.is_empty() { 0 } else { 1 };
    Row {
        name,
        verb,
        arguments,
        flags: &[],
        grammar: Grammar::Raw,
        words: words..=words,
        help,
    }
}

#[rustfmt::skip]
pub const ROWS: &[Row<Verb>] = &[
    row("namenodes", Verb::NameNodes, "", "gets list of namenodes in the cluster."),
    row("secondaryNameNodes", Verb::SecondaryNameNodes, "", "gets list of secondary namenodes in the cluster."),
    row("backupNodes", Verb::BackupNodes, "", "gets list of backup nodes in the cluster."),
    row("journalNodes", Verb::JournalNodes, "", "gets list of journal nodes in the cluster."),
    row("includeFile", Verb::Key("dfs.hosts"), "", "gets the include file path that defines the datanodes that can join the cluster."),
    row("excludeFile", Verb::Key("dfs.hosts.exclude"), "", "gets the exclude file path that defines the datanodes that need to decommissioned."),
    row("nnRpcAddresses", Verb::RpcAddresses, "", "gets the namenode rpc addresses"),
    row("confKey", Verb::NamedKey, "[key]", "gets a specific key from the configuration"),
];

/// How the command is used.
pub fn usage() -> String {
    let mut text = "Usage: hdfs getconf is utility for getting configuration information from the config file.\n\n\
                    hdfs getconf\n"
        .to_owned();
    for row in ROWS {
        text.push_str(&format!("\t[{}]\t\t\t{}\n", row.synopsis(), row.help));
    }
    text
}

/// The call address of every NameNode, or its other address if it has one (`getNNServiceRpcAddressesForCluster`).
fn namenodes(conf: &Configuration) -> Result<Vec<HostPort>> {
    let mut all = Vec::new();
    for nameservice in conf.internal_nameservices() {
        let ids = conf.namenode_ids(&nameservice);
        if ids.is_empty() {
            all.push(conf.service_or_rpc_address(Some(&nameservice), None)?);
        }
        for id in ids {
            all.push(conf.service_or_rpc_address(Some(&nameservice), Some(&id))?);
        }
    }
    if all.is_empty() && (conf.is_set("fs.defaultFS") || conf.is_set("dfs.namenode.rpc-address")) {
        all.push(conf.service_or_rpc_address(None, None)?);
    }
    if all.is_empty() {
        bail!(
            "Incorrect configuration: namenode address dfs.namenode.servicerpc-address or dfs.namenode.rpc-address is \
             not configured."
        );
    }
    Ok(all)
}

fn journalnodes(conf: &Configuration) -> Result<Vec<HostPort>> {
    let mut found = BTreeSet::new();
    let mut scopes: Vec<(Option<String>, Option<String>)> = vec![(None, None)];
    for nameservice in conf.internal_nameservices() {
        scopes.push((Some(nameservice.clone()), None));
        let ids = conf.namenode_ids(&nameservice).into_iter();
        scopes.extend(ids.map(|id| (Some(nameservice.clone()), Some(id))));
    }
    for (nameservice, id) in scopes {
        if let Some(JournalUri::Quorum { journal_nodes, .. }) =
            conf.shared_edits(nameservice.as_deref(), id.as_deref())?
        {
            let parsed = journal_nodes
                .iter()
                .map(|node| HostPort::parse(&node.to_string(), Some(JOURNALNODE_PORT)));
            for node in parsed {
                found.insert(node.map_err(|error| anyhow::anyhow!("{error}"))?.to_string());
            }
        }
    }
    found
        .iter()
        .map(|node| HostPort::parse(node, None).map_err(|error| anyhow::anyhow!("{error}")))
        .collect()
}

fn hosts(addresses: &[HostPort]) -> String {
    let mut hosts: Vec<&str> = Vec::new();
    for address in addresses {
        if !hosts.contains(&address.host.as_str()) {
            hosts.push(&address.host);
        }
    }
    hosts.join(" ")
}

fn answer(conf: &Configuration, verb: Verb, key: Option<&str>) -> Result<String> {
    match verb {
        Verb::NameNodes => Ok(hosts(&namenodes(conf)?)),
        Verb::SecondaryNameNodes => {
            let text = conf.get_or("dfs.namenode.secondary.http-address", "0.0.0.0:9868");
            let address = HostPort::parse(&text, Some(SECONDARY_PORT));
            Ok(address.map_err(|error| anyhow::anyhow!("{error}"))?.host)
        }
        Verb::BackupNodes => {
            bail!("Incorrect configuration: backup node address dfs.namenode.backup.address is not configured.")
        }
        Verb::JournalNodes => Ok(hosts(&journalnodes(conf)?)),
        Verb::RpcAddresses => {
            let lines: Vec<String> = namenodes(conf)?.iter().map(ToString::to_string).collect();
            Ok(lines.join("\n"))
        }
        Verb::Key(name) => value(conf, name),
        Verb::NamedKey => value(conf, key.unwrap_or_default()),
    }
}

fn value(conf: &Configuration, key: &str) -> Result<String> {
    match conf.get(key) {
        Some(value) => Ok(value),
        None => bail!("Configuration {key} is missing."),
    }
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let mut invocation = Invocation::of(args)?;
    let mut words = invocation.words()?.into_iter();
    let command = words.next().unwrap_or_default();
    // As in Hadoop, these names have no case.
    let row = ROWS
        .iter()
        .find(|row| command.eq_ignore_ascii_case(&format!("-{}", row.name)));
    let parsed = row
        .or(find(ROWS, &command))
        .map(|row| (row, row.parse(words.collect())));
    let Some((row, Ok(args))) = parsed else {
        eprint!("{}", usage());
        return Ok(ExitCode::from(FAILED));
    };
    let conf = invocation.load()?;
    match answer(&conf, row.verb, args.words.first().map(String::as_str)) {
        Ok(text) => {
            println!("{text}");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{error:#}");
            Ok(ExitCode::from(FAILED))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_conf::Environment;

    #[test]
    fn a_pair_and_its_journalnodes_are_told() {
        let mut conf = Configuration::new(Environment::default());
        let none = answer(&conf, Verb::NameNodes, None).unwrap_err().to_string();
        assert!(none.starts_with("Incorrect configuration"), "{none}");
        for (key, value) in [
            ("dfs.nameservices", "ns"),
            ("dfs.ha.namenodes.ns", "a,b"),
            ("dfs.namenode.rpc-address.ns.a", "one:1"),
            ("dfs.namenode.rpc-address.ns.b", "two:2"),
            ("dfs.namenode.shared.edits.dir", "qjournal://x:1;y:2;z:3/ns"),
            ("dfs.hosts", "/hosts"),
        ] {
            conf.set(key, value);
        }
        let told = |verb, key| answer(&conf, verb, key).unwrap();
        assert_eq!(told(Verb::NameNodes, None), "one two");
        assert_eq!(told(Verb::RpcAddresses, None), "one:1\ntwo:2");
        assert_eq!(told(Verb::JournalNodes, None), "x y z");
        assert_eq!(told(Verb::SecondaryNameNodes, None), "0.0.0.0");
        assert_eq!(told(Verb::Key("dfs.hosts"), None), "/hosts");
        assert_eq!(told(Verb::NamedKey, Some("dfs.nameservices")), "ns");
        let missing = answer(&conf, Verb::NamedKey, Some("x.y")).unwrap_err().to_string();
        assert_eq!(missing, "Configuration x.y is missing.");
    }
}

//! Reads files and asks daemons. It decides nothing about them.

mod daemons;
mod directories;
mod machine;

use super::facts::{Facts, NamedFile};
use anyhow::Result;
use hathi_conf::{ConfError, Configuration};
use std::collections::BTreeSet;
use std::net::ToSocketAddrs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The files of a configuration.
const FILES: [&str; 2] = ["core-site.xml", "hdfs-site.xml"];
/// Keys that name a file that a NameNode reads.
const NAMED_FILES: [&str; 3] = ["dfs.hosts", "dfs.hosts.exclude", "net.topology.table.file.name"];
/// The key that names a program.
const SCRIPT: &str = "net.topology.script.file.name";

/// Everything about a configuration directory, this machine, and the daemons unless `offline`.
///
/// # Errors
/// When this process can't start its own threads.
pub(super) fn facts(dir: &Path, offline: bool) -> Result<Facts> {
    let mut facts = match Configuration::load(dir) {
        Ok(conf) => Facts::of(dir, conf),
        Err(error) => unreadable(dir, &error),
    };
    facts.machine = machine::look();
    facts.missing_files = FILES
        .iter()
        .map(|name| dir.join(name))
        .filter(|path| !path.exists())
        .collect();
    if !facts.is_configured() {
        return Ok(facts);
    }
    facts.refusals = crate::cmd::conf::senseless(&facts.conf).into_iter().collect();
    facts.named_files = named_files(&facts.conf);
    facts.directories = directories::look(&facts.conf, &facts.journals());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        resolve(&mut facts).await;
        if !offline {
            facts.running = Some(daemons::ask(&facts).await);
        }
    });
    // A look-up of a name that hangs must not keep this process.
    runtime.shutdown_background();
    Ok(facts)
}

fn unreadable(dir: &Path, error: &ConfError) -> Facts {
    let mut facts = Facts::without_configuration(dir);
    match error {
        ConfError::Read { path, source } if path == dir => facts.dir_problem = Some(source.to_string()),
        ConfError::Read { path, source } => facts.broken_file = Some((path.display().to_string(), source.to_string())),
        ConfError::Syntax {
            origin, line, problem, ..
        } => facts.broken_file = Some((format!("{origin}, line {line}"), problem.clone())),
        ConfError::Value { .. } | ConfError::Missing { .. } => {
            facts.broken_file = Some((dir.display().to_string(), error.to_string()));
        }
    }
    facts
}

fn named_files(conf: &Configuration) -> Vec<(String, PathBuf, NamedFile)> {
    let look = |key: &str, is_program: bool| {
        let path = PathBuf::from(conf.get(key)?);
        let found = match std::fs::metadata(&path) {
            Ok(metadata) if is_program && metadata.permissions().mode() & 0o111 == 0 => NamedFile::NotExecutable,
            Ok(_) => NamedFile::There,
            Err(_) => NamedFile::Missing,
        };
        Some((key.to_owned(), path, found))
    };
    let files = NAMED_FILES.iter().map(|key| look(key, false));
    files.chain([look(SCRIPT, true)]).flatten().collect()
}

/// Looks up every host that the configuration names, side by side.
async fn resolve(facts: &mut Facts) {
    let namenodes = facts
        .namenodes
        .iter()
        .flat_map(|namenode| namenode.rpc.iter().chain(&namenode.http));
    let journalnodes = facts.journals().into_iter().flat_map(|(members, _)| members);
    let mut names: BTreeSet<String> = namenodes.map(|address| address.host.clone()).collect();
    names.extend(journalnodes.map(|address| address.host));
    let authority = facts.conf.default_fs().authority;
    if !authority.is_empty() && !authority.contains(':') && !facts.conf.nameservices().contains(&authority) {
        names.insert(authority);
    }
    let asked: Vec<_> = names
        .into_iter()
        .map(|name| {
            let host = name.clone();
            let look_up = move || (host.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            (name, tokio::task::spawn_blocking(look_up))
        })
        .collect();
    for (name, task) in asked {
        let found = tokio::time::timeout(daemons::LIMIT, task).await;
        let addresses = match found {
            Ok(Ok(Ok(addresses))) => addresses.iter().map(|address| address.ip()).collect(),
            _ => Vec::new(),
        };
        facts.hosts.insert(name, addresses);
    }
}

//! `/api/configurations`: in which keys the daemons of the cluster differ.
//!
//! Each daemon is asked for its `/conf`. A key is compared among all daemons that have set it, and a daemon that has not
//! set it counts when another of its kind has.

use crate::pages::Pages;
use hathi_conf::HostPort;
use hathi_formats::proto::hdfs::DatanodeReportTypeProto;
use hathi_journal::{Answer, Request};
use hathi_net::http;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// What a daemon may answer.
const ANSWER_MAX_BYTES: usize = 1 << 20;
/// Daemons that are asked at the same time.
const AT_ONCE: usize = 32;
/// DataNodes that are asked. The others are named as not compared.
const DATANODES_MAX: usize = 128;
/// Ends of keys that name a daemon's own place or itself. With the id of a NameNode behind them, they are the same
/// everywhere.
const OWN: [&str; 8] = [
    ".dir",
    ".address",
    "-address",
    ".hostname",
    "-host",
    ".port",
    ".namenode.id",
    "nameservice.id",
];

/// The one directory that must be the same everywhere.
const SHARED: &str = "shared.edits.dir";
/// How `/conf` names the origin of what a daemon has worked out for itself, as its own `fs.defaultFS`.
const WORKED_OUT: &str = "set by the program";

/// A daemon that is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Daemon {
    kind: &'static str,
    name: String,
}

impl Daemon {
    fn shown(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }
}

type Keys = BTreeMap<String, String>;

/// Asks all daemons.
pub async fn differences(pages: &Arc<Pages>) -> Value {
    // One request here makes many there.
    let _alone = pages.others.comparing.lock().await;
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut asking = JoinSet::new();
    let (daemons, mut silent) = daemons(pages).await;
    for (daemon, address) in daemons {
        let at_once = at_once.clone();
        asking.spawn(async move {
            // The semaphore is never closed.
            let _place = at_once.acquire_owned().await;
            let keys = ask(&address).await;
            (daemon, keys)
        });
    }
    let mut compared = BTreeMap::new();
    while let Some(asked) = asking.join_next().await {
        match asked {
            Ok((daemon, Ok(keys))) => {
                compared.insert(daemon, keys);
            }
            Ok((daemon, Err(why))) => {
                tracing::debug!(daemon = daemon.shown(), why, "a daemon does not tell its configuration");
                silent.push(daemon.shown());
            }
            Err(_) => {}
        }
    }
    silent.sort();
    json!({
        "compared": compared.keys().map(Daemon::shown).collect::<Vec<_>>(),
        "silent": silent,
        "differences": compare(&compared),
    })
}

/// The daemons with the addresses of their web servers, and those that can't be asked.
async fn daemons(pages: &Arc<Pages>) -> (Vec<(Daemon, String)>, Vec<String>) {
    let settings = &pages.nn.settings;
    let of = |kind, name: &str| Daemon {
        kind,
        name: name.to_owned(),
    };
    let own = match settings.namenode_id.as_str() {
        "" => settings.rpc.to_string(),
        id => id.to_owned(),
    };
    let mut all = vec![(of("NameNode", &own), settings.http.to_string())];
    let peers = settings.peers.iter();
    all.extend(peers.map(|peer| (of("NameNode", &peer.namenode_id), peer.http.to_string())));
    let controllers = settings.controllers.iter();
    all.extend(controllers.map(|(id, address)| (of("controller", id), address.to_string())));
    let mut silent = Vec::new();
    {
        let ns = pages.nn.ns.read();
        let live = ns.blockmanager().datanode_report(DatanodeReportTypeProto::Live);
        for (place, node) in live.into_iter().enumerate() {
            let daemon = of(
                "DataNode",
                &hathi_conf::host_and_port(&node.id.host_name, node.id.xfer_port),
            );
            if place < DATANODES_MAX {
                all.push((daemon, hathi_conf::host_and_port(&node.id.ip_addr, node.id.info_port)));
            } else {
                silent.push(daemon.shown());
            }
        }
    }
    let mut asking = JoinSet::new();
    for address in pages.nn.readers.nodes.addresses() {
        let pages = pages.clone();
        asking.spawn(async move {
            let web = journalnode_web(&pages, &address).await;
            (address.to_string(), web)
        });
    }
    while let Some(asked) = asking.join_next().await {
        match asked {
            Ok((name, Some(web))) => all.push((of("JournalNode", &name), web)),
            Ok((name, None)) => silent.push(of("JournalNode", &name).shown()),
            Err(_) => {}
        }
    }
    (all, silent)
}

/// A JournalNode's configuration stands nowhere but on its own machine. It tells the port of its web server itself.
pub(crate) async fn journalnode_web(pages: &Pages, address: &HostPort) -> Option<String> {
    let nodes = &pages.nn.readers.nodes;
    let asked = async {
        let client = nodes.connect(nodes.index_of(address)).await.ok()?;
        client.send(&Request::GetJournalState, PATIENCE).await.ok()
    };
    let Ok(Some(Answer::JournalState { http_port, .. })) = tokio::time::timeout(PATIENCE, asked).await else {
        return None;
    };
    Some(hathi_conf::host_and_port(&address.host, u32::from(http_port)))
}

async fn ask(address: &str) -> Result<Keys, String> {
    let url = format!("http://{address}/conf?format=json");
    let asked = http::get_bytes(&url, PATIENCE, ANSWER_MAX_BYTES);
    let (_, body) = match tokio::time::timeout(PATIENCE, asked).await {
        Err(_) => return Err("no answer".to_owned()),
        Ok(answered) => answered.map_err(|error| error.to_string())?,
    };
    let answer: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let properties = answer["properties"].as_array().ok_or("no properties")?;
    let set = properties.iter().filter(|property| property["resource"] != WORKED_OUT);
    let pairs = set.filter_map(|property| {
        let (key, value) = (property["key"].as_str()?, property["value"].as_str()?);
        Some((key.to_owned(), value.to_owned()))
    });
    Ok(pairs.collect())
}

fn is_own(key: &str) -> bool {
    OWN.iter().any(|end| key.ends_with(end)) && !key.ends_with(SHARED)
}

/// The keys that differ, each with its values and who has them.
fn compare(daemons: &BTreeMap<Daemon, Keys>) -> Vec<Value> {
    let keys: BTreeSet<&String> = daemons.values().flat_map(BTreeMap::keys).collect();
    let mut differences = Vec::new();
    for key in keys.into_iter().filter(|key| !is_own(key)) {
        let kinds: BTreeSet<&str> = daemons
            .iter()
            .filter(|(_, keys)| keys.contains_key(key))
            .map(|(daemon, _)| daemon.kind)
            .collect();
        let mut values: BTreeMap<Option<&String>, Vec<String>> = BTreeMap::new();
        for (daemon, keys) in daemons.iter().filter(|(daemon, _)| kinds.contains(daemon.kind)) {
            values.entry(keys.get(key)).or_default().push(daemon.shown());
        }
        if values.len() > 1 {
            let values = values
                .iter()
                .map(|(value, daemons)| json!({"value": value, "daemons": daemons}));
            differences.push(json!({"key": key, "values": values.collect::<Vec<_>>()}));
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_must_be_the_same_is_compared() {
        assert!(is_own("dfs.namenode.name.dir") && is_own("dfs.journalnode.rpc-address"));
        assert!(!is_own("dfs.namenode.shared.edits.dir") && !is_own("dfs.replication"));
        let mut conf = hathi_conf::Configuration::new(hathi_conf::Environment::default());
        conf.set("fs.defaultFS", "hdfs://own");
        assert_eq!(conf.origin("fs.defaultFS"), WORKED_OUT);
    }

    #[test]
    fn a_key_differs_by_value_or_when_one_of_a_kind_lacks_it() {
        let daemon = |kind, name: &str, keys: &[(&str, &str)]| {
            let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            let daemon = Daemon {
                kind,
                name: name.to_owned(),
            };
            (daemon, keys.collect::<Keys>())
        };
        let all = BTreeMap::from([
            daemon(
                "NameNode",
                "a",
                &[
                    ("same", "1"),
                    ("value", "1"),
                    ("lacks", "1"),
                    ("dfs.namenode.name.dir", "/a"),
                ],
            ),
            daemon(
                "NameNode",
                "b",
                &[("same", "1"), ("value", "2"), ("dfs.namenode.name.dir", "/b")],
            ),
            daemon("DataNode", "c", &[("same", "1"), ("value", "2")]),
        ]);
        let value = json!({"key": "value", "values": [
            {"value": "1", "daemons": ["NameNode a"]},
            {"value": "2", "daemons": ["DataNode c", "NameNode b"]},
        ]});
        let lacks = json!({"key": "lacks", "values": [
            {"value": null, "daemons": ["NameNode b"]},
            {"value": "1", "daemons": ["NameNode a"]},
        ]});
        assert_eq!(compare(&all), [lacks, value]);
    }
}

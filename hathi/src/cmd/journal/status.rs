//! `hathi journal status`: each JournalNode of a nameservice, Hadoop's too, in one table.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use hathi_conf::{Configuration, HostPort, JournalUri};
use hathi_formats::qjournal::Envelope;
use hathi_journal::Membership;
use hathi_journal::messages::LeaseState;
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Request};
use hathi_journalclient::RemoteJournalNode;
use hathi_net::http;
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_JMX_BYTES: usize = 8 << 20;
const DEFAULT_HTTP_PORT: u16 = 8480;

#[derive(Args)]
pub struct Status {
    /// The nameservice, when the configuration has several
    #[arg(long, visible_alias = "ns", value_name = "NAMESERVICE")]
    nameservice: Option<String>,
}

/// State of one JournalNode.
#[derive(Debug, Default)]
struct Node {
    address: String,
    kind: &'static str,
    promised: Option<u64>,
    writer: Option<u64>,
    lease: Option<String>,
    last: Option<u64>,
    bytes: Option<u64>,
    segments: Option<u64>,
    sync_micros: Option<(u64, u64)>,
    membership: Option<Membership>,
    /// The configuration names it, but it was removed from the journal.
    removed: bool,
    state: String,
}

impl Status {
    pub fn run(&self, conf: &Configuration) -> Result<ExitCode> {
        let (members, journal_id) = self.journal(conf)?;
        let envelope = Arc::new(Envelope {
            journal_id: journal_id.clone(),
            name_service_id: None,
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut nodes = runtime.block_on(async {
            let mut nodes = look_at_all(&members, &envelope).await?;
            // The membership may have changed more than once since the configuration was written.
            while let Some(newest) = newest(&nodes) {
                let unknown: Vec<HostPort> = newest
                    .members
                    .iter()
                    .filter_map(|member| HostPort::parse(member, None).ok())
                    .filter(|member| nodes.iter().all(|node| node.address != member.to_string()))
                    .collect();
                if unknown.is_empty() {
                    break;
                }
                nodes.extend(look_at_all(&unknown, &envelope).await?);
            }
            Ok::<_, anyhow::Error>(nodes)
        })?;
        if let Some(newest) = newest(&nodes) {
            for node in &mut nodes {
                node.removed = !newest.members.contains(&node.address);
                if node.removed {
                    node.state = format!("removed ({})", node.state);
                }
            }
        }
        print!("{}", table(&journal_id, &nodes));
        let members = nodes.iter().filter(|node| !node.removed);
        let well = members.clone().filter(|node| node.state == "ok").count();
        // The exit code tells scripts whether the journal can be written.
        Ok(if well > members.count() / 2 {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(1)
        })
    }

    fn journal(&self, conf: &Configuration) -> Result<(Vec<HostPort>, String)> {
        const KEY: &str = "dfs.namenode.shared.edits.dir";
        let of_service = self.nameservice.as_ref().map(|service| format!("{KEY}.{service}"));
        let mut found = Vec::new();
        for (key, value, _) in conf.iter() {
            let wanted = match &of_service {
                Some(named) => {
                    key == KEY || key == named || key.strip_prefix(named).is_some_and(|rest| rest.starts_with('.'))
                }
                None => key.starts_with(KEY),
            };
            if wanted
                && let Ok(JournalUri::Quorum {
                    journal_nodes,
                    journal_id,
                }) = JournalUri::parse(&value)
            {
                found.push((journal_nodes, journal_id));
            }
        }
        if let Some(service) = &self.nameservice
            && found.len() > 1
        {
            found.retain(|(_, id)| id == service);
        }
        found.dedup();
        match found.len() {
            0 => bail!("{KEY} names no quorum journal"),
            1 => found.pop().context("none"),
            _ => bail!("the configuration has several journals: say which with --nameservice"),
        }
    }
}

async fn look_at_all(addresses: &[HostPort], envelope: &Arc<Envelope>) -> Result<Vec<Node>> {
    let asked: Vec<_> = addresses
        .iter()
        .map(|address| tokio::spawn(look(address.clone(), envelope.clone())))
        .collect();
    let mut nodes = Vec::new();
    for task in asked {
        nodes.push(task.await?);
    }
    Ok(nodes)
}

/// The newest membership among the answers.
fn newest(nodes: &[Node]) -> Option<Membership> {
    let known = nodes.iter().filter_map(|node| node.membership.as_ref());
    known.max_by_key(|known| (known.epoch, known.version)).cloned()
}

async fn look(address: HostPort, envelope: Arc<Envelope>) -> Node {
    let mut node = Node {
        address: address.to_string(),
        kind: "-",
        state: "ok".to_owned(),
        ..Node::default()
    };
    match tokio::time::timeout(2 * TIMEOUT, ask_all(&address, &envelope, &mut node)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => node.state = first_line(&error.to_string()),
        Err(_) => node.state = "no answer".to_owned(),
    }
    node
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

async fn ask_all(address: &HostPort, envelope: &Arc<Envelope>, node: &mut Node) -> Result<()> {
    let remote = RemoteJournalNode {
        address: address.clone(),
        envelope: envelope.clone(),
        user: crate::cmd::user_name().into(),
        connect_timeout: TIMEOUT,
    };
    let client = remote.connect().await?;
    let mut port = DEFAULT_HTTP_PORT;
    let mut scheme = "http".to_owned();
    match client.send(&Request::GetJournalState, TIMEOUT).await {
        Ok(Answer::JournalState {
            promised_epoch,
            http_port,
            from_url,
            ..
        }) => {
            node.promised = Some(promised_epoch.0);
            port = http_port;
            if let Some((told, rest)) = from_url.as_deref().and_then(|url| url.split_once("://"))
                && let Some(told_port) = rest
                    .rsplit_once(':')
                    .and_then(|(_, port)| port.trim_end_matches('/').parse().ok())
            {
                (scheme, port) = (told.to_owned(), told_port);
            }
        }
        Ok(_) => bail!("answered something else"),
        Err(CallError::Remote(exception)) => node.state = first_line(&exception.message),
        Err(CallError::Broken(reason)) => bail!(reason),
    }
    let manifest = Request::GetEditLogManifest {
        since: hathi_formats::ids::TxId(0),
        in_progress_ok: true,
        from_journal: false,
    };
    if let Ok(Answer::Manifest(manifest)) = client.send(&manifest, TIMEOUT).await {
        node.segments = Some(manifest.segments.len() as u64);
        node.last = manifest
            .segments
            .iter()
            .filter_map(|segment| segment.end)
            .map(|end| end.0)
            .max();
    }
    let watch = Request::WatchLease {
        known_counter: None,
        wait_ms: 0,
    };
    match client.send(&watch, TIMEOUT).await {
        Ok(Answer::LeaseState(lease)) => take_lease(&lease, node),
        Ok(_) | Err(CallError::Remote(_)) => {}
        Err(CallError::Broken(reason)) => bail!(reason),
    }
    let url = format!(
        "{scheme}://{}/jmx?qry=Hadoop:service=JournalNode,*",
        HostPort {
            host: address.host.clone(),
            port,
        }
    );
    match http::get_bytes(&url, TIMEOUT, MAX_JMX_BYTES).await {
        Ok((_, body)) => take_beans(&envelope.journal_id, &serde_json::from_slice(&body)?, node),
        Err(error) if node.state == "ok" => node.state = format!("no /jmx: {}", first_line(&error.to_string())),
        Err(_) => {}
    }
    Ok(())
}

fn take_lease(lease: &LeaseState, node: &mut Node) {
    node.writer = Some(lease.writer_epoch.0);
    node.last = Some(lease.highest.0);
    let holder = lease.holder.as_deref().filter(|_| lease.remaining_ms > 0);
    node.lease = holder.map(str::to_owned);
    node.membership = lease.membership.clone().filter(Membership::is_valid);
}

fn take_beans(journal_id: &str, jmx: &Value, node: &mut Node) {
    let beans = jmx["beans"].as_array().map(Vec::as_slice).unwrap_or_default();
    let bean = |name: &str| {
        let name = format!("Hadoop:service=JournalNode,name={name}");
        beans.iter().find(|bean| bean["name"] == *name)
    };
    if let Some(version) = bean("JournalNodeInfo").and_then(|bean| bean["Version"].as_str()) {
        node.kind = if version.contains("hathi") { "hathi" } else { "java" };
    }
    let Some(bean) = bean(&format!("Journal-{journal_id}")) else {
        return;
    };
    let number = |name: &str| bean[name].as_u64();
    node.writer = number("LastWriterEpoch").or(node.writer);
    node.promised = node.promised.or(number("LastPromisedEpoch"));
    node.last = number("LastWrittenTxId").or(node.last);
    node.bytes = number("SegmentBytes");
    node.segments = number("Segments").or(node.segments);
    node.sync_micros = sync_micros(bean);
    if bean["Failed"] == true {
        node.state = format!("failed: {}", bean["Failure"].as_str().unwrap_or_default());
    } else if bean["PromiseLost"] == true {
        node.state = format!(
            "waits for its peers: {}",
            bean["JoiningReason"].as_str().unwrap_or_default()
        );
    } else if bean["Joining"] == true {
        node.state = format!(
            "does not vote yet: {}",
            bean["JoiningReason"].as_str().unwrap_or_default()
        );
    }
}

/// Microseconds that a half and 99 % of a journal's syncs take at most, by its bean.
pub(in crate::cmd) fn sync_micros(bean: &Value) -> Option<(u64, u64)> {
    let number = |name: &str| bean[name].as_u64();
    // This takes the shortest interval in which there was a sync.
    let recent = ["60", "300", "3600"].iter().find_map(|seconds| {
        number(&format!("Syncs{seconds}sNumOps")).filter(|count| *count > 0)?;
        let quantile = |percent: &str| number(&format!("Syncs{seconds}s{percent}thPercentileLatencyMicros"));
        Some((quantile("50")?, quantile("99")?))
    });
    // Before the first interval is over, the histogram since the start is used.
    let since_start = || {
        Some((
            upper_quantile(&bean["SyncMicros"], 50)?,
            upper_quantile(&bean["SyncMicros"], 99)?,
        ))
    };
    recent.or_else(since_start)
}

/// Limit of the histogram bucket that reaches this percentage.
fn upper_quantile(histogram: &Value, percent: u64) -> Option<u64> {
    let count = histogram["count"].as_u64().filter(|count| *count > 0)?;
    let buckets = histogram["buckets"].as_array()?;
    let reached = |bucket: &&Value| bucket[1].as_u64().is_some_and(|upto| upto * 100 >= count * percent);
    buckets.iter().find(reached)?[0].as_u64()
}

fn table(journal_id: &str, nodes: &[Node]) -> String {
    let best = nodes.iter().filter_map(|node| node.last).max().unwrap_or_default();
    let text = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let header = [
        "JOURNALNODE",
        "KIND",
        "PROMISED",
        "WRITER",
        "LAST TXID",
        "LAG",
        "SEGMENTS",
        "BYTES",
        "SYNC P50 US",
        "SYNC P99 US",
        "LEASE",
        "STATE",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for node in nodes {
        rows.push(vec![
            node.address.clone(),
            node.kind.to_owned(),
            text(node.promised),
            text(node.writer),
            text(node.last),
            text(node.last.map(|last| best - last)),
            text(node.segments),
            text(node.bytes),
            text(node.sync_micros.map(|(p50, _)| p50)),
            text(node.sync_micros.map(|(_, p99)| p99)),
            node.lease.clone().unwrap_or_else(|| "-".to_owned()),
            node.state.clone(),
        ]);
    }
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(String::len)
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut out = format!("journal {journal_id}\n");
    for row in &rows {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_beans_tell_is_shown() {
        let mut node = Node {
            address: "jn1:8485".to_owned(),
            state: "ok".to_owned(),
            ..Node::default()
        };
        let jmx = json!({"beans": [
            {"name": "Hadoop:service=JournalNode,name=JournalNodeInfo", "Version": "3.5.0, r1"},
            {"name": "Hadoop:service=JournalNode,name=Journal-ns1", "LastWriterEpoch": 4, "LastWrittenTxId": 90,
             "Syncs60sNumOps": 0, "Syncs300sNumOps": 7, "Syncs300s50thPercentileLatencyMicros": 110,
             "Syncs300s99thPercentileLatencyMicros": 900},
        ]});
        take_beans("ns1", &jmx, &mut node);
        let histogram = json!({"buckets": [[1, 0], [2, 5], [4, 9], [8, 10]], "sum": 1, "count": 10});
        assert_eq!(
            (upper_quantile(&histogram, 50), upper_quantile(&histogram, 99)),
            (Some(2), Some(8))
        );
        let mut ahead = Node {
            last: Some(100),
            state: "no answer".to_owned(),
            ..Node::default()
        };
        ahead.address = "jn2:8485".to_owned();
        let table = table("ns1", &[node, ahead]);
        let row: Vec<_> = table.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(
            row,
            [
                "jn1:8485", "java", "-", "4", "90", "10", "-", "-", "110", "900", "-", "ok"
            ]
        );
        assert!(table.lines().nth(3).unwrap().ends_with("no answer"));
    }
}

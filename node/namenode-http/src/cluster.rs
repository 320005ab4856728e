//! `/api`: the whole cluster as JSON, for the page and for programs.
//!
//! - `/api/namenode`: this NameNode.
//! - `/api/cluster`: alarms, all NameNodes (the others are asked at their `/api/namenode`), JournalNodes (asked at their
//!   `/api/journalnode`), failover controllers that have a web server, DataNodes, failovers and slow calls.
//! - `/api/history`: the last hour of this NameNode.
//!
//! Names are those of Rust and JSON (`lag_transactions`), times are ms since 1970, durations end in `_ms`, sizes are
//! bytes. A key may be added at any time, and none changes its meaning.

use crate::COMMON_SETTINGS;
use crate::alarms::{self, Alarm, Change, Lasting};
use crate::beans::{self, datanodes};
use crate::configurations;
use crate::others::{self, Heard};
use crate::pages::Pages;
use crate::readiness;
use hathi_conf::HostPort;
use hathi_nameserver::handovers::Handover;
use hathi_net::http;
use hathi_net::metrics::log::LOG;
use hathi_net::metrics::process::ProcessFigures;
use hathi_net::metrics::rpc::{TOP_USERS, TOP_WINDOWS_MINUTES};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How long another daemon may take to answer.
const PATIENCE: Duration = Duration::from_millis(1500);
/// What another daemon may answer.
const ANSWER_MAX_BYTES: usize = 1 << 20;
/// A page that many look at asks the others once in this time.
const KEPT: Duration = Duration::from_millis(900);
/// How often the alarms are looked at for the log.
const ALARMS_EVERY: Duration = Duration::from_secs(5);
/// Failovers that two daemons date so close to each other are the same, in ms.
const SAME_FAILOVER_MS: u64 = 2000;
/// What a controller says before a failover within this time is its cause, in ms: as long as a session of ZooKeeper.
const CAUSE_MS: u64 = 30_000;
/// Most failovers and slow calls that are shown.
const SHOWN: usize = 100;

/// This NameNode.
#[must_use]
pub fn namenode(pages: &Pages) -> Value {
    let nn = &pages.nn;
    let observed = &nn.observed;
    let health = readiness::of(pages);
    let now_ms = nn.clock.ms();
    let ns = nn.ns.read();
    let in_safe_mode = ns.blockmanager().in_safe_mode();
    let startup = beans::startup_json(pages, &ns);
    let (applied, durable) = (ns.edit_log().applied().0, ns.edit_log().synced().0);
    let checkpoint = (ns.most_recent_checkpoint().0, ns.most_recent_checkpoint_ms());
    let transition_ms = ns.last_transition_ms();
    let safe_mode = in_safe_mode.then(|| ns.blockmanager().safe_mode_tip());
    let role = format!("{:?}", ns.role());
    drop(ns);
    let (lag_transactions, lag_ms) = {
        let following = pages.following.lock();
        (following.lag_transactions(), following.lag_ms(now_ms))
    };
    let is_standby = health.state == "standby";
    let (racks_unknown, why_unknown) = nn.hosts.topology().defaulted();
    let process = ProcessFigures::now();
    json!({
        "id": own_id(pages),
        "rpc": nn.settings.rpc.to_string(),
        "http": nn.settings.http.to_string(),
        "state": health.state,
        "role": role,
        "ready": health.reasons.is_empty(),
        "reasons": health.reasons,
        "problem": readiness::problem(pages),
        "reachable": true,
        "last_heard": nn.clock.wall_ms(),
        "time": nn.clock.wall_ms(),
        "version": env!("CARGO_PKG_VERSION"),
        "started": process.started_seconds.map(|seconds| (seconds * 1000.0) as u64),
        "resident_bytes": process.resident_bytes,
        "last_transition": transition_ms,
        "last_change_to_active_ms": observed.last_failover_us() as f64 / 1000.0,
        "safe_mode": safe_mode,
        "applied_transaction": applied,
        "durable_transaction": durable,
        "lag_transactions": is_standby.then_some(lag_transactions),
        "lag_ms": is_standby.then_some(lag_ms),
        "last_checkpoint": {"transaction": checkpoint.0, "time": checkpoint.1},
        "lease_remaining_ms": nn.replies.lease_remaining_us().map(|us| us as f64 / 1000.0),
        "startup": startup,
        "directories": directories(pages),
        "log_lines_lost": LOG.lines_lost(),
        "racks_unknown": json!({"hosts": racks_unknown, "why": why_unknown}),
        "settings": settings(pages),
        "failovers": observed.handovers.lock().last().map(handover).collect::<Vec<_>>(),
        "slow_calls": slow_calls(pages),
        "top_users": top_users(pages),
    })
}

fn handover(seen: &Handover) -> Value {
    json!({"time": seen.at_ms, "from": seen.from, "to": seen.to, "duration_ms": seen.took_ms})
}

fn own_id(pages: &Pages) -> String {
    let settings = &pages.nn.settings;
    match settings.namenode_id.as_str() {
        "" => settings.rpc.to_string(),
        id => id.to_owned(),
    }
}

/// What all NameNodes must have in common.
fn settings(pages: &Pages) -> Map<String, Value> {
    let conf = &pages.nn.settings.conf;
    let each = COMMON_SETTINGS.iter();
    each.map(|key| ((*key).to_owned(), conf.get_or(key, "").into()))
        .collect()
}

fn directories(pages: &Pages) -> Vec<Value> {
    let failed = pages.nn.dirs.failed();
    let rooms = pages.rooms.lock().clone();
    let rooms = rooms.iter().map(|room| {
        json!({
            "path": room.dir.display().to_string(),
            "free": room.free_bytes,
            "size": room.total_bytes,
            "reserved": pages.nn.settings.resources.reserved_bytes,
            "failed": failed.get(&room.dir.join("current")),
        })
    });
    rooms.collect()
}

fn slow_calls(pages: &Pages) -> Vec<Value> {
    let Some(meter) = pages.nn.observed.rpc.get() else {
        return Vec::new();
    };
    let (_, calls) = meter.slow_calls();
    let calls = calls.iter().map(|call| {
        let since = call.at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        json!({
            "time": since.as_millis() as u64,
            "method": call.method.name(),
            "user": call.user,
            "peer": call.peer.to_string(),
            "took_ms": call.took.as_secs_f64() * 1000.0,
        })
    });
    calls.collect()
}

fn top_users(pages: &Pages) -> Value {
    let Some(meter) = pages.nn.observed.rpc.get() else {
        return Value::Null;
    };
    let mut windows = Map::new();
    for minutes in TOP_WINDOWS_MINUTES {
        let top = meter.top_users(Duration::from_secs(60 * minutes), TOP_USERS);
        let users = top.iter().map(|(user, calls)| json!({"user": user, "calls": calls}));
        windows.insert(format!("{minutes}m"), users.collect());
    }
    Value::Object(windows)
}

/// The JournalNodes, as this NameNode knows them.
fn journalnodes(pages: &Pages) -> Vec<Value> {
    let leases = pages.nn.lease_states();
    let lags = pages.nn.observed.journal_lags();
    let nodes = &pages.nn.readers.nodes;
    let known = nodes.members().into_iter().enumerate().filter_map(|(place, index)| {
        let address = nodes.address(index)?;
        let lease = leases.get(&index);
        let lag = lags.get(place);
        let own = heard(pages, &others::of_journalnode(&address));
        let own = own
            .last
            .filter(|_| own.error.is_none())
            .map_or(Value::Null, |(_, said)| said);
        Some(json!({
            "address": address.to_string(),
            "reasons": own["reasons"],
            "directories": own["directories"],
            "slow_sync_ms": own["slow_sync_ms"],
            "log_lines_lost": own["log_lines_lost"],
            "up": lease.is_some(),
            "promised_epoch": lease.map(|lease| lease.promised_epoch.0),
            "writer_epoch": lease.map(|lease| lease.writer_epoch.0),
            "highest_transaction": lease.map(|lease| lease.highest.0),
            "committed_transaction": lease.and_then(|lease| lease.committed).map(|txid| txid.0),
            "lease_holder": lease.and_then(|lease| lease.holder.as_deref()),
            "distrusted": nodes.distrusted(&address),
            "in_sync": lag.map(|lag| lag.in_sync),
            "lag_transactions": lag.map(|lag| lag.txns),
            "lag_ms": lag.map(|lag| lag.time as f64 / 1000.0),
            "queued_bytes": lag.map(|lag| lag.queued_bytes),
        }))
    });
    known.collect()
}

async fn ask(url: &str) -> Result<Value, String> {
    let asked = http::get_bytes(url, PATIENCE, ANSWER_MAX_BYTES);
    match tokio::time::timeout(PATIENCE, asked).await {
        Err(_) => Err(format!("no answer within {} ms", PATIENCE.as_millis())),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok((_, body))) => serde_json::from_slice(&body).map_err(|error| error.to_string()),
    }
}

/// Asks all others at once, unless that was just done.
async fn ask_others(pages: &Arc<Pages>) {
    let others = &pages.others;
    let mut asked = others.asked.lock().await;
    if asked.is_some_and(|at| at.elapsed() < KEPT) {
        return;
    }
    let settings = &pages.nn.settings;
    let peers = settings.peers.iter().map(|peer| url(&peer.http, "/api/namenode"));
    let controllers = settings
        .controllers
        .iter()
        .map(|(_, http)| url(http, "/api/controller"));
    let mut asking = JoinSet::new();
    for url in peers.chain(controllers) {
        let asked_ms = pages.nn.clock.wall_ms();
        asking.spawn(async move {
            let answer = ask(&url).await;
            (url, asked_ms, answer)
        });
    }
    for address in pages.nn.readers.nodes.addresses() {
        let pages = pages.clone();
        asking.spawn(async move {
            let web = journalnode_web(&pages, &address).await;
            let asked_ms = pages.nn.clock.wall_ms();
            let answer = match web {
                Some(web) => ask(&format!("http://{web}/api/journalnode")).await,
                None => Err("its web server is not known".to_owned()),
            };
            (others::of_journalnode(&address), asked_ms, answer)
        });
    }
    while let Some(Ok((url, asked_ms, answer))) = asking.join_next().await {
        let mut answers = others.answers.lock();
        let heard = answers.entry(url).or_default();
        match answer {
            Ok(answer) => {
                heard.last = Some((pages.nn.clock.wall_ms(), answer));
                heard.asked_ms = asked_ms;
                heard.error = None;
            }
            Err(error) => heard.error = Some(error),
        }
    }
    *asked = Some(Instant::now());
}

/// The web address of a JournalNode, which is asked for until it is known.
async fn journalnode_web(pages: &Pages, address: &HostPort) -> Option<String> {
    let webs = &pages.others.journalnode_webs;
    let key = address.to_string();
    if let Some(known) = webs.lock().get(&key) {
        return Some(known.clone());
    }
    let web = configurations::journalnode_web(pages, address).await?;
    webs.lock().insert(key, web.clone());
    Some(web)
}

fn url(address: &HostPort, path: &str) -> String {
    format!("http://{address}{path}")
}

fn heard(pages: &Pages, url: &str) -> Heard {
    pages.others.answers.lock().get(url).cloned().unwrap_or_default()
}

/// What a daemon said last. One that does not answer now is shown with what is certain of it.
fn shown(heard: Heard, known: Value) -> Value {
    let Value::Object(mut shown) = known else {
        return Value::Null;
    };
    match (heard.error, heard.last) {
        (None, Some((at_ms, Value::Object(said)))) => {
            shown.extend(said);
            shown.insert("reachable".into(), true.into());
            shown.insert("last_heard".into(), at_ms.into());
        }
        (error, last) => {
            shown.insert("state".into(), "unreachable".into());
            shown.insert("ready".into(), false.into());
            shown.insert("reachable".into(), false.into());
            shown.insert(
                "reasons".into(),
                json!([error.unwrap_or_else(|| "it was not asked yet".to_owned())]),
            );
            shown.insert("last_heard".into(), last.as_ref().map(|(at_ms, _)| *at_ms).into());
            if let Some((_, said)) = last {
                shown.insert("last_state".into(), said["state"].clone());
                // What happened before stays true.
                for key in ["failovers", "slow_calls", "events"] {
                    shown.insert(key.into(), said[key].clone());
                }
            }
        }
    }
    Value::Object(shown)
}

/// All NameNodes, as far as they have answered.
fn namenodes(pages: &Pages) -> Vec<Value> {
    let mut namenodes = vec![namenode(pages)];
    for peer in &pages.nn.settings.peers {
        let known = json!({
            "id": peer.namenode_id,
            "rpc": peer.rpc.to_string(),
            "http": peer.http.to_string(),
        });
        namenodes.push(shown(heard(pages, &url(&peer.http, "/api/namenode")), known));
    }
    namenodes.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
    namenodes
}

/// What somebody has to look at.
fn alarms(pages: &Pages, namenodes: &[Value], journalnodes: &[Value]) -> Vec<Alarm> {
    let nn = &pages.nn;
    let now = nn.clock.now();
    let peers = nn.settings.peers.iter().map(|peer| {
        let heard = heard(pages, &url(&peer.http, "/api/namenode"));
        (format!("NameNode {}", peer.namenode_id), heard)
    });
    let addresses = pages.nn.readers.nodes.addresses().into_iter();
    let journals = addresses.map(|address| {
        let key = others::of_journalnode(&address);
        (key.clone(), heard(pages, &key))
    });
    let clocks = peers.chain(journals);
    let data = alarms::Data::of(&nn.ns.read(), now);
    alarms::of(&alarms::Seen {
        own: &own_id(pages),
        time_ms: now.wall_ms,
        split: nn.split.current(now.monotonic_ms).as_deref(),
        namenodes,
        journalnodes,
        clocks: clocks
            .filter_map(|(name, heard)| Some((name, heard.clock_ahead_ms()?)))
            .collect(),
        data,
    })
}

/// Looks at the cluster again and again, for as long as the process lives, and logs the alarms that last.
pub async fn log_alarms(pages: Arc<Pages>) {
    let mut lasting = Lasting::default();
    let mut interval = tokio::time::interval(ALARMS_EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        ask_others(&pages).await;
        for change in lasting.note(&alarms(&pages, &namenodes(&pages), &journalnodes(&pages))) {
            match change {
                Change::Lasts(alarm) if alarm.critical => tracing::error!("alarm: {}", alarm.text),
                Change::Lasts(alarm) => tracing::warn!("alarm: {}", alarm.text),
                Change::Over(text) => tracing::info!("the alarm is over: {text}"),
            }
        }
    }
}

/// The whole cluster.
pub async fn cluster(pages: &Arc<Pages>) -> Value {
    ask_others(pages).await;
    let nn = &pages.nn;
    let settings = &nn.settings;
    let mut namenodes = namenodes(pages);
    let journalnodes = journalnodes(pages);
    let alarms = alarms(pages, &namenodes, &journalnodes);
    let mut controllers = Vec::new();
    for (id, http) in &settings.controllers {
        let known = json!({"namenode": id, "http": http.to_string()});
        controllers.push(shown(heard(pages, &url(http, "/api/controller")), known));
    }
    let failovers = failovers(&namenodes, &controllers);
    let mut slow: Vec<Value> = Vec::new();
    let mut users = Value::Null;
    for namenode in &mut namenodes {
        let Some(namenode) = namenode.as_object_mut() else {
            continue;
        };
        namenode.remove("failovers");
        namenode.remove("settings");
        if let Some(Value::Array(calls)) = namenode.remove("slow_calls") {
            slow.extend(calls);
        }
        if namenode["state"] == "active" {
            users = namenode.get("top_users").cloned().unwrap_or_default();
        }
        namenode.remove("top_users");
    }
    slow.sort_by_key(|call| std::cmp::Reverse(call["time"].as_u64()));
    slow.truncate(SHOWN);
    let now = nn.clock.now();
    let ns = nn.ns.read();
    let counts = ns.blockmanager().counts();
    json!({
        "time": nn.clock.wall_ms(),
        "answered_by": own_id(pages),
        "nameservice": settings.nameservice_id,
        "cluster_id": ns.info().cluster_id,
        "block_pool": ns.info().block_pool_id,
        "version": env!("CARGO_PKG_VERSION"),
        "split": nn.split.current(now.monotonic_ms),
        "alarms": alarms.iter().map(Alarm::to_json).collect::<Vec<_>>(),
        "namenodes": namenodes,
        "journalnodes": journalnodes,
        "controllers": controllers,
        "datanodes": datanodes::all(&ns, now),
        "inodes": ns.namespace().inode_count(),
        "blocks": {
            "total": counts.blocks,
            "missing": counts.missing,
            "missing_replication_one": counts.missing_replication_one,
            "corrupt": counts.corrupt,
            "under_replicated": counts.low_redundancy,
            "badly_distributed": counts.badly_distributed,
            "pending_reconstruction": counts.pending_reconstruction,
            "pending_deletion": counts.pending_deletion,
        },
        "capacity": {
            "total": counts.capacity,
            "used": counts.dfs_used,
            "other_used": counts.non_dfs_used,
            "remaining": counts.remaining,
        },
        "failovers": failovers,
        "slow_calls": slow,
        "top_users": users,
    })
}

/// Failovers of all sources, each once, the newest first. A controller knows the cause and what it took; NameNodes have
/// seen those of the time before the controllers started.
fn failovers(namenodes: &[Value], controllers: &[Value]) -> Vec<Value> {
    let all = |daemons: &[Value]| -> Vec<Value> {
        let lists = daemons.iter().filter_map(|daemon| daemon["failovers"].as_array());
        lists.flatten().cloned().collect()
    };
    let time = |failover: &Value| failover["time"].as_u64().unwrap_or(0);
    let mut failovers = all(controllers);
    for seen in all(namenodes) {
        let same = failovers
            .iter_mut()
            .find(|known| known["to"] == seen["to"] && time(known).abs_diff(time(&seen)) < SAME_FAILOVER_MS);
        match same {
            None => failovers.push(seen),
            Some(known) => {
                for key in ["from", "duration_ms"] {
                    if known[key].is_null() {
                        known[key] = seen[key].clone();
                    }
                }
            }
        }
    }
    for failover in &mut failovers {
        if let Some(cause) = cause_of(failover, controllers) {
            failover["cause"] = cause.into();
        }
    }
    failovers.sort_by_key(|failover| std::cmp::Reverse(time(failover)));
    failovers.truncate(SHOWN);
    failovers
}

/// The last thing before it by which, as its controller says, the former active may have lost its role.
fn cause_of(failover: &Value, controllers: &[Value]) -> Option<String> {
    let at_ms = failover["time"].as_u64()?;
    let former = controllers
        .iter()
        .find(|controller| controller["namenode"] == failover["from"])?;
    let events = former["events"].as_array()?;
    let before = events.iter().rev().find(|event| {
        let when = event["time"].as_u64().unwrap_or(0);
        event["cause"] == true
            && when <= at_ms.saturating_add(SAME_FAILOVER_MS / 2)
            && when.saturating_add(CAUSE_MS) >= at_ms
    })?;
    Some(before["what"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_failover_is_shown_once_with_its_cause() {
        let seen =
            |time: u64, took: Option<u64>| json!({"time": time, "from": "nn0", "to": "nn1", "duration_ms": took});
        let namenodes = [
            json!({"id": "nn0", "failovers": []}),
            json!({"id": "nn1", "failovers": [seen(100_000, Some(30)), seen(500_000, None)]}),
            json!({"id": "nn2", "failovers": [seen(100_010, Some(40))]}),
        ];
        let controllers = [
            json!({"namenode": "nn0", "events": [
                {"time": 1000, "what": "it is up"},
                {"time": 99_950, "what": "the NameNode's process is gone", "cause": true},
                {"time": 99_960, "what": "it does not respond", "cause": false},
            ]}),
            json!({"namenode": "nn1", "failovers": [{"time": 100_020, "from": null, "to": "nn1", "duration_ms": null}]}),
        ];
        let failovers = failovers(&namenodes, &controllers);
        assert_eq!(failovers.len(), 2, "{failovers:?}");
        assert_eq!(failovers[0]["time"], 500_000);
        assert!(failovers[0].get("cause").is_none(), "nothing is said of its time");
        let known = json!({"time": 100_020, "from": "nn0", "to": "nn1", "duration_ms": 30,
            "cause": "the NameNode's process is gone"});
        assert_eq!(failovers[1], known);
    }

    #[tokio::test]
    async fn one_that_does_not_answer_is_unreachable_and_not_a_standby() {
        let alone = testing::active();
        let cluster = cluster(&Arc::new(Pages::new(alone.shared.web_parts()))).await;
        let state = |place: usize| cluster["namenodes"][place]["state"].as_str().unwrap().to_owned();
        assert_eq!((state(0), state(1)), ("active".to_owned(), "unreachable".to_owned()));
        assert!(cluster["namenodes"][1]["last_heard"].is_null());
        assert!(!cluster["namenodes"][1]["reasons"][0].as_str().unwrap().is_empty());
    }
}

//! What somebody has to look at, in words. The page shows the alarms at its top, and what lasts is logged.
//!
//! Alarms are made of what this NameNode knows of the cluster and of what other daemons say of themselves
//! ([`crate::cluster`]). They decide nothing.

use crate::words::{duration, percent, plural, size};
use hathi_blockmanager::Now;
use hathi_conf::host_and_port;
use hathi_namesystem::Namesystem;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const HOUR_MS: u64 = 3_600_000;
/// Free part of a file system, and free multiple of what a NameNode reserves, below which room is low, as in
/// dist/alerts.yml.
const LOW_PERCENT: u64 = 5;
const LOW_RESERVES: u64 = 5;
const CAPACITY_LOW_PERCENT: u64 = 10;
const LAG_MS: u64 = 30_000;
const JOURNALNODE_LAG_MS: f64 = 10_000.0;
const CHECKPOINT_MS: u64 = 3 * HOUR_MS;
const CHECKPOINT_TRANSACTIONS: u64 = 1_000_000;
/// Difference of a clock from the others' above which times in logs and of files confuse.
const CLOCK_APART_MS: i64 = 2000;
/// Daemons of a kind that an alarm names. The others are counted.
const NAMED: usize = 3;

/// Something that somebody has to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Whether clients may notice it.
    pub critical: bool,
    /// What it is about. It stays the same for as long as the alarm lasts, and the text need not.
    pub key: String,
    /// In words.
    pub text: String,
}

impl Alarm {
    /// As `/api/cluster` shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let level = if self.critical { "critical" } else { "warning" };
        json!({"level": level, "key": self.key, "text": self.text})
    }
}

/// The cluster, as a NameNode sees it. The daemons are as `/api/cluster` has them.
#[derive(Debug)]
pub struct Seen<'a> {
    /// Id of the NameNode that looks.
    pub own: &'a str,
    /// When it looks, in ms since 1970.
    pub time_ms: u64,
    /// A NameNode that goes on though it was said to be fenced.
    pub split: Option<&'a str>,
    /// The NameNodes.
    pub namenodes: &'a [Value],
    /// The JournalNodes.
    pub journalnodes: &'a [Value],
    /// How far the clocks of daemons are ahead of its own at least and at most, in ms, by their names.
    pub clocks: BTreeMap<String, (i64, i64)>,
    /// DataNodes and blocks.
    pub data: Data,
}

/// DataNodes and blocks, as a NameNode sees them.
#[derive(Debug, Default)]
pub struct Data {
    dead: Vec<String>,
    stale: Vec<String>,
    failed: Vec<String>,
    capacity: u64,
    remaining: u64,
    missing: u64,
    corrupt: u64,
}

impl Data {
    /// Looks at all DataNodes.
    #[must_use]
    pub fn of(ns: &Namesystem, now: Now) -> Data {
        let blocks = ns.blockmanager();
        let counts = blocks.counts();
        let mut data = Data {
            capacity: counts.capacity,
            remaining: counts.remaining,
            missing: counts.missing,
            corrupt: counts.corrupt,
            ..Data::default()
        };
        for (_, node) in blocks.datanodes() {
            let name = || host_and_port(&node.id.host_name, node.id.xfer_port);
            if !node.alive {
                data.dead.push(name());
            } else if node.is_stale(blocks.config(), now) {
                data.stale.push(name());
            }
            if node.failed_volumes > 0 {
                data.failed.push(name());
            }
        }
        data
    }
}

/// The alarms, critical ones first.
#[must_use]
pub fn of(seen: &Seen<'_>) -> Vec<Alarm> {
    let mut alarms = Alarms::default();
    of_namenodes(seen, &mut alarms);
    of_settings(seen, &mut alarms);
    of_clocks(seen, &mut alarms);
    of_journalnodes(seen, &mut alarms);
    of_data(seen, &mut alarms);
    let mut alarms = alarms.0;
    alarms.sort_by_key(|alarm| !alarm.critical);
    alarms
}

#[derive(Default)]
struct Alarms(Vec<Alarm>);

impl Alarms {
    fn critical(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.add(true, key, text);
    }

    fn warning(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.add(false, key, text);
    }

    fn add(&mut self, critical: bool, key: impl Into<String>, text: impl Into<String>) {
        self.0.push(Alarm {
            critical,
            key: key.into(),
            text: text.into(),
        });
    }
}

fn named(names: &[String]) -> String {
    let first = names.get(..NAMED).unwrap_or(names).join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

fn is_active(namenode: &Value) -> bool {
    namenode["reachable"] == true && namenode["state"] == "active"
}

fn own<'a>(seen: &Seen<'a>) -> &'a Value {
    let found = seen.namenodes.iter().find(|namenode| namenode["id"] == seen.own);
    found.unwrap_or(&Value::Null)
}

fn of_namenodes(seen: &Seen<'_>, alarms: &mut Alarms) {
    if let Some(split) = seen.split {
        alarms.critical(
            "split",
            format!("A NameNode that was said to be fenced goes on: {split}."),
        );
    }
    let active = seen.namenodes.iter().find(|namenode| is_active(namenode));
    if active.is_none() {
        alarms.critical("no-active", "No NameNode is active. Nobody can read or write.");
    }
    for namenode in seen.namenodes {
        match namenode["reachable"] == true {
            true => of_namenode(namenode, alarms),
            false => of_silent(namenode, seen, alarms),
        }
    }
    of_checkpoint(active.unwrap_or(own(seen)), seen.time_ms, alarms);
}

fn of_silent(namenode: &Value, seen: &Seen<'_>, alarms: &mut Alarms) {
    let id = text(namenode, "id");
    let why = namenode["reasons"][0].as_str().unwrap_or_default();
    match namenode["last_heard"].as_u64() {
        Some(at_ms) => {
            let ago = duration(seen.time_ms.saturating_sub(at_ms));
            alarms.warning(
                format!("nn-dead {id}"),
                format!("NameNode {id} is dead: heard last {ago} ago ({why})."),
            );
        }
        None => alarms.warning(
            format!("nn-unheard {id}"),
            format!(
                "NameNode {id} does not answer, and was not heard of since {} started ({why}).",
                seen.own
            ),
        ),
    }
}

fn of_namenode(namenode: &Value, alarms: &mut Alarms) {
    let id = text(namenode, "id");
    if let Some(problem) = namenode["problem"].as_str() {
        alarms.warning(
            format!("unhealthy {id}"),
            format!("NameNode {id} is not healthy, and can't be elected: {problem}"),
        );
    }
    if let Some(tip) = namenode["safe_mode"].as_str().filter(|_| is_active(namenode)) {
        alarms.warning("safe-mode", format!("Safe mode is on: nothing can be written. {tip}"));
    }
    if let Some(lag_ms) = namenode["lag_ms"].as_u64().filter(|lag_ms| *lag_ms > LAG_MS) {
        alarms.warning(
            format!("lag {id}"),
            format!("Standby {id} is {} behind the journal.", duration(lag_ms)),
        );
    }
    of_directories(namenode, &format!("NameNode {id}"), alarms);
    of_log(namenode, &format!("NameNode {id}"), alarms);
    let racks = &namenode["racks_unknown"];
    if let Some(hosts) = racks["hosts"].as_u64().filter(|hosts| *hosts > 0) {
        let hosts = plural(hosts, "DataNode host", "DataNode hosts");
        let why = text(racks, "why");
        alarms.warning(
            format!("racks {id}"),
            format!("NameNode {id} does not know the racks of {hosts}, and uses the default rack: {why}"),
        );
    }
}

fn of_log(daemon: &Value, name: &str, alarms: &mut Alarms) {
    if let Some(lost) = daemon["log_lines_lost"].as_u64().filter(|lost| *lost > 0) {
        let lost = plural(lost, "line is", "lines are");
        alarms.warning(
            format!("log {name}"),
            format!("The log of {name} can't be written, and {lost} lost: is its disk full?"),
        );
    }
}

fn of_directories(daemon: &Value, name: &str, alarms: &mut Alarms) {
    for dir in list(daemon, "directories") {
        let place = format!("{} of {name}", text(dir, "path"));
        let reserved = dir["reserved"].as_u64().unwrap_or(0);
        if let Some(why) = dir["failed"].as_str() {
            alarms.warning(format!("dir {place}"), format!("Directory {place} has failed: {why}"));
        } else if let (Some(free), Some(all)) = (dir["free"].as_u64(), dir["size"].as_u64())
            && free < (all / 100 * LOW_PERCENT).max(reserved.saturating_mul(LOW_RESERVES))
        {
            alarms.warning(
                format!("low {place}"),
                format!("Low disk: {} of {} are free in {place}.", size(free), size(all)),
            );
        }
    }
}

fn of_checkpoint(writer: &Value, time_ms: u64, alarms: &mut Alarms) {
    let last = &writer["last_checkpoint"];
    let (Some(at_ms), Some(txid)) = (last["time"].as_u64().filter(|at| *at > 0), last["transaction"].as_u64()) else {
        return;
    };
    let applied = writer["applied_transaction"].as_u64().unwrap_or(0);
    let (age_ms, since) = (time_ms.saturating_sub(at_ms), applied.saturating_sub(txid));
    if age_ms > CHECKPOINT_MS && since > CHECKPOINT_TRANSACTIONS || age_ms > 24 * HOUR_MS && since > 0 {
        let since = plural(since, "transaction", "transactions");
        alarms.warning(
            "checkpoint",
            format!("The last checkpoint is old: {}, {since} ago.", duration(age_ms)),
        );
    }
}

/// Keys of which the NameNodes that answer have different values.
fn of_settings(seen: &Seen<'_>, alarms: &mut Alarms) {
    let mut keys: BTreeMap<&str, BTreeMap<&str, Vec<String>>> = BTreeMap::new();
    for namenode in seen.namenodes.iter().filter(|namenode| namenode["reachable"] == true) {
        for (key, value) in namenode["settings"].as_object().into_iter().flatten() {
            let ids = keys
                .entry(key.as_str())
                .or_default()
                .entry(value.as_str().unwrap_or_default());
            ids.or_default().push(text(namenode, "id").to_owned());
        }
    }
    for (key, values) in keys.into_iter().filter(|(_, values)| values.len() > 1) {
        let each = values.iter().map(|(value, ids)| format!("'{value}' at {}", named(ids)));
        let each: Vec<String> = each.collect();
        alarms.warning(
            format!("settings {key}"),
            format!(
                "The NameNodes run with different values of {key}: {}.",
                each.join(" and ")
            ),
        );
    }
}

/// Clocks that are far from the middle one of all.
fn of_clocks(seen: &Seen<'_>, alarms: &mut Alarms) {
    let own = (format!("NameNode {}", seen.own), (0, 0));
    let all: Vec<(String, (i64, i64))> = seen.clocks.clone().into_iter().chain([own]).collect();
    let middle = |(least, most): (i64, i64)| least.midpoint(most);
    let mut sorted: Vec<i64> = all.iter().map(|(_, between)| middle(*between)).collect();
    sorted.sort_unstable();
    let Some(reference) = sorted.get(sorted.len() / 2).copied() else {
        return;
    };
    for (name, (least, most)) in all {
        let (ahead, behind) = (least.saturating_sub(reference), reference.saturating_sub(most));
        let (by, word) = if ahead > behind {
            (ahead, "ahead of")
        } else {
            (behind, "behind")
        };
        if by > CLOCK_APART_MS {
            let by = duration(by.unsigned_abs());
            alarms.warning(
                format!("clock {name}"),
                format!("The clock of {name} is {by} {word} those of other daemons."),
            );
        }
    }
}

fn of_journalnodes(seen: &Seen<'_>, alarms: &mut Alarms) {
    let all = seen.journalnodes;
    // A NameNode that has only begun has asked none of them.
    if all.is_empty() || own(seen)["state"] == "initializing" {
        return;
    }
    let down = all.iter().filter(|journalnode| journalnode["up"] != true);
    let down: Vec<String> = down
        .map(|journalnode| text(journalnode, "address").to_owned())
        .collect();
    let (left, needed) = (all.len() - down.len(), all.len() / 2 + 1);
    if left < needed {
        alarms.critical(
            "majority",
            format!(
                "The majority of the JournalNodes is lost: {} of {} do not answer ({}). Nothing can be written.",
                down.len(),
                all.len(),
                named(&down)
            ),
        );
    } else {
        for address in &down {
            alarms.warning(
                format!("jn {address}"),
                format!("JournalNode {address} does not answer."),
            );
        }
        if !down.is_empty() && left == needed {
            alarms.warning(
                "jn-margin",
                "No further JournalNode may fail: writing needs all that are left.",
            );
        }
    }
    for journalnode in all {
        of_journalnode(journalnode, alarms);
    }
}

fn of_journalnode(journalnode: &Value, alarms: &mut Alarms) {
    let name = format!("JournalNode {}", text(journalnode, "address"));
    if let Some(why) = journalnode["distrusted"].as_str() {
        alarms.warning(format!("distrusted {name}"), format!("{name} is not trusted: {why}."));
    }
    if journalnode["up"] != true {
        return;
    }
    for reason in list(journalnode, "reasons").iter().filter_map(Value::as_str) {
        alarms.warning(
            format!("journal {name}"),
            format!("{name} does not do its part: {reason}"),
        );
    }
    if let Some(lag_ms) = journalnode["lag_ms"]
        .as_f64()
        .filter(|lag_ms| *lag_ms > JOURNALNODE_LAG_MS)
    {
        let lacks = plural(
            journalnode["lag_transactions"].as_u64().unwrap_or(0),
            "transaction",
            "transactions",
        );
        let since = duration(lag_ms as u64);
        alarms.warning(
            format!("jn-lag {name}"),
            format!("{name} lacks {lacks}, since {since}."),
        );
    }
    if let Some(slow_ms) = journalnode["slow_sync_ms"].as_f64() {
        let took = duration(slow_ms as u64);
        alarms.warning(
            format!("slow {name}"),
            format!("The disk of {name} is slow: a sync took {took}."),
        );
    }
    of_directories(journalnode, &name, alarms);
    of_log(journalnode, &name, alarms);
}

fn of_data(seen: &Seen<'_>, alarms: &mut Alarms) {
    let data = &seen.data;
    let count = |names: &[String]| plural(names.len() as u64, "DataNode is", "DataNodes are");
    for (key, word, names) in [("dn-dead", "dead", &data.dead), ("dn-stale", "silent", &data.stale)] {
        if !names.is_empty() {
            alarms.warning(key, format!("{} {word}: {}.", count(names), named(names)));
        }
    }
    if !data.failed.is_empty() {
        alarms.warning("dn-volumes", format!("Volumes have failed at {}.", named(&data.failed)));
    }
    if data.capacity > 0 && data.remaining < data.capacity / 100 * CAPACITY_LOW_PERCENT {
        let (free, part) = (size(data.remaining), percent(data.remaining, data.capacity));
        alarms.warning(
            "capacity",
            format!("The cluster is nearly full: {free} ({part}) are free."),
        );
    }
    // Before the reports of DataNodes are in, every block is missing.
    let own = own(seen);
    if !own["safe_mode"].is_null() || own["state"] == "initializing" {
        return;
    }
    for (key, number) in [("missing", data.missing), ("corrupt", data.corrupt)] {
        if number > 0 {
            alarms.critical(key, format!("{} {key}.", plural(number, "block is", "blocks are")));
        }
    }
}

/// Which alarms last, from look to look.
#[derive(Debug, Default)]
pub struct Lasting {
    before: BTreeSet<String>,
    told: BTreeMap<String, String>,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An alarm was there at the last look too.
    Lasts(Alarm),
    /// The text of an alarm that is over.
    Over(String),
}

impl Lasting {
    /// Takes the alarms of a look. One that was there at one look only, as in a failover, is not told.
    pub fn note(&mut self, alarms: &[Alarm]) -> Vec<Change> {
        let now: BTreeSet<String> = alarms.iter().map(|alarm| alarm.key.clone()).collect();
        let mut changes = Vec::new();
        for alarm in alarms {
            if self.before.contains(&alarm.key) && !self.told.contains_key(&alarm.key) {
                self.told.insert(alarm.key.clone(), alarm.text.clone());
                changes.push(Change::Lasts(alarm.clone()));
            }
        }
        let over: Vec<String> = self.told.keys().filter(|key| !now.contains(*key)).cloned().collect();
        changes.extend(over.iter().filter_map(|key| self.told.remove(key)).map(Change::Over));
        self.before = now;
        changes
    }
}

#[cfg(test)]
mod tests;

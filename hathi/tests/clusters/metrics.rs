//! What a live cluster tells of itself: `/metrics`, `/health`, `/jmx`, `/api`, and the rules of alerts over it.

use anyhow::{Context, Result, ensure};
use hathi_conf::Configuration;
use hathi_interop::{Cluster, ClusterOptions, Python, Role, wait_for};
use hathi_net::metrics::{Family, Kind};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const OPTIONS: ClusterOptions = ClusterOptions {
    namenodes: 2,
    journalnodes: 3,
    datanodes: 1,
};

/// The web address of a daemon.
fn address(cluster: &Cluster, role: Role, index: u16) -> Result<String> {
    let conf = Configuration::load(&cluster.daemon_conf(role, index))?;
    let key = match role {
        Role::NameNode => return cluster.namenode_http(index),
        Role::JournalNode => "dfs.journalnode.http-address".to_owned(),
        Role::DataNode => "dfs.datanode.http.address".to_owned(),
        Role::Zkfc => {
            let nameservices = conf.nameservices();
            let ns = nameservices.first().context("no nameservice")?;
            format!("hathi.zkfc.http-address.{ns}.nn{index}")
        }
    };
    conf.get(&key).context(key)
}

/// Status, head and body of an answer.
fn ask(address: &str, method: &str, path: &str, accept: &str) -> Result<(u16, String, String)> {
    let mut stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, head.to_owned(), body.to_owned()))
}

fn get(address: &str, path: &str) -> Result<String> {
    let (status, _, body) = ask(address, "GET", path, "*/*")?;
    ensure!(status == 200, "{path}: {status} {body}");
    Ok(body)
}

fn json(address: &str, path: &str) -> Result<Value> {
    Ok(serde_json::from_str(&get(address, path)?)?)
}

/// The series of a text in Prometheus's format, by name and labels. It is read strictly.
fn series(text: &str) -> Result<BTreeMap<String, f64>> {
    let mut series = BTreeMap::new();
    let mut families = BTreeSet::new();
    let (mut name, mut kind) = (String::new(), String::new());
    let mut helped = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            helped = rest.split(' ').next().unwrap_or_default().to_owned();
            ensure!(rest.len() > helped.len() + 3, "{line}: no help");
            ensure!(families.insert(helped.clone()), "{line}: the family is there twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (of, what) = rest.split_once(' ').context(line.to_owned())?;
            ensure!(of == helped, "{line}: after the help of {helped}");
            (name, kind) = (of.to_owned(), what.to_owned());
            ensure!(["counter", "gauge", "histogram"].contains(&what), "{line}");
            ensure!((kind == "counter") == name.ends_with("_total"), "{line}");
        } else {
            let (key, value) = line.rsplit_once(' ').context(line.to_owned())?;
            let own = key.split('{').next().unwrap_or_default();
            let suffix = own
                .strip_prefix(&*name)
                .with_context(|| format!("{line}: in the family {name}"))?;
            let known = match &*kind {
                "histogram" => ["_sum", "_count", "_bucket"].contains(&suffix),
                _ => suffix.is_empty(),
            };
            ensure!(known, "{line}: of the kind {kind}");
            let value: f64 = value.parse().with_context(|| line.to_owned())?;
            ensure!(series.insert(key.to_owned(), value).is_none(), "{line}: there twice");
        }
    }
    for (key, count) in series.iter().filter(|(key, _)| key.contains("_count")) {
        let rest = key.replacen("_count", "_bucket", 1);
        let inf = if rest.contains('{') {
            rest.replacen('{', "{le=\"+Inf\",", 1)
        } else {
            format!("{rest}{{le=\"+Inf\"}}")
        };
        if let Some(all) = series.get(&inf) {
            ensure!(all == count, "{key} is {count}, and {inf} is {all}");
        }
    }
    Ok(series)
}

fn metrics(address: &str) -> Result<BTreeMap<String, f64>> {
    series(&get(address, "/metrics")?).with_context(|| address.to_owned())
}

/// The names of families in a text.
fn families_in(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .filter_map(|rest| Some(rest.split(' ').next()?.to_owned()))
        .collect()
}

/// Every family that a daemon may show.
fn known(role: Role) -> Vec<&'static Family> {
    use hathi_net::metrics::{log, process, rpc};
    let of_role = match role {
        Role::NameNode => hathi_namenode_http::metrics::FAMILIES,
        Role::JournalNode => hathi_journalnode::exposition::FAMILIES,
        Role::DataNode => hathi_datanode::metrics::FAMILIES,
        Role::Zkfc => hathi_zkfc::status::FAMILIES,
    };
    let mut all: Vec<&Family> = [process::FAMILIES, log::FAMILIES, rpc::FAMILIES, of_role].concat();
    if role == Role::NameNode {
        all.extend(rpc::NAMENODE_FAMILIES);
    }
    all
}

const ROLES: [(Role, u16); 4] = [
    (Role::NameNode, OPTIONS.namenodes),
    (Role::JournalNode, OPTIONS.journalnodes),
    (Role::DataNode, OPTIONS.datanodes),
    (Role::Zkfc, OPTIONS.namenodes),
];

fn name_of(role: Role) -> &'static str {
    match role {
        Role::NameNode => "NameNode",
        Role::JournalNode => "JournalNode",
        Role::DataNode => "DataNode",
        Role::Zkfc => "failover controller",
    }
}

/// Names of metrics in an expression of Prometheus.
fn names_in(expression: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c: char| !word(c));
    let names = words.filter(|word| word.starts_with("hathi_") || word.starts_with("process_"));
    names.map(str::to_owned).collect()
}

/// The expressions of the rules, which must have what a rule needs.
fn rules(text: &str) -> Result<BTreeMap<String, String>> {
    let mut rules = BTreeMap::new();
    for rule in text.split("      - alert: ").skip(1) {
        let (name, rest) = rule.split_once('\n').context("no name")?;
        let field = |key: &str| {
            let mut lines = rest.lines().map(str::trim);
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        };
        let expression = field("expr").with_context(|| format!("{name}: no expr"))?;
        let opened = |c| expression.matches(c).count();
        ensure!(
            opened('(') == opened(')') && opened('{') == opened('}'),
            "{name}: brackets of {expression}"
        );
        ensure!(
            ["critical", "warning"].contains(&field("severity").unwrap_or_default()),
            "{name}: severity"
        );
        let summary = field("summary").unwrap_or_default();
        ensure!(summary.starts_with('"') && summary.ends_with('"'), "{name}: summary");
        ensure!(
            rules.insert(name.to_owned(), expression.to_owned()).is_none(),
            "{name} is there twice"
        );
    }
    Ok(rules)
}

fn dist(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist").join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Prometheus's own check of the rules, where it is installed.
fn check_with_promtool() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/alerts.yml");
    match Command::new("promtool").args(["check", "rules"]).arg(path).output() {
        Ok(output) => ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => eprintln!("NOT CHECKED: dist/alerts.yml was not read by promtool, which is not here ({error})"),
    }
    Ok(())
}

fn expressions_of_the_dashboard() -> Result<Vec<String>> {
    let dashboard: Value = serde_json::from_str(&dist("grafana.json")?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets
        .map(|target| Ok(target["expr"].as_str().context("no expr")?.to_owned()))
        .collect()
}

/// A name of a series without what a histogram adds to its family's.
fn family_of<'a>(name: &'a str, histograms: &BTreeSet<&str>) -> &'a str {
    let mut cut = ["_bucket", "_count", "_sum"]
        .iter()
        .filter_map(|end| name.strip_suffix(end));
    cut.find(|name| histograms.contains(name)).unwrap_or(name)
}

#[test]
fn every_metric_is_real_and_the_rules_and_the_dashboard_name_only_those() -> Result<()> {
    let cluster = Cluster::start(env!("CARGO_BIN_EXE_hathi"), OPTIONS)?;
    cluster.hathi_ok("dfs", &["-mkdir", "-p", "/a/b"])?;
    let active = cluster.active().context("no active")?;
    let namenode = address(&cluster, Role::NameNode, active)?;
    let mkdirs = |of: &BTreeMap<String, f64>| -> f64 {
        let counts = of.iter().filter(|(key, _)| {
            key.starts_with("hathi_rpc_processing_seconds_count{") && key.contains("\"ClientProtocol.mkdirs\"")
        });
        counts.map(|(_, value)| value).sum()
    };

    // Values move with what happens.
    let before = metrics(&namenode)?;
    for name in ["c", "d", "e"] {
        cluster.hathi_ok("dfs", &["-mkdir", &format!("/{name}")])?;
    }
    let after = metrics(&namenode)?;
    assert_eq!(mkdirs(&after) - mkdirs(&before), 3.0);
    let inodes = "hathi_namenode_inodes";
    assert_eq!(after[inodes] - before[inodes], 3.0);
    for grows in [
        "hathi_namenode_transactions_total",
        "hathi_namenode_edits_sync_seconds_count",
        "hathi_rpc_received_bytes_total",
        "hathi_namenode_lease_margin_seconds_count",
    ] {
        assert!(after[grows] > before[grows], "{grows}");
    }

    // Every family of the tables is shown, and no other one.
    let mut all_shown = BTreeSet::new();
    for (role, count) in ROLES {
        let known = known(role);
        let all: BTreeSet<String> = known.iter().map(|family| family.name.to_owned()).collect();
        let mut by_name = all.clone();
        if matches!(role, Role::DataNode | Role::Zkfc) {
            // Nobody calls them here.
            by_name.retain(|name| !["hathi_rpc_queue_seconds", "hathi_rpc_processing_seconds"].contains(&&**name));
        }
        let awaited = format!("all families of a {}", name_of(role));
        wait_for(&awaited, PATIENCE, || {
            let mut shown = BTreeSet::new();
            for index in 0..count {
                let text = get(&address(&cluster, role, index).ok()?, "/metrics").ok()?;
                series(&text).unwrap();
                shown.extend(families_in(&text));
            }
            let strange: Vec<_> = shown.difference(&all).collect();
            assert!(strange.is_empty(), "{strange:?} stand in no table");
            all_shown.extend(shown.iter().cloned());
            by_name.is_subset(&shown).then_some(())
        });
    }

    // The rules and the dashboard name only what is shown.
    let known: Vec<&Family> = ROLES.iter().flat_map(|(role, _)| known(*role)).collect();
    let of_histograms = known.iter().filter(|family| family.kind == Kind::Histogram);
    let histograms: BTreeSet<&str> = of_histograms.map(|family| family.name).collect();
    let rules = rules(&dist("alerts.yml")?)?;
    assert!(rules.len() > 20);
    let dashboard = expressions_of_the_dashboard()?;
    for expression in rules.values().chain(&dashboard) {
        for name in names_in(expression) {
            let family = family_of(&name, &histograms);
            assert!(all_shown.contains(family), "{name} of {expression} is no metric");
            let is_part = family != name;
            assert_eq!(is_part, histograms.contains(family), "{name} of {expression}");
        }
    }
    check_with_promtool()
}

/// By the parsers of Prometheus's own Python package, for both formats.
#[test]
fn the_reference_parsers_read_the_metrics_of_every_daemon() -> Result<()> {
    let Some(python) = Python::get()? else { return Ok(()) };
    let cluster = Cluster::start(env!("CARGO_BIN_EXE_hathi"), OPTIONS)?;
    cluster.hathi_ok("dfs", &["-mkdir", "-p", "/a/b"])?;
    let mut addresses = Vec::new();
    for (role, count) in ROLES {
        for index in 0..count {
            addresses.push(address(&cluster, role, index)?);
        }
    }
    let read = python.command("metrics.py", &addresses).output()?;
    let told = String::from_utf8_lossy(&read.stdout);
    ensure!(read.status.success(), "{told}{}", String::from_utf8_lossy(&read.stderr));
    assert_eq!(told.lines().count(), addresses.len(), "{told}");
    Ok(())
}

#[test]
fn a_scraper_a_load_balancer_and_a_page_get_what_they_ask_for() -> Result<()> {
    let cluster = Cluster::start(env!("CARGO_BIN_EXE_hathi"), OPTIONS)?;
    let active = cluster.active().context("no active")?;
    let standby = 1 - active;
    let namenode = address(&cluster, Role::NameNode, active)?;

    let openmetrics = "application/openmetrics-text; version=1.0.0,text/plain;q=0.5";
    let (_, head, body) = ask(&namenode, "GET", "/metrics", openmetrics)?;
    assert!(
        head.to_lowercase()
            .contains("content-type: application/openmetrics-text"),
        "{head}"
    );
    assert!(body.ends_with("# EOF\n"));
    for path in ["/", "/metrics", "/jmx", "/health", "/api/cluster", "/isActive"] {
        let (status, _, body) = ask(&namenode, "HEAD", path, "*/*")?;
        assert_eq!((status, body.as_str()), (200, ""), "HEAD {path}");
    }
    for (index, path, expected) in [
        (active, "/health/live", 200),
        (active, "/health/ready?role=active", 200),
        (standby, "/health", 200),
        (standby, "/health/ready?role=active", 503),
    ] {
        let (status, _, body) = ask(&address(&cluster, Role::NameNode, index)?, "GET", path, "*/*")?;
        assert_eq!(status, expected, "{path}: {body}");
    }
    for (role, count) in ROLES {
        for index in 0..count {
            let address = address(&cluster, role, index)?;
            wait_for("a daemon that is ready", PATIENCE, || {
                let (status, _, _) = ask(&address, "GET", "/health/ready", "*/*").ok()?;
                (status == 200).then_some(())
            });
            let level = get(&address, "/logLevel?log=org.apache.hadoop.http")?;
            assert!(
                level.contains("Effective Level: <b>INFO</b>"),
                "{}: {level}",
                name_of(role)
            );
            let beans = json(&address, "/jmx")?;
            let has = |name: &str| {
                let mut beans = beans["beans"].as_array().into_iter().flatten();
                beans.any(|bean| bean["name"].as_str().is_some_and(|known| known.contains(name)))
            };
            assert!(has("name=JvmMetrics"), "{}", name_of(role));
            assert!(has("name=RpcActivityForPort"), "{}", name_of(role));
            assert!(has("name=RpcDetailedActivityForPort"), "{}", name_of(role));
        }
    }

    // The whole cluster, as its standby sees it.
    let observer = address(&cluster, Role::NameNode, standby)?;
    // The standby asks the others from time to time, and the DataNode registers with each NameNode at its own time.
    let page = wait_for("the whole cluster on the page", PATIENCE, || {
        let page = json(&observer, "/api/cluster").ok()?;
        let counts = [
            ("namenodes", 2),
            ("journalnodes", 3),
            ("controllers", 2),
            ("datanodes", 1),
        ];
        let all = counts
            .iter()
            .all(|(list, count)| page[*list].as_array().is_some_and(|known| known.len() == *count));
        let known = all && page["datanodes"][0]["volumes"][0].is_object();
        (known && page["namenodes"][usize::from(active)]["state"] == "active").then_some(page)
    });
    assert!(
        page["datanodes"][0]["volumes"][0]["capacity"].as_u64() > Some(0),
        "{page}"
    );

    cluster.signal(Role::NameNode, active, Signal::KILL)?;
    let (from, to) = (format!("nn{active}"), format!("nn{standby}"));
    wait_for("the failover on the page", PATIENCE, || {
        let page = json(&observer, "/api/cluster").ok()?;
        let failover = &page["failovers"][0];
        let cause = failover["cause"].as_str()?;
        let told = failover["from"] == *from && failover["to"] == *to && cause.contains("process");
        let took = failover["duration_ms"].as_u64()?;
        (told && took < 10_000 && page["namenodes"][usize::from(standby)]["state"] == "active").then_some(())
    });
    let counted = metrics(&address(&cluster, Role::Zkfc, standby)?)?;
    assert!(counted["hathi_zkfc_failovers_total"] >= 1.0);
    wait_for("a point of the history", PATIENCE, || {
        let history = json(&observer, "/api/history").ok()?;
        history["points"].as_array()?.last()?["calls_per_second"].as_f64()
    });
    Ok(())
}

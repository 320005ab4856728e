//! Each mistake is planted in a cluster that has none, and found.

use super::facts::{
    Beans, Contents, DataNodeAnswer, Directory, Facts, Found, JournalNodeAnswer, JournalState, Machine, NameNodeAnswer,
    NamedFile, Page, Role, Running,
};
use super::{Severity, as_json, as_text, examine, gather, options, rules};
use hathi_conf::{Configuration, Environment};
use hathi_storage::{StorageState, VersionFile};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
const NOW_MS: i64 = 1_800_000_000_000;

/// Settings of a cluster of three machines.
const SETTINGS: &[(&str, &str)] = &[
    ("fs.defaultFS", "hdfs://ns"),
    ("dfs.nameservices", "ns"),
    ("dfs.ha.namenodes.ns", "nn1,nn2"),
    ("dfs.namenode.rpc-address.ns.nn1", "h1:8020"),
    ("dfs.namenode.rpc-address.ns.nn2", "h2:8020"),
    ("dfs.namenode.http-address.ns.nn1", "h1:9870"),
    ("dfs.namenode.http-address.ns.nn2", "h2:9870"),
    ("dfs.namenode.shared.edits.dir", "qjournal://h1:8485;h2:8485;h3:8485/ns"),
    ("dfs.ha.automatic-failover.enabled", "true"),
    (
        "dfs.client.failover.proxy.provider.ns",
        "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider",
    ),
    ("dfs.client.failover.sleep.max.millis", "1000"),
];

fn text_of(settings: &[(&str, &str)]) -> String {
    let property =
        |(key, value): &(&str, &str)| format!("<property><name>{key}</name><value>{value}</value></property>\n");
    let properties: String = settings.iter().map(property).collect();
    format!("<configuration>\n{properties}</configuration>\n")
}

/// The healthy cluster's settings with these over them.
fn conf_with(more: &[(&str, &str)]) -> Configuration {
    let mut conf = Configuration::new(Environment::default());
    conf.add_text("hdfs-site.xml", &text_of(SETTINGS)).unwrap();
    conf.add_text("hdfs-site.xml", &text_of(more)).unwrap();
    conf
}

fn contents(role: Role, device: u64) -> Contents {
    let layout = if role == Role::Blocks { "-57" } else { "-67" };
    let version = format!("layoutVersion={layout}\nclusterID=CID-1\nnamespaceID=7\ncTime=0\n");
    Contents {
        uid: 1000,
        version_uid: Some(1000),
        writable: true,
        device,
        free_bytes: 900 * MIB,
        size_bytes: 1000 * MIB,
        state: Ok(StorageState::Normal),
        has_previous: false,
        version: Some(VersionFile::parse(&version)),
        holder: Some(4711),
        images: vec![(5, 5 * MIB, true)],
        segments: vec![(1, Some(8)), (9, None)],
        seen_txid: Some(9),
    }
}

fn directory(role: Role, key: &'static str, path: &str, device: u64) -> Directory {
    Directory {
        role,
        key,
        path: PathBuf::from(path),
        storage: PathBuf::from(path),
        state: Found::There(Box::new(contents(role, device))),
    }
}

fn bean(service: &str, name: &str, attributes: Value) -> Value {
    let mut bean = attributes;
    bean["name"] = json!(format!("Hadoop:service={service},name={name}"));
    bean
}

fn page(address: &str, beans: Vec<Value>) -> Page {
    Page {
        address: address.to_owned(),
        beans: Ok(Beans(beans)),
        clock_ahead_ms: Some((-1000, 999)),
    }
}

fn namenode_answer(facts: &Facts, index: usize) -> NameNodeAnswer {
    let beans = vec![
        bean(
            "NameNode",
            "NameNodeInfo",
            json!({
                "Version": "3.5.0", "ClusterId": "CID-1", "Safemode": "", "DeadNodes": "{}",
                "NameDirStatuses": "{\"active\":{},\"failed\":{}}",
                "JournalTransactionInfo": "{\"LastAppliedOrWrittenTxId\":\"1000000\"}",
            }),
        ),
        bean(
            "NameNode",
            "FSNamesystemState",
            json!({
                "NumLiveDataNodes": 3, "UnderReplicatedBlocks": 0, "CapacityTotal": 1000, "CapacityRemaining": 900,
            }),
        ),
        bean(
            "NameNode",
            "FSNamesystem",
            json!({
                "MissingBlocks": 0, "CorruptBlocks": 0, "TransactionsSinceLastCheckpoint": 100,
                "LastCheckpointTime": NOW_MS - 60_000,
            }),
        ),
        bean(
            "NameNode",
            "Hathi",
            json!({
                "HealthProblem": null, "NamespaceDiffers": 0, "NamespaceDiffersAtTxId": null, "Split": null,
            }),
        ),
        bean(
            "NameNode",
            "IPCLoggerChannel-10.0.0.1-8485",
            json!({"tag.IsOutOfSync": "false"}),
        ),
        bean("NameNode", "JournalNode-h1-8485", json!({"Distrusted": null})),
        bean("NameNode", "JvmMetrics", json!({"LogLinesLost": 0})),
    ];
    let state = if index == 0 { "active" } else { "standby" };
    NameNodeAnswer {
        namenode: facts.namenodes[index].clone(),
        state: Some(Ok(state.to_owned())),
        page: page(&format!("h{}:9870", index + 1), beans),
        settings: Some(facts.conf.clone()),
    }
}

fn journalnode_answer(host: &str) -> JournalNodeAnswer {
    let beans = vec![
        bean(
            "JournalNode",
            "JournalNodeInfo",
            json!({
                "Version": "3.5.0, hathi", "ClusterIds": ["CID-1"],
                "Directories": [{"path": "/j", "free": 50, "size": 1000}],
            }),
        ),
        bean(
            "JournalNode",
            "Journal-ns",
            json!({
                "Failed": false, "Failure": "", "Joining": false, "JoiningReason": "", "PromiseLost": false,
                "Syncs60sNumOps": 5, "Syncs60s50thPercentileLatencyMicros": 100, "Syncs60s99thPercentileLatencyMicros": 900,
            }),
        ),
    ];
    JournalNodeAnswer {
        address: format!("{host}:8485"),
        journal_id: "ns".to_owned(),
        state: JournalState::Answered,
        page: Some(page(&format!("{host}:8480"), beans)),
        members: Some(["h1:8485", "h2:8485", "h3:8485"].map(str::to_owned).to_vec()),
    }
}

fn datanode_answer(name: &str) -> DataNodeAnswer {
    let beans = vec![
        bean(
            "DataNode",
            "DataNodeInfo",
            json!({
                "Version": "3.5.0", "ClusterId": "CID-1",
                "BPServiceActorInfo": "[{\"NamenodeAddress\":\"h1:8020\",\"ActorState\":\"RUNNING\"}]",
            }),
        ),
        bean("DataNode", "FSDatasetState", json!({"NumFailedVolumes": 0})),
    ];
    DataNodeAnswer {
        name: name.to_owned(),
        page: page(name, beans),
    }
}

/// A cluster without a mistake, of these settings.
fn healthy_with(more: &[(&str, &str)]) -> Facts {
    let mut facts = Facts::of(Path::new("/etc/hadoop/conf"), conf_with(more));
    for (host, ip) in [("h1", "10.0.0.1"), ("h2", "10.0.0.2"), ("h3", "10.0.0.3")] {
        facts.hosts.insert(host.to_owned(), vec![ip.parse().unwrap()]);
    }
    facts.machine = Machine {
        uid: 1000,
        open_files_max: Some(65_536),
        swap_bytes: 0,
        swappiness: Some(60),
        memory_bytes: Some(1000 * MIB),
    };
    facts.directories = vec![
        directory(Role::Image, "dfs.namenode.name.dir", "/data/1/name", 1),
        directory(Role::Journal, "dfs.journalnode.edits.dir", "/data/1/journal", 1),
        directory(Role::Blocks, "dfs.datanode.data.dir", "/data/2/data", 2),
        directory(Role::Blocks, "dfs.datanode.data.dir", "/data/3/data", 3),
    ];
    facts.running = Some(Running {
        namenodes: (0..facts.namenodes.len())
            .map(|index| namenode_answer(&facts, index))
            .collect(),
        journalnodes: ["h1", "h2", "h3"].map(journalnode_answer).to_vec(),
        datanodes: vec![datanode_answer("h1:9866")],
        controllers: vec![("h1:8019".to_owned(), None)],
        zookeepers: Vec::new(),
        now_ms: NOW_MS,
    });
    facts
}

fn healthy() -> Facts {
    healthy_with(&[])
}

/// A healthy cluster, and then this.
fn but(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = healthy();
    change(&mut facts);
    facts
}

/// The same with the contents of a directory changed.
fn in_directory(index: usize, change: impl FnOnce(&mut Contents)) -> Facts {
    but(|facts| match &mut facts.directories[index].state {
        Found::There(contents) => change(contents),
        other => panic!("{other:?}"),
    })
}

fn running(change: impl FnOnce(&mut Running)) -> Facts {
    but(|facts| change(facts.running.as_mut().unwrap()))
}

fn set(page: &mut Page, name: &str, attribute: &str, value: Value) {
    let beans = &mut page.beans.as_mut().unwrap().0;
    let end = format!(",name={name}");
    let bean = beans
        .iter_mut()
        .find(|bean| bean["name"].as_str().unwrap().ends_with(&end))
        .unwrap();
    bean[attribute] = value;
}

/// The same with an attribute of a NameNode changed.
fn namenode_with(index: usize, name: &str, attribute: &str, value: Value) -> Facts {
    running(|running| set(&mut running.namenodes[index].page, name, attribute, value))
}

/// The same with an attribute of the first JournalNode's journal changed.
fn journal_with(attribute: &str, value: Value) -> Facts {
    running(|running| {
        set(
            running.journalnodes[0].page.as_mut().unwrap(),
            "Journal-ns",
            attribute,
            value,
        )
    })
}

fn datanode_with(name: &str, attribute: &str, value: Value) -> Facts {
    running(|running| set(&mut running.datanodes[0].page, name, attribute, value))
}

fn setting(key: &str, value: &str) -> Facts {
    healthy_with(&[(key, value)])
}

fn version(key: &str, value: &str) -> Facts {
    in_directory(0, |contents| contents.version.as_mut().unwrap().set(key, value))
}

fn silent() -> Option<String> {
    Some("connection refused".to_owned())
}

fn of_files() -> Vec<(&'static str, Facts)> {
    let named = |key: &str, found| but(|facts| facts.named_files.push((key.to_owned(), "/x".into(), found)));
    vec![
        (
            "conf-directory-missing",
            but(|facts| facts.dir_problem = Some("no such directory".to_owned())),
        ),
        (
            "conf-file-missing",
            but(|facts| facts.missing_files.push("/c/core-site.xml".into())),
        ),
        (
            "conf-file-broken",
            but(|facts| facts.broken_file = Some(("x, line 3".to_owned(), "ends".to_owned()))),
        ),
        ("key-refused", setting("hadoop.security.authentication", "kerberos")),
        (
            "value-refused",
            but(|facts| facts.refusals.push("hathi.lease.ms = 0".to_owned())),
        ),
        ("key-unknown", setting("dfs.replicaton", "3")),
        ("key-without-effect", setting("dfs.qjm.operations.timeout", "60s")),
        ("default-fs-not-hdfs", setting("fs.defaultFS", "file:///")),
        ("default-fs-unknown", setting("fs.defaultFS", "hdfs://sn")),
        (
            "client-pauses-long",
            setting("dfs.client.failover.sleep.max.millis", "15000"),
        ),
        (
            "proxy-provider-missing",
            setting("dfs.client.failover.proxy.provider.ns", ""),
        ),
        ("fencing-missing", setting("ha.zookeeper.quorum", "z1:2181")),
        (
            "failover-not-automatic",
            setting("dfs.ha.automatic-failover.enabled", "false"),
        ),
        ("checkpoint-period-odd", setting("dfs.namenode.checkpoint.period", "2s")),
        ("named-file-missing", named("dfs.hosts.exclude", NamedFile::Missing)),
        (
            "rack-script-unusable",
            named("net.topology.script.file.name", NamedFile::NotExecutable),
        ),
        ("permissions-off", setting("dfs.permissions.enabled", "false")),
        ("replication-without-spare", setting("dfs.replication", "1")),
    ]
}

fn of_topology() -> Vec<(&'static str, Facts)> {
    let journal = |nodes: &str| setting("dfs.namenode.shared.edits.dir", &format!("qjournal://{nodes}/ns"));
    let second = healthy_with(&[("dfs.nameservices", "ns,other"), ("dfs.ha.namenodes.other", "nn3,nn4")]);
    let host = |name: &str, addresses: &[&str]| {
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        but(|facts| drop(facts.hosts.insert(name.to_owned(), addresses)))
    };
    vec![
        (
            "namenode-without-address",
            setting("dfs.ha.namenodes.ns", "nn1,nn2,nn3"),
        ),
        ("namenode-alone", setting("dfs.ha.namenodes.ns", "nn1")),
        (
            "port-used-twice",
            setting("dfs.namenode.http-address.ns.nn1", "h1:8485"),
        ),
        ("shared-edits-missing", setting("dfs.namenode.shared.edits.dir", "")),
        (
            "shared-edits-differ",
            setting(
                "dfs.namenode.shared.edits.dir.ns.nn2",
                "qjournal://h1:8485;h2:8485;h4:8485/ns",
            ),
        ),
        ("journal-shared", second),
        ("journalnodes-few", journal("h1:8485")),
        ("journalnodes-even", journal("h1:8485;h2:8485;h3:8485;h4:8485")),
        ("journalnode-twice", journal("h1:8485;h1:8485;h3:8485")),
        ("journalnodes-on-one-host", journal("h1:8485;h1:8486;h3:8485")),
        ("host-unknown", host("h2", &[])),
        ("host-is-loopback", host("h1", &["127.0.1.1"])),
    ]
}

fn of_machine() -> Vec<(&'static str, Facts)> {
    vec![
        ("open-files-few", but(|facts| facts.machine.open_files_max = Some(1024))),
        ("swapping", but(|facts| facts.machine.swap_bytes = MIB)),
        ("memory-small", but(|facts| facts.machine.memory_bytes = Some(9 * MIB))),
    ]
}

/// A NameNode without high availability, whose edits have a gap.
fn single_with_gap() -> Facts {
    let mut facts = Facts::of(Path::new("/c"), Configuration::new(Environment::default()));
    facts.conf.set("fs.defaultFS", "hdfs://h1:8020");
    facts.directories = vec![directory(Role::Image, "dfs.namenode.name.dir", "/name", 1)];
    let Found::There(contents) = &mut facts.directories[0].state else {
        panic!("the directory is there");
    };
    contents.segments = vec![(1, Some(6)), (8, Some(9))];
    facts
}

fn of_directories() -> Vec<(&'static str, Facts)> {
    let path = |index: usize, path: &str| {
        but(|facts| (facts.directories[index].path, facts.directories[index].storage) = (path.into(), path.into()))
    };
    let state = |index: usize, state| but(|facts| facts.directories[index].state = state);
    let transition = |state| in_directory(0, |contents| contents.state = state);
    vec![
        ("storage-below-tmp", path(0, "/tmp/hadoop-hdfs/dfs/name")),
        ("directory-twice", path(1, "/data/1/name")),
        ("directory-nested", path(1, "/data/1/name/journal")),
        ("name-directory-missing", state(0, Found::Missing)),
        ("directory-missing", state(2, Found::Missing)),
        ("no-directory", state(0, Found::NoDirectory)),
        (
            "directory-unreadable",
            state(0, Found::Unreadable("permission denied".to_owned())),
        ),
        (
            "directory-not-writable",
            in_directory(0, |contents| contents.writable = false),
        ),
        (
            "files-of-other-owner",
            in_directory(0, |contents| contents.version_uid = Some(0)),
        ),
        ("not-formatted", transition(Ok(StorageState::NotFormatted))),
        ("version-broken", version("namespaceID", "seven")),
        ("layout-unreadable", version("layoutVersion", "-66")),
        ("identities-differ", version("clusterID", "CID-2")),
        ("identities-differ", version("namespaceID", "8")),
        (
            "directory-inconsistent",
            transition(Err("too many temporary directories".to_owned())),
        ),
        ("transition-unfinished", transition(Ok(StorageState::CompleteUpgrade))),
        (
            "upgrade-not-finalized",
            in_directory(0, |contents| contents.has_previous = true),
        ),
        ("directory-in-use", but(|facts| facts.running = None)),
        ("image-missing", in_directory(0, |contents| contents.images.clear())),
        (
            "image-without-md5",
            in_directory(0, |contents| contents.images.push((7, MIB, false))),
        ),
        ("edits-missing", single_with_gap()),
        (
            "disk-below-reserve",
            in_directory(0, |contents| contents.free_bytes = 99 * MIB),
        ),
        (
            "disk-nearly-full",
            in_directory(2, |contents| contents.free_bytes = 49 * MIB),
        ),
        ("data-disks-shared", in_directory(3, |contents| contents.device = 2)),
        ("journal-disk-shared", in_directory(2, |contents| contents.device = 1)),
    ]
}

fn of_namenodes() -> Vec<(&'static str, Facts)> {
    let state = |index: usize, state: Result<&str, &str>| {
        let state = state.map(str::to_owned).map_err(str::to_owned);
        running(|running| running.namenodes[index].state = Some(state))
    };
    let of_first = |name, attribute, value| namenode_with(0, name, attribute, value);
    let behind = json!("{\"LastAppliedOrWrittenTxId\":\"5\"}");
    vec![
        ("namenode-down", state(1, Err("connection refused"))),
        ("no-active", state(0, Ok("standby"))),
        ("actives-several", state(1, Ok("active"))),
        (
            "namenode-unhealthy",
            of_first("Hathi", "HealthProblem", json!("no resources available")),
        ),
        (
            "safe-mode",
            of_first("NameNodeInfo", "Safemode", json!("Safe mode is ON.")),
        ),
        (
            "standby-lags",
            namenode_with(1, "NameNodeInfo", "JournalTransactionInfo", behind),
        ),
        (
            "namespace-differs",
            running(|running| {
                let page = &mut running.namenodes[1].page;
                set(page, "Hathi", "NamespaceDiffers", json!(1));
                set(page, "Hathi", "NamespaceDiffersAtTxId", json!(17));
            }),
        ),
        ("namenodes-split", of_first("Hathi", "Split", json!("nn2 goes on"))),
        (
            "name-directory-failed",
            of_first(
                "NameNodeInfo",
                "NameDirStatuses",
                json!("{\"failed\":{\"/data/1\":\"IMAGE\"}}"),
            ),
        ),
        (
            "checkpoint-old",
            of_first("FSNamesystem", "LastCheckpointTime", json!(NOW_MS - 3 * 3_600_000)),
        ),
        (
            "settings-differ",
            running(|running| running.namenodes[1].settings = Some(conf_with(&[("dfs.replication", "2")]))),
        ),
        (
            "restart-missing",
            running(|running| running.namenodes[1].settings = Some(conf_with(&[("dfs.replication", "2")]))),
        ),
        (
            "clusters-differ",
            datanode_with("DataNodeInfo", "ClusterId", json!("CID-2")),
        ),
        (
            "versions-differ",
            namenode_with(1, "NameNodeInfo", "Version", json!("3.4.1")),
        ),
        (
            "clocks-apart",
            running(|running| running.namenodes[1].page.clock_ahead_ms = Some((2001, 4000))),
        ),
        ("log-lost", namenode_with(1, "JvmMetrics", "LogLinesLost", json!(1))),
        (
            "controller-down",
            running(|running| running.controllers[0].1 = silent()),
        ),
        (
            "zookeeper-down",
            running(|running| running.zookeepers.push(("z1:2181".to_owned(), silent()))),
        ),
    ]
}

fn of_journal() -> Vec<(&'static str, Facts)> {
    let state = |state| running(|running| running.journalnodes[0].state = state);
    let majority = running(|running| {
        for journalnode in &mut running.journalnodes[1..] {
            journalnode.state = JournalState::Silent("connection refused".to_owned());
        }
    });
    let members = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        running(|running| running.journalnodes[0].members = Some(names))
    };
    vec![
        (
            "journalnode-down",
            state(JournalState::Silent("connection refused".to_owned())),
        ),
        ("journal-majority-lost", majority),
        ("journalnode-not-formatted", state(JournalState::NotFormatted)),
        (
            "journalnode-refuses",
            state(JournalState::Refused("access denied".to_owned())),
        ),
        ("journalnode-failed", journal_with("Failed", json!(true))),
        ("journalnode-not-voting", journal_with("Joining", json!(true))),
        (
            "journalnode-out-of-sync",
            namenode_with(0, "IPCLoggerChannel-10.0.0.1-8485", "tag.IsOutOfSync", json!("true")),
        ),
        (
            "journalnode-distrusted",
            namenode_with(0, "JournalNode-h1-8485", "Distrusted", json!("it went back")),
        ),
        ("journal-members-differ", members(&["h1:8485", "h2:8485", "h4:8485"])),
        (
            "journal-disk-full",
            running(|running| {
                let page = running.journalnodes[0].page.as_mut().unwrap();
                let room = json!([{"path": "/j", "free": 49, "size": 1000}]);
                set(page, "JournalNodeInfo", "Directories", room);
            }),
        ),
        (
            "journal-disk-slow",
            journal_with("Syncs60s99thPercentileLatencyMicros", json!(20_000)),
        ),
    ]
}

fn of_data() -> Vec<(&'static str, Facts)> {
    let of_active = |name, attribute, value| namenode_with(0, name, attribute, value);
    let connecting = json!("[{\"NamenodeAddress\":\"h2:8020\",\"ActorState\":\"CONNECTING\"}]");
    vec![
        (
            "datanodes-none",
            of_active("FSNamesystemState", "NumLiveDataNodes", json!(0)),
        ),
        (
            "datanode-dead",
            of_active("NameNodeInfo", "DeadNodes", json!("{\"h3:9866\":{}}")),
        ),
        (
            "datanode-silent",
            running(|running| running.datanodes[0].page.beans = Err("no answer".to_owned())),
        ),
        (
            "datanode-not-connected",
            datanode_with("DataNodeInfo", "BPServiceActorInfo", connecting),
        ),
        ("blocks-missing", of_active("FSNamesystem", "MissingBlocks", json!(1))),
        (
            "blocks-under-replicated",
            of_active("FSNamesystemState", "UnderReplicatedBlocks", json!(1)),
        ),
        ("blocks-corrupt", of_active("FSNamesystem", "CorruptBlocks", json!(1))),
        (
            "volume-failed",
            datanode_with("FSDatasetState", "NumFailedVolumes", json!(1)),
        ),
        (
            "replication-above-datanodes",
            of_active("FSNamesystemState", "NumLiveDataNodes", json!(2)),
        ),
        (
            "cluster-nearly-full",
            of_active("FSNamesystemState", "CapacityRemaining", json!(99)),
        ),
    ]
}

/// Each kind of mistake, at least once.
fn plants() -> Vec<(&'static str, Facts)> {
    let plants = [
        of_files(),
        of_topology(),
        of_machine(),
        of_directories(),
        of_namenodes(),
        of_journal(),
        of_data(),
    ];
    plants.into_iter().flatten().collect()
}

#[test]
fn a_healthy_cluster_has_no_finding() {
    assert_eq!(examine(&healthy()), []);
}

#[test]
fn each_planted_mistake_is_found() {
    for (id, facts) in plants() {
        let findings = examine(&facts);
        assert!(
            findings.iter().any(|finding| finding.id == id),
            "{id}: {}",
            as_text(&findings, false)
        );
    }
}

#[test]
fn each_rule_has_a_planted_mistake() {
    let planted: BTreeSet<&str> = plants().into_iter().map(|(id, _)| id).collect();
    let rules: BTreeSet<&str> = rules::all().map(|rule| rule.id).collect();
    assert_eq!(rules, planted);
}

/// A warning on a machine where nothing is wrong is soon not read any more.
#[test]
fn most_planted_mistakes_are_found_alone() {
    let alone = plants()
        .into_iter()
        .filter(|(_, facts)| examine(facts).len() == 1)
        .count();
    assert!(alone * 3 > plants().len() * 2, "{alone} of {}", plants().len());
}

#[test]
fn errors_come_first_and_say_where_what_and_how() {
    let mut facts = healthy_with(&[("dfs.replicaton", "3")]);
    facts.running.as_mut().unwrap().controllers[0].1 = silent();
    let findings = examine(&facts);
    let severities: Vec<Severity> = findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Warning]);
    let text = as_text(&findings, false);
    assert!(
        text.starts_with(
            "ERROR controller-down\n  where: controller h1:8019\n  what:  connection refused\n  cure:  Start"
        ),
        "{text}"
    );
    assert!(text.ends_with("\n1 error, 1 warning\n"), "{text}");
    let told: Value = serde_json::from_str(&as_json(&findings)).unwrap();
    assert_eq!(told[0]["id"], "controller-down");
    assert_eq!(told[0]["severity"], "error");
    assert!(told[1]["where"].as_str().unwrap().contains("hdfs-site.xml"), "{told}");
    assert!(told[1]["what"].as_str().unwrap().contains("dfs.replication"), "{told}");
}

/// The findings of a directory with these files, without its daemons.
fn in_files(files: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let findings = examine(&gather::facts(dir.path(), true).unwrap());
    findings
        .into_iter()
        .map(|finding| (finding.id, finding.place))
        .collect()
}

#[test]
fn files_are_read_as_daemons_read_them() {
    let broken = in_files(&[
        ("core-site.xml", "<configuration>\n<property>\n</proprety>"),
        ("hdfs-site.xml", &text_of(&[])),
    ]);
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert!(
        broken[0].0 == "conf-file-broken" && broken[0].1.ends_with("core-site.xml, line 3"),
        "{broken:?}"
    );

    let nothing = in_files(&[]);
    let ids: Vec<&str> = nothing.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, ["default-fs-not-hdfs", "conf-file-missing", "conf-file-missing"]);

    let missing = examine(&gather::facts(Path::new("/nonexistent/conf"), true).unwrap());
    assert_eq!(
        missing.iter().map(|finding| finding.id).collect::<Vec<_>>(),
        ["conf-directory-missing"]
    );
}

#[test]
fn directories_of_this_machine_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let (name, data) = (dir.path().join("name"), dir.path().join("absent"));
    std::fs::create_dir(&name).unwrap();
    let site = text_of(&[
        ("dfs.nameservices", "ns"),
        ("dfs.namenode.rpc-address.ns", "127.0.0.1:8020"),
        ("dfs.namenode.name.dir", &name.display().to_string()),
        ("dfs.datanode.data.dir", &data.display().to_string()),
        ("dfs.hosts.exclude", "/nonexistent/exclude"),
        ("dfs.replication", "x"),
    ]);
    let found = in_files(&[
        ("core-site.xml", &text_of(&[("fs.defaultFS", "hdfs://ns")])),
        ("hdfs-site.xml", &site),
    ]);
    let ids: BTreeSet<&str> = found.iter().map(|(id, _)| *id).collect();
    for id in [
        "not-formatted",
        "directory-missing",
        "named-file-missing",
        "value-refused",
    ] {
        assert!(ids.contains(id), "{id}: {found:?}");
    }
}

#[test]
fn wrong_arguments_are_named() {
    let parsed = |line: &str| options(line.split_whitespace().map(Into::into).collect());
    let all = parsed("--json --conf /c --offline").unwrap();
    assert!(all.json && all.offline && all.dir == Some("/c".into()));
    assert_eq!(parsed("--jsno").unwrap_err(), "unknown argument --jsno");
    assert!(parsed("--conf").is_err());
}

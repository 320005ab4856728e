//! Files and settings.

use super::{Rule, Trouble, error, trouble, warning};
use crate::cmd::doctor::facts::{Facts, NamedFile};
use hathi_conf::TimeUnit;
use hathi_conf::keys::Verdict;
use std::time::Duration;

/// Pause of a client between two attempts above which it misses the failover, which takes a fraction of a second.
const CLIENT_SLEEP_MAX: Duration = Duration::from_millis(5000);
/// Shortest and longest sensible time between checkpoints.
const CHECKPOINT_PERIODS: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(86_400);

#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    Rule { needs_no_configuration: true, ..error("conf-directory-missing", "the configuration directory can't be read", "Name the right directory with --conf or HADOOP_CONF_DIR, or make it readable for this user.", directory_missing) },
    Rule { needs_no_configuration: true, ..warning("conf-file-missing", "`core-site.xml` or `hdfs-site.xml` is not there", "Copy the file from another machine of the cluster: all machines have the same two files.", file_missing) },
    Rule { needs_no_configuration: true, ..error("conf-file-broken", "a configuration file is not well-formed XML, or can't be read", "Correct the file at this line, for example an element that is not closed.", file_broken) },
    error("key-refused", "a key asks for protection that Hathi does not have", "Follow the hint of the finding; daemons do not start as long as the key is set.", |facts| unobeyed(facts, |verdict| matches!(verdict, Verdict::Refused(_)))),
    error("value-refused", "a daemon would refuse to start because of a value", "Correct the value; docs/configuration.md says what each key takes.", value_refused),
    warning("key-unknown", "a key is not known, perhaps because it is misspelt", "Correct the spelling, or remove the key.", |facts| unobeyed(facts, |verdict| matches!(verdict, Verdict::Unknown(_)))),
    warning("key-without-effect", "a key of Hadoop's has no effect here", "Remove the key, or leave it for Hadoop's daemons.", |facts| unobeyed(facts, |verdict| matches!(verdict, Verdict::NoEffect(_)))),
    error("default-fs-not-hdfs", "`fs.defaultFS` names no HDFS", "Set fs.defaultFS in core-site.xml to hdfs:// and the nameservice.", default_fs_not_hdfs),
    error("default-fs-unknown", "`fs.defaultFS` names neither a nameservice of `dfs.nameservices` nor a host", "Write the same name in fs.defaultFS and dfs.nameservices.", default_fs_unknown),
    warning("client-pauses-long", "clients pause for seconds between two NameNodes, longer than a failover takes", "Set dfs.client.failover.sleep.max.millis to 1000 and dfs.client.failover.sleep.base.millis to 50.", client_pauses_long),
    warning("proxy-provider-missing", "a nameservice has several NameNodes and no `dfs.client.failover.proxy.provider`", "Set the key to org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider.", proxy_provider_missing),
    error("fencing-missing", "ZooKeeper elects, and no fencing method is configured", "Set dfs.ha.fencing.methods; shell(/bin/true) is enough beside JournalNodes.", fencing_missing),
    warning("failover-not-automatic", "a nameservice has several NameNodes, and failover is not automatic", "Set dfs.ha.automatic-failover.enabled to true and run a controller beside each NameNode.", failover_not_automatic),
    warning("checkpoint-period-odd", "`dfs.namenode.checkpoint.period` is below a minute or above a day", "Set dfs.namenode.checkpoint.period to about an hour: rarer checkpoints make restarts long, more frequent ones load the disks.", checkpoint_period_odd),
    error("named-file-missing", "a file of hosts or racks that a key names is not there", "Create the file, even an empty one, or remove the key.", named_file_missing),
    error("rack-script-unusable", "the program of `net.topology.script.file.name` is not there or not executable", "Install the program on the machines of all NameNodes and make it executable.", rack_script_unusable),
    warning("permissions-off", "permissions are not checked", "Set dfs.permissions.enabled to true, unless everybody may delete everything.", permissions_off),
    warning("replication-without-spare", "`dfs.replication` is 1, so each disk that dies takes files with it", "Set dfs.replication to 3, or to 2 with two DataNodes.", replication_without_spare),
];

fn directory_missing(facts: &Facts) -> Vec<Trouble> {
    let problem = facts.dir_problem.iter();
    problem
        .map(|problem| {
            trouble(
                facts.dir.display().to_string(),
                format!("the configuration directory can't be read: {problem}"),
            )
        })
        .collect()
}

fn file_missing(facts: &Facts) -> Vec<Trouble> {
    if facts.dir_problem.is_some() {
        return Vec::new();
    }
    let missing = facts.missing_files.iter();
    missing
        .map(|path| {
            trouble(
                path.display().to_string(),
                "the file is not there, so that Hadoop's defaults hold",
            )
        })
        .collect()
}

fn file_broken(facts: &Facts) -> Vec<Trouble> {
    let broken = facts.broken_file.iter();
    broken
        .map(|(place, problem)| trouble(place, format!("the file can't be used: {problem}")))
        .collect()
}

fn unobeyed(facts: &Facts, wanted: fn(&Verdict) -> bool) -> Vec<Trouble> {
    let findings = facts.conf.check(None).into_iter();
    findings
        .filter(|finding| wanted(&finding.verdict))
        .map(|finding| trouble(format!("{} ({})", finding.key, finding.origin), finding.to_string()))
        .collect()
}

fn value_refused(facts: &Facts) -> Vec<Trouble> {
    let refusals = facts.refusals.iter();
    refusals
        .map(|refusal| trouble(facts.dir.display().to_string(), refusal))
        .collect()
}

fn default_fs_not_hdfs(facts: &Facts) -> Vec<Trouble> {
    const KEY: &str = "fs.defaultFS";
    let default = facts.conf.default_fs();
    if default.scheme == "hdfs" && !default.authority.is_empty() {
        return Vec::new();
    }
    let value = facts.conf.get_or(KEY, "");
    vec![trouble(
        facts.setting(KEY),
        format!("{value} is no HDFS, so that commands work on other files"),
    )]
}

fn default_fs_unknown(facts: &Facts) -> Vec<Trouble> {
    let default = facts.conf.default_fs();
    let name = default.authority;
    let services = facts.conf.nameservices();
    // A port or a dot makes it a host.
    if default.scheme != "hdfs" || name.is_empty() || name.contains([':', '.']) || services.contains(&name) {
        return Vec::new();
    }
    let resolves = facts.hosts.get(&name).is_some_and(|addresses| !addresses.is_empty());
    if resolves {
        return Vec::new();
    }
    let known = if services.is_empty() {
        "empty".to_owned()
    } else {
        services.join(", ")
    };
    let what = format!("{name} is neither a nameservice (dfs.nameservices is {known}) nor a known host");
    vec![trouble(facts.setting("fs.defaultFS"), what)]
}

fn client_pauses_long(facts: &Facts) -> Vec<Trouble> {
    const KEY: &str = "dfs.client.failover.sleep.max.millis";
    let pause = facts
        .conf
        .get_duration(KEY, Duration::from_millis(15_000), TimeUnit::Millis);
    match pause {
        Ok(pause) if pause > CLIENT_SLEEP_MAX && !facts.ha_nameservices().is_empty() => {
            let what = format!(
                "a client may pause for {} ms before it asks the new active",
                pause.as_millis()
            );
            vec![trouble(facts.setting(KEY), what)]
        }
        _ => Vec::new(),
    }
}

fn proxy_provider_missing(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for nameservice in facts.ha_nameservices().into_keys() {
        let key = format!("dfs.client.failover.proxy.provider.{nameservice}");
        if facts.conf.get(&key).is_none() && facts.conf.get("dfs.client.failover.proxy.provider").is_none() {
            found.push(trouble(
                key,
                format!("Hadoop's clients take {nameservice} for a host and find no NameNode"),
            ));
        }
    }
    found
}

fn fencing_missing(facts: &Facts) -> Vec<Trouble> {
    if facts.conf.get("ha.zookeeper.quorum").is_none() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for namenode in facts.namenodes.iter().filter(|namenode| namenode.controller.is_some()) {
        let (nameservice, id) = (namenode.nameservice.as_deref(), namenode.id.as_deref());
        let key = facts.conf.scoped_key("dfs.ha.fencing.methods", nameservice, id);
        if facts.conf.get(&key).is_none() {
            found.push(trouble(
                key,
                format!("the controller of {} will not start", namenode.name()),
            ));
        }
    }
    found
}

fn failover_not_automatic(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for nameservice in facts.ha_nameservices().into_keys() {
        let key = facts
            .conf
            .scoped_key("dfs.ha.automatic-failover.enabled", Some(nameservice), None);
        if !facts.conf.get_bool(&key, false) {
            let what = format!("when the active of {nameservice} dies, nobody takes over until an administrator acts");
            found.push(trouble(facts.setting(&key), what));
        }
    }
    found
}

fn checkpoint_period_odd(facts: &Facts) -> Vec<Trouble> {
    const KEY: &str = "dfs.namenode.checkpoint.period";
    match facts
        .conf
        .get_duration(KEY, Duration::from_secs(3600), TimeUnit::Seconds)
    {
        Ok(period) if !CHECKPOINT_PERIODS.contains(&period) => {
            vec![trouble(
                facts.setting(KEY),
                format!("a checkpoint is made every {} s", period.as_secs()),
            )]
        }
        _ => Vec::new(),
    }
}

/// Key of the program that names racks.
const SCRIPT: &str = "net.topology.script.file.name";

fn named_file_missing(facts: &Facts) -> Vec<Trouble> {
    let files = facts.named_files.iter();
    files
        .filter(|(key, _, found)| key != SCRIPT && *found == NamedFile::Missing)
        .map(|(key, path, _)| trouble(facts.setting(key), format!("there is no file {}", path.display())))
        .collect()
}

fn rack_script_unusable(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for (key, path, state) in facts.named_files.iter().filter(|(key, ..)| key == SCRIPT) {
        let what = match state {
            NamedFile::There => continue,
            NamedFile::Missing => "is not there",
            NamedFile::NotExecutable => "is not executable",
        };
        let what = format!(
            "{} {what}, so that every DataNode is in the default rack",
            path.display()
        );
        found.push(trouble(facts.setting(key), what));
    }
    found
}

fn permissions_off(facts: &Facts) -> Vec<Trouble> {
    const KEY: &str = "dfs.permissions.enabled";
    if facts.conf.get_bool(KEY, true) {
        return Vec::new();
    }
    vec![trouble(
        facts.setting(KEY),
        "every user may read, change and delete every file",
    )]
}

fn replication_without_spare(facts: &Facts) -> Vec<Trouble> {
    const KEY: &str = "dfs.replication";
    if facts.conf.get_u32(KEY, 3).ok() != Some(1) {
        return Vec::new();
    }
    vec![trouble(facts.setting(KEY), "new files have one replica of each block")]
}

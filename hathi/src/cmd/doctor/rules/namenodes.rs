//! What NameNodes and controllers answer.

use super::{Rule, Trouble, error, trouble, warning};
use crate::cmd::doctor::facts::{Beans, Facts, NameNodeAnswer, Page};
use hathi_conf::TimeUnit;
use hathi_namenode_http::COMMON_SETTINGS;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A standby so many transactions behind the active lags. It is normally behind by what is in flight.
const LAG_TXNS_MAX: u64 = 100_000;
/// Difference of a clock from the others' above which times of files and logs confuse.
const CLOCKS_APART_MS: i64 = 2000;
/// A checkpoint is late after this many periods.
const CHECKPOINT_PERIODS_MAX: i64 = 2;

#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    error("namenode-down", "a NameNode does not answer", "Start it; its log says why it ended.", namenode_down),
    error("no-active", "no NameNode of a nameservice is active", "Look for journal-majority-lost and controller-down; hathi haadmin -checkHealth says why a NameNode is not elected.", no_active),
    error("actives-several", "two NameNodes of a nameservice call themselves active", "Ask again; if it stays, stop the one that has the lower epoch in hathi journal status.", actives_several),
    error("namenode-unhealthy", "a NameNode is not elected because of its health", "Mend what the text names; hathi haadmin -checkHealth shows whether it is gone.", namenode_unhealthy),
    warning("safe-mode", "the active is in safe mode, and refuses changes", "Bring the DataNodes back or make room, as the text says; hathi dfsadmin -safemode leave ends a safe mode that was entered by hand.", safe_mode),
    warning("standby-lags", "a standby is more than 100,000 transactions behind the active", "Look at the standby's log, its disk and its network: it would take long to become active.", standby_lags),
    error("namespace-differs", "a standby's namespace is not that of the active", "Set this standby up again with hathi namenode -bootstrapStandby.", namespace_differs),
    error("namenodes-split", "a NameNode goes on serving though it was reported as fenced", "Stop that NameNode, and correct the fencing method.", namenodes_split),
    error("name-directory-failed", "a NameNode does not use one of its directories any more", "Replace the disk, then run hathi dfsadmin -restoreFailedStorage true.", name_directory_failed),
    warning("checkpoint-old", "the newest image is older than two checkpoint periods, with new edits behind it", "Look in the logs of the standbys for `no checkpoint` and `cannot upload an image`.", checkpoint_old),
    warning("settings-differ", "two NameNodes of a nameservice run with different values of a key", "Copy the same files to all machines, and restart the NameNodes one by one.", settings_differ),
    warning("restart-missing", "a NameNode runs with another value than the files of this machine", "Restart the NameNode, or bring its files up to date.", restart_missing),
    error("clusters-differ", "NameNodes of one nameservice, or their JournalNodes or DataNodes, belong to different clusters", "Find out which is the right cluster, and set the wrong daemon up again.", clusters_differ),
    warning("versions-differ", "daemons of one kind run different versions", "Finish the upgrade: restart the daemons of the older version.", versions_differ),
    warning("clocks-apart", "the clock of a daemon differs by more than 2 s from those of most others", "Synchronize the clocks of all machines, for example with chrony.", clocks_apart),
    error("log-lost", "a daemon can't write its log", "Make room on the disk of its log; what was lost stays lost, and the log says how much.", log_lost),
    error("controller-down", "failover is automatic, and a failover controller does not answer", "Start it with hathi zkfc, as the user of its NameNode.", controller_down),
    error("zookeeper-down", "a server of `ha.zookeeper.quorum` can't be reached", "Start it, or correct the address; a majority of the servers must run.", zookeeper_down),
];

/// The answers of each nameservice with several NameNodes.
fn services(facts: &Facts) -> BTreeMap<String, Vec<NameNodeAnswer>> {
    let mut services: BTreeMap<String, Vec<NameNodeAnswer>> = BTreeMap::new();
    for answer in facts.answers().namenodes {
        if let (Some(nameservice), Some(_)) = (answer.namenode.nameservice.clone(), &answer.namenode.id) {
            services.entry(nameservice).or_default().push(answer);
        }
    }
    services
}

/// What is said of each NameNode that answered.
fn each(facts: &Facts, what: impl Fn(&NameNodeAnswer, &Beans) -> Option<String>) -> Vec<Trouble> {
    let answers = facts.answers().namenodes.into_iter();
    answers
        .filter_map(|answer| {
            let beans = answer.page.beans.as_ref().ok()?;
            Some(trouble(answer.namenode.name(), what(&answer, beans)?))
        })
        .collect()
}

fn namenode_down(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for answer in facts.answers().namenodes {
        let silence = match (&answer.state, &answer.page.beans) {
            (Some(Err(silence)), _) => silence.clone(),
            (_, Err(silence)) => format!("its web server at {}: {silence}", answer.page.address),
            _ => continue,
        };
        found.push(trouble(answer.namenode.name(), silence));
    }
    found
}

fn no_active(facts: &Facts) -> Vec<Trouble> {
    let services = services(facts);
    let without = services
        .iter()
        .filter(|(_, answers)| !answers.iter().any(NameNodeAnswer::is_active));
    without
        .map(|(nameservice, answers)| {
            let state = |answer: &NameNodeAnswer| match &answer.state {
                Some(Ok(state)) => format!("{} is {state}", answer.namenode.name()),
                _ => format!("{} does not answer", answer.namenode.name()),
            };
            let states: Vec<String> = answers.iter().map(state).collect();
            trouble(
                format!("nameservice {nameservice}"),
                format!("no NameNode is active: {}", states.join(", ")),
            )
        })
        .collect()
}

fn actives_several(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for (nameservice, answers) in services(facts) {
        let active = answers.iter().filter(|answer| answer.is_active());
        let names: Vec<String> = active.map(|answer| answer.namenode.name()).collect();
        if names.len() > 1 {
            found.push(trouble(
                format!("nameservice {nameservice}"),
                format!("{} are active", names.join(" and ")),
            ));
        }
    }
    found
}

fn namenode_unhealthy(facts: &Facts) -> Vec<Trouble> {
    each(facts, |_, beans| {
        beans.text("Hathi", "HealthProblem").map(str::to_owned)
    })
}

fn safe_mode(facts: &Facts) -> Vec<Trouble> {
    each(facts, |answer, beans| {
        let text = beans.text("NameNodeInfo", "Safemode")?;
        let first = text.lines().next().unwrap_or_default();
        (answer.is_active() && !text.is_empty()).then(|| first.to_owned())
    })
}

fn applied(answer: &NameNodeAnswer) -> Option<u64> {
    let info = answer.page.known().json("NameNodeInfo", "JournalTransactionInfo")?;
    info.get("LastAppliedOrWrittenTxId")?.as_str()?.parse().ok()
}

fn standby_lags(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for answers in services(facts).values() {
        let Some(newest) = answers
            .iter()
            .filter(|answer| answer.is_active())
            .filter_map(applied)
            .max()
        else {
            continue;
        };
        for answer in answers.iter().filter(|answer| !answer.is_active()) {
            let behind = applied(answer).map_or(0, |applied| newest.saturating_sub(applied));
            if behind > LAG_TXNS_MAX {
                found.push(trouble(
                    answer.namenode.name(),
                    format!("it is {behind} transactions behind the active"),
                ));
            }
        }
    }
    found
}

fn namespace_differs(facts: &Facts) -> Vec<Trouble> {
    each(facts, |_, beans| {
        let txid = beans.number("Hathi", "NamespaceDiffersAtTxId")?;
        (beans.number("Hathi", "NamespaceDiffers") == Some(1))
            .then(|| format!("its namespace differs from the active's at transaction {txid}"))
    })
}

fn namenodes_split(facts: &Facts) -> Vec<Trouble> {
    each(facts, |_, beans| beans.text("Hathi", "Split").map(str::to_owned))
}

fn name_directory_failed(facts: &Facts) -> Vec<Trouble> {
    each(facts, |_, beans| {
        let statuses = beans.json("NameNodeInfo", "NameDirStatuses")?;
        let failed: Vec<&str> = statuses
            .get("failed")?
            .as_object()?
            .keys()
            .map(String::as_str)
            .collect();
        (!failed.is_empty()).then(|| format!("it has given up {}", failed.join(", ")))
    })
}

fn checkpoint_old(facts: &Facts) -> Vec<Trouble> {
    let now_ms = facts.answers().now_ms;
    let period = facts.conf.get_duration(
        "dfs.namenode.checkpoint.period",
        Duration::from_secs(3600),
        TimeUnit::Seconds,
    );
    let Some(period_ms) = period.ok().and_then(|period| i64::try_from(period.as_millis()).ok()) else {
        return Vec::new();
    };
    each(facts, |answer, beans| {
        let edits = beans.number("FSNamesystem", "TransactionsSinceLastCheckpoint")?;
        let at_ms = beans
            .get("FSNamesystem", "LastCheckpointTime")?
            .as_i64()
            .filter(|at_ms| *at_ms > 0)?;
        let age_ms = now_ms.saturating_sub(at_ms);
        let late = age_ms > period_ms.saturating_mul(CHECKPOINT_PERIODS_MAX);
        // The beginnings of segments are transactions, too.
        (answer.is_active() && late && edits > 2).then(|| {
            format!(
                "the newest image is {} minutes old, and {edits} transactions are behind it",
                age_ms / 60_000
            )
        })
    })
}

fn settings_differ(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for answers in services(facts).values() {
        for key in COMMON_SETTINGS {
            let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for answer in answers {
                if let Some(value) = answer.settings.as_ref().map(|settings| settings.get_or(key, "")) {
                    values.entry(value).or_default().push(answer.namenode.name());
                }
            }
            if values.len() > 1 {
                let each: Vec<String> = values
                    .iter()
                    .map(|(value, names)| format!("'{value}' at {}", names.join(", ")))
                    .collect();
                found.push(trouble(*key, format!("it is {}", each.join(" and "))));
            }
        }
    }
    found
}

fn restart_missing(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for answer in facts.answers().namenodes {
        let Some(settings) = &answer.settings else {
            continue;
        };
        let namenode = &answer.namenode;
        for key in COMMON_SETTINGS {
            let of_files = facts
                .conf
                .get_scoped(key, namenode.nameservice.as_deref(), namenode.id.as_deref());
            let (of_files, runs_with) = (of_files.unwrap_or_default(), settings.get_or(key, ""));
            if of_files != runs_with {
                let what =
                    format!("{key} is '{of_files}' in the files of this machine, and it runs with '{runs_with}'");
                found.push(trouble(namenode.name(), what));
            }
        }
    }
    found
}

/// The pages of all daemons, each with its name.
fn pages(facts: &Facts) -> Vec<(String, &'static str, Page)> {
    let answers = facts.answers();
    let namenodes = answers
        .namenodes
        .into_iter()
        .map(|answer| (answer.namenode.name(), "NameNodeInfo", answer.page));
    let journalnodes = answers.journalnodes.into_iter();
    let journalnodes = journalnodes.filter_map(|answer| {
        Some((
            format!("JournalNode {}", answer.address),
            "JournalNodeInfo",
            answer.page?,
        ))
    });
    let datanodes = answers.datanodes.into_iter();
    let datanodes = datanodes.map(|answer| (format!("DataNode {}", answer.name), "DataNodeInfo", answer.page));
    namenodes.chain(journalnodes).chain(datanodes).collect()
}

fn clusters_differ(facts: &Facts) -> Vec<Trouble> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, bean, page) in pages(facts) {
        let beans = page.known();
        let one = beans.text(bean, "ClusterId").map(str::to_owned);
        let several = beans
            .get(bean, "ClusterIds")
            .and_then(|ids| ids.as_array().cloned())
            .unwrap_or_default();
        let ids = several
            .iter()
            .filter_map(|id| id.as_str().map(str::to_owned))
            .chain(one);
        for id in ids.filter(|id| !id.is_empty()) {
            places.entry(id).or_default().push(name.clone());
        }
    }
    if places.len() < 2 {
        return Vec::new();
    }
    let each: Vec<String> = places
        .iter()
        .map(|(id, names)| format!("{id} at {}", names.join(", ")))
        .collect();
    vec![trouble(
        "cluster ids",
        format!("the daemons belong to different clusters: {}", each.join("; ")),
    )]
}

fn versions_differ(facts: &Facts) -> Vec<Trouble> {
    let mut versions: BTreeMap<&str, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (name, bean, page) in pages(facts) {
        if let Some(version) = page.known().text(bean, "Version") {
            let of_kind = versions.entry(bean).or_default();
            of_kind.entry(version.to_owned()).or_default().insert(name);
        }
    }
    let mixed = versions.into_values().filter(|versions| versions.len() > 1);
    mixed
        .map(|versions| {
            let name = |(version, names): (&String, &BTreeSet<String>)| {
                format!(
                    "{version} at {}",
                    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
                )
            };
            let each: Vec<String> = versions.iter().map(name).collect();
            trouble("versions", format!("they run {}", each.join("; ")))
        })
        .collect()
}

/// Clocks that are far from the middle one of all.
fn clocks_apart(facts: &Facts) -> Vec<Trouble> {
    let clocks = pages(facts)
        .into_iter()
        .filter_map(|(name, _, page)| Some((name, page.clock_ahead_ms?)));
    let clocks: Vec<(String, (i64, i64))> = clocks.collect();
    let middle = |(least, most): (i64, i64)| least.midpoint(most);
    let mut sorted: Vec<i64> = clocks.iter().map(|(_, between)| middle(*between)).collect();
    sorted.sort_unstable();
    let Some(reference) = sorted.get(sorted.len() / 2).copied() else {
        return Vec::new();
    };
    let apart = |(name, (least, most)): (String, (i64, i64))| {
        let (ahead, behind) = (least.saturating_sub(reference), reference.saturating_sub(most));
        let (by_ms, word) = if ahead > behind {
            (ahead, "ahead of")
        } else {
            (behind, "behind")
        };
        let seconds = by_ms as f64 / 1000.0;
        (by_ms > CLOCKS_APART_MS).then(|| {
            trouble(
                name,
                format!("its clock is at least {seconds:.1} s {word} those of other daemons"),
            )
        })
    };
    clocks.into_iter().filter_map(apart).collect()
}

fn log_lost(facts: &Facts) -> Vec<Trouble> {
    let lost = |(name, _, page): (String, &str, Page)| {
        let lost = page
            .known()
            .number("JvmMetrics", "LogLinesLost")
            .filter(|lost| *lost > 0)?;
        Some(trouble(
            name,
            format!("its log can't be written: {lost} lines are lost"),
        ))
    };
    pages(facts).into_iter().filter_map(lost).collect()
}

fn controller_down(facts: &Facts) -> Vec<Trouble> {
    let controllers = facts.answers().controllers.into_iter();
    controllers
        .filter_map(|(address, silence)| Some(trouble(format!("controller {address}"), silence?)))
        .collect()
}

fn zookeeper_down(facts: &Facts) -> Vec<Trouble> {
    let servers = facts.answers().zookeepers.into_iter();
    servers
        .filter_map(|(address, silence)| Some(trouble(format!("ha.zookeeper.quorum, {address}"), silence?)))
        .collect()
}

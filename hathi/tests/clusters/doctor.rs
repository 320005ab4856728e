//! `hathi doctor` on a running cluster.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Cluster, ClusterOptions, Role, wait_for};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::time::Duration;

const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
/// A machine under load may be slower than the limit for an answer, so each look is repeated.
const PATIENCE: Duration = Duration::from_secs(90);

struct Told {
    status: Option<i32>,
    errors: BTreeSet<String>,
    all: BTreeSet<String>,
    text: String,
}

fn ask(cluster: &Cluster) -> Result<Told> {
    let output = cluster.hathi("doctor", &["--json"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let findings: serde_json::Value = serde_json::from_str(&text).with_context(|| format!("{output:?}"))?;
    let ids = |wanted: Option<&str>| {
        let findings = findings.as_array().into_iter().flatten();
        let these = findings.filter(|finding| wanted.is_none_or(|severity| finding["severity"] == severity));
        these
            .filter_map(|finding| Some(finding["id"].as_str()?.to_owned()))
            .collect()
    };
    Ok(Told {
        status: output.status.code(),
        errors: ids(Some("error")),
        all: ids(None),
        text,
    })
}

/// Waits until every one of these is found.
fn wait_until_found(cluster: &Cluster, ids: &[&str]) -> Result<Told> {
    let mut last = String::new();
    let found = wait_for(&format!("the findings {ids:?}"), PATIENCE, || {
        let told = ask(cluster).ok()?;
        last.clone_from(&told.text);
        ids.iter().all(|id| told.all.contains(*id)).then_some(told)
    });
    ensure!(found.status == Some(1), "{last}");
    Ok(found)
}

#[test]
fn the_doctor_finds_nothing_in_a_good_cluster_and_each_daemon_that_stands_still() -> Result<()> {
    let cluster = Cluster::start(
        HATHI,
        ClusterOptions {
            namenodes: 2,
            journalnodes: 3,
            datanodes: 2,
        },
    )?;
    let well = wait_for("a healthy cluster", PATIENCE, || {
        ask(&cluster).ok().filter(|told| told.errors.is_empty())
    });
    ensure!(well.status == Some(0), "{}", well.text);

    // The quickstart starts a killed daemon again, and leaves a stopped one alone.
    cluster.signal(Role::JournalNode, 2, Signal::STOP)?;
    cluster.signal(Role::DataNode, 1, Signal::STOP)?;
    let told = wait_until_found(&cluster, &["journalnode-down"])?;
    let datanode = ["datanode-silent", "datanode-dead"];
    ensure!(datanode.iter().any(|id| told.all.contains(*id)), "{}", told.text);
    ensure!(!told.all.contains("journal-majority-lost"), "{}", told.text);
    cluster.signal(Role::JournalNode, 1, Signal::STOP)?;
    wait_until_found(&cluster, &["journal-majority-lost"])?;
    for index in [1, 2] {
        cluster.signal(Role::JournalNode, index, Signal::CONT)?;
    }

    // Without controllers, nobody makes a NameNode active that has started again.
    for index in [0, 1] {
        cluster.signal(Role::Zkfc, index, Signal::STOP)?;
    }
    for index in [0, 1] {
        cluster.signal(Role::NameNode, index, Signal::KILL)?;
    }
    wait_until_found(&cluster, &["controller-down", "no-active"])?;
    Ok(())
}

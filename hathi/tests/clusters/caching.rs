//! A cache directive through the death of the active NameNode, and what the DataNodes keep in memory for it.

use anyhow::{Result, ensure};
use hathi_interop::{Cluster, ClusterOptions, Role, wait_for};
use rustix::process::Signal;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// Each DataNode may lock 64 KiB, which is within the limit of any system.
const SETTINGS: &[&str] = &[
    "dfs.datanode.max.locked.memory=65536",
    "dfs.namenode.path.based.cache.refresh.interval.ms=1000",
];

fn cacheadmin(cluster: &Cluster, args: &[&str]) -> Result<String> {
    cluster.hathi_ok("cacheadmin", args)
}

/// The last numbers of the only directive: bytes needed and cached, files needed and cached.
fn stats(cluster: &Cluster) -> Result<Vec<u64>> {
    let listed = cacheadmin(cluster, &["-listDirectives", "-stats"])?;
    let line = listed.lines().nth(2).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    let numbers = words.iter().rev().take(4).rev();
    Ok(numbers.filter_map(|word| word.parse().ok()).collect())
}

#[test]
fn a_directive_is_obeyed_before_and_after_a_failover_until_it_is_removed() -> Result<()> {
    let cluster = Cluster::start_with(env!("CARGO_BIN_EXE_hathi"), ClusterOptions::default(), SETTINGS)?;
    let local = cluster.dir().join("local");
    std::fs::write(&local, "cached")?;
    cluster.hathi_ok("dfs", &["-mkdir", "/d"])?;
    cluster.hathi_ok("dfs", &["-put", &local.display().to_string(), "/d/file"])?;
    let added = cacheadmin(&cluster, &["-addPool", "pool", "-mode", "0777"])?;
    assert_eq!(added, "Successfully added cache pool pool.\n");
    let added = cacheadmin(
        &cluster,
        &["-addDirective", "-path", "/d", "-pool", "pool", "-replication", "2"],
    )?;
    assert_eq!(added, "Added cache directive 1\n");
    wait_for("two cached replicas", PATIENCE, || {
        (stats(&cluster).ok()? == [12, 12, 1, 1]).then_some(())
    });

    let active = wait_for("one active", PATIENCE, || cluster.active());
    cluster.signal(Role::NameNode, active, Signal::KILL)?;
    wait_for("another active", PATIENCE, || {
        cluster.active().filter(|next| *next != active)
    });
    wait_for("two cached replicas at the new active", PATIENCE, || {
        (stats(&cluster).ok()? == [12, 12, 1, 1]).then_some(())
    });
    ensure!(cluster.hathi_ok("dfs", &["-cat", "/d/file"])? == "cached");
    let added = cacheadmin(&cluster, &["-addDirective", "-path", "/other", "-pool", "pool"])?;
    assert_eq!(added, "Added cache directive 2\n", "ids go on");
    cacheadmin(&cluster, &["-removeDirective", "2"])?;

    let removed = cacheadmin(&cluster, &["-removeDirectives", "-path", "/d"])?;
    assert_eq!(
        removed,
        "Removed cache directive 1\nRemoved every cache directive with path /d\n"
    );
    wait_for("nothing is locked any more", PATIENCE, || {
        let report = cluster.hathi_ok("dfsadmin", &["-report"]).ok()?;
        let used = report.lines().filter(|line| line.starts_with("Cache Used: "));
        let used: Vec<&str> = used.collect();
        (used.len() == 3 && used.iter().all(|line| line.contains("Cache Used: 0 "))).then_some(())
    });
    Ok(())
}

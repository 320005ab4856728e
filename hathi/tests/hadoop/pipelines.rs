//! Pipelines of Hadoop's own client that lose a DataNode while there is a spare one: on Hadoop's cluster, and on ours.

use anyhow::{Context, Result, ensure};
use hathi_interop::{FileClient, Hadoop, Kind, Pair, SharedEdits, wait_for};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
/// One more than replicas.
const DATANODES: u16 = 4;

/// A DataNode of the file's last block is killed; which one it was.
fn kill_one(pair: &mut Pair, client: &mut FileClient, path: &str) -> Result<u16> {
    let nodes = client.run(&format!("nodes {path}"))?;
    let killed = (0..DATANODES)
        .find(|index| nodes.contains(&pair.datanode_address(*index).port().to_string()))
        .with_context(|| format!("{path} is on {nodes}"))?;
    pair.kill_datanode(killed)?;
    Ok(killed)
}

/// When the NameNode last heard of a DataNode, in its report's words.
fn last_contact(pair: &Pair, index: u16) -> Option<String> {
    let report = pair.run("dfsadmin", &["-report"]).ok()?;
    let (_, node) = report.split_once(&format!("Name: {}", pair.datanode_address(index)))?;
    let line = node.lines().find(|line| line.starts_with("Last contact"))?;
    Some(line.to_owned())
}

/// Starts a killed DataNode again, and waits until the NameNode has heard of the new process: until then it would hand out
/// the dead one.
fn start_again(pair: &mut Pair, index: u16, kind: Kind) -> Result<()> {
    let before = last_contact(pair, index).context("the killed DataNode is in no report")?;
    pair.start_datanode(index, kind)?;
    wait_for("the DataNode's registration", PATIENCE, || {
        (last_contact(pair, index)? != before).then_some(())
    });
    Ok(())
}

/// What the client meets on a cluster of one kind.
fn told(hadoop: &Hadoop, kind: Kind) -> Result<Vec<String>> {
    let more = [
        ("dfs.replication", "3"),
        ("dfs.heartbeat.interval", "1"),
        ("dfs.namenode.heartbeat.recheck-interval", "3000"),
        ("dfs.namenode.datanode.registration.ip-hostname-check", "false"),
        ("dfs.client.block.write.replace-datanode-on-failure.policy", "ALWAYS"),
    ];
    let mut pair = Pair::new(HATHI, Some(hadoop.clone()), SharedEdits::Directory, &more)?;
    let conf = pair.conf(0);
    pair.namenode(kind, &conf, &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, kind, &conf)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    for index in 0..DATANODES {
        pair.start_datanode(index, kind)?;
    }
    wait_for("all DataNodes", PATIENCE, || {
        let report = pair.run("dfsadmin", &["-report"]).ok()?;
        report.contains("Live datanodes (4)").then_some(())
    });
    let mut client = FileClient::start(hadoop, &conf)?;
    let mut told = Vec::new();
    // While it writes.
    told.push(client.run("create /file 100000")?);
    let killed = kill_one(&mut pair, &mut client, "/file")?;
    told.push(client.run("write /file 100000")?);
    told.push(client.run("close /file")?);
    told.push(client.run("replicated /file 3")?);
    told.push(client.run("read /file")?);
    start_again(&mut pair, killed, kind)?;
    // Before it appends, which nobody has noticed yet.
    let killed = kill_one(&mut pair, &mut client, "/file")?;
    told.push(client.run("append /file 100")?);
    told.push(client.run("write /file 100")?);
    told.push(client.run("close /file")?);
    start_again(&mut pair, killed, kind)?;
    told.push(client.run("replicated /file 3")?);
    told.push(client.run("read /file")?);
    Ok(told)
}

#[test]
fn hadoops_client_finds_a_spare_datanode_on_both_clusters() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let hadoops = told(&hadoop, Kind::Hadoops)?;
    let ours = told(&hadoop, Kind::Ours)?;
    let whole = ["3", "3", "", "", "200000 whole", "3", "3", "", "", "200200 whole"];
    ensure!(hadoops == whole, "Hadoop's: {hadoops:?}");
    ensure!(ours == hadoops, "ours: {ours:?}");
    Ok(())
}

//! A standby whose namespace is not the active's any more: it notices, says so, is not elected and loads anew.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Kind, Pair, Role, SharedEdits, wait_for};
use hathi_net::http;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
const JOURNALNODES: usize = 3;
const FOUND: &str = "this standby's namespace is not the active's";

/// Formatted, both NameNodes started and compared, nn0 active.
fn started() -> Result<Pair> {
    let mut pair = Pair::new(HATHI, None, SharedEdits::QUORUM, &[("hathi.debug.hooks", "true")])?;
    (0..JOURNALNODES).try_for_each(|index| pair.start_journalnode(index, Kind::Ours))?;
    pair.namenode(Kind::Ours, &pair.conf(0), &["-format", "-nonInteractive"])?;
    start(&mut pair, 0)?;
    pair.namenode(Kind::Ours, &pair.conf(1), &["-bootstrapStandby", "-nonInteractive"])?;
    start(&mut pair, 1)?;
    activate(&pair, 0)?;
    pair.run("dfs", &["-mkdir", "/before"])?;
    wait_until_equal(&pair);
    Ok(pair)
}

fn start(pair: &mut Pair, index: usize) -> Result<()> {
    pair.start_namenode(index, Kind::Ours, &pair.conf(index))
}

fn activate(pair: &Pair, index: usize) -> Result<()> {
    pair.run(
        "haadmin",
        &["-transitionToActive", "--forceactive", &format!("nn{index}")],
    )?;
    pair.wait_for_state(index, "active");
    Ok(())
}

/// What a NameNode tells of itself.
fn bean(pair: &Pair, namenode: usize) -> Result<Value> {
    let url = format!(
        "http://{}/jmx?qry=Hadoop:service=NameNode,name=Hathi",
        pair.http_address(Role::NameNode, namenode)
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (_, jmx) = runtime.block_on(http::get_bytes(&url, PATIENCE, 1 << 20))?;
    let jmx: Value = serde_json::from_slice(&jmx)?;
    Ok(jmx["beans"].get(0).context("no bean")?.clone())
}

/// The standby was compared with the active where that one is now, and is well.
fn wait_until_equal(pair: &Pair) {
    wait_for("the standby to be equal to the active", PATIENCE, || {
        let last = bean(pair, 0).ok()?["AppliedTxId"].as_u64()?;
        let standby = bean(pair, 1).ok()?;
        let is_equal = standby["NamespaceEqualAtTxId"] == last && standby["NamespaceDiffers"] == 0;
        (is_equal && standby["HealthProblem"].is_null()).then_some(())
    });
}

/// Makes the namespace of one NameNode another one, and lets an edit follow, because digests belong to transactions.
fn spoil(pair: &Pair, namenode: usize) -> Result<()> {
    let mut stream = TcpStream::connect(pair.http_address(Role::NameNode, namenode))?;
    write!(
        stream,
        "POST /debug/hang?what=state HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains(" 200 "), "{answer}");
    // Not in the root, whose modification time it would set.
    pair.run("dfs", &["-mkdir", "/before/after"]).map(drop)
}

#[test]
fn safety_n17_a_standby_that_differs_from_the_active_notices_and_loads_anew() -> Result<()> {
    let mut pair = started()?;
    spoil(&pair, 1)?;
    wait_for("the standby to notice it", PATIENCE, || {
        pair.log("nn1").contains(FOUND).then_some(())
    });
    wait_until_equal(&pair);
    let loads = pair.log("nn1").matches("namespace loaded").count();
    ensure!(loads == 2, "it was loaded {loads} times");
    pair.failover(0, 1)?;
    pair.run("dfs", &["-test", "-d", "/before/after"])?;
    pair.namenodes_live()
}

/// It is the active that is wrong: nobody can know that, but a difference that a load does not mend stays.
#[test]
fn safety_n17_a_standby_that_differs_after_a_load_stays_unhealthy_and_is_never_elected() -> Result<()> {
    let mut pair = started()?;
    spoil(&pair, 0)?;
    wait_for("the standby to say that a load does not help", PATIENCE, || {
        pair.log("nn1").contains("also after it was loaded anew").then_some(())
    });
    let refused = || -> Result<()> {
        let health = pair.run("haadmin", &["-checkHealth", "nn1"]);
        ensure!(
            health.is_err_and(|why| format!("{why:#}").contains("differs")),
            "it is healthy"
        );
        let active = pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn1"]);
        let why = format!("{:#}", active.err().context("it became active")?);
        ensure!(why.contains("differs from the active's"), "{why}");
        ensure!(pair.state(1)? == "standby", "it is no standby");
        Ok(())
    };
    refused()?;
    let told = bean(&pair, 1)?;
    ensure!(told["NamespaceDiffersSince"].as_u64() > Some(0), "{told}");
    pair.kill_namenode(0)?;
    start(&mut pair, 0)?;
    activate(&pair, 0)?;
    wait_until_equal(&pair);
    pair.failover(0, 1)
}

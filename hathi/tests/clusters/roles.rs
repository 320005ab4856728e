//! Who is active when the active NameNode lives and does not serve.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Cluster, ClusterOptions, Role, wait_for};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than the test waits for anything.
const HANGS_MS: u32 = 600_000;

/// A pair whose NameNodes can be made to hang, each with two reactors.
fn start() -> Result<Cluster> {
    let options = ClusterOptions {
        namenodes: 2,
        datanodes: 1,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(env!("CARGO_BIN_EXE_hathi"), options)?;
    for index in 0..2 {
        let site = cluster.daemon_conf(Role::NameNode, index).join("hdfs-site.xml");
        let more = [("hathi.debug.hooks", "true"), ("hathi.namenode.rpc.reactors", "2")]
            .map(|(key, value)| format!("<property><name>{key}</name><value>{value}</value></property>"))
            .concat();
        let text = std::fs::read_to_string(&site)?;
        std::fs::write(
            &site,
            text.replace("</configuration>", &format!("{more}</configuration>")),
        )?;
        let before = cluster.pid(Role::NameNode, index)?;
        cluster.signal(Role::NameNode, index, Signal::KILL)?;
        wait_for("the NameNode's next process", PATIENCE, || {
            let pid = cluster.pid(Role::NameNode, index).ok()?;
            (pid != before && matches!(&*state(&cluster, index)?, "active" | "standby")).then_some(())
        });
    }
    Ok(cluster)
}

fn state(cluster: &Cluster, index: u16) -> Option<String> {
    let state = cluster.hathi_ok("haadmin", &["-getServiceState", &format!("nn{index}")]);
    Some(state.ok()?.trim().to_owned())
}

fn is(cluster: &Cluster, index: u16, wanted: &str) -> Option<()> {
    (state(cluster, index)? == wanted).then_some(())
}

fn hang(cluster: &Cluster, index: u16, what: &str) -> Result<()> {
    let mut stream = TcpStream::connect(cluster.namenode_http(index)?)?;
    write!(
        stream,
        "POST /debug/hang?what={what}&ms={HANGS_MS} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains(" 200 "), "{answer}");
    Ok(())
}

/// Makes the active hang in some way; the other one becomes active and serves, while it still hangs.
fn another_serves_when_the_active_hangs(what: &str) -> Result<(Cluster, u16)> {
    let cluster = start()?;
    let active = wait_for("one active", PATIENCE, || cluster.active());
    cluster.hathi_ok("dfs", &["-mkdir", "/before"])?;
    hang(&cluster, active, what)?;
    wait_for("another active", PATIENCE, || is(&cluster, 1 - active, "active"));
    cluster.hathi_ok("dfs", &["-mkdir", "/after"])?;
    cluster.hathi_ok("dfs", &["-test", "-d", "/before"])?;
    Ok((cluster, active))
}

#[test]
fn safety_08_a_namenode_whose_namespace_lock_is_never_given_back_is_replaced() -> Result<()> {
    another_serves_when_the_active_hangs("namespace").map(drop)
}

#[test]
fn safety_08_a_namenode_of_whose_two_reactors_one_stands_still_is_replaced() -> Result<()> {
    another_serves_when_the_active_hangs("reactor&index=1").map(drop)
}

#[test]
fn safety_08_a_namenode_that_says_it_is_not_well_is_replaced_and_stays_standby() -> Result<()> {
    let (cluster, unwell) = another_serves_when_the_active_hangs("health")?;
    wait_for("the unwell one as standby", PATIENCE, || {
        is(&cluster, unwell, "standby")
    });
    // Nobody but it is left to be elected, and it is not well.
    let other = cluster.pid(Role::NameNode, 1 - unwell)?;
    cluster.signal(Role::NameNode, 1 - unwell, Signal::KILL)?;
    wait_for("the killed one as active again", PATIENCE, || {
        let next = cluster.pid(Role::NameNode, 1 - unwell).ok()?;
        (next != other).then(|| is(&cluster, 1 - unwell, "active")).flatten()
    });
    is(&cluster, unwell, "standby").context("the unwell one is a standby still")?;
    Ok(())
}

//! The failover controller's fencing by ssh, and NameNodes whose role a person moves.

use anyhow::{Context, Result, ensure};
use hathi_conf::{Configuration, Environment};
use hathi_interop::{ClusterOptions, Daemons, Role, Sshd, wait_for};
use hathi_zkfc::fencing::{FencingTarget, fence};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

#[test]
fn sshfence_kills_whoever_listens_on_the_port_and_sees_that_nobody_does() -> Result<()> {
    let (Some(sshd), Some(mut victim)) = (Sshd::start()?, Sshd::start()?) else {
        return Ok(());
    };
    // Whoever can be killed is good enough for a NameNode.
    let address = format!("127.0.0.1:{}", victim.port());
    let target = FencingTarget {
        address: &address,
        nameservice: "ns",
        namenode_id: "nn0",
    };
    let conf = |method: String, key: &Path| {
        let mut conf = Configuration::new(Environment::default());
        conf.set("dfs.ha.fencing.methods", method);
        conf.set("dfs.ha.fencing.ssh.private-key-files", key.display().to_string());
        conf.set("dfs.ha.fencing.ssh.connect-timeout", "5000");
        conf
    };
    let mut told = Vec::new();
    let method = format!("sshfence(:{})", sshd.port());
    let unknown = conf(method.clone(), &sshd.unknown_key());
    ensure!(!fence(&unknown, &target, |line| told.push(line)), "{told:?}");
    ensure!(victim.is_running(), "it was killed without a key");

    let known = conf(format!("shell(false)\n{method} # the last"), &sshd.key());
    ensure!(fence(&known, &target, |line| told.push(line)), "{told:?}");
    wait_for("the end of who was fenced", PATIENCE, || {
        (!victim.is_running()).then_some(())
    });
    ensure!(TcpStream::connect(&address).is_err(), "somebody listens there");
    ensure!(
        told.iter().any(|line| line.starts_with("Successfully killed process")),
        "{told:?}"
    );

    // Once more, without anybody there.
    let mut told = Vec::new();
    ensure!(fence(&known, &target, |line| told.push(line)), "{told:?}");
    ensure!(
        told.iter().any(|line| line == "Verified that the service is down."),
        "{told:?}"
    );
    Ok(())
}

#[test]
fn without_automatic_failover_a_person_moves_the_role_and_no_controller_starts() -> Result<()> {
    let options = ClusterOptions {
        namenodes: 2,
        journalnodes: 1,
        datanodes: 1,
    };
    // Of this nameservice; the key alone says otherwise.
    let manual = |value: &'static str| [("dfs.ha.automatic-failover.enabled.hathi", value)];
    let mut daemons = Daemons::new(Path::new(HATHI), options, &manual("false"))?;
    daemons.start_role(Role::JournalNode)?;
    daemons.start_role(Role::NameNode)?;
    for index in daemons.of(Role::NameNode) {
        wait_for("a standby", PATIENCE, || {
            (daemons.state(index)? == "standby").then_some(())
        });
    }
    let controller = Command::new(HATHI)
        .args(["zkfc", "--conf"])
        .arg(daemons.daemon_conf(Role::Zkfc, 0))
        .stdin(Stdio::null())
        .output()?;
    let told = String::from_utf8_lossy(&controller.stderr);
    ensure!(controller.status.code() == Some(5), "{:?}: {told}", controller.status);
    ensure!(
        told.contains("Automatic failover is not enabled for NameNode at "),
        "{told}"
    );

    daemons.hathi("haadmin", &["-transitionToActive", "nn0"])?;
    ensure!(daemons.active() == Some(0), "nn0 is not active");
    daemons.hathi("haadmin", &["-failover", "nn0", "nn1"])?;
    ensure!(daemons.active() == Some(1), "nn1 is not active");
    daemons.hathi("haadmin", &["-transitionToStandby", "nn1"])?;
    ensure!(daemons.active().is_none(), "somebody is active");

    // And back: the NameNodes learn it at their next start.
    daemons.kill_role(Role::NameNode)?;
    for (role, index) in daemons.all() {
        daemons.configure(role, index, &manual("true"))?;
    }
    let site = daemons.conf().join("hdfs-site.xml");
    let text = std::fs::read_to_string(&site)?;
    let (key, _) = manual("true")[0];
    let off = format!("<name>{key}</name><value>false</value>");
    ensure!(text.contains(&off), "{text}");
    std::fs::write(
        &site,
        text.replace(&off, &format!("<name>{key}</name><value>true</value>")),
    )?;
    daemons.start_all()?;
    let active = daemons.wait_for_active(&[]);
    let id = format!("nn{active}");
    let refused = daemons.hathi("haadmin", &["-transitionToStandby", &id]);
    let refused = refused
        .err()
        .context("a person moves the role beside controllers")?
        .to_string();
    ensure!(refused.contains("Automatic failover is enabled"), "{refused}");
    Ok(())
}

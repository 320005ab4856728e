//! The real ZooKeeper elects the active NameNode, among our controllers and Hadoop's.

mod election;
mod format;
mod split;
mod states;

use anyhow::{Context, Result, ensure};
use hathi_interop::{ClusterOptions, Daemons, Hadoop, Kind, Load, Pair, Role, SharedEdits, Sshd, ZooKeeper, wait_for};
use rustix::process::Signal;
use std::net::Ipv6Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

/// Formats the znode; the exit code, and what it told.
fn format_zookeeper(conf: &Path, options: &[&str]) -> Result<(Option<i32>, String)> {
    let output = Command::new(HATHI)
        .args(["zkfc", "--conf"])
        .arg(conf)
        .arg("-formatZK")
        .args(options)
        .stdin(Stdio::null())
        .output()?;
    Ok((
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

/// Waits until a controller has logged this once more than before.
fn logs_anew(daemons: &Daemons, controller: u16, line: &str, before: usize) {
    wait_for(&format!("'{line}' of zkfc-{controller}"), PATIENCE, || {
        (count(daemons, controller, line) > before).then_some(())
    });
}

fn count(daemons: &Daemons, controller: u16, line: &str) -> usize {
    daemons.log(Role::Zkfc, controller).matches(line).count()
}

#[test]
fn zookeeper_elects_among_our_controllers_and_its_loss_moves_nobody() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut zookeeper = ZooKeeper::start(hadoop, 1)?;
    let options = ClusterOptions {
        datanodes: 1,
        ..ClusterOptions::default()
    };
    let quorum = zookeeper.quorum();
    let sshd = Sshd::start()?;
    let (fencing, key) = match &sshd {
        Some(sshd) => (format!("sshfence(:{})", sshd.port()), sshd.key().display().to_string()),
        None => ("shell(/bin/true)".to_owned(), String::new()),
    };
    let settings = [
        ("ha.zookeeper.quorum", quorum.as_str()),
        ("ha.zookeeper.session-timeout.ms", "4000"),
        ("ha.zookeeper.acl", "auth::rwcda"),
        ("dfs.ha.fencing.methods", fencing.as_str()),
        ("dfs.ha.fencing.ssh.private-key-files", key.as_str()),
        ("ha.failover-controller.graceful-fence.rpc-timeout.ms", "1000"),
        ("ha.failover-controller.graceful-fence.connection.retries", "0"),
    ];
    let mut daemons = Daemons::new(Path::new(HATHI), options, &settings)?;
    let conf = daemons.daemon_conf(Role::Zkfc, 0);
    ensure!(
        Command::new(HATHI)
            .args(["zkfc", "--conf"])
            .arg(&conf)
            .stdin(Stdio::null())
            .output()?
            .status
            .code()
            == Some(3),
        "a controller starts without a znode"
    );
    let secret = daemons.dir().join("secret");
    std::fs::write(&secret, "digest:hdfs:secret\n")?;
    let secret = format!("@{}", secret.display());
    for index in daemons.of(Role::Zkfc) {
        daemons.configure(Role::Zkfc, index, &[("ha.zookeeper.auth", &secret)])?;
    }
    let (code, told) = format_zookeeper(&conf, &["-nonInteractive"])?;
    ensure!(code == Some(0), "{told}");
    ensure!(
        format_zookeeper(&conf, &["-nonInteractive"])?.0 == Some(2),
        "formatted over what was there"
    );
    ensure!(format_zookeeper(&conf, &["-force"])?.0 == Some(0));
    ensure!(
        format_zookeeper(&daemons.daemon_conf(Role::NameNode, 0), &["-force"])?.0 == Some(1),
        "somebody without the credentials formats it"
    );
    daemons.start_all()?;
    daemons.wait_until_ready();
    let load = Load::start(&daemons.conf())?;
    load.goes_on();

    // The active dies: its controller lives, and gives the lock up.
    let first = daemons.wait_for_active(&[]);
    daemons.kill(Role::NameNode, first)?;
    let second = daemons.wait_for_active(&[first]);
    load.goes_on();
    // Its controller stands in the election again, with a session of its own.
    let joined = "connected to ZooKeeper";
    let before = count(&daemons, first, joined);
    daemons.start(Role::NameNode, first)?;
    daemons.wait_until_ready();
    logs_anew(&daemons, first, joined, before);

    // Without ZooKeeper, for longer than a session lasts.
    let resumed = "the session will be resumed";
    let before = count(&daemons, second, resumed);
    let promotions = |daemons: &Daemons| -> usize {
        let controllers = daemons.of(Role::Zkfc);
        controllers
            .map(|index| count(daemons, index, "asking the NameNode for a transition"))
            .sum()
    };
    let transitions = promotions(&daemons);
    zookeeper.kill()?;
    logs_anew(&daemons, second, resumed, before);
    load.goes_on();
    ensure!(daemons.active() == Some(second), "it moved without ZooKeeper");
    // Who ends meanwhile does not claim that ZooKeeper knows it.
    let standby = daemons
        .of(Role::Zkfc)
        .find(|index| *index != second)
        .context("a standby")?;
    daemons.signal(Role::Zkfc, standby, Signal::TERM)?;
    wait_for("the end of a controller", PATIENCE, || {
        (!daemons.is_running(Role::Zkfc, standby)).then_some(())
    });
    let told = daemons.log(Role::Zkfc, standby);
    ensure!(told.contains("ZooKeeper can't be told that the session ends"), "{told}");
    ensure!(!told.contains("the ZooKeeper session is closed"), "{told}");
    let again = "the ZooKeeper session is resumed";
    let before = count(&daemons, second, again);
    zookeeper.start_all()?;
    logs_anew(&daemons, second, again, before);
    daemons.start(Role::Zkfc, standby)?;
    load.goes_on();
    ensure!(daemons.active() == Some(second), "it moved when ZooKeeper came back");
    ensure!(
        promotions(&daemons) == transitions,
        "somebody was asked for a transition"
    );

    // The holder's controller stands still: its session ends, and the NameNode steps down when it is asked.
    daemons.signal(Role::Zkfc, second, Signal::STOP)?;
    let third = daemons.wait_for_active(&[second]);
    load.goes_on();
    ensure!(daemons.state(second).as_deref() == Some("standby"), "two are active");
    ensure!(
        daemons
            .log(Role::Zkfc, third)
            .contains("the former active is a standby"),
        "it was not fenced gracefully"
    );
    daemons.signal(Role::Zkfc, second, Signal::CONT)?;
    logs_anew(&daemons, second, "the ZooKeeper session has expired", 0);

    // Killed, the same.
    daemons.kill(Role::Zkfc, third)?;
    let fourth = daemons.wait_for_active(&[third]);
    load.goes_on();
    daemons.start(Role::Zkfc, third)?;
    daemons.wait_until_ready();

    let (from, to) = (format!("nn{fourth}"), format!("nn{third}"));
    wait_for("a graceful failover", PATIENCE, || {
        daemons.hathi("haadmin", &["-failover", &from, &to]).ok()
    });
    ensure!(daemons.active() == Some(third), "{to} is not active");
    load.goes_on();

    // A controller that is told to end gives the lock up itself.
    daemons.signal(Role::Zkfc, third, Signal::TERM)?;
    let fifth = daemons.wait_for_active(&[third]);
    logs_anew(&daemons, third, "the ZooKeeper session is closed", 0);
    load.goes_on();
    wait_for("the end of a controller", PATIENCE, || {
        (!daemons.is_running(Role::Zkfc, third)).then_some(())
    });
    daemons.start(Role::Zkfc, third)?;
    daemons.wait_until_ready();

    // Nobody can reach the active, and nobody looks after it.
    daemons.signal(Role::Zkfc, fifth, Signal::STOP)?;
    daemons.signal(Role::NameNode, fifth, Signal::STOP)?;
    let sixth = daemons.wait_for_active(&[fifth]);
    load.goes_on();
    let fenced = format!("nn{fifth} was fenced by {fencing}");
    ensure!(daemons.log(Role::Zkfc, sixth).contains(&fenced), "not '{fenced}'");
    if sshd.is_some() {
        wait_for("the end of who was fenced", PATIENCE, || {
            (!daemons.is_running(Role::NameNode, fifth)).then_some(())
        });
    }
    eprintln!("{} directories", load.end()?);
    Ok(())
}

#[test]
fn zookeeper_at_an_address_of_ipv6_moves_the_role_of_namenodes_that_share_a_directory() -> Result<()> {
    use Kind::Ours;
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let zookeeper = ZooKeeper::start_on(hadoop, 1, Ipv6Addr::LOCALHOST.into())?;
    let servers = zookeeper.quorum();
    ensure!(servers.starts_with("[::1]:"), "{servers}");
    let quorum = format!("{servers}/hadoop");
    let settings = [
        ("dfs.ha.automatic-failover.enabled", "true"),
        ("ha.zookeeper.quorum", quorum.as_str()),
        ("ha.zookeeper.parent-znode", "/"),
        ("ha.zookeeper.session-timeout.ms", "5000"),
        ("dfs.ha.log-roll.period", "1"),
    ];
    let mut pair = Pair::new(HATHI, None, SharedEdits::Directory, &settings)?;
    let (first, second) = (pair.conf(0), pair.conf(1));
    pair.namenode(Ours, &first, &["-format", "-nonInteractive"])?;
    // The path behind the servers has to be there; it is made like any parent.
    ensure!(pair.format_zookeeper(Ours).is_err(), "/hadoop was made");
    let whole = [
        ("ha.zookeeper.quorum", servers.as_str()),
        ("ha.zookeeper.parent-znode", "/hadoop/"),
    ];
    let made = pair.controller_conf(0, &whole)?;
    let (code, told) = format_zookeeper(&made, &["-nonInteractive"])?;
    ensure!(code == Some(0), "{told}");
    // By way of the path it is the same znode.
    let same = pair.controller_conf(0, &[])?;
    let (code, told) = format_zookeeper(&same, &["-nonInteractive"])?;
    ensure!(code == Some(2), "{told}");
    pair.start_namenode(0, Ours, &first)?;
    pair.start_controller(0, Ours)?;
    pair.wait_for_state(0, "active");
    pair.namenode(Ours, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Ours, &second)?;
    pair.start_controller(1, Ours)?;
    let load = Load::start(&first)?;
    load.goes_on();
    pair.kill_namenode(0)?;
    pair.wait_for_state(1, "active");
    load.goes_on();
    pair.start_namenode(0, Ours, &first)?;
    wait_for("a graceful failover", PATIENCE, || pair.failover(1, 0).ok());
    load.goes_on();
    eprintln!("{} directories", load.end()?);
    Ok(())
}

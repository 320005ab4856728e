//! The real ZooKeeper elects the active NameNode, among our controllers and Hadoop's.

use anyhow::{Result, ensure};
use hathi_interop::{ClusterOptions, Daemons, Hadoop, Kind, Load, Pair, Role, SharedEdits, ZooKeeper, wait_for};
use rustix::process::Signal;
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
    let settings = [
        ("ha.zookeeper.quorum", quorum.as_str()),
        ("ha.zookeeper.session-timeout.ms", "2000"),
        ("ha.zookeeper.acl", "auth::rwcda"),
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
    daemons.start(Role::NameNode, first)?;
    daemons.wait_until_ready();

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
    let again = "the ZooKeeper session is resumed";
    let before = count(&daemons, second, again);
    zookeeper.start_all()?;
    logs_anew(&daemons, second, again, before);
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
    eprintln!("{} directories", load.end()?);
    Ok(())
}

#[test]
fn hadoops_controller_and_ours_take_the_role_over_from_each_other() -> Result<()> {
    use Kind::{Hadoops, Ours};
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let zookeeper = ZooKeeper::start(hadoop.clone(), 3)?;
    let quorum = zookeeper.quorum();
    let settings = [
        ("dfs.ha.automatic-failover.enabled", "true"),
        ("ha.zookeeper.quorum", quorum.as_str()),
        ("ha.zookeeper.session-timeout.ms", "5000"),
    ];
    let mut pair = Pair::new(HATHI, Some(hadoop), SharedEdits::QUORUM, &settings)?;
    for index in 0..3 {
        pair.start_journalnode(index, Ours)?;
    }
    let (first, second) = (pair.conf(0), pair.conf(1));
    pair.namenode(Ours, &first, &["-format", "-nonInteractive"])?;
    pair.format_zookeeper(Ours)?;
    pair.start_namenode(0, Ours, &first)?;
    pair.start_controller(0, Ours)?;
    pair.wait_for_state(0, "active");
    let load = Load::start(&first)?;
    load.goes_on();
    pair.namenode(Hadoops, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Hadoops, &second)?;
    pair.start_controller(1, Hadoops)?;

    // Each dies in turn.
    pair.kill_namenode(0)?;
    pair.wait_for_state(1, "active");
    load.goes_on();
    pair.start_namenode(0, Ours, &first)?;
    pair.kill_namenode(1)?;
    pair.wait_for_state(0, "active");
    load.goes_on();

    // And hands the role over.
    pair.start_namenode(1, Hadoops, &second)?;
    for (from, to) in [(0, 1), (1, 0)] {
        wait_for("a graceful failover", PATIENCE, || pair.failover(from, to).ok());
        load.goes_on();
    }

    // Our controller beside Hadoop's NameNode.
    pair.kill_controller(1)?;
    pair.start_controller(1, Ours)?;
    wait_for("a graceful failover", PATIENCE, || pair.failover(0, 1).ok());
    load.goes_on();
    pair.kill_namenode(1)?;
    pair.wait_for_state(0, "active");
    load.goes_on();
    eprintln!("{} directories", load.end()?);
    Ok(())
}

#[test]
fn zookeeper_moves_the_role_of_namenodes_that_share_a_directory() -> Result<()> {
    use Kind::Ours;
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let zookeeper = ZooKeeper::start(hadoop, 1)?;
    let quorum = zookeeper.quorum();
    let settings = [
        ("dfs.ha.automatic-failover.enabled", "true"),
        ("ha.zookeeper.quorum", quorum.as_str()),
        ("ha.zookeeper.session-timeout.ms", "5000"),
        ("dfs.ha.log-roll.period", "1"),
    ];
    let mut pair = Pair::new(HATHI, None, SharedEdits::Directory, &settings)?;
    let (first, second) = (pair.conf(0), pair.conf(1));
    pair.namenode(Ours, &first, &["-format", "-nonInteractive"])?;
    pair.format_zookeeper(Ours)?;
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

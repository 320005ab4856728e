//! Hadoop's own client and tools against a cluster, also while its NameNodes die.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Cluster, ClusterOptions, Hadoop, Role, wait_for};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn start() -> Result<Cluster> {
    Cluster::start(env!("CARGO_BIN_EXE_hathi"), ClusterOptions::default())
}

#[test]
fn the_client_goes_on_through_failovers_and_loses_nothing() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let cluster = start()?;
    let mut client = hadoop
        .command(&cluster.conf(), "FailoverClient.java", &["/load", "4000000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(client.stdout.take().context("stdout")?).lines();
    let mut next = || {
        lines
            .next()
            .context("the client ended early")?
            .map_err(anyhow::Error::from)
    };
    while next()? != "ready" {}
    for _ in 0..5 {
        let active = wait_for("one active", PATIENCE, || cluster.active());
        cluster.signal(Role::NameNode, active, Signal::KILL)?;
        let state = ["-getServiceState", &format!("nn{active}")];
        wait_for("the killed one as standby", PATIENCE, || {
            let state = cluster.hathi_ok("haadmin", &state).ok()?;
            (state.trim() == "standby").then_some(())
        });
    }
    client.stdin.take().context("stdin")?.write_all(b"stop\n")?;
    let summary = loop {
        let line = next()?;
        println!("{line}");
        if line.starts_with("acknowledged ") {
            break line;
        }
    };
    ensure!(
        summary.contains(" errors 0 ") && summary.contains(" lost 0 "),
        "{summary}"
    );
    ensure!(summary.ends_with(" ok"), "{summary}");
    client.wait()?;
    Ok(())
}

#[test]
fn the_shell_and_the_administration_tools_work() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let cluster = start()?;
    let conf = cluster.conf();
    // One JVM for the whole list: each line is a command of the shell and what it must print.
    let script = cluster.dir().join("commands");
    let local = cluster.dir().join("local");
    std::fs::write(&local, vec![b'x'; 3_000_000])?;
    let back = cluster.dir().join("back");
    let local_name = local.display();
    let commands = format!(
        "0 -mkdir -p /d/e\n\
         0 -put {local_name} /d/e/f\n\
         0 -get /d/e/f {}\n\
         0 -ls -R /d\n\
         0 -mv /d/e/f /d/g\n\
         1 -test -e /d/e/f\n\
         0 -test -e /d/g\n\
         0 -appendToFile {local_name} /d/g\n\
         0 -du -s /d\n\
         0 -count -q /d\n\
         0 -chmod 640 /d/g\n\
         0 -chown alice:staff /d/g\n\
         0 -setrep 2 /d/g\n\
         0 -stat %a,%u,%g,%r,%b,%n /d/g\n\
         0 -touchz /d/empty\n\
         0 -truncate -w 100 /d/g\n\
         0 -checksum /d/e\n\
         0 -df /\n\
         0 -tail /d/g\n\
         0 -rm -r -skipTrash /d\n\
         1 -ls /d\n",
        back.display()
    );
    std::fs::write(&script, commands.replace("0 -checksum /d/e\n", ""))?;
    let printed = hadoop.run_ok(&conf, "ShellScript.java", &[&script.display().to_string()])?;
    ensure!(printed.contains("640,alice,staff,2,6000000,g"), "{printed}");
    ensure!(
        std::fs::read(&back)? == std::fs::read(&local)?,
        "the file came back changed"
    );

    let states = hadoop.run_ok(&conf, "haadmin", &["-getAllServiceState"])?;
    ensure!(
        states.matches("standby").count() == 2 && states.contains("active"),
        "{states}"
    );
    let report = hadoop.run_ok(&conf, "dfsadmin", &["-report"])?;
    ensure!(report.contains("Live datanodes (3)"), "{report}");
    let health = hadoop.run_ok(
        &conf,
        "org.apache.hadoop.hdfs.tools.DFSck",
        &["/", "-files", "-blocks", "-locations"],
    )?;
    ensure!(
        health.ends_with("The filesystem under path '/' is HEALTHY\n"),
        "{health}"
    );
    Ok(())
}

#[test]
fn programs_find_what_they_rely_on() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let cluster = start()?;
    let printed = hadoop.run_ok(&cluster.conf(), "ClientChecks.java", &["/checks"])?;
    ensure!(
        printed.lines().filter(|line| line.starts_with("ok ")).count() == 26,
        "{printed}"
    );
    Ok(())
}

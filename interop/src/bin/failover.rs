//! Measures what Hadoop's own client notices of a NameNode that is killed or stopped, many times; see bench/failover.

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use hathi_interop::failovers::{FailoverArguments, PATIENCE, wait_for_active, wait_for_any_role, wait_for_standby};
use hathi_interop::{Hadoop, Role};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long the client is watched before and after the active is killed.
const QUIET: Duration = Duration::from_secs(3);
/// The same if the active is stopped: the client's time-outs are longer.
const STOPPED: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    /// SIGKILL of the active NameNode
    Kill,
    /// SIGSTOP of the active NameNode
    Stop,
    /// SIGSTOP of the active NameNode and its failover controller
    StopBoth,
    /// SIGSTOP of the failover controller alone: with ZooKeeper its session is lost, without it nothing happens
    StopController,
    /// `haadmin -failover`
    Planned,
    /// SIGKILL of every daemon of the cluster, all of which are started again at once
    Everything,
    /// SIGKILL of all of ZooKeeper, which comes back after the time of --session: nothing must happen
    ZookeeperGone,
}

/// Kills, stops or relieves the active NameNode of a quickstart cluster while Hadoop's client makes directories one after the
/// other and writes a large file, and tells how long the client paused each time
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    failovers: FailoverArguments,
    /// What happens to the active NameNode
    #[arg(long, value_enum, default_value_t = How::Kill)]
    how: How,
    /// Bytes per second of the large file
    #[arg(long, default_value_t = 4_000_000)]
    rate: u64,
    /// How long after its controller was stopped something must have happened: more than the session lasts
    #[arg(long, value_parser = seconds, default_value = "13")]
    session: Duration,
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}

fn main() -> Result<()> {
    let args = Args::parse();
    let hadoop = Hadoop::get()?.context("needs Hadoop")?;
    let mut started = args.failovers.start()?;
    ensure!(
        args.how != How::ZookeeperGone || started.zookeeper.is_some(),
        "--how zookeeper-gone needs --zookeeper"
    );
    let (cluster, conf, zookeeper) = (&started.cluster, &started.conf, &mut started.zookeeper);
    let mut client = hadoop
        .command(conf, "FailoverClient.java", &["/load", &args.rate.to_string(), "5"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(client.stdout.take().context("stdout")?).lines();
    let (send, told) = channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    while told.recv_timeout(PATIENCE)? != "ready" {}
    let mut gaps = Vec::new();
    for time in 0..args.failovers.times {
        // This skips pauses from the start of the JVM or the last failover.
        let _ = longest(&told, QUIET);
        let active = wait_for_active(cluster);
        let strike = |role, signal| cluster.signal(role, active, signal);
        match args.how {
            How::Kill => strike(Role::NameNode, Signal::KILL)?,
            How::Stop => strike(Role::NameNode, Signal::STOP)?,
            How::StopBoth => {
                strike(Role::Zkfc, Signal::STOP)?;
                strike(Role::NameNode, Signal::STOP)?;
            }
            How::StopController => strike(Role::Zkfc, Signal::STOP)?,
            How::Planned => {
                let (from, to) = (format!("nn{active}"), format!("nn{}", (active + 1) % 3));
                cluster.hathi_ok("haadmin", &["-failover", &from, &to])?;
            }
            How::Everything => {
                for role in [Role::NameNode, Role::Zkfc, Role::JournalNode, Role::DataNode] {
                    for index in 0..3 {
                        cluster.signal(role, index, Signal::KILL)?;
                    }
                }
            }
            How::ZookeeperGone => zookeeper.as_mut().context("no ZooKeeper")?.kill()?,
        }
        // A pause is reported when it is over.
        let within = match args.how {
            How::Kill | How::Planned => QUIET,
            How::Stop | How::StopBoth | How::Everything => STOPPED,
            How::StopController | How::ZookeeperGone => args.session,
        };
        let mut gap = longest(&told, within)?;
        if args.how == How::ZookeeperGone {
            zookeeper.as_mut().context("no ZooKeeper")?.start_all()?;
            gap = gap.max(longest(&told, QUIET)?);
            ensure!(cluster.active() == Some(active), "the role has moved");
        }
        // A short pause is not reported.
        ensure!(
            gap > 0 || matches!(args.how, How::Planned | How::ZookeeperGone),
            "the client did not notice, or does not go on"
        );
        if args.how == How::StopBoth {
            strike(Role::NameNode, Signal::CONT)?;
        }
        if matches!(args.how, How::StopBoth | How::StopController) {
            strike(Role::Zkfc, Signal::CONT)?;
        }
        println!("{}: {gap} ms", time + 1);
        gaps.push(gap);
        match args.how {
            How::ZookeeperGone => {}
            How::Everything => wait_for_any_role(cluster, active),
            _ => wait_for_standby(cluster, active),
        }
    }
    client.stdin.take().context("stdin")?.write_all(b"stop\n")?;
    let summary = loop {
        let line = told.recv_timeout(PATIENCE)?;
        if line.starts_with("acknowledged ") {
            break line;
        }
    };
    client.wait()?;
    gaps.sort_unstable();
    println!("gaps of the client in ms: {gaps:?}");
    println!(
        "median {} ms, worst {} ms; {summary}",
        gaps.get(gaps.len() / 2).context("none")?,
        gaps.last().context("none")?
    );
    let is_kept = summary.contains(" errors 0 ") && summary.contains(" lost 0 ");
    // A client gives up a file all of whose DataNodes are killed at once.
    let is_written = summary.ends_with(" ok") || args.how == How::Everything;
    let whole = is_kept && is_written;
    ensure!(whole, "something failed or was lost");
    Ok(())
}

fn gap_in(line: &str) -> Option<u64> {
    line.strip_prefix("gap ")?.parse().ok()
}

/// The longest pause that the client reports within this time.
fn longest(told: &Receiver<String>, within: Duration) -> Result<u64> {
    let until = Instant::now() + within;
    let mut longest = 0;
    loop {
        match told.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => longest = longest.max(gap_in(&line).unwrap_or(0)),
            Err(RecvTimeoutError::Timeout) => return Ok(longest),
            Err(error) => return Err(error.into()),
        }
    }
}

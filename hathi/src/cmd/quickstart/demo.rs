//! `hathi quickstart --demo`: writes files without a pause, kills the active NameNode, and shows what happened.

use super::layout::{Daemon, Layout, namenode_id};
use super::ready;
use anyhow::{Context, Result, bail};
use hathi_client::{CreateOptions, FileSystem};
use hathi_conf::Configuration;
use rustix::process::{Pid, Signal, kill_process};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

/// Files written at the same time.
const WRITERS: u64 = 4;
/// Load before the kill and after the cluster serves again.
const LOAD: Duration = Duration::from_secs(2);
/// Bytes of each file.
const FILE_LEN: usize = 4096;

struct Load {
    fs: FileSystem,
    stop: Cell<bool>,
    acknowledged: RefCell<Vec<(u64, u64)>>,
    failed: Cell<u64>,
    slow: Cell<u64>,
    last_answer: Cell<Instant>,
    longest_gap: Cell<Duration>,
    first_after_kill: Cell<Option<Instant>>,
    killed: Cell<Option<Instant>>,
}

fn path(writer: u64, number: u64) -> String {
    format!("/demo/{}/w{writer}/f{number}", std::process::id())
}

fn content(writer: u64, number: u64) -> Vec<u8> {
    let line = format!("writer {writer} file {number}\n");
    line.bytes().cycle().take(FILE_LEN).collect()
}

/// Runs the demonstration on a cluster that is ready. Returns whether nothing was lost.
pub async fn run(layout: &Layout) -> Result<bool> {
    let conf = Configuration::load(&layout.client_conf())?;
    let fs = FileSystem::new(&conf, "", &crate::cmd::user_name())?;
    let load = Rc::new(Load {
        fs,
        stop: Cell::new(false),
        acknowledged: RefCell::new(Vec::new()),
        failed: Cell::new(0),
        slow: Cell::new(0),
        last_answer: Cell::new(Instant::now()),
        longest_gap: Cell::new(Duration::ZERO),
        first_after_kill: Cell::new(None),
        killed: Cell::new(None),
    });
    println!(
        "demo: {WRITERS} writers make files of {FILE_LEN} bytes with {} replicas",
        layout.datanodes.min(3)
    );
    tokio::task::LocalSet::new().run_until(demonstrate(layout, &load)).await
}

async fn demonstrate(layout: &Layout, load: &Rc<Load>) -> Result<bool> {
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::task::spawn_local(write(load.clone(), writer)))
        .collect();
    tokio::time::sleep(LOAD).await;
    let active = ready::active(layout).await.context("no active NameNode")?;
    let before = load.acknowledged.borrow().len();
    let pid_file = layout.pid_file(Daemon::NameNode, active);
    let text = std::fs::read_to_string(&pid_file).with_context(|| pid_file.display().to_string())?;
    let pid = text
        .trim()
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .context("no process id")?;
    let killed_at = SystemTime::now();
    load.killed.set(Some(Instant::now()));
    kill_process(pid, Signal::KILL)?;
    println!(
        "demo: killed {} (process {}) with SIGKILL after {before} files",
        namenode_id(active),
        pid.as_raw_nonzero()
    );
    let deadline = Instant::now() + Duration::from_secs(60);
    while load.first_after_kill.get().is_none() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(LOAD).await;
    load.stop.set(true);
    for writer in writers {
        writer.await?;
    }
    print_time_line(layout, active, killed_at, load).await;
    let lost = verify(load).await?;
    let acknowledged = load.acknowledged.borrow().len();
    println!(
        "demo: acknowledged {acknowledged} lost {lost} failed {} delayed by the failover {} longest gap {} ms",
        load.failed.get(),
        load.slow.get(),
        load.longest_gap.get().as_millis()
    );
    if acknowledged == before {
        bail!("nothing was written after the kill");
    }
    Ok(lost == 0 && load.failed.get() == 0)
}

async fn write(load: Rc<Load>, writer: u64) {
    for number in 0.. {
        if load.stop.get() {
            return;
        }
        let started = Instant::now();
        let result = async {
            let mut file = load.fs.create(&path(writer, number), &CreateOptions::default()).await?;
            file.write(&content(writer, number)).await?;
            file.close().await
        };
        match result.await {
            Ok(()) => {
                let now = Instant::now();
                load.acknowledged.borrow_mut().push((writer, number));
                let gap = now.duration_since(load.last_answer.replace(now));
                load.longest_gap.set(load.longest_gap.get().max(gap));
                if let Some(killed) = load.killed.get() {
                    if started <= killed {
                        load.slow.set(load.slow.get() + 1);
                    } else if load.first_after_kill.get().is_none() {
                        load.first_after_kill.set(Some(now));
                    }
                }
            }
            Err(error) => {
                println!("demo: {} failed: {error}", path(writer, number));
                load.failed.set(load.failed.get() + 1);
            }
        }
    }
}

/// Prints the events in the daemons' logs, in ms after the kill.
async fn print_time_line(layout: &Layout, killed: u16, killed_at: SystemTime, load: &Load) {
    println!("      0.0 ms lost       {} is killed", namenode_id(killed));
    let controller = layout.log_file(Daemon::Zkfc, killed);
    if let Some(at) = find(&controller, killed_at, "process has ended") {
        println!("{at:9.1} ms noticed    by its controller, which gives the lease back");
    }
    if let Ok(new) = ready::active(layout).await {
        let id = namenode_id(new);
        let controller = layout.log_file(Daemon::Zkfc, new);
        let namenode = layout.log_file(Daemon::NameNode, new);
        for (log, words, step) in [
            (
                &controller,
                "asking the NameNode for a transition to=\"active\"",
                "elected   ",
            ),
            (&namenode, "journal recovered epoch=", "recovered "),
            (&namenode, "ha: active epoch=", "serving   "),
        ] {
            if let Some(at) = find(log, killed_at, words) {
                println!("{at:9.1} ms {step} {id}");
            }
        }
    }
    if let (Some(killed), Some(first)) = (load.killed.get(), load.first_after_kill.get()) {
        let at = first.duration_since(killed).as_secs_f64() * 1000.0;
        println!("{at:9.1} ms used       the first file begun after the kill is complete");
    }
}

/// The time of the first log line with these words after an instant, in ms after it.
fn find(log: &std::path::Path, after: SystemTime, words: &str) -> Option<f64> {
    let text = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text);
    let after = jiff::Timestamp::try_from(after).ok()?;
    text.lines()
        .filter(|line| line.contains(words))
        .filter_map(|line| line.split_whitespace().next()?.parse::<jiff::Timestamp>().ok())
        .find(|at| *at >= after)
        .map(|at| at.duration_since(after).as_secs_f64() * 1000.0)
}

/// Reads every acknowledged file again. Returns how many are missing or changed.
async fn verify(load: &Load) -> Result<usize> {
    let mut lost = 0;
    let acknowledged = load.acknowledged.borrow().clone();
    for (writer, number) in &acknowledged {
        let path = path(*writer, *number);
        let read = async { load.fs.open(&path).await?.read_to_end().await };
        match read.await {
            Ok(bytes) if bytes == content(*writer, *number) => {}
            Ok(bytes) => {
                println!("demo: {path} has {} other bytes", bytes.len());
                lost += 1;
            }
            Err(error) => {
                println!("demo: {path}: {error}");
                lost += 1;
            }
        }
    }
    Ok(lost)
}

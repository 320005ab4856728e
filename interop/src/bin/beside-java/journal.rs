//! Compares JournalNodes alone: three of Java's and three of ours, under the same writer (`hathi bench journal`).

use super::{JOURNALNODES, Side, Stack, ratio};
use anyhow::{Context, Result, bail};
use hathi_interop::Hadoop;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// Numbers of clients, each with one edit under way.
const CLIENTS: [u32; 4] = [1, 16, 64, 256];

/// Figures of a run, by key.
type Run = HashMap<String, f64>;

struct Measured {
    started: String,
    idle: String,
    after: String,
    runs: Vec<Run>,
}

/// Measures both sides and returns the table.
pub fn compare(hadoop: &Hadoop, hathi: &Path, seconds: u32) -> Result<String> {
    let java = measure(&Side::Java(hadoop, 512), hathi, seconds)?;
    let ours = measure(&Side::Hathi(hathi), hathi, seconds)?;
    let mut text = format!(
        "Java: {}; {}; after the loads {}\n\nHathi: {}; {}; after the loads {}\n\n",
        java.started, java.idle, java.after, ours.started, ours.idle, ours.after
    );
    text.push_str(
        "| clients | Java, edits/s | Hathi, edits/s | Java p50, p99, p99.9 ms | Hathi p50, p99, p99.9 ms | \
         fdatasync + loopback p50 ms | three at once, a majority waited for, p50 ms | Java JournalNodes, µs CPU/edit | Hathi JournalNodes | ratio |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for ((clients, java), ours) in CLIENTS.iter().zip(&java.runs).zip(&ours.runs) {
        let get = |run: &Run, key: &str| run.get(key).copied().unwrap_or(f64::NAN);
        let times = |run| {
            let [a, b, c] = ["p50", "p99", "p99.9"].map(|key| get(run, key));
            format!("{a:.3}, {b:.3}, {c:.3}")
        };
        text.push_str(&format!(
            "| {clients} | {:.0} | {:.0} | {} | {} | {:.3} | {:.3} | {:.2} | {:.2} | {} |\n",
            get(java, "edits/s"),
            get(ours, "edits/s"),
            times(java),
            times(ours),
            get(ours, "floor"),
            get(ours, "floor of all"),
            get(java, "cpu"),
            get(ours, "cpu"),
            ratio(get(java, "cpu"), get(ours, "cpu")),
        ));
    }
    Ok(text)
}

fn measure(side: &Side<'_>, hathi: &Path, seconds: u32) -> Result<Measured> {
    let stack = Stack::journalnodes(side, hathi)?;
    let started = format!("listening {} ms after the start", stack.started.as_millis());
    let idle = stack.memory()?;
    // The JVM is slow until it has compiled the code.
    run(&stack, hathi, 64, seconds)?;
    let runs = CLIENTS
        .iter()
        .map(|clients| {
            let run = run(&stack, hathi, *clients, seconds)?;
            eprintln!("{}: {clients} clients: {run:?}", side.name());
            Ok(run)
        })
        .collect::<Result<_>>()?;
    let after = stack.memory()?;
    Ok(Measured {
        started,
        idle,
        after,
        runs,
    })
}

fn run(stack: &Stack<'_>, hathi: &Path, clients: u32, seconds: u32) -> Result<Run> {
    let nodes: Vec<String> = (0..JOURNALNODES).map(|index| stack.journalnode(index)).collect();
    let mut command = Command::new(hathi);
    command.args(["bench", "journal", "--journalnodes", &nodes.join(",")]);
    command.args(["--clients", &clients.to_string(), "--seconds", &seconds.to_string()]);
    command.arg("--probe").arg(stack.dir.path());
    for pid in stack.pids("journalnode") {
        command.args(["--pid", &pid.to_string()]);
    }
    let output = command.output().context("can't run hathi bench journal")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("hathi bench journal: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut run = Run::new();
    for line in text.lines() {
        if line.starts_with("phase ") {
            run.extend(["edits/s", "p50", "p99", "p99.9"].map(|key| (key.to_owned(), number(line, key))));
        } else if let Some(rest) = line.strip_prefix("all of them ") {
            run.insert("cpu".to_owned(), number(&format!("all {rest}"), "all"));
        } else if line.starts_with("probe of") {
            run.insert("floor of all".to_owned(), number(line, "p50"));
        } else if line.starts_with("probe ") {
            run.insert("floor".to_owned(), number(line, "of p50"));
        }
    }
    Ok(run)
}

/// The number behind a key.
fn number(line: &str, key: &str) -> f64 {
    line.split_once(&format!("{key} "))
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(f64::NAN)
}

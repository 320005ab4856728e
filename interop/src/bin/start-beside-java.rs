//! Measures the starts of Java's NameNode and of Hathi's on the same directory; see bench/start-beside-java.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use hathi_interop::{Hadoop, Kind, Single};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Measures how long Java's NameNode and Hathi's take to load an image, to apply edits, and to save the namespace
#[derive(Parser)]
struct Args {
    /// The `hathi` binary
    #[arg(long)]
    hathi: PathBuf,
    /// Files in the image, of one block each
    #[arg(long, default_value_t = 2_000_000)]
    files: u64,
    /// Edits behind the image: files that are created, and directories, half of each
    #[arg(long, default_value_t = 2_000_000)]
    edits: u64,
    /// Starts of each of the two
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Heap of Java's NameNode in MiB
    #[arg(long, default_value_t = 8192)]
    heap_mb: u32,
}

/// Times in seconds.
#[derive(Default)]
struct Times {
    load: Vec<f64>,
    edits: Vec<f64>,
    save: Vec<f64>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let hadoop = Hadoop::get()?.context("needs Apache Hadoop")?;
    let more = [
        // No DataNode has these blocks.
        ("dfs.namenode.safemode.threshold-pct", "0"),
        // Java's loader uses all cores, too.
        ("dfs.image.parallel.load", "true"),
        // No checkpoint of ours comes between.
        ("dfs.namenode.checkpoint.txns", "1000000000"),
    ];
    let mut single = Single::new(&args.hathi, Some(hadoop), 1, &more)?;
    single.measure_with_heap(args.heap_mb);
    fill(&args, &mut single)?;
    let current = single.name_dir(0).join("current");
    let kept = single.name_dir(0).join("kept");
    copy(&current, &kept)?;

    let (mut java, mut ours) = (Times::default(), Times::default());
    for _ in 0..args.rounds {
        for (kind, times) in [(Kind::Hadoops, &mut java), (Kind::Ours, &mut ours)] {
            std::fs::remove_dir_all(&current)?;
            copy(&kept, &current)?;
            // Otherwise the disk would still be writing the copy.
            rustix::fs::sync();
            single.start_namenode(kind)?;
            let (load, edits) = phases(&single)?;
            single.tool("dfsadmin", &["-safemode", "enter"])?;
            let started = Instant::now();
            single.tool("dfsadmin", &["-saveNamespace"])?;
            times.load.push(load);
            times.edits.push(edits);
            times.save.push(started.elapsed().as_secs_f64());
            single.kill_namenode()?;
        }
    }

    println!(
        "| {} files, {} edits | Java, s | Hathi, s | ratio |",
        args.files, args.edits
    );
    println!("|---|---|---|---|");
    for (what, of) in [
        ("image loaded", (|times| &times.load) as fn(&Times) -> &Vec<f64>),
        ("edits applied", |times| &times.edits),
        ("namespace saved", |times| &times.save),
    ] {
        let ratio = best(of(&java)) / best(of(&ours));
        println!("| {what} | {} | {} | 1/{ratio:.1} |", list(of(&java)), list(of(&ours)));
    }
    Ok(())
}

fn best(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

fn list(times: &[f64]) -> String {
    let times: Vec<String> = times.iter().map(|time| format!("{time:.2}")).collect();
    times.join(", ")
}

/// Gives the NameNode an image with files and edits behind it.
fn fill(args: &Args, single: &mut Single) -> Result<()> {
    single.tool("namenode", &["-format", "-nonInteractive"])?;
    let current = single.name_dir(0).join("current");
    let version = std::fs::read_to_string(current.join("VERSION"))?;
    let id = version.lines().find_map(|line| line.strip_prefix("namespaceID="));
    let image = current.join("fsimage_0000000000000000000").display().to_string();
    let bench = |line: &[&str]| -> Result<()> {
        let output = Command::new(&args.hathi).arg("bench").args(line).output()?;
        let printed = [output.stdout, output.stderr].concat();
        ensure!(
            output.status.success(),
            "{line:?}: {}",
            String::from_utf8_lossy(&printed)
        );
        Ok(())
    };
    bench(&[
        "image",
        "--files",
        &args.files.to_string(),
        "--file",
        &image,
        "--keep-for",
        id.context("VERSION has no namespaceID")?.trim(),
    ])?;
    single.start_namenode(Kind::Ours)?;
    let fs = format!("hdfs://{}", single.address());
    let ops = (args.edits / 2).to_string();
    for op in ["create", "mkdirs"] {
        let load = ["--connections", "16", "--outstanding", "64", "--ops", &ops];
        bench(&[&["namenode", "--fs", &fs, "--op", op][..], &load].concat())?;
    }
    single.kill_namenode()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(status.success(), "cp of {} failed", from.display());
    Ok(())
}

/// Seconds in which the image was loaded and the edits were applied, by `/startupProgress`.
fn phases(single: &Single) -> Result<(f64, f64)> {
    let mut connection = TcpStream::connect(single.http_address())?;
    write!(connection, "GET /startupProgress HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    let told: serde_json::Value = serde_json::from_str(body)?;
    let of = |name: &str| {
        let phase = told["phases"].as_array()?.iter().find(|phase| phase["name"] == name)?;
        Some(phase["elapsedTime"].as_f64()? / 1e3)
    };
    let both = of("LoadingFsImage").zip(of("LoadingEdits"));
    both.with_context(|| format!("/startupProgress told no times: {answer}"))
}

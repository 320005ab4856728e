//! Measures what hdfs-native, an independent client that repeats no call by itself, notices of NameNodes that are
//! killed many times.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Parser;
use hathi_interop::Role;
use hathi_interop::failovers::{FailoverArguments, wait_for_active, wait_for_standby};
use hdfs_native::{Client, ClientBuilder, HdfsError, WriteOptions};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Pause between a standby's return and the next kill.
const QUIET: Duration = Duration::from_millis(1500);

/// Kills the active NameNode of a quickstart cluster while threads with hdfs-native create, write, close and rename small files,
/// and tells the longest call after each kill.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    failovers: FailoverArguments,
    /// How many threads
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// Where the daemons' logs are kept when a call took longer than this many milliseconds: the run ends there
    #[arg(long)]
    stop_at_ms: Option<u128>,
}

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    /// The connection was lost during the call. Each call that is under way at the kill fails so once.
    Lost,
    /// The client itself refused. Between the end of a connection and the moment at which it notices, it fails every
    /// change at once with the connection's error, without asking a NameNode. On a busy machine this happens hundreds
    /// of times in a millisecond.
    OwnRefusal,
    /// A NameNode refused. The client repeats no call, and would go on at once.
    Refused,
}

/// A call that failed faster than this never reached the kernel: neither an answer of a NameNode nor the end of a
/// connection comes back in this time.
const NOBODY_ASKED: Duration = Duration::from_micros(20);
/// Most refusals of each thread after one kill. NameNodes keep calls while none is active. So a refusal has a lasting
/// reason, and would be repeated thousands of times.
const REFUSALS_MAX: usize = 10;

/// A call that has ended.
struct Call {
    what: &'static str,
    took: Duration,
    error: Option<(Failure, String)>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let started = args.failovers.start()?;
    let (cluster, conf) = (&started.cluster, &started.conf);
    // A client has a runtime of its own, which can't be dropped inside another runtime. The last reference is kept
    // here, and outlives the tasks.
    let mut clients = Vec::new();
    let runtime = tokio::runtime::Runtime::new()?;
    let stop = Arc::new(AtomicBool::new(false));
    let (send, calls) = channel();
    let mut threads = Vec::new();
    for thread in 0..args.threads {
        let client = ClientBuilder::new()
            .with_url("hdfs://hathi")
            .with_config_dir(conf.display().to_string())
            .build()?;
        let client = Arc::new(client);
        clients.push(client.clone());
        let (stop, send) = (stop.clone(), send.clone());
        threads.push(runtime.spawn(async move {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                small_file(&client, &format!("/native/{thread}/{number}"), &send).await;
                number += 1;
            }
        }));
    }
    let mut longest = Vec::new();
    for kill in 1..=args.failovers.times {
        std::thread::sleep(QUIET);
        let _ = drain(&calls);
        let active = wait_for_active(cluster);
        cluster.signal(Role::NameNode, active, Signal::KILL)?;
        wait_for_standby(cluster, active);
        std::thread::sleep(QUIET);
        let after = drain(&calls);
        let worst = after.iter().max_by_key(|call| call.took).context("no call ended")?;
        let mut failures: BTreeMap<(Failure, &str), Vec<&Call>> = BTreeMap::new();
        for call in &after {
            if let Some((failure, text)) = &call.error {
                failures.entry((*failure, text.as_str())).or_default().push(call);
            }
        }
        println!(
            "{kill}: {} ms ({}), {} calls",
            worst.took.as_millis(),
            worst.what,
            after.len()
        );
        for ((failure, text), calls) in &failures {
            let took: Duration = calls.iter().map(|call| call.took).sum();
            println!("  {failure:?}: {} in {took:?}, {}: {text}", calls.len(), calls[0].what);
        }
        let refusals: usize = failures
            .iter()
            .filter(|((failure, _), _)| *failure == Failure::Refused)
            .map(|(_, calls)| calls.len())
            .sum();
        ensure!(
            refusals <= REFUSALS_MAX * args.threads,
            "{refusals} calls were refused after one kill"
        );
        longest.push(worst.took.as_millis());
        if args.stop_at_ms.is_some_and(|limit| worst.took.as_millis() > limit) {
            let kept = std::env::temp_dir().join("native-failover-logs");
            let _ = std::fs::remove_dir_all(&kept);
            std::fs::create_dir_all(&kept)?;
            for entry in std::fs::read_dir(cluster.dir().join("logs"))? {
                let entry = entry?;
                std::fs::copy(entry.path(), kept.join(entry.file_name()))?;
            }
            println!("logs in {}", kept.display());
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        runtime.block_on(thread)?;
    }
    longest.sort_unstable();
    ensure!(!longest.is_empty(), "no kills");
    println!("longest calls in ms: {longest:?}");
    Ok(())
}

fn drain(calls: &Receiver<Call>) -> Vec<Call> {
    calls.try_iter().collect()
}

async fn timed<T>(
    what: &'static str,
    send: &Sender<Call>,
    call: impl Future<Output = hdfs_native::Result<T>>,
) -> Option<T> {
    let started = Instant::now();
    let result = call.await;
    let took = started.elapsed();
    let failure = |error: &HdfsError| match error {
        HdfsError::IOError(_) if took < NOBODY_ASKED => Failure::OwnRefusal,
        HdfsError::IOError(_) => Failure::Lost,
        _ => Failure::Refused,
    };
    // The receiver is gone only at the end.
    let _ = send.send(Call {
        what,
        took,
        error: result
            .as_ref()
            .err()
            .map(|error| (failure(error), format!("{error:?}"))),
    });
    result.ok()
}

async fn small_file(client: &Client, path: &str, send: &Sender<Call>) -> Option<()> {
    let options = WriteOptions::default();
    let mut writer = timed("create", send, client.create(path, options)).await?;
    timed("write", send, writer.write_bytes(Bytes::from_static(&[7; 1000]))).await?;
    timed("close", send, writer.close()).await?;
    timed("rename", send, client.rename(path, &format!("{path}.done"), false)).await?;
    Some(())
}

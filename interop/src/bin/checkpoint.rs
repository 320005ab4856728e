//! Measures how a checkpoint slows down the calls that the active answers meanwhile, and the standby that makes it; see
//! bench/checkpoint.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use hathi_formats::proto::hdfs::{
    FsPermissionProto, GetFileInfoRequestProto, GetFileInfoResponseProto, MkdirsRequestProto, MkdirsResponseProto,
};
use hathi_formats::proto::namenode::{GetTransactionIdRequestProto, GetTransactionIdResponseProto};
use hathi_interop::{Kind, Pair, Role, SharedEdits};
use hathi_net::ipc::{ClientOptions, Protocol, RpcClient, protocols};
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::{JoinSet, LocalSet};

/// Interval at which both NameNodes are asked for their last transaction, and their logs are read.
const LOOK: Duration = Duration::from_millis(5);
/// Words in a log when a checkpoint begins. Those of [`LAST_PHASE`] end it.
const FIRST_PHASE: &str = "saving an image";
const LAST_PHASE: &str = "received an image";
/// Longest time for a checkpoint.
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures the calls of a client, and the lag of the standby, while the standby saves an image and the active receives it,
/// and without that
#[derive(Parser)]
struct Args {
    /// The `hathi` binary
    #[arg(long)]
    hathi: PathBuf,
    /// Files in the namespace, of one block each
    #[arg(long, default_value_t = 1_000_000)]
    files: u64,
    /// Calls in a second: getFileInfo and mkdirs by turns
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// How long is measured before the checkpoint and after it, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// `dfs.image.transfer.bandwidthPerSec`
    #[arg(long, default_value_t = 52_428_800)]
    bandwidth: u64,
    /// `dfs.image.compression.codec`: the image is compressed
    #[arg(long)]
    codec: Option<String>,
}

/// Name of a call, when it was sent, and how long its answer took.
struct Answer {
    is_change: bool,
    sent: Instant,
    took: Duration,
}

/// A time, and the transaction that a NameNode had reached then.
type Sample = (Instant, u64);

fn main() -> Result<()> {
    let args = Args::parse();
    let pair = started(&args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, measure(&args, &pair))
}

/// Starts two NameNodes whose namespace has this many files, with nn0 active.
fn started(args: &Args) -> Result<Pair> {
    // The number of transactions after which the checkpoint begins.
    let txns = u64::from(args.seconds) * u64::from(args.rate) / 2;
    let (txns, bandwidth) = (txns.max(1).to_string(), args.bandwidth.to_string());
    let mut more = vec![
        ("dfs.namenode.checkpoint.txns", txns.as_str()),
        ("dfs.namenode.checkpoint.check.period", "100ms"),
        ("dfs.image.transfer.bandwidthPerSec", &bandwidth),
        // No DataNode has these blocks.
        ("dfs.namenode.safemode.threshold-pct", "0"),
    ];
    if let Some(codec) = &args.codec {
        more.extend([("dfs.image.compress", "true"), ("dfs.image.compression.codec", codec)]);
    }
    let mut pair = Pair::new(&args.hathi, None, SharedEdits::QUORUM, &more)?;
    for index in 0..3 {
        pair.start_journalnode(index, Kind::Ours)?;
    }
    let (first, second) = (pair.conf(0), pair.conf(1));
    pair.namenode(Kind::Ours, &first, &["-format", "-nonInteractive"])?;
    let current = pair.name_dir(0).join("current");
    let image = current.join("fsimage_0000000000000000000");
    let printed = pair.run(
        "bench",
        &[
            "image",
            "--files",
            &args.files.to_string(),
            "--file",
            &image.display().to_string(),
            "--keep-for",
            &namespace_id(&current)?,
        ],
    )?;
    print!("{printed}");
    pair.start_namenode(0, Kind::Ours, &first)?;
    pair.namenode(Kind::Ours, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Kind::Ours, &second)?;
    pair.run("haadmin", &["-transitionToActive", "nn0"])?;
    pair.wait_for_state(0, "active");
    Ok(pair)
}

fn namespace_id(current: &Path) -> Result<String> {
    let version = std::fs::read_to_string(current.join("VERSION"))?;
    let id = version.lines().find_map(|line| line.strip_prefix("namespaceID="));
    Ok(id.context("VERSION has no namespaceID")?.trim().to_owned())
}

async fn connect(pair: &Pair, index: usize, protocol: &'static Protocol) -> Result<RpcClient> {
    let options = ClientOptions::new(&hathi_net::users::process_user());
    Ok(RpcClient::connect(pair.address(Role::NameNode, index), protocol, options).await?)
}

async fn measure(args: &Args, pair: &Pair) -> Result<()> {
    // Otherwise the disk would still be writing the images of the start during the first calls.
    rustix::fs::sync();
    let client = Rc::new(connect(pair, 0, &protocols::CLIENT_PROTOCOL).await?);
    let _: MkdirsResponseProto = client.call("mkdirs", &mkdirs("/load".to_owned())).await?;
    let answers: Rc<RefCell<Vec<Answer>>> = Rc::default();
    let is_over = Rc::new(Cell::new(false));
    let load = tokio::task::spawn_local(load(client, args.rate, answers.clone(), is_over.clone()));
    let applied: [Rc<RefCell<Vec<Sample>>>; 2] = Default::default();
    for (index, samples) in applied.iter().enumerate() {
        let asked = connect(pair, index, &protocols::NAMENODE_PROTOCOL).await?;
        tokio::task::spawn_local(sample(asked, samples.clone()));
    }
    let begin = until_logged(pair, 1, FIRST_PHASE).await?;
    let saved = until_logged(pair, 1, "saved an image").await?;
    let end = until_logged(pair, 0, LAST_PHASE).await?;
    tokio::time::sleep(Duration::from_secs(u64::from(args.seconds))).await;
    is_over.set(true);
    load.await??;
    println!(
        "saved in {:.2} s, sent and received in {:.2} s",
        saved.duration_since(begin).as_secs_f64(),
        end.duration_since(saved).as_secs_f64()
    );
    let during = |at: Instant| (begin..end).contains(&at);
    for (phase, is_during) in [("without a checkpoint", false), ("during a checkpoint", true)] {
        for (name, is_change) in [("getFileInfo", false), ("mkdirs", true)] {
            let answers = answers.borrow();
            let of_phase = answers
                .iter()
                .filter(|answer| answer.is_change == is_change && during(answer.sent) == is_during);
            tell(
                &format!("{phase}: {name}"),
                begin,
                of_phase.map(|answer| (answer.sent, answer.took)).collect(),
            );
        }
        let lags = lags(&applied[0].borrow(), &applied[1].borrow());
        let of_phase = lags.into_iter().filter(|(at, _)| during(*at) == is_during);
        tell(&format!("{phase}: lag of the standby"), begin, of_phase.collect());
    }
    Ok(())
}

fn mkdirs(src: String) -> MkdirsRequestProto {
    MkdirsRequestProto {
        src,
        masked: FsPermissionProto { perm: 0o755 },
        create_parent: true,
        unmasked: None,
    }
}

/// Sends calls at a steady rate, whether or not earlier ones are answered.
async fn load(
    client: Rc<RpcClient>,
    rate: u32,
    answers: Rc<RefCell<Vec<Answer>>>,
    is_over: Rc<Cell<bool>>,
) -> Result<()> {
    let mut calls: JoinSet<Result<()>> = JoinSet::new();
    let started = Instant::now();
    let mut number = 0_u32;
    while !is_over.get() {
        let due = started + Duration::from_secs(1) * number / rate;
        tokio::time::sleep_until(due.into()).await;
        let sent = Instant::now();
        let (client, answers) = (client.clone(), answers.clone());
        let is_change = number % 2 == 1;
        calls.spawn_local(async move {
            if is_change {
                let request = mkdirs(format!("/load/d{}/d{number}", number / 1000));
                let _: MkdirsResponseProto = client.call("mkdirs", &request).await?;
            } else {
                // No change touches the root, so the answer never waits for a transaction.
                let request = GetFileInfoRequestProto { src: "/".to_owned() };
                let _: GetFileInfoResponseProto = client.call("getFileInfo", &request).await?;
            }
            answers.borrow_mut().push(Answer {
                is_change,
                sent,
                took: sent.elapsed(),
            });
            Ok(())
        });
        while let Some(done) = calls.try_join_next() {
            done??;
        }
        number += 1;
    }
    while let Some(done) = calls.join_next().await {
        done??;
    }
    Ok(())
}

/// Asks a NameNode again and again for its last transaction.
async fn sample(asked: RpcClient, samples: Rc<RefCell<Vec<Sample>>>) {
    loop {
        let answer: Result<GetTransactionIdResponseProto, _> =
            asked.call("getTransactionId", &GetTransactionIdRequestProto {}).await;
        let Ok(answer) = answer else { return };
        samples.borrow_mut().push((Instant::now(), answer.tx_id));
        tokio::time::sleep(LOOK).await;
    }
}

async fn until_logged(pair: &Pair, index: usize, what: &str) -> Result<Instant> {
    let started = Instant::now();
    while !pair.log(&format!("nn{index}")).contains(what) {
        ensure!(started.elapsed() < PATIENCE, "nn{index} has not {what}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(Instant::now())
}

/// For each sample of the active, the time until the standby had the same transaction. It is exact up to the interval
/// of the samples.
fn lags(active: &[Sample], standby: &[Sample]) -> Vec<Sampled> {
    let mut lags = Vec::new();
    let mut next = 0;
    for (at, has) in standby {
        // The first sample in which the active had more.
        while active.get(next).is_some_and(|(_, txid)| txid <= has) {
            next += 1;
        }
        let lag = active.get(next).map(|(since, _)| at.saturating_duration_since(*since));
        lags.push((*at, lag.unwrap_or_default()));
    }
    lags
}

/// A time and a lag.
type Sampled = (Instant, Duration);

/// Prints the median, the 99th percentile and the maximum, with the time of the maximum after the checkpoint's `begin`.
fn tell(what: &str, begin: Instant, mut times: Vec<Sampled>) {
    times.sort_unstable_by_key(|(_, took)| *took);
    let at = |share: f64| {
        let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(index).map_or(0.0, |(_, took)| took.as_secs_f64() * 1000.0)
    };
    let longest = times.last().map_or(0.0, |(when, _)| {
        when.saturating_duration_since(begin).as_secs_f64() - begin.saturating_duration_since(*when).as_secs_f64()
    });
    println!(
        "{what}: {} measured, p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms at {longest:.1} s",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

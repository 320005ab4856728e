//! `hathi bench delete`: how long a call of another client takes while a large directory is deleted.

use super::namenode::{CLIENT, connect, create};
use super::percentile;
use anyhow::{Context, Result, ensure};
use clap::Args;
use hathi_formats::proto::hdfs;
use hathi_net::ipc::{HaProxy, Idempotence, RpcError};
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

/// Connections that create the files.
const CONNECTIONS: u32 = 8;
/// Files that are created at a time on each of them.
const OUTSTANDING: u32 = 32;
/// How long the witness asks before the delete, and after its answer. After the answer the deleted inodes are freed in
/// slices.
const AROUND: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub(super) struct DeleteArgs {
    /// `hdfs://NAMESERVICE` (with --conf or HADOOP_CONF_DIR) or `hdfs://HOST:PORT`.
    #[arg(long)]
    fs: String,
    /// Configuration directory for a nameservice.
    #[arg(long)]
    conf: Option<PathBuf>,
    /// Empty files below the directory.
    #[arg(long, default_value_t = 1_000_000)]
    files: u64,
    /// Files of each directory in it.
    #[arg(long, default_value_t = 1000)]
    per_directory: u64,
    /// Directory to work in.
    #[arg(long, default_value = "/bench")]
    dir: String,
}

/// Phase of the measurement in which a call was under way.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Before,
    During,
    After,
}

impl Phase {
    const ALL: [Phase; 3] = [Phase::Before, Phase::During, Phase::After];
}

pub(super) fn run(args: DeleteArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, bench(args))
}

async fn bench(args: DeleteArgs) -> Result<ExitCode> {
    ensure!(args.per_directory > 0, "--per-directory: must be at least 1");
    let proxies = connect(&args.fs, args.conf.clone(), CONNECTIONS)?;
    let first = proxies.first().context("no connection")?.clone();
    let dir = format!("{}/{}", args.dir, std::process::id());
    let (tree, witness) = (format!("{dir}/tree"), format!("{dir}/witness"));
    let started = Instant::now();
    make_file(&first, &witness).await?;
    make_files(&args, &tree, &proxies).await?;
    let made = started.elapsed().as_secs_f64();

    let witness = Witness::start(&args, witness);
    tokio::time::sleep(AROUND).await;
    witness.enter(Phase::During);
    let started = Instant::now();
    let request = hdfs::DeleteRequestProto {
        src: tree,
        recursive: true,
    };
    let deleted: hdfs::DeleteResponseProto = first.call("delete", &request, Idempotence::AtMostOnce).await?;
    let took = started.elapsed().as_secs_f64();
    witness.enter(Phase::After);
    ensure!(deleted.result, "nothing was deleted");
    tokio::time::sleep(AROUND).await;
    let times = witness.stop()?;
    println!("files {} made in {made:.1} s, deleted in {took:.3} s", args.files);
    for phase in Phase::ALL {
        let mut micros = times[phase as usize].clone();
        micros.sort_unstable();
        println!(
            "getFileInfo of another client {phase:?} calls {} p50 {:.3} ms p99 {:.3} ms longest {:.3} ms",
            micros.len(),
            percentile(&micros, 0.5),
            percentile(&micros, 0.99),
            percentile(&micros, 1.0)
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Creates an empty file and closes it.
async fn make_file(proxy: &HaProxy, path: &str) -> Result<(), RpcError> {
    let created = create(proxy, path.to_owned()).await?;
    let complete = hdfs::CompleteRequestProto {
        src: path.to_owned(),
        client_name: CLIENT.to_owned(),
        last: None,
        file_id: created.fs.and_then(|status| status.file_id),
    };
    let _: hdfs::CompleteResponseProto = proxy.call("complete", &complete, Idempotence::Idempotent).await?;
    Ok(())
}

async fn make_files(args: &DeleteArgs, tree: &str, proxies: &[HaProxy]) -> Result<()> {
    let next = Rc::new(Cell::new(0));
    let problem: Rc<RefCell<Option<RpcError>>> = Rc::default();
    let mut workers = Vec::new();
    for proxy in proxies.iter().cycle().take((CONNECTIONS * OUTSTANDING) as usize) {
        let (next, problem, proxy, tree) = (next.clone(), problem.clone(), proxy.clone(), tree.to_owned());
        let (files, per_directory) = (args.files, args.per_directory);
        workers.push(tokio::task::spawn_local(async move {
            while problem.borrow().is_none() {
                let index = next.get();
                if index >= files {
                    return;
                }
                next.set(index + 1);
                let path = format!("{tree}/d{}/f{index}", index / per_directory);
                if let Err(error) = make_file(&proxy, &path).await {
                    problem.replace(Some(error));
                }
            }
        }));
    }
    for worker in workers {
        worker.await?;
    }
    match problem.take() {
        Some(error) => Err(error).context("can't make the files"),
        None => Ok(()),
    }
}

/// A second client, on a thread of its own, that asks for the same file again and again.
struct Witness {
    phase: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<[Vec<u32>; 3]>>,
}

impl Witness {
    fn start(args: &DeleteArgs, path: String) -> Witness {
        let (fs, conf) = (args.fs.clone(), args.conf.clone());
        let (phase, over) = (Arc::new(AtomicUsize::new(Phase::Before as usize)), Arc::default());
        let (now, ends): (Arc<AtomicUsize>, Arc<AtomicBool>) = (phase.clone(), Arc::clone(&over));
        let thread = std::thread::spawn(move || -> Result<[Vec<u32>; 3]> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let proxy = connect(&fs, conf, 1)?.pop().context("no connection")?;
                let request = hdfs::GetFileInfoRequestProto { src: path };
                let mut times: [Vec<u32>; 3] = Default::default();
                while !ends.load(Ordering::Relaxed) {
                    let began = now.load(Ordering::Relaxed);
                    let started = Instant::now();
                    let _: hdfs::GetFileInfoResponseProto =
                        proxy.call("getFileInfo", &request, Idempotence::Idempotent).await?;
                    let micros = u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX);
                    // A call that was under way in two phases counts in both.
                    for in_phase in &mut times[began..=now.load(Ordering::Relaxed)] {
                        in_phase.push(micros);
                    }
                }
                Ok(times)
            })
        });
        Witness { phase, over, thread }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as usize, Ordering::Relaxed);
    }

    fn stop(self) -> Result<[Vec<u32>; 3]> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the witness panicked")?
    }
}

//! `hathi bench namenode`: many calls over many connections, each with many outstanding, through failovers.

use super::{cpu_seconds, percentile, process_name};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use hathi_conf::{Configuration, Environment, TimeUnit};
use hathi_formats::proto::hdfs;
use hathi_net::ipc::protocols::CLIENT_PROTOCOL;
use hathi_net::ipc::{HaOptions, HaProxy, Idempotence, RpcError};
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

/// Files in each directory that the load creates.
const FILES_PER_DIR: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Operation {
    Create,
    Mkdirs,
    Open,
    #[value(name = "getFileInfo")]
    GetFileInfo,
    Rename,
    Delete,
    Mixed,
}

#[derive(Args, Debug)]
pub(super) struct NamenodeArgs {
    /// `hdfs://NAMESERVICE` (with --conf or HADOOP_CONF_DIR) or `hdfs://HOST:PORT`.
    #[arg(long)]
    fs: String,
    /// Configuration directory for a nameservice.
    #[arg(long)]
    conf: Option<PathBuf>,
    /// What to call.
    #[arg(long, value_enum)]
    op: Operation,
    /// Connections.
    #[arg(long, default_value_t = 8)]
    connections: u32,
    /// Calls under way on each connection.
    #[arg(long, default_value_t = 8)]
    outstanding: u32,
    /// Calls in all.
    #[arg(long, default_value_t = 100_000)]
    ops: u64,
    /// Directory to work in.
    #[arg(long, default_value = "/bench")]
    dir: String,
    /// Processes whose CPU time is counted, for example the NameNode's.
    #[arg(long)]
    pid: Vec<u32>,
    /// Afterwards look whether everything that was acknowledged is there (create, mkdirs).
    #[arg(long)]
    verify: bool,
}

struct Load {
    op: Operation,
    dir: String,
    total: u64,
    next: Cell<u64>,
    acknowledged: RefCell<Vec<u64>>,
    latencies_micros: RefCell<Vec<u32>>,
    errors: Cell<u64>,
    first_error: RefCell<Option<RpcError>>,
    longest_gap: Cell<Duration>,
    last_answer: Cell<Instant>,
}

pub(super) fn run(args: NamenodeArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, bench(args))
}

async fn bench(args: NamenodeArgs) -> Result<ExitCode> {
    let proxies = connect(&args.fs, args.conf.clone(), args.connections)?;
    let first = proxies.first().context("--connections: must be at least 1")?.clone();
    let dir = format!("{}/{}", args.dir, std::process::id());
    let prepare = match args.op {
        Operation::Create | Operation::Mkdirs => None,
        Operation::Open | Operation::GetFileInfo | Operation::Mixed => Some(args.ops.min(10_000)),
        Operation::Rename | Operation::Delete => Some(args.ops),
    };
    for index in 0..=args.ops.div_ceil(FILES_PER_DIR) {
        let path = format!("{dir}/d{index}");
        if index > 0 && index * FILES_PER_DIR > prepare.unwrap_or(args.ops) {
            break;
        }
        let _: hdfs::MkdirsResponseProto = first
            .call("mkdirs", &mkdirs_request(path, true), Idempotence::Idempotent)
            .await?;
    }
    if let Some(files) = prepare {
        let load = Load::new(Operation::Create, dir.clone(), files);
        drive(&load, &proxies, args.outstanding).await;
        if let Some(error) = load.first_error.borrow().as_ref() {
            bail!("can't prepare the files: {error}");
        }
    }
    let load = Load::new(args.op, dir.clone(), args.ops);
    let cpu_before: Vec<f64> = args.pid.iter().map(|pid| cpu_seconds(*pid)).collect::<Result<_>>()?;
    let started = Instant::now();
    drive(&load, &proxies, args.outstanding).await;
    let elapsed = started.elapsed().as_secs_f64();
    report(&args, &load, elapsed, &cpu_before)?;
    let lost = if args.verify { verify(&load, &first).await? } else { 0 };
    Ok(if load.errors.get() == 0 && lost == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Lease holder of the files that are created.
pub(super) const CLIENT: &str = "hathi-bench";

/// Creates a file, or replaces one.
pub(super) async fn create(proxy: &HaProxy, src: String) -> Result<hdfs::CreateResponseProto, RpcError> {
    let request = hdfs::CreateRequestProto {
        src,
        masked: hdfs::FsPermissionProto { perm: 0o644 },
        client_name: CLIENT.to_owned(),
        create_flag: (hdfs::CreateFlagProto::Create as i32 | hdfs::CreateFlagProto::Overwrite as i32).cast_unsigned(),
        create_parent: true,
        replication: 3,
        block_size: 128 << 20,
        crypto_protocol_version: vec![hdfs::CryptoProtocolVersionProto::EncryptionZones.into()],
        unmasked: None,
        ec_policy_name: None,
        storage_policy: None,
    };
    proxy.call("create", &request, Idempotence::AtMostOnce).await
}

/// Opens connections to a file system. No call has been sent over them yet.
pub(super) fn connect(fs: &str, conf: Option<PathBuf>, connections: u32) -> Result<Vec<HaProxy>> {
    let authority = fs
        .strip_prefix("hdfs://")
        .context("--fs: must start with hdfs://")?
        .trim_end_matches('/');
    let conf = match conf.or_else(|| std::env::var_os("HADOOP_CONF_DIR").map(PathBuf::from)) {
        Some(dir) => Configuration::load(&dir)?,
        None => Configuration::new(Environment::of_process()),
    };
    let addresses = if conf.nameservices().iter().any(|ns| ns == authority) {
        let ids = conf.namenode_ids(authority);
        ids.iter()
            .map(|id| Ok(conf.rpc_address(Some(authority), Some(id))?.to_string()))
            .collect::<Result<Vec<_>>>()?
    } else {
        vec![authority.to_owned()]
    };
    let millis = |key: &str, default: u64| conf.get_duration(key, Duration::from_millis(default), TimeUnit::Millis);
    (0..connections)
        .map(|_| {
            let mut options = HaOptions::new(&crate::cmd::user_name());
            options.client.call_timeout = millis("ipc.client.rpc-timeout.ms", 120_000)?;
            options.client.connect_timeout = millis("ipc.client.connect.timeout", 20_000)?;
            options.max_failovers = conf.get_u32("dfs.client.failover.max.attempts", 15)?;
            options.sleep_base = millis("dfs.client.failover.sleep.base.millis", 500)?;
            options.sleep_max = millis("dfs.client.failover.sleep.max.millis", 15_000)?;
            Ok(HaProxy::new(addresses.clone(), &CLIENT_PROTOCOL, options))
        })
        .collect()
}

impl Load {
    fn new(op: Operation, dir: String, total: u64) -> Rc<Load> {
        Rc::new(Load {
            op,
            dir,
            total,
            next: Cell::new(0),
            acknowledged: RefCell::new(Vec::new()),
            latencies_micros: RefCell::new(Vec::new()),
            errors: Cell::new(0),
            first_error: RefCell::new(None),
            longest_gap: Cell::new(Duration::ZERO),
            last_answer: Cell::new(Instant::now()),
        })
    }

    fn path(&self, index: u64) -> String {
        format!("{}/d{}/f{index}", self.dir, index / FILES_PER_DIR)
    }

    async fn call(&self, proxy: &HaProxy, index: u64) -> Result<(), RpcError> {
        let prepared = self.path(index % self.total.min(10_000));
        match self.op {
            Operation::Create => self.create(proxy, self.path(index)).await,
            Operation::Mkdirs => {
                let request = mkdirs_request(self.path(index), true);
                let _: hdfs::MkdirsResponseProto = proxy.call("mkdirs", &request, Idempotence::Idempotent).await?;
                Ok(())
            }
            Operation::Open => self.open(proxy, prepared).await,
            Operation::GetFileInfo => self.get_file_info(proxy, prepared).await,
            Operation::Rename => {
                let request = hdfs::RenameRequestProto {
                    src: self.path(index),
                    dst: format!("{}.renamed", self.path(index)),
                };
                let _: hdfs::RenameResponseProto = proxy.call("rename", &request, Idempotence::AtMostOnce).await?;
                Ok(())
            }
            Operation::Delete => {
                let request = hdfs::DeleteRequestProto {
                    src: self.path(index),
                    recursive: false,
                };
                let _: hdfs::DeleteResponseProto = proxy.call("delete", &request, Idempotence::AtMostOnce).await?;
                Ok(())
            }
            // There are nine reads for each write.
            Operation::Mixed => match index % 10 {
                0 => {
                    self.create(proxy, format!("{}.new", self.path(index % self.total.min(10_000))))
                        .await
                }
                1..5 => self.open(proxy, prepared).await,
                _ => self.get_file_info(proxy, prepared).await,
            },
        }
    }

    async fn create(&self, proxy: &HaProxy, src: String) -> Result<(), RpcError> {
        create(proxy, src).await.map(drop)
    }

    async fn open(&self, proxy: &HaProxy, src: String) -> Result<(), RpcError> {
        let request = hdfs::GetBlockLocationsRequestProto {
            src,
            offset: 0,
            length: 1 << 30,
        };
        let _: hdfs::GetBlockLocationsResponseProto = proxy
            .call("getBlockLocations", &request, Idempotence::Idempotent)
            .await?;
        Ok(())
    }

    async fn get_file_info(&self, proxy: &HaProxy, src: String) -> Result<(), RpcError> {
        let request = hdfs::GetFileInfoRequestProto { src };
        let _: hdfs::GetFileInfoResponseProto = proxy.call("getFileInfo", &request, Idempotence::Idempotent).await?;
        Ok(())
    }

    fn answered(&self, index: u64, started: Instant, result: Result<(), RpcError>) {
        let now = Instant::now();
        match result {
            Ok(()) => {
                let micros = now.duration_since(started).as_micros();
                self.latencies_micros
                    .borrow_mut()
                    .push(u32::try_from(micros).unwrap_or(u32::MAX));
                self.acknowledged.borrow_mut().push(index);
                let gap = now.duration_since(self.last_answer.replace(now));
                self.longest_gap.set(self.longest_gap.get().max(gap));
            }
            Err(error) => {
                self.errors.set(self.errors.get() + 1);
                self.first_error.borrow_mut().get_or_insert(error);
            }
        }
    }
}

fn mkdirs_request(src: String, create_parent: bool) -> hdfs::MkdirsRequestProto {
    hdfs::MkdirsRequestProto {
        src,
        masked: hdfs::FsPermissionProto { perm: 0o755 },
        create_parent,
        unmasked: None,
    }
}

/// Keeps this many calls under way on each connection until all calls are done.
async fn drive(load: &Rc<Load>, proxies: &[HaProxy], outstanding: u32) {
    let mut workers = Vec::new();
    for proxy in proxies {
        for _ in 0..outstanding {
            let (load, proxy) = (load.clone(), proxy.clone());
            workers.push(tokio::task::spawn_local(async move {
                loop {
                    let index = load.next.get();
                    if index >= load.total {
                        return;
                    }
                    load.next.set(index + 1);
                    let started = Instant::now();
                    let result = load.call(&proxy, index).await;
                    load.answered(index, started, result);
                }
            }));
        }
    }
    for worker in workers {
        // A worker that panicked shows in the number of answers.
        let _ = worker.await;
    }
}

fn report(args: &NamenodeArgs, load: &Load, elapsed: f64, cpu_before: &[f64]) -> Result<()> {
    let mut latencies = load.latencies_micros.borrow_mut();
    latencies.sort_unstable();
    let percentile = |share: f64| percentile(&latencies, share);
    let done = latencies.len();
    println!(
        "op {:?} ops {done} errors {} seconds {elapsed:.2} ops/s {:.0} p50 {:.3} ms p90 {:.3} ms p99 {:.3} ms p99.9 {:.3} ms max {:.3} ms longest gap {} ms",
        args.op,
        load.errors.get(),
        done as f64 / elapsed,
        percentile(0.5),
        percentile(0.9),
        percentile(0.99),
        percentile(0.999),
        percentile(1.0),
        load.longest_gap.get().as_millis()
    );
    for (pid, before) in args.pid.iter().zip(cpu_before) {
        let used = cpu_seconds(*pid)? - before;
        println!(
            "pid {pid} ({}) CPU {used:.2} s, {:.2} us/op",
            process_name(*pid),
            used * 1e6 / done.max(1) as f64
        );
    }
    if let Some(error) = load.first_error.borrow().as_ref() {
        println!("first error: {error}");
    }
    Ok(())
}

/// Counts acknowledged changes that are missing.
async fn verify(load: &Load, proxy: &HaProxy) -> Result<usize> {
    let mut lost = 0;
    let acknowledged = load.acknowledged.take();
    for index in &acknowledged {
        let request = hdfs::GetFileInfoRequestProto { src: load.path(*index) };
        let answer: hdfs::GetFileInfoResponseProto =
            proxy.call("getFileInfo", &request, Idempotence::Idempotent).await?;
        lost += usize::from(answer.fs.is_none());
    }
    println!("verified {} lost {lost}", acknowledged.len());
    Ok(lost)
}

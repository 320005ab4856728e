//! `hathi quickstart`: a whole highly available cluster of real processes on this machine.

mod children;
mod claim;
mod demo;
mod layout;
mod ready;

use anyhow::{Context, Result, bail};
use children::Children;
use claim::DirectoryClaim;
use clap::Parser;
use layout::{Daemon, Layout};
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// First port that is tried when the user names none. It is below 30000, so that the kernel never hands it out itself.
const BASE_PORT: u16 = 18020;
/// Time within which a cluster must be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Run a whole highly available HDFS on this machine: NameNodes with their failover controllers, JournalNodes and
/// DataNodes, each a process of its own. Ctrl-C ends them all; the data stays, and a second start finds it.
#[derive(Parser, Debug)]
#[command(name = "hathi quickstart")]
struct Args {
    /// Number of NameNodes.
    #[arg(long, default_value_t = 3)]
    namenodes: u16,
    /// Number of JournalNodes.
    #[arg(long, default_value_t = 3)]
    journalnodes: u16,
    /// Number of DataNodes.
    #[arg(long, default_value_t = 3)]
    datanodes: u16,
    /// Where everything is kept; by default hathi-cluster, with --single hathi-single.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The address of this machine that all daemons have.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// First of the 91 ports that are used; by default the first free range from 18020 on.
    #[arg(long)]
    base_port: Option<u16>,
    /// Name of the nameservice.
    #[arg(long, default_value = "hathi")]
    nameservice: String,
    /// A setting for every daemon and client, as often as needed.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    more: Vec<(String, String)>,
    /// Have this ZooKeeper elect the active NameNode, instead of the JournalNodes.
    #[arg(long, value_name = "HOST:PORT[,...]")]
    zookeeper: Option<String>,
    /// One NameNode that keeps its edits in its own directory, and DataNodes: no JournalNodes, no failover.
    #[arg(long, conflicts_with_all = ["namenodes", "journalnodes", "nameservice", "demo"])]
    single: bool,
    /// Write files under continuous load, kill the active NameNode, show what happened, verify every file, and end.
    #[arg(long)]
    demo: bool,
}

fn key_and_value(word: &str) -> Result<(String, String), String> {
    match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    // The daemons go on when nobody reads the output.
    crate::output::go_on_without_reader();
    let args = Args::parse_from(std::iter::once(OsString::from("hathi quickstart")).chain(args));
    // Children are killed when the thread that started them ends, so that must be the main thread.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(quickstart(args))
}

async fn quickstart(args: Args) -> Result<ExitCode> {
    let started = Instant::now();
    let usual = if args.single { "hathi-single" } else { "hathi-cluster" };
    let dir = args.dir.unwrap_or_else(|| PathBuf::from(usual));
    std::fs::create_dir_all(&dir).with_context(|| format!("--dir: can't create {}", dir.display()))?;
    let dir = dir.canonicalize()?;
    let zookeeper = args.zookeeper.map(|quorum| ("ha.zookeeper.quorum".to_owned(), quorum));
    let mut layout = Layout {
        dir,
        host: args.host,
        base_port: args.base_port.unwrap_or(BASE_PORT),
        nameservice: args.nameservice,
        namenodes: if args.single { 1 } else { args.namenodes },
        journalnodes: if args.single { 0 } else { args.journalnodes },
        single: args.single,
        datanodes: args.datanodes,
        more: args.more.into_iter().chain(zookeeper).collect(),
    };
    layout.check()?;
    let mut claim = DirectoryClaim::of(&layout.dir)?;
    layout.check_form()?;
    let _ports = match args.base_port {
        None => layout.claim_free_ports()?,
        Some(base) => layout
            .claim_ports()
            .map_err(|port| anyhow::anyhow!("--base-port {base}: port {port} is taken"))?,
    };
    claim.tell(&layout.page())?;
    layout.write()?;
    let layout = Arc::new(layout);
    let mut children = Children::new(layout.clone());
    let mut interrupts = Interrupts::new()?;
    let up = tokio::select! {
        result = bring_up(&layout, &mut children) => result,
        () = interrupts.wait() => {
            children.stop().await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    if let Err(error) = up {
        children.stop().await;
        return Err(error);
    }
    announce(&layout, started.elapsed());
    if args.demo {
        let result = tokio::select! {
            result = demo::run(&layout) => result,
            () = interrupts.wait() => Ok(false),
        };
        children.stop().await;
        return Ok(if result? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    interrupts.wait().await;
    println!("stopping");
    children.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C and SIGTERM.
struct Interrupts {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Interrupts {
    fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Interrupts {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Starts everything in order, formats what is new, and waits until clients can be served.
async fn bring_up(layout: &Arc<Layout>, children: &mut Children) -> Result<()> {
    if !layout.single {
        progress(&format!("starting {} JournalNodes", layout.journalnodes));
        if let Some(warning) = layout.tolerates_nothing() {
            println!("{warning}");
        }
    }
    for index in 0..layout.journalnodes {
        children.supervise(Daemon::JournalNode, index)?;
    }
    ready::journalnodes(layout, READY_TIMEOUT).await?;
    for index in 0..layout.datanodes {
        children.supervise(Daemon::DataNode, index)?;
    }
    let marker = layout.formatted_marker();
    if !marker.exists() {
        progress("formatting the namespace");
        let cluster_id = format!("CID-{}", uuid::Uuid::new_v4());
        let args = ["-format", "-clusterId", &cluster_id, "-force", "-nonInteractive"];
        children.run_once(Daemon::NameNode, 0, &args).await?;
        std::fs::write(&marker, format!("{cluster_id}\n"))
            .with_context(|| format!("can't write {}", marker.display()))?;
    }
    if layout.has_zookeeper() {
        progress("formatting the znode in ZooKeeper, where it is missing");
        children.format_zookeeper().await?;
    }
    let (formatted, unformatted): (Vec<u16>, Vec<u16>) =
        (0..layout.namenodes).partition(|index| layout.is_formatted(*index));
    progress(&match layout.single {
        true => "starting the NameNode".to_owned(),
        false => format!("starting {} NameNodes and their controllers", layout.namenodes),
    });
    for index in formatted {
        children.supervise(Daemon::NameNode, index)?;
        if !layout.single {
            children.supervise(Daemon::Zkfc, index)?;
        }
    }
    if layout.single && !unformatted.is_empty() {
        bail!(
            "the NameNode's directory {} was lost, and nobody else has what it held",
            layout.data_dir(Daemon::NameNode, 0).display()
        );
    }
    if !unformatted.is_empty() {
        progress("copying the namespace to the standbys");
        ready::any_namenode(layout, READY_TIMEOUT).await?;
    }
    for index in unformatted {
        let args = ["-bootstrapStandby", "-force", "-nonInteractive"];
        children.run_once(Daemon::NameNode, index, &args).await?;
        children.supervise(Daemon::NameNode, index)?;
        children.supervise(Daemon::Zkfc, index)?;
    }
    progress("waiting for an active NameNode and the DataNodes");
    ready::cluster(layout, READY_TIMEOUT).await
}

fn progress(step: &str) {
    println!("{step} ...");
}

fn announce(layout: &Layout, elapsed: Duration) {
    let ns = layout.authority();
    println!(
        "ready hdfs://{ns} status page {} after {:.1} s; to use it:",
        layout.page(),
        elapsed.as_secs_f64()
    );
    // A newcomer has this program, and maybe not in the path.
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("hathi"));
    print!("{}", first_steps(&layout.client_conf(), &program, &ns));
}

/// Commands that a newcomer can enter as they stand here.
fn first_steps(conf: &Path, program: &Path, authority: &str) -> String {
    format!(
        "  export HADOOP_CONF_DIR={}\n  {} dfs -ls hdfs://{authority}/\n",
        conf.display(),
        program.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_steps_name_a_program_that_the_newcomer_has() {
        let program = std::env::current_exe().unwrap();
        let steps = first_steps(Path::new("/there/conf"), &program, "hathi");
        let last = steps.lines().last().unwrap().trim();
        let (named, rest) = last.split_once(' ').unwrap();
        assert!(Path::new(named).is_absolute() && Path::new(named).exists(), "{named}");
        assert_eq!(rest, "dfs -ls hdfs://hathi/");
    }
}

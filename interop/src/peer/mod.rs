//! A hostile peer for every port. It sends mutated streams of every protocol to a quickstart of real processes.
//! Meanwhile a good client works, and everything that was acknowledged to it is checked afterwards.
//!
//! The content of an input depends only on its number, the seed, and the ids of the cluster, so an input can be sent
//! again. The peer has no rights, or it has some and only reads. No input is an order that an administrator might give.
//! [`rules`] says what must hold.

mod attack;
mod delivery;
mod facts;
mod messages;
mod mutation;
mod processes;
mod rpc;
mod rules;
mod transfer;
mod web;
mod witness;

use crate::{Cluster, ClusterOptions, Role};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use delivery::Outcome;
use facts::Facts;
use fastrand::Rng;
use messages::Messages;
use std::fmt::Write;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};
use witness::Witness;

/// Rounds of the good client before the attack begins.
const ROUNDS_BEFORE: u64 = 50;
/// Time limit for every step, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Interval of images. It is short, so that at times a NameNode accepts an image from a peer.
const CHECKPOINT_PERIOD: &str = "dfs.namenode.checkpoint.period=40s";

/// Kind of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum PortKind {
    NameNodeRpc,
    JournalNodeRpc,
    ZkfcRpc,
    DataNodeRpc,
    DataTransfer,
    NameNodeHttp,
    JournalNodeHttp,
    DataNodeHttp,
}

/// Share of each kind of port, of a hundred inputs.
const SHARES: [(PortKind, usize); 8] = [
    (PortKind::NameNodeRpc, 35),
    (PortKind::JournalNodeRpc, 13),
    (PortKind::ZkfcRpc, 5),
    (PortKind::DataNodeRpc, 10),
    (PortKind::DataTransfer, 19),
    (PortKind::NameNodeHttp, 9),
    (PortKind::JournalNodeHttp, 5),
    (PortKind::DataNodeHttp, 4),
];

/// A port of one daemon.
#[derive(Clone, Copy, Debug)]
struct Port {
    kind: PortKind,
    address: SocketAddr,
}

/// The bytes of one connection, piece by piece: frames, operations, packets, heads and bodies of requests.
#[derive(Clone, Debug)]
struct Stream {
    pieces: Vec<Vec<u8>>,
}

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct PeerOptions {
    /// Seed of all inputs.
    pub seed: u64,
    /// Numbers of the inputs.
    pub inputs: RangeInclusive<u64>,
    /// The kinds of ports that are attacked. Empty means all.
    pub port_kinds: Vec<PortKind>,
    /// Whether latencies of the good client and growth of memory are checked. They are not in a test, where other
    /// processes share the machine.
    pub measured: bool,
}

/// Result of a run.
#[derive(Debug)]
pub struct PeerReport {
    /// A table for people.
    pub text: String,
    /// Rules that were broken. Empty after a good run.
    pub broken: Vec<String>,
}

/// One input: its target and its content.
struct Input {
    port: Port,
    streams: Vec<Stream>,
    /// For random decisions during the delivery.
    rng: Rng,
}

impl Input {
    fn new(number: u64, options: &PeerOptions, ports: &[Port], messages: &Messages, facts: &Facts) -> Result<Input> {
        let mut rng = Rng::with_seed(options.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number);
        let is_wanted = |kind| options.port_kinds.is_empty() || options.port_kinds.contains(&kind);
        let kinds = SHARES.iter().filter(|(kind, _)| is_wanted(*kind));
        let kinds = kinds.flat_map(|(kind, share)| std::iter::repeat_n(*kind, *share));
        let kind = rng.choice(kinds.collect::<Vec<_>>()).context("no kind of port")?;
        let ports = ports.iter().filter(|port| port.kind == kind);
        let port = *rng.choice(ports.collect::<Vec<_>>()).context("no port")?;
        let count = if rng.u8(..5) == 0 { rng.usize(2..4) } else { 1 };
        let mut streams = Vec::new();
        for _ in 0..count {
            let mut stream = match kind {
                PortKind::NameNodeRpc => rpc::stream(&rpc::NAMENODE, messages, facts, &mut rng),
                PortKind::JournalNodeRpc => rpc::stream(&rpc::JOURNALNODE, messages, facts, &mut rng),
                PortKind::ZkfcRpc => rpc::stream(&rpc::ZKFC, messages, facts, &mut rng),
                PortKind::DataNodeRpc => rpc::stream(&rpc::DATANODE, messages, facts, &mut rng),
                PortKind::DataTransfer => transfer::stream(messages, facts, &mut rng),
                PortKind::NameNodeHttp | PortKind::JournalNodeHttp | PortKind::DataNodeHttp => {
                    web::stream(kind, facts, &mut rng)
                }
            };
            // The rest stays valid, except for mutations inside of messages.
            if rng.u8(..10) < 6 {
                for _ in 0..rng.usize(1..3) {
                    mutation::pieces(&mut stream.pieces, &mut rng);
                }
            }
            streams.push(stream);
        }
        Ok(Input { port, streams, rng })
    }
}

/// The user that the daemons of a quickstart run as.
fn superuser() -> String {
    std::env::var("USER").unwrap_or_else(|_| "root".to_owned())
}

/// Starts a quickstart with this binary and runs a peer against it.
///
/// # Errors
/// When the cluster can't be started or watched; broken rules are in the report.
pub fn run(hathi: &Path, cluster_options: ClusterOptions, options: &PeerOptions) -> Result<PeerReport> {
    let mut cluster = Cluster::start_with(hathi, cluster_options, &[CHECKPOINT_PERIOD])?;
    let active = crate::wait_for("an active NameNode", PATIENCE, || cluster.active());
    for (user, home) in [("mallory", "/mallory"), (witness::USER, witness::HOME)] {
        cluster.hathi_ok("dfs", &["-mkdir", home])?;
        cluster.hathi_ok("dfs", &["-chown", user, home])?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let ports = facts::ports(&cluster, cluster_options)?;
    let messages = Messages::load()?;
    let facts = runtime.block_on(Facts::gather(&cluster, &ports))?;
    let witness = Witness::start(&cluster.conf())?;
    crate::wait_for("the good client's first rounds", PATIENCE, || {
        (witness.has_failed() || witness.rounds() >= ROUNDS_BEFORE).then_some(())
    });

    let watch = rules::Watch::begin(&cluster, cluster_options, options.measured)?;
    let began = Instant::now();
    let attack = attack::run(options, &ports, messages, facts, watch, &witness);
    let mut attack = attack?;
    let seconds = began.elapsed().as_secs_f64();
    let mut broken = std::mem::take(&mut attack.broken);
    attack.watch.wait_for_rest();
    broken.extend(attack.watch.at_the_end(&cluster, active));

    let mut text = String::new();
    writeln!(
        text,
        "{} inputs in {seconds:.0} s, seed {}\n",
        attack.sent, options.seed
    )?;
    text += &table(&attack.outcomes);
    text += &attack.watch.table();
    match witness.end() {
        Ok((ledger, latencies)) => {
            text += "\nthe good client, in ms:         count      p50      p99      max\n";
            let together = latencies
                .of(&rules::CALLS)
                .map(|times| ("calls to the NameNode", times));
            for (what, times) in latencies.quantiles().chain(together) {
                let ms = |micros: u32| f64::from(micros) / 1000.0;
                let (p50, p99, max) = (ms(times.p50), ms(times.p99), ms(times.max));
                writeln!(
                    text,
                    "  {what:<24} {:>10} {p50:>8.2} {p99:>8.2} {max:>8.2}",
                    times.count
                )?;
            }
            if options.measured {
                broken.extend(rules::too_slow(&latencies));
            }
            writeln!(text, "\nacknowledged to the good client: {}", ledger.describe())?;
            broken.extend(check_ledger(&mut cluster, cluster_options, &ledger, &runtime)?);
        }
        Err(error) => broken.push(format!("{error:#}")),
    }
    if !broken.is_empty() {
        writeln!(text, "\n{}", cluster.logs())?;
    }
    Ok(PeerReport { text, broken })
}

/// Checks everything that was acknowledged, and again after the active NameNode has been killed.
fn check_ledger(
    cluster: &mut Cluster,
    options: ClusterOptions,
    ledger: &witness::Ledger,
    runtime: &tokio::runtime::Runtime,
) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let conf = cluster.conf();
    if let Err(error) = runtime.block_on(ledger.check(&conf)) {
        broken.push(format!("after the attack: {error:#}"));
    }
    let active = crate::wait_for("an active NameNode", PATIENCE, || cluster.active());
    cluster.signal(Role::NameNode, active, rustix::process::Signal::KILL)?;
    if options.namenodes > 1 {
        crate::wait_for("another active NameNode", PATIENCE, || {
            cluster.active().filter(|now| *now != active)
        });
    }
    if let Err(error) = runtime.block_on(ledger.check(&conf)) {
        broken.push(format!("after a failover: {error:#}"));
    }
    Ok(broken)
}

fn table(outcomes: &[(PortKind, u64, Outcome)]) -> String {
    let mut text = String::from("port                  inputs  connections    answers   refusals        cut\n");
    let mut line = |name: &str, inputs: u64, outcome: &Outcome| {
        let Outcome {
            connections,
            answers,
            refusals,
            cut,
        } = outcome;
        text += &format!("{name:<18} {inputs:>9} {connections:>12} {answers:>10} {refusals:>10} {cut:>10}\n");
    };
    let (mut all, mut sum) = (0, Outcome::default());
    for (kind, inputs, outcome) in outcomes {
        let name = kind.to_possible_value().map(|value| value.get_name().to_owned());
        line(&name.unwrap_or_default(), *inputs, outcome);
        all += inputs;
        sum.add(*outcome);
    }
    line("all", all, &sum);
    text
}

/// Parses `N` or `N-M`.
///
/// # Errors
/// When it is neither.
pub fn parse_inputs(text: &str) -> Result<RangeInclusive<u64>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.parse()?..=last.parse()?;
    ensure!(!range.is_empty(), "{text}: no input");
    Ok(range)
}

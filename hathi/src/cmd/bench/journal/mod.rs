//! `hathi bench journal`: the quorum writer alone, against any JournalNodes, ours or Java's.
//!
//! Each client has one edit under way. When a client's edit is on a majority, it sends the next one at once. Clients
//! are counters, not tasks: the benchmark measures only the writer and the JournalNodes.

mod probe;

use super::{cpu_seconds, percentile, process_name, resident_mib};
use anyhow::{Context, Result, bail};
use clap::Args;
use hathi_conf::HostPort;
use hathi_formats::editlog::{EditOp, encode};
use hathi_formats::ids::{Epoch, LayoutVersion, NamespaceInfo, TxId};
use hathi_formats::qjournal::Envelope;
use hathi_journal::group_commit::GroupCommit;
use hathi_journal::lease::LeaseProof;
use hathi_journal::mutant::Mutation;
use hathi_journal::writer::{CallError, CallId, QuorumWriter, WriterAction, WriterConfig, WriterTimeouts};
use hathi_journal::{Answer, Micros, Request};
use hathi_journalclient::{JournalNodeClient, JournalNodes};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// Most batches that JournalNodes are syncing at one time.
const BATCHES_UNDER_WAY: usize = 2;
/// Most bytes of edits in one batch.
const BATCH_BYTES_MAX: usize = 512 << 10;
/// Bytes of recent edits that are kept for a JournalNode that has to catch up.
const RECENT_LIMIT_BYTES: usize = 64 << 20;
const SETUP_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Args, Debug)]
pub(super) struct JournalArgs {
    /// `HOST:PORT` of each JournalNode, separated by commas.
    #[arg(long, value_delimiter = ',', required = true)]
    journalnodes: Vec<String>,
    /// The journal, formatted if it is not yet.
    #[arg(long, default_value = "bench")]
    journal_id: String,
    /// Edits under way at one time.
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// Bytes of an edit in the log.
    #[arg(long, default_value_t = 200)]
    edit_bytes: usize,
    /// How long to measure.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// The JournalNodes' processes, to tell their CPU time and memory.
    #[arg(long)]
    pid: Vec<u32>,
    /// Stop this JournalNode (SIGSTOP) after the first measurement, measure again for --paused-seconds, let it go on and
    /// tell when it is in sync again.
    #[arg(long)]
    pause_pid: Option<u32>,
    /// How long it stays stopped.
    #[arg(long, default_value_t = 30.0)]
    paused_seconds: f64,
    /// A directory on the JournalNodes' disk: tells what a sync there and a message over loopback take by themselves,
    /// and a commit by as many threads that do nothing but that.
    #[arg(long)]
    probe: Option<PathBuf>,
}

struct Event {
    journalnode: usize,
    call: CallId,
    result: Result<Answer, CallError>,
}

struct Bench {
    writer: QuorumWriter,
    channels: Vec<mpsc::UnboundedSender<(CallId, Request, Duration)>>,
    events: mpsc::UnboundedReceiver<Event>,
    started: Instant,
    group_commit: GroupCommit,
    path: String,
    next: TxId,
    synced: TxId,
    /// Edits of the open batch, encoded.
    open: Vec<u8>,
    /// Creation time of each edit that is not synced, oldest first.
    since: VecDeque<Micros>,
    under_way: VecDeque<(TxId, Micros)>,
    latencies_us: Vec<u32>,
    ended: Option<String>,
    recovered: Option<TxId>,
    segment_open: bool,
    /// Set while the open segment ends: when all edits are shipped, the next segment begins.
    rolling: bool,
    finalized: bool,
}

pub(super) fn run(args: JournalArgs) -> Result<ExitCode> {
    if let Some(dir) = &args.probe {
        probe::run(dir, args.journalnodes.len())?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, bench(args))
}

async fn bench(args: JournalArgs) -> Result<ExitCode> {
    let addresses = args
        .journalnodes
        .iter()
        .map(|text| HostPort::parse(text, None).map_err(|problem| anyhow::anyhow!("--journalnodes {text}: {problem}")))
        .collect::<Result<Vec<_>>>()?;
    let envelope = Envelope {
        journal_id: args.journal_id.clone(),
        name_service_id: None,
    };
    let nodes = JournalNodes::new(addresses.clone(), envelope, &crate::cmd::user_name());
    let info = NamespaceInfo {
        layout_version: LayoutVersion::NAMENODE_CURRENT,
        namespace_id: 1,
        cluster_id: "CID-bench".to_owned(),
        ctime: 0,
        block_pool_id: "BP-1-127.0.0.1-1".to_owned(),
    };
    for (index, address) in addresses.iter().enumerate() {
        format(&nodes, index, &info)
            .await
            .with_context(|| format!("JournalNode {address}"))?;
    }
    let mut bench = Bench::new(&args, &nodes, &addresses, info);
    bench.set_up().await?;
    // This warms up all processes.
    bench
        .measure(&args, "warm-up", (args.seconds / 5.0).min(1.0), false)
        .await?;
    bench.measure(&args, "all", args.seconds, true).await?;
    if let Some(pid) = args.pause_pid {
        signal(pid, Signal::STOP)?;
        let paused = bench.measure(&args, "paused", args.paused_seconds, true).await;
        signal(pid, Signal::CONT)?;
        paused?;
        let returned = Instant::now();
        while !bench.all_in_sync(args.clients) {
            bench.turn(None).await?;
            if returned.elapsed() > SETUP_TIMEOUT {
                bail!("the JournalNode that was stopped is not in sync again");
            }
        }
        println!("in sync again {} ms after it goes on", returned.elapsed().as_millis());
        bench.measure(&args, "returned", args.seconds, true).await?;
    }
    bench.finish().await?;
    Ok(ExitCode::SUCCESS)
}

async fn format(nodes: &JournalNodes, index: usize, info: &NamespaceInfo) -> Result<()> {
    let call = async |request: Request| -> Result<Answer> {
        let client = nodes.connect(index).await?;
        Ok(client.send(&request, SETUP_TIMEOUT).await?)
    };
    if call(Request::IsFormatted).await? == Answer::IsFormatted(false) {
        let ns_info = info.clone();
        call(Request::Format { ns_info, force: false }).await?;
    }
    Ok(())
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = process.with_context(|| format!("--pause-pid {pid}: no process"))?;
    kill_process(process, signal).with_context(|| format!("--pause-pid {pid}"))
}

impl Bench {
    fn new(args: &JournalArgs, nodes: &JournalNodes, addresses: &[HostPort], info: NamespaceInfo) -> Bench {
        let (answered, events) = mpsc::unbounded_channel();
        let channels = (0..addresses.len())
            .map(|index| {
                let (send, calls) = mpsc::unbounded_channel();
                tokio::task::spawn_local(channel(nodes.clone(), index, calls, answered.clone()));
                send
            })
            .collect();
        let mut empty = Vec::new();
        encode(&mut empty, TxId(1), &edit(String::new())).expect("an edit without a path is short");
        Bench {
            writer: QuorumWriter::new(WriterConfig {
                ns_info: info,
                holder: "bench@bench".into(),
                // No lease is wanted. The request only tells JournalNodes that the writer is ours.
                proof: LeaseProof(u128::MAX),
                asked_before: Epoch(0),
                lease_ms: 0,
                layout_version: LayoutVersion::NAMENODE_CURRENT,
                members: addresses.iter().map(ToString::to_string).collect(),
                membership: None,
                journal_id: args.journal_id.clone(),
                timeouts: WriterTimeouts::default(),
                recent_limit_bytes: RECENT_LIMIT_BYTES,
                pipeline_depth: BATCHES_UNDER_WAY,
                mutation: Mutation::default(),
            }),
            channels,
            events,
            started: Instant::now(),
            group_commit: GroupCommit::default(),
            path: "x".repeat(args.edit_bytes.saturating_sub(empty.len())),
            next: TxId(1),
            synced: TxId(0),
            open: Vec::new(),
            since: VecDeque::new(),
            under_way: VecDeque::new(),
            latencies_us: Vec::new(),
            ended: None,
            recovered: None,
            segment_open: false,
            rolling: false,
            finalized: false,
        }
    }

    fn now(&self) -> Micros {
        Micros::try_from(self.started.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    /// Becomes the writer, and opens a segment behind the last transaction.
    async fn set_up(&mut self) -> Result<()> {
        let mut out = Vec::new();
        self.writer.recover(self.now(), &mut out);
        self.perform(out);
        let begun = Instant::now();
        while self.recovered.is_none() {
            self.turn(None).await?;
            if begun.elapsed() > SETUP_TIMEOUT {
                bail!("the journal is not recovered");
            }
        }
        self.next = self.recovered.unwrap_or_default().next();
        self.synced = TxId(self.next.0 - 1);
        let mut out = Vec::new();
        self.writer.start_segment(self.next, self.now(), &mut out);
        self.perform(out);
        while !self.segment_open {
            self.turn(None).await?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        while !self.since.is_empty() {
            self.turn(None).await?;
        }
        while self.rolling {
            self.turn(None).await?;
        }
        self.finalized = false;
        let mut out = Vec::new();
        self.writer.finalize_segment(self.now(), &mut out);
        self.perform(out);
        while !self.finalized {
            self.turn(None).await?;
        }
        Ok(())
    }

    /// Keeps one edit under way for each client, for `seconds`, and prints the figures.
    async fn measure(&mut self, args: &JournalArgs, what: &str, seconds: f64, tell: bool) -> Result<()> {
        self.latencies_us.clear();
        let cpu: Vec<f64> = args.pid.iter().map(|pid| cpu_seconds(*pid)).collect::<Result<_>>()?;
        let begun = Instant::now();
        while begun.elapsed().as_secs_f64() < seconds {
            self.turn(Some(args.clients)).await?;
        }
        let elapsed = begun.elapsed().as_secs_f64();
        if !tell {
            return Ok(());
        }
        let mut latencies = std::mem::take(&mut self.latencies_us);
        latencies.sort_unstable();
        let done = latencies.len();
        println!(
            "phase {what} clients {} edits {done} seconds {elapsed:.2} edits/s {:.0} p50 {:.3} ms p99 {:.3} ms p99.9 {:.3} ms max {:.3} ms",
            args.clients,
            done as f64 / elapsed,
            percentile(&latencies, 0.5),
            percentile(&latencies, 0.99),
            percentile(&latencies, 0.999),
            percentile(&latencies, 1.0)
        );
        let mut all = 0.0;
        for (pid, before) in args.pid.iter().zip(cpu) {
            let used = cpu_seconds(*pid)? - before;
            all += used;
            println!(
                "pid {pid} ({}) CPU {used:.2} s, {:.2} us/edit, resident {:.1} MiB",
                process_name(*pid),
                used * 1e6 / done.max(1) as f64,
                resident_mib(*pid)?
            );
        }
        if !args.pid.is_empty() {
            println!("all of them {:.2} us/edit", all * 1e6 / done.max(1) as f64);
        }
        Ok(())
    }

    fn all_in_sync(&self, clients: usize) -> bool {
        let close = 4 * clients as u64 + 4;
        self.writer
            .lags(self.now())
            .iter()
            .all(|lag| lag.in_sync && lag.txns <= close)
    }

    /// Waits for an event and handles it. With `clients`, idle clients send their next edits.
    async fn turn(&mut self, clients: Option<usize>) -> Result<()> {
        if let Some(clients) = clients {
            let now = self.now();
            while self.since.len() < clients {
                encode(&mut self.open, self.next, &edit(self.path.clone()))?;
                self.next = self.next.next();
                self.since.push_back(now);
                if self.open.len() >= BATCH_BYTES_MAX {
                    self.ship();
                }
            }
        }
        self.ship();
        let wake_at = self
            .writer
            .wake_at()
            .into_iter()
            .chain(self.group_commit.wake_at())
            .min();
        let wait = wake_at.map_or(Duration::from_secs(1), |at| {
            Duration::from_micros(at.saturating_sub(self.now()))
        });
        let event = tokio::time::timeout(wait.min(Duration::from_secs(1)), self.events.recv()).await;
        let mut event = event.ok().flatten();
        while let Some(Event {
            journalnode,
            call,
            result,
        }) = event
        {
            let mut out = Vec::new();
            self.writer.answer(journalnode, call, result, self.now(), &mut out);
            self.perform(out);
            event = self.events.try_recv().ok();
        }
        if self.writer.wake_at().is_some_and(|at| at <= self.now()) {
            let mut out = Vec::new();
            self.writer.tick(self.now(), &mut out);
            self.perform(out);
        }
        self.roll();
        match self.ended.take() {
            Some(reason) => bail!(reason),
            None => Ok(()),
        }
    }

    /// Begins a new segment when the writer wants one, as a NameNode does.
    fn roll(&mut self) {
        if self.rolling || self.writer.wants_new_segment(self.now()).is_none() {
            return;
        }
        self.rolling = true;
        let now = self.now();
        let mut out = Vec::new();
        let first = self.under_way.back().map_or(self.synced, |(last, _)| *last).next();
        let count = u32::try_from(self.next.0 - first.0).unwrap_or(u32::MAX);
        if count > 0 {
            self.under_way.push_back((TxId(self.next.0 - 1), now));
            self.writer
                .journal(first, count, std::mem::take(&mut self.open).into(), now, &mut out);
        }
        self.writer.finalize_segment(now, &mut out);
        self.perform(out);
    }

    fn ship(&mut self) {
        if self.rolling {
            return;
        }
        let first = self.under_way.back().map_or(self.synced, |(last, _)| *last).next();
        let count = self.next.0 - first.0;
        let now = self.now();
        if self.under_way.len() >= BATCHES_UNDER_WAY
            || !self
                .group_commit
                .leaves(count, self.open.len(), !self.under_way.is_empty(), now)
        {
            return;
        }
        let records = std::mem::take(&mut self.open).into();
        self.under_way.push_back((TxId(self.next.0 - 1), now));
        let mut out = Vec::new();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.writer.journal(first, count, records, now, &mut out);
        self.perform(out);
    }

    fn perform(&mut self, actions: Vec<WriterAction>) {
        for action in actions {
            match action {
                WriterAction::Send {
                    journalnode,
                    call,
                    request,
                    timeout,
                } => {
                    if let Some(channel) = self.channels.get(journalnode) {
                        // The channel's task lives as long as this.
                        let _ = channel.send((call, request, Duration::from_micros(timeout)));
                    }
                }
                WriterAction::Recovered { last_segment, .. } => {
                    self.recovered = Some(last_segment.map_or(TxId(0), |(_, last)| last));
                }
                WriterAction::SegmentStarted { .. } => self.segment_open = true,
                WriterAction::Synced { txid } => self.on_synced(txid),
                WriterAction::SegmentFinalized { end, .. } => {
                    self.finalized = true;
                    if std::mem::take(&mut self.rolling) {
                        let mut out = Vec::new();
                        self.writer.start_segment(end.next(), self.now(), &mut out);
                        self.perform(out);
                        println!("a new segment begins, so that a JournalNode can join");
                    }
                }
                WriterAction::MembershipChanged { .. }
                | WriterAction::Distrusted { .. }
                | WriterAction::Reelected { .. } => {}
                WriterAction::Fenced { reason } | WriterAction::LostQuorum { reason } => self.ended = Some(reason),
                WriterAction::LeaseHeld { .. } => self.ended = Some("somebody holds the read lease".to_owned()),
            }
        }
    }

    fn on_synced(&mut self, txid: TxId) {
        let now = self.now();
        let count = txid.0.saturating_sub(self.synced.0);
        for _ in 0..count {
            if let Some(since) = self.since.pop_front() {
                self.latencies_us
                    .push(u32::try_from(now.saturating_sub(since)).unwrap_or(u32::MAX));
            }
        }
        self.synced = self.synced.max(txid);
        let mut took = 0;
        while let Some(&(last, left)) = self.under_way.front()
            && last <= txid
        {
            took = now.saturating_sub(left);
            self.under_way.pop_front();
        }
        let sent = self.under_way.back().map_or(self.synced, |(last, _)| *last);
        self.group_commit.synced(count, self.next.0 - 1 - sent.0, took);
    }
}

fn edit(path: String) -> EditOp {
    EditOp::SetReplication { path, replication: 3 }
}

/// Makes all calls to one JournalNode, in order, on one connection at a time.
async fn channel(
    nodes: JournalNodes,
    journalnode: usize,
    mut calls: mpsc::UnboundedReceiver<(CallId, Request, Duration)>,
    answered: mpsc::UnboundedSender<Event>,
) {
    let mut client = None;
    while let Some((call, request, timeout)) = calls.recv().await {
        let connected = match client.take().filter(|client: &JournalNodeClient| !client.is_lost()) {
            Some(client) => Ok(client),
            None => nodes.connect(journalnode).await,
        };
        let answered = answered.clone();
        let tell = move |result| {
            // The receiver is gone once the measurement has ended.
            let _ = answered.send(Event {
                journalnode,
                call,
                result,
            });
        };
        match connected {
            Ok(connected) => {
                let answer = connected.send(&request, timeout);
                tokio::task::spawn_local(async move { tell(answer.await) });
                client = Some(connected);
            }
            Err(error) => tell(Err(error)),
        }
    }
}

fn micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}

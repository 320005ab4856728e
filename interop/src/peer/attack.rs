//! Sends the inputs, several at a time, until all are sent or something has gone wrong.

use super::delivery::{self, Held, Outcome};
use super::facts::Facts;
use super::messages::Messages;
use super::rules::Watch;
use super::witness::Witness;
use super::{Input, PeerOptions, Port, PortKind, SHARES};
use anyhow::Result;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Most inputs under way at a time.
const SIDE_BY_SIDE: usize = 24;
/// Niceness of the peer, so that its own work does not slow down the daemons on its machine.
const NICE: i32 = 10;
/// Interval between two checks of the processes.
const LOOK: Duration = Duration::from_millis(100);
/// Number of the last inputs before a problem. One of them may have caused it.
const SUSPECTS: u64 = 200;

/// Result of an attack.
pub(super) struct Attack {
    pub(super) sent: u64,
    pub(super) outcomes: Vec<(PortKind, u64, Outcome)>,
    pub(super) watch: Watch,
    pub(super) broken: Vec<String>,
}

struct Shared {
    options: PeerOptions,
    ports: Vec<Port>,
    messages: Messages,
    facts: Facts,
    held: Held,
    next: AtomicU64,
    sent: AtomicU64,
    stop: AtomicBool,
    outcomes: Mutex<BTreeMap<PortKind, (u64, Outcome)>>,
}

/// Sends all inputs.
pub(super) fn run(
    options: &PeerOptions,
    ports: &[Port],
    messages: Messages,
    facts: Facts,
    mut watch: Watch,
    witness: &Witness,
) -> Result<Attack> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(|| {
            // Without it the times are worse, and nothing else.
            let _ = rustix::process::nice(NICE);
        })
        .enable_all()
        .build()?;
    let shared = Arc::new(Shared {
        options: options.clone(),
        ports: ports.to_vec(),
        messages,
        facts,
        held: Held::default(),
        next: AtomicU64::new(*options.inputs.start()),
        sent: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        outcomes: Mutex::new(BTreeMap::new()),
    });
    let workers: Vec<_> = (0..SIDE_BY_SIDE).map(|_| runtime.spawn(work(shared.clone()))).collect();
    let mut broken = Vec::new();
    while !workers.iter().all(tokio::task::JoinHandle::is_finished) {
        std::thread::sleep(LOOK);
        let sent = shared.sent.load(Ordering::Relaxed);
        let mut seen = watch.look(sent);
        if witness.has_failed() {
            seen.push("the good client has given up".to_owned());
        }
        if !seen.is_empty() && !shared.stop.swap(true, Ordering::Relaxed) {
            let last = shared
                .next
                .load(Ordering::Relaxed)
                .saturating_sub(1)
                .min(*options.inputs.end());
            let first = last.saturating_sub(SUSPECTS).max(*options.inputs.start());
            let again = format!("--seed {} --only {first}-{last}", options.seed);
            broken.extend(seen.into_iter().map(|what| format!("{what} (again: {again})")));
        }
    }
    for worker in workers {
        runtime.block_on(worker)??;
    }
    shared.held.end();
    let outcomes = std::mem::take(&mut *shared.outcomes.lock());
    let order = SHARES.iter().map(|(kind, _)| *kind);
    let outcomes = order.filter_map(|kind| outcomes.get(&kind).map(|(inputs, outcome)| (kind, *inputs, *outcome)));
    Ok(Attack {
        sent: shared.sent.load(Ordering::Relaxed),
        outcomes: outcomes.collect(),
        watch,
        broken,
    })
}

async fn work(shared: Arc<Shared>) -> Result<()> {
    while !shared.stop.load(Ordering::Relaxed) {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if !shared.options.inputs.contains(&number) {
            return Ok(());
        }
        let Shared {
            options,
            ports,
            messages,
            facts,
            ..
        } = &*shared;
        let mut input = Input::new(number, options, ports, messages, facts)?;
        let Port { kind, address, .. } = input.port;
        let outcome = delivery::deliver(kind, address, input.streams, &shared.held, &mut input.rng).await;
        let mut outcomes = shared.outcomes.lock();
        let (inputs, sum) = outcomes.entry(kind).or_default();
        *inputs += 1;
        sum.add(outcome);
        shared.sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

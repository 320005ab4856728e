//! Edits that are on no disk yet, and readers that ask for them.

use super::client::{Client, user};
use super::{PATIENCE, Setup};
use crate::faults::Slow;
use crate::{ClusterOptions, Daemons, Role, wait_for};
use anyhow::{Context, Result, ensure};
use hathi_conf::Configuration;
use hathi_formats::proto::qjournal::{GetJournaledEditsRequestProto, GetJournaledEditsResponseProto, JournalIdProto};
use hathi_net::ipc::protocols::QJOURNAL_PROTOCOL;
use hathi_net::ipc::{ClientOptions, RpcClient, connect_to};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long the readers ask.
const LOOK: Duration = Duration::from_millis(700);
/// A JournalNode that takes longer counts as showing nothing.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// Time after which a segment that a JournalNode does not show is given up. Its writer tries a JournalNode again within
/// half a second. And a segment must be two seconds old before the writer itself ends it, for any reason.
const SHOWN_WITHIN: Duration = Duration::from_secs(8);

/// Readers ask as Java's standbys do, while the syncs of an edit are under way.
pub(super) fn before_disks(setup: &Setup<'_>) -> Result<()> {
    // A JournalNode whose disk stands still renews no lease. No other NameNode should take over meanwhile.
    let patient = [("hathi.lease.ms", "5000"), ("hathi.lease.max.ms", "10000")];
    let daemons = Daemons::started(setup.hathi, ClusterOptions::default(), &patient)?;
    (0..3)
        .try_for_each(|round| before_disks_once(&daemons, round))
        .inspect_err(|_| eprintln!("{}", daemons.logs()))
}

fn before_disks_once(daemons: &Daemons, round: usize) -> Result<()> {
    let client = Client::new(&daemons.conf())?;
    let journalnodes = connect(daemons, &client)?;
    let first = begin_segment(daemons, &client, &journalnodes)?;
    let faults: Vec<_> = daemons
        .of(Role::JournalNode)
        .map(|index| daemons.faults(Role::JournalNode, index))
        .collect();
    let mut before = Vec::new();
    for faults in &faults {
        faults.hold(Slow::Sync)?;
        before.push(faults.begun(Slow::Sync)?);
    }
    std::thread::scope(|scope| {
        let made = scope.spawn(|| client.mkdir(&format!("/round-{round}")));
        wait_for("the edit to be at the disks' door", PATIENCE, || {
            let at_door = faults
                .iter()
                .zip(&before)
                .filter(|(faults, before)| faults.begun(Slow::Sync).is_ok_and(|begun| begun > **before));
            (at_door.count() * 2 > faults.len()).then_some(())
        });
        let looked = nobody_sees(&client, &journalnodes, first + 1).context("no disk has it");
        // An edit on one disk may still be lost.
        let released = faults[round % 3].release(Slow::Sync);
        let looked = looked.and(nobody_sees(&client, &journalnodes, first + 1).context("one disk has it"));
        for faults in &faults {
            faults.release(Slow::Sync)?;
        }
        released?;
        looked?;
        made.join().map_err(|_| anyhow::anyhow!("mkdir panicked"))?
    })?;
    wait_for("a reader to get what is committed", PATIENCE, || {
        let seen = journalnodes
            .iter()
            .filter(|journalnode| edits(&client, journalnode, first + 1).is_ok_and(|count| count > 0));
        (seen.count() > 1).then_some(())
    });
    Ok(())
}

/// Begins a segment that every JournalNode has open and shows. Returns its first transaction, which is the only one in
/// it.
///
/// A JournalNode need not show the segment. On a busy machine two candidates compete at almost every tenth start. A
/// JournalNode that promised the losing one takes part again seconds later, in a segment of a higher epoch. A recovery
/// may also have emptied its memory of recent edits, or it may join with the next segment. In these cases a new segment
/// is begun.
/// another segment is begun then.
fn begin_segment(daemons: &Daemons, client: &Client, journalnodes: &[RpcClient]) -> Result<u64> {
    let started = Instant::now();
    loop {
        let told = daemons.hathi("dfsadmin", &["-rollEdits"])?;
        let first: u64 = told
            .split_whitespace()
            .last()
            .and_then(|word| word.parse().ok())
            .with_context(|| told.clone())?;
        let rolled = Instant::now();
        while rolled.elapsed() < SHOWN_WITHIN {
            let all = |journalnode| matches!(edits(client, journalnode, first), Ok(1));
            if journalnodes.iter().all(all) {
                return Ok(first);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let shown: Vec<_> = journalnodes.iter().map(|one| edits(client, one, first)).collect();
        eprintln!("not every JournalNode shows segment {first}: {shown:?}");
        ensure!(
            started.elapsed() < PATIENCE,
            "a JournalNode shows no new segment: of the last one, {first}, they show {shown:?}"
        );
    }
}

fn connect(daemons: &Daemons, client: &Client) -> Result<Vec<RpcClient>> {
    daemons
        .of(Role::JournalNode)
        .map(|index| {
            let key = "dfs.journalnode.rpc-address";
            let conf = Configuration::load(&daemons.daemon_conf(Role::JournalNode, index))?;
            let address = conf.get(key).context(key)?;
            Ok(client.wait(connect_to(&address, &QJOURNAL_PROTOCOL, &ClientOptions::new(&user())))?)
        })
        .collect()
}

/// Number of edits that a JournalNode shows from `since` on, or why it shows none. A JournalNode that takes over a
/// missed segment answers nobody while its disk is held.
fn edits(client: &Client, journalnode: &RpcClient, since: u64) -> Result<u32> {
    let request = GetJournaledEditsRequestProto {
        jid: JournalIdProto {
            identifier: "hathi".to_owned(),
        },
        since_tx_id: since,
        max_txns: 100,
        name_service_id: None,
        wait_ms: None,
        committed_only: None,
    };
    let call = journalnode.call("getJournaledEdits", &request);
    let answer: GetJournaledEditsResponseProto = client.wait(async { timeout(ANSWERED_WITHIN, call).await })??;
    Ok(answer.txn_count)
}

fn nobody_sees(client: &Client, journalnodes: &[RpcClient], since: u64) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < LOOK {
        for (index, journalnode) in journalnodes.iter().enumerate() {
            let count = edits(client, journalnode, since).unwrap_or(0);
            ensure!(
                count == 0,
                "JournalNode {index} shows transaction {since} after {:?}",
                started.elapsed()
            );
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

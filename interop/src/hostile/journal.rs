//! Edits that no disk has yet, and those who would like to read them.

use super::client::{Client, user};
use super::{PATIENCE, Setup};
use crate::faults::Slow;
use crate::{ClusterOptions, Daemons, Role, wait_for};
use anyhow::{Context, Result, ensure};
use hathi_formats::conf::Configuration;
use hathi_formats::proto::qjournal::{GetJournaledEditsRequestProto, GetJournaledEditsResponseProto, JournalIdProto};
use hathi_net::ipc::protocols::QJOURNAL_PROTOCOL;
use hathi_net::ipc::{ClientOptions, RpcClient, connect_to};
use std::time::{Duration, Instant};

/// How long the readers look.
const LOOK: Duration = Duration::from_millis(700);

/// Readers ask as Java's standbys do, while the syncs of an edit are under way.
pub(super) fn before_disks(setup: &Setup<'_>) -> Result<()> {
    // Disks that stand still renew no lease; nobody is to take over meanwhile.
    let patient = [("hathi.lease.ms", "5000"), ("hathi.lease.max.ms", "10000")];
    let daemons = Daemons::started(setup.hathi, ClusterOptions::default(), &patient)?;
    let client = Client::new(&daemons.conf())?;
    let journalnodes = connect(&daemons, &client)?;
    for round in 0..3 {
        let told = daemons.hathi("dfsadmin", &["-rollEdits"])?;
        let first: u64 = told
            .split_whitespace()
            .last()
            .and_then(|word| word.parse().ok())
            .with_context(|| told.clone())?;
        wait_for("every JournalNode to show the new segment", PATIENCE, || {
            let shown = |journalnode| edits(&client, journalnode, first).is_some_and(|count| count > 0);
            journalnodes.iter().all(shown).then_some(())
        });
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
            // On one disk it is still no more than an offer.
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
                .filter(|journalnode| edits(&client, journalnode, first + 1).is_some_and(|count| count > 0));
            (seen.count() > 1).then_some(())
        });
    }
    Ok(())
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

/// How many edits a JournalNode shows from one on; `None` when it refuses.
fn edits(client: &Client, journalnode: &RpcClient, since: u64) -> Option<u32> {
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
    let answer: Result<GetJournaledEditsResponseProto, _> =
        client.wait(journalnode.call("getJournaledEdits", &request));
    answer.ok().map(|answer| answer.txn_count)
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

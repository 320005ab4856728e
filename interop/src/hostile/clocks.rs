//! Clocks that stand still, and promises that outlive the configuration of their JournalNode.

use super::client::Client;
use super::{PATIENCE, Setup};
use crate::{ClusterOptions, Daemons, Role, wait_for};
use anyhow::{Result, ensure};
use hathi_formats::proto::hdfs::{GetFileInfoRequestProto, GetFileInfoResponseProto};
use hathi_net::ipc::{PendingCall, RpcClient};
use rustix::process::Signal;
use std::time::{Duration, Instant};

const ROUNDS: u32 = 5;
/// Time after which a sent request is in the stopped process's socket.
const SENT: Duration = Duration::from_millis(100);
/// The lease that JournalNodes promise before their limit is lowered.
const PROMISED: Duration = Duration::from_secs(6);
/// How much of it is waited for. A lease is renewed when a third of it is over.
const WATCHED: Duration = Duration::from_millis(2500);

/// A NameNode whose clock stood still while it was stopped, as in a machine that was suspended, must not answer from
/// its old state.
pub(super) fn namenode_stands(setup: &Setup<'_>) -> Result<()> {
    let daemons = Daemons::started(setup.hathi, ClusterOptions::default(), &[])?;
    let client = Client::new(&daemons.conf())?;
    for round in 0..ROUNDS {
        let old = daemons.wait_for_active(&[]);
        let path = format!("/round-{round}");
        let at_old = client.namenode(&daemons, old)?;
        ensure!(
            client.wait(at_door(&at_old, &path))?.fs.is_none(),
            "{path} is there already"
        );
        let stopped = Instant::now();
        for role in [Role::Zkfc, Role::NameNode] {
            daemons.signal(role, old, Signal::STOP)?;
        }
        let read = at_door(&at_old, &path);
        let _ = daemons.wait_for_active(&[old]);
        client.mkdir(&path)?;
        let stood = stopped.elapsed();
        for role in [Role::Zkfc, Role::NameNode] {
            daemons.faults(role, old).fall_behind(stood)?;
            daemons.signal(role, old, Signal::CONT)?;
        }
        if let Ok(answer) = client.wait(read) {
            ensure!(
                answer.fs.is_some(),
                "stale read in round {round}: its clock stood for {stood:?}"
            );
        }
        wait_for("the old active as standby", PATIENCE, || {
            (daemons.state(old)? == "standby").then_some(())
        });
    }
    Ok(())
}

/// JournalNodes that are restarted with a shorter limit keep their promises.
pub(super) fn limit_lowered(setup: &Setup<'_>) -> Result<()> {
    let promised = PROMISED.as_millis().to_string();
    let long = [("hathi.lease.ms", promised.as_str()), ("hathi.lease.max.ms", "10000")];
    let mut daemons = Daemons::started(setup.hathi, ClusterOptions::default(), &long)?;
    let client = Client::new(&daemons.conf())?;
    let old = daemons.wait_for_active(&[]);
    let at_old = client.namenode(&daemons, old)?;
    ensure!(
        client.wait(at_door(&at_old, "/new"))?.fs.is_none(),
        "/new is there already"
    );
    let stopped = Instant::now();
    for role in [Role::Zkfc, Role::NameNode] {
        daemons.signal(role, old, Signal::STOP)?;
    }
    daemons.kill_role(Role::JournalNode)?;
    for index in daemons.of(Role::JournalNode) {
        daemons.configure(Role::JournalNode, index, &[("hathi.lease.max.ms", "200")])?;
    }
    daemons.start_role(Role::JournalNode)?;
    let read = at_door(&at_old, "/new");
    let others: Vec<u16> = daemons.of(Role::NameNode).filter(|index| *index != old).collect();
    while stopped.elapsed() < WATCHED {
        let second = others
            .iter()
            .find(|index| daemons.state(**index).is_some_and(|state| state == "active"));
        let early = stopped.elapsed();
        ensure!(
            second.is_none() || early > WATCHED,
            "another NameNode is active after {early:?} of a promised {PROMISED:?}"
        );
    }
    for role in [Role::NameNode, Role::Zkfc] {
        daemons.signal(role, old, Signal::CONT)?;
    }
    // No other NameNode may have become active meanwhile, so any answer is right.
    let _ = client.wait(read);
    let client = Client::new(&daemons.conf())?;
    client.mkdir("/new")
}

/// Sends a call at once. If the process is stopped, the call stays in the socket.
fn at_door(namenode: &RpcClient, path: &str) -> PendingCall<GetFileInfoResponseProto> {
    let request = GetFileInfoRequestProto { src: path.to_owned() };
    let call = namenode.call("getFileInfo", &request);
    std::thread::sleep(SENT);
    call
}

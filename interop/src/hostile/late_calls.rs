//! A call that is applied after its client has given up on it and made the opposite change.

use super::client::{Client, second_attempt, user};
use super::relay::CallRelay;
use super::{PATIENCE, Setup};
use crate::{ClusterOptions, Daemons, Role, wait_for};
use anyhow::{Context, Result, ensure};
use hathi_formats::proto::hdfs::{FsPermissionProto, SetPermissionRequestProto, SetPermissionResponseProto};
use hathi_net::ipc::{CallIds, RpcClient, RpcError};
use rustix::process::Signal;
use std::time::{Duration, Instant};

const PATH: &str = "/directory";
/// Time after which a sent call has at least reached the socket of its receiver.
const SENT: Duration = Duration::from_millis(300);
/// Time after which a call that is not blocked was served.
const DONE: Duration = Duration::from_secs(3);

fn permission(perm: u32) -> SetPermissionRequestProto {
    SetPermissionRequestProto {
        src: PATH.to_owned(),
        permission: FsPermissionProto { perm },
    }
}

/// A standby keeps the call while no NameNode is active. It stands still while another becomes active.
pub(super) fn kept(setup: &Setup<'_>) -> Result<()> {
    let mut daemons = started(setup)?;
    let old = daemons.wait_for_active(&[]);
    let standby = (old + 1) % 3;
    let client = Client::new(&daemons.conf())?;
    daemons.signal_role(Role::Zkfc, Signal::STOP)?;
    daemons.kill(Role::NameNode, old)?;
    let late = send(&client, &daemons, standby)?;
    late.connection.close();
    daemons.signal(Role::NameNode, standby, Signal::STOP)?;
    let next = (old + 2) % 3;
    daemons.signal(Role::Zkfc, next, Signal::CONT)?;
    ensure!(daemons.wait_for_active(&[old, standby]) == next, "another is active");
    set_again(&client, &daemons, next, &late)?;
    daemons.signal(Role::NameNode, standby, Signal::CONT)?;
    daemons.signal(Role::Zkfc, standby, Signal::CONT)?;
    stays(&client)
}

/// The call is on its way from a standby to the active, and the network delays it. The client no longer waits, but is
/// still connected.
pub(super) fn forwarded(setup: &Setup<'_>) -> Result<()> {
    let mut daemons = started(setup)?;
    let active = daemons.wait_for_active(&[]);
    let standby = (active + 1) % 3;
    let relay = CallRelay::start(&daemons.namenode_address(active)?)?;
    let key = format!("dfs.namenode.rpc-address.hathi.nn{active}");
    daemons.configure(Role::NameNode, standby, &[(&key, relay.address())])?;
    daemons.kill(Role::NameNode, standby)?;
    daemons.start(Role::NameNode, standby)?;
    wait_for("the standby to be back", PATIENCE, || {
        daemons.state(standby).filter(|state| state == "standby")
    });
    let client = Client::new(&daemons.conf())?;
    relay.hold("setPermission");
    // A standby that does not know the active yet sends its clients away.
    let late = wait_for("the call to be on its way to the active", PATIENCE, || {
        let late = send(&client, &daemons, standby).ok()?;
        relay.holds().then_some(late)
    });
    set_again(&client, &daemons, active, &late)?;
    relay.release();
    stays(&client)
}

fn started(setup: &Setup<'_>) -> Result<Daemons> {
    let daemons = Daemons::started(setup.hathi, ClusterOptions::default(), &[])?;
    Client::new(&daemons.conf())?.mkdir(PATH)?;
    Ok(daemons)
}

/// A call whose client no longer waits for it.
struct Late {
    connection: RpcClient,
    ids: CallIds,
}

/// Sends the mode 700 as a second attempt, which a standby keeps, and gives up on it.
fn send(client: &Client, daemons: &Daemons, standby: u16) -> Result<Late> {
    let connection = client.namenode(daemons, standby)?;
    let ids = second_attempt(1);
    let call =
        connection.call_with::<_, SetPermissionResponseProto>("setPermission", &permission(0o700), Some(ids), None);
    // It can't be observed that a call waits.
    std::thread::sleep(SENT);
    drop(call);
    Ok(Late { connection, ids })
}

/// The same client sets the mode 755, and gets an answer.
fn set_again(client: &Client, daemons: &Daemons, active: u16, late: &Late) -> Result<()> {
    let connection = client.connect(&daemons.namenode_address(active)?, &user())?;
    let started = Instant::now();
    for call_id in 2.. {
        let ids = CallIds {
            call_id,
            retry_count: 0,
            ..late.ids
        };
        let call = connection.call_with("setPermission", &permission(0o755), Some(ids), None);
        let answer: Result<SetPermissionResponseProto, RpcError> = client.wait(call);
        match answer {
            Ok(_) => break,
            Err(error) if started.elapsed() < PATIENCE => eprintln!("again: {error}"),
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(SENT);
    }
    Ok(())
}

fn stays(client: &Client) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < DONE {
        let status = wait_for("the directory's status", PATIENCE, || {
            client.wait(client.fs.status(PATH)).ok()
        });
        let perm = status.context("it is gone")?.permission.perm;
        ensure!(perm == 0o755, "755 was acknowledged last, and it is {perm:o}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

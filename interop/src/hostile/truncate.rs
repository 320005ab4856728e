//! A truncate inside a block that was acknowledged before any DataNode was told of it.

use super::client::{Client, content};
use super::{PATIENCE, Setup};
use crate::{ClusterOptions, Daemons, Role, wait_for};
use anyhow::{Context, Result, ensure};
use hathi_formats::proto::hdfs;
use hathi_net::ipc::Idempotence;
use rustix::process::Signal;
use std::time::Duration;

const LONG: usize = 100;
const SHORT: usize = 40;
const FILE: &str = "/file";
/// Time after which an unfinished recovery is given up: 30 heartbeats, of a second each in these clusters.
const EXPIRED: Duration = Duration::from_secs(35);

/// The active is killed before the DataNodes go on.
pub(super) fn failover(setup: &Setup<'_>) -> Result<()> {
    truncated(setup, |daemons| {
        let active = daemons.wait_for_active(&[]);
        daemons.kill(Role::NameNode, active)?;
        let _ = daemons.wait_for_active(&[active]);
        Ok(())
    })
}

/// All NameNodes start from an image that was saved before the DataNodes go on.
pub(super) fn checkpoint(setup: &Setup<'_>) -> Result<()> {
    truncated(setup, |daemons| {
        daemons.hathi("dfsadmin", &["-safemode", "enter"])?;
        daemons.hathi("dfsadmin", &["-saveNamespace"])?;
        daemons.kill_role(Role::NameNode)?;
        daemons.start_role(Role::NameNode)?;
        let _ = daemons.wait_for_active(&[]);
        Ok(())
    })
}

/// The DataNode with the order to recover the block does nothing until the attempt has expired.
pub(super) fn expired(setup: &Setup<'_>) -> Result<()> {
    truncated(setup, |_| {
        // The test is about time: no event tells that an attempt has expired.
        std::thread::sleep(EXPIRED);
        Ok(())
    })
}

fn truncated(setup: &Setup<'_>, between: impl FnOnce(&mut Daemons) -> Result<()>) -> Result<()> {
    // A DataNode that stands still for a while is not dead.
    let patient = [("dfs.namenode.heartbeat.recheck-interval", "300000")];
    let mut daemons = Daemons::started(setup.hathi, ClusterOptions::default(), &patient)?;
    let client = Client::new(&daemons.conf())?;
    let bytes = content(1, LONG);
    client.write(FILE, &bytes, 3)?;
    daemons.signal_role(Role::DataNode, Signal::STOP)?;
    match setup.hadoop {
        Some(hadoop) => drop(hadoop.run_ok(&daemons.conf(), "dfs", &["-truncate", &SHORT.to_string(), FILE])?),
        None => truncate(&client)?,
    }
    between(&mut daemons)?;
    daemons.signal_role(Role::DataNode, Signal::CONT)?;
    match setup.hadoop {
        Some(hadoop) => {
            let recover = ["recoverLease", "-path", FILE, "-retries", "60"];
            let tool = "org.apache.hadoop.hdfs.tools.DebugAdmin";
            let said = hadoop.run_ok(&daemons.conf(), tool, &recover)?;
            ensure!(said.contains("SUCCEEDED"), "{said}");
        }
        None => client.close_by_recovery(FILE),
    }
    let read = wait_for("the file to be readable", PATIENCE, || client.read(FILE).ok());
    ensure!(
        read == bytes[..SHORT],
        "{} bytes after an acknowledged truncate to {SHORT}",
        read.len()
    );
    let status = client.wait(client.fs.status(FILE))?.context("it is gone")?;
    ensure!(status.length == SHORT as u64, "its status says {}", status.length);
    Ok(())
}

fn truncate(client: &Client) -> Result<()> {
    let request = hdfs::TruncateRequestProto {
        src: FILE.to_owned(),
        new_length: SHORT as u64,
        client_name: client.fs.options().client_name.clone(),
    };
    let call = client.fs.call("truncate", &request, Idempotence::AtMostOnce);
    let done: hdfs::TruncateResponseProto = client.try_wait(PATIENCE, call)?;
    ensure!(!done.result, "done without a DataNode");
    Ok(())
}

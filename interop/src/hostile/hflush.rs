//! Bytes that were acknowledged in files that were never closed. Everything is killed, and the DataNodes are started
//! last.

use super::client::{Client, content};
use super::{PATIENCE, Setup};
use crate::{ClusterOptions, Daemons, Role, wait_for};
use anyhow::{Context, Result, ensure};
use hathi_client::CreateOptions;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

const FILE: &str = "/file";
/// How long lease recovery is requested while no DataNode runs.
const ALONE: Duration = Duration::from_secs(10);
/// Data bytes of a full packet, which is sent without a flush.
const PACKET: usize = 126 * 512;

/// The NameNode was never told the length.
pub(super) fn untold_length(setup: &Setup<'_>) -> Result<()> {
    let mut daemons = Daemons::started(setup.hathi, ClusterOptions::default(), &[])?;
    let bytes = content(3, PACKET);
    let writer = Client::new(&daemons.conf())?;
    let mut file = writer.try_wait(PATIENCE, writer.fs.create(FILE, &CreateOptions::default()))?;
    writer.try_wait(PATIENCE, file.write(&bytes))?;
    // A reader sees the bytes that every DataNode has acknowledged.
    let reader = Client::new(&daemons.conf())?;
    wait_for("the packet to be acknowledged", PATIENCE, || {
        (reader.read(FILE).ok()? == bytes).then_some(())
    });
    drop(file);
    drop(writer);
    survives(&mut daemons, &bytes)
}

/// The same with Hadoop's client, which reports the length with its first hflush.
pub(super) fn hadoop(setup: &Setup<'_>) -> Result<()> {
    let Some(hadoop) = setup.hadoop else { return Ok(()) };
    let mut daemons = Daemons::started(setup.hathi, ClusterOptions::default(), &[])?;
    let mut writer = hadoop
        .command(&daemons.conf(), "FlushingClient.java", &[FILE, "100"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(writer.stdout.take().context("stdout")?).lines();
    let flushed = lines.map_while(Result::ok).any(|line| line == "flushed");
    writer.kill()?;
    writer.wait()?;
    ensure!(flushed, "Hadoop's client could not flush");
    survives(&mut daemons, &[7; 100])
}

fn survives(daemons: &mut Daemons, bytes: &[u8]) -> Result<()> {
    daemons.kill_all()?;
    for role in [Role::JournalNode, Role::NameNode, Role::Zkfc] {
        daemons.start_role(role)?;
    }
    let client = Client::new(&daemons.conf())?;
    let started = Instant::now();
    let mut closed = false;
    while started.elapsed() < ALONE {
        // At first no NameNode serves.
        closed |= client.recover_lease(FILE).is_ok_and(|closed| closed);
        std::thread::sleep(Duration::from_millis(50));
    }
    daemons.start_role(Role::DataNode)?;
    if !closed {
        client.close_by_recovery(FILE);
    }
    let read = wait_for("the file to be readable", PATIENCE, || client.read(FILE).ok());
    ensure!(
        read == bytes,
        "{} of {} acknowledged bytes are left",
        read.len(),
        bytes.len()
    );
    Ok(())
}

//! A file whose last block is complete for the block manager, and whose close was never acknowledged.

use super::client::{Client, content};
use super::relay::CallRelay;
use super::{PATIENCE, Setup};
use crate::{ClusterOptions, Daemons, Role, wait_for};
use anyhow::{Context, Result, ensure};
use hathi_client::CreateOptions;
use hathi_formats::proto::hdfs;
use hathi_net::ipc::Idempotence;
use std::time::Duration;

const FILE: &str = "/file";

/// recoverLease closes it.
pub(super) fn recover_lease(setup: &Setup<'_>) -> Result<()> {
    let (daemons, client) = left_open(setup, &[])?;
    let before = generation_stamps(&daemons)?;
    client.close_by_recovery(FILE);
    closed_whole(&daemons, &client, before)
}

/// The hard limit closes it.
pub(super) fn hard_limit(setup: &Setup<'_>) -> Result<()> {
    let (daemons, client) = left_open(setup, &[("dfs.namenode.lease-hard-limit-sec", "6")])?;
    let before = generation_stamps(&daemons)?;
    wait_for("the file to be closed by the hard limit", PATIENCE, || {
        let request = hdfs::IsFileClosedRequestProto { src: FILE.to_owned() };
        let call = client.fs.call("isFileClosed", &request, Idempotence::Idempotent);
        let answer: hdfs::IsFileClosedResponseProto = client.try_wait(PATIENCE, call).ok()?;
        answer.result.then_some(())
    });
    closed_whole(&daemons, &client, before)
}

/// The block is committed by a `complete` that is answered false. Then its DataNode reports it, and the client dies.
fn left_open(setup: &Setup<'_>, more: &[(&str, &str)]) -> Result<(Daemons, Client)> {
    let options = ClusterOptions {
        datanodes: 1,
        ..ClusterOptions::default()
    };
    let daemons = Daemons::started(setup.hathi, options, more)?;
    let client = Client::new(&daemons.conf())?;
    let active = daemons.wait_for_active(&[]);
    let relay = CallRelay::start(&daemons.namenode_address(active)?)?;
    let writer = Client::of(&daemons.conf(), relay.address())?;
    let options = CreateOptions {
        replication: Some(1),
        ..CreateOptions::default()
    };
    let mut file = writer.try_wait(PATIENCE, writer.fs.create(FILE, &options))?;
    writer.try_wait(PATIENCE, async {
        file.write(&content(4, 100)).await?;
        file.flush(false).await
    })?;
    let mut last = client.locations(FILE)?.last_block.context("no last block")?.b;
    last.num_bytes = Some(100);
    let request = hdfs::CompleteRequestProto {
        src: FILE.to_owned(),
        client_name: writer.fs.options().client_name.clone(),
        last: Some(last),
        file_id: None,
    };
    let direct = client.namenode(&daemons, active)?;
    let answer: hdfs::CompleteResponseProto = client.wait(direct.call("complete", &request))?;
    ensure!(!answer.result, "completed before the DataNode has finalized the block");
    relay.cut();
    // The DataNode gets the end of the block, and the NameNode does not.
    let closed = writer.try_wait(Duration::from_secs(3), file.close());
    ensure!(closed.is_err(), "closed without a NameNode");
    wait_for("the block to be finalized", PATIENCE, || {
        let dir = daemons.data_dir(Role::DataNode, 0);
        super::corrupt::blocks(&dir)
            .iter()
            .any(|path| path.components().any(|part| part.as_os_str() == "finalized"))
            .then_some(())
    });
    Ok((daemons, client))
}

fn closed_whole(daemons: &Daemons, client: &Client, before: usize) -> Result<()> {
    ensure!(client.read(FILE)? == content(4, 100), "it was closed with other bytes");
    let more = generation_stamps(daemons)? - before;
    ensure!(more <= 1, "{more} new generation stamps were logged for one recovery");
    Ok(())
}

/// Number of SetGenstampV2 ops in the journal.
fn generation_stamps(daemons: &Daemons) -> Result<usize> {
    daemons.hathi("dfsadmin", &["-rollEdits"])?;
    let mut most = 0;
    for index in daemons.of(Role::JournalNode) {
        let mut count = 0;
        for entry in std::fs::read_dir(daemons.data_dir(Role::JournalNode, index).join("hathi/current"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("edits_0") {
                let path = entry.path().display().to_string();
                let xml = daemons.hathi("oev", &["-i", &path, "-o", "-"])?;
                count += xml.matches("OP_SET_GENSTAMP_V2").count();
            }
        }
        most = most.max(count);
    }
    Ok(most)
}

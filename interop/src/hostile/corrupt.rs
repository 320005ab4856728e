//! Replicas that rot on disk and are found by a reader, followed by a failover.

use super::client::{Client, content, user};
use super::{PATIENCE, Setup};
use crate::{ClusterOptions, Daemons, Role, wait_for};
use anyhow::{Context, Result, ensure};
use hathi_conf::Configuration;
use hathi_formats::proto::hdfs::{
    LocatedBlockProto, ReportBadBlocksRequestProto, ReportBadBlocksResponseProto, TriggerBlockReportRequestProto,
    TriggerBlockReportResponseProto,
};
use hathi_net::ipc::protocols::CLIENT_DATANODE_PROTOCOL;
use hathi_net::ipc::{ClientOptions, Idempotence, connect_to};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FILES: usize = 20;
const LENGTH: usize = 1000;
const REPLICATION: u32 = 2;

/// The data files of all replicas below a DataNode's directory.
pub(super) fn blocks(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(blocks(&path));
        } else if name.starts_with("blk_") && !name.ends_with(".meta") {
            found.push(path);
        }
    }
    found
}

fn path(number: usize) -> String {
    format!("/files/{number}")
}

/// Content of each replica, by the block's id and the DataNode's index.
fn replicas(daemons: &Daemons) -> BTreeMap<(String, u16), Vec<u8>> {
    let mut all = BTreeMap::new();
    for index in daemons.of(Role::DataNode) {
        for path in blocks(&daemons.data_dir(Role::DataNode, index)) {
            // The file may have just been deleted.
            if let (Some(name), Ok(bytes)) = (path.file_name(), std::fs::read(&path)) {
                all.insert((name.to_string_lossy().into_owned(), index), bytes);
            }
        }
    }
    all
}

struct File {
    number: usize,
    block: LocatedBlockProto,
    /// Index of the DataNode whose replica has rotted.
    rotten: u16,
}

impl File {
    fn content(&self) -> Vec<u8> {
        content(self.number as u64, LENGTH)
    }

    /// The content of its replicas on all disks.
    fn on<'a>(&self, disks: &'a BTreeMap<(String, u16), Vec<u8>>) -> Vec<&'a Vec<u8>> {
        let name = format!("blk_{}", self.block.b.block_id);
        let of_block = disks.iter().filter(|((block, _), _)| *block == name);
        of_block.map(|(_, bytes)| bytes).collect()
    }
}

/// The active is killed as soon as the replicas are reported to it, and all DataNodes send full reports. Each block is
/// replicated again from its good replica before it is read.
pub(super) fn failover(setup: &Setup<'_>) -> Result<()> {
    let (daemons, client, files) = known_at_the_end(setup)?;
    wait_for("two good replicas of each block, and no other", PATIENCE, || {
        let disks = replicas(&daemons);
        let whole = files.iter().all(|file| {
            let of_block = file.on(&disks);
            of_block.len() == REPLICATION as usize && of_block.iter().all(|bytes| **bytes == file.content())
        });
        whole.then_some(())
    });
    readers_are_safe(&client, &files)
}

/// As [`failover`], and the replication is lowered to one at once. The good replica must stay.
pub(super) fn lowered(setup: &Setup<'_>) -> Result<()> {
    let (daemons, client, files) = known_at_the_end(setup)?;
    for file in &files {
        client.set_replication(&path(file.number), 1)?;
    }
    wait_for("one replica of each block", PATIENCE, || {
        let disks = replicas(&daemons);
        files.iter().all(|file| file.on(&disks).len() == 1).then_some(())
    });
    readers_are_safe(&client, &files)
}

/// Starts a cluster, has rotten replicas reported to its active, kills that and waits for the next one.
fn known_at_the_end(setup: &Setup<'_>) -> Result<(Daemons, Client, Vec<File>)> {
    // Only the reader finds the rotten replicas.
    let unscanned = [("dfs.datanode.scan.period.hours", "-1")];
    let mut daemons = Daemons::started(setup.hathi, ClusterOptions::default(), &unscanned)?;
    let client = Client::new(&daemons.conf())?;
    for number in 0..FILES {
        client.write(&path(number), &content(number as u64, LENGTH), REPLICATION)?;
    }
    let files = rot(&daemons, &client)?;
    let active = daemons.wait_for_active(&[]);
    // Nothing is replicated or deleted meanwhile.
    daemons.signal_role(Role::DataNode, Signal::STOP)?;
    for file in &files {
        report(&daemons, &client, file)?;
    }
    daemons.kill(Role::NameNode, active)?;
    let _ = daemons.wait_for_active(&[active]);
    daemons.signal_role(Role::DataNode, Signal::CONT)?;
    report_everything(&daemons, &client)?;
    Ok((daemons, client, files))
}

/// Changes a byte in one replica of every file.
fn rot(daemons: &Daemons, client: &Client) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for number in 0..FILES {
        let block = client.locations(&path(number))?.last_block.context("no block")?;
        let name = format!("blk_{}", block.b.block_id);
        let mut found = Vec::new();
        for index in daemons.of(Role::DataNode) {
            let dir = daemons.data_dir(Role::DataNode, index);
            found.extend(
                blocks(&dir)
                    .into_iter()
                    .filter(|path| path.ends_with(&name))
                    .map(|path| (index, path)),
            );
        }
        ensure!(
            found.len() == REPLICATION as usize,
            "{} replicas of {name}",
            found.len()
        );
        let (rotten, replica) = found.swap_remove(number % found.len());
        let mut bytes = std::fs::read(&replica)?;
        bytes[LENGTH / 2] ^= 0x55;
        std::fs::write(&replica, bytes)?;
        files.push(File { number, block, rotten });
    }
    Ok(files)
}

/// Reports a rotten replica, as a reader does that has met it.
fn report(daemons: &Daemons, client: &Client, file: &File) -> Result<()> {
    let address = setting(daemons, file.rotten, "dfs.datanode.address")?;
    let mut block = file.block.clone();
    let index = block
        .locs
        .iter()
        .position(|node| address.ends_with(&format!(":{}", node.id.xfer_port)))
        .context("the NameNode does not know this replica")?;
    block.locs = vec![block.locs[index].clone()];
    block.storage_i_ds = block.storage_i_ds.get(index).cloned().into_iter().collect();
    block.storage_types.clear();
    block.is_cached.clear();
    let request = ReportBadBlocksRequestProto { blocks: vec![block] };
    let call = client.fs.call("reportBadBlocks", &request, Idempotence::Idempotent);
    let _: ReportBadBlocksResponseProto = client.try_wait(PATIENCE, call)?;
    Ok(())
}

/// All DataNodes send full reports to all NameNodes.
fn report_everything(daemons: &Daemons, client: &Client) -> Result<()> {
    for index in daemons.of(Role::DataNode) {
        let address = setting(daemons, index, "dfs.datanode.ipc.address")?;
        let options = ClientOptions::new(&user());
        let datanode = client.wait(connect_to(&address, &CLIENT_DATANODE_PROTOCOL, &options))?;
        let request = TriggerBlockReportRequestProto {
            incremental: false,
            nn_address: None,
        };
        let _: TriggerBlockReportResponseProto = client.wait(datanode.call("triggerBlockReport", &request))?;
    }
    Ok(())
}

fn setting(daemons: &Daemons, datanode: u16, key: &'static str) -> Result<String> {
    Configuration::load(&daemons.daemon_conf(Role::DataNode, datanode))?
        .get(key)
        .context(key)
}

/// Every reader gets the right bytes.
fn readers_are_safe(client: &Client, files: &[File]) -> Result<()> {
    for file in files {
        let bytes = client.read(&path(file.number))?;
        ensure!(bytes == file.content(), "{} reads as other bytes", path(file.number));
    }
    Ok(())
}

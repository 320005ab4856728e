//! Striped files: Hadoop's own client codes, our DataNodes keep the internal blocks, and NameNodes of both kinds know them.

use anyhow::{Result, ensure};
use hathi_interop::{FileClient, Hadoop, Kind, Pair, SharedEdits, Single, wait_for};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
/// As many as a group of XOR-2-1-1024k has blocks.
const DATANODES: u16 = 3;
const CELL: u64 = 1 << 20;
/// Bytes of a file in each group, of blocks of two cells.
const GROUP: u64 = 4 * CELL;
/// Nothing, a byte, a cell, more than a stripe, and more than a group.
const LENGTHS: [u64; 6] = [0, 1, CELL, 2 * CELL + 1, GROUP, GROUP + 3 * CELL + 5];

const MORE: &[(&str, &str)] = &[
    ("dfs.blocksize", "2097152"),
    ("dfs.heartbeat.interval", "1"),
    ("dfs.namenode.heartbeat.recheck-interval", "3000"),
    ("dfs.namenode.datanode.registration.ip-hostname-check", "false"),
    ("dfs.replication", "1"),
];

fn path(length: u64) -> String {
    format!("/coded/{length}")
}

fn write_all(client: &mut FileClient) -> Result<()> {
    client.run("policy /coded XOR-2-1-1024k")?;
    for length in LENGTHS {
        client.run(&format!("write {} {length}", path(length)))?;
    }
    Ok(())
}

fn assert_read(client: &mut FileClient, when: &str) -> Result<()> {
    for length in LENGTHS {
        let read = client.run(&format!("read {}", path(length)))?;
        ensure!(read == format!("{length} whole"), "{when}: {} is {read}", path(length));
    }
    Ok(())
}

fn described(client: &mut FileClient) -> Result<Vec<String>> {
    let all = LENGTHS
        .iter()
        .map(|length| client.run(&format!("describe {}", path(*length))));
    all.collect()
}

/// What Hadoop's NameNode says of the files, as it was seen.
fn assert_described(client: &mut FileClient) -> Result<()> {
    for (told, length) in described(client)?.iter().zip(LENGTHS) {
        let parity: u64 = match length {
            0 => 0,
            _ => {
                let groups = [GROUP.min(length), length.saturating_sub(GROUP)];
                let parity = |group: u64| group / (2 * CELL) * CELL + (group % (2 * CELL)).min(CELL);
                groups.into_iter().map(parity).sum()
            }
        };
        let wanted = format!(
            "XOR-2-1-1024k isErasureCoded=true length={length} replication=1 blockSize=2097152 \
             summary={length},{},XOR-2-1-1024k policy=XOR-2-1-1024k",
            length + parity
        );
        ensure!(told.starts_with(&wanted), "{told}\n instead of\n{wanted}");
    }
    Ok(())
}

#[test]
fn hadoops_client_writes_striped_files_to_our_cluster_and_reads_them_without_a_datanode_and_after_a_failover()
-> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut pair = Pair::new(HATHI, Some(hadoop.clone()), SharedEdits::Directory, MORE)?;
    let conf = pair.conf(0);
    pair.namenode(Kind::Ours, &conf, &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, Kind::Ours, &conf)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    pair.namenode(Kind::Ours, &pair.conf(1), &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Kind::Ours, &pair.conf(1))?;
    for index in 0..DATANODES {
        pair.start_datanode(index, Kind::Ours)?;
    }
    wait_for("all DataNodes", PATIENCE, || {
        let report = pair.run("dfsadmin", &["-report"]).ok()?;
        report.contains("Live datanodes (3)").then_some(())
    });
    let mut client = FileClient::of(&hadoop, &conf, "StripedClient.java", &[])?;
    write_all(&mut client)?;
    assert_read(&mut client, "written")?;
    assert_described(&mut client)?;
    client.run(&format!("append {} 7", path(CELL)))?;
    ensure!(client.run(&format!("read {}", path(CELL)))? == format!("{} whole", CELL + 7));
    let fsck = pair.run("fsck", &["/coded", "-files", "-blocks", "-locations"])?;
    for words in [
        "erasure-coded: policy=XOR-2-1-1024k, 2 block(s):  OK",
        "Missing internal blocks:\t0 (0.0 %)",
        "is HEALTHY",
    ] {
        ensure!(fsck.contains(words), "no {words:?} in:\n{fsck}");
    }
    // Our client reads what it need not decode, and says what it lacks.
    let local = pair.run("dfs", &["-checksum", "/coded/1"]);
    ensure!(local.is_err(), "a checksum of what is striped otherwise: {local:?}");
    pair.run("dfs", &["-cat", &path(GROUP)])?;
    client.run(&format!("write {} {CELL}", path(CELL)))?;

    pair.run("haadmin", &["-failover", "nn0", "nn1"])?;
    assert_read(&mut client, "after a failover")?;
    pair.kill_datanode(1)?;
    assert_read(&mut client, "without a DataNode")?;
    pair.run("haadmin", &["-failover", "nn1", "nn0"])?;
    assert_read(&mut client, "without a DataNode, after a failover")?;
    Ok(())
}

#[test]
fn striped_files_go_in_images_and_edits_from_hadoops_namenode_to_ours_and_back() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut single = Single::new(HATHI, Some(hadoop.clone()), 1, MORE)?;
    single.run_to_end(Kind::Hadoops, "namenode", &["-format", "-nonInteractive"])?;
    single.start_namenode(Kind::Hadoops)?;
    for index in 0..DATANODES {
        single.start_datanode(index)?;
    }
    let start = |single: &Single| -> Result<FileClient> {
        let mut client = FileClient::of(&hadoop, &single.conf(), "StripedClient.java", &[])?;
        client.run("safe")?;
        wait_for("all DataNodes", PATIENCE, || {
            let report = single.tool("dfsadmin", &["-report"]).ok()?;
            report.contains("Live datanodes (3)").then_some(())
        });
        Ok(client)
    };
    let mut client = start(&single)?;
    write_all(&mut client)?;
    assert_described(&mut client)?;
    let mut told = described(&mut client)?;
    // Edits first, and then an image; each kind has made what the other one reads.
    for (kind, is_saved) in [
        (Kind::Ours, false),
        (Kind::Ours, true),
        (Kind::Hadoops, false),
        (Kind::Ours, true),
        (Kind::Hadoops, true),
    ] {
        if is_saved {
            client.run("save")?;
        }
        drop(client);
        single.kill_namenode()?;
        single.start_namenode(kind)?;
        client = start(&single)?;
        let when = format!("{kind:?}, from an image: {is_saved}");
        assert_read(&mut client, &when)?;
        let now = described(&mut client)?;
        ensure!(now == told, "{when}:\n{now:?}\n instead of\n{told:?}");
        // Written anew, so that the next ones get edits and ids of this kind.
        client.run(&format!("write {} {GROUP}", path(GROUP)))?;
        told = described(&mut client)?;
    }
    Ok(())
}

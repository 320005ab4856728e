//! Striped files: Hadoop's own client codes, our DataNodes keep the internal blocks, and NameNodes of both kinds know them.

use anyhow::{Context, Result, ensure};
use hathi_formats::datatransfer::ChecksumType;
use hathi_interop::{FileClient, Hadoop, Kind, Pair, SharedEdits, Single, wait_for};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
const XOR: &str = "XOR-2-1-1024k";
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

fn write_all(client: &mut FileClient, policy: &str) -> Result<()> {
    client.run(&format!("policy /coded {policy}"))?;
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

/// As [`described`], once the NameNode has heard of every internal block: a file is complete before it has.
fn described_in_full(client: &mut FileClient, data_units: u64, parity_units: u64) -> Vec<String> {
    // A group is told as ID+OFFSET+LENGTH:[INDEX,...].
    let is_full = |group: &str| -> Option<bool> {
        let (place, indices) = group.split_once(":[")?;
        let length: u64 = place.rsplit('+').next()?.parse().ok()?;
        let wanted = length.div_ceil(CELL).min(data_units) + parity_units;
        Some(indices.split(',').count() as u64 == wanted)
    };
    wait_for("all internal blocks", PATIENCE, || {
        let told = described(client).ok()?;
        let mut groups = told.iter().flat_map(|file| file.split(' ').filter_map(is_full));
        groups.all(|is_full| is_full).then_some(told)
    })
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
    write_all(&mut client, XOR)?;
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
    client.run(&format!("write {} {CELL}", path(CELL)))?;
    let checksums = assert_checksums(&mut client, &pair, "written")?;
    assert_our_client_reads(&pair, "written")?;
    assert_our_client_writes(&mut client, &pair, "written")?;
    assert_described(&mut client)?;
    pair.run("fsck", &["/coded"])?;

    pair.run("haadmin", &["-failover", "nn0", "nn1"])?;
    assert_read(&mut client, "after a failover")?;
    pair.kill_datanode(1)?;
    assert_read(&mut client, "without a DataNode")?;
    assert_our_client_reads(&pair, "without a DataNode")?;
    // The NameNode still hands it out.
    assert_our_client_writes(&mut client, &pair, "without a DataNode")?;
    let now = assert_checksums(&mut client, &pair, "without a DataNode")?;
    ensure!(now == checksums, "{now:?} instead of {checksums:?}");
    pair.run("haadmin", &["-failover", "nn1", "nn0"])?;
    assert_read(&mut client, "without a DataNode, after a failover")?;
    Ok(())
}

/// Bytes of the files as `StripedClient.java` writes them.
fn content(length: u64) -> Vec<u8> {
    let byte = |at: u64| (at.wrapping_mul(31) + (at >> 8) + (at >> 20) * 7) as u8;
    (0..length).map(byte).collect()
}

fn assert_our_client_reads(pair: &Pair, when: &str) -> Result<()> {
    for length in LENGTHS {
        let output = pair.tool("dfs", &["-cat", &path(length)]).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{when}: {} is not read: {told}", path(length));
        ensure!(output.stdout == content(length), "{when}: {} has changed", path(length));
    }
    Ok(())
}

/// Our client writes the files again, and Hadoop's finds in them what it would have written.
fn assert_our_client_writes(client: &mut FileClient, pair: &Pair, when: &str) -> Result<()> {
    let local = pair.datanode_dir(0).with_file_name("local");
    for length in LENGTHS {
        std::fs::write(&local, content(length))?;
        pair.run("dfs", &["-put", "-f", &local.to_string_lossy(), &path(length)])?;
    }
    assert_read(client, &format!("{when} by our client"))
}

/// Both clients tell the same checksums, and that which does not depend on blocks is the one of the bytes.
fn assert_checksums(client: &mut FileClient, pair: &Pair, when: &str) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for length in LENGTHS {
        let composite = client.run(&format!("crc {}", path(length)))?;
        let crc = ChecksumType::Crc32c.checksum(&content(length));
        ensure!(
            length == 0 || composite == format!("COMPOSITE-CRC32C:0x{crc:08x}"),
            "{when}: {composite} of {length}"
        );
        let told = client.run(&format!("checksum {}", path(length)))?;
        let (algorithm, md5) = told.split_once(':').context("a checksum")?;
        let ours = pair.run("dfs", &["-checksum", &path(length)])?;
        ensure!(
            ours.contains(algorithm) && ours.trim_end().ends_with(md5),
            "{when}: {ours} instead of {told}"
        );
        all.push(told);
    }
    Ok(all)
}

/// Number of internal blocks on a DataNode, and the bytes of those that are being written.
fn internal_blocks(pair: &Pair, index: u16) -> (usize, u64) {
    let (mut finalized, mut written) = (0, 0);
    let mut dirs = vec![pair.datanode_dir(index)];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                dirs.push(path);
            } else if name.starts_with("blk_-") && !name.ends_with(".meta") {
                match path.components().any(|part| part.as_os_str() == "rbw") {
                    true => written += entry.metadata().map_or(0, |metadata| metadata.len()),
                    false => finalized += 1,
                }
            }
        }
    }
    (finalized, written)
}

/// So many DataNodes of ours with a NameNode of a kind.
fn datanodes(hadoop: &Hadoop, kind: Kind, count: u16) -> Result<Pair> {
    let mut pair = Pair::new(HATHI, Some(hadoop.clone()), SharedEdits::Directory, MORE)?;
    let conf = pair.conf(0);
    pair.namenode(kind, &conf, &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, kind, &conf)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    for index in 0..count {
        pair.start_datanode(index, Kind::Ours)?;
    }
    wait_for("all DataNodes", PATIENCE, || {
        let report = pair.run("dfsadmin", &["-report"]).ok()?;
        report.contains(&format!("Live datanodes ({count})")).then_some(())
    });
    Ok(pair)
}

/// Loses a DataNode with all that it has, waits until others have made that anew, and reads without as many others as the
/// policy bears, so that what was made is needed.
fn lost_blocks_come_back(kind: Kind, policy: &str, data_units: u16, parity_units: u16) -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let count = data_units + parity_units + 1;
    let mut pair = datanodes(&hadoop, kind, count)?;
    let mut client = FileClient::of(&hadoop, &pair.conf(0), "StripedClient.java", &[])?;
    write_all(&mut client, policy)?;
    let whole = described_in_full(&mut client, data_units.into(), parity_units.into());
    let lost = (0..count).max_by_key(|index| internal_blocks(&pair, *index).0);
    let lost = lost.context("a DataNode")?;
    ensure!(internal_blocks(&pair, lost).0 > 0, "it has something to lose");
    pair.kill_datanode(lost)?;
    std::fs::remove_dir_all(pair.datanode_dir(lost))?;
    let address = pair.datanode_address(lost).to_string();
    wait_for("the lost blocks", 2 * PATIENCE, || {
        let fsck = pair.run("fsck", &["/coded", "-files", "-blocks", "-locations"]).ok()?;
        // Until the DataNode's death is noticed it counts as a holder.
        (!fsck.contains(&address) && described(&mut client).ok()? == whole).then_some(())
    });
    let left: Vec<u16> = (0..count).filter(|index| *index != lost).collect();
    // All that are left hold a block of each group. Who made a lost block is missing at most once.
    for stopped in left.chunks_exact(parity_units.into()).take(2) {
        for index in stopped {
            pair.kill_datanode(*index)?;
        }
        let when = format!("without {lost}, which was lost, and {stopped:?}");
        assert_read(&mut client, &when)?;
        assert_our_client_reads(&pair, &when)?;
        for index in stopped {
            pair.start_datanode(*index, Kind::Ours)?;
        }
        wait_for("the blocks of those that were stopped", PATIENCE, || {
            (described(&mut client).ok()? == whole).then_some(())
        });
    }
    Ok(())
}

#[test]
fn our_datanodes_make_lost_internal_blocks_anew_for_our_namenode() -> Result<()> {
    lost_blocks_come_back(Kind::Ours, "RS-3-2-1024k", 3, 2)
}

#[test]
fn our_datanodes_make_lost_internal_blocks_anew_for_hadoops_namenode() -> Result<()> {
    lost_blocks_come_back(Kind::Hadoops, "XOR-2-1-1024k", 2, 1)
}

#[test]
fn a_striped_file_whose_writer_is_gone_ends_at_its_last_whole_stripe() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let pair = datanodes(&hadoop, Kind::Ours, DATANODES)?;
    let start = || FileClient::of(&hadoop, &pair.conf(0), "StripedClient.java", &[]);
    let mut writer = start()?;
    writer.run("policy /coded XOR-2-1-1024k")?;
    // A stripe, and three quarters of the next one. The last packets of cells, and the parity of what is no stripe, wait in
    // the client.
    writer.run(&format!("leave /coded/open {}", 3 * CELL + CELL / 2))?;
    wait_for("the stripe", PATIENCE, || {
        let is_there = |index: &u16| internal_blocks(&pair, *index).1 >= CELL;
        ((0..DATANODES).filter(is_there).count() >= 2).then_some(())
    });
    drop(writer);
    let mut client = start()?;
    wait_for("the recovery of the lease", 2 * PATIENCE, || {
        let told = client.run("recover /coded/open").ok()?;
        (told == "true").then_some(())
    });
    let read = client.run("read /coded/open")?;
    ensure!(read == format!("{} whole", 2 * CELL), "{read}");
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
    write_all(&mut client, XOR)?;
    assert_described(&mut client)?;
    let mut told = described_in_full(&mut client, 2, 1);
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
        let now = described_in_full(&mut client, 2, 1);
        ensure!(now == told, "{when}:\n{now:?}\n instead of\n{told:?}");
        // Written anew, so that the next ones get edits and ids of this kind.
        client.run(&format!("write {} {GROUP}", path(GROUP)))?;
        told = described_in_full(&mut client, 2, 1);
    }
    Ok(())
}

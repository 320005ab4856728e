//! Hadoop's NameNodes in place of ours and beside ours: on our images, which either makes of the other's edits, with files
//! that are being written, appended to and truncated, as an observer, and five in all that take turns.

use anyhow::{Context, Result, ensure};
use hathi_formats::fsimage::{Image, ImageCodec, ImageWriter, write_xml};
use hathi_interop::{FailoverClient, FileClient, Hadoop, Kind, Load, Pair, Role, SharedEdits, wait_for};
use hathi_net::http;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

/// The newest image in a NameNode's directory.
fn newest_image(pair: &Pair, index: usize) -> Result<PathBuf> {
    let entries = std::fs::read_dir(pair.name_dir(index).join("current"))?;
    let mut images: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    images.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("fsimage_") && !name.contains('.')
    });
    images.sort();
    images.pop().context("no image")
}

/// The inodes of the newest image in a NameNode's directory, as Hadoop's viewer shows them.
fn inodes(hadoop: &Hadoop, pair: &Pair, index: usize) -> Result<BTreeSet<String>> {
    let image = newest_image(pair, index)?.display().to_string();
    let xml = image.replace("fsimage_", "viewed_");
    hadoop.run_ok(&pair.conf(index), "oiv", &["-p", "XML", "-i", &image, "-o", &xml])?;
    let text = std::fs::read_to_string(&xml)?;
    let inodes = text.split("<inode>").skip(1);
    Ok(inodes
        .filter_map(|inode| Some(inode.split_once("</inode>")?.0.to_owned()))
        .collect())
}

fn save_namespace(pair: &Pair) -> Result<()> {
    for args in [
        &["-safemode", "enter"][..],
        &["-saveNamespace"],
        &["-safemode", "leave"],
    ] {
        pair.run("dfsadmin", args)?;
    }
    Ok(())
}

/// A standby makes an image by itself of edits that change nothing, and the active takes it.
fn checkpoint_of_the_standby(pair: &Pair, standby: usize) -> Result<()> {
    let (saved, active) = (newest_image(pair, standby)?, 1 - standby);
    pair.run("dfsadmin", &["-rollEdits"])?;
    wait_for("an image of the standby at the active", PATIENCE, || {
        let newest = newest_image(pair, standby).ok()?;
        let sent = pair.name_dir(active).join("current").join(newest.file_name()?);
        let is_whole = std::fs::read(&newest).ok()? == std::fs::read(sent).ok()?;
        (newest > saved && is_whole).then_some(())
    });
    Ok(())
}

/// Of the XML of one inode.
fn tag<'a>(inode: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = inode.split_once(&format!("<{name}>"))?;
    Some(rest.split_once('<')?.0)
}

fn wait_until_files_are_served(client: &mut FileClient, path: &str) {
    wait_for("the block of a file to be reported", PATIENCE, || {
        client.run(&format!("read {path}")).ok()
    });
}

#[test]
fn hadoops_namenodes_go_on_from_our_image_of_files_that_are_written_appended_to_and_truncated() -> Result<()> {
    use Kind::{Hadoops, Ours};
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let more = [
        ("dfs.replication", "1"),
        ("dfs.heartbeat.interval", "1"),
        ("dfs.namenode.checkpoint.period", "2"),
        ("dfs.namenode.checkpoint.check.period", "1"),
        ("dfs.image.compress", "true"),
        (
            "dfs.image.compression.codec",
            "org.apache.hadoop.io.compress.SnappyCodec",
        ),
    ];
    let mut pair = Pair::new(HATHI, Some(hadoop.clone()), SharedEdits::QUORUM, &more)?;
    for index in 0..3 {
        pair.start_journalnode(index, Ours)?;
    }
    let (first, second) = (pair.conf(0), pair.conf(1));
    pair.namenode(Ours, &first, &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, Ours, &first)?;
    pair.namenode(Ours, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Ours, &second)?;
    pair.run("haadmin", &["-transitionToActive", "nn0"])?;
    pair.start_datanode(0, Ours)?;
    let mut client = FileClient::start(&hadoop, &first)?;
    wait_for("the DataNode to take blocks", PATIENCE, || {
        client.run("create /closed 3000").ok()
    });
    client.run("close /closed")?;
    for path in ["/truncated", "/appended", "/continued"] {
        client.run(&format!("create {path} 100"))?;
        client.run(&format!("close {path}"))?;
    }
    client.run("create /written 100")?;
    client.run("append /continued 50")?;
    // Its last block is complete, though the file is not.
    client.run("append-new-block /appended 0")?;
    pair.signal_datanodes(Signal::STOP)?;
    ensure!(
        client.run("truncate /truncated 40")? == "false",
        "done without a DataNode"
    );
    save_namespace(&pair)?;

    let ours = inodes(&hadoop, &pair, 0)?;
    let by_name = |name: &str| {
        ours.iter()
            .find(|inode| tag(inode, "name") == Some(name))
            .context("no inode")
    };
    for open in ["truncated", "appended", "continued", "written"] {
        ensure!(
            by_name(open)?.contains("<file-under-construction>"),
            "{}",
            by_name(open)?
        );
    }
    ensure!(
        !by_name("closed")?.contains("<file-under-construction>"),
        "it is closed"
    );
    ensure!(
        tag(by_name("closed")?, "numBytes") == Some("3000"),
        "{}",
        by_name("closed")?
    );

    // Fetched from our active, and then the active itself.
    pair.stop_namenode(1)?;
    std::fs::remove_dir_all(pair.name_dir(1))?;
    pair.namenode(Hadoops, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Hadoops, &second)?;
    checkpoint_of_the_standby(&pair, 1)?;
    ensure!(
        inodes(&hadoop, &pair, 0)? == ours,
        "the image that Hadoop's standby has made of our edits differs"
    );
    pair.failover(0, 1)?;
    checkpoint_of_the_standby(&pair, 0)?;
    ensure!(
        inodes(&hadoop, &pair, 1)? == ours,
        "the image that our standby has made of Hadoop's edits differs"
    );
    save_namespace(&pair)?;
    ensure!(
        inodes(&hadoop, &pair, 1)? == ours,
        "Hadoop's image of the same namespace differs"
    );
    pair.signal_datanodes(Signal::CONT)?;
    // Hadoop's image does not say how long the file is to be.
    client.run("recover /truncated")?;
    let truncated = client.run("read /truncated")?;
    ensure!(["40 whole", "100 whole"].contains(&truncated.as_str()), "{truncated}");
    client.run("write /written 10")?;
    client.run("write /appended 10")?;
    for path in ["/written", "/appended", "/continued"] {
        client.run(&format!("close {path}"))?;
    }

    // On the very directory that ours wrote, and ours on it again.
    pair.stop_namenode(0)?;
    for kind in [Hadoops, Ours] {
        pair.start_namenode(0, kind, &first)?;
        pair.failover(1, 0)?;
        client.run("create /later 100")?;
        client.run("close /later")?;
        for (path, told) in [
            ("/closed", "3000 whole"),
            ("/written", "110 whole"),
            ("/appended", "110 whole"),
            ("/continued", "150 whole"),
            ("/truncated", &truncated),
            ("/later", "100 whole"),
        ] {
            wait_until_files_are_served(&mut client, path);
            ensure!(client.run(&format!("read {path}"))? == told, "{path} after {kind:?}");
        }
        pair.run("dfs", &["-rm", "-skipTrash", "/later"])?;
        if kind == Ours {
            // Nobody gives its lease back. Hadoop's asks the JournalNodes once, and would end if they refused.
            pair.kill_namenode(0)?;
            pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn1"])?;
            pair.wait_for_state(1, "active");
            client.run("create /after-a-death 100")?;
            client.run("close /after-a-death")?;
            pair.namenodes_live()?;
        } else {
            pair.failover(0, 1)?;
            pair.stop_namenode(0)?;
        }
    }
    Ok(())
}

/// An image with its sections compressed.
fn recompressed(image: &Image<'_, [u8]>, codec: ImageCodec) -> Result<Vec<u8>> {
    let mut writer = ImageWriter::new(Vec::new(), Some(codec))?;
    for section in image.sections() {
        writer.begin(section.name);
        let mut messages = image.messages(*section);
        while let Some(message) = messages.next_bytes()? {
            let mut delimited = Vec::new();
            prost::encoding::encode_varint(message.len() as u64, &mut delimited);
            delimited.extend_from_slice(message);
            writer.write(&delimited)?;
        }
        writer.end();
    }
    Ok(writer.finish(image.layout_version())?.0)
}

fn shown(image: &[u8]) -> Result<Vec<u8>> {
    let mut xml = Vec::new();
    write_xml(&Image::open(image)?, "", &mut xml)?;
    Ok(xml)
}

#[test]
fn hadoop_and_we_read_the_images_that_the_other_has_compressed() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let codecs = [
        ("DefaultCodec", ImageCodec::Default),
        ("DeflateCodec", ImageCodec::Deflate),
        ("GzipCodec", ImageCodec::Gzip),
        ("BZip2Codec", ImageCodec::Bzip2),
        ("SnappyCodec", ImageCodec::Snappy),
        ("Lz4Codec", ImageCodec::Lz4),
    ];
    let plain = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../formats/tests/data/fsimage_0000000000000000073"
    );
    let bytes = std::fs::read(plain)?;
    let dir = tempfile::tempdir()?;
    for (name, codec) in codecs {
        std::fs::write(
            dir.path().join(format!("ours.{name}")),
            recompressed(&Image::open(&bytes[..])?, codec)?,
        )?;
    }
    let path = dir.path().display().to_string();
    let names = codecs.map(|(name, _)| name);
    hadoop.run_ok(
        dir.path(),
        "ImageCodecs.java",
        &[&[plain, path.as_str()][..], &names[..]].concat(),
    )?;
    let told = std::fs::read(dir.path().join("plain.xml"))?;
    for name in names {
        let ours = std::fs::read(dir.path().join(format!("ours.{name}.xml")))?;
        ensure!(ours == told, "what Hadoop sees in our {name} is not what is in it");
        let hadoops = std::fs::read(dir.path().join(format!("hadoops.{name}")))?;
        ensure!(
            shown(&hadoops)? == shown(&bytes)?,
            "what we see in Hadoop's {name} is not what is in it"
        );
    }
    Ok(())
}

/// How many calls of a kind one of Hadoop's NameNodes has served.
fn served(pair: &Pair, index: usize, metric: &str) -> Result<u64> {
    let url = format!(
        "http://{}/jmx?qry=Hadoop:service=NameNode,name=NameNodeActivity",
        pair.http_address(Role::NameNode, index)
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (_, jmx) = runtime.block_on(http::get_bytes(&url, PATIENCE, 1 << 20))?;
    let jmx: Value = serde_json::from_slice(&jmx)?;
    jmx["beans"][0][metric].as_u64().context("no number")
}

#[test]
fn hadoops_observer_beside_our_active_shows_nothing_stale() -> Result<()> {
    use Kind::{Hadoops, Ours};
    const ROUNDS: u64 = 200;
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let more = [
        ("dfs.namenode.state.context.enabled", "true"),
        ("dfs.ha.tail-edits.in-progress", "true"),
        ("dfs.ha.tail-edits.period", "0ms"),
        ("dfs.ha.tail-edits.period.backoff-max", "100ms"),
    ];
    let mut pair = Pair::new(HATHI, Some(hadoop.clone()), SharedEdits::QUORUM, &more)?;
    for index in 0..3 {
        pair.start_journalnode(index, Ours)?;
    }
    let (first, second) = (pair.conf(0), pair.conf(1));
    pair.namenode(Ours, &first, &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, Ours, &first)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    pair.namenode(Hadoops, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Hadoops, &second)?;
    pair.run("haadmin", &["-transitionToObserver", "nn1"])?;
    pair.wait_for_state(1, "observer");
    let printed = hadoop.run_ok(&first, "ObserverClient.java", &["ns", &ROUNDS.to_string()])?;
    ensure!(printed.trim() == format!("reads {} stale 0", 3 * ROUNDS), "{printed}");
    let reads = served(&pair, 1, "FileInfoOps")?;
    ensure!(reads >= 3 * ROUNDS, "the observer served {reads} reads only");
    Ok(())
}

/// Of five NameNodes.
const OF_OURS: [usize; 3] = [0, 1, 2];
const OF_HADOOPS: [usize; 2] = [3, 4];

/// The digests of the images in a NameNode's directory, by their transactions.
fn images(pair: &Pair, index: usize) -> Result<BTreeMap<u64, String>> {
    let current = pair.name_dir(index).join("current");
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(&current)? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        let digits = name.strip_prefix("fsimage_").and_then(|rest| rest.strip_suffix(".md5"));
        if let Some(txid) = digits.and_then(|digits| digits.parse().ok())
            // It may be purged meanwhile.
            && let Ok(digest) = std::fs::read_to_string(current.join(&name))
        {
            found.insert(txid, digest.split_whitespace().next().unwrap_or_default().to_owned());
        }
    }
    Ok(found)
}

/// The transactions of the images that NameNodes of ours have made by themselves.
fn made_by_ours(pair: &Pair) -> BTreeSet<u64> {
    let logs: String = OF_OURS.map(|index| pair.log(&format!("nn{index}"))).concat();
    let lines = logs.lines().filter(|line| line.contains("saved an image"));
    let txids = lines.filter_map(|line| line.split("txid=").nth(1)?.split_whitespace().next()?.parse().ok());
    txids.collect()
}

/// Waits until the active has an image from now on that a standby of the other kind has made.
fn the_active_takes_an_image_of_the_other_kind(pair: &Pair, active: usize) -> Result<()> {
    let is_ours = OF_OURS.contains(&active);
    let before = images(pair, active)?.into_keys().next_back().unwrap_or(0);
    let makers = if is_ours { &OF_HADOOPS[..] } else { &OF_OURS[..] };
    let what = format!("an image that the other kind has made at nn{active}");
    let txid = wait_for(&what, PATIENCE, || {
        let taken = images(pair, active).ok()?;
        let of_ours = made_by_ours(pair);
        makers.iter().find_map(|maker| {
            let made = images(pair, *maker).ok()?;
            let new = made.into_iter().filter(|(txid, _)| *txid > before);
            let mut theirs = new.filter(|(txid, _)| of_ours.contains(txid) != is_ours);
            theirs.find_map(|(txid, digest)| (taken.get(&txid) == Some(&digest)).then_some(txid))
        })
    });
    eprintln!("nn{active} has taken the image of {txid}");
    Ok(())
}

#[test]
fn three_namenodes_of_ours_and_two_of_hadoops_take_turns_and_lose_nothing() -> Result<()> {
    use Kind::{Hadoops, Ours};
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let more = [
        ("dfs.replication", "2"),
        ("dfs.heartbeat.interval", "1"),
        ("dfs.ha.tail-edits.in-progress", "true"),
        ("dfs.namenode.checkpoint.period", "2"),
        ("dfs.namenode.checkpoint.check.period", "1"),
    ];
    let mut pair = Pair::with_namenodes(5, HATHI, Some(hadoop.clone()), SharedEdits::QUORUM, &more)?;
    for index in 0..3 {
        pair.start_journalnode(index, Ours)?;
    }
    let client = pair.conf(0);
    pair.namenode(Ours, &client, &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, Ours, &client)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    for index in 1..5 {
        pair.namenode(Ours, &pair.conf(index), &["-bootstrapStandby", "-nonInteractive"])?;
    }
    for index in 0..2 {
        pair.start_datanode(index, Ours)?;
    }
    pair.start_namenodes(&OF_OURS[1..], Ours)?;
    wait_for("the DataNodes", PATIENCE, || {
        let report = pair.run("dfsadmin", &["-report"]).ok()?;
        report.contains("Live datanodes (2)").then_some(())
    });
    let hadoops_client = FailoverClient::start(&hadoop, &client, "/hadoops", 2_000_000, 100)?;
    let load = Load::start(&client)?;
    pair.start_namenodes(&OF_HADOOPS, Hadoops)?;
    load.goes_on();

    pair.failover(0, 3)?;
    load.goes_on();
    the_active_takes_an_image_of_the_other_kind(&pair, 3)?;
    pair.failover(3, 1)?;
    load.goes_on();
    the_active_takes_an_image_of_the_other_kind(&pair, 1)?;
    // Its lease runs on for a second, and Hadoop's asks for an epoch at once.
    pair.kill_namenode(1)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn4"])?;
    load.goes_on();
    pair.start_namenode(1, Ours, &pair.conf(1))?;
    pair.failover(4, 2)?;
    load.goes_on();
    pair.namenodes_live()?;
    eprintln!(
        "{} directories; Hadoop's client: {}",
        load.end()?,
        hadoops_client.end()?
    );
    Ok(())
}

//! Encryption zones with Java's client and ours on our NameNodes: what one writes, the other reads, and nobody finds plain
//! text on the disks.

use anyhow::{Result, ensure};
use hathi_interop::{FileClient, Hadoop, Kind, Kms, Pair, SharedEdits, wait_for};
use std::time::Duration;

const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs one of our tools, and returns status and output.
fn tool(pair: &Pair, tool: &str, args: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = pair.tool(tool, args).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

#[test]
fn files_of_a_zone_are_read_by_javas_client_and_ours_also_after_a_failover() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let kms = Kms::start()?;
    kms.roll("key");
    let provider = kms.provider();
    let more = [
        ("hadoop.security.key.provider.path", provider.as_str()),
        ("dfs.replication", "1"),
        ("fs.trash.interval", "10"),
        ("dfs.namenode.edekcacheloader.initial.delay.ms", "0"),
        ("hadoop.security.kms.client.encrypted.key.cache.size", "3"),
    ];
    let mut pair = Pair::new(HATHI, Some(hadoop.clone()), SharedEdits::Directory, &more)?;
    let (first, second) = (pair.conf(0), pair.conf(1));
    pair.namenode(Kind::Ours, &first, &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, Kind::Ours, &first)?;
    pair.namenode(Kind::Ours, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Kind::Ours, &second)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    pair.start_datanode(0, Kind::Ours)?;

    // Both tools, with their words and their exit statuses.
    pair.run("dfs", &["-mkdir", "/ours", "/plain"])?;
    let crypto = "org.apache.hadoop.hdfs.tools.CryptoAdmin";
    for args in [
        &["-createZone", "-keyName", "nokey", "-path", "/plain"][..],
        &["-createZone", "-keyName", "key", "-path", "/ours"],
        &["-createZone", "-keyName", "key", "-path", "/ours"],
        &["-listZones"],
        &["-provisionTrash", "-path", "/ours"],
        &["-provisionTrash", "-path", "/plain"],
        &["-getFileEncryptionInfo", "-path", "/plain"],
        &["-getFileEncryptionInfo", "-path", "/none"],
        &["-reencryptZone", "-cancel", "-path", "/ours"],
        &["-reencryptZone", "-start", "-path", "/plain"],
        &["-listReencryptionStatus"],
    ] {
        let ours = tool(&pair, "crypto", args)?;
        if args[0] == "-createZone" && ours.0 == Some(0) {
            ensure!(ours.1 == "Added encryption zone /ours\n", "{ours:?}");
            continue;
        }
        let theirs = hadoop.run(&first, crypto, args)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        // Its log goes there, too.
        let errors: String = text(&theirs.stderr)
            .split_inclusive('\n')
            .filter(|line| !line.contains(" WARN "))
            .collect();
        let theirs = (theirs.status.code(), text(&theirs.stdout), errors);
        ensure!(ours == theirs, "{args:?}: ours {ours:?}, Hadoop's {theirs:?}");
    }

    let mut java = FileClient::of(&hadoop, &first, "Zones.java", &[])?;
    java.run("zone /theirs key")?;
    ensure!(java.run("zones")? == "/ours=key /theirs=key");
    ensure!(java.run("trash /theirs/f")?.starts_with("/theirs/.Trash/"));
    // More files than there are keys at hand at once.
    let mut digests = Vec::new();
    for number in 0..6 {
        digests.push(java.run(&format!("write /theirs/f{number} {number} 200000"))?);
    }
    ensure!(java.run("read /theirs/f3")? == digests[3]);
    ensure!(java.run("encrypted /theirs/f3")? == "true");
    let raw = java.run("read /.reserved/raw/theirs/f3")?;
    ensure!(raw != digests[3], "plain text in an encryption zone");

    // What Java wrote, here; and back.
    let dir = tempfile::tempdir()?;
    let local = dir.path().join("f3");
    let local = local.display().to_string();
    pair.run("dfs", &["-get", "/theirs/f3", &local])?;
    pair.run("dfs", &["-put", &local, "/ours/copy"])?;
    ensure!(java.run("read /ours/copy")? == digests[3]);
    ensure!(java.run("read /.reserved/raw/ours/copy")? != digests[3]);
    pair.run("dfs", &["-appendToFile", &local, "/theirs/f3"])?;
    java.run("append /ours/copy 7 1000")?;
    let at = java.run("at /theirs/f3 200000 200000")?;
    ensure!(at == digests[3], "what we have appended");
    pair.run("dfs", &["-cat", "/ours/copy"])?;
    // Nothing leaves a zone as it is, and what is deleted stays in it.
    let moved = java.run("rename /theirs/f1 /plain/f1").unwrap_err().to_string();
    ensure!(
        moved.contains("/theirs/f1 can't be moved from an encryption zone."),
        "{moved}"
    );
    let removed = pair.run("dfs", &["-rm", "/theirs/f5"])?;
    ensure!(removed.contains("/theirs/.Trash/"), "{removed}");

    // As between clusters: bytes, zones and keys as they are.
    java.run("raw-copy /theirs /copied")?;
    let attributes = java.run("raw-copy /theirs/f2 /copied/f2")?;
    ensure!(
        attributes.contains("raw.hdfs.crypto.file.encryption.info"),
        "{attributes}"
    );
    ensure!(java.run("read /copied/f2")? == digests[2]);

    // The other NameNode, and a new version of the key.
    kms.roll("key");
    pair.failover(0, 1)?;
    ensure!(java.run("read /theirs/f0")? == digests[0]);
    ensure!(java.run("version /theirs/f0")? == "key@0");
    java.run("reencrypt /theirs")?;
    wait_for("the re-encryption of a zone", PATIENCE, || {
        let status = java.run("status").unwrap();
        status.contains("/theirs=Completed:").then_some(())
    });
    ensure!(java.run("version /theirs/f0")? == "key@1");
    ensure!(java.run("version /ours/copy")? == "key@0");
    ensure!(java.run("read /theirs/f0")? == digests[0]);
    pair.run("dfs", &["-get", "/theirs/f2", &format!("{local}-again")])?;
    java.run("write /theirs/new 9 10")?;
    ensure!(java.run("version /theirs/new")? == "key@1");

    // Hadoop's NameNode has the same zones on the same files, if it can read what we wrote.
    pair.run("dfsadmin", &["-safemode", "enter"])?;
    pair.run("dfsadmin", &["-saveNamespace"])?;
    pair.kill_namenode(0)?;
    pair.kill_namenode(1)?;
    pair.start_namenode(1, Kind::Hadoops, &second)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn1"])?;
    wait_for("Hadoop's NameNode to know the DataNode's blocks", PATIENCE, || {
        let read = java.run("read /theirs/f0").ok()?;
        (read == digests[0]).then_some(())
    });
    ensure!(java.run("read /copied/f2")? == digests[2]);
    java.run("write /ours/last 3 1000")?;
    Ok(())
}

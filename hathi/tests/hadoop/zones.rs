//! Encryption zones with Hadoop's key management server, clients, tools and NameNode, and ours: what one writes, the other
//! reads, and nobody finds plain text on the disks.

use anyhow::{Context, Result, ensure};
use hathi_interop::{FileClient, Hadoop, HadoopKms, Kind, Kms, Pair, SharedEdits, wait_for};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
const PATIENCE: Duration = Duration::from_secs(60);
const CRYPTO: &str = "org.apache.hadoop.hdfs.tools.CryptoAdmin";

/// Two NameNodes of ours on one directory, the first one active, and a DataNode of ours. Fewer keys are at hand than the
/// tests write files.
fn start(hadoop: Option<Hadoop>, provider: &str) -> Result<Pair> {
    let more = [
        ("hadoop.security.key.provider.path", provider),
        ("dfs.replication", "1"),
        ("fs.trash.interval", "10"),
        ("dfs.namenode.edekcacheloader.initial.delay.ms", "0"),
        // With less than 1 for its part of 0.3, Hadoop's clients have no KMS.
        ("hadoop.security.kms.client.encrypted.key.cache.size", "4"),
        ("dfs.namenode.reencrypt.batch.size", "2"),
        ("hadoop.security.kms.client.timeout", "600"),
        // Nobody looks for zones in vain.
        ("dfs.namenode.reencrypt.sleep.interval", "1h"),
    ];
    let mut pair = Pair::new(HATHI, hadoop, SharedEdits::Directory, &more)?;
    let (first, second) = (pair.conf(0), pair.conf(1));
    pair.namenode(Kind::Ours, &first, &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, Kind::Ours, &first)?;
    pair.namenode(Kind::Ours, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Kind::Ours, &second)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    pair.wait_for_state(0, "active");
    pair.start_datanode(0, Kind::Ours)?;
    Ok(pair)
}

/// Exit status, output, and what was wrong.
type Told = (Option<i32>, String, String);

fn told(output: &std::process::Output) -> Told {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // The log of Hadoop's tools goes there, too.
    let errors = text(&output.stderr)
        .split_inclusive('\n')
        .filter(|line| !line.contains(" WARN "))
        .collect();
    (output.status.code(), text(&output.stdout), errors)
}

/// Runs the same line with both tools, and returns what both say.
fn crypto(pair: &Pair, hadoop: &Hadoop, args: &[&str]) -> Result<Told> {
    let ours = told(&pair.tool("crypto", args).output()?);
    let theirs = told(&hadoop.run(&pair.conf(0), CRYPTO, args)?);
    ensure!(ours == theirs, "{args:?}: ours {ours:?}, Hadoop's {theirs:?}");
    Ok(ours)
}

/// Waits until a zone is done, and returns the number of files that have new keys.
fn done(java: &mut FileClient, zone: &str) -> String {
    wait_for("the re-encryption of a zone", PATIENCE, || {
        let all = java.run("status").ok()?;
        let found = all.split(' ').find_map(|one| one.strip_prefix(&format!("{zone}=")));
        found.and_then(|one| one.strip_prefix("Completed:")).map(str::to_owned)
    })
}

#[test]
fn files_of_a_zone_are_read_by_javas_client_and_ours_also_after_a_failover() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let kms = HadoopKms::start()?;
    let mut pair = start(Some(hadoop.clone()), &kms.provider())?;
    let (first, second) = (pair.conf(0), pair.conf(1));
    let mut java = FileClient::of(&hadoop, &first, "Zones.java", &[])?;
    java.run("key key")?;

    // Both tools, with their words and their exit statuses.
    pair.run("dfs", &["-mkdir", "/ours", "/theirs", "/plain"])?;
    let made = pair.run("crypto", &["-createZone", "-keyName", "key", "-path", "/ours"])?;
    ensure!(made == "Added encryption zone /ours\n", "{made}");
    let made = hadoop.run_ok(&first, CRYPTO, &["-createZone", "-keyName", "key", "-path", "/theirs"])?;
    ensure!(made == "Added encryption zone /theirs\n", "{made}");
    for args in [
        &["-createZone", "-keyName", "nokey", "-path", "/plain"][..],
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
        crypto(&pair, &hadoop, args)?;
    }
    ensure!(java.run("zones")? == "/ours=key /theirs=key");

    // More files than there are keys at hand at once.
    let mut digests = Vec::new();
    for number in 0..6 {
        digests.push(java.run(&format!("write /theirs/f{number} {number} 200000"))?);
    }
    ensure!(java.run("read /theirs/f3")? == digests[3]);
    ensure!(java.run("encrypted /theirs/f3")? == "true");
    let raw = java.run("read /.reserved/raw/theirs/f3")?;
    ensure!(raw != digests[3], "plain text in an encryption zone");
    crypto(&pair, &hadoop, &["-getFileEncryptionInfo", "-path", "/theirs/f3"])?;

    // What Java wrote, here; and back.
    let dir = tempfile::tempdir()?;
    let local = dir.path().join("f3").display().to_string();
    pair.run("dfs", &["-get", "/theirs/f3", &local])?;
    pair.run("dfs", &["-put", &local, "/ours/copy"])?;
    ensure!(java.run("read /ours/copy")? == digests[3]);
    ensure!(java.run("read /.reserved/raw/ours/copy")? != digests[3]);
    pair.run("dfs", &["-appendToFile", &local, "/theirs/f3"])?;
    java.run("append /ours/copy 7 1000")?;
    let at = java.run("at /theirs/f3 200000 200000")?;
    ensure!(at == digests[3], "what we have appended");
    pair.run("dfs", &["-cat", "/ours/copy"])?;

    moves_and_trash(&pair, &hadoop, &mut java)?;

    // As between clusters: bytes, zones and keys as they are.
    java.run("raw-copy /theirs /copied")?;
    java.run("raw-copy /theirs/f2 /copied/f2")?;
    for path in ["/theirs/f2", "/copied/f2"] {
        let names = java.run(&format!("attributes /.reserved/raw{path}"))?;
        ensure!(names == "[raw.hdfs.crypto.file.encryption.info]", "{path}: {names}");
        ensure!(java.run(&format!("attributes {path}"))? == "[]");
    }
    ensure!(java.run("read /copied/f2")? == digests[2]);
    let raw = |java: &mut FileClient, path: &str| java.run(&format!("read /.reserved/raw{path}"));
    ensure!(raw(&mut java, "/copied/f2")? == raw(&mut java, "/theirs/f2")?);

    // The other NameNode, and a new version of the key.
    java.run("roll key")?;
    pair.failover(0, 1)?;
    ensure!(java.run("read /theirs/f0")? == digests[0]);
    ensure!(java.run("versions /theirs")? == "key@0");
    let old = raw(&mut java, "/theirs/f0")?;
    let started = pair.run("crypto", &["-reencryptZone", "-start", "-path", "/theirs"])?;
    ensure!(
        started == "re-encrypt command successfully submitted for zone: /theirs action: START\n",
        "{started}"
    );
    // Those of the trash as well.
    ensure!(done(&mut java, "/theirs") == "6");
    crypto(&pair, &hadoop, &["-listReencryptionStatus"])?;
    ensure!(java.run("versions /theirs")? == "key@1");
    ensure!(java.run("version /ours/copy")? == "key@0");
    ensure!(java.run("read /theirs/f0")? == digests[0]);
    ensure!(raw(&mut java, "/theirs/f0")? == old, "a file was written anew");
    pair.run("dfs", &["-get", "/theirs/f2", &format!("{local}-again")])?;
    java.run("write /theirs/new 9 10")?;
    ensure!(java.run("version /theirs/new")? == "key@1");

    hadoops_namenode_and_back(&mut pair, &mut java, &digests, &second)
}

/// Nothing leaves a zone as it is, and what is deleted stays in it.
fn moves_and_trash(pair: &Pair, hadoop: &Hadoop, java: &mut FileClient) -> Result<()> {
    for (from, to, why) in [
        (
            "/theirs/f1",
            "/plain/f1",
            "/theirs/f1 can't be moved from an encryption zone.",
        ),
        (
            "/plain",
            "/theirs/plain",
            "/plain can't be moved into an encryption zone.",
        ),
        (
            "/theirs/f1",
            "/ours/f1",
            "/theirs/f1 can't be moved from encryption zone /theirs to encryption zone /ours.",
        ),
    ] {
        let moved = java.run(&format!("rename {from} {to}")).err();
        let moved = moved.context("it was moved")?.to_string();
        ensure!(moved.contains(why), "{moved}");
    }
    let removed = pair.run("dfs", &["-rm", "/theirs/f5"])?;
    let trash = java.run("trash /theirs/f4")?;
    ensure!(
        removed == format!("Moved: '/theirs/f5' to trash at: {trash}/Current/theirs/f5\n"),
        "{removed}"
    );
    hadoop.run_ok(&pair.conf(0), "dfs", &["-rm", "/theirs/f4"])?;
    for name in ["f4", "f5"] {
        ensure!(java.run(&format!("exists {trash}/Current/theirs/{name}"))? == "true");
    }
    // A new directory for it, by either tool.
    pair.run("dfs", &["-rmdir", "/ours/.Trash"])?;
    let told = pair.run("crypto", &["-provisionTrash", "-path", "/ours"])?;
    ensure!(told == "Created a trash directory for /ours\n", "{told}");
    let listed = |pair: &Pair| pair.run("dfs", &["-stat", "%a", "/ours/.Trash"]);
    let by_ours = listed(pair)?;
    pair.run("dfs", &["-rmdir", "/ours/.Trash"])?;
    let theirs = hadoop.run_ok(&pair.conf(0), CRYPTO, &["-provisionTrash", "-path", "/ours"])?;
    ensure!(theirs == told, "{theirs}");
    ensure!(by_ours == listed(pair)? && by_ours == "1777\n", "{by_ours}");
    // It is emptied like that of a home.
    pair.run("dfs", &["-expunge", "-immediate"])?;
    ensure!(java.run(&format!("exists {trash}/Current/theirs/f5"))? == "true");
    pair.run("dfs", &["-expunge"])?;
    ensure!(java.run(&format!("exists {trash}/Current"))? == "false");
    Ok(())
}

/// Hadoop's NameNode has the same zones, from our image and our edits, and ours have those that it makes.
fn hadoops_namenode_and_back(pair: &mut Pair, java: &mut FileClient, digests: &[String], conf: &Path) -> Result<()> {
    pair.run("dfsadmin", &["-safemode", "enter"])?;
    pair.run("dfsadmin", &["-saveNamespace"])?;
    pair.run("dfsadmin", &["-safemode", "leave"])?;
    java.run("zone /later key")?;
    let later = java.run("write /later/f 11 5000")?;
    java.run("reencrypt /ours START")?;
    ensure!(done(java, "/ours") == "1");
    pair.kill_namenode(0)?;
    pair.kill_namenode(1)?;
    pair.start_namenode(1, Kind::Hadoops, conf)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn1"])?;
    wait_for("Hadoop's NameNode to know the DataNode's blocks", PATIENCE, || {
        let read = java.run("read /later/f").ok()?;
        (read == later).then_some(())
    });
    ensure!(java.run("zones")? == "/ours=key /theirs=key /copied=key /later=key");
    ensure!(java.run("read /copied/f2")? == digests[2]);
    ensure!(java.run("read /theirs/f0")? == digests[0]);
    ensure!(java.run("version /ours/copy")? == "key@1");
    let statuses = java.run("status")?;
    java.run("roll key")?;
    java.run("write /ours/last 3 1000")?;
    java.run("reencrypt /later START")?;
    ensure!(done(java, "/later") == "1");
    ensure!(java.run("version /later/f")? == "key@2");
    java.run("zone /last key")?;
    let last = java.run("write /last/f 12 5000")?;

    pair.kill_namenode(1)?;
    pair.start_namenode(1, Kind::Ours, conf)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn1"])?;
    wait_for("our NameNode to know the DataNode's blocks", PATIENCE, || {
        let read = java.run("read /last/f").ok()?;
        (read == last).then_some(())
    });
    ensure!(java.run("zones")? == "/ours=key /theirs=key /copied=key /later=key /last=key");
    ensure!(java.run("read /later/f")? == later);
    ensure!(java.run("version /later/f")? == "key@2");
    let now = java.run("status")?;
    ensure!(
        now == format!("{statuses} /later=Completed:1"),
        "before {statuses}, now {now}"
    );
    pair.run("dfs", &["-cat", "/last/f"])?;
    Ok(())
}

/// Names of the versions of the zone's key with which the files' keys are encrypted.
fn versions(pair: &Pair, files: usize) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for number in 0..files {
        let path = format!("/zone/f{number}");
        let info = pair.run("crypto", &["-getFileEncryptionInfo", "-path", &path])?;
        let version = info.trim().rsplit("ezKeyVersionName: ").next().unwrap_or_default();
        all.insert(version.trim_end_matches('}').to_owned());
    }
    Ok(all)
}

#[test]
fn a_reencryption_goes_on_at_the_next_active_and_files_stay_readable() -> Result<()> {
    const FILES: usize = 7;
    let kms = Kms::start()?;
    kms.roll("key");
    let mut pair = start(None, &kms.provider())?;
    pair.run("dfs", &["-mkdir", "/zone"])?;
    pair.run("crypto", &["-createZone", "-keyName", "key", "-path", "/zone"])?;
    let dir = tempfile::tempdir()?;
    let (local, copy) = (dir.path().join("file"), dir.path().join("copy"));
    let text = "plain text\n".repeat(20_000);
    std::fs::write(&local, &text)?;
    let put = |pair: &Pair, number: usize| {
        let path = format!("/zone/f{number}");
        pair.run("dfs", &["-put", &local.display().to_string(), &path])
    };
    let reads = |pair: &Pair| -> Result<()> {
        for number in [0, FILES - 1] {
            let path = format!("/zone/f{number}");
            pair.run("dfs", &["-get", "-f", &path, &copy.display().to_string()])?;
            ensure!(std::fs::read_to_string(&copy)? == text, "{path}");
        }
        Ok(())
    };
    for number in 0..FILES {
        put(&pair, number)?;
    }
    // Two batches of two files, and the third one is under way when its NameNode loses the role.
    kms.roll("key");
    kms.hold_batches();
    kms.let_batches_through(2);
    pair.run("crypto", &["-reencryptZone", "-start", "-path", "/zone"])?;
    let columns = |pair: &Pair| -> Option<Vec<String>> {
        let listed = pair.run("crypto", &["-listReencryptionStatus"]).ok()?;
        let line = listed.lines().find(|line| line.starts_with("/zone"))?;
        Some(line.split_whitespace().map(str::to_owned).collect())
    };
    let status = |pair: &Pair| columns(pair).map(|columns| columns[1].clone());
    let held = |what: &str, count: usize| {
        wait_for(what, PATIENCE, || (kms.held_batches() == count).then_some(()));
    };
    held("the third batch", 1);
    let at = columns(&pair).unwrap_or_default();
    ensure!(at[1] == "Processing" && at[at.len() - 1] == "/zone/f3", "{at:?}");
    let moved = pair.tool("dfs", &["-mv", "/zone/f0", "/zone/g"]).output()?;
    let why = "/zone/f0 can't be moved because encryption zone /zone is currently under re-encryption";
    ensure!(told(&moved).2.contains(why), "{moved:?}");
    pair.failover(0, 1)?;
    ensure!(versions(&pair, FILES)? == BTreeSet::from(["key@0".to_owned(), "key@1".to_owned()]));
    reads(&pair)?;
    // What the first NameNode still waits for it does not log any more. The second one dies with a batch under way.
    held("the third batch of both NameNodes", 2);
    kms.let_batches_through(2);
    wait_for("one batch more", PATIENCE, || {
        (columns(&pair)?.last()? == "/zone/f5").then_some(())
    });
    held("the last batch", 1);
    pair.kill_namenode(1)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    pair.wait_for_state(0, "active");
    kms.let_batches_through(100);
    wait_for("the end", PATIENCE, || (status(&pair)? == "Completed").then_some(()));
    let columns = columns(&pair).unwrap_or_default();
    ensure!(
        columns[columns.len() - 2..] == [FILES.to_string(), "0".to_owned()],
        "{columns:?}"
    );
    ensure!(versions(&pair, FILES)? == BTreeSet::from(["key@1".to_owned()]));
    reads(&pair)?;
    pair.run("dfs", &["-mv", "/zone/f0", "/zone/g"])?;
    Ok(())
}

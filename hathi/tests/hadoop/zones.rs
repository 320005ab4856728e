//! Encryption zones on our NameNodes, by Hadoop's tool and ours.

use anyhow::{Result, ensure};
use hathi_interop::{Hadoop, Kind, Kms, Pair, SharedEdits};

const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

/// Runs one of our tools, and returns status and output.
fn tool(pair: &Pair, tool: &str, args: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = pair.tool(tool, args).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

#[test]
fn files_of_a_zone_are_read_also_after_a_failover_and_both_tools_say_the_same() -> Result<()> {
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

    // Our commands write and read files of a zone, also after a failover and with a new version of the key.
    let dir = tempfile::tempdir()?;
    let (local, copy) = (dir.path().join("file"), dir.path().join("copy"));
    let text = "plain text\n".repeat(20_000);
    std::fs::write(&local, &text)?;
    let local = local.display().to_string();
    let reads = |pair: &Pair, path: &str| -> Result<bool> {
        pair.run("dfs", &["-get", "-f", path, &copy.display().to_string()])?;
        Ok(std::fs::read_to_string(&copy)? == text)
    };
    pair.run("dfs", &["-put", &local, "/ours/file"])?;
    ensure!(reads(&pair, "/ours/file")?);
    kms.roll("key");
    pair.failover(0, 1)?;
    ensure!(reads(&pair, "/ours/file")?);
    pair.run("dfs", &["-put", &local, "/ours/another"])?;
    ensure!(reads(&pair, "/ours/another")?);
    Ok(())
}

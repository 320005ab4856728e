//! Snapshots in images that go from Hadoop's NameNode to ours and back, and what clients see of them on either.

use anyhow::{Result, ensure};
use hathi_interop::{FileClient, Hadoop, Kind, Single};

/// Small blocks, so that a history of some hundred calls has files of several.
const MORE: &[(&str, &str)] = &[
    ("dfs.namenode.fs-limits.min-block-size", "512"),
    ("dfs.namenode.acls.enabled", "true"),
    ("dfs.permissions.enabled", "true"),
];

/// Calls of a history.
const CALLS: usize = 400;

/// What everything shows, the bytes included, a line for each inode.
fn shown(client: &mut FileClient) -> Result<Vec<String>> {
    let told = client.run("show")?;
    Ok(told.split(" | ").map(str::to_owned).collect())
}

/// Makes a history with this seed, saves the namespace, and returns what is shown. The NameNode is killed then.
fn history(single: &mut Single, hadoop: &Hadoop, kind: Kind, seed: u64) -> Result<Vec<String>> {
    let mut client = FileClient::of(hadoop, &single.conf(), "Snapshots.java", &[])?;
    let done = client.run(&format!("history {seed} {CALLS}"))?;
    ensure!(done.contains("createSnapshot=") && done.contains(" rename="), "{done}");
    client.run("save")?;
    let shown = shown(&mut client)?;
    ensure!(shown.iter().any(|line| line.contains("/.snapshot/")), "{shown:?}");
    drop(client);
    let ended = format!("{kind:?}");
    single.kill_namenode().map_err(|error| error.context(ended))?;
    Ok(shown)
}

fn assert_shown(single: &Single, hadoop: &Hadoop, wanted: &[String]) -> Result<FileClient> {
    let mut client = FileClient::of(hadoop, &single.conf(), "Snapshots.java", &[])?;
    let found = shown(&mut client)?;
    for (found, wanted) in found.iter().zip(wanted) {
        ensure!(found == wanted, "shown:\n{found}\nand before:\n{wanted}");
    }
    ensure!(found.len() == wanted.len(), "{} lines of {}", found.len(), wanted.len());
    Ok(client)
}

#[test]
fn images_with_snapshots_go_from_hadoops_namenode_to_ours_and_back() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let hathi = env!("CARGO_BIN_EXE_hathi");
    let mut single = Single::new(hathi, Some(hadoop.clone()), 1, MORE)?;
    single.run_to_end(Kind::Hadoops, "namenode", &["-format", "-nonInteractive"])?;
    single.start_namenode(Kind::Hadoops)?;
    single.start_datanode(0)?;
    let theirs = history(&mut single, &hadoop, Kind::Hadoops, 1)?;
    // Hadoop's image, here.
    single.start_namenode(Kind::Ours)?;
    drop(assert_shown(&single, &hadoop, &theirs)?);
    let ours = history(&mut single, &hadoop, Kind::Ours, 2)?;
    // Our image, there; and every snapshot can be deleted.
    single.start_namenode(Kind::Hadoops)?;
    let mut client = assert_shown(&single, &hadoop, &ours)?;
    let snapshots = client.run("snapshots")?;
    let words: Vec<&str> = snapshots.split(' ').collect();
    for pair in words.chunks(2) {
        client.run(&format!("delete {}", pair.join(" ")))?;
    }
    client.run("save")?;
    let left = shown(&mut client)?;
    drop(client);
    single.kill_namenode()?;
    single.start_namenode(Kind::Ours)?;
    drop(assert_shown(&single, &hadoop, &left)?);
    Ok(())
}

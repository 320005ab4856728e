//! Hadoop's client follows a namespace by its edits (`HdfsAdmin.getInotifyEventStream`), on our NameNodes and on Hadoop's.

use anyhow::{Result, ensure};
use hathi_interop::{FileClient, Hadoop, Kind, Pair, SharedEdits, Single};

const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
/// Small blocks, and answers that hold few events, so that a stream needs many.
const MORE: &[(&str, &str)] = &[
    ("dfs.namenode.fs-limits.min-block-size", "512"),
    ("dfs.namenode.acls.enabled", "true"),
    ("dfs.permissions.enabled", "true"),
    ("dfs.namenode.inotify.max.events.per.rpc", "5"),
];

fn client(hadoop: &Hadoop, single: &Single) -> Result<FileClient> {
    FileClient::of(hadoop, &single.conf(), "Inotify.java", &[])
}

/// What a client is told of every kind of call.
fn told(hadoop: &Hadoop, kind: Kind) -> Result<Vec<String>> {
    let mut single = Single::new(HATHI, Some(hadoop.clone()), 1, MORE)?;
    single.run_to_end(kind, "namenode", &["-format", "-nonInteractive"])?;
    single.start_namenode(kind)?;
    single.start_datanode(0)?;
    let mut client = client(hadoop, &single)?;
    client.run("now")?;
    client.run("calls")?;
    let told = client.run("until /i/end")?;
    Ok(told.split(" | ").map(str::to_owned).collect())
}

#[test]
fn a_client_is_told_of_each_call_what_hadoops_namenode_tells_it() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let ours = told(&hadoop, Kind::Ours)?;
    let theirs = told(&hadoop, Kind::Hadoops)?;
    for (ours, theirs) in ours.iter().zip(&theirs) {
        ensure!(ours == theirs, "ours:\n{ours}\nand Hadoop's:\n{theirs}");
    }
    ensure!(ours.len() == theirs.len() && ours.len() > 40, "{ours:?}\n{theirs:?}");
    Ok(())
}

#[test]
fn a_stream_goes_on_over_restarts() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let more: Vec<(&str, &str)> = MORE.to_vec();
    let mut single = Single::new(HATHI, Some(hadoop.clone()), 2, &more)?;
    single.run_to_end(Kind::Ours, "namenode", &["-format", "-nonInteractive"])?;
    single.start_namenode(Kind::Ours)?;
    let mut client = client(&hadoop, &single)?;
    let refused = client.run("as somebody")?;
    ensure!(
        refused == "Access denied for user somebody. Superuser privilege is required for operation getEditsFromTxid",
        "{refused}"
    );
    client.run("since 0")?;
    client.run("mkdirs /a 0 30")?;
    let told = client.run("until /a/d29")?;
    ensure!(told.split(" | ").count() == 31, "{told}");
    // The next process finds what this one left open, and has a segment of its own.
    single.kill_namenode()?;
    single.start_namenode(Kind::Ours)?;
    // Without other NameNodes Hadoop's client does not send a change again on a connection that broke.
    let again = client.run("mkdirs /b 0 3");
    again.or_else(|_| client.run("mkdirs /b 0 3"))?;
    let told = client.run("until /b/d2")?;
    ensure!(told.split(" | ").count() == 4, "{told}");
    Ok(())
}

#[test]
fn a_stream_goes_on_over_failovers_and_has_each_event_once() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    for shared in [SharedEdits::QUORUM, SharedEdits::Directory] {
        let mut pair = Pair::new(HATHI, Some(hadoop.clone()), shared, MORE)?;
        if shared != SharedEdits::Directory {
            for index in 0..3 {
                pair.start_journalnode(index, Kind::Ours)?;
            }
        }
        pair.namenode(Kind::Ours, &pair.conf(0), &["-format", "-nonInteractive"])?;
        pair.start_namenode(0, Kind::Ours, &pair.conf(0))?;
        pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
        pair.namenode(Kind::Ours, &pair.conf(1), &["-bootstrapStandby", "-nonInteractive"])?;
        pair.start_namenode(1, Kind::Ours, &pair.conf(1))?;
        let mut client = FileClient::of(&hadoop, &pair.conf(0), "Inotify.java", &[])?;
        client.run("since 0")?;
        let mut next = 0;
        for (from, to) in [(0, 1), (1, 0)] {
            client.run(&format!("mkdirs /a {next} {}", next + 20))?;
            pair.failover(from, to)?;
            client.run(&format!("mkdirs /a {} {}", next + 20, next + 40))?;
            next += 40;
        }
        let told = client.run(&format!("until /a/d{}", next - 1))?;
        let paths: Vec<&str> = told.split(" | ").filter_map(|event| event.split(' ').nth(2)).collect();
        let expected: Vec<String> = std::iter::once("/a".to_owned())
            .chain((0..next).map(|number| format!("/a/d{number}")))
            .collect();
        ensure!(paths == expected, "{shared:?}: {paths:?}");
        if shared != SharedEdits::Directory {
            // Of JournalNodes a majority is enough, also for what is in segments only.
            pair.kill_journalnode(0)?;
            client.run("mkdirs /b 0 2")?;
            client.run("until /b/d1")?;
        }
    }
    Ok(())
}

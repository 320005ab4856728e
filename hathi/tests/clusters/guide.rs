//! What the documents tell a user or an operator to do is done here, with their own files and commands.

mod machines;
mod pages;
mod quickstart;

use self::machines::{Machines, PATIENCE};
use self::pages::Section;
use anyhow::{Result, ensure};
use hathi_interop::{Hadoop, Load, ZooKeeper, wait_for};
use std::collections::BTreeSet;

const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

const START: Section = ("operations.md", "Start it");
const FAIL_OVER: Section = ("operations.md", "See it fail over");
const BY_ZOOKEEPER: Section = ("operations.md", "Elected by ZooKeeper");
const NAMENODE_RESTARTED: Section = ("maintenance.md", "A NameNode is restarted");
const CONTROLLER_RESTARTED: Section = ("maintenance.md", "A controller is restarted");
const JOURNALNODE_RESTARTED: Section = ("maintenance.md", "A JournalNode is restarted");
const DATANODE_RESTARTED: Section = ("maintenance.md", "A DataNode is restarted");
const MACHINE_REPLACED: Section = ("maintenance.md", "A machine is replaced by one of the same name");
const JOURNALNODE_MOVED: Section = ("maintenance.md", "A JournalNode moves to another machine");
const TO_LEASES: Section = ("maintenance.md", "From ZooKeeper to leases");
const TO_ZOOKEEPER: Section = ("maintenance.md", "From leases to ZooKeeper");
const BACK_UP: Section = ("backup.md", "Back up");

const IMAGE: Section = ("backup.md", "A copy of the image");

/// What each test about machines follows.
const MAINTAINED: &[Section] = &[
    START,
    FAIL_OVER,
    NAMENODE_RESTARTED,
    CONTROLLER_RESTARTED,
    JOURNALNODE_RESTARTED,
    DATANODE_RESTARTED,
    MACHINE_REPLACED,
    JOURNALNODE_MOVED,
    IMAGE,
];
const REPLACED: &[Section] = &[
    BY_ZOOKEEPER,
    FAIL_OVER,
    CONTROLLER_RESTARTED,
    TO_LEASES,
    TO_ZOOKEEPER,
    ("upgrade.md", "NameNodes and controllers, back"),
    ("upgrade.md", "DataNodes and JournalNodes, back"),
    ("upgrade.md", "Before you begin"),
    ("upgrade.md", "JournalNodes"),
    ("upgrade.md", "DataNodes"),
    ("upgrade.md", "NameNodes and controllers"),
];
const RESTORED: &[Section] = &[
    START,
    BACK_UP,
    ("backup.md", "Restore to a transaction"),
    ("backup.md", "Make a name directory"),
    ("backup.md", "Start with it"),
];
const CONVERTED: &[Section] = &[
    ("upgrade.md", "Set up one NameNode"),
    ("upgrade.md", "Stop the single NameNode"),
    ("upgrade.md", "Start with JournalNodes"),
    ("upgrade.md", "Save and stop"),
    ("upgrade.md", "Start one NameNode alone"),
];
/// Pages whose commands are for the cluster of a quickstart.
const ON_A_QUICKSTART: &[&str] = &[
    "../README.md",
    "monitoring.md",
    "security.md",
    "erasure-coding.md",
    "snapshots.md",
    "caching.md",
    "tutorial.md",
    "webhdfs.md",
];
/// Blocks that need what is not there: a compiler, packages, a KMS, daemons in the foreground, and the other ways of the
/// README.
const BY_HAND: usize = 10;
/// The page of all commands shows only how they are used.
const USAGES: &str = "commands.md";
/// A line that begins with one of these is a command.
const COMMANDS: &[&str] = &["hathi ", "hdfs ", "systemctl ", "curl "];

/// A file is there with its content, and more can be written.
fn serves(machines: &Machines) -> Result<()> {
    let file = machines.hathi(&["dfs", "-cat", "/hello.xml"])?;
    ensure!(file.contains("hdfs://cluster1"), "{file}");
    Ok(())
}

#[test]
fn every_command_of_the_documents_is_run() -> Result<()> {
    let followed: BTreeSet<Section> = [MAINTAINED, REPLACED, RESTORED, CONVERTED]
        .concat()
        .into_iter()
        .collect();
    let (mut by_hand, mut missed) = (0, Vec::new());
    for block in pages::all()? {
        let section = (block.page.as_str(), block.heading.as_str());
        let words: Vec<&str> = block.info.split_whitespace().collect();
        let is_run = match words.as_slice() {
            ["sh", "by-hand"] => {
                by_hand += 1;
                true
            }
            ["sh"] => ON_A_QUICKSTART.contains(&section.0),
            ["sh", nodes @ ..] => nodes.iter().all(|node| node.starts_with("node")) && followed.contains(&section),
            _ if section.0 == USAGES => true,
            _ => {
                let mut lines = block.body.lines();
                !lines.any(|line| COMMANDS.iter().any(|command| line.starts_with(command)))
            }
        };
        if !is_run {
            missed.push(format!("{section:?}: ```{}\n{}", block.info, block.body));
        }
    }
    ensure!(missed.is_empty(), "nobody runs:\n{}", missed.join("\n"));
    ensure!(
        by_hand == BY_HAND,
        "{by_hand} blocks are marked by-hand, instead of {BY_HAND}"
    );
    Ok(())
}

#[test]
fn the_ports_of_the_documents_are_those_of_the_code() -> Result<()> {
    // Which is made of the code.
    let keys = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md"))?;
    let ports = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ports.md"))?;
    let mut compared = 0;
    for row in ports.lines().filter(|line| line.contains("| `dfs.")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (port, key) = (cells[2], cells[3]);
        let known = keys.lines().find(|line| line.starts_with(&format!("| {key} |")));
        let default = known
            .and_then(|line| line.split('|').nth(2))
            .map(str::trim)
            .map(|text| text.replace('`', ""));
        let is_right = default.as_ref().is_some_and(|default| match port {
            "8020" | "none" => default.is_empty(),
            _ => default.rsplit(':').next() == Some(port),
        });
        ensure!(is_right, "{key}: {port}, and not {default:?}?");
        compared += 1;
    }
    ensure!(compared > 5, "the table is not found");
    Ok(())
}

#[test]
fn the_commands_for_a_quickstart_do_what_their_pages_say() -> Result<()> {
    ON_A_QUICKSTART.iter().try_for_each(|page| quickstart::run(page))
}

#[test]
fn the_guides_cluster_is_built_maintained_and_repaired_without_an_interruption() -> Result<()> {
    let mut machines = Machines::new(4, &[], "")?;
    machines.follow(START)?;
    machines.wait_for_active();
    serves(&machines)?;
    machines.follow(FAIL_OVER)?;
    machines.wait_for_active();
    serves(&machines)?;

    let load = Load::start(&machines.conf(1))?;
    load.goes_on();
    for section in [NAMENODE_RESTARTED, CONTROLLER_RESTARTED] {
        machines.follow(section)?;
        machines.wait_for_active();
        load.goes_on();
    }
    machines.follow(JOURNALNODE_RESTARTED)?;
    machines.wait_for_journalnodes(3);
    load.goes_on();
    machines.follow(DATANODE_RESTARTED)?;
    machines.wait_for_datanodes(3);
    serves(&machines)?;
    machines.wait_for_images();

    machines.lose(3)?;
    load.goes_on();
    machines.follow(MACHINE_REPLACED)?;
    machines.wait_for_active();
    machines.wait_for_journalnodes(3);
    machines.wait_for_datanodes(3);
    load.goes_on();
    serves(&machines)?;

    machines.follow(JOURNALNODE_MOVED)?;
    machines.wait_for_journalnodes(3);
    load.goes_on();

    machines.start(4, "hathi@datanode")?;
    machines.wait_for_datanodes(4);
    machines.let_go(1)?;
    machines.stop(1, "hathi@datanode")?;
    serves(&machines)?;

    machines.follow(IMAGE)?;
    ensure!(
        machines.file(1, "fsimage")?.starts_with(b"HDFSIMG1"),
        "that is no image"
    );
    ensure!(load.end()? > 0, "nothing was written");
    serves(&machines)?;
    machines.has_followed(MAINTAINED)
}

#[test]
fn the_guides_cluster_is_elected_by_zookeeper_and_changes_its_elector() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let zookeeper = ZooKeeper::start(hadoop, 1)?;
    let quorum = zookeeper.quorum();
    let with = [BY_ZOOKEEPER];
    let mut machines = Machines::new(3, &with, &quorum)?;
    machines.follow(BY_ZOOKEEPER)?;
    machines.wait_for_active();
    serves(&machines)?;
    machines.follow(FAIL_OVER)?;
    machines.wait_for_active();
    serves(&machines)?;
    let load = Load::start(&machines.conf(1))?;
    load.goes_on();
    machines.follow(CONTROLLER_RESTARTED)?;
    machines.wait_for_active();
    load.goes_on();

    for (section, more) in [(TO_LEASES, &[][..]), (TO_ZOOKEEPER, &with[..])] {
        for machine in 1..=3 {
            machines.configure(machine, more, &quorum)?;
        }
        machines.follow(section)?;
        machines.wait_for_active();
        load.goes_on();
    }
    // At its start, when it was restarted, and when ZooKeeper elected again.
    wait_for("three sessions of one controller", PATIENCE, || {
        (machines.log(1, "zkfc").matches("connected to ZooKeeper").count() >= 3).then_some(())
    });

    ensure!(load.end()? > 0, "nothing was written");

    // What is done with Hadoop's daemons, there and back: ours take their places here.
    for section in &REPLACED[5..] {
        machines.follow(*section)?;
        machines.wait_for_active();
        machines.wait_for_datanodes(3);
        serves(&machines)?;
    }
    serves(&machines)?;
    machines.has_followed(REPLACED)
}

#[test]
fn the_guides_namespace_is_backed_up_and_restored_to_a_transaction() -> Result<()> {
    let mut machines = Machines::new(3, &[], "")?;
    machines.follow(START)?;
    machines.wait_for_active();
    machines.hathi(&["dfs", "-mkdir", "-p", "/precious/one"])?;
    machines.wait_for_journalnodes(3);
    machines.follow(BACK_UP)?;
    machines.hathi(&["dfs", "-mkdir", "/precious/two"])?;
    // The mistake.
    machines.hathi(&["dfs", "-rm", "-r", "-skipTrash", "/precious"])?;
    machines.hathi(&["dfs", "-mkdir", "/later"])?;
    machines.follow(BACK_UP)?;

    for section in &RESTORED[2..] {
        machines.follow(*section)?;
    }
    machines.wait_for_active();
    machines.wait_for_journalnodes(3);
    machines.wait_for_datanodes(3);
    serves(&machines)?;
    machines.hathi(&["dfs", "-test", "-d", "/precious/two"])?;
    let all = machines.hathi(&["dfs", "-ls", "/"])?;
    ensure!(!all.contains("/later"), "{all}");
    machines.hathi(&["dfs", "-mkdir", "/precious/three"])?;
    machines.has_followed(RESTORED)
}

#[test]
fn the_guides_single_namenode_becomes_highly_available_and_single_again() -> Result<()> {
    let mut machines = Machines::new(3, &[], "")?;
    machines.configure_one_namenode(1)?;
    machines.follow(CONVERTED[0])?;
    machines.follow(CONVERTED[1])?;
    machines.configure(1, &[], "")?;
    machines.follow(CONVERTED[2])?;
    machines.wait_for_active();
    machines.hathi(&["dfs", "-mkdir", "/of-the-pair"])?;
    machines.follow(CONVERTED[3])?;
    machines.configure_one_namenode(1)?;
    machines.follow(CONVERTED[4])?;
    machines.hathi(&["dfs", "-test", "-d", "/of-the-pair"])?;
    machines.has_followed(CONVERTED)
}

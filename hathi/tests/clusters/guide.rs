//! What docs/operations.md tells an operator to do is done here, with the page's own files and commands.

mod machines;

use self::machines::{Machines, PATIENCE};
use anyhow::{Result, ensure};
use hathi_interop::{Hadoop, Load, ZooKeeper, wait_for};

/// A file is there with its content, and more can be written.
fn serves(machines: &Machines) -> Result<()> {
    let file = machines.hathi(&["dfs", "-cat", "/hello.xml"])?;
    ensure!(file.contains("hdfs://cluster1"), "{file}");
    Ok(())
}

#[test]
fn the_guides_cluster_is_built_maintained_and_repaired_without_an_interruption() -> Result<()> {
    let mut machines = Machines::new(4, &[], "")?;
    machines.follow("Start it")?;
    machines.wait_for_active();
    serves(&machines)?;
    machines.follow("See it fail over")?;
    machines.wait_for_active();
    serves(&machines)?;

    let load = Load::start(&machines.conf(1))?;
    load.goes_on();
    for heading in ["A NameNode is restarted", "A controller is restarted"] {
        machines.follow(heading)?;
        machines.wait_for_active();
        load.goes_on();
    }
    machines.follow("A JournalNode is restarted")?;
    machines.wait_for_journalnodes(3);
    load.goes_on();
    machines.follow("A DataNode is restarted")?;
    machines.wait_for_datanodes(3);
    serves(&machines)?;
    machines.wait_for_images();

    machines.lose(3)?;
    load.goes_on();
    machines.follow("A machine is replaced by one of the same name")?;
    machines.wait_for_active();
    machines.wait_for_journalnodes(3);
    machines.wait_for_datanodes(3);
    load.goes_on();
    serves(&machines)?;

    machines.follow("A JournalNode moves to another machine")?;
    machines.wait_for_journalnodes(3);
    load.goes_on();

    machines.start(4, "hathi@datanode")?;
    machines.wait_for_datanodes(4);
    machines.let_go(1)?;
    machines.stop(1, "hathi@datanode")?;
    serves(&machines)?;

    machines.follow("A copy of the namespace")?;
    ensure!(
        machines.file(1, "fsimage")?.starts_with(b"HDFSIMG1"),
        "that is no image"
    );
    ensure!(load.end()? > 0, "nothing was written");
    serves(&machines)
}

#[test]
fn the_guides_cluster_is_elected_by_zookeeper_and_changes_its_elector() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let zookeeper = ZooKeeper::start(hadoop, 1)?;
    let quorum = zookeeper.quorum();
    let with = ["Elected by ZooKeeper"];
    let mut machines = Machines::new(3, &with, &quorum)?;
    machines.follow("Elected by ZooKeeper")?;
    machines.wait_for_active();
    serves(&machines)?;
    machines.follow("See it fail over")?;
    machines.wait_for_active();
    serves(&machines)?;
    let load = Load::start(&machines.conf(1))?;
    load.goes_on();
    machines.follow("A controller is restarted")?;
    machines.wait_for_active();
    load.goes_on();

    for (heading, more) in [
        ("From ZooKeeper to leases", &[][..]),
        ("From leases to ZooKeeper", &with[..]),
    ] {
        for machine in 1..=3 {
            machines.configure(machine, more, &quorum)?;
        }
        machines.follow(heading)?;
        machines.wait_for_active();
        load.goes_on();
    }
    // At its start, when it was restarted, and when ZooKeeper elected again.
    wait_for("three sessions of one controller", PATIENCE, || {
        (machines.log(1, "zkfc").matches("connected to ZooKeeper").count() >= 3).then_some(())
    });
    ensure!(load.end()? > 0, "nothing was written");
    serves(&machines)
}

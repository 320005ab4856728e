//! Settings that change while the NameNodes run (`hdfs dfsadmin -reconfig`).

use anyhow::{Context, Result, ensure};
use hathi_interop::{Cluster, ClusterOptions, Role, wait_for};
use rustix::process::Signal;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Writes further properties into the files of a NameNode.
fn configure(cluster: &Cluster, index: u16, properties: &[(&str, &str)]) -> Result<()> {
    let file = cluster.daemon_conf(Role::NameNode, index).join("hdfs-site.xml");
    let text = std::fs::read_to_string(&file)?;
    let (before, after) = text.rsplit_once("</configuration>").context("no configuration")?;
    let properties = properties
        .iter()
        .map(|(name, value)| format!("<property><name>{name}</name><value>{value}</value></property>\n"));
    let properties: String = properties.collect();
    std::fs::write(&file, format!("{before}{properties}</configuration>{after}"))?;
    Ok(())
}

fn is_protected(cluster: &Cluster) -> Result<bool> {
    let deleted = cluster.hathi("dfs", &["-rm", "-r", "-skipTrash", "/kept"])?;
    let told = String::from_utf8_lossy(&deleted.stderr).into_owned();
    ensure!(deleted.status.success() || told.contains("protected"), "{told}");
    Ok(!deleted.status.success())
}

#[test]
fn a_setting_is_changed_on_active_and_standby_and_outlives_the_change_of_their_roles() -> Result<()> {
    let options = ClusterOptions {
        datanodes: 1,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(env!("CARGO_BIN_EXE_hathi"), options)?;
    let reconfig = |words: &[&str]| cluster.hathi("dfsadmin", &[&["-reconfig"], words].concat());
    let addresses = cluster.hathi_ok("getconf", &["-nnRpcAddresses"])?;
    let addresses: Vec<&str> = addresses.lines().collect();
    ensure!(addresses.len() >= 2, "{addresses:?}");

    let listed = reconfig(&["namenode", addresses[0], "properties"])?;
    let listed = String::from_utf8(listed.stdout)?;
    let first = format!(
        "Node [{}] Reconfigurable properties:\ndfs.block.invalidate.limit\n",
        addresses[0]
    );
    assert!(listed.starts_with(&first), "{listed}");
    let status = reconfig(&["namenode", addresses[0], "status"])?;
    let status = String::from_utf8(status.stdout)?;
    assert_eq!(
        status,
        format!("Reconfiguring status for node [{}]: no task was found.\n", addresses[0])
    );

    for (index, address) in addresses.iter().enumerate() {
        configure(
            &cluster,
            u16::try_from(index)?,
            &[
                ("fs.protected.directories", "/kept"),
                ("dfs.namenode.replication.max-streams", "many"),
            ],
        )?;
        let started = reconfig(&["namenode", address, "start"])?;
        ensure!(started.status.success(), "{started:?}");
        assert_eq!(
            String::from_utf8(started.stdout)?,
            format!("Started reconfiguration task on node [{address}].\n")
        );
        let status = reconfig(&["namenode", address, "status"])?;
        let status = String::from_utf8(status.stdout)?;
        let begin = format!("Reconfiguring status for node [{address}]: started at ");
        assert!(
            status.starts_with(&begin) && status.contains(" and finished at "),
            "{status}"
        );
        for part in [
            "FAILED: Change property dfs.namenode.replication.max-streams\n\tFrom: \"2\"\n\tTo: \"many\"\n\tError: ",
            "SUCCESS: Changed property fs.protected.directories\n\tFrom: \"\"\n\tTo: \"/kept\"",
        ] {
            assert!(status.contains(part), "{part} is missing in: {status}");
        }
    }
    for (index, address) in addresses.iter().enumerate() {
        // The last one of several counts.
        let streams = [("dfs.namenode.replication.max-streams", "5")];
        configure(&cluster, u16::try_from(index)?, &streams)?;
        reconfig(&["namenode", address, "start"])?;
        let status = String::from_utf8(reconfig(&["namenode", address, "status"])?.stdout)?;
        let told = "SUCCESS: Changed property dfs.namenode.replication.max-streams\n\tFrom: \"2\"\n\tTo: \"5\"";
        assert!(status.contains(told) && !status.contains("FAILED"), "{status}");
    }
    cluster.hathi_ok("dfs", &["-mkdir", "-p", "/kept/below"])?;
    ensure!(is_protected(&cluster)?, "the active has not changed its setting");
    let active = wait_for("one active", PATIENCE, || cluster.active());
    cluster.signal(Role::NameNode, active, Signal::KILL)?;
    wait_for("another active", PATIENCE, || {
        cluster.active().filter(|next| *next != active)
    });
    ensure!(is_protected(&cluster)?, "the standby has not changed its setting");

    let bulk = reconfig(&["namenode", "livenodes", "start"])?;
    assert_eq!(bulk.status.code(), Some(1));
    let told = String::from_utf8(bulk.stderr)?;
    assert!(
        told.contains("Only datanode type supports reconfiguration in bulk."),
        "{told}"
    );
    Ok(())
}

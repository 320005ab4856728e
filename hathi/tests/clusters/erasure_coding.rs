//! Erasure coding policies through the death of the active NameNode and through an image.

use super::webhdfs::Client;
use anyhow::{Result, ensure};
use hathi_interop::{Cluster, ClusterOptions, Role, wait_for};
use rustix::process::Signal;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const POLICIES: &str = "<configuration><layoutversion>1</layoutversion>\
    <schemas><schema id='a'><codec>xor</codec><k>3</k><m>1</m></schema></schemas>\
    <policies><policy><schema>a</schema><cellsize>131072</cellsize></policy></policies></configuration>";

fn ec(cluster: &Cluster, args: &[&str]) -> Result<String> {
    cluster.hathi_ok("ec", args)
}

/// What the policies are, by each way to ask.
fn check(cluster: &Cluster) -> Result<()> {
    for (path, policy) in [
        ("/cold", "XOR-3-1-128k\n"),
        ("/cold/in", "XOR-3-1-128k\n"),
        ("/cold/hot", "The erasure coding policy of /cold/hot is unspecified\n"),
        (
            "/cold/hot/file",
            "The erasure coding policy of /cold/hot/file is unspecified\n",
        ),
        ("/default", "RS-6-3-1024k\n"),
    ] {
        ensure!(ec(cluster, &["-getPolicy", "-path", path])? == policy, "{path}");
    }
    let all = ec(cluster, &["-listPolicies"])?;
    for line in [
        "ErasureCodingPolicy=[Name=XOR-3-1-128k, Schema=[ECSchema=[Codec=xor, numDataUnits=3, numParityUnits=1]], \
         CellSize=131072, Id=64], State=ENABLED",
        "Name=RS-6-3-1024k, Schema=[ECSchema=[Codec=rs, numDataUnits=6, numParityUnits=3]], CellSize=1048576, Id=1], \
         State=ENABLED",
        "CellSize=1048576, Id=4], State=DISABLED",
    ] {
        ensure!(all.contains(line), "{line} is not in {all}");
    }
    let web = Client::new(cluster)?;
    let status = web.ok("GET", "/cold/in?op=GETFILESTATUS")?.text();
    for member in [r#""ecBit":true"#, r#""ecPolicy":"XOR-3-1-128k""#, r#""ecPolicyObj":{"#] {
        ensure!(status.contains(member), "{member} is not in {status}");
    }
    let policy = web.ok("GET", "/cold?op=GETECPOLICY")?.text();
    ensure!(policy.contains(r#""numDataUnits":3"#), "{policy}");
    let shown = cluster.hathi_ok("dfs", &["-ls", "-e", "/"])?;
    ensure!(shown.contains("XOR-3-1-128k"), "{shown}");
    let counted = cluster.hathi_ok("dfs", &["-count", "-e", "/cold/hot", "/cold/hot/file"])?;
    ensure!(
        counted.contains("EC:replication") && counted.contains("Replicated"),
        "{counted}"
    );
    Ok(())
}

#[test]
fn policies_outlive_a_failover_and_an_image() -> Result<()> {
    let cluster = Cluster::start(env!("CARGO_BIN_EXE_hathi"), ClusterOptions::default())?;
    let file = cluster.dir().join("policies.xml");
    std::fs::write(&file, POLICIES)?;
    cluster.hathi_ok("dfs", &["-mkdir", "-p", "/cold/in", "/cold/hot", "/default"])?;
    let added = ec(&cluster, &["-addPolicies", "-policyFile", &file.display().to_string()])?;
    assert_eq!(added, "Add ErasureCodingPolicy XOR-3-1-128k succeed.\n");
    ec(&cluster, &["-enablePolicy", "-policy", "XOR-3-1-128k"])?;
    let set = ec(&cluster, &["-setPolicy", "-path", "/cold", "-policy", "XOR-3-1-128k"])?;
    assert_eq!(
        set,
        "Set XOR-3-1-128k erasure coding policy on /cold\n\
         Warning: setting erasure coding policy on a non-empty directory will not automatically convert existing files \
         to XOR-3-1-128k erasure coding policy\n"
    );
    ec(&cluster, &["-setPolicy", "-path", "/cold/hot", "-replicate"])?;
    ec(&cluster, &["-setPolicy", "-path", "/default"])?;
    cluster.hathi_ok("dfs", &["-touchz", "/cold/hot/file"])?;
    check(&cluster)?;

    let active = wait_for("one active", PATIENCE, || cluster.active());
    cluster.signal(Role::NameNode, active, Signal::KILL)?;
    wait_for("another active", PATIENCE, || {
        cluster.active().filter(|next| *next != active)
    });
    check(&cluster)?;

    // Safe mode is asked of every NameNode, and the killed one starts again.
    wait_for("the killed NameNode", PATIENCE, || {
        cluster
            .hathi_ok("haadmin", &["-getServiceState", &format!("nn{active}")])
            .ok()
    });
    cluster.hathi_ok("dfsadmin", &["-safemode", "enter"])?;
    cluster.hathi_ok("dfsadmin", &["-saveNamespace"])?;
    cluster.hathi_ok("dfsadmin", &["-safemode", "leave"])?;
    let active = wait_for("one active", PATIENCE, || cluster.active());
    cluster.signal(Role::NameNode, active, Signal::KILL)?;
    wait_for("another active", PATIENCE, || {
        cluster.active().filter(|next| *next != active)
    });
    check(&cluster)?;
    ec(&cluster, &["-unsetPolicy", "-path", "/cold"])?;
    let none = ec(&cluster, &["-getPolicy", "-path", "/cold/in"])?;
    assert_eq!(none, "The erasure coding policy of /cold/in is unspecified\n");
    Ok(())
}

//! Daemons at addresses of IPv6, alone and beside IPv4.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Cluster, ClusterOptions, Kind, Pair, Role, SharedEdits, wait_for};
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

fn ipv6_is_there() -> Result<()> {
    let probe = TcpListener::bind((Ipv6Addr::LOCALHOST, 0));
    probe
        .map(drop)
        .context("this machine has no ::1, without which IPv6 can't be tested")
}

/// What a web server answers to somebody who calls it by the name that is in the address bar.
fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_whole_cluster_lives_at_an_address_of_ipv6() -> Result<()> {
    ipv6_is_there()?;
    let options = ClusterOptions {
        namenodes: 2,
        journalnodes: 3,
        datanodes: 2,
    };
    let cluster = Cluster::start_on(HATHI, options, Ipv6Addr::LOCALHOST.into())?;
    let site = fs::read_to_string(cluster.conf().join("hdfs-site.xml"))?;
    ensure!(!site.contains("127.0.0.1") && site.contains("[::1]"), "{site}");

    let file = cluster.dir().join("file");
    fs::write(&file, vec![7; 300_000])?;
    let local = file.display().to_string();
    cluster.hathi_ok("dfs", &["-put", &local, "/file"])?;
    let report = cluster.hathi_ok("dfsadmin", &["-report"])?;
    ensure!(report.matches("Name: [::1]:").count() == 2, "{report}");

    let active = wait_for("one active", PATIENCE, || cluster.active());
    let http = cluster.namenode_http(active)?;
    let page = get(&http, "/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo")?;
    ensure!(page.contains(" 200 ") && page.contains("[::1]:"), "{page}");

    let rpc = rpc_address(&site, active)?;
    let listed = cluster.hathi_ok("dfs", &["-ls", &format!("hdfs://{rpc}/")])?;
    ensure!(listed.contains("/file"), "{listed}");
    let id = format!("nn{active}");
    cluster.hathi_ok("haadmin", &["-failover", &id, &format!("nn{}", 1 - active)])?;
    cluster.signal(Role::NameNode, 1 - active, Signal::KILL)?;
    let is_active = || cluster.hathi_ok("haadmin", &["-getServiceState", &id]).ok();
    wait_for("the other one to take over", PATIENCE, || {
        (is_active()?.trim() == "active").then_some(())
    });
    let read = cluster.hathi("dfs", &["-cat", "/file"])?;
    ensure!(
        read.stdout == fs::read(&file)?,
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
    Ok(())
}

fn rpc_address(site: &str, namenode: u16) -> Result<&str> {
    let key = format!("dfs.namenode.rpc-address.hathi.nn{namenode}</name><value>");
    let (_, rest) = site.split_once(&key).context(key.clone())?;
    rest.split('<').next().context(key)
}

/// The same configuration, with the NameNodes at this host.
fn conf_at(pair: &Pair, host: &str) -> Result<std::path::PathBuf> {
    let conf = pair
        .conf(0)
        .with_file_name(format!("conf-at-{}", host.replace(':', "")));
    fs::create_dir(&conf)?;
    for file in ["core-site.xml", "hdfs-site.xml"] {
        let text = fs::read_to_string(pair.conf(0).join(file))?;
        fs::write(conf.join(file), text.replace("127.0.0.1", host))?;
    }
    Ok(conf)
}

fn hathi(conf: &Path, args: &[&str]) -> Result<String> {
    let (command, args) = args.split_first().context("a command")?;
    let mut hathi = Command::new(HATHI);
    hathi
        .arg(command)
        .args(args)
        .env("HADOOP_CONF_DIR", conf)
        .stdin(Stdio::null());
    let output = hathi.output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{args:?}: {told}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn daemons_that_listen_everywhere_are_reached_by_both_kinds_of_addresses() -> Result<()> {
    ipv6_is_there()?;
    let everywhere = [
        ("dfs.namenode.rpc-bind-host", "::"),
        ("dfs.namenode.http-bind-host", "::"),
        ("dfs.journalnode.rpc-bind-host", "::"),
        ("dfs.journalnode.http-bind-host", "::"),
    ];
    // The active writes to one of them by each kind of address, and to one by a name that has both.
    let shared = SharedEdits::JournalNodes(["127.0.0.1", "[::1]", "localhost"]);
    let mut pair = Pair::new(HATHI, None, shared, &everywhere)?;
    for index in 0..3 {
        pair.start_journalnode(index, Kind::Ours)?;
    }
    pair.namenode(Kind::Ours, &pair.conf(0), &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, Kind::Ours, &pair.conf(0))?;
    pair.start_datanode(0, Kind::Ours)?;
    let ipv4 = conf_at(&pair, "127.0.0.1")?;
    hathi(&ipv4, &["haadmin", "-transitionToActive", "--forceactive", "nn0"])?;
    wait_for("the DataNode", PATIENCE, || {
        // By its address of IPv4, though a listener for both sees that as one of IPv6.
        let report = hathi(&ipv4, &["dfsadmin", "-report"]).ok()?;
        report.contains("Name: 127.0.0.1:").then_some(())
    });
    let ipv6 = conf_at(&pair, "[::1]")?;
    ensure!(hathi(&ipv6, &["haadmin", "-getServiceState", "nn0"])?.trim() == "active");
    hathi(&ipv6, &["dfs", "-mkdir", "/made"])?;
    hathi(&ipv4, &["dfs", "-test", "-d", "/made"])?;
    let http = pair.http_address(Role::NameNode, 0);
    for host in ["127.0.0.1", "[::1]"] {
        let page = get(&format!("{host}:{}", http.port()), "/jmx")?;
        ensure!(page.contains(" 200 "), "{page}");
    }
    Ok(())
}

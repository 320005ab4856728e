//! JournalNodes come and go under load, and NameNodes that only have the old configuration find their way.

use anyhow::{Context, Result, ensure};
use hathi_conf::Configuration;
use hathi_interop::{Cluster, ClusterOptions, Load, PortRange, Role, wait_for};
use rustix::process::Signal;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// A JournalNode beside the cluster's own, with the configuration of the beginning.
struct Extra {
    child: Child,
    address: String,
    dir: PathBuf,
    _ports: PortRange,
}

impl Extra {
    fn start(cluster: &Cluster, name: &str) -> Result<Extra> {
        let ports = PortRange::claim()?;
        let [address, http] = [0, 1].map(|port| format!("127.0.0.1:{}", ports.base() + port));
        let dir = cluster.dir().join("data").join(name);
        let conf = cluster.dir().join("conf").join(name);
        std::fs::create_dir_all(&conf)?;
        std::fs::copy(cluster.conf().join("core-site.xml"), conf.join("core-site.xml"))?;
        let site = std::fs::read_to_string(cluster.conf().join("hdfs-site.xml"))?;
        let own = [
            ("dfs.journalnode.edits.dir", dir.display().to_string()),
            ("dfs.journalnode.rpc-address", address.clone()),
            ("dfs.journalnode.http-address", http),
        ];
        let own = own.map(|(key, value)| format!("<property><name>{key}</name><value>{value}</value></property>"));
        let site = site.replace("</configuration>", &format!("{}</configuration>", own.concat()));
        std::fs::write(conf.join("hdfs-site.xml"), site)?;
        let log = std::fs::File::create(cluster.dir().join("logs").join(format!("{name}.log")))?;
        let child = Command::new(env!("CARGO_BIN_EXE_hathi"))
            .args(["journalnode", "--conf"])
            .arg(&conf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        wait_for("the new JournalNode to listen", PATIENCE, || {
            std::net::TcpStream::connect(&address).ok().map(drop)
        });
        Ok(Extra {
            child,
            address,
            dir,
            _ports: ports,
        })
    }
}

impl Drop for Extra {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn members(output: &str) -> Vec<String> {
    let line = output
        .lines()
        .find_map(|line| line.strip_prefix("dfs.namenode.shared.edits.dir=qjournal://"));
    let list = line.and_then(|line| line.rsplit_once('/')).map_or("", |(list, _)| list);
    list.split(';').map(str::to_owned).collect()
}

fn configured(cluster: &Cluster) -> Result<Vec<String>> {
    let conf = Configuration::load(&cluster.conf())?;
    let line = conf.get("dfs.namenode.shared.edits.dir").context("no shared edits")?;
    Ok(members(&format!("dfs.namenode.shared.edits.dir={line}")))
}

fn refused(cluster: &Cluster, args: &[&str], why: &str) -> Result<()> {
    let output = cluster.hathi("journal", args)?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && told.contains(why), "{args:?}: {told}");
    Ok(())
}

#[test]
fn journalnodes_come_and_go_under_load() -> Result<()> {
    let cluster = Cluster::start(
        env!("CARGO_BIN_EXE_hathi"),
        ClusterOptions {
            namenodes: 2,
            journalnodes: 3,
            datanodes: 1,
        },
    )?;
    let old = configured(&cluster)?;
    let load = Load::start(&cluster.conf())?;
    load.goes_on();

    // 3 -> 4 -> 5, to empty ones that nobody's configuration names.
    let d = Extra::start(&cluster, "extra-d")?;
    let e = Extra::start(&cluster, "extra-e")?;
    let all = members(&cluster.hathi_ok("journal", &["add", &d.address])?);
    assert_eq!(all, [&old[..], std::slice::from_ref(&d.address)].concat());
    load.goes_on();
    let all = members(&cluster.hathi_ok("journal", &["add", &e.address])?);
    assert_eq!(all.len(), 5);
    assert!(!d.dir.join("hathi/current/hathi-joining").exists());
    refused(
        &cluster,
        &["add", &e.address],
        "is a JournalNode of this journal already",
    )?;
    refused(&cluster, &["add", "127.0.0.1:1"], "cannot be added")?;
    // The reason stands first, not a Java class.
    refused(
        &cluster,
        &["add", "no.such.host.invalid:8485"],
        "hathi journal: no.such.host.invalid",
    )?;

    // The one who made the changes dies; the next one knows.
    let active = wait_for("one active", PATIENCE, || cluster.active());
    cluster.signal(Role::NameNode, active, Signal::KILL)?;
    load.goes_on();
    wait_for("an active", PATIENCE, || cluster.active());

    // Two of the first three go for good, the first after it was removed, the second before.
    let left = members(&cluster.hathi_ok("journal", &["remove", &old[0]])?);
    assert_eq!(left.len(), 4);
    cluster.signal(Role::JournalNode, 0, Signal::STOP)?;
    load.goes_on();
    cluster.signal(Role::JournalNode, 1, Signal::STOP)?;
    load.goes_on();
    let left = members(&cluster.hathi_ok("journal", &["remove", &old[1]])?);
    assert_eq!(left, [old[2].clone(), d.address.clone(), e.address.clone()]);
    load.goes_on();
    // The configuration names three others, of which two hang: a majority of those that count is well.
    let status = cluster.hathi_ok("journal", &["status"])?;
    for (address, state) in [(&old[0], "removed"), (&d.address, "ok"), (&e.address, "ok")] {
        let line = status.lines().find(|line| line.starts_with(address.as_str()));
        ensure!(line.is_some_and(|line| line.contains(state)), "{address}: {status}");
    }

    // Of the configured ones only one is reachable: who starts now remembers the others.
    for _ in 0..2 {
        let active = wait_for("one active", PATIENCE, || cluster.active());
        cluster.signal(Role::NameNode, active, Signal::KILL)?;
        load.goes_on();
        // It may be the active one again before the other has noticed.
        let state = ["-getServiceState", &format!("nn{active}")];
        wait_for("the killed one back", PATIENCE, || {
            let state = cluster.hathi_ok("haadmin", &state).ok()?;
            matches!(state.trim(), "standby" | "active").then_some(())
        });
    }

    // Without that memory the old ones tell, as long as they can be asked.
    cluster.signal(Role::JournalNode, 0, Signal::CONT)?;
    cluster.signal(Role::JournalNode, 1, Signal::CONT)?;
    for index in 0..2 {
        let kept = cluster
            .data_dir(Role::NameNode, index)
            .join("current/hathi-journalnodes");
        assert!(kept.exists(), "NameNode {index} does not remember");
    }
    let active = wait_for("one active", PATIENCE, || cluster.active());
    for index in [1 - active, active] {
        cluster.signal(Role::NameNode, index, Signal::STOP)?;
        std::fs::remove_file(
            cluster
                .data_dir(Role::NameNode, index)
                .join("current/hathi-journalnodes"),
        )?;
        cluster.signal(Role::NameNode, index, Signal::KILL)?;
    }
    load.goes_on();
    wait_for("an active", PATIENCE, || cluster.active());

    // Down to two, but not to one; and one that was removed comes back.
    cluster.hathi_ok("journal", &["remove", &e.address])?;
    load.goes_on();
    refused(&cluster, &["remove", &d.address], "only 1 would be left")?;
    let back = members(&cluster.hathi_ok("journal", &["add", &old[0]])?);
    assert_eq!(back, [old[2].clone(), d.address.clone(), old[0].clone()]);
    load.goes_on();
    eprintln!("{} directories", load.end()?);
    Ok(())
}

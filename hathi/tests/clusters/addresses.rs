//! Daemons at addresses of IPv6, alone and beside IPv4, and at names that lead elsewhere from one moment to the next.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Cluster, ClusterOptions, Daemons, Kind, Pair, Role, SharedEdits, wait_for};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
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

    let status = cluster.hathi_ok("journal", &["status"])?;
    ensure!(!status.contains("no /jmx"), "{status}");
    // Hadoop's DataNodes look for it in paths as BP-NUMBER-A.B.C.D-NUMBER.
    let version = fs::read_to_string(cluster.data_dir(Role::NameNode, 0).join("current/VERSION"))?;
    let pool = version.lines().find_map(|line| line.strip_prefix("blockpoolID="));
    ensure!(pool.is_some_and(|pool| pool.contains("-127.0.0.1-")), "{version}");

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

/// A cluster whose NameNodes and JournalNodes have names, each a machine of its own as far as addresses go.
struct Named {
    daemons: Daemons,
    hosts: BTreeMap<String, IpAddr>,
    base_port: u16,
}

impl Named {
    fn start() -> Result<Named> {
        let options = ClusterOptions {
            namenodes: 2,
            journalnodes: 3,
            datanodes: 1,
        };
        let daemons = Daemons::new(Path::new(HATHI), options, &[])?;
        let first = daemons.namenode_address(0)?;
        let (_, port) = first.rsplit_once(':').context("a port")?;
        let mut named = Named {
            daemons,
            hosts: BTreeMap::new(),
            base_port: port.parse()?,
        };
        let all: Vec<(Role, u16)> = named.daemons.all();
        for (role, index) in all {
            named.name_in(&named.daemons.daemon_conf(role, index))?;
            if matches!(role, Role::NameNode | Role::JournalNode) {
                let address = Ipv4Addr::new(127, 0, 10, u8::try_from(named.hosts.len() + 1)?);
                named.hosts.insert(host(role, index), address.into());
            }
        }
        // It listens for both kinds of addresses, and is called by the one that it calls from.
        let everywhere = format!("[::]:{}", named.base_port + 50);
        let own = [("dfs.datanode.address", everywhere.as_str())];
        named.daemons.configure(Role::DataNode, 0, &own)?;
        named.name_in(&named.daemons.conf())?;
        named.daemons.set_hosts(&named.hosts)?;
        named.daemons.start_all()?;
        named.daemons.wait_until_ready();
        Ok(named)
    }

    /// Names instead of addresses. The ports are those of `quickstart`.
    fn name_in(&self, conf: &Path) -> Result<()> {
        let path = conf.join("hdfs-site.xml");
        let mut site = fs::read_to_string(&path)?;
        for (role, first, count) in [(Role::NameNode, 0, 2), (Role::JournalNode, 30, 3)] {
            for index in 0..count {
                // RPC and HTTP.
                for port in [first + index, first + 10 + index] {
                    let port = self.base_port + port;
                    site = site.replace(&format!("127.0.0.1:{port}"), &format!("{}:{port}", host(role, index)));
                }
            }
        }
        Ok(fs::write(path, site)?)
    }

    /// The host goes on at another address; who lives there is started anew.
    fn move_host(&mut self, role: Role, index: u16) -> Result<()> {
        let address = self.hosts.get_mut(&host(role, index)).context("a host")?;
        let IpAddr::V4(ip) = address else {
            anyhow::bail!("{address}");
        };
        *address = Ipv4Addr::from_bits(ip.to_bits() + 256).into();
        let residents = match role {
            Role::NameNode => vec![Role::Zkfc, Role::NameNode],
            role => vec![role],
        };
        for role in &residents {
            self.daemons.kill(*role, index)?;
        }
        self.daemons.set_hosts(&self.hosts)?;
        for role in residents.iter().rev() {
            self.daemons.start(*role, index)?;
        }
        Ok(())
    }

    /// The open segment of the edits at a JournalNode.
    fn open_segment(&self, journalnode: u16) -> Option<String> {
        let current = self
            .daemons
            .data_dir(Role::JournalNode, journalnode)
            .join("hathi/current");
        let names = fs::read_dir(current).ok()?.flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with("edits_inprogress_")).max()
    }

    fn bean(&self, namenode: u16) -> Option<String> {
        let ip = self.hosts.get(&host(Role::NameNode, namenode))?;
        let port = self.base_port + 10 + namenode;
        get(
            &format!("{ip}:{port}"),
            "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState",
        )
        .ok()
    }
}

fn host(role: Role, index: u16) -> String {
    let kind = match role {
        Role::NameNode => "nn",
        _ => "jn",
    };
    format!("{kind}{index}.hathi.test")
}

#[test]
fn hosts_that_move_are_found_again_by_daemons_and_clients_that_go_on() -> Result<()> {
    ipv6_is_there()?;
    let mut named = Named::start()?;
    let mut client = named
        .daemons
        .client("dfs", &["-put", "-", "/file"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut content = client.stdin.take().context("stdin")?;
    content.write_all(b"before, ")?;
    wait_for("the file to be open", PATIENCE, || {
        named.daemons.hathi("dfs", &["-ls", "/file._COPYING_"]).ok()
    });

    // After two of them no majority of the JournalNodes is where it was.
    for index in 0..3 {
        named.move_host(Role::JournalNode, index)?;
        wait_for("the JournalNode to take part at its new address", PATIENCE, || {
            named.daemons.hathi("dfsadmin", &["-rollEdits"]).ok()?;
            let open = named.open_segment(index)?;
            (0..3)
                .all(|other| named.open_segment(other).as_ref() == Some(&open))
                .then_some(())
        });
    }

    // Each is moved while it is standby, found by the DataNode, by the other controller and by clients, and takes over.
    let first = named.daemons.wait_for_active(&[]);
    for (standby, active) in [(1 - first, first), (first, 1 - first)] {
        named.move_host(Role::NameNode, standby)?;
        wait_for("the DataNode to find the NameNode", PATIENCE, || {
            named.bean(standby)?.contains("\"NumLiveDataNodes\": 1").then_some(())
        });
        let ids = [format!("nn{active}"), format!("nn{standby}")];
        wait_for("the role to move", PATIENCE, || {
            let moved = named.daemons.hathi("haadmin", &["-failover", &ids[0], &ids[1]]);
            moved.inspect_err(|error| eprintln!("{error:#}")).ok()
        });
        ensure!(named.daemons.state(standby).as_deref() == Some("active"));
    }

    content.write_all(b"and after")?;
    drop(content);
    let ended = client.wait_with_output()?;
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let read = named.daemons.hathi("dfs", &["-cat", "/file"])?;
    ensure!(read == "before, and after", "{read}");
    let report = named.daemons.hathi("dfsadmin", &["-report"])?;
    ensure!(report.contains("Name: 127.0.0.1:"), "{report}");
    Ok(())
}

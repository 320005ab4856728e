//! DataNodes in two racks, as the operator's script says. All run on this machine: what each has to say reaches the
//! NameNode from an address of its own.

use anyhow::{Context, Result};
use hathi_conf::Configuration;
use hathi_interop::{ClusterOptions, Daemons, Role, wait_for};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket};

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
const DATANODES: u16 = 4;
const FILES: usize = 8;

fn address(datanode: u16) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 10 + datanode as u8)
}

/// Passes connections on to a NameNode as if they came from an address.
async fn relay(from: Ipv4Addr, namenode: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let here = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let socket = TcpSocket::new_v4()?;
                socket.bind((from, 0).into())?;
                let mut far = socket.connect(namenode).await?;
                copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    Ok(here)
}

/// Even DataNodes are in /a, odd ones in /b.
fn write_racks(file: &Path, rack_of: impl Fn(u16) -> &'static str) -> Result<()> {
    let lines = (0..DATANODES).map(|index| format!("{} {}\n", address(index), rack_of(index)));
    Ok(std::fs::write(file, lines.collect::<String>())?)
}

/// Where replicas of each block are, `/rack/address:port`.
async fn replicas(daemons: &Daemons) -> Result<Vec<Vec<String>>> {
    let key = "dfs.namenode.http-address.hathi.nn0";
    let web = Configuration::load(&daemons.conf())?.get(key).context(key)?;
    let user = hathi_net::users::process_user();
    let url = format!("http://{web}/fsck?path=/&files=1&blocks=1&racks=1&ugi={user}");
    let (_, body) = hathi_net::http::get_bytes(&url, PATIENCE, 16 << 20).await?;
    let text = String::from_utf8(body.to_vec())?;
    let of_block = |line: &str| {
        let (_, list) = line.split_once("Live_repl=")?.1.split_once('[')?;
        let (list, _) = list.split_once(']')?;
        Some(list.split(", ").map(str::to_owned).collect())
    };
    Ok(text.lines().filter_map(of_block).collect())
}

fn racks(of_block: &[String]) -> (usize, usize) {
    let count = |rack: &str| of_block.iter().filter(|replica| replica.starts_with(rack)).count();
    (count("/a/"), count("/b/"))
}

#[test]
fn replicas_are_in_two_racks_when_written_and_when_copied_again() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let options = ClusterOptions {
        namenodes: 1,
        journalnodes: 1,
        datanodes: DATANODES,
    };
    let mut daemons = Daemons::new(Path::new(HATHI), options, &[("dfs.replication", "2")])?;
    let table = daemons.dir().join("racks");
    write_racks(&table, |index| if index % 2 == 0 { "/a" } else { "/b" })?;
    let script = daemons.dir().join("racks.sh");
    let text = format!(
        "#!/bin/sh\nfor host in \"$@\"; do\n  while read -r known rack; do\n    [ \"$known\" = \"$host\" ] && echo \"$rack\"\n  \
         done < {}\ndone\nexit 0\n",
        table.display()
    );
    std::fs::write(&script, text)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let script = script.display().to_string();
    daemons.configure(Role::NameNode, 0, &[("net.topology.script.file.name", &script)])?;
    let namenode: SocketAddr = daemons.namenode_address(0)?.parse()?;
    for index in 0..DATANODES {
        let relay = runtime.block_on(relay(address(index), namenode))?.to_string();
        let transfer = format!("{}:0", address(index));
        let more = [
            ("dfs.namenode.rpc-address.hathi.nn0", relay.as_str()),
            ("dfs.datanode.address", transfer.as_str()),
        ];
        daemons.configure(Role::DataNode, index, &more)?;
    }
    daemons.start_all()?;
    daemons.wait_until_ready();
    let topology = daemons.hathi("dfsadmin", &["-printTopology"])?;
    assert_eq!(
        (
            topology.matches("Rack: /a").count(),
            topology.matches("Rack: /b").count()
        ),
        (1, 1),
        "{topology}"
    );

    let file = daemons.dir().join("file");
    std::fs::write(&file, vec![7_u8; 100_000])?;
    let file = file.to_str().context("path")?;
    for number in 0..FILES {
        daemons.hathi("dfs", &["-put", file, &format!("/{number}")])?;
    }
    let spread = |daemons: &Daemons| {
        let blocks = runtime.block_on(replicas(daemons)).ok()?;
        let all = blocks.len() == FILES && blocks.iter().all(|block| racks(block) == (1, 1));
        all.then_some(blocks)
    };
    wait_for("every block to be in both racks", PATIENCE, || spread(&daemons));

    // One of two in its rack dies: its replicas go to the other one there.
    daemons.kill(Role::DataNode, 3)?;
    let dead = format!("/b/{}:", address(3));
    wait_for("every block to be in both racks again", PATIENCE, || {
        let blocks = spread(&daemons)?;
        let gone = blocks.iter().flatten().all(|replica| !replica.starts_with(&dead));
        gone.then_some(())
    });

    // Racks are asked about again with the lists of hosts.
    write_racks(&table, |_| "/a")?;
    daemons.hathi("dfsadmin", &["-refreshNodes"])?;
    // It may have had no replica, and is not missed then before its heartbeats are.
    let live = wait_for("three live DataNodes", PATIENCE, || {
        let live = daemons.hathi("dfsadmin", &["-report", "-live"]).ok()?;
        live.contains("Live datanodes (3)").then_some(live)
    });
    assert_eq!(
        (live.matches("Rack: /a").count(), live.matches("Rack: /b").count()),
        (3, 0),
        "{live}"
    );
    Ok(())
}

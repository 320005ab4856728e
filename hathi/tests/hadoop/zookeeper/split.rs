//! NameNodes that a fencing method calls fenced, and that go on.

use super::states::{StatesWatch, is_active};
use super::{HATHI, PATIENCE};
use anyhow::{Context, Result, ensure};
use hathi_formats::proto::hdfs::{FsPermissionProto, MkdirsRequestProto, MkdirsResponseProto};
use hathi_interop::{Hadoop, Kind, Load, Pair, PortRange, Relay, Role, SharedEdits, ZooKeeper, wait_for};
use hathi_net::ipc::protocols::CLIENT_PROTOCOL;
use hathi_net::ipc::{ClientOptions, RpcClient};
use rustix::process::Signal;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(work))
}

/// By its clients' port, as nobody may reach the other one.
fn serves(pair: &Pair, namenode: usize) -> Result<bool> {
    block_on(is_active(&pair.address(Role::NameNode, namenode).to_string()))
}

fn waits_until_it_serves(pair: &Pair, namenode: usize) {
    wait_for(&format!("nn{namenode} to serve"), PATIENCE, || {
        serves(pair, namenode).ok()?.then_some(())
    });
}

fn logs(pair: &Pair, daemon: &str, line: &str, times: usize) {
    wait_for(&format!("'{line}' of {daemon}"), PATIENCE, || {
        (pair.log(daemon).matches(line).count() >= times).then_some(())
    });
}

/// What the metrics of a NameNode say of a split: who goes on, and how many that are.
fn split_shown(pair: &Pair, namenode: usize) -> Result<(Option<String>, u64)> {
    let http = pair.http_address(Role::NameNode, namenode);
    let url = format!("http://{http}/jmx?qry=Hadoop:service=NameNode,name=Hathi");
    let (_, jmx) = block_on(hathi_net::http::get_bytes(&url, PATIENCE, 1 << 20))??;
    let jmx: serde_json::Value = serde_json::from_slice(&jmx)?;
    let bean = jmx["beans"].get(0).context("no bean")?;
    let count = bean["SplitNameNodes"].as_u64().context("no SplitNameNodes")?;
    Ok((bean["Split"].as_str().map(str::to_owned), count))
}

/// A client of nn1 that makes a directory, and another one when it is told to, over the same connection.
struct LateCall {
    go: Sender<()>,
    /// Whether the other one was acknowledged.
    client: JoinHandle<Result<bool>>,
}

impl LateCall {
    fn connect(pair: &Pair, path: &'static str) -> Result<LateCall> {
        let address = pair.address(Role::NameNode, 1);
        let ((go, told), (connected, is_connected)) = (channel(), channel());
        let client = std::thread::spawn(move || {
            let request = |path: &str| MkdirsRequestProto {
                src: path.to_owned(),
                masked: FsPermissionProto { perm: 0o755 },
                create_parent: true,
                unmasked: None,
            };
            block_on(async {
                let client = RpcClient::connect(address, &CLIENT_PROTOCOL, ClientOptions::new("tester")).await?;
                let _: MkdirsResponseProto = client.call("mkdirs", &request("/before")).await?;
                connected.send(())?;
                told.recv()?;
                let late: Result<MkdirsResponseProto, _> = client.call("mkdirs", &request(path)).await;
                Ok(late.is_ok_and(|answer| answer.result))
            })?
        });
        is_connected.recv().context("nn1 does not answer")?;
        Ok(LateCall { go, client })
    }
}

#[test]
fn who_is_said_to_be_fenced_and_goes_on_is_the_only_one_that_serves_until_it_is_fenced_indeed() -> Result<()> {
    use Kind::Ours;
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let zookeeper = ZooKeeper::start(hadoop, 1)?;
    let quorum = zookeeper.quorum();
    // Controllers reach nn0 by way of a relay, clients and JournalNodes have their own ways.
    let ports = PortRange::claim()?;
    let service = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.base()));
    let behind = Ipv4Addr::new(127, 0, 0, 2);
    let relay = Relay::start(service, (behind, ports.base()).into())?;
    let (service, behind) = (service.to_string(), behind.to_string());
    let dir = tempfile::tempdir()?;
    let lie = dir.path().join("lie");
    let fencing = format!("shell(test -e {})", lie.display());
    let settings = [
        ("dfs.ha.automatic-failover.enabled", "true"),
        ("dfs.namenode.servicerpc-address.ns.nn0", service.as_str()),
        ("dfs.namenode.servicerpc-bind-host", behind.as_str()),
        ("ha.zookeeper.quorum", quorum.as_str()),
        ("ha.zookeeper.session-timeout.ms", "4000"),
        ("ha.health-monitor.rpc-timeout.ms", "1000"),
        ("ha.failover-controller.graceful-fence.rpc-timeout.ms", "500"),
        ("ha.failover-controller.graceful-fence.connection.retries", "0"),
        ("dfs.ha.fencing.methods", fencing.as_str()),
        ("dfs.permissions.enabled", "false"),
        // The connection to a NameNode that stands still is only silent.
        ("ipc.client.rpc-timeout.ms", "2000"),
    ];
    let mut pair = Pair::new(HATHI, None, SharedEdits::QUORUM, &settings)?;
    for index in 0..3 {
        pair.start_journalnode(index, Ours)?;
    }
    let (first, second) = (pair.conf(0), pair.conf(1));
    pair.namenode(Ours, &first, &["-format", "-nonInteractive"])?;
    pair.format_zookeeper(Ours)?;
    pair.start_namenode(0, Ours, &first)?;
    pair.start_controller(0, Ours)?;
    waits_until_it_serves(&pair, 0);
    pair.namenode(Ours, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Ours, &second)?;
    pair.start_controller(1, Ours)?;
    logs(&pair, "zkfc1", "connected to ZooKeeper", 1);
    let load = Load::start(&first)?;
    let addresses = (0..2).map(|index| pair.address(Role::NameNode, index).to_string());
    let watch = StatesWatch::start(addresses.collect());
    load.goes_on();

    // No controller reaches it, and no method fences it: nobody else is promoted.
    relay.cut();
    logs(&pair, "zkfc1", "the former active is not fenced", 2);
    load.goes_on();
    ensure!(
        serves(&pair, 0)? && !serves(&pair, 1)?,
        "it moved although nothing was fenced"
    );
    ensure!(split_shown(&pair, 1)? == (None, 0), "{:?}", split_shown(&pair, 1)?);

    // The method lies: the JournalNodes admit nobody beside it, and that is told and shown.
    std::fs::write(&lie, "")?;
    logs(&pair, "zkfc1", "SPLIT: this NameNode was said to be fenced", 1);
    wait_for("the split in the metrics", PATIENCE, || {
        let told = format!("nn0 by {fencing}");
        (split_shown(&pair, 1).ok()? == (Some(told), 1)).then_some(())
    });
    load.goes_on();
    ensure!(serves(&pair, 0)? && !serves(&pair, 1)?, "two serve, or nobody does");

    // It can be reached again, and nobody looks after it: it is asked to step down, although the breadcrumb names nn1 by now.
    pair.kill_controller(0)?;
    relay.mend();
    waits_until_it_serves(&pair, 1);
    pair.wait_for_state(0, "standby");
    load.goes_on();
    wait_for("the end of the split", PATIENCE, || {
        (split_shown(&pair, 1).ok()? == (None, 0)).then_some(())
    });

    // The active stands still, is said to be fenced, and wakes up with a call that it has not read yet.
    pair.start_controller(0, Ours)?;
    logs(&pair, "zkfc0", "connected to ZooKeeper", 1);
    eprintln!("the states were looked at {} times", watch.end()?);
    let late = LateCall::connect(&pair, "/late")?;
    pair.signal_controller(1, Signal::STOP)?;
    pair.signal(Role::NameNode, 1, Signal::STOP)?;
    late.go.send(())?;
    waits_until_it_serves(&pair, 0);
    load.goes_on();
    pair.signal(Role::NameNode, 1, Signal::CONT)?;
    let acknowledged = late.client.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
    // It passes a call on that it can't serve, and then that one has it.
    let is_there = pair.run("dfs", &["-test", "-d", "/late"]).is_ok();
    ensure!(!acknowledged || is_there, "it has acknowledged what nobody has");
    logs(&pair, "nn1", "promised an epoch higher", 1);
    pair.wait_for_state(1, "standby");
    load.goes_on();
    pair.signal_controller(1, Signal::CONT)?;
    eprintln!("{} directories", load.end()?);
    Ok(())
}

//! The real ZooKeeper elects the active NameNode, among our controllers and Hadoop's.

use anyhow::{Context, Result, ensure};
use hathi_formats::proto::common;
use hathi_interop::{ClusterOptions, Daemons, Hadoop, Kind, Load, Pair, Role, SharedEdits, Sshd, ZooKeeper, wait_for};
use hathi_net::ipc::protocols::HA_SERVICE_PROTOCOL;
use hathi_net::ipc::{ClientOptions, RpcError, connect_to};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

/// Formats the znode; the exit code, and what it told.
fn format_zookeeper(conf: &Path, options: &[&str]) -> Result<(Option<i32>, String)> {
    let output = Command::new(HATHI)
        .args(["zkfc", "--conf"])
        .arg(conf)
        .arg("-formatZK")
        .args(options)
        .stdin(Stdio::null())
        .output()?;
    Ok((
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

/// Waits until a controller has logged this once more than before.
fn logs_anew(daemons: &Daemons, controller: u16, line: &str, before: usize) {
    wait_for(&format!("'{line}' of zkfc-{controller}"), PATIENCE, || {
        (count(daemons, controller, line) > before).then_some(())
    });
}

fn count(daemons: &Daemons, controller: u16, line: &str) -> usize {
    daemons.log(Role::Zkfc, controller).matches(line).count()
}

/// Hadoop's own client, which makes directories one after the other (FailoverClient.java).
struct HadoopsClient {
    child: Child,
    summary: std::thread::JoinHandle<String>,
}

impl HadoopsClient {
    fn start(hadoop: &Hadoop, conf: &Path) -> Result<Self> {
        let mut child = hadoop
            .command(conf, "FailoverClient.java", &["/hadoops", "0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("stdout")?).lines();
        let summary = std::thread::spawn(move || {
            let mut told = String::new();
            for line in lines.map_while(Result::ok) {
                told = told + &line + "\n";
            }
            told
        });
        Ok(HadoopsClient { child, summary })
    }

    /// Stops it; what it told, in which no call failed and nothing is lost.
    fn end(mut self) -> Result<String> {
        self.child.stdin.take().context("stdin")?.write_all(b"stop\n")?;
        self.child.wait()?;
        let told = self.summary.join().map_err(|_| anyhow::anyhow!("it can't be heard"))?;
        ensure!(told.contains(" errors 0 ") && told.contains(" lost 0 "), "{told}");
        Ok(told)
    }
}

/// Asks all NameNodes all the time for their states: no two of them may be active.
struct StatesWatch {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<u64>>,
}

impl StatesWatch {
    fn start(addresses: Vec<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let mut rounds = 0;
            while !stopped.load(Ordering::Relaxed) {
                for (index, address) in addresses.iter().enumerate() {
                    let others = addresses.iter().enumerate().filter(|(other, _)| *other != index);
                    let others: Vec<&String> = others.map(|(_, address)| address).collect();
                    runtime.block_on(alone(address, &others))?;
                }
                rounds += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(rounds)
        });
        StatesWatch { stop, thread }
    }

    fn end(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("it panicked"))?
    }
}

/// No other one is active between two moments at which this one is. It does not lose the role and win it again so fast.
async fn alone(address: &str, others: &[&String]) -> Result<()> {
    let started = Instant::now();
    if !is_active(address).await {
        return Ok(());
    }
    for other in others {
        let beside = is_active(other).await;
        let still = beside && is_active(address).await && started.elapsed() < Duration::from_millis(500);
        ensure!(!still, "{other} is active beside {address}");
    }
    Ok(())
}

async fn is_active(address: &str) -> bool {
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    let mut options = ClientOptions::new(&user);
    options.connect_timeout = Duration::from_secs(1);
    options.call_timeout = Duration::from_secs(1);
    let state = async {
        let client = connect_to(address, &HA_SERVICE_PROTOCOL, &options).await?;
        let request = common::GetServiceStatusRequestProto {};
        let status: common::GetServiceStatusResponseProto = client.call("getServiceStatus", &request).await?;
        Ok::<i32, RpcError>(status.state)
    };
    state
        .await
        .is_ok_and(|state| state == common::HaServiceStateProto::Active as i32)
}

#[test]
fn zookeeper_elects_among_our_controllers_and_its_loss_moves_nobody() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut zookeeper = ZooKeeper::start(hadoop, 1)?;
    let options = ClusterOptions {
        datanodes: 1,
        ..ClusterOptions::default()
    };
    let quorum = zookeeper.quorum();
    let sshd = Sshd::start()?;
    let (fencing, key) = match &sshd {
        Some(sshd) => (format!("sshfence(:{})", sshd.port()), sshd.key().display().to_string()),
        None => ("shell(/bin/true)".to_owned(), String::new()),
    };
    let settings = [
        ("ha.zookeeper.quorum", quorum.as_str()),
        ("ha.zookeeper.session-timeout.ms", "4000"),
        ("ha.zookeeper.acl", "auth::rwcda"),
        ("dfs.ha.fencing.methods", fencing.as_str()),
        ("dfs.ha.fencing.ssh.private-key-files", key.as_str()),
        ("ha.failover-controller.graceful-fence.rpc-timeout.ms", "1000"),
        ("ha.failover-controller.graceful-fence.connection.retries", "0"),
    ];
    let mut daemons = Daemons::new(Path::new(HATHI), options, &settings)?;
    let conf = daemons.daemon_conf(Role::Zkfc, 0);
    ensure!(
        Command::new(HATHI)
            .args(["zkfc", "--conf"])
            .arg(&conf)
            .stdin(Stdio::null())
            .output()?
            .status
            .code()
            == Some(3),
        "a controller starts without a znode"
    );
    let secret = daemons.dir().join("secret");
    std::fs::write(&secret, "digest:hdfs:secret\n")?;
    let secret = format!("@{}", secret.display());
    for index in daemons.of(Role::Zkfc) {
        daemons.configure(Role::Zkfc, index, &[("ha.zookeeper.auth", &secret)])?;
    }
    let (code, told) = format_zookeeper(&conf, &["-nonInteractive"])?;
    ensure!(code == Some(0), "{told}");
    ensure!(
        format_zookeeper(&conf, &["-nonInteractive"])?.0 == Some(2),
        "formatted over what was there"
    );
    ensure!(format_zookeeper(&conf, &["-force"])?.0 == Some(0));
    ensure!(
        format_zookeeper(&daemons.daemon_conf(Role::NameNode, 0), &["-force"])?.0 == Some(1),
        "somebody without the credentials formats it"
    );
    daemons.start_all()?;
    daemons.wait_until_ready();
    let load = Load::start(&daemons.conf())?;
    load.goes_on();

    // The active dies: its controller lives, and gives the lock up.
    let first = daemons.wait_for_active(&[]);
    daemons.kill(Role::NameNode, first)?;
    let second = daemons.wait_for_active(&[first]);
    load.goes_on();
    daemons.start(Role::NameNode, first)?;
    daemons.wait_until_ready();

    // Without ZooKeeper, for longer than a session lasts.
    let resumed = "the session will be resumed";
    let before = count(&daemons, second, resumed);
    let promotions = |daemons: &Daemons| -> usize {
        let controllers = daemons.of(Role::Zkfc);
        controllers
            .map(|index| count(daemons, index, "asking the NameNode for a transition"))
            .sum()
    };
    let transitions = promotions(&daemons);
    zookeeper.kill()?;
    logs_anew(&daemons, second, resumed, before);
    load.goes_on();
    ensure!(daemons.active() == Some(second), "it moved without ZooKeeper");
    let again = "the ZooKeeper session is resumed";
    let before = count(&daemons, second, again);
    zookeeper.start_all()?;
    logs_anew(&daemons, second, again, before);
    load.goes_on();
    ensure!(daemons.active() == Some(second), "it moved when ZooKeeper came back");
    ensure!(
        promotions(&daemons) == transitions,
        "somebody was asked for a transition"
    );

    // The holder's controller stands still: its session ends, and the NameNode steps down when it is asked.
    daemons.signal(Role::Zkfc, second, Signal::STOP)?;
    let third = daemons.wait_for_active(&[second]);
    load.goes_on();
    ensure!(daemons.state(second).as_deref() == Some("standby"), "two are active");
    ensure!(
        daemons
            .log(Role::Zkfc, third)
            .contains("the former active is a standby"),
        "it was not fenced gracefully"
    );
    daemons.signal(Role::Zkfc, second, Signal::CONT)?;
    logs_anew(&daemons, second, "the ZooKeeper session has expired", 0);

    // Killed, the same.
    daemons.kill(Role::Zkfc, third)?;
    let fourth = daemons.wait_for_active(&[third]);
    load.goes_on();
    daemons.start(Role::Zkfc, third)?;
    daemons.wait_until_ready();

    let (from, to) = (format!("nn{fourth}"), format!("nn{third}"));
    wait_for("a graceful failover", PATIENCE, || {
        daemons.hathi("haadmin", &["-failover", &from, &to]).ok()
    });
    ensure!(daemons.active() == Some(third), "{to} is not active");
    load.goes_on();

    // A controller that is told to end gives the lock up itself.
    daemons.signal(Role::Zkfc, third, Signal::TERM)?;
    let fifth = daemons.wait_for_active(&[third]);
    logs_anew(&daemons, third, "the ZooKeeper session is closed", 0);
    load.goes_on();
    wait_for("the end of a controller", PATIENCE, || {
        (!daemons.is_running(Role::Zkfc, third)).then_some(())
    });
    daemons.start(Role::Zkfc, third)?;
    daemons.wait_until_ready();

    // Nobody can reach the active, and nobody looks after it.
    daemons.signal(Role::Zkfc, fifth, Signal::STOP)?;
    daemons.signal(Role::NameNode, fifth, Signal::STOP)?;
    let sixth = daemons.wait_for_active(&[fifth]);
    load.goes_on();
    let fenced = format!("nn{fifth} was fenced by {fencing}");
    ensure!(daemons.log(Role::Zkfc, sixth).contains(&fenced), "not '{fenced}'");
    if sshd.is_some() {
        wait_for("the end of who was fenced", PATIENCE, || {
            (!daemons.is_running(Role::NameNode, fifth)).then_some(())
        });
    }
    eprintln!("{} directories", load.end()?);
    Ok(())
}

#[test]
fn one_election_of_hadoops_daemons_and_ours_survives_what_each_of_them_suffers() -> Result<()> {
    use Kind::{Hadoops, Ours};
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut zookeeper = ZooKeeper::start(hadoop.clone(), 3)?;
    let quorum = zookeeper.quorum();
    let settings = [
        ("dfs.ha.automatic-failover.enabled", "true"),
        ("ha.zookeeper.quorum", quorum.as_str()),
        ("ha.zookeeper.session-timeout.ms", "4000"),
    ];
    let mut pair = Pair::new(HATHI, Some(hadoop.clone()), SharedEdits::QUORUM, &settings)?;
    for index in 0..3 {
        pair.start_journalnode(index, Ours)?;
    }
    let (first, second) = (pair.conf(0), pair.conf(1));
    pair.namenode(Ours, &first, &["-format", "-nonInteractive"])?;
    pair.format_zookeeper(Ours)?;
    pair.start_namenode(0, Ours, &first)?;
    pair.start_controller(0, Ours)?;
    pair.wait_for_state(0, "active");
    let load = Load::start(&first)?;
    let hadoops_client = HadoopsClient::start(&hadoop, &first)?;
    load.goes_on();
    let addresses = (0..2).map(|index| pair.address(Role::NameNode, index).to_string());
    let watch = StatesWatch::start(addresses.collect());
    pair.namenode(Hadoops, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Hadoops, &second)?;
    pair.start_controller(1, Hadoops)?;

    // Each dies in turn.
    pair.kill_namenode(0)?;
    pair.wait_for_state(1, "active");
    load.goes_on();
    pair.start_namenode(0, Ours, &first)?;
    pair.kill_namenode(1)?;
    pair.wait_for_state(0, "active");
    load.goes_on();

    // And hands the role over.
    pair.start_namenode(1, Hadoops, &second)?;
    let hand_over = |pair: &Pair, from, to| {
        wait_for("a graceful failover", PATIENCE, || pair.failover(from, to).ok());
        load.goes_on();
    };
    hand_over(&pair, 0, 1);
    hand_over(&pair, 1, 0);

    // All of ZooKeeper is gone, for longer than a session lasts.
    zookeeper.kill()?;
    wait_for("the loss of ZooKeeper", PATIENCE, || {
        pair.log("zkfc0").contains("the session will be resumed").then_some(())
    });
    load.goes_on();
    zookeeper.start_all()?;
    wait_for("the return of ZooKeeper", PATIENCE, || {
        pair.log("zkfc0")
            .contains("the ZooKeeper session is resumed")
            .then_some(())
    });
    load.goes_on();
    pair.wait_for_state(0, "active");

    // The session of the holder is lost while it stands still.
    pair.signal_controller(0, Signal::STOP)?;
    pair.wait_for_state(1, "active");
    load.goes_on();
    pair.signal_controller(0, Signal::CONT)?;
    wait_for("the end of the session", PATIENCE, || {
        pair.log("zkfc0")
            .contains("the ZooKeeper session has expired")
            .then_some(())
    });

    // The holder's controller is killed, one of Hadoop.
    pair.kill_controller(1)?;
    pair.wait_for_state(0, "active");
    load.goes_on();

    // Our controller beside Hadoop's NameNode.
    pair.start_controller(1, Ours)?;
    hand_over(&pair, 0, 1);
    // One that ends gives the lock up.
    pair.stop_controller(1)?;
    pair.wait_for_state(0, "active");
    load.goes_on();
    pair.start_controller(1, Ours)?;
    hand_over(&pair, 0, 1);
    pair.kill_namenode(1)?;
    pair.wait_for_state(0, "active");
    load.goes_on();
    eprintln!(
        "{} directories; Hadoop's client: {}",
        load.end()?,
        hadoops_client.end()?
    );
    eprintln!("the states were looked at {} times", watch.end()?);
    Ok(())
}

#[test]
fn zookeeper_moves_the_role_of_namenodes_that_share_a_directory() -> Result<()> {
    use Kind::Ours;
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let zookeeper = ZooKeeper::start(hadoop, 1)?;
    let quorum = zookeeper.quorum();
    let settings = [
        ("dfs.ha.automatic-failover.enabled", "true"),
        ("ha.zookeeper.quorum", quorum.as_str()),
        ("ha.zookeeper.session-timeout.ms", "5000"),
        ("dfs.ha.log-roll.period", "1"),
    ];
    let mut pair = Pair::new(HATHI, None, SharedEdits::Directory, &settings)?;
    let (first, second) = (pair.conf(0), pair.conf(1));
    pair.namenode(Ours, &first, &["-format", "-nonInteractive"])?;
    pair.format_zookeeper(Ours)?;
    pair.start_namenode(0, Ours, &first)?;
    pair.start_controller(0, Ours)?;
    pair.wait_for_state(0, "active");
    pair.namenode(Ours, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Ours, &second)?;
    pair.start_controller(1, Ours)?;
    let load = Load::start(&first)?;
    load.goes_on();
    pair.kill_namenode(0)?;
    pair.wait_for_state(1, "active");
    load.goes_on();
    pair.start_namenode(0, Ours, &first)?;
    wait_for("a graceful failover", PATIENCE, || pair.failover(1, 0).ok());
    load.goes_on();
    eprintln!("{} directories", load.end()?);
    Ok(())
}

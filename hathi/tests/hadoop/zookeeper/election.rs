//! One election in which stand Hadoop's controllers and ours, beside Hadoop's NameNode and ours.

use super::states::StatesWatch;
use super::{HATHI, PATIENCE};
use anyhow::Result;
use hathi_interop::{
    FailoverClient, Hadoop, Kind, Load, Pair, PortRange, Relay, Role, SharedEdits, ZooKeeper, wait_for,
};
use rustix::process::Signal;
use std::net::{Ipv4Addr, SocketAddr};

/// The client is asked for its pauses from so many ms on.
const SHORTEST_GAP_MS: u32 = 20;

/// With these a controller of Hadoop's hands the role on before the lease of a dead NameNode of ours has run out.
const QUICK: [(&str, &str); 2] = [
    ("ha.health-monitor.check-interval.ms", "100"),
    ("ha.failover-controller.graceful-fence.connection.retries", "0"),
];

/// What stands in the election, and who notices what happens to it.
struct Election {
    pair: Pair,
    zookeeper: ZooKeeper,
    load: Load,
    hadoops_client: FailoverClient,
    watch: StatesWatch,
    /// What has happened, with the pause of Hadoop's client.
    gaps: Vec<String>,
}

impl Election {
    /// Both NameNodes run, ours is active; each has a controller of its own kind.
    fn start(hadoop: &Hadoop, settings: &[(&str, &str)], zookeeper: ZooKeeper) -> Result<Election> {
        use Kind::{Hadoops, Ours};
        let mut pair = Pair::new(HATHI, Some(hadoop.clone()), SharedEdits::QUORUM, settings)?;
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
        let hadoops_client = FailoverClient::start(hadoop, &first, "/hadoops", 0, SHORTEST_GAP_MS)?;
        load.goes_on();
        let addresses = (0..2).map(|index| pair.address(Role::NameNode, index).to_string());
        let watch = StatesWatch::start(addresses.collect());
        pair.namenode(Hadoops, &second, &["-bootstrapStandby", "-nonInteractive"])?;
        pair.start_namenode(1, Hadoops, &second)?;
        pair.start_controller(1, Hadoops)?;
        Ok(Election {
            pair,
            zookeeper,
            load,
            hadoops_client,
            watch,
            gaps: Vec::new(),
        })
    }

    /// This happens, and somebody is active after it: nn0 or nn1.
    fn ends_with(
        &mut self,
        what: &str,
        active: usize,
        happens: impl FnOnce(&mut Election) -> Result<()>,
    ) -> Result<()> {
        // What the start of a daemon has cost is not part of it.
        let _ = self.hadoops_client.longest_gap_ms();
        happens(self)?;
        self.pair.wait_for_state(active, "active");
        self.load.goes_on();
        // A pause is told of when it is over, and both clients met the same one.
        self.load.goes_on();
        let gap_ms = self.hadoops_client.longest_gap_ms();
        self.gaps.push(format!("{what}: {gap_ms} ms"));
        Ok(())
    }

    fn hand_over(&mut self, what: &str, from: usize, to: usize) -> Result<()> {
        let what = format!("{what}, nn{from} to nn{to}");
        self.ends_with(&what, to, |election| {
            wait_for("a graceful failover", PATIENCE, || {
                election.pair.failover(from, to).ok()
            });
            Ok(())
        })
    }

    /// Waits until a controller of ours has logged this since its start.
    fn logs(&self, controller: usize, line: &str) {
        let name = format!("zkfc{controller}");
        wait_for(&format!("'{line}' of {name}"), PATIENCE, || {
            self.pair.log(&name).contains(line).then_some(())
        });
    }

    /// A controller that was stopped goes on, and waits until it has logged this once more. Before that it may hold a lock
    /// whose session is over, and leaves the election again for what its NameNode was told meanwhile.
    fn controller_goes_on(&self, controller: usize, line: &str) -> Result<()> {
        let name = format!("zkfc{controller}");
        let times = || self.pair.log(&name).matches(line).count();
        let before = times();
        self.pair.signal_controller(controller, Signal::CONT)?;
        wait_for(&format!("'{line}' of {name} once more"), PATIENCE, || {
            (times() > before).then_some(())
        });
        Ok(())
    }

    fn restart(&mut self, index: usize, kind: Kind) -> Result<()> {
        let conf = self.pair.conf(index);
        self.pair.start_namenode(index, kind, &conf)
    }
}

/// NameNodes die, and hand the role over.
fn namenodes(election: &mut Election) -> Result<()> {
    use Kind::{Hadoops, Ours};
    election.ends_with("our NameNode is killed", 1, |election| election.pair.kill_namenode(0))?;
    election.restart(0, Ours)?;
    election.ends_with("Hadoop's NameNode is killed", 0, |election| {
        election.pair.kill_namenode(1)
    })?;
    election.restart(1, Hadoops)?;
    election.hand_over("our controller and Hadoop's", 0, 1)?;
    election.hand_over("our controller and Hadoop's", 1, 0)
}

/// A server of ZooKeeper dies, and all of them do, for longer than a session lasts: nothing moves.
fn servers(election: &mut Election) -> Result<()> {
    election.ends_with("the leader of ZooKeeper is killed", 0, |election| {
        let leader = election.zookeeper.leader();
        election.zookeeper.kill_one(leader)?;
        let _ = election.zookeeper.leader();
        election.zookeeper.start_all()
    })?;
    election.ends_with("all of ZooKeeper is gone and comes back", 0, |election| {
        election.zookeeper.kill()?;
        election.logs(0, "the session will be resumed");
        election.load.goes_on();
        election.zookeeper.start_all()?;
        election.logs(0, "the ZooKeeper session is resumed");
        Ok(())
    })?;
    election.pair.wait_for_state(1, "standby");
    Ok(())
}

/// The controllers of who is active stand still and die, ours and Hadoop's.
fn controllers(election: &mut Election) -> Result<()> {
    use Kind::{Hadoops, Ours};
    election.ends_with("our controller is stopped", 1, |election| {
        election.pair.signal_controller(0, Signal::STOP)
    })?;
    election.controller_goes_on(0, "the ZooKeeper session has expired")?;
    election.ends_with("Hadoop's controller is stopped", 0, |election| {
        election.pair.signal_controller(1, Signal::STOP)
    })?;
    election.controller_goes_on(1, "should become standby")?;
    election.hand_over("after both lost a session", 0, 1)?;
    election.ends_with("Hadoop's controller is killed", 0, |election| {
        election.pair.kill_controller(1)
    })?;

    // Our controller beside Hadoop's NameNode.
    election.pair.start_controller(1, Ours)?;
    election.hand_over("two controllers of ours", 0, 1)?;
    election.ends_with("our controller ends", 0, |election| election.pair.stop_controller(1))?;
    election.pair.start_controller(1, Ours)?;
    election.hand_over("two controllers of ours", 0, 1)?;
    election.ends_with("Hadoop's NameNode is killed beside our controller", 0, |election| {
        election.pair.kill_namenode(1)
    })?;
    election.restart(1, Hadoops)?;
    election.ends_with("our controller is killed", 1, |election| {
        election.pair.kill_controller(0)
    })
}

/// Hadoop's controller stands beside our NameNode, and then there are two of them.
fn other_pairs(election: &mut Election) -> Result<()> {
    use Kind::{Hadoops, Ours};
    election.pair.start_controller_with(0, Hadoops, &QUICK)?;
    election.hand_over("Hadoop's controller and ours", 1, 0)?;
    election.hand_over("Hadoop's controller and ours", 0, 1)?;
    election.ends_with("our controller ends beside Hadoop's", 0, |election| {
        election.pair.stop_controller(1)
    })?;
    election.pair.start_controller_with(1, Hadoops, &QUICK)?;
    election.hand_over("two controllers of Hadoop's", 0, 1)?;
    election.hand_over("two controllers of Hadoop's", 1, 0)?;
    // They give no lease back, so Hadoop's NameNode has to wait for its end.
    election.ends_with("our NameNode is killed between two of Hadoop's", 1, |election| {
        election.pair.kill_namenode(0)
    })?;
    election.restart(0, Ours)?;
    election.pair.namenodes_live()?;
    election.hand_over("two controllers of Hadoop's", 1, 0)
}

/// One controller of ours alone can't reach ZooKeeper any more.
fn cut_off(election: &mut Election) -> Result<()> {
    election.ends_with("Hadoop's controller is killed beside our NameNode", 1, |election| {
        election.pair.kill_controller(0)
    })?;
    let ports = PortRange::claim()?;
    let from = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.base()));
    let relay = Relay::start(from, election.zookeeper.address(0))?;
    let alone = [("ha.zookeeper.quorum", from.to_string())];
    let alone = alone.each_ref().map(|(key, value)| (*key, value.as_str()));
    election.pair.start_controller_with(0, Kind::Ours, &alone)?;
    election.hand_over("our controller and Hadoop's", 1, 0)?;
    election.ends_with("our controller is cut off from ZooKeeper", 1, |_| {
        relay.cut();
        Ok(())
    })?;
    // It was asked to, and is well.
    election.pair.wait_for_state(0, "standby");
    election.pair.namenodes_live()?;
    relay.mend();
    // It has given its session up by itself.
    election.logs(0, "connected to ZooKeeper session=2");
    election.hand_over("after one lost its session", 1, 0)
}

#[test]
fn one_election_of_hadoops_daemons_and_ours_survives_what_each_of_them_suffers() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let zookeeper = ZooKeeper::start(hadoop.clone(), 3)?;
    let quorum = zookeeper.quorum();
    let secrets = tempfile::tempdir()?;
    let secret = |name: &str, text: &str| -> Result<String> {
        let path = secrets.path().join(name);
        std::fs::write(&path, text)?;
        Ok(format!("@{}", path.display()))
    };
    // The base64 of the SHA-1 of hdfs:secret.
    let acl = secret("acl", "digest:hdfs:Rqc/eU/YLg4bkzNvY5214ox3UMs=:rwcda\n")?;
    let auth = secret("auth", "digest:hdfs:secret\n")?;
    let settings = [
        ("dfs.ha.automatic-failover.enabled", "true"),
        ("ha.zookeeper.quorum", quorum.as_str()),
        ("ha.zookeeper.session-timeout.ms", "4000"),
        ("ha.zookeeper.acl", acl.as_str()),
        ("ha.zookeeper.auth", auth.as_str()),
    ];
    let mut election = Election::start(&hadoop, &settings, zookeeper)?;
    namenodes(&mut election)?;
    servers(&mut election)?;
    controllers(&mut election)?;
    other_pairs(&mut election)?;
    cut_off(&mut election)?;
    eprintln!("pauses of Hadoop's client:\n  {}", election.gaps.join("\n  "));
    eprintln!(
        "{} directories; Hadoop's client: {}",
        election.load.end()?,
        election.hadoops_client.end()?
    );
    eprintln!("the states were looked at {} times", election.watch.end()?);
    Ok(())
}

//! What an operator sees of each fault: `hathi doctor`, the alerts of dist/alerts.yml, the alarms of the page and the logs.
//!
//! The words are those of the table in docs/monitoring.md. Each fault is injected after none of its words was said, then
//! every witness says them of the right daemon, and after the fault is healed doctor, alerts and page are quiet again.

use super::promql::{self, Scrape};
use anyhow::{Context, Result, ensure};
use hathi_conf::Configuration;
use hathi_interop::{ClusterOptions, Daemons, Role, Slow, Start, wait_for};
use rustix::fs::statvfs;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
/// Other tests may keep the machine busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two questions to a witness.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a daemon has for an answer to a scrape.
const SCRAPE_LIMIT: Duration = Duration::from_secs(3);
const OPTIONS: ClusterOptions = ClusterOptions {
    namenodes: 3,
    journalnodes: 3,
    datanodes: 2,
};
const DISK_BYTES: u64 = 64 << 20;
const RESERVED_BYTES: u64 = 4 << 20;
const SLOW_SYNC: Duration = Duration::from_millis(400);
const CLOCK_AHEAD: Duration = Duration::from_secs(5);
/// The heading above the table.
const HEADING: &str = "## What each fault looks like";

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Witness {
    Page,
    Alerts,
    Log,
    Doctor,
}

/// In the order of their prices.
const WITNESSES: [Witness; 4] = [Witness::Page, Witness::Alerts, Witness::Log, Witness::Doctor];
/// In the order of the table's columns.
const COLUMNS: [Witness; 4] = [Witness::Doctor, Witness::Alerts, Witness::Page, Witness::Log];

/// What has to be said of a fault, by the row of the table, with its daemons' names put in.
struct Fault {
    title: &'static str,
    words: BTreeMap<Witness, Vec<String>>,
    /// The daemons in whose logs it may stand.
    logs: Vec<(Role, u16)>,
}

impl Fault {
    fn new(title: &'static str, names: &[(&str, String)], logs: &[(Role, u16)]) -> Result<Fault> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/monitoring.md");
        let text = std::fs::read_to_string(path)?;
        let (_, rest) = text.split_once(HEADING).context(HEADING)?;
        let start = format!("| {title} |");
        let row = rest
            .lines()
            .find(|line| line.starts_with(&start))
            .context(start.clone())?;
        let cells = row.trim_matches('|').split(" | ").skip(1);
        let mut words = BTreeMap::new();
        for (witness, cell) in COLUMNS.into_iter().zip(cells) {
            let spans: Vec<String> = cell
                .split('`')
                .skip(1)
                .step_by(2)
                .map(|span| named(span, names))
                .collect();
            ensure!(!spans.is_empty(), "{title}: {witness:?} says nothing");
            words.insert(witness, spans);
        }
        ensure!(words.len() == COLUMNS.len(), "{row}");
        let logs = logs.to_vec();
        Ok(Fault { title, words, logs })
    }
}

fn named(span: &str, names: &[(&str, String)]) -> String {
    let put = |text: String, (name, value): &(&str, String)| text.replace(name, value);
    names.iter().fold(span.to_owned(), put)
}

/// Whether a line has the parts of a pattern, in their order. What stands for `…` does not matter.
fn says(line: &str, pattern: &str) -> bool {
    let mut rest = line;
    pattern.split('…').all(|part| {
        let found = rest.find(part);
        rest = found.map_or("", |at| &rest[at + part.len()..]);
        found.is_some()
    })
}

fn said(lines: &[String], pattern: &str) -> bool {
    lines.iter().any(|line| says(line, pattern))
}

/// What is in an answer's body.
fn get(address: &str, path: &str) -> Result<String> {
    let address: SocketAddr = address.parse()?;
    let mut stream = TcpStream::connect_timeout(&address, SCRAPE_LIMIT)?;
    stream.set_read_timeout(Some(SCRAPE_LIMIT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
    ensure!(head.contains(" 200 "), "{path}: {head}");
    Ok(body.to_owned())
}

/// A cluster and who looks at it.
struct World {
    daemons: Daemons,
    before: Scrape,
    /// How much of each log was there when a fault was injected.
    logged: BTreeMap<(Role, u16), usize>,
    rules: Vec<(String, String, String)>,
    writes: u32,
    /// Whose disks can be filled. What is written there is gone when the daemon ends.
    small: BTreeSet<(Role, u16)>,
}

impl World {
    fn new() -> Result<World> {
        let reserved = RESERVED_BYTES.to_string();
        let settings = [
            ("dfs.namenode.heartbeat.recheck-interval", "500"),
            ("dfs.namenode.resource.du.reserved", reserved.as_str()),
            ("dfs.namenode.resource.check.interval", "500"),
        ];
        let daemons = Daemons::new(Path::new(HATHI), OPTIONS, &settings)?;
        let script = rack_script(&daemons);
        std::fs::write(&script, "#!/bin/sh\nfor host in \"$@\"; do echo /rack; done\n")?;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
        let script = script.display().to_string();
        for index in daemons.of(Role::NameNode) {
            daemons.configure(Role::NameNode, index, &[("net.topology.script.file.name", &script)])?;
        }
        daemons.configure_clients(&[("net.topology.script.file.name", &script)])?;
        std::fs::create_dir(log_dir(&daemons))?;
        let log = log_dir(&daemons).display().to_string();
        daemons.configure(Role::JournalNode, 2, &[("hathi.log.dir", &log)])?;
        for index in daemons.of(Role::JournalNode) {
            daemons.faults(Role::JournalNode, index).leave_syncs_out()?;
        }
        let mut world = World {
            daemons,
            before: Scrape::default(),
            logged: BTreeMap::new(),
            rules: rules()?,
            writes: 0,
            small: BTreeSet::from([(Role::JournalNode, 0)]),
        };
        for (role, index) in world.daemons.all() {
            world.start(role, index)?;
        }
        world.daemons.wait_until_ready();
        Ok(world)
    }

    /// Starts a daemon on disks that can be filled.
    fn start(&mut self, role: Role, index: u16) -> Result<()> {
        let mut dirs = Vec::new();
        if self.small.contains(&(role, index)) {
            dirs.push(self.daemons.data_dir(role, index));
        }
        if (role, index) == (Role::JournalNode, 2) {
            dirs.push(log_dir(&self.daemons));
        }
        match dirs.is_empty() {
            true => self.daemons.start(role, index),
            false => self
                .daemons
                .start_with(role, index, &Start::on_small_disks(&dirs, DISK_BYTES)),
        }
    }

    fn restart(&mut self, role: Role, index: u16) -> Result<()> {
        self.daemons.kill(role, index)?;
        self.start(role, index)
    }

    fn conf(&self, role: Role, index: u16, key: &str) -> Result<String> {
        Configuration::load(&self.daemons.daemon_conf(role, index))?
            .get(key)
            .context(key.to_owned())
    }

    fn web(&self, role: Role, index: u16) -> Result<String> {
        match role {
            Role::NameNode => self.daemons.namenode_http(index),
            Role::JournalNode => self.conf(role, index, "dfs.journalnode.http-address"),
            Role::DataNode => self.conf(role, index, "dfs.datanode.http.address"),
            Role::Zkfc => self.conf(role, index, &format!("hathi.zkfc.http-address.hathi.nn{index}")),
        }
    }

    /// The names by which a daemon is called: its own, and its web address as the label `instance` has it.
    fn names(&self, role: Role, index: u16) -> Result<Vec<(&'static str, String)>> {
        let name = match role {
            Role::NameNode => vec![
                ("NN-RPC", self.daemons.namenode_address(index)?),
                ("NAMENODE", format!("nn{index}")),
            ],
            Role::JournalNode => vec![("JOURNALNODE", self.conf(role, index, "dfs.journalnode.rpc-address")?)],
            Role::DataNode => vec![("DATANODE", self.conf(role, index, "dfs.datanode.address")?)],
            Role::Zkfc => Vec::new(),
        };
        let web = ("WEB-ADDRESS", self.web(role, index)?);
        Ok([vec![web], name].concat())
    }

    fn fault(&self, title: &'static str, at: (Role, u16), logs: &[(Role, u16)]) -> Result<Fault> {
        Fault::new(title, &self.names(at.0, at.1)?, logs)
    }

    /// What the page of a NameNode tells: of the active one, if there is one.
    fn cluster(&self) -> Option<Value> {
        let page = |index: u16| -> Option<Value> {
            let text = get(&self.daemons.namenode_http(index).ok()?, "/api/cluster").ok()?;
            serde_json::from_str(&text).ok()
        };
        let seen = self.daemons.of(Role::NameNode).find_map(page)?;
        let namenodes = seen["namenodes"].as_array()?;
        let active = namenodes.iter().position(|one| one["state"] == "active");
        active.and_then(|index| page(u16::try_from(index).ok()?)).or(Some(seen))
    }

    /// Waits until each NameNode has heard of each other one: before that its page can't say since when one is dead.
    fn have_heard_of_each_other(&self) {
        wait_for("the NameNodes to hear of each other", PATIENCE, || {
            let hears_all = |index| {
                let text = get(&self.daemons.namenode_http(index).ok()?, "/api/cluster").ok()?;
                let page: Value = serde_json::from_str(&text).ok()?;
                let mut namenodes = page["namenodes"].as_array()?.iter();
                namenodes.all(|one| one["reachable"] == true).then_some(())
            };
            self.daemons.of(Role::NameNode).try_for_each(hears_all)
        });
    }

    fn alarms(&self) -> Option<Vec<String>> {
        let cluster = self.cluster()?;
        let alarms = cluster["alarms"].as_array()?.iter();
        Some(
            alarms
                .filter_map(|alarm| Some(alarm["text"].as_str()?.to_owned()))
                .collect(),
        )
    }

    fn scrape(&self) -> Result<Scrape> {
        let mut scrape = Scrape::default();
        for (role, index) in self.daemons.all() {
            let address = self.web(role, index)?;
            let job = match role {
                Role::NameNode => "hathi-namenode",
                Role::JournalNode => "hathi-journalnode",
                Role::DataNode => "hathi-datanode",
                Role::Zkfc => "hathi-zkfc",
            };
            scrape.add(job, &address, get(&address, "/metrics").ok().as_deref())?;
        }
        Ok(scrape)
    }

    /// Those of the alerts that fire of which there is something in these words.
    fn alerts(&self, words: &[String]) -> Result<Vec<String>> {
        let (before, now) = (&self.before, &self.scrape()?);
        let mut firing = Vec::new();
        let named = |name: &str| {
            words
                .iter()
                .any(|word| word.starts_with(name) || name.starts_with(word))
        };
        for (name, expression, summary) in self.rules.iter().filter(|(name, _, _)| named(name)) {
            for sample in promql::evaluate(expression, before, now)? {
                firing.push(format!("{name}: {}", promql::render(summary, &sample)));
            }
        }
        Ok(firing)
    }

    fn log(&self, role: Role, index: u16) -> String {
        let mut log = self.daemons.log(role, index);
        if (role, index) == (Role::JournalNode, 2)
            && let Ok(dir) = self.daemons.seen_by(role, index, &log_dir(&self.daemons))
        {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                log += &std::fs::read_to_string(entry.path()).unwrap_or_default();
            }
        }
        log
    }

    /// The lines since the injection.
    fn lines(&self, of: &BTreeSet<(Role, u16)>) -> Vec<String> {
        let mut lines = Vec::new();
        for (role, index) in of {
            let log = self.log(*role, *index);
            let from = self.logged.get(&(*role, *index)).copied().unwrap_or(0);
            lines.extend(log.get(from..).unwrap_or_default().lines().map(str::to_owned));
        }
        lines
    }

    fn doctor(&self) -> Option<Vec<String>> {
        let output = self.daemons.client("doctor", &["--json"]).output().ok()?;
        let findings: Value = serde_json::from_slice(&output.stdout).ok()?;
        let each = findings.as_array()?.iter();
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let line = |finding| {
            format!(
                "{}: {}: {}",
                text(finding, "id"),
                text(finding, "where"),
                text(finding, "what")
            )
        };
        Some(each.map(line).collect())
    }

    /// What a witness says now of these faults.
    fn ask(&self, witness: Witness, faults: &[&Fault]) -> Option<Vec<String>> {
        match witness {
            Witness::Page => self.alarms(),
            Witness::Alerts => {
                let words: Vec<String> = faults.iter().flat_map(|fault| fault.words[&witness].clone()).collect();
                self.alerts(&words).ok()
            }
            Witness::Log => {
                let logs: BTreeSet<(Role, u16)> = faults.iter().flat_map(|fault| fault.logs.clone()).collect();
                Some(self.lines(&logs))
            }
            Witness::Doctor => self.doctor(),
        }
    }

    /// A change, so that JournalNodes have something to write.
    fn write(&mut self) -> Result<()> {
        self.writes += 1;
        let path = format!("/{}", self.writes);
        self.daemons.hathi("dfs", &["-mkdir", &path]).map(drop)
    }

    /// Waits until each witness is in this state: it has said all words of each fault, or says none of them.
    fn wait(&mut self, faults: &[Fault], witnesses: &[Witness], speaks: bool, writes: bool) -> Result<()> {
        for witness in witnesses {
            let mut waiting: Vec<(&Fault, BTreeSet<&String>)> = faults
                .iter()
                .map(|fault| (fault, fault.words[witness].iter().collect()))
                .collect();
            let until = Instant::now() + PATIENCE;
            while !waiting.is_empty() {
                if writes && *witness != Witness::Log {
                    self.write()?;
                }
                let concerned: Vec<&Fault> = waiting.iter().map(|(fault, _)| *fault).collect();
                let lines = self.ask(*witness, &concerned);
                waiting.retain_mut(|(_, words)| match &lines {
                    None => true,
                    Some(lines) if speaks => {
                        words.retain(|word| !said(lines, word));
                        !words.is_empty()
                    }
                    Some(lines) => words.iter().any(|word| said(lines, word)),
                });
                let left: Vec<_> = waiting.iter().map(|(fault, words)| (fault.title, words)).collect();
                ensure!(
                    Instant::now() < until || left.is_empty(),
                    "{witness:?} {} {left:#?}, and said:\n{}",
                    if speaks {
                        "should have said"
                    } else {
                        "should not have said"
                    },
                    lines.unwrap_or_default().join("\n")
                );
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// Injects faults together, waits until each witness names each of them, heals them, and waits for silence.
    fn try_faults(
        &mut self,
        faults: &[Fault],
        writes: bool,
        inject: impl FnOnce(&mut World) -> Result<()>,
        heal: impl FnOnce(&mut World) -> Result<()>,
    ) -> Result<()> {
        const LOUD: [Witness; 3] = [Witness::Page, Witness::Alerts, Witness::Doctor];
        self.before = self.scrape()?;
        self.wait(faults, &LOUD, false, false)?;
        self.before = self.scrape()?;
        let all = self.daemons.all();
        self.logged = all
            .iter()
            .map(|(role, index)| ((*role, *index), self.log(*role, *index).len()))
            .collect();
        inject(self)?;
        self.wait(faults, &WITNESSES, true, writes)?;
        heal(self)?;
        self.before = self.scrape()?;
        self.wait(faults, &LOUD, false, false)
    }

    /// Fills the small disk of a directory up to this rest.
    fn fill(&self, (role, index): (Role, u16), dir: &Path, rest: u64) -> Result<()> {
        let dir = self.daemons.seen_by(role, index, dir)?;
        let mut file = std::fs::File::create(dir.join("filler"))?;
        let piece = vec![0; 64 << 10];
        let free = || statvfs(&dir).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
        while free() > rest && file.write_all(&piece).is_ok() {}
        Ok(())
    }

    fn empty(&self, (role, index): (Role, u16), dir: &Path) -> Result<()> {
        Ok(std::fs::remove_file(
            self.daemons.seen_by(role, index, dir)?.join("filler"),
        )?)
    }

    fn others(&self, role: Role, but: u16) -> Vec<(Role, u16)> {
        self.daemons
            .of(role)
            .filter(|index| *index != but)
            .map(|index| (role, index))
            .collect()
    }
}

fn rack_script(daemons: &Daemons) -> PathBuf {
    daemons.dir().join("racks.sh")
}

fn log_dir(daemons: &Daemons) -> PathBuf {
    daemons.dir().join("log-of-journalnode-2")
}

/// Name, expression and summary of each alert.
fn rules() -> Result<Vec<(String, String, String)>> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/alerts.yml"))?;
    let rule = |rule: &str| -> Result<(String, String, String)> {
        let (name, rest) = rule.split_once('\n').context("no name")?;
        let field = |key: &str| {
            rest.lines()
                .find_map(|line| line.trim().strip_prefix(key))
                .context(key.to_owned())
        };
        let summary = field("summary: ")?.trim_matches('"').to_owned();
        Ok((name.to_owned(), field("expr: ")?.to_owned(), summary))
    };
    text.split("      - alert: ").skip(1).map(rule).collect()
}

#[test]
fn every_witness_names_each_fault_and_is_quiet_when_it_is_healed() -> Result<()> {
    use Role::{DataNode, JournalNode, NameNode, Zkfc};
    let mut world = World::new()?;
    world.before = world.scrape()?;
    // Each rule can be evaluated.
    world.alerts(&["Hathi".to_owned()])?;

    world.have_heard_of_each_other();
    let active = world.daemons.wait_for_active(&[]);
    let fault = world.fault("active killed", (NameNode, active), &world.others(NameNode, active))?;
    world.try_faults(
        &[fault],
        false,
        |world| world.daemons.kill(NameNode, active),
        |world| {
            world.start(NameNode, active)?;
            world.daemons.wait_until_ready();
            Ok(())
        },
    )?;

    world.have_heard_of_each_other();
    let active = world.daemons.wait_for_active(&[]);
    let fault = world.fault("active frozen", (NameNode, active), &world.others(NameNode, active))?;
    let signal = move |signal| {
        move |world: &mut World| {
            world.daemons.signal(Zkfc, active, signal)?;
            world.daemons.signal(NameNode, active, signal)
        }
    };
    world.try_faults(&[fault], false, signal(Signal::STOP), |world| {
        signal(Signal::CONT)(world)?;
        world.daemons.wait_until_ready();
        Ok(())
    })?;

    let active = world.daemons.wait_for_active(&[]);
    let (one, other) = ((active + 1) % 3, (active + 2) % 3);
    let at_active = [(NameNode, active)];
    let faults = [
        world.fault("DataNode dead", (DataNode, 1), &at_active)?,
        world.fault("rack script missing", (NameNode, one), &[(NameNode, one)])?,
        world.fault("clock 5 s off", (NameNode, other), &at_active)?,
        world.fault("slow disk of a JournalNode", (JournalNode, 1), &[(JournalNode, 1)])?,
        world.fault("configuration differs", (NameNode, one), &at_active)?,
    ];
    let script = rack_script(&world.daemons);
    let aside = script.with_extension("aside");
    world.try_faults(
        &faults,
        true,
        |world| {
            world.daemons.kill(DataNode, 1)?;
            world
                .daemons
                .faults(NameNode, other)
                .set_time_of_day_ahead(CLOCK_AHEAD)?;
            // Doctor looks at the syncs since the start for the first minute, and then at those of the last one.
            world.daemons.faults(JournalNode, 1).slow(Slow::Sync, SLOW_SYNC)?;
            world.restart(JournalNode, 1)?;
            std::fs::rename(&script, &aside)?;
            world
                .daemons
                .configure(NameNode, one, &[("dfs.replication.max", "100")])?;
            world.restart(NameNode, one)
        },
        |world| {
            world.start(DataNode, 1)?;
            world
                .daemons
                .faults(NameNode, other)
                .set_time_of_day_ahead(Duration::ZERO)?;
            world.daemons.faults(JournalNode, 1).release(Slow::Sync)?;
            // It tells of its slow syncs for a while. The disk was replaced.
            world.restart(JournalNode, 1)?;
            std::fs::rename(&aside, &script)?;
            world
                .daemons
                .configure(NameNode, one, &[("dfs.replication.max", "512")])?;
            world.restart(NameNode, one)?;
            world.daemons.wait_until_ready();
            Ok(())
        },
    )?;

    let active = world.daemons.wait_for_active(&[]);
    let faults = [
        world.fault("one JournalNode dead", (JournalNode, 1), &[(NameNode, active)])?,
        world.fault("disk of a log full", (JournalNode, 2), &[(NameNode, active)])?,
    ];
    let web = world.web(JournalNode, 2)?;
    let logs = log_dir(&world.daemons);
    // Each change of a level is a line of the log. The last page of a file has room on a full disk too.
    let long = "x".repeat(200);
    let log_something = |number: u32| get(&web, &format!("/logLevel?log={long}{number}&level=INFO"));
    world.try_faults(
        &faults,
        false,
        |world| {
            world.daemons.kill(JournalNode, 1)?;
            world.fill((JournalNode, 2), &logs, 0)?;
            for number in 0..40 {
                log_something(number)?;
            }
            Ok(())
        },
        |world| {
            world.start(JournalNode, 1)?;
            world.empty((JournalNode, 2), &logs)?;
            log_something(40).map(drop)
        },
    )?;
    wait_for("the number of lost lines", PATIENCE, || {
        let log = world.log(JournalNode, 2);
        log.contains("lines of this log were dropped: No space left on device")
            .then_some(())
    });

    // Another NameNode becomes active on a disk that can be filled.
    let active = world.daemons.wait_for_active(&[]);
    let next = (active + 1) % 3;
    world.small.insert((NameNode, next));
    world.restart(NameNode, next)?;
    world.daemons.wait_until_ready();
    let (from, to) = (format!("nn{active}"), format!("nn{next}"));
    wait_for("the role to move", PATIENCE, || {
        world.daemons.hathi("haadmin", &["-failover", &from, &to]).ok()
    });
    let full = [(JournalNode, 0), (NameNode, next)];
    let faults = [
        world.fault("disk of a JournalNode full", full[0], &world.others(NameNode, next))?,
        world.fault("disk of a NameNode full", full[1], &[full[1]])?,
    ];
    let dir = |world: &World, (role, index)| world.daemons.data_dir(role, index);
    world.try_faults(
        &faults,
        false,
        |world| {
            world.fill(full[0], &dir(world, full[0]), 0)?;
            world.fill(full[1], &dir(world, full[1]), RESERVED_BYTES / 2)
        },
        |world| full.iter().try_for_each(|one| world.empty(*one, &dir(world, *one))),
    )?;

    world.daemons.wait_until_ready();
    let active = world.daemons.wait_for_active(&[]);
    let all: Vec<(Role, u16)> = world.daemons.of(NameNode).map(|index| (NameNode, index)).collect();
    let mut names = world.names(JournalNode, 1)?;
    names.extend(world.names(NameNode, active)?);
    let second = world.conf(JournalNode, 2, "dfs.journalnode.rpc-address")?;
    names.insert(0, ("SECOND-JOURNALNODE", second));
    let fault = Fault::new("two JournalNodes dead", &names, &all)?;
    world.try_faults(
        &[fault],
        false,
        |world| {
            [1, 2]
                .into_iter()
                .try_for_each(|index| world.daemons.kill(JournalNode, index))
        },
        |world| {
            [1, 2]
                .into_iter()
                .try_for_each(|index| world.start(JournalNode, index))?;
            world.daemons.wait_until_ready();
            Ok(())
        },
    )
}

#[test]
fn a_pattern_is_said_by_a_line_that_has_its_parts_in_their_order() {
    for (pattern, line, expected) in [
        ("a…c", "a b c", true),
        ("a…c", "c a", false),
        ("…is dead…", "nn0 is dead: heard last", true),
        ("nn1 is dead", "nn0 is dead", false),
    ] {
        assert_eq!(says(line, pattern), expected, "{pattern} in {line}");
    }
}

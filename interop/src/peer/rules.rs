//! What must hold during an attack and afterwards. Every process lives, and none takes much more resources than before.
//! The active NameNode stays active, and other clients are served in time. The witness checks acknowledged changes.

use super::processes::{Holds, Process};
use super::witness::Latencies;
use crate::daemons::last_transition;
use crate::{Cluster, ClusterOptions, Role};
use anyhow::Result;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Inputs between two checks of the memory.
const INPUTS_PER_LOOK: u64 = 10_000;
/// Checks after which growth of memory counts: by then every table, cache and buffer has been filled once.
const WARM_UP_LOOKS: usize = 3;
/// How much more memory a daemon may take after that, in KiB. The good client's files, the retry cache, blocks and
/// replicas of the peer, and memory that an allocator keeps after large frames take some tens of MiB. A leak with every
/// input takes more.
const GROWTH_MAX_KIB: u64 = 96 << 10;
/// How many more descriptors a daemon may have: connections of the good client, and between daemons.
const MORE_FILES: usize = 24;
/// How many more threads it may have. The threads of a pool that has grown end slowly, because each gets some work now
/// and then. One thread for each connection would be thousands.
const MORE_THREADS: usize = 64;
/// How long the last connections of the peer may take to end: time-outs of a minute, and twice that if one side waits
/// for the other.
const REST: Duration = Duration::from_secs(150);
/// Limit for 99 % of the calls of the good client.
const P99_MAX: Duration = Duration::from_millis(20);

/// Kinds of work that are a single call to the NameNode.
pub(super) const CALLS: [&str; 5] = ["getFileInfo", "create", "rename", "mkdirs", "delete"];

/// Watches the processes of a cluster.
pub(super) struct Watch {
    measured: bool,
    processes: Vec<Watched>,
    transitions: Vec<(u16, Option<String>)>,
}

struct Watched {
    process: Process,
    log: PathBuf,
    http: Option<String>,
    before: Holds,
    /// Resources during the attack, oldest first.
    looks: Vec<Holds>,
    after: Holds,
    died: bool,
}

impl Watch {
    pub(super) fn begin(cluster: &Cluster, options: ClusterOptions, measured: bool) -> Result<Watch> {
        let counts = [
            (Role::NameNode, options.namenodes),
            (Role::Zkfc, options.namenodes),
            (Role::JournalNode, options.journalnodes),
            (Role::DataNode, options.datanodes),
        ];
        let mut processes = Vec::new();
        for (role, index) in counts
            .iter()
            .flat_map(|(role, count)| (0..*count).map(|index| (*role, index)))
        {
            let process = Process::of(cluster, role, index)?;
            let http = (role == Role::NameNode)
                .then(|| cluster.namenode_http(index))
                .transpose()?;
            processes.push(Watched {
                before: process.holds(),
                log: cluster.dir().join("logs").join(format!("{process}.log")),
                process,
                http,
                looks: Vec::new(),
                after: Holds::default(),
                died: false,
            });
        }
        let mut watch = Watch {
            measured,
            processes,
            transitions: Vec::new(),
        };
        watch.transitions = watch.last_transitions();
        Ok(watch)
    }

    /// When each NameNode last changed its role, as it reports itself.
    fn last_transitions(&self) -> Vec<(u16, Option<String>)> {
        let namenodes = self
            .processes
            .iter()
            .filter_map(|watched| Some((watched, watched.http.as_ref()?)));
        namenodes
            .map(|(watched, http)| (watched.process.index, last_transition(http).ok()))
            .collect()
    }

    /// Problems since the last check, after `sent` inputs.
    pub(super) fn look(&mut self, sent: u64) -> Vec<String> {
        let mut seen = Vec::new();
        for watched in &mut self.processes {
            if !watched.died && !watched.process.lives() {
                watched.died = true;
                seen.push(watched.last_words());
            }
            if watched.looks.len() as u64 <= sent / INPUTS_PER_LOOK {
                watched.looks.push(watched.process.holds());
            }
        }
        seen
    }

    /// Waits until descriptors and threads are about as many as before.
    pub(super) fn wait_for_rest(&mut self) {
        let began = Instant::now();
        loop {
            for watched in &mut self.processes {
                watched.after = watched.process.holds();
            }
            if self.processes.iter().all(|watched| watched.too_much().is_none()) || began.elapsed() > REST {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Rules that are broken at the end.
    pub(super) fn at_the_end(&mut self, cluster: &Cluster, active: u16) -> Vec<String> {
        let mut broken = Vec::new();
        for watched in &mut self.processes {
            if !watched.died && !watched.process.lives() {
                watched.died = true;
                broken.push(watched.last_words());
            }
            if watched.died {
                continue;
            }
            broken.extend(watched.too_much());
            if self.measured {
                broken.extend(watched.growth());
            }
        }
        match cluster.active() {
            Some(now) if now == active => {}
            now => broken.push(format!("NameNode {active} was active, and now it is {now:?}")),
        }
        for ((index, before), (_, after)) in self.transitions.iter().zip(self.last_transitions()) {
            if *before != after {
                broken.push(format!("NameNode {index} changed its role: {before:?}, then {after:?}"));
            }
        }
        broken
    }

    pub(super) fn table(&self) -> String {
        let mut text = String::from(
            "\nprocess          MiB before    MiB of memory after each 10,000 inputs, and at the end    files      threads\n",
        );
        for watched in &self.processes {
            let mib = |holds: &Holds| holds.memory_kib >> 10;
            let looks: Vec<String> = watched.looks.iter().map(|holds| mib(holds).to_string()).collect();
            let (before, after) = (watched.before, watched.after);
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{:<16} {:>10}    {}, {}    {} to {}    {} to {}",
                watched.process.to_string(),
                mib(&before),
                looks.join(" "),
                mib(&after),
                before.files,
                after.files,
                before.threads,
                after.threads
            );
        }
        text
    }
}

impl Watched {
    /// The last log lines of a process that has ended.
    fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let panic = log.lines().skip_while(|line| !line.contains("panicked at"));
        let words: Vec<&str> = panic.take(2).collect();
        format!("{} has ended; {}", self.process, words.join(" "))
    }

    fn too_much(&self) -> Option<String> {
        let (before, after) = (self.before, self.after);
        if after.files > before.files + MORE_FILES {
            return Some(format!(
                "{} holds {} files, and held {}",
                self.process, after.files, before.files
            ));
        }
        if after.threads > before.threads + MORE_THREADS {
            let threads = (after.threads, before.threads);
            return Some(format!(
                "{} has {} threads, and had {}",
                self.process, threads.0, threads.1
            ));
        }
        None
    }

    fn growth(&self) -> Option<String> {
        let warm = self.looks.get(WARM_UP_LOOKS)?.memory_kib;
        let growth = self.after.memory_kib.saturating_sub(warm);
        (growth > GROWTH_MAX_KIB).then(|| {
            let grown = growth >> 10;
            format!(
                "{} holds {grown} MiB more than after {WARM_UP_LOOKS}0,000 inputs",
                self.process
            )
        })
    }
}

/// Whether too many of the good client's calls to the NameNode took too long. Writing and reading a file does not
/// count: each is many calls, some with syncs of disks that all daemons share.
pub(super) fn too_slow(latencies: &Latencies) -> Option<String> {
    let times = latencies.of(&CALLS)?;
    (Duration::from_micros(times.p99.into()) >= P99_MAX)
        .then(|| format!("the p99 of the good client's calls is {} us", times.p99))
}

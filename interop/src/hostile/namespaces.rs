//! Containers of a pod. They share the network, and each has a process table of its own.

use super::client::Client;
use super::{PATIENCE, Setup};
use crate::daemons::{Start, last_transition};
use crate::{ClusterOptions, Daemons, Load, Role, wait_for};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

/// How long a controller may take to notice a supposed end of its NameNode.
const NOTICED: Duration = Duration::from_secs(3);

/// Runs the rest of the command in a process table of its own, as process 2.
const CONTAINER: [&str; 9] = [
    "unshare",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "sh",
    "-c",
    "\"$@\" & wait $!",
    "sh",
];
/// As [`CONTAINER`], but process 2 is an unrelated process that must not be harmed.
const CONTAINER_WITH_VICTIM: [&str; 9] = [
    "unshare",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "sh",
    "-c",
    "sleep 1000 & \"$@\" & wait $!",
    "sh",
];

/// A controller whose NameNode has the same id as a process of its own container neither takes that process's end for
/// the NameNode's, nor kills it.
pub(super) fn shared_network(setup: &Setup<'_>) -> Result<()> {
    // On a busy machine a lease of one second may run out by itself, and another NameNode be elected rightly.
    let patient = [("hathi.lease.ms", "5000"), ("hathi.lease.max.ms", "10000")];
    let mut daemons = Daemons::new(setup.hathi, ClusterOptions::default(), &patient)?;
    let inside = |wrapper: [&str; 9]| Start {
        wrapper: wrapper.map(str::to_owned).to_vec(),
        ..Start::default()
    };
    for (role, index) in daemons.all() {
        match role {
            Role::NameNode => daemons.start_with(role, index, &inside(CONTAINER))?,
            Role::Zkfc => daemons.start_with(role, index, &inside(CONTAINER_WITH_VICTIM))?,
            Role::JournalNode | Role::DataNode => daemons.start(role, index)?,
        }
    }
    daemons.wait_until_ready();
    let load = Load::start(&daemons.conf())?;
    load.goes_on();
    let active = daemons.wait_for_active(&[]);
    let http = daemons.namenode_http(active)?;
    let since = last_transition(&http)?;
    // The process with the active NameNode's id in the container of the controller.
    let victim = find(&daemons, Role::Zkfc, active, "sleep")?;
    kill_process(victim, Signal::KILL)?;
    std::thread::sleep(NOTICED);
    ensure!(
        last_transition(&http)? == since,
        "the lease of a NameNode that serves was given away at a stranger's end"
    );
    load.goes_on();

    // Controllers that take over, and one whose NameNode is stopped, may try to kill their NameNode.
    let victims: Vec<Pid> = daemons
        .of(Role::NameNode)
        .filter(|index| *index != active)
        .map(|index| find(&daemons, Role::Zkfc, index, "sleep"))
        .collect::<Result<_>>()?;
    for _ in 0..2 {
        let active = daemons.wait_for_active(&[]);
        let namenode = find(&daemons, Role::NameNode, active, "namenode")?;
        crate::send_signal(namenode, Signal::STOP)?;
        let _ = daemons.wait_for_active(&[active]);
        kill_process(namenode, Signal::CONT)?;
        wait_for("the old active as standby", PATIENCE, || {
            if !daemons.is_running(Role::NameNode, active) {
                daemons.start_with(Role::NameNode, active, &inside(CONTAINER)).ok()?;
            }
            (daemons.state(active)? == "standby").then_some(())
        });
    }
    for victim in victims {
        ensure!(
            command(victim).is_some_and(|words| words.contains("sleep")),
            "a controller killed a process that is not its NameNode"
        );
    }
    load.end()?;
    Client::new(&daemons.conf())?.mkdir("/after")
}

/// The process below a daemon's wrapper with this word in its command.
fn find(daemons: &Daemons, role: Role, index: u16, word: &str) -> Result<Pid> {
    let mut below = vec![daemons.pid(role, index)?];
    while let Some(pid) = below.pop() {
        let own = command(pid).unwrap_or_default();
        let wrapper = own.contains("unshare") || own.starts_with("sh\0");
        if !wrapper && own.contains(word) {
            return Ok(pid);
        }
        let raw = pid.as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{raw}/task/{raw}/children")).unwrap_or_default();
        below.extend(
            children
                .split_whitespace()
                .filter_map(|child| Pid::from_raw(child.parse().ok()?)),
        );
    }
    None.with_context(|| format!("no {word} below {role:?} {index}"))
}

fn command(pid: Pid) -> Option<String> {
    let words = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    Some(String::from_utf8_lossy(&words).into_owned())
}

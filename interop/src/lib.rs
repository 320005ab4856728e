//! Tools for tests with real processes: clusters that are started, killed and paused, and the real Apache Hadoop as
//! client, peer and rival.

mod chromium;
mod cluster;
mod daemons;
mod failover_client;
pub mod failovers;
mod faults;
mod file_client;
mod hadoop;
mod hadoop_kms;
pub mod hostile;
mod kms;
mod load;
mod packages;
mod pair;
pub mod peer;
mod ports;
mod python;
mod relay;
mod single;
mod sshd;
pub mod suites;
pub mod webhdfs;
mod zookeeper;

pub use chromium::Chromium;
pub use cluster::{Cluster, ClusterOptions, Role};
pub use daemons::{Daemons, Start};
pub use failover_client::FailoverClient;
pub use faults::{Faults, Slow};
pub use file_client::FileClient;
pub use hadoop::Hadoop;
pub use hadoop_kms::HadoopKms;
pub use kms::Kms;
pub use load::Load;
pub use pair::{Kind, Pair, SharedEdits};
pub use ports::PortRange;
pub use python::Python;
pub use relay::Relay;
pub use single::Single;
pub use sshd::Sshd;
pub use zookeeper::ZooKeeper;

use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// How long a process may take to stop.
const STOPS_WITHIN: Duration = Duration::from_secs(30);

/// Calls `probe` every few milliseconds until it returns a value.
///
/// # Panics
/// When it has returned none after `timeout`. The message names `what`.
pub fn wait_for<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(started.elapsed() < timeout, "waited {timeout:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal to a process. After SIGSTOP it returns when the process has stopped.
///
/// The kernel stops a process when one of its threads takes the signal. Until then the other threads go on, for
/// milliseconds on a busy machine, and could still answer the test's next call.
///
/// # Errors
/// When the process is gone.
pub fn send_signal(pid: Pid, signal: Signal) -> anyhow::Result<()> {
    kill_process(pid, signal)?;
    if signal == Signal::STOP {
        wait_for("a process to stop", STOPS_WITHIN, || stands(pid).then_some(()));
    }
    Ok(())
}

/// Whether no thread of the process runs: each is stopped, has ended, or is blocked in disk I/O.
fn stands(pid: Pid) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else {
        return true;
    };
    threads.flatten().all(|thread| {
        matches!(
            state_in(thread.path().join("stat")),
            None | Some('T' | 't' | 'D' | 'Z' | 'X')
        )
    })
}

/// The state of a process or thread in its `stat` file. `None` when it is gone.
fn state_in(stat: impl AsRef<std::path::Path>) -> Option<char> {
    let status = std::fs::read_to_string(stat).ok()?;
    // The state follows the name, which may hold any character.
    let (_, rest) = status.rsplit_once(')')?;
    rest.trim_start().chars().next()
}

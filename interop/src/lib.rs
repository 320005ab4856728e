//! What the tests with real processes need: clusters that are started, killed and paused, and the real Apache Hadoop
//! as client, peer and rival.

mod cluster;
mod daemons;
mod faults;
mod hadoop;
pub mod hostile;
mod load;
mod pair;
mod ports;

pub use cluster::{Cluster, ClusterOptions, Role};
pub use daemons::{Daemons, Start};
pub use faults::{Faults, Slow};
pub use hadoop::Hadoop;
pub use load::Load;
pub use pair::{Kind, Pair, SharedEdits};
pub use ports::PortRange;

use std::time::{Duration, Instant};

/// Asks again every few milliseconds until the answer is there; panics with what is missing after `timeout`.
///
/// # Panics
/// When the time is over.
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

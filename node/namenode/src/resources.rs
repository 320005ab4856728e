//! Asks the system for the room on the NameNode's disks; [`hathi_nameserver::resources`] decides what follows from it.

use crate::observed::Observed;
use hathi_nameserver::resources::{News, ResourceOptions, RoomWatch, Volume, problem};
use hathi_namesystem::Namesystem;
use parking_lot::RwLock;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// `None` when the system does not tell.
#[must_use]
pub fn volume_of(dir: &Path) -> Option<Volume> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(Volume {
        device: rustix::fs::stat(dir).ok()?.st_dev,
        available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}

/// Checks again and again (`FSNamesystem.NameNodeResourceMonitor`).
pub async fn monitor(ns: Arc<RwLock<Namesystem>>, observed: Arc<Observed>, options: ResourceOptions) {
    let mut watch = RoomWatch::default();
    loop {
        let asked = options.clone();
        // A disk that hangs must not delay other tasks.
        let low = tokio::task::spawn_blocking(move || asked.shortage(volume_of)).await;
        let low = low.unwrap_or_default();
        observed.set_shortage(problem(&low));
        match watch.looked(&low) {
            News::Low => low.iter().for_each(|volume| tracing::warn!("{volume}")),
            News::Room => tracing::info!("the NameNode's disks have room again"),
            News::Nothing => {}
        }
        if watch.is_low() && watch.enforce(&mut ns.write()) {
            tracing::warn!(
                "NameNode low on available disk space. Entering safe mode. To be left with hdfs dfsadmin -safemode leave"
            );
        }
        tokio::time::sleep(Duration::from_millis(options.check_interval_ms)).await;
    }
}

//! A client that writes all the time.

use crate::wait_for;
use anyhow::{Context, Result, ensure};
use hathi_client::FileSystem;
use hathi_conf::Configuration;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Makes directories one after the other, until told to stop.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Result<u64>>,
}

impl Load {
    /// Starts it with the configuration in this directory. It makes one call at a time.
    ///
    /// # Errors
    /// When the configuration can't be read.
    pub fn start(conf: &Path) -> Result<Load> {
        let conf = Configuration::load(conf)?;
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), made.clone());
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let work = async {
                let fs = FileSystem::new(&conf, "", &user)?;
                while !stopped.load(Ordering::Relaxed) {
                    let number = count.load(Ordering::Relaxed);
                    let path = format!("/load/{number}");
                    let made = tokio::time::timeout(PATIENCE, fs.mkdirs(&path, 0o755, true)).await;
                    made.with_context(|| format!("no end of mkdirs {number}"))??;
                    count.fetch_add(1, Ordering::Relaxed);
                    // This is fast enough that a call is always under way. At the end every directory is checked.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                for number in 0..count.load(Ordering::Relaxed) {
                    let path = format!("/load/{number}");
                    ensure!(fs.status(&path).await?.is_some(), "{path} was acknowledged and is gone");
                }
                Ok(count.load(Ordering::Relaxed))
            };
            tokio::task::LocalSet::new().block_on(&runtime, work)
        });
        Ok(Load { stop, made, thread })
    }

    /// Waits until more calls are acknowledged.
    ///
    /// # Panics
    /// When none is within a minute.
    pub fn goes_on(&self) {
        let before = self.made.load(Ordering::Relaxed);
        wait_for("the load to go on", PATIENCE, || {
            (self.made.load(Ordering::Relaxed) > before + 20).then_some(())
        });
    }

    /// Stops, and checks everything that was acknowledged. Returns how many calls that were.
    ///
    /// # Errors
    /// When a call failed or something is gone.
    pub fn end(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the load panicked"))?
    }
}

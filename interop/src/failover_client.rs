//! Hadoop's own client in a process of its own. It changes something all the time, and reports its pauses.

use crate::Hadoop;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// `interop/java/FailoverClient.java`: makes directories one after the other, and writes one large file beside them.
/// Dropping it kills the process.
#[derive(Debug)]
pub struct FailoverClient {
    child: Child,
    told: Arc<Mutex<Vec<String>>>,
    listener: Option<std::thread::JoinHandle<()>>,
}

impl FailoverClient {
    /// Starts it. It works below the directory `base`, and writes `bytes_per_second` of a large file (0: no file). It
    /// reports pauses of at least `shortest_gap_ms`.
    ///
    /// # Errors
    /// When Java can't be started.
    pub fn start(
        hadoop: &Hadoop,
        conf: &Path,
        base: &str,
        bytes_per_second: u32,
        shortest_gap_ms: u32,
    ) -> Result<FailoverClient> {
        let numbers = [bytes_per_second.to_string(), shortest_gap_ms.to_string()];
        let mut child = hadoop
            .command(conf, "FailoverClient.java", &[base, &numbers[0], &numbers[1]])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("stdout")?).lines();
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = told.clone();
        let listener = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Ok(FailoverClient {
            child,
            told,
            listener: Some(listener),
        })
    }

    /// The longest reported pause between two acknowledged calls since the last call of this method, in ms.
    #[must_use]
    pub fn longest_gap_ms(&self) -> u64 {
        let told = std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
        let gaps = told.iter().filter_map(|line| line.strip_prefix("gap ")?.parse().ok());
        gaps.max().unwrap_or(0)
    }

    /// Stops it. Returns its last report.
    ///
    /// # Errors
    /// When a call failed, something acknowledged is lost, or the large file is not what was written.
    pub fn end(mut self) -> Result<String> {
        self.child.stdin.take().context("stdin")?.write_all(b"stop\n")?;
        self.child.wait()?;
        let listener = self.listener.take().context("it has ended")?;
        listener.join().map_err(|_| anyhow::anyhow!("it can't be heard"))?;
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
        let is_well = told.contains(" errors 0 ") && told.contains(" lost 0 ") && told.ends_with(" ok");
        ensure!(is_well, "{told}");
        Ok(told)
    }
}

impl Drop for FailoverClient {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

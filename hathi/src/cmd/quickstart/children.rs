//! The daemons as child processes: started, watched, and restarted.

use super::layout::{Daemon, Layout};
use crate::cmd::DIE_WITH_PARENT;
use anyhow::{Context, Result, bail};
use std::fs::OpenOptions;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// First pause before a dead child is started again. It doubles up to [`RESTART_PAUSE_MAX`].
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(100);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(5);
/// A child that lived this long starts again with the first pause.
const LIVED_LONG: Duration = Duration::from_secs(10);
/// How long children may take to end when asked to.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// All children of a cluster.
pub struct Children {
    layout: Arc<Layout>,
    stop: watch::Sender<bool>,
    supervisors: Vec<JoinHandle<()>>,
}

impl Children {
    /// No children yet.
    pub fn new(layout: Arc<Layout>) -> Self {
        Children {
            layout,
            stop: watch::Sender::new(false),
            supervisors: Vec::new(),
        }
    }

    /// Starts a daemon and keeps it running until [`Children::stop`].
    pub fn supervise(&mut self, role: Daemon, index: u16) -> Result<()> {
        let layout = self.layout.clone();
        let child = start(&layout, role, index, &[])?;
        let stop = self.stop.subscribe();
        self.supervisors
            .push(tokio::spawn(keep_running(layout, role, index, child, stop)));
        Ok(())
    }

    /// Runs a daemon's command to its end (`-format`, `-bootstrapStandby`).
    pub async fn run_once(&self, role: Daemon, index: u16, args: &[&str]) -> Result<()> {
        run_once(&self.layout, role, index, args).await
    }

    /// Creates the nameservice's znode, unless it is there.
    pub async fn format_zookeeper(&self) -> Result<()> {
        let args = ["-formatZK", "-nonInteractive"];
        let status = start(&self.layout, Daemon::Zkfc, 0, &args)?.wait().await?;
        // Exit code 2 is Hadoop's answer when the znode exists.
        if status.success() || status.code() == Some(2) {
            return Ok(());
        }
        let log = self.layout.log_file(Daemon::Zkfc, 0);
        bail!(
            "can't format ZooKeeper ({status}); the end of {}:\n{}",
            log.display(),
            last_lines(&log, 20)
        )
    }

    /// Ends every child: with SIGTERM, and after a while with SIGKILL.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for supervisor in self.supervisors {
            // A supervisor that panicked needs no waiting.
            let _ = supervisor.await;
        }
    }
}

/// Runs a daemon's command to its end. An error has the last lines of its log.
async fn run_once(layout: &Layout, role: Daemon, index: u16, args: &[&str]) -> Result<()> {
    let mut child = start(layout, role, index, args)?;
    let status = child.wait().await?;
    if !status.success() {
        let log = layout.log_file(role, index);
        bail!(
            "{}-{index} {} failed ({status}); the end of {}:\n{}",
            role.name(),
            args.join(" "),
            log.display(),
            last_lines(&log, 20)
        );
    }
    Ok(())
}

fn start(layout: &Layout, role: Daemon, index: u16, args: &[&str]) -> Result<Child> {
    let log_path = layout.log_file(role, index);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .with_context(|| format!("can't open {}", log_path.display()))?;
    // This is the running program, even if its file has been replaced since.
    let child = Command::new("/proc/self/exe")
        .arg0("hathi")
        .arg(role.name())
        .arg("--conf")
        .arg(layout.daemon_conf(role, index))
        .args(args)
        .env(DIE_WITH_PARENT, "1")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C goes to the parent only, which then ends its children in order.
        .process_group(0)
        .spawn()
        .with_context(|| format!("can't start {}-{index}", role.name()))?;
    if args.is_empty()
        && let Some(pid) = child.id()
    {
        let path = layout.pid_file(role, index);
        std::fs::write(&path, format!("{pid}\n")).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(child)
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the owner of the cluster is gone, which also ends the child.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn keep_running(
    layout: Arc<Layout>,
    role: Daemon,
    index: u16,
    mut child: Child,
    mut stop: watch::Receiver<bool>,
) {
    let mut pause = RESTART_PAUSE_MIN;
    loop {
        let started = Instant::now();
        let status = tokio::select! {
            status = child.wait() => status,
            () = stopped(&mut stop) => {
                end(&mut child).await;
                // A pid file that outlives its process would later name a different process.
                let _ = std::fs::remove_file(layout.pid_file(role, index));
                return;
            }
        };
        report_death(role, index, status.ok());
        if started.elapsed() >= LIVED_LONG {
            pause = RESTART_PAUSE_MIN;
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stopped(&mut stop) => return,
            }
            pause = (pause * 2).min(RESTART_PAUSE_MAX);
            match restart(&layout, role, index).await {
                Ok(started) => {
                    child = started;
                    break;
                }
                Err(error) => eprintln!("{}-{index}: {error:#}", role.name()),
            }
        }
    }
}

async fn restart(layout: &Layout, role: Daemon, index: u16) -> Result<Child> {
    if role == Daemon::NameNode && !layout.single && !layout.is_formatted(index) {
        // The NameNode has lost its directory. The others have everything that it needs.
        run_once(layout, role, index, &["-bootstrapStandby", "-force", "-nonInteractive"]).await?;
    }
    start(layout, role, index, &[])
}

fn report_death(role: Daemon, index: u16, status: Option<ExitStatus>) {
    match status {
        Some(status) => eprintln!("{}-{index} ended ({status}); starting it again", role.name()),
        None => eprintln!("{}-{index} ended; starting it again", role.name()),
    }
}

async fn end(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok())
        && let Some(pid) = rustix::process::Pid::from_raw(pid)
    {
        // An error means that the process has just ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        // A stopped process handles SIGTERM only after SIGCONT.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::CONT);
    }
    if tokio::time::timeout(STOP_GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// The last lines of a file, for an error message.
pub fn last_lines(path: &Path, count: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

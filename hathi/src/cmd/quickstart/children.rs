//! The daemons as child processes: started, watched, started again.

use super::layout::{Layout, Role};
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

/// First pause before a dead child is started again; doubles up to [`RESTART_PAUSE_MAX`].
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(100);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(5);
/// A child that lived so long has earned the first pause again.
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
    pub fn supervise(&mut self, role: Role, index: u16) -> Result<()> {
        let layout = self.layout.clone();
        let child = start(&layout, role, index, &[])?;
        let stop = self.stop.subscribe();
        self.supervisors
            .push(tokio::spawn(keep_running(layout, role, index, child, stop)));
        Ok(())
    }

    /// Runs a daemon's command to its end (`-format`, `-bootstrapStandby`).
    pub async fn run_once(&self, role: Role, index: u16, args: &[&str]) -> Result<()> {
        run_once(&self.layout, role, index, args).await
    }

    /// Creates the nameservice's znode, unless it is there.
    pub async fn format_zookeeper(&self) -> Result<()> {
        let args = ["-formatZK", "-nonInteractive"];
        let status = start(&self.layout, Role::Zkfc, 0, &args)?.wait().await?;
        // The second is Hadoop's answer when it is there.
        if status.success() || status.code() == Some(2) {
            return Ok(());
        }
        let log = self.layout.log_file(Role::Zkfc, 0);
        bail!(
            "can't format ZooKeeper ({status}); the end of {}:\n{}",
            log.display(),
            last_lines(&log, 20)
        )
    }

    /// Ends every child: asks first, then insists.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for supervisor in self.supervisors {
            // A supervisor that panicked has nothing left to wait for.
            let _ = supervisor.await;
        }
    }
}

/// Runs a daemon's command to its end; an error carries the last lines of its log.
async fn run_once(layout: &Layout, role: Role, index: u16, args: &[&str]) -> Result<()> {
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

fn start(layout: &Layout, role: Role, index: u16, args: &[&str]) -> Result<Child> {
    let log_path = layout.log_file(role, index);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .with_context(|| format!("can't open {}", log_path.display()))?;
    // This very program, even when its file has been replaced since.
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
        // Ctrl-C is for the parent, which then ends its children in order.
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
    // An error means that the cluster's owner is gone, which ends it as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn keep_running(layout: Arc<Layout>, role: Role, index: u16, mut child: Child, mut stop: watch::Receiver<bool>) {
    let mut pause = RESTART_PAUSE_MIN;
    loop {
        let started = Instant::now();
        let status = tokio::select! {
            status = child.wait() => status,
            () = stopped(&mut stop) => {
                end(&mut child).await;
                // A pid file that outlives its process would name a stranger some day.
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

async fn restart(layout: &Layout, role: Role, index: u16) -> Result<Child> {
    if role == Role::NameNode && !layout.single && !layout.is_formatted(index) {
        // Its directory was lost: the others have everything it needs.
        run_once(layout, role, index, &["-bootstrapStandby", "-force", "-nonInteractive"]).await?;
    }
    start(layout, role, index, &[])
}

fn report_death(role: Role, index: u16, status: Option<ExitStatus>) {
    match status {
        Some(status) => eprintln!("{}-{index} ended ({status}); starting it again", role.name()),
        None => eprintln!("{}-{index} ended; starting it again", role.name()),
    }
}

async fn end(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok())
        && let Some(pid) = rustix::process::Pid::from_raw(pid)
    {
        // An error means that it ended by itself just now.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        // A stopped process takes its SIGTERM only once it goes on.
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

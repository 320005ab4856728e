//! `--daemon start|stop|status`: daemons in the background, with the files of Hadoop's script (`hadoop-functions.sh`).

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, setsid, test_kill_process};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Set in a daemon that runs in the background.
const DETACHED: &str = "HATHI_DAEMON";
/// How long a daemon must live to count as started.
const SETTLED: Duration = Duration::from_secs(1);
/// Pause between two looks at a process.
const LOOK: Duration = Duration::from_millis(20);
/// `HADOOP_STOP_TIMEOUT`
const STOP_TIMEOUT_SECS: u64 = 5;
/// Exit code of `status` when there is a file of a process that is gone, as in LSB 4.1.
const DEAD: u8 = 1;
/// Exit code of `status` when there is none.
const NOT_RUNNING: u8 = 3;
/// Lines of the output that are shown when a daemon does not start.
const LINES_SHOWN: usize = 5;

/// What to do with a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Start,
    Stop,
    Status,
}

impl Action {
    /// By its name.
    pub fn of(name: &str) -> Option<Action> {
        match name {
            "start" => Some(Action::Start),
            "stop" => Some(Action::Stop),
            "status" => Some(Action::Status),
            _ => None,
        }
    }
}

/// Leaves the terminal's session, if this process was started in the background.
pub fn detach() {
    if std::env::var_os(DETACHED).is_some() {
        // It fails only if the process leads a session already.
        let _ = setsid();
    }
}

/// The files of a daemon.
#[derive(Debug, PartialEq, Eq)]
struct Files {
    pid: PathBuf,
    /// What it logs. The daemon opens and rotates it.
    log: PathBuf,
    /// What it prints otherwise: its errors before its log begins, and panics.
    out: PathBuf,
}

impl Files {
    fn of(daemon: &str, variable: impl Fn(&str) -> Option<String>) -> Files {
        let user = || hathi_net::users::process_user();
        let ident = variable("HADOOP_IDENT_STRING").unwrap_or_else(user);
        let pids = variable("HADOOP_PID_DIR").unwrap_or_else(|| "/tmp".to_owned());
        let logs = variable("HADOOP_LOG_DIR").map(PathBuf::from);
        let logs = logs.unwrap_or_else(|| {
            let home = variable("HADOOP_HOME");
            home.map_or_else(|| PathBuf::from("logs"), |home| Path::new(&home).join("logs"))
        });
        let name = crate::log::file_name(daemon, &ident);
        Files {
            pid: Path::new(&pids).join(format!("hadoop-{ident}-{daemon}.pid")),
            log: logs.join(format!("{name}.log")),
            out: logs.join(format!("{name}.out")),
        }
    }

    /// The process that the file names.
    fn process(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(&self.pid).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    fn running(&self) -> Option<Pid> {
        self.process().filter(|pid| is_alive(*pid))
    }
}

fn is_alive(pid: Pid) -> bool {
    // A process of another user may not be sent signals, and lives all the same.
    !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

fn number(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

/// Starts, stops or looks at a daemon. `command` is the daemon in the foreground.
pub fn run(action: Action, daemon: &str, command: &mut Command) -> Result<ExitCode> {
    let files = Files::of(daemon, |name| {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    });
    match action {
        Action::Start => start(daemon, &files, command),
        Action::Stop => stop(daemon, &files),
        Action::Status => Ok(status(daemon, &files)),
    }
}

fn status(daemon: &str, files: &Files) -> ExitCode {
    if let Some(pid) = files.running() {
        println!("{daemon} is running as process {}.", number(pid));
        return ExitCode::SUCCESS;
    }
    if files.pid.exists() {
        println!("{daemon} is not running, and left {}.", files.pid.display());
        return ExitCode::from(DEAD);
    }
    println!("{daemon} is not running.");
    ExitCode::from(NOT_RUNNING)
}

fn start(daemon: &str, files: &Files, command: &mut Command) -> Result<ExitCode> {
    if let Some(pid) = files.running() {
        eprintln!(
            "{daemon} is running as process {}.  Stop it first and ensure {} file is empty before retry.",
            number(pid),
            files.pid.display()
        );
        return Ok(ExitCode::FAILURE);
    }
    let appended = |path: &Path| -> Result<File> {
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.with_context(|| path.display().to_string())
    };
    let out = appended(&files.out)?;
    let said_before = out.metadata()?.len();
    drop(appended(&files.pid)?);
    let mut child = command
        .env(DETACHED, "1")
        .env(crate::log::FILE, &files.log)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()?;
    std::fs::write(&files.pid, format!("{}\n", child.id())).with_context(|| files.pid.display().to_string())?;
    let begin = Instant::now();
    while begin.elapsed() < SETTLED {
        if let Some(ended) = child.try_wait()? {
            // Nobody is to take another process of this number for the daemon.
            let _ = std::fs::remove_file(&files.pid);
            let said = std::fs::read(&files.out).unwrap_or_default();
            let begin = usize::try_from(said_before)?.min(said.len());
            let text = String::from_utf8_lossy(said.get(begin..).unwrap_or_default()).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.get(lines.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default();
            bail!(
                "{daemon} ended at once ({ended}); the end of {}, whose log is {}:\n{}",
                files.out.display(),
                files.log.display(),
                last.join("\n")
            );
        }
        std::thread::sleep(LOOK);
    }
    Ok(ExitCode::SUCCESS)
}

fn stop(daemon: &str, files: &Files) -> Result<ExitCode> {
    // As Hadoop's script, this is content when nothing runs.
    let Some(pid) = files.process() else {
        return Ok(ExitCode::SUCCESS);
    };
    let timeout = std::env::var("HADOOP_STOP_TIMEOUT").ok();
    let timeout = timeout.and_then(|text| text.parse().ok()).unwrap_or(STOP_TIMEOUT_SECS);
    if is_alive(pid) {
        kill_process(pid, Signal::TERM).with_context(|| format!("{daemon}, process {}", number(pid)))?;
    }
    if !ends_within(pid, Duration::from_secs(timeout)) {
        eprintln!("WARNING: {daemon} did not stop gracefully after {timeout} seconds: Trying to kill with kill -9");
        // If it has ended meanwhile there is nothing to do.
        let _ = kill_process(pid, Signal::KILL);
        if !ends_within(pid, Duration::from_secs(timeout)) {
            eprintln!("ERROR: Unable to kill {}", number(pid));
            return Ok(ExitCode::FAILURE);
        }
    }
    if files.process() == Some(pid) {
        std::fs::remove_file(&files.pid).with_context(|| files.pid.display().to_string())?;
    } else {
        eprintln!("WARNING: pid has changed for {daemon}, skip deleting pid file");
    }
    Ok(ExitCode::SUCCESS)
}

fn ends_within(pid: Pid, at_most: Duration) -> bool {
    let begin = Instant::now();
    while is_alive(pid) {
        if begin.elapsed() >= at_most {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_names_of_hadoops_script() {
        let set = |name: &str| {
            let value = match name {
                "HADOOP_IDENT_STRING" => "bob",
                "HADOOP_PID_DIR" => "/run/hadoop",
                "HADOOP_HOME" => "/opt/hadoop",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let files = Files::of("namenode", set);
        assert_eq!(files.pid, Path::new("/run/hadoop/hadoop-bob-namenode.pid"));
        let log = files.log.display().to_string();
        assert!(log.starts_with("/opt/hadoop/logs/hadoop-bob-namenode-"), "{log}");
        assert!(log.ends_with(".log"), "{log}");
        assert_eq!(Files::of("zkfc", |_| None).pid.parent(), Some(Path::new("/tmp")));
    }

    #[test]
    fn a_process_that_is_gone_is_not_running() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display().to_string();
        let files = Files::of("zkfc", |name| (name == "HADOOP_PID_DIR").then(|| path.clone()));
        assert_eq!(files.running(), None);
        std::fs::write(&files.pid, format!("{}\n", std::process::id())).unwrap();
        assert!(files.running().is_some());
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        std::fs::write(&files.pid, child.id().to_string()).unwrap();
        assert_eq!(files.running(), None);
        stop("zkfc", &files).unwrap();
        assert!(!files.pid.exists());
    }
}

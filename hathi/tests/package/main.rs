//! The Debian package: built, installed on this machine, and its daemons run as systemd runs them.

mod kubernetes;

use anyhow::{Context, Result, ensure};
use hathi_interop::{PortRange, send_signal, wait_for};
use rustix::process::{Pid, Signal};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const UNIT: &str = "usr/lib/systemd/system/hathi@.service";

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let text = |Output { stdout, stderr, .. }: &Output| {
        format!("{}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr))
    };
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        text(&output)
    );
    Ok(text(&output))
}

/// The package's files: on this machine, or unpacked where this user may not install them.
struct Installed {
    root: PathBuf,
    _unpacked: Option<TempDir>,
}

impl Installed {
    fn new(package: &Path) -> Result<Installed> {
        if rustix::process::geteuid().is_root() {
            run(Command::new("dpkg").arg("--install").arg(package))?;
            return Ok(Installed {
                root: "/".into(),
                _unpacked: None,
            });
        }
        eprintln!("== NOT RUN: the package is unpacked and not installed, because only root may do that");
        let unpacked = tempfile::tempdir()?;
        run(Command::new("dpkg-deb")
            .arg("--extract")
            .arg(package)
            .arg(unpacked.path()))?;
        Ok(Installed {
            root: unpacked.path().to_owned(),
            _unpacked: Some(unpacked),
        })
    }

    fn is_installed(&self) -> bool {
        self._unpacked.is_none()
    }

    /// A command line of the unit, as the unit's user.
    fn command(&self, line: &str) -> Result<Command> {
        let mut words = line.split(' ');
        let program = words.next().context("an empty command line")?;
        let program = self.root.join(program.trim_start_matches('/'));
        let mut command = if self.is_installed() {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=hdfs", "--regid=hdfs", "--init-groups", "--"])
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(words).stdin(Stdio::null());
        Ok(command)
    }

    /// A setting of the unit.
    fn unit(&self, key: &str) -> Result<String> {
        let unit = std::fs::read_to_string(self.root.join(UNIT))?;
        let found = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        Ok(found.with_context(|| format!("{UNIT} has no {key}"))?.to_owned())
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        if self.is_installed()
            && let Err(error) = run(Command::new("dpkg").args(["--purge", "hathi"]))
        {
            eprintln!("{error:#}");
        }
    }
}

/// A daemon, and what it tells systemd.
struct Service {
    name: String,
    child: Child,
    told: Receiver<String>,
}

impl Service {
    fn start(installed: &Installed, dir: &Path, daemon: &str, conf: &Path) -> Result<Service> {
        let name = conf.file_name().context("no name")?.to_string_lossy().into_owned();
        let socket = dir.join(format!("{name}.{daemon}.notify"));
        let _ = std::fs::remove_file(&socket);
        let told = UnixDatagram::bind(&socket)?;
        std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o777))?;
        // What nobody reads fills the queue of the socket, and what does not fit is not sent.
        let (lines, read) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok(length) = told.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text.lines().any(|line| lines.send(line.to_owned()).is_err()) {
                    return;
                }
            }
        });
        let line = installed.unit("ExecStart")?.replace("%i", daemon);
        let child = installed
            .command(&line)?
            .env("HADOOP_CONF_DIR", conf)
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "300000")
            .spawn()?;
        let service = Service {
            name: format!("{daemon} of {name}"),
            child,
            told: read,
        };
        service.tells("READY=1")?;
        service.tells("WATCHDOG=1")?;
        Ok(service)
    }

    fn tells(&self, wanted: &str) -> Result<()> {
        loop {
            let line = self.told.recv_timeout(PATIENCE);
            if line.with_context(|| format!("{} did not tell {wanted}", self.name))? == wanted {
                return Ok(());
            }
        }
    }

    fn stop(mut self) -> Result<()> {
        send_signal(Pid::from_child(&self.child), Signal::TERM)?;
        self.tells("STOPPING=1")?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn package() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let program = env!("CARGO_BIN_EXE_hathi");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let task = [
        "run",
        "--quiet",
        "--locked",
        "--package",
        "xtask",
        "--",
        "dist",
        "--program",
        program,
    ];
    run(Command::new(cargo).args(task).current_dir(&root))?;
    let made = std::fs::read_dir(root.join("target/package"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    made.context("no package was made")
}

#[test]
fn the_package_is_installed_and_its_daemons_run_as_their_user() -> Result<()> {
    let package = package()?;
    let installed = Installed::new(&package)?;
    let man = installed.root.join("usr/share/man/man1/hathi-dfs.1.gz");
    ensure!(man.exists(), "{} is missing", man.display());
    // The symbols have an archive of their own.
    let sections = |program: &Path| run(Command::new("readelf").arg("--section-headers").arg(program));
    let made = package.parent().context("no directory")?;
    ensure!(!sections(&installed.root.join("usr/bin/hathi"))?.contains(".symtab"));
    ensure!(sections(&made.join("debug/hathi.debug"))?.contains(".symtab"));
    let archive = made.join(format!(
        "hathi-{}-{}.tar.gz",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    ));
    let packed = run(Command::new("tar").arg("--list").arg("--file").arg(&archive))?;
    for page in ["CHANGELOG.md", "SECURITY.md"] {
        ensure!(packed.contains(page), "{} has no {page}", archive.display());
    }
    let hdfs = run(&mut installed.command("/usr/lib/hathi/bin/hdfs version")?)?;
    ensure!(hdfs.starts_with("Hadoop "), "{hdfs}");
    for daemon in ["namenode", "journalnode", "datanode", "zkfc"] {
        if installed.is_installed() {
            // It ends with success also when it has something to say.
            let words = run(Command::new("systemd-analyze").args(["verify", &format!("hathi@{daemon}.service")]))?;
            ensure!(!words.contains("hathi"), "{words}");
        }
    }

    // A configuration for a whole cluster on one machine, with a NameNode that is formatted.
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777))?;
    let cluster = dir.path().join("cluster");
    let range = PortRange::claim()?;
    let line = format!(
        "/usr/bin/hathi quickstart --namenodes 2 --journalnodes 1 --datanodes 1 --dir {} --base-port {}",
        cluster.display(),
        range.base()
    );
    let mut quickstart = installed.command(&line)?.stdout(Stdio::null()).spawn()?;
    let conf = |name: &str| cluster.join("conf").join(name);
    let hathi = |line: &str| -> Result<String> {
        run(installed
            .command(&format!("/usr/bin/hathi {line}"))?
            .env("HADOOP_CONF_DIR", cluster.join("conf")))
    };
    wait_for("the file system", PATIENCE, || hathi("dfs -touchz /touched").ok());
    send_signal(Pid::from_child(&quickstart), Signal::TERM)?;
    quickstart.wait()?;

    let start = |daemon, name: &str| Service::start(&installed, dir.path(), daemon, &conf(name));
    let journalnode = start("journalnode", "journalnode-0")?;
    let mut namenodes = Vec::new();
    for name in ["namenode-0", "namenode-1"] {
        namenodes.push((start("namenode", name)?, start("zkfc", name)?));
    }
    let datanode = start("datanode", "datanode-0")?;
    hathi("dfs -put /etc/passwd /file")?;

    // The active hands its role over before it ends.
    let states = || hathi("haadmin -getAllServiceState");
    let active = wait_for("an active NameNode", PATIENCE, || {
        let states = states().ok()?;
        states.lines().position(|line| line.trim_end().ends_with("active"))
    });
    let (namenode, controller) = namenodes.remove(active);
    namenode.stop()?;
    ensure!(
        states()?.contains("active"),
        "nobody was active after an active had stopped: {}",
        states()?
    );
    controller.stop()?;
    hathi("dfs -cat /file")?;
    for (namenode, controller) in namenodes {
        controller.stop()?;
        namenode.stop()?;
    }
    datanode.stop()?;
    journalnode.stop()
}

//! A real OpenSSH server on the loopback device, with keys of its own.

use crate::{PortRange, packages, wait_for};
use anyhow::{Result, ensure};
use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
/// Path at which packages install it. It must be started by its full path.
const PROGRAM: &str = "/usr/sbin/sshd";

/// A running server for the user of the test. Dropping it kills it.
#[derive(Debug)]
pub struct Sshd {
    dir: TempDir,
    ports: PortRange,
    child: Child,
}

impl Sshd {
    /// Starts a server. Returns `None`, with a message, if none is installed and none can be installed. With `CI=true`
    /// that is an error.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Option<Sshd>> {
        if let Err(error) = install() {
            if packages::is_ci() {
                return Err(error);
            }
            eprintln!(
                "SKIPPED: this test needs an OpenSSH server (the package openssh-server) and fuser (psmisc): {error:#}"
            );
            return Ok(None);
        }
        let (dir, ports) = (TempDir::with_prefix("hathi-sshd-")?, PortRange::claim()?);
        for key in ["host", "client"] {
            let file = dir.path().join(key);
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(file)
                .status()?;
            ensure!(made.success(), "ssh-keygen: {made}");
        }
        std::fs::copy(dir.path().join("client.pub"), dir.path().join("authorized_keys"))?;
        let path = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n",
            ports.base(),
            path("host"),
            path("authorized_keys"),
        );
        std::fs::write(dir.path().join("config"), config)?;
        let log = File::create(dir.path().join("log"))?;
        let child = Command::new(PROGRAM)
            .args(["-D", "-e", "-f", &path("config")])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut sshd = Sshd { dir, ports, child };
        wait_for("sshd to listen", PATIENCE, || {
            let ended = sshd.child.try_wait().is_ok_and(|status| status.is_some());
            assert!(!ended, "sshd ended:\n{}", sshd.log());
            TcpStream::connect(("127.0.0.1", sshd.port())).ok()
        });
        Ok(Some(sshd))
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.base()
    }

    /// The private key that it accepts.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("client")
    }

    /// A private key that it does not know.
    #[must_use]
    pub fn unknown_key(&self) -> PathBuf {
        self.dir.path().join("host")
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

/// Installs the packages where they are missing, with `CI=true`.
fn install() -> Result<()> {
    let is_there = || Path::new(PROGRAM).exists() && packages::has("fuser") && packages::has("ssh");
    if !is_there() {
        packages::install(&["openssh-server", "openssh-client", "psmisc"])?;
        ensure!(is_there(), "{PROGRAM} is missing");
    }
    if rustix::process::getuid().is_root() {
        // Directory that the server locks itself into before it knows its caller.
        std::fs::create_dir_all("/run/sshd")?;
    }
    Ok(())
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // It may have ended, and an error can't be handled here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! Hadoop's key management server, in a process of its own.

use crate::hadoop::{download, target_dir};
use crate::wait_for;
use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);

/// A KMS with a key store of its own, which is empty at first. Every user may do everything with every key. Dropping it
/// kills the process.
///
/// Keys are made and rolled by Hadoop's client or tool (`hadoop key`): see [`HadoopKms::provider`].
#[derive(Debug)]
pub struct HadoopKms {
    child: Child,
    _dir: TempDir,
    address: String,
}

impl HadoopKms {
    /// Starts one, and waits until it serves. Its jars are fetched with Maven once per build directory.
    ///
    /// # Errors
    /// When the jars can't be had, or Java can't be started.
    pub fn start() -> Result<HadoopKms> {
        let lib = jars()?;
        let dir = TempDir::with_prefix("hathi-kms-")?;
        let at = dir.path().display();
        let site = [
            ("hadoop.kms.key.provider.uri", format!("jceks://file@{at}/keys")),
            ("hadoop.kms.authentication.type", "simple".to_owned()),
            ("hadoop.kms.key.authorization.enable", "false".to_owned()),
            ("hadoop.kms.http.host", "127.0.0.1".to_owned()),
            ("hadoop.kms.http.port", "0".to_owned()),
            ("hadoop.http.temp.dir", format!("{at}/temp")),
        ];
        let lines: String = site
            .iter()
            .map(|(key, value)| format!("<property><name>{key}</name><value>{value}</value></property>\n"))
            .collect();
        for (name, text) in [
            ("kms-site.xml", format!("<configuration>\n{lines}</configuration>\n")),
            ("core-site.xml", "<configuration/>\n".to_owned()),
            ("kms-acls.xml", "<configuration/>\n".to_owned()),
            ("log4j.properties", LOG4J.to_owned()),
        ] {
            std::fs::write(dir.path().join(name), text)?;
        }
        let log = dir.path().join("log");
        let child = Command::new("java")
            .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
            .arg("--add-opens=java.base/java.lang=ALL-UNNAMED")
            .arg("-Dlog4j.configuration=log4j.properties")
            .args(["config", "log", "home"].map(|what| format!("-Dkms.{what}.dir={at}")))
            .arg("-cp")
            .arg(format!("{at}:{}/*", lib.display()))
            .arg("org.apache.hadoop.crypto.key.kms.server.KMSWebServer")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("can't run java")?;
        let mut kms = HadoopKms {
            child,
            _dir: dir,
            address: String::new(),
        };
        kms.address = wait_for("Hadoop's KMS to serve", PATIENCE, || {
            let said = std::fs::read(&log).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let ended = kms.child.try_wait().ok().flatten();
            assert!(ended.is_none(), "Hadoop's KMS ended:\n{said}");
            address(&said)
        });
        Ok(kms)
    }

    /// `hadoop.security.key.provider.path`
    #[must_use]
    pub fn provider(&self) -> String {
        format!("kms://http@{}/kms", self.address)
    }
}

impl Drop for HadoopKms {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where it serves, once it says so.
fn address(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("Started ServerConnector@"))?;
    let (_, address) = line.rsplit_once('{')?;
    Some(address.trim().trim_end_matches('}').to_owned())
}

/// The KMS tells its port only in the log of its web server.
const LOG4J: &str = "log4j.rootLogger=WARN,console\n\
    log4j.logger.org.eclipse.jetty.server.AbstractConnector=INFO\n\
    log4j.appender.console=org.apache.log4j.ConsoleAppender\n\
    log4j.appender.console.target=System.err\n\
    log4j.appender.console.layout=org.apache.log4j.PatternLayout\n\
    log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c: %m%n\n";

fn jars() -> Result<PathBuf> {
    // Tests of one program run at the same time, and Maven must run once.
    static FETCH: Mutex<()> = Mutex::new(());
    let _guard = FETCH.lock();
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/kms/pom.xml");
    let list = std::fs::read_to_string(&pom).with_context(|| pom.display().to_string())?;
    let home = target_dir().join("hadoop-kms");
    let lib = home.join("lib");
    let done = home.join("done");
    if std::fs::read_to_string(&done).is_ok_and(|fetched| fetched == list) {
        return Ok(lib);
    }
    download(&pom, &lib)?;
    std::fs::write(done, list)?;
    Ok(lib)
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn the_address_is_found_in_the_log() {
        let log = "INFO x: Starting\nINFO y: Started ServerConnector@27{HTTP/1.1, (http/1.1)}{127.0.0.1:42409}\n";
        assert_eq!(address(log).as_deref(), Some("127.0.0.1:42409"));
        assert_eq!(address("INFO x: Starting\n"), None);
    }
}

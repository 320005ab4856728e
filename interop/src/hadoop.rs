//! The real Apache Hadoop, fetched with Maven once per build directory.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

/// The version that the tests run against.
pub const VERSION: &str = "3.5.0";

/// The jars of a Hadoop release.
#[derive(Clone, Debug)]
pub struct Hadoop {
    home: PathBuf,
}

impl Hadoop {
    /// Finds or downloads Hadoop. Where that is not possible it prints a message and returns `None`. With `CI=true`
    /// that is an error.
    ///
    /// # Errors
    /// Under `CI=true`, when there is no JDK or Maven, or Maven fails.
    pub fn get() -> Result<Option<Hadoop>> {
        // Tests of one program run at the same time, and Maven must run once.
        static FETCH: Mutex<()> = Mutex::new(());
        let _guard = FETCH.lock();
        match fetch() {
            Ok(home) => Ok(Some(Hadoop { home })),
            Err(error) if std::env::var("CI").is_ok_and(|ci| ci == "true") => Err(error),
            Err(error) => {
                eprintln!("SKIPPED: this test needs Apache Hadoop {VERSION} (a JDK 17 and Maven): {error:#}");
                Ok(None)
            }
        }
    }

    /// Directory of its jars.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// A file that Hadoop's own tests read.
    #[must_use]
    pub fn test_file(&self, name: &str) -> PathBuf {
        self.home.join("test-sources").join(name)
    }

    /// A command of Hadoop's `hdfs` script: `dfs`, `haadmin`, `dfsadmin`, `oiv`, `oev`, `bench` (NNThroughputBenchmark),
    /// a daemon, or a Java source file of `interop/java`.
    #[must_use]
    pub fn command(&self, conf: &Path, tool: &str, args: &[&str]) -> Command {
        // Without these options short-lived tools spend most of their time in the JVM's compilers.
        let options = [
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Xshare:auto",
            "-Xmx512m",
        ];
        self.java(conf, tool, &options, args)
    }

    fn java(&self, conf: &Path, tool: &str, options: &[&str], args: &[&str]) -> Command {
        let class = match tool {
            "dfs" => "org.apache.hadoop.fs.FsShell",
            "haadmin" => "org.apache.hadoop.hdfs.tools.DFSHAAdmin",
            "dfsadmin" => "org.apache.hadoop.hdfs.tools.DFSAdmin",
            "oiv" => "org.apache.hadoop.hdfs.tools.offlineImageViewer.OfflineImageViewerPB",
            "oev" => "org.apache.hadoop.hdfs.tools.offlineEditsViewer.OfflineEditsViewer",
            "bench" => "org.apache.hadoop.hdfs.server.namenode.NNThroughputBenchmark",
            "namenode" => "org.apache.hadoop.hdfs.server.namenode.NameNode",
            "journalnode" => "org.apache.hadoop.hdfs.qjournal.server.JournalNode",
            "secondarynamenode" => "org.apache.hadoop.hdfs.server.namenode.SecondaryNameNode",
            "datanode" => "org.apache.hadoop.hdfs.server.datanode.DataNode",
            "zkfc" => "org.apache.hadoop.hdfs.tools.DFSZKFailoverController",
            "dfsrouter" => "org.apache.hadoop.hdfs.server.federation.router.DFSRouter",
            other => other,
        };
        let class = if class.ends_with(".java") {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("java").join(class)
        } else {
            PathBuf::from(class)
        };
        let home = self.home.display();
        let mut command = Command::new("java");
        command
            .args(options)
            .arg("-cp")
            .arg(format!("{}:{home}/conf:{home}/web:{home}/lib/*", conf.display()))
            .arg(class)
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// As [`Hadoop::command`], for measurements and long runs: with every optimization of the JVM, and this heap.
    #[must_use]
    pub fn server(&self, conf: &Path, tool: &str, heap_mb: u32, args: &[&str]) -> Command {
        self.java(conf, tool, &[&format!("-Xmx{heap_mb}m")], args)
    }

    /// Runs a tool to its end.
    ///
    /// # Errors
    /// When Java can't be started.
    pub fn run(&self, conf: &Path, tool: &str, args: &[&str]) -> Result<Output> {
        Ok(self.command(conf, tool, args).output()?)
    }

    /// Runs a tool and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the message carries its stderr.
    pub fn run_ok(&self, conf: &Path, tool: &str, args: &[&str]) -> Result<String> {
        let output = self.run(conf, tool, args)?;
        if !output.status.success() {
            bail!(
                "{tool} {} ended with {}:\n{}{}",
                args.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The build directory, for what is fetched once.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    }
}

/// Fetches the jars that this list names, with Maven.
pub(crate) fn download(pom: &Path, lib: &Path) -> Result<()> {
    std::fs::create_dir_all(lib)?;
    let status = Command::new("mvn")
        .args(["-q", "-B", "-Dstyle.color=never"])
        .arg("-f")
        .arg(pom)
        .arg(format!("-Dhadoop.version={VERSION}"))
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", lib.display()))
        .stdin(Stdio::null())
        .status()
        .context("can't run mvn")?;
    if !status.success() {
        bail!("mvn ended with {status}");
    }
    Ok(())
}

fn fetch() -> Result<PathBuf> {
    let home = target_dir().join(format!("hadoop-{VERSION}"));
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/pom.xml");
    // A download with a different list of jars, or a different set-up, is repeated.
    let list = std::fs::read_to_string(&pom).with_context(|| pom.display().to_string())? + LOG4J;
    let done = home.join("done");
    if std::fs::read_to_string(&done).is_ok_and(|fetched| fetched == list) {
        return Ok(home);
    }
    let lib = home.join("lib");
    download(&pom, &lib)?;
    // The daemons require a web application of their name. An empty one keeps all their servlets.
    for name in ["hdfs", "journal", "datanode", "static"] {
        let dir = home.join("web/webapps").join(name).join("WEB-INF");
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("web.xml"), "<web-app/>\n")?;
    }
    std::fs::create_dir_all(home.join("conf"))?;
    std::fs::write(home.join("conf/log4j.properties"), LOG4J)?;
    move_test_sources(&lib, &home.join("test-sources"))?;
    std::fs::write(done, list)?;
    Ok(home)
}

/// The published jars of tests also have the suites' cases and options, and configurations that no daemon must find on
/// its class path. So they are kept in a directory of their own, and the files that suites read are unpacked.
fn move_test_sources(lib: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(lib)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_string_lossy().ends_with("-test-sources.jar") {
            continue;
        }
        let jar = to.join(&name);
        std::fs::rename(entry.path(), &jar)?;
        let status = Command::new("jar").arg("xf").arg(&jar).current_dir(to).status();
        if !status.context("can't run jar")?.success() {
            bail!("can't unpack {}", jar.display());
        }
    }
    Ok(())
}

/// Of a failover controller tests have to know which role it takes its NameNode for.
const LOG4J: &str = "log4j.rootLogger=WARN,console\n\
    log4j.logger.org.apache.hadoop.ha.ZKFailoverController=INFO\n\
    log4j.appender.console=org.apache.log4j.ConsoleAppender\n\
    log4j.appender.console.target=System.err\n\
    log4j.appender.console.layout=org.apache.log4j.PatternLayout\n\
    log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c: %m%n\n";

//! Hadoop's own test suites, from its published test jars, on our daemons and on Hadoop's.
//!
//! The suites start a `MiniDFSCluster`. For our daemons a class of that name comes first on the class path
//! (`interop/java/suites`). It starts `hathi quickstart` with the settings of the suite.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Hadoop, HadoopKms, Kind};

/// Every suite: its name here, and Hadoop's class.
pub const SUITES: &[(&str, &str)] = &[
    (
        "contract-append",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractAppend",
    ),
    (
        "contract-bulk-delete",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractBulkDelete",
    ),
    (
        "contract-concat",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractConcat",
    ),
    (
        "contract-create",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractCreate",
    ),
    (
        "contract-delete",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractDelete",
    ),
    (
        "contract-get-file-status",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractGetFileStatus",
    ),
    (
        "contract-lease-recovery",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractLeaseRecovery",
    ),
    (
        "contract-mkdir",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractMkdir",
    ),
    (
        "contract-multipart-uploader",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractMultipartUploader",
    ),
    (
        "contract-open",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractOpen",
    ),
    (
        "contract-path-handle",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractPathHandle",
    ),
    (
        "contract-rename",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractRename",
    ),
    (
        "contract-root-directory",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractRootDirectory",
    ),
    (
        "contract-safe-mode",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractSafeMode",
    ),
    (
        "contract-seek",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractSeek",
    ),
    (
        "contract-set-times",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractSetTimes",
    ),
    (
        "contract-unbuffer",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractUnbuffer",
    ),
    (
        "contract-vectored-read",
        "org.apache.hadoop.fs.contract.hdfs.TestHDFSContractVectoredRead",
    ),
    ("wrapped-io", "org.apache.hadoop.fs.contract.hdfs.TestDFSWrappedIO"),
    (
        "file-system-contract",
        "org.apache.hadoop.hdfs.TestHDFSFileSystemContract",
    ),
    (
        "file-context-main-operations",
        "org.apache.hadoop.fs.TestHDFSFileContextMainOperations",
    ),
    (
        "file-context-create-mkdir",
        "org.apache.hadoop.fs.TestFcHdfsCreateMkdir",
    ),
    ("file-context-permission", "org.apache.hadoop.fs.TestFcHdfsPermission"),
    ("file-context-umask", "org.apache.hadoop.fs.TestFcHdfsSetUMask"),
    ("shell", "org.apache.hadoop.cli.TestHDFSCLI"),
    ("shell-acl", "org.apache.hadoop.cli.TestAclCLI"),
    (
        "shell-acl-posix",
        "org.apache.hadoop.cli.TestAclCLIWithPosixAclInheritance",
    ),
    ("shell-xattr", "org.apache.hadoop.cli.TestXAttrCLI"),
    ("shell-delete", "org.apache.hadoop.cli.TestDeleteCLI"),
    ("shell-cacheadmin", "org.apache.hadoop.cli.TestCacheAdminCLI"),
    ("shell-crypto", "org.apache.hadoop.cli.TestCryptoAdminCLI"),
    ("shell-ec", "org.apache.hadoop.cli.TestErasureCodingCLI"),
    ("ec-admin", "org.apache.hadoop.hdfs.tools.TestECAdmin"),
    ("ec-add", "org.apache.hadoop.hdfs.TestErasureCodingAddConfig"),
    (
        "ec-file-status",
        "org.apache.hadoop.hdfs.TestFileStatusWithDefaultECPolicy",
    ),
    (
        "snapshot-descendant-diff",
        "org.apache.hadoop.hdfs.server.namenode.snapshot.TestSnapRootDescendantDiff",
    ),
    (
        "snapshot-file-context",
        "org.apache.hadoop.hdfs.server.namenode.snapshot.TestFileContextSnapshot",
    ),
    (
        "snapshot-file-length",
        "org.apache.hadoop.hdfs.server.namenode.snapshot.TestSnapshotFileLength",
    ),
    (
        "snapshot-ordered-rename",
        "org.apache.hadoop.hdfs.server.namenode.snapshot.TestRenameWithOrderedSnapshotDeletion",
    ),
    ("encryption-zones", "org.apache.hadoop.hdfs.TestEncryptionZonesWithKMS"),
    (
        "encryption-trash",
        "org.apache.hadoop.hdfs.TestTrashWithEncryptionZones",
    ),
    ("encryption-raw-paths", "org.apache.hadoop.hdfs.TestReservedRawPaths"),
    ("encryption-enclosing-root", "org.apache.hadoop.hdfs.TestEnclosingRoot"),
    (
        "encryption-streams",
        "org.apache.hadoop.hdfs.crypto.TestHdfsCryptoStreams",
    ),
    ("namespace-permission-dfs", "org.apache.hadoop.hdfs.TestDFSPermission"),
    (
        "namespace-permission-sticky-bit",
        "org.apache.hadoop.fs.permission.TestStickyBit",
    ),
    ("namespace-permission", "org.apache.hadoop.security.TestPermission"),
    (
        "namespace-symlinks-permission",
        "org.apache.hadoop.security.TestPermissionSymlinks",
    ),
    ("namespace-acl-extended", "org.apache.hadoop.hdfs.TestExtendedAcls"),
    (
        "namespace-acl-config",
        "org.apache.hadoop.hdfs.server.namenode.TestAclConfigFlag",
    ),
    (
        "namespace-xattr-config",
        "org.apache.hadoop.hdfs.server.namenode.TestXAttrConfigFlag",
    ),
    (
        "namespace-xattr-file-context",
        "org.apache.hadoop.hdfs.server.namenode.TestFileContextXAttr",
    ),
    (
        "namespace-xattr-snapshot",
        "org.apache.hadoop.hdfs.server.namenode.snapshot.TestXAttrWithSnapshot",
    ),
    ("namespace-write-append", "org.apache.hadoop.hdfs.TestFileAppend2"),
    (
        "namespace-write-append-snapshot-truncate",
        "org.apache.hadoop.hdfs.TestAppendSnapshotTruncate",
    ),
    (
        "namespace-write-concat",
        "org.apache.hadoop.hdfs.server.namenode.TestHDFSConcat",
    ),
    (
        "namespace-list-batched",
        "org.apache.hadoop.hdfs.TestBatchedListDirectories",
    ),
    ("namespace-trash", "org.apache.hadoop.hdfs.TestHDFSTrash"),
    ("namespace-quota-owner", "org.apache.hadoop.hdfs.TestQuotaAllowOwner"),
    (
        "namespace-ec-snapshot",
        "org.apache.hadoop.hdfs.TestErasureCodingPolicyWithSnapshot",
    ),
    (
        "namespace-ec-unset",
        "org.apache.hadoop.hdfs.TestUnsetAndChangeDirectoryEcPolicy",
    ),
    (
        "namespace-ec-enabled",
        "org.apache.hadoop.hdfs.server.namenode.TestEnabledECPolicies",
    ),
    (
        "namespace-snapshot-listing",
        "org.apache.hadoop.hdfs.server.namenode.snapshot.TestSnapshotListing",
    ),
    ("namespace-symlinks", "org.apache.hadoop.fs.TestSymlinkHdfsFileSystem"),
    ("webhdfs-contract-append", "WebHdfsContract$Append"),
    ("webhdfs-contract-bulk-delete", "WebHdfsContract$BulkDelete"),
    ("webhdfs-contract-concat", "WebHdfsContract$Concat"),
    ("webhdfs-contract-create", "WebHdfsContract$Create"),
    ("webhdfs-contract-delete", "WebHdfsContract$Delete"),
    ("webhdfs-contract-get-file-status", "WebHdfsContract$GetFileStatus"),
    ("webhdfs-contract-mkdir", "WebHdfsContract$Mkdir"),
    ("webhdfs-contract-open", "WebHdfsContract$Open"),
    ("webhdfs-contract-rename", "WebHdfsContract$Rename"),
    ("webhdfs-contract-root-directory", "WebHdfsContract$RootDirectory"),
    ("webhdfs-contract-seek", "WebHdfsContract$Seek"),
    ("webhdfs-contract-set-times", "WebHdfsContract$SetTimes"),
    ("webhdfs-contract-unbuffer", "WebHdfsContract$Unbuffer"),
    ("webhdfs-contract-vectored-read", "WebHdfsContract$VectoredRead"),
    (
        "webhdfs-file-system-contract",
        "org.apache.hadoop.hdfs.web.TestWebHdfsFileSystemContract",
    ),
    (
        "webhdfs-main-operations",
        "org.apache.hadoop.hdfs.web.TestFSMainOperationsWebHdfs",
    ),
    (
        "webhdfs-file-context-main-operations",
        "org.apache.hadoop.fs.TestWebHdfsFileContextMainOperations",
    ),
    (
        "webhdfs-create-permissions",
        "org.apache.hadoop.hdfs.server.namenode.web.resources.TestWebHdfsCreatePermissions",
    ),
    (
        "webhdfs-storage-policy",
        "org.apache.hadoop.hdfs.tools.TestWebHDFSStoragePolicyCommands",
    ),
    ("webhdfs-ha", "org.apache.hadoop.hdfs.web.TestWebHDFSForHA"),
    ("webhdfs-xattr", "org.apache.hadoop.hdfs.web.TestWebHDFSXAttr"),
    ("webhdfs-acl", "org.apache.hadoop.hdfs.web.TestWebHDFSAcl"),
    // Each of these leaves the JVM changed: with a different user, or with security.
    ("glob-paths", "org.apache.hadoop.fs.TestGlobPaths"),
    ("webhdfs-all", "org.apache.hadoop.hdfs.web.TestWebHDFS"),
    ("webhdfs-url", "org.apache.hadoop.hdfs.web.TestWebHdfsUrl"),
];

/// Suites with keys of encryption zones. Those that keep them in a file get a KMS in its place on our cluster.
const WITH_KEYS: &[&str] = &[
    "shell-crypto",
    "encryption-zones",
    "encryption-trash",
    "encryption-raw-paths",
    "encryption-enclosing-root",
    "webhdfs-all",
];

/// Tests that wait for what happens only inside a NameNode of the same process, until they are ended after two minutes. They
/// are left out.
const WAITING: &[&str] = &["org.apache.hadoop.hdfs.TestEncryptionZonesWithKMS#testStartFileRetry"];

/// Tests that fail on our daemons: the suite, the end of the test's name, and the reason. Each of them should be
/// removed from this list some day.
pub const DIFFERENT: &[(&str, &str, &str)] = &[
    (
        "shell",
        "printTopology: verifying that the topology map is what we expect",
        RACKS,
    ),
    (
        "ec-admin",
        "testRS104MinRacks",
        "our cluster for suites has ten DataNodes at most",
    ),
    ("ec-admin", "testRS32MinRacks", RACKS),
    ("ec-admin", "testRS63Good", RACKS),
    ("ec-admin", "testSuccessfulEnablePolicyMessage", RACKS),
    ("ec-admin", "testVerifyClusterSetupSpecifiedPolicies", RACKS),
    ("ec-admin", "testVerifyClusterSetupWithGivenPolicies", RACKS),
    ("ec-admin", "testXOR21MinRacks", RACKS),
    (
        "encryption-zones",
        "testEncryptionZonesOnRelativePath",
        "the cluster's file system and that of the administrator are two here, and have each its working directory",
    ),
    ("encryption-zones", "testExceptionInformationReturn", INSIDE),
    ("encryption-zones", "testOfflineImageViewerOnEncryptionZones", INSIDE),
    ("encryption-zones", "testBasicOperations", INSIDE),
    ("encryption-zones", "testWarmupEDEKCacheOnStartup", INSIDE),
    ("encryption-zones", "testCreateEZPopulatesEDEKCache", INSIDE),
    ("encryption-raw-paths", "testINodesInPath", INSIDE),
    ("namespace-symlinks", "testRecursiveLinks", FILE_SYSTEMS),
    ("namespace-symlinks", "testSnapshot", FILE_SYSTEMS),
    ("namespace-symlinks", "testConcat", FILE_SYSTEMS),
    ("webhdfs-ha", "testSecureHAToken", TOKENS),
    (
        "webhdfs-ha",
        "testClientFailoverWhenStandbyNNHasStaleCredentials",
        TOKENS,
    ),
    ("webhdfs-ha", "testRetryWhileNNStartup", INSIDE),
    ("webhdfs-acl", "testUMaskDefaultAclNewDir", INSIDE),
    ("webhdfs-acl", "testUMaskDefaultAclNewFile", INSIDE),
    ("webhdfs-acl", "testDeDuplication", INSIDE),
    ("webhdfs-all", "testFsserverDefaults", TRANSFER),
    ("webhdfs-all", "testWebHdfsSps", SATISFIER),
    ("webhdfs-all", "testStatistics", SATISFIER),
    ("webhdfs-all", "testRaceWhileNNStartup", INSIDE),
    ("webhdfs-all", "testFsserverDefaultsBackwardsCompatible", INSIDE),
    (
        "webhdfs-all",
        "testCustomizedUserAndGroupNames",
        "the patterns of names in requests are not configurable",
    ),
];
/// Tests that fail on Hadoop's cluster, too.
pub const HADOOPS: &[(&str, &str, &str)] = &[
    ("webhdfs-contract-create", "testSyncable", CLIENT),
    ("webhdfs-contract-open", "testOpenReadDir", CLIENT),
    ("webhdfs-contract-open", "testOpenReadDirWithChild", CLIENT),
    ("webhdfs-contract-seek", "testNegativeSeek", CLIENT),
    ("webhdfs-contract-seek", "testSeekReadClosedFile", CLIENT),
    (
        "webhdfs-contract-seek",
        "testSeekPastEndOfFileThenReseekAndRead",
        CLIENT,
    ),
    ("webhdfs-contract-seek", "testReadFullyPastEOF", CLIENT),
    ("webhdfs-contract-vectored-read", "testEOFRanges", CLIENT),
    (
        "webhdfs-main-operations",
        "testJsonParseClosesInputStream",
        "it mocks what can't be mocked",
    ),
    (
        "webhdfs-url",
        "testSecureAuthParamsInUrl",
        "this machine has no Kerberos",
    ),
    (
        "webhdfs-url",
        "testSecureProxyAuthParamsInUrl",
        "this machine has no Kerberos",
    ),
];
/// A test that copies to a local file of this name. If the file exists, it fails on Hadoop's cluster, too.
const COPIES_TO: (&str, &str, &str) = (
    "shell-xattr",
    "setfattr : Try to read a file protected by the unreadable by superuser xattr",
    "/tmp/file1",
);
const RACKS: &str = "the suite gives DataNodes on one address different racks by their host names";
const TRANSFER: &str = "the test encrypts data transfer";
const TOKENS: &str = "the test logs in with a token, or looks at objects inside a NameNode";
const SATISFIER: &str = "the test looks at the satisfier inside its cluster, and ours is external";
const FILE_SYSTEMS: &str = "a suite's file system is not the one that its client finds for a link, for which Hadoop's client loses a snapshot's name";
const INSIDE: &str = "the test changes or looks at objects inside a NameNode";
const CLIENT: &str = "Hadoop's client over webhdfs:// does not keep this part of the contract";

/// Why a test of a suite is known to fail on our daemons.
#[must_use]
pub fn different(suite: &str, test: &str) -> Option<&'static str> {
    let name = test.split_once(": ").map_or(test, |(_, name)| name);
    let (copying_suite, copying_test, target) = COPIES_TO;
    if (suite, name) == (copying_suite, copying_test) && Path::new(target).exists() {
        return Some("this machine has a file /tmp/file1, to which the test copies");
    }
    find(DIFFERENT, suite, name, test).or_else(|| different_on_both(suite, test))
}

/// Why a test of a suite is known to fail wherever it runs.
#[must_use]
pub fn different_on_both(suite: &str, test: &str) -> Option<&'static str> {
    find(HADOOPS, suite, test, test)
}

fn find(known: &'static [(&str, &str, &str)], suite: &str, name: &str, test: &str) -> Option<&'static str> {
    let mut found = known
        .iter()
        .filter(|(s, t, _)| *s == suite && (*t == name || *t == test));
    found.next().map(|(_, _, why)| *why)
}

/// Result of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestOutcome {
    /// It holds.
    Passed,
    /// The test itself says that it does not apply.
    Skipped,
    /// The test failed. The text is the first line of its message.
    Failed(String),
}

/// The tests of a suite, by name. A shell suite's tests are its commands, by number and description.
pub type Outcomes = BTreeMap<String, TestOutcome>;

/// Runs suites one after another. Returns the tests of each.
///
/// # Errors
/// When Hadoop's jars can't be prepared, the JVM does not come to its end, or a name is unknown.
pub fn run(hathi: &Path, hadoop: &Hadoop, on: Kind, names: &[&str]) -> Result<BTreeMap<String, Outcomes>> {
    // Some suites leave the JVM with another umask or block size, which these do not bear.
    let (own, others): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.starts_with("namespace-"));
    let mut all = BTreeMap::new();
    for names in [others, own].iter().filter(|names| !names.is_empty()) {
        all.extend(run_in_one_jvm(hathi, hadoop, on, names)?);
    }
    Ok(all)
}

fn run_in_one_jvm(hathi: &Path, hadoop: &Hadoop, on: Kind, names: &[&str]) -> Result<BTreeMap<String, Outcomes>> {
    let mut classes = Vec::new();
    for name in names {
        let (_, class) = SUITES
            .iter()
            .find(|(known, _)| known == name)
            .with_context(|| format!("no suite {name}"))?;
        classes.push((*class, *name));
    }
    // They run in the order of the list, because some leave the JVM changed.
    classes.sort_by_key(|(class, _)| SUITES.iter().position(|(_, known)| known == class));
    let suite_of = |class: &str| classes.iter().find(|(known, _)| *known == class).map(|(_, name)| *name);
    let work = tempfile::TempDir::with_prefix("hathi-suites-")?;
    let mut command = hadoop.suites(on)?;
    let kms = match names.iter().any(|name| WITH_KEYS.contains(name)) {
        true => Some(HadoopKms::start()?),
        false => None,
    };
    command.args(kms.iter().map(|kms| format!("-Dhathi.kms={}", kms.provider())));
    command.arg(format!("-Dsuites.without={}", WAITING.join(",")));
    command
        .current_dir(work.path())
        .arg(format!("-Dhathi.binary={}", hathi.display()))
        .arg(format!("-Dhadoop.log.dir={}", work.path().display()))
        .arg("Suites")
        .args(classes.iter().map(|(class, _)| class))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().context("can't run java")?;
    let out = BufReader::new(child.stdout.take().context("no stdout")?);
    let mut all: BTreeMap<String, Outcomes> = BTreeMap::new();
    let mut commands = Commands::default();
    let mut ended = false;
    for line in out.lines() {
        // Tests print lines of their own, which are skipped.
        let Ok(line) = line else { continue };
        ended |= line == "END";
        commands.take(&line);
        let Some(result) = line.strip_prefix("RESULT\t") else {
            continue;
        };
        let fields: Vec<&str> = result.splitn(4, '\t').collect();
        let &[outcome, class, test, why] = fields.as_slice() else {
            continue;
        };
        // If a whole class fails, its name is in the place of the test's name.
        let suite = suite_of(class).or_else(|| suite_of(test.split(' ').next()?));
        let outcomes = all.entry(suite.unwrap_or(class).to_owned()).or_default();
        let ran = std::mem::take(&mut commands).ran;
        if test == "testAll" && !ran.is_empty() {
            outcomes.extend(ran);
        } else {
            let outcome = match outcome {
                "PASSED" => TestOutcome::Passed,
                "SKIPPED" => TestOutcome::Skipped,
                _ => TestOutcome::Failed(why.to_owned()),
            };
            outcomes.insert(test.to_owned(), outcome);
        }
    }
    child.wait()?;
    ensure!(ended, "the JVM of the suites did not come to its end");
    Ok(all)
}

/// The commands of a shell suite, as it lists them at its end. To JUnit the suite is one test.
#[derive(Default)]
struct Commands {
    ran: Outcomes,
    list: Option<bool>,
}

impl Commands {
    fn take(&mut self, line: &str) {
        match line.trim() {
            "Failing tests:" => self.list = Some(false),
            "Passing tests:" => self.list = Some(true),
            line => {
                let numbered = line
                    .split_once(':')
                    .is_some_and(|(number, _)| number.parse::<u32>().is_ok());
                match self.list {
                    Some(true) if numbered => {
                        self.ran.insert(line.to_owned(), TestOutcome::Passed);
                    }
                    Some(false) if numbered => {
                        self.ran.insert(
                            line.to_owned(),
                            TestOutcome::Failed("the shell printed something else".to_owned()),
                        );
                    }
                    _ => {}
                }
            }
        }
    }
}

impl Hadoop {
    /// A command for a JVM without the class that runs the suites.
    fn suites(&self, on: Kind) -> Result<Command> {
        let home = self.home();
        let java = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/suites");
        let built = |name: &str| home.join(name);
        let sources = |names: &[&str]| names.iter().map(|name| java.join(name)).collect::<Vec<_>>();
        let kms = "kms/org/apache/hadoop/crypto/key/kms/server/MiniKMS.java";
        let own = ["Suites.java", "WebHdfsContract.java", kms];
        compile(home, &sources(&own), &[], &built("suites"))?;
        let hdfs = "cluster/org/apache/hadoop/hdfs";
        let cluster = sources(&[
            &format!("{hdfs}/MiniDFSCluster.java"),
            &format!("{hdfs}/UsersOfSuite.java"),
            &format!("{hdfs}/server/namenode/NameNodeFromOutside.java"),
        ]);
        compile(home, &cluster, &[built("suites")], &built("suites-cluster"))?;
        std::fs::write(built("suites/log4j.properties"), LOG4J)?;
        let mut path: Vec<PathBuf> = vec![built("suites")];
        if on == Kind::Ours {
            path.push(built("suites-cluster"));
        }
        path.extend(["web", "lib/*", "test-sources"].map(built));
        let path: Vec<String> = path.iter().map(|path| path.display().to_string()).collect();
        let mut command = Command::new("java");
        command.args(["-Xmx1g", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
        for package in OPEN_PACKAGES {
            command.arg(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
        }
        command
            .arg(format!("-Dtest.cache.data={}", built("test-sources").display()))
            .args(["-cp", &path.join(":")]);
        Ok(command)
    }
}

/// Packages that Hadoop's own scripts open to reflection.
const OPEN_PACKAGES: [&str; 10] = [
    "java.lang",
    "java.util",
    "java.io",
    "java.net",
    "java.nio",
    "java.math",
    "java.text",
    "java.util.concurrent",
    "java.util.zip",
    "sun.nio.ch",
];

/// The shell suites report each command's result only in their log.
const LOG4J: &str = "log4j.rootLogger=OFF\n\
    log4j.logger.org.apache.hadoop.cli.CLITestHelper=INFO,console\n\
    log4j.appender.console=org.apache.log4j.ConsoleAppender\n\
    log4j.appender.console.layout=org.apache.log4j.PatternLayout\n\
    log4j.appender.console.layout.ConversionPattern=%m%n\n";

fn compile(home: &Path, sources: &[PathBuf], with: &[PathBuf], to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    let mut path: Vec<String> = with.iter().map(|path| path.display().to_string()).collect();
    path.push(format!("{}/lib/*", home.display()));
    let output = Command::new("javac")
        .args(["-nowarn", "-proc:none", "-d"])
        .arg(to)
        .arg("-cp")
        .arg(path.join(":"))
        .args(sources)
        .stdin(Stdio::null())
        .output()
        .context("can't run javac")?;
    ensure!(
        output.status.success(),
        "javac {sources:?}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

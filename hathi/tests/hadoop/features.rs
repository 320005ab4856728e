//! Images and edits that Hadoop's NameNode wrote, with every feature that stands in them: what we keep is what Hadoop shows,
//! and what we can't keep is refused with its name and its place.

use anyhow::{Context, Result, ensure};
use hathi_interop::{FileClient, Hadoop, Kind, Pair, SharedEdits, Single, wait_for};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

/// Hadoop's NameNode nn0 on a shared directory, active, and a client that gives it features.
pub(crate) fn started(hadoop: &Hadoop) -> Result<(Pair, FileClient, TempDir)> {
    let keys = TempDir::with_prefix("hathi-keys-")?;
    let provider = format!("jceks://file{}/keys.jceks", keys.path().display());
    let mut pair = Pair::new(HATHI, Some(hadoop.clone()), SharedEdits::Directory, &[])?;
    let mut client = FileClient::of(hadoop, &pair.conf(0), "Features.java", &[&provider])?;
    client.run("key")?;
    pair.namenode(Kind::Hadoops, &pair.conf(0), &["-format", "-nonInteractive"])?;
    for (key, value) in [
        ("hadoop.security.key.provider.path", provider.as_str()),
        ("dfs.namenode.delegation.token.always-use", "true"),
    ] {
        set(&pair.conf(0), key, value)?;
    }
    pair.start_namenode(0, Kind::Hadoops, &pair.conf(0))?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])
        .with_context(|| pair.log("nn0"))?;
    Ok((pair, client, keys))
}

/// Adds a setting to a daemon's configuration.
fn set(conf: &Path, key: &str, value: &str) -> Result<()> {
    let site = conf.join("hdfs-site.xml");
    let property = format!("<property><name>{key}</name><value>{value}</value></property>\n</configuration>");
    let text = std::fs::read_to_string(&site)?.replace("</configuration>", &property);
    Ok(std::fs::write(site, text)?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Replaces a directory by a copy of another one.
fn replace(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    copy(from, to)
}

#[test]
fn what_hadoop_wrote_is_served_as_hadoop_serves_it_and_handed_back() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let (mut pair, mut client, _keys) = started(&hadoop)?;
    let (theirs, ours) = (pair.name_dir(0), pair.name_dir(1));
    replace(&theirs, &ours)?;
    client.run("served")?;
    client.run("rolling upgrade")?;
    let described = client.run("describe")?;
    ensure!(described.contains("/served/modes/renamed"), "{described}");
    let upgrade = client.run("upgrade under way")?;
    ensure!(upgrade.starts_with("since"), "{upgrade}");
    let renewed = client.run("renew token")?;
    ensure!(renewed.starts_with("until"), "{renewed}");
    client.run("roll")?;
    pair.kill_namenode(0)?;

    let mut serve = |pair: &mut Pair, index: usize, kind: Kind, what: &str| -> Result<String> {
        pair.start_namenode(index, kind, &pair.conf(index))?;
        pair.run(
            "haadmin",
            &["-transitionToActive", "--forceactive", &format!("nn{index}")],
        )?;
        pair.wait_for_state(index, "active");
        let now = client.run("describe")?;
        ensure!(now == described, "{what}:\n{now}\n instead of\n{described}");
        let upgrade = client.run("upgrade under way")?;
        client.run("renew token").with_context(|| what.to_owned())?;
        client.run("save")?;
        pair.kill_namenode(index)?;
        Ok(upgrade)
    };
    let carried = serve(&mut pair, 1, Kind::Ours, "Hadoop's edits, ours")?;
    ensure!(carried == upgrade, "rolling upgrade: {carried} instead of {upgrade}");
    replace(&ours, &theirs)?;
    // Hadoop's NameNode goes on with a rolling upgrade only where a rollback image lies, and no standby of its own made one.
    serve(&mut pair, 0, Kind::Hadoops, "our image, Hadoop's")?;
    replace(&theirs, &ours)?;
    serve(&mut pair, 1, Kind::Ours, "Hadoop's image, ours").map(drop)
}

/// A process that does not outlive the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It has ended by itself when all is well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A NameNode's directory and the shared edits, as they were at one moment.
struct Kept {
    dir: TempDir,
    what: String,
    /// What is refused, and where.
    expected: (&'static str, &'static str),
}

impl Kept {
    fn of(pair: &Pair, name_dir: &Path, what: String, expected: (&'static str, &'static str)) -> Result<Kept> {
        let dir = TempDir::with_prefix("hathi-kept-")?;
        copy(name_dir, &dir.path().join("name"))?;
        copy(&pair.shared_edits(), &dir.path().join("shared/current"))?;
        Ok(Kept { dir, what, expected })
    }

    /// Our NameNode on it ends, and says why.
    fn is_refused(&self, pair: &Pair) -> Result<()> {
        let path = |name: &str| self.dir.path().join(name);
        copy(&pair.conf(1), &path("conf"))?;
        let site = path("conf/hdfs-site.xml");
        let shared = pair.shared_edits().parent().context("shared")?.display().to_string();
        let text = std::fs::read_to_string(&site)?
            .replace(
                &pair.name_dir(1).display().to_string(),
                &path("name").display().to_string(),
            )
            .replace(&shared, &path("shared").display().to_string());
        std::fs::write(&site, text)?;
        let log = path("log");
        let child = Command::new(HATHI)
            .args(["namenode", "--conf"])
            .arg(path("conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        let mut child = Killed(child);
        let status = wait_for(&format!("our NameNode to refuse {}", self.what), PATIENCE, || {
            child.0.try_wait().ok().flatten()
        });
        let told = std::fs::read_to_string(&log)?;
        ensure!(status.code() == Some(1), "{}: {status}:\n{told}", self.what);
        let (feature, place) = self.expected;
        ensure!(
            told.contains(feature) && told.contains(place),
            "{} is refused without {feature:?} or {place:?}:\n{told}",
            self.what
        );
        Ok(())
    }
}

#[test]
fn what_we_can_not_keep_is_refused_with_its_name_and_its_place() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let (mut pair, _client, _keys) = started(&hadoop)?;
    let name_dir: PathBuf = pair.name_dir(0);
    pair.kill_namenode(0)?;
    pair.upgrade_namenode(0)?;
    pair.kill_namenode(0)?;
    let upgrade = ("in the middle of an upgrade", "name/previous");
    let kept = Kept::of(&pair, &name_dir, "a directory under upgrade".to_owned(), upgrade)?;
    kept.is_refused(&pair)
}

/// Every file below a directory, with its content.
fn files_below(dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else if entry.file_name() != "in_use.lock" {
            files.insert(entry.path(), std::fs::read(entry.path())?);
        }
    }
    Ok(files)
}

#[test]
fn what_older_hadoops_wrote_is_refused_with_its_layout_and_left_as_it_is() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let pair = Pair::new(HATHI, None, SharedEdits::Directory, &[])?;
    for (archive, name_dir, layout) in [
        ("hadoop-22-dfs-dir", "dfs/name-0-1", "-33"),
        ("hadoop-0.23-reserved", "dfs/name-0-1", "-39"),
        ("hadoop-2-reserved", "dfs/name-0-1", "-40"),
        ("hadoop-1-reserved", "dfs/name-0-1", "-41"),
        (
            "testUpgradeFrom22FixesStorageIDs",
            "testUpgradeFrom22FixesStorageIDs/dfs/name",
            "-47",
        ),
        ("hadoop-252-dfs-dir", "dfs/name1", "-57"),
        (
            "testUpgradeFrom26PreservesStorageIDs",
            "testUpgradeFrom26PreservesStorageIDs/dfs/name",
            "-60",
        ),
    ] {
        let unpacked = TempDir::with_prefix("hathi-older-")?;
        let status = Command::new("tar")
            .arg("xzf")
            .arg(hadoop.test_file(&format!("{archive}.tgz")))
            .current_dir(unpacked.path())
            // It does not know all that other systems' archives say of their files.
            .stderr(Stdio::null())
            .status()?;
        ensure!(status.success(), "{archive} can't be unpacked");
        replace(&unpacked.path().join(name_dir), &pair.name_dir(0))?;
        let before = files_below(&pair.name_dir(0))?;
        let log = unpacked.path().join("log");
        let child = Command::new(HATHI)
            .args(["namenode", "--conf"])
            .arg(pair.conf_alone())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        let mut child = Killed(child);
        let status = wait_for("our NameNode to refuse it", PATIENCE, || {
            child.0.try_wait().ok().flatten()
        });
        let told = std::fs::read_to_string(&log)?;
        ensure!(status.code() == Some(1), "{archive}: {status}:\n{told}");
        for part in [&pair.name_dir(0).display().to_string(), layout, "-67", "-upgrade"] {
            ensure!(told.contains(part), "{archive} is refused without {part:?}:\n{told}");
        }
        ensure!(
            files_below(&pair.name_dir(0))? == before,
            "{archive}: something was written"
        );
    }
    Ok(())
}

#[test]
fn a_name_directory_of_hadoop_2_6_is_upgraded() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    // Its blocks are nowhere.
    let more = [
        ("dfs.namenode.safemode.threshold-pct", "0"),
        ("dfs.permissions.enabled", "false"),
    ];
    let mut single = Single::new(HATHI, None, 1, &more)?;
    let unpacked = TempDir::with_prefix("hathi-older-")?;
    let status = Command::new("tar")
        .arg("xzf")
        .arg(hadoop.test_file("testUpgradeFrom26PreservesStorageIDs.tgz"))
        .current_dir(unpacked.path())
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "it can't be unpacked");
    replace(
        &unpacked.path().join("testUpgradeFrom26PreservesStorageIDs/dfs/name"),
        &single.name_dir(0),
    )?;
    let mut images = single.files(0, "fsimage_");
    images.retain(|name| !name.contains('.'));
    let image = images.pop().context("image")?;
    let image = single.name_dir(0).join("current").join(image).display().to_string();
    let table = unpacked.path().join("table").display().to_string();
    let status = Command::new(HATHI)
        .args(["oiv", "-p", "Delimited", "-i", &image, "-o", &table])
        .status()?;
    ensure!(status.success(), "oiv ended with {status}");
    let rows = std::fs::read_to_string(&table)?;
    let paths: Vec<&str> = rows
        .lines()
        .skip(1)
        .filter_map(|line| line.split('\t').next())
        .collect();
    single.start_namenode_with(Kind::Ours, &["-upgrade"])?;
    for path in &paths {
        single
            .tool("dfs", &["-test", "-e", path])
            .with_context(|| (*path).to_owned())?;
    }
    single.tool("dfs", &["-mkdir", "/new"])?;
    single.kill_namenode()?;
    let told = single.run_to_end(Kind::Ours, "namenode", &["-metadataVersion"])?;
    ensure!(told.contains("HDFS Image Version: -67"), "{told}");
    single.start_namenode(Kind::Ours)?;
    single.tool("dfs", &["-test", "-d", "/new"])?;
    Ok(())
}

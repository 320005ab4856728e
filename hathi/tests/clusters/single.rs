//! The only NameNode, with its edits in its own directories: killed, with a directory that breaks, and taken over by
//! Hadoop's and back.

use anyhow::{Context, Result, ensure};
use hathi_client::{CreateOptions, FileSystem};
use hathi_conf::Configuration;
use hathi_interop::{Hadoop, Kind, PortRange, SharedEdits, Single, wait_for};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
const CLIENTS: usize = 4;
const ROUNDS: usize = 4;
/// How often a client that waits looks whether it waits in vain.
const LOOK: Duration = Duration::from_millis(20);

fn formatted(hadoop: Option<Hadoop>, name_dirs: usize, more: &[(&str, &str)]) -> Result<Single> {
    let single = Single::new(HATHI, hadoop, name_dirs, more)?;
    single.run_to_end(Kind::Ours, "namenode", &["-format", "-nonInteractive"])?;
    Ok(single)
}

fn client<T>(conf: &Path, work: impl AsyncFnOnce(FileSystem) -> Result<T>) -> Result<T> {
    let conf = Configuration::load(conf)?;
    let fs = FileSystem::new(&conf, "", &std::env::var("USER").unwrap_or_else(|_| "root".to_owned()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, work(fs))
}

/// Of each directory that a client worked on, in their order, which of its steps was acknowledged last.
type Acknowledged = Vec<usize>;

/// Ends the load when it is dropped.
struct EndOfLoad<'a>(&'a AtomicBool);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether a call is acknowledged; nobody waits for one any more once the NameNode is killed.
async fn acknowledges<T, E>(call: impl Future<Output = Result<T, E>>, killed: &AtomicBool) -> bool {
    tokio::pin!(call);
    loop {
        tokio::select! {
            result = &mut call => return result.is_ok(),
            () = tokio::time::sleep(LOOK) => if killed.load(Ordering::Relaxed) {
                return false;
            }
        }
    }
}

/// Makes a directory, renames it, makes a file in it, again and again, until an answer fails to come.
async fn load(fs: &FileSystem, root: &str, all: &AtomicU64, killed: &AtomicBool) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    for number in 0.. {
        if killed.load(Ordering::Relaxed) {
            break;
        }
        let (made, moved) = (format!("{root}/{number}"), format!("{root}/{number}.moved"));
        acknowledged.push(0);
        let mut done = |steps| {
            acknowledged[number] = steps;
            all.fetch_add(1, Ordering::Relaxed);
        };
        if !acknowledges(fs.mkdirs(&made, 0o755, true), killed).await {
            break;
        }
        done(1);
        if !acknowledges(fs.rename(&made, &moved, false), killed).await {
            break;
        }
        done(2);
        let file = format!("{moved}/file");
        if !acknowledges(fs.create(&file, &CreateOptions::default()), killed).await {
            break;
        }
        done(3);
    }
    acknowledged
}

async fn check(fs: &FileSystem, root: &str, acknowledged: &Acknowledged) -> Result<()> {
    for (number, steps) in acknowledged.iter().enumerate() {
        let (made, moved) = (format!("{root}/{number}"), format!("{root}/{number}.moved"));
        let has_made = fs.status(&made).await?.is_some();
        let has_moved = fs.status(&moved).await?.is_some();
        let has_file = fs.status(&format!("{moved}/file")).await?.is_some();
        let kept = match steps {
            0 => true,
            1 => has_made != has_moved,
            2 => has_moved && !has_made,
            _ => has_moved && !has_made && has_file,
        };
        ensure!(
            kept,
            "{steps} steps of {made} were acknowledged: {has_made} {has_moved} {has_file}"
        );
    }
    Ok(())
}

#[test]
fn nothing_acknowledged_is_lost_when_it_is_killed_at_any_moment() -> Result<()> {
    // Segments end often, so that some kills are while one does.
    let more = [
        ("dfs.namenode.checkpoint.txns", "60"),
        ("dfs.namenode.checkpoint.check.period", "1"),
        ("dfs.namenode.edit.log.autoroll.check.interval.ms", "20"),
        ("dfs.namenode.num.extra.edits.retained", "0"),
    ];
    let mut single = formatted(None, 2, &more)?;
    single.start_namenode(Kind::Ours)?;
    ensure!(
        single.tool("haadmin", &["-getServiceState", "nn0"]).is_err(),
        "there is no other to ask for"
    );
    let mut before = Vec::new();
    for round in 0..ROUNDS {
        let (all, killed) = (AtomicU64::new(0), AtomicBool::new(false));
        let conf = single.conf();
        let enough = fastrand::u64(50..300);
        let (all, killed, conf) = (&all, &killed, conf.as_path());
        let acknowledged = std::thread::scope(|scope| -> Result<Vec<_>> {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    scope.spawn(move || {
                        let root = format!("/load/{round}-{number}");
                        let done = client(conf, async |fs| Ok(load(&fs, &root, all, killed).await));
                        done.map(|done| (root, done))
                    })
                })
                .collect();
            // Also when the load does not come.
            let end = EndOfLoad(killed);
            wait_for("the load", PATIENCE, || {
                (all.load(Ordering::Relaxed) >= enough).then_some(())
            });
            single.kill_namenode()?;
            drop(end);
            clients
                .into_iter()
                .map(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
                .collect()
        })?;
        single.start_namenode(Kind::Ours)?;
        before.extend(acknowledged);
        client(&single.conf(), async |fs| {
            for (root, acknowledged) in &before {
                check(&fs, root, acknowledged).await?;
            }
            Ok(())
        })?;
    }
    wait_for("a checkpoint", PATIENCE, || {
        (single.files(1, "fsimage_").len() > 2).then_some(())
    });
    Ok(())
}

#[test]
fn it_goes_on_without_a_directory_that_breaks_and_takes_it_back_when_told() -> Result<()> {
    let mut single = formatted(None, 2, &[])?;
    single.start_namenode(Kind::Ours)?;
    single.tool("dfs", &["-mkdir", "/one"])?;
    let aside = single.name_dir(1).with_extension("aside");
    std::fs::rename(single.name_dir(1), &aside)?;
    single.tool("dfsadmin", &["-rollEdits"])?;
    single.tool("dfs", &["-mkdir", "/two"])?;
    let statuses = || -> Result<String> {
        let url = format!(
            "http://{}/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo",
            single.http_address()
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (_, body) = runtime.block_on(hathi_net::http::get_bytes(&url, PATIENCE, 1 << 20))?;
        let beans: serde_json::Value = serde_json::from_slice(&body)?;
        let statuses = beans["beans"][0]["NameDirStatuses"]
            .as_str()
            .context("no NameDirStatuses")?;
        Ok(statuses.to_owned())
    };
    let failed = |statuses: &str| -> Result<usize> {
        let statuses: serde_json::Value = serde_json::from_str(statuses)?;
        Ok(statuses["failed"].as_object().context("no failed")?.len())
    };
    ensure!(failed(&statuses()?)? == 1, "{}", statuses()?);
    let told = single.tool("dfsadmin", &["-restoreFailedStorage", "check"])?;
    ensure!(told.contains("restoreFailedStorage is set to false"), "{told}");

    // It is there again, and lacks what came meanwhile.
    std::fs::rename(&aside, single.name_dir(1))?;
    single.tool("dfsadmin", &["-restoreFailedStorage", "true"])?;
    let save = |single: &Single| -> Result<()> {
        single.tool("dfsadmin", &["-safemode", "enter"])?;
        single.tool("dfsadmin", &["-saveNamespace"])?;
        single.tool("dfsadmin", &["-safemode", "leave"]).map(drop)
    };
    save(&single)?;
    ensure!(failed(&statuses()?)? == 0, "{}", statuses()?);
    single.tool("dfs", &["-mkdir", "/three"])?;
    single.kill_namenode()?;
    single.use_name_dirs(&[1])?;
    single.start_namenode(Kind::Ours)?;
    single.tool("dfs", &["-test", "-d", "/two"])?;
    single.tool("dfs", &["-test", "-d", "/three"])?;

    // The last one is never left out.
    std::fs::rename(single.name_dir(1), &aside)?;
    let conf = single.conf();
    // The client looks for the NameNode for a while.
    let mut roll = single
        .command(Kind::Ours, "dfsadmin", &conf, &["-rollEdits"])?
        .spawn()?;
    let ended = single.wait_for_end();
    let acknowledged = roll.try_wait()?.is_some_and(|status| status.success());
    // It may have ended by itself.
    let _ = roll.kill();
    roll.wait()?;
    ensure!(ended? != Some(0) && !acknowledged, "it has nowhere to write to");
    Ok(())
}

#[test]
fn hadoops_namenode_takes_its_directories_over_and_gives_them_back() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut single = formatted(Some(hadoop), 2, &[])?;
    let file = tempfile::NamedTempFile::new()?;
    let content: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    std::fs::write(file.path(), &content)?;
    let local = file.path().display().to_string();
    let put = |single: &Single, path: &str| single.tool("dfs", &["-put", &local, path]).map(drop);
    let reads = |single: &Single, paths: &[&str]| -> Result<()> {
        for path in paths {
            let read = wait_for(path, PATIENCE, || single.tool("dfs", &["-cat", path]).ok());
            ensure!(read == content, "{path} has {} bytes", read.len());
        }
        Ok(())
    };
    single.start_namenode(Kind::Ours)?;
    single.start_datanode(0)?;
    wait_for("a DataNode", PATIENCE, || {
        let report = single.tool("dfsadmin", &["-report"]).ok()?;
        report.contains("Live datanodes (1)").then_some(())
    });
    put(&single, "/ours")?;
    single.tool("dfsadmin", &["-rollEdits"])?;
    single.kill_namenode()?;

    single.start_namenode(Kind::Hadoops)?;
    reads(&single, &["/ours"])?;
    put(&single, "/java")?;
    single.kill_namenode()?;

    single.start_namenode(Kind::Ours)?;
    reads(&single, &["/ours", "/java"])?;
    put(&single, "/again")?;
    Ok(())
}

#[test]
fn hadoops_secondary_namenode_makes_its_checkpoints() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    // An image that is young, and brings little, is refused, by Hadoop's NameNode too.
    let mut single = formatted(Some(hadoop), 1, &[("dfs.namenode.checkpoint.txns", "3")])?;
    single.start_namenode(Kind::Ours)?;
    // An image of the NameNode's own: the edits behind it begin where it ends, or Hadoop refuses them.
    single.tool("dfs", &["-mkdir", "/none"])?;
    for command in [
        &["-safemode", "enter"][..],
        &["-saveNamespace"],
        &["-safemode", "leave"],
    ] {
        single.tool("dfsadmin", command)?;
    }
    for path in ["/one", "/two", "/three"] {
        single.tool("dfs", &["-mkdir", path])?;
    }
    let before = single.files(0, "fsimage_");
    single.run_to_end(Kind::Hadoops, "secondarynamenode", &["-checkpoint", "force"])?;
    let after = single.files(0, "fsimage_");
    ensure!(after != before, "no other image than {after:?}");
    single.tool("dfs", &["-mkdir", "/four"])?;
    single.kill_namenode()?;
    single.start_namenode(Kind::Ours)?;
    for path in ["/one", "/two", "/three", "/four"] {
        single.tool("dfs", &["-test", "-d", path])?;
    }
    Ok(())
}

/// Checkpoints of ours beside one of the NameNodes, and a NameNode of ours that begins with the last one.
fn our_secondary_namenode_checkpoints(kind: Kind, hadoop: Option<Hadoop>) -> Result<()> {
    let mut single = formatted(hadoop, 2, &[("dfs.namenode.checkpoint.txns", "3")])?;
    let secondary = |single: &Single, args: &[&str]| single.run_to_end(Kind::Ours, "secondarynamenode", args);
    single.start_namenode(kind)?;
    single.tool("dfs", &["-mkdir", "/one"])?;
    let told = secondary(&single, &["-geteditsize"])?;
    ensure!(told.contains(" uncheckpointed transactions"), "{told}");
    // One of ours makes checkpoints by itself beside these, at a moment of its own.
    if kind == Kind::Hadoops {
        ensure!(told.contains("NameNode has 2 uncheckpointed transactions"), "{told}");
        let told = secondary(&single, &["-checkpoint"])?;
        ensure!(told.contains("Skipping checkpoint."), "{told}");
    }
    for path in ["/two", "/three", "/3.1", "/3.2", "/3.3"] {
        single.tool("dfs", &["-mkdir", path])?;
    }
    let before = single.files(0, "fsimage_");
    secondary(&single, &["-checkpoint"])?;
    let after = single.files(0, "fsimage_");
    ensure!(after != before, "{before:?}, then {after:?}");
    // With an image and edits of before.
    for path in ["/four", "/five", "/six"] {
        single.tool("dfs", &["-mkdir", path])?;
    }
    secondary(&single, &["-checkpoint", "force"])?;
    // With an image that the NameNode made itself, and what is behind it.
    for command in [
        &["-safemode", "enter"][..],
        &["-saveNamespace"],
        &["-safemode", "leave"],
    ] {
        single.tool("dfsadmin", command)?;
    }
    // One that brings less is refused, as it would be a moment after the last.
    for path in ["/6.5", "/6.6", "/6.7"] {
        single.tool("dfs", &["-mkdir", path])?;
    }
    let images = single.files(0, "fsimage_");
    secondary(&single, &["-checkpoint", "force"])?;
    ensure!(single.files(0, "fsimage_") != images, "no other image than {images:?}");
    ensure!(single.files(0, "fsimage_") != after, "no other image than {after:?}");
    single.kill_namenode()?;
    let refused = single.tool("secondarynamenode", &["-geteditsize"]);
    ensure!(refused.is_err(), "nobody is there");

    let told = single.run_to_end(Kind::Ours, "namenode", &["-importCheckpoint"]);
    let told = told.expect_err("there is an image").to_string();
    ensure!(told.contains("NameNode already contains an image in"), "{told}");
    for index in 0..2 {
        std::fs::remove_dir_all(single.name_dir(index))?;
    }
    single.start_namenode_with(Kind::Ours, &["-importCheckpoint"])?;
    for path in ["/one", "/three", "/six", "/6.5"] {
        single.tool("dfs", &["-test", "-d", path])?;
    }
    single.tool("dfs", &["-mkdir", "/seven"])?;
    single.kill_namenode()?;
    single.start_namenode(kind)?;
    single.tool("dfs", &["-test", "-d", "/seven"]).map(drop)
}

#[test]
fn our_secondary_namenode_makes_checkpoints_of_our_namenode() -> Result<()> {
    our_secondary_namenode_checkpoints(Kind::Ours, None)
}

#[test]
fn our_secondary_namenode_makes_checkpoints_of_hadoops_namenode() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    our_secondary_namenode_checkpoints(Kind::Hadoops, Some(hadoop))
}

/// One of ours by itself, beside a NameNode; one of ours makes as many at the same time.
fn our_secondary_namenode_serves(kind: Kind, hadoop: Option<Hadoop>) -> Result<()> {
    let more = [
        ("dfs.namenode.checkpoint.txns", "4"),
        ("dfs.namenode.checkpoint.check.period", "1"),
    ];
    let mut single = formatted(hadoop, 1, &more)?;
    single.start_namenode(kind)?;
    // A checkpoint of the NameNode's own is there first.
    if kind == Kind::Ours {
        wait_for("the NameNode's own checkpoint", PATIENCE, || {
            let path = format!("/{}", fastrand::u64(..));
            single.tool("dfs", &["-mkdir", &path]).ok()?;
            (single.files(0, "fsimage_").len() > 2).then_some(())
        });
    }
    single.start_secondary()?;
    let url = format!(
        "http://{}/jmx?qry=Hadoop:service=SecondaryNameNode,name=SecondaryNameNodeInfo",
        single.secondary_http_address()
    );
    wait_for("its checkpoints", PATIENCE, || {
        single
            .tool("dfs", &["-mkdir", "-p", &format!("/{}", fastrand::u64(..))])
            .ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .ok()?;
        let (_, body) = runtime
            .block_on(hathi_net::http::get_bytes(&url, PATIENCE, 1 << 20))
            .ok()?;
        let beans: serde_json::Value = serde_json::from_slice(&body).ok()?;
        (beans["beans"][0]["LastCheckpointTime"].as_u64()? > 0).then_some(())
    });
    Ok(())
}

#[test]
fn a_secondary_namenode_makes_checkpoints_by_itself() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    our_secondary_namenode_serves(Kind::Hadoops, Some(hadoop))
}

#[test]
fn a_secondary_namenode_makes_checkpoints_beside_those_of_our_namenode() -> Result<()> {
    our_secondary_namenode_serves(Kind::Ours, None)
}

#[test]
fn a_quickstart_of_it_is_one_command() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let range = PortRange::claim()?;
    let mut quickstart = Command::new(HATHI)
        .args(["quickstart", "--single", "--datanodes", "1", "--dir"])
        .arg(dir.path())
        .args(["--base-port", &range.base().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let told = BufReader::new(quickstart.stdout.take().context("stdout")?);
    let ready = told.lines().map_while(Result::ok).any(|line| line.starts_with("ready"));
    let mut tool = Command::new(HATHI);
    tool.args(["dfs", "-mkdir", "/made"])
        .env("HADOOP_CONF_DIR", dir.path().join("conf"));
    let made = tool.status();
    quickstart.kill()?;
    quickstart.wait()?;
    ensure!(ready && made?.success(), "it does not serve");

    // JournalNodes would have none of its edits.
    let site = dir.path().join("conf/hdfs-site.xml");
    let before = std::fs::read(&site)?;
    let other_form = Command::new(HATHI)
        .args(["quickstart", "--datanodes", "1", "--dir"])
        .arg(dir.path())
        .args(["--base-port", &range.base().to_string()])
        .stdin(Stdio::null())
        .output()?;
    let told = String::from_utf8_lossy(&other_form.stderr).into_owned();
    ensure!(
        !other_form.status.success() && told.contains("without high availability") && told.contains("--dir"),
        "{told}"
    );
    ensure!(std::fs::read(&site)? == before, "its configuration is another one");
    Ok(())
}

#[test]
fn in_an_ha_cluster_a_secondary_namenode_says_why_it_is_not_needed() -> Result<()> {
    let pair = hathi_interop::Pair::new(HATHI, None, SharedEdits::Directory, &[])?;
    // Also on a machine where none of the NameNodes is.
    let elsewhere = tempfile::tempdir()?;
    for name in ["core-site.xml", "hdfs-site.xml"] {
        let text = std::fs::read_to_string(pair.conf(0).join(name))?;
        let text = text.replace("127.0.0.1:", "198.51.100.1:");
        let text = text.replace("dfs.ha.namenode.id<", "of.nobody<");
        std::fs::write(elsewhere.path().join(name), text)?;
    }
    for conf in [pair.conf(0).as_path(), elsewhere.path()] {
        for args in [
            &[][..],
            &["-checkpoint"],
            &["-checkpoint", "force"],
            &["-geteditsize"],
            &["-format"],
        ] {
            let mut command = Command::new(HATHI);
            command.args(["secondarynamenode", "--conf"]).arg(conf).args(args);
            let output = command.stdin(Stdio::null()).output()?;
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            let why = "Cannot use SecondaryNameNode in an HA cluster. The Standby Namenode will perform checkpointing.";
            ensure!(
                output.status.code() == Some(1) && told.contains(why),
                "{args:?}: {told}"
            );
        }
    }
    Ok(())
}

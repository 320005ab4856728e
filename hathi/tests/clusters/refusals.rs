//! What a daemon says when it can't start, and what commands say of inputs that make no sense.

use anyhow::{Context, Result, ensure};
use hathi_conf::Configuration;
use hathi_interop::{ClusterOptions, Daemons, Role, Single, wait_for};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
/// A user without rights.
const NOBODY: u32 = 65_534;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hathi(args: &[&str]) -> Result<Output> {
    let mut command = Command::new(HATHI);
    command.args(args).env("HADOOP_CONF_DIR", "/nonexistent");
    Ok(command.stdin(Stdio::null()).output()?)
}

fn daemon(program: &Path, role: &str, conf: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args([role, "--conf"])
        .arg(conf)
        .stdin(Stdio::null())
        .env_remove("HADOOP_USER_NAME");
    command
}

/// The last line that a daemon says, when it does not start.
fn refusal(mut command: Command, role: &str) -> Result<String> {
    let output = command.output()?;
    let told = text(&output.stderr);
    ensure!(output.status.code() == Some(1), "{role}: {}\n{told}", output.status);
    let last = told.lines().last().context("nothing is said")?;
    Ok(last.to_owned())
}

fn name(role: Role) -> &'static str {
    match role {
        Role::NameNode => "namenode",
        Role::JournalNode => "journalnode",
        Role::DataNode => "datanode",
        Role::Zkfc => "zkfc",
    }
}

fn one_of_each(more: &[(&str, &str)]) -> Result<Daemons> {
    let options = ClusterOptions {
        namenodes: 1,
        journalnodes: 1,
        datanodes: 1,
    };
    Daemons::new(Path::new(HATHI), options, more)
}

#[test]
fn a_port_that_is_taken_is_told_once_with_its_key_and_its_holder() -> Result<()> {
    let taken = TcpListener::bind(("127.0.0.1", 0))?;
    let address = taken.local_addr()?.to_string();
    let holder = format!("process {} (clusters-", std::process::id());
    let told_once = |role: &str, key: &str, told: &str| {
        for part in [key, address.as_str(), "Address already in use", holder.as_str()] {
            ensure!(
                told.matches(part).count() == 1,
                "{role}: {part} is not there once: {told}"
            );
        }
        Ok(())
    };
    for (role, key) in [
        (Role::JournalNode, "dfs.journalnode.rpc-address"),
        (Role::JournalNode, "dfs.journalnode.http-address"),
        (Role::DataNode, "dfs.datanode.address"),
        (Role::DataNode, "dfs.datanode.ipc.address"),
        (Role::DataNode, "dfs.datanode.http.address"),
        (Role::Zkfc, "hathi.zkfc.http-address"),
        (Role::Zkfc, "dfs.ha.zkfc.port"),
    ] {
        let daemons = one_of_each(&[])?;
        let conf = daemons.daemon_conf(role, 0);
        let ns = Configuration::load(&conf)?.nameservices().concat();
        let port = taken.local_addr()?.port().to_string();
        let (full, value) = match key {
            "dfs.ha.zkfc.port" => (format!("{key}.{ns}.nn0"), &port),
            "hathi.zkfc.http-address" => (format!("{key}.{ns}.nn0"), &address),
            _ => (key.to_owned(), &address),
        };
        daemons.configure(role, 0, &[(&full, value)])?;
        told_once(
            name(role),
            key,
            &refusal(daemon(Path::new(HATHI), name(role), &conf), name(role))?,
        )?;
    }
    for (role, key) in [
        ("namenode", "dfs.namenode.rpc-address"),
        ("namenode", "dfs.namenode.servicerpc-address"),
        ("namenode", "dfs.namenode.http-address"),
        ("secondarynamenode", "dfs.namenode.secondary.http-address"),
    ] {
        let single = Single::new(HATHI, None, 1, &[(key, &address)])?;
        single.run_to_end(hathi_interop::Kind::Ours, "namenode", &["-format", "-nonInteractive"])?;
        told_once(
            role,
            key,
            &refusal(daemon(Path::new(HATHI), role, &single.conf()), role)?,
        )?;
    }
    Ok(())
}

#[test]
fn a_daemon_without_rights_names_what_it_tried_the_path_and_its_user() -> Result<()> {
    let daemons = one_of_each(&[])?;
    // Root may do everything, so another user runs it then, who must be able to read it.
    let place = tempfile::tempdir()?;
    let program = place.path().join("hathi");
    std::fs::copy(HATHI, &program)?;
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755))?;
    let locked = place.path().join("locked");
    std::fs::create_dir(&locked)?;
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o555))?;
    let path = locked.join("dir").display().to_string();
    let locked = locked.display().to_string();
    for (role, key, dir, tried) in [
        (Role::JournalNode, "dfs.journalnode.edits.dir", &path, "cannot make "),
        (Role::DataNode, "dfs.datanode.data.dir", &path, "cannot make "),
        (
            Role::DataNode,
            "dfs.datanode.data.dir",
            &locked,
            "cannot set dfs.datanode.data.dir.perm of ",
        ),
        (Role::NameNode, "dfs.namenode.name.dir", &locked, "cannot lock "),
    ] {
        if geteuid().as_raw() != 0 && tried.contains("perm") {
            // Its owner may.
            continue;
        }
        daemons.configure(role, 0, &[(key, dir)])?;
        let conf = place.path().join("conf");
        std::fs::create_dir_all(&conf)?;
        for file in ["core-site.xml", "hdfs-site.xml"] {
            std::fs::copy(daemons.daemon_conf(role, 0).join(file), conf.join(file))?;
        }
        let mut command = daemon(&program, name(role), &conf);
        if geteuid().as_raw() == 0 {
            command.uid(NOBODY).gid(NOBODY).current_dir("/");
        }
        let told = refusal(command, name(role))?;
        for part in [tried, dir.as_str(), "(this process runs as "] {
            ensure!(
                told.matches(part).count() == 1,
                "{}: {part} is not there once: {told}",
                name(role)
            );
        }
        ensure!(told.matches("(os error ").count() == 1, "{told}");
    }
    Ok(())
}

#[test]
fn what_is_not_formatted_is_named_with_the_command_that_formats_it() -> Result<()> {
    let single = Single::new(HATHI, None, 1, &[])?;
    let dir = single.name_dir(0);
    std::fs::create_dir_all(&dir)?;
    let metadata = hathi(&[
        "namenode",
        "--conf",
        &single.conf().display().to_string(),
        "-metadataVersion",
    ])?;
    for told in [
        refusal(daemon(Path::new(HATHI), "namenode", &single.conf()), "namenode")?,
        text(&metadata.stderr),
    ] {
        for part in [
            "NameNode is not formatted. ",
            &dir.display().to_string(),
            "hathi namenode -format",
            "hathi namenode -bootstrapStandby",
        ] {
            ensure!(told.contains(part), "{part} is missing in: {told}");
        }
    }
    Ok(())
}

#[test]
fn a_daemon_names_its_commit_first_and_ends_at_a_hangup() -> Result<()> {
    let daemons = one_of_each(&[])?;
    let conf = daemons.daemon_conf(Role::JournalNode, 0);
    let mut child = daemon(Path::new(HATHI), "journalnode", &conf)
        .stderr(Stdio::piped())
        .spawn()?;
    let mut told = BufReader::new(child.stderr.take().context("piped")?).lines();
    let first = told.next().context("nothing is logged")??;
    ensure!(first.contains(&format!(" commit=\"{}\" ", commit()?)), "{first}");
    let serves = told.any(|line| line.is_ok_and(|line| line.contains("serving")));
    ensure!(serves, "it does not serve");
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("a pid")?;
    kill_process(pid, Signal::HUP)?;
    let status = wait_for("its end", PATIENCE, || child.try_wait().ok().flatten());
    ensure!(!status.success(), "{status}");
    Ok(())
}

#[test]
fn inputs_that_make_no_sense_are_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(dir.path().join("other"), "something else")?;
    std::fs::create_dir(dir.path().join("broken"))?;
    std::fs::write(
        dir.path().join("broken/core-site.xml"),
        "<configuration>\n <property>\n",
    )?;
    let closed = "<configuration><property><name>fs.defaultFS</name><value>hdfs://127.0.0.1:1</value></property></configuration>";
    std::fs::create_dir(dir.path().join("closed"))?;
    std::fs::write(dir.path().join("closed/core-site.xml"), closed)?;
    let (absent, other, broken, closed) = (at("absent"), at("other"), at("broken"), at("closed"));
    let place = format!("{broken}/core-site.xml:2:2: <property> is not closed");
    for (args, parts, status) in [
        (
            &["dfs", "--conf", &absent, "-ls", "/"][..],
            &[absent.as_str(), "No such file or directory"][..],
            1,
        ),
        (&["dfs", "--conf", &broken, "-ls", "/"], &[place.as_str()], 1),
        (
            &["dfsadmin", "--conf", &closed, "-safemode", "nonsense"],
            &["nonsense", "enter | leave | get | wait | forceExit"],
            255,
        ),
        (&["journal", "dump", &other], &[other.as_str()], 1),
        (&["oiv", "-i", &other, "-p", "XML"], &["magic"], 255),
        (&["oev", "-i", &other, "-o", "-"], &["edit log"], 255),
    ] {
        let output = hathi(args)?;
        let told = text(&output.stderr);
        for part in parts {
            ensure!(told.contains(part), "{args:?}: {part} is missing in: {told}");
        }
        ensure!(
            output.status.code() == Some(status),
            "{args:?}: {}\n{told}",
            output.status
        );
        ensure!(output.stdout.is_empty(), "{args:?}: {}", text(&output.stdout));
    }
    Ok(())
}

/// The commit that `hathi version` names, in the line in which Hadoop's has it.
fn commit() -> Result<String> {
    let told = text(&hathi(&["version"])?.stdout);
    let line = told.lines().nth(1).context("a second line")?;
    let commit = line.strip_prefix("Source code repository Hathi -r ");
    let commit = commit.with_context(|| told.clone())?;
    let is_hash = commit.len() >= 40 && commit.chars().all(|letter| letter.is_ascii_hexdigit());
    ensure!(is_hash || commit == "unknown", "{told}");
    Ok(commit.to_owned())
}

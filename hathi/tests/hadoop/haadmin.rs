//! `hathi haadmin` beside Hadoop's, each call to the same NameNodes: what they print, and what they end with.
//!
//! What a NameNode answers stands in tables that Hadoop's NameNodes gave, recorded with the same `HaAdminCalls.java`.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Hadoop, Kind, Pair, Role, SharedEdits};
use rustix::process::Signal;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

/// What a tool said and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    out: Vec<String>,
    err: Vec<String>,
    exit: i32,
}

/// Hadoop's haadmin, in one JVM for all calls.
struct Java {
    child: Child,
    calls: ChildStdin,
    answers: BufReader<ChildStdout>,
    // On its class path, as there must be some configuration.
    _conf: TempDir,
}

impl Java {
    fn start(hadoop: &Hadoop) -> Result<Java> {
        let conf = TempDir::with_prefix("hathi-haadmin-")?;
        let mut child = hadoop
            .command(conf.path(), "HaAdminCalls.java", &[])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Java {
            calls: child.stdin.take().context("piped")?,
            answers: BufReader::new(child.stdout.take().context("piped")?),
            child,
            _conf: conf,
        })
    }

    fn call(&mut self, conf: &Path, call: &Call<'_>) -> Result<Said> {
        let mut line = format!("{}\t{}", conf.display(), call.answer.replace('\n', "\\n"));
        for arg in &call.args {
            line.push('\t');
            line.push_str(arg);
        }
        writeln!(self.calls, "{line}")?;
        let (mut out, mut err) = (String::new(), String::new());
        loop {
            let mut answer = String::new();
            ensure!(self.answers.read_line(&mut answer)? > 0, "Hadoop's tool is gone");
            let answer = answer.trim_end_matches('\n');
            match answer.split_at_checked(4).context("an answer")? {
                ("out ", line) => out.push_str(&format!("{line}\n")),
                ("err ", line) => err.push_str(&format!("{line}\n")),
                _ => return Ok(said(&out, &err, answer.trim_start_matches("exit ").parse()?)),
            }
        }
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        // It has ended already, or there is nothing to be done about it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `CONF|ANSWER|ARGUMENT|...`: a configuration's name, what is typed, and the arguments.
struct Call<'a> {
    conf: &'a str,
    answer: &'a str,
    args: Vec<&'a str>,
}

impl Call<'_> {
    fn parse(text: &str) -> Call<'_> {
        let mut parts = text.split('|');
        Call {
            conf: parts.next().unwrap_or_default(),
            answer: parts.next().unwrap_or_default(),
            args: parts.collect(),
        }
    }
}

fn ours(conf: &Path, call: &Call<'_>) -> Result<Said> {
    let mut child = Command::new(HATHI)
        .args(["haadmin", "--conf"])
        .arg(conf)
        .args(&call.args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("piped")?;
    // A call that asks for nothing may have ended.
    let _ = stdin.write_all(call.answer.as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let exit = output.status.code().context("killed")?;
    Ok(said(&text(&output.stdout), &text(&output.stderr), exit))
}

/// Without what differs from call to call: logged lines, the sockets' numbers, and the traces of Hadoop's NameNodes.
fn said(out: &str, err: &str, exit: i32) -> Said {
    let mut kept = String::new();
    for line in err.split_inclusive('\n') {
        let logged = ["INFO", "WARN", "ERROR"].map(|level| line.find(&format!("{level} haadmin: ")));
        match logged.into_iter().flatten().min() {
            Some(at) => kept.push_str(&line[..at]),
            None => kept.push_str(line),
        }
    }
    let lines = |text: &str| -> Vec<String> {
        let without_socket = |line: &str| match (line.find(" ch : "), line.find("]; For more")) {
            (Some(from), Some(to)) if from < to => format!("{}{}", &line[..from], &line[to + 1..]),
            _ => line.to_owned(),
        };
        let lines = text.trim_end().lines().map(without_socket);
        lines.filter(|line| !line.starts_with("\tat ")).collect()
    };
    Said {
        out: lines(out),
        err: lines(&kept),
        exit,
    }
}

/// Configurations of a client of one pair, by name.
struct Confs(TempDir);

impl Confs {
    fn new(pair: &Pair) -> Result<Confs> {
        let confs = Confs(TempDir::with_prefix("hathi-haadmin-")?);
        let automatic = ("dfs.ha.automatic-failover.enabled", "true");
        // Hadoop's tool tries twice, a second apart.
        let at_once = ("ipc.client.connect.retry.interval", "1");
        let timeout = |name| (name, "300");
        let two = [
            ("dfs.nameservices", "ns,other"),
            ("dfs.ha.namenodes.other", "a,b"),
            ("dfs.namenode.rpc-address.other.a", "127.0.0.1:9"),
            ("dfs.namenode.rpc-address.other.b", "127.0.0.1:9"),
        ];
        let named: &[(&str, &[(&str, &str)])] = &[
            ("manual", &[]),
            ("auto", &[automatic]),
            ("badfence", &[("dfs.ha.fencing.methods", "nosuch(x)")]),
            ("failfence", &[("dfs.ha.fencing.methods", "shell(/bin/false)")]),
            ("two", &two),
            ("twoid", &[two.as_slice(), &[("dfs.nameservice.id", "ns")]].concat()),
            (
                "impatient",
                &[
                    timeout("ha.failover-controller.cli-check.rpc-timeout.ms"),
                    timeout("ha.failover-controller.new-active.rpc-timeout.ms"),
                    timeout("ha.failover-controller.graceful-fence.rpc-timeout.ms"),
                ],
            ),
            (
                "nohost",
                &[("dfs.namenode.rpc-address.ns.nn0", "no.such.host.invalid:8020")],
            ),
        ];
        let core = fs::read_to_string(pair.conf(0).join("core-site.xml"))?;
        let site = fs::read_to_string(pair.conf(0).join("hdfs-site.xml"))?;
        for (name, more) in named {
            let own: String = [&[at_once], *more]
                .concat()
                .iter()
                .map(|(key, value)| property(key, value))
                .collect();
            confs.write(
                name,
                &core,
                &site.replace("</configuration>", &format!("{own}</configuration>")),
            )?;
        }
        let fencing = property("dfs.ha.fencing.methods", "shell(/bin/true)");
        ensure!(site.contains(&fencing), "it is configured so");
        confs.write(
            "nofence",
            &core,
            &site.replace(&fencing, &property(at_once.0, at_once.1)),
        )?;
        confs.write("none", "<configuration/>", "<configuration/>")?;
        Ok(confs)
    }

    fn write(&self, name: &str, core: &str, site: &str) -> Result<()> {
        let dir = self.dir(name);
        fs::create_dir(&dir)?;
        fs::write(dir.join("core-site.xml"), core)?;
        Ok(fs::write(dir.join("hdfs-site.xml"), site)?)
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn property(key: &str, value: &str) -> String {
    format!("<property><name>{key}</name><value>{value}</value></property>\n")
}

/// Calls that reach no NameNode: none runs.
const OF_NOBODY: &[&str] = &[
    "manual|",
    "manual||-ns",
    "manual||-ns|ns",
    "manual||-ns|ns|-getServiceState|nn0",
    "manual||-ns|nope|-getServiceState|nn0",
    "manual||-ns|nope|-getAllServiceState",
    "manual||-ns|nope|-transitionToActive|nn0",
    "manual||getServiceState|nn0",
    "manual||-nosuch",
    "manual||-nosuch|x",
    "manual||-help",
    "manual||-help|-failover",
    "manual||-help|failover",
    "manual||-help|-transitionToActive",
    "manual||-help|-transitionToStandby",
    "manual||-help|-transitionToObserver",
    "manual||-help|-getServiceState",
    "manual||-help|-getAllServiceState",
    "manual||-help|-checkHealth",
    "manual||-help|help",
    "manual||-help|nosuch",
    "manual||-help|--failover",
    "manual||-help|a|b",
    "manual||-getServiceState",
    "manual||-getServiceState|nn0|nn1",
    "manual||-getServiceState|nn7",
    "manual||-getServiceState|nn0",
    "manual||-getServiceState|--forcemanual|nn0",
    "manual||-getServiceState|--|nn0",
    "manual||-getServiceState|-",
    "manual||-getAllServiceState",
    "manual||-getAllServiceState|x",
    "manual||-checkHealth",
    "manual||-checkHealth|nn7",
    "manual||-checkHealth|nn0",
    "manual||-transitionToActive",
    "manual||-transitionToActive|nn7",
    "manual||-transitionToActive|nn0",
    "manual||-transitionToActive|nn0|nn1",
    "manual||-transitionToActive|nn0|--forceactive",
    "manual||-transitionToActive|-forceactive|nn0",
    "manual||-transitionToActive|--forcefence|nn0",
    "manual||-transitionToStandby",
    "manual||-transitionToStandby|nn0",
    "manual||-transitionToStandby|--forceactive|nn0",
    "manual||-transitionToObserver",
    "manual||-transitionToObserver|nn0",
    "manual||-failover",
    "manual||-failover|nn0",
    "manual||-failover|nn0|nn0",
    "manual||-failover|nn0|nn7",
    "manual||-failover|nn7|nn0",
    "manual||-failover|nn0|nn1",
    "manual||-failover|nn0|nn1|nn2",
    "manual||-failover|--nosuch|nn0|nn1",
    "manual||-failover|--forcefence|--forceactive|nn0|nn1",
    "manual||-failover|--forcefence|--forcefence|--forceactive|--forceactive|nn0|nn1",
    "manual|n\n|-failover|--forcemanual|--forcefence|--forceactive|nn0|nn1",
    "manual|no\n|-transitionToActive|--forcemanual|nn0",
    "manual|what\ny\n|-transitionToActive|--forcemanual|nn0",
    "manual|YES\n|-transitionToStandby|--forcemanual|nn0",
    "manual|n\n|-transitionToObserver|--forcemanual|nn0",
    "nofence||-failover|nn0|nn1",
    "badfence||-failover|nn0|nn1",
    "badfence||-getServiceState|nn0",
    "auto||-failover|nn0|nn1",
    "auto||-failover|--forcefence|nn0|nn1",
    "auto||-failover|--forceactive|nn0|nn1",
    "auto||-transitionToActive|nn0",
    "auto||-transitionToActive|--forceactive|nn0",
    "auto||-transitionToStandby|nn0",
    "auto||-transitionToObserver|nn0",
    "auto|n\n|-transitionToActive|--forcemanual|nn0",
    "auto|y\n|-transitionToActive|--forcemanual|nn0",
    "auto|y\n|-transitionToStandby|--forcemanual|nn0",
    "auto|y\n|-failover|--forcemanual|nn0|nn1",
    "none||-getServiceState|nn0",
    "none||-getAllServiceState",
    "none||-checkHealth|nn0",
    "none||-transitionToActive|nn0",
    "none||-failover|nn0|nn1",
    "none||-ns|ns|-getServiceState|nn0",
    "two||-getServiceState|nn0",
    "two||-getAllServiceState",
    "two||-transitionToActive|nn0",
    "two||-failover|nn0|nn1",
    "two||-ns|ns|-getAllServiceState",
    "two||-ns|other|-getAllServiceState",
    "twoid||-getServiceState|nn0",
    "twoid||-getAllServiceState",
    "nohost||-getServiceState|nn0",
    "nohost||-failover|nn1|nn0",
    "manual||-D|dfs.ha.automatic-failover.enabled=true|-transitionToStandby|nn0",
    "manual||-Ddfs.ha.automatic-failover.enabled=true|-transitionToStandby|nn0",
    "manual||-fs|hdfs://x|-getServiceState|nn0",
    "manual||-conf|/no/such/file|-getServiceState|nn0",
    "manual||-getServiceState|-D|a=b|nn0",
];

#[test]
fn without_a_namenode_every_call_is_answered_as_hadoop_answers_it() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut java = Java::start(&hadoop)?;
    let pair = Pair::new(HATHI, None, SharedEdits::Directory, &[])?;
    let confs = Confs::new(&pair)?;
    let mut differences = String::new();
    for text in OF_NOBODY {
        let call = Call::parse(text);
        let conf = confs.dir(call.conf);
        let (theirs, ours) = (java.call(&conf, &call)?, ours(&conf, &call)?);
        if theirs != ours {
            differences.push_str(&format!("{text}\n  Hadoop: {theirs:?}\n  ours:   {ours:?}\n"));
        }
    }
    ensure!(differences.is_empty(), "{differences}");
    Ok(())
}

/// Formatted and started.
fn started(more: &[(&str, &str)]) -> Result<Pair> {
    let mut pair = Pair::new(HATHI, None, SharedEdits::Directory, more)?;
    pair.namenode(Kind::Ours, &pair.conf(0), &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, Kind::Ours, &pair.conf(0))?;
    pair.namenode(Kind::Ours, &pair.conf(1), &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Kind::Ours, &pair.conf(1))?;
    Ok(pair)
}

/// Moves both to the states wanted, such as `active standby`.
fn put(confs: &Confs, states: &str) -> Result<()> {
    let wanted: Vec<&str> = states.split_whitespace().collect();
    for state in ["standby", "active"] {
        for (index, wanted) in wanted.iter().enumerate().filter(|(_, wanted)| **wanted == state) {
            let id = format!("nn{index}");
            let command = match *wanted {
                "active" => vec!["-transitionToActive", "--forceactive", &id],
                _ => vec!["-transitionToStandby", &id],
            };
            let call = Call {
                conf: "manual",
                answer: "",
                args: command,
            };
            let said = ours(&confs.dir("manual"), &call)?;
            ensure!(said.exit == 0, "{said:?}");
        }
    }
    Ok(())
}

/// Calls to NameNodes in these states.
const OF_A_PAIR: &[(&str, &str)] = &[
    ("standby standby", "manual||-getServiceState|nn0"),
    ("standby standby", "manual||-getAllServiceState"),
    ("standby standby", "manual||-checkHealth|nn0"),
    ("standby standby", "manual||-transitionToActive|nn0"),
    ("standby standby", "manual||-transitionToStandby|nn0"),
    ("standby standby", "manual||-failover|nn0|nn1"),
    ("active standby", "manual||-getServiceState|nn0"),
    ("active standby", "manual||-getAllServiceState"),
    ("active standby", "manual||-checkHealth|nn0"),
    ("active standby", "manual||-transitionToActive|nn0"),
    ("active standby", "manual||-transitionToActive|nn1"),
    ("active standby", "manual||-transitionToObserver|nn0"),
    ("active standby", "manual||-failover|nn0|nn0"),
    ("active standby", "manual||-failover|nn1|nn0"),
    ("active standby", "manual||-failover|--forcefence|--forceactive|nn1|nn0"),
    ("active standby", "manual||-failover|nn0|nn1"),
    ("active standby", "manual||-failover|--forcefence|nn0|nn1"),
    ("active standby", "manual||-failover|--forceactive|nn0|nn1"),
    ("active standby", "nofence||-failover|nn0|nn1"),
    ("active standby", "failfence||-failover|nn0|nn1"),
    ("active standby", "failfence||-failover|--forcefence|nn0|nn1"),
    ("active standby", "manual||-transitionToStandby|nn0"),
    ("active standby", "auto|y\n|-transitionToActive|--forcemanual|nn1"),
    ("active standby", "auto|y\n|-transitionToStandby|--forcemanual|nn0"),
    ("standby standby", "auto|y\n|-transitionToActive|--forcemanual|nn1"),
    ("active standby", "auto||-failover|nn0|nn1"),
];

/// What a client sees of NameNodes that answer nothing.
const OF_A_STOPPED_ONE: &[&str] = &[
    "impatient||-getServiceState|nn1",
    "impatient||-getAllServiceState",
    "impatient||-checkHealth|nn1",
    "impatient||-failover|nn0|nn1",
];

#[test]
fn every_call_to_a_pair_is_answered_as_by_hadoops_tool_and_leaves_the_pair_as_that_does() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut java = Java::start(&hadoop)?;
    let pair = started(&[])?;
    let confs = Confs::new(&pair)?;
    let all = Call::parse("manual||-getAllServiceState");
    let mut differences = String::new();
    for (states, text) in OF_A_PAIR {
        let call = Call::parse(text);
        let conf = confs.dir(call.conf);
        put(&confs, states)?;
        let theirs = (java.call(&conf, &call)?, ours(&confs.dir("manual"), &all)?);
        put(&confs, states)?;
        let ours = (ours(&conf, &call)?, ours(&confs.dir("manual"), &all)?);
        if theirs != ours {
            differences.push_str(&format!("{states}: {text}\n  Hadoop: {theirs:?}\n  ours:   {ours:?}\n"));
        }
    }
    pair.signal(Role::NameNode, 1, Signal::STOP)?;
    for text in OF_A_STOPPED_ONE {
        let call = Call::parse(text);
        let conf = confs.dir(call.conf);
        let (theirs, ours) = (java.call(&conf, &call)?, ours(&conf, &call)?);
        if theirs != ours {
            differences.push_str(&format!("stopped: {text}\n  Hadoop: {theirs:?}\n  ours:   {ours:?}\n"));
        }
    }
    pair.signal(Role::NameNode, 1, Signal::CONT)?;
    ensure!(differences.is_empty(), "{differences}");
    Ok(())
}

/// METHOD SOURCE, and what Hadoop's NameNode answers that is not managed by failover controllers, one call after the other.
const BY_HAND: &[(&str, &str)] = &[
    ("getServiceStatus REQUEST_BY_USER", "standby true null"),
    ("monitorHealth REQUEST_BY_USER", "ok"),
    ("transitionToActive REQUEST_BY_ZKFC", DENIED),
    ("transitionToStandby REQUEST_BY_ZKFC", DENIED),
    ("transitionToObserver REQUEST_BY_ZKFC", DENIED),
    ("transitionToActive REQUEST_BY_USER", "ok"),
    ("transitionToActive REQUEST_BY_USER", "ok"),
    ("getServiceStatus REQUEST_BY_USER", "active true null"),
    ("transitionToObserver REQUEST_BY_USER", NO_WAY),
    ("transitionToObserver REQUEST_BY_USER_FORCED", NO_WAY),
    ("transitionToStandby REQUEST_BY_USER", "ok"),
    ("transitionToStandby REQUEST_BY_USER", "ok"),
    ("transitionToActive REQUEST_BY_USER_FORCED", "ok"),
    ("transitionToStandby REQUEST_BY_USER_FORCED", "ok"),
];

/// The same where they manage it.
const BY_CONTROLLERS: &[(&str, &str)] = &[
    ("getServiceStatus REQUEST_BY_USER", "standby true null"),
    ("monitorHealth REQUEST_BY_USER", "ok"),
    ("transitionToActive REQUEST_BY_USER", DISALLOWED),
    ("transitionToStandby REQUEST_BY_USER", DISALLOWED),
    ("transitionToObserver REQUEST_BY_USER", DISALLOWED),
    ("transitionToStandby REQUEST_BY_USER_FORCED", "ok"),
    ("transitionToActive REQUEST_BY_USER_FORCED", "ok"),
    ("transitionToStandby REQUEST_BY_USER_FORCED", "ok"),
    ("transitionToActive REQUEST_BY_ZKFC", "ok"),
    ("transitionToActive REQUEST_BY_ZKFC", "ok"),
    ("transitionToObserver REQUEST_BY_ZKFC", NO_WAY),
    ("transitionToStandby REQUEST_BY_ZKFC", "ok"),
];

const DENIED: &str = "org.apache.hadoop.security.AccessControlException: Request from ZK failover controller at 127.0.0.1 \
    denied since automatic HA is not enabled";
const DISALLOWED: &str = "org.apache.hadoop.security.AccessControlException: Manual HA control for this NameNode is \
    disallowed, because automatic HA is enabled.";
const NO_WAY: &str = "org.apache.hadoop.ha.ServiceFailedException: Cannot transition from 'active' to 'observer'";

#[test]
fn a_namenode_changes_its_state_for_whom_hadoops_does_and_refuses_in_the_same_words() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut java = Java::start(&hadoop)?;
    let managed: &[(&str, &str)] = &[("dfs.ha.automatic-failover.enabled", "true")];
    for (more, table) in [(&[][..], BY_HAND), (managed, BY_CONTROLLERS)] {
        let pair = started(more)?;
        let mut ask = |asked: &str| -> Result<String> {
            let args: Vec<&str> = ["rpc"].into_iter().chain(asked.split(' ')).chain(["nn0"]).collect();
            let call = Call {
                conf: "",
                answer: "",
                args,
            };
            let said = java.call(&pair.conf(0), &call)?;
            Ok([said.out, said.err].concat().join("\n"))
        };
        for (asked, expected) in table {
            assert_eq!(ask(asked)?, *expected, "{more:?}: {asked}");
        }
        // Hadoop's can be an observer.
        let refused = ask("transitionToObserver REQUEST_BY_USER_FORCED")?;
        let expected = "org.apache.hadoop.ha.ServiceFailedException: Cannot transition from 'standby' to 'observer': this \
            NameNode cannot be an observer";
        assert!(refused.starts_with(expected), "{refused}");
    }
    Ok(())
}

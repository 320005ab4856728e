//! Every command of this program, one row each. Dispatch, usage, help, completion and docs/commands.md read it.

use super::table::with_dash;
use super::{
    bench, cacheadmin, completion, conf, crypto, daemonlog, datanode, debug, dfs, dfsadmin, doctor, ec, environment,
    fetchdt, fsck, getconf, groups, haadmin, journal, journalnode, man, namenode, oev, oiv, quickstart,
    secondarynamenode, snapshots, storagepolicies, zkfc,
};
use anyhow::Result;
use std::ffi::OsString;
use std::process::ExitCode;

/// Whom a command is for, in the words of Hadoop's `hdfs` script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For administrators.
    Admin,
    /// For everybody.
    Client,
    /// A daemon, which `--daemon` starts and stops.
    Daemon,
    /// Hadoop has no such command.
    Ours,
}

impl Kind {
    /// All of them, in the order of the usage.
    pub const ALL: [Kind; 4] = [Kind::Admin, Kind::Client, Kind::Daemon, Kind::Ours];

    /// Heading of the usage.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Admin => "Admin Commands",
            Kind::Client => "Client Commands",
            Kind::Daemon => "Daemon Commands",
            Kind::Ours => "Commands that Hadoop does not have",
        }
    }
}

/// How `--help` is answered.
#[derive(Clone, Copy, Debug)]
pub enum Help {
    /// With this text, and no configuration is read.
    Text(fn() -> String),
    /// By the command's own parser, which has commands of its own.
    Own,
}

/// A command.
#[derive(Debug)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// Whom it is for.
    pub kind: Kind,
    /// What it does.
    pub purpose: &'static str,
    /// Its help.
    pub help: Help,
    /// The names of its own commands, with their dash where they have one.
    pub commands: fn() -> Vec<String>,
    /// Entry point, with the arguments after the name.
    pub run: fn(Vec<OsString>) -> Result<ExitCode>,
}

const fn tool(
    kind: Kind,
    name: &'static str,
    purpose: &'static str,
    help: Help,
    commands: fn() -> Vec<String>,
    run: fn(Vec<OsString>) -> Result<ExitCode>,
) -> Tool {
    Tool {
        name,
        kind,
        purpose,
        help,
        commands,
        run,
    }
}

fn none() -> Vec<String> {
    Vec::new()
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// Entry point of `completion`, which is made of this table.
fn complete(args: Vec<OsString>) -> Result<ExitCode> {
    let entry = |tool: &Tool| completion::Entry {
        name: tool.name,
        purpose: tool.purpose,
        commands: (tool.commands)(),
    };
    completion::run(&args, &TOOLS.iter().map(entry).collect::<Vec<_>>())
}

/// Entry point of `man`, which is made of this table. A command that has a parser of its own is asked for its help.
fn write_pages(args: Vec<OsString>) -> Result<ExitCode> {
    let mut entries = Vec::new();
    for tool in TOOLS {
        let help = match tool.help {
            Help::Text(help) => help(),
            Help::Own => {
                let program = std::env::current_exe()?;
                let output = std::process::Command::new(program)
                    .args([tool.name, "--help"])
                    .output()?;
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
        };
        let (name, purpose) = (tool.name, tool.purpose);
        entries.push(man::Entry { name, purpose, help });
    }
    man::run(&args, &entries)
}

#[rustfmt::skip]
pub const TOOLS: &[Tool] = &[
    tool(Kind::Admin, "cacheadmin", "administer cache pools and directives", Help::Text(cacheadmin::usage), || with_dash(cacheadmin::ROWS), cacheadmin::run),
    tool(Kind::Admin, "crypto", "make and list encryption zones, and re-encrypt them", Help::Text(crypto::usage), crypto::commands, crypto::run),
    tool(Kind::Admin, "daemonlog", "get and set the level of the log of a daemon", Help::Text(daemonlog::usage), || names(&["-getlevel", "-setlevel"]), daemonlog::run),
    tool(Kind::Admin, "debug", "check and mend files and leases", Help::Text(debug::usage), || names(&["verifyMeta", "computeMeta", "recoverLease"]), debug::run),
    tool(Kind::Admin, "dfsadmin", "administer a cluster", Help::Text(dfsadmin::help::help_of_all), dfsadmin::help::commands, dfsadmin::run),
    tool(Kind::Admin, "ec", "administer erasure coding policies", Help::Text(ec::usage), || with_dash(ec::ROWS), ec::run),
    tool(Kind::Admin, "haadmin", "show and change who is active", Help::Text(haadmin::help_of_all), haadmin::commands, haadmin::run),
    tool(Kind::Admin, "fsck", "check the health of files", Help::Text(fsck::usage), || with_dash(fsck::ROWS), fsck::run),
    tool(Kind::Admin, "oev", "show an edit log", Help::Text(oev::usage), none, oev::run),
    tool(Kind::Admin, "oiv", "show an fsimage", Help::Text(oiv::usage), none, oiv::run),
    tool(Kind::Admin, "oiv_legacy", "say that images before Hadoop 2.4 are not read", Help::Text(oiv::legacy_usage), none, oiv::legacy),
    tool(Kind::Admin, "storagepolicies", "list, get and set storage policies", Help::Text(storagepolicies::usage), || with_dash(storagepolicies::ROWS), storagepolicies::run),
    tool(Kind::Client, "classpath", "print the configuration directory, as there are no classes", Help::Text(environment::classpath_usage), none, environment::classpath),
    tool(Kind::Client, "dfs", "work with files", Help::Text(dfs::help::help_of_all), dfs::help::commands, dfs::run),
    tool(Kind::Client, "fs", "the same as dfs", Help::Text(dfs::help::help_of_all), dfs::help::commands, dfs::run),
    tool(Kind::Client, "envvars", "print the environment that counts", Help::Text(environment::envvars_usage), none, environment::envvars),
    tool(Kind::Client, "fetchdt", "fetch, renew, cancel and show delegation tokens", Help::Text(fetchdt::usage), || names(&["--webservice", "--renewer", "--cancel", "--renew", "--print", "--verbose"]), fetchdt::run),
    tool(Kind::Client, "getconf", "print values of the configuration", Help::Text(getconf::usage), || with_dash(getconf::ROWS), getconf::run),
    tool(Kind::Client, "groups", "print the groups of users, as the NameNode knows them", Help::Text(groups::usage), none, groups::run),
    tool(Kind::Client, "lsSnapshot", "list the snapshots of a directory", Help::Text(snapshots::ls_snapshot_usage), none, snapshots::ls_snapshot),
    tool(Kind::Client, "lsSnapshottableDir", "list the directories that may have snapshots", Help::Text(snapshots::ls_dirs_usage), none, snapshots::ls_dirs),
    tool(Kind::Client, "snapshotDiff", "tell what differs between two snapshots", Help::Text(snapshots::diff_usage), none, snapshots::diff),
    tool(Kind::Client, "version", "print the version", Help::Text(environment::version_usage), none, environment::version),
    tool(Kind::Daemon, "datanode", "run a DataNode", Help::Text(datanode::usage), || names(&["-regular", "-rollback"]), datanode::run),
    tool(Kind::Daemon, "journalnode", "run a JournalNode", Help::Text(journalnode::usage), none, journalnode::run),
    tool(Kind::Daemon, "namenode", "run a NameNode, or format one", Help::Text(namenode::usage), || names(namenode::ACTIONS), namenode::run),
    tool(Kind::Daemon, "secondarynamenode", "make the checkpoints of a NameNode without HA", Help::Text(secondarynamenode::usage), || names(&["-checkpoint", "-format", "-geteditsize"]), secondarynamenode::run),
    tool(Kind::Daemon, "zkfc", "run a failover controller", Help::Text(zkfc::usage), || names(&["-formatZK"]), zkfc::run),
    tool(Kind::Ours, "bench", "measure a NameNode, memory and images", Help::Own, || names(&["namenode", "delete", "journal", "memory", "image"]), bench::run),
    tool(Kind::Ours, "completion", "print a script that completes commands in a shell", Help::Text(completion::usage), || names(&["bash", "zsh", "fish"]), complete),
    tool(Kind::Ours, "conf", "check a configuration", Help::Text(conf::usage), || names(&["--check"]), conf::run),
    tool(Kind::Ours, "doctor", "name mistakes of the configuration, this machine and the cluster", Help::Text(doctor::usage), || names(&["--json", "--offline"]), doctor::run),
    tool(Kind::Ours, "journal", "look at a journal, and change its members", Help::Own, || names(&["status", "add", "remove", "verify", "dump"]), journal::run),
    tool(Kind::Ours, "man", "write manual pages", Help::Text(man::usage), none, write_pages),
    tool(Kind::Ours, "quickstart", "run a whole highly available cluster on this machine", Help::Own, none, quickstart::run),
];

/// A command by its name.
pub fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

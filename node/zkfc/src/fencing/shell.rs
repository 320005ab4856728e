//! `shell(COMMAND)` (`org.apache.hadoop.ha.ShellCommandFencer`).

use super::FencingTarget;
use hathi_conf::Configuration;
use std::io;
use std::process::{Command, Stdio};

/// Whether the command says that it has fenced. It may take as long as it wants, as in Hadoop.
pub(super) fn fences(
    conf: &Configuration,
    target: &FencingTarget<'_>,
    command: &str,
    tell: &mut dyn FnMut(String),
) -> bool {
    run(conf, target, command).unwrap_or_else(|error| {
        tell(format!("Unable to execute {command}: {error}"));
        false
    })
}

/// Hadoop's environment: the configuration with `_` for `.` and `-`, and the node as `target_*`. Of two commands, divided by
/// a comma, the second is meant for the node that is to be standby, and finds it as `source_*`: so both are set.
fn run(conf: &Configuration, target: &FencingTarget<'_>, command: &str) -> io::Result<bool> {
    let command = command.split_once(',').map_or(command, |(_, of_source)| of_source);
    let (host, port) = target.host_and_port();
    let variable = |key: &str| key.replace(['.', '-'], "_");
    let node = [
        ("address", target.address),
        ("host", host),
        ("port", port),
        ("nameserviceid", target.nameservice),
        ("namenodeid", target.namenode_id),
    ];
    let roles = ["target", "source"].into_iter();
    let node = roles.flat_map(|role| node.map(|(name, value)| (format!("{role}_{name}"), value)));
    let status = Command::new("bash")
        .args(["-e", "-c", command])
        .envs(conf.iter().map(|(key, value, _)| (variable(key), value)))
        .envs(node)
        .stdin(Stdio::null())
        // What it prints goes where the log goes.
        .stdout(io::stderr())
        .status()?;
    Ok(status.success())
}

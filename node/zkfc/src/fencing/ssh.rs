//! `sshfence` (`org.apache.hadoop.ha.SshFenceByTcpPort`): kills whoever listens on the NameNode's RPC port, by the system's
//! `ssh`.

use super::FencingTarget;
use hathi_conf::Configuration;
use std::io;
use std::process::{Command, Stdio};

const KEY_FILES: &str = "dfs.ha.fencing.ssh.private-key-files";
const CONNECT_TIMEOUT: &str = "dfs.ha.fencing.ssh.connect-timeout";
const CONNECT_TIMEOUT_MS: u64 = 30_000;
/// A day.
const CONNECT_TIMEOUT_MAX_MS: u64 = 86_400_000;
/// A connection over which nothing comes for this many seconds, four times in a row, is given up: the node may hang with its
/// SSH server.
const ALIVE_INTERVAL: &str = "ServerAliveInterval=5";

/// `fuser`: it has found nobody, or nobody that it may see.
const NOBODY: i32 = 1;
/// `nc`, and a shell that connects: the port is closed.
const CLOSED: i32 = 1;

/// `USER:PORT`, each of them optional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arguments<'a> {
    /// Without it, the user that this process runs as.
    user: Option<&'a str>,
    port: u16,
}

impl<'a> Arguments<'a> {
    /// # Errors
    /// In Hadoop's words.
    pub(super) fn parse(argument: &'a str) -> Result<Self, String> {
        let unparsable = || format!("Unable to parse user and SSH port: {argument}");
        let (user, port) = match argument.split_once(':') {
            None => (argument, 22),
            Some((user, port)) => {
                if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(unparsable());
                }
                let number = port.parse().ok().filter(|port| *port > 0);
                (user, number.ok_or_else(|| format!("Port number '{port}' invalid"))?)
            }
        };
        // It would be an option of ssh.
        if user.starts_with('-') {
            return Err(unparsable());
        }
        let user = Some(user).filter(|user| !user.is_empty());
        Ok(Arguments { user, port })
    }
}

fn connect_timeout_ms(conf: &Configuration) -> Result<u64, String> {
    let millis = conf
        .get_u64(CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS)
        .map_err(|error| error.to_string())?;
    match millis == 0 || millis > CONNECT_TIMEOUT_MAX_MS {
        true => Err(format!(
            "{CONNECT_TIMEOUT} = {millis}: must be from 1 to {CONNECT_TIMEOUT_MAX_MS}"
        )),
        false => Ok(millis),
    }
}

/// Whether the keys of the configuration make sense.
///
/// # Errors
/// With the key.
pub(super) fn check(conf: &Configuration) -> Result<(), String> {
    connect_timeout_ms(conf).map(drop)
}

/// What is run on the node; its exit code.
type Run<'a> = dyn Fn(&str) -> io::Result<Option<i32>> + 'a;

/// Whether nobody listens on the target's port any more.
pub(super) fn fences(
    conf: &Configuration,
    target: &FencingTarget<'_>,
    arguments: &Arguments<'_>,
    tell: &mut dyn FnMut(String),
) -> bool {
    let (host, port) = target.host_and_port();
    let timeout_ms = match connect_timeout_ms(conf) {
        Ok(millis) => millis,
        Err(why) => {
            tell(why);
            return false;
        }
    };
    let run = |remote: &str| {
        let mut command = ssh(conf, arguments, host, timeout_ms);
        Ok(command.arg(remote).status()?.code())
    };
    fenced(&run, host, port, tell).unwrap_or_else(|error| {
        tell(format!("Unable to run ssh: {error}"));
        false
    })
}

/// As JSch connects for Hadoop: by the keys alone, with nobody to ask and whatever key the host has.
fn ssh(conf: &Configuration, arguments: &Arguments<'_>, host: &str, timeout_ms: u64) -> Command {
    let mut command = Command::new("ssh");
    command.args(["-F", "none", "-T", "-p", &arguments.port.to_string()]);
    let timeout = format!("ConnectTimeout={}", timeout_ms.div_ceil(1000));
    for option in [
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        ALIVE_INTERVAL,
        "ServerAliveCountMax=4",
        &timeout,
    ] {
        command.args(["-o", option]);
    }
    let files = conf.get_or(KEY_FILES, "");
    let files: Vec<&str> = files
        .split(',')
        .map(str::trim)
        .filter(|file| !file.is_empty())
        .collect();
    if !files.is_empty() {
        command.args(["-o", "IdentitiesOnly=yes"]);
    }
    for file in files {
        command.args(["-i", file]);
    }
    if let Some(user) = arguments.user {
        command.args(["-l", user]);
    }
    // An address of IPv6 stands in brackets before a port.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    command.args(["--", host]).stdin(Stdio::null()).stdout(io::stderr());
    command
}

fn fenced(run: &Run<'_>, host: &str, port: &str, tell: &mut dyn FnMut(String)) -> io::Result<bool> {
    // They go into a command, although both are the configuration's.
    let is_safe = |letter: char| letter.is_ascii_alphanumeric() || ".-_[]:%".contains(letter);
    if !host.chars().all(is_safe) || host.starts_with('-') || port.parse::<u16>().is_err() {
        tell(format!("{host}:{port} is no address"));
        return Ok(false);
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match run(&format!("PATH=$PATH:/sbin:/usr/sbin fuser -v -k -n tcp {port}"))? {
        Some(0) => {
            tell(format!("Successfully killed process that was listening on port {port}"));
            return Ok(true);
        }
        Some(NOBODY) => tell(
            "Indeterminate response from trying to kill service. Verifying whether it is running using nc..."
                .to_owned(),
        ),
        code => {
            tell(format!(
                "Unable to achieve fencing on remote host {host}: {}",
                said(code)
            ));
            return Ok(false);
        }
    }
    let mut code = run(&format!("nc -z {host} {port}"))?;
    // Hadoop takes a node without nc for fenced.
    if code == Some(127) {
        code = run(&format!("bash -c 'exec 3<>/dev/tcp/{host}/{port}'"))?;
    }
    match code {
        Some(0) => tell("Unable to fence - it is running but we cannot kill it".to_owned()),
        Some(CLOSED) => tell("Verified that the service is down.".to_owned()),
        code => tell(format!("Whether it is running is not known: {}", said(code))),
    }
    Ok(code == Some(CLOSED))
}

fn said(code: Option<i32>) -> String {
    match code {
        Some(255) => "ssh has failed".to_owned(),
        Some(127) => "a command is missing there".to_owned(),
        Some(code) => format!("exit code {code}"),
        None => "ssh was killed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn user_and_port_are_optional() {
        let arguments = |user, port| Arguments { user, port };
        for (text, expected) in [
            ("", arguments(None, 22)),
            ("hdfs", arguments(Some("hdfs"), 22)),
            (":2222", arguments(None, 2222)),
            ("hdfs:2222", arguments(Some("hdfs"), 2222)),
        ] {
            assert_eq!(Arguments::parse(text), Ok(expected), "{text}");
        }
        for wrong in ["a:", "a:b", "a:22:", ":", "a:0", "a:70000", "-oProxyCommand=x"] {
            assert!(Arguments::parse(wrong).is_err(), "{wrong}");
        }
    }

    /// What is made of these exit codes, and how many commands were run.
    fn outcome(codes: &[Option<i32>]) -> (bool, usize) {
        let run = RefCell::new(Vec::new());
        let answer = |command: &str| {
            run.borrow_mut().push(command.to_owned());
            Ok(codes[run.borrow().len() - 1])
        };
        let fenced = fenced(&answer, "nn1", "8020", &mut |_| {}).unwrap();
        let run = run.into_inner();
        assert!(run[0].ends_with("fuser -v -k -n tcp 8020"), "{run:?}");
        assert!(run.get(1).is_none_or(|command| command == "nc -z nn1 8020"), "{run:?}");
        (fenced, run.len())
    }

    #[test]
    fn only_who_was_killed_or_is_seen_to_be_down_is_fenced() {
        assert_eq!(outcome(&[Some(0)]), (true, 1), "killed");
        assert_eq!(outcome(&[Some(1), Some(1)]), (true, 2), "nobody listens");
        assert_eq!(
            outcome(&[Some(1), Some(0)]),
            (false, 2),
            "another user's process listens"
        );
        assert_eq!(outcome(&[Some(1), Some(127), Some(1)]), (true, 3), "without nc");
        assert_eq!(outcome(&[Some(1), Some(127), Some(0)]), (false, 3));
        assert_eq!(outcome(&[Some(1), Some(127), Some(127)]), (false, 3), "not known");
        for failed in [Some(255), Some(127), Some(2), None] {
            assert_eq!(outcome(&[failed]), (false, 1), "{failed:?}");
            assert!(!outcome(&[Some(1), failed, failed]).0, "{failed:?}");
        }
    }

    #[test]
    fn an_address_is_no_command() {
        let never = |_: &str| panic!("it is run");
        for (host, port) in [
            ("nn1;reboot", "8020"),
            ("$(x)", "1"),
            ("-x", "1"),
            ("nn1", "80;x"),
            ("nn1", ""),
        ] {
            assert!(!fenced(&never, host, port, &mut |_| {}).unwrap());
        }
    }
}

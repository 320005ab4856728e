//! `dfs.ha.fencing.methods` (`org.apache.hadoop.ha.NodeFencer`): makes sure that a NameNode which does not answer serves
//! nobody any more. Only `shell(...)` is run.

use hathi_formats::conf::Configuration;
use std::process::{Command, Stdio};

/// The key of the methods, without its suffixes.
const METHODS: &str = "dfs.ha.fencing.methods";

/// The node to be fenced.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// `host:port` of its (service) RPC.
    pub address: &'a str,
    /// Its nameservice.
    pub nameservice: &'a str,
    /// Its id.
    pub namenode_id: &'a str,
}

impl Target<'_> {
    fn key(&self, conf: &Configuration) -> String {
        conf.scoped_key(METHODS, Some(self.nameservice), Some(self.namenode_id))
    }
}

/// The methods of a value of `dfs.ha.fencing.methods`, one per line: names and arguments.
fn methods(spec: &str) -> Vec<(&str, Option<&str>)> {
    let lines = spec.lines().filter_map(|line| line.split('#').next());
    let lines = lines.map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(
            |line| match line.strip_suffix(')').and_then(|line| line.split_once('(')) {
                Some((name, argument)) => (name, Some(argument)),
                None => (line, None),
            },
        )
        .collect()
}

/// The command of a method that is run here: Hadoop takes its class name as well.
fn shell_command<'a>((name, argument): (&str, Option<&'a str>)) -> Option<&'a str> {
    match name {
        "shell" | "org.apache.hadoop.ha.ShellCommandFencer" => argument,
        _ => None,
    }
}

/// How many methods are configured for this target.
///
/// # Errors
/// With the key, when one of them is not run here: who relies on it would find out at the first failover.
pub fn count(conf: &Configuration, target: &Target<'_>) -> Result<usize, String> {
    let key = target.key(conf);
    let spec = conf.get_or(&key, "");
    let methods = methods(&spec);
    match methods.iter().find(|method| shell_command(**method).is_none()) {
        Some((name, _)) => Err(format!("{key}: {name}: only shell(...) is run")),
        None => Ok(methods.len()),
    }
}

/// Tries the methods one after the other; whether one succeeded. Tells of each.
pub fn fence(conf: &Configuration, target: &Target<'_>, mut tell: impl FnMut(String)) -> bool {
    for method in methods(&conf.get_or(&target.key(conf), "")) {
        let (name, argument) = method;
        let fenced = match shell_command(method) {
            Some(command) => shell(conf, target, command).unwrap_or_else(|error| {
                tell(format!("cannot run {command}: {error}"));
                false
            }),
            None => {
                tell(format!("fencing method {name} is not supported, only shell(...)"));
                false
            }
        };
        let argument = argument.unwrap_or_default();
        if fenced {
            tell(format!("{} was fenced by {name}({argument})", target.namenode_id));
            return true;
        }
        tell(format!("fencing method {name}({argument}) was unsuccessful"));
    }
    false
}

/// Hadoop's environment: the configuration with `_` for `.` and `-`, and the node as `target_*`. Of two commands, divided
/// by a comma, the second is meant for the node that is to be standby.
fn shell(conf: &Configuration, target: &Target<'_>, command: &str) -> std::io::Result<bool> {
    let command = command.split_once(',').map_or(command, |(_, of_source)| of_source);
    let (host, port) = target.address.rsplit_once(':').unwrap_or((target.address, ""));
    let variable = |key: &str| key.replace(['.', '-'], "_");
    let status = Command::new("bash")
        .args(["-e", "-c", command])
        .envs(conf.iter().map(|(key, value, _)| (variable(key), value)))
        .env("target_address", target.address)
        .env("target_host", host)
        .env("target_port", port)
        .env("target_nameserviceid", target.nameservice)
        .env("target_namenodeid", target.namenode_id)
        .stdin(Stdio::null())
        .status()?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target<'static> = Target {
        address: "nn1.example.com:8020",
        nameservice: "ns",
        namenode_id: "nn1",
    };

    fn configured(methods: &str) -> Configuration {
        let mut conf = Configuration::new(hathi_formats::conf::Environment::default());
        conf.set("dfs.ha.fencing.methods.ns.nn1", methods);
        conf
    }

    #[test]
    fn methods_stand_on_lines() {
        let spec = "\n  sshfence(hdfs:22)\n# none\nshell(/bin/fence $target_host (now)) # the last\nsshfence\n";
        let expected = [
            ("sshfence", Some("hdfs:22")),
            ("shell", Some("/bin/fence $target_host (now)")),
            ("sshfence", None),
        ];
        assert_eq!(methods(spec), expected);
    }

    #[test]
    fn the_first_that_succeeds_is_enough_and_knows_its_target() {
        let fenced = |methods: &str| fence(&configured(methods), &TARGET, |_| {});
        let right = "$target_host$target_port-$target_namenodeid-$dfs_ha_fencing_methods_ns_nn1";
        assert!(fenced(&format!(
            "shell(false)\nshell([[ {right} == nn1.example.com8020-nn1-* ]])"
        )));
        assert!(!fenced("shell(exit 3)\nsshfence"));
        assert!(fenced("shell(false,true)"), "the second is for the old active");
        assert!(fenced("org.apache.hadoop.ha.ShellCommandFencer(true)"));
        assert!(!fenced(""));
    }

    #[test]
    fn a_method_that_is_not_run_is_found_before_it_is_needed() {
        assert_eq!(count(&configured(""), &TARGET), Ok(0));
        assert_eq!(count(&configured("shell(a)\nshell(b)"), &TARGET), Ok(2));
        let refused = count(&configured("shell(a)\nsshfence"), &TARGET).unwrap_err();
        assert!(refused.contains("dfs.ha.fencing.methods.ns.nn1: sshfence"), "{refused}");
    }
}

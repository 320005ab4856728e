//! `dfs.ha.fencing.methods` (`org.apache.hadoop.ha.NodeFencer`): makes sure that a NameNode which does not answer serves
//! nobody any more. Only `shell(...)` is run.

use hathi_formats::conf::Configuration;
use std::process::{Command, Stdio};

/// The node to be fenced.
pub struct Target<'a> {
    /// `host:port` of its (service) RPC.
    pub address: &'a str,
    /// Its nameservice.
    pub nameservice: &'a str,
    /// Its id.
    pub namenode_id: &'a str,
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

/// Tries the methods one after the other; whether one succeeded.
pub fn fence(conf: &Configuration, target: &Target<'_>) -> bool {
    let key = conf.scoped_key(
        "dfs.ha.fencing.methods",
        Some(target.nameservice),
        Some(target.namenode_id),
    );
    for (name, argument) in methods(&conf.get_or(&key, "")) {
        let fenced = match (name, argument) {
            ("shell", Some(command)) => shell(conf, target, command),
            _ => {
                eprintln!("fencing method {name} is not supported, only shell(...)");
                false
            }
        };
        if fenced {
            eprintln!(
                "{} was fenced by {name}({})",
                target.namenode_id,
                argument.unwrap_or_default()
            );
            return true;
        }
        eprintln!(
            "fencing method {name}({}) was unsuccessful",
            argument.unwrap_or_default()
        );
    }
    false
}

/// Hadoop's environment: the configuration with `_` for `.` and `-`, and the node as `target_*`. Of two commands, divided
/// by a comma, the second is meant for the node that is to be standby.
fn shell(conf: &Configuration, target: &Target<'_>, command: &str) -> bool {
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
        .status();
    match status {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("cannot run {command}: {error}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let target = Target {
            address: "nn1.example.com:8020",
            nameservice: "ns",
            namenode_id: "nn1",
        };
        let fenced = |methods: &str| {
            let mut conf = Configuration::new(hathi_formats::conf::Environment::default());
            conf.set("dfs.ha.fencing.methods.ns.nn1", methods);
            fence(&conf, &target)
        };
        let right = "$target_host$target_port-$target_namenodeid-$dfs_ha_fencing_methods_ns_nn1";
        assert!(fenced(&format!(
            "shell(false)\nshell([[ {right} == nn1.example.com8020-nn1-* ]])"
        )));
        assert!(!fenced("shell(exit 3)\nsshfence"));
        assert!(fenced("shell(false,true)"), "the second is for the old active");
        assert!(!fenced(""));
    }
}

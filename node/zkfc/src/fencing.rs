//! `dfs.ha.fencing.methods` (`org.apache.hadoop.ha.NodeFencer`): makes sure that a NameNode that does not answer serves
//! nobody any more.
//!
//! Each line has a method. They are tried in order until one says that it has fenced. If all of them fail, the NameNode
//! may still be active, and the caller must not go on.

mod shell;
mod ssh;

use hathi_conf::{Configuration, split_host_and_port};

/// The key of the methods, without its suffixes.
const METHODS: &str = "dfs.ha.fencing.methods";

/// The node to be fenced.
#[derive(Clone, Copy, Debug)]
pub struct FencingTarget<'a> {
    /// `host:port` of its RPC (the service RPC, if there is one).
    pub address: &'a str,
    /// Its nameservice.
    pub nameservice: &'a str,
    /// Its id.
    pub namenode_id: &'a str,
}

impl FencingTarget<'_> {
    fn key(&self, conf: &Configuration) -> String {
        conf.scoped_key(METHODS, Some(self.nameservice), Some(self.namenode_id))
    }

    /// Host and port of its RPC.
    fn host_and_port(&self) -> (&str, &str) {
        let (host, port) = split_host_and_port(self.address);
        (host, port.unwrap_or_default())
    }
}

/// One of Hadoop's methods.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Method<'a> {
    /// `shell(COMMAND)`
    Shell(&'a str),
    /// `sshfence`, `sshfence(USER:PORT)`
    Ssh(ssh::Arguments<'a>),
}

impl Method<'_> {
    fn fences(&self, conf: &Configuration, target: &FencingTarget<'_>, tell: &mut dyn FnMut(String)) -> bool {
        match self {
            Method::Shell(command) => shell::fences(conf, target, command, tell),
            Method::Ssh(arguments) => ssh::fences(conf, target, arguments, tell),
        }
    }
}

/// The lines of a value without comments.
fn lines(spec: &str) -> impl Iterator<Item = &str> {
    let lines = spec.lines().filter_map(|line| line.split('#').next());
    lines.map(str::trim).filter(|line| !line.is_empty())
}

/// The method on a line: a short name or the name of Hadoop's class, and its argument.
fn method(line: &str) -> Result<Method<'_>, String> {
    let (name, argument) = match line.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')').filter(|argument| !argument.is_empty())),
        None => (line, None),
    };
    let is_name = |name: &str| {
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '.' || letter == '$';
        !name.is_empty() && name.chars().all(allowed)
    };
    if !is_name(name) || (argument.is_none() && line.contains('(')) {
        return Err(format!("Unable to parse line: '{line}'"));
    }
    match name {
        "shell" | "org.apache.hadoop.ha.ShellCommandFencer" => match argument {
            Some(command) if command.split(',').count() > 2 => Err(format!(
                "{line}: a comma divides the command for the new active from the one for the old, so there is one at most; put others into a script"
            )),
            Some(command) => Ok(Method::Shell(command)),
            None => Err("No argument passed to 'shell' fencing method".to_owned()),
        },
        "sshfence" | "org.apache.hadoop.ha.SshFenceByTcpPort" => {
            Ok(Method::Ssh(ssh::Arguments::parse(argument.unwrap_or_default())?))
        }
        "powershell" | "org.apache.hadoop.ha.PowerShellFencer" => Err(format!(
            "{name}: fences nodes of Windows, on which no NameNode of this kind runs"
        )),
        _ => Err(format!(
            "{name}: is no method of Hadoop's own, and classes of Java can't be run here; shell(...) can run what it does"
        )),
    }
}

/// Number of methods that are configured for this target.
///
/// # Errors
/// Names the key when a method can't be run here. Otherwise this would be found out at the first failover.
pub fn count(conf: &Configuration, target: &FencingTarget<'_>) -> Result<usize, String> {
    let key = target.key(conf);
    let spec = conf.get_or(&key, "");
    let methods: Vec<Method<'_>> = lines(&spec)
        .map(method)
        .collect::<Result<_, _>>()
        .map_err(|why| format!("{key}: {why}"))?;
    if methods.iter().any(|method| matches!(method, Method::Ssh(_))) {
        ssh::check(conf)?;
    }
    Ok(methods.len())
}

/// Tries the methods one after the other. Returns whether one succeeded. `tell` gets the result of each.
pub fn fence(conf: &Configuration, target: &FencingTarget<'_>, tell: impl FnMut(String)) -> bool {
    fenced_by(conf, target, tell).is_some()
}

/// [`fence`], but returns the method that succeeded, as it is configured.
pub(crate) fn fenced_by(
    conf: &Configuration,
    target: &FencingTarget<'_>,
    mut tell: impl FnMut(String),
) -> Option<String> {
    let spec = conf.get_or(&target.key(conf), "");
    for line in lines(&spec) {
        let fenced = match method(line) {
            Ok(method) => method.fences(conf, target, &mut tell),
            Err(why) => {
                tell(why);
                false
            }
        };
        if fenced {
            tell(format!("{} was fenced by {line}", target.namenode_id));
            return Some(line.to_owned());
        }
        tell(format!("fencing method {line} was unsuccessful"));
    }
    tell(format!(
        "Unable to fence {} by any configured method.",
        target.namenode_id
    ));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: FencingTarget<'static> = FencingTarget {
        address: "nn1.example.com:8020",
        nameservice: "ns",
        namenode_id: "nn1",
    };

    fn configured(methods: &str) -> Configuration {
        let mut conf = Configuration::new(hathi_conf::Environment::default());
        conf.set("dfs.ha.fencing.methods.ns.nn1", methods);
        conf
    }

    #[test]
    fn methods_stand_on_lines() {
        let spec = "\n  sshfence(hdfs:2222)\n# none\nshell(/bin/fence $target_host (now)) # the last\n\
                    org.apache.hadoop.ha.SshFenceByTcpPort\n";
        let methods: Vec<Method<'_>> = lines(spec).map(|line| method(line).unwrap()).collect();
        let ssh = |argument| Method::Ssh(ssh::Arguments::parse(argument).unwrap());
        let shell = Method::Shell("/bin/fence $target_host (now)");
        assert_eq!(methods, [ssh("hdfs:2222"), shell, ssh("")]);
    }

    #[test]
    fn the_first_that_succeeds_is_enough_and_knows_its_target() {
        let fenced = |methods: &str| fence(&configured(methods), &TARGET, |_| {});
        let right = "$target_host$target_port-$target_namenodeid-$dfs_ha_fencing_methods_ns_nn1";
        assert!(fenced(&format!(
            "shell(false)\nshell([[ {right} == nn1.example.com8020-nn1-* ]])"
        )));
        let both = "$target_address/$target_nameserviceid/$source_host/$source_port/$source_namenodeid";
        assert!(fenced(&format!(
            "shell([[ {both} == nn1.example.com:8020/ns/nn1.example.com/8020/nn1 ]])"
        )));
        assert!(!fenced("shell(exit 3)\nshell(kill $$)"));
        assert!(fenced("shell(false,true)"), "the second is for the old active");
        assert!(fenced("org.apache.hadoop.ha.ShellCommandFencer(true)"));
        assert!(!fenced(""));
    }

    #[test]
    fn methods_are_tried_in_their_order_and_each_is_told_of() {
        let mut told = Vec::new();
        let spec = "shell(false)\ncom.example.Fencer\nshell(true)\nshell(exit 9)";
        assert!(fence(&configured(spec), &TARGET, |line| told.push(line)));
        assert_eq!(told[0], "fencing method shell(false) was unsuccessful");
        assert!(told[1].starts_with("com.example.Fencer: "), "{told:?}");
        assert_eq!(told[2], "fencing method com.example.Fencer was unsuccessful");
        assert_eq!(told[3..], ["nn1 was fenced by shell(true)"]);
        let mut told = Vec::new();
        assert!(!fence(&configured("shell(false)"), &TARGET, |line| told.push(line)));
        assert_eq!(told[1], "Unable to fence nn1 by any configured method.");
    }

    #[test]
    fn a_method_that_can_t_be_run_is_found_before_it_is_needed() {
        assert_eq!(count(&configured(""), &TARGET), Ok(0));
        assert_eq!(count(&configured("shell(a)\nsshfence(:22)"), &TARGET), Ok(2));
        for (wrong, named) in [
            ("com.example.MyFencer(x)", "com.example.MyFencer"),
            ("powershell(x)", "Windows"),
            ("org.apache.hadoop.ha.PowerShellFencer", "Windows"),
            ("shell", "No argument passed"),
            ("shell()", "Unable to parse"),
            ("shell(a", "Unable to parse"),
            ("rm -rf /", "Unable to parse"),
            ("shell(a,b,c)", "one at most"),
            ("sshfence(a:b:c)", "Unable to parse user and SSH port"),
            ("sshfence(hdfs:99999)", "Port number '99999' invalid"),
        ] {
            let refused = count(&configured(&format!("shell(a)\n{wrong}")), &TARGET).unwrap_err();
            assert!(refused.starts_with("dfs.ha.fencing.methods.ns.nn1: "), "{refused}");
            assert!(refused.contains(named), "{refused}");
        }
        let mut conf = configured("sshfence");
        conf.set("dfs.ha.fencing.ssh.connect-timeout", "0");
        let refused = count(&conf, &TARGET).unwrap_err();
        assert!(refused.contains("dfs.ha.fencing.ssh.connect-timeout"), "{refused}");
    }
}

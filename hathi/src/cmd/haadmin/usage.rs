//! The help texts of `haadmin`, and the parser of its arguments (`HAAdmin.USAGE`, commons-cli).

/// Each command with its arguments and its purpose, sorted by name as Hadoop shows them.
const COMMANDS: &[(&str, Option<&str>, &str)] = &[
    (
        "-checkHealth",
        Some("<serviceId>"),
        "Requests that the service perform a health check.\n\
         The HAAdmin tool will exit with a non-zero exit code\n\
         if the check fails.",
    ),
    (
        "-failover",
        Some("[--forcefence] [--forceactive] <serviceId> <serviceId>"),
        "Failover from the first service to the second.\n\
         Unconditionally fence services if the --forcefence option is used.\n\
         Try to failover to the target service even if it is not ready if the --forceactive option is used.",
    ),
    ("-getAllServiceState", None, "Returns the state of all the services"),
    (
        "-getServiceState",
        Some("<serviceId>"),
        "Returns the state of the service",
    ),
    ("-help", Some("<command>"), "Displays help on the specified command"),
    (
        "-transitionToActive",
        Some("[--forceactive] <serviceId>"),
        "Transitions the service into Active state",
    ),
    (
        "-transitionToObserver",
        Some("<serviceId>"),
        "Transitions the service into Observer state",
    ),
    (
        "-transitionToStandby",
        Some("<serviceId>"),
        "Transitions the service into Standby state",
    ),
];

const HEAD: &str = "Usage: haadmin [-ns <nameserviceId>]";

/// Hadoop's text for every tool (`GenericOptionsParser.printGenericCommandUsage`). It includes options that only
/// MapReduce has.
const GENERIC_OPTIONS: &str = "
Generic options supported are:
-conf <configuration file>        specify an application configuration file
-D <property=value>               define a value for a given property
-fs <file:///|hdfs://namenode:port> specify default filesystem URL to use, overrides 'fs.defaultFS' property from configurations.
-jt <local|resourcemanager:port>  specify a ResourceManager
-files <file1,...>                specify a comma-separated list of files to be copied to the map reduce cluster
-libjars <jar1,...>               specify a comma-separated list of jar files to be included in the classpath
-archives <archive1,...>          specify a comma-separated list of archives to be unarchived on the compute machines

The general command line syntax is:
command [genericOptions] [commandOptions]
";

/// Whether there is such a command.
pub(super) fn is_command(name: &str) -> bool {
    COMMANDS.iter().any(|(known, ..)| *known == name)
}

/// All commands, without the last line feed.
pub(super) fn of_all() -> String {
    let mut text = format!("{HEAD}\n");
    for (name, arguments, _) in COMMANDS {
        match arguments {
            Some(arguments) => text.push_str(&format!("    [{name} {arguments}]\n")),
            None => text.push_str(&format!("    [{name}]\n")),
        }
    }
    text + GENERIC_OPTIONS
}

/// One command's line.
pub(super) fn of(command: &str) -> String {
    let arguments = COMMANDS.iter().find(|(name, ..)| *name == command);
    match arguments.and_then(|(_, arguments, _)| *arguments) {
        Some(arguments) => format!("{HEAD} [{command} {arguments}]"),
        None => format!("{HEAD} [{command}]"),
    }
}

/// A command's name with its hyphen, which may be left out after `-help`.
pub(super) fn with_hyphen(command: &str) -> String {
    match command.starts_with('-') {
        true => command.to_owned(),
        false => format!("-{command}"),
    }
}

/// The text of `-help COMMAND`. The `-` may be left out.
pub(super) fn help(command: &str) -> Option<String> {
    let wanted = with_hyphen(command);
    let (name, arguments, purpose) = COMMANDS.iter().find(|(name, ..)| *name == wanted)?;
    Some(match arguments {
        Some(arguments) => format!("{name} [{arguments}]: {purpose}"),
        None => format!("{name}: {purpose}"),
    })
}

/// Arguments of a command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    /// The flags without their hyphens, each as often as it was given.
    pub(super) flags: Vec<String>,
    /// The other arguments.
    pub(super) words: Vec<String>,
}

impl Arguments {
    /// Whether a flag was given.
    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|given| given == flag)
    }

    /// Parses arguments as Hadoop's `GnuParser` does. A flag has one or two hyphens and may be anywhere, `--` ends the
    /// flags, and `-` is a word. `None` when a flag is not in `allowed`.
    pub(super) fn parse(args: &[String], allowed: &[&str]) -> Option<Arguments> {
        let mut parsed = Arguments::default();
        let mut args = args.iter();
        for arg in args.by_ref() {
            let flag = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'));
            match flag {
                Some("") if arg == "--" => break,
                Some("") | None => parsed.words.push(arg.clone()),
                Some(flag) if allowed.contains(&flag) => parsed.flags.push(flag.to_owned()),
                Some(_) => return None,
            }
        }
        parsed.words.extend(args.cloned());
        Some(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_one_hyphen_or_two_and_stand_anywhere() {
        let parse = |line: &str| {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Arguments::parse(&args, &["forceactive"]).map(|parsed| (parsed.flags.len(), parsed.words.join(" ")))
        };
        assert_eq!(parse("--forceactive a b"), Some((1, "a b".to_owned())));
        assert_eq!(parse("a -forceactive b --forceactive"), Some((2, "a b".to_owned())));
        assert_eq!(parse("- -- --forceactive"), Some((0, "- --forceactive".to_owned())));
        assert_eq!(parse("--forcefence a b"), None);
    }
}

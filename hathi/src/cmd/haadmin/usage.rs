//! The commands of `haadmin` and their help texts (`HAAdmin.USAGE`).

use crate::cmd::table::{ANY, GENERIC_OPTIONS, Grammar, Row};

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    CheckHealth,
    Failover,
    GetAllServiceState,
    GetServiceState,
    Help,
    TransitionToActive,
    TransitionToObserver,
    TransitionToStandby,
}

const fn row(
    name: &'static str,
    verb: Verb,
    arguments: &'static str,
    flags: &'static [&'static str],
    help: &'static str,
) -> Row<Verb> {
    Row {
        name,
        verb,
        arguments,
        flags,
        grammar: Grammar::Gnu,
        words: 0..=ANY,
        help,
    }
}

/// The commands, sorted by name as Hadoop shows them.
#[rustfmt::skip]
pub(super) const ROWS: &[Row<Verb>] = &[
    row("checkHealth", Verb::CheckHealth, "<serviceId>", &[],
        "Requests that the service perform a health check.\n\
         The HAAdmin tool will exit with a non-zero exit code\n\
         if the check fails."),
    row("failover", Verb::Failover, "[--forcefence] [--forceactive] <serviceId> <serviceId>", &["forcefence", "forceactive", "forcemanual"],
        "Failover from the first service to the second.\n\
         Unconditionally fence services if the --forcefence option is used.\n\
         Try to failover to the target service even if it is not ready if the --forceactive option is used."),
    row("getAllServiceState", Verb::GetAllServiceState, "", &["json"], "Returns the state of all the services"),
    row("getServiceState", Verb::GetServiceState, "<serviceId>", &["json"], "Returns the state of the service"),
    row("help", Verb::Help, "<command>", &[], "Displays help on the specified command"),
    row("transitionToActive", Verb::TransitionToActive, "[--forceactive] <serviceId>", &["forceactive", "forcemanual"],
        "Transitions the service into Active state"),
    row("transitionToObserver", Verb::TransitionToObserver, "<serviceId>", &["forcemanual"],
        "Transitions the service into Observer state"),
    row("transitionToStandby", Verb::TransitionToStandby, "<serviceId>", &["forcemanual"],
        "Transitions the service into Standby state"),
];

const HEAD: &str = "Usage: haadmin [-ns <nameserviceId>]";

/// All commands, without the last line feed.
pub(super) fn of_all() -> String {
    let mut text = format!("{HEAD}\n");
    for row in ROWS {
        text.push_str(&format!("    [{}]\n", row.synopsis()));
    }
    text + GENERIC_OPTIONS
}

/// One command's line.
pub(super) fn of(row: &Row<Verb>) -> String {
    format!("{HEAD} [{}]", row.synopsis())
}

/// A command's name with its hyphen, which may be left out after `-help`.
pub(super) fn with_hyphen(command: &str) -> String {
    match command.starts_with('-') {
        true => command.to_owned(),
        false => format!("-{command}"),
    }
}

/// The text of `-help COMMAND`.
pub(super) fn help(row: &Row<Verb>) -> String {
    match row.arguments {
        "" => format!("-{}: {}", row.name, row.help),
        arguments => format!("-{} [{arguments}]: {}", row.name, row.help),
    }
}

//! `hathi doctor`: names the mistakes in a configuration, on this machine and in a running cluster.
//!
//! [`gather`] reads files and asks daemons. It writes nothing. [`rules`] decides on the [`Facts`] alone, so that each
//! mistake is planted in a test as a value.

#[cfg(test)]
mod docs;
mod facts;
mod gather;
mod rules;
#[cfg(test)]
mod tests;

use super::invocation::Invocation;
use anyhow::Result;
use facts::Facts;
use serde_json::json;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code for wrong arguments.
const MISUSED: u8 = 2;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    /// A daemon does not start, or the cluster does not do what it is there for.
    Error,
    /// It works, but worse than it could, or not after the next fault.
    Warning,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// A mistake that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// The rule's name.
    id: &'static str,
    severity: Severity,
    /// File and key, directory, or address.
    place: String,
    /// What is wrong, one sentence.
    what: String,
    /// What to do, one sentence.
    cure: &'static str,
}

/// What the arguments ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Options {
    json: bool,
    offline: bool,
    dir: Option<OsString>,
}

/// How the command is used.
pub fn usage() -> String {
    "usage: hathi doctor [--json] [--offline] [--conf DIR]\n\
     Names mistakes: in the configuration, on this machine, and in the running cluster. It changes nothing.\n\
     \n\
     --json      an array of objects with id, severity, where, what and cure\n\
     --offline   ask no daemon; for a look before the first start\n\
     --conf DIR  the configuration directory\n\
     \n\
     Run it on each machine as the user of the daemons: it looks at the directories of those daemons that the\n\
     configuration places on this machine. A daemon has 2 seconds to answer.\n\
     \n\
     Exit status: 0 no error was found, but perhaps warnings; 1 an error was found; 2 wrong arguments.\n\
     docs/doctor.md lists all findings.\n"
        .to_owned()
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let options = match options(args) {
        Ok(options) => options,
        Err(problem) => {
            eprint!("hathi doctor: {problem}\n{}", usage());
            return Ok(ExitCode::from(MISUSED));
        }
    };
    let findings = examine(&gather::facts(&conf_dir(options.dir)?, options.offline)?);
    if options.json {
        println!("{}", as_json(&findings));
    } else {
        print!("{}", as_text(&findings, options.offline));
    }
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(ExitCode::from(u8::from(failed)))
}

fn options(args: Vec<OsString>) -> Result<Options, String> {
    let mut options = Options::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--json") => options.json = true,
            Some("--offline") => options.offline = true,
            Some("--conf" | "--config") => {
                options.dir = Some(args.next().ok_or("--conf needs a directory")?);
            }
            _ => return Err(format!("unknown argument {}", arg.display())),
        }
    }
    Ok(options)
}

/// The directory that was given, else that of the environment, else the default.
fn conf_dir(given: Option<OsString>) -> Result<PathBuf> {
    let args = given.map_or_else(Vec::new, |dir| vec!["--conf".into(), dir]);
    Ok(Invocation::of(args)?.conf_dir().0)
}

/// Applies every rule. Errors come first, then the order is that of the tables.
fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in rules::all().filter(|rule| rule.needs_no_configuration || facts.is_configured()) {
        findings.extend((rule.find)(facts).into_iter().map(|trouble| Finding {
            id: rule.id,
            severity: rule.severity,
            place: trouble.place,
            what: trouble.what,
            cure: rule.cure,
        }));
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn as_text(findings: &[Finding], offline: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let Finding {
            id, place, what, cure, ..
        } = finding;
        let severity = finding.severity.name().to_uppercase();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{severity} {id}\n  where: {place}\n  what:  {what}\n  cure:  {cure}\n"
        );
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let several = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let _ = writeln!(
        text,
        "{}, {}{}",
        several(count(Severity::Error), "error"),
        several(count(Severity::Warning), "warning"),
        if offline { "; no daemon was asked" } else { "" }
    );
    text
}

fn as_json(findings: &[Finding]) -> String {
    let objects = findings.iter().map(|finding| {
        json!({
            "id": finding.id,
            "severity": finding.severity.name(),
            "where": finding.place,
            "what": finding.what,
            "cure": finding.cure,
        })
    });
    serde_json::Value::Array(objects.collect()).to_string()
}

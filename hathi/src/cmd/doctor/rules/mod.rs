//! The rules: each finds one kind of mistake in the facts.
//!
//! A rule is a row of the table of its module. docs/doctor.md is made of these rows.

mod configuration;
mod data;
mod directories;
mod journal;
mod machine;
mod namenodes;
mod topology;

use super::Severity;
use super::facts::Facts;

/// A kind of mistake.
#[derive(Debug)]
pub(super) struct Rule {
    /// Its name, in words joined by dashes.
    pub id: &'static str,
    pub severity: Severity,
    /// When it is found, as docs/doctor.md says it.
    #[cfg_attr(not(test), expect(dead_code, reason = "that page is made of it by a test"))]
    pub when: &'static str,
    /// What to do, one sentence.
    pub cure: &'static str,
    /// Whether it concerns the files before their settings are known.
    pub needs_no_configuration: bool,
    /// Finds all places where the mistake was made.
    pub find: fn(&Facts) -> Vec<Trouble>,
}

/// A place where a mistake was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// File and key, directory, or address.
    pub place: String,
    /// What is wrong, one sentence.
    pub what: String,
}

/// The tables, under the headings of docs/doctor.md.
pub(super) const TABLES: &[(&str, &[Rule])] = &[
    ("The configuration", configuration::RULES),
    ("Which daemon is where", topology::RULES),
    ("This machine", machine::RULES),
    ("Directories of this machine", directories::RULES),
    ("Running NameNodes and controllers", namenodes::RULES),
    ("Running JournalNodes", journal::RULES),
    ("DataNodes and blocks", data::RULES),
];

/// Every rule.
pub(super) fn all() -> impl Iterator<Item = &'static Rule> {
    TABLES.iter().flat_map(|(_, rules)| rules.iter())
}

const fn rule(
    severity: Severity,
    id: &'static str,
    when: &'static str,
    cure: &'static str,
    find: fn(&Facts) -> Vec<Trouble>,
) -> Rule {
    Rule {
        id,
        severity,
        when,
        cure,
        needs_no_configuration: false,
        find,
    }
}

const fn error(id: &'static str, when: &'static str, cure: &'static str, find: fn(&Facts) -> Vec<Trouble>) -> Rule {
    rule(Severity::Error, id, when, cure, find)
}

const fn warning(id: &'static str, when: &'static str, cure: &'static str, find: fn(&Facts) -> Vec<Trouble>) -> Rule {
    rule(Severity::Warning, id, when, cure, find)
}

fn trouble(place: impl Into<String>, what: impl Into<String>) -> Trouble {
    Trouble {
        place: place.into(),
        what: what.into(),
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let (mut rest, mut unit) = (bytes, 0);
    while rest >= 10 * 1024 && unit + 1 < UNITS.len() {
        rest /= 1024;
        unit += 1;
    }
    format!("{rest} {}", UNITS[unit])
}

//! Settings in an operator's files that have no effect.

use super::{KeyUsage, Program, find, table};
use crate::{Configuration, DEFAULT_SOURCE, PROGRAM_SOURCE};
use std::fmt;

/// A name that differs in at most this many letters from a known one is taken for a misspelling.
const SLIP_LETTERS: usize = 2;

/// Why a setting has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It asks for protection that is not there. The text says what to do.
    Refused(&'static str),
    /// It is a key of Hadoop's without effect here. The text says why.
    NoEffect(&'static str),
    /// The key is not known. Perhaps this one is meant.
    Unknown(Option<&'static str>),
    /// Other programs read it.
    ReadBy(&'static [Program]),
}

/// A setting in an operator's files that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnobeyedSetting {
    /// The key.
    pub key: String,
    /// Its value after substitution.
    pub value: String,
    /// The file that sets it.
    pub origin: String,
    /// Why it has no effect.
    pub verdict: Verdict,
}

impl fmt::Display for UnobeyedSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnobeyedSetting { key, value, origin, .. } = self;
        match self.verdict {
            Verdict::Refused(what_to_do) => write!(f, "{key} = '{value}' ({origin}) is refused: {what_to_do}"),
            Verdict::NoEffect(reason) => write!(f, "{key} ({origin}) has no effect: {reason}"),
            Verdict::Unknown(None) => write!(f, "{key} ({origin}) is not known"),
            Verdict::Unknown(Some(nearest)) => write!(f, "{key} ({origin}) is not known; is {nearest} meant?"),
            Verdict::ReadBy(by) => {
                let names: Vec<&str> = by.iter().map(|program| program.name()).collect();
                write!(f, "{key} ({origin}) is read by others: {}", names.join(", "))
            }
        }
    }
}

impl Configuration {
    /// Settings in files that this program does not obey. With `None`: those that no program of ours obeys.
    #[must_use]
    pub fn check(&self, program: Option<Program>) -> Vec<UnobeyedSetting> {
        let set_in_files = self
            .iter()
            .filter(|(_, value, origin)| *origin != DEFAULT_SOURCE && *origin != PROGRAM_SOURCE && !value.is_empty());
        let findings = set_in_files.filter_map(|(key, value, origin)| {
            Some(UnobeyedSetting {
                verdict: verdict(key, value.trim(), program)?,
                key: key.to_owned(),
                value,
                origin: origin.to_owned(),
            })
        });
        findings.collect()
    }

    /// Keys that a program obeys, with their values and the files that set them, for `/conf`.
    pub fn obeyed(&self, program: Program) -> impl Iterator<Item = (&str, String, &str)> {
        self.iter()
            .filter(move |(key, _, _)| match find(key).map(|key| key.usage) {
                Some(KeyUsage::Read(by) | KeyUsage::Refused { by, .. }) => by.contains(&program),
                Some(KeyUsage::NoEffect(_)) | None => false,
            })
    }
}

fn verdict(name: &str, value: &str, program: Option<Program>) -> Option<Verdict> {
    let Some(key) = find(name) else {
        return Some(Verdict::Unknown(nearest(name)));
    };
    let concerns = |by: &[Program]| program.is_none_or(|program| by.contains(&program));
    match key.usage {
        KeyUsage::Read(by) if concerns(by) => None,
        KeyUsage::Read(by) => Some(Verdict::ReadBy(by)),
        KeyUsage::NoEffect(reason) => Some(Verdict::NoEffect(reason)),
        KeyUsage::Refused { by, when, what_to_do } if when.holds(value) => Some(if concerns(by) {
            Verdict::Refused(what_to_do)
        } else {
            Verdict::ReadBy(by)
        }),
        KeyUsage::Refused { .. } => None,
    }
}

/// The known key that a name is a misspelling of.
fn nearest(name: &str) -> Option<&'static str> {
    let candidates = table::KEYS.iter().filter(|key| !key.is_pattern());
    let measured = candidates.filter(|key| key.name.len().abs_diff(name.len()) <= SLIP_LETTERS);
    let (letters, key) = measured
        .map(|key| (distance(key.name.as_bytes(), name.as_bytes()), key.name))
        .min()?;
    (letters <= SLIP_LETTERS).then_some(key)
}

/// Number of letters to change, add or drop (Levenshtein distance).
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, letter) in left.iter().enumerate() {
        let mut diagonal = above;
        let mut before = above.saturating_add(1);
        for (cell, other) in row.iter_mut().skip(1).zip(right) {
            let change = diagonal.saturating_add(usize::from(letter != other));
            diagonal = *cell;
            before = change.min(diagonal.saturating_add(1)).min(before.saturating_add(1));
            *cell = before;
        }
    }
    row.last().copied().unwrap_or(left.len())
}

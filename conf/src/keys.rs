//! The table of all known configuration keys. A row says who reads the key, or why it has no effect, or which values
//! are refused because they ask for protection that is not there.
//!
//! Invariants: the table is sorted. Every key that a program reads is in it (a test collects the keys from the
//! sources). A value that asks for protection either gives it or ends the daemon at its start.

mod check;
mod table;

pub use check::{UnobeyedSetting, Verdict};

use super::topology::SPECIFIC_KEYS;
use Program::{Client as C, DataNode as D, Hadoop as H, JournalNode as J, NameNode as N, Zkfc as Z};
use When::{NotBeginningWith, NotOneOf, Set, True};

/// A program that may read a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `hathi namenode`.
    NameNode,
    /// `hathi datanode`.
    DataNode,
    /// `hathi journalnode`.
    JournalNode,
    /// `hathi zkfc`.
    Zkfc,
    /// Our client and commands: `hathi dfs`, `hathi dfsadmin`, `hathi haadmin`.
    Client,
    /// Hadoop's own clients, tools and daemons, which are often given the same files. No program of ours reads the key.
    Hadoop,
}

impl Program {
    /// The name in tables and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Program::NameNode => "NameNode",
            Program::DataNode => "DataNode",
            Program::JournalNode => "JournalNode",
            Program::Zkfc => "zkfc",
            Program::Client => "client",
            Program::Hadoop => "Hadoop's own",
        }
    }
}

/// Which values of a key ask for protection that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Any value.
    Set,
    /// `true`.
    True,
    /// All but these values.
    NotOneOf(&'static [&'static str]),
    /// All that do not begin so.
    NotBeginningWith(&'static str),
}

impl When {
    fn holds(self, value: &str) -> bool {
        match self {
            Set => true,
            True => value.eq_ignore_ascii_case("true"),
            NotBeginningWith(start) => !value.starts_with(start),
            NotOneOf(allowed) => !allowed.iter().any(|allowed| value.eq_ignore_ascii_case(allowed)),
        }
    }
}

/// Effect of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUsage {
    /// These programs obey it.
    Read(&'static [Program]),
    /// It is a key of Hadoop's without effect here. The text says why.
    NoEffect(&'static str),
    /// Some of its values ask for protection that is not there. These programs refuse to start with them.
    Refused {
        /// The daemons that refuse.
        by: &'static [Program],
        /// The values that are refused.
        when: When,
        /// What the operator can do.
        what_to_do: &'static str,
    },
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The name in configuration files. A `*` stands for any text.
    pub name: &'static str,
    /// Hadoop's default. Empty when there is none.
    pub default: &'static str,
    /// Its effect.
    pub usage: KeyUsage,
    /// Its meaning, where Hadoop's documentation does not say all of it.
    pub note: &'static str,
}

impl Key {
    /// Whether the name is a pattern.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.name.contains('*')
    }

    fn matches(&self, name: &str) -> bool {
        match self.name.split_once('*') {
            Some((before, after)) => {
                name.len() > before.len().saturating_add(after.len())
                    && name.starts_with(before)
                    && name.ends_with(after)
            }
            None => self.name == name,
        }
    }
}

/// The table, sorted by name.
#[must_use]
pub fn all() -> &'static [Key] {
    table::KEYS
}

/// The row of a key: its own row, else the row of the key that it sets for a nameservice or NameNode (`key.ns.nn`),
/// else the row of the longest pattern.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    let exact = |name: &str| {
        let at = table::KEYS.binary_search_by(|key| key.name.cmp(name)).ok()?;
        table::KEYS.get(at)
    };
    if let Some(key) = exact(name) {
        return Some(key);
    }
    let mut plain = name;
    for _ in 0..2 {
        let Some((shorter, _)) = plain.rsplit_once('.') else {
            break;
        };
        plain = shorter;
        if SPECIFIC_KEYS.contains(&plain) {
            return exact(plain);
        }
    }
    let patterns = table::KEYS.iter().filter(|key| key.is_pattern() && key.matches(name));
    patterns.max_by_key(|key| key.name.len())
}

const fn read(name: &'static str, default: &'static str, by: &'static [Program], note: &'static str) -> Key {
    Key {
        name,
        default,
        usage: KeyUsage::Read(by),
        note,
    }
}

const fn unused(name: &'static str, default: &'static str, reason: &'static str) -> Key {
    Key {
        name,
        default,
        usage: KeyUsage::NoEffect(reason),
        note: "",
    }
}

const fn refused(
    name: &'static str,
    default: &'static str,
    by: &'static [Program],
    when: When,
    what_to_do: &'static str,
) -> Key {
    Key {
        name,
        default,
        usage: KeyUsage::Refused { by, when, what_to_do },
        note: "",
    }
}

#[cfg(test)]
mod tests;

//! Which settings change while a NameNode runs (`NameNode.reconfigurableProperties`, `reconfigurePropertyImpl`).
//!
//! Only keys that really change something are listed: their values are read anew by each decision. Of Hadoop's list are
//! left out those without effect here, such as the keys about slow DataNodes.

use super::Settings;
use anyhow::ensure;
use hathi_conf::Configuration;
use hathi_namesystem::namesystem::Reconfigured;

/// `FSDirectory.MAX_DIR_ITEMS`
const DIRECTORY_ITEMS_MAX: i64 = 6_400_000;

/// The values that are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    /// Those with which a NameNode starts.
    Any,
    /// Whole numbers or times above 0 (`BlockManager.ensurePositiveInt`).
    Positive,
    /// From 1 to `FSDirectory.MAX_DIR_ITEMS`.
    DirectoryItems,
}

/// Sorted by name, as Hadoop lists its own.
const PROPERTIES: [(&str, Values); 11] = [
    ("dfs.block.invalidate.limit", Values::Any),
    ("dfs.heartbeat.interval", Values::Positive),
    ("dfs.namenode.fs-limits.max-directory-items", Values::DirectoryItems),
    ("dfs.namenode.heartbeat.recheck-interval", Values::Any),
    ("dfs.namenode.reconstruction.pending.timeout-sec", Values::Positive),
    ("dfs.namenode.replication.max-streams", Values::Positive),
    ("dfs.namenode.replication.max-streams-hard-limit", Values::Positive),
    (
        "dfs.namenode.replication.work.multiplier.per.iteration",
        Values::Positive,
    ),
    ("dfs.storage.policy.satisfier.mode", Values::Any),
    ("fs.protected.directories", Values::Any),
    (CALLER_CONTEXT, Values::Any),
];

/// Whether lines of the audit log tell in which context a call was made.
const CALLER_CONTEXT: &str = "hadoop.caller.context.enabled";

/// What became of a property whose value in the files is not the one that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub name: &'static str,
    /// The value that counted before.
    pub before: String,
    /// The value in the files.
    pub now: String,
    /// Why the value in the files does not count.
    pub error: Option<String>,
}

/// Names of the properties.
pub fn names() -> impl Iterator<Item = &'static str> {
    PROPERTIES.into_iter().map(|(name, _)| name)
}

/// The settings that count after the files were read again, and what has changed. A value that makes no sense leaves the
/// one before, and stops no other. Other keys keep their values until the next start.
#[must_use]
pub fn reconfigured(running: &Settings, read: &Configuration) -> (Settings, Vec<Change>) {
    let mut counts = running.clone();
    let mut changes = Vec::new();
    for (name, values) in PROPERTIES {
        let (before, now) = (counts.conf.get_or(name, ""), read.get_or(name, ""));
        if before == now {
            continue;
        }
        let mut candidate = counts.clone();
        candidate.conf.set(name, now.clone());
        let checked = candidate.check_reconfigured(name, &now, values);
        let error = checked.err().map(|error| format!("{error:#}"));
        if error.is_none() {
            counts = candidate;
        }
        changes.push(Change {
            name,
            before,
            now,
            error,
        });
    }
    (counts, changes)
}

impl Settings {
    fn check_reconfigured(&self, name: &str, value: &str, values: Values) -> anyhow::Result<()> {
        let (namesystem, namespace, blockmanager) = (self.namesystem()?, self.namespace()?, self.blockmanager()?);
        drop((namesystem, namespace));
        match values {
            Values::Any => {}
            Values::Positive => {
                let is_positive = match name {
                    "dfs.heartbeat.interval" => blockmanager.heartbeat_interval_ms > 0,
                    "dfs.namenode.reconstruction.pending.timeout-sec" => blockmanager.pending_timeout_ms > 0,
                    _ => self.conf.get_i64(name, 0)? > 0,
                };
                ensure!(
                    is_positive,
                    "{name} = '{value}' is invalid. It should be a positive, non-zero integer value."
                );
            }
            Values::DirectoryItems => ensure!(
                (1..=DIRECTORY_ITEMS_MAX).contains(&self.conf.get_i64(name, 0)?),
                "Cannot set {name} to a value less than 1 or greater than {DIRECTORY_ITEMS_MAX}"
            ),
        }
        Ok(())
    }

    /// Whether the audit log tells the context of a caller.
    #[must_use]
    pub fn caller_context(&self) -> bool {
        self.conf.get_bool(CALLER_CONTEXT, false)
    }

    /// Gives a namesystem the values of all reconfigurable properties.
    ///
    /// # Errors
    /// A value makes no sense. Nothing was changed.
    pub fn give(&self, to: &mut Reconfigured<'_>) -> anyhow::Result<()> {
        let (namesystem, namespace, blockmanager) = (self.namesystem()?, self.namespace()?, self.blockmanager()?);
        to.namesystem.satisfier = namesystem.satisfier;
        to.namespace.max_directory_items = namespace.max_directory_items;
        to.namespace.protected_directories = namespace.protected_directories;
        let (to, from) = (&mut *to.blockmanager, blockmanager);
        to.invalidate_limit = from.invalidate_limit;
        to.heartbeat_interval_ms = from.heartbeat_interval_ms;
        to.heartbeat_recheck_ms = from.heartbeat_recheck_ms;
        to.pending_timeout_ms = from.pending_timeout_ms;
        to.replication_max_streams = from.replication_max_streams;
        to.replication_max_streams_hard = from.replication_max_streams_hard;
        to.replication_work_multiplier = from.replication_work_multiplier;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_blockmanager::BlockManagerConfig;
    use hathi_conf::{Environment, NameNodeIdentity};
    use hathi_namespace::NamespaceConfig;
    use hathi_namesystem::NamesystemConfig;
    use std::path::Path;

    fn files(more: &[(&str, &str)]) -> Configuration {
        let mut conf = Configuration::new(Environment::default());
        conf.set("dfs.namenode.rpc-address", "127.0.0.1:8020");
        conf.set("dfs.namenode.name.dir", "/name");
        for (key, value) in more {
            conf.set(key, *value);
        }
        conf
    }

    fn settings(more: &[(&str, &str)]) -> Settings {
        Settings::from_conf(&files(more), &NameNodeIdentity::default()).unwrap()
    }

    #[test]
    fn a_value_that_makes_no_sense_stops_no_other_and_changes_nothing() {
        let running = settings(&[("dfs.replication", "3")]);
        let read = files(&[
            ("dfs.namenode.replication.max-streams", "many"),
            ("dfs.namenode.replication.max-streams-hard-limit", "0"),
            ("dfs.namenode.fs-limits.max-directory-items", "6400001"),
            ("dfs.storage.policy.satisfier.mode", "internal"),
            ("dfs.heartbeat.interval", "30s"),
            ("fs.protected.directories", "/a,/b"),
            // It is read at the start only.
            ("dfs.replication", "2"),
        ]);
        let (counts, changes) = reconfigured(&running, &read);
        let told: Vec<_> = changes
            .iter()
            .map(|change| {
                (
                    change.name,
                    change.before.as_str(),
                    change.now.as_str(),
                    change.error.is_none(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("dfs.heartbeat.interval", "3", "30s", true),
                (
                    "dfs.namenode.fs-limits.max-directory-items",
                    "1048576",
                    "6400001",
                    false
                ),
                ("dfs.namenode.replication.max-streams", "2", "many", false),
                ("dfs.namenode.replication.max-streams-hard-limit", "4", "0", false),
                ("dfs.storage.policy.satisfier.mode", "none", "internal", false),
                ("fs.protected.directories", "", "/a,/b", true),
            ]
        );
        for change in changes.iter().filter(|change| change.error.is_some()) {
            assert!(change.error.as_ref().unwrap().contains(change.name), "{change:?}");
        }
        assert_eq!(counts.conf.get_or("dfs.replication", ""), "3");

        let (mut namesystem, mut namespace) = (NamesystemConfig::default(), NamespaceConfig::default());
        let mut blockmanager = BlockManagerConfig::default();
        let mut to = Reconfigured {
            namesystem: &mut namesystem,
            namespace: &mut namespace,
            blockmanager: &mut blockmanager,
        };
        counts.give(&mut to).unwrap();
        assert_eq!(blockmanager.heartbeat_interval_ms, 30_000);
        // At least what a DataNode can delete in twenty heartbeats, as at the start.
        assert_eq!(blockmanager.invalidate_limit, 1000);
        assert_eq!(
            (
                blockmanager.replication_max_streams,
                blockmanager.replication_max_streams_hard
            ),
            (2, 4)
        );
        assert_eq!(namespace.protected_directories, ["/a", "/b"]);
        assert_eq!(namespace.max_directory_items, 1_048_576);
        assert!(!namesystem.satisfier.external);

        // The same files once more change nothing, but those that failed are told again.
        let (_, again) = reconfigured(&counts, &read);
        assert_eq!(again.len(), 4, "{again:?}");
    }

    #[test]
    fn each_property_is_one_that_a_namenode_reads_and_changes_what_it_gives() {
        for (name, value) in [
            ("dfs.block.invalidate.limit", "2000"),
            ("dfs.heartbeat.interval", "7"),
            ("dfs.namenode.fs-limits.max-directory-items", "9"),
            ("dfs.namenode.heartbeat.recheck-interval", "1000"),
            ("dfs.namenode.reconstruction.pending.timeout-sec", "9"),
            ("dfs.namenode.replication.max-streams", "9"),
            ("dfs.namenode.replication.max-streams-hard-limit", "9"),
            ("dfs.namenode.replication.work.multiplier.per.iteration", "9"),
            ("dfs.storage.policy.satisfier.mode", "external"),
            ("fs.protected.directories", "/a"),
            ("hadoop.caller.context.enabled", "true"),
        ] {
            assert!(names().any(|listed| listed == name), "{name} is not listed");
            let given = |settings: &Settings| {
                let (mut namesystem, mut namespace) = (NamesystemConfig::default(), NamespaceConfig::default());
                let mut blockmanager = BlockManagerConfig::default();
                settings
                    .give(&mut Reconfigured {
                        namesystem: &mut namesystem,
                        namespace: &mut namespace,
                        blockmanager: &mut blockmanager,
                    })
                    .unwrap();
                format!(
                    "{namesystem:?} {namespace:?} {blockmanager:?} {}",
                    settings.caller_context()
                )
            };
            let running = settings(&[]);
            let (counts, changes) = reconfigured(&running, &files(&[(name, value)]));
            assert!(
                matches!(&changes[..], [change] if change.name == name && change.error.is_none()),
                "{changes:?}"
            );
            assert_ne!(given(&running), given(&counts), "{name} changes nothing");
        }
        assert!(names().is_sorted());
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        let listed: String = names().map(|name| format!("- `{name}`\n")).collect();
        let document = std::fs::read_to_string(document).unwrap();
        assert!(
            document.contains(&format!("\n\n{listed}\n")),
            "docs/configuration.md lists others"
        );
    }
}

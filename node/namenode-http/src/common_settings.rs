//! Settings that all NameNodes of a nameservice must have in common: after a failover another one's count.

/// Their keys. Every NameNode reads them. `hathi doctor`, the page of the cluster and `/metrics` compare them.
pub const COMMON_SETTINGS: &[&str] = &[
    "dfs.blocksize",
    "dfs.ha.automatic-failover.enabled",
    "dfs.heartbeat.interval",
    "dfs.namenode.checkpoint.period",
    "dfs.namenode.checkpoint.txns",
    "dfs.namenode.heartbeat.recheck-interval",
    "dfs.namenode.replication.min",
    "dfs.namenode.safemode.threshold-pct",
    "dfs.namenode.shared.edits.dir",
    "dfs.nameservices",
    "dfs.permissions.enabled",
    "dfs.permissions.superusergroup",
    "dfs.replication",
    "dfs.replication.max",
    "fs.trash.interval",
    "ha.zookeeper.quorum",
    "hathi.lease.ms",
    "hadoop.security.authorization",
    "net.topology.script.file.name",
];

#[cfg(test)]
mod tests {
    use super::COMMON_SETTINGS;
    use hathi_conf::keys::{KeyUsage, Program, find};

    /// A NameNode's `/conf` has only the keys that it reads. Any other one would always differ from the files.
    #[test]
    fn what_is_compared_is_read_by_namenodes() {
        for key in COMMON_SETTINGS {
            let usage = find(key).map(|key| key.usage);
            let read = matches!(usage, Some(KeyUsage::Read(by)) if by.contains(&Program::NameNode));
            assert!(read, "{key}");
        }
    }
}

//! Which NameNodes a client calls, and how patiently.

use crate::ClientError;
use hathi_conf::{ConfError, Configuration, TimeUnit, host_and_port, split_host_and_port};
use hathi_net::ipc::{HaOptions, HaProxy, Protocol, UserInfo};
use std::net::IpAddr;
use std::time::Duration;

/// Port of a NameNode whose address has none.
const NAMENODE_PORT: u16 = 8020;

/// Calls of a protocol to the active NameNode of `authority` (a nameservice or `host:port`), or of `fs.defaultFS` when
/// it is empty. Nothing is sent before the first call.
///
/// # Errors
/// When the configuration names no NameNode for it.
pub fn connect(
    conf: &Configuration,
    authority: &str,
    user: &str,
    protocol: &'static Protocol,
) -> Result<HaProxy, ClientError> {
    let user = UserInfo {
        user: user.to_owned(),
        ..UserInfo::default()
    };
    connect_as(conf, authority, user, protocol)
}

/// As [`connect`], perhaps in the name of another user.
pub(crate) fn connect_as(
    conf: &Configuration,
    authority: &str,
    user: UserInfo,
    protocol: &'static Protocol,
) -> Result<HaProxy, ClientError> {
    let millis = |key: &str, default: u64| duration(conf, key, default);
    let mut ha = HaOptions::new(&user.user);
    ha.client.user = user;
    ha.client.connect_timeout = millis("ipc.client.connect.timeout", 20_000)?;
    ha.client.call_timeout = millis("ipc.client.rpc-timeout.ms", 120_000)?;
    ha.client.ping_interval = millis("ipc.ping.interval", 60_000)?;
    ha.max_failovers = conf.get_u32("dfs.client.failover.max.attempts", 15)?;
    ha.max_retries = conf.get_u32("dfs.client.retry.max.attempts", 10)?;
    ha.sleep_base = millis("dfs.client.failover.sleep.base.millis", 500)?;
    ha.sleep_max = millis("dfs.client.failover.sleep.max.millis", 15_000)?;
    Ok(HaProxy::new(namenodes(conf, authority)?, protocol, ha))
}

/// The addresses of the NameNodes of a nameservice or `host:port`, or of `fs.defaultFS` when it is empty.
///
/// # Errors
/// When the configuration names none for it.
pub fn namenodes(conf: &Configuration, authority: &str) -> Result<Vec<String>, ClientError> {
    let default = conf.default_fs();
    if authority.is_empty() && (default.scheme != "hdfs" || default.authority.is_empty()) {
        let dir = conf.dir().map_or(String::new(), |dir| format!(" of {}", dir.display()));
        return Err(ConfError::Value {
            key: "fs.defaultFS".to_owned(),
            value: conf.get_or("fs.defaultFS", "file:///"),
            origin: conf.origin("fs.defaultFS").to_owned(),
            problem: format!("it names no HDFS, so core-site.xml{dir} says nothing of a cluster"),
        }
        .into());
    }
    let authority = if authority.is_empty() {
        &default.authority
    } else {
        authority
    };
    if conf.nameservices().iter().any(|nameservice| nameservice == authority) {
        let ids = conf.namenode_ids(authority);
        if ids.is_empty() {
            return Ok(vec![conf.rpc_address(Some(authority), None)?.to_string()]);
        }
        let address = |id: &String| Ok(conf.rpc_address(Some(authority), Some(id))?.to_string());
        return ids.iter().map(address).collect();
    }
    if authority.contains(':') {
        return Ok(vec![authority.to_owned()]);
    }
    Ok(vec![host_and_port(authority, NAMENODE_PORT)])
}

/// What to say of a name that no machine has: it may be a misspelled nameservice.
#[must_use]
pub fn unknown_host(conf: &Configuration, address: &str) -> String {
    let (host, _) = split_host_and_port(address);
    let all = conf.nameservices();
    if host.contains('.') || host.parse::<IpAddr>().is_ok() || all.is_empty() {
        return format!("unknown host {host}");
    }
    let origin = conf.origin("dfs.nameservices");
    format!(
        "{host} is no nameservice (dfs.nameservices = {} in {origin}), and no known host",
        all.join(",")
    )
}

pub(crate) fn duration(conf: &Configuration, key: &str, default_ms: u64) -> Result<Duration, ClientError> {
    Ok(conf.get_duration(key, Duration::from_millis(default_ms), TimeUnit::Millis)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_conf::Environment;

    fn conf(settings: &[(&str, &str)]) -> Configuration {
        let mut conf = Configuration::new(Environment::default());
        for (key, value) in settings {
            conf.set(key, *value);
        }
        conf
    }

    #[test]
    fn a_configuration_without_a_cluster_is_named() {
        let error = namenodes(&conf(&[]), "").unwrap_err().to_string();
        assert!(error.contains("fs.defaultFS"), "{error}");
        assert_eq!(namenodes(&conf(&[]), "there:1").unwrap(), ["there:1"]);
        let alone = conf(&[("fs.defaultFS", "hdfs://there")]);
        assert_eq!(namenodes(&alone, "").unwrap(), ["there:8020"]);
    }

    #[test]
    fn a_misspelled_nameservice_is_told_from_a_host() {
        let pair = conf(&[("dfs.nameservices", "one,two")]);
        let told = unknown_host(&pair, "onne:8020");
        assert!(
            told.starts_with("onne is no nameservice (dfs.nameservices = one,two"),
            "{told}"
        );
        assert_eq!(
            unknown_host(&pair, "onne.example.com:8020"),
            "unknown host onne.example.com"
        );
    }
}

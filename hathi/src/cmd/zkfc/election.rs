//! Chooses the elector from the configuration (`ZKFailoverController.initZK`).

use crate::cmd::times::{duration, retries};
use anyhow::{Context, Result, anyhow, bail};
use hathi_conf::{Configuration, split_host_and_port};
use hathi_zkfc::{Election, ZooKeeperConfig, parse_acls, parse_auths};

const QUORUM: &str = "ha.zookeeper.quorum";
const PARENT: &str = "ha.zookeeper.parent-znode";
/// Environment variables in which Hadoop's scripts look for the JVM options of a controller.
const JVM_OPTIONS: [&str; 3] = ["HDFS_ZKFC_OPTS", "HADOOP_ZKFC_OPTS", "HADOOP_OPTS"];

/// Looks up an environment variable.
type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// With `ha.zookeeper.quorum` ZooKeeper elects, and `hathi.ha.elector` must not contradict that.
///
/// # Errors
/// For a value that makes no sense, or that asks for protection that is not there, with its key.
pub(super) fn election(conf: &Configuration, nameservice: &str, environment: &Variables<'_>) -> Result<Election> {
    let quorum = conf.get_or(QUORUM, "");
    let quorum = quorum.trim();
    let by_quorum = if quorum.is_empty() { "journal" } else { "zookeeper" };
    match conf.get_or("hathi.ha.elector", by_quorum).as_str() {
        elector @ ("journal" | "zookeeper") if elector != by_quorum => {
            bail!("hathi.ha.elector = {elector} and {QUORUM} = '{quorum}' contradict each other: remove one of them")
        }
        "journal" => return Ok(Election::Journal),
        "zookeeper" => {}
        other => bail!("hathi.ha.elector = '{other}': must be journal or zookeeper"),
    }
    if conf.get_bool("dfs.ha.zkfc.client.ssl.enabled", false) {
        bail!("dfs.ha.zkfc.client.ssl.enabled = true: connections to ZooKeeper are not encrypted; remove the key");
    }
    refuse_jaas(environment)?;
    let acls = indirect(conf, "ha.zookeeper.acl", "world:anyone:rwcda")?;
    let auths = indirect(conf, "ha.zookeeper.auth", "")?;
    Ok(Election::ZooKeeper(ZooKeeperConfig {
        quorum: connect_string(quorum).map_err(|why| anyhow!("{QUORUM} = '{quorum}': {why}"))?,
        session_timeout: duration(conf, "ha.zookeeper.session-timeout.ms", 10_000)?,
        retries: retries(conf, "ha.failover-controller.active-standby-elector.zk.op.retries", 3)?,
        znode: format!("{}/{nameservice}", parent(conf)?),
        acls: parse_acls(&acls).map_err(|error| anyhow!("ha.zookeeper.acl: {error}"))?,
        auths: parse_auths(&auths).map_err(|error| anyhow!("ha.zookeeper.auth: {error}"))?,
    }))
}

/// A value, or the content of the file if the value is `@FILE` (`ZKUtil.resolveConfIndirection`).
fn indirect(conf: &Configuration, key: &str, default: &str) -> Result<String> {
    let value = conf.get_or(key, default);
    match value.strip_prefix('@') {
        Some(path) => {
            let path = path.trim();
            let text = std::fs::read_to_string(path).with_context(|| format!("{key}: {path}"))?;
            Ok(text.trim().to_owned())
        }
        None => Ok(value),
    }
}

/// The parent of the nameservice's znode, without a `/` at its end. Empty for the root.
fn parent(conf: &Configuration) -> Result<String> {
    let parent = conf.get_or(PARENT, "/hadoop-ha");
    let path = parent.strip_suffix('/').unwrap_or(&parent);
    let is_root = path.is_empty() && !parent.is_empty();
    if is_root || is_path(path) {
        return Ok(path.to_owned());
    }
    Err(anyhow!("{PARENT} = '{parent}': must be a path such as /hadoop-ha"))
}

/// Whether a path has at least one name, and none of its names is empty.
fn is_path(path: &str) -> bool {
    let names = path.strip_prefix('/');
    let allowed = |name: &str| !name.is_empty() && name != "." && name != "..";
    names.is_some_and(|names| names.split('/').all(allowed))
}

/// Normalizes `HOST[:PORT],...[/CHROOT]` as ZooKeeper's client reads it (`ConnectStringParser`), without empty parts.
fn connect_string(quorum: &str) -> Result<String, String> {
    let (hosts, chroot) = quorum.split_at(quorum.find('/').unwrap_or(quorum.len()));
    let is_list = chroot.contains(',');
    if is_list || !(chroot.is_empty() || chroot == "/" || is_path(chroot)) {
        return Err(format!(
            "'{chroot}' must be one path, which stands behind the last server"
        ));
    }
    let servers: Vec<&str> = hosts
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
        .collect();
    for server in &servers {
        check_server(server)?;
    }
    match servers.is_empty() {
        true => Err("names no server".to_owned()),
        false => Ok(servers.join(",") + chroot.trim_end_matches('/')),
    }
}

fn check_server(server: &str) -> Result<(), String> {
    let (host, port) = split_host_and_port(server);
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_bracketed = server.starts_with('[');
    let ends_well = !is_bracketed || port.is_some() || server.ends_with(']');
    if host.is_empty() || !ends_well || port.is_some_and(|port| !is_port(port)) {
        return Err(format!("'{server}' must be HOST or HOST:PORT"));
    }
    // Without brackets it is not known where the port begins.
    if host.contains([' ', '[', ']']) || (host.contains(':') && !is_bracketed) {
        return Err(format!(
            "'{server}': an address of IPv6 stands in brackets, as in [::1]:2181"
        ));
    }
    Ok(())
}

/// Refuses a login configuration in the JVM options: a JVM's ZooKeeper client would then authenticate by SASL.
fn refuse_jaas(environment: &Variables<'_>) -> Result<()> {
    for name in JVM_OPTIONS {
        let options = environment(name).unwrap_or_default();
        let asks = options.contains("-Djava.security.auth.login.config");
        if asks && !options.contains("-Dzookeeper.sasl.client=false") {
            bail!(
                "{name} asks for SASL by java.security.auth.login.config: connections to ZooKeeper are not made by SASL. Use \
                 ha.zookeeper.auth, and remove the option, or add -Dzookeeper.sasl.client=false if it is for something else"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::zkfc::tests::configured;
    use std::time::Duration;

    const SERVERS: (&str, &str) = ("ha.zookeeper.quorum", "zk1:2181,zk2");

    fn of(settings: &[(&str, &str)]) -> Result<Election> {
        election(&configured(settings), "ns", &|_| None)
    }

    /// The ZooKeeper settings that follow from these keys and a quorum.
    fn asked(settings: &[(&str, &str)]) -> ZooKeeperConfig {
        match of(&[&[SERVERS], settings].concat()) {
            Ok(Election::ZooKeeper(zookeeper)) => zookeeper,
            other => panic!("ZooKeeper does not elect: {other:?}"),
        }
    }

    #[test]
    fn a_quorum_of_zookeeper_elects_and_nothing_may_contradict_it() {
        assert!(matches!(of(&[]), Ok(Election::Journal)));
        let zookeeper = asked(&[]);
        assert_eq!(zookeeper.znode, "/hadoop-ha/ns");
        assert_eq!(zookeeper.session_timeout, Duration::from_secs(10));
        assert_eq!(zookeeper.retries, 3);
        for (wrong, named) in [
            (vec![SERVERS, ("hathi.ha.elector", "journal")], QUORUM),
            (vec![("hathi.ha.elector", "zookeeper")], "hathi.ha.elector"),
            (vec![("hathi.ha.elector", "etcd")], "hathi.ha.elector"),
        ] {
            let error = of(&wrong).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn absurd_values_of_zookeepers_keys_are_refused_by_name() {
        let retries = "ha.failover-controller.active-standby-elector.zk.op.retries";
        let times = ["0", "-1", "86400001", "99999999999999999999", "0x", "1.5", "soon"];
        for (key, absurd) in [
            ("ha.zookeeper.session-timeout.ms", &times[..]),
            (retries, &["-1", "1001", "99999999999999999999", "often"][..]),
            (PARENT, &["hadoop", "/a//b", "//", "/a/../b"][..]),
            ("ha.zookeeper.acl", &["anyone", "world:anyone:x", "@/nowhere/acl"][..]),
            ("ha.zookeeper.auth", &["secret", "@/nowhere/auth"][..]),
        ] {
            for value in absurd.iter().copied() {
                let error = format!("{:#}", of(&[SERVERS, (key, value)]).unwrap_err());
                assert!(error.contains(key), "{key} = {value}: {error}");
            }
        }
    }

    #[test]
    fn servers_stand_at_any_address_and_may_have_a_path_of_their_own() {
        for (quorum, taken) in [
            ("zk1", "zk1"),
            (" zk1:2181 , zk2:2182, ", "zk1:2181,zk2:2182"),
            ("[::1]:2181,[fe80::1]", "[::1]:2181,[fe80::1]"),
            ("zk1:2181,zk2:2181/hadoop/one", "zk1:2181,zk2:2181/hadoop/one"),
            ("[::1]:2181/", "[::1]:2181"),
        ] {
            assert_eq!(connect_string(quorum).as_deref(), Ok(taken), "{quorum}");
        }
        for wrong in [
            ",",
            "/path",
            "zk1:",
            "zk1:0",
            "zk1:65536",
            "zk1:port",
            ":2181",
            "::1:2181",
            "[::1",
            "[::1]2181",
            "zk 1:2181",
            "tcp+tls://zk1:2181",
            "zk1:2181/a,zk2:2181",
            "zk1:2181/a/",
            "zk1:2181/a//b",
        ] {
            let error = of(&[(QUORUM, wrong)]).unwrap_err().to_string();
            assert!(error.contains(&format!("{QUORUM} = '{wrong}'")), "{error}");
        }
        for (parent, znode) in [("/hadoop-ha/", "/hadoop-ha/ns"), ("/", "/ns"), ("/a/b", "/a/b/ns")] {
            assert_eq!(asked(&[(PARENT, parent)]).znode, znode);
        }
    }

    #[test]
    fn credentials_and_rights_may_stand_in_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            format!("@ {}", path.display())
        };
        let (acl, auth) = (
            file("acl", "digest:hdfs:vlUvLnd8MlacsE80rDuu6ONESbM=:rwcda\n"),
            file("auth", "digest:hdfs:secret\n"),
        );
        let zookeeper = asked(&[("ha.zookeeper.acl", &acl), ("ha.zookeeper.auth", &auth)]);
        assert_eq!(
            zookeeper.acls,
            parse_acls("digest:hdfs:vlUvLnd8MlacsE80rDuu6ONESbM=:rwcda").unwrap()
        );
        assert_eq!(zookeeper.auths, parse_auths("digest:hdfs:secret").unwrap());
    }

    #[test]
    fn sasl_is_refused_by_what_asks_for_it() {
        for (key, value) in [
            ("ha.zookeeper.acl", "sasl:nn:rwcda"),
            ("ha.zookeeper.acl", "sasl:nn:rwcda,world:anyone:r"),
            ("ha.zookeeper.auth", "sasl:nn"),
        ] {
            let error = of(&[SERVERS, (key, value)]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("SASL"), "{error}");
        }
        // Other users may have rights as well.
        asked(&[("ha.zookeeper.acl", "world:anyone:rwcda,sasl:admin:r")]);

        let login = "-Xmx1g -Djava.security.auth.login.config=/etc/jaas.conf";
        for name in JVM_OPTIONS {
            let set_to = |options: String| {
                election(&configured(&[SERVERS]), "ns", &|asked| {
                    (asked == name).then(|| options.clone())
                })
            };
            let error = set_to(login.to_owned()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("SASL"), "{error}");
            assert!(set_to(format!("{login} -Dzookeeper.sasl.client=false")).is_ok());
            assert!(set_to("-Xmx1g".to_owned()).is_ok());
        }
        // Here the JournalNodes elect.
        let nobody = election(&configured(&[]), "ns", &|_| Some(login.to_owned()));
        assert!(matches!(nobody, Ok(Election::Journal)));
    }
}

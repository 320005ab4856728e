//! `hathi zkfc`: the failover controller beside a NameNode.

use anyhow::{Context, Result, bail};
use hathi_formats::conf::keys::Program;
use hathi_formats::conf::{Configuration, HostPort, JournalUri, host_and_port};
use hathi_net::auth::{Administrators, Authorizer, Groups, GroupsOptions};
use hathi_net::ipc::ServerOptions;
use hathi_zkfc::fencing::{self, Target};
use hathi_zkfc::{Election, Formatter, Times, ZkfcConfig, ZooKeeperConfig, parse_acls, parse_auths};
use std::ffi::OsString;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// `DFS_HA_ZKFC_PORT_DEFAULT`
const PORT: u16 = 8019;
/// The longest of the times that are configured here: a day.
const LONGEST_MS: u64 = 86_400_000;

/// Most tries that are configured here: who tries for longer does not see what is wrong.
const RETRIES_MAX: u32 = 1000;

/// Hadoop's exit codes (`ZKFailoverController.ERR_CODE_*`).
const FORMAT_DENIED: u8 = 2;
const NO_PARENT_ZNODE: u8 = 3;
const NO_FENCER: u8 = 4;
const NOT_AUTOMATIC: u8 = 5;
const NO_ZOOKEEPER: u8 = 6;

/// `-formatZK [-force] [-nonInteractive]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format {
    force: bool,
    interactive: bool,
}

/// The end of this process: its code, and what an operator has to know.
struct End(u8, String);

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    super::without_huge_pages();
    let (conf, rest) = super::conf_argument(args)?;
    let format = format_option(&rest)?;
    super::log_to_stderr();
    super::obey(&conf, Program::Zkfc)?;
    let config = match config(&conf)? {
        Ok(config) => config,
        Err(end) => return Ok(end.exit()),
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate())?;
            let stop = async move {
                terminate.recv().await;
            };
            format_or_serve(config, format, stop).await
        })
}

impl End {
    fn exit(self) -> ExitCode {
        tracing::error!("{}", self.1);
        ExitCode::from(self.0)
    }
}

fn format_option(rest: &[OsString]) -> Result<Option<Format>> {
    let mut words = rest.iter();
    match words.next() {
        None => return Ok(None),
        Some(word) if word == "-formatZK" => {}
        Some(word) => bail!("unknown argument {}", word.display()),
    }
    let mut format = Format {
        force: false,
        interactive: true,
    };
    for word in words {
        match word.to_str() {
            Some("-force") => format.force = true,
            Some("-nonInteractive") => format.interactive = false,
            _ => bail!("-formatZK {}: takes -force and -nonInteractive", word.display()),
        }
    }
    Ok(Some(format))
}

async fn format_or_serve(
    config: ZkfcConfig,
    format: Option<Format>,
    stop: impl Future<Output = ()>,
) -> Result<ExitCode> {
    tokio::pin!(stop);
    tokio::select! {
        end = format_or_check(&config, format) => if let Some(code) = end? {
            return Ok(code);
        },
        () = &mut stop => return Ok(ExitCode::SUCCESS),
    }
    hathi_zkfc::run(config, stop).await.map(|()| ExitCode::SUCCESS)
}

/// What ends the process before it serves.
async fn format_or_check(config: &ZkfcConfig, format: Option<Format>) -> Result<Option<ExitCode>> {
    let end = match (&config.election, format) {
        // A script that takes success for a parent znode would go on to start controllers of ZooKeeper.
        (Election::Journal, Some(_)) => bail!(
            "-formatZK: the JournalNodes elect (ha.zookeeper.quorum is not set), so nothing in ZooKeeper is used; leave this step out"
        ),
        (Election::Journal, None) => None,
        (Election::ZooKeeper(zookeeper), Some(format)) => {
            return format_zookeeper(zookeeper, format).await.map(Some);
        }
        (Election::ZooKeeper(zookeeper), None) => missing(config, zookeeper).await?,
    };
    Ok(end.map(End::exit))
}

/// What is needed before ZooKeeper can elect (`ZKFailoverController.doRun`).
async fn missing(config: &ZkfcConfig, zookeeper: &ZooKeeperConfig) -> Result<Option<End>> {
    let znode = &zookeeper.znode;
    let formatter = match Formatter::connect(zookeeper.clone()).await {
        Ok(formatter) => formatter,
        Err(error) => return Ok(Some(unreachable(zookeeper, &error.to_string()))),
    };
    if !formatter.exists().await.with_context(|| znode.clone())? {
        let text = format!(
            "Unable to start failover controller. Parent znode does not exist.\n\
             Run with -formatZK flag to initialize ZooKeeper. ({znode})"
        );
        return Ok(Some(End(NO_PARENT_ZNODE, text)));
    }
    let target = Target {
        address: &config.namenode_address,
        nameservice: &config.nameservice,
        namenode_id: &config.namenode_id,
    };
    let why = match fencing::count(&config.conf, &target) {
        Ok(0) => "dfs.ha.fencing.methods is not set; shell(/bin/true) is enough beside JournalNodes".to_owned(),
        Ok(_) => return Ok(None),
        Err(why) => why,
    };
    let text = format!(
        "Fencing is not configured for NameNode at {}.\n\
         You must configure a fencing method before using automatic failover.\n{why}",
        config.namenode_address
    );
    Ok(Some(End(NO_FENCER, text)))
}

fn unreachable(zookeeper: &ZooKeeperConfig, error: &str) -> End {
    End(
        NO_ZOOKEEPER,
        format!(
            "Unable to start failover controller. Unable to connect to ZooKeeper quorum at {}. Please check the configured \
             value for ha.zookeeper.quorum and ensure that ZooKeeper is running. ({error})",
            zookeeper.quorum
        ),
    )
}

async fn format_zookeeper(zookeeper: &ZooKeeperConfig, format: Format) -> Result<ExitCode> {
    let znode = &zookeeper.znode;
    let formatter = match Formatter::connect(zookeeper.clone()).await {
        Ok(formatter) => formatter,
        Err(error) => return Ok(unreachable(zookeeper, &error.to_string()).exit()),
    };
    if formatter.exists().await.with_context(|| znode.clone())? {
        let allowed = format.force || (format.interactive && confirmed(znode)?);
        if !allowed {
            return Ok(End(
                FORMAT_DENIED,
                format!("{znode} exists already; -force deletes it first"),
            )
            .exit());
        }
        formatter
            .clear()
            .await
            .with_context(|| format!("can't delete {znode}"))?;
    }
    formatter
        .create()
        .await
        .with_context(|| format!("can't create {znode}"))?;
    println!("Successfully created {znode} in ZK.");
    Ok(ExitCode::SUCCESS)
}

fn confirmed(znode: &str) -> Result<bool> {
    eprint!(
        "{znode} exists already. Formatting forgets which NameNode is active: stop all NameNodes and failover controllers first.\n\
         Proceed formatting {znode}? (Y or N) "
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "YES" | "Yes"))
}

/// A number of milliseconds that is more than none and less than a day.
fn duration(conf: &Configuration, key: &str, default_ms: u64) -> Result<Duration> {
    let millis = conf.get_u64(key, default_ms)?;
    if millis == 0 || millis > LONGEST_MS {
        bail!("{key} = {millis}: must be from 1 to {LONGEST_MS}");
    }
    Ok(Duration::from_millis(millis))
}

/// A number of tries.
fn retries(conf: &Configuration, key: &str, default: u32) -> Result<u32> {
    let retries = conf.get_u32(key, default)?;
    if retries > RETRIES_MAX {
        bail!("{key} = {retries}: must be from 0 to {RETRIES_MAX}");
    }
    Ok(retries)
}

/// A value, or the content of the file that `@FILE` names (`ZKUtil.resolveConfIndirection`).
fn indirect(conf: &Configuration, key: &str, default: &str) -> Result<String> {
    let value = conf.get_or(key, default);
    match value.strip_prefix('@') {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("{key}: {path}"))?;
            Ok(text.trim().to_owned())
        }
        None => Ok(value),
    }
}

/// `ha.zookeeper.quorum` makes ZooKeeper elect, and `hathi.ha.elector` must not say otherwise.
fn election(conf: &Configuration, nameservice: &str) -> Result<Election> {
    let quorum = conf.get_or("ha.zookeeper.quorum", "");
    let quorum = quorum.trim();
    let by_quorum = if quorum.is_empty() { "journal" } else { "zookeeper" };
    match conf.get_or("hathi.ha.elector", by_quorum).as_str() {
        elector @ ("journal" | "zookeeper") if elector != by_quorum => bail!(
            "hathi.ha.elector = {elector} and ha.zookeeper.quorum = '{quorum}' contradict each other: remove one of them"
        ),
        "journal" => return Ok(Election::Journal),
        "zookeeper" => {}
        other => bail!("hathi.ha.elector = '{other}': must be journal or zookeeper"),
    }
    if conf.get_bool("dfs.ha.zkfc.client.ssl.enabled", false) {
        bail!("dfs.ha.zkfc.client.ssl.enabled = true: connections to ZooKeeper are not encrypted; remove the key");
    }
    let parent = conf.get_or("ha.zookeeper.parent-znode", "/hadoop-ha");
    let below = parent.strip_prefix('/').unwrap_or("/");
    if below.split('/').any(str::is_empty) {
        bail!("ha.zookeeper.parent-znode = '{parent}': must be a path such as /hadoop-ha");
    }
    let acls = indirect(conf, "ha.zookeeper.acl", "world:anyone:rwcda")?;
    let auths = indirect(conf, "ha.zookeeper.auth", "")?;
    Ok(Election::ZooKeeper(ZooKeeperConfig {
        quorum: quorum.to_owned(),
        session_timeout: duration(conf, "ha.zookeeper.session-timeout.ms", 10_000)?,
        retries: retries(conf, "ha.failover-controller.active-standby-elector.zk.op.retries", 3)?,
        znode: format!("{parent}/{nameservice}"),
        acls: parse_acls(&acls).map_err(|error| anyhow::anyhow!("ha.zookeeper.acl: {error}"))?,
        auths: parse_auths(&auths).map_err(|error| anyhow::anyhow!("ha.zookeeper.auth: {error}"))?,
    }))
}

fn times(conf: &Configuration) -> Result<Times> {
    Ok(Times {
        new_active: duration(conf, "ha.failover-controller.new-active.rpc-timeout.ms", 60_000)?,
        graceful_fence: duration(conf, "ha.failover-controller.graceful-fence.rpc-timeout.ms", 5000)?,
        graceful_fence_retries: retries(conf, "ha.failover-controller.graceful-fence.connection.retries", 1)?,
        health_check: duration(conf, "ha.health-monitor.check-interval.ms", 1000)?,
        connect_retry: duration(conf, "ha.health-monitor.connect-retry-interval.ms", 1000)?,
        after_disconnect: duration(conf, "ha.health-monitor.sleep-after-disconnect.ms", 1000)?,
        connect_retries: retries(conf, "ha.health-monitor.rpc.connect.max.retries", 1)?,
        silence: duration(conf, "ha.health-monitor.rpc-timeout.ms", 45_000)?,
    })
}

fn config(conf: &Configuration) -> Result<Result<ZkfcConfig, End>> {
    let identity = conf.who_am_i(|address| TcpListener::bind((address.host.as_str(), 0)).is_ok())?;
    let (Some(nameservice), Some(namenode_id)) = (&identity.nameservice, &identity.namenode) else {
        bail!("dfs.nameservices, dfs.ha.namenodes.*: high availability is not configured");
    };
    let own = conf.for_namenode(&identity);
    if !own.get_bool("dfs.ha.automatic-failover.enabled", false) {
        let address = conf.service_or_rpc_address(Some(nameservice), Some(namenode_id))?;
        let text = format!(
            "Automatic failover is not enabled for NameNode at {address}. Please ensure that automatic failover is enabled \
             in the configuration before running the ZK failover controller. (dfs.ha.automatic-failover.enabled of {nameservice})"
        );
        return Ok(Err(End(NOT_AUTOMATIC, text)));
    }
    let election = election(&own, nameservice)?;
    let shared = own.shared_edits(Some(nameservice), Some(namenode_id))?;
    let (journal_nodes, journal_id) = match (shared, &election) {
        (
            Some(JournalUri::Quorum {
                journal_nodes,
                journal_id,
            }),
            _,
        ) => (journal_nodes, journal_id),
        (Some(_), Election::ZooKeeper(_)) => (Vec::new(), String::new()),
        _ => bail!(
            "dfs.namenode.shared.edits.dir: without ha.zookeeper.quorum the JournalNodes elect, which needs qjournal://"
        ),
    };
    let address = |id: &str| conf.service_or_rpc_address(Some(nameservice), Some(id));
    let port = |id: &str| -> Result<u16> {
        let key = conf.scoped_key("dfs.ha.zkfc.port", Some(nameservice), Some(id));
        let port = conf.get_u32(&key, u32::from(PORT))?;
        u16::try_from(port).with_context(|| format!("{key} = {port}"))
    };
    let ids = conf.namenode_ids(nameservice);
    let rank = ids.iter().position(|id| id == namenode_id).unwrap_or(0);
    let mut peers = Vec::new();
    let mut namenodes = Vec::new();
    for id in &ids {
        let of_namenode: HostPort = address(id)?;
        if id != namenode_id {
            peers.push((id.clone(), host_and_port(&of_namenode.host, port(id)?)));
        }
        namenodes.push((id.clone(), of_namenode.to_string()));
    }
    let own_address = address(namenode_id)?;
    let listen: SocketAddr = (own_address.host.as_str(), port(namenode_id)?)
        .to_socket_addrs()
        .with_context(|| format!("can't resolve {}", own_address.host))?
        .next()
        .with_context(|| format!("no address of {}", own_address.host))?;
    let user = super::user_name();
    let groups = Groups::start(GroupsOptions::of(&own, &user)?);
    Ok(Ok(ZkfcConfig {
        administrators: Administrators::of(&own, &user, groups.clone()),
        server: ServerOptions {
            authorizer: Some(Arc::new(Authorizer::of(&own, groups)?)),
            ..ServerOptions::of(&own)?
        },
        user,
        nameservice: nameservice.clone(),
        namenode_id: namenode_id.clone(),
        namenode_address: own_address.to_string(),
        namenode_host_and_port: (own_address.host.clone(), own_address.port),
        rank: u32::try_from(rank)?,
        namenodes,
        listen,
        peers,
        election,
        times: times(&own)?,
        journalnodes: journal_nodes.iter().map(ToString::to_string).collect(),
        journal_id,
        conf: Arc::new(own),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_formats::conf::Environment;

    fn configured(settings: &[(&str, &str)]) -> Configuration {
        let mut conf = Configuration::new(Environment::default());
        for (key, value) in settings {
            conf.set(key, *value);
        }
        conf
    }

    #[test]
    fn a_quorum_of_zookeeper_elects_and_nothing_may_contradict_it() {
        let of = |settings: &[(&str, &str)]| election(&configured(settings), "ns");
        assert!(matches!(of(&[]), Ok(Election::Journal)));
        let quorum = ("ha.zookeeper.quorum", "zk1:2181,zk2");
        let Ok(Election::ZooKeeper(zookeeper)) = of(&[quorum]) else {
            panic!("ZooKeeper does not elect");
        };
        assert_eq!(zookeeper.znode, "/hadoop-ha/ns");
        assert_eq!(zookeeper.session_timeout, Duration::from_secs(10));
        for (wrong, named) in [
            (vec![quorum, ("hathi.ha.elector", "journal")], "ha.zookeeper.quorum"),
            (vec![("hathi.ha.elector", "zookeeper")], "hathi.ha.elector"),
            (vec![("hathi.ha.elector", "etcd")], "hathi.ha.elector"),
            (
                vec![quorum, ("ha.zookeeper.session-timeout.ms", "0")],
                "session-timeout",
            ),
            (vec![quorum, ("ha.zookeeper.parent-znode", "hadoop")], "parent-znode"),
            (
                vec![
                    quorum,
                    ("ha.failover-controller.active-standby-elector.zk.op.retries", "9999"),
                ],
                "zk.op.retries",
            ),
            (vec![quorum, ("ha.zookeeper.parent-znode", "/a//b")], "parent-znode"),
            (vec![quorum, ("ha.zookeeper.acl", "anyone")], "ha.zookeeper.acl"),
            (
                vec![quorum, ("ha.zookeeper.auth", "@/nowhere/auth")],
                "ha.zookeeper.auth",
            ),
        ] {
            let error = of(&wrong).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn times_and_tries_are_hadoops_and_absurd_ones_are_refused_by_name() {
        let usual = times(&configured(&[])).unwrap();
        let millis = |millis| Duration::from_millis(millis);
        assert_eq!(usual.new_active, millis(60_000));
        assert_eq!(usual.graceful_fence, millis(5000));
        assert_eq!(usual.silence, millis(45_000));
        let health = (usual.health_check, usual.connect_retry, usual.after_disconnect);
        assert_eq!(health, (millis(1000), millis(1000), millis(1000)));
        assert_eq!((usual.graceful_fence_retries, usual.connect_retries), (1, 1));
        for key in [
            "ha.failover-controller.new-active.rpc-timeout.ms",
            "ha.failover-controller.graceful-fence.rpc-timeout.ms",
            "ha.health-monitor.check-interval.ms",
            "ha.health-monitor.connect-retry-interval.ms",
            "ha.health-monitor.sleep-after-disconnect.ms",
            "ha.health-monitor.rpc-timeout.ms",
        ] {
            for absurd in ["0", "-1", "86400001", "soon"] {
                let error = format!("{:#}", times(&configured(&[(key, absurd)])).unwrap_err());
                assert!(error.contains(key), "{error}");
            }
        }
        for key in [
            "ha.failover-controller.graceful-fence.connection.retries",
            "ha.health-monitor.rpc.connect.max.retries",
        ] {
            for absurd in ["-1", "1001", "often"] {
                let error = format!("{:#}", times(&configured(&[(key, absurd)])).unwrap_err());
                assert!(error.contains(key), "{error}");
            }
        }
    }

    #[test]
    fn the_options_of_a_format_are_hadoops() {
        let of = |words: &[&str]| format_option(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of(&[]).unwrap(), None);
        let format = of(&["-formatZK", "-force", "-nonInteractive"]).unwrap().unwrap();
        assert!(format.force && !format.interactive);
        assert!(of(&["-formatZK", "-hard"]).is_err());
        assert!(of(&["-start"]).is_err());
    }
}

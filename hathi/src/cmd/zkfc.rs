//! `hathi zkfc`: the failover controller beside a NameNode.

mod election;

use super::times::{duration, retries};
use anyhow::{Context, Result, bail};
use election::election;
use hathi_conf::keys::Program;
use hathi_conf::{Configuration, HostPort, JournalUri, NameNodeIdentity, host_and_port};
use hathi_net::auth::{Administrators, Authorizer, Groups, GroupsOptions};
use hathi_net::ipc::ServerOptions;
use hathi_zkfc::fencing::{self, FencingTarget};
use hathi_zkfc::{Election, Formatter, Times, ZkfcConfig, ZooKeeperConfig};
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;

/// Default port of a controller (`DFS_HA_ZKFC_PORT_DEFAULT`).
const PORT: u16 = 8019;
/// Hadoop's exit codes (`ZKFailoverController.ERR_CODE_*`).
const FORMAT_DENIED: u8 = 2;
const NO_PARENT_ZNODE: u8 = 3;
const NO_FENCER: u8 = 4;
const NOT_AUTOMATIC: u8 = 5;
const NO_ZOOKEEPER: u8 = 6;

/// In Hadoop's words (`ZKFailoverController.USAGE`).
const USAGE: &str = "Usage: hdfs zkfc [ -formatZK [-force] [-nonInteractive] ]\n\
    \t-force: formats the znode if the znode exists.\n\
    \t-nonInteractive: formats the znode aborts if the znode exists,\n\
    \tunless -force option is specified.";

/// How the command is used.
pub fn usage() -> String {
    format!("{USAGE}\n")
}

/// `-formatZK [-force] [-nonInteractive]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format {
    force: bool,
    interactive: bool,
}

/// The end of this process: exit code, and message for the operator.
struct End(u8, String);

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    super::without_huge_pages();
    let (conf, rest) = super::conf_argument(args)?;
    if let [word] = rest.as_slice()
        && ["-h", "-help", "--help"].iter().any(|help| word == help)
    {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let format = match format_option(&rest) {
        Ok(format) => format,
        Err(word) => {
            eprintln!("{USAGE}\n");
            bail!("Bad argument: {word}");
        }
    };
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
        let mut lines = self.1.lines();
        tracing::error!("{}", lines.next().unwrap_or_default());
        // A line of the log is one line. What the operator should do stands below it.
        crate::log::flush();
        for line in lines {
            eprintln!("{line}");
        }
        ExitCode::from(self.0)
    }
}

/// Parses the options of a format. The first unknown word is an error.
fn format_option(rest: &[OsString]) -> Result<Option<Format>, String> {
    let mut words = rest.iter();
    match words.next() {
        None => return Ok(None),
        Some(word) if word == "-formatZK" => {}
        Some(word) => return Err(word.display().to_string()),
    }
    let mut format = Format {
        force: false,
        interactive: true,
    };
    for word in words {
        match word.to_str() {
            Some("-force") => format.force = true,
            Some("-nonInteractive") => format.interactive = false,
            _ => return Err(word.display().to_string()),
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

/// Formats, or checks that everything is there. Returns an exit code when the process should end before it serves.
async fn format_or_check(config: &ZkfcConfig, format: Option<Format>) -> Result<Option<ExitCode>> {
    let end = match (&config.election, format) {
        // A script that sees success would take the parent znode for created, and go on to start controllers that use
        // ZooKeeper.
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

/// The first thing that ZooKeeper needs for an election and does not have (`ZKFailoverController.doRun`).
async fn missing(config: &ZkfcConfig, zookeeper: &ZooKeeperConfig) -> Result<Option<End>> {
    let znode = &zookeeper.znode;
    let formatter = match Formatter::connect(zookeeper.clone()).await {
        Ok(formatter) => formatter,
        Err(error) => return Ok(Some(unreachable(zookeeper, &error.to_string()))),
    };
    if !formatter.exists().await.with_context(|| znode.clone())? {
        let text = "Unable to start failover controller. Parent znode does not exist.\n\
                    Run with -formatZK flag to initialize ZooKeeper.";
        return Ok(Some(End(NO_PARENT_ZNODE, text.to_owned())));
    }
    let target = FencingTarget {
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
        let allowed = format.force || (format.interactive && confirmed(znode));
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

/// Asks for confirmation in Hadoop's words (`ZKFailoverController.confirmFormat`).
fn confirmed(znode: &str) -> bool {
    const LINE: &str = "===============================================";
    eprintln!(
        "{LINE}\nThe configured parent znode {znode} already exists.\n\
         Are you sure you want to clear all failover information from\nZooKeeper?\n\
         WARNING: Before proceeding, ensure that all HDFS services and\nfailover controllers are stopped!\n{LINE}"
    );
    super::confirmed(&format!("Proceed formatting {znode}?"))
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

/// Port of the controller of a NameNode.
fn controller_port(conf: &Configuration, nameservice: &str, namenode_id: &str) -> Result<u16> {
    let key = conf.scoped_key("dfs.ha.zkfc.port", Some(nameservice), Some(namenode_id));
    let port = conf.get_u32(&key, u32::from(PORT))?;
    match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(port),
        _ => bail!("{key} = {port}: must be from 1 to 65535"),
    }
}

/// Reads the settings of the controller of a NameNode, as it does at its start.
///
/// # Errors
/// For a value that makes no sense, with its key.
pub(super) fn check(conf: &Configuration, nameservice: &str, namenode_id: &str) -> Result<()> {
    let own = conf.for_namenode(&NameNodeIdentity {
        nameservice: Some(nameservice.to_owned()),
        namenode: Some(namenode_id.to_owned()),
    });
    election(&own, nameservice, &|_| None)?;
    controller_port(conf, nameservice, namenode_id)?;
    times(&own).map(drop)
}

/// Address to listen on: the bind host of the controller's NameNode, else the NameNode's own host
/// (`DFSZKFailoverController.getRpcAddressToBindTo`).
fn listen_address(own: &Configuration, namenode_host: &str, port: u16) -> Result<SocketAddr> {
    let bind_host = |key| own.get(key).map(|host| (key, host));
    let (from, host) = bind_host("dfs.namenode.servicerpc-bind-host")
        .or_else(|| bind_host("dfs.namenode.rpc-bind-host"))
        .unwrap_or(("the NameNode's address", namenode_host.to_owned()));
    (host.as_str(), port)
        .to_socket_addrs()
        .with_context(|| format!("{from}: can't resolve {host}"))?
        .next()
        .with_context(|| format!("{from}: no address of {host}"))
}

/// Address of the web server, as it is configured for this NameNode. `None`: there is none.
fn http_address(conf: &Configuration, nameservice: &str, namenode_id: &str) -> Result<Option<SocketAddr>> {
    const KEY: &str = "hathi.zkfc.http-address";
    let Some(address) = conf.scoped_address(KEY, Some(nameservice), Some(namenode_id), None)? else {
        return Ok(None);
    };
    let resolved = (address.host.as_str(), address.port)
        .to_socket_addrs()
        .with_context(|| format!("{KEY}: can't resolve {}", address.host))?
        .next();
    Ok(Some(
        resolved.with_context(|| format!("{KEY}: no address of {}", address.host))?,
    ))
}

fn config(conf: &Configuration) -> Result<Result<ZkfcConfig, End>> {
    let identity = conf.who_am_i(|address| TcpListener::bind((address.host.as_str(), 0)).is_ok())?;
    let (Some(nameservice), Some(namenode_id)) = (&identity.nameservice, &identity.namenode) else {
        bail!("dfs.nameservices, dfs.ha.namenodes.*: high availability is not configured");
    };
    let own = conf.for_namenode(&identity);
    // The setting of the nameservice, as its NameNodes read it.
    let automatic = conf.scoped_key("dfs.ha.automatic-failover.enabled", Some(nameservice), None);
    if !conf.get_flag(&automatic, false)? {
        let address = conf.service_or_rpc_address(Some(nameservice), Some(namenode_id))?;
        let text = format!(
            "Automatic failover is not enabled for NameNode at {address}. Please ensure that automatic failover is enabled \
             in the configuration before running the ZK failover controller. (dfs.ha.automatic-failover.enabled of {nameservice})"
        );
        return Ok(Err(End(NOT_AUTOMATIC, text)));
    }
    let election = election(&own, nameservice, &|name| std::env::var(name).ok())?;
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
    let port = |id: &str| controller_port(conf, nameservice, id);
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
    let listen = listen_address(&own, &own_address.host, port(namenode_id)?)?;
    let http = http_address(conf, nameservice, namenode_id)?;
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
        http,
        peers,
        election,
        times: times(&own)?,
        journalnodes: journal_nodes,
        journal_id,
        conf: Arc::new(own),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_conf::Environment;
    use std::time::Duration;

    pub(super) fn configured(settings: &[(&str, &str)]) -> Configuration {
        let mut conf = Configuration::new(Environment::default());
        for (key, value) in settings {
            conf.set(key, *value);
        }
        conf
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
            for absurd in ["0", "-1", "86400001", "99999999999999999999", "0x", "1.5", "soon"] {
                let error = format!("{:#}", times(&configured(&[(key, absurd)])).unwrap_err());
                assert!(error.contains(key), "{error}");
            }
        }
        for key in [
            "ha.failover-controller.graceful-fence.connection.retries",
            "ha.health-monitor.rpc.connect.max.retries",
        ] {
            for absurd in ["-1", "1001", "99999999999999999999", "often"] {
                let error = format!("{:#}", times(&configured(&[(key, absurd)])).unwrap_err());
                assert!(error.contains(key), "{error}");
            }
        }
        let port = |settings: &[(&str, &str)]| controller_port(&configured(settings), "ns", "nn1");
        assert_eq!(port(&[]).unwrap(), 8019);
        assert_eq!(port(&[("dfs.ha.zkfc.port.ns.nn1", "8020")]).unwrap(), 8020);
        for absurd in ["0", "-1", "65536", "99999999999999999999", "here"] {
            let error = format!("{:#}", port(&[("dfs.ha.zkfc.port", absurd)]).unwrap_err());
            assert!(error.contains("dfs.ha.zkfc.port"), "{error}");
        }
    }

    #[test]
    fn it_listens_where_its_namenode_is_told_to() {
        let of = |settings: &[(&str, &str)]| {
            let listen = listen_address(&configured(settings), "127.0.0.2", 8019);
            listen.map(|address| address.to_string())
        };
        let (service, rpc) = ("dfs.namenode.servicerpc-bind-host", "dfs.namenode.rpc-bind-host");
        assert_eq!(of(&[]).unwrap(), "127.0.0.2:8019");
        assert_eq!(of(&[(rpc, "0.0.0.0")]).unwrap(), "0.0.0.0:8019");
        assert_eq!(
            of(&[(service, "127.0.0.3"), (rpc, "0.0.0.0")]).unwrap(),
            "127.0.0.3:8019"
        );
        assert_eq!(of(&[(service, " "), (rpc, "::")]).unwrap(), "[::]:8019");
        let error = format!("{:#}", of(&[(rpc, "nowhere.invalid")]).unwrap_err());
        assert!(error.contains(rpc) && error.contains("nowhere.invalid"), "{error}");
    }

    #[test]
    fn the_options_of_a_format_are_hadoops() {
        let of = |words: &[&str]| format_option(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of(&[]).unwrap(), None);
        let format = of(&["-formatZK", "-force", "-nonInteractive"]).unwrap().unwrap();
        assert!(format.force && !format.interactive);
        assert_eq!(of(&["-formatZK", "-hard"]), Err("-hard".to_owned()));
        assert_eq!(of(&["-start"]), Err("-start".to_owned()));
    }
}

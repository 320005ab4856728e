//! The keys that a DataNode reads, checked once at start.

mod reconstruction;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use hathi_conf::{ConfError, Configuration, HostPort, StorageLocation, TimeUnit};
pub use hathi_formats::ids::SOFTWARE_VERSION;
use hathi_net::auth::{Administrators, Authorizer, Groups, GroupsOptions};
use hathi_net::ipc::ServerOptions;
pub use reconstruction::ReconstructionConf;

use crate::DataNodeError;
use crate::webhdfs::WebHdfsConf;

/// One NameNode to report to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameNodeAddress {
    /// Id in `dfs.ha.namenodes`. Empty without high availability.
    pub id: String,
    /// Address for DataNodes. It is resolved again at each connection.
    pub address: HostPort,
}

/// One nameservice and its NameNodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServiceConf {
    /// The nameservice id. Empty when there is only one NameNode, without a name.
    pub id: String,
    /// Its NameNodes.
    pub namenodes: Vec<NameNodeAddress>,
}

/// The DataNode's configuration.
#[derive(Clone, Debug)]
pub struct DataNodeConf {
    /// All keys, for its web server to show.
    pub configuration: Arc<Configuration>,
    /// `dfs.datanode.data.dir`.
    pub data_dirs: Vec<StorageLocation>,
    /// Permission bits of the data directories (`dfs.datanode.data.dir.perm`).
    pub data_dir_mode: u32,
    /// `dfs.datanode.address`.
    pub xfer_address: SocketAddr,
    /// `dfs.datanode.http.address`.
    pub http_address: SocketAddr,
    /// `dfs.datanode.ipc.address`.
    pub ipc_address: SocketAddr,
    /// `dfs.datanode.hostname`, by default the name of this machine.
    pub host_name: String,
    /// `dfs.datanode.use.datanode.hostname`.
    pub connect_via_hostname: bool,
    /// The NameNodes.
    pub nameservices: Vec<NameServiceConf>,
    /// `dfs.heartbeat.interval`.
    pub heartbeat_interval: Duration,
    /// `dfs.blockreport.intervalMsec`.
    pub report_interval: Duration,
    /// `dfs.blockreport.initialDelay`.
    pub report_initial_delay: Duration,
    /// Blocks above which each storage is reported in a message of its own (`dfs.blockreport.split.threshold`).
    pub report_split_threshold: u64,
    /// `dfs.datanode.max.locked.memory`, bytes: blocks that are kept in memory. 0 for none.
    pub cache_bytes: u64,
    /// `dfs.datanode.fsdatasetcache.max.threads.per.volume`.
    pub cache_threads_per_volume: usize,
    /// `dfs.cachereport.intervalMsec`.
    pub cache_report_interval: Duration,
    /// `dfs.datanode.max.transfer.threads`.
    pub max_transfer_threads: usize,
    /// `dfs.client.socket-timeout`, which DataNodes use too.
    pub socket_timeout: Duration,
    /// `dfs.datanode.socket.write.timeout`.
    pub socket_write_timeout: Duration,
    /// How long an idle data transfer connection is kept (`dfs.datanode.socket.reuse.keepalive`). Zero closes it after
    /// each request.
    pub keepalive: Duration,
    /// How long a writer may take to stop (`dfs.datanode.xceiver.stop.timeout.millis`).
    pub writer_stop_timeout: Duration,
    /// `dfs.datanode.synconclose`.
    pub sync_on_close: bool,
    /// `dfs.datanode.failed.volumes.tolerated`. With -1 one good volume is enough.
    pub failed_volumes_tolerated: i64,
    /// `dfs.datanode.du.reserved`, bytes.
    pub reserved_bytes: u64,
    /// Whether `dfs.datanode.fsdataset.volume.choosing.policy` names the available space policy.
    pub choose_by_space: bool,
    /// `dfs.datanode.available-space-volume-choosing-policy.balanced-space-threshold`, bytes.
    pub balanced_space_threshold: u64,
    /// `dfs.datanode.available-space-volume-choosing-policy.balanced-space-preference-fraction`.
    pub balanced_space_preference: f64,
    /// Assumed length of a new replica, in bytes (`dfs.blocksize`).
    pub block_size: u64,
    /// `dfs.datanode.balance.bandwidthPerSec`, bytes per second.
    pub balance_bandwidth: u64,
    /// `dfs.datanode.balance.max.concurrent.moves`.
    pub balance_moves: usize,
    /// How lost internal blocks of striped files are made anew.
    pub reconstruction: ReconstructionConf,
    /// `ipc.client.connect.timeout`, with an upper limit: a NameNode that restarts must be found soon.
    pub connect_timeout: Duration,
    /// `ipc.client.rpc-timeout.ms`.
    pub call_timeout: Duration,
    /// `ipc.maximum.data.length`, bytes.
    pub max_data_length: usize,
    /// `dfs.data.transfer.max.packet.size`, bytes.
    pub max_packet_bytes: usize,
    /// Start option `-rollback`: undo a rolling upgrade.
    pub rollback: bool,
    /// Least duration of a round of the scanner (`dfs.datanode.scan.period.hours`). Zero switches the scanner off.
    pub scan_period: Duration,
    /// `dfs.block.scanner.volume.bytes.per.second`.
    pub scan_bytes_per_second: u64,
    /// The user that this process runs as, and makes calls as.
    pub superuser: String,
    /// Users that may make administrative calls: the user of this process, and members of
    /// `dfs.permissions.superusergroup`.
    pub administrators: Administrators,
    /// Limits of the RPC server, and the rules for its callers.
    pub rpc_server: ServerOptions,
    /// What WebHDFS needs.
    pub webhdfs: WebHdfsConf,
}

fn resolve(key: &str, address: &HostPort) -> Result<SocketAddr, DataNodeError> {
    (address.host.as_str(), address.port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| DataNodeError::Config(format!("{key}: cannot resolve {address}")))
}

fn listen(conf: &Configuration, key: &str, default: &str) -> Result<SocketAddr, DataNodeError> {
    let address = match conf.address(key, None)? {
        Some(address) => address,
        None => HostPort::parse(default, None).map_err(DataNodeError::Config)?,
    };
    resolve(key, &address)
}

fn nameservices(conf: &Configuration) -> Result<Vec<NameServiceConf>, ConfError> {
    let mut services = Vec::new();
    for id in conf.internal_nameservices() {
        let mut namenodes = Vec::new();
        for namenode in conf.namenode_ids(&id) {
            let address = conf.service_or_rpc_address(Some(&id), Some(&namenode))?;
            namenodes.push(NameNodeAddress { id: namenode, address });
        }
        if namenodes.is_empty() {
            let address = conf.service_or_rpc_address(Some(&id), None)?;
            namenodes.push(NameNodeAddress {
                id: String::new(),
                address,
            });
        }
        services.push(NameServiceConf { id, namenodes });
    }
    if services.is_empty() {
        let address = conf.service_or_rpc_address(None, None)?;
        services.push(NameServiceConf {
            id: String::new(),
            namenodes: vec![NameNodeAddress {
                id: String::new(),
                address,
            }],
        });
    }
    Ok(services)
}

fn own_host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl DataNodeConf {
    /// Reads and checks the keys.
    pub fn from_configuration(conf: &Configuration, superuser: &str) -> Result<DataNodeConf, DataNodeError> {
        let mode = conf.get_or("dfs.datanode.data.dir.perm", "700");
        let data_dirs = conf.data_dirs()?;
        if data_dirs.is_empty() {
            return Err(DataNodeError::Config(
                "dfs.datanode.data.dir names no directory".to_owned(),
            ));
        }
        let millis = TimeUnit::Millis;
        let seconds = TimeUnit::Seconds;
        let groups = Groups::start(GroupsOptions::of(conf, superuser)?);
        let superuser_group = conf.get_or("dfs.permissions.superusergroup", "supergroup");
        let space = "dfs.datanode.available-space-volume-choosing-policy.balanced-space";
        Ok(DataNodeConf {
            configuration: Arc::new(conf.clone()),
            data_dirs,
            data_dir_mode: u32::from_str_radix(&mode, 8)
                .map_err(|_| DataNodeError::Config(format!("dfs.datanode.data.dir.perm: '{mode}' is not octal")))?,
            xfer_address: listen(conf, "dfs.datanode.address", "0.0.0.0:9866")?,
            http_address: listen(conf, "dfs.datanode.http.address", "0.0.0.0:9864")?,
            ipc_address: listen(conf, "dfs.datanode.ipc.address", "0.0.0.0:9867")?,
            host_name: conf.get("dfs.datanode.hostname").unwrap_or_else(own_host_name),
            connect_via_hostname: conf.get_bool("dfs.datanode.use.datanode.hostname", false),
            nameservices: nameservices(conf)?,
            heartbeat_interval: conf.get_duration("dfs.heartbeat.interval", Duration::from_secs(3), seconds)?,
            report_interval: conf.get_duration("dfs.blockreport.intervalMsec", Duration::from_secs(21600), millis)?,
            report_initial_delay: conf.get_duration("dfs.blockreport.initialDelay", Duration::ZERO, seconds)?,
            report_split_threshold: conf.get_u64("dfs.blockreport.split.threshold", 1_000_000)?,
            cache_bytes: conf.get_bytes("dfs.datanode.max.locked.memory", 0)?.max(0) as u64,
            cache_threads_per_volume: conf.get_usize("dfs.datanode.fsdatasetcache.max.threads.per.volume", 4)?,
            cache_report_interval: conf.get_duration(
                "dfs.cachereport.intervalMsec",
                Duration::from_secs(10),
                millis,
            )?,
            max_transfer_threads: conf.get_usize("dfs.datanode.max.transfer.threads", 4096)?,
            socket_timeout: conf.get_duration("dfs.client.socket-timeout", Duration::from_secs(60), millis)?,
            socket_write_timeout: conf.get_duration(
                "dfs.datanode.socket.write.timeout",
                Duration::from_secs(480),
                millis,
            )?,
            keepalive: conf.get_duration("dfs.datanode.socket.reuse.keepalive", Duration::from_secs(4), millis)?,
            writer_stop_timeout: conf.get_duration(
                "dfs.datanode.xceiver.stop.timeout.millis",
                Duration::from_secs(60),
                millis,
            )?,
            sync_on_close: conf.get_bool("dfs.datanode.synconclose", false),
            failed_volumes_tolerated: conf.get_i64("dfs.datanode.failed.volumes.tolerated", 0)?,
            reserved_bytes: conf.get_bytes("dfs.datanode.du.reserved", 0)?.max(0) as u64,
            choose_by_space: conf
                .get("dfs.datanode.fsdataset.volume.choosing.policy")
                .is_some_and(|class| class.ends_with("AvailableSpaceVolumeChoosingPolicy")),
            balanced_space_threshold: conf.get_bytes(&format!("{space}-threshold"), 10 << 30)?.max(0) as u64,
            balanced_space_preference: conf.get_f64(&format!("{space}-preference-fraction"), 0.75)?,
            block_size: conf.get_bytes("dfs.blocksize", 128 << 20)?.max(1) as u64,
            balance_bandwidth: conf
                .get_bytes("dfs.datanode.balance.bandwidthPerSec", 100 << 20)?
                .max(1) as u64,
            balance_moves: conf.get_usize("dfs.datanode.balance.max.concurrent.moves", 100)?,
            reconstruction: ReconstructionConf::of(conf)?,
            connect_timeout: conf
                .get_duration("ipc.client.connect.timeout", Duration::from_secs(20), millis)?
                .min(Duration::from_secs(5)),
            call_timeout: conf.get_duration("ipc.client.rpc-timeout.ms", Duration::from_secs(120), millis)?,
            max_data_length: conf.get_bytes("ipc.maximum.data.length", 128 << 20)?.max(1 << 20) as usize,
            max_packet_bytes: conf
                .get_bytes("dfs.data.transfer.max.packet.size", 16 << 20)?
                .max(64 << 10) as usize,
            rollback: false,
            // In Hadoop a negative value switches the scanner off, and 0 means the default of three weeks.
            scan_period: match conf.get_i64("dfs.datanode.scan.period.hours", 504)? {
                hours if hours < 0 => Duration::ZERO,
                0 => Duration::from_secs(504 * 3600),
                hours => Duration::from_secs(hours as u64 * 3600),
            },
            scan_bytes_per_second: conf
                .get_bytes("dfs.block.scanner.volume.bytes.per.second", 1 << 20)?
                .max(0) as u64,
            webhdfs: WebHdfsConf::of(conf),
            superuser: superuser.to_owned(),
            administrators: Administrators::own(superuser, groups.clone()).and_listed(&format!(" {superuser_group}")),
            rpc_server: ServerOptions {
                name: "dn-ipc".to_owned(),
                authorizer: Some(Arc::new(Authorizer::of(conf, groups)?)),
                ..ServerOptions::of(conf)?
            },
        })
    }
}

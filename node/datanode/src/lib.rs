//! The DataNode: sockets, files and processes around `hathi_blockpool`.
//!
//! * [`volume`], [`pool`], [`dataset`]: replicas on disk, in Hadoop's layout. [`verify`], [`scanner`]: whether they are
//!   still good;
//! * [`xceiver`]: the data transfer server, one blocking thread per connection;
//! * [`offer`], [`actor`], [`commands`]: the NameNodes, one task for each, and the commands of the active one;
//! * [`reconstruction`], [`reconstructions`]: internal blocks of striped files that are made from others;
//! * [`cache`]: replicas that are kept in memory;
//! * [`recovery`], [`ipc`], [`http`], [`webhdfs`]: block recovery, RPC, status, and files over HTTP.
//!
//! Data moves on blocking threads, because disks block. Everything else shares one small asynchronous runtime.

pub mod actor;
pub mod cache;
pub mod commands;
pub mod config;
pub mod dataset;
pub mod http;
pub mod ipc;
pub mod metrics;
pub mod node;
pub mod offer;
pub mod pool;
pub mod reconstruction;
pub mod reconstructions;
pub mod recovery;
pub mod scanner;
pub mod throttle;
pub mod verify;
pub mod volume;
pub mod webhdfs;
pub mod xceiver;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use hathi_conf::ConfError;
use hathi_net::http::{HttpRequest, HttpServer};
use hathi_net::ipc::RpcServer;
use hathi_net::tcp::cannot_listen;

pub use config::DataNodeConf;
pub use node::{DataNode, Ports};

const IPC_KEY: &str = "dfs.datanode.ipc.address";
const HTTP_KEY: &str = "dfs.datanode.http.address";

/// Why a DataNode can't run.
#[derive(Debug, thiserror::Error)]
pub enum DataNodeError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(String),
    /// A directory of `dfs.datanode.data.dir` can't be used.
    #[error("{0}")]
    Storage(String),
    /// The system does not let a directory of `dfs.datanode.data.dir` be used.
    #[error("cannot {tried} {path}: {source}")]
    Directory {
        /// What was tried.
        tried: &'static str,
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The NameNodes belong to a different cluster.
    #[error("{0}")]
    OtherCluster(String),
    /// A socket or thread could not be made.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// An address can't be listened at.
    #[error("{key}: {source}")]
    Listen {
        /// The key that named it.
        key: &'static str,
        /// The address, and why.
        source: std::io::Error,
    },
}

impl From<ConfError> for DataNodeError {
    fn from(error: ConfError) -> Self {
        DataNodeError::Config(error.to_string())
    }
}

fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, DataNodeError> {
    TcpListener::bind(address).map_err(|error| listen_error(key)(cannot_listen(address, &error)))
}

fn listen_error(key: &'static str) -> impl FnOnce(std::io::Error) -> DataNodeError {
    move |source| DataNodeError::Listen { key, source }
}

/// A running DataNode.
pub struct Running {
    /// The state that its parts share.
    pub node: Arc<DataNode>,
    // These are kept because dropping them stops them.
    _ipc: Option<RpcServer>,
    _http: Option<HttpServer>,
}

/// Starts everything. Must be called within a tokio runtime, on which the NameNodes' tasks run.
pub fn start(conf: DataNodeConf) -> Result<Running, DataNodeError> {
    cache::check_limit(conf.cache_bytes)?;
    let dataset = dataset::Dataset::open(&conf)?;
    let xfer = bind("dfs.datanode.address", conf.xfer_address)?;
    // The ports are part of the DataNode's identity, so all ports are known before anything is served.
    let ipc_address = free_port(IPC_KEY, conf.ipc_address)?;
    let http_address = free_port(HTTP_KEY, conf.http_address)?;
    let ports = Ports {
        xfer: xfer.local_addr()?.port(),
        http: http_address.port(),
        ipc: ipc_address.port(),
    };
    let services = conf.nameservices.clone();
    let node = DataNode::new(conf, dataset, ports);
    let runtime = tokio::runtime::Handle::current();
    let ipc = RpcServer::bind(
        ipc_address,
        Arc::new(ipc::Server::new(node.clone(), runtime.clone())),
        node.conf.rpc_server.clone(),
    )
    .map_err(listen_error(IPC_KEY))?;
    // Set once, here.
    let _ = node.rpc.set(ipc.meter());
    let served = node.clone();
    let http = HttpServer::bind(
        http_address,
        Arc::new(move |request: HttpRequest| {
            let node = served.clone();
            async move { http::respond(&node, request).await }
        }),
    )
    .map_err(listen_error(HTTP_KEY))?;
    xceiver::serve(node.clone(), xfer)?;
    scanner::start(&node, node.conf.scan_period, node.conf.scan_bytes_per_second)?;
    for service in &services {
        let (service, commands) = offer::Nameservice::new(service);
        node.add_service(service.clone());
        runtime.spawn(commands::run(node.clone(), service.clone(), commands));
        for actor in &service.actors {
            runtime.spawn(actor::run(node.clone(), service.clone(), actor.clone()));
        }
    }
    tracing::info!(
        xfer = ports.xfer,
        ipc = ports.ipc,
        http = ports.http,
        uuid = node.dataset.datanode_uuid(),
        volumes = node.dataset.volumes().len(),
        "DataNode serves"
    );
    hathi_net::systemd::ready("serving");
    Ok(Running {
        node,
        _ipc: Some(ipc),
        _http: Some(http),
    })
}

/// Replaces port 0 by a free port now, because the port must be known before the listener is made.
fn free_port(key: &'static str, address: SocketAddr) -> Result<SocketAddr, DataNodeError> {
    if address.port() != 0 {
        return Ok(address);
    }
    Ok(bind(key, address)?.local_addr()?)
}

/// Runs a DataNode until it is told to stop by SIGTERM, SIGINT or RPC.
pub fn run(conf: DataNodeConf) -> Result<(), DataNodeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("dn-blocking")
        .thread_stack_size(512 << 10)
        .build()?;
    runtime.block_on(async {
        let running = start(conf)?;
        tokio::spawn(hathi_net::systemd::watchdog());
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM"),
            result = tokio::signal::ctrl_c() => result?,
            () = running.node.stopped() => {}
        }
        hathi_net::systemd::stopping();
        running.node.shut_down();
        // This gives the tasks time to send what they have for NameNodes, above all disk errors.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        Ok::<(), DataNodeError>(())
    })?;
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    Ok(())
}

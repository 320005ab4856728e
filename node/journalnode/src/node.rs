//! The process: its addresses, start and stop.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use hathi_conf::{Configuration, HostPort};
use hathi_net::auth::{Administrators, Authorizer, Groups, GroupsOptions};
use hathi_net::http::HttpServer;
use hathi_net::ipc::{RpcServer, ServerOptions};
use hathi_net::users::process_user;
use tokio::sync::mpsc;

use crate::journals::{Addresses, JournalNodeError, Journals};
use crate::peers::{self, Peers};
use crate::{http, rpc};

const DEFAULT_RPC_PORT: u16 = 8485;
const DEFAULT_HTTP_PORT: u16 = 8480;
fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> JournalNodeError {
    let what = what.into();
    move |source| JournalNodeError::Io { what, source }
}

/// A running JournalNode; dropping it stops it cleanly.
#[derive(Debug)]
pub struct JournalNode {
    // In the order in which they are dropped.
    rpc: Option<RpcServer>,
    http: Option<HttpServer>,
    peers: Option<Peers>,
    journals: Arc<Journals>,
    addresses: Addresses,
}

impl JournalNode {
    /// Binds the addresses of the configuration and serves.
    pub fn start(conf: Configuration) -> Result<JournalNode, JournalNodeError> {
        let rpc_address = bind_address(
            &conf,
            "dfs.journalnode.rpc-address",
            DEFAULT_RPC_PORT,
            "dfs.journalnode.rpc-bind-host",
        )?;
        let http_address = bind_address(
            &conf,
            "dfs.journalnode.http-address",
            DEFAULT_HTTP_PORT,
            "dfs.journalnode.http-bind-host",
        )?;
        let user = process_user();
        let groups = Groups::start(GroupsOptions::of(&conf, &user)?);
        let options = ServerOptions {
            name: "ipc".into(),
            authorizer: Some(Arc::new(Authorizer::of(&conf, groups.clone())?)),
            ..ServerOptions::of(&conf)?
        };
        let writers = Administrators::of(&conf, &user, groups)
            .and_listed(&format!(
                " {}",
                conf.get_or("dfs.permissions.superusergroup", "supergroup")
            ))
            .and_listed(&conf.raw("hathi.journalnode.users").unwrap_or_default());
        // bound: a journal asks for one segment for each acceptRecovery that waits for its answer, and takes at most its
        // queue's length of those.
        let (fetches, wanted) = mpsc::unbounded_channel();
        let journals = Arc::new(Journals::new(conf, fetches)?);
        for dir in journals.dirs() {
            hathi_storage::make_dirs(&hathi_storage::OsDisk, &dir)
                .map_err(io_error(format!("cannot make {}", dir.display())))?;
        }
        let pages = journals.clone();
        let http = HttpServer::bind(
            http_address,
            Arc::new(move |request| http::handle(pages.clone(), request)),
        )
        .map_err(io_error("dfs.journalnode.http-address"))?;
        let handler = Arc::new(rpc::JournalNodeRpcServer {
            journals: journals.clone(),
            writers,
        });
        let rpc = RpcServer::bind(rpc_address, handler, options).map_err(io_error("dfs.journalnode.rpc-address"))?;
        let addresses = Addresses {
            rpc: rpc.local_addr(),
            http: http.local_addr(),
        };
        // Calls that came in the microseconds before this are told to come again.
        journals.serve(addresses.clone(), rpc.meter());
        let peers = Peers::start(journals.clone(), wanted).map_err(io_error("thread for peers"))?;
        tracing::info!(rpc = %addresses.rpc, http = %addresses.http, "serving");
        hathi_net::systemd::ready("serving");
        Ok(JournalNode {
            rpc: Some(rpc),
            http: Some(http),
            peers: Some(peers),
            journals,
            addresses,
        })
    }

    /// Address of the RPC server.
    #[must_use]
    pub fn rpc_address(&self) -> SocketAddr {
        self.addresses.rpc
    }

    /// Address of the HTTP server.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.addresses.http
    }
}

impl Drop for JournalNode {
    fn drop(&mut self) {
        self.rpc = None;
        self.http = None;
        self.peers = None;
        for journal in self.journals.all() {
            journal.stop();
        }
        tracing::info!("stopped");
    }
}

fn bind_address(
    conf: &Configuration,
    key: &str,
    default_port: u16,
    bind_host_key: &str,
) -> Result<SocketAddr, JournalNodeError> {
    let mut address = conf.address(key, Some(default_port))?.unwrap_or(HostPort {
        host: "0.0.0.0".into(),
        port: default_port,
    });
    if let Some(host) = conf.get(bind_host_key).filter(|host| !host.trim().is_empty()) {
        host.trim().clone_into(&mut address.host);
    }
    if let Ok(ip) = address.host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, address.port));
    }
    let found = (address.host.as_str(), address.port)
        .to_socket_addrs()
        .map_err(io_error(format!("{key}: cannot resolve {}", address.host)))?;
    // Java binds IPv4 by default.
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| JournalNodeError::Value {
        key: key.to_owned(),
        problem: format!("{} has no address", address.host),
    })
}

/// Serves until SIGTERM or SIGINT.
pub fn run(conf: Configuration) -> Result<(), JournalNodeError> {
    let node = JournalNode::start(conf)?;
    peers::runtime()
        .map_err(io_error("runtime"))?
        .block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            tokio::spawn(hathi_net::systemd::watchdog());
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            io::Result::Ok(())
        })
        .map_err(io_error("signals"))?;
    hathi_net::systemd::stopping();
    drop(node);
    Ok(())
}

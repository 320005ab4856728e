//! What a web server gets of a NameNode: [`crate::run`] starts one and knows nothing of its pages.

use crate::audit::AuditLog;
use crate::callers::Callers;
use crate::clock::Clock;
use crate::debug_hooks::DebugHooks;
use crate::health::Health;
use crate::hosts::Hosts;
use crate::image_upload::ImageUploads;
use crate::observed::Observed;
use crate::reconfiguration::Reconfiguration;
use crate::replies::Replies;
use crate::rpc::Handler;
use crate::settings::Settings;
use crate::split::SplitReport;
use crate::standby_calls::StandbyCalls;
use crate::storage::NameDirs;
use hathi_journal::messages::LeaseState;
use hathi_journalclient::Readers;
use hathi_nameserver::lease_watch::LeaseWatch;
use hathi_namesystem::Namesystem;
use hathi_net::http::HttpServer;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

/// The parts of a NameNode that its pages show.
pub struct WebParts {
    /// Configuration.
    pub settings: Arc<Settings>,
    /// The settings that count now, where they differ from those of the start.
    pub reconfiguration: Arc<Reconfiguration>,
    /// The namesystem, behind the one lock.
    pub ns: Arc<RwLock<Namesystem>>,
    /// Its clocks.
    pub clock: Clock,
    /// Role, lease, and replies that wait until they are durable.
    pub replies: Arc<Replies>,
    /// Who may call.
    pub callers: Arc<Callers>,
    /// Calls that a standby keeps.
    pub standby_calls: Arc<StandbyCalls>,
    /// What is counted.
    pub observed: Arc<Observed>,
    /// What the failover controller here says of a NameNode that was said to be fenced.
    pub split: Arc<SplitReport>,
    /// DataNodes' hosts and racks.
    pub hosts: Arc<Hosts>,
    /// What is wrong with this NameNode.
    pub health: Arc<Health>,
    /// Faults on demand, if they are on.
    pub debug_hooks: Arc<OnceLock<DebugHooks>>,
    /// The audit log, if it is on.
    pub audit: Option<Arc<AuditLog>>,
    /// Images and edits.
    pub dirs: Arc<NameDirs>,
    /// The JournalNodes.
    pub readers: Arc<Readers>,
    /// What each JournalNode has last said of the lease.
    pub leases: Arc<Mutex<LeaseWatch>>,
    /// Images from other NameNodes.
    pub uploads: Arc<ImageUploads>,
}

impl WebParts {
    /// The last lease state of each JournalNode that answers, by its index.
    #[must_use]
    pub fn lease_states(&self) -> BTreeMap<usize, LeaseState> {
        self.leases.lock().states().clone()
    }
}

/// A web server that serves.
pub struct Web {
    /// It ends when this is dropped.
    pub server: HttpServer,
    /// What it looks at regularly, for as long as the process lives. It runs among the tasks in the background.
    pub looking: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Starts a web server. Calls over WebHDFS go to the handler.
pub type StartWeb = fn(WebParts, Arc<Handler>) -> io::Result<Web>;

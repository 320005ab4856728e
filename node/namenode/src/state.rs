//! Puts a NameNode process together: each part owns its state, and each task gets the parts that it needs.
//!
//! Only [`crate::run`] has all of it.

use crate::admin::{Admin, HaService, Supervisor, Transition};
use crate::audit::AuditLog;
use crate::background::MonitorParts;
use crate::block_reports::{BlockReports, ReportParts};
use crate::callers::Callers;
use crate::checkpoint::Checkpoints;
use crate::clock::Clock;
use crate::corrupt::CorruptMarks;
use crate::debug_hooks::DebugHooks;
use crate::deferred::{DeferredCalls, DeferredParts};
use crate::divergence::Comparison;
use crate::failovers::Failovers;
use crate::ha::RoleParts;
use crate::health::Health;
use crate::hosts::{HostLists, Hosts};
use crate::image_place::ImagePlace;
use crate::image_upload::ImageUploads;
use crate::inotify::Inotify;
use crate::keys::Keys;
use crate::lease_watchers::LeaseWatchers;
use crate::log::{LogCommand, LogParts};
use crate::members::MembershipChanges;
use crate::observed::Observed;
use crate::pass_on::PassOn;
use crate::peer_addresses::PeerAddresses;
use crate::reconfiguration::Reconfiguration;
use crate::replies::Replies;
use crate::rpc::{CallParts, Handler, Held};
use crate::settings::Settings;
use crate::split::SplitReport;
use crate::standby_calls::{Questions, StandbyCalls};
use crate::storage::NameDirs;
use crate::tail::{Replay, Tail};
use crate::unreported::Unreported;
use crate::web::WebParts;
use hathi_conf::ConfError;
use hathi_journalclient::Readers;
use hathi_nameserver::lease_watch::LeaseWatch;
use hathi_nameserver::serving::Serving;
use hathi_namesystem::checkpoint::EditsRetention;
use hathi_namesystem::{Namesystem, Role};
use parking_lot::{Mutex, RwLock};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

/// What a NameNode is made of.
pub struct Parts {
    /// Configuration.
    pub settings: Settings,
    /// The namesystem, mostly an empty one.
    pub ns: Namesystem,
    /// `<namenode id>@<uuid>`: name of this process at the JournalNodes.
    pub holder: String,
    /// The lists of hosts, as they were read at the start.
    pub hosts: HostLists,
    /// The audit log, if it is on.
    pub audit: Option<AuditLog>,
    /// Receives requested changes of role. One task carries them out, one after the other.
    pub transitions: mpsc::UnboundedSender<Transition>,
    /// Receives questions to the active about calls.
    pub questions: Questions,
}

/// The parts of a NameNode process that need no files and no other process; see the module.
pub struct NameNode {
    /// Configuration.
    pub settings: Arc<Settings>,
    /// The namesystem, behind the one lock.
    pub ns: Arc<RwLock<Namesystem>>,
    /// Its clocks.
    pub clock: Clock,
    /// Role, lease, and replies that wait until they are durable.
    pub replies: Arc<Replies>,
    pub(crate) callers: Arc<Callers>,
    pub(crate) standby_calls: Arc<StandbyCalls>,
    pub(crate) unreported: Arc<Unreported>,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) reconfiguration: Arc<Reconfiguration>,
    pub(crate) serving: Arc<Serving>,
    pub(crate) debug_hooks: Arc<OnceLock<DebugHooks>>,
    pub(crate) observed: Arc<Observed>,
    pub(crate) split: Arc<SplitReport>,
    pub(crate) health: Arc<Health>,
    pub(crate) retention: Arc<Mutex<EditsRetention>>,
    pub(crate) images: Arc<ImagePlace>,
    pub(crate) transitions: mpsc::UnboundedSender<Transition>,
    pub(crate) audit: Option<Arc<AuditLog>>,
    pub(crate) holder: Arc<str>,
    pub(crate) keys: Arc<Keys>,
}

impl NameNode {
    /// A NameNode without its tasks.
    ///
    /// # Errors
    /// The configuration has a value that does not parse.
    pub fn new(parts: Parts) -> Result<Self, ConfError> {
        let Parts {
            settings,
            ns,
            holder,
            hosts,
            audit,
            transitions,
            questions,
        } = parts;
        let clock = Clock::start();
        let replies = Arc::new(Replies::new(&ns, clock.clone()));
        let ns = Arc::new(RwLock::new(ns));
        let audit = audit.map(Arc::new);
        Ok(NameNode {
            keys: Arc::new(Keys::new(
                settings.keys.clone(),
                ns.clone(),
                clock.clone(),
                replies.clone(),
                audit.clone(),
            )),
            callers: Arc::new(Callers::new(&settings, instance(&holder), clock.clone())?),
            standby_calls: Arc::new(StandbyCalls::new(replies.clone(), clock.clone(), questions)),
            unreported: Arc::default(),
            hosts: Arc::new(Hosts::new(&settings, hosts, ns.clone())),
            reconfiguration: Arc::new(Reconfiguration::new(
                settings.clone(),
                ns.clone(),
                audit.clone(),
                clock.clone(),
            )),
            serving: Arc::new(Serving::new(
                settings.reactors,
                settings.serving_limit.as_millis() as u64,
            )),
            debug_hooks: Arc::default(),
            observed: Arc::default(),
            split: Arc::default(),
            health: Arc::new(Health::new(clock.clone())),
            retention: Arc::default(),
            images: Arc::default(),
            transitions,
            audit,
            holder: holder.into(),
            replies,
            clock,
            ns,
            settings: Arc::new(settings),
        })
    }

    /// The role, without any lock.
    #[must_use]
    pub fn role(&self) -> Role {
        self.replies.role()
    }

    pub(crate) fn replay(&self) -> Replay {
        Replay {
            ns: self.ns.clone(),
            clock: self.clock.clone(),
            images: self.images.clone(),
        }
    }

    pub(crate) fn log_parts(&self) -> LogParts {
        LogParts {
            settings: self.settings.clone(),
            holder: self.holder.clone(),
            ns: self.ns.clone(),
            clock: self.clock.clone(),
            replies: self.replies.clone(),
            images: self.images.clone(),
            observed: self.observed.clone(),
        }
    }

    pub(crate) fn report_parts(&self) -> ReportParts {
        ReportParts {
            ns: self.ns.clone(),
            clock: self.clock.clone(),
            replies: self.replies.clone(),
        }
    }

    pub(crate) fn monitor_parts(&self) -> MonitorParts {
        MonitorParts {
            settings: self.settings.clone(),
            ns: self.ns.clone(),
            clock: self.clock.clone(),
            replies: self.replies.clone(),
            standby_calls: self.standby_calls.clone(),
            unreported: self.unreported.clone(),
            retention: self.retention.clone(),
        }
    }

    pub(crate) fn corrupt_marks(&self) -> Arc<CorruptMarks> {
        Arc::new(CorruptMarks {
            settings: self.settings.clone(),
            ns: self.ns.clone(),
            replies: self.replies.clone(),
        })
    }

    pub(crate) fn comparison(&self) -> Comparison {
        Comparison {
            settings: self.settings.clone(),
            ns: self.ns.clone(),
            clock: self.clock.clone(),
            replies: self.replies.clone(),
            health: self.health.clone(),
            images: self.images.clone(),
        }
    }

    pub(crate) fn pass_on(&self, handler: Arc<Handler>) -> Arc<PassOn> {
        Arc::new(PassOn {
            settings: self.settings.clone(),
            clock: self.clock.clone(),
            replies: self.replies.clone(),
            callers: self.callers.clone(),
            standby_calls: self.standby_calls.clone(),
            handler,
        })
    }

    fn admin(&self) -> Admin {
        Admin {
            callers: self.callers.clone(),
            reconfiguration: self.reconfiguration.clone(),
            ha: HaService {
                settings: self.settings.clone(),
                ns: self.ns.clone(),
                clock: self.clock.clone(),
                replies: self.replies.clone(),
                callers: self.callers.clone(),
                health: self.health.clone(),
                serving: self.serving.clone(),
                debug_hooks: self.debug_hooks.clone(),
                transitions: self.transitions.clone(),
            },
            supervisor: Supervisor {
                settings: self.settings.clone(),
                ns: self.ns.clone(),
                clock: self.clock.clone(),
                callers: self.callers.clone(),
                split: self.split.clone(),
                instance: instance(&self.holder).into(),
            },
            observed: self.observed.clone(),
        }
    }

    fn call_parts(&self) -> CallParts {
        CallParts {
            settings: self.settings.clone(),
            ns: self.ns.clone(),
            clock: self.clock.clone(),
            replies: self.replies.clone(),
            callers: self.callers.clone(),
            audit: self.audit.clone(),
            standby_calls: self.standby_calls.clone(),
            unreported: self.unreported.clone(),
            hosts: self.hosts.clone(),
            observed: self.observed.clone(),
        }
    }
}

/// A NameNode with its files and the ways to other processes.
pub struct Shared {
    /// The parts without files.
    pub nn: Arc<NameNode>,
    /// The directories.
    pub dirs: Arc<NameDirs>,
    /// The edit log task.
    pub log: mpsc::UnboundedSender<LogCommand>,
    /// The JournalNodes, for reading.
    pub readers: Arc<Readers>,
    /// What each JournalNode has last said of the lease.
    pub leases: Arc<Mutex<LeaseWatch>>,
    /// Images.
    pub checkpoints: Arc<Checkpoints>,
    /// Images from other NameNodes.
    pub uploads: Arc<ImageUploads>,
}

impl Shared {
    /// A NameNode without its tasks.
    #[must_use]
    pub fn new(
        nn: Arc<NameNode>,
        dirs: Arc<NameDirs>,
        log: mpsc::UnboundedSender<LogCommand>,
        readers: Arc<Readers>,
    ) -> Shared {
        let checkpoints = Arc::new(Checkpoints {
            settings: nn.settings.clone(),
            ns: nn.ns.clone(),
            clock: nn.clock.clone(),
            replies: nn.replies.clone(),
            images: nn.images.clone(),
            health: nn.health.clone(),
            retention: nn.retention.clone(),
            dirs: dirs.clone(),
            log: log.clone(),
        });
        let uploads = Arc::new(ImageUploads {
            settings: nn.settings.clone(),
            ns: nn.ns.clone(),
            clock: nn.clock.clone(),
            images: nn.images.clone(),
            dirs: dirs.clone(),
            checkpoints: checkpoints.clone(),
            peer_addresses: PeerAddresses::default(),
        });
        let leases = Arc::new(Mutex::new(LeaseWatch::new(&nn.holder)));
        Shared {
            nn,
            dirs,
            log,
            readers,
            leases,
            checkpoints,
            uploads,
        }
    }

    /// The server of its calls. [`crate::rpc::serve_held`] receives the `held` ones.
    pub fn handler(&self, held: mpsc::UnboundedSender<Held>) -> Arc<Handler> {
        let nn = &self.nn;
        let members = Arc::new(MembershipChanges {
            ns: nn.ns.clone(),
            clock: nn.clock.clone(),
            replies: nn.replies.clone(),
            callers: nn.callers.clone(),
            readers: self.readers.clone(),
            log: self.log.clone(),
            under_way: tokio::sync::Mutex::default(),
        });
        let deferred = DeferredParts {
            settings: nn.settings.clone(),
            ns: nn.ns.clone(),
            clock: nn.clock.clone(),
            replies: nn.replies.clone(),
            audit: nn.audit.clone(),
            hosts: nn.hosts.clone(),
            dirs: self.dirs.clone(),
            checkpoints: self.checkpoints.clone(),
            corrupt: nn.corrupt_marks(),
            keys: nn.keys.clone(),
            inotify: Arc::new(Inotify::new(
                nn.settings.clone(),
                nn.ns.clone(),
                nn.replies.clone(),
                self.readers.clone(),
                self.dirs.clone(),
            )),
        };
        let deferred = DeferredCalls::new(deferred, BlockReports::start(nn.report_parts()));
        Arc::new(Handler::new(nn.call_parts(), nn.admin(), members, deferred, held))
    }

    /// What a web server shows.
    #[must_use]
    pub fn web_parts(&self) -> WebParts {
        let nn = &self.nn;
        WebParts {
            settings: nn.settings.clone(),
            reconfiguration: nn.reconfiguration.clone(),
            ns: nn.ns.clone(),
            clock: nn.clock.clone(),
            replies: nn.replies.clone(),
            callers: nn.callers.clone(),
            standby_calls: nn.standby_calls.clone(),
            observed: nn.observed.clone(),
            split: nn.split.clone(),
            hosts: nn.hosts.clone(),
            health: nn.health.clone(),
            debug_hooks: nn.debug_hooks.clone(),
            audit: nn.audit.clone(),
            dirs: self.dirs.clone(),
            readers: self.readers.clone(),
            leases: self.leases.clone(),
            uploads: self.uploads.clone(),
        }
    }

    pub(crate) fn role_parts(&self) -> RoleParts {
        let nn = &self.nn;
        RoleParts {
            settings: nn.settings.clone(),
            ns: nn.ns.clone(),
            clock: nn.clock.clone(),
            replies: nn.replies.clone(),
            images: nn.images.clone(),
            health: nn.health.clone(),
            standby_calls: nn.standby_calls.clone(),
            hosts: nn.hosts.clone(),
            reconfiguration: nn.reconfiguration.clone(),
            observed: nn.observed.clone(),
            checkpoints: self.checkpoints.clone(),
            failovers: Failovers {
                settings: nn.settings.clone(),
                holder: nn.holder.clone(),
                standby_calls: nn.standby_calls.clone(),
            },
        }
    }

    pub(crate) fn lease_watchers(&self, tail: Arc<Tail>) -> Arc<LeaseWatchers> {
        Arc::new(LeaseWatchers {
            readers: self.readers.clone(),
            tail,
            dirs: self.dirs.clone(),
            standby_calls: self.nn.standby_calls.clone(),
            clock: self.nn.clock.clone(),
            observed: self.nn.observed.clone(),
            leases: self.leases.clone(),
        })
    }
}

fn instance(holder: &str) -> &str {
    holder.split_once('@').map_or(holder, |(_, instance)| instance)
}

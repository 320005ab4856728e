//! The parts of a NameNode process. Each owns its state; here they are only put together.

use crate::audit::AuditLog;
use crate::callers::Callers;
use crate::clock::Clock;
use crate::debug_hooks::DebugHooks;
use crate::hosts::{HostLists, Hosts};
use crate::image_place::ImagePlace;
use crate::observed::Observed;
use crate::replies::Replies;
use crate::serving::Serving;
use crate::settings::Settings;
use crate::split::SplitReport;
use crate::standby_calls::{Questions, StandbyCalls};
use crate::unreported::Unreported;
use hathi_conf::ConfError;
use hathi_formats::exceptions::RemoteException;
use hathi_nameserver::replies::Made;
use hathi_namesystem::checkpoint::EditsRetention;
use hathi_namesystem::standby_health::StandbyHealth;
use hathi_namesystem::{CallContext, Namesystem, Role, Standing};
use hathi_net::ipc::{Responder, RpcCall};
use parking_lot::{Mutex, RwLock};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

/// A requested change of role.
pub struct Transition {
    /// Whether to become active, or else standby.
    pub to_active: bool,
    /// Whether to wait until another NameNode's read lease has ended. An administrator wants that; an elector asks
    /// again by itself.
    pub patient: bool,
    /// Called with the result.
    pub done: Box<dyn FnOnce(Result<(), RemoteException>) + Send>,
}

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

/// A NameNode process; see the module.
pub struct NameNode {
    pub(crate) settings: Settings,
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) replies: Arc<Replies>,
    pub(crate) callers: Arc<Callers>,
    pub(crate) standby_calls: Arc<StandbyCalls>,
    /// Calls that wait for the report of a block.
    pub(crate) unreported: Unreported,
    /// Hosts and racks of DataNodes.
    pub(crate) hosts: Arc<Hosts>,
    /// Whether calls are served. If not, the read lease is not renewed.
    pub(crate) serving: Arc<Serving>,
    /// Faults on demand, if they are allowed.
    pub(crate) debug_hooks: OnceLock<DebugHooks>,
    pub(crate) observed: Observed,
    /// The NameNode that goes on although it was fenced, as the failover controller beside this NameNode says.
    pub(crate) split: SplitReport,
    /// Problems of this NameNode while it does not serve.
    pub(crate) health: Mutex<StandbyHealth>,
    /// The last transaction at several times, which decides what edits are kept.
    pub(crate) edits_retention: Mutex<EditsRetention>,
    /// The image that is being saved or received.
    pub(crate) images: Arc<ImagePlace>,
    pub(crate) transitions: mpsc::UnboundedSender<Transition>,
    audit: Option<AuditLog>,
    holder: String,
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
        Ok(NameNode {
            callers: Arc::new(Callers::new(&settings, instance(&holder), clock.clone())?),
            standby_calls: Arc::new(StandbyCalls::new(replies.clone(), clock.clone(), questions)),
            unreported: Unreported::default(),
            hosts: Arc::new(Hosts::new(&settings, hosts, ns.clone())),
            serving: Arc::new(Serving::new(settings.reactors, settings.serving_limit)),
            debug_hooks: OnceLock::new(),
            observed: Observed::default(),
            split: SplitReport::default(),
            health: Mutex::default(),
            edits_retention: Mutex::default(),
            images: Arc::default(),
            transitions,
            audit,
            holder,
            replies,
            clock,
            ns,
            settings,
        })
    }

    /// The audit log, if it is on.
    #[must_use]
    pub fn audit(&self) -> Option<&AuditLog> {
        self.audit.as_ref()
    }

    /// `<namenode id>@<uuid>`: name of this process at the JournalNodes.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Name of this process, until it ends.
    #[must_use]
    pub fn instance(&self) -> &str {
        instance(&self.holder)
    }

    /// The caller of an RPC for the handlers. `None` while its groups are being asked for.
    #[must_use]
    pub fn context(&self, call: &RpcCall) -> Option<CallContext> {
        self.callers.context(call)
    }

    /// Refuses a caller that is not a superuser.
    pub fn check_superuser(&self, call: &RpcCall) -> Result<(), RemoteException> {
        self.callers.check_superuser(call)
    }

    /// Role and life, without any lock.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.replies.standing()
    }

    /// The role, without any lock.
    #[must_use]
    pub fn role(&self) -> Role {
        self.standing().role
    }

    /// To be called after every change of the role or the life, under the write lock.
    pub fn publish(&self, ns: &Namesystem) {
        self.replies.publish(ns);
        self.images.look_again();
    }

    /// [`Replies::answer`]
    pub fn answer(&self, responder: Responder, result: Result<bytes::Bytes, RemoteException>, made: Made) {
        self.replies.answer(responder, result, made);
    }
}

fn instance(holder: &str) -> &str {
    holder.split_once('@').map_or(holder, |(_, instance)| instance)
}

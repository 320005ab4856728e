//! Settings that this NameNode reads again while it runs (`ReconfigurationProtocol`, Hadoop's `ReconfigurableBase`).
//! Which ones: [`crate::settings::reconfigured`].

use crate::audit::{self, AuditLog};
use crate::clock::Clock;
use crate::settings::Settings;
use crate::settings::reconfigured::{self, Change, reconfigured};
use anyhow::Context;
use hathi_conf::{Configuration, NameNodeIdentity};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::{
    GetReconfigurationStatusConfigChangeProto, GetReconfigurationStatusResponseProto,
    ListReconfigurablePropertiesResponseProto, StartReconfigurationResponseProto,
};
use hathi_namesystem::Namesystem;
use hathi_net::ipc::protocols::ReconfigurationMethod as M;
use hathi_net::ipc::{Responder, RpcCall};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;

/// The settings that count, and how they came to count.
struct State {
    /// When the files began to be read again, in ms of the wall clock, while that lasts.
    reading_since: Option<i64>,
    /// The last time that they were.
    last: GetReconfigurationStatusResponseProto,
    settings: Settings,
}

/// See the module.
pub struct Reconfiguration {
    ns: Arc<RwLock<Namesystem>>,
    audit: Option<Arc<AuditLog>>,
    clock: Clock,
    state: Mutex<State>,
}

impl Reconfiguration {
    /// Nothing was read again yet.
    #[must_use]
    pub fn new(
        settings: Settings,
        ns: Arc<RwLock<Namesystem>>,
        audit: Option<Arc<AuditLog>>,
        clock: Clock,
    ) -> Reconfiguration {
        Reconfiguration {
            ns,
            audit,
            clock,
            state: Mutex::new(State {
                reading_since: None,
                last: GetReconfigurationStatusResponseProto::default(),
                settings,
            }),
        }
    }

    /// The configuration that counts.
    #[must_use]
    pub fn conf(&self) -> Configuration {
        self.state.lock().settings.conf.clone()
    }

    /// Tells a namesystem the settings that count.
    pub fn tell(&self, ns: &mut Namesystem) {
        let settings = self.state.lock().settings.clone();
        if let Err(error) = ns.reconfigure(|to| settings.give(to)) {
            // They were checked before they counted.
            tracing::error!(error = format!("{error:#}"), "the namesystem keeps its settings");
        }
    }

    /// Serves a call of a superuser, or tells the audit log that the caller is none.
    pub fn serve(
        self: &Arc<Self>,
        method: M,
        call: &RpcCall,
        allowed: Result<(), RemoteException>,
        responder: Responder,
    ) {
        let operation = match method {
            M::StartReconfiguration => "startNamenodeReconfiguration",
            M::GetReconfigurationStatus => "getNamenodeReconfigurationStatus",
            M::ListReconfigurableProperties => "listNamenodeReconfigurableProperties",
        };
        audit::log_operation(self.audit.as_deref(), allowed.is_ok(), call, operation);
        if let Err(refused) = allowed {
            return responder.error(&refused);
        }
        match method {
            M::StartReconfiguration => {
                let this = self.clone();
                // The disk with the files may be slow.
                tokio::task::spawn_blocking(move || {
                    responder.send(this.start().map(|()| StartReconfigurationResponseProto {}));
                });
            }
            M::GetReconfigurationStatus => responder.ok(&self.status()),
            M::ListReconfigurableProperties => responder.ok(&ListReconfigurablePropertiesResponseProto {
                name: reconfigured::names().map(str::to_owned).collect(),
            }),
        }
    }

    /// `getReconfigurationStatus`
    fn status(&self) -> GetReconfigurationStatusResponseProto {
        let state = self.state.lock();
        match state.reading_since {
            Some(start_time) => GetReconfigurationStatusResponseProto {
                start_time,
                ..GetReconfigurationStatusResponseProto::default()
            },
            None => state.last.clone(),
        }
    }

    /// `startReconfiguration`: reads the files again, and changes what has changed in them.
    ///
    /// # Errors
    /// The files are being read, or can't be read. (Hadoop's thread ends then without a word, and is said to run for ever.)
    fn start(&self) -> Result<(), RemoteException> {
        let io = |why: &str| RemoteException::new(exceptions::IO, why);
        let running = {
            let mut state = self.state.lock();
            if state.reading_since.is_some() {
                return Err(io("Another reconfiguration task is running."));
            }
            state.reading_since = Some(self.wall_ms());
            state.settings.clone()
        };
        let read = read_again(&running);
        let mut state = self.state.lock();
        let start_time = state.reading_since.take().unwrap_or_default();
        let (counts, changes) = match read {
            Ok(read) => reconfigured(&running, &read),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "the configuration is not read again");
                return Err(io(&error));
            }
        };
        for Change {
            name,
            before,
            now,
            error,
        } in &changes
        {
            tracing::info!(name, before, now, error, "a setting is read again");
        }
        state.settings = counts;
        state.last = GetReconfigurationStatusResponseProto {
            start_time,
            end_time: Some(self.wall_ms()),
            changes: changes.into_iter().map(to_wire).collect(),
        };
        if let Some(audit) = &self.audit {
            audit.tell_caller_contexts(state.settings.caller_context());
        }
        drop(state);
        self.tell(&mut self.ns.write());
        Ok(())
    }

    fn wall_ms(&self) -> i64 {
        i64::try_from(self.clock.wall_ms()).unwrap_or(i64::MAX)
    }
}

/// This NameNode's view of the files as they are now.
fn read_again(running: &Settings) -> anyhow::Result<Configuration> {
    let dir = running.conf.dir().context("the configuration is not from files")?;
    let named = |id: &String| (!id.is_empty()).then(|| id.clone());
    Ok(Configuration::load(dir)?.for_namenode(&NameNodeIdentity {
        nameservice: named(&running.nameservice_id),
        namenode: named(&running.namenode_id),
    }))
}

fn to_wire(change: Change) -> GetReconfigurationStatusConfigChangeProto {
    GetReconfigurationStatusConfigChangeProto {
        name: change.name.to_owned(),
        old_value: change.before,
        new_value: Some(change.now),
        error_message: change.error,
    }
}

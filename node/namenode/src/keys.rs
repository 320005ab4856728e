//! Asks the key provider of encryption zones: for calls that wait for an answer, for keys before they are needed, and for the
//! re-encryption of zones. The lock is never held meanwhile.

use crate::audit::AuditLog;
use crate::clock::Clock;
use crate::replies::Replies;
use crate::settings::keys::KeySettings;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_nameserver::replies::Made;
use hathi_namesystem::keys::{KeyAnswer, KeyQuestion, KeyWork};
use hathi_namesystem::reencryption::{Look, Reencryption};
use hathi_namesystem::{Deferred, Namesystem, Role, calls};
use hathi_net::ipc::{Responder, RpcCall};
use hathi_net::kms::{KeyError, KeyProvider};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};

/// Calls that may wait for the key provider.
const WAITING_MAX: usize = 4096;
/// How often a call is asked about again because others took the keys that came for it.
const ROUNDS_MAX: usize = 10;
/// Pause between two looks whether keys are needed.
const LOOK: Duration = Duration::from_millis(100);
/// Inodes that the search for old keys visits under one hold of the lock.
const SLICE_INODES: usize = 1000;

/// See the module.
pub struct Keys {
    pub(crate) settings: KeySettings,
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) replies: Arc<Replies>,
    pub(crate) audit: Option<Arc<AuditLog>>,
    places: Semaphore,
    /// Notified when a zone was submitted, and when this NameNode becomes active or leaves safe mode, because there may be
    /// one that the last active has not finished.
    submitted: Notify,
}

async fn ask(provider: &dyn KeyProvider, question: &KeyQuestion) -> Result<KeyAnswer, KeyError> {
    Ok(match question {
        KeyQuestion::Generate { key_name, count } => KeyAnswer::Generated {
            keys: provider.generate(key_name, *count).await?,
            key_name: key_name.clone(),
        },
        KeyQuestion::Metadata { key_name } => KeyAnswer::Metadata {
            cipher: provider.cipher(key_name).await?,
            key_name: key_name.clone(),
        },
        KeyQuestion::CurrentVersion { key_name } => {
            let keys = provider.generate(key_name, 1).await?;
            let version_name = keys.first().map(|key| key.version_name.clone());
            KeyAnswer::CurrentVersion {
                key_name: key_name.clone(),
                version_name: version_name.unwrap_or_default(),
            }
        }
    })
}

fn refused(why: &KeyError) -> RemoteException {
    RemoteException::new(exceptions::IO, why.to_string())
}

impl Keys {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(
        settings: KeySettings,
        ns: Arc<RwLock<Namesystem>>,
        clock: Clock,
        replies: Arc<Replies>,
        audit: Option<Arc<AuditLog>>,
    ) -> Keys {
        Keys {
            settings,
            ns,
            clock,
            replies,
            audit,
            places: Semaphore::new(WAITING_MAX),
            submitted: Notify::new(),
        }
    }

    /// Asks what a call needs, and answers the call.
    pub(crate) fn serve(self: &Arc<Self>, mut work: Box<KeyWork>, call: RpcCall, responder: Responder) {
        let keys = self.clone();
        tokio::spawn(async move {
            let Ok(_place) = keys.places.try_acquire() else {
                let busy = "too many calls wait for the key provider";
                return responder.error(&RemoteException::new(exceptions::RETRIABLE, busy));
            };
            let (Some(provider), Some(handler)) = (&keys.settings.provider, calls::handler(call.method)) else {
                return responder.error(&RemoteException::new(exceptions::IO, "there is no key provider"));
            };
            for _ in 0..ROUNDS_MAX {
                let answer = match ask(&**provider, work.question()).await {
                    Ok(answer) => answer,
                    Err(why) => return responder.error(&refused(&why)),
                };
                let (reply, made, record) = {
                    let mut ns = keys.ns.write();
                    let reply = work.finish(&mut ns, handler, &call.body, answer, keys.clock.now());
                    let record = match reply.deferred {
                        Some(_) => None,
                        None => crate::audit::record(keys.audit.as_deref(), &ns, work.context(), &call, &reply),
                    };
                    let made = Made {
                        standing: ns.standing(),
                        after: reply.after,
                        changed: reply.after.is_some(),
                    };
                    (reply, made, record)
                };
                if let Some(Deferred::AskKeys(more)) = reply.deferred {
                    work = more;
                    continue;
                }
                if let Some(record) = record {
                    crate::audit::log(keys.audit.as_deref(), &call, &record);
                }
                keys.replies.answer(responder, reply.result, made);
                keys.replies.wake_log();
                keys.submitted.notify_one();
                return;
            }
            let busy = "the keys that were made for this call were used by others";
            responder.error(&RemoteException::new(exceptions::RETRIABLE, busy));
        });
    }

    /// Fetches keys for new files before somebody waits for them, while this NameNode is active. Also wakes
    /// [`Keys::reencrypt`] when its work may begin.
    pub async fn refill(self: Arc<Self>) {
        let Some(provider) = self.settings.provider.clone() else {
            return;
        };
        let (mut was_active, mut was_ready) = (false, false);
        loop {
            tokio::time::sleep(LOOK).await;
            let ready = {
                let ns = self.ns.read();
                ns.role() == Role::Active && !ns.blockmanager().in_safe_mode()
            };
            if ready && !was_ready {
                self.submitted.notify_one();
            }
            was_ready = ready;
            if self.replies.role() != Role::Active {
                was_active = false;
                continue;
            }
            if !was_active {
                was_active = true;
                tokio::time::sleep(self.settings.first_delay).await;
            }
            let wanted = self.ns.read().wanted_keys();
            for question in wanted {
                match ask(&*provider, &question).await {
                    Ok(answer) => self.ns.write().supply_keys(answer, self.clock.now()),
                    Err(error) => {
                        tracing::warn!(%error, "no keys for new files of an encryption zone");
                        tokio::time::sleep(self.settings.retry_pause).await;
                    }
                }
            }
        }
    }

    /// Re-encrypts zones, one after the other, while this NameNode is active.
    pub async fn reencrypt(self: Arc<Self>) {
        let Some(provider) = self.settings.provider.clone() else {
            return;
        };
        let settings = self.settings.reencryption;
        let mut work = Reencryption::default();
        loop {
            let began = Instant::now();
            let look = work.look(&self.ns.read(), settings.batch, SLICE_INODES);
            throttle(began.elapsed(), settings.handler_ratio).await;
            match look {
                Look::Nothing => {
                    // A submission that was notified of before this one waited is not lost.
                    let _ = tokio::time::timeout(settings.interval, self.submitted.notified()).await;
                }
                Look::Begun(zone) => {
                    tracing::info!(inode = zone.0, "re-encrypting an encryption zone");
                    self.ns.write().note_reencryption(Some(zone));
                }
                Look::More => tokio::task::yield_now().await,
                Look::Batch(batch) => {
                    let old: Vec<_> = batch.iter().map(|old| old.key.clone()).collect();
                    let key_name = old.first().map(|key| key.key_name.clone()).unwrap_or_default();
                    let new = provider.reencrypt(&key_name, &old).await;
                    let new = new.inspect_err(|error| {
                        tracing::warn!(%error, files = old.len(), "keys of files were not encrypted anew");
                    });
                    let began = Instant::now();
                    let updated = work.updated(&mut self.ns.write(), batch, new.ok());
                    let held = began.elapsed();
                    self.told(updated.map(drop));
                    throttle(held, settings.updater_ratio).await;
                }
                Look::End => {
                    let done = work.finish(&mut self.ns.write(), self.clock.now());
                    self.told(done);
                }
            }
        }
    }

    fn told(&self, result: Result<(), RemoteException>) {
        if let Err(error) = result {
            tracing::warn!(%error, "new keys of files could not be logged");
        }
        self.replies.wake_log();
    }
}

/// Pauses so long that the lock was held for no more than this part of the time.
async fn throttle(held: Duration, ratio: f64) {
    if ratio < 1.0 {
        tokio::time::sleep(held.div_f64(ratio).saturating_sub(held)).await;
    }
}

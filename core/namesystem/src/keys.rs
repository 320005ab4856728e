//! Keys of encryption zones: what is asked of a key provider (a KMS), and the encrypted keys for new files that are kept at
//! hand.
//!
//! A key provider takes milliseconds at best, so nobody asks it under the lock. A call that needs a key and finds none is
//! deferred with a [`KeyQuestion`]: the shell asks, hands the answer over, and runs the call again, from its checks on
//! ([`KeyWork`]). Mostly there is one at hand, because the shell fetches new ones before the last is used
//! ([`Namesystem::wanted_keys`]).
//!
//! All of it is soft state of one NameNode: a key that was fetched and not used is in no log and is forgotten with the
//! process.
//!
//! Mirrors `ValueQueue` of `KMSClientProvider`, and the order of `FSNamesystem.startFileInt`.

use crate::context::{CallContext, MethodHandler, Reply};
use crate::{Namesystem, Role};
use bytes::Bytes;
use hathi_blockmanager::Now;
pub use hathi_namespace::EncryptedKey;
use hathi_namespace::FileKeys;
use std::collections::{BTreeMap, VecDeque};

/// How keys are had (`hadoop.security.key.provider.path`, `hadoop.security.kms.client.encrypted.key.cache.*`).
#[derive(Clone, Debug, PartialEq)]
pub struct KeyOptions {
    /// Where the key provider is, as clients are told; empty without one.
    pub provider_uri: String,
    /// Keys that are kept at hand for each zone's key, at most.
    pub cache_size: usize,
    /// More are fetched when there are fewer than this part of `cache_size`.
    pub low_watermark: f64,
    /// Keys that nobody has used for so long are forgotten.
    pub expiry_ms: u64,
    /// `dfs.namenode.list.encryption.zones.num.responses`
    pub zones_in_a_page: usize,
    /// `dfs.namenode.list.reencryption.status.num.responses`
    pub statuses_in_a_page: usize,
}

impl Default for KeyOptions {
    fn default() -> Self {
        KeyOptions {
            provider_uri: String::new(),
            cache_size: 500,
            low_watermark: 0.3,
            expiry_ms: 43_200_000,
            zones_in_a_page: 100,
            statuses_in_a_page: 100,
        }
    }
}

impl KeyOptions {
    /// Whether there is a key provider.
    #[must_use]
    pub fn has_provider(&self) -> bool {
        !self.provider_uri.is_empty()
    }

    /// Below so many keys more are fetched.
    fn low(&self) -> usize {
        ((self.cache_size as f64 * self.low_watermark) as usize).max(1)
    }
}

/// What is asked of the key provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyQuestion {
    /// New encrypted keys for files (`generateEncryptedKey`).
    Generate {
        /// Name of the zone's key.
        key_name: String,
        /// Number of keys.
        count: usize,
    },
    /// Whether the key exists, and its cipher (`getMetadata`).
    Metadata {
        /// Its name.
        key_name: String,
    },
    /// The version of the key that new encrypted keys have now: one is made, and looked at.
    CurrentVersion {
        /// Its name.
        key_name: String,
    },
}

/// What the key provider says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyAnswer {
    /// To [`KeyQuestion::Generate`].
    Generated {
        /// Name of the zone's key.
        key_name: String,
        /// New keys; at least one.
        keys: Vec<EncryptedKey>,
    },
    /// To [`KeyQuestion::Metadata`].
    Metadata {
        /// Name of the key.
        key_name: String,
        /// Its cipher, as `AES/CTR/NoPadding`. `None` if there is no such key.
        cipher: Option<String>,
    },
    /// To [`KeyQuestion::CurrentVersion`].
    CurrentVersion {
        /// Name of the key.
        key_name: String,
        /// Name of the version.
        version_name: String,
    },
}

/// Keys for files that are encrypted with one zone's key.
#[derive(Debug, Default)]
struct Queue {
    keys: VecDeque<EncryptedKey>,
    /// When one was last taken or came, ms of the monotonic clock.
    used_ms: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct KeyCache {
    queues: BTreeMap<String, Queue>,
    /// Answers for the one call that is run right now.
    ciphers: BTreeMap<String, Option<String>>,
    versions: BTreeMap<String, String>,
}

impl FileKeys for KeyCache {
    fn key(&self, key_name: &str) -> Option<EncryptedKey> {
        self.queues.get(key_name)?.keys.front().cloned()
    }
}

impl KeyCache {
    /// Takes the key that [`FileKeys::key`] has shown: each is for one file.
    pub(crate) fn take(&mut self, key_name: &str, mono_ms: u64) {
        if let Some(queue) = self.queues.get_mut(key_name) {
            queue.keys.pop_front();
            queue.used_ms = mono_ms;
        }
    }

    /// Forgets keys: those that are made from now on may be encrypted with another version.
    pub(crate) fn drain(&mut self, key_name: &str) {
        self.queues.remove(key_name);
    }

    /// Forgets what nobody has used for long.
    pub(crate) fn expire(&mut self, options: &KeyOptions, mono_ms: u64) {
        self.queues
            .retain(|_, queue| mono_ms.saturating_sub(queue.used_ms) < options.expiry_ms);
    }

    /// The cipher of a key, as it was just answered. The outer `None`: nobody has asked.
    pub(crate) fn take_cipher(&mut self, key_name: &str) -> Option<Option<String>> {
        self.ciphers.remove(key_name)
    }

    /// The version of a key, as it was just answered.
    pub(crate) fn take_version(&mut self, key_name: &str) -> Option<String> {
        self.versions.remove(key_name)
    }

    fn supply(&mut self, answer: KeyAnswer, options: &KeyOptions, mono_ms: u64) {
        match answer {
            KeyAnswer::Generated { key_name, keys } => {
                let queue = self.queues.entry(key_name.clone()).or_default();
                queue.used_ms = mono_ms;
                let room = options.cache_size.max(1).saturating_sub(queue.keys.len());
                let good = keys.into_iter().filter(|key| key.key_name == key_name);
                queue.keys.extend(good.take(room));
                debug_assert!(queue.keys.len() <= options.cache_size.max(1), "so many keys are kept");
            }
            KeyAnswer::Metadata { key_name, cipher } => drop(self.ciphers.insert(key_name, cipher)),
            KeyAnswer::CurrentVersion { key_name, version_name } => {
                self.versions.insert(key_name, version_name);
            }
        }
    }
}

/// A call that waits for the key provider.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyWork {
    question: KeyQuestion,
    ctx: CallContext,
}

impl KeyWork {
    pub(crate) fn new(question: KeyQuestion, ctx: &CallContext) -> KeyWork {
        KeyWork {
            question,
            ctx: ctx.clone(),
        }
    }

    /// What the key provider is to be asked.
    #[must_use]
    pub fn question(&self) -> &KeyQuestion {
        &self.question
    }

    /// The caller.
    #[must_use]
    pub fn context(&self) -> &CallContext {
        &self.ctx
    }

    /// Runs the call again with the answer. Others may have changed the role, the namespace or the keys meanwhile, so all is
    /// checked again, and the reply may be deferred once more.
    pub fn finish(
        &mut self,
        ns: &mut Namesystem,
        handler: MethodHandler,
        body: &Bytes,
        answer: KeyAnswer,
        now: Now,
    ) -> Reply {
        self.ctx.now_ms = now.wall_ms;
        self.ctx.mono_ms = now.monotonic_ms;
        ns.supply_keys(answer, now);
        // The client of a call that another NameNode passed on may have given it up while the key provider was asked.
        let reply = match ns.admit(&self.ctx) {
            Ok(()) => handler.run(ns, &self.ctx, body),
            Err(refused) => Reply::refuse(refused),
        };
        // An answer is as old as the question: the next call asks anew.
        debug_assert!(
            ns.keys.ciphers.len() + ns.keys.versions.len() <= 1,
            "one answer was there for the call"
        );
        ns.keys.ciphers.clear();
        ns.keys.versions.clear();
        reply
    }
}

impl Namesystem {
    /// Keeps what the key provider has answered.
    pub fn supply_keys(&mut self, answer: KeyAnswer, now: Now) {
        self.keys.supply(answer, &self.config.keys, now.monotonic_ms);
    }

    /// What an active should ask of the key provider before somebody needs it: keys for files of zones that have few at
    /// hand.
    #[must_use]
    pub fn wanted_keys(&self) -> Vec<KeyQuestion> {
        let options = &self.config.keys;
        if !options.has_provider() || self.role() != Role::Active || !self.namespace().has_zones() {
            return Vec::new();
        }
        let at_hand = |key_name: &str| self.keys.queues.get(key_name).map_or(0, |queue| queue.keys.len());
        let low = self
            .namespace()
            .zone_keys()
            .into_iter()
            .filter(|key_name| at_hand(key_name) < options.low());
        low.map(|key_name| KeyQuestion::Generate {
            count: options.cache_size.max(1) - at_hand(&key_name).min(options.cache_size.max(1) - 1),
            key_name,
        })
        .collect()
    }

    /// Number of keys at hand that are encrypted with the key of this name.
    #[must_use]
    pub fn keys_at_hand(&self, key_name: &str) -> usize {
        self.keys.queues.get(key_name).map_or(0, |queue| queue.keys.len())
    }
}

//! What the namespace keeps for other NameNodes, and gives back in logs and images: delegation tokens and master keys,
//! cache pools and directives. The erasure coding policies of the cluster are kept with them.
//!
//! Invariants ([`Carried::check`]):
//! - what is found by an id or a name has it.
//!
//! Each change tells the digest what it may change.
//!
//! Mirrors `DelegationTokenSecretManager` and `CacheManager`.

mod image;
mod secrets;
mod terms;

use std::collections::BTreeMap;

use hathi_formats::editlog::{CacheDirectiveInfo, CachePoolInfo, DelegationKey, DelegationTokenIdentifier};
use hathi_formats::proto::hdfs::{CacheDirectiveInfoExpirationProto, CacheDirectiveInfoProto, CachePoolInfoProto};

use crate::digest::marks::Sum;
use crate::erasure_coding::ErasureCoding;

/// The state of `DelegationTokenSecretManager` that the edits carry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    current_key_id: i32,
    sequence_number: i32,
    keys: BTreeMap<i32, DelegationKey>,
    /// By sequence number: the identifier and its expiry in ms.
    tokens: BTreeMap<i32, (DelegationTokenIdentifier, i64)>,
}

/// The state of `CacheManager`.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    next_directive_id: i64,
    pub(crate) pools: BTreeMap<String, CachePoolInfoProto>,
    pub(crate) directives: BTreeMap<i64, CacheDirectiveInfoProto>,
}

impl Default for Cache {
    fn default() -> Self {
        Cache {
            next_directive_id: 1,
            pools: BTreeMap::new(),
            directives: BTreeMap::new(),
        }
    }
}

/// See the module. A clone is a frozen view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    secrets: Secrets,
    cache: Cache,
    erasure_coding: ErasureCoding,
}

impl Carried {
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    pub(crate) fn erasure_coding(&self) -> &ErasureCoding {
        &self.erasure_coding
    }

    #[cfg(test)]
    pub(crate) fn erasure_coding_mut(&mut self) -> &mut ErasureCoding {
        &mut self.erasure_coding
    }

    // ---- changes ----

    /// `part` is the sum over everything that may change.
    fn change(&mut self, sum: &mut Sum, part: impl Fn(&Carried) -> u64, change: impl FnOnce(&mut Carried)) {
        sum.subtract(part(self));
        change(self);
        sum.add(part(self));
    }

    pub(crate) fn change_token(
        &mut self,
        sum: &mut Sum,
        token: &DelegationTokenIdentifier,
        change: impl FnOnce(&mut Secrets),
    ) {
        let part = |carried: &Carried| carried.secrets.token_and_numbers(token.sequence_number);
        self.change(sum, part, |carried| change(&mut carried.secrets));
    }

    pub(crate) fn add_master_key(&mut self, sum: &mut Sum, key: &DelegationKey) {
        let part = |carried: &Carried| carried.secrets.key_and_numbers(key.key_id);
        self.change(sum, part, |carried| carried.secrets.add_key(key));
    }

    pub(crate) fn change_pool(&mut self, sum: &mut Sum, name: &str, change: impl FnOnce(&mut Cache)) {
        let part = |carried: &Carried| carried.cache.pool_with_directives(name);
        self.change(sum, part, |carried| change(&mut carried.cache));
    }

    pub(crate) fn change_directive(&mut self, sum: &mut Sum, id: i64, change: impl FnOnce(&mut Cache)) {
        let part = |carried: &Carried| carried.cache.directive_and_next(id);
        self.change(sum, part, |carried| change(&mut carried.cache));
    }

    pub(crate) fn change_policies<R>(&mut self, sum: &mut Sum, change: impl FnOnce(&mut ErasureCoding) -> R) -> R {
        sum.subtract(self.erasure_coding.terms());
        let changed = change(&mut self.erasure_coding);
        sum.add(self.erasure_coding.terms());
        changed
    }

    // ---- whole ----

    /// Panics when an invariant of the module does not hold.
    pub(crate) fn check(&self) {
        for (id, directive) in &self.cache.directives {
            assert_eq!(directive.id(), *id, "a cache directive is found by its id");
        }
        for (name, pool) in &self.cache.pools {
            assert_eq!(pool.pool_name(), name, "a cache pool is found by its name");
        }
        for (number, (token, _)) in &self.secrets.tokens {
            assert_eq!(token.sequence_number, *number, "a token is found by its number");
        }
        self.erasure_coding.check();
    }
}

impl Secrets {
    pub(crate) fn add_token(&mut self, token: &DelegationTokenIdentifier, expiry_ms: i64) {
        self.sequence_number = self.sequence_number.max(token.sequence_number);
        self.tokens.insert(token.sequence_number, (token.clone(), expiry_ms));
    }

    pub(crate) fn renew_token(&mut self, token: &DelegationTokenIdentifier, expiry_ms: i64) {
        if let Some(known) = self.tokens.get_mut(&token.sequence_number) {
            known.1 = expiry_ms;
        }
    }

    pub(crate) fn cancel_token(&mut self, token: &DelegationTokenIdentifier) {
        self.tokens.remove(&token.sequence_number);
    }

    pub(crate) fn add_key(&mut self, key: &DelegationKey) {
        self.current_key_id = self.current_key_id.max(key.key_id);
        self.keys.insert(key.key_id, key.clone());
    }
}

impl Cache {
    /// The id of the next directive.
    pub(crate) fn next_directive_id(&self) -> i64 {
        self.next_directive_id
    }

    /// Adds a pool, or changes the given fields of an existing one.
    pub(crate) fn put_pool(&mut self, info: &CachePoolInfo) {
        let pool = self
            .pools
            .entry(info.pool_name.clone())
            .or_insert_with(|| CachePoolInfoProto {
                pool_name: Some(info.pool_name.clone()),
                ..Default::default()
            });
        if let Some(owner) = &info.owner_name {
            pool.owner_name = Some(owner.clone());
        }
        if let Some(group) = &info.group_name {
            pool.group_name = Some(group.clone());
        }
        if let Some(mode) = info.mode {
            pool.mode = Some(i32::from(mode));
        }
        if let Some(limit) = info.limit {
            pool.limit = Some(limit);
        }
        if let Some(expiry) = info.max_relative_expiry {
            pool.max_relative_expiry = Some(expiry);
        }
        if let Some(replication) = info.default_replication {
            pool.default_replication = Some(replication as u16 as u32);
        }
    }

    pub(crate) fn remove_pool(&mut self, name: &str) {
        self.pools.remove(name);
        self.directives
            .retain(|_, directive| directive.pool.as_deref() != Some(name));
    }

    pub(crate) fn put_directive(&mut self, info: &CacheDirectiveInfo) {
        self.next_directive_id = self.next_directive_id.max(info.id.saturating_add(1));
        debug_assert!(
            self.next_directive_id > info.id || info.id == i64::MAX,
            "the id of a cache directive is given out once"
        );
        let directive = self
            .directives
            .entry(info.id)
            .or_insert_with(|| CacheDirectiveInfoProto {
                id: Some(info.id),
                ..Default::default()
            });
        if let Some(path) = &info.path {
            directive.path = Some(path.clone());
        }
        if let Some(replication) = info.replication {
            directive.replication = Some(replication as u16 as u32);
        }
        if let Some(pool) = &info.pool {
            directive.pool = Some(pool.clone());
        }
        if let Some(millis) = info.expiration {
            directive.expiration = Some(CacheDirectiveInfoExpirationProto {
                millis,
                is_relative: false,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::checked::{Break, DIGEST, check_finds};

    const BREAKS: [(&str, Break); 1] = [(DIGEST, |ns| ns.carried.cache.next_directive_id += 1)];

    #[test]
    fn whatever_a_bug_may_break_in_what_is_carried_is_found() {
        check_finds(&BREAKS);
    }
}

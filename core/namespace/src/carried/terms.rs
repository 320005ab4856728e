//! What the digest counts of what is carried.

use prost::Message;

use super::{Cache, Carried, Secrets};
use crate::digest::terms::{Fact, Term};

impl Carried {
    /// Everything but the snapshottable directories, which the tree counts.
    pub(crate) fn terms(&self) -> u64 {
        self.secrets
            .terms()
            .wrapping_add(self.cache.terms())
            .wrapping_add(self.erasure_coding.terms())
    }
}

impl Secrets {
    fn terms(&self) -> u64 {
        let tokens = self.tokens.keys().map(|number| self.token(*number));
        let keys = self.keys.keys().map(|id| self.master_key(*id));
        tokens.chain(keys).fold(self.numbers(), u64::wrapping_add)
    }

    fn numbers(&self) -> u64 {
        Term::of(Fact::Secrets)
            .signed(i64::from(self.current_key_id))
            .signed(i64::from(self.sequence_number))
            .end()
    }

    /// A master key, and the numbers of the newest.
    pub(super) fn key_and_numbers(&self, id: i32) -> u64 {
        self.master_key(id).wrapping_add(self.numbers())
    }

    /// A token, and the numbers of the newest.
    pub(super) fn token_and_numbers(&self, number: i32) -> u64 {
        self.token(number).wrapping_add(self.numbers())
    }

    pub(super) fn master_key(&self, id: i32) -> u64 {
        self.keys.get(&id).map_or(0, |key| {
            Term::of(Fact::MasterKey)
                .signed(i64::from(id))
                .signed(key.expiry_date)
                .word(u64::from(key.key.is_some()))
                .bytes(key.key.as_deref().unwrap_or_default())
                .end()
        })
    }

    fn token(&self, number: i32) -> u64 {
        self.tokens.get(&number).map_or(0, |(token, expiry)| {
            Term::of(Fact::Token)
                .signed(i64::from(number))
                .signed(*expiry)
                .bytes(token.owner.as_bytes())
                .bytes(token.renewer.as_bytes())
                .bytes(token.real_user.as_bytes())
                .signed(token.issue_date)
                .signed(token.max_date)
                .signed(i64::from(token.master_key_id))
                .end()
        })
    }
}

impl Cache {
    fn terms(&self) -> u64 {
        let directives = self.directives.keys().map(|id| self.directive(*id));
        let pools = self.pools.keys().map(|name| self.pool(name));
        directives.chain(pools).fold(self.next_directive(), u64::wrapping_add)
    }

    fn next_directive(&self) -> u64 {
        Term::of(Fact::NextDirective).signed(self.next_directive_id).end()
    }

    fn directive(&self, id: i64) -> u64 {
        self.directives.get(&id).map_or(0, |directive| {
            let bytes = directive.encode_to_vec();
            Term::of(Fact::Directive).signed(id).bytes(&bytes).end()
        })
    }

    /// A cache directive, and the number of the next one.
    pub(super) fn directive_and_next(&self, id: i64) -> u64 {
        self.directive(id).wrapping_add(self.next_directive())
    }

    fn pool(&self, name: &str) -> u64 {
        self.pools.get(name).map_or(0, |pool| {
            let bytes = pool.encode_to_vec();
            Term::of(Fact::Pool).bytes(name.as_bytes()).bytes(&bytes).end()
        })
    }

    /// A cache pool with its directives.
    pub(super) fn pool_with_directives(&self, name: &str) -> u64 {
        let all = self.directives.iter();
        let own = all.filter(|(_, directive)| directive.pool.as_deref() == Some(name));
        own.map(|(id, _)| self.directive(*id))
            .fold(self.pool(name), u64::wrapping_add)
    }
}

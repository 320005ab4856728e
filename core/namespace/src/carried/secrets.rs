//! Delegation tokens and master keys, as the active asks for them, and which keys are forgotten.

use hathi_formats::editlog::{DelegationKey, DelegationTokenIdentifier};

use super::{Carried, Secrets};
use crate::digest::marks::Sum;
use crate::namespace::Namespace;

impl Namespace {
    /// Id of the newest master key; 0 before the first.
    #[must_use]
    pub fn current_master_key_id(&self) -> i32 {
        self.carried.secrets.current_key_id
    }

    /// Number of the newest delegation token; 0 before the first.
    #[must_use]
    pub fn token_sequence_number(&self) -> i32 {
        self.carried.secrets.sequence_number
    }

    /// The bytes of a master key.
    #[must_use]
    pub fn master_key(&self, id: i32) -> Option<&[u8]> {
        self.carried.secrets.keys.get(&id)?.key.as_deref()
    }

    /// Whether exactly this token was issued, and is neither cancelled nor removed.
    #[must_use]
    pub fn has_token(&self, token: &DelegationTokenIdentifier) -> bool {
        let known = self.carried.secrets.tokens.get(&token.sequence_number);
        known.is_some_and(|(known, _)| known == token)
    }

    /// Whether any token is kept.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        !self.carried.secrets.tokens.is_empty()
    }

    /// Up to `max` tokens that nobody has renewed until now, in ms. Those whose key is unknown are of no use, and count as
    /// well (`addPersistedDelegationToken`).
    #[must_use]
    pub fn expired_tokens(&self, now_ms: i64, max: usize) -> Vec<DelegationTokenIdentifier> {
        let secrets = &self.carried.secrets;
        let is_expired = |(token, expiry): &&(DelegationTokenIdentifier, i64)| {
            *expiry < now_ms || !secrets.keys.contains_key(&token.master_key_id)
        };
        let expired = secrets.tokens.values().filter(is_expired);
        expired.take(max).map(|(token, _)| token.clone()).collect()
    }
}

impl Carried {
    /// A token is issued. Its date says what time it is, so keys that no token can have any more are forgotten here, at the
    /// same transaction on every NameNode (`removeExpiredKeys`).
    pub(crate) fn add_token(&mut self, sum: &mut Sum, token: &DelegationTokenIdentifier, expiry_ms: i64) {
        let expired = self.secrets.expired_keys(token);
        let part = |carried: &Carried| {
            let secrets = &carried.secrets;
            let keys = expired.iter().map(|id| secrets.master_key(*id));
            keys.fold(secrets.token_and_numbers(token.sequence_number), u64::wrapping_add)
        };
        self.change(sum, part, |carried| {
            for id in &expired {
                carried.secrets.keys.remove(id);
            }
            carried.secrets.add_token(token, expiry_ms);
        });
    }
}

impl Secrets {
    /// The keys that had expired when this token was issued. A key lives longer than every token that is made with it.
    fn expired_keys(&self, token: &DelegationTokenIdentifier) -> Vec<i32> {
        let is_expired = |key: &&DelegationKey| {
            key.expiry_date < token.issue_date && key.key_id != token.master_key_id && key.key_id != self.current_key_id
        };
        let expired = self.keys.values().filter(is_expired);
        expired.map(|key| key.key_id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NamespaceConfig;
    use hathi_formats::editlog::EditOp;

    fn key(id: i32, expiry_date: i64) -> EditOp {
        EditOp::UpdateMasterKey {
            key: DelegationKey {
                key_id: id,
                expiry_date,
                key: Some(vec![7; 20]),
            },
        }
    }

    fn token(number: i32, key: i32, issue_date: i64) -> DelegationTokenIdentifier {
        DelegationTokenIdentifier {
            owner: "alice".to_owned(),
            renewer: "yarn".to_owned(),
            issue_date,
            max_date: issue_date + 100,
            sequence_number: number,
            master_key_id: key,
            ..DelegationTokenIdentifier::default()
        }
    }

    fn issue(ns: &mut Namespace, txid: u64, token: &DelegationTokenIdentifier, expiry_time: i64) {
        let token = token.clone();
        ns.apply(txid, &EditOp::GetDelegationToken { token, expiry_time })
            .unwrap();
        ns.check();
    }

    #[test]
    fn keys_are_forgotten_when_a_token_tells_that_they_have_expired() {
        let mut ns = Namespace::new(NamespaceConfig::default());
        ns.apply(1, &key(1, 50)).unwrap();
        issue(&mut ns, 2, &token(1, 1, 10), 20);
        ns.apply(3, &key(2, 90)).unwrap();
        issue(&mut ns, 4, &token(2, 2, 50), 60);
        assert!(ns.master_key(1).is_some(), "its last moment counts");
        issue(&mut ns, 5, &token(3, 2, 51), 61);
        assert!(ns.master_key(1).is_none());
        issue(&mut ns, 6, &token(4, 2, 1000), 1010);
        assert!(ns.master_key(2).is_some(), "the newest one stays");
        assert_eq!((ns.current_master_key_id(), ns.token_sequence_number()), (2, 4));
    }

    #[test]
    fn a_token_expires_by_its_time_or_with_its_key_and_is_known_by_all_that_it_says() {
        let mut ns = Namespace::new(NamespaceConfig::default());
        ns.apply(1, &key(1, 500)).unwrap();
        let (first, second, orphan) = (token(1, 1, 10), token(2, 1, 11), token(3, 9, 12));
        issue(&mut ns, 2, &first, 20);
        issue(&mut ns, 3, &second, 30);
        issue(&mut ns, 4, &orphan, 900);
        assert_eq!(ns.expired_tokens(20, 10), std::slice::from_ref(&orphan));
        assert_eq!(ns.expired_tokens(1000, 1), std::slice::from_ref(&first));
        assert_eq!(ns.expired_tokens(21, 10), [first.clone(), orphan]);
        assert!(ns.has_token(&first));
        let mut forged = first;
        forged.owner = "root".to_owned();
        assert!(!ns.has_token(&forged));
        ns.apply(5, &EditOp::CancelDelegationToken { token: second.clone() })
            .unwrap();
        assert!(!ns.has_token(&second));
        ns.check();
    }
}

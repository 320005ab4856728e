//! Delegation tokens and the keys that make their passwords (`DelegationTokenSecretManager`,
//! `AbstractDelegationTokenSecretManager`).
//!
//! Keys and tokens are in the namespace, so every NameNode can take over. Here is what an active does about them. Its keys
//! are made of bytes that the shell draws.
//!
//! Invariants:
//! - A token is issued only with a key that this active has made, and that is in the log before it.
//! - Whoever presents a password shows that he has the token: it is compared in the same time, however much of it is right.

use crate::{Namesystem, Role};
use hathi_formats::editlog::{DelegationKey, DelegationTokenIdentifier, EditOp};
use hathi_formats::exceptions::{self, RemoteException};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Length of a master key in bytes. HMAC-SHA1 uses no more than its block of 64.
pub const KEY_BYTES: usize = 32;
/// `DELEGATION_TOKEN_REMOVER_SCAN_INTERVAL_DEFAULT`, ms.
const REMOVER_SCAN_INTERVAL_MS: u64 = 3_600_000;
/// Number of expired tokens that are removed under one hold of the lock.
const REMOVED_MAX: usize = 1000;

/// `dfs.namenode.delegation.*`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretsConfig {
    /// `token.always-use`: tokens are issued although nobody has to prove who he is.
    pub always_use: bool,
    /// `key.update-interval`, ms.
    pub key_update_interval_ms: u64,
    /// `token.max-lifetime`, ms.
    pub token_max_lifetime_ms: u64,
    /// `token.renew-interval`, ms.
    pub token_renew_interval_ms: u64,
}

impl Default for SecretsConfig {
    fn default() -> Self {
        SecretsConfig {
            always_use: false,
            key_update_interval_ms: 86_400_000,
            token_max_lifetime_ms: 604_800_000,
            token_renew_interval_ms: 86_400_000,
        }
    }
}

/// What an active knows of its keys. It begins anew whenever one becomes active, as in Hadoop.
#[derive(Clone, Debug, Default)]
pub(crate) struct SecretManager {
    /// The key of new tokens.
    current: Option<DelegationKey>,
    /// When it was made, monotonic ms.
    updated_ms: u64,
    /// When expired tokens were last looked for, monotonic ms.
    scanned_ms: Option<u64>,
}

/// The password of a token (`SecretManager.createPassword`).
#[must_use]
pub fn password(identifier: &[u8], key: &[u8]) -> Vec<u8> {
    mac(identifier, key).finalize().into_bytes().to_vec()
}

/// Whether this is the password of a token.
#[must_use]
pub fn is_password(identifier: &[u8], key: &[u8], presented: &[u8]) -> bool {
    mac(identifier, key).verify_slice(presented).is_ok()
}

fn mac(identifier: &[u8], key: &[u8]) -> Hmac<Sha1> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).unwrap_or_else(|_| {
        debug_assert!(false, "HMAC takes keys of every length");
        Hmac::new(&Default::default())
    });
    mac.update(identifier);
    mac
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

impl Namesystem {
    /// Whether a new master key is due (`ExpiredTokenRemover`, `startSecretManagerIfNecessary`).
    #[must_use]
    pub fn needs_master_key(&self, mono_ms: u64) -> bool {
        let config = &self.config.secrets;
        let serves = self.role() == Role::Active && !self.is_broken() && !self.blockmanager().in_safe_mode();
        let age = mono_ms.saturating_sub(self.secret_manager.updated_ms);
        serves && config.always_use && (self.secret_manager.current.is_none() || age > config.key_update_interval_ms)
    }

    /// Makes a master key of these bytes, with which tokens are issued from now on (`updateCurrentKey`).
    ///
    /// # Errors
    /// This NameNode is not active any more.
    pub fn update_master_key(
        &mut self,
        bytes: [u8; KEY_BYTES],
        wall_ms: u64,
        mono_ms: u64,
    ) -> Result<(), RemoteException> {
        let config = self.config.secrets;
        let life = config
            .key_update_interval_ms
            .saturating_add(config.token_max_lifetime_ms);
        let key = DelegationKey {
            key_id: self.namespace().current_master_key_id().wrapping_add(1),
            expiry_date: signed(wall_ms.saturating_add(life)),
            key: Some(bytes.to_vec()),
        };
        self.commit(&[EditOp::UpdateMasterKey { key: key.clone() }])?;
        debug_assert_eq!(
            self.namespace().current_master_key_id(),
            key.key_id,
            "tokens are issued with the newest key"
        );
        self.secret_manager.current = Some(key);
        self.secret_manager.updated_ms = mono_ms;
        Ok(())
    }

    /// Issues a token. `None` when none are issued here now.
    ///
    /// # Errors
    /// The log can't hold it.
    pub(crate) fn issue_token(
        &mut self,
        owner: &str,
        renewer: &str,
        wall_ms: u64,
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>, RemoteException> {
        let Some(key) = self.secret_manager.current.clone() else {
            return Ok(None);
        };
        let config = self.config.secrets;
        let token = DelegationTokenIdentifier {
            owner: owner.to_owned(),
            renewer: renewer.to_owned(),
            real_user: String::new(),
            issue_date: signed(wall_ms),
            max_date: signed(wall_ms.saturating_add(config.token_max_lifetime_ms)),
            sequence_number: self.namespace().token_sequence_number().wrapping_add(1),
            master_key_id: key.key_id,
        };
        let identifier = token
            .to_bytes()
            .map_err(|error| RemoteException::new(exceptions::IO, error.to_string()))?;
        let expiry_time = signed(wall_ms.saturating_add(config.token_renew_interval_ms));
        let number = token.sequence_number;
        self.commit(&[EditOp::GetDelegationToken { token, expiry_time }])?;
        debug_assert_eq!(
            self.namespace().token_sequence_number(),
            number,
            "the number of a token is given out once"
        );
        let password = password(&identifier, key.key.as_deref().unwrap_or_default());
        Ok(Some((identifier, password)))
    }

    /// Whether it is time to look for tokens that have expired.
    #[must_use]
    pub fn needs_token_scan(&self, mono_ms: u64) -> bool {
        let interval = REMOVER_SCAN_INTERVAL_MS.min(self.config.secrets.token_renew_interval_ms);
        let is_due = |scanned: u64| mono_ms.saturating_sub(scanned) > interval;
        let serves = self.role() == Role::Active && !self.is_broken() && !self.blockmanager().in_safe_mode();
        serves && self.namespace().has_tokens() && self.secret_manager.scanned_ms.is_none_or(is_due)
    }

    /// Removes tokens that nobody has renewed (`removeExpiredToken`), up to a limit; the next call goes on.
    ///
    /// # Errors
    /// This NameNode is not active any more.
    pub fn remove_expired_tokens(&mut self, wall_ms: u64, mono_ms: u64) -> Result<(), RemoteException> {
        let expired = self.namespace().expired_tokens(signed(wall_ms), REMOVED_MAX);
        debug_assert!(expired.len() <= REMOVED_MAX, "the lock is held for so many");
        if expired.len() < REMOVED_MAX {
            self.secret_manager.scanned_ms = Some(mono_ms);
        }
        let ops: Vec<EditOp> = expired
            .into_iter()
            .map(|token| EditOp::CancelDelegationToken { token })
            .collect();
        self.commit(&ops).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test cases of RFC 2202.
    #[test]
    fn passwords_are_hmac_sha1() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for (key, data, expected) in [
            (
                &[0x0b; 20][..],
                &b"Hi There"[..],
                "b617318655057264e28bc0b6fb378c8ef146be00",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            ),
            (&[0xaa; 20], &[0xdd; 50], "125d7342b9ac11cd91a39af48aa17b4f63f175d3"),
            (
                &[0xaa; 80],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "aa4ae5e15272d00e95705637ce8a3b55ed402112",
            ),
        ] {
            let made = password(data, key);
            assert_eq!(hex(&made), expected);
            assert!(is_password(data, key, &made));
            assert!(!is_password(data, key, &made[..19]) && !is_password(data, b"other", &made));
        }
    }
}

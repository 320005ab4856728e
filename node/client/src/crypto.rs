//! Files of encryption zones: AES in counter mode with the file's own key, which the key provider decrypts for those who may
//! have it (`CryptoInputStream`, `CryptoOutputStream`, `HdfsKMSUtil`).
//!
//! A byte of the file is encrypted by its position alone. So any part can be read by itself, and lengths stay as they are.

use aes::{Aes128, Aes192, Aes256};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use hathi_conf::{ConfError, Configuration};
use hathi_net::ipc::UserInfo;
use hathi_net::kms::{KeyProvider, KmsOptions};
use std::fmt;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// `CipherSuiteProto.AES_CTR_NOPADDING`
pub(crate) const AES_CTR: i32 = 2;
/// `CryptoProtocolVersionProto.ENCRYPTION_ZONES`
pub(crate) const ENCRYPTION_ZONES: i32 = 2;

enum Cipher {
    Aes128(Ctr128BE<Aes128>),
    Aes192(Ctr128BE<Aes192>),
    Aes256(Ctr128BE<Aes256>),
}

/// Encrypts and decrypts, which is the same in counter mode.
pub(crate) struct FileCipher(Cipher);

impl fmt::Debug for FileCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key is shown nowhere.
        f.write_str("FileCipher")
    }
}

impl FileCipher {
    /// `None` if key or initialization vector have lengths that AES does not have.
    pub(crate) fn new(key: &[u8], iv: &[u8]) -> Option<FileCipher> {
        let cipher = match key.len() {
            16 => Cipher::Aes128(Ctr128BE::new_from_slices(key, iv).ok()?),
            24 => Cipher::Aes192(Ctr128BE::new_from_slices(key, iv).ok()?),
            32 => Cipher::Aes256(Ctr128BE::new_from_slices(key, iv).ok()?),
            _ => return None,
        };
        Some(FileCipher(cipher))
    }

    /// Encrypts or decrypts the bytes of the file from this position on.
    pub(crate) fn apply(&mut self, position: u64, bytes: &mut [u8]) {
        fn at(cipher: &mut (impl StreamCipher + StreamCipherSeek), position: u64, bytes: &mut [u8]) {
            cipher.seek(position);
            cipher.apply_keystream(bytes);
        }
        match &mut self.0 {
            Cipher::Aes128(cipher) => at(cipher, position, bytes),
            Cipher::Aes192(cipher) => at(cipher, position, bytes),
            Cipher::Aes256(cipher) => at(cipher, position, bytes),
        }
    }
}

/// Where a client has keys decrypted.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) options: KmsOptions,
    /// `hadoop.security.key.provider.path`
    pub(crate) configured: String,
    /// `dfs.client.ignore.namenode.default.kms.uri`
    pub(crate) ignores_namenode: bool,
    pub(crate) user: UserInfo,
    pub(crate) uri: OnceCell<String>,
    pub(crate) provider: OnceCell<Option<Arc<dyn KeyProvider>>>,
}

impl Keys {
    pub(crate) fn of(conf: &Configuration, user: &UserInfo) -> Result<Keys, ConfError> {
        Ok(Keys {
            options: KmsOptions::of(conf)?,
            configured: conf.get_or("hadoop.security.key.provider.path", "").trim().to_owned(),
            ignores_namenode: conf.get_bool("dfs.client.ignore.namenode.default.kms.uri", false),
            user: user.clone(),
            uri: OnceCell::new(),
            provider: OnceCell::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_decrypted_by_its_position_alone() {
        // NIST SP 800-38A, F.5.1: AES-128 in counter mode.
        let key = [
            0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c,
        ];
        let iv: Vec<u8> = (0xf0..=0xff).collect();
        let plain = [
            0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96, 0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a,
        ];
        let encrypted = [
            0x87, 0x4d, 0x61, 0x91, 0xb6, 0x20, 0xe3, 0x26, 0x1b, 0xef, 0x68, 0x64, 0x99, 0x0d, 0xb6, 0xce,
        ];
        let mut cipher = FileCipher::new(&key, &iv).unwrap();
        let mut bytes = plain;
        cipher.apply(0, &mut bytes);
        assert_eq!(bytes, encrypted);
        let mut end = [encrypted[14], encrypted[15]];
        cipher.apply(14, &mut end);
        assert_eq!(end, plain[14..]);
        // Far behind 4 GiB, where a short counter would begin anew.
        let (mut near, mut far) = ([0; 16], [0; 16]);
        cipher.apply(0, &mut near);
        cipher.apply(1 << 36, &mut far);
        assert_ne!(near, far);
        assert!(FileCipher::new(&key[1..], &iv).is_none() && FileCipher::new(&key, &iv[1..]).is_none());
    }
}

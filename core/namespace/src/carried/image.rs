//! What is carried, in images.

use std::io::{self, Write};

use hathi_formats::editlog::{DelegationKey, DelegationTokenIdentifier};
use hathi_formats::fsimage::{Image, ImageError, ImageWriter, ReadAt, SectionName};
use hathi_formats::proto::fsimage as pb;
use hathi_formats::proto::hdfs::{CacheDirectiveInfoProto, CachePoolInfoProto};

use super::{Cache, Carried, Secrets};
use crate::erasure_coding::ErasureCoding;

impl Carried {
    /// Reads everything but the snapshottable directories.
    pub(crate) fn load<F: ReadAt + ?Sized>(&mut self, image: &Image<'_, F>) -> Result<(), ImageError> {
        self.secrets = Secrets::load(image)?;
        self.cache = Cache::load(image)?;
        self.erasure_coding = ErasureCoding::load(image)?;
        Ok(())
    }

    pub(crate) fn save_secrets<W: Write>(&self, w: &mut ImageWriter<W>) -> io::Result<()> {
        let s = &self.secrets;
        w.begin(SectionName::SecretManager);
        w.message(&pb::SecretManagerSection {
            current_id: Some(s.current_key_id as u32),
            token_sequence_number: Some(s.sequence_number as u32),
            num_keys: Some(s.keys.len() as u32),
            num_tokens: Some(s.tokens.len() as u32),
        })?;
        for key in s.keys.values() {
            w.message(&pb::secret_manager_section::DelegationKey {
                id: Some(key.key_id as u32),
                expiry_date: Some(key.expiry_date as u64),
                key: key.key.clone().map(Into::into),
            })?;
        }
        for (token, expiry) in s.tokens.values() {
            w.message(&pb::secret_manager_section::PersistToken {
                version: Some(0),
                owner: Some(token.owner.clone()),
                renewer: Some(token.renewer.clone()),
                real_user: Some(token.real_user.clone()),
                issue_date: Some(token.issue_date as u64),
                max_date: Some(token.max_date as u64),
                sequence_number: Some(token.sequence_number as u32),
                master_key_id: Some(token.master_key_id as u32),
                expiry_date: Some(*expiry as u64),
            })?;
        }
        w.end();
        Ok(())
    }

    pub(crate) fn save_cache<W: Write>(&self, w: &mut ImageWriter<W>) -> io::Result<()> {
        let c = &self.cache;
        w.begin(SectionName::CacheManager);
        w.message(&pb::CacheManagerSection {
            next_directive_id: c.next_directive_id.max(1) as u64,
            num_pools: c.pools.len() as u32,
            num_directives: c.directives.len() as u32,
        })?;
        for pool in c.pools.values() {
            w.message(pool)?;
        }
        for directive in c.directives.values() {
            w.message(directive)?;
        }
        w.end();
        Ok(())
    }
}

impl Secrets {
    fn load<F: ReadAt + ?Sized>(image: &Image<'_, F>) -> Result<Secrets, ImageError> {
        let mut secrets = Secrets::default();
        let Some(section) = image.section(SectionName::SecretManager) else {
            return Ok(secrets);
        };
        let mut messages = image.messages(section);
        let Some(header) = messages.next_message::<pb::SecretManagerSection>()? else {
            return Ok(secrets);
        };
        secrets.current_key_id = header.current_id() as i32;
        secrets.sequence_number = header.token_sequence_number() as i32;
        for _ in 0..header.num_keys() {
            let key: pb::secret_manager_section::DelegationKey = messages.require()?;
            let key_id = key.id() as i32;
            let key = DelegationKey {
                key_id,
                expiry_date: key.expiry_date() as i64,
                key: key.key.map(|k| k.to_vec()),
            };
            secrets.keys.insert(key_id, key);
        }
        for _ in 0..header.num_tokens() {
            let token: pb::secret_manager_section::PersistToken = messages.require()?;
            let expiry = token.expiry_date() as i64;
            let identifier = DelegationTokenIdentifier {
                issue_date: token.issue_date() as i64,
                max_date: token.max_date() as i64,
                sequence_number: token.sequence_number() as i32,
                master_key_id: token.master_key_id() as i32,
                owner: token.owner.unwrap_or_default(),
                renewer: token.renewer.unwrap_or_default(),
                real_user: token.real_user.unwrap_or_default(),
            };
            secrets.tokens.insert(identifier.sequence_number, (identifier, expiry));
        }
        Ok(secrets)
    }
}

impl Cache {
    fn load<F: ReadAt + ?Sized>(image: &Image<'_, F>) -> Result<Cache, ImageError> {
        let mut cache = Cache::default();
        let Some(section) = image.section(SectionName::CacheManager) else {
            return Ok(cache);
        };
        let mut messages = image.messages(section);
        let Some(header) = messages.next_message::<pb::CacheManagerSection>()? else {
            return Ok(cache);
        };
        // No image is saved with an id below 1.
        cache.next_directive_id = (header.next_directive_id as i64).max(1);
        for _ in 0..header.num_pools {
            let pool: CachePoolInfoProto = messages.require()?;
            cache.pools.insert(pool.pool_name.clone().unwrap_or_default(), pool);
        }
        for _ in 0..header.num_directives {
            let directive: CacheDirectiveInfoProto = messages.require()?;
            cache.directives.insert(directive.id(), directive);
        }
        Ok(cache)
    }
}

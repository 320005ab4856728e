//! Encryption zones, and the keys of their files.

use super::FileSystem;
use crate::ClientError;
use crate::crypto::{AES_CTR, ENCRYPTION_ZONES, FileCipher};
use hathi_formats::kms::EncryptedKey;
use hathi_formats::proto::hdfs::{self, FileEncryptionInfoProto};
use hathi_net::ipc::Idempotence;
use hathi_net::kms::{KeyProvider, Kms, PROVIDER_PATH};
use std::sync::Arc;

impl FileSystem {
    /// The address of the key provider: the NameNode's, or else the configured one (`HdfsKMSUtil.getKeyProviderUri`). Empty
    /// if there is none.
    async fn key_provider_uri(&self) -> Result<&str, ClientError> {
        let uri = self.keys().uri.get_or_try_init(|| self.find_key_provider());
        Ok(uri.await?)
    }

    async fn find_key_provider(&self) -> Result<String, ClientError> {
        let keys = self.keys();
        if !keys.ignores_namenode {
            let request = hdfs::GetServerDefaultsRequestProto {};
            let answer: hdfs::GetServerDefaultsResponseProto = self
                .call("getServerDefaults", &request, Idempotence::Idempotent)
                .await?;
            let uri = answer.server_defaults.key_provider_uri.unwrap_or_default();
            if !uri.is_empty() {
                return Ok(uri);
            }
        }
        Ok(keys.configured.clone())
    }

    async fn key_provider(&self) -> Result<Option<Arc<dyn KeyProvider>>, ClientError> {
        let keys = self.keys();
        let provider = keys.provider.get_or_try_init(|| async {
            let uri = self.key_provider_uri().await?;
            if uri.is_empty() {
                return Ok::<_, ClientError>(None);
            }
            let kms = Kms::new(&keys.options, uri, &keys.user)?;
            Ok(Some(Arc::new(kms) as Arc<dyn KeyProvider>))
        });
        Ok(provider.await?.clone())
    }

    /// Whether the cluster may have encryption zones: there is a key provider.
    ///
    /// # Errors
    /// As [`FileSystem::call`].
    pub async fn may_have_zones(&self) -> Result<bool, ClientError> {
        Ok(!self.key_provider_uri().await?.is_empty())
    }

    /// The encryption zone that a path is in.
    ///
    /// # Errors
    /// As [`FileSystem::call`].
    pub async fn zone_of(&self, path: &str) -> Result<Option<hdfs::EncryptionZoneProto>, ClientError> {
        let request = hdfs::GetEzForPathRequestProto { src: path.to_owned() };
        let answer: hdfs::GetEzForPathResponseProto =
            self.call("getEZForPath", &request, Idempotence::Idempotent).await?;
        Ok(answer.zone)
    }

    /// All encryption zones. Only a superuser is told.
    ///
    /// # Errors
    /// As [`FileSystem::call`].
    pub async fn zones(&self) -> Result<Vec<hdfs::EncryptionZoneProto>, ClientError> {
        let mut all: Vec<hdfs::EncryptionZoneProto> = Vec::new();
        loop {
            let id = all.last().map_or(0, |zone| zone.id);
            let request = hdfs::ListEncryptionZonesRequestProto { id };
            let page: hdfs::ListEncryptionZonesResponseProto = self
                .call("listEncryptionZones", &request, Idempotence::Idempotent)
                .await?;
            let has_more = page.has_more && !page.zones.is_empty();
            all.extend(page.zones);
            if !has_more {
                return Ok(all);
            }
        }
    }

    /// The cipher of an encrypted file, with its key.
    pub(crate) async fn cipher(&self, path: &str, info: &FileEncryptionInfoProto) -> Result<FileCipher, ClientError> {
        let unusable = |why: String| ClientError::Encrypted {
            path: path.to_owned(),
            why,
        };
        if info.suite != AES_CTR || info.crypto_protocol_version != ENCRYPTION_ZONES {
            return Err(unusable(format!(
                "cipher suite {} of crypto protocol {} is not known",
                info.suite, info.crypto_protocol_version
            )));
        }
        let Some(provider) = self.key_provider().await? else {
            return Err(unusable(format!(
                "no key provider is configured, cannot access an encrypted file ({PROVIDER_PATH})"
            )));
        };
        let key = EncryptedKey {
            key_name: info.key_name.clone(),
            version_name: info.ez_key_version_name.clone(),
            iv: info.iv.to_vec(),
            material: info.key.to_vec(),
        };
        let plain = provider.decrypt(&key).await?;
        FileCipher::new(&plain, &info.iv).ok_or_else(|| unusable("its key has a wrong length".to_owned()))
    }
}

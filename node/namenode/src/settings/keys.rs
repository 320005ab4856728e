//! Keys of encryption zones: `hadoop.security.key.provider.path`, `hadoop.security.kms.client.*`, `dfs.namenode.reencrypt.*`.

use anyhow::Context;
use hathi_conf::{Configuration, TimeUnit};
use hathi_namesystem::keys::KeyOptions;
use hathi_net::ipc::UserInfo;
use hathi_net::kms::{KeyProvider, Kms, KmsOptions, PROVIDER_PATH};
use std::sync::Arc;
use std::time::Duration;

/// The key provider of a NameNode, and how it is used.
#[derive(Clone, Debug)]
pub struct KeySettings {
    /// `None` without one.
    pub provider: Option<Arc<dyn KeyProvider>>,
    /// `dfs.namenode.edekcacheloader.initial.delay.ms`
    pub first_delay: Duration,
    /// `dfs.namenode.edekcacheloader.interval.ms`
    pub retry_pause: Duration,
    /// `dfs.namenode.reencrypt.*`
    pub reencryption: ReencryptionSettings,
}

/// `dfs.namenode.reencrypt.*`
#[derive(Clone, Copy, Debug)]
pub struct ReencryptionSettings {
    /// Pause between two looks for zones.
    pub interval: Duration,
    /// Files of a batch.
    pub batch: usize,
    /// Part of the time for which the search may hold the lock.
    pub handler_ratio: f64,
    /// Part of the time for which the log may be written under the lock.
    pub updater_ratio: f64,
}

impl KeySettings {
    /// Those of a configuration.
    pub fn of(conf: &Configuration) -> anyhow::Result<KeySettings> {
        let user = UserInfo {
            user: super::process_user(),
            ..UserInfo::default()
        };
        let provider = match options(conf)?.provider_uri.as_str() {
            "" => None,
            uri => {
                let kms = Kms::new(&KmsOptions::of(conf)?, uri, &user).context(PROVIDER_PATH)?;
                Some(Arc::new(kms) as Arc<dyn KeyProvider>)
            }
        };
        let millis = |key: &str, default: u64| conf.get_duration(key, Duration::from_millis(default), TimeUnit::Millis);
        let positive = |key: &str| -> anyhow::Result<f64> {
            let ratio = conf.get_f64(key, 1.0)?;
            anyhow::ensure!(ratio > 0.0, "{key} is not positive.");
            Ok(ratio)
        };
        let interval = millis("dfs.namenode.reencrypt.sleep.interval", 60_000)?;
        anyhow::ensure!(
            !interval.is_zero(),
            "dfs.namenode.reencrypt.sleep.interval is not positive."
        );
        let batch = conf.get_usize("dfs.namenode.reencrypt.batch.size", 1000)?;
        anyhow::ensure!(batch > 0, "dfs.namenode.reencrypt.batch.size is not positive.");
        Ok(KeySettings {
            provider,
            first_delay: millis("dfs.namenode.edekcacheloader.initial.delay.ms", 3000)?,
            retry_pause: millis("dfs.namenode.edekcacheloader.interval.ms", 1000)?,
            reencryption: ReencryptionSettings {
                interval,
                batch,
                handler_ratio: positive("dfs.namenode.reencrypt.throttle.limit.handler.ratio")?,
                updater_ratio: positive("dfs.namenode.reencrypt.throttle.limit.updater.ratio")?,
            },
        })
    }
}

/// What the namesystem knows of it.
pub(super) fn options(conf: &Configuration) -> anyhow::Result<KeyOptions> {
    let default = KeyOptions::default();
    let low_watermark = conf.get_f64(
        "hadoop.security.kms.client.encrypted.key.cache.low-watermark",
        default.low_watermark,
    )?;
    anyhow::ensure!(
        low_watermark > 0.0 && low_watermark <= 1.0,
        "hadoop.security.kms.client.encrypted.key.cache.low-watermark must be above 0 and at most 1"
    );
    let cache_size = conf.get_usize(
        "hadoop.security.kms.client.encrypted.key.cache.size",
        default.cache_size,
    )?;
    anyhow::ensure!(
        cache_size > 0,
        "hadoop.security.kms.client.encrypted.key.cache.size must be above 0"
    );
    Ok(KeyOptions {
        provider_uri: conf.get_or("hadoop.security.key.provider.path", "").trim().to_owned(),
        cache_size,
        low_watermark,
        expiry_ms: conf.get_u64(
            "hadoop.security.kms.client.encrypted.key.cache.expiry",
            default.expiry_ms,
        )?,
        zones_in_a_page: conf
            .get_usize("dfs.namenode.list.encryption.zones.num.responses", 100)?
            .max(1),
        statuses_in_a_page: conf
            .get_usize("dfs.namenode.list.reencryption.status.num.responses", 100)?
            .max(1),
    })
}

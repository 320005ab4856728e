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
    let provider_uri = conf.get_or("hadoop.security.key.provider.path", "").trim().to_owned();
    // Hadoop's NameNode refuses it as well. Its clients only say that they have no key provider.
    anyhow::ensure!(
        provider_uri.is_empty() || (cache_size as f64 * low_watermark) as usize > 0,
        "hadoop.security.kms.client.encrypted.key.cache.size times its low-watermark must be at least 1"
    );
    Ok(KeyOptions {
        provider_uri,
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

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_conf::Environment;

    #[test]
    fn a_cache_of_keys_with_which_hadoops_clients_have_no_provider_is_refused() {
        let of = |provider: &str, size: &str| {
            let mut conf = Configuration::new(Environment::default());
            conf.set("hadoop.security.key.provider.path", provider);
            conf.set("hadoop.security.kms.client.encrypted.key.cache.size", size);
            options(&conf)
        };
        let kms = "kms://http@kms.example:9600/kms";
        assert_eq!(of(kms, "4").unwrap().cache_size, 4);
        let error = of(kms, "3").unwrap_err().to_string();
        assert!(error.contains("encrypted.key.cache.size"), "{error}");
        // Without a provider nobody has a cache.
        assert_eq!(of("", "3").unwrap().cache_size, 3);
    }
}

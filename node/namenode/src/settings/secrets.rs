//! What the configuration says of delegation tokens, and of the storage policy satisfier.

use super::Settings;
use hathi_conf::TimeUnit;
use hathi_namesystem::SatisfierConfig;
use hathi_namesystem::secrets::SecretsConfig;
use std::time::Duration;

/// `StoragePolicySatisfierMode`
const SATISFIER_MODE: &str = "dfs.storage.policy.satisfier.mode";

impl Settings {
    /// `dfs.storage.policy.satisfier.*`. Hadoop takes an unknown mode for `none`, without a word.
    pub(super) fn satisfier(&self) -> anyhow::Result<SatisfierConfig> {
        let default = SatisfierConfig::default();
        let mode = self.conf.get_or(SATISFIER_MODE, "none");
        let external = match mode.to_ascii_lowercase().as_str() {
            "external" => true,
            "none" => false,
            _ => anyhow::bail!("{SATISFIER_MODE} = '{mode}': must be none or external"),
        };
        Ok(SatisfierConfig {
            external,
            paths_max: self
                .conf
                .get_usize("dfs.storage.policy.satisfier.max.outstanding.paths", default.paths_max)?,
        })
    }

    /// `dfs.namenode.delegation.*`
    pub(super) fn secrets(&self) -> anyhow::Result<SecretsConfig> {
        let default = SecretsConfig::default();
        let ms = |key: &str, default: u64| -> anyhow::Result<u64> {
            let default = Duration::from_millis(default);
            Ok(self.conf.get_duration(key, default, TimeUnit::Millis)?.as_millis() as u64)
        };
        Ok(SecretsConfig {
            always_use: self.conf.get_flag("dfs.namenode.delegation.token.always-use", false)?,
            key_update_interval_ms: ms(
                "dfs.namenode.delegation.key.update-interval",
                default.key_update_interval_ms,
            )?,
            token_max_lifetime_ms: ms(
                "dfs.namenode.delegation.token.max-lifetime",
                default.token_max_lifetime_ms,
            )?,
            token_renew_interval_ms: ms(
                "dfs.namenode.delegation.token.renew-interval",
                default.token_renew_interval_ms,
            )?,
        })
    }
}

//! Durations and numbers of attempts of high availability (`ha.*`). Absurd values are refused, with their key.

use anyhow::{Result, bail};
use hathi_conf::Configuration;
use std::time::Duration;

/// Longest duration that is accepted: a day.
const LONGEST_MS: u64 = 86_400_000;

/// Most attempts that are accepted. With more, an operator would not notice that something is wrong.
const RETRIES_MAX: u32 = 1000;

/// A duration in milliseconds, above zero and at most a day.
///
/// # Errors
/// For any other value, with the key.
pub(super) fn duration(conf: &Configuration, key: &str, default_ms: u64) -> Result<Duration> {
    let millis = conf.get_u64(key, default_ms)?;
    if millis == 0 || millis > LONGEST_MS {
        bail!("{key} = {millis}: must be from 1 to {LONGEST_MS}");
    }
    Ok(Duration::from_millis(millis))
}

/// A number of attempts.
///
/// # Errors
/// For zero, or a number that is too large, with the key.
pub(super) fn retries(conf: &Configuration, key: &str, default: u32) -> Result<u32> {
    let retries = conf.get_u32(key, default)?;
    if retries > RETRIES_MAX {
        bail!("{key} = {retries}: must be from 0 to {RETRIES_MAX}");
    }
    Ok(retries)
}

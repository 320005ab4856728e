//! Times and tries of high availability (`ha.*`): absurd ones are refused with their key.

use anyhow::{Result, bail};
use hathi_formats::conf::Configuration;
use std::time::Duration;

/// The longest of the times that are configured here: a day.
const LONGEST_MS: u64 = 86_400_000;

/// Most tries that are configured here: who tries for longer does not see what is wrong.
const RETRIES_MAX: u32 = 1000;

/// A number of milliseconds that is more than none and not more than a day.
///
/// # Errors
/// When it is something else, with the key.
pub(super) fn duration(conf: &Configuration, key: &str, default_ms: u64) -> Result<Duration> {
    let millis = conf.get_u64(key, default_ms)?;
    if millis == 0 || millis > LONGEST_MS {
        bail!("{key} = {millis}: must be from 1 to {LONGEST_MS}");
    }
    Ok(Duration::from_millis(millis))
}

/// A number of tries.
///
/// # Errors
/// When it is none, or too large, with the key.
pub(super) fn retries(conf: &Configuration, key: &str, default: u32) -> Result<u32> {
    let retries = conf.get_u32(key, default)?;
    if retries > RETRIES_MAX {
        bail!("{key} = {retries}: must be from 0 to {RETRIES_MAX}");
    }
    Ok(retries)
}

//! What is configured about checkpoints and images: absurd values are refused with their key. Hadoop takes most of them, and
//! then makes one image after the other, or none.

use crate::settings::ImageBandwidth;
use anyhow::{Context, bail};
use hathi_conf::{Configuration, TimeUnit};
use hathi_formats::fsimage::ImageCodec;
use hathi_namespace::config::ImageOptions;
use hathi_namesystem::checkpoint::CheckpointConfig;
use std::time::Duration;

/// `dfs.namenode.checkpoint.*`
pub(super) fn checkpoint(conf: &Configuration) -> anyhow::Result<CheckpointConfig> {
    let ms = |key: &str, default_s: u64| time(conf, key, Duration::from_secs(default_s), TimeUnit::Seconds);
    let multiplier = "dfs.namenode.checkpoint.check.quiet-multiplier";
    let quiet_multiplier = conf.get_f64(multiplier, 1.5)?;
    if quiet_multiplier < 0.0 {
        bail!("{multiplier} = {quiet_multiplier}: must not be negative");
    }
    Ok(CheckpointConfig {
        period_ms: ms("dfs.namenode.checkpoint.period", 3600)?.as_millis() as u64,
        check_period_ms: ms("dfs.namenode.checkpoint.check.period", 60)?.as_millis() as u64,
        txns: conf.get_u64("dfs.namenode.checkpoint.txns", 1_000_000)?,
        quiet_multiplier,
    })
}

/// `dfs.image.compress`, `.compression.codec` and `.parallel.*`
pub(super) fn image_options(conf: &Configuration) -> anyhow::Result<ImageOptions> {
    let default = ImageOptions::default();
    let codec = if conf.get_flag("dfs.image.compress", false)? {
        let class = conf.get_or("dfs.image.compression.codec", ImageCodec::Default.class());
        let codec = ImageCodec::of_class(&class).with_context(|| {
            format!("dfs.image.compression.codec = '{class}' is refused: images can't be written in it")
        })?;
        Some(codec)
    } else {
        None
    };
    let sections = "dfs.image.parallel.target.sections";
    let parts = conf.get_usize(sections, default.parts)?;
    if parts == 0 {
        bail!("{sections} = 0: must be at least 1");
    }
    Ok(ImageOptions {
        codec,
        parts_from_inodes: conf.get_usize("dfs.image.parallel.inode.threshold", default.parts_from_inodes)?,
        parts,
    })
}

/// `dfs.image.transfer*.bandwidthPerSec`
pub(super) fn image_bandwidth(conf: &Configuration) -> anyhow::Result<ImageBandwidth> {
    Ok(ImageBandwidth {
        transfer: bandwidth(conf, "dfs.image.transfer.bandwidthPerSec", 50 << 20)?,
        bootstrap: bandwidth(conf, "dfs.image.transfer-bootstrap-standby.bandwidthPerSec", 0)?,
    })
}

/// `dfs.image.transfer.timeout`
pub(super) fn image_timeout(conf: &Configuration) -> anyhow::Result<Duration> {
    let usual = Duration::from_secs(60);
    time(conf, "dfs.image.transfer.timeout", usual, TimeUnit::Millis)
}

/// Bytes in a second; what is not positive is no limit (`ImageServlet.getThrottler`).
fn bandwidth(conf: &Configuration, key: &str, default: i64) -> anyhow::Result<u64> {
    Ok(u64::try_from(conf.get_bytes(key, default)?).unwrap_or(0))
}

/// A time of a millisecond at least.
fn time(conf: &Configuration, key: &str, default: Duration, unit: TimeUnit) -> anyhow::Result<Duration> {
    let time = conf.get_duration(key, default, unit)?;
    if time < Duration::from_millis(1) {
        bail!("{key} = {}: must be at least 1ms", conf.get_or(key, ""));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_conf::Environment;

    fn configured(settings: &[(&str, &str)]) -> Configuration {
        let mut conf = Configuration::new(Environment::default());
        for (key, value) in settings {
            conf.set(key, *value);
        }
        conf
    }

    /// Everything that this module reads.
    fn read(settings: &[(&str, &str)]) -> anyhow::Result<(CheckpointConfig, ImageOptions, ImageBandwidth, Duration)> {
        let conf = configured(settings);
        Ok((
            checkpoint(&conf)?,
            image_options(&conf)?,
            image_bandwidth(&conf)?,
            image_timeout(&conf)?,
        ))
    }

    #[test]
    fn the_times_and_sizes_of_images_are_hadoops_and_absurd_ones_are_refused_by_name() {
        let (checkpoint, options, bandwidth, timeout) = read(&[]).unwrap();
        assert_eq!((checkpoint.period_ms, checkpoint.check_period_ms), (3_600_000, 60_000));
        assert_eq!((checkpoint.txns, checkpoint.quiet_multiplier), (1_000_000, 1.5));
        assert_eq!(
            (options.codec, options.parts_from_inodes, options.parts),
            (None, 1_000_000, 12)
        );
        assert_eq!((bandwidth.transfer, bandwidth.bootstrap), (52_428_800, 0));
        assert_eq!(timeout, Duration::from_secs(60));

        let times = &[
            "0",
            "-1",
            "0s",
            "99999999999999999999",
            "600000000000000",
            "1.5",
            "soon",
        ][..];
        let numbers = &["-1", "99999999999999999999", "1.5", "many"][..];
        let sections = &["0", "-1", "99999999999999999999", "many"][..];
        let sizes = &["99999999999999999999", "9999999999g", "fast"][..];
        let flags = &["yes", "1", "ture"][..];
        for (key, absurd) in [
            ("dfs.namenode.checkpoint.period", times),
            ("dfs.namenode.checkpoint.check.period", times),
            ("dfs.namenode.checkpoint.txns", numbers),
            (
                "dfs.namenode.checkpoint.check.quiet-multiplier",
                &["-0.5", "NaN", "inf", "1e999", "some"][..],
            ),
            (
                "dfs.image.transfer.timeout",
                &["0", "-1", "99999999999999999999", "1.5", "soon"][..],
            ),
            ("dfs.image.transfer.bandwidthPerSec", sizes),
            ("dfs.image.transfer-bootstrap-standby.bandwidthPerSec", sizes),
            ("dfs.image.parallel.inode.threshold", numbers),
            ("dfs.image.parallel.target.sections", sections),
            ("dfs.image.compress", flags),
        ] {
            for value in absurd {
                match read(&[(key, value)]) {
                    Ok(taken) => panic!("{key} = {value} is taken: {taken:?}"),
                    Err(error) => {
                        let error = format!("{error:#}");
                        assert!(error.contains(key) && error.contains(value), "{error}");
                    }
                }
            }
        }
        let codec = ("dfs.image.compression.codec", "org.example.Codec");
        let error = read(&[("dfs.image.compress", "true"), codec]).unwrap_err().to_string();
        assert!(error.contains(codec.0) && error.contains(codec.1), "{error}");
        // Hadoop's way to say that there is no limit.
        let (.., unlimited, _) = read(&[("dfs.image.transfer.bandwidthPerSec", "-1")]).unwrap();
        assert_eq!(unlimited.transfer, 0);
    }
}

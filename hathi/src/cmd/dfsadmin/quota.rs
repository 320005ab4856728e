//! Quotas of directories.

use super::table::Verb;
use crate::cmd::dfs::full_path;
use crate::cmd::table::Misuse;
use anyhow::{Result, bail};
use hathi_client::FileSystem;
use hathi_formats::proto::hdfs::{self, StorageTypeProto};
use hathi_net::ipc::Idempotence;

/// `HdfsConstants.QUOTA_DONT_SET`
const QUOTA_DONT_SET: u64 = i64::MAX as u64;
/// `HdfsConstants.QUOTA_RESET`
const QUOTA_RESET: u64 = u64::MAX;

/// `-setQuota`, `-clrQuota`, `-setSpaceQuota` and `-clrSpaceQuota`, for each directory.
pub(super) async fn quota(fs: &FileSystem, verb: Verb, words: &[String]) -> Result<()> {
    let sets = matches!(verb, Verb::SetQuota | Verb::SetSpaceQuota);
    let of_space = matches!(verb, Verb::SetSpaceQuota | Verb::ClrSpaceQuota);
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut storage_type = None;
    if let Some(at) = words.iter().position(|word| *word == "-storageType") {
        let named = words.get(at + 1).map(|name| name.to_ascii_uppercase());
        let found = named.as_deref().and_then(StorageTypeProto::from_str_name);
        let Some(found) = found.filter(|_| of_space) else {
            bail!("Storage type {} is not available", named.unwrap_or_default());
        };
        storage_type = Some(found);
        words.drain(at..at + 2);
    }
    let quota = if sets && !words.is_empty() {
        let word = words.remove(0);
        match parse_quota(word, of_space) {
            Some(quota) => quota,
            None => bail!("\"{word}\" is not a valid value for a quota."),
        }
    } else {
        QUOTA_RESET
    };
    if words.is_empty() {
        bail!(Misuse("Not enough arguments: expected 1 but got 0".to_owned()));
    }
    let mut failed = Vec::new();
    for word in words {
        let path = full_path(word);
        let (namespace_quota, storagespace_quota) = if of_space {
            (QUOTA_DONT_SET, quota)
        } else {
            (quota, QUOTA_DONT_SET)
        };
        let request = hdfs::SetQuotaRequestProto {
            path,
            namespace_quota,
            storagespace_quota,
            storage_type: storage_type.map(|kind| kind as i32),
        };
        let done: Result<hdfs::SetQuotaResponseProto, _> = fs.call("setQuota", &request, Idempotence::Idempotent).await;
        if let Err(error) = done {
            let text = error
                .remote()
                .map_or_else(|| error.to_string(), |refusal| refusal.message.clone());
            failed.push(text.lines().next().unwrap_or_default().to_owned());
        }
    }
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

/// Parses a number above 0. A number of bytes may have Hadoop's binary prefixes (`TraditionalBinaryPrefix`).
pub(super) fn parse_quota(word: &str, of_space: bool) -> Option<u64> {
    let units = ["k", "m", "g", "t", "p", "e"];
    let lower = word.to_ascii_lowercase();
    let unit = units.iter().position(|unit| of_space && lower.ends_with(unit));
    let (digits, shift) = match unit {
        Some(unit) => (lower.get(..lower.len() - 1)?, 10 * (unit as u32 + 1)),
        None => (lower.as_str(), 0),
    };
    let number = digits.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    (number > 0 && number < QUOTA_DONT_SET).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_read_as_hadoop_reads_them() {
        assert_eq!(parse_quota("10", false), Some(10));
        assert_eq!(parse_quota("10k", false), None);
        assert_eq!(parse_quota("10K", true), Some(10 << 10));
        assert_eq!(parse_quota("2t", true), Some(2 << 40));
        for wrong in ["0", "-1", "", "x", "9223372036854775807", "8e"] {
            assert_eq!(parse_quota(wrong, true), None, "{wrong}");
        }
    }
}

//! Quotas: verified in plans on the active, kept up to date by `apply` everywhere (`DirectoryWithQuotaFeature`).

use hathi_formats::exceptions as ex;

use crate::feature::Quota;
use crate::namespace::Namespace;
use crate::path::refuse;
use crate::store::slab::{NONE, Slot};
use crate::types::Refused;

/// `Quota.isViolated`.
fn violated(quota: i64, used: i64, delta: i64) -> bool {
    quota >= 0 && delta > 0 && used > quota - delta
}

/// `StringUtils.TraditionalBinaryPrefix.long2String(n, "B", 2)`.
fn binary_prefix(n: i64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut unit = (63 - n.leading_zeros() as usize) / 10 - 1;
    let shift = 10 * (unit + 1);
    if n & ((1 << shift) - 1) == 0 {
        return format!("{} {}B", n >> shift, UNITS[unit]);
    }
    let mut text = format!("{:.2}", n as f64 / (1i64 << shift) as f64);
    if text.starts_with("1024") && unit + 1 < UNITS.len() {
        // Rounded up into the next unit.
        unit += 1;
        text = format!("{:.2}", n as f64 / (1i64 << (shift + 10)) as f64);
    }
    format!("{text} {}B", UNITS[unit])
}

impl Namespace {
    fn verify_one(&self, quota: &Quota, dir: Slot, ns: i64, ds: i64) -> Result<(), Refused> {
        if violated(quota.ns, quota.used_ns, ns) {
            return Err(refuse(
                ex::NS_QUOTA_EXCEEDED,
                format!(
                    "The NameSpace quota (directories and files) of directory {} is exceeded: quota={} file count={}",
                    self.path_of_slot(dir),
                    quota.ns,
                    quota.used_ns + ns
                ),
            ));
        }
        if violated(quota.ds, quota.used_ds, ds) {
            let count = quota.used_ds + ds;
            return Err(refuse(
                ex::DS_QUOTA_EXCEEDED,
                format!(
                    "The DiskSpace quota of {} is exceeded: quota = {} B = {} but diskspace consumed = {count} B = {}",
                    self.path_of_slot(dir),
                    quota.ds,
                    binary_prefix(quota.ds),
                    binary_prefix(count)
                ),
            ));
        }
        Ok(())
    }

    /// Whether `dir` and its ancestors, up to but not including `stop`, have room for the change.
    pub(crate) fn verify_quota(&self, dir: Slot, ns: i64, ds: i64, stop: Option<Slot>) -> Result<(), Refused> {
        if ns <= 0 && ds <= 0 {
            return Ok(());
        }
        let root_limited = self.root_quota.ds >= 0 || self.root_quota.ns != i64::MAX;
        if self.quotas.len() == 0 && !root_limited {
            return Ok(());
        }
        let mut at = dir;
        while at != NONE && Some(at) != stop {
            if at == self.root {
                return self.verify_one(&self.root_quota, at, ns, ds);
            }
            let rec = self.rec(at);
            if rec.has_quota()
                && let Some(quota) = self.quotas.get(at)
            {
                self.verify_one(quota, at, ns, ds)?;
            }
            at = rec.parent;
        }
        Ok(())
    }

    /// Inodes and charged bytes of a subtree (`INode.computeQuotaUsage`), as live now.
    pub(crate) fn subtree_usage(&self, top: Slot) -> (i64, i64) {
        let (mut ns, mut ds) = (0, 0);
        let mut stack = vec![top];
        while let Some(slot) = stack.pop() {
            ns += 1;
            let rec = self.rec(slot);
            if rec.is_file() {
                ds += self.file_space(slot);
            } else if rec.is_dir() {
                stack.extend(self.children(slot).iter());
            }
        }
        (ns, ds)
    }

    /// The deepest directory on both chains of ancestors (inclusive).
    pub(crate) fn common_ancestor(&self, a: Slot, b: Slot) -> Slot {
        let chain = |slot: Slot| {
            let mut out = vec![slot];
            let mut at = slot;
            while at != self.root && at != NONE {
                at = self.rec(at).parent;
                out.push(at);
            }
            out.reverse();
            out
        };
        let (a, b) = (chain(a), chain(b));
        a.iter()
            .zip(&b)
            .take_while(|(x, y)| x == y)
            .last()
            .map_or(self.root, |(x, _)| *x)
    }

    /// Whether any directory from `dir` up to but not including `stop` has a quota.
    pub(crate) fn quota_between(&self, dir: Slot, stop: Slot) -> bool {
        if self.quotas.len() == 0 {
            return false;
        }
        let mut at = dir;
        while at != NONE && at != stop {
            if self.rec(at).has_quota() {
                return true;
            }
            at = self.rec(at).parent;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::binary_prefix;

    #[test]
    fn sizes_are_shown_as_hadoop_shows_them() {
        for (n, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KB"),
            (1536, "1.50 KB"),
            ((1 << 20) - 1, "1.00 MB"),
            (3 << 20, "3 MB"),
            (i64::MAX, "8.00 EB"),
        ] {
            assert_eq!(binary_prefix(n), text);
        }
    }
}

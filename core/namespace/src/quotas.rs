//! Quotas. Plans check them on the active, and `apply` keeps the usage up to date everywhere
//! (`DirectoryWithQuotaFeature`).

use hathi_formats::exceptions as ex;

use crate::attributes::Quota;
use crate::snapshots::{Entry, SnapshotsPart};
use crate::store::slab::{NONE, Slot};
use crate::striping::Stripes;
use crate::types::Refused;
use crate::usage::{RAM_DISK, STORAGE_TYPES, Usage, type_space};
use crate::view::View;

/// Names of the storage types, for messages.
const TYPE_NAMES: [&str; STORAGE_TYPES] = ["RAM_DISK", "SSD", "DISK", "ARCHIVE", "PROVIDED", "NVDIMM"];

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
        // Rounding up has reached the next unit.
        unit += 1;
        text = format!("{:.2}", n as f64 / (1i64 << (shift + 10)) as f64);
    }
    format!("{text} {}B", UNITS[unit])
}

/// What subtrees use, and whether quotas have room.
pub(crate) trait Usages: View {
    fn verify_one(&self, quota: &Quota, dir: Slot, change: &Usage) -> Result<(), Refused> {
        if violated(quota.ns, quota.used_ns, change.ns) {
            return Err(Refused::new(
                ex::NS_QUOTA_EXCEEDED,
                format!(
                    "The NameSpace quota (directories and files) of directory {} is exceeded: quota={} file count={}",
                    self.path_of_slot(dir),
                    quota.ns,
                    quota.used_ns + change.ns
                ),
            ));
        }
        if violated(quota.ds, quota.used_ds, change.ds) {
            let count = quota.used_ds + change.ds;
            return Err(Refused::new(
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
        for (ordinal, limit) in &quota.types {
            let at = usize::try_from(*ordinal).ok().filter(|at| *at < STORAGE_TYPES);
            let Some(at) = at.filter(|at| *at != RAM_DISK) else {
                continue;
            };
            if violated(*limit, quota.used_types[at], change.types[at]) {
                return Err(Refused::new(
                    ex::QUOTA_BY_STORAGE_TYPE_EXCEEDED,
                    format!(
                        "Quota by storage type : {} on path : {} is exceeded. quota = {} but space consumed = {}",
                        TYPE_NAMES[at],
                        self.path_of_slot(dir),
                        binary_prefix(*limit),
                        binary_prefix(quota.used_types[at] + change.types[at])
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Checks that `dir` and its ancestors, up to but not including `stop`, have room for the change.
    fn verify_quota(&self, dir: Slot, change: &Usage, stop: Option<Slot>) -> Result<(), Refused> {
        if change.ns <= 0 && change.ds <= 0 && change.types.iter().all(|bytes| *bytes <= 0) {
            return Ok(());
        }
        if !self.attributes().may_limit() {
            return Ok(());
        }
        let mut at = dir;
        while at != NONE && Some(at) != stop {
            if let Some(quota) = self.quota(at) {
                self.verify_one(quota, at, change)?;
            }
            at = self.rec(at).parent();
        }
        Ok(())
    }

    /// Usage of `bytes` in each replica of a file, or of so many in all of a striped one. Its internal blocks are all on
    /// storages of one type, as the storage policies for striped files ask.
    fn space_in(&self, file: Slot, bytes: i64) -> Usage {
        self.space_under(file, bytes, || self.effective_policy(file))
    }

    fn space_under(&self, file: Slot, bytes: i64, policy: impl FnOnce() -> u8) -> Usage {
        let times = self.charged_times(file);
        Usage {
            ns: 0,
            ds: bytes.saturating_mul(i64::from(times)),
            types: if self.attributes().counts_types() {
                type_space(policy(), times, bytes)
            } else {
                [0; STORAGE_TYPES]
            },
        }
    }

    /// Usage of a file, without its inode.
    fn file_usage(&self, file: Slot) -> Usage {
        self.space_in(file, self.charged_length(file))
    }

    /// Usage of a subtree (`INode.computeQuotaUsage`), with what of it only snapshots show.
    fn subtree_usage(&self, top: Slot) -> Usage {
        self.subtree_usage_under(top, self.rec(top).parent())
    }

    /// Usage of a subtree as it would be below another directory, which may have another storage policy.
    fn subtree_usage_under(&self, top: Slot, parent: Slot) -> Usage {
        let mut usage = Usage::default();
        let inherited = match self.attributes().counts_types() {
            true => self.effective_policy(parent),
            false => 0,
        };
        let mut stack = vec![(top, inherited)];
        while let Some((slot, inherited)) = stack.pop() {
            usage.ns += 1;
            let rec = self.rec(slot);
            let policy = match rec.storage_policy {
                0 => inherited,
                own => own,
            };
            if rec.is_file() {
                usage += self.space_under(slot, self.charged_length(slot), || policy);
            } else if rec.is_dir() {
                stack.extend(self.children(slot).map(|child| (child, policy)));
                // What only snapshots show hangs here, too.
                debug_assert!(slot == top || self.rec(slot).is_live(), "what is counted is there");
                let went = self.snapshots().dir_diffs(slot).iter().flat_map(|diff| &diff.deleted);
                stack.extend(went.filter_map(|entry| match *entry {
                    Entry::Inode(child) => Some((child, policy)),
                    Entry::Former(_) => None,
                }));
            }
        }
        usage
    }

    /// The deepest directory on both chains of ancestors (inclusive).
    fn common_ancestor(&self, a: Slot, b: Slot) -> Slot {
        let chain = |slot: Slot| {
            let mut out = vec![slot];
            let mut at = slot;
            while at != self.root() && at != NONE {
                at = self.rec(at).parent();
                out.push(at);
            }
            out.reverse();
            out
        };
        let (a, b) = (chain(a), chain(b));
        debug_assert_eq!(a.first(), b.first(), "both hang below the root");
        a.iter()
            .zip(&b)
            .take_while(|(x, y)| x == y)
            .last()
            .map_or(self.root(), |(x, _)| *x)
    }

    /// Whether any directory from `dir` up to but not including `stop` has a quota.
    fn quota_between(&self, dir: Slot, stop: Slot) -> bool {
        if !self.attributes().has_quotas() {
            return false;
        }
        let mut at = dir;
        while at != NONE && at != stop {
            if self.rec(at).has_quota() {
                return true;
            }
            at = self.rec(at).parent();
        }
        false
    }
}

impl<V: View> Usages for V {}

#[cfg(test)]
mod tests {
    use super::*;

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

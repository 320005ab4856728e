//! The sums at the end of the report, in Hadoop's words.

use std::fmt::Write;

/// Sums of the report (`NamenodeFsck.Result`).
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) dirs: u64,
    pub(super) symlinks: u64,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) blocks: u64,
    pub(super) open_files: u64,
    pub(super) open_bytes: u64,
    pub(super) open_blocks: u64,
    pub(super) corrupt_files: u64,
    pub(super) missing: u64,
    pub(super) missing_bytes: u64,
    pub(super) corrupt: u64,
    pub(super) corrupt_bytes: u64,
    pub(super) below_minimum: u64,
    pub(super) minimally_replicated: u64,
    pub(super) over_replicated: u64,
    pub(super) under_replicated: u64,
    pub(super) replicas: u64,
    pub(super) expected_replicas: u64,
    pub(super) missing_replicas: u64,
    pub(super) decommissioned: u64,
    pub(super) decommissioning: u64,
    pub(super) maintenance: u64,
}

impl Totals {
    /// The lines about replicated blocks. `replication` is `dfs.replication`, `minimum` is `dfs.namenode.replication.min`.
    pub(super) fn replicated(&self, text: &mut String, replication: i64, minimum: u64) {
        // Java prints a float with at least one decimal. So does Rust's debug format.
        let share = |part: u64, whole: u64| {
            if whole == 0 {
                String::new()
            } else {
                format!(" ({:?} %)", (part * 100) as f32 / whole as f32)
            }
        };
        let of_blocks = |part: u64| share(part, self.blocks);
        let mut line = |words: &str, value: String| {
            let _ = writeln!(text, " {words}{value}");
        };
        let when = |condition: bool, value: String| if condition { value } else { String::new() };
        line(
            "Total size:\t",
            format!("{} B", self.bytes)
                + &when(
                    self.open_bytes > 0,
                    format!(" (Total open files size: {} B)", self.open_bytes),
                ),
        );
        line(
            "Total files:\t",
            self.files.to_string()
                + &when(
                    self.open_files > 0,
                    format!(" (Files currently being written: {})", self.open_files),
                ),
        );
        let average = self.bytes.checked_div(self.blocks);
        line(
            "Total blocks (validated):\t",
            self.blocks.to_string()
                + &average.map_or(String::new(), |bytes| format!(" (avg. block size {bytes} B)"))
                + &when(
                    self.open_blocks > 0,
                    format!(" (Total open file blocks (not validated): {})", self.open_blocks),
                ),
        );
        let stars = " ********************************".to_owned();
        if self.corrupt_files > 0 || self.below_minimum > 0 {
            line("", stars.clone());
            if self.below_minimum > 0 {
                line(
                    " UNDER MIN REPL'D BLOCKS:\t",
                    self.below_minimum.to_string() + &of_blocks(self.below_minimum),
                );
                line(" MINIMAL BLOCK REPLICATION:\t", minimum.to_string());
            }
            if self.corrupt_files > 0 {
                line(" CORRUPT FILES:\t", self.corrupt_files.to_string());
            }
            if self.missing > 0 {
                line(" MISSING BLOCKS:\t", self.missing.to_string());
                line(" MISSING SIZE:\t\t", format!("{} B", self.missing_bytes));
            }
            if self.corrupt > 0 {
                line(" CORRUPT BLOCKS: \t", self.corrupt.to_string());
                line(" CORRUPT SIZE:\t\t", format!("{} B", self.corrupt_bytes));
            }
            line("", stars);
        }
        for (words, count) in [
            ("Minimally replicated blocks:\t", self.minimally_replicated),
            ("Over-replicated blocks:\t", self.over_replicated),
            ("Under-replicated blocks:\t", self.under_replicated),
            // Placement judges racks. Blocks on too few racks count as low redundancy.
            ("Mis-replicated blocks:\t\t", 0),
        ] {
            line(words, count.to_string() + &of_blocks(count));
        }
        line("Default replication factor:\t", replication.to_string());
        let average = if self.blocks == 0 {
            0.0
        } else {
            self.replicas as f32 / self.blocks as f32
        };
        line("Average block replication:\t", format!("{average:?}"));
        line("Missing blocks:\t\t", self.missing.to_string());
        line("Corrupt blocks:\t\t", self.corrupt.to_string());
        line(
            "Missing replicas:\t\t",
            self.missing_replicas.to_string() + &share(self.missing_replicas, self.expected_replicas),
        );
        for (words, count) in [
            ("DecommissionedReplicas:\t", self.decommissioned),
            ("DecommissioningReplicas:\t", self.decommissioning),
            ("InMaintenanceReplicas:\t", self.maintenance),
        ] {
            if count > 0 {
                line(words, count.to_string());
            }
        }
        line("Blocks queued for replication:\t", "0".to_owned());
    }
}

impl Totals {
    /// The lines about block groups (`NamenodeFsck.ErasureCodingResult`).
    pub(super) fn erasure_coded(&self, text: &mut String) {
        let share = |part: u64, whole: u64| match whole {
            0 => String::new(),
            whole => format!(" ({:?} %)", (part * 100) as f32 / whole as f32),
        };
        let of_groups = |part: u64| share(part, self.blocks);
        let mut line = |words: &str, value: String| {
            let _ = writeln!(text, " {words}{value}");
        };
        let when = |condition: bool, value: String| if condition { value } else { String::new() };
        let open_size = format!(" (Total open files size: {} B)", self.open_bytes);
        line(
            "Total size:\t",
            format!("{} B", self.bytes) + &when(self.open_bytes > 0, open_size),
        );
        let open = format!(" (Files currently being written: {})", self.open_files);
        line(
            "Total files:\t",
            self.files.to_string() + &when(self.open_files > 0, open),
        );
        let average = self.bytes.checked_div(self.blocks);
        let average = average.map_or(String::new(), |bytes| format!(" (avg. block group size {bytes} B)"));
        let open = format!(" (Total open file block groups (not validated): {})", self.open_blocks);
        line(
            "Total block groups (validated):\t",
            self.blocks.to_string() + &average + &when(self.open_blocks > 0, open),
        );
        let stars = " ********************************".to_owned();
        if self.corrupt_files > 0 || self.below_minimum > 0 {
            line("", stars.clone());
            if self.below_minimum > 0 {
                line(
                    " UNRECOVERABLE BLOCK GROUPS:\t",
                    self.below_minimum.to_string() + &of_groups(self.below_minimum),
                );
            }
            if self.corrupt_files > 0 {
                line(" CORRUPT FILES:\t", self.corrupt_files.to_string());
            }
            if self.missing > 0 {
                line(" MISSING BLOCK GROUPS:\t", self.missing.to_string());
                line(" MISSING SIZE:\t\t", format!("{} B", self.missing_bytes));
            }
            if self.corrupt > 0 {
                line(" CORRUPT BLOCK GROUPS: \t", self.corrupt.to_string());
                line(" CORRUPT SIZE:\t\t", format!("{} B", self.corrupt_bytes));
            }
            line("", stars);
        }
        for (words, count) in [
            ("Minimally erasure-coded block groups:\t", self.minimally_replicated),
            ("Over-erasure-coded block groups:\t", self.over_replicated),
            ("Under-erasure-coded block groups:\t", self.under_replicated),
            ("Unsatisfactory placement block groups:\t", 0),
        ] {
            line(words, count.to_string() + &of_groups(count));
        }
        let average = match self.blocks {
            0 => 0.0,
            groups => self.replicas as f32 / groups as f32,
        };
        line("Average block group size:\t", format!("{average:?}"));
        line("Missing block groups:\t\t", self.missing.to_string());
        line("Corrupt block groups:\t\t", self.corrupt.to_string());
        line(
            "Missing internal blocks:\t",
            self.missing_replicas.to_string() + &share(self.missing_replicas, self.expected_replicas),
        );
        for (words, count) in [
            ("Decommissioned internal blocks:\t", self.decommissioned),
            ("Decommissioning internal blocks:\t", self.decommissioning),
            ("InMaintenance internal blocks:\t", self.maintenance),
        ] {
            if count > 0 {
                line(words, count.to_string());
            }
        }
        line("Blocks queued for replication:\t", "0".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_printed_as_hadoop_prints_them() {
        let totals = Totals {
            files: 2,
            bytes: 30,
            blocks: 3,
            minimally_replicated: 3,
            under_replicated: 1,
            replicas: 8,
            expected_replicas: 9,
            missing_replicas: 1,
            ..Totals::default()
        };
        let mut text = String::new();
        totals.replicated(&mut text, 3, 1);
        let wanted = " Total size:\t30 B\n Total files:\t2\n Total blocks (validated):\t3 (avg. block size 10 B)\n \
            Minimally replicated blocks:\t3 (100.0 %)\n Over-replicated blocks:\t0 (0.0 %)\n \
            Under-replicated blocks:\t1 (33.333332 %)\n Mis-replicated blocks:\t\t0 (0.0 %)\n \
            Default replication factor:\t3\n Average block replication:\t2.6666667\n Missing blocks:\t\t0\n \
            Corrupt blocks:\t\t0\n Missing replicas:\t\t1 (11.111111 %)\n Blocks queued for replication:\t0\n";
        assert_eq!(text, wanted);
    }
}

//! `-du`, `-df`, `-count`.

use super::listing::human_size;
use super::{Arguments, RemotePath, Shell};
use anyhow::Result;
use hathi_formats::proto::hdfs;
use hathi_net::ipc::Idempotence;

/// Hadoop's value for "no quota".
const NO_QUOTA: u64 = u64::MAX;

impl Shell {
    pub(super) async fn content_summary(&mut self, path: &RemotePath) -> Result<hdfs::ContentSummaryProto> {
        let fs = self.fs(path)?;
        let request = hdfs::GetContentSummaryRequestProto {
            path: path.path.clone(),
        };
        let answer: hdfs::GetContentSummaryResponseProto =
            fs.call("getContentSummary", &request, Idempotence::Idempotent).await?;
        Ok(answer.summary)
    }

    pub(super) async fn du(&mut self, Arguments { flags, mut words }: Arguments) -> Result<()> {
        if words.is_empty() {
            words.push(".".to_owned());
        }
        let human = flags.has("h");
        let row = |summary: &hdfs::ContentSummaryProto, path: &RemotePath| {
            let (length, consumed) = (size(summary.length, human), size(summary.space_consumed, human));
            [length, consumed, path.to_string()]
        };
        let mut rows = Vec::new();
        for item in self.expand(&words).await? {
            let paths = if item.is_dir() && !flags.has("s") {
                match self.children(&item.path).await {
                    Ok(children) => children.into_iter().map(|child| child.path).collect(),
                    Err(error) => {
                        self.fail(&item.path, &error);
                        continue;
                    }
                }
            } else {
                vec![item.path]
            };
            for path in paths {
                match self.content_summary(&path).await {
                    Ok(summary) if flags.has("x") => rows.push(row(&without_snapshots(summary), &path)),
                    Ok(summary) => rows.push(row(&summary, &path)),
                    Err(error) => self.fail(&path, &error),
                }
            }
        }
        if flags.has("v") {
            let titles = ["SIZE", "DISK_SPACE_CONSUMED_WITH_ALL_REPLICAS", "FULL_PATH_NAME"];
            rows.insert(0, titles.map(str::to_owned));
        }
        // Columns are left-aligned, and as wide as their widest cell.
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let (first, second) = (width(0), width(1));
        for [length, consumed, path] in &rows {
            println!("{length:<first$}  {consumed:<second$}  {path}");
        }
        Ok(())
    }

    pub(super) async fn df(&mut self, Arguments { flags, mut words }: Arguments) -> Result<()> {
        if words.is_empty() {
            words.push("/".to_owned());
        }
        let human = flags.has("h");
        let mut rows = vec![["Filesystem", "Size", "Used", "Available", "Use%"].map(str::to_owned)];
        for item in self.expand(&words).await? {
            let fs = self.fs(&item.path)?;
            let request = hdfs::GetFsStatusRequestProto {};
            let stats: hdfs::GetFsStatsResponseProto = fs.call("getFsStats", &request, Idempotence::Idempotent).await?;
            let authority = if item.path.authority.is_empty() {
                self.conf.default_fs().authority
            } else {
                item.path.authority.clone()
            };
            let percent = if stats.capacity == 0 {
                0.0
            } else {
                stats.used as f64 * 100.0 / stats.capacity as f64
            };
            rows.push([
                format!("hdfs://{authority}"),
                size(stats.capacity, human),
                size(stats.used, human),
                size(stats.remaining, human),
                format!("{percent:.0}%"),
            ]);
        }
        if rows.len() == 1 {
            return Ok(());
        }
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        for row in &rows {
            println!(
                "{:<w0$}  {:>w1$}  {:>w2$}  {:>w3$}  {:>w4$}",
                row[0],
                row[1],
                row[2],
                row[3],
                row[4],
                w0 = width(0),
                w1 = width(1),
                w2 = width(2),
                w3 = width(3),
                w4 = width(4)
            );
        }
        Ok(())
    }

    pub(super) async fn count(&mut self, Arguments { flags, words }: Arguments) -> Result<()> {
        let human = flags.has("h");
        // This prints quotas without counts.
        let only_quotas = flags.has("u");
        let quotas = flags.has("q") || only_quotas;
        if quotas && flags.has("x") {
            println!("q or u option is given, the -x option is ignored.");
        }
        let without_snapshots_only = flags.has("x") && !quotas;
        if flags.has("v") {
            let quota = "       QUOTA       REM_QUOTA     SPACE_QUOTA REM_SPACE_QUOTA ";
            let counts = "   DIR_COUNT   FILE_COUNT       CONTENT_SIZE ";
            println!(
                "{}{}{}PATHNAME",
                if quotas { quota } else { "" },
                if only_quotas { "" } else { counts },
                if flags.has("e") { "ERASURECODING_POLICY " } else { "" },
            );
        }
        for item in self.expand(&words).await? {
            let summary = match self.content_summary(&item.path).await {
                Ok(summary) if without_snapshots_only => without_snapshots(summary),
                Ok(summary) => summary,
                Err(error) => {
                    self.fail(&item.path, &error);
                    continue;
                }
            };
            let mut line = String::new();
            if quotas {
                line.push_str(&quota_text(&summary, human));
            }
            if !only_quotas {
                line.push_str(&format!(
                    "{:>12} {:>12} {:>18} ",
                    size(summary.directory_count, human),
                    size(summary.file_count, human),
                    size(summary.length, human)
                ));
            }
            if flags.has("e") {
                line.push_str(&policy_text(summary.erasure_coding_policy()));
            }
            println!("{line}{}", item.path);
        }
        Ok(())
    }
}

/// `ContentSummary.toErasureCodingPolicy`. The name is empty for a directory without a policy.
fn policy_text(policy: &str) -> String {
    let shown = match policy {
        "Replicated" => "Replicated".to_owned(),
        coded => format!("EC:{coded}"),
    };
    format!("{shown:>20} ")
}

/// Leaves out files that exist only in snapshots (`ContentSummary.toString` with `excludeSnapshots`).
fn without_snapshots(summary: hdfs::ContentSummaryProto) -> hdfs::ContentSummaryProto {
    hdfs::ContentSummaryProto {
        length: summary.length.saturating_sub(summary.snapshot_length()),
        file_count: summary.file_count.saturating_sub(summary.snapshot_file_count()),
        directory_count: summary
            .directory_count
            .saturating_sub(summary.snapshot_directory_count()),
        space_consumed: summary.space_consumed.saturating_sub(summary.snapshot_space_consumed()),
        ..summary
    }
}

fn size(bytes: u64, human: bool) -> String {
    if human { human_size(bytes) } else { bytes.to_string() }
}

/// The four columns of quotas (`QuotaUsage.getQuotaUsage`).
fn quota_text(summary: &hdfs::ContentSummaryProto, human: bool) -> String {
    let columns = |quota: u64, used: u64| {
        if quota == NO_QUOTA || quota > i64::MAX as u64 {
            return ("none".to_owned(), "inf".to_owned());
        }
        let left = i128::from(quota) - i128::from(used);
        let sign = if left < 0 { "-" } else { "" };
        let left = u64::try_from(left.unsigned_abs()).unwrap_or(u64::MAX);
        (size(quota, human), format!("{sign}{}", size(left, human)))
    };
    let (quota, left) = columns(summary.quota, summary.file_count + summary.directory_count);
    let (space, space_left) = columns(summary.space_quota, summary.space_consumed);
    format!("{quota:>12} {left:>15} {space:>15} {space_left:>15} ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_the_columns_of_hadoop() {
        let summary = hdfs::ContentSummaryProto {
            length: 3000,
            file_count: 2,
            directory_count: 1500,
            quota: 1000,
            space_consumed: 9000,
            space_quota: 10_240,
            snapshot_length: Some(1000),
            snapshot_file_count: Some(1),
            ..Default::default()
        };
        assert_eq!(
            quota_text(&summary, false),
            "        1000            -502           10240            1240 "
        );
        assert_eq!(
            quota_text(&summary, true),
            "        1000            -502            10 K           1.2 K "
        );
        let none = hdfs::ContentSummaryProto {
            quota: NO_QUOTA,
            space_quota: NO_QUOTA,
            ..summary.clone()
        };
        assert_eq!(
            quota_text(&none, false),
            "        none             inf            none             inf "
        );
        let rest = without_snapshots(summary);
        assert_eq!((rest.length, rest.file_count, rest.directory_count), (2000, 1, 1500));
        assert_eq!(policy_text("Replicated"), "          Replicated ");
        assert_eq!(policy_text(""), "                 EC: ");
        assert_eq!(policy_text("RS-6-3-1024k"), "     EC:RS-6-3-1024k ");
    }
}

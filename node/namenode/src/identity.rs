//! Checks that the storage of this NameNode belongs together: the layout of its directories, and the namespace of its
//! directories and of the JournalNodes. On a mismatch the NameNode refuses, as Hadoop's does
//! (`IncorrectVersionException`, `InconsistentFSStateException`). VERSION files are never changed to match.

use anyhow::bail;
use hathi_formats::ids::{LayoutVersion, NamespaceInfo};
use hathi_journal::{Answer, Request};
use hathi_journalclient::Readers;
use hathi_net::http::HttpError;
use hathi_storage::StorageState;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Time limit of a question to a JournalNode.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before JournalNodes that did not answer are asked again.
const RETRY: Duration = Duration::from_millis(500);
/// Largest answer of which only the status is needed.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Refuses a directory with another layout, whose files this NameNode could misread, or write differently.
pub fn check_layout(dir: &Path, found: LayoutVersion) -> anyhow::Result<()> {
    let ours = LayoutVersion::NAMENODE_CURRENT;
    let dir = dir.display();
    // Newer layouts have lower numbers.
    match found.0.cmp(&ours.0) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => bail!(
            "Unexpected version of storage directory {dir}. Reported: {found}. Expecting = {ours}. \
             It was written by newer software: serve it with that, or name a directory of layout {ours} in \
             dfs.namenode.name.dir"
        ),
        std::cmp::Ordering::Greater => bail!(
            "Unexpected version of storage directory {dir}. Reported: {found}. Expecting = {ours}. \
             An upgrade to version {ours} is required: start Hadoop 3.5's NameNode on it with -upgrade, finalize, and \
             then start this one"
        ),
    }
}

/// Refuses a directory with an upgrade that can still be rolled back. Serving it would make edits that a rollback
/// loses, and would tell DataNodes to delete their `previous`.
pub fn check_no_upgrade(dir: &Path, state: StorageState) -> anyhow::Result<()> {
    let previous = dir.join("previous");
    if state != StorageState::CompleteUpgrade && !previous.exists() {
        return Ok(());
    }
    bail!(
        "Directory {} is in the middle of an upgrade: {} holds the state before it. Start the Hadoop NameNode that began \
         the upgrade, and finalize it with hdfs dfsadmin -finalizeUpgrade or take it back with hdfs namenode -rollback; \
         start this one then",
        dir.display(),
        previous.display()
    )
}

/// Describes the difference between two namespaces. `None` when they are the same.
#[must_use]
pub fn difference(ours: &NamespaceInfo, theirs: &NamespaceInfo) -> Option<String> {
    let keys = [
        (
            "namespaceID",
            ours.namespace_id.to_string(),
            theirs.namespace_id.to_string(),
        ),
        ("clusterID", ours.cluster_id.clone(), theirs.cluster_id.clone()),
        ("blockpoolID", ours.block_pool_id.clone(), theirs.block_pool_id.clone()),
        ("cTime", ours.ctime.to_string(), theirs.ctime.to_string()),
        (
            "layoutVersion",
            ours.layout_version.to_string(),
            theirs.layout_version.to_string(),
        ),
    ];
    let mut differ = keys.into_iter().filter(|(_, ours, theirs)| ours != theirs);
    let (key, ours, theirs) = differ.next()?;
    Some(format!("{key} is {theirs} and not {ours}"))
}

/// Whose namespace the JournalNodes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Unknown,
    Ours,
    Foreign,
}

/// Counts the answers of JournalNodes. A single JournalNode of another cluster does not matter here, because the writer
/// leaves it out.
fn verdict(ours: usize, foreign: usize, majority: usize) -> Verdict {
    if foreign >= majority {
        Verdict::Foreign
    } else if ours >= majority {
        Verdict::Ours
    } else {
        Verdict::Unknown
    }
}

/// Asks the JournalNodes until a majority has told its namespace. Returns the reason to end when that is another
/// namespace, and otherwise never returns.
pub async fn refuse_foreign_journalnodes(readers: Arc<Readers>, info: NamespaceInfo, dir: &Path) -> anyhow::Error {
    let (mut ours, mut foreign) = (BTreeSet::new(), BTreeSet::new());
    loop {
        for index in readers.nodes.members() {
            if ours.contains(&index) || foreign.contains(&index) {
                continue;
            }
            match ask(&readers, index, &info).await {
                Verdict::Ours => {
                    ours.insert(index);
                }
                Verdict::Foreign => {
                    let journalnode = readers.nodes.address(index).map(|address| address.to_string());
                    tracing::error!(journalnode, "a JournalNode holds another namespace's journal");
                    foreign.insert(index);
                }
                Verdict::Unknown => {}
            }
        }
        match verdict(ours.len(), foreign.len(), readers.nodes.majority()) {
            Verdict::Foreign => {
                return anyhow::anyhow!(
                    "Directory {} is in an inconsistent state: it has namespaceID {} and clusterID {}, and a majority of \
                     the JournalNodes holds the journal of another namespace. Correct dfs.namenode.shared.edits.dir or \
                     dfs.namenode.name.dir, or copy the right namespace with -bootstrapStandby",
                    dir.display(),
                    info.namespace_id,
                    info.cluster_id
                );
            }
            Verdict::Ours => std::future::pending().await,
            Verdict::Unknown => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Hadoop's JournalNodes compare namespaces only when they serve a segment (`GetJournalEditServlet`), so this asks for
/// a segment that does not exist.
pub(crate) async fn ask(readers: &Arc<Readers>, index: usize, info: &NamespaceInfo) -> Verdict {
    let Some(address) = readers.nodes.address(index) else {
        return Verdict::Unknown;
    };
    let Ok(Answer::JournalState {
        http_port, from_url, ..
    }) = readers.call(index, &Request::GetJournalState, TIMEOUT).await
    else {
        return Verdict::Unknown;
    };
    let scheme = from_url
        .as_deref()
        .and_then(|url| url.split_once("://"))
        .map_or("http", |(scheme, _)| scheme);
    let url = format!(
        "{scheme}://{}:{http_port}/getJournal?jid={}&segmentTxId=0&storageInfo={}",
        address.host,
        escaped(readers.nodes.journal_id()),
        escaped(&info.to_colon_separated())
    );
    match hathi_net::http::get_bytes(&url, TIMEOUT, ANSWER_BYTES_MAX).await {
        Err(HttpError::Status { status, .. }) if status == hyper::StatusCode::FORBIDDEN => Verdict::Foreign,
        Err(HttpError::Status { status, .. }) if status == hyper::StatusCode::NOT_FOUND => Verdict::Ours,
        // The JournalNode is not formatted, is just starting, or something else answers in its place.
        _ => Verdict::Unknown,
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_layout_that_is_written_here_is_served() {
        let check = |layout| check_layout(Path::new("/name"), LayoutVersion(layout)).map_err(|error| error.to_string());
        assert_eq!(check(-67), Ok(()));
        let newer = check(-99).unwrap_err();
        assert!(
            newer.contains("/name") && newer.contains("-99") && newer.contains("newer software"),
            "{newer}"
        );
        let older = check(-63).unwrap_err();
        assert!(
            older.contains("/name") && older.contains("-63") && older.contains("-upgrade"),
            "{older}"
        );
    }

    #[test]
    fn a_directory_that_can_be_rolled_back_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check_no_upgrade(dir.path(), StorageState::Normal).is_ok());
        std::fs::create_dir(dir.path().join("previous")).unwrap();
        let refused = check_no_upgrade(dir.path(), StorageState::Normal)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("-finalizeUpgrade") && refused.contains("-rollback"),
            "{refused}"
        );
    }

    #[test]
    fn a_majority_of_strangers_is_refused_and_a_single_one_is_not() {
        assert_eq!(verdict(0, 2, 2), Verdict::Foreign);
        assert_eq!(verdict(1, 2, 2), Verdict::Foreign);
        assert_eq!(verdict(2, 1, 2), Verdict::Ours);
        assert_eq!(verdict(1, 1, 2), Verdict::Unknown);
    }

    #[test]
    fn what_differs_is_named() {
        let ours = NamespaceInfo {
            namespace_id: 1,
            cluster_id: "CID-a".to_owned(),
            ..NamespaceInfo::default()
        };
        let theirs = NamespaceInfo {
            cluster_id: "CID-b".to_owned(),
            ..ours.clone()
        };
        assert_eq!(difference(&ours, &ours), None);
        assert_eq!(difference(&ours, &theirs).unwrap(), "clusterID is CID-b and not CID-a");
    }
}

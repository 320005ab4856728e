//! Checks that the JournalNodes have the namespace of the name directories. On a mismatch the NameNode refuses, as Hadoop's
//! does (`InconsistentFSStateException`). [`hathi_nameserver::name_dirs`] compares the directories with each other.

use hathi_formats::ids::NamespaceInfo;
use hathi_journal::{Answer, Request};
use hathi_journalclient::Readers;
use hathi_net::http::HttpError;
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
    fn a_majority_of_strangers_is_refused_and_a_single_one_is_not() {
        assert_eq!(verdict(0, 2, 2), Verdict::Foreign);
        assert_eq!(verdict(1, 2, 2), Verdict::Foreign);
        assert_eq!(verdict(2, 1, 2), Verdict::Ours);
        assert_eq!(verdict(1, 1, 2), Verdict::Unknown);
    }
}

//! Checks that the JournalNodes have the namespace of the name directories. On a mismatch the NameNode refuses, as Hadoop's
//! does (`InconsistentFSStateException`). [`hathi_nameserver::name_dirs`] compares the directories with each other.

use hathi_formats::ids::NamespaceInfo;
use hathi_journal::{Answer, Request};
use hathi_journalclient::Readers;
use hathi_nameserver::journal_namespaces::{JournalNamespaces, Verdict};
use hathi_net::http::HttpError;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Time limit of a question to a JournalNode.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before JournalNodes that did not answer are asked again.
const RETRY: Duration = Duration::from_millis(500);
/// Largest answer of which only the status is needed.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Asks the JournalNodes until a majority has told its namespace. Returns the reason to end when that is another
/// namespace, and otherwise never returns.
pub async fn refuse_foreign_journalnodes(readers: Arc<Readers>, info: NamespaceInfo, dir: &Path) -> anyhow::Error {
    let mut namespaces = JournalNamespaces::default();
    loop {
        for index in readers.nodes.members() {
            if !namespaces.must_ask(index) {
                continue;
            }
            let verdict = ask(&readers, index, &info).await;
            if verdict == Verdict::Foreign {
                let journalnode = readers.nodes.address(index).map(|address| address.to_string());
                tracing::error!(journalnode, "a JournalNode holds another namespace's journal");
            }
            namespaces.told(index, verdict);
        }
        match namespaces.verdict(readers.nodes.majority()) {
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

//! Segments at the JournalNodes, and which of them are worth fetching.

use hathi_formats::ids::TxId;
use hathi_journal::Answer;
use hathi_journal::messages::{Manifest, ManifestSegment};
use hathi_journal::writer::CallError;
use hathi_namesystem::history::EditsSource;
use std::cmp::Reverse;

/// A segment at one JournalNode.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Index of the JournalNode.
    pub journalnode: usize,
    /// The segment.
    pub segment: ManifestSegment,
    /// The last transaction that may be read from it.
    pub limit: TxId,
    /// Base of the URL that the JournalNode gives itself. The name in it may not resolve here.
    pub base: String,
}

impl Candidate {
    /// Whether its content stays for good.
    #[must_use]
    pub fn source(&self) -> EditsSource {
        if self.segment.in_progress {
            EditsSource::Open
        } else {
            EditsSource::Finalized
        }
    }
}

/// The segments that hold `since`, finalized ones first, and those first that hold most. Of an open segment only what is
/// known to be committed may be read.
#[must_use]
pub fn candidates(manifests: &[(usize, Manifest)], since: TxId) -> Vec<Candidate> {
    let mut found = Vec::new();
    for (journalnode, manifest) in manifests {
        let base = manifest
            .from_url
            .clone()
            .unwrap_or_else(|| format!("http://-:{}", manifest.http_port));
        for segment in &manifest.segments {
            let Some(end) = segment.end else { continue };
            let limit = match (segment.in_progress, manifest.committed) {
                (false, _) => end,
                (true, Some(committed)) => committed.min(end),
                (true, None) => continue,
            };
            if segment.start <= since && since <= limit {
                found.push(Candidate {
                    journalnode: *journalnode,
                    segment: *segment,
                    limit,
                    base: base.clone(),
                });
            }
        }
    }
    found.sort_by_key(|found| (found.segment.in_progress, Reverse(found.limit)));
    found
}

/// The manifests among these answers, if they are a majority's.
///
/// # Errors
/// Fewer JournalNodes tell their segments. The last problem of the others, in words.
pub fn of_majority(
    answers: Vec<(usize, Result<Answer, CallError>)>,
    majority: usize,
) -> Result<Vec<(usize, Manifest)>, String> {
    let mut manifests = Vec::new();
    let mut problem = String::new();
    for (journalnode, answer) in answers {
        match answer {
            Ok(Answer::Manifest(manifest)) => manifests.push((journalnode, manifest)),
            Ok(_) => {}
            Err(CallError::Remote(exception)) => problem = exception.to_string(),
            Err(CallError::Broken(reason)) => problem = reason,
        }
    }
    if manifests.len() < majority {
        return Err(format!("no majority of JournalNodes tells its segments: {problem}"));
    }
    Ok(manifests)
}

/// The last transaction that a JournalNode has on disk, and the last one that it knows to be on a majority. Of the open
/// segment Hadoop's names the last written one, and counts as written only what is synced or committed.
pub(super) fn on_disk(manifest: &Manifest) -> (Option<TxId>, Option<TxId>) {
    let last = manifest.segments.iter().filter_map(|segment| segment.end).max();
    (last, manifest.committed)
}

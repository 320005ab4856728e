//! `/getJournal` (`GetJournalEditServlet`), `/jmx`, `/metrics`, `/health`, `/api/journalnode`.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use hathi_conf::keys::Program;
use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_net::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hathi_net::http::{
    BodySender, HttpRequest, HttpResponse, Method, Query, StatusCode, body_channel, error, health, jmx, json,
    log_level, pages,
};

use crate::exposition;
use crate::journals::{Journals, is_name};

/// Size of a read of a segment.
const PIECE_BYTES: usize = 128 << 10;
/// Number of pieces that are read ahead of the network.
const PIECES_AHEAD: usize = 2;
/// `ImageServlet`'s name for the file that is sent.
const FILE_NAME_HEADER: HeaderName = HeaderName::from_static("x-image-edits-name");

/// What its page links to.
const ABOUT: [&str; 5] = ["/api/journalnode", "/health", "/jmx", "/metrics", "/conf"];

/// Answers one request.
pub async fn handle(journals: Arc<Journals>, request: HttpRequest) -> HttpResponse {
    let head = &request.head;
    if head.method != Method::GET {
        return error(StatusCode::METHOD_NOT_ALLOWED, "only GET is served");
    }
    if let Some(response) = health::respond(head, || exposition::health(&journals)) {
        return response;
    }
    match head.path.as_str() {
        "/getJournal" => SegmentRequest::of(&head.query)
            .and_then(|asked| get_journal(&journals, &asked))
            .unwrap_or_else(|(status, message)| error(status, message)),
        "/jmx" => jmx::respond(&head.query, journals.beans()),
        "/metrics" | "/prom" => exposition::exposition(&journals).respond(head),
        "/api/journalnode" => json(StatusCode::OK, exposition::to_json(&journals).to_string()),
        "/logLevel" => log_level::respond(head).await,
        _ => pages::daemon(journals.conf(), Program::JournalNode, &ABOUT, head)
            .unwrap_or_else(|| error(StatusCode::NOT_FOUND, "no such page")),
    }
}

/// Status and reason of a refused request.
pub type Refusal = (StatusCode, String);

/// A decoded `/getJournal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRequest<'a> {
    /// The journal.
    pub journal_id: &'a str,
    /// First transaction of the segment.
    pub start: TxId,
    /// Whether a segment in progress may be sent.
    pub in_progress_ok: bool,
    /// `layoutVersion:namespaceID:cTime:clusterID` of the caller.
    storage: Option<&'a str>,
}

impl<'a> SegmentRequest<'a> {
    /// Decodes a query.
    ///
    /// # Errors
    /// The missing parameter.
    pub fn of(query: &'a Query) -> Result<SegmentRequest<'a>, Refusal> {
        let bad = |what: &str| (StatusCode::BAD_REQUEST, what.to_owned());
        let journal_id = query.get("jid").ok_or_else(|| bad("jid is missing"))?;
        if !is_name(journal_id) {
            return Err(bad("jid is no journal's"));
        }
        let start = query
            .unsigned("segmentTxId")
            .ok_or_else(|| bad("segmentTxId is missing or no transaction id"))?;
        Ok(SegmentRequest {
            journal_id,
            start: TxId(start),
            in_progress_ok: !query
                .get("inProgressOk")
                .is_some_and(|ok| ok.eq_ignore_ascii_case("false")),
            storage: query.get("storageInfo"),
        })
    }

    /// Whether the caller's storage is of this namespace and cluster. A caller that names none is served.
    #[must_use]
    pub fn is_of(&self, ours: &NamespaceInfo) -> bool {
        let Some(theirs) = self.storage else { return true };
        let mut parts = theirs.splitn(4, ':').skip(1);
        let namespace_id = parts.next().and_then(|part| part.parse().ok());
        let cluster_id = parts.nth(1);
        namespace_id == Some(ours.namespace_id) && cluster_id == Some(&ours.cluster_id)
    }
}

fn get_journal(journals: &Journals, asked: &SegmentRequest<'_>) -> Result<HttpResponse, Refusal> {
    let failed = |what: String| (StatusCode::INTERNAL_SERVER_ERROR, what);
    let &SegmentRequest { journal_id, start, .. } = asked;
    if !journals.is_known(journal_id, None) {
        return Err(failed(format!("no journal {journal_id} here")));
    }
    let journal = journals
        .get(journal_id, None)
        .map_err(|exception| failed(exception.to_string()))?;
    let segment = journal
        .with_acceptor_mut(|acceptor| {
            if acceptor.namespace_info().is_some_and(|ours| !asked.is_of(ours)) {
                let theirs = asked.storage.unwrap_or_default();
                return Err((
                    StatusCode::FORBIDDEN,
                    format!("this node has another namespace than the requester's {theirs}"),
                ));
            }
            acceptor
                .segment_file(start, asked.in_progress_ok)
                .map_err(|error| failed(error.to_string()))
        })
        .map_err(|exception| failed(exception.to_string()))??
        .ok_or_else(|| {
            (
                StatusCode::NOT_FOUND,
                format!("no edit log starts with transaction {start}"),
            )
        })?;
    let path = segment.path;
    let io_failed = |error: io::Error| failed(format!("{}: {error}", path.display()));
    let file = File::open(&path).map_err(io_failed)?;
    let there = file.metadata().map_err(io_failed)?.len();
    let length = segment.len.map_or(there, |durable| durable.min(there));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (sender, body) = body_channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || send_file(file, length, sender));
    let mut response = HttpResponse::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    let text = |value: String| HeaderValue::try_from(value).map_err(|error| failed(error.to_string()));
    headers.insert(CONTENT_DISPOSITION, text(format!("attachment; filename={name}"))?);
    headers.insert(FILE_NAME_HEADER, text(name)?);
    Ok(response)
}

/// Sends the first bytes of a file. A segment in progress grows, and bytes that are not synced belong to nobody.
fn send_file(mut file: File, length: u64, mut sender: BodySender) {
    let mut left = length;
    while left > 0 {
        let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES))];
        match file.read(&mut piece) {
            Ok(0) => return sender.abort(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                piece.truncate(read);
                left -= read as u64;
                if !sender.send_blocking(Bytes::from(piece)) {
                    return;
                }
            }
            Err(error) => return sender.abort(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_and_ctime_do_not_count() {
        let ours = NamespaceInfo {
            namespace_id: 7,
            cluster_id: "CID-a".into(),
            ..NamespaceInfo::default()
        };
        let is_of = |storage: &str| {
            let query = Query::parse(&format!("jid=ns&segmentTxId=1&storageInfo={storage}"));
            SegmentRequest::of(&query).unwrap().is_of(&ours)
        };
        assert!(is_of("-60:7:123:CID-a"));
        assert!(!is_of("-67:8:0:CID-a"));
        assert!(!is_of("-67:7:0:CID-b"));
        assert!(!is_of("nonsense"));
    }
}

//! `/getJournal` (`GetJournalEditServlet`), `/jmx`, `/metrics`.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_net::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hathi_net::http::{
    BodySender, HttpRequest, HttpResponse, Method, Query, StatusCode, body_channel, error, jmx, text,
};

use crate::journals::Journals;

/// How much of a segment is read at once.
const PIECE_BYTES: usize = 128 << 10;
/// Pieces read ahead of the network.
const PIECES_AHEAD: usize = 2;
/// `ImageServlet`'s name for the file that is sent.
const FILE_NAME_HEADER: HeaderName = HeaderName::from_static("x-image-edits-name");

/// Answers one request.
pub async fn handle(journals: Arc<Journals>, request: HttpRequest) -> HttpResponse {
    if request.method != Method::GET && request.method != Method::HEAD {
        return error(StatusCode::METHOD_NOT_ALLOWED, "only GET is served");
    }
    match request.path.as_str() {
        "/getJournal" => {
            get_journal(&journals, &request.query).unwrap_or_else(|(status, message)| error(status, message))
        }
        "/jmx" => jmx::respond(&request.query, journals.beans()),
        "/metrics" | "/prom" => text(StatusCode::OK, jmx::prometheus(&journals.beans())),
        "/" | "/index.html" | "/journalnode.html" => {
            text(StatusCode::OK, "This is a JournalNode. See /jmx and /metrics.\n")
        }
        _ => error(StatusCode::NOT_FOUND, "no such page"),
    }
}

type Refusal = (StatusCode, String);

fn get_journal(journals: &Journals, query: &Query) -> Result<HttpResponse, Refusal> {
    let bad = |what: &str| (StatusCode::BAD_REQUEST, what.to_owned());
    let failed = |what: String| (StatusCode::INTERNAL_SERVER_ERROR, what);
    let journal_id = query.get("jid").ok_or_else(|| bad("jid is missing"))?;
    let start = query
        .number("segmentTxId")
        .and_then(|txid| u64::try_from(txid).ok())
        .ok_or_else(|| bad("segmentTxId is missing or no transaction id"))?;
    let in_progress_ok = !query
        .get("inProgressOk")
        .is_some_and(|ok| ok.eq_ignore_ascii_case("false"));
    if !journals.is_known(journal_id, None) {
        return Err(failed(format!("no journal {journal_id} here")));
    }
    let journal = journals
        .get(journal_id, None)
        .map_err(|exception| failed(exception.to_string()))?;
    let segment = journal
        .with_acceptor_mut(|acceptor| {
            if let (Some(theirs), Some(ours)) = (query.get("storageInfo"), acceptor.namespace_info())
                && !same_storage(theirs, ours)
            {
                return Err((
                    StatusCode::FORBIDDEN,
                    format!("this node has another namespace than the requester's {theirs}"),
                ));
            }
            acceptor
                .segment_file(TxId(start), in_progress_ok)
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

/// Sends the first bytes of a file: a segment in progress grows, and what is not synced is nobody's.
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

/// `layoutVersion:namespaceID:cTime:clusterID`, of which only namespace and cluster count.
fn same_storage(theirs: &str, ours: &NamespaceInfo) -> bool {
    let mut parts = theirs.splitn(4, ':').skip(1);
    let namespace_id = parts.next().and_then(|part| part.parse().ok());
    let cluster_id = parts.nth(1);
    namespace_id == Some(ours.namespace_id) && cluster_id == Some(&ours.cluster_id)
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
        assert!(same_storage("-60:7:123:CID-a", &ours));
        assert!(!same_storage("-67:8:0:CID-a", &ours));
        assert!(!same_storage("-67:7:0:CID-b", &ours));
        assert!(!same_storage("nonsense", &ours));
    }
}

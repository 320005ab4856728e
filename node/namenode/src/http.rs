//! The web server: WebHDFS, `/jmx`, `/metrics`, `/health`, `/api`, `/isActive`, `/conf`, `/fsck`, `/imagetransfer` and the page of the cluster.

use crate::checkpoint::send_file;
use crate::debug_hooks;
use crate::image_upload::{Refusal, gone};
use crate::state::Shared;
use crate::storage::{NameDirs, hex, read_md5};
use crate::webhdfs::WebHdfs;
use crate::{beans, cluster, configurations, metrics, readiness, web};
use hathi_conf::keys::Program;
use hathi_formats::editlog::SegmentFile;
use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_namesystem::Role;
use hathi_net::http::{self, HttpRequest, HttpResponse, Query, jmx};
use hyper::header::{CONNECTION, CONTENT_DISPOSITION, CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

/// Answers one request, of WebHDFS or for a page.
pub async fn route(shared: Arc<Shared>, webhdfs: Arc<WebHdfs>, request: HttpRequest) -> HttpResponse {
    match webhdfs.respond(&request.head).await {
        Some(response) => response,
        None => serve(shared, request).await,
    }
}

/// Answers a request for a page.
pub async fn serve(shared: Arc<Shared>, request: HttpRequest) -> HttpResponse {
    let head = &request.head;
    if let Some(response) = http::health::respond(head, || readiness::of(&shared)) {
        return response;
    }
    match (&head.method, head.path.as_str()) {
        (&Method::GET, "/jmx") => jmx::respond(&head.query, beans::beans(&shared)),
        (&Method::GET, "/metrics" | "/prom") => metrics::exposition(&shared).respond(head),
        (&Method::GET, "/api/cluster") => api(&cluster::cluster(shared).await),
        (&Method::GET, "/api/namenode") => api(&cluster::namenode(&shared)),
        (&Method::GET, "/api/history") => api(&shared.nn.observed.history.lock().to_json()),
        (&Method::GET, "/api/configurations") => api(&configurations::differences(shared).await),
        (&Method::GET, "/startupProgress") => api(&beans::startup_json(&shared, &shared.nn.ns.read())),
        (&Method::GET, "/isActive") => is_active(&shared),
        (&Method::GET, "/logLevel") => http::log_level::respond(head).await,
        (&Method::GET, "/conf") => http::conf::respond(&shared.nn.settings.conf, Program::NameNode, head),
        (&Method::GET, "/fsck") => shared.fsck.respond(head),
        (&Method::GET, "/imagetransfer") => get_image(&shared.dirs, &head.query),
        (&Method::POST, "/debug/hang") => {
            let nn = &shared.nn;
            debug_hooks::serve(nn.debug_hooks.get(), &nn.ns, &nn.clock, &head.query)
        }
        (&Method::PUT, "/imagetransfer") => shared.uploads.put(request).await,
        (&Method::GET, _) => web::respond(head).unwrap_or_else(not_found),
        _ => not_found(),
    }
}

fn not_found() -> HttpResponse {
    http::error(StatusCode::NOT_FOUND, "Not Found")
}

/// JSON of `/api`.
fn api(value: &serde_json::Value) -> HttpResponse {
    http::json(StatusCode::OK, value.to_string())
}

fn is_active(shared: &Shared) -> HttpResponse {
    let mut response = if shared.nn.role() == Role::Active {
        http::text(StatusCode::OK, "I am Active!")
    } else {
        http::error(StatusCode::METHOD_NOT_ALLOWED, "I am not Active!")
    };
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A decoded `GET /imagetransfer` (`ImageServlet.GetImageParams`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageRequest {
    /// `getimage=1&txid=latest`
    NewestImage,
    /// `getimage=1&txid=..`
    Image(TxId),
    /// `getedit=1&startTxId=..&endTxId=..`
    Edits {
        /// First transaction of the segment.
        first: TxId,
        /// Last transaction of the segment.
        last: TxId,
    },
}

impl ImageRequest {
    /// Decodes a query.
    ///
    /// # Errors
    /// FORBIDDEN when the request names another storage than this one; GONE when it names no image and no segment.
    pub fn of(query: &Query, info: &NamespaceInfo) -> Result<ImageRequest, Refusal> {
        let gone = |why: String| (StatusCode::GONE, why);
        let own = info.to_colon_separated();
        if let Some(theirs) = query.get("storageInfo").filter(|theirs| *theirs != own) {
            let differs = format!("This namenode has storage info {own} but the secondary expected {theirs}");
            return Err((StatusCode::FORBIDDEN, differs));
        }
        if query.get("getimage").is_some() {
            let txid = query.get("txid");
            return match (txid, query.unsigned("txid")) {
                (Some("latest"), _) => Ok(ImageRequest::NewestImage),
                (_, Some(txid)) => Ok(ImageRequest::Image(TxId(txid))),
                (_, None) => Err(gone(no_image(txid.unwrap_or("null")))),
            };
        }
        if query.get("getedit").is_some() {
            return match (query.unsigned("startTxId"), query.unsigned("endTxId")) {
                (Some(first), Some(last)) if first <= last => Ok(ImageRequest::Edits {
                    first: TxId(first),
                    last: TxId(last),
                }),
                _ => Err(gone("Invalid request has no startTxId or endTxId".to_owned())),
            };
        }
        Err(gone("Illegal parameters to TransferFsImage".to_owned()))
    }
}

fn no_image(txid: impl Display) -> String {
    format!("Could not find image with txid {txid}")
}

/// Answers `GET /imagetransfer`.
pub(crate) fn get_image(dirs: &NameDirs, query: &Query) -> HttpResponse {
    match ImageRequest::of(query, &dirs.info) {
        Ok(asked) => send_image(dirs, asked, bandwidth(dirs, query)),
        Err((status, why)) => http::error(status, why),
    }
}

/// Limit for a NameNode that is being bootstrapped, or for any other (`ImageServlet.getThrottlerForBootstrapStandby`).
/// The former waits for the image and delays nobody.
fn bandwidth(dirs: &NameDirs, query: &Query) -> u64 {
    match query.get("bootstrapstandby") {
        Some("true") => dirs.bootstrap_bandwidth(),
        _ => dirs.bandwidth(),
    }
}

fn send_image(dirs: &NameDirs, asked: ImageRequest, bandwidth: u64) -> HttpResponse {
    let images = dirs.images();
    let (image, txid) = match asked {
        ImageRequest::NewestImage => (images.first(), "latest".to_owned()),
        ImageRequest::Image(txid) => (images.iter().find(|image| image.txid == txid), txid.to_string()),
        ImageRequest::Edits { first, last } => return send_edits(dirs, first, last, bandwidth),
    };
    let Some(image) = image else {
        return gone(no_image(txid));
    };
    match read_md5(&image.path) {
        Ok(md5) => file(image.path.clone(), Some(&md5), bandwidth),
        Err(error) => gone(format!("{error:#}")),
    }
}

fn send_edits(dirs: &NameDirs, first: TxId, last: TxId, bandwidth: u64) -> HttpResponse {
    let name = SegmentFile::Finalized { first, last }.to_string();
    let mut places = dirs.edits_dirs().iter().map(|dir| dir.join(&name));
    match places.find(|path| path.exists()) {
        Some(path) => file(path, None, bandwidth),
        None => gone(format!("No edit log segment {name}")),
    }
}

fn file(path: PathBuf, md5: Option<&[u8; 16]>, bandwidth: u64) -> HttpResponse {
    let len = match std::fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) => return gone(error.to_string()),
    };
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
        .to_owned();
    let mut response = HttpResponse::new(send_file(path, len, bandwidth));
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    if let Ok(value) = HeaderValue::from_str(&name) {
        headers.insert(HeaderName::from_static("x-image-edits-name"), value);
    }
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename={name}")) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    if let Some(md5) = md5
        && let Ok(value) = HeaderValue::from_str(&hex(md5))
    {
        headers.insert(HeaderName::from_static("x-md5-digest"), value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use crate::unpublished::Unpublished;
    use hathi_namesystem::save_namespace::ImagePurpose;
    use hathi_net::http::HttpServer;
    use hyper::header::HeaderMap;
    use std::future::poll_fn;
    use std::net::Ipv4Addr;
    use std::task::Poll;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// The whole body has come, the file is being synced, and the connection ends: a server drops the handler then.
    async fn serve_until_the_image_is_there(shared: Arc<Shared>, request: HttpRequest, len: u64) -> HttpResponse {
        let file = Unpublished::uploaded(shared.dirs.images_dirs(), TxId(6)).paths()[0].clone();
        let mut serving = Box::pin(serve(shared, request));
        poll_fn(|context| match serving.as_mut().poll(context) {
            Poll::Ready(response) => Poll::Ready(response),
            Poll::Pending if std::fs::metadata(&file).is_ok_and(|file| file.len() == len) => {
                Poll::Ready(gone("the sender is gone"))
            }
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    #[tokio::test]
    async fn safety_n10_an_upload_whose_sender_goes_away_does_not_end_all_checkpoints() {
        let alone = testing::active();
        let image = vec![7_u8; 300_000];
        let (web, len) = (alone.shared.clone(), image.len() as u64);
        let server = HttpServer::bind(
            (Ipv4Addr::LOCALHOST, 0).into(),
            Arc::new(move |request| serve_until_the_image_is_there(web.clone(), request, len)),
        )
        .unwrap();
        let url = format!(
            "http://{}/imagetransfer?txid=6&File-Length={len}&imageFile=IMAGE&storageInfo={}",
            server.local_addr(),
            alone.shared.dirs.info.to_colon_separated()
        );
        let path = alone.shared.dirs.images_dirs()[0].join("upload");
        std::fs::write(&path, &image).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
        headers.insert(
            "x-md5-digest",
            HeaderValue::from_static("00000000000000000000000000000000"),
        );
        // Its answer does not matter.
        let _ = http::put(&url, headers, send_file(path, len, 0), PATIENCE).await;

        let nn = &alone.shared.nn;
        let free = async {
            loop {
                if let Some(place) = nn.images.begin(ImagePurpose::Transfer) {
                    break place;
                }
                tokio::task::yield_now().await;
            }
        };
        let place = tokio::time::timeout(PATIENCE, free)
            .await
            .expect("the place is never given back");
        drop(place);
    }

    #[tokio::test]
    async fn an_fsck_leaves_a_line_in_the_audit_log() {
        let logs = tempfile::tempdir().unwrap();
        let alone = testing::active_with(&[
            ("hathi.namenode.audit.log", "true".to_owned()),
            ("hadoop.log.dir", logs.path().display().to_string()),
        ]);
        let web = alone.shared.clone();
        let server = HttpServer::bind(
            (Ipv4Addr::LOCALHOST, 0).into(),
            Arc::new(move |request| serve(web.clone(), request)),
        )
        .unwrap();
        let url = |path: &str| format!("http://{}/fsck?ugi=alice&path={path}", server.local_addr());
        for (path, succeeded, shown) in [("%2Fa%0Ab", true, "/a\\nb"), ("%2F&delete=1", false, "/")] {
            http::get_bytes(&url(path), PATIENCE, 1 << 16).await.unwrap();
            let line = async {
                loop {
                    let log = std::fs::read_to_string(logs.path().join("hdfs-audit.log")).unwrap_or_default();
                    // Lines are written as a whole.
                    if let Some(line) = log.lines().find(|line| line.contains(&format!("src={shown}\t"))) {
                        break line.to_owned();
                    }
                    tokio::task::yield_now().await;
                }
            };
            let line = tokio::time::timeout(PATIENCE, line).await.expect("a line of the fsck");
            let fields = format!(
                "allowed={succeeded}\tugi=alice (auth:SIMPLE)\tip=/127.0.0.1\tcmd=fsck\tsrc={shown}\tdst=null\tperm=null\tproto=rpc"
            );
            assert!(line.ends_with(&fields), "{line}");
        }
    }

    #[tokio::test]
    async fn safety_n4_an_image_of_edits_that_no_quorum_has_is_not_taken() {
        let alone = testing::active();
        let web = alone.shared.clone();
        let server = HttpServer::bind(
            (Ipv4Addr::LOCALHOST, 0).into(),
            Arc::new(move |request| serve(web.clone(), request)),
        )
        .unwrap();
        let url = format!(
            "http://{}/imagetransfer?txid=9&File-Length=3&imageFile=IMAGE&storageInfo={}",
            server.local_addr(),
            alone.shared.dirs.info.to_colon_separated()
        );
        let path = alone.shared.dirs.images_dirs()[0].join("upload");
        std::fs::write(&path, b"abc").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-md5-digest",
            HeaderValue::from_static("00000000000000000000000000000000"),
        );
        let refused = http::put(&url, headers, send_file(path, 3, 0), PATIENCE).await;
        let refused = refused.expect_err("it is ahead of this journal").to_string();
        assert!(refused.contains("more than a quorum has"), "{refused}");
        assert!(alone.shared.dirs.images().is_empty());
    }
}

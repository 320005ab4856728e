//! The web server: `/jmx`, `/metrics`, `/isActive`, `/conf`, `/fsck`, `/imagetransfer` and a status page.

use crate::background::Shared;
use crate::checkpoint::send_file;
use crate::debug_hooks;
use crate::fsck;
use crate::image_upload;
use crate::status;
use crate::storage::{NameDirs, hex, read_md5};
use hathi_formats::conf::keys::Program;
use hathi_formats::ids::TxId;
use hathi_namesystem::Role;
use hathi_net::http::{self, HttpRequest, HttpResponse, jmx};
use hyper::header::{CONNECTION, CONTENT_DISPOSITION, CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use std::path::PathBuf;
use std::sync::Arc;

/// Answers one request.
pub async fn serve(shared: Arc<Shared>, request: HttpRequest) -> HttpResponse {
    match (&request.method, request.path.as_str()) {
        (&Method::GET, "/jmx") => jmx::respond(&request.query, status::beans(&shared)),
        (&Method::GET, "/metrics" | "/prom") => http::bytes(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            jmx::prometheus(&status::beans(&shared)),
        ),
        (&Method::GET, "/isActive") => is_active(&shared),
        (&Method::GET, "/conf") => conf(&shared, &request),
        (&Method::GET, "/" | "/index.html" | "/dfshealth.html") => {
            http::bytes(StatusCode::OK, "text/html; charset=utf-8", status::page(&shared))
        }
        (&Method::GET, "/fsck") => fsck::respond(&shared, &request),
        (&Method::GET, "/imagetransfer") => get_image(&shared.dirs, &request),
        (&Method::POST, "/debug/hang") => debug_hooks::serve(&shared.nn, &request),
        (&Method::PUT, "/imagetransfer") => image_upload::put_image(&shared, request).await,
        _ => http::error(StatusCode::NOT_FOUND, "Not Found"),
    }
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

fn conf(shared: &Shared, request: &HttpRequest) -> HttpResponse {
    let wanted = request.query.get("name");
    let mut properties = Vec::new();
    for (key, value, origin) in shared.nn.settings.conf.obeyed(Program::NameNode) {
        if wanted.is_some_and(|wanted| wanted != key) {
            continue;
        }
        let secret = ["password", "secret", "credential"]
            .iter()
            .any(|word| key.contains(word));
        let value = if secret { "<redacted>".to_owned() } else { value };
        properties.push((key.to_owned(), value, origin.to_owned()));
    }
    if let Some(wanted) = wanted
        && properties.is_empty()
    {
        return http::error(StatusCode::NOT_FOUND, format!("Property {wanted} not found"));
    }
    let json = request
        .headers
        .get("accept")
        .is_some_and(|accept| accept.to_str().is_ok_and(|accept| accept.contains("json")));
    if json {
        let list: Vec<_> = properties
            .iter()
            .map(|(key, value, origin)| serde_json::json!({"key": key, "value": value, "isFinal": false, "resource": origin}))
            .collect();
        return http::json(StatusCode::OK, serde_json::json!({"properties": list}).to_string());
    }
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n<configuration>\n");
    for (key, value, origin) in &properties {
        xml.push_str(&format!(
            "<property><name>{}</name><value>{}</value><final>false</final><source>{}</source></property>\n",
            status::escape(key),
            status::escape(value),
            status::escape(origin)
        ));
    }
    xml.push_str("</configuration>\n");
    http::bytes(StatusCode::OK, "text/xml; charset=utf-8", xml)
}

pub(crate) fn gone(message: impl Into<String>) -> HttpResponse {
    http::error(StatusCode::GONE, message)
}

fn other_storage(dirs: &NameDirs, request: &HttpRequest) -> Option<HttpResponse> {
    let own = dirs.info.to_colon_separated();
    let theirs = request.query.get("storageInfo")?;
    (theirs != own).then(|| {
        http::error(
            StatusCode::FORBIDDEN,
            format!("This namenode has storage info {own} but the secondary expected {theirs}"),
        )
    })
}

/// `GET /imagetransfer?getimage=1&txid=..` or `getedit=1&startTxId=..&endTxId=..`.
pub(crate) fn get_image(dirs: &NameDirs, request: &HttpRequest) -> HttpResponse {
    if let Some(refused) = other_storage(dirs, request) {
        return refused;
    }
    let query = &request.query;
    if query.get("getimage").is_some() {
        let images = dirs.images();
        let image = match query.get("txid") {
            Some("latest") => images.first(),
            Some(txid) => txid
                .parse()
                .ok()
                .and_then(|txid| images.iter().find(|image| image.txid == TxId(txid))),
            None => None,
        };
        let Some(image) = image else {
            return gone(format!(
                "Could not find image with txid {}",
                query.get("txid").unwrap_or("null")
            ));
        };
        let md5 = match read_md5(&image.path) {
            Ok(md5) => md5,
            Err(error) => return gone(format!("{error:#}")),
        };
        return file(image.path.clone(), Some(&md5));
    }
    if query.get("getedit").is_some() {
        let (Some(first), Some(last)) = (query.number("startTxId"), query.number("endTxId")) else {
            return gone("Invalid request has no startTxId or endTxId");
        };
        let name = format!("edits_{first:019}-{last:019}");
        let found = dirs
            .edits_dirs()
            .iter()
            .map(|dir| dir.join(&name))
            .find(|path| path.exists());
        return match found {
            Some(path) => file(path, None),
            None => gone(format!("No edit log segment {name}")),
        };
    }
    gone("Illegal parameters to TransferFsImage")
}

fn file(path: PathBuf, md5: Option<&[u8; 16]>) -> HttpResponse {
    let len = match std::fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) => return gone(error.to_string()),
    };
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
        .to_owned();
    let mut response = HttpResponse::new(send_file(path, len));
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
    use crate::checkpoint::{ImageUnderWay, Unpublished};
    use crate::testing;
    use hathi_namesystem::save_namespace::Purpose;
    use hathi_net::http::HttpServer;
    use hyper::header::HeaderMap;
    use std::future::poll_fn;
    use std::net::Ipv4Addr;
    use std::task::Poll;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// The whole body has come, the file is being synced, and the connection ends: a server drops the handler then.
    async fn serve_until_the_image_is_there(shared: Arc<Shared>, request: HttpRequest, len: u64) -> HttpResponse {
        let file = Unpublished::uploaded(&shared.dirs, TxId(6)).paths()[0].clone();
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
        // Whatever it answers.
        let _ = http::put(&url, headers, send_file(path, len), PATIENCE).await;

        let nn = &alone.shared.nn;
        let free = async {
            loop {
                if let Some(place) = ImageUnderWay::begin(nn, Purpose::Transfer) {
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
        let refused = http::put(&url, headers, send_file(path, 3), PATIENCE).await;
        let refused = refused.expect_err("it is ahead of this journal").to_string();
        assert!(refused.contains("more than a quorum has"), "{refused}");
        assert!(alone.shared.dirs.images().is_empty());
    }
}

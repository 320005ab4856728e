//! `/imagetransfer`: the images and edits that NameNodes and checkpointers give each other (Hadoop's `TransferFsImage`).
//! Here is what is sent; [`crate::image_upload`] receives images.

use crate::storage::{NameDirs, hex, read_md5};
use anyhow::bail;
use bytes::Bytes;
use hathi_formats::editlog::SegmentFile;
use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_nameserver::name_dirs::rollback::ImageKind;
use hathi_net::http::{self, Body, HttpResponse, Query, body_channel};
use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, HeaderName, HeaderValue};
use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Size of a read while an image is sent.
const SEND_CHUNK_BYTES: usize = 256 << 10;

pub(crate) fn gone(message: impl Into<String>) -> HttpResponse {
    http::error(StatusCode::GONE, message)
}

/// Status and reason of a refused request.
pub type Refusal = (StatusCode, String);

/// A decoded `GET /imagetransfer` (`ImageServlet.GetImageParams`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageRequest {
    /// `getimage=1&txid=latest`
    NewestImage,
    /// `getimage=1&txid=..`, with `imageFile`
    Image(ImageKind, TxId),
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
                (_, Some(txid)) => Ok(ImageRequest::Image(ImageKind::of(query.get("imageFile")), TxId(txid))),
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
pub fn get_image(dirs: &NameDirs, query: &Query) -> HttpResponse {
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
    let (image, txid) = match asked {
        ImageRequest::NewestImage => (dirs.images().into_iter().next(), "latest".to_owned()),
        ImageRequest::Image(kind, txid) => {
            let mut images = dirs.images_of(kind).into_iter();
            (images.find(|image| image.txid == txid), txid.to_string())
        }
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

/// The body of a request or answer, which a thread reads from a file while it is sent. `bandwidth` limits the bytes per
/// second; 0 is no limit.
#[must_use]
pub fn send_file(path: PathBuf, len: u64, bandwidth: u64) -> Body {
    let (mut sender, body) = body_channel(4);
    std::thread::spawn(move || {
        let mut send = || -> anyhow::Result<()> {
            let mut file = File::open(&path)?;
            let started = Instant::now();
            let mut sent: u64 = 0;
            while sent < len {
                let left = usize::try_from(len - sent).unwrap_or(usize::MAX);
                let mut chunk = vec![0; SEND_CHUNK_BYTES.min(left)];
                let read = file.read(&mut chunk)?;
                if read == 0 {
                    bail!("the file became shorter");
                }
                chunk.truncate(read);
                sent += read as u64;
                if !sender.send_blocking(Bytes::from(chunk)) {
                    return Ok(());
                }
                std::thread::sleep(ahead_of(bandwidth, sent, started.elapsed()));
            }
            Ok(())
        };
        if let Err(error) = send() {
            tracing::warn!(path = %path.display(), %error, "a file was not sent whole");
            sender.abort(std::io::Error::other(error.to_string()));
        }
    });
    body
}

/// How long to pause after sending `sent` bytes in this time (Hadoop's `DataTransferThrottler`).
fn ahead_of(bandwidth: u64, sent: u64, elapsed: Duration) -> Duration {
    if bandwidth == 0 {
        return Duration::ZERO;
    }
    Duration::from_secs_f64(sent as f64 / bandwidth as f64).saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_sent_no_faster_than_is_allowed() {
        let second = Duration::from_secs(1);
        assert_eq!(ahead_of(0, 1 << 40, Duration::ZERO), Duration::ZERO);
        assert_eq!(ahead_of(50 << 20, 50 << 20, Duration::ZERO), second);
        assert_eq!(ahead_of(50 << 20, 50 << 20, second), Duration::ZERO);
        assert_eq!(ahead_of(50 << 20, 150 << 20, second), 2 * second);
    }
}

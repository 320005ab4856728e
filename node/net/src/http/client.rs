//! The HTTP client: one connection per request, as checkpoints and edit segments are few and large.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Body;

/// How much of an error's body is kept as its message.
const MAX_MESSAGE_BYTES: usize = 2000;

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not an `http://host:port/...` address.
    #[error("cannot use the address {0}")]
    Url(String),
    /// Connection or stream broke.
    #[error("{url}: {source}")]
    Io {
        /// The address.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// No answer, or no progress, in time.
    #[error("{url}: nothing for {timeout:?}")]
    Timeout {
        /// The address.
        url: String,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// Another status than 2xx.
    #[error("{url}: {status}: {message}")]
    Status {
        /// The address.
        url: String,
        /// The status.
        status: StatusCode,
        /// The beginning of the body.
        message: String,
    },
}

/// GETs; the body of a 2xx response is then read with [`next_piece`]. The time limit holds until the headers are there.
pub async fn get(url: &str, timeout: Duration) -> Result<Response<Incoming>, HttpError> {
    let nothing = Empty::<Bytes>::new().map_err(|never| match never {}).boxed();
    request(Method::GET, url, HeaderMap::new(), nothing, timeout).await
}

/// GETs a whole body of at most `max_bytes`; the time limit holds for each piece.
pub async fn get_bytes(url: &str, timeout: Duration, max_bytes: usize) -> Result<(HeaderMap, Bytes), HttpError> {
    let (head, mut body) = get(url, timeout).await?.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(piece) = next_piece(url, &mut body, timeout).await? {
        if bytes.len() + piece.len() > max_bytes {
            return Err(HttpError::Io {
                url: url.to_owned(),
                source: io::Error::other(format!("more than {max_bytes} bytes")),
            });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok((head.headers, bytes.freeze()))
}

/// PUTs a body (see [`super::body_channel`]) with headers. The time limit holds for connecting only: the body takes as
/// long as it takes.
pub async fn put(
    url: &str,
    headers: HeaderMap,
    body: Body,
    timeout: Duration,
) -> Result<Response<Incoming>, HttpError> {
    request(Method::PUT, url, headers, body, timeout).await
}

/// The next piece of a body, `None` at its end.
pub async fn next_piece(url: &str, body: &mut Incoming, timeout: Duration) -> Result<Option<Bytes>, HttpError> {
    loop {
        let Some(frame) = within(url, timeout, body.frame()).await? else {
            return Ok(None);
        };
        let frame = frame.map_err(|error| failed(url, error))?;
        if let Ok(piece) = frame.into_data() {
            return Ok(Some(piece));
        }
    }
}

async fn within<T>(url: &str, timeout: Duration, future: impl Future<Output = T>) -> Result<T, HttpError> {
    tokio::time::timeout(timeout, future)
        .await
        .map_err(|_| HttpError::Timeout {
            url: url.to_owned(),
            timeout,
        })
}

fn failed(url: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> HttpError {
    HttpError::Io {
        url: url.to_owned(),
        source: io::Error::other(error),
    }
}

async fn request(
    method: Method,
    url: &str,
    headers: HeaderMap,
    body: Body,
    timeout: Duration,
) -> Result<Response<Incoming>, HttpError> {
    let bad = || HttpError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(bad());
    };
    let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let stream = within(url, timeout, TcpStream::connect(address))
        .await?
        .map_err(|error| failed(url, error))?;
    stream.set_nodelay(true).map_err(|error| failed(url, error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(url, error))?;
    // Ends by itself when response and body have been read or dropped.
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let upload = method == Method::PUT;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .body(body)
        .map_err(|error| failed(url, error))?;
    *request.headers_mut() = headers;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| bad())?;
    request.headers_mut().insert(HOST, host);
    let sending = sender.send_request(request);
    let response = if upload {
        sending.await
    } else {
        within(url, timeout, sending).await?
    }
    .map_err(|error| failed(url, error))?;
    if response.status().is_success() {
        return Ok(response);
    }
    let (head, mut body) = response.into_parts();
    let mut message = Vec::new();
    while let Ok(Some(piece)) = next_piece(url, &mut body, timeout).await {
        message.extend_from_slice(&piece);
        if message.len() > MAX_MESSAGE_BYTES {
            message.truncate(MAX_MESSAGE_BYTES);
            break;
        }
    }
    Err(HttpError::Status {
        url: url.to_owned(),
        status: head.status,
        message: String::from_utf8_lossy(&message).into_owned(),
    })
}

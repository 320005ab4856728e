//! The HTTP client: one connection per request, as checkpoints and edit segments are few and large.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{HeaderMap, Response, StatusCode};

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

/// GETs; the body of a 2xx response is then read as a stream. The time limit holds until the headers are there.
pub async fn get(_url: &str, _timeout: Duration) -> Result<Response<Incoming>, HttpError> {
    unimplemented!()
}

/// GETs a whole body of at most `max_bytes`; the time limit holds for each piece.
pub async fn get_bytes(
    _url: &str,
    _timeout: Duration,
    _max_bytes: usize,
) -> Result<(HeaderMap, Bytes), HttpError> {
    unimplemented!()
}

/// PUTs a body (see [`super::body_channel`]) with headers; the time limit holds for the answer after the body ended.
pub async fn put(
    _url: &str,
    _headers: HeaderMap,
    _body: super::Body,
    _timeout: Duration,
) -> Result<Response<Incoming>, HttpError> {
    unimplemented!()
}

//! The HTTP server.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Response, StatusCode};

/// The body of a response.
pub type Body = BoxBody<Bytes, io::Error>;
/// A response.
pub type HttpResponse = Response<Body>;

/// A decoded query string; of repeated names the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// Decodes `a=b&c=d` with percent escapes and `+`.
    #[must_use]
    pub fn parse(_query: &str) -> Query {
        unimplemented!()
    }
    /// A parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
    /// A parameter that is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.parse().ok()
    }
}

/// A request.
#[derive(Debug)]
pub struct HttpRequest {
    /// GET, PUT, ...
    pub method: Method,
    /// Percent-decoded path.
    pub path: String,
    /// Decoded query.
    pub query: Query,
    /// Headers.
    pub headers: HeaderMap,
    /// The other side.
    pub peer: SocketAddr,
    /// The body as a stream.
    pub body: Incoming,
}

/// What answers requests.
pub trait HttpHandler: Send + Sync + 'static {
    /// Answers one request, on the server's runtime.
    fn call(&self, request: HttpRequest) -> Pin<Box<dyn Future<Output = HttpResponse> + Send>>;
}

impl<F, Fut> HttpHandler for F
where
    F: Fn(HttpRequest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = HttpResponse> + Send + 'static,
{
    fn call(&self, request: HttpRequest) -> Pin<Box<dyn Future<Output = HttpResponse> + Send>> {
        Box::pin(self(request))
    }
}

/// A running server on a thread of its own; dropping it stops it.
#[derive(Debug)]
pub struct HttpServer {}

impl HttpServer {
    /// Listens and serves.
    pub fn bind(_addr: SocketAddr, _handler: Arc<dyn HttpHandler>) -> io::Result<HttpServer> {
        unimplemented!()
    }
    /// Where it is bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        unimplemented!()
    }
}

/// A response of some bytes.
#[must_use]
pub fn bytes(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> HttpResponse {
    let mut response = Response::new(
        Full::new(body.into())
            .map_err(|never| match never {})
            .boxed(),
    );
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A response of plain text.
#[must_use]
pub fn text(status: StatusCode, body: impl Into<String>) -> HttpResponse {
    bytes(status, "text/plain; charset=utf-8", body.into())
}

/// A response of JSON text.
#[must_use]
pub fn json(status: StatusCode, body: impl Into<String>) -> HttpResponse {
    bytes(status, "application/json; charset=utf-8", body.into())
}

/// An error response as Java's servlets make it: the message is both the reason and the body.
#[must_use]
pub fn error(status: StatusCode, message: impl Into<String>) -> HttpResponse {
    text(status, message)
}

/// The writing side of a streamed response body; waits when the reader is slow.
#[derive(Debug)]
pub struct BodySender {}

impl BodySender {
    /// Sends a piece; false when nobody reads any more.
    pub async fn send(&mut self, _piece: Bytes) -> bool {
        unimplemented!()
    }
    /// [`BodySender::send`] from a thread outside of any runtime.
    pub fn send_blocking(&mut self, _piece: Bytes) -> bool {
        unimplemented!()
    }
    /// Breaks the body off with an error, so that the other side sees it is not whole.
    pub fn abort(self, _error: io::Error) {
        unimplemented!()
    }
}

/// A body that is written while it is sent.
#[must_use]
pub fn body_channel(_pieces: usize) -> (BodySender, Body) {
    unimplemented!()
}

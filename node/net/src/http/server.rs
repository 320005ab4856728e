//! The HTTP server.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Sleep;

use crate::tcp;

const LISTEN_BACKLOG: i32 = 256;
/// Most connections served at once. Further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take to send its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Most connections of one address, so that one client that holds its connections open can't keep others out.
const MAX_CONNECTIONS_PER_ADDRESS: usize = MAX_CONNECTIONS / 4;
/// A client that takes nothing of its answer for this long is cut off, as by Hadoop's RPC server.
const WRITE_STALL: Duration = Duration::from_secs(300);
/// Pause after a failed accept (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Longest head of a request, and most bytes of an answer that are held for a slow reader beside those that its handler
/// holds. Hyper allows no longer address than 64 KiB.
const BUFFER_MAX_BYTES: usize = 128 << 10;
/// Headers that Hadoop's `HttpServer2` sets, and two that keep a page from loading anything of another host and from
/// telling one where its reader came from.
const SECURITY_HEADERS: [(&str, &str); 5] = [
    ("x-frame-options", "SAMEORIGIN"),
    ("x-content-type-options", "nosniff"),
    ("x-xss-protection", "1; mode=block"),
    ("referrer-policy", "no-referrer"),
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    ),
];

/// The body of a response.
pub type Body = BoxBody<Bytes, io::Error>;
/// A response.
pub type HttpResponse = Response<Body>;

/// A decoded query string. Of a repeated name the first value counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// Decodes `a=b&c=d` with percent escapes and `+`.
    #[must_use]
    pub fn parse(query: &str) -> Query {
        let mut parameters = BTreeMap::new();
        for (name, value) in Query::pairs(query) {
            parameters.entry(name).or_insert(value);
        }
        Query(parameters)
    }

    /// The decoded names and values of a query string in their order, repeated names too.
    pub fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
        query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name, true), percent_decode(value, true))
        })
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
    /// A parameter that is a Java `long` and not negative: a transaction id, or a length.
    #[must_use]
    pub fn unsigned(&self, name: &str) -> Option<u64> {
        self.number(name).and_then(|number| u64::try_from(number).ok())
    }
}

/// A request without its body. Handlers decode it before they do anything.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// GET, PUT, ...
    pub method: Method,
    /// Percent-decoded path.
    pub path: String,
    /// Decoded query.
    pub query: Query,
    /// The query as it came, for handlers whose parameters may be repeated ([`Query::pairs`]).
    pub raw_query: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Address of the client.
    pub peer: SocketAddr,
}

impl RequestHead {
    /// Decodes path and query.
    #[must_use]
    pub fn new(method: Method, uri: &Uri, headers: HeaderMap, peer: SocketAddr) -> RequestHead {
        RequestHead {
            method,
            path: percent_decode(uri.path(), false),
            query: Query::parse(uri.query().unwrap_or_default()),
            raw_query: uri.query().unwrap_or_default().to_owned(),
            headers,
            peer,
        }
    }

    /// A header that is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A request.
#[derive(Debug)]
pub struct HttpRequest {
    /// All but the body.
    pub head: RequestHead,
    /// The body as a stream.
    pub body: Incoming,
}

/// Answers requests.
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

/// A running server on a thread of its own. Dropping it stops it.
#[derive(Debug)]
pub struct HttpServer {
    local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens and serves. Tasks that handlers spawn run on the server's runtime, and end with it.
    pub fn bind(addr: SocketAddr, handler: Arc<dyn HttpHandler>) -> io::Result<HttpServer> {
        let listener = tcp::listen(addr, LISTEN_BACKLOG)?;
        let local_addr = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, mut stopped) = watch::channel(false);
        let thread = std::thread::Builder::new().name("http".into()).spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else {
                    return;
                };
                tokio::select! {
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                    () = accept(listener, handler) => {}
                }
            });
            // The server does not wait for blocking work that a handler started.
            runtime.shutdown_background();
        })?;
        Ok(HttpServer {
            local_addr,
            stop,
            thread: Some(thread),
        })
    }

    /// Address that it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        let own = std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != own)
            && thread.join().is_err()
        {
            tracing::error!("the HTTP thread panicked");
        }
    }
}

/// Number of connections of each address.
#[derive(Debug, Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// A slot among the connections of an address.
struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    fn take_place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut addresses = self.0.lock();
        let count = addresses.entry(address).or_default();
        if *count >= MAX_CONNECTIONS_PER_ADDRESS {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Place {
            addresses: self.clone(),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut addresses = self.addresses.0.lock();
        if let Some(count) = addresses.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

/// A connection that fails when the client takes nothing for too long.
struct Watched {
    stream: TcpStream,
    patience: Duration,
    stalls: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalls = None;
            return written;
        }
        let patience = self.patience;
        let stalls = self
            .stalls
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalls.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn accept(listener: TcpListener, handler: Arc<dyn HttpHandler>) {
    let addresses = Arc::new(Addresses::default());
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = addresses.take_place(peer.ip().to_canonical()) else {
            tracing::warn!(%peer, limit = MAX_CONNECTIONS_PER_ADDRESS, "HTTP connection refused: too many of its address");
            continue;
        };
        let _ = stream.set_nodelay(true);
        let stream = Watched {
            stream,
            patience: WRITE_STALL,
            stalls: None,
        };
        let handler = handler.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let response = respond(&*handler, request, peer);
            async move {
                let response = response.await;
                match response.extensions().get::<NoAnswer>() {
                    None => Ok(response),
                    Some(NoAnswer) => Err(io::Error::other("nobody knows the answer")),
                }
            }
        });
        tokio::spawn(async move {
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(BUFFER_MAX_BYTES)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%peer, %error, "HTTP connection broke");
            }
            drop((permit, place));
        });
    }
}

fn respond(
    handler: &dyn HttpHandler,
    request: hyper::Request<Incoming>,
    peer: SocketAddr,
) -> Pin<Box<dyn Future<Output = HttpResponse> + Send>> {
    let (head, body) = request.into_parts();
    if head.method == Method::TRACE {
        return Box::pin(std::future::ready(error(
            StatusCode::METHOD_NOT_ALLOWED,
            "TRACE is not allowed",
        )));
    }
    // Every page that can be got can be asked for its head (RFC 9110, 9.1). Hyper leaves the body out.
    let method = match head.method {
        Method::HEAD => Method::GET,
        other => other,
    };
    let answered = handler.call(HttpRequest {
        head: RequestHead::new(method, &head.uri, head.headers, peer),
        body,
    });
    Box::pin(async move {
        let mut response = answered.await;
        for (name, value) in SECURITY_HEADERS {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    })
}

/// Decodes `%xx`. Text that is no escape stays as it is, and bytes that are not UTF-8 are replaced.
#[must_use]
pub fn percent_decode(text: &str, plus_is_space: bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                if let (Some(high), Some(low)) = (digit(*high), digit(*low)) {
                    out.push(high << 4 | low);
                    rest = after;
                } else {
                    out.push(byte);
                }
            }
            (b'+', _) if plus_is_space => out.push(b' '),
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A response with a body of bytes.
#[must_use]
pub fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> HttpResponse {
    let mut response = Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A response with plain text.
#[must_use]
pub fn text(status: StatusCode, body: impl Into<String>) -> HttpResponse {
    bytes(status, "text/plain; charset=utf-8", body.into())
}

/// A response with JSON text.
#[must_use]
pub fn json(status: StatusCode, body: impl Into<String>) -> HttpResponse {
    bytes(status, "application/json; charset=utf-8", body.into())
}

/// Marks a response that is not sent.
#[derive(Clone, Copy, Debug)]
struct NoAnswer;

/// Stands for the answer that nobody knows: the connection is closed without one, so that the client knows that its
/// request may or may not have been served.
#[must_use]
pub fn no_answer() -> HttpResponse {
    let mut response = text(StatusCode::INTERNAL_SERVER_ERROR, "");
    response.extensions_mut().insert(NoAnswer);
    response
}

/// An error response as Java's servlets make it: the message is both reason and body.
#[must_use]
pub fn error(status: StatusCode, message: impl Into<String>) -> HttpResponse {
    text(status, message)
}

/// The writing side of a streamed response body. It waits when the reader is slow. Dropping it ends the body.
#[derive(Debug)]
pub struct BodySender(mpsc::Sender<io::Result<Bytes>>);

impl BodySender {
    /// Sends a piece. Returns false when nobody reads any more.
    pub async fn send(&mut self, piece: Bytes) -> bool {
        self.0.send(Ok(piece)).await.is_ok()
    }

    /// As [`BodySender::send`], from a thread outside of any runtime.
    pub fn send_blocking(&mut self, piece: Bytes) -> bool {
        self.0.blocking_send(Ok(piece)).is_ok()
    }

    /// Breaks the body off with an error, so that the client sees that it is incomplete.
    pub fn abort(self, error: io::Error) {
        if let Err(full) = self.0.try_send(Err(error)) {
            // The channel is full, so a task waits for the reader.
            let (sender, error) = (self.0, full.into_inner());
            std::thread::spawn(move || sender.blocking_send(error));
        }
    }
}

struct ChannelBody(mpsc::Receiver<io::Result<Bytes>>);

impl hyper::body::Body for ChannelBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0
            .poll_recv(cx)
            .map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// A body that is written while it is sent, with at most `pieces` pieces in between.
#[must_use]
pub fn body_channel(pieces: usize) -> (BodySender, Body) {
    let (sender, receiver) = mpsc::channel(pieces.max(1));
    (BodySender(sender), ChannelBody(receiver).boxed())
}

#[cfg(test)]
mod tests;

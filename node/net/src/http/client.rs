//! The HTTP client. It opens one connection per request, because checkpoints and edit segments are few and large.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{EXPECT, HOST, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Timeout;

use super::Body;

/// Most bytes of an error's body that are kept as its message.
const MAX_MESSAGE_BYTES: usize = 2000;
/// How long the receiver of a PUT may take to accept the body (`Expect: 100-continue`). A receiver that does not know
/// this header is sent the body then. Our servers and Jetty know it.
const CONSENT_WAIT: Duration = Duration::from_secs(10);
/// Factor on the time limit for the answer after the whole body was sent: the receiver reads an image to its end before
/// it answers.
const ANSWER_FACTOR: u32 = 10;

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
        /// The time limit.
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

/// Sends a GET. The body of a 2xx response is then read with [`next_piece`]. The time limit applies until the headers
/// are there.
pub async fn get(url: &str, timeout: Duration) -> Result<Response<Incoming>, HttpError> {
    let nothing = Empty::<Bytes>::new().map_err(|never| match never {}).boxed();
    request(Method::GET, url, HeaderMap::new(), nothing, timeout).await
}

/// Sends a GET and reads a body of at most `max_bytes`. The time limit applies to each piece.
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

/// Sends a PUT with headers and a body (see [`super::body_channel`]). Nothing of the body is sent before the receiver
/// has accepted it (`Expect: 100-continue`), so a refusal costs neither side anything. The time limit applies to
/// connecting and to each piece of the body. For the answer after the whole body it is ten times as long.
pub async fn put(
    url: &str,
    headers: HeaderMap,
    body: Body,
    timeout: Duration,
) -> Result<Response<Incoming>, HttpError> {
    let (consent, consented) = oneshot::channel();
    let (taken, progress) = watch::channel(());
    let held = Held {
        body,
        consented: Some(Box::pin(tokio::time::timeout(CONSENT_WAIT, consented))),
        is_refused: false,
        taken,
    };
    let mut request = Request::new(held.boxed());
    *request.method_mut() = Method::PUT;
    *request.headers_mut() = headers;
    request
        .headers_mut()
        .insert(EXPECT, HeaderValue::from_static("100-continue"));
    let consent = Mutex::new(Some(consent));
    hyper::ext::on_informational(&mut request, move |answer| {
        if answer.status() == StatusCode::CONTINUE
            && let Some(consent) = consent.lock().take()
        {
            // If nobody waits for it any more, the body was sent already.
            let _ = consent.send(());
        }
    });
    let sent = send(url, request, timeout);
    tokio::select! {
        sent = sent => sent,
        () = stalled(progress, timeout.max(2 * CONSENT_WAIT), timeout * ANSWER_FACTOR) => Err(HttpError::Timeout {
            url: url.to_owned(),
            timeout,
        }),
    }
}

/// Ends when no piece of a body was taken for `patience`, or nothing happens for `after_all` after the last one.
pub(super) async fn stalled(mut progress: watch::Receiver<()>, patience: Duration, after_all: Duration) {
    loop {
        match tokio::time::timeout(patience, progress.changed()).await {
            Ok(Ok(())) => {}
            // The connection has dropped the body: either all of it was sent, or the receiver does not want it.
            Ok(Err(_)) => return tokio::time::sleep(after_all).await,
            Err(_) => return,
        }
    }
}

/// A body that is held back until the receiver accepts it.
struct Held {
    body: Body,
    /// Set until the receiver has accepted the body. The sender of this channel is gone once there is an answer.
    consented: Option<Pin<Box<Timeout<oneshot::Receiver<()>>>>>,
    is_refused: bool,
    /// Notified of each piece that is taken.
    taken: watch::Sender<()>,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.is_refused {
            return Poll::Pending;
        }
        if let Some(consented) = &mut self.consented {
            match ready!(consented.as_mut().poll(cx)) {
                // The receiver has accepted, or does not know the header.
                Ok(Ok(())) | Err(_) => self.consented = None,
                // The receiver has answered without the body. The caller ends the connection.
                Ok(Err(_)) => {
                    self.is_refused = true;
                    return Poll::Pending;
                }
            }
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.taken.send_replace(());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The next piece of a body. `None` at its end.
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

/// Sends a request with a body that is at hand, and reads an answer of at most `max_bytes`. The time limit applies to each
/// step.
pub async fn exchange(
    method: Method,
    url: &str,
    headers: HeaderMap,
    body: Bytes,
    timeout: Duration,
    max_bytes: usize,
) -> Result<Bytes, HttpError> {
    let body = Full::new(body).map_err(|never| match never {}).boxed();
    let mut answer = request(method, url, headers, body, timeout).await?.into_body();
    let mut bytes = BytesMut::new();
    while let Some(piece) = next_piece(url, &mut answer, timeout).await? {
        if bytes.len() + piece.len() > max_bytes {
            return Err(failed(url, format!("more than {max_bytes} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

async fn request(
    method: Method,
    url: &str,
    headers: HeaderMap,
    body: Body,
    timeout: Duration,
) -> Result<Response<Incoming>, HttpError> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.headers_mut() = headers;
    within(url, timeout, send(url, request, timeout)).await?
}

/// Ends a connection when it is dropped, unless the connection is to go on. The rest of a body that the receiver does
/// not want is then not sent.
struct ConnectionGuard(Option<JoinHandle<()>>);

impl ConnectionGuard {
    fn go_on(mut self) {
        self.0 = None;
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Sends a request. Connecting may take `timeout`.
async fn send(url: &str, mut request: Request<Body>, timeout: Duration) -> Result<Response<Incoming>, HttpError> {
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
    let connection = ConnectionGuard(Some(tokio::spawn(async move {
        // The error of the connection is also the error of the answer.
        let _ = connection.await;
    })));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| bad())?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| bad())?;
    request.headers_mut().insert(HOST, host);
    let response = sender.send_request(request).await.map_err(|error| failed(url, error))?;
    if response.status().is_success() {
        // The connection ends by itself when the response has been read or dropped.
        connection.go_on();
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

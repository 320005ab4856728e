use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::http::{HttpError, client};

const LIMIT: Duration = Duration::from_secs(20);

fn serve() -> HttpServer {
    let handler = |HttpRequest { head, body: sent }: HttpRequest| async move {
        match (head.method.as_str(), head.path.as_str()) {
            ("GET", "/a b") => text(StatusCode::OK, head.query.get("q").unwrap_or("-").to_owned()),
            ("GET", "/stream") => {
                let (mut sender, body) = body_channel(2);
                let pieces = head.query.number("pieces").unwrap_or(0);
                let abort = head.query.get("abort").is_some();
                tokio::spawn(async move {
                    for _ in 0..pieces {
                        sender.send(Bytes::from_static(&[7; 10_000])).await;
                    }
                    if abort {
                        sender.abort(io::Error::other("disk"));
                    }
                });
                HttpResponse::new(body)
            }
            ("PUT", "/count") => {
                let bytes = sent.collect().await.unwrap().to_bytes();
                let header = head.header("file-length").unwrap().to_owned();
                text(StatusCode::OK, format!("{} {header}", bytes.len()))
            }
            _ => error(StatusCode::NOT_FOUND, "no such page"),
        }
    };
    HttpServer::bind("127.0.0.1:0".parse().unwrap(), Arc::new(handler)).unwrap()
}

#[test]
fn queries_decode() {
    let query = Query::parse("a=1%2F2&b=x+y&c&a=2&bad=%zz&=&n=-12345");
    assert_eq!(query.get("a"), Some("1/2"));
    assert_eq!(query.get("b"), Some("x y"));
    assert_eq!(query.get("c"), Some(""));
    assert_eq!(query.get("bad"), Some("%zz"));
    assert_eq!(query.number("n"), Some(-12345));
    assert_eq!(query.get("d"), None);
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let server = serve();
    let url = |rest: &str| format!("http://{}{rest}", server.local_addr());
    let (headers, body) = client::get_bytes(&url("/a%20b?q=%3D"), LIMIT, 100).await.unwrap();
    assert_eq!(&body[..], b"=");
    assert_eq!(headers["x-frame-options"], "SAMEORIGIN");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    let (_, body) = client::get_bytes(&url("/stream?pieces=100"), LIMIT, 1 << 20)
        .await
        .unwrap();
    assert_eq!(body.len(), 1_000_000);
    let too_long = client::get_bytes(&url("/stream?pieces=100"), LIMIT, 1000).await;
    assert!(matches!(too_long, Err(HttpError::Io { .. })));
    let aborted = client::get_bytes(&url("/stream?pieces=3&abort"), LIMIT, 1 << 20).await;
    assert!(matches!(aborted, Err(HttpError::Io { .. })), "{aborted:?}");
    let (mut sender, body) = body_channel(1);
    tokio::spawn(async move {
        for _ in 0..50 {
            sender.send(Bytes::from_static(&[1; 1000])).await;
        }
    });
    let mut headers = HeaderMap::new();
    headers.insert("file-length", HeaderValue::from_static("50000"));
    let response = client::put(&url("/count"), headers, body, LIMIT).await.unwrap();
    let answer = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&answer[..], b"50000 50000");
}

/// Counts how often it was asked for a piece.
struct Asked(Arc<AtomicUsize>);

impl hyper::body::Body for Asked {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[1; 1000])))))
    }
}

#[tokio::test]
async fn nothing_of_a_body_is_sent_to_who_refuses_it() {
    let server = serve();
    let asked = Arc::new(AtomicUsize::new(0));
    let url = format!("http://{}/nobody-wants-it", server.local_addr());
    let refused = client::put(&url, HeaderMap::new(), Asked(asked.clone()).boxed(), LIMIT).await;
    assert!(matches!(refused, Err(HttpError::Status { .. })), "{refused:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_body_of_which_nothing_is_taken_any_more_is_given_up() {
    let (sender, progress) = watch::channel(());
    sender.send_replace(());
    client::stalled(progress.clone(), Duration::from_millis(5), LIMIT).await;
    drop(sender);
    client::stalled(progress, LIMIT, Duration::from_millis(5)).await;
}

#[tokio::test]
async fn errors_carry_status_and_message() {
    let server = serve();
    let missing = client::get(&format!("http://{}/x", server.local_addr()), LIMIT).await;
    match missing.unwrap_err() {
        HttpError::Status { status, message, .. } => assert_eq!((status.as_u16(), &*message), (404, "no such page")),
        other => panic!("{other}"),
    }
    assert!(matches!(client::get("https://x/", LIMIT).await, Err(HttpError::Url(_))));
    assert!(matches!(client::get("nonsense", LIMIT).await, Err(HttpError::Url(_))));
}

#[test]
fn one_address_does_not_take_all_connections() {
    let addresses = Arc::new(Addresses::default());
    let (one, other) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let mut places: Vec<_> = std::iter::from_fn(|| addresses.take_place(one)).collect();
    assert_eq!(places.len(), MAX_CONNECTIONS_PER_ADDRESS);
    assert!(addresses.take_place(other).is_some());
    places.pop();
    assert!(addresses.take_place(one).is_some());
    drop(places);
    assert!(addresses.0.lock().is_empty(), "and who is gone is forgotten");
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_broken_off() {
    use tokio::io::AsyncWriteExt;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let mut watched = Watched {
        stream,
        patience: Duration::from_millis(20),
        stalls: None,
    };
    let piece = vec![0; 1 << 20];
    let error = loop {
        if let Err(error) = watched.write_all(&piece).await {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop(client);
}

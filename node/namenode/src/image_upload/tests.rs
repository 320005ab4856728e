use super::*;
use crate::image_transfer::send_file;
use crate::load::save_checkpoint;
use crate::testing::{self, Alone};
use hathi_formats::ids::LayoutVersion;
use hathi_namespace::Namespace;
use hathi_net::http::{Body, HttpServer};
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

const PATIENCE: Duration = Duration::from_secs(20);

struct Receiver {
    alone: Alone,
    server: HttpServer,
}

impl Receiver {
    fn new() -> Receiver {
        let alone = testing::active();
        let uploads = alone.shared.uploads.clone();
        let server = HttpServer::bind(
            (Ipv4Addr::LOCALHOST, 0).into(),
            Arc::new(move |request| put(uploads.clone(), request)),
        )
        .unwrap();
        Receiver { alone, server }
    }

    /// An image of transaction 6, as a peer of this namespace makes it.
    fn image(&self, namespace_id: u32, layout: LayoutVersion) -> Vec<u8> {
        let mut namespace = Namespace::new(self.alone.shared.nn.settings.namespace().unwrap());
        namespace.set_namespace_id(namespace_id);
        namespace.set_last_applied_txid(6);
        namespace.freeze().save(Vec::new(), layout, &|| false).unwrap().0
    }

    async fn put(&self, image: &[u8], query: &str, md5: Option<[u8; 16]>) -> Result<(), String> {
        let len = image.len() as u64;
        let path = self.alone.shared.dirs.images_dirs()[0].join("to_send");
        std::fs::write(&path, image).unwrap();
        self.put_body(len, query, md5, send_file(path, len, 0)).await
    }

    async fn put_body(&self, len: u64, query: &str, md5: Option<[u8; 16]>, body: Body) -> Result<(), String> {
        let address = self.server.local_addr();
        let url = format!("http://{address}/imagetransfer?File-Length={len}{query}");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
        if let Some(md5) = md5 {
            let value = HeaderValue::from_str(&hex(&md5)).unwrap();
            headers.insert(HeaderName::from_static("x-md5-digest"), value);
        }
        let put = http::put(&url, headers, body, PATIENCE).await;
        put.map(|_| ()).map_err(|error| error.to_string())
    }

    fn query(&self) -> String {
        let info = self.alone.shared.dirs.info.to_colon_separated();
        format!("&txid=6&imageFile=IMAGE&storageInfo={info}")
    }

    fn images(&self) -> Vec<u64> {
        let images = self.alone.shared.dirs.images();
        images.iter().map(|image| image.txid.0).collect()
    }
}

async fn put(uploads: Arc<ImageUploads>, request: HttpRequest) -> HttpResponse {
    uploads.put(request).await
}

async fn poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    poll_fn(|context| match Pin::new(&mut future).poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn digest(bytes: &[u8]) -> Option<[u8; 16]> {
    Some(Md5::digest(bytes).into())
}

#[tokio::test]
async fn an_image_is_taken_only_whole_and_of_this_namespace() {
    let receiver = Receiver::new();
    let good = receiver.image(7, LayoutVersion::NAMENODE_CURRENT);
    let query = receiver.query();
    let garbage = vec![7_u8; 300_000];
    let refused = receiver.put(&garbage, &query, digest(&garbage)).await.unwrap_err();
    assert!(refused.contains("not an fsimage"), "{refused}");
    let cut = &good[..good.len() - 9];
    assert!(receiver.put(cut, &query, digest(cut)).await.is_err());
    let foreign = receiver.image(8, LayoutVersion::NAMENODE_CURRENT);
    let refused = receiver.put(&foreign, &query, digest(&foreign)).await.unwrap_err();
    assert!(refused.contains("namespaceID 8"), "{refused}");
    let old = receiver.image(7, LayoutVersion(-59));
    let refused = receiver.put(&old, &query, digest(&old)).await.unwrap_err();
    assert!(refused.contains("not a whole image"), "{refused}");
    let refused = receiver.put(&good, &query, None).await.unwrap_err();
    assert!(refused.contains("X-MD5-Digest"), "{refused}");
    let refused = receiver.put(&good, "&txid=6&imageFile=IMAGE", digest(&good)).await;
    assert!(refused.unwrap_err().contains("storage info"));
    let kind = query.replace("IMAGE", "IMAGE_ROLLBACK");
    assert!(receiver.put(&good, &kind, digest(&good)).await.is_err());
    assert!(receiver.images().is_empty());
    receiver.put(&good, &query, digest(&good)).await.unwrap();
    assert_eq!(receiver.images(), [6]);
}

#[tokio::test]
async fn an_image_of_another_state_than_was_here_is_refused() {
    let receiver = Receiver::new();
    let query = receiver.query();
    let settings = &receiver.alone.shared.nn.settings;
    let image = |is_spoiled: bool| {
        let mut namespace = Namespace::new(settings.namespace().unwrap());
        namespace.set_namespace_id(7);
        namespace.set_last_applied_txid(6);
        if is_spoiled {
            namespace.spoil();
        }
        let layout = LayoutVersion::NAMENODE_CURRENT;
        namespace.freeze().save(Vec::new(), layout, &|| false).unwrap().0
    };
    // A standby has asked what the state after transaction 6 is.
    receiver.alone.shared.nn.ns.write().attest(TxId(6)).unwrap();
    let other = image(true);
    let refused = receiver.put(&other, &query, digest(&other)).await.unwrap_err();
    assert!(refused.contains("its namespace is not the one"), "{refused}");
    let good = image(false);
    receiver.put(&good, &query, digest(&good)).await.unwrap();
    assert_eq!(receiver.images(), [6]);
}

#[tokio::test]
async fn a_standby_takes_the_image_of_another_one_and_counts_it_as_its_own() {
    let receiver = Receiver::new();
    let nn = &receiver.alone.shared.nn;
    testing::become_standby(nn);
    let image = receiver.image(7, LayoutVersion::NAMENODE_CURRENT);
    receiver.put(&image, &receiver.query(), digest(&image)).await.unwrap();
    assert_eq!(receiver.images(), [6]);
    assert_eq!(nn.ns.read().most_recent_checkpoint(), TxId(6));
    let again = receiver.put(&image, &receiver.query(), digest(&image)).await;
    assert!(again.unwrap_err().contains("409"));
}

#[tokio::test]
async fn a_standby_waits_for_a_proof_until_an_event_decides() {
    let receiver = Receiver::new();
    let nn = &receiver.alone.shared.nn;
    testing::become_standby(nn);
    let decided = {
        let uploads = receiver.alone.shared.uploads.clone();
        let waiting = uploads.await_proof(TxId(7), PATIENCE);
        tokio::pin!(waiting);
        assert!(poll_once(waiting.as_mut()).await.is_none(), "it may learn it yet");
        nn.ns.write().begin_loading();
        nn.images.look_again();
        poll_once(waiting.as_mut()).await
    };
    let learned_nothing = Some((Some(false), Role::Initializing));
    assert_eq!(decided, learned_nothing, "it learns nothing more in this role");
}

/// A body that notes whether it was asked for, and then ends.
struct Asked(Arc<AtomicBool>);

impl hyper::body::Body for Asked {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, std::io::Error>>> {
        self.0.store(true, Ordering::Release);
        Poll::Ready(None)
    }
}

#[tokio::test]
async fn the_body_of_a_refused_image_is_not_sent() {
    let receiver = Receiver::new();
    let query = receiver.query();
    let is_asked_for = async |len: u64, query: &str| {
        let asked = Arc::new(AtomicBool::new(false));
        let put = receiver.put_body(len, query, digest(b""), Asked(asked.clone()).boxed());
        put.await.unwrap_err();
        asked.load(Ordering::Acquire)
    };
    assert!(is_asked_for(10, &query).await, "it could be good");
    let refused = [
        (10, query.replace("CID-test", "CID-other")),
        (10, query.replace("txid=6", "txid=5")),
        (10, query.replace("txid=6", "txid=7")),
        (u64::MAX >> 1, query.clone()),
    ];
    for (len, query) in refused {
        assert!(!is_asked_for(len, &query).await, "{len} {query}");
    }
    let _place = receiver.alone.shared.nn.images.begin(ImagePurpose::SaveNamespace);
    assert!(!is_asked_for(10, &query).await, "another image is saved");
}

#[tokio::test]
async fn an_image_is_taken_from_a_configured_namenode_only() {
    let alone = testing::active();
    let uploads = &alone.shared.uploads;
    assert!(uploads.is_namenode(Ipv4Addr::LOCALHOST.into()).await);
    assert!(uploads.is_namenode(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into()).await);
    assert!(!uploads.is_namenode(Ipv4Addr::new(10, 9, 8, 7).into()).await);
}

#[tokio::test]
async fn an_upload_that_stalls_gives_way_to_an_own_image() {
    let receiver = Receiver::new();
    let nn = receiver.alone.shared.nn.clone();
    let (mut sender, body) = http::body_channel(4);
    let query = receiver.query();
    let stalled = receiver.put_body(1000, &query, digest(b""), body);
    let own = async {
        let path = Unpublished::uploaded(receiver.alone.shared.dirs.images_dirs(), TxId(6)).paths()[0].clone();
        while !path.exists() {
            tokio::task::yield_now().await;
        }
        let own = nn
            .images
            .begin(ImagePurpose::SaveNamespace)
            .expect("the upload holds the place");
        // The next bytes find that it has given way.
        let sent = tokio::task::spawn_blocking(move || {
            let _ = sender.send_blocking(Bytes::from_static(&[1; 10]));
            sender
        });
        (own, sent.await)
    };
    let (refused, _own) = tokio::join!(stalled, own);
    let refused = refused.unwrap_err();
    assert!(refused.contains(GAVE_WAY), "{refused}");
}

#[tokio::test]
async fn images_that_nobody_has_verified_make_no_other_superfluous() {
    let receiver = Receiver::new();
    let dirs = &receiver.alone.shared.dirs;
    let settings = &receiver.alone.shared.nn.settings;
    let dir = &dirs.images_dirs()[0];
    for txid in [7, 8, 9] {
        std::fs::write(dir.join(crate::storage::image_name(TxId(txid))), b"garbage").unwrap();
    }
    let namespace = Namespace::new(settings.namespace().unwrap());
    let publish = |txid| {
        let image = Unpublished::of(dirs.images_dirs(), TxId(txid));
        let md5 = save_checkpoint(&namespace.freeze(), image.paths(), &|| false).unwrap();
        dirs.publish_image(&image, &md5).unwrap();
        dirs.purge_images(settings)
    };
    assert!(publish(3).unwrap() <= TxId(4));
    publish(5);
    assert_eq!(receiver.images(), [9, 8, 7, 5, 3]);
    publish(6);
    assert_eq!(receiver.images(), [9, 8, 7, 6, 5], "the two newest that are whole stay");
}

/// The whole body has come, the file is being synced, and the connection ends: a server drops the handler then.
async fn put_until_the_image_is_there(uploads: Arc<ImageUploads>, request: HttpRequest, len: u64) -> HttpResponse {
    let file = Unpublished::uploaded(uploads.dirs.images_dirs(), TxId(6)).paths()[0].clone();
    let mut serving = Box::pin(put(uploads, request));
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
    let (uploads, len) = (alone.shared.uploads.clone(), image.len() as u64);
    let server = HttpServer::bind(
        (Ipv4Addr::LOCALHOST, 0).into(),
        Arc::new(move |request| put_until_the_image_is_there(uploads.clone(), request, len)),
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
async fn safety_n4_an_image_of_edits_that_no_quorum_has_is_not_taken() {
    let receiver = Receiver::new();
    let query = receiver.query().replace("txid=6", "txid=9");
    let refused = receiver.put(b"abc", &query, Some([0; 16])).await.unwrap_err();
    assert!(refused.contains("more than a quorum has"), "{refused}");
    assert!(receiver.images().is_empty());
}

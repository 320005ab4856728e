//! `PUT /imagetransfer`: an image that a standby has made (Hadoop's `ImageServlet.doPut`). The shell around
//! [`hathi_nameserver::offered_images`], which decides what is taken.
//!
//! A refusal leaves before the body is asked for (`Expect: 100-continue`): the HTTP server asks for it when the first
//! piece is read.

use crate::checkpoint::Checkpoints;
use crate::clock::Clock;
use crate::image_place::{ImagePlace, ImageUnderWay};
use crate::low_priority;
use crate::peer_addresses::PeerAddresses;
use crate::settings::Settings;
use crate::storage::{NameDirs, hex, parse_md5};
use crate::synced_file::SyncedFile;
use crate::unpublished::Unpublished;
use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use hathi_formats::fsimage::Image;
use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_nameserver::checkpoints::is_proven;
use hathi_nameserver::offered_images::{self, Announced, Body, Event, ImageHere, Offer, Order, Refused, Seen, Stated};
use hathi_namespace::image::Verified;
use hathi_namesystem::save_namespace::{Canceler, ImagePurpose};
use hathi_namesystem::{Namesystem, Role};
use hathi_net::http::{self, HttpRequest, HttpResponse, RequestHead};
use http_body_util::BodyExt;
use hyper::StatusCode;
use md5::{Digest, Md5};
use parking_lot::RwLock;
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(crate) fn gone(message: impl Into<String>) -> HttpResponse {
    http::error(StatusCode::GONE, message)
}

/// Status and reason of a refused request.
pub type Refusal = (StatusCode, String);

/// The statements in a request about the image.
#[must_use]
pub fn stated(head: &RequestHead) -> Stated<'_> {
    let query = &head.query;
    Stated {
        storage: query.get("storageInfo"),
        kind: query.get("imageFile"),
        txid: query.unsigned("txid"),
        len: query.unsigned("File-Length"),
        md5: head.header("x-md5-digest").and_then(parse_md5),
    }
}

/// Number of pieces of a body that may wait for the disks.
const PIECES_AHEAD: usize = 16;
const GAVE_WAY: &str = "this NameNode makes an image of its own";

/// An image that is being received: the place among images, and the files. The last step that works on it owns it, so
/// place and files are freed when that step has ended. This holds also when the sender is gone, because a server drops
/// the handler of a closed connection.
struct Incoming {
    under_way: ImageUnderWay,
    unpublished: Unpublished,
    files: Vec<SyncedFile>,
}

/// Receives images.
pub struct ImageUploads {
    pub(crate) settings: Arc<Settings>,
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) images: Arc<ImagePlace>,
    pub(crate) dirs: Arc<NameDirs>,
    pub(crate) checkpoints: Arc<Checkpoints>,
    /// Addresses of the NameNodes whose images are accepted.
    pub(crate) peer_addresses: PeerAddresses,
}

impl ImageUploads {
    /// Receives an image.
    pub async fn put(self: &Arc<Self>, request: HttpRequest) -> HttpResponse {
        let (announced, under_way) = match self.decide(&request.head).await {
            Ok(decided) => decided,
            Err(refused) => {
                if refused == Refused::Stranger {
                    let from = request.head.peer;
                    tracing::warn!(%from, "refused an image of somebody who is no NameNode of this nameservice");
                }
                let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::GONE);
                return http::error(status, refused.to_string());
            }
        };
        match self.receive(announced, request.body, under_way).await {
            Ok(()) => http::text(StatusCode::OK, ""),
            Err(error) => {
                let txid = announced.txid;
                tracing::warn!(%txid, error = format!("{error:#}"), "an image was not received");
                gone(format!("PutImage failed. {error:#}"))
            }
        }
    }

    async fn is_namenode(&self, ip: IpAddr) -> bool {
        self.peer_addresses.include(&self.settings, ip).await
    }

    /// Carries out the decision about an image. It is to be received by who holds the place that this returns.
    async fn decide(&self, head: &RequestHead) -> Result<(Announced, ImageUnderWay), Refused> {
        let is_namenode = self.is_namenode(head.peer.ip()).await;
        let (offer, mut order) = Offer::begin(is_namenode, stated(head), &self.dirs.info)?;
        let config = &self.settings.checkpoint;
        let mut under_way = None;
        loop {
            order = match order {
                Order::Look => {
                    let seen = Seen::of(&self.ns.read(), self.clock.wall_ms());
                    offer.on(Event::Looked(seen), config)?
                }
                Order::AwaitProof(txid, wait_ms) => {
                    let (proven, role) = self.await_proof(txid, Duration::from_millis(wait_ms)).await;
                    offer.on(Event::Proof(proven, role), config)?
                }
                Order::ListImages => offer.on(Event::Images(&self.list_images()), config)?,
                Order::TakePlace => {
                    under_way = self.images.begin(ImagePurpose::Upload);
                    offer.on(Event::Place(under_way.is_some()), config)?
                }
                Order::Receive => return Ok((*offer.announced(), under_way.ok_or(Refused::Busy)?)),
            }
        }
    }

    /// Waits until it is known whether a quorum has everything up to this transaction. A standby may learn it yet.
    async fn await_proof(&self, txid: TxId, wait: Duration) -> (Option<bool>, Role) {
        let proven = self
            .images
            .wait_in_task(wait, || is_proven(&self.ns.read(), txid))
            .await;
        (proven, self.ns.read().role())
    }

    fn list_images(&self) -> Vec<ImageHere> {
        let here = self.dirs.images().into_iter();
        here.map(|image| ImageHere {
            txid: image.txid,
            len: std::fs::metadata(&image.path).map_or(0, |file| file.len()),
        })
        .collect()
    }

    async fn receive(
        self: &Arc<Self>,
        announced: Announced,
        body: hyper::body::Incoming,
        under_way: ImageUnderWay,
    ) -> anyhow::Result<()> {
        let canceler = under_way.canceler().clone();
        let unpublished = Unpublished::uploaded(self.dirs.images_dirs(), announced.txid);
        let incoming = Incoming {
            under_way,
            unpublished,
            files: Vec::new(),
        };
        let (pieces, written) = mpsc::channel(PIECES_AHEAD);
        let writing = tokio::task::spawn_blocking(move || write(incoming, written));
        let passed_on = pass_on(&announced, body, pieces, &canceler, self.settings.image_timeout).await;
        // An error of the disks is reported first, because the body can't go on without them.
        let (incoming, md5) = writing.await??;
        passed_on?;
        if announced.md5 != md5 {
            bail!("got an image with digest {} instead of the advertised one", hex(&md5));
        }
        let uploads = self.clone();
        tokio::task::spawn_blocking(move || {
            let Incoming {
                under_way,
                unpublished,
                files,
            } = &incoming;
            files.iter().try_for_each(SyncedFile::sync_all)?;
            let first = unpublished.paths().first().context("no name directory")?;
            let config = uploads.settings.namespace()?;
            let found = check_image(config, first, &uploads.dirs.info, announced.txid)?;
            offered_images::check_state(&found, &uploads.ns.read())?;
            // The place is held until this step ends, whether or not somebody still waits for the answer.
            ensure!(under_way.canceler().begin_publishing(), GAVE_WAY);
            uploads.publish(unpublished, &announced.md5)
        })
        .await?
    }

    fn publish(&self, unpublished: &Unpublished, md5: &[u8; 16]) -> anyhow::Result<()> {
        let txid = unpublished.txid();
        self.dirs.publish_image(unpublished, md5)?;
        self.checkpoints.note_image(txid);
        tracing::info!(%txid, "received an image");
        self.checkpoints.purge_edits();
        Ok(())
    }
}

/// Passes the body on to the disks, up to the announced length. Ends early when the disks fail.
async fn pass_on(
    announced: &Announced,
    mut body: hyper::body::Incoming,
    pieces: mpsc::Sender<Bytes>,
    canceler: &Canceler,
    patience: Duration,
) -> anyhow::Result<()> {
    let mut counted = Body::of(announced);
    let mut deadline = Instant::now() + patience;
    while let Some(frame) = tokio::time::timeout_at(deadline, body.frame())
        .await
        .context("the sender is too slow")?
    {
        ensure!(!canceler.is_cancelled(), GAVE_WAY);
        let Ok(data) = frame?.into_data() else { continue };
        let is_progress = counted.on_piece(data.len() as u64)?;
        if pieces.send(data).await.is_err() {
            bail!("it can't be written");
        }
        if is_progress {
            deadline = Instant::now() + patience;
        }
    }
    Ok(counted.on_end()?)
}

/// Writes the pieces on a thread that may wait for disks. Returns the digest as well.
fn write(mut incoming: Incoming, mut pieces: mpsc::Receiver<Bytes>) -> anyhow::Result<(Incoming, [u8; 16])> {
    for path in incoming.unpublished.paths() {
        incoming.files.push(SyncedFile::create(path)?);
    }
    let mut digest = Md5::new();
    while let Some(data) = pieces.blocking_recv() {
        digest.update(&data);
        for file in &mut incoming.files {
            file.write_all(&data)?;
        }
    }
    Ok((incoming, digest.finalize().into()))
}

/// Reads a peer's image to its end. It must be of this namespace and of this transaction.
pub fn check_image(
    config: hathi_namespace::NamespaceConfig,
    path: &Path,
    info: &NamespaceInfo,
    txid: TxId,
) -> anyhow::Result<Verified> {
    let file = File::open(path)?;
    let image = Image::open(&file)?;
    let found = low_priority::run("verify-image", || hathi_namespace::image::verify(config, &image))?
        .context("it is not a whole image")?;
    offered_images::check_image(&found, info, txid)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::send_file;
    use crate::load::save_checkpoint;
    use crate::testing::{self, Alone};
    use hathi_formats::ids::LayoutVersion;
    use hathi_namespace::Namespace;
    use hathi_net::http::{Body, HttpServer};
    use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
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
            let web = alone.shared.clone();
            let server = HttpServer::bind(
                (Ipv4Addr::LOCALHOST, 0).into(),
                Arc::new(move |request| crate::http::serve(web.clone(), request)),
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

    async fn poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        std::future::poll_fn(|context| match Pin::new(&mut future).poll(context) {
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
        let old = receiver.image(7, LayoutVersion(-66));
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
}

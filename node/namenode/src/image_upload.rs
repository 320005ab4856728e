//! `PUT /imagetransfer`: an image that a standby has made (Hadoop's `ImageServlet.doPut`).
//!
//! A standby of ours accepts it as well, and then makes none itself. Hadoop's standby refuses it, and each of them
//! makes one.
//!
//! An image replaces older images and the edits before it. So it is accepted only if it comes from a configured
//! NameNode of this nameservice, names this namespace, matches its digest, is of a transaction that a quorum has, and
//! was read to its end. Without Kerberos, Hadoop checks less.

use crate::background::Shared;
use crate::checkpoint::{note_image, purge_edits};
use crate::image_place::ImageUnderWay;
use crate::low_priority;
use crate::state::NameNode;
use crate::storage::{hex, parse_md5};
use crate::synced_file::SyncedFile;
use crate::unpublished::Unpublished;
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use hathi_formats::fsimage::Image;
use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_nameserver::checkpoints::is_proven;
use hathi_namespace::image::Verified;
use hathi_namesystem::Role;
use hathi_namesystem::checkpoint::accepts_upload;
use hathi_namesystem::save_namespace::{Canceler, Purpose};
use hathi_net::http::{self, HttpRequest, HttpResponse, RequestHead};
use http_body_util::BodyExt;
use hyper::StatusCode;
use md5::{Digest, Md5};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Number of bytes that must arrive within each `dfs.image.transfer.timeout`. Every network is faster than that. A
/// sender that only occupies the place for images is not.
const PROGRESS_BYTES: u64 = 1 << 20;
/// Largest size of an image, as a multiple of the newest one here, with [`GROWTH_BYTES`] added. There are few edits
/// between the two.
const GROWTH_FACTOR: u64 = 10;
/// See [`GROWTH_FACTOR`].
const GROWTH_BYTES: u64 = 1 << 30;

/// How long a standby waits until it knows that a quorum has everything in the image. It proves its applied edits about
/// once a second.
const PROVEN_WAIT: Duration = Duration::from_secs(5);

pub(crate) fn gone(message: impl Into<String>) -> HttpResponse {
    http::error(StatusCode::GONE, message)
}

/// Status and reason of a refused request.
pub type Refusal = (StatusCode, String);

/// Receives an image, with Hadoop's checks in Hadoop's order. Where Hadoop checks a Kerberos principal, the checks are
/// ours.
pub async fn put_image(shared: &Arc<Shared>, request: HttpRequest) -> HttpResponse {
    let nn = &shared.nn;
    if !shared
        .peer_addresses
        .include(&nn.settings, request.head.peer.ip())
        .await
    {
        tracing::warn!(from = %request.head.peer, "refused an image of somebody who is no NameNode of this nameservice");
        let who = "Only Namenode, Secondary Namenode, and administrators may access this servlet";
        return http::error(StatusCode::FORBIDDEN, who);
    }
    let announced = match Announced::of(&request.head, &shared.dirs.info) {
        Ok(announced) => announced,
        Err((status, why)) => return http::error(status, why),
    };
    let txid = announced.txid;
    if !matches!(nn.role(), Role::Active | Role::Standby) {
        return http::error(StatusCode::EXPECTATION_FAILED, "Nameode transitioned to standby state");
    }
    let conflict = |message: String| http::error(StatusCode::CONFLICT, message);
    let (newest, age_ms) = {
        let ns = nn.ns.read();
        let age_ms = nn.clock.wall_ms().saturating_sub(ns.most_recent_checkpoint_ms());
        (ns.most_recent_checkpoint(), age_ms)
    };
    if !accepts_upload(&nn.settings.checkpoint, txid, newest, age_ms) {
        return conflict(format!(
            "Rejecting a fsimage of transaction {txid}: the newest one here is of {newest}, {age_ms} ms old"
        ));
    }
    if !has_proven(nn, txid).await {
        let why = format!("An image of transaction {txid} holds more than a quorum has");
        return match nn.role() {
            // This standby does not know yet that a quorum has it. For Hadoop's sender this is no failure.
            Role::Standby => conflict(why),
            // The sender has edits that are not in this journal.
            _ => gone(why),
        };
    }
    let images = shared.dirs.images();
    if images.iter().any(|image| image.txid == txid) {
        return conflict(format!("An image of transaction {txid} is here already"));
    }
    let here = images.first().and_then(|image| std::fs::metadata(&image.path).ok());
    let limit = here.map_or(0, |file| file.len()).saturating_mul(GROWTH_FACTOR) + GROWTH_BYTES;
    if announced.len > limit {
        return gone(format!(
            "An image of {} bytes is more than the {limit} that can be",
            announced.len
        ));
    }
    let Some(under_way) = nn.images.begin(Purpose::Upload) else {
        return conflict("Another checkpoint is being made or received".to_owned());
    };
    match receive(shared, announced, request.body, under_way).await {
        Ok(()) => http::text(StatusCode::OK, ""),
        Err(error) => {
            tracing::warn!(%txid, error = format!("{error:#}"), "an image was not received");
            gone(format!("PutImage failed. {error:#}"))
        }
    }
}

/// Whether a quorum has everything up to this transaction, as far as this NameNode knows. A standby waits for the rest.
async fn has_proven(nn: &NameNode, txid: TxId) -> bool {
    let proven = nn.images.wait_in_task(PROVEN_WAIT, || is_proven(&nn.ns.read(), txid));
    proven.await == Some(true)
}

/// The sender's statements about the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Last transaction in the image.
    pub txid: TxId,
    /// Its length in bytes.
    pub len: u64,
    /// Its digest.
    pub md5: [u8; 16],
}

impl Announced {
    /// Decodes a request.
    ///
    /// # Errors
    /// FORBIDDEN when it names another storage than this one; GONE when something is missing.
    pub fn of(head: &RequestHead, info: &NamespaceInfo) -> Result<Announced, Refusal> {
        let invalid = |why: &str| (StatusCode::GONE, why.to_owned());
        let query = &head.query;
        let own = info.to_colon_separated();
        let theirs = query.get("storageInfo").unwrap_or("none");
        if theirs != own {
            let differs = format!("This namenode has storage info {own} but the secondary expected {theirs}");
            return Err((StatusCode::FORBIDDEN, differs));
        }
        if query.get("imageFile") != Some("IMAGE") {
            return Err(invalid("Only an image of kind IMAGE is taken"));
        }
        let (Some(txid), Some(len)) = (query.unsigned("txid"), query.unsigned("File-Length")) else {
            return Err(invalid("Invalid request has no txid or File-Length"));
        };
        let md5 = head
            .header("x-md5-digest")
            .and_then(parse_md5)
            .ok_or_else(|| invalid("Invalid request has no X-MD5-Digest"))?;
        Ok(Announced {
            txid: TxId(txid),
            len,
            md5,
        })
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

async fn receive(
    shared: &Arc<Shared>,
    announced: Announced,
    body: hyper::body::Incoming,
    under_way: ImageUnderWay,
) -> anyhow::Result<()> {
    let canceler = under_way.canceler().clone();
    let unpublished = Unpublished::uploaded(shared.dirs.images_dirs(), announced.txid);
    let incoming = Incoming {
        under_way,
        unpublished,
        files: Vec::new(),
    };
    let (pieces, written) = mpsc::channel(PIECES_AHEAD);
    let writing = tokio::task::spawn_blocking(move || write(incoming, written));
    let passed_on = pass_on(&announced, body, pieces, &canceler, shared.nn.settings.image_timeout).await;
    // An error of the disks is reported first, because the body can't go on without them.
    let (incoming, md5) = writing.await??;
    passed_on?;
    if announced.md5 != md5 {
        bail!("got an image with digest {} instead of the advertised one", hex(&md5));
    }
    let shared = shared.clone();
    tokio::task::spawn_blocking(move || {
        let Incoming {
            under_way,
            unpublished,
            files,
        } = &incoming;
        files.iter().try_for_each(SyncedFile::sync_all)?;
        let first = unpublished.paths().first().context("no name directory")?;
        let config = shared.nn.settings.namespace()?;
        let found = check_image(config, first, &shared.dirs.info, announced.txid)?;
        check_state(&shared.nn, &found)?;
        // The place is held until this step ends, whether or not somebody still waits for the answer.
        ensure!(under_way.canceler().begin_publishing(), GAVE_WAY);
        publish_received(&shared, unpublished, &announced.md5)
    })
    .await?
}

/// Passes the body on to the disks, up to the announced length. Ends early when the disks fail.
async fn pass_on(
    announced: &Announced,
    mut body: hyper::body::Incoming,
    pieces: mpsc::Sender<Bytes>,
    canceler: &Canceler,
    patience: Duration,
) -> anyhow::Result<()> {
    let (mut received, mut counted) = (0, 0);
    let mut deadline = Instant::now() + patience;
    while let Some(frame) = tokio::time::timeout_at(deadline, body.frame())
        .await
        .context("the sender is too slow")?
    {
        ensure!(!canceler.is_cancelled(), GAVE_WAY);
        let Ok(data) = frame?.into_data() else { continue };
        received += data.len() as u64;
        if received > announced.len {
            bail!("more than the announced {} bytes", announced.len);
        }
        if pieces.send(data).await.is_err() {
            bail!("it can't be written");
        }
        if received - counted >= PROGRESS_BYTES {
            counted = received;
            deadline = Instant::now() + patience;
        }
    }
    if received != announced.len {
        bail!("got {received} bytes instead of {}", announced.len);
    }
    Ok(())
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
    ensure!(
        found.txid == txid.0,
        "it holds everything up to transaction {} instead of {txid}",
        found.txid
    );
    ensure!(
        found.namespace_id == info.namespace_id,
        "it is of namespaceID {} instead of {}",
        found.namespace_id,
        info.namespace_id
    );
    Ok(found)
}

/// Refuses an image with another state than this NameNode had after the same transaction, if that is known.
fn check_state(nn: &NameNode, found: &Verified) -> anyhow::Result<()> {
    let ns = nn.ns.read();
    let own = ns.namespace.digest_mark(found.txid);
    let is_comparable = found.origin == ns.namespace.digest_origin();
    ensure!(
        !is_comparable || own.is_none_or(|own| own.digest == found.digest),
        "its namespace is not the one that this NameNode had after transaction {}",
        found.txid
    );
    Ok(())
}

fn publish_received(shared: &Shared, unpublished: &Unpublished, md5: &[u8; 16]) -> anyhow::Result<()> {
    let txid = unpublished.txid();
    shared.dirs.publish_image(unpublished, md5)?;
    note_image(&shared.nn, txid);
    tracing::info!(%txid, "received an image");
    purge_edits(shared);
    Ok(())
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
    use std::task::Poll;

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
        {
            let mut ns = nn.ns.write();
            ns.role = Role::Standby;
            nn.publish(&ns);
        }
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
        {
            let mut ns = nn.ns.write();
            ns.role = Role::Standby;
            nn.publish(&ns);
        }
        let decided = {
            let waiting = has_proven(nn, TxId(7));
            tokio::pin!(waiting);
            assert!(poll_once(waiting.as_mut()).await.is_none(), "it may learn it yet");
            nn.ns.write().role = Role::Initializing;
            nn.images.look_again();
            poll_once(waiting.as_mut()).await
        };
        assert_eq!(decided, Some(false), "it learns nothing more in this role");
    }

    #[tokio::test]
    async fn an_image_is_taken_from_a_configured_namenode_only() {
        let alone = testing::active();
        let (settings, peers) = (&alone.shared.nn.settings, &alone.shared.peer_addresses);
        assert!(peers.include(settings, Ipv4Addr::LOCALHOST.into()).await);
        assert!(
            peers
                .include(settings, Ipv4Addr::LOCALHOST.to_ipv6_mapped().into())
                .await
        );
        assert!(!peers.include(settings, Ipv4Addr::new(10, 9, 8, 7).into()).await);
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
                .begin(Purpose::SaveNamespace)
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

//! `PUT /imagetransfer`: an image that a standby has made (Hadoop's `ImageServlet.doPut`). The shell around
//! [`hathi_nameserver::offered_images`], which decides what is taken.
//!
//! A refusal leaves before the body is asked for (`Expect: 100-continue`): the HTTP server asks for it when the first
//! piece is read.

use crate::checkpoint::Checkpoints;
use crate::clock::Clock;
use crate::image_place::{ImagePlace, ImageUnderWay};
use crate::image_transfer::gone;
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
mod tests;

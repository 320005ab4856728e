//! Checkpoints: a standby saves images and uploads them; anybody may be told to save one.

use crate::background::Shared;
use crate::load::save_checkpoint;
use crate::log::LogCommand;
use crate::state::NameNode;
use crate::storage::{NameDirs, checkpoint_name, hex};
use anyhow::{Context, bail};
use hathi_formats::conf::HostPort;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::TxId;
use hathi_formats::proto::hdfs::SaveNamespaceResponseProto;
use hathi_namesystem::Role;
use hathi_namesystem::checkpoint::{Checkpointer, UploadResult, keep_from};
use hathi_namesystem::save_namespace::{Canceler, Publication, Purpose, SaveNamespaceContext};
use hathi_net::ipc::Responder;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Read at a time while an image is sent.
const SEND_CHUNK_BYTES: usize = 256 << 10;

/// How long an image waits for its last transactions to be durable.
const DURABLE_WAIT_MS: u64 = 20_000;
/// Transactions that a checkpoint itself brings about: a segment's end, and the next one's beginning.
const SEGMENT_OPS: u64 = 2;
/// How often is looked whether they are.
const DURABLE_PAUSE: Duration = Duration::from_millis(2);

/// The place of the one image that is saved or received, given back whenever and wherever this is dropped: also with
/// the handler of a request whose sender has gone.
pub struct ImageUnderWay {
    nn: Arc<NameNode>,
    canceler: Canceler,
}

impl ImageUnderWay {
    /// Stops it, from elsewhere.
    #[must_use]
    pub fn canceler(&self) -> &Canceler {
        &self.canceler
    }

    /// Takes the place, if it is free or what has it gives way.
    pub fn begin(nn: &Arc<NameNode>, purpose: Purpose) -> Option<ImageUnderWay> {
        let canceler = nn.image_under_way.lock().begin(purpose)?;
        Some(ImageUnderWay {
            nn: nn.clone(),
            canceler,
        })
    }
}

impl Drop for ImageUnderWay {
    fn drop(&mut self) {
        self.nn.image_under_way.lock().end(&self.canceler);
    }
}

/// The files of an image that is not complete; removed when this is dropped, unless they were published.
pub struct Unpublished {
    txid: TxId,
    paths: Vec<PathBuf>,
}

impl Unpublished {
    /// `fsimage.ckpt_<txid>` in every name directory.
    #[must_use]
    pub fn of(dirs: &NameDirs, txid: TxId) -> Unpublished {
        Unpublished::named(dirs, txid, &checkpoint_name(txid))
    }

    /// Of an image that a peer sends. An own one of the same transaction may take its place meanwhile, so the names differ.
    #[must_use]
    pub fn uploaded(dirs: &NameDirs, txid: TxId) -> Unpublished {
        Unpublished::named(dirs, txid, &format!("{}.upload", checkpoint_name(txid)))
    }

    fn named(dirs: &NameDirs, txid: TxId, name: &str) -> Unpublished {
        Unpublished {
            txid,
            paths: dirs.images_dirs().iter().map(|dir| dir.join(name)).collect(),
        }
    }

    /// What the image covers.
    #[must_use]
    pub fn txid(&self) -> TxId {
        self.txid
    }

    /// Where they are.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

impl Drop for Unpublished {
    fn drop(&mut self) {
        for path in &self.paths {
            // A published one has another name.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Saves an image of what is applied now. Runs on a thread of its own, and nobody waits for it.
pub fn save(nn: &Arc<NameNode>, dirs: &NameDirs, purpose: Purpose) -> anyhow::Result<TxId> {
    let under_way = ImageUnderWay::begin(nn, purpose).context("a checkpoint is under way already")?;
    let started = nn.clock.ms();
    dirs.attempt_restore();
    let (frozen, image) = {
        let mut ns = nn.ns.write();
        let txid = ns.edit_log.applied();
        if ns.most_recent_checkpoint >= txid && dirs.images().iter().any(|image| image.txid == txid) {
            return Ok(txid);
        }
        ns.begin_image(purpose, under_way.canceler.clone())?
    };
    let txid = image.txid();
    let unpublished = Unpublished::of(dirs, txid);
    let md5 = save_checkpoint(&frozen, unpublished.paths(), &|| image.is_over())?;
    drop(frozen);
    wait_until_durable(nn, &image)?;
    dirs.publish_image(&unpublished, &md5)?;
    note_image(nn, txid);
    dirs.purge_images(&nn.settings);
    tracing::info!(%txid, took_ms = nn.clock.ms() - started, "saved an image");
    Ok(txid)
}

/// An image must not hold what no quorum has: the active that saved it may yet lose it, and a standby may have read what
/// is lost.
fn wait_until_durable(nn: &NameNode, image: &SaveNamespaceContext) -> anyhow::Result<()> {
    // Where JournalNodes tell no epochs, a standby's history is proven when its segment is final, for which it asks.
    let segment = nn.settings.log_roll_period.unwrap_or_default() * 2;
    let give_up = nn.clock.ms() + DURABLE_WAIT_MS + segment.as_millis() as u64;
    loop {
        match image.publication() {
            Publication::Now => return Ok(()),
            Publication::Never(why) => return Err(why.into()),
            Publication::Wait if nn.clock.ms() > give_up => {
                bail!("transaction {} is not known to be durable", image.txid())
            }
            Publication::Wait => std::thread::sleep(DURABLE_PAUSE),
        }
    }
}

/// An image of this transaction is in the name directories.
pub fn note_image(nn: &NameNode, txid: TxId) {
    let mut ns = nn.ns.write();
    if txid >= ns.most_recent_checkpoint {
        ns.most_recent_checkpoint = txid;
        ns.most_recent_checkpoint_ms = nn.clock.wall_ms();
    }
}

/// `ClientProtocol.saveNamespace`; the handler has checked caller and safe mode.
pub fn save_namespace(shared: &Arc<Shared>, time_window_s: u64, tx_gap: u64, responder: Responder) {
    let shared = shared.clone();
    let spawned = std::thread::Builder::new()
        .name("save-namespace".to_owned())
        .spawn(move || {
            let nn = &shared.nn;
            let skip = {
                let ns = nn.ns.read();
                let age_s = nn.clock.wall_ms().saturating_sub(ns.most_recent_checkpoint_ms) / 1000;
                let gap = ns.edit_log.applied().0.saturating_sub(ns.most_recent_checkpoint.0);
                time_window_s > 0 && age_s < time_window_s && gap < tx_gap.max(1)
            };
            if skip {
                return responder.ok(&SaveNamespaceResponseProto { saved: Some(false) });
            }
            if nn.role() == Role::Active {
                roll(&shared);
            }
            let saved = save(nn, &shared.dirs, Purpose::SaveNamespace);
            if nn.settings.is_single() {
                purge_edits(&shared);
            }
            match saved {
                Ok(_) => responder.ok(&SaveNamespaceResponseProto { saved: Some(true) }),
                Err(error) => responder.error(&RemoteException::new(exceptions::IO, format!("{error:#}"))),
            }
        });
    if let Err(error) = spawned {
        tracing::error!(%error, "cannot start a thread to save the namespace");
    }
}

/// As Hadoop does: the image ends where a segment ends. And a directory of edits that is used again gets all of the segment.
fn roll(shared: &Shared) {
    let nn = &shared.nn;
    shared.dirs.attempt_restore();
    // It fails when this NameNode is not the active any more, and then nothing has to be rolled.
    let _ = nn.ns.write().edit_log.roll(nn.clock.wall_ms());
    nn.log_wake.notify_one();
}

/// Deletes edits that no image needs any more, but for those that the keys keep (`NNStorageRetentionManager`).
pub fn purge_edits(shared: &Shared) {
    let nn = &shared.nn;
    let Some(by_images) = shared.dirs.purge_images(&nn.settings) else {
        return;
    };
    if nn.role() != Role::Active {
        return;
    }
    let keep_from = if nn.settings.is_single() {
        // Nobody follows them: they stay for who looks back, as in Hadoop.
        let images = shared.dirs.images();
        let required = images.last().map_or(by_images, |oldest| oldest.txid.next());
        keep_from(
            &shared.dirs.segments(),
            required,
            by_images,
            nn.settings.extra_segments_retained,
        )
    } else {
        let applied = nn.ns.read().edit_log.applied();
        nn.edits_retention.lock().keep_from(by_images, applied, nn.clock.ms())
    };
    // Nobody hears it when the process ends.
    let _ = shared.log.send(LogCommand::Purge(keep_from));
}

/// The checkpoints of the only NameNode, until the process ends. Hadoop's has a SecondaryNameNode for that; where one is at
/// work, what it has uploaded counts.
async fn run_alone(shared: Arc<Shared>) {
    let nn = &shared.nn;
    let mut checkpointer = Checkpointer::new(nn.settings.checkpoint.clone(), 0, nn.clock.ms());
    let mut known = TxId(0);
    loop {
        tokio::time::sleep(Duration::from_millis(checkpointer.check_interval_ms())).await;
        let (applied, image) = {
            let ns = nn.ns.read();
            (ns.edit_log.applied(), ns.most_recent_checkpoint)
        };
        if std::mem::replace(&mut known, image) < image {
            checkpointer.on_saved(nn.clock.ms());
        }
        // Otherwise nothing has changed.
        if nn.role() != Role::Active
            || applied.0 <= image.0 + SEGMENT_OPS
            || !checkpointer.due(applied, image, nn.clock.ms())
        {
            continue;
        }
        let saving = shared.clone();
        let saved = tokio::task::spawn_blocking(move || {
            roll(&saving);
            let saved = save(&saving.nn, &saving.dirs, Purpose::SaveNamespace)?;
            purge_edits(&saving);
            anyhow::Ok(saved)
        });
        match saved.await.context("the saving thread died").and_then(|saved| saved) {
            Ok(txid) => {
                known = txid;
                checkpointer.on_saved(nn.clock.ms());
            }
            Err(error) => tracing::warn!(error = format!("{error:#}"), "no checkpoint"),
        }
    }
}

/// The checkpoints, until the process ends.
pub async fn run(shared: Arc<Shared>) {
    if shared.nn.settings.is_single() {
        return run_alone(shared).await;
    }
    let nn = &shared.nn;
    let mut checkpointer = Checkpointer::new(nn.settings.checkpoint.clone(), nn.settings.peers.len(), nn.clock.ms());
    loop {
        tokio::time::sleep(Duration::from_millis(checkpointer.check_interval_ms())).await;
        if nn.role() != Role::Standby || !nn.settings.standby_checkpoints {
            continue;
        }
        let (applied, image) = {
            let ns = nn.ns.read();
            (ns.edit_log.applied(), ns.most_recent_checkpoint)
        };
        if !checkpointer.due(applied, image, nn.clock.ms()) {
            continue;
        }
        let saving = shared.clone();
        let saved = tokio::task::spawn_blocking(move || save(&saving.nn, &saving.dirs, Purpose::Checkpoint)).await;
        let txid = match saved.context("the saving thread died").and_then(|saved| saved) {
            Ok(txid) => txid,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "no checkpoint");
                if nn.role() != Role::Standby {
                    checkpointer.on_cancelled(nn.clock.ms());
                }
                continue;
            }
        };
        checkpointer.on_saved(nn.clock.ms());
        for index in checkpointer.receivers(nn.clock.ms()) {
            let peer = &nn.settings.peers[index].http;
            let result = match upload(peer, &shared.dirs, txid, nn.settings.image_timeout).await {
                Ok(result) => result,
                Err(error) => {
                    tracing::warn!(
                        peer = nn.settings.peers[index].namenode_id,
                        error = format!("{error:#}"),
                        "cannot upload an image"
                    );
                    UploadResult::Failed
                }
            };
            tracing::info!(%txid, peer = nn.settings.peers[index].namenode_id, ?result, "uploaded an image");
            checkpointer.on_uploaded(index, result, nn.clock.ms());
        }
    }
}

/// Offers an image to a NameNode (`TransferFsImage.uploadImageFromStorage`).
pub(crate) async fn upload(
    to: &HostPort,
    dirs: &NameDirs,
    txid: TxId,
    patience: Duration,
) -> anyhow::Result<UploadResult> {
    let path = dirs
        .images()
        .into_iter()
        .find(|image| image.txid == txid)
        .map(|image| image.path)
        .context("the image is gone")?;
    let len = std::fs::metadata(&path)?.len();
    let md5 = crate::storage::read_md5(&path)?;
    let url = format!(
        "http://{to}/imagetransfer?txid={txid}&storageInfo={}&File-Length={len}&imageFile=IMAGE",
        dirs.info.to_colon_separated(),
    );
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(
        HeaderName::from_static("content-transfer-encoding"),
        HeaderValue::from_static("binary"),
    );
    headers.insert(
        HeaderName::from_static("x-md5-digest"),
        HeaderValue::from_str(&hex(&md5))?,
    );
    let body = send_file(path, len);
    match hathi_net::http::put(&url, headers, body, patience).await {
        Ok(_) => Ok(UploadResult::Success),
        Err(hathi_net::http::HttpError::Status { status, .. }) if status.as_u16() == 409 => {
            Ok(UploadResult::OldTransactionId)
        }
        Err(hathi_net::http::HttpError::Status { status, .. }) if status.as_u16() == 417 => Ok(UploadResult::NotActive),
        Err(error) => Err(error.into()),
    }
}

/// A body that is read from a file by a thread while it is sent.
#[must_use]
pub fn send_file(path: PathBuf, len: u64) -> hathi_net::http::Body {
    let (mut sender, body) = hathi_net::http::body_channel(4);
    std::thread::spawn(move || {
        let mut send = || -> anyhow::Result<()> {
            let mut file = std::fs::File::open(&path)?;
            let mut left = len;
            while left > 0 {
                let mut chunk = vec![0; SEND_CHUNK_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX))];
                let read = file.read(&mut chunk)?;
                if read == 0 {
                    bail!("the file became shorter");
                }
                chunk.truncate(read);
                left -= read as u64;
                if !sender.send_blocking(bytes::Bytes::from(chunk)) {
                    return Ok(());
                }
            }
            Ok(())
        };
        if let Err(error) = send() {
            tracing::warn!(path = %path.display(), %error, "a file was not sent whole");
            sender.abort(std::io::Error::other(error.to_string()));
        }
    });
    body
}

//! Checkpoints. A standby saves images and sends them to the other NameNodes; an administrator may ask any NameNode to
//! save one.

mod rollback;

use crate::clock::Clock;
use crate::health::Health;
use crate::image_place::ImagePlace;
use crate::image_transfer::send_file;
use crate::load::save_checkpoint;
use crate::log::LogCommand;
use crate::replies::Replies;
use crate::settings::{Peer, Settings};
use crate::storage::{NameDirs, hex};
use crate::unpublished::Unpublished;
use anyhow::{Context, bail};
use hathi_conf::HostPort;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::TxId;
use hathi_formats::proto::common::{
    GetServiceStatusRequestProto, GetServiceStatusResponseProto, MonitorHealthRequestProto, MonitorHealthResponseProto,
};
use hathi_formats::proto::hdfs::SaveNamespaceResponseProto;
use hathi_nameserver::checkpoints::{
    Event, Followers, Follows, ImageMaker, Makers, Order, SaveNamespaceRequest, Seen, check_trusted, durable_wait_ms,
    edits_kept_from, waits_for_comparison,
};
use hathi_nameserver::name_dirs::rollback::ImageKind;
use hathi_nameserver::offered_images::TransferResult;
use hathi_namesystem::checkpoint::{Earlier, EditsRetention};
use hathi_namesystem::save_namespace::{ImagePurpose, Publication, SaveNamespaceContext};
use hathi_namesystem::{HaState, Namesystem};
use hathi_net::http::HttpError;
use hathi_net::ipc::{ClientOptions, Responder, connect_to, protocols};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Time limit for the state of another NameNode. One that does not answer in this time makes no image either.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Saves images, and deletes the edits that none of them needs.
pub struct Checkpoints {
    pub(crate) settings: Arc<Settings>,
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) replies: Arc<Replies>,
    pub(crate) images: Arc<ImagePlace>,
    pub(crate) health: Arc<Health>,
    /// The last transaction at several times, which decides what edits are kept.
    pub(crate) retention: Arc<Mutex<EditsRetention>>,
    pub(crate) dirs: Arc<NameDirs>,
    pub(crate) log: mpsc::UnboundedSender<LogCommand>,
}

impl Checkpoints {
    /// Saves an image of the present state. It runs on a thread of its own, and nobody waits for it.
    pub fn save(&self, purpose: ImagePurpose) -> anyhow::Result<TxId> {
        let under_way = self
            .images
            .begin_when_free(purpose)
            .context("a checkpoint is under way already")?;
        let started = self.clock.ms();
        self.refuse_of_another_state()?;
        // It comes first: after a restart from a later image nothing would lead back to it.
        self.save_rollback_image(&under_way)?;
        // Done before a segment begins, so that a restored directory gets all of it.
        self.dirs.attempt_restore();
        let (frozen, image) = {
            let mut ns = self.ns.write();
            let newest = ns.most_recent_checkpoint();
            if ns.edit_log().changes_nothing_behind(newest)
                && self.dirs.images().iter().any(|image| image.txid == newest)
            {
                return Ok(newest);
            }
            ns.begin_image(purpose, under_way.canceler().clone(), self.clock.wall_ms())?
        };
        // A segment may have ended.
        self.replies.wake_log();
        let txid = image.txid();
        tracing::info!(%txid, "saving an image");
        let unpublished = Unpublished::of(self.dirs.images_dirs(), txid);
        let md5 = save_checkpoint(&frozen, unpublished.paths(), &|| image.is_over())?;
        drop(frozen);
        self.wait_until_durable(&image)?;
        self.wait_until_compared(&image)?;
        self.dirs.publish_image(&unpublished, &md5)?;
        self.note_image(txid);
        self.dirs.purge_images(&self.settings);
        tracing::info!(%txid, took_ms = self.clock.ms() - started, "saved an image");
        Ok(txid)
    }

    /// Waits until a quorum has everything in the image.
    fn wait_until_durable(&self, image: &SaveNamespaceContext) -> anyhow::Result<()> {
        let roll_period_ms = self.settings.log_roll_period.map(|period| period.as_millis() as u64);
        let give_up = Instant::now() + Duration::from_millis(durable_wait_ms(roll_period_ms));
        let publication = self.images.wait_until(Some(give_up), || match image.publication() {
            Publication::Now => Some(Ok(())),
            Publication::Never(why) => Some(Err(why)),
            Publication::Wait => None,
        });
        match publication {
            Some(publication) => Ok(publication?),
            None => bail!("transaction {} is not known to be durable", image.txid()),
        }
    }

    fn refuse_of_another_state(&self) -> anyhow::Result<()> {
        let health = self.health.lock();
        check_trusted(self.replies.role(), health.divergence.difference()).map_err(anyhow::Error::msg)
    }

    /// Waits as [`waits_for_comparison`] says.
    fn wait_until_compared(&self, image: &SaveNamespaceContext) -> anyhow::Result<()> {
        // The comparisons, of which there is one each second, also notice that they are not made any more.
        let is_awaited = || self.health.lock().divergence.is_awaited(image.txid(), self.clock.ms());
        let waits = || waits_for_comparison(self.replies.role(), is_awaited(), image.is_over());
        self.images.wait_until(None, || (!waits()).then_some(()));
        self.refuse_of_another_state()?;
        match image.publication() {
            Publication::Never(why) => Err(why.into()),
            Publication::Now | Publication::Wait => Ok(()),
        }
    }

    /// Notes that the name directories have an image of this transaction.
    pub fn note_image(&self, txid: TxId) {
        self.ns.write().note_image(txid, self.clock.wall_ms());
    }

    /// `ClientProtocol.saveNamespace`. The handler has checked the caller and safe mode.
    pub fn save_namespace(self: &Arc<Self>, request: SaveNamespaceRequest, responder: Responder) {
        let checkpoints = self.clone();
        let spawned = std::thread::Builder::new()
            .name("save-namespace".to_owned())
            .spawn(move || responder.send(checkpoints.save_when_asked(&request)));
        if let Err(error) = spawned {
            tracing::error!(%error, "cannot start a thread to save the namespace");
        }
    }

    fn save_when_asked(&self, request: &SaveNamespaceRequest) -> Result<SaveNamespaceResponseProto, RemoteException> {
        let is_met = {
            let ns = self.ns.read();
            let image = ns.most_recent_checkpoint();
            let age_ms = self.clock.wall_ms().saturating_sub(ns.most_recent_checkpoint_ms());
            request.is_met_by(image, age_ms, ns.edit_log().applied())
        };
        if is_met {
            return Ok(SaveNamespaceResponseProto { saved: Some(false) });
        }
        let saved = self.save(ImagePurpose::SaveNamespace);
        if self.settings.is_single() {
            self.purge_edits();
        }
        match saved {
            Ok(_) => Ok(SaveNamespaceResponseProto { saved: Some(true) }),
            Err(error) => Err(RemoteException::new(exceptions::IO, format!("{error:#}"))),
        }
    }

    /// Deletes edits that no image needs any more, except those that the configuration keeps
    /// (`NNStorageRetentionManager`).
    pub fn purge_edits(&self) {
        let Some(by_images) = self.dirs.purge_images(&self.settings) else {
            return;
        };
        let role = self.replies.role();
        let kept_from = if self.settings.is_single() {
            let followers = Followers::None {
                segments: &self.dirs.segments(),
                oldest_image: self.dirs.images().last().map(|oldest| oldest.txid),
                extra_segments_max: self.settings.extra_segments_retained,
            };
            edits_kept_from(role, by_images, followers)
        } else {
            let applied = self.ns.read().edit_log().applied();
            let followers = Followers::Standbys {
                retention: &self.retention.lock(),
                applied,
                now_ms: self.clock.ms(),
            };
            edits_kept_from(role, by_images, followers)
        };
        if let Some(kept_from) = kept_from {
            // The receiver is gone only when the process ends.
            let _ = self.log.send(LogCommand::Purge(kept_from));
        }
    }

    /// Makes images, until the process ends. An image that a SecondaryNameNode has uploaded counts as well.
    pub async fn run(self: Arc<Self>) {
        let makers = match self.settings.is_single() {
            true => Makers::Alone,
            false => Makers::Standbys {
                is_one: self.settings.standby_checkpoints,
            },
        };
        let mut maker = ImageMaker::new(makers, self.settings.checkpoint.clone(), self.clock.ms());
        let mut uploads = Uploads::default();
        let mut event = Event::Woke;
        loop {
            event = match maker.on(event, &self.seen(), self.clock.ms()) {
                Order::Pause(ms) => {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    Event::Woke
                }
                Order::AskEarlier => Event::Heard(ask_earlier(&self.settings).await),
                Order::Save(purpose) => {
                    let saved = self.save_aside(purpose).await;
                    match maker.follows(saved) {
                        Follows::Nothing => {}
                        Follows::Offer(txid) => uploads.begin(&self.settings, &self.dirs, txid),
                        Follows::Purge => {
                            let purging = self.clone();
                            if let Err(error) = tokio::task::spawn_blocking(move || purging.purge_edits()).await {
                                tracing::error!(%error, "old edits are not deleted");
                            }
                        }
                    }
                    Event::Saved(saved)
                }
            };
        }
    }

    fn seen(&self) -> Seen {
        let (applied, image) = {
            let ns = self.ns.read();
            (ns.edit_log().applied(), ns.most_recent_checkpoint())
        };
        Seen {
            role: self.replies.role(),
            is_trusted: self.health.lock().divergence.difference().is_none(),
            applied,
            image,
            receiving: self.images.is_receiving(),
        }
    }

    /// Saves an image while others use this thread.
    async fn save_aside(self: &Arc<Self>, purpose: ImagePurpose) -> Option<TxId> {
        let saving = self.clone();
        let saved = tokio::task::spawn_blocking(move || saving.save(purpose)).await;
        match saved.context("the saving thread died").and_then(|saved| saved) {
            Ok(txid) => Some(txid),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "no checkpoint");
                None
            }
        }
    }
}

/// Asks the NameNodes that stand before this one in the order of ids.
async fn ask_earlier(settings: &Settings) -> Vec<Earlier> {
    let mut questions = JoinSet::new();
    for peer in &settings.peers {
        if peer.namenode_id < settings.namenode_id {
            let (user, peer) = (settings.user.clone(), peer.clone());
            questions.spawn(async move {
                let asked = tokio::time::timeout(ASK_TIMEOUT, ask_one(&user, &peer)).await;
                asked.ok().and_then(Result::ok).unwrap_or(Earlier::Silent)
            });
        }
    }
    questions.join_all().await
}

async fn ask_one(user: &str, peer: &Peer) -> anyhow::Result<Earlier> {
    let options = ClientOptions::new(user);
    let client = connect_to(&peer.rpc.to_string(), &protocols::HA_SERVICE_PROTOCOL, &options).await?;
    let status: GetServiceStatusResponseProto = client
        .call("getServiceStatus", &GetServiceStatusRequestProto {})
        .await?;
    if status.state != HaState::Standby.to_wire() {
        return Ok(Earlier::CanNot);
    }
    let health: Result<MonitorHealthResponseProto, _> =
        client.call("monitorHealth", &MonitorHealthRequestProto {}).await;
    Ok(health.map_or(Earlier::CanNot, |_| Earlier::Makes))
}

/// Images that are being sent, to all NameNodes at the same time. A slow or silent NameNode delays neither the others
/// nor the next checkpoint.
#[derive(Default)]
struct Uploads {
    under_way: JoinSet<()>,
    /// The upload under way to each peer, in the order of the peers.
    busy: Vec<Option<tokio::task::Id>>,
}

impl Uploads {
    /// Offers an image to all other NameNodes, except those that still receive the one before.
    fn begin(&mut self, settings: &Settings, dirs: &Arc<NameDirs>, txid: TxId) {
        while let Some(ended) = self.under_way.try_join_next_with_id() {
            let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
            self.busy
                .iter_mut()
                .filter(|busy| **busy == Some(id))
                .for_each(|busy| *busy = None);
        }
        let peers = &settings.peers;
        self.busy.resize(peers.len(), None);
        for (peer, busy) in peers.iter().zip(&mut self.busy).filter(|(_, busy)| busy.is_none()) {
            let (dirs, peer, timeout) = (dirs.clone(), peer.clone(), settings.image_timeout);
            let upload = self.under_way.spawn(async move {
                let peer_id = peer.namenode_id;
                match upload(&peer.http, &dirs, ImageKind::Usual, txid, timeout).await {
                    Ok(result) => tracing::info!(%txid, peer = peer_id, result = result.name(), "uploaded an image"),
                    Err(error) => {
                        tracing::warn!(peer = peer_id, error = format!("{error:#}"), "cannot upload an image");
                    }
                }
            });
            *busy = Some(upload.id());
        }
    }
}

/// Offers an image to one NameNode (`TransferFsImage.uploadImageFromStorage`).
pub(crate) async fn upload(
    to: &HostPort,
    dirs: &NameDirs,
    kind: ImageKind,
    txid: TxId,
    patience: Duration,
) -> anyhow::Result<TransferResult> {
    let path = dirs
        .images_of(kind)
        .into_iter()
        .find(|image| image.txid == txid)
        .map(|image| image.path)
        .context("the image is gone")?;
    let len = std::fs::metadata(&path)?.len();
    let md5 = crate::storage::read_md5(&path)?;
    let url = format!(
        "http://{to}/imagetransfer?txid={txid}&storageInfo={}&File-Length={len}&imageFile={}",
        dirs.info.to_colon_separated(),
        kind.name(),
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
    let body = send_file(path, len, dirs.bandwidth());
    match hathi_net::http::put(&url, headers, body, patience).await {
        Ok(_) => Ok(TransferResult::Success),
        Err(error) => {
            let status = match &error {
                HttpError::Status { status, .. } => Some(status.as_u16()),
                _ => None,
            };
            Ok(status.and_then(TransferResult::of_status).ok_or(error)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::digest_of;
    use crate::state::NameNode;
    use crate::storage::read_md5;
    use crate::testing;
    use hathi_namespace::Comparison;

    fn becomes_standby(nn: &NameNode) {
        testing::become_standby(nn);
        nn.images.look_again();
    }

    /// Hadoop drops a directory when its checkpoint is interrupted at the wrong moment (HDFS-17886).
    #[test]
    fn a_checkpoint_that_is_given_up_anywhere_leaves_all_directories_in_use_and_whole() {
        let root = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| root.path().join(name));
        let both = format!("{},{}", a.display(), b.display());
        let alone = testing::active_with(&[("dfs.namenode.name.dir", both)]);
        let (nn, dirs, checkpoints) = (&alone.shared.nn, &alone.shared.dirs, alone.shared.checkpoints.clone());
        becomes_standby(nn);
        for later in 0..100 {
            let saving = checkpoints.clone();
            let saved = std::thread::spawn(move || saving.save(ImagePurpose::Checkpoint));
            for _ in 0..later * 1000 {
                std::hint::spin_loop();
            }
            nn.images.cancel_checkpoint();
            let saved = saved.join().unwrap();
            assert!(dirs.failed().is_empty(), "{saved:?} {:?}", dirs.failed());
            let images = dirs.images();
            assert_eq!(images.len(), if saved.is_ok() { 2 } else { 0 }, "{saved:?} {images:?}");
            for image in images {
                assert_eq!(read_md5(&image.path).unwrap(), digest_of(&image.path).unwrap());
                std::fs::remove_file(image.path).unwrap();
            }
            for dir in dirs.images_dirs() {
                let mut names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
                assert!(!names.any(|name| name.to_string_lossy().contains("ckpt")));
            }
            nn.ns.write().note_image(TxId(5), 0);
        }
    }

    #[test]
    fn a_standby_that_differs_from_the_active_makes_no_image() {
        let alone = testing::active();
        let (nn, dirs, checkpoints) = (&alone.shared.nn, &alone.shared.dirs, alone.shared.checkpoints.clone());
        becomes_standby(nn);
        let compared = |comparison| {
            let now_ms = nn.clock.ms();
            nn.health.lock().divergence.on_compared(comparison, now_ms, now_ms);
            nn.images.look_again();
        };
        compared(Comparison::Differs { txid: 6 });
        let refused = checkpoints.save(ImagePurpose::Checkpoint).unwrap_err();
        assert!(refused.to_string().contains("differs from the active's"), "{refused}");
        // It was equal before the image, and nobody knows yet whether it is at the image.
        compared(Comparison::Equal { txid: 5 });
        let saving = checkpoints.clone();
        let saved = std::thread::spawn(move || saving.save(ImagePurpose::Checkpoint));
        while nn.images.is_free() {
            std::thread::yield_now();
        }
        compared(Comparison::Differs { txid: 6 });
        saved.join().unwrap().unwrap_err();
        assert!(dirs.images().is_empty());
        compared(Comparison::Equal { txid: 6 });
        checkpoints.save(ImagePurpose::Checkpoint).unwrap();
        assert_eq!(dirs.images().len(), 1);
    }
}

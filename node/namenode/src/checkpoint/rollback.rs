//! Images to which a rolling upgrade can be rolled back: when one is saved, and when it becomes a usual one. The shell of
//! [`hathi_namesystem::upgrade`].

use super::{Checkpoints, upload};
use crate::image_place::ImageUnderWay;
use crate::load::save_checkpoint;
use crate::unpublished::Unpublished;
use anyhow::Context;
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::TxId;
use hathi_nameserver::name_dirs::rollback::ImageKind;
use hathi_nameserver::replies::Made;
use hathi_namesystem::Role;
use hathi_namesystem::calls::rolling_upgrade::start_after_image;
use hathi_namesystem::save_namespace::ImagePurpose;
use hathi_namesystem::upgrade::RollbackImages;
use hathi_net::ipc::Responder;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;

/// How often this NameNode looks whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long it waits after an image that could not be saved.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
const BUSY: &str = "a checkpoint is under way already";

impl Checkpoints {
    /// Saves rollback images and makes usual ones of them, until the process ends.
    pub async fn keep_rollback_images(self: Arc<Self>) {
        let mut pause = LOOK_EVERY;
        loop {
            tokio::time::sleep(pause).await;
            pause = LOOK_EVERY;
            let due = self.ns.read().rollback_images();
            let doing = self.clone();
            let done = match due {
                RollbackImages::Stay => continue,
                RollbackImages::Save => tokio::task::spawn_blocking(move || doing.save_rollback_when_free()).await,
                RollbackImages::Finalize(txid) => {
                    tokio::task::spawn_blocking(move || doing.finalize_rollback_images(txid).map(|()| None)).await
                }
            };
            match done.context("the saving thread died").and_then(|done| done) {
                Ok(Some(txid)) => self.offer_rollback_image(txid),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "rollback image");
                    pause = AFTER_FAILURE;
                }
            }
        }
    }

    fn save_rollback_when_free(&self) -> anyhow::Result<Option<TxId>> {
        let under_way = self.images.begin_when_free(ImagePurpose::SaveNamespace).context(BUSY)?;
        self.save_rollback_image(&under_way)
    }

    /// Saves the rollback image that is to be made, if one is.
    pub(super) fn save_rollback_image(&self, under_way: &ImageUnderWay) -> anyhow::Result<Option<TxId>> {
        let begun = self.ns.read().begin_rollback_image(under_way.canceler().clone());
        let Some((frozen, image)) = begun else { return Ok(None) };
        self.refuse_of_another_state()?;
        let txid = image.txid();
        tracing::info!(%txid, "saving a rollback image");
        let unpublished = Unpublished::of(self.dirs.images_dirs(), txid);
        let md5 = save_checkpoint(&frozen, unpublished.paths(), &|| image.is_over())?;
        drop(frozen);
        self.wait_until_durable(&image)?;
        self.refuse_of_another_state()?;
        self.dirs.publish_image_of(ImageKind::Rollback, &unpublished, &md5)?;
        self.ns.write().note_rollback_image(Some(txid));
        tracing::info!(%txid, "saved a rollback image");
        Ok(Some(txid))
    }

    /// Hadoop's active makes none itself. Ours answers that it needs none.
    fn offer_rollback_image(&self, txid: TxId) {
        if self.replies.role() != Role::Standby {
            return;
        }
        for peer in self.settings.peers.clone() {
            let (dirs, patience) = (self.dirs.clone(), self.settings.image_timeout);
            tokio::spawn(async move {
                let peer_id = peer.namenode_id;
                match upload(&peer.http, &dirs, ImageKind::Rollback, txid, patience).await {
                    Ok(result) => {
                        tracing::info!(%txid, peer = peer_id, result = result.name(), "offered a rollback image")
                    }
                    Err(error) => {
                        tracing::warn!(peer = peer_id, error = format!("{error:#}"), "cannot upload an image")
                    }
                }
            });
        }
    }

    fn finalize_rollback_images(&self, last: TxId) -> anyhow::Result<()> {
        let images = self.dirs.rollback_images();
        let failures = self.dirs.finalize_rollback_images(last);
        let mut ns = self.ns.write();
        ns.note_rollback_image(None);
        for image in images {
            ns.note_image(image.txid, self.clock.wall_ms());
        }
        drop(ns);
        match failures.into_iter().next() {
            None => Ok(()),
            Some(failure) => Err(anyhow::Error::from(failure.error).context(failure.path.display().to_string())),
        }
    }

    /// `rollingUpgrade` that prepares one where there is no standby. The handler has checked the caller and safe mode.
    pub fn start_rolling_upgrade(self: &Arc<Self>, responder: Responder) {
        let checkpoints = self.clone();
        let spawned = std::thread::Builder::new()
            .name("rolling-upgrade".to_owned())
            .spawn(move || match checkpoints.start_alone() {
                Ok((answer, made)) => {
                    checkpoints.replies.answer(responder, Ok(answer), made);
                    checkpoints.replies.wake_log();
                }
                Err(refused) => responder.error(&refused),
            });
        if let Err(error) = spawned {
            tracing::error!(%error, "cannot start a thread to prepare a rolling upgrade");
        }
    }

    fn start_alone(&self) -> Result<(Bytes, Made), RemoteException> {
        let io = |error: anyhow::Error| RemoteException::new(exceptions::IO, format!("{error:#}"));
        let image = self.save_rollback_image_alone().map_err(io)?;
        let mut ns = self.ns.write();
        let answer = start_after_image(&mut ns, image, self.clock.now())?;
        let made = Made {
            standing: ns.standing(),
            after: answer.after,
            changed: true,
        };
        Ok((Bytes::from(answer.response.encode_to_vec()), made))
    }

    fn save_rollback_image_alone(&self) -> anyhow::Result<TxId> {
        let under_way = self.images.begin_when_free(ImagePurpose::SaveNamespace).context(BUSY)?;
        let (frozen, image) = {
            let (canceler, now_ms) = (under_way.canceler().clone(), self.clock.wall_ms());
            let mut ns = self.ns.write();
            ns.begin_image(ImagePurpose::SaveNamespace, canceler, now_ms)?
        };
        // A segment has ended.
        self.replies.wake_log();
        let unpublished = Unpublished::of(self.dirs.images_dirs(), image.txid());
        let md5 = save_checkpoint(&frozen, unpublished.paths(), &|| image.is_over())?;
        drop(frozen);
        self.wait_until_durable(&image)?;
        self.dirs.publish_image_of(ImageKind::Rollback, &unpublished, &md5)?;
        Ok(image.txid())
    }
}

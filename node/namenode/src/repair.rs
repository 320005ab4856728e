//! What a NameNode that does not serve does about its own state: it fetches a newer image from a peer when the edits that
//! it needs are gone.

use crate::bootstrap::{ask_peer, download_image, fetch_rollback_image};
use crate::checkpoint::Checkpoints;
use crate::image_place::ImagePlace;
use crate::settings::Settings;
use crate::storage::NameDirs;
use anyhow::{Context, bail};
use hathi_formats::ids::TxId;
use hathi_namesystem::save_namespace::ImagePurpose;
use hathi_namesystem::tailer::TailError;
use std::sync::Arc;

/// First transaction of the journal, when the next one that is needed is gone.
pub fn purged(error: &anyhow::Error) -> Option<TxId> {
    match error.downcast_ref::<TailError>() {
        Some(TailError::Purged { oldest, .. }) => Some(*oldest),
        _ => None,
    }
}

/// Fetches the newest image of the peers behind which the journal continues at `oldest` (`-bootstrapStandby` without an
/// administrator). The peer must be of the same namespace, and the image must match its digest.
pub async fn fetch_newest_image(
    settings: &Settings,
    images: &Arc<ImagePlace>,
    dirs: &NameDirs,
    checkpoints: &Checkpoints,
    oldest: TxId,
) -> anyhow::Result<TxId> {
    let mut found = None;
    let mut problem = None;
    for peer in &settings.peers {
        match ask_peer(settings, peer).await {
            Ok((info, ..)) if info != dirs.info => {
                let other = info.to_colon_separated();
                problem = Some(anyhow::anyhow!(
                    "{} is a NameNode of another namespace: {other}",
                    peer.rpc
                ));
            }
            Ok((_, image, _)) if found.as_ref().is_none_or(|(best, _)| *best < image) => found = Some((image, peer)),
            Ok(_) => {}
            Err(error) => problem = Some(error.context(peer.rpc.to_string())),
        }
    }
    let Some((image, peer)) = found else {
        bail!(problem.unwrap_or_else(|| anyhow::anyhow!("there are no peers")));
    };
    if image.next() < oldest {
        bail!("the newest image of the peers, of {image}, is too old as well: the journal goes on with {oldest}");
    }
    let _under_way = images
        .begin(ImagePurpose::Transfer)
        .context("another image is saved or received")?;
    if dirs.rollback_images().is_empty() {
        fetch_rollback_image(settings, peer, dirs).await?;
    }
    download_image(settings.namespace()?, &peer.http, dirs, image, settings.image_timeout).await?;
    checkpoints.note_image(image);
    tracing::info!(%image, from = %peer.http, "fetched an image, as the edits behind the own one are gone");
    Ok(image)
}

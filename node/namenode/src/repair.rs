//! What a NameNode that does not serve does about its own state: it reports the problem, and fetches a newer image from
//! a peer when the edits that it needs are gone.

use crate::bootstrap::{ask_peer, download_image};
use crate::checkpoint::note_image;
use crate::state::NameNode;
use crate::storage::NameDirs;
use anyhow::{Context, bail};
use hathi_formats::ids::TxId;
use hathi_namesystem::save_namespace::Purpose;
use hathi_namesystem::standby_health::Aspect;
use hathi_namesystem::tailer::TailError;
use std::sync::Arc;

impl NameNode {
    /// Notes a problem that makes this NameNode unhealthy, and logs it when it is new.
    pub fn failed(&self, aspect: Aspect, error: &anyhow::Error) {
        let what = cause(error);
        if self.health.lock().failed(aspect, what.clone(), self.clock.ms()) {
            tracing::error!(?aspect, problem = what, "this NameNode is not healthy");
        }
    }

    /// Notes that an aspect works again.
    pub fn well(&self, aspect: Aspect) {
        self.health.lock().well(aspect);
    }
}

/// The part of an error's message that is the same when the same happens again. The other causes in the chain name places.
pub fn cause(error: &anyhow::Error) -> String {
    let cause = error.downcast_ref::<TailError>();
    cause.map_or_else(|| format!("{error:#}"), ToString::to_string)
}

/// First transaction of the journal, when the next one that is needed is gone.
pub fn purged(error: &anyhow::Error) -> Option<TxId> {
    match error.downcast_ref::<TailError>() {
        Some(TailError::Purged { oldest, .. }) => Some(*oldest),
        _ => None,
    }
}

/// Fetches the newest image of the peers behind which the journal continues at `oldest` (`-bootstrapStandby` without an
/// administrator). The peer must be of the same namespace, and the image must match its digest.
pub async fn fetch_newest_image(nn: &Arc<NameNode>, dirs: &NameDirs, oldest: TxId) -> anyhow::Result<TxId> {
    let mut found = None;
    let mut problem = None;
    for peer in &nn.settings.peers {
        match ask_peer(&nn.settings, peer).await {
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
    let _under_way = nn
        .images
        .begin(Purpose::Transfer)
        .context("another image is saved or received")?;
    download_image(
        nn.settings.namespace()?,
        &peer.http,
        dirs,
        image,
        nn.settings.image_timeout,
    )
    .await?;
    note_image(nn, image);
    tracing::info!(%image, from = %peer.http, "fetched an image, as the edits behind the own one are gone");
    Ok(image)
}

//! What a NameNode that does not serve does about its own state: says what is wrong with it, and gets a newer image from
//! a peer when the edits it needs are gone.

use crate::bootstrap::{ask_peer, download_image};
use crate::checkpoint::{ImageUnderWay, note_image};
use crate::state::NameNode;
use crate::storage::NameDirs;
use anyhow::{Context, bail};
use hathi_formats::ids::TxId;
use hathi_namesystem::save_namespace::Purpose;
use hathi_namesystem::standby_health::Aspect;
use hathi_namesystem::tailer::TailError;
use std::sync::Arc;

impl NameNode {
    /// Something that makes this NameNode unhealthy; logged when it is news.
    pub fn failed(&self, aspect: Aspect, error: &anyhow::Error) {
        let what = cause(error);
        if self.health.lock().failed(aspect, what.clone(), self.clock.ms()) {
            tracing::error!(?aspect, problem = what, "this NameNode is not healthy");
        }
    }

    /// An aspect is well.
    pub fn well(&self, aspect: Aspect) {
        self.health.lock().well(aspect);
    }
}

/// What of an error's words stays the same when the same happens again. The chain's other links say where.
pub fn cause(error: &anyhow::Error) -> String {
    let cause = error.downcast_ref::<TailError>();
    cause.map_or_else(|| format!("{error:#}"), ToString::to_string)
}

/// The first transaction the journal still has, when the next one needed is gone.
pub fn purged(error: &anyhow::Error) -> Option<TxId> {
    match error.downcast_ref::<TailError>() {
        Some(TailError::Purged { oldest, .. }) => Some(*oldest),
        _ => None,
    }
}

/// Gets the newest image of the peers, behind which the journal goes on with `oldest` (`-bootstrapStandby`, without an
/// administrator). The peer must be of the same namespace, and the image what its digest says.
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
    let _under_way = ImageUnderWay::begin(nn, Purpose::Transfer).context("another image is saved or received")?;
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

//! The image that is being saved or received. There is one at a time. This module decides who may cancel it, and when a
//! saved image may be published (Hadoop's `SaveNamespaceContext` and `Canceler`).
//!
//! Invariants:
//! - A cancellation goes to the image under way and to no other: there is no flag that a later image could find set, or
//!   could clear.
//! - An image is published only when everything in it is proven, by the knowledge of the life in which it was frozen.
//!   Such knowledge stays true, so nothing that happens between the question and the publication makes the answer
//!   wrong. Transactions of another writer that become durable under the same ids in a later life do not count.
//! - An image of a life that has ended is not published, because the life may have ended for a wrong state.

use crate::life::Life;
use crate::{Namesystem, Role};
use hathi_formats::ids::TxId;
use hathi_namespace::image::Frozen;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Why an image is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImagePurpose {
    /// A standby makes it by itself. It is given up when the standby becomes active.
    Checkpoint,
    /// An administrator asked for it.
    SaveNamespace,
    /// A peer has an image that this NameNode needs.
    Transfer,
    /// A peer sends it. It is given up when this NameNode makes an image of its own.
    Upload,
}

const WAITING: u8 = 0;
const CANCELLED: u8 = 1;
const PUBLISHING: u8 = 2;

/// Cancels one image.
#[derive(Clone, Debug, Default)]
pub struct Canceler(Arc<AtomicU8>);

impl Canceler {
    /// Whether the image is to be given up.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire) == CANCELLED
    }

    /// Makes the image impossible to cancel from now on. Returns false when it was cancelled before.
    #[must_use]
    pub fn begin_publishing(&self) -> bool {
        !matches!(self.change(PUBLISHING), Err(CANCELLED))
    }

    /// Cancels the image. Returns false when it is being published.
    fn cancel(&self) -> bool {
        !matches!(self.change(CANCELLED), Err(PUBLISHING))
    }

    fn change(&self, to: u8) -> Result<u8, u8> {
        self.0
            .compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire)
    }
}

/// The place for the one image under way.
#[derive(Debug, Default)]
pub struct ImageSlot(Option<(ImagePurpose, Canceler)>);

impl ImageSlot {
    /// Takes the place if it is free, or if the image that has it gives way.
    pub fn begin(&mut self, purpose: ImagePurpose) -> Option<Canceler> {
        if let Some((held, canceler)) = &self.0 {
            let is_own = matches!(purpose, ImagePurpose::Checkpoint | ImagePurpose::SaveNamespace);
            let gives_way = *held == ImagePurpose::Upload && is_own && canceler.cancel();
            if !gives_way {
                return None;
            }
        }
        debug_assert!(
            self.0.as_ref().is_none_or(|(_, held)| held.is_cancelled()),
            "one image at a time is on its way to be published"
        );
        let canceler = Canceler::default();
        self.0 = Some((purpose, canceler.clone()));
        Some(canceler)
    }

    /// Frees the place.
    pub fn end(&mut self, canceler: &Canceler) {
        if self.0.as_ref().is_some_and(|(_, own)| Arc::ptr_eq(&own.0, &canceler.0)) {
            self.0 = None;
        }
    }

    /// Whether no image is saved or received.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a peer is sending an image.
    #[must_use]
    pub fn is_receiving(&self) -> bool {
        matches!(self.0, Some((ImagePurpose::Upload, _)))
    }

    /// This NameNode becomes active: a checkpoint of the standby is given up
    /// (`StandbyCheckpointer.cancelAndPreventCheckpoints`).
    pub fn cancel_checkpoint(&self) {
        if let Some((ImagePurpose::Checkpoint, canceler)) = &self.0 {
            canceler.cancel();
        }
    }
}

/// Why no image is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoImage {
    /// In this role there is no state to make an image of.
    #[error("no image is made in role {0:?}")]
    Role(Role),
    /// An op failed to apply, so the namespace is useless.
    #[error("no image is made of a namespace to which an edit failed to apply")]
    Broken,
    /// The image was cancelled.
    #[error("the checkpoint was cancelled")]
    Cancelled,
    /// The role or the namespace changed while the image was saved.
    #[error("the namespace of the image is not this NameNode's any more")]
    LifeEnded,
}

/// Whether a saved image may be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication {
    /// It may be published now.
    Now,
    /// It must wait: its last transactions are not known to be durable and in the journal for good.
    Wait,
    /// It must never be published.
    Never(NoImage),
}

/// What a saved image must remember of its origin.
#[derive(Clone, Debug)]
pub struct SaveNamespaceContext {
    txid: TxId,
    life: Life,
    canceler: Canceler,
}

impl SaveNamespaceContext {
    /// Of an image with everything up to `txid`, which was applied in this life or before it.
    pub(crate) fn of(txid: TxId, life: Life, canceler: Canceler) -> SaveNamespaceContext {
        SaveNamespaceContext { txid, life, canceler }
    }

    /// The last transaction that the image holds.
    #[must_use]
    pub fn txid(&self) -> TxId {
        self.txid
    }

    /// Whether saving may stop.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.publication(), Publication::Never(_))
    }

    /// Whether the image may be published.
    #[must_use]
    pub fn publication(&self) -> Publication {
        if self.canceler.is_cancelled() {
            return Publication::Never(NoImage::Cancelled);
        }
        if self.life.has_ended() {
            return Publication::Never(NoImage::LifeEnded);
        }
        if self.life.proven() >= self.txid {
            Publication::Now
        } else {
            Publication::Wait
        }
    }
}

impl Namesystem {
    /// Freezes the content of an image, together with what decides later whether it may be published. An active ends
    /// its segment and begins the next one (`FSImage.saveNamespace`), and the image ends where the segment ends,
    /// because Hadoop's SecondaryNameNode takes no edits that begin before the end of its image.
    pub fn begin_image(
        &mut self,
        purpose: ImagePurpose,
        canceler: Canceler,
        now_ms: u64,
    ) -> Result<(Frozen, SaveNamespaceContext), NoImage> {
        match (self.role(), purpose) {
            (Role::Standby, _) | (Role::Active, ImagePurpose::SaveNamespace) => {}
            (role, _) => return Err(NoImage::Role(role)),
        }
        if self.is_broken() {
            return Err(NoImage::Broken);
        }
        if self.life().has_ended() {
            return Err(NoImage::LifeEnded);
        }
        let txid = match self.role() {
            // The op that begins a segment changes nothing.
            Role::Active => TxId(self.roll_edit_log(now_ms).map_err(|_| NoImage::Role(self.role()))?.0 - 1),
            _ => self.edit_log().applied(),
        };
        // An image has nothing of a snapshot that is deleted.
        self.finish_snapshots();
        // The ops that begin and end segments change nothing in the namespace, but the image holds them.
        self.note_covered(txid);
        let context = SaveNamespaceContext::of(txid, self.life().clone(), canceler);
        debug_assert!(context.life.proven() <= txid, "{txid} is applied, and more is proven");
        Ok((self.namespace().freeze(), context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(life: &Life, txid: u64) -> SaveNamespaceContext {
        SaveNamespaceContext {
            txid: TxId(txid),
            life: life.clone(),
            canceler: Canceler::default(),
        }
    }

    /// The image is frozen at transaction 4, with edits that no quorum has. The role is lost, and the next load replays
    /// another writer's edits past transaction 4.
    #[test]
    fn safety_02_what_another_life_makes_durable_does_not_publish_an_image() {
        let life = Life::first();
        life.advance_synced(TxId(3));
        let image = image(&life, 4);
        assert_eq!(image.publication(), Publication::Wait);
        let loaded = life.next(TxId(2));
        loaded.advance_synced(TxId(9));
        assert_eq!(image.publication(), Publication::Never(NoImage::LifeEnded));
        // It would not be published even if nobody had noticed the end of the life.
        assert!(life.synced() < image.txid());
    }

    #[test]
    fn safety_02_an_image_is_published_when_a_quorum_has_all_of_it() {
        let life = Life::first();
        let image = image(&life, 4);
        life.advance_synced(TxId(3));
        assert_eq!(image.publication(), Publication::Wait);
        life.advance_synced(TxId(4));
        assert_eq!(image.publication(), Publication::Now);
        life.end();
        assert!(image.is_over(), "its state may be what ended the life");
    }

    #[test]
    fn safety_02_a_cancellation_hits_the_checkpoint_under_way_and_no_later_one() {
        let mut under_way = ImageSlot::default();
        let first = under_way.begin(ImagePurpose::Checkpoint).unwrap();
        under_way.cancel_checkpoint();
        assert!(under_way.begin(ImagePurpose::Checkpoint).is_none(), "one at a time");
        assert!(
            first.is_cancelled(),
            "a second one that wanted to begin does not clear it"
        );
        under_way.end(&first);
        under_way.cancel_checkpoint();
        let second = under_way.begin(ImagePurpose::Checkpoint).unwrap();
        assert!(!second.is_cancelled());
        under_way.end(&first);
        assert!(
            under_way.begin(ImagePurpose::Transfer).is_none(),
            "only its own guard frees the place"
        );
        under_way.end(&second);
        let transfer = under_way.begin(ImagePurpose::Transfer).unwrap();
        under_way.cancel_checkpoint();
        assert!(!transfer.is_cancelled());
    }

    #[test]
    fn an_upload_gives_way_to_an_own_image_until_it_is_being_published() {
        let mut under_way = ImageSlot::default();
        let stalled = under_way.begin(ImagePurpose::Upload).unwrap();
        assert!(under_way.begin(ImagePurpose::Upload).is_none(), "not to another upload");
        let own = under_way.begin(ImagePurpose::Checkpoint).unwrap();
        assert!(stalled.is_cancelled() && !stalled.begin_publishing());
        under_way.end(&stalled);
        assert!(
            under_way.begin(ImagePurpose::Upload).is_none(),
            "the place is the own image's"
        );
        under_way.end(&own);
        let whole = under_way.begin(ImagePurpose::Upload).unwrap();
        assert!(whole.begin_publishing());
        assert!(under_way.begin(ImagePurpose::SaveNamespace).is_none());
        assert!(!whole.is_cancelled());
    }
}

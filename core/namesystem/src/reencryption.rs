//! The re-encryption of zones, batch by batch (`ReencryptionHandler`, `ReencryptionUpdater`).
//!
//! ```text
//! look (read lock, in slices) ─► batch of keys ─► key provider, without the lock ─► updated (write lock) ─► look …
//!                             └► end of the zone ─► finish (write lock) ─► the next zone
//! ```
//!
//! How far a zone is stands in its attribute, so whoever becomes active goes on behind the last batch. What is here is
//! forgotten with the role.

use crate::{Namesystem, Role};
use hathi_blockmanager::Now;
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::InodeId;
use hathi_namespace::{EncryptedKey, KeyOfFile, ReencryptionWalk};

/// Work of an active on the zones that are to be re-encrypted. One zone at a time, by ascending ids, as in Hadoop.
#[derive(Debug, Default)]
pub struct Reencryption {
    walk: Option<ReencryptionWalk>,
    found: Vec<KeyOfFile>,
}

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing.
    Nothing,
    /// A zone begins: note it with [`Namesystem::note_reencryption`], and look on.
    Begun(InodeId),
    /// Look on.
    More,
    /// The key provider is to encrypt these keys anew.
    Batch(Vec<KeyOfFile>),
    /// The zone is done: [`Reencryption::finish`].
    End,
}

impl Reencryption {
    /// Looks for up to `batch` files with old keys, at up to `max_inodes` inodes.
    pub fn look(&mut self, ns: &Namesystem, batch: usize, max_inodes: usize) -> Look {
        if ns.role() != Role::Active || ns.is_broken() || ns.blockmanager().in_safe_mode() {
            *self = Reencryption::default();
            return Look::Nothing;
        }
        let namespace = ns.namespace();
        if self
            .walk
            .as_ref()
            .is_some_and(|walk| !namespace.is_reencryption_wanted(walk))
        {
            *self = Reencryption::default();
        }
        let Some(walk) = &mut self.walk else {
            self.walk = namespace.next_reencryption(&[]);
            return self
                .walk
                .as_ref()
                .map_or(Look::Nothing, |walk| Look::Begun(walk.zone()));
        };
        let end = namespace.reencryption_step(walk, &mut self.found, batch.max(1), max_inodes);
        debug_assert!(self.found.len() <= batch.max(1), "a batch has its size");
        match (end, self.found.is_empty()) {
            (true, true) => Look::End,
            (_, false) if end || self.found.len() >= batch.max(1) => Look::Batch(std::mem::take(&mut self.found)),
            _ => Look::More,
        }
    }

    /// Logs the new keys of a batch, in its order. `None`: the key provider could not be asked, and the files keep their keys,
    /// as in Hadoop. Returns the number of files that have new keys.
    pub fn updated(
        &mut self,
        ns: &mut Namesystem,
        batch: Vec<KeyOfFile>,
        keys: Option<Vec<EncryptedKey>>,
    ) -> Result<usize, RemoteException> {
        let Some(walk) = self.walk.as_ref().filter(|_| ns.role() == Role::Active) else {
            return Ok(0);
        };
        // Without a key for each file none is sure to be its own.
        let keys = keys.filter(|keys| keys.len() == batch.len());
        let failures = if keys.is_none() { batch.len() } else { 0 };
        let pairs: Vec<(KeyOfFile, EncryptedKey)> = batch.into_iter().zip(keys.unwrap_or_default()).collect();
        let plan = ns.namespace().plan_reencrypted(walk, &pairs, failures);
        ns.commit(&plan.ops)?;
        Ok(plan.reply)
    }

    /// Logs the end of the zone.
    pub fn finish(&mut self, ns: &mut Namesystem, now: Now) -> Result<(), RemoteException> {
        let walk = self.walk.take();
        ns.note_reencryption(None);
        let Some(walk) = walk.filter(|_| ns.role() == Role::Active) else {
            return Ok(());
        };
        let plan = ns.namespace().plan_reencryption_done(&walk, now.wall_ms);
        ns.commit(&plan.ops)?;
        Ok(())
    }
}

impl Namesystem {
    /// The zone that is being re-encrypted, for those who ask.
    pub fn note_reencryption(&mut self, zone: Option<InodeId>) {
        self.reencrypted_zone = zone;
    }
}

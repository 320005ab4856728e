//! What this NameNode knows of an upgrade of the file system. It decides what DataNodes may delete, and of which moment a
//! rollback image is made (Hadoop's `FSNamesystem.rollingUpgradeInfo`, `FSImage.isUpgradeFinalized`).
//!
//! An upgrade with `-upgrade` leaves `previous/` in the name directories until it is finalized. A rolling upgrade is in the
//! namespace, and DataNodes keep deleted replicas as long as it lasts.
//!
//! ```text
//! with HA:      START_n  END_n+1  | the next segment       the rollback image holds everything up to n+1
//! without HA:   END_n  | BEGIN_n+1  START_n+2              the rollback image holds everything up to n
//! ```
//!
//! Hadoop's standby makes the rollback image of whatever it has applied when it comes to it. Ours follows the journal more
//! closely, so it freezes the namespace as it is at the end of the segment. The active does the same. All of them come to
//! the same image, and a rollback finds the journal's segments end where the image does.
//!
//! Invariants:
//! - A rollback image holds nothing behind the segment in which the rolling upgrade began.
//! - While a frozen namespace waits to be saved, no other image is made or taken here. Otherwise a restart would load that
//!   one, and the moment would be gone.

use crate::Namesystem;
use crate::save_namespace::{Canceler, SaveNamespaceContext};
use hathi_formats::editlog::EditOp;
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::TxId;
use hathi_formats::proto::hdfs::{RollingUpgradeInfoProto, RollingUpgradeStatusProto};
use hathi_namespace::image::Frozen;
use std::sync::Arc;

/// What is known of a rolling upgrade besides what the namespace carries. It may be lost in a restart: the edits and the
/// name directories say it again, and a DataNode that has not heard of the end keeps deleted replicas until it is told to
/// finalize.
#[derive(Debug, Default)]
pub(crate) struct RollingUpgrade {
    /// The transaction with which this process has seen it finalized since the load.
    finalized: Option<TxId>,
    /// Last transaction of the newest rollback image in the name directories.
    image: Option<TxId>,
    /// The namespace of which the rollback image is to be made.
    view: Option<View>,
}

/// The namespace when the rolling upgrade began.
#[derive(Clone, Debug)]
struct View {
    /// The last transaction that it holds.
    txid: TxId,
    frozen: Arc<Frozen>,
    /// The segment has ended there.
    settled: bool,
}

/// What is to be done about rollback images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollbackImages {
    /// Nothing.
    Stay,
    /// One is to be saved ([`Namesystem::begin_rollback_image`]).
    Save,
    /// Those up to this transaction become usual images, because the rolling upgrade is finalized for good.
    Finalize(TxId),
}

impl Namesystem {
    /// Whether a DataNode may be told to delete what it keeps for a rollback (`FINALIZE`).
    #[must_use]
    pub fn is_upgrade_finalized(&self) -> bool {
        !self.previous_is_kept && self.namespace().rolling_upgrade_start_ms().is_none()
    }

    /// Whether the name directories have a `previous/`, so that `-rollback` is possible.
    pub fn keep_previous(&mut self, is_kept: bool) {
        self.previous_is_kept = is_kept;
    }

    /// The status in the answer to every heartbeat. A DataNode keeps deleted replicas from the first answer on that is
    /// not `finalized`. `None` when no upgrade was heard of.
    #[must_use]
    pub fn rolling_upgrade_status(&self) -> Option<RollingUpgradeStatusProto> {
        let under_way = self.namespace().rolling_upgrade_start_ms().is_some();
        (under_way || self.upgrade.finalized.is_some()).then(|| RollingUpgradeStatusProto {
            block_pool_id: self.info.block_pool_id.clone(),
            finalized: Some(!under_way),
        })
    }

    /// The rolling upgrade under way (`RollingUpgradeInfo`).
    #[must_use]
    pub fn rolling_upgrade_info(&self) -> Option<RollingUpgradeInfoProto> {
        let start_time = self.namespace().rolling_upgrade_start_ms()?;
        Some(RollingUpgradeInfoProto {
            status: RollingUpgradeStatusProto {
                block_pool_id: self.info.block_pool_id.clone(),
                finalized: Some(false),
            },
            start_time,
            finalize_time: 0,
            created_rollback_images: self.upgrade.image.is_some() && self.upgrade.view.is_none(),
        })
    }

    /// Begins a rolling upgrade, and a new segment if a standby follows (`FSNamesystem.startRollingUpgrade`). Returns the
    /// last transaction.
    pub(crate) fn begin_rolling_upgrade(&mut self, now_ms: u64) -> Result<Option<TxId>, RemoteException> {
        let time = i64::try_from(now_ms).unwrap_or(i64::MAX);
        let started = self.commit(&[EditOp::RollingUpgradeStart { time }])?;
        if !self.config.ha_enabled {
            return Ok(started);
        }
        let Ok(next) = self.roll_edit_log(now_ms) else {
            return Ok(started);
        };
        self.freeze_for_rollback(TxId(next.0.saturating_sub(1)), true);
        Ok(Some(next))
    }

    /// Ends it, and begins a new segment if a standby follows (`FSNamesystem.finalizeRollingUpgrade`). Returns the last
    /// transaction.
    pub(crate) fn finalize_rolling_upgrade(&mut self, now_ms: u64) -> Result<Option<TxId>, RemoteException> {
        let time = i64::try_from(now_ms).unwrap_or(i64::MAX);
        let finalized = self.commit(&[EditOp::RollingUpgradeFinalize { time }])?;
        match self.config.ha_enabled.then(|| self.roll_edit_log(now_ms)) {
            Some(Ok(next)) => Ok(Some(next)),
            _ => Ok(finalized),
        }
    }

    /// A rolling upgrade began or ended with this transaction, which was just applied.
    pub(crate) fn on_rolling_upgrade(&mut self, under_way: bool, txid: TxId) {
        self.upgrade.finalized = (!under_way).then_some(txid);
        if !under_way {
            self.upgrade.view = None;
        }
    }

    /// A transaction was replayed: the namespace is frozen when a rolling upgrade begins, and once more when the segment
    /// ends with the next transaction. An active that died in between left none, and a recovery ended the segment.
    pub(crate) fn after_replay_of(&mut self, txid: TxId, op: &EditOp) {
        let begins = matches!(op, EditOp::RollingUpgradeStart { .. });
        if begins && self.config.ha_enabled && self.upgrade.image.is_none_or(|image| image < txid) {
            self.freeze_for_rollback(txid, false);
        } else if let Some(view) = self.upgrade.view.as_mut().filter(|view| !view.settled) {
            view.settled = true;
            if matches!(op, EditOp::EndLogSegment) && txid == view.txid.next() {
                self.freeze_for_rollback(txid, true);
            }
        }
    }

    fn freeze_for_rollback(&mut self, txid: TxId, settled: bool) {
        // An image has nothing of a snapshot that is deleted.
        self.finish_snapshots();
        self.note_covered(txid);
        let frozen = Arc::new(self.namespace().freeze());
        self.upgrade.view = Some(View { txid, frozen, settled });
    }

    /// What the shell has to do about rollback images now.
    #[must_use]
    pub fn rollback_images(&self) -> RollbackImages {
        match (&self.upgrade.view, self.upgrade.image, self.upgrade.finalized) {
            _ if self.is_broken() => RollbackImages::Stay,
            (Some(view), ..) if view.settled => RollbackImages::Save,
            (None, Some(image), Some(finalized)) if image < finalized && self.life().proven() >= finalized => {
                RollbackImages::Finalize(finalized)
            }
            _ => RollbackImages::Stay,
        }
    }

    /// Whether a rollback image is to be made here, so that no other one may be made or taken before.
    #[must_use]
    pub fn awaits_rollback_image(&self) -> bool {
        self.upgrade.view.is_some()
    }

    /// The content of the rollback image, and what decides when it may be published. `None` when none is to be made.
    #[must_use]
    pub fn begin_rollback_image(&self, canceler: Canceler) -> Option<(Arc<Frozen>, SaveNamespaceContext)> {
        let view = self.upgrade.view.as_ref().filter(|view| view.settled)?;
        let context = SaveNamespaceContext::of(view.txid, self.life().clone(), canceler);
        Some((view.frozen.clone(), context))
    }

    /// The name directories have a rollback image up to this transaction, or none any more.
    pub fn note_rollback_image(&mut self, image: Option<TxId>) {
        self.upgrade.image = image;
        if self.upgrade.view.as_ref().is_some_and(|view| Some(view.txid) == image) {
            self.upgrade.view = None;
        }
    }

    /// Last transaction of the newest rollback image in the name directories.
    #[must_use]
    pub fn rollback_image(&self) -> Option<TxId> {
        self.upgrade.image
    }
}

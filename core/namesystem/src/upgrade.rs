//! What this NameNode knows of an upgrade of the file system. It decides what DataNodes may delete.
//!
//! An upgrade with `-upgrade` leaves `previous/` in the name directories until it is finalized. A rolling upgrade that a Java
//! NameNode has begun is in the namespace, and DataNodes keep deleted replicas as long as it lasts. Hadoop's
//! `FSNamesystem.rollingUpgradeInfo` and `FSImage.isUpgradeFinalized`.

use crate::Namesystem;
use hathi_formats::proto::hdfs::{RollingUpgradeInfoProto, RollingUpgradeStatusProto};

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
        (under_way || self.rolling_upgrade_finalized).then(|| RollingUpgradeStatusProto {
            block_pool_id: self.info.block_pool_id.clone(),
            finalized: Some(!under_way),
        })
    }

    /// The rolling upgrade under way (`RollingUpgradeInfo`). This NameNode makes no rollback image.
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
            created_rollback_images: false,
        })
    }
}

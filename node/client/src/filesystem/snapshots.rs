//! Snapshottable directories, and their trash.

use super::FileSystem;
use crate::ClientError;
use hathi_formats::proto::hdfs;
use hathi_net::ipc::Idempotence;

/// Name of a trash (`FileSystem.TRASH_PREFIX`).
pub const TRASH: &str = ".Trash";

impl FileSystem {
    /// The snapshottable directories: those of this user, or all for a superuser.
    ///
    /// # Errors
    /// As [`FileSystem::call`].
    pub async fn snapshottable_dirs(&self) -> Result<Vec<String>, ClientError> {
        let request = hdfs::GetSnapshottableDirListingRequestProto {};
        let answer: hdfs::GetSnapshottableDirListingResponseProto = self
            .call("getSnapshottableDirListing", &request, Idempotence::Idempotent)
            .await?;
        let listed = answer.snapshottable_dir_list.unwrap_or_default();
        let paths = listed.snapshottable_dir_listing.iter().map(|directory| {
            let parent = String::from_utf8_lossy(&directory.parent_fullpath);
            let name = String::from_utf8_lossy(&directory.dir_status.path);
            format!("{}/{name}", parent.trim_end_matches('/'))
        });
        Ok(paths.collect())
    }

    /// Whether snapshottable directories have a trash of their own (`dfs.namenode.snapshot.trashroot.enabled`).
    ///
    /// # Errors
    /// As [`FileSystem::call`].
    pub async fn has_snapshot_trash(&self) -> Result<bool, ClientError> {
        let enabled = self.0.snapshot_trash.get_or_try_init(|| async {
            let request = hdfs::GetServerDefaultsRequestProto {};
            let answer: hdfs::GetServerDefaultsResponseProto = self
                .call("getServerDefaults", &request, Idempotence::Idempotent)
                .await?;
            Ok::<bool, ClientError>(answer.server_defaults.snapshot_trash_root_enabled())
        });
        Ok(*enabled.await?)
    }

    /// The trash of the snapshottable directory that something is in, for one user (`DFSUtilClient.getSnapshotTrashRoot`).
    ///
    /// # Errors
    /// As [`FileSystem::call`].
    pub async fn snapshot_trash_for(&self, path: &str, user: &str) -> Result<Option<String>, ClientError> {
        if !self.has_snapshot_trash().await? {
            return Ok(None);
        }
        let dirs = self.snapshottable_dirs().await?;
        let of = dirs.iter().map(|dir| dir.trim_end_matches('/'));
        let mut above = of.filter(|dir| path.strip_prefix(dir).is_some_and(|below| below.starts_with('/')));
        Ok(above.next().map(|dir| format!("{dir}/{TRASH}/{user}")))
    }
}

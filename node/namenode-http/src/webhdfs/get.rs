//! GET: reads.

use super::{Asked, Failed, redirect, said};
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::hdfs_file_status_proto::FileType;
use hathi_formats::proto::hdfs::*;
use hathi_formats::webhdfs::{self, Encoding, Op};
use hathi_net::http::header::{CONTENT_TYPE, HeaderValue};
use hathi_net::http::{BodySender, HttpResponse, body_channel};
use hathi_net::ipc::protocols::ClientMethod as M;
use serde_json::{Value, json};
use std::io;

/// Number of pieces of a list that may wait for a slow reader. Each is a batch of a directory.
const PIECES: usize = 2;
/// Name of the trash in a home directory (`FileSystem.TRASH_PREFIX`).
const TRASH: &str = ".Trash";
/// Most users whose trash is listed.
const TRASH_ROOTS_MAX: usize = 10_000;

pub(super) async fn serve(asked: Asked) -> Result<HttpResponse, Failed> {
    let src = asked.path.clone();
    let json = match asked.op {
        Op::Open | Op::GetFileChecksum => return redirect::to_replica(&asked).await,
        Op::ListStatus => return list(asked).await,
        Op::GetFileStatus => {
            let answer: GetFileInfoResponseProto = asked.call(M::GetFileInfo, &GetFileInfoRequestProto { src }).await?;
            webhdfs::file_status(&answer.fs.ok_or_else(|| asked.absent())?)
        }
        Op::GetFileLinkStatus => {
            let request = GetFileLinkInfoRequestProto { src };
            let answer: GetFileLinkInfoResponseProto = asked.call(M::GetFileLinkInfo, &request).await?;
            webhdfs::file_status(&answer.fs.ok_or_else(|| asked.absent())?)
        }
        Op::ListStatusBatch => {
            let after = asked.parameters.text("startafter").unwrap_or_default();
            webhdfs::directory_listing(&asked.page(after.as_bytes().to_vec().into()).await?)
        }
        Op::GetContentSummary => {
            let request = GetContentSummaryRequestProto { path: src };
            let answer: GetContentSummaryResponseProto = asked.call(M::GetContentSummary, &request).await?;
            webhdfs::content_summary(&answer.summary)
        }
        Op::GetQuotaUsage => {
            let request = GetQuotaUsageRequestProto { path: src };
            let answer: GetQuotaUsageResponseProto = asked.call(M::GetQuotaUsage, &request).await?;
            webhdfs::quota_usage(&answer.usage)
        }
        Op::GetHomeDirectory => webhdfs::path(&asked.home()),
        Op::GetTrashRoot => webhdfs::path(&asked.trash_root(&src).await?),
        Op::GetTrashRoots => asked.trash_roots().await?,
        Op::GetDelegationToken => asked.delegation_token().await?,
        Op::GetBlockLocations => webhdfs::located_blocks(&asked.located().await?),
        Op::GetFileBlockLocations => webhdfs::block_locations(&asked.located().await?),
        Op::GetAclStatus => {
            let answer: GetAclStatusResponseProto =
                asked.call(M::GetAclStatus, &GetAclStatusRequestProto { src }).await?;
            webhdfs::acl_status(&answer.result)
        }
        Op::GetXAttrs => asked.xattrs().await?,
        Op::ListXAttrs => {
            let answer: ListXAttrsResponseProto = asked.call(M::ListXAttrs, &ListXAttrsRequestProto { src }).await?;
            webhdfs::xattr_names(&answer.x_attrs)
        }
        Op::CheckAccess => {
            let text = asked.required("fsaction")?;
            let mode = webhdfs::action(text).ok_or_else(|| bad_action(text))?;
            let request = CheckAccessRequestProto {
                path: src,
                mode: i32::from(mode),
            };
            let _: CheckAccessResponseProto = asked.call(M::CheckAccess, &request).await?;
            return Ok(super::done());
        }
        Op::GetAllStoragePolicy => {
            let request = GetStoragePoliciesRequestProto {};
            let answer: GetStoragePoliciesResponseProto = asked.call(M::GetStoragePolicies, &request).await?;
            webhdfs::storage_policies(&answer.policies)
        }
        Op::GetStoragePolicy => {
            let request = GetStoragePolicyRequestProto { path: src };
            let answer: GetStoragePolicyResponseProto = asked.call(M::GetStoragePolicy, &request).await?;
            webhdfs::storage_policy(&answer.storage_policy)
        }
        Op::GetEcPolicy => {
            let request = GetErasureCodingPolicyRequestProto { src };
            let answer: GetErasureCodingPolicyResponseProto = asked.call(M::GetErasureCodingPolicy, &request).await?;
            answer.ec_policy.as_ref().map_or(Value::Null, webhdfs::ec_policy)
        }
        Op::GetEcPolicies => {
            let request = GetErasureCodingPoliciesRequestProto {};
            let answer: GetErasureCodingPoliciesResponseProto =
                asked.call(M::GetErasureCodingPolicies, &request).await?;
            webhdfs::ec_policies(&answer.ec_policies)
        }
        Op::GetEcCodecs => {
            let request = GetErasureCodingCodecsRequestProto {};
            let answer: GetErasureCodingCodecsResponseProto = asked.call(M::GetErasureCodingCodecs, &request).await?;
            webhdfs::ec_codecs(&answer.codec)
        }
        Op::GetServerDefaults => webhdfs::server_defaults(&asked.server_defaults().await?),
        Op::GetSnapshottableDirectoryList => {
            let request = GetSnapshottableDirListingRequestProto {};
            let answer: GetSnapshottableDirListingResponseProto =
                asked.call(M::GetSnapshottableDirListing, &request).await?;
            webhdfs::snapshottable_directories(answer.snapshottable_dir_list.as_ref())
        }
        Op::GetSnapshotList => {
            let request = GetSnapshotListingRequestProto { snapshot_root: src };
            let answer: GetSnapshotListingResponseProto = asked.call(M::GetSnapshotListing, &request).await?;
            webhdfs::snapshot_list(answer.snapshot_list.as_ref())
        }
        Op::GetSnapshotDiff => {
            let request = GetSnapshotDiffReportRequestProto {
                snapshot_root: src,
                from_snapshot: asked.parameters.text("oldsnapshotname").unwrap_or_default().to_owned(),
                to_snapshot: asked.parameters.text("snapshotname").unwrap_or_default().to_owned(),
            };
            let answer: GetSnapshotDiffReportResponseProto = asked.call(M::GetSnapshotDiffReport, &request).await?;
            webhdfs::snapshot_diff(&answer.diff_report)
        }
        Op::GetSnapshotDiffListing => asked.snapshot_diff_page(src).await?,
        Op::GetLinkTarget => {
            let request = GetLinkTargetRequestProto { path: src };
            let answer: GetLinkTargetResponseProto = asked.call(M::GetLinkTarget, &request).await?;
            webhdfs::path(answer.target_path())
        }
        Op::GetStatus => {
            let answer: GetFsStatsResponseProto = asked.call(M::GetFsStats, &GetFsStatusRequestProto {}).await?;
            webhdfs::fs_status(&answer)
        }
        other => return Err(redirect::unsupported(other).into()),
    };
    Ok(said(&json))
}

fn bad_action(text: &str) -> RemoteException {
    RemoteException::new(
        exceptions::ILLEGAL_ARGUMENT,
        format!(
            "Invalid value for webhdfs parameter \"fsaction\": Invalid value: \"{text}\" does not belong to the domain \
             [r-][w-][x-]"
        ),
    )
}

impl Asked {
    fn absent(&self) -> RemoteException {
        RemoteException::new(
            exceptions::FILE_NOT_FOUND,
            format!("File does not exist: {}", self.path),
        )
    }

    /// The home directory of the user (`DFSUtilClient.getHomeDirectory`).
    fn home(&self) -> String {
        format!("{}/{}", self.web.home_prefix, self.user.user)
    }

    pub(super) async fn server_defaults(&self) -> Result<FsServerDefaultsProto, Failed> {
        let request = GetServerDefaultsRequestProto {};
        let answer: GetServerDefaultsResponseProto = self.call(M::GetServerDefaults, &request).await?;
        Ok(answer.server_defaults)
    }

    pub(super) async fn status_of(&self, path: &str) -> Result<Option<HdfsFileStatusProto>, Failed> {
        let request = GetFileInfoRequestProto { src: path.to_owned() };
        let answer: GetFileInfoResponseProto = self.call(M::GetFileInfo, &request).await?;
        Ok(answer.fs)
    }

    pub(super) async fn located_range(&self, offset: u64, length: u64) -> Result<LocatedBlocksProto, Failed> {
        let request = GetBlockLocationsRequestProto {
            src: self.path.clone(),
            offset,
            length,
        };
        let answer: GetBlockLocationsResponseProto = self.call(M::GetBlockLocations, &request).await?;
        Ok(answer.locations.ok_or_else(|| self.absent())?)
    }

    async fn located(&self) -> Result<LocatedBlocksProto, Failed> {
        let offset = self.parameters.unsigned("offset")?.unwrap_or(0);
        let length = self.parameters.unsigned("length")?.unwrap_or(u64::MAX >> 1);
        self.located_range(offset, length).await
    }

    /// One batch of the directory behind a name.
    async fn page(&self, start_after: Bytes) -> Result<DirectoryListingProto, Failed> {
        self.page_of(&self.path, start_after)
            .await?
            .ok_or_else(|| absent_list(&self.path).into())
    }

    async fn page_of(&self, path: &str, start_after: Bytes) -> Result<Option<DirectoryListingProto>, Failed> {
        let request = GetListingRequestProto {
            src: path.to_owned(),
            start_after,
            need_location: false,
        };
        let answer: GetListingResponseProto = self.call(M::GetListing, &request).await?;
        Ok(answer.dir_list)
    }

    async fn xattrs(&self) -> Result<Value, Failed> {
        let java = "org.apache.hadoop.fs.XAttrCodec";
        let encoding = self.parameters.words("encoding", java, Encoding::NAMES)?;
        let names = self.parameters.all("xattr.name").iter();
        let request = GetXAttrsRequestProto {
            src: self.path.clone(),
            x_attrs: names.map(|name| webhdfs::xattr(name, None)).collect::<Result<_, _>>()?,
        };
        let answer: GetXAttrsResponseProto = self.call(M::GetXAttrs, &request).await?;
        let encoding = encoding.first().map_or(Encoding::Text, |index| Encoding::of(*index));
        Ok(webhdfs::xattrs(&answer.x_attrs, encoding))
    }

    /// Null without a secret manager; Hadoop's client does not ask then.
    async fn delegation_token(&self) -> Result<Value, Failed> {
        let renewer = self.parameters.text("renewer").unwrap_or(&self.user.user);
        let request = hathi_formats::proto::common::GetDelegationTokenRequestProto {
            renewer: renewer.to_owned(),
        };
        let answer: hathi_formats::proto::common::GetDelegationTokenResponseProto =
            self.call(M::GetDelegationToken, &request).await?;
        let token = answer.token.as_ref().map(webhdfs::token_url_string);
        Ok(json!({ "Token": token.map(|text| json!({ "urlString": text })) }))
    }

    /// A page of the differences between two snapshots.
    async fn snapshot_diff_page(&self, snapshot_root: String) -> Result<Value, Failed> {
        let text = |name| self.parameters.text(name).unwrap_or_default().to_owned();
        let index = self.parameters.long("snapshotdiffindex", -1)?;
        let index = index.and_then(|index| i32::try_from(index).ok()).unwrap_or(-1);
        let request = GetSnapshotDiffReportListingRequestProto {
            snapshot_root,
            from_snapshot: text("oldsnapshotname"),
            to_snapshot: text("snapshotname"),
            cursor: Some(SnapshotDiffReportCursorProto {
                start_path: text("snapshotdiffstartpath").into(),
                index,
            }),
        };
        let answer: GetSnapshotDiffReportListingResponseProto =
            self.call(M::GetSnapshotDiffReportListing, &request).await?;
        Ok(webhdfs::snapshot_diff_listing(&answer.diff_report))
    }

    /// The trash for a path: that of the snapshottable directory or of the encryption zone that it is in, whichever is the
    /// longer path; else the user's (`NamenodeWebHdfsMethods.getTrashRoot`).
    async fn trash_root(&self, path: &str) -> Result<String, Failed> {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let request = GetEzForPathRequestProto {
            src: if parent.is_empty() { "/" } else { parent }.to_owned(),
        };
        let answer: GetEzForPathResponseProto = self.call(M::GetEzForPath, &request).await?;
        let below = |dir: &str| format!("{}/{TRASH}/{}", dir.trim_end_matches('/'), self.user.user);
        let dirs = self.dirs_with_trash().await?;
        let mut above = dirs.iter().map(|dir| dir.trim_end_matches('/'));
        // The directory is in itself here, and is not for Hadoop's client by RPC.
        let holds = |dir: &&str| {
            path.strip_prefix(*dir)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let above = above.find(holds);
        let roots = above
            .map(below)
            .into_iter()
            .chain(answer.zone.map(|zone| below(&zone.path)));
        Ok(roots
            .max_by_key(String::len)
            .unwrap_or_else(|| format!("{}/{TRASH}", self.home())))
    }

    /// The snapshottable directories that this user sees, if they have a trash of their own.
    async fn dirs_with_trash(&self) -> Result<Vec<String>, Failed> {
        if !self.server_defaults().await?.snapshot_trash_root_enabled() {
            return Ok(Vec::new());
        }
        let request = GetSnapshottableDirListingRequestProto {};
        let answer: GetSnapshottableDirListingResponseProto =
            self.call(M::GetSnapshottableDirListing, &request).await?;
        let listed = answer.snapshottable_dir_list.unwrap_or_default();
        let paths = listed.snapshottable_dir_listing.iter().map(|directory| {
            let parent = String::from_utf8_lossy(&directory.parent_fullpath);
            let name = String::from_utf8_lossy(&directory.dir_status.path);
            format!("{}/{name}", parent.trim_end_matches('/'))
        });
        Ok(paths.collect())
    }

    /// The trashes in a snapshottable directory: the user's, or everybody's.
    async fn trashes_in(&self, dir: &str, everybody: bool) -> Result<Vec<String>, Failed> {
        let trash = format!("{}/{TRASH}", dir.trim_end_matches('/'));
        if !everybody {
            return Ok(vec![format!("{trash}/{}", self.user.user)]);
        }
        let (mut trashes, mut after) = (Vec::new(), Bytes::new());
        while let Some(page) = self.page_of(&trash, after).await? {
            let Some(last) = page.partial_listing.last() else { break };
            after = last.path.clone();
            // A file lists itself with an empty name.
            let named = page.partial_listing.iter().filter(|of| !of.path.is_empty());
            trashes.extend(named.map(|of| format!("{trash}/{}", String::from_utf8_lossy(&of.path))));
            if page.remaining_entries == 0 || trashes.len() >= TRASH_ROOTS_MAX {
                break;
            }
        }
        Ok(trashes)
    }

    /// The trash of the user, or with `allusers` of every user (`DistributedFileSystem.getTrashRoots`).
    async fn trash_roots(&self) -> Result<Value, Failed> {
        let mut homes = vec![self.home()];
        let everybody = self.parameters.boolean("allusers", false)?;
        if everybody {
            homes.clear();
            let mut after = Bytes::new();
            while let Some(page) = self.page_of(&self.web.home_prefix, after).await? {
                let Some(last) = page.partial_listing.last() else { break };
                after = last.path.clone();
                let directories = page
                    .partial_listing
                    .iter()
                    .filter(|of| of.file_type() == FileType::IsDir);
                let names = directories.map(|home| String::from_utf8_lossy(&home.path));
                homes.extend(names.map(|name| format!("{}/{name}", self.web.home_prefix)));
                if page.remaining_entries == 0 || homes.len() >= TRASH_ROOTS_MAX {
                    break;
                }
            }
        }
        let mut paths: Vec<String> = homes.iter().map(|home| format!("{home}/{TRASH}")).collect();
        for dir in self.dirs_with_trash().await? {
            paths.extend(self.trashes_in(&dir, everybody).await?);
        }
        let mut roots = Vec::new();
        for path in paths {
            // Others' homes may be closed to this user.
            match self.status_of(&path).await {
                Ok(Some(status)) => roots.push(webhdfs::trash_root(&path, &status)),
                Ok(None) => {}
                Err(Failed::Refused(refused)) if refused.is(exceptions::ACCESS_CONTROL) => {}
                Err(failed) => return Err(failed),
            }
        }
        Ok(json!({ "Paths": roots }))
    }
}

fn absent_list(path: &str) -> RemoteException {
    RemoteException::new(exceptions::FILE_NOT_FOUND, format!("File {path} does not exist."))
}

/// `LISTSTATUS`: all batches of a directory, one after the other as the client takes them.
async fn list(asked: Asked) -> Result<HttpResponse, Failed> {
    let first = asked.page(Bytes::new()).await?;
    let (sender, body) = body_channel(PIECES);
    tokio::spawn(send_list(asked, first, sender));
    let mut response = HttpResponse::new(body);
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

async fn send_list(asked: Asked, first: DirectoryListingProto, mut sender: BodySender) {
    let (mut page, mut before) = (first, "{\"FileStatuses\":{\"FileStatus\":[");
    loop {
        let mut text = String::new();
        for status in &page.partial_listing {
            text.push_str(before);
            text.push_str(&webhdfs::status_members(status).to_string());
            before = ",";
        }
        let last = page.partial_listing.last().map(|last| last.path.clone());
        let after = last.filter(|_| page.remaining_entries > 0);
        if after.is_none() {
            if before != "," {
                text.push_str(before);
            }
            text.push_str("]}}");
        }
        if !sender.send(text.into()).await {
            return;
        }
        let Some(after) = after else { return };
        page = match asked.page(after).await {
            Ok(page) => page,
            // The beginning has left already, so the client must see that it is no whole list.
            Err(_) => return sender.abort(io::Error::other("the rest of the list can't be had")),
        };
    }
}

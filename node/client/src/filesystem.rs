//! The metadata calls, and opening files.

mod encryption;
mod snapshots;

pub use snapshots::TRASH;

use crate::crypto::Keys;
use crate::namenodes::{connect_as, duration};
use crate::{ClientError, FileReader, FileWriter};
use hathi_conf::{ConfError, Configuration};
use hathi_formats::datatransfer::{ChecksumType, DataChecksum};
use hathi_formats::proto::hdfs;
use hathi_net::ipc::protocols::CLIENT_PROTOCOL;
use hathi_net::ipc::{HaProxy, Idempotence, UserInfo};
use parking_lot::Mutex;
use prost::Message;
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::OnceCell;

/// How often the lease of files under construction is renewed: half of Hadoop's soft limit of a minute.
const LEASE_RENEWAL: Duration = Duration::from_secs(30);

/// Settings of a client.
#[derive(Clone, Debug)]
pub struct FileSystemOptions {
    /// The user that calls.
    pub user: String,
    /// The holder of the leases. It is unique for each client.
    pub client_name: String,
    /// Replication factor of new files (`dfs.replication`).
    pub replication: u32,
    /// Block size of new files, in bytes (`dfs.blocksize`).
    pub block_size: u64,
    /// `dfs.checksum.type` and `dfs.bytes-per-checksum`.
    pub checksum: DataChecksum,
    /// How often the NameNode is asked again for the DataNodes of a block under construction
    /// (`dfs.client.retry.times.get-last-block-length`). After a restart it knows them only from their reports.
    pub last_block_retries: u32,
    /// Pause before it is asked again (`dfs.client.retry.interval-ms.get-last-block-length`).
    pub last_block_pause: Duration,
    /// Permission bits that new files and directories do not get (`fs.permissions.umask-mode`). In a directory with
    /// default ACLs those apply instead.
    pub umask: u16,
}

/// How a file is created.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Replace an existing file.
    pub overwrite: bool,
    /// Create missing parents.
    pub create_parent: bool,
    /// Permission bits before the umask.
    pub permission: u16,
    /// Permission bits after a umask that is not this client's own. `None` applies its own.
    pub masked: Option<u16>,
    /// Replication factor. `None` takes the client's default.
    pub replication: Option<u32>,
    /// Block size in bytes. `None` takes the client's default.
    pub block_size: Option<u64>,
    /// DataNodes may write it to disk later (`CreateFlag.LAZY_PERSIST`).
    pub lazy_persist: bool,
}

impl Default for CreateOptions {
    fn default() -> Self {
        CreateOptions {
            overwrite: false,
            create_parent: true,
            permission: 0o666,
            masked: None,
            replication: None,
            block_size: None,
            lazy_persist: false,
        }
    }
}

#[derive(Debug)]
struct Inner {
    proxy: HaProxy,
    options: FileSystemOptions,
    /// Inode ids of files that this client writes.
    writing: Mutex<BTreeSet<u64>>,
    keys: Keys,
    /// Whether snapshottable directories have a trash of their own, once the NameNode has said so.
    snapshot_trash: OnceCell<bool>,
}

/// A nameservice, or a single NameNode. Clones share connections.
#[derive(Clone, Debug)]
pub struct FileSystem(Arc<Inner>);

impl FileSystem {
    /// Connects to `authority` (a nameservice or `host:port`), or to `fs.defaultFS` when it is empty. Nothing is sent
    /// before the first call.
    ///
    /// # Errors
    /// When the configuration names no NameNode for it.
    pub fn new(conf: &Configuration, authority: &str, user: &str) -> Result<FileSystem, ClientError> {
        let user = UserInfo {
            user: user.to_owned(),
            ..UserInfo::default()
        };
        FileSystem::acting_as(conf, authority, user)
    }

    /// As [`FileSystem::new`], for a user in whose name a proxy user may act (`hadoop.proxyuser.*`).
    ///
    /// # Errors
    /// When the configuration names no NameNode for it.
    pub fn acting_as(conf: &Configuration, authority: &str, user: UserInfo) -> Result<FileSystem, ClientError> {
        let millis = |key: &str, default: u64| duration(conf, key, default);
        let kind = match conf.get_or("dfs.checksum.type", "CRC32C").as_str() {
            "CRC32" => ChecksumType::Crc32,
            "NULL" => ChecksumType::Null,
            _ => ChecksumType::Crc32c,
        };
        let bytes_per_checksum = conf.get_u32("dfs.bytes-per-checksum", 512)?;
        let options = FileSystemOptions {
            user: user.user.clone(),
            client_name: format!("DFSClient_hathi_{}", uuid::Uuid::new_v4()),
            replication: conf.get_u32("dfs.replication", 3)?,
            block_size: u64::try_from(conf.get_bytes("dfs.blocksize", 128 << 20)?).unwrap_or(128 << 20),
            checksum: DataChecksum::new(kind, bytes_per_checksum).unwrap_or(DataChecksum::DEFAULT),
            last_block_retries: conf.get_u32("dfs.client.retry.times.get-last-block-length", 3)?,
            last_block_pause: millis("dfs.client.retry.interval-ms.get-last-block-length", 4000)?,
            umask: {
                let key = "fs.permissions.umask-mode";
                let value = conf.get_or(key, "022");
                umask(&value).ok_or_else(|| ConfError::Value {
                    key: key.to_owned(),
                    origin: conf.origin(key).to_owned(),
                    problem: "neither octal nor of the form u=rwx,g=rx,o=".to_owned(),
                    value,
                })?
            },
        };
        Ok(FileSystem(Arc::new(Inner {
            keys: Keys::of(conf, &user)?,
            proxy: connect_as(conf, authority, user, &CLIENT_PROTOCOL)?,
            options,
            writing: Mutex::new(BTreeSet::new()),
            snapshot_trash: OnceCell::new(),
        })))
    }

    /// How this client behaves.
    #[must_use]
    pub fn options(&self) -> &FileSystemOptions {
        &self.0.options
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// Calls any method of ClientProtocol.
    ///
    /// # Errors
    /// When it fails on every NameNode, or the active one refuses.
    pub async fn call<Q: Message, R: Message + Default>(
        &self,
        method: &str,
        request: &Q,
        idempotence: Idempotence,
    ) -> Result<R, ClientError> {
        Ok(self.0.proxy.call(method, request, idempotence).await?)
    }

    /// Status of a path. `None` if the path does not exist.
    ///
    /// # Errors
    /// As [`FileSystem::call`].
    pub async fn status(&self, path: &str) -> Result<Option<hdfs::HdfsFileStatusProto>, ClientError> {
        let request = hdfs::GetFileInfoRequestProto { src: path.to_owned() };
        let answer: hdfs::GetFileInfoResponseProto =
            self.call("getFileInfo", &request, Idempotence::Idempotent).await?;
        Ok(answer.fs)
    }

    /// One page of a directory after the name `start_after`, with the number of entries after it. `None` if there is no
    /// such directory.
    ///
    /// # Errors
    /// As [`FileSystem::call`].
    pub async fn list_page(
        &self,
        path: &str,
        start_after: &[u8],
    ) -> Result<Option<hdfs::DirectoryListingProto>, ClientError> {
        let request = hdfs::GetListingRequestProto {
            src: path.to_owned(),
            start_after: start_after.to_vec().into(),
            need_location: false,
        };
        let answer: hdfs::GetListingResponseProto = self.call("getListing", &request, Idempotence::Idempotent).await?;
        Ok(answer.dir_list)
    }

    /// All entries of a directory. For a file, the file itself.
    ///
    /// # Errors
    /// As [`FileSystem::call`], and when there is nothing.
    pub async fn list(&self, path: &str) -> Result<Vec<hdfs::HdfsFileStatusProto>, ClientError> {
        let mut all: Vec<hdfs::HdfsFileStatusProto> = Vec::new();
        loop {
            let after = all.last().map(|last| last.path.clone()).unwrap_or_default();
            let Some(page) = self.list_page(path, &after).await? else {
                return Err(ClientError::NotFound(path.to_owned()));
            };
            let empty = page.partial_listing.is_empty();
            all.extend(page.partial_listing);
            if page.remaining_entries == 0 || empty {
                return Ok(all);
            }
        }
    }

    /// Makes a directory, with `create_parent` also its parents. `permission` is before the umask.
    ///
    /// # Errors
    /// As [`FileSystem::call`].
    pub async fn mkdirs(&self, path: &str, permission: u16, create_parent: bool) -> Result<bool, ClientError> {
        let request = hdfs::MkdirsRequestProto {
            src: path.to_owned(),
            masked: permission_proto(permission & !self.options().umask),
            create_parent,
            unmasked: Some(permission_proto(permission)),
        };
        let answer: hdfs::MkdirsResponseProto = self.call("mkdirs", &request, Idempotence::Idempotent).await?;
        Ok(answer.result)
    }

    /// Deletes a path. Returns `false` if it did not exist.
    ///
    /// # Errors
    /// As [`FileSystem::call`].
    pub async fn delete(&self, path: &str, recursive: bool) -> Result<bool, ClientError> {
        let request = hdfs::DeleteRequestProto {
            src: path.to_owned(),
            recursive,
        };
        let answer: hdfs::DeleteResponseProto = self.call("delete", &request, Idempotence::AtMostOnce).await?;
        Ok(answer.result)
    }

    /// Renames a path (`rename2`). It fails with Hadoop's exceptions where the older call answers `false`.
    ///
    /// # Errors
    /// As [`FileSystem::call`].
    pub async fn rename(&self, src: &str, dst: &str, overwrite: bool) -> Result<(), ClientError> {
        let request = hdfs::Rename2RequestProto {
            src: src.to_owned(),
            dst: dst.to_owned(),
            overwrite_dest: overwrite,
            move_to_trash: None,
        };
        let _: hdfs::Rename2ResponseProto = self.call("rename2", &request, Idempotence::AtMostOnce).await?;
        Ok(())
    }

    /// Creates a file to be written.
    ///
    /// # Errors
    /// As [`FileSystem::call`].
    pub async fn create(&self, path: &str, options: &CreateOptions) -> Result<FileWriter, ClientError> {
        let mut flag = hdfs::CreateFlagProto::Create as i32;
        if options.overwrite {
            flag |= hdfs::CreateFlagProto::Overwrite as i32;
        }
        if options.lazy_persist {
            flag |= hdfs::CreateFlagProto::LazyPersist as i32;
        }
        let request = hdfs::CreateRequestProto {
            src: path.to_owned(),
            masked: permission_proto(options.masked.unwrap_or(options.permission & !self.options().umask)),
            client_name: self.options().client_name.clone(),
            create_flag: flag.cast_unsigned(),
            create_parent: options.create_parent,
            replication: options.replication.unwrap_or(self.options().replication),
            block_size: options.block_size.unwrap_or(self.options().block_size),
            crypto_protocol_version: vec![hdfs::CryptoProtocolVersionProto::EncryptionZones.into()],
            unmasked: Some(permission_proto(options.permission)),
            ec_policy_name: None,
            storage_policy: None,
        };
        let answer: hdfs::CreateResponseProto = self.call("create", &request, Idempotence::AtMostOnce).await?;
        let Some(status) = answer.fs else {
            return Err(ClientError::NotFound(path.to_owned()));
        };
        self.begin_write(status.file_id());
        let mut writer = FileWriter::new(self.clone(), path, &status);
        let prepared = match writer.stripe(&status) {
            Ok(()) => writer.encrypt(&status).await,
            Err(error) => Err(error),
        };
        if let Err(error) = prepared {
            // An empty file is what becomes of it anyway, once its lease is over.
            let _ = writer.close().await;
            return Err(error);
        }
        Ok(writer)
    }

    /// Opens an existing file to write at its end.
    ///
    /// # Errors
    /// As [`FileSystem::call`], and when no DataNode of its last block can be reached.
    pub async fn append(&self, path: &str) -> Result<FileWriter, ClientError> {
        self.append_in(path, false).await
    }

    /// As [`FileSystem::append`], but the new data begins in a new block (`CreateFlag.NEW_BLOCK`).
    ///
    /// # Errors
    /// As [`FileSystem::call`].
    pub async fn append_new_block(&self, path: &str) -> Result<FileWriter, ClientError> {
        self.append_in(path, true).await
    }

    async fn append_in(&self, path: &str, new_block: bool) -> Result<FileWriter, ClientError> {
        let mut flag = hdfs::CreateFlagProto::Append as i32;
        if new_block {
            flag |= hdfs::CreateFlagProto::NewBlock as i32;
        }
        let request = hdfs::AppendRequestProto {
            src: path.to_owned(),
            client_name: self.options().client_name.clone(),
            flag: Some(flag.cast_unsigned()),
        };
        let answer: hdfs::AppendResponseProto = self.call("append", &request, Idempotence::AtMostOnce).await?;
        let Some(status) = answer.stat else {
            return Err(ClientError::NotFound(path.to_owned()));
        };
        self.begin_write(status.file_id());
        let mut writer = FileWriter::new(self.clone(), path, &status);
        let prepared = match writer.stripe(&status) {
            Ok(()) => writer.encrypt(&status).await,
            Err(error) => Err(error),
        };
        if let Err(error) = prepared {
            self.end_write(status.file_id());
            return Err(error);
        }
        match answer.block {
            Some(last) if new_block => writer.follow(last.b),
            Some(last) => writer.append_to(last).await?,
            None => {}
        }
        Ok(writer)
    }

    /// Opens a file to be read.
    ///
    /// # Errors
    /// As [`FileSystem::call`].
    pub async fn open(&self, path: &str) -> Result<FileReader, ClientError> {
        FileReader::open(self.clone(), path).await
    }

    pub(crate) async fn block_locations(
        &self,
        path: &str,
        offset: u64,
        length: u64,
    ) -> Result<hdfs::LocatedBlocksProto, ClientError> {
        let request = hdfs::GetBlockLocationsRequestProto {
            src: path.to_owned(),
            offset,
            length,
        };
        let answer: hdfs::GetBlockLocationsResponseProto = self
            .call("getBlockLocations", &request, Idempotence::Idempotent)
            .await?;
        answer.locations.ok_or_else(|| ClientError::NotFound(path.to_owned()))
    }

    fn begin_write(&self, file_id: u64) {
        let mut writing = self.0.writing.lock();
        if writing.is_empty() {
            tokio::spawn(renew_leases(Arc::downgrade(&self.0)));
        }
        writing.insert(file_id);
    }

    pub(crate) fn end_write(&self, file_id: u64) {
        self.0.writing.lock().remove(&file_id);
    }
}

/// An octal mask, or the permissions that are left (`UmaskParser`).
fn umask(text: &str) -> Option<u16> {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return u16::from_str_radix(text, 8).ok().filter(|mask| *mask <= 0o777);
    }
    let mut left = 0;
    for clause in text.split(',') {
        let (who, permissions) = clause.split_once('=')?;
        let mut bits = 0;
        for permission in permissions.chars() {
            bits |= match permission {
                'r' => 4,
                'w' => 2,
                'x' => 1,
                '-' => 0,
                _ => return None,
            };
        }
        for class in who.chars() {
            left |= match class {
                'u' => bits << 6,
                'g' => bits << 3,
                'o' => bits,
                'a' => bits << 6 | bits << 3 | bits,
                _ => return None,
            };
        }
    }
    Some(!left & 0o777)
}

fn permission_proto(permission: u16) -> hdfs::FsPermissionProto {
    hdfs::FsPermissionProto {
        perm: u32::from(permission),
    }
}

/// Renews the client's lease while it writes a file and somebody still uses it.
async fn renew_leases(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(LEASE_RENEWAL).await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.writing.lock().is_empty() {
            return;
        }
        let request = hdfs::RenewLeaseRequestProto {
            client_name: inner.options.client_name.clone(),
            namespaces: Vec::new(),
        };
        let result: Result<hdfs::RenewLeaseResponseProto, _> =
            inner.proxy.call("renewLease", &request, Idempotence::Idempotent).await;
        if let Err(error) = result {
            tracing::warn!(%error, "can't renew the lease of the files being written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::umask;

    #[test]
    fn a_umask_is_octal_or_says_what_is_left() {
        for (text, mask) in [
            ("022", Some(0o022)),
            ("27", Some(0o027)),
            ("u=rwx,g=rx,o=", Some(0o027)),
            ("u=rwx,g=r-x,o=r-x", Some(0o022)),
            ("a=rwx", Some(0)),
            ("1777", None),
            ("8", None),
            ("", None),
            ("u+w", None),
        ] {
            assert_eq!(umask(text), mask, "{text}");
        }
    }
}

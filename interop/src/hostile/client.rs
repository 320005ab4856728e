//! Our client, for blocking code.

use super::PATIENCE;
use crate::{Daemons, wait_for};
use anyhow::{Context, Result};
use hathi_client::{ClientError, CreateOptions, FileSystem};
use hathi_conf::Configuration;
use hathi_formats::proto::hdfs;
use hathi_net::ipc::protocols::CLIENT_PROTOCOL;
use hathi_net::ipc::{CallIds, ClientOptions, Idempotence, RpcClient, connect_to, random_client_id};
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;

/// A client with a runtime of its own. Dropping it ends everything that it has open, as if its process were killed.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) fs: FileSystem,
    runtime: Runtime,
}

impl Client {
    /// A client of the whole cluster.
    pub(super) fn new(conf: &Path) -> Result<Client> {
        Self::of(conf, "")
    }

    /// A client of one NameNode.
    pub(super) fn of(conf: &Path, address: &str) -> Result<Client> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let fs = FileSystem::new(&Configuration::load(conf)?, address, &user())?;
        Ok(Client { fs, runtime })
    }

    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Waits for a result, and fails after a time limit. A call that hangs must not hang its test.
    pub(super) fn try_wait<T>(
        &self,
        timeout: Duration,
        future: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T> {
        let result = self.wait(async { tokio::time::timeout(timeout, future).await });
        Ok(result.context("no answer in time")??)
    }

    pub(super) fn write(&self, path: &str, bytes: &[u8], replication: u32) -> Result<()> {
        let options = CreateOptions {
            replication: Some(replication),
            ..CreateOptions::default()
        };
        self.try_wait(PATIENCE, async {
            let mut file = self.fs.create(path, &options).await?;
            file.write(bytes).await?;
            file.close().await
        })
        .with_context(|| format!("can't write {path}"))
    }

    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.try_wait(PATIENCE, async { self.fs.open(path).await?.read_to_end().await })
            .with_context(|| format!("can't read {path}"))
    }

    pub(super) fn mkdir(&self, path: &str) -> Result<()> {
        self.try_wait(PATIENCE, self.fs.mkdirs(path, 0o755, true)).map(drop)
    }

    pub(super) fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.try_wait(PATIENCE, self.fs.status(path))?.is_some())
    }

    pub(super) fn locations(&self, path: &str) -> Result<hdfs::LocatedBlocksProto> {
        let request = hdfs::GetBlockLocationsRequestProto {
            src: path.to_owned(),
            offset: 0,
            length: u64::MAX >> 1,
        };
        let call = self.fs.call("getBlockLocations", &request, Idempotence::Idempotent);
        let answer: hdfs::GetBlockLocationsResponseProto = self.try_wait(PATIENCE, call)?;
        answer.locations.with_context(|| format!("{path} does not exist"))
    }

    pub(super) fn set_replication(&self, path: &str, replication: u32) -> Result<()> {
        let request = hdfs::SetReplicationRequestProto {
            src: path.to_owned(),
            replication,
        };
        let call = self.fs.call("setReplication", &request, Idempotence::Idempotent);
        let _: hdfs::SetReplicationResponseProto = self.try_wait(PATIENCE, call)?;
        Ok(())
    }

    /// Asks for the recovery of a file's lease. Returns whether the file is closed now.
    pub(super) fn recover_lease(&self, path: &str) -> Result<bool> {
        let request = hdfs::RecoverLeaseRequestProto {
            src: path.to_owned(),
            client_name: self.fs.options().client_name.clone(),
        };
        let call = self.fs.call("recoverLease", &request, Idempotence::Idempotent);
        let answer: hdfs::RecoverLeaseResponseProto = self.try_wait(Duration::from_secs(10), call)?;
        Ok(answer.result)
    }

    /// Repeats the recovery of a file's lease until the file is closed.
    pub(super) fn close_by_recovery(&self, path: &str) {
        wait_for("the file to be closed by recoverLease", PATIENCE, || {
            let closed = self.recover_lease(path).is_ok_and(|closed| closed);
            if !closed {
                std::thread::sleep(Duration::from_millis(200));
            }
            closed.then_some(())
        });
    }

    pub(super) fn connect(&self, address: &str, user: &str) -> Result<RpcClient> {
        Ok(self.wait(connect_to(address, &CLIENT_PROTOCOL, &ClientOptions::new(user)))?)
    }

    /// A connection to one NameNode, without any failover.
    pub(super) fn namenode(&self, daemons: &Daemons, index: u16) -> Result<RpcClient> {
        self.connect(&daemons.namenode_address(index)?, &user())
    }
}

/// The identity of a call at its second attempt.
pub(super) fn second_attempt(call_id: i32) -> CallIds {
    CallIds {
        client_id: random_client_id(),
        call_id,
        retry_count: 1,
    }
}

pub(super) fn user() -> String {
    std::env::var("USER").unwrap_or_else(|_| "root".to_owned())
}

/// Bytes that depend on the seed.
pub(super) fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}

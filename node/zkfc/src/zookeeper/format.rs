//! The nameservice's znode (`hdfs zkfc -formatZK`).

use super::ZooKeeperConfig;
use zookeeper_client::{Acls, Client, CreateMode, Error};

/// A session for the znode that holds the lock and the breadcrumb.
#[derive(Debug)]
pub struct Formatter {
    config: ZooKeeperConfig,
    client: Client,
}

impl Formatter {
    /// Connects.
    ///
    /// # Errors
    /// When no server answers within the session time-out.
    pub async fn connect(config: ZooKeeperConfig) -> Result<Formatter, Error> {
        let client = config.connect().await?;
        Ok(Formatter { config, client })
    }

    /// Whether the znode is there.
    ///
    /// # Errors
    /// When ZooKeeper does not say.
    pub async fn exists(&self) -> Result<bool, Error> {
        Ok(self.client.check_stat(&self.config.znode).await?.is_some())
    }

    /// Deletes it with all that it holds.
    ///
    /// # Errors
    /// When ZooKeeper refuses, or somebody else creates more in it meanwhile.
    pub async fn clear(&self) -> Result<(), Error> {
        let mut paths = vec![self.config.znode.clone()];
        let mut next = 0;
        while let Some(path) = paths.get(next).cloned() {
            next += 1;
            match self.client.list_children(&path).await {
                Ok(children) => paths.extend(children.iter().map(|child| format!("{path}/{child}"))),
                Err(Error::NoNode) => {}
                Err(error) => return Err(error),
            }
        }
        for path in paths.iter().rev() {
            match self.client.delete(path, None).await {
                Ok(()) | Err(Error::NoNode) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Creates it, and those above it that are missing.
    ///
    /// # Errors
    /// When ZooKeeper refuses.
    pub async fn create(&self) -> Result<(), Error> {
        let acls = Acls::new(&self.config.acls);
        let options = CreateMode::Persistent.with_acls(acls);
        let znode = &self.config.znode;
        let ends = znode
            .match_indices('/')
            .map(|(index, _)| index)
            .skip(1)
            .chain([znode.len()]);
        for end in ends {
            match self.client.create(&znode[..end], &[], &options).await {
                Ok(_) | Err(Error::NodeExists) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

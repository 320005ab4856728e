//! What WebHDFS needs of a DataNode's configuration.

use hathi_conf::Configuration;
use hathi_formats::webhdfs;
use std::sync::Arc;

/// WebHDFS's part of a DataNode's configuration.
#[derive(Clone, Debug)]
pub struct WebHdfsConf {
    /// `dfs.webhdfs.enabled`
    pub(super) enabled: bool,
    /// `hadoop.http.staticuser.user`
    pub(super) static_user: String,
    /// The nameservices and addresses of NameNodes to which a request may lead.
    pub(super) namenodes: Vec<String>,
    /// Of clients.
    pub(super) client: Arc<Configuration>,
}

impl WebHdfsConf {
    /// Reads the configuration.
    #[must_use]
    pub fn of(conf: &Configuration) -> WebHdfsConf {
        let mut namenodes = Vec::new();
        let mut add = |nameservice: Option<&str>, namenode: Option<&str>| {
            namenodes.extend(
                conf.rpc_address(nameservice, namenode)
                    .ok()
                    .map(|address| address.to_string()),
            );
        };
        let nameservices = conf.internal_nameservices();
        for id in &nameservices {
            let ids = conf.namenode_ids(id);
            if ids.is_empty() {
                add(Some(id), None);
            }
            for namenode in &ids {
                add(Some(id), Some(namenode));
            }
        }
        if nameservices.is_empty() {
            add(None, None);
        }
        namenodes.extend(nameservices);
        WebHdfsConf {
            enabled: conf.get_bool("dfs.webhdfs.enabled", true),
            static_user: conf.get_or("hadoop.http.staticuser.user", webhdfs::STATIC_USER),
            namenodes,
            client: Arc::new(conf.clone()),
        }
    }
}

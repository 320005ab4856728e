//! The text files beside images and blocks: `.md5` and `VERSION`.

use crate::ids::LayoutVersion;
use std::collections::BTreeMap;

/// What is appended to an image's name (`MD5FileUtils.MD5_SUFFIX`).
pub const MD5_SUFFIX: &str = ".md5";

/// The content of the `.md5` file of `file_name`.
#[must_use]
pub fn format_md5_file(md5: &[u8; 16], file_name: &str) -> String {
    let digits: String = md5.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits} *{file_name}\n")
}

/// The digest in a `.md5` file, which must name its own file.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_md5_file(text: &str, file_name: &str) -> Result<[u8; 16], String> {
    let line = text.lines().next().unwrap_or_default();
    let (digits, rest) = line
        .split_at_checked(32)
        .ok_or("it is too short for a digest")?;
    let mut md5 = [0; 16];
    for (index, byte) in md5.iter_mut().enumerate() {
        let pair = digits.get(2 * index..2 * index + 2).ok_or("not a digest")?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| format!("{pair:?} is not hexadecimal"))?;
    }
    let named = rest
        .strip_prefix(" *")
        .or_else(|| rest.strip_prefix("  "))
        .ok_or("no file name after the digest")?;
    if named != file_name {
        return Err(format!("it is the digest of {named}, not of {file_name}"));
    }
    Ok(md5)
}

/// Whose storage directory it is (`HdfsServerConstants.NodeType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageType {
    /// A NameNode's.
    NameNode,
    /// A DataNode's.
    DataNode,
    /// A JournalNode's.
    JournalNode,
}

impl StorageType {
    fn as_str(self) -> &'static str {
        match self {
            StorageType::NameNode => "NAME_NODE",
            StorageType::DataNode => "DATA_NODE",
            StorageType::JournalNode => "JOURNAL_NODE",
        }
    }
}

/// The content of a `VERSION` file. Which of the optional properties there are depends on whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageVersion {
    /// `layoutVersion`
    pub layout_version: LayoutVersion,
    /// `storageType`; a block pool of a DataNode names none.
    pub storage_type: Option<StorageType>,
    /// `namespaceID`; absent at the top of a DataNode's directory.
    pub namespace_id: Option<u32>,
    /// `clusterID`; absent in a DataNode's block pool.
    pub cluster_id: Option<String>,
    /// `cTime` in ms.
    pub ctime: i64,
    /// `blockpoolID`, of NameNodes and block pools.
    pub block_pool_id: Option<String>,
    /// `storageID`, of DataNodes.
    pub storage_id: Option<String>,
    /// `datanodeUuid`, of DataNodes.
    pub datanode_uuid: Option<String>,
}

/// What is wrong with a `VERSION` file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// A property that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A property does not fit.
    #[error("{property} = '{value}' is not {expected}")]
    Value {
        /// The property.
        property: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl StorageVersion {
    /// As Java properties; the date in the comment that Java writes carries no meaning and is left out.
    #[must_use]
    pub fn format(&self) -> String {
        let mut text = String::new();
        let mut put = |property: &str, value: Option<String>| {
            if let Some(value) = value {
                text.push_str(&format!("{property}={value}\n"));
            }
        };
        put("namespaceID", self.namespace_id.map(|id| id.to_string()));
        put("clusterID", self.cluster_id.clone());
        put("storageID", self.storage_id.clone());
        put("datanodeUuid", self.datanode_uuid.clone());
        put("cTime", Some(self.ctime.to_string()));
        put(
            "storageType",
            self.storage_type.map(|kind| kind.as_str().to_owned()),
        );
        put("blockpoolID", self.block_pool_id.clone());
        put("layoutVersion", Some(self.layout_version.to_string()));
        text
    }

    /// From Java properties.
    ///
    /// # Errors
    /// When the layout version is missing or a number is none.
    pub fn parse(text: &str) -> Result<StorageVersion, VersionError> {
        let properties: BTreeMap<&str, String> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with(['#', '!']))
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.trim(), unescape(value.trim())))
            .collect();
        let get = |name: &str| properties.get(name).cloned();
        let layout_version = get("layoutVersion").ok_or(VersionError::Missing("layoutVersion"))?;
        let storage_type = match get("storageType").as_deref() {
            None => None,
            Some("NAME_NODE") => Some(StorageType::NameNode),
            Some("DATA_NODE") => Some(StorageType::DataNode),
            Some("JOURNAL_NODE") => Some(StorageType::JournalNode),
            Some(other) => {
                return Err(VersionError::Value {
                    property: "storageType",
                    value: other.to_owned(),
                    expected: "a storage type",
                });
            }
        };
        Ok(StorageVersion {
            layout_version: LayoutVersion(number("layoutVersion", &layout_version)?),
            storage_type,
            namespace_id: get("namespaceID")
                .map(|id| number("namespaceID", &id))
                .transpose()?,
            cluster_id: get("clusterID"),
            ctime: get("cTime").map_or(Ok(0), |ctime| number("cTime", &ctime))?,
            block_pool_id: get("blockpoolID"),
            storage_id: get("storageID"),
            datanode_uuid: get("datanodeUuid"),
        })
    }
}

fn number<T: std::str::FromStr>(property: &'static str, value: &str) -> Result<T, VersionError> {
    value.parse().map_err(|_| VersionError::Value {
        property,
        value: value.to_owned(),
        expected: "a number that fits",
    })
}

/// Java escapes colons, equal signs and the like in values with a backslash.
fn unescape(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            plain.extend(chars.next());
        } else {
            plain.push(c);
        }
    }
    plain
}

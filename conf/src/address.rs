//! Journal URIs, default file systems and storage directories as they stand in configurations.

use std::fmt;
use std::path::PathBuf;

use hathi_formats::host_port::HostPort;
use hathi_formats::proto::hdfs::StorageTypeProto;

/// Where edits go: a quorum of JournalNodes or a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalUri {
    /// `qjournal://host:port;host:port;host:port/journalId`.
    Quorum {
        /// The JournalNodes, in the order given.
        journal_nodes: Vec<HostPort>,
        /// The journal's name, usually the nameservice.
        journal_id: String,
    },
    /// `file:///dir` or a plain path.
    File(PathBuf),
}

/// The port of a JournalNode that names none (`DFS_JOURNALNODE_RPC_PORT_DEFAULT`).
const JOURNALNODE_RPC_PORT: u16 = 8485;

impl JournalUri {
    /// Parses one URI of `dfs.namenode.shared.edits.dir` or `dfs.namenode.edits.dir`.
    pub fn parse(text: &str) -> Result<JournalUri, String> {
        let Some(rest) = text.trim().strip_prefix("qjournal://") else {
            return Ok(JournalUri::File(parse_path(text)?));
        };
        let (authority, journal_id) = rest.split_once('/').ok_or("names no journal id")?;
        if journal_id.is_empty() || journal_id.contains('/') {
            return Err(format!("'{journal_id}' is not a journal id"));
        }
        let journal_nodes = authority
            .split(';')
            .map(|address| HostPort::parse(address, Some(JOURNALNODE_RPC_PORT)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(JournalUri::Quorum {
            journal_nodes,
            journal_id: journal_id.to_owned(),
        })
    }
}

impl fmt::Display for JournalUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JournalUri::File(path) => write!(f, "file://{}", path.display()),
            JournalUri::Quorum {
                journal_nodes,
                journal_id,
            } => {
                f.write_str("qjournal://")?;
                for (index, node) in journal_nodes.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ";" };
                    write!(f, "{separator}{node}")?;
                }
                write!(f, "/{journal_id}")
            }
        }
    }
}

/// One directory of `dfs.datanode.data.dir` (`StorageLocation`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageLocation {
    /// Storage type of the volume. `DISK` when none is given.
    pub storage_type: StorageTypeProto,
    /// The directory.
    pub path: PathBuf,
}

impl StorageLocation {
    /// Parses `/dir`, `file:///dir` or `[SSD]file:///dir`.
    pub fn parse(text: &str) -> Result<StorageLocation, String> {
        let text = text.trim();
        let (name, path) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, path)) => (name, path),
            None => ("DISK", text),
        };
        let storage_type = StorageTypeProto::from_str_name(&name.trim().to_ascii_uppercase())
            .ok_or_else(|| format!("'{name}' is no storage type"))?;
        Ok(StorageLocation {
            storage_type,
            path: parse_path(path)?,
        })
    }
}

/// A local directory from a `file:` URI (with `%` escapes) or a plain path.
pub(super) fn parse_path(text: &str) -> Result<PathBuf, String> {
    let text = text.trim();
    let path = match text.strip_prefix("file:") {
        Some(rest) => percent_decode(rest.strip_prefix("//").unwrap_or(rest))?,
        None => match text.split_once("://") {
            Some((scheme, _)) => return Err(format!("scheme '{scheme}' is not supported")),
            None => text.to_owned(),
        },
    };
    if path.is_empty() {
        return Err("names no directory".to_owned());
    }
    Ok(PathBuf::from(path))
}

fn percent_decode(text: &str) -> Result<String, String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    decoded.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let escaped = part.split_at_checked(2);
        let (value, rest) = escaped
            .and_then(|(digits, rest)| Some((u8::from_str_radix(digits, 16).ok()?, rest)))
            .ok_or_else(|| format!("bad escape in '{text}'"))?;
        decoded.push(value);
        decoded.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(decoded).map_err(|_| format!("'{text}' is not UTF-8"))
}

/// The parts of `fs.defaultFS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultFs {
    /// `hdfs`, `file`, ...
    pub scheme: String,
    /// A nameservice, or a host with or without port; empty for `file:///`.
    pub authority: String,
}

impl DefaultFs {
    /// Parses a file system URI; a bare `host:port` means `hdfs://host:port`.
    #[must_use]
    pub fn parse(text: &str) -> DefaultFs {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("hdfs", text));
        let authority = rest.split('/').next().unwrap_or_default();
        DefaultFs {
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
        }
    }
}

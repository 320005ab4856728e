//! `dfs.hosts` and `dfs.hosts.exclude`: which DataNodes may come and which shall go.

use crate::state::NameNode;

/// Reads both files again (`refreshNodes`).
pub fn refresh(nn: &NameNode) {
    let (include, exclude) = &nn.settings.hosts_files;
    for file in include.iter().chain(exclude) {
        match std::fs::read_to_string(file) {
            Ok(text) => tracing::info!(file = %file.display(), hosts = text.split_whitespace().count(), "read hosts"),
            Err(error) => tracing::warn!(file = %file.display(), %error, "cannot read hosts"),
        }
    }
}

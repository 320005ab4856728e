//! `dfs.hosts` and `dfs.hosts.exclude`: which DataNodes may come and which shall go.

use crate::state::NameNode;
use std::path::Path;

/// Reads both files again (`refreshNodes`).
pub fn refresh(nn: &NameNode) {
    let (include, exclude) = &nn.settings.hosts_files;
    let lists = include.as_deref().map_or(Ok(Vec::new()), read).and_then(|included| {
        let excluded = exclude.as_deref().map_or(Ok(Vec::new()), read)?;
        Ok((included, excluded))
    });
    match lists {
        // A list that cannot be read must not let everybody in, or out: the old ones stay.
        Err(error) => tracing::warn!(%error, "cannot read the lists of hosts"),
        Ok((included, excluded)) => {
            tracing::info!(
                included = included.len(),
                excluded = excluded.len(),
                "read the lists of hosts"
            );
            nn.ns.write().blockmanager.set_hosts(included, excluded);
        }
    }
}

/// Hosts separated by white space, with comments from `#` to the end of the line (`HostsFileReader`).
fn read(file: &Path) -> std::io::Result<Vec<String>> {
    let text = std::fs::read_to_string(file)?;
    Ok(text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or("").split_whitespace())
        .map(str::to_owned)
        .collect())
}

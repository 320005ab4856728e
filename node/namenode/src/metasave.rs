//! `dfsadmin -metasave`: writes the block manager's lists into a file of `hadoop.log.dir` (`FSNamesystem.metaSave`).

use crate::state::NameNode;
use anyhow::{Context, ensure};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::MetaSaveResponseProto;
use hathi_net::ipc::Responder;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Writes the file on a thread of its own, and answers.
pub fn save_and_answer(nn: &Arc<NameNode>, filename: String, responder: Responder) {
    let nn = nn.clone();
    let spawned = std::thread::Builder::new()
        .name("metasave".to_owned())
        .spawn(move || match save(&nn, &filename) {
            Ok(()) => responder.ok(&MetaSaveResponseProto {}),
            Err(error) => responder.error(&RemoteException::new(exceptions::IO, format!("{error:#}"))),
        });
    if let Err(error) = spawned {
        tracing::error!(%error, "cannot start a thread for metasave");
    }
}

fn save(nn: &NameNode, filename: &str) -> anyhow::Result<()> {
    let dir = nn
        .settings
        .conf
        .get_required("hadoop.log.dir", "the files of metasave")?;
    let path = path_in(Path::new(&dir), filename)?;
    let text = {
        let ns = nn.ns.read();
        let (inodes, blocks) = (ns.namespace.inode_count(), ns.blockmanager.counts().blocks);
        format!(
            "{inodes} files and directories, {blocks} blocks = {} total filesystem objects\n{}",
            inodes + blocks,
            ns.blockmanager.metasave()
        )
    };
    std::fs::create_dir_all(&dir).with_context(|| dir.clone())?;
    std::fs::write(&path, text).with_context(|| path.display().to_string())
}

/// The caller names a file and no directory. Hadoop lets it leave the directory.
fn path_in(dir: &Path, filename: &str) -> anyhow::Result<PathBuf> {
    let mut components = Path::new(filename).components();
    let only_name = matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(_)), None)
    );
    ensure!(only_name, "'{filename}' must be the name of a file in hadoop.log.dir");
    Ok(dir.join(filename))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_lists_go_into_a_file_of_the_log_directory_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        let alone = testing::active_with(&[("hadoop.log.dir", logs.display().to_string())]);
        let nn = &alone.shared.nn;
        for outside in ["../x", "/tmp/x", "a/b", "..", ""] {
            assert!(save(nn, outside).is_err(), "{outside}");
        }
        save(nn, "lists").unwrap();
        let text = std::fs::read_to_string(logs.join("lists")).unwrap();
        for line in [
            "Live Datanodes: 0\n",
            "Metasave: Blocks waiting for reconstruction: 0\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(
            save(&testing::active().shared.nn, "lists").is_err(),
            "no directory is named"
        );
    }
}

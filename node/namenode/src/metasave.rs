//! `dfsadmin -metasave`: writes the block manager's lists into a file of `hadoop.log.dir` (`FSNamesystem.metaSave`).

use crate::settings::Settings;
use anyhow::{Context, ensure};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::MetaSaveResponseProto;
use hathi_namesystem::Namesystem;
use hathi_net::ipc::Responder;
use parking_lot::RwLock;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Writes the file on a thread of its own, and answers.
pub fn save_and_answer(settings: &Arc<Settings>, ns: &Arc<RwLock<Namesystem>>, filename: String, responder: Responder) {
    let (settings, ns) = (settings.clone(), ns.clone());
    let spawned =
        std::thread::Builder::new()
            .name("metasave".to_owned())
            .spawn(move || match save(&settings, &ns, &filename) {
                Ok(()) => responder.ok(&MetaSaveResponseProto {}),
                Err(error) => responder.error(&RemoteException::new(exceptions::IO, format!("{error:#}"))),
            });
    if let Err(error) = spawned {
        tracing::error!(%error, "cannot start a thread for metasave");
    }
}

fn save(settings: &Settings, ns: &RwLock<Namesystem>, filename: &str) -> anyhow::Result<()> {
    let dir = settings.conf.get_required("hadoop.log.dir", "the files of metasave")?;
    let path = path_in(Path::new(&dir), filename)?;
    let text = {
        let ns = ns.read();
        let (inodes, blocks) = (ns.namespace().inode_count(), ns.blockmanager().counts().blocks);
        format!(
            "{inodes} files and directories, {blocks} blocks = {} total filesystem objects\n{}",
            inodes + blocks,
            ns.blockmanager().metasave()
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
            assert!(save(&nn.settings, &nn.ns, outside).is_err(), "{outside}");
        }
        save(&nn.settings, &nn.ns, "lists").unwrap();
        let text = std::fs::read_to_string(logs.join("lists")).unwrap();
        for line in [
            "Live Datanodes: 0\n",
            "Metasave: Blocks waiting for reconstruction: 0\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let none = testing::active().shared.nn.clone();
        assert!(
            save(&none.settings, &none.ns, "lists").is_err(),
            "no directory is named"
        );
    }
}

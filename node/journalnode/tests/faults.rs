//! Faults of one JournalNode's directory, and what becomes of it and of its quorum.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::{Path, PathBuf};

use hathi_formats::exceptions;
use hathi_formats::ids::{Epoch, TxId};
use hathi_journal::{Answer, Request};
use hathi_journalnode::JournalNode;
use support::{LIMIT, Writer, configuration, ns_info, quorum, until};

fn flip(path: &Path, at: usize) {
    let mut data = std::fs::read(path).unwrap();
    data[at] ^= 4;
    // In place, as a disk does it.
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&data, 0).unwrap();
}

/// All files of a directory as another directory of the same name, as a restored backup is.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

async fn vote(node: &JournalNode, epoch: u64) -> Result<Answer, String> {
    let request = Request::NewEpoch {
        ns_info: ns_info(),
        epoch: Epoch(epoch),
        lease: None,
        established: false,
    };
    let answer = Writer::connect(node, epoch).await.ask(&request).await;
    answer.map_err(|exception| exception.to_string())
}

async fn bean(node: &JournalNode) -> serde_json::Value {
    let url = format!(
        "http://{}/jmx?qry=Hadoop:service=JournalNode,name=Journal-ns1",
        node.http_address()
    );
    let (_, jmx) = hathi_net::http::get_bytes(&url, LIMIT, 1 << 20).await.unwrap();
    let jmx: serde_json::Value = serde_json::from_slice(&jmx).unwrap();
    jmx["beans"][0].clone()
}

/// Three JournalNodes with transactions 1 to 4 finalized and 5 and 6 in progress, written in epoch 3.
struct Trio {
    dir: tempfile::TempDir,
    confs: Vec<hathi_conf::Configuration>,
    ports: Vec<u16>,
    nodes: Vec<Option<JournalNode>>,
}

impl Trio {
    async fn start() -> Trio {
        let dir = tempfile::tempdir().unwrap();
        let (mut confs, ports) = quorum(dir.path());
        for conf in &mut confs {
            conf.set("dfs.journalnode.sync.interval", "100ms");
            conf.set("hathi.journalnode.scrub.period", "1s");
        }
        let nodes = confs.iter().map(|conf| JournalNode::start(conf.clone()).unwrap());
        let nodes: Vec<_> = nodes.map(Some).collect();
        for node in nodes.iter().flatten() {
            let mut writer = Writer::with_a_finalized_segment(node).await;
            writer.start(5, Some(4)).await.unwrap();
            writer.write(5, 5, 1, Some(4)).await.unwrap();
            writer.write(5, 6, 1, Some(5)).await.unwrap();
        }
        Trio {
            dir,
            confs,
            ports,
            nodes,
        }
    }

    fn current(&self, index: usize) -> PathBuf {
        self.dir.path().join(self.ports[index].to_string()).join("ns1/current")
    }

    fn node(&self, index: usize) -> &JournalNode {
        self.nodes[index].as_ref().unwrap()
    }

    fn stop(&mut self, index: usize) {
        self.nodes[index] = None;
    }

    fn start_again(&mut self, index: usize) {
        self.nodes[index] = Some(JournalNode::start(self.confs[index].clone()).unwrap());
    }
}

#[tokio::test]
async fn a_damaged_finalized_segment_is_fetched_from_a_peer() {
    let trio = Trio::start().await;
    let path = trio.current(0).join("edits_0000000000000000001-0000000000000000004");
    let good = std::fs::read(&path).unwrap();
    flip(&path, 30);
    let bean = until(async || {
        let bean = bean(trio.node(0)).await;
        (bean["DamagedSegments"] == 1 && bean["NumEditLogsSynced"] == 1).then_some(bean)
    })
    .await;
    assert_eq!(std::fs::read(&path).unwrap(), good);
    assert!(PathBuf::from(format!("{}.corrupt", path.display())).exists());
    assert_eq!(bean["Joining"], false);
    vote(trio.node(0), 4).await.unwrap();
}

#[tokio::test]
async fn damage_in_an_open_segment_costs_only_the_vote_of_its_node() {
    let mut trio = Trio::start().await;
    trio.stop(0);
    let path = trio.current(0).join("edits_inprogress_0000000000000000005");
    flip(&path, 8 + 6);
    trio.start_again(0);
    let refused = vote(trio.node(0), 4).await.unwrap_err();
    assert!(refused.contains("is damaged"), "{refused}");
    assert_eq!(bean(trio.node(0)).await["Joining"], true);
    for other in [1, 2] {
        vote(trio.node(other), 4).await.unwrap();
    }
    // The next writer opens its segment here too, and it votes again.
    let mut writer = Writer::connect(trio.node(0), 4).await;
    writer.start(7, Some(6)).await.unwrap();
    writer.write(7, 7, 1, Some(6)).await.unwrap();
    vote(trio.node(0), 5).await.unwrap();
}

#[tokio::test]
async fn damaged_and_lost_small_files_are_put_back() {
    let mut trio = Trio::start().await;
    for name in ["VERSION", "last-promised-epoch", "last-writer-epoch"] {
        let path = trio.current(1).join(name);
        let good = std::fs::read(&path).unwrap();
        trio.stop(1);
        flip(&path, 0);
        trio.start_again(1);
        let again = vote(trio.node(1), 3).await.unwrap_err();
        assert!(again.contains("<= last promise 3"), "{again}");
        assert_eq!(std::fs::read(&path).unwrap(), good);
        trio.stop(1);
        std::fs::remove_file(&path).unwrap();
        trio.start_again(1);
        let again = vote(trio.node(1), 3).await.unwrap_err();
        assert!(again.contains("<= last promise 3"), "{again}");
        assert_eq!(std::fs::read(&path).unwrap(), good);
    }
}

#[tokio::test]
async fn a_directory_from_a_backup_learns_its_promise_and_does_not_vote() {
    let mut trio = Trio::start().await;
    trio.stop(2);
    let (current, backup) = (trio.current(2), trio.dir.path().join("backup"));
    copy(&current, &backup);
    trio.start_again(2);
    for node in [0, 1, 2] {
        vote(trio.node(node), 9).await.unwrap();
    }
    for node in [0, 1, 2] {
        trio.stop(node);
    }
    std::fs::remove_dir_all(&current).unwrap();
    copy(&backup, &current);
    trio.start_again(2);
    // Nobody tells it what it has promised: it serves no epoch, not the one it has fenced either.
    let mut old = Writer::connect(trio.node(2), 3).await;
    old.serial = 100;
    let refused = old.start(5, Some(4)).await.unwrap_err();
    assert!(refused.is(exceptions::RETRIABLE), "{refused}");
    assert!(
        refused.message.contains("does not know what it has promised"),
        "{refused}"
    );
    trio.start_again(0);
    trio.start_again(1);
    until(async || {
        let state = old.ask(&Request::GetJournalState).await.ok()?;
        match state {
            Answer::JournalState { promised_epoch, .. } => assert_eq!(promised_epoch, Epoch(9)),
            other => panic!("{other:?}"),
        }
        Some(())
    })
    .await;
    let fenced = old.start(5, Some(4)).await.unwrap_err();
    assert!(
        fenced.message.contains("is less than the last promised epoch 9"),
        "{fenced}"
    );
    let joining = vote(trio.node(2), 10).await.unwrap_err();
    assert!(joining.contains("as from a backup"), "{joining}");
    let mut writer = Writer::connect(trio.node(2), 9).await;
    writer.start(20, Some(19)).await.unwrap();
    writer.write(20, 20, 1, Some(19)).await.unwrap();
    vote(trio.node(2), 10).await.unwrap();
}

#[tokio::test]
async fn wrong_identities_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = JournalNode::start(configuration(dir.path())).unwrap();
    let writer = Writer::connect(&node, 1).await;
    writer.format().await;
    for (namespace_id, cluster_id, expected) in [
        (12345, "CID-other", "Incompatible clusterID"),
        (999, "CID-test", "Incompatible namespaceID"),
    ] {
        let mut ns_info = ns_info();
        ns_info.namespace_id = namespace_id;
        ns_info.cluster_id = cluster_id.into();
        let request = Request::NewEpoch {
            ns_info,
            epoch: Epoch(7),
            lease: None,
            established: false,
        };
        let refused = writer.ask(&request).await.unwrap_err();
        assert!(refused.message.contains(expected), "{refused}");
    }
    vote(&node, 1).await.unwrap();
}

#[tokio::test]
async fn a_second_process_takes_the_directory_when_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let node = JournalNode::start(configuration(dir.path())).unwrap();
    let mut writer = Writer::connect(&node, 1).await;
    writer.format().await;
    writer.become_writer().await;
    let second = JournalNode::start(configuration(dir.path())).unwrap();
    let refused = vote(&second, 2).await.unwrap_err();
    assert!(refused.contains("already locked"), "{refused}");
    // The first is not touched by it.
    writer.start(1, None).await.unwrap();
    writer.write(1, 1, 3, None).await.unwrap();
    drop(node);
    until(async || vote(&second, 2).await.ok()).await;
    let mut next = Writer::connect(&second, 2).await;
    let prepare = Request::PrepareRecovery {
        info: next.info(None),
        segment: TxId(1),
    };
    match next.ask(&prepare).await.unwrap() {
        Answer::PrepareRecovery(answer) => assert_eq!(answer.segment.unwrap().end, TxId(3)),
        other => panic!("{other:?}"),
    }
}

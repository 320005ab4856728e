//! A NameNode without its tasks, for tests of single parts, here and in hathi-namenode-http.

use hathi_formats::ids::{LayoutVersion, NamespaceInfo, TxId};
use hathi_journalclient::Readers;
use hathi_namenode::audit::{AuditLog, AuditOptions};
use hathi_namenode::hosts::HostLists;
use hathi_namenode::journalnodes;
use hathi_namenode::load::parts;
use hathi_namenode::log::LogCommand;
use hathi_namenode::settings::Settings;
use hathi_namenode::state::{NameNode, Parts, Shared};
use hathi_namenode::storage::{Birth, NameDirs, NewNameDirs};
use hathi_namespace::Namespace;
use hathi_namesystem::Life;
use hathi_namesystem::loader::assemble;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Its parts, and what keeps them alive.
pub(crate) struct Alone {
    pub(crate) shared: Arc<Shared>,
    _log: mpsc::UnboundedReceiver<LogCommand>,
    _dir: TempDir,
}

fn settings(dir: &TempDir, more: &[(&'static str, String)]) -> Settings {
    let root = dir.path().display();
    let mut keys = vec![
        ("fs.defaultFS", "hdfs://ns".to_owned()),
        ("dfs.nameservices", "ns".to_owned()),
        ("dfs.ha.namenodes.ns", "nn0,nn1".to_owned()),
        ("dfs.ha.namenode.id", "nn0".to_owned()),
        ("dfs.namenode.rpc-address.ns.nn0", "127.0.0.1:0".to_owned()),
        ("dfs.namenode.http-address.ns.nn0", "127.0.0.1:0".to_owned()),
        ("dfs.namenode.rpc-address.ns.nn1", "127.0.0.1:0".to_owned()),
        ("dfs.namenode.http-address.ns.nn1", "127.0.0.1:0".to_owned()),
        ("dfs.namenode.name.dir", format!("{root}/name")),
        ("dfs.namenode.shared.edits.dir", format!("file://{root}/shared")),
    ];
    keys.extend_from_slice(more);
    let property =
        |(key, value): &(&str, String)| format!("<property><name>{key}</name><value>{value}</value></property>");
    let xml: String = keys.iter().map(property).collect();
    std::fs::write(
        dir.path().join("hdfs-site.xml"),
        format!("<configuration>{xml}</configuration>"),
    )
    .unwrap();
    std::fs::write(dir.path().join("core-site.xml"), "<configuration></configuration>").unwrap();
    Settings::load(dir.path()).unwrap()
}

/// An active whose edits up to transaction 6 a quorum has; its image covers 5.
pub(crate) fn active() -> Alone {
    active_with(&[])
}

/// The active steps down.
pub(crate) fn become_standby(nn: &NameNode) {
    let mut ns = nn.ns.write();
    ns.begin_stepping_down().unwrap();
    ns.end_stepping_down(nn.clock.wall_ms()).unwrap();
    nn.replies.publish(&ns);
}

/// One with further keys.
pub(crate) fn active_with(more: &[(&'static str, String)]) -> Alone {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&dir, more);
    let info = NamespaceInfo {
        layout_version: LayoutVersion::NAMENODE_CURRENT,
        namespace_id: 7,
        cluster_id: "CID-test".to_owned(),
        ctime: 0,
        block_pool_id: "BP-1-127.0.0.1-1".to_owned(),
    };
    let new = NewNameDirs::begin(&settings, &info).unwrap();
    new.finish(Birth::Format).unwrap();
    new.place().unwrap();
    let dirs = Arc::new(NameDirs::open(&settings).unwrap());
    let namespace = Namespace::new(settings.namespace().unwrap());
    let parts = parts(&settings, info).unwrap();
    let ns = assemble(parts, namespace, TxId(5), Life::first());
    let (transitions, _) = mpsc::unbounded_channel();
    let (questions, _) = mpsc::unbounded_channel();
    let audit = AuditOptions::from_conf(&settings.conf).unwrap();
    let nn = NameNode::new(Parts {
        settings: settings.clone(),
        ns,
        holder: "nn0@test".to_owned(),
        hosts: HostLists::default(),
        audit: audit.map(|options| AuditLog::start(options).unwrap()),
        transitions,
        questions,
    });
    let nn = Arc::new(nn.unwrap());
    {
        let mut ns = nn.ns.write();
        ns.become_standby().unwrap();
        ns.begin_activation().unwrap();
        ns.start_active(nn.clock.now()).unwrap();
        ns.take_logged();
        ns.life().acknowledge(TxId(6)).unwrap();
        nn.replies.gate().open(ns.life().clone());
        nn.replies.publish(&ns);
    }
    let (log, log_queue) = mpsc::unbounded_channel();
    let readers = Arc::new(Readers::new(journalnodes::none(&settings)));
    let shared = Arc::new(Shared::new(nn, dirs, log, readers));
    Alone {
        shared,
        _log: log_queue,
        _dir: dir,
    }
}

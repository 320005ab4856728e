//! An active that lives and does not serve.

use super::client::Client;
use super::{PATIENCE, Setup};
use crate::daemons::Start;
use crate::{ClusterOptions, Daemons, Role, wait_for};
use anyhow::{Context, Result, ensure};
use hathi_conf::Configuration;
use hathi_formats::proto::hdfs::{FsPermissionProto, MkdirsRequestProto, MkdirsResponseProto};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Size of the file system of a NameNode's directory. The next constant is the space that must be free on it.
const SIZE: u64 = 64 << 20;
const RESERVED: u64 = 16 << 20;

/// A part of the active hangs while its process lives. Another NameNode serves long before that part goes on.
pub(super) fn inside(setup: &Setup<'_>) -> Result<()> {
    let hooks = [("hathi.debug.hooks", "true"), ("hathi.namenode.rpc.reactors", "2")];
    let mut daemons = Daemons::started(setup.hathi, ClusterOptions::default(), &hooks)?;
    let client = Client::new(&daemons.conf())?;
    for what in [
        "what=namespace",
        "what=reactor&index=0",
        "what=reactor&index=1",
        "what=health",
    ] {
        let old = daemons.wait_for_active(&[]);
        hang(&daemons, old, what)?;
        let next = daemons.wait_for_active(&[old]);
        client
            .mkdir(&format!("/{}", what.replace(['=', '&'], "-")))
            .with_context(|| format!("NameNode {next} after {what}"))?;
        // The controller may have killed it already.
        daemons.kill(Role::NameNode, old)?;
        daemons.start(Role::NameNode, old)?;
        daemons.wait_until_ready();
    }
    Ok(())
}

/// Makes a part of a NameNode hang, for longer than anything here waits.
fn hang(daemons: &Daemons, index: u16, what: &str) -> Result<()> {
    let key = format!("dfs.namenode.http-address.hathi.nn{index}");
    let address = Configuration::load(&daemons.conf())?.get(&key).context(key)?;
    let mut stream = TcpStream::connect(&address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = format!(
        "POST /debug/hang?{what}&ms=600000 HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    // The part that hangs may be the one that would answer.
    let _ = stream.read_to_string(&mut answer);
    ensure!(answer.is_empty() || answer.contains(" 200 "), "{answer}");
    Ok(())
}

/// The active's directory becomes full, and another NameNode serves. Then all are full, and nothing is acknowledged
/// that may not fit.
pub(super) fn directory_full(setup: &Setup<'_>) -> Result<()> {
    let reserved = RESERVED.to_string();
    let watchful = [
        ("dfs.namenode.resource.du.reserved", reserved.as_str()),
        ("dfs.namenode.resource.check.interval", "200"),
    ];
    let mut daemons = Daemons::new(setup.hathi, ClusterOptions::default(), &watchful)?;
    for (role, index) in daemons.all() {
        match role {
            Role::NameNode => {
                let small = Start::on_small_disks(&[daemons.data_dir(role, index)], SIZE);
                daemons.start_with(role, index, &small)?;
            }
            Role::JournalNode | Role::DataNode | Role::Zkfc => daemons.start(role, index)?,
        }
    }
    daemons.wait_until_ready();
    let client = Client::new(&daemons.conf())?;
    client.mkdir("/before")?;
    let mut full = Vec::new();
    for _ in 0..2 {
        let active = daemons.wait_for_active(&full);
        fill(&daemons, active)?;
        full.push(active);
        let _ = daemons.wait_for_active(&full);
        client.mkdir(&format!("/without-{active}"))?;
    }
    let last = daemons.wait_for_active(&full);
    let at_last = client.namenode(&daemons, last)?;
    fill(&daemons, last)?;
    let mut number = 0;
    wait_for("the last one to refuse writes", PATIENCE, || {
        number += 1;
        let request = MkdirsRequestProto {
            src: format!("/refused-{number}"),
            masked: FsPermissionProto { perm: 0o755 },
            create_parent: true,
            unmasked: None,
        };
        let answer: Result<MkdirsResponseProto, _> = client.wait(at_last.call("mkdirs", &request));
        answer.is_err().then_some(())
    });
    for index in daemons.of(Role::NameNode) {
        ensure!(daemons.is_running(Role::NameNode, index), "NameNode {index} has ended");
    }
    Ok(())
}

/// Leaves less free space than is reserved.
fn fill(daemons: &Daemons, index: u16) -> Result<()> {
    let dir = daemons.data_dir(Role::NameNode, index);
    let path = daemons.seen_by(Role::NameNode, index, &dir)?.join("filler");
    let len = usize::try_from(SIZE - RESERVED / 2)?;
    // If there is less space, it writes as much as fits.
    let written = std::fs::write(&path, vec![0; len]);
    let there = std::fs::metadata(&path)
        .with_context(|| path.display().to_string())?
        .len();
    ensure!(
        written.is_ok() || there > SIZE - RESERVED,
        "only {there} bytes were written"
    );
    Ok(())
}

//! Paths that become longer than the edit log can hold, by calls that are each short.

use super::client::Client;
use super::{PATIENCE, Setup};
use crate::{ClusterOptions, Daemons, Role};
use anyhow::{Context, Result, ensure};
use hathi_client::CreateOptions;

/// Length of the names. A name may have 255 bytes, and a path in a call 8,000 characters.
const NAME: usize = 250;
const DEPTH: usize = 30;
/// Number of directories below each other. Together their names exceed the edit log's 21,845 characters.
const LEVELS: usize = 100;
/// Bytes of the file.
const LENGTH: usize = 100;

/// `/first/nnn.../nnn...`
fn long(first: &str) -> String {
    let name = "n".repeat(NAME);
    std::iter::once(format!("/{first}"))
        .chain(std::iter::repeat_n(format!("/{name}"), DEPTH))
        .collect()
}

/// The path by which a NameNode finds an inode by its id.
fn inode(id: u64) -> String {
    format!("/.reserved/.inodes/{id}")
}

/// Some calls may be refused. Acknowledged changes are there after all NameNodes have restarted.
pub(super) fn deep(setup: &Setup<'_>) -> Result<()> {
    let mut daemons = Daemons::started(setup.hathi, ClusterOptions::default(), &[])?;
    let client = Client::new(&daemons.conf())?;
    let file = move_below(&client)?;
    let made = climb(&client)?;
    client.mkdir("/later")?;
    for index in daemons.of(Role::NameNode) {
        ensure!(daemons.is_running(Role::NameNode, index), "NameNode {index} has ended");
    }

    daemons.kill_role(Role::NameNode)?;
    daemons.start_role(Role::NameNode)?;
    daemons.wait_until_ready();
    ensure!(client.exists("/later")?, "/later was acknowledged and is gone");
    for id in made {
        ensure!(
            client.exists(&inode(id))?,
            "directory {id} was acknowledged and is gone"
        );
    }
    let status = client.try_wait(PATIENCE, client.fs.status(&inode(file.id)))?;
    let status = status.context("the file is gone")?;
    ensure!(
        !file.closed || status.length == LENGTH as u64,
        "the file was closed with {LENGTH} bytes, and has {}",
        status.length
    );
    Ok(())
}

struct File {
    id: u64,
    closed: bool,
}

/// Moves the parents of an open file below other directories, and these again, before its block is added.
fn move_below(client: &Client) -> Result<File> {
    for first in ["a", "b", "c"] {
        client.mkdir(&long(first))?;
    }
    let path = format!("{}/file", long("a"));
    let mut file = client.try_wait(PATIENCE, client.fs.create(&path, &CreateOptions::default()))?;
    let status = client.try_wait(PATIENCE, client.fs.status(&path))?;
    let id = status.context("the file is gone")?.file_id();
    for (from, to) in [("/a", format!("{}/a", long("b"))), ("/b", format!("{}/b", long("c")))] {
        // A refusal is fine.
        let moved = client.try_wait(PATIENCE, client.fs.rename(from, &to, false));
        eprintln!("a move below {} characters: {moved:?}", to.len());
    }
    let closed = client.try_wait(PATIENCE, async {
        file.write(&[1; LENGTH]).await?;
        file.close().await
    });
    eprintln!("close: {closed:?}");
    Ok(File {
        id,
        closed: closed.is_ok(),
    })
}

/// Makes directories below each other, each by the inode id of its parent, until that is refused. Then it makes and
/// deletes a child of the deepest one. Returns the ids of the directories that must be there.
fn climb(client: &Client) -> Result<Vec<u64>> {
    client.mkdir("/climb")?;
    let mut parent = client
        .try_wait(PATIENCE, client.fs.status("/climb"))?
        .context("it is gone")?
        .file_id();
    let mut made = vec![parent];
    while made.len() < LEVELS {
        let path = format!("{}/{}", inode(parent), "n".repeat(NAME));
        if client
            .try_wait(PATIENCE, client.fs.mkdirs(&path, 0o755, false))
            .is_err()
        {
            break;
        }
        let status = client.try_wait(PATIENCE, client.fs.status(&path))?;
        parent = status.context("a directory is gone")?.file_id();
        made.push(parent);
    }
    let deepest = made.len() - 1;
    for above in made.iter().skip(deepest.saturating_sub(3)) {
        let child = format!("{}/child", inode(*above));
        if client
            .try_wait(PATIENCE, client.fs.mkdirs(&child, 0o755, false))
            .is_ok()
        {
            // A refusal is fine. A deletion of more than the child is not.
            let _ = client.try_wait(PATIENCE, client.fs.delete(&child, true));
        }
    }
    Ok(made)
}

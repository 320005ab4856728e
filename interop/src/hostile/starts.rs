//! Daemons that can't write their log, and directories that belong to others.

use super::client::Client;
use super::{PATIENCE, Setup};
use crate::daemons::Start;
use crate::{ClusterOptions, Daemons, Role, wait_for};
use anyhow::{Result, ensure};

/// No daemon ends when its log is full.
pub(super) fn log_full(setup: &Setup<'_>) -> Result<()> {
    let mut daemons = Daemons::new(setup.hathi, ClusterOptions::default(), &[])?;
    let how = Start {
        log: Some("/dev/full".into()),
        ..Start::default()
    };
    for (role, index) in daemons.all() {
        daemons.start_with(role, index, &how)?;
    }
    let client = Client::new(&daemons.conf())?;
    daemons.wait_until_ready();
    client.mkdir("/before")?;
    let active = daemons.wait_for_active(&[]);
    daemons.kill(Role::NameNode, active)?;
    client.mkdir("/after")?;
    client.write("/file", &[1; 100], 3)?;
    ensure!(client.exists("/before")?, "an acknowledged directory is gone");
    for (role, index) in daemons.all() {
        let killed = (role, index) == (Role::NameNode, active);
        ensure!(killed || daemons.is_running(role, index), "{role:?} {index} has ended");
    }
    Ok(())
}

/// A NameNode serves no directory with an unknown layout, with a layout that needs an upgrade, or of another cluster.
pub(super) fn foreign_directories(setup: &Setup<'_>) -> Result<()> {
    let mut daemons = Daemons::new(setup.hathi, ClusterOptions::default(), &[])?;
    daemons.start_role(Role::JournalNode)?;
    let version = daemons.data_dir(Role::NameNode, 0).join("current/VERSION");
    let own = std::fs::read_to_string(&version)?;
    for (key, value) in [
        ("layoutVersion", "-99"),
        ("layoutVersion", "-63"),
        ("clusterID", "CID-foreign"),
    ] {
        let changed: String = own
            .lines()
            .map(|line| match line.split_once('=') {
                Some((other, _)) if other == key => format!("{key}={value}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        ensure!(changed != own, "no {key} in {own}");
        std::fs::write(&version, changed)?;
        let before = daemons.log(Role::NameNode, 0).len();
        daemons.start(Role::NameNode, 0)?;
        // Until a majority of the JournalNodes has said which journal they hold, it may serve as a standby.
        wait_for(&format!("a refusal of {key}={value}"), PATIENCE, || {
            (!daemons.is_running(Role::NameNode, 0)).then_some(())
        });
        let log = daemons.log(Role::NameNode, 0);
        let said = log.get(before..).unwrap_or_default();
        ensure!(!said.contains("active epoch="), "a NameNode served {key}={value}");
    }
    std::fs::write(&version, own)?;
    daemons.start_all()?;
    daemons.wait_until_ready();
    Ok(())
}

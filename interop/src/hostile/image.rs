//! A checkpoint that is being saved while its transactions are lost.

use super::client::Client;
use super::{PATIENCE, Setup};
use crate::faults::Slow;
use crate::{ClusterOptions, Daemons, Role, wait_for};
use anyhow::{Context, Result, ensure};
use hathi_formats::proto::hdfs;
use hathi_net::ipc::RpcError;
use rustix::process::Signal;
use std::time::Duration;

/// Directories that are acknowledged after the lost ones. There are more of them, so that their transactions go
/// further.
const KEPT: usize = 40;
const LOST: usize = 5;
/// Time within which a NameNode that wrongly publishes an image of lost transactions does so after its sync.
const PUBLISHED: Duration = Duration::from_secs(3);

fn mkdirs(path: &str) -> hdfs::MkdirsRequestProto {
    hdfs::MkdirsRequestProto {
        src: path.to_owned(),
        masked: hdfs::FsPermissionProto { perm: 0o755 },
        create_parent: true,
        unmasked: None,
    }
}

/// The active freezes a namespace with edits that no JournalNode has. It loses its role while the image is being
/// written, and loads another writer's edits before the image is complete.
pub(super) fn of_lost_edits(setup: &Setup<'_>) -> Result<()> {
    let mut daemons = Daemons::started(setup.hathi, ClusterOptions::default(), &[])?;
    let client = Client::new(&daemons.conf())?;
    client.mkdir("/before")?;
    let old = daemons.wait_for_active(&[]);
    let at_old = client.namenode(&daemons, old)?;
    daemons.signal_role(Role::JournalNode, Signal::STOP)?;
    // None of these calls is answered before a majority has its edit.
    let lost: Vec<_> = (0..LOST)
        .map(|number| at_old.call::<_, hdfs::MkdirsResponseProto>("mkdirs", &mkdirs(&format!("/lost-{number}"))))
        .collect();
    let enter = hdfs::SetSafeModeRequestProto {
        action: hdfs::SafeModeActionProto::SafemodeEnter.into(),
        checked: Some(false),
    };
    let entered = at_old.call::<_, hdfs::SetSafeModeResponseProto>("setSafeMode", &enter);
    let image = daemons.faults(Role::NameNode, old);
    let begun = image.begun(Slow::ImageSync)?;
    image.hold(Slow::ImageSync)?;
    let saving = at_old
        .call::<_, hdfs::SaveNamespaceResponseProto>("saveNamespace", &hdfs::SaveNamespaceRequestProto::default());
    wait_for("the image to be at its disk's door", PATIENCE, || {
        (image.begun(Slow::ImageSync).ok()? > begun).then_some(())
    });

    for role in [Role::Zkfc, Role::NameNode] {
        daemons.signal(role, old, Signal::STOP)?;
    }
    // They are killed, so that messages in their sockets are lost.
    daemons.kill_role(Role::JournalNode)?;
    daemons.start_role(Role::JournalNode)?;
    let next = daemons.wait_for_active(&[old]);
    let at_next = client.namenode(&daemons, next)?;
    for number in 0..KEPT {
        let made: Result<hdfs::MkdirsResponseProto, RpcError> =
            client.wait(at_next.call("mkdirs", &mkdirs(&format!("/kept-{number}"))));
        ensure!(made?.result, "mkdirs");
    }
    for role in [Role::NameNode, Role::Zkfc] {
        daemons.signal(role, old, Signal::CONT)?;
    }
    wait_for("the old active as standby", PATIENCE, || {
        (daemons.state(old)? == "standby").then_some(())
    });
    // By now it has loaded the other edits, or waits for its image.
    std::thread::sleep(PUBLISHED);
    daemons.faults(Role::NameNode, old).release(Slow::ImageSync)?;
    // A NameNode that had lost its role before a call came may keep the call for the next active. Then the call counts.
    let acknowledged: Vec<bool> = lost
        .into_iter()
        .map(|call| client.wait(call).is_ok_and(|answer| answer.result))
        .collect();
    let _ = (client.wait(entered), client.wait(saving));
    std::thread::sleep(PUBLISHED);

    daemons.kill_role(Role::Zkfc)?;
    daemons.kill_role(Role::NameNode)?;
    daemons.start(Role::NameNode, old)?;
    daemons.start(Role::Zkfc, old)?;
    let _ = daemons.wait_for_active(&[]);
    let client = Client::new(&daemons.conf())?;
    ensure!(client.exists("/before")?, "/before is gone");
    for number in 0..KEPT {
        ensure!(
            client.exists(&format!("/kept-{number}"))?,
            "/kept-{number} was acknowledged and is gone"
        );
    }
    for (number, acknowledged) in acknowledged.into_iter().enumerate() {
        let there = client.exists(&format!("/lost-{number}")).context("lost")?;
        ensure!(
            there == acknowledged,
            "/lost-{number}: acknowledged {acknowledged}, there {there}"
        );
    }
    Ok(())
}

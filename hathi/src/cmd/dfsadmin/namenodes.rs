//! Commands that every NameNode is given.

use super::safe_mode;
use crate::cmd::haadmin::words::endpoint;
use crate::cmd::namenodes::{connect, of_default_fs};
use crate::cmd::table::Misuse;
use anyhow::{Result, bail};
use hathi_client::FileSystem;
use hathi_conf::Configuration;
use hathi_formats::exceptions;
use hathi_formats::proto::common;
use hathi_formats::proto::hdfs::{self, SafeModeActionProto};
use hathi_net::ipc::protocols::{
    CLIENT_PROTOCOL, REFRESH_AUTHORIZATION_POLICY_PROTOCOL, REFRESH_CALL_QUEUE_PROTOCOL, REFRESH_USER_MAPPINGS_PROTOCOL,
};
use hathi_net::ipc::{Protocol, RpcError};
use prost::Message;
use std::time::Duration;

/// Calls every NameNode, and goes on with the next one when a call fails. Then the command has failed in the end.
/// `said` is given the address, which is empty if there is only one NameNode.
async fn on_each<Q: Message, R: Message + Default>(
    conf: &Configuration,
    protocol: &'static Protocol,
    method: &str,
    request: &Q,
    what: &str,
    said: impl Fn(&R, &str) -> String,
) -> Result<()> {
    let (namenodes, several) = of_default_fs(conf)?;
    let mut failures = Vec::new();
    for namenode in namenodes {
        let address = namenode.rpc.to_string();
        let place = if several {
            format!(" for {}", endpoint(&namenode.rpc, true))
        } else {
            String::new()
        };
        let answer = async {
            let client = connect(conf, &address, protocol).await?;
            Ok::<R, anyhow::Error>(client.call(method, request).await?)
        };
        match answer.await {
            Ok(answer) => println!("{}", said(&answer, &place)),
            // A standby refuses this call, which is no failure (`DFSAdmin.metaSave`).
            Err(error) if method == "metaSave" && is_from_a_standby(&error) => {
                println!("Skip Standby NameNode, since it cannot perform metasave operation");
            }
            Err(error) => {
                eprintln!("{what} failed{place}");
                failures.push(error);
            }
        }
    }
    match failures.len() {
        0 => Ok(()),
        1 => Err(failures.remove(0)),
        several => {
            let texts: Vec<String> = failures.iter().map(java_text).collect();
            bail!("{several} exceptions [{}]", texts.join(", "))
        }
    }
}

/// An exception as Java shows it among others (`MultipleIOException`).
fn java_text(error: &anyhow::Error) -> String {
    match error.downcast_ref::<RpcError>().and_then(RpcError::remote) {
        Some(exception) => {
            let line = exception.message.lines().next().unwrap_or_default();
            format!(
                "org.apache.hadoop.ipc.RemoteException({}): {line}",
                exception.class_name()
            )
        }
        None => format!("{error:#}"),
    }
}

fn is_from_a_standby(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(RpcError::Remote(exception)) if exception.is(exceptions::STANDBY))
}

pub(super) async fn safemode(conf: &Configuration, fs: &FileSystem, action: &str) -> Result<()> {
    let proto = match action {
        "enter" => SafeModeActionProto::SafemodeEnter,
        "leave" => SafeModeActionProto::SafemodeLeave,
        "get" => SafeModeActionProto::SafemodeGet,
        "forceExit" => SafeModeActionProto::SafemodeForceExit,
        "wait" => {
            while safe_mode(fs, SafeModeActionProto::SafemodeGet).await? {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            println!("Safe mode is OFF");
            return Ok(());
        }
        other => bail!(Misuse(format!("unknown action {other}"))),
    };
    let request = hdfs::SetSafeModeRequestProto {
        action: proto.into(),
        checked: Some(false),
    };
    let said = |answer: &hdfs::SetSafeModeResponseProto, place: &str| {
        let place = place.replace(" for ", " in ");
        format!("Safe mode is {}{place}", if answer.result { "ON" } else { "OFF" })
    };
    on_each(conf, &CLIENT_PROTOCOL, "setSafeMode", &request, "Safe mode", said).await
}

pub(super) async fn save_namespace(conf: &Configuration, before_shutdown: bool) -> Result<()> {
    let request = if before_shutdown {
        // It is skipped if the last checkpoint was made within half an hour of the last change.
        hdfs::SaveNamespaceRequestProto {
            time_window: Some(30 * 60),
            tx_gap: Some(0),
        }
    } else {
        hdfs::SaveNamespaceRequestProto {
            time_window: Some(0),
            tx_gap: Some(0),
        }
    };
    let said = |answer: &hdfs::SaveNamespaceResponseProto, place: &str| {
        if answer.saved.unwrap_or(true) {
            format!("Save namespace successful{place}")
        } else {
            format!("No extra checkpoint has been made{place}")
        }
    };
    on_each(
        conf,
        &CLIENT_PROTOCOL,
        "saveNamespace",
        &request,
        "Save namespace",
        said,
    )
    .await
}

pub(super) async fn restore_failed_storage(conf: &Configuration, wanted: &str) -> Result<()> {
    if !["true", "false", "check"].contains(&wanted) {
        bail!(Misuse(
            "restoreFailedStorage valid args are true|false|check".to_owned()
        ));
    }
    let request = hdfs::RestoreFailedStorageRequestProto { arg: wanted.to_owned() };
    let said = |answer: &hdfs::RestoreFailedStorageResponseProto, place: &str| {
        format!("restoreFailedStorage is set to {}{place}", answer.result)
    };
    let what = "restoreFailedStorage";
    on_each(conf, &CLIENT_PROTOCOL, what, &request, what, said).await
}

pub(super) async fn refresh_nodes(conf: &Configuration) -> Result<()> {
    let request = hdfs::RefreshNodesRequestProto {};
    let said = |_: &hdfs::RefreshNodesResponseProto, place: &str| format!("Refresh nodes successful{place}");
    on_each(conf, &CLIENT_PROTOCOL, "refreshNodes", &request, "Refresh nodes", said).await
}

pub(super) async fn meta_save(conf: &Configuration, filename: &str) -> Result<()> {
    let request = hdfs::MetaSaveRequestProto {
        filename: filename.to_owned(),
    };
    let said = |_: &hdfs::MetaSaveResponseProto, place: &str| {
        let place = place.replace(" for ", " of namenode ");
        format!("Created metasave file {filename} in the log directory{place}")
    };
    on_each(conf, &CLIENT_PROTOCOL, "metaSave", &request, "Metasave", said).await
}

pub(super) async fn finalize_upgrade(conf: &Configuration) -> Result<()> {
    let request = hdfs::FinalizeUpgradeRequestProto {};
    let said = |_: &hdfs::FinalizeUpgradeResponseProto, place: &str| format!("Finalize upgrade successful{place}");
    on_each(
        conf,
        &CLIENT_PROTOCOL,
        "finalizeUpgrade",
        &request,
        "Finalize upgrade",
        said,
    )
    .await
}

pub(super) async fn upgrade(conf: &Configuration, action: &str) -> Result<()> {
    match action {
        "finalize" => return finalize_upgrade(conf).await,
        "query" => {}
        other => bail!(Misuse(format!("Failed to convert \"{other}\" to UpgradeAction"))),
    }
    let request = hdfs::UpgradeStatusRequestProto {};
    let said = |answer: &hdfs::UpgradeStatusResponseProto, place: &str| {
        let state = if answer.upgrade_finalized {
            "finalized"
        } else {
            "not finalized"
        };
        format!("Upgrade {state}{place}")
    };
    on_each(
        conf,
        &CLIENT_PROTOCOL,
        "upgradeStatus",
        &request,
        "Getting upgrade status",
        said,
    )
    .await
}

pub(super) async fn refresh_service_acl(conf: &Configuration) -> Result<()> {
    let request = common::RefreshServiceAclRequestProto {};
    let what = "Refresh service acl";
    let said = |_: &common::RefreshServiceAclResponseProto, place: &str| format!("{what} successful{place}");
    let protocol = &REFRESH_AUTHORIZATION_POLICY_PROTOCOL;
    on_each(conf, protocol, "refreshServiceAcl", &request, what, said).await
}

pub(super) async fn refresh_groups(conf: &Configuration) -> Result<()> {
    let request = common::RefreshUserToGroupsMappingsRequestProto {};
    let what = "Refresh user to groups mapping";
    let said = |_: &common::RefreshUserToGroupsMappingsResponseProto, place: &str| format!("{what} successful{place}");
    let protocol = &REFRESH_USER_MAPPINGS_PROTOCOL;
    on_each(conf, protocol, "refreshUserToGroupsMappings", &request, what, said).await
}

pub(super) async fn refresh_proxy_users(conf: &Configuration) -> Result<()> {
    let request = common::RefreshSuperUserGroupsConfigurationRequestProto {};
    let what = "Refresh super user groups configuration";
    let said =
        |_: &common::RefreshSuperUserGroupsConfigurationResponseProto, place: &str| format!("{what} successful{place}");
    let protocol = &REFRESH_USER_MAPPINGS_PROTOCOL;
    on_each(
        conf,
        protocol,
        "refreshSuperUserGroupsConfiguration",
        &request,
        what,
        said,
    )
    .await
}

pub(super) async fn refresh_call_queue(conf: &Configuration) -> Result<()> {
    let request = common::RefreshCallQueueRequestProto {};
    let what = "Refresh call queue";
    let said = |_: &common::RefreshCallQueueResponseProto, place: &str| format!("{what} successful{place}");
    on_each(
        conf,
        &REFRESH_CALL_QUEUE_PROTOCOL,
        "refreshCallQueue",
        &request,
        what,
        said,
    )
    .await
}

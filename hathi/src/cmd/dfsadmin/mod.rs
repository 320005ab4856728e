//! `hathi dfsadmin`: the commands of `hdfs dfsadmin` (`DFSAdmin`), with Hadoop's output and exit codes.

mod active;
pub mod help;
mod namenodes;
mod one;
mod quota;
mod report;
mod table;

use super::invocation::Invocation;
use super::table::{Arguments, Misuse, Row, find, nearest};
use super::waiting::{explained, say_what_is_waited_for};
use anyhow::Result;
use hathi_client::{ClientError, FileSystem};
use hathi_conf::Configuration;
use hathi_formats::proto::hdfs::{self, SafeModeActionProto};
use hathi_net::ipc::{Idempotence, RpcError};
pub(in crate::cmd) use one::byte_desc;
use std::ffi::OsString;
use std::process::ExitCode;
use table::{ROWS, Verb};

/// Exit code for a return value of -1 of Hadoop's tool.
const FAILED: u8 = 255;

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let mut invocation = Invocation::of(args)?;
    let mut words = invocation.words()?.into_iter();
    let Some(command) = words.next() else {
        eprint!("{}", help::usage_of_all());
        return Ok(ExitCode::from(FAILED));
    };
    let Some(row) = find(ROWS, &command) else {
        eprintln!("{}: Unknown command", command.trim_start_matches('-'));
        if let Some(name) = nearest(&command, ROWS.iter().map(|row| row.name)) {
            eprintln!("Did you mean -{name}?");
        }
        eprintln!("dfsadmin -help lists the commands.");
        return Ok(ExitCode::from(FAILED));
    };
    let args = match row.parse(words.collect()) {
        Ok(args) => args,
        Err(misuse) => return Ok(misused(row, &misuse)),
    };
    if row.verb == Verb::Help {
        return Ok(show_help(args.words.first().map(String::as_str)));
    }
    say_what_is_waited_for();
    let conf = invocation.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(dispatch(&conf, row.verb, &args)) {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) if error.is::<Misuse>() => Ok(misused(row, &Misuse(error.to_string()))),
        Err(error) => {
            let text = message(&conf, &error);
            eprintln!("{}: {}", row.name, text.lines().next().unwrap_or_default());
            Ok(ExitCode::from(FAILED))
        }
    }
}

/// What a server said, without the class of its exception, as Hadoop's tool shows it.
fn message(conf: &Configuration, error: &anyhow::Error) -> String {
    let of_client = error.downcast_ref::<ClientError>().and_then(ClientError::remote);
    let remote = of_client.or_else(|| error.downcast_ref::<RpcError>().and_then(RpcError::remote));
    remote.map_or_else(|| explained(conf, error), |remote| remote.message.clone())
}

fn misused(row: &Row<Verb>, misuse: &Misuse) -> ExitCode {
    eprint!("{}: {misuse}\n{}", row.name, help::usage(row));
    ExitCode::from(FAILED)
}

fn show_help(name: Option<&str>) -> ExitCode {
    let bare = name.map(|name| name.trim_start_matches('-'));
    let row = ROWS.iter().find(|row| Some(row.name) == bare);
    match row {
        Some(row) => println!("{}", help::help(row)),
        None => print!("{}", help::help_of_all()),
    }
    ExitCode::SUCCESS
}

async fn dispatch(conf: &Configuration, verb: Verb, Arguments { flags, words }: &Arguments) -> Result<u8> {
    let fs = &FileSystem::new(conf, "", &super::user_name())?;
    let first = words.first().map_or("", String::as_str);
    match verb {
        Verb::Report => report::report(fs, flags).await?,
        Verb::PrintTopology => report::topology(fs).await?,
        Verb::SafeMode => namenodes::safemode(conf, fs, first).await?,
        Verb::SaveNamespace => namenodes::save_namespace(conf, flags.has("beforeShutdown")).await?,
        Verb::RestoreFailedStorage => namenodes::restore_failed_storage(conf, first).await?,
        Verb::RefreshNodes => namenodes::refresh_nodes(conf).await?,
        Verb::MetaSave => namenodes::meta_save(conf, first).await?,
        Verb::FinalizeUpgrade => namenodes::finalize_upgrade(conf).await?,
        Verb::Upgrade => namenodes::upgrade(conf, first).await?,
        Verb::RefreshServiceAcl => namenodes::refresh_service_acl(conf).await?,
        Verb::RefreshUserToGroupsMappings => namenodes::refresh_groups(conf).await?,
        Verb::RefreshSuperUserGroupsConfiguration => namenodes::refresh_proxy_users(conf).await?,
        Verb::RefreshCallQueue => namenodes::refresh_call_queue(conf).await?,
        Verb::SetQuota | Verb::ClrQuota | Verb::SetSpaceQuota | Verb::ClrSpaceQuota => {
            quota::quota(fs, verb, words).await?;
        }
        Verb::RollEdits => active::roll_edits(fs).await?,
        Verb::SetBalancerBandwidth => active::set_balancer_bandwidth(fs, first).await?,
        Verb::RollingUpgrade => active::rolling_upgrade(fs, words.first().map(String::as_str)).await?,
        Verb::ListOpenFiles => active::list_open_files(fs, flags).await?,
        Verb::FetchImage => active::fetch_image(conf, first).await?,
        Verb::AllowSnapshot => active::allow_snapshot(fs, first).await?,
        Verb::DisallowSnapshot => active::disallow_snapshot(fs, first).await?,
        Verb::ProvisionSnapshotTrash => active::provision_snapshot_trash(fs, words).await?,
        Verb::Refresh => return one::refresh(conf, words).await,
        Verb::Reconfig => return one::reconfig(conf, fs, words).await,
        Verb::RefreshNamenodes => one::refresh_namenodes(conf, first).await?,
        Verb::GetVolumeReport => one::volume_report(conf, first).await?,
        Verb::DeleteBlockPool => one::delete_block_pool(conf, words).await?,
        Verb::GetBalancerBandwidth => one::balancer_bandwidth(conf, first).await?,
        Verb::ShutdownDatanode => one::shutdown(conf, words).await?,
        Verb::EvictWriters => one::evict_writers(conf, first).await?,
        Verb::GetDatanodeInfo => one::datanode_info(conf, first).await?,
        Verb::TriggerBlockReport => one::trigger_block_report(conf, words).await?,
        // It is answered before there is a configuration.
        Verb::Help => {}
    }
    Ok(0)
}

async fn safe_mode(fs: &FileSystem, action: SafeModeActionProto) -> Result<bool> {
    let request = hdfs::SetSafeModeRequestProto {
        action: action.into(),
        checked: Some(false),
    };
    let answer: hdfs::SetSafeModeResponseProto = fs.call("setSafeMode", &request, Idempotence::Idempotent).await?;
    Ok(answer.result)
}

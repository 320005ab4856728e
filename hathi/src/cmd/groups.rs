//! `hathi groups [USER...]`: the groups of users as the NameNode knows them (`GetGroups`).

use super::invocation::Invocation;
use super::waiting::{explained, say_what_is_waited_for};
use anyhow::Result;
use hathi_conf::Configuration;
use hathi_formats::proto::common::{GetGroupsForUserRequestProto, GetGroupsForUserResponseProto};
use hathi_net::ipc::Idempotence;
use hathi_net::ipc::protocols::GET_USER_MAPPINGS_PROTOCOL;
use std::ffi::OsString;
use std::process::ExitCode;

/// How the command is used.
pub fn usage() -> String {
    "Usage: hdfs groups [username ...]\nPrints the groups of users, or of the current user, as the NameNode knows them.\n"
        .to_owned()
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    say_what_is_waited_for();
    let mut invocation = Invocation::of(args)?;
    let mut users = invocation.words()?;
    if users.is_empty() {
        users.push(super::user_name());
    }
    let conf = invocation.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shown = runtime.block_on(show(&conf, users));
    shown.map_err(|error| anyhow::anyhow!(explained(&conf, &error)))?;
    Ok(ExitCode::SUCCESS)
}

async fn show(conf: &Configuration, users: Vec<String>) -> Result<()> {
    let proxy = hathi_client::connect(conf, "", &super::user_name(), &GET_USER_MAPPINGS_PROTOCOL)?;
    for user in users {
        let request = GetGroupsForUserRequestProto { user: user.clone() };
        let answer: GetGroupsForUserResponseProto = proxy
            .call("getGroupsForUser", &request, Idempotence::Idempotent)
            .await?;
        println!("{}", [vec![format!("{user} :")], answer.groups].concat().join(" "));
    }
    Ok(())
}

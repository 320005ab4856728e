//! The small administration protocols beside `ClientProtocol`: group look-up and the refreshes.

use super::{answer, wire};
use crate::Namesystem;
use crate::context::{CallContext, Deferred, Reply, Verb};
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::common::{
    GenericRefreshRequestProto, GetGroupsForUserRequestProto, GetGroupsForUserResponseProto,
};

/// The handler of a method of one of these protocols.
pub(super) fn lookup(protocol: &str, method: &str) -> Option<Verb> {
    match (protocol, method) {
        ("org.apache.hadoop.tools.GetUserMappingsProtocol", "getGroupsForUser") => {
            Some(Verb::Read(get_groups_for_user))
        }
        (
            "org.apache.hadoop.security.RefreshUserMappingsProtocol",
            "refreshUserToGroupsMappings" | "refreshSuperUserGroupsConfiguration",
        )
        | (
            "org.apache.hadoop.security.authorize.RefreshAuthorizationPolicyProtocol",
            "refreshServiceAcl",
        )
        | ("org.apache.hadoop.ipc.RefreshCallQueueProtocol", "refreshCallQueue") => {
            Some(Verb::Read(nothing_to_refresh))
        }
        ("org.apache.hadoop.ipc.GenericRefreshProtocol", "refresh") => Some(Verb::Read(refresh)),
        _ => None,
    }
}

/// `getGroupsForUser`: one's own groups came with the call; another user's are looked up by the shell.
fn get_groups_for_user(_: &Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    match wire::decode::<GetGroupsForUserRequestProto>(&body) {
        Err(refused) => Reply::refuse(refused),
        Ok(request) if *request.user == *ctx.user => {
            Reply::message(&GetGroupsForUserResponseProto {
                groups: ctx.groups.to_vec(),
            })
        }
        Ok(request) => Reply::defer(Deferred::GroupsOfUser(request.user)),
    }
}

/// Groups, service authorization and queues are not kept, so the next call sees what is configured.
fn nothing_to_refresh(_: &Namesystem, _: &CallContext, _: Bytes) -> Reply {
    answer(wire::EMPTY, None)
}

/// `GenericRefreshProtocol.refresh`: no handler is registered under any identifier (`RefreshRegistry.dispatch`).
fn refresh(_: &Namesystem, _: &CallContext, body: Bytes) -> Reply {
    match wire::decode::<GenericRefreshRequestProto>(&body) {
        Err(refused) => Reply::refuse(refused),
        Ok(request) => Reply::refuse(RemoteException::new(
            exceptions::ILLEGAL_ARGUMENT,
            format!(
                "Identifier '{}' does not exist in RefreshRegistry. Valid options are: ",
                request.identifier()
            ),
        )),
    }
}

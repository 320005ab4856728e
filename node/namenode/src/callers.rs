//! Who calls: users and their groups, what they may do, and from where they call.

use crate::clock::Clock;
use crate::origin::Origin;
use crate::passes::Passes;
use crate::settings::Settings;
use hathi_conf::ConfError;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_namesystem::CallContext;
use hathi_net::auth::{Authorizer, Groups, GroupsOptions, Identity};
use hathi_net::ipc::RpcCall;
use std::sync::Arc;

/// The exception for a slow directory service. A refusal for a missing group would be wrong and final.
#[must_use]
pub fn not_known_yet(user: &str) -> RemoteException {
    RemoteException::new(
        exceptions::RETRIABLE,
        format!("The groups of user {user} are not known yet"),
    )
}

/// See the module.
pub struct Callers {
    clock: Clock,
    groups: Groups,
    authorizer: Arc<Authorizer>,
    passes: Arc<Passes>,
    /// Users whose calls name the clients they stand for (`dfs.namenode.ip-proxy-users`).
    ip_proxy_users: Vec<String>,
}

impl Callers {
    /// Of the process `instance`.
    ///
    /// # Errors
    /// The configuration has a value that does not parse.
    pub fn new(settings: &Settings, instance: &str, clock: Clock) -> Result<Callers, ConfError> {
        let options = GroupsOptions::of(&settings.conf, &settings.user)?;
        let groups_clock = clock.clone();
        let groups = Groups::new(options, move || groups_clock.ms());
        let authorizer = Arc::new(Authorizer::of(&settings.conf, groups.clone())?);
        let passes = Arc::new(Passes::new(settings, instance));
        let believed = passes.clone();
        authorizer.believe(move |said| believed.is_own(said));
        Ok(Callers {
            clock,
            groups,
            authorizer,
            passes,
            ip_proxy_users: settings.ip_proxy_users.clone(),
        })
    }

    /// Groups of users.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Decides who may use which protocol, from where, and in whose name.
    #[must_use]
    pub fn authorizer(&self) -> &Arc<Authorizer> {
        &self.authorizer
    }

    /// Passes by which NameNodes know each other.
    #[must_use]
    pub fn passes(&self) -> &Arc<Passes> {
        &self.passes
    }

    /// The caller of an RPC for the handlers. `None` while its groups are being asked for.
    #[must_use]
    pub fn context(&self, call: &RpcCall) -> Option<CallContext> {
        let now_ms = self.clock.ms();
        let Identity {
            user,
            groups,
            superuser,
        } = self.groups.get(&call.user.user, now_ms)?;
        let origin = Origin::of(call, &self.ip_proxy_users, self.passes.instance());
        Some(CallContext {
            user,
            groups,
            superuser,
            client_ip: Some(origin.ip),
            client_id: origin.client_id.as_slice().into(),
            call_id: origin.call_id,
            retry_count: call.retry_count,
            passed_on: origin.passed_on,
            now_ms: self.clock.wall_ms(),
            mono_ms: now_ms,
        })
    }

    /// Refuses a caller that is not a superuser.
    pub fn check_superuser(&self, call: &RpcCall) -> Result<(), RemoteException> {
        match self.context(call) {
            Some(context) => context.check_superuser(),
            None => Err(not_known_yet(&call.user.user)),
        }
    }
}

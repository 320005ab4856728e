//! Delegation tokens (`FSNamesystem.getDelegationToken`, `renewDelegationToken`, `cancelDelegationToken`).
//!
//! Without Kerberos a token proves nothing that its owner could not say without it. So tokens are issued only with
//! `dfs.namenode.delegation.token.always-use`, as in Hadoop. Those in the namespace can be renewed and cancelled in any
//! case.

use super::border::{Answer, Outcome};
use super::{io, no_safe_mode};
use crate::Namesystem;
use crate::context::CallContext;
use crate::secrets::is_password;
use hathi_formats::editlog::{DELEGATION_TOKEN_KIND, DelegationTokenIdentifier, EditOp, short_name};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::common::{
    CancelDelegationTokenRequestProto, CancelDelegationTokenResponseProto, GetDelegationTokenRequestProto,
    GetDelegationTokenResponseProto, RenewDelegationTokenRequestProto, RenewDelegationTokenResponseProto, TokenProto,
};

/// The longest name of a renewer, in bytes: each token keeps it in memory and in every image.
const RENEWER_BYTES_MAX: usize = 1024;

/// `getDelegationToken`: null while no tokens are issued, as without a running secret manager.
pub fn get_delegation_token(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: GetDelegationTokenRequestProto,
) -> Outcome<GetDelegationTokenResponseProto> {
    no_safe_mode(ns, || "Cannot issue delegation token".to_owned())?;
    if request.renewer.len() > RENEWER_BYTES_MAX {
        return Err(io(format!("A renewer's name is longer than {RENEWER_BYTES_MAX} bytes")));
    }
    let issued = ns.issue_token(&ctx.user, short_name(&request.renewer), ctx.now_ms)?;
    let after = issued.as_ref().map(|_| ns.edit_log().applied());
    let token = issued.map(|(identifier, password)| TokenProto {
        identifier: identifier.into(),
        password: password.into(),
        kind: DELEGATION_TOKEN_KIND.to_owned(),
        // The client knows by which name it calls this nameservice.
        service: String::new(),
    });
    Ok(Answer::new(GetDelegationTokenResponseProto { token }, after))
}

fn decoded(token: &TokenProto) -> Result<DelegationTokenIdentifier, RemoteException> {
    DelegationTokenIdentifier::from_bytes(&token.identifier)
        .map_err(|error| io(format!("The identifier of the delegation token is damaged: {error}")))
}

fn invalid(why: String) -> RemoteException {
    RemoteException::new(exceptions::INVALID_TOKEN, why)
}

fn denied(why: String) -> RemoteException {
    RemoteException::new(exceptions::ACCESS_CONTROL, why)
}

/// `renewDelegationToken`: by the renewer that the owner named.
pub fn renew_delegation_token(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: RenewDelegationTokenRequestProto,
) -> Outcome<RenewDelegationTokenResponseProto> {
    no_safe_mode(ns, || "Cannot renew delegation token".to_owned())?;
    let token = decoded(&request.token)?;
    let renewer = short_name(&ctx.user);
    let now = i64::try_from(ctx.now_ms).unwrap_or(i64::MAX);
    if token.max_date < now {
        return Err(invalid(format!(
            "{renewer} tried to renew an expired token ({token}) max expiration date: {} currentTime: {now}",
            token.max_date
        )));
    }
    if token.renewer.is_empty() {
        return Err(denied(format!(
            "{renewer} tried to renew a token ({token}) without a renewer"
        )));
    }
    if token.renewer != renewer {
        return Err(denied(format!(
            "{renewer} tries to renew a token ({token}) with non-matching renewer {}",
            token.renewer
        )));
    }
    let Some(key) = ns.namespace().master_key(token.master_key_id) else {
        return Err(invalid(format!(
            "Unable to find master key for keyId={} from cache. Failed to renew an unexpired token ({token}) with \
             sequenceNumber={}",
            token.master_key_id, token.sequence_number
        )));
    };
    if !is_password(&request.token.identifier, key, &request.token.password) {
        return Err(denied(format!(
            "{renewer} is trying to renew a token ({token}) with wrong password"
        )));
    }
    if !ns.namespace().has_token(&token) {
        return Err(invalid(format!("Renewal request for unknown token ({token})")));
    }
    let interval = i64::try_from(ns.config.secrets.token_renew_interval_ms).unwrap_or(i64::MAX);
    let expiry_time = token.max_date.min(now.saturating_add(interval));
    let after = ns.commit(&[EditOp::RenewDelegationToken { token, expiry_time }])?;
    let new_expiry_time = u64::try_from(expiry_time).unwrap_or(0);
    Ok(Answer::new(
        RenewDelegationTokenResponseProto { new_expiry_time },
        after,
    ))
}

/// `cancelDelegationToken`: by the owner or the renewer.
pub fn cancel_delegation_token(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: CancelDelegationTokenRequestProto,
) -> Outcome<CancelDelegationTokenResponseProto> {
    no_safe_mode(ns, || "Cannot cancel delegation token".to_owned())?;
    let token = decoded(&request.token)?;
    if token.owner.is_empty() {
        return Err(invalid(format!("Token with no owner ({token})")));
    }
    let is_renewer = !token.renewer.is_empty() && short_name(&ctx.user) == token.renewer;
    if *ctx.user != *token.owner && !is_renewer {
        return Err(denied(format!(
            "{} is not authorized to cancel the token ({token})",
            ctx.user
        )));
    }
    if !ns.namespace().has_token(&token) {
        return Err(invalid(format!("Token not found ({token})")));
    }
    let after = ns.commit(&[EditOp::CancelDelegationToken { token }])?;
    Ok(Answer::new(CancelDelegationTokenResponseProto {}, after))
}

//! Features that this NameNode does not have. Reads answer as Hadoop's NameNode does when nobody uses the feature.
//! Changes are refused, with Hadoop's exception for a feature that is switched off where there is one.

use super::border::{Answer, Anything, Never, Outcome};
use super::no_safe_mode;
use crate::Namesystem;
use crate::context::CallContext;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::common::GetDelegationTokenResponseProto;
use hathi_formats::proto::hdfs::{GetDataEncryptionKeyRequestProto, GetDataEncryptionKeyResponseProto};

// --- delegation tokens: security is off ---

/// `getDelegationToken`: null, as without a running secret manager.
pub fn get_delegation_token(
    ns: &mut Namesystem,
    _: &CallContext,
    _: Anything,
) -> Outcome<GetDelegationTokenResponseProto> {
    no_safe_mode(ns, || "Cannot issue delegation token".to_owned())?;
    Ok(Answer::new(GetDelegationTokenResponseProto::default(), None))
}

/// `renewDelegationToken`, `cancelDelegationToken`: no token was ever issued.
pub fn unknown_delegation_token(_: &mut Namesystem, _: &CallContext, _: Anything) -> Outcome<Never> {
    Err(RemoteException::new(
        exceptions::INVALID_TOKEN,
        "Renewal or cancellation of a non-existent token",
    ))
}

/// `getDataEncryptionKey`: absent, data transfer is not encrypted.
pub fn get_data_encryption_key(
    _: &Namesystem,
    _: &CallContext,
    _: GetDataEncryptionKeyRequestProto,
) -> Outcome<GetDataEncryptionKeyResponseProto> {
    Ok(Answer::new(GetDataEncryptionKeyResponseProto::default(), None))
}

// --- storage policy satisfier ---

/// `satisfyStoragePolicy`: `dfs.storage.policy.satisfier.mode` is `none`, as is Hadoop's default.
pub fn satisfy_storage_policy(_: &mut Namesystem, _: &CallContext, _: Anything) -> Outcome<Never> {
    Err(RemoteException::new(
        exceptions::UNSUPPORTED_OPERATION,
        "Cannot request to satisfy storage policy when storage policy satisfier feature has been disabled by admin. \
             Seek for an admin help to enable it or use Mover tool.",
    ))
}

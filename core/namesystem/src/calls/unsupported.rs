//! Features that this NameNode does not have. Reads answer as Hadoop's NameNode does when nobody uses the feature.
//! Changes are refused, with Hadoop's exception for a feature that is switched off where there is one.

use super::border::{Answer, Anything, Never, Outcome};
use super::{caller, io, no_safe_mode, shown_path};
use crate::Namesystem;
use crate::context::CallContext;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::common::GetDelegationTokenResponseProto;
use hathi_formats::proto::hdfs::{
    CreateEncryptionZoneRequestProto, GetDataEncryptionKeyRequestProto, GetDataEncryptionKeyResponseProto,
    GetEzForPathRequestProto, GetEzForPathResponseProto, ListEncryptionZonesRequestProto,
    ListEncryptionZonesResponseProto, ListReencryptionStatusRequestProto, ListReencryptionStatusResponseProto,
};

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

// --- encryption zones: no key provider ---

/// `createEncryptionZone`
pub fn create_encryption_zone(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: CreateEncryptionZoneRequestProto,
) -> Outcome<Never> {
    ctx.check_superuser_for(ns, "createEncryptionZone")?;
    Err(io(format!(
        "Can't create an encryption zone for {} since no key provider is available.",
        request.src
    )))
}

/// `reencryptEncryptionZone`
pub fn reencrypt_encryption_zone(ns: &mut Namesystem, ctx: &CallContext, _: Anything) -> Outcome<Never> {
    ctx.check_superuser_for(ns, "reencryptEncryptionZone")?;
    Err(io("No key provider configured, re-encryption operation is rejected"))
}

/// `listEncryptionZones`
pub fn list_encryption_zones(
    ns: &Namesystem,
    ctx: &CallContext,
    _: ListEncryptionZonesRequestProto,
) -> Outcome<ListEncryptionZonesResponseProto> {
    ctx.check_superuser_for(ns, "listEncryptionZones")?;
    Ok(Answer::new(ListEncryptionZonesResponseProto::default(), None))
}

/// `listReencryptionStatus`
pub fn list_reencryption_status(
    ns: &Namesystem,
    ctx: &CallContext,
    _: ListReencryptionStatusRequestProto,
) -> Outcome<ListReencryptionStatusResponseProto> {
    ctx.check_superuser_for(ns, "listReencryptionStatus")?;
    Ok(Answer::new(ListReencryptionStatusResponseProto::default(), None))
}

/// `getEZForPath`: none.
pub fn get_ez_for_path(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetEzForPathRequestProto,
) -> Outcome<GetEzForPathResponseProto> {
    let iip = ns.namespace().resolve(&request.src)?;
    ns.namespace().check_traverse(&caller(ctx), &iip)?;
    Ok(Answer::new(GetEzForPathResponseProto::default(), shown_path(ns, &iip)))
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

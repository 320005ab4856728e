//! Features that this NameNode does not have. Reads answer as Hadoop's NameNode does when nobody uses the feature.
//! Changes are refused, with Hadoop's exception for a feature that is switched off where there is one.

use super::{caller, io, no_safe_mode, reading, shown_path, superuser, unsupported, writing};
use crate::context::{CallContext, Reply};
use crate::{Namesystem, OperationCategory};
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::common::GetDelegationTokenResponseProto;
use hathi_formats::proto::hdfs::{
    AllowSnapshotRequestProto, CodecProto, CreateEncryptionZoneRequestProto, EcTopologyVerifierResultProto,
    GetDataEncryptionKeyRequestProto, GetDataEncryptionKeyResponseProto, GetEcTopologyResultForPoliciesRequestProto,
    GetEcTopologyResultForPoliciesResponseProto, GetErasureCodingCodecsRequestProto,
    GetErasureCodingCodecsResponseProto, GetErasureCodingPolicyRequestProto, GetErasureCodingPolicyResponseProto,
    GetEzForPathRequestProto, GetEzForPathResponseProto, GetSnapshotListingRequestProto,
    ListEncryptionZonesRequestProto, ListEncryptionZonesResponseProto, ListReencryptionStatusRequestProto,
    ListReencryptionStatusResponseProto, UnsetErasureCodingPolicyRequestProto,
};

/// A message whose only interesting field is the first one, a path.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PathOnly {
    #[prost(string, tag = "1")]
    path: String,
}

/// A message whose fields do not matter.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Anything {}

// --- delegation tokens: security is off ---

/// `getDelegationToken`: null, as without a running secret manager.
pub(super) fn get_delegation_token(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    writing(ns, ctx, &body, OperationCategory::Write, |ns, _, _: Anything| {
        no_safe_mode(ns, || "Cannot issue delegation token".to_owned())?;
        Ok(Reply::message(&GetDelegationTokenResponseProto::default()))
    })
}

/// `renewDelegationToken`, `cancelDelegationToken`: no token was ever issued.
pub(super) fn unknown_delegation_token(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    writing(ns, ctx, &body, OperationCategory::Write, |_, _, _: Anything| {
        Err(RemoteException::new(
            exceptions::INVALID_TOKEN,
            "Renewal or cancellation of a non-existent token",
        ))
    })
}

/// `getDataEncryptionKey`: absent, data transfer is not encrypted.
pub(super) fn get_data_encryption_key(ns: &Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    reading(
        ns,
        ctx,
        &body,
        OperationCategory::Unchecked,
        |_, _, _: GetDataEncryptionKeyRequestProto| Ok(Reply::message(&GetDataEncryptionKeyResponseProto::default())),
    )
}

// --- snapshots ---

/// `allowSnapshot`
pub(super) fn allow_snapshot(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    writing(
        ns,
        ctx,
        &body,
        OperationCategory::Write,
        |ns, ctx, _: AllowSnapshotRequestProto| {
            superuser(ns, ctx, "allowSnapshot")?;
            Err(ns.namespace.snapshots_refused())
        },
    )
}

fn not_snapshottable(path: &str) -> RemoteException {
    RemoteException::new(
        exceptions::SNAPSHOT,
        format!("Directory is not a snapshottable directory: {path}"),
    )
}

/// `createSnapshot`, `renameSnapshot`, `deleteSnapshot`
pub(super) fn change_snapshot(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    writing(ns, ctx, &body, OperationCategory::Write, |_, _, request: PathOnly| {
        Err(not_snapshottable(&request.path))
    })
}

/// `getSnapshotListing`, `getSnapshotDiffReport`, `getSnapshotDiffReportListing`
pub(super) fn read_snapshot(ns: &Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    reading(
        ns,
        ctx,
        &body,
        OperationCategory::Read,
        |_, _, request: GetSnapshotListingRequestProto| Err(not_snapshottable(&request.snapshot_root)),
    )
}

// --- encryption zones: no key provider ---

/// `createEncryptionZone`
pub(super) fn create_encryption_zone(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    writing(
        ns,
        ctx,
        &body,
        OperationCategory::Write,
        |ns, ctx, request: CreateEncryptionZoneRequestProto| {
            superuser(ns, ctx, "createEncryptionZone")?;
            Err(io(format!(
                "Can't create an encryption zone for {} since no key provider is available.",
                request.src
            )))
        },
    )
}

/// `reencryptEncryptionZone`
pub(super) fn reencrypt_encryption_zone(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    writing(ns, ctx, &body, OperationCategory::Write, |ns, ctx, _: Anything| {
        superuser(ns, ctx, "reencryptEncryptionZone")?;
        Err(io("No key provider configured, re-encryption operation is rejected"))
    })
}

/// `listEncryptionZones`
pub(super) fn list_encryption_zones(ns: &Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    reading(
        ns,
        ctx,
        &body,
        OperationCategory::Read,
        |ns, ctx, _: ListEncryptionZonesRequestProto| {
            superuser(ns, ctx, "listEncryptionZones")?;
            Ok(Reply::message(&ListEncryptionZonesResponseProto::default()))
        },
    )
}

/// `listReencryptionStatus`
pub(super) fn list_reencryption_status(ns: &Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    reading(
        ns,
        ctx,
        &body,
        OperationCategory::Read,
        |ns, ctx, _: ListReencryptionStatusRequestProto| {
            superuser(ns, ctx, "listReencryptionStatus")?;
            Ok(Reply::message(&ListReencryptionStatusResponseProto::default()))
        },
    )
}

/// `getEZForPath`: none.
pub(super) fn get_ez_for_path(ns: &Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    reading(
        ns,
        ctx,
        &body,
        OperationCategory::Read,
        |ns, ctx, request: GetEzForPathRequestProto| {
            let iip = ns.namespace.resolve(&request.src)?;
            ns.namespace.check_traverse(&caller(ctx), &iip)?;
            Ok(Reply::message(&GetEzForPathResponseProto::default()).after(shown_path(ns, &iip)))
        },
    )
}

// --- erasure coding: no directory and no file has a policy ---

/// `getErasureCodingPolicy`: none.
pub(super) fn get_erasure_coding_policy(ns: &Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    reading(
        ns,
        ctx,
        &body,
        OperationCategory::Read,
        |ns, ctx, request: GetErasureCodingPolicyRequestProto| {
            let iip = ns.namespace.resolve(&request.src)?;
            ns.namespace.check_traverse(&caller(ctx), &iip)?;
            if !iip.exists() {
                return Err(RemoteException::new(
                    exceptions::FILE_NOT_FOUND,
                    format!("Path not found: {}", request.src),
                ));
            }
            Ok(Reply::message(&GetErasureCodingPolicyResponseProto::default()).after(shown_path(ns, &iip)))
        },
    )
}

/// `getErasureCodingCodecs`
pub(super) fn get_erasure_coding_codecs(ns: &Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    reading(
        ns,
        ctx,
        &body,
        OperationCategory::Read,
        |_, _, _: GetErasureCodingCodecsRequestProto| {
            let codec = [
                ("rs", "rs_native, rs_java"),
                ("rs-legacy", "rs-legacy_java"),
                ("xor", "xor_native, xor_java"),
            ]
            .map(|(codec, coders)| CodecProto {
                codec: codec.to_owned(),
                coders: coders.to_owned(),
            })
            .to_vec();
            Ok(Reply::message(&GetErasureCodingCodecsResponseProto { codec }))
        },
    )
}

/// `getECTopologyResultForPolicies`
pub(super) fn get_ec_topology_result(ns: &Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    reading(
        ns,
        ctx,
        &body,
        OperationCategory::Unchecked,
        |ns, ctx, request: GetEcTopologyResultForPoliciesRequestProto| {
            superuser(ns, ctx, "getECTopologyResultForPolicies")?;
            let response = if request.policies.is_empty() {
                EcTopologyVerifierResultProto {
                    result_message: "No erasure coding policy is given.".to_owned(),
                    is_supported: true,
                }
            } else {
                EcTopologyVerifierResultProto {
                    result_message: "Erasure coding is not supported by this NameNode".to_owned(),
                    is_supported: false,
                }
            };
            Ok(Reply::message(&GetEcTopologyResultForPoliciesResponseProto {
                response,
            }))
        },
    )
}

/// `setErasureCodingPolicy`, `enableErasureCodingPolicy` and the other changes of erasure coding.
pub(super) fn change_erasure_coding(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    writing(ns, ctx, &body, OperationCategory::Write, |_, _, _: Anything| {
        Err(unsupported("Erasure coding"))
    })
}

/// `unsetErasureCodingPolicy`: no directory has one.
pub(super) fn unset_erasure_coding_policy(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    writing(
        ns,
        ctx,
        &body,
        OperationCategory::Write,
        |_, _, request: UnsetErasureCodingPolicyRequestProto| {
            Err(RemoteException::new(
                exceptions::NO_EC_POLICY_SET,
                format!("No erasure coding policy is set on {}", request.src),
            ))
        },
    )
}

// --- storage policy satisfier ---

/// `satisfyStoragePolicy`: `dfs.storage.policy.satisfier.mode` is `none`, as is Hadoop's default.
pub(super) fn satisfy_storage_policy(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    writing(ns, ctx, &body, OperationCategory::Write, |_, _, _: Anything| {
        Err(RemoteException::new(
            exceptions::UNSUPPORTED_OPERATION,
            "Cannot request to satisfy storage policy when storage policy satisfier feature has been disabled by admin. \
             Seek for an admin help to enable it or use Mover tool.",
        ))
    })
}

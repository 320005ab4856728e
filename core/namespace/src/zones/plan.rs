//! Plans that make zones, give new files their keys, and begin and end re-encryptions.

use std::sync::Arc;

use hathi_formats::editlog::{EditOp, XAttr};
use hathi_formats::exceptions as ex;
use hathi_formats::kms::EncryptedKey;
use hathi_formats::proto::hdfs::{PerFileEncryptionInfoProto, ReencryptionInfoProto, ZoneEncryptionInfoProto};

use super::{Encryption, FILE_XATTR, ZONE_XATTR, Zone, raw_xattr};
use crate::namespace::Namespace;
use crate::path::{DirOp, InodesInPath, refuse};
use crate::store::slab::Slot;
use crate::types::{Ctx, Plan, Refused};
use crate::view::View;

/// `CryptoProtocolVersion.ENCRYPTION_ZONES`, the one that there is.
const ENCRYPTION_ZONES: i32 = 2;
/// `CryptoProtocolVersion.values()` as Java shows it.
const VERSIONS: &str = "[CryptoProtocolVersion{description='Unknown', version=1, unknownValue=null}, \
                        CryptoProtocolVersion{description='Encryption zones', version=2, unknownValue=null}]";

/// The attribute of the file that gets this key.
pub(crate) fn key_xattr(key: &EncryptedKey) -> XAttr {
    let info = PerFileEncryptionInfoProto {
        key: key.material.clone().into(),
        iv: key.iv.clone().into(),
        ez_key_version_name: key.version_name.clone(),
    };
    raw_xattr(FILE_XATTR, &info)
}

/// Where plans get keys for new files.
pub trait FileKeys {
    /// A key that nobody has, encrypted with the key of this name. `None` when none is at hand: some must be asked for first,
    /// which takes longer than anybody may hold the lock.
    fn key(&self, key_name: &str) -> Option<EncryptedKey>;
}

/// What `create` needs beyond its request if the file is in a zone.
#[derive(Clone, Copy)]
pub struct Crypto<'a> {
    /// `CryptoProtocolVersionProto`: what the client can do.
    pub versions: &'a [i32],
    /// `None` without a key provider.
    pub keys: Option<&'a dyn FileKeys>,
}

impl Crypto<'static> {
    /// Of a client that knows no encryption, at a NameNode that has no keys.
    pub const NONE: Crypto<'static> = Crypto {
        versions: &[],
        keys: None,
    };
}

/// How Java shows a list of the versions that a client names.
fn shown(versions: &[i32]) -> String {
    let one = |version: &i32| match *version {
        ENCRYPTION_ZONES => {
            "CryptoProtocolVersion{description='Encryption zones', version=2, unknownValue=null}".to_owned()
        }
        1 => "CryptoProtocolVersion{description='Unknown', version=1, unknownValue=null}".to_owned(),
        other => format!("CryptoProtocolVersion{{description='Unknown', version=1, unknownValue={other}}}"),
    };
    let all: Vec<String> = versions.iter().map(one).collect();
    format!("[{}]", all.join(", "))
}

impl Namespace {
    /// The zone in which a new file is, once it is sure that the client can write there (`getEncryptionKeyInfo`,
    /// `chooseProtocolVersion`). None below `/.reserved/raw`, where bytes are written that were encrypted before.
    ///
    /// Hadoop's NameNode without a key provider lets the client write a file of plain text into the zone. Here that is
    /// refused.
    pub(crate) fn zone_for_new_file(
        &self,
        iip: &InodesInPath<'_>,
        crypto: &Crypto<'_>,
    ) -> Result<Option<Arc<Zone>>, Refused> {
        if iip.raw || !self.has_zones() {
            return Ok(None);
        }
        let Some(zone_at) = self.zone_of(iip) else {
            return Ok(None);
        };
        let zone = zone_at.zone;
        if crypto.keys.is_none() {
            return Err(refuse(
                ex::IO,
                format!(
                    "Cannot create file {} in encryption zone {}: no key provider is configured \
                     (hadoop.security.key.provider.path)",
                    iip.path(),
                    zone_at.path
                ),
            ));
        }
        if !crypto.versions.contains(&zone.version()) {
            return Err(refuse(
                ex::UNKNOWN_CRYPTO_PROTOCOL_VERSION,
                format!(
                    "No crypto protocol versions provided by the client are supported. Client provided: {} NameNode \
                     supports: {VERSIONS}",
                    shown(crypto.versions)
                ),
            ));
        }
        Ok(Some(zone))
    }

    /// `createEncryptionZone`, once the key is known to exist. `suite` is a `CipherSuiteProto`.
    pub fn plan_create_zone(&self, ctx: &Ctx<'_>, src: &str, suite: i32, key_name: &str) -> Result<Plan<()>, Refused> {
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        iip.check_is_present()?;
        let slot = self.existing_slot(&iip)?;
        let path = iip.path();
        if !self.rec(slot).is_dir() {
            return Err(refuse(ex::IO, "Attempt to create an encryption zone for a file."));
        }
        if self.zone_at(slot).is_some() {
            return Err(refuse(
                ex::IO,
                format!("Directory {path} is already an encryption zone."),
            ));
        }
        if self.child_count(slot) > 0 {
            return Err(refuse(
                ex::IO,
                "Attempt to create an encryption zone for a non-empty directory.",
            ));
        }
        let info = ZoneEncryptionInfoProto {
            suite,
            crypto_protocol_version: ENCRYPTION_ZONES,
            key_name: key_name.to_owned(),
            reencryption_proto: None,
        };
        Ok(Plan::one(
            EditOp::SetXAttr {
                src: path,
                xattrs: vec![raw_xattr(ZONE_XATTR, &info)],
                rpc_ids: ctx.rpc_ids,
            },
            (),
        ))
    }

    /// The root of a zone at a path, with the zone (`checkEncryptionZoneRoot`). `said`: the path as Hadoop's refusal shows it.
    fn zone_root(&self, ctx: &Ctx<'_>, src: &str, op: DirOp) -> Result<(Slot, Arc<Zone>, String), Refused> {
        let iip = self.resolve_for(&ctx.caller, src, op)?;
        iip.check_is_present()?;
        let Some(slot) = iip.last_slot() else {
            return Err(refuse(
                ex::FILE_NOT_FOUND,
                format!("INode does not exist for {}", iip.path()),
            ));
        };
        match self.zone_at(slot) {
            Some(zone) => Ok((slot, zone, iip.path())),
            None => Err(refuse(
                ex::IO,
                format!("Path {} is not the root of an encryption zone.", iip.path()),
            )),
        }
    }

    /// Name of the key of the zone whose root is at this path (`getKeyNameForZone`).
    pub fn key_of_zone(&self, ctx: &Ctx<'_>, src: &str) -> Result<String, Refused> {
        let (_, zone, _) = self.zone_root(ctx, src, DirOp::Read)?;
        Ok(zone.key_name().to_owned())
    }

    /// `reencryptEncryptionZone` with START. `key_version` is the version of the zone's key from now on.
    pub fn plan_start_reencryption(&self, ctx: &Ctx<'_>, src: &str, key_version: &str) -> Result<Plan<()>, Refused> {
        let (_, zone, path) = self.zone_root(ctx, src, DirOp::Write)?;
        if zone.is_reencrypted() {
            return Err(refuse(
                ex::IO,
                format!("Zone {path} is already submitted for re-encryption."),
            ));
        }
        let submitted = ReencryptionInfoProto {
            ez_key_version_name: key_version.to_owned(),
            submission_time: ctx.now_ms,
            canceled: false,
            num_reencrypted: 0,
            num_failures: 0,
            completion_time: None,
            last_file: None,
        };
        let op = EditOp::SetXAttr {
            src: path,
            xattrs: vec![zone.xattr_with(Some(submitted))],
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    /// `reencryptEncryptionZone` with CANCEL.
    pub fn plan_cancel_reencryption(&self, ctx: &Ctx<'_>, src: &str) -> Result<Plan<()>, Refused> {
        let (_, zone, path) = self.zone_root(ctx, src, DirOp::Write)?;
        let Some(info) = zone.reencryption().filter(|_| zone.is_reencrypted()) else {
            return Err(refuse(ex::IO, format!("Zone {path} is not under re-encryption")));
        };
        let cancelled = ReencryptionInfoProto {
            canceled: true,
            completion_time: Some(ctx.now_ms),
            last_file: None,
            ..info.clone()
        };
        let op = EditOp::SetXAttr {
            src: path,
            xattrs: vec![zone.xattr_with(Some(cancelled))],
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }
}

//! Encryption zones (`FSDirEncryptionZoneOp`, and the methods of `FSNamesystem` around it).

use super::border::{Answer, Once, OrDeferred, Outcome};
use super::{ClientMachine, caller, commit_void_once, io, no_safe_mode, plan_context, shown_path};
use crate::Namesystem;
use crate::context::{CallContext, Deferred};
use crate::keys::{KeyQuestion, KeyWork};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::limits;
use hathi_formats::proto::hdfs::{
    CreateEncryptionZoneRequestProto, CreateEncryptionZoneResponseProto, EncryptionZoneProto,
    GetEnclosingRootRequestProto, GetEnclosingRootResponseProto, GetEzForPathRequestProto, GetEzForPathResponseProto,
    ListEncryptionZonesRequestProto, ListEncryptionZonesResponseProto, ListReencryptionStatusRequestProto,
    ListReencryptionStatusResponseProto, ReencryptActionProto, ReencryptEncryptionZoneRequestProto,
    ReencryptEncryptionZoneResponseProto, ReencryptionStateProto, ZoneReencryptionStatusProto,
};
use hathi_namespace::ZoneAt;

/// Longest name of a key, bytes. It is in every answer about a file of the zone.
const KEY_NAME_MAX_BYTES: usize = 1024;

/// Result of an at-most-once call that may have to wait for the key provider.
pub(super) type OnceOrDeferred<R> = Result<Once<OrDeferred<R>>, RemoteException>;

/// The call goes on when the key provider has answered.
pub(super) fn ask<R>(ctx: &CallContext, question: KeyQuestion) -> OnceOrDeferred<R> {
    let work = KeyWork::new(question, ctx);
    Ok(Once {
        answer: Answer::deferred(Deferred::AskKeys(Box::new(work))),
        keep: false,
    })
}

fn now<R>(once: Once<R>) -> Once<OrDeferred<R>> {
    Once {
        answer: Answer::now(once.answer.response, once.answer.after),
        keep: once.keep,
    }
}

/// `CipherSuite.convert`: the `CipherSuiteProto` of a key's cipher.
fn suite(cipher: &str) -> Result<i32, RemoteException> {
    match cipher {
        "AES/CTR/NoPadding" => Ok(2),
        "SM4/CTR/NoPadding" => Ok(3),
        "Unknown" => Ok(1),
        _ => Err(RemoteException::new(
            exceptions::ILLEGAL_ARGUMENT,
            format!("Invalid cipher suite name: {cipher}"),
        )),
    }
}

/// `createEncryptionZone`
pub fn create_encryption_zone(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: CreateEncryptionZoneRequestProto,
) -> OnceOrDeferred<CreateEncryptionZoneResponseProto> {
    ctx.check_superuser_for(ns, "createEncryptionZone")?;
    let (src, key_name) = (request.src.as_str(), request.key_name());
    if !ns.config.keys.has_provider() {
        return Err(io(format!(
            "Can't create an encryption zone for {src} since no key provider is available."
        )));
    }
    if key_name.is_empty() {
        return Err(io("Must specify a key name when creating an encryption zone"));
    }
    limits::check_text("The key's name", key_name, KEY_NAME_MAX_BYTES)?;
    let Some(cipher) = ns.keys.take_cipher(key_name) else {
        let key_name = key_name.to_owned();
        return ask(ctx, KeyQuestion::Metadata { key_name });
    };
    let Some(cipher) = cipher else {
        return Err(io(format!("Key {key_name} doesn't exist.")));
    };
    no_safe_mode(ns, || format!("Cannot create encryption zone on {src}"))?;
    let suite = suite(&cipher)?;
    let machine = ClientMachine::default();
    let plan = ns
        .namespace()
        .plan_create_zone(&plan_context(ctx, &machine), src, suite, key_name)?;
    commit_void_once(ns, plan).map(now)
}

/// `reencryptEncryptionZone`
pub fn reencrypt_encryption_zone(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: ReencryptEncryptionZoneRequestProto,
) -> OnceOrDeferred<ReencryptEncryptionZoneResponseProto> {
    ctx.check_superuser_for(ns, "reencryptEncryptionZone")?;
    let zone = request.zone.as_str();
    let action = match request.action() {
        ReencryptActionProto::StartReencrypt => "START",
        ReencryptActionProto::CancelReencrypt => "CANCEL",
    };
    no_safe_mode(ns, || {
        format!("NameNode in safemode, cannot {action} re-encryption on zone {zone}")
    })?;
    if !ns.config.keys.has_provider() {
        return Err(io("No key provider configured, re-encryption operation is rejected"));
    }
    let machine = ClientMachine::default();
    let plan = match request.action() {
        ReencryptActionProto::CancelReencrypt => ns
            .namespace()
            .plan_cancel_reencryption(&plan_context(ctx, &machine), zone)?,
        ReencryptActionProto::StartReencrypt => {
            let key_name = ns.namespace().key_of_zone(&plan_context(ctx, &machine), zone)?;
            let Some(version) = ns.keys.take_version(&key_name) else {
                // Files that are made from now on have keys of the new version.
                ns.keys.drain(&key_name);
                return ask(ctx, KeyQuestion::CurrentVersion { key_name });
            };
            ns.namespace()
                .plan_start_reencryption(&plan_context(ctx, &machine), zone, &version)?
        }
    };
    commit_void_once(ns, plan).map(now)
}

fn zone_message(at: ZoneAt) -> EncryptionZoneProto {
    EncryptionZoneProto {
        id: at.id.0 as i64,
        path: at.path,
        suite: at.zone.suite(),
        crypto_protocol_version: at.zone.version(),
        key_name: at.zone.key_name().to_owned(),
    }
}

/// `listEncryptionZones`
pub fn list_encryption_zones(
    ns: &Namesystem,
    ctx: &CallContext,
    request: ListEncryptionZonesRequestProto,
) -> Outcome<ListEncryptionZonesResponseProto> {
    ctx.check_superuser_for(ns, "listEncryptionZones")?;
    let previous = u64::try_from(request.id).unwrap_or(0);
    let page = ns.namespace().zones_after(previous, ns.config.keys.zones_in_a_page);
    let response = ListEncryptionZonesResponseProto {
        zones: page.zones.into_iter().map(zone_message).collect(),
        has_more: page.has_more,
    };
    Ok(Answer::new(response, ns.shown_everything()))
}

/// `listReencryptionStatus`
pub fn list_reencryption_status(
    ns: &Namesystem,
    ctx: &CallContext,
    request: ListReencryptionStatusRequestProto,
) -> Outcome<ListReencryptionStatusResponseProto> {
    ctx.check_superuser_for(ns, "listReencryptionStatus")?;
    let previous = u64::try_from(request.id).unwrap_or(0);
    let limit = ns.config.keys.statuses_in_a_page;
    let page = ns.namespace().reencrypted_zones_after(previous, limit);
    let statuses = page.zones.into_iter().filter_map(|at| status_message(ns, at)).collect();
    let response = ListReencryptionStatusResponseProto {
        statuses,
        has_more: page.has_more,
    };
    Ok(Answer::new(response, ns.shown_everything()))
}

fn status_message(ns: &Namesystem, at: ZoneAt) -> Option<ZoneReencryptionStatusProto> {
    let info = at.zone.reencryption()?;
    let state = match info.completion_time {
        Some(_) => ReencryptionStateProto::Completed,
        None if ns.reencrypted_zone == Some(at.id) => ReencryptionStateProto::Processing,
        None => ReencryptionStateProto::Submitted,
    };
    Some(ZoneReencryptionStatusProto {
        id: at.id.0 as i64,
        path: at.path,
        state: state.into(),
        ez_key_version_name: info.ez_key_version_name.clone(),
        submission_time: info.submission_time as i64,
        canceled: info.canceled,
        num_reencrypted: info.num_reencrypted,
        num_failures: info.num_failures,
        completion_time: Some(info.completion_time.unwrap_or(0) as i64),
        last_file: info.last_file.clone(),
    })
}

/// `getEZForPath`
pub fn get_ez_for_path(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetEzForPathRequestProto,
) -> Outcome<GetEzForPathResponseProto> {
    let iip = ns.namespace().resolve(&request.src)?;
    let zone = ns.namespace().zone_for_path(&caller(ctx), &iip)?.map(zone_message);
    Ok(Answer::new(GetEzForPathResponseProto { zone }, shown_path(ns, &iip)))
}

/// `getEnclosingRoot`: the root of the zone that the path is in, or `/`.
pub fn get_enclosing_root(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetEnclosingRootRequestProto,
) -> Outcome<GetEnclosingRootResponseProto> {
    let iip = ns.namespace().resolve(request.filename())?;
    let zone = ns.namespace().zone_for_path(&caller(ctx), &iip)?;
    let response = GetEnclosingRootResponseProto {
        enclosing_root_path: Some(zone.map_or_else(|| "/".to_owned(), |zone| zone.path)),
    };
    Ok(Answer::new(response, shown_path(ns, &iip)))
}

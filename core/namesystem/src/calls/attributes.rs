//! Attributes: owner, mode, times, replication, quotas, ACLs, extended attributes.

use super::border::{Answer, Once, Outcome};
use super::{ClientMachine, caller, commit, commit_void, commit_void_once, io, no_safe_mode, plan_context, shown_path};
use crate::Namesystem;
use crate::context::CallContext;
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::limits;
use hathi_formats::proto::hdfs::{
    AclEntryProto, AclStatusProto, FsPermissionProto, GetAclStatusRequestProto, GetAclStatusResponseProto,
    GetXAttrsRequestProto, GetXAttrsResponseProto, ListXAttrsRequestProto, ListXAttrsResponseProto,
    ModifyAclEntriesRequestProto, ModifyAclEntriesResponseProto, RemoveAclEntriesRequestProto,
    RemoveAclEntriesResponseProto, RemoveAclRequestProto, RemoveAclResponseProto, RemoveDefaultAclRequestProto,
    RemoveDefaultAclResponseProto, RemoveXAttrRequestProto, RemoveXAttrResponseProto, SetAclRequestProto,
    SetAclResponseProto, SetOwnerRequestProto, SetOwnerResponseProto, SetPermissionRequestProto,
    SetPermissionResponseProto, SetQuotaRequestProto, SetQuotaResponseProto, SetReplicationRequestProto,
    SetReplicationResponseProto, SetTimesRequestProto, SetTimesResponseProto, SetXAttrRequestProto,
    SetXAttrResponseProto, XAttrProto,
};
use hathi_namespace::{AclEntry, AclEntryScope, AclEntryType, Ctx, Namespace, Plan, XAttr, XAttrNamespace};

/// `XAttrSetFlagProto`
const XATTR_CREATE: u32 = 1;
const XATTR_REPLACE: u32 = 2;

/// Plans a change that answers nothing and commits it.
fn change<R: Default>(
    ns: &mut Namesystem,
    ctx: &CallContext,
    plan: impl FnOnce(&Namespace, &Ctx<'_>) -> Result<Plan<()>, RemoteException>,
) -> Outcome<R> {
    let machine = ClientMachine::default();
    let plan = plan(ns.namespace(), &plan_context(ctx, &machine))?;
    commit_void(ns, plan)
}

/// `setPermission`
pub fn set_permission(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: SetPermissionRequestProto,
) -> Outcome<SetPermissionResponseProto> {
    no_safe_mode(ns, || format!("Cannot set permission for {}", request.src))?;
    let mode = (request.permission.perm & 0o1777) as u16;
    change(ns, ctx, |namespace, ctx| {
        namespace.plan_set_permission(ctx, &request.src, mode)
    })
}

/// `setOwner`
pub fn set_owner(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: SetOwnerRequestProto,
) -> Outcome<SetOwnerResponseProto> {
    limits::check_text("The owner", request.username(), limits::USER_MAX_BYTES)?;
    limits::check_text("The group", request.groupname(), limits::USER_MAX_BYTES)?;
    no_safe_mode(ns, || format!("Cannot set owner for {}", request.src))?;
    change(ns, ctx, |namespace, ctx| {
        namespace.plan_set_owner(
            ctx,
            &request.src,
            request.username.as_deref(),
            request.groupname.as_deref(),
        )
    })
}

/// `setTimes`
pub fn set_times(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: SetTimesRequestProto,
) -> Outcome<SetTimesResponseProto> {
    no_safe_mode(ns, || format!("Cannot set times {}", request.src))?;
    change(ns, ctx, |namespace, ctx| {
        namespace.plan_set_times(ctx, &request.src, request.mtime as i64, request.atime as i64)
    })
}

/// `setReplication`
pub fn set_replication(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: SetReplicationRequestProto,
) -> Outcome<SetReplicationResponseProto> {
    no_safe_mode(ns, || format!("Cannot set replication for {}", request.src))?;
    let machine = ClientMachine::of(ctx);
    let replication = u16::try_from(request.replication).unwrap_or(u16::MAX);
    let plan = ns
        .namespace()
        .plan_set_replication(&plan_context(ctx, &machine), &request.src, replication)?;
    let (changed, after) = commit(ns, plan)?;
    Ok(Answer::new(SetReplicationResponseProto { result: changed }, after))
}

/// `setQuota`
pub fn set_quota(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: SetQuotaRequestProto,
) -> Outcome<SetQuotaResponseProto> {
    if !ns.namespace().config.owner_set_quota {
        ctx.check_superuser_for(ns, "setQuota")?;
    }
    no_safe_mode(ns, || format!("Cannot set quota on {}", request.path))?;
    let (names, space) = (request.namespace_quota as i64, request.storagespace_quota as i64);
    change(ns, ctx, |namespace, ctx| {
        namespace.plan_set_quota(ctx, &request.path, names, space, request.storage_type)
    })
}

/// `modifyAclEntries`
pub fn modify_acl_entries(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: ModifyAclEntriesRequestProto,
) -> Outcome<ModifyAclEntriesResponseProto> {
    no_safe_mode(ns, || format!("Cannot modify ACL entries on {}", request.src))?;
    let spec = acl_spec(&request.acl_spec)?;
    change(ns, ctx, |namespace, ctx| {
        namespace.plan_modify_acl(ctx, &request.src, &spec)
    })
}

/// `removeAclEntries`
pub fn remove_acl_entries(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: RemoveAclEntriesRequestProto,
) -> Outcome<RemoveAclEntriesResponseProto> {
    no_safe_mode(ns, || format!("Cannot remove ACL entries on {}", request.src))?;
    let spec = acl_spec(&request.acl_spec)?;
    change(ns, ctx, |namespace, ctx| {
        namespace.plan_remove_acl_entries(ctx, &request.src, &spec)
    })
}

/// `removeDefaultAcl`
pub fn remove_default_acl(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: RemoveDefaultAclRequestProto,
) -> Outcome<RemoveDefaultAclResponseProto> {
    no_safe_mode(ns, || format!("Cannot remove default ACL entries on {}", request.src))?;
    change(ns, ctx, |namespace, ctx| {
        namespace.plan_remove_default_acl(ctx, &request.src)
    })
}

/// `removeAcl`
pub fn remove_acl(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: RemoveAclRequestProto,
) -> Outcome<RemoveAclResponseProto> {
    no_safe_mode(ns, || format!("Cannot remove ACL on {}", request.src))?;
    change(ns, ctx, |namespace, ctx| namespace.plan_remove_acl(ctx, &request.src))
}

/// `setAcl`
pub fn set_acl(ns: &mut Namesystem, ctx: &CallContext, request: SetAclRequestProto) -> Outcome<SetAclResponseProto> {
    no_safe_mode(ns, || format!("Cannot set ACL on {}", request.src))?;
    let spec = acl_spec(&request.acl_spec)?;
    change(ns, ctx, |namespace, ctx| {
        namespace.plan_set_acl(ctx, &request.src, &spec)
    })
}

fn acl_spec(entries: &[AclEntryProto]) -> Result<Vec<AclEntry>, RemoteException> {
    limits::check_count("The ACL", entries.len(), limits::ACL_ENTRIES_MAX)?;
    entries.iter().map(acl_entry).collect()
}

fn acl_entry(entry: &AclEntryProto) -> Result<AclEntry, RemoteException> {
    let scope = match entry.scope {
        0 => AclEntryScope::Access,
        1 => AclEntryScope::Default,
        other => return Err(io(format!("unknown scope {other} of an ACL entry"))),
    };
    let kind = u32::try_from(entry.r#type).ok().filter(|&kind| kind <= 3);
    let Some(kind) = kind else {
        return Err(io(format!("unknown type {} of an ACL entry", entry.r#type)));
    };
    limits::check_text("A name in the ACL", entry.name(), limits::USER_MAX_BYTES)?;
    Ok(AclEntry {
        scope,
        entry_type: AclEntryType::from_bits(kind),
        name: entry.name.clone().filter(|name| !name.is_empty()),
        permission: (entry.permissions & 7) as u8,
    })
}

/// `getAclStatus`
pub fn get_acl_status(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetAclStatusRequestProto,
) -> Outcome<GetAclStatusResponseProto> {
    let iip = ns.namespace().resolve(&request.src)?;
    let (status, entries) = ns.namespace().acl_status(&caller(ctx), &iip, &request.src)?;
    let entries = entries
        .into_iter()
        .map(|entry| AclEntryProto {
            r#type: entry.entry_type as i32,
            scope: entry.scope as i32,
            permissions: i32::from(entry.permission),
            name: entry.name,
        })
        .collect();
    let result = AclStatusProto {
        owner: status.owner.to_owned(),
        group: status.group.to_owned(),
        sticky: status.mode & 0o1000 != 0,
        entries,
        permission: Some(FsPermissionProto {
            perm: u32::from(status.mode),
        }),
    };
    Ok(Answer::new(GetAclStatusResponseProto { result }, shown_path(ns, &iip)))
}

/// `setXAttr`
pub fn set_xattr(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: SetXAttrRequestProto,
) -> Result<Once<SetXAttrResponseProto>, RemoteException> {
    let xattr = xattr(request.x_attr.as_ref())?;
    let flag = request.flag();
    let (create, replace) = (flag & XATTR_CREATE != 0, flag & XATTR_REPLACE != 0);
    no_safe_mode(ns, || format!("Cannot set XAttr on {}", request.src))?;
    change_once(ns, ctx, |namespace, ctx| {
        namespace.plan_set_xattr(ctx, &request.src, &xattr, create, replace)
    })
}

/// `removeXAttr`
pub fn remove_xattr(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: RemoveXAttrRequestProto,
) -> Result<Once<RemoveXAttrResponseProto>, RemoteException> {
    let xattr = xattr(request.x_attr.as_ref())?;
    no_safe_mode(ns, || format!("Cannot remove XAttr entry on {}", request.src))?;
    change_once(ns, ctx, |namespace, ctx| {
        namespace.plan_remove_xattr(ctx, &request.src, &xattr)
    })
}

fn change_once<R: Default>(
    ns: &mut Namesystem,
    ctx: &CallContext,
    plan: impl FnOnce(&Namespace, &Ctx<'_>) -> Result<Plan<()>, RemoteException>,
) -> Result<Once<R>, RemoteException> {
    let machine = ClientMachine::default();
    let plan = plan(ns.namespace(), &plan_context(ctx, &machine))?;
    commit_void_once(ns, plan)
}

fn xattr(message: Option<&XAttrProto>) -> Result<XAttr, RemoteException> {
    let message = message.ok_or_else(|| RemoteException::new(exceptions::ILLEGAL_ARGUMENT, "xAttr is missing"))?;
    let namespace = XAttrNamespace::from_number(message.namespace).ok_or_else(|| {
        io(format!(
            "unknown namespace {} of an extended attribute",
            message.namespace
        ))
    })?;
    Ok(XAttr {
        namespace,
        name: message.name.clone(),
        value: message.value.as_ref().map(|value| value.to_vec()),
    })
}

fn xattr_messages(xattrs: Vec<XAttr>) -> Vec<XAttrProto> {
    xattrs
        .into_iter()
        .map(|xattr| XAttrProto {
            namespace: xattr.namespace as i32,
            name: xattr.name,
            value: xattr.value.map(Bytes::from),
        })
        .collect()
}

/// `getXAttrs`
pub fn get_xattrs(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetXAttrsRequestProto,
) -> Outcome<GetXAttrsResponseProto> {
    let names = request
        .x_attrs
        .iter()
        .map(|message| xattr(Some(message)))
        .collect::<Result<Vec<_>, _>>()?;
    let iip = ns.namespace().resolve(&request.src)?;
    let found = ns.namespace().xattrs(&caller(ctx), &iip, &request.src, &names)?;
    let response = GetXAttrsResponseProto {
        x_attrs: xattr_messages(found),
    };
    Ok(Answer::new(response, shown_path(ns, &iip)))
}

/// `listXAttrs`
pub fn list_xattrs(
    ns: &Namesystem,
    ctx: &CallContext,
    request: ListXAttrsRequestProto,
) -> Outcome<ListXAttrsResponseProto> {
    let iip = ns.namespace().resolve(&request.src)?;
    let found = ns.namespace().list_xattrs(&caller(ctx), &iip, &request.src)?;
    let response = ListXAttrsResponseProto {
        x_attrs: xattr_messages(found),
    };
    Ok(Answer::new(response, shown_path(ns, &iip)))
}

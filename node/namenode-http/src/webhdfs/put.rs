//! PUT: changes.

use super::{Asked, Failed, done, redirect, said};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::common::{
    CancelDelegationTokenRequestProto, CancelDelegationTokenResponseProto, RenewDelegationTokenRequestProto,
    RenewDelegationTokenResponseProto,
};
use hathi_formats::proto::hdfs::*;
use hathi_formats::webhdfs::{self, Op};
use hathi_net::http::HttpResponse;
use hathi_net::ipc::protocols::ClientMethod as M;
use prost::Message;

/// A value that leaves a quota as it is (`HdfsConstants.QUOTA_DONT_SET`).
const QUOTA_DONT_SET: u64 = u64::MAX >> 1;
/// Permission of directories before the client's umask (`FsPermission.getDirDefault`).
const DIRECTORY_PERMISSION: u32 = 0o777;
/// Default of the parameter `permission` (`PermissionParam`).
const PERMISSION: u32 = 0o755;

pub(super) async fn serve(asked: &Asked) -> Result<HttpResponse, Failed> {
    let src = asked.path.clone();
    match asked.op {
        Op::Create => redirect::to_writable(asked).await,
        Op::Mkdirs => mkdirs(asked).await,
        Op::CreateSymlink => {
            let request = CreateSymlinkRequestProto {
                target: asked.required("destination")?.to_owned(),
                link: src,
                dir_perm: permission(DIRECTORY_PERMISSION),
                create_parent: asked.parameters.boolean("createparent", true)?,
            };
            empty::<CreateSymlinkResponseProto>(asked, M::CreateSymlink, &request).await
        }
        Op::Rename => rename(asked).await,
        Op::SetReplication => {
            let replication = match asked.parameters.replication("replication")? {
                Some(replication) => replication,
                None => asked.server_defaults().await?.replication,
            };
            let request = SetReplicationRequestProto { src, replication };
            let answer: SetReplicationResponseProto = asked.call(M::SetReplication, &request).await?;
            Ok(said(&webhdfs::boolean(answer.result)))
        }
        Op::SetOwner => {
            let of = |name| asked.parameters.text(name).map(str::to_owned);
            let (username, groupname) = (of("owner"), of("group"));
            if username.is_none() && groupname.is_none() {
                return Err(illegal("Both owner and group are empty.").into());
            }
            let request = SetOwnerRequestProto {
                src,
                username,
                groupname,
            };
            empty::<SetOwnerResponseProto>(asked, M::SetOwner, &request).await
        }
        Op::SetPermission => {
            let request = SetPermissionRequestProto {
                src,
                permission: permission(asked.parameters.permission("permission")?.unwrap_or(PERMISSION)),
            };
            empty::<SetPermissionResponseProto>(asked, M::SetPermission, &request).await
        }
        Op::SetTimes => {
            let time = |name| asked.parameters.long(name, -1);
            let request = SetTimesRequestProto {
                src,
                mtime: time("modificationtime")?.unwrap_or(-1).cast_unsigned(),
                atime: time("accesstime")?.unwrap_or(-1).cast_unsigned(),
            };
            empty::<SetTimesResponseProto>(asked, M::SetTimes, &request).await
        }
        Op::RenewDelegationToken | Op::CancelDelegationToken => token(asked).await,
        Op::ModifyAclEntries | Op::RemoveAclEntries | Op::RemoveDefaultAcl | Op::RemoveAcl | Op::SetAcl => {
            acl(asked).await
        }
        Op::SetXAttr | Op::RemoveXAttr => xattr(asked).await,
        Op::AllowSnapshot | Op::DisallowSnapshot | Op::CreateSnapshot | Op::RenameSnapshot => snapshot(asked).await,
        Op::SetQuota | Op::SetQuotaByStorageType => quota(asked).await,
        Op::SetStoragePolicy => {
            let request = SetStoragePolicyRequestProto {
                src,
                policy_name: asked.required("storagepolicy")?.to_owned(),
            };
            empty::<SetStoragePolicyResponseProto>(asked, M::SetStoragePolicy, &request).await
        }
        Op::SatisfyStoragePolicy => {
            let request = SatisfyStoragePolicyRequestProto { src };
            empty::<SatisfyStoragePolicyResponseProto>(asked, M::SatisfyStoragePolicy, &request).await
        }
        Op::EnableEcPolicy => {
            let request = EnableErasureCodingPolicyRequestProto {
                ec_policy_name: asked.required("ecpolicy")?.to_owned(),
            };
            empty::<EnableErasureCodingPolicyResponseProto>(asked, M::EnableErasureCodingPolicy, &request).await
        }
        Op::DisableEcPolicy => {
            let request = DisableErasureCodingPolicyRequestProto {
                ec_policy_name: asked.required("ecpolicy")?.to_owned(),
            };
            empty::<DisableErasureCodingPolicyResponseProto>(asked, M::DisableErasureCodingPolicy, &request).await
        }
        Op::SetEcPolicy => {
            let request = SetErasureCodingPolicyRequestProto {
                src,
                ec_policy_name: Some(asked.required("ecpolicy")?.to_owned()),
            };
            empty::<SetErasureCodingPolicyResponseProto>(asked, M::SetErasureCodingPolicy, &request).await
        }
        other => Err(redirect::unsupported(other).into()),
    }
}

/// A call whose answer has nothing in it.
pub(super) async fn empty<R: Message + Default>(
    asked: &Asked,
    method: M,
    request: &impl Message,
) -> Result<HttpResponse, Failed> {
    let _: R = asked.call(method, request).await?;
    Ok(done())
}

fn permission(perm: u32) -> FsPermissionProto {
    FsPermissionProto { perm }
}

fn illegal(why: &str) -> RemoteException {
    RemoteException::new(exceptions::ILLEGAL_ARGUMENT, why)
}

async fn mkdirs(asked: &Asked) -> Result<HttpResponse, Failed> {
    let masked = asked.parameters.permission("permission")?.unwrap_or(PERMISSION);
    let unmasked = asked.parameters.permission("unmaskedpermission")?;
    let request = MkdirsRequestProto {
        src: asked.path.clone(),
        masked: permission(masked),
        create_parent: true,
        unmasked: unmasked.map(permission),
    };
    let answer: MkdirsResponseProto = asked.call(M::Mkdirs, &request).await?;
    Ok(said(&webhdfs::boolean(answer.result)))
}

/// Without options it says whether it was done, and with options why it was not.
async fn rename(asked: &Asked) -> Result<HttpResponse, Failed> {
    let src = asked.path.clone();
    let dst = asked.parameters.path(asked.op.name(), "destination")?.to_owned();
    let java = "org.apache.hadoop.fs.Options.Rename";
    let known = ["NONE", "OVERWRITE", "TO_TRASH"];
    let options = asked.parameters.words("renameoptions", java, &known)?;
    if options.is_empty() {
        let answer: RenameResponseProto = asked.call(M::Rename, &RenameRequestProto { src, dst }).await?;
        return Ok(said(&webhdfs::boolean(answer.result)));
    }
    let request = Rename2RequestProto {
        src,
        dst,
        overwrite_dest: options.contains(&1),
        move_to_trash: Some(options.contains(&2)),
    };
    empty::<Rename2ResponseProto>(asked, M::Rename2, &request).await
}

async fn token(asked: &Asked) -> Result<HttpResponse, Failed> {
    // A text that is no token has no identifier, which the call refuses.
    let token = webhdfs::token_of_url_string(asked.required("token")?).unwrap_or_default();
    if asked.op == Op::CancelDelegationToken {
        let request = CancelDelegationTokenRequestProto { token };
        return empty::<CancelDelegationTokenResponseProto>(asked, M::CancelDelegationToken, &request).await;
    }
    let request = RenewDelegationTokenRequestProto { token };
    let answer: RenewDelegationTokenResponseProto = asked.call(M::RenewDelegationToken, &request).await?;
    Ok(said(&webhdfs::long(answer.new_expiry_time)))
}

async fn acl(asked: &Asked) -> Result<HttpResponse, Failed> {
    let src = asked.path.clone();
    let spec = |with_actions| webhdfs::acl_spec(asked.required("aclspec")?, with_actions);
    match asked.op {
        Op::ModifyAclEntries => {
            let request = ModifyAclEntriesRequestProto {
                src,
                acl_spec: spec(true)?,
            };
            empty::<ModifyAclEntriesResponseProto>(asked, M::ModifyAclEntries, &request).await
        }
        Op::RemoveAclEntries => {
            let request = RemoveAclEntriesRequestProto {
                src,
                acl_spec: spec(false)?,
            };
            empty::<RemoveAclEntriesResponseProto>(asked, M::RemoveAclEntries, &request).await
        }
        Op::SetAcl => {
            let request = SetAclRequestProto {
                src,
                acl_spec: spec(true)?,
            };
            empty::<SetAclResponseProto>(asked, M::SetAcl, &request).await
        }
        Op::RemoveDefaultAcl => {
            let request = RemoveDefaultAclRequestProto { src };
            empty::<RemoveDefaultAclResponseProto>(asked, M::RemoveDefaultAcl, &request).await
        }
        _ => empty::<RemoveAclResponseProto>(asked, M::RemoveAcl, &RemoveAclRequestProto { src }).await,
    }
}

async fn xattr(asked: &Asked) -> Result<HttpResponse, Failed> {
    let src = asked.path.clone();
    let name = asked.required("xattr.name")?;
    if asked.op == Op::RemoveXAttr {
        let x_attr = Some(webhdfs::xattr(name, None)?);
        let request = RemoveXAttrRequestProto { src, x_attr };
        return empty::<RemoveXAttrResponseProto>(asked, M::RemoveXAttr, &request).await;
    }
    let value = asked.parameters.text("xattr.value").map(webhdfs::decode_xattr);
    let value = value.transpose()?.unwrap_or_default();
    let java = "org.apache.hadoop.fs.XAttrSetFlag";
    let flags = asked.parameters.words("flag", java, &["CREATE", "REPLACE"])?;
    if flags.is_empty() {
        return Err(illegal("Required param flag for op: SETXATTR is null or empty").into());
    }
    let request = SetXAttrRequestProto {
        src,
        x_attr: Some(webhdfs::xattr(name, Some(value))?),
        // `XAttrSetFlagProto`: CREATE is 1 and REPLACE 2.
        flag: Some(flags.iter().fold(0, |all, index| all | 1 << index)),
    };
    empty::<SetXAttrResponseProto>(asked, M::SetXAttr, &request).await
}

async fn snapshot(asked: &Asked) -> Result<HttpResponse, Failed> {
    let snapshot_root = asked.path.clone();
    match asked.op {
        Op::AllowSnapshot => {
            let request = AllowSnapshotRequestProto { snapshot_root };
            empty::<AllowSnapshotResponseProto>(asked, M::AllowSnapshot, &request).await
        }
        Op::DisallowSnapshot => {
            let request = DisallowSnapshotRequestProto { snapshot_root };
            empty::<DisallowSnapshotResponseProto>(asked, M::DisallowSnapshot, &request).await
        }
        Op::CreateSnapshot => {
            let request = CreateSnapshotRequestProto {
                snapshot_root,
                snapshot_name: asked.parameters.text("snapshotname").map(str::to_owned),
            };
            let answer: CreateSnapshotResponseProto = asked.call(M::CreateSnapshot, &request).await?;
            Ok(said(&webhdfs::path(&answer.snapshot_path)))
        }
        _ => {
            let request = RenameSnapshotRequestProto {
                snapshot_root,
                snapshot_old_name: asked.required("oldsnapshotname")?.to_owned(),
                snapshot_new_name: asked.required("snapshotname")?.to_owned(),
            };
            empty::<RenameSnapshotResponseProto>(asked, M::RenameSnapshot, &request).await
        }
    }
}

async fn quota(asked: &Asked) -> Result<HttpResponse, Failed> {
    // -1 clears a quota; the call refuses other negative numbers.
    let quota = |name| {
        let given = asked.parameters.long(name, i64::MIN)?;
        Ok::<u64, RemoteException>(given.map_or(QUOTA_DONT_SET, i64::cast_unsigned))
    };
    let storage_type = match asked.op {
        Op::SetQuota => None,
        _ => {
            let text = asked.required("storagetype")?;
            let kind = StorageTypeProto::from_str_name(&text.to_uppercase()).ok_or_else(|| {
                illegal(&format!(
                    "Invalid value for webhdfs parameter \"storagetype\": No enum constant \
                     org.apache.hadoop.fs.StorageType.{}",
                    text.to_uppercase()
                ))
            })?;
            Some(kind.into())
        }
    };
    let request = SetQuotaRequestProto {
        path: asked.path.clone(),
        namespace_quota: match storage_type {
            None => quota("namespacequota")?,
            Some(_) => QUOTA_DONT_SET,
        },
        storagespace_quota: quota("storagespacequota")?,
        storage_type,
    };
    empty::<SetQuotaResponseProto>(asked, M::SetQuota, &request).await
}

//! Lists of things that the namespace carries without acting on them: snapshottable directories, cache pools and
//! directives, erasure coding policies. A cluster that goes back to Hadoop's NameNode finds them again, so they are
//! shown here as well.

use super::border::{Answer, Anything, Never, Outcome};
use super::wire::WireStatus;
use super::{caller, commit_void, no_safe_mode, unsupported};
use crate::Namesystem;
use crate::context::CallContext;
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::{
    CacheDirectiveEntryProto, CacheDirectiveInfoProto, CacheDirectiveStatsProto, CachePoolEntryProto,
    CachePoolInfoProto, CachePoolStatsProto, DisallowSnapshotRequestProto, DisallowSnapshotResponseProto,
    GetErasureCodingPoliciesRequestProto, GetErasureCodingPoliciesResponseProto,
    GetSnapshottableDirListingRequestProto, GetSnapshottableDirListingResponseProto, HdfsFileStatusProto,
    ListCacheDirectivesRequestProto, ListCacheDirectivesResponseProto, ListCachePoolsRequestProto,
    ListCachePoolsResponseProto, SnapshottableDirectoryListingProto, SnapshottableDirectoryStatusProto,
};
use hathi_namespace::{Caller, is_valid_name};
use prost::Message;

/// Number of pools or directives in one answer (the defaults of `dfs.namenode.list.cache.pools.num.responses` and
/// `dfs.namenode.list.cache.directives.num.responses`).
const LISTED_MAX: usize = 100;
/// Number of snapshots that a directory may have (`DirectorySnapshottableFeature`).
const SNAPSHOT_QUOTA: u32 = 1 << 16;
/// `FsAction.READ`, as a bit of a pool's mode.
const READ: i32 = 0o4;

/// `getSnapshottableDirListing`: the caller's own directories, or all of them for a superuser. Null when there are
/// none.
pub fn snapshottable_dirs(
    ns: &Namesystem,
    ctx: &CallContext,
    _: GetSnapshottableDirListingRequestProto,
) -> Outcome<GetSnapshottableDirListingResponseProto> {
    let mut listed: Vec<_> = (ns.namespace().snapshottable_dirs())
        .filter_map(|id| {
            let status = ns.namespace().status(id)?;
            let owned = ctx.superuser || !ns.config.permissions_enabled || status.owner == &*ctx.user;
            let path = owned.then(|| ns.namespace().path_of(id))??;
            let (parent, name) = path.rsplit_once('/')?;
            let mut encoded = Vec::new();
            WireStatus {
                status: &status,
                name: name.as_bytes(),
                locations: None,
            }
            .put(&mut encoded);
            let listed = SnapshottableDirectoryStatusProto {
                dir_status: HdfsFileStatusProto::decode(&*encoded).ok()?,
                snapshot_quota: SNAPSHOT_QUOTA,
                snapshot_number: 0,
                parent_fullpath: Bytes::copy_from_slice(if parent.is_empty() { b"/" } else { parent.as_bytes() }),
            };
            Some((path, listed))
        })
        .collect();
    listed.sort_by(|(one, _), (other, _)| one.cmp(other));
    let all = SnapshottableDirectoryListingProto {
        snapshottable_dir_listing: listed.into_iter().map(|(_, listed)| listed).collect(),
    };
    let snapshottable_dir_list = (!all.snapshottable_dir_listing.is_empty()).then_some(all);
    Ok(Answer::new(
        GetSnapshottableDirListingResponseProto { snapshottable_dir_list },
        ns.shown_everything(),
    ))
}

/// `disallowSnapshot`
pub fn disallow_snapshot(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: DisallowSnapshotRequestProto,
) -> Outcome<DisallowSnapshotResponseProto> {
    ctx.check_superuser_for(ns, "disallowSnapshot")?;
    no_safe_mode(ns, || format!("Cannot disallow snapshot for {}", request.snapshot_root))?;
    let plan = ns
        .namespace()
        .plan_disallow_snapshot(&caller(ctx), &request.snapshot_root)?;
    commit_void(ns, plan)
}

/// `addCachePool`, `addCacheDirective` and the other changes of the centralized cache.
pub fn change_cache(_: &mut Namesystem, _: &CallContext, _: Anything) -> Outcome<Never> {
    Err(unsupported("Centralized caching"))
}

/// Whether a caller may read a pool (`FSPermissionChecker.checkPermission(CachePool, FsAction)`).
fn may_read(ns: &Namesystem, caller: &Caller<'_>, pool: &CachePoolInfoProto) -> bool {
    let mode = pool.mode.unwrap_or(0);
    let belongs = |group: &String| Some(group) == pool.group_name.as_ref();
    let shift = if pool.owner_name.as_deref() == Some(caller.user) {
        6
    } else if caller.groups.iter().any(belongs) {
        3
    } else {
        0
    };
    caller.superuser || !ns.config.permissions_enabled || (mode >> shift) & READ != 0
}

/// A pool in which everything that images and edits leave out has its default (`CachePoolInfo.DEFAULT_*`).
fn whole(pool: &CachePoolInfoProto) -> CachePoolInfoProto {
    CachePoolInfoProto {
        mode: pool.mode.or(Some(0o755)),
        limit: pool.limit.or(Some(i64::MAX)),
        default_replication: Some(pool.default_replication()),
        max_relative_expiry: pool.max_relative_expiry.or(Some(i64::MAX / 4)),
        ..pool.clone()
    }
}

/// `listCachePools`: of a pool that the caller may not read, only the name. Nothing is cached.
pub fn list_cache_pools(
    ns: &Namesystem,
    ctx: &CallContext,
    request: ListCachePoolsRequestProto,
) -> Outcome<ListCachePoolsResponseProto> {
    let mut rest = ns.namespace().cache_pools_after(&request.prev_pool_name);
    let entries = (rest.by_ref().take(LISTED_MAX))
        .map(|pool| CachePoolEntryProto {
            info: if may_read(ns, &caller(ctx), pool) {
                whole(pool)
            } else {
                CachePoolInfoProto {
                    pool_name: pool.pool_name.clone(),
                    ..Default::default()
                }
            },
            stats: CachePoolStatsProto::default(),
        })
        .collect();
    let has_more = rest.next().is_some();
    Ok(Answer::new(
        ListCachePoolsResponseProto { entries, has_more },
        ns.shown_everything(),
    ))
}

/// `listCacheDirectives`: the directives of pools that the caller may read.
pub fn list_cache_directives(
    ns: &Namesystem,
    ctx: &CallContext,
    request: ListCacheDirectivesRequestProto,
) -> Outcome<ListCacheDirectivesResponseProto> {
    let filter = request.filter;
    if filter.replication.is_some() {
        return Err(RemoteException::new(
            exceptions::INVALID_REQUEST,
            "Filtering by replication is unsupported.",
        ));
    }
    if let Some(path) = filter.path.as_ref().filter(|path| !is_valid_name(path)) {
        return Err(RemoteException::new(
            exceptions::INVALID_REQUEST,
            format!("Invalid path '{path}'."),
        ));
    }
    let wanted = |directive: &&CacheDirectiveInfoProto| {
        let is = |asked: &Option<String>, has: &Option<String>| asked.is_none() || asked == has;
        let pool = directive
            .pool
            .as_deref()
            .and_then(|pool| ns.namespace().cache_pool(pool));
        is(&filter.path, &directive.path)
            && is(&filter.pool, &directive.pool)
            && (filter.id.is_none() || filter.id == directive.id)
            && pool.is_some_and(|pool| may_read(ns, &caller(ctx), pool))
    };
    let mut rest = ns.namespace().cache_directives_after(request.prev_id).filter(wanted);
    let elements = (rest.by_ref().take(LISTED_MAX))
        .map(|directive| CacheDirectiveEntryProto {
            info: directive.clone(),
            stats: CacheDirectiveStatsProto {
                has_expired: directive
                    .expiration
                    .as_ref()
                    .is_some_and(|expiry| u64::try_from(expiry.millis).is_ok_and(|millis| millis < ctx.now_ms)),
                ..Default::default()
            },
        })
        .collect();
    let has_more = rest.next().is_some();
    Ok(Answer::new(
        ListCacheDirectivesResponseProto { elements, has_more },
        ns.shown_everything(),
    ))
}

/// `getErasureCodingPolicies`, with the states of the image and the edits. Hadoop's NameNode also calls the policy of
/// `dfs.namenode.ec.system.default.policy` enabled; here no file can be written with it.
pub fn erasure_coding_policies(
    ns: &Namesystem,
    _: &CallContext,
    _: GetErasureCodingPoliciesRequestProto,
) -> Outcome<GetErasureCodingPoliciesResponseProto> {
    let ec_policies = ns.namespace().erasure_coding_policies().cloned().collect();
    Ok(Answer::new(
        GetErasureCodingPoliciesResponseProto { ec_policies },
        ns.shown_everything(),
    ))
}

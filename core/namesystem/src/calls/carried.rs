//! Lists of things that the namespace carries without acting on them: cache pools and directives. A cluster that goes back to Hadoop's NameNode finds them again, so they are shown here as well.

use super::border::{Answer, Anything, Never, Outcome};
use super::{caller, unsupported};
use crate::Namesystem;
use crate::context::CallContext;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::{
    CacheDirectiveEntryProto, CacheDirectiveInfoProto, CacheDirectiveStatsProto, CachePoolEntryProto,
    CachePoolInfoProto, CachePoolStatsProto, ListCacheDirectivesRequestProto, ListCacheDirectivesResponseProto,
    ListCachePoolsRequestProto, ListCachePoolsResponseProto,
};
use hathi_namespace::{Caller, is_valid_name};

/// Number of pools or directives in one answer (the defaults of `dfs.namenode.list.cache.pools.num.responses` and
/// `dfs.namenode.list.cache.directives.num.responses`).
const LISTED_MAX: usize = 100;
/// `FsAction.READ`, as a bit of a pool's mode.
const READ: i32 = 0o4;

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

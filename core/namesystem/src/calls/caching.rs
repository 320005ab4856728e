//! Cache pools and directives (`CacheManager`, `FSNDNCacheOp`, and the part of `FSNamesystem` about them).

use super::border::{Answer, Once, Outcome};
use super::{ClientMachine, caller, commit, commit_void_once, no_safe_mode, plan_context};
use crate::Namesystem;
use crate::caching::DirectiveStats;
use crate::context::CallContext;
use hathi_formats::caching::expiration_text;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::{
    AddCacheDirectiveRequestProto, AddCacheDirectiveResponseProto, AddCachePoolRequestProto, AddCachePoolResponseProto,
    CacheDirectiveEntryProto, CacheDirectiveInfoProto, CacheDirectiveStatsProto, CachePoolEntryProto,
    CachePoolInfoProto, CachePoolStatsProto, ListCacheDirectivesRequestProto, ListCacheDirectivesResponseProto,
    ListCachePoolsRequestProto, ListCachePoolsResponseProto, ModifyCacheDirectiveRequestProto,
    ModifyCacheDirectiveResponseProto, ModifyCachePoolRequestProto, ModifyCachePoolResponseProto,
    RemoveCacheDirectiveRequestProto, RemoveCacheDirectiveResponseProto, RemoveCachePoolRequestProto,
    RemoveCachePoolResponseProto,
};
use hathi_namespace::{CACHE_NEVER_EXPIRES_MS, PoolDemand, cache_path};

type Result<R> = std::result::Result<R, RemoteException>;

/// `CacheFlagProto.FORCE`: the limit of the pool does not count.
const FORCE: u32 = 1;

fn is_forced(flags: Option<u32>) -> bool {
    flags.unwrap_or(0) & FORCE != 0
}

/// `addCacheDirective`
pub fn add_cache_directive(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: AddCacheDirectiveRequestProto,
) -> Result<Once<AddCacheDirectiveResponseProto>> {
    no_safe_mode(ns, || "Cannot add cache directive".to_owned())?;
    let machine = ClientMachine::default();
    let demand: PoolDemand<'_> = &|pool| ns.pool_stats(pool).bytes_needed;
    let demand = (!is_forced(request.cache_flags)).then_some(demand);
    let plan = ns.namespace().plan_add_cache_directive(
        &plan_context(ctx, &machine),
        &request.info,
        demand,
        &expiration_text,
    )?;
    let (id, after) = commit(ns, plan)?;
    ns.directive_changed(id);
    Ok(Once {
        answer: Answer::new(AddCacheDirectiveResponseProto { id }, after),
        keep: true,
    })
}

/// `modifyCacheDirective`
pub fn modify_cache_directive(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: ModifyCacheDirectiveRequestProto,
) -> Result<Once<ModifyCacheDirectiveResponseProto>> {
    no_safe_mode(ns, || "Cannot add cache directive".to_owned())?;
    let machine = ClientMachine::default();
    let demand: PoolDemand<'_> = &|pool| ns.pool_stats(pool).bytes_needed;
    let demand = (!is_forced(request.cache_flags)).then_some(demand);
    let plan = ns.namespace().plan_modify_cache_directive(
        &plan_context(ctx, &machine),
        &request.info,
        demand,
        &expiration_text,
    )?;
    let answer = commit_void_once(ns, plan)?;
    ns.directive_changed(request.info.id());
    Ok(answer)
}

/// `removeCacheDirective`
pub fn remove_cache_directive(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: RemoveCacheDirectiveRequestProto,
) -> Result<Once<RemoveCacheDirectiveResponseProto>> {
    no_safe_mode(ns, || "Cannot remove cache directives".to_owned())?;
    let machine = ClientMachine::default();
    let plan = ns
        .namespace()
        .plan_remove_cache_directive(&plan_context(ctx, &machine), request.id)?;
    let answer = commit_void_once(ns, plan)?;
    ns.directive_changed(request.id);
    Ok(answer)
}

/// `addCachePool`
pub fn add_cache_pool(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: AddCachePoolRequestProto,
) -> Result<Once<AddCachePoolResponseProto>> {
    ctx.check_superuser_for(ns, "addCachePool")?;
    let named = request.info.pool_name().to_owned();
    no_safe_mode(ns, || format!("Cannot add cache pool{named}"))?;
    let machine = ClientMachine::default();
    let plan = ns
        .namespace()
        .plan_add_cache_pool(&plan_context(ctx, &machine), &request.info)?;
    let (_, after) = commit(ns, plan)?;
    Ok(Once {
        answer: Answer::new(AddCachePoolResponseProto {}, after),
        keep: true,
    })
}

/// `modifyCachePool`
pub fn modify_cache_pool(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: ModifyCachePoolRequestProto,
) -> Result<Once<ModifyCachePoolResponseProto>> {
    ctx.check_superuser_for(ns, "modifyCachePool")?;
    let named = request.info.pool_name().to_owned();
    no_safe_mode(ns, || format!("Cannot modify cache pool{named}"))?;
    let machine = ClientMachine::default();
    let plan = ns
        .namespace()
        .plan_modify_cache_pool(&plan_context(ctx, &machine), &request.info)?;
    let answer = commit_void_once(ns, plan)?;
    ns.rescan_cache();
    Ok(answer)
}

/// `removeCachePool`, with its directives.
pub fn remove_cache_pool(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: RemoveCachePoolRequestProto,
) -> Result<Once<RemoveCachePoolResponseProto>> {
    ctx.check_superuser_for(ns, "removeCachePool")?;
    no_safe_mode(ns, || format!("Cannot modify cache pool{}", request.pool_name))?;
    let machine = ClientMachine::default();
    let plan = ns
        .namespace()
        .plan_remove_cache_pool(&plan_context(ctx, &machine), &request.pool_name)?;
    let answer = commit_void_once(ns, plan)?;
    ns.rescan_cache();
    Ok(answer)
}

/// A pool in which everything that images and edits leave out has its default (`CachePoolInfo.DEFAULT_*`).
fn whole(pool: &CachePoolInfoProto) -> CachePoolInfoProto {
    CachePoolInfoProto {
        mode: pool.mode.or(Some(0o755)),
        limit: pool.limit.or(Some(i64::MAX)),
        default_replication: Some(pool.default_replication()),
        max_relative_expiry: pool.max_relative_expiry.or(Some(CACHE_NEVER_EXPIRES_MS)),
        ..pool.clone()
    }
}

fn pool_entry(ns: &Namesystem, ctx: &CallContext, pool: &CachePoolInfoProto) -> CachePoolEntryProto {
    if !ns.namespace().may_read_pool(&caller(ctx), pool) {
        let info = CachePoolInfoProto {
            pool_name: pool.pool_name.clone(),
            ..Default::default()
        };
        let stats = CachePoolStatsProto::default();
        return CachePoolEntryProto { info, stats };
    }
    let sum = ns.pool_stats(pool.pool_name());
    let limit = pool.limit.unwrap_or(i64::MAX).unsigned_abs();
    CachePoolEntryProto {
        info: whole(pool),
        stats: CachePoolStatsProto {
            bytes_needed: wire(sum.bytes_needed),
            bytes_cached: wire(sum.bytes_cached),
            bytes_overlimit: wire(sum.bytes_needed.saturating_sub(limit)),
            files_needed: wire(sum.files_needed),
            files_cached: wire(sum.files_cached),
        },
    }
}

fn wire(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// `listCachePools`: of a pool that the caller may not read, only the name.
pub fn list_cache_pools(
    ns: &Namesystem,
    ctx: &CallContext,
    request: ListCachePoolsRequestProto,
) -> Outcome<ListCachePoolsResponseProto> {
    let mut rest = ns.namespace().cache_pools_after(&request.prev_pool_name);
    let page = rest.by_ref().take(ns.config.caching.pools_listed);
    let entries = page.map(|pool| pool_entry(ns, ctx, pool)).collect();
    let has_more = rest.next().is_some();
    Ok(Answer::new(
        ListCachePoolsResponseProto { entries, has_more },
        ns.shown_everything(),
    ))
}

/// The directives that a caller has asked for, without the path, which is normalized.
fn checked_filter(ns: &Namesystem, request: &ListCacheDirectivesRequestProto) -> Result<(Option<String>, i64)> {
    let filter = &request.filter;
    let invalid = |message: String| Err(RemoteException::new(exceptions::INVALID_REQUEST, message));
    let path = filter.path.as_deref().map(|path| cache_path(Some(path))).transpose()?;
    if filter.replication.is_some() {
        return invalid("Filtering by replication is unsupported.".to_owned());
    }
    match filter.id {
        Some(id) if ns.namespace().cache_directive(id).is_none() => invalid(format!("Did not find requested id {id}")),
        Some(id) => Ok((path, id.saturating_sub(1))),
        None => Ok((path, request.prev_id)),
    }
}

/// `listCacheDirectives`: the directives of pools that the caller may read.
pub fn list_cache_directives(
    ns: &Namesystem,
    ctx: &CallContext,
    request: ListCacheDirectivesRequestProto,
) -> Outcome<ListCacheDirectivesResponseProto> {
    let (path, after) = checked_filter(ns, &request)?;
    let filter = &request.filter;
    let wanted = |directive: &&CacheDirectiveInfoProto| {
        let is = |asked: &Option<String>, has: &Option<String>| asked.is_none() || asked == has;
        let pool = directive.pool.as_deref();
        let pool = pool.and_then(|pool| ns.namespace().cache_pool(pool));
        is(&path, &directive.path)
            && is(&filter.pool, &directive.pool)
            && filter.id.is_none_or(|id| directive.id == Some(id))
            && pool.is_some_and(|pool| ns.namespace().may_read_pool(&caller(ctx), pool))
    };
    let mut rest = ns.namespace().cache_directives_after(after).filter(wanted);
    let page = rest.by_ref().take(ns.config.caching.directives_listed);
    let elements = page.map(|directive| directive_entry(ns, ctx, directive)).collect();
    let has_more = filter.id.is_none() && rest.next().is_some();
    Ok(Answer::new(
        ListCacheDirectivesResponseProto { elements, has_more },
        ns.shown_everything(),
    ))
}

fn directive_entry(
    ns: &Namesystem,
    ctx: &CallContext,
    directive: &CacheDirectiveInfoProto,
) -> CacheDirectiveEntryProto {
    let stats: DirectiveStats = ns.directive_stats(directive);
    let expiry = directive.expiration.as_ref();
    CacheDirectiveEntryProto {
        info: directive.clone(),
        stats: CacheDirectiveStatsProto {
            bytes_needed: wire(stats.bytes_needed),
            bytes_cached: wire(stats.bytes_cached),
            files_needed: wire(stats.files_needed),
            files_cached: wire(stats.files_cached),
            has_expired: expiry.is_some_and(|expiry| expiry.millis < wire(ctx.now_ms)),
        },
    }
}

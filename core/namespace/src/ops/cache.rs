//! `addCacheDirective`, `modifyCacheDirective`, `removeCacheDirective`, `addCachePool`, `modifyCachePool` and
//! `removeCachePool` (`CacheManager`, `FSNDNCacheOp`), and the files that a directive is about.

use hathi_formats::editlog::{CacheDirectiveInfo, CachePoolInfo, EditOp};
use hathi_formats::exceptions as ex;
use hathi_formats::ids::InodeId;
use hathi_formats::proto::hdfs::{CacheDirectiveInfoExpirationProto, CacheDirectiveInfoProto, CachePoolInfoProto};

use crate::namespace::Namespace;
use crate::path::{is_valid_name, refuse};
use crate::permission::{action, action_name};
use crate::store::slab::Slot;
use crate::types::{Caller, Ctx, Plan, Refused};
use crate::view::View;

/// The longest relative expiry, which stands for never (`Expiration.MAX_RELATIVE_EXPIRY_MS`).
pub const CACHE_NEVER_EXPIRES_MS: i64 = i64::MAX / 4;
/// The mode of a pool for which none is given (`FsPermission.getCachePoolDefault`).
const POOL_MODE: u16 = 0o755;
/// Bits of a mode.
const MODE_BITS: i32 = 0o1777;

/// Bytes that the directives of a pool need. A plan asks for it when the pool has a limit.
pub type PoolDemand<'a> = &'a dyn Fn(&str) -> u64;

/// What is to be cached for a path, once (`CacheManager.computeNeeded`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheDemand {
    /// Length of the files.
    pub bytes: u64,
    /// Number of files.
    pub files: u64,
}

/// Some of the files that a directive is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachedFiles {
    /// The files, in the order of their names.
    pub files: Vec<InodeId>,
    /// The last name that was looked at, when there are more.
    pub more_after: Option<Vec<u8>>,
}

fn invalid(message: impl Into<String>) -> Refused {
    refuse(ex::INVALID_REQUEST, message)
}

/// A path as `Path` reads it: no slash at the end, and never two of them together.
fn normalized(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for (at, c) in path.char_indices() {
        if c == '/' && at > 1 && out.ends_with('/') {
            continue;
        }
        out.push(c);
    }
    while out.len() > 1 && out.ends_with('/') && out != "//" {
        out.pop();
    }
    out
}

/// The path of a directive (`CacheManager.validatePath`).
///
/// # Errors
/// InvalidRequest, for what is no absolute path.
pub fn cache_path(path: Option<&str>) -> Result<String, Refused> {
    let path = path.ok_or_else(|| invalid("No path specified."))?;
    let path = normalized(path);
    match is_valid_name(&path) {
        true => Ok(path),
        false => Err(invalid(format!("Invalid path '{path}'."))),
    }
}

/// A replication as clients send it: a short, made wider.
fn short(number: u32) -> Result<i16, Refused> {
    let number = number as i32;
    i16::try_from(number).map_err(|_| refuse(ex::ILLEGAL_ARGUMENT, format!("Out of range: {number}")))
}

/// `CacheManager.validateReplication`
fn replication(asked: i16) -> Result<i16, Refused> {
    match asked > 0 {
        true => Ok(asked),
        false => Err(invalid(format!("Invalid replication factor {asked} <= 0"))),
    }
}

/// The time at which a directive expires (`CacheManager.validateExpiryTime`). `shown` is its text for clients.
fn expiry_ms(
    asked: Option<&CacheDirectiveInfoExpirationProto>,
    pool: &CachePoolInfoProto,
    now_ms: u64,
    shown: &dyn Fn(&CacheDirectiveInfoExpirationProto) -> String,
) -> Result<i64, Refused> {
    let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let max_relative = pool.max_relative_expiry.unwrap_or(CACHE_NEVER_EXPIRES_MS);
    let Some(asked) = asked else {
        return Ok(now.saturating_add(max_relative));
    };
    if asked.millis < 0 {
        return Err(invalid(format!("Cannot set a negative expiration: {}", asked.millis)));
    }
    let (relative, absolute) = match asked.is_relative {
        true => (asked.millis, now.saturating_add(asked.millis)),
        false => (asked.millis.saturating_sub(now), asked.millis),
    };
    if relative > CACHE_NEVER_EXPIRES_MS {
        return Err(invalid(format!(
            "Expiration {} is too far in the future!",
            shown(asked)
        )));
    }
    if relative > max_relative {
        return Err(invalid(format!(
            "Expiration {} exceeds the max relative expiration time of {max_relative} ms.",
            shown(asked)
        )));
    }
    Ok(absolute)
}

/// The name of a pool that is to be found (`CacheManager.validatePoolName`).
fn named_pool(pool: Option<&str>) -> Result<&str, Refused> {
    match pool {
        None => Err(invalid("No pool specified.")),
        Some("") => Err(invalid("Invalid empty pool name.")),
        Some(pool) => Ok(pool),
    }
}

/// `CachePoolInfo.validateName`
fn pool_name(name: Option<&str>) -> Result<String, Refused> {
    match name {
        None | Some("") => Err(refuse(ex::IO, "invalid empty cache pool name")),
        Some(name) => Ok(name.to_owned()),
    }
}

/// What a caller says of a pool (`CachePoolInfo.validate`).
fn pool_info(asked: &CachePoolInfoProto) -> Result<CachePoolInfo, Refused> {
    if asked.limit.is_some_and(|limit| limit < 0) {
        return Err(invalid("Limit is negative."));
    }
    let default_replication = asked.default_replication.map(short).transpose()?;
    if default_replication.is_some_and(|replication| replication < 0) {
        return Err(invalid("Default Replication is negative"));
    }
    if asked.max_relative_expiry.is_some_and(|expiry| expiry < 0) {
        return Err(invalid("Max relative expiry is negative."));
    }
    if asked
        .max_relative_expiry
        .is_some_and(|expiry| expiry > CACHE_NEVER_EXPIRES_MS)
    {
        return Err(invalid("Max relative expiry is too big."));
    }
    Ok(CachePoolInfo {
        pool_name: pool_name(asked.pool_name.as_deref())?,
        owner_name: asked.owner_name.clone(),
        group_name: asked.group_name.clone(),
        mode: asked.mode.map(|mode| (mode & MODE_BITS) as u16),
        limit: asked.limit,
        max_relative_expiry: asked.max_relative_expiry,
        default_replication,
    })
}

impl Namespace {
    /// Whether a caller may use a pool so (`FSPermissionChecker.checkPermission(CachePool, FsAction)`).
    fn may_use_pool(&self, caller: &Caller<'_>, pool: &CachePoolInfoProto, wanted: u8) -> bool {
        if caller.superuser || !self.config.permissions_enabled {
            return true;
        }
        let mode = pool.mode.unwrap_or(i32::from(POOL_MODE));
        let grants = |shift: i32| (mode >> shift) & i32::from(wanted) == i32::from(wanted);
        let owns = pool.owner_name.as_deref() == Some(caller.user);
        let belongs = caller
            .groups
            .iter()
            .any(|group| Some(group) == pool.group_name.as_ref());
        (owns && grants(6)) || (belongs && grants(3)) || (!owns && !belongs && grants(0))
    }

    /// Whether a caller may see the directives of a pool.
    #[must_use]
    pub fn may_read_pool(&self, caller: &Caller<'_>, pool: &CachePoolInfoProto) -> bool {
        self.may_use_pool(caller, pool, action::READ)
    }

    fn check_pool_write(&self, caller: &Caller<'_>, pool: &CachePoolInfoProto) -> Result<(), Refused> {
        if self.may_use_pool(caller, pool, action::WRITE) {
            return Ok(());
        }
        Err(refuse(
            ex::ACCESS_CONTROL,
            format!(
                "Permission denied while accessing pool {}: user {} does not have {} permissions.",
                pool.pool_name(),
                caller.user,
                action_name(action::WRITE)
            ),
        ))
    }

    fn known_pool(&self, name: Option<&str>) -> Result<&CachePoolInfoProto, Refused> {
        let name = named_pool(name)?;
        self.cache_pool(name)
            .ok_or_else(|| invalid(format!("Unknown pool {name}")))
    }

    /// A directive (`CacheManager.getById`).
    ///
    /// # Errors
    /// InvalidRequest, when there is none with this id.
    fn known_directive(&self, id: i64) -> Result<&CacheDirectiveInfoProto, Refused> {
        if id <= 0 {
            return Err(invalid("Invalid negative ID."));
        }
        self.cache_directive(id)
            .ok_or_else(|| invalid(format!("No directive with ID {id} found.")))
    }

    /// Refuses what would need more bytes than a pool may have cached (`CacheManager.checkLimit`).
    fn check_pool_limit(
        &self,
        pool: &CachePoolInfoProto,
        path: &str,
        replication: i16,
        demand: PoolDemand<'_>,
    ) -> Result<(), Refused> {
        let limit = pool.limit.unwrap_or(i64::MAX);
        if limit == i64::MAX {
            return Ok(());
        }
        let size = self.cache_demand(path).bytes;
        let needed = demand(pool.pool_name());
        let more = size.saturating_mul(u64::from(replication.unsigned_abs()));
        if needed.saturating_add(more) <= limit.unsigned_abs() {
            return Ok(());
        }
        let left = i128::from(limit) - i128::from(needed);
        Err(invalid(format!(
            "Caching path {path} of size {size} bytes at replication {replication} would exceed pool {}'s remaining capacity of {left} bytes.",
            pool.pool_name()
        )))
    }

    /// `addCacheDirective`. The answer is the id. `demand` is what the pool needs already; without it the limit of the pool
    /// is not checked. `shown` makes the text of an expiry, because this crate knows no calendar.
    ///
    /// # Errors
    /// InvalidRequest; AccessControl, without write permission on the pool; IO, for an id, which nobody may choose.
    pub fn plan_add_cache_directive(
        &self,
        ctx: &Ctx<'_>,
        asked: &CacheDirectiveInfoProto,
        demand: Option<PoolDemand<'_>>,
        shown: &dyn Fn(&CacheDirectiveInfoExpirationProto) -> String,
    ) -> Result<Plan<i64>, Refused> {
        if asked.id.is_some() {
            return Err(refuse(
                ex::IO,
                "addDirective: you cannot specify an ID for this operation.",
            ));
        }
        let pool = self.known_pool(asked.pool.as_deref())?;
        self.check_pool_write(&ctx.caller, pool)?;
        let path = cache_path(asked.path.as_deref())?;
        let replication = replication(short(asked.replication.unwrap_or(pool.default_replication()))?)?;
        let expiration = expiry_ms(asked.expiration.as_ref(), pool, ctx.now_ms, shown)?;
        if let Some(demand) = demand {
            self.check_pool_limit(pool, &path, replication, demand)?;
        }
        let id = self.carried.cache().next_directive_id();
        if id >= i64::MAX - 1 {
            return Err(refuse(ex::IO, "No more available IDs."));
        }
        let op = EditOp::AddCacheDirective {
            directive: CacheDirectiveInfo {
                id,
                path: Some(path),
                replication: Some(replication),
                pool: Some(pool.pool_name().to_owned()),
                expiration: Some(expiration),
            },
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, id))
    }

    /// `modifyCacheDirective`. What is not given stays. Arguments as of [`Namespace::plan_add_cache_directive`].
    ///
    /// # Errors
    /// InvalidRequest; AccessControl, without write permission on the pool, or on the one to which the directive goes.
    pub fn plan_modify_cache_directive(
        &self,
        ctx: &Ctx<'_>,
        asked: &CacheDirectiveInfoProto,
        demand: Option<PoolDemand<'_>>,
        shown: &dyn Fn(&CacheDirectiveInfoExpirationProto) -> String,
    ) -> Result<Plan<()>, Refused> {
        let id = asked.id.ok_or_else(|| invalid("Must supply an ID."))?;
        let before = self.known_directive(id)?;
        let from = self.known_pool(before.pool.as_deref())?;
        self.check_pool_write(&ctx.caller, from)?;
        let path = cache_path(asked.path.as_deref().or(before.path.as_deref()))?;
        let copies = short(asked.replication.or(before.replication).unwrap_or(0))?;
        let copies = replication(copies)?;
        let into = self.known_pool(asked.pool.as_deref().or(before.pool.as_deref()))?;
        if from.pool_name() != into.pool_name() {
            self.check_pool_write(&ctx.caller, into)?;
            if let Some(demand) = demand {
                self.check_pool_limit(into, &path, copies, demand)?;
            }
        }
        let expiration = asked.expiration.as_ref().or(before.expiration.as_ref());
        let expiration = expiry_ms(expiration, into, ctx.now_ms, shown)?;
        let op = EditOp::ModifyCacheDirective {
            directive: CacheDirectiveInfo {
                id,
                path: asked.path.as_ref().map(|_| path),
                replication: asked.replication.map(|_| copies),
                pool: asked.pool.clone(),
                expiration: asked.expiration.map(|_| expiration),
            },
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    /// `removeCacheDirective`
    ///
    /// # Errors
    /// InvalidRequest; AccessControl, without write permission on the pool.
    pub fn plan_remove_cache_directive(&self, ctx: &Ctx<'_>, id: i64) -> Result<Plan<()>, Refused> {
        let directive = self.known_directive(id)?;
        self.check_pool_write(&ctx.caller, self.known_pool(directive.pool.as_deref())?)?;
        let op = EditOp::RemoveCacheDirective {
            id,
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    /// `addCachePool`. The caller was checked to be a superuser, and owns the pool when nobody else is named. The answer is
    /// the pool.
    ///
    /// # Errors
    /// InvalidRequest; IO, for an empty name, or when no group is named and the caller has none.
    pub fn plan_add_cache_pool(
        &self,
        ctx: &Ctx<'_>,
        asked: &CachePoolInfoProto,
    ) -> Result<Plan<CachePoolInfo>, Refused> {
        let mut pool = pool_info(asked)?;
        if self.cache_pool(&pool.pool_name).is_some() {
            return Err(invalid(format!("Cache pool {} already exists.", pool.pool_name)));
        }
        pool.owner_name.get_or_insert_with(|| ctx.caller.user.to_owned());
        if pool.group_name.is_none() {
            let first = ctx.caller.groups.first().cloned();
            let none = || refuse(ex::IO, format!("There is no primary group for UGI {}", ctx.caller.user));
            pool.group_name = Some(first.ok_or_else(none)?);
        }
        pool.mode.get_or_insert(POOL_MODE);
        pool.limit.get_or_insert(i64::MAX);
        pool.default_replication.get_or_insert(1);
        pool.max_relative_expiry.get_or_insert(CACHE_NEVER_EXPIRES_MS);
        let op = EditOp::AddCachePool {
            pool: pool.clone(),
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, pool))
    }

    /// `modifyCachePool`. The caller was checked to be a superuser. What is not given stays.
    ///
    /// # Errors
    /// InvalidRequest; IO, for an empty name.
    pub fn plan_modify_cache_pool(&self, ctx: &Ctx<'_>, asked: &CachePoolInfoProto) -> Result<Plan<()>, Refused> {
        let pool = pool_info(asked)?;
        if self.cache_pool(&pool.pool_name).is_none() {
            return Err(invalid(format!("Cache pool {} does not exist.", pool.pool_name)));
        }
        let op = EditOp::ModifyCachePool {
            pool,
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    /// `removeCachePool`, with its directives. The caller was checked to be a superuser.
    ///
    /// # Errors
    /// InvalidRequest; IO, for an empty name.
    pub fn plan_remove_cache_pool(&self, ctx: &Ctx<'_>, name: &str) -> Result<Plan<()>, Refused> {
        let pool_name = pool_name(Some(name))?;
        if self.cache_pool(&pool_name).is_none() {
            return Err(invalid(format!("Cannot remove non-existent cache pool {pool_name}")));
        }
        let op = EditOp::RemoveCachePool {
            pool_name,
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    /// A cache directive.
    #[must_use]
    pub fn cache_directive(&self, id: i64) -> Option<&CacheDirectiveInfoProto> {
        self.carried.cache().directives.get(&id)
    }

    /// The number of cache directives.
    #[must_use]
    pub fn cache_directive_count(&self) -> usize {
        self.carried.cache().directives.len()
    }

    /// The inode at which a directive points. A symlink on the way hides it.
    fn cached_inode(&self, path: &str) -> Option<Slot> {
        self.resolve(path).ok()?.last_slot()
    }

    /// What is to be cached for a path: a file, or the files that are directly in a directory.
    #[must_use]
    pub fn cache_demand(&self, path: &str) -> CacheDemand {
        let mut demand = CacheDemand::default();
        let Some(slot) = self.cached_inode(path) else {
            return demand;
        };
        let mut add = |file: Slot| {
            let blocks = self.block_slots(file).iter();
            let bytes = blocks.map(|block| self.block_rec(*block).len()).sum::<u64>();
            demand.bytes = demand.bytes.saturating_add(bytes);
            demand.files += 1;
        };
        match self.rec(slot) {
            rec if rec.is_file() => add(slot),
            rec if rec.is_dir() => {
                for child in self.children(slot).filter(|child| self.rec(*child).is_file()) {
                    add(child);
                }
            }
            _ => {}
        }
        demand
    }

    /// The files that a directive on this path is about, behind a name. At most `max` children of a directory are looked
    /// at.
    #[must_use]
    pub fn files_to_cache(&self, path: &str, after: &[u8], max: usize) -> CachedFiles {
        let mut found = CachedFiles::default();
        let Some(slot) = self.cached_inode(path) else {
            return found;
        };
        let rec = self.rec(slot);
        if rec.is_file() {
            // A file has one turn. It may have replaced a directory in the middle of a walk.
            if after.is_empty() {
                found.files.push(rec.id());
            }
            return found;
        }
        if !rec.is_dir() {
            return found;
        }
        let (behind, children) = self.children_after(slot, after);
        for child in children.take(max) {
            if self.rec(child).is_file() {
                found.files.push(self.rec(child).id());
            }
            if behind > max {
                found.more_after = Some(self.name_of(child).to_vec());
            }
        }
        found
    }
}

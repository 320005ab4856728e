//! The scan of cache directives, and what directives need and have; see [`crate::caching`].

use super::Namesystem;
use crate::Role;
use crate::caching::{DirectiveStats, Scan};
use hathi_blockmanager::{BlockManager, Now};
use hathi_formats::ids::{BlockId, InodeId};
use hathi_formats::proto::hdfs::CacheDirectiveInfoProto;
use hathi_namespace::Namespace;
use std::collections::BTreeMap;

/// Children of a directory that are looked at between two looks at the size of the slice.
const CHILDREN_AT_ONCE: usize = 100;

fn replication_of(directive: &CacheDirectiveInfoProto) -> u16 {
    u16::try_from(directive.replication()).unwrap_or(0)
}

fn has_expired(directive: &CacheDirectiveInfoProto, now: Now) -> bool {
    let expiry = directive.expiration.as_ref();
    expiry.is_some_and(|expiry| u64::try_from(expiry.millis).is_ok_and(|at| at <= now.wall_ms))
}

/// What a directive needs as of now, counted anew.
fn needed(namespace: &Namespace, directive: &CacheDirectiveInfoProto) -> DirectiveStats {
    let demand = namespace.cache_demand(directive.path());
    DirectiveStats {
        bytes_needed: demand.bytes.saturating_mul(u64::from(replication_of(directive))),
        files_needed: demand.files,
        ..DirectiveStats::default()
    }
}

impl Namesystem {
    /// A directive came, changed or went.
    pub(crate) fn directive_changed(&mut self, id: i64) {
        self.cache_scans.is_due = true;
        match self.namespace().cache_directive(id) {
            Some(directive) => {
                let stats = needed(self.namespace(), directive);
                self.cache_scans.stats.insert(id, stats);
            }
            None => drop(self.cache_scans.stats.remove(&id)),
        }
    }

    /// Pools have changed.
    pub(crate) fn rescan_cache(&mut self) {
        self.cache_scans.is_due = true;
    }

    /// What a directive needs and has.
    pub(crate) fn directive_stats(&self, directive: &CacheDirectiveInfoProto) -> DirectiveStats {
        let known = self.cache_scans.stats.get(&directive.id()).copied();
        known.unwrap_or_else(|| needed(self.namespace(), directive))
    }

    /// What the directives of a pool need and have.
    pub(crate) fn pool_stats(&self, pool: &str) -> DirectiveStats {
        debug_assert!(!pool.is_empty(), "a pool has a name");
        let mut sum = DirectiveStats::default();
        let all = self.namespace().cache_directives_after(i64::MIN);
        for directive in all.filter(|directive| directive.pool.as_deref() == Some(pool)) {
            sum.add(&self.directive_stats(directive));
        }
        sum
    }
}

/// A slice of a scan, or the beginning of one that is due. Looks at about `max` children and blocks. Returns whether there
/// is more to do at once. Only an active out of safe mode scans.
pub fn check_caching(ns: &mut Namesystem, now: Now, max: usize) -> bool {
    if ns.role() != Role::Active || ns.is_broken() || ns.blockmanager().in_safe_mode() || !ns.config.caching.enabled {
        ns.cache_scans.scan = None;
        return false;
    }
    if ns.cache_scans.scan.is_none() && !begin(ns, now) {
        return false;
    }
    debug_assert_eq!(ns.role(), Role::Active, "only an active has replicas cached");
    let mut scans = std::mem::take(&mut ns.cache_scans);
    let (namespace, blockmanager) = ns.namespace_and_blockmanager();
    scans.scan = match scans.scan.take() {
        Some(Scan::Directives {
            after,
            begun,
            pools,
            stats,
        }) => {
            let mut walk = Walk {
                namespace,
                blockmanager,
                now,
                after,
                begun,
                pools,
                stats,
            };
            match walk.slice(max) {
                true => Some(Scan::Directives {
                    after: walk.after,
                    begun: walk.begun,
                    pools: walk.pools,
                    stats: walk.stats,
                }),
                false => {
                    scans.stats = walk.stats;
                    blockmanager.trim_cache_orders();
                    Some(Scan::Blocks(BlockId(i64::MIN)))
                }
            }
        }
        Some(Scan::Blocks(from)) => blockmanager.assign_cached(from, max, now).map(Scan::Blocks),
        None => None,
    };
    let more = scans.scan.is_some();
    ns.cache_scans = scans;
    more
}

/// Begins a scan if one is due. Where nothing is cached and nothing is to be, none is needed.
fn begin(ns: &mut Namesystem, now: Now) -> bool {
    let rescan_ms = ns.config.caching.rescan_ms;
    let idle = ns.namespace().cache_directive_count() == 0 && ns.blockmanager().caches_nothing();
    let scans = &mut ns.cache_scans;
    let period = |began: u64| now.monotonic_ms.saturating_sub(began) >= rescan_ms;
    if idle || !(scans.is_due || scans.began_ms.is_none_or(period)) {
        return false;
    }
    debug_assert!(scans.scan.is_none(), "one scan at a time");
    scans.is_due = false;
    scans.began_ms = Some(now.monotonic_ms);
    scans.scan = Some(Scan::Directives {
        after: i64::MIN,
        begun: None,
        pools: BTreeMap::new(),
        stats: BTreeMap::new(),
    });
    ns.blockmanager_mut().begin_cache_scan();
    true
}

/// The first half of a scan under way.
struct Walk<'a> {
    namespace: &'a Namespace,
    blockmanager: &'a mut BlockManager,
    now: Now,
    after: i64,
    begun: Option<(Vec<u8>, DirectiveStats)>,
    pools: BTreeMap<String, u64>,
    stats: BTreeMap<i64, DirectiveStats>,
}

impl Walk<'_> {
    /// Looks at about `max` children and blocks. Returns whether there are more.
    fn slice(&mut self, max: usize) -> bool {
        let mut looked_at = 0;
        while looked_at < max {
            let namespace = self.namespace;
            let Some(directive) = namespace.cache_directives_after(self.after).next() else {
                return false;
            };
            debug_assert!(directive.id() > self.after, "directives are looked at by their ids");
            looked_at += 1;
            let (after, mut stats) = self.begun.take().unwrap_or_default();
            let mut more_after = None;
            if !has_expired(directive, self.now) {
                let page = namespace.files_to_cache(directive.path(), &after, CHILDREN_AT_ONCE);
                for file in &page.files {
                    looked_at += 1 + self.file(directive, *file, &mut stats);
                }
                more_after = page.more_after;
            }
            match more_after {
                Some(name) => self.begun = Some((name, stats)),
                None => {
                    self.after = directive.id();
                    self.stats.insert(directive.id(), stats);
                }
            }
        }
        true
    }

    /// Wants the blocks of a file (`CacheReplicationMonitor.rescanFile`). Returns how many it has.
    fn file(&mut self, directive: &CacheDirectiveInfoProto, file: InodeId, stats: &mut DirectiveStats) -> usize {
        let copies = replication_of(directive);
        let blocks: Vec<_> = self.namespace.blocks_of(file).collect();
        let complete = blocks.iter().filter(|block| !block.under_construction);
        let bytes: u64 = complete.map(|block| block.block.num_bytes).sum();
        let needed = bytes.saturating_mul(u64::from(copies));
        stats.files_needed += 1;
        stats.bytes_needed = stats.bytes_needed.saturating_add(needed);
        let pool = directive.pool();
        let limit = self.namespace.cache_pool(pool).and_then(|pool| pool.limit);
        let sum = self.pools.entry(pool.to_owned()).or_default();
        *sum = sum.saturating_add(needed);
        if *sum > limit.unwrap_or(i64::MAX).max(0).unsigned_abs() {
            return 0;
        }
        let mut cached = 0u64;
        for block in &blocks {
            let on = self
                .blockmanager
                .want_cached(block.block.id, copies)
                .min(usize::from(copies));
            cached = cached.saturating_add(block.block.num_bytes.saturating_mul(on as u64));
        }
        stats.bytes_cached = stats.bytes_cached.saturating_add(cached);
        if cached == needed {
            stats.files_cached += 1;
        }
        blocks.len()
    }
}

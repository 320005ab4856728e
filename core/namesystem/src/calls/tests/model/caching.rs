//! Cache pools and directives, and what a scan finds that they need.

use super::tree::{File, Kind};
use super::world::{Classes, World, agree};
use super::*;
use crate::namesystem::check_caching;
use hathi_namespace::CACHE_NEVER_EXPIRES_MS;
use std::collections::BTreeMap;

const POOLS: [&str; 3] = ["one", "two", "three"];
const INVALID: Classes = &[exceptions::INVALID_REQUEST];
/// Longer than the time between two scans.
const SCAN_EVERY_MS: u64 = 3_600_000;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pool {
    mode: i32,
    limit: i64,
    max_expiry_ms: i64,
    replication: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Directive {
    path: String,
    pool: String,
    replication: u32,
    expires_ms: i64,
    /// Bytes and files, as of the last change or scan.
    needs: (u64, u64),
}

#[derive(Default)]
pub(super) struct Caching {
    pools: BTreeMap<&'static str, Pool>,
    directives: BTreeMap<i64, Directive>,
    last_id: i64,
    scans: u64,
}

impl Caching {
    fn needed(&self, pool: &str) -> u64 {
        let of = self.directives.values().filter(|directive| directive.pool == pool);
        of.map(|directive| directive.needs.0).sum()
    }
}

impl World {
    /// Bytes and files of a path, once: a file, or the files that are directly in a directory.
    fn demand(&self, path: &str) -> (u64, u64) {
        let Ok(node) = self.root.find(path) else { return (0, 0) };
        let files: Vec<&File> = match &node.kind {
            Kind::File(file) => vec![file],
            Kind::Dir(dir) => dir.children.values().filter_map(|child| child.file()).collect(),
        };
        (files.iter().map(|file| file.length()).sum(), files.len() as u64)
    }

    fn pool(&mut self) -> &'static str {
        POOLS[self.random.usize(..POOLS.len())]
    }

    pub(super) fn change_pools(&mut self) {
        let name = self.pool();
        let known = self.caching.pools.get(name).cloned();
        let kind = self.random.u8(..8);
        if kind == 0 {
            let request = RemoveCachePoolRequestProto {
                pool_name: name.to_owned(),
            };
            let answer = self.call(&request);
            agree(&request, &answer, known.map(|_| ()).ok_or(INVALID));
            self.caching.pools.remove(name);
            self.caching.directives.retain(|_, directive| directive.pool != name);
            return;
        }
        let mut some = |one: i64, other: i64| match self.random.u8(..4) {
            0 => Some(one),
            1 => Some(other),
            _ => None,
        };
        let info = CachePoolInfoProto {
            pool_name: Some(name.to_owned()),
            mode: some(0o700, 0o750).map(|mode| mode as i32),
            limit: some(3 << 20, 20 << 20),
            max_relative_expiry: some(1000, 100_000),
            default_replication: some(2, 3).map(|number| number as u32),
            ..Default::default()
        };
        let before = known.clone().unwrap_or(Pool {
            mode: 0o755,
            limit: i64::MAX,
            max_expiry_ms: CACHE_NEVER_EXPIRES_MS,
            replication: 1,
        });
        let then = Pool {
            mode: info.mode.unwrap_or(before.mode),
            limit: info.limit.unwrap_or(before.limit),
            max_expiry_ms: info.max_relative_expiry.unwrap_or(before.max_expiry_ms),
            replication: info.default_replication.unwrap_or(before.replication),
        };
        let done = if kind < 4 {
            let request = AddCachePoolRequestProto { info };
            let answer = self.call(&request);
            agree(&request, &answer, if known.is_none() { Ok(()) } else { Err(INVALID) });
            answer.is_ok()
        } else {
            let request = ModifyCachePoolRequestProto { info };
            let answer = self.call(&request);
            agree(&request, &answer, known.map(|_| ()).ok_or(INVALID));
            answer.is_ok()
        };
        if done {
            self.caching.pools.insert(name, then);
        }
    }

    fn expiration(&mut self) -> Option<CacheDirectiveInfoExpirationProto> {
        let millis = self.random.i64(-20..3000);
        match self.random.u8(..4) {
            0 => Some(CacheDirectiveInfoExpirationProto {
                millis,
                is_relative: true,
            }),
            1 => Some(CacheDirectiveInfoExpirationProto {
                millis: self.now_ms as i64 + millis,
                is_relative: false,
            }),
            _ => None,
        }
    }

    pub(super) fn change_directives(&mut self) {
        match self.random.u8(..8) {
            0 => self.remove_directive(),
            1..=4 => self.add_directive(),
            _ => self.modify_directive(),
        }
    }

    fn some_id(&mut self) -> i64 {
        self.random.i64(1..self.caching.last_id + 3)
    }

    fn remove_directive(&mut self) {
        let id = self.some_id();
        let request = RemoveCacheDirectiveRequestProto { id };
        let answer = self.call(&request);
        let known = self.caching.directives.remove(&id);
        agree(request, &answer, known.map(|_| ()).ok_or(INVALID));
    }

    /// When a directive expires in a pool that was asked to expire so, in a call that is about to be made.
    fn expires(&self, asked: Option<CacheDirectiveInfoExpirationProto>, pool: &Pool) -> Result<i64, Classes> {
        let now = self.now_ms as i64 + 1;
        let at = match asked {
            None => now + pool.max_expiry_ms,
            Some(asked) if asked.millis < 0 => return Err(INVALID),
            Some(asked) if asked.is_relative => now + asked.millis,
            Some(asked) => asked.millis,
        };
        if at - now > pool.max_expiry_ms {
            Err(INVALID)
        } else {
            Ok(at)
        }
    }

    fn fits_pool(&self, name: &str, path: &str, replication: u32) -> Result<(), Classes> {
        let limit = self.caching.pools[name].limit as u64;
        let more = self.demand(path).0 * u64::from(replication);
        let fits = self.caching.needed(name) + more <= limit;
        if fits { Ok(()) } else { Err(INVALID) }
    }

    fn add_directive(&mut self) {
        let (path, pool) = (self.path(), self.pool());
        let forced = self.random.u8(..4) == 0;
        let replication = (self.random.u8(..3) == 0).then(|| self.random.u32(1..4));
        let info = CacheDirectiveInfoProto {
            path: Some(path.clone()),
            pool: Some(pool.to_owned()),
            replication,
            expiration: self.expiration(),
            ..Default::default()
        };
        let request = AddCacheDirectiveRequestProto {
            info,
            cache_flags: forced.then_some(1),
        };
        let known = self.caching.pools.get(pool).cloned().ok_or(INVALID);
        let copies = replication
            .or(known.as_ref().ok().map(|pool| pool.replication))
            .unwrap_or(1);
        let expected = known.and_then(|known| {
            let expires = self.expires(request.info.expiration, &known)?;
            if !forced {
                self.fits_pool(pool, &path, copies)?;
            }
            Ok(expires)
        });
        let answer = self.call(&request);
        agree(&request, &answer, expected.map(|_| ()));
        if let (Ok(answer), Ok(expires_ms)) = (answer, expected) {
            self.caching.last_id += 1;
            assert_eq!(answer.id, self.caching.last_id, "ids go on");
            let (bytes, files) = self.demand(&path);
            let directive = Directive {
                path,
                pool: pool.to_owned(),
                replication: copies,
                expires_ms,
                needs: (bytes * u64::from(copies), files),
            };
            self.caching.directives.insert(answer.id, directive);
        }
    }

    fn modify_directive(&mut self) {
        let id = self.some_id();
        let forced = self.random.u8(..4) == 0;
        let mut half = || self.random.bool();
        let (moves, goes, copied) = (half(), half(), half());
        let info = CacheDirectiveInfoProto {
            id: Some(id),
            path: moves.then(|| self.path()),
            pool: goes.then(|| self.pool().to_owned()),
            replication: copied.then(|| self.random.u32(1..4)),
            expiration: self.expiration(),
        };
        let request = ModifyCacheDirectiveRequestProto {
            info: info.clone(),
            cache_flags: forced.then_some(1),
        };
        let before = self.caching.directives.get(&id).cloned().ok_or(INVALID);
        let then = before.and_then(|before| {
            let mut then = before.clone();
            then.path = info.path.unwrap_or(then.path);
            then.pool = info.pool.unwrap_or(then.pool);
            then.replication = info.replication.unwrap_or(then.replication);
            let pool = self.caching.pools.get(&*then.pool).ok_or(INVALID)?;
            if !forced && then.pool != before.pool {
                self.fits_pool(&then.pool, &then.path, then.replication)?;
            }
            // What does not change has to fit into the new pool as well.
            let kept = CacheDirectiveInfoExpirationProto {
                millis: before.expires_ms,
                is_relative: false,
            };
            then.expires_ms = self.expires(Some(info.expiration.unwrap_or(kept)), pool)?;
            Ok(then)
        });
        let answer = self.call(&request);
        agree(&request, &answer, then.as_ref().map(|_| ()).map_err(|classes| *classes));
        if let Ok(mut then) = then {
            let (bytes, files) = self.demand(&then.path);
            then.needs = (bytes * u64::from(then.replication), files);
            self.caching.directives.insert(id, then);
        }
    }

    /// A whole scan, in slices.
    pub(super) fn scan_cache(&mut self) {
        self.caching.scans += 1;
        let now = Now {
            wall_ms: self.now_ms,
            monotonic_ms: NOW.monotonic_ms + self.caching.scans * SCAN_EVERY_MS,
        };
        while check_caching(&mut self.active, now, 7) {}
        let mut directives = std::mem::take(&mut self.caching.directives);
        for directive in directives.values_mut() {
            let (bytes, files) = self.demand(&directive.path);
            directive.needs = match directive.expires_ms <= self.now_ms as i64 {
                true => (0, 0),
                false => (bytes * u64::from(directive.replication), files),
            };
        }
        self.caching.directives = directives;
    }

    pub(super) fn compare_caching(&mut self) {
        let listed = self.read(&ListCachePoolsRequestProto::default());
        assert!(!listed.has_more, "there are few pools");
        let shown = listed.entries.iter().map(|entry| {
            let info = &entry.info;
            let pool = Pool {
                mode: info.mode(),
                limit: info.limit(),
                max_expiry_ms: info.max_relative_expiry(),
                replication: info.default_replication(),
            };
            (info.pool_name().to_owned(), pool, entry.stats.bytes_needed as u64)
        });
        let shown: Vec<_> = shown.collect();
        let expected = self.caching.pools.iter();
        let expected = expected.map(|(name, pool)| ((*name).to_owned(), pool.clone(), self.caching.needed(name)));
        let expected: Vec<_> = expected.collect();
        assert_eq!(shown, expected, "pools");
        let listed = self.read(&ListCacheDirectivesRequestProto::default());
        assert!(!listed.has_more || listed.elements.len() >= 50, "a page has many");
        let shown = listed.elements.iter().map(|entry| {
            let info = &entry.info;
            let expires = info.expiration.expect("an expiry");
            assert!(!expires.is_relative, "{info:?}");
            let is_late = expires.millis < self.now_ms as i64;
            assert_eq!(entry.stats.has_expired, is_late, "{info:?} at {}", self.now_ms);
            let directive = Directive {
                path: info.path().to_owned(),
                pool: info.pool().to_owned(),
                replication: info.replication(),
                expires_ms: expires.millis,
                needs: (entry.stats.bytes_needed as u64, entry.stats.files_needed as u64),
            };
            (info.id(), directive)
        });
        let shown: Vec<_> = shown.collect();
        let page = shown.len();
        let expected = self.caching.directives.iter().take(page);
        let expected: Vec<_> = expected.map(|(id, directive)| (*id, directive.clone())).collect();
        assert_eq!(shown, expected, "directives");
        assert!(
            listed.has_more || page == self.caching.directives.len(),
            "directives are left out"
        );
    }
}

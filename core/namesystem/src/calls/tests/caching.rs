//! Cache pools and directives, from the call to the DataNode and back.

use super::datanode::{dn, heartbeat, register, registration, report};
use super::*;
use crate::namesystem::check_caching;
use hathi_formats::proto::datanode::{
    BlockReportResponseProto, CacheReportRequestProto, CacheReportResponseProto, HeartbeatRequestProto,
    HeartbeatResponseProto,
};

fn pool(name: &str) -> CachePoolInfoProto {
    CachePoolInfoProto {
        pool_name: Some(name.to_owned()),
        ..Default::default()
    }
}

fn add_pool(ns: &mut Namesystem, info: CachePoolInfoProto) -> Result<AddCachePoolResponseProto, RemoteException> {
    call(ns, &hdfs(), &AddCachePoolRequestProto { info })
}

fn directive(path: &str, pool: &str) -> CacheDirectiveInfoProto {
    CacheDirectiveInfoProto {
        path: Some(path.to_owned()),
        pool: Some(pool.to_owned()),
        ..Default::default()
    }
}

fn add(ns: &mut Namesystem, ctx: &CallContext, info: CacheDirectiveInfoProto) -> Result<i64, RemoteException> {
    let request = AddCacheDirectiveRequestProto {
        info,
        cache_flags: None,
    };
    call(ns, ctx, &request).map(|answer| answer.id)
}

fn modify(ns: &mut Namesystem, ctx: &CallContext, info: CacheDirectiveInfoProto) -> Result<(), RemoteException> {
    let request = ModifyCacheDirectiveRequestProto {
        info,
        cache_flags: None,
    };
    call(ns, ctx, &request).map(|_| ())
}

fn list(ns: &mut Namesystem, ctx: &CallContext) -> Vec<CacheDirectiveEntryProto> {
    let request = ListCacheDirectivesRequestProto::default();
    call(ns, ctx, &request).unwrap().elements
}

fn pools(ns: &mut Namesystem, ctx: &CallContext) -> Vec<CachePoolEntryProto> {
    call(ns, ctx, &ListCachePoolsRequestProto::default()).unwrap().entries
}

fn expiring(millis: i64, is_relative: bool) -> CacheDirectiveInfoProto {
    CacheDirectiveInfoProto {
        expiration: Some(CacheDirectiveInfoExpirationProto { millis, is_relative }),
        ..directive("/f", "p")
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_hadoops_words() {
    let mut ns = active();
    add_pool(
        &mut ns,
        CachePoolInfoProto {
            max_relative_expiry: Some(5000),
            limit: Some(100),
            ..pool("p")
        },
    )
    .unwrap();
    let before = ns.edit_log().applied();
    let copies = |replication| CacheDirectiveInfoProto {
        replication: Some(replication),
        ..directive("/f", "p")
    };
    for (info, words) in [
        (CacheDirectiveInfoProto::default(), "No pool specified."),
        (directive("/f", ""), "Invalid empty pool name."),
        (directive("/f", "q"), "Unknown pool q"),
        (directive("f", "p"), "Invalid path 'f'."),
        (
            CacheDirectiveInfoProto {
                path: None,
                ..directive("", "p")
            },
            "No path specified.",
        ),
        (copies(0), "Invalid replication factor 0 <= 0"),
        (copies(u32::MAX), "Invalid replication factor -1 <= 0"),
        (expiring(-3, true), "Cannot set a negative expiration: -3"),
        (
            expiring(5001, true),
            "Expiration 000:00:00:05.001 exceeds the max relative expiration time of 5000 ms.",
        ),
        (
            expiring(i64::MAX / 4 + 1, true),
            "Expiration 26687997791:19:48:13.952 is too far in the future!",
        ),
    ] {
        let expected = RemoteException::new(exceptions::INVALID_REQUEST, words);
        assert_eq!(add(&mut ns, &hdfs(), info), Err(expected));
    }
    let id = CacheDirectiveInfoProto {
        id: Some(1),
        ..directive("/f", "p")
    };
    let refused = add(&mut ns, &hdfs(), id.clone()).unwrap_err();
    assert!(refused.is(exceptions::IO), "{refused}");
    let unknown = modify(&mut ns, &hdfs(), id).unwrap_err();
    assert_eq!(unknown.message, "No directive with ID 1 found.");
    let unknown = modify(&mut ns, &hdfs(), directive("/f", "p")).unwrap_err();
    assert_eq!(unknown.message, "Must supply an ID.");
    for (info, words) in [
        (pool("p"), "Cache pool p already exists."),
        (pool(""), "invalid empty cache pool name"),
        (
            CachePoolInfoProto {
                limit: Some(-1),
                ..pool("q")
            },
            "Limit is negative.",
        ),
    ] {
        assert_eq!(add_pool(&mut ns, info).unwrap_err().message, words);
    }
    let refused = call(
        &mut ns,
        &user("alice", false),
        &RemoveCachePoolRequestProto {
            pool_name: "p".to_owned(),
        },
    );
    assert!(refused.unwrap_err().is(exceptions::ACCESS_CONTROL));
    assert_eq!(ns.edit_log().applied(), before, "nothing was logged");
}

#[test]
fn a_pool_is_open_to_whom_its_mode_says() {
    let mut ns = active();
    let alice = user("alice", false);
    let bob = user("bob", false);
    let owned = CachePoolInfoProto {
        owner_name: Some("alice".to_owned()),
        group_name: Some("bobs".to_owned()),
        mode: Some(0o740),
        ..pool("p")
    };
    add_pool(&mut ns, owned).unwrap();
    let id = add(&mut ns, &alice, directive("/f", "p")).unwrap();
    let refused = add(&mut ns, &bob, directive("/f", "p")).unwrap_err();
    let words = "Permission denied while accessing pool p: user bob does not have WRITE permissions.";
    assert_eq!(refused, RemoteException::new(exceptions::ACCESS_CONTROL, words));
    assert!(call(&mut ns, &bob, &RemoveCacheDirectiveRequestProto { id }).is_err());
    assert_eq!(list(&mut ns, &bob).len(), 1, "the group may read");
    let carol = user("carol", false);
    assert_eq!(list(&mut ns, &carol), []);
    let seen = pools(&mut ns, &carol).remove(0).info;
    assert_eq!(seen, pool("p"), "of a pool that may not be read the name is told");
    assert_eq!(pools(&mut ns, &alice)[0].info.limit, Some(i64::MAX));
}

#[test]
fn a_limit_counts_unless_the_caller_insists() {
    let mut ns = active();
    datanodes(&mut ns, 1);
    let located = closed_file(&mut ns, "/f", 60);
    drop(located);
    let limited = CachePoolInfoProto {
        limit: Some(100),
        ..pool("p")
    };
    add_pool(&mut ns, limited).unwrap();
    add_pool(&mut ns, pool("q")).unwrap();
    add(&mut ns, &hdfs(), directive("/f", "p")).unwrap();
    let refused = add(&mut ns, &hdfs(), directive("/f", "p")).unwrap_err();
    assert_eq!(
        refused.message,
        "Caching path /f of size 60 bytes at replication 1 would exceed pool p's remaining capacity of 40 bytes."
    );
    let other = add(&mut ns, &hdfs(), directive("/f", "q")).unwrap();
    let into = CacheDirectiveInfoProto {
        id: Some(other),
        pool: Some("p".to_owned()),
        ..Default::default()
    };
    assert!(modify(&mut ns, &hdfs(), into).is_err(), "it is full");
    let forced = AddCacheDirectiveRequestProto {
        info: directive("/f", "p"),
        cache_flags: Some(1),
    };
    call(&mut ns, &hdfs(), &forced).unwrap();
    let stats = pools(&mut ns, &hdfs()).remove(0).stats;
    assert_eq!((stats.bytes_needed, stats.bytes_overlimit), (120, 20));
}

#[test]
fn directives_are_listed_in_pages_and_as_they_were_changed() {
    let mut ns = active();
    ns.config.caching.directives_listed = 2;
    add_pool(&mut ns, pool("p")).unwrap();
    for path in ["/a", "/b/", "/c"] {
        add(&mut ns, &hdfs(), directive(path, "p")).unwrap();
    }
    let change = CacheDirectiveInfoProto {
        id: Some(2),
        replication: Some(7),
        ..Default::default()
    };
    modify(&mut ns, &hdfs(), change).unwrap();
    let mut request = ListCacheDirectivesRequestProto::default();
    let page = call(&mut ns, &hdfs(), &request).unwrap();
    assert!(page.has_more);
    let second = &page.elements[1].info;
    assert_eq!((second.path(), second.replication(), second.pool()), ("/b", 7, "p"));
    request.prev_id = 2;
    let page = call(&mut ns, &hdfs(), &request).unwrap();
    assert!(!page.has_more && page.elements.len() == 1);
    request.filter.id = Some(1);
    let one = call(&mut ns, &hdfs(), &request).unwrap();
    assert!(!one.has_more && one.elements[0].info.path() == "/a");
    request.filter.id = Some(9);
    let unknown = call(&mut ns, &hdfs(), &request).unwrap_err();
    assert_eq!(unknown.message, "Did not find requested id 9");
    let remove = RemoveCachePoolRequestProto {
        pool_name: "p".to_owned(),
    };
    call(&mut ns, &hdfs(), &remove).unwrap();
    assert_eq!(list(&mut ns, &hdfs()), []);
}

#[test]
fn a_repeated_call_gets_its_id_again_and_ids_go_on_after_a_failover() {
    let mut ns = active();
    let first = reply(&mut ns, &numbered(1), &AddCachePoolRequestProto { info: pool("p") });
    assert!(first.result.is_ok());
    let request = AddCacheDirectiveRequestProto {
        info: directive("/f", "p"),
        cache_flags: None,
    };
    let done = reply(&mut ns, &numbered(2), &request);
    let line = audit(&ns, &hdfs(), M::AddCacheDirective, &body(&request), &done);
    let src = line.unwrap().src.unwrap();
    assert!(
        src.starts_with("{id: 1, path: /f, replication: 1, pool: p, expiration: "),
        "{src}"
    );
    let answer = done.result.unwrap();
    assert_eq!(reply(&mut ns, &numbered(2), &request).result.unwrap(), answer);
    assert_eq!(list(&mut ns, &hdfs()).len(), 1);

    let mut next = active_copy(&mut ns);
    assert_eq!(next.namespace().digest(), ns.namespace().digest());
    assert_eq!(reply(&mut next, &numbered(2), &request).result.unwrap(), answer);
    assert!(
        reply(&mut next, &numbered(1), &AddCachePoolRequestProto { info: pool("p") })
            .result
            .is_ok()
    );
    assert_eq!(add(&mut next, &hdfs(), directive("/g", "p")), Ok(2));
}

/// A standby that has become active.
fn active_copy(ns: &mut Namesystem) -> Namesystem {
    let mut standby = standby();
    replay(ns, &mut standby);
    standby.begin_activation().unwrap();
    standby.start_active(NOW).unwrap();
    standby.leave_safe_mode(true, NOW);
    standby
}

/// A file of one block, which every DataNode has that it was written to.
fn closed_file(ns: &mut Namesystem, path: &str, length: u64) -> LocatedBlockProto {
    call(ns, &hdfs(), &create(path)).unwrap();
    let located = call(ns, &hdfs(), &add_block(path, None)).unwrap().block;
    received(ns, &located, length);
    let last = of_length(&located.b, length);
    assert!(call(ns, &hdfs(), &complete(path, Some(last))).unwrap().result);
    located
}

fn with_cache(node: u32, used: u64) -> HeartbeatRequestProto {
    HeartbeatRequestProto {
        cache_capacity: Some(1000),
        cache_used: Some(used),
        ..heartbeat(node)
    }
}

/// What a DataNode is told to cache and to drop.
fn told(ns: &mut Namesystem, node: u32) -> Vec<(i32, Vec<u64>)> {
    sync(ns);
    let answer: HeartbeatResponseProto = dn(ns, node, "sendHeartbeat", &with_cache(node, 0)).unwrap();
    let commands = answer.cmds.into_iter().filter_map(|command| command.blk_id_cmd);
    commands.map(|command| (command.action, command.block_ids)).collect()
}

fn cached(ns: &mut Namesystem, node: u32, blocks: &[u64]) {
    let request = CacheReportRequestProto {
        registration: registration(node),
        block_pool_id: POOL.to_owned(),
        blocks: blocks.to_vec(),
    };
    dn::<CacheReportResponseProto>(ns, node, "cacheReport", &request).unwrap();
}

fn scan(ns: &mut Namesystem) {
    while check_caching(ns, NOW, 1) {}
    ns.blockmanager().check();
}

#[test]
fn a_directive_reaches_the_datanodes_and_what_they_cache_is_shown() {
    let mut ns = active();
    for node in 0..2 {
        register(&mut ns, node);
        dn::<HeartbeatResponseProto>(&mut ns, node, "sendHeartbeat", &with_cache(node, 0)).unwrap();
        dn::<BlockReportResponseProto>(&mut ns, node, "blockReport", &report(node, [])).unwrap();
    }
    let block = closed_file(&mut ns, "/f", 60).b.block_id;
    add_pool(&mut ns, pool("p")).unwrap();
    let id = add(&mut ns, &hdfs(), directive("/f", "p")).unwrap();
    scan(&mut ns);
    let orders = [told(&mut ns, 0), told(&mut ns, 1)];
    let node = u32::from(orders[0].is_empty());
    assert_eq!(orders[node as usize], [(1, vec![block])], "one of them caches it");
    assert!(orders[1 - node as usize].is_empty());
    assert!(told(&mut ns, node).is_empty(), "it is not told again at once");

    cached(&mut ns, node, &[block, 99]);
    scan(&mut ns);
    let again = CachePoolInfoProto {
        default_replication: Some(2),
        ..pool("p")
    };
    call(&mut ns, &hdfs(), &ModifyCachePoolRequestProto { info: again }).unwrap();
    scan(&mut ns);
    let stats = list(&mut ns, &hdfs()).remove(0).stats;
    assert_eq!(
        (stats.bytes_needed, stats.bytes_cached, stats.files_cached),
        (60, 60, 1)
    );
    let request = GetBlockLocationsRequestProto {
        src: "/f".to_owned(),
        offset: 0,
        length: 100,
    };
    let located = call(&mut ns, &hdfs(), &request).unwrap().locations.unwrap();
    let shown = located.blocks[0].locs.iter().zip(&located.blocks[0].is_cached);
    for (at, is_cached) in shown {
        assert_eq!(*is_cached, at.id.datanode_uuid == format!("uuid-{node}"));
    }

    call(&mut ns, &hdfs(), &RemoveCacheDirectiveRequestProto { id }).unwrap();
    scan(&mut ns);
    assert_eq!(told(&mut ns, node), [(2, vec![block])], "and drops it");
    cached(&mut ns, node, &[]);
    scan(&mut ns);
    assert!(ns.blockmanager().caches_nothing());
}

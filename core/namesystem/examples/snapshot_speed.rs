//! What snapshots of a large tree cost: taking one, changing files behind it, deleting it:
//! `cargo run --profile dist -p hathi-namesystem --example snapshot_speed [FILES] [CHANGED]`.

use hathi_formats::editlog::{EditOp, RpcIds};
use hathi_namespace::generator::{Shape, file_path, fill};
use hathi_namespace::{Namespace, NamespaceConfig};
use std::time::{Duration, Instant};

/// The allocator of the daemons.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Inodes that are freed under one hold of the lock, as in production.
const SLICE: usize = 500;

/// Applies an op.
fn apply(ns: &mut Namespace, op: &EditOp) -> Duration {
    let started = Instant::now();
    let txid = ns.last_applied_txid() + 1;
    ns.apply(txid, op).expect("the op fits");
    started.elapsed()
}

/// Frees what waits; the longest slice.
fn reclaim(ns: &mut Namespace) -> Duration {
    let mut longest = Duration::ZERO;
    loop {
        let started = Instant::now();
        let done = ns.reclaim(SLICE).done;
        longest = longest.max(started.elapsed());
        if done {
            return longest;
        }
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default: u64| args.next().map_or(default, |arg| arg.parse().expect("a number"));
    let (files, changed) = (number(10_000_000), number(100_000));
    let shape = Shape {
        files,
        ..Shape::default()
    };
    let mut ns = Namespace::new(NamespaceConfig::default());
    let started = Instant::now();
    fill(&mut ns, &shape, &mut |_, _, _| {}).expect("the files are made");
    println!("{files} files made in {:.1} s", started.elapsed().as_secs_f64());
    let first = file_path(&shape, 0);
    let top = format!("/{}", first.split('/').nth(1).expect("a path has a first part"));
    apply(
        &mut ns,
        &EditOp::AllowSnapshot {
            snapshot_root: top.clone(),
        },
    );
    let snapshot = |name: &str| EditOp::CreateSnapshot {
        snapshot_root: top.clone(),
        snapshot_name: name.to_owned(),
        mtime: 1,
        rpc_ids: RpcIds::NONE,
    };
    let drop_it = |name: &str| EditOp::DeleteSnapshot {
        snapshot_root: top.clone(),
        snapshot_name: name.to_owned(),
        mtime: 1,
        rpc_ids: RpcIds::NONE,
    };
    println!("a snapshot taken in {:?}", apply(&mut ns, &snapshot("unchanged")));
    println!("and deleted in {:?}", apply(&mut ns, &drop_it("unchanged")));
    for (what, delete) in [("modes changed", false), ("files deleted", true)] {
        apply(&mut ns, &snapshot("changed"));
        let (mut total, mut longest) = (Duration::ZERO, Duration::ZERO);
        for n in 0..changed {
            let path = file_path(&shape, n * (files / changed));
            let took = match delete {
                true => apply(
                    &mut ns,
                    &EditOp::Delete {
                        path,
                        time: 2,
                        rpc_ids: RpcIds::NONE,
                    },
                ),
                false => apply(&mut ns, &EditOp::SetPermissions { src: path, mode: 0o600 }),
            };
            total += took;
            longest = longest.max(took);
        }
        let each = total / changed.max(1) as u32;
        println!("{changed} {what} behind a snapshot: {each:?} each, {longest:?} the longest");
        println!("the snapshot deleted in {:?}", apply(&mut ns, &drop_it("changed")));
        println!("the longest slice of freeing {:?}", reclaim(&mut ns));
    }
}

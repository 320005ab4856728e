//! How fast threads read from one namesystem behind its lock, and how that grows with their number:
//! `cargo run --profile dist -p hathi-namesystem --example read_speed [FILES]`.
//!
//! Each thread takes the lock for one getFileInfo, as a reactor does for a call, and encodes the answer.

use bytes::Bytes;
use hathi_blockmanager::{BlockManagerConfig, Now};
use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_formats::proto::hdfs::GetFileInfoRequestProto;
use hathi_formats::protocols::ClientMethod;
use hathi_namespace::{Namespace, NamespaceConfig, generator};
use hathi_namesystem::calls;
use hathi_namesystem::loader::{NamesystemParts, assemble};
use hathi_namesystem::retry_cache::RetryCacheOptions;
use hathi_namesystem::{CallContext, Life, MethodHandler, Namesystem};
use parking_lot::RwLock;
use prost::Message;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const FILES: u64 = 1_000_000;
const SECONDS: Duration = Duration::from_secs(3);
const NOW: Now = Now {
    monotonic_ms: 1,
    wall_ms: 1,
};

fn main() {
    let files = std::env::args()
        .nth(1)
        .map_or(FILES, |files| files.parse().expect("a number of files"));
    let shape = generator::Shape {
        files,
        ..generator::Shape::default()
    };
    let mut namespace = Namespace::new(NamespaceConfig::default());
    let last = generator::fill(&mut namespace, &shape, &mut |_, _, _| {}).expect("the files are made");
    let parts = NamesystemParts {
        config: hathi_namesystem::NamesystemConfig::default(),
        blockmanager: BlockManagerConfig::default(),
        retry_cache: RetryCacheOptions::default(),
        info: NamespaceInfo::default(),
    };
    let mut ns = assemble(parts, namespace, TxId(last), Life::first());
    ns.become_standby().expect("a new one becomes a standby");
    ns.begin_activation().expect("a standby becomes active");
    ns.start_active(NOW).expect("its namespace is whole");
    let ns = RwLock::new(ns);
    let requests: Vec<Bytes> = (0..4096)
        .map(|n| {
            let src = generator::file_path(&shape, n * 7_919 % files);
            Bytes::from(GetFileInfoRequestProto { src }.encode_to_vec())
        })
        .collect();
    let mut single = 0.0;
    for threads in [1, 2, 4] {
        let rate = measure(&ns, &requests, threads);
        if threads == 1 {
            single = rate;
        }
        println!(
            "threads {threads} reads/s {rate:.0}, {:.2} times one thread",
            rate / single
        );
    }
}

fn measure(ns: &RwLock<Namesystem>, requests: &[Bytes], threads: usize) -> f64 {
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    let served: u64 = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..threads)
            .map(|first| {
                let stop = &stop;
                scope.spawn(move || read(ns, requests, first, stop))
            })
            .collect();
        std::thread::sleep(SECONDS);
        stop.store(true, Ordering::Relaxed);
        readers
            .into_iter()
            .map(|reader| reader.join().expect("a reader ends"))
            .sum()
    });
    served as f64 / started.elapsed().as_secs_f64()
}

fn read(ns: &RwLock<Namesystem>, requests: &[Bytes], first: usize, stop: &AtomicBool) -> u64 {
    let Some(MethodHandler::Read(handler)) = calls::handler(ClientMethod::GetFileInfo.into()) else {
        panic!("getFileInfo only reads");
    };
    let context = CallContext {
        user: "hdfs".into(),
        groups: [].into(),
        superuser: true,
        client_ip: None,
        client_id: Default::default(),
        call_id: -2,
        retry_count: 0,
        passed_on: None,
        now_ms: 1,
        mono_ms: 1,
    };
    let mut served = 0;
    for request in requests.iter().cycle().skip(first * 1000) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let reply = handler(&ns.read(), &context, request.clone());
        assert!(reply.result.is_ok(), "the file is there");
        served += 1;
    }
    served
}

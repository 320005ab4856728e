//! Faults inside the process, on demand, for tests. They are off unless `hathi.debug.hooks` is set, which the log says
//! at the start.
//!
//! `POST /debug/hang?what=namespace|reactor|health|state&ms=N` on the web server:
//! * `namespace`: the namespace's lock is held for N ms;
//! * `reactor`: the reactor `index` (0 if not given) does nothing for N ms;
//! * `health`: `monitorHealth` says for N ms that this NameNode is not well;
//! * `state`: the namespace becomes another one, without a word to anybody, as by an op that is applied wrongly.

use crate::clock::Clock;
use hathi_namesystem::Namesystem;
use hathi_net::http::{self, HttpResponse, Query};
use hyper::StatusCode;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longest fault, so that a forgotten one ends.
const LONGEST_MS: u64 = 600_000;

/// The parts of the process that the hooks can reach.
#[derive(Debug)]
pub struct DebugHooks {
    reactors: Vec<tokio::runtime::Handle>,
    unhealthy_until_ms: AtomicU64,
}

impl DebugHooks {
    /// Hooks of a server with these reactors.
    #[must_use]
    pub fn new(reactors: Vec<tokio::runtime::Handle>) -> Self {
        tracing::warn!("hathi.debug.hooks is on: whoever reaches the web server can hang this NameNode");
        DebugHooks {
            reactors,
            unhealthy_until_ms: AtomicU64::new(0),
        }
    }

    /// Whether this NameNode must call itself unhealthy.
    #[must_use]
    pub fn unhealthy(&self, now_ms: u64) -> bool {
        now_ms < self.unhealthy_until_ms.load(Ordering::Relaxed)
    }
}

/// Answers a request when the hooks are on.
pub fn serve(hooks: Option<&DebugHooks>, ns: &Arc<RwLock<Namesystem>>, clock: &Clock, query: &Query) -> HttpResponse {
    let Some(hooks) = hooks else {
        return http::error(StatusCode::NOT_FOUND, "Not Found");
    };
    let ms = query.unsigned("ms").unwrap_or(0).min(LONGEST_MS);
    let what = query.get("what").unwrap_or_default();
    tracing::warn!(what, ms, "debug hook");
    let hang = Duration::from_millis(ms);
    match what {
        "namespace" => {
            let ns = ns.clone();
            std::thread::spawn(move || {
                let held = ns.write();
                std::thread::sleep(hang);
                drop(held);
            });
        }
        "reactor" => {
            let index = query.unsigned("index").unwrap_or(0);
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            let Some(reactor) = hooks.reactors.get(index) else {
                return http::error(StatusCode::BAD_REQUEST, "no such reactor");
            };
            reactor.spawn(async move { std::thread::sleep(hang) });
        }
        "health" => hooks.unhealthy_until_ms.store(clock.ms() + ms, Ordering::Relaxed),
        "state" => ns.write().spoil_namespace(),
        _ => {
            return http::error(
                StatusCode::BAD_REQUEST,
                "what=namespace|reactor|health|state is missing",
            );
        }
    }
    http::text(StatusCode::OK, "It hangs.\n")
}

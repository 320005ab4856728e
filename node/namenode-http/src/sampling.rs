//! Looks at this NameNode once in a second, and fills its history, its lag and the room of its directories.

use crate::history::Point;
use crate::pages::Pages;
use crate::room::Room;
use hathi_net::histogram::HistogramCounts;
use hathi_net::ipc::{Method, RpcMeter};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// How often the lag is looked at. Ten looks are one point, and [`RpcMeter::TICK`].
const LOOK: Duration = Duration::from_secs(1);
const LOOKS_PER_POINT: u32 = 10;

/// Times of all calls of clients.
fn client_calls(meter: &RpcMeter) -> HistogramCounts {
    let mut all = HistogramCounts::default();
    for (_, methods) in meter.methods() {
        for times in methods.iter().filter(|times| matches!(times.method, Method::Client(_))) {
            all.merge(&times.processing);
        }
    }
    all
}

/// Looks again and again, for as long as the process lives.
pub async fn run(pages: Arc<Pages>) {
    let mut looks = 0;
    let mut asked: Option<JoinHandle<()>> = None;
    let mut interval = tokio::time::interval(LOOK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        look(&pages);
        if looks % LOOKS_PER_POINT == 0 {
            point(&pages);
            // A disk that hangs must not delay other tasks. While one does, it is not asked again.
            if asked.as_ref().is_none_or(JoinHandle::is_finished) {
                asked = Some(ask_for_room(&pages));
            }
        }
        looks = (looks + 1) % LOOKS_PER_POINT;
    }
}

fn ask_for_room(pages: &Arc<Pages>) -> JoinHandle<()> {
    let (dirs, pages) = (directories(pages), pages.clone());
    tokio::task::spawn_blocking(move || {
        let rooms = dirs.into_iter().map(Room::of).collect();
        *pages.rooms.lock() = rooms;
    })
}

/// The directories of images and edits, each once.
fn directories(pages: &Pages) -> Vec<PathBuf> {
    let settings = &pages.nn.settings;
    let more = settings
        .edits_dirs
        .iter()
        .filter(|dir| !settings.name_dirs.contains(dir));
    settings.name_dirs.iter().chain(more).cloned().collect()
}

fn look(pages: &Pages) {
    let committed = pages
        .nn
        .lease_states()
        .values()
        .filter_map(|lease| lease.committed)
        .max();
    let nn = &pages.nn;
    let applied = {
        let ns = nn.ns.read();
        nn.observed.startup.look(&ns, nn.clock.ms());
        ns.edit_log().applied()
    };
    if let Some(committed) = committed {
        pages.following.lock().note(nn.clock.ms(), committed, applied);
    }
}

fn point(pages: &Pages) {
    let nn = &pages.nn;
    let Some(meter) = nn.observed.rpc.get() else { return };
    meter.tick();
    let now_ms = nn.clock.ms();
    let (lag_transactions, lag_ms) = {
        let following = pages.following.lock();
        (following.lag_transactions(), following.lag_ms(now_ms))
    };
    let point = Point {
        time_ms: nn.clock.wall_ms(),
        state: nn.replies.role().ha_state().name(),
        seconds: 0.0,
        calls: client_calls(meter),
        commits: nn.observed.commits(),
        lag_transactions,
        lag_ms,
    };
    pages.history.lock().add(point, now_ms);
}

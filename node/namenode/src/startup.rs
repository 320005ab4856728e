//! How far the start of this NameNode is (`StartupProgress`): image, edits, safe mode.

use hathi_namesystem::Namesystem;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// The load of an image, as the loader shows it. The last load counts.
#[derive(Debug, Default)]
pub struct LoadProgress {
    image: Mutex<Option<(PathBuf, u64)>>,
    expected: AtomicU64,
    loaded: AtomicU64,
    /// 0: it is not whole yet.
    took_ms: AtomicU64,
}

impl LoadProgress {
    /// The load of an image of so many bytes begins.
    pub fn begin(&self, image: &Path, bytes: u64) {
        *self.image.lock() = Some((image.to_path_buf(), bytes));
        self.loaded.store(0, Ordering::Relaxed);
        self.expected.store(0, Ordering::Relaxed);
        self.took_ms.store(0, Ordering::Relaxed);
    }

    /// The image has so many inodes.
    pub fn expect(&self, inodes: u64) {
        self.expected.store(inodes, Ordering::Relaxed);
    }

    /// So many more inodes are loaded.
    pub fn add(&self, inodes: u64) {
        self.loaded.fetch_add(inodes, Ordering::Relaxed);
    }

    /// The image is whole.
    pub fn end(&self, took: Duration) {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.took_ms.store(took_ms.max(1), Ordering::Relaxed);
    }
}

/// When the phases of the first start ended, in ms of the monotonic clock; 0: not yet.
#[derive(Debug, Default)]
pub struct Startup {
    /// The load of the image.
    pub image: Arc<LoadProgress>,
    image_ended: AtomicU64,
    edits_ended: AtomicU64,
    safe_mode_ended: AtomicU64,
}

/// Begin of the monotonic clock, when the process started.
const BEGIN_MS: u64 = 1000;

/// A phase, in the words of `StartupProgressView`.
struct Phase {
    name: &'static str,
    desc: &'static str,
    begun: Option<u64>,
    ended: u64,
    count: u64,
    total: u64,
}

impl Phase {
    fn part(&self) -> f64 {
        match (self.ended > 0, self.begun) {
            (true, _) => 1.0,
            (false, None) => 0.0,
            (false, Some(_)) if self.total == 0 => 0.0,
            (false, Some(_)) => (self.count as f64 / self.total as f64).clamp(0.0, 1.0),
        }
    }

    fn to_json(&self, now_ms: u64) -> Value {
        let status = match (self.ended > 0, self.begun) {
            (true, _) => "COMPLETE",
            (false, Some(_)) => "RUNNING",
            (false, None) => "PENDING",
        };
        let end = if self.ended > 0 { self.ended } else { now_ms };
        json!({
            "name": self.name,
            "desc": self.desc,
            "status": status,
            "percentComplete": self.part(),
            "elapsedTime": self.begun.map_or(0, |begun| end.saturating_sub(begun)),
            "count": self.count,
            "total": self.total,
            "steps": [],
        })
    }
}

fn at(time: &AtomicU64) -> u64 {
    time.load(Ordering::Relaxed)
}

fn end(time: &AtomicU64, now_ms: u64) {
    // Only the first start counts.
    let _ = time.compare_exchange(0, now_ms, Ordering::Relaxed, Ordering::Relaxed);
}

impl Startup {
    /// The image is loaded.
    pub fn image_loaded(&self, now_ms: u64) {
        self.note_image();
        end(&self.image_ended, now_ms);
    }

    /// The edits behind it are applied, too.
    pub fn loaded(&self, now_ms: u64) {
        self.image_loaded(now_ms);
        end(&self.edits_ended, now_ms);
    }

    /// Notes the end of the image and of safe mode. To be called about once in a second.
    pub fn look(&self, ns: &Namesystem, now_ms: u64) {
        self.note_image();
        if at(&self.edits_ended) > 0 && !ns.blockmanager().in_startup_safe_mode() {
            end(&self.safe_mode_ended, now_ms);
        }
    }

    fn note_image(&self) {
        let took_ms = at(&self.image.took_ms);
        if took_ms > 0 {
            end(&self.image_ended, BEGIN_MS.saturating_add(took_ms));
        }
    }

    /// `/startupProgress`
    #[must_use]
    pub fn to_json(&self, ns: &Namesystem, now_ms: u64) -> Value {
        let (image_ended, edits_ended) = (at(&self.image_ended), at(&self.edits_ended));
        let begun_after = |before: u64| (before > 0).then_some(before);
        let image = self.image.image.lock().clone();
        let counts = ns.blockmanager().counts();
        let phases = [
            Phase {
                name: "LoadingFsImage",
                desc: "Loading fsimage",
                begun: image.is_some().then_some(BEGIN_MS),
                ended: image_ended,
                count: at(&self.image.loaded),
                total: at(&self.image.expected),
            },
            Phase {
                name: "LoadingEdits",
                desc: "Loading edits",
                begun: begun_after(image_ended),
                ended: edits_ended,
                count: ns.edit_log().applied().0.saturating_sub(ns.most_recent_checkpoint().0),
                total: 0,
            },
            Phase {
                name: "SafeMode",
                desc: "Safe mode",
                begun: begun_after(edits_ended),
                ended: at(&self.safe_mode_ended),
                count: counts.safe_blocks,
                total: counts.complete_blocks,
            },
        ];
        let part = phases.iter().map(Phase::part).sum::<f64>() / phases.len() as f64;
        let ended = at(&self.safe_mode_ended);
        let until = if ended > 0 { ended } else { now_ms };
        let mut listed: Vec<Value> = phases.iter().map(|phase| phase.to_json(now_ms)).collect();
        if let (Some((path, bytes)), Some(Value::Object(first))) = (image, listed.first_mut()) {
            first.insert("file".to_owned(), path.display().to_string().into());
            first.insert("size".to_owned(), bytes.into());
        }
        json!({
            "elapsedTime": until.saturating_sub(BEGIN_MS),
            "percentComplete": part,
            "phases": listed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn phases_follow_each_other() {
        let alone = testing::active();
        let ns = alone.shared.nn.ns.read();
        let startup = Startup::default();
        let states = |startup: &Startup| -> Vec<String> {
            let json = startup.to_json(&ns, 9000);
            let phases = json["phases"].as_array().unwrap();
            phases
                .iter()
                .map(|phase| phase["status"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(states(&startup), ["PENDING", "PENDING", "PENDING"]);
        startup.image.begin(Path::new("/name/fsimage_5"), 77);
        startup.image.expect(10);
        startup.image.add(5);
        let json = startup.to_json(&ns, 9000);
        assert_eq!(
            (&json["phases"][0]["percentComplete"], &json["phases"][0]["size"]),
            (&json!(0.5), &json!(77))
        );
        assert_eq!(states(&startup), ["RUNNING", "PENDING", "PENDING"]);
        startup.image.add(5);
        startup.look(&ns, 2000);
        // What the inodes lead to is not there yet.
        assert_eq!(states(&startup), ["RUNNING", "PENDING", "PENDING"]);
        startup.image.end(Duration::from_millis(1000));
        startup.look(&ns, 2500);
        assert_eq!(states(&startup), ["COMPLETE", "RUNNING", "PENDING"]);
        startup.loaded(3000);
        assert_eq!(states(&startup)[1..], ["COMPLETE", "RUNNING"]);
        assert_eq!(startup.to_json(&ns, 9000)["phases"][1]["elapsedTime"], 1000);
    }
}

//! Lines that repeat. A fault that lasts must not fill the disk, and must not hide what else happens.
//!
//! Only warnings and errors are counted. Of the same line [`SAME`] are written in a [`PERIOD`], and of one place in the
//! code [`SITE`], whatever they say. The rest is counted, and the end of the period says how many there were.

use super::line::Line;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};
use tracing::Level;
use tracing::callsite::Identifier;

/// How long lines are counted until their number is written.
pub(super) const PERIOD: Duration = Duration::from_secs(30);
/// Lines with the same words and values that are written in a period.
const SAME: u64 = 3;
/// Lines of one place in the code that are written in a period. A start says as many different things.
const SITE: u64 = 50;
/// The same for a place that had too many in the period before.
const SITE_THAT_FLOODS: u64 = 5;
/// Most lines that are remembered. Without room nothing is left out.
const REMEMBERED_MAX: usize = 1000;

#[derive(Debug)]
struct Period {
    began: Instant,
    allowed: u64,
    written: u64,
    /// Number of lines that were left out.
    more: u64,
}

impl Period {
    fn new(began: Instant, allowed: u64) -> Period {
        Period {
            began,
            allowed,
            written: 0,
            more: 0,
        }
    }

    fn has_ended(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= PERIOD
    }

    /// Whether one more line is written.
    fn takes(&mut self) -> bool {
        let is_written = self.written < self.allowed;
        match is_written {
            true => self.written += 1,
            false => self.more += 1,
        }
        is_written
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    lines: HashMap<Line, Period>,
    /// With the last line that was left out.
    sites: HashMap<Identifier, (Period, Option<Line>)>,
}

impl Repeats {
    /// Whether a line is to be written now.
    pub(super) fn pass(&mut self, site: Identifier, line: &Line, now: Instant) -> bool {
        if line.level > Level::WARN {
            return true;
        }
        if self.lines.len() >= REMEMBERED_MAX {
            self.lines.retain(|_, period| period.more > 0 || !period.has_ended(now));
            if self.lines.len() >= REMEMBERED_MAX {
                return true;
            }
        }
        // The end of a period is for `due` to write. A line that comes first opens no new one if some were left out.
        let same = match self.lines.entry(line.clone()) {
            Entry::Occupied(entry) => {
                let period = entry.into_mut();
                if period.more == 0 && period.has_ended(now) {
                    *period = Period::new(now, SAME);
                }
                period
            }
            Entry::Vacant(entry) => entry.insert(Period::new(now, SAME)),
        };
        if !same.takes() {
            return false;
        }
        let (period, last) = self.sites.entry(site).or_insert_with(|| (Period::new(now, SITE), None));
        if period.more == 0 && period.has_ended(now) {
            *period = Period::new(now, SITE);
        }
        let passes = period.takes();
        if !passes {
            *last = Some(line.clone());
        }
        passes
    }

    /// Lines of which some were left out in a period that has ended, and how many.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Line, u64)> {
        let mut due = Vec::new();
        self.lines.retain(|line, period| {
            if !period.has_ended(now) {
                return true;
            }
            if period.more > 0 {
                due.push((line.clone(), period.more));
                *period = Period::new(now, 0);
                return true;
            }
            false
        });
        self.sites.retain(|_, (period, last)| {
            if !period.has_ended(now) {
                return true;
            }
            let Some(line) = last.take() else { return false };
            due.push((line, period.more));
            *period = Period::new(now, SITE_THAT_FLOODS);
            true
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use tracing::Subscriber;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    /// Makes lines as the log gets them.
    struct Caught(std::sync::Arc<parking_lot::Mutex<Vec<(Identifier, Line)>>>);

    impl<S: Subscriber> Layer<S> for Caught {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.lock().push((event.metadata().callsite(), Line::of(event)));
        }
    }

    struct World {
        repeats: RefCell<Repeats>,
        now: Instant,
        caught: std::sync::Arc<parking_lot::Mutex<Vec<(Identifier, Line)>>>,
    }

    impl World {
        fn new() -> World {
            World {
                repeats: RefCell::default(),
                now: Instant::now(),
                caught: std::sync::Arc::default(),
            }
        }

        /// How many of the logged lines are written.
        fn written(&self, log: impl FnOnce()) -> usize {
            let subscriber = tracing_subscriber::registry().with(Caught(self.caught.clone()));
            tracing::subscriber::with_default(subscriber, log);
            let lines = std::mem::take(&mut *self.caught.lock());
            let mut repeats = self.repeats.borrow_mut();
            let pass = |(site, line): &(Identifier, Line)| repeats.pass(site.clone(), line, self.now);
            lines.iter().map(pass).filter(|passed| *passed).count()
        }

        fn due(&self) -> Vec<u64> {
            let due = self.repeats.borrow_mut().due(self.now);
            due.into_iter().map(|(_, more)| more).collect()
        }
    }

    fn the_same(times: u64) {
        for _ in 0..times {
            tracing::warn!(port = 8485, "cannot connect");
        }
    }

    fn different(times: u64) {
        for attempt in 0..times {
            tracing::error!(attempt, "cannot load");
        }
    }

    #[test]
    fn of_the_same_line_some_are_written_and_then_their_number_in_each_period() {
        let mut world = World::new();
        assert_eq!(world.written(|| the_same(60)), 3);
        assert_eq!(world.due(), [] as [u64; 0]);
        // Another line is not kept back.
        assert_eq!(world.written(|| different(1)), 1);
        world.now += PERIOD;
        assert_eq!(world.due(), [57]);
        assert_eq!(world.written(|| the_same(10)), 0);
        world.now += PERIOD;
        assert_eq!(world.due(), [10]);
        // When it has ended, it is a new fault.
        world.now += PERIOD;
        assert_eq!(world.due(), [] as [u64; 0]);
        assert_eq!(world.written(|| the_same(1)), 1);
    }

    #[test]
    fn one_place_that_floods_is_kept_back_whatever_it_says() {
        let mut world = World::new();
        assert_eq!(world.written(|| different(80)), 50);
        world.now += PERIOD;
        assert_eq!(world.due(), [30]);
        assert_eq!(world.written(|| different(80)), 5);
    }

    #[test]
    fn what_is_no_fault_is_never_kept_back() {
        let world = World::new();
        let log = || {
            for _ in 0..100 {
                tracing::info!("standby");
            }
        };
        assert_eq!(world.written(log), 100);
    }
}

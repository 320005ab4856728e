//! Runs targets over their samples, their corpus and mutations, on several threads.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use crate::{Target, allocations, corpus};

/// Mutations that one thread runs at a time.
const CASES_AT_ONCE: u64 = 250;
/// Time after which an input counts as one that does not end. No decoder takes that long over some kilobytes, on any
/// machine and under any load.
const ENDLESS: Duration = Duration::from_secs(120);
/// Most attempts to make an input smaller that breaks a target.
const SHRINKING_TRIES: usize = 2000;

/// Size of a run.
#[derive(Clone, Copy, Debug)]
pub struct FuzzPlan {
    /// Seed of the mutations.
    pub seed: u64,
    /// Mutations of each target.
    pub mutations: u64,
    /// Number of threads.
    pub threads: usize,
}

/// An input that broke a target.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Name of the target.
    pub target: &'static str,
    /// Origin of the input, in words.
    pub input_name: String,
    /// The input, made as small as possible.
    pub input: Vec<u8>,
    /// The promise that was broken.
    pub what: String,
}

/// Result of a target.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Number of inputs that were run.
    pub inputs: u64,
    /// Time of all threads together.
    pub time: Duration,
    /// Time of the slowest input.
    pub slowest: Duration,
    /// The most memory that one input took, in bytes.
    pub peak_bytes: usize,
    /// The first input that broke it.
    pub failure: Option<Failure>,
}

/// One target with its inputs.
struct Prepared<'a> {
    target: &'a Target,
    /// Samples and corpus.
    inputs: Vec<Vec<u8>>,
    names: Vec<String>,
}

/// Runs all targets: first samples and corpus, then mutations. A target that breaks is not run further.
///
/// # Panics
/// When the corpus can't be read.
#[must_use]
pub fn run(targets: &[Target], corpus_dir: &Path, plan: FuzzPlan) -> BTreeMap<&'static str, Outcome> {
    silence_panics();
    let prepared: Vec<Prepared<'_>> = targets.iter().map(|target| prepare(target, corpus_dir)).collect();
    let outcomes: Vec<Mutex<Outcome>> = targets.iter().map(|_| Mutex::new(Outcome::default())).collect();
    let chunks = 1 + plan.mutations.div_ceil(CASES_AT_ONCE);
    let (next, watch) = (AtomicU64::new(0), Watch::new(plan.threads));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.threads)
            .map(|place| {
                let (prepared, outcomes, next, watch) = (&prepared, &outcomes, &next, &watch);
                std::thread::Builder::new()
                    .name(format!("fuzz-{place}"))
                    .spawn_scoped(scope, move || {
                        MUTE.set(true);
                        loop {
                            // All targets take turns, so that a slow one is not left for the end.
                            let job = next.fetch_add(1, Ordering::Relaxed);
                            let Some(prepared_of) = usize::try_from(job % prepared.len().max(1) as u64)
                                .ok()
                                .and_then(|index| Some((prepared.get(index)?, outcomes.get(index)?)))
                            else {
                                return;
                            };
                            let chunk = job / prepared.len() as u64;
                            if chunk >= chunks {
                                return;
                            }
                            run_chunk(prepared_of.0, prepared_of.1, chunk, plan, &watch.places[place]);
                        }
                    })
            })
            .collect();
        let done = AtomicUsize::new(0);
        std::thread::scope(|inner| {
            inner.spawn(|| watch.until(&done, &prepared));
            for worker in workers {
                let ended = worker.map(std::thread::ScopedJoinHandle::join);
                assert!(matches!(ended, Ok(Ok(()))), "a thread of the run broke");
            }
            done.store(1, Ordering::Release);
        });
    });
    targets
        .iter()
        .map(|target| target.name)
        .zip(
            outcomes
                .into_iter()
                .map(|outcome| outcome.into_inner().unwrap_or_default()),
        )
        .collect()
}

fn prepare<'a>(target: &'a Target, corpus_dir: &Path) -> Prepared<'a> {
    let mut inputs = (target.samples)();
    let mut names: Vec<String> = (0..inputs.len()).map(|number| format!("sample {number}")).collect();
    let kept = corpus::read(corpus_dir, target).expect("the corpus can be read");
    for (path, input) in kept {
        names.push(path.display().to_string());
        inputs.push(input);
    }
    Prepared { target, inputs, names }
}

fn run_chunk(prepared: &Prepared<'_>, outcome: &Mutex<Outcome>, chunk: u64, plan: FuzzPlan, place: &Place) {
    let lock = || outcome.lock().unwrap_or_else(PoisonError::into_inner);
    if lock().failure.is_some() {
        return;
    }
    let mut own = Outcome::default();
    let mut run = |name: &dyn Fn() -> String, input: &[u8]| {
        let began = Instant::now();
        let result = run_one(prepared.target, input);
        let took = began.elapsed();
        own.inputs += 1;
        own.time += took;
        own.slowest = own.slowest.max(took);
        match result {
            Ok(peak) => own.peak_bytes = own.peak_bytes.max(peak),
            Err(what) => {
                own.failure = Some(Failure {
                    target: prepared.target.name,
                    input_name: name(),
                    input: smaller(prepared.target, input),
                    what,
                });
            }
        }
        own.failure.is_none()
    };
    if chunk == 0 {
        for (name, input) in prepared.names.iter().zip(&prepared.inputs) {
            place.begin(prepared.target, plan.seed, u64::MAX);
            if !run(&|| name.clone(), input) {
                break;
            }
        }
    } else {
        let first = (chunk - 1) * CASES_AT_ONCE;
        for number in first..(first + CASES_AT_ONCE).min(plan.mutations) {
            let input = prepared.target.mutation(&prepared.inputs, plan.seed, number);
            place.begin(prepared.target, plan.seed, number);
            if !run(&|| format!("mutation {number} of seed {}", plan.seed), &input) {
                break;
            }
        }
    }
    place.end();
    let mut all = lock();
    all.inputs += own.inputs;
    all.time += own.time;
    all.slowest = all.slowest.max(own.slowest);
    all.peak_bytes = all.peak_bytes.max(own.peak_bytes);
    if all.failure.is_none() {
        all.failure = own.failure;
    }
}

/// Runs one input. Returns the memory that it took, in bytes.
///
/// # Errors
/// The promise that the target broke.
pub fn run_one(target: &Target, input: &[u8]) -> Result<usize, String> {
    let (result, peak) = allocations::measure(|| catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    match result {
        Err(panic) => Err(described(&*panic)),
        Ok(()) if peak > target.memory.limit(input.len()) => Err(format!(
            "{peak} bytes of memory for {} bytes of input, and at most {} may be",
            input.len(),
            target.memory.limit(input.len())
        )),
        Ok(()) => Ok(peak),
    }
}

/// Removes parts of an input that are not needed to break the target.
fn smaller(target: &Target, input: &[u8]) -> Vec<u8> {
    let mut best = input.to_vec();
    let mut tries = 0;
    let mut step = best.len() / 2;
    while step > 0 {
        let mut at = 0;
        while at < best.len() && tries < SHRINKING_TRIES {
            let mut shorter = best.clone();
            shorter.drain(at..(at + step).min(best.len()));
            tries += 1;
            if run_one(target, &shorter).is_err() {
                best = shorter;
            } else {
                at += step;
            }
        }
        step /= 2;
    }
    best
}

thread_local! {
    static MUTE: Cell<bool> = const { Cell::new(false) };
    static WHERE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics of a run's threads from being printed, because the run reports them. Panics of other threads are
/// printed as usual.
fn silence_panics() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if MUTE.get() {
                let place = panic.location().map(ToString::to_string).unwrap_or_default();
                WHERE.with_borrow_mut(|kept| *kept = place);
            } else {
                before(panic);
            }
        }));
    });
}

fn described(panic: &(dyn Any + Send)) -> String {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    WHERE.with_borrow(|place| format!("{message} (at {place})"))
}

/// The present work of a thread, for the watching thread.
struct Place {
    /// The name itself is kept, because an index could not be printed by a process that ends.
    doing: Mutex<Option<(&'static str, u64, u64, Instant)>>,
}

impl Place {
    fn begin(&self, target: &Target, seed: u64, number: u64) {
        allocations::label(target.name);
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = Some((target.name, seed, number, Instant::now()));
    }

    fn end(&self) {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

struct Watch {
    places: Vec<Place>,
}

impl Watch {
    fn new(threads: usize) -> Watch {
        let places = (0..threads)
            .map(|_| Place {
                doing: Mutex::new(None),
            })
            .collect();
        Watch { places }
    }

    /// Waits for the end of the run. Ends the process when an input takes too long.
    fn until(&self, done: &AtomicUsize, prepared: &[Prepared<'_>]) {
        while done.load(Ordering::Acquire) == 0 {
            std::thread::park_timeout(Duration::from_millis(20));
            for place in &self.places {
                let doing = *place.doing.lock().unwrap_or_else(PoisonError::into_inner);
                let Some((target, seed, number, _)) = doing.filter(|(.., began)| began.elapsed() > ENDLESS) else {
                    continue;
                };
                let input = prepared
                    .iter()
                    .find(|prepared| prepared.target.name == target && number != u64::MAX)
                    .map(|prepared| prepared.target.mutation(&prepared.inputs, seed, number));
                eprintln!("{target}: mutation {number} of seed {seed} does not end; the input: {input:?}");
                std::process::abort();
            }
        }
    }
}

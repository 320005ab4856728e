//! `hathi-fuzz [TARGET] [--minutes N] [--seed S]`: runs targets with ever new seeds, and keeps inputs that break them.
//! `hathi-fuzz damage [--files N] [--seed S]`: reads images and logs with changed bytes.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hathi_fuzz::allocations::Counting;
use hathi_fuzz::run::{FuzzPlan, Outcome, run};
use hathi_fuzz::{Target, corpus, damage, targets};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Mutations of each target before the next seed.
const MUTATIONS_PER_SEED: u64 = 5000;

/// Files of `damage` when their number is not said.
const DAMAGED_FILES: u64 = 200_000;

struct Arguments {
    target: Option<String>,
    files: u64,
    minutes: u64,
    seed: Option<u64>,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        target: None,
        files: DAMAGED_FILES,
        minutes: 1,
        seed: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut number = || {
            let value = given.next().and_then(|value| value.parse().ok());
            value.ok_or_else(|| format!("{argument} needs a number"))
        };
        match argument.as_str() {
            "--minutes" => arguments.minutes = number()?,
            "--files" => arguments.files = number()?,
            "--seed" => arguments.seed = Some(number()?),
            name if !name.starts_with('-') && arguments.target.is_none() => arguments.target = Some(argument),
            other => {
                return Err(format!(
                    "{other}? usage: hathi-fuzz [TARGET] [--minutes N] [--files N] [--seed S]"
                ));
            }
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let first = arguments.seed.unwrap_or(now.as_secs());
    if arguments.target.as_deref() == Some("damage") {
        eprintln!("seed {first}");
        // Something wrong is a panic that names the file.
        let (images, logs) = damage::run(first, arguments.files);
        println!("{} images: {images:?}\n{} logs: {logs:?}", images.files(), logs.files());
        return ExitCode::SUCCESS;
    }
    let mut targets = targets::all();
    if let Some(name) = &arguments.target {
        targets.retain(|target| target.name == name);
        if targets.is_empty() {
            let names: Vec<&str> = targets::all().iter().map(|target| target.name).collect();
            eprintln!("there is no target {name}, only {}", names.join(", "));
            return ExitCode::from(2);
        }
    }
    if fuzz(
        &mut targets,
        first,
        Duration::from_secs(arguments.minutes.saturating_mul(60)),
    ) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Returns whether no target broke. A target that breaks is left out from then on.
fn fuzz(targets: &mut Vec<Target>, first: u64, time: Duration) -> bool {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let (began, mut seed, mut inputs) = (Instant::now(), first, 0);
    let all = targets.len();
    while !targets.is_empty() && (seed == first || began.elapsed() < time) {
        eprintln!(
            "seed {seed}, {} targets, {:.0} s",
            targets.len(),
            began.elapsed().as_secs_f64()
        );
        let plan = FuzzPlan {
            seed,
            mutations: MUTATIONS_PER_SEED,
            threads,
        };
        let outcomes = run(targets, &corpus::dir(), plan);
        inputs += outcomes.values().map(|outcome| outcome.inputs).sum::<u64>();
        targets.retain(|target| {
            let failure = outcomes
                .get(target.name)
                .and_then(|outcome: &Outcome| outcome.failure.as_ref());
            let Some(failure) = failure else {
                return true;
            };
            eprintln!("{}: {}: {}", target.name, failure.input_name, failure.what);
            match corpus::keep(&corpus::dir(), target, &failure.input) {
                Ok(path) => eprintln!("  the input is kept in {}", path.display()),
                Err(error) => eprintln!("  the input can't be kept: {error}: {:?}", failure.input),
            }
            false
        });
        seed += 1;
    }
    eprintln!(
        "{inputs} inputs in {:.0} s, {} of {all} targets broke",
        began.elapsed().as_secs_f64(),
        all - targets.len()
    );
    targets.len() == all
}

//! Runs every target over its samples, its corpus and twenty thousand mutations. And shows that an input that breaks a
//! target is found.

use std::collections::BTreeSet;
use std::path::Path;

use hathi_fuzz::allocations::Counting;
use hathi_fuzz::run::{Failure, FuzzPlan, run};
use hathi_fuzz::{Memory, Target, corpus, targets};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MUTATIONS: u64 = 20_000;
/// A fixed seed, so that a failure here comes from the change at hand. `cargo xtask fuzz` takes new seeds.
const SEED: u64 = 1;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

#[test]
fn no_decoder_breaks_on_its_corpus_and_twenty_thousand_mutations() {
    let plan = FuzzPlan {
        seed: SEED,
        mutations: MUTATIONS,
        threads: threads(),
    };
    let outcomes = run(&targets::all(), &corpus::dir(), plan);
    let mut failures = Vec::new();
    for (name, outcome) in &outcomes {
        println!(
            "{name:26} {:6} inputs, {:6.2} s, slowest {:7.2} ms, {:9} bytes at most",
            outcome.inputs,
            outcome.time.as_secs_f64(),
            outcome.slowest.as_secs_f64() * 1000.0,
            outcome.peak_bytes
        );
        match &outcome.failure {
            None => assert!(outcome.inputs >= MUTATIONS, "{name}"),
            Some(failure) => failures.push(told(failure)),
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Writes the input to a file, so that it can be added to the corpus.
fn told(failure: &Failure) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(failure.target);
    let kept = std::fs::write(&path, &failure.input).is_ok();
    let input = if kept {
        path.display().to_string()
    } else {
        format!("{:?}", failure.input)
    };
    format!(
        "{}: {}: {}\n  the input: {input}",
        failure.target, failure.input_name, failure.what
    )
}

#[test]
fn every_folder_of_the_corpus_belongs_to_a_target() {
    let names: BTreeSet<String> = targets::all().iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names.len(), targets::all().len(), "two targets have the same name");
    for entry in std::fs::read_dir(corpus::dir()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            names.contains(&name) || name == "README.md",
            "no target is called {name}"
        );
    }
}

#[test]
fn every_method_of_every_protocol_has_its_request_mutated() {
    assert_eq!(targets::unserved(), Vec::<String>::new());
}

/// Runs a target. Returns the promise that it broke, if any.
fn broken_by(run_target: fn(&[u8])) -> Option<Failure> {
    let target = Target {
        name: "planted",
        samples: || vec![vec![1, 2, 3, 4, 5, 6, 7, 8]],
        run: run_target,
        memory: Memory {
            fixed: 1000,
            per_byte: 8,
        },
    };
    let plan = FuzzPlan {
        seed: SEED,
        mutations: 2000,
        threads: threads(),
    };
    let none = tempfile::tempdir().expect("a directory");
    let outcome = run(&[target], none.path(), plan).remove("planted").expect("it was run");
    outcome.failure
}

#[test]
fn a_decoder_that_panics_is_found_and_its_input_made_small() {
    let failure = broken_by(|input| {
        assert!(!input.contains(&0xFF), "planted");
    });
    let failure = failure.expect("it was not found");
    assert!(failure.what.contains("planted"), "{}", failure.what);
    assert_eq!(failure.input, [0xFF]);
}

#[test]
fn a_decoder_that_believes_a_count_is_found() {
    let failure = broken_by(|input| {
        let count = input.first().map_or(0, |count| usize::from(*count) << 8);
        let list: Vec<u8> = Vec::with_capacity(count);
        std::hint::black_box(&list);
    });
    let failure = failure.expect("it was not found");
    assert!(failure.what.contains("bytes of memory"), "{}", failure.what);
}

#[test]
fn a_decoder_that_breaks_no_promise_passes() {
    let failure = broken_by(|input| {
        let copy = input.to_vec();
        assert_eq!(copy, input);
    });
    assert!(failure.is_none(), "{failure:?}");
}

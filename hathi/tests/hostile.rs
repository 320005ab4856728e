//! What once lost acknowledged data on real processes, done to them again. `interop/src/hostile` says what each run does;
//! `cargo run -p hathi-interop --bin hostile` repeats them.

use anyhow::Result;
use hathi_interop::Hadoop;
use hathi_interop::hostile::{self, Setup};
use std::path::Path;

fn run(name: &str) -> Result<()> {
    let hadoop = Hadoop::get()?;
    let setup = Setup {
        hathi: Path::new(env!("CARGO_BIN_EXE_hathi")),
        hadoop: hadoop.as_ref(),
    };
    hostile::run(name, &setup)
}

#[test]
fn safety_02_no_image_of_lost_edits_is_published() -> Result<()> {
    run("image-of-lost-edits")
}

#[test]
fn safety_03_what_hadoops_client_flushed_survives_it_too() -> Result<()> {
    run("hflush-restart-hadoop")
}

#[test]
fn safety_11_a_call_between_two_namenodes_overwrites_nothing_newer() -> Result<()> {
    run("late-call-forwarded")
}

#[test]
fn safety_n1_paths_that_outgrow_the_edit_log_are_refused() -> Result<()> {
    run("deep-paths")
}

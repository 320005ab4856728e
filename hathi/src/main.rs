//! The one binary: every daemon, tool and benchmark of Hathi as a subcommand. Under the name `hdfs` it behaves as
//! Hadoop's script of that name.

#[macro_use]
mod output;
mod cmd;
mod daemon;
mod launch;
mod log;
mod log_counter;

use std::process::ExitCode;

/// The commit that this was built from (`build.rs`), or `unknown`.
const COMMIT: &str = env!("HATHI_COMMIT");
/// The version of Hadoop whose protocols and files are spoken and written.
const HADOOP_VERSION: &str = "3.5.0";

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cmd::die_with_parent();
    daemon::detach();
    let (program, result) = launch::run(std::env::args_os().collect());
    log::flush();
    match result {
        Ok(code) => {
            output::flush();
            code
        }
        Err(error) => {
            eprintln!("{program}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

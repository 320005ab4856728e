//! The one binary: every daemon, tool and benchmark of Hathi as a subcommand. Under the name `hdfs` it behaves as
//! Hadoop's script of that name.

#[macro_use]
mod output;
mod cmd;
mod daemon;
mod launch;
mod log;
mod log_counter;

use hathi_net::users::process_owner;
use std::io;
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
            eprintln!("{program}: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, each of them once: many name their cause in their own text. Where the system refuses a file, the
/// owner of this process too, as the rights are the owner's.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(&format!(": {cause}"));
        }
    }
    let refused = |cause: &(dyn std::error::Error + 'static)| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::PermissionDenied && cause.raw_os_error().is_some())
    };
    if error.chain().any(refused) {
        text.push_str(&format!(" (this process runs as {})", process_owner()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_told_once_and_a_refusal_names_the_owner() {
        let refused = || io::Error::from(rustix::io::Errno::ACCESS);
        let path = std::path::PathBuf::from("/x");
        let source = refused();
        let storage = hathi_storage::StorageError::CannotLock { path, source };
        let expected = format!(
            "cannot lock /x: {} (this process runs as {})",
            refused(),
            process_owner()
        );
        assert_eq!(told(&storage.into()), expected);
        let error = anyhow::Error::from(io::Error::other("full")).context("cannot write");
        assert_eq!(told(&error), "cannot write: full");
    }
}

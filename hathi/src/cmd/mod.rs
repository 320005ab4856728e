//! One file per subcommand.

pub mod quickstart;

/// Environment variable by which `hathi quickstart` asks its children to end when it does.
pub const DIE_WITH_PARENT: &str = "HATHI_DIE_WITH_PARENT";

/// Asks the kernel for a SIGTERM at the death of the parent, if the parent wants that.
pub fn die_with_parent() {
    if std::env::var_os(DIE_WITH_PARENT).is_some() {
        let signal = Some(rustix::process::Signal::TERM);
        if let Err(error) = rustix::process::set_parent_process_death_signal(signal) {
            eprintln!("hathi: can't follow the parent's death: {error}");
        }
    }
}

/// Sends the log to stderr, filtered by `HATHI_LOG` (default `info`).
pub fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("HATHI_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

//! The log of a daemon: on its stderr, or in a file that is rotated. [`queue`] writes it, [`line`] says how a line looks,
//! and [`repeats`] which lines are left out.

mod file;
mod levels;
mod line;
mod queue;
mod repeats;

use crate::log_counter::LogCounter;
use anyhow::{Context as _, Result, bail};
use file::{Limits, RotatingFile};
use hathi_conf::keys::Program;
use hathi_conf::{Configuration, TimeUnit};
use hathi_net::auth::{Administrators, Groups, GroupsOptions};
use hathi_net::logging::{self, LogControl};
use hathi_net::users::process_user;
use levels::Levels;
use line::{Form, Line};
use parking_lot::Mutex;
use queue::{Place, Queue};
use repeats::Repeats;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Environment variable that names the file of a daemon that `--daemon start` runs. It precedes `hathi.log.dir`, because
/// whoever started the daemon looks there.
pub const FILE: &str = "HATHI_LOG_FILE";
/// Hadoop's `hadoop.log.maxfilesize`.
const MAX_FILE_BYTES: i64 = 256 << 20;
/// Hadoop's `hadoop.log.maxbackupindex`.
const KEPT: u32 = 20;
/// How long the end of the process may wait for the last lines.
const LAST_LINES: Duration = Duration::from_millis(500);
/// How often the numbers of lines that were left out are looked at.
const LOOK: Duration = Duration::from_secs(1);

static LOG: OnceLock<Log> = OnceLock::new();

/// The log of this process.
struct Log {
    queue: Queue,
    is_json: AtomicBool,
    repeats: Mutex<Repeats>,
    levels: Levels,
    /// A value of `HATHI_LOG` that makes no sense.
    bad_levels: Option<String>,
}

impl Log {
    fn form(&self) -> Form {
        match self.is_json.load(Ordering::Relaxed) {
            true => Form::Json,
            false => Form::Text,
        }
    }
}

/// Hands each event to the queue.
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(log) = LOG.get() else { return };
        let line = Line::of(event);
        let passes = log
            .repeats
            .lock()
            .pass(event.metadata().callsite(), &line, Instant::now());
        if passes {
            log.queue.push(line.encode(log.form(), 0).into_bytes());
        }
    }
}

/// Lines whose number is written now.
fn due() -> Vec<String> {
    let Some(log) = LOG.get() else { return Vec::new() };
    let due = log.repeats.lock().due(Instant::now());
    due.iter().map(|(line, more)| line.encode(log.form(), *more)).collect()
}

/// Begins the log, on stderr, filtered by `HATHI_LOG` (default `info`).
pub fn log_to_stderr() {
    let wanted = std::env::var("HATHI_LOG").ok();
    let parsed = wanted.as_deref().map(str::parse::<Targets>);
    let (targets, bad_levels) = match parsed {
        Some(Ok(targets)) => (targets, None),
        Some(Err(_)) => (usual(), wanted),
        None => (usual(), None),
    };
    let (filter, handle) = reload::Layer::new(targets);
    LOG.get_or_init(|| Log {
        queue: Queue::to(io::stderr(), LOOK, due),
        is_json: AtomicBool::new(false),
        repeats: Mutex::default(),
        levels: Levels::of(handle),
        bad_levels,
    });
    tracing_subscriber::registry()
        .with(filter)
        .with(Lines)
        .with(LogCounter)
        .init();
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // The lines that led to the panic are written before it.
        flush();
        report(panic);
    }));
    crate::output::go_on_without_reader();
}

fn usual() -> Targets {
    Targets::new().with_default(LevelFilter::INFO)
}

/// Lets the log obey the configuration of a daemon, and writes its first line.
///
/// # Errors
/// A value that makes no sense, or a file that can't be opened.
pub fn obey(conf: &Configuration, daemon: Program) -> Result<()> {
    let Some(log) = LOG.get() else { return Ok(()) };
    let form = match conf.get_or("hathi.log.format", "text").to_ascii_lowercase().as_str() {
        "text" => Form::Text,
        "json" => Form::Json,
        other => bail!("hathi.log.format is {other}: must be text or json"),
    };
    let limits = Limits {
        max_bytes: u64::try_from(conf.get_bytes("hathi.log.file.max.size", MAX_FILE_BYTES)?).unwrap_or(0),
        max_age: conf.get_duration("hathi.log.file.max.age", Duration::ZERO, TimeUnit::Seconds)?,
        kept: conf.get_u32("hathi.log.file.max.backup.index", KEPT)?,
    };
    if limits.max_bytes == 0 {
        bail!("hathi.log.file.max.size must be above 0");
    }
    let place = match place(conf, daemon) {
        None => Place::Stream(Box::new(io::stderr())),
        Some((path, named_by)) => Place::File(RotatingFile::open(&path, limits).context(named_by)?),
    };
    log.is_json.store(form == Form::Json, Ordering::Relaxed);
    log.queue.go_to(place, form);
    let administrators = if conf.get_bool("hadoop.security.authorization", false) {
        let user = process_user();
        let groups = Groups::start(GroupsOptions::of(conf, &user)?);
        Some(Administrators::of(conf, &user, groups))
    } else {
        None
    };
    logging::install(LogControl {
        levels: Box::new(log.levels.clone()),
        administrators,
    });
    say_who_this_is(conf, daemon);
    if let Some(wanted) = &log.bad_levels {
        tracing::warn!(
            wanted,
            "HATHI_LOG is no list of levels, as in info,hathi_journal=debug: info is logged"
        );
    }
    Ok(())
}

/// Name of the files that a daemon writes, without its ending.
pub fn file_name(daemon: &str, user: &str) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("hadoop-{user}-{daemon}-{host}")
}

/// The file, if the log goes into one, and who named it.
fn place(conf: &Configuration, daemon: Program) -> Option<(PathBuf, &'static str)> {
    if let Some(file) = std::env::var_os(FILE).filter(|file| !file.is_empty()) {
        return Some((file.into(), FILE));
    }
    let dir = conf.get("hathi.log.dir")?;
    let name = daemon.name().to_ascii_lowercase();
    let name = file_name(&name, &process_user());
    Some((Path::new(&dir).join(format!("{name}.log")), "hathi.log.dir"))
}

fn say_who_this_is(conf: &Configuration, daemon: Program) {
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let program = std::env::current_exe().unwrap_or_default();
    let dir = conf.dir().map(|dir| dir.display().to_string()).unwrap_or_default();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        commit = crate::COMMIT,
        hadoop = crate::HADOOP_VERSION,
        build,
        program = %program.display(),
        pid = std::process::id(),
        user = process_user(),
        conf = dir,
        "starting {}",
        daemon.name()
    );
}

/// Waits a moment for the last lines to be written.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.queue.wait_until_written(LAST_LINES);
    }
}

//! One file for each subcommand.

pub mod bench;
pub mod cacheadmin;
pub mod completion;
pub mod conf;
pub mod crypto;
pub mod daemonlog;
pub mod datanode;
pub mod debug;
pub mod dfs;
pub mod dfsadmin;
#[cfg(test)]
mod docs;
pub mod doctor;
pub mod ec;
pub mod environment;
pub mod fetchdt;
pub mod fsck;
pub mod getconf;
pub mod groups;
pub mod haadmin;
mod invocation;
pub mod journal;
pub mod journalnode;
pub mod man;
#[cfg(test)]
mod metrics_docs;
pub mod namenode;
mod namenodes;
pub mod oev;
pub mod oiv;
pub mod quickstart;
pub mod secondarynamenode;
pub mod snapshots;
pub mod storagepolicies;
pub mod table;
mod times;
pub mod tree;
mod waiting;
pub mod zkfc;

pub use crate::log::log_to_stderr;
use anyhow::Result;
use hathi_conf::Configuration;
use hathi_conf::keys::{Program, Verdict};
use invocation::Invocation;
use std::ffi::OsString;
use std::io::BufRead as _;

/// Environment variable by which `hathi quickstart` makes its children end when it ends.
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

/// Starts this program once more under the same pid, without huge pages. The allocator touches several pages of 2 MB
/// before `main`, which is most of an idle daemon's memory. The kernel keeps the setting across an exec.
pub fn without_huge_pages() {
    use rustix::thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled};
    use std::os::unix::process::CommandExt;
    if !matches!(transparent_huge_pages_are_disabled(), Ok(false)) || disable_transparent_huge_pages(true).is_err() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let error = std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .exec();
        eprintln!("hathi: cannot begin again without huge pages: {error}");
    }
}

/// Turns huge pages on once the process is large, where they save a tenth of the time. When the process is killed, the
/// kernel closes its connections only after it has freed its memory. So clients notice the end of a NameNode 70 ms later
/// for each gigabyte of small pages, and 4 ms later for one of huge pages.
pub fn huge_pages_when_large() {
    /// Resident bytes from which huge pages are worth it.
    const LARGE_BYTES: u64 = 64 << 20;
    let watch = || {
        // An image that is loaded makes it large at once. Later it grows by up to 100 MB in a second.
        for look in 0_u32.. {
            if resident_bytes() >= LARGE_BYTES {
                // If the kernel refuses, the process works without huge pages.
                let _ = rustix::thread::disable_transparent_huge_pages(false);
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(if look < 100 { 100 } else { 500 }));
        }
    };
    if let Err(error) = std::thread::Builder::new().name("huge-pages".to_owned()).spawn(watch) {
        tracing::warn!(%error, "no huge pages");
    }
}

/// Returns memory of ended threads to the kernel. A DataNode may have had thousands of threads for its connections.
///
/// The allocator keeps freed pages for a second in case they are needed again. It looks for expired pages only when
/// some page is freed. An idle DataNode frees none, so one is freed here from time to time.
pub fn give_memory_back() {
    const PERIOD: std::time::Duration = std::time::Duration::from_secs(5);
    /// Size for which the allocator uses pages of their own. The bytes are never touched.
    const PAGE_BYTES: usize = 4 << 20;
    let give = || {
        loop {
            std::thread::sleep(PERIOD);
            drop(std::hint::black_box(Vec::<u8>::with_capacity(PAGE_BYTES)));
        }
    };
    let thread = std::thread::Builder::new().name("memory".to_owned());
    if let Err(error) = thread.stack_size(64 << 10).spawn(give) {
        tracing::warn!(%error, "freed memory is kept");
    }
}

/// Resident memory of this process in bytes.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

pub use hathi_net::users::process_user as user_name;

/// Logs each setting in the operator's files that a daemon does not obey. Refuses to start the daemon if a setting asks
/// for protection that is not there. The log obeys first, so that it has all of this.
pub fn obey(conf: &Configuration, daemon: Program) -> Result<()> {
    crate::log::obey(conf, daemon)?;
    let mut refused = Vec::new();
    let mut of_others = Vec::new();
    for finding in conf.check(Some(daemon)) {
        match finding.verdict {
            Verdict::Refused(_) => refused.push(finding.to_string()),
            Verdict::NoEffect(_) | Verdict::Unknown(_) => tracing::warn!("{finding}"),
            Verdict::ReadBy(_) => of_others.push(finding.key),
        }
    }
    if !of_others.is_empty() {
        tracing::info!(keys = of_others.join(", "), "keys that only others read");
    }
    if refused.is_empty() {
        return Ok(());
    }
    anyhow::bail!("{}", refused.join("; "))
}

/// Takes `--conf DIR` and Hadoop's generic options from the front of the arguments, and loads that configuration.
pub fn conf_argument(args: Vec<OsString>) -> Result<(Configuration, Vec<OsString>)> {
    let invocation = Invocation::of(args)?;
    Ok((invocation.load()?, invocation.rest))
}

/// Asks for confirmation (`ToolRunner.confirmPrompt`). Hadoop asks for ever when its input has ended. Here that means
/// no.
pub fn confirmed(question: &str) -> bool {
    let mut answers = std::io::stdin().lock();
    loop {
        eprint!("{question} (Y or N) ");
        let mut answer = String::new();
        match answers.read_line(&mut answer) {
            Ok(0) | Err(_) => {
                eprint!("\n");
                return false;
            }
            Ok(_) => {}
        }
        let answer = answer.trim_end_matches(['\r', '\n']);
        match answer.to_ascii_lowercase().as_str() {
            "y" | "yes" => return true,
            "n" | "no" => return false,
            _ => eprintln!("Invalid input: {answer}"),
        }
    }
}

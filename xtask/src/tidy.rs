//! Checks of structure that no compiler makes: which crate may depend on which, what the pure crates may use, the
//! length of files, markers of unfinished work, circles of modules, walks in the order of a hash, and whether the
//! things that the documents name exist.

use crate::{circles, docs, hash_order};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest file, in lines. A longer one should be divided.
const LINES_MAX: usize = 1000;

/// The crates of ours that each crate may depend on. Dependencies only point up in this list.
const MAY_USE: &[(&str, &[&str])] = &[
    ("hathi-formats", &[]),
    ("hathi-conf", &["hathi-formats"]),
    ("hathi-storage", &["hathi-formats"]),
    ("hathi-namespace", &["hathi-formats"]),
    ("hathi-blockmanager", &["hathi-formats"]),
    ("hathi-journal", &["hathi-formats", "hathi-storage"]),
    ("hathi-blockpool", &["hathi-formats", "hathi-storage"]),
    ("hathi-failover", &["hathi-formats", "hathi-journal"]),
    ("hathi-coding", &["hathi-formats"]),
    (
        "hathi-namesystem",
        &["hathi-formats", "hathi-namespace", "hathi-blockmanager"],
    ),
    (
        "hathi-nameserver",
        &[
            "hathi-formats",
            "hathi-storage",
            "hathi-namespace",
            "hathi-blockmanager",
            "hathi-journal",
            "hathi-namesystem",
        ],
    ),
    ("hathi-net", &["hathi-conf", "hathi-formats"]),
    (
        "hathi-journalclient",
        &["hathi-conf", "hathi-formats", "hathi-journal", "hathi-net"],
    ),
    ("hathi-transfer", &["hathi-formats", "hathi-net"]),
    (
        "hathi-client",
        &[
            "hathi-conf",
            "hathi-formats",
            "hathi-coding",
            "hathi-net",
            "hathi-transfer",
        ],
    ),
    (
        "hathi-journalnode",
        &[
            "hathi-conf",
            "hathi-formats",
            "hathi-storage",
            "hathi-journal",
            "hathi-net",
            "hathi-journalclient",
        ],
    ),
    (
        "hathi-zkfc",
        &[
            "hathi-conf",
            "hathi-formats",
            "hathi-journal",
            "hathi-failover",
            "hathi-net",
            "hathi-journalclient",
        ],
    ),
    (
        "hathi-datanode",
        &[
            "hathi-conf",
            "hathi-formats",
            "hathi-storage",
            "hathi-blockpool",
            "hathi-coding",
            "hathi-net",
            "hathi-transfer",
            "hathi-client",
        ],
    ),
    (
        "hathi-namenode",
        &[
            "hathi-conf",
            "hathi-formats",
            "hathi-storage",
            "hathi-namespace",
            "hathi-blockmanager",
            "hathi-journal",
            "hathi-namesystem",
            "hathi-nameserver",
            "hathi-net",
            "hathi-journalclient",
        ],
    ),
    (
        "hathi-namenode-http",
        &[
            "hathi-conf",
            "hathi-formats",
            "hathi-namespace",
            "hathi-blockmanager",
            "hathi-journal",
            "hathi-namesystem",
            "hathi-nameserver",
            "hathi-net",
            "hathi-namenode",
        ],
    ),
    (
        "hathi",
        &[
            "hathi-conf",
            "hathi-formats",
            "hathi-storage",
            "hathi-namespace",
            "hathi-blockmanager",
            "hathi-journal",
            "hathi-net",
            "hathi-journalclient",
            "hathi-client",
            "hathi-namenode",
            "hathi-namenode-http",
            "hathi-journalnode",
            "hathi-datanode",
            "hathi-zkfc",
        ],
    ),
    // The crate that starts processes and talks to them knows nothing of their insides.
    (
        "hathi-interop",
        &["hathi-conf", "hathi-formats", "hathi-net", "hathi-client"],
    ),
    ("xtask", &[]),
    (
        "hathi-fuzz",
        &[
            "hathi-conf",
            "hathi-formats",
            "hathi-storage",
            "hathi-namespace",
            "hathi-blockmanager",
            "hathi-journal",
            "hathi-namesystem",
            "hathi-nameserver",
            "hathi-blockpool",
            "hathi-net",
            "hathi-namenode",
            "hathi-namenode-http",
            "hathi-journalnode",
        ],
    ),
    (
        "hathi-sim",
        &[
            "hathi-formats",
            "hathi-storage",
            "hathi-namespace",
            "hathi-blockmanager",
            "hathi-journal",
            "hathi-namesystem",
            "hathi-nameserver",
            "hathi-failover",
            "hathi-blockpool",
        ],
    ),
];

/// Crates that the pure crates must not depend on directly. Indirect dependencies are checked through [`MAY_USE`].
const IMPURE: &[&str] = &[
    "tokio",
    "mio",
    "hyper",
    "socket2",
    "getrandom",
    "rand",
    "fastrand",
    "uuid",
];

/// Words that must not be in the code of the pure crates.
const IMPURE_WORDS: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "std::thread",
];

/// Fewest assertions of a core for each thousand lines. Invariants are asserted where they may break.
const ASSERTIONS_MIN: usize = 10;

/// Words that mark unfinished work.
const MARKERS: &[&str] = &["TODO", "FIXME", "XXX", "unimplemented!(", "todo!("];

/// Runs every check and reports all findings at once.
pub fn check(root: &Path) -> Result<()> {
    let mut findings = Vec::new();
    check_dependencies(root, &mut findings)?;
    check_assertions(root, &mut findings)?;
    let mut files = Vec::new();
    for ring in [
        "formats", "conf", "core", "node", "hathi", "sim", "interop", "fuzz", "xtask",
    ] {
        rust_files(&root.join(ring), &mut files)?;
    }
    let mut code = Vec::new();
    for file in &files {
        code.push(check_file(root, file, &mut findings)?);
    }
    docs::check(root, &code, &mut findings)?;
    let names: Vec<String> = files
        .iter()
        .map(|file| file.strip_prefix(root).unwrap_or(file).display().to_string())
        .collect();
    check_crates(&names, &code, &mut findings);
    if !findings.is_empty() {
        bail!("{} findings:\n  {}", findings.len(), findings.join("\n  "));
    }
    Ok(())
}

/// Checks the files of each crate together.
fn check_crates(names: &[String], code: &[String], findings: &mut Vec<String>) {
    let mut crates: BTreeMap<&str, Vec<(&str, &str, &str)>> = BTreeMap::new();
    for (name, text) in names.iter().zip(code) {
        if let Some((folder, path)) = name.split_once("/src/") {
            crates.entry(folder).or_default().push((name, path, text));
        }
    }
    for (folder, files) in crates {
        let below_src = files.iter().map(|(_, path, text)| (folder, *path, *text));
        circles::check(below_src, findings);
        let named: Vec<(&str, &str)> = files.iter().map(|(name, _, text)| (*name, *text)).collect();
        hash_order::check(&named, findings);
    }
}

/// Counts the assertions of each core. Tests and their assertions don't count.
fn check_assertions(root: &Path, findings: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(root.join("core"))? {
        let core = entry?.path();
        let mut files = Vec::new();
        rust_files(&core.join("src"), &mut files)?;
        let (mut lines, mut assertions) = (0, 0);
        for file in files {
            let path = file.display().to_string();
            if path.contains("/tests/") || path.ends_with("/tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file)?;
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text);
            lines += code.lines().count();
            assertions += ["assert!(", "assert_eq!(", "assert_ne!("]
                .map(|word| code.matches(word).count())
                .iter()
                .sum::<usize>();
        }
        if assertions * 1000 < ASSERTIONS_MIN * lines {
            findings.push(format!(
                "{}: {assertions} assertions in {lines} lines, less than {ASSERTIONS_MIN} per 1,000",
                core.display()
            ));
        }
    }
    Ok(())
}

fn check_dependencies(root: &Path, findings: &mut Vec<String>) -> Result<()> {
    let allowed: BTreeMap<&str, BTreeSet<&str>> = MAY_USE
        .iter()
        .map(|(name, may_use)| (*name, may_use.iter().copied().collect()))
        .collect();
    let mut manifests: Vec<PathBuf> = ["formats", "conf", "hathi", "sim", "interop", "fuzz", "xtask"]
        .iter()
        .map(|folder| root.join(folder))
        .collect();
    for ring in ["core", "node"] {
        for entry in std::fs::read_dir(root.join(ring))? {
            let path = entry?.path();
            if path.join("Cargo.toml").exists() {
                manifests.push(path);
            }
        }
    }
    for dir in manifests {
        let manifest = dir.join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).with_context(|| format!("can't read {}", manifest.display()))?;
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("name = "))
            .unwrap_or_default()
            .trim_matches('"')
            .to_owned();
        let Some(allowed) = allowed.get(name.as_str()) else {
            findings.push(format!("{name}: not in the list of who may use whom"));
            continue;
        };
        let pure = name == "hathi-formats" || dir.parent().is_some_and(|ring| ring.ends_with("core"));
        for dependency in dependencies(&text) {
            if dependency.starts_with("hathi-") && !allowed.contains(dependency) {
                findings.push(format!("{name} must not use {dependency}"));
            }
            if pure && IMPURE.contains(&dependency) {
                findings.push(format!("{name} is deterministic and must not use {dependency}"));
            }
        }
    }
    Ok(())
}

/// The names under `[dependencies]`.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Checks that a comment before each unlimited queue of a daemon says what bounds it.
fn check_queues(name: &str, text: &str, findings: &mut Vec<String>) {
    if !name.starts_with("node/") || name.contains("/tests") || name.ends_with("/testing.rs") {
        return;
    }
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let mut comment = false;
    for (number, line) in (1..).zip(code.lines()) {
        let line = line.trim_start();
        if line.starts_with("//") {
            comment |= line.starts_with("// bound:");
            continue;
        }
        let is_unbounded = ["unbounded_channel()", "mpsc::channel()", "blocking::channel()"]
            .iter()
            .any(|made| line.contains(made));
        if is_unbounded && !comment {
            findings.push(format!(
                "{name}:{number}: a queue without a limit and without \"// bound:\" before it"
            ));
        }
        comment = false;
    }
}

/// Checks a source file, and returns its text.
fn check_file(root: &Path, file: &Path, findings: &mut Vec<String>) -> Result<String> {
    let text = std::fs::read_to_string(file)?;
    let name = file.strip_prefix(root).unwrap_or(file).display();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        findings.push(format!("{name}: {lines} lines, more than {LINES_MAX}"));
    }
    if file.ends_with("xtask/src/tidy.rs") {
        return Ok(text);
    }
    for (number, line) in (1..).zip(text.lines()) {
        for marker in MARKERS {
            if line.contains(marker) {
                findings.push(format!("{name}:{number}: {marker}"));
            }
        }
    }
    check_queues(&name.to_string(), &text, findings);
    // Cores get time, random numbers and files as arguments. Only the disk's own file may open one.
    let path = name.to_string();
    let pure = path.starts_with("core/") && path.contains("/src/") && path != "core/storage/src/os.rs";
    if pure && !path.contains("/tests") {
        let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
        for (number, line) in (1..).zip(code.lines()) {
            let line = line.trim_start();
            if let Some(word) = IMPURE_WORDS
                .iter()
                .find(|word| line.contains(**word) && !line.starts_with("//"))
            {
                findings.push(format!("{name}:{number}: {word} in a deterministic crate"));
            }
        }
    }
    Ok(text)
}

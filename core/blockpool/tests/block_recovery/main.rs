//! Stories of block recovery as scripts, in `scripts/*.txt`. Behind `>` stands what somebody does, and below it what
//! follows: on a NameNode's namesystem and on the replicas of DataNodes, both as in production. README.md explains
//! the words.
//!
//! `HATHI_REWRITE_SCRIPTS=1 cargo test -p hathi-blockpool --test block_recovery` writes what follows now into the files. A
//! change of behaviour is then a change of their text.

mod datanode;
mod namenode;
mod story;

use std::fmt::Write;
use std::path::Path;
use story::Story;

const REWRITE: &str = "HATHI_REWRITE_SCRIPTS";

/// The script with what follows now below each step.
fn played(script: &str) -> String {
    let mut story = Story::new();
    let mut out = String::new();
    for line in script.lines() {
        if line.starts_with('#') || line.is_empty() {
            let _ = writeln!(out, "{line}");
        } else if let Some(step) = line.strip_prefix("> ") {
            let _ = writeln!(out, "> {step}");
            for follows in story.step(step) {
                let _ = writeln!(out, "  {follows}");
            }
        }
    }
    out
}

#[test]
fn what_follows_is_what_the_scripts_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/block_recovery/scripts");
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 10, "scripts are missing: {names:?}");
    for path in names {
        let script = std::fs::read_to_string(&path).unwrap();
        let now = played(&script);
        if std::env::var_os(REWRITE).is_some() {
            std::fs::write(&path, now).unwrap();
        } else {
            assert_eq!(now, script, "{}", path.display());
        }
    }
}

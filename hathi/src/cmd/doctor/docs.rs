//! docs/doctor.md is made of the rules. `UPDATE_DOCS=1` writes it.

use super::rules::{TABLES, all};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

const HEAD: &str = "# What `hathi doctor` finds

This page is made of the rules of the program: change those, and run `UPDATE_DOCS=1 cargo test -p hathi --bin hathi docs`.

`hathi doctor [--json] [--offline] [--conf DIR]` reads the configuration, looks at this machine, and asks every daemon.
It changes nothing and writes nothing. With `--offline` it asks no daemon, for a look before the first start.
A daemon has 2 s to answer. All are asked at the same time, DataNodes a hundred at a time and at most 2000.

It looks at the directories of those daemons that the configuration places on this machine: the NameNode whose address is local, the JournalNode whose address is local, and DataNodes if `dfs.datanode.data.dir` is set in a file.
So run it on each machine, as the user of the daemons.

Each finding names its id, where it stands, what is wrong, and the cure. The exit status is 0 if there is no error, but perhaps warnings, 1 if there is an error, and 2 for wrong arguments.
With `--json` it prints an array of objects with `id`, `severity`, `where`, `what` and `cure`. Ids stay the same from version to version.
";

fn document() -> String {
    let mut text = HEAD.to_owned();
    for (title, rules) in TABLES {
        let _ = write!(
            text,
            "\n## {title}\n\n| id | severity | when | cure |\n|---|---|---|---|\n"
        );
        for rule in *rules {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                rule.id,
                rule.severity.name(),
                rule.when,
                rule.cure
            );
        }
    }
    text
}

#[test]
fn the_document_has_the_findings_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/doctor.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, document()).unwrap();
    } else {
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == document(),
            "docs/doctor.md is older than the rules: run this test with UPDATE_DOCS=1"
        );
    }
}

#[test]
fn each_finding_has_a_name_of_its_own_and_a_cure() {
    let mut names = BTreeSet::new();
    for rule in all() {
        assert!(names.insert(rule.id), "{} stands twice", rule.id);
        assert!(
            rule.id
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        );
        assert!(
            rule.cure.ends_with('.') && !rule.cure.contains(". "),
            "{}: one sentence",
            rule.id
        );
    }
}

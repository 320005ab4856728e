//! Checks that tests, files, lines of logs and attributes of `/jmx` that the documents name exist.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::path::Path;

/// Fewest words in a name that is taken for a test's. Names of tests are sentences. Shorter names are not looked for.
const WORDS_MIN: usize = 3;
/// Beginnings of names that look like a test's and are none.
const NO_TESTS: &[&str] = &["edits_", "fsimage_", "hathi_", "process_", "arithmetic_side_effects"];
/// Fewest bytes of a part of a message that is looked for.
const PART_MIN: usize = 4;
/// The document in which operators look up lines of logs.
const MONITORING: &str = "docs/monitoring.md";
/// Its section about attributes and lines.
const ALARMS: &str = "## What each alarm means";
/// The document in which everybody looks messages up.
const TROUBLESHOOTING: &str = "docs/troubleshooting.md";
/// The document that lists all others.
const INDEX: &str = "docs/README.md";
/// The section of compatibility.md in which each row of a table names a test.
const BEHAVIOURS: &str = "## What high availability promises, and the test of it";
const COMPATIBILITY: &str = "docs/compatibility.md";

/// Compares the documents with the code of the workspace. `code` has the texts of all files.
pub fn check(root: &Path, code: &[String], findings: &mut Vec<String>) -> Result<()> {
    let tests: BTreeSet<&str> = code.iter().flat_map(|text| tests_in(text)).collect();
    ensure!(!tests.is_empty(), "no tests are found");
    let mut documents = markdown_in(root, "")?;
    documents.extend(markdown_in(root, "docs/")?);
    ensure!(!documents.is_empty(), "no documents are found");
    documents.sort();
    for name in documents {
        let text = std::fs::read_to_string(root.join(&name)).with_context(|| name.clone())?;
        for (number, line) in (1..).zip(text.lines()) {
            let missing = code_spans(line).filter(|span| names_a_test(span) && !is_there(span, &tests));
            findings.extend(missing.map(|span| format!("{name}:{number}: there is no test {span}")));
            let missing = code_spans(line).filter(|span| names_a_file(span) && !root.join(span).exists());
            findings.extend(missing.map(|span| format!("{name}:{number}: there is no file {span}")));
            let folder = root.join(&name).parent().unwrap_or(root).to_owned();
            let missing = linked_files(line).filter(|target| !folder.join(target).exists());
            findings.extend(missing.map(|target| format!("{name}:{number}: a link to {target}, which is not there")));
        }
        if name == COMPATIBILITY {
            findings.extend(untested(&name, &text, &tests)?);
        }
        if name == MONITORING {
            findings.extend(unknown_alarms(&name, &text, code)?);
        }
        if name == TROUBLESHOOTING {
            findings.extend(unsaid(&name, &text, code)?);
        }
        if name == INDEX {
            let listed: BTreeSet<&str> = text.lines().flat_map(linked_files).collect();
            let pages = markdown_in(root, "docs/")?.into_iter();
            let pages = pages.filter_map(|page| Some(page.strip_prefix("docs/")?.to_owned()));
            let missing = pages.filter(|page| page != "README.md" && !listed.contains(page.as_str()));
            findings.extend(missing.map(|page| format!("{name}: {page} is not listed")));
        }
    }
    Ok(())
}

/// The documents in a folder. `folder` is empty or ends with a slash.
fn markdown_in(root: &Path, folder: &str) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    for entry in std::fs::read_dir(root.join(folder))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            documents.push(format!("{folder}{name}"));
        }
    }
    Ok(documents)
}

/// The files that a line links to, without anchors.
fn linked_files(line: &str) -> impl Iterator<Item = &str> {
    let targets = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

/// The names of the functions under `#[test]` and its like.
fn tests_in(text: &str) -> Vec<&str> {
    let (mut tests, mut is_test) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(rest) = line.trim_start_matches("async ").strip_prefix("fn ") {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            tests.extend(is_test.then_some(name));
            is_test = false;
        }
    }
    tests
}

/// The code spans in a line.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether a span is a sentence with `_` for its blanks. Its end may be left open by `*`.
fn names_a_test(span: &str) -> bool {
    let name = span.strip_suffix('*').unwrap_or(span);
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.split('_').count() >= WORDS_MIN
        && !NO_TESTS.iter().any(|other| name.starts_with(other))
}

fn is_there(name: &str, tests: &BTreeSet<&str>) -> bool {
    match name.strip_suffix('*') {
        Some(beginning) => tests.iter().any(|test| test.starts_with(beginning)),
        None => tests.contains(name),
    }
}

/// Whether a span is the path of a source file from the root on.
fn names_a_file(span: &str) -> bool {
    let rings = [
        "formats/", "conf/", "core/", "node/", "hathi/", "sim/", "interop/", "fuzz/", "xtask/",
    ];
    rings.iter().any(|ring| span.starts_with(ring))
        && Path::new(span).extension().is_some_and(|extension| extension == "rs")
        && !span.contains(['{', ' ', '*'])
}

/// The lines below a heading up to the next heading of the same level, with their numbers.
fn section<'a>(name: &str, text: &'a str, heading: &str) -> Result<Vec<(usize, &'a str)>> {
    let lines = (1..).zip(text.lines()).skip_while(|(_, line)| *line != heading).skip(1);
    let lines: Vec<_> = lines.take_while(|(_, line)| !line.starts_with("## ")).collect();
    ensure!(!lines.is_empty(), "{name}: nothing under '{heading}'");
    Ok(lines)
}

/// Rows of the table of behaviours that name no test.
fn untested(name: &str, text: &str, tests: &BTreeSet<&str>) -> Result<Vec<String>> {
    let rows = section(name, text, BEHAVIOURS)?;
    let rows = rows.into_iter().filter(|(_, line)| line.starts_with("| "));
    // The first row has the titles.
    let untested = rows.skip(1).filter(|(_, line)| {
        let mut named = code_spans(line).filter(|span| names_a_test(span));
        !named.any(|span| is_there(span, tests))
    });
    Ok(untested
        .map(|(number, _)| format!("{name}:{number}: no test is named"))
        .collect())
}

/// Lines of logs and attributes that are not in the code.
fn unknown_alarms(name: &str, text: &str, code: &[String]) -> Result<Vec<String>> {
    // Literals may continue on the next line of the code.
    let code: Vec<String> = code.iter().map(|text| joined(text)).collect();
    let mut unknown = Vec::new();
    for (number, line) in section(name, text, ALARMS)? {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (first, second) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        let wanted: Vec<String> = match first {
            "ERROR" | "WARN" => code_spans(second).map(str::to_owned).collect(),
            _ => {
                let attributes = code_spans(first).map(|span| span.split('-').next().unwrap_or_default());
                // Quantiles have the interval and the percentage in their names.
                let attributes = attributes.filter(|name| !name.contains("Percentile"));
                attributes.map(|name| format!("\"{name}")).collect()
            }
        };
        for wanted in wanted {
            if !code.iter().any(|text| text.contains(&wanted)) {
                unknown.push(format!("{name}:{number}: no code says {wanted}"));
            }
        }
    }
    Ok(unknown)
}

/// Messages in the first column that no code gives. `…` stands for what is filled in.
fn unsaid(name: &str, text: &str, code: &[String]) -> Result<Vec<String>> {
    let code: Vec<String> = code.iter().map(|text| joined(text)).collect();
    let rows = (1..).zip(text.lines()).filter(|(_, line)| line.starts_with("| `"));
    let messages = rows.filter_map(|(number, line)| Some((number, code_spans(line).next()?)));
    let parts = messages.flat_map(|(number, message)| message.split('…').map(move |part| (number, part.trim())));
    let parts: Vec<_> = parts.filter(|(_, part)| part.len() >= PART_MIN).collect();
    ensure!(!parts.is_empty(), "{name}: no messages are found");
    let unsaid = parts
        .into_iter()
        .filter(|(_, part)| !code.iter().any(|text| text.contains(part)));
    Ok(unsaid
        .map(|(number, part)| format!("{name}:{number}: no code says {part}"))
        .collect())
}

/// The text with continued string literals on one line.
fn joined(text: &str) -> String {
    let mut parts = text.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "#[test]\nfn a_file_is_there() {}\n#[tokio::test(flavor = \"x\")]\nasync fn it_goes_on() {}\n\
                        fn no_test_at_all() {}\ntracing::warn!(\"a long \\\n    line\");";

    #[test]
    fn tests_are_found_by_their_attribute() {
        assert_eq!(tests_in(CODE), ["a_file_is_there", "it_goes_on"]);
    }

    #[test]
    fn a_name_is_looked_for_when_it_is_a_sentence() {
        let tests = BTreeSet::from(["a_file_is_there"]);
        for (span, is_name, there) in [
            ("a_file_is_there", true, true),
            ("a_file_is_*", true, true),
            ("a_file_is_gone", true, false),
            ("dfs.namenode.name.dir", false, false),
            ("fsimage_00", false, false),
            ("two_words", false, false),
        ] {
            assert_eq!((names_a_test(span), is_there(span, &tests)), (is_name, there), "{span}");
        }
        assert!(names_a_file("hathi/tests/a.rs") && !names_a_file("core/{a,b}.rs") && !names_a_file("hathi conf"));
    }

    #[test]
    fn a_link_leads_to_a_file() {
        let line = "See [one](one.md), [part](two.md#a-part), [here](#a-part) and [there](https://example.org/x).";
        assert_eq!(linked_files(line).collect::<Vec<_>>(), ["one.md", "two.md"]);
    }

    #[test]
    fn a_behaviour_without_a_test_is_found() {
        let tests = BTreeSet::from(["a_file_is_there"]);
        let text =
            format!("{BEHAVIOURS}\n\n| what | test |\n|---|---|\n| one | `a_file_is_there` |\n| two | `dfs` |\n");
        let found = untested("x", &text, &tests).unwrap();
        assert_eq!(found, ["x:6: no test is named"]);
        assert!(untested("x", "", &tests).is_err());
    }

    #[test]
    fn a_message_that_no_code_gives_is_found() {
        let code = ["bail!(\"{path} is not there, and \\\n    never was\")".to_owned()];
        let text = "| `… is not there, and never was` | |\n| `… is gone: …` | |\n";
        assert_eq!(unsaid("x", text, &code).unwrap(), ["x:2: no code says is gone:"]);
        assert!(unsaid("x", "", &code).is_err());
    }

    #[test]
    fn an_alarm_that_no_code_gives_is_found() {
        let text =
            format!("{ALARMS}\n| WARN | `a long line` | |\n| ERROR | `another one` | |\n| `Bean-x` `Other` | |\n");
        let code = [CODE.to_owned(), "\"Bean\"".to_owned()];
        let found = unknown_alarms("x", &text, &code).unwrap();
        assert_eq!(found, ["x:3: no code says another one", "x:4: no code says \"Other"]);
    }
}

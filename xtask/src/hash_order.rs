//! A walk over a hash map visits its entries in an order that depends on everything that was ever in it. Two NameNodes
//! with the same namespace have different orders, and a map of the standard library has a different order in each run.
//!
//! So deterministic code has no hash map of the standard library. A walk over any other hash map says, in a comment
//! that begins with `order:`, why its order changes nothing.

use std::collections::BTreeSet;

/// Deterministic code: the same calls lead to the same state and the same actions.
const DETERMINISTIC: &[&str] = &["core/", "formats/src", "sim/src"];

/// Methods that walk over a map.
const WALKS: &[&str] = &[
    ".iter()",
    ".iter_mut()",
    ".keys()",
    ".values()",
    ".values_mut()",
    ".into_iter()",
    ".into_keys()",
    ".into_values()",
    ".drain()",
    ".retain(",
    ".extract_if(",
];

/// Checks the files of one crate, given as paths from the root on and texts.
pub fn check(files: &[(&str, &str)], findings: &mut Vec<String>) {
    let files = files.iter().filter(|(name, _)| {
        DETERMINISTIC.iter().any(|place| name.starts_with(place))
            && !name.contains("/tests")
            && !name.contains("/benches/")
            && !name.contains("/examples/")
    });
    let files: Vec<(&str, &str)> = files
        .map(|(name, text)| (*name, text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)))
        .collect();
    let maps: BTreeSet<&str> = files.iter().flat_map(|(_, code)| maps_in(code)).collect();
    for (name, code) in &files {
        for (number, line) in (1..).zip(code.lines()) {
            let is_std = line.contains("std::collections::") && (line.contains("HashMap") || line.contains("HashSet"));
            if is_std && !line.trim_start().starts_with("//") {
                findings.push(format!("{name}:{number}: a map in random order, in deterministic code"));
            }
        }
        for map in &maps {
            for (at, _) in code.match_indices(map) {
                let (before, after) = (&code[..at], &code[at + map.len()..]);
                if is_walk(before, after) && !is_explained(before) {
                    let number = before.lines().count().max(1);
                    findings.push(format!(
                        "{name}:{number}: a walk through {map}, whose order is that of a hash, without \"// order:\" before it"
                    ));
                }
            }
        }
    }
}

/// The names of fields and variables that are hash maps or hash tables.
fn maps_in(code: &str) -> Vec<&str> {
    let declarations = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let declarations = declarations.filter_map(|line| {
        let (before, kind) = line.split_once(": ")?;
        let is_hashed = ["HashMap<", "HashSet<", "HashTable<"]
            .iter()
            .any(|hashed| kind.starts_with(hashed));
        let name = before.rsplit(|c: char| !is_word(c)).next()?;
        (is_hashed && !name.is_empty()).then_some(name)
    });
    declarations.collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether the code before and after a name walks over it.
fn is_walk(before: &str, after: &str) -> bool {
    let begins = before.chars().next_back().is_none_or(|c| !is_word(c));
    let ends = after.chars().next().is_none_or(|c| !is_word(c));
    if !begins || !ends || in_comment(before) {
        return false;
    }
    let after = after.trim_start();
    let looped = after.starts_with('{') && before.lines().last().is_some_and(|line| line.contains(" in "));
    looped || WALKS.iter().any(|walk| after.starts_with(walk))
}

fn in_comment(before: &str) -> bool {
    before
        .rsplit('\n')
        .next()
        .is_some_and(|line| line.trim_start().starts_with("//"))
}

/// Whether the comment before this line says why the order changes nothing.
fn is_explained(before: &str) -> bool {
    let comment = before.lines().rev().skip(1).map(str::trim_start);
    comment
        .take_while(|line| line.starts_with("//"))
        .any(|line| line.starts_with("// order:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check(&[("core/x/src/a.rs", code)], &mut findings);
        findings
    }

    #[test]
    fn a_walk_through_a_map_by_hash_says_why_its_order_changes_nothing() {
        let map = "struct S {\n    names: HashMap<u8, u8, FixedState>,\n}\n";
        for walk in [
            "    for name in &self.names {\n",
            "    self.names.retain(|_, _| true)\n",
            "    self.names\n        .values()\n",
        ] {
            let without = format!("{map}fn f() {{\n{walk}}}\n");
            assert!(
                found(&without)[0].starts_with("core/x/src/a.rs:5: a walk through names"),
                "{walk}"
            );
            let with = format!("{map}fn f() {{\n    // order: a sum\n    // is the same.\n{walk}}}\n");
            assert_eq!(found(&with), [""; 0], "{walk}");
        }
        let other =
            format!("{map}fn f() {{\n    self.names.get(&1);\n    // names.iter()\n    other_names.iter()\n}}\n");
        assert_eq!(found(&other), [""; 0]);
    }

    #[test]
    fn a_map_of_the_standard_library_is_in_no_deterministic_code() {
        assert_eq!(found("use std::collections::{BTreeMap, HashSet};\n").len(), 1);
        assert_eq!(
            found("use std::collections::BTreeMap;\nuse hashbrown::HashMap;\n"),
            [""; 0]
        );
        assert_eq!(
            found("#[cfg(test)]\nmod tests {\n    use std::collections::HashSet;\n}\n"),
            [""; 0]
        );
    }
}

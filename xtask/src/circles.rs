//! Circles of modules inside a crate: modules that can only be understood, moved and tested together.
//!
//! An edge is a path that begins with `crate`, `super` or `self`. A re-exported item counts as one of the module that
//! defines it. Edges between a module and its parents or children don't count: a module that is divided into files
//! names its parts, and the parts name it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The known circles, each as the modules in it. The list may only get shorter: a module that leaves a circle leaves
/// the list, and no module joins one.
const CIRCLES: &[(&str, &[&str])] = &[
    ("sim", &["journalnode", "namenode"]),
    ("sim", &["writing::datanode", "writing::pipeline", "writing::talk"]),
    ("core/namespace", &["ops::attr", "ops::create"]),
    ("core/namespace", &["striping", "view"]),
    (
        "core/namesystem",
        &[
            "calls::block_report",
            "calls::blocks",
            "calls::border",
            "calls::datanode",
            "calls::delete",
            "calls::policies",
            "calls::replayed",
            "calls::striped",
            "calls::summary",
            "calls::walks",
            "calls::write",
            "calls::zones",
            "context",
            "history",
            "keys",
            "monitor",
            "namenode_protocol",
            "namesystem",
            "save_namespace",
            "secrets",
            "tailer",
            "upgrade",
        ],
    ),
    ("core/namesystem", &["life", "positions"]),
    ("node/client", &["filesystem", "input", "output"]),
    (
        "node/net",
        &[
            "auth::acl",
            "auth::authorizer",
            "auth::policy",
            "auth::proxy",
            "ipc::server",
        ],
    ),
    (
        "node/net",
        &[
            "ipc::server::connection",
            "ipc::server::listener",
            "ipc::server::meta",
            "ipc::server::outbox",
        ],
    ),
    ("node/zkfc", &["fence", "graceful", "namenode", "run"]),
];

/// The modules of a crate by name: the text of each file, without its tests.
type Modules = BTreeMap<String, String>;
type Edges = BTreeMap<String, BTreeSet<String>>;

/// Looks for circles in all crates. Each file comes as the crate's folder, its path below `src`, and its text.
pub fn check<'a>(files: impl Iterator<Item = (&'a str, &'a str, &'a str)>, findings: &mut Vec<String>) {
    let mut crates: BTreeMap<&str, Modules> = BTreeMap::new();
    for (folder, path, text) in files {
        if let Some(name) = module_of(path) {
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
            crates.entry(folder).or_default().insert(name, without_comments(code));
        }
    }
    for (folder, mut modules) in crates {
        drop_tests(&mut modules);
        let edges = edges(&modules);
        let known = CIRCLES.iter().filter(|(of, _)| *of == folder);
        let known: Vec<BTreeSet<&str>> = known.map(|(_, modules)| modules.iter().copied().collect()).collect();
        compare(folder, &edges, &known, findings);
    }
}

/// The name of the module in a file, without `crate`. `None` for programs and tests.
fn module_of(path: &str) -> Option<String> {
    let path = path.strip_suffix(".rs")?;
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.last() == Some(&"mod") {
        parts.pop();
    }
    if parts == ["lib"] || parts == ["main"] {
        parts.clear();
    }
    let apart = parts.first() == Some(&"bin") || parts.contains(&"tests");
    (!apart).then(|| parts.join("::"))
}

fn without_comments(code: &str) -> String {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Removes the modules that are declared only for tests.
fn drop_tests(modules: &mut Modules) {
    let mut tests = Vec::new();
    for (name, code) in &*modules {
        for rest in code.split("#[cfg(test)]\n").skip(1) {
            let line = rest.lines().next().unwrap_or_default().trim();
            let declared = line.trim_start_matches("pub(crate) ").strip_prefix("mod ");
            if let Some(child) = declared.and_then(|line| line.strip_suffix(';')) {
                tests.push(below(name, child));
            }
        }
    }
    modules.retain(|name, _| !tests.iter().any(|test| name == test || is_below(name, test)));
}

fn below(parent: &str, child: &str) -> String {
    if parent.is_empty() {
        child.to_owned()
    } else {
        format!("{parent}::{child}")
    }
}

fn parent(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(parent, _)| parent)
}

fn is_below(module: &str, ancestor: &str) -> bool {
    ancestor.is_empty() || module.strip_prefix(ancestor).is_some_and(|rest| rest.starts_with("::"))
}

/// The paths in the code that begin with one of these words, without that word.
fn paths<'a>(code: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(head) {
        let before = code[..at].chars().next_back();
        let after = &code[at + head.len()..];
        if before.is_none_or(|c| !is_word(c) && c != ':')
            && let Some(rest) = after.strip_prefix("::")
        {
            read_tree(rest, &mut Vec::new(), &mut found);
        }
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Reads the path behind a `::`, with all branches in braces. Returns the rest of the text.
fn read_tree<'a>(code: &'a str, path: &mut Vec<&'a str>, found: &mut Vec<Vec<&'a str>>) -> &'a str {
    let mut rest = code.trim_start();
    if let Some(mut inner) = rest.strip_prefix('{') {
        while !inner.is_empty() && !inner.starts_with('}') {
            inner = read_tree(inner, path, found).trim_start();
            // `as OtherName` and the like are skipped.
            let end = inner.find([',', '}']).unwrap_or(inner.len());
            inner = &inner[end..];
            inner = inner.strip_prefix(',').unwrap_or(inner).trim_start();
        }
        return inner.strip_prefix('}').unwrap_or(inner);
    }
    let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
    if end == 0 {
        found.push(path.clone());
        return rest;
    }
    path.push(&rest[..end]);
    rest = &rest[end..];
    rest = match rest.strip_prefix("::") {
        Some(more) => read_tree(more, path, found),
        None => {
            found.push(path.clone());
            rest
        }
    };
    path.pop();
    rest
}

/// Re-exported names: from the path under which a module offers them to the module that defines them.
type Reexports = BTreeMap<(String, String), String>;

fn edges(modules: &Modules) -> Edges {
    let mut reexports = Reexports::new();
    // Two passes are made, because a re-exported name may be re-exported again.
    for _ in 0..2 {
        for (name, code) in modules {
            for line in code.split(';').filter_map(exported) {
                let mut found = Vec::new();
                read_tree(line, &mut Vec::new(), &mut found);
                for path in found {
                    let target = resolve(modules, &reexports, name, &path);
                    if let (Some(item), true) = (path.last(), target != *name) {
                        reexports.insert((name.clone(), (*item).to_owned()), target);
                    }
                }
            }
        }
    }
    let mut edges = Edges::new();
    for (name, code) in modules {
        let mut targets = BTreeSet::new();
        for head in ["crate", "super", "self"] {
            for mut path in paths(code, head) {
                path.insert(0, head);
                targets.insert(resolve(modules, &reexports, name, &path));
            }
        }
        targets.retain(|target| target != name && !is_below(target, name) && !is_below(name, target));
        edges.insert(name.clone(), targets);
    }
    edges
}

/// The path behind `pub use` at the end of a piece of code.
fn exported(piece: &str) -> Option<&str> {
    let last = ["pub use ", "pub(crate) use ", "pub(super) use "];
    last.iter()
        .find_map(|word| piece.rsplit_once(word))
        .map(|(_, path)| path)
}

/// The module that defines the end of a path, as seen from module `from`.
fn resolve(modules: &Modules, reexports: &Reexports, from: &str, path: &[&str]) -> String {
    let mut at = from.to_owned();
    for (place, part) in path.iter().enumerate() {
        match *part {
            "crate" if place == 0 => at.clear(),
            "self" => {}
            "super" => at = parent(&at).to_owned(),
            part => {
                let child = below(&at, part);
                if modules.contains_key(&child) {
                    at = child;
                } else if let Some(origin) = reexports.get(&(at.clone(), part.to_owned())) {
                    at.clone_from(origin);
                } else {
                    break;
                }
            }
        }
    }
    at
}

/// Compares the circles of a crate with the known ones.
fn compare(folder: &str, edges: &Edges, known: &[BTreeSet<&str>], findings: &mut Vec<String>) {
    let circles = circles(edges);
    for circle in &circles {
        if known
            .iter()
            .any(|known| circle.iter().all(|module| known.contains(module)))
        {
            continue;
        }
        let new = circle
            .iter()
            .find(|module| !known.iter().any(|known| known.contains(*module)));
        let begin = new.or(circle.first()).copied().unwrap_or_default();
        findings.push(format!(
            "{folder}: a circle of modules: {}",
            shortest(edges, begin).join(" → ")
        ));
    }
    for module in known.iter().flatten() {
        if !circles.iter().any(|circle| circle.contains(module)) {
            findings.push(format!(
                "{folder}: {module} is in no circle any more: take it out of CIRCLES in xtask/src/circles.rs"
            ));
        }
    }
}

/// Sets of modules in which each module reaches every other one.
fn circles(edges: &Edges) -> Vec<BTreeSet<&str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> = edges.keys().map(|from| (&**from, reach(edges, from))).collect();
    let mut circles: Vec<BTreeSet<&str>> = Vec::new();
    for (from, to) in &reached {
        if to.contains(from) && !circles.iter().any(|circle| circle.contains(from)) {
            let both = to
                .iter()
                .filter(|other| reached.get(*other).is_some_and(|back| back.contains(from)));
            circles.push(both.copied().collect());
        }
    }
    circles
}

fn reach<'a>(edges: &'a Edges, from: &str) -> BTreeSet<&'a str> {
    let (mut reached, mut waiting) = (BTreeSet::new(), vec![from]);
    while let Some(module) = waiting.pop() {
        for next in edges.get(module).into_iter().flatten() {
            if reached.insert(&**next) {
                waiting.push(next);
            }
        }
    }
    reached
}

/// The shortest path from a module back to itself.
fn shortest<'a>(edges: &'a Edges, begin: &'a str) -> Vec<&'a str> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut waiting = VecDeque::from([begin]);
    while let Some(module) = waiting.pop_front() {
        for next in edges.get(module).into_iter().flatten() {
            if *next == begin {
                let mut way = vec![begin, module];
                while let Some(earlier) = before.get(way[way.len() - 1]).filter(|_| way[way.len() - 1] != begin) {
                    way.push(earlier);
                }
                way.reverse();
                return way;
            }
            if !before.contains_key(&**next) {
                before.insert(next, module);
                waiting.push_back(next);
            }
        }
    }
    vec![begin]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)], known: &[&[&str]]) -> Vec<String> {
        let modules = files
            .iter()
            .filter_map(|(path, text)| Some((module_of(path)?, (*text).to_owned())));
        let mut modules: Modules = modules.collect();
        drop_tests(&mut modules);
        let known: Vec<BTreeSet<&str>> = known.iter().map(|modules| modules.iter().copied().collect()).collect();
        let mut findings = Vec::new();
        compare("core/x", &edges(&modules), &known, &mut findings);
        findings
    }

    #[test]
    fn a_circle_is_found_and_shown_by_its_shortest_way() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::{B, Other as O};"),
            ("b.rs", "fn f() { crate::c::go() }"),
            ("c.rs", "use super::{a::A};"),
        ];
        assert_eq!(found(&files, &[]), ["core/x: a circle of modules: a → b → c → a"]);
        assert_eq!(found(&files, &[&["a", "b", "c"]]), [""; 0]);
        assert_eq!(
            found(&files[..3], &[&["a"]]),
            ["core/x: a is in no circle any more: take it out of CIRCLES in xtask/src/circles.rs"]
        );
    }

    #[test]
    fn what_is_passed_on_counts_as_where_it_is_from() {
        let files = [
            ("lib.rs", "mod a; mod b; pub use b::B;"),
            ("a.rs", "use crate::B;"),
            ("b/mod.rs", "mod c; pub(crate) use c::{C};"),
            ("b/c.rs", "use crate::a::A;"),
        ];
        assert_eq!(found(&files, &[]), [""; 0], "b alone names nobody");
        let files = [files[0], files[1], files[2], ("b/c.rs", ""), ("d.rs", "use crate::a;")];
        assert_eq!(found(&files, &[]), [""; 0]);
        let files = [files[0], ("a.rs", "use crate::B;"), ("b.rs", "use crate::a::A;")];
        assert_eq!(found(&files, &[]), ["core/x: a circle of modules: a → b → a"]);
    }

    #[test]
    fn parents_children_tests_and_comments_make_no_circle() {
        let files = [
            ("lib.rs", "mod a;\n#[cfg(test)]\nmod fixture;"),
            ("a.rs", "mod b; use self::b::B; use crate::c::C;"),
            ("a/b.rs", "use super::A;"),
            ("c.rs", "use crate::fixture::F;"),
            ("fixture.rs", "use crate::c::C;"),
            ("a/tests.rs", "use crate::a::A;"),
        ];
        assert_eq!(found(&files, &[]), [""; 0]);
    }
}

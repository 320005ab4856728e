//! Paths on the command line: with and without authority, relative to the home directory, and with wildcards.

use anyhow::{Result, bail};
use std::fmt;

/// A path in HDFS, and the form in which the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemotePath {
    /// Nameservice or `host:port`; empty for the default one.
    pub(super) authority: String,
    /// Absolute path.
    pub(super) path: String,
    /// Printed before the path: `hdfs://authority` if the user wrote that.
    shown_prefix: String,
    /// The path as written, if it was relative.
    shown_relative: Option<String>,
    /// The path was written as that of a directory, with `/` or `.` at its end (`PathData.representsDirectory`).
    pub(super) is_directory_by_name: bool,
    /// The path is a pattern. One that is none has no backslashes before its characters any more.
    is_glob: bool,
}

impl RemotePath {
    pub(super) fn parse(word: &str, user: &str) -> Result<RemotePath> {
        let (prefix, authority, path) = match word.split_once("://") {
            Some(("hdfs", rest)) => {
                let (authority, path) = match rest.find('/') {
                    Some(slash) => rest.split_at(slash),
                    None => (rest, "/"),
                };
                (format!("hdfs://{authority}"), authority, path)
            }
            Some((scheme, _)) => bail!("No FileSystem for scheme \"{scheme}\""),
            None => (String::new(), "", word),
        };
        if path.is_empty() && prefix.is_empty() {
            bail!("Can not create a Path from an empty string");
        }
        // Only a pattern has use for the backslashes before characters that stand for themselves.
        let is_glob = has_wildcard(path);
        let unquoted = unquote(path);
        let path = if is_glob { path } else { unquoted.as_str() };
        let relative = !path.starts_with('/');
        let absolute = if relative {
            format!("/user/{user}/{path}")
        } else {
            path.to_owned()
        };
        Ok(RemotePath {
            authority: authority.to_owned(),
            path: normalize(&absolute),
            shown_prefix: prefix,
            shown_relative: relative.then(|| path.trim_end_matches('/').to_owned()),
            is_directory_by_name: path.ends_with('/') || path == "." || path.ends_with("/."),
            is_glob,
        })
    }

    /// Last component; empty for the root.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    pub(super) fn join(&self, name: &str) -> RemotePath {
        // A listing of a file names the file itself by an empty name.
        if name.is_empty() {
            return self.clone();
        }
        let base = self.path.trim_end_matches('/');
        RemotePath {
            path: format!("{base}/{name}"),
            // Hadoop's shell leaves out the `.` that stands for the home directory.
            shown_relative: self.shown_relative.as_ref().map(|relative| match relative.as_str() {
                "." => name.to_owned(),
                _ => format!("{relative}/{name}"),
            }),
            is_directory_by_name: false,
            is_glob: false,
            ..self.clone()
        }
    }

    pub(super) fn parent(&self) -> RemotePath {
        let parent = self.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        RemotePath {
            path: if parent.is_empty() {
                "/".to_owned()
            } else {
                parent.to_owned()
            },
            shown_relative: None,
            is_directory_by_name: false,
            ..self.clone()
        }
    }

    /// What must be there before this can be made (`PathData.parentExists`).
    pub(super) fn needed(&self) -> RemotePath {
        if self.is_directory_by_name {
            self.clone()
        } else {
            self.parent()
        }
    }

    pub(super) fn root(&self) -> RemotePath {
        RemotePath {
            path: "/".to_owned(),
            shown_relative: None,
            ..self.clone()
        }
    }

    pub(super) fn is_glob(&self) -> bool {
        self.is_glob
    }

    /// The path, once for each alternative of its `{a,b}`.
    pub(super) fn alternatives(&self) -> Vec<String> {
        expand_braces(&self.path)
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shown_relative {
            Some(relative) => f.write_str(relative),
            None => write!(f, "{}{}", self.shown_prefix, self.path),
        }
    }
}

fn normalize(path: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            other => components.push(other),
        }
    }
    format!("/{}", components.join("/"))
}

/// Whether there is a character that stands for others, without a backslash before it.
pub(super) fn has_wildcard(component: &str) -> bool {
    let mut chars = component.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '*' | '?' | '[' | '{' => return true,
            _ => {}
        }
    }
    false
}

/// A text without its backslashes, but those behind a backslash.
pub(super) fn unquote(text: &str) -> String {
    let mut unquoted = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => unquoted.extend(chars.next()),
            other => unquoted.push(other),
        }
    }
    unquoted
}

/// Refuses a pattern that ends within a set or a group (`GlobPattern.set`).
pub(super) fn check_pattern(component: &str) -> Result<()> {
    let (mut in_set, mut groups) = (false, 0_usize);
    let mut chars = component.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '[' => in_set = true,
            ']' => in_set = false,
            '{' => groups += 1,
            '}' => groups = groups.saturating_sub(1),
            _ => {}
        }
    }
    let what = match (in_set, groups) {
        (true, _) => "character class",
        (false, 0) => return Ok(()),
        (false, _) => "group",
    };
    let end = component.chars().count();
    bail!("Illegal file pattern: error parsing regexp: Unclosed {what} at pos {end}: `{component}`")
}

/// A pattern, once for each alternative of its `{a,b}`.
pub(super) fn expand_braces(pattern: &str) -> Vec<String> {
    let Some(open) = pattern.find('{') else {
        return vec![pattern.to_owned()];
    };
    let mut depth = 0;
    let mut choices = Vec::new();
    let mut start = open + 1;
    for (at, c) in pattern.char_indices().skip_while(|(at, _)| *at < open) {
        match c {
            '{' => depth += 1,
            ',' if depth == 1 => {
                choices.push(&pattern[start..at]);
                start = at + 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    choices.push(&pattern[start..at]);
                    let (head, tail) = (&pattern[..open], &pattern[at + 1..]);
                    return choices
                        .iter()
                        .flat_map(|choice| expand_braces(&format!("{head}{choice}{tail}")))
                        .collect();
                }
            }
            _ => {}
        }
    }
    // The brace is never closed, so it stands for itself.
    vec![pattern.to_owned()]
}

/// Whether a name matches a pattern of `*`, `?`, `[a-z]`, `[^a-z]` and `\x`.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    match_from(&pattern, &name)
}

fn match_from(pattern: &[char], name: &[char]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return name.is_empty();
    };
    match first {
        '*' => (0..=name.len()).any(|skip| match_from(rest, &name[skip..])),
        '?' => !name.is_empty() && match_from(rest, &name[1..]),
        '[' => {
            let Some(close) = rest.iter().position(|c| *c == ']') else {
                return name.first() == Some(&'[') && match_from(rest, &name[1..]);
            };
            let (set, after) = (&rest[..close], &rest[close + 1..]);
            let Some((c, tail)) = name.split_first() else {
                return false;
            };
            in_set(set, *c) && match_from(after, tail)
        }
        '\\' if !rest.is_empty() => name.first() == rest.first() && match_from(&rest[1..], &name[1..]),
        other => name.first() == Some(other) && match_from(rest, &name[1..]),
    }
}

fn in_set(set: &[char], c: char) -> bool {
    let (negated, set) = match set.split_first() {
        Some(('^' | '!', rest)) => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    let mut rest = set;
    while let Some((first, tail)) = rest.split_first() {
        if let [dash, last, after @ ..] = tail
            && *dash == '-'
        {
            found |= (*first..=*last).contains(&c);
            rest = after;
        } else {
            found |= *first == c;
            rest = tail;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_as_they_were_written() {
        for (word, authority, path, shown) in [
            ("/a//b/", "", "/a/b", "/a/b"),
            ("hdfs://ns/a", "ns", "/a", "hdfs://ns/a"),
            ("hdfs://ns", "ns", "/", "hdfs://ns/"),
            ("x/y", "", "/user/me/x/y", "x/y"),
            ("/a/../b", "", "/b", "/b"),
        ] {
            let parsed = RemotePath::parse(word, "me").unwrap();
            assert_eq!((parsed.authority.as_str(), parsed.path.as_str()), (authority, path));
            assert_eq!(parsed.to_string(), shown);
        }
        assert!(RemotePath::parse("s3://x/y", "me").is_err());
        for (word, needed) in [("/a/b", "/a"), ("/a/b/", "/a/b"), (".", "/user/me"), ("x", "/user/me")] {
            assert_eq!(RemotePath::parse(word, "me").unwrap().needed().path, needed, "{word}");
        }
        assert_eq!(RemotePath::parse(".", "me").unwrap().join("x").to_string(), "x");
        let quoted = RemotePath::parse("/x\\[1\\]", "me").unwrap();
        assert!(!quoted.is_glob() && quoted.path == "/x[1]", "{quoted}");
        let child = RemotePath::parse("hdfs://ns/", "me").unwrap().join("c");
        assert_eq!(
            (child.to_string(), child.parent().to_string()),
            ("hdfs://ns/c".into(), "hdfs://ns/".into())
        );
    }

    #[test]
    fn wildcards_match_as_in_hadoop() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("?", "x", true),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert_eq!(expand_braces("/{a,b{c,d}}/e"), ["/a/e", "/bc/e", "/bd/e"]);
        assert_eq!(expand_braces("/{a"), ["/{a"]);
        assert!(!has_wildcard("x\\[1\\]") && has_wildcard("x\\\\[1]"));
        assert_eq!(unquote("x\\[1\\]\\\\"), "x[1]\\");
        for (pattern, wrong) in [("a[", true), ("{a", true), ("[a]{b}", false), ("a\\[", false)] {
            assert_eq!(check_pattern(pattern).is_err(), wrong, "{pattern}");
        }
    }
}

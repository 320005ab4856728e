//! Hadoop's configuration: `core-site.xml` and `hdfs-site.xml` over built-in defaults, with typed getters. It also says
//! which nameservices, NameNodes, journals and storage directories there are.
//!
//! Mirrors `org.apache.hadoop.conf.Configuration`, `HdfsConfiguration` and `DFSUtil`.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod address;
pub mod keys;
mod text;
mod topology;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use address::{DefaultFs, JournalUri, StorageLocation};
pub use hathi_formats::host_port::{HostPort, host_and_port, split_host_and_port};
pub use topology::NameNodeIdentity;
pub use value::TimeUnit;

/// Substitutions nest at most this deep (`Configuration.MAX_SUBST`).
const MAX_SUBSTITUTION_DEPTH: usize = 20;
/// Origin of a built-in default.
const DEFAULT_SOURCE: &str = "built-in default";
/// Origin of a value that a program sets.
const PROGRAM_SOURCE: &str = "set by the program";

/// An error in a configuration. It names the file and the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not a configuration.
    #[error("{origin}:{line}:{column}: {problem}")]
    Syntax {
        /// The file.
        origin: String,
        /// The line, from 1.
        line: usize,
        /// The character of the line, from 1.
        column: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A value does not fit its key.
    #[error("{key} = '{value}' ({origin}): {problem}")]
    Value {
        /// The key.
        key: String,
        /// Its value after substitution.
        value: String,
        /// The file that set it.
        origin: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A key that is needed has no value.
    #[error("{key} is not set: {needed_for}")]
    Missing {
        /// The key.
        key: String,
        /// What it is needed for.
        needed_for: String,
    },
}

#[derive(Clone, Debug)]
struct PropertyValue {
    value: String,
    origin: Arc<str>,
    is_final: bool,
}

/// Values that `${...}` may name besides other keys.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Java's system properties as far as configurations use them: `user.name`, `user.home`, `java.io.tmpdir`.
    pub properties: BTreeMap<String, String>,
    /// Environment variables, named as `${env.X}`.
    pub variables: BTreeMap<String, String>,
}

impl Environment {
    /// This process's environment.
    #[must_use]
    pub fn of_process() -> Environment {
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let variable = |name: &str| variables.get(name).cloned();
        let mut properties = BTreeMap::from([("java.io.tmpdir".to_owned(), "/tmp".to_owned())]);
        if let Some(user) = variable("HADOOP_USER_NAME")
            .or_else(|| variable("USER"))
            .or_else(|| variable("LOGNAME"))
        {
            properties.insert("user.name".to_owned(), user);
        } else {
            properties.insert("user.name".to_owned(), "root".to_owned());
        }
        if let Some(home) = variable("HOME") {
            properties.insert("user.home".to_owned(), home);
        }
        Environment { properties, variables }
    }
}

/// A configuration: keys, values and the origin of each.
///
/// A value that is present but empty counts as unset, as in Hadoop's own readers.
#[derive(Clone)]
pub struct Configuration {
    /// The directory that it was loaded from, so that it can be loaded again.
    dir: Option<Arc<Path>>,
    entries: BTreeMap<String, PropertyValue>,
    environment: Arc<Environment>,
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.entries.iter().map(|(key, entry)| (key, &entry.value)))
            .finish()
    }
}

impl Configuration {
    /// Hadoop's defaults only.
    #[must_use]
    pub fn new(environment: Environment) -> Configuration {
        let origin: Arc<str> = DEFAULT_SOURCE.into();
        let with_default = keys::all().iter().filter(|key| !key.default.is_empty());
        let entries = with_default
            .map(|key| {
                let entry = PropertyValue {
                    value: key.default.to_owned(),
                    origin: origin.clone(),
                    is_final: false,
                };
                (key.name.to_owned(), entry)
            })
            .collect();
        Configuration {
            dir: None,
            entries,
            environment: Arc::new(environment),
        }
    }

    /// The defaults, then `core-site.xml` and `hdfs-site.xml` of a directory, in this process's environment.
    /// Either file may be missing, but the directory must exist.
    pub fn load(dir: &Path) -> Result<Configuration, ConfError> {
        let mut conf = Configuration::new(Environment::of_process());
        let read_error = |source| ConfError::Read {
            path: dir.to_owned(),
            source,
        };
        if !std::fs::metadata(dir).map_err(read_error)?.is_dir() {
            return Err(read_error(std::io::ErrorKind::NotADirectory.into()));
        }
        for name in ["core-site.xml", "hdfs-site.xml"] {
            let path = dir.join(name);
            if path.exists() {
                conf.add_file(&path)?;
            }
        }
        conf.dir = Some(dir.into());
        Ok(conf)
    }

    /// The directory that was loaded, if one was.
    #[must_use]
    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Reads one more file over the present values. `<final>` values stay.
    pub fn add_file(&mut self, path: &Path) -> Result<(), ConfError> {
        for property in text::read_file(path, 0)? {
            self.put(property);
        }
        Ok(())
    }

    /// Reads the text of a configuration file over the present values. `origin` names it in errors.
    pub fn add_text(&mut self, origin: &str, content: &str) -> Result<(), ConfError> {
        for property in text::parse(origin, None, content, 0)? {
            self.put(property);
        }
        Ok(())
    }

    fn put(&mut self, property: text::Property) {
        let key = text::current_name(&property.name);
        if self.entries.get(key).is_some_and(|entry| entry.is_final) {
            return;
        }
        let entry = PropertyValue {
            value: property.value,
            origin: property.origin,
            is_final: property.is_final,
        };
        self.entries.insert(key.to_owned(), entry);
    }

    /// Sets a value from the program (`Configuration.set`), `<final>` or not.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        let entry = PropertyValue {
            value: value.into(),
            origin: PROGRAM_SOURCE.into(),
            is_final: false,
        };
        self.entries.insert(text::current_name(key).to_owned(), entry);
    }

    /// Removes a value, or a default.
    pub fn unset(&mut self, key: &str) {
        self.entries.remove(text::current_name(key));
    }

    /// Every key with its substituted value and its origin, for `/conf` and `getconf`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, String, &str)> {
        self.entries
            .iter()
            .map(|(key, entry)| (key.as_str(), self.substitute(&entry.value), &*entry.origin))
    }

    /// The value of a key, substituted and trimmed; `None` if unset or empty.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        let entry = self.entries.get(text::current_name(key))?;
        let value = self.substitute(&entry.value);
        let trimmed = value.trim();
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
    }

    /// The value of a key with substitutions, but not trimmed. In access control lists a leading blank has a meaning,
    /// and so has an empty value.
    #[must_use]
    pub fn raw(&self, key: &str) -> Option<String> {
        let entry = self.entries.get(text::current_name(key))?;
        Some(self.substitute(&entry.value))
    }

    /// The value of a key, or `default`.
    #[must_use]
    pub fn get_or(&self, key: &str, default: &str) -> String {
        self.get(key).unwrap_or_else(|| default.to_owned())
    }

    /// The value of a key that must be set.
    pub fn get_required(&self, key: &str, needed_for: &str) -> Result<String, ConfError> {
        self.get(key).ok_or_else(|| ConfError::Missing {
            key: key.to_owned(),
            needed_for: needed_for.to_owned(),
        })
    }

    /// Where a key was set: a file, or the built-in defaults.
    #[must_use]
    pub fn origin(&self, key: &str) -> &str {
        self.entries
            .get(text::current_name(key))
            .map_or("unset", |entry| &entry.origin)
    }

    /// Whether a key was set by a file or the program rather than by a built-in default.
    #[must_use]
    pub fn is_set(&self, key: &str) -> bool {
        self.get(key).is_some() && self.origin(key) != DEFAULT_SOURCE
    }

    fn typed<T>(&self, key: &str, default: T, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, ConfError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        parse(&value).map_err(|problem| self.value_error(key, value, problem))
    }

    fn value_error(&self, key: &str, value: String, problem: String) -> ConfError {
        ConfError::Value {
            key: key.to_owned(),
            value,
            origin: self.origin(key).to_owned(),
            problem,
        }
    }

    /// An integer, decimal or `0x` hexadecimal.
    pub fn get_i64(&self, key: &str, default: i64) -> Result<i64, ConfError> {
        self.typed(key, default, value::parse_i64)
    }

    /// An integer that must fit an unsigned 64-bit number.
    pub fn get_u64(&self, key: &str, default: u64) -> Result<u64, ConfError> {
        self.typed(key, default, |value| {
            u64::try_from(value::parse_i64(value)?).map_err(|_| "must not be negative".to_owned())
        })
    }

    /// An integer that must fit a `u32`.
    pub fn get_u32(&self, key: &str, default: u32) -> Result<u32, ConfError> {
        self.typed(key, default, |value| {
            u32::try_from(value::parse_i64(value)?).map_err(|_| "must be from 0 to 4294967295".to_owned())
        })
    }

    /// An integer that must fit a `usize`.
    pub fn get_usize(&self, key: &str, default: usize) -> Result<usize, ConfError> {
        self.typed(key, default, |value| {
            usize::try_from(value::parse_i64(value)?).map_err(|_| "must not be negative".to_owned())
        })
    }

    /// A floating point number; Java's suffixes `f` and `d` are allowed.
    pub fn get_f64(&self, key: &str, default: f64) -> Result<f64, ConfError> {
        self.typed(key, default, value::parse_f64)
    }

    /// `true` or `false`; anything else is the default, as in Java.
    #[must_use]
    pub fn get_bool(&self, key: &str, default: bool) -> bool {
        match self.get(key) {
            Some(value) if value.eq_ignore_ascii_case("true") => true,
            Some(value) if value.eq_ignore_ascii_case("false") => false,
            _ => default,
        }
    }

    /// `true` or `false`. Java takes the default for anything else. This getter is for flags for which a wrong guess
    /// would be dangerous.
    pub fn get_flag(&self, key: &str, default: bool) -> Result<bool, ConfError> {
        self.typed(key, default, |value| match value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false".to_owned()),
        })
    }

    /// A duration such as `10s` or `500ms`; a bare number is in `unit`.
    pub fn get_duration(&self, key: &str, default: Duration, unit: TimeUnit) -> Result<Duration, ConfError> {
        self.typed(key, default, |text| {
            let nanos = value::parse_duration_nanos(text, unit)?;
            let nanos = u64::try_from(nanos).map_err(|_| "must be a duration from 0 to 584 years".to_owned())?;
            Ok(Duration::from_nanos(nanos))
        })
    }

    /// A duration in ms that may be negative, for keys whose negative value switches something off.
    pub fn get_duration_ms(&self, key: &str, default_ms: i64, unit: TimeUnit) -> Result<i64, ConfError> {
        self.typed(key, default_ms, |text| {
            let millis = value::parse_duration_nanos(text, unit)? / 1_000_000;
            i64::try_from(millis).map_err(|_| "is too long".to_owned())
        })
    }

    /// A size in bytes such as `64m` (`Configuration.getLongBytes`; powers of 1024).
    pub fn get_bytes(&self, key: &str, default: i64) -> Result<i64, ConfError> {
        self.typed(key, default, value::parse_bytes)
    }

    /// A comma-separated list, trimmed, without empty elements.
    #[must_use]
    pub fn get_list(&self, key: &str) -> Vec<String> {
        self.get(key).map_or_else(Vec::new, |value| split_list(&value))
    }

    /// Replaces `${name}`: a system property, `env.X` (with `${env.X-default}` and `${env.X:-default}`), or another
    /// key. An unknown name stays as it is, and so does a value that nests too deep or names itself.
    fn substitute(&self, value: &str) -> String {
        let mut value = value.to_owned();
        for _ in 0..MAX_SUBSTITUTION_DEPTH {
            let Some((start, end)) = find_variable(&value) else {
                return value;
            };
            let reference = value.get(start..=end).unwrap_or_default();
            let name = reference.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            let Some(replacement) = name.and_then(|name| self.variable(name)) else {
                return value;
            };
            if replacement.contains(reference) {
                return value;
            }
            value.replace_range(start..=end, &replacement);
        }
        value
    }

    fn variable(&self, name: &str) -> Option<String> {
        if let Some(variable) = name.strip_prefix("env.") {
            let (variable, default, empty_counts) = match variable.split_once('-') {
                Some((head, default)) => match head.strip_suffix(':') {
                    Some(head) => (head, Some(default), false),
                    None => (head, Some(default), true),
                },
                None => (variable, None, true),
            };
            let value = self.environment.variables.get(variable);
            return value
                .filter(|value| empty_counts || !value.is_empty())
                .cloned()
                .or_else(|| default.map(str::to_owned));
        }
        let property = self.environment.properties.get(name).cloned();
        property.or_else(|| Some(self.entries.get(text::current_name(name))?.value.clone()))
    }
}

/// The innermost `${...}`: byte offsets of `$` and `}`.
fn find_variable(value: &str) -> Option<(usize, usize)> {
    value.match_indices('}').find_map(|(end, _)| {
        let (start, _) = value.get(..end)?.rmatch_indices("${").next()?;
        let name = value.get(start..end)?.strip_prefix("${")?;
        (!name.is_empty() && !name.contains([' ', '\n'])).then_some((start, end))
    })
}

fn split_list(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(str::trim)
        .filter(|element| !element.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests;

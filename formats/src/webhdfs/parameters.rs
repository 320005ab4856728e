//! The parameters of a request, typed and limited.

use super::{PATH_PREFIX, invalid};
use crate::exceptions::{self, RemoteException};
use crate::limits::USER_MAX_BYTES;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Most parameters of a request. The operation with most of them has about 20, besides names of extended attributes.
const PARAMETERS_MAX: usize = 128;

/// The path of a request below [`PATH_PREFIX`], absolute and without a slash at its end. `None` if it is another page.
#[must_use]
pub fn path_of(path: &str) -> Option<&str> {
    let path = path.strip_prefix(PATH_PREFIX)?;
    if !path.is_empty() && !path.starts_with('/') {
        return None;
    }
    let path = path.trim_end_matches('/');
    Some(if path.is_empty() { "/" } else { path })
}

/// Whether Hadoop takes this for a user's name (the default of `dfs.webhdfs.user.provider.user.pattern`).
#[must_use]
pub fn is_user_name(name: &str) -> bool {
    let stem = name.strip_suffix('$').unwrap_or(name);
    let mut characters = stem.chars();
    name.len() <= USER_MAX_BYTES
        && characters
            .next()
            .is_some_and(|first| first == '_' || first.is_ascii_alphabetic())
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn encode(text: &str, is_plain: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') || is_plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Encodes a value for a query.
#[must_use]
pub fn encode_component(text: &str) -> String {
    encode(text, |_| false)
}

/// Encodes a path for an address.
#[must_use]
pub fn encode_path(text: &str) -> String {
    encode(text, |byte| byte == b'/')
}

/// The parameters of a request. Their names are in lower case. An empty value counts as none, as in Hadoop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(BTreeMap<String, Vec<String>>);

impl Parameters {
    /// Takes decoded names and values.
    ///
    /// # Errors
    /// `IllegalArgumentException` if there are too many.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Parameters, RemoteException> {
        let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (count, (name, value)) in pairs.into_iter().enumerate() {
            if count >= PARAMETERS_MAX {
                return Err(RemoteException::new(
                    exceptions::ILLEGAL_ARGUMENT,
                    format!("A request has at most {PARAMETERS_MAX} parameters"),
                ));
            }
            if !value.is_empty() {
                parameters.entry(name.to_lowercase()).or_default().push(value);
            }
        }
        Ok(Parameters(parameters))
    }

    /// The first value.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }

    /// All values.
    #[must_use]
    pub fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// A value that an operation can't do without.
    ///
    /// # Errors
    /// `IllegalArgumentException` without one.
    pub fn required(&self, op: &str, name: &str) -> Result<&str, RemoteException> {
        self.text(name).ok_or_else(|| {
            RemoteException::new(
                exceptions::ILLEGAL_ARGUMENT,
                format!("Required param {name} for op: {op} is null or empty"),
            )
        })
    }

    /// A path that must be absolute.
    ///
    /// # Errors
    /// `IllegalArgumentException` without one.
    pub fn path(&self, op: &str, name: &str) -> Result<&str, RemoteException> {
        let path = self.required(op, name)?;
        check_absolute(name, path)?;
        Ok(path)
    }

    /// A list of absolute paths, divided by commas (`ConcatSourcesParam`).
    ///
    /// # Errors
    /// `IllegalArgumentException` without any.
    pub fn paths(&self, op: &str, name: &str) -> Result<Vec<String>, RemoteException> {
        self.required(op, name)?
            .split(',')
            .map(|path| {
                check_absolute(name, path)?;
                Ok(path.to_owned())
            })
            .collect()
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// `IllegalArgumentException` for anything else.
    pub fn boolean(&self, name: &str, default: bool) -> Result<bool, RemoteException> {
        match self.text(name) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(invalid(name, format!("Failed to parse \"{text}\" to Boolean."))),
        }
    }

    /// A Java `long` of at least `min`.
    ///
    /// # Errors
    /// `IllegalArgumentException` for anything else.
    pub fn long(&self, name: &str, min: i64) -> Result<Option<i64>, RemoteException> {
        self.number(name, 10, "long integer", (min, i64::MAX))
    }

    /// A Java `long` that is not negative, such as an offset.
    ///
    /// # Errors
    /// `IllegalArgumentException` for anything else.
    pub fn unsigned(&self, name: &str) -> Result<Option<u64>, RemoteException> {
        Ok(self.long(name, 0)?.and_then(|number| u64::try_from(number).ok()))
    }

    /// A Java `short` of at least 1: a replication factor.
    ///
    /// # Errors
    /// `IllegalArgumentException` for anything else.
    pub fn replication(&self, name: &str) -> Result<Option<u32>, RemoteException> {
        let number = self.number(name, 10, "short integer", (1, i64::from(i16::MAX)))?;
        Ok(number.and_then(|number| u32::try_from(number).ok()))
    }

    /// Permission bits in octal, with the sticky bit (`PermissionParam`).
    ///
    /// # Errors
    /// `IllegalArgumentException` for anything else.
    pub fn permission(&self, name: &str) -> Result<Option<u32>, RemoteException> {
        let number = self.number(name, 8, "short integer", (0, 0o1777))?;
        Ok(number.and_then(|number| u32::try_from(number).ok()))
    }

    fn number(
        &self,
        name: &str,
        radix: u32,
        kind: &str,
        (min, max): (i64, i64),
    ) -> Result<Option<i64>, RemoteException> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let number = i64::from_str_radix(text, radix)
            .map_err(|_| invalid(name, format!("Failed to parse \"{text}\" as a radix-{radix} {kind}.")))?;
        let shown = |number: i64| match radix {
            8 => format!("{number:o}"),
            _ => number.to_string(),
        };
        let range = |sign: &str, bound: i64| {
            let (number, bound) = (shown(number), shown(bound));
            invalid(
                name,
                format!("Invalid parameter range: {name} = {number} {sign} {bound}"),
            )
        };
        if number < min {
            return Err(range("<", min));
        }
        if number > max {
            return Err(range(">", max));
        }
        Ok(Some(number))
    }

    /// The words of a list that is divided by commas (`EnumSetParam`), as indexes into the known words. In any case.
    ///
    /// # Errors
    /// `IllegalArgumentException` for other words.
    pub fn words(&self, name: &str, java: &str, known: &[&str]) -> Result<Vec<usize>, RemoteException> {
        let words = self.text(name).map(|text| text.split(',')).into_iter().flatten();
        words
            .map(|word| {
                let word = word.trim();
                known
                    .iter()
                    .position(|known| known.eq_ignore_ascii_case(word))
                    .ok_or_else(|| invalid(name, format!("No enum constant {java}.{}", word.to_uppercase())))
            })
            .collect()
    }

    /// The users of a request: who calls, and in whose name (`JspHelper.getUGI` without security).
    ///
    /// # Errors
    /// `IllegalArgumentException` for a name that is none.
    pub fn users(&self, static_user: &str) -> Result<(String, Option<String>), RemoteException> {
        let user = match self.text("user.name") {
            None => static_user,
            Some(user) if is_user_name(user) => user,
            Some(user) => {
                let domain = "^[A-Za-z_][A-Za-z0-9._-]*[$]?$";
                return Err(invalid(
                    "user.name",
                    format!("Invalid value: \"{user}\" does not belong to the domain {domain}"),
                ));
            }
        };
        Ok((user.to_owned(), self.text("doas").map(str::to_owned)))
    }
}

fn check_absolute(name: &str, path: &str) -> Result<(), RemoteException> {
    if path.starts_with('/') {
        return Ok(());
    }
    Err(invalid(
        name,
        format!("Invalid parameter value: {name} = \"{path}\" is not an absolute path."),
    ))
}

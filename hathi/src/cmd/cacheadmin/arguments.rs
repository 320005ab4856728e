//! The arguments of `cacheadmin`, taken one after the other (`StringUtils.popOption`), and Java's numbers.

use super::{Ended, UNREADABLE, Verb, misused};
use crate::cmd::table::Row;

/// What is left of a command line.
#[derive(Debug)]
pub(super) struct Words(Vec<String>);

impl Words {
    pub(super) fn new(words: &[String]) -> Words {
        Words(words.to_vec())
    }

    /// Up to `--`, behind which there are no options.
    fn find(&self, option: &str) -> Option<usize> {
        let before = self.0.iter().take_while(|word| *word != "--");
        before.into_iter().position(|word| word == option)
    }

    /// Takes an option out.
    pub(super) fn flag(&mut self, option: &str) -> bool {
        let found = self.find(option);
        found.map(|at| self.0.remove(at)).is_some()
    }

    /// Takes an option out, with its value.
    pub(super) fn value(&mut self, option: &str) -> Result<Option<String>, Ended> {
        let Some(at) = self.find(option) else {
            return Ok(None);
        };
        self.0.remove(at);
        if at >= self.0.len() {
            let message = format!("IllegalArgumentException: option {option} requires 1 argument.");
            return Err(Ended::Refused(UNREADABLE, message));
        }
        Ok(Some(self.0.remove(at)))
    }

    /// Takes the first word out that is no option (`StringUtils.popFirstNonOption`).
    pub(super) fn first_word(&mut self) -> Option<String> {
        if let Some(at) = self.0.iter().position(|word| word == "--" || !word.starts_with('-')) {
            if self.0.get(at).is_some_and(|word| word == "--") {
                self.0.remove(at);
            }
            return (at < self.0.len()).then(|| self.0.remove(at));
        }
        None
    }

    /// Refuses what is left, with the first of it. With a row its usage is told.
    pub(super) fn no_more_but(self, row: Option<&Row<Verb>>) -> Result<(), Ended> {
        let Some(first) = self.0.first() else {
            return Ok(());
        };
        let usage = row.map_or_else(String::new, |row| format!("\nUsage is [{}]\n", row.synopsis()));
        Err(misused(format!("Can't understand argument: {first}{usage}")))
    }

    /// Refuses what is left, with all of it.
    pub(super) fn no_more_words(self, row: &Row<Verb>) -> Result<(), Ended> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(misused(format!(
            "Can't understand arguments: {}\nUsage is [{}]\n",
            self.0.join(" "),
            row.synopsis()
        )))
    }
}

fn no_number(word: &str, radix: u32) -> Ended {
    let under = match radix {
        10 => String::new(),
        radix => format!(" under radix {radix}"),
    };
    let message = format!("NumberFormatException: For input string: \"{word}\"{under}");
    Ended::Refused(UNREADABLE, message)
}

/// `Short.parseShort`
pub(super) fn java_short(word: &str, radix: u32) -> Result<i16, Ended> {
    let number = i32::from_str_radix(word, radix).map_err(|_| no_number(word, radix))?;
    i16::try_from(number).map_err(|_| {
        let message = format!("NumberFormatException: Value out of range. Value:\"{word}\" Radix:{radix}");
        Ended::Refused(UNREADABLE, message)
    })
}

/// `Long.parseLong`
pub(super) fn java_long(word: &str) -> Result<i64, Ended> {
    word.parse().map_err(|_| no_number(word, 10))
}

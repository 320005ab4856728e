//! Tables of Hadoop's commands with a single dash (`dfs -ls`), and the one parser of their arguments.
//!
//! Each command is one row. Dispatch, parsing, usage, help, completion and docs/commands.md all read that row.

use std::ops::RangeInclusive;

/// Any number of words from this one on.
pub const ANY: usize = usize::MAX;

/// Hadoop's text for every tool (`GenericOptionsParser.printGenericCommandUsage`). It includes options that only
/// MapReduce has.
pub const GENERIC_OPTIONS: &str = "
Generic options supported are:
-conf <configuration file>        specify an application configuration file
-D <property=value>               define a value for a given property
-fs <file:///|hdfs://namenode:port> specify default filesystem URL to use, overrides 'fs.defaultFS' property from configurations.
-jt <local|resourcemanager:port>  specify a ResourceManager
-files <file1,...>                specify a comma-separated list of files to be copied to the map reduce cluster
-libjars <jar1,...>               specify a comma-separated list of jar files to be included in the classpath
-archives <archive1,...>          specify a comma-separated list of archives to be unarchived on the compute machines

The general command line syntax is:
command [genericOptions] [commandOptions]
";

/// Where the options of a command may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// Before the words (`CommandFormat`).
    Leading,
    /// Before the words, and the first unknown one is a word: the mode `-x` of `-chmod`.
    LeadingKnown,
    /// Anywhere, and an option with a value is taken once (`StringUtils.popOption`).
    Anywhere,
    /// Anywhere, with one dash or two (commons-cli's `GnuParser`).
    Gnu,
    /// The command takes its arguments as they are.
    Raw,
}

/// A command.
#[derive(Debug)]
pub struct Row<V: 'static> {
    /// Its name without the dash.
    pub name: &'static str,
    /// What it does.
    pub verb: V,
    /// Its arguments, as Hadoop shows them.
    pub arguments: &'static str,
    /// Its options without their dash. `t=` takes a value, `p*` has letters after it.
    pub flags: &'static [&'static str],
    /// Where the options stand.
    pub grammar: Grammar,
    /// How many words follow the options.
    pub words: RangeInclusive<usize>,
    /// What it does, in lines.
    pub help: &'static str,
}

/// Options without their dash, each as often as it was given, and their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub Vec<(String, Option<String>)>);

/// Arguments of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// The options.
    pub flags: Flags,
    /// Everything else.
    pub words: Vec<String>,
}

impl Flags {
    /// Whether an option was given.
    pub fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|(given, _)| given == flag)
    }

    /// The value of an option, the last one if it was given several times.
    pub fn value(&self, flag: &str) -> Option<&str> {
        let given = self.0.iter().rev().find(|(given, _)| given == flag);
        given.and_then(|(_, value)| value.as_deref())
    }

    fn push(&mut self, flag: &str, value: Option<String>) {
        self.0.push((flag.to_owned(), value));
    }
}

/// Arguments that do not fit a command, in Hadoop's words (`CommandFormat.*Exception`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);

impl<V> Row<V> {
    /// `-name arguments`
    pub fn synopsis(&self) -> String {
        let gap = if self.arguments.is_empty() { "" } else { " " };
        format!("-{}{gap}{}", self.name, self.arguments)
    }

    /// Takes the options out of the arguments, and counts the words.
    pub fn parse(&self, args: Vec<String>) -> Result<Arguments, Misuse> {
        let parsed = match self.grammar {
            Grammar::Raw => Arguments {
                flags: Flags::default(),
                words: args,
            },
            Grammar::Leading | Grammar::LeadingKnown => self.leading(args)?,
            Grammar::Anywhere => self.anywhere(args)?,
            Grammar::Gnu => self.gnu(args)?,
        };
        let (least, most, found) = (*self.words.start(), *self.words.end(), parsed.words.len());
        if found < least {
            return Err(Misuse(format!(
                "Not enough arguments: expected {least} but got {found}"
            )));
        }
        if found > most {
            return Err(Misuse(format!("Too many arguments: expected {most} but got {found}")));
        }
        Ok(parsed)
    }

    fn takes(&self, name: &str) -> bool {
        self.flags.contains(&name)
    }

    fn takes_value(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag.strip_suffix('=') == Some(name))
    }

    /// The option of which this is one with letters after it.
    fn with_letters(&self, name: &str) -> Option<(String, Option<String>)> {
        self.flags.iter().find_map(|flag| {
            let flag = flag.strip_suffix('*')?;
            let letters = name.strip_prefix(flag)?;
            let value = (!letters.is_empty()).then(|| letters.to_owned());
            Some((flag.to_owned(), value))
        })
    }

    /// Short options may be joined, like `-lh`. Hadoop refuses that.
    fn joined(&self, name: &str) -> Option<Vec<(String, Option<String>)>> {
        let each = |letter: char| {
            let letter = letter.to_string();
            self.takes(&letter).then_some((letter, None))
        };
        name.chars().map(each).collect()
    }

    fn leading(&self, args: Vec<String>) -> Result<Arguments, Misuse> {
        let mut parsed = Arguments::default();
        let mut args = args.into_iter().peekable();
        while let Some(arg) = args.next_if(|arg| arg.starts_with('-') && arg != "-") {
            if arg == "--" {
                break;
            }
            let name = &arg[1..];
            if self.takes(name) {
                parsed.flags.push(name, None);
            } else if self.takes_value(name) {
                // Hadoop drops a value that looks like an option.
                let value = args.next().filter(|value| !value.starts_with('-') || value == "-");
                parsed.flags.push(name, value);
            } else if let Some(found) = self.with_letters(name) {
                parsed.flags.0.push(found);
            } else if self.grammar == Grammar::LeadingKnown {
                parsed.words.push(arg);
                break;
            } else if let Some(letters) = self.joined(name) {
                parsed.flags.0.extend(letters);
            } else {
                return Err(Misuse(format!("Illegal option {arg}")));
            }
        }
        parsed.words.extend(args);
        Ok(parsed)
    }

    fn anywhere(&self, args: Vec<String>) -> Result<Arguments, Misuse> {
        let mut parsed = Arguments::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let name = arg.strip_prefix('-').unwrap_or_default();
            if arg == "--" {
                break;
            }
            if self.takes(name) {
                parsed.flags.push(name, None);
            } else if self.takes_value(name) && !parsed.flags.has(name) {
                let Some(value) = args.next() else {
                    return Err(Misuse(format!("option {arg} requires 1 argument.")));
                };
                parsed.flags.push(name, Some(value));
            } else {
                parsed.words.push(arg);
            }
        }
        parsed.words.extend(args);
        Ok(parsed)
    }

    fn gnu(&self, args: Vec<String>) -> Result<Arguments, Misuse> {
        let mut parsed = Arguments::default();
        let mut args = args.into_iter();
        for arg in args.by_ref() {
            let flag = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'));
            match flag {
                Some("") if arg == "--" => break,
                Some("") | None => parsed.words.push(arg),
                Some(flag) if self.takes(flag) => parsed.flags.push(flag, None),
                Some(_) => return Err(Misuse(format!("Unrecognized option: {arg}"))),
            }
        }
        parsed.words.extend(args);
        Ok(parsed)
    }
}

/// The row of a command, which is given with its dash.
pub fn find<'a, V>(rows: &'a [Row<V>], command: &str) -> Option<&'a Row<V>> {
    let name = command.strip_prefix('-')?;
    rows.iter().find(|row| row.name == name)
}

/// The names of a table's commands, with their dash.
pub fn with_dash<V>(rows: &[Row<V>]) -> Vec<String> {
    rows.iter().map(|row| format!("-{}", row.name)).collect()
}

/// The known name that is most like a wrong one, if any is like it.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.trim_start_matches('-').to_ascii_lowercase();
    let far = 1 + wrong.len() / 3;
    known
        .into_iter()
        .map(|name| (distance(wrong.as_bytes(), name.to_ascii_lowercase().as_bytes()), name))
        .filter(|(distance, _)| *distance <= far)
        .min()
        .map(|(_, name)| name)
}

/// Number of letters to change, add, drop or swap (Damerau and Levenshtein's distance of adjacent letters).
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in (1..).zip(left) {
        let mut row = vec![i];
        for (j, b) in (1..).zip(right) {
            let mut least = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + usize::from(a != b));
            if i > 1 && j > 1 && *a == right[j - 2] && left[i - 2] == *b {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(flags: &'static [&'static str], grammar: Grammar, words: RangeInclusive<usize>) -> Row<()> {
        Row {
            name: "x",
            verb: (),
            arguments: "",
            flags,
            grammar,
            words,
            help: "",
        }
    }

    fn parse(row: &Row<()>, line: &str) -> String {
        match row.parse(line.split_whitespace().map(str::to_owned).collect()) {
            Ok(parsed) => {
                let show = |(flag, value): &(String, Option<String>)| match value {
                    Some(value) => format!("{flag}={value}"),
                    None => flag.clone(),
                };
                let flags: Vec<String> = parsed.flags.0.iter().map(show).collect();
                format!("{} | {}", flags.join(" "), parsed.words.join(" "))
            }
            Err(Misuse(text)) => text,
        }
    }

    #[test]
    fn leading_options_end_at_the_first_word() {
        let row = row(&["f", "R", "skipTrash", "t=", "p*"], Grammar::Leading, 1..=2);
        assert_eq!(parse(&row, "-f a -R"), "f | a -R");
        assert_eq!(parse(&row, "-fR -skipTrash a"), "f R skipTrash | a");
        assert_eq!(parse(&row, "-- -f"), " | -f");
        assert_eq!(parse(&row, "- x"), " | - x");
        assert_eq!(parse(&row, "-t 3 -p -ptx a"), "t=3 p p=tx | a");
        assert_eq!(parse(&row, "-z a"), "Illegal option -z");
        assert_eq!(parse(&row, "-f"), "Not enough arguments: expected 1 but got 0");
        assert_eq!(parse(&row, "a b c"), "Too many arguments: expected 2 but got 3");
    }

    #[test]
    fn a_mode_is_not_an_option() {
        let row = row(&["R"], Grammar::LeadingKnown, 2..=ANY);
        assert_eq!(parse(&row, "-R -x a"), "R | -x a");
        assert_eq!(parse(&row, "-x -R a"), " | -x -R a");
    }

    #[test]
    fn options_of_attributes_stand_anywhere() {
        let row = row(&["d", "n=", "x="], Grammar::Anywhere, 0..=ANY);
        assert_eq!(parse(&row, "a -n user.x -d"), "n=user.x d | a");
        assert_eq!(parse(&row, "-n -x a -- -d"), "n=-x | a -d");
        assert_eq!(parse(&row, "a -n"), "option -n requires 1 argument.");
        assert_eq!(parse(&row, "-n a -n b"), "n=a | -n b");
    }

    #[test]
    fn options_of_haadmin_have_one_dash_or_two_and_stand_anywhere() {
        let row = row(&["forceactive"], Grammar::Gnu, 0..=ANY);
        assert_eq!(parse(&row, "--forceactive a b"), "forceactive | a b");
        assert_eq!(
            parse(&row, "a -forceactive b --forceactive"),
            "forceactive forceactive | a b"
        );
        assert_eq!(parse(&row, "- -- --forceactive"), " | - --forceactive");
        assert_eq!(parse(&row, "--forcefence a b"), "Unrecognized option: --forcefence");
    }

    #[test]
    fn a_wrong_name_leads_to_the_nearest() {
        let known = ["quickstart", "namenode", "datanode", "ls", "lsr"];
        assert_eq!(nearest("quikstart", known), Some("quickstart"));
        assert_eq!(nearest("nmaenode", known), Some("namenode"));
        assert_eq!(nearest("-LS", known), Some("ls"));
        assert_eq!(nearest("zookeeper", known), None);
    }
}

//! `-find` (`org.apache.hadoop.fs.shell.find.Find`): expressions of `-name`, `-iname`, `-print` and `-print0`, all of
//! which must hold.

use super::path::{expand_braces, matches};
use super::{Arguments, Item, Misuse, Shell};
use anyhow::{Result, bail};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Primary {
    Name(String),
    /// In lower case.
    NameInAnyCase(String),
    /// Shows the path, and ends it with this.
    Print(&'static str),
}

/// The primaries of an expression, from left to right.
fn parse(words: &[String]) -> Result<Vec<Primary>> {
    let mut all = Vec::new();
    let mut words = words.iter().peekable();
    // As all of them must hold, a group is what it has in it.
    let mut groups = 0_usize;
    while let Some(word) = words.next() {
        let mut pattern = || {
            let pattern = words.next().cloned();
            pattern.ok_or_else(|| Misuse(format!("{word} needs a pattern")))
        };
        match word.as_str() {
            "-name" => all.push(Primary::Name(pattern()?)),
            "-iname" => all.push(Primary::NameInAnyCase(pattern()?.to_lowercase())),
            "-print" => all.push(Primary::Print("\n")),
            "-print0" => all.push(Primary::Print("\0")),
            "(" => groups += 1,
            // Hadoop reads nothing behind one that closes nothing.
            ")" if groups == 0 => break,
            ")" => groups -= 1,
            "-a" | "-and" if all.is_empty() || words.peek().is_none() => {
                bail!(Misuse(format!("{word} needs an expression on both sides")));
            }
            // Primaries that follow each other are joined in the same way.
            "-a" | "-and" => {}
            other => bail!("Unexpected argument: {other}"),
        }
    }
    if !all.iter().any(|primary| matches!(primary, Primary::Print(_))) {
        all.push(Primary::Print("\n"));
    }
    Ok(all)
}

fn fits(pattern: &str, name: &str) -> bool {
    expand_braces(pattern).iter().any(|pattern| matches(pattern, name))
}

/// Applies an expression to a file, up to the first primary that does not hold.
fn apply(expression: &[Primary], item: &Item) {
    let name = match item.path.name() {
        "" => "/",
        name => name,
    };
    for primary in expression {
        let holds = match primary {
            Primary::Name(pattern) => fits(pattern, name),
            Primary::NameInAnyCase(pattern) => fits(pattern, &name.to_lowercase()),
            Primary::Print(end) => {
                print!("{}{end}", item.path);
                true
            }
        };
        if !holds {
            return;
        }
    }
}

impl Shell {
    pub(super) async fn find(&mut self, Arguments { mut words, .. }: Arguments) -> Result<()> {
        // Symbolic links are not followed in HDFS, so these have no effect.
        words.retain(|word| word != "-L" && word != "-H");
        let paths = words.iter().take_while(|word| !word.starts_with('-')).count();
        let expression = parse(&words.split_off(paths))?;
        if words.is_empty() {
            words.push(".".to_owned());
        }
        // The next one is at the end.
        let mut found = self.expand(&words).await?;
        found.reverse();
        while let Some(item) = found.pop() {
            apply(&expression, &item);
            if item.is_dir() {
                match self.children(&item.path).await {
                    Ok(children) => found.extend(children.into_iter().rev()),
                    Err(error) => self.fail(&item.path, &error),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Vec<Primary>> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn expressions_are_joined_and_print_by_themselves() {
        let name = || Primary::Name("*.x".to_owned());
        assert_eq!(parsed("").unwrap(), [Primary::Print("\n")]);
        assert_eq!(parsed("-name *.x").unwrap(), [name(), Primary::Print("\n")]);
        let any_case = Primary::NameInAnyCase("a".to_owned());
        for line in ["-print0 -iname A -a -name *.x", "-print0 -and -iname A -name *.x"] {
            assert_eq!(parsed(line).unwrap(), [Primary::Print("\0"), any_case.clone(), name()]);
        }
        assert_eq!(parsed("( -name *.x ) ) x").unwrap(), parsed("-name *.x").unwrap());
        for wrong in ["-nonsense", "x", "-name x -o -print"] {
            assert!(
                parsed(wrong).unwrap_err().to_string().starts_with("Unexpected"),
                "{wrong}"
            );
        }
        for wrong in ["-name", "-a -print", "-print -a"] {
            assert!(parsed(wrong).unwrap_err().is::<Misuse>(), "{wrong}");
        }
        assert!(fits("{a,b}1", "b1") && !fits("{a,b}1", "c1"));
    }
}

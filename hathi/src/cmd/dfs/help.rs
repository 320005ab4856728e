//! `-help`, `-usage`, and what is said about wrong arguments, in Hadoop's words (`FsShell`).

use super::MISUSED;
use super::table::{ROWS, Verb};
use crate::cmd::table::{GENERIC_OPTIONS, Misuse, Row, nearest};
use std::process::ExitCode;

/// The commands that the lists show.
pub(super) fn shown() -> impl Iterator<Item = &'static Row<Verb>> {
    ROWS.iter().filter(|row| !matches!(row.verb, Verb::Old(..)))
}

/// All commands.
pub(in crate::cmd) fn usage_of_all() -> String {
    let mut text = "Usage: hadoop fs [generic options]\n".to_owned();
    for row in shown() {
        text.push_str(&format!("\t[{}]\n", row.synopsis()));
    }
    text + GENERIC_OPTIONS + "\n"
}

/// What `--help` shows.
pub(in crate::cmd) fn help_of_all() -> String {
    let mut text = usage_of_all();
    for row in shown() {
        text.push_str(&format!("{}\n", help(row)));
    }
    text
}

/// The names of the commands, for completion.
pub(in crate::cmd) fn commands() -> Vec<String> {
    shown().map(|row| format!("-{}", row.name)).collect()
}

/// One line about a command.
pub(super) fn usage(row: &Row<Verb>) -> String {
    format!("Usage: hadoop fs [generic options] {}\n", row.synopsis())
}

/// What a command does.
pub(super) fn help(row: &Row<Verb>) -> String {
    let mut text = format!("{} :\n", row.synopsis());
    for line in row.help.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

/// Shows each named command, or all of them: what it does with `helps`, else its arguments.
pub(super) fn show(names: &[String], helps: bool) -> ExitCode {
    if names.is_empty() {
        print!("{}", if helps { help_of_all() } else { usage_of_all() });
        return ExitCode::SUCCESS;
    }
    for name in names {
        // Hadoop knows its commands here only without their dash.
        let bare = name.strip_prefix('-').unwrap_or(name);
        let Some(row) = ROWS.iter().find(|row| row.name == bare) else {
            let option = if helps { "-help" } else { "-usage" };
            eprintln!("{option}: `{name}': Unknown command");
            suggest(bare);
            return ExitCode::from(MISUSED);
        };
        print!("{}", if helps { help(row) } else { usage(row) });
    }
    ExitCode::SUCCESS
}

/// Names a command that is none.
pub(super) fn unknown(command: &str) {
    eprintln!("{command}: Unknown command");
    if ROWS.iter().any(|row| row.name == command) {
        eprintln!("Did you mean -{command}?  This command begins with a dash.");
    } else {
        suggest(command);
    }
}

fn suggest(wrong: &str) {
    if let Some(name) = nearest(wrong, shown().map(|row| row.name)) {
        eprintln!("Did you mean -{name}?");
    }
    eprintln!("dfs -usage lists the commands, and dfs -help CMD says what one does.");
}

/// Says what is wrong with the arguments of a command. Hadoop prints the usage of every command before this one's.
pub(super) fn misused(command: &str, row: &Row<Verb>, misuse: &Misuse) {
    eprintln!("{command}: {misuse}");
    eprint!("{}", usage(row));
}

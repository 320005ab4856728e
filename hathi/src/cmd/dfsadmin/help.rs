//! The help of `dfsadmin`, in Hadoop's form.

use super::table::{ROWS, Verb};
use crate::cmd::table::{GENERIC_OPTIONS, Row};

fn list() -> String {
    ROWS.iter().map(|row| format!("\t[{}]\n", row.synopsis())).collect()
}

/// All commands.
pub(super) fn usage_of_all() -> String {
    format!(
        "Usage: hdfs dfsadmin\nNote: Administrative commands can only be run as the HDFS superuser.\n{}{GENERIC_OPTIONS}\n",
        list()
    )
}

/// One command.
pub(super) fn usage(row: &Row<Verb>) -> String {
    format!("Usage: hdfs dfsadmin [{}]\n", row.synopsis())
}

/// What a command does.
pub(super) fn help(row: &Row<Verb>) -> String {
    let mut text = format!("{}:\n", row.synopsis());
    for line in row.help.lines() {
        text.push_str(&format!("\t{line}\n"));
    }
    text
}

/// What every command does.
pub fn help_of_all() -> String {
    let mut text = usage_of_all();
    for row in ROWS {
        text.push_str(&format!("{}\n", help(row)));
    }
    text
}

/// The names of the commands, for completion.
pub fn commands() -> Vec<String> {
    crate::cmd::table::with_dash(ROWS)
}

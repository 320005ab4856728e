//! `hathi man DIR`: manual pages, made of the tables.

use super::environment::VARIABLES;
use anyhow::{Context, Result};
use roff::{Roff, bold, roman};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Exit code for wrong arguments.
const MISUSED: u8 = 2;

/// What a page says.
#[derive(Debug)]
pub struct Entry {
    /// The command's name.
    pub name: &'static str,
    /// What it does.
    pub purpose: &'static str,
    /// Its help.
    pub help: String,
}

/// How the command is used.
pub fn usage() -> String {
    "Usage: hathi man DIR\n\
     Writes the manual pages of hathi and of its commands, for section 1, to a directory.\n"
        .to_owned()
}

/// Entry point.
pub fn run(args: &[OsString], tools: &[Entry]) -> Result<ExitCode> {
    let [dir] = args else {
        eprint!("{}", usage());
        return Ok(ExitCode::from(MISUSED));
    };
    let dir = Path::new(dir);
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let write = |name: &str, page: String| {
        let path = dir.join(format!("{name}.1"));
        std::fs::write(&path, page).with_context(|| path.display().to_string())
    };
    write("hathi", overview(tools))?;
    for tool in tools {
        write(&page_name(tool.name), page_of(tool))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn overview(tools: &[Entry]) -> String {
    let mut page = page("hathi", "a highly available HDFS");
    page.control("SH", ["SYNOPSIS"])
        .text([bold("hathi"), roman(" [OPTION]... COMMAND [ARGUMENT]...")])
        .control("SH", ["DESCRIPTION"])
        .text([roman(
            "Daemons and tools that speak Apache Hadoop's protocols and keep its files on disk.",
        )])
        .control("SH", ["COMMANDS"]);
    for tool in tools {
        list_item(&mut page, &format!("{}(1)", page_name(tool.name)), tool.purpose);
    }
    page.control("SH", ["ENVIRONMENT"]);
    for (name, purpose) in VARIABLES {
        list_item(&mut page, name, purpose);
    }
    page.to_roff()
}

fn page_of(tool: &Entry) -> String {
    let mut page = page(&page_name(tool.name), tool.purpose);
    page.control("SH", ["DESCRIPTION"]).control("nf", []);
    for line in tool.help.trim_end().lines() {
        page.text([roman(line)]);
    }
    page.control("fi", [])
        .control("SH", ["SEE ALSO"])
        .text([bold("hathi"), roman("(1)")]);
    page.to_roff()
}

fn page_name(tool: &str) -> String {
    format!("hathi-{tool}")
}

fn page(name: &str, purpose: &str) -> Roff {
    let version = concat!("Hathi ", env!("CARGO_PKG_VERSION"));
    let mut page = Roff::new();
    page.control("TH", [&name.to_uppercase(), "1", "", version])
        .control("SH", ["NAME"])
        .text([roman(format!("{name} - {purpose}"))]);
    page
}

fn list_item(page: &mut Roff, name: &str, text: &str) {
    page.control("TP", []).text([bold(name)]).text([roman(text)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_the_help_as_it_stands() {
        let help = ".first line\n  \\back -dash 'quote'\n".to_owned();
        let entry = Entry {
            name: "dfs",
            purpose: "work with files",
            help,
        };
        let page = page_of(&entry);
        assert!(page.contains("hathi\\-dfs \\- work with files"), "{page}");
        // Neither is a command of the format.
        assert!(page.contains("\n\\&.first line\n"), "{page}");
        assert!(page.contains("\\\\back \\-dash"), "{page}");
        assert!(overview(&[entry]).contains("HADOOP_CONF_DIR"));
    }
}

//! `hathi fsck`: asks the active NameNode's page `/fsck`, as `DFSck` does.

use super::invocation::Invocation;
use super::namenodes::active_page;
use super::table::{ANY, Grammar, Misuse, Row};
use crate::output::Stdout;
use anyhow::{Result, bail};
use hathi_net::http::client::{get, next_piece};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// How long the NameNode may be silent.
const SILENCE: Duration = Duration::from_secs(600);
/// Ends of the last line, and the exit status that each stands for (`DFSck.doWork`).
const STATUSES: [(&str, u8); 8] = [
    ("is HEALTHY", 0),
    ("is CORRUPT", 1),
    ("does not exist", 0),
    ("is DECOMMISSIONED", 2),
    ("is DECOMMISSIONING", 3),
    ("is IN MAINTENANCE", 4),
    ("is ENTERING MAINTENANCE", 5),
    ("is STALE", 6),
];
/// Exit status of another end, and of wrong arguments.
const FAILED: u8 = 255;

const fn option(name: &'static str, verb: &'static str, help: &'static str) -> Row<&'static str> {
    Row {
        name,
        verb,
        arguments: "",
        flags: &[],
        grammar: Grammar::Raw,
        words: 0..=ANY,
        help,
    }
}

/// The options. What a row does is its parameter of the request.
#[rustfmt::skip]
pub const ROWS: &[Row<&str>] = &[
    option("move", "move=1", "move corrupted files to /lost+found"),
    option("delete", "delete=1", "delete corrupted files"),
    option("files", "files=1", "print out files being checked"),
    option("openforwrite", "openforwrite=1", "print out files opened for write"),
    option("includeSnapshots", "includeSnapshots=1", "include snapshot data"),
    option("list-corruptfileblocks", "listcorruptfileblocks=1", "print out missing blocks and their files"),
    option("files -blocks", "blocks=1", "print out block report"),
    option("files -blocks -locations", "locations=1", "print out locations for every block"),
    option("files -blocks -racks", "racks=1", "print out network topology for data-node locations"),
    option("files -blocks -replicaDetails", "replicadetails=1", "print out each replica details"),
    option("files -blocks -upgradedomains", "upgradedomains=1", "print out upgrade domains for every block"),
    option("storagepolicies", "storagepolicies=1", "print out storage policy summary for the blocks"),
    option("maintenance", "maintenance=1", "print out maintenance state node details"),
    option("showprogress", "", "no effect: progress is always shown"),
    option("replicate", "replicate=1", "initiate replication work for mis-replicated blocks"),
    option("blockId", "blockId=", "print out which file these blocks belong to"),
];

/// How the command is used.
pub fn usage() -> String {
    let mut text = "Usage: hathi fsck [--conf DIR] <path> [OPTIONS]\n".to_owned();
    for row in ROWS {
        let _ = writeln!(text, "  -{:<33} {}", row.name, row.help);
    }
    text + "What the NameNode does not do it refuses by name.\n"
}

/// The path and the parameters of a request.
fn parameters(words: Vec<String>) -> Result<Option<String>, Misuse> {
    let (mut path, mut text) = (None, String::new());
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if word == "-blockId" {
            let mut ids = Vec::new();
            while let Some(id) = words.next_if(|id| !id.starts_with('-')) {
                ids.push(encoded(&id));
            }
            text.push_str(&format!("&blockId={}", ids.join("+")));
            path.get_or_insert("/".to_owned());
        } else if let Some(name) = word.strip_prefix('-') {
            let last =
                |row: &&Row<&str>| row.name.rsplit('-').next() == name.rsplit('-').next() && row.name.ends_with(name);
            let Some(row) = ROWS.iter().find(last) else {
                return Err(Misuse(format!("fsck: Illegal option '{word}'")));
            };
            if !row.verb.is_empty() {
                text.push_str(&format!("&{}", row.verb));
            }
        } else if path.replace(word).is_some() {
            return Err(Misuse("fsck: can only operate on one path at a time".to_owned()));
        }
    }
    Ok(path.map(|path| format!("{text}&path={}", encoded(&path))))
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let mut invocation = Invocation::of(args)?;
    let parameters = match parameters(invocation.words()?) {
        Ok(Some(parameters)) => parameters,
        Ok(None) => {
            eprint!("{}", usage());
            return Ok(ExitCode::from(FAILED));
        }
        Err(misuse) => {
            eprint!("{misuse}\n{}", usage());
            return Ok(ExitCode::from(FAILED));
        }
    };
    let conf = invocation.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let page = active_page(&conf).await?;
        let url = format!("http://{page}/fsck?ugi={}{parameters}", encoded(&super::user_name()));
        eprintln!("Connecting to namenode via {url}");
        let mut body = get(&url, SILENCE).await?.into_body();
        let mut last: Vec<u8> = Vec::new();
        while let Some(piece) = next_piece(&url, &mut body, SILENCE).await? {
            Stdout.write_all(&piece)?;
            last.extend_from_slice(&piece);
            let end = last.trim_ascii_end().iter().rposition(|byte| *byte == b'\n');
            last.drain(..end.map_or(0, |end| end + 1));
        }
        let last = String::from_utf8_lossy(&last);
        let last = last.trim_end();
        if last.is_empty() {
            bail!("{url}: an empty answer");
        }
        let status = STATUSES.iter().find(|(end, _)| last.ends_with(end));
        Ok(ExitCode::from(status.map_or(FAILED, |(_, status)| *status)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_parameters() {
        let of = |line: &str| parameters(line.split_whitespace().map(str::to_owned).collect());
        assert_eq!(
            of("/a b -files -blocks -list-corruptfileblocks -showprogress"
                .replace("/a b", "/a")
                .as_str()),
            Ok(Some("&files=1&blocks=1&listcorruptfileblocks=1&path=%2Fa".to_owned()))
        );
        assert_eq!(
            of("-blockId blk_1 blk_2"),
            Ok(Some("&blockId=blk_1+blk_2&path=%2F".to_owned()))
        );
        assert_eq!(of(""), Ok(None));
        assert!(of("/a -nonsense").is_err() && of("/a /b").is_err());
    }
}

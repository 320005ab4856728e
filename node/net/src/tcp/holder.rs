//! Which process of this machine listens at an address, for the error of another one that wants to.
//!
//! The kernel's lists of sockets (`/proc/net/tcp`, `tcp6`) name the socket, and the open files of the processes
//! (`/proc/PID/fd`) name who has it. A user sees only the files of its own processes, root those of all.

use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// State of a socket that listens, in the kernel's lists.
const LISTENS: &str = "0A";
/// Longest part of a command line that is read. That of a Java daemon has its class path.
const COMMAND_LINE_MAX: u64 = 4096;

/// `process PID (PROGRAM)`.
pub(super) fn of(address: SocketAddr) -> Option<String> {
    let lists = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(|list| fs::read_to_string(list).unwrap_or_default());
    let sockets: Vec<String> = lists
        .iter()
        .flat_map(|list| list.lines())
        .filter_map(|line| in_the_way(line, address))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let holder = processes.filter(|process| is_number(process)).find(|process| {
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|file| sockets.iter().any(|socket| file == Path::new(socket)))
    })?;
    Some(format!(
        "process {} ({})",
        holder.file_name()?.display(),
        program(&holder).unwrap_or_else(|| "unknown".to_owned())
    ))
}

fn is_number(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
}

/// The inode of the socket of a line, if it keeps others from listening at the address.
fn in_the_way(line: &str, wanted: SocketAddr) -> Option<&str> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (ip, port) = local.split_once(':')?;
    let ip = parse(ip)?;
    let same = ip == wanted.ip().to_canonical() || ip.is_unspecified() || wanted.ip().is_unspecified();
    (*state == LISTENS && u16::from_str_radix(port, 16) == Ok(wanted.port()) && same).then_some(inode)
}

/// An address as the kernel prints it: words of the machine's order, in hexadecimal.
fn parse(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let words = [word(0)?, word(8)?, word(16)?, word(24)?];
    let bytes: [u8; 16] = words.concat().try_into().ok()?;
    Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
}

/// The name of a process's program, with the first argument where that is a subcommand, as in `hathi namenode`.
fn program(process: &Path) -> Option<String> {
    let mut line = Vec::new();
    let file = File::open(process.join("cmdline")).ok()?;
    file.take(COMMAND_LINE_MAX).read_to_end(&mut line).ok()?;
    let line = String::from_utf8_lossy(&line);
    let mut args = line.split('\0').filter(|arg| !arg.is_empty());
    let name = Path::new(args.next()?).file_name()?.to_string_lossy().into_owned();
    let subcommand = args
        .next()
        .filter(|arg| arg.chars().all(|letter| letter.is_ascii_lowercase()));
    Some(subcommand.map_or_else(|| name.clone(), |subcommand| format!("{name} {subcommand}")))
}

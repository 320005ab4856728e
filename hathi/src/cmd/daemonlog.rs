//! `hathi daemonlog`: shows and changes the levels of the log of a running daemon (`LogLevel.CLI`).

use anyhow::{Result, bail};
use hathi_net::http;
use hathi_net::http::log_level::MARKER;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

/// Hadoop's (`ToolRunner.run` of `LogLevel.CLI`).
const FAILED: u8 = 255;
/// How long a daemon may be silent.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest page that is read.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// How the command is used.
pub fn usage() -> String {
    "\nUsage: Command options are:\n\
     \t[-getlevel <host:port> <classname> [-protocol (http|https)]\n\
     \t[-setlevel <host:port> <classname> <level> [-protocol (http|https)]\n"
        .trim_start()
        .to_owned()
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let words: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let url = match parse(&words) {
        Ok(url) => url,
        Err(misuse) => {
            eprintln!("{misuse}");
            eprint!("{}", usage());
            return Ok(ExitCode::from(FAILED));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("Connecting to {url}");
    // Where administrators are known, they have to say who they are.
    let asked = format!("{url}&user.name={}", encoded(&super::user_name()));
    let (_, page) = runtime.block_on(http::get_bytes(&asked, TIMEOUT, PAGE_BYTES_MAX))?;
    for line in String::from_utf8_lossy(&page).lines() {
        if let Some(line) = line.strip_prefix(MARKER) {
            println!("{}", without_tags(line));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The URL to get.
fn parse(words: &[String]) -> Result<String> {
    let mut order: Option<(&str, &str, Option<&str>)> = None;
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "-getlevel" | "-setlevel" if order.is_some() => bail!("Redundant {word} command"),
            "-getlevel" => match (words.next(), words.next()) {
                (Some(host), Some(class)) => order = Some((host, class, None)),
                _ => bail!("-getlevel needs two parameters"),
            },
            "-setlevel" => match (words.next(), words.next(), words.next()) {
                (Some(host), Some(class), Some(level)) => order = Some((host, class, Some(level))),
                _ => bail!("-setlevel needs three parameters"),
            },
            "-protocol" => match words.next() {
                Some("http") => {}
                Some("https") => bail!("-protocol https: the daemons have no HTTPS"),
                Some(other) => bail!("Invalid protocol: {other}"),
                None => bail!("-protocol needs one parameter"),
            },
            other => bail!("Unexpected argument {other}"),
        }
    }
    let Some((host, class, level)) = order else {
        bail!("Must specify either -getlevel or -setlevel");
    };
    let level = level.map_or_else(String::new, |level| format!("&level={}", encoded(level)));
    Ok(format!("http://{host}/logLevel?log={}{level}", encoded(class)))
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'$' | b':' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Hadoop's client takes each `<...>` away.
fn without_tags(line: &str) -> String {
    let mut out = String::new();
    let mut in_tag = false;
    for c in line.chars() {
        match c {
            '<' => in_tag = true,
            '>' if in_tag => in_tag = false,
            c if !in_tag => out.push(c),
            _ => {}
        }
    }
    out.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(line: &str) -> Result<String, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_words_are_hadoops() {
        let set = url("-setlevel nn:9870 org.apache.hadoop.ipc.Server$Listener DEBUG -protocol http");
        let path = "logLevel?log=org.apache.hadoop.ipc.Server$Listener&level=DEBUG";
        assert_eq!(set, Ok(format!("http://nn:9870/{path}")));
        let get = url("-getlevel [::1]:9870 a&b");
        assert_eq!(get, Ok("http://[::1]:9870/logLevel?log=a%26b".to_owned()));
        for (line, why) in [
            ("", "Must specify either -getlevel or -setlevel"),
            ("-getlevel nn:9870", "-getlevel needs two parameters"),
            ("-setlevel nn:9870 root", "-setlevel needs three parameters"),
            ("-getlevel nn:9870 root -protocol ftp", "Invalid protocol: ftp"),
            ("-getlevel nn:9870 root root", "Unexpected argument root"),
        ] {
            assert_eq!(url(line), Err(why.to_owned()), "{line}");
        }
    }

    #[test]
    fn tags_are_not_shown() {
        let line = "Bad Level : <b>lo&lt;ud</b><br />";
        assert_eq!(without_tags(line), "Bad Level : lo<ud");
    }
}

//! `hathi fetchdt`: gets a delegation token into a file, and renews, cancels and shows those of a file
//! (`DelegationTokenFetcher`).

use super::invocation::Invocation;
use super::table::GENERIC_OPTIONS;
use super::waiting::{explained, say_what_is_waited_for};
use anyhow::{Context, Result, bail};
use hathi_client::FileSystem;
use hathi_conf::Configuration;
use hathi_formats::credentials::Credentials;
use hathi_formats::editlog::{DELEGATION_TOKEN_KIND, DelegationTokenIdentifier};
use hathi_formats::proto::common::{
    CancelDelegationTokenRequestProto, CancelDelegationTokenResponseProto, GetDelegationTokenRequestProto,
    GetDelegationTokenResponseProto, RenewDelegationTokenRequestProto, RenewDelegationTokenResponseProto, TokenProto,
};
use hathi_net::ipc::Idempotence;
use std::ffi::OsString;
use std::io::Write;
use std::net::ToSocketAddrs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

/// Port of a NameNode whose address has none.
const NAMENODE_PORT: u16 = 8020;

/// How the command is used.
pub fn usage() -> String {
    format!(
        "fetchdt retrieves delegation tokens from the NameNode\n\n\
         fetchdt <opts> <token file>\n\
         Options:\n\
         \x20 --webservice <url>  URL to contact NN on (starts with http:// or https://), or other filesystem URL\n\
         \x20 --renewer <name>    Name of the delegation token renewer\n\
         \x20 --cancel            Cancel the delegation token\n\
         \x20 --renew             Renew the delegation token.  Delegation token must have been fetched using the --renewer <name> option.\n\
         \x20 --print [--verbose] Print the delegation token, when --verbose is passed, print more information about the token\n\
         {GENERIC_OPTIONS}\n"
    )
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Fetch,
    Cancel,
    Renew,
    Print,
}

#[derive(Debug)]
struct Asked {
    deed: Deed,
    verbose: bool,
    webservice: Option<String>,
    renewer: Option<String>,
    file: String,
}

/// A command line, or what is wrong with it. Without words only the usage is told.
fn parse(words: Vec<String>) -> Result<Asked, &'static str> {
    let (mut deeds, mut verbose, mut webservice, mut renewer, mut files) = (Vec::new(), false, None, None, Vec::new());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.trim_start_matches('-') {
            _ if !word.starts_with('-') => files.push(word),
            "webservice" => webservice = words.next(),
            "renewer" => renewer = words.next(),
            "cancel" => deeds.push(Deed::Cancel),
            "renew" => deeds.push(Deed::Renew),
            "print" => deeds.push(Deed::Print),
            "verbose" => verbose = true,
            "help" => return Err(""),
            _ => return Err("ERROR: Unknown option"),
        }
    }
    let [file] = &files[..] else {
        return Err("ERROR: Must specify exactly one token file");
    };
    match &deeds[..] {
        [] | [_] => Ok(Asked {
            deed: deeds.first().copied().unwrap_or(Deed::Fetch),
            verbose,
            webservice,
            renewer,
            file: file.clone(),
        }),
        _ => Err("ERROR: Only specify cancel, renew or print."),
    }
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    say_what_is_waited_for();
    let mut invocation = Invocation::of(args)?;
    let asked = match parse(invocation.words()?) {
        Ok(asked) => asked,
        Err(wrong) => {
            if !wrong.is_empty() {
                eprintln!("{wrong}");
            }
            eprint!("{}", usage());
            return Ok(ExitCode::FAILURE);
        }
    };
    if asked.deed == Deed::Print {
        print!("{}", shown(&asked)?);
        return Ok(ExitCode::SUCCESS);
    }
    let conf = invocation.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(serve(&conf, &asked));
    done.map_err(|error| anyhow::anyhow!(explained(&conf, &error)))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(conf: &Configuration, asked: &Asked) -> Result<()> {
    let uri = asked.webservice.clone().unwrap_or_default();
    if uri.starts_with("http:") || uri.starts_with("https:") {
        bail!("{uri}: only NameNodes with hdfs:// are asked for tokens");
    }
    let fs = FileSystem::new(conf, &uri, &super::user_name())?;
    match asked.deed {
        Deed::Fetch => {
            let request = GetDelegationTokenRequestProto {
                renewer: asked.renewer.clone().unwrap_or_default(),
            };
            let answer: GetDelegationTokenResponseProto =
                fs.call("getDelegationToken", &request, Idempotence::Idempotent).await?;
            let uri = match uri.is_empty() {
                true => conf.get_or("fs.defaultFS", "file:///"),
                false => uri,
            };
            let Some(token) = answer.token else {
                // Hadoop's command ends well, too.
                eprintln!("ERROR: Failed to fetch token from {uri}");
                return Ok(());
            };
            let service = service(conf, &uri)?;
            let token = TokenProto {
                service: service.clone(),
                ..token
            };
            let tokens = vec![(service, token)];
            write(Path::new(&asked.file), &Credentials { tokens }.encode())
        }
        _ => {
            for (_, token) in read(&asked.file)?.tokens {
                change(&fs, asked.deed, token).await?;
            }
            Ok(())
        }
    }
}

/// Renews or cancels a token. Those of other kinds are passed over, as nobody here manages them.
async fn change(fs: &FileSystem, deed: Deed, token: TokenProto) -> Result<()> {
    if token.kind != DELEGATION_TOKEN_KIND {
        return Ok(());
    }
    if deed == Deed::Renew {
        let request = RenewDelegationTokenRequestProto { token };
        let _: RenewDelegationTokenResponseProto = fs
            .call("renewDelegationToken", &request, Idempotence::Idempotent)
            .await?;
    } else {
        let request = CancelDelegationTokenRequestProto { token };
        let _: CancelDelegationTokenResponseProto = fs
            .call("cancelDelegationToken", &request, Idempotence::Idempotent)
            .await?;
    }
    Ok(())
}

/// The name under which clients look for the token of this file system (`HAUtilClient.buildTokenServiceForLogicalUri`,
/// `SecurityUtil.buildTokenService`).
fn service(conf: &Configuration, uri: &str) -> Result<String> {
    let authority = uri.strip_prefix("hdfs://").unwrap_or(uri);
    let authority = authority.split('/').next().unwrap_or(authority);
    if conf.get(&format!("dfs.ha.namenodes.{authority}")).is_some() {
        return Ok(format!("ha-hdfs:{authority}"));
    }
    let address = match authority.contains(':') {
        true => authority.to_owned(),
        false => format!("{authority}:{NAMENODE_PORT}"),
    };
    let mut resolved = address.to_socket_addrs().with_context(|| address.clone())?;
    Ok(resolved.next().context(address)?.to_string())
}

/// Nobody else may read it: who has the token may use it.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| path.display().to_string())?;
    Ok(file.write_all(bytes)?)
}

fn read(file: &str) -> Result<Credentials> {
    let bytes = std::fs::read(file).with_context(|| file.to_owned())?;
    Credentials::decode(&bytes).with_context(|| file.to_owned())
}

fn shown(asked: &Asked) -> Result<String> {
    let mut text = String::new();
    for (_, token) in read(&asked.file)?.tokens {
        let id = DelegationTokenIdentifier::from_bytes(&token.identifier).context("it is no delegation token")?;
        let id = match asked.verbose {
            true => id.to_string(),
            false => id.stable_text(),
        };
        text.push_str(&format!("Token ({id}) for {}\n", token.service));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Asked, &'static str> {
        parse(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn a_line_has_one_file_and_one_thing_to_do() {
        let fetch = asked("--renewer yarn file").unwrap();
        assert_eq!(
            (fetch.deed, fetch.renewer.as_deref(), fetch.file.as_str()),
            (Deed::Fetch, Some("yarn"), "file")
        );
        let print = asked("-print file --verbose").unwrap();
        assert!(print.deed == Deed::Print && print.verbose);
        for (line, wrong) in [
            ("", "ERROR: Must specify exactly one token file"),
            ("a b", "ERROR: Must specify exactly one token file"),
            ("--print --renew a", "ERROR: Only specify cancel, renew or print."),
            ("--help", ""),
        ] {
            assert_eq!(asked(line).unwrap_err(), wrong, "{line}");
        }
    }
}

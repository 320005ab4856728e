//! `hathi dfs`: Hadoop's `hdfs dfs` shell, with its options, output and exit codes, on the project's own client.

mod acl;
mod attributes;
mod copy;
mod crc;
mod create;
mod find;
mod get;
pub(super) mod help;
mod listing;
mod path;
mod preserve;
mod put;
mod rare;
mod remove;
mod summary;
mod table;
mod text;
mod trash;
mod xattr;

use super::invocation::Invocation;
use super::table::{Arguments, Flags, Misuse, find};
use super::waiting::{explained, say_what_is_waited_for};
use anyhow::{Result, bail};
use hathi_client::{ClientError, FileSystem};
use hathi_conf::Configuration;
use hathi_formats::proto::hdfs::HdfsFileStatusProto;
pub(super) use listing::{local_time, permission_text};
use path::RemotePath;
use rare::Snapshot;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;
use table::{ROWS, Verb};
use tokio::task::{JoinSet, LocalSet};

/// The absolute path of a word, without its file system.
pub(super) fn full_path(word: &str) -> String {
    RemotePath::parse(word, &super::user_name()).map_or_else(|_| word.to_owned(), |path| path.path)
}

/// Exit code for a return value of -1 of Hadoop's shell: the arguments are wrong.
const MISUSED: u8 = 255;

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let mut invocation = Invocation::of(args)?;
    let mut words = invocation.words()?.into_iter();
    let Some(command) = words.next() else {
        eprint!("{}", help::usage_of_all());
        return Ok(ExitCode::from(MISUSED));
    };
    if command == "-" || command == "--" {
        eprint!("{}", help::usage_of_all());
        return Ok(ExitCode::from(MISUSED));
    }
    let Some(row) = find(ROWS, &command) else {
        help::unknown(&command);
        return Ok(ExitCode::from(MISUSED));
    };
    let words: Vec<String> = words.collect();
    let (row, words) = match row.verb {
        // These need no configuration.
        Verb::Help => return Ok(help::show(&words, true)),
        Verb::Usage => return Ok(help::show(&words, false)),
        Verb::Old(command, flag) => {
            // Hadoop names this one with its dash.
            let dash = if command == "rm" { "-" } else { "" };
            eprintln!(
                "{}: DEPRECATED: Please use '{dash}{command} -{flag}' instead.",
                row.name
            );
            let new = ROWS.iter().find(|row| row.name == command).unwrap_or(row);
            let flags = [format!("-{flag}")].into_iter();
            (new, flags.chain(words).collect())
        }
        _ => (row, words),
    };
    let args = match row.parse(words) {
        Ok(args) => args,
        Err(misuse) => {
            help::misused(&command, row, &misuse);
            return Ok(ExitCode::from(MISUSED));
        }
    };
    let conf = invocation.load()?;
    say_what_is_waited_for();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = LocalSet::new().block_on(&runtime, async {
        let mut shell = Shell::new(conf, command.trim_start_matches('-').to_owned());
        match shell.command(row.verb, args).await {
            Ok(()) => shell.exit_code,
            Err(error) => match error.downcast_ref::<Misuse>() {
                Some(misuse) => {
                    help::misused(&command, row, misuse);
                    MISUSED
                }
                None => {
                    shell.complain(&explained(&shell.conf, &error));
                    shell.exit_code.max(1)
                }
            },
        }
    });
    Ok(ExitCode::from(code))
}

/// One run of the shell.
struct Shell {
    conf: Configuration,
    user: String,
    /// The command's name without its dash. Every message begins with it.
    name: String,
    filesystems: BTreeMap<String, FileSystem>,
    exit_code: u8,
    /// How many files are copied at a time.
    threads: usize,
    /// Copies that are under way, if there may be several, and the paths that their errors name.
    copies: JoinSet<(RemotePath, Result<()>)>,
}

/// A path that exists, with its status.
struct Item {
    path: RemotePath,
    status: HdfsFileStatusProto,
}

impl Item {
    fn is_dir(&self) -> bool {
        self.status.file_type == 1
    }

    fn name(&self) -> String {
        self.path.name().to_owned()
    }
}

impl Shell {
    fn new(conf: Configuration, name: String) -> Self {
        Shell {
            conf,
            user: super::user_name(),
            name,
            filesystems: BTreeMap::new(),
            exit_code: 0,
            threads: 1,
            copies: JoinSet::new(),
        }
    }

    /// Prints an error and goes on, as the shell does with several paths.
    fn complain(&mut self, problem: &str) {
        // Java servers append their stack trace, so only the first line is printed.
        let line = problem.lines().next().unwrap_or_default();
        eprintln!("{}: {line}", self.name);
        self.exit_code = 1;
    }

    fn fail(&mut self, path: &RemotePath, error: &anyhow::Error) {
        match error.downcast_ref::<ClientError>() {
            Some(ClientError::NotFound(_)) => self.complain(&format!("`{path}': No such file or directory")),
            Some(client) if client.remote().is_some() => {
                self.complain(
                    &client
                        .remote()
                        .map(|exception| exception.message.clone())
                        .unwrap_or_default(),
                );
            }
            _ => self.complain(&explained(&self.conf, error)),
        }
    }

    fn path(&self, word: &str) -> Result<RemotePath> {
        RemotePath::parse(word, &self.user)
    }

    fn fs(&mut self, path: &RemotePath) -> Result<FileSystem> {
        if let Some(fs) = self.filesystems.get(&path.authority) {
            return Ok(fs.clone());
        }
        let fs = FileSystem::new(&self.conf, &path.authority, &self.user)?;
        self.filesystems.insert(path.authority.clone(), fs.clone());
        Ok(fs)
    }

    async fn status(&mut self, path: &RemotePath) -> Result<Option<Item>> {
        let fs = self.fs(path)?;
        Ok(fs.status(&path.path).await?.map(|status| Item {
            path: path.clone(),
            status,
        }))
    }

    /// The children of a directory, sorted.
    async fn children(&mut self, directory: &RemotePath) -> Result<Vec<Item>> {
        let fs = self.fs(directory)?;
        let statuses = fs.list(&directory.path).await?;
        Ok(statuses
            .into_iter()
            .map(|status| Item {
                path: directory.join(&String::from_utf8_lossy(&status.path)),
                status,
            })
            .collect())
    }

    /// All items that match the arguments. An error is printed for each argument without a match.
    async fn expand(&mut self, words: &[String]) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for word in words {
            let path = self.path(word)?;
            match self.matches(&path).await {
                Ok(found) if found.is_empty() => self.complain(&format!("`{word}': No such file or directory")),
                Ok(found) => items.extend(found),
                Err(error) => self.fail(&path, &error),
            }
        }
        Ok(items)
    }

    /// As [`Shell::expand`], with the paths that are not there yet: what a command is to make.
    async fn expand_or_new(&mut self, words: &[String]) -> Result<Vec<(RemotePath, Option<Item>)>> {
        let mut all = Vec::new();
        for word in words {
            let path = self.path(word)?;
            match self.matches(&path).await {
                Ok(found) if found.is_empty() && path.is_glob() => {
                    self.complain(&format!("`{word}': No such file or directory"));
                }
                Ok(found) if found.is_empty() => all.push((path, None)),
                Ok(found) => all.extend(found.into_iter().map(|item| (item.path.clone(), Some(item)))),
                Err(error) => self.fail(&path, &error),
            }
        }
        Ok(all)
    }

    /// Refuses to make a path whose parent is not there (`PathNotFoundException.withFullyQualifiedPath`).
    async fn check_parent(&mut self, path: &RemotePath) -> Result<()> {
        if self.status(&path.needed()).await?.is_some() {
            return Ok(());
        }
        let slash = if path.is_directory_by_name && path.to_string() != "." {
            "/"
        } else {
            ""
        };
        bail!(
            "`{path}{slash}': No such file or directory: `{}'",
            self.shown_qualified(path)
        )
    }

    async fn matches(&mut self, path: &RemotePath) -> Result<Vec<Item>> {
        if !path.is_glob() {
            return Ok(self.status(path).await?.into_iter().collect());
        }
        let mut found = Vec::new();
        for pattern in path.alternatives() {
            pattern.split('/').try_for_each(path::check_pattern)?;
            let mut level = vec![path.root()];
            for component in pattern.split('/').filter(|component| !component.is_empty()) {
                let mut next = Vec::new();
                for directory in level {
                    if !path::has_wildcard(component) {
                        next.push(directory.join(&path::unquote(component)));
                        continue;
                    }
                    match self.children(&directory).await {
                        Ok(children) => next.extend(
                            children
                                .into_iter()
                                .filter(|child| path::matches(component, child.path.name()))
                                .map(|child| child.path),
                        ),
                        Err(error) if matches!(error.downcast_ref(), Some(ClientError::NotFound(_))) => {}
                        Err(error) => return Err(error),
                    }
                }
                level = next;
            }
            for path in level {
                found.extend(self.status(&path).await?);
            }
        }
        Ok(found)
    }

    async fn command(&mut self, verb: Verb, args: Arguments) -> Result<()> {
        match verb {
            Verb::AppendToFile => self.append_to_file(args).await,
            Verb::Cat => self.cat(args).await,
            Verb::Chgrp => self.chown(args, true).await,
            Verb::Chmod => self.chmod(args).await,
            Verb::Chown => self.chown(args, false).await,
            Verb::Count => self.count(args).await,
            Verb::Cp => self.cp(args).await,
            Verb::Df => self.df(args).await,
            Verb::Du => self.du(args).await,
            Verb::Get => self.get(args).await,
            Verb::Ls => self.ls(args).await,
            Verb::Mkdir => self.mkdir(args).await,
            Verb::Mv => self.mv(args).await,
            Verb::Rm => self.rm(args).await,
            Verb::Rmdir => self.rmdir(args).await,
            Verb::SetRep => self.setrep(args).await,
            Verb::Stat => self.stat(args).await,
            Verb::Test => self.test(args).await,
            Verb::Touchz => self.touchz(args).await,
            Verb::Truncate => self.truncate(args).await,
            Verb::Checksum => self.checksum(args).await,
            Verb::Concat => self.concat(args).await,
            Verb::CreateSnapshot => self.snapshot(args, Snapshot::Create).await,
            Verb::DeleteSnapshot => self.snapshot(args, Snapshot::Delete).await,
            Verb::RenameSnapshot => self.snapshot(args, Snapshot::Rename).await,
            Verb::Expunge => self.expunge(args).await,
            Verb::Find => self.find(args).await,
            Verb::GetFacl => self.getfacl(args).await,
            Verb::SetFacl => self.setfacl(args).await,
            Verb::GetFattr => self.getfattr(args).await,
            Verb::SetFattr => self.setfattr(args).await,
            Verb::GetMerge => self.getmerge(args).await,
            Verb::Head => self.head(args).await,
            Verb::MoveFromLocal => self.put(args, true).await,
            Verb::MoveToLocal => self.move_to_local(),
            Verb::Put => self.put(args, false).await,
            Verb::Tail => self.tail(args).await,
            Verb::Text => self.text(args).await,
            Verb::Touch => self.touch(args).await,
            // These are done before there is a shell.
            Verb::Help | Verb::Usage | Verb::Old(..) => Ok(()),
        }
    }
}

/// Refuses arguments of which there are too few.
fn at_least(words: &[String], count: usize) -> Result<(), Misuse> {
    match words.len() {
        found if found < count => Err(Misuse(format!(
            "Not enough arguments: expected {count} but got {found}"
        ))),
        _ => Ok(()),
    }
}

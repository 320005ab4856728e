//! `hathi dfs`: Hadoop's `hdfs dfs` shell, with its options, output and exit codes, on the project's own client.

mod attributes;
mod copy;
mod listing;
mod path;
mod preserve;
mod remove;
mod summary;

use anyhow::{Result, bail};
use hathi_client::{ClientError, FileSystem};
use hathi_conf::Configuration;
use hathi_formats::proto::hdfs::HdfsFileStatusProto;
pub(super) use listing::local_time;
use path::RemotePath;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

const USAGE: &str = "Usage: hathi dfs [--conf DIR] COMMAND
    [-appendToFile [-n] <localsrc> ... <dst>]
    [-cat [-ignoreCrc] <src> ...]
    [-chgrp [-R] GROUP PATH...]
    [-chmod [-R] <MODE[,MODE]... | OCTALMODE> PATH...]
    [-chown [-R] [OWNER][:[GROUP]] PATH...]
    [-copyFromLocal [-f] [-p] [-d] <localsrc> ... <dst>]
    [-copyToLocal [-f] [-p] [-ignoreCrc] <src> ... <localdst>]
    [-count [-q] [-u] [-e] [-x] [-h] [-v] <path> ...]
    [-cp [-f] [-p | -p[top]] [-d] <src> ... <dst>]
    [-df [-h] [<path> ...]]
    [-du [-s] [-h] [-v] [-x] <path> ...]
    [-get [-f] [-p] [-ignoreCrc] <src> ... <localdst>]
    [-ls [-C] [-d] [-h] [-R] [-t] [-S] [-r] [-u] [<path> ...]]
    [-mkdir [-p] <path> ...]
    [-mv <src> ... <dst>]
    [-put [-f] [-p] [-d] <localsrc> ... <dst>]
    [-rm [-f] [-r|-R] [-skipTrash] [-safely] <src> ...]
    [-rmdir [--ignore-fail-on-non-empty] <dir> ...]
    [-setrep [-R] [-w] <rep> <path> ...]
    [-stat [format] <path> ...]
    [-tail <file>]
    [-test -[defswrz] <path>]
    [-touchz <path> ...]
    [-truncate [-w] <length> <path> ...]
";

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let (conf, rest) = super::conf_argument(args)?;
    let mut words = rest.into_iter().map(|arg| {
        arg.into_string()
            .map_err(|arg| anyhow::anyhow!("not UTF-8: {}", arg.display()))
    });
    let Some(command) = words.next().transpose()? else {
        eprint!("{USAGE}");
        return Ok(ExitCode::from(255));
    };
    let words: Vec<String> = words.collect::<Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        let mut shell = Shell::new(conf, command.trim_start_matches('-').to_owned());
        match shell.command(&command, words).await {
            Ok(()) => shell.exit_code,
            Err(error) => {
                shell.complain(&format!("{error:#}"));
                if error.is::<Usage>() {
                    255
                } else {
                    shell.exit_code.max(1)
                }
            }
        }
    });
    Ok(ExitCode::from(code))
}

/// A command whose arguments are wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// One run of the shell.
struct Shell {
    conf: Configuration,
    user: String,
    /// The command's name without its dash. Every message begins with it.
    name: String,
    filesystems: BTreeMap<String, FileSystem>,
    exit_code: u8,
}

/// Options among the arguments of a command.
struct Flags(Vec<String>);

impl Flags {
    fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|given| given == flag)
    }
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
            Some(error) => match error.remote() {
                Some(exception) => self.complain(&exception.message),
                None => self.complain(&error.to_string()),
            },
            None => self.complain(&format!("{error:#}")),
        }
    }

    /// Takes the leading options out of the arguments. Unknown ones are an error.
    fn flags(&self, words: &mut Vec<String>, known: &[&str]) -> Result<Flags> {
        let mut found = Vec::new();
        while let Some(word) = words.first() {
            if !word.starts_with('-') || word == "-" {
                break;
            }
            let word = words.remove(0);
            if word == "--" {
                break;
            }
            // Short options may be joined, like -lh.
            let together = word
                .chars()
                .skip(1)
                .all(|letter| known.contains(&format!("-{letter}").as_str()));
            if known.contains(&word.as_str()) {
                found.push(word);
            } else if together {
                found.extend(word.chars().skip(1).map(|letter| format!("-{letter}")));
            } else {
                bail!(Usage(format!("Illegal option {word}")));
            }
        }
        Ok(Flags(found))
    }

    fn at_least(&self, words: &[String], count: usize) -> Result<()> {
        if words.len() < count {
            bail!(Usage(format!(
                "Not enough arguments: expected {count} but got {}",
                words.len()
            )));
        }
        Ok(())
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

    async fn matches(&mut self, path: &RemotePath) -> Result<Vec<Item>> {
        if !path.is_glob() {
            return Ok(self.status(path).await?.into_iter().collect());
        }
        let mut found = Vec::new();
        for pattern in path.alternatives() {
            let mut level = vec![path.root()];
            for component in pattern.split('/').filter(|component| !component.is_empty()) {
                let mut next = Vec::new();
                for directory in level {
                    if !path::has_wildcard(component) {
                        next.push(directory.join(component));
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

    async fn command(&mut self, command: &str, words: Vec<String>) -> Result<()> {
        match command {
            "-ls" => self.ls(words).await,
            "-mkdir" => self.mkdir(words).await,
            "-put" | "-copyFromLocal" => self.put(words).await,
            "-appendToFile" => self.append_to_file(words).await,
            "-get" | "-copyToLocal" => self.get(words).await,
            "-cat" => self.cat(words).await,
            "-tail" => self.tail(words).await,
            "-rm" => self.rm(words).await,
            "-rmdir" => self.rmdir(words).await,
            "-mv" => self.mv(words).await,
            "-cp" => self.cp(words).await,
            "-du" => self.du(words).await,
            "-df" => self.df(words).await,
            "-count" => self.count(words).await,
            "-stat" => self.stat(words).await,
            "-test" => self.test(words).await,
            "-touchz" => self.touchz(words).await,
            "-truncate" => self.truncate(words).await,
            "-chmod" => self.chmod(words).await,
            "-chown" => self.chown(words, false).await,
            "-chgrp" => self.chown(words, true).await,
            "-setrep" => self.setrep(words).await,
            "-help" | "-usage" => {
                print!("{USAGE}");
                Ok(())
            }
            unknown => {
                eprint!("{unknown}: Unknown command\n{USAGE}");
                self.exit_code = 255;
                Ok(())
            }
        }
    }
}

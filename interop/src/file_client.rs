//! Hadoop's own client in a process of its own. It gets its orders about files line by line.

use crate::Hadoop;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Runs `interop/java/FileClient.java`, which documents its orders. Dropping it kills the process, so its files stay
/// open.
#[derive(Debug)]
pub struct FileClient {
    child: Child,
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl FileClient {
    /// Starts it with the configuration in this directory.
    ///
    /// # Errors
    /// When Java can't be started.
    pub fn start(hadoop: &Hadoop, conf: &Path) -> Result<FileClient> {
        FileClient::of(hadoop, conf, "FileClient.java", &[])
    }

    /// Starts a different program of `interop/java` that gets its orders line by line.
    ///
    /// # Errors
    /// When Java can't be started.
    pub fn of(hadoop: &Hadoop, conf: &Path, program: &str, args: &[&str]) -> Result<FileClient> {
        FileClient::run_by(&mut hadoop.command(conf, program, args))
    }

    /// Starts any program that gets its orders line by line.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn run_by(command: &mut Command) -> Result<FileClient> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        Ok(FileClient {
            stdin: child.stdin.take().context("stdin")?,
            answers: BufReader::new(child.stdout.take().context("stdout")?).lines(),
            child,
        })
    }

    /// Sends an order. Returns the answer.
    ///
    /// # Errors
    /// When it failed, with the class and the message of its exception.
    pub fn run(&mut self, line: &str) -> Result<String> {
        self.stdin.write_all(format!("{line}\n").as_bytes())?;
        self.stdin.flush()?;
        let answer = self.answers.next().context("the client ended")??;
        match answer.strip_prefix("ok") {
            Some(told) => Ok(told.trim().to_owned()),
            None => bail!("{line}: {answer}"),
        }
    }
}

impl Drop for FileClient {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

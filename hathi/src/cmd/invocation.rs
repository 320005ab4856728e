//! What stands before the command of a tool: the configuration directory, and Hadoop's generic options.

use anyhow::{Context, Result, bail};
use hathi_conf::Configuration;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The configuration directory without any other choice.
const CONF_DIR: &str = "/etc/hadoop/conf";

/// A tool's command line, before any file is read. Help needs no configuration.
#[derive(Debug)]
pub struct Invocation {
    dir: Option<PathBuf>,
    options: Vec<(String, String)>,
    /// The arguments that follow.
    pub rest: Vec<OsString>,
}

impl Invocation {
    /// Takes `--conf DIR` (or `--config DIR`) and Hadoop's generic options (`GenericOptionsParser`) from the front of
    /// the arguments.
    ///
    /// # Errors
    /// When an option lacks its value.
    pub fn of(args: Vec<OsString>) -> Result<Invocation> {
        let mut args = args.into_iter().peekable();
        let given = |first: &OsString| *first == "--conf" || *first == "--config";
        let dir = match args.next_if(given) {
            Some(option) => {
                let dir = args.next();
                Some(PathBuf::from(
                    dir.with_context(|| format!("{} needs a directory", option.display()))?,
                ))
            }
            None => None,
        };
        let mut options = Vec::new();
        while let Some(option) = args.peek().and_then(|option| option.to_str()).map(str::to_owned) {
            if let Some(pair) = option.strip_prefix("-D").filter(|pair| pair.contains('=')) {
                options.push(("-D".to_owned(), pair.to_owned()));
                args.next();
                continue;
            }
            if !matches!(
                option.as_str(),
                "-D" | "-conf" | "-fs" | "-jt" | "-files" | "-libjars" | "-archives" | "-tokenCacheFile"
            ) {
                break;
            }
            args.next();
            let value = args.next().with_context(|| format!("{option} needs a value"))?;
            let value = value
                .into_string()
                .map_err(|_| anyhow::anyhow!("{option}: not UTF-8"))?;
            options.push((option, value));
        }
        Ok(Invocation {
            dir,
            options,
            rest: args.collect(),
        })
    }

    /// The arguments that follow, as text.
    ///
    /// # Errors
    /// When one is not UTF-8.
    pub fn words(&mut self) -> Result<Vec<String>> {
        let rest = std::mem::take(&mut self.rest).into_iter();
        rest.map(|arg| {
            arg.into_string()
                .map_err(|arg| anyhow::anyhow!("not UTF-8: {}", arg.display()))
        })
        .collect()
    }

    /// The directory, and who chose it: `--conf`, else `HADOOP_CONF_DIR`, else the default.
    pub fn conf_dir(&self) -> (PathBuf, &'static str) {
        match (&self.dir, std::env::var_os("HADOOP_CONF_DIR")) {
            (Some(dir), _) => (dir.clone(), "--conf"),
            (None, Some(dir)) => (dir.into(), "HADOOP_CONF_DIR"),
            (None, None) => (
                CONF_DIR.into(),
                "the default, as neither --conf nor HADOOP_CONF_DIR is given",
            ),
        }
    }

    /// Reads the configuration. Options that only MapReduce obeys have no effect.
    ///
    /// # Errors
    /// When a file can't be read, or `-D` has no value.
    pub fn load(&self) -> Result<Configuration> {
        let (dir, source) = self.conf_dir();
        let mut conf = Configuration::load(&dir).with_context(|| source.to_owned())?;
        for (option, value) in &self.options {
            match option.as_str() {
                "-D" => {
                    let Some((key, value)) = value.split_once('=') else {
                        bail!("-D {value}: not KEY=VALUE");
                    };
                    conf.set(key, value);
                }
                "-fs" => conf.set("fs.defaultFS", value.as_str()),
                // As in Hadoop, a file that does not exist is skipped.
                "-conf" if Path::new(value).exists() => conf.add_file(Path::new(value))?,
                _ => {}
            }
        }
        Ok(conf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_tool_stand_before_the_command() {
        let line = "--config /c -D a=b -Dc=d -jt local -ls -D x";
        let mut invocation = Invocation::of(line.split(' ').map(OsString::from).collect()).unwrap();
        assert_eq!(invocation.conf_dir().0, Path::new("/c"));
        let pair = |option: &str, value: &str| (option.to_owned(), value.to_owned());
        assert_eq!(
            invocation.options,
            [pair("-D", "a=b"), pair("-D", "c=d"), pair("-jt", "local")]
        );
        assert_eq!(invocation.words().unwrap(), ["-ls", "-D", "x"]);
        for wrong in ["--conf", "-D", "-fs"] {
            let error = Invocation::of(vec![wrong.into()]).unwrap_err().to_string();
            assert!(error.starts_with(wrong), "{error}");
        }
    }
}

//! docs/commands.md is made of the tables. `UPDATE_DOCS=1` writes it.

use super::environment::VARIABLES;
use super::tree::{Help, Kind, TOOLS};
use std::fmt::Write;
use std::path::Path;

const HEAD: &str = "# Commands

This page is made of the tables of the program: change those, and run `UPDATE_DOCS=1 cargo test -p hathi --bin hathi docs`.

`hathi COMMAND --help` shows the same, without a configuration. `hathi completion bash|zsh|fish` prints a script that completes commands.
Under the name `hdfs` (`ln -s hathi /usr/bin/hdfs`) the program behaves as Hadoop's script of that name, so that scripts go on working.

## Options before the command

| option | what it does |
|---|---|
| `--config DIR` | the configuration directory, as `HADOOP_CONF_DIR` names it |
| `--daemon start`, `stop`, `status` | a daemon in the background |
| `--loglevel LEVEL` | `error`, `warn`, `info`, `debug` or `trace`, as `HATHI_LOG` names it |
| `--help`, `--version` | |

After the command, `--conf DIR` and Hadoop's generic options (`-D KEY=VALUE`, `-fs URI`, `-conf FILE`) stand before everything else.
`-jt`, `-files`, `-libjars` and `-archives` are taken and have no effect.

`--daemon start` writes the process id to `$HADOOP_PID_DIR/hadoop-$HADOOP_IDENT_STRING-DAEMON.pid` and the log to `$HADOOP_LOG_DIR/hadoop-$HADOOP_IDENT_STRING-DAEMON-HOST.log`.
If the daemon ends within a second, the end of its log is shown and the exit status is 1.
`--daemon status` ends with 0 if the daemon runs, 1 if only its file is left, and 3 if it does not run.

## Environment

";

const STATUSES: &str = "
## Exit statuses

| status | meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | wrong arguments of a command that Hadoop does not have; with `hathi`, also an unknown command |
| 255 | wrong arguments of `dfs`, `getconf` and `fsck`; wrong arguments and failures of `dfsadmin` and `haadmin` (Hadoop's -1) |
| 141 | the reader of the output has gone, as a shell reports SIGPIPE |

Where Hadoop's tool has more, they are Hadoop's: `fsck` (1 corrupt, 2 to 6 the state of a DataNode), `zkfc` (2 to 6), `storagepolicies` (1 wrong arguments, 2 failed), `crypto` (1 wrong arguments, 2 to 4 failed), `ec` (1 wrong arguments, 2 and 3 failed, 255 an illegal value), `--daemon status`.

## While a command waits

A client asks one NameNode after the other, with growing pauses, as Hadoop's does (`dfs.client.failover.*`).
After 1.5 s, and then every 10 s, it says on stderr what it waits for: what each NameNode answered, and how many attempts are left.
An address that is the only one, an unknown nameservice and a configuration without a cluster end a command at once.
";

fn document() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| variable | what it is for |\n|---|---|\n");
    for (name, purpose) in VARIABLES {
        let _ = writeln!(text, "| `{name}` | {purpose} |");
    }
    text.push_str(STATUSES);
    for kind in Kind::ALL {
        let _ = write!(text, "\n## {}\n", kind.title());
        for tool in TOOLS.iter().filter(|tool| tool.kind == kind) {
            let _ = write!(text, "\n### {}\n\nTo {}.\n", tool.name, tool.purpose);
            match tool.help {
                Help::Text(_) if tool.name == "fs" => text.push_str("[dfs](#dfs) says what.\n"),
                Help::Text(help) => {
                    let help = help();
                    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
                    let _ = write!(text, "\n```\n{}\n```\n", help.join("\n").trim_end());
                }
                Help::Own => {
                    let commands = (tool.commands)();
                    let list: Vec<String> = commands.iter().map(|command| format!("`{command}`")).collect();
                    if !list.is_empty() {
                        let _ = write!(text, "\nIts commands: {}.\n", list.join(", "));
                    }
                }
            }
        }
    }
    text
}

#[test]
fn the_document_has_the_commands_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, document()).unwrap();
    } else {
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == document(),
            "docs/commands.md is older than the tables: run this test with UPDATE_DOCS=1"
        );
    }
}

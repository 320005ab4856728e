//! `hathi completion bash|zsh|fish`: scripts that complete commands, made of the tables.

use anyhow::Result;
use std::ffi::OsString;
use std::fmt::Write;
use std::process::ExitCode;

/// Exit code for wrong arguments.
const MISUSED: u8 = 2;

/// A tool, and the names of its commands.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub purpose: &'static str,
    /// The words that may follow it.
    pub commands: Vec<String>,
}

/// How the command is used.
pub fn usage() -> String {
    "Usage: hathi completion bash|zsh|fish\n\
     Prints a script that completes the commands of hathi and hdfs.\n\
     bash: source <(hathi completion bash)\n\
     zsh:  source <(hathi completion zsh)\n\
     fish: hathi completion fish | source\n"
        .to_owned()
}

/// Entry point.
pub fn run(args: &[OsString], tools: &[Entry]) -> Result<ExitCode> {
    let script = match args.first().and_then(|shell| shell.to_str()) {
        Some("bash") => bash(tools),
        // It understands bash's scripts.
        Some("zsh") => format!("autoload -U +X bashcompinit && bashcompinit\n{}", bash(tools)),
        Some("fish") => fish(tools),
        _ => {
            eprint!("{}", usage());
            return Ok(ExitCode::from(MISUSED));
        }
    };
    print!("{script}");
    Ok(ExitCode::SUCCESS)
}

fn names(tools: &[Entry]) -> String {
    tools.iter().map(|tool| tool.name).collect::<Vec<_>>().join(" ")
}

fn with_commands(tools: &[Entry]) -> impl Iterator<Item = (&Entry, String)> {
    let with = tools.iter().map(|tool| (tool, tool.commands.join(" ")));
    with.filter(|(_, commands)| !commands.is_empty())
}

/// The word after the tool is one of its commands. Elsewhere files are completed.
fn bash(tools: &[Entry]) -> String {
    let mut text = format!(
        "_hathi() {{\n  local word=${{COMP_WORDS[COMP_CWORD]}} tool=${{COMP_WORDS[1]}}\n  COMPREPLY=()\n  \
         if [ \"$COMP_CWORD\" -eq 1 ]; then\n    COMPREPLY=($(compgen -W '{} --config --daemon --loglevel --help --version' -- \"$word\"))\n    \
         return\n  fi\n  [ \"$COMP_CWORD\" -eq 2 ] || return\n  case $tool in\n",
        names(tools)
    );
    for (tool, commands) in with_commands(tools) {
        let _ = writeln!(
            text,
            "    {}) COMPREPLY=($(compgen -W '{commands} --help' -- \"$word\")) ;;",
            tool.name
        );
    }
    text + "  esac\n}\ncomplete -o default -F _hathi hathi hdfs\n"
}

fn fish(tools: &[Entry]) -> String {
    let mut text = String::new();
    for program in ["hathi", "hdfs"] {
        for tool in tools {
            let _ = writeln!(
                text,
                "complete -c {program} -n __fish_use_subcommand -f -a {} -d '{}'",
                tool.name, tool.purpose
            );
        }
        for (tool, commands) in with_commands(tools) {
            let _ = writeln!(
                text,
                "complete -c {program} -n '__fish_seen_subcommand_from {}' -a '{commands}'",
                tool.name
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_completes_commands_of_the_tables() {
        let entry = |name, commands: &[&str]| Entry {
            name,
            purpose: "do something",
            commands: commands.iter().map(|command| (*command).to_owned()).collect(),
        };
        let tools = [
            entry("dfs", &["-ls", "-setfacl", "-setfattr"]),
            entry("journal", &["status", "verify"]),
            entry("journalnode", &[]),
        ];
        let ask = |words: &str, at: usize| {
            let script = format!(
                "{}\nCOMP_WORDS=({words}); COMP_CWORD={at}; _hathi; echo \"${{COMPREPLY[*]}}\"",
                bash(&tools)
            );
            let output = Command::new("bash").args(["-c", &script]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        assert_eq!(ask("hathi journaln", 1), "journalnode");
        assert_eq!(ask("hdfs dfs -setf", 2), "-setfacl -setfattr");
        assert_eq!(ask("hathi journal v", 2), "verify");
        assert!(fish(&tools).contains("-n '__fish_seen_subcommand_from dfs' -a '-ls -setfacl -setfattr'"));
    }
}

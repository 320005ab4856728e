//! `hathi storagepolicies`: lists, gets and sets storage policies (`StoragePolicyAdmin`).

use super::dfs::full_path;
use super::invocation::Invocation;
use super::table::{ANY, Grammar, Row, find};
use super::waiting::{explained, say_what_is_waited_for};
use anyhow::Result;
use hathi_client::{ClientError, FileSystem};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::{self, BlockStoragePolicyProto, StorageTypeProto, StorageTypesProto};
use hathi_net::ipc::Idempotence;
use std::ffi::OsString;
use std::process::ExitCode;

/// Exit code for wrong arguments.
const MISUSED: u8 = 1;
/// Exit code of a call that failed.
const FAILED: u8 = 2;
/// Policy id of a path that has none of its own and inherits none (`BLOCK_STORAGE_POLICY_ID_UNSPECIFIED`).
const UNSPECIFIED: u32 = 0;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    List,
    Get,
    Set,
    Unset,
    Satisfy,
    Help,
}

const fn row(
    name: &'static str,
    verb: Verb,
    arguments: &'static str,
    flags: &'static [&'static str],
    help: &'static str,
) -> Row<Verb> {
    Row {
        name,
        verb,
        arguments,
        flags,
        grammar: Grammar::Anywhere,
        words: 0..=ANY,
        help,
    }
}

#[rustfmt::skip]
pub const ROWS: &[Row<Verb>] = &[
    row("listPolicies", Verb::List, "", &[], "List all the existing block storage policies."),
    row("setStoragePolicy", Verb::Set, "-path <path> -policy <policy>", &["path=", "policy="], "Set the storage policy to a file/directory."),
    row("getStoragePolicy", Verb::Get, "-path <path>", &["path="], "Get the storage policy of a file/directory."),
    row("unsetStoragePolicy", Verb::Unset, "-path <path>", &["path="], "Unset the storage policy set for a file/directory."),
    row("satisfyStoragePolicy", Verb::Satisfy, "-path <path>", &["path="], "Schedule blocks to move based on file/directory policy. The NameNode refuses it."),
    row("help", Verb::Help, "<command-name>", &[], "Get help about commands."),
];

/// How the command is used.
pub fn usage() -> String {
    let mut text = "Usage: bin/hdfs storagepolicies [COMMAND]\n".to_owned();
    for row in ROWS {
        text.push_str(&format!("          [{}]\n", row.synopsis()));
    }
    text
}

fn types(types: Option<&StorageTypesProto>) -> String {
    let names = types.map(|types| {
        let name = |kind: &i32| StorageTypeProto::try_from(*kind).map_or("?", |kind| kind.as_str_name());
        types.storage_types.iter().map(name).collect::<Vec<_>>().join(", ")
    });
    format!("[{}]", names.unwrap_or_default())
}

/// `BlockStoragePolicy.toString`
fn text(policy: &BlockStoragePolicyProto) -> String {
    format!(
        "BlockStoragePolicy{{{}:{}, storageTypes={}, creationFallbacks={}, replicationFallbacks={}}}",
        policy.name,
        policy.policy_id,
        types(Some(&policy.creation_policy)),
        types(policy.creation_fallback_policy.as_ref()),
        types(policy.replication_fallback_policy.as_ref()),
    )
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    say_what_is_waited_for();
    let mut invocation = Invocation::of(args)?;
    let mut words = invocation.words()?.into_iter();
    let Some(row) = words.next().and_then(|command| find(ROWS, &command)) else {
        eprint!("{}", usage());
        return Ok(ExitCode::from(MISUSED));
    };
    if row.verb == Verb::Help {
        let wanted = words.next().unwrap_or_default();
        for row in ROWS
            .iter()
            .filter(|row| wanted.is_empty() || row.name == wanted.trim_start_matches('-'))
        {
            println!("[{}]\n\n{}\n", row.synopsis(), row.help);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let args = match row.parse(words.collect()) {
        Ok(args) => args,
        Err(misuse) => return Ok(misused(row, &misuse.0)),
    };
    let path = args.flags.value("path");
    if path.is_none() && row.verb != Verb::List {
        return Ok(misused(
            row,
            &format!("Please specify the path for {}.", purpose(row.verb)),
        ));
    }
    let policy = args.flags.value("policy");
    if policy.is_none() && row.verb == Verb::Set {
        return Ok(misused(row, "Please specify the policy name."));
    }
    if let Some(word) = args.words.first() {
        return Ok(misused(row, &format!("Can't understand arguments: \"{word}\"")));
    }
    let conf = invocation.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let fs = FileSystem::new(&conf, "", &super::user_name())?;
        change(&fs, row.verb, path.unwrap_or_default(), policy.unwrap_or_default()).await
    });
    match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            let remote = error.downcast_ref::<ClientError>().and_then(ClientError::remote);
            let text = remote.map_or_else(|| explained(&conf, &error), prettified);
            eprintln!("{}", text.lines().next().unwrap_or_default());
            Ok(ExitCode::from(FAILED))
        }
    }
}

/// The class and the first line of an exception (`AdminHelper.prettifyException`). The client unwraps some classes.
fn prettified(exception: &RemoteException) -> String {
    let class = exception.class_name().rsplit(['.', '$']).next().unwrap_or_default();
    let unwrapped = [
        exceptions::ACCESS_CONTROL,
        exceptions::FILE_NOT_FOUND,
        exceptions::SAFE_MODE,
    ];
    let class = if unwrapped.iter().any(|known| exception.is(*known)) {
        class
    } else {
        "RemoteException"
    };
    format!("{class}: {}", exception.message)
}

fn purpose(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "getting the storage policy",
        Verb::Set => "setting the storage policy",
        Verb::Unset => "unsetting the storage policy",
        Verb::Satisfy => "satisfying the storage policy",
        Verb::List | Verb::Help => "the command",
    }
}

fn misused(row: &Row<Verb>, problem: &str) -> ExitCode {
    eprintln!("{problem}\nUsage: [{}]", row.synopsis());
    ExitCode::from(MISUSED)
}

async fn policies(fs: &FileSystem) -> Result<Vec<BlockStoragePolicyProto>> {
    let request = hdfs::GetStoragePoliciesRequestProto {};
    let answer: hdfs::GetStoragePoliciesResponseProto =
        fs.call("getStoragePolicies", &request, Idempotence::Idempotent).await?;
    Ok(answer.policies)
}

async fn change(fs: &FileSystem, verb: Verb, word: &str, policy_name: &str) -> Result<()> {
    let path = full_path(word);
    match verb {
        Verb::List => {
            println!("Block Storage Policies:");
            for policy in policies(fs).await? {
                println!("\t{}", text(&policy));
            }
        }
        Verb::Get => {
            let Some(status) = fs.status(&path).await? else {
                anyhow::bail!("File/Directory does not exist: {word}");
            };
            let id = status.storage_policy();
            if id == UNSPECIFIED {
                println!("The storage policy of {word} is unspecified");
                return Ok(());
            }
            let all = policies(fs).await?;
            match all.iter().find(|policy| policy.policy_id == id) {
                Some(policy) => println!("The storage policy of {word}:\n{}", text(policy)),
                None => anyhow::bail!("Cannot identify the storage policy for {word}"),
            }
        }
        Verb::Set => {
            let request = hdfs::SetStoragePolicyRequestProto {
                src: path,
                policy_name: policy_name.to_owned(),
            };
            let _: hdfs::SetStoragePolicyResponseProto =
                fs.call("setStoragePolicy", &request, Idempotence::Idempotent).await?;
            println!("Set storage policy {policy_name} on {word}");
        }
        Verb::Unset => {
            let request = hdfs::UnsetStoragePolicyRequestProto { src: path };
            let _: hdfs::UnsetStoragePolicyResponseProto =
                fs.call("unsetStoragePolicy", &request, Idempotence::Idempotent).await?;
            println!("Unset storage policy from {word}");
        }
        Verb::Satisfy => {
            let request = hdfs::SatisfyStoragePolicyRequestProto { src: path };
            let _: hdfs::SatisfyStoragePolicyResponseProto = fs
                .call("satisfyStoragePolicy", &request, Idempotence::Idempotent)
                .await?;
            println!("Scheduled blocks to move based on the current storage policy on {word}");
        }
        Verb::Help => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_shown_as_hadoop_shows_it() {
        let of = |kinds: &[StorageTypeProto]| StorageTypesProto {
            storage_types: kinds.iter().map(|kind| *kind as i32).collect(),
        };
        let policy = BlockStoragePolicyProto {
            policy_id: 5,
            name: "WARM".to_owned(),
            creation_policy: of(&[StorageTypeProto::Disk, StorageTypeProto::Archive]),
            creation_fallback_policy: Some(of(&[StorageTypeProto::Disk])),
            replication_fallback_policy: None,
        };
        assert_eq!(
            text(&policy),
            "BlockStoragePolicy{WARM:5, storageTypes=[DISK, ARCHIVE], creationFallbacks=[DISK], replicationFallbacks=[]}"
        );
    }
}

//! `hathi crypto`: encryption zones (`CryptoAdmin`).

use super::dfs::full_path;
use super::invocation::Invocation;
use super::table::GENERIC_OPTIONS;
use super::waiting::{explained, say_what_is_waited_for};
use anyhow::Result;
use hathi_client::{ClientError, FileSystem};
use hathi_formats::exceptions::{ACCESS_CONTROL, SAFE_MODE, UNRESOLVED_PATH};
use hathi_formats::proto::hdfs::{
    CreateEncryptionZoneRequestProto, CreateEncryptionZoneResponseProto, FileEncryptionInfoProto, FsPermissionProto,
    ListReencryptionStatusRequestProto, ListReencryptionStatusResponseProto, ReencryptActionProto,
    ReencryptEncryptionZoneRequestProto, ReencryptEncryptionZoneResponseProto, ReencryptionStateProto,
    SetPermissionRequestProto, SetPermissionResponseProto,
};
use hathi_net::ipc::Idempotence;
use std::ffi::OsString;
use std::process::ExitCode;

/// `HdfsAdmin.TRASH_PERMISSION`: everybody has a trash there, and nobody another's.
const TRASH_PERMISSION: u32 = 0o1777;
/// `HdfsFileStatus` of a directory (`FileType.IS_DIR`).
const IS_DIR: i32 = 1;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    CreateZone,
    ListZones,
    ProvisionTrash,
    GetFileEncryptionInfo,
    ReencryptZone,
    ListReencryptionStatus,
    Help,
}

struct Row {
    name: &'static str,
    verb: Verb,
    arguments: &'static str,
    /// What `-help` says behind the synopsis.
    help: &'static str,
}

// The spaces at the ends of lines are those of Hadoop's tables.
const ROWS: &[Row] = &[
    Row {
        name: "createZone",
        verb: Verb::CreateZone,
        arguments: " -keyName <keyName> -path <path>",
        help: "Create a new encryption zone.\n\n\
               <path>     The path of the encryption zone to create. It must be an empty      \n           \
               directory. A trash directory is provisioned under this path.        \n\
               <keyName>  Name of the key to use for the encryption zone.                     \n",
    },
    Row {
        name: "listZones",
        verb: Verb::ListZones,
        arguments: "",
        help: "List all encryption zones. Requires superuser permissions.\n\n",
    },
    Row {
        name: "provisionTrash",
        verb: Verb::ProvisionTrash,
        arguments: " -path <path>",
        help: "Provision a trash directory for an encryption zone.\n\n\
               <path>  The path to the root of the encryption zone.  \n",
    },
    Row {
        name: "getFileEncryptionInfo",
        verb: Verb::GetFileEncryptionInfo,
        arguments: " -path <path>",
        help: "Get encryption info of a file.\n\n\
               <path>  The path to the file to show encryption info. \n",
    },
    Row {
        name: "reencryptZone",
        verb: Verb::ReencryptZone,
        arguments: " <action> -path <zone>",
        help: "Issue a re-encryption command for an encryption zone. Requires superuser permissions.\n\n\
               <action>  The re-encrypt action to perform. Must be -start or -cancel. \n\
               <zone>    The path to the zone to be re-encrypted.                     \n",
    },
    Row {
        name: "listReencryptionStatus",
        verb: Verb::ListReencryptionStatus,
        arguments: "",
        help: "List re-encryption statuses of encryption zones. Requires superuser permissions.\n\n",
    },
    Row {
        name: "help",
        verb: Verb::Help,
        arguments: " <command-name>",
        help: "Get help for a command.\n\n",
    },
];

/// The names of the commands, with their dash.
pub fn commands() -> Vec<String> {
    ROWS.iter().map(|row| format!("-{}", row.name)).collect()
}

/// How the command is used.
pub fn usage() -> String {
    let mut text = "Usage: bin/hdfs crypto [COMMAND]\n".to_owned();
    for row in ROWS {
        text.push_str(&format!("          [-{}{}]\n", row.name, row.arguments));
    }
    text
}

fn help_of(row: &Row) -> String {
    format!("[-{}{}]\n\n{}", row.name, row.arguments, row.help)
}

/// What the user did wrong, and the status that says so.
struct Wrong(String, u8);

/// Why a command fails: `IllegalArgumentException` has a status of its own.
enum Failure {
    Illegal(String),
    /// In Java's words, with its class.
    Said(String),
    Client(ClientError),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::Client(error)
    }
}

/// Takes an option and its value out of the words (`StringUtils.popOptionWithArgument`).
fn pop_value(words: &mut Vec<String>, option: &str) -> Result<Option<String>, Wrong> {
    let Some(at) = words.iter().position(|word| word == option) else {
        return Ok(None);
    };
    words.remove(at);
    if at >= words.len() {
        // -1, as for every IllegalArgumentException.
        let why = format!("IllegalArgumentException: option {option} requires 1 argument.");
        return Err(Wrong(why, u8::MAX));
    }
    Ok(Some(words.remove(at)))
}

fn pop(words: &mut Vec<String>, option: &str) -> bool {
    match words.iter().position(|word| word == option) {
        Some(at) => {
            words.remove(at);
            true
        }
        None => false,
    }
}

fn nothing_else(words: &[String]) -> Result<(), Wrong> {
    match words.first() {
        Some(word) => Err(Wrong(format!("Can't understand argument: {word}"), 1)),
        None => Ok(()),
    }
}

fn needed(path: Option<String>) -> Result<String, Wrong> {
    path.ok_or_else(|| {
        Wrong(
            "IllegalArgumentException: Can not create a Path from a null string".to_owned(),
            u8::MAX,
        )
    })
}

/// What is to be done.
enum Task {
    Create { path: String, key_name: String },
    List,
    Provision { path: String },
    Info { path: String },
    Reencrypt { path: String, start: bool },
    Statuses,
}

impl Task {
    fn of(verb: Verb, mut words: Vec<String>) -> Result<Task, Wrong> {
        let words = &mut words;
        Ok(match verb {
            Verb::CreateZone => {
                let path = pop_value(words, "-path")?;
                let path = path.ok_or_else(|| Wrong("You must specify a path with -path.".to_owned(), 1))?;
                let key_name = pop_value(words, "-keyName")?;
                let key_name =
                    key_name.ok_or_else(|| Wrong("You must specify a key name with -keyName.".to_owned(), 1))?;
                nothing_else(words)?;
                Task::Create { path, key_name }
            }
            Verb::ListZones => {
                nothing_else(words)?;
                Task::List
            }
            Verb::ProvisionTrash | Verb::GetFileEncryptionInfo => {
                let path = pop_value(words, "-path")?;
                nothing_else(words)?;
                let path = needed(path)?;
                match verb {
                    Verb::ProvisionTrash => Task::Provision { path },
                    _ => Task::Info { path },
                }
            }
            Verb::ReencryptZone => {
                let path = pop_value(words, "-path")?;
                let (start, cancel) = (pop(words, "-start"), pop(words, "-cancel"));
                nothing_else(words)?;
                if start == cancel {
                    let why = "You must specify either [-start] or [-cancel]. ";
                    return Err(Wrong(why.to_owned(), 2));
                }
                let path =
                    path.ok_or_else(|| Wrong("You must specify a zone directory with [-path]. ".to_owned(), 3))?;
                Task::Reencrypt { path, start }
            }
            // Hadoop takes no notice of more words.
            Verb::ListReencryptionStatus | Verb::Help => Task::Statuses,
        })
    }
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    say_what_is_waited_for();
    let mut invocation = Invocation::of(args)?;
    let mut words = invocation.words()?;
    if words.is_empty() {
        eprint!("{}{GENERIC_OPTIONS}\n", usage());
        return Ok(ExitCode::from(1));
    }
    let command = words.remove(0);
    let Some(row) = ROWS.iter().find(|row| command.strip_prefix('-') == Some(row.name)) else {
        eprintln!("Can't understand command '{command}'");
        if !command.starts_with('-') {
            eprintln!("Command names must start with dashes.");
        }
        eprint!("{}{GENERIC_OPTIONS}\n", usage());
        return Ok(ExitCode::from(1));
    };
    if row.verb == Verb::Help {
        return Ok(help(&words));
    }
    let task = match Task::of(row.verb, words) {
        Ok(task) => task,
        Err(Wrong(why, status)) => {
            eprintln!("{why}");
            return Ok(ExitCode::from(status));
        }
    };
    let conf = invocation.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let fs = FileSystem::new(&conf, "", &super::user_name())?;
        serve(&fs, &task).await
    });
    match done {
        Ok((text, status)) => {
            print!("{text}");
            Ok(ExitCode::from(status))
        }
        Err(Failure::Illegal(why)) => {
            eprintln!("IllegalArgumentException: {}", why.lines().next().unwrap_or_default());
            Ok(ExitCode::from(u8::MAX))
        }
        Err(Failure::Said(why)) => {
            eprintln!("{}", why.lines().next().unwrap_or_default());
            Ok(ExitCode::from(2))
        }
        Err(Failure::Client(error)) => {
            let text = match &error {
                ClientError::NotFound(_) => format!("FileNotFoundException: {error}"),
                _ => match error.remote().map(|refused| (refused.clone(), class_shown(&error))) {
                    Some((refused, class)) => format!("{class}: {}", refused.message),
                    None => explained(&conf, &error.into()),
                },
            };
            eprintln!("{}", text.lines().next().unwrap_or_default());
            Ok(ExitCode::from(match task {
                Task::Info { .. } => 3,
                Task::Reencrypt { .. } => 4,
                _ => 2,
            }))
        }
    }
}

/// The class that Java's client throws: it knows three, and all others are the one for what it does not know.
fn class_shown(error: &ClientError) -> &'static str {
    match () {
        () if error.is_remote(ACCESS_CONTROL) => "AccessControlException",
        () if error.is_remote(SAFE_MODE) => "SafeModeException",
        () if error.is_remote(UNRESOLVED_PATH) => "UnresolvedPathException",
        () => "RemoteException",
    }
}

fn help(words: &[String]) -> ExitCode {
    let shown = || ROWS.iter().filter(|row| row.verb != Verb::Help);
    let Some(wanted) = words.first() else {
        for row in shown() {
            eprintln!("{}", help_of(row));
        }
        return ExitCode::from(1);
    };
    if words.len() > 1 {
        eprintln!("You must give exactly one argument to -help.");
        return ExitCode::from(1);
    }
    match shown().find(|row| row.name == wanted) {
        Some(row) => {
            eprint!("{}", help_of(row));
            ExitCode::SUCCESS
        }
        None => {
            let names: Vec<&str> = shown().map(|row| row.name).collect();
            eprintln!("Unknown command '{wanted}'.");
            eprintln!("Valid help command names are:\n{}", names.join(", "));
            ExitCode::from(1)
        }
    }
}

async fn serve(fs: &FileSystem, task: &Task) -> Result<(String, u8), Failure> {
    match task {
        Task::Create { path, key_name } => {
            let request = CreateEncryptionZoneRequestProto {
                src: full_path(path),
                key_name: Some(key_name.clone()),
            };
            let _: CreateEncryptionZoneResponseProto = fs
                .call("createEncryptionZone", &request, Idempotence::AtMostOnce)
                .await?;
            provision_trash(fs, path).await?;
            Ok((format!("Added encryption zone {path}\n"), 0))
        }
        Task::List => Ok((list_zones(fs).await?, 0)),
        Task::Provision { path } => {
            provision_trash(fs, path).await?;
            Ok((format!("Created a trash directory for {path}\n"), 0))
        }
        Task::Info { path } => {
            let full = full_path(path);
            let status = fs.status(&full).await?.ok_or(ClientError::NotFound(full))?;
            match &status.file_encryption_info {
                Some(info) => Ok((format!("{}\n", shown(info)), 0)),
                None => Err(Failure::Said(format!("No FileEncryptionInfo found for path {path}"))),
            }
        }
        Task::Reencrypt { path, start } => {
            let action = match start {
                true => ReencryptActionProto::StartReencrypt,
                false => ReencryptActionProto::CancelReencrypt,
            };
            let request = ReencryptEncryptionZoneRequestProto {
                action: action.into(),
                zone: full_path(path),
            };
            let _: ReencryptEncryptionZoneResponseProto = fs
                .call("reencryptEncryptionZone", &request, Idempotence::AtMostOnce)
                .await?;
            let action = if *start { "START" } else { "CANCEL" };
            Ok((
                format!("re-encrypt command successfully submitted for zone: {path} action: {action}\n"),
                0,
            ))
        }
        Task::Statuses => Ok((list_statuses(fs).await?, 0)),
    }
}

/// `DistributedFileSystem.provisionEZTrash`
async fn provision_trash(fs: &FileSystem, path: &str) -> Result<(), Failure> {
    let path = full_path(path);
    let Some(zone) = fs.zone_of(&path).await? else {
        return Err(Failure::Illegal(format!("{path} is not an encryption zone.")));
    };
    if zone.path != path {
        return Err(Failure::Illegal(format!(
            "{path} is not the root of an encryption zone. Do you mean {}?",
            zone.path
        )));
    }
    let trash = format!("{}/.Trash", path.trim_end_matches('/'));
    if let Some(there) = fs.status(&trash).await? {
        let mut why = format!(
            "FileAlreadyExistsException: Will not provision new trash directory for encryption zone {path}. \
             Path already exists."
        );
        if there.file_type != IS_DIR {
            why.push_str(&format!("\r\nWarning: {trash} is not a directory"));
        }
        return Err(Failure::Said(why));
    }
    fs.mkdirs(&trash, 0o1777, false).await?;
    // Not as the umask of this client has it.
    let request = SetPermissionRequestProto {
        src: trash,
        permission: FsPermissionProto { perm: TRASH_PERMISSION },
    };
    let _: SetPermissionResponseProto = fs.call("setPermission", &request, Idempotence::Idempotent).await?;
    Ok(())
}

async fn list_zones(fs: &FileSystem) -> Result<String, ClientError> {
    let zones = fs.zones().await?.into_iter();
    let rows: Vec<_> = zones.map(|zone| vec![zone.path, zone.key_name]).collect();
    Ok(table(&rows) + "\n")
}

async fn list_statuses(fs: &FileSystem) -> Result<String, ClientError> {
    let titles = [
        "Zone Name",
        "Status",
        "EZKey Version Name",
        "Submission Time",
        "Is Canceled?",
        "Completion Time",
        "Number of files re-encrypted",
        "Number of failures",
        "Last File Checkpointed",
    ];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    let (mut id, mut failures) = (0, false);
    loop {
        let request = ListReencryptionStatusRequestProto { id };
        let page: ListReencryptionStatusResponseProto = fs
            .call("listReencryptionStatus", &request, Idempotence::Idempotent)
            .await?;
        for status in &page.statuses {
            let state = match status.state() {
                ReencryptionStateProto::Submitted => "Submitted",
                ReencryptionStateProto::Processing => "Processing",
                ReencryptionStateProto::Completed => "Completed",
            };
            failures |= status.num_failures > 0;
            rows.push(vec![
                status.path.clone(),
                state.to_owned(),
                status.ez_key_version_name.clone(),
                time(status.submission_time),
                status.canceled.to_string(),
                match status.completion_time() {
                    0 => "N/A".to_owned(),
                    at => time(at),
                },
                status.num_reencrypted.to_string(),
                status.num_failures.to_string(),
                status.last_file.clone().unwrap_or_default(),
            ]);
        }
        match page.statuses.last() {
            Some(last) if page.has_more => id = last.id,
            _ => break,
        }
    }
    let mut text = table(&rows) + "\n";
    if failures {
        text.push_str(
            "There are re-encryption failures. Files that are failed to re-encrypt are still using the old EDEKs. \
             Please check NameNode log to see which files failed, then either fix the error and re-encrypt again, or \
             manually copy the failed files to use new EDEKs.\n",
        );
    }
    Ok(text)
}

/// `Time.formatTime`
fn time(ms: i64) -> String {
    super::dfs::local_time(ms.cast_unsigned(), "%Y-%m-%d %H:%M:%S,%3f%z")
}

/// `TableListing.toString`: columns as wide as their widest word.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let words = rows.iter().filter_map(|row| row.get(column));
        words.map(|word| word.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(word, &width)| format!("{word:width$}"))
            .collect();
        text.push_str(&cells.join("  "));
        text.push_str(" \n");
    }
    text
}

/// `FileEncryptionInfo.toStringStable`
fn shown(info: &FileEncryptionInfoProto) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (suite, block) = match info.suite {
        2 => ("AES/CTR/NoPadding", 16),
        3 => ("SM4/CTR/NoPadding", 16),
        _ => ("Unknown", 0),
    };
    let version = match info.crypto_protocol_version {
        2 => "Encryption zones', version=2",
        _ => "Unknown', version=1",
    };
    format!(
        "{{cipherSuite: {{name: {suite}, algorithmBlockSize: {block}}}, cryptoProtocolVersion: \
         CryptoProtocolVersion{{description='{version}, unknownValue=null}}, edek: {}, iv: {}, keyName: {}, \
         ezKeyVersionName: {}}}",
        hex(&info.key),
        hex(&info.iv),
        info.key_name,
        info.ez_key_version_name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_keys_are_shown_as_hadoop_shows_them() {
        let rows = [["/zone", "key"], ["/a/longer/zone", "anotherkey"]];
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(
            table(&rows),
            "/zone           key        \n/a/longer/zone  anotherkey \n"
        );
        assert_eq!(table(&[]), "");
        let info = FileEncryptionInfoProto {
            suite: 2,
            crypto_protocol_version: 2,
            key: vec![0; 2].into(),
            iv: vec![0x1f; 2].into(),
            key_name: "k".to_owned(),
            ez_key_version_name: "k@0".to_owned(),
        };
        assert_eq!(
            shown(&info),
            "{cipherSuite: {name: AES/CTR/NoPadding, algorithmBlockSize: 16}, cryptoProtocolVersion: \
             CryptoProtocolVersion{description='Encryption zones', version=2, unknownValue=null}, edek: 0000, iv: 1f1f, \
             keyName: k, ezKeyVersionName: k@0}"
        );
    }
}

//! `hathi ec`: administers erasure coding policies (`ECAdmin`).

mod policy_file;

use self::policy_file::Problem;
use super::dfs::full_path;
use super::invocation::Invocation;
use super::table::{ANY, GENERIC_OPTIONS, Grammar, Row};
use super::waiting::{explained, say_what_is_waited_for};
use anyhow::Result;
use hathi_client::{ClientError, FileSystem};
use hathi_formats::erasure_coding::{REPLICATION, describe, state_name, whole};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::{
    AddErasureCodingPoliciesRequestProto, AddErasureCodingPoliciesResponseProto,
    DisableErasureCodingPolicyRequestProto, DisableErasureCodingPolicyResponseProto, EcTopologyVerifierResultProto,
    EnableErasureCodingPolicyRequestProto, EnableErasureCodingPolicyResponseProto, ErasureCodingPolicyProto,
    GetEcTopologyResultForPoliciesRequestProto, GetEcTopologyResultForPoliciesResponseProto,
    GetErasureCodingCodecsRequestProto, GetErasureCodingCodecsResponseProto, GetErasureCodingPoliciesRequestProto,
    GetErasureCodingPoliciesResponseProto, GetErasureCodingPolicyRequestProto, GetErasureCodingPolicyResponseProto,
    RemoveErasureCodingPolicyRequestProto, RemoveErasureCodingPolicyResponseProto, SetErasureCodingPolicyRequestProto,
    SetErasureCodingPolicyResponseProto, UnsetErasureCodingPolicyRequestProto, UnsetErasureCodingPolicyResponseProto,
};
use hathi_net::ipc::Idempotence;
use prost::Message;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Exit code for wrong arguments, and for what ends Java's tool with an exception.
const MISUSED: u8 = 1;
/// Exit code of a call that failed.
const FAILED: u8 = 2;
/// Exit code of a failed call to set a policy.
const NOT_SET: u8 = 3;
/// Exit code for what Java's tool ends with a return value of -1: an `IllegalArgumentException`.
const ILLEGAL: u8 = 255;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    ListPolicies,
    AddPolicies,
    GetPolicy,
    RemovePolicy,
    SetPolicy,
    UnsetPolicy,
    ListCodecs,
    EnablePolicy,
    DisablePolicy,
    VerifyClusterSetup,
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
    row("listPolicies", Verb::ListPolicies, "", &[],
        "Get the list of all erasure coding policies.\n"),
    row("addPolicies", Verb::AddPolicies, "-policyFile <file>", &["policyFile="],
        "Add a list of user defined erasure coding policies.\n\
         <file>  The path of the xml file which defines the EC policies to add \n"),
    row("getPolicy", Verb::GetPolicy, "-path <path>", &["path="],
        "Get the erasure coding policy of a file/directory.\n\n\
         <path>  The path of the file/directory for getting the erasure coding policy \n"),
    row("removePolicy", Verb::RemovePolicy, "-policy <policy>", &["policy="],
        "Remove an user defined erasure coding policy.\n\
         <policy>  The name of the erasure coding policy \n"),
    row("setPolicy", Verb::SetPolicy, "-path <path> [-policy <policy>] [-replicate]", &["path=", "policy=", "replicate"],
        "Set the erasure coding policy for a file/directory.\n\n\
         <path>      The path of the file/directory to set the erasure coding policy \n\
         <policy>    The name of the erasure coding policy                           \n\
         -replicate  force 3x replication scheme on the directory                    \n\n\
         -replicate and -policy are optional arguments. They cannot been used at the same time.\n"),
    row("unsetPolicy", Verb::UnsetPolicy, "-path <path>", &["path="],
        "Unset the erasure coding policy for a directory.\n\n\
         <path>  The path of the directory from which the erasure coding policy will be \n        \
                 unset.                                                                 \n"),
    row("listCodecs", Verb::ListCodecs, "", &[],
        "Get the list of supported erasure coding codecs and coders.\n\
         A coder is an implementation of a codec. A codec can have different implementations, thus different coders.\n\
         The coders for a codec are listed in a fall back order.\n"),
    row("enablePolicy", Verb::EnablePolicy, "-policy <policy>", &["policy="],
        "Enable the erasure coding policy.\n\n\
         <policy>  The name of the erasure coding policy \n"),
    row("disablePolicy", Verb::DisablePolicy, "-policy <policy>", &["policy="],
        "Disable the erasure coding policy.\n\n\
         <policy>  The name of the erasure coding policy \n"),
    row("verifyClusterSetup", Verb::VerifyClusterSetup, "[-policy <policy>...<policy>]", &["policy"],
        "Verify if the cluster setup can support all enabled erasure coding policies. If optional parameter -policy is \
         specified, verify if the cluster setup can support the given policy.\n"),
    row("help", Verb::Help, "<command-name>", &[],
        "Get detailed help about a command.\n\n\
         <command-name>  The command for which to get detailed help. If no command is   \n                \
                         specified, print detailed help for all commands                \n"),
];

/// How the command is used (`AdminHelper.printUsage`).
pub fn usage() -> String {
    let mut text = "Usage: bin/hdfs ec [COMMAND]\n".to_owned();
    for row in ROWS {
        text.push_str(&format!("          [{}]\n", row.synopsis()));
    }
    text
}

/// `AdminHelper.Command.getLongUsage`
fn long_usage(row: &Row<Verb>) -> String {
    format!("[{}]\n\n{}", row.synopsis(), row.help)
}

/// What a command says, and how it ends.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    out: String,
    err: String,
    status: u8,
}

impl Said {
    fn out(out: String) -> Said {
        Said { out, ..Said::default() }
    }

    fn err(err: impl Into<String>, status: u8) -> Said {
        let mut err = err.into();
        err.push('\n');
        Said {
            err,
            status,
            ..Said::default()
        }
    }
}

/// The row of a command, by its name with the dash (`AdminHelper.determineCommand`).
fn find(command: &str) -> Option<&'static Row<Verb>> {
    let name = command.strip_prefix('-')?;
    ROWS.iter().find(|row| row.name == name)
}

fn help(words: &[String]) -> Said {
    let commands = || ROWS.iter().filter(|row| row.verb != Verb::Help);
    match words {
        [] => {
            let all: Vec<_> = commands().map(long_usage).collect();
            Said::err(all.join("\n"), MISUSED)
        }
        [word] => match find(&format!("-{word}")) {
            Some(row) => Said {
                err: long_usage(row),
                ..Said::default()
            },
            None => {
                let names: Vec<_> = commands().map(|row| row.name).collect();
                let text = format!(
                    "Unknown command '{word}'.\nValid help command names are:\n{}",
                    names.join(", ")
                );
                Said::err(text, MISUSED)
            }
        },
        _ => Said::err("You must give exactly one argument to -help.", MISUSED),
    }
}

/// A command line that can be carried out.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    ListPolicies,
    AddPolicies(String),
    GetPolicy(String),
    RemovePolicy(String),
    SetPolicy { path: String, policy: Option<String> },
    UnsetPolicy(String),
    ListCodecs,
    EnablePolicy(String),
    DisablePolicy(String),
    VerifyClusterSetup(Vec<String>),
}

/// What a command line asks for, or what is said at once.
fn understand(words: Vec<String>) -> Result<Asked, Said> {
    let mut words = words.into_iter();
    let usage = || format!("{}{GENERIC_OPTIONS}", usage());
    let Some(command) = words.next() else {
        return Err(Said::err(usage(), MISUSED));
    };
    let Some(row) = find(&command) else {
        let dashes = match command.starts_with('-') {
            true => "",
            false => "Command names must start with dashes.\n",
        };
        let text = format!("Can't understand command '{command}'\n{dashes}{}", usage());
        return Err(Said::err(text, MISUSED));
    };
    let words: Vec<String> = words.collect();
    if row.verb == Verb::Help {
        return Err(help(&words));
    }
    let args = row.parse(words);
    let mut args = args.map_err(|misuse| Said::err(format!("IllegalArgumentException: {}", misuse.0), ILLEGAL))?;
    let needed = match row.verb {
        Verb::AddPolicies => Some(("policyFile", "Please specify the path with -policyFile.")),
        Verb::GetPolicy => Some(("path", "Please specify the path with -path.")),
        Verb::SetPolicy => Some(("path", "Please specify the path for setting the EC policy.")),
        Verb::UnsetPolicy => Some(("path", "Please specify a path.")),
        Verb::RemovePolicy | Verb::EnablePolicy | Verb::DisablePolicy => {
            Some(("policy", "Please specify the policy name."))
        }
        Verb::ListPolicies | Verb::ListCodecs | Verb::VerifyClusterSetup | Verb::Help => None,
    };
    let mut value = String::new();
    if let Some((flag, problem)) = needed {
        let given = args.flags.value(flag).map(str::to_owned);
        value = given.ok_or_else(|| Said::err(format!("{problem}\nUsage: {}", long_usage(row)), MISUSED))?;
    }
    if row.verb == Verb::VerifyClusterSetup && args.flags.has("policy") {
        return match args.words.first() {
            None => Err(Said::err(
                "NotEnoughArgumentsException: Not enough arguments: expected 1 but got 0",
                ILLEGAL,
            )),
            Some(_) => Ok(Asked::VerifyClusterSetup(std::mem::take(&mut args.words))),
        };
    }
    if !args.words.is_empty() {
        return Err(Said::err(format!("{command}: Too many arguments"), MISUSED));
    }
    Ok(match row.verb {
        Verb::ListPolicies => Asked::ListPolicies,
        Verb::AddPolicies => Asked::AddPolicies(value),
        Verb::GetPolicy => Asked::GetPolicy(value),
        Verb::RemovePolicy => Asked::RemovePolicy(value),
        Verb::SetPolicy => {
            let mut policy = args.flags.value("policy").map(str::to_owned);
            if args.flags.has("replicate") {
                if policy.is_some() {
                    let text = format!("{command}: -replicate and -policy cannot been used at the same time");
                    return Err(Said::err(text, FAILED));
                }
                policy = Some(REPLICATION.to_owned());
            }
            Asked::SetPolicy { path: value, policy }
        }
        Verb::UnsetPolicy => Asked::UnsetPolicy(value),
        Verb::ListCodecs => Asked::ListCodecs,
        Verb::EnablePolicy => Asked::EnablePolicy(value),
        Verb::DisablePolicy => Asked::DisablePolicy(value),
        Verb::VerifyClusterSetup | Verb::Help => Asked::VerifyClusterSetup(Vec::new()),
    })
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    say_what_is_waited_for();
    let mut invocation = Invocation::of(args)?;
    let said = match understand(invocation.words()?) {
        Ok(asked) => carry_out(&invocation, &asked)?,
        Err(said) => said,
    };
    print!("{}", said.out);
    eprint!("{}", said.err);
    Ok(ExitCode::from(said.status))
}

fn carry_out(invocation: &Invocation, asked: &Asked) -> Result<Said> {
    let conf = invocation.load()?;
    let policies = match asked {
        Asked::AddPolicies(file) => match policy_file::load(Path::new(file)) {
            Ok(policies) if policies.is_empty() => {
                return Ok(Said::out(format!("No EC policy parsed out from {file}\n")));
            }
            Ok(policies) => policies,
            Err(Problem::Illegal(why)) => {
                return Ok(Said::err(format!("IllegalArgumentException: {why}"), ILLEGAL));
            }
            Err(Problem::Bad(why)) => {
                return Ok(Said::err(
                    format!("Exception in thread \"main\" java.lang.RuntimeException: {why}"),
                    MISUSED,
                ));
            }
        },
        _ => Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = String::new();
    let done = runtime.block_on(async {
        let fs = FileSystem::new(&conf, "", &super::user_name())?;
        serve(&fs, asked, policies, &mut out).await
    });
    let said = done.unwrap_or_else(|error| {
        let error = anyhow::Error::from(error);
        let remote = error.downcast_ref::<ClientError>().and_then(ClientError::remote);
        let text = remote.map_or_else(|| explained(&conf, &error), prettified);
        failed(asked, remote, text.lines().next().unwrap_or_default())
    });
    // What was said before a failure stays said.
    Ok(Said {
        out: format!("{out}{}", said.out),
        ..said
    })
}

/// How a command ends whose call failed.
fn failed(asked: &Asked, remote: Option<&RemoteException>, text: &str) -> Said {
    match (asked, remote) {
        (Asked::SetPolicy { .. }, _) => Said::err(text, NOT_SET),
        (Asked::UnsetPolicy(_), Some(refused)) if refused.is(exceptions::NO_EC_POLICY_SET) => Said::err(
            format!(
                "{text}\nUse '-setPolicy -path <PATH> -replicate' to enforce default replication policy irrespective of \
                 EC policy defined on parent."
            ),
            FAILED,
        ),
        (Asked::VerifyClusterSetup(_), Some(refused)) if refused.is(exceptions::HADOOP_ILLEGAL_ARGUMENT) => Said::err(
            format!(
                "HadoopIllegalArgumentException: {}",
                refused.message.lines().next().unwrap_or_default()
            ),
            ILLEGAL,
        ),
        (Asked::VerifyClusterSetup(_), _) => Said::err(text, MISUSED),
        _ => Said::err(text, FAILED),
    }
}

/// The class and the first line of an exception (`AdminHelper.prettifyException`). The client unwraps some classes.
fn prettified(exception: &RemoteException) -> String {
    let class = exception.class_name().rsplit(['.', '$']).next().unwrap_or_default();
    let unwrapped = [
        exceptions::ACCESS_CONTROL,
        exceptions::FILE_NOT_FOUND,
        exceptions::SAFE_MODE,
        exceptions::NO_EC_POLICY_SET,
    ];
    let class = match unwrapped.iter().any(|known| exception.is(*known)) {
        true => class,
        false => "RemoteException",
    };
    format!("{class}: {}", exception.message)
}

async fn ask<R: Message + Default>(fs: &FileSystem, method: &str, request: &impl Message) -> Result<R, ClientError> {
    let idempotence = match method.starts_with("get") {
        true => Idempotence::Idempotent,
        false => Idempotence::AtMostOnce,
    };
    fs.call(method, request, idempotence).await
}

async fn topology(fs: &FileSystem, policies: Vec<String>) -> Result<EcTopologyVerifierResultProto, ClientError> {
    let request = GetEcTopologyResultForPoliciesRequestProto { policies };
    let answer: GetEcTopologyResultForPoliciesResponseProto =
        ask(fs, "getECTopologyResultForPolicies", &request).await?;
    Ok(answer.response)
}

/// Whether a directory has children.
async fn has_children(fs: &FileSystem, path: &str) -> Result<bool, ClientError> {
    let page = fs.list_page(path, &[]).await?;
    Ok(page.is_some_and(|page| !page.partial_listing.is_empty()))
}

/// Carries a command out. What is said before a later call fails goes to `out`.
async fn serve(
    fs: &FileSystem,
    asked: &Asked,
    policies: Vec<ErasureCodingPolicyProto>,
    out: &mut String,
) -> Result<Said, ClientError> {
    match asked {
        Asked::ListPolicies => {
            let request = GetErasureCodingPoliciesRequestProto {};
            let answer: GetErasureCodingPoliciesResponseProto = ask(fs, "getErasureCodingPolicies", &request).await?;
            let policies = answer.ec_policies.iter();
            let lines: String = policies
                .map(|policy| format!("{}, State={}\n", describe(policy), state_name(policy)))
                .collect();
            out.push_str(match lines.is_empty() {
                true => "There is no erasure coding policies in the cluster.\n",
                false => "Erasure Coding Policies:\n",
            });
            out.push_str(&lines);
        }
        Asked::AddPolicies(_) => {
            let request = AddErasureCodingPoliciesRequestProto { ec_policies: policies };
            let answer: AddErasureCodingPoliciesResponseProto = ask(fs, "addErasureCodingPolicies", &request).await?;
            for added in answer.responses {
                let policy = whole(&added.policy);
                out.push_str(&match added.succeed {
                    true => format!("Add ErasureCodingPolicy {} succeed.\n", policy.name()),
                    false => format!(
                        "Add ErasureCodingPolicy {} failed and error message is {}\n",
                        policy.name(),
                        added.error_msg()
                    ),
                });
            }
        }
        Asked::GetPolicy(path) => {
            let request = GetErasureCodingPolicyRequestProto { src: full_path(path) };
            let answer: GetErasureCodingPolicyResponseProto = ask(fs, "getErasureCodingPolicy", &request).await?;
            out.push_str(&match answer.ec_policy {
                Some(policy) => format!("{}\n", whole(&policy).name()),
                None => format!("The erasure coding policy of {path} is unspecified\n"),
            });
        }
        Asked::SetPolicy { path, policy } => {
            let request = SetErasureCodingPolicyRequestProto {
                src: full_path(path),
                ec_policy_name: policy.clone(),
            };
            let _: SetErasureCodingPolicyResponseProto = ask(fs, "setErasureCodingPolicy", &request).await?;
            let policy = policy.as_deref().unwrap_or("default");
            out.push_str(&format!("Set {policy} erasure coding policy on {path}\n"));
            if has_children(fs, &request.src).await? {
                out.push_str(&format!(
                    "Warning: setting erasure coding policy on a non-empty directory will not automatically convert \
                     existing files to {policy} erasure coding policy\n"
                ));
            }
        }
        Asked::UnsetPolicy(path) => {
            let request = UnsetErasureCodingPolicyRequestProto { src: full_path(path) };
            let _: UnsetErasureCodingPolicyResponseProto = ask(fs, "unsetErasureCodingPolicy", &request).await?;
            out.push_str(&format!("Unset erasure coding policy from {path}\n"));
            if has_children(fs, &request.src).await? {
                out.push_str(
                    "Warning: unsetting erasure coding policy on a non-empty directory will not automatically convert \
                     existing files to replicated data.\n",
                );
            }
        }
        Asked::ListCodecs => {
            let request = GetErasureCodingCodecsRequestProto {};
            let answer: GetErasureCodingCodecsResponseProto = ask(fs, "getErasureCodingCodecs", &request).await?;
            let codecs: BTreeMap<_, _> = answer
                .codec
                .into_iter()
                .map(|codec| (codec.codec, codec.coders))
                .collect();
            out.push_str(match codecs.is_empty() {
                true => "No erasure coding codecs are supported on the cluster.\n",
                false => "Erasure Coding Codecs: Codec [Coder List]\n",
            });
            for (codec, coders) in codecs {
                out.push_str(&format!("\t{} [{}]\n", codec.to_uppercase(), coders.to_uppercase()));
            }
        }
        Asked::VerifyClusterSetup(policies) => {
            let result = topology(fs, policies.clone()).await?;
            out.push_str(&result.result_message);
            out.push('\n');
            let status = if result.is_supported { 0 } else { FAILED };
            return Ok(Said {
                status,
                ..Said::default()
            });
        }
        Asked::RemovePolicy(name) | Asked::EnablePolicy(name) | Asked::DisablePolicy(name) => {
            return change_state(fs, asked, name, out).await;
        }
    }
    Ok(Said::default())
}

async fn change_state(fs: &FileSystem, asked: &Asked, name: &str, out: &mut String) -> Result<Said, ClientError> {
    let ec_policy_name = name.to_owned();
    match asked {
        Asked::EnablePolicy(_) => {
            let request = EnableErasureCodingPolicyRequestProto { ec_policy_name };
            let _: EnableErasureCodingPolicyResponseProto = ask(fs, "enableErasureCodingPolicy", &request).await?;
            out.push_str(&format!("Erasure coding policy {name} is enabled\n"));
            let result = topology(fs, vec![name.to_owned()]).await?;
            if !result.is_supported {
                let text = format!(
                    "Warning: The cluster setup does not support EC policy {name}. Reason: {}",
                    result.result_message
                );
                return Ok(Said::err(text, 0));
            }
        }
        Asked::DisablePolicy(_) => {
            let request = DisableErasureCodingPolicyRequestProto { ec_policy_name };
            let _: DisableErasureCodingPolicyResponseProto = ask(fs, "disableErasureCodingPolicy", &request).await?;
            out.push_str(&format!("Erasure coding policy {name} is disabled\n"));
        }
        _ => {
            let request = RemoveErasureCodingPolicyRequestProto { ec_policy_name };
            let _: RemoveErasureCodingPolicyResponseProto = ask(fs, "removeErasureCodingPolicy", &request).await?;
            // Java's tool forgets the space, and scripts look for its words.
            out.push_str(&format!("Erasure coding policy {name}is removed\n"));
        }
    }
    Ok(Said::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Result<Asked, (u8, String)> {
        let words = line.split_whitespace().map(str::to_owned).collect();
        understand(words).map_err(|said| (said.status, said.err.lines().next().unwrap_or_default().to_owned()))
    }

    #[test]
    fn wrong_arguments_have_the_words_and_status_of_hadoop() {
        for (line, status, words) in [
            ("", 1, "Usage: bin/hdfs ec [COMMAND]"),
            ("-usage", 1, "Can't understand command '-usage'"),
            ("listPolicies", 1, "Can't understand command 'listPolicies'"),
            ("-listPolicies /d", 1, "-listPolicies: Too many arguments"),
            ("-listCodecs /d", 1, "-listCodecs: Too many arguments"),
            ("-addPolicies /etc", 1, "Please specify the path with -policyFile."),
            ("-addPolicies -policyFile /a /b", 1, "-addPolicies: Too many arguments"),
            ("-getPolicy", 1, "Please specify the path with -path."),
            ("-getPolicy -path /a /b", 1, "-getPolicy: Too many arguments"),
            ("-setPolicy", 1, "Please specify the path for setting the EC policy."),
            (
                "-setPolicy -path",
                255,
                "IllegalArgumentException: option -path requires 1 argument.",
            ),
            ("-setPolicy -path /d -replica", 1, "-setPolicy: Too many arguments"),
            (
                "-setPolicy -path /d -policy p -replicate",
                2,
                "-setPolicy: -replicate and -policy cannot been used at the same time",
            ),
            ("-unsetPolicy", 1, "Please specify a path."),
            ("-enablePolicy p", 1, "Please specify the policy name."),
            ("-disablePolicy -policy p q", 1, "-disablePolicy: Too many arguments"),
            ("-removePolicy", 1, "Please specify the policy name."),
            ("-verifyClusterSetup p", 1, "-verifyClusterSetup: Too many arguments"),
            (
                "-verifyClusterSetup -policy",
                255,
                "NotEnoughArgumentsException: Not enough arguments: expected 1 but got 0",
            ),
            ("-help", 1, "[-listPolicies]"),
            ("-help a b", 1, "You must give exactly one argument to -help."),
            ("-help nonsense", 1, "Unknown command 'nonsense'."),
            (
                "-help setPolicy",
                0,
                "[-setPolicy -path <path> [-policy <policy>] [-replicate]]",
            ),
        ] {
            assert_eq!(said(line), Err((status, words.to_owned())), "{line}");
        }
    }

    #[test]
    fn options_stand_anywhere() {
        let set = |path: &str, policy: Option<&str>| {
            Ok(Asked::SetPolicy {
                path: path.to_owned(),
                policy: policy.map(str::to_owned),
            })
        };
        assert_eq!(said("-setPolicy -policy p -path /d"), set("/d", Some("p")));
        assert_eq!(said("-setPolicy -replicate -path /d"), set("/d", Some("replication")));
        assert_eq!(said("-setPolicy -path /d"), set("/d", None));
        let verify = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned());
            Ok(Asked::VerifyClusterSetup(names.collect()))
        };
        assert_eq!(said("-verifyClusterSetup"), verify(&[]));
        assert_eq!(said("-verifyClusterSetup -policy a b"), verify(&["a", "b"]));
    }
}

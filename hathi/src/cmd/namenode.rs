//! `hathi namenode [--conf DIR] [-format | -bootstrapStandby | ...]`, with Hadoop's own options.

use anyhow::{Context, Result, bail};
use hathi_conf::keys::Program;
use hathi_namenode::{FormatOptions, Settings, bootstrap, format, offline, recover, rolling_rollback, upgrade};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Help,
    Serve,
    Format,
    BootstrapStandby,
    InitializeSharedEdits,
    ImportCheckpoint,
    MetadataVersion,
    Recover,
    Upgrade,
    Rollback,
    RollBack,
}

const USAGE: &str = "usage: hathi namenode [--conf DIR]
    [-regular] |
    [-format [-clusterid CID] [-force] [-nonInteractive]] |
    [-bootstrapStandby [-force] [-nonInteractive] [-skipSharedEditsCheck]] |
    [-initializeSharedEdits [-force] [-nonInteractive]] |
    [-importCheckpoint] |
    [-recover [-force]] |
    [-upgrade] |
    [-rollback] |
    [-rollingUpgrade <rollback|started>] |
    [-metadataVersion] |
    [-h]
";

/// The options that are not the usual start, for completion.
pub const ACTIONS: &[&str] = &[
    "-format",
    "-bootstrapStandby",
    "-initializeSharedEdits",
    "-importCheckpoint",
    "-recover",
    "-upgrade",
    "-rollback",
    "-rollingUpgrade",
    "-metadataVersion",
];

/// How the command is used.
pub fn usage() -> String {
    USAGE.to_owned()
}

/// `RollingUpgradeStartupOption`. What Hadoop does at `started` for an image of an older layout, no layout needs here.
fn rolling_upgrade(option: Option<&OsStr>) -> Result<Action> {
    let option = option.context("Must specify a rolling upgrade startup option <rollback|started>")?;
    match option.to_string_lossy().to_ascii_lowercase().as_str() {
        "started" => Ok(Action::Serve),
        "rollback" => Ok(Action::RollBack),
        "downgrade" => bail!(
            "The \"downgrade\" option is no longer supported since it may incorrectly finalize an ongoing rolling upgrade."
        ),
        other => bail!("Failed to convert \"{other}\" to RollingUpgradeStartupOption"),
    }
}

fn parse(args: Vec<OsString>) -> Result<(Option<PathBuf>, Action, FormatOptions)> {
    let (mut dir, mut action, mut options) = (None, Action::Serve, FormatOptions::default());
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        match text.to_ascii_lowercase().as_str() {
            "--conf" | "--config" => dir = Some(args.next().context("--conf needs a directory")?.into()),
            "-format" => action = Action::Format,
            "-bootstrapstandby" => action = Action::BootstrapStandby,
            "-initializesharededits" => action = Action::InitializeSharedEdits,
            "-importcheckpoint" => action = Action::ImportCheckpoint,
            "-metadataversion" => action = Action::MetadataVersion,
            "-upgrade" => action = Action::Upgrade,
            "-rollback" => action = Action::Rollback,
            "-recover" if action != Action::Serve => bail!("Can't combine -recover with other startup options."),
            "-recover" => action = Action::Recover,
            // A directory of the layouts that are upgraded has its cluster's id.
            "-clusterid" if action == Action::Upgrade => drop(args.next()),
            "-rollingupgrade" => action = rolling_upgrade(args.next().as_deref())?,
            "-clusterid" if action == Action::Format => {
                let id = args.next().map(|id| id.to_string_lossy().into_owned());
                let is_flag = |id: &str| ["-force", "-noninteractive"].contains(&id.to_ascii_lowercase().as_str());
                let id = id.filter(|id| !id.is_empty() && !is_flag(id));
                options.cluster_id = Some(id.context("Must specify a valid cluster ID after the -clusterid flag")?);
            }
            "-force" if action != Action::Serve => options.force = true,
            _ if action == Action::Recover => {
                bail!("Error parsing recovery options: can't understand option \"{text}\"")
            }
            "-noninteractive" if action != Action::Serve => options.non_interactive = true,
            "-skipsharededitscheck" if action == Action::BootstrapStandby => options.skip_shared_edits_check = true,
            "-regular" => {}
            "-h" | "-help" | "--help" => return Ok((dir, Action::Help, options)),
            _ => bail!("unknown option {text}\n{USAGE}"),
        }
    }
    Ok((dir, action, options))
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    super::log_to_stderr();
    let (dir, action, options) = parse(args)?;
    if action == Action::Help {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let dir = dir
        .or_else(|| std::env::var_os("HADOOP_CONF_DIR").map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from("/etc/hadoop/conf"));
    let serves = matches!(
        action,
        Action::Serve | Action::ImportCheckpoint | Action::Upgrade | Action::RollBack
    );
    if serves {
        super::without_huge_pages();
    }
    let settings = Settings::load(&dir)?;
    super::obey(&settings.conf, Program::NameNode)?;
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let code = match action {
        Action::Help | Action::Serve => 0,
        Action::ImportCheckpoint => {
            offline::import_checkpoint(&settings)?;
            0
        }
        Action::Upgrade => {
            upgrade::upgrade(&settings)?;
            0
        }
        Action::Rollback => upgrade::rollback(&settings)?,
        Action::RollBack => {
            runtime()?.block_on(rolling_rollback::roll_back(&settings))?;
            0
        }
        Action::Format => runtime()?.block_on(format::format(&settings, &options))?,
        Action::BootstrapStandby => runtime()?.block_on(bootstrap::bootstrap_standby(&settings, &options))?,
        Action::InitializeSharedEdits => runtime()?.block_on(format::initialize_shared_edits(&settings, &options))?,
        Action::MetadataVersion => offline::metadata_version(&settings)?,
        Action::Recover => recover::recover(&settings, &options)?,
    };
    if serves {
        super::huge_pages_when_large();
        hathi_namenode::run::serve(settings, hathi_namenode_http::start)?;
    }
    Ok(ExitCode::from(code))
}

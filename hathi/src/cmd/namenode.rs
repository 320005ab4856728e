//! `hathi namenode --conf DIR [-format | -bootstrapStandby | -initializeSharedEdits] ...`, with Hadoop's own options.

use anyhow::{Context, Result, bail};
use hathi_formats::conf::keys::Program;
use hathi_namenode::{FormatOptions, Settings};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

enum Action {
    Serve,
    Format,
    BootstrapStandby,
    InitializeSharedEdits,
}

/// Runs it.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    super::log_to_stderr();
    let mut dir = std::env::var_os("HADOOP_CONF_DIR").map_or_else(|| PathBuf::from("/etc/hadoop/conf"), PathBuf::from);
    let mut action = Action::Serve;
    let mut options = FormatOptions::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        match text.to_ascii_lowercase().as_str() {
            "--conf" | "--config" => dir = args.next().context("--conf needs a directory")?.into(),
            "-format" => action = Action::Format,
            "-bootstrapstandby" => action = Action::BootstrapStandby,
            "-initializesharededits" => action = Action::InitializeSharedEdits,
            "-clusterid" => {
                let id = args.next().context("-clusterid needs an id")?;
                options.cluster_id = Some(id.to_string_lossy().into_owned());
            }
            "-force" => options.force = true,
            "-noninteractive" => options.non_interactive = true,
            "-skipsharededitscheck" => options.skip_shared_edits_check = true,
            "-regular" => {}
            _ => bail!("unknown option {text}"),
        }
    }
    if matches!(action, Action::Serve) {
        super::without_huge_pages();
    }
    let settings = Settings::load(&dir)?;
    super::obey(&settings.conf, Program::NameNode)?;
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let code = match action {
        Action::Serve => {
            super::huge_pages_when_large();
            hathi_namenode::run::serve(settings)?;
            0
        }
        Action::Format => runtime()?.block_on(hathi_namenode::format::format(&settings, &options))?,
        Action::BootstrapStandby => {
            runtime()?.block_on(hathi_namenode::format::bootstrap_standby(&settings, &options))?
        }
        Action::InitializeSharedEdits => {
            runtime()?.block_on(hathi_namenode::format::initialize_shared_edits(&settings, &options))?
        }
    };
    Ok(ExitCode::from(code))
}

//! `-format` and `-initializeSharedEdits`, with Hadoop's questions and exit codes.
//!
//! Both leave a complete state whenever they end. `-format` makes new name directories beside the old ones, formats the
//! shared edits for the new namespace, and only then moves the new directories to their places. A second run finds the
//! state that the first one has left, continues with that namespace, and does not repeat answered questions. While
//! `-initializeSharedEdits` has not finished, no NameNode starts, so none writes to the shared edits.

use crate::load::save_checkpoint;
use crate::settings::{Settings, resolve};
use crate::shared_edits::{Contents, LocalSegments, SharedEdits, storage_directory};
use crate::storage::{self, Birth, NameDirs, NewNameDirs};
use crate::unpublished::Unpublished;
use anyhow::{Context, bail};
use hathi_formats::ids::{LayoutVersion, NamespaceInfo, TxId};
use hathi_namespace::Namespace;
use std::io::BufRead;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{SystemTime, UNIX_EPOCH};

/// Options of the command line.
#[derive(Clone, Debug, Default)]
pub struct FormatOptions {
    /// `-clusterid`.
    pub cluster_id: Option<String>,
    /// `-force`.
    pub force: bool,
    /// `-nonInteractive`.
    pub non_interactive: bool,
    /// `-skipSharedEditsCheck`.
    pub skip_shared_edits_check: bool,
}

/// Exit code of a command that the administrator has stopped.
pub(crate) const ABORTED: u8 = 1;

/// Prints a line on the administrator's terminal. A failing stderr is no reason to stop half-way.
macro_rules! tell {
    ($($arg:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!($($arg)*));
    }};
}
pub(crate) use tell;

/// `ToolRunner.confirmPrompt`: asks until the answer is yes or no. The end of the input counts as no.
pub(crate) fn confirm_prompt(question: &str) -> bool {
    loop {
        tell!("{question} (Y or N) ");
        let mut line = String::new();
        if !std::io::stdin().lock().read_line(&mut line).is_ok_and(|read| read > 0) {
            return false;
        }
        let answer = line.trim_end_matches(['\n', '\r']);
        match answer.to_ascii_lowercase().as_str() {
            "y" | "yes" => return true,
            "n" | "no" => return false,
            _ => tell!("Invalid input: {answer}\n"),
        }
    }
}

/// `Storage.confirmFormat` of a directory that holds data.
pub(crate) fn confirm(options: &FormatOptions, what: &str) -> bool {
    if options.force {
        tell!("Data exists in {what}. Formatting anyway.\n");
        return true;
    }
    if options.non_interactive {
        tell!("Running in non-interactive mode, and data appears to exist in {what}. Not formatting.\n");
        return false;
    }
    let confirmed = confirm_prompt(&format!("Re-format filesystem in {what} ?"));
    if !confirmed {
        tell!("Format aborted in {what}\n");
    }
    confirmed
}

/// `NameNode.checkAllowFormat`
pub(crate) fn check_allow_format(settings: &Settings) -> anyhow::Result<()> {
    let key = "dfs.namenode.support.allow.format";
    if !settings.conf.get_bool(key, true) {
        bail!(
            "The option {key} is set to false for this filesystem, so it cannot be formatted. You will need to set {key} \
             parameter to true in order to format this filesystem"
        );
    }
    Ok(())
}

/// `-format`.
pub async fn format(settings: &Settings, options: &FormatOptions) -> anyhow::Result<u8> {
    check_allow_format(settings)?;
    let holding = storage::has_some_data(settings)?;
    if settings.conf.get_bool("dfs.reformat.disabled", false) && !holding.is_empty() {
        bail!("NameNode format aborted as reformat is disabled for this cluster.");
    }
    if !holding.iter().all(|dir| confirm(options, &storage_directory(dir))) {
        return Ok(ABORTED);
    }
    // Left by a format that ended before its directories had reached their places.
    let left = NewNameDirs::finished(settings)?;
    let left = left.filter(|left| {
        let cluster_id = options.cluster_id.as_ref();
        cluster_id.is_none_or(|cluster_id| *cluster_id == left.made().info.cluster_id)
    });
    let shared = SharedEdits::of(settings);
    let contents = match &shared {
        Some(shared) => shared.contents(left.as_ref().map(|left| &left.made().info)).await?,
        None => Contents::None,
    };
    let data_may_go = match (&contents, &shared) {
        (Contents::Other, Some(shared)) if !confirm(options, &shared.to_string()) => return Ok(ABORTED),
        (Contents::Other, _) => true,
        (Contents::None | Contents::Expected, _) => false,
    };
    let new = match left {
        Some(left) if contents != Contents::Other => {
            tracing::info!(
                cluster = left.made().info.cluster_id,
                "going on with a format that did not end"
            );
            left
        }
        left => {
            // It holds the locks.
            drop(left);
            let info = new_namespace(settings, options.cluster_id.clone());
            tracing::info!("Formatting using clusterid: {}", info.cluster_id);
            let new = NewNameDirs::begin(settings, &info)?;
            save_empty(settings, &new)?;
            new.finish(Birth::Format)?;
            new
        }
    };
    let info = new.made().info.clone();
    if let Some(shared) = &shared {
        shared.format(&info, data_may_go).await?;
    }
    new.place()?;
    tracing::info!(cluster = info.cluster_id, pool = info.block_pool_id, "formatted");
    Ok(0)
}

/// Saves the image of a namespace in which nothing has happened.
fn save_empty(settings: &Settings, new: &NewNameDirs) -> anyhow::Result<()> {
    let dirs = new.made();
    let mut namespace = Namespace::new(settings.namespace()?);
    namespace.set_namespace_id(dirs.info.namespace_id);
    let unpublished = Unpublished::of(dirs.images_dirs(), TxId(0));
    let md5 = save_checkpoint(&namespace.freeze(), unpublished.paths(), &|| false)?;
    dirs.publish_image(&unpublished, &md5)
}

/// The address in the name of a block pool. It has four numbers, as that of Hadoop, which calls `InetAddress.getLocalHost`
/// in a JVM that prefers IPv4. DataNodes name a directory after the pool, and Hadoop's find it in the path of a replica
/// by this form only (`BlockPoolSliceStorage.BLOCK_POOL_PATH_PATTERN`). What makes the name unique is the random number.
fn address_in_name(of_this_machine: Option<IpAddr>) -> Ipv4Addr {
    match of_this_machine.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => address,
        Some(IpAddr::V6(_)) | None => Ipv4Addr::LOCALHOST,
    }
}

fn new_namespace(settings: &Settings, cluster_id: Option<String>) -> NamespaceInfo {
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    let address = address_in_name(resolve(&settings.rpc).ok().map(|address| address.ip()));
    NamespaceInfo {
        layout_version: LayoutVersion::NAMENODE_CURRENT,
        // Positive, as in `NNStorage.newNamespaceID`.
        namespace_id: fastrand::u32(1..0x7fff_ffff),
        cluster_id: cluster_id
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| format!("CID-{}", uuid::Uuid::new_v4())),
        ctime: 0,
        block_pool_id: format!("BP-{}-{address}-{now_ms}", fastrand::u32(1..0x7fff_ffff)),
    }
}

/// `-initializeSharedEdits`: formats the shared edits for this namespace, and copies the local edits behind the newest
/// image.
pub async fn initialize_shared_edits(settings: &Settings, options: &FormatOptions) -> anyhow::Result<u8> {
    let shared = SharedEdits::of(settings).with_context(|| {
        format!(
            "No shared edits directory configured for namespace {} namenode {}",
            settings.nameservice_id, settings.namenode_id
        )
    })?;
    let dirs = NameDirs::open(settings)?;
    let name = shared.to_string();
    let goes_on = dirs.filling().as_ref() == Some(&name);
    let has_data = shared.has_some_data().await?;
    if has_data && !goes_on && !confirm(options, &name) {
        return Ok(ABORTED);
    }
    let newest = dirs
        .images()
        .first()
        .map(|image| image.txid)
        .context("no fsimage in the name directories")?;
    // Read before anything is formatted, because unreadable edits must not look like none.
    let edits = LocalSegments::after(dirs.edits_dirs(), newest)?;
    dirs.set_filling(Some(&name))?;
    shared.format(&dirs.info, has_data).await?;
    dirs.forget_membership()?;
    let last = shared.copy(&dirs.info, &edits).await?;
    dirs.set_filling(None)?;
    let last = last.unwrap_or(newest);
    tracing::info!(image = %newest, %last, to = %shared, "the shared edits are initialized");
    Ok(0)
}

//! `-format`, `-bootstrapStandby` and `-initializeSharedEdits`, with Hadoop's exit codes.

use crate::checkpoint::Unpublished;
use crate::image_upload::check_image;
use crate::load::save_checkpoint;
use crate::settings::{Peer, Settings, resolve};
use crate::shared_edits::{LocalSegments, SharedEdits};
use crate::storage::{self, NameDirs};
use anyhow::{Context, bail};
use hathi_formats::exceptions;
use hathi_formats::ids::{LayoutVersion, NamespaceInfo, TxId};
use hathi_formats::proto::hdfs::{VersionRequestProto, VersionResponseProto};
use hathi_formats::proto::namenode::{
    GetMostRecentCheckpointTxIdRequestProto, GetMostRecentCheckpointTxIdResponseProto, GetTransactionIdRequestProto,
    GetTransactionIdResponseProto,
};
use hathi_namespace::Namespace;
use hathi_net::ipc::{ClientOptions, connect_to, protocols};
use std::io::{BufRead, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What was asked for on the command line.
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

/// `BootstrapStandby.ERR_CODE_FAILED_CONNECT`.
const BOOTSTRAP_FAILED_CONNECT: u8 = 2;
/// `BootstrapStandby.ERR_CODE_INVALID_VERSION`.
const BOOTSTRAP_INVALID_VERSION: u8 = 3;
/// `BootstrapStandby.ERR_CODE_ALREADY_FORMATTED`.
const BOOTSTRAP_ALREADY_FORMATTED: u8 = 5;
/// `BootstrapStandby.ERR_CODE_LOGS_UNAVAILABLE`.
const BOOTSTRAP_LOGS_UNAVAILABLE: u8 = 6;

/// How long a peer that is just starting is waited for, and how often it is asked.
const PEER_START_TIMEOUT: Duration = Duration::from_secs(60);
const PEER_START_PAUSE: Duration = Duration::from_millis(100);

/// To the administrator's terminal; a stderr that takes nothing more is no reason to stop half-way.
macro_rules! tell {
    ($($arg:tt)*) => {{
        let _ = write!(std::io::stderr(), $($arg)*);
    }};
}

fn confirm(options: &FormatOptions, what: &str) -> bool {
    if options.force {
        return true;
    }
    if options.non_interactive {
        tell!("Running in non-interactive mode, and data appears to exist in {what}. Not formatting.\n");
        return false;
    }
    tell!("Re-format filesystem in {what} ? (Y or N) ");
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line).is_err() {
        return false;
    }
    line.trim().eq_ignore_ascii_case("y")
}

/// `-format`.
pub async fn format(settings: &Settings, options: &FormatOptions) -> anyhow::Result<u8> {
    if settings.conf.get_bool("dfs.reformat.disabled", false) && !storage::has_some_data(settings).is_empty() {
        bail!("storage directory already contains data and dfs.reformat.disabled is set");
    }
    if !settings.conf.get_bool("dfs.namenode.support.allow.format", true) {
        bail!("the option dfs.namenode.support.allow.format is set to false");
    }
    for dir in storage::has_some_data(settings) {
        if !confirm(options, &format!("Storage Directory root= {}", dir.display())) {
            return Ok(1);
        }
    }
    let shared = SharedEdits::of(settings);
    if let Some(shared) = &shared
        && shared.has_some_data().await?
        && !confirm(options, &shared.to_string())
    {
        return Ok(1);
    }
    let info = new_namespace(settings, options.cluster_id.clone());
    storage::format(settings, &info)?;
    if let Some(shared) = &shared {
        // The answers above said that data may go.
        shared.format(&info).await?;
    }
    let dirs = NameDirs::open(settings)?;
    let mut namespace = Namespace::new(settings.namespace()?);
    namespace.set_namespace_id(info.namespace_id);
    let unpublished = Unpublished::of(&dirs, TxId(0));
    let md5 = save_checkpoint(&namespace.freeze(), unpublished.paths(), &|| false)?;
    dirs.publish_image(&unpublished, &md5)?;
    if let Some((dir, reason)) = dirs.failed().pop_first() {
        bail!("{} is not formatted: {reason}", dir.display());
    }
    tracing::info!(cluster = info.cluster_id, pool = info.block_pool_id, "formatted");
    Ok(0)
}

fn new_namespace(settings: &Settings, cluster_id: Option<String>) -> NamespaceInfo {
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    let address = resolve(&settings.rpc).map_or_else(|_| "127.0.0.1".to_owned(), |address| address.ip().to_string());
    NamespaceInfo {
        layout_version: LayoutVersion::NAMENODE_CURRENT,
        // Positive and not zero, as in `NNStorage.newNamespaceID`.
        namespace_id: fastrand::u32(1..0x7fff_ffff),
        cluster_id: cluster_id
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| format!("CID-{}", uuid::Uuid::new_v4())),
        ctime: 0,
        block_pool_id: format!("BP-{}-{address}-{now_ms}", fastrand::u32(1..0x7fff_ffff)),
    }
}

/// `-bootstrapStandby`.
pub async fn bootstrap_standby(settings: &Settings, options: &FormatOptions) -> anyhow::Result<u8> {
    if settings.peers.is_empty() {
        bail!("HA is not enabled for this namenode.");
    }
    let mut found = None;
    for peer in &settings.peers {
        match ask_peer(settings, peer).await {
            Ok(answer) => {
                found = Some((peer, answer));
                break;
            }
            Err(error) => tell!(
                "Unable to fetch namespace information from NN {}: {error:#}\n",
                peer.rpc
            ),
        }
    }
    let Some((peer, (info, checkpoint, current))) = found else {
        return Ok(BOOTSTRAP_FAILED_CONNECT);
    };
    if info.layout_version != LayoutVersion::NAMENODE_CURRENT {
        tell!(
            "Layout version on remote node ({}) does not match this node's layout version ({})\n",
            info.layout_version,
            LayoutVersion::NAMENODE_CURRENT
        );
        return Ok(BOOTSTRAP_INVALID_VERSION);
    }
    for dir in storage::has_some_data(settings) {
        if !confirm(options, &format!("Storage Directory root= {}", dir.display())) {
            return Ok(BOOTSTRAP_ALREADY_FORMATTED);
        }
    }
    if !options.skip_shared_edits_check
        && let Some(shared) = SharedEdits::of(settings)
        && let Err(error) = shared.check_available(&info, checkpoint.next(), current).await
    {
        tell!(
            "FATAL: Unable to read transaction ids {}-{current} from the configured shared edits storage {shared}. \
             Please copy these logs into the shared edits storage or call saveNamespace on the active node.\n\
             Error: {error:#}\n",
            checkpoint.next()
        );
        return Ok(BOOTSTRAP_LOGS_UNAVAILABLE);
    }
    storage::format(settings, &info)?;
    let dirs = NameDirs::open(settings)?;
    download_image(settings.namespace()?, peer, &dirs, checkpoint, settings.image_timeout).await?;
    tracing::info!(%checkpoint, from = %peer.rpc, "bootstrapped");
    Ok(0)
}

/// Its namespace, the transaction of its newest image, and its last transaction.
pub(crate) async fn ask_peer(settings: &Settings, peer: &Peer) -> anyhow::Result<(NamespaceInfo, TxId, TxId)> {
    let mut options = ClientOptions::new(&settings.user);
    options.connect_timeout = Duration::from_secs(10);
    let client = connect_to(&peer.rpc.to_string(), &protocols::NAMENODE_PROTOCOL, &options).await?;
    let started = std::time::Instant::now();
    let version: VersionResponseProto = loop {
        match client.call("versionRequest", &VersionRequestProto {}).await {
            // It has just been started and still loads its namespace.
            Err(error) if error.is_remote(exceptions::RETRIABLE) && started.elapsed() < PEER_START_TIMEOUT => {
                tokio::time::sleep(PEER_START_PAUSE).await;
            }
            answer => break answer?,
        }
    };
    let checkpoint: GetMostRecentCheckpointTxIdResponseProto = client
        .call(
            "getMostRecentCheckpointTxId",
            &GetMostRecentCheckpointTxIdRequestProto {},
        )
        .await?;
    let current: GetTransactionIdResponseProto = client
        .call("getTransactionId", &GetTransactionIdRequestProto {})
        .await?;
    let proto = version.info;
    let info = NamespaceInfo {
        layout_version: LayoutVersion(proto.storage_info.layout_version.cast_signed()),
        namespace_id: proto.storage_info.namespce_id,
        cluster_id: proto.storage_info.cluster_id,
        ctime: proto.storage_info.c_time.cast_signed(),
        block_pool_id: proto.block_pool_id,
    };
    Ok((info, TxId(checkpoint.tx_id), TxId(current.tx_id)))
}

pub(crate) async fn download_image(
    config: hathi_namespace::Config,
    peer: &Peer,
    dirs: &NameDirs,
    txid: TxId,
    patience: Duration,
) -> anyhow::Result<()> {
    let url = format!(
        "http://{}/imagetransfer?getimage=1&txid={txid}&imageFile=IMAGE&storageInfo={}&bootstrapstandby=true",
        peer.http,
        dirs.info.to_colon_separated()
    );
    let response = hathi_net::http::get(&url, patience).await?;
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let len: u64 = header("content-length")
        .and_then(|len| len.parse().ok())
        .context("the answer has no Content-Length")?;
    let advertised = header("x-md5-digest").and_then(|digest| storage::parse_md5(&digest));
    let unpublished = Unpublished::of(dirs, txid);
    let paths = unpublished.paths();
    let mut files = paths.iter().map(std::fs::File::create).collect::<Result<Vec<_>, _>>()?;
    let mut body = response.into_body();
    let mut received = 0;
    while let Some(data) = hathi_net::http::next_piece(&url, &mut body, patience).await? {
        received += data.len() as u64;
        if received > len {
            bail!("{} sends more than the {len} bytes it announced", peer.http);
        }
        for file in &mut files {
            file.write_all(&data)?;
        }
    }
    if received != len {
        bail!("got {received} bytes of an image of {len}");
    }
    for file in files {
        file.sync_all()?;
    }
    let first = paths.first().context("no name directory")?;
    let md5 = crate::load::digest_of(first)?;
    if advertised.is_none_or(|advertised| advertised != md5) {
        bail!("the image is not what {} announced", peer.http);
    }
    let (path, info) = (first.clone(), dirs.info.clone());
    tokio::task::spawn_blocking(move || check_image(config, &path, &info, txid))
        .await?
        .with_context(|| format!("the image of {} is not taken", peer.http))?;
    dirs.publish_image(&unpublished, &md5)
}

/// `-initializeSharedEdits`: makes the shared edits this namespace's, and copies the local edits after the newest image.
pub async fn initialize_shared_edits(settings: &Settings, options: &FormatOptions) -> anyhow::Result<u8> {
    let shared = SharedEdits::of(settings).context("No shared edits directory configured for namespace")?;
    let dirs = NameDirs::open(settings)?;
    if shared.has_some_data().await? && !confirm(options, &shared.to_string()) {
        return Ok(1);
    }
    let newest = dirs
        .images()
        .first()
        .map(|image| image.txid)
        .context("no fsimage in the name directories")?;
    // Before anything is formatted: edits that cannot be read must not look like none.
    let edits = LocalSegments::after(dirs.edits_dirs(), newest)?;
    shared.format(&dirs.info).await?;
    dirs.forget_membership()?;
    let last = shared.copy(&dirs.info, &edits).await?;
    tracing::info!(image = %newest, last = ?last, to = %shared, "the shared edits are initialized");
    Ok(0)
}

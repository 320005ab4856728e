//! `-bootstrapStandby`, with Hadoop's questions and exit codes: a NameNode gets its namespace from another one.

use crate::format::{FormatOptions, check_allow_format, confirm, tell};
use crate::image_upload::check_image;
use crate::load::log_given_up;
use crate::settings::{Peer, Settings};
use crate::shared_edits::{SharedEdits, storage_directory};
use crate::storage::{self, Birth, NameDirs, NewNameDirs};
use crate::unpublished::Unpublished;
use anyhow::{Context, bail};
use hathi_conf::HostPort;
use hathi_formats::exceptions;
use hathi_formats::ids::{LayoutVersion, NamespaceInfo, TxId};
use hathi_formats::proto::hdfs::{StorageInfoProto, VersionRequestProto, VersionResponseProto};
use hathi_formats::proto::namenode::{
    GetMostRecentCheckpointTxIdRequestProto, GetMostRecentCheckpointTxIdResponseProto,
    GetMostRecentNameNodeFileTxIdRequestProto, GetMostRecentNameNodeFileTxIdResponseProto,
    GetTransactionIdRequestProto, GetTransactionIdResponseProto, IsRollingUpgradeRequestProto,
    IsRollingUpgradeResponseProto,
};
use hathi_nameserver::image_files::ImageWriter;
use hathi_nameserver::name_dirs::rollback::ImageKind;
use hathi_net::ipc::{ClientOptions, connect_to, protocols};
use hathi_storage::OsDisk;
use std::io::Write;
use std::time::Duration;

/// `BootstrapStandby.ERR_CODE_FAILED_CONNECT`.
pub(crate) const FAILED_CONNECT: u8 = 2;
/// `BootstrapStandby.ERR_CODE_INVALID_VERSION`.
const INVALID_VERSION: u8 = 3;
/// `BootstrapStandby.ERR_CODE_ALREADY_FORMATTED`.
const ALREADY_FORMATTED: u8 = 5;
/// `BootstrapStandby.ERR_CODE_LOGS_UNAVAILABLE`.
const LOGS_UNAVAILABLE: u8 = 6;

/// How long a starting peer is waited for, and the pause between two questions.
const PEER_START_TIMEOUT: Duration = Duration::from_secs(60);
const PEER_START_PAUSE: Duration = Duration::from_millis(100);
/// Pause before a NameNode that joins by itself looks for a peer again.
const JOIN_PAUSE: Duration = Duration::from_millis(500);

/// Lets a NameNode with empty directories join its cluster before it serves (`hathi.namenode.join`). It waits for a
/// peer without a limit. Existing files are never touched.
pub(crate) async fn join(settings: &Settings) -> anyhow::Result<()> {
    let options = FormatOptions {
        non_interactive: true,
        ..FormatOptions::default()
    };
    tracing::info!("the name directories are empty: joining the cluster of the other NameNodes");
    loop {
        match bootstrap_standby(settings, &options).await {
            Ok(0) => return Ok(()),
            Ok(FAILED_CONNECT | LOGS_UNAVAILABLE) => {}
            Ok(code) => bail!("cannot join: -bootstrapStandby would end with {code}"),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "not joined yet"),
        }
        tokio::time::sleep(JOIN_PAUSE).await;
    }
}

/// `-bootstrapStandby`.
pub async fn bootstrap_standby(settings: &Settings, options: &FormatOptions) -> anyhow::Result<u8> {
    check_allow_format(settings)?;
    if settings.peers.is_empty() {
        bail!("HA is not enabled for this namenode.");
    }
    if settings.shared.is_none() {
        bail!("Shared edits storage is not enabled for this namenode.");
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
        return Ok(FAILED_CONNECT);
    };
    if info.layout_version != LayoutVersion::NAMENODE_CURRENT {
        tell!(
            "Layout version on remote node ({}) does not match this node's layout version ({})\n",
            info.layout_version,
            LayoutVersion::NAMENODE_CURRENT
        );
        return Ok(INVALID_VERSION);
    }
    tell_about(settings, peer, &info);
    let holding = storage::has_some_data(settings)?;
    if !holding.iter().all(|dir| confirm(options, &storage_directory(dir))) {
        return Ok(ALREADY_FORMATTED);
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
        return Ok(LOGS_UNAVAILABLE);
    }
    let new = NewNameDirs::begin(settings, &info)?;
    download_image(
        settings.namespace()?,
        &peer.http,
        new.made(),
        checkpoint,
        settings.image_timeout,
    )
    .await?;
    fetch_rollback_image(settings, peer, new.made()).await?;
    new.finish(Birth::Copy)?;
    new.place()?;
    tracing::info!(%checkpoint, from = %peer.rpc, "bootstrapped");
    Ok(0)
}

fn tell_about(settings: &Settings, peer: &Peer, info: &NamespaceInfo) {
    let line = "=====================================================";
    // The reader of the output may be gone.
    let _ = writeln!(
        std::io::stdout(),
        "{line}\n\
         About to bootstrap Standby ID {} from:\n\
         \x20          Nameservice ID: {}\n\
         \x20       Other Namenode ID: {}\n\
         \x20 Other NN's HTTP address: http://{}\n\
         \x20 Other NN's IPC  address: {}\n\
         \x20            Namespace ID: {}\n\
         \x20           Block pool ID: {}\n\
         \x20              Cluster ID: {}\n\
         \x20          Layout version: {}\n\
         {line}",
        settings.namenode_id,
        settings.nameservice_id,
        peer.namenode_id,
        peer.http,
        peer.rpc,
        info.namespace_id,
        info.block_pool_id,
        info.cluster_id,
        info.layout_version,
    );
}

/// Asks a NameNode for its namespace, the transaction of its newest image, and its last transaction.
pub(crate) async fn ask_peer(settings: &Settings, peer: &Peer) -> anyhow::Result<(NamespaceInfo, TxId, TxId)> {
    let mut options = ClientOptions::new(&settings.user);
    options.connect_timeout = Duration::from_secs(10);
    let client = connect_to(&peer.rpc.to_string(), &protocols::NAMENODE_PROTOCOL, &options).await?;
    let started = std::time::Instant::now();
    let version: VersionResponseProto = loop {
        match client.call("versionRequest", &VersionRequestProto {}).await {
            // The peer was just started and is still loading its namespace.
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
    let info = namespace_info(version.info.storage_info, version.info.block_pool_id);
    Ok((info, TxId(checkpoint.tx_id), TxId(current.tx_id)))
}

/// The namespace in a NameNode's answer.
pub(crate) fn namespace_info(storage: StorageInfoProto, block_pool_id: String) -> NamespaceInfo {
    NamespaceInfo {
        layout_version: LayoutVersion(storage.layout_version.cast_signed()),
        namespace_id: storage.namespce_id,
        cluster_id: storage.cluster_id,
        ctime: storage.c_time.cast_signed(),
        block_pool_id,
    }
}

/// During a rolling upgrade, what it can be rolled back to comes along. Without it an image would not tell of the upgrade.
pub(crate) async fn fetch_rollback_image(settings: &Settings, peer: &Peer, dirs: &NameDirs) -> anyhow::Result<()> {
    let mut options = ClientOptions::new(&settings.user);
    options.connect_timeout = Duration::from_secs(10);
    let client = connect_to(&peer.rpc.to_string(), &protocols::NAMENODE_PROTOCOL, &options).await?;
    let upgrade: IsRollingUpgradeResponseProto = client
        .call("isRollingUpgrade", &IsRollingUpgradeRequestProto {})
        .await?;
    if !upgrade.is_rolling_upgrade {
        return Ok(());
    }
    let kind = ImageKind::Rollback;
    let request = GetMostRecentNameNodeFileTxIdRequestProto {
        name_node_file: kind.name().to_owned(),
    };
    let newest: GetMostRecentNameNodeFileTxIdResponseProto =
        client.call("getMostRecentNameNodeFileTxId", &request).await?;
    // `HdfsServerConstants.INVALID_TXID`: the peer has not saved it yet.
    let newest = TxId::from_wire(newest.tx_id).context("the other NameNode is still preparing the rolling upgrade")?;
    if dirs.rollback_images().iter().any(|image| image.txid == newest) {
        return Ok(());
    }
    let config = settings.namespace()?;
    download_image_of(kind, config, &peer.http, dirs, newest, settings.image_timeout).await
}

/// Fetches the image of a transaction from a peer into these directories.
pub(crate) async fn download_image(
    config: hathi_namespace::NamespaceConfig,
    from: &HostPort,
    dirs: &NameDirs,
    txid: TxId,
    patience: Duration,
) -> anyhow::Result<()> {
    download_image_of(ImageKind::Usual, config, from, dirs, txid, patience).await?;
    dirs.write_seen_txid(txid);
    Ok(())
}

async fn download_image_of(
    kind: ImageKind,
    config: hathi_namespace::NamespaceConfig,
    from: &HostPort,
    dirs: &NameDirs,
    txid: TxId,
    patience: Duration,
) -> anyhow::Result<()> {
    let url = format!(
        "http://{}/imagetransfer?getimage=1&txid={txid}&imageFile={}&storageInfo={}&bootstrapstandby=true",
        from,
        kind.name(),
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
    let unpublished = Unpublished::of(dirs.images_dirs(), txid);
    // A directory that takes nothing keeps no image from the others.
    let mut files = ImageWriter::create(&OsDisk, unpublished.paths());
    let mut body = response.into_body();
    let mut received = 0;
    while let Some(data) = hathi_net::http::next_piece(&url, &mut body, patience).await? {
        received += data.len() as u64;
        if received > len {
            bail!("{} sends more than the {len} bytes it announced", from);
        }
        files.write_all(&data)?;
    }
    if received != len {
        bail!("got {received} bytes of an image of {len}");
    }
    let finished = files.finish();
    log_given_up(&files);
    finished?;
    let first = files.paths().next().context("no name directory")?;
    let md5 = crate::load::digest_of(first)?;
    if advertised.is_none_or(|advertised| advertised != md5) {
        bail!("the image is not what {} announced", from);
    }
    let (path, info) = (first.to_owned(), dirs.info.clone());
    tokio::task::spawn_blocking(move || check_image(config, &path, &info, txid).map(drop))
        .await?
        .with_context(|| format!("the image of {} is not taken", from))?;
    dirs.publish_image_of(kind, &unpublished, &md5)
}

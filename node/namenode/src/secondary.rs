//! A SecondaryNameNode: makes the checkpoints of a NameNode without HA, ours or Hadoop's (Hadoop's daemon of this name).
//!
//! It asks the NameNode to end its segment of edits, fetches the newest image and the edits behind it, applies them, saves
//! an image and offers it to the NameNode. All that is kept in memory is what the last merge left; losing it at any moment is
//! safe, as the next merge loads the image instead. In its directories an image is only ever whole, so that
//! `namenode -importCheckpoint` can take it.

use crate::bootstrap::{download_image, namespace_info};
use crate::checkpoint::upload;
use crate::image_transfer::get_image;
use crate::load::Loader;
use crate::offline::{clear, replay, save};
use crate::settings::{Settings, resolve};
use crate::storage::{self, Birth, NameDirs, NewNameDirs};
use anyhow::{Context, bail, ensure};
use hathi_conf::{Configuration, HostPort};
use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_formats::proto::hdfs::RemoteEditLogProto;
use hathi_formats::proto::namenode::{
    GetEditLogManifestRequestProto, GetEditLogManifestResponseProto, GetTransactionIdRequestProto,
    GetTransactionIdResponseProto, RollEditLogRequestProto, RollEditLogResponseProto,
};
use hathi_journal::segments::{SegmentName, Segments, damage};
use hathi_nameserver::name_dirs::difference;
use hathi_nameserver::name_dirs::rollback::ImageKind;
use hathi_nameserver::secondary::{Schedule, check_manifest};
use hathi_namesystem::{Life, Namesystem};
use hathi_net::http::jmx::{self, Bean};
use hathi_net::http::{self, HttpRequest, HttpResponse, HttpServer, RequestHead};
use hathi_net::ipc::{ClientOptions, RpcClient, RpcError, connect_to, protocols};
use hathi_storage::{Disk as _, OsDisk};
use hyper::{Method, StatusCode};
use parking_lot::Mutex;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// For a connection to the NameNode.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// `NameNodeFile.EDITS_TMP`: what edits are called while they are fetched.
const EDITS_TMP: &str = "edits_tmp_";

const IN_HA: &str = "Cannot use SecondaryNameNode in an HA cluster. The Standby Namenode will perform checkpointing.";

/// What was asked for on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing: it serves.
    Serve,
    /// `-geteditsize`
    GetEditSize,
    /// `-checkpoint [force]`
    Checkpoint {
        /// Also when the NameNode has few transactions.
        force: bool,
    },
}

/// Refuses a nameservice with several NameNodes, wherever this process runs (`SecondaryNameNode.initialize`).
///
/// # Errors
/// In Hadoop's words.
pub fn check_not_ha(conf: &Configuration) -> anyhow::Result<()> {
    let nameservices = match conf.get("dfs.nameservice.id") {
        Some(own) => vec![own],
        None => conf.nameservices(),
    };
    let all_are = !nameservices.is_empty() && nameservices.iter().all(|nameservice| conf.is_ha(nameservice));
    ensure!(!all_are, IN_HA);
    Ok(())
}

/// Runs one; answers the exit code.
pub fn run(settings: &Settings, command: Command, format: bool) -> anyhow::Result<u8> {
    if settings.shared.is_some() || !settings.peers.is_empty() {
        bail!(IN_HA);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut secondary = Secondary::open(settings, format)?;
    match command {
        Command::Serve => runtime.block_on(secondary.serve()),
        Command::GetEditSize => Ok(exit_code("geteditsize", runtime.block_on(secondary.tell_edit_size()))),
        Command::Checkpoint { force } => Ok(exit_code(
            "checkpoint",
            runtime.block_on(secondary.checkpoint_once(force)),
        )),
    }
}

fn exit_code(command: &str, result: anyhow::Result<()>) -> u8 {
    let Err(error) = result else { return 0 };
    // Of what a NameNode says the first line; behind it is where in its code.
    let text = format!("{error:#}");
    tracing::error!("{command}: {}", text.lines().next().unwrap_or_default());
    1
}

/// What `/jmx` shows; losing it is safe, as nothing else reads it.
#[derive(Debug, Default)]
struct Shown {
    dirs: Option<Arc<NameDirs>>,
    last_checkpoint_ms: u64,
}

struct Secondary {
    /// With its own directories in place of the NameNode's.
    settings: Settings,
    namenode: HostPort,
    client: Option<RpcClient>,
    dirs: Option<Arc<NameDirs>>,
    /// What the last merge left.
    merged: Option<Namesystem>,
    shown: Arc<Mutex<Shown>>,
    schedule: Schedule,
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

impl Secondary {
    fn open(settings: &Settings, format: bool) -> anyhow::Result<Secondary> {
        let namenode = settings.service_rpc.clone().unwrap_or_else(|| settings.rpc.clone());
        let settings = settings.of_checkpoints();
        ensure!(
            !settings.name_dirs.is_empty() && !settings.edits_dirs.is_empty(),
            "\"dfs.namenode.checkpoint.dir\" is not set."
        );
        if format {
            clear(&settings)?;
        }
        let schedule = Schedule::new(settings.checkpoint.clone());
        let mut secondary = Secondary {
            settings,
            namenode,
            client: None,
            dirs: None,
            merged: None,
            shown: Arc::default(),
            schedule,
        };
        if !storage::has_some_data(&secondary.settings)?.is_empty() {
            secondary.use_dirs()?;
        }
        Ok(secondary)
    }

    fn use_dirs(&mut self) -> anyhow::Result<Arc<NameDirs>> {
        let dirs = Arc::new(NameDirs::open(&self.settings)?);
        for current in dirs.edits_dirs() {
            remove_temporary(current);
        }
        self.shown.lock().dirs = Some(dirs.clone());
        self.dirs = Some(dirs.clone());
        Ok(dirs)
    }

    async fn call<Q: prost::Message, A: prost::Message + Default>(
        &mut self,
        method: &'static str,
        request: &Q,
    ) -> anyhow::Result<A> {
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                let mut options = ClientOptions::new(&self.settings.user);
                options.connect_timeout = CONNECT_TIMEOUT;
                connect_to(&self.namenode.to_string(), &protocols::NAMENODE_PROTOCOL, &options).await?
            }
        };
        let answer: Result<A, RpcError> = client.call(method, request).await;
        if answer.is_ok() {
            self.client = Some(client);
        }
        Ok(answer?)
    }

    /// Transactions that no image here covers (`SecondaryNameNode.countUncheckpointedTxns`).
    async fn uncheckpointed(&mut self) -> anyhow::Result<u64> {
        let current: GetTransactionIdResponseProto =
            self.call("getTransactionId", &GetTransactionIdRequestProto {}).await?;
        Ok(current.tx_id.saturating_sub(self.newest_image().0))
    }

    fn newest_image(&self) -> TxId {
        let newest = self.dirs.as_ref().and_then(|dirs| Some(dirs.images().first()?.txid));
        newest.unwrap_or_default()
    }

    async fn tell_edit_size(&mut self) -> anyhow::Result<()> {
        let count = self.uncheckpointed().await?;
        writeln!(std::io::stdout(), "NameNode has {count} uncheckpointed transactions")?;
        Ok(())
    }

    async fn checkpoint_once(&mut self, force: bool) -> anyhow::Result<()> {
        let (count, limit) = (self.uncheckpointed().await?, self.settings.checkpoint.txns);
        if self.schedule.is_made_when_asked(count, force) {
            return self.checkpoint().await;
        }
        let mut stderr = std::io::stderr();
        writeln!(
            stderr,
            "EditLog size {count} transactions is smaller than configured checkpoint interval {limit} transactions."
        )?;
        writeln!(stderr, "Skipping checkpoint.")?;
        Ok(())
    }

    /// `SecondaryNameNode.doCheckpoint`
    async fn checkpoint(&mut self) -> anyhow::Result<()> {
        let rolled: RollEditLogResponseProto = self.call("rollEditLog", &RollEditLogRequestProto {}).await?;
        let signature = rolled.signature;
        let image = TxId(signature.most_recent_checkpoint_tx_id);
        let info = namespace_info(signature.storage_info, signature.block_pool_id);
        let manifest: GetEditLogManifestResponseProto = self
            .call(
                "getEditLogManifest",
                &GetEditLogManifestRequestProto {
                    since_tx_id: image.next().0,
                },
            )
            .await?;
        let logs = manifest.manifest.logs;
        let segments: Vec<_> = logs
            .iter()
            .map(|log| (TxId(log.start_tx_id), TxId(log.end_tx_id)))
            .collect();
        check_manifest(&segments, image)?;
        let dirs = match self.dirs.clone() {
            Some(dirs) => {
                self.get_newer_image(&dirs, &info, image).await?;
                dirs
            }
            None => self.get_first_image(&info, image).await?,
        };
        for log in &logs {
            self.download_edits(&dirs, log).await?;
        }
        let merged = self.merge(&dirs, image, &logs).await;
        self.schedule.merged(merged.is_ok());
        let txid = merged.context("cannot merge the edits into the image")?;
        let (settings, http) = (&self.settings, &self.settings.http);
        let result = upload(http, &dirs, ImageKind::Usual, txid, settings.image_timeout).await?;
        tracing::info!(%txid, to = %http, result = result.name(), "Checkpoint done.");
        if let Some(keep_from) = dirs.purge_images(settings) {
            purge_edits(&dirs, keep_from);
        }
        self.shown.lock().last_checkpoint_ms = now_ms();
        Ok(())
    }

    /// Directories with nothing in them get an image and their VERSION at once.
    async fn get_first_image(&mut self, info: &NamespaceInfo, image: TxId) -> anyhow::Result<Arc<NameDirs>> {
        let new = NewNameDirs::begin(&self.settings, info)?;
        self.download_image(new.made(), image).await?;
        new.finish(Birth::Copy)?;
        new.place()?;
        self.use_dirs()
    }

    async fn get_newer_image(&mut self, dirs: &NameDirs, info: &NamespaceInfo, image: TxId) -> anyhow::Result<()> {
        if let Some(differs) = difference(&dirs.info, info) {
            bail!(
                "Inconsistent checkpoint fields: of {} {differs}, as in {}. To take the checkpoints of this NameNode, start \
                 with -format",
                self.namenode,
                self.settings.name_dirs[0].display()
            );
        }
        if dirs.images().iter().any(|here| here.txid == image) {
            tracing::info!("Image has not changed. Will not download image.");
            return Ok(());
        }
        tracing::info!("Image has changed. Downloading updated image from NN.");
        self.download_image(dirs, image).await
    }

    async fn download_image(&self, dirs: &NameDirs, image: TxId) -> anyhow::Result<()> {
        let settings = &self.settings;
        download_image(
            settings.namespace()?,
            &settings.http,
            dirs,
            image,
            settings.image_timeout,
        )
        .await
    }

    /// `TransferFsImage.downloadEditsToStorage`
    async fn download_edits(&self, dirs: &NameDirs, log: &RemoteEditLogProto) -> anyhow::Result<()> {
        let name = SegmentName::finalized(TxId(log.start_tx_id), TxId(log.end_tx_id));
        let lacks = |current: &&PathBuf| !current.join(name.file_name()).exists();
        let missing: Vec<&PathBuf> = dirs.edits_dirs().iter().filter(lacks).collect();
        if missing.is_empty() {
            tracing::info!(
                "Skipping download of remote edit log {} since it already is stored locally",
                name.file_name()
            );
            return Ok(());
        }
        let url = format!(
            "http://{}/imagetransfer?getedit=1&startTxId={}&endTxId={}&storageInfo={}",
            self.settings.http,
            log.start_tx_id,
            log.end_tx_id,
            dirs.info.to_colon_separated()
        );
        let patience = self.settings.image_timeout;
        let mut body = http::get(&url, patience).await?.into_body();
        let temporary = format!("{EDITS_TMP}{}", name.file_name());
        let paths: Vec<PathBuf> = missing.iter().map(|current| current.join(&temporary)).collect();
        let mut files = paths.iter().map(std::fs::File::create).collect::<Result<Vec<_>, _>>()?;
        while let Some(data) = http::next_piece(&url, &mut body, patience).await? {
            for file in &mut files {
                file.write_all(&data)?;
            }
        }
        for file in files {
            file.sync_all()?;
        }
        for (current, path) in missing.iter().zip(&paths) {
            let scan = Segments::new(OsDisk, (*current).clone()).scan_file(path, name.start)?;
            if let Some(what) = damage(&scan, TxId(log.end_tx_id)) {
                bail!("{url}: {what}");
            }
            std::fs::rename(path, current.join(name.file_name()))?;
            OsDisk.sync_dir(current)?;
        }
        Ok(())
    }

    /// Applies the edits to the image, or to what the last merge has left, and saves it.
    async fn merge(&mut self, dirs: &Arc<NameDirs>, image: TxId, logs: &[RemoteEditLogProto]) -> anyhow::Result<TxId> {
        // What fails half-way is loaded again.
        let merged = self.merged.take().filter(|merged| merged.edit_log().applied() >= image);
        let loader = Loader::new(self.settings.clone(), dirs.clone());
        let (dirs, logs) = (dirs.clone(), logs.to_vec());
        let merge = move || -> anyhow::Result<(Namesystem, TxId)> {
            let mut ns = match merged {
                Some(merged) => merged,
                None => loader.load(Life::first())?,
            };
            ensure!(ns.edit_log().applied() >= image, "the image of {image} can't be loaded");
            for log in &logs {
                let end = TxId(log.end_tx_id);
                if end <= ns.edit_log().applied() {
                    continue;
                }
                let name = SegmentName::finalized(TxId(log.start_tx_id), end).file_name();
                let path = dirs.edits_dirs().first().context("no edits directory")?.join(name);
                replay(&mut ns, &path, end)?;
            }
            let txid = ns.edit_log().applied();
            if !dirs.images().iter().any(|here| here.txid == txid) {
                save(&mut ns, &dirs)?;
            }
            Ok((ns, txid))
        };
        let (ns, txid) = tokio::task::spawn_blocking(merge)
            .await
            .context("the merging thread died")??;
        self.merged = Some(ns);
        Ok(txid)
    }

    /// Checkpoints by the keys, until a signal ends the process or too many merges have failed.
    async fn serve(&mut self) -> anyhow::Result<u8> {
        let _web = self.web()?;
        let max_retries = self.settings.conf.get_u64("dfs.namenode.checkpoint.max-retries", 3)?;
        let checkpoint = &self.settings.checkpoint;
        tracing::info!(
            period_ms = checkpoint.period_ms,
            txns = checkpoint.txns,
            namenode = %self.namenode,
            "SecondaryNameNode is up"
        );
        let pause = Duration::from_millis(self.schedule.pause_ms());
        let stopped = crate::run::stopped();
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                stopped = &mut stopped => return stopped.map(|()| 0),
                () = tokio::time::sleep(pause) => {}
            }
            let work = async {
                let is_due = self.schedule.is_time(now_ms()) || {
                    let uncheckpointed = self.uncheckpointed().await?;
                    self.schedule.are_enough(uncheckpointed)
                };
                if is_due {
                    self.checkpoint().await?;
                    self.schedule.done(now_ms());
                }
                anyhow::Ok(())
            };
            let done = tokio::select! {
                stopped = &mut stopped => return stopped.map(|()| 0),
                done = work => done,
            };
            if let Err(error) = done {
                tracing::error!(error = format!("{error:#}"), "Exception in doCheckpoint");
                if let Some(times) = self.schedule.gives_up(max_retries) {
                    tracing::error!("Merging failed {times} times.");
                    return Ok(1);
                }
            }
        }
    }

    /// `/jmx`, `/imagetransfer` and a page.
    fn web(&self) -> anyhow::Result<HttpServer> {
        let address = resolve(&self.settings.secondary_http)?;
        let (shown, namenode, started_ms) = (self.shown.clone(), self.namenode.to_string(), now_ms());
        let dirs = |dirs: &[PathBuf]| -> Vec<String> {
            let names = dirs.iter().map(|dir| format!("file://{}", dir.display()));
            names.collect()
        };
        let (images, edits) = (dirs(&self.settings.name_dirs), dirs(&self.settings.edits_dirs));
        let bean = move |shown: &Shown| {
            let last = shown.last_checkpoint_ms;
            Bean::new(
                "SecondaryNameNode",
                "SecondaryNameNodeInfo",
                "org.apache.hadoop.hdfs.server.namenode.SecondaryNameNode",
                serde_json::json!({
                    "HostAndPort": namenode,
                    "StartTime": started_ms,
                    "LastCheckpointTime": last,
                    "LastCheckpointDeltaMs": if last == 0 { -1 } else { now_ms().saturating_sub(last).cast_signed() },
                    "CheckpointDirectories": images,
                    "CheckpointEditlogDirectories": edits,
                    "SecurityEnabled": false,
                    "SoftwareVersion": hathi_namesystem::namenode_protocol::SOFTWARE_VERSION,
                }),
            )
        };
        let serve = move |request: HttpRequest| {
            let response = {
                let shown = shown.lock();
                answer(&shown, &bean(&shown), &request.head)
            };
            std::future::ready(response)
        };
        HttpServer::bind(address, Arc::new(serve)).context("dfs.namenode.secondary.http-address")
    }
}

fn answer(shown: &Shown, bean: &Bean, head: &RequestHead) -> HttpResponse {
    match (&head.method, head.path.as_str()) {
        (&Method::GET, "/jmx") => jmx::respond(&head.query, [bean.clone()]),
        (&Method::GET, "/imagetransfer") => match &shown.dirs {
            Some(dirs) => get_image(dirs, &head.query),
            None => http::error(StatusCode::GONE, "there is no checkpoint yet"),
        },
        (&Method::GET, "/" | "/status.html") => {
            let page = format!(
                "<!DOCTYPE html><title>SecondaryNameNode</title><h1>SecondaryNameNode</h1><p>Last checkpoint (ms since \
                 1970): {}. See <a href=\"/jmx\">/jmx</a>.</p>",
                shown.last_checkpoint_ms
            );
            http::bytes(StatusCode::OK, "text/html; charset=utf-8", page)
        }
        _ => http::error(StatusCode::NOT_FOUND, "Not Found"),
    }
}

/// What an earlier process was fetching when it ended (`CheckpointStorage.deleteTempEdits`).
fn remove_temporary(current: &Path) {
    for entry in std::fs::read_dir(current).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(EDITS_TMP) {
            // It is overwritten when it is fetched again.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn purge_edits(dirs: &NameDirs, keep_from: TxId) {
    for current in dirs.edits_dirs() {
        let segments = Segments::new(OsDisk, current.clone());
        for name in segments.list().unwrap_or_default() {
            if name.end.is_some_and(|end| end < keep_from)
                && let Err(error) = segments.remove(&name)
            {
                tracing::warn!(file = name.file_name(), %error, "cannot purge old edits");
            }
        }
    }
}

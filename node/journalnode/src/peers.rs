//! Requests of a JournalNode to its peers: segments for a recovery, segments that it has missed (`JournalNodeSyncer`),
//! and its own identity when its directory is empty.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hathi_conf::{HostPort, TimeUnit};
use hathi_formats::ids::{Epoch, NamespaceInfo, TxId};
use hathi_formats::qjournal::Envelope;
use hathi_journal::messages::{Manifest, ManifestSegment};
use hathi_journal::segments::SegmentName;
use hathi_journal::{Answer, Membership, Request};
use hathi_journalclient::{RemoteJournalNode, member_addresses};
use hathi_net::http::header::CONTENT_LENGTH;
use hathi_net::http::{get, next_piece};
use hathi_storage::{Disk, DiskFile, OsDisk};
use tokio::sync::{mpsc, watch};

use crate::health::{self, Scrubber};
use crate::journal::{Fetch, Journal};
use crate::journals::{Journals, SharedJournal};
use crate::peer::{ask, connect, is_at, others};

/// Pause between two attempts of an empty JournalNode to learn its identity from peers.
const JOIN_PAUSE: Duration = Duration::from_secs(2);
/// Pause between the discovery of a gap and the question to a peer, which may be about to finalize the missing segment.
const GAP_PAUSE: Duration = Duration::from_millis(300);
/// Pause between two searches for missing segments, after some were missing or could not be taken yet.
const CATCH_UP_PAUSE: Duration = Duration::from_secs(5);
/// Period in which each finalized segment is read (`hathi.journalnode.scrub.period`).
const SCRUB_PERIOD: Duration = Duration::from_secs(24 * 3600);
/// The directory of downloads, beside `current`.
const SYNC_DIR: &str = "edits.sync";

/// The thread that talks to peers; dropping it stops it.
#[derive(Debug)]
pub struct Peers {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// A runtime on the calling thread.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

impl Peers {
    pub fn start(journals: Arc<Journals>, mut wanted: mpsc::UnboundedReceiver<Fetch>) -> io::Result<Peers> {
        let runtime = runtime()?;
        let (stop, mut stopped) = watch::channel(false);
        let thread = std::thread::Builder::new().name("peers".into()).spawn(move || {
            runtime.block_on(async {
                for (journal_id, shared) in journals.shared.clone() {
                    tokio::spawn(keep(journals.clone(), journal_id, shared));
                }
                loop {
                    tokio::select! {
                        _ = stopped.wait_for(|stopped| *stopped) => return,
                        fetch = wanted.recv() => match fetch {
                            Some(fetch) => drop(tokio::spawn(fetch_for_recovery(journals.clone(), fetch))),
                            None => return,
                        },
                    }
                }
            });
            // A download into a file is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Peers {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the peers thread panicked");
        }
    }
}

/// `dfs.edit.log.transfer.timeout`.
fn timeouts(journals: &Journals) -> Duration {
    let configured = journals.conf().get_duration(
        "dfs.edit.log.transfer.timeout",
        Duration::from_secs(30),
        TimeUnit::Millis,
    );
    configured.unwrap_or(Duration::from_secs(30))
}

/// Fetches a segment for an `acceptRecovery`. The caller names the source, so the source must be a JournalNode of this
/// journal, if these are known from the newest membership or from the configuration.
async fn fetch_for_recovery(journals: Arc<Journals>, fetch: Fetch) {
    let timeout = timeouts(&journals);
    let Fetch {
        journal,
        download,
        reply,
    } = fetch;
    tracing::info!(
        journal = journal.id(),
        url = download.url,
        "fetching a segment for its recovery"
    );
    let changed = journal.with_acceptor(|acceptor| acceptor.membership().cloned());
    let configured = journals.shared.get(journal.id()).map(|shared| shared.members.clone());
    let members = changed
        .ok()
        .flatten()
        .as_ref()
        .and_then(member_addresses)
        .or(configured);
    let result = match members {
        Some(members) if !is_at(&download.url, &members).await => {
            Err("its host is no JournalNode of this journal".to_owned())
        }
        _ => fetch_file(&download.url, &download.to, timeout).await,
    };
    if let Err(error) = &result {
        tracing::warn!(journal = journal.id(), error, "cannot fetch the segment");
    }
    journal.downloaded(download, result, reply);
}

/// Fetches a file and syncs it. Its length must be the announced one.
async fn fetch_file(url: &str, to: &Path, timeout: Duration) -> Result<(), String> {
    let in_file = |error: io::Error| format!("{}: {error}", to.display());
    let (head, mut body) = get(url, timeout).await.map_err(|error| error.to_string())?.into_parts();
    let announced: u64 = head
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .ok_or_else(|| format!("{url}: the answer has no length"))?;
    let file = OsDisk.create(to).map_err(in_file)?;
    let mut written = 0_u64;
    while let Some(piece) = next_piece(url, &mut body, timeout)
        .await
        .map_err(|error| error.to_string())?
    {
        file.write_at(written, &piece).map_err(in_file)?;
        written += piece.len() as u64;
    }
    if written != announced {
        return Err(format!("{url}: {written} bytes came of {announced}"));
    }
    tokio::task::spawn_blocking(move || file.sync_data())
        .await
        .map_err(|error| error.to_string())?
        .map_err(in_file)
}

/// Looks after one journal of the configuration. The newest known membership, or without one the configuration, decides
/// whether this process is one of its JournalNodes. A JournalNode that is to be added is none yet, but fetches missing
/// segments all the same.
async fn keep(journals: Arc<Journals>, journal_id: String, shared: SharedJournal) {
    let Some(own) = journals.rpc_address() else {
        return;
    };
    let envelope = Arc::new(Envelope {
        journal_id: journal_id.clone(),
        name_service_id: shared.name_service.clone(),
    });
    let Ok(journal) = journals.get(&journal_id, shared.name_service.as_deref()) else {
        return;
    };
    let conf = journals.conf();
    let join = conf.get_bool("hathi.journalnode.join", true);
    let sync = conf.get_bool("dfs.journalnode.enable.sync", true);
    let interval = conf
        .get_duration(
            "dfs.journalnode.sync.interval",
            Duration::from_secs(120),
            TimeUnit::Millis,
        )
        .unwrap_or(Duration::from_secs(120));
    let timeout = timeouts(&journals);
    let period = conf
        .get_duration("hathi.journalnode.scrub.period", SCRUB_PERIOD, TimeUnit::Seconds)
        .unwrap_or(SCRUB_PERIOD);
    let mut scrubber = Scrubber::default();
    let mut turn = 0;
    // Number of peers to ask soon, because segments may be missing here.
    let mut soon = 0;
    loop {
        let known = journal.with_acceptor(|acceptor| acceptor.membership().cloned());
        let known = known.ok().flatten();
        let members = known.as_ref().and_then(member_addresses);
        let members = members.unwrap_or_else(|| shared.members.clone());
        let others = others(&members, own, &envelope).await;
        let formatted = journal.ask(Request::IsFormatted).await == Ok(Answer::IsFormatted(true));
        let pause = if !formatted {
            if join && others.is_member {
                match try_join(&journal, &members, own, &envelope).await {
                    Ok(true) => Duration::ZERO,
                    Ok(false) => JOIN_PAUSE,
                    Err(reason) => {
                        tracing::debug!(journal = journal_id, reason, "not joining yet");
                        JOIN_PAUSE
                    }
                }
            } else {
                JOIN_PAUSE
            }
        } else if journal.needs_promise() {
            match health::recover_promise(&journal, known.as_ref(), &others.peers, others.members).await {
                Ok(true) => Duration::ZERO,
                Ok(false) => JOIN_PAUSE,
                Err(reason) => {
                    tracing::warn!(journal = journal_id, reason, "the promise is not known yet");
                    JOIN_PAUSE
                }
            }
        } else if sync && let Some(peer) = others.peers.get(turn % others.peers.len().max(1)) {
            turn += 1;
            if !period.is_zero() {
                scrubber.scrub(&journal, period).await;
            }
            match sync_with(&journal, peer, timeout).await {
                Ok(Missing::None) if soon > 1 => {
                    soon -= 1;
                    CATCH_UP_PAUSE
                }
                Ok(Missing::None) => interval,
                Ok(Missing::Some) => CATCH_UP_PAUSE,
                Err(reason) => {
                    tracing::debug!(journal = journal_id, reason, "cannot compare segments with a peer");
                    // Another peer may know.
                    if turn % others.peers.len() == 0 {
                        interval
                    } else {
                        CATCH_UP_PAUSE
                    }
                }
            }
        } else {
            interval
        };
        // A JournalNode that is being added is waited for.
        let pause = if others.is_member {
            pause
        } else {
            pause.min(CATCH_UP_PAUSE)
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = journal.may_lack_segments() => {
                soon = others.peers.len();
                tokio::time::sleep(GAP_PAUSE).await;
            }
        }
    }
}

/// Formats a journal whose directory is empty although its peers are at work: the directory was lost. This needs the
/// answers of so many peers that one of them has everything that this JournalNode may have promised or kept. When they
/// know of a change of membership that this JournalNode has lost, the later members are asked.
async fn try_join(
    journal: &Journal,
    configured: &[HostPort],
    own: SocketAddr,
    envelope: &Arc<Envelope>,
) -> Result<bool, String> {
    let mut known: Option<Membership> = None;
    let mut members = configured.to_vec();
    loop {
        let asked = others(&members, own, envelope).await;
        if !asked.is_member {
            return Err("it was removed from the journal".to_owned());
        }
        let needed = asked.members / 2 + 1;
        if asked.peers.len() < needed {
            return Ok(false);
        }
        let mut promise = Epoch(0);
        let mut storages: BTreeMap<(u32, String), (usize, NamespaceInfo)> = BTreeMap::new();
        let mut newest = known.clone();
        for peer in &asked.peers {
            match ask_to_join(peer).await {
                Ok((promised, membership, info)) => {
                    promise = promise.max(promised);
                    newest = newer(newest, membership);
                    let key = (info.namespace_id, info.cluster_id.clone());
                    storages.entry(key).or_insert((0, info)).0 += 1;
                }
                Err(reason) => {
                    tracing::debug!(journal = journal.id(), reason, "a peer does not answer")
                }
            }
        }
        if newest != known {
            members = newest.as_ref().and_then(member_addresses).unwrap_or_default();
            known = newest;
            continue;
        }
        let mut storages = storages.into_values();
        let (Some((count, info)), None) = (storages.next(), storages.next()) else {
            return Err("the peers are of different namespaces, or none answers".to_owned());
        };
        // Without a writer, a NameNode is just formatting its journals, and this one as well.
        if count < needed || promise == Epoch(0) {
            return Ok(false);
        }
        tracing::warn!(
            journal = journal.id(),
            promise = promise.0,
            cluster = info.cluster_id,
            "the directory is empty but the peers have edits: joining them with their promise"
        );
        return journal
            .format_joining(info, promise, known)
            .await
            .map(|_| true)
            .map_err(|exception| exception.to_string());
    }
}

fn newer(known: Option<Membership>, found: Option<Membership>) -> Option<Membership> {
    match found {
        Some(found) if found.is_valid() && found.is_newer_than(known.as_ref()) => Some(found),
        _ => known,
    }
}

/// Promise, membership and namespace of a peer.
async fn ask_to_join(peer: &RemoteJournalNode) -> Result<(Epoch, Option<Membership>, NamespaceInfo), String> {
    let client = connect(peer).await?;
    let state = ask(&client, &Request::GetJournalState).await?;
    let storage = ask(&client, &Request::GetStorageInfo).await?;
    match (state, storage) {
        (
            Answer::JournalState {
                promised_epoch,
                membership,
                ..
            },
            Answer::StorageInfo(info),
        ) => Ok((promised_epoch, membership, info)),
        _ => Err("a peer answered something else".to_owned()),
    }
}

/// Result of a look at a peer's segments.
enum Missing {
    /// Nothing is missing here.
    None,
    /// A segment was missing, or still is because it is not known to be committed.
    Some,
}

async fn local_manifest(journal: &Arc<Journal>) -> Result<Manifest, String> {
    let request = Request::GetEditLogManifest {
        since: TxId(0),
        in_progress_ok: true,
        from_journal: false,
    };
    match journal.ask(request).await {
        Ok(Answer::Manifest(manifest)) => Ok(manifest),
        Ok(_) => Err("no manifest".to_owned()),
        Err(exception) => Err(exception.to_string()),
    }
}

/// Fetches the finalized segments of a peer that are missing here.
async fn sync_with(journal: &Arc<Journal>, peer: &RemoteJournalNode, timeout: Duration) -> Result<Missing, String> {
    let local = local_manifest(journal).await?;
    let client = connect(peer).await?;
    let request = Request::GetEditLogManifest {
        since: TxId(0),
        in_progress_ok: false,
        from_journal: true,
    };
    let Answer::Manifest(remote) = ask(&client, &request).await? else {
        return Err("no manifest".to_owned());
    };
    drop(client);
    let storage = journal
        .with_acceptor(|acceptor| acceptor.namespace_info().map(NamespaceInfo::to_colon_separated))
        .map_err(|exception| exception.to_string())?
        .ok_or("not formatted")?;
    let missing = missing(&local.segments, &remote.segments);
    let found = if missing.is_empty() {
        Missing::None
    } else {
        Missing::Some
    };
    let dir = journal.root().join(SYNC_DIR);
    for (start, end) in missing {
        if local.committed.is_none_or(|committed| committed < end) {
            continue;
        }
        OsDisk.create_dir_all(&dir).map_err(|error| error.to_string())?;
        let to = dir.join(SegmentName::finalized(start, end).file_name());
        let url = format!(
            "{}/getJournal?jid={}&segmentTxId={start}&storageInfo={}&inProgressOk=false",
            base_url(&peer.address, &remote),
            escape(journal.id()),
            escape(&storage),
        );
        fetch_file(&url, &to, timeout).await?;
        let adopted = journal
            .adopt(to.clone(), start, end)
            .await
            .map_err(|exception| exception.to_string())?;
        if adopted {
            tracing::info!(journal = journal.id(), from = %peer.address, %start, %end, "took a missing segment over");
        } else {
            drop(OsDisk.remove_file(&to));
        }
    }
    Ok(found)
}

/// The configured host of a peer, with the scheme and port in its answer.
fn base_url(address: &HostPort, manifest: &Manifest) -> String {
    let told = manifest
        .from_url
        .as_deref()
        .and_then(|url| HostPort::parse(url, None).ok())
        .map_or(manifest.http_port, |told| told.port);
    format!(
        "http://{}",
        HostPort {
            host: address.host.clone(),
            port: told
        }
    )
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Finalized segments of a peer that share no transaction with a finalized segment here.
fn missing(local: &[ManifestSegment], remote: &[ManifestSegment]) -> Vec<(TxId, TxId)> {
    remote
        .iter()
        .filter(|segment| !segment.in_progress)
        .filter_map(|segment| Some((segment.start, segment.end?)))
        .filter(|(start, end)| {
            !local
                .iter()
                .filter(|here| !here.in_progress)
                .any(|here| here.start <= *end && here.end.is_some_and(|here_end| here_end >= *start))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(start: u64, end: u64, in_progress: bool) -> ManifestSegment {
        ManifestSegment {
            start: TxId(start),
            end: Some(TxId(end)),
            in_progress,
        }
    }

    #[test]
    fn only_whole_gaps_are_filled() {
        let local = [segment(1, 10, false), segment(31, 40, false), segment(41, 45, true)];
        let remote = [
            segment(1, 10, false),
            segment(11, 30, false),
            segment(31, 35, false),
            segment(41, 50, false),
            segment(51, 60, true),
        ];
        assert_eq!(missing(&local, &remote), [(TxId(11), TxId(30)), (TxId(41), TxId(50))]);
        assert!(missing(&local, &[]).is_empty());
    }

    #[test]
    fn urls_keep_the_configured_host() {
        let address = HostPort {
            host: "jn1".into(),
            port: 8485,
        };
        let mut manifest = Manifest {
            http_port: 8480,
            from_url: Some("http://0.0.0.0:9999".into()),
            ..Manifest::default()
        };
        assert_eq!(base_url(&address, &manifest), "http://jn1:9999");
        manifest.from_url = None;
        assert_eq!(base_url(&address, &manifest), "http://jn1:8480");
        assert_eq!(escape("-67:5:0:CID-a b"), "-67%3A5%3A0%3ACID-a%20b");
    }
}

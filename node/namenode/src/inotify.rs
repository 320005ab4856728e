//! `getEditsFromTxid`: what those who follow the namespace are told of its edits. The shell around
//! [`hathi_nameserver::past_edits`] and [`hathi_namesystem::inotify`].
//!
//! Edits are read from where the active writes them: JournalNodes, a shared directory, or the directories of the only
//! NameNode. No lock is held meanwhile, and no reactor waits.

use crate::replies::Replies;
use crate::settings::Settings;
use crate::storage::NameDirs;
use crate::tail::{download, millis};
use anyhow::{Context, anyhow};
use bytes::Bytes;
use hathi_conf::JournalUri;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_journal::directory::SharedDirectory;
use hathi_journal::segments::SegmentName;
use hathi_journalclient::Readers;
use hathi_nameserver::past_edits::{Got, Order, Search};
use hathi_nameserver::reading::{Candidate, Sources};
use hathi_nameserver::replies::Made;
use hathi_nameserver::standby_calls::not_active;
use hathi_namesystem::inotify::Events;
use hathi_namesystem::{Namesystem, Role};
use hathi_net::ipc::Responder;
use hathi_storage::OsDisk;
use parking_lot::{Mutex, RwLock};
use prost::Message;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Number of these calls that are served at once: each may hold a segment in memory.
const AT_ONCE: usize = 2;
/// Number of these calls that are served or may wait.
const CALLS_MAX: usize = 256;
/// Number of segments, or pieces of one, that one call may look through. After as many without an event the client asks
/// again, from there on.
const PIECES_MAX: usize = 16;
/// Largest segment that is kept until the next call, which goes on in it.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// A final segment that was read, and how far.
struct Kept {
    first: TxId,
    last: TxId,
    edits: Bytes,
    /// Where the frame of `next` begins.
    place: usize,
    next: TxId,
}

/// See the module.
pub struct Inotify {
    settings: Arc<Settings>,
    ns: Arc<RwLock<Namesystem>>,
    replies: Arc<Replies>,
    readers: Arc<Readers>,
    dirs: Arc<NameDirs>,
    sources: Mutex<Sources>,
    kept: Mutex<Option<Kept>>,
    turns: Semaphore,
    places: Arc<Semaphore>,
}

/// The state of the edit log at the beginning of a call.
struct Durable {
    info: NamespaceInfo,
    /// First transaction of the segment that this NameNode writes.
    open: Option<TxId>,
}

/// A segment's bytes: how far they count, and where they may be kept for the next call.
struct Piece {
    edits: Bytes,
    limit: TxId,
    /// First and last transaction of a final segment.
    range: Option<(TxId, TxId)>,
    place: usize,
}

impl Inotify {
    /// Reads the edits of this NameNode's configuration.
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        ns: Arc<RwLock<Namesystem>>,
        replies: Arc<Replies>,
        readers: Arc<Readers>,
        dirs: Arc<NameDirs>,
    ) -> Inotify {
        Inotify {
            settings,
            ns,
            replies,
            readers,
            dirs,
            sources: Mutex::default(),
            kept: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
            places: Arc::new(Semaphore::new(CALLS_MAX)),
        }
    }

    /// Answers with the events from `since` on.
    pub fn serve(self: &Arc<Self>, since: TxId, responder: Responder) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return responder.error(&RemoteException::new(
                exceptions::RETRIABLE,
                "too many callers ask for edits",
            ));
        };
        let this = self.clone();
        tokio::spawn(async move {
            // Held until this task ends in any way.
            let _place = place;
            let Ok(_turn) = this.turns.acquire().await else { return };
            if responder.is_closed() {
                return;
            }
            let (standing, events, durable) = {
                let ns = this.ns.read();
                let log = ns.edit_log();
                let durable = Durable {
                    info: ns.info().clone(),
                    open: log.segment(),
                };
                let events = Events::new(since, log.synced(), this.settings.inotify_events_max);
                (ns.standing(), events, durable)
            };
            if standing.role != Role::Active {
                return responder.error(&not_active());
            }
            let read = this.read(events, &durable).await;
            let result = read
                .map(|events| Bytes::from(events.answer().encode_to_vec()))
                .map_err(|error| RemoteException::new(exceptions::IO, format!("{error:#}")));
            let made = Made {
                standing,
                // Everything in it has a quorum.
                after: None,
                changed: false,
            };
            this.replies.answer(responder, result, made);
        });
    }

    async fn read(&self, mut events: Events, durable: &Durable) -> anyhow::Result<Events> {
        for _ in 0..PIECES_MAX {
            let Some(wanted) = events.next() else { break };
            let asked = if let Some(piece) = self.take_kept(wanted) {
                self.add(&mut events, piece).await
            } else {
                match &self.settings.shared {
                    Some(JournalUri::Quorum { .. }) => self.at_journalnodes(&mut events, durable, wanted).await,
                    Some(JournalUri::File(path)) => {
                        let directory = SharedDirectory::new(OsDisk, path);
                        self.in_directories(&mut events, durable, vec![directory], wanted).await
                    }
                    None => {
                        self.in_directories(&mut events, durable, self.dirs.edits(), wanted)
                            .await
                    }
                }
            };
            match asked {
                // What was found is told first.
                Err(_) if !events.may_begin_later() => break,
                Err(error) => return Err(error),
                Ok(()) if events.next() == Some(wanted) => break,
                Ok(()) => {}
            }
        }
        Ok(events)
    }

    async fn at_journalnodes(&self, events: &mut Events, durable: &Durable, wanted: TxId) -> anyhow::Result<()> {
        let members = self.readers.nodes.members();
        let mut search = Search::new(wanted, events.may_begin_later(), members);
        let mut got = Got::Begin;
        loop {
            let order = search.on(got, &mut self.sources.lock());
            let used = match order {
                Order::Ask {
                    journalnode,
                    request,
                    timeout_ms,
                } => {
                    let answer = self.readers.call(journalnode, &request, millis(timeout_ms)).await;
                    got = Got::Answer(answer);
                    continue;
                }
                Order::AskAll { request, timeout_ms } => {
                    got = Got::Answers(self.readers.call_all(&request, millis(timeout_ms)).await);
                    continue;
                }
                Order::Use { edits, limit } => {
                    let piece = Piece {
                        edits,
                        limit,
                        range: None,
                        place: 0,
                    };
                    self.add(events, piece).await
                }
                Order::Fetch(candidate) => self.fetch(events, durable, &candidate).await,
                Order::Nothing => return Ok(()),
                Order::Failed(why) => return Err(anyhow!(why)),
            };
            got = match used {
                Ok(()) if events.next() != Some(wanted) => return Ok(()),
                Ok(()) => Got::Useless(format!("transaction {wanted} is not where it should be")),
                Err(error) => Got::Useless(format!("{error:#}")),
            };
        }
    }

    async fn fetch(&self, events: &mut Events, durable: &Durable, candidate: &Candidate) -> anyhow::Result<()> {
        let storage_info = durable.info.to_colon_separated();
        let edits = download(
            &self.readers.nodes,
            &storage_info,
            candidate,
            self.settings.image_timeout,
        )
        .await?;
        let final_one = !candidate.segment.in_progress;
        let piece = Piece {
            edits,
            limit: candidate.limit,
            range: final_one.then_some((candidate.segment.start, candidate.limit)),
            place: 0,
        };
        self.add(events, piece).await
    }

    async fn in_directories(
        &self,
        events: &mut Events,
        durable: &Durable,
        directories: Vec<SharedDirectory<OsDisk>>,
        wanted: TxId,
    ) -> anyhow::Result<()> {
        let (info, open) = (durable.info.clone(), durable.open);
        let find = move || -> anyhow::Result<Vec<(SegmentName, PathBuf)>> {
            let (mut found, mut problem) = (Vec::new(), None);
            for directory in directories {
                // Each time: a file system that is not mounted looks like a directory without edits.
                let holding = directory
                    .check_namespace(&info)
                    .and_then(|()| directory.holding(wanted, open));
                match holding {
                    Ok(Some(name)) => found.push((name.clone(), directory.path_of(&name))),
                    Ok(None) => {}
                    Err(error) => problem = Some(error),
                }
            }
            found.sort_by_key(|(name, _)| (name.start.max(wanted), name.end.is_none(), std::cmp::Reverse(name.end)));
            match problem {
                Some(problem) if found.is_empty() => Err(problem.into()),
                _ => Ok(found),
            }
        };
        let copies = tokio::task::spawn_blocking(find).await.context("the reader died")??;
        let mut problem = None;
        for (name, path) in copies {
            let used = self.read_file(events, &name, path.clone()).await;
            match used.with_context(|| path.display().to_string()) {
                Ok(()) if events.next() != Some(wanted) => return Ok(()),
                Ok(()) => {}
                // Another copy may be whole.
                Err(error) => problem = Some(error),
            }
        }
        problem.map_or(Ok(()), Err)
    }

    async fn read_file(&self, events: &mut Events, name: &SegmentName, path: PathBuf) -> anyhow::Result<()> {
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
        let edits = match read.context("the reader died")? {
            Ok(bytes) => Bytes::from(bytes),
            // It was purged, or made final under another name: the client asks again.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let piece = Piece {
            edits,
            limit: name.end.unwrap_or(TxId(u64::MAX)),
            range: name.end.map(|end| (name.start, end)),
            place: 0,
        };
        self.add(events, piece).await
    }

    /// The segment of the last call, if it has this transaction.
    fn take_kept(&self, wanted: TxId) -> Option<Piece> {
        let kept = self
            .kept
            .lock()
            .take()
            .filter(|kept| kept.first <= wanted && wanted <= kept.last)?;
        Some(Piece {
            edits: kept.edits,
            limit: kept.last,
            range: Some((kept.first, kept.last)),
            place: if kept.next <= wanted { kept.place } else { 0 },
        })
    }

    /// Adds the events of a piece. Translating takes long enough that no reactor should do it.
    async fn add(&self, events: &mut Events, piece: Piece) -> anyhow::Result<()> {
        let taken = std::mem::replace(events, Events::new(TxId(1), TxId(0), 1));
        let translate = move || {
            let (mut events, mut piece) = (taken, piece);
            let read = events.read(&piece.edits, piece.limit, &mut piece.place);
            (events, piece, read)
        };
        let (added, piece, read) = tokio::task::spawn_blocking(translate)
            .await
            .context("the reader died")?;
        *events = added;
        if let (Some((first, last)), Some(next)) = (piece.range, events.next_behind())
            && next <= last
            && piece.edits.len() <= KEPT_BYTES_MAX
        {
            *self.kept.lock() = Some(Kept {
                first,
                last,
                edits: piece.edits,
                place: piece.place,
                next,
            });
        }
        Ok(read?)
    }
}

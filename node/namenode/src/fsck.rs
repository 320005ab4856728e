//! `GET /fsck`: which blocks of the files below a path lack replicas (`FsckServlet`, `NamenodeFsck`).
//!
//! The report reads the namespace in pages and releases the lock between them, so it is no snapshot. Its last line says
//! "is HEALTHY" or "is CORRUPT" as in Hadoop, because `hdfs fsck` reads that line. Nothing is repaired: `-move`,
//! `-delete` and `-replicate` are refused, and so are options that would show more than is examined. The report is a
//! diagnosis and no answer of the file system: it may show edits that the JournalNodes do not have yet.

use crate::background::Shared;
use bytes::Bytes;
use hathi_blockmanager::NumberReplicas;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::Block;
use hathi_formats::proto::hdfs::{DatanodeReportTypeProto, StorageTypeProto};
use hathi_namespace::{Caller, FileStatus, InodeKind};
use hathi_namesystem::calls::{CorruptFilesWalk, WALK_SLICE_INODES};
use hathi_namesystem::{Namesystem, OperationCategory};
use hathi_net::auth::Identity;
use hathi_net::http::{BodySender, HttpResponse, Query, RequestHead, body_channel};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// Hadoop's options that are refused, because they would have no effect. `includeSnapshots` is accepted: without
/// snapshots it has the right effect.
const UNSUPPORTED: [&str; 8] = [
    "move",
    "delete",
    "replicate",
    "replicadetails",
    "blockId",
    "storagepolicies",
    "upgradedomains",
    "maintenance",
];
/// Number of children that are read under one hold of the lock.
const PAGE_INODES: usize = 500;
/// Approximate size in bytes of the pieces in which the text is sent.
const PIECE_BYTES: usize = 16 << 10;
/// Number of pieces that may wait for a slow reader.
const PIECES: usize = 4;
/// `hadoop.http.staticuser.user`: the user of a request without a name.
const NOBODY: &str = "dr.who";

/// Answers the request; the report is made on a thread of its own.
pub fn respond(shared: &Arc<Shared>, request: &RequestHead) -> HttpResponse {
    let (sender, body) = body_channel(PIECES);
    let (shared, peer) = (shared.clone(), request.peer.ip());
    let asked = FsckRequest::of(&request.query);
    tokio::spawn(async move {
        let known = shared.nn.groups.resolve(&asked.user).await;
        let asker = known.unwrap_or_else(|| Identity {
            user: asked.user.as_str().into(),
            groups: Arc::from([]),
            superuser: false,
        });
        tokio::task::spawn_blocking(move || {
            let mut fsck = Fsck::new(&shared, asked, asker, sender);
            fsck.run(peer);
            fsck.flush();
        });
    });
    let mut response = HttpResponse::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A decoded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsckRequest {
    /// The caller: the first name of `ugi`. Hadoop's tools put the groups behind it.
    pub user: String,
    /// The path to begin with.
    pub path: String,
    show: Show,
    /// An option that is refused.
    unsupported: Option<&'static str>,
    lists_corrupt: bool,
    /// Corrupt files behind this block are listed.
    after: i64,
}

impl FsckRequest {
    /// Decodes a query. Missing fields get the defaults of Hadoop's servlet.
    #[must_use]
    pub fn of(query: &Query) -> FsckRequest {
        let asked = |key: &str| query.get(key).is_some();
        let names = query.get("ugi").or_else(|| query.get("user.name")).unwrap_or(NOBODY);
        FsckRequest {
            user: names.split(',').next().unwrap_or(NOBODY).to_owned(),
            path: query.get("path").unwrap_or("/").to_owned(),
            show: Show {
                files: asked("files"),
                blocks: asked("blocks"),
                locations: asked("locations"),
                racks: asked("racks"),
                open_files: asked("openforwrite"),
            },
            unsupported: UNSUPPORTED.into_iter().find(|option| asked(option)),
            lists_corrupt: asked("listcorruptfileblocks"),
            after: query.number("startblockafter").unwrap_or(0),
        }
    }
}

/// What the report should show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Show {
    files: bool,
    blocks: bool,
    locations: bool,
    racks: bool,
    open_files: bool,
}

/// Sums of the report (`NamenodeFsck.Result`).
#[derive(Debug, Default)]
struct Totals {
    dirs: u64,
    symlinks: u64,
    files: u64,
    bytes: u64,
    blocks: u64,
    open_files: u64,
    open_bytes: u64,
    open_blocks: u64,
    corrupt_files: u64,
    missing: u64,
    missing_bytes: u64,
    corrupt: u64,
    corrupt_bytes: u64,
    below_minimum: u64,
    minimally_replicated: u64,
    over_replicated: u64,
    under_replicated: u64,
    replicas: u64,
    expected_replicas: u64,
    missing_replicas: u64,
    decommissioned: u64,
    decommissioning: u64,
    maintenance: u64,
}

/// A child of a directory, copied while the lock was held.
enum Entry {
    Directory(String),
    Symlink(String),
    File(FileFacts),
}

struct FileFacts {
    path: String,
    length: u64,
    replication: u16,
    open: bool,
    blocks: Vec<BlockFacts>,
}

struct BlockFacts {
    block: Block,
    /// Whether the file is open. Open files are listed and not judged.
    unfinished: bool,
    replicas: NumberReplicas,
    locations: Vec<String>,
}

/// A directory whose children are being visited.
struct Level {
    path: String,
    page: std::vec::IntoIter<Entry>,
    /// Where the next page begins. `None` after the last one.
    next_after: Option<Vec<u8>>,
}

struct Fsck<'a> {
    shared: &'a Shared,
    asked: FsckRequest,
    pool: String,
    /// `dfs.namenode.replication.min`
    minimum: u64,
    user: Arc<str>,
    groups: Arc<[String]>,
    superuser: bool,
    totals: Totals,
    text: String,
    sender: BodySender,
    /// Whether the reader is gone.
    unread: bool,
}

impl<'a> Fsck<'a> {
    fn new(shared: &'a Shared, asked: FsckRequest, asker: Identity, sender: BodySender) -> Fsck<'a> {
        let (pool, minimum) = {
            let ns = shared.nn.ns.read();
            let minimum = ns.blockmanager.config().min_replication;
            (ns.info.block_pool_id.clone(), u64::from(minimum))
        };
        Fsck {
            pool,
            minimum,
            shared,
            asked,
            user: asker.user,
            groups: asker.groups,
            superuser: asker.superuser,
            totals: Totals::default(),
            text: String::new(),
            sender,
            unread: false,
        }
    }

    fn run(&mut self, peer: IpAddr) {
        let started = Instant::now();
        let date = java_date(self.shared.nn.clock.wall_ms());
        tracing::info!(user = ?self.user, %peer, path = ?self.asked.path, "fsck");
        let _ = writeln!(
            self.text,
            "FSCK started by {} (auth:SIMPLE) from /{peer} for path {} at {date}",
            self.user, self.asked.path
        );
        let outcome = self.report(started);
        crate::audit::log_fsck(&self.shared.nn, outcome.is_ok(), &self.user, peer, &self.asked.path);
        if let Err(refused) = outcome {
            self.ended(started);
            let _ = write!(
                self.text,
                "{}\n\n\nFsck on path '{}' FAILED",
                refused.message, self.asked.path
            );
        }
    }

    fn ended(&mut self, started: Instant) {
        let date = java_date(self.shared.nn.clock.wall_ms());
        let took = started.elapsed().as_millis();
        let _ = writeln!(self.text, "FSCK ended at {date} in {took} milliseconds");
    }

    fn report(&mut self, started: Instant) -> Result<(), RemoteException> {
        if let Some(unsupported) = self.asked.unsupported {
            return Err(RemoteException::new(
                exceptions::UNSUPPORTED_OPERATION,
                format!("-{unsupported} is not supported by this NameNode"),
            ));
        }
        let Some(first) = self.first()? else {
            let _ = write!(self.text, "\n\nPath '{}' does not exist", self.asked.path);
            return Ok(());
        };
        if self.asked.lists_corrupt {
            return self.list_corrupt_files();
        }
        self.walk(first)?;
        let healthy = self.totals.missing == 0 && self.totals.corrupt == 0;
        self.summary(healthy);
        self.ended(started);
        let status = if healthy { "is HEALTHY" } else { "is CORRUPT" };
        let _ = write!(
            self.text,
            "\n\nThe filesystem under path '{}' {status}",
            self.asked.path
        );
        Ok(())
    }

    fn caller(&self) -> Caller<'_> {
        Caller {
            user: &self.user,
            groups: &self.groups,
            superuser: self.superuser,
        }
    }

    fn first(&self) -> Result<Option<Entry>, RemoteException> {
        let ns = self.shared.nn.ns.read();
        ns.check_operation(OperationCategory::Read)?;
        let iip = ns.namespace.resolve(&self.asked.path)?;
        let status = ns.namespace.file_info(&self.caller(), &iip)?;
        Ok(status.map(|status| entry(&ns, &status, self.asked.path.clone(), &self.asked.show)))
    }

    /// Visits the tree depth first, and children in the order of their names.
    fn walk(&mut self, first: Entry) -> Result<(), RemoteException> {
        let mut levels: Vec<Level> = Vec::new();
        let mut current = Some(first);
        loop {
            match current.take() {
                Some(Entry::Directory(path)) => {
                    if self.asked.show.files {
                        let _ = writeln!(self.text, "{path} <dir>");
                    }
                    self.totals.dirs += 1;
                    levels.push(Level {
                        path,
                        page: Vec::new().into_iter(),
                        next_after: Some(Vec::new()),
                    });
                }
                Some(Entry::Symlink(path)) => {
                    if self.asked.show.files {
                        let _ = writeln!(self.text, "{path} <symlink>");
                    }
                    self.totals.symlinks += 1;
                }
                Some(Entry::File(file)) => self.file(&file),
                None => {}
            }
            if self.text.len() >= PIECE_BYTES {
                self.flush();
            }
            let Some(level) = levels.last_mut() else {
                return Ok(());
            };
            if self.unread {
                return Ok(());
            }
            current = level.page.next();
            if current.is_some() {
                continue;
            }
            let Some(after) = level.next_after.take() else {
                levels.pop();
                continue;
            };
            let (entries, next_after) = self.page(&levels[levels.len() - 1].path, &after)?;
            if let Some(level) = levels.last_mut() {
                level.page = entries.into_iter();
                level.next_after = next_after;
            }
        }
    }

    fn page(&self, dir: &str, after: &[u8]) -> Result<(Vec<Entry>, Option<Vec<u8>>), RemoteException> {
        let ns = self.shared.nn.ns.read();
        ns.check_operation(OperationCategory::Read)?;
        let mut entries = Vec::new();
        let mut last = Vec::new();
        // The directory was renamed or deleted meanwhile.
        let Ok(iip) = ns.namespace.resolve(dir) else {
            return Ok((entries, None));
        };
        let slash = if dir.ends_with('/') { "" } else { "/" };
        let more = ns
            .namespace
            .list(&self.caller(), &iip, after, PAGE_INODES, &mut |status| {
                // A file that now has the name of the directory lists itself.
                if !status.name.is_empty() {
                    let path = format!("{dir}{slash}{}", String::from_utf8_lossy(status.name));
                    last = status.name.to_vec();
                    entries.push(entry(&ns, &status, path, &self.asked.show));
                }
                ControlFlow::Continue(())
            })?;
        let next_after = (more.unwrap_or(0) > 0 && !last.is_empty()).then_some(last);
        Ok((entries, next_after))
    }

    fn file(&mut self, file: &FileFacts) {
        let totals = &mut self.totals;
        let count = file.blocks.len();
        if file.open && !self.asked.show.open_files {
            totals.open_files += 1;
            totals.open_bytes += file.length;
            totals.open_blocks += count as u64;
            return;
        }
        totals.files += 1;
        totals.bytes += file.length;
        totals.blocks += count as u64;
        let text = &mut self.text;
        let listed = self.asked.show.files || (file.open && self.asked.show.open_files);
        if listed {
            let _ = write!(
                text,
                "{} {} bytes, replicated: replication={}, {count} block(s){}: ",
                file.path,
                file.length,
                file.replication,
                if file.open { ", OPENFORWRITE" } else { "" }
            );
        } else if totals.files.is_multiple_of(100) {
            text.push('.');
        }
        self.blocks(file);
    }

    fn blocks(&mut self, file: &FileFacts) {
        let Fsck {
            asked: FsckRequest { show, .. },
            totals,
            text,
            pool,
            minimum,
            ..
        } = self;
        let path = &file.path;
        let target = u64::from(file.replication);
        let (mut missing, mut missing_bytes, mut corrupt, mut corrupt_bytes, mut under) = (0, 0, 0, 0, 0);
        let mut lines = String::new();
        for (number, facts) in file.blocks.iter().enumerate() {
            let replicas = &facts.replicas;
            let (block, bytes) = (&facts.block, facts.block.num_bytes);
            let name = format!("{pool}:blk_{}_{}", block.id, block.generation_stamp);
            let locations = if show.locations || show.racks {
                format!("  [{}]", facts.locations.join(", "))
            } else {
                String::new()
            };
            if facts.unfinished {
                let _ = write!(
                    lines,
                    "\nUnder Construction Block:\n{number}. {name} len={bytes} Expected_repl={}{locations}",
                    facts.locations.len()
                );
                continue;
            }
            totals.decommissioned += u64::from(replicas.decommissioned);
            totals.decommissioning += u64::from(replicas.decommissioning);
            totals.maintenance += u64::from(replicas.maintenance);
            let live = u64::from(replicas.live);
            let leaving = replicas.decommissioned + replicas.decommissioning + replicas.maintenance;
            let all = live + u64::from(leaving);
            totals.replicas += all;
            totals.expected_replicas += target;
            if all < *minimum {
                totals.below_minimum += 1;
            } else {
                totals.minimally_replicated += 1;
            }
            if live > target {
                totals.over_replicated += 1;
            }
            let all_corrupt = replicas.corrupt > 0 && all + u64::from(replicas.excess) == 0;
            if all_corrupt {
                corrupt += 1;
                corrupt_bytes += bytes;
                let _ = writeln!(text, "\n{path}: CORRUPT blockpool {pool} block blk_{}", block.id);
            }
            if all < target && all > 0 {
                totals.missing_replicas += target - all;
                totals.under_replicated += 1;
                under += 1;
                if !show.files {
                    let _ = write!(text, "\n{path}: ");
                }
                let _ = writeln!(
                    text,
                    " Under replicated {name}. Target Replicas is {target} but found {live} live replica(s), \
                     {} decommissioned replica(s), {} decommissioning replica(s).",
                    replicas.decommissioned, replicas.decommissioning
                );
            }
            let _ = write!(lines, "{number}. {name} len={bytes}");
            if all == 0 && !all_corrupt {
                missing += 1;
                missing_bytes += bytes;
                lines.push_str(" MISSING!\n");
            } else {
                let _ = writeln!(lines, " Live_repl={live}{locations}");
            }
        }
        totals.missing += missing;
        totals.missing_bytes += missing_bytes;
        totals.corrupt += corrupt;
        totals.corrupt_bytes += corrupt_bytes;
        if missing + corrupt > 0 {
            totals.corrupt_files += 1;
        }
        for (word, count, bytes) in [("MISSING", missing, missing_bytes), ("CORRUPT", corrupt, corrupt_bytes)] {
            if count > 0 && show.files {
                let _ = writeln!(text, " {word} {count} blocks of total size {bytes} B");
            } else if count > 0 {
                let _ = write!(text, "\n{path}: {word} {count} blocks of total size {bytes} B.");
            }
        }
        if show.files {
            if missing + corrupt + under == 0 {
                text.push_str(" OK\n");
            }
            if show.blocks {
                let _ = writeln!(text, "{lines}");
            }
        }
    }

    /// `listCorruptFileBlocks`: one page. The tool asks again with the cookie until there are no more.
    fn list_corrupt_files(&mut self) -> Result<(), RemoteException> {
        if !self.superuser {
            return Err(RemoteException::new(
                exceptions::ACCESS_CONTROL,
                format!("Access denied for user {}. Superuser privilege is required", self.user),
            ));
        }
        let mut page = CorruptFilesWalk::new(&self.asked.path, self.asked.after);
        while !page.step(&self.shared.nn.ns.read(), WALK_SLICE_INODES) {}
        let CorruptFilesWalk { found, cookie, .. } = page;
        let filler = match found.len() {
            0 if cookie == 0 => "no".to_owned(),
            0 => "no more".to_owned(),
            count => count.to_string(),
        };
        let _ = writeln!(self.text, "Cookie:\t{cookie}");
        for (block, path) in found {
            let _ = writeln!(self.text, "blk_{block}\t{path}");
        }
        let _ = writeln!(
            self.text,
            "\n\nThe filesystem under path '{}' has {filler} CORRUPT files\n",
            self.asked.path
        );
        Ok(())
    }

    fn summary(&mut self, healthy: bool) {
        let (nodes, racks, replication) = {
            let ns = self.shared.nn.ns.read();
            let nodes = ns.blockmanager.datanode_report(DatanodeReportTypeProto::Live);
            let racks: BTreeSet<_> = nodes.iter().map(|node| node.location().to_owned()).collect();
            let replication = self.shared.nn.settings.conf.get_i64("dfs.replication", 3).unwrap_or(3);
            (nodes.len(), racks.len(), replication)
        };
        let status = if healthy { "HEALTHY" } else { "CORRUPT" };
        let (dirs, symlinks) = (self.totals.dirs, self.totals.symlinks);
        let _ = write!(
            self.text,
            "\nStatus: {status}\n Number of data-nodes:\t{nodes}\n Number of racks:\t\t{racks}\n \
             Total dirs:\t\t\t{dirs}\n Total symlinks:\t\t{symlinks}\n\nReplicated Blocks:\n"
        );
        self.totals.replicated(&mut self.text, replication, self.minimum);
        // There are no erasure coded files, but scripts look for these lines.
        self.text.push_str(
            "\nErasure Coded Block Groups:\n Total size:\t0 B\n Total files:\t0\n \
             Total block groups (validated):\t0\n Minimally erasure-coded block groups:\t0\n \
             Over-erasure-coded block groups:\t0\n Under-erasure-coded block groups:\t0\n \
             Unsatisfactory placement block groups:\t0\n Average block group size:\t0.0\n \
             Missing block groups:\t\t0\n Corrupt block groups:\t\t0\n Missing internal blocks:\t0\n \
             Blocks queued for replication:\t0\n",
        );
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            let piece = Bytes::from(std::mem::take(&mut self.text));
            self.unread |= !self.sender.send_blocking(piece);
        }
    }
}

impl Totals {
    fn replicated(&self, text: &mut String, replication: i64, minimum: u64) {
        // Java prints a float with at least one decimal. So does Rust's debug format.
        let share = |part: u64, whole: u64| {
            if whole == 0 {
                String::new()
            } else {
                format!(" ({:?} %)", (part * 100) as f32 / whole as f32)
            }
        };
        let of_blocks = |part: u64| share(part, self.blocks);
        let mut line = |words: &str, value: String| {
            let _ = writeln!(text, " {words}{value}");
        };
        let when = |condition: bool, value: String| if condition { value } else { String::new() };
        line(
            "Total size:\t",
            format!("{} B", self.bytes)
                + &when(
                    self.open_bytes > 0,
                    format!(" (Total open files size: {} B)", self.open_bytes),
                ),
        );
        line(
            "Total files:\t",
            self.files.to_string()
                + &when(
                    self.open_files > 0,
                    format!(" (Files currently being written: {})", self.open_files),
                ),
        );
        let average = self.bytes.checked_div(self.blocks);
        line(
            "Total blocks (validated):\t",
            self.blocks.to_string()
                + &average.map_or(String::new(), |bytes| format!(" (avg. block size {bytes} B)"))
                + &when(
                    self.open_blocks > 0,
                    format!(" (Total open file blocks (not validated): {})", self.open_blocks),
                ),
        );
        let stars = " ********************************".to_owned();
        if self.corrupt_files > 0 || self.below_minimum > 0 {
            line("", stars.clone());
            if self.below_minimum > 0 {
                line(
                    " UNDER MIN REPL'D BLOCKS:\t",
                    self.below_minimum.to_string() + &of_blocks(self.below_minimum),
                );
                line(" MINIMAL BLOCK REPLICATION:\t", minimum.to_string());
            }
            if self.corrupt_files > 0 {
                line(" CORRUPT FILES:\t", self.corrupt_files.to_string());
            }
            if self.missing > 0 {
                line(" MISSING BLOCKS:\t", self.missing.to_string());
                line(" MISSING SIZE:\t\t", format!("{} B", self.missing_bytes));
            }
            if self.corrupt > 0 {
                line(" CORRUPT BLOCKS: \t", self.corrupt.to_string());
                line(" CORRUPT SIZE:\t\t", format!("{} B", self.corrupt_bytes));
            }
            line("", stars);
        }
        for (words, count) in [
            ("Minimally replicated blocks:\t", self.minimally_replicated),
            ("Over-replicated blocks:\t", self.over_replicated),
            ("Under-replicated blocks:\t", self.under_replicated),
            // Placement judges racks. Blocks on too few racks count as low redundancy.
            ("Mis-replicated blocks:\t\t", 0),
        ] {
            line(words, count.to_string() + &of_blocks(count));
        }
        line("Default replication factor:\t", replication.to_string());
        let average = if self.blocks == 0 {
            0.0
        } else {
            self.replicas as f32 / self.blocks as f32
        };
        line("Average block replication:\t", format!("{average:?}"));
        line("Missing blocks:\t\t", self.missing.to_string());
        line("Corrupt blocks:\t\t", self.corrupt.to_string());
        line(
            "Missing replicas:\t\t",
            self.missing_replicas.to_string() + &share(self.missing_replicas, self.expected_replicas),
        );
        for (words, count) in [
            ("DecommissionedReplicas:\t", self.decommissioned),
            ("DecommissioningReplicas:\t", self.decommissioning),
            ("InMaintenanceReplicas:\t", self.maintenance),
        ] {
            if count > 0 {
                line(words, count.to_string());
            }
        }
        line("Blocks queued for replication:\t", "0".to_owned());
    }
}

fn entry(ns: &Namesystem, status: &FileStatus<'_>, path: String, show: &Show) -> Entry {
    match status.kind {
        InodeKind::Directory => Entry::Directory(path),
        InodeKind::Symlink => Entry::Symlink(path),
        InodeKind::File => {
            let blocks: Vec<Block> = ns.namespace.blocks_of(status.id).map(|of| of.block).collect();
            let last = blocks.last().map(|block| block.id);
            Entry::File(FileFacts {
                path,
                length: status.length,
                replication: status.replication,
                open: status.under_construction,
                blocks: blocks
                    .into_iter()
                    .map(|block| block_facts(ns, block, Some(block.id) == last, show))
                    .collect(),
            })
        }
    }
}

fn block_facts(ns: &Namesystem, block: Block, is_last: bool, show: &Show) -> BlockFacts {
    let manager = &ns.blockmanager;
    let unfinished = is_last && !manager.is_complete(block.id);
    let storages = match unfinished {
        true => manager.expected_locations(block.id),
        false if show.locations || show.racks => manager.replicas_of(block.id),
        false => Vec::new(),
    };
    let locations = storages
        .into_iter()
        .filter_map(|index| {
            let storage = manager.storage(index)?;
            let node = manager.datanode(storage.datanode)?;
            let address = node.xfer_address();
            Some(if show.racks {
                format!("{}/{address}", node.location)
            } else {
                format!(
                    "DatanodeInfoWithStorage[{address},{},{}]",
                    storage.uuid,
                    type_name(storage.storage_type)
                )
            })
        })
        .collect();
    BlockFacts {
        // The block manager knows a length that a client has committed before the edits know it.
        block: manager.block(block.id).map_or(block, |view| view.block),
        unfinished,
        replicas: manager.count_replicas(block.id),
        locations,
    }
}

fn type_name(storage_type: StorageTypeProto) -> &'static str {
    storage_type.as_str_name()
}

/// The format of `java.util.Date.toString`, in UTC: `Sat Nov 21 05:17:53 UTC 2026`.
fn java_date(wall_ms: u64) -> String {
    let millis = i64::try_from(wall_ms).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%a %b %d %H:%M:%S UTC %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_java() {
        assert_eq!(java_date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(java_date(951_782_400_000), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(java_date(1_795_238_273_000), "Sat Nov 21 05:17:53 UTC 2026");
    }

    #[test]
    fn sums_are_printed_as_hadoop_prints_them() {
        let totals = Totals {
            files: 2,
            bytes: 30,
            blocks: 3,
            minimally_replicated: 3,
            under_replicated: 1,
            replicas: 8,
            expected_replicas: 9,
            missing_replicas: 1,
            ..Totals::default()
        };
        let mut text = String::new();
        totals.replicated(&mut text, 3, 1);
        let wanted = " Total size:\t30 B\n Total files:\t2\n Total blocks (validated):\t3 (avg. block size 10 B)\n \
            Minimally replicated blocks:\t3 (100.0 %)\n Over-replicated blocks:\t0 (0.0 %)\n \
            Under-replicated blocks:\t1 (33.333332 %)\n Mis-replicated blocks:\t\t0 (0.0 %)\n \
            Default replication factor:\t3\n Average block replication:\t2.6666667\n Missing blocks:\t\t0\n \
            Corrupt blocks:\t\t0\n Missing replicas:\t\t1 (11.111111 %)\n Blocks queued for replication:\t0\n";
        assert_eq!(text, wanted);
    }
}

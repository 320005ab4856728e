//! `fsck`: which blocks of the files below a path lack replicas (`NamenodeFsck`).
//!
//! The report reads the namespace in pages, one under each hold of the lock, so it is no snapshot. Its last line says
//! "is HEALTHY" or "is CORRUPT" as in Hadoop, because `hdfs fsck` reads that line. Nothing is repaired: `-move`,
//! `-delete` and `-replicate` are refused, and so are options that would show more than is examined. The report is a
//! diagnosis and no answer of the file system: it may show edits that the JournalNodes do not have yet.

mod totals;

use crate::calls::{CorruptFilesWalk, WALK_SLICE_INODES};
use crate::{Namesystem, OperationCategory};
use hathi_blockmanager::NumberReplicas;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::Block;
use hathi_formats::proto::hdfs::{DatanodeReportTypeProto, StorageTypeProto};
use hathi_namespace::{Caller, FileStatus, InodeKind};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::Arc;
use totals::Totals;

/// Hadoop's options that are refused, because they would have no effect.
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

/// What the report is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsckRequest {
    /// The path to begin with.
    pub path: String,
    show: Show,
    /// Whether snapshots are looked at as well.
    snapshots: bool,
    /// An option that is refused.
    unsupported: Option<&'static str>,
    lists_corrupt: bool,
    /// Corrupt files behind this block are listed.
    after: i64,
}

impl FsckRequest {
    /// A report about a path. `asked` says whether an option of Hadoop's servlet was given, such as `files`. Corrupt files
    /// behind the block `after` are listed.
    #[must_use]
    pub fn new(path: &str, after: i64, asked: impl Fn(&str) -> bool) -> FsckRequest {
        FsckRequest {
            path: path.to_owned(),
            show: Show {
                files: asked("files"),
                blocks: asked("blocks"),
                locations: asked("locations"),
                racks: asked("racks"),
                open_files: asked("openforwrite"),
            },
            snapshots: asked("includeSnapshots"),
            unsupported: UNSUPPORTED.into_iter().find(|option| asked(option)),
            lists_corrupt: asked("listcorruptfileblocks"),
            after,
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

/// A child of a directory.
#[derive(Debug)]
enum Child {
    Directory { path: String, snapshottable: bool },
    Symlink(String),
    File(FileFacts),
}

#[derive(Debug)]
struct FileFacts {
    path: String,
    length: u64,
    /// How its blocks are kept, as the report says it.
    kept: String,
    striped: bool,
    open: bool,
    blocks: Vec<BlockFacts>,
}

#[derive(Debug)]
struct BlockFacts {
    block: Block,
    /// Whether the file is open. Open files are listed and not judged.
    unfinished: bool,
    /// Replicas, or internal blocks, that there should be.
    target: u64,
    /// As many are needed to read it.
    minimum: u64,
    replicas: NumberReplicas,
    locations: Vec<String>,
}

/// A directory whose children are being visited.
#[derive(Debug)]
struct Level {
    path: String,
    page: std::vec::IntoIter<Child>,
    /// Where the next page begins. `None` after the last one.
    next_after: Option<Vec<u8>>,
}

/// Who asks for a report.
#[derive(Clone, Debug)]
pub struct FsckCaller {
    /// Name of the user.
    pub user: Arc<str>,
    /// Groups of the user.
    pub groups: Arc<[String]>,
    /// Whether the user is a superuser.
    pub superuser: bool,
}

impl FsckCaller {
    fn caller(&self) -> Caller<'_> {
        Caller {
            user: &self.user,
            groups: &self.groups,
            superuser: self.superuser,
        }
    }
}

/// How far a report is.
#[derive(Debug)]
enum Stage {
    Begin,
    /// The directories from the first one to the one whose children are being visited.
    Walking(Vec<Level>),
    Corrupt(CorruptFilesWalk),
    Ended,
}

/// A report that is being made. Each [`Fsck::step`] is short.
#[derive(Debug)]
pub struct Fsck {
    asked: FsckRequest,
    asker: FsckCaller,
    /// `dfs.replication`, which the report only names.
    replication: i64,
    /// Id of the block pool.
    pool: String,
    /// `dfs.namenode.replication.min`
    minimum: u64,
    totals: Totals,
    /// Those of striped files.
    groups: Totals,
    text: String,
    stage: Stage,
    last_line: Option<String>,
}

impl Fsck {
    /// Nothing is read yet. `replication` is `dfs.replication`, which the report names.
    #[must_use]
    pub fn new(ns: &Namesystem, asked: FsckRequest, asker: FsckCaller, replication: i64) -> Fsck {
        Fsck {
            asked,
            asker,
            replication,
            pool: ns.info.block_pool_id.clone(),
            minimum: u64::from(ns.blockmanager().config().min_replication),
            totals: Totals::default(),
            groups: Totals::default(),
            text: String::new(),
            stage: Stage::Begin,
            last_line: None,
        }
    }

    /// Reads a page. Returns whether there is more to do.
    ///
    /// # Errors
    /// An option that is refused, a path that can't be resolved, a caller who may not read something, or a NameNode that
    /// does not serve reads.
    pub fn step(&mut self, ns: &Namesystem) -> Result<bool, RemoteException> {
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Begin => self.begin(ns)?,
            Stage::Walking(levels) => self.walk(ns, levels)?,
            Stage::Corrupt(walk) => self.list_corrupt_files(ns, walk),
            Stage::Ended => {}
        }
        Ok(!matches!(self.stage, Stage::Ended))
    }

    /// The text that was written since the last call.
    pub fn take_text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// What stands at the end of the report, behind the time that it took. `None` for lists of corrupt files and paths that
    /// do not exist, which have neither.
    #[must_use]
    pub fn last_line(&self) -> Option<&str> {
        self.last_line.as_deref()
    }

    fn begin(&mut self, ns: &Namesystem) -> Result<(), RemoteException> {
        if let Some(unsupported) = self.asked.unsupported {
            return Err(RemoteException::new(
                exceptions::UNSUPPORTED_OPERATION,
                format!("-{unsupported} is not supported by this NameNode"),
            ));
        }
        ns.check_operation(OperationCategory::Read)?;
        let iip = ns.namespace().resolve(&self.asked.path)?;
        let status = ns.namespace().file_info(&self.asker.caller(), &iip)?;
        let first = status.map(|status| entry(ns, &status, self.asked.path.clone(), &self.asked.show));
        let Some(first) = first else {
            let _ = write!(self.text, "\n\nPath '{}' does not exist", self.asked.path);
            return Ok(());
        };
        if self.asked.lists_corrupt {
            if !self.asker.superuser {
                return Err(RemoteException::not_superuser(&self.asker.user));
            }
            let walk = CorruptFilesWalk::new(&self.asked.path, self.asked.after);
            self.stage = Stage::Corrupt(walk);
            return Ok(());
        }
        let mut levels = Vec::new();
        self.visit(first, &mut levels);
        self.go_on(ns, levels);
        Ok(())
    }

    fn visit(&mut self, entry: Child, levels: &mut Vec<Level>) {
        match entry {
            // Its snapshots come before it.
            Child::Directory {
                path,
                snapshottable: true,
            } if self.asked.snapshots => {
                let slash = if path.ends_with('/') { "" } else { "/" };
                let parts = [format!("{path}{slash}.snapshot"), path];
                let parts = parts.map(|path| Child::Directory {
                    path,
                    snapshottable: false,
                });
                levels.push(Level {
                    path: String::new(),
                    page: Vec::from(parts).into_iter(),
                    next_after: None,
                });
            }
            Child::Directory { path, .. } => {
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
            Child::Symlink(path) => {
                if self.asked.show.files {
                    let _ = writeln!(self.text, "{path} <symlink>");
                }
                self.totals.symlinks += 1;
            }
            Child::File(file) => self.file(&file),
        }
    }

    /// Visits the tree depth first, and children in the order of their names, as far as the next page.
    fn walk(&mut self, ns: &Namesystem, mut levels: Vec<Level>) -> Result<(), RemoteException> {
        if let Some(level) = levels.last_mut()
            && let Some(after) = level.next_after.take()
        {
            let (entries, next_after) = page(ns, &self.asker, &level.path, &after, &self.asked.show)?;
            level.page = entries.into_iter();
            level.next_after = next_after;
        }
        self.go_on(ns, levels);
        Ok(())
    }

    /// Visits what was read. The next step reads the next page, if there is one.
    fn go_on(&mut self, ns: &Namesystem, mut levels: Vec<Level>) {
        while let Some(level) = levels.last_mut() {
            if let Some(entry) = level.page.next() {
                self.visit(entry, &mut levels);
            } else if level.next_after.is_some() {
                self.stage = Stage::Walking(levels);
                return;
            } else {
                levels.pop();
            }
        }
        let is_whole = |totals: &Totals| totals.missing == 0 && totals.corrupt == 0;
        let healthy = is_whole(&self.totals) && is_whole(&self.groups);
        self.summary(ns, healthy);
        let status = if healthy { "is HEALTHY" } else { "is CORRUPT" };
        self.last_line = Some(format!("\n\nThe filesystem under path '{}' {status}", self.asked.path));
    }

    fn file(&mut self, file: &FileFacts) {
        let totals = match file.striped {
            false => &mut self.totals,
            true => &mut self.groups,
        };
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
                "{} {} bytes, {}, {count} block(s){}: ",
                file.path,
                file.length,
                file.kept,
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
            groups,
            text,
            pool,
            ..
        } = self;
        let totals = if file.striped { groups } else { totals };
        let path = &file.path;
        let (mut missing, mut missing_bytes, mut corrupt, mut corrupt_bytes, mut under) = (0, 0, 0, 0, 0);
        let mut lines = String::new();
        for (number, facts) in file.blocks.iter().enumerate() {
            let replicas = &facts.replicas;
            let (target, minimum) = (facts.target, facts.minimum);
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
            if all < minimum {
                totals.below_minimum += 1;
            } else {
                totals.minimally_replicated += 1;
            }
            if live > target {
                totals.over_replicated += 1;
            }
            let unreadable = all + u64::from(replicas.excess) < minimum.max(1);
            let all_corrupt = replicas.corrupt > 0 && unreadable;
            if all_corrupt {
                corrupt += 1;
                corrupt_bytes += bytes;
                let _ = writeln!(text, "\n{path}: CORRUPT blockpool {pool} block blk_{}", block.id);
            }
            if all < target && !unreadable {
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
            if unreadable && !all_corrupt {
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
    fn list_corrupt_files(&mut self, ns: &Namesystem, mut walk: CorruptFilesWalk) {
        if !walk.step(ns, WALK_SLICE_INODES) {
            self.stage = Stage::Corrupt(walk);
            return;
        }
        let CorruptFilesWalk { found, cookie, .. } = walk;
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
    }

    fn summary(&mut self, ns: &Namesystem, healthy: bool) {
        let nodes = ns.blockmanager().datanode_report(DatanodeReportTypeProto::Live);
        let racks: BTreeSet<_> = nodes.iter().map(|node| node.location().to_owned()).collect();
        let (nodes, racks) = (nodes.len(), racks.len());
        let status = if healthy { "HEALTHY" } else { "CORRUPT" };
        let (dirs, symlinks) = (self.totals.dirs, self.totals.symlinks);
        let _ = write!(
            self.text,
            "\nStatus: {status}\n Number of data-nodes:\t{nodes}\n Number of racks:\t\t{racks}\n \
             Total dirs:\t\t\t{dirs}\n Total symlinks:\t\t{symlinks}\n\nReplicated Blocks:\n"
        );
        self.totals.replicated(&mut self.text, self.replication, self.minimum);
        self.text.push_str("\nErasure Coded Block Groups:\n");
        self.groups.erasure_coded(&mut self.text);
    }
}

/// The next children of a directory, and where the page after them begins.
fn page(
    ns: &Namesystem,
    asker: &FsckCaller,
    dir: &str,
    after: &[u8],
    show: &Show,
) -> Result<(Vec<Child>, Option<Vec<u8>>), RemoteException> {
    ns.check_operation(OperationCategory::Read)?;
    let mut entries = Vec::new();
    let mut last = Vec::new();
    // The directory was renamed or deleted meanwhile.
    let Ok(iip) = ns.namespace().resolve(dir) else {
        return Ok((entries, None));
    };
    let slash = if dir.ends_with('/') { "" } else { "/" };
    let more = ns
        .namespace()
        .list(&asker.caller(), &iip, after, PAGE_INODES, &mut |status| {
            // A file that now has the name of the directory lists itself.
            if !status.name.is_empty() {
                let path = format!("{dir}{slash}{}", String::from_utf8_lossy(status.name));
                last = status.name.to_vec();
                entries.push(entry(ns, &status, path, show));
            }
            ControlFlow::Continue(())
        })?;
    let next_after = (more.unwrap_or(0) > 0 && !last.is_empty()).then_some(last);
    Ok((entries, next_after))
}

fn entry(ns: &Namesystem, status: &FileStatus<'_>, path: String, show: &Show) -> Child {
    match status.kind {
        InodeKind::Directory => Child::Directory {
            path,
            snapshottable: status.snapshottable,
        },
        InodeKind::Symlink => Child::Symlink(path),
        InodeKind::File => {
            let blocks: Vec<Block> = ns.namespace().blocks_shown(status).map(|of| of.block).collect();
            let last = blocks.last().map(|block| block.id);
            let striping = ns.namespace().striping_of_file(status.id);
            let copies = u64::from(status.replication);
            Child::File(FileFacts {
                path,
                length: status.length,
                kept: match striping {
                    None => format!("replicated: replication={}", status.replication),
                    Some(striping) => {
                        format!(
                            "erasure-coded: policy={}",
                            crate::coded_blocks::policy_name(ns.namespace(), striping)
                        )
                    }
                },
                striped: striping.is_some(),
                open: status.under_construction,
                blocks: blocks
                    .into_iter()
                    .map(|block| block_facts(ns, block, copies, Some(block.id) == last, show))
                    .collect(),
            })
        }
    }
}

fn block_facts(ns: &Namesystem, block: Block, copies: u64, is_last: bool, show: &Show) -> BlockFacts {
    let manager = &ns.blockmanager();
    let unfinished = is_last && !manager.is_complete(block.id);
    let storages = match unfinished {
        true if block.id.is_striped() => manager.expected_group(block.id),
        true => manager
            .expected_locations(block.id)
            .into_iter()
            .map(|at| (0, at))
            .collect(),
        false if show.locations || show.racks => manager.storages_of(block.id),
        false => Vec::new(),
    };
    let locations = storages
        .into_iter()
        .filter_map(|(at, index)| {
            let storage = manager.storage(index)?;
            let node = manager.datanode(storage.datanode)?;
            let address = node.xfer_address();
            // Of an internal block its id is shown (`NamenodeFsck.getReplicaInfo`).
            let name = match block.id.is_striped() {
                true => format!("blk_{}:", block.id.internal(at)),
                false => String::new(),
            };
            Some(if show.racks {
                format!("{name}{}/{address}", node.location)
            } else {
                format!(
                    "{name}DatanodeInfoWithStorage[{address},{},{}]",
                    storage.uuid,
                    type_name(storage.storage_type)
                )
            })
        })
        .collect();
    let known = manager.block(block.id);
    let (target, minimum) = match known.and_then(|view| Some((view, view.striping?))) {
        None => (copies, u64::from(manager.config().min_replication)),
        Some((view, striping)) => {
            let data = striping.data_units_of(view.block.num_bytes);
            (u64::from(data + striping.parity_units), u64::from(data))
        }
    };
    BlockFacts {
        target,
        minimum,
        // The block manager knows a length that a client has committed before the edits know it.
        block: known.map_or(block, |view| view.block),
        unfinished,
        replicas: manager.count_replicas(block.id),
        locations,
    }
}

fn type_name(storage_type: StorageTypeProto) -> &'static str {
    storage_type.as_str_name()
}

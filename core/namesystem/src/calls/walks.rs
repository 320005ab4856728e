//! Reads that may look at more inodes than others should wait for: content summaries, open files, corrupt files.
//!
//! A small read is answered at once. Otherwise the caller of the handler goes on with a [`WalkWork`] in slices, and
//! releases the lock between them, as Hadoop does after `dfs.content-summary.limit` inodes, but only in content
//! summaries. Changes that happen meanwhile may be in the answer or not.

use super::border::{Answer, OrDeferred, Outcome, Response};
use super::summary::Summary;
use crate::context::{Deferred, Reply};
use crate::{Generation, Namesystem, OperationCategory};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::BlockId;
use hathi_formats::proto::hdfs::{
    CorruptFileBlocksProto, GetContentSummaryResponseProto, GetQuotaUsageResponseProto,
    ListCorruptFileBlocksResponseProto, ListOpenFilesResponseProto, OpenFilesBatchResponseProto, OpenFilesTypeProto,
};
use hathi_namespace::OpenFilesWalk;

/// Number of inodes in a slice, which takes a quarter of a millisecond.
pub const WALK_SLICE_INODES: usize = 2000;
/// `dfs.corruptfilesreturned.max`: files of one answer.
const CORRUPT_FILES_MAX: usize = 100;

/// A read under way. Call [`WalkWork::step`] under the read lock until it returns a reply, and release the lock between
/// two calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkWork {
    generation: Generation,
    walk: Walk,
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    Summary(Box<Summary>),
    OpenFiles(ListOpenFiles),
    CorruptFiles(CorruptFilesWalk),
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Walked {
    /// `getContentSummary`
    Summary(GetContentSummaryResponseProto),
    /// `getQuotaUsage`
    Usage(GetQuotaUsageResponseProto),
    /// `listOpenFiles`
    OpenFiles(ListOpenFilesResponseProto),
    /// `listCorruptFileBlocks`
    CorruptFiles(ListCorruptFileBlocksResponseProto),
}

impl Response for Walked {
    fn reply(self, ns: &Namesystem) -> Reply {
        match self {
            Walked::Summary(response) => response.reply(ns),
            Walked::Usage(response) => response.reply(ns),
            Walked::OpenFiles(response) => response.reply(ns),
            Walked::CorruptFiles(response) => response.reply(ns),
        }
    }
}

impl WalkWork {
    /// Starts a walk. Answers at once when it is small.
    pub(super) fn start(ns: &Namesystem, walk: Walk) -> Outcome<OrDeferred<Walked>> {
        let mut work = WalkWork {
            generation: ns.life().generation(),
            walk,
        };
        Ok(match work.go_on(ns, WALK_SLICE_INODES)? {
            Some(found) => Answer::now(found, ns.shown_everything()),
            None => Answer::deferred(Deferred::Walk(Box::new(work))),
        })
    }

    /// Looks at no more than `max` inodes. Returns the reply after the last of them.
    pub fn step(&mut self, ns: &Namesystem, max: usize) -> Option<Reply> {
        if let Err(refused) = ns.check_operation(OperationCategory::Read) {
            return Some(Reply::refuse(refused));
        }
        if ns.life().generation() != self.generation {
            let message = "the namespace was loaded anew while it was looked through";
            return Some(Reply::refuse(RemoteException::new(exceptions::RETRIABLE, message)));
        }
        let reply = match self.go_on(ns, max).transpose()? {
            Ok(found) => found.reply(ns),
            Err(refused) => Reply::refuse(refused),
        };
        Some(reply.after(ns.shown_everything()))
    }

    fn go_on(&mut self, ns: &Namesystem, max: usize) -> Result<Option<Walked>, RemoteException> {
        Ok(match &mut self.walk {
            Walk::Summary(summary) => summary.step(ns, max)?,
            Walk::OpenFiles(open) => open.step(ns, max).map(Walked::OpenFiles),
            Walk::CorruptFiles(corrupt) => corrupt.step(ns, max).then(|| Walked::CorruptFiles(corrupt.response())),
        })
    }
}

/// `listOpenFiles` under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListOpenFiles {
    pub(super) path: String,
    pub(super) types: Vec<i32>,
    pub(super) walk: OpenFilesWalk,
}

impl ListOpenFiles {
    fn step(&mut self, ns: &Namesystem, max: usize) -> Option<ListOpenFilesResponseProto> {
        let page = ns.config.open_files_limit;
        // `FSNamesystem.getFilesBlockingDecom`
        let leaves_node = |file| {
            let mut blocks = ns.namespace().blocks_of(file);
            blocks.any(|block| ns.blockmanager().is_on_leaving_node(block.block.id))
        };
        let all = self.types.contains(&(OpenFilesTypeProto::AllOpenFiles as i32));
        let is_wanted = |file| all || leaves_node(file);
        let has_more = ns
            .namespace()
            .open_files_step(&mut self.walk, &self.path, page, max, &is_wanted)?;
        let found = std::mem::take(&mut self.walk.found);
        debug_assert!(found.len() <= page, "an answer has an end");
        let entries = found.into_iter().map(|file| OpenFilesBatchResponseProto {
            id: file.id.0 as i64,
            path: file.path,
            client_name: file.client_name,
            client_machine: file.client_machine,
        });
        Some(ListOpenFilesResponseProto {
            entries: entries.collect(),
            has_more,
            types: std::mem::take(&mut self.types),
        })
    }
}

/// One page of the files with corrupt blocks, under way (`FSNamesystem.listCorruptFileBlocks`). A client takes an empty
/// page for the last one, so the search goes on until the page is full or nothing is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorruptFilesWalk {
    path: String,
    /// Id of the last block that was looked at. The next page begins behind it.
    pub cookie: i64,
    /// Blocks of files at or below the path, and those files.
    pub found: Vec<(BlockId, String)>,
}

impl CorruptFilesWalk {
    /// The page behind the block with this id; 0 for the first page.
    #[must_use]
    pub fn new(path: &str, after: i64) -> CorruptFilesWalk {
        CorruptFilesWalk {
            path: path.to_owned(),
            cookie: after,
            found: Vec::new(),
        }
    }

    /// Looks at no more than `max` blocks. Returns whether the page is complete.
    pub fn step(&mut self, ns: &Namesystem, max: usize) -> bool {
        let max = max.max(1);
        let after = (self.cookie != 0).then_some(BlockId(self.cookie));
        let corrupt = ns.blockmanager().corrupt_blocks(after, max);
        let is_end = corrupt.len() < max;
        for (block, file) in corrupt {
            debug_assert!(block.0 > self.cookie || after.is_none(), "no block is looked at twice");
            self.cookie = block.0;
            if let Some(path) = ns.namespace().path_of(file)
                && is_below(&path, &self.path)
            {
                self.found.push((block, path));
            }
            if self.found.len() == CORRUPT_FILES_MAX {
                return true;
            }
        }
        is_end
    }

    fn response(&mut self) -> ListCorruptFileBlocksResponseProto {
        let found = std::mem::take(&mut self.found);
        let corrupt = CorruptFileBlocksProto {
            files: found.into_iter().map(|(_, path)| path).collect(),
            cookie: self.cookie.to_string(),
        };
        ListCorruptFileBlocksResponseProto { corrupt }
    }
}

/// `FSNamesystem.isParentEntry`
fn is_below(path: &str, root: &str) -> bool {
    match path.strip_prefix(root) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || root.ends_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_below;

    #[test]
    fn a_path_is_below_itself_and_its_parents_only() {
        assert!(is_below("/a/b", "/a") && is_below("/a", "/a") && is_below("/a", "/"));
        assert!(!is_below("/ab", "/a"));
    }
}

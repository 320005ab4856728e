//! What a client was told is what the journal holds, at a moment between its call and the answer.
//!
//! The journal decides the order of all changes. `known` is the last transaction of which the world knows that it stays. A
//! call that begins when this is A, and is answered when it is B, may show the state after any transaction from A to B, and
//! no other: an older one was stale already, and a newer one could be taken back. A change that was acknowledged is among
//! the transactions up to B. Since B of an earlier call is never above A of a later one, all histories together are
//! linearizable.

use super::Verdict;
use super::tree::{Node, Tree};
use std::collections::BTreeMap;

/// A call, as the client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `mkdirs`
    Mkdirs(String),
    /// `create`
    Create(String),
    /// `complete` of this file.
    Complete(u64),
    /// `rename2`
    Rename(String, String),
    /// `delete`
    Delete(String),
    /// `setPermission`
    SetPermission(String, u16),
    /// `setTimes`, with the modification time.
    SetTimes(String, u64),
    /// `getFileInfo`
    FileInfo(String),
    /// `getListing`
    List(String),
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was done.
    Done,
    /// There was nothing to be done (`delete` of what is not there).
    Nothing,
    /// A file or directory, or none.
    Info(Option<Node>),
    /// Names and inode ids, or no such path.
    Listing(Option<BTreeMap<String, u64>>),
    /// Refused, because the path, or one that leads to it, is not there.
    NotFound,
    /// Refused, because the path is there.
    Exists,
    /// Refused, because a path that leads to it is a file.
    NoDirectory,
    /// Refused for another reason.
    Refused,
}

/// A call that was answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The call.
    pub asked: Asked,
    /// Its ids.
    pub ids: ([u8; 16], i32),
    /// The answer.
    pub told: Told,
    /// The last transaction that was known to stay when the call began.
    pub from: u64,
    /// The same when the answer came.
    pub to: u64,
    /// Answers to calls of earlier transactions may be forgotten by who answered.
    pub remembers_from: u64,
    /// Whether several copies of the call may have been served.
    pub repeated: bool,
}

impl Answered {
    fn paths(&self) -> Vec<&str> {
        match &self.asked {
            Asked::Mkdirs(path)
            | Asked::Create(path)
            | Asked::Delete(path)
            | Asked::SetPermission(path, _)
            | Asked::SetTimes(path, _)
            | Asked::FileInfo(path)
            | Asked::List(path) => vec![path],
            Asked::Rename(from, to) => vec![from, to],
            Asked::Complete(_) => Vec::new(),
        }
    }

    /// Whether a repetition gets the first answer.
    fn is_served_once(&self) -> bool {
        matches!(self.asked, Asked::Create(_) | Asked::Rename(..) | Asked::Delete(_))
    }
}

/// Whether this may be told.
pub fn check(tree: &Tree, answered: &Answered) -> Verdict {
    let Answered {
        asked, told, from, to, ..
    } = answered;
    let mut moments = tree.moments(&answered.paths(), *from, *to).into_iter();
    if asked_of_a_file(asked) || moments.any(|txid| was_so(tree, answered, txid)) {
        return check_once(tree, answered);
    }
    Err(format!(
        "{asked:?} was answered with {told:?}, which was so after none of the transactions {from} to {to}"
    ))
}

/// Whether the answer was true after this transaction.
fn was_so(tree: &Tree, answered: &Answered, txid: u64) -> bool {
    let Answered { asked, told, .. } = answered;
    let paths = answered.paths();
    match (asked, told) {
        (Asked::Mkdirs(path), Told::Done) => path == "/" || tree.at(path, txid).is_some_and(|node| node.is_dir),
        (Asked::SetPermission(path, mode), Told::Done) => tree.at(path, txid).is_some_and(|node| node.mode == *mode),
        (Asked::SetTimes(path, mtime), Told::Done) => tree
            .at(path, txid)
            .is_some_and(|node| node.is_dir || node.mtime == *mtime),
        (Asked::Delete(path), Told::Nothing) => !tree.exists(path, txid),
        (Asked::FileInfo(path), Told::Info(info)) => tree.at(path, txid) == info.as_ref(),
        (Asked::List(path), Told::Listing(listing)) => tree.list(path, txid) == *listing,
        (Asked::Create(_) | Asked::Rename(..) | Asked::Delete(_) | Asked::Complete(_), Told::Done) => true,
        (_, Told::NotFound) => paths.iter().any(|path| !tree.exists(path, txid)),
        (_, Told::Exists) => paths.iter().any(|path| tree.exists(path, txid)),
        (_, Told::NoDirectory) => paths.iter().any(|path| leads_through_a_file(tree, path, txid)),
        (_, Told::Refused) => true,
        (_, Told::Done | Told::Nothing | Told::Info(_) | Told::Listing(_)) => false,
    }
}

fn asked_of_a_file(asked: &Asked) -> bool {
    matches!(asked, Asked::Complete(_))
}

/// What is served once is in the journal when it is acknowledged, and not when it is refused.
fn check_once(tree: &Tree, answered: &Answered) -> Verdict {
    let Answered {
        asked,
        told,
        to,
        ids,
        remembers_from,
        ..
    } = answered;
    if let (Asked::Complete(file), Told::Done) = (asked, told)
        && tree.closed(*file).is_none_or(|txid| txid > *to)
    {
        return Err(format!(
            "file {file} was said to be closed, and the journal does not say so up to {to}"
        ));
    }
    if !answered.is_served_once() {
        return Ok(());
    }
    let done = tree.transactions_of(ids.0, ids.1).iter().find(|txid| **txid <= *to);
    match (told, done) {
        (Told::Done, None) => Err(format!(
            "{asked:?} was acknowledged and is not in the journal up to {to}"
        )),
        (Told::Done, Some(_)) | (_, None) => Ok(()),
        // Images hold no answers.
        (_, Some(txid)) if txid < remembers_from => Ok(()),
        // Refusals are not remembered, by Hadoop neither: one copy was refused, and a late one was served after that.
        (_, Some(txid)) if answered.repeated && was_refused_before(tree, answered, *txid) => Ok(()),
        (_, Some(txid)) => Err(format!(
            "{asked:?} is transaction {txid}, and was answered with {told:?}"
        )),
    }
}

/// Whether the refusal was true when the call had begun, and its transaction was not there yet.
fn was_refused_before(tree: &Tree, answered: &Answered, txid: u64) -> bool {
    let moments = match txid.checked_sub(1) {
        Some(last) if answered.told != Told::Refused && last >= answered.from => {
            tree.moments(&answered.paths(), answered.from, last)
        }
        _ => Vec::new(),
    };
    let lacks = |path: &str, txid: u64| {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        !parent.is_empty() && !tree.exists(parent, txid)
    };
    moments.into_iter().any(|txid| match (&answered.asked, &answered.told) {
        // Its own path was not there either, which says nothing.
        (Asked::Create(path), Told::NotFound) => lacks(path, txid),
        (Asked::Rename(from, to), Told::NotFound) => !tree.exists(from, txid) || lacks(to, txid),
        _ => was_so(tree, answered, txid),
    })
}

fn leads_through_a_file(tree: &Tree, path: &str, txid: u64) -> bool {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let above = ends.filter_map(|end| path.get(..end));
    let mut files = above
        .filter_map(|above| tree.at(above, txid))
        .filter(|node| !node.is_dir);
    files.next().is_some()
}

/// A call that is served once is in the journal once, where everybody who served it remembered it.
pub fn check_repetitions(tree: &Tree, ids: ([u8; 16], i32), remembers_from: u64) -> Verdict {
    match tree.transactions_of(ids.0, ids.1) {
        [first, second, ..] if *first >= remembers_from => Err(format!(
            "call {} was served twice, in transactions {first} and {second}",
            ids.1
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::{create, mkdir};
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.apply(1, &mkdir(10, "/a"));
        tree.apply(2, &create(11, "/a/f", 5));
        tree.apply(3, &mkdir(12, "/a/d"));
        tree
    }

    fn answered(asked: Asked, told: Told, from: u64, to: u64) -> Verdict {
        let answered = Answered {
            asked,
            ids: ([1; 16], 5),
            told,
            from,
            to,
            remembers_from: 0,
            repeated: true,
        };
        check(&tree(), &answered)
    }

    #[test]
    fn it_fires_on_a_stale_read_and_on_one_that_is_taken_back() {
        let list = |names: &[(&str, u64)]| {
            let names = names.iter().map(|(name, id)| ((*name).to_owned(), *id));
            Told::Listing(Some(names.collect()))
        };
        let asked = || Asked::List("/a".to_owned());
        assert!(answered(asked(), list(&[("f", 11)]), 2, 3).is_ok());
        assert!(answered(asked(), list(&[("f", 11), ("d", 12)]), 2, 3).is_ok());
        assert!(answered(asked(), list(&[("f", 11)]), 3, 3).is_err(), "stale");
        assert!(
            answered(asked(), list(&[("f", 11), ("d", 12)]), 1, 2).is_err(),
            "it may be taken back"
        );
        assert!(answered(asked(), list(&[("g", 13)]), 0, 3).is_err(), "it never was");
        assert!(answered(Asked::FileInfo("/a/d".to_owned()), Told::Info(None), 0, 2).is_ok());
        assert!(answered(Asked::FileInfo("/a/d".to_owned()), Told::Info(None), 3, 3).is_err());
    }

    #[test]
    fn it_fires_on_what_was_acknowledged_and_is_not_there() {
        let create = || Asked::Create("/a/f".to_owned());
        assert!(answered(create(), Told::Done, 1, 2).is_ok());
        assert!(answered(create(), Told::Done, 1, 1).is_err());
        assert!(answered(create(), Told::Exists, 1, 1).is_err(), "it was not there yet");
        assert!(
            answered(create(), Told::Exists, 1, 2).is_err(),
            "it was this call's own"
        );
        assert!(
            answered(create(), Told::NotFound, 0, 2).is_ok(),
            "a copy was refused before it"
        );
        assert!(
            answered(create(), Told::NotFound, 1, 2).is_err(),
            "not since the call began"
        );
        assert!(answered(create(), Told::Refused, 1, 2).is_err());
        assert!(answered(Asked::Mkdirs("/a/d".to_owned()), Told::Done, 1, 2).is_err());
        assert!(answered(Asked::Mkdirs("/a/d".to_owned()), Told::Done, 1, 3).is_ok());
        assert!(answered(Asked::Complete(11), Told::Done, 1, 3).is_err());
        assert!(answered(Asked::SetPermission("/a".to_owned(), 0o700), Told::Done, 1, 3).is_err());
    }

    #[test]
    fn it_fires_on_refusals_for_no_reason_and_on_calls_that_were_served_twice() {
        let create = || Asked::Create("/x/f".to_owned());
        assert!(answered(create(), Told::NoDirectory, 0, 3).is_err());
        assert!(answered(Asked::Mkdirs("/a/f/x".to_owned()), Told::NoDirectory, 2, 3).is_ok());
        assert!(
            answered(
                Asked::Rename("/a/f".to_owned(), "/a/d/g".to_owned()),
                Told::NotFound,
                2,
                3
            )
            .is_err()
        );
        let mut tree = tree();
        assert!(check_repetitions(&tree, ([1; 16], 5), 0).is_ok());
        tree.apply(4, &super::super::tree::tests::create(14, "/a/g", 5));
        assert!(check_repetitions(&tree, ([1; 16], 5), 0).is_err());
        assert!(
            check_repetitions(&tree, ([1; 16], 5), 3).is_ok(),
            "an image holds no answers"
        );
    }
}

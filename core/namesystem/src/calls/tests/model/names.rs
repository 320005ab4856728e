//! Directories, deletion and renames.

use super::tree::{Dir, Kind, Node, Nothing, is_below, parts, split};
use super::world::{BELOW_FILE, Classes, World, agree};
use super::*;

impl World {
    pub(super) fn mkdirs(&mut self) {
        let path = self.path();
        let create_parent = self.random.u8(..4) > 0;
        let request = MkdirsRequestProto {
            create_parent,
            ..mkdirs(&path)
        };
        let expected = match (self.root.find(&path), self.missing_above(&path)) {
            (Ok(node), _) if node.file().is_some() => Err(&[exceptions::FILE_ALREADY_EXISTS][..]),
            (Ok(_), _) => Ok(None),
            (_, Err(classes)) => Err(classes),
            (_, Ok(missing)) if missing > 0 && !create_parent => Err(&[exceptions::FILE_NOT_FOUND][..]),
            (_, Ok(missing)) if !self.root.has_room(&path, missing + 1, 0) => Err(&[exceptions::NS_QUOTA_EXCEEDED][..]),
            (_, Ok(missing)) => Ok(Some(missing)),
        };
        let answer = self.call(&request);
        agree(&request, &answer, expected.map(|_| ()));
        if let Ok(Some(_)) = expected {
            self.make_above(&path, Some(0o755));
            let node = self.new_node(0o755, Kind::Dir(Dir::default()));
            self.put(&path, node);
        }
    }

    pub(super) fn delete(&mut self) {
        let path = self.path();
        let recursive = self.random.u8(..4) > 0;
        let expected: Result<bool, Classes> = match self.root.find(&path) {
            Err(Nothing::BelowFile) => Err(BELOW_FILE),
            Err(Nothing::Missing) => Ok(false),
            Ok(node) if !recursive && node.dir().is_some_and(|dir| !dir.children.is_empty()) => {
                Err(&[exceptions::PATH_IS_NOT_EMPTY_DIRECTORY])
            }
            Ok(node) if node.holds_snapshots() => Err(&[exceptions::SNAPSHOT]),
            Ok(_) => Ok(true),
        };
        let request = delete(&path, recursive);
        let answer = self.call(&request);
        agree(&request, &answer, expected.map(|_| ()));
        if let (Ok(answer), Ok(expected)) = (answer, expected) {
            assert_eq!(answer.result, expected, "{request:?}");
        }
        if expected == Ok(true) {
            self.take(&path);
        }
    }

    /// Whether a move brings quotas and snapshots together, which the naive namespace does not count.
    pub(super) fn mixes(&self, src: &str, dst: &str) -> bool {
        let Ok(node) = self.root.find(src) else { return false };
        let near = |path: &str, fits: fn(&Dir) -> bool| self.root.any_on_the_way(path, fits);
        let snapshots = node.holds_snapshottable()
            || self.is_shown(src)
            || near(src, |dir| dir.snapshots.is_some())
            || near(dst, |dir| dir.snapshots.is_some());
        let quotas =
            node.holds_quotas() || near(src, |dir| dir.quota.is_some()) || near(dst, |dir| dir.quota.is_some());
        snapshots && quotas
    }

    /// Whether a snapshot shows a directory, or something below it: what it shows may hang there, and counts there.
    pub(super) fn is_shown(&self, path: &str) -> bool {
        let shown = self.root.shown_by_snapshots();
        let all = self.root.find(path).map(Node::all).unwrap_or_default();
        all.iter().any(|node| shown.contains(&node.id))
    }

    /// Whether a snapshottable directory would be below another one.
    pub(super) fn nests(&self, src: &str, dst: &str) -> bool {
        let holds = self.root.find(src).is_ok_and(Node::holds_snapshottable);
        holds && self.root.any_on_the_way(split(dst).0, |dir| dir.snapshots.is_some())
    }

    /// Whether a move fits into the quotas that are only above its destination.
    pub(super) fn fits_quotas(&self, src: &str, dst: &str) -> bool {
        let Ok(node) = self.root.find(src) else { return true };
        let (names, bytes) = node.usage();
        let mut without = self.root.clone();
        let (parent, name) = split(src);
        let dir = without.find_mut(parent).and_then(Node::dir_mut);
        dir.and_then(|dir| dir.children.remove(name));
        // What is replaced is gone first. What does not become more always fits.
        let (parent, name) = split(dst);
        let dir = without.find_mut(parent).and_then(Node::dir_mut);
        let replaced = dir.and_then(|dir| dir.children.remove(name));
        let (fewer, fewer_bytes) = replaced.map(|node| node.usage()).unwrap_or_default();
        let above_both = |path: &str| src == path || is_below(src, path);
        // Quotas above both are not looked at: nothing changes there.
        let mut at = String::new();
        for part in parts(dst) {
            let limits = without.find(&at).ok().and_then(Node::dir).and_then(|dir| dir.quota);
            if let (Some((name_limit, byte_limit)), false) = (limits, at.is_empty() || above_both(&at)) {
                let (used, used_bytes) = without.find(&at).map(Node::usage).unwrap_or_default();
                let over_names = names > fewer && used + names > name_limit;
                if over_names || (bytes > fewer_bytes && used_bytes + bytes > byte_limit) {
                    return false;
                }
            }
            at = format!("{at}/{part}");
        }
        true
    }

    pub(super) fn move_to(&mut self, src: &str, dst: &str) {
        let node = self.take(src);
        self.put(dst, node);
    }

    pub(super) fn rename(&mut self) {
        let (src, dst) = (self.path(), self.path());
        let full = if self.root.is_dir_at(&dst) {
            format!("{dst}/{}", split(&src).1)
        } else {
            dst.clone()
        };
        if self.mixes(&src, &full) {
            return;
        }
        let is_there = self.root.find(&src).is_ok();
        let snapshots = self.root.find(&src).is_ok_and(Node::holds_snapshots);
        let moves = is_there
            && src != full
            && !is_below(&full, &src)
            && self.root.find(&full).is_err()
            && self.root.is_dir_at(split(&full).0)
            && !snapshots
            && !self.nests(&src, &full)
            && self.zones_allow(&src, &full)
            && self.fits_quotas(&src, &full);
        let request = rename(&src, &dst);
        let answer = self.call(&request);
        let answered = answer.as_ref().is_ok_and(|answer| answer.result);
        assert_eq!(
            answered,
            moves || (is_there && src == full && !snapshots),
            "{request:?}: {answer:?}"
        );
        if moves {
            self.move_to(&src, &full);
        }
    }

    pub(super) fn rename2(&mut self) {
        let (src, dst) = (self.path(), self.path());
        if self.mixes(&src, &dst) {
            return;
        }
        let overwrite = self.random.bool();
        let is_dir = |path: &str| self.root.is_dir_at(path);
        let replaceable = match self.root.find(&dst) {
            Err(_) => true,
            Ok(node) => {
                let children = node.dir().map_or(0, |dir| dir.children.len());
                overwrite && is_dir(&src) == is_dir(&dst) && children == 0 && !node.holds_snapshots()
            }
        };
        let moves = self.root.find(&src).is_ok_and(|node| !node.holds_snapshots())
            && src != dst
            && !is_below(&dst, &src)
            && replaceable
            && is_dir(split(&dst).0)
            && !self.nests(&src, &dst)
            && self.zones_allow(&src, &dst)
            && self.fits_quotas(&src, &dst);
        let request = Rename2RequestProto {
            src: src.clone(),
            dst: dst.clone(),
            overwrite_dest: overwrite,
            move_to_trash: None,
        };
        let answer = self.call(&request);
        agree(&request, &answer, if moves { Ok(()) } else { Err(&[]) });
        if moves {
            if self.root.find(&dst).is_ok() {
                self.take(&dst);
            }
            self.move_to(&src, &dst);
        }
    }
}

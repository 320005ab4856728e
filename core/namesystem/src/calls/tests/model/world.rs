//! The calls, what the naive namespace makes of them, and the comparison.

use super::tree::{Dir, File, Kind, Node, Nothing, is_below, parts, split};
use super::*;
use hathi_formats::proto::hdfs::acl_entry_proto::{AclEntryScopeProto, AclEntryTypeProto};
use hathi_formats::proto::hdfs::x_attr_proto::XAttrNamespaceProto;
use hathi_formats::protocols::Retry;
use std::collections::BTreeMap;
use std::fmt::Debug;

macro_rules! more_requests {
    ($($method:ident: $request:ident => $response:ident;)+) => {
        $(impl Request for $request {
            type Response = $response;
            const METHOD: ClientMethod = M::$method;
        })+
    };
}

more_requests! {
    GetAclStatus: GetAclStatusRequestProto => GetAclStatusResponseProto;
    GetXAttrs: GetXAttrsRequestProto => GetXAttrsResponseProto;
    RemoveAcl: RemoveAclRequestProto => RemoveAclResponseProto;
    RemoveXAttr: RemoveXAttrRequestProto => RemoveXAttrResponseProto;
    SetAcl: SetAclRequestProto => SetAclResponseProto;
    SetReplication: SetReplicationRequestProto => SetReplicationResponseProto;
    SetStoragePolicy: SetStoragePolicyRequestProto => SetStoragePolicyResponseProto;
    SetTimes: SetTimesRequestProto => SetTimesResponseProto;
    UnsetStoragePolicy: UnsetStoragePolicyRequestProto => UnsetStoragePolicyResponseProto;
}

/// Size of the blocks of all files.
const BLOCK: u64 = 1 << 20;
const NAMES: [&str; 4] = ["a", "b", "c", "a-longer-name-than-the-others"];
/// Policies with which new blocks may be on disks.
const POLICIES: [(&str, u32); 3] = [("WARM", 5), ("HOT", 7), ("ONE_SSD", 10)];
/// Classes of which a refusal has one; none: any.
type Classes = &'static [exceptions::ExceptionClass];
/// Hadoop tells that a file is above a path by one of these, by the kind of call.
const BELOW_FILE: Classes = &[exceptions::PARENT_NOT_DIRECTORY, exceptions::ACCESS_CONTROL];

pub(super) struct World {
    pub(super) active: Namesystem,
    pub(super) standby: Namesystem,
    pub(super) root: Node,
    random: fastrand::Rng,
    call_id: i32,
    last_id: u64,
    now_ms: u64,
}

/// Whether the call was to succeed.
fn agree<T: Debug>(what: impl Debug, answer: &Result<T, RemoteException>, expected: Result<(), Classes>) {
    match (answer, expected) {
        (Ok(_), Ok(())) => {}
        (Err(refusal), Err(classes)) => {
            let fits = classes.is_empty() || classes.iter().any(|class| refusal.is(*class));
            assert!(fits, "{what:?} was refused with {refusal:?}, and not with {classes:?}");
        }
        _ => panic!("{what:?}: {answer:?}, and not {expected:?}"),
    }
}

fn acl_entry(of: AclEntryTypeProto, name: Option<&str>, permissions: u32) -> AclEntryProto {
    AclEntryProto {
        r#type: of.into(),
        scope: AclEntryScopeProto::Access.into(),
        permissions: permissions as i32,
        name: name.map(str::to_owned),
    }
}

fn xattr(name: &str, value: Option<u8>) -> XAttrProto {
    XAttrProto {
        namespace: XAttrNamespaceProto::User.into(),
        name: name.to_owned(),
        value: value.map(|value| vec![value].into()),
    }
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut active = active();
        let mut standby = standby();
        for ns in [&mut active, &mut standby] {
            datanodes(ns, 3);
        }
        World {
            active,
            standby,
            root: Node::new(0, "", 0o755, Kind::Dir(Dir::default())),
            random: fastrand::Rng::with_seed(seed),
            call_id: 0,
            last_id: 0,
            now_ms: NOW.wall_ms,
        }
    }

    /// Calls the active, and lets the standby follow. Some calls come twice.
    fn call<R: Request + Debug>(&mut self, request: &R) -> Result<R::Response, RemoteException> {
        self.call_id += 1;
        self.now_ms += 1;
        let ctx = CallContext {
            now_ms: self.now_ms,
            ..numbered(self.call_id)
        };
        if std::env::var("HATHI_TRACE").is_ok() {
            eprintln!("{} {request:?}", self.now_ms);
        }
        let before = self.active.edit_log().applied();
        let result = reply(&mut self.active, &ctx, request).result;
        replay(&mut self.active, &mut self.standby);
        let applied = self.active.edit_log().applied();
        if std::env::var("HATHI_CHECK").is_ok() {
            self.active.check();
        }
        if applied != before {
            assert_eq!(
                self.active.namespace().digest(),
                self.standby.namespace().digest(),
                "{request:?}"
            );
        }
        if self.random.u8(..8) == 0
            && applied != before
            && result.is_ok()
            && R::METHOD.retry() == Some(Retry::AtMostOnce)
        {
            let again = reply(&mut self.active, &ctx, request).result;
            assert_eq!(again, result, "{request:?} was repeated");
            assert_eq!(self.active.edit_log().applied(), applied, "{request:?} was done again");
        }
        result.map(|bytes| R::Response::decode(bytes).unwrap())
    }

    fn new_node(&mut self, mode: u32, kind: Kind) -> Node {
        self.last_id += 1;
        let mut node = Node::new(self.last_id, "hdfs", mode, kind);
        node.mtime = self.now_ms;
        if node.file().is_some() {
            node.atime = self.now_ms;
        }
        node
    }

    fn path(&mut self) -> String {
        let depth = self.random.usize(1..4);
        let parts: Vec<&str> = (0..depth).map(|_| NAMES[self.random.usize(..NAMES.len())]).collect();
        format!("/{}", parts.join("/"))
    }

    /// The path of a file, or of anything if there is none.
    fn file_path(&mut self) -> String {
        for _ in 0..6 {
            let path = self.path();
            if self.root.find(&path).is_ok_and(|node| node.file().is_some()) {
                return path;
            }
        }
        self.path()
    }

    fn dir_path(&mut self) -> String {
        for _ in 0..4 {
            let path = self.path();
            if self.root.is_dir_at(&path) {
                return path;
            }
        }
        self.path()
    }

    fn touch_parent(&mut self, path: &str) {
        let now = self.now_ms;
        if let Some(parent) = self.root.find_mut(split(path).0) {
            parent.mtime = now;
        }
    }

    fn put(&mut self, path: &str, node: Node) {
        let (parent, name) = split(path);
        let name = name.to_owned();
        self.touch_parent(path);
        let dir = self.root.find_mut(parent).and_then(Node::dir_mut).expect("a parent");
        dir.children.insert(name, node);
    }

    fn take(&mut self, path: &str) -> Node {
        self.touch_parent(path);
        let (parent, name) = split(path);
        let dir = self.root.find_mut(parent).and_then(Node::dir_mut).expect("a parent");
        dir.children.remove(name).expect("a child")
    }

    /// The number of directories above a path that are missing.
    fn missing_above(&self, path: &str) -> Result<u64, Classes> {
        let all = parts(path);
        let mut at = String::new();
        let mut missing = 0;
        for part in &all[..all.len() - 1] {
            at = format!("{at}/{part}");
            match self.root.find(&at) {
                Ok(node) if node.file().is_some() => return Err(BELOW_FILE),
                Ok(_) => {}
                Err(_) => missing += 1,
            }
        }
        Ok(missing)
    }

    /// Makes the directories above a path that are missing. Without a mode each has that of its parent.
    fn make_above(&mut self, path: &str, mode: Option<u32>) {
        let all: Vec<String> = parts(path).iter().map(|&part| part.to_owned()).collect();
        let mut at = String::new();
        for part in &all[..all.len() - 1] {
            at = format!("{at}/{part}");
            if self.root.find(&at).is_err() {
                let of_parent = self
                    .root
                    .find(split(&at).0)
                    .map_or(0, |parent| parent.mode & 0o777 | 0o300);
                let node = self.new_node(mode.unwrap_or(of_parent), Kind::Dir(Dir::default()));
                self.put(&at, node);
            }
        }
    }

    /// Frees everything that was deleted.
    pub(super) fn reclaim_all(&mut self) {
        for ns in [&mut self.active, &mut self.standby] {
            while ns.reclaim(100) {}
        }
    }

    pub(super) fn step(&mut self) {
        if self.root.holds_quotas() {
            // What was deleted counts for quotas until it is freed.
            self.reclaim_all();
        }
        match self.random.u8(..100) {
            0..=9 => self.mkdirs(),
            10..=26 => self.create(),
            27..=31 => self.append(),
            32..=34 => self.truncate(),
            35..=42 => self.delete(),
            43..=48 => self.rename(),
            49..=54 => self.rename2(),
            55..=58 => self.concat(),
            59..=61 => self.set_replication(),
            62..=64 => self.set_permission(),
            65..=66 => self.set_owner(),
            67..=68 => self.set_times(),
            69..=71 => self.set_quota(),
            72..=74 => self.set_acl(),
            75..=78 => self.set_xattr(),
            79..=81 => self.set_policy(),
            82..=84 => self.allow_snapshots(),
            85..=90 => self.create_snapshot(),
            91..=92 => self.rename_snapshot(),
            93..=96 => self.delete_snapshot(),
            97 => self.close(),
            _ => {
                let inodes = self.random.usize(1..20);
                self.active.reclaim(inodes);
                self.standby.reclaim(inodes);
            }
        }
    }

    fn mkdirs(&mut self) {
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

    fn create(&mut self) {
        let path = self.path();
        let (overwrite, create_parent) = (self.random.bool(), self.random.u8(..4) > 0);
        let replication = self.random.u32(1..=3);
        let request = CreateRequestProto {
            create_flag: 1 | u32::from(overwrite) << 1,
            create_parent,
            replication,
            block_size: BLOCK,
            ..create(&path)
        };
        let found = self.root.find(&path);
        let missing = self.missing_above(&path);
        let names = missing.unwrap_or(0) + u64::from(found.is_err());
        let expected: Result<(), Classes> = match (found, missing) {
            (Ok(node), _) if node.dir().is_some() => Err(&[exceptions::FILE_ALREADY_EXISTS]),
            (Ok(node), _) if node.file().is_some_and(|file| file.is_open) && !overwrite => Err(&[]),
            (Ok(_), _) if !overwrite => Err(&[exceptions::FILE_ALREADY_EXISTS]),
            (_, Err(classes)) => Err(classes),
            (_, Ok(missing)) if missing > 0 && !create_parent => Err(&[exceptions::FILE_NOT_FOUND]),
            _ if !self.root.has_room(&path, names, 0) => Err(&[exceptions::NS_QUOTA_EXCEEDED]),
            _ => Ok(()),
        };
        let is_there = found.is_ok();
        let answer = self.call(&request);
        agree(&request, &answer, expected);
        if answer.is_err() {
            return;
        }
        if is_there {
            self.take(&path);
        }
        self.make_above(&path, None);
        let file = File {
            replication,
            blocks: Vec::new(),
            is_open: true,
        };
        let node = self.new_node(0o644, Kind::File(file));
        self.put(&path, node);
        // A refused block leaves it open, without that block.
        let counts = self.root.any_on_the_way(&path, |dir| dir.quota.is_some());
        let blocks = self.random.usize(..if counts { 2 } else { 4 });
        if self.random.u8(..12) > 0 {
            self.write(&path, None, blocks);
        }
    }

    /// Writes whole blocks, and a last one that may be shorter, and closes the file.
    fn write(&mut self, path: &str, mut previous: Option<ExtendedBlockProto>, blocks: usize) {
        for number in 0..blocks {
            let replication = self
                .root
                .find(path)
                .ok()
                .and_then(Node::file)
                .expect("a file")
                .replication;
            let has_room = self.root.has_room(path, 0, BLOCK * u64::from(replication));
            let answer = self.call(&add_block(path, previous.clone()));
            let expected: Result<(), Classes> = if has_room {
                Ok(())
            } else {
                Err(&[exceptions::DS_QUOTA_EXCEEDED])
            };
            agree(("addBlock", path), &answer, expected);
            let Ok(added) = answer else { return };
            let length = if number + 1 == blocks {
                self.random.u64(1..=BLOCK)
            } else {
                BLOCK
            };
            received(&mut self.active, &added.block, length);
            previous = Some(of_length(&added.block.b, length));
            let node = self.root.find_mut(path).and_then(Node::file_mut).expect("a file");
            node.blocks.push(length);
        }
        self.complete(path, previous);
    }

    fn complete(&mut self, path: &str, last: Option<ExtendedBlockProto>) {
        let answer = self.call(&complete(path, last)).unwrap();
        assert!(answer.result, "{path} is not closed");
        let now = self.now_ms;
        let node = self.root.find_mut(path).expect("a file");
        node.mtime = now;
        node.file_mut().expect("a file").is_open = false;
    }

    /// Closes a file that was left open.
    fn close(&mut self) {
        let path = self.file_path();
        let is_open = |node: &Node| node.file().is_some_and(|file| file.is_open);
        if self.root.find(&path).is_ok_and(is_open) {
            self.complete(&path, None);
        }
    }

    fn append(&mut self) {
        let path = self.file_path();
        let request = AppendRequestProto {
            src: path.clone(),
            client_name: CLIENT.to_owned(),
            // APPEND and NEW_BLOCK: the last block stays as it is.
            flag: Some(4 | 32),
        };
        let expected: Result<(), Classes> = match self.root.find(&path) {
            Err(Nothing::BelowFile) => Err(BELOW_FILE),
            Err(Nothing::Missing) => Err(&[exceptions::FILE_NOT_FOUND]),
            Ok(node) => match node.file() {
                None => Err(&[exceptions::FILE_ALREADY_EXISTS]),
                Some(file) if file.is_open => Err(&[]),
                // The last block has to have room to be filled, also if another one follows it.
                Some(file) => {
                    let room = file.blocks.last().map_or(0, |last| BLOCK - last);
                    if self.root.has_room(&path, 0, room * u64::from(file.replication)) {
                        Ok(())
                    } else {
                        Err(&[exceptions::DS_QUOTA_EXCEEDED])
                    }
                }
            },
        };
        let answer = self.call(&request);
        agree(&request, &answer, expected);
        let Ok(answer) = answer else { return };
        let file = self.root.find_mut(&path).and_then(Node::file_mut).expect("a file");
        file.is_open = true;
        let last = answer.block.map(|located| located.b);
        self.write(&path, last, 1);
    }

    fn truncate(&mut self) {
        let path = self.file_path();
        let Ok(Some(file)) = self.root.find(&path).map(Node::file) else {
            return;
        };
        if file.is_open {
            return;
        }
        let keep = self.random.usize(..=file.blocks.len());
        let new_length = file.blocks[..keep].iter().sum();
        let changes = keep < file.blocks.len();
        let request = TruncateRequestProto {
            src: path.clone(),
            new_length,
            client_name: CLIENT.to_owned(),
        };
        assert!(self.call(&request).unwrap().result);
        let now = self.now_ms;
        let node = self.root.find_mut(&path).expect("a file");
        if changes {
            node.mtime = now;
            node.file_mut().expect("a file").blocks.truncate(keep);
        }
    }

    fn delete(&mut self) {
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
    fn mixes(&self, src: &str, dst: &str) -> bool {
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
    fn is_shown(&self, path: &str) -> bool {
        let shown = self.root.shown_by_snapshots();
        let all = self.root.find(path).map(Node::all).unwrap_or_default();
        all.iter().any(|node| shown.contains(&node.id))
    }

    /// Whether a snapshottable directory would be below another one.
    fn nests(&self, src: &str, dst: &str) -> bool {
        let holds = self.root.find(src).is_ok_and(Node::holds_snapshottable);
        holds && self.root.any_on_the_way(split(dst).0, |dir| dir.snapshots.is_some())
    }

    /// Whether a move fits into the quotas that are only above its destination.
    fn fits_quotas(&self, src: &str, dst: &str) -> bool {
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

    fn move_to(&mut self, src: &str, dst: &str) {
        let node = self.take(src);
        self.put(dst, node);
    }

    fn rename(&mut self) {
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

    fn rename2(&mut self) {
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

    fn concat(&mut self) {
        let target = self.file_path();
        let dir = split(&target).0;
        let other = NAMES[self.random.usize(..NAMES.len())];
        let source = format!("{dir}/{other}");
        let shown = self.root.shown_by_snapshots();
        let closed = |path: &str| -> Option<&Node> {
            let node = self.root.find(path).ok()?;
            (!node.file()?.is_open).then_some(node)
        };
        let fits = match (closed(&target), closed(&source)) {
            (Some(node), Some(from)) => {
                let (file, more) = (node.file().expect("a file"), from.file().expect("a file"));
                let added: u64 = more.blocks.iter().sum();
                let bytes = added * u64::from(file.replication.saturating_sub(more.replication));
                target != source
                    && !more.blocks.is_empty()
                    && !shown.contains(&from.id)
                    && self.root.has_room(&target, 0, bytes)
            }
            _ => false,
        };
        let request = ConcatRequestProto {
            trg: target.clone(),
            srcs: vec![source.clone()],
        };
        let answer = self.call(&request);
        agree(&request, &answer, if fits { Ok(()) } else { Err(&[]) });
        if fits {
            let more = self.take(&source);
            let now = self.now_ms;
            let node = self.root.find_mut(&target).expect("a file");
            node.mtime = now;
            let more = more.file().expect("a file").blocks.clone();
            node.file_mut().expect("a file").blocks.extend(more);
        }
    }

    fn set_replication(&mut self) {
        let path = self.file_path();
        let replication = self.random.u32(1..=4);
        let request = SetReplicationRequestProto {
            src: path.clone(),
            replication,
        };
        let file = self.root.find(&path).ok().and_then(Node::file);
        let more = file.map_or(0, |file| {
            let length: u64 = file.blocks.iter().sum();
            length * u64::from(replication.saturating_sub(file.replication))
        });
        let expected: Result<bool, Classes> = match self.root.find(&path) {
            Err(Nothing::BelowFile) => Err(BELOW_FILE),
            Ok(_) if !self.root.has_room(&path, 0, more) => Err(&[exceptions::DS_QUOTA_EXCEEDED]),
            _ => Ok(file.is_some()),
        };
        let answer = self.call(&request);
        agree(&request, &answer, expected.map(|_| ()));
        if let (Ok(answer), Ok(changes)) = (answer, expected) {
            assert_eq!(answer.result, changes, "{request:?}");
            if let Some(file) = self.root.find_mut(&path).and_then(Node::file_mut) {
                file.replication = replication;
            }
        }
    }

    /// What calls about something that must be there answer.
    fn there(&self, path: &str) -> Result<(), Classes> {
        match self.root.find(path) {
            Ok(_) => Ok(()),
            Err(Nothing::Missing) => Err(&[exceptions::FILE_NOT_FOUND]),
            Err(Nothing::BelowFile) => Err(BELOW_FILE),
        }
    }

    /// Makes a call about something that must be there, and the change.
    fn change<R: Request + Debug>(&mut self, path: &str, request: &R, change: impl FnOnce(&mut Node))
    where
        R::Response: Debug,
    {
        let answer = self.call(request);
        agree(request, &answer, self.there(path));
        if answer.is_ok() {
            change(self.root.find_mut(path).expect("it is there"));
        }
    }

    fn set_permission(&mut self) {
        let path = self.path();
        let perm = self.random.u32(..0o2000);
        let request = SetPermissionRequestProto {
            src: path.clone(),
            permission: mode(perm),
        };
        self.change(&path, &request, |node| node.mode = perm);
    }

    fn set_owner(&mut self) {
        let path = self.path();
        let owner = ["hdfs", "alice", "bob"][self.random.usize(..3)];
        let request = SetOwnerRequestProto {
            src: path.clone(),
            username: Some(owner.to_owned()),
            groupname: None,
        };
        self.change(&path, &request, |node| owner.clone_into(&mut node.owner));
    }

    fn set_times(&mut self) {
        let path = self.file_path();
        // A read changes an access time that is older than an hour.
        let (mtime, atime) = (self.random.u64(..1 << 40), NOW.wall_ms + self.random.u64(..1000));
        let request = SetTimesRequestProto {
            src: path.clone(),
            mtime,
            atime,
        };
        self.change(&path, &request, |node| {
            node.mtime = mtime;
            node.atime = atime;
        });
    }

    fn set_quota(&mut self) {
        let path = self.dir_path();
        let near = self.root.any_on_the_way(&path, |dir| dir.snapshots.is_some());
        if near || self.root.find(&path).is_ok_and(Node::holds_snapshottable) || self.is_shown(&path) {
            return;
        }
        let set = self.random.u8(..3) > 0;
        let (names, bytes) = (self.random.u64(1..12), self.random.u64(1..12) * BLOCK);
        let request = SetQuotaRequestProto {
            path: path.clone(),
            // -1 takes it away.
            namespace_quota: if set { names } else { u64::MAX },
            storagespace_quota: if set { bytes } else { u64::MAX },
            storage_type: None,
        };
        let expected = match self.root.find(&path) {
            Ok(node) if node.file().is_some() => Err(&[][..]),
            _ => self.there(&path),
        };
        let answer = self.call(&request);
        agree(&request, &answer, expected);
        if answer.is_ok() {
            let dir = self.root.find_mut(&path).and_then(Node::dir_mut).expect("a directory");
            dir.quota = set.then_some((names, bytes));
        }
    }

    fn set_acl(&mut self) {
        let path = self.path();
        if self.random.u8(..3) == 0 {
            let request = RemoveAclRequestProto { src: path.clone() };
            self.change(&path, &request, |node| {
                if let Some((_, group)) = node.acl.take() {
                    node.mode = node.mode & !0o070 | group << 3;
                }
            });
            return;
        }
        let mut permission = || self.random.u32(..8);
        let (own, bob, group, mask, other) = (permission(), permission(), permission(), permission(), permission());
        let request = SetAclRequestProto {
            src: path.clone(),
            acl_spec: vec![
                acl_entry(AclEntryTypeProto::User, None, own),
                acl_entry(AclEntryTypeProto::User, Some("bob"), bob),
                acl_entry(AclEntryTypeProto::Group, None, group),
                acl_entry(AclEntryTypeProto::Mask, None, mask),
                acl_entry(AclEntryTypeProto::Other, None, other),
            ],
        };
        self.change(&path, &request, |node| {
            node.acl = Some((bob, group));
            node.mode = node.mode & !0o777 | own << 6 | mask << 3 | other;
        });
    }

    fn set_xattr(&mut self) {
        let path = self.path();
        let name = ["one", "two"][self.random.usize(..2)];
        let has = self.root.find(&path).is_ok_and(|node| node.xattrs.contains_key(name));
        let there = self.there(&path);
        if self.random.u8(..3) == 0 {
            let request = RemoveXAttrRequestProto {
                src: path.clone(),
                x_attr: Some(xattr(name, None)),
            };
            let answer = self.call(&request);
            let expected = there.and(if has { Ok(()) } else { Err(&[][..]) });
            agree(&request, &answer, expected);
            if let (Ok(_), Some(node)) = (answer, self.root.find_mut(&path)) {
                node.xattrs.remove(name);
            }
            return;
        }
        let (flag, value) = (self.random.u32(1..4), self.random.u8(..));
        let request = SetXAttrRequestProto {
            src: path.clone(),
            x_attr: Some(xattr(name, Some(value))),
            flag: Some(flag),
        };
        let may = if has { flag & 2 != 0 } else { flag & 1 != 0 };
        let answer = self.call(&request);
        agree(&request, &answer, there.and(if may { Ok(()) } else { Err(&[][..]) }));
        if let (Ok(_), Some(node)) = (answer, self.root.find_mut(&path)) {
            node.xattrs.insert(name.to_owned(), value);
        }
    }

    fn set_policy(&mut self) {
        let path = self.path();
        if self.random.u8(..3) == 0 {
            let request = UnsetStoragePolicyRequestProto { src: path.clone() };
            self.change(&path, &request, |node| node.policy = 0);
            return;
        }
        let (name, number) = POLICIES[self.random.usize(..POLICIES.len())];
        let request = SetStoragePolicyRequestProto {
            src: path.clone(),
            policy_name: name.to_owned(),
        };
        self.change(&path, &request, |node| node.policy = number);
    }

    fn allow_snapshots(&mut self) {
        let path = self.dir_path();
        if self.random.u8(..4) == 0 {
            let request = DisallowSnapshotRequestProto {
                snapshot_root: path.clone(),
            };
            let has = self.root.find(&path).ok().and_then(Node::dir);
            let has = has.map(|dir| dir.snapshots.as_ref().is_some_and(|all| !all.is_empty()));
            let expected: Result<(), Classes> = match has {
                Some(false) => Ok(()),
                Some(true) => Err(&[exceptions::SNAPSHOT]),
                None => Err(&[]),
            };
            let answer = self.call(&request);
            agree(&request, &answer, expected);
            if let (Ok(_), Some(dir)) = (answer, self.root.find_mut(&path).and_then(Node::dir_mut)) {
                dir.snapshots = None;
            }
            return;
        }
        let near = self.root.any_on_the_way(&path, |dir| dir.quota.is_some());
        if near || self.root.find(&path).is_ok_and(Node::holds_quotas) {
            return;
        }
        let request = AllowSnapshotRequestProto {
            snapshot_root: path.clone(),
        };
        let above = self.root.any_on_the_way(split(&path).0, |dir| dir.snapshots.is_some());
        let below = self.root.find(&path).ok().and_then(Node::dir).is_some_and(|dir| {
            let mut children = dir.children.values();
            children.any(Node::holds_snapshottable)
        });
        let is_dir = self.root.is_dir_at(&path);
        let is_already = self.root.find(&path).ok().and_then(Node::dir);
        let is_already = is_already.is_some_and(|dir| dir.snapshots.is_some());
        let answer = self.call(&request);
        let fits = is_dir && (is_already || (!above && !below));
        agree(&request, &answer, if fits { Ok(()) } else { Err(&[]) });
        if let (Ok(_), Some(dir)) = (answer, self.root.find_mut(&path).and_then(Node::dir_mut)) {
            dir.snapshots.get_or_insert_default();
        }
    }

    /// The path of a snapshottable directory, or of another one.
    fn snapshottable(&mut self) -> String {
        let mut found = Vec::new();
        let mut stack = vec![(String::new(), &self.root)];
        while let Some((path, node)) = stack.pop() {
            let Some(dir) = node.dir() else { continue };
            if dir.snapshots.is_some() {
                found.push(path.clone());
            }
            stack.extend(
                dir.children
                    .iter()
                    .map(|(name, child)| (format!("{path}/{name}"), child)),
            );
        }
        if found.is_empty() || self.random.u8(..10) == 0 {
            return self.dir_path();
        }
        found.swap_remove(self.random.usize(..found.len()))
    }

    fn snapshots_of(&mut self, path: &str) -> Option<&mut BTreeMap<String, Node>> {
        self.root.find_mut(path)?.dir_mut()?.snapshots.as_mut()
    }

    fn create_snapshot(&mut self) {
        let path = self.snapshottable();
        let name = format!("s{}", self.random.u8(..5));
        // The length of a file that is being written is that of the present until it is closed.
        let open = |node: &&Node| node.file().is_some_and(|file| file.is_open);
        if self.root.find(&path).is_ok_and(|node| node.all().iter().any(open)) {
            return;
        }
        let request = CreateSnapshotRequestProto {
            snapshot_root: path.clone(),
            snapshot_name: Some(name.clone()),
        };
        let fits = self.snapshots_of(&path).is_some_and(|all| !all.contains_key(&name));
        let answer = self.call(&request);
        agree(&request, &answer, if fits { Ok(()) } else { Err(&[]) });
        if answer.is_ok() {
            let now = self.now_ms;
            let node = self.root.find_mut(&path).expect("a directory");
            node.mtime = now;
            let copy = node.copied();
            self.snapshots_of(&path).expect("snapshottable").insert(name, copy);
        }
    }

    fn rename_snapshot(&mut self) {
        let path = self.snapshottable();
        let (old, new) = (format!("s{}", self.random.u8(..5)), format!("s{}", self.random.u8(..5)));
        let request = RenameSnapshotRequestProto {
            snapshot_root: path.clone(),
            snapshot_old_name: old.clone(),
            snapshot_new_name: new.clone(),
        };
        let all = self.snapshots_of(&path);
        let fits = all.is_some_and(|all| all.contains_key(&old) && (old == new || !all.contains_key(&new)));
        let answer = self.call(&request);
        agree(&request, &answer, if fits { Ok(()) } else { Err(&[]) });
        if answer.is_ok() {
            let now = self.now_ms;
            self.root.find_mut(&path).expect("a directory").mtime = now;
            let all = self.snapshots_of(&path).expect("snapshottable");
            let copy = all.remove(&old).expect("a snapshot");
            all.insert(new, copy);
        }
    }

    fn delete_snapshot(&mut self) {
        let path = self.snapshottable();
        let name = format!("s{}", self.random.u8(..5));
        let request = DeleteSnapshotRequestProto {
            snapshot_root: path.clone(),
            snapshot_name: name.clone(),
        };
        let fits = self.snapshots_of(&path).is_some_and(|all| all.contains_key(&name));
        let answer = self.call(&request);
        agree(&request, &answer, if fits { Ok(()) } else { Err(&[]) });
        if answer.is_ok() {
            let now = self.now_ms;
            self.root.find_mut(&path).expect("a directory").mtime = now;
            self.snapshots_of(&path).expect("snapshottable").remove(&name);
        }
    }
}

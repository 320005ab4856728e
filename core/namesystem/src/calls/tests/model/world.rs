//! The calls, what the naive namespace makes of them, and the comparison.

use super::caching::Caching;
use super::coding::PolicyState;
use super::tree::{Dir, Kind, Node, Nothing, parts, split};
use super::zones::Keys;
use super::*;
use crate::SatisfierConfig;
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
    ListEncryptionZones: ListEncryptionZonesRequestProto => ListEncryptionZonesResponseProto;
    ListReencryptionStatus: ListReencryptionStatusRequestProto => ListReencryptionStatusResponseProto;
    ReencryptEncryptionZone: ReencryptEncryptionZoneRequestProto => ReencryptEncryptionZoneResponseProto;
    RemoveErasureCodingPolicy: RemoveErasureCodingPolicyRequestProto => RemoveErasureCodingPolicyResponseProto;
    RemoveXAttr: RemoveXAttrRequestProto => RemoveXAttrResponseProto;
    SetAcl: SetAclRequestProto => SetAclResponseProto;
    SetReplication: SetReplicationRequestProto => SetReplicationResponseProto;
    SetStoragePolicy: SetStoragePolicyRequestProto => SetStoragePolicyResponseProto;
    SetTimes: SetTimesRequestProto => SetTimesResponseProto;
    UnsetStoragePolicy: UnsetStoragePolicyRequestProto => UnsetStoragePolicyResponseProto;
}

pub(super) const NAMES: [&str; 4] = ["a", "b", "c", "a-longer-name-than-the-others"];
/// Classes of which a refusal has one; none: any.
pub(super) type Classes = &'static [exceptions::ExceptionClass];
/// Hadoop tells that a file is above a path by one of these, by the kind of call.
pub(super) const BELOW_FILE: Classes = &[exceptions::PARENT_NOT_DIRECTORY, exceptions::ACCESS_CONTROL];

pub(super) struct World {
    pub(super) active: Namesystem,
    pub(super) standby: Namesystem,
    pub(super) root: Node,
    pub(super) policies: BTreeMap<&'static str, PolicyState>,
    pub(super) keys: Keys,
    pub(super) caching: Caching,
    /// All edits.
    pub(super) log: Vec<u8>,
    pub(super) random: fastrand::Rng,
    call_id: i32,
    last_id: u64,
    pub(super) now_ms: u64,
}

/// Whether the call was to succeed.
pub(super) fn agree<T: Debug>(what: impl Debug, answer: &Result<T, RemoteException>, expected: Result<(), Classes>) {
    match (answer, expected) {
        (Ok(_), Ok(())) => {}
        (Err(refusal), Err(classes)) => {
            let fits = classes.is_empty() || classes.iter().any(|class| refusal.is(*class));
            assert!(fits, "{what:?} was refused with {refusal:?}, and not with {classes:?}");
        }
        _ => panic!("{what:?}: {answer:?}, and not {expected:?}"),
    }
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut active = active();
        let mut standby = standby();
        for ns in [&mut active, &mut standby] {
            datanodes(ns, 5);
            "kms://http@kms.example:9600/kms".clone_into(&mut ns.config.keys.provider_uri);
            ns.config.satisfier = SatisfierConfig {
                external: true,
                paths_max: usize::MAX,
            };
        }
        World {
            active,
            standby,
            root: Node::new(0, "", 0o755, Kind::Dir(Dir::default())),
            policies: coding::at_first(),
            keys: Keys::default(),
            caching: Caching::default(),
            log: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            call_id: 0,
            last_id: 0,
            now_ms: NOW.wall_ms,
        }
    }

    /// Calls the active, and lets the standby follow. Some calls come twice.
    pub(super) fn call<R: Request + Debug>(&mut self, request: &R) -> Result<R::Response, RemoteException> {
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
        let mut first = reply(&mut self.active, &ctx, request);
        if let Some(Deferred::AskKeys(work)) = &mut first.deferred {
            let answer = self.keys.answer(work.question(), &mut self.random);
            let now = Now {
                wall_ms: ctx.now_ms,
                ..NOW
            };
            let handler = handler(R::METHOD.into()).expect("it is served");
            first = work.finish(&mut self.active, handler, &body(request), answer, now);
            assert_eq!(first.deferred, None, "{request:?} has what it asked for");
        }
        let result = first.result;
        self.follow(request);
        let applied = self.active.edit_log().applied();
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

    /// The standby has what the active has.
    pub(super) fn follow(&mut self, what: impl Debug) {
        let before = self.standby.namespace().last_applied_txid();
        for item in sync(&mut self.active) {
            let LogItem::Edits { bytes, .. } = item else {
                continue;
            };
            self.log.extend_from_slice(&bytes);
            for frame in Frames::new(&bytes, 0) {
                let frame = frame.unwrap();
                let op = decode_frame(&frame, LayoutVersion::NAMENODE_CURRENT).unwrap();
                self.standby.replay(frame.txid, &op, NOW.monotonic_ms).unwrap();
            }
        }
        if std::env::var("HATHI_CHECK").is_ok() {
            self.active.check();
        }
        if self.standby.namespace().last_applied_txid() != before {
            assert_eq!(
                self.active.namespace().digest(),
                self.standby.namespace().digest(),
                "{what:?}"
            );
        }
    }

    pub(super) fn new_node(&mut self, mode: u32, kind: Kind) -> Node {
        self.last_id += 1;
        let mut node = Node::new(self.last_id, "hdfs", mode, kind);
        node.mtime = self.now_ms;
        if node.file().is_some() {
            node.atime = self.now_ms;
        }
        node
    }

    pub(super) fn path(&mut self) -> String {
        let depth = self.random.usize(1..4);
        let parts: Vec<&str> = (0..depth).map(|_| NAMES[self.random.usize(..NAMES.len())]).collect();
        format!("/{}", parts.join("/"))
    }

    /// The path of a file, or of anything if there is none.
    pub(super) fn file_path(&mut self) -> String {
        for _ in 0..6 {
            let path = self.path();
            if self.root.find(&path).is_ok_and(|node| node.file().is_some()) {
                return path;
            }
        }
        self.path()
    }

    pub(super) fn dir_path(&mut self) -> String {
        for _ in 0..4 {
            let path = self.path();
            if self.root.is_dir_at(&path) {
                return path;
            }
        }
        self.path()
    }

    pub(super) fn touch_parent(&mut self, path: &str) {
        let now = self.now_ms;
        if let Some(parent) = self.root.find_mut(split(path).0) {
            parent.mtime = now;
        }
    }

    pub(super) fn put(&mut self, path: &str, node: Node) {
        let (parent, name) = split(path);
        let name = name.to_owned();
        self.touch_parent(path);
        let dir = self.root.find_mut(parent).and_then(Node::dir_mut).expect("a parent");
        dir.children.insert(name, node);
    }

    pub(super) fn take(&mut self, path: &str) -> Node {
        self.touch_parent(path);
        let (parent, name) = split(path);
        let dir = self.root.find_mut(parent).and_then(Node::dir_mut).expect("a parent");
        dir.children.remove(name).expect("a child")
    }

    /// The number of directories above a path that are missing.
    pub(super) fn missing_above(&self, path: &str) -> Result<u64, Classes> {
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
    pub(super) fn make_above(&mut self, path: &str, mode: Option<u32>) {
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

    /// Frees a part of what was deleted.
    fn reclaim(&mut self) {
        let inodes = self.random.usize(1..20);
        self.active.reclaim(inodes);
        self.standby.reclaim(inodes);
    }

    pub(super) fn step(&mut self) {
        if self.root.holds_quotas() {
            // What was deleted counts for quotas until it is freed.
            self.reclaim_all();
        }
        match self.random.u8(..140) {
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
            98..=99 => self.reclaim(),
            100..=101 => self.set_type_quota(),
            102..=104 => self.satisfy(),
            105..=108 => self.change_coding_policies(),
            109..=113 => self.set_coding_policy(),
            114..=117 => self.create_zone(),
            118..=120 => self.ask_for_reencryption(),
            121..=128 => self.reencrypt(),
            129..=131 => self.change_pools(),
            132..=137 => self.change_directives(),
            _ => self.scan_cache(),
        }
    }

    /// What calls about something that must be there answer.
    pub(super) fn there(&self, path: &str) -> Result<(), Classes> {
        match self.root.find(path) {
            Ok(_) => Ok(()),
            Err(Nothing::Missing) => Err(&[exceptions::FILE_NOT_FOUND]),
            Err(Nothing::BelowFile) => Err(BELOW_FILE),
        }
    }

    /// Makes a call about something that must be there, and the change.
    pub(super) fn change<R: Request + Debug>(&mut self, path: &str, request: &R, change: impl FnOnce(&mut Node))
    where
        R::Response: Debug,
    {
        let answer = self.call(request);
        agree(request, &answer, self.there(path));
        if answer.is_ok() {
            change(self.root.find_mut(path).expect("it is there"));
        }
    }
}

//! Encryption zones, the keys of their files, and re-encryption.

use super::tree::{Asked, File, FileKey, Node, Zone};
use super::world::{Classes, World, agree};
use super::*;
use crate::keys::{EncryptedKey, KeyAnswer, KeyQuestion};
use crate::reencryption::{Look, Reencryption};
use hathi_namespace::KeyOfFile;
use std::collections::BTreeSet;

const KEY: &str = "key";
/// Files whose keys the provider encrypts anew at once.
const BATCH: usize = 2;

/// A key provider with one key, and what becomes of the keys of files.
#[derive(Default)]
pub(super) struct Keys {
    /// The version of the key that encrypts new keys.
    version: u32,
    /// The last key of a file that was given out.
    last: u32,
    /// Those that files have had.
    used: BTreeSet<u32>,
    driver: Reencryption,
    /// The version that the driver gives to keys, and when somebody asked for it.
    driven: (u32, u64),
    /// A batch whose keys are with the provider.
    batch: Option<Vec<KeyOfFile>>,
    /// Keys of files that the provider has not encrypted anew.
    failed: BTreeSet<u32>,
}

impl Keys {
    fn next(&mut self) -> EncryptedKey {
        self.last += 1;
        let material = [&[0; 12][..], &self.last.to_be_bytes()].concat();
        EncryptedKey {
            key_name: KEY.to_owned(),
            version_name: format!("{KEY}@{}", self.version),
            iv: material.clone(),
            material,
        }
    }

    pub(super) fn answer(&mut self, question: &KeyQuestion, random: &mut fastrand::Rng) -> KeyAnswer {
        let key_name = KEY.to_owned();
        match question {
            KeyQuestion::Metadata { .. } => {
                let cipher = Some("AES/CTR/NoPadding".to_owned());
                KeyAnswer::Metadata { key_name, cipher }
            }
            KeyQuestion::Generate { .. } => {
                let keys = (0..random.u8(1..4)).map(|_| self.next()).collect();
                KeyAnswer::Generated { key_name, keys }
            }
            KeyQuestion::CurrentVersion { .. } => {
                self.version += random.u32(..2);
                let version_name = format!("{KEY}@{}", self.version);
                KeyAnswer::CurrentVersion { key_name, version_name }
            }
        }
    }

    /// Notes the key of a new file, which no other file has had.
    pub(super) fn note(&mut self, info: &FileEncryptionInfoProto) -> FileKey {
        let key = key_of(info);
        assert_eq!(key.version, self.version, "a new file has a key of the present version");
        assert!(self.used.insert(key.number), "{key:?} is another file's");
        key
    }
}

fn number_of(material: &[u8]) -> u32 {
    u32::from_be_bytes(*material.last_chunk().expect("a key"))
}

fn version_of(name: &str) -> u32 {
    let number = name.strip_prefix(KEY).and_then(|rest| rest.strip_prefix('@'));
    number
        .and_then(|number| number.parse().ok())
        .expect("a version of the key")
}

pub(super) fn key_of(info: &FileEncryptionInfoProto) -> FileKey {
    assert_eq!((info.key_name.as_str(), &info.iv), (KEY, &info.key), "{info:?}");
    FileKey {
        number: number_of(&info.key),
        version: version_of(&info.ez_key_version_name),
    }
}

/// The root of a zone, with this inode.
fn root_of(node: &mut Node, inode: u64) -> Option<&mut Node> {
    if node.zone().is_some_and(|zone| zone.inode == inode) {
        return Some(node);
    }
    let children = &mut node.dir_mut()?.children;
    children.values_mut().find_map(|child| root_of(child, inode))
}

impl World {
    pub(super) fn create_zone(&mut self) {
        let path = self.dir_path();
        let expected: Result<(), Classes> = match self.root.find(&path) {
            Ok(node) => match node.dir() {
                Some(dir) if dir.zone.is_none() && dir.children.is_empty() => Ok(()),
                _ => Err(&[exceptions::IO]),
            },
            Err(_) => Err(&[]),
        };
        let request = CreateEncryptionZoneRequestProto {
            src: path.clone(),
            key_name: Some(KEY.to_owned()),
        };
        let answer = self.call(&request);
        agree(&request, &answer, expected);
        if answer.is_ok() {
            let status = self.read(&file_info(&path)).fs.expect("it is there");
            let dir = self.root.find_mut(&path).and_then(Node::dir_mut);
            dir.expect("a directory").zone = Some(Zone {
                inode: status.file_id(),
                reencryption: None,
            });
        }
    }

    /// Whether a move goes neither into a zone nor out of one, and through none that is being re-encrypted.
    pub(super) fn zones_allow(&self, src: &str, dst: &str) -> bool {
        let around = |path: &str| self.root.zone_at(tree::split(path).0);
        match (around(src), around(dst)) {
            (None, None) => true,
            (Some(from), Some(to)) => from.inode == to.inode && !from.is_reencrypted(),
            _ => false,
        }
    }

    fn a_zone(&mut self) -> String {
        let zones: Vec<String> = self.root.zones().into_iter().map(|(path, _)| path).collect();
        if zones.is_empty() || self.random.u8(..10) == 0 {
            return self.dir_path();
        }
        zones[self.random.usize(..zones.len())].clone()
    }

    pub(super) fn ask_for_reencryption(&mut self) {
        let path = self.a_zone();
        let cancels = self.random.u8(..4) == 0;
        let action = match cancels {
            true => ReencryptActionProto::CancelReencrypt,
            false => ReencryptActionProto::StartReencrypt,
        };
        let request = ReencryptEncryptionZoneRequestProto {
            action: action.into(),
            zone: path.clone(),
        };
        let zone = self.root.find(&path).ok().and_then(Node::zone);
        let fits = zone.is_some_and(|zone| zone.is_reencrypted() == cancels);
        let answer = self.call(&request);
        agree(&request, &answer, if fits { Ok(()) } else { Err(&[]) });
        if answer.is_err() {
            return;
        }
        let (version, submitted) = (self.keys.version, self.now_ms);
        let dir = self.root.find_mut(&path).and_then(Node::dir_mut).expect("a zone");
        let zone = dir.zone.as_mut().expect("a zone");
        match &mut zone.reencryption {
            Some(asked) if cancels => {
                asked.is_cancelled = true;
                asked.is_running = false;
            }
            asked => {
                *asked = Some(Asked {
                    version,
                    submitted,
                    is_running: true,
                    is_cancelled: false,
                });
            }
        }
    }

    /// A step of the re-encryption that is under way, or the beginning of the next one.
    pub(super) fn reencrypt(&mut self) {
        let mut driver = std::mem::take(&mut self.keys.driver);
        match self.keys.batch.take() {
            Some(batch) => self.answered(&mut driver, batch),
            None => self.look(&mut driver),
        }
        self.keys.driver = driver;
        self.follow("re-encryption");
    }

    fn look(&mut self, driver: &mut Reencryption) {
        let inodes = self.random.usize(1..12);
        match driver.look(&self.active, BATCH, inodes) {
            Look::Nothing => {
                let running = |(_, zone): &(String, &Zone)| zone.is_reencrypted();
                assert!(!self.root.zones().iter().any(running), "a zone is forgotten");
            }
            Look::Begun(zone) => {
                let root = root_of(&mut self.root, zone.0).expect("a zone that is there");
                let asked = root.zone().and_then(|zone| zone.reencryption.as_ref());
                let asked = asked
                    .filter(|asked| asked.is_running)
                    .expect("somebody has asked for it");
                self.keys.driven = (asked.version, asked.submitted);
                self.active.note_reencryption(Some(zone));
            }
            Look::More => {}
            Look::Batch(batch) => self.keys.batch = Some(batch),
            Look::End => self.zone_done(driver),
        }
    }

    /// The zone of the driver, if it is still to be re-encrypted.
    fn driven(&mut self) -> Option<&mut Node> {
        let zone = self.active.reencrypted_zone?;
        let driven = self.keys.driven;
        let wants = |asked: &Asked| asked.is_running && (asked.version, asked.submitted) == driven;
        root_of(&mut self.root, zone.0).filter(|root| {
            root.zone()
                .and_then(|zone| zone.reencryption.as_ref())
                .is_some_and(wants)
        })
    }

    /// The provider has answered, or it has not.
    fn answered(&mut self, driver: &mut Reencryption, batch: Vec<KeyOfFile>) {
        let old: Vec<u32> = batch.iter().map(|of| number_of(&of.key.material)).collect();
        let keys = (self.random.u8(..6) > 0).then(|| batch.iter().map(|_| self.keys.next()).collect::<Vec<_>>());
        let new = keys
            .as_ref()
            .map(|keys| keys.iter().map(|key| number_of(&key.material)));
        let new: Vec<u32> = new.into_iter().flatten().collect();
        let changed = driver.updated(&mut self.active, batch, keys).unwrap();
        let version = self.keys.version;
        if new.is_empty() {
            self.keys.failed.extend(&old);
        }
        let mut expected = 0;
        let mut used = Vec::new();
        if let Some(root) = self.driven() {
            for (old, new) in old.iter().zip(new) {
                // It may be gone.
                let file = root.file_with_key(*old);
                let key = file.and_then(|file| file.key.as_mut());
                if let Some(key) = key.filter(|key| key.version != version) {
                    *key = FileKey { number: new, version };
                    used.push(new);
                    expected += 1;
                }
            }
        }
        self.keys.used.extend(used);
        assert_eq!(changed, expected, "files have new keys");
    }

    fn zone_done(&mut self, driver: &mut Reencryption) {
        let failed = std::mem::take(&mut self.keys.failed);
        let root = self.driven().expect("a zone that is there");
        let asked = root
            .zone()
            .and_then(|zone| zone.reencryption.clone())
            .expect("asked for");
        let is_old = |file: &&File| {
            let key = file.key.expect("a file of a zone");
            key.version < asked.version && !failed.contains(&key.number)
        };
        assert_eq!(
            root.files_of_zone().into_iter().find(is_old),
            None,
            "a file is left out"
        );
        let zone = root.dir_mut().and_then(|dir| dir.zone.as_mut()).expect("a zone");
        zone.reencryption = Some(Asked {
            is_running: false,
            ..asked
        });
        self.keys.failed = failed;
        self.now_ms += 1;
        let now = Now {
            wall_ms: self.now_ms,
            ..NOW
        };
        driver.finish(&mut self.active, now).unwrap();
    }

    pub(super) fn compare_zones(&mut self) {
        let listed = self.read(&ListEncryptionZonesRequestProto { id: 0 });
        assert!(!listed.has_more, "there are few zones");
        let shown = listed.zones.into_iter().map(|zone| (zone.path, zone.id as u64));
        let zones = self.root.zones();
        let expected = zones.iter().map(|(path, zone)| (path.clone(), zone.inode));
        assert_eq!(shown.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "zones");
        let asked = zones.into_iter().filter_map(|(path, zone)| {
            let asked = zone.reencryption.clone()?;
            Some((path, asked))
        });
        let asked: Vec<(String, Asked)> = asked.collect();
        let listed = self.read(&ListReencryptionStatusRequestProto { id: 0 });
        assert!(!listed.has_more, "there are few zones");
        let shown = listed.statuses.into_iter().map(|status| {
            let shown = Asked {
                version: version_of(&status.ez_key_version_name),
                submitted: status.submission_time.cast_unsigned(),
                is_running: status.state() != ReencryptionStateProto::Completed,
                is_cancelled: status.canceled,
            };
            (status.path, shown)
        });
        assert_eq!(shown.collect::<Vec<_>>(), asked, "re-encryptions");
    }
}

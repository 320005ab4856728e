//! Files: how they are written, cut, joined and replicated.

use super::coding::striped;
use super::tree::{BLOCK, File, Kind, Node, Nothing, REPLICATION, Striped, split};
use super::world::{BELOW_FILE, Classes, NAMES, World, agree};
use super::*;

/// The DataNodes have their internal blocks of a group of this length, or the replicas of a block.
fn received_all(ns: &mut Namesystem, located: &LocatedBlockProto, striped: Option<&Striped>, length: u64) {
    let Some(striped) = striped else {
        received(ns, located, length);
        return;
    };
    let indices = located.block_indices.as_deref().expect("places in the group");
    let units = striped.data_units + striped.parity_units;
    assert_eq!(
        indices.len() as u64,
        units,
        "each internal block has a DataNode: {located:?}"
    );
    for (at, index) in indices.iter().enumerate() {
        let bytes = striped.unit(length, u64::from(*index));
        let mut one = located.clone();
        one.b.block_id += u64::from(*index);
        one.locs = vec![located.locs[at].clone()];
        one.storage_i_ds = vec![located.storage_i_ds[at].clone()];
        if bytes > 0 {
            received(ns, &one, bytes);
        }
    }
}

impl World {
    pub(super) fn create(&mut self) {
        let path = self.path();
        let (overwrite, create_parent) = (self.random.bool(), self.random.u8(..4) > 0);
        let replication = self.random.u32(1..=3);
        let replicated = self.random.u8(..8) == 0;
        let asked = match self.random.u8(..12) {
            0 => Some(REPLICATION),
            1 => Some(self.policy()),
            _ => None,
        };
        let knows_zones = self.random.u8(..8) > 0;
        let request = CreateRequestProto {
            create_flag: 1 | u32::from(overwrite) << 1 | u32::from(replicated) << 7,
            create_parent,
            replication,
            block_size: BLOCK,
            ec_policy_name: asked.map(str::to_owned),
            crypto_protocol_version: knows_zones.then_some(2).into_iter().collect(),
            ..create(&path)
        };
        let policy = match asked {
            _ if replicated => None,
            Some(name) => Some(name).filter(|name| *name != REPLICATION),
            None => self.root.coding_at(split(&path).0),
        };
        let striped = policy.map(striped);
        let is_in_zone = self.root.zone_at(split(&path).0).is_some();
        let found = self.root.find(&path);
        let missing = self.missing_above(&path);
        let names = missing.unwrap_or(0) + u64::from(found.is_err());
        let expected: Result<(), Classes> = match (found, missing) {
            // Both ways to ask exclude each other.
            _ if asked.is_some_and(|name| replicated || !self.may_be_asked_for(name)) => Err(&[]),
            _ if is_in_zone && !knows_zones => Err(&[]),
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
        let Ok(answer) = answer else { return };
        let info = answer.fs.and_then(|status| status.file_encryption_info);
        assert_eq!(info.is_some(), is_in_zone, "{request:?}: {info:?}");
        let key = info.map(|info| self.keys.note(&info));
        if is_there {
            self.take(&path);
        }
        self.make_above(&path, None);
        let file = File {
            replication: if striped.is_some() { 1 } else { replication },
            striped,
            blocks: Vec::new(),
            is_open: true,
            key,
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
    pub(super) fn write(&mut self, path: &str, mut previous: Option<ExtendedBlockProto>, blocks: usize) {
        for number in 0..blocks {
            let file = self.root.find(path).ok().and_then(Node::file).expect("a file");
            let (full, striped) = (file.full_block(), file.striped.clone());
            let has_room = self.root.has_room(path, 0, file.space(full));
            let answer = self.call(&add_block(path, previous.clone()));
            let expected: Result<(), Classes> = if has_room {
                Ok(())
            } else {
                Err(&[exceptions::DS_QUOTA_EXCEEDED])
            };
            agree(("addBlock", path), &answer, expected);
            let Ok(added) = answer else { return };
            let length = if number + 1 == blocks {
                self.random.u64(1..=full)
            } else {
                full
            };
            received_all(&mut self.active, &added.block, striped.as_ref(), length);
            previous = Some(of_length(&added.block.b, length));
            let node = self.root.find_mut(path).and_then(Node::file_mut).expect("a file");
            node.blocks.push(length);
        }
        self.complete(path, previous);
    }

    pub(super) fn complete(&mut self, path: &str, last: Option<ExtendedBlockProto>) {
        let answer = self.call(&complete(path, last)).unwrap();
        assert!(answer.result, "{path} is not closed");
        let now = self.now_ms;
        let node = self.root.find_mut(path).expect("a file");
        node.mtime = now;
        node.file_mut().expect("a file").is_open = false;
    }

    /// Closes a file that was left open.
    pub(super) fn close(&mut self) {
        let path = self.file_path();
        let is_open = |node: &Node| node.file().is_some_and(|file| file.is_open);
        if self.root.find(&path).is_ok_and(is_open) {
            self.complete(&path, None);
        }
    }

    pub(super) fn append(&mut self) {
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
                // The last block has to have room to be filled, also if another one follows it. A group stays as it is.
                Some(file) => {
                    let last = file.blocks.last().filter(|_| file.striped.is_none());
                    let room = last.map_or(0, |last| BLOCK - last);
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

    pub(super) fn truncate(&mut self) {
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
        let is_striped = file.striped.is_some();
        let request = TruncateRequestProto {
            src: path.clone(),
            new_length,
            client_name: CLIENT.to_owned(),
        };
        let answer = self.call(&request);
        let expected = if is_striped {
            Err(&[exceptions::UNSUPPORTED_OPERATION][..])
        } else {
            Ok(())
        };
        agree(&request, &answer, expected);
        let Ok(answer) = answer else { return };
        assert!(answer.result, "{request:?} is done at once");
        let now = self.now_ms;
        let node = self.root.find_mut(&path).expect("a file");
        if changes {
            node.mtime = now;
            node.file_mut().expect("a file").blocks.truncate(keep);
        }
    }

    pub(super) fn concat(&mut self) {
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
                    && file.striped == more.striped
                    && self.root.zone_at(&target).is_none()
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

    pub(super) fn set_replication(&mut self) {
        let path = self.file_path();
        let replication = self.random.u32(1..=4);
        let request = SetReplicationRequestProto {
            src: path.clone(),
            replication,
        };
        let file = self.root.find(&path).ok().and_then(Node::file);
        let file = file.filter(|file| file.striped.is_none());
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
            if let Some(file) = self.root.find_mut(&path).and_then(Node::file_mut).filter(|_| changes) {
                file.replication = replication;
            }
        }
    }
}

//! Permissions, owners, times, quotas, ACLs, extended attributes and storage policies.

use super::tree::{BLOCK, Node};
use super::world::{World, agree};
use super::*;
use hathi_formats::proto::hdfs::acl_entry_proto::{AclEntryScopeProto, AclEntryTypeProto};
use hathi_formats::proto::hdfs::x_attr_proto::XAttrNamespaceProto;

/// Policies with which new blocks may be on disks.
const POLICIES: [(&str, u32); 3] = [("WARM", 5), ("HOT", 7), ("ONE_SSD", 10)];
/// The mark of what a satisfier is to move.
const MARK: &str = "hdfs.sps";
/// More than there ever is.
const ENDLESS: u64 = 1 << 50;

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
    pub(super) fn set_permission(&mut self) {
        let path = self.path();
        let perm = self.random.u32(..0o2000);
        let request = SetPermissionRequestProto {
            src: path.clone(),
            permission: mode(perm),
        };
        self.change(&path, &request, |node| node.mode = perm);
    }

    pub(super) fn set_owner(&mut self) {
        let path = self.path();
        let owner = ["hdfs", "alice", "bob"][self.random.usize(..3)];
        let request = SetOwnerRequestProto {
            src: path.clone(),
            username: Some(owner.to_owned()),
            groupname: None,
        };
        self.change(&path, &request, |node| owner.clone_into(&mut node.owner));
    }

    pub(super) fn set_times(&mut self) {
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

    pub(super) fn set_quota(&mut self) {
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

    pub(super) fn set_acl(&mut self) {
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

    pub(super) fn set_xattr(&mut self) {
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

    pub(super) fn set_policy(&mut self) {
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

    /// Quotas by storage type, which are never reached.
    pub(super) fn set_type_quota(&mut self) {
        let path = self.dir_path();
        let kind = [StorageTypeProto::Disk, StorageTypeProto::Ssd][self.random.usize(..2)];
        let quota = (self.random.u8(..3) > 0).then(|| ENDLESS + self.random.u64(..1000));
        let request = SetQuotaRequestProto {
            path: path.clone(),
            // It stays.
            namespace_quota: i64::MAX as u64,
            // -1 takes it away.
            storagespace_quota: quota.unwrap_or(u64::MAX),
            storage_type: Some(kind.into()),
        };
        let expected = match self.root.find(&path) {
            Ok(node) if node.file().is_some() => Err(&[][..]),
            _ => self.there(&path),
        };
        let answer = self.call(&request);
        agree(&request, &answer, expected);
        if answer.is_ok() {
            let dir = self.root.find_mut(&path).and_then(Node::dir_mut).expect("a directory");
            match quota {
                Some(quota) => dir.type_quotas.insert(kind.into(), quota),
                None => dir.type_quotas.remove(&i32::from(kind)),
            };
        }
    }

    /// Marks something for the satisfier, or takes a mark away as it does.
    pub(super) fn satisfy(&mut self) {
        let path = self.path();
        let is_marked = self.root.find(&path).is_ok_and(|node| node.xattrs.contains_key(MARK));
        if is_marked && self.random.bool() {
            let request = RemoveXAttrRequestProto {
                src: path.clone(),
                x_attr: Some(xattr(MARK, None)),
            };
            self.change(&path, &request, |node| {
                node.xattrs.remove(MARK);
            });
            return;
        }
        let request = SatisfyStoragePolicyRequestProto { src: path.clone() };
        self.change(&path, &request, |node| {
            if node.file().is_none_or(|file| !file.blocks.is_empty()) {
                node.xattrs.insert(MARK.to_owned(), 0);
            }
        });
    }
}

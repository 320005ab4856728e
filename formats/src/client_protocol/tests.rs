use super::*;
use crate::proto::hdfs::{
    CreateRequestProto, DirectoryListingProto, FileEncryptionInfoProto, FsPermissionProto,
    GetBlockLocationsRequestProto, GetFileInfoResponseProto, GetListingResponseProto, HdfsFileStatusProto,
    MkdirsRequestProto,
};

fn status(kind: InodeKind, symlink: Option<&'static [u8]>) -> FileStatusView<'static> {
    FileStatusView {
        id: InodeId(16_400),
        kind,
        name: b"",
        locations: None,
        length: 300 << 20,
        mode: 0o1755,
        owner: "alice",
        group: "staff",
        mtime_ms: 1_700_000_000_123,
        atime_ms: 127,
        replication: 3,
        block_size: 128 << 20,
        children: 200,
        symlink,
        storage_policy: 7,
        has_acl: true,
        snapshottable: true,
        erasure_coding: None,
        encrypted: true,
        encryption: Some(Box::new(FileEncryptionInfoProto {
            suite: 2,
            crypto_protocol_version: 2,
            key: Bytes::from_static(&[7; 16]),
            iv: Bytes::from_static(&[9; 16]),
            key_name: "key".to_owned(),
            ez_key_version_name: "key@0".to_owned(),
        })),
    }
}

fn expected(status: &FileStatusView<'_>) -> HdfsFileStatusProto {
    HdfsFileStatusProto {
        file_type: match status.kind {
            InodeKind::Directory => 1,
            InodeKind::File => 2,
            InodeKind::Symlink => 3,
        },
        path: Bytes::copy_from_slice(status.name),
        length: status.length,
        permission: FsPermissionProto {
            perm: u32::from(status.mode),
        },
        owner: status.owner.to_owned(),
        group: status.group.to_owned(),
        modification_time: status.mtime_ms,
        access_time: status.atime_ms,
        symlink: status.symlink.map(Bytes::copy_from_slice),
        block_replication: Some(u32::from(status.replication)),
        blocksize: Some(status.block_size),
        file_id: Some(status.id.0),
        children_num: Some(status.children as i32),
        storage_policy: Some(u32::from(status.storage_policy)),
        flags: Some(11),
        file_encryption_info: status.encryption.as_deref().cloned(),
        ..Default::default()
    }
}

#[test]
fn statuses_are_written_as_prost_would() {
    for (kind, symlink) in [
        (InodeKind::File, None),
        (InodeKind::Directory, None),
        (InodeKind::Symlink, Some(&b"/target"[..])),
    ] {
        let status = status(kind, symlink);
        let message = GetFileInfoResponseProto {
            fs: Some(expected(&status)),
        };
        assert_eq!(status.response(), message.encode_to_vec(), "{kind:?}");
        let locations = LocatedBlocksProto {
            file_length: 1 << 40,
            ..Default::default()
        };
        let mut with = expected(&status);
        with.locations = Some(locations.clone());
        let message = GetFileInfoResponseProto { fs: Some(with) };
        assert_eq!(
            FileStatusView {
                locations: Some(&locations),
                ..status.clone()
            }
            .response(),
            message.encode_to_vec(),
            "{kind:?}"
        );
    }
}

#[test]
fn a_status_with_an_erasure_coding_policy_is_written_as_prost_would() {
    let policy = ErasureCodingPolicyProto {
        name: Some("XOR-4-1-64k".to_owned()),
        id: 64,
        ..Default::default()
    };
    let status = FileStatusView {
        erasure_coding: Some(&policy),
        ..status(InodeKind::Directory, None)
    };
    let message = GetFileInfoResponseProto {
        fs: Some(HdfsFileStatusProto {
            ec_policy: Some(policy.clone()),
            flags: Some(15),
            ..expected(&status)
        }),
    };
    assert_eq!(status.response(), message.encode_to_vec());
}

#[test]
fn listings_are_written_as_prost_would() {
    for count in [0, 1, 2, 300] {
        let mut response = ListingResponse::new(1);
        let mut list = Vec::new();
        for _ in 0..count {
            let status = FileStatusView {
                name: b"child",
                ..status(InodeKind::File, None)
            };
            response.push(&status);
            list.push(expected(&status));
        }
        let message = GetListingResponseProto {
            dir_list: Some(DirectoryListingProto {
                partial_listing: list,
                remaining_entries: 70_000,
            }),
        };
        assert_eq!(response.finish(70_000), message.encode_to_vec(), "{count}");
    }
}

#[test]
fn only_a_lone_string_is_taken_the_short_way() {
    for (body, expected) in [
        (&[0x0a, 2, b'/', b'a'][..], Some("/a")),
        (&[0x0a, 0], Some("")),
        (&[0x0a, 3, b'/', b'a'], None),
        (&[0x0a, 1, b'/', 0x10, 1], None),
        (&[0x0a, 1, 0xff], None),
        (&[0x0a], None),
        (&[0x12, 1, b'/'], None),
        (&[], None),
    ] {
        assert_eq!(only_string(body), expected, "{body:?}");
    }
    let long = "x".repeat(300);
    let mut body = vec![0x0a, 0xac, 0x02];
    body.extend_from_slice(long.as_bytes());
    assert_eq!(only_string(&body), Some(&long[..]));
}

#[test]
fn borrowed_requests_say_what_prost_says() {
    let create = CreateRequestProto {
        src: "/a/ü".to_owned(),
        masked: FsPermissionProto { perm: 0o107_755 },
        client_name: "client".to_owned(),
        create_flag: 3,
        create_parent: true,
        replication: 3,
        block_size: 1 << 40,
        crypto_protocol_version: vec![2],
        unmasked: Some(FsPermissionProto { perm: 0o777 }),
        ec_policy_name: Some("ec".to_owned()),
        storage_policy: Some("HOT".to_owned()),
    };
    let body = create.encode_to_vec();
    let expected = CreateView {
        src: "/a/ü",
        masked: 0o1755,
        client_name: "client",
        flag: 3,
        create_parent: true,
        replication: 3,
        block_size: 1 << 40,
        unmasked: Some(0o777),
        ec_policy_name: "ec",
        crypto_protocol_versions: 1 << 2,
        storage_policy: "HOT",
    };
    assert_eq!(CreateView::decode(&body).unwrap(), expected);
    let mut errors = 0;
    for len in 0..body.len() {
        // Cut anywhere, it is an error or what was there so far; never a panic.
        errors += usize::from(CreateView::decode(&body[..len]).is_err());
    }
    assert!(errors > body.len() / 2);
    let mkdirs = MkdirsRequestProto {
        src: "/d".to_owned(),
        masked: FsPermissionProto { perm: 0o750 },
        create_parent: true,
        unmasked: None,
    };
    let expected = MkdirsView {
        src: "/d",
        masked: 0o750,
        create_parent: true,
        unmasked: None,
    };
    assert_eq!(MkdirsView::decode(&mkdirs.encode_to_vec()).unwrap(), expected);
    let locations = GetBlockLocationsRequestProto {
        src: "/f".to_owned(),
        offset: 5,
        length: u64::MAX,
    };
    let expected = GetBlockLocationsView {
        src: "/f",
        offset: 5,
        length: u64::MAX,
    };
    assert_eq!(
        GetBlockLocationsView::decode(&locations.encode_to_vec()).unwrap(),
        expected
    );
    assert!(MkdirsView::decode(&[0x0a, 1, 0xff]).is_err());
    assert!(MkdirsView::decode(&[0x08, 1]).is_err());
    assert!(MkdirsView::decode(&[0x0f]).is_err());
    assert!(MkdirsView::decode(&[0xff; 12]).is_err());
}

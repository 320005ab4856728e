//! The tree as clients see it.

use super::*;

#[test]
fn files_and_directories_come_and_go() {
    let mut ns = active();
    let made = call(&mut ns, &hdfs(), &mkdirs("/a/b")).unwrap();
    assert!(made.result);
    let created = call(&mut ns, &hdfs(), &create("/a/b/f")).unwrap();
    let status = created.fs.unwrap();
    assert_eq!(status.file_type(), hdfs_file_status_proto::FileType::IsFile);
    assert_eq!((status.owner.as_str(), status.permission.perm), ("hdfs", 0o644));
    assert_eq!((status.block_replication(), status.blocksize()), (3, 128 << 20));
    assert_eq!(status.modification_time, NOW.wall_ms);

    let found = call(&mut ns, &hdfs(), &file_info("/a/b/f")).unwrap();
    assert_eq!(found.fs.unwrap().file_id, status.file_id);
    let absent = call(&mut ns, &hdfs(), &file_info("/a/b/g")).unwrap();
    assert!(absent.fs.is_none());
    let through = call(&mut ns, &hdfs(), &file_info("/a/b/f/x")).unwrap();
    assert!(through.fs.is_none());

    let list = GetListingRequestProto {
        src: "/a/b".to_owned(),
        start_after: Bytes::new(),
        need_location: false,
    };
    let listed = call(&mut ns, &hdfs(), &list).unwrap();
    let listed = listed.dir_list.unwrap();
    assert_eq!(listed.remaining_entries, 0);
    assert_eq!(listed.partial_listing.len(), 1);
    assert_eq!(&listed.partial_listing[0].path[..], b"f");

    let done = call(&mut ns, &hdfs(), &complete("/a/b/f", None)).unwrap();
    assert!(done.result);
    let renamed = call(&mut ns, &hdfs(), &rename("/a/b/f", "/a/g")).unwrap();
    assert!(renamed.result);
    let deleted = call(&mut ns, &hdfs(), &delete("/a", true)).unwrap();
    assert!(deleted.result);
    let deleted = call(&mut ns, &hdfs(), &delete("/a", true)).unwrap();
    assert!(!deleted.result);
}

#[test]
fn listings_come_in_pages() {
    let mut ns = active();
    ns.config.ls_limit = 3;
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        make_file(&mut ns, &format!("/d/{name}"));
    }
    let mut start_after = Bytes::new();
    let mut names = Vec::new();
    let mut remaining = Vec::new();
    loop {
        let list = GetListingRequestProto {
            src: "/d".to_owned(),
            start_after,
            need_location: true,
        };
        let page = call(&mut ns, &hdfs(), &list).unwrap();
        let page = page.dir_list.unwrap();
        assert!(page.partial_listing.iter().all(|status| status.locations.is_some()));
        names.extend(page.partial_listing.iter().map(|status| status.path.clone()));
        remaining.push(page.remaining_entries);
        if page.remaining_entries == 0 {
            break;
        }
        start_after = names.last().unwrap().clone();
    }
    assert_eq!(names, ["a", "b", "c", "d", "e", "f", "g"]);
    assert_eq!(remaining, [4, 1, 0]);

    let mut request = GetBatchedListingRequestProto {
        paths: vec!["/d".to_owned(), "/none".to_owned(), "/d/a".to_owned()],
        start_after: Bytes::new(),
        need_location: false,
    };
    let mut seen = Vec::new();
    let mut failed = Vec::new();
    loop {
        let page = call(&mut ns, &hdfs(), &request).unwrap();
        for listing in page.listings {
            seen.extend(
                listing
                    .partial_listing
                    .iter()
                    .map(|status| (listing.parent_idx, status.path.clone())),
            );
            failed.extend(listing.exception.map(|error| (listing.parent_idx, error.class_name)));
        }
        if !page.has_more {
            break;
        }
        request.start_after = page.start_after;
    }
    assert_eq!(seen.len(), 8);
    assert_eq!(seen.last().unwrap().0, 2);
    assert_eq!(failed, [(1, exceptions::FILE_NOT_FOUND.java().to_owned())]);
}

#[test]
fn replies_wait_for_exactly_what_they_show() {
    let mut ns = active();
    make_file(&mut ns, "/a/old");
    make_file(&mut ns, "/b/other");
    sync(&mut ns);
    assert_eq!(reply(&mut ns, &hdfs(), &file_info("/a/old")).after, None);
    let created = reply(&mut ns, &hdfs(), &create("/a/new")).after;
    assert!(created.is_some());
    // What shows the new file waits; what only passes by its directory does not.
    assert_eq!(reply(&mut ns, &hdfs(), &file_info("/a/new")).after, created);
    assert_eq!(reply(&mut ns, &hdfs(), &file_info("/a")).after, created);
    assert_eq!(reply(&mut ns, &hdfs(), &file_info("/a/old")).after, None);
    assert_eq!(reply(&mut ns, &hdfs(), &file_info("/b/other")).after, None);
    let list = |src: &str| GetListingRequestProto {
        src: src.to_owned(),
        start_after: Bytes::new(),
        need_location: false,
    };
    assert_eq!(reply(&mut ns, &hdfs(), &list("/a")).after, created);
    assert_eq!(reply(&mut ns, &hdfs(), &list("/b")).after, None);
    // A refusal because of the new file shows it too.
    let refused = reply(&mut ns, &hdfs(), &create("/a/new"));
    assert!(refused.result.is_err());
    assert_eq!(refused.after, created);
    // An absence shows the deletion.
    let deleted = reply(&mut ns, &hdfs(), &delete("/b/other", false)).after;
    assert_eq!(reply(&mut ns, &hdfs(), &file_info("/b/other")).after, deleted);
    sync(&mut ns);
    assert_eq!(reply(&mut ns, &hdfs(), &file_info("/b/other")).after, None);
}

#[test]
fn the_audit_log_says_who_did_what() {
    let mut ns = active();
    let ctx = hdfs();
    let request = body(&mkdirs("/a"));
    let made = raw(&mut ns, &ctx, M::Mkdirs, request.clone());
    let line = audit(&ns, &ctx, M::Mkdirs, &request, &made).unwrap();
    assert!(line.allowed);
    assert_eq!(
        (&*line.command, line.src.as_deref(), line.dst.as_deref()),
        ("mkdirs", Some("/a"), None)
    );
    assert_eq!(line.permission.as_deref(), Some("hdfs:supergroup:rwxr-xr-x"));
    let alice = user("alice", false);
    let request = body(&rename("/a", "/b"));
    let denied = raw(&mut ns, &alice, M::Rename, request.clone());
    let line = audit(&ns, &alice, M::Rename, &request, &denied).unwrap();
    assert!(!line.allowed);
    assert_eq!(
        (line.src.as_deref(), line.dst.as_deref(), line.permission),
        (Some("/a"), Some("/b"), None)
    );
    let request = body(&Rename2RequestProto {
        src: "/a".to_owned(),
        dst: "/b".to_owned(),
        overwrite_dest: true,
        move_to_trash: None,
    });
    let renamed = raw(&mut ns, &ctx, M::Rename2, request.clone());
    let line = audit(&ns, &ctx, M::Rename2, &request, &renamed).unwrap();
    assert_eq!(&*line.command, "rename (options=[OVERWRITE])");
    for (action, command) in [
        (SafeModeActionProto::SafemodeGet, None),
        (SafeModeActionProto::SafemodeEnter, Some("safemode_enter")),
    ] {
        let request = body(&SetSafeModeRequestProto {
            action: action.into(),
            checked: None,
        });
        let line = audit(&ns, &ctx, M::SetSafeMode, &request, &made);
        assert_eq!(line.map(|line| line.command).as_deref(), command);
    }
    let request = body(&create("/x/y"));
    let failed = Reply::refuse(RemoteException::new(exceptions::IO, "no"));
    assert_eq!(audit(&ns, &ctx, M::Create, &request, &failed), None);
    assert_eq!(audit(&ns, &ctx, M::RenewLease, &Bytes::new(), &made), None);
}

#[test]
fn unused_features_answer_as_if_nobody_used_them() {
    let mut ns = active();
    call(&mut ns, &hdfs(), &mkdirs("/d")).unwrap();
    for (method, request) in [
        (M::GetDelegationToken, Bytes::from_static(&[0x0a, 1, b'r'])),
        (M::GetDataEncryptionKey, Bytes::new()),
        (M::GetSnapshottableDirListing, Bytes::new()),
        (M::GetErasureCodingPolicy, body(&file_info("/d"))),
        (M::GetEzForPath, body(&file_info("/d"))),
        (M::RollingUpgrade, Bytes::from_static(&[8, 1])),
        (M::Msync, Bytes::new()),
    ] {
        assert_eq!(
            raw(&mut ns, &hdfs(), method, request).result,
            Ok(Bytes::new()),
            "{method:?}"
        );
    }
    let policies = call(&mut ns, &hdfs(), &GetStoragePoliciesRequestProto {}).unwrap();
    assert_eq!(
        policies
            .policies
            .iter()
            .map(|policy| (policy.policy_id, policy.name.as_str()))
            .collect::<Vec<_>>(),
        [
            (1, "PROVIDED"),
            (2, "COLD"),
            (5, "WARM"),
            (7, "HOT"),
            (10, "ONE_SSD"),
            (12, "ALL_SSD"),
            (14, "ALL_NVDIMM"),
            (15, "LAZY_PERSIST")
        ]
    );
    let defaults = call(&mut ns, &hdfs(), &GetServerDefaultsRequestProto {}).unwrap();
    assert_eq!(defaults.server_defaults.block_size, 128 << 20);
    assert_eq!(defaults.server_defaults.policy_id, Some(7));
    let state = call(&mut new_namesystem(), &hdfs(), &HaServiceStateRequestProto {}).unwrap();
    assert_eq!(state.state, 2);
}

#[test]
fn rolling_the_log_answers_the_new_segment() {
    let mut ns = active();
    let before = ns.edit_log().applied();
    let rolled = reply(&mut ns, &hdfs(), &RollEditsRequestProto {});
    let first = RollEditsResponseProto::decode(rolled.result.unwrap())
        .unwrap()
        .new_segment_tx_id;
    assert_eq!(first, before.0 + 2);
    assert_eq!(rolled.after, Some(TxId(first)));
    // The namespace goes on at the next transaction.
    assert!(reply(&mut ns, &hdfs(), &mkdirs("/a")).result.is_ok());
}

#[test]
fn no_more_inodes_and_blocks_are_made_than_there_may_be() {
    let mut ns = active();
    make_file(&mut ns, "/d/f");
    ns.config.max_objects = ns.namespace().inode_count() + ns.namespace().block_count();
    let refused = call(&mut ns, &hdfs(), &mkdirs("/e")).unwrap_err();
    let objects = ns.config.max_objects;
    assert_eq!(
        refused.message,
        format!("Exceeded the configured number of objects {objects} in the filesystem.")
    );
    assert!(
        call(&mut ns, &hdfs(), &mkdirs("/d")).unwrap().result,
        "it is there already"
    );
    assert!(call(&mut ns, &hdfs(), &create("/d/g")).is_err());
    ns.config.max_objects += 1;
    assert!(call(&mut ns, &hdfs(), &mkdirs("/e")).unwrap().result);
}

#[test]
fn a_link_tells_of_itself_and_of_what_the_client_resolves_next() {
    let mut ns = active();
    make_file(&mut ns, "/real/f");
    let link = CreateSymlinkRequestProto {
        target: "/real".to_owned(),
        link: "/link".to_owned(),
        dir_perm: FsPermissionProto { perm: 0o755 },
        create_parent: false,
    };
    call(&mut ns, &hdfs(), &link).unwrap();
    let of_link = GetFileLinkInfoRequestProto {
        src: "/link".to_owned(),
    };
    let status = call(&mut ns, &hdfs(), &of_link).unwrap().fs.unwrap();
    assert_eq!(status.symlink.as_deref(), Some(&b"/real"[..]));
    let followed = call(&mut ns, &hdfs(), &file_info("/link/f")).unwrap_err();
    assert!(followed.is(exceptions::UNRESOLVED_PATH), "{followed}");
    let mut target = |path: &str| call(&mut ns, &hdfs(), &GetLinkTargetRequestProto { path: path.to_owned() });
    assert_eq!(target("/link").unwrap().target_path(), "/real");
    assert_eq!(target("/link/f").unwrap().target_path(), "/real/f");
    assert!(target("/real").is_err() && target("/none").is_err());
}

//! Calls with two faults: which of them Hadoop names is part of the protocol.

use super::*;

fn with_directory() -> Namesystem {
    let mut ns = active();
    call(&mut ns, &hdfs(), &mkdirs("/d")).unwrap();
    make_file(&mut ns, "/f");
    ns
}

/// What of a file can be wrong without a look at the namespace.
fn wrong(src: &str) -> [CreateRequestProto; 4] {
    let small = CreateRequestProto {
        block_size: 1,
        ..create(src)
    };
    let none = CreateRequestProto {
        replication: 0,
        ..create(src)
    };
    let erasure_coded = CreateRequestProto {
        ec_policy_name: Some("RS-6-3-1024k".to_owned()),
        ..create(src)
    };
    let policy = CreateRequestProto {
        storage_policy: Some("LUKEWARM".to_owned()),
        ..create(src)
    };
    [small, none, erasure_coded, policy]
}

#[test]
fn a_create_over_a_directory_says_so_whatever_else_is_wrong() {
    let mut ns = with_directory();
    for request in wrong("/d") {
        let refused = call(&mut ns, &hdfs(), &request).unwrap_err();
        assert!(refused.is(exceptions::FILE_ALREADY_EXISTS), "{refused}");
    }
}

#[test]
fn a_create_that_may_not_be_is_refused_before_its_parameters_are_looked_at() {
    let mut ns = with_directory();
    for request in wrong("/d/f") {
        let refused = call(&mut ns, &user("alice", false), &request).unwrap_err();
        assert!(refused.is(exceptions::ACCESS_CONTROL), "{refused}");
    }
    ns.enter_safe_mode();
    for request in wrong("/d/f") {
        let refused = call(&mut ns, &hdfs(), &request).unwrap_err();
        assert!(refused.is(exceptions::SAFE_MODE), "{refused}");
    }
    let refused = call(&mut ns, &hdfs(), &create("/d/../f")).unwrap_err();
    assert!(refused.is(exceptions::INVALID_PATH), "{refused}");
}

#[test]
fn a_block_size_too_small_is_named_before_a_file_that_exists() {
    let mut ns = with_directory();
    let [small, ..] = wrong("/f");
    let refused = call(&mut ns, &hdfs(), &small).unwrap_err();
    assert!(refused.message.contains("min-block-size"), "{refused}");
}

#[test]
fn an_append_with_create_among_its_flags_appends() {
    let mut ns = with_directory();
    let request = AppendRequestProto {
        src: "/f".to_owned(),
        client_name: CLIENT.to_owned(),
        flag: Some(1 | 4),
    };
    let opened = call(&mut ns, &hdfs(), &request).unwrap();
    assert_eq!(opened.block, None);
    assert!(opened.stat.is_some());
    let done = call(&mut ns, &hdfs(), &complete("/f", None)).unwrap();
    assert!(done.result);
}

#[test]
fn quotas_by_storage_type_are_told_with_what_is_used() {
    let mut ns = with_directory();
    let set = SetQuotaRequestProto {
        path: "/d".to_owned(),
        namespace_quota: i64::MAX as u64,
        storagespace_quota: 4096,
        storage_type: Some(StorageTypeProto::Ssd as i32),
    };
    call(&mut ns, &hdfs(), &set).unwrap();
    let summary = call(
        &mut ns,
        &hdfs(),
        &GetContentSummaryRequestProto { path: "/d".to_owned() },
    )
    .unwrap();
    let usage = call(&mut ns, &hdfs(), &GetQuotaUsageRequestProto { path: "/d".to_owned() }).unwrap();
    assert_eq!(summary.summary.type_quota_infos, usage.usage.type_quota_infos);
    let told = usage.usage.type_quota_infos.unwrap().type_quota_info;
    let quotas: Vec<_> = told
        .iter()
        .map(|info| (info.r#type(), info.quota as i64, info.consumed))
        .collect();
    assert_eq!(
        quotas,
        [
            (StorageTypeProto::Ssd, 4096, 0),
            (StorageTypeProto::Disk, -1, 0),
            (StorageTypeProto::Archive, -1, 0),
            (StorageTypeProto::Provided, -1, 0),
            (StorageTypeProto::Nvdimm, -1, 0),
        ]
    );
}

fn set_xattr(ns: &mut Namesystem, ctx: &CallContext, namespace: i32, name: &str, value: Option<Vec<u8>>) {
    let request = SetXAttrRequestProto {
        src: "/f".to_owned(),
        x_attr: Some(XAttrProto {
            namespace,
            name: name.to_owned(),
            value: value.map(Into::into),
        }),
        flag: Some(1),
    };
    call(ns, ctx, &request).unwrap();
}

#[test]
fn attributes_are_listed_with_their_values_for_who_may_read_the_file() {
    let mut ns = with_directory();
    set_xattr(&mut ns, &hdfs(), 0, "color", Some(b"blue".to_vec()));
    let list = ListXAttrsRequestProto { src: "/f".to_owned() };
    let listed = call(&mut ns, &user("alice", false), &list).unwrap();
    let found: Vec<_> = listed
        .x_attrs
        .iter()
        .map(|x| (x.name.as_str(), x.value.as_deref()))
        .collect();
    assert_eq!(found, [("color", Some(&b"blue"[..]))]);
    let private = SetPermissionRequestProto {
        src: "/f".to_owned(),
        permission: mode(0o600),
    };
    call(&mut ns, &hdfs(), &private).unwrap();
    let refused = call(&mut ns, &user("alice", false), &list).unwrap_err();
    assert!(refused.is(exceptions::ACCESS_CONTROL), "{refused}");
}

#[test]
fn a_superuser_does_not_read_what_is_marked_as_unreadable_to_him() {
    let mut ns = with_directory();
    set_xattr(&mut ns, &hdfs(), 2, "hdfs.unreadable.by.superuser", None);
    let read = GetBlockLocationsRequestProto {
        src: "/f".to_owned(),
        offset: 0,
        length: 1,
    };
    let refused = call(&mut ns, &hdfs(), &read).unwrap_err();
    assert!(refused.is(exceptions::ACCESS_CONTROL), "{refused}");
    assert!(
        refused.message.starts_with("Access is denied for hdfs since"),
        "{refused}"
    );
    call(&mut ns, &user("alice", false), &read).unwrap();
}

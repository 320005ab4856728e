use super::*;
use crate::proto::common::TokenProto;
use crate::proto::hdfs::{ErasureCodingPolicyProto, FsPermissionProto, HdfsFileStatusProto};
use serde_json::json;

fn parameters(pairs: &[(&str, &str)]) -> Parameters {
    Parameters::new(
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
    .unwrap()
}

#[test]
fn each_operation_is_found_by_its_method_and_name_in_any_case() {
    for &op in Op::ALL {
        assert_eq!(Op::parse(op.http_method(), Some(&op.name().to_lowercase())), Ok(op));
    }
    let refused = Op::parse(HttpMethod::Put, Some("open")).unwrap_err();
    assert_eq!(
        refused.message,
        "Invalid value for webhdfs parameter \"op\": No enum constant org.apache.hadoop.hdfs.web.resources.PutOpParam.Op.OPEN"
    );
    assert_eq!(status(&refused), 400);
    let refused = Op::parse(HttpMethod::Get, None).unwrap_err();
    assert!(refused.is(exceptions::UNSUPPORTED_OPERATION), "{refused}");
}

#[test]
fn parameters_are_typed_and_refused_with_hadoops_words() {
    let given = parameters(&[
        ("OFFSET", "7"),
        ("overwrite", "TRUE"),
        ("permission", "1777"),
        ("replication", "0"),
        ("length", "-1"),
        ("blocksize", "9223372036854775808"),
        ("recursive", "yes"),
        ("unmaskedpermission", "2000"),
        ("owner", ""),
        ("renameoptions", "overwrite,TO_TRASH"),
        ("xattr.name", "user.a"),
        ("xattr.name", "user.b"),
    ]);
    assert_eq!(given.unsigned("offset"), Ok(Some(7)));
    assert_eq!(given.boolean("overwrite", false), Ok(true));
    assert_eq!(given.permission("permission"), Ok(Some(0o1777)));
    assert_eq!(given.text("owner"), None);
    assert_eq!(given.all("xattr.name").len(), 2);
    assert_eq!(
        given.words("renameoptions", "Rename", &["NONE", "OVERWRITE", "TO_TRASH"]),
        Ok(vec![1, 2])
    );
    let why = |name: &str, refused: RemoteException| {
        let start = format!("Invalid value for webhdfs parameter \"{name}\": ");
        refused.message.strip_prefix(&start).unwrap().to_owned()
    };
    for (name, refused, expected) in [
        (
            "length",
            given.unsigned("length").unwrap_err(),
            "Invalid parameter range: length = -1 < 0",
        ),
        (
            "replication",
            given.replication("replication").unwrap_err(),
            "Invalid parameter range: replication = 0 < 1",
        ),
        (
            "blocksize",
            given.unsigned("blocksize").unwrap_err(),
            "Failed to parse \"9223372036854775808\" as a radix-10 long integer.",
        ),
        (
            "recursive",
            given.boolean("recursive", false).unwrap_err(),
            "Failed to parse \"yes\" to Boolean.",
        ),
        (
            "unmaskedpermission",
            given.permission("unmaskedpermission").unwrap_err(),
            "Invalid parameter range: unmaskedpermission = 2000 > 1777",
        ),
    ] {
        assert_eq!(why(name, refused), expected);
    }
    let many = (0..1000).map(|number| (format!("p{number}"), "x".to_owned()));
    assert!(Parameters::new(many).is_err());
}

#[test]
fn a_user_is_named_or_the_static_one() {
    let user = |pairs: &[(&str, &str)]| parameters(pairs).users(STATIC_USER);
    assert_eq!(user(&[]), Ok(("dr.who".to_owned(), None)));
    assert_eq!(
        user(&[("User.Name", "oozie"), ("doAs", "alice")]),
        Ok(("oozie".to_owned(), Some("alice".to_owned())))
    );
    for bad in ["a b", "9a", "a/b", "a$b", "-", &"a".repeat(2000)] {
        assert!(user(&[("user.name", bad)]).is_err(), "{bad}");
    }
    assert!(is_user_name("machine$"));
}

#[test]
fn paths_are_below_the_prefix() {
    assert_eq!(path_of("/webhdfs/v1"), Some("/"));
    assert_eq!(path_of("/webhdfs/v1/"), Some("/"));
    assert_eq!(path_of("/webhdfs/v1/a/b/"), Some("/a/b"));
    assert_eq!(path_of("/webhdfs/v10/a"), None);
    assert_eq!(encode_path("/a b/\u{e9}%"), "/a%20b/%C3%A9%25");
    assert_eq!(encode_component("a/b&c"), "a%2Fb%26c");
}

#[test]
fn acls_are_read_as_hadoop_writes_them() {
    let spec = "user::rwx,user:bruce:rw-,group::r-x,mask::rwx,default:other::---";
    let status = crate::proto::hdfs::AclStatusProto {
        owner: "o".to_owned(),
        group: "g".to_owned(),
        sticky: true,
        entries: acl_spec(spec, true).unwrap(),
        permission: Some(FsPermissionProto { perm: 0o1755 }),
    };
    assert_eq!(
        acl_status(&status),
        json!({"AclStatus": {
            "owner": "o", "group": "g", "stickyBit": true, "permission": "1755",
            "entries": spec.split(',').collect::<Vec<_>>(),
        }})
    );
    assert_eq!(acl_spec("user:bruce:", false).unwrap().len(), 1);
    assert_eq!(acl_spec("default:user:bruce", false).unwrap().len(), 1);
    for (bad, with_actions) in [
        ("user:bruce", true),
        ("user:bruce:rwx", false),
        ("user:bruce:xwr", true),
        ("nobody::rwx", true),
        ("user:a:rwx:x", true),
        ("", true),
        (&"user:a:rwx,".repeat(100), true),
    ] {
        assert!(acl_spec(bad, with_actions).is_err(), "{bad}");
    }
}

#[test]
fn values_of_extended_attributes_have_three_encodings() {
    for len in 0..10_u8 {
        let value: Vec<u8> = (0..len).map(|byte| byte.wrapping_mul(83)).collect();
        for encoding in [Encoding::Hex, Encoding::Base64] {
            assert_eq!(decode_xattr(&encoding.encode(&value)).unwrap(), value);
        }
    }
    assert_eq!(Encoding::Base64.encode(b"hello"), "0saGVsbG8=");
    assert_eq!(decode_xattr("\"in quotes\"").unwrap(), b"in quotes");
    assert_eq!(decode_xattr("as it is").unwrap(), b"as it is");
    assert!(decode_xattr("0x1").is_err() && decode_xattr("0s#").is_err());
    assert_eq!(Encoding::of(1), Encoding::Hex);
    assert!(xattr("colour", None).is_err() && xattr("user.", None).is_err() && xattr("no.x", None).is_err());
    let attribute = xattr("USER.a.b", Some(b"v".to_vec())).unwrap();
    assert_eq!(
        xattrs(std::slice::from_ref(&attribute), Encoding::Text),
        json!({"XAttrs": [{"name": "user.a.b", "value": "\"v\""}]})
    );
    assert_eq!(xattr_names(&[attribute]), json!({"XAttrNames": "[\"user.a.b\"]"}));
}

#[test]
fn an_exception_has_its_java_class_and_status() {
    for (class, simple, code) in [
        (exceptions::STANDBY, "StandbyException", 403),
        (exceptions::ACCESS_CONTROL, "AccessControlException", 403),
        (exceptions::FILE_NOT_FOUND, "FileNotFoundException", 404),
        (exceptions::ILLEGAL_ARGUMENT, "IllegalArgumentException", 400),
        (exceptions::INVALID_TOKEN, "InvalidToken", 403),
        (exceptions::ASSERTION, "AssertionError", 500),
    ] {
        let refused = RemoteException::new(class, "why");
        assert_eq!(status(&refused), code, "{simple}");
        assert_eq!(
            remote_exception(&refused),
            json!({"RemoteException": {"exception": simple, "javaClassName": class.java(), "message": "why"}})
        );
    }
}

#[test]
fn a_status_has_javas_signed_numbers_and_octal_permission() {
    let status = HdfsFileStatusProto {
        file_type: 2,
        path: "f".into(),
        length: 3,
        permission: FsPermissionProto { perm: 0o644 },
        owner: "o".to_owned(),
        group: "g".to_owned(),
        modification_time: 5,
        access_time: 6,
        block_replication: Some(2),
        blocksize: Some(1 << 20),
        file_id: Some(16_386),
        children_num: Some(0),
        flags: Some(1),
        ..HdfsFileStatusProto::default()
    };
    assert_eq!(
        file_status(&status),
        json!({"FileStatus": {
            "pathSuffix": "f", "type": "FILE", "length": 3, "owner": "o", "group": "g", "permission": "644",
            "aclBit": true, "accessTime": 6, "modificationTime": 5, "blockSize": 1_048_576, "replication": 2,
            "fileId": 16386, "childrenNum": 0, "storagePolicy": 0,
        }})
    );
    let usage = crate::proto::hdfs::QuotaUsageProto {
        quota: u64::MAX,
        ..Default::default()
    };
    assert_eq!(quota_usage(&usage)["QuotaUsage"]["quota"], -1);
}

#[test]
fn a_token_is_written_as_hadoop_writes_it() {
    assert_eq!(token_url_string(&TokenProto::default()), "AAAAAA");
    let token = TokenProto {
        identifier: vec![0xff; 128].into(),
        ..TokenProto::default()
    };
    // The length 128 takes a byte that says so, and its own.
    assert!(
        token_url_string(&token).starts_with("j4D_"),
        "{}",
        token_url_string(&token)
    );
    for token in [TokenProto::default(), token] {
        let text = token_url_string(&token);
        assert_eq!(token_of_url_string(&text), Some(token.clone()));
        assert_eq!(token_of_url_string(&format!("{text}=")), Some(token));
    }
    for wrong in ["", "AAAAA", "AAAAAAAA", "AAA AAA", "j4D_"] {
        assert_eq!(token_of_url_string(wrong), None, "{wrong}");
    }
}

#[test]
fn a_system_policy_of_erasure_coding_is_told_in_full_though_its_message_has_only_the_id() {
    let policy = ErasureCodingPolicyProto {
        id: 4,
        ..ErasureCodingPolicyProto::default()
    };
    let told = ec_policy(&policy);
    assert_eq!(
        (&told["name"], &told["codecName"], &told["cellSize"]),
        (&json!("XOR-2-1-1024k"), &json!("xor"), &json!(1 << 20))
    );
    assert_eq!(
        (&told["schema"]["numDataUnits"], &told["schema"]["numParityUnits"]),
        (&json!(2), &json!(1))
    );
}

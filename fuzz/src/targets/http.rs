//! HTTP requests, the origin of calls that were passed on, and the audit log's lines about both.

use std::net::SocketAddr;
use std::path::{Component, Path};
use std::sync::{Arc, OnceLock};

use hathi_conf::keys::Program;
use hathi_conf::{Configuration, Environment};
use hathi_formats::editlog::SegmentFile;
use hathi_formats::kms;
use hathi_formats::webhdfs::{self, HttpMethod, Op, Parameters};
use hathi_journalnode::http::SegmentRequest;
use hathi_namenode::audit::put_fields;
use hathi_namenode::image_transfer::ImageRequest;
use hathi_namenode::image_upload;
use hathi_namenode::origin::{Origin, WAITING};
use hathi_namenode::storage::{hex, parse_md5};
use hathi_namenode_http::fsck;
use hathi_nameserver::offered_images::Announced;
use hathi_namesystem::calls::AuditRecord;
use hathi_net::http::header::{HeaderName, HeaderValue};
use hathi_net::http::server::percent_decode;
use hathi_net::http::{HeaderMap, Method, Query, RequestHead, StatusCode, Uri, jmx};
use hathi_net::ipc::{CallerContext, ClientId, RpcCall, UserInfo, protocols};

use super::{PLAIN, Parts, samples_of, storage, text};
use crate::{Memory, Target};

/// The memory holds the words of a line, each with its position, and one configuration that stays.
const REQUEST: Memory = Memory {
    fixed: 4 << 20,
    per_byte: 200,
};
/// The instance id of this process, for standbys that pass calls on to it.
const INSTANCE: &str = "me";

pub fn targets() -> Vec<Target> {
    let target = |name, samples, run, memory| Target {
        name,
        samples,
        run,
        memory,
    };
    vec![
        target("http_request", request_samples, request, REQUEST),
        target(
            "md5_header",
            || samples_of(&["d41d8cd98f00b204e9800998ecf8427e"]),
            md5,
            PLAIN,
        ),
        target("call_origin", origin_samples, origin, PLAIN),
        target("audit_line", audit_samples, audit, PLAIN),
        target("kms_answer", kms_samples, kms_answer, REQUEST),
    ]
}

fn kms_samples() -> Vec<Vec<u8>> {
    samples_of(&[
        r#"[{"versionName":"k@0","iv":"AAECAw","encryptedKeyVersion":{"versionName":"EEK","material":"_-8="}}]"#,
        r#"{"name":"k","cipher":"AES/CTR/NoPadding","length":128,"attributes":{},"versions":1}"#,
        r#"{"versionName":"EK","iv":"AA","material":"AAECAw"}"#,
        r#"{"RemoteException":{"message":"no","exception":"AuthorizationException","javaClassName":"x.Y"}}"#,
        "kms://http@one;two:9600/kms",
    ])
}

/// Answers of a KMS, and what our own writes is read as it was.
fn kms_answer(input: &[u8]) {
    if let Ok(keys) = kms::encrypted_keys(input, "k", 1000) {
        assert_eq!(kms::encrypted_keys(kms::batch(&keys).as_bytes(), "k", 1000), Ok(keys));
    }
    let _ = kms::cipher(input);
    if let Ok(key) = kms::material(input) {
        assert_eq!(kms::material(kms::decrypted(&key).as_bytes()), Ok(key));
    }
    let _ = kms::decrypt_parts(input);
    let _ = kms::failure(&text(input));
    if let Ok(addresses) = kms::addresses(&text(input)) {
        assert!(!addresses.is_empty(), "somebody can be asked");
    }
}

fn request_samples() -> Vec<Vec<u8>> {
    samples_of(&[
        "GET /imagetransfer?getimage=1&txid=7&storageInfo=-67:7:0:CID-7 HTTP/1.1",
        "GET /imagetransfer?getimage=1&txid=latest HTTP/1.1",
        "GET /imagetransfer?getedit=1&startTxId=1&endTxId=9&storageInfo=-67:7:0:CID-7 HTTP/1.1",
        "PUT /imagetransfer?txid=9&File-Length=300&imageFile=IMAGE&storageInfo=-67%3A7%3A0%3ACID-7 HTTP/1.1\r\n\
         X-MD5-Digest: d41d8cd98f00b204e9800998ecf8427e\r\nContent-Length: 300",
        "GET /getJournal?jid=ns1&segmentTxId=1&storageInfo=-67%3A7%3A0%3ACID-7&inProgressOk=false HTTP/1.1",
        "PUT /webhdfs/v1/a%20b/?op=CREATE&user.name=alice&doAs=bob&permission=1777&overwrite=true&offset=-1&noredirect=x HTTP/1.1",
        "PUT /webhdfs/v1/a?op=setacl&aclspec=user::rwx,default:group:x:r-- HTTP/1.1",
        "PUT /webhdfs/v1/a?op=RENAME&destination=%2Fb%C3%A9&xattr.name=user.a&xattr.name=0x00ff HTTP/1.1",
        "GET /jmx?qry=Hadoop:service=NameNode,name=* HTTP/1.1",
        "GET /jmx?get=Hadoop:service=NameNode,name=NameNodeStatus::State HTTP/1.1",
        "GET /conf?name=dfs.replication HTTP/1.1\r\nAccept: application/json",
        "GET /conf?name=dfs.replication HTTP/1.1",
        "GET /fsck?ugi=alice,staff&path=%2Fa+b&files=1&blocks=1&listcorruptfileblocks=1&startblockafter=7 HTTP/1.1",
    ])
}

/// The request as hyper passes it on. `None` if hyper itself refuses it.
fn head(input: &[u8]) -> Option<RequestHead> {
    let mut lines = input.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut words = lines.next()?.split(|byte| *byte == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let uri = Uri::try_from(words.next()?).ok()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b':')?)?;
        let name = HeaderName::from_bytes(name).ok()?;
        let value = HeaderValue::from_bytes(value.strip_prefix(b":")?.trim_ascii()).ok()?;
        headers.append(name, value);
    }
    Some(RequestHead::new(method, &uri, headers, peer()))
}

fn peer() -> SocketAddr {
    ([10, 0, 0, 1], 50000).into()
}

/// Decodes the parts of a request that each daemon's handlers decode first.
fn request(input: &[u8]) {
    let Some(head) = head(input) else { return };
    // A byte that is not UTF-8 is replaced by a character of three bytes.
    assert!(head.path.len() <= 3 * input.len());
    let query = &head.query;
    image(query);
    upload(&head);
    webhdfs(&head);
    segment(query);
    let (user, _) = fsck::decode(query);
    assert!(!user.contains(','), "a list of groups is no user");
    match head.path.as_str() {
        "/jmx" => {
            let bean = jmx::Bean::new("NameNode", "NameNodeStatus", "m", Default::default());
            let _ = jmx::respond(query, [bean]);
        }
        "/conf" => {
            let status = hathi_net::http::conf::respond(configuration(), Program::NameNode, &head).status();
            assert!(
                status == StatusCode::OK || query.get("name").is_some(),
                "all keys are there"
            );
        }
        _ => {}
    }
}

/// Decodes the parameters of WebHDFS, each as each type.
fn webhdfs(head: &RequestHead) {
    let Some(path) = webhdfs::path_of(&head.path) else {
        return;
    };
    assert!(
        path.starts_with('/') && (path == "/" || !path.ends_with('/')),
        "{path:?}"
    );
    assert_eq!(percent_decode(&webhdfs::encode_path(path), false), path);
    let Ok(parameters) = Parameters::new(Query::pairs(&head.raw_query)) else {
        return;
    };
    if let Some(method) = HttpMethod::of(head.method.as_str())
        && let Ok(op) = Op::parse(method, parameters.text("op"))
    {
        assert_eq!(op.http_method(), method);
    }
    if let Ok((user, _)) = parameters.users(webhdfs::STATIC_USER) {
        assert!(webhdfs::is_user_name(&user), "{user:?}");
    }
    for name in [
        "offset",
        "permission",
        "overwrite",
        "destination",
        "aclspec",
        "xattr.name",
    ] {
        let Some(text) = parameters.text(name) else { continue };
        assert_eq!(percent_decode(&webhdfs::encode_component(text), true), text);
        let _ = (
            parameters.unsigned(name),
            parameters.replication(name),
            parameters.boolean(name, true),
        );
        if let Ok(Some(bits)) = parameters.permission(name) {
            assert!(bits <= 0o1777, "{bits:o}");
        }
        assert_eq!(parameters.path("OP", name).is_ok(), text.starts_with('/'), "{text:?}");
        let _ = (
            webhdfs::acl_spec(text, true),
            webhdfs::acl_spec(text, false),
            webhdfs::action(text),
        );
        let decoded = webhdfs::decode_xattr(text);
        assert!(decoded.is_err() || decoded.is_ok_and(|value| value.len() <= text.len()));
        if let Ok(xattr) = webhdfs::xattr(text, None) {
            assert!(!xattr.name.is_empty(), "{text:?}");
        }
    }
}

/// The configuration of a NameNode.
fn configuration() -> &'static Configuration {
    static CONFIGURATION: OnceLock<Configuration> = OnceLock::new();
    CONFIGURATION.get_or_init(|| {
        let mut conf = Configuration::new(Environment::default());
        conf.set("dfs.replication", "2");
        conf
    })
}

/// `GET /imagetransfer`
fn image(query: &Query) {
    match ImageRequest::of(query, &storage::info()) {
        Ok(ImageRequest::Image(_, txid)) => assert!(i64::try_from(txid.0).is_ok(), "{txid} is none of Java's longs"),
        Ok(ImageRequest::Edits { first, last }) => {
            let file = SegmentFile::Finalized { first, last };
            assert_eq!(
                SegmentFile::parse(&file.to_string()),
                Some(file),
                "no segment is called so"
            );
        }
        Ok(ImageRequest::NewestImage) => {}
        Err((status, _)) => assert!(status.is_client_error()),
    }
}

/// `PUT /imagetransfer`
fn upload(head: &RequestHead) {
    match Announced::of(image_upload::stated(head), &storage::info()) {
        Ok(announced) => {
            assert!(i64::try_from(announced.txid.0).is_ok() && i64::try_from(announced.len).is_ok());
            let own = storage::info().to_colon_separated();
            assert_eq!(
                head.query.get("storageInfo"),
                Some(&*own),
                "an image of another namespace"
            );
            let digest = head.header("x-md5-digest").map(str::to_ascii_lowercase);
            assert_eq!(digest, Some(hex(&announced.md5)));
        }
        Err(refused) => assert!((400..500).contains(&refused.status())),
    }
}

/// `/getJournal`
fn segment(query: &Query) {
    let Ok(asked) = SegmentRequest::of(query) else { return };
    assert!(
        i64::try_from(asked.start.0).is_ok(),
        "{} is none of Java's longs",
        asked.start
    );
    let mut parts = Path::new(asked.journal_id).components();
    let is_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    assert!(is_name, "{:?} names another directory", asked.journal_id);
    let is_of = asked.is_of(&storage::info());
    let theirs = query.get("storageInfo");
    assert!(
        !is_of || theirs.is_none_or(|theirs| theirs.ends_with(":CID-7")),
        "{theirs:?}"
    );
}

fn md5(input: &[u8]) {
    let digits = text(input);
    if let Some(md5) = parse_md5(&digits) {
        assert_eq!(parse_md5(&hex(&md5)), Some(md5));
    }
}

/// The kind of the caller (1: a NameNode that has proven it, 2: a proxy user, else neither), and the context.
fn origin_samples() -> Vec<Vec<u8>> {
    let for_alice = "clientIp:10.0.0.7,clientPort:4000,clientId:0123456789abcdef0123456789abcdef,clientCallId:42";
    let waiting = format!("job_1,{WAITING}:{INSTANCE}.5000.20,{for_alice}");
    [(1, &*waiting), (2, for_alice), (3, &*waiting)]
        .map(|(who, context)| [&[who][..], context.as_bytes()].concat())
        .to_vec()
}

fn origin(input: &[u8]) {
    let Some((who, context)) = input.split_first() else {
        return;
    };
    let call = RpcCall {
        method: protocols::ClientMethod::Create.into(),
        body: bytes::Bytes::new(),
        client_id: ClientId::from([1; 16]),
        call_id: 7,
        retry_count: 0,
        user: Arc::new(UserInfo {
            user: "alice".to_owned(),
            real_user: (*who == 2).then(|| "router".to_owned()),
            vouched: *who == 1,
        }),
        peer: peer(),
        caller_context: Some(CallerContext {
            context: context.to_vec().into(),
            signature: None,
        }),
        state_id: None,
        transport: RpcCall::RPC,
    };
    let found = Origin::of(&call, &["router".to_owned()], INSTANCE);
    if !matches!(who, 1 | 2) {
        let own = Origin {
            ip: call.peer.ip(),
            client_id: call.client_id,
            call_id: call.call_id,
            passed_on: None,
        };
        assert_eq!(found, own, "somebody is believed who has proven nothing");
    }
    if let Some(passed_on) = found.passed_on {
        // 0 means no connection.
        assert_ne!(passed_on.connection, 0);
        let known = passed_on.age_ms != u64::MAX;
        assert!(known || passed_on.waiting_at_ms == 0 || text(context).contains(INSTANCE));
    }
}

/// User, real user, path, second path, owner with mode, caller context.
fn audit_samples() -> Vec<Vec<u8>> {
    vec![
        Parts::join(&[b"alice", b"hive", b"/a", b"/b", b"alice:staff:rwxr-xr-x", b"job_1:sig"]),
        Parts::join(&[b"alice\n", b"\t", "/\u{e9}\\\"".as_bytes(), b"", b"a\tb:c:rwx", b"\r\n"]),
    ]
}

/// No name in a call can begin a line or a field of the audit log.
fn audit(input: &[u8]) {
    let mut parts = Parts(input);
    let mut next = || text(parts.next()).into_owned();
    let record = AuditRecord {
        allowed: true,
        user: next().into(),
        ip: Some(peer().ip()),
        command: "rename".into(),
        src: Some(next()),
        dst: Some(next()),
        permission: Some(next()),
    };
    let (real_user, caller) = (next(), next());
    let mut line = String::new();
    put_fields(&mut line, &record, Some(&real_user), RpcCall::WEBHDFS, Some(&caller));
    assert!(line.chars().all(|c| c == '\t' || matches!(c, ' '..='~')), "{line:?}");
    let fields: Vec<&str> = line
        .split('\t')
        .map(|field| field.split('=').next().unwrap_or_default())
        .collect();
    let wanted = [
        "allowed",
        "ugi",
        "ip",
        "cmd",
        "src",
        "dst",
        "perm",
        "proto",
        "callerContext",
    ];
    assert_eq!(fields, wanted, "{line:?}");
}

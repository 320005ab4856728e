use super::*;
use crate::testing::{self, Alone};
use hathi_namenode::rpc::serve_held;
use hathi_namenode::state::NameNode;
use hathi_net::http::{HeaderMap, HttpRequest, HttpServer, Method, Uri};
use http_body_util::{BodyExt, Empty};
use std::net::Ipv4Addr;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);

struct Web {
    alone: Alone,
    web: Arc<WebHdfs>,
}

impl Web {
    /// An active whose lease never ends. Nothing writes its edits: a test says when they are durable.
    fn start(keys: &[(&'static str, String)]) -> Web {
        let alone = testing::active_with(keys);
        let nn = alone.shared.nn.clone();
        nn.replies.set_lease(u64::MAX);
        nn.ns.write().leave_safe_mode(true, nn.clock.now());
        let (held, queue) = mpsc::unbounded_channel();
        let handler = alone.shared.handler(held);
        tokio::spawn(serve_held(handler.clone(), queue));
        let web = Arc::new(WebHdfs::new(&alone.shared.web_parts(), handler));
        Web { alone, web }
    }

    fn nn(&self) -> &NameNode {
        &self.alone.shared.nn
    }

    /// The path has the user of this process, who may do everything.
    fn head(&self, method: Method, path: &str) -> RequestHead {
        let mut uri = format!("/webhdfs/v1{path}");
        if !path.contains("user.name") {
            uri.push_str(&format!("&user.name={}", self.nn().settings.user));
        }
        let uri: Uri = uri.parse().unwrap();
        RequestHead::new(method, &uri, HeaderMap::new(), ([127, 0, 0, 1], 1).into())
    }

    async fn ask(&self, method: Method, path: &str) -> (u16, Value) {
        let response = self.web.respond(&self.head(method, path)).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn until(&self, what: &str, is_so: impl Fn(&NameNode) -> bool) {
        let waiting = async {
            while !is_so(self.nn()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect(what);
    }

    fn make_durable(&self) {
        let mut ns = self.nn().ns.write();
        ns.take_logged();
        let applied = ns.edit_log().applied();
        ns.life().acknowledge(applied).unwrap();
        drop(ns);
        self.nn().replies.release();
    }
}

fn exception(json: &Value) -> &str {
    json["RemoteException"]["exception"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn an_answer_of_a_change_leaves_only_when_it_is_durable() {
    let web = Web::start(&[]);
    let mut answer = pin!(web.ask(Method::PUT, "/a/b?op=MKDIRS"));
    tokio::select! {
        biased;
        said = &mut answer => panic!("acknowledged before it is durable: {said:?}"),
        () = web.until("the call is served", |nn| nn.replies.parked() == 1) => {}
    }
    // A read of what is in flight waits as well.
    let mut status = pin!(web.ask(Method::GET, "/a?op=GETFILESTATUS"));
    tokio::select! {
        biased;
        said = &mut status => panic!("shown before it is durable: {said:?}"),
        () = web.until("the read is served", |nn| nn.replies.parked() == 2) => {}
    }
    web.make_durable();
    assert_eq!(answer.await, (200, serde_json::json!({"boolean": true})));
    let (code, status) = status.await;
    assert_eq!((code, &status["FileStatus"]["type"]), (200, &"DIRECTORY".into()));
}

#[tokio::test]
async fn a_change_of_which_nobody_knows_what_becomes_is_not_answered() {
    let web = Web::start(&[]);
    let (webhdfs, user) = (web.web.clone(), web.nn().settings.user.clone());
    let server = HttpServer::bind(
        (Ipv4Addr::LOCALHOST, 0).into(),
        Arc::new(move |request: HttpRequest| {
            let web = webhdfs.clone();
            async move { web.respond(&request.head).await.unwrap() }
        }),
    )
    .unwrap();
    let url = format!("http://{}/webhdfs/v1/a?op=MKDIRS&user.name={user}", server.local_addr());
    let nothing = Empty::<Bytes>::new().map_err(|never| match never {}).boxed();
    let asked = tokio::spawn(async move { http::put(&url, HeaderMap::new(), nothing, PATIENCE).await.map(|_| ()) });
    web.until("the call is served", |nn| nn.replies.parked() == 1).await;
    for parked in web.nn().replies.gate().close() {
        parked.give_up();
    }
    let failed = asked.await.unwrap().unwrap_err();
    assert!(matches!(failed, http::HttpError::Io { .. }), "{failed}");
}

#[tokio::test]
async fn what_is_refused_says_so_with_its_class_and_status() {
    let web = Web::start(&[]);
    for (method, path, status, class) in [
        (Method::GET, "/none?op=GETFILESTATUS", 404, "FileNotFoundException"),
        (Method::GET, "/none?op=LISTSTATUS", 404, "FileNotFoundException"),
        (Method::PUT, "/a?op=MKDIRS&user.name=bob", 403, "AccessControlException"),
        (
            Method::GET,
            "/?op=GETFILESTATUS&user.name=bob&doas=alice",
            403,
            "AuthorizationException",
        ),
        (
            Method::GET,
            "/?op=GETFILESTATUS&user.name=b%20b",
            400,
            "IllegalArgumentException",
        ),
        (
            Method::PUT,
            "/a?op=MKDIRS&permission=9",
            400,
            "IllegalArgumentException",
        ),
        (Method::PUT, "/a?op=RENAME", 400, "IllegalArgumentException"),
        (
            Method::PUT,
            "/a?op=RENAME&destination=b",
            400,
            "IllegalArgumentException",
        ),
        (Method::PUT, "/a?op=SETOWNER", 400, "IllegalArgumentException"),
        (
            Method::GET,
            "/?op=CHECKACCESS&fsaction=rw",
            400,
            "IllegalArgumentException",
        ),
        (Method::GET, "/?op=MKDIRS", 400, "IllegalArgumentException"),
        (Method::GET, "/?op=", 400, "UnsupportedOperationException"),
        (Method::PUT, "//tmp//file?op=CREATE", 400, "InvalidPathException"),
        // There is no DataNode.
        (Method::PUT, "/f?op=CREATE", 403, "IOException"),
        (Method::PUT, "/?op=CREATESNAPSHOT", 403, "SnapshotException"),
        (Method::PUT, "/?op=RENEWDELEGATIONTOKEN&token=x", 403, "IOException"),
        (
            Method::PUT,
            "/?op=SATISFYSTORAGEPOLICY",
            400,
            "UnsupportedOperationException",
        ),
    ] {
        let asked = web.ask(method, path);
        let (code, json) = tokio::time::timeout(PATIENCE, asked).await.expect(path);
        assert_eq!((code, exception(&json)), (status, class), "{path}: {json}");
    }
    assert_eq!(
        web.ask(Method::GET, "/?op=GETTRASHROOT&user.name=bob").await.1["Path"],
        "/user/bob/.Trash"
    );
    let other = web.head(Method::GET, "/?op=LISTSTATUS").path.replace("v1", "v2");
    assert_eq!(webhdfs::path_of(&other), None);
    web.nn().ns.write().begin_stepping_down().unwrap();
    let (code, json) = web.ask(Method::GET, "/?op=LISTSTATUS").await;
    assert_eq!((code, exception(&json)), (403, "StandbyException"));
}

#[tokio::test]
async fn a_proxy_user_acts_for_others_as_far_as_a_rule_says() {
    let web = Web::start(&[
        ("hadoop.proxyuser.oozie.users", "alice".to_owned()),
        ("hadoop.proxyuser.oozie.hosts", "*".to_owned()),
    ]);
    let home = |query: &'static str| web.ask(Method::GET, query);
    let (code, json) = home("/?op=GETHOMEDIRECTORY&user.name=oozie&doas=alice").await;
    assert_eq!((code, &json["Path"]), (200, &"/user/alice".into()));
    assert_eq!(home("/?op=GETHOMEDIRECTORY&user.name=oozie&doas=bob").await.0, 403);
    assert_eq!(home("/?op=GETHOMEDIRECTORY&user.name=hue&doas=alice").await.0, 403);
}

#[tokio::test]
async fn a_request_leaves_a_line_in_the_audit_log() {
    let logs = tempfile::tempdir().unwrap();
    let web = Web::start(&[
        ("hathi.namenode.audit.log", "true".to_owned()),
        ("hadoop.log.dir", logs.path().display().to_string()),
    ]);
    web.ask(Method::GET, "/?op=GETFILESTATUS&user.name=bob").await;
    let written = || std::fs::read_to_string(logs.path().join("hdfs-audit.log")).unwrap_or_default();
    web.until("a line", |_| written().contains('\n')).await;
    let line = "allowed=true\tugi=bob (auth:SIMPLE)\tip=/127.0.0.1\tcmd=getfileinfo\tsrc=/\tdst=null\tperm=null\tproto=webhdfs\n";
    assert!(written().ends_with(line), "{}", written());
}

#[tokio::test]
async fn webhdfs_can_be_switched_off() {
    let web = Web::start(&[("dfs.webhdfs.enabled", "false".to_owned())]);
    assert_eq!(web.ask(Method::GET, "/?op=GETFILESTATUS").await.0, 404);
}

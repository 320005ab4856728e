//! The web server: WebHDFS, `/jmx`, `/metrics`, `/health`, `/api`, `/isActive`, `/conf`, `/fsck`, `/imagetransfer` and the page of the cluster.

use crate::pages::Pages;
use crate::webhdfs::WebHdfs;
use crate::{beans, cluster, configurations, metrics, readiness, web};
use hathi_conf::keys::Program;
use hathi_namenode::debug_hooks;
use hathi_namenode::image_transfer::get_image;
use hathi_namesystem::Role;
use hathi_net::http::{self, HttpRequest, HttpResponse, jmx};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Method, StatusCode};
use std::sync::Arc;

/// Answers one request, of WebHDFS or for a page.
pub async fn route(pages: Arc<Pages>, webhdfs: Arc<WebHdfs>, request: HttpRequest) -> HttpResponse {
    match webhdfs.respond(&request.head).await {
        Some(response) => response,
        None => serve(pages, request).await,
    }
}

/// Answers a request for a page.
pub async fn serve(pages: Arc<Pages>, request: HttpRequest) -> HttpResponse {
    let (head, nn) = (&request.head, &pages.nn);
    if let Some(response) = http::health::respond(head, || readiness::of(&pages)) {
        return response;
    }
    match (&head.method, head.path.as_str()) {
        (&Method::GET, "/jmx") => jmx::respond(&head.query, beans::beans(&pages)),
        (&Method::GET, "/metrics" | "/prom") => metrics::exposition(&pages).respond(head),
        (&Method::GET, "/api/cluster") => api(&cluster::cluster(&pages).await),
        (&Method::GET, "/api/namenode") => api(&cluster::namenode(&pages)),
        (&Method::GET, "/api/history") => api(&pages.history.lock().to_json()),
        (&Method::GET, "/api/configurations") => api(&configurations::differences(&pages).await),
        (&Method::GET, "/startupProgress") => api(&beans::startup_json(&pages, &nn.ns.read())),
        (&Method::GET, "/isActive") => is_active(&pages),
        (&Method::GET, "/logLevel") => http::log_level::respond(head).await,
        (&Method::GET, "/conf") => http::conf::respond(&nn.reconfiguration.conf(), Program::NameNode, head),
        (&Method::GET, "/fsck") => pages.fsck.respond(head),
        (&Method::GET, "/imagetransfer") => get_image(&nn.dirs, &head.query),
        (&Method::POST, "/debug/hang") => debug_hooks::serve(nn.debug_hooks.get(), &nn.ns, &nn.clock, &head.query),
        (&Method::PUT, "/imagetransfer") => nn.uploads.put(request).await,
        (&Method::GET, _) => web::respond(head).unwrap_or_else(not_found),
        _ => not_found(),
    }
}

fn not_found() -> HttpResponse {
    http::error(StatusCode::NOT_FOUND, "Not Found")
}

/// JSON of `/api`.
fn api(value: &serde_json::Value) -> HttpResponse {
    http::json(StatusCode::OK, value.to_string())
}

fn is_active(pages: &Pages) -> HttpResponse {
    let mut response = if pages.nn.replies.role() == Role::Active {
        http::text(StatusCode::OK, "I am Active!")
    } else {
        http::error(StatusCode::METHOD_NOT_ALLOWED, "I am not Active!")
    };
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use hathi_net::http::HttpServer;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn only_an_active_says_that_it_is_one() {
        let alone = testing::active();
        let pages = Pages::new(alone.shared.web_parts());
        assert_eq!(is_active(&pages).status(), StatusCode::OK);
        testing::become_standby(&alone.shared.nn);
        assert_eq!(is_active(&pages).status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn an_fsck_leaves_a_line_in_the_audit_log() {
        let logs = tempfile::tempdir().unwrap();
        let alone = testing::active_with(&[
            ("hathi.namenode.audit.log", "true".to_owned()),
            ("hadoop.log.dir", logs.path().display().to_string()),
        ]);
        let web = Arc::new(Pages::new(alone.shared.web_parts()));
        let server = HttpServer::bind(
            (Ipv4Addr::LOCALHOST, 0).into(),
            Arc::new(move |request| serve(web.clone(), request)),
        )
        .unwrap();
        let url = |path: &str| format!("http://{}/fsck?ugi=alice&path={path}", server.local_addr());
        for (path, succeeded, shown) in [("%2Fa%0Ab", true, "/a\\nb"), ("%2F&delete=1", false, "/")] {
            http::get_bytes(&url(path), PATIENCE, 1 << 16).await.unwrap();
            let line = async {
                loop {
                    let log = std::fs::read_to_string(logs.path().join("hdfs-audit.log")).unwrap_or_default();
                    // Lines are written as a whole.
                    if let Some(line) = log.lines().find(|line| line.contains(&format!("src={shown}\t"))) {
                        break line.to_owned();
                    }
                    tokio::task::yield_now().await;
                }
            };
            let line = tokio::time::timeout(PATIENCE, line).await.expect("a line of the fsck");
            let fields = format!(
                "allowed={succeeded}\tugi=alice (auth:SIMPLE)\tip=/127.0.0.1\tcmd=fsck\tsrc={shown}\tdst=null\tperm=null\tproto=rpc"
            );
            assert!(line.ends_with(&fields), "{line}");
        }
    }
}

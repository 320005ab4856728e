//! Files that are part of the program, and the small page of daemons that have none of their own.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use hathi_conf::Configuration;
use hathi_conf::keys::Program;
use hyper::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::{Method, StatusCode};

use super::conf::{self, escape};
use super::{HttpResponse, RequestHead, bytes};

const HTML: &str = "text/html; charset=utf-8";
const STYLE: File = File {
    path: "/daemon.css",
    content_type: "text/css; charset=utf-8",
    text: include_str!("daemon.css"),
};

/// A file that is part of the program.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Its address.
    pub path: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// What is in it.
    pub text: &'static str,
}

impl File {
    /// Answers a request for it. A browser asks each time, and is sent it only when it has changed: another version of
    /// the program may answer at the same address tomorrow.
    #[must_use]
    pub fn respond(&self, head: &RequestHead) -> HttpResponse {
        with_tag(head, self.content_type, Bytes::from_static(self.text.as_bytes()))
    }
}

fn with_tag(head: &RequestHead, content_type: &'static str, body: Bytes) -> HttpResponse {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let known = head
        .header(IF_NONE_MATCH.as_str())
        .is_some_and(|known| known.contains(&tag));
    let mut response = if known {
        bytes(StatusCode::NOT_MODIFIED, content_type, Bytes::new())
    } else {
        bytes(StatusCode::OK, content_type, body)
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

/// Answers requests for the page of a daemon that has none of its own, and for `/conf`. `None` for all others.
#[must_use]
pub fn daemon(conf: &Configuration, program: Program, about: &[&str], head: &RequestHead) -> Option<HttpResponse> {
    if head.method != Method::GET {
        return None;
    }
    match head.path.as_str() {
        "/" | "/index.html" => Some(with_tag(head, HTML, page(conf, program, about).into())),
        path if path == STYLE.path => Some(STYLE.respond(head)),
        "/conf" => Some(conf::respond(conf, program, head)),
        _ => None,
    }
}

fn page(conf: &Configuration, program: Program, about: &[&str]) -> String {
    let name = program.name();
    let mut namenodes = String::new();
    for (id, address) in namenodes_of(conf) {
        let (id, address) = (escape(&id), escape(&address));
        namenodes.push_str(&format!(
            "<li><a href=\"http://{address}/\">{id}</a> at {address}</li>\n"
        ));
    }
    if namenodes.is_empty() {
        namenodes.push_str("<li>The configuration of this daemon names none.</li>\n");
    }
    let about: Vec<String> = about
        .iter()
        .map(|path| format!("<a href=\"{path}\">{path}</a>"))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{name}</title>\n\
         <link rel=\"stylesheet\" href=\"{}\">\n</head>\n<body>\n<main>\n<h1>{name}</h1>\n\
         <p>The whole cluster, this daemon too, stands on the page of any NameNode:</p>\n<ul>\n{namenodes}</ul>\n\
         <p>About this daemon alone: {}</p>\n</main>\n</body>\n</html>\n",
        STYLE.path,
        about.join(", ")
    )
}

/// The NameNodes of a configuration and their web addresses.
fn namenodes_of(conf: &Configuration) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for nameservice in conf.nameservices() {
        let ids = conf.namenode_ids(&nameservice);
        for id in ids.iter().map(Some).chain(ids.is_empty().then_some(None)) {
            if let Ok(address) = conf.http_address(Some(&nameservice), id.map(String::as_str)) {
                let name = id.map_or(nameservice.clone(), |id| format!("{nameservice} {id}"));
                all.push((name, address.to_string()));
            }
        }
    }
    if all.is_empty()
        && let Ok(address) = conf.http_address(None, None)
    {
        all.push(("NameNode".to_owned(), address.to_string()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_conf::Environment;
    use hyper::{HeaderMap, Uri};

    fn head(uri: &'static str, known: Option<&HeaderValue>) -> RequestHead {
        let mut headers = HeaderMap::new();
        if let Some(known) = known {
            headers.insert(IF_NONE_MATCH, known.clone());
        }
        RequestHead::new(Method::GET, &Uri::from_static(uri), headers, ([127, 0, 0, 1], 1).into())
    }

    #[test]
    fn a_daemon_links_to_every_namenode_and_names_are_text() {
        let mut conf = Configuration::new(Environment::default());
        conf.set("dfs.nameservices", "ns");
        conf.set("dfs.ha.namenodes.ns", "a,<b>");
        conf.set("dfs.namenode.rpc-address.ns.a", "host-a:8020");
        conf.set("dfs.namenode.http-address.ns.<b>", "host-b:9871");
        let page = page(&conf, Program::JournalNode, &["/jmx"]);
        assert!(page.contains("<a href=\"http://host-a:9870/\">ns a</a>"), "{page}");
        assert!(
            page.contains("<a href=\"http://host-b:9871/\">ns &lt;b&gt;</a>"),
            "{page}"
        );
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let conf = Configuration::new(Environment::default());
        let ask = |known: Option<&HeaderValue>, uri| daemon(&conf, Program::DataNode, &[], &head(uri, known)).unwrap();
        let style = ask(None, "/daemon.css");
        assert_eq!(style.status(), StatusCode::OK);
        let tag = style.headers()[ETAG].clone();
        assert_eq!(ask(Some(&tag), "/daemon.css").status(), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(Some(&tag), "/").status(), StatusCode::OK);
        assert!(daemon(&conf, Program::DataNode, &[], &head("/other", None)).is_none());
    }
}

//! `/conf` (`ConfServlet`): the keys that a daemon reads, and where each was set.

use hathi_conf::Configuration;
use hathi_conf::keys::Program;
use hyper::StatusCode;
use serde_json::json;

use super::{HttpResponse, RequestHead, bytes, error, json};

/// Parts of the names of keys whose values are shown to nobody.
const SECRET: [&str; 5] = ["password", "secret", "credential", "keystore.pass", "zookeeper.auth"];

/// Answers a request for all keys, or with `name` for one of them. It is JSON if the client accepts that or asks for
/// it with `format=json`, else XML.
#[must_use]
pub fn respond(conf: &Configuration, program: Program, head: &RequestHead) -> HttpResponse {
    let wanted = head.query.get("name");
    let mut properties = Vec::new();
    for (key, value, origin) in conf.obeyed(program) {
        if wanted.is_some_and(|wanted| wanted != key) {
            continue;
        }
        let secret = SECRET.iter().any(|word| key.contains(word));
        let value = if secret { "<redacted>".to_owned() } else { value };
        properties.push((key.to_owned(), value, origin.to_owned()));
    }
    if let Some(wanted) = wanted
        && properties.is_empty()
    {
        return error(StatusCode::NOT_FOUND, format!("Property {wanted} not found"));
    }
    let format = head.query.get("format").or_else(|| head.header("accept"));
    if format.is_some_and(|format| format.contains("json")) {
        let list: Vec<_> = properties
            .iter()
            .map(|(key, value, origin)| json!({"key": key, "value": value, "isFinal": false, "resource": origin}))
            .collect();
        return json(StatusCode::OK, json!({"properties": list}).to_string());
    }
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n<configuration>\n");
    for (key, value, origin) in &properties {
        xml.push_str(&format!(
            "<property><name>{}</name><value>{}</value><final>false</final><source>{}</source></property>\n",
            escape(key),
            escape(value),
            escape(origin)
        ));
    }
    xml.push_str("</configuration>\n");
    bytes(StatusCode::OK, "text/xml; charset=utf-8", xml)
}

/// Text inside HTML or XML.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_conf::Environment;
    use http_body_util::BodyExt;
    use hyper::{HeaderMap, Method, Uri};

    #[tokio::test]
    async fn markup_is_text_and_secrets_stay_here() {
        let mut conf = Configuration::new(Environment::default());
        conf.set("dfs.nameservices", "<a&\"b\">");
        conf.set("ha.zookeeper.auth", "digest:hdfs:hidden");
        conf.set("ha.zookeeper.quorum", "zk:2181");
        let get = |uri: &'static str| {
            let uri = Uri::from_static(uri);
            let head = RequestHead::new(Method::GET, &uri, HeaderMap::new(), ([127, 0, 0, 1], 1).into());
            respond(&conf, Program::Zkfc, &head).into_body().collect()
        };
        for uri in ["/conf", "/conf?format=json"] {
            let body = get(uri).await.unwrap().to_bytes();
            let text = String::from_utf8_lossy(&body);
            assert!(text.contains("zk:2181") && !text.contains("hidden"), "{text}");
            assert_eq!(text.contains("&lt;a&amp;&quot;b&quot;&gt;"), uri == "/conf", "{text}");
        }
    }
}

//! `/logLevel`: shows and changes the levels of the log (Hadoop: `LogLevel.Servlet`).

use super::server::{HttpResponse, RequestHead, bytes, error};
use crate::logging::{self, LogControl, LogLevel};
use hyper::StatusCode;

/// Begins each line that the command line shows.
pub const MARKER: &str = "<!-- OUTPUT -->";
/// Longest name of a logger, in bytes.
const LOGGER_MAX_BYTES: usize = 256;

const FORMS: &str = "<hr /><h3>Get / Set</h3>\n\
    <form>Class Name: <input type='text' size='50' name='log' /> <input type='submit' value='Get Log Level' /></form>\n\
    <form>Class Name: <input type='text' size='50' name='log' /> Level: <input type='text' name='level' /> \
    <input type='submit' value='Set Log Level' /></form>\n";

/// Packages of Hadoop's, and the crates and modules here that do the same. The first that fits counts.
const PACKAGES: &[(&str, &str)] = &[
    (
        "org.apache.hadoop.hdfs.server.namenode.ha.ZKFailoverController",
        "hathi_zkfc",
    ),
    (
        "org.apache.hadoop.hdfs.server.namenode.FSEditLog",
        "hathi_namenode::log",
    ),
    ("org.apache.hadoop.hdfs.server.namenode", "hathi_namenode"),
    ("org.apache.hadoop.hdfs.server.blockmanagement", "hathi_namenode"),
    ("org.apache.hadoop.hdfs.server.datanode", "hathi_datanode"),
    ("org.apache.hadoop.hdfs.qjournal.server", "hathi_journalnode"),
    ("org.apache.hadoop.hdfs.qjournal.client", "hathi_journalclient"),
    ("org.apache.hadoop.hdfs.tools.DFSZKFailoverController", "hathi_zkfc"),
    ("org.apache.hadoop.ha", "hathi_zkfc"),
    ("org.apache.hadoop.ipc", "hathi_net::ipc"),
    ("org.apache.hadoop.http", "hathi_net::http"),
    ("org.apache.hadoop.security", "hathi_net::auth"),
];

/// The name here of a logger: of a module of ours, of a class of Hadoop's, or `root`. Empty: all.
fn logger(name: &str) -> String {
    if ["root", "org", "org.apache", "org.apache.hadoop", "hathi"].contains(&name) {
        return String::new();
    }
    let is_within = |package: &str| {
        let rest = name.strip_prefix(package);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let known = PACKAGES.iter().find(|(package, _)| is_within(package));
    known.map_or_else(|| name.replace('.', "::"), |(_, ours)| (*ours).to_owned())
}

/// Answers a request.
pub async fn respond(head: &RequestHead) -> HttpResponse {
    match logging::control() {
        Some(control) => answer(head, control).await,
        None => error(StatusCode::NOT_FOUND, "Not Found"),
    }
}

async fn answer(head: &RequestHead, control: &LogControl) -> HttpResponse {
    let user = head.query.get("user.name").filter(|user| !user.is_empty());
    if let Some(administrators) = &control.administrators {
        // As `HttpServer2.hasAdministratorAccess`.
        let Some(user) = user else {
            let refused = "Unauthenticated users are not authorized to access this page.";
            return error(StatusCode::FORBIDDEN, refused);
        };
        if !administrators.ask(user).await {
            let refused = format!("User {user} is unauthorized to access this page.");
            return error(StatusCode::FORBIDDEN, refused);
        }
    }
    let mut page = "<!DOCTYPE html><html><head><title>Log Level</title></head><body><h1>Log Level</h1>\n".to_owned();
    if let Some(name) = head.query.get("log").map(str::trim) {
        if name.len() > LOGGER_MAX_BYTES {
            return error(StatusCode::BAD_REQUEST, "the name of the logger is too long");
        }
        page.push_str("<hr /><h3>Results</h3>\n");
        for line in results(name, head.query.get("level").map(str::trim), user, control) {
            page.push_str(&format!("{MARKER}{line}<br />\n"));
        }
    }
    page.push_str(FORMS);
    page.push_str("</body></html>\n");
    bytes(StatusCode::OK, "text/html; charset=utf-8", page)
}

fn results(name: &str, level: Option<&str>, user: Option<&str>, control: &LogControl) -> Vec<String> {
    let logger = logger(name);
    let of = if logger.is_empty() { "root" } else { &logger };
    let mut lines = vec![
        format!("Submitted Class Name: <b>{}</b>", escaped(name)),
        format!("Log Class: <b>{}</b>", escaped(of)),
    ];
    if let Some(asked) = level {
        lines.push(format!("Submitted Level: <b>{}</b>", escaped(asked)));
        match asked.parse::<LogLevel>() {
            Err(()) => lines.push(format!("Bad Level : <b>{}</b>", escaped(asked))),
            Ok(level) => {
                // An administrator who finds other lines than yesterday's has to find the reason.
                tracing::warn!(logger = of, %level, user = user.unwrap_or("unknown"), "the level of the log is changed");
                lines.push(match control.levels.set(&logger, level) {
                    Ok(()) => format!("Setting Level to {} ...", escaped(asked)),
                    Err(why) => escaped(&why),
                });
            }
        }
    }
    lines.push(format!("Effective Level: <b>{}</b>", control.levels.level(&logger)));
    lines
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Administrators, Groups, GroupsOptions};
    use hathi_conf::{Configuration, Environment};
    use http_body_util::BodyExt;
    use hyper::{HeaderMap, Method, Uri};
    use parking_lot::Mutex;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    #[derive(Clone, Debug, Default)]
    struct Levels(Arc<Mutex<BTreeMap<String, LogLevel>>>);

    impl logging::LogLevels for Levels {
        fn level(&self, logger: &str) -> LogLevel {
            self.0.lock().get(logger).copied().unwrap_or(LogLevel::Info)
        }
        fn set(&self, logger: &str, level: LogLevel) -> Result<(), String> {
            self.0.lock().insert(logger.to_owned(), level);
            Ok(())
        }
    }

    async fn asked(query: &str, control: &LogControl) -> (StatusCode, String) {
        let uri: Uri = format!("/logLevel?{query}").parse().unwrap();
        let head = RequestHead::new(Method::GET, &uri, HeaderMap::new(), ([127, 0, 0, 1], 1).into());
        let response = answer(&head, control).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn levels_are_shown_and_set_under_hadoops_names() {
        let levels = Levels::default();
        let control = LogControl {
            levels: Box::new(levels.clone()),
            administrators: None,
        };
        let class = "org.apache.hadoop.hdfs.server.namenode.NameNode";
        let (status, page) = asked(&format!("log={class}&level=debug"), &control).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(levels.0.lock().get("hathi_namenode"), Some(&LogLevel::Debug));
        for line in [
            format!("{MARKER}Submitted Class Name: <b>{class}</b><br />"),
            format!("{MARKER}Submitted Level: <b>debug</b><br />"),
            format!("{MARKER}Setting Level to debug ...<br />"),
            format!("{MARKER}Effective Level: <b>DEBUG</b><br />"),
        ] {
            assert!(page.contains(&line), "{line}\n{page}");
        }
        let (_, page) = asked("log=root&level=loud%3Cb%3E", &control).await;
        assert!(page.contains("Bad Level : <b>loud&lt;b&gt;</b>"), "{page}");
        assert!(page.contains("Effective Level: <b>INFO</b>"), "{page}");
        assert_eq!(levels.0.lock().len(), 1);
        asked("log=hathi_zkfc.run&level=FATAL", &control).await;
        assert_eq!(levels.0.lock().get("hathi_zkfc::run"), Some(&LogLevel::Error));
    }

    #[tokio::test]
    async fn only_administrators_may_where_calls_are_authorized() {
        let groups = Groups::start(GroupsOptions::of(&Configuration::new(Environment::default()), "hdfs").unwrap());
        let levels = Levels::default();
        let control = LogControl {
            levels: Box::new(levels.clone()),
            administrators: Some(Administrators::own("hdfs", groups).and_listed("root")),
        };
        for query in ["log=root&level=OFF", "log=root&level=OFF&user.name=mallory"] {
            assert_eq!(asked(query, &control).await.0, StatusCode::FORBIDDEN, "{query}");
        }
        assert!(levels.0.lock().is_empty());
        assert_eq!(
            asked("log=root&level=OFF&user.name=hdfs", &control).await.0,
            StatusCode::OK
        );
        assert_eq!(levels.0.lock().get(""), Some(&LogLevel::Off));
    }
}

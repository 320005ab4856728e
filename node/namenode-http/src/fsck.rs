//! `GET /fsck` (`FsckServlet`): sends the report that [`hathi_namesystem::fsck`] makes. The lock is released between its
//! pages.

use bytes::Bytes;
use hathi_namenode::audit::AuditLog;
use hathi_namenode::callers::Callers;
use hathi_namenode::clock::Clock;
use hathi_namenode::settings::Settings;
use hathi_namesystem::Namesystem;
use hathi_namesystem::fsck::{Fsck, FsckCaller, FsckRequest};
use hathi_net::http::{BodySender, HttpResponse, Query, RequestHead, body_channel};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use parking_lot::RwLock;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Approximate size in bytes of the pieces in which the text is sent.
const PIECE_BYTES: usize = 16 << 10;
/// Number of pieces that may wait for a slow reader.
const PIECES: usize = 4;
/// `hadoop.http.staticuser.user`: the user of a request without a name.
const NOBODY: &str = "dr.who";

/// What the page of fsck shows.
pub struct FsckPage {
    pub(crate) settings: Arc<Settings>,
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) callers: Arc<Callers>,
    pub(crate) audit: Option<Arc<AuditLog>>,
}

impl FsckPage {
    /// Answers the request; the report is made on a thread of its own.
    pub fn respond(self: &Arc<Self>, request: &RequestHead) -> HttpResponse {
        let (sender, body) = body_channel(PIECES);
        let (page, peer) = (self.clone(), request.peer.ip());
        let (user, asked) = decode(&request.query);
        tokio::spawn(async move {
            let known = page.callers.groups().resolve(&user).await;
            let asker = match known {
                Some(known) => FsckCaller {
                    user: known.user,
                    groups: known.groups,
                    superuser: known.superuser,
                },
                None => FsckCaller {
                    user: user.as_str().into(),
                    groups: Arc::from([]),
                    superuser: false,
                },
            };
            tokio::task::spawn_blocking(move || {
                let mut report = Report {
                    page: &page,
                    sender,
                    text: String::new(),
                    is_unread: false,
                };
                report.make(asked, asker, peer);
                report.flush();
            });
        });
        let mut response = HttpResponse::new(body);
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    }
}

/// The caller and the request of a query. Missing fields get the defaults of Hadoop's servlet. The caller is the first name
/// of `ugi`; Hadoop's tools put the groups behind it.
#[must_use]
pub fn decode(query: &Query) -> (String, FsckRequest) {
    let names = query.get("ugi").or_else(|| query.get("user.name")).unwrap_or(NOBODY);
    let user = names.split(',').next().unwrap_or(NOBODY).to_owned();
    let after = query.number("startblockafter").unwrap_or(0);
    let path = query.get("path").unwrap_or("/");
    (
        user,
        FsckRequest::new(path, after, |option| query.get(option).is_some()),
    )
}

struct Report<'a> {
    page: &'a FsckPage,
    sender: BodySender,
    text: String,
    /// Whether the reader is gone.
    is_unread: bool,
}

impl Report<'_> {
    fn make(&mut self, asked: FsckRequest, asker: FsckCaller, peer: IpAddr) {
        let page = self.page;
        let started = Instant::now();
        let date = java_date(page.clock.wall_ms());
        let (user, path) = (asker.user.clone(), asked.path.clone());
        tracing::info!(user = &*user, %peer, path = &*path, "fsck");
        let _ = writeln!(
            self.text,
            "FSCK started by {user} (auth:SIMPLE) from /{peer} for path {path} at {date}"
        );
        let replication = page.settings.conf.get_i64("dfs.replication", 3).unwrap_or(3);
        let mut fsck = Fsck::new(&page.ns.read(), asked, asker, replication);
        let outcome = loop {
            let more = fsck.step(&page.ns.read());
            self.text += &fsck.take_text();
            if self.text.len() >= PIECE_BYTES {
                self.flush();
            }
            match more {
                Ok(true) if !self.is_unread => {}
                Ok(_) => break Ok(()),
                Err(refused) => break Err(refused),
            }
        };
        hathi_namenode::audit::log_fsck(page.audit.as_deref(), outcome.is_ok(), &user, peer, &path);
        match outcome {
            Ok(()) => {
                if let Some(last_line) = fsck.last_line() {
                    self.ended(started);
                    self.text += last_line;
                }
            }
            Err(refused) => {
                self.ended(started);
                let _ = write!(self.text, "{}\n\n\nFsck on path '{path}' FAILED", refused.message);
            }
        }
    }

    fn ended(&mut self, started: Instant) {
        let date = java_date(self.page.clock.wall_ms());
        let took = started.elapsed().as_millis();
        let _ = writeln!(self.text, "FSCK ended at {date} in {took} milliseconds");
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            let piece = Bytes::from(std::mem::take(&mut self.text));
            self.is_unread |= !self.sender.send_blocking(piece);
        }
    }
}

/// The format of `java.util.Date.toString`, in UTC: `Sat Nov 21 05:17:53 UTC 2026`.
fn java_date(wall_ms: u64) -> String {
    let millis = i64::try_from(wall_ms).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%a %b %d %H:%M:%S UTC %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_java() {
        assert_eq!(java_date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(java_date(951_782_400_000), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(java_date(1_795_238_273_000), "Sat Nov 21 05:17:53 UTC 2026");
    }
}

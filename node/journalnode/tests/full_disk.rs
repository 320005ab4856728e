//! A disk that is full, and has space again, by the limit of the kernel on the size of files. Alone in its process,
//! which the limit is of.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use hathi_formats::exceptions;
use hathi_formats::ids::TxId;
use hathi_journal::{Answer, Request};
use hathi_journalnode::JournalNode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Writer, configuration};
use tokio::signal::unix::{SignalKind, signal};

/// SIGXFSZ of Linux, which would end the process.
const FILE_TOO_LARGE: i32 = 25;

fn limit_files(bytes: Option<u64>) {
    let now = getrlimit(Resource::Fsize);
    let limit = Rlimit {
        current: bytes.or(now.maximum),
        maximum: now.maximum,
    };
    setrlimit(Resource::Fsize, limit).unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_when_there_is_space() {
    let _signals = signal(SignalKind::from_raw(FILE_TOO_LARGE)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = JournalNode::start(configuration(dir.path())).unwrap();
    let mut writer = Writer::connect(&node, 1).await;
    writer.format().await;
    writer.become_writer().await;
    writer.start(1, None).await.unwrap();
    limit_files(Some((1 << 20) + 1000));
    let mut next = 1;
    let refused = loop {
        match writer.write(1, next, 2000, None).await {
            Ok(_) => next += 2000,
            Err(exception) => break exception,
        }
    };
    assert!(refused.is(exceptions::IO), "{refused}");
    assert!(next > 40_000, "{next}");
    // Still full: refused without harm, again and again.
    for _ in 0..3 {
        writer.write(1, next, 1, None).await.unwrap_err();
    }
    limit_files(None);
    let resume = Request::ResumeSegment {
        info: writer.info(None),
        segment: TxId(1),
    };
    let resumed = writer.ask(&resume).await.unwrap();
    assert!(
        matches!(resumed, Answer::Resumed { next: at, .. } if at == TxId(next)),
        "{resumed:?}"
    );
    writer.write(1, next, 2000, None).await.unwrap();
    writer.finalize(1, next + 1999, None).await;
}

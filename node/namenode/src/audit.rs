//! The audit log: a line for each call of a client, in Hadoop's words, in a file of its own
//! (`FSNamesystem.DefaultAuditLogger`).
//!
//! Off by default, as in Hadoop's own log4j.properties (`hdfs.audit.logger=INFO,NullAppender`). Then it costs a call
//! one look at an option. When it is on, the reactor makes the line, and a thread of its own writes and rotates. It
//! syncs nothing.

use anyhow::{Context, ensure};
use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use hathi_conf::Configuration;
use hathi_namesystem::calls::{self, AuditRecord};
use hathi_namesystem::{CallContext, Namesystem, Reply};
use hathi_net::ipc::{Method, RpcCall};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Number of lines that may wait for the disk, some 20 MB. Above it callers wait, or lines are dropped and counted.
const LINES_MAX: usize = 65_536;
/// Waiting lines are written together, up to about this number of bytes.
const BATCH_BYTES: usize = 8 << 10;
/// Name of the logger, as log4j's `%c{2}` prints `org.apache.hadoop.hdfs.server.namenode.FSNamesystem.audit`.
const LOGGER: &str = "FSNamesystem.audit";
const FILE_NAME: &str = "hdfs-audit.log";

/// Configuration of the audit log.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// `hadoop.log.dir`
    dir: PathBuf,
    /// `hathi.namenode.audit.log.max.file.size`
    max_file_bytes: usize,
    /// `hathi.namenode.audit.log.max.backup.index`: number of files that are kept besides the open one.
    max_backups: usize,
    /// `dfs.namenode.audit.log.async.blocking`: whether callers wait when the disk is too slow.
    blocking: bool,
    /// `dfs.namenode.audit.log.debug.cmdlist`: commands that leave no line.
    quiet: BTreeSet<String>,
    /// `hadoop.caller.context.enabled`, at the start.
    caller_context: bool,
    /// The longest context and signature.
    caller_context_max: (usize, usize),
}

impl AuditOptions {
    /// Reads the configuration. `None`: the audit log is off.
    pub fn from_conf(conf: &Configuration) -> anyhow::Result<Option<AuditOptions>> {
        if !conf.get_bool("hathi.namenode.audit.log", false) {
            return Ok(None);
        }
        let dir = conf.get_required("hadoop.log.dir", "the audit log (hathi.namenode.audit.log)")?;
        let max_file_bytes = conf.get_bytes("hathi.namenode.audit.log.max.file.size", 256 << 20)?;
        Ok(Some(AuditOptions {
            dir: PathBuf::from(dir),
            max_file_bytes: usize::try_from(max_file_bytes)?,
            max_backups: conf.get_usize("hathi.namenode.audit.log.max.backup.index", 20)?,
            blocking: conf.get_bool("dfs.namenode.audit.log.async.blocking", true),
            quiet: conf
                .get_list("dfs.namenode.audit.log.debug.cmdlist")
                .into_iter()
                .collect(),
            caller_context: conf.get_bool("hadoop.caller.context.enabled", false),
            caller_context_max: (
                conf.get_usize("hadoop.caller.context.max.size", 128)?,
                conf.get_usize("hadoop.caller.context.signature.max.size", 40)?,
            ),
        }))
    }
}

/// The audit log; see the module.
#[derive(Debug)]
pub struct AuditLog {
    options: AuditOptions,
    /// Whether lines tell the caller's context.
    caller_context: AtomicBool,
    lines: SyncSender<String>,
    /// Number of lines that found no room.
    dropped: AtomicU64,
}

impl AuditLog {
    /// Opens the file and starts the thread.
    pub fn start(options: AuditOptions) -> anyhow::Result<AuditLog> {
        std::fs::create_dir_all(&options.dir).with_context(|| format!("hadoop.log.dir: {}", options.dir.display()))?;
        let path = options.dir.join(FILE_NAME);
        // The rotating writer fails silently when it can't open the file, so the file is opened here first.
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        ensure!(
            options.max_file_bytes > 0,
            "hathi.namenode.audit.log.max.file.size must not be 0"
        );
        let file = FileRotate::new(
            &path,
            AppendCount::new(options.max_backups),
            ContentLimit::BytesSurpassed(options.max_file_bytes),
            Compression::None,
            None,
        );
        let (lines, queue) = sync_channel(LINES_MAX);
        std::thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(move || write_lines(file, &queue))?;
        Ok(AuditLog {
            caller_context: AtomicBool::new(options.caller_context),
            options,
            lines,
            dropped: AtomicU64::new(0),
        })
    }

    /// Whether lines tell the caller's context from now on.
    pub fn tell_caller_contexts(&self, tell: bool) {
        self.caller_context.store(tell, Ordering::Relaxed);
    }

    /// The caller's context, if lines tell it.
    fn caller_context(&self, call: &RpcCall) -> Option<String> {
        let told = self.caller_context.load(Ordering::Relaxed);
        told.then(|| caller_context(call, self.options.caller_context_max))?
    }

    fn write(&self, line: String) {
        if self.options.blocking {
            // The thread ends only with the process.
            let _ = self.lines.send(line);
        } else if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, "the audit log's disk is too slow: lines are dropped");
            }
        }
    }
}

fn write_lines(mut file: impl Write, queue: &Receiver<String>) {
    let mut failed = false;
    while let Ok(mut batch) = queue.recv() {
        while batch.len() < BATCH_BYTES
            && let Ok(line) = queue.try_recv()
        {
            batch.push_str(&line);
        }
        // Whole lines at once, because the file may be rotated between two writes.
        match file.write_all(batch.as_bytes()) {
            Ok(()) => failed = false,
            Err(error) if !failed => {
                failed = true;
                tracing::error!(%error, "the audit log can't be written: lines are lost");
            }
            Err(_) => {}
        }
    }
}

/// The line of a call that was just served, if it leaves one. To be called under the lock under which the call was
/// served: the owner and mode in the line are those that the call has left.
pub fn record(
    audit: Option<&AuditLog>,
    ns: &Namesystem,
    context: &CallContext,
    call: &RpcCall,
    reply: &Reply,
) -> Option<AuditRecord> {
    let audit = audit?;
    let Method::Client(method) = call.method else {
        return None;
    };
    calls::audit(ns, context, method, &call.body, reply)
        .filter(|record| !audit.options.quiet.contains(&*record.command))
}

/// Writes the line of a call. To be called without any lock, because it may wait for the disk.
pub fn log(audit: Option<&AuditLog>, call: &RpcCall, record: &AuditRecord) {
    let Some(audit) = audit else { return };
    let caller = audit.caller_context(call);
    let now = jiff::Zoned::now();
    audit.write(line(
        &now,
        record,
        call.user.real_user.as_deref(),
        call.transport,
        caller.as_deref(),
    ));
}

/// Writes the line of a call of another protocol, which has no path.
pub fn log_operation(audit: Option<&AuditLog>, allowed: bool, call: &RpcCall, command: &'static str) {
    if audit.is_none_or(|audit| audit.options.quiet.contains(command)) {
        return;
    }
    let record = AuditRecord {
        allowed,
        user: call.user.user.as_str().into(),
        ip: Some(call.peer.ip()),
        command: command.into(),
        src: None,
        dst: None,
        permission: None,
    };
    log(audit, call, &record);
}

/// Writes the line of an fsck (`FSNamesystem.logFsckEvent`).
pub fn log_fsck(audit: Option<&AuditLog>, succeeded: bool, user: &Arc<str>, ip: IpAddr, path: &str) {
    const COMMAND: &str = "fsck";
    let Some(audit) = audit.filter(|audit| !audit.options.quiet.contains(COMMAND)) else {
        return;
    };
    let record = AuditRecord {
        allowed: succeeded,
        user: user.clone(),
        ip: Some(ip),
        command: COMMAND.into(),
        src: Some(path.to_owned()),
        dst: None,
        permission: None,
    };
    audit.write(line(&jiff::Zoned::now(), &record, None, RpcCall::RPC, None));
}

/// The context, cut to its limit, and the signature unless it is too long.
fn caller_context(call: &RpcCall, (context_max, signature_max): (usize, usize)) -> Option<String> {
    let context = call.caller_context.as_ref()?;
    let given = context.context.get(..context_max.min(context.context.len()))?;
    let mut text = String::from_utf8_lossy(given).into_owned();
    if let Some(signature) = &context.signature
        && !signature.is_empty()
        && signature.len() <= signature_max
    {
        text.push(':');
        text.push_str(&String::from_utf8_lossy(signature));
    }
    Some(text)
}

fn line(
    now: &jiff::Zoned,
    record: &AuditRecord,
    real_user: Option<&str>,
    transport: &str,
    caller: Option<&str>,
) -> String {
    let mut line = String::with_capacity(256);
    // Writing to a string can't fail.
    let _ = write!(
        line,
        "{},{:03} INFO {LOGGER}: ",
        now.strftime("%Y-%m-%d %H:%M:%S"),
        now.millisecond()
    );
    put_fields(&mut line, record, real_user, transport, caller);
    line.push('\n');
    line
}

/// The fields of a line behind the time. They are one line, whatever the names in them contain.
pub fn put_fields(
    line: &mut String,
    record: &AuditRecord,
    real_user: Option<&str>,
    transport: &str,
    caller: Option<&str>,
) {
    let text = |text: &Option<String>| text.as_deref().map_or_else(|| "null".to_owned(), escaped);
    let _ = write!(
        line,
        "allowed={}\tugi={} (auth:SIMPLE)",
        record.allowed,
        escaped(&record.user),
    );
    if let Some(real_user) = real_user {
        let _ = write!(line, " via {} (auth:SIMPLE)", escaped(real_user));
    }
    let ip = record
        .ip
        .map_or_else(|| "null".to_owned(), |ip| format!("/{}", ip.to_canonical()));
    let _ = write!(
        line,
        "\tip={ip}\tcmd={}\tsrc={}\tdst={}\tperm={}\tproto={transport}",
        record.command,
        text(&record.src),
        text(&record.dst),
        text(&record.permission),
    );
    if let Some(caller) = caller {
        let _ = write!(line, "\tcallerContext={}", escaped(caller));
    }
}

/// `StringEscapeUtils.escapeJava`, so that no name can begin a line or a field.
fn escaped(text: &str) -> String {
    let plain = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    if text.chars().all(plain) {
        return text.to_owned();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            '\r' => escaped.push_str("\\r"),
            '\u{8}' => escaped.push_str("\\b"),
            '\u{c}' => escaped.push_str("\\f"),
            c if plain(c) => escaped.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(escaped, "\\u{unit:04X}");
                }
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> AuditRecord {
        AuditRecord {
            allowed: true,
            user: "alice".into(),
            ip: "::ffff:10.0.0.1".parse().ok(),
            command: "mkdirs".into(),
            src: Some("/a".to_owned()),
            dst: None,
            permission: Some("alice:staff:rwxr-xr-x".to_owned()),
        }
    }

    fn now() -> jiff::Zoned {
        "2026-11-29T09:00:01.042+00:00[UTC]".parse().unwrap()
    }

    #[test]
    fn a_line_is_as_hadoop_writes_it() {
        assert_eq!(
            line(&now(), &record(), None, RpcCall::RPC, None),
            "2026-11-29 09:00:01,042 INFO FSNamesystem.audit: allowed=true\tugi=alice (auth:SIMPLE)\tip=/10.0.0.1\tcmd=mkdirs\t\
             src=/a\tdst=null\tperm=alice:staff:rwxr-xr-x\tproto=rpc\n"
        );
        let denied = AuditRecord {
            allowed: false,
            command: "rename (options=[OVERWRITE])".into(),
            dst: Some("/b".to_owned()),
            permission: None,
            ..record()
        };
        let text = line(&now(), &denied, Some("hive"), RpcCall::WEBHDFS, Some("job_1:sig"));
        assert!(
            text.ends_with(
                "allowed=false\tugi=alice (auth:SIMPLE) via hive (auth:SIMPLE)\tip=/10.0.0.1\tcmd=rename (options=[OVERWRITE])\t\
                 src=/a\tdst=/b\tperm=null\tproto=webhdfs\tcallerContext=job_1:sig\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn no_name_begins_a_line_or_a_field() {
        let forged = AuditRecord {
            src: Some("/a\n2026 allowed=true\tugi=root \"\\ \u{e9}\u{1F600}".to_owned()),
            permission: Some("al\nice\tcmd=delete:staff:rwxr-xr-x".to_owned()),
            ..record()
        };
        let text = line(&now(), &forged, None, RpcCall::RPC, None);
        assert!(
            text.contains("src=/a\\n2026 allowed=true\\tugi=root \\\"\\\\ \\u00E9\\uD83D\\uDE00\tdst="),
            "{text}"
        );
        // Nor does an owner, which is a name as well.
        assert!(
            text.contains("\tperm=al\\nice\\tcmd=delete:staff:rwxr-xr-x\tproto="),
            "{text}"
        );
    }

    #[test]
    fn a_size_of_zero_is_refused_by_the_name_of_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let mut conf = Configuration::new(hathi_conf::Environment::of_process());
        conf.set("hathi.namenode.audit.log", "true");
        conf.set("hadoop.log.dir", dir.path().display().to_string());
        conf.set("hathi.namenode.audit.log.max.file.size", "0");
        let options = AuditOptions::from_conf(&conf).unwrap().unwrap();
        let refused = AuditLog::start(options).unwrap_err().to_string();
        assert!(refused.contains("hathi.namenode.audit.log.max.file.size"), "{refused}");
    }

    #[test]
    fn files_are_rotated_by_size_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let options = AuditOptions {
            dir: dir.path().to_owned(),
            max_file_bytes: 1000,
            max_backups: 2,
            blocking: true,
            quiet: BTreeSet::new(),
            caller_context: false,
            caller_context_max: (0, 0),
        };
        let path = dir.path().join(FILE_NAME);
        std::fs::write(&path, "an earlier run\n").unwrap();
        let file = FileRotate::new(
            &path,
            AppendCount::new(options.max_backups),
            ContentLimit::BytesSurpassed(options.max_file_bytes),
            Compression::None,
            None,
        );
        let (lines, queue) = sync_channel(LINES_MAX);
        for number in 0..400 {
            lines.send(format!("{number:0>99}\n")).unwrap();
        }
        drop(lines);
        write_lines(file, &queue);
        let mut names: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["hdfs-audit.log", "hdfs-audit.log.1", "hdfs-audit.log.2"]);
        for name in &names {
            let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
            assert!(
                text.lines().all(|line| line.len() == 99),
                "{name} has a line that is not whole"
            );
            assert!(text.len() <= options.max_file_bytes + 2 * BATCH_BYTES, "{}", text.len());
        }
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("0399\n"));
    }
}

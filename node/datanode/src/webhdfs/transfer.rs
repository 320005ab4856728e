//! The bytes of files, on their way between a client of WebHDFS and DataNodes.

use super::{Asked, empty, illegal, refusal, text};
use bytes::Bytes;
use hathi_client::{CreateOptions, FileReader, FileWriter};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::webhdfs::{self, Op, encode_path};
use hathi_net::http::header::{
    ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue,
    LOCATION,
};
use hathi_net::http::{self, BodySender, HttpResponse, Incoming, StatusCode, body_channel};
use http_body_util::BodyExt;
use std::io;
use std::time::Duration;

/// Number of packets of a file that may wait for a slow reader. A packet has 64 KiB.
const PIECES: usize = 2;
/// A client that sends nothing of its file for this long is given up (`HdfsConstants.READ_TIMEOUT`).
const BODY_PATIENCE: Duration = Duration::from_secs(60);
/// Permission of a new file if the request has none (`FsPermission.getFileDefault` with Hadoop's umask).
const FILE_PERMISSION: u32 = 0o644;
/// `CreateFlag`, of which the first two say what is done with an existing file.
const CREATE_FLAGS: &[&str] = &[
    "CREATE",
    "OVERWRITE",
    "APPEND",
    "NEW_BLOCK",
    "SYNC_BLOCK",
    "LAZY_PERSIST",
    "NO_LOCAL_WRITE",
    "SHOULD_REPLICATE",
    "IGNORE_CLIENT_LOCALITY",
];

/// `OPEN`
pub(super) async fn open(asked: Asked) -> Result<HttpResponse, RemoteException> {
    let offset = asked.parameters.unsigned("offset")?.unwrap_or(0);
    let wanted = asked.parameters.unsigned("length")?.unwrap_or(u64::MAX);
    let fs = asked.file_system()?;
    let mut reader = fs.open(&asked.path).await.map_err(|error| refusal(&error))?;
    let length = reader.len();
    let Some(rest) = length.checked_sub(offset) else {
        return Err(io_error(format!(
            "Offset={offset} out of the range [0, {length}); OPEN, path={}",
            asked.path
        )));
    };
    let length = rest.min(wanted);
    reader.seek(offset);
    let (sender, body) = body_channel(PIECES);
    tokio::spawn(send(reader, length, sender));
    let mut response = HttpResponse::new(body);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, text("GET"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, text("*"));
    headers.insert(CONTENT_TYPE, text("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CONNECTION, text("close"));
    Ok(response)
}

/// Sends the file until the client has its bytes, or is gone.
async fn send(mut reader: FileReader, mut left: u64, mut sender: BodySender) {
    while left > 0 {
        let piece = match reader.next().await {
            Ok([]) => return sender.abort(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => {
                let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                Bytes::copy_from_slice(bytes.get(..wanted).unwrap_or(bytes))
            }
            Err(error) => {
                tracing::warn!(%error, "WebHDFS: a file can't be read to its end");
                return sender.abort(io::Error::other(error.to_string()));
            }
        };
        left = left.saturating_sub(piece.len() as u64);
        if !sender.send(piece).await {
            return;
        }
    }
}

/// `GETFILECHECKSUM`
pub(super) async fn checksum(asked: &Asked) -> Result<HttpResponse, RemoteException> {
    let fs = asked.file_system()?;
    let sum = fs.checksum(&asked.path).await.map_err(|error| refusal(&error))?;
    let json = webhdfs::file_checksum(&sum.algorithm(), &sum.bytes());
    Ok(http::json(StatusCode::OK, json.to_string()))
}

/// `CREATE` and `APPEND`. The file is opened before the body is asked for (`Expect: 100-continue`), so a refusal costs
/// the client nothing.
pub(super) async fn write(asked: Asked, body: Incoming) -> Result<HttpResponse, RemoteException> {
    let (writer, is_synced) = match asked.op {
        Op::Append => {
            let fs = asked.file_system()?;
            (fs.append(&asked.path).await.map_err(|error| refusal(&error))?, false)
        }
        _ => create(&asked).await?,
    };
    // A task of its own: this request ends with its connection, but the file is closed whatever happens to the client.
    let received = tokio::spawn(receive(writer, body, is_synced)).await;
    received.map_err(|error| io_error(error.to_string()))??;
    if asked.op == Op::Append {
        return Ok(empty(StatusCode::OK));
    }
    let mut response = empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, text("*"));
    let place = format!("hdfs://{}{}", asked.namenode, encode_path(&asked.path));
    if let Ok(place) = HeaderValue::from_str(&place) {
        headers.insert(LOCATION, place);
    }
    Ok(response)
}

fn io_error(message: String) -> RemoteException {
    RemoteException::new(exceptions::IO, message)
}

/// The new file, and whether its blocks are to be on disk before the answer.
async fn create(asked: &Asked) -> Result<(FileWriter, bool), RemoteException> {
    let given = &asked.parameters;
    let masked = given.permission("permission")?;
    let unmasked = given.permission("unmaskedpermission")?;
    let java = "org.apache.hadoop.fs.CreateFlag";
    let flags = given.words("createflag", java, CREATE_FLAGS)?;
    let has = |name: &str| flags.iter().any(|index| CREATE_FLAGS.get(*index) == Some(&name));
    if has("APPEND") || has("NEW_BLOCK") {
        return Err(illegal(
            "op=CREATE with createflag=APPEND is not supported: op=APPEND appends".to_owned(),
        ));
    }
    let masked = masked.unwrap_or(FILE_PERMISSION);
    // The client of the request has applied its own umask.
    let bits = |permission: u32| u16::try_from(permission).unwrap_or_default();
    let fs = asked.file_system()?;
    let options = CreateOptions {
        overwrite: given.boolean("overwrite", false)? || has("OVERWRITE"),
        create_parent: given.boolean("createparent", true)?,
        permission: bits(unmasked.unwrap_or(masked)),
        masked: Some(bits(masked)),
        replication: given.replication("replication")?,
        block_size: given.unsigned("blocksize")?,
        lazy_persist: has("LAZY_PERSIST"),
    };
    let writer = fs.create(&asked.path, &options).await;
    Ok((writer.map_err(|error| refusal(&error))?, has("SYNC_BLOCK")))
}

/// Writes the body. If its client fails, the file is closed with what has come, as by Hadoop: nobody waits for its lease.
async fn receive(mut writer: FileWriter, mut body: Incoming, is_synced: bool) -> Result<(), RemoteException> {
    let came = loop {
        let frame = match tokio::time::timeout(BODY_PATIENCE, body.frame()).await {
            Ok(None) => break Ok(()),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => break Err(format!("the client is gone: {error}")),
            Err(_) => break Err(format!("the client has sent nothing for {BODY_PATIENCE:?}")),
        };
        if let Ok(piece) = frame.into_data() {
            writer.write(&piece).await.map_err(|error| refusal(&error))?;
        }
    };
    if is_synced {
        writer.flush(true).await.map_err(|error| refusal(&error))?;
    }
    writer.close().await.map_err(|error| refusal(&error))?;
    came.map_err(|why| {
        tracing::info!(why, "WebHDFS: a file is closed before its end");
        io_error(why)
    })
}

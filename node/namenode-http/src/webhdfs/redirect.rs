//! Operations on the bytes of a file: the client is sent to a DataNode (`NamenodeWebHdfsMethods.redirectURI`).

use super::{Asked, Failed, said};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hathi_conf::host_and_port;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::{DatanodeInfoProto, DatanodeReportTypeProto, FileEncryptionInfoProto};
use hathi_formats::webhdfs::{self, Op, encode_component, encode_path, is_excluded};
use hathi_namespace::is_valid_name;
use hathi_net::http::header::{CONTENT_LENGTH, HeaderValue, LOCATION};
use hathi_net::http::{self, HttpResponse, StatusCode};
use prost::Message;

/// Parameters that the DataNode needs.
const PASSED_ON: &[&str] = &[
    "user.name",
    "doas",
    "buffersize",
    "offset",
    "length",
    "overwrite",
    "blocksize",
    "replication",
    "permission",
    "unmaskedpermission",
    "createparent",
    "createflag",
];

/// Header of an `OPEN` by a client that decrypts files by itself (`WebHdfsFileSystem.EZ_HEADER`).
pub(super) const ACCEPTS_ENCRYPTED: &str = "x-hadoop-accept-ez";
/// Header of the answer if the file is encrypted (`WebHdfsFileSystem.FEFINFO_HEADER`).
const ENCRYPTION_INFO: &str = "x-hadoop-feinfo";

/// The key of an encrypted file, as the header has it (`NamenodeWebHdfsMethods.encodeFeInfo`).
fn encryption_info(info: &FileEncryptionInfoProto) -> String {
    STANDARD.encode(info.encode_to_vec())
}

/// Refuses an operation that has no meaning here, by its name.
pub(super) fn unsupported(op: Op) -> RemoteException {
    let message = format!("op={} is not supported", op.name());
    RemoteException::new(exceptions::UNSUPPORTED_OPERATION, message)
}

/// To a DataNode with a replica: of the block at the offset, or of the last one. To any for an empty file.
pub(super) async fn to_replica(asked: &Asked) -> Result<HttpResponse, Failed> {
    check(asked)?;
    let status = asked.status_of(&asked.path).await?.ok_or_else(|| {
        let message = format!("File {} not found.", asked.path);
        RemoteException::new(exceptions::FILE_NOT_FOUND, message)
    })?;
    let length = status.length;
    let offset = match asked.op {
        Op::Open => asked.parameters.unsigned("offset")?.unwrap_or(0),
        _ => length.saturating_sub(1),
    };
    if offset >= length && length > 0 {
        let op = asked.op.name();
        return Err(io(format!(
            "Offset={offset} out of the range [0, {length}); {op}, path={}",
            asked.path
        ))
        .into());
    }
    if asked.op == Op::Open
        && asked.decrypts
        && let Some(info) = &status.file_encryption_info
    {
        let mut response = to_holder(asked, &format!("/.reserved/raw{}", asked.path), offset, length).await?;
        if let Ok(info) = HeaderValue::from_str(&encryption_info(info)) {
            response.headers_mut().insert(ENCRYPTION_INFO, info);
        }
        return Ok(response);
    }
    to_holder(asked, &asked.path, offset, length).await
}

/// `path`: that of the file, or under which its bytes are as they are on the disks.
async fn to_holder(asked: &Asked, path: &str, offset: u64, length: u64) -> Result<HttpResponse, Failed> {
    if length == 0 {
        return to_any(asked, path, 1).await;
    }
    let located = asked.located_range(offset, 1).await?;
    let excluded = excluded(asked);
    let holders = located.blocks.first().map(|block| &block.locs[..]).unwrap_or_default();
    match holders.iter().find(|node| !is_excluded(node, &excluded)) {
        Some(node) => Ok(to(asked, path, node)),
        // A DataNode without a replica reads from the others. If the client excludes them all, one with which it had
        // trouble is better than none.
        None => match (to_any(asked, path, 1).await, holders.first()) {
            (Err(_), Some(node)) => Ok(to(asked, path, node)),
            (answer, _) => answer,
        },
    }
}

/// To the DataNode that would get the first replica. Only an active sends writers anywhere.
pub(super) async fn to_writable(asked: &Asked) -> Result<HttpResponse, Failed> {
    check(asked)?;
    let defaults = asked.server_defaults().await?;
    let block_size = asked.parameters.unsigned("blocksize")?;
    to_any(asked, &asked.path, block_size.unwrap_or(defaults.block_size)).await
}

/// Refuses here what the DataNode would refuse only once it has the client's data.
fn check(asked: &Asked) -> Result<(), RemoteException> {
    if !is_valid_name(&asked.path) {
        return Err(RemoteException::new(
            exceptions::INVALID_PATH,
            format!("Invalid path name {}", asked.path),
        ));
    }
    let given = &asked.parameters;
    for name in ["offset", "length", "blocksize"] {
        given.unsigned(name)?;
    }
    given.replication("replication")?;
    given.permission("permission")?;
    given.permission("unmaskedpermission")?;
    given.boolean("overwrite", false)?;
    given.boolean("createparent", true)?;
    given.boolean("noredirect", false)?;
    Ok(())
}

fn io(message: String) -> RemoteException {
    RemoteException::new(exceptions::IO, message)
}

fn excluded(asked: &Asked) -> Vec<&str> {
    let names = asked.parameters.text("excludedatanodes").unwrap_or_default();
    names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect()
}

async fn to_any(asked: &Asked, path: &str, block_size: u64) -> Result<HttpResponse, Failed> {
    let (parts, excluded) = (&asked.web.parts, excluded(asked));
    let writer = asked.peer.ip().to_canonical().to_string();
    let chosen = {
        let mut ns = parts.ns.write();
        let chosen = ns.datanode_for_webhdfs(&writer, &excluded, block_size, parts.clock.now());
        // None has room for a block, but each can read.
        chosen.or_else(|| {
            let live = ns.blockmanager().datanode_report(DatanodeReportTypeProto::Live);
            live.into_iter().find(|node| !is_excluded(node, &excluded))
        })
    };
    match chosen {
        Some(node) => Ok(to(asked, path, &node)),
        None => Err(io(format!(
            "Failed to find datanode, suggest to check cluster health. excludeDatanodes={}",
            asked.parameters.text("excludedatanodes").unwrap_or("null")
        ))
        .into()),
    }
}

/// The redirect, or with `noredirect` the address alone.
fn to(asked: &Asked, path: &str, node: &DatanodeInfoProto) -> HttpResponse {
    let address = address(asked, path, node);
    if asked.parameters.boolean("noredirect", false) == Ok(true) {
        return said(&webhdfs::location(&address));
    }
    let mut response = http::bytes(StatusCode::TEMPORARY_REDIRECT, "application/octet-stream", Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    // Everything in it is encoded.
    if let Ok(address) = HeaderValue::from_str(&address) {
        headers.insert(LOCATION, address);
    }
    response
}

fn address(asked: &Asked, path: &str, node: &DatanodeInfoProto) -> String {
    let settings = &asked.web.parts.settings;
    // A nameservice finds whoever is active when the data comes.
    let namenode = match settings.nameservice_id.as_str() {
        "" => settings.rpc.to_string(),
        nameservice => nameservice.to_owned(),
    };
    let mut query = format!(
        "op={}&namenoderpcaddress={}",
        asked.op.name(),
        encode_component(&namenode)
    );
    for name in PASSED_ON {
        if let Some(value) = asked.parameters.text(name) {
            query.push_str(&format!("&{name}={}", encode_component(value)));
        }
    }
    if asked.parameters.text("user.name").is_none() {
        query.push_str(&format!("&user.name={}", encode_component(&asked.web.static_user)));
    }
    format!(
        "http://{}{}{}?{query}",
        host_and_port(&node.id.host_name, node.id.info_port),
        webhdfs::PATH_PREFIX,
        encode_path(path),
    )
}

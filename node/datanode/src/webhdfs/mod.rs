//! `/webhdfs/v1` on the DataNode (`WebHdfsHandler`): the bytes of files.
//!
//! A NameNode has sent the client here. Files are read and written through our own client, in the name of the user of
//! the request. So the NameNode checks permissions once more, whatever an address says, and the blocks of a file may be
//! anywhere. Memory is bounded: each request holds a few packets, however large its file is.

mod conf;
mod transfer;

pub use conf::WebHdfsConf;

use crate::node::DataNode;
use bytes::Bytes;
use hathi_client::{ClientError, FileSystem};
use hathi_conf::Configuration;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::webhdfs::{self, HttpMethod, Op, Parameters};
use hathi_net::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    CONNECTION, CONTENT_LENGTH, HeaderValue,
};
use hathi_net::http::{self, HttpRequest, HttpResponse, Method, Query, RequestHead, StatusCode};
use hathi_net::ipc::UserInfo;
use std::sync::Arc;

/// How long a browser may remember the answer to its preflight, in seconds.
const PREFLIGHT_SECONDS: u32 = 1_728_000;

/// A decoded request.
struct Asked {
    op: Op,
    path: String,
    parameters: Parameters,
    user: UserInfo,
    /// A nameservice or the address of a NameNode.
    namenode: String,
    client: Arc<Configuration>,
}

impl Asked {
    fn of(conf: &WebHdfsConf, head: &RequestHead, path: &str) -> Result<Asked, RemoteException> {
        let parameters = Parameters::new(Query::pairs(&head.raw_query))?;
        let text = parameters.text("op").unwrap_or("NULL");
        let op = HttpMethod::of(head.method.as_str())
            .and_then(|method| Op::parse(method, Some(text)).ok())
            .filter(|op| matches!(op, Op::Open | Op::Create | Op::Append | Op::GetFileChecksum))
            .ok_or_else(|| illegal(format!("Invalid operation {text}")))?;
        let (caller, proxied) = parameters.users(&conf.static_user)?;
        let namenode = parameters.required(op.name(), "namenoderpcaddress")?.to_owned();
        // Else anybody could make this DataNode talk to any host.
        if !conf.namenodes.contains(&namenode) {
            return Err(illegal(format!(
                "Invalid value for webhdfs parameter \"namenoderpcaddress\": {namenode} is no NameNode of this DataNode"
            )));
        }
        Ok(Asked {
            op,
            path: path.to_owned(),
            parameters,
            user: match proxied {
                None => UserInfo {
                    user: caller,
                    ..UserInfo::default()
                },
                Some(user) => UserInfo {
                    user,
                    real_user: Some(caller),
                    vouched: false,
                },
            },
            namenode,
            client: conf.client.clone(),
        })
    }

    /// A client of its own for each request, because a lease is held by a client.
    fn file_system(&self) -> Result<FileSystem, RemoteException> {
        FileSystem::acting_as(&self.client, &self.namenode, self.user.clone()).map_err(|error| refusal(&error))
    }
}

fn illegal(why: String) -> RemoteException {
    RemoteException::new(exceptions::ILLEGAL_ARGUMENT, why)
}

/// What the client is told of an error.
fn refusal(error: &ClientError) -> RemoteException {
    match error {
        ClientError::NotFound(_) => RemoteException::new(exceptions::FILE_NOT_FOUND, error.to_string()),
        _ => match error.remote() {
            Some(refused) => refused.clone(),
            None => RemoteException::new(exceptions::IO, error.to_string()),
        },
    }
}

fn refused(refused: &RemoteException) -> HttpResponse {
    let status = StatusCode::from_u16(webhdfs::status(refused)).unwrap_or(StatusCode::FORBIDDEN);
    let mut response = http::json(status, webhdfs::remote_exception(refused).to_string());
    // The client may still be sending a body that nobody reads.
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Answers a request below [`webhdfs::PATH_PREFIX`].
pub async fn respond(node: &Arc<DataNode>, request: HttpRequest) -> HttpResponse {
    let conf = &node.conf.webhdfs;
    let path = webhdfs::path_of(&request.head.path).map(str::to_owned);
    let Some(path) = path.filter(|_| conf.enabled) else {
        return http::error(StatusCode::NOT_FOUND, "not found");
    };
    if request.head.method == Method::OPTIONS {
        return preflight(&request.head);
    }
    let asked = match Asked::of(conf, &request.head, &path) {
        Ok(asked) => asked,
        Err(why) => return refused(&why),
    };
    let answered = match asked.op {
        Op::Create | Op::Append => transfer::write(asked, request.body).await,
        Op::GetFileChecksum => transfer::checksum(&asked).await,
        _ => transfer::open(asked).await,
    };
    answered.unwrap_or_else(|why| refused(&why))
}

fn text(value: &'static str) -> HeaderValue {
    HeaderValue::from_static(value)
}

/// The question of a browser whether it may send a file (`WebHdfsHandler.allowCORSOnCreate`).
fn preflight(head: &RequestHead) -> HttpResponse {
    let op = Query::pairs(&head.raw_query).find(|(name, _)| name.eq_ignore_ascii_case("op"));
    let op = op.map_or_else(|| "NULL".to_owned(), |(_, op)| op);
    if !op.eq_ignore_ascii_case(Op::Create.name()) {
        return refused(&illegal(format!("Invalid operation {op}")));
    }
    let mut response = empty(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, text("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, text("accept"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, text("PUT"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_SECONDS));
    response
}

fn empty(status: StatusCode) -> HttpResponse {
    let mut response = http::bytes(status, "application/octet-stream", Bytes::new());
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
    response
}

#[cfg(test)]
mod tests;

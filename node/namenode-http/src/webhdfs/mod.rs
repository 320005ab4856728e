//! `/webhdfs/v1` on the NameNode (`NamenodeWebHdfsMethods`).
//!
//! A request becomes calls of `ClientProtocol` in the name of its user, and takes their way: [`Handler`] checks the HA
//! state, waits for the groups of the user, runs the namesystem's handler under its lock, writes the line of the audit
//! log, and parks the answer until what it shows is durable. So nothing about permissions, failover or durability is
//! decided here. These calls have no client id, as in Hadoop: a repeated request is served again.
//!
//! Bytes of files do not pass through the NameNode. `OPEN`, `CREATE`, `APPEND` and `GETFILECHECKSUM` are answered with
//! the address of a DataNode.

mod get;
mod post;
mod put;
mod redirect;

use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::webhdfs::{self, HttpMethod, Op, Parameters};
use hathi_namenode::callers::Callers;
use hathi_namenode::clock::Clock;
use hathi_namenode::rpc::Handler;
use hathi_namenode::settings::Settings;
use hathi_namenode::web::WebParts;
use hathi_namesystem::Namesystem;
use hathi_net::http::header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderValue};
use hathi_net::http::{self, HttpResponse, RequestHead, StatusCode};
use hathi_net::ipc::protocols::{CLIENT_PROTOCOL, ClientMethod};
use hathi_net::ipc::{ClientId, Responder, RpcCall, RpcHandler, UserInfo};
use parking_lot::RwLock;
use prost::Message;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;

/// Number of a call without a client (`RpcConstants.INVALID_CALL_ID`).
const NO_CALL_ID: i32 = -2;

/// What WebHDFS needs of the NameNode.
struct Parts {
    settings: Arc<Settings>,
    ns: Arc<RwLock<Namesystem>>,
    clock: Clock,
    callers: Arc<Callers>,
    handler: Arc<Handler>,
}

/// WebHDFS of one NameNode.
pub struct WebHdfs {
    parts: Parts,
    /// The user of a request that names none (`hadoop.http.staticuser.user`).
    static_user: String,
    /// Beginning of home directories (`dfs.user.home.dir.prefix`).
    home_prefix: String,
    /// `dfs.webhdfs.enabled`
    enabled: bool,
}

impl WebHdfs {
    /// Reads the configuration.
    #[must_use]
    pub fn new(parts: &WebParts, handler: Arc<Handler>) -> WebHdfs {
        let conf = &parts.settings.conf;
        WebHdfs {
            static_user: conf.get_or("hadoop.http.staticuser.user", webhdfs::STATIC_USER),
            home_prefix: conf.get_or("dfs.user.home.dir.prefix", "/user"),
            enabled: conf.get_bool("dfs.webhdfs.enabled", true),
            parts: Parts {
                settings: parts.settings.clone(),
                ns: parts.ns.clone(),
                clock: parts.clock.clone(),
                callers: parts.callers.clone(),
                handler,
            },
        }
    }

    /// Answers a request. `None` if it is for another page.
    pub async fn respond(self: &Arc<Self>, head: &RequestHead) -> Option<HttpResponse> {
        let path = webhdfs::path_of(&head.path)?;
        if !self.enabled {
            return Some(http::error(StatusCode::NOT_FOUND, "Not Found"));
        }
        let answered = self.serve(head, path).await;
        let mut response = answered.unwrap_or_else(Failed::into_response);
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Some(response)
    }

    async fn serve(self: &Arc<Self>, head: &RequestHead, path: &str) -> Result<HttpResponse, Failed> {
        let Some(verb) = HttpMethod::of(head.method.as_str()) else {
            return Ok(http::error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"));
        };
        let parameters = Parameters::new(http::Query::pairs(&head.raw_query))?;
        let op = Op::parse(verb, parameters.text("op"))?;
        let (caller, proxied) = parameters.users(&self.static_user)?;
        let user = Arc::new(match proxied {
            None => UserInfo {
                user: caller,
                ..UserInfo::default()
            },
            Some(user) => UserInfo {
                user,
                real_user: Some(caller),
                vouched: false,
            },
        });
        let peer = head.peer;
        let authorizer = self.parts.callers.authorizer();
        authorizer.admit(&user, peer.ip(), &CLIENT_PROTOCOL).await?;
        let asked = Asked {
            web: self.clone(),
            op,
            path: path.to_owned(),
            parameters,
            user,
            peer,
            decrypts: head
                .headers
                .get(redirect::ACCEPTS_ENCRYPTED)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true")),
        };
        match verb {
            HttpMethod::Get => get::serve(asked).await,
            HttpMethod::Put => put::serve(&asked).await,
            HttpMethod::Post => post::post(&asked).await,
            HttpMethod::Delete => post::delete(&asked).await,
        }
    }
}

/// Why a request has no answer.
enum Failed {
    /// The client is told this exception.
    Refused(RemoteException),
    /// Nobody here knows what becomes of the change. The connection is closed without an answer.
    InDoubt,
}

impl From<RemoteException> for Failed {
    fn from(refused: RemoteException) -> Self {
        Failed::Refused(refused)
    }
}

impl Failed {
    fn into_response(self) -> HttpResponse {
        match self {
            Failed::Refused(refused) => {
                let status = StatusCode::from_u16(webhdfs::status(&refused)).unwrap_or(StatusCode::FORBIDDEN);
                http::json(status, webhdfs::remote_exception(&refused).to_string())
            }
            Failed::InDoubt => http::no_answer(),
        }
    }
}

/// A decoded request.
struct Asked {
    web: Arc<WebHdfs>,
    op: Op,
    path: String,
    parameters: Parameters,
    user: Arc<UserInfo>,
    peer: SocketAddr,
    /// The client decrypts files by itself (`WebHdfsFileSystem.EZ_HEADER`).
    decrypts: bool,
}

impl Asked {
    /// Makes a call, as if the user had made it over a connection.
    async fn call<R: Message + Default>(&self, method: ClientMethod, request: &impl Message) -> Result<R, Failed> {
        let call = RpcCall {
            method: method.into(),
            body: Bytes::from(request.encode_to_vec()),
            client_id: ClientId::EMPTY,
            call_id: NO_CALL_ID,
            retry_count: 0,
            user: self.user.clone(),
            peer: self.peer,
            caller_context: None,
            state_id: None,
            transport: RpcCall::WEBHDFS,
        };
        let (responder, reply) = Responder::local();
        self.web.parts.handler.call(call, responder);
        let message = reply.await.map_err(|_| Failed::InDoubt)??;
        R::decode(message).map_err(|error| RemoteException::new(exceptions::IO, error.to_string()).into())
    }

    /// A parameter that the operation can't do without.
    fn required(&self, name: &str) -> Result<&str, RemoteException> {
        self.parameters.required(self.op.name(), name)
    }
}

fn said(json: &Value) -> HttpResponse {
    http::json(StatusCode::OK, json.to_string())
}

/// The answer of operations that say nothing but that they are done.
fn done() -> HttpResponse {
    let mut response = http::bytes(StatusCode::OK, "application/octet-stream", Bytes::new());
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
    response
}

#[cfg(test)]
mod tests;

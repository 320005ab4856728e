//! The web server of a NameNode: its eyes and WebHDFS. It reads the parts of [`hathi_namenode::web::WebParts`], and decides
//! nothing about the namespace: what WebHDFS changes goes through the handler of all calls.

mod alarms;
mod beans;
mod cluster;
mod common_settings;
mod configurations;
pub mod fsck;
mod history;
pub mod metrics;
mod others;
mod pages;
mod readiness;
mod room;
mod routes;
mod sampling;
#[cfg(test)]
#[path = "../../namenode/src/testing.rs"]
mod testing;
mod web;
pub mod webhdfs;
mod words;

pub use common_settings::COMMON_SETTINGS;

use hathi_namenode::rpc::Handler;
use hathi_namenode::web::{Web, WebParts};
use hathi_net::http::{HttpRequest, HttpServer};
use pages::Pages;
use std::io;
use std::sync::Arc;
use webhdfs::WebHdfs;

/// Listens and serves.
///
/// # Errors
/// The configured address can't be listened at.
pub fn start(parts: WebParts, handler: Arc<Handler>) -> io::Result<Web> {
    let address = parts.settings.http_bind;
    let webhdfs = Arc::new(WebHdfs::new(&parts, handler));
    let pages = Arc::new(Pages::new(parts));
    let shown = pages.clone();
    let server = HttpServer::bind(
        address,
        Arc::new(move |request: HttpRequest| routes::route(shown.clone(), webhdfs.clone(), request)),
    )?;
    Ok(Web {
        server,
        looking: Box::pin(async move {
            tokio::join!(sampling::run(pages.clone()), cluster::log_alarms(pages));
        }),
    })
}
